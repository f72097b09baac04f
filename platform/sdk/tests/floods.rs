//! A gateway that lies: invents handshakes for every lock or for one, at any rate. What it costs the platform is counted,
//! and a lock behind another gateway notices nothing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail by panicking

mod common;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use cardea_credentials::{Agreement, Error as KeyError, PublicKey, SharedSecret, Signer, SoftAgreement};
use cardea_envelope::{ClockState, Data, Encoding, Epoch, MessageId, Topic, Topics, Uplink, VERSION};
use cardea_framing::{Class, Datagram, Kind, LockId, uplink_id};
use cardea_sdk::{
    Ask, FileKeys, KeyStore, LockName, Outcome, Platform, PlatformEvent, Stage, State as _, session,
};
use common::{CODE, World, listening};

/// Files, and a count of what the static key is asked for: one of the three scalar multiplications of message_2.
struct Counted {
    files: FileKeys,
    agreed: Arc<AtomicUsize>,
}

impl KeyStore for Counted {
    fn agreement(&self) -> &dyn Agreement {
        self
    }

    fn signer(&self) -> &dyn Signer {
        self.files.signer()
    }

    fn certificate(&self) -> &[u8] {
        self.files.certificate()
    }

    fn root(&self) -> PublicKey {
        self.files.root()
    }
}

impl Agreement for Counted {
    fn public(&self) -> PublicKey {
        self.files.agreement().public()
    }

    fn agree(&self, peer: &PublicKey) -> Result<SharedSecret, KeyError> {
        self.agreed.fetch_add(1, Relaxed);
        self.files.agreement().agree(peer)
    }
}

fn world() -> (World, Arc<AtomicUsize>) {
    let dir = tempfile::tempdir().unwrap();
    Platform::init(dir.path()).unwrap();
    let agreed = Arc::new(AtomicUsize::new(0));
    let count = agreed.clone();
    let open = move |dir: &Path| -> Box<dyn KeyStore> {
        Box::new(Counted { files: FileKeys::open(dir).unwrap(), agreed: count.clone() })
    };
    (World::with_keys(listening(), dir, Box::new(open)), agreed)
}

/// A gateway that says what it likes under its own name, as the broker allows it to.
struct Liar {
    topics: Topics,
    points: Vec<[u8; 32]>,
    said: u64,
}

impl Liar {
    fn new(name: &str) -> Self {
        let point = |n: u8| SoftAgreement::from_bytes(&[n; 32]).unwrap().public().x();
        Self {
            topics: Topics::new("cardea/v1", name).unwrap(),
            points: (1..=40).map(point).collect(),
            said: 0,
        }
    }

    /// A handshake datagram in the name of `lock`: topic and payload.
    fn uplink(&mut self, at: u64, lock: LockId, body: &[u8]) -> (String, Vec<u8>) {
        self.said += 1;
        let mut datagram = [0; 256];
        let whole = Datagram { kind: Kind::PlatformEdhoc, class: Class::Interactive, peer: None, body };
        let len = whole.encode(&mut datagram).unwrap();
        let uplink = Uplink {
            v: VERSION,
            id: MessageId(uplink_id(lock, &datagram[..len])),
            lock,
            kind: Kind::PlatformEdhoc,
            class: Class::Interactive,
            data: Data(datagram[..len].to_vec()),
            radio: "r".into(),
            rssi: None,
            snr: None,
            lqi: None,
            at,
            clock: ClockState::Synced,
            epoch: Epoch([9; 8]),
            seq: self.said,
        };
        (self.topics.name(&Topic::Up(lock)), Encoding::Json.encode(&uplink))
    }

    /// A sound message_1, another one each time.
    fn message_1(&mut self, at: u64, lock: LockId) -> (String, Vec<u8>) {
        let point = self.points[self.said as usize % self.points.len()];
        let c_i = self.said.to_be_bytes();
        let body = [&[0xf5, 3, 2, 0x58, 0x20][..], &point, &[0x47], &c_i[1..]].concat();
        self.uplink(at, lock, &body)
    }
}

/// As a broker delivers them: several, then one commit.
fn deliver(world: &mut World, messages: &[(String, Vec<u8>)]) {
    world.batch(|core, now| {
        for (topic, payload) in messages {
            core.handle_message(now, topic, payload, false).unwrap();
        }
    });
}

/// Locks that are enrolled and never on the air.
fn enrolled(world: &mut World, count: u64) -> Vec<LockId> {
    (0..count)
        .map(|n| {
            let lock = LockId((0x1000 + n).to_be_bytes());
            world.batch(|core, _| core.enroll(LockName::Id(lock), &CODE).unwrap());
            lock
        })
        .collect()
}

#[test]
fn a_gateway_that_floods_for_every_lock_costs_a_burst_and_delays_nobody() {
    let (mut world, agreed) = world();
    let locks = enrolled(&mut world, 60);
    world.enroll(&CODE);
    let lock = world.lock;
    let mut liar = Liar::new("liar");
    let config = session::Config::default();
    let began = world.clock.now();
    let flood = |world: &mut World, liar: &mut Liar| {
        let at = world.clock.rtc_ms();
        let both = locks.iter().flat_map(|id| [*id, lock]);
        let messages: Vec<_> = both.map(|id| liar.message_1(at, id)).collect();
        deliver(world, &messages);
        world.clock.set(world.clock.now() + 60);
    };
    for _ in 0..10 {
        flood(&mut world, &mut liar);
    }
    let spent = agreed.load(Relaxed);
    let pace = (world.clock.now() - began) / config.gateway_every_ms + 1;
    assert!(spent <= usize::from(config.gateway_burst) + pace as usize, "{spent} handshakes were begun");
    assert!(spent >= usize::from(config.gateway_burst) - 5, "the test floods: {spent}");
    let counters = world.core.as_ref().unwrap().counters();
    assert!(counters.handshakes_throttled > 100, "{counters:?}");

    // The lock itself comes by the other gateway, in the middle of the flood.
    let at = world.clock.now();
    world.boot();
    for _ in 0..10 {
        flood(&mut world, &mut liar);
        world.run();
    }
    assert!(world.agent().owner().is_some(), "{:?}", world.events);
    assert!(world.clock.now() - at <= 2_000, "activated within two seconds");
    let id = world.ask(Ask::Unlock, 20_000);
    let at = world.clock.now();
    while world.outcome(id).is_none() {
        flood(&mut world, &mut liar);
        world.run();
        assert!(world.clock.now() - at <= 2_000, "the owner waits longer than two seconds");
    }
    assert!(matches!(world.outcome(id), Some(Outcome::Done { .. })), "{:?}", world.outcome(id));
    let all = agreed.load(Relaxed);
    let pace = (world.clock.now() - began) / config.gateway_every_ms + 1;
    assert!(all <= usize::from(config.gateway_burst) + pace as usize + 2, "{all} of {} cost", liar.said);
}

#[test]
fn a_gateway_that_speaks_in_the_name_of_one_lock_closes_no_door_and_ends_no_handshake_of_it() {
    let (mut world, agreed) = world();
    world.enroll(&CODE);
    let lock = world.lock;
    let mut liar = Liar::new("liar");
    let at = world.clock.rtc_ms();
    let messages: Vec<_> = (0..1_000).map(|_| liar.message_1(at, lock)).collect();
    deliver(&mut world, &messages);
    assert_eq!(agreed.load(Relaxed), 5, "as many as one gateway may fail with one lock");
    let throttled = world.events.iter().filter(|e| matches!(e, PlatformEvent::Throttled { .. })).count();
    assert_eq!(throttled, 1);
    // The lock has its message_2; now the liar answers it, under every name that it can have.
    let began = world.clock.now();
    world.boot();
    world.run_until_downs(world.downs.len() + 1);
    assert!(world.agent().owner().is_none());
    let lie = |c_r: u8| liar.uplink(at, lock, &[&[c_r, 0x58, 0x30][..], &[c_r; 0x30]].concat());
    let messages: Vec<_> = (0..24).chain(0x20..0x38).map(lie).collect();
    deliver(&mut world, &messages);
    world.run();
    assert!(world.agent().owner().is_some(), "{:?}", world.told);
    assert!(world.clock.now() - began <= 2_000);
    assert_eq!(world.core.as_ref().unwrap().summaries()[0].stage, Stage::Owned);
}

/// The platform chooses its recipient ids apart, but a state that was merged or made elsewhere may hold two contexts
/// under one: each is tried, and the right one opens.
#[test]
fn of_two_contexts_under_one_id_the_one_that_opens_is_taken() {
    let mut world = World::activated(listening());
    world.batch(|core, _| {
        let mut record = core.state_mut().contexts().unwrap().pop().unwrap();
        record.secret = zeroize::Zeroizing::new(vec![9; record.secret.len()]);
        record.phase = cardea_sdk::Phase::Unconfirmed;
        core.state_mut().add_context(&record).unwrap();
    });
    world.restart();
    let before = world.count("touch");
    world.agent().touch();
    world.run();
    assert_eq!(world.count("touch"), before + 1, "the newest is tried first, and is not the right one");
    let id = world.ask(Ask::Unlock, 20_000);
    world.run();
    assert!(matches!(world.outcome(id), Some(Outcome::Done { .. })), "{:?}", world.outcome(id));
}
