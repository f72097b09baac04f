//! Custody with the owner's platform: what a lock said stays with the gateway until the platform itself has it, however
//! often everyone in between dies; and comes to the platform once, in order, and to no other platform.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use cardea_envelope::{Encoding, Seen, Uplink};
use cardea_framing::LockId;
use cardea_sdk::Bolt;
use cardea_simulator::VirtualLock;
use cardea_tests::{
    broker::Broker, daemon::Daemon, eventually, process::Process, program, spy::Spy, whole_lines,
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(180);
const CUSTODY: &str = "custody = \"platform\"\n#mqtt\n";

/// An owner's platform as a process of its own.
struct Owner {
    home: PathBuf,
    config: PathBuf,
    process: Option<Process>,
}

impl Owner {
    fn new(dir: &Path, name: &str, mqtt_port: u16) -> Self {
        let (home, config) = (dir.join(name), dir.join(format!("{name}.toml")));
        let text = format!("[broker]\nurl = \"mqtt://127.0.0.1:{mqtt_port}\"\nclient_id = \"{name}\"\n");
        fs::write(&config, text).unwrap();
        let mut owner = Self { home, config, process: None };
        owner.good(&["init"]);
        owner.up();
        owner
    }

    fn up(&mut self) {
        let lived = self.log().len();
        let mut serve = self.command(&["serve"]);
        self.process = Some(Process::start(&mut serve, &self.home.with_extension("log")));
        eventually("serve is connected", PATIENCE, || {
            self.log()[lived..].contains("broker: connected").then_some(())
        });
    }

    /// SIGKILL.
    fn kill(&mut self) {
        self.process = None;
    }

    fn log(&self) -> String {
        whole_lines(&self.home.with_extension("log"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("cardea-platform"));
        command.arg("--dir").arg(&self.home).arg("--config").arg(&self.config).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn good(&self, arguments: &[&str]) -> String {
        let out = self.run(arguments);
        let text =
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "{arguments:?}: {text}");
        text
    }

    fn enroll(&self, lock: &VirtualLock) {
        let code = self.home.join("code.txt");
        fs::write(&code, lock.owner_code().reveal().to_string()).unwrap();
        self.good(&["enroll", &hex::encode(lock.thumbprint()), "--code-file", code.to_str().unwrap()]);
    }

    fn owns(&self, lock: LockId) {
        eventually("the lock is owned", PATIENCE, || {
            let locks: Value = serde_json::from_str(&self.good(&["--json", "locks"])).ok()?;
            let ours = locks.as_array()?.iter().find(|l| l["lock"] == lock.to_string())?;
            (ours["stage"] == "owned").then_some(())
        });
    }

    /// (log index, position) of every bolt movement that is recorded, in the order of recording.
    fn bolts(&self, lock: LockId) -> Vec<(u64, u64)> {
        let rows: Value = serde_json::from_str(&self.good(&["--json", "log", &lock.to_string()])).unwrap();
        let bolts = rows.as_array().unwrap().iter().filter(|row| row["kind"] == "bolt");
        bolts.map(|row| (row["index"].as_u64().unwrap(), row["value"].as_u64().unwrap())).collect()
    }
}

fn outbox(daemon: &Daemon) -> u64 {
    eventually("the daemon tells its state", PATIENCE, || {
        let status: Value = serde_json::from_slice(&daemon.cli(&["status", "--json"]).stdout).ok()?;
        status["outbox_frames"].as_u64()
    })
}

fn grows_to(daemon: &Daemon, frames: u64) -> u64 {
    eventually("the outbox grows", PATIENCE, || Some(outbox(daemon)).filter(|n| *n >= frames))
}

fn drains(daemon: &Daemon) {
    eventually("the outbox is empty", PATIENCE, || (outbox(daemon) == 0).then_some(()));
}

fn loopback_lock(daemon: &Daemon, number: u64) -> VirtualLock {
    let gateway = SocketAddr::from(([127, 0, 0, 1], daemon.loopback));
    let lock = VirtualLock::on_loopback(11, number, gateway).unwrap();
    daemon.admit(&[cardea_radio::label::reveal(lock.admission()).to_string()]);
    lock
}

fn uplinks(spy: &Spy, lock: LockId) -> Vec<Uplink> {
    let ups = spy.ending(&format!("/lock/{lock}/up"));
    ups.iter().map(|m| Encoding::Json.decode(&m.payload).unwrap()).collect()
}

fn seen(spy: &Spy, lock: LockId) -> Vec<Seen> {
    let told = spy.ending(&format!("/lock/{lock}/seen"));
    told.iter().map(|m| Encoding::Json.decode(&m.payload).unwrap()).collect()
}

/// In every run of the gateway its numbers follow the order in which the lock spoke.
fn in_order(ups: &[Uplink]) {
    let mut spoken = BTreeMap::new();
    for up in ups {
        let next = spoken.len();
        spoken.entry(up.id.0).or_insert(next);
    }
    let mut runs: BTreeMap<[u8; 8], BTreeMap<u64, usize>> = BTreeMap::new();
    for up in ups {
        let place = spoken[&up.id.0];
        let before = runs.entry(up.epoch.0).or_default().insert(up.seq, place);
        assert!(before.is_none_or(|before| before == place), "one number, one frame");
    }
    for (epoch, run) in runs {
        let places: Vec<_> = run.values().collect();
        assert!(places.is_sorted(), "run {}: {places:?}", hex::encode(epoch));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_locks_said_waits_for_their_platform_and_is_recorded_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    // It forgets all it has acknowledged whenever it is killed.
    let mut broker = Broker::start(dir.path(), "");
    let spy = Spy::start(broker.port);
    let mut daemon = Daemon::start(dir.path(), broker.port, CUSTODY);
    let mut owner = Owner::new(dir.path(), "owner", broker.port);
    let locks: Vec<_> = (1..=2).map(|number| loopback_lock(&daemon, number)).collect();
    for lock in &locks {
        owner.enroll(lock);
    }
    for lock in &locks {
        owner.owns(lock.id());
    }
    drains(&daemon);
    let recorded: Vec<_> = locks.iter().map(|lock| owner.bolts(lock.id()).len()).collect();

    // Nobody is there to take it: it stays, whatever the broker says, and whoever dies.
    owner.kill();
    let mut turned = Vec::new();
    let turn = |turned: &mut Vec<u64>, times: usize| {
        for _ in 0..times {
            let bolt = if turned.len().is_multiple_of(2) { Bolt::Unlocked } else { Bolt::Locked };
            locks.iter().for_each(|lock| lock.turn(bolt));
            turned.push(bolt.code().into());
        }
    };
    turn(&mut turned, 2);
    let first = grows_to(&daemon, 4);
    broker.down();
    turn(&mut turned, 2);
    let second = grows_to(&daemon, first + 1);
    broker.up();
    spy.wait_connected();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(outbox(&daemon) >= second, "the broker's word is not the platform's");
    daemon.kill();
    daemon.up();
    assert!(grows_to(&daemon, second) >= second);
    turn(&mut turned, 1);
    let third = grows_to(&daemon, second + 1);

    // It comes back, is killed while it takes what there is, and comes back again.
    owner.up();
    eventually("it begins to drain", PATIENCE, || (outbox(&daemon) < third).then_some(()));
    owner.kill();
    owner.up();
    for (lock, before) in locks.iter().zip(&recorded) {
        eventually("every turn is recorded", PATIENCE, || {
            (owner.bolts(lock.id()).len() >= before + turned.len()).then_some(())
        });
    }
    drains(&daemon);
    for (lock, before) in locks.iter().zip(&recorded) {
        let mut bolts = owner.bolts(lock.id()).split_off(*before);
        let count = bolts.len();
        bolts.sort_unstable();
        bolts.dedup_by_key(|(index, _)| *index);
        assert_eq!((count, bolts.len()), (turned.len(), turned.len()), "each once: {bolts:?}");
        let positions: Vec<_> = bolts.iter().map(|(_, position)| *position).collect();
        assert_eq!(positions, turned, "as it happened");
        in_order(&uplinks(&spy, lock.id()));
    }
    assert!(!owner.log().contains("LOG FORKED") && !owner.log().contains("panicked"));
    assert!(!daemon.log().contains("panicked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlock_whose_platform_died_before_the_answer_is_not_carried_out_twice() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path(), "");
    let spy = Spy::start(broker.port);
    let mut daemon = Daemon::start(dir.path(), broker.port, CUSTODY);
    let mut owner = Owner::new(dir.path(), "owner", broker.port);
    let lock = loopback_lock(&daemon, 1);
    owner.enroll(&lock);
    owner.owns(lock.id());
    drains(&daemon);

    // The command leaves the platform, and the platform dies before its gateway has it.
    let down = format!("/lock/{}/down", lock.id());
    let before = spy.count(&down);
    daemon.process().signal("STOP");
    let mut asked = owner.command(&["unlock", &lock.id().to_string(), "--timeout", "60"]).spawn().unwrap();
    eventually("the command is at the broker", PATIENCE, || (spy.count(&down) > before).then_some(()));
    owner.kill();
    daemon.process().signal("CONT");
    assert!(!asked.wait().unwrap().success(), "whoever asked heard that it is not known");
    let bolt = lock.bolt();
    eventually("the bolt moves", PATIENCE, || (*bolt.borrow() == Bolt::Unlocked).then_some(()));
    grows_to(&daemon, 1);
    // Somebody locks by hand. What the platform repeats under the same id must not unlock again.
    lock.turn(Bolt::Locked);
    eventually("it is locked by hand", PATIENCE, || (*bolt.borrow() == Bolt::Locked).then_some(()));
    let mut moved = lock.bolt();
    moved.mark_unchanged();
    owner.up();
    eventually("the command ends as done", PATIENCE, || {
        owner.log().contains("done: the bolt is").then_some(())
    });
    drains(&daemon);
    assert!(!moved.has_changed().unwrap(), "a second unlock");
    assert_eq!(owner.log().matches("done: the bolt is").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_leaves_the_frames_of_locks_that_are_not_enrolled_to_their_owner() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path(), "");
    let spy = Spy::start(broker.port);
    let daemon = Daemon::start(dir.path(), broker.port, CUSTODY);
    let other = Owner::new(dir.path(), "other", broker.port);
    let ours = loopback_lock(&daemon, 1);
    other.enroll(&ours);
    other.owns(ours.id());
    drains(&daemon);
    let stranger = loopback_lock(&daemon, 2);
    grows_to(&daemon, 1);
    eventually("it is heard and refused", PATIENCE, || {
        other.log().contains(&format!("{}: refused, not enrolled", stranger.id())).then_some(())
    });
    // Past the gateway's first repeat.
    let first = uplinks(&spy, stranger.id())[0].clone();
    eventually("the gateway says it again", PATIENCE, || {
        (uplinks(&spy, stranger.id()).iter().filter(|up| up.id == first.id).count() >= 2).then_some(())
    });
    assert!(seen(&spy, stranger.id()).is_empty(), "its frames are not the other platform's to forget");
    assert!(!seen(&spy, ours.id()).is_empty());
    assert!(outbox(&daemon) >= 1);

    // Its own platform, enrolling it late, gets what has waited.
    let owner = Owner::new(dir.path(), "owner", broker.port);
    owner.enroll(&stranger);
    owner.owns(stranger.id());
    drains(&daemon);
    let last = uplinks(&spy, stranger.id()).iter().map(|up| up.seq).max();
    assert_eq!(seen(&spy, stranger.id()).iter().map(|s| s.seq).max(), last);
    assert!(!other.log().contains(&format!("{}: activated", stranger.id())));
}
