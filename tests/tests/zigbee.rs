//! A lock on Zigbee, from its label to its bolt: the real daemon, a broker, the platform, and a dongle that is virtual, on a
//! pseudo-terminal. Then everything that happens to dongles; the lock joins once, and no network is formed anew.

use std::{fs, path::Path, process::Output, time::Duration};

use cardea_sdk::{Bolt, Broker as BrokerSettings, LockName, Outcome, Platform, PlatformEvent};
use cardea_simulator::VirtualLock;
use cardea_simulator::zigbee::{Direction, Dongle, DongleConfig, Faults, Ncp, NcpConfig, Nvram, SealedLock};
use cardea_tests::{broker::Broker, daemon::Daemon, eventually};
use cardea_zigbee::Eui64;
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::timeout,
};

const SEED: u64 = 23;
const PATIENCE: Duration = Duration::from_secs(90);
/// Milliseconds between two polls of the lock.
const POLL: u64 = 500;
const DONGLE: Eui64 = Eui64(*b"\x02\xca\xde\xa3\0\0\0\x09");

struct Site {
    platform: Platform,
    events: broadcast::Receiver<PlatformEvent>,
    lock: VirtualLock,
    eui: Eui64,
    dongle: Dongle,
    daemon: Daemon,
    _broker: Broker,
    // Last, so that the logs outlive the processes that a failing test prints.
    _dir: tempfile::TempDir,
}

fn plug_in(dir: &Path, nvram: Nvram) -> Dongle {
    println!("seed {SEED}");
    let config = DongleConfig { port: dir.join("dongle"), seed: SEED, usb: true, capture: None };
    Dongle::plug_in(Ncp::new(NcpConfig { eui: DONGLE, seed: SEED }, nvram), config).unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

impl Site {
    /// A dongle whose network was formed by an order, and a lock that was let in by its label and activated by its code.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "");
        let dongle = plug_in(dir.path(), Nvram::default());
        let more = format!("[zigbee]\nenabled = true\ndevice = \"{}\"\n", dongle.port().display());
        let daemon = Daemon::start(dir.path(), broker.port, &more);
        status(&daemon, "in no network");
        let formed = daemon.cli(&["radio", "form", "zigbee"]);
        assert!(formed.status.success(), "{}", text(&formed));
        status(&daemon, "zigbee up");

        let home = dir.path().join("platform");
        fs::create_dir(&home).unwrap();
        Platform::init(&home).unwrap();
        let platform = Platform::open(&home).unwrap();
        let events = platform.subscribe();
        tokio::spawn(platform.clone().run(BrokerSettings::at(&format!("mqtt://127.0.0.1:{}", broker.port))));
        let lock = SealedLock::start(SEED, 1, POLL, &dongle).unwrap();
        let eui = lock.label().eui;
        let lock = lock.into_lock();
        let id = lock.id();
        daemon.admit(&[cardea_radio::label::reveal(lock.admission()).to_string()]);
        platform.enroll(LockName::Thumbprint(*lock.thumbprint()), lock.owner_code()).await.unwrap();
        let mut site = Self { platform, events, lock, eui, dongle, daemon, _broker: broker, _dir: dir };
        site.event("activation", |e| matches!(e, PlatformEvent::Activated { lock, .. } if *lock == id)).await;
        site
    }

    async fn event(&mut self, what: &str, mut wanted: impl FnMut(&PlatformEvent) -> bool) {
        let found = timeout(PATIENCE, async {
            loop {
                match self.events.recv().await {
                    Ok(event) if wanted(&event) => return,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(closed) => panic!("{closed}"),
                }
            }
        });
        assert!(found.await.is_ok(), "{what}: not within {PATIENCE:?}");
    }

    /// Throws or withdraws the bolt, whichever it is not, within four tries of 30 s.
    async fn moves(&self, after: &str) {
        let wanted = if *self.lock.bolt().borrow() == Bolt::Locked { Bolt::Unlocked } else { Bolt::Locked };
        let (life, mut last) = (Duration::from_secs(30), String::new());
        for _ in 0..4 {
            let asked = async {
                match wanted {
                    Bolt::Locked => self.platform.lock(self.lock.id(), life).await,
                    _ => self.platform.unlock(self.lock.id(), life).await,
                }
            };
            let outcome = timeout(PATIENCE, asked).await.unwrap().unwrap();
            last = outcome.to_string();
            println!("after {after}: {last}");
            if matches!(outcome, Outcome::Done { bolt, .. } if bolt == wanted) {
                assert_eq!(*self.lock.bolt().borrow(), wanted);
                return;
            }
        }
        panic!("after {after}: {last}");
    }

    /// How many networks the dongle has formed, and how often the lock has joined one.
    fn history(&self) -> (u32, u32) {
        let traffic = self.dongle.with(|ncp, _| ncp.traffic());
        (traffic.formed, traffic.joined)
    }
}

/// Waits until the daemon says this of itself.
fn status(daemon: &Daemon, words: &str) {
    eventually(words, PATIENCE, || text(&daemon.cli(&["status"])).contains(words).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_on_zigbee_is_activated_and_obeys_and_whatever_happens_to_the_dongle_it_goes_on() {
    let site = Site::new().await;
    site.moves("activation").await;
    assert_eq!(site.history(), (1, 1));

    site.dongle.lose(Direction::ToNcp, 1);
    site.dongle.lose(Direction::ToHost, 1);
    site.moves("lost frames on the wire").await;
    site.dongle.turn_bit(Direction::ToNcp, 1);
    site.dongle.turn_bit(Direction::ToHost, 1);
    site.moves("damaged frames on the wire").await;
    let damage = site.dongle.damage();
    assert!(damage.lost > 0 && damage.turned >= 2, "nothing was damaged: {damage:?}");
    site.dongle.stall(Duration::from_secs(4));
    site.moves("a stall").await;
    let starts = || site.dongle.with(|ncp, _| ncp.traffic().started);
    let before = starts();
    site.dongle.black_out();
    site.moves("a power cut in the middle of a frame").await;
    assert!(starts() > before, "there was no power cut");
    let renumbered = site.eui;
    site.dongle.with(|ncp, _| ncp.renumber(renumbered));
    site.moves("another network address").await;

    let opened = site.dongle.opened();
    site.dongle.unplug(Duration::from_secs(30));
    status(&site.daemon, "zigbee down");
    status(&site.daemon, "zigbee up");
    site.moves("thirty seconds in a drawer").await;
    assert!(site.dongle.opened() > opened, "the port stayed open");

    site.dongle.set_faults(Faults { lost: 0.001, bit_errors: 0.001 });
    for _ in 0..4 {
        site.moves("a bad wire").await;
    }
    println!("{:?}", site.dongle.damage());
    site.dongle.set_faults(Faults::default());
    assert_eq!(site.history(), (1, 1), "one network, and the lock joined it once");
    assert!(!site.daemon.log().contains("panicked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_resumes_the_network_and_a_lock_says_what_it_had_to() {
    let mut site = Site::new().await;
    let id = site.lock.id();
    for kill in 1..=2 {
        // Its activation is over for the lock too.
        site.moves(&format!("{} kills", kill - 1)).await;
        site.daemon.kill();
        // Said to nobody: it is kept by the lock until somebody takes it.
        let other = if *site.lock.bolt().borrow() == Bolt::Locked { Bolt::Unlocked } else { Bolt::Locked };
        site.lock.turn(other);
        site.daemon.up();
        site.event(
            "the bolt that was turned by hand",
            |event| matches!(event, PlatformEvent::Lock { lock, kind, .. } if *lock == id && kind == "bolt"),
        )
        .await;
    }
    site.moves("2 kills").await;
    assert_eq!(site.history(), (1, 1), "one network, and the lock joined it once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_the_gateway_neither_formed_nor_adopted_is_left_as_it_is_until_somebody_says_so() {
    let (elsewhere, here) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let broker = Broker::start(here.path(), "");
    let start = |dir: &Path, dongle: &Dongle| {
        let more = format!("[zigbee]\nenabled = true\ndevice = \"{}\"\n", dongle.port().display());
        Daemon::start(dir, broker.port, &more)
    };
    // Somebody used this dongle before, at another gateway.
    let dongle = plug_in(elsewhere.path(), Nvram::default());
    let other = start(elsewhere.path(), &dongle);
    status(&other, "in no network");
    assert!(other.cli(&["radio", "form", "zigbee"]).status.success());
    status(&other, "zigbee up");
    drop(other);
    let used = dongle.with(|ncp, _| ncp.nvram().clone());
    drop(dongle);

    let dongle = plug_in(here.path(), used.clone());
    let daemon = start(here.path(), &dongle);
    status(&daemon, "in another network");
    let refused = daemon.cli(&["radio", "form", "zigbee"]);
    assert!(!refused.status.success() && text(&refused).contains("--replace"), "{}", text(&refused));
    let network = || dongle.with(|ncp, _| ncp.nvram().network());
    assert_eq!((network(), dongle.with(|ncp, _| ncp.traffic().formed)), (used.network(), 0));
    let adopted = daemon.cli(&["radio", "adopt", "zigbee"]);
    assert!(adopted.status.success(), "{}", text(&adopted));
    status(&daemon, "zigbee up");
    assert_eq!((network(), dongle.with(|ncp, _| ncp.traffic().formed)), (used.network(), 0));
    let formed = daemon.cli(&["radio", "form", "zigbee", "--replace"]);
    assert!(formed.status.success(), "{}", text(&formed));
    status(&daemon, "zigbee up");
    assert_ne!(network(), used.network());
}
