//! What is known of an ordinary lock, and by whose word.

use cardea_radio::Millis;

use super::{Rights, Verb};
use crate::types::Eui64;
use crate::zcl::door_lock::{self, LockState};

/// Where a bolt is, as far as anybody has said. Pessimistic: what nobody has said, or not for too long, is unknown, and a
/// command is never taken for its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bolt {
    /// Nobody has said, or not for too long.
    Unknown,
    /// The bolt is out.
    Locked,
    /// The bolt is in.
    Unlocked,
    /// Neither, and not on its way; or the lock says that it is stuck.
    Jammed,
    /// A command to lock was sent and is not confirmed.
    Locking,
    /// A command to unlock was sent and is not confirmed.
    Unlocking,
}

impl Bolt {
    pub(super) fn of(state: LockState) -> Self {
        match state {
            LockState::NotFullyLocked => Self::Jammed,
            LockState::Locked => Self::Locked,
            LockState::Unlocked => Self::Unlocked,
            LockState::Undefined => Self::Unknown,
        }
    }

    pub(super) fn moving(verb: Verb) -> Self {
        match verb {
            Verb::Lock => Self::Locking,
            Verb::Unlock => Self::Unlocking,
        }
    }

    pub(super) fn wanted(verb: Verb) -> Self {
        match verb {
            Verb::Lock => Self::Locked,
            Verb::Unlock => Self::Unlocked,
        }
    }

    /// What an operation event says of the bolt (ZCL table 7-27); `None`: nothing.
    pub(super) fn after(code: u8) -> Option<Self> {
        match code {
            // Lock, one-touch lock, key lock, auto lock, schedule lock, manual lock.
            1 | 7 | 8 | 10 | 11 | 13 => Some(Self::Locked),
            // Unlock, key unlock, schedule unlock, manual unlock.
            2 | 9 | 12 | 14 => Some(Self::Unlocked),
            _ => None,
        }
    }
}

/// By whose word something is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The lock reported its state.
    Report,
    /// It was asked and answered.
    Read,
    /// It told what happened.
    Event,
    /// It raised an alarm.
    Alarm,
    /// A command was sent to it. Only [`Bolt::Locking`] and [`Bolt::Unlocking`] are known by that.
    Command,
}

/// A lock's word about its bolt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Evidence {
    pub(super) bolt: Bolt,
    pub(super) source: Source,
    pub(super) at: Millis,
}

/// When a device was last heard, and how well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// When.
    pub at: Millis,
    /// 0–255, of the last hop.
    pub lqi: u8,
    /// dBm, of the last hop.
    pub rssi: i8,
}

/// How an ordinary lock is at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Which.
    pub eui: Eui64,
    /// The configuration names it; otherwise nothing below is kept.
    pub listened: bool,
    /// What may be done to it.
    pub rights: Rights,
    /// It is in the network.
    pub joined: bool,
    /// It was asked everything that it is asked.
    pub ready: bool,
    /// Frames wait at its parent until it polls; `None`: not known yet.
    pub sleepy: Option<bool>,
    /// Its maker's name, as it says; at most 32 printable characters.
    pub maker: String,
    /// Its model, likewise.
    pub model: String,
    /// Where its bolt is.
    pub bolt: Bolt,
    /// By whose word that is known, or was last known before it became unknown.
    pub source: Option<Source>,
    /// Since when, or when that was.
    pub at: Option<Millis>,
    /// Percent, and when it said so.
    pub battery: Option<(u8, Millis)>,
    /// The last time that it was heard.
    pub heard: Option<Heard>,
    /// It was heard within the time in which it must be.
    pub reachable: bool,
}

/// What a lock says that happened, less its secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// The bolt moved, or did not.
    Operation {
        /// By what means.
        source: door_lock::Source,
        /// ZCL table 7-27.
        code: u8,
        /// Which user slot.
        user: u16,
        /// When it was heard.
        at: Millis,
    },
    /// Somebody changed a user or a code.
    Programming {
        /// By what means.
        source: door_lock::Source,
        /// ZCL table 7-33.
        code: u8,
        /// Which user slot.
        user: u16,
        /// When it was heard.
        at: Millis,
    },
    /// An alarm of the Door Lock cluster (ZCL §7.3.2.13).
    Alarm {
        /// 0 bolt jammed, 1 reset to factory, 3 radio power cycled, 4 too many wrong codes, 5 front removed, 6 forced open.
        code: u8,
        /// When it was heard.
        at: Millis,
    },
}

/// A name of a device's own: printable, and no longer than the Basic cluster allows (32).
pub(super) fn name(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(32).collect::<String>().trim().to_owned()
}
