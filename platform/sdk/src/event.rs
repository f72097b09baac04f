//! What the platform tells its user: events as they happen, outcomes of commands.

use std::fmt;

use cardea_framing::LockId;
use cardea_resources::{Bolt, CommandReply, EventKind, Firmware, PinUse, Refusal};
use serde::{Serialize, Serializer};

use crate::LogRow;

/// What can be asked of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ask {
    /// Throw the bolt.
    Lock = 0,
    /// Withdraw the bolt.
    Unlock = 1,
    /// Bolt, battery, clock and firmware.
    Status = 2,
    /// Battery in detail.
    Battery = 3,
    /// The lock's own log from the cursor on; the platform asks by itself when entries are missing.
    Log = 4,
}

impl Ask {
    pub(crate) fn from_u8(value: u8) -> Option<Self> {
        [Self::Lock, Self::Unlock, Self::Status, Self::Battery, Self::Log]
            .into_iter()
            .find(|a| *a as u8 == value)
    }

    /// True for what moves the bolt: it carries a command id and needs freshness.
    #[must_use]
    pub fn moves_bolt(self) -> bool {
        matches!(self, Self::Lock | Self::Unlock)
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::Status => "status",
            Self::Battery => "battery",
            Self::Log => "log",
        })
    }
}

/// How a command ended. Only the lock's own sealed answer makes it [`Outcome::Done`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// The bolt is where it was wanted.
    Done {
        /// The bolt afterwards.
        #[serde(serialize_with = "bolt_word")]
        bolt: Bolt,
        /// From the question to the answer, milliseconds.
        ms: u64,
    },
    /// The answer to [`Ask::Status`].
    Status {
        /// The bolt.
        #[serde(serialize_with = "bolt_word")]
        bolt: Bolt,
        /// Percent.
        battery: u8,
        /// Whether the lock can judge `not_after` by its own clock.
        clock_trusted: bool,
        /// Firmware version, `major.minor.patch`.
        firmware: String,
        /// The epoch of its revocation list, 0 before the first; `None` where it takes none.
        #[serde(skip_serializing_if = "Option::is_none")]
        revocations: Option<u32>,
        /// From the question to the answer, milliseconds.
        ms: u64,
    },
    /// The answer to [`Ask::Battery`].
    Battery {
        /// Percent.
        percent: u8,
        /// Terminal voltage under the last load, millivolts.
        millivolts: Option<u16>,
        /// From the question to the answer, milliseconds.
        ms: u64,
    },
    /// The answer to [`Ask::Log`]: this many entries were new.
    Log {
        /// How many.
        entries: u32,
        /// From the question to the answer, milliseconds.
        ms: u64,
    },
    /// The lock received the command and did not move the bolt.
    Refused {
        /// Why.
        reason: String,
        /// The bolt.
        #[serde(serialize_with = "bolt_word")]
        bolt: Bolt,
    },
    /// The motor ran and the bolt did not arrive.
    Jammed {
        /// The bolt.
        #[serde(serialize_with = "bolt_word")]
        bolt: Bolt,
    },
    /// The lock answered with an error.
    Rejected {
        /// CoAP code, `4.04`.
        code: String,
    },
    /// The time was up before anything was sent: the lock has certainly done nothing.
    NotSent {
        /// What it waited for.
        waiting: String,
    },
    /// It was sent and no answer came in time: the lock may have done it. Its next event tells.
    Unanswered {
        /// How often it was sent.
        sent: u32,
        /// The last word of the gateway about it.
        gateway: Option<String>,
    },
}

impl Outcome {
    /// What a lock says of a command, `ms` milliseconds after it was asked.
    pub(crate) fn of_command(reply: &CommandReply, ms: u64) -> Self {
        let bolt = reply.bolt;
        match reply.outcome {
            cardea_resources::Outcome::Done => Self::Done { bolt, ms },
            cardea_resources::Outcome::Failed => Self::Jammed { bolt },
            cardea_resources::Outcome::Refused(why) => Self::Refused { reason: refusal_words(why), bolt },
        }
    }

    /// True when the lock did, or told, what was asked.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Status { .. } | Self::Battery { .. } | Self::Log { .. })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done { bolt, ms } => write!(f, "done: the bolt is {} ({ms} ms)", bolt_name(*bolt)),
            Self::Status { bolt, battery, clock_trusted, firmware, revocations, ms } => {
                let clock = if *clock_trusted { "trusted" } else { "not trusted" };
                write!(f, "{}, battery {battery} %, clock {clock}, firmware {firmware}", bolt_name(*bolt))?;
                if let Some(epoch) = revocations {
                    write!(f, ", revocation list {epoch}")?;
                }
                write!(f, " ({ms} ms)")
            }
            Self::Battery { percent, millivolts: Some(mv), ms } => {
                write!(f, "battery {percent} %, {mv} mV ({ms} ms)")
            }
            Self::Battery { percent, millivolts: None, ms } => write!(f, "battery {percent} % ({ms} ms)"),
            Self::Log { entries, ms } => write!(f, "{entries} log entries ({ms} ms)"),
            Self::Refused { reason, bolt } => {
                write!(f, "refused by the lock: {reason}; the bolt is {}", bolt_name(*bolt))
            }
            Self::Jammed { bolt } => write!(f, "the motor ran, but the bolt is {}", bolt_name(*bolt)),
            Self::Rejected { code } => write!(f, "the lock answered {code}"),
            Self::NotSent { waiting } => write!(f, "not sent, the lock has done nothing: {waiting}"),
            Self::Unanswered { sent, gateway } => {
                write!(
                    f,
                    "sent {sent} time(s), no answer in time; the lock may have acted, its next event tells"
                )?;
                gateway.as_ref().map_or(Ok(()), |word| write!(f, " (gateway: {word})"))
            }
        }
    }
}

/// Something happened. Serialises to one JSON object with the member `event`; `Display` gives one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum PlatformEvent {
    /// The broker took us.
    BrokerUp,
    /// The broker is gone; the reason is for people.
    BrokerDown {
        /// Why.
        reason: String,
    },
    /// A gateway came or went.
    Gateway {
        /// Which.
        gateway: String,
        /// Whether it is there.
        online: bool,
    },
    /// A gateway reported something about itself or its radio network (`joined`, `left`, `gap`, `alarm`, `audit`).
    Site {
        /// Which gateway.
        gateway: String,
        /// What, as a fixed word.
        what: String,
        /// The lock it is about.
        #[serde(serialize_with = "maybe_lock", skip_serializing_if = "Option::is_none")]
        lock: Option<LockId>,
        /// One line for people.
        detail: String,
    },
    /// Lock and platform have proved the owner code to each other; the lock is ours.
    Activated {
        /// Which.
        #[serde(serialize_with = "lock_hex")]
        lock: LockId,
        /// Through which gateway.
        gateway: String,
    },
    /// An activated lock made new session keys.
    Rekeyed {
        /// Which.
        #[serde(serialize_with = "lock_hex")]
        lock: LockId,
    },
    /// An activation or handshake that was refused.
    ActivationRefused {
        /// Which lock the frame claims to be from.
        #[serde(serialize_with = "lock_hex")]
        lock: LockId,
        /// `wrong_code`, `owned`, `not_enrolled`, `second_key`, `unproven`.
        why: &'static str,
    },
    /// The limit of wrong attempts was reached; handshakes of this lock are refused for a while.
    Throttled {
        /// Which.
        #[serde(serialize_with = "lock_hex")]
        lock: LockId,
        /// For how long, milliseconds.
        ms: u64,
    },
    /// A lock reported an event; it is durable here.
    Lock {
        /// Which.
        #[serde(serialize_with = "lock_hex")]
        lock: LockId,
        /// Through which gateway.
        gateway: String,
        /// `boot`, `touch`, `bolt`, `battery`, `heartbeat`, `door`, `tamper`, `refused`, `command`, `pin`, `pin limit` or a number.
        kind: String,
        /// The value in words, where it has one.
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<String>,
        /// The lock's log index.
        #[serde(skip_serializing_if = "Option::is_none")]
        log: Option<u32>,
        /// By the lock's clock, Unix seconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        at: Option<u32>,
        /// Here, Unix milliseconds.
        received: u64,
    },
    /// A lock reported another event under a log index that is taken. A lock never does: there are two locks with
    /// one identity, or its memory was put back. What is stored stays; the other is kept beside it.
    Forked {
        /// Which.
        #[serde(serialize_with = "lock_hex")]
        lock: LockId,
        /// Through which gateway; empty for what came with a page of the lock's own log.
        gateway: String,
        /// The lock's log index.
        log: Option<u32>,
        /// What is stored: kind, value, time by the lock's clock.
        kept: String,
        /// What came.
        came: String,
    },
    /// A lock has said, inside OSCORE, that it has the revocation list of this epoch, which is the newest.
    ListConfirmed {
        /// Which.
        #[serde(serialize_with = "lock_hex")]
        lock: LockId,
        /// The epoch.
        epoch: u32,
    },
    /// A lock has a later revocation list than this platform, which was put back from a backup: what was revoked since
    /// is not known here. The lock still refuses those keys, until the next list.
    ListLost {
        /// Which.
        #[serde(serialize_with = "lock_hex")]
        lock: LockId,
        /// The epoch that it has.
        epoch: u32,
        /// The epoch that is known here.
        ours: u32,
    },
    /// How far a command has come: `held`, `sent`, or a gateway's word (`queued`, `sent`, `delivered`, `expired`,
    /// `refused: …`, `failed: …`).
    Progress {
        /// For whom.
        #[serde(serialize_with = "lock_hex")]
        lock: LockId,
        /// Command id, hexadecimal.
        command: String,
        /// How far.
        state: String,
    },
    /// A command ended.
    Ended {
        /// For whom.
        #[serde(serialize_with = "lock_hex")]
        lock: LockId,
        /// Command id, hexadecimal.
        command: String,
        /// What was asked.
        ask: Ask,
        /// How it ended.
        #[serde(flatten)]
        outcome: Outcome,
    },
}

impl fmt::Display for PlatformEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BrokerUp => f.write_str("broker: connected"),
            Self::BrokerDown { reason } => write!(f, "broker: gone ({reason}), trying again"),
            Self::Gateway { gateway, online } => {
                write!(f, "gateway {gateway}: {}", if *online { "online" } else { "offline" })
            }
            Self::Site { gateway, detail, .. } => write!(f, "gateway {gateway}: {detail}"),
            Self::Activated { lock, gateway } => {
                write!(f, "{lock}: activated, both sides proved (through {gateway})")
            }
            Self::Rekeyed { lock } => write!(f, "{lock}: new session keys"),
            Self::ActivationRefused { lock, why } => write!(f, "{lock}: refused, {}", why.replace('_', " ")),
            Self::Throttled { lock, ms } => {
                write!(f, "{lock}: too many wrong attempts, handshakes refused for {} s", ms / 1000)
            }
            Self::Lock { lock, kind, value, log, .. } => {
                write!(f, "{lock}: {kind}")?;
                if let Some(value) = value {
                    write!(f, " {value}")?;
                }
                log.map_or(Ok(()), |index| write!(f, " (log {index})"))
            }
            Self::Forked { lock, log, kept, came, .. } => {
                let index = log.map_or_else(String::new, |index| format!(" {index}"));
                write!(
                    f,
                    "{lock}: LOG FORKED, entry{index} is `{kept}` here and came as `{came}`: a copy of this lock, or one \
                     whose memory was put back"
                )
            }
            Self::ListConfirmed { lock, epoch } => write!(f, "{lock}: has revocation list {epoch}"),
            Self::ListLost { lock, epoch, ours } => write!(
                f,
                "{lock}: REVOCATIONS LOST, it has list {epoch} and this platform knows {ours}: revoke again what was revoked \
                 after the backup"
            ),
            Self::Progress { lock, command, state } => write!(f, "{lock}: command {command} {state}"),
            Self::Ended { lock, command, ask, outcome } => write!(f, "{lock}: {ask} ({command}) {outcome}"),
        }
    }
}

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

fn bolt_word<S: Serializer>(bolt: &Bolt, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(bolt_name(*bolt))
}

fn lock_hex<S: Serializer>(lock: &LockId, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(lock)
}

fn maybe_lock<S: Serializer>(lock: &Option<LockId>, s: S) -> Result<S::Ok, S::Error> {
    match lock {
        Some(lock) => s.collect_str(lock),
        None => s.serialize_none(),
    }
}
