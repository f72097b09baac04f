//! NVM in RAM for the unit tests.

use std::collections::BTreeMap;
use std::vec::Vec;

use crate::board::{Slot, Storage, StorageFault};

#[derive(Default)]
pub(crate) struct MemoryStorage(BTreeMap<Slot, Vec<u8>>);

impl Storage for MemoryStorage {
    fn read(&mut self, slot: Slot, out: &mut [u8]) -> Result<Option<usize>, StorageFault> {
        let Some(record) = self.0.get(&slot) else { return Ok(None) };
        out.get_mut(..record.len()).ok_or(StorageFault)?.copy_from_slice(record);
        Ok(Some(record.len()))
    }

    fn write(&mut self, slot: Slot, record: &[u8]) -> Result<(), StorageFault> {
        assert!(record.len() <= slot.max_len(), "{slot:?} holds {} bytes", record.len());
        self.0.insert(slot, record.to_vec());
        Ok(())
    }

    fn erase(&mut self, slot: Slot) -> Result<(), StorageFault> {
        self.0.remove(&slot);
        Ok(())
    }
}
