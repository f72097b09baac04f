//! A board for the test: records in RAM, a clock that the other end sets, numbers that repeat, known keys.

use cardea_agent::{
    ADDED_PAGES, Actuator, ActuatorFault, Clock, LIST_PAGES, LOG_SLOTS, PIN_SLOTS, Slot, Storage,
    StorageFault,
};
use cardea_credentials::{Error, OwnerCode, Random, SoftAgreement, SoftSigner};
use cardea_resources::{Bolt, Op};

/// The code that the platform's side of the test enrols the lock with.
pub const CODE: OwnerCode = OwnerCode::from_bytes([7; 16]);
/// The identity key's scalar.
pub const IDENTITY: [u8; 32] = [1; 32];
/// The Diffie-Hellman key's scalar.
pub const DH: [u8; 32] = [2; 32];

/// The types of this board.
pub struct Board;

impl cardea_agent::Board for Board {
    type Storage = &'static mut RamStorage;
    type Clock = TestClock;
    type Random = TestOnlyRandom;
    type Identity = SoftSigner;
    type Dh = SoftAgreement;
    type Actuator = TestMotor;
}

/// Pages of revoked keys, in force, staged, and added by the site.
const PAGES: usize = 2 * LIST_PAGES as usize + ADDED_PAGES as usize;
const MANY: usize = LOG_SLOTS as usize + PIN_SLOTS as usize + PAGES;
const FEW: usize = Slot::COUNT - MANY;
const PAGE: usize = Slot::Added(0).max_len();
const PIN: usize = Slot::Pin(0).max_len();
const ENTRY: usize = Slot::Log(0).max_len();

/// Records in RAM; those of which there are many apart, so that they do not take the room of the longest record each.
pub struct RamStorage {
    lens: [Option<u16>; Slot::COUNT],
    few: [[u8; Slot::MAX_LEN]; FEW],
    log: [[u8; ENTRY]; LOG_SLOTS as usize],
    pins: [[u8; PIN]; PIN_SLOTS as usize],
    pages: [[u8; PAGE]; PAGES],
}

impl RamStorage {
    /// Everything empty.
    pub const fn new() -> Self {
        Self {
            lens: [None; Slot::COUNT],
            few: [[0; Slot::MAX_LEN]; FEW],
            log: [[0; ENTRY]; LOG_SLOTS as usize],
            pins: [[0; PIN]; PIN_SLOTS as usize],
            pages: [[0; PAGE]; PAGES],
        }
    }

    fn place(&mut self, slot: Slot) -> Option<(&mut Option<u16>, &mut [u8])> {
        let index = slot.index();
        let bytes = match slot {
            Slot::Log(n) => self.log.get_mut(usize::from(n))?.as_mut_slice(),
            Slot::Pin(n) => self.pins.get_mut(usize::from(n))?.as_mut_slice(),
            Slot::Revoked(n) => self.pages.get_mut(usize::from(n))?.as_mut_slice(),
            Slot::Added(n) => {
                self.pages.get_mut(2 * usize::from(LIST_PAGES) + usize::from(n))?.as_mut_slice()
            }
            Slot::Uses => self.few.get_mut(FEW - 4)?.as_mut_slice(),
            Slot::Site => self.few.get_mut(FEW - 3)?.as_mut_slice(),
            Slot::Successor => self.few.get_mut(FEW - 2)?.as_mut_slice(),
            Slot::Reset => self.few.get_mut(FEW - 1)?.as_mut_slice(),
            _ => self.few.get_mut(index)?.as_mut_slice(),
        };
        Some((self.lens.get_mut(index)?, bytes))
    }
}

impl Default for RamStorage {
    fn default() -> Self {
        Self::new()
    }
}

/// A reference, so that the agent's own size does not hold the records.
impl Storage for &'static mut RamStorage {
    fn read(&mut self, slot: Slot, out: &mut [u8]) -> Result<Option<usize>, StorageFault> {
        let (len, bytes) = self.place(slot).ok_or(StorageFault)?;
        let Some(len) = len.map(usize::from) else { return Ok(None) };
        let record = bytes.get(..len).ok_or(StorageFault)?;
        out.get_mut(..len).ok_or(StorageFault)?.copy_from_slice(record);
        Ok(Some(len))
    }

    fn write(&mut self, slot: Slot, record: &[u8]) -> Result<(), StorageFault> {
        let (len, bytes) = self.place(slot).ok_or(StorageFault)?;
        bytes.get_mut(..record.len()).ok_or(StorageFault)?.copy_from_slice(record);
        *len = Some(record.len() as u16);
        Ok(())
    }

    fn erase(&mut self, slot: Slot) -> Result<(), StorageFault> {
        let (len, bytes) = self.place(slot).ok_or(StorageFault)?;
        bytes.fill(0);
        *len = None;
        Ok(())
    }
}

/// Milliseconds that the other end hands out.
#[derive(Default)]
pub struct TestClock {
    /// Since boot.
    pub millis: u64,
}

impl Clock for TestClock {
    fn millis(&mut self) -> u64 {
        self.millis
    }

    fn rtc(&mut self) -> Option<u64> {
        Some(self.millis)
    }
}

/// SplitMix64 from a fixed seed. **For this test only**: a lock needs a TRNG.
pub struct TestOnlyRandom(u64);

impl TestOnlyRandom {
    /// The same numbers for the same seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }
}

impl Random for TestOnlyRandom {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Error> {
        for byte in out {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *byte = (mixed ^ (mixed >> 31)) as u8;
        }
        Ok(())
    }
}

/// A bolt that counts how often it was driven.
pub struct TestMotor {
    /// Where it is.
    pub bolt: Bolt,
    /// How often it was driven since boot.
    pub drives: u32,
}

impl Actuator for TestMotor {
    fn drive(&mut self, op: Op) -> Result<Bolt, ActuatorFault> {
        self.drives += 1;
        self.bolt = match op {
            Op::Lock => Bolt::Locked,
            Op::Unlock => Bolt::Unlocked,
        };
        Ok(self.bolt)
    }

    fn bolt(&mut self) -> Bolt {
        self.bolt
    }

    fn battery(&mut self) -> u8 {
        77
    }
}
