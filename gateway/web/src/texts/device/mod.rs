//! What is said of activations, passkeys, the gateway's own authority and its end; [`Texts`](super::Texts) has one of them for each
//! language.

pub(super) mod en;
pub(super) mod zh;

use super::Advice;

/// One language.
pub(crate) struct Device {
    pub(crate) claim_button: &'static str,

    // The platform's word on a lock's activation.
    pub(crate) activation: &'static str,
    pub(crate) step_activate: &'static str,
    pub(crate) step_activate_wait: &'static str,
    pub(crate) step_activate_now: &'static str,
    pub(crate) step_activate_done: &'static str,
    pub(crate) activated: &'static str,
    pub(crate) activated_more: &'static str,
    pub(crate) wrong_code: Advice,
    pub(crate) owned: Advice,
    pub(crate) signed_by: &'static str,

    // What was done.
    pub(crate) history_authority: &'static str,
    pub(crate) history_no_authority: &'static str,
    pub(crate) history_passkey: &'static str,
    pub(crate) history_no_passkey: &'static str,
    pub(crate) history_reset: &'static str,

    // An authority to install.
    pub(crate) certificate_over: &'static str,
    pub(crate) certificate_authority: &'static str,
    pub(crate) authority: &'static str,
    pub(crate) authority_why: &'static str,
    pub(crate) authority_risk: &'static str,
    pub(crate) authority_make: &'static str,
    pub(crate) authority_again: &'static str,
    pub(crate) authority_names: &'static str,
    pub(crate) authority_fingerprint: &'static str,
    pub(crate) authority_download: &'static str,
    pub(crate) authority_install: &'static str,
    pub(crate) authority_iphone: &'static str,
    pub(crate) authority_android: &'static str,
    pub(crate) authority_computer: &'static str,
    pub(crate) authority_forget: &'static str,
    pub(crate) authority_forget_why: &'static str,

    // Passkeys.
    pub(crate) passkeys: &'static str,
    pub(crate) passkeys_why: &'static str,
    pub(crate) passkeys_need: &'static str,
    pub(crate) passkeys_none: &'static str,
    pub(crate) passkeys_full: &'static str,
    pub(crate) passkey_add: &'static str,
    pub(crate) passkey_name: &'static str,
    pub(crate) passkey_name_hint: &'static str,
    pub(crate) passkey_unnamed: &'static str,
    pub(crate) passkey_remove: &'static str,
    pub(crate) passkey_use: &'static str,
    pub(crate) passkey_failed: &'static str,
    pub(crate) passkey_refused: &'static str,
    pub(crate) passkey_never_used: &'static str,
    pub(crate) passkey_no_script: &'static str,

    // Factory reset.
    pub(crate) reset: &'static str,
    pub(crate) reset_what: &'static str,
    pub(crate) reset_erased: &'static [&'static str],
    pub(crate) reset_kept_title: &'static str,
    pub(crate) reset_kept: &'static [&'static str],
    pub(crate) reset_type: fn(&str) -> String,
    pub(crate) reset_mistyped: &'static str,
    pub(crate) reset_button: &'static str,
    pub(crate) reset_done: &'static str,
    pub(crate) reset_done_more: &'static str,
}
