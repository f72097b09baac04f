use crc::{CRC_32_ISO_HDLC, Crc, NoTable};

use crate::Error;

/// Most fragments of one datagram: what the 6-bit index can count.
pub const MAX_FRAGMENTS: usize = 64;

/// Bytes of a fragment that are not content: header byte and fragment header.
pub const FRAGMENT_OVERHEAD: usize = 3;

/// Bytes of the CRC that follows a fragmented datagram.
pub const CRC_LEN: usize = 4;

/// A table would cost a lock 1 KB of flash for a few datagrams a month.
const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);

/// CRC-32/ISO-HDLC over a datagram with `more` = 0; sent little-endian.
#[must_use]
pub fn crc32(datagram: &[u8]) -> u32 {
    CRC.checksum(datagram)
}

/// How many frames of at most `mtu` bytes a datagram of `len` bytes takes; `None` beyond [`MAX_FRAGMENTS`].
#[must_use]
pub fn fragments_needed(len: usize, mtu: usize) -> Option<usize> {
    if len <= mtu {
        return Some(1);
    }
    let chunk = mtu.checked_sub(FRAGMENT_OVERHEAD).filter(|chunk| *chunk > 0)?;
    // The header byte is repeated in every fragment, so the stream is one byte shorter and a CRC longer.
    let count = len.saturating_sub(1).saturating_add(CRC_LEN).div_ceil(chunk);
    (count <= MAX_FRAGMENTS).then_some(count)
}

/// The two bytes after the header byte of a fragment: tag 15–12, index 11–6, last 5–0, big-endian.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FragmentHeader {
    /// Which datagram, 0–15.
    pub tag: u8,
    /// Which fragment of it, 0–63.
    pub index: u8,
    /// The index of its last fragment, 1–63.
    pub last: u8,
}

impl FragmentHeader {
    /// Reads the two bytes.
    ///
    /// # Errors
    /// [`Error::Fragment`] if the index is beyond the last, or there is only one fragment.
    pub fn decode(bytes: [u8; 2]) -> Result<Self, Error> {
        let [high, low] = bytes;
        let header = Self { tag: high >> 4, index: (high & 0x0f) << 2 | low >> 6, last: low & 0x3f };
        if header.last == 0 || header.index > header.last { Err(Error::Fragment) } else { Ok(header) }
    }

    /// The two bytes; bits beyond the fields' widths are cut off.
    #[must_use]
    pub const fn encode(self) -> [u8; 2] {
        [(self.tag & 0x0f) << 4 | (self.index & 0x3f) >> 2, (self.index & 0x03) << 6 | self.last & 0x3f]
    }
}

/// Which fragments are there, up to 64 of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Bitmap(pub(crate) u64);

impl Bitmap {
    pub(crate) const fn all(last: u8) -> Self {
        Self(u64::MAX >> 63_u8.saturating_sub(last))
    }

    pub(crate) const fn has(self, index: u8) -> bool {
        self.0 >> (index & 63) & 1 == 1
    }

    pub(crate) const fn with(self, index: u8) -> Self {
        Self(self.0 | 1 << (index & 63))
    }

    /// The lowest missing index at or after `from`.
    pub(crate) fn next_missing(self, from: u8, last: u8) -> Option<u8> {
        (from..=last).find(|index| !self.has(*index))
    }

    /// The highest missing index.
    pub(crate) fn last_missing(self, last: u8) -> Option<u8> {
        (0..=last).rev().find(|index| !self.has(*index))
    }

    /// On the wire: one bit a fragment, least significant bit first, unused bits 0.
    pub(crate) const fn wire_len(last: u8) -> usize {
        (last >> 3).saturating_add(1) as usize
    }

    /// Reads a bitmap of exactly the right length with no bit beyond `last`.
    pub(crate) fn decode(bytes: &[u8], last: u8) -> Option<Self> {
        if bytes.len() != Self::wire_len(last) {
            return None;
        }
        let mut all = [0; 8];
        all.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        let bits = u64::from_le_bytes(all);
        (bits & !Self::all(last).0 == 0).then_some(Self(bits))
    }

    pub(crate) fn encode(self, last: u8, out: &mut [u8]) -> Option<usize> {
        let len = Self::wire_len(last);
        let out = out.get_mut(..len)?;
        out.iter_mut().zip(self.0.to_le_bytes()).for_each(|(to, from)| *to = from);
        Some(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_bytes() {
        let header = FragmentHeader { tag: 0xa, index: 0b000101, last: 0b110011 };
        assert_eq!(header.encode(), [0b1010_0001, 0b0111_0011]);
        assert_eq!(FragmentHeader::decode([0b1010_0001, 0b0111_0011]), Ok(header));
        assert_eq!(FragmentHeader { tag: 15, index: 63, last: 63 }.encode(), [0xff, 0xff]);
    }

    #[test]
    fn every_fragment_header_decodes_to_itself_or_is_refused() {
        for bits in 0..=u16::MAX {
            match FragmentHeader::decode(bits.to_be_bytes()) {
                Ok(header) => assert_eq!(header.encode(), bits.to_be_bytes()),
                Err(error) => {
                    assert_eq!(error, Error::Fragment);
                    assert!(bits & 0x3f == 0 || bits >> 6 & 0x3f > bits & 0x3f);
                }
            }
        }
    }

    /// The check value of CRC-32/ISO-HDLC in the catalogue of parametrised CRC algorithms.
    #[test]
    fn crc_check_value() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn counts() {
        assert_eq!(fragments_needed(51, 51), Some(1));
        // 51 bytes behind the header and 4 of CRC, 48 at a time.
        assert_eq!(fragments_needed(52, 51), Some(2));
        assert_eq!(fragments_needed(1 + 64 * 48 - 4, 51), Some(64));
        assert_eq!(fragments_needed(1 + 64 * 48 - 3, 51), None);
        assert_eq!(fragments_needed(10, 3), None);
    }

    #[test]
    fn bitmaps() {
        let map = Bitmap::default().with(0).with(2).with(9);
        let mut out = [0xff; 8];
        assert_eq!(map.encode(10, &mut out), Some(2));
        assert_eq!(out[..2], [0b0000_0101, 0b0000_0010]);
        assert_eq!(Bitmap::decode(&out[..2], 10), Some(map));
        assert_eq!(Bitmap::decode(&out[..2], 16), None);
        assert_eq!(Bitmap::decode(&[0x05, 0x82], 10), None);
        assert_eq!(Bitmap::all(63).0, u64::MAX);
        assert_eq!(Bitmap::all(1).0, 0b11);
        assert_eq!(
            (map.next_missing(0, 10), map.next_missing(9, 10), map.last_missing(10)),
            (Some(1), Some(10), Some(10))
        );
        assert_eq!(Bitmap::all(10).next_missing(0, 10), None);
    }
}
