//! What `/metrics` shows of the relay.

/// Counters since the start, and levels of the moment (marked so). Plain numbers: the shell names them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Frames from radios.
    pub frames_up: u64,
    /// Datagrams completed from them.
    pub datagrams_up: u64,
    /// Frames of locks that are not admitted, or on another radio.
    pub unknown_lock: u64,
    /// Frames that are not framing, by hostile or broken senders.
    pub malformed_frames: u64,
    /// Datagrams carried from one peer of this site to another.
    pub peer_frames: u64,
    /// Datagrams of peers that went nowhere: nobody has the address, too many wait, or nobody listened in time.
    pub peer_dropped: u64,
    /// Datagrams seen before: answered with a receipt again, not kept again.
    pub duplicates: u64,
    /// Datagrams not accepted because memory was full and the store behind; locks keep and repeat them.
    pub not_accepted: u64,
    /// Receipts given to locks.
    pub receipts: u64,
    /// Outbox rows written to the store.
    pub rows_committed: u64,
    /// Datagrams that the broker (or the platform) took before they were ever written.
    pub rows_never_written: u64,
    /// Rows dropped, each told in a gap.
    pub rows_dropped: u64,
    /// Publishes given to the broker link.
    pub published: u64,
    /// Publishes that the broker acknowledged.
    pub acknowledged: u64,
    /// Publishes that the broker will never take.
    pub refused_by_broker: u64,
    /// Frames sent again because the platform had not seen them.
    pub resent: u64,
    /// Store operations that failed.
    pub store_failures: u64,
    /// Connections lost.
    pub disconnects: u64,
    /// Messages from the broker that are none of ours.
    pub malformed_messages: u64,
    /// Downlinks accepted.
    pub downlinks: u64,
    /// Downlinks whose id was known: their state was repeated.
    pub downlinks_repeated: u64,
    /// Downlinks delivered, by the lock's receipt.
    pub downlinks_delivered: u64,
    /// Downlinks expired.
    pub downlinks_expired: u64,
    /// Downlinks refused.
    pub downlinks_refused: u64,
    /// Downlinks failed.
    pub downlinks_failed: u64,
    /// Frames given to radios.
    pub frames_down: u64,
    /// Events that fell out of the bounded queue before the broker could take them.
    pub events_dropped: u64,
    /// Level: 1 while the broker link is up.
    pub connected: u64,
    /// Level: admitted locks.
    pub locks: u64,
    /// Level: outbox rows in memory.
    pub rows_in_memory: u64,
    /// Level: bytes of outbox rows on disk or on their way there.
    pub outbox_bytes: u64,
    /// Level: rows that wait for the broker or the platform.
    pub outbox_rows: u64,
    /// Level: publishes without an answer.
    pub in_flight: u64,
    /// Level: downlink ids remembered.
    pub inbox_ids: u64,
    /// Level: smoothed round-trip time of the broker, milliseconds.
    pub broker_rtt_ms: u64,
}
