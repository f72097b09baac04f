//! Bolts, kinds and values in words.

use cardea_resources::{Bolt, EventKind, Firmware, PinUse, Refusal};

use crate::LogRow;

/// The bolt in one word.
pub(crate) fn bolt_name(bolt: Bolt) -> &'static str {
    match bolt {
        Bolt::Locked => "locked",
        Bolt::Unlocked => "unlocked",
        Bolt::Jammed => "jammed",
        Bolt::Unknown => "unknown",
    }
}

/// Kinds of log entries whose value names a grant.
pub(crate) const GRANT_KINDS: [&str; 3] =
    ["unlocked by grant", "locked by grant", "grant, the bolt did not arrive"];

/// The kind in one word.
pub(crate) fn kind_name(kind: EventKind) -> String {
    match kind {
        EventKind::Boot => "boot".into(),
        EventKind::Touch => "touch".into(),
        EventKind::Bolt => "bolt".into(),
        EventKind::Battery => "battery".into(),
        EventKind::Heartbeat => "heartbeat".into(),
        EventKind::Door => "door".into(),
        EventKind::Tamper => "tamper".into(),
        EventKind::Refused => "refused".into(),
        EventKind::Command => "command".into(),
        EventKind::Pin => "pin".into(),
        EventKind::PinLimit => "pin limit".into(),
        EventKind::GrantUnlock => "unlocked by grant".into(),
        EventKind::GrantLock => "locked by grant".into(),
        EventKind::GrantFailed => "grant, the bolt did not arrive".into(),
        EventKind::Other(code) => format!("kind {code}"),
    }
}

/// A stored event in one line.
pub(crate) fn entry_words(row: &LogRow) -> String {
    let value = row.value.map_or_else(String::new, |value| format!(" {value}"));
    let at = row.at.map_or_else(String::new, |at| format!(" at {at}"));
    format!("{}{value}{at}", row.kind)
}

/// The value in words, by kind (see [`EventKind`]).
pub(crate) fn value_words(kind: EventKind, value: Option<u32>) -> Option<String> {
    let value = value?;
    let byte = u8::try_from(value).ok();
    Some(match (kind, byte) {
        (EventKind::Boot, _) => format!("firmware {}", Firmware::from_u32(value)),
        (EventKind::Bolt, Some(code)) => {
            Bolt::from_code(code).map_or_else(|| value.to_string(), |bolt| bolt_name(bolt).into())
        }
        (EventKind::Battery | EventKind::Heartbeat, _) => format!("{value} %"),
        (EventKind::Door, Some(0)) => "closed".into(),
        (EventKind::Door, Some(1)) => "open".into(),
        (EventKind::Door, Some(2)) => "ajar".into(),
        (EventKind::Pin, _) => match PinUse::from_u32(value) {
            Some(used) => format!(
                "slot {}{}{}",
                used.slot,
                if used.duress { " UNDER DURESS" } else { "" },
                if used.failed { ", the bolt did not arrive" } else { "" }
            ),
            None => value.to_string(),
        },
        (EventKind::Refused, Some(code)) => match cardea_resources::Outcome::from_code(code) {
            cardea_resources::Outcome::Refused(reason) => refusal_words(reason),
            _ => value.to_string(),
        },
        (EventKind::GrantUnlock | EventKind::GrantLock | EventKind::GrantFailed, _) => {
            format!("grant {value:08x}")
        }
        (EventKind::Command, Some(0)) => "lock".into(),
        (EventKind::Command, Some(1)) => "unlock".into(),
        _ => value.to_string(),
    })
}

/// Why a lock refused, in words.
pub(crate) fn refusal_words(refusal: Refusal) -> String {
    match refusal {
        Refusal::Expired => "expired".into(),
        Refusal::Freshness => "not fresh".into(),
        Refusal::TooFarAhead => "not_after too far ahead".into(),
        Refusal::Denied => "denied".into(),
        Refusal::Busy => "busy".into(),
        Refusal::Battery => "battery too weak".into(),
        Refusal::Unsupported => "unsupported".into(),
        Refusal::Other(code) => format!("reason {code}"),
    }
}
