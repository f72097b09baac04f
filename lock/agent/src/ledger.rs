//! What must be in NVM before an effect: both replay windows and the last eight commands, in one atomic record.

use cardea_oscore::Window;
use cardea_resources::{CommandId, Op, Outcome};
use heapless::Deque;

use crate::board::{CONTEXTS, Slot, Storage, StorageFault};
use crate::bytes::{Reader, Writer};

/// Commands whose outcome the lock remembers.
pub const COMMAND_CACHE: usize = 8;
const RECORD_VERSION: u8 = 1;
/// On flash only: carried out or not, nobody noted it. Wire codes of `Outcome` stay far below.
const STARTED: u8 = 0xff;

/// One command that reached, or may have reached, the actuator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) id: CommandId,
    pub(crate) op: Op,
    /// `None` between commit and effect.
    pub(crate) outcome: Option<Outcome>,
}

/// Replay state of one context.
#[derive(Clone, Default)]
pub(crate) struct Replay {
    /// Which context this belongs to; 0 is none.
    pub(crate) generation: u32,
    pub(crate) window: Window,
    /// Failed tags, counted ahead in blocks so that most failures cost no write.
    pub(crate) failures: u32,
}

/// The record in `Slot::Ledger`, in RAM.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) replay: [Replay; CONTEXTS],
    commands: Deque<Entry, COMMAND_CACHE>,
}

impl Ledger {
    /// The record, or an empty ledger where none was written. `Ok(None)`: there is one and it makes no sense.
    pub(crate) fn load(storage: &mut impl Storage) -> Result<Option<Self>, StorageFault> {
        let mut record = [0; Slot::Ledger.max_len()];
        match storage.read(Slot::Ledger, &mut record)? {
            Some(len) => Ok(Self::decode(record.get(..len).unwrap_or_default())),
            None => Ok(Some(Self::default())),
        }
    }

    /// One write.
    pub(crate) fn save(&self, storage: &mut impl Storage) -> Result<(), StorageFault> {
        let mut record = [0; Slot::Ledger.max_len()];
        let mut writer = Writer::new(&mut record);
        writer.u8(RECORD_VERSION);
        for replay in &self.replay {
            writer.u32(replay.generation);
            writer.bytes(&replay.window.to_bytes());
            writer.u32(replay.failures);
        }
        for entry in &self.commands {
            writer.bytes(&entry.id);
            writer.u8(entry.op as u8);
            writer.u8(entry.outcome.map_or(STARTED, Outcome::code));
        }
        let len = writer.finish().ok_or(StorageFault)?;
        storage.write(Slot::Ledger, record.get(..len).unwrap_or_default())
    }

    fn decode(record: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(record);
        if reader.u8()? != RECORD_VERSION {
            return None;
        }
        let mut ledger = Self::default();
        for replay in &mut ledger.replay {
            replay.generation = reader.u32()?;
            replay.window = Window::from_bytes(&reader.array()?).ok()?;
            replay.failures = reader.u32()?;
        }
        while !reader.end() {
            let id = reader.array()?;
            let op = match reader.u8()? {
                0 => Op::Lock,
                1 => Op::Unlock,
                _ => return None,
            };
            let outcome = match reader.u8()? {
                STARTED => None,
                code => Some(Outcome::from_code(code)),
            };
            ledger.commands.push_back(Entry { id, op, outcome }).ok()?;
        }
        Some(ledger)
    }

    /// The remembered command with this id.
    pub(crate) fn command(&self, id: CommandId) -> Option<Entry> {
        self.commands.iter().find(|entry| entry.id == id).copied()
    }

    /// Notes that `op` is about to be carried out; the oldest command is forgotten for it.
    pub(crate) fn begin(&mut self, id: CommandId, op: Op) {
        if self.commands.is_full() {
            self.commands.pop_front();
        }
        let _ = self.commands.push_back(Entry { id, op, outcome: None }); // room was made
    }

    /// Forgets a command that [`Self::begin`] noted and whose commit failed: nothing was carried out.
    pub(crate) fn take_back(&mut self, id: CommandId) {
        if self.commands.back().is_some_and(|entry| entry.id == id && entry.outcome.is_none()) {
            self.commands.pop_back();
        }
    }

    /// Notes the outcome.
    pub(crate) fn finish(&mut self, id: CommandId, outcome: Outcome) {
        if let Some(entry) = self.commands.iter_mut().find(|entry| entry.id == id) {
            entry.outcome = Some(outcome);
        }
    }

    /// The command that a reset interrupted, if any.
    pub(crate) fn interrupted(&self) -> Option<Entry> {
        self.commands.iter().find(|entry| entry.outcome.is_none()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cardea_oscore::ReplayGuard;

    use crate::memory::MemoryStorage;

    fn id(n: u8) -> CommandId {
        [n; 4]
    }

    #[test]
    fn the_last_eight_commands_survive_a_reset() {
        let mut nvm = MemoryStorage::default();
        let mut ledger = Ledger::default();
        for n in 0..9 {
            ledger.begin(id(n), Op::Unlock);
            ledger.finish(id(n), Outcome::Done);
        }
        ledger.begin(id(9), Op::Lock);
        ledger.save(&mut nvm).unwrap();
        let ledger = Ledger::load(&mut nvm).unwrap().unwrap();
        assert_eq!(ledger.command(id(0)), None);
        assert_eq!(ledger.command(id(1)), None);
        let entry = Entry { id: id(2), op: Op::Unlock, outcome: Some(Outcome::Done) };
        assert_eq!(ledger.command(id(2)), Some(entry));
        assert_eq!(ledger.interrupted(), Some(Entry { id: id(9), op: Op::Lock, outcome: None }));
    }

    #[test]
    fn windows_survive_a_reset() {
        let mut nvm = MemoryStorage::default();
        let mut ledger = Ledger::default();
        ledger.replay[1].generation = 7;
        ledger.replay[1].failures = 64;
        ledger.replay[1].window.commit(1000).unwrap();
        ledger.save(&mut nvm).unwrap();
        let ledger = Ledger::load(&mut nvm).unwrap().unwrap();
        assert_eq!((ledger.replay[1].generation, ledger.replay[1].failures), (7, 64));
        assert!(ledger.replay[1].window.check(1000).is_err());
        assert!(ledger.replay[1].window.check(1001).is_ok());
    }

    #[test]
    fn a_record_that_makes_no_sense_is_not_an_empty_one() {
        let mut nvm = MemoryStorage::default();
        nvm.write(Slot::Ledger, &[1, 2, 3]).unwrap();
        assert!(Ledger::load(&mut nvm).unwrap().is_none());
    }
}
