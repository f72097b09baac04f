//! [`State`] in one SQLite file, mode 0600, `synchronous=FULL`.

mod custody;
mod fence;
mod grants;
mod log;
mod pins;
mod schema;
mod site;
mod standing;
#[cfg(test)]
mod tests;

use std::{
    fs,
    path::{Path, PathBuf},
};

use cardea_framing::LockId;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use zeroize::Zeroizing;

use fence::Fence;

use super::{
    Before, CommandRow, ContextRecord, LockRecord, LogRow, Noted, Phase, SeenRow, Stage, State, Stored, Taken,
};
use crate::{Error, Outcome};

/// The file store of one platform.
pub struct SqliteState {
    db: Connection,
    fence: Option<Fence>,
    /// The open batch takes a PIN out of the database.
    pin_goes: bool,
}

impl From<rusqlite::Error> for Error {
    fn from(e: rusqlite::Error) -> Self {
        Self::State(e.to_string())
    }
}

impl SqliteState {
    /// Makes an empty database. Where there is one, it stays and is checked.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn create(path: &Path) -> Result<Self, Error> {
        if !holds_something(path)? {
            private_file(path, true)?;
            let made = connect(path).and_then(configured).and_then(|mut db| schema::create(&mut db));
            made.map_err(|error| named(path, error))?;
        }
        Self::open(path, false)
    }

    /// Opens what [`Self::create`] made, and gives a file of an earlier version today's tables.
    ///
    /// A file that was put back from a backup may hold counters behind what was already sent. A random number
    /// is kept both in it and in the file `*.fence` beside it, new at every opening and with every block of
    /// sequence numbers: an older database does not fit to it. Unless they fit (or when the inode, which is
    /// recorded too, is another, or when `restored` says so) every OSCORE context is discarded before anything
    /// can be sent on it, and open commands end. The fence file must therefore not be part of a backup. A
    /// rolled-back file system or virtual disk brings both back; there the operator must say it.
    ///
    /// # Errors
    /// [`Error::State`] when the file is missing or empty, is not a database of this version or is damaged; it is
    /// never recreated silently. [`Error::Io`] for the file system's own errors.
    pub fn open(path: &Path, restored: bool) -> Result<Self, Error> {
        if !holds_something(path)? {
            return Err(Error::State(format!(
                "{} is missing or empty, and with it every lock, session and event; put it back from a backup, or begin \
                 with no locks by `cardea-platform init --state-only`",
                path.display()
            )));
        }
        private_file(path, false)?;
        let db = connect(path)
            .and_then(|db| {
                // Before anything is written: it may not be ours.
                schema::version(&db)?;
                check(&db)?;
                let mut db = configured(db)?;
                schema::upgrade(&mut db)?;
                Ok(db)
            })
            .map_err(|error| named(path, error))?;
        let mut state = Self { db, fence: None, pin_goes: false };
        let inode = inode(path).map_err(|source| Error::Io { path: path.into(), source })?;
        let known: Option<i64> =
            state.db.query_row("SELECT value FROM meta WHERE key='inode'", [], |r| r.get(0)).optional()?;
        let mut fence = Fence::beside(path);
        fence.compare(&state.db)?;
        let again = restored || known.is_some_and(|k| k != inode) || !fence.fits();
        if again {
            fence.distrust();
        }
        state.fence = Some(fence);
        state.begin()?;
        let dropped = if again { state.discard_contexts()? } else { 0 };
        if again && known.is_some() {
            grants::restored(&state.db)?; // a file that was never opened before has no past
        }
        state.db.execute("INSERT OR REPLACE INTO meta VALUES ('inode', ?1)", [inode])?;
        state.commit()?;
        state.settle()?;
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "restored state: every OSCORE context is discarded, locks will start again"
            );
        }
        Ok(state)
    }

    /// A database that lives as long as the value; for tests and dry runs.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn in_memory() -> Result<Self, Error> {
        let mut db = configured(Connection::open_in_memory()?)?;
        schema::create(&mut db)?;
        Ok(Self { db, fence: None, pin_goes: false })
    }

    fn move_fence(&mut self) {
        if let Some(fence) = &mut self.fence {
            fence.due = true;
        }
    }
}

fn connect(path: &Path) -> Result<Connection, Error> {
    let db = Connection::open(path)?;
    db.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(db)
}

fn configured(db: Connection) -> Result<Connection, Error> {
    // `journal_mode` answers with a row, hence not part of the batch below.
    db.query_row("PRAGMA journal_mode=WAL", [], |_| Ok(()))?;
    db.execute_batch("PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;")?;
    Ok(db)
}

fn check(db: &Connection) -> Result<(), Error> {
    let found: String = db.query_row("PRAGMA quick_check(1)", [], |r| r.get(0))?;
    if found == "ok" { Ok(()) } else { Err(Error::State(found)) }
}

/// Which file, and what its owner can do; the file stays as it is.
fn named(path: &Path, error: Error) -> Error {
    match error {
        Error::State(why) => Error::State(format!(
            "{}: {why}; nothing was changed, and if the file is damaged, put it back from a backup",
            path.display()
        )),
        other => other,
    }
}

/// SQLite takes an empty file for a new database; here it is a lost one.
fn holds_something(path: &Path) -> Result<bool, Error> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(found.len() > 0),
        Ok(_) => Err(Error::State(format!("{}: not a file", path.display()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::Io { path: path.into(), source }),
    }
}

/// Makes sure that only its owner reads it: it holds context secrets and owner codes.
fn private_file(path: &Path, create: bool) -> Result<(), Error> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    fs::OpenOptions::new()
        .append(true)
        .create(create)
        .mode(0o600)
        .open(path)
        .and_then(|_| fs::set_permissions(path, fs::Permissions::from_mode(0o600)))
        .map_err(|source| Error::Io { path: PathBuf::from(path), source })
}

fn inode(path: &Path) -> std::io::Result<i64> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(fs::metadata(path)?.ino().cast_signed())
}

/// SQLite integers are signed; our counters stay far below 2^63 and saturate above.
fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn uint(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn lock_id(row: &Row<'_>, column: usize) -> rusqlite::Result<LockId> {
    row.get::<_, [u8; 8]>(column).map(LockId)
}

impl State for SqliteState {
    fn begin(&mut self) -> Result<(), Error> {
        Ok(self.db.execute_batch("BEGIN IMMEDIATE")?)
    }

    fn commit(&mut self) -> Result<(), Error> {
        if let Some(fence) = &mut self.fence {
            fence.prepare(&self.db)?;
        }
        self.db.execute_batch("COMMIT")?;
        if let Some(fence) = &mut self.fence {
            fence.committed();
        }
        if std::mem::take(&mut self.pin_goes) {
            pins::cut_log(&self.db);
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Error> {
        self.fence.as_mut().map_or(Ok(()), Fence::settle)
    }

    fn rollback(&mut self) -> Result<(), Error> {
        self.pin_goes = false;
        if self.db.is_autocommit() { Ok(()) } else { Ok(self.db.execute_batch("ROLLBACK")?) }
    }

    fn locks(&mut self) -> Result<Vec<LockRecord>, Error> {
        let mut query = self.db.prepare_cached(
            "SELECT lock, thumbprint, credential, code, stage, activation, cursor FROM lock",
        )?;
        let rows = query.query_map([], |r| {
            Ok(LockRecord {
                lock: lock_id(r, 0)?,
                thumbprint: r.get(1)?,
                credential: r.get(2)?,
                code: r.get::<_, Option<[u8; 16]>>(3)?.map(|code| Box::new(Zeroizing::new(code))),
                stage: match r.get::<_, u8>(4)? {
                    0 => Stage::Enrolled,
                    1 => Stage::Activated,
                    _ => Stage::Owned,
                },
                activation: r.get(5)?,
                cursor: r.get(6)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn put_lock(&mut self, lock: &LockRecord) -> Result<(), Error> {
        self.db.prepare_cached("INSERT OR REPLACE INTO lock VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(
            params![
                lock.lock.0,
                lock.thumbprint,
                lock.credential,
                lock.code.as_deref().map(|code| &**code),
                lock.stage as u8,
                lock.activation,
                lock.cursor,
            ],
        )?;
        Ok(())
    }

    fn contexts(&mut self) -> Result<Vec<ContextRecord>, Error> {
        let mut query = self.db.prepare_cached(
            "SELECT id, lock, algorithm, secret, salt, own_id, peer_id, phase, reserved, failed_tags, created, retired
             FROM context ORDER BY id",
        )?;
        let rows = query.query_map([], |r| {
            Ok(ContextRecord {
                id: r.get(0)?,
                lock: lock_id(r, 1)?,
                algorithm: r.get(2)?,
                secret: Zeroizing::new(r.get(3)?),
                salt: r.get(4)?,
                own_id: r.get(5)?,
                peer_id: r.get(6)?,
                phase: match r.get::<_, u8>(7)? {
                    0 => Phase::Unconfirmed,
                    1 => Phase::Active,
                    _ => Phase::Old,
                },
                reserved: uint(r.get(8)?),
                failed_tags: r.get(9)?,
                created: uint(r.get(10)?),
                retired: r.get::<_, Option<i64>>(11)?.map(uint),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn add_context(&mut self, c: &ContextRecord) -> Result<i64, Error> {
        self.move_fence();
        self.db
            .prepare_cached(
                "INSERT INTO context (lock, algorithm, secret, salt, own_id, peer_id, phase, reserved, failed_tags,
                                      created, retired)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute(params![
                c.lock.0,
                c.algorithm,
                c.secret.as_slice(),
                c.salt,
                c.own_id,
                c.peer_id,
                c.phase as u8,
                int(c.reserved),
                c.failed_tags,
                int(c.created),
                c.retired.map(int),
            ])?;
        Ok(self.db.last_insert_rowid())
    }

    fn update_context(&mut self, c: &ContextRecord) -> Result<(), Error> {
        let reserved: Option<i64> = self
            .db
            .prepare_cached("SELECT reserved FROM context WHERE id=?1")?
            .query_row([c.id], |r| r.get(0))
            .optional()?;
        if reserved.is_some_and(|stored| int(c.reserved) > stored) {
            self.move_fence();
        }
        // `max` makes a reservation one-way, whatever the caller believes.
        self.db
            .prepare_cached(
                "UPDATE context SET phase=?2, reserved=max(reserved, ?3), failed_tags=?4, retired=?5 WHERE id=?1",
            )?
            .execute(params![c.id, c.phase as u8, int(c.reserved), c.failed_tags, c.retired.map(int)])?;
        Ok(())
    }

    fn remove_context(&mut self, id: i64) -> Result<(), Error> {
        self.db.prepare_cached("DELETE FROM replay WHERE context=?1")?.execute([id])?;
        self.db.prepare_cached("DELETE FROM context WHERE id=?1")?.execute([id])?;
        Ok(())
    }

    fn remember(&mut self, context: i64, piv: u64) -> Result<bool, Error> {
        if self.remembers(context, piv)? {
            return Ok(false);
        }
        self.db.prepare_cached("INSERT INTO replay VALUES (?1, ?2)")?.execute(params![context, int(piv)])?;
        // The set stays exact: what lies below the floor is in it, rows name only what lies above.
        let mut floor: i64 = self
            .db
            .prepare_cached("SELECT replay_floor FROM context WHERE id=?1")?
            .query_row([context], |r| r.get(0))
            .optional()?
            .unwrap_or(0);
        let before = floor;
        while self
            .db
            .prepare_cached("DELETE FROM replay WHERE context=?1 AND piv=?2")?
            .execute([context, floor])?
            == 1
        {
            floor = floor.saturating_add(1);
        }
        if floor != before {
            self.db
                .prepare_cached("UPDATE context SET replay_floor=?2 WHERE id=?1")?
                .execute([context, floor])?;
        }
        Ok(true)
    }

    fn remembers(&mut self, context: i64, piv: u64) -> Result<bool, Error> {
        Ok(self
            .db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM context WHERE id=?1 AND replay_floor>?2)
                     OR EXISTS (SELECT 1 FROM replay WHERE context=?1 AND piv=?2)",
            )?
            .query_row(params![context, int(piv)], |r| r.get(0))?)
    }

    fn add_log(&mut self, lock: LockId, row: &LogRow) -> Result<Stored, Error> {
        log::add(&self.db, lock, row)
    }

    fn forks(&mut self, lock: LockId) -> Result<Vec<LogRow>, Error> {
        log::forks(&self.db, lock)
    }

    fn has_log(&mut self, lock: LockId, activation: u32, index: u32) -> Result<bool, Error> {
        log::has(&self.db, lock, activation, index)
    }

    fn log(&mut self, lock: LockId, limit: u32) -> Result<Vec<LogRow>, Error> {
        log::newest(&self.db, lock, limit)
    }

    fn put_command(&mut self, c: &CommandRow) -> Result<(), Error> {
        let mut sent = Vec::with_capacity(c.sent.len().saturating_mul(16));
        for (context, piv) in &c.sent {
            sent.extend_from_slice(&context.to_be_bytes());
            sent.extend_from_slice(&piv.to_be_bytes());
        }
        self.db
            .prepare_cached("INSERT OR REPLACE INTO command VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute(params![c.id, c.lock.0, c.ask, int(c.asked), int(c.deadline), sent, c.outcome])?;
        Ok(())
    }

    fn open_commands(&mut self) -> Result<Vec<CommandRow>, Error> {
        let mut query = self.db.prepare_cached(
            "SELECT id, lock, ask, asked, deadline, sent FROM command WHERE outcome IS NULL ORDER BY asked",
        )?;
        let rows = query.query_map([], |r| {
            let sent: Vec<u8> = r.get(5)?;
            let (pairs, _) = sent.as_chunks::<8>();
            Ok(CommandRow {
                id: r.get(0)?,
                lock: lock_id(r, 1)?,
                ask: r.get(2)?,
                asked: uint(r.get(3)?),
                deadline: uint(r.get(4)?),
                sent: pairs
                    .as_chunks::<2>()
                    .0
                    .iter()
                    .map(|[context, piv]| (i64::from_be_bytes(*context), u64::from_be_bytes(*piv)))
                    .collect(),
                outcome: None,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn seen(&mut self, gateway: &str, lock: LockId) -> Result<Option<SeenRow>, Error> {
        custody::seen(&self.db, gateway, lock)
    }

    fn put_seen(&mut self, gateway: &str, lock: LockId, seen: &SeenRow) -> Result<(), Error> {
        custody::put_seen(&self.db, gateway, lock, seen)
    }

    fn note_ahead(&mut self, gateway: &str, lock: LockId, epoch: [u8; 8], seq: u64) -> Result<Noted, Error> {
        custody::note_ahead(&self.db, gateway, lock, epoch, seq)
    }

    fn take_ahead(&mut self, gateway: &str, lock: LockId, epoch: [u8; 8], seq: u64) -> Result<Taken, Error> {
        custody::take_ahead(&self.db, gateway, lock, epoch, seq)
    }

    fn discard_contexts(&mut self) -> Result<u64, Error> {
        self.db.execute("DELETE FROM replay", [])?;
        self.pin_goes = true;
        pins::restored(&self.db)?;
        // What became of them is not known any more, and their answers cannot be opened.
        let outcome = Outcome::Unanswered { sent: 0, gateway: Some("platform restored".into()) };
        self.db.execute(
            "UPDATE command SET outcome=?1 WHERE outcome IS NULL",
            [serde_json::to_string(&outcome).unwrap_or_default()],
        )?;
        Ok(self.db.execute("DELETE FROM context", [])? as u64)
    }

    fn prune(&mut self, before: Before) -> Result<(), Error> {
        self.db
            .execute("DELETE FROM command WHERE outcome IS NOT NULL AND asked<?1", [int(before.commands)])?;
        log::prune(&self.db, before.log)?;
        self.db.execute("DELETE FROM log_gap WHERE noticed<?1", [int(before.log)])?;
        custody::prune(&self.db, before.seen)
    }
}
