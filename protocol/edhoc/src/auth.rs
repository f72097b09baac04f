//! Keys: ephemeral ones, those a party authenticates with, and what they make of a MAC (RFC 9528 §5.3.2, §5.4.2).

#[cfg(feature = "signatures")]
use cardea_credentials::Signer;
#[cfg(all(feature = "signatures", feature = "okp"))]
use cardea_credentials::okp::Ed25519Signer;
#[cfg(feature = "okp")]
use cardea_credentials::okp::{Ed25519Key, SoftX25519, X25519Agreement, X25519Key};
use cardea_credentials::{Agreement, PublicKey, Random, SharedSecret, SoftAgreement};

use crate::suite::Curve;
use crate::{Error, Suite};

/// A key pair for one handshake. A session takes it by value, so none is used twice.
pub struct EphemeralKey(Pair);

enum Pair {
    P256(SoftAgreement),
    #[cfg(feature = "okp")]
    X25519(SoftX25519),
}

impl EphemeralKey {
    /// A fresh pair on the curve of `suite`.
    ///
    /// # Errors
    /// [`Error::RandomUnavailable`].
    pub fn generate(suite: Suite, random: &mut dyn Random) -> Result<Self, Error> {
        Ok(Self(match suite.curve() {
            Curve::P256 => Pair::P256(SoftAgreement::generate(random)?),
            #[cfg(feature = "okp")]
            Curve::X25519 => Pair::X25519(SoftX25519::generate(random)?),
        }))
    }

    /// From a scalar, big-endian on P-256 and as RFC 7748 has it on Curve25519: for test vectors, and for hardware
    /// that draws its own.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] for zero or a value not below the group order of P-256.
    pub fn from_bytes(suite: Suite, scalar: &[u8; 32]) -> Result<Self, Error> {
        Ok(Self(match suite.curve() {
            Curve::P256 => Pair::P256(SoftAgreement::from_bytes(scalar)?),
            #[cfg(feature = "okp")]
            Curve::X25519 => Pair::X25519(SoftX25519::from_bytes(scalar)),
        }))
    }

    /// G_X or G_Y as it is sent.
    pub(crate) fn public_x(&self) -> [u8; 32] {
        match &self.0 {
            Pair::P256(key) => key.public().x(),
            #[cfg(feature = "okp")]
            Pair::X25519(key) => *key.public().as_bytes(),
        }
    }

    pub(crate) fn fits(&self, suite: Suite) -> bool {
        match &self.0 {
            Pair::P256(_) => suite.curve() == Curve::P256,
            #[cfg(feature = "okp")]
            Pair::X25519(_) => suite.curve() == Curve::X25519,
        }
    }

    pub(crate) fn agree(&self, peer: &Point) -> Result<SharedSecret, Error> {
        match (&self.0, peer) {
            (Pair::P256(key), Point::P256(peer)) => Ok(key.agree(peer)?),
            #[cfg(feature = "okp")]
            (Pair::X25519(key), Point::X25519(peer)) => Ok(key.agree(peer)?),
            #[cfg(feature = "okp")]
            _ => Err(Error::WrongKey),
        }
    }
}

/// G_X or G_Y of the peer, checked.
#[derive(Clone, Copy)]
pub(crate) enum Point {
    P256(PublicKey),
    #[cfg(feature = "okp")]
    X25519(X25519Key),
}

impl Point {
    pub(crate) fn read(suite: Suite, bytes: &[u8; 32]) -> Result<Self, Error> {
        Ok(match suite.curve() {
            Curve::P256 => Self::P256(PublicKey::from_x(bytes)?),
            #[cfg(feature = "okp")]
            Curve::X25519 => Self::X25519(X25519Key::from_bytes(bytes)?),
        })
    }
}

/// The key that a party authenticates with: one that signs or one that agrees, never both, so that a secure element
/// that does only one of the two fits. METHOD says which a side needs, the suite on which curve.
#[derive(Clone, Copy)]
pub enum AuthKey<'a> {
    /// A static Diffie-Hellman key on P-256.
    Agreement(&'a dyn Agreement),
    /// An ES256 key.
    #[cfg(feature = "signatures")]
    Signer(&'a dyn Signer),
    /// A static X25519 key.
    #[cfg(feature = "okp")]
    X25519(&'a dyn X25519Agreement),
    /// An Ed25519 key.
    #[cfg(all(feature = "signatures", feature = "okp"))]
    Ed25519(&'a dyn Ed25519Signer),
}

impl AuthKey<'_> {
    /// G_RX or G_IY, for a side that authenticates by static Diffie-Hellman.
    pub(crate) fn agree(&self, peer: &Point) -> Result<SharedSecret, Error> {
        match (self, peer) {
            (Self::Agreement(key), Point::P256(peer)) => Ok(key.agree(peer)?),
            #[cfg(feature = "okp")]
            (Self::X25519(key), Point::X25519(peer)) => Ok(key.agree(peer)?),
            #[allow(unreachable_patterns)] // where suite 2 is alone
            _ => Err(Error::WrongKey),
        }
    }

    /// The signature over a `Sig_structure` in parts, for a side that signs.
    #[cfg(feature = "signatures")]
    pub(crate) fn sign(&self, suite: Suite, parts: &[&[u8]]) -> Result<[u8; SIGNATURE_LEN], Error> {
        match (self, suite.curve()) {
            (Self::Signer(key), Curve::P256) => Ok(key.sign_parts(parts)?),
            #[cfg(feature = "okp")]
            (Self::Ed25519(key), Curve::X25519) => Ok(key.sign_parts(parts)?),
            _ => Err(Error::WrongKey),
        }
    }
}

/// Length of an ES256 or EdDSA signature.
pub(crate) const SIGNATURE_LEN: usize = 64;

/// The peer's public authentication key, from its credential. Which of its uses is meant is said by METHOD, not by
/// the key: a caller whose credentials restrict the use of a key checks that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerKey {
    /// On P-256: static Diffie-Hellman or ES256. A key known by x alone must not verify signatures.
    P256(PublicKey),
    /// Static X25519.
    #[cfg(feature = "okp")]
    X25519(X25519Key),
    /// Ed25519.
    #[cfg(feature = "okp")]
    Ed25519(Ed25519Key),
}

impl From<PublicKey> for PeerKey {
    fn from(key: PublicKey) -> Self {
        Self::P256(key)
    }
}

impl From<&PublicKey> for PeerKey {
    fn from(key: &PublicKey) -> Self {
        Self::P256(*key)
    }
}

impl PeerKey {
    /// The point to agree with. A credential whose key cannot be used so is not the one that METHOD means.
    pub(crate) fn point(&self) -> Result<Point, Error> {
        match self {
            Self::P256(key) => Ok(Point::P256(*key)),
            #[cfg(feature = "okp")]
            Self::X25519(key) => Ok(Point::X25519(*key)),
            #[cfg(feature = "okp")]
            Self::Ed25519(_) => Err(Error::Authentication),
        }
    }

    pub(crate) fn is_on(&self, suite: Suite) -> bool {
        match self {
            Self::P256(_) => suite.curve() == Curve::P256,
            #[cfg(feature = "okp")]
            Self::X25519(_) | Self::Ed25519(_) => suite.curve() == Curve::X25519,
        }
    }

    #[cfg(feature = "signatures")]
    pub(crate) fn verify(&self, parts: &[&[u8]], signature: &[u8]) -> Result<(), Error> {
        let signature = signature.try_into().map_err(|_| Error::Authentication)?;
        match self {
            Self::P256(key) => cardea_credentials::verify_parts(key, parts, signature),
            #[cfg(feature = "okp")]
            Self::Ed25519(key) => key.verify_parts(parts, signature),
            #[cfg(feature = "okp")]
            Self::X25519(_) => return Err(Error::Authentication),
        }
        .map_err(|_| Error::Authentication)
    }
}
