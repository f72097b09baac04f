//! The sealed tunnel: a cluster of our own with one command, `frame`, each way. Its payload is one frame of
//! `cardea-framing` to the end of the ASDU; nothing in it is read here.
//!
//! ```text
//! 0  15 | 1d        cluster command, manufacturer-specific, no default response; towards the lock | from the lock
//! 1  manufacturer   u16
//! 3  sequence
//! 4  00             frame
//! 5  frame          1–60 bytes
//! ```
//!
//! No length, no fragment number, no acknowledgement: framing has its own. The link's acknowledgement (APS) only spares a
//! repetition. 60 bytes fit one radio frame with network security, APS security with an extended nonce, and no relay
//! list; that never depends on whether a lock's stack can join APS fragments.

use crate::wire::{DecodeError, Reader};
use crate::zcl::{Frame, Header, Scope};

/// The one command, in both directions.
pub const FRAME: u8 = 0x00;
/// Longest frame that is written: what fits one radio frame whatever protects it.
pub const MAX_FRAME: usize = 60;

/// Which cluster carries sealed frames. The lock is the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tunnel {
    /// Assigned to the maker of the lock by the CSA.
    pub manufacturer: u16,
    /// 0xFC03–0xFFFF: ZBOSS has 0xFC00 for itself, other hosts 0xFC01 and 0xFC02.
    pub cluster: u16,
}

impl Tunnel {
    /// With a manufacturer code that is set aside for tests (0xFFF1). A product has its own.
    pub const TEST: Self = Self { manufacturer: 0xFFF1, cluster: 0xFC7C };

    /// The ASDU that carries a frame to a lock.
    ///
    /// # Errors
    /// [`DecodeError::Field`] for an empty frame or one beyond [`MAX_FRAME`].
    pub fn to_lock(&self, sequence: u8, frame: &[u8]) -> Result<Vec<u8>, DecodeError> {
        self.encode(false, sequence, frame)
    }

    /// The ASDU that carries a frame from a lock. For locks in tests and simulations.
    ///
    /// # Errors
    /// As [`to_lock`](Self::to_lock).
    pub fn from_lock(&self, sequence: u8, frame: &[u8]) -> Result<Vec<u8>, DecodeError> {
        self.encode(true, sequence, frame)
    }

    fn encode(&self, from_server: bool, sequence: u8, frame: &[u8]) -> Result<Vec<u8>, DecodeError> {
        if frame.is_empty() || frame.len() > MAX_FRAME {
            return Err(DecodeError::Field("the length of a tunnelled frame"));
        }
        let header = Header {
            scope: Scope::Cluster,
            manufacturer: Some(self.manufacturer),
            from_server,
            no_default_response: true,
            sequence,
            command: FRAME,
        };
        Ok(Frame { header, payload: frame }.encode())
    }

    /// The frame in an ASDU of the tunnel's cluster that a lock sent.
    ///
    /// # Errors
    /// [`DecodeError`]; what is not the command `frame` of this manufacturer from a server is not the tunnel's.
    pub fn parse_from_lock<'a>(&self, asdu: &'a [u8]) -> Result<&'a [u8], DecodeError> {
        self.parse(true, asdu)
    }

    /// The frame in an ASDU of the tunnel's cluster that the gateway sent. For locks in tests and simulations.
    ///
    /// # Errors
    /// As [`parse_from_lock`](Self::parse_from_lock).
    pub fn parse_to_lock<'a>(&self, asdu: &'a [u8]) -> Result<&'a [u8], DecodeError> {
        self.parse(false, asdu)
    }

    fn parse<'a>(&self, from_server: bool, asdu: &'a [u8]) -> Result<&'a [u8], DecodeError> {
        let Frame { header, payload } = Frame::parse(asdu)?;
        if header.scope != Scope::Cluster || header.command != FRAME {
            return Err(DecodeError::UnknownCall(header.command.into()));
        }
        if header.manufacturer != Some(self.manufacturer) {
            return Err(DecodeError::Field("the tunnel's manufacturer"));
        }
        if header.from_server != from_server {
            return Err(DecodeError::Field("the tunnel's direction"));
        }
        // A lock may be able to send more than we do: what came whole is taken whole.
        let mut reader = Reader::new(payload);
        if reader.is_empty() { Err(DecodeError::Short) } else { Ok(reader.rest()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TUNNEL: Tunnel = Tunnel { manufacturer: 0x1234, cluster: 0xFC7C };

    #[test]
    fn frames_are_these_bytes_in_both_directions() {
        let down = TUNNEL.to_lock(0x2C, b"sealed").unwrap();
        assert_eq!(hex::encode(&down), "1534122c007365616c6564");
        assert_eq!(TUNNEL.parse_to_lock(&down), Ok(&b"sealed"[..]));
        let up = TUNNEL.from_lock(0x2C, b"sealed").unwrap();
        assert_eq!(hex::encode(&up), "1d34122c007365616c6564");
        assert_eq!(TUNNEL.parse_from_lock(&up), Ok(&b"sealed"[..]));
    }

    /// 127 bytes, less MAC 11, NWK 8 and its security 18, APS 8 and its security with an extended nonce 17, ZCL 5.
    #[test]
    fn the_longest_frame_fits_the_air_whatever_protects_it() {
        assert_eq!(MAX_FRAME, 127 - 11 - 8 - 18 - 8 - 17 - 5);
        assert_eq!(TUNNEL.to_lock(0, &[1; MAX_FRAME]).map(|asdu| asdu.len()), Ok(65));
        for len in [0, MAX_FRAME + 1] {
            let error = DecodeError::Field("the length of a tunnelled frame");
            assert_eq!(TUNNEL.to_lock(0, &vec![1; len]), Err(error));
        }
    }

    #[test]
    fn what_is_not_the_tunnels_is_refused() {
        let up = TUNNEL.from_lock(1, b"sealed").unwrap();
        assert!(Tunnel::TEST.parse_from_lock(&up).is_err(), "another manufacturer");
        assert!(TUNNEL.parse_to_lock(&up).is_err(), "our own frame come back");
        assert!(TUNNEL.parse_from_lock(&up[..5]).is_err(), "empty");
        let mut other = up.clone();
        other[4] = 1;
        assert_eq!(TUNNEL.parse_from_lock(&other), Err(DecodeError::UnknownCall(1)));
        other[0] = 0x1C;
        assert_eq!(TUNNEL.parse_from_lock(&other), Err(DecodeError::UnknownCall(1)), "a global command");
    }
}
