//! One lock, a gateway's link and the platform's session core, on a clock that the test moves.

use cardea_credentials::{OwnerCode, Random};
use cardea_envelope::{
    ClockState, Data, Downlink, Encoding, Epoch, GatewayState, LinkState, MessageId, Presence, Topic, Topics,
    Uplink, VERSION,
};
use cardea_framing::{Datagram, Kind, LinkConfig, LockId, LockLink, uplink_id};
use cardea_sdk::{
    Ask, FileKeys, KeyStore as _, LockName, OsRandom, Outcome, Platform, PlatformEvent, SqliteState,
    session::{Config, Core, Now},
};
use tempfile::TempDir;

use crate::lock::{Device, Said, Stranger};
use crate::reference::Reference;

/// Unix time when a test begins, milliseconds.
pub const BEGIN_UNIX_MS: u64 = 1_790_000_000_000;
const GATEWAY: &str = "g1";

pub struct World {
    lock: Box<dyn Device>,
    pub name: LockId,
    core: Option<Core<FileKeys, SqliteState>>,
    link: LockLink,
    topics: Topics,
    /// Milliseconds; the lock's timer and the platform's clocks agree.
    pub now: u64,
    pub mtu: usize,
    /// One frame in this many gets lost, in either direction, at random but the same in every run; 0: none.
    pub loses: u32,
    carried: u32,
    seq: u64,
    waiting: Vec<Vec<u8>>,
    /// Every datagram that the platform sent.
    pub downs: Vec<Vec<u8>>,
    /// Every datagram that the gateway took from the lock.
    pub ups: Vec<Vec<u8>>,
    /// Both, as they went by; true from the lock.
    pub datagrams: Vec<(bool, Vec<u8>)>,
    /// Every frame; true from the lock.
    pub frames: Vec<(bool, Vec<u8>)>,
    pub events: Vec<PlatformEvent>,
    /// While false, what the lock says ends at the gateway.
    pub platform_hears: bool,
    home: TempDir,
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
        let mut world = Self {
            name: lock.said().thumbprint[..16].parse().unwrap(),
            lock,
            core: Some(core(&home, false, random)),
            link: link(),
            topics: Topics::new("cardea/v1", GATEWAY).unwrap(),
            now: 0,
            mtu: 222,
            loses: 0,
            carried: 0,
            seq: 0,
            waiting: Vec::new(),
            downs: Vec::new(),
            ups: Vec::new(),
            datagrams: Vec::new(),
            frames: Vec::new(),
            events: Vec::new(),
            platform_hears: true,
            home,
        };
        world.batch(|core, _| core.enroll(thumbprint, code.unwrap_or(&printed)).unwrap());
        world.reachable();
        world
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
        self.core = None;
        self.core = Some(core(&self.home, true, Box::new(OsRandom)));
        self.reachable();
    }

    /// What the platform has stored of the lock's log, oldest first: index and kind.
    pub fn stored(&mut self) -> Vec<(u32, String)> {
        let name = self.name;
        let rows = self.batch(|core, _| core.log(name, 1_000).unwrap());
        rows.into_iter().filter_map(|row| Some((row.index?, row.kind))).collect()
    }

    /// The owner root's thumbprint, hexadecimal.
    pub fn root(&self) -> String {
        hex::encode(FileKeys::open(self.home.path()).unwrap().root().thumbprint())
    }

    pub fn unix_s(&self) -> u32 {
        u32::try_from((BEGIN_UNIX_MS + self.now) / 1000).unwrap()
    }

    /// What the gateway retains at the broker.
    fn reachable(&mut self) {
        let at = BEGIN_UNIX_MS + self.now;
        self.message(&Topic::State, Encoding::Json.encode(&GatewayState { state: Presence::Online, at }));
        let link = LinkState {
            v: VERSION,
            joined: true,
            radio: "pipe".into(),
            sleepy: false,
            life_ms: 0,
            seen: Some(at),
            rssi: None,
            snr: None,
            lqi: None,
            pending: 0,
            at,
        };
        self.message(&Topic::Link(self.name), Encoding::Json.encode(&link));
    }

    fn batch<T>(&mut self, act: impl FnOnce(&mut Core<FileKeys, SqliteState>, Now) -> T) -> T {
        let now = Now { mono: self.now, unix: BEGIN_UNIX_MS + self.now };
        let core = self.core.as_mut().unwrap();
        core.begin().unwrap();
        let result = act(core, now);
        core.handle_timeout(now).unwrap();
        core.commit().unwrap();
        self.events.extend(std::iter::from_fn(|| core.poll_event()));
        while let Some(output) = core.poll_output() {
            if let Topic::Down(_) = self.topics.parse(&output.topic).unwrap() {
                let down: Downlink = Encoding::Json.decode(&output.payload).unwrap();
                if down.kind != Kind::Site {
                    self.downs.push(down.data.0.clone());
                    self.datagrams.push((false, down.data.0.clone()));
                    self.waiting.push(down.data.0);
                }
            }
        }
        result
    }

    fn message(&mut self, topic: &Topic, payload: Vec<u8>) {
        let name = self.topics.name(topic);
        self.batch(|core, now| core.handle_message(now, &name, &payload, false).unwrap());
    }

    fn publish(&mut self, datagram: &[u8]) {
        self.seq += 1;
        let parsed = Datagram::parse(datagram).unwrap();
        let uplink = Uplink {
            v: VERSION,
            id: MessageId(uplink_id(self.name, datagram)),
            lock: self.name,
            kind: parsed.kind,
            class: parsed.class,
            data: Data(datagram.to_vec()),
            radio: "pipe".into(),
            rssi: None,
            snr: None,
            lqi: None,
            at: BEGIN_UNIX_MS + self.now,
            clock: ClockState::Synced,
            epoch: Epoch([1; 8]),
            seq: self.seq,
        };
        self.message(&Topic::Up(self.name), Encoding::Json.encode(&uplink));
    }

    fn is_lost(&mut self) -> bool {
        // A rule that repeats would fall into step with the retries.
        self.carried = self.carried.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.loses != 0 && (self.carried >> 8).is_multiple_of(self.loses)
    }

    /// A datagram to the lock, behind those that wait.
    pub fn down(&mut self, datagram: Vec<u8>) {
        self.waiting.push(datagram);
    }

    /// One frame past the link, and what the lock puts on the air at once.
    pub fn poke(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        self.lock.say(self.now, &format!("frame {}", hex::encode(frame)));
        std::mem::take(&mut self.lock.said().frames)
    }

    /// Carries frames both ways until nobody has more to say at this moment.
    pub fn carry(&mut self) {
        loop {
            let frames = std::mem::take(&mut self.lock.said().frames);
            let mut idle = frames.is_empty();
            for frame in frames {
                assert!(frame.len() <= self.mtu, "a frame of {} bytes", frame.len());
                self.frames.push((true, frame.clone()));
                if self.is_lost() {
                    continue;
                }
                let taken = self.link.handle_frame(self.now, &frame).unwrap();
                let Some((datagram, receipt)) = taken.map(|it| (it.datagram().to_vec(), it.receipt)) else {
                    continue;
                };
                if let Some(receipt) = receipt {
                    self.link.custody(self.now, receipt);
                }
                self.ups.push(datagram.clone());
                self.datagrams.push((true, datagram.clone()));
                if self.platform_hears {
                    self.publish(&datagram);
                }
            }
            while self.link.poll_event().is_some() {}
            if self.link.can_send() && !self.waiting.is_empty() {
                let datagram = self.waiting.remove(0);
                self.link.send(self.now, &datagram, 1).unwrap();
            }
            let mut frame = [0; 256];
            while let Some(len) = self.link.poll_transmit(self.now, self.mtu, &mut frame) {
                idle = false;
                self.frames.push((false, frame[..len].to_vec()));
                if !self.is_lost() {
                    self.lock.say(self.now, &format!("frame {}", hex::encode(&frame[..len])));
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
        let core = self.core.as_ref().unwrap();
        let due = [self.lock.said().due, self.link.poll_timeout(), core.poll_timeout()];
        let next = due.into_iter().flatten().min().unwrap_or(u64::MAX);
        self.now = next.clamp(self.now + 1, self.now + 1_000);
        self.link.handle_timeout(self.now);
        self.lock.say(self.now, "timer");
        self.batch(|_, _| ());
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
            assert!(self.now < end, "{what}: never\n{:#?}\n{:#?}", self.events, self.lock.said().told);
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

    pub fn count(&self, matches: impl Fn(&PlatformEvent) -> bool) -> usize {
        self.events.iter().filter(|event| matches(event)).count()
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
        let lock = self.name;
        let id = hex::encode(self.batch(|core, now| core.command(now, lock, ask, 60_000).unwrap()));
        self.run_until("an outcome", |world| {
            world.events.iter().find_map(|event| match event {
                PlatformEvent::Ended { command, outcome, .. } if *command == id => Some(outcome.clone()),
                _ => None,
            })
        })
    }

    /// The power goes and comes back.
    pub fn power_cut(&mut self) {
        self.lock.say(self.now, "loss");
        self.lock.said().frames.clear();
        self.link = link();
        self.waiting.clear();
        self.link_up();
    }
}

fn core(home: &TempDir, restored: bool, random: Box<dyn Random + Send>) -> Core<FileKeys, SqliteState> {
    let keys = FileKeys::open(home.path()).unwrap();
    let state = SqliteState::open(&home.path().join("state.db"), restored).unwrap();
    Core::open(keys, state, random, Config::default()).unwrap()
}

fn link() -> LockLink {
    LockLink::new(LinkConfig {
        retry_ms: 10_000,
        max_attempts: 5,
        reassembly_ms: 120_000,
        max_datagram: 1024,
    })
}
