//! The platform's keys and where they live.

use std::{
    fs,
    io::{ErrorKind, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use cardea_credentials::{
    Agreement, MAX_PLATFORM_CWT_LEN, PublicKey, Random, Signer, SoftAgreement, SoftSigner, issue_platform,
    verify_platform,
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
        if !certificate_path.exists() && [ROOT, AGREEMENT, SIGNING].iter().all(|key| !dir.join(key).exists())
        {
            return Err(Error::NotInitialised(dir.into()));
        }
        let certificate = read_bounded(&certificate_path)?;
        let named = verify_platform(&certificate, None).map_err(|e| Error::Key {
            path: certificate_path.clone(),
            why: format!("not a platform certificate ({e}); put it back from a backup"),
        })?;
        let (path, bytes) = read_private(dir, AGREEMENT)?;
        let agreement = SoftAgreement::from_bytes(&bytes)
            .ok()
            .filter(|key| key.public() == named.dh)
            .ok_or_else(|| Error::Key { path, why: UNCERTIFIED.into() })?;
        let (path, bytes) = read_private(dir, SIGNING)?;
        let signing = SoftSigner::from_bytes(&bytes)
            .ok()
            .filter(|key| key.public() == named.signing)
            .ok_or_else(|| Error::Key { path, why: UNCERTIFIED.into() })?;
        Ok(Self { agreement, signing, certificate: certificate.to_vec(), root: named.root })
    }
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

/// A key or certificate that is gone is never made anew: every lock knows the old one.
fn read_bounded(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut bytes = Zeroizing::new(Vec::new());
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
