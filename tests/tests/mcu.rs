//! The lock agent on a Cortex-M4: the firmware of `lock/mcu` in QEMU, the real platform and a gateway's link here, frames
//! between them over the serial line. `scripts/mcu` builds the firmware and names it in `CARDEA_MCU_ELF`.
//!
//! What is printed are the figures of docs/benchmarks.md.
// Helpers fail by panicking, as tests do.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::{
    collections::VecDeque,
    env,
    io::{Read, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use cardea_credentials::{OwnerCode, Signer as _, SoftSigner};
use cardea_envelope::{
    ClockState, Data, Downlink, Encoding, Epoch, GatewayState, LinkState, MessageId, Presence, Topic, Topics,
    Uplink, VERSION,
};
use cardea_framing::{Datagram, Kind, LinkConfig, LockId, LockLink, uplink_id};
use cardea_sdk::{
    Ask, Bolt, FileKeys, KeyStore as _, OsRandom, Outcome, PlatformEvent, SqliteState,
    session::{Config, Core, Now},
};
use tempfile::TempDir;

const MTU: usize = 222;
const GATEWAY: &str = "g1";
const EPOCH_MS: u64 = 1_800_000_000_000;
/// The same as in `lock/mcu/src/board.rs`.
const CODE: OwnerCode = OwnerCode::from_bytes([7; 16]);
const IDENTITY: [u8; 32] = [1; 32];

/// What the lock says about itself after each thing that happens to it.
#[derive(Clone, Copy, Debug)]
struct State {
    drives: u32,
    dropped: u32,
    /// Deepest stack of this step below the firmware's own frames; the agent's own bytes are not in it.
    stack: u32,
    agent: u32,
    instructions: u64,
    bolt: Bolt,
}

/// What some steps took together.
#[derive(Default)]
struct Cost {
    instructions: u64,
    stack: u32,
}

/// QEMU with the firmware.
struct Mcu {
    process: Child,
    to: ChildStdin,
    from: ChildStdout,
    state: State,
    sent: VecDeque<Vec<u8>>,
    owner: Option<Vec<u8>>,
    connected: usize,
    cost: Cost,
}

impl Mcu {
    /// Powers the lock on.
    fn start(elf: &str) -> Self {
        let mut process = Command::new("qemu-system-arm")
            .args(["-M", "mps2-an386", "-cpu", "cortex-m4", "-icount", "shift=0"])
            .args(["-display", "none", "-monitor", "none", "-serial", "stdio"])
            .args(["-semihosting-config", "enable=on,target=native", "-kernel", elf])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let nothing =
            State { drives: 0, dropped: 0, stack: 0, agent: 0, instructions: 0, bolt: Bolt::Unknown };
        let mut mcu = Self {
            process,
            to,
            from,
            state: nothing,
            sent: VecDeque::new(),
            owner: None,
            connected: 0,
            cost: Cost::default(),
        };
        mcu.listen();
        mcu
    }

    /// Something happens to the lock, and all of what it does then.
    fn happen(&mut self, kind: u8, bytes: &[u8]) {
        self.tell(kind, bytes);
        self.listen();
    }

    fn tell(&mut self, kind: u8, bytes: &[u8]) {
        let mut record = vec![kind];
        record.extend(u16::try_from(bytes.len()).unwrap().to_le_bytes());
        record.extend(bytes);
        self.to.write_all(&record).unwrap();
        self.to.flush().unwrap();
    }

    fn listen(&mut self) {
        loop {
            let mut head = [0; 3];
            self.from.read_exact(&mut head).unwrap();
            let mut bytes = vec![0; usize::from(u16::from_le_bytes([head[1], head[2]]))];
            self.from.read_exact(&mut bytes).unwrap();
            match head[0] {
                b'F' => self.sent.push_back(bytes),
                b'O' => self.owner = Some(bytes),
                b'C' => self.connected += 1,
                b'M' => {}
                b'S' => break self.settle(&bytes),
                other => panic!("the lock says {:?}", char::from(other)),
            }
        }
    }

    fn settle(&mut self, bytes: &[u8]) {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        self.state = State {
            drives: word(0),
            dropped: word(4),
            stack: word(8),
            agent: word(12),
            instructions: u64::from_le_bytes(bytes[16..24].try_into().unwrap()),
            bolt: [Bolt::Locked, Bolt::Unlocked].into_iter().find(|b| b.code() == bytes[24]).unwrap(),
        };
        assert_ne!(self.state.instructions, u64::MAX, "the lock's instruction counter ran out");
        self.cost.instructions += self.state.instructions;
        self.cost.stack = self.cost.stack.max(self.state.stack);
    }

    /// Ends the firmware; it says by semihosting whether all was well.
    fn leave(mut self) {
        self.tell(b'Q', &[]);
        assert!(self.process.wait().unwrap().success(), "the firmware's own verdict");
    }
}

/// A lock in QEMU, a gateway's link, and the platform.
struct World {
    mcu: Mcu,
    link: LockLink,
    lock: LockId,
    core: Core<FileKeys, SqliteState>,
    keys: TempDir,
    millis: u64,
    seq: u64,
    waiting: VecDeque<Vec<u8>>,
    /// OSCORE datagrams that went down whole in one frame.
    sealed: Vec<Vec<u8>>,
    events: Vec<PlatformEvent>,
    /// The platform hears nothing.
    cut_off: bool,
}

impl World {
    fn new(elf: &str) -> Self {
        let keys = tempfile::tempdir().unwrap();
        cardea_sdk::Platform::init(keys.path()).unwrap();
        let state = SqliteState::open(&keys.path().join("state.db"), false).unwrap();
        let core =
            Core::open(FileKeys::open(keys.path()).unwrap(), state, Box::new(OsRandom), Config::default());
        let public = SoftSigner::from_bytes(&IDENTITY).unwrap().public();
        let mut world = Self {
            mcu: Mcu::start(elf),
            link: LockLink::new(LinkConfig {
                retry_ms: 2_000,
                max_attempts: 3,
                reassembly_ms: 60_000,
                max_datagram: 512,
            }),
            lock: LockId::from_thumbprint(&public.thumbprint()),
            core: core.unwrap(),
            keys,
            millis: 1_000,
            seq: 0,
            waiting: VecDeque::new(),
            sealed: Vec::new(),
            events: Vec::new(),
            cut_off: false,
        };
        let lock = world.lock;
        world.platform(|core, _| core.enroll(lock.into(), &CODE).unwrap());
        world.gateway_is_online();
        world
    }

    fn gateway_is_online(&mut self) {
        let topics = Topics::new("cardea/v1", GATEWAY).unwrap();
        let at = EPOCH_MS + self.millis;
        let link = LinkState {
            v: VERSION,
            joined: true,
            radio: "r".into(),
            sleepy: false,
            life_ms: 0,
            seen: Some(at),
            rssi: None,
            snr: None,
            lqi: None,
            pending: 0,
            at,
        };
        for (topic, payload) in [
            (Topic::State, Encoding::Json.encode(&GatewayState { state: Presence::Online, at })),
            (Topic::Link(self.lock), Encoding::Json.encode(&link)),
        ] {
            let name = topics.name(&topic);
            self.platform(|core, now| core.handle_message(now, &name, &payload, false).unwrap());
        }
    }

    /// One batch of the platform; what it sends down waits for the gateway's link.
    fn platform<T>(&mut self, act: impl FnOnce(&mut Core<FileKeys, SqliteState>, Now) -> T) -> T {
        let now = Now { mono: self.millis, unix: EPOCH_MS + self.millis };
        self.core.begin().unwrap();
        let result = act(&mut self.core, now);
        self.core.handle_timeout(now).unwrap();
        self.core.commit().unwrap();
        while let Some(event) = self.core.poll_event() {
            self.events.push(event);
        }
        while let Some(output) = self.core.poll_output() {
            if output.topic.ends_with("/down") {
                let down: Downlink = Encoding::Json.decode(&output.payload).unwrap();
                if down.kind != Kind::Site {
                    self.waiting.push_back(down.data.0);
                }
            }
        }
        result
    }

    /// Carries frames until nobody has anything to say. Returns what that and the step before it took the lock.
    fn run(&mut self) -> Cost {
        for _ in 0..400 {
            let mut frame = [0; 256];
            if let Some(sent) = self.mcu.sent.pop_front() {
                self.uplink_frame(&sent);
                continue;
            }
            while self.link.poll_event().is_some() {}
            if self.link.can_send()
                && let Some(datagram) = self.waiting.pop_front()
            {
                self.link.send(self.millis, &datagram, 1).unwrap();
            }
            let Some(len) = self.link.poll_transmit(self.millis, MTU, &mut frame) else {
                return std::mem::take(&mut self.mcu.cost);
            };
            let frame = &frame[..len];
            if Datagram::parse(frame).is_ok_and(|whole| whole.kind == Kind::PlatformOscore) {
                self.sealed.push(frame.to_vec());
            }
            self.mcu.happen(b'F', frame);
        }
        panic!("the lock and the gateway never come to rest");
    }

    fn uplink_frame(&mut self, frame: &[u8]) {
        let Ok(Some(incoming)) = self.link.handle_frame(self.millis, frame) else { return };
        let (datagram, receipt) = (incoming.datagram().to_vec(), incoming.receipt);
        if let Some(receipt) = receipt {
            self.link.custody(self.millis, receipt);
        }
        if self.cut_off {
            return;
        }
        self.seq += 1;
        let header = Datagram::parse(&datagram).unwrap();
        let uplink = Uplink {
            v: VERSION,
            id: MessageId(uplink_id(self.lock, &datagram)),
            lock: self.lock,
            kind: header.kind,
            class: header.class,
            data: Data(datagram.clone()),
            radio: "r".into(),
            rssi: Some(-80),
            snr: None,
            lqi: None,
            at: EPOCH_MS + self.millis,
            clock: ClockState::Synced,
            epoch: Epoch([1; 8]),
            seq: self.seq,
        };
        self.platform(|core, now| core.handle_uplink(now, GATEWAY, &uplink).unwrap());
    }

    fn join(&mut self) -> Cost {
        self.mcu.happen(b'J', &[]);
        self.run()
    }

    fn touch(&mut self) -> Cost {
        self.mcu.happen(b'T', &[]);
        self.run()
    }

    fn wait(&mut self, ms: u32) -> Cost {
        self.millis += u64::from(ms);
        self.mcu.happen(b'A', &ms.to_le_bytes());
        self.platform(|_, _| ());
        self.run()
    }

    fn command(&mut self, ask: Ask) -> (Cost, Outcome) {
        let lock = self.lock;
        let id = self.platform(|core, now| core.command(now, lock, ask, 10_000).unwrap());
        let cost = self.run();
        let ended = self.events.iter().find_map(|event| match event {
            PlatformEvent::Ended { command, outcome, .. } if *command == hex::encode(id) => {
                Some(outcome.clone())
            }
            _ => None,
        });
        (cost, ended.unwrap_or_else(|| panic!("{ask} has not ended: {:?}", self.events)))
    }
}

/// The firmware, or `None` where a developer has not built it. CI must have it.
fn firmware() -> Option<String> {
    let elf = env::var("CARDEA_MCU_ELF").ok().filter(|elf| !elf.is_empty());
    if elf.is_none() {
        assert!(env::var_os("CI").is_none(), "CARDEA_MCU_ELF is not set: scripts/mcu builds the firmware");
        println!("skipped: CARDEA_MCU_ELF is not set (scripts/mcu builds the firmware and runs this)");
    }
    elf
}

fn print(what: &str, cost: &Cost) {
    println!("figure: {what} | {} | {}", cost.instructions, cost.stack);
}

#[test]
fn a_lock_on_a_cortex_m4_is_activated_obeys_once_and_refuses_the_replay() {
    let Some(elf) = firmware() else { return };
    let mut world = World::new(&elf);
    print("first boot: the lock signs its credential", &std::mem::take(&mut world.mcu.cost));
    println!("figure: agent | {}", world.mcu.state.agent);
    assert_eq!(world.mcu.owner, None);

    print("activation: EDHOC method 3, credentials by value, owner code", &world.join());
    let root = FileKeys::open(world.keys.path()).unwrap().root().thumbprint();
    assert_eq!(world.mcu.owner.as_deref(), Some(&root[..]), "the lock pinned this platform's root");
    assert!(world.events.iter().any(|e| matches!(e, PlatformEvent::Activated { .. })), "{:?}", world.events);
    assert_eq!((world.mcu.state.drives, world.mcu.state.bolt), (0, Bolt::Locked));

    world.sealed.clear();
    let (cost, outcome) = world.command(Ask::Unlock);
    print("command under the context that activation made", &cost);
    assert!(outcome.is_success(), "{outcome}");
    assert_eq!((world.mcu.state.drives, world.mcu.state.bolt), (1, Bolt::Unlocked));

    let replays = std::mem::take(&mut world.sealed);
    assert!(!replays.is_empty(), "the command was seen on the air");
    // At once the link takes it for a repeat of the radio's; once it has forgotten it, OSCORE's window refuses it.
    for frame in &replays {
        world.mcu.happen(b'F', frame);
    }
    world.run();
    assert_eq!((world.mcu.state.drives, world.mcu.state.bolt), (1, Bolt::Unlocked), "nothing moved");
    world.wait(10 * 60 * 1000);
    let dropped = world.mcu.state.dropped;
    world.mcu.cost = Cost::default();
    world.mcu.happen(b'F', &replays[0]);
    print("replay of the command refused", &std::mem::take(&mut world.mcu.cost));
    assert_eq!(world.mcu.state.dropped, dropped + 1, "the replay is dropped and counted");
    world.run();
    assert_eq!((world.mcu.state.drives, world.mcu.state.bolt), (1, Bolt::Unlocked), "nothing moved");

    let touch = world.touch();
    let (cost, outcome) = world.command(Ask::Lock);
    print("touch: an event with a challenge, and its answer", &touch);
    print("command on the touch's challenge", &cost);
    assert!(outcome.is_success(), "{outcome}");
    assert_eq!((world.mcu.state.drives, world.mcu.state.bolt), (2, Bolt::Locked), "the counter does count");
    world.mcu.leave();
}

#[test]
fn a_lock_on_a_cortex_m4_that_hears_nothing_makes_a_new_context() {
    let Some(elf) = firmware() else { return };
    let mut world = World::new(&elf);
    world.join();
    assert_eq!(world.mcu.connected, 1);
    world.cut_off = true;
    world.wait(16 * 60 * 1000);
    for _ in 0..2 {
        world.touch();
        world.wait(21_000);
    }
    world.touch();
    assert_eq!(world.mcu.connected, 1, "two unanswered events are not three");
    world.cut_off = false;
    world.gateway_is_online();
    print("handshake: EDHOC method 3, credentials by kid", &world.wait(21_000));
    assert_eq!(world.mcu.connected, 2);
    let (_, outcome) = world.command(Ask::Unlock);
    assert!(outcome.is_success(), "{outcome}");
    assert_eq!((world.mcu.state.drives, world.mcu.state.bolt), (1, Bolt::Unlocked));
    world.mcu.leave();
}
