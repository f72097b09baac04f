//! A lock on 433 MHz, from its label to its bolt: the real daemon, a broker, the platform, and a module that is a model of either chip
//! behind a socket, on an air with the real link layer's other end, on a CC1101 always. Then what happens to radios, and what enemies do.

use std::{path::Path, process::Output, time::Duration};

use cardea_radio::{Admission, AdmissionSecret};
use cardea_sdk::{Bolt, LockName, Outcome, PlatformEvent};
use cardea_simulator::subghz::{
    Burst, Conditions, Ether, EtherConfig, Faults, GatewayChip, SubghzLock, Sx126xConfig,
};
use cardea_simulator::{Happening, VirtualLock};
use cardea_subghz::Profile;
use cardea_subghz_link::{AirFrame, Kind, Packet};
use cardea_tests::{
    broker::Broker,
    daemon::Daemon,
    eventually,
    site::{Door, Site},
};
use tokio::time::sleep;

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

/// A module as most are that have an SX1262: with a TCXO.
const SX126X: GatewayChip = GatewayChip::Sx126x(Sx126xConfig { ppm: 0.0, tcxo: true });

/// An air with this module at its socket.
fn air(dir: &Path, chip: GatewayChip) -> Ether {
    let (socket, conditions) = (dir.join("module"), Conditions::default());
    Ether::start(EtherConfig { socket, chip, seed: SEED, conditions, records: true }).unwrap()
}

/// What the owner writes who has this module.
fn section(chip: GatewayChip, ether: &Ether) -> String {
    let chip = match chip {
        // As it was before there was another.
        GatewayChip::Cc1101 => "",
        GatewayChip::Sx126x(_) => "chip = \"sx126x\"\ntcxo = \"1.8V\"\n",
    };
    format!("[subghz]\nenabled = true\ndevice = \"unix:{}\"\n{chip}", ether.socket().display())
}

impl Home {
    /// A lock that was let in by its label and activated by its code.
    async fn new(chip: GatewayChip) -> Self {
        println!("seed {SEED}");
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "");
        let ether = air(dir.path(), chip);
        let daemon = Daemon::start(dir.path(), broker.port, &section(chip, &ether));
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
        self.site.moves(&door, self.other(), MOVE, after).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_on_433_mhz_is_activated_and_obeys_and_goes_on_after_a_kill_and_without_its_radio() {
    journey(GatewayChip::Cc1101).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sx126x_carries_the_same_lock_through_the_same_journey() {
    journey(SX126X).await;
}

/// From the label to the bolt, over two kills of the daemon and ten seconds without the module.
async fn journey(chip: GatewayChip) {
    let mut home = Home::new(chip).await;
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
    // Its interrupt line is wired: frames are found by its edges, and not by looking now and then.
    let missed = counted(&home.daemon, "cardea_subghz_missed_edges_total");
    let ends = ["received", "sent"].map(|what| counted(&home.daemon, &format!("cardea_subghz_{what}_total")));
    println!("{missed} of {ends:?} ends were told by no edge");
    assert!(missed * 4 < ends.iter().sum(), "{missed} of {ends:?}");
    assert!(!home.daemon.log().contains("panicked"));
    assert_eq!(ignored(&home.daemon, "forged"), 0);
}

/// The owner of the wrong module, and of one that is wired wrong, is told what to do; with the right one it goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_is_not_what_is_configured_is_named() {
    for (is, configured, words) in [
        (GatewayChip::Cc1101, SX126X, "is no SX126x but a chip of the other kind: say `chip = \"cc1101\"`"),
        (SX126X, GatewayChip::Cc1101, "is no CC1101 but a chip of the other kind: say `chip = \"sx126x\"`"),
        (GatewayChip::Sx126x(Sx126xConfig::default()), SX126X, "`tcxo` must be the voltage"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "");
        let ether = air(dir.path(), is);
        let daemon = Daemon::start(dir.path(), broker.port, &section(configured, &ether));
        status(&daemon, words);
    }
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path(), "");
    let ether = air(dir.path(), SX126X);
    let stuck = Faults { busy: Some(true), ..Faults::default() };
    ether.with(move |town| town.air.set_faults(0, stuck)).unwrap();
    let daemon = Daemon::start(dir.path(), broker.port, &section(SX126X, &ether));
    status(&daemon, "does not do what it is told, and is reset: look at its power, and whether `busy`");
    ether.with(|town| town.air.set_faults(0, Faults::default())).unwrap();
    status(&daemon, "subghz up");
    assert_eq!(ether.with(|town| town.air.bursts().len()).unwrap(), 0);
}

/// A command that nobody waits for any more is not on the air; whoever has no key moves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_command_and_whoever_has_no_key_open_nothing() {
    let home = Home::new(GatewayChip::Cc1101).await;
    home.moves("activation").await;
    let id = home.lock.id();

    // Enemies: noise, what they overheard, and what they changed of it.
    let overheard = home.ether.with(|town| town.air.bursts()).unwrap();
    let (forged, replayed, noise) =
        (ignored(&home.daemon, "forged"), ignored(&home.daemon, "replayed"), ignored(&home.daemon, "noise"));
    let bolt = *home.lock.bolt().borrow();
    let mut said = 0;
    for burst in overheard.iter().filter(|burst| burst.sender != 0) {
        let Some(payload) = burst.bytes.get(burst.preamble + 5..burst.bytes.len().saturating_sub(2)) else {
            continue;
        };
        let mut changed = payload.to_vec();
        if let Some(last) = changed.last_mut() {
            *last ^= 1;
        }
        for frame in [payload.to_vec(), changed, vec![0xA5; 20]] {
            let frame = AirFrame::from_payload(&frame).unwrap();
            home.ether.stranger(Profile::Standard, move |stranger| stranger.say(frame)).unwrap();
            sleep(Duration::from_millis(100)).await;
        }
        said += 1;
        if said == 30 {
            break;
        }
    }
    assert!(said > 5, "nothing was overheard");
    eventually("what enemies say is counted", PATIENCE, || {
        let counted = |reason| ignored(&home.daemon, reason);
        let all = counted("forged") > forged && counted("replayed") > replayed && counted("noise") > noise;
        all.then_some(())
    });
    assert_eq!(*home.lock.bolt().borrow(), bolt, "an enemy moved the bolt");
    home.moves("enemies").await;

    // A repeat of the last command, which the lock has answered, may still wait at the gateway for as long as that lives.
    sleep(MOVE + Duration::from_secs(2)).await;
    // Nobody is there to hear: the command is sent while it lives, and never after.
    let chip = home.ether.with(|town| town.locks[0].chip()).unwrap();
    let deaf = Faults { deaf: true, ..Faults::default() };
    home.ether.with(move |town| town.air.set_faults(chip, deaf)).unwrap();
    let bolt = *home.lock.bolt().borrow();
    let begun = home.ether.with(|town| town.air.now()).unwrap();
    let outcome = home.site.platform.unlock(id, LIFE).await.unwrap();
    let waited = home.ether.with(|town| town.air.now()).unwrap() - begun;
    println!("{outcome}, after {waited} µs");
    assert!(!matches!(outcome, Outcome::Done { .. }), "{outcome}");
    sleep(Duration::from_secs(2)).await;
    home.ether.with(move |town| town.air.set_faults(chip, Faults::default())).unwrap();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(*home.lock.bolt().borrow(), bolt, "a late unlock was executed");
    // Requests to the lock, by when they ended; its own questions may be answered at any time.
    let requests: Vec<u64> =
        home.ether.with(|town| town.air.bursts()).unwrap().iter().filter_map(request).collect();
    let requests: Vec<u64> = requests.into_iter().filter_map(|at| at.checked_sub(begun)).collect();
    println!("the command was on the air after {requests:?} µs");
    // The platform's clock and the air's are read a moment apart.
    let last = LIFE.as_micros() as u64 + 250_000;
    assert!(!requests.is_empty() && requests.iter().all(|at| *at <= last), "{requests:?}");
    home.moves("it hears again").await;
}

/// The secret of another label lets nobody in, and the right one does.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_lets_nobody_in_and_a_label_for_a_radio_that_is_off_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path(), "");
    let ether = air(dir.path(), GatewayChip::Cc1101);
    let daemon = Daemon::start(dir.path(), broker.port, &section(GatewayChip::Cc1101, &ether));
    status(&daemon, "subghz up");
    let mut lock = SubghzLock::new_lock(SEED, 2, Profile::Standard, &ether).unwrap();
    let wrong = Admission { lock: lock.id(), secret: AdmissionSecret::Subghz { secret: [7; 16].into() } };
    daemon.admit(&[cardea_radio::label::reveal(&wrong).to_string()]);
    lock.switch_on();
    eventually("the join is refused", PATIENCE, || (ignored(&daemon, "forged") > 0).then_some(()));
    assert!(!ether.with(|town| town.locks[0].is_joined()).unwrap());
    daemon.admit(&[cardea_radio::label::reveal(lock.admission()).to_string()]);
    let joined = async { while !matches!(lock.happened().await, Some((_, Happening::Joined)) | None) {} };
    assert!(tokio::time::timeout(PATIENCE, joined).await.is_ok(), "the right label lets it in");
    let list = text(&daemon.cli(&["radio", "list"]));
    assert!(list.contains("subghz, network ") && list.contains("433.05–434.79 MHz"), "{list}");
    // The secret is nowhere to be read.
    let AdmissionSecret::Subghz { secret } = &lock.admission().secret else { panic!() };
    assert!(!daemon.log().contains(&hex::encode(secret.as_slice())));
}

/// How long other commands live.
const MOVE: Duration = Duration::from_secs(30);
/// How long the command lives that nobody hears.
const LIFE: Duration = Duration::from_secs(5);

/// When a burst of the gateway's ended that was a command: a frame of kind platform OSCORE with a request in it.
fn request(burst: &Burst) -> Option<u64> {
    let packet = Packet::parse(burst.bytes.get(burst.preamble + 4..)?).ok()?;
    let is_request = matches!(packet.body(), [0x08, flags, ..] if flags & 0x80 == 0);
    let ours = burst.sender == 0 && packet.header().kind == Kind::Data && is_request;
    ours.then(|| (burst.start_ns + burst.bytes.len() as u64 * burst.byte_ns) / 1_000)
}
