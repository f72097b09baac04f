//! How a lock takes revocation lists without ever holding one in memory: page by page, cheap checks first, at most four
//! signatures a minute, and never back.
//!
//! The caller owns the storage. Pages of a new list go beside the list in force; [`Progress::Complete`] says when the
//! new one takes its place.

use crate::revocation::{Addition, Page};
use crate::signed::Thumbprint;
use crate::{Authority, Error, Gate, PublicKey, Trust};

/// Bytes of [`Lists`] in storage.
pub const LISTS_LEN: usize = 17;
const LISTS_FORMAT: u8 = 1;

/// Which lists are in force. Stored together with them, in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// The epoch of the platform's list, 0 before the first.
    pub epoch: u32,
    /// When that list was made, Unix seconds by the platform's clock.
    pub at: u32,
    /// The version of the authority whose additions are counted.
    pub version: u32,
    /// The last addition under that version.
    pub counter: u32,
}

impl Lists {
    /// As it is stored: a byte of format, then the four numbers, big-endian, in the order above.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; LISTS_LEN] {
        let mut out = [LISTS_FORMAT; LISTS_LEN];
        let numbers = [self.epoch, self.at, self.version, self.counter];
        out.iter_mut()
            .skip(1)
            .zip(numbers.iter().flat_map(|n| n.to_be_bytes()))
            .for_each(|(to, from)| *to = from);
        out
    }

    /// From storage.
    ///
    /// # Errors
    /// [`Error::Malformed`]: the storage is damaged.
    pub fn from_bytes(bytes: &[u8; LISTS_LEN]) -> Result<Self, Error> {
        let [LISTS_FORMAT, numbers @ ..] = bytes else { return Err(Error::Malformed) };
        match *numbers.as_chunks().0 {
            [epoch, at, version, counter] => {
                let [epoch, at, version, counter] = [epoch, at, version, counter].map(u32::from_be_bytes);
                Ok(Self { epoch, at, version, counter })
            }
            _ => Err(Error::Malformed),
        }
    }
}

/// What a verified page did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// Stage its thumbprints; with page 0, forget what was staged before. The next page that is wanted is `next`.
    Staged {
        /// From 1.
        next: u8,
    },
    /// Stage its thumbprints, then put the staged list in force and store these numbers, in one step. Where that fails,
    /// make a new [`Intake`] from what is stored.
    Complete(Lists),
}

/// A list whose pages are coming.
#[derive(Clone, Copy, Debug)]
struct Pending {
    epoch: u32,
    at: u32,
    pages: u8,
    next: u8,
    last: Thumbprint,
}

/// Takes lists. It survives no restart: a list that was coming comes again.
#[derive(Clone, Debug)]
pub struct Intake {
    lists: Lists,
    pending: Option<Pending>,
}

impl Intake {
    /// With the lists in force, as they were stored.
    #[must_use]
    pub const fn new(lists: Lists) -> Self {
        Self { lists, pending: None }
    }

    /// The lists in force.
    #[must_use]
    pub const fn lists(&self) -> &Lists {
        &self.lists
    }

    /// The page that is wanted next: of a list that is coming, else the first.
    #[must_use]
    pub fn wanted(&self) -> u8 {
        self.pending.map_or(0, |pending| pending.next)
    }

    /// Gives up a list that is coming; what was staged of it is of no use.
    pub const fn give_up(&mut self) {
        self.pending = None;
    }

    /// Takes a page of the list that the platform signs with the key `platform`. It came with `nonce`, or with none,
    /// `now` milliseconds by the lock's timer.
    ///
    /// It is looked at where it continues the list that is coming, or begins a list of the next epoch, or of any higher
    /// one if the lock asked.
    ///
    /// # Errors
    /// Before the signature: [`Error::RolledBack`] for an epoch that is in force or below, [`Error::NotAsked`] for a page
    /// that is not wanted, [`Error::Busy`] above the limit. Then [`Error::BadSignature`], and the decoders' errors.
    /// Nothing has changed.
    pub fn page<'a>(
        &mut self,
        message: &'a [u8],
        nonce: Option<&[u8; 8]>,
        root: &Thumbprint,
        platform: &PublicKey,
        gate: &mut Gate,
        now: u64,
    ) -> Result<(Page<'a>, Progress), Error> {
        let (page, sign1) = Page::unverified(message)?;
        if page.epoch <= self.lists.epoch {
            return Err(Error::RolledBack);
        }
        let asked = gate.answers(nonce, now);
        let expected = self.lists.epoch.checked_add(1) == Some(page.epoch);
        if !(self.continues(&page)? || page.page == 0 && (asked || expected)) {
            return Err(Error::NotAsked);
        }
        gate.admit(asked, now)?;
        Page::check_signature(&sign1, root, platform)?;
        if asked {
            gate.close();
        }
        Ok((page, self.keep(&page)))
    }

    /// Whether the page is the next one of the list that is coming.
    fn continues(&self, page: &Page<'_>) -> Result<bool, Error> {
        let Some(pending) = self.pending else { return Ok(false) };
        let same = (pending.epoch, pending.at, pending.pages, pending.next)
            == (page.epoch, page.at, page.pages, page.page);
        // The order goes on over the pages: one list, one form.
        if same && page.thumbprints().next().is_some_and(|first| *first <= pending.last) {
            return Err(Error::Malformed);
        }
        Ok(same)
    }

    fn keep(&mut self, page: &Page<'_>) -> Progress {
        if page.is_last() {
            self.pending = None;
            (self.lists.epoch, self.lists.at) = (page.epoch, page.at);
            return Progress::Complete(self.lists);
        }
        let next = page.page.saturating_add(1);
        let last = page.thumbprints().last().copied().unwrap_or_default();
        self.pending = Some(Pending { epoch: page.epoch, at: page.at, pages: page.pages, next, last });
        Progress::Staged { next }
    }

    /// Takes what the site's authority adds. Store its thumbprints beside those that are there and the returned numbers,
    /// in one step. An addition bars any key from this site; it takes nothing off either list, and cannot touch the
    /// platform.
    ///
    /// # Errors
    /// Before the signature: [`Error::RolledBack`] for an addition that was taken or another version than the
    /// authority's, [`Error::NotAsked`] where one before it is missing, [`Error::Untrusted`] without an authority,
    /// [`Error::Busy`]. Then [`Error::BadSignature`], and the decoders' errors. Nothing has changed.
    pub fn addition<'a>(
        &mut self,
        message: &'a [u8],
        nonce: Option<&[u8; 8]>,
        trust: &Trust,
        gate: &mut Gate,
        now: u64,
    ) -> Result<(Addition<'a>, Lists), Error> {
        let authority = trust.authority().ok_or(Error::Untrusted)?;
        let (addition, sign1) = Addition::unverified(message)?;
        let counted = self.counted(authority);
        if addition.version != authority.version || addition.counter <= counted {
            return Err(Error::RolledBack);
        }
        if counted.checked_add(1) != Some(addition.counter) {
            return Err(Error::NotAsked);
        }
        let asked = gate.answers(nonce, now);
        gate.admit(asked, now)?;
        Addition::check_signature(&sign1, trust.site(), &authority.key)?;
        if asked {
            gate.close();
        }
        (self.lists.version, self.lists.counter) = (addition.version, addition.counter);
        Ok((addition, self.lists))
    }

    /// How many additions of this authority were taken: the next counter is one more. A new version begins at 0, and what
    /// an older one added stays.
    #[must_use]
    pub fn counted(&self, authority: &Authority) -> u32 {
        if self.lists.version == authority.version { self.lists.counter } else { 0 }
    }
}
