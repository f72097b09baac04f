//! One seed's world.

mod ends;
mod store;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use cardea_core::{
    Action, Config, Custody, Input, LockRecord, Metrics, Publish, RadioId, RadioInfo, Relay, StoreOp,
    UpstreamEvent, Wall,
};
use cardea_envelope::Topics;
use cardea_framing::LockId;
use cardea_radio::{Command, Event, Outcome, Quality, Refusal, Up};

pub(crate) use ends::{Platform, SimLock};
pub(crate) use store::FakeStore;

/// Unix milliseconds at the simulation's zero.
const DAWN: u64 = 1_800_000_000_000;

const LOCKS: u8 = 5;
const MTU: u16 = 60;

/// SplitMix64.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// True once in `n`; never for 0.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        n > 0 && self.below(n) == 0
    }
}

/// How often things go wrong: once in so many; 0 is never.
#[derive(Clone, Copy)]
pub(crate) struct Faults {
    pub(crate) frame_lost: u64,
    pub(crate) frame_twice: u64,
    pub(crate) crash: u64,
    pub(crate) disconnect: u64,
    pub(crate) broker_forgets: u64,
    pub(crate) store_fails: u64,
    pub(crate) radio_refuses: u64,
}

impl Faults {
    pub(crate) fn all() -> Self {
        Self {
            frame_lost: 8,
            frame_twice: 10,
            crash: 4_000,
            disconnect: 1_500,
            broker_forgets: 5,
            store_fails: 25,
            radio_refuses: 15,
        }
    }

    pub(crate) fn none() -> Self {
        Self {
            frame_lost: 0,
            frame_twice: 0,
            crash: 0,
            disconnect: 0,
            broker_forgets: 0,
            store_fails: 0,
            radio_refuses: 0,
        }
    }
}

enum Happening {
    FrameUp(LockId, Bytes),
    FrameDown(LockId, Bytes),
    Outcome(u32, u64, Outcome),
    StoreWorks(u32),
    StoreAnswers(u32, cardea_core::StoreReply),
    BrokerTakes(u32),
    BrokerAcks(u32, u64),
    BrokerDelivers,
    Reconnect(u32),
}

/// A message for the gateway that the broker keeps until it is acknowledged.
struct Kept {
    ack: u64,
    topic: String,
    payload: Bytes,
}

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) now: u64,
    pub(crate) faults: Faults,
    pub(crate) store: FakeStore,
    pub(crate) platform: Platform,
    pub(crate) broker_stays_away: bool,
    relay: Relay,
    config: Config,
    /// Runs of the daemon.
    life: u32,
    /// Connections of the daemon to the broker.
    connection: u32,
    is_connected: bool,
    in_flight: VecDeque<Publish>,
    to_platform: VecDeque<(String, Bytes)>,
    to_gateway: VecDeque<Kept>,
    last_ack: u64,
    locks: BTreeMap<LockId, SimLock>,
    calendar: BTreeMap<(u64, u64), Happening>,
    entries: u64,
    sending: bool,
    /// When the relay last had something to do.
    fed: u64,
}

impl World {
    pub(crate) fn new(seed: u64, custody: Custody, faults: Faults) -> Self {
        let topics = Topics::new("cardea/v1", "gw").unwrap();
        let mut config = Config::new("gw", topics.clone(), vec![RadioInfo { name: "lora".into() }]);
        config.custody = custody;
        config.ram_rows = 64;
        config.publish_window = 20;
        config.resend_ms = 3_000;
        config.downlink_refill_ms = 200;
        let mut store = FakeStore::default();
        let ids: Vec<LockId> = (1..=LOCKS).map(|n| LockId([n; 8])).collect();
        store.locks.extend(ids.iter().map(|lock| LockRecord { lock: *lock, radio: "lora".into() }));
        let relay = Relay::new(config.clone(), [1; 8], store.snapshot());
        let mut world = Self {
            rng: Rng(seed),
            now: 0,
            faults,
            store,
            platform: Platform::new(topics),
            broker_stays_away: false,
            relay,
            config,
            life: 1,
            connection: 0,
            is_connected: false,
            in_flight: VecDeque::new(),
            to_platform: VecDeque::new(),
            to_gateway: VecDeque::new(),
            last_ack: 0,
            locks: ids.into_iter().map(|id| (id, SimLock::new(id))).collect(),
            calendar: BTreeMap::new(),
            entries: 0,
            sending: true,
            fed: 0,
        };
        world.start();
        world
    }

    pub(crate) fn metrics(&self) -> Metrics {
        self.relay.metrics()
    }

    fn wall(&self) -> Wall {
        Wall { unix_ms: DAWN + self.now, synced: true }
    }

    fn at(&mut self, delay: u64, what: Happening) {
        self.entries += 1;
        self.calendar.insert((self.now + delay, self.entries), what);
    }

    /// The daemon has just begun: radios report, the broker is tried.
    fn start(&mut self) {
        for lock in self.locks.keys().copied().collect::<Vec<_>>() {
            let sleepy = lock.0[0] == LOCKS;
            self.radio(Event::Joined(lock));
            self.radio(Event::Link { lock, mtu_down: MTU, sleepy, retry_ms: 800, life_ms: 5_000 });
        }
        let delay = 1 + self.rng.below(300);
        self.at(delay, Happening::Reconnect(self.life));
    }

    fn crash(&mut self) {
        self.disconnect();
        self.store.crash();
        self.life += 1;
        let mut epoch = [0; 8];
        epoch[..4].copy_from_slice(&self.life.to_be_bytes());
        self.relay = Relay::new(self.config.clone(), epoch, self.store.snapshot());
        self.start();
    }

    /// The broker took some of what was in flight; of nothing the gateway will know.
    fn disconnect(&mut self) {
        if !std::mem::take(&mut self.is_connected) {
            return;
        }
        let taken = self.rng.below(self.in_flight.len() as u64 + 1);
        for _ in 0..taken {
            self.broker_takes();
        }
        self.in_flight.clear();
        if self.config.custody == Custody::Platform && self.rng.one_in(self.faults.broker_forgets) {
            self.to_platform.clear();
        }
    }

    fn radio(&mut self, event: Event) {
        self.feed(Input::Radio { radio: RadioId(0), event });
    }

    fn feed(&mut self, input: Input) {
        self.fed = self.now;
        self.relay.handle(self.now, self.wall(), input);
        while let Some(action) = self.relay.poll_action() {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Radio { command: Command::Send(send), .. } => {
                assert!(send.frame.len() <= usize::from(MTU), "a frame beyond the mtu");
                let delay = 1 + self.rng.below(40);
                let outcome = if self.rng.one_in(self.faults.radio_refuses) {
                    Outcome::Refused(Refusal::Airtime)
                } else {
                    if !self.rng.one_in(self.faults.frame_lost) {
                        self.at(delay, Happening::FrameDown(send.lock, send.frame));
                    }
                    Outcome::Sent
                };
                self.at(delay, Happening::Outcome(self.life, send.handle, outcome));
            }
            Action::Publish(publish) => {
                assert!(self.is_connected, "a publish without a connection");
                self.in_flight.push_back(publish);
                assert!(self.in_flight.len() <= self.config.publish_window, "more in flight than the window");
                let delay = 1 + self.rng.below(30);
                self.at(delay, Happening::BrokerTakes(self.connection));
            }
            Action::Ack(ack) => self.to_gateway.retain(|kept| kept.ack != ack),
            Action::Store(StoreOp::Page { lock, after, through, limit }) => {
                let reply = self.store.page(lock, after, through, limit);
                let delay = 1 + self.rng.below(10);
                self.at(delay, Happening::StoreAnswers(self.life, reply));
            }
            Action::Store(StoreOp::Write { ticket, changes, .. }) => {
                self.store.pending.push_back((ticket, changes));
                let delay = 1 + self.rng.below(15);
                self.at(delay, Happening::StoreWorks(self.life));
            }
            Action::Radio { .. } | Action::Admin(_) | Action::Peer(_) => {}
        }
    }

    fn broker_takes(&mut self) -> Option<u64> {
        let publish = self.in_flight.pop_front()?;
        if !publish.retain {
            self.to_platform.push_back((publish.topic, publish.payload));
            let delay = 1 + self.rng.below(10);
            self.at(delay, Happening::BrokerDelivers);
        }
        Some(publish.token)
    }

    fn for_gateway(&mut self, topic: String, payload: Bytes) {
        self.last_ack += 1;
        let ack = self.last_ack;
        self.to_gateway.push_back(Kept { ack, topic: topic.clone(), payload: payload.clone() });
        if self.is_connected {
            let event = UpstreamEvent::Message { ack, topic, payload, retain: false, dup: false };
            self.feed(Input::Upstream(event));
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::FrameUp(lock, frame) => {
                let window = (lock.0[0] == LOCKS).then_some(self.now + 600);
                let quality = Quality { rssi: Some(-90), snr: None, lqi: None };
                self.radio(Event::Up(Up { lock, frame, quality, at: self.now, window }));
            }
            Happening::FrameDown(lock, frame) => {
                let now = self.now;
                if let Some(lock) = self.locks.get_mut(&lock) {
                    lock.hear(now, DAWN + now, &frame);
                }
            }
            Happening::Outcome(life, handle, outcome) if life == self.life => {
                self.radio(Event::Outcome { handle, outcome });
            }
            Happening::StoreWorks(life) if life == self.life => {
                let fails = self.rng.one_in(self.faults.store_fails);
                if let Some(reply) = self.store.work(fails) {
                    let delay = self.rng.below(3);
                    self.at(delay, Happening::StoreAnswers(life, reply));
                }
            }
            Happening::StoreAnswers(life, reply) if life == self.life => self.feed(Input::Stored(reply)),
            Happening::BrokerTakes(connection) if connection == self.connection && self.is_connected => {
                if let Some(token) = self.broker_takes() {
                    let delay = 1 + self.rng.below(30);
                    self.at(delay, Happening::BrokerAcks(connection, token));
                }
            }
            Happening::BrokerAcks(connection, token)
                if connection == self.connection && self.is_connected =>
            {
                self.feed(Input::Upstream(UpstreamEvent::Rtt { ms: 60 }));
                self.feed(Input::Upstream(UpstreamEvent::Acked { token }));
            }
            Happening::BrokerDelivers => {
                if let Some((topic, payload)) = self.to_platform.pop_front() {
                    for (topic, payload) in self.platform.receive(DAWN + self.now, &topic, &payload) {
                        self.for_gateway(topic, payload);
                    }
                }
            }
            Happening::Reconnect(life) if life == self.life && !self.is_connected => {
                if self.broker_stays_away {
                    self.at(1_000, Happening::Reconnect(life));
                    return;
                }
                self.connection += 1;
                self.is_connected = true;
                self.feed(Input::Upstream(UpstreamEvent::Connected));
                let again: Vec<_> =
                    self.to_gateway.iter().map(|k| (k.ack, k.topic.clone(), k.payload.clone())).collect();
                for (ack, topic, payload) in again {
                    let event = UpstreamEvent::Message { ack, topic, payload, retain: false, dup: true };
                    self.feed(Input::Upstream(event));
                }
            }
            _ => {} // Of another life or connection.
        }
    }

    /// One step of 1 to 20 ms.
    fn step(&mut self) {
        let until = self.now + 1 + self.rng.below(20);
        loop {
            let next = self.calendar.first_key_value().map(|(key, _)| *key).filter(|(at, _)| *at <= until);
            let timer = self.relay.poll_timeout().filter(|at| *at <= until);
            match (next, timer) {
                (Some(key), timer) if timer.is_none_or(|at| key.0 <= at) => {
                    self.now = self.now.max(key.0);
                    if let Some(what) = self.calendar.remove(&key) {
                        self.happen(what);
                    }
                }
                (_, Some(at)) => {
                    assert!(at > self.fed, "a timer that stays due: {at} after {}", self.fed);
                    self.now = self.now.max(at);
                    self.feed(Input::Timer);
                }
                _ => break,
            }
        }
        self.now = until;
        self.locks_transmit();
        self.trouble();
    }

    fn locks_transmit(&mut self) {
        let now = self.now;
        for lock in self.locks.keys().copied().collect::<Vec<_>>() {
            let sending = self.sending;
            let Some(entry) = self.locks.get_mut(&lock) else { continue };
            for frame in entry.transmit(now, usize::from(MTU), sending, &mut self.rng) {
                let copies = match () {
                    () if self.rng.one_in(self.faults.frame_lost) => 0,
                    () if self.rng.one_in(self.faults.frame_twice) => 2,
                    () => 1,
                };
                for _ in 0..copies {
                    // Air keeps the order of one sender.
                    self.at(1, Happening::FrameUp(lock, frame.clone()));
                }
            }
        }
    }

    fn trouble(&mut self) {
        if self.rng.one_in(self.faults.crash) {
            self.crash();
        }
        if self.rng.one_in(self.faults.disconnect) && self.is_connected {
            self.disconnect();
            self.feed(Input::Upstream(UpstreamEvent::Disconnected));
            let delay = 1 + self.rng.below(3_000);
            self.at(delay, Happening::Reconnect(self.life));
        }
        if self.sending && self.rng.one_in(60) {
            let lock = LockId([1 + u8::try_from(self.rng.below(u64::from(LOCKS))).unwrap(); 8]);
            let (topic, payload) = self.platform.command(DAWN + self.now, lock, &mut self.rng);
            self.for_gateway(topic.clone(), payload.clone());
            if self.rng.one_in(5) {
                self.for_gateway(topic, payload);
            }
        }
    }

    pub(crate) fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.step();
        }
    }

    /// Until the broker is there, before the first frame.
    pub(crate) fn warm_up(&mut self) {
        self.sending = false;
        self.run(1_000);
        self.sending = true;
    }

    /// No new frames; everything under way arrives.
    pub(crate) fn settle(&mut self) {
        self.sending = false;
        if !self.is_connected {
            self.at(1, Happening::Reconnect(self.life));
        }
        self.run(120_000);
    }

    pub(crate) fn check(&self) {
        for lock in self.locks.values() {
            let arrived = self.platform.arrived(lock.id);
            for (number, class) in lock.receipted() {
                // Where brokers forget, their word is custody for what the platform need not have.
                if self.config.custody == Custody::Platform && !class.has_receipt() {
                    continue;
                }
                assert!(
                    arrived.contains(number),
                    "lock {} frame {number} was receipted and is lost",
                    lock.id
                );
            }
            assert_eq!(lock.outstanding(), 0, "lock {} still tries", lock.id);
            for (id, at) in lock.heard() {
                let not_after = self.platform.not_after(id);
                assert!(*at <= not_after + 41, "lock {} heard {id:02x?} late", lock.id);
            }
        }
        self.platform.check();
        let metrics = self.metrics();
        assert_eq!(metrics.outbox_rows, 0, "{metrics:?}");
        assert_eq!(metrics.rows_in_memory, 0, "{metrics:?}");
        assert_eq!(metrics.outbox_bytes, 0, "{metrics:?}");
        assert!(self.store.is_empty_of_rows(), "rows are left on disk");
    }
}
