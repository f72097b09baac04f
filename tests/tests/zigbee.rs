//! A lock on Zigbee, from its label to its bolt: the real daemon, a broker, the platform, and a dongle that is virtual, on a
//! pseudo-terminal. Then everything that happens to dongles; the lock joins once, and no network is formed anew.

use std::{path::Path, process::Output, time::Duration};

use cardea_sdk::{Bolt, LockName, PlatformEvent};
use cardea_simulator::VirtualLock;
use cardea_simulator::zigbee::{Direction, Dongle, DongleConfig, Faults, Ncp, NcpConfig, Nvram, SealedLock};
use cardea_tests::{
    broker::Broker,
    daemon::Daemon,
    site::{Door, Site},
};
use cardea_zigbee::Eui64;
use tokio::time::Instant;

const SEED: u64 = 23;
const PATIENCE: Duration = Duration::from_secs(90);
/// Milliseconds between two polls of the lock.
const POLL: u64 = 500;
/// Longer than a command takes otherwise.
const STALL: Duration = Duration::from_secs(5);
const DONGLE: Eui64 = Eui64(*b"\x02\xca\xde\xa3\0\0\0\x09");

/// The families of dongles; each test is done on both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    /// On USB of its own: the port goes away with each reset.
    Zboss,
    /// Behind a bridge.
    Ezsp,
}

impl Family {
    fn plug_in(self, dir: &Path, nvram: Nvram) -> Dongle {
        println!("seed {SEED}, {self:?}");
        let config = NcpConfig { eui: DONGLE, seed: SEED };
        let (ncp, usb) = match self {
            Self::Zboss => (Ncp::new(config, nvram), true),
            Self::Ezsp => (Ncp::ezsp(config, nvram, 13), false),
        };
        let config = DongleConfig { port: dir.join("dongle"), seed: SEED, usb, capture: None };
        Dongle::plug_in(ncp, config).unwrap()
    }

    /// A daemon at this dongle.
    fn daemon(self, dir: &Path, broker: u16, dongle: &Dongle) -> Daemon {
        let family = match self {
            Self::Zboss => "zboss",
            Self::Ezsp => "ezsp",
        };
        let device = dongle.port().display();
        let more = format!("[zigbee]\nenabled = true\nfamily = \"{family}\"\ndevice = \"{device}\"\n");
        Daemon::start(dir, broker, &more)
    }
}

struct Home {
    site: Site,
    lock: VirtualLock,
    eui: Eui64,
    dongle: Dongle,
    daemon: Daemon,
    _broker: Broker,
    // Last, so that the logs outlive the processes that a failing test prints.
    _dir: tempfile::TempDir,
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

impl Home {
    /// A dongle whose network was formed by an order, and a lock that was let in by its label and activated by its code.
    async fn new(family: Family) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "");
        let dongle = family.plug_in(dir.path(), Nvram::default());
        let daemon = family.daemon(dir.path(), broker.port, &dongle);
        daemon.reaches("in no network", PATIENCE);
        let formed = daemon.cli(&["radio", "form", "zigbee"]);
        assert!(formed.status.success(), "{}", text(&formed));
        daemon.reaches("zigbee up", PATIENCE);

        let site = Site::new(dir.path(), broker.port, PATIENCE);
        let lock = SealedLock::start(SEED, 1, POLL, &dongle).unwrap();
        let eui = lock.label().eui;
        let lock = lock.into_lock();
        let id = lock.id();
        daemon.admit(&[cardea_radio::label::reveal(lock.admission()).to_string()]);
        site.platform.enroll(LockName::Thumbprint(*lock.thumbprint()), lock.owner_code()).await.unwrap();
        let mut home = Self { site, lock, eui, dongle, daemon, _broker: broker, _dir: dir };
        home.site.activated(id).await;
        home
    }

    /// What the bolt does not do now.
    fn other(&self) -> Bolt {
        if *self.lock.bolt().borrow() == Bolt::Locked { Bolt::Unlocked } else { Bolt::Locked }
    }

    /// Throws or withdraws the bolt, whichever it is not.
    async fn moves(&self, after: &str) {
        let door = Door { id: self.lock.id(), bolt: self.lock.bolt(), touch: None };
        self.site.moves(&door, self.other(), Duration::from_secs(30), after).await;
    }

    /// How many networks the dongle has formed, and how often the lock has joined one.
    fn history(&self) -> (u32, u32) {
        let traffic = self.dongle.with(|ncp, _| ncp.traffic());
        (traffic.formed, traffic.joined)
    }
}

/// Each of these is shown on a dongle of either family.
macro_rules! on_both_families {
    ($($name:ident)*) => {
        mod zboss {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Family::Zboss).await;
            })*
        }
        mod ezsp {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Family::Ezsp).await;
            })*
        }
    };
}

on_both_families! {
    a_lock_on_zigbee_is_activated_and_obeys_and_whatever_happens_to_the_dongle_it_goes_on
    a_daemon_that_is_killed_resumes_the_network_and_a_lock_says_what_it_had_to
    a_network_that_the_gateway_neither_formed_nor_adopted_is_left_as_it_is_until_somebody_says_so
}

async fn a_lock_on_zigbee_is_activated_and_obeys_and_whatever_happens_to_the_dongle_it_goes_on(
    family: Family,
) {
    let home = Home::new(family).await;
    home.moves("activation").await;
    assert_eq!(home.history(), (1, 1));

    home.dongle.lose(Direction::ToNcp, 1);
    home.dongle.lose(Direction::ToHost, 1);
    home.moves("lost frames on the wire").await;
    home.dongle.turn_bit(Direction::ToNcp, 1);
    home.dongle.turn_bit(Direction::ToHost, 1);
    home.moves("damaged frames on the wire").await;
    let damage = home.dongle.damage();
    assert!(damage.lost > 0 && damage.turned >= 2, "nothing was damaged: {damage:?}");
    let begin = Instant::now();
    home.dongle.stall(STALL);
    home.moves("a stall").await;
    assert!(begin.elapsed() >= STALL, "it moved while the dongle hung");
    let starts = || home.dongle.with(|ncp, _| ncp.traffic().started);
    let before = starts();
    home.dongle.black_out();
    home.moves("a power cut in the middle of a frame").await;
    assert!(starts() > before, "there was no power cut");
    let eui = home.eui;
    let address = || home.dongle.with(|ncp, _| ncp.address(eui));
    let before = address();
    home.dongle.with(|ncp, _| ncp.renumber(eui));
    home.moves("another network address").await;
    assert!(address().is_some() && address() != before, "it has the address that it had");

    let opened = home.dongle.opened();
    home.dongle.unplug(Duration::from_secs(30));
    home.daemon.reaches("zigbee down", PATIENCE);
    home.daemon.reaches("zigbee up", PATIENCE);
    home.moves("thirty seconds in a drawer").await;
    assert!(home.dongle.opened() > opened, "the port stayed open");

    home.dongle.set_faults(Faults { lost: 0.001, bit_errors: 0.001 });
    for _ in 0..4 {
        home.moves("a bad wire").await;
    }
    println!("{:?}", home.dongle.damage());
    home.dongle.set_faults(Faults::default());
    assert_eq!(home.history(), (1, 1), "one network, and the lock joined it once");
    assert!(!home.daemon.log().contains("panicked"));
}

async fn a_daemon_that_is_killed_resumes_the_network_and_a_lock_says_what_it_had_to(family: Family) {
    let mut home = Home::new(family).await;
    let id = home.lock.id();
    for kill in 1..=2 {
        // Its activation is over for the lock too.
        home.moves(&format!("{} kills", kill - 1)).await;
        home.daemon.kill();
        // Said to nobody: it is kept by the lock until somebody takes it.
        home.lock.turn(home.other());
        home.daemon.up();
        home.site
            .event(
            "the bolt that was turned by hand",
            |event| matches!(event, PlatformEvent::Lock { lock, kind, .. } if *lock == id && kind == "bolt"),
        )
        .await;
    }
    home.moves("2 kills").await;
    assert_eq!(home.history(), (1, 1), "one network, and the lock joined it once");
}

async fn a_network_that_the_gateway_neither_formed_nor_adopted_is_left_as_it_is_until_somebody_says_so(
    family: Family,
) {
    let (elsewhere, here) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let broker = Broker::start(here.path(), "");
    let start = |dir: &Path, dongle: &Dongle| family.daemon(dir, broker.port, dongle);
    // Somebody used this dongle before, at another gateway.
    let dongle = family.plug_in(elsewhere.path(), Nvram::default());
    let other = start(elsewhere.path(), &dongle);
    other.reaches("in no network", PATIENCE);
    assert!(other.cli(&["radio", "form", "zigbee"]).status.success());
    other.reaches("zigbee up", PATIENCE);
    drop(other);
    let used = dongle.with(|ncp, _| ncp.nvram().clone());
    drop(dongle);

    let dongle = family.plug_in(here.path(), used.clone());
    let daemon = start(here.path(), &dongle);
    daemon.reaches("in another network", PATIENCE);
    let refused = daemon.cli(&["radio", "form", "zigbee"]);
    assert!(!refused.status.success() && text(&refused).contains("--replace"), "{}", text(&refused));
    let network = || dongle.with(|ncp, _| ncp.nvram().network());
    assert_eq!((network(), dongle.with(|ncp, _| ncp.traffic().formed)), (used.network(), 0));
    let adopted = daemon.cli(&["radio", "adopt", "zigbee"]);
    assert!(adopted.status.success(), "{}", text(&adopted));
    daemon.reaches("zigbee up", PATIENCE);
    assert_eq!((network(), dongle.with(|ncp, _| ncp.traffic().formed)), (used.network(), 0));
    let formed = daemon.cli(&["radio", "form", "zigbee", "--replace"]);
    assert!(formed.status.success(), "{}", text(&formed));
    daemon.reaches("zigbee up", PATIENCE);
    assert_ne!(network(), used.network());
}
