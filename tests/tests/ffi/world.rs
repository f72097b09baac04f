//! One C lock on a pipe, a gateway's link to it, and the platform's session core behind that.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use cardea_credentials::{OwnerCode, SiteKind, SiteMessage};
use cardea_envelope::{
    ClockState, Data, Downlink, Encoding, Epoch, GatewayState, LinkState, MessageId, Presence, Topic, Topics,
    Uplink, VERSION,
};
use cardea_framing::{Datagram, Kind, LinkConfig, LockId, LockLink, uplink_id};
use cardea_sdk::{
    Ask, FileKeys, KeyStore as _, LockName, OsRandom, Outcome, Platform, PlatformEvent, SqliteState,
    session::{Config, Core, Now},
};
use cardea_tests::eventually;
use tempfile::TempDir;

/// Generous, because valgrind takes a hundred times as long for a point multiplication.
const PATIENCE: Duration = Duration::from_secs(200);
const MTU: usize = 222;
const GATEWAY: &str = "g1";

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
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
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

/// A gateway's link and the platform's session core around one lock.
pub struct World {
    pub lock: Lock,
    pub name: LockId,
    link: LockLink,
    core: Core<FileKeys, SqliteState>,
    topics: Topics,
    start: Instant,
    seq: u64,
    pub waiting: Vec<Vec<u8>>,
    /// Every datagram that the platform sent.
    pub downs: Vec<Vec<u8>>,
    pub events: Vec<PlatformEvent>,
    pub home: TempDir,
}

impl World {
    /// A new lock, enrolled by what its labels say.
    pub fn new(lock: Lock) -> Self {
        let home = tempfile::tempdir().unwrap();
        Platform::init(home.path()).unwrap();
        let keys = FileKeys::open(home.path()).unwrap();
        let state = SqliteState::open(&home.path().join("state.db"), false).unwrap();
        let core = Core::open(keys, state, Box::new(OsRandom), Config::default()).unwrap();
        let name: LockId = lock.label("lock id").parse().unwrap();
        let code = OwnerCode::parse(&lock.label("owner code")).unwrap();
        let thumbprint: LockName = lock.label("thumbprint").parse().unwrap();
        let mut world = Self {
            lock,
            name,
            link: link(),
            core,
            topics: Topics::new("cardea/v1", GATEWAY).unwrap(),
            start: Instant::now(),
            seq: 0,
            waiting: Vec::new(),
            downs: Vec::new(),
            events: Vec::new(),
            home,
        };
        world.batch(|core, _| core.enroll(thumbprint, &code).unwrap());
        world.reachable();
        world
    }

    fn mono(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap()
    }

    /// What the gateway retains at the broker.
    fn reachable(&mut self) {
        let at = unix_ms();
        self.message(&Topic::State, Encoding::Json.encode(&GatewayState { state: Presence::Online, at }));
        let link = LinkState {
            v: VERSION,
            joined: true,
            radio: "pipe".into(),
            sleepy: false,
            life_ms: 0,
            seen: Some(at),
            rssi: None,
            snr: None,
            lqi: None,
            pending: 0,
            at,
        };
        self.message(&Topic::Link(self.name), Encoding::Json.encode(&link));
    }

    pub fn batch<T>(&mut self, act: impl FnOnce(&mut Core<FileKeys, SqliteState>, Now) -> T) -> T {
        let now = Now { mono: self.mono(), unix: unix_ms() };
        self.core.begin().unwrap();
        let result = act(&mut self.core, now);
        self.core.handle_timeout(now).unwrap();
        self.core.commit().unwrap();
        while let Some(event) = self.core.poll_event() {
            self.events.push(event);
        }
        while let Some(output) = self.core.poll_output() {
            if let Topic::Down(_) = self.topics.parse(&output.topic).unwrap() {
                let down: Downlink = Encoding::Json.decode(&output.payload).unwrap();
                if is_for_lock(&down) {
                    self.downs.push(down.data.0.clone());
                    self.waiting.push(down.data.0);
                }
            }
        }
        result
    }

    fn message(&mut self, topic: &Topic, payload: Vec<u8>) {
        let name = self.topics.name(topic);
        self.batch(|core, now| core.handle_message(now, &name, &payload, false).unwrap());
    }

    fn publish(&mut self, datagram: &[u8]) {
        self.seq += 1;
        let parsed = Datagram::parse(datagram).unwrap();
        let uplink = Uplink {
            v: VERSION,
            id: MessageId(uplink_id(self.name, datagram)),
            lock: self.name,
            kind: parsed.kind,
            class: parsed.class,
            data: Data(datagram.to_vec()),
            radio: "pipe".into(),
            rssi: None,
            snr: None,
            lqi: None,
            at: unix_ms(),
            clock: ClockState::Synced,
            epoch: Epoch([1; 8]),
            seq: self.seq,
        };
        self.message(&Topic::Up(self.name), Encoding::Json.encode(&uplink));
    }

    /// Carries frames both ways for a moment.
    pub fn step(&mut self) {
        let mut whole = Vec::new();
        while let Ok(frame) = self.lock.frames.recv_timeout(Duration::from_millis(5)) {
            assert!(frame.len() <= MTU);
            let now = self.mono();
            let taken = self.link.handle_frame(now, &frame);
            let taken = taken.ok().flatten().map(|it| (it.datagram().to_vec(), it.receipt));
            if let Some((datagram, receipt)) = taken {
                if let Some(receipt) = receipt {
                    self.link.custody(now, receipt);
                }
                whole.push(datagram);
            }
        }
        for datagram in whole {
            self.publish(&datagram);
        }
        self.batch(|_, _| ());
        let now = self.mono();
        while self.link.poll_event().is_some() {}
        if self.link.can_send() && !self.waiting.is_empty() {
            let datagram = self.waiting.remove(0);
            self.link.send(now, &datagram, 1).unwrap();
        }
        let mut frame = [0; MTU];
        while let Some(len) = self.link.poll_transmit(now, MTU, &mut frame) {
            self.lock.send(&frame[..len]);
        }
    }

    pub fn run_until<T>(&mut self, what: &str, mut done: impl FnMut(&Self) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = done(self) {
                return value;
            }
            assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}: {:?}", self.events);
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
            world.events.iter().any(|e| matches!(e, PlatformEvent::Activated { .. })).then_some(())
        });
        // Both sides: the lock says whom it pinned.
        let root = self.run_until("the lock says so", |world| {
            let log = world.lock.log();
            log.lines().find_map(|l| l.strip_prefix("activated by root: ").map(str::to_owned))
        });
        let keys = FileKeys::open(self.home.path()).unwrap();
        assert_eq!(root, hex::encode(keys.root().thumbprint()));
    }

    pub fn ask(&mut self, ask: Ask) -> Outcome {
        let lock = self.name;
        let id = hex::encode(self.batch(|core, now| core.command(now, lock, ask, 100_000).unwrap()));
        self.run_until("an outcome", |world| {
            world.events.iter().find_map(|event| match event {
                PlatformEvent::Ended { command, outcome, .. } if *command == id => Some(outcome.clone()),
                _ => None,
            })
        })
    }

    /// The lock gets power again, on the same flash.
    pub fn power(&mut self, lock: Lock) {
        self.lock = lock;
        self.link = link();
        self.waiting.clear();
    }
}

/// What else is of kind site is the activation status, for the gateway's own page.
fn is_for_lock(down: &Downlink) -> bool {
    let datagram = Datagram::parse(&down.data.0).unwrap();
    let message = || SiteMessage::decode(datagram.body).map(|message| message.kind);
    down.kind != Kind::Site || matches!(message(), Ok(SiteKind::Release | SiteKind::Revocations))
}

fn link() -> LockLink {
    LockLink::new(LinkConfig { retry_ms: 1_000, max_attempts: 5, reassembly_ms: 60_000, max_datagram: 1024 })
}

fn unix_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}
