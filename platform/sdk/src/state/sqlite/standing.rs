//! Standings of locks, and gaps in their logs.

use cardea_framing::LockId;
use rusqlite::params;

use super::{SqliteState, int, lock_id, uint};
use crate::{Error, LogGap, Standing, StandingStore};

/// Part of version 3 of the tables.
pub(super) const TABLES: &str = "
CREATE TABLE standing (
  lock BLOB PRIMARY KEY, fenced INTEGER, released INTEGER, certificate INTEGER) WITHOUT ROWID;
CREATE TABLE log_gap (
  lock BLOB NOT NULL, activation INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
  noticed INTEGER NOT NULL, PRIMARY KEY (lock, activation, first)) WITHOUT ROWID;
";

/// Until version 2 there was no other certificate than version 1, and who owned a lock had been heard by it. Of
/// earlier gaps nobody took note.
pub(super) const FROM_2_TO_3: &str = "
INSERT INTO standing (lock, certificate) SELECT lock, 1 FROM lock WHERE stage = 2;
";

impl StandingStore for SqliteState {
    fn standings(&mut self) -> Result<Vec<(LockId, Standing)>, Error> {
        let mut query = self.db.prepare_cached("SELECT lock, fenced, released, certificate FROM standing")?;
        let rows = query.query_map([], |r| {
            let standing = Standing {
                fenced: r.get::<_, Option<i64>>(1)?.map(uint),
                released: r.get::<_, Option<i64>>(2)?.map(uint),
                certificate: r.get(3)?,
            };
            Ok((lock_id(r, 0)?, standing))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn put_standing(&mut self, lock: LockId, standing: &Standing) -> Result<(), Error> {
        let Standing { fenced, released, certificate } = standing;
        self.db
            .prepare_cached("INSERT OR REPLACE INTO standing VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![lock.0, fenced.map(int), released.map(int), certificate])?;
        Ok(())
    }

    fn next_log(&mut self, lock: LockId, activation: u32, from: u32) -> Result<Option<u32>, Error> {
        Ok(self
            .db
            .prepare_cached("SELECT min(number) FROM log WHERE lock=?1 AND activation=?2 AND number>=?3")?
            .query_row(params![lock.0, activation, from], |r| r.get(0))?)
    }

    fn add_log_gap(&mut self, lock: LockId, gap: &LogGap) -> Result<(), Error> {
        self.db
            .prepare_cached("INSERT OR IGNORE INTO log_gap VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![lock.0, gap.activation, gap.first, gap.last, int(gap.noticed)])?;
        Ok(())
    }

    fn log_gaps(&mut self, lock: LockId) -> Result<Vec<LogGap>, Error> {
        let mut query = self.db.prepare_cached(
            "SELECT activation, first, last, noticed FROM log_gap WHERE lock=?1 ORDER BY activation, first",
        )?;
        let rows = query.query_map([lock.0], |r| {
            Ok(LogGap { activation: r.get(0)?, first: r.get(1)?, last: r.get(2)?, noticed: uint(r.get(3)?) })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn discard_contexts_of(&mut self, lock: LockId) -> Result<(), Error> {
        self.db.execute(
            "DELETE FROM replay WHERE context IN (SELECT id FROM context WHERE lock=?1)",
            [lock.0],
        )?;
        self.db.execute("DELETE FROM context WHERE lock=?1", [lock.0])?;
        Ok(())
    }
}
