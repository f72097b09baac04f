//! What a platform remembers of its grants, of the keys it has revoked, and of what each lock knows of that.

use cardea_credentials::{Scope, Weekly};
use cardea_framing::LockId;

use crate::LogRow;

/// One grant as it was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRow {
    /// The `cti`. Its first four bytes are another one for each grant of a lock, and name it in the lock's log.
    pub id: [u8; 8],
    /// For which lock.
    pub lock: LockId,
    /// Thumbprint of the key that it is for.
    pub holder: [u8; 32],
    /// Whose key that is, for people.
    pub name: String,
    /// The rights.
    pub scope: Scope,
    /// The first second in which they hold, Unix time.
    pub not_before: u32,
    /// The first second in which they do not hold any more.
    pub expires: u32,
    /// Whether they can be used once only.
    pub single_use: bool,
    /// The hours of the week in which they hold; all of them without.
    pub window: Option<Weekly>,
    /// When it was issued, Unix milliseconds.
    pub issued: u64,
    /// The grant itself.
    pub cwt: Vec<u8>,
}

impl GrantRow {
    /// The first four bytes of the id, as a number: what the lock's log has.
    #[must_use]
    pub fn tag(&self) -> u32 {
        let [a, b, c, d, ..] = self.id;
        u32::from_be_bytes([a, b, c, d])
    }
}

/// A key on the revocation list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevokedRow {
    /// Its thumbprint.
    pub thumbprint: [u8; 32],
    /// Since when, Unix milliseconds.
    pub since: u64,
    /// When the last grant of this key expires, Unix seconds; the list then need not name it any more. `None`: it
    /// stays for good, because not all of its grants are known here.
    pub until: Option<u32>,
}

/// Which list is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListRow {
    /// Its epoch; 0 before the first.
    pub epoch: u32,
    /// When it was made, Unix seconds.
    pub at: u32,
    /// The state was put back since: epochs above this one may be in use, with contents that are not known here. The
    /// next list takes a number that none of them can have.
    pub unsure: bool,
    /// The state was put back once: grants may be in use that are not known here.
    pub restored: bool,
}

/// What a lock has told of its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownListRow {
    /// Which lock.
    pub lock: LockId,
    /// In which of its activations; a lock that has another owner has another list.
    pub activation: u32,
    /// The epoch.
    pub epoch: u32,
    /// When it said so, Unix milliseconds.
    pub at: u64,
}

/// The part of [`crate::State`] that is about grants and revocation; the same rules hold.
///
/// # Errors
/// Every method gives [`crate::Error::State`]; after one, the batch must be given up.
#[allow(missing_docs)]
#[allow(clippy::missing_errors_doc)] // one rule for all, above
pub trait GrantState {
    /// Adds a grant; false where its id, or the first four bytes of it at this lock, are taken.
    fn add_grant(&mut self, grant: &GrantRow) -> Result<bool, crate::Error>;
    /// The grant with this id.
    fn grant(&mut self, id: [u8; 8]) -> Result<Option<GrantRow>, crate::Error>;
    /// Grants, oldest first; of this lock, or of all.
    fn grants(&mut self, lock: Option<LockId>) -> Result<Vec<GrantRow>, crate::Error>;
    /// The name behind a grant that the lock's log names.
    fn grant_name(&mut self, lock: LockId, tag: u32) -> Result<Option<String>, crate::Error>;
    /// Deletes grants that had expired by then, Unix seconds.
    fn prune_grants(&mut self, expired: u32) -> Result<(), crate::Error>;

    /// Which list is in force.
    fn list(&mut self) -> Result<ListRow, crate::Error>;
    /// Every revoked key, ascending by thumbprint.
    fn revoked(&mut self) -> Result<Vec<RevokedRow>, crate::Error>;
    /// Puts another list in force. A copy of the state from before it must be noticed
    /// ([`crate::State::settle`]), because it would use the epoch again.
    fn put_list(&mut self, list: &ListRow, revoked: &[RevokedRow]) -> Result<(), crate::Error>;
    /// Notes that the list is not sure to be the newest ([`ListRow::unsure`]).
    fn doubt_list(&mut self) -> Result<(), crate::Error>;
    /// What each lock knows.
    fn known_lists(&mut self) -> Result<Vec<KnownListRow>, crate::Error>;
    /// Stores what a lock knows.
    fn put_known_list(&mut self, known: &KnownListRow) -> Result<(), crate::Error>;
}

impl LogRow {
    /// The first four bytes of the grant that this entry is about, as a number (see [`GrantRow::tag`]).
    #[must_use]
    pub fn grant_tag(&self) -> Option<u32> {
        let by_grant = crate::event::GRANT_KINDS.contains(&self.kind.as_str());
        self.value.filter(|_| by_grant).and_then(|value| u32::try_from(value).ok())
    }
}
