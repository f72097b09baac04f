//! The real lock agent on a test board, a gateway's link, and the session core on a real state directory.
// Each test file uses its part of this; helpers fail by panicking, as tests do.
#![allow(dead_code, unreachable_pub, missing_docs, unused_qualifications)]
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_in_result
)]

// One test board for both sides of the protocol.
#[path = "../../../../lock/agent/tests/common/board.rs"]
pub mod board;
pub mod faulty;

use std::{collections::VecDeque, path::Path};

use board::{Board, TestActuator, TestClock, TestNvm, TestRandom, key};
use cardea_agent::{Agent, AgentEvent, Config as LockConfig, Output, Parts, PinResult, provision};
use cardea_credentials::{OwnerCode, Signer as _};
use cardea_envelope::{
    ClockState, Data, Downlink, DownlinkResult, Encoding, Epoch, GatewayState, LinkState, MessageId,
    Presence, ResultState, Seen, Topic, Topics, Uplink, VERSION,
};
use cardea_framing::{Datagram, Kind, LinkConfig, LockId, LockLink, uplink_id};
use cardea_resources::Firmware;
use cardea_sdk::{
    Ask, Error, FileKeys, KeyStore, Outcome, Pin, PinSetting, PinState, PlatformEvent, SqliteState,
    session::{Config, Core, Now},
};
use faulty::{Faults, Faulty};
use tempfile::TempDir;

pub const CODE: OwnerCode = OwnerCode::from_bytes([7; 16]);
pub const GATEWAY: &str = "g1";

pub fn listening() -> LockConfig {
    LockConfig { heartbeat_ms: 0, ..LockConfig::listening(Firmware { major: 1, minor: 2, patch: 3 }) }
}

pub fn sleepy() -> LockConfig {
    LockConfig { heartbeat_ms: 0, ..LockConfig::class_a(Firmware::default()) }
}

/// Where a platform's keys come from, each time it starts.
pub type OpenKeys = Box<dyn Fn(&Path) -> Box<dyn KeyStore>>;

/// A down as the gateway got it.
#[derive(Clone, Debug)]
pub struct Down {
    pub message: Downlink,
    pub at: u64,
}

pub struct World {
    pub nvm: TestNvm,
    pub clock: TestClock,
    pub actuator: TestActuator,
    pub agent: Option<Agent<Board>>,
    link: LockLink,
    pub lock: LockId,
    pub lock_config: LockConfig,
    pub identity: u8,
    boots: u64,
    pub dir: TempDir,
    open_keys: OpenKeys,
    pub core: Option<Core<Box<dyn KeyStore>, Faulty>>,
    /// What goes wrong in the platform's state.
    pub faults: Faults,
    /// What the broker has delivered without being thanked for it; it delivers it again.
    pub unacknowledged: Vec<(String, Vec<u8>)>,
    pub topics: Topics,
    pub epoch: [u8; 8],
    pub seq: u64,
    /// Everything that was published to `up`, for repeats and replays.
    pub ups: Vec<Uplink>,
    /// Everything that came to `down`.
    pub downs: Vec<Down>,
    waiting: VecDeque<Vec<u8>>,
    /// Datagrams of the lock for peers: they never leave the site.
    pub for_peers: Vec<Vec<u8>>,
    pub seen: Vec<Seen>,
    pub events: Vec<PlatformEvent>,
    pub told: Vec<AgentEvent>,
    /// The gateway loses downlinks of this kind, so many of them.
    pub lose_down: usize,
    /// The broker loses uplinks, so many.
    pub lose_up: usize,
    /// The platform restarts before it sees each uplink.
    pub restart_often: bool,
}

impl World {
    pub fn new(lock_config: LockConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        cardea_sdk::Platform::init(dir.path()).unwrap();
        Self::with_keys(lock_config, dir, Box::new(|dir| Box::new(FileKeys::open(dir).unwrap())))
    }

    /// A platform in `dir` whose keys are made already, and elsewhere.
    pub fn with_keys(lock_config: LockConfig, dir: TempDir, open_keys: OpenKeys) -> Self {
        cardea_sdk::Platform::init_state(dir.path()).unwrap();
        let mut nvm = TestNvm::default();
        provision(&mut nvm, &CODE).unwrap();
        let clock = TestClock::default();
        clock.set(1_000);
        let lock = LockId::from_thumbprint(&key::signer(1).public().thumbprint());
        let mut world = Self {
            nvm,
            clock,
            actuator: TestActuator::default(),
            agent: None,
            link: link(),
            lock,
            lock_config,
            identity: 1,
            boots: 0,
            dir,
            open_keys,
            core: None,
            faults: Faults::default(),
            unacknowledged: Vec::new(),
            topics: Topics::new("cardea/v1", GATEWAY).unwrap(),
            epoch: [1; 8],
            seq: 0,
            ups: Vec::new(),
            downs: Vec::new(),
            waiting: VecDeque::new(),
            for_peers: Vec::new(),
            seen: Vec::new(),
            events: Vec::new(),
            told: Vec::new(),
            lose_down: 0,
            lose_up: 0,
            restart_often: false,
        };
        world.restart();
        world
    }

    /// An activated lock whose boot event was answered.
    pub fn activated(lock_config: LockConfig) -> Self {
        let mut world = Self::new(lock_config);
        world.activate();
        world
    }

    /// Power and owner code for a lock that has an owner afterwards.
    pub fn activate(&mut self) {
        self.enroll(&CODE);
        self.boot();
        self.run();
        assert!(self.agent().owner().is_some(), "{:?} {:?}", self.told, self.events);
        assert!(
            self.events.iter().any(|e| matches!(e, PlatformEvent::Activated { .. })),
            "{:?}",
            self.events
        );
        self.events.clear();
    }

    pub fn enroll(&mut self, code: &OwnerCode) {
        let lock = self.lock;
        self.batch(|core, _| core.enroll(lock.into(), code).unwrap());
    }

    /// The platform's process ends and starts again on the same directory; retained messages come.
    pub fn restart(&mut self) {
        let _watch = cardea_freed::watch();
        self.core = None;
        let keys = (self.open_keys)(self.dir.path());
        let inner = SqliteState::open(&self.dir.path().join("state.db"), false).unwrap();
        let state = Faulty { inner, faults: self.faults.clone() };
        self.boots += 1;
        let random = Box::new(TestRandom::new(9_000 + self.boots));
        self.core = Some(Core::open(keys, state, random, Config::default()).unwrap());
        self.retained();
    }

    /// What the broker gives to a new subscriber.
    pub fn retained(&mut self) {
        let state = GatewayState { state: Presence::Online, at: 1 };
        self.message(&Topic::State, Encoding::Json.encode(&state));
        let link = LinkState {
            v: VERSION,
            joined: true,
            radio: "r".into(),
            sleepy: self.lock_config.sleepy,
            life_ms: 0,
            seen: Some(self.clock.rtc_ms()),
            rssi: None,
            snr: None,
            lqi: None,
            pending: 0,
            at: self.clock.rtc_ms(),
        };
        self.message(&Topic::Link(self.lock), Encoding::Json.encode(&link));
    }

    pub fn agent(&mut self) -> &mut Agent<Board> {
        self.agent.as_mut().expect("the lock has power")
    }

    pub fn boot(&mut self) {
        self.boots += 1;
        let parts = Parts {
            storage: self.nvm.clone(),
            clock: self.clock.clone(),
            random: TestRandom::new(1000 + self.boots),
            identity: key::signer(self.identity),
            dh: board::CountedDh(key::agreement(2)),
            actuator: self.actuator.clone(),
        };
        let mut agent = Agent::<Board>::boot(parts, self.lock_config).expect("boots");
        agent.link_up();
        self.agent = Some(agent);
    }

    /// Power off and on again.
    pub fn reset_lock(&mut self) {
        self.agent = None;
        self.clock.set(10);
        self.link = link();
        self.boot();
    }

    pub fn now(&self) -> Now {
        let unix = self.clock.rtc_ms();
        Now { mono: unix - board::EPOCH_MS, unix }
    }

    pub fn batch<T>(&mut self, act: impl FnOnce(&mut Core<Box<dyn KeyStore>, Faulty>, Now) -> T) -> T {
        self.attempt(|core, now| Ok(act(core, now))).unwrap()
    }

    /// As the platform's thread does it: an error gives the batch up.
    pub fn attempt<T>(
        &mut self,
        act: impl FnOnce(&mut Core<Box<dyn KeyStore>, Faulty>, Now) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _watch = cardea_freed::watch();
        self.settle()?;
        let now = self.now();
        let core = self.core.as_mut().unwrap();
        let result = core.begin().and_then(|()| {
            let done = act(core, now)?;
            core.handle_timeout(now)?;
            assert!(core.poll_output().is_none(), "nothing leaves before the commit");
            core.commit()?;
            Ok(done)
        });
        if result.is_err() {
            let _ = core.reload();
        }
        self.collect();
        result
    }

    /// The fence can be written again, or not: tries, and takes what may leave then.
    pub fn settle(&mut self) -> Result<(), Error> {
        let result = self.core.as_mut().unwrap().settle();
        self.collect();
        result
    }

    /// Takes what the platform lets go.
    fn collect(&mut self) {
        let now = self.now();
        let core = self.core.as_mut().unwrap();
        while let Some(event) = core.poll_event() {
            self.events.push(event);
        }
        let mut outputs = Vec::new();
        while let Some(output) = core.poll_output() {
            outputs.push(output);
        }
        for output in outputs {
            if !output.topic.contains(GATEWAY) {
                continue; // another gateway's
            }
            match self.topics.parse(&output.topic).expect("a topic of the contract") {
                Topic::Down(lock) => {
                    let message: Downlink = Encoding::Json.decode(&output.payload).unwrap();
                    assert_eq!(message.lock, lock);
                    assert!(message.not_after > now.unix, "{} {}", message.not_after, now.unix);
                    let datagram = Datagram::parse(&message.data.0).unwrap();
                    assert_eq!((datagram.kind, datagram.class), (message.kind, message.class));
                    self.downs.push(Down { message: message.clone(), at: now.unix });
                    if message.kind == Kind::Site {
                        continue;
                    }
                    if self.lose_down > 0 {
                        self.lose_down -= 1;
                    } else {
                        self.waiting.push_back(message.data.0);
                    }
                }
                Topic::Seen(_) => self.seen.push(Encoding::Json.decode(&output.payload).unwrap()),
                other => panic!("the platform publishes {other:?}"),
            }
        }
    }

    pub fn message(&mut self, topic: &Topic, payload: Vec<u8>) {
        let name = self.topics.name(topic);
        self.deliver(name, payload);
    }

    fn deliver(&mut self, name: String, payload: Vec<u8>) {
        let done = self.attempt(|core, now| core.handle_message(now, &name, &payload, false));
        if done.is_err() || !self.core.as_ref().unwrap().is_settled() {
            self.unacknowledged.push((name, payload));
        }
    }

    /// A new connection: the broker delivers again what was not acknowledged.
    pub fn redeliver(&mut self) {
        for (name, payload) in std::mem::take(&mut self.unacknowledged) {
            self.deliver(name, payload);
        }
    }

    /// Publishes a datagram of the lock as the gateway does.
    pub fn publish_up(&mut self, lock: LockId, datagram: &[u8]) {
        self.seq += 1;
        let header = Datagram::parse(datagram).unwrap();
        let uplink = Uplink {
            v: VERSION,
            id: MessageId(uplink_id(lock, datagram)),
            lock,
            kind: header.kind,
            class: header.class,
            data: Data(datagram.to_vec()),
            radio: "r".into(),
            rssi: Some(-80),
            snr: None,
            lqi: None,
            at: self.clock.rtc_ms(),
            clock: ClockState::Synced,
            epoch: Epoch(self.epoch),
            seq: self.seq,
        };
        self.ups.push(uplink.clone());
        if self.lose_up > 0 {
            self.lose_up -= 1;
            return;
        }
        if self.restart_often {
            self.restart();
        }
        self.again(&uplink);
    }

    /// Publishes this uplink (once more).
    pub fn again(&mut self, uplink: &Uplink) {
        self.message(&Topic::Up(uplink.lock), Encoding::Json.encode(uplink));
    }

    pub fn result(&mut self, id: MessageId, state: ResultState, reason: Option<&str>) {
        let result = DownlinkResult {
            v: VERSION,
            id,
            lock: self.lock,
            state,
            reason: reason.map(Into::into),
            at: self.clock.rtc_ms(),
        };
        self.message(&Topic::Result(self.lock), Encoding::Json.encode(&result));
    }

    /// Carries frames both ways until the platform has sent `downs` messages in all.
    pub fn run_until_downs(&mut self, downs: usize) {
        self.step_until(|world| world.downs.len() >= downs);
    }

    /// Carries frames both ways until nobody has anything to say.
    pub fn run(&mut self) {
        self.step_until(|_| false);
    }

    fn step_until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..400 {
            if done(self) {
                return;
            }
            let mut moved = false;
            let mut frame = [0; 256];
            let now = self.clock.now();
            match self.agent().poll_transmit(222, &mut frame) {
                Some(Output::Frame(len)) => {
                    moved = true;
                    self.take_frame(now, &frame[..len]);
                }
                Some(Output::Poll) => moved = true,
                None => {}
            }
            while self.link.poll_event().is_some() {}
            if self.link.can_send()
                && let Some(datagram) = self.waiting.pop_front()
            {
                self.link.send(now, &datagram, 1).unwrap();
            }
            if let Some(len) = self.link.poll_transmit(now, 222, &mut frame) {
                moved = true;
                self.agent().handle_frame(&frame[..len]);
            }
            while let Some(event) = self.agent().poll_event() {
                self.told.push(event);
            }
            if !moved {
                return;
            }
        }
        panic!("the lock and the gateway never come to rest");
    }

    fn take_frame(&mut self, now: u64, frame: &[u8]) {
        let mut whole = None;
        if let Ok(Some(incoming)) = self.link.handle_frame(now, frame) {
            whole = Some((incoming.datagram().to_vec(), incoming.receipt));
        }
        if let Some((datagram, receipt)) = whole {
            if let Some(receipt) = receipt {
                self.link.custody(now, receipt);
            }
            if Datagram::parse(&datagram).unwrap().kind.is_peer() {
                self.for_peers.push(datagram);
            } else {
                self.publish_up(self.lock, &datagram);
            }
        }
    }

    /// A datagram of a peer for the lock.
    pub fn give(&mut self, datagram: Vec<u8>) {
        self.waiting.push_back(datagram);
        self.run();
    }

    /// Lets time pass, stopping at every timer of lock and platform.
    pub fn live(&mut self, ms: u64) {
        let end = self.clock.now() + ms;
        for _ in 0..10_000 {
            self.run();
            let now = self.clock.now();
            let shift = self.now().mono - now;
            let core = self.core.as_ref().unwrap().poll_timeout().map_or(end, |at| at.saturating_sub(shift));
            let lock = self.agent().poll_timeout().unwrap_or(end);
            let next = lock.min(core).max(now + 1);
            self.clock.set(next.min(end));
            self.agent().handle_timeout();
            let _ = self.attempt(|_, _| Ok(())); // what failed is due again
            self.redeliver();
            if next >= end {
                self.run();
                return;
            }
        }
        panic!("the timers never come to rest");
    }

    /// Starts a command.
    pub fn ask(&mut self, ask: Ask, life: u64) -> [u8; 4] {
        let lock = self.lock;
        self.batch(|core, now| core.command(now, lock, ask, life).unwrap())
    }

    /// Wants a PIN in a slot, without limits.
    pub fn set_pin(&mut self, slot: u8, digits: &[u8]) {
        let setting = pin_setting(digits);
        let lock = self.lock;
        self.batch(|core, now| core.set_pin(now, lock, slot, &setting)).unwrap();
    }

    pub fn clear_pin(&mut self, slot: u8) {
        let lock = self.lock;
        self.batch(|core, now| core.clear_pin(now, lock, slot)).unwrap();
    }

    /// How a slot stands, and why.
    pub fn pin(&mut self, slot: u8) -> Option<(PinState, Option<&'static str>)> {
        let lock = self.lock;
        let report = self.batch(|core, _| core.pins(lock)).unwrap();
        report.slots.iter().find(|row| row.slot == slot).map(|row| (row.state, row.why))
    }

    /// Somebody enters a PIN at the lock.
    pub fn enter(&mut self, digits: &[u8]) -> PinResult {
        let result = self.agent().enter_pin(digits);
        self.run();
        result
    }

    /// The files of the platform's state, copied while nothing runs, as people make backups.
    pub fn backup(&mut self) -> TempDir {
        self.core = None;
        let copy = tempfile::tempdir().unwrap();
        for name in ["state.db", "state.db-wal"] {
            let _ = std::fs::copy(self.dir.path().join(name), copy.path().join(name));
        }
        self.restart();
        copy
    }

    /// Puts a backup back and starts.
    pub fn put_back(&mut self, copy: &TempDir) {
        self.core = None;
        for end in ["state.db", "state.db-wal", "state.db-shm"] {
            let _ = std::fs::remove_file(self.dir.path().join(end));
            let _ = std::fs::copy(copy.path().join(end), self.dir.path().join(end));
        }
        self.restart();
    }

    /// The outcome of a command, if it has ended.
    pub fn outcome(&self, id: [u8; 4]) -> Option<Outcome> {
        self.events.iter().find_map(|event| match event {
            PlatformEvent::Ended { command, outcome, .. } if *command == hex::encode(id) => {
                Some(outcome.clone())
            }
            _ => None,
        })
    }

    /// How often an event of this kind reached the owner.
    pub fn count(&self, wanted: &str) -> usize {
        self.events.iter().filter(|e| matches!(e, PlatformEvent::Lock { kind, .. } if kind == wanted)).count()
    }

    /// Bodies of OSCORE downs.
    pub fn sealed_downs(&self) -> Vec<Vec<u8>> {
        self.downs
            .iter()
            .filter(|d| d.message.kind == Kind::PlatformOscore)
            .map(|d| d.message.data.0.clone())
            .collect()
    }

    /// (kid, Partial IV) of every request we sent: none may occur twice.
    pub fn nonces(&self) -> Vec<(Vec<u8>, u64)> {
        let mut all = Vec::new();
        for datagram in self.sealed_downs() {
            let mut message = vec![0; datagram.len() + 16];
            let length = cardea_framing::restore(&datagram[1..], &mut message).unwrap();
            let outer = cardea_oscore::coap::Message::parse(&message[..length]).unwrap();
            // A hint is no request, and has no option.
            let Ok(option) = cardea_oscore::OscoreOption::of(&outer) else { continue };
            if let Some(piv) = option.partial_iv {
                all.push((option.kid.unwrap_or_default().to_vec(), piv));
            }
        }
        all
    }
}

pub fn pin_setting(digits: &[u8]) -> PinSetting {
    PinSetting { pin: Pin::new(digits).unwrap(), duress: false, not_before: None, not_after: None }
}

fn link() -> LockLink {
    LockLink::new(LinkConfig { retry_ms: 2_000, max_attempts: 3, reassembly_ms: 60_000, max_datagram: 512 })
}
