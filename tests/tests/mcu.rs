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

use cardea_credentials::{Agreement as _, OwnerCode, Scope, Signer as _, SoftAgreement, SoftSigner};
use cardea_framing::{Datagram, Kind, LinkConfig, LockId};
use cardea_sdk::{
    Ask, Bolt, OsRandom, Outcome, PlatformEvent,
    holder::{Holder, HolderEvent},
    session::{NewGrant, Now},
};
use cardea_tests::counterpart::Counterpart;

const MTU: usize = 222;
const LINK: LinkConfig =
    LinkConfig { retry_ms: 2_000, max_attempts: 3, reassembly_ms: 60_000, max_datagram: 512 };
const EPOCH_MS: u64 = 1_800_000_000_000;
/// The same as in `lock/mcu/src/board.rs`.
const CODE: OwnerCode = OwnerCode::from_bytes([7; 16]);
const IDENTITY: [u8; 32] = [1; 32];
/// Addresses in the site.
const LOCK: u16 = 7;
const PHONE: u16 = 0xf001;

/// What the lock says about itself after each thing that happens to it.
#[derive(Clone, Copy, Debug)]
struct State {
    drives: u32,
    dropped: u32,
    /// Deepest stack of this step below the firmware's own frames; the agent's own bytes are not in it.
    stack: u32,
    agent: u32,
    /// The firmware's own frames above, in one of which the agent lies.
    above: u32,
    instructions: u64,
    bolt: Bolt,
    /// Whether this is the whole agent, with sessions of peers.
    peers: bool,
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
    /// What a search of the stack found; see `search_for_keys` of the firmware.
    keys_found: Option<[u32; 4]>,
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
        let nothing = State {
            drives: 0,
            dropped: 0,
            stack: 0,
            agent: 0,
            above: 0,
            instructions: 0,
            bolt: Bolt::Unknown,
            peers: false,
        };
        let mut mcu = Self {
            process,
            to,
            from,
            state: nothing,
            sent: VecDeque::new(),
            owner: None,
            connected: 0,
            keys_found: None,
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
                b'K' => {
                    let words = bytes.as_chunks::<4>().0;
                    self.keys_found = Some([0, 1, 2, 3].map(|n| u32::from_le_bytes(words[n])));
                }
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
            above: word(16),
            instructions: u64::from_le_bytes(bytes[20..28].try_into().unwrap()),
            bolt: [Bolt::Locked, Bolt::Unlocked].into_iter().find(|b| b.code() == bytes[28]).unwrap(),
            peers: bytes[29] == 1,
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

/// QEMU does not outlive a test that failed.
impl Drop for Mcu {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended by itself
    }
}

/// A lock in QEMU and what it talks to.
struct World {
    mcu: Mcu,
    other: Counterpart,
    millis: u64,
    /// OSCORE datagrams that went down whole in one frame.
    sealed: Vec<Vec<u8>>,
}

impl World {
    fn new(elf: &str) -> Self {
        let lock = LockId::from_thumbprint(&SoftSigner::from_bytes(&IDENTITY).unwrap().public().thumbprint());
        let mut world = Self {
            mcu: Mcu::start(elf),
            other: Counterpart::new(lock, LINK),
            millis: 1_000,
            sealed: Vec::new(),
        };
        let now = world.now();
        world.other.enroll(now, lock, &CODE);
        world
    }

    fn now(&self) -> Now {
        Now { mono: self.millis, unix: EPOCH_MS + self.millis }
    }

    /// Carries frames until nobody has anything to say. Returns what that and the step before it took the lock.
    fn run(&mut self) -> Cost {
        let now = self.now();
        for _ in 0..400 {
            if let Some(sent) = self.mcu.sent.pop_front() {
                self.other.frame_up(now, &sent);
                continue;
            }
            let Some(frame) = self.other.frame_down(now, MTU) else {
                return std::mem::take(&mut self.mcu.cost);
            };
            if Datagram::parse(&frame).is_ok_and(|whole| whole.kind == Kind::PlatformOscore) {
                self.sealed.push(frame.clone());
            }
            self.mcu.happen(b'F', &frame);
        }
        panic!("the lock and the gateway never come to rest");
    }

    fn join(&mut self) -> Cost {
        self.mcu.happen(b'J', &[]);
        self.run()
    }

    /// The processor starts again, from what storage holds.
    fn restart(&mut self) -> Cost {
        self.mcu.cost = Cost::default();
        self.mcu.sent.clear();
        self.mcu.happen(b'R', &[]);
        self.other.link_anew();
        std::mem::take(&mut self.mcu.cost)
    }

    fn touch(&mut self) -> Cost {
        self.mcu.happen(b'T', &[]);
        self.run()
    }

    fn wait(&mut self, ms: u32) -> Cost {
        self.millis += u64::from(ms);
        self.mcu.happen(b'A', &ms.to_le_bytes());
        let now = self.now();
        self.other.batch(now, |_, _| ());
        self.run()
    }

    /// Carries datagrams between the lock and a phone at the gateway until the phone has something to say.
    fn phone(&mut self, phone: &mut Holder<SoftAgreement>) -> (Cost, Option<HolderEvent>) {
        let mut cost = Cost::default();
        for _ in 0..20 {
            while let Some(datagram) = phone.poll_transmit() {
                self.other.down(with_address(PHONE, datagram));
            }
            let taken = self.run();
            cost.instructions += taken.instructions;
            cost.stack = cost.stack.max(taken.stack);
            for (_, datagram) in std::mem::take(&mut self.other.for_peers) {
                phone.handle_datagram(self.millis, &with_address(LOCK, datagram));
            }
            if let Some(event) = phone.poll_event() {
                return (cost, Some(event));
            }
        }
        (cost, None)
    }

    fn command(&mut self, ask: Ask) -> (Cost, Outcome) {
        let now = self.now();
        let id = self.other.ask(now, ask, 10_000);
        let cost = self.run();
        let ended = self.other.outcome(&id);
        (cost, ended.unwrap_or_else(|| panic!("{ask} has not ended: {:?}", self.other.events)))
    }
}

/// The gateway puts the other side's address into each datagram.
fn with_address(address: u16, mut datagram: Vec<u8>) -> Vec<u8> {
    datagram[1..3].copy_from_slice(&address.to_be_bytes());
    datagram
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
    let State { agent, above, .. } = world.mcu.state;
    println!("figure: agent | {agent}");
    println!("figure: the firmware's frame with the agent in it | {above}");
    assert!(above < agent + agent / 2, "the agent lies there once: {above} bytes, it has {agent}");
    assert_eq!(world.mcu.owner, None);

    print("activation: EDHOC method 3, credentials by value, owner code", &world.join());
    let owner = world.mcu.owner.as_deref().map(hex::encode);
    assert_eq!(owner, Some(world.other.root()), "the lock pinned this platform's root");
    let activated = world.other.count(|e| matches!(e, PlatformEvent::Activated { .. }));
    assert_eq!(activated, 1, "{:?}", world.other.events);
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
fn a_lock_on_a_cortex_m4_that_starts_again_is_still_the_owners_and_asks_for_an_echo() {
    let Some(elf) = firmware() else { return };
    let mut world = World::new(&elf);
    world.join();
    world.command(Ask::Unlock);
    print("boot with an owner and a context", &world.restart());
    world.join();
    let (cost, outcome) = world.command(Ask::Unlock);
    print("command, the first after a boot: asked for an Echo", &cost);
    assert!(outcome.is_success(), "{outcome}");
    assert_eq!(world.mcu.connected, 1, "the context went on");
    assert_eq!((world.mcu.state.drives, world.mcu.state.bolt), (1, Bolt::Unlocked));
    world.mcu.leave();
}

#[test]
fn a_phone_opens_a_lock_on_a_cortex_m4_with_nobody_else_online() {
    let Some(elf) = firmware() else { return };
    let mut world = World::new(&elf);
    if !world.mcu.state.peers {
        return println!("without peers: the core takes no phones");
    }
    world.join();
    world.touch();
    let key = || SoftAgreement::from_bytes(&[40; 32]).unwrap();
    let (now, lock) = (world.now(), world.other.name);
    let seconds = u32::try_from(now.unix / 1000).unwrap();
    let grant = NewGrant {
        lock,
        holder: key().public(),
        name: "a phone".into(),
        scope: Scope::UNLOCK | Scope::STATUS,
        not_before: seconds - 60,
        expires: seconds + 3_600,
        single_use: false,
        window: None,
        delegate: None,
    };
    let bundle = world.other.batch(now, |core, now| core.issue_grant(now, &grant)).unwrap().bundle;
    world.run();
    world.other.platform_hears = false;
    let mut phone = Holder::new(bundle, key(), Box::new(OsRandom), LOCK);
    phone.connect(world.millis).unwrap();
    let (cost, event) = world.phone(&mut phone);
    assert_eq!(event, Some(HolderEvent::Connected));
    print("handshake with a phone: EDHOC method 3, a grant by value", &cost);
    phone.ask(world.millis, Ask::Unlock, 10_000).unwrap();
    let (cost, event) = world.phone(&mut phone);
    print("command of a phone", &cost);
    assert!(matches!(&event, Some(HolderEvent::Ended { outcome, .. }) if outcome.is_success()), "{event:?}");
    assert_eq!((world.mcu.state.drives, world.mcu.state.bolt), (1, Bolt::Unlocked));
    world.mcu.leave();
}

#[test]
fn nothing_of_a_key_is_left_on_the_stack_of_a_cortex_m4_below_an_aead() {
    let Some(elf) = firmware() else { return };
    let mut mcu = Mcu::start(&elf);
    mcu.happen(b'K', &[]);
    let [made, sealed, opened, depth] = mcu.keys_found.unwrap();
    println!("figure: words of a key left by a cipher that is only dropped | {made}");
    println!("figure: stack of an AEAD operation | {depth}");
    assert!(made > 4, "the search finds what is there: {made}");
    assert_eq!((sealed, opened), (0, 0), "words of key and round keys after sealing, after opening");
    mcu.leave();
}

#[test]
fn a_lock_on_a_cortex_m4_that_hears_nothing_makes_a_new_context() {
    let Some(elf) = firmware() else { return };
    let mut world = World::new(&elf);
    world.join();
    assert_eq!(world.mcu.connected, 1);
    world.other.platform_hears = false;
    world.wait(16 * 60 * 1000);
    for _ in 0..2 {
        world.touch();
        world.wait(21_000);
    }
    world.touch();
    assert_eq!(world.mcu.connected, 1, "two unanswered events are not three");
    world.other.platform_hears = true;
    let now = world.now();
    world.other.reachable(now);
    print("handshake: EDHOC method 3, credentials by kid", &world.wait(21_000));
    assert_eq!(world.mcu.connected, 2);
    let (_, outcome) = world.command(Ask::Unlock);
    assert!(outcome.is_success(), "{outcome}");
    assert_eq!((world.mcu.state.drives, world.mcu.state.bolt), (1, Bolt::Unlocked));
    world.mcu.leave();
}
