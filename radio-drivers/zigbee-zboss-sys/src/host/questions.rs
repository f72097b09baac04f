//! Questions to devices: one at a time, since each is air time that commands wait for.

use std::collections::VecDeque;

use cardea_radio::Millis;
use cardea_zigbee::coordinator::{Answer, Event, Failure, Question};
use cardea_zigbee::{Eui64, NwkAddr};

use super::{Host, Stack};

/// Questions that may wait.
const MAX_QUESTIONS: usize = 32;
/// Wait for an answer that a device gives over the air; its parent may have to keep the question first.
const ANSWER_MS: Millis = 20_000;
/// Milliseconds between two questions for neighbours.
const NEIGHBOURS_MS: Millis = 2_000;

struct Waiting {
    handle: u64,
    eui: Eui64,
    question: Question,
}

struct Asked {
    handle: u64,
    tsn: u8,
    until: Millis,
}

#[derive(Default)]
pub(super) struct Questions {
    queue: VecDeque<Waiting>,
    asked: Option<Asked>,
    neighbours_at: Millis,
}

impl<S: Stack> Host<S> {
    pub(super) fn ask(&mut self, handle: u64, eui: Eui64, question: Question) {
        let busy = (self.questions.queue.len() >= MAX_QUESTIONS).then_some(Failure::Busy);
        match busy.or(self.down()) {
            Some(failure) => self.answer(handle, Err(failure)),
            None => self.questions.queue.push_back(Waiting { handle, eui, question }),
        }
    }

    pub(super) fn questions_progress(&mut self, now: Millis) {
        while self.questions.asked.is_none() {
            let Some(first) = self.questions.queue.front() else { return };
            let neighbours = matches!(first.question, Question::Neighbours { .. });
            if neighbours && now < self.questions.neighbours_at {
                return;
            }
            let ours = self.expected.is_some_and(|network| network.coordinator == first.eui);
            let nwk = if ours { Some(NwkAddr::COORDINATOR) } else { self.stack.nwk(first.eui) };
            let tsn = match nwk {
                // Full tables empty themselves: again at the next tick.
                Some(nwk) => match self.stack.ask(nwk, first.eui, &first.question) {
                    Some(tsn) => Some(tsn),
                    None => return,
                },
                None => None,
            };
            let Some(Waiting { handle, .. }) = self.questions.queue.pop_front() else { return };
            match tsn {
                Some(tsn) => {
                    self.questions.asked = Some(Asked { handle, tsn, until: now.saturating_add(ANSWER_MS) });
                    if neighbours {
                        self.questions.neighbours_at = now.saturating_add(NEIGHBOURS_MS);
                    }
                }
                None => self.answer(handle, Err(Failure::NoAddress)),
            }
        }
    }

    pub(super) fn answered(&mut self, tsn: u8, answer: Result<Answer, u8>) {
        if let Some(asked) = self.questions.asked.take_if(|asked| asked.tsn == tsn) {
            let answer = answer.map_err(|status| match status {
                // Both are of the library, not of the device.
                0x85 | 0xFF => Failure::NoAnswer,
                status => Failure::Refused(format!("ZDP status {status:#04x}")),
            });
            self.answer(asked.handle, answer);
        }
    }

    pub(super) fn questions_timeout(&mut self, now: Millis) {
        if let Some(asked) = self.questions.asked.take_if(|asked| asked.until <= now) {
            self.answer(asked.handle, Err(Failure::NoAnswer));
        }
    }

    pub(super) fn questions_interrupted(&mut self) {
        let asked = self.questions.asked.take().map(|asked| asked.handle);
        let waiting = std::mem::take(&mut self.questions.queue);
        for handle in asked.into_iter().chain(waiting.into_iter().map(|waiting| waiting.handle)) {
            self.answer(handle, Err(Failure::Down));
        }
    }

    fn answer(&mut self, handle: u64, answer: Result<Answer, Failure>) {
        self.event(Event::Answer { handle, answer });
    }
}
