//! A small codec of the Zigbee Cluster Library (ZCL revision 8): what it takes to watch an ordinary lock and to carry sealed
//! frames.
//!
//! ```text
//! 0  frame control  0–1 type (0 global, 1 cluster) · 2 manufacturer-specific · 3 server to client · 4 no default response
//! 1  manufacturer   u16, only if bit 2 is set
//! 1  sequence       returned in the answer
//! 2  command        global commands: 2.5; others are the cluster's
//! ```

mod cluster;
pub mod door_lock;
mod global;
mod value;

pub use cluster::{alarms, basic, id, identify, ota, poll_control, power, time};
pub use global::{Configured, Global, Reporting};
pub use value::{DataType, Value};

use crate::wire::{DecodeError, Reader};

const MANUFACTURER: u8 = 0x04;
const FROM_SERVER: u8 = 0x08;
const NO_DEFAULT_RESPONSE: u8 = 0x10;

/// What a command belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All clusters: see [`Global`].
    Global,
    /// The cluster of the frame.
    Cluster,
}

/// The header of every ZCL frame (ZCL §2.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the command belongs to.
    pub scope: Scope,
    /// Of a manufacturer-specific command or cluster.
    pub manufacturer: Option<u16>,
    /// Server to client; otherwise client to server.
    pub from_server: bool,
    /// No answer is wanted when all goes well.
    pub no_default_response: bool,
    /// Chosen by who asks.
    pub sequence: u8,
    /// Which command.
    pub command: u8,
}

/// A frame, seen in place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its header.
    pub header: Header,
    /// The command's fields. An ordinary lock's may hold a PIN.
    pub payload: &'a [u8],
}

impl std::fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({:?}, {} bytes)", self.header, self.payload.len())
    }
}

impl<'a> Frame<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// [`DecodeError::Short`], or [`DecodeError::Field`] for a reserved frame type.
    pub fn parse(asdu: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(asdu);
        let control = reader.u8()?;
        let scope = match control & 3 {
            0 => Scope::Global,
            1 => Scope::Cluster,
            _ => return Err(DecodeError::Field("the ZCL frame type")),
        };
        let manufacturer = if control & MANUFACTURER == 0 { None } else { Some(reader.u16()?) };
        let [sequence, command] = reader.array()?;
        let header = Header {
            scope,
            manufacturer,
            from_server: control & FROM_SERVER != 0,
            no_default_response: control & NO_DEFAULT_RESPONSE != 0,
            sequence,
            command,
        };
        Ok(Self { header, payload: reader.rest() })
    }

    /// The ASDU.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.header.encode();
        out.extend_from_slice(self.payload);
        out
    }
}

impl Header {
    /// The bytes before the payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let scope = match self.scope {
            Scope::Global => 0,
            Scope::Cluster => 1,
        };
        let mut out = vec![
            scope
                | flag(self.manufacturer.is_some(), MANUFACTURER)
                | flag(self.from_server, FROM_SERVER)
                | flag(self.no_default_response, NO_DEFAULT_RESPONSE),
        ];
        out.extend(self.manufacturer.into_iter().flat_map(u16::to_le_bytes));
        out.extend_from_slice(&[self.sequence, self.command]);
        out
    }

    /// The header of the default response to this command, which a receiver owes unless the sender does not want one, the
    /// command was itself a default response, or it came by broadcast (ZCL §2.5.12.2).
    #[must_use]
    pub fn answer(&self) -> Self {
        Self {
            scope: Scope::Global,
            from_server: !self.from_server,
            no_default_response: true,
            command: global::DEFAULT_RESPONSE,
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_these_bytes() {
        let read = Header {
            scope: Scope::Global,
            manufacturer: None,
            from_server: false,
            no_default_response: true,
            sequence: 0x0B,
            command: 0,
        };
        assert_eq!(hex::encode(read.encode()), "100b00");
        let own = Header {
            scope: Scope::Cluster,
            manufacturer: Some(0x1234),
            from_server: true,
            sequence: 0x2C,
            command: 0x12,
            ..read
        };
        assert_eq!(hex::encode(own.encode()), "1d34122c12");
        for header in [read, own, own.answer()] {
            let bytes = [&header.encode()[..], b"rest"].concat();
            let frame = Frame { header, payload: b"rest" };
            assert_eq!(Frame::parse(&bytes), Ok(frame));
            assert_eq!(frame.encode(), bytes);
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        assert_eq!(Frame::parse(&[]), Err(DecodeError::Short));
        assert_eq!(Frame::parse(&[0x02, 0, 0]), Err(DecodeError::Field("the ZCL frame type")));
        assert_eq!(Frame::parse(&[0x04, 0x34, 0x12, 1]), Err(DecodeError::Short));
    }
}
