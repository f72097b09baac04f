//! A lock on a test board, a gateway's link, and a platform made of the EDHOC Responder and an OSCORE context.
// Each test file uses its part of this; helpers fail by panicking, as tests do.
#![allow(dead_code, unreachable_pub, missing_docs)]
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_in_result
)]

pub mod board;
pub mod phone;
pub mod platform;
pub mod site;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use cardea_agent::{Agent, AgentEvent, Config, Output, Parts, provision};
use cardea_credentials::{OwnerCode, Question};
use cardea_framing::{Datagram, Kind, LinkConfig, LockLink};
use cardea_oscore::coap::Code;
use cardea_resources::{
    Command, CommandReply, EventKind, Firmware, LogPage, LogRequest, Op, Pin, PinChange, PinSetting,
};

use board::{Board, PowerCut, TestActuator, TestClock, TestNvm, TestRandom, key};
use platform::{Platform, Reply};

pub const CODE: OwnerCode = OwnerCode::from_bytes([7; 16]);
pub const MTU: usize = 222;

/// Lock, gateway and platform, with one clock.
pub struct World {
    pub nvm: TestNvm,
    pub clock: TestClock,
    pub actuator: TestActuator,
    pub agent: Option<Agent<Board>>,
    pub gateway: LockLink,
    pub platform: Platform,
    pub config: Config,
    pub told: Vec<AgentEvent>,
    /// Frames of the lock, as they were on the air.
    pub air: Vec<Vec<u8>>,
    pub polls: usize,
    /// Datagrams of the lock for peers.
    pub for_peers: Vec<Vec<u8>>,
    /// What the lock asked its site.
    pub questions: Vec<Question>,
    /// Questions of the lock to its site.
    pub for_site: Vec<Vec<u8>>,
    pub mtu: usize,
    /// The gateway loses what the lock sends.
    pub deaf: bool,
    boots: u64,
}

pub fn config() -> Config {
    Config { heartbeat_ms: 0, ..Config::listening(Firmware { major: 1, minor: 2, patch: 3 }) }
}

fn gateway() -> LockLink {
    LockLink::new(LinkConfig { retry_ms: 2_000, max_attempts: 3, reassembly_ms: 60_000, max_datagram: 1_024 })
}

impl World {
    /// A provisioned lock that has never been on the air.
    pub fn new() -> Self {
        Self::with(config())
    }

    pub fn with(config: Config) -> Self {
        Self::over(config, TestNvm::default())
    }

    /// The same on another medium.
    pub fn over(config: Config, mut nvm: TestNvm) -> Self {
        provision(&mut nvm, &CODE).unwrap();
        nvm.reset_count();
        let clock = TestClock::default();
        clock.set(1_000);
        Self {
            nvm,
            clock,
            actuator: TestActuator::default(),
            agent: None,
            gateway: gateway(),
            platform: Platform::new(Some(CODE), 1),
            config,
            told: Vec::new(),
            air: Vec::new(),
            polls: 0,
            for_peers: Vec::new(),
            questions: Vec::new(),
            for_site: Vec::new(),
            mtu: MTU,
            deaf: false,
            boots: 0,
        }
    }

    /// An activated lock whose boot event was answered.
    pub fn activated() -> Self {
        Self::activated_with(config())
    }

    pub fn activated_with(config: Config) -> Self {
        let mut world = Self::with(config);
        world.boot();
        world.run();
        assert!(world.agent().owner().is_some(), "{:?}", world.told);
        assert!(world.agent().is_connected());
        world.told.clear();
        world
    }

    pub fn agent(&mut self) -> &mut Agent<Board> {
        self.agent.as_mut().expect("the lock has power")
    }

    /// Power on: what an agent is booted from.
    pub fn parts(&mut self) -> Parts<Board> {
        self.boots += 1;
        self.nvm.power_on();
        Parts {
            storage: self.nvm.clone(),
            clock: self.clock.clone(),
            random: TestRandom::new(1000 + self.boots),
            identity: key::signer(1),
            dh: board::CountedDh(key::agreement(2)),
            actuator: self.actuator.clone(),
        }
    }

    /// Power on; the radio joins at once.
    pub fn boot(&mut self) {
        let parts = self.parts();
        let mut agent = Agent::<Board>::boot(parts, self.config).expect("boots");
        agent.link_up();
        self.agent = Some(agent);
    }

    /// Power off and on again. The millisecond counter starts anew, the RTC does not.
    pub fn reset(&mut self) {
        self.agent = None;
        self.clock.set(10);
        self.gateway = gateway();
        self.platform.now_ms = self.clock.rtc_ms();
        self.boot();
    }

    /// Carries frames both ways until nobody has anything to say.
    pub fn run(&mut self) {
        for _ in 0..400 {
            let mut moved = false;
            let mut frame = [0; 256];
            let now = self.clock.now();
            self.platform.now_ms = self.clock.rtc_ms();
            let mtu = self.mtu;
            match self.agent().poll_transmit(mtu, &mut frame) {
                Some(Output::Frame(len)) => {
                    moved = true;
                    self.air.push(frame[..len].to_vec());
                    if !self.deaf {
                        self.take_frame(now, &frame[..len]);
                    }
                }
                Some(Output::Poll) => {
                    moved = true;
                    self.polls += 1;
                }
                None => {}
            }
            while self.gateway.poll_event().is_some() {}
            if self.gateway.can_send()
                && let Some(datagram) = self.platform.down.pop_front()
            {
                self.gateway.send(now, &datagram, 1).unwrap();
            }
            if let Some(len) = self.gateway.poll_transmit(now, self.mtu, &mut frame) {
                moved = true;
                self.agent().handle_frame(&frame[..len]);
            }
            while let Some(event) = self.agent().poll_event() {
                self.told.push(event);
            }
            if !moved {
                return;
            }
        }
        panic!("the lock and the gateway never come to rest");
    }

    fn take_frame(&mut self, now: u64, frame: &[u8]) {
        let mut whole = None;
        if let Ok(Some(incoming)) = self.gateway.handle_frame(now, frame) {
            whole = Some((incoming.datagram().to_vec(), incoming.receipt));
        }
        if let Some((datagram, receipt)) = whole {
            if let Some(receipt) = receipt {
                self.gateway.custody(now, receipt);
            }
            match Datagram::parse(&datagram).unwrap().kind {
                kind if kind.is_peer() => self.for_peers.push(datagram),
                Kind::Site => {
                    self.questions.push(Question::decode(&datagram[1..]).unwrap());
                    self.for_site.push(datagram);
                }
                _ => self.platform.uplink(&datagram),
            }
        }
    }

    /// Lets time pass in one step and runs.
    pub fn wait(&mut self, ms: u64) {
        self.clock.advance(ms);
        self.agent().handle_timeout();
        self.run();
    }

    /// Lets time pass, stopping at every timer of the lock.
    pub fn live(&mut self, ms: u64) {
        let end = self.clock.now() + ms;
        for _ in 0..10_000 {
            self.run();
            let now = self.clock.now();
            let next = self.agent().poll_timeout().unwrap_or(end).max(now + 1);
            if next >= end {
                self.clock.set(end);
                self.agent().handle_timeout();
                self.run();
                return;
            }
            self.clock.advance(next - now);
            self.agent().handle_timeout();
        }
        panic!("the lock's timers never come to rest");
    }

    /// Gives the lock a datagram that fits a frame, past the gateway's link. Returns the replies it caused.
    pub fn deliver(&mut self, datagram: &[u8]) -> Vec<Reply> {
        self.platform.replies.clear();
        self.agent().handle_frame(datagram);
        self.run();
        std::mem::take(&mut self.platform.replies)
    }

    /// Gives the lock a datagram of any length, through the gateway's link.
    pub fn give(&mut self, datagram: &[u8]) {
        self.platform.down.push_back(datagram.to_vec());
        self.run();
    }

    /// Sends a request and returns its one reply.
    pub fn ask(&mut self, path: &str, code: Code, payload: &[u8], echo: Option<&[u8]>) -> Reply {
        let request = self.platform.request(path, code, payload, echo);
        let mut replies = self.deliver(&request);
        assert_eq!(replies.len(), 1, "one reply to {path}");
        replies.remove(0)
    }

    /// `POST l`.
    pub fn command(&mut self, id: u8, op: Op, not_after: Option<u32>, echo: Option<&[u8]>) -> Reply {
        self.ask("l", Code::POST, &command(id, op, not_after), echo)
    }

    /// Kind and value of every entry of the log.
    pub fn log(&mut self) -> Vec<(EventKind, Option<u32>)> {
        let mut out = [0; LogRequest::MAX_LEN];
        let len = LogRequest::default().encode(&mut out).unwrap();
        let reply = self.ask("g", Code::POST, &out[..len], None);
        LogPage::decode(&reply.payload).unwrap().entries().map(|entry| (entry.kind, entry.value)).collect()
    }

    /// Touches the lock and returns the challenge of its event.
    pub fn touch(&mut self) -> [u8; 4] {
        self.platform.events.clear();
        self.agent().touch();
        self.run();
        self.platform.events.last().expect("a touch event").challenge
    }

    /// Sends a fresh `POST p` and returns the code of its answer.
    pub fn set_pin(&mut self, payload: &[u8]) -> Code {
        let mut reply = self.ask("p", Code::POST, payload, None);
        if let Some(echo) = reply.echo.take() {
            reply = self.ask("p", Code::POST, payload, Some(&echo));
        }
        reply.code
    }

    /// The platform's clock.
    pub fn unix(&self) -> u32 {
        (self.clock.rtc_ms() / 1000) as u32
    }

    pub fn drives(&self) -> Vec<Op> {
        self.actuator.drives()
    }

    /// Runs `act`; true when the power was cut in it.
    pub fn survives_cut(&mut self, act: impl FnOnce(&mut Self)) -> bool {
        until_cut(|| act(self))
    }
}

/// Runs `act`; true when the power was cut in it, in a record or in the flash below.
pub fn until_cut(act: impl FnOnce()) -> bool {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(()) => false,
        // Panics of assertions carry text.
        Err(cause) if cause.is::<PowerCut>() || !(cause.is::<String>() || cause.is::<&str>()) => true,
        Err(cause) => resume_unwind(cause),
    }
}

pub fn command(id: u8, op: Op, not_after: Option<u32>) -> Vec<u8> {
    let mut out = [0; Command::MAX_LEN];
    let len = Command { id: [id; 4], op, not_after }.encode(&mut out).unwrap();
    out[..len].to_vec()
}

/// The reply of a command, which must be a 2.04.
pub fn outcome(reply: &Reply) -> CommandReply {
    assert_eq!(reply.code, Code::CHANGED, "{reply:?}");
    CommandReply::decode(&reply.payload).unwrap()
}

/// A `POST p` payload; no digits clear the slot.
pub fn pin_change(slot: u8, revision: u32, digits: &[u8], duress: bool, until: Option<u32>) -> Vec<u8> {
    let setting = (!digits.is_empty()).then(|| PinSetting {
        pin: Pin::new(digits).unwrap(),
        duress,
        not_before: None,
        not_after: until,
    });
    let mut out = [0; PinChange::MAX_LEN];
    let len = PinChange { slot, revision, setting }.encode(&mut out).unwrap();
    out[..len].to_vec()
}
