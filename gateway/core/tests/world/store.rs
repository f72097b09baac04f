//! A store that forgets what it had not committed.

use std::collections::{BTreeMap, VecDeque};

use cardea_core::{
    Backlog, Change, DownRecord, Failure, FailureKind, Gap, LockRecord, Row, Snapshot, StoreReply,
};
use cardea_envelope::MessageId;
use cardea_framing::LockId;

#[derive(Default)]
pub(crate) struct FakeStore {
    pub(crate) pending: VecDeque<(u64, Vec<Change>)>,
    pub(crate) locks: Vec<LockRecord>,
    pub(crate) rows_written: u64,
    rows: BTreeMap<u64, Row>,
    downs: BTreeMap<MessageId, DownRecord>,
    gaps: Vec<Gap>,
}

impl FakeStore {
    /// Commits the oldest write, or fails it.
    pub(crate) fn work(&mut self, fails: bool) -> Option<StoreReply> {
        let (ticket, changes) = self.pending.pop_front()?;
        let tickets = vec![ticket];
        if fails {
            let failure = Failure { kind: FailureKind::Io, detail: "no luck".into() };
            return Some(StoreReply::Failed { tickets, failure });
        }
        for change in changes {
            match change {
                Change::InsertRow(row) => {
                    self.rows_written += 1;
                    let twin = self.rows.values().find(|r| r.id == row.id && r.row != row.row);
                    assert!(twin.is_none(), "a datagram was kept twice");
                    self.rows.insert(row.row, row);
                }
                Change::DeleteRow(row) => drop(self.rows.remove(&row)),
                Change::PutDown(down) => {
                    if let Some(old) = self.downs.get(&down.id).filter(|d| d.state.is_terminal()) {
                        assert_eq!(old.state, down.state, "a terminal state changed on disk");
                    }
                    self.downs.insert(down.id, down);
                }
                Change::DeleteDown(id) => drop(self.downs.remove(&id)),
                Change::InsertGap(gap) => self.gaps.push(gap),
                Change::DeleteGap(gap) => self.gaps.retain(|g| *g != gap),
                other => panic!("not in this simulation: {other:?}"),
            }
        }
        Some(StoreReply::Committed { tickets, shed: Vec::new(), gaps: Vec::new() })
    }

    pub(crate) fn page(&self, lock: LockId, after: u64, through: u64, limit: u32) -> StoreReply {
        let rows = self
            .rows
            .range(after + 1..=through)
            .map(|(_, r)| r)
            .filter(|r| r.lock == lock)
            .take(limit as usize);
        StoreReply::Page { lock, after, through, limit, rows: Ok(rows.cloned().collect()) }
    }

    pub(crate) fn crash(&mut self) {
        self.pending.clear();
    }

    pub(crate) fn is_empty_of_rows(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut backlog: BTreeMap<LockId, Backlog> = BTreeMap::new();
        for row in self.rows.values() {
            let entry = backlog.entry(row.lock).or_insert(Backlog {
                lock: row.lock,
                rows: [0; 4],
                weight: 0,
                last: 0,
                recent: Vec::new(),
            });
            entry.rows[usize::from(u8::from(row.class))] += 1;
            entry.weight += row.weight();
            entry.last = row.row;
            entry.recent.push(row.id);
        }
        for entry in backlog.values_mut() {
            let old = entry.recent.len().saturating_sub(8);
            entry.recent.drain(..old);
        }
        Snapshot {
            locks: self.locks.clone(),
            backlog: backlog.into_values().collect(),
            gaps: self.gaps.clone(),
            downs: self.downs.values().cloned().collect(),
            addresses: Vec::new(),
        }
    }
}
