//! The coordinator over the library: from the first start to a network that runs, joins, frames, questions; without library,
//! clock or thread.
//!
//! ```text
//!  begin ──▶ Starting ── SkipStartup ──▶ Initialising ─┬─ nothing is remembered ──▶ Unformed, or Forming ── Formation ──┐
//!                                                      ├─ another network ──▶ Foreign ── Adopt ──▶ Up                   │
//!                                                      └─ ours ──▶ Up ◀────────────────────────────────────────────────┘
//! ```
//!
//! A network is formed only if the gateway's first message says so, and over another one only if it says that too.

mod joins;
mod questions;
mod stack;
mod traffic;

use std::collections::VecDeque;

use cardea_radio::Millis;
use cardea_zigbee::coordinator::{Event, Failure, HostConfig, Network, Order, Plan, State};
use cardea_zigbee::external::wire::{FromHost, Hello, ToHost};
use joins::Door;
use questions::Questions;
use traffic::Traffic;

pub use stack::{ALL_CHANNELS, Begin, Indication, MAX_PAYLOAD, Signal, Stack};

/// How long the library may take to form a network: a scan of all channels, and some.
const FORMING_MS: Millis = 60_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The library has not said that it turns.
    Starting,
    /// It loads what it remembers.
    Initialising,
    Forming {
        until: Millis,
    },
    Unformed,
    Foreign(Network),
    Up,
    /// It does not work; only another process can.
    Dead,
}

/// The coordinator over one library.
pub struct Host<S> {
    stack: S,
    config: HostConfig,
    expected: Option<Network>,
    form: Option<(Plan, bool)>,
    phase: Phase,
    state: State,
    /// How far our clock is ahead of the gateway's, milliseconds, at most: what the quickest message took is in it.
    ahead: Option<i64>,
    door: Door,
    traffic: Traffic,
    questions: Questions,
    replies: VecDeque<FromHost>,
    dropped: u64,
}

impl<S: Stack> Host<S> {
    /// Starts the library as the gateway's first message says. `now` is any clock's, milliseconds; it may not go back.
    pub fn begin(now: Millis, stamp: Millis, hello: Hello, stack: S) -> Self {
        let Hello { expected, host: config, form, device } = hello;
        let mut host = Self {
            stack,
            config,
            expected,
            form,
            phase: Phase::Starting,
            state: State::Down(String::new()),
            ahead: None,
            door: Door::default(),
            traffic: Traffic::default(),
            questions: Questions::default(),
            replies: VecDeque::new(),
            dropped: 0,
        };
        host.stamped(now, stamp);
        host.set_state(State::Starting);
        let begin = Begin {
            device: &device,
            endpoint: &host.config.endpoint,
            manufacturer: host.config.manufacturer,
            max_children: host.config.max_children,
            form: host.form.as_ref().map(|(plan, replace)| (plan, *replace)),
        };
        if let Err(why) = host.stack.begin(&begin) {
            host.dead(&why);
        }
        host
    }

    /// The gateway says this.
    pub fn handle_message(&mut self, now: Millis, stamp: Millis, message: ToHost) {
        self.stamped(now, stamp);
        match message {
            // Said once, in the beginning.
            ToHost::Hello(_) => {}
            ToHost::Ping(number) => self.replies.push_back(FromHost::Pong(number)),
            ToHost::Order(order) => self.order(now, order),
        }
        self.progress(now);
    }

    fn order(&mut self, now: Millis, order: Order) {
        match order {
            Order::Adopt => match self.phase {
                Phase::Foreign(network) => {
                    self.expected = Some(network);
                    self.event(Event::Formed(Ok(network)));
                    self.up(network);
                }
                _ => self.event(Event::Formed(Err("there is no foreign network".into()))),
            },
            Order::Admit { eui, code, seconds } => self.admit(now, eui, code, seconds),
            Order::Dismiss(eui) => self.dismiss(eui),
            Order::Send(mut frame) => {
                frame.deadline = frame.deadline.saturating_add_signed(self.ahead.unwrap_or(0));
                self.send(now, frame);
            }
            Order::Cancel { handle } => self.cancel(handle),
            Order::Ask { handle, eui, question } => self.ask(handle, eui, question),
            // They do not cross.
            Order::Form { .. }
            | Order::Backup
            | Order::Restore { .. }
            | Order::RotateKey(_)
            | Order::Stop => {}
        }
    }

    /// The library says this.
    pub fn handle_signal(&mut self, now: Millis, signal: Signal) {
        match signal {
            Signal::SkipStartup if self.phase == Phase::Starting => {
                self.phase = Phase::Initialising;
                if !self.stack.commission(false) {
                    self.dead("the library does not start its network layer");
                }
            }
            Signal::Started { well } if self.phase == Phase::Initialising => self.initialised(now, well),
            Signal::Formation { well } if matches!(self.phase, Phase::Forming { .. }) => self.formation(well),
            Signal::SelfLeft if self.phase != Phase::Starting => self.dead("the dongle has left its network"),
            Signal::Update { eui, nwk, status } => self.updated(now, eui, nwk, status),
            Signal::Authorised { eui, nwk, kind, status } => self.authorised(eui, nwk, kind, status),
            Signal::Left { eui, rejoin: false } => self.left(eui),
            Signal::CodeAdded { well } => self.code_added(well),
            Signal::Sent { buffer, status } => self.sent(buffer, status),
            Signal::Received(frame) => self.received(frame),
            Signal::Answer { tsn, answer } => self.answered(tsn, answer),
            Signal::SkipStartup
            | Signal::Started { .. }
            | Signal::Formation { .. }
            | Signal::SelfLeft
            | Signal::Left { .. } => {}
        }
        self.progress(now);
    }

    /// Time has passed. To be called a few times a second.
    pub fn handle_timeout(&mut self, now: Millis) {
        if matches!(self.phase, Phase::Forming { until } if until <= now) {
            self.formation(false);
        }
        self.traffic_timeout(now);
        self.questions_timeout(now);
        self.progress(now);
    }

    /// For the gateway.
    pub fn poll_reply(&mut self) -> Option<FromHost> {
        self.replies.pop_front()
    }

    /// Frames of devices whose address nobody knows, or that came while no network ran.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn initialised(&mut self, now: Millis, well: bool) {
        match (self.stack.network(), &self.form) {
            (Some(network), form) => {
                if form.is_some() {
                    self.form = None;
                    self.event(Event::Formed(Err("the dongle still remembers a network".into())));
                }
                if self.expected.is_some_and(|ours| ours.is(&network)) {
                    self.up(network);
                } else {
                    self.phase = Phase::Foreign(network);
                    self.set_state(State::Foreign(network));
                }
            }
            (None, _) if !well => self.dead("the library could not start its network layer"),
            (None, None) => {
                self.phase = Phase::Unformed;
                self.set_state(State::Unformed);
            }
            (None, Some(_)) => {
                // Before anybody can join.
                self.stack.set_policies();
                self.phase = Phase::Forming { until: now.saturating_add(FORMING_MS) };
                if !self.stack.commission(true) {
                    self.formation(false);
                }
            }
        }
    }

    fn formation(&mut self, well: bool) {
        let planned = self.form.take().map(|(plan, _)| plan.extended_pan);
        match self.stack.network().filter(|_| well) {
            Some(network) if Some(network.extended_pan) == planned => {
                self.expected = Some(network);
                self.event(Event::Formed(Ok(network)));
                self.up(network);
            }
            Some(network) => {
                self.event(Event::Formed(Err(
                    "the library formed another network than the one ordered".into()
                )));
                self.phase = Phase::Foreign(network);
                self.set_state(State::Foreign(network));
            }
            None => {
                self.event(Event::Formed(Err("the library formed no network".into())));
                self.dead("the library formed no network");
            }
        }
    }

    /// Policies do not outlive a start: they are set each time, before anybody can join.
    fn up(&mut self, network: Network) {
        self.stack.set_policies();
        self.phase = Phase::Up;
        self.close_network();
        self.set_state(State::Up(network));
    }

    /// A library cannot be started twice in one process: the gateway starts another process when this one is silent.
    fn dead(&mut self, why: &str) {
        if self.form.take().is_some() {
            self.event(Event::Formed(Err(why.into())));
        }
        self.phase = Phase::Dead;
        self.interrupted();
        self.set_state(State::Down(why.into()));
    }

    /// True when nothing but another process will help.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.phase == Phase::Dead
    }

    fn interrupted(&mut self) {
        self.joins_interrupted();
        self.traffic_interrupted();
        self.questions_interrupted();
    }

    fn progress(&mut self, now: Millis) {
        self.joins_progress(now);
        if self.is_up() {
            self.traffic_progress(now);
            self.questions_progress(now);
        }
    }

    fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    fn down(&self) -> Option<Failure> {
        (!self.is_up()).then_some(Failure::Down)
    }

    /// The gateway's clock and ours have no common zero. The quickest of its messages tells best how far they are apart, and
    /// one that was long on its way does not make a deadline later.
    fn stamped(&mut self, now: Millis, stamp: Millis) {
        let ahead =
            i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(i64::try_from(stamp).unwrap_or(i64::MAX));
        self.ahead = Some(self.ahead.map_or(ahead, |before| before.min(ahead)));
    }

    fn set_state(&mut self, state: State) {
        if self.state != state {
            self.state = state.clone();
            self.event(Event::State(state));
        }
    }

    fn event(&mut self, event: Event) {
        self.replies.push_back(FromHost::Event(event));
    }
}

#[cfg(test)]
mod tests;
