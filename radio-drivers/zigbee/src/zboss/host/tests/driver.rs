//! The driver on top of the host and the scripted double: a site from the blank dongle on.

use cardea_framing::LockId;
use cardea_radio::{Admission, AdmissionSecret, Command, Event as Told, MemoryStore, Outcome as End, Send};

use super::*;
use crate::driver::{Driver, DriverConfig, NetworkDone, NetworkOrder};
use crate::tunnel::Tunnel;

const LOCK: LockId = LockId([0x11; 8]);

struct Site {
    driver: Driver,
    bench: Bench,
    store: MemoryStore,
    told: Vec<Told>,
    replies: Vec<Result<NetworkDone, String>>,
}

impl Site {
    fn new(store: MemoryStore, ncp: ScriptedNcp) -> Self {
        let config =
            DriverConfig { channels: 1 << 20, tunnel: Tunnel::TEST, max_devices: 10, ordinary: None };
        let driver = Driver::new(config, store.snapshot()).unwrap();
        let bench = Bench::opened(ncp, driver.expected());
        let mut site = Self { driver, bench, store, told: Vec::new(), replies: Vec::new() };
        site.run(1_000);
        site
    }

    fn run(&mut self, ms: Millis) {
        let end = self.bench.now + ms;
        loop {
            while let Some((commit, batch)) = self.driver.poll_commit() {
                let result = self.store.commit_now(batch);
                self.driver.handle_stored(self.bench.now, commit, result);
            }
            while let Some(order) = self.driver.poll_order() {
                self.bench.host.handle_order(self.bench.now, order);
            }
            self.told.extend(std::iter::from_fn(|| self.driver.poll_event()));
            self.replies.extend(std::iter::from_fn(|| self.driver.poll_reply()).map(|(_, reply)| reply));
            if self.bench.now >= end {
                return;
            }
            self.bench.run(20);
            for event in self.bench.events() {
                self.driver.handle_event(self.bench.now, event);
            }
            if self.driver.poll_timeout().is_some_and(|at| at <= self.bench.now) {
                self.driver.handle_timeout(self.bench.now);
            }
        }
    }

    fn say(&mut self, indication: &Indication) {
        self.bench.ncp.say(indication);
        self.run(500);
    }

    fn join(&mut self, eui: Eui64, nwk: NwkAddr) {
        self.say(&Indication::DeviceUpdate { eui, nwk, status: 1 });
        self.say(&Indication::DeviceAuthorised { eui, nwk, kind: 1, status: 0 });
    }

    fn hear(&mut self, nwk: u16, frame: &[u8]) {
        let payload = Tunnel::TEST.from_lock(1, frame).unwrap();
        self.say(&heard(nwk, &payload));
    }

    fn send(&mut self, handle: u64, life: Millis) {
        let frame = Bytes::from_static(b"unlock");
        let deadline = self.bench.now + life;
        self.driver
            .handle_command(self.bench.now, Command::Send(Send { handle, lock: LOCK, frame, deadline }));
        self.run(200);
    }

    fn told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    fn ups(&mut self) -> usize {
        self.told().iter().filter(|told| matches!(told, Told::Up(up) if up.lock == LOCK)).count()
    }

    /// A site with its lock in the network, address 0x1001.
    fn with_lock() -> Self {
        let mut site = Self::new(MemoryStore::new(), ScriptedNcp::new(None));
        site.driver.handle_order(
            site.bench.now,
            1,
            NetworkOrder::Form { replace: false, pan: [3; 8], key: Key([7; 16]) },
        );
        site.run(2_000);
        assert!(matches!(site.replies[..], [Ok(_)]), "{:?}", site.replies);
        let install_code = code().as_bytes().to_vec().into();
        let secret = AdmissionSecret::Zigbee { eui: device(0x1001).0, install_code };
        site.driver.handle_command(site.bench.now, Command::Admit(Admission { lock: LOCK, secret }));
        site.run(500);
        assert_eq!(site.bench.ncp.codes, vec![device(0x1001)]);
        site.join(device(0x1001), NwkAddr(0x1001));
        let told = site.told();
        assert!(
            told.iter().any(|told| matches!(told, Told::Link { lock: LOCK, mtu_down: 60, .. })),
            "{told:?}"
        );
        site
    }
}

#[test]
fn a_site_is_formed_a_lock_joins_is_heard_and_is_told_something() {
    let mut site = Site::with_lock();
    assert_eq!(site.bench.ncp.nvram.key, Some(Key([7; 16])));
    site.hear(0x1001, b"event");
    assert_eq!(site.ups(), 1);
    site.send(7, 20_000);
    let (tsn, on_air) = site.bench.ncp.air.pop_front().unwrap();
    assert_eq!(on_air.options, 0, "it sleeps: the dongle repeats nothing");
    assert_eq!(Tunnel::TEST.parse_to_lock(&on_air.payload), Ok(&b"unlock"[..]));
    assert!(!site.told().iter().any(|told| matches!(told, Told::Outcome { .. })), "not sent yet");
    site.bench.ncp.ended(tsn, Status::OK);
    site.run(100);
    assert!(matches!(site.told()[..], [Told::Outcome { handle: 7, outcome: End::Sent }]));
}

#[test]
fn a_renumbered_lock_and_a_dongle_without_power_change_nothing() {
    let mut site = Site::with_lock();
    site.say(&Indication::DeviceUpdate { eui: device(0x1001), nwk: NwkAddr(0x2222), status: 0 });
    site.hear(0x2222, b"event");
    assert_eq!(site.ups(), 1);
    site.send(1, 20_000);
    assert_eq!(site.bench.ncp.air.pop_front().unwrap().1.to, ApsAddress::Ieee(device(0x1001)));
    // Power fails with the frame on its way; the dongle is back after 30 s.
    site.bench.ncp.stalled = true;
    site.bench.host.handle_close("unplugged");
    site.run(30_000);
    site.bench.ncp.stalled = false;
    site.bench.ncp.restart(0);
    site.bench.host.handle_open(site.bench.now);
    site.run(3_000);
    let told = site.told();
    assert!(
        matches!(
            told[..],
            [
                Told::Outcome { handle: 1, .. },
                Told::Health(_),
                ..,
                Told::Health(cardea_radio::Health { up: true, .. })
            ]
        ),
        "{told:?}"
    );
    assert_eq!((site.bench.ncp.times(0x0401), site.replies.len()), (1, 1), "formed once, by an order");
    site.hear(0x2222, b"event");
    assert_eq!(site.ups(), 1);
}

#[test]
fn a_gateway_that_starts_again_has_its_network_and_its_lock() {
    let Site { store, bench, .. } = Site::with_lock();
    let mut ncp = ScriptedNcp::new(bench.ncp.nvram.network);
    ncp.nvram = bench.ncp.nvram.clone();
    let mut site = Site::new(store, ncp);
    let told = site.told();
    assert!(
        matches!(&told[..], [Told::Admits(locks), Told::Link { .. }, ..] if *locks == [LOCK]),
        "{told:?}"
    );
    assert!(matches!(told.last(), Some(Told::Health(cardea_radio::Health { up: true, .. }))), "{told:?}");
    assert_eq!(
        (site.bench.ncp.times(0x0401), site.bench.ncp.times(0x0204)),
        (0, 0),
        "nothing formed, nobody asked"
    );
    site.hear(0x1001, b"event");
    assert_eq!(site.ups(), 1);
}

#[test]
fn a_stranger_who_joins_is_told_to_leave_and_a_removed_lock_has_no_code_any_more() {
    let mut site = Site::with_lock();
    site.join(device(0x3003), NwkAddr(0x3003));
    let left: Vec<Eui64> = leaves(&site);
    assert_eq!(left, vec![device(0x3003)]);
    site.hear(0x3003, b"unlock please");
    assert_eq!(site.ups(), 0);
    site.driver.handle_command(site.bench.now, Command::Remove(LOCK));
    site.run(500);
    assert_eq!(leaves(&site), vec![device(0x3003), device(0x1001)]);
    assert_eq!(site.bench.ncp.codes, vec![]);
    assert_eq!(site.store.snapshot().len(), 1, "the network");
}

fn leaves(site: &Site) -> Vec<Eui64> {
    let leaves = site.bench.ncp.asked.iter().filter_map(|request| match request {
        Request::MgmtLeaveReq { eui, .. } => Some(*eui),
        _ => None,
    });
    leaves.collect()
}

/// The dongle has one frame for the lock already, and a second would have to wait at its parent until after its deadline.
#[test]
fn a_command_that_could_be_late_never_reaches_the_dongle() {
    let mut site = Site::with_lock();
    site.send(1, 20_000);
    let (tsn, _) = site.bench.ncp.air.pop_front().unwrap();
    site.bench.ncp.ended(tsn, Status { category: 4, code: 0xA7 });
    site.run(100);
    site.told();
    site.send(2, 10_000);
    assert!(matches!(site.told()[..], [Told::Outcome { handle: 2, outcome: End::Expired }]));
    assert_eq!(site.bench.ncp.times(0x0301), 1);
}
