//! Packets out.

use embedded_hal::digital::{InputPin, OutputPin};
use embedded_hal::spi::SpiDevice;

use super::super::chip::Trouble;
use super::super::command::{Command, dbm, irq};
use super::{CARRIER_DBM, CONFIRM_US, Phase, Sx126x, TUNE_US};
use crate::{Event, Failure, Micros, Problem, Refusal};

impl<S: SpiDevice, B: InputPin, R: OutputPin> Sx126x<S, B, R> {
    /// Orders it, or does not: nothing waits here for a chip that is busy, because it would go out later than it may.
    pub(super) fn begin(
        &mut self,
        now: Micros,
        len: u8,
        frame: &[u8],
        listen: bool,
    ) -> Result<Result<(), Refusal>, Trouble> {
        // A packet that no edge told of is fetched first; one that comes in is worth more.
        let pending = self.chip.irq()?;
        if pending & (irq::RX_DONE | irq::SYNC) != 0 {
            let result = self.look_in(now);
            self.conclude(now, result);
            return Ok(Err(Refusal::Occupied));
        }
        // The chip has no look of its own before it sends, so there is a gap of some 100 µs behind ours.
        if listen && dbm(self.chip.rssi()?) > CARRIER_DBM {
            self.event(Event::Unsent(Failure::Busy));
            return Ok(Ok(()));
        }
        let profile = self.config.profile;
        let air = profile.air_time(frame.len());
        for command in [
            Command::Standby { crystal: true },
            Command::ClearInterrupts(irq::ALL),
            Command::Packet { profile, len },
            Command::WriteBuffer(frame),
            Command::Transmit { timeout_us: 2 * air },
        ] {
            self.chip.order(command)?;
        }
        (self.ended, self.waited, self.stopping) = (None, false, false);
        self.end_of_air = now + air + CONFIRM_US;
        self.phase = Phase::Sending(self.end_of_air + air);
        self.look = self.end_of_air;
        Ok(Ok(()))
    }

    pub(super) fn look_out(&mut self, now: Micros, deadline: Micros) -> Result<(), Trouble> {
        let pending = self.chip.irq()?;
        if pending & irq::TX_DONE != 0 {
            if self.edge_may_come(now) {
                return Ok(());
            }
            let at = self.ended.take();
            if at.is_none() {
                self.counters.missed_edges += 1;
            }
            self.counters.sent += 1;
            self.event(Event::Sent { at: at.unwrap_or(now) });
            return self.receive(now);
        }
        if self.stopping {
            self.chip.order(Command::Standby { crystal: true })?;
            self.event(Event::Unsent(Failure::Aborted));
            return self.receive(now);
        }
        // The chip's own end of patience, or ours.
        if pending & irq::TIMEOUT != 0 || now >= deadline {
            self.event(Event::Unsent(Failure::Timeout));
            self.phase = Phase::Listening;
            // No packet takes that long, so it does not do what it is told.
            return Err(Problem::Stuck.into());
        }
        self.look = self.end_of_air.max(now + TUNE_US / 4).min(deadline);
        Ok(())
    }
}
