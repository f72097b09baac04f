use crate::Error;
use crate::cbor::{MapReader, MapWriter};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A PIN: 4 to 10 decimal digits, leading zeros included. Erased when dropped; no `Debug`, no comparison.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Pin {
    /// ASCII digits, then `0x00`: as on the wire, so that a frame's length does not tell the PIN's.
    digits: [u8; Self::MAX_DIGITS],
}

impl Pin {
    /// Fewest digits.
    pub const MIN_DIGITS: usize = 4;
    /// Most digits.
    pub const MAX_DIGITS: usize = 10;

    /// From ASCII digits.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] of key 2 for anything but 4 to 10 digits.
    pub fn new(digits: &[u8]) -> Result<Self, Error> {
        let sound = digits.len() >= Self::MIN_DIGITS && digits.iter().all(u8::is_ascii_digit);
        let mut pin = Self { digits: [0; Self::MAX_DIGITS] };
        match pin.digits.get_mut(..digits.len()) {
            Some(room) if sound => room.copy_from_slice(digits),
            _ => return Err(Error::OutOfRange(2)),
        }
        Ok(pin)
    }

    /// The digits, in ASCII.
    pub fn digits(&self) -> &[u8] {
        let len = self.digits.iter().position(|&byte| byte == 0).unwrap_or(Self::MAX_DIGITS);
        self.digits.get(..len).unwrap_or_default()
    }
}

/// What a slot is set to.
#[derive(Clone)]
pub struct PinSetting {
    /// Key 2: the digits, filled up with `0x00` to ten bytes.
    pub pin: Pin,
    /// Key 3: 1 if whoever enters it does so under duress, else 0; always present, so that both have one length.
    pub duress: bool,
    /// Key 4: Unix seconds before which the PIN is refused.
    pub not_before: Option<u32>,
    /// Key 5: Unix seconds after which the PIN is refused.
    pub not_after: Option<u32>,
}

/// `POST p`, platform to lock: sets or clears one slot. Map: 0 slot, 1 revision, and to set it 2 to 5 of
/// [`PinSetting`]. Answered by 2.04, or by 4.09 when the revision is not above the lock's highest.
pub struct PinChange {
    /// Key 0.
    pub slot: u8,
    /// Key 1: rises with every change of any slot, from 1, so that a change that comes late is void.
    pub revision: u32,
    /// The new PIN; `None` clears the slot.
    pub setting: Option<PinSetting>,
}

impl PinChange {
    /// Longest encoding, in bytes.
    pub const MAX_LEN: usize = 36;

    /// # Errors
    /// [`Error::OutOfRange`] for revision 0, [`Error::BufferTooSmall`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Error> {
        if self.revision == 0 {
            return Err(Error::OutOfRange(1));
        }
        let validity = |setting: &PinSetting| {
            usize::from(setting.not_before.is_some()) + usize::from(setting.not_after.is_some())
        };
        let entries = 2 + self.setting.as_ref().map_or(0, |setting| 2 + validity(setting));
        let mut map = MapWriter::new(out, entries)?;
        map.uint(0, self.slot.into())?.uint(1, self.revision)?;
        if let Some(setting) = &self.setting {
            map.bytes(2, &setting.pin.digits)?
                .uint(3, setting.duress.into())?
                .optional(4, setting.not_before)?
                .optional(5, setting.not_after)?;
        }
        Ok(map.len())
    }

    /// # Errors
    /// See [`Error`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let (mut slot, mut revision, mut pin, mut duress) = (None, None, None, None);
        let (mut not_before, mut not_after) = (None, None);
        let mut map = MapReader::new(bytes)?;
        while let Some(key) = map.next_key()? {
            match key {
                0 => slot = Some(map.u8(0)?),
                1 => revision = Some(map.u32(1)?).filter(|&revision| revision > 0),
                2 => pin = Some(read_pin(map.bytes()?)?),
                3 => {
                    duress = Some(match map.u8(3)? {
                        0 => false,
                        1 => true,
                        _ => return Err(Error::OutOfRange(3)),
                    });
                }
                4 => not_before = Some(map.u32(4)?),
                5 => not_after = Some(map.u32(5)?),
                other => return Err(Error::UnknownKey(other)),
            }
        }
        map.finish()?;
        let setting = match (pin, duress, not_before, not_after) {
            (None, None, None, None) => None,
            (Some(pin), Some(duress), not_before, not_after) => {
                Some(PinSetting { pin, duress, not_before, not_after })
            }
            (None, ..) => return Err(Error::MissingKey(2)),
            (_, None, ..) => return Err(Error::MissingKey(3)),
        };
        Ok(Self {
            slot: slot.ok_or(Error::MissingKey(0))?,
            revision: revision.ok_or(Error::MissingKey(1))?,
            setting,
        })
    }
}

/// Digits, then nothing but `0x00`, ten bytes in all.
fn read_pin(bytes: &[u8]) -> Result<Pin, Error> {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let (digits, fill) = bytes.split_at_checked(end).ok_or(Error::OutOfRange(2))?;
    if bytes.len() != Pin::MAX_DIGITS || fill.iter().any(|&byte| byte != 0) {
        return Err(Error::OutOfRange(2));
    }
    Pin::new(digits)
}

/// A slot in use, as a lock reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinEntry {
    /// Which.
    pub slot: u8,
    /// The revision that set it: another one is another PIN.
    pub revision: u32,
}

/// The 2.05 to `GET p`: which slots hold a PIN, never which PIN. Map: 0 capacity, 1 highest revision, 2 the slots in
/// use, 5 bytes each (slot, revision), slot ascending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinList<'a> {
    /// Key 0: the lock has slots 0 to this number, exclusive.
    pub capacity: u8,
    /// Key 1: the highest revision the lock has taken, also by a slot that is empty now; 0 for none.
    pub highest: u32,
    entries: &'a [u8],
}

const ENTRY_LEN: usize = 5;

impl<'a> PinList<'a> {
    /// Most slots that a list carries.
    pub const MAX_SLOTS: usize = 32;
    /// Longest encoding, in bytes.
    pub const MAX_LEN: usize = 13 + Self::MAX_SLOTS * ENTRY_LEN;

    /// Writes a list; `entries` ascend by slot.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for more entries than [`Self::MAX_SLOTS`], [`Error::BufferTooSmall`].
    pub fn encode(
        capacity: u8,
        highest: u32,
        entries: impl Iterator<Item = PinEntry>,
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let mut bytes = [0; Self::MAX_SLOTS * ENTRY_LEN];
        let mut len = 0;
        for entry in entries {
            let room = bytes.get_mut(len..len + ENTRY_LEN).ok_or(Error::OutOfRange(2))?;
            if let Some((slot, revision)) = room.split_first_mut() {
                *slot = entry.slot;
                revision.copy_from_slice(&entry.revision.to_be_bytes());
            }
            len += ENTRY_LEN;
        }
        let mut map = MapWriter::new(out, 3)?;
        map.uint(0, capacity.into())?.uint(1, highest)?.bytes(2, bytes.get(..len).unwrap_or_default())?;
        Ok(map.len())
    }

    /// # Errors
    /// See [`Error`]; [`Error::OutOfRange`] of key 2 when slots do not ascend or reach the capacity.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        let (mut capacity, mut highest, mut entries) = (None, None, None);
        let mut map = MapReader::new(bytes)?;
        while let Some(key) = map.next_key()? {
            match key {
                0 => capacity = Some(map.u8(0)?),
                1 => highest = Some(map.u32(1)?),
                2 => entries = Some(map.bytes()?),
                other => return Err(Error::UnknownKey(other)),
            }
        }
        map.finish()?;
        let list = Self {
            capacity: capacity.ok_or(Error::MissingKey(0))?,
            highest: highest.ok_or(Error::MissingKey(1))?,
            entries: entries.ok_or(Error::MissingKey(2))?,
        };
        let slots = || list.entries().map(|entry| entry.slot);
        let sound = list.entries.len().is_multiple_of(ENTRY_LEN)
            && list.entries.len() <= Self::MAX_SLOTS * ENTRY_LEN
            && slots().zip(slots().skip(1)).all(|(slot, next)| slot < next)
            && slots().all(|slot| slot < list.capacity);
        if sound { Ok(list) } else { Err(Error::OutOfRange(2)) }
    }

    /// The slots in use, ascending.
    pub fn entries(&self) -> impl Iterator<Item = PinEntry> + use<'a> {
        self.entries.chunks_exact(ENTRY_LEN).filter_map(|entry| {
            let (&slot, revision) = entry.split_first()?;
            Some(PinEntry { slot, revision: u32::from_be_bytes(revision.try_into().ok()?) })
        })
    }
}

/// The value of [`EventKind::Pin`](crate::EventKind::Pin): which slot, and what nobody but the platform may learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinUse {
    /// Below [`PinList::MAX_SLOTS`].
    pub slot: u8,
    /// The slot is one for duress.
    pub duress: bool,
    /// The bolt did not arrive.
    pub failed: bool,
}

impl PinUse {
    /// The bit that says duress. Whoever is not the platform gets the value without it.
    pub const DURESS: u32 = 0x40;

    /// Bit 7 is always set, so that every value has one length in CBOR; 6 duress, 5 failed, 4 to 0 slot.
    pub fn to_u32(self) -> u32 {
        0x80 | u32::from(self.duress) << 6 | u32::from(self.failed) << 5 | u32::from(self.slot & 0x1f)
    }

    /// The inverse of [`Self::to_u32`].
    pub fn from_u32(value: u32) -> Option<Self> {
        let bits = u8::try_from(value).ok().filter(|bits| bits & 0x80 != 0)?;
        Some(Self { slot: bits & 0x1f, duress: bits & 0x40 != 0, failed: bits & 0x20 != 0 })
    }
}
