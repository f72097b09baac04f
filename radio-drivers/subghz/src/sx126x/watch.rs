//! The watchdog: a chip that lost its mind, its registers or its hearing looks like a quiet channel otherwise.

use embedded_hal::digital::{InputPin, OutputPin};
use embedded_hal::spi::SpiDevice;

use super::chip::Trouble;
use super::command::dbm;
use super::driver::{Phase, Sx126x};
use crate::{Micros, Problem};

/// Between two looks at a chip that says nothing.
pub const WATCH_US: Micros = 1_000_000;
/// The longest on one lock of the synthesiser: temperature moves it.
const REFRESH_US: Micros = 60_000_000;
/// Of the last 32 looks, how many must have met a carrier for a jammed channel.
const JAMMED: u32 = 28;
/// At how many it is free again.
const FREE: u32 = 16;
/// Stronger is a carrier, dBm.
const CARRIER_DBM: i16 = -90;

pub(super) struct Watch {
    due: Micros,
    refreshed: Micros,
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
        Self { due, refreshed: now, heard: now, silence, carriers: 0, jammed: false, silent: false }
    }

    pub(super) fn due(&self) -> Micros {
        self.due
    }

    pub(super) fn heard(&mut self, now: Micros) {
        (self.heard, self.silent) = (now, false);
    }

    /// What is wrong with a chip that works.
    pub(super) fn problem(&self) -> Option<Problem> {
        if self.jammed { Some(Problem::Jammed) } else { self.silent.then_some(Problem::Silent) }
    }
}

impl<S: SpiDevice, B: InputPin, R: OutputPin> Sx126x<S, B, R> {
    pub(super) fn watch(&mut self, now: Micros) {
        if now < self.watch.due {
            return;
        }
        self.watch.due = now + WATCH_US;
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
        if now.saturating_sub(self.watch.refreshed) >= REFRESH_US {
            self.watch.refreshed = now;
            return self.receive(now);
        }
        Ok(())
    }
}
