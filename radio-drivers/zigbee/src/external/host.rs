//! The gateway's side of a host program: what it is told and believed, and what becomes of its orders when it dies.
//!
//! ```text
//!  opened ──▶ Greeting ── Hello ──▶ Running ── ended, silent, senseless ──▶ Closed ──▶ opened again
//!                                      └────── Form: ended on purpose ─────────┘
//! ```
//!
//! A program forms a network as the first thing in its life or never: an order to form ends it, and the next one has the
//! plan in its first message, once. So a program that dies and is started again finds no plan and forms nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cardea_radio::Millis;
use zeroize::Zeroizing;

use super::wire::{Decoder, FromHost, Hello, ToHost, VERSION};
use crate::coordinator::{
    Event, Failure, Frame, HostConfig, JoinFailure, MAX_ASDU, MAX_PERMIT_SECONDS, Network, Order, Outcome,
    Plan, State,
};
use crate::types::Eui64;

/// How long a program may take to say that it is there.
const GREETING_MS: Millis = 15_000;
/// A program that is silent is asked whether it turns after this time.
const QUIET_MS: Millis = 5_000;
/// And is ended when it does not answer for so long. A library that looks for its dongle may block that long.
const SILENT_MS: Millis = 40_000;
/// The longest from an order to form to its end, the end of the program in between included.
const FORMING_MS: Millis = 110_000;
/// How long after its deadline a frame may be without an end: the program waits 45 s for the library.
const FRAME_MS: Millis = 60_000;
/// How long a question may be without an answer.
const QUESTION_MS: Millis = 90_000;
/// Admissions, frames and questions that may be without an end; more are refused.
const MAX_ADMISSIONS: usize = 64;
const MAX_FRAMES: usize = 64;
const MAX_QUESTIONS: usize = 32;

/// What this family cannot do, for the operator.
const NO_BACKUP: &str = "this host program cannot read the dongle's keys and counters, which a backup needs: the public \
                         interface of its library has no call for that";
const NO_RESTORE: &str =
    "this host program cannot write keys and counters to a dongle: restore it with family \"zboss\"";
const NO_ROTATION: &str = "this host program cannot change the network key: its library does not tell the number of the \
                           one in use";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    /// The program runs and has not said that it is there.
    Greeting {
        until: Millis,
    },
    Running,
}

#[derive(Debug)]
enum Step {
    /// The program is being ended, so that the next one forms this.
    Wanted(Box<(Plan, bool)>),
    /// The program has the plan; of this extended PAN id.
    Given(Eui64),
    /// The program is taking over this network.
    Adopting(Network),
}

/// What is being formed or adopted.
#[derive(Debug)]
struct Forming {
    step: Step,
    until: Millis,
}

/// The gateway's side of one host program.
pub struct Host {
    config: HostConfig,
    /// The dongle's port, a path.
    device: Vec<u8>,
    expected: Option<Network>,
    phase: Phase,
    state: State,
    forming: Option<Forming>,
    admissions: BTreeSet<Eui64>,
    /// When each is given up.
    frames: BTreeMap<u64, Millis>,
    questions: BTreeMap<u64, Millis>,
    heard: Millis,
    /// The number of the next ping, and when it may go out.
    ping: (u32, Millis),
    decoder: Decoder,
    out: VecDeque<Zeroizing<Vec<u8>>>,
    events: VecDeque<Event>,
    reopen: bool,
    senseless: u64,
}

impl Host {
    /// A host whose program does not run. `expected` is the network that it formed or adopted before; `device` the path of
    /// the dongle's port, for the program.
    #[must_use]
    pub fn new(config: HostConfig, device: Vec<u8>, expected: Option<Network>) -> Self {
        Self {
            config,
            device,
            expected,
            phase: Phase::Closed,
            state: State::Down("the host program does not run".into()),
            forming: None,
            admissions: BTreeSet::new(),
            frames: BTreeMap::new(),
            questions: BTreeMap::new(),
            heard: 0,
            ping: (0, 0),
            decoder: Decoder::default(),
            out: VecDeque::new(),
            events: VecDeque::new(),
            reopen: false,
            senseless: 0,
        }
    }

    /// The program was started.
    pub fn handle_open(&mut self, now: Millis) {
        self.reopen = false;
        self.decoder = Decoder::default();
        self.out.clear();
        self.phase = Phase::Greeting { until: now.saturating_add(GREETING_MS) };
        (self.heard, self.ping) = (now, (self.ping.0, now));
        self.set_state(State::Starting);
        let form = match self.forming.take() {
            Some(Forming { step: Step::Wanted(wanted), until }) => {
                self.forming = Some(Forming { step: Step::Given(wanted.0.extended_pan), until });
                Some(*wanted)
            }
            other => {
                self.forming = other;
                None
            }
        };
        let (host, device) = (self.config.clone(), self.device.clone());
        let hello = Hello { expected: self.expected, host, device, form };
        self.tell(now, &ToHost::Hello(Box::new(hello)));
    }

    /// The program is gone, or could not be started; the text is for the operator.
    pub fn handle_close(&mut self, why: &str) {
        let ran = std::mem::replace(&mut self.phase, Phase::Closed) != Phase::Closed;
        self.reopen = false;
        self.out.clear();
        self.interrupted();
        if matches!(self.forming, Some(Forming { step: Step::Wanted(_), .. })) {
            return self.set_state(State::Starting);
        }
        self.formed(Err("the host program ended meanwhile".into()));
        // What it said last, or was ended for, says more.
        if !(ran && matches!(self.state, State::Down(_))) {
            let why = if ran { "the host program ended".into() } else { format!("the host program: {why}") };
            self.set_state(State::Down(why));
        }
    }

    /// Whoever waits for the program waits no longer.
    fn interrupted(&mut self) {
        for handle in std::mem::take(&mut self.frames).into_keys() {
            self.event(Event::Outcome { handle, outcome: Outcome::Failed(Failure::Unknown) });
        }
        for handle in std::mem::take(&mut self.questions).into_keys() {
            self.event(Event::Answer { handle, answer: Err(Failure::Down) });
        }
        let admissions = std::mem::take(&mut self.admissions);
        if !admissions.is_empty() {
            self.event(Event::Open(false));
        }
        for eui in admissions {
            self.event(Event::JoinFailed { eui, reason: JoinFailure::Interrupted });
        }
    }

    /// The program says this.
    pub fn handle_bytes(&mut self, now: Millis, bytes: &[u8]) {
        if self.phase == Phase::Closed || self.reopen {
            return;
        }
        let mut messages = Vec::new();
        let mut sound = self.decoder.push(bytes, |message| messages.push(FromHost::parse(message)));
        for message in messages {
            match message {
                Ok(message) => self.message(now, message),
                Err(error) => sound = Err(error),
            }
        }
        if let Err(error) = sound {
            self.fault(&format!("it says what makes no sense: {error}"));
        }
    }

    fn message(&mut self, now: Millis, message: FromHost) {
        if self.reopen {
            return;
        }
        self.heard = now;
        match (self.phase, message) {
            (Phase::Greeting { .. }, FromHost::Hello { version: VERSION, name }) => {
                tracing::info!(name, "Zigbee host program");
                self.phase = Phase::Running;
            }
            (Phase::Greeting { .. }, FromHost::Hello { version, .. }) => {
                self.fault(&format!("it speaks version {version} of our messages, this gateway {VERSION}: install both of one release"));
            }
            (Phase::Running, FromHost::Event(event)) => self.said(event),
            (Phase::Running, FromHost::Pong(_)) => {}
            _ => self.fault("it says what it should not say now"),
        }
    }

    /// What it says, as far as it can be true.
    fn said(&mut self, event: Event) {
        let up = matches!(self.state, State::Up(_));
        match event {
            Event::State(State::Up(network)) if !self.expected.is_some_and(|ours| ours.is(&network)) => {
                self.fault("it runs another network than ours as ours");
            }
            Event::State(state) => self.set_state(state),
            Event::Formed(result) => self.said_formed(result),
            Event::Outcome { handle, .. } => {
                if self.frames.remove(&handle).is_some() {
                    return self.event(event);
                }
                self.count();
            }
            Event::Answer { handle, .. } => {
                if self.questions.remove(&handle).is_some() {
                    return self.event(event);
                }
                self.count();
            }
            Event::Joined { eui, .. } if up => {
                self.admissions.remove(&eui);
                self.event(event);
            }
            Event::JoinFailed { eui, .. } if up || self.admissions.contains(&eui) => {
                self.admissions.remove(&eui);
                self.event(event);
            }
            Event::Open(_) | Event::Rejoined { .. } | Event::Left { .. } | Event::Received(_) if up => {
                self.event(event)
            }
            _ => self.count(),
        }
    }

    fn said_formed(&mut self, result: Result<Network, String>) {
        let result = match (&self.forming, result) {
            (None | Some(Forming { step: Step::Wanted(_), .. }), _) => return self.count(),
            (Some(Forming { step: Step::Given(pan), .. }), Ok(network)) if network.extended_pan != *pan => {
                Err("the host program formed another network than the one ordered".into())
            }
            (Some(Forming { step: Step::Adopting(found), .. }), Ok(network)) if !network.is(found) => {
                Err("the host program took over another network than the one ordered".into())
            }
            (Some(_), result) => result,
        };
        self.formed(result);
    }

    /// The end of an order to form or adopt, if there is one.
    fn formed(&mut self, result: Result<Network, String>) {
        if self.forming.take().is_some() {
            if let Ok(network) = &result {
                self.expected = Some(*network);
            }
            self.event(Event::Formed(result));
        }
    }

    /// The driver wants this.
    pub fn handle_order(&mut self, now: Millis, order: Order) {
        match order {
            Order::Form { plan, replace } => self.form(now, plan, replace),
            Order::Adopt => self.adopt(now),
            Order::Backup => self.event(Event::BackedUp(Err(NO_BACKUP.into()))),
            Order::Restore { .. } => self.event(Event::Formed(Err(NO_RESTORE.into()))),
            Order::RotateKey(_) => self.event(Event::KeyRotated(Err(NO_ROTATION.into()))),
            Order::Admit { eui, code, seconds } => {
                let again = self.admissions.contains(&eui);
                let reason = if self.phase != Phase::Running {
                    Some(JoinFailure::Interrupted)
                } else if !again && self.admissions.len() >= MAX_ADMISSIONS {
                    Some(JoinFailure::Busy)
                } else {
                    None
                };
                if let Some(reason) = reason {
                    return self.event(Event::JoinFailed { eui, reason });
                }
                self.admissions.insert(eui);
                let seconds = seconds.clamp(1, MAX_PERMIT_SECONDS);
                self.tell(now, &ToHost::Order(Order::Admit { eui, code, seconds }));
            }
            Order::Dismiss(_) | Order::Cancel { .. } => {
                if self.phase == Phase::Running {
                    self.tell(now, &ToHost::Order(order));
                }
            }
            Order::Send(frame) => self.send(now, frame),
            Order::Ask { handle, eui, question } => {
                let failure = if !matches!(self.state, State::Up(_)) {
                    Some(Failure::Down)
                } else if self.questions.len() >= MAX_QUESTIONS {
                    Some(Failure::Busy)
                } else {
                    None
                };
                if let Some(failure) = failure {
                    return self.event(Event::Answer { handle, answer: Err(failure) });
                }
                self.questions.insert(handle, now.saturating_add(QUESTION_MS));
                self.tell(now, &ToHost::Order(Order::Ask { handle, eui, question }));
            }
            // The shell's.
            Order::Stop => {}
        }
    }

    fn send(&mut self, now: Millis, frame: Frame) {
        let outcome = if frame.payload.len() > MAX_ASDU {
            Some(Outcome::Failed(Failure::TooBig))
        } else if !matches!(self.state, State::Up(_)) {
            Some(Outcome::Failed(Failure::Down))
        } else if frame.deadline <= now {
            Some(Outcome::Expired)
        } else if self.frames.len() >= MAX_FRAMES {
            Some(Outcome::Failed(Failure::Busy))
        } else {
            None
        };
        if let Some(outcome) = outcome {
            return self.event(Event::Outcome { handle: frame.handle, outcome });
        }
        self.frames.insert(frame.handle, frame.deadline.saturating_add(FRAME_MS));
        self.tell(now, &ToHost::Order(Order::Send(frame)));
    }

    fn form(&mut self, now: Millis, plan: Plan, replace: bool) {
        let refusal = match &self.state {
            _ if self.forming.is_some() => Some("a network is being formed or adopted already"),
            State::Unformed => None,
            State::Foreign(_) | State::Up(_) if replace => None,
            State::Foreign(_) | State::Up(_) => {
                Some("there is a network; its devices would have to join anew")
            }
            State::Down(_) | State::Starting => Some("the dongle is not ready"),
        };
        if let Some(refusal) = refusal {
            return self.event(Event::Formed(Err(refusal.into())));
        }
        let until = now.saturating_add(FORMING_MS);
        self.forming = Some(Forming { step: Step::Wanted(Box::new((plan, replace))), until });
        self.reopen = true;
        self.set_state(State::Starting);
    }

    fn adopt(&mut self, now: Millis) {
        let State::Foreign(network) = self.state else {
            return self.event(Event::Formed(Err("there is no foreign network".into())));
        };
        if self.forming.is_some() {
            return self.event(Event::Formed(Err("a network is being formed or adopted already".into())));
        }
        let until = now.saturating_add(FORMING_MS);
        self.forming = Some(Forming { step: Step::Adopting(network), until });
        self.tell(now, &ToHost::Order(Order::Adopt));
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Millis> {
        let alive = match self.phase {
            Phase::Closed => None,
            _ if self.reopen => None,
            Phase::Greeting { until } => Some(until),
            Phase::Running => Some(self.ping.1.min(self.heard.saturating_add(SILENT_MS))),
        };
        let forming = self.forming.as_ref().map(|forming| forming.until);
        let given_up = self.frames.values().chain(self.questions.values()).min().copied();
        [alive, forming, given_up].into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Millis) {
        match self.phase {
            Phase::Greeting { until } if until <= now => self.fault("it does not say that it is there"),
            Phase::Running if self.heard.saturating_add(SILENT_MS) <= now => self.fault("it does not answer"),
            Phase::Running if self.ping.1 <= now && !self.reopen => {
                let number = self.ping.0.wrapping_add(1);
                self.ping = (number, now.saturating_add(QUIET_MS));
                self.tell(now, &ToHost::Ping(number));
            }
            _ => {}
        }
        if self.forming.as_ref().is_some_and(|forming| forming.until <= now) {
            self.formed(Err("the host program does not say what became of it".into()));
        }
        let late = |map: &mut BTreeMap<u64, Millis>| -> Vec<u64> {
            map.extract_if(.., |_, until| *until <= now).map(|(handle, _)| handle).collect()
        };
        for handle in late(&mut self.frames) {
            self.event(Event::Outcome { handle, outcome: Outcome::Failed(Failure::Unknown) });
        }
        for handle in late(&mut self.questions) {
            self.event(Event::Answer { handle, answer: Err(Failure::NoAnswer) });
        }
    }

    /// Bytes for the program.
    pub fn poll_transmit(&mut self, _now: Millis) -> Option<Zeroizing<Vec<u8>>> {
        self.out.pop_front()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Events that wait to be taken.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.events.len()
    }

    /// True when the program must be ended and started again.
    #[must_use]
    pub fn wants_reopen(&self) -> bool {
        self.reopen
    }

    /// Messages that could not be true, since the start.
    #[must_use]
    pub fn senseless(&self) -> u64 {
        self.senseless
    }

    fn tell(&mut self, now: Millis, message: &ToHost) {
        self.out.extend(message.encode(now));
    }

    /// It cannot be spoken with any more.
    fn fault(&mut self, why: &str) {
        if !self.reopen {
            tracing::warn!(why, "the Zigbee host program is ended");
            self.count();
            self.reopen = true;
            self.set_state(State::Down(format!("the host program: {why}")));
        }
    }

    fn count(&mut self) {
        self.senseless = self.senseless.saturating_add(1);
    }

    fn set_state(&mut self, state: State) {
        if self.state != state {
            self.state = state.clone();
            self.event(Event::State(state));
        }
    }

    fn event(&mut self, event: Event) {
        self.events.push_back(event);
    }
}

crate::port::machine!(Host);

#[cfg(test)]
mod tests;
