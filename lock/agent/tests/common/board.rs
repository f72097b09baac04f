use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::rc::Rc;

use cardea_agent::{Actuator, ActuatorFault, Clock, Slot, Storage, StorageFault};
use cardea_credentials::{Agreement, Error, PublicKey, Random, SharedSecret, SoftAgreement, SoftSigner};
use cardea_resources::{Bolt, Op};

pub struct Board;

impl cardea_agent::Board for Board {
    type Storage = TestNvm;
    type Clock = TestClock;
    type Random = TestRandom;
    type Identity = SoftSigner;
    type Dh = CountedDh;
    type Actuator = TestActuator;
}

/// The lock's static key, which counts what it is asked for: of a responder's three scalar multiplications, it does one.
pub struct CountedDh(pub SoftAgreement);

thread_local! {
    static AGREED: Cell<usize> = const { Cell::new(0) };
}

/// How often static keys of this test's locks agreed.
pub fn agreed() -> usize {
    AGREED.get()
}

impl Agreement for CountedDh {
    fn public(&self) -> PublicKey {
        self.0.public()
    }

    fn agree(&self, peer: &PublicKey) -> Result<SharedSecret, Error> {
        AGREED.set(AGREED.get() + 1);
        self.0.agree(peer)
    }
}

/// The panic payload of a power cut.
pub struct PowerCut;

#[derive(Default)]
struct Nvm {
    slots: BTreeMap<Slot, Vec<u8>>,
    writes: Vec<Slot>,
    /// Each with how many writes there were before it.
    reads: Vec<(Slot, usize)>,
    cut: Option<(usize, bool)>,
    failing: bool,
    /// Fails from this write on.
    fails_from: Option<usize>,
    /// So many more reads, writes and erasures go well; the next one fails, once.
    fault_in: Option<usize>,
    /// Where the records really are, if not in `slots`; and how it is taken up at each power-on.
    medium: Option<Box<dyn Storage>>,
    mount: Option<Rc<dyn Fn() -> Box<dyn Storage>>>,
    /// `erase_all` is one step.
    at_once: bool,
}

impl Nvm {
    fn access(&mut self) -> Result<(), StorageFault> {
        self.fault_in = match self.fault_in {
            None => return Ok(()),
            Some(0) => None,
            Some(more) => Some(more - 1),
        };
        if self.fault_in.is_none() { Err(StorageFault) } else { Ok(()) }
    }
}

/// NVM that survives its agent, counts writes and can lose power at any of them.
#[derive(Clone, Default)]
pub struct TestNvm(Rc<RefCell<Nvm>>);

impl TestNvm {
    /// Over a medium that is mounted at each power-on and loses power by itself.
    pub fn over(mount: Rc<dyn Fn() -> Box<dyn Storage>>) -> Self {
        let nvm = Nvm { medium: Some(mount()), mount: Some(mount), ..Nvm::default() };
        Self(Rc::new(RefCell::new(nvm)))
    }

    /// A medium that erases many slots in one step.
    pub fn erasing_at_once() -> Self {
        Self(Rc::new(RefCell::new(Nvm { at_once: true, ..Nvm::default() })))
    }

    pub fn power_on(&self) {
        let mount = self.0.borrow().mount.clone();
        if let Some(mount) = mount {
            let medium = mount();
            self.0.borrow_mut().medium = Some(medium);
        }
    }

    pub fn get(&self, slot: Slot) -> Option<Vec<u8>> {
        if let Some(medium) = &mut self.0.borrow_mut().medium {
            let mut out = [0; Slot::MAX_LEN];
            return medium.read(slot, &mut out).unwrap().map(|len| out[..len].to_vec());
        }
        self.0.borrow().slots.get(&slot).cloned()
    }

    pub fn put(&self, slot: Slot, record: Vec<u8>) {
        self.0.borrow_mut().slots.insert(slot, record);
    }

    pub fn writes(&self) -> Vec<Slot> {
        self.0.borrow().writes.clone()
    }

    /// What was read, each with how many writes there were before it.
    pub fn reads(&self) -> Vec<(Slot, usize)> {
        self.0.borrow().reads.clone()
    }

    pub fn reset_count(&self) {
        let mut nvm = self.0.borrow_mut();
        (nvm.writes, nvm.reads) = Default::default();
    }

    /// Cuts the power at the `n`th write from now, before (`done` false) or after it took effect.
    pub fn cut_at(&self, n: usize, done: bool) {
        let mut nvm = self.0.borrow_mut();
        nvm.cut = Some((nvm.writes.len() + n, done));
    }

    pub fn no_cut(&self) {
        self.0.borrow_mut().cut = None;
    }

    /// Every write fails from now on.
    pub fn fail(&self, failing: bool) {
        let mut nvm = self.0.borrow_mut();
        (nvm.failing, nvm.fails_from) = (failing, None);
    }

    /// Every write fails after so many more.
    pub fn fail_from(&self, n: usize) {
        let mut nvm = self.0.borrow_mut();
        nvm.fails_from = Some(nvm.writes.len() + n);
    }

    /// One access fails after so many more, reading or writing.
    pub fn fault_in(&self, n: usize) {
        self.0.borrow_mut().fault_in = Some(n);
    }

    /// Loses every other record.
    pub fn keep_only(&self, kept: &[Slot]) {
        self.0.borrow_mut().slots.retain(|slot, _| kept.contains(slot));
    }

    fn change(&self, slot: Slot, act: impl FnOnce(&mut BTreeMap<Slot, Vec<u8>>)) -> Result<(), StorageFault> {
        let mut nvm = self.0.borrow_mut();
        nvm.access()?;
        if nvm.failing || nvm.fails_from.is_some_and(|from| nvm.writes.len() >= from) {
            return Err(StorageFault);
        }
        let cut = nvm.cut.filter(|&(at, _)| at == nvm.writes.len());
        if cut.is_none_or(|(_, done)| done) {
            act(&mut nvm.slots);
        }
        nvm.writes.push(slot);
        drop(nvm);
        if cut.is_some() {
            self.no_cut();
            resume_unwind(Box::new(PowerCut));
        }
        Ok(())
    }
}

impl Storage for TestNvm {
    fn read(&mut self, slot: Slot, out: &mut [u8]) -> Result<Option<usize>, StorageFault> {
        let mut nvm = self.0.borrow_mut();
        nvm.access()?;
        if let Some(medium) = &mut nvm.medium {
            return medium.read(slot, out);
        }
        let writes = nvm.writes.len();
        nvm.reads.push((slot, writes));
        let Some(record) = nvm.slots.get(&slot) else { return Ok(None) };
        out.get_mut(..record.len()).ok_or(StorageFault)?.copy_from_slice(record);
        Ok(Some(record.len()))
    }

    fn write(&mut self, slot: Slot, record: &[u8]) -> Result<(), StorageFault> {
        assert!(record.len() <= slot.max_len(), "{slot:?} takes {} bytes", record.len());
        if let Some(medium) = &mut self.0.borrow_mut().medium {
            return medium.write(slot, record);
        }
        self.change(slot, |slots| {
            slots.insert(slot, record.to_vec());
        })
    }

    fn erase(&mut self, slot: Slot) -> Result<(), StorageFault> {
        if let Some(medium) = &mut self.0.borrow_mut().medium {
            return medium.erase(slot);
        }
        self.change(slot, |slots| {
            slots.remove(&slot);
        })
    }

    fn erase_all(&mut self, which: fn(Slot) -> bool) -> Result<(), StorageFault> {
        if let Some(medium) = &mut self.0.borrow_mut().medium {
            return medium.erase_all(which);
        }
        if self.0.borrow().at_once {
            return self.change(Slot::Owner, |slots| slots.retain(|&slot, _| !which(slot)));
        }
        Slot::all().filter(|&slot| which(slot)).try_for_each(|slot| self.erase(slot))
    }
}

#[derive(Clone, Default)]
pub struct TestClock {
    millis: Rc<Cell<u64>>,
    /// What the RTC, and everybody's wall clock, is ahead of `millis`.
    ahead: Rc<Cell<u64>>,
    pub no_rtc: Rc<Cell<bool>>,
}

/// The wall clock when the RTC counts 0, in Unix milliseconds.
pub const EPOCH_MS: u64 = 1_800_000_000_000;

impl TestClock {
    pub fn now(&self) -> u64 {
        self.millis.get()
    }

    /// Sets the millisecond counter; the wall clock does not notice.
    pub fn set(&self, millis: u64) {
        let wall = self.millis.get() + self.ahead.get();
        if millis >= self.millis.get() {
            self.millis.set(millis);
        } else {
            self.millis.set(millis);
            self.ahead.set(wall - millis);
        }
    }

    pub fn advance(&self, ms: u64) {
        self.millis.set(self.millis.get() + ms);
    }

    /// The wall clock, Unix milliseconds.
    pub fn rtc_ms(&self) -> u64 {
        EPOCH_MS + self.millis.get() + self.ahead.get()
    }
}

impl Clock for TestClock {
    fn millis(&mut self) -> u64 {
        self.millis.get()
    }

    fn rtc(&mut self) -> Option<u64> {
        (!self.no_rtc.get()).then(|| self.millis.get() + self.ahead.get())
    }
}

/// SplitMix64: repeats, which is what a test wants and a lock must not have.
pub struct TestRandom(u64);

impl TestRandom {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }
}

impl Random for TestRandom {
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

struct Motor {
    bolt: Bolt,
    drives: Vec<Op>,
    jammed: bool,
    battery: u8,
}

/// A motor that remembers what it was told.
#[derive(Clone)]
pub struct TestActuator(Rc<RefCell<Motor>>);

impl Default for TestActuator {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(Motor {
            bolt: Bolt::Locked,
            drives: Vec::new(),
            jammed: false,
            battery: 77,
        })))
    }
}

impl TestActuator {
    pub fn drives(&self) -> Vec<Op> {
        self.0.borrow().drives.clone()
    }

    pub fn forget(&self) {
        self.0.borrow_mut().drives.clear();
    }

    pub fn jam(&self) {
        self.0.borrow_mut().jammed = true;
    }

    pub fn set_battery(&self, percent: u8) {
        self.0.borrow_mut().battery = percent;
    }

    pub fn place(&self, bolt: Bolt) {
        self.0.borrow_mut().bolt = bolt;
    }
}

impl Actuator for TestActuator {
    fn drive(&mut self, op: Op) -> Result<Bolt, ActuatorFault> {
        let mut motor = self.0.borrow_mut();
        motor.drives.push(op);
        if motor.jammed {
            motor.bolt = Bolt::Jammed;
            return Err(ActuatorFault);
        }
        motor.bolt = match op {
            Op::Lock => Bolt::Locked,
            Op::Unlock => Bolt::Unlocked,
        };
        Ok(motor.bolt)
    }

    fn bolt(&mut self) -> Bolt {
        self.0.borrow().bolt
    }

    fn battery(&mut self) -> u8 {
        self.0.borrow().battery
    }
}

pub mod key {
    use cardea_credentials::{SoftAgreement, SoftSigner};

    pub fn signer(n: u8) -> SoftSigner {
        SoftSigner::from_bytes(&[n; 32]).unwrap()
    }

    pub fn agreement(n: u8) -> SoftAgreement {
        SoftAgreement::from_bytes(&[n; 32]).unwrap()
    }
}
