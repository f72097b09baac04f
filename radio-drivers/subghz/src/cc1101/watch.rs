//! The watchdog: a chip that lost its mind, its registers or its hearing looks like a quiet channel otherwise.

use embedded_hal::spi::SpiDevice;

use super::driver::{Cc1101, Phase};
use super::registers::Status;
use crate::{Micros, Problem};

/// The longest without calibration: temperature moves the oscillator.
pub const RECALIBRATE_US: Micros = 60_000_000;
/// PKTSTATUS: a carrier is sensed.
const CARRIER: u8 = 0x40;

impl<S: SpiDevice> Cc1101<S> {
    pub(super) fn watch(&mut self, now: Micros) {
        if !self.watch.is_due(now) {
            return;
        }
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
        self.watch.carrier(carrier);
        if self.watch.is_deaf(now) {
            self.say(false, Some(Problem::Silent));
            self.reset(now);
            return Ok(());
        }
        self.say(true, None);
        if now >= self.watch.tuned_by(RECALIBRATE_US) {
            return self.start_over(now);
        }
        Ok(())
    }
}
