//! Cipher suites (RFC 9528 §3.6) and methods (§3.2): everything that differs from one suite to the next stands here,
//! so that a further suite is a variant and its arms.

use aes::Aes128;
use ccm::aead::{AeadInOut, KeyInit};
use ccm::consts::{U8, U13};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::Error;

type AesCcm16_64_128 = ccm::Ccm<Aes128, U8, U13>;

/// Output of the suite's hash, and of HKDF-Extract with it.
pub(crate) type Hash = [u8; 32];
/// A pseudorandom key of the key schedule.
pub(crate) type Prk = Zeroizing<Hash>;

/// A cipher suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Suite {
    /// AES-CCM-16-64-128, SHA-256, MAC of 8 bytes, P-256, ES256; the same two for the application.
    S2 = 2,
}

impl Suite {
    /// The suite with this number, if it is built in.
    #[must_use]
    pub const fn from_number(number: i64) -> Option<Self> {
        match number {
            2 => Some(Self::S2),
            _ => None,
        }
    }

    /// Its number in the IANA registry.
    #[must_use]
    pub const fn number(self) -> i8 {
        self as i8
    }

    /// Length of MAC_2 and MAC_3 with static Diffie-Hellman authentication.
    pub(crate) const fn mac_len(self) -> usize {
        match self {
            Self::S2 => 8,
        }
    }

    /// Length of the tag of the EDHOC AEAD.
    pub(crate) const fn tag_len(self) -> usize {
        match self {
            Self::S2 => 8,
        }
    }

    /// Key length of the EDHOC AEAD.
    pub(crate) const fn key_len(self) -> usize {
        match self {
            Self::S2 => 16,
        }
    }

    /// Nonce length of the EDHOC AEAD.
    pub(crate) const fn iv_len(self) -> usize {
        match self {
            Self::S2 => 13,
        }
    }

    /// EDHOC_Extract (RFC 9528 §4.1.1.1).
    pub(crate) fn extract(self, salt: &Hash, ikm: &[u8; 32]) -> Prk {
        match self {
            Self::S2 => {
                let (mut prk, _) = Hkdf::<Sha256>::extract(Some(salt), ikm);
                let copy = Zeroizing::new(prk.into());
                prk.as_mut_slice().zeroize();
                copy
            }
        }
    }

    /// EDHOC_Expand (RFC 9528 §4.1.1.2) over `info` in parts.
    pub(crate) fn expand(self, prk: &Hash, info: &[&[u8]], out: &mut [u8]) -> Result<(), Error> {
        match self {
            Self::S2 => Hkdf::<Sha256>::from_prk(prk)
                .map_err(|_| Error::TooLong)?
                .expand_multi_info(info, out)
                .map_err(|_| Error::TooLong),
        }
    }

    /// Encrypts `buffer`, whose last [`Self::tag_len`] bytes are room for the tag.
    pub(crate) fn seal(self, key: &[u8], iv: &[u8], aad: &[u8], buffer: &mut [u8]) -> Result<(), Error> {
        match self {
            Self::S2 => {
                let split = buffer.len().checked_sub(self.tag_len()).ok_or(Error::BufferTooSmall)?;
                let (text, room) = buffer.split_at_mut_checked(split).ok_or(Error::BufferTooSmall)?;
                let cipher = AesCcm16_64_128::new_from_slice(key).map_err(|_| Error::TooLong)?;
                let iv = iv.try_into().map_err(|_| Error::TooLong)?;
                let tag = cipher.encrypt_inout_detached(iv, aad, text.into()).map_err(|_| Error::TooLong)?;
                room.copy_from_slice(&tag);
                Ok(())
            }
        }
    }

    /// Decrypts `buffer`, ciphertext and tag, in place; the first `buffer.len() - tag_len` bytes are the plaintext.
    pub(crate) fn open(self, key: &[u8], iv: &[u8], aad: &[u8], buffer: &mut [u8]) -> Result<(), Error> {
        match self {
            Self::S2 => {
                let split = buffer.len().checked_sub(self.tag_len()).ok_or(Error::Decryption)?;
                let (text, tag) = buffer.split_at_mut_checked(split).ok_or(Error::Decryption)?;
                let cipher = AesCcm16_64_128::new_from_slice(key).map_err(|_| Error::Decryption)?;
                let iv = iv.try_into().map_err(|_| Error::Decryption)?;
                let tag = (&*tag).try_into().map_err(|_| Error::Decryption)?;
                cipher.decrypt_inout_detached(iv, aad, (&mut *text).into(), tag).map_err(|_| {
                    text.zeroize(); // what did not authenticate is nobody's to see
                    Error::Decryption
                })
            }
        }
    }
}

/// How the parties authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Method {
    /// Both by a static Diffie-Hellman key.
    StaticDh = 3,
}

impl Method {
    /// The method with this number, if it is built in.
    #[must_use]
    pub const fn from_number(number: i64) -> Option<Self> {
        match number {
            3 => Some(Self::StaticDh),
            _ => None,
        }
    }

    /// Its number in the IANA registry.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}
