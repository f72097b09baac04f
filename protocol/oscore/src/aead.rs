//! The AEAD algorithms by their numbers.

use cardea_aead::AesCcm16_64_128;
#[cfg(feature = "chacha")]
use cardea_aead::ChaCha20Poly1305;

use crate::Error;

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
        let sealed = match self {
            Self::AesCcm16_64_128 => cardea_aead::seal::<AesCcm16_64_128>(key, nonce, aad, buffer),
            #[cfg(feature = "chacha")]
            Self::ChaCha20Poly1305 => cardea_aead::seal::<ChaCha20Poly1305>(key, nonce, aad, buffer),
        };
        sealed.map_err(|_| Error::NotProtectable) // only a message above 64 KiB
    }

    /// Decrypts all but the last [`Self::tag_len`] bytes of `buffer`, which hold the tag. Leaves no plaintext behind
    /// when the tag is wrong.
    pub(crate) fn open(self, key: &[u8], nonce: &[u8], aad: &[u8], buffer: &mut [u8]) -> Result<(), Error> {
        let opened = match self {
            Self::AesCcm16_64_128 => cardea_aead::open::<AesCcm16_64_128>(key, nonce, aad, buffer),
            #[cfg(feature = "chacha")]
            Self::ChaCha20Poly1305 => cardea_aead::open::<ChaCha20Poly1305>(key, nonce, aad, buffer),
        };
        opened.map_err(|error| match error {
            cardea_aead::Error::Tag => Error::Decrypt,
            cardea_aead::Error::Length => Error::Ciphertext,
        })
    }
}
