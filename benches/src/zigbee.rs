//! Many locks on one Zigbee dongle, all of it real but the air: how long they take to join and be activated, what the daemon
//! needs of memory for them, how long an event takes to the platform while ten arrive each second, and how long a command takes
//! from the broker to the serial line.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use cardea_envelope::{Data, Downlink, Encoding, MessageId, Topic, Topics, VERSION};
use cardea_framing::{Class, Kind, LockId};
use cardea_sdk::{Broker as BrokerSettings, LockName, Platform, PlatformEvent};
use cardea_simulator::VirtualLock;
use cardea_simulator::zigbee::{Dongle, DongleConfig, Ncp, NcpConfig, Nvram, Router, SealedLock};
use cardea_tests::{broker::Broker, daemon::Daemon, eventually, loopback::datagram, spy::Spy};
use cardea_zigbee::Eui64;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{interval, timeout},
};

use crate::figures::{Percentiles, fsync, resident};

const SEED: u64 = 42;
/// With 32 children of its own, the dongle could not take 200 devices. It remembers no more than 200, these among them.
const ROUTERS: u64 = 6;
/// Locks that are at the door at once: who sets up a house goes from lock to lock.
const AT_THE_DOOR: u64 = 32;
const DONGLE: Eui64 = Eui64(*b"\x02\xca\xde\xa3\0\0\0\x05");
/// Milliseconds between two polls of a lock.
const POLL: u64 = 1_000;
/// Events in all, ten a second.
const EVENTS: usize = 300;
const BETWEEN: Duration = Duration::from_millis(100);
/// Commands, one for each lock.
const COMMANDS: usize = 200;
/// A command that takes longer waits for a place: the dongle has eight frames at a time, each until its lock polls.
const PLACE: Duration = Duration::from_millis(25);

/// Prints the table.
pub fn report(locks: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(locks));
}

async fn measure(count: u64) {
    let dir = tempfile::tempdir().unwrap();
    // As brokers other than mosquitto have it by themselves: else a command waits 40 ms in the broker when it follows
    // another message to the gateway, which is the broker's time and not ours.
    let broker = Broker::start(dir.path(), "set_tcp_nodelay true");
    let capture = dir.path().join("capture.pcap");
    let config = DongleConfig {
        port: dir.path().join("dongle"),
        seed: SEED,
        usb: false,
        capture: Some(capture.clone()),
    };
    let ncp = Ncp::new(NcpConfig { eui: DONGLE, seed: SEED }, Nvram::default());
    let dongle = Dongle::plug_in(ncp, config).unwrap();
    let more = format!("[zigbee]\nenabled = true\ndevice = \"{}\"\n", dongle.port().display());
    let mut daemon = Daemon::start(dir.path(), broker.port, &more);
    eventually("the dongle forms a network", Duration::from_secs(30), || {
        daemon.cli(&["radio", "form", "zigbee"]).status.success().then_some(())
    });
    let routers: Vec<Router> =
        (0..ROUTERS).map(|number| Router::start(SEED, number, &dongle).unwrap()).collect();
    for router in &routers {
        let label = format!("{}/{}", router.label().eui, hex::encode(router.label().code.as_bytes()));
        assert!(daemon.cli(&["radio", "admit-router", "zigbee", &label]).status.success());
    }
    eventually("the routers are in the network", Duration::from_secs(60), || {
        let list = daemon.cli(&["radio", "routers", "zigbee"]).stdout;
        let joined = String::from_utf8(list).unwrap().matches("in the network").count();
        (joined == routers.len()).then_some(())
    });
    let empty = resident(daemon.process().id());

    let home = dir.path().join("platform");
    fs::create_dir(&home).unwrap();
    Platform::init(&home).unwrap();
    let platform = Platform::open(&home).unwrap();
    let mut events = platform.subscribe();
    tokio::spawn(platform.clone().run(BrokerSettings::at(&format!("mqtt://127.0.0.1:{}", broker.port))));
    let start = Instant::now();
    let mut locks: BTreeMap<LockId, VirtualLock> = BTreeMap::new();
    let mut booted = 0;
    for number in 0..count {
        while number - booted >= AT_THE_DOOR {
            booted += u64::from(next(&mut events, "boot").await.1);
        }
        let lock = SealedLock::start(SEED, number, POLL, &dongle).unwrap().into_lock();
        daemon.admit(&[cardea_radio::label::reveal(lock.admission()).to_string()]);
        platform.enroll(LockName::Thumbprint(*lock.thumbprint()), lock.owner_code()).await.unwrap();
        locks.insert(lock.id(), lock);
    }
    while booted < count {
        // The first thing that a lock says once it has an owner.
        booted += u64::from(next(&mut events, "boot").await.1);
    }
    let joining = start.elapsed();
    let full = resident(daemon.process().id());

    let ids: Vec<_> = locks.keys().copied().collect();
    let (mut sent, mut taken) = (BTreeMap::new(), Vec::new());
    let mut ticks = interval(BETWEEN);
    let mut turn = ids.iter().cycle();
    let mut left = EVENTS;
    while left > 0 || !sent.is_empty() {
        tokio::select! {
            _ = ticks.tick(), if left > 0 => {
                // One whose event is still under way says nothing more of a second touch.
                let Some(id) = turn.by_ref().take(ids.len()).find(|id| !sent.contains_key(*id)) else { continue };
                left -= 1;
                sent.insert(*id, Instant::now());
                locks[id].touch();
            }
            (lock, is_touch) = next(&mut events, "touch") => {
                if is_touch && let Some(at) = sent.remove(&lock) {
                    taken.push(at.elapsed());
                }
            }
        }
    }
    let Commands { hop, line, ours, waited } = command(broker.port, &ids, &capture);
    let disk = fsync(300);
    let traffic = dongle.with(|ncp, _| ncp.traffic());
    println!("## {count} locks on one Zigbee dongle, virtual, that poll each second, {ROUTERS} routers\n");
    println!("| | |\n|---|---|");
    println!(
        "| joined and activated, {AT_THE_DOOR} at the door at once | {:.0} s, {:.2} s each |",
        joining.as_secs_f64(),
        joining.as_secs_f64() / count as f64
    );
    println!(
        "| memory of the daemon (RSS) without them, and with | {:.1} MB, {:.1} MB |",
        empty as f64 / 1024.0,
        full as f64 / 1024.0
    );
    println!(
        "| a touch to its event at the platform, {} of them, ten a second | {} |",
        taken.len(),
        Percentiles::of(taken)
    );
    println!("| a command, from its publication to another subscriber, {COMMANDS} of them | {hop} |");
    println!("| the same commands, from their publication to the serial line | {line} |");
    println!("| the same commands, from that other subscriber's reception to the serial line | {ours} |");
    println!(
        "| of these, those that waited longer than {} ms for a place in the dongle | {waited} |",
        PLACE.as_millis()
    );
    println!("| fdatasync of an appended 4 KiB | {disk} |");
    println!(
        "| frames from locks, to locks, dropped by the dongle | {}, {}, {} |\n",
        traffic.received, traffic.delivered, traffic.dropped
    );
}

/// How long commands took from their publication to another subscriber, to the serial line, and from the one to the other.
struct Commands {
    hop: Percentiles,
    line: Percentiles,
    ours: Percentiles,
    /// How many of them waited for another lock to fetch its frame.
    waited: usize,
}

/// Publishes a command for each lock. Their locks cannot open them; the gateway knows nothing of that.
fn command(port: u16, locks: &[LockId], capture: &Path) -> Commands {
    let spy = Spy::start(port);
    let topics = Topics::new("cardea/v1", "gw-test").unwrap();
    let mut sent = Vec::new();
    for (number, lock) in (0_u32..).zip(locks.iter().cycle()).take(COMMANDS) {
        let mark: Vec<u8> = [0xC0, 0xFF, 0xEE, 0x5A].into_iter().chain(number.to_be_bytes()).collect();
        let mut id = [0x5A; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let not_after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(25);
        let message = Downlink {
            v: VERSION,
            id: MessageId(id),
            lock: *lock,
            kind: Kind::PlatformOscore,
            class: Class::Interactive,
            data: Data(datagram(Class::Interactive, &mark)),
            not_after: not_after.as_millis() as u64,
        };
        let (topic, payload) = (topics.name(&Topic::Down(*lock)), Encoding::Json.encode(&message));
        sent.push((mark, payload.clone(), SystemTime::now()));
        spy.publish(&topic, &payload, false);
        std::thread::sleep(BETWEEN);
    }
    std::thread::sleep(Duration::from_secs(2));
    let captured = fs::read(capture).unwrap();
    let (seen, frames) = (spy.ending("/down"), records(&captured));
    let since = |from: SystemTime, to: SystemTime| to.duration_since(from).unwrap_or_default();
    let taken = sent.iter().map(|(mark, payload, from)| {
        let there = seen.iter().find(|message| message.payload == *payload).expect("it was published").at;
        let on_line = frames.iter().find(|(_, frame)| frame.windows(mark.len()).any(|part| part == mark));
        let on_line = on_line.expect("the dongle was given it").0;
        (since(*from, there), (since(*from, on_line), since(there, on_line)))
    });
    let (hop, (line, ours)): (Vec<_>, (Vec<_>, Vec<Duration>)) = taken.unzip();
    let waited = ours.iter().filter(|ours| **ours > PLACE).count();
    Commands { hop: Percentiles::of(hop), line: Percentiles::of(line), ours: Percentiles::of(ours), waited }
}

/// Times and frames of a capture, in order (pcap, little-endian, microseconds).
fn records(file: &[u8]) -> Vec<(SystemTime, &[u8])> {
    let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    let (mut rest, mut records) = (&file[24..], Vec::new());
    while rest.len() >= 16 {
        let after = Duration::new(number(&rest[..4]).into(), number(&rest[4..8]) * 1_000);
        let length = number(&rest[8..12]) as usize;
        records.push((UNIX_EPOCH + after, &rest[16..16 + length]));
        rest = &rest[16 + length..];
    }
    records
}

/// Whose event came next, and whether it is of this kind.
async fn next(events: &mut Receiver<PlatformEvent>, wanted: &str) -> (LockId, bool) {
    loop {
        match timeout(Duration::from_secs(120), events.recv()).await.expect("something happens") {
            Ok(PlatformEvent::Lock { lock, kind, .. }) => return (lock, kind == wanted),
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => panic!("the platform has ended"),
        }
    }
}
