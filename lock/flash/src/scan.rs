//! Reading a bank's records from the first to the last, and judging what the power cut left at the end.

use cardea_agent::Slot;
use embedded_storage::nor_flash::NorFlash;
use zeroize::Zeroizing;

use crate::MountError;
use crate::banks::{Banks, commit};
use crate::layout::{BUFFER, Contents, Head, UNIT_MAX, footprint, head, unit};

impl<F: NorFlash> Banks<F> {
    /// Finds the newest record of each slot. False: what comes after the last record is neither blank nor a record, and
    /// nothing may be appended there.
    ///
    /// # Errors
    /// [`MountError::Damaged`] where records follow behind something unreadable: which slots are older than they should
    /// be, nobody knows.
    pub(crate) fn scan(
        &mut self,
        bank: u8,
        sequence: u32,
        contents: &mut Contents,
    ) -> Result<bool, MountError> {
        loop {
            let at = contents.end;
            if at + head::<F>() > self.len() {
                return Ok(true); // full
            }
            if self.all(bank, at, at + head::<F>(), 0) {
                contents.end += head::<F>();
                continue;
            }
            if self.is_blank(bank, at, self.len()) {
                return Ok(true);
            }
            let Some((slot, end)) = self.found(bank, sequence, at) else {
                if self.is_torn_filler(bank, sequence, at) {
                    contents.end += head::<F>();
                    continue;
                }
                return self.cut_short(bank, at).map(|()| false);
            };
            match slot {
                Found::Whole(slot) => contents.set(slot, at),
                Found::Damaged(slot) => contents.set_damaged(slot),
            }
            contents.end = end;
        }
    }

    /// The record there and where it ends, if it counts.
    ///
    /// A commit word that is there makes it count. So does anything behind it: nothing is programmed before the commit
    /// word certainly was, or a mount has read it as being there.
    fn found(&mut self, bank: u8, sequence: u32, at: u32) -> Option<(Found, u32)> {
        let mut bytes = [0; UNIT_MAX];
        self.read(bank, at, bytes.get_mut(..head::<F>() as usize)?).ok()?;
        let (slot, header) = Head::decode(&bytes)?;
        let end = at + footprint::<F>(header.payload_len());
        if end > self.len() {
            return None;
        }
        let mut word = [0; UNIT_MAX];
        let word = word.get_mut(..unit::<F>() as usize)?;
        let committed = self.read(bank, end - unit::<F>(), word).is_ok()
            && commit(header).get(..word.len()) == Some(&*word);
        let mut buffer = Zeroizing::new([0; BUFFER]);
        let whole = self.record(bank, sequence, Some(at), slot, &mut buffer).is_some();
        let followed = end < self.len() && !self.is_blank(bank, end, self.len().min(end + head::<F>()));
        match (whole, committed) {
            (true, true) => Some((Found::Whole(slot), end)),
            (true, false) if followed => Some((Found::Whole(slot), end)),
            (false, true) => Some((Found::Damaged(slot), end)),
            _ => None,
        }
    }

    /// The power went while a mount programmed a filler, the next mount read it as whole and something was put behind it,
    /// and now it reads otherwise. Nothing else can be followed at this distance: behind what is left of a record the
    /// bank is given up.
    fn is_torn_filler(&mut self, bank: u8, sequence: u32, at: u32) -> bool {
        let next = at + head::<F>();
        next + head::<F>() <= self.len()
            && (self.all(bank, next, next + head::<F>(), 0) || self.found(bank, sequence, next).is_some())
    }

    /// Something unreadable at `at`. At the end of the log that is what a power cut leaves of one record: a header that is
    /// not whole, or a whole one and what it announces. Nothing lies beyond.
    fn cut_short(&mut self, bank: u8, at: u32) -> Result<(), MountError> {
        let mut bytes = [0; UNIT_MAX];
        let header = bytes.get_mut(..head::<F>() as usize).unwrap_or_default();
        let read = self.read(bank, at, header).is_ok();
        let announced = read.then(|| Head::decode(&bytes)).flatten();
        let len = announced.map_or(head::<F>(), |(_, header)| footprint::<F>(header.payload_len()));
        let beyond = at.saturating_add(len).min(self.len());
        if self.is_blank(bank, beyond, self.len()) { Ok(()) } else { Err(MountError::Damaged) }
    }
}

enum Found {
    Whole(Slot),
    /// It was committed, and its payload is not what it was.
    Damaged(Slot),
}
