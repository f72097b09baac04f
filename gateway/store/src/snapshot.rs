//! Everything the relay needs to know at its start.

use std::collections::BTreeMap;

use cardea_core::{AddressRecord, Backlog, LockRecord, Row, Snapshot};
use cardea_envelope::MessageId;
use cardea_framing::LockId;
use rusqlite::Connection;

use crate::sql;

/// Uplink ids of each lock's newest rows: what it may send again because a receipt got lost.
const RECENT: u32 = 8;

pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Snapshot> {
    let mut statement = connection.prepare("SELECT lock, radio FROM lock ORDER BY lock")?;
    let locks = statement
        .query_map([], |r| Ok(LockRecord { lock: sql::lock(r, 0)?, radio: r.get(1)? }))?
        .collect::<rusqlite::Result<_>>()?;
    let mut statement = connection.prepare("SELECT address, lock, freed FROM address ORDER BY address")?;
    let addresses = statement
        .query_map([], |r| {
            let lock = r.get::<_, Option<[u8; 8]>>(1)?.map(LockId);
            Ok(AddressRecord { address: r.get(0)?, lock, freed: sql::unsigned(r, 2)? })
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut statement = connection.prepare(&format!("SELECT {} FROM gap", sql::GAP))?;
    let gaps = statement.query_map([], sql::gap)?.collect::<rusqlite::Result<_>>()?;
    let mut statement = connection.prepare(&format!("SELECT {} FROM down ORDER BY at", sql::DOWN))?;
    let downs = statement.query_map([], sql::down)?.collect::<rusqlite::Result<_>>()?;
    Ok(Snapshot { locks, addresses, backlog: backlog(connection)?, gaps, downs })
}

fn backlog(connection: &Connection) -> rusqlite::Result<Vec<Backlog>> {
    let mut all: BTreeMap<LockId, Backlog> = BTreeMap::new();
    let mut statement = connection.prepare(
        "SELECT lock, class, count(*), sum(length(data)), max(row) FROM outbox GROUP BY lock, class",
    )?;
    let mut rows = statement.query([])?;
    while let Some(r) = rows.next()? {
        let lock = sql::lock(r, 0)?;
        let class = sql::class(r, 1)?;
        let count: u32 = r.get(2)?;
        let bytes = sql::unsigned(r, 3)?;
        let last = sql::unsigned(r, 4)?;
        let entry =
            all.entry(lock).or_insert(Backlog { lock, rows: [0; 4], weight: 0, last: 0, recent: Vec::new() });
        if let Some(slot) = entry.rows.get_mut(usize::from(u8::from(class))) {
            *slot = count;
        }
        let overhead = u64::from(count).saturating_mul(Row::weight_of(0));
        entry.weight = entry.weight.saturating_add(bytes).saturating_add(overhead);
        entry.last = entry.last.max(last);
    }
    let mut statement =
        connection.prepare("SELECT id FROM outbox WHERE lock = ?1 ORDER BY row DESC LIMIT ?2")?;
    for entry in all.values_mut() {
        let newest = statement.query_map((entry.lock.0, RECENT), |r| r.get(0).map(MessageId))?;
        entry.recent = newest.collect::<rusqlite::Result<_>>()?;
        entry.recent.reverse();
    }
    Ok(all.into_values().collect())
}
