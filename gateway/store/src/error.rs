//! Why a store cannot be opened: always the file, always what to do.

use std::path::{Path, PathBuf};

use cardea_core::{Failure, FailureKind};
use rusqlite::ErrorCode;

/// A store that cannot be used. None of these is ever repaired by starting over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk, a directory or a permission is at fault.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is damaged, or no database at all.
    #[error(
        "{path} is damaged ({detail}): keep a copy, then restore a backup, or save what is left with \
         `sqlite3 {path} .recover`; it is not recreated by itself, because that would forget every lock"
    )]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// A database of something else.
    #[error("{path} is a database, but not one of Cardea: point the configuration at another file")]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// Written by a newer version.
    #[error(
        "{path} has schema {found}, this version knows up to {known}: install the newer version again, or \
         restore a backup of the older one"
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The key is there, its database is not.
    #[error(
        "{path} is missing though its key file {key} exists: restore the database, or remove the key file too \
         if this gateway is to start with nothing"
    )]
    Missing {
        /// The database.
        path: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// The database is there with encrypted records, its key is not.
    #[error(
        "{path} is missing, and the radio keys in the database cannot be read without it: restore it from a backup"
    )]
    KeyMissing {
        /// The key file.
        path: PathBuf,
    },
    /// Others than the owner may use the key file.
    #[error(
        "{path} has mode {mode:04o}: run `chmod 600 {path}`, and rotate the radio keys if others have accounts here"
    )]
    KeyPermissions {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file is not 32 bytes.
    #[error("{path} is not a key file ({length} bytes, not 32): restore it from a backup")]
    KeyFile {
        /// The key file.
        path: PathBuf,
        /// Its length.
        length: usize,
    },
    /// Another process has the store.
    #[error("{path} is in use by another process: is a second gateway daemon running?")]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// The system gives no random bytes.
    #[error("no random bytes from the system: {0}")]
    Random(String),
}

impl Error {
    pub(crate) fn read(path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_path_buf();
        match failure(error) {
            Failure { kind: FailureKind::Busy, .. } => Self::InUse { path },
            Failure { kind: FailureKind::Corrupt, detail } => Self::Corrupt { path, detail },
            Failure { detail, .. } => Self::Io { path, source: std::io::Error::other(detail) },
        }
    }
}

/// What SQLite's error means to the relay.
pub(crate) fn failure(error: &rusqlite::Error) -> Failure {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => FailureKind::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => FailureKind::Corrupt,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => FailureKind::Busy,
        Some(_) => FailureKind::Io,
        // Not from the engine: a column that does not hold what we wrote.
        None => FailureKind::Corrupt,
    };
    Failure { kind, detail: error.to_string() }
}
