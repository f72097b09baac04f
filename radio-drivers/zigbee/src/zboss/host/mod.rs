//! The host of an NCP: start-up, requests and their answers, joins, frames, questions; without port, clock or task.
//!
//! ```text
//!  opened ──▶ Probing ──▶ Script(resume) ──▶ Unformed ─ Form ─▶ Resetting ─▶ Probing ─▶ Script(form) ─┐
//!                ▲                     ├───▶ Foreign ── Adopt ─┐                                      │
//!                │                     └───────────────────────┴──▶ Script(configure) ──▶ Up ◀────────┘
//!                └── Resetting ◀── no answer, dead link ◀────────────────────────────────┘
//! ```
//!
//! What the NCP remembers is resumed before anything is set. Nothing is formed or erased but by [`Order::Form`].

mod chores;
mod forming;
mod joins;
mod questions;
mod start;
mod traffic;

use std::collections::{BTreeMap, VecDeque};

use cardea_radio::Millis;
use zeroize::Zeroizing;

use super::call::{Indication, Request, Response, reset};
use super::hl::{Kind, Packet, RESET_TSN, Status};
use super::link::Link;
use crate::addresses::Addresses;
use crate::bucket::Bucket;
use crate::coordinator::{Event, Failure, HostConfig, Network, Order, Outcome, State};
use crate::joins::Joins;
use crate::types::{Eui64, NwkAddr};
use chores::Chores;
use forming::Forming;
use questions::{Asked, Questions};
use start::{Found, Phase};
use traffic::Traffic;

/// Requests that may be unanswered.
const MAX_PENDING: usize = 48;
/// Wait for the answer of the NCP itself, milliseconds. More than three sends take.
const ANSWER_MS: Millis = 5_000;
/// Wait for an answer that takes a scan, or a network to start.
const SCAN_MS: Millis = 60_000;
/// Wait for an answer that a device gives over the air; its parent may have to keep the question first.
const DEVICE_MS: Millis = 20_000;
/// Wait for the end of a transmission: four tries of 10 s at a device that sleeps, and some.
const APS_MS: Millis = 45_000;
/// A silent NCP is asked something after this time.
const LIVENESS_MS: Millis = 30_000;

/// What a request was for.
#[derive(Debug)]
enum Purpose {
    Probe,
    /// A step of the script; false: it may fail.
    Script(bool),
    Liveness,
    /// A step of a backup or of a change of the key.
    Chore,
    /// The NCP's answer changes nothing.
    Nothing,
    AddCode(Eui64),
    Send {
        handle: u64,
        to: Eui64,
    },
    Ask(Asked),
    /// Whose address is this? For frames that wait.
    WhoIs(NwkAddr),
}

#[derive(Debug)]
struct Pending {
    call: u16,
    until: Millis,
    purpose: Purpose,
}

/// The host's side of one NCP.
pub struct Host {
    config: HostConfig,
    expected: Option<Network>,
    link: Link,
    phase: Phase,
    found: Found,
    /// What is to be formed once the NCP is back from its reset, if it is back by then.
    forming: Option<Forming>,
    /// Starts in a row that came to nothing.
    failures: u32,
    /// The port must be closed and opened again.
    reopen: bool,
    pending: BTreeMap<u8, Pending>,
    next_tsn: u8,
    heard: Millis,
    addresses: Addresses,
    chores: Chores,
    joins: Joins,
    /// For broadcasts.
    bucket: Bucket,
    traffic: Traffic,
    questions: Questions,
    events: VecDeque<Event>,
    state: State,
    unreadable: u64,
}

impl Host {
    /// A host whose port is closed. `expected` is the network that it formed or adopted before.
    #[must_use]
    pub fn new(config: HostConfig, expected: Option<Network>) -> Self {
        Self {
            config,
            expected,
            link: Link::default(),
            phase: Phase::Closed,
            found: Found::default(),
            forming: None,
            failures: 0,
            reopen: false,
            pending: BTreeMap::new(),
            next_tsn: 0,
            heard: 0,
            addresses: Addresses::default(),
            chores: Chores::default(),
            joins: Joins::default(),
            bucket: Bucket::default(),
            traffic: Traffic::default(),
            questions: Questions::default(),
            events: VecDeque::new(),
            state: State::Down("the port is not open".into()),
            unreadable: 0,
        }
    }

    /// The port is open.
    pub fn handle_open(&mut self, now: Millis) {
        self.link.reopen();
        self.reopen = false;
        if self.forming.as_ref().is_some_and(|forming| forming.until <= now) {
            self.abandon_forming("the dongle did not come back from its reset in time");
        }
        self.forget_requests();
        self.probe(now);
    }

    /// The port is gone; the text is for the operator.
    pub fn handle_close(&mut self, why: &str) {
        // A dongle on USB goes away and comes back when it is reset, so a formation may go on.
        if !matches!(self.phase, Phase::Resetting { .. } | Phase::Probing { .. }) {
            self.abandon_forming(why);
        }
        self.phase = Phase::Closed;
        self.reopen = false;
        self.forget_requests();
        self.set_state(State::Down(why.into()));
    }

    /// The port gave these bytes.
    pub fn handle_bytes(&mut self, now: Millis, bytes: &[u8]) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        self.link.handle_bytes(now, bytes);
        while let Some(packet) = self.link.poll_packet() {
            self.heard = now;
            self.packet(now, &packet);
        }
        self.progress(now);
    }

    /// The driver wants this.
    pub fn handle_order(&mut self, now: Millis, order: Order) {
        match order {
            Order::Form { plan, replace } => self.form(now, plan, replace),
            Order::Backup => self.back_up(now),
            Order::Restore { backup, replace } => self.restore(now, &backup, replace),
            Order::RotateKey(key) => self.rotate_key(now, key),
            Order::Adopt => self.adopt(now),
            Order::Admit { eui, code, seconds } => {
                let up = self.is_up();
                self.joins.admit(now, up, eui, code, seconds);
            }
            Order::Dismiss(eui) => self.dismiss(now, eui),
            Order::Send(frame) => self.send(now, frame),
            Order::Cancel { handle } => self.cancel(handle),
            Order::Ask { handle, eui, question } => self.ask(handle, eui, question),
            // The shell's.
            Order::Stop => {}
        }
        self.progress(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Millis> {
        if matches!(self.phase, Phase::Closed) {
            return self.traffic.poll_timeout();
        }
        let pending = self.pending.values().map(|pending| pending.until).min();
        let alive = self.is_up().then(|| self.heard.saturating_add(LIVENESS_MS));
        [
            self.link.poll_timeout(),
            self.phase.until(),
            pending,
            // While it is asked, the answer's own time counts.
            alive.filter(|_| !self.asked_for(|purpose| matches!(purpose, Purpose::Liveness))),
            self.joins.poll_timeout(),
            self.traffic.poll_timeout(),
            self.questions.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Millis) {
        self.link.handle_timeout(now);
        if self.link.is_dead() && !matches!(self.phase, Phase::Closed | Phase::Broken { .. }) {
            self.recover(now, "the dongle does not acknowledge");
        }
        let late: Vec<u8> =
            self.pending.iter().filter(|(_, p)| p.until <= now).map(|(tsn, _)| *tsn).collect();
        for tsn in late {
            if let Some(pending) = self.pending.remove(&tsn) {
                self.unanswered(now, pending);
            }
        }
        self.phase_timeout(now);
        let silent = now >= self.heard.saturating_add(LIVENESS_MS);
        if self.is_up() && silent && !self.asked_for(|purpose| matches!(purpose, Purpose::Liveness)) {
            // Without room for a request there are others whose answers are waited for.
            if !self.request(now, &Request::GetJoined {}, ANSWER_MS, Purpose::Liveness) {
                self.heard = now;
            }
        }
        self.traffic_timeout(now);
        self.progress(now);
    }

    /// Bytes for the port.
    pub fn poll_transmit(&mut self, now: Millis) -> Option<Zeroizing<Vec<u8>>> {
        if matches!(self.phase, Phase::Closed) {
            return None;
        }
        self.link.poll_transmit(now)
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Events that wait to be taken. Each input adds a few: who does not take them must not give more.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.events.len()
    }

    /// True when the port must be closed and opened again; the dongle may have another name then.
    #[must_use]
    pub fn wants_reopen(&self) -> bool {
        self.reopen
    }

    /// Frames that came twice, damage on the line, packets that made no sense, frames of unknown senders; since the start.
    #[must_use]
    pub fn counters(&self) -> [u64; 4] {
        let (duplicates, damaged) = self.link.counters();
        [duplicates, damaged, self.unreadable, self.traffic.dropped()]
    }

    fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up)
    }

    fn asked_for(&self, what: impl Fn(&Purpose) -> bool) -> bool {
        self.pending.values().any(|pending| what(&pending.purpose))
    }

    fn event(&mut self, event: Event) {
        self.events.push_back(event);
    }

    fn set_state(&mut self, state: State) {
        if self.state != state {
            self.state = state.clone();
            self.event(Event::State(state));
        }
    }

    /// Gives a request to the link. False: too much waits, and nothing will come of it.
    fn request(&mut self, now: Millis, request: &Request, wait: Millis, purpose: Purpose) -> bool {
        if self.pending.len() >= MAX_PENDING {
            return false;
        }
        while self.next_tsn == RESET_TSN || self.pending.contains_key(&self.next_tsn) {
            self.next_tsn = self.next_tsn.wrapping_add(1);
        }
        let tsn = self.next_tsn;
        if self.link.send(request.encode(tsn)).is_err() {
            return false;
        }
        self.next_tsn = tsn.wrapping_add(1);
        let until = now.saturating_add(wait);
        self.pending.insert(tsn, Pending { call: request.call(), until, purpose });
        true
    }

    fn packet(&mut self, now: Millis, packet: &[u8]) {
        let Ok(packet) = Packet::parse(packet) else {
            self.unreadable = self.unreadable.saturating_add(1);
            return;
        };
        match packet.kind {
            Kind::Response { tsn, status } => {
                // A reset is answered under a number of its own; what counts is the indication that follows.
                let matching = self.pending.get(&tsn).is_some_and(|pending| pending.call == packet.call);
                if tsn == RESET_TSN || !matching {
                    return;
                }
                let Some(pending) = self.pending.remove(&tsn) else { return };
                let answer = if status.is_ok() {
                    Response::parse(packet.call, packet.body).map_err(|_| None)
                } else {
                    Err(Some(status))
                };
                if answer == Err(None) {
                    self.unreadable = self.unreadable.saturating_add(1);
                }
                self.answered(now, pending, answer);
            }
            Kind::Indication => match Indication::parse(packet.call, packet.body) {
                Ok(indication) => self.indicated(now, indication),
                Err(_) => self.unreadable = self.unreadable.saturating_add(1),
            },
            Kind::Request { .. } => self.unreadable = self.unreadable.saturating_add(1),
        }
    }

    /// `Err(None)`: an answer that makes no sense.
    fn answered(&mut self, now: Millis, pending: Pending, answer: Result<Response, Option<Status>>) {
        let Pending { call, purpose, .. } = pending;
        match purpose {
            Purpose::Probe => self.probed(now),
            Purpose::Script(must) => self.step(now, call, must, answer),
            Purpose::Liveness => {
                if !matches!(answer, Ok(Response::GetJoined { flags }) if flags & 1 != 0) {
                    // It restarted unheard, or lost its network.
                    self.start_over(now);
                }
            }
            Purpose::Chore => self.chore_answered(now, call, answer),
            Purpose::Nothing => {}
            Purpose::AddCode(eui) => {
                let refused = answer.err().map(|status| refusal(call, status));
                self.joins.code_added(eui, refused);
            }
            Purpose::Send { handle, to } => self.sent(handle, to, answer.err()),
            Purpose::Ask(asked) => self.told(now, call, asked, answer),
            Purpose::WhoIs(nwk) => self.resolved(nwk, answer.ok()),
        }
    }

    fn unanswered(&mut self, now: Millis, pending: Pending) {
        match pending.purpose {
            // The phase has its own time.
            Purpose::Probe | Purpose::Nothing => {}
            Purpose::Script(_) | Purpose::Liveness => self.recover(now, "the dongle does not answer"),
            Purpose::Chore => self.chore_failed("the dongle does not answer"),
            Purpose::AddCode(eui) => self.joins.code_unanswered(eui),
            Purpose::Send { handle, to } => self.ended(handle, to, Outcome::Failed(Failure::Unknown)),
            Purpose::Ask(asked) => self.answer(asked.handle, Err(Failure::NoAnswer)),
            Purpose::WhoIs(nwk) => self.resolved(nwk, None),
        }
    }

    fn indicated(&mut self, now: Millis, indication: Indication) {
        match indication {
            Indication::Reset { .. } => self.restarted(now),
            Indication::DeviceAnnounce { nwk, eui, .. } => self.announced(eui, nwk),
            Indication::DeviceUpdate { eui, nwk, status } => self.updated(now, eui, nwk, status),
            Indication::DeviceAuthorised { eui, nwk, kind, status } => {
                self.authorised(now, eui, nwk, kind, status);
            }
            Indication::Leave { eui, rejoin } => {
                if rejoin == 0 {
                    self.left(eui);
                }
            }
            Indication::ApsdeData { frame } => self.received(frame),
            // A coordinator gets no link key from itself.
            Indication::TrustCentreLinkKey { .. } | Indication::TrustCentreLinkKeyFailed { .. } => {}
        }
    }

    /// All that could not be done before: the link was busy, or the network did not run.
    fn progress(&mut self, now: Millis) {
        self.chores_progress(now);
        self.joins_progress(now);
        self.traffic_progress(now);
        self.questions_progress(now);
    }

    /// The NCP will answer nothing that it was asked before now.
    fn forget_requests(&mut self) {
        for pending in std::mem::take(&mut self.pending).into_values() {
            match pending.purpose {
                Purpose::Send { handle, to } => self.ended(handle, to, Outcome::Failed(Failure::Unknown)),
                Purpose::Ask(asked) => self.answer(asked.handle, Err(Failure::Down)),
                Purpose::Probe
                | Purpose::Script(_)
                | Purpose::Liveness
                | Purpose::Chore
                | Purpose::Nothing
                | Purpose::WhoIs(_)
                | Purpose::AddCode(_) => {}
            }
        }
        self.chore_failed("the network went down meanwhile");
        self.joins.interrupted();
        self.traffic_interrupted();
        self.questions_interrupted();
    }
}

/// For the operator.
fn refusal(call: u16, status: Option<Status>) -> String {
    match status {
        Some(status) => format!("call {call:#06x}: {status}"),
        None => format!("call {call:#06x}: an answer that makes no sense"),
    }
}

#[cfg(test)]
pub(crate) mod tests;
