//! What the platform tells its user: events as they happen, outcomes of commands.

use std::fmt;

use cardea_framing::LockId;
use serde::{Serialize, Serializer};

use crate::PinState;

mod alarm;
mod outcome;
mod words;

pub(crate) use alarm::call;
pub use alarm::{Entry, LockAlarm};
pub use outcome::{Ask, Outcome};
pub(crate) use words::{GRANT_KINDS, bolt_name, entry_words, kind_name, refusal_words, value_words};

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
    /// A lock that was ours before this platform was put back from a backup is ours again: by its key, which it has
    /// proved, not by its owner code, which is used up. What it did meanwhile is in its log as far as the lock still
    /// has it.
    Recovered {
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
        /// `wrong_code`, `owned`, `not_enrolled`, `second_key`, `unproven`. The last one is a lock that has an owner,
        /// while nothing here says that it is this one: enrolled again by its full thumbprint or its maker's certificate
        /// it is recovered, if it is; otherwise it needs an owner reset.
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
    /// Somebody entered a right PIN; beside the [`Self::Lock`] of the same entry.
    PinUsed {
        /// At which lock.
        #[serde(serialize_with = "lock_hex")]
        lock: LockId,
        /// The PIN's slot.
        slot: u8,
        /// The bolt did not arrive.
        failed: bool,
        /// When and under which index.
        #[serde(flatten)]
        entry: Entry,
    },
    /// The same under duress, and then instead of [`Self::PinUsed`]: raise a silent alarm. Nothing at the door shows it.
    Duress {
        /// At which lock.
        #[serde(serialize_with = "lock_hex")]
        lock: LockId,
        /// The PIN's slot.
        slot: u8,
        /// The bolt did not arrive.
        failed: bool,
        /// When and under which index.
        #[serde(flatten)]
        entry: Entry,
    },
    /// A lock raises an alarm; beside the [`Self::Lock`] of the same entry.
    Alarm {
        /// Which.
        #[serde(serialize_with = "lock_hex")]
        lock: LockId,
        /// What about.
        alarm: LockAlarm,
        /// When and under which index.
        #[serde(flatten)]
        entry: Entry,
    },
    /// A PIN slot stands otherwise than before.
    Pin {
        /// At which lock.
        #[serde(serialize_with = "lock_hex")]
        lock: LockId,
        /// Which.
        slot: u8,
        /// How it stands now.
        state: PinState,
        /// What differs.
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<&'static str>,
    },
    /// Entries of a lock's log will not come: the lock has lost them, because it was full.
    LogGap {
        /// Which.
        #[serde(serialize_with = "lock_hex")]
        lock: LockId,
        /// The first index that is missing.
        first: u32,
        /// The last one.
        last: u32,
    },
    /// A lock is fenced from now on: see [`crate::Standing::fenced`].
    Fenced {
        /// Which.
        #[serde(serialize_with = "lock_hex")]
        lock: LockId,
    },
    /// A lock that was fenced or released is ours again.
    Readmitted {
        /// Which.
        #[serde(serialize_with = "lock_hex")]
        lock: LockId,
    },
    /// Somebody pressed a lock's inside button: it asks to be let go. Nobody can prove such a question, and only the
    /// owner root's signature answers it.
    ReleaseAsked {
        /// Which lock the question claims to be from.
        #[serde(serialize_with = "lock_hex")]
        lock: LockId,
        /// Through which gateway.
        gateway: String,
        /// What the lock drew for this one release, hexadecimal.
        nonce: String,
    },
    /// A lock was let go: its keys and PINs are forgotten here.
    Released {
        /// Which.
        #[serde(serialize_with = "lock_hex")]
        lock: LockId,
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
    /// A lock has said, inside OSCORE, whether grants can hold at it: not while it knows of a list that it does not have.
    Grants {
        /// Which.
        #[serde(serialize_with = "lock_hex")]
        lock: LockId,
        /// Whether they can.
        hold: bool,
        /// The epoch of the list that it has.
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
            Self::Recovered { lock, gateway } => {
                write!(f, "{lock}: recovered by its key, not activated by its code (through {gateway})")
            }
            Self::Rekeyed { lock } => write!(f, "{lock}: new session keys"),
            Self::ActivationRefused { lock, why: "unproven" } => write!(
                f,
                "{lock}: refused, it has an owner already; enroll it again by its full thumbprint or its certificate, or \
                 else reset its owner"
            ),
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
            Self::Grants { lock, hold: true, epoch } => write!(f, "{lock}: grants hold, under list {epoch}"),
            Self::Grants { lock, hold: false, epoch } => {
                write!(f, "{lock}: grants wait, it has list {epoch} and knows that there is more")
            }
            Self::ListLost { lock, epoch, ours } => write!(
                f,
                "{lock}: REVOCATIONS LOST, it has list {epoch} and this platform knows {ours}: revoke again what was revoked \
                 after the backup"
            ),
            Self::PinUsed { lock, slot, failed, .. } => {
                write!(
                    f,
                    "{lock}: PIN of slot {slot}{}",
                    if *failed { ", the bolt did not arrive" } else { "" }
                )
            }
            Self::Duress { lock, slot, failed, .. } => {
                let failed = if *failed { ", the bolt did not arrive" } else { "" };
                write!(f, "{lock}: DURESS, PIN of slot {slot}{failed}")
            }
            Self::Alarm { lock, alarm, .. } => write!(f, "{lock}: ALARM, {alarm}"),
            Self::Pin { lock, slot, state, why } => {
                let words = match state {
                    PinState::InForce => "its PIN is in force",
                    PinState::Empty => "it is empty",
                    PinState::Waiting => "a change waits",
                    PinState::Conflict => "CONFLICT",
                };
                write!(f, "{lock}: PIN slot {slot}, {words}")?;
                why.map_or(Ok(()), |why| write!(f, ": {why}"))
            }
            Self::LogGap { lock, first, last } => {
                write!(f, "{lock}: LOG GAP, the lock has lost entries {first} to {last}")
            }
            Self::Fenced { lock } => {
                write!(f, "{lock}: FENCED, nothing but questions is sent to it until `readmit`")
            }
            Self::Readmitted { lock } => write!(f, "{lock}: readmitted"),
            Self::ReleaseAsked { lock, gateway, nonce } => {
                write!(f, "{lock}: asks to be released, nonce {nonce} (through {gateway})")
            }
            Self::Released { lock } => write!(f, "{lock}: released, its keys are forgotten here"),
            Self::Progress { lock, command, state } => write!(f, "{lock}: command {command} {state}"),
            Self::Ended { lock, command, ask, outcome } => write!(f, "{lock}: {ask} ({command}) {outcome}"),
        }
    }
}

pub(crate) fn lock_hex<S: Serializer>(lock: &LockId, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(lock)
}

fn maybe_lock<S: Serializer>(lock: &Option<LockId>, s: S) -> Result<S::Ok, S::Error> {
    match lock {
        Some(lock) => s.collect_str(lock),
        None => s.serialize_none(),
    }
}
