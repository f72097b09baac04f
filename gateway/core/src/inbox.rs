//! The downlinks that this gateway knows, by id: what it has accepted or refused, and what became of it.

use std::collections::{BTreeMap, BTreeSet};

use cardea_envelope::{DownlinkResult, MessageId, ResultState, VERSION};
use cardea_framing::LockId;

use crate::records::DownRecord;

/// How long after its `not_after` an id is still answered with its state rather than with `expired`: a broker
/// may bring a message again after the connection in which we acknowledged it broke. Milliseconds.
const AFTERLIFE_MS: u64 = 3_600_000;

/// One known downlink.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) lock: LockId,
    pub(crate) not_after: u64,
    pub(crate) state: ResultState,
    pub(crate) reason: Option<String>,
    pub(crate) at: u64,
    /// This state is the last: a terminal one, or `Sent` where the lock gives no receipt.
    pub(crate) over: bool,
    /// The store has it.
    pub(crate) durable: bool,
}

impl Known {
    pub(crate) fn result(&self, id: MessageId) -> DownlinkResult {
        DownlinkResult {
            v: VERSION,
            id,
            lock: self.lock,
            state: self.state,
            reason: self.reason.clone(),
            at: self.at,
        }
    }

    pub(crate) fn record(&self, id: MessageId, data: bytes::Bytes) -> DownRecord {
        DownRecord {
            id,
            lock: self.lock,
            not_after: self.not_after,
            state: self.state,
            reason: self.reason.clone(),
            at: self.at,
            data,
            told: false,
        }
    }
}

/// All known downlinks.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    known: BTreeMap<MessageId, Known>,
    by_end: BTreeSet<(u64, MessageId)>,
}

impl Inbox {
    pub(crate) fn get(&self, id: &MessageId) -> Option<&Known> {
        self.known.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &MessageId) -> Option<&mut Known> {
        self.known.get_mut(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// Of one lock, newest state first. Looks at all of them: for people, not for the relay.
    pub(crate) fn of(&self, lock: LockId) -> Vec<(MessageId, &Known)> {
        let mut known: Vec<_> = self
            .known
            .iter()
            .filter(|(_, known)| known.lock == lock)
            .map(|(id, known)| (*id, known))
            .collect();
        known.sort_by_key(|(id, known)| (std::cmp::Reverse(known.at), *id));
        known
    }

    pub(crate) fn insert(&mut self, id: MessageId, known: Known) {
        self.by_end.insert((known.not_after, id));
        self.known.insert(id, known);
    }

    fn remove(&mut self, id: &MessageId) {
        if let Some(known) = self.known.remove(id) {
            self.by_end.remove(&(known.not_after, *id));
        }
    }

    /// Forgets an id that is over, to make room; false if none is.
    pub(crate) fn make_room(&mut self, unix_ms: u64) -> Option<MessageId> {
        let id = self
            .by_end
            .iter()
            .take_while(|(end, _)| *end < unix_ms)
            .map(|(_, id)| *id)
            .find(|id| self.known.get(id).is_some_and(|k| k.over && k.durable))?;
        self.remove(&id);
        Some(id)
    }

    /// Forgets ids whose afterlife is over.
    pub(crate) fn sweep(&mut self, unix_ms: u64) -> Vec<MessageId> {
        let over: Vec<_> = self
            .by_end
            .iter()
            .take_while(|(end, _)| end.saturating_add(AFTERLIFE_MS) < unix_ms)
            .map(|(_, id)| *id)
            .filter(|id| self.known.get(id).is_none_or(|k| k.over))
            .take(256)
            .collect();
        over.iter().for_each(|id| self.remove(id));
        over
    }
}
