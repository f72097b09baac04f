//! What can be asked of a lock, and how that ended.

use std::fmt;

use cardea_resources::{Bolt, CommandReply};
use serde::{Serialize, Serializer};

use super::{bolt_name, refusal_words};

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
    /// The lock's site, the lists it has, and whether grants hold there.
    Site = 19,
    /// Tells the lock its site and that there is a list; the platform does so by itself.
    SiteChange = 20,
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
            Self::Site,
            Self::SiteChange,
        ]
        .into_iter()
        .find(|a| *a as u8 == value)
    }

    /// True for what changes the lock: it needs freshness, and a fenced lock is not asked for it.
    #[must_use]
    pub fn changes(self) -> bool {
        self.moves_bolt() || matches!(self, Self::PinChange | Self::Time | Self::SiteChange)
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
            Self::Site => "site",
            Self::SiteChange => "site setting",
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
    /// The answer to [`Ask::Site`] and [`Ask::SiteChange`].
    Site {
        /// The site that it is in, hexadecimal; `None` for none.
        site: Option<String>,
        /// The version of the site's authority that it knows, 0 for none.
        version: u32,
        /// The epoch of the revocation list in force, 0 before the first.
        revocations: u32,
        /// Additions of the authority that it has taken.
        additions: u32,
        /// Whether grants can hold; not while it lacks a list.
        grants: bool,
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
            Self::Pins { .. } | Self::PinChanged { .. } | Self::TimeSet { .. } | Self::Site { .. } => true,
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
            Self::Site { site, version, revocations, additions, grants, ms } => {
                match site {
                    Some(site) => write!(f, "site {site}, authority {version}, {additions} additions")?,
                    None => f.write_str("no site")?,
                }
                let grants = if *grants { "grants hold" } else { "GRANTS WAIT for a list" };
                write!(f, ", revocation list {revocations}, {grants} ({ms} ms)")
            }
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

fn bolt_word<S: Serializer>(bolt: &Bolt, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(bolt_name(*bolt))
}
