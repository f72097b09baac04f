//! The host of an NCP: start-up, commands and their answers, joins, frames, questions; without port, clock or task.
//!
//! ```text
//!  opened ──▶ Resetting ──▶ Hello ──▶ Script(configure, resume) ──▶ Up
//!                ▲                              │  └──▶ Foreign ── Adopt ──▶ Up
//!                │                              └─────▶ Unformed
//!                ├── no answer, dead link, error            │
//!                └── Script(erase) ◀── Form, Restore ◀──────┘   then Script(configure, form)
//! ```
//!
//! An NCP forgets policies, endpoints and sizes at each reset and must be told them before it resumes; nothing of that is
//! stored. What it remembers, its network, is not touched but by [`Order::Form`] and [`Order::Restore`].

mod chores;
mod forming;
mod fragments;
mod heard;
mod joins;
mod questions;
mod received;
mod resolve;
mod start;
mod traffic;

use std::collections::VecDeque;

use cardea_radio::Millis;
use zeroize::Zeroizing;

use super::call::{ApsFrame, Bytes8, Command, Protocol, Since14, Tag, aps, hello};
use super::link::{Link, LinkEvent};
use crate::addresses::Addresses;
use crate::bucket::Bucket;
use crate::coordinator::{Event, Failure, HostConfig, Network, Order, State};
use crate::joins::Joins;
use crate::types::{Eui64, NwkAddr};
use chores::Chores;
use forming::Forming;
use questions::Questions;
use received::Receipts;
use resolve::Seekers;
use start::{Found, Phase};
use traffic::Traffic;

/// Commands that may wait for their turn.
const MAX_QUEUED: usize = 48;
/// Wait for an answer, milliseconds: the link waits for eight seconds before it counts as dead.
const ANSWER_MS: Millis = 12_000;
/// Wait for an answer that a device gives over the air; its parent may have to keep the question first.
const DEVICE_MS: Millis = 20_000;
/// A silent NCP is asked something after this time.
const LIVENESS_MS: Millis = 30_000;
/// After damage on the line it is asked something sooner: what was lost may have been its word that it restarted.
const DOUBT_MS: Millis = 1_000;
/// Tag of messages whose end nobody waits for.
const UNTAGGED: Tag = Tag(0);

/// What a command was for.
#[derive(Debug)]
enum Purpose {
    /// The first one, in the old header.
    Hello,
    /// A step of the script; false: it may fail.
    Script(bool),
    Liveness,
    /// A step of a backup or of a change of the key.
    Chore,
    /// The NCP's answer changes nothing.
    Nothing,
    AddCode(Eui64),
    /// A frame; what it was called.
    Send(u8),
    /// The question that is asked.
    Ask,
    /// Which address has this device, as far as the NCP knows?
    Seek(Eui64),
    /// Whose address is it, as far as the NCP knows?
    WhoIs(NwkAddr),
}

#[derive(Debug)]
struct Pending {
    sequence: u8,
    id: u16,
    until: Millis,
    purpose: Purpose,
}

/// The host's side of one NCP.
pub struct Host {
    config: HostConfig,
    expected: Option<Network>,
    link: Link,
    protocol: Protocol,
    phase: Phase,
    found: Found,
    /// What is to be formed once the NCP is back from its reset, if it is back by then.
    forming: Option<Forming>,
    /// Starts in a row that came to nothing.
    failures: u32,
    /// The port must be closed and opened again.
    reopen: bool,
    queue: VecDeque<(Command, Purpose)>,
    /// The NCP takes the next command when it has answered this one.
    pending: Option<Pending>,
    next_sequence: u8,
    zdo_sequence: u8,
    heard: Millis,
    /// Damage that was seen so far, and when it is asked whether the NCP is still the same.
    damage: u64,
    doubt: Option<Millis>,
    addresses: Addresses,
    bucket: Bucket,
    seekers: Seekers,
    chores: Chores,
    joins: Joins,
    traffic: Traffic,
    receipts: Receipts,
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
            protocol: Protocol::OLDEST,
            phase: Phase::Closed,
            found: Found::default(),
            forming: None,
            failures: 0,
            reopen: false,
            queue: VecDeque::new(),
            pending: None,
            next_sequence: 0,
            zdo_sequence: 0,
            heard: 0,
            damage: 0,
            doubt: None,
            addresses: Addresses::default(),
            bucket: Bucket::default(),
            seekers: Seekers::default(),
            chores: Chores::default(),
            joins: Joins::default(),
            traffic: Traffic::default(),
            receipts: Receipts::default(),
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
        self.reset(now);
    }

    /// The port is gone; the text is for the operator.
    pub fn handle_close(&mut self, why: &str) {
        // A dongle on USB may go away and come back when it is reset, so a formation may go on.
        if !matches!(self.phase, Phase::Resetting { .. } | Phase::Hello) {
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
        while let Some(event) = self.link.poll_event() {
            self.heard = now;
            match event {
                LinkEvent::Restarted(code) => self.restarted(code),
                LinkEvent::Failed(code) => {
                    self.recover(now, &format!("the dongle is out of order: ASH error {code:#04x}"));
                }
                LinkEvent::Lost => self.recover(now, "the dongle restarted unheard"),
                LinkEvent::Frame(frame) => self.frame(now, &frame),
            }
        }
        let (_, damage) = self.link.counters();
        if damage != std::mem::replace(&mut self.damage, damage) {
            self.doubt = Some(now.saturating_add(DOUBT_MS));
        }
        self.progress(now);
    }

    /// The driver wants this.
    pub fn handle_order(&mut self, now: Millis, order: Order) {
        match order {
            Order::Form { plan, replace } => self.form(now, plan, replace),
            Order::Adopt => self.adopt(now),
            Order::Backup => self.back_up(),
            Order::Restore { backup, replace } => self.restore(&backup, replace),
            Order::RotateKey(key) => self.rotate_key(key),
            Order::Admit { eui, code, seconds } => {
                let up = self.is_up();
                self.joins.admit(now, up, eui, code, seconds);
            }
            Order::Dismiss(eui) => drop(self.joins.dismiss(eui)),
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
        let alive = self.is_up().then(|| self.liveness_at());
        [
            self.link.poll_timeout(),
            self.phase.until(),
            self.pending.as_ref().map(|pending| pending.until),
            alive.filter(|_| self.pending.is_none()),
            self.seekers.poll_timeout(),
            self.chores.poll_timeout(),
            self.joins.poll_timeout(),
            self.traffic.poll_timeout(),
            self.receipts.poll_timeout(),
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
        if self.pending.as_ref().is_some_and(|pending| pending.until <= now) {
            // It answers one command after the other: without this answer there are no others.
            self.recover(now, "the dongle does not answer");
        }
        self.phase_timeout(now);
        if self.is_up() && self.pending.is_none() && now >= self.liveness_at() {
            (self.heard, self.doubt) = (now, None);
            self.tell(Command::Nop {}, Purpose::Liveness);
        }
        self.seekers_timeout(now);
        self.questions_timeout(now);
        self.receipts_timeout(now);
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

    /// Frames that came twice, damage on the line, frames that made no sense, frames that were dropped; since the start.
    #[must_use]
    pub fn counters(&self) -> [u64; 4] {
        let (duplicates, damaged) = self.link.counters();
        [duplicates, damaged, self.unreadable, self.receipts.dropped()]
    }

    /// When the NCP is asked something if nothing else is.
    fn liveness_at(&self) -> Millis {
        let silent = self.heard.saturating_add(LIVENESS_MS);
        self.doubt.map_or(silent, |doubt| doubt.min(silent))
    }

    fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up)
    }

    /// True when nothing waits for the NCP: what it is told now goes out at once.
    fn is_idle(&self) -> bool {
        self.pending.is_none() && self.queue.is_empty() && self.link.is_idle()
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

    fn own(&self) -> Eui64 {
        self.expected.map_or(Eui64([0; 8]), |network| network.coordinator)
    }

    /// Has a command wait for its turn. False: too many wait, and nothing will come of it.
    fn tell(&mut self, command: Command, purpose: Purpose) -> bool {
        let room = self.queue.len() < MAX_QUEUED;
        if room {
            self.queue.push_back((command, purpose));
        }
        room
    }

    /// Gives the NCP the next command, if it has answered the last one.
    fn pump(&mut self, now: Millis) {
        if self.pending.is_some() || !self.link.is_idle() {
            return;
        }
        let Some((command, purpose)) = self.queue.pop_front() else { return };
        let sequence = self.next_sequence;
        let frame = if matches!(purpose, Purpose::Hello) {
            hello(sequence)
        } else {
            command.encode(sequence, self.protocol)
        };
        let id = command.id();
        if self.link.send(frame) {
            self.next_sequence = sequence.wrapping_add(1);
            let until = now.saturating_add(ANSWER_MS);
            self.pending = Some(Pending { sequence, id, until, purpose });
        } else {
            // Longer than a frame can be: payloads are bounded, so none is.
            let pending = Pending { sequence, id, until: now, purpose };
            self.answered(now, pending, Err(None));
        }
    }

    /// The next sequence number of a ZDO frame.
    fn zdo_sequence(&mut self) -> u8 {
        self.zdo_sequence = self.zdo_sequence.wrapping_add(1);
        self.zdo_sequence
    }

    /// A ZDO frame for one device.
    fn zdo_unicast(&mut self, destination: NwkAddr, cluster: u16, asdu: &[u8], purpose: Purpose) -> bool {
        let aps = zdo_frame(cluster, aps::RETRY | aps::ROUTE);
        let payload = Bytes8::from(asdu);
        self.tell(Command::SendUnicast { kind: 0, destination, aps, tag: UNTAGGED, payload }, purpose)
    }

    /// A ZDO frame for many. The caller has a token for it.
    fn zdo_broadcast(&mut self, destination: NwkAddr, cluster: u16, asdu: &[u8]) -> bool {
        let command = Command::SendBroadcast {
            alias: Since14(Some(NwkAddr(0xFFFF))),
            destination,
            sequence: Since14(Some(0)),
            aps: zdo_frame(cluster, 0),
            radius: 0,
            tag: UNTAGGED,
            payload: Bytes8::from(asdu),
        };
        self.tell(command, Purpose::Nothing)
    }

    /// All that could not be done before: the NCP was busy, or the network did not run.
    fn progress(&mut self, now: Millis) {
        self.chores_progress(now);
        self.joins_progress(now);
        self.seekers_progress(now);
        self.questions_progress(now);
        self.pump(now);
        self.traffic_progress(now);
    }

    /// The NCP will answer nothing that it was told before now.
    fn forget_requests(&mut self) {
        self.queue.clear();
        self.pending = None;
        self.chore_failed("the network went down meanwhile");
        self.joins.interrupted();
        self.traffic_interrupted();
        self.receipts_interrupted();
        self.questions_interrupted();
        self.seekers = Seekers::default();
    }

    /// What to say to those who want something while the network does not run.
    fn down(&self) -> Option<Failure> {
        (!self.is_up()).then_some(Failure::Down)
    }
}

fn zdo_frame(cluster: u16, options: u16) -> ApsFrame {
    ApsFrame { profile: 0, cluster, src_endpoint: 0, dst_endpoint: 0, options, group: 0, sequence: 0 }
}

#[cfg(test)]
mod tests;
