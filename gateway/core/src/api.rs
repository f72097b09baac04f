//! What goes into the relay and what comes out of it.

use bytes::Bytes;
use cardea_framing::LockId;
use cardea_radio::{Admission, Command, Event};

use crate::{
    records::{StoreOp, StoreReply},
    upstream::{Publish, UpstreamEvent},
};

/// Names one radio of this gateway: its place in [`crate::Config::radios`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RadioId(pub u16);

/// The wall clock, as the shell reads it beside the monotonic one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wall {
    /// Unix milliseconds.
    pub unix_ms: u64,
    /// Whether it can be believed (NTP or an equal source).
    pub synced: bool,
}

/// Something happened.
#[derive(Debug)]
pub enum Input {
    /// A driver says something.
    Radio {
        /// Which driver.
        radio: RadioId,
        /// What it says.
        event: Event,
    },
    /// The broker link says something.
    Upstream(UpstreamEvent),
    /// The store answers.
    Stored(StoreReply),
    /// The operator wants something; answered by [`Action::Admin`] with the same token.
    Admin {
        /// Chosen by the caller.
        token: u64,
        /// What is wanted.
        verb: Admin,
    },
    /// A phone at this gateway says something.
    Peer(PeerInput),
    /// [`crate::Relay::poll_timeout`] has come.
    Timer,
}

/// What a phone does that is attached to this gateway. The caller numbers phones, and uses no number twice.
#[derive(Debug)]
pub enum PeerInput {
    /// It wants to speak to a lock. Answered by [`PeerAction::Attached`] or [`PeerAction::Refused`].
    Attach {
        /// Which phone.
        peer: u64,
        /// To which lock.
        lock: LockId,
    },
    /// It says something: a datagram of a peer kind, header byte and destination included.
    Datagram {
        /// Which phone.
        peer: u64,
        /// What.
        data: Bytes,
    },
    /// It is gone.
    Detach {
        /// Which phone.
        peer: u64,
    },
}

/// What a phone is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerAction {
    /// It has an address now, until it is detached.
    Attached {
        /// Which phone.
        peer: u64,
        /// Its own address.
        address: u16,
        /// The lock's.
        lock: u16,
    },
    /// It was not attached, or what it said goes nowhere.
    Refused {
        /// Which phone.
        peer: u64,
        /// For people.
        why: &'static str,
    },
    /// A datagram for it, with the address of its source. What finds no room may be dropped.
    Datagram {
        /// Which phone.
        peer: u64,
        /// What.
        data: Bytes,
    },
}

/// What an operator at the gateway may ask of the relay.
#[derive(Debug)]
pub enum Admin {
    /// Let a lock in by its radio label.
    Admit {
        /// On which radio.
        radio: RadioId,
        /// What the label says.
        admission: Admission,
    },
    /// Forget a lock. What it sent before still goes up.
    Remove(LockId),
    /// Raise an alarm event from another part of the daemon.
    Alarm {
        /// A fixed word.
        cause: String,
        /// One line for the operator.
        detail: String,
    },
    /// Say goodbye to the broker: publishes `offline` and commits what is still held in memory. Done once it
    /// is answered.
    Shutdown,
}

/// The end of an [`Admin`] verb; the text of an error is for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminReply {
    /// The token of the [`Input::Admin`].
    pub token: u64,
    /// `Err` says what is wrong and what to do.
    pub result: Result<(), String>,
}

/// Something is to be done.
#[derive(Debug)]
pub enum Action {
    /// Tell a driver.
    Radio {
        /// Which driver.
        radio: RadioId,
        /// What.
        command: Command,
    },
    /// Give to the broker. At most [`crate::Config::publish_window`] are outstanding.
    Publish(Publish),
    /// The message with this `ack` is safe (or of no interest): acknowledge it to the broker.
    Ack(u64),
    /// Tell a phone.
    Peer(PeerAction),
    /// Give to the store.
    Store(StoreOp),
    /// The end of an admin verb.
    Admin(AdminReply),
}
