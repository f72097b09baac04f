//! The lock agent's [`Storage`] in raw NOR flash, over the traits of `embedded-storage` that every
//! microcontroller's flash driver implements.
//!
//! [`Flash`] keeps two banks. All records lie in one of them, appended one after the other; the newest of a slot counts.
//! When the bank is full, or a secret has to go, the records that count move to the other bank, and the first is erased.
//!
//! - **Atomic and durable**: a record counts from its commit word on, a bank from its seal on. Power may go at any moment,
//!   also twice, and leave words half programmed and pages half erased that read one way now and another way later.
//! - **Never an older record**: where the newest one is damaged, its slot has a record that makes no sense, and where the
//!   log itself is damaged, [`Flash::mount`] says so. Sequence numbers depend on it.
//! - **Secrets go**: when an owner code, a context's keys or a PIN's verifier is erased or replaced
//!   ([`Slot::is_secret`](cardea_agent::Slot::is_secret)), its page is erased before the call returns.
//! - **No word is programmed twice** between erases, for flash with error-correcting codes allows no more than that. No
//!   erase is wasted either: both banks wear alike, whichever slots are written.
//!
//! It needs no allocator. In RAM it keeps two bytes for each slot; a call takes about 1.5 KB of stack. What it does not do:
//! it encrypts nothing, and cannot tell whether somebody put the flash back to an earlier state.
#![no_std]

mod banks;
mod layout;
mod scan;

use core::ops::Range;

use cardea_agent::{Slot, Storage, StorageFault};
use embedded_storage::nor_flash::NorFlash;
use zeroize::Zeroizing;

use crate::banks::Banks;
use crate::layout::{BUFFER, Contents, footprint};

/// Why there is no storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MountError {
    /// The region is not made of an even number of whole pages, or not inside the flash, or too large: a bank has at
    /// most 65,534 units of programming.
    #[error("the region does not fit the flash")]
    Region,
    /// A bank cannot hold all records at their longest: [`Flash::BANK_MIN`] is what it takes.
    #[error("the region is too small")]
    TooSmall,
    /// The region was never formatted.
    #[error("the flash is blank")]
    Blank,
    /// No bank is whole, or records in the middle of one cannot be read. What was there last is not known any more.
    #[error("the flash is damaged, or holds something else")]
    Damaged,
    /// The driver reported an error, or what was written does not read back.
    #[error("the flash failed")]
    Failed,
}

/// Records in a region of flash. See the [crate] for what it promises.
pub struct Flash<F> {
    banks: Banks<F>,
    /// The bank that counts, 0 or 1.
    active: u8,
    /// Rises with each move to the other bank.
    sequence: u32,
    contents: Contents,
    /// Nothing more can be appended here: something at the end cannot be trusted.
    closed: bool,
    /// The bank that was left could not be erased; secrets may be in it.
    leftover: bool,
    /// The state on flash is not known; nothing is written until the next mount.
    lost: bool,
}

impl<F: NorFlash> Flash<F> {
    /// Bytes that a bank, half of the region, must have.
    pub const BANK_MIN: u32 = layout::bank_min::<F>();

    /// Erases the region (offsets in the flash) and starts with no record: in the factory, or where all is lost. Never
    /// called by [`mount`](Self::mount): a lock must not take itself for new.
    ///
    /// # Errors
    /// See [`MountError`].
    pub fn format(flash: F, region: Range<u32>) -> Result<Self, MountError> {
        let mut banks = Banks::new(flash, region)?;
        banks.erase(0).map_err(|_| MountError::Failed)?;
        banks.erase(1).map_err(|_| MountError::Failed)?;
        banks.begin(0, 1).and_then(|()| banks.seal(0)).map_err(|_| MountError::Failed)?;
        let contents = Contents::empty::<F>();
        Ok(Self { banks, active: 0, sequence: 1, contents, closed: false, leftover: false, lost: false })
    }

    /// Takes up what the region holds, and finishes what the last power cut interrupted. Reads the region about twice;
    /// erases and moves only where it was interrupted, and otherwise programs one unit or two.
    ///
    /// # Errors
    /// See [`MountError`].
    pub fn mount(flash: F, region: Range<u32>) -> Result<Self, MountError> {
        let mut banks = Banks::new(flash, region)?;
        let (active, sequence) = banks.choose()?;
        let mut contents = Contents::empty::<F>();
        let whole = banks.scan(active, sequence, &mut contents)?;
        let mut storage =
            Self { banks, active, sequence, contents, closed: !whole, leftover: false, lost: false };
        storage.settle().map_err(|StorageFault| MountError::Failed)?;
        Ok(storage)
    }

    /// The flash driver.
    pub fn release(self) -> F {
        self.banks.release()
    }

    /// Makes sure that whatever the last power cut left half programmed or half erased never reads differently later.
    fn settle(&mut self) -> Result<(), StorageFault> {
        let other = self.active ^ 1;
        if !self.banks.is_blank(other, 0, self.banks.len()) {
            // Either a move that did not get as far as its seal, or one that did and has not erased what it left. In the
            // second case the seal itself may be half programmed: another one first.
            self.banks.seal_again(self.active, other)?;
            self.banks.erase(other)?;
        }
        if self.closed {
            return self.renew(&|_| false, None);
        }
        // The header of a record may have been begun and read as blank. Zeros are certain whatever is there, and with them
        // behind it the last record is no more in doubt.
        match self.banks.fill(self.active, self.contents.end) {
            Ok(len) => self.contents.end += len,
            Err(StorageFault) => self.renew(&|_| false, None)?,
        }
        Ok(())
    }

    /// Appends a record to the bank in use. A fault: it may count after the next mount or not.
    fn append(&mut self, slot: Slot, record: &[u8]) -> Result<(), StorageFault> {
        let at = self.contents.end;
        let end = self.banks.append(self.active, self.sequence, at, slot, record)?;
        self.contents.set(slot, at);
        self.contents.end = end;
        Ok(())
    }

    /// Moves to the other bank all records but those of slots that `gone` names, with `put` in the place of its slot's,
    /// and erases the bank it leaves. The seal of the other bank is the moment at which all of it is done.
    fn renew(&mut self, gone: &dyn Fn(Slot) -> bool, put: Option<(Slot, &[u8])>) -> Result<(), StorageFault> {
        if self.lost {
            return Err(StorageFault);
        }
        let (from, to) = (self.active, self.active ^ 1);
        let sequence = self.sequence.checked_add(1).ok_or(StorageFault)?;
        let moved = self.banks.erase_unless_clean(to).and_then(|()| self.copy(to, sequence, gone, put));
        let contents = match moved {
            Ok(contents) => contents,
            Err(StorageFault) => {
                self.closed = true;
                return Err(StorageFault);
            }
        };
        if self.banks.begin(to, sequence).and_then(|()| self.banks.seal(to)).is_err() {
            // It may be sealed all the same. Nothing may be written to the old bank until it is certainly not.
            self.closed = true;
            self.lost = self.banks.erase(to).is_err();
            return Err(StorageFault);
        }
        (self.active, self.sequence, self.contents, self.closed) = (to, sequence, contents, false);
        self.leftover = true;
        self.banks.erase(from)?;
        self.leftover = false;
        Ok(())
    }

    /// Nothing is to be erased but what an earlier fault may have left.
    fn clear(&mut self) -> Result<(), StorageFault> {
        if self.leftover {
            self.banks.erase(self.active ^ 1)?;
            self.leftover = false;
        }
        Ok(())
    }

    fn copy(
        &mut self,
        to: u8,
        sequence: u32,
        gone: &dyn Fn(Slot) -> bool,
        put: Option<(Slot, &[u8])>,
    ) -> Result<Contents, StorageFault> {
        let mut contents = Contents::empty::<F>();
        let mut buffer = Zeroizing::new([0; BUFFER]);
        for slot in Slot::all().filter(|&slot| !gone(slot)) {
            let record = match put {
                Some((changed, record)) if changed == slot => record,
                _ if !self.contents.has(slot) => continue,
                // Damaged stays damaged: a record without bytes makes no sense to anybody.
                _ => self
                    .banks
                    .record(self.active, self.sequence, self.contents.at(slot), slot, &mut buffer)
                    .unwrap_or_default(),
            };
            let at = contents.end;
            contents.end = self.banks.append(to, sequence, at, slot, record)?;
            contents.set(slot, at);
        }
        Ok(contents)
    }
}

impl<F: NorFlash> Storage for Flash<F> {
    fn read(&mut self, slot: Slot, out: &mut [u8]) -> Result<Option<usize>, StorageFault> {
        if !self.contents.has(slot) {
            return Ok(None);
        }
        let Some(at) = self.contents.at(slot) else { return Ok(Some(0)) };
        let mut buffer = Zeroizing::new([0; BUFFER]);
        let record =
            self.banks.record(self.active, self.sequence, Some(at), slot, &mut buffer).ok_or(StorageFault)?;
        out.get_mut(..record.len()).ok_or(StorageFault)?.copy_from_slice(record);
        Ok(Some(record.len()))
    }

    fn write(&mut self, slot: Slot, record: &[u8]) -> Result<(), StorageFault> {
        if self.lost || record.len() > slot.max_len() {
            return Err(StorageFault);
        }
        let room = self.banks.len() - self.contents.end;
        let replaces_secret = slot.is_secret() && self.contents.has(slot);
        if !self.closed && !replaces_secret && footprint::<F>(record.len()) <= room {
            if self.append(slot, record).is_ok() {
                return Ok(());
            }
            self.closed = true; // a bad place: the other bank may be better
        }
        self.renew(&|_| false, Some((slot, record)))
    }

    fn erase(&mut self, slot: Slot) -> Result<(), StorageFault> {
        if !self.contents.has(slot) {
            return self.clear();
        }
        self.renew(&|other| other == slot, None)
    }

    fn erase_all(&mut self, which: fn(Slot) -> bool) -> Result<(), StorageFault> {
        if !Slot::all().any(|slot| which(slot) && self.contents.has(slot)) {
            return self.clear();
        }
        self.renew(&which, None)
    }
}
