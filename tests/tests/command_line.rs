//! What README and docs/platform.md tell an owner to type, typed: both programs, a broker, a lock.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use cardea_sdk::Bolt;
use cardea_simulator::VirtualLock;
use cardea_tests::{broker::Broker, daemon::Daemon, eventually, process::Process, program};

const PATIENCE: Duration = Duration::from_secs(60);

fn platform(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(program("cardea-platform")).arg("--dir").arg(dir).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn good(output: Output) -> String {
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

/// A running `serve`, once it listens.
fn serve(home: &Path, broker: u16) -> Process {
    let _ = fs::remove_file(home.join("socket"));
    let mut serve = Command::new(program("cardea-platform"));
    serve.arg("--dir").arg(home).args(["--broker", &format!("mqtt://127.0.0.1:{broker}"), "serve"]);
    let process = Process::start(&mut serve, &home.with_extension("log"));
    eventually("serve listens", PATIENCE, || home.join("socket").exists().then_some(()));
    process
}

/// A running `watch` and where it prints; it misses nothing that happens after the return.
fn watch(home: &Path, more: &[&str]) -> (Process, PathBuf) {
    let printed = home.with_extension(format!("watch{}", more.concat()));
    // `watch` says nothing of its own at first; that it is there is seen by what its socket has open.
    let connections = || {
        let open = fs::read_to_string("/proc/net/unix").unwrap();
        let socket = home.join("socket").display().to_string();
        open.lines().filter(|line| line.ends_with(&socket)).count()
    };
    let before = connections();
    let mut watch = Command::new(program("cardea-platform"));
    watch.arg("--dir").arg(home).args(more).arg("watch");
    let process = Process::start(&mut watch, &printed);
    eventually("watch is there", PATIENCE, || (connections() > before).then_some(()));
    std::thread::sleep(Duration::from_millis(500));
    (process, printed)
}

/// Waits until a line with all of these has been printed.
fn printed(file: &Path, words: &[&str], patience: Duration) -> String {
    eventually(&format!("{words:?} in {}", file.display()), patience, || {
        let text = fs::read_to_string(file).unwrap();
        text.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
    })
}

fn enroll(home: &Path, lock: &VirtualLock) {
    let code = home.with_extension("code");
    fs::write(&code, lock.owner_code().reveal().to_string()).unwrap();
    good(platform(home, &["enroll", &hex::encode(lock.thumbprint()), "--code-file", code.to_str().unwrap()]));
}

fn owned(home: &Path) {
    eventually("activation", PATIENCE, || text(&platform(home, &["locks"])).contains("owned").then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_enrolls_a_lock_and_unlocks_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path(), "");
    let daemon = Daemon::start(dir.path(), broker.port, "");
    let lock = VirtualLock::on_loopback(5, 1, SocketAddr::from(([127, 0, 0, 1], daemon.loopback))).unwrap();
    let id = lock.id().to_string();

    // The owner's side.
    let home = dir.path().join("platform");
    let init = good(platform(&home, &["init"]));
    assert!(init.split_whitespace().any(|w| w.len() >= 64), "init prints the root's thumbprint: {init}");
    let again = platform(&home, &["init"]);
    assert!(!again.status.success(), "a second init overwrites nothing");
    let _serve = serve(&home, broker.port);
    enroll(&home, &lock);

    // The installer's side: the label, as the installer would type it.
    let label = cardea_radio::label::reveal(lock.admission()).to_string();
    let mut wrong = label.clone();
    wrong.pop();
    wrong.push(if label.ends_with('0') { '1' } else { '0' });
    let refused = daemon.cli(&["locks", "admit", &wrong]);
    assert!(!refused.status.success() && text(&refused).contains("check digits"), "{}", text(&refused));
    good(daemon.cli(&["locks", "admit", &label]));

    // It says "here I am" when it is switched on; this one was on before it was admitted.
    lock.reset();
    owned(&home);
    let listed = good(daemon.cli(&["locks"]));
    assert!(listed.contains(&id) && listed.contains("listening"), "{listed}");
    let status = good(platform(&home, &["status", &id]));
    assert!(status.contains("199.94.43293"), "{status}");
    let done = good(platform(&home, &["unlock", &id]));
    assert!(done.contains("unlocked"), "{done}");
    assert_eq!(*lock.bolt().borrow(), Bolt::Unlocked);
    good(platform(&home, &["lock", &id]));
    assert_eq!(*lock.bolt().borrow(), Bolt::Locked);
    let json: serde_json::Value =
        serde_json::from_slice(&platform(&home, &["--json", "status", &id]).stdout).unwrap();
    assert_eq!(json["battery"], 90, "{json}");
    eventually("the log has it", PATIENCE, || {
        text(&platform(&home, &["log", &id])).contains("boot").then_some(())
    });
    good(daemon.cli(&["status"]));
    let metrics = daemon.metrics();
    assert!(metrics.contains("cardea_"), "{metrics}");

    // What does not exist is said, with an exit status.
    let unknown = platform(&home, &["unlock", "ffffffffffffffff"]);
    assert!(!unknown.status.success() && !text(&unknown).is_empty());
    let nonsense = platform(&home, &["unlock", "door"]);
    assert!(!nonsense.status.success() && text(&nonsense).contains("16"), "{}", text(&nonsense));
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_prints_what_happens_as_it_happens_for_people_and_for_programs() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path(), "");
    let daemon = Daemon::start(dir.path(), broker.port, "");
    let lock = VirtualLock::on_loopback(6, 1, SocketAddr::from(([127, 0, 0, 1], daemon.loopback))).unwrap();
    let id = lock.id().to_string();
    let home = dir.path().join("platform");
    good(platform(&home, &["init"]));
    let mut serving = serve(&home, broker.port);
    let (mut people, for_people) = watch(&home, &[]);
    let (mut programs, for_programs) = watch(&home, &["--json"]);

    enroll(&home, &lock);
    daemon.admit(&[cardea_radio::label::reveal(lock.admission()).to_string()]);
    lock.reset();
    printed(&for_people, &[&id, "activated, both sides proved (through gw-test)"], PATIENCE);
    owned(&home);
    good(platform(&home, &["unlock", &id]));
    printed(&for_people, &[&id, "unlock", "unlocked"], PATIENCE);
    lock.turn(Bolt::Locked);
    printed(&for_people, &[&id, "bolt locked (log "], PATIENCE);
    let line = printed(&for_programs, &["\"bolt\"", "\"locked\""], PATIENCE);
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&event["lock"], &event["gateway"]), (&id.as_str().into(), &"gw-test".into()), "{event}");
    assert!(event["log"].is_u64() && event["received"].is_u64(), "{event}");
    for line in fs::read_to_string(&for_programs).unwrap().lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    }

    // One that is ended by its user costs the others nothing; one whose `serve` ends says so.
    people.signal("INT");
    eventually("it ends", PATIENCE, || people.ended().then_some(()));
    serving.signal("TERM");
    eventually("serve ends", PATIENCE, || serving.ended().then_some(()));
    eventually("watch ends", PATIENCE, || programs.ended().then_some(()));
    assert!(programs.log().contains("`serve` ended"), "{}", programs.log());
}

/// Longer than it takes a lock to miss three answers.
const REKEYED: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_was_put_back_sends_nothing_under_its_old_keys_and_locks_make_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path(), "");
    let daemon = Daemon::start(dir.path(), broker.port, "");
    let lock = VirtualLock::on_loopback(8, 1, SocketAddr::from(([127, 0, 0, 1], daemon.loopback))).unwrap();
    let id = lock.id().to_string();
    let home = dir.path().join("platform");
    assert!(
        text(&platform(&home, &["restored"])).contains("init"),
        "there is nothing that could be restored"
    );
    good(platform(&home, &["init"]));
    let serving = serve(&home, broker.port);
    enroll(&home, &lock);
    daemon.admit(&[cardea_radio::label::reveal(lock.admission()).to_string()]);
    lock.reset();
    owned(&home);
    good(platform(&home, &["unlock", &id]));
    good(platform(&home, &["lock", &id]));
    assert!(!text(&platform(&home, &["locks"])).contains("no keys"));

    // A copy is put back in a way that nothing can notice: the marker tells.
    drop(serving);
    let said = good(platform(&home, &["restored"]));
    assert!(said.contains("the next start discards every session key"), "{said}");
    assert!(home.join("restored").exists());
    let serving = serve(&home, broker.port);
    assert!(serving.log().contains("every OSCORE context is discarded"), "{}", serving.log());
    assert!(!home.join("restored").exists(), "it counts once");
    assert!(text(&platform(&home, &["locks"])).contains("no keys"));
    let refused = platform(&home, &["unlock", &id, "--timeout", "3"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert_eq!(*lock.bolt().borrow(), Bolt::Locked);

    // The lock misses its answers. Its battery is changed, so that it need not wait a quarter of an hour.
    let (_watch, told) = watch(&home, &[]);
    lock.reset();
    for _ in 0..2 {
        lock.turn(Bolt::Unlocked);
        lock.turn(Bolt::Locked);
    }
    printed(&told, &[&id, "new session keys"], REKEYED);
    let done = good(platform(&home, &["unlock", &id]));
    assert!(done.contains("unlocked"), "{done}");
    assert_eq!(*lock.bolt().borrow(), Bolt::Unlocked);
}
