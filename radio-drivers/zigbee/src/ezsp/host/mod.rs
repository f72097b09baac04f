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
mod joins;
mod questions;
mod resolve;
mod start;
mod traffic;

use std::collections::VecDeque;

use cardea_radio::Millis;
use zeroize::Zeroizing;

use super::call::{
    Answer, ApsFrame, Bytes8, Callback, Command, Frame, INVALID_COMMAND, Incoming, Kind, Protocol,
};
use super::call::{Since14, Status, Tag, aps, hello, parse_hello};
use super::link::{Link, LinkEvent};
use super::zdo;
use crate::addresses::Addresses;
use crate::bucket::Bucket;
use crate::coordinator::{Event, Failure, HostConfig, Network, Order, State};
use crate::joins::Joins;
use crate::types::{Eui64, NwkAddr};
use chores::Chores;
use questions::Questions;
use resolve::Seekers;
use start::{Forming, Found, Phase};
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
/// Why a command is invalid: nobody has said which protocol is spoken, so the NCP has restarted.
const VERSION_NOT_SET: u8 = 0x30;
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
            Order::Admit { eui, code, seconds } => self.joins.admit(eui, code, seconds),
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
        [duplicates, damaged, self.unreadable, self.traffic.dropped()]
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

    fn frame(&mut self, now: Millis, frame: &[u8]) {
        if matches!(self.pending, Some(Pending { purpose: Purpose::Hello, .. }))
            && let Ok(protocol) = parse_hello(frame)
        {
            self.pending = None;
            return self.greeted(now, protocol);
        }
        let Ok(frame) = Frame::parse(frame) else {
            self.unreadable = self.unreadable.saturating_add(1);
            return;
        };
        match frame.kind {
            Kind::Answer => {
                let ours = |pending: &mut Pending| {
                    pending.sequence == frame.sequence && [pending.id, INVALID_COMMAND].contains(&frame.id)
                };
                let Some(pending) = self.pending.take_if(ours) else { return };
                let answer = if frame.id == INVALID_COMMAND {
                    Err(Some(frame.body.first().copied().unwrap_or(0)))
                } else {
                    Answer::parse(frame.id, frame.body, self.protocol).map_err(|_| None)
                };
                if answer == Err(None) {
                    self.unreadable = self.unreadable.saturating_add(1);
                }
                self.answered(now, pending, answer);
            }
            Kind::Callback => match Callback::parse(frame.id, frame.body, self.protocol) {
                Ok(callback) => self.called(now, callback),
                // There are many that a coordinator has no use for.
                Err(crate::DecodeError::UnknownCall(_)) => {}
                Err(_) => self.unreadable = self.unreadable.saturating_add(1),
            },
            Kind::Command => self.unreadable = self.unreadable.saturating_add(1),
        }
    }

    /// `Err(Some(reason))`: an invalid command; `Err(None)`: an answer that makes no sense.
    fn answered(&mut self, now: Millis, pending: Pending, answer: Result<Answer, Option<u8>>) {
        let Pending { id, purpose, .. } = pending;
        if answer == Err(Some(VERSION_NOT_SET)) && !matches!(purpose, Purpose::Hello) {
            return self.recover(now, "the dongle restarted unheard");
        }
        let answer = answer.map_err(|reason| match reason {
            Some(reason) => format!("command {id:#06x}: invalid ({reason:#04x})"),
            None => format!("command {id:#06x}: an answer that makes no sense"),
        });
        match purpose {
            Purpose::Hello => self.recover(now, "the dongle does not say which protocol it speaks"),
            Purpose::Script(must) => self.step(now, id, must, answer),
            Purpose::Liveness | Purpose::Nothing => {}
            Purpose::Chore => self.chore_answered(id, answer),
            Purpose::AddCode(eui) => self.joins.code_added(eui, well(id, answer).err().map(|(_, why)| why)),
            Purpose::Send(tag) => self.taken(tag, well(id, answer)),
            Purpose::Ask => {
                if let Err(why) = well(id, answer) {
                    self.asked_in_vain(why.1);
                }
            }
            Purpose::Seek(eui) => self.looked_up(now, eui, answer.ok()),
            Purpose::WhoIs(nwk) => self.identified(nwk, answer.ok()),
        }
    }

    fn called(&mut self, now: Millis, callback: Callback) {
        match callback {
            Callback::StackStatus { status } => self.stack_status(now, status),
            Callback::TrustCentreJoin { nwk, eui, update, decision, .. } => {
                self.updated(now, eui, nwk, update, decision);
            }
            Callback::KeyEstablishment { eui, status } => self.key_established(eui, status),
            Callback::MessageSent { sent } => self.message_sent(sent.tag, sent.status),
            Callback::IncomingMessage { incoming } => self.incoming(incoming),
            Callback::SwitchNetworkKey { number } => {
                tracing::info!(number, "the Zigbee network has another key");
            }
        }
    }

    fn incoming(&mut self, incoming: Incoming) {
        // What the NCP says of itself has no sender to be learnt.
        if let Some(eui) = incoming.eui.filter(|eui| ![[0; 8], [0xFF; 8]].contains(&eui.0)) {
            self.learn(eui, incoming.sender);
        }
        if incoming.aps.profile != 0 {
            return self.received(incoming);
        }
        match zdo::parse(incoming.aps.cluster, &incoming.payload.0) {
            Ok(zdo::Heard::Address(eui, nwk)) => {
                self.learn(eui, nwk);
                if incoming.aps.cluster == zdo::DEVICE_ANNOUNCE {
                    self.joins.inside(eui);
                }
            }
            Ok(zdo::Heard::Answer(sequence, cluster, answer)) => {
                self.told(incoming.sender, sequence, cluster, answer)
            }
            Ok(zdo::Heard::Other) => {}
            Err(_) => self.unreadable = self.unreadable.saturating_add(1),
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

/// Whether an answer says that all is well; `Err`: the status, if there is one, and the words for the operator.
fn well(id: u16, answer: Result<Answer, String>) -> Result<Answer, (Option<Status>, String)> {
    let answer = answer.map_err(|why| (None, why))?;
    let status = match &answer {
        Answer::AddEndpoint { status }
        | Answer::NetworkInit { status }
        | Answer::FormNetwork { status }
        | Answer::LeaveNetwork { status }
        | Answer::PermitJoining { status }
        | Answer::GetNetworkParameters { status, .. }
        | Answer::SendUnicast { status, .. }
        | Answer::SendBroadcast { status, .. }
        | Answer::GetConfigurationValue { status, .. }
        | Answer::SetConfigurationValue { status }
        | Answer::SetPolicy { status }
        | Answer::LookupEui64ByNodeId { status, .. }
        | Answer::SetInitialSecurityState { status }
        | Answer::GetCurrentSecurityState { status, .. }
        | Answer::BroadcastNextNetworkKey { status }
        | Answer::BroadcastNetworkKeySwitch { status }
        | Answer::SetValue { status }
        | Answer::ClearKeyTable { status }
        | Answer::GetTokenData { status }
        | Answer::SetTokenData { status } => *status,
        Answer::ImportLinkKey { status }
        | Answer::ImportTransientKey { status }
        | Answer::GetNetworkKeyInfo { status, .. } => status.0,
        Answer::ExportLinkKeyByIndex { entry } => entry.status,
        Answer::ExportKey { exported } => exported.status,
        Answer::LookupNodeIdByEui64 { status, .. }
        | Answer::SetManufacturerCode { status }
        | Answer::SetExtendedTimeout { status } => status.0.unwrap_or(Status::OK),
        Answer::Version { .. }
        | Answer::Nop {}
        | Answer::GetEui64 { .. }
        | Answer::ClearTransientLinkKeys {}
        | Answer::TokenFactoryReset {} => Status::OK,
    };
    if status.is_ok() { Ok(answer) } else { Err((Some(status), format!("command {id:#06x}: {status}"))) }
}

#[cfg(test)]
mod tests;
