//! The platform's keys and where they live.

use std::{
    fs,
    io::{ErrorKind, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use cardea_credentials::{
    Agreement, MAX_PLATFORM_CWT_LEN, MAX_RELEASE_RECORD_LEN, PublicKey, Random, Release, Releaser, Signer,
    SoftAgreement, SoftSigner, issue_platform, verify_platform,
};
use zeroize::Zeroizing;

use crate::{
    Error,
    key_dir::{self, CERTIFICATE},
};

/// The keys a running platform needs: its Diffie-Hellman key, its signing key, and the owner root's certificate
/// over both. The owner root itself is not among them; it may stay in a safe.
///
/// Nothing here asks for a private key, and each key does one thing: a token that only signs can hold one of them and
/// a token that only agrees the other (`cardea-pkcs11` is such a store). Both may fail at any time with
/// `KeyUnavailable`; the handshake that needed them is then let go and the lock starts another. They are called on the
/// platform's only thread, so a store bounds how long it waits.
pub trait KeyStore: Send {
    /// The static Diffie-Hellman key of EDHOC method 3.
    fn agreement(&self) -> &dyn Agreement;
    /// Signs site messages.
    fn signer(&self) -> &dyn Signer;
    /// The platform's CWT, issued by the owner root.
    fn certificate(&self) -> &[u8];
    /// The owner root's public key.
    fn root(&self) -> PublicKey;
}

impl<K: KeyStore + ?Sized> KeyStore for Box<K> {
    fn agreement(&self) -> &dyn Agreement {
        (**self).agreement()
    }

    fn signer(&self) -> &dyn Signer {
        (**self).signer()
    }

    fn certificate(&self) -> &[u8] {
        (**self).certificate()
    }

    fn root(&self) -> PublicKey {
        (**self).root()
    }
}

/// Random numbers of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), cardea_credentials::Error> {
        getrandom::fill(out).map_err(|_| cardea_credentials::Error::RandomUnavailable)
    }
}

pub(crate) const ROOT: &str = "owner-root.key";
pub(crate) const AGREEMENT: &str = "platform-dh.key";
pub(crate) const SIGNING: &str = "platform-sign.key";

/// The files with the keys of a certificate: those of `init`, later ones with its version. So a new pair lies beside the
/// old one, and which is in force is said by the certificate alone.
fn key_files(version: u32) -> (String, String) {
    match version {
        0 | 1 => (AGREEMENT.into(), SIGNING.into()),
        _ => (format!("platform-dh-{version}.key"), format!("platform-sign-{version}.key")),
    }
}

/// The platform's public signing key, in SEC 1's compressed form: what gateways pin. Needs no private key and no token.
///
/// # Errors
/// [`Error::NotInitialised`]; [`Error::Key`] for a certificate that is damaged.
pub fn signing_key(dir: &Path) -> Result<[u8; 33], Error> {
    let path = dir.join(CERTIFICATE);
    if !path.exists() {
        return Err(Error::NotInitialised(dir.into()));
    }
    let named = verify_platform(&read_bounded(&path)?, None).map_err(|e| Error::Key {
        path,
        why: format!("not a platform certificate ({e}); put it back from a backup"),
    })?;
    Ok(named.signing.to_compressed())
}

const UNCERTIFIED: &str = "not the key that platform.cwt certifies; put both back from one backup";

/// Keys in files of mode 0600 (32 raw bytes each) in a directory of mode 0700.
///
/// `owner-root.key` is needed by [`FileKeys::init`] only; afterwards it belongs offline. Whoever holds it can
/// certify another platform for every lock that has pinned it.
pub struct FileKeys {
    agreement: SoftAgreement,
    signing: SoftSigner,
    certificate: Vec<u8>,
    root: PublicKey,
}

impl FileKeys {
    /// Makes an owner root, the platform's keys and its certificate (version 1).
    ///
    /// # Errors
    /// [`Error::AlreadyInitialised`] where any of the files exists, [`Error::Io`], [`Error::Random`].
    pub fn init(dir: &Path) -> Result<Self, Error> {
        key_dir::create(dir)?;
        let random = |_| Error::Random;
        let root = SoftSigner::generate(&mut OsRandom).map_err(random)?;
        let agreement = SoftAgreement::generate(&mut OsRandom).map_err(random)?;
        let signing = SoftSigner::generate(&mut OsRandom).map_err(random)?;
        let mut certificate = vec![0; MAX_PLATFORM_CWT_LEN];
        let length = issue_platform(&root, &agreement.public(), &signing.public(), 1, &mut certificate)
            .map_err(|_| Error::Crypto("the certificate could not be issued"))?;
        certificate.truncate(length);
        // The certificate comes last: a directory without it is one whose init did not finish.
        key_dir::write(&dir.join(ROOT), &*root.to_bytes())?;
        key_dir::write(&dir.join(AGREEMENT), &*agreement.to_bytes())?;
        key_dir::write(&dir.join(SIGNING), &*signing.to_bytes())?;
        key_dir::write(&dir.join(CERTIFICATE), &certificate)?;
        key_dir::sync(dir)?;
        let root = root.public();
        Ok(Self { agreement, signing, certificate, root })
    }

    /// Opens what [`Self::init`] made.
    ///
    /// # Errors
    /// [`Error::NotInitialised`]; [`Error::Key`] for a file that others may read, that is damaged, or that the
    /// certificate does not name.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let certificate_path = dir.join(CERTIFICATE);
        if !certificate_path.exists() && (!dir.exists() || !key_dir::holds_keys(dir)?) {
            return Err(Error::NotInitialised(dir.into()));
        }
        let certificate = read_bounded(&certificate_path)?;
        let named = verify_platform(&certificate, None).map_err(|e| Error::Key {
            path: certificate_path.clone(),
            why: format!("not a platform certificate ({e}); put it back from a backup"),
        })?;
        let (agreement, signing) = key_files(named.version);
        let (path, bytes) = read_private(dir, &agreement)?;
        let agreement = SoftAgreement::from_bytes(&bytes)
            .ok()
            .filter(|key| key.public() == named.dh)
            .ok_or_else(|| Error::Key { path, why: UNCERTIFIED.into() })?;
        let (path, bytes) = read_private(dir, &signing)?;
        let signing = SoftSigner::from_bytes(&bytes)
            .ok()
            .filter(|key| key.public() == named.signing)
            .ok_or_else(|| Error::Key { path, why: UNCERTIFIED.into() })?;
        Ok(Self { agreement, signing, certificate: certificate.to_vec(), root: named.root })
    }

    /// Makes a new pair of keys and has the owner root certify it under a version above the one in force and above
    /// `known`, the highest that any lock has pinned. Returns the version. Cut short anywhere, it leaves the old pair
    /// in force or the new one, whole. The old keys are removed.
    ///
    /// # Errors
    /// As [`Self::open`]; [`Error::Key`] for another owner root than the one that certified the keys in force.
    pub fn rotate(dir: &Path, root: &dyn Signer, known: u32) -> Result<u32, Error> {
        let old = Self::open(dir)?;
        let before =
            verify_platform(&old.certificate, None).map_err(|_| Error::Crypto("unreadable"))?.version;
        let version = next_version(&old.root, root, before, known)?;
        let agreement = SoftAgreement::generate(&mut OsRandom).map_err(|_| Error::Random)?;
        let signing = SoftSigner::generate(&mut OsRandom).map_err(|_| Error::Random)?;
        let mut certificate = vec![0; MAX_PLATFORM_CWT_LEN];
        let length = issue_platform(root, &agreement.public(), &signing.public(), version, &mut certificate)
            .map_err(|_| Error::KeyUnavailable)?;
        certificate.truncate(length);
        let (agreement_file, signing_file) = key_files(version);
        for (name, key) in [(&agreement_file, agreement.to_bytes()), (&signing_file, signing.to_bytes())] {
            let path = dir.join(name);
            // Of an attempt that was cut short: no certificate names it.
            key_dir::remove(&path)?;
            key_dir::write(&path, &*key)?;
        }
        key_dir::sync(dir)?;
        key_dir::replace_certificate(dir, &certificate)?;
        let (agreement_file, signing_file) = key_files(before);
        key_dir::remove(&dir.join(agreement_file))?;
        key_dir::remove(&dir.join(signing_file))?;
        key_dir::sync(dir)?;
        Ok(version)
    }

    /// The owner root's key from a file as [`Self::init`] made it; for [`Self::rotate`] and releases.
    ///
    /// # Errors
    /// [`Error::Key`], [`Error::Io`].
    pub fn owner_root(path: &Path) -> Result<SoftSigner, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let dir = path.parent().unwrap_or(Path::new(""));
        let (path, bytes) = read_private(dir, &name)?;
        SoftSigner::from_bytes(&bytes).map_err(|_| Error::Key { path, why: "no key".into() })
    }
}

/// The version of a new certificate by the same owner root. One version is one pair of keys for every lock: what was
/// given out and forgotten (keys from a backup) is not given out again.
///
/// # Errors
/// [`Error::Key`] where `root` is another owner root than `pinned`.
pub fn next_version(pinned: &PublicKey, root: &dyn Signer, current: u32, known: u32) -> Result<u32, Error> {
    if root.public() != *pinned {
        return Err(Error::Key {
            path: ROOT.into(),
            why: "not the owner root that certified the keys in force; locks would refuse what it signs"
                .into(),
        });
    }
    current.max(known).checked_add(1).ok_or(Error::Crypto("there is no higher version"))
}

impl KeyStore for FileKeys {
    fn agreement(&self) -> &dyn Agreement {
        &self.agreement
    }

    fn signer(&self) -> &dyn Signer {
        &self.signing
    }

    fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    fn root(&self) -> PublicKey {
        self.root
    }
}

/// Longer than any file of ours.
const MAX_FILE: u64 = 4096;
/// What [`Read::read_to_end`](std::io::Read::read_to_end) wants free in a vector, or it grows.
pub(crate) const READ_AHEAD: usize = 32;

/// A key or certificate that is gone is never made anew: every lock knows the old one.
fn read_bounded(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    // A vector that grows leaves a copy behind; this one has room for the file and for a try to read beyond it.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize + READ_AHEAD));
    match fs::File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes)) {
        Ok(_) => Ok(bytes),
        Err(e) if e.kind() == ErrorKind::NotFound => Err(Error::Key {
            path: path.into(),
            why: "missing; put it back from a backup, or all locks must be activated again by a new platform"
                .into(),
        }),
        Err(source) => Err(Error::Io { path: path.into(), source }),
    }
}

fn read_private(dir: &Path, name: &str) -> Result<(PathBuf, Zeroizing<[u8; 32]>), Error> {
    let path = dir.join(name);
    let bytes = read_bounded(&path)?;
    let mode =
        fs::metadata(&path).map_err(|source| Error::Io { path: path.clone(), source })?.permissions().mode();
    if mode & 0o077 != 0 {
        let why = format!("mode {:04o} lets others read it; `chmod 600` it", mode & 0o7777);
        return Err(Error::Key { path, why });
    }
    let mut key = Zeroizing::new([0; 32]);
    if bytes.len() != key.len() {
        let why = format!("damaged: it has {} bytes instead of 32; put it back from a backup", bytes.len());
        return Err(Error::Key { path, why });
    }
    key.copy_from_slice(&bytes);
    Ok((path, key))
}

/// A [`Release`] of the lock with this thumbprint for the nonce it drew, signed by the owner root; `to` names the owner
/// root that alone may activate it next.
///
/// # Errors
/// [`Error::KeyUnavailable`] where the root does not sign.
pub fn sign_release(
    root: &dyn Signer,
    lock: [u8; 32],
    nonce: [u8; 8],
    to: Option<[u8; 32]>,
    at: u32,
) -> Result<Vec<u8>, Error> {
    let by = Releaser::OwnerRoot;
    let mut record = vec![0; MAX_RELEASE_RECORD_LEN];
    let length = Release { lock, root: root.public().thumbprint(), at, nonce, by, to }
        .sign(root, &mut record)
        .map_err(|_| Error::KeyUnavailable)?;
    record.truncate(length);
    Ok(record)
}
