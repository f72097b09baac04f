//! The two banks: what is programmed into them and read back, and which of them counts.

use core::ops::Range;

use cardea_agent::{Slot, StorageFault};
use embedded_storage::nor_flash::NorFlash;
use zeroize::Zeroizing;

use crate::MountError;
use crate::layout::{
    BUFFER, Head, SEALS, UNIT_MAX, bank_header, bank_min, bank_sequence, footprint, head, log_start,
    seals_start, unit, whole,
};

/// Bytes compared or looked at in one read.
const CHUNK: usize = 64;

pub(crate) struct Banks<F> {
    flash: F,
    start: u32,
    len: u32,
    /// Which banks were erased since the last mount and not programmed since. A bank that only reads as blank may have
    /// been erased halfway.
    clean: [bool; 2],
}

/// What a bank's beginning says.
struct Opening {
    sequence: u32,
    sealed: bool,
}

impl<F: NorFlash> Banks<F> {
    pub(crate) fn new(flash: F, region: Range<u32>) -> Result<Self, MountError> {
        let erase = F::ERASE_SIZE as u32;
        let len = region.end.checked_sub(region.start).ok_or(MountError::Region)? / 2;
        let inside = usize::try_from(region.end).is_ok_and(|end| end <= flash.capacity());
        let aligned = region.start.is_multiple_of(erase) && len.is_multiple_of(erase);
        if !inside
            || !aligned
            || !(region.end - region.start).is_multiple_of(2)
            || len / unit::<F>() >= 65_535
        {
            return Err(MountError::Region);
        }
        if len < bank_min::<F>() {
            return Err(MountError::TooSmall);
        }
        Ok(Self { flash, start: region.start, len, clean: [false; 2] })
    }

    pub(crate) fn release(self) -> F {
        self.flash
    }

    /// Bytes of a bank.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    fn offset(&self, bank: u8, at: u32) -> u32 {
        self.start + u32::from(bank) * self.len + at
    }

    /// Reads whole units inside the bank.
    pub(crate) fn read(&mut self, bank: u8, at: u32, out: &mut [u8]) -> Result<(), StorageFault> {
        let offset = self.offset(bank, at);
        if at.saturating_add(out.len() as u32) > self.len {
            return Err(StorageFault);
        }
        self.flash.read(offset, out).map_err(|_| StorageFault)
    }

    /// Programs whole units inside the bank that were not programmed since the last erase, and reads them back.
    fn program(&mut self, bank: u8, at: u32, bytes: &[u8]) -> Result<(), StorageFault> {
        let offset = self.offset(bank, at);
        if at.saturating_add(bytes.len() as u32) > self.len {
            return Err(StorageFault);
        }
        self.set_clean(bank, false);
        self.flash.write(offset, bytes).map_err(|_| StorageFault)?;
        let mut read = Zeroizing::new([0; CHUNK]);
        for (at, chunk) in (at..).step_by(CHUNK).zip(bytes.chunks(CHUNK)) {
            let read = read.get_mut(..chunk.len()).ok_or(StorageFault)?;
            self.read(bank, at, read)?;
            if read != chunk {
                return Err(StorageFault);
            }
        }
        Ok(())
    }

    /// Programs `bytes`, filled up to whole units.
    fn program_filled(&mut self, bank: u8, at: u32, bytes: &[u8]) -> Result<(), StorageFault> {
        let mut filled = Zeroizing::new([0xff; BUFFER]);
        filled.get_mut(..bytes.len()).ok_or(StorageFault)?.copy_from_slice(bytes);
        self.program(bank, at, filled.get(..whole::<F>(bytes.len() as u32) as usize).ok_or(StorageFault)?)
    }

    /// Whether a part of a bank reads as erased. An error of the driver is something else than blank.
    pub(crate) fn is_blank(&mut self, bank: u8, from: u32, to: u32) -> bool {
        self.all(bank, from, to, 0xff)
    }

    /// Whether it reads as this byte throughout.
    pub(crate) fn all(&mut self, bank: u8, from: u32, to: u32, byte: u8) -> bool {
        let mut read = [0; CHUNK];
        (from..to).step_by(CHUNK).all(|at| {
            let len = (to - at).min(CHUNK as u32) as usize;
            let Some(read) = read.get_mut(..len) else { return false };
            self.read(bank, at, read).is_ok() && read.iter().all(|&read| read == byte)
        })
    }

    /// Erases a bank, page by page.
    pub(crate) fn erase(&mut self, bank: u8) -> Result<(), StorageFault> {
        self.set_clean(bank, false);
        for at in (0..self.len).step_by(F::ERASE_SIZE) {
            let from = self.offset(bank, at);
            self.flash.erase(from, from + F::ERASE_SIZE as u32).map_err(|_| StorageFault)?;
        }
        if !self.is_blank(bank, 0, self.len) {
            return Err(StorageFault);
        }
        self.set_clean(bank, true);
        Ok(())
    }

    fn set_clean(&mut self, bank: u8, clean: bool) {
        if let Some(known) = self.clean.get_mut(usize::from(bank)) {
            *known = clean;
        }
    }

    pub(crate) fn erase_unless_clean(&mut self, bank: u8) -> Result<(), StorageFault> {
        match self.clean.get(usize::from(bank)) {
            Some(true) => Ok(()),
            _ => self.erase(bank),
        }
    }

    /// Programs a bank's header, when all of its records are there.
    pub(crate) fn begin(&mut self, bank: u8, sequence: u32) -> Result<(), StorageFault> {
        self.program_filled(bank, 0, &bank_header(unit::<F>(), sequence))
    }

    /// Seals a bank: from now on it is the one that counts.
    pub(crate) fn seal(&mut self, bank: u8) -> Result<(), StorageFault> {
        let zeros = [0; UNIT_MAX];
        self.program(bank, seals_start::<F>(), zeros.get(..unit::<F>() as usize).unwrap_or_default())
    }

    /// The other bank still looks whole, so nothing was erased there, or not much: then this bank's seal may be the very
    /// word during which the power went. Programs the next one, before the other bank is erased.
    pub(crate) fn seal_again(&mut self, bank: u8, other: u8) -> Result<(), StorageFault> {
        if !self.opening(other).is_some_and(|opening| opening.sealed) {
            return Ok(());
        }
        for at in self.seals() {
            if self.is_blank(bank, at, at + unit::<F>()) {
                let zeros = [0; UNIT_MAX];
                return self.program(bank, at, zeros.get(..unit::<F>() as usize).unwrap_or_default());
            }
        }
        Ok(()) // eight power cuts in a row at this very point
    }

    /// A record's header, payload and commit word, one after the other. Returns where it ends.
    pub(crate) fn append(
        &mut self,
        bank: u8,
        sequence: u32,
        at: u32,
        slot: Slot,
        record: &[u8],
    ) -> Result<u32, StorageFault> {
        let end = at + footprint::<F>(record.len());
        if end > self.len {
            return Err(StorageFault);
        }
        let header = Head::of(sequence, slot, record);
        self.program_filled(bank, at, &header.encode())?;
        if !record.is_empty() {
            self.program_filled(bank, at + head::<F>(), record)?;
        }
        self.program(
            bank,
            end - unit::<F>(),
            commit(header).get(..unit::<F>() as usize).unwrap_or_default(),
        )?;
        Ok(end)
    }

    /// Programs filler and returns its length. A fault where there is no room.
    pub(crate) fn fill(&mut self, bank: u8, at: u32) -> Result<u32, StorageFault> {
        let len = head::<F>();
        let zeros = [0; UNIT_MAX];
        self.program(bank, at, zeros.get(..len as usize).unwrap_or_default())?;
        Ok(len)
    }

    /// The slot's record there, if it is whole.
    pub(crate) fn record<'b>(
        &mut self,
        bank: u8,
        sequence: u32,
        at: Option<u32>,
        slot: Slot,
        buffer: &'b mut [u8; BUFFER],
    ) -> Option<&'b [u8]> {
        let at = at?;
        let mut bytes = [0; UNIT_MAX];
        self.read(bank, at, bytes.get_mut(..head::<F>() as usize)?).ok()?;
        let (named, header) = Head::decode(&bytes)?;
        let read = buffer.get_mut(..whole::<F>(header.payload_len() as u32) as usize)?;
        self.read(bank, at + head::<F>(), read).ok()?;
        let record = buffer.get(..header.payload_len())?;
        (named == slot && Head::of(sequence, slot, record) == header).then_some(record)
    }

    fn seals(&self) -> impl Iterator<Item = u32> + use<F> {
        (seals_start::<F>()..log_start::<F>()).step_by(unit::<F>() as usize).take(SEALS as usize)
    }

    fn opening(&mut self, bank: u8) -> Option<Opening> {
        let mut bytes = [0; UNIT_MAX];
        self.read(bank, 0, bytes.get_mut(..seals_start::<F>() as usize)?).ok()?;
        let sequence = bank_sequence(unit::<F>(), &bytes)?;
        let sealed = self.seals().any(|at| self.all(bank, at, at + unit::<F>(), 0));
        Some(Opening { sequence, sealed })
    }

    /// The bank that counts and its sequence number: of those that are sealed the later one.
    pub(crate) fn choose(&mut self) -> Result<(u8, u32), MountError> {
        let mut best = None;
        for bank in [0, 1] {
            if let Some(Opening { sequence, sealed: true }) = self.opening(bank)
                && best.is_none_or(|(_, known)| sequence > known)
            {
                best = Some((bank, sequence));
            }
        }
        match best {
            Some(best) => Ok(best),
            None if self.is_blank(0, 0, self.len) && self.is_blank(1, 0, self.len) => Err(MountError::Blank),
            None => Err(MountError::Damaged),
        }
    }
}

/// The commit word of a record with this header, repeated to the largest unit.
pub(crate) fn commit(header: Head) -> [u8; UNIT_MAX] {
    let mut out = [0; UNIT_MAX];
    let word = header.commit();
    out.iter_mut().zip(word.iter().cycle()).for_each(|(to, from)| *to = *from);
    out
}
