//! The two things a private key does here, and software keys that do them. Keys in a secure element, TPM or
//! PKCS#11 token implement the same traits elsewhere.

use p256::ecdsa::signature::{MultipartSigner as _, Signer as _};
use p256::ecdsa::{Signature, SigningKey};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::cbor::Writer;
use crate::{Error, PublicKey, Random, es256};

/// A P-256 key that signs: ES256 (RFC 9053 §2.1).
pub trait Signer {
    /// The public half.
    fn public(&self) -> PublicKey;

    /// ECDSA with SHA-256 over `message`; the signature is `r ‖ s`.
    ///
    /// # Errors
    /// [`Error::KeyUnavailable`] where the key's holder refuses or is gone.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], Error>;

    /// As [`Self::sign`], over the concatenation of `parts`. What EDHOC signs contains a certificate or a chain of
    /// them, so a key that can take a message in parts, or its hash, does without the copy that is made here
    /// ([`MAX_GATHERED`] bytes on the stack).
    ///
    /// # Errors
    /// Those of [`Self::sign`]; [`Error::TooLong`] beyond [`MAX_GATHERED`] bytes.
    fn sign_parts(&self, parts: &[&[u8]]) -> Result<[u8; 64], Error> {
        let mut buffer = [0; MAX_GATHERED];
        let mut writer = Writer::new(&mut buffer);
        for part in parts {
            writer.raw(part).map_err(|_| Error::TooLong)?;
        }
        self.sign(writer.as_slice())
    }
}

/// The longest message in parts for a key that takes whole messages only.
pub const MAX_GATHERED: usize = 1_536;

/// A P-256 key that agrees: ECDH (RFC 9528 §3.7, method 3).
pub trait Agreement {
    /// The public half.
    fn public(&self) -> PublicKey;

    /// The shared secret with `peer`.
    ///
    /// # Errors
    /// [`Error::KeyUnavailable`] where the key's holder refuses or is gone.
    fn agree(&self, peer: &PublicKey) -> Result<SharedSecret, Error>;
}

/// The x coordinate of a Diffie-Hellman result. Erased when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SharedSecret([u8; 32]);

impl SharedSecret {
    /// Wraps what a secure element returned.
    #[must_use]
    pub const fn new(x: [u8; 32]) -> Self {
        Self(x)
    }

    /// The 32 bytes, for a key derivation.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A signing key in memory. Erased when dropped, no `Debug`.
pub struct SoftSigner(SigningKey);

impl SoftSigner {
    /// From a big-endian scalar.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] for zero or a value not below the group order.
    pub fn from_bytes(scalar: &[u8; 32]) -> Result<Self, Error> {
        SigningKey::from_slice(scalar).map(Self).map_err(|_| Error::InvalidKey)
    }

    /// A fresh key.
    ///
    /// # Errors
    /// [`Error::RandomUnavailable`].
    pub fn generate(random: &mut dyn Random) -> Result<Self, Error> {
        fresh(random, Self::from_bytes)
    }

    /// The scalar, to be stored.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes().into())
    }
}

impl Signer for SoftSigner {
    fn public(&self) -> PublicKey {
        PublicKey::from_inner(self.0.verifying_key().into())
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], Error> {
        // RFC 6979: no random number, so none that could repeat.
        let signature: Signature = self.0.try_sign(message).map_err(|_| Error::KeyUnavailable)?;
        Ok(signature.to_bytes().into())
    }

    fn sign_parts(&self, parts: &[&[u8]]) -> Result<[u8; 64], Error> {
        let signature: Signature = self.0.try_multipart_sign(parts).map_err(|_| Error::KeyUnavailable)?;
        Ok(signature.to_bytes().into())
    }
}

/// A key agreement key in memory. Erased when dropped, no `Debug`.
pub struct SoftAgreement(p256::SecretKey);

impl SoftAgreement {
    /// From a big-endian scalar.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] for zero or a value not below the group order.
    pub fn from_bytes(scalar: &[u8; 32]) -> Result<Self, Error> {
        p256::SecretKey::from_slice(scalar).map(Self).map_err(|_| Error::InvalidKey)
    }

    /// A fresh key.
    ///
    /// # Errors
    /// [`Error::RandomUnavailable`].
    pub fn generate(random: &mut dyn Random) -> Result<Self, Error> {
        fresh(random, Self::from_bytes)
    }

    /// The scalar, to be stored.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes().into())
    }
}

impl Agreement for SoftAgreement {
    fn public(&self) -> PublicKey {
        PublicKey::from_inner(self.0.public_key())
    }

    fn agree(&self, peer: &PublicKey) -> Result<SharedSecret, Error> {
        let shared = self.0.diffie_hellman(peer.inner());
        Ok(SharedSecret((*shared.raw_secret_bytes()).into()))
    }
}

/// Checks an ES256 signature.
///
/// # Errors
/// [`Error::BadSignature`].
pub fn verify(key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> Result<(), Error> {
    verify_parts(key, &[message], signature)
}

/// As [`verify`], over the concatenation of `parts`.
///
/// # Errors
/// [`Error::BadSignature`].
pub fn verify_parts(key: &PublicKey, parts: &[&[u8]], signature: &[u8; 64]) -> Result<(), Error> {
    es256::verify(key, parts, signature)
}

/// A random string is no scalar once in 2^32 times; eight in a row mean that the generator is broken.
fn fresh<K>(random: &mut dyn Random, make: impl Fn(&[u8; 32]) -> Result<K, Error>) -> Result<K, Error> {
    let mut scalar = Zeroizing::new([0; 32]);
    for _ in 0..8 {
        random.fill(scalar.as_mut())?;
        if let Ok(key) = make(&scalar) {
            return Ok(key);
        }
    }
    Err(Error::RandomUnavailable)
}
