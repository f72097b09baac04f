//! A lock's site and lists, for people.

use cardea_framing::LockId;
use cardea_resources::SiteState;

/// What is wanted of a lock's site, and what the lock has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SiteReport {
    /// Which lock.
    pub lock: LockId,
    /// The site it is to be in; [`NO_SITE`](crate::NO_SITE) for none.
    pub site: [u8; 8],
    /// No authority of a lower version is to count there.
    pub version: u32,
    /// The lock has confirmed that, and that there is a list of the newest epoch, or there is nothing of this to say.
    pub told: bool,
    /// The lock knows nothing of sites and lists, or not enough to be told.
    pub refused: bool,
    /// What it said last; `None` before it said anything.
    pub state: Option<SiteState>,
}

impl SiteReport {
    /// Whether grants can hold at the lock, as far as it has said. Without lists and without a word from the lock they do.
    #[must_use]
    pub fn grants_hold(&self) -> bool {
        self.state.is_none_or(|state| state.grants)
    }
}
