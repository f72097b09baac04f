//! Sites: their authorities, and what locks know.

use cardea_resources::SiteState;
use rusqlite::params;

use super::{SqliteState, int, lock_id, uint};
use crate::{AuthorityRow, Error, SiteRow, SiteStore, ToldRow};

/// What version 4 of the tables has beside version 3.
pub(super) const TABLES: &str = "
CREATE TABLE authority (
  site BLOB PRIMARY KEY, key BLOB NOT NULL, version INTEGER NOT NULL, cwt BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE lock_site (
  lock BLOB PRIMARY KEY, site BLOB NOT NULL, version INTEGER NOT NULL, told_activation INTEGER, told_site BLOB,
  told_version INTEGER, told_epoch INTEGER, state BLOB, state_at INTEGER) WITHOUT ROWID;
";

impl SiteStore for SqliteState {
    fn lock_sites(&mut self) -> Result<Vec<SiteRow>, Error> {
        let mut query = self.db.prepare_cached(
            "SELECT lock, site, version, told_activation, told_site, told_version, told_epoch, state, state_at
             FROM lock_site",
        )?;
        let rows = query.query_map([], |r| {
            let told = match r.get(3)? {
                None => None,
                Some(activation) => {
                    Some(ToldRow { activation, site: r.get(4)?, version: r.get(5)?, epoch: r.get(6)? })
                }
            };
            let state: Option<Vec<u8>> = r.get(7)?;
            let at: Option<i64> = r.get(8)?;
            // As the lock encoded it; one that cannot be read is asked for again.
            let state = state.as_deref().and_then(|bytes| SiteState::decode(bytes).ok());
            Ok(SiteRow {
                lock: lock_id(r, 0)?,
                site: r.get(1)?,
                version: r.get(2)?,
                told,
                state: state.zip(at.map(uint)),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn put_lock_site(&mut self, row: &SiteRow) -> Result<(), Error> {
        let state = row.state.and_then(|(state, at)| {
            let mut out = vec![0; SiteState::MAX_LEN];
            let length = state.encode(&mut out).ok()?;
            out.truncate(length);
            Some((out, int(at)))
        });
        let (state, at) = state.unzip();
        self.db
            .prepare_cached("INSERT OR REPLACE INTO lock_site VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?
            .execute(params![
                row.lock.0,
                row.site,
                row.version,
                row.told.map(|told| told.activation),
                row.told.map(|told| told.site),
                row.told.map(|told| told.version),
                row.told.map(|told| told.epoch),
                state,
                at,
            ])?;
        Ok(())
    }

    fn authorities(&mut self) -> Result<Vec<AuthorityRow>, Error> {
        let mut query = self.db.prepare_cached("SELECT site, key, version, cwt FROM authority")?;
        let rows = query.query_map([], |r| {
            Ok(AuthorityRow { site: r.get(0)?, key: r.get(1)?, version: r.get(2)?, cwt: r.get(3)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn put_authority(&mut self, row: &AuthorityRow) -> Result<(), Error> {
        self.db
            .prepare_cached("INSERT OR REPLACE INTO authority VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![row.site, row.key, row.version, row.cwt])?;
        Ok(())
    }
}
