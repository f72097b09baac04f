//! The bounded log in NVM: a ring whose entries go only when the platform says it holds them.

use cardea_resources::{CommandId, EventKind, LogEntry};

use crate::board::{LOG_SLOTS, Slot, Storage, StorageFault};
use crate::bytes::{Reader, Writer};

const RECORD_VERSION: u8 = 1;

/// Entries `cursor..next`, each in slot `index % LOG_SLOTS`.
///
/// A full log takes no further entry, but the index goes on: what was lost shows as a gap. Below the cursor an entry
/// is void; its slot is reused.
#[derive(Default)]
pub(crate) struct Log {
    cursor: u32,
    next: u32,
}

impl Log {
    /// Finds both ends: the cursor is recorded, the newest entry is the highest index in any slot.
    pub(crate) fn load(storage: &mut impl Storage) -> Result<Self, StorageFault> {
        let mut record = [0; Slot::LogMeta.max_len()];
        let recorded = match storage.read(Slot::LogMeta, &mut record)? {
            Some(len) => decode_meta(record.get(..len).unwrap_or_default()),
            None => None,
        };
        let (cursor, mut next) = recorded.unwrap_or((0, 0));
        for slot in 0..LOG_SLOTS {
            if let Some(entry) = read_slot(storage, slot)? {
                next = next.max(entry.index.saturating_add(1));
            }
        }
        Ok(Self { cursor, next })
    }

    /// Begins an empty log at this index. One write.
    pub(crate) fn begin_at(storage: &mut impl Storage, index: u32) -> Result<(), StorageFault> {
        write_meta(storage, index, index)
    }

    /// The index that the next entry gets.
    pub(crate) fn end(&self) -> u32 {
        self.next
    }

    /// Appends, one write. The index, or `None` when the log is full and the entry became a gap.
    pub(crate) fn append(
        &mut self,
        storage: &mut impl Storage,
        kind: EventKind,
        at: Option<u32>,
        value: Option<u32>,
        command: Option<CommandId>,
    ) -> Result<Option<u32>, StorageFault> {
        let index = self.next;
        let Some(next) = index.checked_add(1) else { return Ok(None) };
        if index.saturating_sub(self.cursor) >= u32::from(LOG_SLOTS) {
            write_meta(storage, self.cursor, next)?;
            self.next = next;
            return Ok(None);
        }
        let mut record = [0; LogEntry::MAX_LEN];
        let len =
            LogEntry { index, kind, at, value, command }.encode(&mut record).map_err(|_| StorageFault)?;
        storage.write(slot_of(index), record.get(..len).unwrap_or_default())?;
        self.next = next;
        Ok(Some(index))
    }

    /// The entry, unless it is void, lost or not there yet.
    pub(crate) fn entry(
        &self,
        storage: &mut impl Storage,
        index: u32,
    ) -> Result<Option<LogEntry>, StorageFault> {
        if index < self.cursor || index >= self.next {
            return Ok(None);
        }
        let Slot::Log(slot) = slot_of(index) else { return Ok(None) };
        Ok(read_slot(storage, slot)?.filter(|entry| entry.index == index))
    }

    /// The oldest index that may still hold an entry.
    pub(crate) fn start(&self) -> u32 {
        self.cursor
    }

    /// Everything below `cursor` is safe at the platform. One write, none when nothing moves. A cursor beyond the end
    /// is no statement about this log and changes nothing.
    pub(crate) fn erase_below(
        &mut self,
        storage: &mut impl Storage,
        cursor: u32,
    ) -> Result<(), StorageFault> {
        if cursor <= self.cursor || cursor > self.next {
            return Ok(());
        }
        write_meta(storage, cursor, self.next)?;
        self.cursor = cursor;
        Ok(())
    }
}

fn slot_of(index: u32) -> Slot {
    Slot::Log((index % u32::from(LOG_SLOTS)) as u8)
}

fn read_slot(storage: &mut impl Storage, slot: u8) -> Result<Option<LogEntry>, StorageFault> {
    let mut record = [0; Slot::Log(0).max_len()];
    let len = storage.read(Slot::Log(slot), &mut record)?;
    Ok(len.and_then(|len| LogEntry::decode(record.get(..len)?).ok()))
}

fn write_meta(storage: &mut impl Storage, cursor: u32, next: u32) -> Result<(), StorageFault> {
    let mut record = [0; Slot::LogMeta.max_len()];
    let mut writer = Writer::new(&mut record);
    writer.u8(RECORD_VERSION);
    writer.u32(cursor);
    writer.u32(next);
    let len = writer.finish().ok_or(StorageFault)?;
    storage.write(Slot::LogMeta, record.get(..len).unwrap_or_default())
}

fn decode_meta(record: &[u8]) -> Option<(u32, u32)> {
    let mut reader = Reader::new(record);
    if reader.u8()? != RECORD_VERSION {
        return None;
    }
    let ends = (reader.u32()?, reader.u32()?);
    reader.end().then_some(ends)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStorage;

    fn append(log: &mut Log, nvm: &mut MemoryStorage) -> Option<u32> {
        log.append(nvm, EventKind::Bolt, Some(1), Some(0), None).unwrap()
    }

    #[test]
    fn entries_survive_a_reset_and_go_on_the_cursor_only() {
        let mut nvm = MemoryStorage::default();
        let mut log = Log::load(&mut nvm).unwrap();
        for index in 0..3 {
            assert_eq!(append(&mut log, &mut nvm), Some(index));
        }
        let mut log = Log::load(&mut nvm).unwrap();
        assert_eq!((log.start(), log.end()), (0, 3));
        log.erase_below(&mut nvm, 2).unwrap();
        let log = Log::load(&mut nvm).unwrap();
        assert_eq!((log.start(), log.end()), (2, 3));
        assert_eq!(log.entry(&mut nvm, 1).unwrap(), None);
        assert_eq!(log.entry(&mut nvm, 2).unwrap().unwrap().index, 2);
    }

    #[test]
    fn a_full_log_keeps_the_oldest_and_shows_the_gap() {
        let mut nvm = MemoryStorage::default();
        let mut log = Log::load(&mut nvm).unwrap();
        let full = u32::from(LOG_SLOTS);
        for index in 0..full {
            assert_eq!(append(&mut log, &mut nvm), Some(index));
        }
        assert_eq!(append(&mut log, &mut nvm), None);
        assert_eq!(append(&mut log, &mut nvm), None);
        let mut log = Log::load(&mut nvm).unwrap();
        assert_eq!(log.end(), full + 2);
        assert_eq!(log.entry(&mut nvm, 0).unwrap().unwrap().index, 0);
        assert_eq!(log.entry(&mut nvm, full).unwrap(), None);
        log.erase_below(&mut nvm, full).unwrap();
        assert_eq!(append(&mut log, &mut nvm), Some(full + 2));
        assert_eq!(log.entry(&mut nvm, full + 1).unwrap(), None);
    }

    #[test]
    fn a_cursor_beyond_the_end_erases_nothing() {
        let mut nvm = MemoryStorage::default();
        let mut log = Log::load(&mut nvm).unwrap();
        append(&mut log, &mut nvm);
        log.erase_below(&mut nvm, 5).unwrap();
        assert_eq!(log.start(), 0);
    }
}
