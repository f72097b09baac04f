//! A [`NetworkStore`] in memory, for tests: it can be told to fail, and it outlives the driver that uses it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::{Change, NetworkStore, NetworkStoreError, Record};

/// Forgets everything when its last clone is dropped; the shipped daemon uses the encrypted store instead.
#[derive(Clone, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    failing: bool,
    commits: u64,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// While `failing`, every commit is refused and nothing changes.
    pub fn set_failing(&self, failing: bool) {
        self.lock().failing = failing;
    }

    /// How many transactions were committed so far.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.lock().commits
    }

    /// A copy of every record, in key order: what a restarted driver would load.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Record> {
        self.lock().records.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    /// Commits at once; what [`NetworkStore::commit`] does, without the channel.
    ///
    /// # Errors
    /// While the store is told to fail.
    pub fn commit_now(&self, batch: Vec<Change>) -> Result<(), NetworkStoreError> {
        let mut inner = self.lock();
        if inner.failing {
            return Err(NetworkStoreError("told to fail".into()));
        }
        for change in batch {
            match change.value {
                Some(value) => inner.records.insert(change.key, value),
                None => inner.records.remove(&change.key),
            };
        }
        inner.commits += 1;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panicking test must not hide the records from the assertions that follow.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NetworkStore for MemoryStore {
    fn load(&self) -> Result<Vec<Record>, NetworkStoreError> {
        Ok(self.snapshot())
    }

    fn commit(&self, batch: Vec<Change>) -> oneshot::Receiver<Result<(), NetworkStoreError>> {
        let (tx, rx) = oneshot::channel();
        // The receiver may be gone already; the commit stands all the same.
        let _ = tx.send(self.commit_now(batch));
        rx
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_store_changes_nothing() {
        let store = MemoryStore::new();
        let put = |v: u8| vec![Change { key: b"k".to_vec(), value: Some(vec![v]) }];
        store.commit_now(put(1)).unwrap();
        store.set_failing(true);
        assert!(store.commit(put(2)).blocking_recv().unwrap().is_err());
        assert_eq!(store.snapshot(), vec![(b"k".to_vec(), vec![1])]);
        store.set_failing(false);
        store.commit_now(vec![Change { key: b"k".to_vec(), value: None }]).unwrap();
        assert!(store.load().unwrap().is_empty());
        assert_eq!(store.commits(), 2);
    }

    #[test]
    fn what_a_record_holds_is_not_printed() {
        let change = Change { key: b"433/lock/a0".to_vec(), value: Some(vec![0x5A; 16]) };
        assert_eq!(format!("{change:?}"), "Change(433/lock/a0: 16 bytes)");
        let secret = crate::AdmissionSecret::Subghz { secret: [0x5A; 16].into() };
        let admission = crate::Admission { lock: cardea_framing::LockId([1; 8]), secret };
        let command = format!("{:?}", crate::Command::Admit(admission));
        assert!(!command.contains("90, 90") && !command.to_lowercase().contains("5a5a"), "{command}");
    }
}
