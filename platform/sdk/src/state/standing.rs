//! What else must be remembered of a lock: whether it is trusted, and which of our certificates it holds.

use cardea_framing::LockId;

use crate::Error;

/// One lock's standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Unix milliseconds since when it is fenced: its log contradicted itself, so it is a copy, or its memory was put
    /// back.
    pub fenced: Option<u64>,
    /// Unix milliseconds when a release of it was signed. It is not ours any more.
    pub released: Option<u64>,
    /// The version of the platform's certificate that it has pinned, as far as it has proved that.
    pub certificate: Option<u32>,
}

/// Entries of a lock's log that will not come: it has lost them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct LogGap {
    /// Activation the indices belong to.
    pub activation: u32,
    /// The first index that is missing.
    pub first: u32,
    /// The last one.
    pub last: u32,
    /// Unix milliseconds when the lock showed that it does not have them.
    pub noticed: u64,
}

/// The part of [`State`](crate::State) that knows of standings and gaps; its rules hold here, too.
#[allow(clippy::missing_errors_doc)] // one rule for all
pub trait StandingStore {
    /// Every lock that has one.
    fn standings(&mut self) -> Result<Vec<(LockId, Standing)>, Error>;
    /// Inserts or replaces one.
    fn put_standing(&mut self, lock: LockId, standing: &Standing) -> Result<(), Error>;
    /// The lowest index from `from` on that is stored.
    fn next_log(&mut self, lock: LockId, activation: u32, from: u32) -> Result<Option<u32>, Error>;
    /// Keeps a gap.
    fn add_log_gap(&mut self, lock: LockId, gap: &LogGap) -> Result<(), Error>;
    /// The gaps of this lock's log, in the order of the log.
    fn log_gaps(&mut self, lock: LockId) -> Result<Vec<LogGap>, Error>;
    /// Deletes this lock's contexts with their replay sets; its open commands stay.
    fn discard_contexts_of(&mut self, lock: LockId) -> Result<(), Error>;
}
