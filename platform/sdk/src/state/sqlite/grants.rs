//! Grants, revoked keys, and what locks know of them.

use cardea_credentials::{Scope, Weekly};
use cardea_framing::LockId;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{SqliteState, int, lock_id, uint};
use crate::{Error, GrantRow, GrantState, KnownListRow, ListRow, RevokedRow};

/// The tables of this file; a step of their own for a file that has none of them.
pub(super) const TABLES: &str = "
CREATE TABLE granted (
  id BLOB PRIMARY KEY, lock BLOB NOT NULL, tag INTEGER NOT NULL, holder BLOB NOT NULL, name TEXT NOT NULL,
  scope INTEGER NOT NULL, not_before INTEGER NOT NULL, expires INTEGER NOT NULL, single_use INTEGER NOT NULL,
  hours BLOB, issued INTEGER NOT NULL, cwt BLOB NOT NULL);
CREATE UNIQUE INDEX granted_tag ON granted (lock, tag);
CREATE TABLE revocation (
  epoch INTEGER NOT NULL, at INTEGER NOT NULL, unsure INTEGER NOT NULL, restored INTEGER NOT NULL);
INSERT INTO revocation VALUES (0, 0, 0, 0);
CREATE TABLE revoked (thumbprint BLOB PRIMARY KEY, since INTEGER NOT NULL, until INTEGER) WITHOUT ROWID;
CREATE TABLE known_list (
  lock BLOB PRIMARY KEY, activation INTEGER NOT NULL, epoch INTEGER NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
";

const COLUMNS: &str = "id, lock, holder, name, scope, not_before, expires, single_use, hours, issued, cwt";

/// The state was put back: what was issued and listed since the backup is not known any more.
pub(super) fn restored(db: &Connection) -> Result<(), Error> {
    db.execute("UPDATE revocation SET unsure=1, restored=1", [])?;
    db.execute("UPDATE revoked SET until=NULL", [])?;
    Ok(())
}

impl GrantState for SqliteState {
    fn add_grant(&mut self, grant: &GrantRow) -> Result<bool, Error> {
        let GrantRow { id, lock, holder, name, scope, not_before, expires, single_use, .. } = grant;
        let added = self
            .db
            .prepare_cached(
                "INSERT OR IGNORE INTO granted
                   (id, lock, tag, holder, name, scope, not_before, expires, single_use, hours, issued, cwt)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(params![
                id,
                lock.0,
                grant.tag(),
                holder,
                name,
                scope.bits(),
                not_before,
                expires,
                single_use,
                grant.window.map(Weekly::to_bytes),
                int(grant.issued),
                grant.cwt,
            ])?;
        Ok(added == 1)
    }

    fn grant(&mut self, id: [u8; 8]) -> Result<Option<GrantRow>, Error> {
        let query = format!("SELECT {COLUMNS} FROM granted WHERE id=?1");
        Ok(self.db.prepare_cached(&query)?.query_row([id], read).optional()?)
    }

    fn grants(&mut self, lock: Option<LockId>) -> Result<Vec<GrantRow>, Error> {
        let query = format!("SELECT {COLUMNS} FROM granted WHERE ?1 IS NULL OR lock=?1 ORDER BY rowid");
        let mut query = self.db.prepare_cached(&query)?;
        let rows = query.query_map([lock.map(|lock| lock.0)], read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn grant_name(&mut self, lock: LockId, tag: u32) -> Result<Option<String>, Error> {
        Ok(self
            .db
            .prepare_cached("SELECT name FROM granted WHERE lock=?1 AND tag=?2")?
            .query_row(params![lock.0, tag], |r| r.get(0))
            .optional()?)
    }

    fn prune_grants(&mut self, expired: u32) -> Result<(), Error> {
        self.db.execute("DELETE FROM granted WHERE expires<?1", [expired])?;
        Ok(())
    }

    fn list(&mut self) -> Result<ListRow, Error> {
        Ok(self.db.query_row("SELECT epoch, at, unsure, restored FROM revocation", [], |r| {
            Ok(ListRow { epoch: r.get(0)?, at: r.get(1)?, unsure: r.get(2)?, restored: r.get(3)? })
        })?)
    }

    fn revoked(&mut self) -> Result<Vec<RevokedRow>, Error> {
        let mut query =
            self.db.prepare_cached("SELECT thumbprint, since, until FROM revoked ORDER BY thumbprint")?;
        let rows = query.query_map([], |r| {
            Ok(RevokedRow { thumbprint: r.get(0)?, since: uint(r.get(1)?), until: r.get(2)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn put_list(&mut self, list: &ListRow, revoked: &[RevokedRow]) -> Result<(), Error> {
        self.move_fence();
        let ListRow { epoch, at, unsure, restored } = list;
        self.db
            .prepare_cached("UPDATE revocation SET epoch=?1, at=?2, unsure=?3, restored=?4")?
            .execute(params![epoch, at, unsure, restored])?;
        self.db.execute("DELETE FROM revoked", [])?;
        let mut insert = self.db.prepare_cached("INSERT INTO revoked VALUES (?1, ?2, ?3)")?;
        for row in revoked {
            insert.execute(params![row.thumbprint, int(row.since), row.until])?;
        }
        Ok(())
    }

    fn doubt_list(&mut self) -> Result<(), Error> {
        self.db.execute("UPDATE revocation SET unsure=1", [])?;
        Ok(())
    }

    fn known_lists(&mut self) -> Result<Vec<KnownListRow>, Error> {
        let mut query = self.db.prepare_cached("SELECT lock, activation, epoch, at FROM known_list")?;
        let rows = query.query_map([], |r| {
            Ok(KnownListRow {
                lock: lock_id(r, 0)?,
                activation: r.get(1)?,
                epoch: r.get(2)?,
                at: uint(r.get(3)?),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn put_known_list(&mut self, known: &KnownListRow) -> Result<(), Error> {
        let KnownListRow { lock, activation, epoch, at } = known;
        self.db
            .prepare_cached("INSERT OR REPLACE INTO known_list VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![lock.0, activation, epoch, int(*at)])?;
        Ok(())
    }
}

fn read(r: &Row<'_>) -> rusqlite::Result<GrantRow> {
    let hours: Option<[u8; 3]> = r.get(8)?;
    // Hours that make no sense must not become "always" in a list that people read.
    let window = hours.map(|[days, from, quarters]| Weekly::new(days, from, quarters)).transpose();
    Ok(GrantRow {
        id: r.get(0)?,
        lock: lock_id(r, 1)?,
        holder: r.get(2)?,
        name: r.get(3)?,
        scope: Scope::from_bits(r.get(4)?),
        not_before: r.get(5)?,
        expires: r.get(6)?,
        single_use: r.get(7)?,
        window: window.map_err(|e| {
            rusqlite::Error::FromSqlConversionFailure(8, rusqlite::types::Type::Blob, e.to_string().into())
        })?,
        issued: uint(r.get(9)?),
        cwt: r.get(10)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: [u8; 8], lock: u8) -> GrantRow {
        GrantRow {
            id,
            lock: LockId([lock; 8]),
            holder: [3; 32],
            name: "Ada".into(),
            scope: Scope::UNLOCK,
            not_before: 1,
            expires: 100,
            single_use: true,
            window: Weekly::new(1, 2, 3).ok(),
            issued: 5,
            cwt: vec![1, 2, 3],
        }
    }

    #[test]
    fn a_grant_comes_back_as_it_was_stored_and_its_tag_is_taken_at_its_lock_alone() {
        let mut state = SqliteState::in_memory().unwrap();
        let first = row([1, 1, 1, 1, 0, 0, 0, 1], 7);
        assert!(state.add_grant(&first).unwrap());
        assert_eq!(state.grant(first.id).unwrap(), Some(first.clone()));
        assert!(!state.add_grant(&row([1, 1, 1, 1, 9, 9, 9, 9], 7)).unwrap(), "the same first four bytes");
        assert!(!state.add_grant(&row(first.id, 8)).unwrap(), "the same id");
        assert!(state.add_grant(&row([1, 1, 1, 1, 9, 9, 9, 9], 8)).unwrap(), "at another lock");
        assert_eq!(state.grant_name(LockId([7; 8]), 0x0101_0101).unwrap().as_deref(), Some("Ada"));
        assert_eq!(state.grants(None).unwrap().len(), 2);
        assert_eq!(state.grants(Some(LockId([7; 8]))).unwrap(), [first]);
        state.prune_grants(101).unwrap();
        assert_eq!(state.grants(None).unwrap(), []);
    }

    #[test]
    fn a_state_that_was_put_back_is_unsure_of_its_epoch_and_forgets_no_key() {
        let mut state = SqliteState::in_memory().unwrap();
        let list = ListRow { epoch: 4, at: 9, ..ListRow::default() };
        let key = RevokedRow { thumbprint: [1; 32], since: 8, until: Some(100) };
        state.put_list(&list, &[key]).unwrap();
        assert_eq!((state.list().unwrap(), state.revoked().unwrap()), (list, vec![key]));
        restored(&state.db).unwrap();
        assert_eq!(state.list().unwrap(), ListRow { unsure: true, restored: true, ..list });
        assert_eq!(state.revoked().unwrap(), [RevokedRow { until: None, ..key }]);
    }
}
