//! The time of day, as the daemon knows it: for locks that ask, and for what is kept with a date. Deadlines have nothing to do with
//! it.

use std::sync::Arc;

/// Wall-clock time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wall {
    /// Unix time, milliseconds.
    pub unix_ms: u64,
    /// Whether that can be relied on. Locks that ask for the time are not told while it is false, and nothing is dated.
    pub synced: bool,
    /// Local time minus UTC at this moment, seconds; `None`: nobody said where the gateway is.
    pub zone: Option<i32>,
}

impl Wall {
    /// Unix time in milliseconds, if it can be relied on.
    pub(super) fn known_ms(self) -> Option<u64> {
        self.synced.then_some(self.unix_ms)
    }
}

/// Looks at the clock; must not block.
pub type WallSource = Arc<dyn Fn() -> Wall + Send + Sync>;
