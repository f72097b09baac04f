//! The AEAD algorithms, on slices, in place.

use aes::Aes128;
use ccm::Ccm;
use ccm::aead::inout::InOutBuf;
use ccm::aead::{AeadInOut, KeyInit};
use ccm::consts::{U8, U13};
#[cfg(feature = "chacha")]
use chacha20poly1305::ChaCha20Poly1305;

use crate::Error;

type AesCcm16_64_128 = Ccm<Aes128, U8, U13>;

/// AEAD algorithm of a context, numbered as in COSE (RFC 9053 section 4). ChaCha20/Poly1305 by the feature `chacha`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// AES-CCM-16-64-128: 8-byte tag, 13-byte nonce. EDHOC suites 0 and 2.
    AesCcm16_64_128 = 10,
    /// ChaCha20/Poly1305: 16-byte tag, 12-byte nonce. EDHOC suites 4 and 5.
    #[cfg(feature = "chacha")]
    ChaCha20Poly1305 = 24,
}

impl Algorithm {
    const ALL: &[Self] = &[
        Self::AesCcm16_64_128,
        #[cfg(feature = "chacha")]
        Self::ChaCha20Poly1305,
    ];
    /// Longest key of all algorithms, in bytes.
    pub(crate) const MAX_KEY: usize = if cfg!(feature = "chacha") { 32 } else { 16 };
    /// Longest nonce of all algorithms, in bytes.
    pub(crate) const MAX_NONCE: usize = 13;

    /// The COSE number.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The algorithm with this COSE number, if it is one of ours.
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.iter().copied().find(|algorithm| i32::from(algorithm.number()) == number)
    }

    /// Key length in bytes; EDHOC exports a master secret of this length.
    pub fn key_len(self) -> usize {
        match self {
            Self::AesCcm16_64_128 => 16,
            #[cfg(feature = "chacha")]
            Self::ChaCha20Poly1305 => 32,
        }
    }

    /// Nonce length in bytes.
    pub fn nonce_len(self) -> usize {
        match self {
            Self::AesCcm16_64_128 => 13,
            #[cfg(feature = "chacha")]
            Self::ChaCha20Poly1305 => 12,
        }
    }

    /// Tag length in bytes, by which a ciphertext is longer than its plaintext.
    pub fn tag_len(self) -> usize {
        match self {
            Self::AesCcm16_64_128 => 8,
            #[cfg(feature = "chacha")]
            Self::ChaCha20Poly1305 => 16,
        }
    }

    /// Longest sender or recipient id in bytes (RFC 8613 section 3.3).
    pub fn max_id_len(self) -> usize {
        self.nonce_len() - 6
    }

    /// Encrypts all but the last [`Self::tag_len`] bytes of `buffer` and writes the tag there.
    pub(crate) fn seal(self, key: &[u8], nonce: &[u8], aad: &[u8], buffer: &mut [u8]) -> Result<(), Error> {
        match self {
            Self::AesCcm16_64_128 => seal::<AesCcm16_64_128>(key, nonce, aad, buffer, self.tag_len()),
            #[cfg(feature = "chacha")]
            Self::ChaCha20Poly1305 => seal::<ChaCha20Poly1305>(key, nonce, aad, buffer, self.tag_len()),
        }
    }

    /// Decrypts all but the last [`Self::tag_len`] bytes of `buffer`, which hold the tag. Leaves no plaintext behind
    /// when the tag is wrong.
    pub(crate) fn open(self, key: &[u8], nonce: &[u8], aad: &[u8], buffer: &mut [u8]) -> Result<(), Error> {
        match self {
            Self::AesCcm16_64_128 => open::<AesCcm16_64_128>(key, nonce, aad, buffer, self.tag_len()),
            #[cfg(feature = "chacha")]
            Self::ChaCha20Poly1305 => open::<ChaCha20Poly1305>(key, nonce, aad, buffer, self.tag_len()),
        }
    }
}

fn seal<A: AeadInOut + KeyInit>(
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    buffer: &mut [u8],
    tag_len: usize,
) -> Result<(), Error> {
    let (text, tag_out) = split_tag(buffer, tag_len)?;
    let cipher = A::new_from_slice(key).map_err(|_| Error::InvalidState)?;
    let nonce = nonce.try_into().map_err(|_| Error::InvalidState)?;
    // Only fails for messages above 64 KiB.
    let tag =
        cipher.encrypt_inout_detached(nonce, aad, InOutBuf::from(text)).map_err(|_| Error::NotProtectable)?;
    tag_out.copy_from_slice(&tag);
    Ok(())
}

fn open<A: AeadInOut + KeyInit>(
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    buffer: &mut [u8],
    tag_len: usize,
) -> Result<(), Error> {
    let (text, tag) = split_tag(buffer, tag_len)?;
    let cipher = A::new_from_slice(key).map_err(|_| Error::InvalidState)?;
    let nonce = nonce.try_into().map_err(|_| Error::InvalidState)?;
    let tag = (&*tag).try_into().map_err(|_| Error::InvalidState)?;
    cipher.decrypt_inout_detached(nonce, aad, InOutBuf::from(&mut *text), tag).map_err(|_| {
        text.fill(0); // AES-CCM decrypts before it verifies; do not depend on what the library leaves behind
        Error::Decrypt
    })
}

fn split_tag(buffer: &mut [u8], tag_len: usize) -> Result<(&mut [u8], &mut [u8]), Error> {
    let text_len = buffer.len().checked_sub(tag_len).ok_or(Error::Ciphertext)?;
    Ok(buffer.split_at_mut(text_len))
}
