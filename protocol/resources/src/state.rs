use crate::Error;
use crate::cbor::{MapReader, MapWriter};

/// Where the bolt is, as far as the lock can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bolt {
    /// Fully thrown.
    Locked = 0,
    /// Fully withdrawn.
    Unlocked = 1,
    /// Between the two and not moving.
    Jammed = 2,
    /// The lock has no sensor reading.
    Unknown = 3,
}

impl Bolt {
    /// The number on the wire.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The position with this number on the wire.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Locked, Self::Unlocked, Self::Jammed, Self::Unknown]
            .into_iter()
            .find(|bolt| bolt.code() == code)
    }
}

/// Whether the lock trusts its clock enough to judge `not_after` by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockState {
    /// Uncertainty above 5 s, or never set: commands need an Echo.
    Untrusted = 0,
    /// Set by the platform and within its drift bound.
    Trusted = 1,
}

/// A firmware version, ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Firmware {
    /// Incompatible changes.
    pub major: u8,
    /// Additions.
    pub minor: u8,
    /// Corrections.
    pub patch: u16,
}

impl Firmware {
    /// On the wire: major in the highest byte, then minor, then patch.
    pub fn to_u32(self) -> u32 {
        let [patch_high, patch_low] = self.patch.to_be_bytes();
        u32::from_be_bytes([self.major, self.minor, patch_high, patch_low])
    }

    /// The inverse of [`Self::to_u32`].
    pub fn from_u32(value: u32) -> Self {
        let [major, minor, patch_high, patch_low] = value.to_be_bytes();
        Self { major, minor, patch: u16::from_be_bytes([patch_high, patch_low]) }
    }
}

impl core::fmt::Display for Firmware {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// `GET s`. Map: 0 bolt, 1 battery in percent, 2 clock, 3 firmware, 24 revocation epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Key 0.
    pub bolt: Bolt,
    /// Key 1: remaining charge, 0 to 100 percent.
    pub battery: u8,
    /// Key 2.
    pub clock: ClockState,
    /// Key 3.
    pub firmware: Firmware,
    /// Key 24, which may be skipped: the epoch of the revocation list in force, 0 before the first. A lock that takes no
    /// lists leaves it out.
    pub revocations: Option<u32>,
}

/// Ancillary, because a platform can be older than a lock.
const REVOCATIONS: u8 = 24;

impl Status {
    /// Longest encoding, in bytes.
    pub const MAX_LEN: usize = 21;

    /// # Errors
    /// [`Error::OutOfRange`] for a battery above 100, [`Error::BufferTooSmall`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Error> {
        let battery = percent(self.battery, 1)?;
        let mut map = MapWriter::new(out, 4 + usize::from(self.revocations.is_some()))?;
        map.uint(0, self.bolt.code().into())?
            .uint(1, battery.into())?
            .uint(2, self.clock as u32)?
            .uint(3, self.firmware.to_u32())?
            .optional(REVOCATIONS, self.revocations)?;
        Ok(map.len())
    }

    /// # Errors
    /// See [`Error`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let (mut bolt, mut battery, mut clock, mut firmware) = (None, None, None, None);
        let mut revocations = None;
        let mut map = MapReader::knowing(bytes, REVOCATIONS)?;
        while let Some(key) = map.next_key()? {
            match key {
                0 => bolt = Some(read_bolt(&mut map, 0)?),
                1 => battery = Some(percent(map.u8(1)?, 1)?),
                2 => {
                    clock = Some(match map.u8(2)? {
                        0 => ClockState::Untrusted,
                        1 => ClockState::Trusted,
                        _ => return Err(Error::OutOfRange(2)),
                    });
                }
                3 => firmware = Some(Firmware::from_u32(map.u32(3)?)),
                REVOCATIONS => revocations = Some(map.u32(REVOCATIONS)?),
                other => return Err(Error::UnknownKey(other)),
            }
        }
        map.finish()?;
        Ok(Self {
            bolt: bolt.ok_or(Error::MissingKey(0))?,
            battery: battery.ok_or(Error::MissingKey(1))?,
            clock: clock.ok_or(Error::MissingKey(2))?,
            firmware: firmware.ok_or(Error::MissingKey(3))?,
            revocations,
        })
    }
}

/// `GET b`. Map: 0 percent, 1 millivolts (absent where the lock cannot measure them).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Battery {
    /// Key 0: remaining charge, 0 to 100 percent.
    pub percent: u8,
    /// Key 1: terminal voltage under the last load, in millivolts.
    pub millivolts: Option<u16>,
}

impl Battery {
    /// Longest encoding, in bytes.
    pub const MAX_LEN: usize = 8;

    /// # Errors
    /// [`Error::OutOfRange`] for a charge above 100, [`Error::BufferTooSmall`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Error> {
        let charge = percent(self.percent, 0)?;
        let mut map = MapWriter::new(out, 1 + usize::from(self.millivolts.is_some()))?;
        map.uint(0, charge.into())?.optional(1, self.millivolts.map(u32::from))?;
        Ok(map.len())
    }

    /// # Errors
    /// See [`Error`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let (mut charge, mut millivolts) = (None, None);
        let mut map = MapReader::new(bytes)?;
        while let Some(key) = map.next_key()? {
            match key {
                0 => charge = Some(percent(map.u8(0)?, 0)?),
                1 => millivolts = Some(u16::try_from(map.u32(1)?).map_err(|_| Error::OutOfRange(1))?),
                other => return Err(Error::UnknownKey(other)),
            }
        }
        map.finish()?;
        Ok(Self { percent: charge.ok_or(Error::MissingKey(0))?, millivolts })
    }
}

/// `POST t`. Map: 0 Unix time in seconds. Answered by 2.04 without payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time {
    /// Key 0: Unix time in seconds; the field ends in 2106.
    pub unix: u32,
}

impl Time {
    /// Longest encoding, in bytes.
    pub const MAX_LEN: usize = 7;

    /// # Errors
    /// [`Error::BufferTooSmall`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Error> {
        let mut map = MapWriter::new(out, 1)?;
        map.uint(0, self.unix)?;
        Ok(map.len())
    }

    /// # Errors
    /// See [`Error`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut unix = None;
        let mut map = MapReader::new(bytes)?;
        while let Some(key) = map.next_key()? {
            match key {
                0 => unix = Some(map.u32(0)?),
                other => return Err(Error::UnknownKey(other)),
            }
        }
        map.finish()?;
        Ok(Self { unix: unix.ok_or(Error::MissingKey(0))? })
    }
}

pub(crate) fn read_bolt(map: &mut MapReader<'_>, key: u8) -> Result<Bolt, Error> {
    Bolt::from_code(map.u8(key)?).ok_or(Error::OutOfRange(key))
}

fn percent(value: u8, key: u8) -> Result<u8, Error> {
    if value <= 100 { Ok(value) } else { Err(Error::OutOfRange(key)) }
}
