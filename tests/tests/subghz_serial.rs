//! A lock with a transparent serial module (HC-12, E32), from its label to its bolt: the real daemon at a pseudo-terminal, whose other end is a
//! model of such a module with latency, loss, packets in pieces and bytes that nobody said; the real link layer's other end; the lock agent.

use std::time::Duration;

use cardea_sdk::{Bolt, LockName, Outcome, PlatformEvent};
use cardea_simulator::VirtualLock;
use cardea_simulator::subghz::{SerialConditions, SerialEther, SerialEtherConfig, SubghzLock};
use cardea_subghz::UartModule;
use cardea_subghz::serial::cobs::Decoder;
use cardea_subghz_link::{AirFrame, Kind, Packet};
use cardea_tests::{
    broker::Broker,
    daemon::Daemon,
    site::{Door, Site},
};
use tokio::time::sleep;

const SEED: u64 = 12;
const PATIENCE: Duration = Duration::from_secs(180);
/// How long commands live.
const MOVE: Duration = Duration::from_secs(60);
/// How long the command lives that nobody hears.
const LIFE: Duration = Duration::from_secs(5);
/// As `[subghz]` says it of an HC-12 in its mode FU3.
const CONFIG: &str =
    "baud = 9600\nair_bps = 15000\npacket_bytes = 80\noverhead_ms = 10\nhold_ms = 80\npower = 8\n";

struct Home {
    site: Site,
    lock: VirtualLock,
    ether: SerialEther,
    daemon: Daemon,
    _broker: Broker,
    // Last, so that the logs outlive the processes that a failing test prints.
    _dir: tempfile::TempDir,
}

fn ignored(daemon: &Daemon, reason: &str) -> u64 {
    daemon.counted(&format!("cardea_subghz_ignored_total{{reason=\"{reason}\"}}"))
}

impl Home {
    /// A lock that was let in by its label and activated by its code.
    async fn new(conditions: SerialConditions) -> Self {
        println!("seed {SEED}");
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "");
        let link = dir.path().join("ttyHC12");
        let config =
            SerialEtherConfig { link: link.clone(), module: UartModule::HC12, seed: SEED, conditions };
        let ether = SerialEther::start(config).unwrap();
        let more =
            format!("[subghz]\nenabled = true\nchip = \"serial\"\ndevice = \"{}\"\n{CONFIG}", link.display());
        let daemon = Daemon::start(dir.path(), broker.port, &more);
        daemon.reaches("subghz up", PATIENCE);
        let site = Site::new(dir.path(), broker.port, PATIENCE);
        let lock = SubghzLock::new_serial(SEED, 1, &ether).unwrap();
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

    /// Frames that the daemon gave its module, by when their last byte was given, µs.
    fn said(&self) -> Vec<(u64, Vec<u8>)> {
        let written = self.ether.with(|town| town.modules.borrow().written(0)).unwrap();
        let mut decoder = Decoder::<70>::default();
        let mut said = Vec::new();
        for (at, byte) in written {
            if let Some(Ok(packet)) = decoder.push(byte) {
                said.push((at, packet.to_vec()));
            }
        }
        said
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_with_a_serial_module_is_activated_and_obeys_and_goes_on_after_a_kill_and_without_its_radio() {
    let weather = SerialConditions { loss: 0.05, cut: 0.2, rubbish: 0.2 };
    let mut home = Home::new(weather).await;
    home.moves("activation").await;
    let id = home.lock.id();
    let locks = home.daemon.told(&["locks"]);
    assert!(locks.contains("not known") && !locks.contains("dBm") && !locks.contains("LQI"), "{locks}");
    let radios = home.daemon.told(&["radio", "list"]);
    assert!(radios.contains("subghz, network "), "{radios}");

    home.daemon.kill();
    home.lock.turn(home.other());
    home.daemon.up();
    home.site
        .event(
            "the bolt that was turned by hand",
            |event| matches!(event, PlatformEvent::Lock { lock, kind, .. } if *lock == id && kind == "bolt"),
        )
        .await;
    home.moves("a kill").await;

    home.ether.unplug(Duration::from_secs(5));
    home.daemon.reaches("subghz down", PATIENCE);
    home.daemon.reaches("subghz up", PATIENCE);
    home.moves("five seconds in a drawer").await;

    // The daemon starts without it, and finds it when it comes.
    home.ether.unplug(Duration::from_secs(8));
    home.daemon.kill();
    home.daemon.up();
    home.daemon.reaches("subghz down", PATIENCE);
    home.daemon.reaches("subghz up", PATIENCE);
    home.moves("a start without it").await;
    assert!(!home.daemon.log().contains("panicked"));
    assert_eq!(ignored(&home.daemon, "forged"), 0);
    // What came in pieces or was none was dropped and counted.
    println!("noise {}", ignored(&home.daemon, "noise"));
}

/// A command that nobody waits for any more is not given to the module.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_past_its_deadline_is_not_put_on_the_wire() {
    let home = Home::new(SerialConditions::default()).await;
    home.moves("activation").await;
    let id = home.lock.id();
    // A repeat of the last command, which the lock has answered, may still wait at the gateway for as long as that lives.
    sleep(MOVE + Duration::from_secs(2)).await;
    let deafen = |deaf| {
        home.ether.with(move |town| town.modules.borrow_mut().deafen(town.locks[0].end(), deaf)).unwrap();
    };
    deafen(true);
    let bolt = *home.lock.bolt().borrow();
    let begun = home.ether.with(|town| town.modules.borrow().now()).unwrap();
    let outcome = home.site.platform.unlock(id, LIFE).await.unwrap();
    println!("{outcome}");
    assert!(!matches!(outcome, Outcome::Done { .. }), "{outcome}");
    sleep(Duration::from_secs(2)).await;
    deafen(false);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(*home.lock.bolt().borrow(), bolt, "a late unlock was executed");
    // Requests to the lock; its own questions may be answered at any time.
    let is_request = |frame: &[u8]| {
        let Some(frame) = AirFrame::from_payload(frame.get(1..frame.len().saturating_sub(2)).unwrap_or(&[]))
        else {
            return false;
        };
        Packet::parse(frame.as_bytes()).is_ok_and(|packet| {
            packet.header().kind == Kind::Data
                && matches!(packet.body(), [0x08, flags, ..] if flags & 0x80 == 0)
        })
    };
    let requests: Vec<u64> = home
        .said()
        .into_iter()
        .filter(|(_, frame)| is_request(frame))
        .filter_map(|(at, _)| at.checked_sub(begun))
        .collect();
    println!("the command was given to the module after {requests:?} µs");
    // What the module is given later than this would not be out in time. The platform's clock and the air's are read a moment apart, and
    // this test's thread sees bytes a moment after they were written.
    let profile = cardea_subghz::Profile::Serial(UartModule::HC12);
    let last = LIFE.as_micros() as u64 - profile.start() - profile.air_time_of_body(20) + 250_000;
    assert!(!requests.is_empty() && requests.iter().all(|at| *at <= last), "{requests:?}");
    home.moves("it hears again").await;
}
