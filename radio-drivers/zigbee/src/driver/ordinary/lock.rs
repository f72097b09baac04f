//! One ordinary lock as a state machine: what it is asked, what it says, what is known of it. [`movement`](super::movement) has
//! what is done to it.
//!
//! It is asked what it is, then its names; it is asked to send no PINs, to report its bolt, its battery and its alarms to us; then
//! it is read. A question that it refuses is passed over (a lock that does not report is read instead), one that it does not
//! answer is asked again, later each time. Whoever does not report for as long as it was told to is read; whoever does not
//! answer that either is unknown a moment later.

mod questions;

use std::collections::VecDeque;

use cardea_radio::Millis;

use super::movement::Movement;
use super::services;
use super::state::{self, Bolt, Evidence, Happening, Heard, Snapshot, Source};
use super::{Outcome, Progress, Rights};
use crate::coordinator::{Outcome as Sent, Question};
use crate::driver::traffic::hand_over;
use crate::driver::wall::Wall;
use crate::types::Eui64;
use crate::zcl::door_lock::{self, LockMessage, LockState};
use crate::zcl::{Frame, Global, Header, Scope, Value, alarms, basic, id, poll_control, power};
use questions::Step;

/// Home automation.
pub(super) const PROFILE: u16 = 0x0104;
/// How long a question or a courtesy may be on its way, milliseconds.
const QUESTION_MS: Millis = 20_000;
/// How much later than it was asked for a report may come, milliseconds: time to ask instead.
pub(super) const GRACE_MS: Millis = 30_000;
/// Courtesies to one device that may be on their way.
const MAX_COURTESIES: u8 = 4;
/// Statuses (ZCL §2.6.3).
const SUCCESS: u8 = 0x00;
const UNSUPPORTED_COMMAND: u8 = 0x81;

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The question with this sequence number.
    Question(u8),
    /// The command with this token.
    Command(u64),
    /// An answer that the lock is owed.
    Courtesy,
}

/// What a lock wants done.
pub(super) enum Action {
    Ask(Question),
    Send {
        purpose: Purpose,
        cluster: u16,
        endpoint: u8,
        payload: Vec<u8>,
        deadline: Millis,
        acknowledge: bool,
    },
    Changed,
    Done(u64, Outcome),
    Progress(u64, Progress),
    Happened(Happening),
}

/// How far the question of a step has come.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Idle,
    /// Tried again at this moment.
    Waiting {
        at: Millis,
        tries: u32,
    },
    /// Asked, under this sequence number if it is a ZCL frame.
    Asked {
        until: Millis,
        sequence: Option<u8>,
        tries: u32,
    },
}

pub(super) struct Lock {
    /// `None`: the configuration does not name it, and nothing is done.
    pub(super) rights: Option<Rights>,
    report_seconds: u16,
    pub(super) joined: bool,
    pub(super) sleepy: Option<bool>,
    pub(super) endpoint: Option<u8>,
    /// Endpoints that were not looked at yet, the next one last.
    endpoints: Vec<u8>,
    has_battery: bool,
    has_alarms: bool,
    /// `None`: everything was asked.
    step: Option<Step>,
    phase: Phase,
    pub(super) ready: bool,
    /// When its bolt is read unless it has reported by then.
    read_at: Millis,
    heard: Option<Heard>,
    evidence: Option<Evidence>,
    /// The bolt may have moved since its last word.
    pub(super) doubt: bool,
    /// When somebody must be told that it has not been heard for too long, of its bolt and at all.
    bolt_expires: Option<Millis>,
    reach_expires: Option<Millis>,
    maker: String,
    model: String,
    battery: Option<(u8, Millis)>,
    pub(super) movement: Option<Movement>,
    sequence: u8,
    courtesies: u8,
    actions: VecDeque<Action>,
}

impl Lock {
    pub(super) fn new(rights: Option<Rights>, report_seconds: u16) -> Self {
        Self {
            rights,
            report_seconds,
            joined: false,
            sleepy: None,
            endpoint: None,
            endpoints: Vec::new(),
            has_battery: false,
            has_alarms: false,
            step: Some(Step::Node),
            phase: Phase::Idle,
            ready: false,
            read_at: 0,
            heard: None,
            evidence: None,
            doubt: false,
            bolt_expires: None,
            reach_expires: None,
            maker: String::new(),
            model: String::new(),
            battery: None,
            movement: None,
            sequence: 0,
            courtesies: 0,
            actions: VecDeque::new(),
        }
    }

    pub(super) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    pub(super) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    /// It is in the network; `anew`: it has just joined, and its firmware may have changed. What it said before may be old: while the
    /// network was down, or it was away, nobody listened.
    pub(super) fn is_there(&mut self, now: Millis, anew: bool) {
        if anew {
            self.ready = false;
            self.step = Some(Step::Node);
            self.phase = Phase::Idle;
            self.doubt = true;
            self.act(Action::Changed);
        }
        match self.phase {
            Phase::Idle if self.step.is_some() => self.ask(now, 0),
            // It is awake now.
            Phase::Waiting { tries, .. } => self.ask(now, tries),
            Phase::Idle | Phase::Asked { .. } => {}
        }
    }

    /// The network was down: what was reported meanwhile is lost.
    pub(super) fn was_deaf(&mut self, now: Millis) {
        self.doubt = true;
        self.act(Action::Changed);
        if self.ready {
            self.read_now(now);
        } else {
            self.is_there(now, false);
        }
    }

    /// True if it was in the network.
    pub(super) fn left(&mut self, now: Millis) -> bool {
        self.give_up();
        (self.ready, self.step, self.phase, self.doubt) = (false, Some(Step::Node), Phase::Idle, true);
        self.read_at = now;
        std::mem::replace(&mut self.joined, false)
    }

    /// Asks where the bolt is, whatever else is being asked of a lock that is ready.
    pub(super) fn read_now(&mut self, now: Millis) {
        if self.ready && self.joined {
            self.step = Some(Step::ReadBolt);
            self.ask(now, 0);
        }
    }

    fn report_ms(&self) -> Millis {
        Millis::from(self.report_seconds) * 1_000
    }

    pub(super) fn next_sequence(&mut self) -> u8 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// False: it could be on the air after the deadline, or nobody knows where to.
    pub(super) fn send(
        &mut self,
        now: Millis,
        deadline: Millis,
        purpose: Purpose,
        cluster: u16,
        payload: Vec<u8>,
    ) -> bool {
        self.endpoint
            .is_some_and(|endpoint| self.send_to(now, deadline, purpose, (cluster, endpoint), payload))
    }

    /// The same, to an endpoint that the lock spoke from.
    fn send_to(
        &mut self,
        now: Millis,
        deadline: Millis,
        purpose: Purpose,
        (cluster, endpoint): (u16, u8),
        payload: Vec<u8>,
    ) -> bool {
        // Who has not said that it listens may sleep.
        let by = hand_over(now, deadline, self.sleepy.unwrap_or(true));
        let Some((deadline, acknowledge)) = by else { return false };
        self.act(Action::Send { purpose, cluster, endpoint, payload, deadline, acknowledge });
        true
    }

    /// What became of a frame.
    pub(super) fn outcome(&mut self, now: Millis, purpose: Purpose, outcome: &Sent) {
        match purpose {
            Purpose::Courtesy => self.courtesies = self.courtesies.saturating_sub(1),
            Purpose::Command(token) => self.command_outcome(now, token, outcome),
            Purpose::Question(asked) => {
                if let Phase::Asked { sequence: Some(sequence), tries, .. } = self.phase
                    && sequence == asked
                    && *outcome != Sent::Acknowledged
                {
                    self.later(now, tries);
                }
            }
        }
    }

    /// A frame of the lock, from this cluster and endpoint of it; false: it is none that is understood.
    pub(super) fn heard(
        &mut self,
        now: Millis,
        heard: Heard,
        wall: Wall,
        from: (u16, u8),
        asdu: &[u8],
    ) -> bool {
        self.heard = Some(heard);
        self.reach_expires = Some(now.saturating_add(self.report_ms()).saturating_add(GRACE_MS));
        self.act(Action::Changed);
        let Ok(frame) = Frame::parse(asdu) else { return false };
        let Frame { header, payload } = frame;
        let (cluster, endpoint) = from;
        if !header.from_server {
            // Of whichever endpoint: what fetches firmware need not be what locks.
            return self.serve(now, wall, from, header, payload);
        }
        if self.endpoint.is_some_and(|known| known != endpoint) {
            return false;
        }
        // We know no maker's own commands.
        if header.manufacturer.is_some() {
            self.courtesy(now, from, header, UNSUPPORTED_COMMAND);
            return false;
        }
        let understood = match header.scope {
            Scope::Global => self.global_heard(now, cluster, header, payload),
            Scope::Cluster if cluster == id::DOOR_LOCK => self.lock_heard(now, header, payload),
            Scope::Cluster if cluster == id::ALARMS => self.alarm_heard(now, header, payload),
            Scope::Cluster if cluster == id::POLL_CONTROL && header.command == poll_control::CHECK_IN => {
                let answer = poll_control::CheckInResponse { fast: false, timeout: 0 }.encode();
                let command = poll_control::CHECK_IN_RESPONSE;
                let header = Header { scope: Scope::Cluster, command, ..header.answer() };
                self.polite(now, from, Frame { header, payload: &answer }.encode());
                return true;
            }
            Scope::Cluster => false,
        };
        self.courtesy(now, from, header, if understood { SUCCESS } else { UNSUPPORTED_COMMAND });
        understood
    }

    /// Something that the lock asks of us, or its answer to something that we served.
    fn serve(&mut self, now: Millis, wall: Wall, from: (u16, u8), header: Header, payload: &[u8]) -> bool {
        if header.scope == Scope::Global && Global::is_answer(header.command) {
            return true;
        }
        match services::answer(wall, from.0, header, payload) {
            Ok(answer) => {
                self.polite(now, from, answer);
                true
            }
            Err(status) => {
                self.courtesy(now, from, header, status);
                false
            }
        }
    }

    fn global_heard(&mut self, now: Millis, cluster: u16, header: Header, payload: &[u8]) -> bool {
        let Ok(global) = Global::parse(header.command, payload) else { return false };
        let asked = match self.phase {
            Phase::Asked { sequence, .. } => {
                sequence == Some(header.sequence) && self.step.is_some_and(|step| step.cluster() == cluster)
            }
            _ => false,
        };
        match global {
            // An answer to something that was asked before is old.
            Global::ReadResponse(values) if asked => {
                for (attribute, value) in values {
                    if let Ok(value) = value {
                        self.learn(now, cluster, attribute, &value, Source::Read);
                    }
                }
                self.advance(now);
            }
            Global::WriteResponse(_) | Global::ConfigureReportingResponse(_) if asked => self.advance(now),
            Global::Report(values) => {
                for (attribute, value) in values {
                    self.learn(now, cluster, attribute, &value, Source::Report);
                }
            }
            // Refused, so far as it is an answer to what was asked.
            Global::DefaultResponse { command, status } => {
                if asked {
                    self.advance(now);
                } else if cluster == id::DOOR_LOCK && status != SUCCESS {
                    self.command_answered(now, header.sequence, command, status);
                }
            }
            _ => return false,
        }
        true
    }

    fn lock_heard(&mut self, now: Millis, header: Header, payload: &[u8]) -> bool {
        let Ok(message) = LockMessage::parse(header.command, payload) else { return false };
        match message {
            LockMessage::Answer { command, status } => {
                self.command_answered(now, header.sequence, command, status)
            }
            LockMessage::Operation { source, code, user, local_time: _ } => {
                self.act(Action::Happened(Happening::Operation { source, code, user, at: now }));
                if let Some(bolt) = Bolt::after(code) {
                    self.learned(now, bolt, Source::Event);
                }
            }
            LockMessage::Programming { source, code, user, local_time: _ } => {
                self.act(Action::Happened(Happening::Programming { source, code, user, at: now }));
            }
            // Nobody asked for them.
            LockMessage::LogRecord { .. } | LockMessage::Credentials { .. } => return false,
        }
        true
    }

    fn alarm_heard(&mut self, now: Millis, header: Header, payload: &[u8]) -> bool {
        let Ok(alarm) = alarms::Alarm::parse(header.command, payload) else { return false };
        if alarm.cluster == id::DOOR_LOCK {
            self.act(Action::Happened(Happening::Alarm { code: alarm.code, at: now }));
            if alarm.code == door_lock::ALARM_JAMMED {
                self.learned(now, Bolt::Jammed, Source::Alarm);
            }
        }
        true
    }

    fn learn(&mut self, now: Millis, cluster: u16, attribute: u16, value: &Value, source: Source) {
        match (cluster, attribute) {
            (id::DOOR_LOCK, door_lock::LOCK_STATE) => {
                if let Some(state) = LockState::of(value) {
                    self.learned(now, Bolt::of(state), source);
                }
            }
            (id::POWER, power::BATTERY_PERCENTAGE) => {
                let halves = value.unsigned().and_then(|halves| u8::try_from(halves).ok());
                if let Some(halves) = halves.filter(|halves| *halves <= 200) {
                    self.battery = Some((halves / 2, now));
                }
            }
            (id::BASIC, basic::MANUFACTURER_NAME) => {
                self.maker = state::name(&value.text().unwrap_or_default())
            }
            (id::BASIC, basic::MODEL) => self.model = state::name(&value.text().unwrap_or_default()),
            _ => {}
        }
    }

    /// The lock's own word about its bolt.
    fn learned(&mut self, now: Millis, bolt: Bolt, source: Source) {
        if bolt == Bolt::Jammed && source == Source::Report && self.is_moving() {
            // On its way. If it stays there it is jammed, and that is asked when it has had time.
            return;
        }
        self.evidence = Some(Evidence { bolt, source, at: now });
        self.doubt = false;
        self.bolt_expires = Some(now.saturating_add(self.report_ms()).saturating_add(GRACE_MS));
        self.read_at = now.saturating_add(self.report_ms());
        self.movement_evidence(bolt, source);
    }

    /// The default response, to whom it is owed (ZCL §2.5.12.2).
    fn courtesy(&mut self, now: Millis, to: (u16, u8), header: Header, status: u8) {
        let answer = header.answer();
        let is_answer = header.scope == Scope::Global && Global::is_answer(header.command);
        // The answers to commands of the cluster are answers, too.
        let is_lock_answer =
            header.scope == Scope::Cluster && to.0 == id::DOOR_LOCK && header.command < door_lock::OPERATION;
        if is_answer || is_lock_answer || (header.no_default_response && status == SUCCESS) {
            return;
        }
        let payload = [header.command, status];
        self.polite(now, to, Frame { header: answer, payload: &payload }.encode());
    }

    fn polite(&mut self, now: Millis, to: (u16, u8), frame: Vec<u8>) {
        if self.courtesies < MAX_COURTESIES
            && self.send_to(now, now.saturating_add(QUESTION_MS), Purpose::Courtesy, to, frame)
        {
            self.courtesies = self.courtesies.saturating_add(1);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Millis) {
        match self.phase {
            Phase::Asked { until, tries, .. } if until <= now => self.later(now, tries),
            Phase::Waiting { at, tries } if at <= now => self.ask(now, tries),
            Phase::Idle if self.step.is_none() && self.joined && self.read_at <= now => self.read_now(now),
            _ => {}
        }
        let expired =
            [self.bolt_expires.take_if(|at| *at <= now), self.reach_expires.take_if(|at| *at <= now)];
        if expired.iter().any(Option::is_some) {
            self.act(Action::Changed);
        }
        self.movement_timeout(now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Millis> {
        let asked = match self.phase {
            Phase::Asked { until, .. } => Some(until),
            Phase::Waiting { at, .. } => Some(at),
            Phase::Idle => (self.step.is_none() && self.joined).then_some(self.read_at),
        };
        let movement = self.movement.as_ref().map(|movement| movement.until);
        [asked, movement, self.bolt_expires, self.reach_expires].into_iter().flatten().min()
    }

    /// Where the bolt is now, as far as anybody has said.
    fn bolt(&self, now: Millis) -> (Bolt, Option<Source>, Option<Millis>) {
        if let Some(moving) = self.moving() {
            return moving;
        }
        let Some(Evidence { bolt, source, at }) = self.evidence else { return (Bolt::Unknown, None, None) };
        let limit = at.saturating_add(self.report_ms()).saturating_add(GRACE_MS);
        let bolt = if self.doubt || limit <= now || !self.joined { Bolt::Unknown } else { bolt };
        (bolt, Some(source), Some(at))
    }

    pub(super) fn snapshot(&self, now: Millis, eui: Eui64, listened: bool) -> Snapshot {
        let (bolt, source, at) = self.bolt(now);
        let limit = |heard: &Heard| heard.at.saturating_add(self.report_ms()).saturating_add(GRACE_MS);
        Snapshot {
            eui,
            listened,
            rights: self.rights.unwrap_or(Rights::Watch),
            joined: self.joined,
            ready: self.ready,
            sleepy: self.sleepy,
            maker: self.maker.clone(),
            model: self.model.clone(),
            bolt,
            source,
            at,
            battery: self.battery,
            heard: self.heard,
            reachable: self.joined && self.heard.as_ref().is_some_and(|heard| limit(heard) > now),
        }
    }
}
