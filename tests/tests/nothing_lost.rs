//! What the gateway has receipted reaches the platform: through broker outages, half-open links, lost sessions
//! and SIGKILL at random moments; in per-lock order, repeats with the same id.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use cardea_envelope::{Encoding, EventKind, GatewayEvent, Seen, Uplink};
use cardea_framing::{Class, LockId, uplink_id};
use cardea_tests::{
    broker::Broker,
    daemon::Daemon,
    loopback::{LoopRadio, datagram},
    spy::Spy,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

const PATIENCE: Duration = Duration::from_secs(240);

/// A broker that keeps what it acknowledged: this suite is about the gateway's custody, not the broker's.
const PERSISTENT: &str =
    "persistence true\nautosave_on_changes true\nautosave_interval 1\npersistence_location ";

fn seed() -> u64 {
    let seed = std::env::var("CARDEA_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_123);
    println!("CARDEA_SEED={seed}");
    seed
}

/// The nth thing this lock says: distinct bytes, never the same twice.
fn said(lock: LockId, n: u32) -> Vec<u8> {
    let mut body = vec![0x09, 0];
    body.extend_from_slice(&lock.0);
    body.extend_from_slice(&n.to_be_bytes());
    body.resize(40, 0xA5);
    datagram(Class::Log, &body)
}

/// First delivery of each datagram at the platform, in order, per lock; checks ids, numbering and order.
fn arrived(spy: &Spy) -> BTreeMap<LockId, Vec<Vec<u8>>> {
    let mut firsts: BTreeMap<LockId, Vec<Vec<u8>>> = BTreeMap::new();
    let mut known: BTreeMap<[u8; 16], Vec<u8>> = BTreeMap::new();
    for message in spy.ending("/up") {
        let up: Uplink = Encoding::Json.decode(&message.payload).unwrap();
        assert_eq!(up.id.0, uplink_id(up.lock, &up.data.0), "the id is a digest of lock and datagram");
        match known.insert(up.id.0, up.data.0.clone()) {
            Some(before) => assert_eq!(before, up.data.0, "a repeat has the same bytes"),
            None => firsts.entry(up.lock).or_default().push(up.data.0),
        }
    }
    firsts
}

fn check(radio: &LoopRadio, spy: &Spy, what: &str) {
    let missing = || {
        let arrived = arrived(spy);
        radio
            .locks
            .iter()
            .map(|(id, lock)| {
                let here: BTreeSet<_> = arrived.get(id).into_iter().flatten().collect();
                lock.receipted.iter().filter(|d| !here.contains(d)).count()
            })
            .sum::<usize>()
    };
    let end = Instant::now() + PATIENCE;
    while missing() > 0 {
        assert!(Instant::now() < end, "{what}: {} receipted frames never reached the platform", missing());
        std::thread::sleep(Duration::from_millis(200));
    }
    for (id, got) in arrived(spy) {
        let sent = &radio.locks[&id].receipted;
        let order: Vec<_> = got.iter().filter(|d| sent.contains(d)).collect();
        assert!(order.windows(2).all(|w| position(w[0]) < position(w[1])), "{what}: order of {id:?}");
    }
}

fn position(datagram: &[u8]) -> u32 {
    u32::from_be_bytes(datagram[11..15].try_into().unwrap())
}

struct Site {
    broker: Broker,
    daemon: Daemon,
    radio: LoopRadio,
    spy: Spy,
    // Last, so that the logs outlive the processes that a failing test prints.
    _dir: tempfile::TempDir,
}

fn site(locks: u16, more: &str) -> Site {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path(), &format!("{PERSISTENT}{}/", dir.path().display()));
    let spy = Spy::start(broker.port);
    let daemon = Daemon::start(dir.path(), broker.port, more);
    let radio = LoopRadio::new(daemon.loopback, locks, 700);
    daemon.admit(&radio.labels());
    radio.announce();
    Site { _dir: dir, broker, daemon, radio, spy }
}

/// 20,000 frames from 40 locks while broker and daemon die at random.
#[test]
fn killed_at_random_during_20000_frames() {
    let mut rng = ChaCha8Rng::seed_from_u64(seed());
    let mut site = site(40, "");
    let ids: Vec<_> = site.radio.locks.keys().copied().collect();
    for n in 0..500 {
        for &id in &ids {
            site.radio.push(id, said(id, n));
        }
    }
    let (mut kills, mut outages) = (0, 0);
    // By frames, not by the clock: a fast machine meets as many faults as a slow one.
    let mut left = 19_500;
    let mut broker_back: Option<Instant> = None;
    let Site { broker, daemon, radio, spy, .. } = &mut site;
    radio.run_until("all receipted", PATIENCE, |radio| {
        let now = Instant::now();
        if broker_back.is_some_and(|at| at <= now) {
            broker.up();
            broker_back = None;
        }
        if radio.unreceipted() <= left {
            match rng.next_u32() % 3 {
                0 if broker_back.is_none() => {
                    broker.down();
                    outages += 1;
                    broker_back = Some(now + Duration::from_millis(u64::from(rng.next_u32() % 1500)));
                }
                _ => {
                    daemon.kill();
                    daemon.up();
                    radio.announce();
                    kills += 1;
                }
            }
            left = left.saturating_sub(500 + (rng.next_u32() % 1_500) as usize);
        }
        radio.unreceipted() == 0
    });
    if broker_back.is_some() {
        broker.up();
    }
    spy.wait_connected();
    println!("{kills} kills of the daemon, {outages} of the broker");
    assert!(kills >= 4 && outages >= 1, "this seed means nothing: {kills} kills, {outages} outages");
    check(radio, spy, "random kills");
    let total: usize = arrived(spy).values().map(Vec::len).sum();
    assert_eq!(total, 20_000);
}

/// The broker stops answering but the connection stays open; then it is killed, refuses, and comes back with the session
/// that it kept on disk. A broker that comes back without it is `a_broker_that_forgets_loses_nothing_in_platform_custody`
/// and `broker/tests/links.rs`.
#[test]
fn half_open_then_refused_then_a_session_that_survived() {
    let mut site = site(10, "");
    let ids: Vec<_> = site.radio.locks.keys().copied().collect();
    let mut n = 0;
    let mut say = |radio: &mut LoopRadio, count: u32| {
        for _ in 0..count {
            for &id in &ids {
                radio.push(id, said(id, n));
            }
            n += 1;
        }
    };
    let Site { broker, daemon, radio, spy, .. } = &mut site;
    say(radio, 20);
    broker.freeze();
    say(radio, 20);
    radio.run_until("receipted while half-open", PATIENCE, |r| r.unreceipted() == 0);
    broker.down();
    say(radio, 20);
    radio.run_until("receipted while refused", PATIENCE, |r| r.unreceipted() == 0);
    assert!(daemon.process().log().contains("mqtt") || !daemon.process().ended());
    broker.up();
    spy.wait_connected();
    check(radio, spy, "half-open, refused, back");
    say(radio, 20);
    radio.run_until("receipted after recovery", PATIENCE, |r| r.unreceipted() == 0);
    check(radio, spy, "after recovery");
    assert_eq!(arrived(spy).values().map(Vec::len).sum::<usize>(), 800);
}

/// A full outbox drops the oldest of the lowest class and says so, after the outage and after a restart.
#[test]
fn a_full_store_leaves_a_gap_marker() {
    let mut site = site(2, "[limits]\noutbox_bytes = 65536\nlock_bytes = 32768\n");
    let ids: Vec<_> = site.radio.locks.keys().copied().collect();
    let Site { broker, daemon, radio, spy, .. } = &mut site;
    broker.down();
    for n in 0..1_500 {
        radio.push(ids[0], said(ids[0], n));
    }
    radio.run_until("all receipted while the broker is away", PATIENCE, |r| r.unreceipted() == 0);
    daemon.kill();
    daemon.up();
    radio.announce();
    broker.up();
    spy.wait_connected();
    let dropped = spy.wait("/event", |m| {
        let event: GatewayEvent = Encoding::Json.decode(&m.payload).ok()?;
        match event.what {
            EventKind::Gap { lock, frames, class, .. } if lock == ids[0] && class == Class::Log => {
                Some(frames)
            }
            _ => None,
        }
    });
    assert!(dropped > 0);
    // What is left is the newest, without holes.
    cardea_tests::eventually("the newest arrives", PATIENCE, || {
        arrived(spy).get(&ids[0])?.last().filter(|d| position(d) == 1_499).map(drop)
    });
    let left = &arrived(spy)[&ids[0]];
    assert!(left.windows(2).all(|w| position(&w[0]) + 1 == position(&w[1])), "only the oldest may go");
    assert!(left.len() < 1_500);
}

/// A stock broker loses everything it has acknowledged when it is killed. With `custody = "platform"` the gateway
/// keeps interactive and log frames until the platform itself has said that it has them.
#[test]
fn a_broker_that_forgets_loses_nothing_in_platform_custody() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(dir.path(), "");
    let mut daemon = Daemon::start(dir.path(), broker.port, "custody = \"platform\"\n#mqtt\n");
    let mut radio = LoopRadio::new(daemon.loopback, 5, 700);
    daemon.admit(&radio.labels());
    radio.announce();
    let ids: Vec<_> = radio.locks.keys().copied().collect();
    for n in 0..20 {
        for &id in &ids {
            radio.push(id, said(id, n));
        }
    }
    radio.run_until("all receipted", PATIENCE, |r| r.unreceipted() == 0);
    // Nobody has subscribed, the broker has acknowledged, and now it forgets.
    std::thread::sleep(Duration::from_secs(1));
    broker.down();
    broker.up();
    let spy = Spy::start(broker.port);
    check(&radio, &spy, "after the broker forgot");
    assert_eq!(arrived(&spy).values().map(Vec::len).sum::<usize>(), 100);

    // The platform has them: nothing comes again, not even after a restart.
    let mut last: BTreeMap<LockId, Uplink> = BTreeMap::new();
    for message in spy.ending("/up") {
        let up: Uplink = Encoding::Json.decode(&message.payload).unwrap();
        if last.get(&up.lock).is_none_or(|l| l.seq < up.seq) {
            last.insert(up.lock, up);
        }
    }
    for (lock, up) in &last {
        let seen = Seen { v: 1, epoch: up.epoch, seq: up.seq };
        let topic = format!("cardea/v1/gw-test/lock/{lock}/seen");
        spy.publish(&topic, &Encoding::Json.encode(&seen), false);
    }
    cardea_tests::eventually("the outbox is empty", PATIENCE, || {
        let status = String::from_utf8_lossy(&daemon.cli(&["status", "--json"]).stdout).into_owned();
        let status: serde_json::Value = serde_json::from_str(&status).ok()?;
        (status["outbox_frames"] == 0).then_some(())
    });
    let before = spy.count("/up");
    // Deleting is not urgent: a kill right now would only send the same ids once more.
    std::thread::sleep(Duration::from_secs(3));
    daemon.kill();
    daemon.up();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(spy.count("/up"), before, "what the platform has is not sent again");
}
