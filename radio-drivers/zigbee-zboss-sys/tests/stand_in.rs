//! The feature `zboss-host` built against the stand-in SDK, and the program run by the gateway's side; and what the build says
//! without an SDK. They need gcc and libclang; where there is no libclang they say that they were skipped, unless
//! CARDEA_TEST_ZBOSS_HOST is set.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's helpers may fail loudly
#![allow(clippy::print_stderr)] // where a test says that it was skipped

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use std::{env, fs};

use bytes::Bytes;
use cardea_radio::Clock;
use cardea_zigbee::backup::{Backup, NetworkKey};
use cardea_zigbee::coordinator::{
    Answer, Coordinator, CoordinatorEnd, Event, Failure, Frame, HostConfig, JoinFailure, Network, Order,
    Outcome, Plan, Question, State,
};
use cardea_zigbee::descriptors::{Clusters, SimpleDescriptor};
use cardea_zigbee::external::{External, Program};
use cardea_zigbee::{Eui64, InstallCode, Key};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

// --- building ---------------------------------------------------------------------------------------------------------

fn has_libclang() -> bool {
    let folders = [
        "/usr/lib",
        "/usr/lib64",
        "/usr/local/lib",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
    ];
    let llvm = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path().join("lib"));
    let named = |path: PathBuf| {
        fs::read_dir(path).into_iter().flatten().flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("libclang.so") || name.starts_with("libclang-")
        })
    };
    env::var_os("LIBCLANG_PATH").is_some() || folders.map(PathBuf::from).into_iter().chain(llvm).any(named)
}

/// True: go on.
fn can_build(test: &str) -> bool {
    if has_libclang() {
        return true;
    }
    assert!(env::var_os("CARDEA_TEST_ZBOSS_HOST").is_none(), "there is no libclang: install libclang-dev");
    eprintln!("skipped: {test}, there is no libclang (Debian: libclang-dev)");
    false
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Of its own: the feature must not get into the other tests' builds. One for all that is built here, since bindgen is big.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("zboss-host")
}

fn cargo_build(sdk: Option<&Path>) -> Output {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(here())
        .args(["build", "--locked", "--features", "zboss-host", "--bins"])
        // Built once and run for a second.
        .args(["--config", "profile.dev.package.\"*\".opt-level=0"])
        .args(["--target-dir", target().to_str().unwrap()])
        .env("CARGO_TERM_COLOR", "never");
    for variable in
        ["ZBOSS_HOST_SDK", "ZBOSS_HOST_INCLUDE", "ZBOSS_HOST_LIBS", "ZBOSS_HOST_CFLAGS", "RUST_BACKTRACE"]
    {
        cargo.env_remove(variable);
    }
    if let Some(sdk) = sdk {
        cargo.env("ZBOSS_HOST_SDK", sdk);
    }
    cargo.output().unwrap()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The stand-in as an SDK: a folder with the header and a static library.
fn stand_in(sdk: &Path) {
    let stand_in = here().join("stand-in");
    fs::create_dir_all(sdk.join("include")).unwrap();
    fs::create_dir_all(sdk.join("lib")).unwrap();
    fs::copy(stand_in.join("include/zboss_api.h"), sdk.join("include/zboss_api.h")).unwrap();
    let object = sdk.join("stand_in.o");
    run(Command::new("gcc")
        .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-I"])
        .arg(sdk.join("include"))
        .arg("-c")
        .arg(stand_in.join("src/stand_in.c"))
        .arg("-o")
        .arg(&object));
    run(Command::new("ar").arg("rcs").arg(sdk.join("lib/libstand_in.a")).arg(&object));
}

/// The program on the stand-in: built where it stays between runs.
fn program() -> PathBuf {
    let sdk = Path::new(env!("CARGO_TARGET_TMPDIR")).join("zboss-stand-in-sdk");
    let fresh = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    stand_in(fresh.path());
    // Only what changed is copied, and in one step: tests run side by side, and cargo looks at times.
    for file in ["include/zboss_api.h", "lib/libstand_in.a"] {
        let (from, to) = (fresh.path().join(file), sdk.join(file));
        let stale = fs::read(&from).unwrap() != fs::read(&to).unwrap_or_default();
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        if stale {
            fs::rename(from, to).unwrap();
        }
    }
    let output = cargo_build(Some(&sdk));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target().join("debug/cardea-zboss-host")
}

#[test]
fn without_a_whole_sdk_the_build_says_what_is_missing_where_it_looked_and_who_has_it() {
    if !can_build("the build without an SDK") {
        return;
    }
    let said = |sdk: Option<&Path>| {
        let output = cargo_build(sdk);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{text}");
        for words in ["ZBOSS_HOST_SDK", "include/zboss_api.h", "Nordic Semiconductor", "docs/zigbee.md"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(!text.contains("panicked") && !text.contains("backtrace"), "{text}");
        text
    };
    assert!(said(None).contains("ZBOSS_HOST_SDK is not set"));
    assert!(said(Some(Path::new("relative/sdk"))).contains("relative/sdk, which is no absolute path"));
    let sdk = tempfile::tempdir().unwrap();
    let text = said(Some(sdk.path()));
    assert!(text.contains(&format!("there is no zboss_api.h in {}/include", sdk.path().display())), "{text}");
    stand_in(sdk.path());
    fs::remove_file(sdk.path().join("lib/libstand_in.a")).unwrap();
    let text = said(Some(sdk.path()));
    assert!(text.contains(&format!("there is no library (*.a) in {}/lib", sdk.path().display())), "{text}");
    // An SDK whose headers lack a call, as another version may.
    fs::write(sdk.path().join("lib/libempty.a"), "!<arch>\n").unwrap();
    let header = sdk.path().join("include/zboss_api.h");
    let lacking =
        fs::read_to_string(&header).unwrap().replace("zb_secur_ic_remove_req", "zb_secur_ic_forget_req");
    fs::write(&header, lacking).unwrap();
    let text = said(Some(sdk.path()));
    assert!(text.contains("shim.c cannot be compiled") && text.contains("zb_secur_ic_remove_req"), "{text}");
}

// --- running ----------------------------------------------------------------------------------------------------------

const LOCK: Eui64 = Eui64([0x02, 0xCA, 0xDE, 0xA2, 0, 0, 0, 1]);
const OTHER: Eui64 = Eui64([0x02, 0xCA, 0xDE, 0xA2, 0, 0, 0, 2]);
const CODE: [u8; 8] = [0x83, 0xFE, 0xD3, 0x40, 0x7A, 0x93, 0x2B, 0x70];
/// Another device's.
const OTHERS_CODE: [u8; 10] = [0x83, 0xFE, 0xD3, 0x40, 0x7A, 0x93, 0x97, 0x23, 0x97, 0xFC];

fn air(dir: &Path) -> PathBuf {
    let path = dir.join("air");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    fs::write(&path, format!("{LOCK} {}\n{OTHER} {}\n", hex(&CODE), hex(&OTHERS_CODE))).unwrap();
    path
}

fn plan(pan: u8) -> Plan {
    Plan { channels: 1 << 15 | 1 << 20, extended_pan: Eui64([pan; 8]), pan: None, key: Key([pan; 16]) }
}

struct Running {
    orders: mpsc::Sender<Order>,
    events: mpsc::Receiver<Event>,
    clock: Clock,
    task: JoinHandle<()>,
    memory: PathBuf,
}

fn start(dir: &Path, program: &Path, expected: Option<Network>) -> Running {
    let (orders, order_queue) = mpsc::channel(16);
    let (event_queue, events) = mpsc::channel(16);
    let (clock, memory) = (Clock::start(), dir.join("memory"));
    let end = CoordinatorEnd { orders: order_queue, events: event_queue, clock, expected };
    let clusters = Clusters { servers: vec![], clients: vec![0xFC7C, 0x0101] };
    let endpoint = SimpleDescriptor { endpoint: 1, profile: 0x0104, device: 5, version: 0, clusters };
    let coordinator = External {
        program: Program { path: program.to_owned(), directory: memory.clone() },
        device: air(dir),
        host: HostConfig { endpoint, manufacturer: 0xFFF1, max_children: 32 },
    };
    let task = tokio::spawn(coordinator.run(end));
    Running { orders, events, clock, task, memory }
}

impl Running {
    async fn order(&self, order: Order) {
        self.orders.send(order).await.unwrap();
    }

    async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut seen = Vec::new();
        loop {
            let event = tokio::time::timeout(Duration::from_secs(20), self.events.recv()).await;
            let event = event.unwrap_or_else(|_| panic!("only {seen:?}")).unwrap();
            let found = wanted(&event);
            seen.push(event);
            if found {
                return seen;
            }
        }
    }

    async fn up(&mut self) -> Network {
        match self.until(|event| matches!(event, Event::State(State::Up(_)))).await.pop() {
            Some(Event::State(State::Up(network))) => network,
            other => panic!("{other:?}"),
        }
    }

    /// A new network with the lock in it.
    async fn formed(&mut self) -> Network {
        self.until(|event| *event == Event::State(State::Unformed)).await;
        self.order(Order::Form { plan: plan(1), replace: false }).await;
        let network = self.up().await;
        self.order(Order::Admit { eui: LOCK, code: InstallCode::new(&CODE).unwrap(), seconds: 254 }).await;
        self.until(|event| matches!(event, Event::Joined { eui: LOCK, .. })).await;
        network
    }

    async fn send(&mut self, handle: u64, eui: Eui64, payload: &[u8]) -> Outcome {
        self.order(Order::Send(Frame {
            handle,
            eui,
            profile: 0x0104,
            cluster: 0xFC7C,
            dst_endpoint: 11,
            src_endpoint: 1,
            payload: Bytes::copy_from_slice(payload),
            deadline: self.clock.now() + 10_000,
            acknowledge: true,
            urgent: false,
        }))
        .await;
        match self.until(|event| matches!(event, Event::Outcome { .. })).await.pop() {
            Some(Event::Outcome { handle: told, outcome }) if told == handle => outcome,
            other => panic!("{other:?}"),
        }
    }

    async fn ask(&mut self, handle: u64, eui: Eui64, question: Question) -> Result<Answer, Failure> {
        self.order(Order::Ask { handle, eui, question }).await;
        match self.until(|event| matches!(event, Event::Answer { .. })).await.pop() {
            Some(Event::Answer { handle: told, answer }) if told == handle => answer,
            other => panic!("{other:?}"),
        }
    }

    fn pid(&self) -> u32 {
        fs::read_to_string(self.memory.join("stand-in.pid")).unwrap().trim().parse().unwrap()
    }

    fn formations(&self) -> usize {
        fs::read_to_string(self.memory.join("stand-in.formations")).unwrap_or_default().lines().count()
    }

    async fn stop(self) {
        let pid = self.pid();
        self.order(Order::Stop).await;
        tokio::time::timeout(Duration::from_secs(5), self.task).await.expect("it does not stop").unwrap();
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "the program outlives its gateway");
    }
}

#[tokio::test]
async fn a_network_is_formed_a_lock_joins_by_its_code_and_frames_go_both_ways() {
    if !can_build("a network on the stand-in") {
        return;
    }
    let (dir, program) = (tempfile::tempdir().unwrap(), program());
    let mut running = start(dir.path(), &program, None);
    running.until(|event| *event == Event::State(State::Unformed)).await;
    assert_eq!(running.formations(), 0, "nothing is formed without an order");
    running.order(Order::Form { plan: plan(1), replace: false }).await;
    let seen = running.until(|event| matches!(event, Event::State(State::Up(_)))).await;
    let network = Network {
        coordinator: Eui64([0x02, 0xCA, 0xEE, 0, 0, 0, 0, 1]),
        extended_pan: Eui64([1; 8]),
        pan: 0x1A62,
        channel: 15,
    };
    assert_eq!(
        seen,
        vec![Event::State(State::Starting), Event::Formed(Ok(network)), Event::State(State::Up(network))]
    );
    assert_eq!(fs::metadata(&running.memory).unwrap().permissions().mode() & 0o777, 0o700);

    // Another lock's code, then its own.
    let code = InstallCode::new(&CODE).unwrap();
    running.order(Order::Admit { eui: OTHER, code: code.clone(), seconds: 254 }).await;
    let seen = running.until(|event| matches!(event, Event::JoinFailed { .. })).await;
    let keys = Event::JoinFailed { eui: OTHER, reason: JoinFailure::Keys };
    assert_eq!(seen, vec![Event::Open(true), Event::Open(false), keys]);
    running.order(Order::Admit { eui: LOCK, code, seconds: 254 }).await;
    let seen = running.until(|event| matches!(event, Event::Joined { .. })).await;
    assert!(seen.starts_with(&[Event::Open(true), Event::Open(false)]), "{seen:?}");

    let Ok(Answer::Node(node)) = running.ask(1, LOCK, Question::Node).await else { panic!() };
    assert_eq!((node.is_sleepy(), node.manufacturer, node.max_buffer), (true, 0xFFF1, 82));
    assert_eq!(running.ask(2, LOCK, Question::Endpoints).await, Ok(Answer::Endpoints(vec![11, 242])));
    let Ok(Answer::Endpoint(endpoint)) = running.ask(3, LOCK, Question::Endpoint(11)).await else { panic!() };
    let clusters = Clusters { servers: vec![0x0000, 0xFC7C], clients: vec![0x0019] };
    assert_eq!((endpoint.profile, endpoint.device, endpoint.clusters), (0x0104, 0x000A, clusters));
    let refused = running.ask(4, LOCK, Question::Endpoint(12)).await;
    assert_eq!(refused, Err(Failure::Refused("ZDP status 0x82".into())));
    let bind = Question::Bind { endpoint: 11, cluster: 0xFC7C, to_endpoint: 1 };
    assert_eq!(running.ask(5, LOCK, bind).await, Ok(Answer::Done));
    let Ok(Answer::Neighbours { total: 1, list }) =
        running.ask(6, LOCK, Question::Neighbours { start: 0 }).await
    else {
        panic!()
    };
    assert_eq!(
        (list[0].eui, list[0].extended_pan, list[0].lqi),
        (network.coordinator, network.extended_pan, 200)
    );
    assert_eq!(running.ask(7, OTHER, Question::Node).await, Err(Failure::NoAddress));

    let down = [0x15, 0xF1, 0xFF, 7, 0, b's', b'e', b'a', b'l', b'e', b'd'];
    assert_eq!(running.send(8, LOCK, &down).await, Outcome::Acknowledged);
    let seen = running.until(|event| matches!(event, Event::Received(_))).await;
    let Some(Event::Received(received)) = seen.last() else { panic!() };
    assert_eq!((received.eui, received.src_endpoint, received.dst_endpoint), (LOCK, 11, 1));
    assert_eq!((received.lqi, received.rssi, received.payload[0]), (180, -61, 0x1D));
    assert_eq!(received.payload[1..], down[1..]);
    assert_eq!(running.send(9, LOCK, &[0xEE]).await, Outcome::Failed(Failure::NoAnswer));
    assert_eq!(running.send(10, LOCK, &[0x15; 83]).await, Outcome::Failed(Failure::TooBig));
    assert_eq!(running.send(11, LOCK, &[0x15; 82]).await, Outcome::Acknowledged);
    running.until(|event| matches!(event, Event::Received(received) if received.payload.len() == 82)).await;

    assert_eq!(running.ask(12, LOCK, Question::Leave).await, Ok(Answer::Done));
    running.until(|event| *event == Event::Left { eui: LOCK }).await;
    assert_eq!(running.formations(), 1);
    running.stop().await;
}

#[tokio::test]
async fn what_the_librarys_interface_has_no_call_for_is_refused_in_words() {
    if !can_build("refusals on the stand-in") {
        return;
    }
    let (dir, program) = (tempfile::tempdir().unwrap(), program());
    let mut running = start(dir.path(), &program, None);
    let network = running.formed().await;
    running.order(Order::Backup).await;
    let seen = running.until(|event| matches!(event, Event::BackedUp(_))).await;
    assert!(
        matches!(seen.last(), Some(Event::BackedUp(Err(why))) if why.contains("no call for that")),
        "{seen:?}"
    );
    running.order(Order::RotateKey(Key([2; 16]))).await;
    let seen = running.until(|event| matches!(event, Event::KeyRotated(_))).await;
    assert!(
        matches!(seen.last(), Some(Event::KeyRotated(Err(why))) if why.contains("network key")),
        "{seen:?}"
    );
    let backup = Box::new(Backup {
        source: "test".into(),
        network,
        channels: 1 << 15,
        update_id: 0,
        key: NetworkKey { key: Key([1; 16]), number: 0, frame_counter: 0 },
        hashed_link_keys: None,
        devices: vec![],
    });
    running.order(Order::Restore { backup, replace: true }).await;
    let seen = running.until(|event| matches!(event, Event::Formed(_))).await;
    assert!(
        matches!(seen.last(), Some(Event::Formed(Err(why))) if why.contains("family \"zboss\"")),
        "{seen:?}"
    );
    assert_eq!(running.send(1, LOCK, b"still up").await, Outcome::Acknowledged);
    running.stop().await;
}

#[tokio::test]
async fn a_program_that_is_killed_and_a_library_that_crashes_resume_and_form_nothing_anew() {
    if !can_build("a killed program on the stand-in") {
        return;
    }
    let (dir, program) = (tempfile::tempdir().unwrap(), program());
    let mut running = start(dir.path(), &program, None);
    let network = running.formed().await;
    let first = running.pid();
    run(Command::new("kill").args(["-9", &first.to_string()]));
    let seen = running.until(|event| matches!(event, Event::State(State::Up(_)))).await;
    assert_eq!(
        seen,
        vec![
            Event::State(State::Down("the host program ended".into())),
            Event::State(State::Starting),
            Event::State(State::Up(network))
        ]
    );
    assert_ne!(running.pid(), first);
    assert_eq!(running.send(1, LOCK, b"still joined").await, Outcome::Acknowledged);
    // In the middle of a call, with a frame under way.
    assert_eq!(running.send(2, LOCK, &[0xDD]).await, Outcome::Failed(Failure::Unknown));
    assert_eq!(running.up().await, network);
    assert_eq!(running.send(3, LOCK, b"still joined").await, Outcome::Acknowledged);
    assert_eq!(running.formations(), 1);
    running.stop().await;
    // Another gateway's run, with what it stored.
    let mut running = start(dir.path(), &program, Some(network));
    assert_eq!(running.up().await, network);
    assert_eq!(running.formations(), 1);
    running.stop().await;
}

#[tokio::test]
async fn another_network_is_left_as_it_is_until_an_order_adopts_or_replaces_it() {
    if !can_build("a foreign network on the stand-in") {
        return;
    }
    let (dir, program) = (tempfile::tempdir().unwrap(), program());
    let mut running = start(dir.path(), &program, None);
    let network = running.formed().await;
    running.stop().await;

    let mut running = start(dir.path(), &program, None);
    running.until(|event| *event == Event::State(State::Foreign(network))).await;
    assert_eq!(running.send(1, LOCK, b"not ours").await, Outcome::Failed(Failure::Down));
    running.order(Order::Form { plan: plan(2), replace: false }).await;
    let seen = running.until(|event| matches!(event, Event::Formed(_))).await;
    assert!(matches!(seen.last(), Some(Event::Formed(Err(why))) if why.contains("join anew")), "{seen:?}");
    running.order(Order::Adopt).await;
    let seen = running.until(|event| matches!(event, Event::State(State::Up(_)))).await;
    assert_eq!(seen, vec![Event::Formed(Ok(network)), Event::State(State::Up(network))]);
    assert_eq!(running.send(2, LOCK, b"ours").await, Outcome::Acknowledged);
    assert_eq!(running.formations(), 1);

    running.order(Order::Form { plan: plan(2), replace: true }).await;
    let other = running.up().await;
    assert_eq!((other.extended_pan, running.formations()), (Eui64([2; 8]), 2));
    assert_eq!(
        running.ask(3, LOCK, Question::Node).await,
        Err(Failure::NoAddress),
        "its devices must join anew"
    );
    // Killed now, it is the new one that is resumed, and not formed once more.
    run(Command::new("kill").args(["-9", &running.pid().to_string()]));
    assert_eq!((running.up().await, running.formations()), (other, 2));
    running.stop().await;
}

#[tokio::test]
async fn a_library_that_hangs_does_not_outlive_its_gateway() {
    if !can_build("a hanging library on the stand-in") {
        return;
    }
    let (dir, program) = (tempfile::tempdir().unwrap(), program());
    let mut running = start(dir.path(), &program, None);
    running.formed().await;
    running
        .order(Order::Send(Frame {
            handle: 1,
            eui: LOCK,
            profile: 0x0104,
            cluster: 0xFC7C,
            dst_endpoint: 11,
            src_endpoint: 1,
            payload: Bytes::from_static(&[0xDE]),
            deadline: running.clock.now() + 10_000,
            acknowledge: true,
            urgent: false,
        }))
        .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    running.stop().await;
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = start(dir.path(), Path::new("/nowhere/cardea-zboss-host"), None);
    let seen = running.until(|event| matches!(event, Event::State(State::Down(_)))).await;
    let Some(Event::State(State::Down(why))) = seen.last() else { panic!() };
    assert!(why.contains("/nowhere/cardea-zboss-host"), "{why}");
    running.order(Order::Stop).await;
    running.task.await.unwrap();
}
