//! Questions to devices: one at a time, since each is air time that commands wait for.

use std::collections::VecDeque;

use cardea_radio::Millis;

use super::{ANSWER_MS, DEVICE_MS, Host, Purpose, refusal};
use crate::coordinator::{Answer, Event, Failure, Question};
use crate::types::{Eui64, NwkAddr};
use crate::zboss::call::{Request, Response};
use crate::zboss::hl::Status;

/// Questions that may wait.
const MAX_QUESTIONS: usize = 32;
/// Milliseconds between two questions for neighbours.
const NEIGHBOURS_MS: Millis = 2_000;

/// A question, asked or waiting.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) handle: u64,
    eui: Eui64,
    question: Question,
    /// The NCP was asked for the device's address first.
    resolving: bool,
}

#[derive(Debug, Default)]
pub(super) struct Questions {
    queue: VecDeque<Asked>,
    busy: bool,
    neighbours_at: Millis,
}

impl Questions {
    pub(super) fn poll_timeout(&self) -> Option<Millis> {
        let first = self.queue.front().filter(|_| !self.busy)?;
        matches!(first.question, Question::Neighbours { .. }).then_some(self.neighbours_at)
    }
}

impl Host {
    pub(super) fn ask(&mut self, handle: u64, eui: Eui64, question: Question) {
        if self.questions.queue.len() >= MAX_QUESTIONS {
            return self.event(Event::Answer { handle, answer: Err(Failure::Busy) });
        }
        if let Some(failure) = self.down() {
            return self.event(Event::Answer { handle, answer: Err(failure) });
        }
        self.questions.queue.push_back(Asked { handle, eui, question, resolving: false });
    }

    pub(super) fn questions_progress(&mut self, now: Millis) {
        if self.questions.busy || !self.is_up() {
            return;
        }
        let Some(first) = self.questions.queue.front() else { return };
        if matches!(first.question, Question::Neighbours { .. }) {
            if now < self.questions.neighbours_at {
                return;
            }
            self.questions.neighbours_at = now.saturating_add(NEIGHBOURS_MS);
        }
        if let Some(asked) = self.questions.queue.pop_front() {
            self.put(now, asked);
        }
    }

    fn put(&mut self, now: Millis, mut asked: Asked) {
        let nwk =
            if asked.eui == self.own() { Some(NwkAddr::COORDINATOR) } else { self.addresses.nwk(asked.eui) };
        asked.resolving = nwk.is_none();
        let (request, wait) = match nwk {
            Some(nwk) => (self.question(nwk, &asked), DEVICE_MS),
            None => (Request::NwkGetShortByIeee { eui: asked.eui }, ANSWER_MS),
        };
        let handle = asked.handle;
        self.questions.busy = true;
        if !self.request(now, &request, wait, Purpose::Ask(asked)) {
            self.answer(handle, Err(Failure::Busy));
        }
    }

    fn own(&self) -> Eui64 {
        self.expected.map_or(Eui64([0; 8]), |network| network.coordinator)
    }

    fn question(&self, nwk: NwkAddr, asked: &Asked) -> Request {
        match asked.question {
            Question::Node => Request::NodeDescReq { nwk },
            Question::Endpoints => Request::ActiveEpReq { nwk },
            Question::Endpoint(endpoint) => Request::SimpleDescReq { nwk, endpoint },
            Question::Bind { endpoint, cluster, to_endpoint } => Request::BindReq {
                target: nwk,
                src: asked.eui,
                src_endpoint: endpoint,
                cluster,
                mode: 3,
                dst: self.own(),
                dst_endpoint: to_endpoint,
            },
            Question::Leave => Request::MgmtLeaveReq { dst: nwk, eui: asked.eui, flags: 0 },
            Question::Neighbours { start } => Request::MgmtLqiReq { dst: nwk, start },
        }
    }

    pub(super) fn told(
        &mut self,
        now: Millis,
        call: u16,
        asked: Asked,
        answer: Result<Response, Option<Status>>,
    ) {
        let answer = match answer {
            Ok(Response::NwkGetShortByIeee { nwk }) if asked.resolving && nwk.is_unicast() => {
                self.addresses.learn(asked.eui, nwk);
                if self.addresses.nwk(asked.eui).is_some() {
                    return self.put(now, asked);
                }
                Err(Failure::NoAddress)
            }
            _ if asked.resolving => Err(Failure::NoAddress),
            Ok(Response::NodeDescReq { descriptor, .. }) => Ok(Answer::Node(descriptor)),
            Ok(Response::ActiveEpReq { endpoints, .. }) => Ok(Answer::Endpoints(endpoints.0)),
            Ok(Response::SimpleDescReq { descriptor, .. }) => Ok(Answer::Endpoint(descriptor)),
            Ok(Response::BindReq {} | Response::MgmtLeaveReq {}) => Ok(Answer::Done),
            Ok(Response::MgmtLqiReq { total, neighbours, .. }) => {
                Ok(Answer::Neighbours { total, list: neighbours.0 })
            }
            Ok(_) => Err(Failure::Unknown),
            Err(status) => Err(Failure::Refused(refusal(call, status))),
        };
        self.answer(asked.handle, answer);
    }

    pub(super) fn answer(&mut self, handle: u64, answer: Result<Answer, Failure>) {
        self.questions.busy = false;
        self.event(Event::Answer { handle, answer });
    }

    /// The NCP restarted: who waits is told.
    pub(super) fn questions_interrupted(&mut self) {
        for asked in std::mem::take(&mut self.questions.queue) {
            self.answer(asked.handle, Err(Failure::Down));
        }
        self.questions.busy = false;
    }
}
