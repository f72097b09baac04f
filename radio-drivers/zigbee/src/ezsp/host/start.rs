//! From an open port to a network that runs, and back there after every fault.

use std::collections::VecDeque;

use cardea_radio::Millis;

use super::forming::{Forming, Goal, formation, restoration};
use super::heard::well;
use super::{Host, Purpose};
use crate::coordinator::{Network, State};
use crate::ezsp::call::{Answer, Command, NetworkParameters, Protocol, Status, config, policy};
use crate::ezsp::link::RESET_MS;
use crate::types::Eui64;

/// Resets that may stay unanswered before the port is opened again: 16 s, its USB may have to come back.
const MAX_RESETS: u32 = 5;
/// Wait for the network to run, or to stop.
const STACK_MS: Millis = 15_000;
/// Before a dongle that refuses what it must do is asked again.
const REFUSED_MS: Millis = 60_000;
/// Longest wait before the port is opened again.
const MAX_REOPEN_MS: Millis = 30_000;
/// 2^8 minutes without a sign of life: what end devices expect of a parent by default.
const END_DEVICE_TIMEOUT: u16 = 8;
/// Link keys that the NCP is asked to make room for.
const KEY_TABLE: u16 = 127;

#[derive(Debug)]
pub(super) enum Phase {
    /// No port.
    Closed,
    /// Waits for the answer to a reset.
    Resetting {
        until: Millis,
        tries: u32,
    },
    /// Asked which protocol it speaks.
    Hello,
    Script(Script),
    /// It remembers no network.
    Unformed,
    /// It remembers another one.
    Foreign(Network),
    Up,
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
            Self::Resetting { until, .. } | Self::Refused { until } | Self::Broken { until } => Some(*until),
            Self::Script(script) => script.awaits.map(|(_, _, until)| until),
            Self::Closed | Self::Hello | Self::Unformed | Self::Foreign(_) | Self::Up => None,
        }
    }
}

/// Commands one after the other; each waits for the answer of the one before.
#[derive(Debug)]
pub(super) struct Script {
    steps: VecDeque<Step>,
    /// What the stack must say before the next step, whether it must, and until when.
    awaits: Option<(Status, bool, Millis)>,
    then: Then,
}

#[derive(Debug)]
pub(super) enum Step {
    /// A command, and whether it must succeed.
    Tell(Command, bool),
    /// What the stack says once the command before has had its effect, and whether it must.
    Await(Status, bool),
}

/// What follows a script.
#[derive(Debug, Clone, Copy)]
pub(super) enum Then {
    /// It was configured, and resumes what it remembers, if anything.
    Started,
    /// Compare with what is expected.
    Compare,
    /// It forgot its network: reset, so that it counts.
    Erased,
    /// The network was formed: who are we?
    Formed,
    /// The network was restored: is it that one?
    Restored,
    /// The network runs and is closed.
    Up,
}

/// What the NCP said of itself since its last reset.
#[derive(Debug, Default)]
pub(super) struct Found {
    joined: bool,
    coordinator: Option<Eui64>,
    parameters: Option<NetworkParameters>,
    /// Outgoing frame counter of the network key.
    pub(super) frame_counter: Option<u32>,
    /// What the stack said last.
    stack: Option<Status>,
}

impl Found {
    pub(super) fn network(&self) -> Option<Network> {
        let NetworkParameters { extended_pan, pan, channel, .. } = self.parameters.clone()?;
        Some(Network { coordinator: self.coordinator?, extended_pan, pan, channel })
    }
}

impl Host {
    pub(super) fn reset(&mut self, now: Millis) {
        self.forget_requests();
        self.link.reset();
        self.set_state(State::Starting);
        self.phase = Phase::Resetting { until: now.saturating_add(RESET_MS), tries: 1 };
    }

    /// It has started, asked to or by itself: its numbers begin anew, and what it was told is forgotten.
    pub(super) fn restarted(&mut self, code: u8) {
        if matches!(self.phase, Phase::Closed | Phase::Broken { .. }) {
            return;
        }
        if !matches!(self.phase, Phase::Resetting { .. } | Phase::Hello) {
            tracing::warn!(code, "the Zigbee dongle restarted");
            self.abandon_forming("the dongle restarted");
        }
        self.forget_requests();
        self.set_state(State::Starting);
        self.found = Found::default();
        self.phase = Phase::Hello;
        self.tell(Command::Version { wanted: Protocol::OLDEST.0 }, Purpose::Hello);
    }

    pub(super) fn greeted(&mut self, now: Millis, protocol: Protocol) {
        if !(Protocol::OLDEST..=Protocol::NEWEST).contains(&protocol) {
            let why = format!("its firmware speaks EZSP {}, we speak 13 to 19", protocol.0);
            return self.refused(now, &why);
        }
        self.protocol = protocol;
        let mut steps = vec![Step::Tell(Command::Version { wanted: protocol.0 }, true)];
        steps.extend(self.configuration());
        steps.push(Step::Tell(Command::NetworkInit { options: 0 }, true));
        steps.push(Step::Await(Status::NETWORK_UP, true));
        self.run(now, steps, Then::Started);
    }

    /// Sizes first, the buffers last, since they take what memory is left; then who may join: nobody.
    fn configuration(&self) -> Vec<Step> {
        let sizes = [
            (config::STACK_PROFILE, 2, true),
            (config::SECURITY_LEVEL, 5, true),
            (config::INDIRECT_TIMEOUT, 7_680, false),
            (config::MAX_CHILDREN, self.config.max_children.into(), false),
            (config::CHILD_TIMEOUT, END_DEVICE_TIMEOUT, false),
            (config::KEY_TABLE, KEY_TABLE, false),
            (config::FRAGMENT_WINDOW, 1, false),
            (config::TRANSIENT_KEY_TIMEOUT, 300, false),
            (config::PACKET_BUFFERS, 0xFF, false),
        ];
        let sizes =
            sizes.map(|(id, value, must)| Step::Tell(Command::SetConfigurationValue { id, value }, must));
        let policies = [
            (policy::TRUST_CENTRE, policy::REJOINS),
            (policy::LINK_KEY, policy::NEW_KEY),
            (policy::APPLICATION_KEY, policy::DENY),
            (policy::MESSAGE_SENT, policy::TAG_ONLY),
        ];
        let policies =
            policies.map(|(policy, decision)| Step::Tell(Command::SetPolicy { policy, decision }, true));
        let ours = [
            Step::Tell(Command::SetManufacturerCode { code: self.config.manufacturer }, false),
            Step::Tell(Command::AddEndpoint { descriptor: self.config.endpoint.clone() }, true),
        ];
        sizes.into_iter().chain(policies).chain(ours).collect()
    }

    pub(super) fn run(&mut self, now: Millis, steps: Vec<Step>, then: Then) {
        self.phase = Phase::Script(Script { steps: steps.into(), awaits: None, then });
        self.next_step(now);
    }

    fn next_step(&mut self, now: Millis) {
        let Phase::Script(script) = &mut self.phase else { return };
        script.awaits = None;
        match script.steps.pop_front() {
            None => {
                let then = script.then;
                self.finished(now, then);
            }
            Some(Step::Await(status, _)) if self.found.stack == Some(status) => self.next_step(now),
            Some(Step::Await(status, must)) => {
                script.awaits = Some((status, must, now.saturating_add(STACK_MS)));
            }
            Some(Step::Tell(command, must)) => {
                if matches!(script.steps.front(), Some(Step::Await(..))) {
                    self.found.stack = None;
                }
                self.tell(command, Purpose::Script(must));
            }
        }
    }

    pub(super) fn step(&mut self, now: Millis, id: u16, must: bool, answer: Result<Answer, String>) {
        let Phase::Script(script) = &mut self.phase else { return };
        match well(id, answer) {
            Err((Some(Status::NOT_JOINED), _)) if id == NETWORK_INIT => script.steps.clear(),
            Err((_, why)) if must => return self.refused(now, &why),
            Err((_, why)) => {
                tracing::debug!(why, "the Zigbee dongle refuses");
                // What it does not begin has no effect to wait for.
                if matches!(script.steps.front(), Some(Step::Await(..))) {
                    script.steps.pop_front();
                }
            }
            Ok(Answer::Version { protocol, stack_version, .. }) => {
                if Protocol(protocol) != self.protocol {
                    return self.refused(now, "it changes its protocol");
                }
                tracing::info!(protocol, stack = format!("{stack_version:04x}"), "Zigbee dongle");
            }
            Ok(Answer::NetworkInit { .. }) => self.found.joined = true,
            Ok(Answer::GetEui64 { eui }) => self.found.coordinator = Some(eui),
            Ok(Answer::GetNetworkParameters { parameters, .. }) => self.found.parameters = Some(parameters),
            Ok(Answer::GetNetworkKeyInfo { info, .. }) => self.found.frame_counter = Some(info.frame_counter),
            Ok(_) => {}
        }
        self.next_step(now);
    }

    pub(super) fn stack_status(&mut self, now: Millis, status: Status) {
        self.found.stack = Some(status);
        match &self.phase {
            Phase::Script(Script { awaits: Some((awaited, ..)), .. }) if *awaited == status => {
                self.next_step(now)
            }
            Phase::Up if status == Status::NETWORK_DOWN => self.recover(now, "the dongle lost its network"),
            _ => {}
        }
    }

    fn finished(&mut self, now: Millis, then: Then) {
        match then {
            Then::Started if self.found.joined => {
                self.abandon_forming("the dongle still remembers a network after its reset");
                self.run(now, identity(), Then::Compare);
            }
            Then::Started => match &self.forming {
                Some(Forming { goal: Goal::New(plan), .. }) => {
                    let steps = formation(plan);
                    self.run(now, steps, Then::Formed);
                }
                Some(Forming { goal: Goal::Restored(backup), .. }) => {
                    let steps = restoration(backup);
                    self.run(now, steps, Then::Restored);
                }
                None => {
                    self.phase = Phase::Unformed;
                    self.failures = 0;
                    self.set_state(State::Unformed);
                }
            },
            Then::Compare => match (self.found.network(), self.expected) {
                (Some(found), Some(expected)) if found.is(&expected) => self.close(now),
                (Some(found), _) => self.foreign(found),
                (None, _) => self.recover(now, "the dongle does not say which network it is in"),
            },
            Then::Erased => {
                self.link.reset();
                self.phase = Phase::Resetting { until: now.saturating_add(RESET_MS), tries: 1 };
            }
            Then::Formed => match self.found.network() {
                Some(network) => self.formed(now, network),
                None => self.recover(now, "the dongle does not say which network it formed"),
            },
            Then::Restored => self.restored(now),
            Then::Up => {
                self.failures = 0;
                self.phase = Phase::Up;
                if let Some(network) = self.found.network() {
                    self.set_state(State::Up(network));
                }
            }
        }
    }

    pub(super) fn foreign(&mut self, network: Network) {
        self.phase = Phase::Foreign(network);
        self.failures = 0;
        self.set_state(State::Foreign(network));
    }

    /// Whatever was open before the restart.
    pub(super) fn close(&mut self, now: Millis) {
        self.run(now, vec![Step::Tell(Command::PermitJoining { seconds: 0 }, true)], Then::Up);
    }

    /// It does not answer: reset, and if that does not help, open the port again.
    pub(super) fn recover(&mut self, now: Millis, why: &str) {
        tracing::warn!(why, "the Zigbee dongle is reset");
        self.abandon_forming(why);
        self.set_state(State::Down(why.into()));
        if matches!(self.phase, Phase::Resetting { .. } | Phase::Hello) || self.failures > 0 {
            return self.broken(now);
        }
        self.failures = 1;
        self.reset(now);
    }

    fn broken(&mut self, now: Millis) {
        self.failures = self.failures.saturating_add(1);
        let wait = 1_000u64.saturating_mul(1 << self.failures.min(6).saturating_sub(1)).min(MAX_REOPEN_MS);
        self.forget_requests();
        self.phase = Phase::Broken { until: now.saturating_add(wait) };
    }

    fn refused(&mut self, now: Millis, why: &str) {
        self.abandon_forming(why);
        self.forget_requests();
        self.set_state(State::Down(format!("the dongle refuses what it must do: {why}")));
        self.phase = Phase::Refused { until: now.saturating_add(REFUSED_MS) };
    }

    pub(super) fn phase_timeout(&mut self, now: Millis) {
        match &mut self.phase {
            Phase::Resetting { until, tries } if *until <= now && *tries < MAX_RESETS => {
                (*until, *tries) = (now.saturating_add(RESET_MS), tries.saturating_add(1));
                self.link.reset();
            }
            Phase::Resetting { until, .. } if *until <= now => {
                self.recover(now, "the dongle does not come back from its reset");
            }
            Phase::Script(Script { awaits: Some((_, must, until)), .. }) if *until <= now => {
                if *must {
                    self.recover(now, "the dongle's network does not start");
                } else {
                    self.next_step(now);
                }
            }
            Phase::Refused { until } if *until <= now => self.reset(now),
            Phase::Broken { until } if *until <= now => {
                *until = now.saturating_add(MAX_REOPEN_MS);
                self.reopen = true;
            }
            _ => {}
        }
    }
}

/// The command whose refusal tells that there is no network.
const NETWORK_INIT: u16 = 0x0017;

pub(super) fn identity() -> Vec<Step> {
    [Command::GetEui64 {}, Command::GetNetworkParameters {}].map(|command| Step::Tell(command, true)).into()
}
