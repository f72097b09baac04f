//! A lock on 433 MHz, from its label to its bolt: the real daemon, a broker, the platform, and a module that is a model of the chip
//! behind a socket, on an air with the real link layer's other end. Then what happens to radios, and what enemies do.

use std::{process::Output, time::Duration};

use cardea_sdk::{Bolt, LockName, PlatformEvent};
use cardea_simulator::VirtualLock;
use cardea_simulator::subghz::{Conditions, Ether, EtherConfig, SubghzLock};
use cardea_subghz::Profile;
use cardea_tests::{
    broker::Broker,
    daemon::Daemon,
    eventually,
    site::{Door, Site},
};

const SEED: u64 = 433;
const PATIENCE: Duration = Duration::from_secs(120);

struct Home {
    site: Site,
    lock: VirtualLock,
    ether: Ether,
    daemon: Daemon,
    _broker: Broker,
    // Last, so that the logs outlive the processes that a failing test prints.
    _dir: tempfile::TempDir,
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// Waits until the daemon says this of itself.
fn status(daemon: &Daemon, words: &str) {
    eventually(words, PATIENCE, || text(&daemon.cli(&["status"])).contains(words).then_some(()));
}

/// One of the daemon's counters.
fn counted(daemon: &Daemon, name: &str) -> u64 {
    let metrics = daemon.metrics();
    let line =
        metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
    line.trim().parse().unwrap()
}

fn ignored(daemon: &Daemon, reason: &str) -> u64 {
    counted(daemon, &format!("cardea_subghz_ignored_total{{reason=\"{reason}\"}}"))
}

impl Home {
    /// A lock that was let in by its label and activated by its code.
    async fn new() -> Self {
        println!("seed {SEED}");
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "");
        let socket = dir.path().join("cc1101");
        let conditions = Conditions::default();
        let ether =
            Ether::start(EtherConfig { socket: socket.clone(), seed: SEED, conditions, records: true })
                .unwrap();
        let more = format!("[subghz]\nenabled = true\ndevice = \"unix:{}\"\n", socket.display());
        let daemon = Daemon::start(dir.path(), broker.port, &more);
        status(&daemon, "subghz up");
        let site = Site::new(dir.path(), broker.port, PATIENCE);
        let lock = SubghzLock::new_lock(SEED, 1, Profile::Standard, &ether).unwrap();
        let id = lock.id();
        daemon.admit(&[cardea_radio::label::reveal(lock.admission()).to_string()]);
        site.platform.enroll(LockName::Thumbprint(*lock.thumbprint()), lock.owner_code()).await.unwrap();
        lock.switch_on();
        let mut home = Self { site, lock, ether, daemon, _broker: broker, _dir: dir };
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
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_on_433_mhz_is_activated_and_obeys_and_goes_on_after_a_kill_and_without_its_radio() {
    let mut home = Home::new().await;
    home.moves("activation").await;
    let id = home.lock.id();
    for kill in 1..=2 {
        home.daemon.kill();
        home.lock.turn(home.other());
        home.daemon.up();
        home.site
            .event(
            "the bolt that was turned by hand",
            |event| matches!(event, PlatformEvent::Lock { lock, kind, .. } if *lock == id && kind == "bolt"),
        )
        .await;
        home.moves(&format!("kill {kill}")).await;
    }
    home.ether.unplug(Duration::from_secs(10));
    status(&home.daemon, "subghz down");
    status(&home.daemon, "subghz up");
    home.moves("ten seconds in a drawer").await;
    assert!(!home.daemon.log().contains("panicked"));
    assert_eq!(ignored(&home.daemon, "forged"), 0);
}
