//! Everything the page says, in each language. A language is a value of [`Texts`]: one that lacks a text does not compile.

mod device;
mod en;
mod operate;
mod zh;

use axum::http::{HeaderMap, header};

use crate::history::What;
use crate::session::cookie;

/// The cookie with the language that a visitor has chosen.
pub(crate) const COOKIE: &str = "__Host-language";

/// All languages; the first is for those who ask for none of them.
pub(crate) const ALL: [&Texts; 2] = [&en::TEXTS, &zh::TEXTS];

/// What is wrong, and what to do.
pub(crate) struct Advice {
    pub(crate) what: &'static str,
    pub(crate) todo: &'static str,
}

/// One language.
pub(crate) struct Texts {
    /// BCP 47.
    pub(crate) tag: &'static str,
    /// Its name in itself.
    pub(crate) name: &'static str,

    pub(crate) skip: &'static str,
    pub(crate) lost: &'static str,
    pub(crate) sections: &'static str,
    pub(crate) overview: &'static str,
    pub(crate) locks: &'static str,
    pub(crate) pair: &'static str,
    pub(crate) security: &'static str,
    pub(crate) about: &'static str,
    pub(crate) sign_out: &'static str,
    pub(crate) footer: &'static str,
    pub(crate) said: &'static str,
    pub(crate) cancel: &'static str,

    pub(crate) claim: &'static str,
    pub(crate) claim_why: &'static str,
    pub(crate) claim_code: &'static str,
    pub(crate) claim_code_hint: &'static str,
    pub(crate) claim_presence: &'static str,
    pub(crate) claim_presence_hint: &'static str,
    pub(crate) claim_confirmed: &'static str,
    pub(crate) password: &'static str,
    pub(crate) new_password: &'static str,
    pub(crate) new_password_hint: &'static str,
    pub(crate) again: &'static str,
    pub(crate) claim_button: &'static str,
    pub(crate) not_confirmed: &'static str,
    pub(crate) wrong_code: &'static str,
    pub(crate) no_code: &'static str,
    pub(crate) differ: &'static str,
    pub(crate) too_short: &'static str,
    pub(crate) too_long: &'static str,
    pub(crate) too_common: &'static str,
    pub(crate) busy: &'static str,
    pub(crate) not_stored: &'static str,

    pub(crate) sign_in: &'static str,
    pub(crate) wrong_password: &'static str,
    pub(crate) wait: fn(u64) -> String,
    pub(crate) forgotten: &'static str,
    pub(crate) prove: &'static str,
    pub(crate) prove_why: &'static str,
    pub(crate) go_on: &'static str,

    pub(crate) all_well: &'static str,
    pub(crate) all_well_more: &'static str,
    pub(crate) things: fn(usize) -> String,
    pub(crate) broker: &'static str,
    pub(crate) connected: &'static str,
    pub(crate) not_connected: &'static str,
    pub(crate) radios: &'static str,
    pub(crate) works: &'static str,
    pub(crate) works_not: &'static str,
    pub(crate) restarts: fn(u64) -> String,
    pub(crate) clock: &'static str,
    pub(crate) clock_synced: &'static str,
    pub(crate) clock_unsynced: &'static str,
    pub(crate) waiting: &'static str,
    pub(crate) waiting_more: fn(u64) -> String,
    pub(crate) running: &'static str,
    pub(crate) broker_down: Advice,
    pub(crate) broker_unwell: Advice,
    pub(crate) clock_bad: Advice,
    pub(crate) radio_down: Advice,
    pub(crate) radio_unwell: Advice,
    pub(crate) no_radio: Advice,
    pub(crate) dropped: Advice,
    pub(crate) store_failures: Advice,
    pub(crate) not_joined_some: Advice,
    pub(crate) silent: Advice,

    pub(crate) search: &'static str,
    pub(crate) state: &'static str,
    pub(crate) any: &'static str,
    pub(crate) needs_you: &'static str,
    pub(crate) filter: &'static str,
    pub(crate) no_locks: &'static str,
    pub(crate) none_found: &'static str,
    pub(crate) more_locks: fn(usize) -> String,
    pub(crate) joined_listening: &'static str,
    pub(crate) joined_sleepy: &'static str,
    pub(crate) not_joined: &'static str,
    pub(crate) without_radio: &'static str,
    pub(crate) never_heard: &'static str,
    pub(crate) heard: fn(&str) -> String,
    pub(crate) ago: fn(u64) -> String,
    pub(crate) lasted: fn(u64) -> String,

    pub(crate) lock: &'static str,
    pub(crate) radio: &'static str,
    pub(crate) last_heard: &'static str,
    pub(crate) signal: &'static str,
    pub(crate) unknown: &'static str,
    pub(crate) site_address: &'static str,
    pub(crate) commands: &'static str,
    pub(crate) commands_waiting: fn(u64) -> String,
    pub(crate) blind: &'static str,
    pub(crate) no_such_lock: &'static str,
    pub(crate) remove: &'static str,
    pub(crate) remove_title: &'static str,
    pub(crate) remove_what: &'static str,
    pub(crate) remove_keeps: &'static str,
    pub(crate) keep: &'static str,

    pub(crate) pair_title: &'static str,
    pub(crate) pair_why: &'static str,
    pub(crate) label: &'static str,
    pub(crate) label_hint: &'static str,
    pub(crate) scan_why: &'static str,
    pub(crate) scan_photo: &'static str,
    pub(crate) scan_camera: &'static str,
    pub(crate) scan_none: &'static str,
    pub(crate) scan_done: &'static str,
    pub(crate) scan_other: &'static str,
    pub(crate) scan_denied: &'static str,
    pub(crate) owner_code_note: &'static str,
    pub(crate) other_label: &'static str,
    pub(crate) other_label_why: &'static str,
    pub(crate) lock_id: &'static str,
    pub(crate) lock_id_hint: &'static str,
    pub(crate) app_key: &'static str,
    pub(crate) app_key_hint: &'static str,
    pub(crate) class: &'static str,
    pub(crate) class_a: &'static str,
    pub(crate) class_c: &'static str,
    pub(crate) let_in: &'static str,
    pub(crate) label_characters: &'static str,
    pub(crate) label_not: &'static str,
    pub(crate) label_version: &'static str,
    pub(crate) label_radio: &'static str,
    pub(crate) label_check: &'static str,
    pub(crate) label_code: &'static str,
    pub(crate) label_digits: &'static str,
    pub(crate) need_lock_id: &'static str,
    pub(crate) need_app_key: &'static str,

    pub(crate) pairing: &'static str,
    pub(crate) step_let_in: &'static str,
    pub(crate) step_let_in_more: &'static str,
    pub(crate) step_join: &'static str,
    pub(crate) step_join_now: &'static str,
    pub(crate) step_join_late: &'static str,
    pub(crate) step_join_done: &'static str,
    pub(crate) step_heard: &'static str,
    pub(crate) step_heard_wait: &'static str,
    pub(crate) step_heard_now: &'static str,
    pub(crate) step_heard_done: &'static str,
    pub(crate) time_left: &'static str,
    pub(crate) time_over: &'static str,
    pub(crate) paired: &'static str,
    pub(crate) paired_more: &'static str,
    pub(crate) pair_another: &'static str,
    pub(crate) show_lock: &'static str,
    pub(crate) give_up: &'static str,
    pub(crate) try_again: &'static str,

    pub(crate) password_why: &'static str,
    pub(crate) change_password: &'static str,
    pub(crate) recover: &'static str,
    pub(crate) recover_title: &'static str,
    pub(crate) recover_why: &'static str,
    pub(crate) recovery_code: &'static str,
    pub(crate) wrong_recovery_code: &'static str,
    pub(crate) no_recovery: &'static str,
    pub(crate) history: &'static str,
    pub(crate) history_why: &'static str,
    pub(crate) history_claimed: &'static str,
    pub(crate) history_password: &'static str,
    pub(crate) history_recovered: &'static str,
    pub(crate) history_certificate: &'static str,
    pub(crate) history_own_certificate: &'static str,

    pub(crate) certificate: &'static str,
    pub(crate) certificate_why: &'static str,
    pub(crate) certificate_owners: &'static str,
    pub(crate) put_certificate: &'static str,
    pub(crate) put_certificate_why: &'static str,
    pub(crate) chain: &'static str,
    pub(crate) chain_hint: &'static str,
    pub(crate) key: &'static str,
    pub(crate) key_hint: &'static str,
    pub(crate) own_certificate: &'static str,
    pub(crate) own_certificate_why: &'static str,
    pub(crate) unfit_chain: &'static str,
    pub(crate) unfit_key: &'static str,
    pub(crate) unfit_mismatch: &'static str,
    pub(crate) unfit_expired: &'static str,
    pub(crate) unfit_early: &'static str,
    pub(crate) unfit_order: &'static str,
    pub(crate) unfit_names: &'static str,
    pub(crate) sessions: &'static str,
    pub(crate) sessions_why: &'static str,
    pub(crate) this_browser: &'static str,
    pub(crate) signed_in: fn(&str) -> String,
    pub(crate) used: fn(&str) -> String,
    pub(crate) unnamed_browser: &'static str,
    pub(crate) end: &'static str,
    pub(crate) end_others: &'static str,

    pub(crate) about_what: &'static str,
    pub(crate) about_blind: &'static str,
    pub(crate) about_never: &'static str,
    pub(crate) version: &'static str,
    pub(crate) licence: &'static str,
    pub(crate) gateway: &'static str,

    /// Of activations, passkeys, the gateway's authority and its end.
    pub(crate) device: device::Device,
    /// Of the pages for operators.
    pub(crate) operate: operate::Operate,

    pub(crate) signpost: &'static str,
    pub(crate) signpost_why: &'static str,
    pub(crate) signpost_check: &'static str,
    pub(crate) signpost_go: &'static str,

    pub(crate) bad_request: Advice,
    pub(crate) forbidden: Advice,
    pub(crate) not_found: Advice,
    pub(crate) wrong_host: Advice,
    pub(crate) too_many: Advice,
    pub(crate) too_large: Advice,
    pub(crate) too_slow: Advice,
    pub(crate) unavailable: Advice,
}

impl Texts {
    /// What was done to the page.
    pub(crate) const fn history_of(&self, what: What) -> &'static str {
        match what {
            What::Claimed => self.history_claimed,
            What::Password => self.history_password,
            What::Recovered => self.history_recovered,
            What::Certificate => self.history_certificate,
            What::OwnCertificate => self.history_own_certificate,
            What::Authority => self.device.history_authority,
            What::NoAuthority => self.device.history_no_authority,
            What::Passkey => self.device.history_passkey,
            What::NoPasskey => self.device.history_no_passkey,
            What::Reset => self.device.history_reset,
        }
    }
}

/// The visitor's own choice, else what the browser asks for.
pub(crate) fn choose(headers: &HeaderMap) -> &'static Texts {
    let chosen = headers.get(header::COOKIE).and_then(|v| v.to_str().ok()).and_then(|v| cookie(v, COOKIE));
    if let Some(texts) = chosen.and_then(by_tag) {
        return texts;
    }
    let wanted = headers.get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    // In order of weight; equal weights in the order written.
    let mut wanted: Vec<(f32, &str)> = wanted
        .split(',')
        .take(16)
        .filter_map(|one| {
            let (tag, weight) = one.split_once(';').unwrap_or((one, "q=1"));
            let weight = weight.trim().strip_prefix("q=")?.parse().ok()?;
            Some((weight, tag.trim()))
        })
        .filter(|(weight, _)| *weight > 0.0)
        .collect();
    wanted.sort_by(|a, b| b.0.total_cmp(&a.0));
    wanted.into_iter().find_map(|(_, tag)| by_language(tag)).unwrap_or(&en::TEXTS)
}

/// The language with this very tag.
pub(crate) fn by_tag(tag: &str) -> Option<&'static Texts> {
    ALL.into_iter().find(|texts| texts.tag == tag)
}

/// A language for any region of it.
fn by_language(tag: &str) -> Option<&'static Texts> {
    let language = |tag: &str| tag.split('-').next().unwrap_or_default().to_ascii_lowercase();
    ALL.into_iter().find(|texts| language(texts.tag) == language(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept: &'static str, cookie: &'static str) -> &'static str {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_LANGUAGE, accept.parse().unwrap());
        headers.insert(header::COOKIE, cookie.parse().unwrap());
        choose(&headers).tag
    }

    #[test]
    fn the_choice_comes_before_the_browsers_wish_and_english_last() {
        assert_eq!(chosen("", ""), "en");
        assert_eq!(chosen("de, fr;q=0.9", ""), "en");
        assert_eq!(chosen("zh-CN,zh;q=0.9,en;q=0.8", ""), "zh-CN");
        assert_eq!(chosen("en;q=0.5, zh-TW;q=0.7", ""), "zh-CN");
        assert_eq!(chosen("zh;q=0, en;q=0.1", ""), "en");
        assert_eq!(chosen("zh-CN", "__Host-language=en"), "en");
        assert_eq!(chosen("en", "__Host-language=<script>"), "en");
    }
}
