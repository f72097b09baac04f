//! The relay's changes as SQL.

use cardea_core::{AddressRecord, Change, DownRecord, Gap, LockRecord, Row, Shed};
use cardea_framing::{Class, LockId};
use rusqlite::{Connection, OptionalExtension};

use crate::sql;

/// Rows looked at in one step while making room.
const STEP: u32 = 256;

/// What a transaction dropped.
#[derive(Debug, Default)]
pub(crate) struct Dropped {
    pub(crate) shed: Vec<Shed>,
    pub(crate) gaps: Vec<Gap>,
}

impl Dropped {
    pub(crate) fn extend(&mut self, other: Self) {
        self.shed.extend(other.shed);
        for gap in other.gaps {
            self.gap(gap);
        }
    }

    /// The newest word on each gap counts.
    fn gap(&mut self, gap: Gap) {
        match self.gaps.iter_mut().find(|g| g.lock == gap.lock && g.class == gap.class) {
            Some(same) => *same = gap,
            None => self.gaps.push(gap),
        }
    }
}

/// Makes one change inside the caller's transaction.
pub(crate) fn apply(c: &Connection, change: &Change, dropped: &mut Dropped) -> rusqlite::Result<()> {
    match change {
        Change::InsertRow(row) => insert(c, row),
        Change::DeleteRow(row) => delete(c, *row),
        Change::DropRow(row) => drop_row(c, *row, dropped),
        Change::Shed { lock, bytes, spare } => shed(c, *lock, *bytes, *spare, dropped),
        Change::InsertGap(gap) => {
            dropped.gap(add_gap(c, gap)?);
            Ok(())
        }
        Change::DeleteGap(gap) => {
            let mut s = c.prepare_cached("DELETE FROM gap WHERE lock = ?1 AND class = ?2 AND frames = ?3")?;
            s.execute((gap.lock.0, u8::from(gap.class), gap.frames.cast_signed())).map(drop)
        }
        Change::PutLock(LockRecord { lock, radio }) => {
            let mut s = c.prepare_cached("INSERT OR REPLACE INTO lock (lock, radio) VALUES (?1, ?2)")?;
            s.execute((lock.0, radio)).map(drop)
        }
        Change::DeleteLock(lock) => {
            c.prepare_cached("DELETE FROM lock WHERE lock = ?1")?.execute([lock.0]).map(drop)
        }
        Change::PutAddress(AddressRecord { address, lock, freed }) => {
            let mut s = c.prepare_cached(
                "INSERT OR REPLACE INTO address (address, lock, freed) VALUES (?1, ?2, ?3)",
            )?;
            s.execute((address, lock.map(|lock| lock.0), freed.cast_signed())).map(drop)
        }
        Change::PutDown(down) => put_down(c, down),
        Change::DeleteDown(id) => {
            c.prepare_cached("DELETE FROM down WHERE id = ?1")?.execute([id.0]).map(drop)
        }
    }
}

/// Rows of one lock in order, behind `after` and up to `through`.
pub(crate) fn page(
    c: &Connection,
    lock: LockId,
    after: u64,
    through: u64,
    limit: u32,
) -> rusqlite::Result<Vec<Row>> {
    let columns = sql::ROW;
    let mut s = c.prepare_cached(&format!(
        "SELECT {columns} FROM outbox WHERE lock = ?1 AND row > ?2 AND row <= ?3 ORDER BY row LIMIT ?4"
    ))?;
    s.query_map((lock.0, after.cast_signed(), through.cast_signed(), limit), sql::row)?.collect()
}

/// Idempotent: a write whose answer was lost may be made again.
fn insert(c: &Connection, row: &Row) -> rusqlite::Result<()> {
    let columns = sql::ROW;
    let mut s = c.prepare_cached(&format!(
        "INSERT OR REPLACE INTO outbox ({columns}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
    ))?;
    let q = &row.meta.quality;
    s.execute((
        row.row.cast_signed(),
        row.lock.0,
        u8::from(row.class),
        row.id.0,
        &row.data[..],
        &row.meta.radio,
        q.rssi,
        q.snr,
        q.lqi,
        row.meta.at.cast_signed(),
        row.meta.synced,
    ))
    .map(drop)
}

fn delete(c: &Connection, row: u64) -> rusqlite::Result<()> {
    c.prepare_cached("DELETE FROM outbox WHERE row = ?1")?.execute([row.cast_signed()]).map(drop)
}

/// A row on its way out.
struct Leaving {
    shed: Shed,
    gap: Gap,
}

const LEAVING: &str = "row, lock, class, length(data), id, at";

fn leaving(r: &rusqlite::Row<'_>) -> rusqlite::Result<Leaving> {
    let (lock, class, at) = (sql::lock(r, 1)?, sql::class(r, 2)?, sql::unsigned(r, 5)?);
    let length = usize::try_from(r.get::<_, u32>(3)?).unwrap_or(usize::MAX);
    let id = cardea_envelope::MessageId(r.get(4)?);
    Ok(Leaving {
        shed: Shed { row: sql::unsigned(r, 0)?, lock, class, weight: Row::weight_of(length) },
        gap: Gap { id, lock, class, frames: 1, first: at, last: at },
    })
}

fn drop_row(c: &Connection, row: u64, dropped: &mut Dropped) -> rusqlite::Result<()> {
    let mut s = c.prepare_cached(&format!("SELECT {LEAVING} FROM outbox WHERE row = ?1"))?;
    if let Some(gone) = s.query_row([row.cast_signed()], leaving).optional()? {
        let gap = add_gap(c, &gone.gap)?;
        dropped.gap(gap);
        delete(c, row)?;
        dropped.shed.push(gone.shed);
    }
    Ok(())
}

/// Drops the oldest rows of the lowest class until so many bytes are free, and some to spare of the last class
/// that had to be touched.
fn shed(
    c: &Connection,
    lock: Option<LockId>,
    bytes: u64,
    spare: u64,
    dropped: &mut Dropped,
) -> rusqlite::Result<()> {
    let enough = bytes.saturating_add(spare);
    let mut freed = 0_u64;
    for class in Class::ALL.into_iter().rev() {
        if freed >= bytes {
            break;
        }
        while freed < enough {
            let oldest = oldest(c, lock, class)?;
            if oldest.is_empty() {
                break;
            }
            let mut gaps: Vec<Gap> = Vec::new();
            for gone in oldest {
                if freed >= enough {
                    break;
                }
                delete(c, gone.shed.row)?;
                freed = freed.saturating_add(gone.shed.weight);
                match gaps.iter_mut().find(|g| g.lock == gone.gap.lock) {
                    Some(same) => same.merge(&gone.gap),
                    None => gaps.push(gone.gap),
                }
                dropped.shed.push(gone.shed);
            }
            for gap in gaps {
                dropped.gap(add_gap(c, &gap)?);
            }
        }
    }
    Ok(())
}

fn oldest(c: &Connection, lock: Option<LockId>, class: Class) -> rusqlite::Result<Vec<Leaving>> {
    let class = u8::from(class);
    match lock {
        Some(lock) => c
            .prepare_cached(&format!(
                "SELECT {LEAVING} FROM outbox WHERE lock = ?1 AND class = ?2 ORDER BY row LIMIT {STEP}"
            ))?
            .query_map((lock.0, class), leaving)?
            .collect(),
        None => c.prepare_cached(&oldest_of_all(class))?.query_map([], leaving)?.collect(),
    }
}

/// The planner takes a partial index only where its condition is repeated word for word.
pub(crate) fn oldest_of_all(class: u8) -> String {
    let low = if class >= 2 { "AND class >= 2" } else { "" };
    format!("SELECT {LEAVING} FROM outbox WHERE class = {class} {low} ORDER BY row LIMIT {STEP}")
}

/// Adds to the open gap of this lock and class, or opens one; gives it as it now is.
fn add_gap(c: &Connection, gap: &Gap) -> rusqlite::Result<Gap> {
    let columns = sql::GAP;
    let mut s = c.prepare_cached(&format!(
        "INSERT INTO gap ({columns}) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (lock, class) DO UPDATE SET frames = frames + excluded.frames,
             first = min(first, excluded.first), last = max(last, excluded.last)
         RETURNING {columns}"
    ))?;
    s.query_row(
        (
            gap.lock.0,
            u8::from(gap.class),
            gap.id.0,
            gap.frames.cast_signed(),
            gap.first.cast_signed(),
            gap.last.cast_signed(),
        ),
        sql::gap,
    )
}

fn put_down(c: &Connection, down: &DownRecord) -> rusqlite::Result<()> {
    let columns = sql::DOWN;
    let mut s = c.prepare_cached(&format!(
        "INSERT OR REPLACE INTO down ({columns}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
    ))?;
    s.execute((
        down.id.0,
        down.lock.0,
        down.not_after.cast_signed(),
        sql::state_number(down.state),
        &down.reason,
        down.at.cast_signed(),
        &down.data[..],
        down.told,
    ))
    .map(drop)
}
