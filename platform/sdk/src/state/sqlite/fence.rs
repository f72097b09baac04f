//! The random number that tells a database from its own past.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use cardea_credentials::Random as _;
use rusqlite::{Connection, OptionalExtension as _};

use crate::{Error, OsRandom};

/// One number in the database, the same in a file beside it, both replaced before anything is sent that an older
/// database does not know of.
///
/// Two files cannot change at once. So the file first admits the old and the new number, then the database
/// changes, then the file admits the new one only; and the batch counts as durable after that, so that nothing
/// has left while the old one was still admitted.
pub(super) struct Fence {
    path: PathBuf,
    /// What the database held at the last commit, while it is believed.
    current: Option<i64>,
    /// What the open batch put there.
    next: Option<i64>,
    admitted: Vec<i64>,
    /// This batch must not be undone unnoticed.
    pub(super) due: bool,
}

impl Fence {
    pub(super) fn beside(database: &Path) -> Self {
        Self {
            path: database.with_extension("fence"),
            current: None,
            next: None,
            admitted: Vec::new(),
            due: true,
        }
    }

    /// Reads both sides.
    pub(super) fn compare(&mut self, db: &Connection) -> Result<(), Error> {
        self.current = stored(db)?;
        self.admitted = match fs::read_to_string(&self.path) {
            Ok(text) => text.lines().filter_map(|line| i64::from_str_radix(line, 16).ok()).collect(),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => Vec::new(),
            Err(source) => return Err(Error::Io { path: self.path.clone(), source }),
        };
        Ok(())
    }

    pub(super) fn fits(&self) -> bool {
        self.current.is_some_and(|current| self.admitted.contains(&current))
    }

    /// What the database holds now is not admitted again, even if the next commit is cut short.
    pub(super) fn distrust(&mut self) {
        self.current = None;
    }

    /// Before the commit. True if [`Self::settle`] must follow it.
    pub(super) fn prepare(&mut self, db: &Connection) -> Result<bool, Error> {
        if !self.due {
            return Ok(false);
        }
        let mut bytes = [0; 8];
        OsRandom.fill(&mut bytes).map_err(|_| Error::Random)?;
        // Without the sign, so that it reads back from hexadecimal.
        let next = i64::from_be_bytes(bytes) & i64::MAX;
        self.write(&[self.current, Some(next)])?;
        db.execute("INSERT OR REPLACE INTO meta VALUES ('fence', ?1)", [next])?;
        self.next = Some(next);
        Ok(true)
    }

    /// After the commit, before anything of the batch leaves.
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        self.current = self.next.take();
        self.write(&[self.current])?;
        self.due = false;
        Ok(())
    }

    fn write(&self, numbers: &[Option<i64>]) -> Result<(), Error> {
        let text: String = numbers.iter().flatten().map(|number| format!("{number:016x}\n")).collect();
        replace(&self.path, &text)
            .map_err(|source| Error::State(format!("{}: {source}", self.path.display())))
    }
}

fn stored(db: &Connection) -> Result<Option<i64>, Error> {
    Ok(db.query_row("SELECT value FROM meta WHERE key='fence'", [], |r| r.get(0)).optional()?)
}

/// Atomic, and durable on return.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("fence.new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => fs::File::open(parent)?.sync_all(),
        _ => fs::File::open(".")?.sync_all(),
    }
}
