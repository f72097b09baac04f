//! How the gateway, its radios and its locks are.

use std::collections::BTreeMap;

use cardea_framing::LockId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lock_id;

/// How the gateway is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Gateway id.
    pub gateway: String,
    /// Software version.
    pub version: String,
    /// Seconds since the daemon started.
    pub uptime_s: u64,
    /// Whether the system clock can be believed.
    pub clock_synced: bool,
    /// The broker.
    pub broker: Broker,
    /// Radios by name.
    pub radios: BTreeMap<String, Radio>,
    /// Admitted locks.
    pub locks: u64,
    /// Frames that wait for the broker or the platform.
    pub outbox_frames: u64,
    /// Their bytes on disk.
    pub outbox_bytes: u64,
    /// Frames dropped since the start, each announced by a gap.
    pub dropped: u64,
    /// Store operations that failed since the start.
    pub store_failures: u64,
    /// How many signing keys of the platform are pinned; 0: its word on activations is not believed, and not shown.
    #[serde(default)]
    pub platform_keys: u64,
    /// The bridge of ordinary locks, which are not end-to-end protected; `None`: it is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsealed: Option<Unsealed>,
}

impl Status {
    /// True when nothing needs the operator's attention.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.broker.connected
            && self.broker.detail.is_empty()
            && self.clock_synced
            && self.radios.values().all(|r| r.up)
            && self.unsealed.as_ref().is_none_or(|bridge| bridge.connected && bridge.detail.is_empty())
    }
}

/// The bridge of ordinary locks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unsealed {
    /// Always false.
    pub end_to_end: bool,
    /// Admitted ones.
    pub locks: u64,
    /// Those of them whose commands are on.
    pub commands: u64,
    /// True while its own connection to the broker is up.
    pub connected: bool,
    /// What is wrong; empty when all is well.
    pub detail: String,
    /// Messages of the broker and events of locks that came to nothing without a word, since the start.
    pub ignored: u64,
}

/// The link to the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Broker {
    /// Its address.
    pub url: String,
    /// True while messages go both ways.
    pub connected: bool,
    /// What is wrong; empty when all is well.
    pub detail: String,
}

/// One radio.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Radio {
    /// True while it carries frames.
    pub up: bool,
    /// What is wrong; empty when all is well.
    pub detail: String,
    /// Times its driver was started again.
    pub restarts: u64,
    /// The backup of its network that the gateway keeps by itself; `None`: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<KeptBackup>,
}

/// A backup of a radio network that the gateway keeps by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeptBackup {
    /// From where it is: `dongle`, which told it, or `restored`: it was given to a dongle that has not told its own yet.
    pub source: String,
    /// When it was last seen to be what the dongle remembers, Unix milliseconds; `None`: nobody knew the time. After a start of
    /// the daemon this may be a day too early, until the dongle is asked again.
    pub at: Option<u64>,
    /// Devices in it.
    pub devices: u64,
}

impl KeptBackup {
    /// How old it is at this time (Unix milliseconds), seconds; `None`: nobody knows.
    #[must_use]
    pub fn age_s(&self, now: u64) -> Option<u64> {
        self.at.map(|at| now.saturating_sub(at) / 1_000)
    }
}

/// One admitted lock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lock {
    /// Lock id.
    #[serde(with = "lock_id")]
    #[schemars(schema_with = "lock_id::schema")]
    pub lock: LockId,
    /// Name of its radio; empty when that radio is not configured.
    pub radio: String,
    /// Whether it is in the radio network.
    pub joined: bool,
    /// Whether it only hears after it has spoken.
    pub sleepy: bool,
    /// Its site address, once it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<u16>,
    /// Last frame, Unix milliseconds.
    pub heard: Option<u64>,
    /// dBm.
    pub rssi: Option<i16>,
    /// dB.
    pub snr: Option<f32>,
    /// 0–255.
    pub lqi: Option<u8>,
    /// Downlinks without an end.
    pub pending: u64,
    /// What the platform said, signed, of its activation, since the daemon started; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
}

/// How the owner's platform says that an activation ended. Its signature was verified with a pinned key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Activation {
    /// How.
    pub outcome: ActivationOutcome,
    /// When, Unix milliseconds by the platform's clock.
    pub at: u64,
    /// When this gateway heard of it, Unix milliseconds.
    pub heard: u64,
}

/// How an activation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActivationOutcome {
    /// Lock and platform have proved the same owner code to each other.
    Activated,
    /// The owner code that the platform was given is not the lock's.
    WrongCode,
    /// The lock belongs to somebody already.
    Owned,
}

/// One router of a radio network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Router {
    /// EUI-64, 16 hexadecimal digits.
    pub router: String,
    /// It is in the network.
    pub joined: bool,
}

/// One ordinary lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnsealedLock {
    /// EUI-64, 16 hexadecimal digits.
    pub lock: String,
    /// Always false.
    pub end_to_end: bool,
    /// As in the configuration; `None`: it is not named there, and not listened to.
    pub name: Option<String>,
    /// Whether it may be locked and unlocked.
    pub commands: bool,
    /// Whether it is in the network.
    pub joined: bool,
    /// Whether it was asked everything that it is asked.
    pub ready: bool,
    /// `unknown`, `locked`, `unlocked`, `jammed`, `locking` or `unlocking`.
    pub bolt: String,
    /// By whose word: `report`, `read`, `event`, `alarm` or `command`.
    pub source: Option<String>,
    /// When that was said, Unix milliseconds.
    pub at: Option<u64>,
    /// Last frame, Unix milliseconds.
    pub heard: Option<u64>,
    /// Percent.
    pub battery: Option<u8>,
    /// dBm.
    pub rssi: Option<i8>,
    /// 0–255.
    pub lqi: Option<u8>,
}
