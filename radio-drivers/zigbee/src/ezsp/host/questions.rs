//! Questions to devices: one at a time, since each is air time that commands wait for.

use std::collections::VecDeque;

use cardea_radio::Millis;

use super::{DEVICE_MS, Host, Purpose};
use crate::coordinator::{Answer, Event, Failure, Question};
use crate::ezsp::zdo;
use crate::types::{Eui64, NwkAddr};

/// Questions that may wait.
const MAX_QUESTIONS: usize = 32;
/// Milliseconds between two questions for neighbours.
const NEIGHBOURS_MS: Millis = 2_000;

#[derive(Debug)]
struct Asked {
    handle: u64,
    eui: Eui64,
    question: Question,
}

/// The question that is on the air.
#[derive(Debug)]
struct Current {
    handle: u64,
    of: NwkAddr,
    sequence: u8,
    cluster: u16,
    until: Millis,
}

#[derive(Debug, Default)]
pub(super) struct Questions {
    /// The first waits for its device's address.
    queue: VecDeque<Asked>,
    current: Option<Current>,
    neighbours_at: Millis,
}

impl Questions {
    pub(super) fn poll_timeout(&self) -> Option<Millis> {
        if let Some(current) = &self.current {
            return Some(current.until);
        }
        let first = self.queue.front()?;
        (matches!(first.question, Question::Neighbours { .. }) && self.neighbours_at > 0)
            .then_some(self.neighbours_at)
    }
}

impl Host {
    pub(super) fn ask(&mut self, handle: u64, eui: Eui64, question: Question) {
        let failure = if self.questions.queue.len() >= MAX_QUESTIONS {
            Some(Failure::Busy)
        } else if self.is_up() && eui == self.own() && question == Question::Leave {
            // It would.
            Some(Failure::Refused("the coordinator does not leave its own network".into()))
        } else {
            self.down()
        };
        match failure {
            Some(failure) => self.event(Event::Answer { handle, answer: Err(failure) }),
            None => self.questions.queue.push_back(Asked { handle, eui, question }),
        }
    }

    pub(super) fn questions_progress(&mut self, now: Millis) {
        while self.is_up() && self.questions.current.is_none() {
            let Some(first) = self.questions.queue.front() else { return };
            let (handle, eui) = (first.handle, first.eui);
            let neighbours = matches!(first.question, Question::Neighbours { .. });
            if neighbours && now < self.questions.neighbours_at {
                return;
            }
            self.questions.neighbours_at = 0;
            // The dongle's own stack answers what is sent to itself.
            let own = (eui == self.own()).then_some(NwkAddr::COORDINATOR);
            let nwk = match own.map_or_else(|| self.seek(eui), |nwk| Ok(Some(nwk))) {
                Ok(Some(nwk)) => nwk,
                Ok(None) => return,
                Err(failure) => {
                    self.questions.queue.pop_front();
                    self.event(Event::Answer { handle, answer: Err(failure) });
                    continue;
                }
            };
            let Some(Asked { question, .. }) = self.questions.queue.pop_front() else { return };
            if neighbours {
                self.questions.neighbours_at = now.saturating_add(NEIGHBOURS_MS);
            }
            let sequence = self.zdo_sequence();
            let (cluster, asdu) = zdo::question(sequence, &question, eui, nwk, self.own());
            if self.zdo_unicast(nwk, cluster, &asdu, Purpose::Ask) {
                let until = now.saturating_add(DEVICE_MS);
                self.questions.current = Some(Current { handle, of: nwk, sequence, cluster, until });
            } else {
                self.event(Event::Answer { handle, answer: Err(Failure::Busy) });
            }
        }
    }

    /// A device answered; only the one that was asked is believed.
    pub(super) fn told(&mut self, sender: NwkAddr, sequence: u8, cluster: u16, answer: Result<Answer, u8>) {
        let ours = |current: &mut Current| {
            (current.of, current.sequence, current.cluster) == (sender, sequence, cluster)
        };
        let Some(current) = self.questions.current.take_if(ours) else { return };
        let answer = answer.map_err(|status| Failure::Refused(format!("ZDO status {status:#04x}")));
        self.event(Event::Answer { handle: current.handle, answer });
    }

    /// The NCP did not take the question.
    pub(super) fn asked_in_vain(&mut self, why: String) {
        if let Some(current) = self.questions.current.take() {
            self.event(Event::Answer { handle: current.handle, answer: Err(Failure::Refused(why)) });
        }
    }

    pub(super) fn questions_timeout(&mut self, now: Millis) {
        if let Some(current) = self.questions.current.take_if(|current| current.until <= now) {
            self.event(Event::Answer { handle: current.handle, answer: Err(Failure::NoAnswer) });
        }
    }

    pub(super) fn question_unreachable(&mut self, eui: Eui64) {
        let (lost, others) = std::mem::take(&mut self.questions.queue)
            .into_iter()
            .partition::<VecDeque<_>, _>(|asked| asked.eui == eui);
        self.questions.queue = others;
        for asked in lost {
            self.event(Event::Answer { handle: asked.handle, answer: Err(Failure::NoAddress) });
        }
    }

    /// The NCP restarted: who waits is told.
    pub(super) fn questions_interrupted(&mut self) {
        let current = self.questions.current.take().map(|current| current.handle);
        let waiting = std::mem::take(&mut self.questions.queue).into_iter().map(|asked| asked.handle);
        for handle in current.into_iter().chain(waiting) {
            self.event(Event::Answer { handle, answer: Err(Failure::Down) });
        }
    }
}
