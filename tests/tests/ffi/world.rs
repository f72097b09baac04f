//! One C lock on a pipe, a gateway's link to it, and the platform's session core behind that.

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
use cardea_sdk::{
    Ask, FileKeys, LockName, Outcome, PlatformEvent, SqliteState,
    session::{Core, Now},
};
use cardea_tests::{counterpart::Counterpart, eventually, whole_lines};

/// Generous, because valgrind takes a hundred times as long for a point multiplication.
const PATIENCE: Duration = Duration::from_secs(200);
const MTU: usize = 222;
const LINK: LinkConfig =
    LinkConfig { retry_ms: 1_000, max_attempts: 5, reassembly_ms: 60_000, max_datagram: 1024 };

/// The lock's process, with its radio.
pub struct Lock {
    child: Child,
    radio: Option<ChildStdin>,
    frames: Receiver<Vec<u8>>,
    log: PathBuf,
    panel: PathBuf,
}

impl Lock {
    /// Starts `command` on the flash in `dir`.
    pub fn start(command: &[&str], dir: &Path) -> Self {
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
        Self { child, radio, frames, log, panel: flash.join("panel") }
    }

    pub fn send(&mut self, frame: &[u8]) {
        let mut bytes = u16::try_from(frame.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(frame);
        self.radio.as_mut().unwrap().write_all(&bytes).unwrap();
    }

    /// Somebody does this at the door.
    pub fn hands(&self, line: &str) {
        // The lock has it open, so this waits for nobody.
        let mut panel = std::fs::File::options().write(true).open(&self.panel).unwrap();
        writeln!(panel, "{line}").unwrap();
    }

    /// SIGKILL: what a power cut leaves.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn log(&self) -> String {
        whole_lines(&self.log)
    }

    pub fn count(&self, line: &str) -> usize {
        self.log().lines().filter(|l| l.starts_with(line)).count()
    }

    /// What stands on a label, in the last line of that name.
    pub fn label(&self, name: &str) -> String {
        eventually(name, PATIENCE, || {
            self.log().lines().rev().find_map(|l| l.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
        })
    }

    /// The radio goes, the lock ends by itself: nothing leaked, nothing wrong.
    pub fn switch_off(mut self) {
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
pub struct World {
    pub lock: Lock,
    pub other: Counterpart,
    start: Instant,
}

impl World {
    /// A new lock, enrolled by what its labels say.
    pub fn new(lock: Lock) -> Self {
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

    pub fn batch<T>(&mut self, act: impl FnOnce(&mut Core<FileKeys, SqliteState>, Now) -> T) -> T {
        let now = self.now();
        self.other.batch(now, act)
    }

    /// Carries frames both ways for a moment.
    pub fn step(&mut self) {
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

    pub fn run_until<T>(&mut self, what: &str, mut done: impl FnMut(&Self) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = done(self) {
                return value;
            }
            assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}: {:?}", self.other.events);
            self.step();
        }
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.step();
        }
    }

    pub fn activate(&mut self) {
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

    pub fn ask(&mut self, ask: Ask) -> Outcome {
        let now = self.now();
        let id = self.other.ask(now, ask, 100_000);
        self.run_until("an outcome", |world| world.other.outcome(&id))
    }

    /// The lock gets power again, on the same flash.
    pub fn power(&mut self, lock: Lock) {
        self.lock = lock;
        self.other.link_anew();
    }
}
