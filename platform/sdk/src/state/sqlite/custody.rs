//! What gateways may forget: the rows behind `seen`, and the numbers that came ahead of a hole.
//!
//! Everything here is bounded by the number of enrolled locks, whatever a broker's clients publish: the session
//! core brings only their frames, a lock has [`MAX_SEEN_GATEWAYS`] gateways, and each of them [`MAX_AHEAD`] notes.
//! Forgetting is always safe, because what is forgotten is not acknowledged: its gateway sends it again, and
//! the replay set and the log tell a repeat from a new frame. A forgotten note must only never be mistaken for
//! one that is there, which would give a hole up too early.

use cardea_framing::LockId;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{int, uint};
use crate::{Error, MAX_AHEAD, MAX_SEEN_GATEWAYS, Noted, SeenRow, Taken};

/// [`MAX_AHEAD`] as SQLite counts.
pub(super) fn most_ahead() -> i64 {
    i64::try_from(MAX_AHEAD).unwrap_or(i64::MAX)
}

pub(super) fn seen(db: &Connection, gateway: &str, lock: LockId) -> Result<Option<SeenRow>, Error> {
    Ok(db
        .prepare_cached("SELECT epoch, seq, at FROM seen WHERE gateway=?1 AND lock=?2")?
        .query_row(params![gateway, lock.0], |r| {
            Ok(SeenRow { epoch: r.get(0)?, seq: uint(r.get(1)?), at: uint(r.get(2)?) })
        })
        .optional()?)
}

pub(super) fn put_seen(db: &Connection, gateway: &str, lock: LockId, seen: &SeenRow) -> Result<(), Error> {
    let newcomer = db
        .prepare_cached("UPDATE seen SET epoch=?3, seq=?4, at=?5 WHERE gateway=?1 AND lock=?2")?
        .execute(params![gateway, lock.0, seen.epoch, int(seen.seq), int(seen.at)])?
        == 0;
    if newcomer {
        make_room(db, lock)?;
        db.prepare_cached("INSERT INTO seen VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
            gateway,
            lock.0,
            seen.epoch,
            int(seen.seq),
            int(seen.at)
        ])?;
    }
    // Notes of earlier runs mean nothing any more: a new epoch numbers everything unseen again.
    db.prepare_cached("DELETE FROM ahead WHERE gateway=?1 AND lock=?2 AND epoch<>?3")?
        .execute(params![gateway, lock.0, seen.epoch])?;
    Ok(())
}

/// Leaves one place free for another gateway of this lock.
fn make_room(db: &Connection, lock: LockId) -> Result<(), Error> {
    let most = i64::try_from(MAX_SEEN_GATEWAYS).unwrap_or(i64::MAX).saturating_sub(1);
    let silent: Vec<String> = db
        .prepare_cached(
            "SELECT gateway FROM seen WHERE lock=?1 ORDER BY at DESC, gateway LIMIT -1 OFFSET ?2",
        )?
        .query_map(params![lock.0, most], |r| r.get(0))?
        .collect::<Result<_, _>>()?;
    for gateway in silent {
        tracing::debug!(%lock, gateway, "reception through a gateway that was silent for longest is forgotten");
        db.prepare_cached("DELETE FROM seen WHERE gateway=?1 AND lock=?2")?
            .execute(params![gateway, lock.0])?;
        db.prepare_cached("DELETE FROM ahead WHERE gateway=?1 AND lock=?2")?
            .execute(params![gateway, lock.0])?;
    }
    Ok(())
}

/// The lowest numbers stay, whatever the order they come in: the one behind the hole is always among them, so that
/// its repeats are counted and the hole is given up in the end.
pub(super) fn note_ahead(
    db: &Connection,
    gateway: &str,
    lock: LockId,
    epoch: [u8; 8],
    seq: u64,
) -> Result<Noted, Error> {
    let added = db
        .prepare_cached("INSERT OR IGNORE INTO ahead VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![gateway, lock.0, epoch, int(seq)])?;
    if added == 0 {
        return Ok(Noted::Known);
    }
    let beyond: Option<i64> = db
        .prepare_cached(
            "SELECT seq FROM ahead WHERE gateway=?1 AND lock=?2 AND epoch=?3 ORDER BY seq LIMIT 1 OFFSET ?4",
        )?
        .query_row(params![gateway, lock.0, epoch, most_ahead()], |r| r.get(0))
        .optional()?;
    let Some(beyond) = beyond else { return Ok(Noted::New) };
    db.prepare_cached("DELETE FROM ahead WHERE gateway=?1 AND lock=?2 AND epoch=?3 AND seq=?4")?
        .execute(params![gateway, lock.0, epoch, beyond])?;
    Ok(if beyond == int(seq) { Noted::Full } else { Noted::New })
}

pub(super) fn take_ahead(
    db: &Connection,
    gateway: &str,
    lock: LockId,
    epoch: [u8; 8],
    seq: u64,
) -> Result<Taken, Error> {
    let below = db
        .prepare_cached("DELETE FROM ahead WHERE gateway=?1 AND lock=?2 AND epoch=?3 AND seq<?4")?
        .execute(params![gateway, lock.0, epoch, int(seq)])?;
    let mut take =
        db.prepare_cached("DELETE FROM ahead WHERE gateway=?1 AND lock=?2 AND epoch=?3 AND seq=?4")?;
    take.execute(params![gateway, lock.0, epoch, int(seq)])?;
    let mut upto = seq;
    while take.execute(params![gateway, lock.0, epoch, int(upto.saturating_add(1))])? == 1 {
        upto = upto.saturating_add(1);
    }
    Ok(Taken { upto, below: u64::try_from(below).unwrap_or(u64::MAX) })
}

/// Forgets gateways that have brought nothing since.
pub(super) fn prune(db: &Connection, before: u64) -> Result<(), Error> {
    db.execute("DELETE FROM seen WHERE at<?1", [int(before)])?;
    db.execute(
        "DELETE FROM ahead WHERE NOT EXISTS
           (SELECT 1 FROM seen WHERE seen.gateway=ahead.gateway AND seen.lock=ahead.lock)",
        [],
    )?;
    Ok(())
}
