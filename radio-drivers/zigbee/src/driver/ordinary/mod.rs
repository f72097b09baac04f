//! Ordinary ZCL locks: locks of any maker whose commands and states are protected by the Zigbee network alone, so that the
//! gateway reads them and could forge them. They are **not end-to-end** protected, and everything about them is apart from the
//! sealed relay: their own types, tables and channel. An ordinary lock is named by its [`Eui64`], a sealed one by a `LockId`, and
//! what writes a lock or unlock command is reached by an [`Errand`] alone, which has no place for a `LockId`:
//!
//! ```compile_fail,E0308
//! use cardea_zigbee::driver::ordinary::{Request, Verb};
//! let sealed = cardea_framing::LockId([1; 8]);
//! let _ = Request::Move { eui: sealed, verb: Verb::Unlock, deadline: 0 };
//! ```
//!
//! `lock` is one of them as a state machine: interview, reporting, state, commands; `fleet` is all of them, inside the
//! driver. A device is in it by an order, is listened to while the configuration names it, and is commanded while the
//! configuration says so; without `DriverConfig::ordinary` nothing of it is heard and none is admitted.

mod desk;
mod fleet;
mod lock;
mod movement;
mod services;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use cardea_radio::Millis;

use crate::types::{Eui64, InstallCode};

pub use desk::{OrdinaryDesk, OrdinaryEnd, ordinary_desk};
pub(super) use fleet::Fleet;
pub use state::{Bolt, Happening, Heard, Snapshot, Source};

/// The most ordinary locks that one gateway has.
pub const MAX_ORDINARY: usize = 64;

/// What the operator decides about ordinary locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrdinaryConfig {
    /// The devices that are let in and listened to, and what may be done to them.
    pub devices: BTreeMap<Eui64, Rights>,
    /// Longest time between two reports of a bolt that locks are asked for, seconds. A state that is older by more than a moment
    /// counts as unknown.
    pub report_seconds: u16,
}

/// What may be done to an ordinary lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// It is listened to.
    Watch,
    /// It is locked and unlocked, too.
    Command,
}

/// What can be wanted of a bolt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Out.
    Lock,
    /// In.
    Unlock,
}

/// What the gateway wants, and the number under which it is answered by one [`Notice::Done`].
pub struct Errand {
    /// Chosen by the caller, never twice.
    pub token: u64,
    /// What.
    pub request: Request,
}

/// What can be wanted of an ordinary lock.
pub enum Request {
    /// To let it in. Done when it is stored; then the network opens for it.
    Admit {
        /// Who.
        eui: Eui64,
        /// From its label.
        code: InstallCode,
    },
    /// To forget it and send it away. Done when that is told to the store.
    Remove {
        /// Who.
        eui: Eui64,
    },
    /// To move its bolt.
    Move {
        /// Whose.
        eui: Eui64,
        /// Where to.
        verb: Verb,
        /// Not on the air after this moment.
        deadline: Millis,
    },
}

/// What is told to the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The radio was started: nothing that was asked of an earlier run is answered any more, and no command of it is carried out.
    Started,
    /// The end of an errand, or of an admission or removal that was refused.
    Done {
        /// Of the errand.
        token: u64,
        /// What became of it.
        outcome: Outcome,
    },
    /// A command is on its way; another word follows.
    Progress {
        /// Of the errand.
        token: u64,
        /// How far.
        step: Progress,
    },
    /// How a lock is now.
    State(Box<Snapshot>),
    /// What a lock says that happened.
    Happened {
        /// Which.
        eui: Eui64,
        /// What.
        happening: Happening,
    },
    /// It is not admitted any more.
    Removed(Eui64),
}

/// How far a command has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The dongle has sent it. It may not have arrived.
    Sent,
    /// The lock has accepted it. Its bolt may not have moved.
    Accepted,
}

/// The end of an errand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// An admission or removal is stored; a bolt is where it was wanted, by the lock's own word after it had accepted.
    Done,
    /// Nothing was sent; why, for people.
    Refused(String),
    /// Nothing was sent: it could have been on the air after its deadline.
    Expired,
    /// The lock refused: the ZCL status that it gave.
    Declined(u8),
    /// The lock accepted, and says that its bolt is elsewhere.
    Elsewhere,
    /// It may have arrived and may not, or the lock does not say where its bolt is.
    Unconfirmed,
}
