//! What every key store does with the state directory; for stores elsewhere.

use std::{
    fs,
    fs::Permissions,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use crate::{
    Error,
    keys::{AGREEMENT, ROOT, SIGNING},
};

/// The file name of the owner root's certificate over the platform's keys.
pub const CERTIFICATE: &str = "platform.cwt";

/// Makes the directory, mode 0700, for a platform that is not there yet.
///
/// # Errors
/// [`Error::AlreadyInitialised`] where it holds keys or a certificate, [`Error::Io`].
pub fn create(dir: &Path) -> Result<(), Error> {
    let io = |source| Error::Io { path: dir.into(), source };
    fs::create_dir_all(dir).map_err(io)?;
    fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(io)?;
    if holds_keys(dir)? || dir.join(CERTIFICATE).exists() {
        return Err(Error::AlreadyInitialised(dir.into()));
    }
    Ok(())
}

/// Whether there is a key of ours, of whatever version.
pub(crate) fn holds_keys(dir: &Path) -> Result<bool, Error> {
    let io = |source| Error::Io { path: dir.into(), source };
    let ours = |name: &str| {
        let stem = |file: &str| file.trim_end_matches(".key").to_owned();
        name.ends_with(".key") && [ROOT, AGREEMENT, SIGNING].iter().any(|key| name.starts_with(&stem(key)))
    };
    for entry in fs::read_dir(dir).map_err(io)? {
        if entry.map_err(io)?.file_name().to_str().is_some_and(ours) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes a new file of mode 0600, durably but for its name; see [`sync`].
///
/// # Errors
/// [`Error::Io`], also where the file exists.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .map_err(|source| Error::Io { path: path.into(), source })
}

/// Makes the names of new files durable.
///
/// # Errors
/// [`Error::Io`].
pub fn sync(dir: &Path) -> Result<(), Error> {
    fs::File::open(dir).and_then(|d| d.sync_all()).map_err(|source| Error::Io { path: dir.into(), source })
}

/// Puts a certificate in place of the one in force, all of it or nothing.
///
/// # Errors
/// [`Error::Io`].
pub fn replace_certificate(dir: &Path, certificate: &[u8]) -> Result<(), Error> {
    let (path, new) = (dir.join(CERTIFICATE), dir.join("platform.cwt.new"));
    remove(&new)?;
    write(&new, certificate)?;
    fs::rename(&new, &path).map_err(|source| Error::Io { path, source })?;
    sync(dir)
}

/// Removes a file, if there is one.
///
/// # Errors
/// [`Error::Io`].
pub fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Io { path: path.into(), source })
        }
        _ => Ok(()),
    }
}
