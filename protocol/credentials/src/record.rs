//! What is kept as proof: who activated a lock, and who let it go.

use crate::cbor::{Reader, Writer};
use crate::key::once;
use crate::signed::{self, Bound, Thumbprint};
use crate::{Error, PublicKey, Sign1, Signer};

/// First item of the external_aad of an activation record; the lock's thumbprint is the second.
pub const AAD_ACTIVATION_RECORD: &str = "cardea/activation-record";
/// First item of the external_aad of a release record; the lock's thumbprint is the second.
pub const AAD_RELEASE_RECORD: &str = "cardea/release-record";
/// The greatest length of an activation record.
pub const MAX_ACTIVATION_RECORD_LEN: usize = 186;
/// The greatest length of a release record.
pub const MAX_RELEASE_RECORD_LEN: usize = 198;

const LOCK: i64 = 1;
const ROOT: i64 = 2;
const PLATFORM: i64 = 3;
const AT: i64 = 4;
const NONCE: i64 = 5;
const BY: i64 = 6;
const TO: i64 = 7;

/// That a lock has an owner since some time. Either side may sign it, each for the other to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivationRecord {
    /// Thumbprint of the lock's identity key.
    pub lock: Thumbprint,
    /// Thumbprint of the owner root.
    pub root: Thumbprint,
    /// Thumbprint of the platform's signing key.
    pub platform: Thumbprint,
    /// When, in Unix seconds by the platform's clock.
    pub at: u32,
}

/// Who signed an activation record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// The platform, with its signing key.
    Platform,
    /// The lock, with its identity key.
    Lock,
}

impl ActivationRecord {
    /// Signs as platform or lock. Returns the length, at most [`MAX_ACTIVATION_RECORD_LEN`].
    ///
    /// # Errors
    /// [`Error::WrongHolder`] where the signer's key is neither of the two; [`Error::BufferTooSmall`] or the
    /// signer's.
    pub fn sign(&self, signer: &dyn Signer, out: &mut [u8]) -> Result<usize, Error> {
        self.witness(&signer.public())?;
        let mut buffer = [0; 120];
        let mut payload = Writer::new(&mut buffer);
        payload.map(4)?.int(LOCK)?.bytes(&self.lock)?.int(ROOT)?.bytes(&self.root)?;
        payload.int(PLATFORM)?.bytes(&self.platform)?.int(AT)?.int(i64::from(self.at))?;
        let aad = Bound::to(AAD_ACTIVATION_RECORD, &[&self.lock])?;
        Sign1::encode(signer, None, aad.as_slice(), payload.as_slice(), out)
    }

    /// Verifies a record about the lock with the thumbprint `lock`, by the key of platform or lock.
    ///
    /// # Errors
    /// [`Error::WrongHolder`] where `key` is neither of the two that the record names, [`Error::WrongCredential`] for
    /// another lock, [`Error::BadSignature`], [`Error::TooLong`], and the decoders' errors.
    pub fn verify(message: &[u8], lock: &Thumbprint, key: &PublicKey) -> Result<(Self, Witness), Error> {
        let sign1 = signed::decode(message, MAX_ACTIVATION_RECORD_LEN)?;
        let aad = Bound::to(AAD_ACTIVATION_RECORD, &[lock])?;
        let mut payload = Reader::new(sign1.verify(key, aad.as_slice())?);
        let (mut named, mut root, mut platform, mut at) = (None, None, None, None);
        for _ in 0..payload.map()? {
            match payload.int()? {
                LOCK => once(&mut named, payload.bytes_exact()?)?,
                ROOT => once(&mut root, payload.bytes_exact()?)?,
                PLATFORM => once(&mut platform, payload.bytes_exact()?)?,
                AT => once(&mut at, payload.u32()?)?,
                _ => return Err(Error::Malformed),
            }
        }
        payload.finish()?;
        let (Some(named), Some(root), Some(platform), Some(at)) = (named, root, platform, at) else {
            return Err(Error::Malformed);
        };
        if named != *lock {
            return Err(Error::WrongCredential);
        }
        let record = Self { lock: named, root, platform, at };
        Ok((record, record.witness(key)?))
    }

    fn witness(&self, key: &PublicKey) -> Result<Witness, Error> {
        let signer = key.thumbprint();
        if signer == self.platform {
            Ok(Witness::Platform)
        } else if signer == self.lock {
            Ok(Witness::Lock)
        } else {
            Err(Error::WrongHolder)
        }
    }
}

/// Who may let a lock go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Releaser {
    /// The owner root that the lock has pinned.
    OwnerRoot = 0,
    /// The vendor, whose key the lock got in the factory.
    Vendor = 1,
}

/// The code of an owner reset or a hand-over. It is one of three conditions: the lock also wants its inside button and
/// an open door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// Thumbprint of the lock's identity key.
    pub lock: Thumbprint,
    /// Thumbprint of the owner root that it is released from.
    pub root: Thumbprint,
    /// When, in Unix seconds by the releaser's clock.
    pub at: u32,
    /// What the lock drew for this one reset.
    pub nonce: [u8; 8],
    /// Who signs.
    pub by: Releaser,
    /// Hand-over: thumbprint of the owner root that alone may activate next. Without it anybody with an owner code
    /// may.
    pub to: Option<Thumbprint>,
}

impl Release {
    /// Signs with the owner root or the vendor's key, as `by` says. Returns the length, at most
    /// [`MAX_RELEASE_RECORD_LEN`].
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`] or the signer's.
    pub fn sign(&self, signer: &dyn Signer, out: &mut [u8]) -> Result<usize, Error> {
        let mut buffer = [0; 136];
        let mut payload = Writer::new(&mut buffer);
        payload.map(5 + usize::from(self.to.is_some()))?;
        payload.int(LOCK)?.bytes(&self.lock)?.int(ROOT)?.bytes(&self.root)?;
        payload.int(AT)?.int(i64::from(self.at))?.int(NONCE)?.bytes(&self.nonce)?;
        payload.int(BY)?.int(self.by as i64)?;
        if let Some(to) = &self.to {
            payload.int(TO)?.bytes(to)?;
        }
        let aad = Bound::to(AAD_RELEASE_RECORD, &[&self.lock])?;
        Sign1::encode(signer, None, aad.as_slice(), payload.as_slice(), out)
    }

    /// Verifies a release of the lock with the thumbprint `lock`, which drew `nonce`, from the owner `root`. A lock
    /// without a vendor's key gives none.
    ///
    /// # Errors
    /// [`Error::NotAsked`] for another nonce, [`Error::WrongCredential`] for another lock or owner or a vendor that is
    /// not known, [`Error::BadSignature`], [`Error::TooLong`], and the decoders' errors.
    pub fn verify(
        message: &[u8],
        lock: &Thumbprint,
        nonce: &[u8; 8],
        root: &PublicKey,
        vendor: Option<&PublicKey>,
    ) -> Result<Self, Error> {
        let sign1 = signed::decode(message, MAX_RELEASE_RECORD_LEN)?;
        let release = Self::read(sign1.unverified_payload())?;
        if release.nonce != *nonce {
            return Err(Error::NotAsked);
        }
        if release.lock != *lock || release.root != root.thumbprint() {
            return Err(Error::WrongCredential);
        }
        let key = match release.by {
            Releaser::OwnerRoot => root,
            Releaser::Vendor => vendor.ok_or(Error::WrongCredential)?,
        };
        sign1.verify(key, Bound::to(AAD_RELEASE_RECORD, &[lock])?.as_slice())?;
        Ok(release)
    }

    fn read(payload: &[u8]) -> Result<Self, Error> {
        let mut payload = Reader::new(payload);
        let (mut lock, mut root, mut at, mut nonce, mut by, mut to) = (None, None, None, None, None, None);
        for _ in 0..payload.map()? {
            match payload.int()? {
                LOCK => once(&mut lock, payload.bytes_exact()?)?,
                ROOT => once(&mut root, payload.bytes_exact()?)?,
                AT => once(&mut at, payload.u32()?)?,
                NONCE => once(&mut nonce, payload.bytes_exact()?)?,
                BY => once(
                    &mut by,
                    match payload.int()? {
                        0 => Releaser::OwnerRoot,
                        1 => Releaser::Vendor,
                        _ => return Err(Error::Malformed),
                    },
                )?,
                TO => once(&mut to, payload.bytes_exact()?)?,
                _ => return Err(Error::Malformed),
            }
        }
        payload.finish()?;
        match (lock, root, at, nonce, by) {
            (Some(lock), Some(root), Some(at), Some(nonce), Some(by)) => {
                Ok(Self { lock, root, at, nonce, by, to })
            }
            _ => Err(Error::Malformed),
        }
    }
}
