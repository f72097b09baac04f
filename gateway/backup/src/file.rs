//! The file: all of it under its name, or nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::Error;

/// Reads a file of at most `most` bytes.
///
/// # Errors
/// [`Error::Io`], [`Error::TooLong`].
pub fn read(path: &Path, most: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let len = file.metadata().map_or(0, |metadata| metadata.len());
    let room = usize::try_from(len).unwrap_or(most).min(most).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    file.take(bound).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() > most { Err(Error::TooLong(most)) } else { Ok(bytes) }
}

/// Writes a file that only its owner can read, and returns once it is on disk under its name. What was there before stays
/// whole until then, and stays altogether unless `overwrite`.
///
/// # Errors
/// [`Error::Exists`], [`Error::Io`], [`Error::Random`].
pub fn write(path: &Path, bytes: &[u8], overwrite: bool) -> Result<(), Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let new = beside(path)?;
    let written = fill(&new, bytes).map_err(io).and_then(|()| put(&new, path, overwrite));
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(io)
}

/// A name in the same directory that nobody has.
fn beside(path: &Path) -> Result<PathBuf, Error> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let name = path.file_name().ok_or_else(|| Error::Io { path: path.to_owned(), source: invalid() })?;
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| Error::Random(error.to_string()))?;
    let mut new = std::ffi::OsString::from(".");
    new.push(name);
    new.push(format!(".{}", hex::encode(random)));
    Ok(path.with_file_name(new))
}

fn fill(new: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn put(new: &Path, path: &Path, overwrite: bool) -> Result<(), Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    if overwrite {
        return std::fs::rename(new, path).map_err(io);
    }
    match renameat_with(CWD, new, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(Error::Exists(path.to_owned())),
        // A file system that cannot promise it: then nobody else must make that file in this moment.
        Err(Errno::INVAL | Errno::NOSYS) if std::fs::symlink_metadata(path).is_err() => {
            std::fs::rename(new, path).map_err(io)
        }
        Err(Errno::INVAL | Errno::NOSYS) => Err(Error::Exists(path.to_owned())),
        Err(errno) => Err(io(errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let files = std::fs::read_dir(directory).unwrap();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_its_owners_alone_and_is_not_written_over_without_being_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("backup.age");
        write(&path, b"first", false).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(matches!(write(&path, b"second", false), Err(Error::Exists(which)) if which == path));
        assert_eq!(&**read(&path, 5).unwrap(), b"first");
        write(&path, b"third!", true).unwrap();
        assert_eq!(&**read(&path, 6).unwrap(), b"third!");
        assert!(matches!(read(&path, 5), Err(Error::TooLong(5))));
        assert_eq!(names(directory.path()), ["backup.age"], "nothing else is left");
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind_and_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("is a directory");
        std::fs::create_dir(&path).unwrap();
        let error = write(&path, b"x", true).err().unwrap().to_string();
        assert!(error.contains("is a directory"), "{error}");
        assert_eq!(names(directory.path()), ["is a directory"]);
        let nowhere = directory.path().join("nowhere/backup.age");
        assert!(matches!(write(&nowhere, b"x", false), Err(Error::Io { .. })));
        assert!(matches!(read(&nowhere, 1), Err(Error::Io { .. })));
        assert!(matches!(write(Path::new("/"), b"x", false), Err(Error::Io { .. })));
    }
}
