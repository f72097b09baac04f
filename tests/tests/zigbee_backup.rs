//! A dongle dies, or its keys are stolen: the real daemon and its command, a lock that was let in once, and virtual dongles that
//! take each other's place in one air.

use std::{fs, path::Path, process::Command, process::Output, time::Duration};

use cardea_sdk::{Bolt, Broker as BrokerSettings, LockName, Outcome, Platform, PlatformEvent};
use cardea_simulator::VirtualLock;
use cardea_simulator::zigbee::{Dongle, DongleConfig, Ncp, NcpConfig, Nvram, SealedLock};
use cardea_tests::{broker::Broker, daemon::Daemon, eventually};
use cardea_zigbee::Eui64;
use serde_json::Value;
use tokio::{sync::broadcast::error::RecvError, time::timeout};

const SEED: u64 = 29;
const PATIENCE: Duration = Duration::from_secs(90);
/// Milliseconds between two polls of the lock.
const POLL: u64 = 500;
/// What a restore adds to counters.
const JUMP: u64 = 1 << 24;
const PASSPHRASE: &str = "correct horse battery";

/// The n-th dongle's own address.
fn dongle(n: u8) -> Eui64 {
    Eui64([0x02, 0xca, 0xde, 0xa3, 0, 0, 1, n])
}

/// Of dongles.
#[derive(Debug, Clone, Copy)]
enum Family {
    Zboss,
    Ezsp,
}

impl Family {
    /// The n-th dongle, which remembers nothing.
    fn blank(self, n: u8) -> Ncp {
        let (config, nvram) = (NcpConfig { eui: dongle(n), seed: SEED }, Nvram::default());
        match self {
            Self::Zboss => Ncp::new(config, nvram),
            Self::Ezsp => Ncp::ezsp(config, nvram, 13),
        }
    }

    /// As the configuration has it.
    fn setting(self) -> &'static str {
        match self {
            Self::Zboss => "family = \"zboss\"",
            Self::Ezsp => "family = \"ezsp\"",
        }
    }
}

struct Site {
    platform: Platform,
    lock: VirtualLock,
    dongle: Dongle,
    daemon: Daemon,
    _broker: Broker,
    // Last, so that the logs outlive the processes that a failing test prints.
    dir: tempfile::TempDir,
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

impl Site {
    /// A network that was formed by an order, and a lock that was let in by its label and activated by its code.
    async fn new(family: Family, usb: bool) -> Self {
        println!("seed {SEED}, {family:?}");
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "");
        let config = DongleConfig { port: dir.path().join("dongle"), seed: SEED, usb, capture: None };
        let dongle = Dongle::plug_in(family.blank(1), config).unwrap();
        let (family, device) = (family.setting(), dongle.port().display());
        let more = format!("[zigbee]\nenabled = true\n{family}\ndevice = \"{device}\"\n");
        let daemon = Daemon::start(dir.path(), broker.port, &more);
        let home = dir.path().join("platform");
        fs::create_dir(&home).unwrap();
        Platform::init(&home).unwrap();
        let platform = Platform::open(&home).unwrap();
        let mut events = platform.subscribe();
        tokio::spawn(platform.clone().run(BrokerSettings::at(&format!("mqtt://127.0.0.1:{}", broker.port))));
        let lock = SealedLock::start(SEED, 1, POLL, &dongle).unwrap().into_lock();
        fs::write(dir.path().join("passphrase"), format!("{PASSPHRASE}\n")).unwrap();
        let site = Self { platform, lock, dongle, daemon, _broker: broker, dir };
        site.status("in no network");
        site.said(&["radio", "form", "zigbee"]);
        site.status("zigbee up");
        site.daemon.admit(&[cardea_radio::label::reveal(site.lock.admission()).to_string()]);
        let id = site.lock.id();
        let name = LockName::Thumbprint(*site.lock.thumbprint());
        site.platform.enroll(name, site.lock.owner_code()).await.unwrap();
        let activated = timeout(PATIENCE, async {
            loop {
                match events.recv().await {
                    Ok(PlatformEvent::Activated { lock, .. }) if lock == id => return,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(closed) => panic!("{closed}"),
                }
            }
        });
        activated.await.expect("the lock is activated");
        site
    }

    /// Waits until the daemon says this of itself.
    fn status(&self, words: &str) {
        eventually(words, PATIENCE, || text(&self.daemon.cli(&["status"])).contains(words).then_some(()));
    }

    fn said(&self, arguments: &[&str]) -> String {
        let output = self.daemon.cli(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        text(&output)
    }

    fn complained(&self, arguments: &[&str]) -> String {
        let output = self.daemon.cli(arguments);
        assert!(!output.status.success(), "{arguments:?}: {}", text(&output));
        text(&output)
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

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Writes a backup with the passphrase, and looks into it.
    fn backup(&self, name: &str) -> Value {
        let (file, passphrase) = (self.path(name), self.path("passphrase"));
        let said = self.said(&["radio", "backup", "zigbee", "--to", &file, "--passphrase-file", &passphrase]);
        assert!(said.contains("with 1 devices"), "{said}");
        let bytes = fs::read(&file).unwrap();
        let with =
            cardea_backup::With::Passphrase(cardea_backup::Passphrase::new(PASSPHRASE.to_owned().into()));
        serde_json::from_slice(&cardea_backup::open(&bytes, &with, 1 << 20).unwrap()).unwrap()
    }

    /// The dongle is pulled out for good, and the n-th one, blank, is plugged in.
    fn swap(&self, n: u8) {
        self.dongle.replace(Family::Zboss.blank(n));
        self.status("does not remember the network");
    }

    /// The same, with one of another family: the daemon is told so, and started again.
    fn swap_family(&mut self, n: u8, (old, new): (Family, Family)) {
        self.daemon.kill();
        let config = fs::read_to_string(&self.daemon.config).unwrap();
        assert!(config.contains(old.setting()));
        fs::write(&self.daemon.config, config.replace(old.setting(), new.setting())).unwrap();
        self.dongle.replace(new.blank(n));
        self.daemon.up();
        self.status("does not remember the network");
    }

    /// How many joined this dongle, and not the ones before it.
    fn joined(&self) -> u32 {
        self.dongle.with(|ncp, _| ncp.traffic()).joined
    }
}

fn counter(backup: &Value) -> u64 {
    backup["network_key"]["frame_counter"].as_u64().unwrap()
}

fn contains(bytes: &[u8], secret: &[u8]) -> bool {
    bytes.windows(secret.len()).any(|window| window.eq_ignore_ascii_case(secret))
}

/// No key of the network is in a log, in what the command says, or in the clear in any file of the gateway's.
fn shows_no_key(site: &Site, backup: &Value) {
    let digits = backup["network_key"]["key"].as_str().unwrap();
    let key = hex::decode(digits).unwrap();
    assert!(!contains(site.daemon.log().as_bytes(), digits.as_bytes()));
    for directory in [site.dir.path(), &site.dir.path().join("data")] {
        for file in
            fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()).filter(|path| path.is_file())
        {
            let bytes = fs::read(&file).unwrap();
            assert!(!contains(&bytes, digits.as_bytes()) && !contains(&bytes, &key), "{}", file.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dongle_is_replaced_by_one_of_the_other_family_from_a_file_and_back_from_the_store_and_no_lock_joins_again()
 {
    // Behind a bridge, as dongles of both families are: a port that stays through resets.
    let mut site = Site::new(Family::Zboss, false).await;
    site.moves("activation").await;
    let first = site.backup("first.age");
    assert_eq!(first["metadata"]["format"], "zigpy/open-coordinator-backup");
    assert_eq!(first["coordinator_ieee"], dongle(1).to_string());
    let (file, passphrase) = (site.path("first.age"), site.path("passphrase"));
    let again =
        site.complained(&["radio", "backup", "zigbee", "--to", &file, "--passphrase-file", &passphrase]);
    assert!(again.contains("exists already; --overwrite"), "{again}");

    site.swap_family(2, (Family::Zboss, Family::Ezsp));
    fs::write(site.path("wrong"), "incorrect horse battery\n").unwrap();
    let wrong = site.path("wrong");
    let refused =
        site.complained(&["radio", "restore", "zigbee", "--from", &file, "--passphrase-file", &wrong]);
    assert!(refused.contains("does not open"), "{refused}");
    let said = site.said(&["radio", "restore", "zigbee", "--from", &file, "--passphrase-file", &passphrase]);
    assert!(
        said.contains("no lock has to join anew") && said.contains("never be plugged in again"),
        "{said}"
    );
    site.status("zigbee up");
    site.moves("a Silicon Labs dongle from a file of a ZBOSS one").await;
    let network = || site.dongle.with(|ncp, _| ncp.nvram().network()).unwrap();
    assert_eq!(network().coordinator, dongle(1), "it has the address of the first one");
    let second = site.backup("second.age");
    assert!(counter(&second) >= counter(&first) + JUMP, "{} {}", counter(&first), counter(&second));
    assert_eq!(site.joined(), 0, "nobody joined this one");
    site.status("backup   zigbee: of 1 device, told by the dongle ");

    // The gateway was killed, too, and has what it kept.
    site.swap_family(3, (Family::Ezsp, Family::Zboss));
    site.status("backup   zigbee: of 1 device, told by the dongle ");
    let said = site.said(&["radio", "restore", "zigbee", "--from-store"]);
    assert!(said.contains("no lock has to join anew"), "{said}");
    site.status("zigbee up");
    site.moves("a ZBOSS dongle from what a Silicon Labs one told").await;
    let third = site.backup("third.age");
    assert!(counter(&third) >= counter(&second) + JUMP, "{} {}", counter(&second), counter(&third));
    assert_eq!(third["devices"][0]["link_key"]["key"], first["devices"][0]["link_key"]["key"]);
    assert_eq!(site.joined(), 0, "nobody joined this one");
    shows_no_key(&site, &first);
    assert!(!site.daemon.log().contains("panicked"));
}

/// The gateway was stolen and came back: whoever had it has the key. The lock follows to another one by itself.
#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_changed_the_lock_goes_on_and_old_backups_are_refused() {
    let site = Site::new(Family::Zboss, true).await;
    site.moves("activation").await;
    let old = site.backup("old.age");
    let said = site.said(&["radio", "rotate-key", "zigbee"]);
    assert!(said.contains("key number 1"), "{said}");
    site.moves("another key").await;
    let new = site.backup("new.age");
    assert_ne!(old["network_key"]["key"], new["network_key"]["key"]);
    assert_eq!(new["network_key"]["sequence_number"], 1);

    site.swap(2);
    let (file, passphrase) = (site.path("old.age"), site.path("passphrase"));
    let refused =
        site.complained(&["radio", "restore", "zigbee", "--from", &file, "--passphrase-file", &passphrase]);
    assert!(refused.contains("another key since") && refused.contains("--from-store"), "{refused}");
    site.said(&["radio", "restore", "zigbee", "--from-store"]);
    site.status("zigbee up");
    site.moves("a dongle from the store, with the new key").await;
    assert_eq!(site.joined(), 0, "nobody joined this one");
    shows_no_key(&site, &new);
}

/// What an operator does by hand, with the real `age`: the file is of a Silicon Labs dongle, the new dongle is none.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_for_a_recipient_is_opened_by_age_and_one_that_age_wrote_is_restored() {
    let mut site = Site::new(Family::Ezsp, false).await;
    let run = |program: &str, arguments: &[&str], directory: &Path| {
        let output = Command::new(program).args(arguments).current_dir(directory).output().ok()?;
        assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output));
        Some(output.stdout)
    };
    if run("age-keygen", &["-o", "identity"], site.dir.path()).is_none() {
        println!("skipped: there is no `age` here (Debian's package of that name)");
        return;
    }
    let recipient =
        String::from_utf8(run("age-keygen", &["-y", "identity"], site.dir.path()).unwrap()).unwrap();
    let (file, identity) = (site.path("backup.age"), site.path("identity"));
    site.said(&["radio", "backup", "zigbee", "--to", &file, "--recipient", recipient.trim()]);
    let plain = run("age", &["-d", "-i", "identity", "backup.age"], site.dir.path()).unwrap();
    let opened: Value = serde_json::from_slice(&plain).unwrap();
    assert_eq!(opened["metadata"]["format"], "zigpy/open-coordinator-backup");
    fs::write(site.dir.path().join("plain"), &plain).unwrap();
    run("age", &["-a", "-r", recipient.trim(), "-o", "by-age", "plain"], site.dir.path());
    site.swap_family(2, (Family::Ezsp, Family::Zboss));
    let without = site.complained(&["radio", "restore", "zigbee", "--from", &file]);
    assert!(without.contains("--identity"), "{without}");
    let by_age = site.path("by-age");
    site.said(&["radio", "restore", "zigbee", "--from", &by_age, "--identity", &identity]);
    site.status("zigbee up");
    site.moves("a dongle from a file that age wrote").await;
    assert_eq!(site.joined(), 0, "nobody joined this one");
}
