//! [`State`] in one SQLite file, mode 0600, `synchronous=FULL`.

mod fence;

use std::{fs, path::Path};

use cardea_framing::LockId;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use zeroize::Zeroizing;

use fence::Fence;

use super::{CommandRow, ContextRecord, LockRecord, LogRow, Phase, SeenRow, Stage, State};
use crate::{Error, Outcome};

/// Raised when the tables change; an older program refuses a newer file.
const SCHEMA: i64 = 1;

const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE lock (
  lock BLOB PRIMARY KEY, thumbprint BLOB, credential BLOB, code BLOB, stage INTEGER NOT NULL,
  activation INTEGER NOT NULL, cursor INTEGER) WITHOUT ROWID;
CREATE TABLE context (
  id INTEGER PRIMARY KEY AUTOINCREMENT, lock BLOB NOT NULL, algorithm INTEGER NOT NULL, secret BLOB NOT NULL,
  salt BLOB NOT NULL, own_id BLOB NOT NULL, peer_id BLOB NOT NULL, phase INTEGER NOT NULL,
  reserved INTEGER NOT NULL, failed_tags INTEGER NOT NULL, created INTEGER NOT NULL, retired INTEGER,
  replay_floor INTEGER NOT NULL DEFAULT 0);
CREATE TABLE replay (context INTEGER NOT NULL, piv INTEGER NOT NULL, PRIMARY KEY (context, piv)) WITHOUT ROWID;
CREATE TABLE log (
  id INTEGER PRIMARY KEY, lock BLOB NOT NULL, activation INTEGER NOT NULL, number INTEGER, kind TEXT NOT NULL,
  value INTEGER, at INTEGER, received INTEGER NOT NULL, gateway TEXT NOT NULL);
CREATE UNIQUE INDEX log_number ON log (lock, activation, number) WHERE number IS NOT NULL;
CREATE INDEX log_lock ON log (lock, id);
CREATE TABLE command (
  id BLOB NOT NULL, lock BLOB NOT NULL, ask INTEGER NOT NULL, asked INTEGER NOT NULL, deadline INTEGER NOT NULL,
  sent BLOB NOT NULL, outcome TEXT, PRIMARY KEY (lock, id)) WITHOUT ROWID;
CREATE INDEX command_open ON command (asked) WHERE outcome IS NULL;
CREATE TABLE seen (
  gateway TEXT NOT NULL, lock BLOB NOT NULL, epoch BLOB NOT NULL, seq INTEGER NOT NULL,
  PRIMARY KEY (gateway, lock)) WITHOUT ROWID;
CREATE TABLE ahead (
  gateway TEXT NOT NULL, lock BLOB NOT NULL, epoch BLOB NOT NULL, seq INTEGER NOT NULL,
  PRIMARY KEY (gateway, lock, epoch, seq)) WITHOUT ROWID;
";

/// The file store of one platform.
pub struct SqliteState {
    db: Connection,
    fence: Option<Fence>,
}

impl From<rusqlite::Error> for Error {
    fn from(e: rusqlite::Error) -> Self {
        Self::State(e.to_string())
    }
}

impl SqliteState {
    /// Opens or creates the database.
    ///
    /// A file that was put back from a backup may hold counters behind what was already sent. A random number
    /// is kept both in it and in the file `*.fence` beside it, new at every opening and with every block of
    /// sequence numbers: an older database does not fit to it. Unless they fit (or when the inode, which is
    /// recorded too, is another, or when `restored` says so) every OSCORE context is discarded before anything
    /// can be sent on it, and open commands end. The fence file must therefore not be part of a backup. A
    /// rolled-back file system or virtual disk brings both back; there the operator must say it.
    ///
    /// # Errors
    /// [`Error::State`] when the file is not a database of this version or is damaged; it is never
    /// recreated silently. [`Error::Io`] for the file system's own errors.
    pub fn open(path: &Path, restored: bool) -> Result<Self, Error> {
        let io = |source| Error::Io { path: path.into(), source };
        private_file(path).map_err(io)?;
        let db = Connection::open(path)?;
        let mut state = Self::prepare(db)?;
        let inode = inode(path).map_err(io)?;
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
        state.db.execute("INSERT OR REPLACE INTO meta VALUES ('inode', ?1)", [inode])?;
        state.commit()?;
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
        Self::prepare(Connection::open_in_memory()?)
    }

    fn move_fence(&mut self) {
        if let Some(fence) = &mut self.fence {
            fence.due = true;
        }
    }

    fn prepare(db: Connection) -> Result<Self, Error> {
        db.busy_timeout(std::time::Duration::from_secs(5))?;
        // `journal_mode` answers with a row, hence not part of the batch below.
        db.query_row("PRAGMA journal_mode=WAL", [], |_| Ok(()))?;
        db.execute_batch("PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;")?;
        let version: i64 = db.query_row("PRAGMA user_version", [], |r| r.get(0))?;
        match version {
            0 => {
                db.execute_batch(&format!("BEGIN IMMEDIATE; {TABLES} PRAGMA user_version={SCHEMA}; COMMIT;"))?
            }
            SCHEMA => {}
            other => {
                return Err(Error::State(format!(
                    "the database has version {other}, this program knows {SCHEMA}"
                )));
            }
        }
        let check: String = db.query_row("PRAGMA quick_check(1)", [], |r| r.get(0))?;
        if check != "ok" {
            return Err(Error::State(format!("the database is damaged ({check}); restore it from a backup")));
        }
        Ok(Self { db, fence: None })
    }
}

/// Makes sure the file exists and only its owner reads it: it holds context secrets and owner codes.
fn private_file(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
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
        let moved = match &mut self.fence {
            Some(fence) => fence.prepare(&self.db)?,
            None => false,
        };
        self.db.execute_batch("COMMIT")?;
        match &mut self.fence {
            Some(fence) if moved => fence.settle(),
            _ => Ok(()),
        }
    }

    fn rollback(&mut self) -> Result<(), Error> {
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
                code: r.get::<_, Option<[u8; 16]>>(3)?.map(Zeroizing::new),
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
                lock.code.as_deref(),
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

    fn add_log(&mut self, lock: LockId, row: &LogRow) -> Result<bool, Error> {
        let added = self
            .db
            .prepare_cached(
                "INSERT OR IGNORE INTO log (lock, activation, number, kind, value, at, received, gateway)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                lock.0,
                row.activation,
                row.index,
                row.kind,
                row.value,
                row.at,
                int(row.received),
                row.gateway,
            ])?;
        Ok(added == 1)
    }

    fn has_log(&mut self, lock: LockId, activation: u32, index: u32) -> Result<bool, Error> {
        Ok(self
            .db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM log WHERE lock=?1 AND activation=?2 AND number=?3)",
            )?
            .query_row(params![lock.0, activation, index], |r| r.get(0))?)
    }

    fn log(&mut self, lock: LockId, limit: u32) -> Result<Vec<LogRow>, Error> {
        let mut query = self.db.prepare_cached(
            "SELECT * FROM (SELECT id, activation, number, kind, value, at, received, gateway FROM log
                            WHERE lock=?1 ORDER BY id DESC LIMIT ?2) ORDER BY id",
        )?;
        let rows = query.query_map(params![lock.0, limit], |r| {
            Ok(LogRow {
                activation: r.get(1)?,
                index: r.get(2)?,
                kind: r.get(3)?,
                value: r.get(4)?,
                at: r.get(5)?,
                received: uint(r.get(6)?),
                gateway: r.get(7)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
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
        Ok(self
            .db
            .prepare_cached("SELECT epoch, seq FROM seen WHERE gateway=?1 AND lock=?2")?
            .query_row(params![gateway, lock.0], |r| Ok(SeenRow { epoch: r.get(0)?, seq: uint(r.get(1)?) }))
            .optional()?)
    }

    fn put_seen(&mut self, gateway: &str, lock: LockId, seen: &SeenRow) -> Result<(), Error> {
        self.db.prepare_cached("INSERT OR REPLACE INTO seen VALUES (?1, ?2, ?3, ?4)")?.execute(params![
            gateway,
            lock.0,
            seen.epoch,
            int(seen.seq)
        ])?;
        // Notes of earlier runs mean nothing any more: a new epoch numbers everything unseen again.
        self.db
            .prepare_cached("DELETE FROM ahead WHERE gateway=?1 AND lock=?2 AND epoch<>?3")?
            .execute(params![gateway, lock.0, seen.epoch])?;
        Ok(())
    }

    fn seen_ahead(
        &mut self,
        gateway: &str,
        lock: LockId,
        epoch: [u8; 8],
        seq: u64,
        add: bool,
    ) -> Result<bool, Error> {
        let sql = if add {
            "INSERT OR IGNORE INTO ahead VALUES (?1, ?2, ?3, ?4)"
        } else {
            "DELETE FROM ahead WHERE gateway=?1 AND lock=?2 AND epoch=?3 AND seq=?4"
        };
        Ok(self.db.prepare_cached(sql)?.execute(params![gateway, lock.0, epoch, int(seq)])? == 1)
    }

    fn discard_contexts(&mut self) -> Result<u64, Error> {
        self.db.execute("DELETE FROM replay", [])?;
        // What became of them is not known any more, and their answers cannot be opened.
        let outcome = Outcome::Unanswered { sent: 0, gateway: Some("platform restored".into()) };
        self.db.execute(
            "UPDATE command SET outcome=?1 WHERE outcome IS NULL",
            [serde_json::to_string(&outcome).unwrap_or_default()],
        )?;
        Ok(self.db.execute("DELETE FROM context", [])? as u64)
    }

    fn prune(&mut self, commands_before: u64, log_before: u64) -> Result<(), Error> {
        self.db
            .execute("DELETE FROM command WHERE outcome IS NOT NULL AND asked<?1", [int(commands_before)])?;
        self.db.execute("DELETE FROM log WHERE received<?1", [int(log_before)])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> ContextRecord {
        ContextRecord {
            id: 0,
            lock: LockId([1; 8]),
            algorithm: 10,
            secret: Zeroizing::new(vec![2; 16]),
            salt: vec![3; 8],
            own_id: vec![4],
            peer_id: vec![5],
            phase: Phase::Unconfirmed,
            reserved: 0,
            failed_tags: 0,
            created: 6,
            retired: None,
        }
    }

    #[test]
    fn the_replay_set_is_exact_in_any_order() {
        let mut state = SqliteState::in_memory().unwrap();
        let id = state.add_context(&context()).unwrap();
        let other = state.add_context(&context()).unwrap();
        for piv in [5, 0, 2, 1, 1 << 39, 3, 4, 7] {
            assert!(!state.remembers(id, piv).unwrap(), "{piv}");
            assert!(state.remember(id, piv).unwrap(), "{piv}");
            assert!(!state.remember(id, piv).unwrap(), "{piv}");
        }
        assert!(!state.remembers(id, 6).unwrap());
        assert!(!state.remembers(other, 5).unwrap());
        // What lies below the floor costs no row.
        let rows: i64 = state.db.query_row("SELECT count(*) FROM replay", [], |r| r.get(0)).unwrap();
        assert_eq!(rows, 2);
    }

    #[test]
    fn a_reservation_only_rises_and_a_row_number_never_returns() {
        let mut state = SqliteState::in_memory().unwrap();
        let mut record = context();
        record.id = state.add_context(&record).unwrap();
        for (reserved, stored) in [(64, 64), (0, 64), (128, 128)] {
            record.reserved = reserved;
            state.update_context(&record).unwrap();
            assert_eq!(state.contexts().unwrap()[0].reserved, stored);
        }
        let old = record.id;
        state.discard_contexts().unwrap();
        assert!(state.add_context(&record).unwrap() > old);
    }

    #[test]
    fn what_was_not_committed_did_not_happen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let mut state = SqliteState::open(&path, false).unwrap();
        state.begin().unwrap();
        let id = state.add_context(&context()).unwrap();
        state.commit().unwrap();
        state.begin().unwrap();
        state.remember(id, 1).unwrap();
        drop(state);
        let mut state = SqliteState::open(&path, false).unwrap();
        assert!(!state.remembers(id, 1).unwrap());
        assert_eq!(state.contexts().unwrap().len(), 1);
        drop(state);
        let mut state = SqliteState::open(&path, true).unwrap();
        assert!(state.contexts().unwrap().is_empty(), "restored");
    }

    #[test]
    fn an_older_database_in_the_same_inode_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, backup) = (dir.path().join("state.db"), dir.path().join("backup"));
        let mut state = SqliteState::open(&path, false).unwrap();
        state.add_context(&context()).unwrap();
        drop(state);
        fs::copy(&path, &backup).unwrap();
        let mut state = SqliteState::open(&path, false).unwrap();
        assert_eq!(state.contexts().unwrap().len(), 1, "an ordinary start keeps them");
        drop(state);
        fs::write(&path, fs::read(&backup).unwrap()).unwrap();
        let mut state = SqliteState::open(&path, false).unwrap();
        assert!(state.contexts().unwrap().is_empty());
        state.add_context(&context()).unwrap();
        drop(state);
        fs::remove_file(path.with_extension("fence")).unwrap();
        assert!(SqliteState::open(&path, false).unwrap().contexts().unwrap().is_empty());
    }

    #[test]
    fn a_damaged_or_newer_file_is_an_error_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        fs::write(&path, [0x55; 8192]).unwrap();
        assert!(matches!(SqliteState::open(&path, false), Err(Error::State(_))));
        assert_eq!(fs::read(&path).unwrap(), [0x55; 8192]);
        let path = dir.path().join("newer.db");
        SqliteState::open(&path, false).unwrap().db.execute_batch("PRAGMA user_version=99").unwrap();
        assert!(matches!(SqliteState::open(&path, false), Err(Error::State(why)) if why.contains("99")));
    }
}
