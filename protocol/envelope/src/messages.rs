//! The payload of every topic (the topics themselves: [`crate::Topics`]).

use std::collections::BTreeMap;

use cardea_framing::{Class, Kind, LockId};
use serde::{Deserialize, Serialize};

use crate::{
    Data, Epoch, MessageId,
    ids::{lock_id, word},
};

/// `lock/{lock}/up`: one sealed datagram on its way to the platform. At least once: a repeat has the same `id`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Uplink {
    /// [`crate::VERSION`].
    pub v: u8,
    /// First 16 bytes of SHA-256(lock id ‖ datagram).
    pub id: MessageId,
    /// Who sent it.
    #[serde(with = "lock_id")]
    pub lock: LockId,
    /// Frame kind from the header byte.
    #[serde(with = "word")]
    pub kind: Kind,
    /// Queueing class from the header byte; no key holder decides by it.
    #[serde(with = "word")]
    pub class: Class,
    /// The datagram, header byte included.
    pub data: Data,
    /// Name of the radio that heard it.
    pub radio: String,
    /// dBm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rssi: Option<i16>,
    /// dB (LoRa).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snr: Option<f32>,
    /// 0–255 (Zigbee).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lqi: Option<u8>,
    /// Reception, Unix milliseconds by the gateway's clock.
    pub at: u64,
    /// Whether that clock can be believed.
    pub clock: ClockState,
    /// The gateway run that numbered this frame.
    pub epoch: Epoch,
    /// From 1, without holes, per lock and epoch.
    pub seq: u64,
}

/// Whether the gateway's wall clock is synchronised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockState {
    /// By NTP or an equal source.
    Synced,
    /// Free running since power-up.
    Unsynced,
}

/// `lock/{lock}/down`: one sealed datagram for a lock. Never retained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Downlink {
    /// [`crate::VERSION`].
    pub v: u8,
    /// 16 random bytes; a second message with the same id is never sent again.
    pub id: MessageId,
    /// Receiver; must agree with the topic.
    #[serde(with = "lock_id")]
    pub lock: LockId,
    /// Frame kind; must agree with the datagram's header byte.
    #[serde(with = "word")]
    pub kind: Kind,
    /// Queueing class; must agree with the datagram's header byte.
    #[serde(with = "word")]
    pub class: Class,
    /// The datagram, header byte included.
    pub data: Data,
    /// Unix milliseconds after which it must not go on the air.
    pub not_after: u64,
}

/// `lock/{lock}/result`: what became of a downlink. At least once; a terminal state never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownlinkResult {
    /// [`crate::VERSION`].
    pub v: u8,
    /// The downlink's id.
    pub id: MessageId,
    /// Its lock.
    #[serde(with = "lock_id")]
    pub lock: LockId,
    /// How far it came.
    pub state: ResultState,
    /// Why it was refused or failed, as a fixed word (`retained`, `clock`, `unknown_lock`, `too_big`, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Unix milliseconds by the gateway's clock.
    pub at: u64,
}

/// States of a downlink; all but the first two are terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResultState {
    /// Accepted, waits for the lock's next window.
    Queued,
    /// On the air; says nothing of reception.
    Sent,
    /// The lock's receipt came: received, not executed.
    Delivered,
    /// `not_after` passed first; it was not sent late.
    Expired,
    /// The gateway will not send it.
    Refused,
    /// The gateway tried and could not.
    Failed,
}

impl ResultState {
    /// No other state follows.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Queued | Self::Sent)
    }
}

/// `lock/{lock}/seen`: the platform holds everything of this lock and epoch up to and including `seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// [`crate::VERSION`].
    pub v: u8,
    /// Epoch of the numbering.
    pub epoch: Epoch,
    /// Cumulative.
    pub seq: u64,
}

/// `state`, retained and as last will: is the gateway there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayState {
    /// Online or offline.
    pub state: Presence,
    /// Unix milliseconds; of a last will, the time of the connection it belongs to.
    pub at: u64,
}

/// Presence of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// Connected.
    Online,
    /// Gone, by its own word or by its last will.
    Offline,
}

/// `info`, retained: what this gateway is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// [`crate::VERSION`].
    pub v: u8,
    /// Gateway id.
    pub gateway: String,
    /// Software version.
    pub version: String,
    /// This run.
    pub epoch: Epoch,
    /// Configured radios by name.
    pub radios: Vec<String>,
    /// `broker` or `platform`: whose word ends the gateway's custody.
    pub custody: String,
}

/// `health`, retained: how this gateway is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// [`crate::VERSION`].
    pub v: u8,
    /// Unix milliseconds.
    pub at: u64,
    /// Whether the wall clock can be believed.
    pub clock: ClockState,
    /// Radios by name.
    pub radios: BTreeMap<String, RadioHealth>,
    /// Frames that wait for the broker or the platform.
    pub outbox_frames: u64,
    /// Their bytes.
    pub outbox_bytes: u64,
    /// Frames dropped since the start, each announced by a gap.
    pub dropped: u64,
}

/// One radio in [`Health`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RadioHealth {
    /// True while it carries frames.
    pub up: bool,
    /// For the operator; empty when all is well.
    pub detail: String,
}

/// `locks`, retained: who is admitted here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locks {
    /// [`crate::VERSION`].
    pub v: u8,
    /// Admitted locks.
    pub locks: Vec<LockEntry>,
}

/// One lock in [`Locks`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockEntry {
    /// Routing id.
    #[serde(with = "lock_id")]
    pub lock: LockId,
    /// Name of its radio.
    pub radio: String,
}

/// `lock/{lock}/link`, retained: how this lock can be reached. The platform sends through the gateway whose
/// link is newest and whose state is online.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkState {
    /// [`crate::VERSION`].
    pub v: u8,
    /// Whether it is in the radio network.
    pub joined: bool,
    /// Name of its radio.
    pub radio: String,
    /// True when it only hears after it has spoken.
    pub sleepy: bool,
    /// The longest a downlink may have to wait for air, milliseconds.
    pub life_ms: u32,
    /// Last frame heard, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<u64>,
    /// dBm of that frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rssi: Option<i16>,
    /// dB of that frame (LoRa).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snr: Option<f32>,
    /// 0–255 of that frame (Zigbee).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lqi: Option<u8>,
    /// Downlinks that wait for its next window.
    pub pending: u32,
    /// Unix milliseconds of this report.
    pub at: u64,
}

/// `event`: something an operator or platform should know. At least once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayEvent {
    /// [`crate::VERSION`].
    pub v: u8,
    /// Unix milliseconds.
    pub at: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: EventKind,
}

/// What happened at a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum EventKind {
    /// A lock joined its radio network.
    Joined {
        /// Which lock.
        #[serde(with = "lock_id")]
        lock: LockId,
        /// On which radio.
        radio: String,
    },
    /// A lock left or was removed.
    Left {
        /// Which lock.
        #[serde(with = "lock_id")]
        lock: LockId,
        /// From which radio.
        radio: String,
    },
    /// Frames of this lock were dropped because the outbox was full.
    Gap {
        /// Which lock.
        #[serde(with = "lock_id")]
        lock: LockId,
        /// Identifies this gap over repeats.
        id: MessageId,
        /// How many frames.
        frames: u64,
        /// Class of the dropped frames.
        #[serde(with = "word")]
        class: Class,
        /// Reception of the first, Unix milliseconds.
        first: u64,
        /// Reception of the last, Unix milliseconds.
        last: u64,
    },
    /// Someone should look.
    Alarm {
        /// Which lock, where one is meant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lock: Option<String>,
        /// A fixed word.
        cause: String,
        /// One line for the operator.
        detail: String,
    },
    /// Something that changed this gateway, for the record.
    Audit {
        /// One line.
        detail: String,
    },
}

/// `request/{verb}`: a question that only reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Returned in the response.
    #[serde(default)]
    pub transaction: Option<String>,
}

/// `response/{verb}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The answer; null with an error.
    pub data: serde_json::Value,
    /// `ok` or `error`.
    pub status: String,
    /// What was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// From the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
}
