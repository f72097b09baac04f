use crate::Error;
use crate::cbor::{MapReader, MapWriter};

/// A single-use number the lock sends with every request it initiates; the platform returns it as inner Echo.
pub type Challenge = [u8; 4];

/// What happened. The meaning of [`Event::value`] and [`LogEntry::value`](crate::LogEntry) depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// The lock (re)started or joined its radio. Value: [`Firmware`](crate::Firmware) as a number.
    Boot,
    /// Somebody touched the lock. No value.
    Touch,
    /// The bolt moved. Value: [`Bolt::code`](crate::Bolt::code).
    Bolt,
    /// The battery fell below a threshold. Value: percent.
    Battery,
    /// Nothing happened for the reporting interval. Value: battery in percent.
    Heartbeat,
    /// The door moved, or stood open for too long. Value: 0 closed, 1 open, 2 ajar.
    Door,
    /// Somebody opened or forced the housing. No value.
    Tamper,
    /// A command or a peer was refused. Value: [`Refusal::code`](crate::Refusal::code).
    Refused,
    /// A command was carried out. Value: [`Op`](crate::Op) as a number.
    Command,
    /// A right PIN was entered. Value: [`PinUse::to_u32`](crate::PinUse::to_u32).
    Pin,
    /// The PIN pad was closed after too many wrong PINs. No value.
    PinLimit,
    /// A holder of a grant unlocked. Value: the first four bytes of the grant's `cti`, big-endian.
    GrantUnlock,
    /// A holder of a grant locked. Value: as for [`Self::GrantUnlock`].
    GrantLock,
    /// A holder of a grant was let, and the bolt did not arrive. Value: as for [`Self::GrantUnlock`].
    GrantFailed,
    /// A kind that this build does not know; never one of the numbers above.
    Other(u8),
}

impl EventKind {
    /// The number on the wire.
    pub fn code(self) -> u8 {
        match self {
            Self::Boot => 0,
            Self::Touch => 1,
            Self::Bolt => 2,
            Self::Battery => 3,
            Self::Heartbeat => 4,
            Self::Door => 5,
            Self::Tamper => 6,
            Self::Refused => 7,
            Self::Command => 8,
            Self::Pin => 9,
            Self::PinLimit => 10,
            Self::GrantUnlock => 11,
            Self::GrantLock => 12,
            Self::GrantFailed => 13,
            Self::Other(code) => code,
        }
    }

    /// The kind with this number on the wire.
    pub fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Boot,
            1 => Self::Touch,
            2 => Self::Bolt,
            3 => Self::Battery,
            4 => Self::Heartbeat,
            5 => Self::Door,
            6 => Self::Tamper,
            7 => Self::Refused,
            8 => Self::Command,
            9 => Self::Pin,
            10 => Self::PinLimit,
            11 => Self::GrantUnlock,
            12 => Self::GrantLock,
            13 => Self::GrantFailed,
            other => Self::Other(other),
        }
    }
}

/// `POST e`, lock to platform. Map: 0 challenge, 1 kind, 2 log index, 3 value, 4 time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Key 0.
    pub challenge: Challenge,
    /// Key 1.
    pub kind: EventKind,
    /// Key 2: index of the log entry that records this event, absent for what is not logged.
    pub log: Option<u32>,
    /// Key 3: see [`EventKind`].
    pub value: Option<u32>,
    /// Key 4: Unix seconds, absent while the clock is not trusted.
    pub at: Option<u32>,
}

impl Event {
    /// Longest encoding, in bytes.
    pub const MAX_LEN: usize = 28;

    /// # Errors
    /// [`Error::BufferTooSmall`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Error> {
        let optional = [self.log, self.value, self.at].into_iter().flatten().count();
        let mut map = MapWriter::new(out, 2 + optional)?;
        map.bytes(0, &self.challenge)?
            .uint(1, self.kind.code().into())?
            .optional(2, self.log)?
            .optional(3, self.value)?
            .optional(4, self.at)?;
        Ok(map.len())
    }

    /// # Errors
    /// See [`Error`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let (mut challenge, mut kind, mut log, mut value, mut at) = (None, None, None, None, None);
        let mut map = MapReader::new(bytes)?;
        while let Some(key) = map.next_key()? {
            match key {
                0 => challenge = Some(map.array(0)?),
                1 => kind = Some(EventKind::from_code(map.u8(1)?)),
                2 => log = Some(map.u32(2)?),
                3 => value = Some(map.u32(3)?),
                4 => at = Some(map.u32(4)?),
                other => return Err(Error::UnknownKey(other)),
            }
        }
        map.finish()?;
        Ok(Self {
            challenge: challenge.ok_or(Error::MissingKey(0))?,
            kind: kind.ok_or(Error::MissingKey(1))?,
            log,
            value,
            at,
        })
    }
}

/// The 2.04 to an [`Event`] of class interactive or log. Map: 0 cursor, 1 time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventReply {
    /// Key 0: the platform holds every log entry below this index; the lock may erase them.
    pub cursor: Option<u32>,
    /// Key 1: Unix seconds at the platform.
    pub time: Option<u32>,
}

impl EventReply {
    /// Longest encoding, in bytes.
    pub const MAX_LEN: usize = 13;

    /// # Errors
    /// [`Error::BufferTooSmall`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Error> {
        let mut map = MapWriter::new(out, [self.cursor, self.time].into_iter().flatten().count())?;
        map.optional(0, self.cursor)?.optional(1, self.time)?;
        Ok(map.len())
    }

    /// # Errors
    /// See [`Error`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reply = Self::default();
        let mut map = MapReader::new(bytes)?;
        while let Some(key) = map.next_key()? {
            match key {
                0 => reply.cursor = Some(map.u32(0)?),
                1 => reply.time = Some(map.u32(1)?),
                other => return Err(Error::UnknownKey(other)),
            }
        }
        map.finish()?;
        Ok(reply)
    }
}
