//! The file: opened, checked, brought up to date.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags};

use crate::{Error, Options, key};

/// "CARD": marks our files among SQLite's.
const APPLICATION: i64 = 0x4341_5244;

/// One script for each schema version, in order; a new version is a new entry, old ones never change.
const MIGRATIONS: [&str; 2] = [
    "
    CREATE TABLE lock (
        lock BLOB PRIMARY KEY,
        radio TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE outbox (
        row INTEGER PRIMARY KEY,
        lock BLOB NOT NULL,
        class INTEGER NOT NULL,
        id BLOB NOT NULL,
        data BLOB NOT NULL,
        radio TEXT NOT NULL,
        rssi INTEGER,
        snr INTEGER,
        lqi INTEGER,
        at INTEGER NOT NULL,
        synced INTEGER NOT NULL
    );
    CREATE INDEX outbox_lock ON outbox (lock, row);
    -- Only what is dropped first is indexed by class: a frame that matters costs one page less of flash.
    CREATE INDEX outbox_low ON outbox (class, row) WHERE class >= 2;
    CREATE TABLE gap (
        lock BLOB NOT NULL,
        class INTEGER NOT NULL,
        id BLOB NOT NULL,
        frames INTEGER NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        PRIMARY KEY (lock, class)
    ) WITHOUT ROWID;
    CREATE TABLE down (
        id BLOB PRIMARY KEY,
        lock BLOB NOT NULL,
        not_after INTEGER NOT NULL,
        state INTEGER NOT NULL,
        reason TEXT,
        at INTEGER NOT NULL,
        data BLOB NOT NULL,
        told INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE network (
        network TEXT NOT NULL,
        key BLOB NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (network, key)
    ) WITHOUT ROWID;
",
    "
    CREATE TABLE address (
        address INTEGER PRIMARY KEY,
        lock BLOB,
        freed INTEGER NOT NULL
    );
",
];

const PAGE: u64 = 4096;

/// Opens the writing connection over a checked, current file.
pub(crate) fn open(options: &Options) -> Result<Connection, Error> {
    let path = &options.path;
    let io = |source| Error::Io { path: path.clone(), source };
    if !path.try_exists().map_err(io)? {
        let key = key::path(path);
        if key.try_exists().map_err(io)? {
            return Err(Error::Missing { path: path.clone(), key });
        }
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        key::sync_directory(path).map_err(io)?;
    }
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    prepare(&mut connection, options).map_err(|e| Error::read(path, &e))??;
    Ok(connection)
}

/// Opens a connection that only reads.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, Error> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(|e| Error::read(path, &e))?;
    Ok(connection)
}

fn connect(path: &Path, mode: OpenFlags) -> Result<Connection, Error> {
    let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).map_err(|e| Error::read(path, &e))
}

fn prepare(connection: &mut Connection, options: &Options) -> rusqlite::Result<Result<(), Error>> {
    let path = &options.path;
    connection.busy_timeout(Duration::from_secs(5))?;
    let application: i64 = connection.query_row("PRAGMA application_id", [], |r| r.get(0))?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |r| r.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if tables > 0 && application != APPLICATION {
        return Ok(Err(Error::Foreign { path: path.clone() }));
    }
    // The key is made after the tables: where it is, there were some.
    let key = key::path(path);
    if tables == 0 && key.exists() {
        let detail = format!("it is empty though its key file {} exists", key.display());
        return Ok(Err(Error::Corrupt { path: path.clone(), detail }));
    }
    if version > known {
        return Ok(Err(Error::Newer { path: path.clone(), found: version, known }));
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 1000)?;
    connection.pragma_update(None, "journal_size_limit", 4 << 20)?;
    // Where the disk lies about flushes there is nothing to be done; where it has a stronger one, use it.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "cache_size", -2048)?;
    if let Some(bytes) = options.max_bytes {
        connection.pragma_update(
            None,
            "max_page_count",
            i64::try_from((bytes / PAGE).max(1)).unwrap_or(i64::MAX),
        )?;
    }
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |r| r.get(0))?;
    if verdict != "ok" {
        return Ok(Err(Error::Corrupt { path: path.clone(), detail: verdict }));
    }
    for (script, to) in MIGRATIONS.iter().zip(1_i64..).filter(|(_, to)| *to > version) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(script)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", to)?;
        transaction.commit()?;
    }
    Ok(Ok(()))
}
