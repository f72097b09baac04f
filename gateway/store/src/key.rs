//! The key file: 32 random bytes that encrypt radio keys at rest.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use zeroize::Zeroizing;

use crate::Error;

const KEY: usize = 32;
const NONCE: usize = 24;

/// The open key file. Its lock keeps a second daemon off the store.
pub(crate) struct Key {
    cipher: XChaCha20Poly1305,
    _lock: File,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The key file of a database.
pub(crate) fn path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".key");
    name.into()
}

impl Key {
    /// Opens the key file; makes one only where nothing (`needed`) was encrypted under an older one.
    pub(crate) fn open(database: &Path, needed: bool) -> Result<Self, Error> {
        let path = path(database);
        let io = |source| Error::Io { path: path.clone(), source };
        let mut key = Zeroizing::new(Vec::with_capacity(KEY + 1));
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(mut file) => {
                let mode = file.metadata().map_err(io)?.permissions().mode() & 0o7777;
                if mode & 0o077 != 0 {
                    return Err(Error::KeyPermissions { path, mode });
                }
                (&mut file).take(KEY as u64 + 1).read_to_end(&mut key).map_err(io)?;
                file
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && needed => {
                return Err(Error::KeyMissing { path });
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                key.resize(KEY, 0);
                getrandom::fill(&mut key).map_err(|e| Error::Random(e.to_string()))?;
                create(&path, &key).map_err(io)?
            }
            Err(e) => return Err(io(e)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse { path: database.into() }),
            Err(TryLockError::Error(e)) => return Err(io(e)),
        }
        let length = key.len();
        let cipher = XChaCha20Poly1305::new_from_slice(&key).map_err(|_| Error::KeyFile { path, length })?;
        Ok(Self { cipher, _lock: file })
    }

    /// Nonce, ciphertext and tag; bound to the record's place.
    pub(crate) fn seal(&self, place: &[u8], value: &[u8]) -> Result<Vec<u8>, String> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|e| format!("no random bytes: {e}"))?;
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: value, aad: place })
            .map_err(|_| "a record cannot be encrypted".to_owned())?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// The value, if it was sealed with this key for this place.
    pub(crate) fn open_sealed(&self, place: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
        self.cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: place }).ok()
    }
}

/// A new file with its content on disk, never readable by others, never half written under its name.
fn create(path: &Path, key: &[u8]) -> std::io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.set_permissions(PermissionsExt::from_mode(0o600))?;
    file.write_all(key)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    sync_directory(path)?;
    Ok(file)
}

/// A new name is durable once its directory is.
pub(crate) fn sync_directory(path: &Path) -> std::io::Result<()> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}
