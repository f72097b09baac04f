//! The tables, and how a file of an earlier version gets them.

use rusqlite::Connection;

use crate::Error;

/// Raised when the tables change; an older program refuses a newer file.
pub(super) const SCHEMA: i64 = 4;

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
  at INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (gateway, lock)) WITHOUT ROWID;
CREATE TABLE ahead (
  gateway TEXT NOT NULL, lock BLOB NOT NULL, epoch BLOB NOT NULL, seq INTEGER NOT NULL,
  PRIMARY KEY (gateway, lock, epoch, seq)) WITHOUT ROWID;
";

/// What version 2 has beside the column `seen.at`.
const ADDED_IN_2: &str = "
CREATE INDEX seen_lock ON seen (lock, at);
CREATE TABLE fork (
  id INTEGER PRIMARY KEY, lock BLOB NOT NULL, activation INTEGER NOT NULL, number INTEGER NOT NULL,
  kind TEXT NOT NULL, value INTEGER, at INTEGER, received INTEGER NOT NULL, gateway TEXT NOT NULL);
CREATE INDEX fork_lock ON fork (lock, id);
";

/// Version 1 remembered every gateway name for every lock id anybody published, and numbers without limit. What
/// is not about an enrolled lock goes; what is beyond the limits goes when its lock is heard next. Receptions count
/// from now on, as nothing tells how old they are.
const FROM_1_TO_2: &str = "
ALTER TABLE seen ADD COLUMN at INTEGER NOT NULL DEFAULT 0;
DELETE FROM seen WHERE lock NOT IN (SELECT lock FROM lock);
UPDATE seen SET at = 1000 * unixepoch();
DELETE FROM ahead WHERE NOT EXISTS (
  SELECT 1 FROM seen WHERE seen.gateway = ahead.gateway AND seen.lock = ahead.lock AND seen.epoch = ahead.epoch
                       AND seen.seq < ahead.seq);
DELETE FROM ahead WHERE (gateway, lock, seq) IN (
  SELECT gateway, lock, seq FROM (
    SELECT gateway, lock, seq, row_number() OVER (PARTITION BY gateway, lock ORDER BY seq) AS place FROM ahead)
  WHERE place > ?1);
";

/// What version 3 has beside version 2, each where it is used.
const ADDED_IN_3: &[&str] = &[super::grants::TABLES, super::pins::TABLES, super::standing::TABLES];

/// The version of the tables in `db`.
///
/// # Errors
/// [`Error::State`] for a file without tables, and for one that a later program made.
pub(super) fn version(db: &Connection) -> Result<i64, Error> {
    match db.query_row("PRAGMA user_version", [], |r| r.get(0))? {
        known @ 1..=SCHEMA => Ok(known),
        ..=0 => Err(Error::State(
            "it holds no platform's state; if `init` was cut short, remove it and run `cardea-platform init --state-only`"
                .into(),
        )),
        newer => Err(Error::State(format!(
            "it has version {newer}, and this program knows {SCHEMA}; use the program that wrote it, or a newer one"
        ))),
    }
}

/// Makes the tables in an empty database.
pub(super) fn create(db: &mut Connection) -> Result<(), Error> {
    let batch = db.transaction()?;
    batch.execute_batch(TABLES)?;
    batch.execute_batch(ADDED_IN_2)?;
    batch.execute_batch(&ADDED_IN_3.concat())?;
    batch.execute_batch(super::site::TABLES)?;
    batch.pragma_update(None, "user_version", SCHEMA)?;
    Ok(batch.commit()?)
}

/// Gives a file of an earlier version today's tables; all of it or nothing.
///
/// # Errors
/// As [`version`].
pub(super) fn upgrade(db: &mut Connection) -> Result<(), Error> {
    let version = version(db)?;
    if version == SCHEMA {
        return Ok(());
    }
    let batch = db.transaction()?;
    if version < 2 {
        for statement in FROM_1_TO_2.split(';').filter(|sql| !sql.trim().is_empty()) {
            let mut statement = batch.prepare(statement)?;
            match statement.parameter_count() {
                0 => statement.execute([])?,
                _ => statement.execute([super::custody::most_ahead()])?,
            };
        }
        batch.execute_batch(ADDED_IN_2)?;
    }
    if version < 3 {
        batch.execute_batch(&ADDED_IN_3.concat())?;
        batch.execute_batch(super::standing::FROM_2_TO_3)?;
    }
    batch.execute_batch(super::site::TABLES)?;
    batch.pragma_update(None, "user_version", SCHEMA)?;
    Ok(batch.commit()?)
}
