//! What every coordinator's protocol is made of: addresses, keys, install codes.

use std::fmt;

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use crc::{CRC_16_IBM_SDLC, Crc};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::wire::{DecodeError, Field, Reader};

/// A device's 64-bit address, most significant byte first, as printed. On the wire it is reversed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Eui64(pub [u8; 8]);

impl fmt::Display for Eui64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Eui64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Field for Eui64 {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut bytes: [u8; 8] = reader.array()?;
        bytes.reverse();
        Ok(Self(bytes))
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.0.iter().rev());
    }
}

/// A device's 16-bit address in one network; it changes when the device rejoins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NwkAddr(pub u16);

impl NwkAddr {
    /// The coordinator itself.
    pub const COORDINATOR: Self = Self(0x0000);
    /// Broadcast: all routers and the coordinator.
    pub const ROUTERS: Self = Self(0xFFFC);
    /// Broadcast: all devices that listen always.
    pub const AWAKE: Self = Self(0xFFFD);

    /// True for a single device's address (Zigbee 3.0 §3.6.5: 0xFFF8 and above are broadcasts or reserved).
    #[must_use]
    pub fn is_unicast(self) -> bool {
        self.0 < 0xFFF8
    }
}

impl fmt::Debug for NwkAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

impl Field for NwkAddr {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.u16().map(Self)
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
}

/// A network or link key. Erased when dropped, compared in constant time, shown nowhere.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key(pub [u8; 16]);

impl Key {
    /// A key that follows from this one and says nothing of it to whom has only that: one block of AES.
    #[must_use]
    pub(crate) fn derived(&self, label: [u8; 16]) -> Self {
        let mut block: aes::Block = label.into();
        Aes128::new(&self.0.into()).encrypt_block(&mut block);
        let mut key = Self([0; 16]);
        key.0.copy_from_slice(&block);
        block.as_mut_slice().zeroize();
        key
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Key {}

impl Field for Key {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array().map(Self)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}

/// An install code with its CRC (BDB 3.0.1 §10.1): what a label says, and what a device's first link key is made of.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct InstallCode {
    /// The code, then CRC-16/X-25 of it, low byte first.
    bytes: [u8; 18],
    /// Of code and CRC: 8, 10, 14 or 18.
    len: usize,
}

impl InstallCode {
    /// Reads a code of 6, 8, 12 or 16 bytes with its CRC behind it.
    ///
    /// # Errors
    /// [`DecodeError::Field`] for another length or a wrong CRC: most often a misread label.
    pub fn new(code_and_crc: &[u8]) -> Result<Self, DecodeError> {
        if !matches!(code_and_crc.len(), 8 | 10 | 14 | 18) {
            return Err(DecodeError::Field("the install code's length"));
        }
        let (code, crc) = code_and_crc.split_last_chunk().ok_or(DecodeError::Short)?;
        if Crc::<u16>::new(&CRC_16_IBM_SDLC).checksum(code) != u16::from_le_bytes(*crc) {
            return Err(DecodeError::Field("the install code's CRC"));
        }
        let mut bytes = [0; 18];
        bytes.iter_mut().zip(code_and_crc).for_each(|(to, from)| *to = *from);
        Ok(Self { bytes, len: code_and_crc.len() })
    }

    /// Code and CRC.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }

    /// The link key that both ends derive: AES-MMO over code and CRC (Zigbee specification §B.6).
    #[must_use]
    pub fn link_key(&self) -> Key {
        // Padding: one bit, zeros, the length in bits as 16 bits; always more than one block's worth or just one.
        let mut padded = Zeroizing::new([0u8; 32]);
        padded.iter_mut().zip(self.as_bytes()).for_each(|(to, from)| *to = *from);
        if let Some(end) = padded.get_mut(self.len) {
            *end = 0x80;
        }
        // 8 and 10 bytes fit one block with their padding, 14 and 18 need two.
        let used = if self.len.saturating_add(3) <= 16 { 16 } else { 32 };
        let bits = u16::try_from(self.len.saturating_mul(8)).unwrap_or(u16::MAX).to_be_bytes();
        if let Some(tail) = padded.get_mut(used - 2..used) {
            tail.copy_from_slice(&bits);
        }
        let mut hash = Key([0; 16]);
        for block in padded.get(..used).unwrap_or(&[]).chunks_exact(16) {
            let mut state = aes::Block::default();
            state.copy_from_slice(block);
            Aes128::new(&hash.0.into()).encrypt_block(&mut state);
            for ((out, cipher), plain) in hash.0.iter_mut().zip(state.iter()).zip(block) {
                *out = cipher ^ plain;
            }
            state.as_mut_slice().zeroize();
        }
        hash
    }
}

impl fmt::Debug for InstallCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InstallCode(..)")
    }
}

impl PartialEq for InstallCode {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl Eq for InstallCode {}

/// The last field of its message: no length byte.
impl Field for InstallCode {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::new(reader.rest())
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes, CRCs and keys as zigpy 1.6.0 computes them.
    #[test]
    fn install_codes_of_all_four_lengths_give_the_link_key() {
        for (code, key) in [
            ("83fed3407a939723a5c639b26916d505c3b5", "66b6900981e1ee3ca4206b6b861c02bb"),
            ("83fed3407a932b70", "cd4fa064773f46941ec986c09963d1a8"),
            ("83fed3407a93972397fc", "850be0bf5b369ac441280a53265db167"),
            ("83fed3407a939723a5c639ff4c12", "58c1828cf7f1c3fe29e7b1024ad84bfa"),
        ] {
            let code = InstallCode::new(&hex::decode(code).unwrap()).unwrap();
            assert_eq!(hex::encode(code.link_key().0), key);
        }
    }

    #[test]
    fn a_misread_install_code_is_refused() {
        let mut code = hex::decode("83fed3407a939723a5c639b26916d505c3b5").unwrap();
        code[3] ^= 1;
        assert_eq!(InstallCode::new(&code), Err(DecodeError::Field("the install code's CRC")));
        assert_eq!(InstallCode::new(&code[..17]), Err(DecodeError::Field("the install code's length")));
    }

    #[test]
    fn keys_and_codes_show_nothing() {
        let code = InstallCode::new(&hex::decode("83fed3407a932b70").unwrap()).unwrap();
        assert_eq!(format!("{code:?} {:?}", code.link_key()), "InstallCode(..) Key(..)");
    }
}
