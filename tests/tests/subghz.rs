//! A lock on 433 MHz, from its label to its bolt: the real daemon, a broker, the platform, and a module that is a model of either chip
//! behind a socket, on an air with the real link layer's other end, on a CC1101 always. Then what happens to radios, and what enemies do.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cardea_envelope::{Data, Downlink, DownlinkResult, Encoding, MessageId, Topic, Topics};
use cardea_framing::{FragmentHeader, Header};
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
    spy::Spy,
};
use tokio::time::sleep;

const SEED: u64 = 433;
const PATIENCE: Duration = Duration::from_secs(120);

struct Home {
    site: Site,
    lock: VirtualLock,
    ether: Ether,
    daemon: Daemon,
    /// Everything that the broker carried.
    spy: Spy,
    broker: Broker,
    // Last, so that the logs outlive the processes that a failing test prints.
    _dir: tempfile::TempDir,
}

fn ignored(daemon: &Daemon, reason: &str) -> u64 {
    daemon.counted(&format!("cardea_subghz_ignored_total{{reason=\"{reason}\"}}"))
}

/// A module as most are that have an SX1262: with a TCXO.
const SX126X: GatewayChip = GatewayChip::Sx126x(Sx126xConfig { ppm: 0.0, tcxo: true });

/// An air with this module at its socket.
fn air(dir: &Path, chip: GatewayChip) -> Ether {
    weather(dir, chip, Conditions::default())
}

fn weather(dir: &Path, chip: GatewayChip, conditions: Conditions) -> Ether {
    let socket = dir.join("module");
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
        Self::on(chip, Conditions::default()).await
    }

    async fn on(chip: GatewayChip, conditions: Conditions) -> Self {
        println!("seed {SEED}");
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "");
        let ether = weather(dir.path(), chip, conditions);
        let spy = Spy::start(broker.port);
        let daemon = Daemon::start(dir.path(), broker.port, &section(chip, &ether));
        daemon.reaches("subghz up", PATIENCE);
        let site = Site::new(dir.path(), broker.port, PATIENCE);
        let lock = SubghzLock::new_lock(SEED, 1, Profile::Standard, &ether).unwrap();
        let id = lock.id();
        daemon.admit(&[cardea_radio::label::reveal(lock.admission()).to_string()]);
        site.platform.enroll(LockName::Thumbprint(*lock.thumbprint()), lock.owner_code()).await.unwrap();
        lock.switch_on();
        let mut home = Self { site, lock, ether, daemon, spy, broker, _dir: dir };
        home.site.activated(id).await;
        home
    }

    /// What the bolt does not do now.
    fn other(&self) -> Bolt {
        if *self.lock.bolt().borrow() == Bolt::Locked { Bolt::Unlocked } else { Bolt::Locked }
    }

    /// All that the platform gave the gateway for locks.
    fn given(&self) -> Vec<Downlink> {
        let down = |m: &cardea_tests::spy::Message| {
            [Encoding::Json, Encoding::Cbor].iter().find_map(|e| e.decode(&m.payload).ok())
        };
        self.spy.ending("/down").iter().map(|m| down(m).unwrap()).collect()
    }

    /// What the air's zero was on the wall's clock, microseconds. The air is never ahead and may be behind: the least is nearest.
    fn dawn(&self) -> u64 {
        let look = |_| unix_us() - self.ether.with(|town| town.air.now()).unwrap();
        (0..50).map(look).min().unwrap()
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
    home.daemon.reaches("subghz down", PATIENCE);
    home.daemon.reaches("subghz up", PATIENCE);
    home.moves("ten seconds in a drawer").await;
    // Its interrupt line is wired: frames are found by its edges, and not by looking now and then.
    let missed = home.daemon.counted("cardea_subghz_missed_edges_total");
    let ends = ["received", "sent"].map(|what| home.daemon.counted(&format!("cardea_subghz_{what}_total")));
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
        daemon.reaches(words, PATIENCE);
    }
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path(), "");
    let ether = air(dir.path(), SX126X);
    let stuck = Faults { busy: Some(true), ..Faults::default() };
    ether.with(move |town| town.air.set_faults(0, stuck)).unwrap();
    let daemon = Daemon::start(dir.path(), broker.port, &section(SX126X, &ether));
    daemon.reaches(
        "does not do what it is told, and is reset: look at its power, and whether `busy`",
        PATIENCE,
    );
    ether.with(|town| town.air.set_faults(0, Faults::default())).unwrap();
    daemon.reaches("subghz up", PATIENCE);
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

    // A repeat of the last command, which the lock has answered, may still wait at the gateway for as long as that lives: its receipt was lost.
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

/// Each frame is told from all others by its bytes, which are those that the platform gave. A frame of the command before may be on the air
/// while this one lives, or after its end: each has an end of its own.
#[tokio::test(flavor = "multi_thread")]
async fn no_frame_of_a_command_begins_after_the_end_of_that_command() {
    let mut home = Home::on(GatewayChip::Cc1101, Conditions { loss: 0.3, ..Conditions::default() }).await;
    let (id, chip) = (home.lock.id(), home.ether.with(|town| town.locks[0].chip()).unwrap());
    let deaf = |home: &Home, deaf| {
        let faults = Faults { deaf, ..Faults::default() };
        home.ether.with(move |town| town.air.set_faults(chip, faults)).unwrap();
    };
    let dawn = home.dawn();
    for round in 0..8_u64 {
        // A long one that gets no receipt, and behind it a short one; now and then the lock hears.
        deaf(&home, round % 3 != 2);
        let lives = [Duration::from_secs(9), Duration::from_millis(1_500 + round * 250)];
        let (platform, more) = (home.site.platform.clone(), home.site.platform.clone());
        let commands = async {
            let first = platform.unlock(id, lives[0]);
            let second = async {
                sleep(Duration::from_secs(1)).await;
                more.lock(id, lives[1]).await
            };
            tokio::join!(first, second)
        };
        let daemon = &mut home.daemon;
        let troubles = async {
            sleep(Duration::from_millis(1_700 + round * 130)).await;
            match round % 4 {
                // Away, for longer than what is under way may live.
                0 | 2 => {
                    daemon.process().signal("STOP");
                    sleep(Duration::from_millis(400 + round * 150)).await;
                    daemon.process().signal("CONT");
                }
                1 => {
                    daemon.kill();
                    daemon.up();
                }
                _ => {}
            }
        };
        let (outcomes, ()) = tokio::join!(commands, troubles);
        println!(
            "round {round}: {:?}",
            [outcomes.0.map(|o| o.to_string()), outcomes.1.map(|o| o.to_string())]
        );
    }
    sleep(Duration::from_secs(12)).await;
    let dawn = dawn.min(home.dawn());
    let given = home.given();
    let bursts = home.ether.with(|town| town.air.bursts()).unwrap();
    let (mut frames, mut worst, mut behind) = (0, i64::MIN, 0);
    for (start, body) in bursts.iter().filter_map(|burst| Some((burst.start_ns / 1_000, said(burst)?))) {
        let own: Vec<_> = given.iter().filter(|down| is_of(&body, &down.data.0)).collect();
        let end = own
            .iter()
            .map(|down| down.not_after)
            .max()
            .unwrap_or_else(|| panic!("nobody's frame {body:02x?}"));
        let late = i64::try_from(dawn + start).unwrap() - i64::try_from(end * 1_000).unwrap();
        (frames, worst) = (frames + 1, worst.max(late));
        assert!(late <= CLOCKS, "a frame is begun {late} µs after the end of its own command");
        // The frame is of a command, and another one that was given later has already ended.
        let at = given.iter().position(|down| is_of(&body, &down.data.0)).unwrap();
        behind += usize::from(
            given.iter().skip(at + 1).any(|later| later.not_after * 1_000 + 1_000_000 < dawn + start),
        );
    }
    println!("{frames} frames of {} datagrams, the latest {worst} µs after its end", given.len());
    println!("{behind} were on the air a second or more after the end of a later command: of the one before");
    assert!(frames > 30 && worst > -3_000_000, "{frames} frames, the latest {worst} µs after its end");
}

/// A broker gives a retained message to whoever subscribes, as often as that is: somebody's command of last week.
#[tokio::test(flavor = "multi_thread")]
async fn a_retained_command_for_a_lock_on_433_mhz_is_refused_and_nothing_goes_on_the_air() {
    let mut home = Home::new(GatewayChip::Cc1101).await;
    home.moves("activation").await;
    sleep(MOVE.min(Duration::from_secs(12))).await; // what is repeated of that is over
    let (topics, lock) = (Topics::new("cardea/v1", "gw-test").unwrap(), home.lock.id());
    // As a broker would give it: the bytes of a command that the lock obeyed, under a new id, and alive.
    let old =
        home.given().into_iter().rev().find(|down| down.lock == lock && down.data.0.len() > 12).unwrap();
    let not_after = unix_us() / 1_000 + 600_000;
    let retained = Downlink { id: MessageId([0x5A; 16]), not_after, ..old.clone() };
    // And one that no lock has seen yet.
    let mut fresh = old.data.0.clone();
    fresh[6..].iter_mut().for_each(|byte| *byte ^= 0x33);
    let fresh = Downlink { id: MessageId([0x5B; 16]), not_after, data: Data(fresh), ..old };
    let (bolt, from) = (*home.lock.bolt().borrow(), home.ether.with(|town| town.air.now()).unwrap());
    for (round, down) in [&retained, &fresh].into_iter().enumerate() {
        home.daemon.kill();
        // Whoever has a session gets it as if it were new, and its end decides; whoever has none is told that it was retained.
        let port = home.broker.port;
        std::thread::spawn(move || forget_session(port)).join().unwrap();
        home.spy.publish(&topics.name(&Topic::Down(lock)), &Encoding::Json.encode(down), true);
        home.spy.wait("/down", |message| {
            let seen = Encoding::Json.decode::<Downlink>(&message.payload);
            seen.is_ok_and(|seen| seen.id == down.id).then_some(())
        });
        home.daemon.up(); // it subscribes, and there it is
        let reason = home.spy.wait("/result", |message| {
            let results = [Encoding::Json, Encoding::Cbor].into_iter();
            let mut results = results.filter_map(|e| e.decode::<DownlinkResult>(&message.payload).ok());
            results
                .find(|result| result.id == down.id && result.state.is_terminal())
                .map(|result| result.reason)
        });
        assert_eq!(reason.as_deref(), Some("retained"), "round {round}");
    }
    sleep(Duration::from_secs(5)).await;
    let bursts = home.ether.with(|town| town.air.bursts()).unwrap();
    let since = bursts.iter().filter(|burst| burst.start_ns / 1_000 >= from).filter_map(said);
    let commands =
        since.filter(|body| [&retained, &fresh].iter().any(|down| is_of(body, &down.data.0))).count();
    assert_eq!(commands, 0, "a retained command was on the air");
    assert_eq!(*home.lock.bolt().borrow(), bolt, "a retained command moved the bolt");
    // The broker forgets it, and the lock obeys who may order it.
    home.spy.publish(&topics.name(&Topic::Down(lock)), &[], true);
    home.moves("a retained command").await;
}

/// The secret of another label lets nobody in, and the right one does.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_lets_nobody_in_and_a_label_for_a_radio_that_is_off_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path(), "");
    let ether = air(dir.path(), GatewayChip::Cc1101);
    let daemon = Daemon::start(dir.path(), broker.port, &section(GatewayChip::Cc1101, &ether));
    daemon.reaches("subghz up", PATIENCE);
    let mut lock = SubghzLock::new_lock(SEED, 2, Profile::Standard, &ether).unwrap();
    let wrong = Admission { lock: lock.id(), secret: AdmissionSecret::Subghz { secret: [7; 16].into() } };
    daemon.admit(&[cardea_radio::label::reveal(&wrong).to_string()]);
    lock.switch_on();
    eventually("the join is refused", PATIENCE, || (ignored(&daemon, "forged") > 0).then_some(()));
    assert!(!ether.with(|town| town.locks[0].is_joined()).unwrap());
    daemon.admit(&[cardea_radio::label::reveal(lock.admission()).to_string()]);
    let joined = async { while !matches!(lock.happened().await, Some((_, Happening::Joined)) | None) {} };
    assert!(tokio::time::timeout(PATIENCE, joined).await.is_ok(), "the right label lets it in");
    let list = daemon.told(&["radio", "list"]);
    assert!(list.contains("subghz, network ") && list.contains("433.05–434.79 MHz"), "{list}");
    // The secret is nowhere to be read.
    let AdmissionSecret::Subghz { secret } = &lock.admission().secret else { panic!() };
    assert!(!daemon.log().contains(&hex::encode(secret.as_slice())));
}

/// How long other commands live.
const MOVE: Duration = Duration::from_secs(30);
/// How long the command lives that nobody hears.
const LIFE: Duration = Duration::from_secs(5);

/// The wall's clock and the air's are read a moment apart, microseconds.
const CLOCKS: i64 = 100_000;

/// Makes the broker forget the gateway's session: a clean one takes its place and leaves.
fn forget_session(port: u16) {
    let options = rumqttc::MqttOptions::new("gw-test", "127.0.0.1", port);
    let (client, mut connection) = rumqttc::Client::new(options, 10);
    client.disconnect().unwrap();
    let left = |e: &Result<_, _>| {
        e.is_err() || matches!(e, Ok(rumqttc::Event::Outgoing(rumqttc::Outgoing::Disconnect)))
    };
    assert!(connection.iter().any(|event| left(&event)));
}

fn unix_us() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

/// What the gateway said to a lock in one whole burst: a frame of framing that is no receipt.
fn said(burst: &Burst) -> Option<Vec<u8>> {
    let packet = Packet::parse(burst.bytes.get(burst.preamble + 4..)?).ok()?;
    let header = Header::decode(*packet.body().first()?).ok()?;
    let ours = burst.sender == 0 && packet.header().kind == Kind::Data;
    (ours && header.kind != cardea_framing::Kind::Receipt).then(|| packet.body().to_vec())
}

/// Whether a frame is this datagram, or a part of it.
fn is_of(frame: &[u8], datagram: &[u8]) -> bool {
    let header = Header::decode(frame[0]).unwrap();
    if !header.more {
        return frame == datagram;
    }
    let fragment = FragmentHeader::decode([frame[1], frame[2]]).unwrap();
    let (stream, content) = (&datagram[1..], &frame[3..]);
    // Chunks are of one size, and the last holds the checksum.
    let chunk = cardea_subghz_link::MTU - 3;
    let from = (chunk * usize::from(fragment.index)).min(stream.len());
    let clear = content.len().min(stream.len() - from);
    let whole = fragment.index < fragment.last || from + content.len() == stream.len() + 4;
    whole && content[..clear] == stream[from..from + clear]
}

/// When a burst of the gateway's ended that was a command: a frame of kind platform OSCORE with a request in it.
fn request(burst: &Burst) -> Option<u64> {
    let packet = Packet::parse(burst.bytes.get(burst.preamble + 4..)?).ok()?;
    let is_request = matches!(packet.body(), [0x08, flags, ..] if flags & 0x80 == 0);
    let ours = burst.sender == 0 && packet.header().kind == Kind::Data && is_request;
    ours.then(|| (burst.start_ns + burst.bytes.len() as u64 * burst.byte_ns) / 1_000)
}
