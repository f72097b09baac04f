//! The two certificates of the activation handshake, both CWTs (RFC 8392: COSE_Sign1, empty external_aad).
//!
//! Both are written by the key that they name in their protected `kid`, as the 33 bytes of that key itself: a lock
//! has no other place to learn it from, and a name inside what is signed cannot be exchanged for another key under
//! which the same signature would verify. `docs/protocol.md` has the layouts.

use crate::cbor::{Reader, Writer};
use crate::ccs::{CNF, CNF_COSE_KEY, read_cnf};
use crate::key::{CoseKey, YForm, once};
use crate::sign1::Sign1;
use crate::{Error, PublicKey, Signer};

/// Private claim: the key with which a platform signs site messages and remote verbs (33 bytes, SEC1 compressed).
pub const CLAIM_PLATFORM_SIGNING: i64 = -65537;
/// Private claim: the version of a platform key, a `u32` that rises with every rotation under one root.
pub const CLAIM_PLATFORM_VERSION: i64 = -65538;

/// The exact length of every lock CWT.
pub const LOCK_CWT_LEN: usize = 157;
/// The greatest length of a platform CWT (a version of four bytes).
pub const MAX_PLATFORM_CWT_LEN: usize = 207;

/// What a lock says about itself: its identity key certifies its Diffie-Hellman key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockIdentity {
    /// The key for life. Its thumbprint names the lock.
    pub identity: PublicKey,
    /// The static Diffie-Hellman key of EDHOC method 3.
    pub dh: PublicKey,
}

/// What an owner root says about its platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformIdentity {
    /// The owner root that signed.
    pub root: PublicKey,
    /// The static Diffie-Hellman key of EDHOC method 3.
    pub dh: PublicKey,
    /// The key that signs site messages and remote verbs.
    pub signing: PublicKey,
    /// Rises with every rotation under one root; who pinned a version refuses a lower one.
    pub version: u32,
}

/// Writes a lock's CWT: `{8: {1: dh}}` signed by the identity key. Returns [`LOCK_CWT_LEN`].
///
/// # Errors
/// [`Error::BufferTooSmall`] or the signer's.
#[inline(never)]
pub fn issue_lock_identity(identity: &dyn Signer, dh: &PublicKey, out: &mut [u8]) -> Result<usize, Error> {
    let mut buffer = [0; 64];
    let mut payload = Writer::new(&mut buffer);
    write_cnf(payload.map(1)?, dh)?;
    let kid = identity.public().to_compressed();
    Sign1::encode_in(&mut [0; LOCK_CWT_LEN], identity, Some(&kid), &[], payload.as_slice(), out)
}

/// Verifies a lock's CWT against the identity key that it carries. It proves that whoever holds the identity key
/// vouches for the Diffie-Hellman key; whether this identity is welcome is for the caller to decide.
///
/// # Errors
/// [`Error::WrongCredential`] for a CWT of another kind, [`Error::BadSignature`], and the decoders' errors.
pub fn verify_lock_identity(cwt: &[u8]) -> Result<LockIdentity, Error> {
    match &signed_by_named_key(cwt, None) {
        Ok((identity, claims)) => read_lock(identity, claims),
        Err(error) => Err(*error),
    }
}

#[inline(never)] // its keys are not on the stack while the signature is verified
fn read_lock(identity: &PublicKey, claims: &[u8]) -> Result<LockIdentity, Error> {
    let mut claims = Reader::new(claims);
    if claims.map()? != 1 || claims.int()? != CNF {
        return Err(Error::WrongCredential);
    }
    let dh = full_key(&read_cnf(&mut claims)?)?;
    claims.finish()?;
    Ok(LockIdentity { identity: *identity, dh })
}

/// Writes a platform's CWT: `{8: {1: dh}, -65537: signing, -65538: version}` signed by the owner root. Returns its
/// length, at most [`MAX_PLATFORM_CWT_LEN`].
///
/// # Errors
/// [`Error::BufferTooSmall`] or the signer's.
pub fn issue_platform(
    root: &dyn Signer,
    dh: &PublicKey,
    signing: &PublicKey,
    version: u32,
    out: &mut [u8],
) -> Result<usize, Error> {
    let mut buffer = [0; 128];
    let mut payload = Writer::new(&mut buffer);
    write_cnf(payload.map(3)?, dh)?;
    payload.int(CLAIM_PLATFORM_SIGNING)?.bytes(&signing.to_compressed())?;
    payload.int(CLAIM_PLATFORM_VERSION)?.int(i64::from(version))?;
    Sign1::encode(root, Some(&root.public().to_compressed()), &[], payload.as_slice(), out)
}

/// Verifies a platform's CWT: under `pinned_root` where the verifier has one, else under the root that it carries,
/// which a lock may then pin only after the activation MAC of message_4.
///
/// # Errors
/// [`Error::UntrustedRoot`] where it names another root than the pinned one; [`Error::WrongCredential`] for a CWT of
/// another kind; [`Error::BadSignature`], and the decoders' errors.
pub fn verify_platform(cwt: &[u8], pinned_root: Option<&PublicKey>) -> Result<PlatformIdentity, Error> {
    match &signed_by_named_key(cwt, pinned_root) {
        Ok((root, claims)) => read_platform(root, claims),
        Err(error) => Err(*error),
    }
}

#[inline(never)] // as above
fn read_platform(root: &PublicKey, claims: &[u8]) -> Result<PlatformIdentity, Error> {
    let mut claims = Reader::new(claims);
    let (mut dh, mut signing, mut version) = (None, None, None);
    for _ in 0..claims.map()? {
        match claims.int()? {
            CNF => once(&mut dh, full_key(&read_cnf(&mut claims)?)?)?,
            CLAIM_PLATFORM_SIGNING => once(&mut signing, PublicKey::from_sec1(claims.bytes()?)?)?,
            CLAIM_PLATFORM_VERSION => once(&mut version, claims.u32()?)?,
            _ => return Err(Error::WrongCredential),
        }
    }
    claims.finish()?;
    match (dh, signing, version) {
        (Some(dh), Some(signing), Some(version)) => {
            Ok(PlatformIdentity { root: *root, dh, signing, version })
        }
        _ => Err(Error::WrongCredential),
    }
}

pub(crate) fn write_cnf(writer: &mut Writer<'_>, key: &PublicKey) -> Result<(), Error> {
    writer.int(CNF)?.map(1)?.int(CNF_COSE_KEY)?;
    CoseKey::write(key, None, YForm::Sign, writer)
}

/// The key that the CWT names and that signed it, the pinned one if one is, and its claims. A result that is looked at
/// by reference is not copied, and a copy would lie on the stack below a multiplication.
#[inline(never)]
fn signed_by_named_key<'a>(
    cwt: &'a [u8],
    pinned: Option<&PublicKey>,
) -> Result<(PublicKey, &'a [u8]), Error> {
    let decoded = Sign1::decode(cwt);
    let sign1 = decoded.as_ref().map_err(|error| *error)?;
    let kid: &[u8; 33] =
        sign1.protected_kid().and_then(|kid| kid.try_into().ok()).ok_or(Error::WrongCredential)?;
    let named = PublicKey::from_sec1(kid);
    let key = named.as_ref().map_err(|error| *error)?;
    if pinned.is_some_and(|pinned| pinned != key) {
        return Err(Error::UntrustedRoot);
    }
    let claims = sign1.verify(key, &[])?;
    Ok((*key, claims))
}

/// A certified key has a thumbprint, so it needs its y.
pub(crate) const fn full_key(cose_key: &CoseKey<'_>) -> Result<PublicKey, Error> {
    if cose_key.x_only { Err(Error::InvalidKey) } else { Ok(cose_key.key) }
}
