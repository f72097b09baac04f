//! Frames on the air: LEN, whitened header, body and code, CRC.
//!
//! ```text
//! LEN | ADDR NID FC CTR CTR | body | MIC × 8 | CRC CRC
//!       \_______ whitened (PN9) ___________/
//! \___________ CRC-16/CMS _________________/
//! ```

use crc::{CRC_16_CMS, Crc};
use heapless::Vec;

use crate::mic::Key;

/// Longest frame of framing that is carried, bytes.
pub const MTU: usize = 48;
/// ADDR, NID, FC and the lower half of the counter.
pub const HEADER_LEN: usize = 5;
/// Bytes of the message authentication code.
pub const MIC_LEN: usize = 8;
/// Largest LEN: with it and two status bytes a frame fits a FIFO of 64 bytes.
pub const MAX_LEN: usize = HEADER_LEN + MTU + MIC_LEN;
/// LEN, what it counts, CRC.
pub const MAX_AIR: usize = 1 + MAX_LEN + 2;

/// ADDR of frames for every lock (a CC1101 with `ADR_CHK` = 2 takes it beside its own).
pub const BROADCAST: u8 = 0x00;
/// ADDR of JOIN and ACCEPT.
pub const UNASSIGNED: u8 = 0xFE;

/// Whether a lock may have this address.
pub(crate) const fn is_assignable(address: u8) -> bool {
    address != BROADCAST && address < UNASSIGNED
}

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_CMS);

/// Why bytes from the air are no frame. Not one of them is anybody's fault: noise does it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// LEN does not fit the bytes, or is too small or large for a frame.
    #[error("impossible length")]
    Length,
    /// The CRC is wrong.
    #[error("wrong CRC")]
    Crc,
    /// The version is not 0.
    #[error("unknown version")]
    Version,
    /// The body does not have the length or the values of its kind.
    #[error("malformed body")]
    Body,
}

/// FC's three bits of kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A frame of framing, or nothing (a poll).
    Data,
    /// The frame with this counter was heard.
    Ack,
    /// A strobe.
    Wake,
    /// To all: channels and the next listen window.
    Beacon,
    /// A lock asks to be let in.
    Join,
    /// It is.
    Accept,
    /// A lock has (re)started: its floor, its times.
    Hello,
    /// The gateway has restarted: its floor for this lock's counter.
    Floor,
}

impl Kind {
    const ALL: [Self; 8] =
        [Self::Data, Self::Ack, Self::Wake, Self::Beacon, Self::Join, Self::Accept, Self::Hello, Self::Floor];
}

/// What stands before the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The lock's address in both directions, first so that hardware can filter by it.
    pub address: u8,
    /// Network id.
    pub network: u8,
    /// Kind.
    pub kind: Kind,
    /// From lock to gateway.
    pub up: bool,
    /// An acknowledgement is asked for.
    pub ack: bool,
    /// The sender has more: stay awake.
    pub pending: bool,
    /// Lower half of the counter.
    pub counter: u16,
}

impl Header {
    /// The five bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let flags = u8::from(self.up) << 2 | u8::from(self.ack) << 1 | u8::from(self.pending);
        let [high, low] = self.counter.to_be_bytes();
        [self.address, self.network, (self.kind as u8) << 3 | flags, high, low]
    }

    fn decode(bytes: [u8; HEADER_LEN]) -> Result<Self, Error> {
        let [address, network, fc, high, low] = bytes;
        if fc >> 6 != 0 {
            return Err(Error::Version);
        }
        let kind = Kind::ALL.get(usize::from(fc >> 3 & 7)).copied().ok_or(Error::Version)?;
        Ok(Self {
            address,
            network,
            kind,
            up: fc & 4 != 0,
            ack: fc & 2 != 0,
            pending: fc & 1 != 0,
            counter: u16::from_be_bytes([high, low]),
        })
    }
}

/// What follows the sync word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AirFrame(Vec<u8, MAX_AIR>);

impl AirFrame {
    /// LEN, whitened bytes, CRC. A chip that makes the CRC itself is given all but the last two.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What a chip is given that makes LEN and CRC itself.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.0.get(1..self.0.len().saturating_sub(2)).unwrap_or_default()
    }

    /// The other way round: what such a chip gives, with the LEN and the CRC that it has checked. `None` if it is longer than any
    /// frame of ours.
    #[must_use]
    pub fn from_payload(payload: &[u8]) -> Option<Self> {
        let mut air = Vec::new();
        air.push(u8::try_from(payload.len()).ok()?).ok()?;
        air.extend_from_slice(payload).ok()?;
        let crc = CRC.checksum(&air).to_be_bytes();
        air.extend_from_slice(&crc).ok()?;
        Some(Self(air))
    }

    /// The value of LEN.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len().saturating_sub(3)
    }

    /// Never: the shortest frame has a header and a code.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// Makes a frame; its header gets the lower half of `counter`. `None` if the body is longer than [`MTU`].
#[must_use]
pub fn seal(mut header: Header, counter: u32, body: &[u8], key: &Key) -> Option<AirFrame> {
    if body.len() > MTU {
        return None;
    }
    header.counter = counter as u16;
    let mut plain = Vec::<u8, MAX_LEN>::new();
    plain.extend_from_slice(&header.encode()).ok()?;
    plain.extend_from_slice(body).ok()?;
    let mic = key.mic(counter, &plain);
    plain.extend_from_slice(&mic).ok()?;
    whiten(&mut plain);
    let mut air = Vec::new();
    air.push(u8::try_from(plain.len()).ok()?).ok()?;
    air.extend_from_slice(&plain).ok()?;
    let crc = CRC.checksum(&air).to_be_bytes();
    air.extend_from_slice(&crc).ok()?;
    Some(AirFrame(air))
}

/// A received frame: CRC and form are right, nothing else is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    header: Header,
    plain: Vec<u8, MAX_LEN>,
}

impl Packet {
    /// Takes what followed the sync word, CRC included; more bytes behind it are ignored.
    ///
    /// # Errors
    /// [`Error`], all but `Body`.
    pub fn parse(air: &[u8]) -> Result<Self, Error> {
        let (&len, _) = air.split_first().ok_or(Error::Length)?;
        let len = usize::from(len);
        if !(HEADER_LEN + MIC_LEN..=MAX_LEN).contains(&len) {
            return Err(Error::Length);
        }
        let (covered, rest) = air.split_at_checked(len + 1).ok_or(Error::Length)?;
        let crc = rest.first_chunk().ok_or(Error::Length)?;
        if CRC.checksum(covered) != u16::from_be_bytes(*crc) {
            return Err(Error::Crc);
        }
        let mut plain = Vec::from_slice(covered.get(1..).ok_or(Error::Length)?).map_err(|_| Error::Length)?;
        whiten(&mut plain);
        let header = Header::decode(*plain.first_chunk().ok_or(Error::Length)?)?;
        Ok(Self { header, plain })
    }

    /// Header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Body, at most [`MTU`] bytes.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.plain.get(HEADER_LEN..self.plain.len().saturating_sub(MIC_LEN)).unwrap_or_default()
    }

    /// What was on the air between LEN and CRC.
    #[must_use]
    pub fn whitened(&self) -> Vec<u8, MAX_LEN> {
        let mut bytes = self.plain.clone();
        whiten(&mut bytes);
        bytes
    }

    /// Whether the code is right under this key and whole counter.
    #[must_use]
    pub fn verify(&self, key: &Key, counter: u32) -> bool {
        let (bytes, mic) = self.plain.split_at(self.plain.len().saturating_sub(MIC_LEN));
        counter as u16 == self.header.counter && key.verify(counter, bytes, mic)
    }
}

/// XORs with the keystream of x⁹ + x⁵ + 1 from all ones (PN9 as in TI DN509: ff e1 1d 9a …). Applied twice it is back.
pub fn whiten(bytes: &mut [u8]) {
    let mut register = 0x1FF_u16;
    for byte in bytes {
        *byte ^= register as u8;
        for _ in 0..8 {
            register = register >> 1 | ((register ^ register >> 5) & 1) << 8;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> Header {
        Header {
            address: 5,
            network: 0x42,
            kind: Kind::Data,
            up: true,
            ack: true,
            pending: false,
            counter: 0,
        }
    }

    #[test]
    fn the_keystream_is_pn9_and_the_crc_is_cms() {
        let mut stream = [0; 16];
        whiten(&mut stream);
        assert_eq!(hex::encode(stream), "ffe11d9aed853324ea7ad2397097570a");
        assert_eq!(CRC.checksum(b"123456789"), 0xAEE7);
    }

    #[test]
    fn a_frame_is_these_bytes() {
        let key = Key([7; 16]);
        let air = seal(header(), 0x0001_0203, b"sealed", &key).unwrap();
        let mut plain = [0; 19];
        plain.copy_from_slice(&air.as_bytes()[1..20]);
        whiten(&mut plain);
        assert_eq!(hex::encode(&plain[..11]), "05420602037365616c6564");
        assert_eq!(air.as_bytes()[0], 19);
        assert_eq!(AirFrame::from_payload(air.payload()), Some(air.clone()));
        assert_eq!(AirFrame::from_payload(&[0; MAX_LEN + 1]), None);
        let packet = Packet::parse(air.as_bytes()).unwrap();
        assert!(packet.verify(&key, 0x0001_0203));
        assert!(!packet.verify(&key, 0x0002_0203));
        assert!(!packet.verify(&Key([8; 16]), 0x0001_0203));
    }

    #[test]
    fn lengths_versions_and_crcs_that_are_wrong_are_refused() {
        let air = seal(header(), 1, &[0; MTU], &Key([7; 16])).unwrap();
        assert_eq!(air.as_bytes().len(), MAX_AIR);
        assert!(seal(header(), 1, &[0; MTU + 1], &Key([7; 16])).is_none());
        assert_eq!(Packet::parse(&air.as_bytes()[..MAX_AIR - 1]), Err(Error::Length));
        assert_eq!(Packet::parse(&[]), Err(Error::Length));
        assert_eq!(Packet::parse(&[12; 15]), Err(Error::Length));
        assert_eq!(Packet::parse(&[62; 65]), Err(Error::Length));
        let mut changed = air.as_bytes().to_vec();
        changed[3] ^= 0x80; // FC's upper version bit
        assert_eq!(Packet::parse(&changed), Err(Error::Crc));
        let crc = CRC.checksum(&changed[..62]).to_be_bytes();
        changed[62..].copy_from_slice(&crc);
        assert_eq!(Packet::parse(&changed), Err(Error::Version));
    }

    proptest! {
        #[test]
        fn frames_come_back_as_they_were(
            address: u8, network: u8, kind in 0_usize..8, flags in 0_u8..8, counter: u32,
            body in proptest::collection::vec(any::<u8>(), 0..=MTU), key: [u8; 16],
        ) {
            let (up, ack, pending) = (flags & 4 != 0, flags & 2 != 0, flags & 1 != 0);
            let header = Header { address, network, kind: Kind::ALL[kind], up, ack, pending, counter: counter as u16 };
            let air = seal(header, counter, &body, &Key(key)).unwrap();
            let packet = Packet::parse(air.as_bytes()).unwrap();
            prop_assert_eq!(packet.header(), &header);
            prop_assert_eq!(packet.body(), &body[..]);
            prop_assert!(packet.verify(&Key(key), counter));
        }

        #[test]
        fn any_bytes_are_a_packet_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Packet::parse(&bytes);
        }

        #[test]
        fn no_changed_bit_passes_crc_and_code(at in 0_usize..64 * 8) {
            let air = seal(header(), 1, &[3; MTU], &Key([7; 16])).unwrap();
            let mut changed = air.as_bytes().to_vec();
            changed[at / 8] ^= 1 << (at % 8);
            prop_assert!(Packet::parse(&changed).is_err());
        }
    }
}
