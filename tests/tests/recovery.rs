//! A platform that is put back from a backup older than a lock's activation: both programs, a broker, a lock that has burnt
//! its code, and nobody at the door.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use cardea_agent::{AgentEvent, HandshakeFailure};
use cardea_sdk::Bolt;
use cardea_simulator::{Happening, VirtualLock};
use cardea_tests::{broker::Broker, daemon::Daemon, eventually, process::Process, program};

const PATIENCE: Duration = Duration::from_secs(60);
/// While a lock has a context it starts a handshake at most this often.
const QUARTER: Duration = Duration::from_secs(15 * 60);

/// The files of the state, as a backup has them.
const DATABASE: [&str; 3] = ["state.db", "state.db-wal", "state.db-shm"];

fn run(home: &Path, arguments: &[&str]) -> Output {
    Command::new(program("cardea-platform")).arg("--dir").arg(home).args(arguments).output().unwrap()
}

/// Runs the program while the lock, which lives on this thread, goes on.
async fn platform(home: &Path, arguments: &[&str]) -> (bool, String) {
    let (home, arguments) = (home.to_owned(), arguments.iter().map(ToString::to_string).collect::<Vec<_>>());
    let output = tokio::task::spawn_blocking(move || {
        run(&home, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    });
    let output = output.await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

async fn good(home: &Path, arguments: &[&str]) -> String {
    let (done, said) = platform(home, arguments).await;
    assert!(done, "{arguments:?}: {said}");
    said
}

/// Looks again and again while the lock goes on.
async fn until<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn serve(home: &Path, broker: u16) -> (Process, PathBuf) {
    let _ = fs::remove_file(home.join("socket"));
    let log = home.with_extension("log");
    let mut serve = Command::new(program("cardea-platform"));
    serve.arg("--dir").arg(home).args(["--broker", &format!("mqtt://127.0.0.1:{broker}"), "serve"]);
    let process = Process::start(&mut serve, &log);
    eventually("serve listens", PATIENCE, || home.join("socket").exists().then_some(()));
    (process, log)
}

/// Once the journal of `serve` has a line with all of these, the line.
async fn journal(log: &Path, words: &[&str], limit: Duration) -> String {
    until(&format!("{words:?} in {}", log.display()), limit, || {
        let text = fs::read_to_string(log).unwrap_or_default();
        text.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
    })
    .await
}

/// Until the agent of the lock has said this.
async fn happens(lock: &mut VirtualLock, wanted: AgentEvent) {
    let said = async {
        while !matches!(lock.happened().await, Some((_, Happening::Agent(event))) if event == wanted) {}
    };
    assert!(tokio::time::timeout(PATIENCE, said).await.is_ok(), "{wanted:?}: not within {PATIENCE:?}");
}

/// The lock's clock goes on by this much at once; nobody touches the lock.
async fn passes(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_platform_from_before_the_activation_has_its_lock_again_and_nobody_was_at_the_door() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path(), "");
    let daemon = Daemon::start(dir.path(), broker.port, "");
    let mut lock =
        VirtualLock::on_loopback(11, 1, SocketAddr::from(([127, 0, 0, 1], daemon.loopback))).unwrap();
    let id = lock.id().to_string();
    let home = dir.path().join("platform");
    good(&home, &["init"]).await;
    let code = home.with_extension("code");
    fs::write(&code, lock.owner_code().reveal().to_string()).unwrap();
    let thumbprint = hex::encode(lock.thumbprint());
    good(&home, &["enroll", &thumbprint, "--code-file", code.to_str().unwrap()]).await;

    // The backup, while nothing runs; then the lock is activated and its code burnt.
    let backup = DATABASE.map(|name| fs::read(home.join(name)).ok());
    let (serving, log) = serve(&home, broker.port);
    daemon.admit(&[cardea_radio::label::reveal(lock.admission()).to_string()]);
    lock.reset();
    journal(&log, &[&id, "activated, both sides proved"], PATIENCE).await;
    let status = good(&home, &["status", &id]).await;
    assert!(status.contains("199.94.43293"), "{status}");

    drop(serving);
    for (name, kept) in DATABASE.into_iter().zip(backup) {
        let _ = fs::remove_file(home.join(name));
        kept.map_or(Ok(()), |kept| fs::write(home.join(name), kept)).unwrap();
    }
    fs::remove_file(&log).unwrap();
    let (_serve, log) = serve(&home, broker.port);
    let listed = good(&home, &["locks"]).await;
    assert!(listed.contains("enrolled") && listed.contains("no keys"), "{listed}");

    // The door goes on as ever: its first event brings a hint, the name is not known, and a quarter of an hour later the
    // lock shows its credential.
    passes(QUARTER).await;
    lock.turn(Bolt::Unlocked);
    happens(&mut lock, AgentEvent::HandshakeFailed(HandshakeFailure::Refused)).await;
    assert!(good(&home, &["locks"]).await.contains("enrolled"), "by its name alone it is nobody");
    passes(QUARTER).await;
    journal(&log, &[&id, "recovered by its key, not activated by its code"], PATIENCE).await;
    // The lock's clock is half an hour ahead now: a command has to come on a challenge.
    lock.touch();
    journal(&log, &[&id, "touch"], PATIENCE).await;
    let done = good(&home, &["lock", &id]).await;
    assert!(done.contains("locked"), "{done}");
    assert_eq!(*lock.bolt().borrow(), Bolt::Locked);
    assert!(good(&home, &["locks"]).await.contains("owned"));
    let journal = fs::read_to_string(&log).unwrap();
    assert!(!journal.contains("activated, both sides"), "{journal}");
    // The code of the label opens nothing any more: the platform has forgotten it.
    let db = rusqlite::Connection::open(home.join("state.db")).unwrap();
    let code: Option<Vec<u8>> = db.query_row("SELECT code FROM lock", [], |row| row.get(0)).unwrap();
    assert_eq!(code, None);
}
