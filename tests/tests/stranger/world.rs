//! One lock and what it talks to, on a clock that the test moves.

use std::ops::{Deref, DerefMut};

use cardea_credentials::{OwnerCode, Random};
use cardea_framing::{LinkConfig, LockId};
use cardea_sdk::{Ask, LockName, OsRandom, Outcome, Platform, PlatformEvent, session::Now};
use cardea_tests::counterpart::Counterpart;
use tempfile::TempDir;

use crate::lock::{Device, Said, Stranger};
use crate::reference::Reference;

/// Unix time when a test begins, milliseconds.
pub const BEGIN_UNIX_MS: u64 = 1_790_000_000_000;
const LINK: LinkConfig =
    LinkConfig { retry_ms: 10_000, max_attempts: 5, reassembly_ms: 120_000, max_datagram: 1024 };

pub struct World {
    lock: Box<dyn Device>,
    other: Counterpart,
    /// Milliseconds; the lock's timer and the platform's clocks agree.
    pub now: u64,
    pub mtu: usize,
    /// One frame in this many gets lost, in either direction, at random but the same in every run; 0: none.
    pub loses: u32,
    carried: u32,
    /// Every frame; true from the lock.
    pub frames: Vec<(bool, Vec<u8>)>,
}

/// Gateway and platform.
impl Deref for World {
    type Target = Counterpart;

    fn deref(&self) -> &Counterpart {
        &self.other
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Counterpart {
        &mut self.other
    }
}

impl World {
    /// A new Python lock that the platform has enrolled, by the code on its label or by this one. `None`: tests with
    /// Python are skipped.
    pub fn new(code: Option<&OwnerCode>) -> Option<Self> {
        let home = tempfile::tempdir().unwrap();
        let lock = Stranger::start(&home.path().join("lock.flash"), None)?;
        Some(Self::with(Box::new(lock), home, code))
    }

    /// The same with the lock agent of this repository.
    pub fn reference() -> Self {
        Self::with(Box::new(Reference::new()), tempfile::tempdir().unwrap(), None)
    }

    fn with(lock: Box<dyn Device>, home: TempDir, code: Option<&OwnerCode>) -> Self {
        Platform::init(home.path()).unwrap();
        Self::on(lock, home, code, Box::new(OsRandom))
    }

    /// A Python lock from a seed, and a platform whose keys are in `home` already and whose random numbers are these.
    pub fn fixed(seed: &str, home: TempDir, random: Box<dyn Random + Send>) -> Option<Self> {
        let lock = Stranger::start(&home.path().join("lock.flash"), Some(seed))?;
        Platform::init_state(home.path()).unwrap();
        Some(Self::on(Box::new(lock), home, None, random))
    }

    fn on(
        mut lock: Box<dyn Device>,
        home: TempDir,
        code: Option<&OwnerCode>,
        random: Box<dyn Random + Send>,
    ) -> Self {
        let printed = OwnerCode::parse(&lock.said().code).unwrap();
        let thumbprint: LockName = lock.said().thumbprint.parse().unwrap();
        let name: LockId = lock.said().thumbprint[..16].parse().unwrap();
        let other = Counterpart::on(name, LINK, home, random);
        let mut world = Self { lock, other, now: 0, mtu: 222, loses: 0, carried: 0, frames: Vec::new() };
        let now = world.time();
        world.enroll(now, thumbprint, code.unwrap_or(&printed));
        world
    }

    pub fn time(&self) -> Now {
        Now { mono: self.now, unix: BEGIN_UNIX_MS + self.now }
    }

    pub fn lock(&mut self) -> &mut Said {
        self.lock.said()
    }

    /// What no lock would tell: see `inside` in the program.
    pub fn inside(&mut self, word: &str) -> Vec<String> {
        self.lock.say(self.now, "inside");
        self.lock.said().last(word)
    }

    /// The platform starts again from a state that was put back: its sessions are gone.
    pub fn restore_the_platform(&mut self) {
        let now = self.time();
        self.other.restore_the_platform(now);
    }

    /// What the platform has stored of the lock's log, oldest first: index and kind.
    pub fn stored(&mut self) -> Vec<(u32, String)> {
        let (now, name) = (self.time(), self.name);
        let rows = self.batch(now, |core, _| core.log(name, 1_000).unwrap());
        rows.into_iter().filter_map(|row| Some((row.index?, row.kind))).collect()
    }

    pub fn unix_s(&self) -> u32 {
        u32::try_from((BEGIN_UNIX_MS + self.now) / 1000).unwrap()
    }

    fn is_lost(&mut self) -> bool {
        // A rule that repeats would fall into step with the retries.
        self.carried = self.carried.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.loses != 0 && (self.carried >> 8).is_multiple_of(self.loses)
    }

    /// One frame past the link, and what the lock puts on the air at once.
    pub fn poke(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        self.lock.say(self.now, &format!("frame {}", hex::encode(frame)));
        std::mem::take(&mut self.lock.said().frames)
    }

    /// Carries frames both ways until nobody has more to say at this moment.
    pub fn carry(&mut self) {
        loop {
            let now = self.time();
            let frames = std::mem::take(&mut self.lock.said().frames);
            let mut idle = frames.is_empty();
            for frame in frames {
                assert!(frame.len() <= self.mtu, "a frame of {} bytes", frame.len());
                self.frames.push((true, frame.clone()));
                if !self.is_lost() {
                    self.other.frame_up(now, &frame);
                }
            }
            let mtu = self.mtu;
            while let Some(frame) = self.other.frame_down(now, mtu) {
                idle = false;
                self.frames.push((false, frame.clone()));
                if !self.is_lost() {
                    self.lock.say(now.mono, &format!("frame {}", hex::encode(&frame)));
                }
            }
            if idle {
                return;
            }
        }
    }

    /// Everything that can happen now; then the time goes on to whoever waits for it, a second at most.
    pub fn step(&mut self) {
        self.carry();
        let due = [self.lock.said().due, self.other.poll_timeout()];
        let next = due.into_iter().flatten().min().unwrap_or(u64::MAX);
        self.now = next.clamp(self.now + 1, self.now + 1_000);
        self.lock.say(self.now, "timer");
        let now = self.time();
        self.other.handle_timeout(now);
    }

    pub fn run_for(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.step();
        }
        self.carry();
    }

    /// Runs until `done`, an hour at most.
    pub fn run_until<T>(&mut self, what: &str, mut done: impl FnMut(&Self) -> Option<T>) -> T {
        let end = self.now + 3_600_000;
        loop {
            self.carry();
            if let Some(value) = done(self) {
                return value;
            }
            assert!(self.now < end, "{what}: never\n{:#?}\n{:#?}", self.other.events, self.lock.said().told);
            self.step();
        }
    }

    /// Something happens at the lock.
    pub fn at_the_lock(&mut self, line: &str) {
        self.lock.say(self.now, line);
        self.carry();
    }

    pub fn link_up(&mut self) {
        let mtu = self.mtu;
        self.at_the_lock(&format!("link {mtu}"));
    }

    /// How often the platform has stored an event of this kind.
    pub fn reported(&self, word: &str) -> usize {
        self.count(|event| matches!(event, PlatformEvent::Lock { kind, .. } if kind == word))
    }

    /// Switches the lock on and runs until both sides have proved the owner code and the lock knows that.
    pub fn activate(&mut self) {
        self.link_up();
        self.run_until("activation", |world| {
            (world.count(|e| matches!(e, PlatformEvent::Activated { .. })) == 1).then_some(())
        });
        self.run_until("the first answer", |world| (world.reported("boot") == 1).then_some(()));
        let root = self.root();
        assert_eq!(self.inside("owner"), [root.as_str(), "-", "1"], "pinned, and the code is gone");
    }

    pub fn ask(&mut self, ask: Ask) -> Outcome {
        let now = self.time();
        let id = self.other.ask(now, ask, 60_000);
        self.run_until("an outcome", |world| world.outcome(&id))
    }

    /// The power goes and comes back.
    pub fn power_cut(&mut self) {
        self.lock.say(self.now, "loss");
        self.lock.said().frames.clear();
        self.link_anew();
        self.link_up();
    }
}
