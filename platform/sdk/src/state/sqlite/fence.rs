//! The random number that tells a database from its own past.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use cardea_credentials::Random as _;
use rusqlite::{Connection, OptionalExtension as _};

use crate::{Error, OsRandom};

const MAX_LEN: u64 = 256;

/// One number in the database, the same in a file beside it, both replaced before anything is sent that an older
/// database does not know of.
///
/// Two files cannot change at once. So the file first admits the old and the new number ([`Self::prepare`]), then
/// the database changes ([`Self::committed`]), then the file admits the new one only ([`Self::settle`]). The batch is
/// durable after the second step, and may have effects outside after the third: until then a copy of the old
/// database would be believed, and would use the sequence numbers of this batch again. The third step may fail
/// and be repeated as often as it takes; a start after a crash finds a number that is admitted either way.
pub(super) struct Fence {
    path: PathBuf,
    /// What the database held at the last commit, while it is believed.
    current: Option<i64>,
    /// What the open batch put there.
    next: Option<i64>,
    /// The file still admits what the database held before.
    unsettled: bool,
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
            unsettled: false,
            admitted: Vec::new(),
            due: true,
        }
    }

    /// Reads both sides.
    pub(super) fn compare(&mut self, db: &Connection) -> Result<(), Error> {
        self.current = stored(db)?;
        self.admitted = match self.read() {
            Ok(text) => text.lines().filter_map(|line| i64::from_str_radix(line, 16).ok()).collect(),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => Vec::new(),
            Err(source) => return Err(Error::Io { path: self.path.clone(), source }),
        };
        if self.current.is_some() && !self.fits() {
            tracing::warn!(
                file = %self.path.display(),
                "the fence is missing, damaged, or of another time than the database beside it"
            );
        }
        Ok(())
    }

    pub(super) fn fits(&self) -> bool {
        self.current.is_some_and(|current| self.admitted.contains(&current))
    }

    /// What the database holds now is not admitted again, even if the next commit is cut short.
    pub(super) fn distrust(&mut self) {
        self.current = None;
    }

    /// Before the commit.
    pub(super) fn prepare(&mut self, db: &Connection) -> Result<(), Error> {
        self.next = None;
        if !self.due {
            return Ok(());
        }
        let mut bytes = [0; 8];
        OsRandom.fill(&mut bytes).map_err(|_| Error::Random)?;
        // Without the sign, so that it reads back from hexadecimal.
        let next = i64::from_be_bytes(bytes) & i64::MAX;
        self.write(&[self.current, Some(next)])?;
        db.execute("INSERT OR REPLACE INTO meta VALUES ('fence', ?1)", [next])?;
        self.next = Some(next);
        Ok(())
    }

    /// The commit succeeded: what [`Self::prepare`] put into the database is there to stay.
    pub(super) fn committed(&mut self) {
        if let Some(next) = self.next.take() {
            self.current = Some(next);
            self.due = false;
            self.unsettled = true;
        }
    }

    /// Before anything of a committed batch leaves. Changes nothing but the file, and only if it must.
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        if self.unsettled {
            self.write(&[self.current])?;
            self.unsettled = false;
        }
        Ok(())
    }

    /// A fence is two lines; whatever else lies there is not read to its end.
    fn read(&self) -> std::io::Result<String> {
        let mut text = String::new();
        fs::File::open(&self.path)?.take(MAX_LEN).read_to_string(&mut text)?;
        Ok(text)
    }

    fn write(&self, numbers: &[Option<i64>]) -> Result<(), Error> {
        let text: String = numbers.iter().flatten().map(|number| format!("{number:016x}\n")).collect();
        replace(&self.path, &text)
            .map_err(|source| Error::State(format!("{} cannot be written: {source}", self.path.display())))
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
