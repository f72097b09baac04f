//! The results that the broker is still to hear, at most one for each downlink: its newest.

use std::collections::BTreeMap;

use cardea_envelope::{DownlinkResult, MessageId};

/// Results in the order in which they are to be told.
#[derive(Debug, Default)]
pub(crate) struct Results {
    by_turn: BTreeMap<u64, DownlinkResult>,
    turns: BTreeMap<MessageId, u64>,
    last: u64,
}

impl Results {
    pub(crate) fn len(&self) -> usize {
        self.by_turn.len()
    }

    pub(crate) fn holds(&self, id: &MessageId) -> bool {
        self.turns.contains_key(id)
    }

    /// Adds a result; one of the same downlink that still waits gives it its turn.
    pub(crate) fn push(&mut self, result: DownlinkResult) {
        let turn = self.turns.get(&result.id).copied().unwrap_or_else(|| {
            self.last += 1;
            self.last
        });
        self.turns.insert(result.id, turn);
        self.by_turn.insert(turn, result);
    }

    pub(crate) fn pop(&mut self) -> Option<DownlinkResult> {
        let (_, result) = self.by_turn.pop_first()?;
        self.turns.remove(&result.id);
        Some(result)
    }
}
