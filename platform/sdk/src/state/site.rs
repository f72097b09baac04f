//! What must be remembered of sites: who speaks for each, and what locks were told and have said.

use cardea_framing::LockId;
use cardea_resources::SiteState;

use crate::Error;

/// No site: eight zeros.
pub const NO_SITE: [u8; 8] = [0; 8];

/// A site authority's certificate, as it was issued last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityRow {
    /// Of which site.
    pub site: [u8; 8],
    /// Thumbprint of the authority's key.
    pub key: [u8; 32],
    /// Rises with every new key.
    pub version: u32,
    /// The certificate.
    pub cwt: Vec<u8>,
}

/// What a lock is told by `POST a`, and has confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToldRow {
    /// In which of its activations; a lock that has another owner was told nothing.
    pub activation: u32,
    /// The site.
    pub site: [u8; 8],
    /// The least version of its authority.
    pub version: u32,
    /// No grant holds under a list below this epoch.
    pub epoch: u32,
}

/// One lock and its site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SiteRow {
    /// Which lock.
    pub lock: LockId,
    /// The site it is to be in; [`NO_SITE`] for none.
    pub site: [u8; 8],
    /// No authority of a lower version is to count there.
    pub version: u32,
    /// What it was told last.
    pub told: Option<ToldRow>,
    /// What it said last of its site and its lists, and when, Unix milliseconds.
    pub state: Option<(SiteState, u64)>,
}

impl SiteRow {
    /// A lock in no site, of which nothing is known.
    #[must_use]
    pub fn new(lock: LockId) -> Self {
        Self { lock, site: NO_SITE, version: 0, told: None, state: None }
    }
}

/// The part of [`State`](crate::State) that knows of sites; its rules hold here, too.
#[allow(clippy::missing_errors_doc)] // one rule for all
pub trait SiteStore {
    /// Every lock of which there is something.
    fn lock_sites(&mut self) -> Result<Vec<SiteRow>, Error>;
    /// Inserts or replaces one.
    fn put_lock_site(&mut self, row: &SiteRow) -> Result<(), Error>;
    /// Every authority.
    fn authorities(&mut self) -> Result<Vec<AuthorityRow>, Error>;
    /// Inserts or replaces the authority of a site.
    fn put_authority(&mut self, row: &AuthorityRow) -> Result<(), Error>;
}
