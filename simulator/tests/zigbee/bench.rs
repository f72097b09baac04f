//! Our own host at a virtual dongle, and what is asked of it.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use cardea_radio::Clock;
use cardea_simulator::Happening;
use cardea_simulator::zigbee::{Dongle, DongleConfig, Ncp, NcpConfig, Nvram, SealedLock, Traffic};
use cardea_zigbee::backup::Backup;
use cardea_zigbee::coordinator::{
    Answer, Coordinator, CoordinatorEnd, Event, Failure, Frame, Network, Order, Outcome, Plan, Question,
    State,
};
use cardea_zigbee::descriptors::{Clusters, SimpleDescriptor};
use cardea_zigbee::ezsp::EzspNcp;
use cardea_zigbee::tunnel::Tunnel;
use cardea_zigbee::zboss::{HostConfig, ZbossNcp};
use cardea_zigbee::{Eui64, InstallCode, Key};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

pub(crate) const SEED: u64 = 20;
pub(crate) const DONGLE: Eui64 = Eui64(*b"\x02\xca\xde\xa3\0\0\0\x01");
const POLL: u64 = 150;
/// For whatever takes no reset; and for what takes one, or several.
pub(crate) const SOON: Duration = Duration::from_secs(15);
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A kind of dongle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stick {
    /// ZBOSS, behind a bridge that stays through resets.
    Zboss,
    /// ZBOSS on USB of its own: the port goes away with each reset.
    ZbossUsb,
    /// EmberZNet of this protocol, behind a bridge.
    Ezsp(u8),
}

impl Stick {
    pub(crate) fn ncp(self, eui: Eui64, nvram: Nvram) -> Ncp {
        let config = NcpConfig { eui, seed: SEED };
        match self {
            Self::Zboss | Self::ZbossUsb => Ncp::new(config, nvram),
            Self::Ezsp(protocol) => Ncp::ezsp(config, nvram, protocol),
        }
    }
}

pub(crate) struct Bench {
    pub(crate) dongle: Dongle,
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) clock: Clock,
    pub(crate) handle: u64,
    _dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new(stick: Stick) -> Self {
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

    pub(crate) async fn until<T>(
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

    pub(crate) async fn order(&self, order: Order) {
        self.orders.send(order).await.unwrap();
    }

    pub(crate) async fn up(&mut self, limit: Duration) -> Network {
        let up =
            |event: &Event| if let Event::State(State::Up(network)) = event { Some(*network) } else { None };
        self.until("the network runs", limit, up).await
    }

    pub(crate) async fn formed(stick: Stick) -> (Self, Network) {
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

    pub(crate) fn lock(&self, number: u64) -> SealedLock {
        SealedLock::start(SEED, number, POLL, &self.dongle).unwrap()
    }

    pub(crate) async fn admit(&self, lock: &SealedLock, code: InstallCode) {
        self.order(Order::Admit { eui: lock.label().eui, code, seconds: 60 }).await;
    }

    pub(crate) async fn joined(stick: Stick) -> (Self, Network, SealedLock) {
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
    pub(crate) async fn send(&mut self, lock: &SealedLock, length: usize) -> Outcome {
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
            urgent: false,
        };
        self.order(Order::Send(frame)).await;
        let ended = |event: &Event| match event {
            Event::Outcome { handle: of, outcome } if *of == handle => Some(outcome.clone()),
            _ => None,
        };
        self.until("the end of a frame", LONG, ended).await
    }

    /// Again and again until it is there, as custody does.
    pub(crate) async fn deliver(&mut self, lock: &mut SealedLock, length: usize) {
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

    /// Asks a device, or the coordinator.
    pub(crate) async fn ask(&mut self, eui: Eui64, question: Question) -> Result<Answer, Failure> {
        self.handle += 1;
        let handle = self.handle;
        self.order(Order::Ask { handle, eui, question }).await;
        let answer = |event: &Event| match event {
            Event::Answer { handle: of, answer } if *of == handle => Some(answer.clone()),
            _ => None,
        };
        self.until("an answer", LONG, answer).await
    }

    /// The network outside the dongle.
    pub(crate) async fn backup(&mut self) -> Backup {
        self.order(Order::Backup).await;
        let taken = |event: &Event| match event {
            Event::BackedUp(taken) => Some(taken.clone().unwrap()),
            _ => None,
        };
        *self.until("a backup", SOON, taken).await
    }

    /// Another dongle, which remembers nothing, in this one's place, with our host of its family, which expects the network
    /// of before.
    pub(crate) async fn swap(&mut self, stick: Stick, eui: Eui64, expected: Network) {
        self.order(Order::Stop).await;
        self.dongle.replace(stick.ncp(eui, Nvram::default()));
        (self.orders, self.events) = drive(stick, self.dongle.port().to_owned(), self.clock, Some(expected));
        self.until("unformed", SOON, |event| (*event == Event::State(State::Unformed)).then_some(())).await;
    }

    /// Makes the dongle the coordinator of this backup.
    pub(crate) async fn restore(&mut self, backup: &Backup) -> Network {
        self.order(Order::Restore { backup: Box::new(backup.clone()), replace: false }).await;
        let formed = |event: &Event| match event {
            Event::Formed(formed) => Some(formed.clone().unwrap()),
            _ => None,
        };
        let network = self.until("the network is restored", LONG, formed).await;
        assert_eq!(self.up(SOON).await, network);
        network
    }

    pub(crate) fn traffic(&self) -> Traffic {
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
pub(crate) async fn heard(lock: &mut SealedLock, length: usize) {
    let found = timeout(SOON, async {
        while let Some((_, happening)) = lock.lock().happened().await {
            if happening == Happening::Heard(length) {
                return;
            }
        }
    });
    found.await.unwrap_or_else(|_| panic!("a frame of {length} bytes was acknowledged and not heard"));
}
