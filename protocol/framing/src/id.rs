use core::{fmt, str::FromStr};

use sha2::{Digest, Sha256};

use crate::Error;

/// The routing name of a lock: the first 8 bytes of its identity key's SHA-256 thumbprint (RFC 9679).
///
/// It routes and never authorises. As text: 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockId(pub [u8; 8]);

impl LockId {
    /// The id of the lock whose identity key has this thumbprint.
    #[must_use]
    pub const fn from_thumbprint(thumbprint: &[u8; 32]) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = *thumbprint;
        Self([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Display for LockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockId({self})")
    }
}

impl FromStr for LockId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(Error::LockId) };
        if pairs.len() != 8 {
            return Err(Error::LockId);
        }
        let mut id = [0; 8];
        for (byte, [high, low]) in id.iter_mut().zip(pairs) {
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Ok(Self(id))
    }
}

/// One spelling per id, so that topics, rows and logs can be compared as text.
fn nibble(digit: u8) -> Result<u8, Error> {
    match digit {
        b'0'..=b'9' => Ok(digit.wrapping_sub(b'0')),
        b'a'..=b'f' => Ok(digit.wrapping_sub(b'a').wrapping_add(10)),
        _ => Err(Error::LockId),
    }
}

/// The id of an uplink: first 16 bytes of SHA-256 over the 8 id bytes and the datagram (`more` = 0).
///
/// The same sealed bytes have the same id, before and after a crash.
#[must_use]
pub fn uplink_id(lock: LockId, datagram: &[u8]) -> [u8; 16] {
    let hash: [u8; 32] = Sha256::new().chain_update(lock.0).chain_update(datagram).finalize().into();
    let [id, _] = *hash.as_chunks::<16>().0 else { return [0; 16] };
    id
}

/// What the receipt of an unfragmented datagram carries: first 2 bytes of its SHA-256, big-endian.
#[must_use]
pub fn receipt_digest(datagram: &[u8]) -> u16 {
    let [high, low, ..] = digest(datagram);
    u16::from_be_bytes([high, low])
}

/// First 8 bytes of the SHA-256 of a datagram: how one end of a link knows a repeat.
pub(crate) fn digest(datagram: &[u8]) -> [u8; 8] {
    let hash: [u8; 32] = Sha256::digest(datagram).into();
    LockId::from_thumbprint(&hash).0
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn lock_id_text() {
        let id = LockId([0x00, 0x1a, 0xff, 0x09, 0x80, 0x7f, 0xa0, 0x0b]);
        assert_eq!(id.to_string(), "001aff09807fa00b");
        assert_eq!("001aff09807fa00b".parse(), Ok(id));
        for wrong in [
            "",
            "001aff09807fa00",
            "001aff09807fa00b0",
            "001aff09807fa0",
            "001AFF09807FA00B",
            "001aff09807fa00g",
            "é01aff09807fa00",
        ] {
            assert_eq!(wrong.parse::<LockId>(), Err(Error::LockId), "{wrong}");
        }
    }

    #[test]
    fn thumbprint_prefix() {
        let mut thumbprint = [0xee; 32];
        thumbprint[..8].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(LockId::from_thumbprint(&thumbprint), LockId([1, 2, 3, 4, 5, 6, 7, 8]));
    }

    /// `printf 'abc' | sha256sum` starts with ba7816bf 8f01cfea (FIPS 180-4, B.1).
    #[test]
    fn digests() {
        assert_eq!(receipt_digest(b"abc"), 0xba78);
        assert_eq!(digest(b"abc"), [0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea]);
        // The id bytes come first: SHA-256("abcdefgh" ‖ "") and SHA-256("abcdefg" ‖ "h") agree on purpose of the input.
        let whole: [u8; 32] = Sha256::digest(b"abcdefgh\x09\x01").into();
        assert_eq!(uplink_id(LockId(*b"abcdefgh"), &[0x09, 0x01]), whole[..16]);
    }
}
