//! The watchdog: a chip that lost its mind, its registers or its hearing looks like a quiet channel otherwise.

use embedded_hal::spi::SpiDevice;

use super::driver::{Cc1101, Phase};
use super::registers::Status;
use crate::{Micros, Problem};

/// Between two looks at a chip that says nothing.
pub const WATCH_US: Micros = 1_000_000;
/// The longest without calibration: temperature moves the oscillator.
pub const RECALIBRATE_US: Micros = 60_000_000;
/// Of the last 32 looks, how many must have met a carrier for a jammed channel: 28 s of 32.
const JAMMED: u32 = 28;
/// At how many it is free again.
const FREE: u32 = 16;
/// PKTSTATUS: a carrier is sensed.
const CARRIER: u8 = 0x40;

pub(super) struct Watch {
    due: Micros,
    /// Last order to calibrate.
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
    pub(super) fn new(now: Micros, silence: Micros) -> Self {
        let due = now + WATCH_US;
        Self { due, tuned: now, heard: now, silence, carriers: 0, jammed: false, silent: false }
    }

    pub(super) fn due(&self) -> Micros {
        self.due
    }

    pub(super) fn tuning(&mut self, now: Micros) {
        self.tuned = now;
    }

    pub(super) fn tuned_by(&self, within: Micros) -> Micros {
        self.tuned.saturating_add(within)
    }

    pub(super) fn heard(&mut self, now: Micros) {
        (self.heard, self.silent) = (now, false);
    }

    /// What is wrong with a chip that works.
    pub(super) fn problem(&self) -> Option<Problem> {
        if self.jammed { Some(Problem::Jammed) } else { self.silent.then_some(Problem::Silent) }
    }
}

impl<S: SpiDevice> Cc1101<S> {
    pub(super) fn watch(&mut self, now: Micros) {
        if now < self.watch.due {
            return;
        }
        self.watch.due = now + WATCH_US;
        // All other phases end by their own deadlines.
        if self.phase == Phase::Listening
            && let Err(problem) = self.examine(now)
        {
            self.trouble(now, problem);
        }
    }

    fn examine(&mut self, now: Micros) -> Result<(), Problem> {
        if self.health.version != Some(self.chip.steady(Status::Version)?) {
            return Err(Problem::NoChip);
        }
        if !self.chip.holds(&self.expected, self.config.power.patable())? {
            return Err(Problem::Registers);
        }
        self.look_in(now)?;
        if self.phase != Phase::Listening || self.packet_since.is_some() {
            return Ok(());
        }
        let carrier = self.chip.status(Status::PktStatus)? & CARRIER != 0;
        self.watch.carriers = self.watch.carriers << 1 | u32::from(carrier);
        let busy = self.watch.carriers.count_ones();
        self.watch.jammed = busy >= if self.watch.jammed { FREE + 1 } else { JAMMED };
        if now.saturating_sub(self.watch.heard) >= self.watch.silence {
            (self.watch.heard, self.watch.silent) = (now, true);
            self.say(false, Some(Problem::Silent));
            self.reset(now);
            return Ok(());
        }
        self.say(true, None);
        if now.saturating_sub(self.watch.tuned) >= RECALIBRATE_US {
            return self.start_over(now);
        }
        Ok(())
    }
}
