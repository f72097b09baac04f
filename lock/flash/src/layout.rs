//! Where what lies in a bank, in whole units of programming.
//!
//! ```text
//! bank     header (16), seals (8 units, zeros once programmed), records
//! record   header (8: slot, length, CRC-32), payload, commit (one unit)
//! ```
//!
//! Everything is little-endian and filled up to whole units with 0xff. The CRC covers the bank's sequence number, slot,
//! length and payload, so that what an unfinished erase left of an earlier record does not pass for one. A unit of
//! zeros in the place of a header is filler.

use cardea_agent::{ADDED_PAGES, LIST_PAGES, LOG_SLOTS, PIN_SLOTS, Slot};
use crc::{CRC_32_ISO_HDLC, Crc, NoTable};
use embedded_storage::nor_flash::NorFlash;

const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);
/// "Cdfl", and the version of this layout.
const MAGIC: [u8; 5] = *b"Cdfl\x01";
/// Largest unit of programming that is known: a flash word of an STM32H7.
pub(crate) const UNIT_MAX: usize = 32;
/// Bytes of a bank's header before it is filled up.
const BANK_HEADER: u32 = 16;
/// Bytes of a record's header before it is filled up.
const RECORD_HEADER: u32 = 8;
/// Seals of a bank: one, and one more for each power cut at the same point of a mount.
pub(crate) const SEALS: u32 = 8;
/// Holds the longest payload, filled up.
pub(crate) const BUFFER: usize = Slot::MAX_LEN.div_ceil(UNIT_MAX) * UNIT_MAX;

/// Bytes that are programmed at once and never again. Whatever smaller a part allows is too small for a commit word.
pub(crate) const fn unit<F: NorFlash>() -> u32 {
    let unit = if F::WRITE_SIZE > F::READ_SIZE { F::WRITE_SIZE } else { F::READ_SIZE };
    assert!(unit <= UNIT_MAX && unit.is_power_of_two(), "a flash whose unit of programming is not known");
    if unit < 4 { 4 } else { unit as u32 }
}

/// Rounded up to whole units of programming.
pub(crate) const fn whole<F: NorFlash>(len: u32) -> u32 {
    len.div_ceil(unit::<F>()) * unit::<F>()
}

/// Where the seals are.
pub(crate) const fn seals_start<F: NorFlash>() -> u32 {
    whole::<F>(BANK_HEADER)
}

/// Where the first record is.
pub(crate) const fn log_start<F: NorFlash>() -> u32 {
    seals_start::<F>() + SEALS * unit::<F>()
}

/// Bytes of a record's header.
pub(crate) const fn head<F: NorFlash>() -> u32 {
    whole::<F>(RECORD_HEADER)
}

/// Bytes of a record with a payload of `len`.
pub(crate) const fn footprint<F: NorFlash>(len: usize) -> u32 {
    head::<F>() + whole::<F>(len as u32) + unit::<F>()
}

/// All records at their longest, then one more of the longest and a few boots' filler.
pub(crate) const fn bank_min<F: NorFlash>() -> u32 {
    let few = [
        Slot::Code,
        Slot::Identity,
        Slot::Owner,
        Slot::Ledger,
        Slot::LogMeta,
        Slot::Time,
        Slot::Uses,
        Slot::Site,
        Slot::Successor,
        Slot::Reset,
        Slot::Context(0),
        Slot::Context(1),
        Slot::Sequence(0),
        Slot::Sequence(1),
    ];
    let many = [
        (LOG_SLOTS as u32, Slot::Log(0)),
        (PIN_SLOTS as u32, Slot::Pin(0)),
        (2 * LIST_PAGES as u32, Slot::Revoked(0)),
        (ADDED_PAGES as u32, Slot::Added(0)),
    ];
    let mut sum = log_start::<F>() + footprint::<F>(Slot::MAX_LEN) + 8 * head::<F>();
    let (mut at, mut slots) = (0, few.len());
    #[expect(clippy::indexing_slicing, reason = "a constant, with the bound beside it")]
    while at < few.len() {
        sum += footprint::<F>(few[at].max_len());
        at += 1;
    }
    at = 0;
    #[expect(clippy::indexing_slicing, reason = "a constant, with the bound beside it")]
    while at < many.len() {
        let (count, slot) = many[at];
        sum += count * footprint::<F>(slot.max_len());
        slots += count as usize;
        at += 1;
    }
    assert!(slots == Slot::COUNT, "a slot is missing here");
    sum
}

/// The header of a bank with this sequence number.
pub(crate) fn bank_header(unit: u32, sequence: u32) -> [u8; BANK_HEADER as usize] {
    let mut out = [0; BANK_HEADER as usize];
    let fields = MAGIC.into_iter().chain([unit as u8, 0, 0]).chain(sequence.to_le_bytes());
    out.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
    let (body, check) = out.split_at_mut(12);
    check.copy_from_slice(&CRC.checksum(body).to_le_bytes());
    out
}

/// The sequence number, if it is the header of a bank of this layout.
pub(crate) fn bank_sequence(unit: u32, header: &[u8]) -> Option<u32> {
    let sequence = u32::from_le_bytes(*header.get(8..)?.first_chunk()?);
    (header.get(..BANK_HEADER as usize)? == bank_header(unit, sequence)).then_some(sequence)
}

/// A record's header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    slot: u16,
    len: u16,
    check: u32,
}

impl Head {
    pub(crate) fn of(sequence: u32, slot: Slot, record: &[u8]) -> Self {
        let (slot, len) = (slot.index() as u16, record.len() as u16);
        let mut digest = CRC.digest();
        digest.update(&sequence.to_le_bytes());
        digest.update(&slot.to_le_bytes());
        digest.update(&len.to_le_bytes());
        digest.update(record);
        Self { slot, len, check: digest.finalize() }
    }

    pub(crate) fn encode(self) -> [u8; RECORD_HEADER as usize] {
        let ([a, b], [c, d], [e, f, g, h]) =
            (self.slot.to_le_bytes(), self.len.to_le_bytes(), self.check.to_le_bytes());
        [a, b, c, d, e, f, g, h]
    }

    /// Slot and header, if there can be such a record.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Slot, Self)> {
        let [a, b, c, d, e, f, g, h] = *bytes.first_chunk()?;
        let head = Self {
            slot: u16::from_le_bytes([a, b]),
            len: u16::from_le_bytes([c, d]),
            check: u32::from_le_bytes([e, f, g, h]),
        };
        let slot = Slot::all().find(|slot| slot.index() == usize::from(head.slot))?;
        (head.payload_len() <= slot.max_len()).then_some((slot, head))
    }

    pub(crate) const fn payload_len(self) -> usize {
        self.len as usize
    }

    /// What a commit word repeats. It belongs to the header, so that a damaged payload does not cost the records behind.
    pub(crate) const fn commit(self) -> [u8; 4] {
        (self.check ^ 0x5a5a_5a5a).to_le_bytes()
    }
}

/// Where the newest record of each slot is, and where the next one goes.
pub(crate) struct Contents {
    /// In units; none is 0, where no record can be.
    index: [u16; Slot::COUNT],
    /// Bytes in a unit, a power of two.
    unit: u32,
    pub(crate) end: u32,
}

/// Instead of a place: the newest record is damaged.
const DAMAGED: u16 = u16::MAX;

impl Contents {
    pub(crate) const fn empty<F: NorFlash>() -> Self {
        Self { index: [0; Slot::COUNT], unit: unit::<F>(), end: log_start::<F>() }
    }

    pub(crate) fn has(&self, slot: Slot) -> bool {
        self.index.get(slot.index()).is_some_and(|&at| at != 0)
    }

    /// Offset of the slot's record. `None`: it has none, or a damaged one.
    pub(crate) fn at(&self, slot: Slot) -> Option<u32> {
        let at = *self.index.get(slot.index())?;
        (at != 0 && at != DAMAGED).then(|| u32::from(at) * self.unit)
    }

    pub(crate) fn set(&mut self, slot: Slot, at: u32) {
        if let Some(place) = self.index.get_mut(slot.index()) {
            *place = (at / self.unit) as u16;
        }
    }

    pub(crate) fn set_damaged(&mut self, slot: Slot) {
        if let Some(place) = self.index.get_mut(slot.index()) {
            *place = DAMAGED;
        }
    }
}
