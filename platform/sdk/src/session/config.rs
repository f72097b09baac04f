//! Lives, limits, clocks and counts of the session core.

/// Lives and limits. All times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// How long a superseded context still receives: the outbox's longest life.
    pub old_context_ms: u64,
    /// How long a downlink may wait at a gateway for a lock that always listens.
    pub downlink_ms: u64,
    /// The same for a lock that only hears after it has spoken.
    pub sleepy_downlink_ms: u64,
    /// Silence after which a command to a listening lock is repeated.
    pub retry_ms: u64,
    /// Life of a lock's challenge by the lock's own timer.
    pub challenge_ms: u64,
    /// What the way to the lock may eat of it.
    pub challenge_margin_ms: u64,
    /// Handshakes of one lock by one gateway that may fail within `wrong_window_ms`.
    pub max_wrong: usize,
    /// See `max_wrong`.
    pub wrong_window_ms: u64,
    /// How long handshakes of a lock that come by the same gateway are refused then.
    pub refusal_ms: u64,
    /// Handshakes that one gateway may have the platform begin at once, for all its locks together.
    pub gateway_burst: u16,
    /// Every so often one more; a handshake that proves itself costs nothing.
    pub gateway_every_ms: u64,
    /// How long a handshake may take.
    pub handshake_ms: u64,
    /// How long ended commands are kept.
    pub keep_commands_ms: u64,
    /// How long stored events are kept.
    pub keep_log_ms: u64,
    /// How long a gateway that brings nothing of a lock is remembered for it.
    pub keep_seen_ms: u64,
}

const DAY_MS: u64 = 86_400_000;

impl Default for Config {
    fn default() -> Self {
        Self {
            old_context_ms: 30 * DAY_MS,
            downlink_ms: 10_000,
            sleepy_downlink_ms: 30_000,
            retry_ms: 6_000,
            challenge_ms: 30_000,
            challenge_margin_ms: 3_000,
            max_wrong: 5,
            wrong_window_ms: 300_000,
            refusal_ms: 90_000,
            gateway_burst: 64,
            gateway_every_ms: 250,
            handshake_ms: 180_000,
            keep_commands_ms: 30 * DAY_MS,
            keep_log_ms: 730 * DAY_MS,
            keep_seen_ms: 90 * DAY_MS,
        }
    }
}

/// Both clocks: one for durations, one for the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Milliseconds since any fixed moment; never goes back.
    pub mono: u64,
    /// Unix milliseconds.
    pub unix: u64,
}

/// Something to publish, QoS 1, never retained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// Unix milliseconds after which it is not worth sending; `None`: always.
    pub not_after: Option<u64>,
}

/// What was counted since the core was opened; for operators and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Payloads, envelopes or datagrams that are not what their topic promises.
    pub malformed: u64,
    /// Frames of locks that are not enrolled.
    pub strangers: u64,
    /// Authentic frames that were here before: repeats by broker or gateway, or replays.
    pub repeats: u64,
    /// Frames that no key opens.
    pub unopened: u64,
    /// Handshakes that failed.
    pub handshakes_failed: u64,
    /// Handshakes that were not begun because their gateway had brought too many.
    pub handshakes_throttled: u64,
    /// EDHOC messages that had waited longer than a handshake may take.
    pub handshakes_late: u64,
    /// Frames that came ahead of a hole, and beyond what is noted there; their gateways send them again.
    pub unnoted: u64,
    /// Log entries that contradict what is stored under their index.
    pub forks: u64,
    /// Questions of locks to their site that are not ours to answer, came too late, or were too many.
    pub unanswered: u64,
}
