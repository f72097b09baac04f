//! Asleep, and awake again. Asleep the chip keeps its registers but the last three, and nothing of its FIFOs.

use embedded_hal::spi::SpiDevice;

use super::super::registers::{IOCFG_LOW, Register, Strobe};
use super::{Cc1101, Phase, TUNE_US};
use crate::{Micros, Problem};

/// From the first selection until the crystal runs: 150 µs on the maker's board.
const CRYSTAL_US: Micros = 300;
/// From now until it receives: 0.2 ms for the registers at 4 MHz, 799 µs with calibration, and a little.
const TUNED_US: Micros = 1_100;
/// Status byte: the crystal does not run yet.
const NOT_READY: u8 = 0x80;
/// What is lost asleep.
const LOST: [Register; 3] = [Register::Test2, Register::Test1, Register::Test0];

impl<S: SpiDevice> Cc1101<S> {
    pub(super) fn rest(&mut self) -> Result<(), Problem> {
        self.chip.idle()?;
        self.chip.strobe(Strobe::Sfrx)?;
        self.chip.strobe(Strobe::Sftx)?;
        // A line that is driven against something costs more than the chip does asleep.
        self.set(Register::IocFg2, IOCFG_LOW)?;
        self.set(Register::IocFg0, IOCFG_LOW)?;
        self.chip.strobe(Strobe::Spwd)?;
        self.forget();
        (self.phase, self.look) = (Phase::Resting, Micros::MAX);
        Ok(())
    }

    pub(super) fn wake(&mut self, now: Micros) -> Result<(), Problem> {
        self.chip.strobe(Strobe::Snop)?;
        (self.phase, self.look) = (Phase::Waking, now + CRYSTAL_US);
        self.watch.tuning(now);
        Ok(())
    }

    pub(super) fn woken(&mut self, now: Micros) -> Result<(), Problem> {
        if self.chip.strobe(Strobe::Snop)? & NOT_READY != 0 {
            if now >= self.watch.tuned_by(TUNE_US) {
                return Err(Problem::Stuck);
            }
            self.look = now + CRYSTAL_US;
            return Ok(());
        }
        // Its supply may have been away meanwhile, and who listens for milliseconds only is seldom there when the watchdog looks.
        if !self.chip.holds(&self.expected, self.config.power.patable())? {
            return Err(Problem::Registers);
        }
        for register in LOST {
            if let Some(value) = self.expected.get(register as usize) {
                self.chip.write(register, *value)?;
            }
        }
        self.receive(now)?;
        // Who wakes it for a moment pays for each.
        self.look = now + TUNED_US;
        Ok(())
    }
}
