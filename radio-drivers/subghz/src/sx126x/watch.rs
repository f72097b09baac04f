//! The watchdog: a chip that lost its mind, its registers or its hearing looks like a quiet channel otherwise.

use embedded_hal::digital::{InputPin, OutputPin};
use embedded_hal::spi::SpiDevice;

use super::chip::Trouble;
use super::command::dbm;
use super::driver::{Phase, Sx126x};
use crate::{Micros, Problem};

/// The longest on one lock of the synthesiser: temperature moves it.
const REFRESH_US: Micros = 60_000_000;
/// Stronger is a carrier, dBm.
const CARRIER_DBM: i16 = -90;

impl<S: SpiDevice, B: InputPin, R: OutputPin> Sx126x<S, B, R> {
    pub(super) fn watch(&mut self, now: Micros) {
        if !self.watch.is_due(now) {
            return;
        }
        // All other phases end by their own deadlines.
        if self.phase == Phase::Listening {
            let result = self.examine(now);
            self.conclude(now, result);
        }
    }

    fn examine(&mut self, now: Micros) -> Result<(), Trouble> {
        // First the mode, which a dead line does not have.
        self.chip.mode()?;
        if !self.chip.holds(&self.config)? {
            return Err(Problem::Registers.into());
        }
        self.look_in(now)?;
        if self.phase != Phase::Listening || self.packet_since.is_some() {
            return Ok(());
        }
        let carrier = dbm(self.chip.rssi()?) > CARRIER_DBM;
        self.watch.carrier(carrier);
        if self.watch.is_deaf(now) {
            self.say(false, Some(Problem::Silent));
            self.reset(now);
            return Ok(());
        }
        self.say(true, None);
        if now >= self.watch.tuned_by(REFRESH_US) {
            self.watch.tuning(now);
            return self.receive(now);
        }
        Ok(())
    }
}
