use crate::cbor::{MapReader, MapWriter};
use crate::state::read_bolt;
use crate::{Bolt, Error};

/// Names one command. A retry carries the same id under a new sequence number, and the lock answers it from its cache.
pub type CommandId = [u8; 4];

/// What to do with the bolt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Throw the bolt.
    Lock = 0,
    /// Withdraw the bolt.
    Unlock = 1,
}

/// `POST l`, platform to lock. Map: 0 id, 1 op, 2 not_after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command {
    /// Key 0.
    pub id: CommandId,
    /// Key 1.
    pub op: Op,
    /// Key 2: Unix seconds after which the command is void. Needed where the request carries no Echo.
    pub not_after: Option<u32>,
}

impl Command {
    /// Longest encoding, in bytes.
    pub const MAX_LEN: usize = 15;

    /// # Errors
    /// [`Error::BufferTooSmall`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Error> {
        let mut map = MapWriter::new(out, 2 + usize::from(self.not_after.is_some()))?;
        map.bytes(0, &self.id)?.uint(1, self.op as u32)?.optional(2, self.not_after)?;
        Ok(map.len())
    }

    /// # Errors
    /// See [`Error`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let (mut id, mut op, mut not_after) = (None, None, None);
        let mut map = MapReader::new(bytes)?;
        while let Some(key) = map.next_key()? {
            match key {
                0 => id = Some(map.array(0)?),
                1 => {
                    op = Some(match map.u8(1)? {
                        0 => Op::Lock,
                        1 => Op::Unlock,
                        _ => return Err(Error::OutOfRange(1)),
                    });
                }
                2 => not_after = Some(map.u32(2)?),
                other => return Err(Error::UnknownKey(other)),
            }
        }
        map.finish()?;
        Ok(Self { id: id.ok_or(Error::MissingKey(0))?, op: op.ok_or(Error::MissingKey(1))?, not_after })
    }
}

/// Why a lock did not touch the bolt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// `not_after` has passed.
    Expired,
    /// No valid Echo, and no `not_after` that the lock could judge by a trusted clock.
    Freshness,
    /// `not_after` lies further ahead than the lock accepts (120 s for an unlock).
    TooFarAhead,
    /// The sender's grant or the lock's policy does not allow it.
    Denied,
    /// The bolt is moving, or another command is being carried out.
    Busy,
    /// The battery is too weak to move the bolt safely.
    Battery,
    /// This lock cannot do that.
    Unsupported,
    /// A reason that this build does not know.
    Other(u8),
}

impl Refusal {
    /// The number on the wire, at least 2; 0 and 1 are [`Outcome::Done`] and [`Outcome::Failed`].
    pub fn code(self) -> u8 {
        match self {
            Self::Expired => 2,
            Self::Freshness => 3,
            Self::TooFarAhead => 4,
            Self::Denied => 5,
            Self::Busy => 6,
            Self::Battery => 7,
            Self::Unsupported => 8,
            Self::Other(code) => code,
        }
    }

    fn from_code(code: u8) -> Self {
        match code {
            2 => Self::Expired,
            3 => Self::Freshness,
            4 => Self::TooFarAhead,
            5 => Self::Denied,
            6 => Self::Busy,
            7 => Self::Battery,
            8 => Self::Unsupported,
            other => Self::Other(other),
        }
    }
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The bolt is where the command wanted it (also when it already was).
    Done,
    /// The motor ran and the bolt did not arrive.
    Failed,
    /// The lock did not move the bolt.
    Refused(Refusal),
}

impl Outcome {
    /// The number on the wire: 0 done, 1 failed, from 2 the refusals.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Refused(refusal) => refusal.code(),
        }
    }

    /// The outcome with this number on the wire.
    pub fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Done,
            1 => Self::Failed,
            other => Self::Refused(Refusal::from_code(other)),
        }
    }
}

/// The 2.04 to a [`Command`]. Map: 0 id, 1 outcome, 2 bolt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandReply {
    /// Key 0: the id of the command.
    pub id: CommandId,
    /// Key 1.
    pub outcome: Outcome,
    /// Key 2: the bolt afterwards.
    pub bolt: Bolt,
}

impl CommandReply {
    /// Longest encoding, in bytes.
    pub const MAX_LEN: usize = 12;

    /// # Errors
    /// [`Error::OutOfRange`] when `Refusal::Other` holds 0 or 1, which do not mean a refusal; [`Error::BufferTooSmall`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Error> {
        if matches!(self.outcome, Outcome::Refused(Refusal::Other(0 | 1))) {
            return Err(Error::OutOfRange(1));
        }
        let mut map = MapWriter::new(out, 3)?;
        map.bytes(0, &self.id)?.uint(1, self.outcome.code().into())?.uint(2, self.bolt.code().into())?;
        Ok(map.len())
    }

    /// # Errors
    /// See [`Error`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let (mut id, mut outcome, mut bolt) = (None, None, None);
        let mut map = MapReader::new(bytes)?;
        while let Some(key) = map.next_key()? {
            match key {
                0 => id = Some(map.array(0)?),
                1 => outcome = Some(Outcome::from_code(map.u8(1)?)),
                2 => bolt = Some(read_bolt(&mut map, 2)?),
                other => return Err(Error::UnknownKey(other)),
            }
        }
        map.finish()?;
        Ok(Self {
            id: id.ok_or(Error::MissingKey(0))?,
            outcome: outcome.ok_or(Error::MissingKey(1))?,
            bolt: bolt.ok_or(Error::MissingKey(2))?,
        })
    }
}
