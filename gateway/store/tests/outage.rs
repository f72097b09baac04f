//! The relay over the real store: an outage, a restart in the middle of it, and what comes out at the end.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail by panic")]

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use cardea_core::{
    Action, Config, Input, LockRecord, RadioId, RadioInfo, Relay, StoreOp, StoreReply, UpstreamEvent, Wall,
};
use cardea_envelope::{Encoding, EventKind, GatewayEvent, Topic, Topics, Uplink};
use cardea_framing::{Class, Header, Kind, LockId};
use cardea_radio::{Event, Quality, Up};
use cardea_store::{Options, Store};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const LOCKS: u64 = 50;

struct Gateway {
    relay: Relay,
    store: Store,
    replies: UnboundedReceiver<StoreReply>,
    outstanding: usize,
    published: Vec<cardea_core::Publish>,
    now: u64,
    most_in_memory: u64,
}

impl Gateway {
    fn start(dir: &Path, now: u64, change: impl FnOnce(&mut Config)) -> Self {
        let (to, replies) = unbounded_channel();
        let (store, mut snapshot) = Store::open(&Options::new(dir.join("cardea.db")), to).unwrap();
        let lock = |n: u64| LockRecord { lock: LockId(n.to_be_bytes()), radio: "lora".into() };
        snapshot.locks = (0..LOCKS).map(lock).collect();
        let topics = Topics::new("cardea/v1", "gw").unwrap();
        let mut config = Config::new("gw", topics, vec![RadioInfo { name: "lora".into() }]);
        change(&mut config);
        let relay = Relay::new(config, now.to_be_bytes(), snapshot);
        Self { relay, store, replies, outstanding: 0, published: Vec::new(), now, most_in_memory: 0 }
    }

    fn feed(&mut self, input: Input) {
        let wall = Wall { unix_ms: 1_800_000_000_000 + self.now, synced: true };
        self.relay.handle(self.now, wall, input);
        while let Some(action) = self.relay.poll_action() {
            match action {
                Action::Publish(publish) => self.published.push(publish),
                Action::Store(op) => {
                    self.outstanding += match &op {
                        StoreOp::Write { .. } | StoreOp::Page { .. } => 1,
                    };
                    self.store.submit(op);
                }
                _ => {}
            }
        }
    }

    /// Takes the store's answers until `left` operations are outstanding.
    fn wait(&mut self, left: usize) {
        while self.outstanding > left {
            let reply = self.replies.blocking_recv().unwrap();
            self.outstanding -= match &reply {
                StoreReply::Committed { tickets, .. } | StoreReply::Failed { tickets, .. } => tickets.len(),
                StoreReply::Page { .. } => 1,
            };
            self.feed(Input::Stored(reply));
        }
    }

    fn hear(&mut self, number: u64) {
        let class = Class::ALL[(number % 4) as usize];
        let mut frame = vec![Header { kind: Kind::PlatformOscore, more: false, class }.encode()];
        frame.extend(number.to_be_bytes());
        frame.resize(36, 0x5a);
        let lock = LockId((number % LOCKS).to_be_bytes());
        let up =
            Up { lock, frame: Bytes::from(frame), quality: Quality::default(), at: self.now, window: None };
        self.feed(Input::Radio { radio: RadioId(0), event: Event::Up(up) });
        self.wait(200);
        if number.is_multiple_of(500) {
            self.most_in_memory = self.most_in_memory.max(self.relay.metrics().rows_in_memory);
        }
    }

    /// The broker is there and takes everything; gives frames by lock in their order, and frames lost in gaps.
    fn drain(&mut self) -> (BTreeMap<LockId, Vec<u64>>, u64) {
        let topics = Topics::new("cardea/v1", "gw").unwrap();
        let mut arrived: BTreeMap<LockId, Vec<u64>> = BTreeMap::new();
        let mut gaps = BTreeMap::new();
        self.feed(Input::Upstream(UpstreamEvent::Connected));
        while !self.published.is_empty() || self.outstanding > 0 {
            for publish in std::mem::take(&mut self.published) {
                match topics.parse(&publish.topic) {
                    Some(Topic::Up(lock)) => {
                        let up: Uplink = Encoding::Json.decode(&publish.payload).unwrap();
                        let number = u64::from_be_bytes(up.data.0[1..9].try_into().unwrap());
                        arrived.entry(lock).or_default().push(number);
                    }
                    Some(Topic::Event) => {
                        let event: GatewayEvent = Encoding::Json.decode(&publish.payload).unwrap();
                        if let EventKind::Gap { lock, class, frames, .. } = event.what {
                            gaps.insert((lock, class), frames);
                        }
                    }
                    _ => {}
                }
                self.feed(Input::Upstream(UpstreamEvent::Acked { token: publish.token }));
            }
            self.now += 25;
            self.feed(Input::Timer);
            self.wait(0);
        }
        (arrived, gaps.into_values().sum())
    }
}

#[test]
fn an_outage_with_a_restart_loses_nothing_and_keeps_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(dir.path(), 1, |_| {});
    (0..6_000).for_each(|n| gateway.hear(n));
    gateway.wait(0);
    assert!(gateway.most_in_memory <= 1_024, "{} rows in memory", gateway.most_in_memory);
    assert_eq!(gateway.relay.metrics().outbox_rows, 6_000, "{:?}", gateway.relay.metrics());
    drop(gateway);

    let mut gateway = Gateway::start(dir.path(), 2, |_| {});
    (6_000..8_000).for_each(|n| gateway.hear(n));
    let (arrived, lost) = gateway.drain();
    assert_eq!((arrived.values().map(Vec::len).sum::<usize>(), lost), (8_000, 0));
    for (lock, numbers) in arrived {
        assert!(numbers.is_sorted(), "lock {lock} out of order");
    }
    drop(gateway);
    let gateway = Gateway::start(dir.path(), 3, |_| {});
    assert_eq!(gateway.relay.metrics().outbox_rows, 0, "acknowledged rows are gone from the disk");
}

#[test]
fn what_does_not_fit_is_the_oldest_of_the_lowest_class_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    // Room for about 2,000 of 4,000.
    let mut gateway = Gateway::start(dir.path(), 1, |c| c.outbox_bytes = 2_000 * 100);
    (0..4_000).for_each(|n| gateway.hear(n));
    gateway.wait(0);
    let metrics = gateway.relay.metrics();
    // What came while room was being made may stay until the next frame asks for more.
    assert!(metrics.outbox_bytes <= 2_000 * 100 * 17 / 16, "{metrics:?}");
    assert_eq!(metrics.outbox_rows + metrics.rows_dropped, 4_000, "{metrics:?}");
    drop(gateway);
    // The gaps outlive a restart, and every frame is accounted for.
    let mut gateway = Gateway::start(dir.path(), 2, |_| {});
    let (arrived, lost) = gateway.drain();
    let here: usize = arrived.values().map(Vec::len).sum();
    assert_eq!(here as u64 + lost, 4_000);
    // Of the two high classes (numbers 0 and 1 of each four) nothing is missing.
    let high = arrived.values().flatten().filter(|n| **n % 4 < 2).count();
    assert_eq!(high, 2_000);
    assert!(here <= 2_125, "{here}");
    drop(gateway);
    let mut gateway = Gateway::start(dir.path(), 3, |_| {});
    assert_eq!(gateway.drain(), (BTreeMap::new(), 0), "told gaps are forgotten");
}
