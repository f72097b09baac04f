//! What an ordinary lock is asked, in which order, and when again.

use cardea_radio::Millis;

use super::{Action, Lock, PROFILE, Phase, Purpose, QUESTION_MS};
use crate::coordinator::{Answer, Failure, Question};
use crate::driver::ENDPOINT;
use crate::zcl::{DataType, Frame, Global, Header, Reporting, Scope, Value, basic, door_lock, id, power};

/// Endpoints of a device that are looked at.
const MAX_ENDPOINTS: usize = 16;
/// Between two tries of a question: the first wait, and the longest, milliseconds.
const RETRY_MS: Millis = 5_000;
const MAX_RETRY_MS: Millis = 600_000;
/// A coordinator answers each question about descriptors; one that has not by then has lost it, milliseconds.
const LOST_MS: Millis = 120_000;
/// Seconds between two reports of a battery, at least and at most.
const BATTERY_SECONDS: (u16, u16) = (3_600, 43_200);
/// How long the answer to a question is waited for, milliseconds.
const ANSWER_MS: Millis = 30_000;

/// What a lock is asked, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Node,
    Endpoints,
    Endpoint,
    Names,
    NoPins,
    BindBolt,
    BindBattery,
    BindAlarms,
    ReportBolt,
    ReportBattery,
    ReadBolt,
    ReadBattery,
}

impl Step {
    const ORDER: [Self; 12] = [
        Self::Node,
        Self::Endpoints,
        Self::Endpoint,
        Self::Names,
        Self::NoPins,
        Self::BindBolt,
        Self::BindBattery,
        Self::BindAlarms,
        Self::ReportBolt,
        Self::ReportBattery,
        Self::ReadBolt,
        Self::ReadBattery,
    ];

    pub(super) fn cluster(self) -> u16 {
        match self {
            Self::Names => id::BASIC,
            Self::BindBattery | Self::ReportBattery | Self::ReadBattery => id::POWER,
            Self::BindAlarms => id::ALARMS,
            _ => id::DOOR_LOCK,
        }
    }
}

impl Lock {
    pub(super) fn ask(&mut self, now: Millis, tries: u32) {
        let Some(step) = self.step else { return };
        let question = match (step, self.endpoint) {
            (Step::Node, _) => Some(Question::Node),
            (Step::Endpoints, _) => Some(Question::Endpoints),
            (Step::Endpoint, _) => match self.endpoints.last() {
                Some(endpoint) => Some(Question::Endpoint(*endpoint)),
                // No endpoint of it is a lock.
                None => {
                    self.step = Some(Step::Node);
                    return self.later(now, tries);
                }
            },
            (Step::BindBolt | Step::BindBattery | Step::BindAlarms, Some(endpoint)) => {
                Some(Question::Bind { endpoint, cluster: step.cluster(), to_endpoint: ENDPOINT })
            }
            _ => None,
        };
        if let Some(question) = question {
            self.phase = Phase::Asked { until: now.saturating_add(LOST_MS), sequence: None, tries };
            return self.act(Action::Ask(question));
        }
        let sequence = self.next_sequence();
        self.phase = Phase::Asked { until: now.saturating_add(ANSWER_MS), sequence: Some(sequence), tries };
        let global = self.global(step);
        let header = Header {
            scope: Scope::Global,
            manufacturer: None,
            from_server: false,
            no_default_response: false,
            sequence,
            command: global.command(),
        };
        let payload = Frame { header, payload: &global.encode() }.encode();
        if !self.send(
            now,
            now.saturating_add(QUESTION_MS),
            Purpose::Question(sequence),
            step.cluster(),
            payload,
        ) {
            self.later(now, tries);
        }
    }

    /// The global command of a step.
    fn global(&self, step: Step) -> Global {
        let number = |data_type, number| Value::number(data_type, number).ok();
        match step {
            Step::Names => Global::Read(vec![basic::MANUFACTURER_NAME, basic::MODEL]),
            Step::NoPins => Global::Write(
                number(DataType::BOOLEAN, 0)
                    .map(|off| (door_lock::SEND_PIN_OVER_THE_AIR, off))
                    .into_iter()
                    .collect(),
            ),
            Step::ReportBattery => Global::ConfigureReporting(vec![Reporting::Send {
                attribute: power::BATTERY_PERCENTAGE,
                data_type: DataType::UINT8,
                min_seconds: BATTERY_SECONDS.0,
                max_seconds: BATTERY_SECONDS.1,
                change: number(DataType::UINT8, 2),
            }]),
            Step::ReportBolt => Global::ConfigureReporting(vec![Reporting::Send {
                attribute: door_lock::LOCK_STATE,
                data_type: DataType::ENUM8,
                min_seconds: 0,
                max_seconds: self.report_seconds,
                change: None,
            }]),
            Step::ReadBattery => Global::Read(vec![power::BATTERY_PERCENTAGE]),
            _ => Global::Read(vec![door_lock::LOCK_STATE]),
        }
    }

    pub(super) fn later(&mut self, now: Millis, tries: u32) {
        let wait = RETRY_MS.saturating_mul(1 << tries.min(10)).min(MAX_RETRY_MS);
        self.phase = Phase::Waiting { at: now.saturating_add(wait), tries: tries.saturating_add(1) };
    }

    /// There was no room for the question.
    pub(in super::super) fn not_asked(&mut self, now: Millis) {
        if let Phase::Asked { tries, .. } = self.phase {
            self.later(now, tries);
        }
    }

    /// The step is done: the next one that there is for this lock.
    pub(super) fn advance(&mut self, now: Millis) {
        let place = Step::ORDER.iter().position(|step| Some(*step) == self.step);
        let rest = place.and_then(|place| Step::ORDER.get(place.saturating_add(1)..)).unwrap_or_default();
        let next = rest.iter().find(|step| match step.cluster() {
            id::POWER => self.has_battery,
            id::ALARMS => self.has_alarms,
            _ => true,
        });
        (self.step, self.phase) = (next.copied(), Phase::Idle);
        match self.step {
            Some(_) => self.ask(now, 0),
            None => {
                self.read_at = now.saturating_add(self.report_ms());
                if !std::mem::replace(&mut self.ready, true) {
                    self.act(Action::Changed);
                }
            }
        }
    }

    /// What a device or the coordinator answered about descriptors and bindings.
    pub(in super::super) fn answered(&mut self, now: Millis, answer: Result<Answer, Failure>) {
        let Phase::Asked { sequence: None, tries, .. } = self.phase else { return };
        match (self.step, answer) {
            (Some(Step::Node), Ok(Answer::Node(node))) => {
                self.sleepy = Some(node.is_sleepy());
                self.advance(now);
            }
            (Some(Step::Endpoints), Ok(Answer::Endpoints(mut all))) => {
                all.retain(|endpoint| (1..=240).contains(endpoint));
                all.truncate(MAX_ENDPOINTS);
                all.reverse();
                self.endpoints = all;
                self.advance(now);
            }
            (Some(Step::Endpoint), Ok(Answer::Endpoint(found))) => {
                let asked = self.endpoints.pop();
                let has = |cluster| found.clusters.servers.contains(&cluster);
                if found.profile == PROFILE && has(id::DOOR_LOCK) {
                    self.endpoint = asked;
                    (self.has_battery, self.has_alarms) = (has(id::POWER), has(id::ALARMS));
                    self.advance(now);
                } else {
                    self.ask(now, tries);
                }
            }
            // Bound, or it does not want to: then it is read.
            (
                Some(Step::BindBolt | Step::BindBattery | Step::BindAlarms),
                Ok(Answer::Done) | Err(Failure::Refused(_)),
            ) => {
                self.advance(now);
            }
            _ => self.later(now, tries),
        }
    }
}
