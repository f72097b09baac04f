//! What the relay is told once.

use cardea_credentials::PublicKey;
use cardea_envelope::{Encoding, Topics};

/// Whose word ends the gateway's custody of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Custody {
    /// The broker's PUBACK.
    #[default]
    Broker,
    /// For classes interactive and log the platform's cumulative `seen`; for the others the PUBACK.
    Platform,
}

impl Custody {
    /// The word of the configuration and of `info`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Platform => "platform",
        }
    }
}

/// One radio of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RadioInfo {
    /// Its name in envelopes and in the registry; must stay the same over restarts.
    pub name: String,
}

/// Everything the relay needs to know. Times in milliseconds, sizes in bytes.
#[derive(Debug, Clone)]
pub struct Config {
    /// Gateway id, as in topics: for `info`, and what the platform signs for.
    pub gateway: String,
    /// Software version, for `info`.
    pub version: String,
    /// Topic names.
    pub topics: Topics,
    /// Payload encoding.
    pub encoding: Encoding,
    /// Whose word ends custody.
    pub custody: Custody,
    /// The platform's signing keys, whose word on activations is believed. Default none.
    pub platform_keys: Vec<PublicKey>,
    /// The radios; [`crate::RadioId`] is the place in this list.
    pub radios: Vec<RadioInfo>,
    /// Most publishes in flight. Default 100 (the least that clouds allow).
    pub publish_window: usize,
    /// The longest a frame may wait for the broker's word before it is committed. Default 400.
    pub hold_ms: u32,
    /// How long before a sleepy lock's window closes the relay decides what goes into it. Default 60.
    pub window_edge_ms: u32,
    /// Most bytes in the outbox (64 are counted for a row's own needs); what comes while room is being made may
    /// exceed it by a few parts in a hundred until the next frame. Default 256 MiB.
    pub outbox_bytes: u64,
    /// Most bytes of one lock in the outbox. Default 4 MiB.
    pub lock_bytes: u64,
    /// Most outbox rows in memory. Default 1024.
    pub ram_rows: usize,
    /// In platform custody: how long after the broker's PUBACK an unseen frame is sent again; doubles up to
    /// 64 times this. Default 20 s.
    pub resend_ms: u32,
    /// Life of a downlink whose radio names none. Default 10 s.
    pub life_ms: u32,
    /// Most downlinks that wait for one lock. Default 16.
    pub lock_downlinks: usize,
    /// Most downlink ids that are remembered until their `not_after`. Default 4096.
    pub inbox_ids: usize,
    /// A `not_after` further ahead than this is refused. Default 24 h.
    pub not_after_max_ms: u64,
    /// Downlinks that a lock may get at once, for its battery's sake. Default 20.
    pub downlink_burst: u32,
    /// One more downlink each so many milliseconds. Default 3 s.
    pub downlink_refill_ms: u32,
    /// Attempts of one datagram on a radio link. Default 4.
    pub link_attempts: u8,
    /// Patience for the missing fragments of one datagram. Default 60 s.
    pub reassembly_ms: u32,
    /// Least time between two `link` reports of one lock that bring no change of state. Default 60 s.
    pub link_report_ms: u32,
    /// Time between two `health` reports. Default 60 s.
    pub health_ms: u32,
}

impl Config {
    /// The defaults for a gateway with these topics and radios.
    #[must_use]
    pub fn new(gateway: impl Into<String>, topics: Topics, radios: Vec<RadioInfo>) -> Self {
        Self {
            gateway: gateway.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            topics,
            encoding: Encoding::Json,
            custody: Custody::Broker,
            platform_keys: Vec::new(),
            radios,
            publish_window: 100,
            hold_ms: 400,
            window_edge_ms: 60,
            outbox_bytes: 256 << 20,
            lock_bytes: 4 << 20,
            ram_rows: 1024,
            resend_ms: 20_000,
            life_ms: 10_000,
            lock_downlinks: 16,
            inbox_ids: 4096,
            not_after_max_ms: 24 * 3_600_000,
            downlink_burst: 20,
            downlink_refill_ms: 3_000,
            link_attempts: 4,
            reassembly_ms: 60_000,
            link_report_ms: 60_000,
            health_ms: 60_000,
        }
    }
}
