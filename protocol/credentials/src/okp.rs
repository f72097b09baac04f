//! Curve25519: X25519 and Ed25519 keys (RFC 8037 in COSE's numbers, RFC 9053 §7.2), for builds whose keys live in no
//! secure element. Everything else in this crate is P-256; these keys occur in CCS and X.509 credentials only.

use core::fmt;

use ed25519_dalek::ed25519::signature::{MultipartSigner as _, MultipartVerifier as _};
use zeroize::{Zeroize, Zeroizing};

use crate::cbor::{Reader, Writer};
use crate::ccs::{CNF, CNF_COSE_KEY, SUB, read_claims};
use crate::key::{ALG, CRV, KID, KTY, X, once};
use crate::{Error, Random, SharedSecret};

const KTY_OKP: i64 = 1;
const CRV_X25519: i64 = 4;
const CRV_ED25519: i64 = 6;
const EDDSA: i64 = -8;

/// The u-coordinates, below the 255th bit, with which every X25519 result is zero (RFC 7748 §6.1): 0, 1, the two of
/// order 8, p - 1, and the two further spellings p and p + 1 of the first two.
const SMALL_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
        0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04,
        0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    near_p(0xec),
    near_p(0xed),
    near_p(0xee),
];

/// 2^255 - 256 + `low`, little-endian; p ends in 0xed.
const fn near_p(low: u8) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    bytes[0] = low;
    bytes[31] = 0x7f;
    bytes
}

/// The u-coordinate of a point to agree with, not of small order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct X25519Key([u8; 32]);

impl X25519Key {
    /// From its 32 bytes, little-endian.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] for the points with which every result is zero.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, Error> {
        let mut canonical = *bytes;
        if let Some(last) = canonical.last_mut() {
            *last &= 0x7f; // X25519 does not look at this bit
        }
        if SMALL_ORDER.contains(&canonical) { Err(Error::InvalidKey) } else { Ok(Self(*bytes)) }
    }

    /// Its 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A key that verifies Ed25519 signatures, not of small order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ed25519Key(ed25519_dalek::VerifyingKey);

impl Ed25519Key {
    /// From its 32 bytes (RFC 8032 §5.1.5).
    ///
    /// # Errors
    /// [`Error::InvalidKey`] where they are no point, or one of small order, under which signatures prove nothing.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, Error> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| Error::InvalidKey)?;
        if key.is_weak() { Err(Error::InvalidKey) } else { Ok(Self(key)) }
    }

    /// Its 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Checks a signature over the concatenation of `parts`.
    ///
    /// # Errors
    /// [`Error::BadSignature`].
    pub fn verify_parts(&self, parts: &[&[u8]], signature: &[u8; 64]) -> Result<(), Error> {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        self.0.multipart_verify(parts, &signature).map_err(|_| Error::BadSignature)
    }
}

impl fmt::Debug for X25519Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(f, "X25519Key", &self.0)
    }
}

impl fmt::Debug for Ed25519Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(f, "Ed25519Key", self.as_bytes())
    }
}

fn debug(f: &mut fmt::Formatter<'_>, name: &str, bytes: &[u8; 32]) -> fmt::Result {
    write!(f, "{name}(")?;
    bytes.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))?;
    f.write_str(")")
}

/// A key that agrees: X25519 (RFC 7748 §5).
pub trait X25519Agreement {
    /// The public half.
    fn public(&self) -> X25519Key;

    /// The shared secret with `peer`, never zero.
    ///
    /// # Errors
    /// [`Error::KeyUnavailable`] where the key's holder refuses or is gone; [`Error::InvalidKey`] where the result
    /// is zero.
    fn agree(&self, peer: &X25519Key) -> Result<SharedSecret, Error>;
}

/// A key that signs: Ed25519 (RFC 8032).
pub trait Ed25519Signer {
    /// The public half.
    fn public(&self) -> Ed25519Key;

    /// The signature over the concatenation of `parts`, which Ed25519 reads twice.
    ///
    /// # Errors
    /// [`Error::KeyUnavailable`] where the key's holder refuses or is gone.
    fn sign_parts(&self, parts: &[&[u8]]) -> Result<[u8; 64], Error>;
}

/// An X25519 key in memory. Erased when dropped, no `Debug`.
pub struct SoftX25519(x25519_dalek::StaticSecret);

impl SoftX25519 {
    /// From 32 bytes; RFC 7748's clamping is done when it is used.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(x25519_dalek::StaticSecret::from(*bytes))
    }

    /// A fresh key.
    ///
    /// # Errors
    /// [`Error::RandomUnavailable`].
    pub fn generate(random: &mut dyn Random) -> Result<Self, Error> {
        fresh(random, Self::from_bytes)
    }
}

impl X25519Agreement for SoftX25519 {
    fn public(&self) -> X25519Key {
        X25519Key(x25519_dalek::PublicKey::from(&self.0).to_bytes())
    }

    fn agree(&self, peer: &X25519Key) -> Result<SharedSecret, Error> {
        let shared = self.0.diffie_hellman(&x25519_dalek::PublicKey::from(peer.0));
        if shared.was_contributory() {
            Ok(SharedSecret::new(*shared.as_bytes()))
        } else {
            Err(Error::InvalidKey)
        }
    }
}

/// An Ed25519 key in memory. Erased when dropped, no `Debug`.
pub struct SoftEd25519(ed25519_dalek::SigningKey);

impl SoftEd25519 {
    /// From a seed (RFC 8032 §5.1.5).
    #[must_use]
    pub fn from_bytes(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// A fresh key.
    ///
    /// # Errors
    /// [`Error::RandomUnavailable`].
    pub fn generate(random: &mut dyn Random) -> Result<Self, Error> {
        fresh(random, Self::from_bytes)
    }
}

impl Ed25519Signer for SoftEd25519 {
    fn public(&self) -> Ed25519Key {
        Ed25519Key(self.0.verifying_key())
    }

    fn sign_parts(&self, parts: &[&[u8]]) -> Result<[u8; 64], Error> {
        let signature: ed25519_dalek::Signature =
            self.0.try_multipart_sign(parts).map_err(|_| Error::KeyUnavailable)?;
        Ok(signature.to_bytes())
    }
}

fn fresh<K>(random: &mut dyn Random, make: impl Fn(&[u8; 32]) -> K) -> Result<K, Error> {
    let mut bytes = Zeroizing::new([0; 32]);
    random.fill(bytes.as_mut())?;
    let key = make(&bytes);
    bytes.zeroize();
    Ok(key)
}

/// A COSE_Key of type OKP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OkpKey {
    /// Agrees: EDHOC methods with static Diffie-Hellman.
    X25519(X25519Key),
    /// Signs: EDHOC methods with signatures.
    Ed25519(Ed25519Key),
}

/// A CCS over an OKP key as it was read; see [`crate::Ccs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OkpCcs<'a> {
    /// The `sub` claim. A name, for people; it authorises nothing.
    pub subject: Option<&'a str>,
    /// The key of the `cnf` claim.
    pub key: OkpKey,
    /// Its `kid`, where it has one.
    pub kid: Option<&'a [u8]>,
}

/// Reads a CCS that confirms an OKP key by value; as [`crate::decode_ccs`] otherwise.
///
/// # Errors
/// [`Error::UnsupportedKey`] for another type or curve; those of [`crate::decode_ccs`].
pub fn decode_ccs(bytes: &[u8]) -> Result<OkpCcs<'_>, Error> {
    let (subject, (key, kid)) = read_claims(bytes, read_key)?;
    Ok(OkpCcs { subject, key, kid })
}

/// Writes `{2: subject, 8: {1: COSE_Key}}`, as [`crate::encode_ccs`]. Returns the length.
///
/// # Errors
/// [`Error::BufferTooSmall`].
pub fn encode_ccs(
    subject: Option<&str>,
    key: &OkpKey,
    kid: Option<&[u8]>,
    out: &mut [u8],
) -> Result<usize, Error> {
    let (crv, x) = match key {
        OkpKey::X25519(key) => (CRV_X25519, key.as_bytes()),
        OkpKey::Ed25519(key) => (CRV_ED25519, key.as_bytes()),
    };
    let mut writer = Writer::new(out);
    writer.map(1 + usize::from(subject.is_some()))?;
    if let Some(subject) = subject {
        writer.int(SUB)?.text(subject)?;
    }
    writer.int(CNF)?.map(1)?.int(CNF_COSE_KEY)?;
    writer.map(3 + usize::from(kid.is_some()))?.int(KTY)?.int(KTY_OKP)?;
    if let Some(kid) = kid {
        writer.int(KID)?.bytes(kid)?;
    }
    writer.int(CRV)?.int(crv)?.int(X)?.bytes(x)?;
    Ok(writer.len())
}

fn read_key<'a>(reader: &mut Reader<'a>) -> Result<(OkpKey, Option<&'a [u8]>), Error> {
    let (mut kty, mut crv, mut alg, mut x, mut kid) = (None, None, None, None, None);
    for _ in 0..reader.map()? {
        match reader.int()? {
            KTY => once(&mut kty, reader.int()?)?,
            KID => once(&mut kid, reader.bytes()?)?,
            ALG => once(&mut alg, reader.int()?)?,
            CRV => once(&mut crv, reader.int()?)?,
            X => once(&mut x, reader.bytes()?)?,
            _ => return Err(Error::UnsupportedKey), // -4 above all: nobody sends us a private key
        }
    }
    let x = x.ok_or(Error::Malformed)?.try_into().map_err(|_| Error::InvalidKey)?;
    let key = match (kty, crv, alg) {
        (Some(KTY_OKP), Some(CRV_X25519), None) => OkpKey::X25519(X25519Key::from_bytes(x)?),
        (Some(KTY_OKP), Some(CRV_ED25519), None | Some(EDDSA)) => OkpKey::Ed25519(Ed25519Key::from_bytes(x)?),
        _ => return Err(Error::UnsupportedKey),
    };
    Ok((key, kid))
}
