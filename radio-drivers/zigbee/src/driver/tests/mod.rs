//! The driver against a coordinator that tests play by hand; on the emulated NCP it is in `zboss/host/tests/driver.rs`.

mod backups;
mod cuts;
mod joins;
mod network;
mod random;
mod routers;
mod shell;
mod traffic;

use bytes::Bytes;
use cardea_radio::{Admission, AdmissionSecret, MemoryStore, Outcome, Refusal, Send};

use super::*;
use crate::coordinator::{Event as Said, Frame, JoinFailure, Network, Question, Received};
use crate::descriptors::{Clusters, NodeDescriptor, SimpleDescriptor};
use crate::types::NwkAddr;

pub(super) const OURS: Network =
    Network { coordinator: Eui64([0x50; 8]), extended_pan: Eui64([0x51; 8]), pan: 0x1A62, channel: 15 };
pub(super) const THEIRS: Network = Network { extended_pan: Eui64([9; 8]), ..OURS };

pub(super) fn config() -> DriverConfig {
    DriverConfig { channels: 1 << 15, tunnel: Tunnel::TEST, max_devices: 4, ordinary: None }
}

pub(super) fn lock(n: u8) -> LockId {
    LockId([n; 8])
}

pub(super) fn eui(n: u8) -> Eui64 {
    Eui64([0, 0x12, 0x4B, 0, 0, 0, 0, n])
}

pub(super) fn label(n: u8) -> Admission {
    let install_code = hex::decode("83fed3407a939723a5c639b26916d505c3b5").unwrap().into();
    Admission { lock: lock(n), secret: AdmissionSecret::Zigbee { eui: eui(n).0, install_code } }
}

pub(super) fn node(sleepy: bool) -> Answer {
    Answer::Node(NodeDescriptor {
        flags: 2,
        mac_capability: if sleepy { 0x80 } else { 0x88 },
        manufacturer: 0xFFF1,
        max_buffer: 82,
        max_incoming: 0,
        server_mask: 0,
        max_outgoing: 0,
        descriptor_capability: 0,
    })
}

pub(super) fn endpoint(endpoint: u8, servers: &[u16]) -> Answer {
    let clusters = Clusters { servers: servers.to_vec(), clients: Vec::new() };
    Answer::Endpoint(SimpleDescriptor { endpoint, profile: 0x0104, device: 0x000A, version: 0, clusters })
}

pub(super) fn heard(n: u8, frame: &[u8]) -> Said {
    let payload = Tunnel::TEST.from_lock(7, frame).unwrap().into();
    Said::Received(Received {
        eui: eui(n),
        profile: 0x0104,
        cluster: 0xFC7C,
        src_endpoint: 11,
        dst_endpoint: 1,
        lqi: 201,
        rssi: -57,
        payload,
    })
}

/// A driver, its store, and what it said.
pub(super) struct Bench {
    pub(super) driver: Driver,
    pub(super) store: MemoryStore,
    pub(super) now: Millis,
    pub(super) orders: Vec<Order>,
    pub(super) events: Vec<Event>,
    pub(super) replies: Vec<Result<NetworkDone, String>>,
}

impl Bench {
    pub(super) fn on(store: MemoryStore) -> Self {
        let driver = Driver::new(config(), store.snapshot()).unwrap();
        let mut bench = Self { driver, store, now: 1_000, orders: vec![], events: vec![], replies: vec![] };
        bench.settle();
        bench
    }

    /// A gateway that formed its network, and it runs.
    pub(super) fn up() -> Self {
        let store = MemoryStore::new();
        let stored = StoredNetwork { network: OURS, key: None }.to_record();
        let change = Change { key: RecordKey::Network.encode(), value: Some(stored) };
        store.commit_now(vec![change]).unwrap();
        let mut bench = Self::on(store);
        bench.say(Said::State(State::Up(OURS)));
        bench.forget();
        bench
    }

    /// With one lock that is in it.
    pub(super) fn with_lock(sleepy: bool) -> Self {
        let mut bench = Self::up();
        bench.command(Command::Admit(label(1)));
        bench.join(1, sleepy);
        bench.forget();
        bench
    }

    pub(super) fn join(&mut self, n: u8, sleepy: bool) {
        self.say(Said::Joined { eui: eui(n), nwk: NwkAddr(0x1000 + u16::from(n)) });
        self.interview(sleepy);
    }

    /// Answers the questions of an interview.
    pub(super) fn interview(&mut self, sleepy: bool) {
        self.answer(|question| *question == Question::Node, Ok(node(sleepy)));
        self.answer(|question| *question == Question::Endpoints, Ok(Answer::Endpoints(vec![1, 11, 242])));
        self.answer(|question| *question == Question::Endpoint(1), Ok(endpoint(1, &[0, 0x0101])));
        self.answer(|question| *question == Question::Endpoint(11), Ok(endpoint(11, &[0, 0xFC7C])));
    }

    pub(super) fn answer(&mut self, wanted: impl Fn(&Question) -> bool, answer: Result<Answer, Failure>) {
        let asked = self
            .orders
            .iter()
            .rposition(|order| matches!(order, Order::Ask { question, .. } if wanted(question)));
        let Order::Ask { handle, .. } = self.orders.remove(asked.expect("it was asked")) else {
            unreachable!()
        };
        self.say(Said::Answer { handle, answer });
    }

    pub(super) fn say(&mut self, said: Said) {
        self.driver.handle_event(self.now, said);
        self.settle();
    }

    pub(super) fn command(&mut self, command: Command) {
        self.driver.handle_command(self.now, command);
        self.settle();
    }

    pub(super) fn order(&mut self, order: NetworkOrder) {
        self.driver.handle_order(self.now, 1, order);
        self.settle();
    }

    pub(super) fn send(&mut self, handle: u64, n: u8, life: Millis) {
        let frame = Bytes::from_static(b"sealed");
        self.command(Command::Send(Send { handle, lock: lock(n), frame, deadline: self.now + life }));
    }

    pub(super) fn pass(&mut self, ms: Millis) {
        let end = self.now + ms;
        while let Some(at) = self.driver.poll_timeout().filter(|at| *at <= end) {
            assert!(at > self.now, "it would be called for ever");
            self.now = at;
            self.driver.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    /// The store and both channels are quick.
    pub(super) fn settle(&mut self) {
        while let Some((commit, batch)) = self.driver.poll_commit() {
            let result = self.store.commit_now(batch);
            self.driver.handle_stored(self.now, commit, result);
        }
        self.orders.extend(std::iter::from_fn(|| self.driver.poll_order()));
        self.events.extend(std::iter::from_fn(|| self.driver.poll_event()));
        self.replies.extend(std::iter::from_fn(|| self.driver.poll_reply()).map(|(_, reply)| reply));
    }

    pub(super) fn forget(&mut self) {
        self.orders.clear();
        self.events.clear();
    }

    pub(super) fn restart(&mut self) {
        *self = Self { now: self.now, ..Self::on(self.store.clone()) };
    }

    pub(super) fn outcomes(&mut self) -> Vec<(u64, Outcome)> {
        let outcomes = std::mem::take(&mut self.events).into_iter().filter_map(|event| match event {
            Event::Outcome { handle, outcome } => Some((handle, outcome)),
            _ => None,
        });
        outcomes.collect()
    }

    pub(super) fn frames(&self) -> Vec<&Frame> {
        self.orders
            .iter()
            .filter_map(|order| if let Order::Send(frame) = order { Some(frame) } else { None })
            .collect()
    }

    pub(super) fn health(&self) -> &Health {
        self.driver.health.as_ref().unwrap()
    }

    pub(super) fn asked_to_leave(&self) -> Vec<Eui64> {
        let asked = self.orders.iter().filter_map(|order| match order {
            Order::Ask { eui, question: Question::Leave, .. } => Some(*eui),
            _ => None,
        });
        asked.collect()
    }

    pub(super) fn opened_for(&self) -> Vec<Eui64> {
        let opened = self.orders.iter().filter_map(|order| match order {
            Order::Admit { eui, seconds, .. } => {
                assert!(*seconds <= 254);
                Some(*eui)
            }
            _ => None,
        });
        opened.collect()
    }
}
