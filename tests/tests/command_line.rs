//! What README and docs/platform.md tell an owner to type, typed: both programs, a broker, a lock.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
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
    let mut serve = Command::new(program("cardea-platform"));
    serve.arg("--dir").arg(&home).args(["--broker", &format!("mqtt://127.0.0.1:{}", broker.port), "serve"]);
    let _serve = Process::start(&mut serve, &dir.path().join("platform.log"));
    eventually("serve listens", PATIENCE, || home.join("socket").exists().then_some(()));
    let code = dir.path().join("code.txt");
    fs::write(&code, lock.owner_code().reveal().to_string()).unwrap();
    good(platform(
        &home,
        &["enroll", &hex::encode(lock.thumbprint()), "--code-file", code.to_str().unwrap()],
    ));

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
    eventually("activation", PATIENCE, || text(&platform(&home, &["locks"])).contains("owned").then_some(()));
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
