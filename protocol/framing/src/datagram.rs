use crate::{Class, Error, Header, Kind};

/// The peer address that means the gateway itself.
pub const GATEWAY_ADDRESS: u16 = 0;

/// The highest peer address a site allocates; those above are reserved.
pub const LAST_PEER_ADDRESS: u16 = 0xFFEF;

/// A whole datagram: header byte (`more` = 0), peer address for the peer kinds, body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Datagram<'a> {
    /// What the body is. Never [`Kind::Receipt`].
    pub kind: Kind,
    /// How it queues.
    pub class: Class,
    /// Site address of the other side (destination up, source down); present exactly for the peer kinds.
    pub peer: Option<u16>,
    /// The sealed or signed message; not empty.
    pub body: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Reads a whole datagram.
    ///
    /// # Errors
    /// [`Error::NotADatagram`] for fragments and receipts, [`Error::Truncated`] without a body,
    /// [`Error::PeerAddress`] for a reserved one, and the errors of [`Header::decode`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (&first, rest) = bytes.split_first().ok_or(Error::Truncated)?;
        let Header { kind, more, class } = Header::decode(first)?;
        if more || kind == Kind::Receipt {
            return Err(Error::NotADatagram);
        }
        let (peer, body) = if kind.is_peer() {
            let (address, body) = rest.split_first_chunk().ok_or(Error::Truncated)?;
            (Some(checked(u16::from_be_bytes(*address))?), body)
        } else {
            (None, rest)
        };
        if body.is_empty() {
            return Err(Error::Truncated);
        }
        Ok(Self { kind, class, peer, body })
    }

    /// Writes the datagram and says how many bytes it is.
    ///
    /// # Errors
    /// [`Error::Buffer`] if `out` is too small; for a value that would not parse again,
    /// [`Error::NotADatagram`] (a receipt), [`Error::PeerAddress`] (missing, superfluous or reserved) or
    /// [`Error::Truncated`] (no body).
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Error> {
        if self.kind == Kind::Receipt {
            return Err(Error::NotADatagram);
        }
        if self.body.is_empty() {
            return Err(Error::Truncated);
        }
        let (first, rest) = out.split_first_mut().ok_or(Error::Buffer)?;
        *first = Header { kind: self.kind, more: false, class: self.class }.encode();
        let (head, rest) = match (self.kind.is_peer(), self.peer) {
            (true, Some(address)) => {
                let (place, rest) = rest.split_first_chunk_mut().ok_or(Error::Buffer)?;
                *place = checked(address)?.to_be_bytes();
                (3_usize, rest)
            }
            (false, None) => (1, rest),
            _ => return Err(Error::PeerAddress),
        };
        rest.get_mut(..self.body.len()).ok_or(Error::Buffer)?.copy_from_slice(self.body);
        Ok(head.saturating_add(self.body.len()))
    }
}

fn checked(address: u16) -> Result<u16, Error> {
    if address > LAST_PEER_ADDRESS { Err(Error::PeerAddress) } else { Ok(address) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn literal_bytes() {
        let mut out = [0; 8];
        let platform = Datagram {
            kind: Kind::PlatformOscore,
            class: Class::Interactive,
            peer: None,
            body: &[0xaa, 0xbb],
        };
        assert_eq!(platform.encode(&mut out), Ok(3));
        assert_eq!(out[..3], [0x08, 0xaa, 0xbb]);
        let peer = Datagram { kind: Kind::PeerEdhoc, class: Class::Log, peer: Some(0x0102), body: &[0xcc] };
        assert_eq!(peer.encode(&mut out), Ok(4));
        assert_eq!(out[..4], [0x11, 0x01, 0x02, 0xcc]);
        assert_eq!(Datagram::parse(&out[..4]), Ok(peer));
    }

    #[test]
    fn refusals() {
        let parse = |bytes| Datagram::parse(bytes).unwrap_err();
        assert_eq!(parse(&[]), Error::Truncated);
        assert_eq!(parse(&[0x08]), Error::Truncated);
        assert_eq!(parse(&[0x10, 0x00]), Error::Truncated);
        assert_eq!(parse(&[0x10, 0x00, 0x01]), Error::Truncated);
        assert_eq!(parse(&[0x10, 0xff, 0xf0, 0x01]), Error::PeerAddress);
        assert_eq!(parse(&[0x0c, 0x00, 0x01, 0x01]), Error::NotADatagram);
        assert_eq!(parse(&[0x28, 0x00, 0x01]), Error::NotADatagram);
        assert_eq!(parse(&[0x48, 0x00]), Error::Version);
        assert_eq!(parse(&[0x30, 0x00]), Error::Kind);

        let mut out = [0; 4];
        let site = Datagram { kind: Kind::Site, class: Class::Log, peer: None, body: &[1, 2, 3, 4] };
        assert_eq!(site.encode(&mut out), Err(Error::Buffer));
        assert_eq!(Datagram { peer: Some(1), body: &[1], ..site }.encode(&mut out), Err(Error::PeerAddress));
        assert_eq!(
            Datagram { kind: Kind::PeerOscore, body: &[1], ..site }.encode(&mut out),
            Err(Error::PeerAddress)
        );
        assert_eq!(Datagram { body: &[], ..site }.encode(&mut out), Err(Error::Truncated));
        assert_eq!(Datagram { kind: Kind::Receipt, ..site }.encode(&mut out), Err(Error::NotADatagram));
    }

    proptest! {
        #[test]
        fn what_parses_encodes_to_itself(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(datagram) = Datagram::parse(&bytes) {
                let mut out = [0; 40];
                let len = datagram.encode(&mut out).unwrap();
                prop_assert_eq!(&out[..len], &bytes[..]);
            }
        }
    }
}
