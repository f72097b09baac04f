//! The C lock of `lock/ffi/examples`, compiled by gcc, on a pipe to a gateway's link and the real platform core: once
//! as it is, once under the address and undefined-behaviour sanitizers, once under valgrind. And the header.
//!
//! The sanitizers watch the C code and every byte it exchanges with the library; the library's own Rust is linked as
//! it is shipped, without instrumentation. Valgrind watches both.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use cardea_credentials::OwnerCode;
use cardea_framing::{LinkConfig, LockId};
use cardea_sdk::{Ask, Bolt, LockName, Outcome, PlatformEvent, session::Now};
use cardea_tests::{counterpart::Counterpart, eventually, program};

/// Generous, because valgrind takes a hundred times as long for a point multiplication.
const PATIENCE: Duration = Duration::from_secs(200);
const MTU: usize = 222;
const LINK: LinkConfig =
    LinkConfig { retry_ms: 1_000, max_attempts: 5, reassembly_ms: 60_000, max_datagram: 1024 };

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Compiles the C lock with these further options.
fn compile(dir: &Path, options: &[&str]) -> PathBuf {
    let lock = dir.join("lock");
    let done = Command::new("gcc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1", "-g"])
        .args(options)
        .arg("-I")
        .arg(workspace().join("lock/ffi/include"))
        .arg(workspace().join("lock/ffi/examples/lock.c"))
        .arg(program("libcardea_ffi.a"))
        .arg("-o")
        .arg(&lock)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    lock
}

/// The lock's process, with its radio.
struct Lock {
    child: Child,
    radio: Option<ChildStdin>,
    frames: Receiver<Vec<u8>>,
    log: PathBuf,
}

impl Lock {
    /// Starts `command` on the flash in `dir`.
    fn start(command: &[&str], dir: &Path) -> Self {
        let log = dir.join("log");
        let flash = dir.join("flash");
        std::fs::create_dir_all(&flash).unwrap();
        let told = std::fs::File::options().create(true).append(true).open(&log).unwrap();
        let mut child = Command::new(command[0])
            .args(&command[1..])
            .arg(&flash)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(told)
            .spawn()
            .unwrap();
        let mut air = child.stdout.take().unwrap();
        let (sender, frames) = channel();
        thread::spawn(move || {
            let mut head = [0; 2];
            while air.read_exact(&mut head).is_ok() {
                let mut frame = vec![0; u16::from_be_bytes(head).into()];
                if air.read_exact(&mut frame).is_err() || sender.send(frame).is_err() {
                    return;
                }
            }
        });
        let radio = child.stdin.take();
        Self { child, radio, frames, log }
    }

    fn send(&mut self, frame: &[u8]) {
        let mut bytes = u16::try_from(frame.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(frame);
        self.radio.as_mut().unwrap().write_all(&bytes).unwrap();
    }

    /// SIGKILL: what a power cut leaves.
    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    fn count(&self, line: &str) -> usize {
        self.log().lines().filter(|l| l.starts_with(line)).count()
    }

    /// What stands on a label, in the last line of that name.
    fn label(&self, name: &str) -> String {
        eventually(name, PATIENCE, || {
            self.log().lines().rev().find_map(|l| l.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
        })
    }

    /// The radio goes, the lock ends by itself: nothing leaked, nothing wrong.
    fn switch_off(mut self) {
        self.radio = None;
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}\n{}", self.log());
        assert_eq!(self.log().lines().last(), Some("switched off"), "{}", self.log());
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("--- the lock\n{}", self.log());
        }
    }
}

/// One lock and what it talks to.
struct World {
    lock: Lock,
    other: Counterpart,
    start: Instant,
}

impl World {
    /// A new lock, enrolled by what its labels say.
    fn new(lock: Lock) -> Self {
        let name: LockId = lock.label("lock id").parse().unwrap();
        let code = OwnerCode::parse(&lock.label("owner code")).unwrap();
        let thumbprint: LockName = lock.label("thumbprint").parse().unwrap();
        let mut world = Self { lock, other: Counterpart::new(name, LINK), start: Instant::now() };
        let now = world.now();
        world.other.enroll(now, thumbprint, &code);
        world
    }

    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap();
        Now { mono: millis(self.start.elapsed()), unix: millis(unix) }
    }

    /// Carries frames both ways for a moment.
    fn step(&mut self) {
        while let Ok(frame) = self.lock.frames.recv_timeout(Duration::from_millis(5)) {
            assert!(frame.len() <= MTU);
            let now = self.now();
            self.other.frame_up(now, &frame);
        }
        let now = self.now();
        self.other.handle_timeout(now);
        while let Some(frame) = self.other.frame_down(now, MTU) {
            self.lock.send(&frame);
        }
    }

    fn run_until<T>(&mut self, what: &str, mut done: impl FnMut(&Self) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = done(self) {
                return value;
            }
            assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}: {:?}", self.other.events);
            self.step();
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.step();
        }
    }

    fn activate(&mut self) {
        self.run_until("activation", |world| {
            (world.other.count(|e| matches!(e, PlatformEvent::Activated { .. })) > 0).then_some(())
        });
        // Both sides: the lock says whom it pinned.
        let root = self.run_until("the lock says so", |world| {
            let log = world.lock.log();
            log.lines().find_map(|l| l.strip_prefix("activated by root: ").map(str::to_owned))
        });
        assert_eq!(root, self.other.root());
    }

    fn ask(&mut self, ask: Ask) -> Outcome {
        let now = self.now();
        let id = self.other.ask(now, ask, 100_000);
        self.run_until("an outcome", |world| world.other.outcome(&id))
    }

    /// The lock gets power again, on the same flash.
    fn power(&mut self, lock: Lock) {
        self.lock = lock;
        self.other.link_anew();
    }
}

fn unlocked(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Done { bolt: Bolt::Unlocked, .. })
}

/// Activation, status, one unlock, all of it replayed, a power cut, and again.
fn whole_story(command: &[&str], dir: &Path) {
    let mut world = World::new(Lock::start(command, dir));
    world.activate();

    let status = world.ask(Ask::Status);
    let Outcome::Status { bolt: Bolt::Locked, battery: 83, firmware, .. } = &status else {
        panic!("{status}")
    };
    assert_eq!(firmware, "1.0.0");
    let outcome = world.ask(Ask::Unlock);
    assert!(unlocked(&outcome), "{outcome}");
    assert_eq!(world.lock.count("the motor runs"), 1);

    // Everything that was ever said to this lock, again, past the link's memory of repeats.
    let replays = world.other.downs.clone();
    assert!(replays.len() >= 4, "{}", replays.len());
    replays.into_iter().for_each(|datagram| world.other.down(datagram));
    world.run_until("the replays are out", |world| world.other.nothing_waits().then_some(()));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.lock.count("the motor runs"), 1, "a replay moved the bolt");

    // A hand on the lock: its challenge opens the next command's way.
    world.lock.send(&[]);
    let touched = |e: &PlatformEvent| matches!(e, PlatformEvent::Lock { kind, .. } if kind == "touch");
    world.run_until("a touch", |world| (world.other.count(touched) > 0).then_some(()));

    // Power cuts: SIGKILL while it says hello, and at moments of the boot after.
    let owner = world.lock.label("activated by root");
    for moment in [0, 3, 10, 30, 100] {
        world.lock.kill();
        world.lock = Lock::start(command, dir);
        thread::sleep(Duration::from_millis(moment));
    }
    world.lock.kill();
    world.power(Lock::start(command, dir));
    assert_eq!(world.lock.label("owner"), owner, "it remembers its owner");
    let activations = |world: &World| world.other.count(|e| matches!(e, PlatformEvent::Activated { .. }));
    let before = activations(&world);
    let outcome = world.ask(Ask::Unlock);
    assert!(unlocked(&outcome), "{outcome}");
    assert_eq!(world.lock.count("the motor runs"), 2);
    assert_eq!(activations(&world), before, "nobody activated it anew");
    world.lock.switch_off();
}

#[test]
fn the_c_lock_is_activated_and_obeys_its_platform_and_keeps_its_owner_through_a_power_cut() {
    let dir = tempfile::tempdir().unwrap();
    let lock = compile(dir.path(), &[]);
    whole_story(&[lock.to_str().unwrap()], dir.path());
}

#[test]
fn the_c_lock_lives_the_same_story_under_the_sanitizers() {
    let dir = tempfile::tempdir().unwrap();
    let lock = compile(
        dir.path(),
        &["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"],
    );
    whole_story(&[lock.to_str().unwrap()], dir.path());
}

#[test]
fn activation_and_an_unlock_of_the_c_lock_are_clean_under_valgrind() {
    let dir = tempfile::tempdir().unwrap();
    let lock = compile(dir.path(), &[]);
    let valgrind = [
        "valgrind",
        "--quiet",
        "--error-exitcode=99",
        "--leak-check=full",
        "--show-leak-kinds=all",
        "--errors-for-leak-kinds=all",
        lock.to_str().unwrap(),
    ];
    let mut world = World::new(Lock::start(&valgrind, dir.path()));
    world.activate();
    let outcome = world.ask(Ask::Unlock);
    assert!(unlocked(&outcome), "{outcome}");
    world.lock.switch_off();
}

/// What the compilers of firmware say about the header, at their strictest, included twice.
#[test]
fn the_header_is_c99_c11_and_cpp17_without_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("twice.c");
    let text = "#include \"cardea.h\"\n#include \"cardea.h\"\nstatic cardea_agent_memory memory;\n\
                CARDEA_ASSERT_FITS(memory);\nint main(void) { return memory.bytes[0]; }\n";
    std::fs::write(&source, text).unwrap();
    for (compiler, language, standard) in
        [("gcc", "c", "-std=c99"), ("gcc", "c", "-std=c11"), ("g++", "c++", "-std=c++17")]
    {
        let done = Command::new(compiler)
            .args([standard, "-x", language, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"])
            .arg("-I")
            .arg(workspace().join("lock/ffi/include"))
            .arg(&source)
            .output()
            .unwrap();
        assert!(done.status.success(), "{standard}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn the_checked_in_header_is_what_cbindgen_makes_of_the_source() {
    let tool = workspace().join("target/tools/bin/cbindgen");
    let tool = if tool.is_file() { tool } else { "cbindgen".into() };
    let made = Command::new(&tool)
        .args(["--quiet", "--config", "lock/ffi/cbindgen.toml", "lock/ffi"])
        .current_dir(workspace())
        .output()
        .unwrap_or_else(|e| panic!("{}: {e}; scripts/test installs cbindgen", tool.display()));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let header = std::fs::read(workspace().join("lock/ffi/include/cardea.h")).unwrap();
    assert!(
        made.stdout == header,
        "lock/ffi/include/cardea.h is out of date: cbindgen --config lock/ffi/cbindgen.toml --output \
         lock/ffi/include/cardea.h lock/ffi"
    );
}
