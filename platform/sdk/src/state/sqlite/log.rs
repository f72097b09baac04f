//! Events of locks, and entries that contradict them.

use cardea_framing::LockId;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{int, uint};
use crate::{Error, LogRow, MAX_FORKS, Stored};

pub(super) fn add(db: &Connection, lock: LockId, row: &LogRow) -> Result<Stored, Error> {
    let added = insert(db, "OR IGNORE INTO log", lock, row)?;
    if added == 1 {
        return Ok(Stored::New);
    }
    let kept = db
        .prepare_cached(
            "SELECT activation, number, kind, value, at, received, gateway FROM log
             WHERE lock=?1 AND activation=?2 AND number=?3",
        )?
        .query_row(params![lock.0, row.activation, row.index], read)
        .optional()?;
    match kept {
        Some(kept) if !is_same(&kept, row) => contradict(db, lock, row, kept),
        _ => Ok(Stored::Repeat),
    }
}

/// Both tables have these columns. Says how many rows it added.
fn insert(db: &Connection, into: &str, lock: LockId, row: &LogRow) -> Result<usize, Error> {
    let columns = "lock, activation, number, kind, value, at, received, gateway";
    let insert = format!("INSERT {into} ({columns}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
    let LogRow { activation, index, kind, value, at, received, gateway } = row;
    let values = params![lock.0, activation, index, kind, value, at, int(*received), gateway];
    Ok(db.prepare_cached(&insert)?.execute(values)?)
}

/// What the lock said; how and when it came here may differ.
fn is_same(kept: &LogRow, row: &LogRow) -> bool {
    (&kept.kind, kept.value, kept.at) == (&row.kind, row.value, row.at)
}

/// Keeps an entry beside the one that is there.
fn contradict(db: &Connection, lock: LockId, row: &LogRow, kept: LogRow) -> Result<Stored, Error> {
    let mut others = db.prepare_cached(
        "SELECT activation, number, kind, value, at, received, gateway FROM fork
         WHERE lock=?1 AND activation=?2 AND number=?3",
    )?;
    for other in others.query_map(params![lock.0, row.activation, row.index], read)? {
        if is_same(&other?, row) {
            return Ok(Stored::Repeat);
        }
    }
    let room = db
        .prepare_cached("SELECT count(*) FROM fork WHERE lock=?1")?
        .query_row([lock.0], |r| r.get::<_, i64>(0))?
        < i64::try_from(MAX_FORKS).unwrap_or(i64::MAX);
    if room {
        insert(db, "INTO fork", lock, row)?;
    }
    Ok(Stored::Differs(Box::new(kept)))
}

pub(super) fn has(db: &Connection, lock: LockId, activation: u32, index: u32) -> Result<bool, Error> {
    Ok(db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM log WHERE lock=?1 AND activation=?2 AND number=?3)")?
        .query_row(params![lock.0, activation, index], |r| r.get(0))?)
}

pub(super) fn newest(db: &Connection, lock: LockId, limit: u32) -> Result<Vec<LogRow>, Error> {
    let mut query = db.prepare_cached(
        "SELECT activation, number, kind, value, at, received, gateway FROM
           (SELECT * FROM log WHERE lock=?1 ORDER BY id DESC LIMIT ?2) ORDER BY id",
    )?;
    let rows = query.query_map(params![lock.0, limit], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn forks(db: &Connection, lock: LockId) -> Result<Vec<LogRow>, Error> {
    let mut query = db.prepare_cached(
        "SELECT activation, number, kind, value, at, received, gateway FROM fork WHERE lock=?1 ORDER BY id",
    )?;
    let rows = query.query_map([lock.0], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn prune(db: &Connection, before: u64) -> Result<(), Error> {
    db.execute("DELETE FROM log WHERE received<?1", [int(before)])?;
    db.execute("DELETE FROM fork WHERE received<?1", [int(before)])?;
    Ok(())
}

fn read(r: &Row<'_>) -> rusqlite::Result<LogRow> {
    Ok(LogRow {
        activation: r.get(0)?,
        index: r.get(1)?,
        kind: r.get(2)?,
        value: r.get(3)?,
        at: r.get(4)?,
        received: uint(r.get(5)?),
        gateway: r.get(6)?,
    })
}
