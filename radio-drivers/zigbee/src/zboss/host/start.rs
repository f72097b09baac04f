//! From an open port to a network that runs, and back there after every fault.

use std::collections::VecDeque;

use cardea_radio::Millis;

use super::forming::{Forming, Goal, formation, restoration};
use super::{ANSWER_MS, Host, Purpose, SCAN_MS, refusal, reset};
use crate::coordinator::{Failure, Network, State};
use crate::types::{Eui64, NwkAddr};
use crate::zboss::call::{IbCounters, Request, Response, policy};
use crate::zboss::hl::Status;

/// Milliseconds between two probes.
const PROBE_MS: Millis = 500;
/// How long a dongle may take to answer the first one: its USB may have to come back.
const PROBING_MS: Millis = 15_000;
/// How long a reset may take.
const RESET_MS: Millis = 5_000;
/// Before a dongle that refuses what it must do is asked again.
const REFUSED_MS: Millis = 60_000;
/// Longest wait before the port is opened again.
const MAX_REOPEN_MS: Millis = 30_000;
/// 2^8 minutes without a sign of life: what end devices expect of a parent by default.
const END_DEVICE_TIMEOUT: u8 = 8;

#[derive(Debug)]
pub(super) enum Phase {
    /// No port.
    Closed,
    /// Asked its role until it answers.
    Probing {
        next: Millis,
        until: Millis,
    },
    Script(Script),
    /// It remembers no network.
    Unformed,
    /// It remembers another one.
    Foreign(Network),
    Up,
    /// Waits for the indication that it has started.
    Resetting {
        until: Millis,
    },
    /// It refused what it must do.
    Refused {
        until: Millis,
    },
    /// The port will be opened again.
    Broken {
        until: Millis,
    },
}

impl Phase {
    pub(super) fn until(&self) -> Option<Millis> {
        match self {
            Self::Probing { next, until } => Some((*next).min(*until)),
            Self::Resetting { until } | Self::Refused { until } | Self::Broken { until } => Some(*until),
            Self::Closed | Self::Script(_) | Self::Unformed | Self::Foreign(_) | Self::Up => None,
        }
    }
}

/// Requests one after the other; each waits for the answer of the one before.
#[derive(Debug)]
pub(super) struct Script {
    /// A request, and whether it must succeed.
    steps: VecDeque<(Request, bool)>,
    then: Then,
}

/// What follows a script.
#[derive(Debug, Clone, Copy)]
pub(super) enum Then {
    /// Joined: read who we are. Otherwise resume what is remembered.
    Resume,
    /// Joined: read who we are. Otherwise there is nothing to resume.
    Resumed,
    /// Compare with what is expected.
    Compare,
    /// Not joined: the reset has erased all, form.
    Erased,
    /// The network was formed: who are we?
    Formed,
    /// The network was formed and its keys were written: they count after a reset.
    Written,
    /// Policies and endpoints are set.
    Up,
}

/// What the NCP said of itself.
#[derive(Debug, Default)]
pub(super) struct Found {
    joined: bool,
    coordinator: Option<Eui64>,
    extended_pan: Option<Eui64>,
    pan: Option<u16>,
    channel: Option<u8>,
    /// Outgoing frame counter of the network key.
    pub(super) frame_counter: Option<u32>,
}

impl Found {
    pub(super) fn network(&self) -> Option<Network> {
        Some(Network {
            coordinator: self.coordinator?,
            extended_pan: self.extended_pan?,
            pan: self.pan?,
            channel: self.channel?,
        })
    }
}

impl Host {
    pub(super) fn probe(&mut self, now: Millis) {
        self.set_state(State::Starting);
        self.phase = Phase::Probing { next: now, until: now.saturating_add(PROBING_MS) };
        self.phase_timeout(now);
    }

    /// It answers: form if that was ordered, otherwise resume.
    pub(super) fn probed(&mut self, now: Millis) {
        if !matches!(self.phase, Phase::Probing { .. }) {
            return;
        }
        // Probes that are still on their way.
        self.pending.retain(|_, pending| !matches!(pending.purpose, Purpose::Probe));
        self.found = Found::default();
        if matches!(self.forming, Some(Forming { goal: Goal::Written(_), .. })) {
            let steps = vec![(Request::StartWithoutFormation {}, true), (Request::GetJoined {}, true)];
            self.run(now, steps, Then::Resumed);
        } else if self.forming.is_some() {
            // Whatever was plugged in meanwhile: what remembers a network is not formed over.
            let steps = vec![(Request::StartWithoutFormation {}, false), (Request::GetJoined {}, true)];
            self.run(now, steps, Then::Erased);
        } else {
            let steps = vec![(Request::GetModuleVersion {}, false), (Request::GetJoined {}, true)];
            self.run(now, steps, Then::Resume);
        }
    }

    fn run(&mut self, now: Millis, steps: Vec<(Request, bool)>, then: Then) {
        self.phase = Phase::Script(Script { steps: steps.into(), then });
        self.next_step(now);
    }

    fn next_step(&mut self, now: Millis) {
        let Phase::Script(script) = &mut self.phase else { return };
        let Some((request, must)) = script.steps.pop_front() else {
            let then = script.then;
            return self.finished(now, then);
        };
        let slow = matches!(request, Request::NwkFormation { .. } | Request::StartWithoutFormation {});
        let wait = if slow { SCAN_MS } else { ANSWER_MS };
        if !self.request(now, &request, wait, Purpose::Script(must)) {
            self.recover(now, "the link to the dongle is full");
        }
    }

    pub(super) fn step(
        &mut self,
        now: Millis,
        call: u16,
        must: bool,
        answer: Result<Response, Option<Status>>,
    ) {
        match answer {
            Ok(Response::GetModuleVersion { firmware, stack, protocol }) => {
                tracing::info!(%firmware, %stack, %protocol, "Zigbee dongle");
            }
            Ok(Response::GetJoined { flags }) => self.found.joined = flags & 1 != 0,
            Ok(Response::GetLocalIeee { eui, .. }) => self.found.coordinator = Some(eui),
            Ok(Response::GetExtendedPanId { pan }) => self.found.extended_pan = Some(pan.0),
            Ok(Response::GetPanId { pan }) => self.found.pan = Some(pan),
            Ok(Response::GetChannel { channel, .. }) => self.found.channel = Some(channel),
            Ok(Response::NvramRead { dataset: IbCounters::DATASET, data, .. }) => {
                self.found.frame_counter = IbCounters::parse(&data.0).ok().map(|counters| counters.nib);
            }
            Ok(_) => {}
            Err(status) if must => return self.refused(now, &refusal(call, status)),
            Err(status) => tracing::warn!(reason = refusal(call, status), "the Zigbee dongle refuses"),
        }
        self.next_step(now);
    }

    fn finished(&mut self, now: Millis, then: Then) {
        match then {
            Then::Resume if !self.found.joined => {
                let steps = vec![(Request::StartWithoutFormation {}, false), (Request::GetJoined {}, true)];
                self.run(now, steps, Then::Resumed);
            }
            Then::Resume | Then::Resumed if self.found.joined => {
                let mut steps = identity();
                if self.forming.is_some() {
                    steps.push((Request::NvramRead { dataset: IbCounters::DATASET }, false));
                }
                self.run(now, steps, Then::Compare);
            }
            Then::Resume | Then::Resumed => {
                self.abandon_forming("the dongle does not start the network that was written");
                self.phase = Phase::Unformed;
                self.failures = 0;
                self.set_state(State::Unformed);
            }
            Then::Compare if self.forming.is_some() => self.restored(now),
            Then::Compare => match (self.found.network(), self.expected) {
                (Some(found), Some(expected)) if found.is(&expected) => self.configure(now),
                (Some(found), _) => {
                    self.phase = Phase::Foreign(found);
                    self.failures = 0;
                    self.set_state(State::Foreign(found));
                }
                (None, _) => self.recover(now, "the dongle does not say which network it is in"),
            },
            Then::Erased => match &self.forming {
                Some(Forming { goal: Goal::New(plan), .. }) if !self.found.joined => {
                    let steps = formation(plan);
                    self.run(now, steps, Then::Formed);
                }
                Some(Forming { goal: Goal::Restored(backup), .. }) if !self.found.joined => {
                    let steps = restoration(backup);
                    self.run(now, steps, Then::Written);
                }
                _ => {
                    self.abandon_forming("the dongle still remembers a network after its reset");
                    self.finished(now, Then::Resumed);
                }
            },
            Then::Formed => match self.found.network() {
                Some(network) => self.formed(now, network),
                None => self.recover(now, "the dongle does not say which network it formed"),
            },
            Then::Written => {
                if let Some(Forming { goal: Goal::Restored(backup), until }) = self.forming.take() {
                    self.forming = Some(Forming { goal: Goal::Written(backup), until });
                }
                self.reset(now, reset::KEEP);
            }
            Then::Up => {
                self.failures = 0;
                self.phase = Phase::Up;
                if let Some(network) = self.found.network() {
                    self.set_state(State::Up(network));
                }
            }
        }
    }

    /// Policies do not outlive a restart: they are set each time, before anybody can join.
    pub(super) fn configure(&mut self, now: Millis) {
        let mut steps = policies();
        steps.extend([
            (Request::SetRxOnWhenIdle { on: 1 }, true),
            (Request::SetEndDeviceTimeout { index: END_DEVICE_TIMEOUT }, false),
            (Request::SetMaxChildren { count: self.config.max_children }, false),
            (Request::SetNodeDescManufacturer { manufacturer: self.config.manufacturer }, false),
            (Request::AfSetSimpleDesc { descriptor: self.config.endpoint.clone() }, true),
            (permit(NwkAddr::COORDINATOR, 0), true),
        ]);
        self.run(now, steps, Then::Up);
    }

    pub(super) fn reset(&mut self, now: Millis, option: u8) {
        self.forget_requests();
        self.link.restart();
        self.set_state(State::Starting);
        self.phase = Phase::Resetting { until: now.saturating_add(RESET_MS) };
        // Nobody waits for the answer, which has no number to be found by, but for the indication.
        if self.link.send(Request::NcpReset { option }.encode(self.next_tsn)).is_ok() {
            self.next_tsn = if self.next_tsn >= 0xFE { 0 } else { self.next_tsn.saturating_add(1) };
        }
    }

    /// The NCP has started, asked to or by itself: its numbers begin anew, and what it was asked is forgotten.
    pub(super) fn restarted(&mut self, now: Millis) {
        if matches!(self.phase, Phase::Closed | Phase::Broken { .. }) {
            return;
        }
        if !matches!(self.phase, Phase::Resetting { .. } | Phase::Probing { .. }) {
            tracing::warn!("the Zigbee dongle restarted");
            self.abandon_forming("the dongle restarted");
        }
        self.link.restart();
        self.start_over(now);
    }

    /// As after a restart, but the link goes on.
    pub(super) fn start_over(&mut self, now: Millis) {
        self.forget_requests();
        self.probe(now);
    }

    /// It does not answer: reset, and if that does not help, open the port again.
    pub(super) fn recover(&mut self, now: Millis, why: &str) {
        tracing::warn!(why, "the Zigbee dongle is reset");
        self.abandon_forming(why);
        self.set_state(State::Down(why.into()));
        if matches!(self.phase, Phase::Resetting { .. } | Phase::Probing { .. }) || self.failures > 0 {
            return self.broken(now);
        }
        self.failures = 1;
        self.reset(now, reset::KEEP);
    }

    fn broken(&mut self, now: Millis) {
        self.failures = self.failures.saturating_add(1);
        let wait = 1_000u64.saturating_mul(1 << self.failures.min(6).saturating_sub(1)).min(MAX_REOPEN_MS);
        self.forget_requests();
        self.link.restart();
        self.phase = Phase::Broken { until: now.saturating_add(wait) };
    }

    fn refused(&mut self, now: Millis, why: &str) {
        self.abandon_forming(why);
        self.set_state(State::Down(format!("the dongle refuses what it must do: {why}")));
        self.phase = Phase::Refused { until: now.saturating_add(REFUSED_MS) };
    }

    pub(super) fn phase_timeout(&mut self, now: Millis) {
        match &mut self.phase {
            Phase::Probing { until, .. } if *until <= now => {
                self.recover(now, "the dongle does not answer");
            }
            Phase::Probing { next, .. } if *next <= now => {
                *next = now.saturating_add(PROBE_MS);
                // One that waits for the link is enough.
                if self.link.is_idle() {
                    self.request(now, &Request::GetZigbeeRole {}, ANSWER_MS, Purpose::Probe);
                }
            }
            Phase::Resetting { until } if *until <= now => {
                self.abandon_forming("the dongle does not come back from its reset");
                self.set_state(State::Down("the dongle does not come back from its reset".into()));
                self.broken(now);
            }
            Phase::Refused { until } if *until <= now => self.start_over(now),
            Phase::Broken { until } if *until <= now => {
                *until = now.saturating_add(MAX_REOPEN_MS);
                self.reopen = true;
            }
            _ => {}
        }
    }

    /// What to say to those who want something while the network does not run.
    pub(super) fn down(&self) -> Option<Failure> {
        (!self.is_up()).then_some(Failure::Down)
    }
}

pub(super) fn permit(dst: NwkAddr, seconds: u8) -> Request {
    Request::PermitJoiningReq { dst, seconds, tc_significance: 1 }
}

pub(super) fn identity() -> Vec<(Request, bool)> {
    [
        Request::GetLocalIeee { interface: 0 },
        Request::GetExtendedPanId {},
        Request::GetPanId {},
        Request::GetChannel {},
    ]
    .map(|request| (request, true))
    .into()
}

/// Nobody joins without an install code, and nobody stays without a link key of its own.
pub(super) fn policies() -> Vec<(Request, bool)> {
    [
        (policy::UNIQUE_LINK_KEY, 1, true),
        (policy::INSTALL_CODE, 1, true),
        (policy::INSECURE_JOIN, 0, true),
        (policy::TC_REJOIN, 1, false),
        (policy::IGNORE_TC_REJOIN, 0, false),
        (policy::NO_CHANNEL_UPDATE, 0, false),
    ]
    .map(|(policy, value, must)| (Request::SetTcPolicy { policy, value }, must))
    .into()
}
