//! An ordinary Zigbee lock, from its label to its bolt: the real daemon, a broker, and a virtual dongle with a ZCL lock in its air.
//! Off it is refused; watched it is read and never moved; commanded it moves once, for a command that is live and good now, and for
//! nothing else that a broker may hold. Its PINs are nowhere.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cardea_simulator::zigbee::{Dongle, DongleConfig, DoorLock, DoorLockConfig, Ncp, NcpConfig, Nvram};
use cardea_tests::{broker::Broker, daemon::Daemon, eventually, spy::Spy};
use cardea_zigbee::{Eui64, InstallCode};
use serde_json::Value;

const SEED: u64 = 31;
const PATIENCE: Duration = Duration::from_secs(90);
const DONGLE: Eui64 = Eui64(*b"\x02\xca\xde\xa3\0\0\0\x11");
const LOCK: Eui64 = Eui64(*b"\x02\xca\xde\xa4\0\0\0\x11");
/// Of the base device specification's example.
const CODE: &str = "83fed3407a939723a5c639b26916d505c3b5";
/// Milliseconds between two polls of the lock.
const POLL: u64 = 300;
/// A PIN that stands nowhere else.
const PIN: &str = "86420917";

/// Of dongles.
#[derive(Debug, Clone, Copy)]
enum Family {
    Zboss,
    Ezsp,
}

struct Site {
    lock: DoorLock,
    dongle: Dongle,
    daemon: Daemon,
    spy: Spy,
    broker: Broker,
    // Last, so that the logs outlive the processes that a failing test prints.
    dir: tempfile::TempDir,
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn unix_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn command(id: &str, life: i64) -> String {
    let not_after = unix_ms().checked_add_signed(life).unwrap();
    format!(r#"{{"v":1,"command":"unlock","id":"{id}","not_after":{not_after}}}"#)
}

fn section(more: &str) -> String {
    format!("[unsealed]\nenabled = true\nhome_assistant = \"homeassistant\"\nreport_seconds = 10\n{more}\n")
}

fn device(commands: bool) -> String {
    section(&format!("devices = {{ {LOCK} = {{ name = \"Shed\", commands = {commands} }} }}"))
}

impl Site {
    /// A gateway whose network runs, and a lock that is not admitted.
    fn new(family: Family, unsealed: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "");
        let spy = Spy::start(broker.port);
        println!("seed {SEED}, {family:?}");
        let config = DongleConfig { port: dir.path().join("dongle"), seed: SEED, usb: false, capture: None };
        let ncp = NcpConfig { eui: DONGLE, seed: SEED };
        let (ncp, family) = match family {
            Family::Zboss => (Ncp::new(ncp, Nvram::default()), "zboss"),
            Family::Ezsp => (Ncp::ezsp(ncp, Nvram::default(), 13), "ezsp"),
        };
        let dongle = Dongle::plug_in(ncp, config).unwrap();
        let device = dongle.port().display();
        let more =
            format!("[zigbee]\nenabled = true\nfamily = \"{family}\"\ndevice = \"{device}\"\n{unsealed}");
        let daemon = Daemon::start(dir.path(), broker.port, &more);
        let code = InstallCode::new(&hex::decode(CODE).unwrap()).unwrap();
        let config =
            DoorLockConfig { eui: LOCK, code: Some(code), unique_key: true, poll: Some(POLL), pin: None };
        let lock = DoorLock::start(config.clone(), dongle.add(config.device()));
        let site = Self { lock, dongle, daemon, spy, broker, dir };
        site.status("in no network");
        let formed = site.daemon.cli(&["radio", "form", "zigbee"]);
        assert!(formed.status.success(), "{}", text(&formed));
        site.status("zigbee up");
        site
    }

    /// With the lock in it, ready.
    fn with_lock(family: Family, commands: bool) -> Self {
        let site = Self::new(family, &device(commands));
        let admitted = site.admit();
        assert!(
            admitted.status.success() && text(&admitted).contains("NOT end-to-end"),
            "{}",
            text(&admitted)
        );
        site.until("ready and locked", |state| state["ready"] == true && state["bolt"] == "locked");
        site
    }

    fn admit(&self) -> Output {
        self.daemon.cli(&["unsealed", "admit", &format!("{LOCK}/{CODE}")])
    }

    fn status(&self, words: &str) {
        eventually(words, PATIENCE, || text(&self.daemon.cli(&["status"])).contains(words).then_some(()));
    }

    fn topic(leaf: &str) -> String {
        format!("cardea/v1/gw-test/unsealed/{LOCK}/{leaf}")
    }

    fn said(&self, leaf: &str) -> Vec<Value> {
        let all = self.spy.ending(&Self::topic(leaf)).into_iter();
        all.map(|message| serde_json::from_slice(&message.payload).unwrap_or(Value::Null)).collect()
    }

    /// Waits until the lock's last state is so.
    fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(what, PATIENCE, || self.said("state").pop().filter(|state| wanted(state)))
    }

    fn send(&self, payload: &str, retain: bool) {
        self.spy.publish(&Self::topic("set"), payload.as_bytes(), retain);
    }

    /// Waits for a result with this word.
    fn result(&self, id: &str, result: &str) -> Value {
        eventually(&format!("{id}: {result}"), PATIENCE, || {
            self.said("result").into_iter().find(|said| said["id"] == id && said["result"] == result)
        })
    }

    fn refused(&self, id: &str, reason: &str) {
        let said = self.result(id, "refused");
        assert_eq!((&said["reason"], &said["end_to_end"]), (&reason.into(), &false.into()));
    }

    /// A command with such a life, sent again under another id until the daemon has been up for long enough to be sure that no
    /// earlier run can have seen it.
    fn not_restarted(&self, life: i64) -> (String, String) {
        eventually("a command of this run", PATIENCE, || {
            let id = format!("c-{}", unix_ms());
            let sent = command(&id, life);
            self.send(&sent, false);
            let result = eventually("its result", PATIENCE, || {
                self.said("result").into_iter().find(|r| r["id"] == id.as_str())
            });
            std::thread::sleep(Duration::from_secs(1));
            (result["reason"] != "restarted").then_some((id, sent))
        })
    }

    /// The lock asks what time it is, and for firmware: the gateway knows the one and has none of the other.
    fn serves(&self) {
        self.lock.inquire();
        let served = eventually("an answer to the lock", PATIENCE, || {
            let served = self.lock.served().borrow().clone();
            (!served.time.is_empty() && served.firmware.is_some()).then_some(served)
        });
        let [utc, status, zone, local] = [0, 1, 2, 7].map(|name| served.time[&name]);
        let since_2000 = unix_ms() / 1_000 - 946_684_800;
        assert!(since_2000.abs_diff(utc.unwrap()) < 30, "{served:?}");
        assert_eq!((status, served.firmware), (Ok(1), Some(0x98)), "its master's, and no image available");
        // Of this machine, if it has one.
        assert_eq!(local.ok(), zone.ok().map(|zone| utc.unwrap().wrapping_add(zone)), "{served:?}");
    }

    fn obeyed(&self) -> u32 {
        *self.lock.obeyed().borrow()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_lock_is_refused_while_it_is_off_and_while_nobody_named_it() {
    let site = Site::new(Family::Zboss, "");
    let refused = site.admit();
    assert!(!refused.status.success() && text(&refused).contains("[unsealed]"), "{}", text(&refused));
    // What a lock label for sealed ones lets in has no tunnel, and is never spoken to in ZCL.
    drop(site);
    let site = Site::new(Family::Zboss, &section(""));
    let refused = site.admit();
    assert!(!refused.status.success() && text(&refused).contains("not named"), "{}", text(&refused));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(site.dongle.with(|ncp, _| ncp.traffic().joined), 0);
    assert!(site.spy.all().iter().all(|message| !message.topic.contains(&LOCK.to_string())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_watched_is_told_of_with_source_and_age_and_is_never_moved() {
    let site = Site::with_lock(Family::Zboss, false);
    let state = site.until("read", |state| state["source"] == "read");
    assert_eq!(
        (&state["end_to_end"], &state["commands"], &state["battery"]),
        (&false.into(), &false.into(), &90.into())
    );
    assert_eq!(
        (&state["manufacturer"], &state["model"]),
        (&"Cardea".into(), &"Ordinary virtual lock".into())
    );
    assert!(unix_ms() - state["at"].as_u64().unwrap() < 60_000);

    site.serves();
    site.lock.turn(false);
    site.until("unlocked by hand", |state| state["bolt"] == "unlocked" && state["source"] == "report");
    let event = eventually("event", PATIENCE, || site.said("event").pop());
    assert_eq!(
        (&event["event"], &event["by"], &event["end_to_end"]),
        (&"operation".into(), &"manual".into(), &false.into())
    );
    site.lock.jam();
    site.until("jammed", |state| state["bolt"] == "jammed");

    // Nobody listens to commands at all; and the command line says what it is.
    site.send(&command("a", 25_000), false);
    site.send("UNLOCK", false);
    let listed = text(&site.daemon.cli(&["locks"]));
    let row =
        listed.lines().find(|line| line.contains(&LOCK.to_string())).unwrap_or_else(|| panic!("{listed}"));
    assert!(row.contains("  NO  ") && row.contains("jammed (report"), "{listed}");
    assert!(text(&site.daemon.cli(&["status"])).contains("1 ordinary locks, NOT end-to-end"));
    let found: Vec<String> =
        site.spy.all().into_iter().map(|m| m.topic).filter(|t| t.starts_with("homeassistant/")).collect();
    assert!(found.contains(&format!("homeassistant/sensor/cardea_{LOCK}/bolt/config")), "{found:?}");

    // Ten seconds without a word it is read; half a minute later nobody knows.
    site.lock.fall_silent(true);
    let at = site.until("silent", |state| state["bolt"] == "unknown")["at"].as_u64().unwrap();
    assert!((35_000..70_000).contains(&(unix_ms() - at)), "{}", unix_ms() - at);
    assert_eq!(site.said("state").pop().unwrap()["reachable"], false);
    site.lock.fall_silent(false);
    site.lock.turn(true);
    site.until("heard again", |state| state["bolt"] == "locked" && state["reachable"] == true);

    assert_eq!((site.obeyed(), site.said("result").len()), (0, 0));
    let removed = site.daemon.cli(&["unsealed", "remove", &LOCK.to_string()]);
    assert!(removed.status.success(), "{}", text(&removed));
    site.until("taken back", Value::is_null);
    eventually("it leaves", PATIENCE, || {
        (!site.dongle.with(|ncp, _| ncp.nvram().devices().any(|eui| eui == LOCK))).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlock_moves_the_bolt_once_and_no_late_retained_or_repeated_one_moves_it_at_all() {
    let mut site = Site::with_lock(Family::Zboss, true);
    let good = site.not_restarted(29_000);
    site.result(&good.0, "done");
    site.until("unlocked", |state| state["bolt"] == "unlocked");
    assert_eq!(site.obeyed(), 1);
    let words: Vec<Value> = site.said("state").into_iter().map(|state| state["bolt"].clone()).collect();
    assert!(words.contains(&"unlocking".into()), "{words:?}");

    site.send(&good.1, false);
    site.refused(&good.0, "duplicate");
    site.lock.turn(true);
    site.until("locked by hand", |state| state["bolt"] == "locked");
    site.send(&command("late", -1), false);
    site.refused("late", "expired");
    site.send(&command("far", 120_000), false);
    site.refused("far", "too_far");
    // Ten seconds are less than the lock's parent may hold it.
    let short = site.not_restarted(9_000);
    site.result(&short.0, "expired");
    site.send("UNLOCK", false);
    eventually("a bare word", PATIENCE, || {
        site.said("result").into_iter().find(|said| said["reason"] == "no_expiry")
    });

    // Said while nobody was there: a broker queues it for who left a session, and keeps what is retained.
    site.daemon.process().signal("TERM");
    eventually("stopped", PATIENCE, || {
        let last = site.spy.ending("/unsealed/state").pop().unwrap();
        (last.payload.starts_with(br#"{"state":"offline""#)).then_some(())
    });
    site.daemon.kill();
    site.send(&command("away", 29_000), false);
    site.send(&command("kept", 29_000), true);
    eventually("the broker has both", PATIENCE, || {
        let last = site.spy.ending("/set").pop()?;
        String::from_utf8_lossy(&last.payload).contains("kept").then_some(())
    });
    let before = unix_ms();
    site.daemon.up();
    site.refused("kept", "retained");
    // Good until less than 30 s after the start: the run before could have carried it out already.
    let early = format!(r#"{{"v":1,"command":"unlock","id":"early","not_after":{}}}"#, before + 28_000);
    site.send(&early, false);
    let said = site.result("early", "refused");
    // On a machine that takes so long to start it is over.
    assert!(said["reason"] == "restarted" || unix_ms() > before + 28_000, "{said}");
    site.until("read after the start", |state| state["ready"] == true && state["bolt"] == "locked");
    // Long enough for whatever might still come.
    std::thread::sleep(Duration::from_secs(12));
    let told = site.said("result");
    assert!(told.iter().all(|said| said["id"] != "away"), "a broker queues nothing for it: {told:?}");

    // A connection that breaks and is made anew is told again of what is retained.
    let kept = || site.said("result").into_iter().filter(|said| said["id"] == "kept").count();
    let before = kept();
    site.broker.freeze();
    std::thread::sleep(Duration::from_secs(15));
    site.broker.thaw();
    eventually("told again", PATIENCE, || (kept() > before).then_some(()));
    std::thread::sleep(Duration::from_secs(12));
    assert_eq!(site.obeyed(), 1, "{:?}", site.said("result"));
    assert!(!site.daemon.log().contains("panicked"));
}

/// Whether this machine's clock is synchronised, by the daemon's own questions.
fn is_synchronised() -> bool {
    let asked = Command::new("timedatectl").args(["show", "--property=NTPSynchronized", "--value"]).output();
    Path::new("/run/systemd/timesync/synchronized").exists()
        || asked.is_ok_and(|asked| asked.stdout.trim_ascii() == b"yes")
}

/// A gateway that came back without a time: whether a command is late nobody can say, so none moves the bolt; and no lock is told a
/// time that may be wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_clock_nobody_set_moves_no_bolt_and_tells_no_lock_the_time() {
    if is_synchronised() {
        println!("skipped: this machine's clock is synchronised, so the daemon would believe it");
        return;
    }
    let mut site = Site::with_lock(Family::Zboss, true);
    site.serves();
    site.daemon.kill();
    let config = fs::read_to_string(&site.daemon.config).unwrap();
    assert!(config.contains("clock = \"trust\""));
    fs::write(&site.daemon.config, config.replace("clock = \"trust\"", "clock = \"auto\"")).unwrap();
    site.daemon.up();
    site.until("read after the start", |state| state["ready"] == true && state["bolt"] == "locked");
    // Long enough after the start for any other reason to be over.
    std::thread::sleep(Duration::from_secs(31));
    site.send(&command("when", 29_000), false);
    site.refused("when", "clock");
    site.lock.inquire();
    let served = eventually("an answer without a time", PATIENCE, || {
        let served = site.lock.served().borrow().clone();
        (served.time.get(&1) == Some(&Ok(0))).then_some(served)
    });
    assert!(served.time[&0].is_err() && served.time[&7].is_err(), "{served:?}");
    assert_eq!(site.obeyed(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_that_a_lock_tells_the_air_is_in_no_topic_log_or_file_of_the_gateway() {
    keeps_no_pin(Site::with_lock(Family::Zboss, false));
}

/// On the other family of dongles, all of it once.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_on_a_silicon_labs_dongle_is_told_of_and_served_and_obeys_and_its_pin_is_nowhere() {
    let site = Site::with_lock(Family::Ezsp, true);
    let state = site.until("read", |state| state["source"] == "read" && state["battery"] == 90);
    assert_eq!((&state["end_to_end"], &state["model"]), (&false.into(), &"Ordinary virtual lock".into()));
    site.lock.turn(false);
    site.until("unlocked by hand", |state| state["bolt"] == "unlocked" && state["source"] == "report");
    site.lock.turn(true);
    site.until("locked by hand", |state| state["bolt"] == "locked");
    site.serves();
    let (id, sent) = site.not_restarted(29_000);
    site.result(&id, "done");
    site.until("unlocked", |state| state["bolt"] == "unlocked");
    site.send(&sent, false);
    site.refused(&id, "duplicate");
    let short = site.not_restarted(9_000);
    site.result(&short.0, "expired");
    assert_eq!(site.obeyed(), 1);
    site.lock.turn(true);
    site.until("locked by hand again", |state| state["bolt"] == "locked");
    keeps_no_pin(site);
}

fn keeps_no_pin(mut site: Site) {
    site.lock.keypad(PIN);
    site.until("unlocked at the keypad", |state| state["bolt"] == "unlocked" && state["source"] == "event");
    let event = eventually("event", PATIENCE, || {
        site.said("event").into_iter().find(|event| event["by"] == "keypad")
    });
    assert_eq!(event["user"], 7, "it was that event");
    let has = |bytes: &[u8]| {
        [PIN.to_owned(), hex::encode(PIN), PIN.bytes().map(|b| b.to_string()).collect::<Vec<_>>().join(", ")]
            .iter()
            .any(|form| bytes.windows(form.len()).any(|window| window == form.as_bytes()))
    };
    assert!(has(format!("x{PIN}x").as_bytes()), "the search finds it");
    assert!(site.spy.all().iter().all(|message| !has(&message.payload) && !has(message.topic.as_bytes())));
    let cli = ["locks", "status", "unsealed"].map(|verb| text(&site.daemon.cli(&[verb])));
    assert!(!has(cli.concat().as_bytes()) && !has(site.daemon.metrics().as_bytes()));
    site.daemon.kill();
    assert!(!has(site.daemon.log().as_bytes()));
    let mut searched = 0;
    files(site.dir.path(), &mut |file| {
        searched += 1;
        assert!(!has(&std::fs::read(file).unwrap_or_default()), "{}", file.display());
    });
    assert!(searched > 3);
}

fn files(dir: &Path, each: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path(), each),
            Ok(kind) if kind.is_file() => each(&entry.path()),
            _ => {}
        }
    }
}
