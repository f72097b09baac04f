//! What is said of activations, passkeys, the gateway's own authority and its end; [`Texts`](super::Texts) has one of them for each
//! language.

pub(super) mod en;
pub(super) mod zh;

use super::Advice;

/// One language.
pub(crate) struct Device {
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
}
