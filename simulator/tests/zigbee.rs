//! Our own host against the virtual dongle over a real pseudo-terminal: what a daemon's radio driver stands on. That the
//! dongle is right is shown by others, in `tests/tests/zigbee_peers`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test")]

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use cardea_radio::Clock;
use cardea_simulator::Happening;
use cardea_simulator::zigbee::{
    Direction, Dongle, DongleConfig, Faults, Ncp, NcpConfig, Nvram, SealedLock, Traffic,
};
use cardea_zigbee::coordinator::{
    Coordinator, CoordinatorEnd, Event, Failure, Frame, JoinFailure, Network, Order, Outcome, Plan, State,
};
use cardea_zigbee::descriptors::{Clusters, SimpleDescriptor};
use cardea_zigbee::ezsp::EzspNcp;
use cardea_zigbee::tunnel::Tunnel;
use cardea_zigbee::zboss::{HostConfig, ZbossNcp};
use cardea_zigbee::{Eui64, InstallCode, Key};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

const SEED: u64 = 20;
const DONGLE: Eui64 = Eui64(*b"\x02\xca\xde\xa3\0\0\0\x01");
const POLL: u64 = 150;
/// For whatever takes no reset; and for what takes one, or several.
const SOON: Duration = Duration::from_secs(15);
const LONG: Duration = Duration::from_secs(60);

/// A kind of dongle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stick {
    /// ZBOSS, behind a bridge that stays through resets.
    Zboss,
    /// ZBOSS on USB of its own: the port goes away with each reset.
    ZbossUsb,
    /// EmberZNet of this protocol, behind a bridge.
    Ezsp(u8),
}

impl Stick {
    fn ncp(self, eui: Eui64, nvram: Nvram) -> Ncp {
        let config = NcpConfig { eui, seed: SEED };
        match self {
            Self::Zboss | Self::ZbossUsb => Ncp::new(config, nvram),
            Self::Ezsp(protocol) => Ncp::ezsp(config, nvram, protocol),
        }
    }
}

/// Each of these is shown on every kind of dongle.
macro_rules! on_each_dongle {
    ($($name:ident)*) => {
        on_each_dongle!(zboss: Zboss; $($name)*);
        on_each_dongle!(zboss_on_usb: ZbossUsb; $($name)*);
        on_each_dongle!(ezsp_13: Ezsp(13); $($name)*);
        on_each_dongle!(ezsp_19: Ezsp(19); $($name)*);
    };
    ($family:ident: $stick:expr; $($name:ident)*) => {
        mod $family {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                #[allow(unused_imports, reason = "one of the kinds")]
                use super::Stick::*;
                super::$name($stick).await;
            })*
        }
    };
}

on_each_dongle! {
    a_network_is_formed_on_the_order_and_resumed_after_an_unplugging
    after_thirty_seconds_without_a_dongle_its_lock_is_reached_as_before
    a_lock_joins_with_its_install_code_and_tunnel_frames_go_both_ways
    a_lock_does_not_join_with_the_install_code_of_another
    a_renumbered_lock_is_reached_as_before
    after_every_fault_traffic_goes_on_and_nothing_is_formed_anew
    on_a_bad_wire_every_frame_has_one_end_and_what_is_acknowledged_was_heard
}

struct Bench {
    dongle: Dongle,
    orders: mpsc::Sender<Order>,
    events: mpsc::Receiver<Event>,
    clock: Clock,
    handle: u64,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new(stick: Stick) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = dir.path().join("dongle");
        let ncp = stick.ncp(DONGLE, Nvram::default());
        let usb = stick == Stick::ZbossUsb;
        let config = DongleConfig { port: port.clone(), seed: SEED, usb, capture: None };
        println!("seed {SEED}");
        let dongle = Dongle::plug_in(ncp, config).unwrap();
        let clock = Clock::start();
        let (orders, events) = drive(stick, port, clock, None);
        Self { dongle, orders, events, clock, handle: 0, _dir: dir }
    }

    async fn until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut wanted: impl FnMut(&Event) -> Option<T>,
    ) -> T {
        let end = Instant::now() + limit;
        let mut seen = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(event) = timeout(left, self.events.recv()).await else {
                panic!("{what}: only {seen:?}, {:?}", self.traffic());
            };
            let event = event.unwrap();
            if let Some(found) = wanted(&event) {
                return found;
            }
            seen.push(event);
        }
    }

    async fn order(&self, order: Order) {
        self.orders.send(order).await.unwrap();
    }

    async fn up(&mut self, limit: Duration) -> Network {
        let up =
            |event: &Event| if let Event::State(State::Up(network)) = event { Some(*network) } else { None };
        self.until("the network runs", limit, up).await
    }

    async fn formed(stick: Stick) -> (Self, Network) {
        let mut bench = Self::new(stick);
        bench.until("unformed", SOON, |event| (*event == Event::State(State::Unformed)).then_some(())).await;
        let plan = Plan {
            channels: 1 << 20,
            extended_pan: Eui64([1, 2, 3, 4, 5, 6, 7, 8]),
            pan: Some(0x4321),
            key: Key([7; 16]),
        };
        bench.order(Order::Form { plan, replace: false }).await;
        let network = bench.up(SOON).await;
        assert_eq!(bench.traffic().formed, 1);
        (bench, network)
    }

    fn lock(&self, number: u64) -> SealedLock {
        SealedLock::start(SEED, number, POLL, &self.dongle).unwrap()
    }

    async fn admit(&self, lock: &SealedLock, code: InstallCode) {
        self.order(Order::Admit { eui: lock.label().eui, code, seconds: 60 }).await;
    }

    async fn joined(stick: Stick) -> (Self, Network, SealedLock) {
        let (mut bench, network) = Self::formed(stick).await;
        let lock = bench.lock(0);
        let eui = lock.label().eui;
        bench.admit(&lock, lock.label().code.clone()).await;
        let joined =
            |event: &Event| matches!(event, Event::Joined { eui: who, .. } if *who == eui).then_some(());
        bench.until("the lock joins", SOON, joined).await;
        (bench, network, lock)
    }

    /// Gives the lock a frame of this length and says what became of it.
    async fn send(&mut self, lock: &SealedLock, length: usize) -> Outcome {
        self.handle += 1;
        let (handle, sequence) = (self.handle, u8::try_from(self.handle & 0xFF).unwrap());
        let frame = Frame {
            handle,
            eui: lock.label().eui,
            profile: 0x0104,
            cluster: Tunnel::TEST.cluster,
            dst_endpoint: 1,
            src_endpoint: 1,
            payload: Bytes::from(Tunnel::TEST.to_lock(sequence, &vec![0xEE; length]).unwrap()),
            deadline: self.clock.now() + 20_000,
            acknowledge: true,
        };
        self.order(Order::Send(frame)).await;
        let ended = |event: &Event| match event {
            Event::Outcome { handle: of, outcome } if *of == handle => Some(outcome.clone()),
            _ => None,
        };
        self.until("the end of a frame", LONG, ended).await
    }

    /// Again and again until it is there, as custody does.
    async fn deliver(&mut self, lock: &mut SealedLock, length: usize) {
        let end = Instant::now() + LONG;
        loop {
            match self.send(lock, length).await {
                Outcome::Acknowledged => return heard(lock, length).await,
                other => println!("{other:?}, again"),
            }
            assert!(Instant::now() < end, "not delivered; {:?}", self.traffic());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn traffic(&self) -> Traffic {
        self.dongle.with(|ncp, _| ncp.traffic())
    }
}

/// Starts our own host of the dongle's family on its port.
fn drive(
    stick: Stick,
    device: PathBuf,
    clock: Clock,
    expected: Option<Network>,
) -> (mpsc::Sender<Order>, mpsc::Receiver<Event>) {
    let (orders, order_queue) = mpsc::channel(8);
    let (event_queue, events) = mpsc::channel(64);
    let endpoint = SimpleDescriptor {
        endpoint: 1,
        profile: 0x0104,
        device: 0x0005,
        version: 0,
        clusters: Clusters { servers: vec![], clients: vec![Tunnel::TEST.cluster] },
    };
    let config = HostConfig { endpoint, manufacturer: 0xFFF1, max_children: 32 };
    let end = CoordinatorEnd { orders: order_queue, events: event_queue, clock, expected };
    let baud = 115_200;
    match stick {
        Stick::Zboss | Stick::ZbossUsb => drop(tokio::spawn(ZbossNcp { device, baud, config }.run(end))),
        Stick::Ezsp(_) => drop(tokio::spawn(EzspNcp { device, baud, config }.run(end))),
    }
    (orders, events)
}

/// What was acknowledged was heard.
async fn heard(lock: &mut SealedLock, length: usize) {
    let found = timeout(SOON, async {
        while let Some((_, happening)) = lock.lock().happened().await {
            if happening == Happening::Heard(length) {
                return;
            }
        }
    });
    found.await.unwrap_or_else(|_| panic!("a frame of {length} bytes was acknowledged and not heard"));
}

async fn a_network_is_formed_on_the_order_and_resumed_after_an_unplugging(stick: Stick) {
    let (mut bench, network) = Bench::formed(stick).await;
    assert_eq!((network.coordinator, network.pan, network.channel), (DONGLE, 0x4321, 20));
    let before = std::fs::read_link(bench.dongle.port()).unwrap();
    bench.dongle.unplug(Duration::from_millis(2_500));
    let down = |event: &Event| matches!(event, Event::State(State::Down(_))).then_some(());
    bench.until("the port is gone", SOON, down).await;
    assert_eq!(bench.up(LONG).await, network);
    let traffic = bench.traffic();
    assert!((traffic.formed, traffic.resumed) == (1, 1), "{traffic:?}");
    assert!(before.starts_with("/dev/pts"), "{before:?}");
}

async fn after_thirty_seconds_without_a_dongle_its_lock_is_reached_as_before(stick: Stick) {
    let (mut bench, network, mut lock) = Bench::joined(stick).await;
    bench.dongle.unplug(Duration::from_secs(30));
    let down = |event: &Event| matches!(event, Event::State(State::Down(_))).then_some(());
    bench.until("the port is gone", SOON, down).await;
    assert_eq!(bench.send(&lock, 30).await, Outcome::Failed(Failure::Down));
    assert_eq!(bench.up(LONG).await, network);
    bench.deliver(&mut lock, 31).await;
    let traffic = bench.traffic();
    assert!((traffic.formed, traffic.resumed) == (1, 1), "{traffic:?}");
}

async fn a_lock_joins_with_its_install_code_and_tunnel_frames_go_both_ways(stick: Stick) {
    let (mut bench, _, mut lock) = Bench::joined(stick).await;
    let hello = |event: &Event| match event {
        Event::Received(received) if received.cluster == Tunnel::TEST.cluster => {
            Some(Tunnel::TEST.parse_from_lock(&received.payload).unwrap().len())
        }
        _ => None,
    };
    let length = bench.until("the agent says hello", SOON, hello).await;
    assert!((1..=60).contains(&length));
    assert_eq!(bench.send(&lock, 60).await, Outcome::Acknowledged);
    heard(&mut lock, 60).await;
}

async fn a_lock_does_not_join_with_the_install_code_of_another(stick: Stick) {
    let (mut bench, _) = Bench::formed(stick).await;
    let (lock, other) = (bench.lock(0), bench.lock(1));
    let eui = lock.label().eui;
    bench.admit(&lock, other.label().code.clone()).await;
    let failed = |event: &Event| match event {
        Event::JoinFailed { eui: who, reason } if *who == eui => Some(reason.clone()),
        Event::Joined { .. } => panic!("{event:?}"),
        _ => None,
    };
    assert_eq!(bench.until("the join fails", LONG, failed).await, JoinFailure::Keys);
    assert!(!bench.dongle.with(|ncp, now| ncp.is_open(now)), "the network is closed again");
}

async fn a_renumbered_lock_is_reached_as_before(stick: Stick) {
    let (mut bench, _, mut lock) = Bench::joined(stick).await;
    bench.deliver(&mut lock, 40).await;
    let eui = lock.label().eui;
    bench.dongle.with(|ncp, _| ncp.renumber(eui));
    let rejoined =
        |event: &Event| matches!(event, Event::Rejoined { eui: who, .. } if *who == eui).then_some(());
    bench.until("the lock is back", SOON, rejoined).await;
    assert_eq!(bench.send(&lock, 41).await, Outcome::Acknowledged);
    heard(&mut lock, 41).await;
    // And what it says is known to be its: its radio says a frame that the agent sends when it is touched.
    lock.lock().touch();
    let from_it = |event: &Event| matches!(event, Event::Received(frame) if frame.eui == eui).then_some(());
    bench.until("the lock is heard", SOON, from_it).await;
}

/// What is done to a dongle, and whether the network is down for a while then.
type Fault = (&'static str, fn(&Dongle), bool);

async fn after_every_fault_traffic_goes_on_and_nothing_is_formed_anew(stick: Stick) {
    let faults: [Fault; 9] = [
        ("a lost frame to the dongle", |dongle| dongle.lose(Direction::ToNcp, 1), false),
        ("a lost frame to the host", |dongle| dongle.lose(Direction::ToHost, 1), false),
        ("a bit error to the dongle", |dongle| dongle.turn_bit(Direction::ToNcp, 1), false),
        ("a bit error to the host", |dongle| dongle.turn_bit(Direction::ToHost, 1), false),
        ("a short stall", |dongle| dongle.stall(Duration::from_millis(1_500)), false),
        ("a stall", |dongle| dongle.stall(Duration::from_secs(5)), true),
        ("a reset", Dongle::reset, true),
        ("power gone in a packet", Dongle::black_out, true),
        ("an unplugging", |dongle| dongle.unplug(Duration::from_millis(1_500)), true),
    ];
    let (mut bench, network, mut lock) = Bench::joined(stick).await;
    bench.deliver(&mut lock, 20).await;
    for (number, (name, fault, resumes)) in faults.iter().enumerate() {
        let before = bench.traffic();
        let begin = Instant::now();
        fault(&bench.dongle);
        bench.deliver(&mut lock, 21 + number).await;
        println!("{stick:?}, {name}: delivered after {:?}", begin.elapsed());
        let after = bench.traffic();
        assert_eq!(after.formed, 1, "{name}");
        assert_eq!(after.resumed > before.resumed, *resumes, "{name}: {before:?} {after:?}");
        assert_eq!(bench.dongle.with(|ncp, _| ncp.nvram().network()), Some(network), "{name}");
    }
}

async fn on_a_bad_wire_every_frame_has_one_end_and_what_is_acknowledged_was_heard(stick: Stick) {
    let (mut bench, _, mut lock) = Bench::joined(stick).await;
    bench.dongle.set_faults(Faults { lost: 0.001, bit_errors: 0.001 });
    let mut frames = 0;
    // As many as it takes: how the port cuts its bytes decides on what the seed's faults fall.
    while frames < 25 || bench.dongle.damage().lost < 3 || bench.dongle.damage().turned < 3 {
        bench.deliver(&mut lock, 10 + frames % 50).await;
        frames += 1;
        assert!(frames < 500, "the wire is not bad: {:?}", bench.dongle.damage());
    }
    bench.dongle.set_faults(Faults::default());
    let (traffic, damage) = (bench.traffic(), bench.dongle.damage());
    println!("{frames} frames, {traffic:?} {damage:?}");
    assert_eq!(traffic.formed, 1);
}
