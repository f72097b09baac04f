//! The owner code: 128 bits on a label that prove, once, that whoever activates a lock holds the lock. It is never
//! sent; both sides prove it inside EDHOC with a MAC over what the handshake has agreed (EAD_3 and EAD_4).

use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::cbor::Writer;
use crate::{Error, Random};

/// Label of the activation proof in EAD_3, lock to platform. Negative: critical. The registry of RFC 9528 §10.5 has
/// no range for private use and ends at 65535, so nobody will register what lies beyond.
pub const EAD_ACTIVATION_3: i32 = -65537;
/// Label of the activation proof in EAD_4, platform to lock; critical.
pub const EAD_ACTIVATION_4: i32 = -65538;

/// Length of an activation MAC.
pub const ACTIVATION_MAC_LEN: usize = 16;

/// Crockford's alphabet: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// 128 bits of code and 12 bits of check, five to a character.
const CHARACTERS: usize = 28;
const GROUP: usize = 4;
const TEXT_LEN: usize = CHARACTERS + CHARACTERS / GROUP - 1;
const CHECK_BITS: u32 = 12;

/// An owner code. Erased when dropped; compares in constant time; shows itself only through [`OwnerCode::reveal`].
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct OwnerCode([u8; 16]);

impl OwnerCode {
    /// From its 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// A fresh code.
    ///
    /// # Errors
    /// [`Error::RandomUnavailable`].
    pub fn generate(random: &mut dyn Random) -> Result<Self, Error> {
        let mut code = Self([0; 16]);
        random.fill(&mut code.0)?;
        Ok(code)
    }

    /// The 16 bytes, to be stored.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 16]> {
        Zeroizing::new(self.0)
    }

    /// Reads the text form as people type it: any case, `O` for 0, `I` or `L` for 1, hyphens and spaces anywhere.
    ///
    /// # Errors
    /// [`Error::CodeMistyped`] where a character is foreign, missing or too many, or the check does not fit.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut value = Zeroizing::new(0u128);
        let mut check: u32 = 0;
        let mut read = 0;
        for symbol in text.bytes().filter(|byte| !matches!(byte, b'-' | b' ')) {
            let digit = digit(symbol).ok_or(Error::CodeMistyped)?;
            // 25 characters lie wholly in the code, the 26th gives it 3 bits and the check 2.
            match read {
                0..=24 => *value = *value << 5 | u128::from(digit),
                25 => {
                    *value = *value << 3 | u128::from(digit >> 2);
                    check = u32::from(digit & 3);
                }
                26..CHARACTERS => check = check << 5 | u32::from(digit),
                _ => return Err(Error::CodeMistyped),
            }
            read += 1;
        }
        let code = Self(value.to_be_bytes());
        if read == CHARACTERS && check == code.check() { Ok(code) } else { Err(Error::CodeMistyped) }
    }

    /// The text form, for the label and for the eyes of the owner: seven groups of four.
    #[must_use]
    pub fn reveal(&self) -> RevealedCode {
        let mut text = [b'-'; TEXT_LEN];
        let value = Zeroizing::new(u128::from_be_bytes(self.0));
        // The last 15 bits hold the last 3 bits of the code and the check.
        let tail = ((*value & 7) as u32) << CHECK_BITS | self.check();
        for (index, slot) in
            text.chunks_mut(GROUP + 1).flat_map(|group| group.iter_mut().take(GROUP)).enumerate()
        {
            let digit = match index {
                0..=24 => (*value >> (123 - 5 * index)) as usize & 31,
                _ => (tail >> (5 * (CHARACTERS - 1 - index))) as usize & 31,
            };
            *slot = ALPHABET.get(digit).copied().unwrap_or_default();
        }
        RevealedCode(text)
    }

    /// The first 12 bits of a hash: one mistyped label in 4,096 goes unnoticed here, and then fails the MAC.
    fn check(&self) -> u32 {
        let digest = Sha256::new().chain_update("cardea owner code").chain_update(self.0).finalize();
        digest.iter().take(2).fold(0, |check, &byte| check << 8 | u32::from(byte)) >> 4
    }
}

impl ConstantTimeEq for OwnerCode {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.0.ct_eq(&other.0)
    }
}

/// The text of an owner code; erased when dropped. Whoever prints it meant to.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct RevealedCode([u8; TEXT_LEN]);

impl RevealedCode {
    /// `XXXX-XXXX-XXXX-XXXX-XXXX-XXXX-XXXX`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for RevealedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// HMAC-SHA-256 keyed by the code over the CBOR array `[label, th, cred]` (int, byte string, byte string), its first
/// 16 bytes. For EAD_3 `th` is TH_3 and `cred` CRED_I, for EAD_4 TH_4 and CRED_R.
#[must_use]
pub fn activation_mac(code: &OwnerCode, label: i32, th: &[u8], cred: &[u8]) -> [u8; ACTIVATION_MAC_LEN] {
    let tag = keyed(code, label, th, cred).finalize().into_bytes();
    let mut mac = [0; ACTIVATION_MAC_LEN];
    mac.iter_mut().zip(tag.iter()).for_each(|(to, from)| *to = *from);
    mac
}

/// Checks an activation MAC in constant time.
///
/// # Errors
/// [`Error::WrongCode`], also for another length.
pub fn verify_activation_mac(
    code: &OwnerCode,
    label: i32,
    th: &[u8],
    cred: &[u8],
    mac: &[u8],
) -> Result<(), Error> {
    let expected = Zeroizing::new(activation_mac(code, label, th, cred));
    if bool::from(expected.ct_eq(mac)) { Ok(()) } else { Err(Error::WrongCode) }
}

fn keyed(code: &OwnerCode, label: i32, th: &[u8], cred: &[u8]) -> Hmac<Sha256> {
    use crate::cbor::Head;
    // HMAC takes keys of any length: a block-sized key is the code padded with zeros (RFC 2104 §2).
    let mut block = Zeroizing::new([0; 64]);
    block.iter_mut().zip(code.0).for_each(|(to, from)| *to = from);
    let mut mac = Hmac::<Sha256>::new((&*block).into());
    let mut start = [0; 16];
    let mut writer = Writer::new(&mut start);
    // Three heads fit 16 bytes: 1 for the array, at most 5 for an i32; the byte strings follow in parts.
    if writer.array(3).and_then(|w| w.int(i64::from(label))).is_ok() {
        mac.update(writer.as_slice());
    }
    for bytes in [th, cred] {
        mac.update(Head::bytes(bytes.len()).as_slice());
        mac.update(bytes);
    }
    mac
}

fn digit(symbol: u8) -> Option<u8> {
    let symbol = match symbol.to_ascii_uppercase() {
        b'O' => b'0',
        b'I' | b'L' => b'1',
        other => other,
    };
    ALPHABET.iter().position(|&known| known == symbol).and_then(|position| u8::try_from(position).ok())
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::ToString;

    use super::*;

    const CODE: OwnerCode = OwnerCode::from_bytes([
        0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
    ]);

    #[test]
    fn the_text_form_survives_people() {
        let text = CODE.reveal().to_string();
        assert_eq!(text.len(), 34);
        assert_eq!(&text[..29], "008J-4CT4-ANK7-F24S-NAXW-SQFE");
        for typed in [
            text.clone(),
            text.to_lowercase(),
            text.replace('-', ""),
            text.replace('0', "o"),
            text.replace('-', " "),
        ] {
            assert_eq!(*OwnerCode::parse(&typed).unwrap().to_bytes(), CODE.0, "{typed}");
        }
    }

    #[test]
    fn one_wrong_character_is_noticed() {
        let text = CODE.reveal().to_string().replace('-', "");
        let mut unnoticed = 0;
        for position in 0..text.len() {
            for symbol in ALPHABET {
                let mut typed = text.clone().into_bytes();
                if typed[position] != *symbol {
                    typed[position] = *symbol;
                    unnoticed += usize::from(OwnerCode::parse(core::str::from_utf8(&typed).unwrap()).is_ok());
                }
            }
        }
        assert_eq!(unnoticed, 0); // of 868; about 868/4096 would be chance, and this is a fixed code
        for typed in
            ["", "0", &text[..27], &format!("{text}0"), &text.replace('A', "U"), &text.replace('A', "ä")]
        {
            assert!(matches!(OwnerCode::parse(typed), Err(Error::CodeMistyped)), "{typed}");
        }
    }

    #[test]
    fn the_mac_binds_label_transcript_and_credential() {
        // Recomputed with Python: hmac.new(code, bytes.fromhex("833a000100004201024103"), "sha256").digest()[:16]
        let mac = activation_mac(&CODE, EAD_ACTIVATION_3, &[1, 2], &[3]);
        assert_eq!(hex::encode(mac), MAC_BY_PYTHON);
        assert_eq!(verify_activation_mac(&CODE, EAD_ACTIVATION_3, &[1, 2], &[3], &mac), Ok(()));
        let other = OwnerCode::from_bytes([9; 16]);
        let wrong = Err(Error::WrongCode);
        assert_eq!(verify_activation_mac(&other, EAD_ACTIVATION_3, &[1, 2], &[3], &mac), wrong);
        assert_eq!(verify_activation_mac(&CODE, EAD_ACTIVATION_4, &[1, 2], &[3], &mac), wrong);
        assert_eq!(verify_activation_mac(&CODE, EAD_ACTIVATION_3, &[1, 3], &[3], &mac), wrong);
        assert_eq!(verify_activation_mac(&CODE, EAD_ACTIVATION_3, &[1], &[2, 3], &mac), wrong);
        assert_eq!(verify_activation_mac(&CODE, EAD_ACTIVATION_3, &[1, 2], &[3], &mac[..15]), wrong);
        assert_eq!(verify_activation_mac(&CODE, EAD_ACTIVATION_3, &[1, 2], &[3], &[]), wrong);
    }

    const MAC_BY_PYTHON: &str = "bb88a0890f9ed12ddfc42cdbd37367eb";
}
