//! What must be in NVM before an effect: both replay windows and the last eight commands, in one atomic record.

use cardea_oscore::Window;
use cardea_resources::{CommandId, Op, Outcome};
use heapless::Deque;

use crate::board::{CONTEXTS, Slot, Storage, StorageFault};
use crate::bytes::{Reader, Writer};

/// Commands whose outcome the lock remembers.
pub const COMMAND_CACHE: usize = 8;
const RECORD_VERSION: u8 = 2;
/// On flash only: carried out or not, nobody noted it. Wire codes of `Outcome` stay far below.
const STARTED: u8 = 0xff;

/// Whose command ids these are: two askers may choose the same one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct By(pub(crate) u8);

impl By {
    /// The platform, whatever its context.
    pub(crate) const PLATFORM: Self = Self(0);
    /// The PIN pad. Its entries are not kept after their outcome: nobody asks for them again, and whoever has a PIN
    /// must not push the platform's commands out.
    pub(crate) const PIN: Self = Self(1);
    /// Somebody with a grant; the id is the first bytes of the grant's. As with a PIN: the outcome is in the log and, for
    /// whom it concerns, in the session.
    pub(crate) const PEER: Self = Self(2);

    /// Whether the outcome is remembered in NVM.
    fn is_kept(self) -> bool {
        self == Self::PLATFORM
    }
}

/// One command that reached, or may have reached, the actuator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) by: By,
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
    /// Wrong PINs that still count.
    pub(crate) wrong_pins: u8,
    /// And one PIN that is being carried out.
    commands: Deque<Entry, { COMMAND_CACHE + 1 }>,
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
        writer.u8(self.wrong_pins);
        for entry in &self.commands {
            writer.u8(entry.by.0);
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
        ledger.wrong_pins = reader.u8()?;
        while !reader.end() {
            let by = By(reader.u8()?);
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
            ledger.commands.push_back(Entry { by, id, op, outcome }).ok()?;
        }
        Some(ledger)
    }

    /// The remembered command with this id.
    pub(crate) fn command(&self, by: By, id: CommandId) -> Option<Entry> {
        self.commands.iter().find(|entry| entry.by == by && entry.id == id).copied()
    }

    /// Notes that `op` is about to be carried out; the oldest command is forgotten for it.
    pub(crate) fn begin(&mut self, by: By, id: CommandId, op: Op) {
        if by.is_kept() && self.commands.len() >= COMMAND_CACHE {
            self.commands.pop_front();
        }
        let _ = self.commands.push_back(Entry { by, id, op, outcome: None }); // room was made
    }

    /// Forgets a command that [`Self::begin`] noted and whose commit failed: nothing was carried out.
    pub(crate) fn take_back(&mut self, by: By, id: CommandId) {
        let noted = |entry: &Entry| entry.by == by && entry.id == id && entry.outcome.is_none();
        if self.commands.back().is_some_and(noted) {
            self.commands.pop_back();
        }
    }

    /// Notes the outcome.
    pub(crate) fn finish(&mut self, by: By, id: CommandId, outcome: Outcome) {
        if !by.is_kept() {
            self.take_back(by, id);
        } else if let Some(entry) = self.commands.iter_mut().find(|entry| entry.by == by && entry.id == id) {
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
            ledger.begin(By::PLATFORM, id(n), Op::Unlock);
            ledger.finish(By::PLATFORM, id(n), Outcome::Done);
        }
        ledger.begin(By::PLATFORM, id(9), Op::Lock);
        ledger.save(&mut nvm).unwrap();
        let ledger = Ledger::load(&mut nvm).unwrap().unwrap();
        assert_eq!(ledger.command(By::PLATFORM, id(0)), None);
        assert_eq!(ledger.command(By::PLATFORM, id(1)), None);
        let entry = Entry { by: By::PLATFORM, id: id(2), op: Op::Unlock, outcome: Some(Outcome::Done) };
        assert_eq!(ledger.command(By::PLATFORM, id(2)), Some(entry));
        assert_eq!(
            ledger.interrupted(),
            Some(Entry { by: By::PLATFORM, id: id(9), op: Op::Lock, outcome: None })
        );
    }

    #[test]
    fn a_pin_pushes_no_command_out_and_is_forgotten_with_its_outcome() {
        let mut ledger = Ledger::default();
        for n in 0..8 {
            ledger.begin(By::PLATFORM, id(n), Op::Unlock);
            ledger.finish(By::PLATFORM, id(n), Outcome::Done);
        }
        ledger.begin(By::PIN, id(0), Op::Unlock);
        assert_eq!(ledger.interrupted().map(|entry| entry.by), Some(By::PIN));
        ledger.finish(By::PIN, id(0), Outcome::Done);
        assert_eq!(ledger.interrupted(), None);
        assert_eq!(ledger.command(By::PIN, id(0)), None);
        assert!((0..8).all(|n| ledger.command(By::PLATFORM, id(n)).is_some()));
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
