//! Between our types and SQLite's columns. Unsigned numbers keep their bits in SQLite's signed ones.

use bytes::Bytes;
use cardea_core::{DownRecord, Gap, Row, RowMeta};
use cardea_envelope::{MessageId, ResultState};
use cardea_framing::{Class, LockId};
use cardea_radio::Quality;
use rusqlite::types::Type;

/// The columns of [`row`], in its order.
pub(crate) const ROW: &str = "row, lock, class, id, data, radio, rssi, snr, lqi, at, synced";

/// The columns of [`gap`], in its order.
pub(crate) const GAP: &str = "lock, class, id, frames, first, last";

/// The columns of [`down`], in its order.
pub(crate) const DOWN: &str = "id, lock, not_after, state, reason, at, data, told";

pub(crate) fn lock(r: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<LockId> {
    r.get(column).map(LockId)
}

pub(crate) fn class(r: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Class> {
    let number: u8 = r.get(column)?;
    Class::try_from(number).map_err(|_| wrong(column, "a class that does not exist"))
}

pub(crate) fn unsigned(r: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    r.get(column).map(i64::cast_unsigned)
}

pub(crate) fn row(r: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        row: unsigned(r, 0)?,
        lock: lock(r, 1)?,
        class: class(r, 2)?,
        id: MessageId(r.get(3)?),
        data: Bytes::from(r.get::<_, Vec<u8>>(4)?),
        meta: RowMeta {
            radio: r.get(5)?,
            quality: Quality { rssi: r.get(6)?, snr: r.get(7)?, lqi: r.get(8)? },
            at: unsigned(r, 9)?,
            synced: r.get(10)?,
        },
    })
}

pub(crate) fn gap(r: &rusqlite::Row<'_>) -> rusqlite::Result<Gap> {
    Ok(Gap {
        lock: lock(r, 0)?,
        class: class(r, 1)?,
        id: MessageId(r.get(2)?),
        frames: unsigned(r, 3)?,
        first: unsigned(r, 4)?,
        last: unsigned(r, 5)?,
    })
}

pub(crate) fn down(r: &rusqlite::Row<'_>) -> rusqlite::Result<DownRecord> {
    Ok(DownRecord {
        id: MessageId(r.get(0)?),
        lock: lock(r, 1)?,
        not_after: unsigned(r, 2)?,
        state: state(r.get(3)?).ok_or_else(|| wrong(3, "a state that does not exist"))?,
        reason: r.get(4)?,
        at: unsigned(r, 5)?,
        data: Bytes::from(r.get::<_, Vec<u8>>(6)?),
        told: r.get(7)?,
    })
}

pub(crate) const fn state_number(state: ResultState) -> u8 {
    match state {
        ResultState::Queued => 0,
        ResultState::Sent => 1,
        ResultState::Delivered => 2,
        ResultState::Expired => 3,
        ResultState::Refused => 4,
        ResultState::Failed => 5,
    }
}

const fn state(number: u8) -> Option<ResultState> {
    Some(match number {
        0 => ResultState::Queued,
        1 => ResultState::Sent,
        2 => ResultState::Delivered,
        3 => ResultState::Expired,
        4 => ResultState::Refused,
        5 => ResultState::Failed,
        _ => return None,
    })
}

fn wrong(column: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Integer, what.into())
}
