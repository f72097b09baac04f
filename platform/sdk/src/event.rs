//! What the platform tells its user: events as they happen, outcomes of commands.

use std::fmt;

use cardea_framing::LockId;
use cardea_resources::{Bolt, CommandReply};
use serde::{Serialize, Serializer};

use crate::PinState;

mod alarm;
mod words;

pub(crate) use alarm::call;
pub use alarm::{Entry, LockAlarm};
pub(crate) use words::{GRANT_KINDS, bolt_name, entry_words, kind_name, refusal_words, value_words};

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
    /// Which PIN slots are in use; the platform asks by itself when it must know.
    Pins = 16,
    /// A change of a PIN slot; started by [`crate::Platform::set_pin`] and `clear_pin` alone.
    PinChange = 17,
    /// Tells the time; the platform does so by itself when the lock's status says that its clock is not trusted.
    Time = 18,
}

impl Ask {
    pub(crate) fn from_u8(value: u8) -> Option<Self> {
        [
            Self::Lock,
            Self::Unlock,
            Self::Status,
            Self::Battery,
            Self::Log,
            Self::Pins,
            Self::PinChange,
            Self::Time,
        ]
        .into_iter()
        .find(|a| *a as u8 == value)
    }

    /// True for what changes the lock: it needs freshness, and a fenced lock is not asked for it.
    #[must_use]
    pub fn changes(self) -> bool {
        self.moves_bolt() || matches!(self, Self::PinChange | Self::Time)
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
            Self::Pins => "pins",
            Self::PinChange => "PIN change",
            Self::Time => "time",
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
    /// The answer to [`Ask::Pins`]; [`crate::Platform::pins`] has the slots.
    Pins {
        /// How many slots the lock has.
        capacity: u8,
        /// How many hold a PIN.
        used: u8,
        /// From the question to the answer, milliseconds.
        ms: u64,
    },
    /// The lock confirmed a change of a PIN slot.
    PinChanged {
        /// From the question to the answer, milliseconds.
        ms: u64,
    },
    /// The lock took the time.
    TimeSet {
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
        match self {
            Self::Done { .. } | Self::Status { .. } | Self::Battery { .. } | Self::Log { .. } => true,
            Self::Pins { .. } | Self::PinChanged { .. } | Self::TimeSet { .. } => true,
            Self::Refused { .. } | Self::Jammed { .. } | Self::Rejected { .. } => false,
            Self::NotSent { .. } | Self::Unanswered { .. } => false,
        }
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
            Self::Pins { capacity, used, ms } => write!(f, "{used} of {capacity} PIN slots in use ({ms} ms)"),
            Self::PinChanged { ms } => write!(f, "confirmed ({ms} ms)"),
            Self::TimeSet { ms } => write!(f, "the clock is set ({ms} ms)"),
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

fn bolt_word<S: Serializer>(bolt: &Bolt, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(bolt_name(*bolt))
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
