//! Packets: requests with their responses, told apart by transaction number, and indications.
//!
//! ```text
//! 0  00       version
//! 1  kind     0 request · 1 response · 2 indication
//! 2  call     u16
//! 4  tsn      not in indications
//! 5  status   category and code, in responses only
//!    body
//! ```

use zeroize::Zeroizing;

use super::link::MAX_PACKET;
use crate::wire::{DecodeError, Reader, secret_buffer};

const VERSION: u8 = 0;

/// The transaction number under which a reset is answered; no request has it.
pub const RESET_TSN: u8 = 0xFF;

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Host to NCP.
    Request {
        /// Transaction number.
        tsn: u8,
    },
    /// NCP to host. One that is not [ok](Status::is_ok) has no body.
    Response {
        /// Of the request; [`RESET_TSN`] after a reset.
        tsn: u8,
        /// How it went.
        status: Status,
    },
    /// NCP to host, unasked.
    Indication,
}

/// How a request went.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// 0 generic, 2 MAC, 3 NWK, 4 APS, 5 ZDO, 6 CBKE. Means nothing when all is well.
    pub category: u8,
    /// 0: well.
    pub code: u8,
}

impl Status {
    /// All is well.
    pub const OK: Self = Self { category: 0, code: 0 };

    /// Whatever the category: some NCPs put another than 0 there.
    #[must_use]
    pub fn is_ok(self) -> bool {
        self.code == 0
    }
}

impl std::fmt::Debug for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let layer = match self.category {
            0 => "generic",
            2 => "MAC",
            3 => "NWK",
            4 => "APS",
            5 => "ZDO",
            6 => "CBKE",
            other => return write!(f, "category {other} status {:#04x}", self.code),
        };
        write!(f, "{layer} status {:#04x}", self.code)
    }
}

/// One packet, seen in place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it is.
    pub kind: Kind,
    /// Which call; see [`call`](super::call).
    pub call: u16,
    /// The call's fields. May hold keys.
    pub body: &'a [u8],
}

impl std::fmt::Debug for Packet<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packet({:?}, call {:#06x}, {} bytes)", self.kind, self.call, self.body.len())
    }
}

impl<'a> Packet<'a> {
    /// Reads a packet.
    ///
    /// # Errors
    /// [`DecodeError::Short`], or [`DecodeError::Field`] for another version or kind.
    pub fn parse(packet: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(packet);
        if reader.u8()? != VERSION {
            return Err(DecodeError::Field("the packet's version"));
        }
        let kind = reader.u8()?;
        let call = reader.u16()?;
        let kind = match kind {
            0 => Kind::Request { tsn: reader.u8()? },
            1 => {
                let [tsn, category, code] = reader.array()?;
                Kind::Response { tsn, status: Status { category, code } }
            }
            2 => Kind::Indication,
            _ => return Err(DecodeError::Field("the packet's kind")),
        };
        Ok(Self { kind, call, body: reader.rest() })
    }

    /// The bytes for the [link](super::Link).
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = secret_buffer(MAX_PACKET);
        let [low, high] = self.call.to_le_bytes();
        match self.kind {
            Kind::Request { tsn } => out.extend_from_slice(&[VERSION, 0, low, high, tsn]),
            Kind::Response { tsn, status } => {
                out.extend_from_slice(&[VERSION, 1, low, high, tsn, status.category, status.code]);
            }
            Kind::Indication => out.extend_from_slice(&[VERSION, 2, low, high]),
        }
        out.extend_from_slice(self.body);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_these_bytes() {
        for (hex, kind, call, body) in [
            ("0000140001", Kind::Request { tsn: 1 }, 0x0014, vec![]),
            ("0001140001000001", Kind::Response { tsn: 1, status: Status::OK }, 0x0014, vec![1]),
            (
                "000102030904a7",
                Kind::Response { tsn: 9, status: Status { category: 4, code: 0xA7 } },
                0x0302,
                vec![],
            ),
            ("00022b0001", Kind::Indication, 0x002B, vec![1]),
        ] {
            let packet = Packet { kind, call, body: &body };
            assert_eq!(hex::encode(packet.encode()), hex);
            assert_eq!(Packet::parse(&hex::decode(hex).unwrap()), Ok(packet));
        }
    }

    #[test]
    fn other_versions_and_kinds_are_refused() {
        let parse = |bytes: &[u8]| Packet::parse(bytes).unwrap_err();
        assert_eq!(parse(&[1, 0, 0, 0, 0]), DecodeError::Field("the packet's version"));
        assert_eq!(parse(&[0, 3, 0, 0, 0]), DecodeError::Field("the packet's kind"));
        assert_eq!(parse(&[0, 1, 0x14, 0, 1, 0]), DecodeError::Short);
    }

    #[test]
    fn success_is_the_code_alone_and_failures_name_their_layer() {
        assert!(Status { category: 1, code: 0 }.is_ok());
        let no_ack = Status { category: 4, code: 0xA7 };
        assert!(!no_ack.is_ok());
        assert_eq!(no_ack.to_string(), "APS status 0xa7");
    }
}
