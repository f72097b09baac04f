//! What the drivers' watchdogs have in common: a chip that lost its mind, its registers or its hearing looks like a quiet channel
//! otherwise.

use crate::{Micros, Problem};

/// Between two looks at a chip that says nothing.
pub const WATCH_US: Micros = 1_000_000;
/// Of the last 32 looks, how many must have met a carrier for a jammed channel: 28 s of 32.
const JAMMED: u32 = 28;
/// At how many it is free again.
const FREE: u32 = 16;

/// When the next look is due, and what the last ones saw.
pub(crate) struct Watch {
    due: Micros,
    /// Last order to tune.
    tuned: Micros,
    /// Last frame, or last reset for want of one.
    heard: Micros,
    silence: Micros,
    /// One bit a look, 1 with a carrier.
    carriers: u32,
    jammed: bool,
    silent: bool,
}

impl Watch {
    pub(crate) fn new(now: Micros, silence: Micros) -> Self {
        let due = now + WATCH_US;
        Self { due, tuned: now, heard: now, silence, carriers: 0, jammed: false, silent: false }
    }

    pub(crate) fn due(&self) -> Micros {
        self.due
    }

    /// True if a look is due, which puts the next one off.
    pub(crate) fn is_due(&mut self, now: Micros) -> bool {
        let due = now >= self.due;
        if due {
            self.due = now + WATCH_US;
        }
        due
    }

    pub(crate) fn tuning(&mut self, now: Micros) {
        self.tuned = now;
    }

    pub(crate) fn tuned_by(&self, within: Micros) -> Micros {
        self.tuned.saturating_add(within)
    }

    pub(crate) fn heard(&mut self, now: Micros) {
        (self.heard, self.silent) = (now, false);
    }

    /// A look met a carrier, or none.
    pub(crate) fn carrier(&mut self, carrier: bool) {
        self.carriers = self.carriers << 1 | u32::from(carrier);
        let busy = self.carriers.count_ones();
        self.jammed = busy >= if self.jammed { FREE + 1 } else { JAMMED };
    }

    /// True if nothing was heard for too long, once for each such time: it is to be reset.
    pub(crate) fn is_deaf(&mut self, now: Micros) -> bool {
        let deaf = now.saturating_sub(self.heard) >= self.silence;
        if deaf {
            (self.heard, self.silent) = (now, true);
        }
        deaf
    }

    /// What is wrong with a chip that works.
    pub(crate) fn problem(&self) -> Option<Problem> {
        if self.jammed { Some(Problem::Jammed) } else { self.silent.then_some(Problem::Silent) }
    }
}
