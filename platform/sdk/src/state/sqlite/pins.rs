//! PIN slots. `secure_delete` overwrites a PIN in the database when it goes, and the write-ahead log is cut then.

use cardea_framing::LockId;
use cardea_resources::{Pin, PinList};
use rusqlite::{Connection, OptionalExtension as _, Row, params, types::Type};
use zeroize::Zeroizing;

use super::{SqliteState, int, lock_id, uint};
use crate::{Error, PinBook, PinRow, PinStop, PinStore, PinTerms, PinWish};

/// Part of version 3 of the tables.
pub(super) const TABLES: &str = "
CREATE TABLE pin_book (
  lock BLOB PRIMARY KEY, capacity INTEGER, highest INTEGER NOT NULL, listed INTEGER) WITHOUT ROWID;
CREATE TABLE pin (
  lock BLOB NOT NULL, slot INTEGER NOT NULL, wish INTEGER NOT NULL, duress INTEGER NOT NULL, not_before INTEGER,
  not_after INTEGER, asked INTEGER NOT NULL, revision INTEGER, digits BLOB, confirmed INTEGER, stopped INTEGER,
  reported INTEGER, reported_at INTEGER, PRIMARY KEY (lock, slot)) WITHOUT ROWID;
";

const NOTHING: u8 = 0;
const SET: u8 = 1;
const CLEAR: u8 = 2;
/// [`PinRow::waits`].
const WAITS: &str = "wish<>0 AND confirmed IS NULL AND stopped IS NULL";

impl PinStore for SqliteState {
    fn pins(&mut self, lock: LockId) -> Result<Vec<PinRow>, Error> {
        let mut query = self.db.prepare_cached(
            "SELECT slot, wish, duress, not_before, not_after, asked, revision, digits, confirmed, stopped, reported,
                    reported_at
             FROM pin WHERE lock=?1 ORDER BY slot",
        )?;
        // Room for all, so that it never grows: it would leave PINs behind.
        let mut pins = Vec::with_capacity(PinList::MAX_SLOTS);
        for row in query.query_map([lock.0], read)? {
            pins.push(row?);
        }
        Ok(pins)
    }

    fn put_pin(&mut self, lock: LockId, row: &PinRow) -> Result<(), Error> {
        let (wish, terms) = match row.wish {
            PinWish::Nothing => (NOTHING, PinTerms::default()),
            PinWish::Set(terms) => (SET, terms),
            PinWish::Clear => (CLEAR, PinTerms::default()),
        };
        self.pin_goes |= had_digits(&self.db, lock, row.slot)?;
        self.db
            .prepare_cached(
                "INSERT OR REPLACE INTO pin VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?
            .execute(params![
                lock.0,
                row.slot,
                wish,
                terms.duress,
                terms.not_before,
                terms.not_after,
                int(row.asked),
                row.revision,
                row.pin.as_ref().map(Pin::digits),
                row.confirmed.map(int),
                row.stopped.map(|stop| stop as u8),
                row.reported,
                row.reported_at.map(int),
            ])?;
        Ok(())
    }

    fn remove_pin(&mut self, lock: LockId, slot: u8) -> Result<(), Error> {
        self.pin_goes |= had_digits(&self.db, lock, slot)?;
        self.db
            .prepare_cached("DELETE FROM pin WHERE lock=?1 AND slot=?2")?
            .execute(params![lock.0, slot])?;
        Ok(())
    }

    fn pin_book(&mut self, lock: LockId) -> Result<PinBook, Error> {
        let book = self
            .db
            .prepare_cached("SELECT capacity, highest, listed FROM pin_book WHERE lock=?1")?
            .query_row([lock.0], |r| {
                Ok(PinBook {
                    capacity: r.get(0)?,
                    highest: r.get(1)?,
                    listed: r.get::<_, Option<i64>>(2)?.map(uint),
                })
            })
            .optional()?;
        Ok(book.unwrap_or_default())
    }

    fn put_pin_book(&mut self, lock: LockId, book: &PinBook) -> Result<(), Error> {
        // A copy from before would give the same revision to another PIN, and the lock would take that for a repeat.
        self.move_fence();
        self.db
            .prepare_cached("INSERT OR REPLACE INTO pin_book VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![lock.0, book.capacity, book.highest, book.listed.map(int)])?;
        Ok(())
    }

    fn pins_waiting(&mut self) -> Result<Vec<LockId>, Error> {
        let mut query = self.db.prepare_cached(&format!(
            "SELECT lock FROM pin WHERE {WAITS} UNION SELECT lock FROM pin_book WHERE listed IS NULL"
        ))?;
        let rows = query.query_map([], |r| lock_id(r, 0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// The state was put back: what waited then is not to be done now, and revisions may have been used since.
pub(super) fn restored(db: &Connection) -> Result<(), Error> {
    db.execute(&format!("UPDATE pin SET stopped=?1, digits=NULL WHERE {WAITS}"), [PinStop::Restored as u8])?;
    db.execute("INSERT OR IGNORE INTO pin_book SELECT lock, NULL, 0, NULL FROM lock WHERE stage=2", [])?;
    db.execute("UPDATE pin_book SET listed=NULL", [])?;
    Ok(())
}

/// After a commit that took a PIN out of the database: takes it out of the write-ahead log, too.
pub(super) fn cut_log(db: &Connection) {
    if let Err(error) = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
        // It goes with the next checkpoint, or when the database is closed.
        tracing::warn!(%error, "a PIN that is not needed any more may still be in the write-ahead log");
    }
}

fn had_digits(db: &Connection, lock: LockId, slot: u8) -> Result<bool, Error> {
    Ok(db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM pin WHERE lock=?1 AND slot=?2 AND digits IS NOT NULL)")?
        .query_row(params![lock.0, slot], |r| r.get(0))?)
}

fn read(r: &Row<'_>) -> rusqlite::Result<PinRow> {
    let digits = r.get::<_, Option<Vec<u8>>>(7)?.map(Zeroizing::new);
    let pin = digits.map(|digits| Pin::new(&digits)).transpose();
    let terms = PinTerms { duress: r.get(2)?, not_before: r.get(3)?, not_after: r.get(4)? };
    Ok(PinRow {
        slot: r.get(0)?,
        wish: match r.get::<_, u8>(1)? {
            NOTHING => PinWish::Nothing,
            SET => PinWish::Set(terms),
            _ => PinWish::Clear,
        },
        asked: uint(r.get(5)?),
        revision: r.get(6)?,
        pin: pin.map_err(|_| rusqlite::Error::InvalidColumnType(7, "digits".into(), Type::Blob))?,
        confirmed: r.get::<_, Option<i64>>(8)?.map(uint),
        stopped: r.get::<_, Option<u8>>(9)?.map(|stop| match stop {
            1 => PinStop::Taken,
            2 => PinStop::NoSuchSlot,
            4 => PinStop::Exhausted,
            _ => PinStop::Restored,
        }),
        reported: r.get(10)?,
        reported_at: r.get::<_, Option<i64>>(11)?.map(uint),
    })
}
