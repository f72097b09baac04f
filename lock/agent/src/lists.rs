//! Revocation lists in NVM: pages of the platform's list, of which one set is in force and the other is being filled,
//! and beside them what the site's authority has added. No list is ever whole in memory.
//!
//! Of each thumbprint the first 8 bytes are kept. Two keys that share them are barred together, which is the safe side:
//! by chance that happens once in 2^64 pairs, and who wants it to happen to somebody has to try as many keys.

use cardea_credentials::{Lists, PAGE_THUMBPRINTS, Page, Thumbprint};
use heapless::Vec;

use crate::board::{ADDED_PAGES, LIST_PAGES, Slot, Storage, StorageFault};
use crate::bytes::{Reader, Writer};

const PAGE_VERSION: u8 = 1;
/// Bytes of a thumbprint that are kept.
pub(crate) const SHORT_LEN: usize = 8;

/// The first bytes of a thumbprint.
pub(crate) type Short = [u8; SHORT_LEN];
type Shorts = Vec<Short, PAGE_THUMBPRINTS>;

/// What is kept of a thumbprint.
pub(crate) fn short(thumbprint: &Thumbprint) -> Short {
    thumbprint.first_chunk().copied().unwrap_or_default()
}

/// Where the lists are, and whether they may be trusted to be complete; part of the record in `Slot::Site`, whose one
/// write puts a list in force.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Places {
    /// Which set of pages is in force, 0 or 1.
    pub(crate) bank: u8,
    /// How many pages the list in force has; 0 before the first.
    pub(crate) pages: u8,
    /// No grant holds under a list of a lower epoch.
    pub(crate) least: u32,
    /// Additions that do not name this are void.
    pub(crate) generation: u32,
    /// How many keys were added by the site.
    pub(crate) added: u8,
    /// An addition had no room.
    pub(crate) full: bool,
}

impl Places {
    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        writer.bytes(&[self.bank, self.pages]);
        writer.u32(self.least);
        writer.u32(self.generation);
        writer.bytes(&[self.added, u8::from(self.full)]);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let [bank, pages] = reader.array()?;
        let (least, generation) = (reader.u32()?, reader.u32()?);
        let [added, full] = reader.array()?;
        let sound = bank <= 1 && pages <= LIST_PAGES && full <= 1;
        sound.then_some(Self { bank, pages, least, generation, added, full: full == 1 })
    }

    /// The set that a new list goes to.
    const fn other_bank(&self) -> u8 {
        self.bank ^ 1
    }

    /// Stages a page that was verified. What is in force does not notice. One write.
    pub(crate) fn stage(&self, storage: &mut impl Storage, page: &Page<'_>) -> Result<(), StorageFault> {
        let keys = page.thumbprints().map(short).collect::<Shorts>();
        write_keys(storage, list_slot(self.other_bank(), page.page), &list_head(page.epoch), &keys)
    }

    /// As it is once the staged list of so many pages is in force.
    pub(crate) const fn switched(mut self, pages: u8) -> Self {
        (self.bank, self.pages) = (self.other_bank(), pages);
        self
    }

    /// As it is once all additions are void.
    pub(crate) const fn without_additions(mut self) -> Self {
        self.generation = self.generation.wrapping_add(1);
        (self.added, self.full) = (0, false);
        self
    }

    /// Whether every page of the list in force is there and belongs to it.
    pub(crate) fn is_whole(&self, storage: &mut impl Storage, epoch: u32) -> Result<bool, StorageFault> {
        for page in 0..self.pages {
            if read_keys(storage, list_slot(self.bank, page), &list_head(epoch))?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the list in force names one of `keys` or `issuer`, or the site has added one of `keys`. True also where
    /// something that should be there cannot be read.
    pub(crate) fn name(
        &self,
        storage: &mut impl Storage,
        lists: &Lists,
        root: &Thumbprint,
        issuer: Option<Short>,
        keys: &[Short],
    ) -> Result<bool, StorageFault> {
        for page in 0..self.pages {
            let page = read_keys(storage, list_slot(self.bank, page), &list_head(lists.epoch))?;
            let Some(page) = page else { return Ok(true) };
            if page.iter().any(|key| keys.contains(key) || issuer == Some(*key)) {
                return Ok(true);
            }
        }
        let mut seen = 0;
        for n in 0..ADDED_PAGES {
            let Some(page) = read_keys(storage, Slot::Added(n), &self.added_head(root))? else { break };
            if page.iter().any(|key| keys.contains(key)) {
                return Ok(true);
            }
            seen += page.len();
        }
        Ok(seen < usize::from(self.added))
    }

    /// Stores what the site adds, leaving out what is there: at most two writes. `None` where there is no room, or where
    /// something that was there is gone; then nothing was written. A power cut between the writes bars some of the keys early.
    pub(crate) fn add<'k>(
        &self,
        storage: &mut impl Storage,
        root: &Thumbprint,
        keys: impl Iterator<Item = &'k Thumbprint>,
    ) -> Result<Option<Self>, StorageFault> {
        let head = self.added_head(root);
        let mut new = keys.map(short).collect::<Shorts>();
        let (mut open, mut place) = (Shorts::new(), 0);
        for n in 0..ADDED_PAGES {
            place = n;
            open = read_keys(storage, Slot::Added(n), &head)?.unwrap_or_default();
            new.retain(|key| !open.contains(key));
            if !open.is_full() {
                break;
            }
        }
        let used = usize::from(place) * PAGE_THUMBPRINTS + open.len();
        let added = used + new.len();
        if added > usize::from(ADDED_PAGES) * PAGE_THUMBPRINTS || used < usize::from(self.added) {
            return Ok(None);
        }
        let mut rest = new.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(PAGE_THUMBPRINTS - open.len()));
            if !now.is_empty() {
                open.extend_from_slice(now).map_err(|_| StorageFault)?;
                write_keys(storage, Slot::Added(place), &head, &open)?;
            }
            (rest, place) = (later, place + 1);
            open.clear();
        }
        // 96 at most.
        Ok(Some(Self { added: u8::try_from(added).map_err(|_| StorageFault)?, ..*self }))
    }

    /// A later owner's lock starts to count again, so the root is in it too.
    fn added_head(&self, root: &Thumbprint) -> [u8; 1 + SHORT_LEN + 4] {
        let mut head = [PAGE_VERSION; 1 + SHORT_LEN + 4];
        let parts = short(root).into_iter().chain(self.generation.to_be_bytes());
        head.iter_mut().skip(1).zip(parts).for_each(|(to, from)| *to = from);
        head
    }
}

fn list_slot(bank: u8, page: u8) -> Slot {
    Slot::Revoked(bank.saturating_mul(LIST_PAGES).saturating_add(page))
}

fn list_head(epoch: u32) -> [u8; 5] {
    let [a, b, c, d] = epoch.to_be_bytes();
    [PAGE_VERSION, a, b, c, d]
}

fn write_keys(
    storage: &mut impl Storage,
    slot: Slot,
    head: &[u8],
    keys: &[Short],
) -> Result<(), StorageFault> {
    let mut record = [0; Slot::Added(0).max_len()];
    let mut writer = Writer::new(&mut record);
    writer.bytes(head);
    writer.bytes(keys.as_flattened());
    let len = writer.finish().ok_or(StorageFault)?;
    storage.write(slot, record.get(..len).unwrap_or_default())
}

/// The keys of a page with this head; `None` where the slot holds anything else.
fn read_keys(storage: &mut impl Storage, slot: Slot, head: &[u8]) -> Result<Option<Shorts>, StorageFault> {
    let mut record = [0; Slot::Added(0).max_len()];
    let Some(len) = storage.read(slot, &mut record)? else { return Ok(None) };
    let keys = record.get(..len).and_then(|record| record.strip_prefix(head));
    Ok(keys.and_then(|keys| match keys.as_chunks() {
        (keys, []) => Shorts::from_slice(keys).ok(),
        _ => None,
    }))
}
