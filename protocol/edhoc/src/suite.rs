//! Cipher suites (RFC 9528 §3.6) and methods (§3.2): everything that differs from one suite to the next stands here.
//! All of them hash with SHA-256.

use cardea_aead::AesCcm16_64_128;
#[cfg(feature = "vector-suites")]
use cardea_aead::AesCcm16_128_128;
#[cfg(feature = "chacha")]
use cardea_aead::ChaCha20Poly1305;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::Error;

/// Output of the suite's hash, and of HKDF-Extract with it.
pub(crate) type Hash = [u8; 32];
/// A pseudorandom key of the key schedule.
pub(crate) type Prk = Zeroizing<Hash>;

/// A cipher suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Suite {
    /// AES-CCM-16-64-128, SHA-256, MAC of 8 bytes, X25519, EdDSA; the same two for the application.
    #[cfg(feature = "vector-suites")]
    S0 = 0,
    /// AES-CCM-16-128-128, SHA-256, MAC of 16 bytes, X25519, EdDSA; AES-CCM-16-64-128 for the application.
    #[cfg(feature = "vector-suites")]
    S1 = 1,
    /// AES-CCM-16-64-128, SHA-256, MAC of 8 bytes, P-256, ES256; the same two for the application.
    S2 = 2,
    /// AES-CCM-16-128-128, SHA-256, MAC of 16 bytes, P-256, ES256; AES-CCM-16-64-128 for the application.
    #[cfg(feature = "vector-suites")]
    S3 = 3,
    /// ChaCha20/Poly1305, SHA-256, MAC of 16 bytes, X25519, EdDSA; the same two for the application.
    #[cfg(feature = "suite4")]
    S4 = 4,
    /// ChaCha20/Poly1305, SHA-256, MAC of 16 bytes, P-256, ES256; the same two for the application.
    #[cfg(feature = "suite5")]
    S5 = 5,
}

/// The group of the ephemeral keys and of static Diffie-Hellman keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    #[cfg(feature = "okp")]
    X25519,
}

/// The EDHOC AEAD.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cipher {
    Ccm8,
    #[cfg(feature = "vector-suites")]
    Ccm16,
    #[cfg(feature = "chacha")]
    ChaCha20Poly1305,
}

impl Suite {
    /// Every suite that is built in, in the order of the registry.
    pub const ALL: &'static [Self] = &[
        #[cfg(feature = "vector-suites")]
        Self::S0,
        #[cfg(feature = "vector-suites")]
        Self::S1,
        Self::S2,
        #[cfg(feature = "vector-suites")]
        Self::S3,
        #[cfg(feature = "suite4")]
        Self::S4,
        #[cfg(feature = "suite5")]
        Self::S5,
    ];

    /// The suite with this number, if it is built in.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.iter().copied().find(|suite| i64::from(suite.number()) == number)
    }

    /// Its number in the IANA registry.
    #[must_use]
    pub const fn number(self) -> i8 {
        self as i8
    }

    /// The application AEAD algorithm by its COSE number: 10, AES-CCM-16-64-128, or 24, ChaCha20/Poly1305.
    #[must_use]
    pub const fn application_aead(self) -> u8 {
        match self.cipher() {
            #[cfg(feature = "chacha")]
            Cipher::ChaCha20Poly1305 => 24,
            _ => 10,
        }
    }

    /// Key length of the application AEAD, in bytes.
    pub(crate) const fn application_key_len(self) -> usize {
        if self.application_aead() == 24 { 32 } else { 16 }
    }

    pub(crate) const fn curve(self) -> Curve {
        match self {
            #[cfg(feature = "vector-suites")]
            Self::S0 | Self::S1 => Curve::X25519,
            #[cfg(feature = "suite4")]
            Self::S4 => Curve::X25519,
            _ => Curve::P256,
        }
    }

    const fn cipher(self) -> Cipher {
        match self {
            #[cfg(feature = "vector-suites")]
            Self::S1 | Self::S3 => Cipher::Ccm16,
            #[cfg(feature = "suite4")]
            Self::S4 => Cipher::ChaCha20Poly1305,
            #[cfg(feature = "suite5")]
            Self::S5 => Cipher::ChaCha20Poly1305,
            _ => Cipher::Ccm8,
        }
    }

    /// Length of MAC_2 and MAC_3 with static Diffie-Hellman authentication. With a signature the MAC is as long as a
    /// hash (§5.3.2).
    pub(crate) const fn mac_len(self) -> usize {
        self.tag_len()
    }

    /// Length of the tag of the EDHOC AEAD, which is that of the MAC in every suite built in.
    pub(crate) const fn tag_len(self) -> usize {
        match self.cipher() {
            Cipher::Ccm8 => 8,
            #[allow(unreachable_patterns)] // where suite 2 is alone
            _ => 16,
        }
    }

    /// Key length of the EDHOC AEAD.
    pub(crate) const fn key_len(self) -> usize {
        match self.cipher() {
            #[cfg(feature = "chacha")]
            Cipher::ChaCha20Poly1305 => 32,
            _ => 16,
        }
    }

    /// Nonce length of the EDHOC AEAD.
    pub(crate) const fn iv_len(self) -> usize {
        match self.cipher() {
            #[cfg(feature = "chacha")]
            Cipher::ChaCha20Poly1305 => 12,
            _ => 13,
        }
    }

    /// Encrypts `buffer`, whose last [`Self::tag_len`] bytes are room for the tag.
    pub(crate) fn seal(self, key: &[u8], iv: &[u8], aad: &[u8], buffer: &mut [u8]) -> Result<(), Error> {
        let sealed = match self.cipher() {
            Cipher::Ccm8 => cardea_aead::seal::<AesCcm16_64_128>(key, iv, aad, buffer),
            #[cfg(feature = "vector-suites")]
            Cipher::Ccm16 => cardea_aead::seal::<AesCcm16_128_128>(key, iv, aad, buffer),
            #[cfg(feature = "chacha")]
            Cipher::ChaCha20Poly1305 => cardea_aead::seal::<ChaCha20Poly1305>(key, iv, aad, buffer),
        };
        sealed.map_err(|_| Error::BufferTooSmall)
    }

    /// Decrypts `buffer`, ciphertext and tag, in place; the first `buffer.len() - tag_len` bytes are the plaintext.
    pub(crate) fn open(self, key: &[u8], iv: &[u8], aad: &[u8], buffer: &mut [u8]) -> Result<(), Error> {
        let opened = match self.cipher() {
            Cipher::Ccm8 => cardea_aead::open::<AesCcm16_64_128>(key, iv, aad, buffer),
            #[cfg(feature = "vector-suites")]
            Cipher::Ccm16 => cardea_aead::open::<AesCcm16_128_128>(key, iv, aad, buffer),
            #[cfg(feature = "chacha")]
            Cipher::ChaCha20Poly1305 => cardea_aead::open::<ChaCha20Poly1305>(key, iv, aad, buffer),
        };
        opened.map_err(|_| Error::Decryption) // what did not authenticate is nobody's to see
    }
}

/// EDHOC_Extract (RFC 9528 §4.1.1.1).
pub(crate) fn extract(salt: &Hash, ikm: &[u8; 32]) -> Prk {
    let (mut prk, _) = Hkdf::<Sha256>::extract(Some(salt), ikm);
    let copy = Zeroizing::new(prk.into());
    prk.as_mut_slice().zeroize();
    copy
}

/// EDHOC_Expand (RFC 9528 §4.1.1.2) over `info` in parts.
pub(crate) fn expand(prk: &Hash, info: &[&[u8]], out: &mut [u8]) -> Result<(), Error> {
    Hkdf::<Sha256>::from_prk(prk)
        .map_err(|_| Error::TooLong)?
        .expand_multi_info(info, out)
        .map_err(|_| Error::TooLong)
}

/// EDHOC_Expand, added to `text` by exclusive or: a message_2 may hold a chain of certificates, and nobody needs a
/// second buffer of that size for its keystream (RFC 5869 §2.3).
pub(crate) fn expand_xor(prk: &Hash, info: &[&[u8]], text: &mut [u8]) -> Result<(), Error> {
    let mut block = Zeroizing::new([0; 32]);
    for (index, chunk) in text.chunks_mut(32).enumerate() {
        let counter = u8::try_from(index + 1).map_err(|_| Error::TooLong)?;
        let mut mac = Hmac::<Sha256>::new_from_slice(prk).map_err(|_| Error::TooLong)?;
        if index > 0 {
            mac.update(block.as_ref());
        }
        info.iter().for_each(|part| mac.update(part));
        mac.update(&[counter]);
        *block = mac.finalize().into_bytes().into();
        chunk.iter_mut().zip(block.iter()).for_each(|(byte, key)| *byte ^= key);
    }
    Ok(())
}

/// How the parties authenticate (RFC 9528 Table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Method {
    /// Both sign.
    #[cfg(feature = "signatures")]
    Signatures = 0,
    /// The Initiator signs, the Responder has a static Diffie-Hellman key.
    #[cfg(feature = "signatures")]
    SignatureStaticDh = 1,
    /// The Initiator has a static Diffie-Hellman key, the Responder signs.
    #[cfg(feature = "signatures")]
    StaticDhSignature = 2,
    /// Both by a static Diffie-Hellman key.
    StaticDh = 3,
}

impl Method {
    /// Every method that is built in, in the order of the registry.
    pub const ALL: &'static [Self] = &[
        #[cfg(feature = "signatures")]
        Self::Signatures,
        #[cfg(feature = "signatures")]
        Self::SignatureStaticDh,
        #[cfg(feature = "signatures")]
        Self::StaticDhSignature,
        Self::StaticDh,
    ];

    /// The method with this number, if it is built in.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.iter().copied().find(|method| i64::from(method.number()) == number)
    }

    /// Its number in the IANA registry.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Whether the Initiator signs; else it has a static Diffie-Hellman key.
    #[must_use]
    pub const fn initiator_signs(self) -> bool {
        self.number() < 2
    }

    /// Whether the Responder signs; else it has a static Diffie-Hellman key.
    #[must_use]
    pub const fn responder_signs(self) -> bool {
        matches!(self.number(), 0 | 2)
    }
}
