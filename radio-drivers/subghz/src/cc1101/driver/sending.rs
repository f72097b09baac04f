//! Packets out.

use embedded_hal::spi::SpiDevice;

use super::super::registers::{
    FIFO, FITS_FIFO, IOCFG_RX_THRESHOLD, IOCFG_TX_THRESHOLD, MCSM1_AT_ONCE, MCSM1_LISTEN, Register, Status,
    Strobe, state,
};
use super::{CLEAR, CONFIRM_US, Cc1101, IN_PACKET, Phase, TUNE_US};
use crate::{Event, Failure, Micros, Problem, Refusal};

impl<S: SpiDevice> Cc1101<S> {
    /// Gives the chip a frame, all but `held` bytes of it, and orders it out.
    pub(super) fn put(
        &mut self,
        now: Micros,
        frame: &[u8],
        listen: bool,
        held: usize,
    ) -> Result<(), Refusal> {
        if frame.is_empty() || frame.len() > usize::from(self.config.max_frame) {
            return Err(Refusal::Length);
        }
        match self.phase {
            Phase::Down | Phase::Resetting | Phase::Resting | Phase::Waking | Phase::Tuning => {
                return Err(Refusal::NotReady);
            }
            Phase::Sending(_) => return Err(Refusal::Occupied),
            Phase::Listening if self.packet_since.is_some() || self.stale => return Err(Refusal::Occupied),
            Phase::Listening => {}
        }
        // A packet that no edge told of is fetched first.
        if self.chip.steady(Status::RxBytes) != Ok(0) {
            self.service(now);
            return Err(Refusal::Occupied);
        }
        // Asked before the FIFO is filled: to empty it again the chip must stop listening.
        if listen && self.chip.status(Status::PktStatus).is_ok_and(|status| status & CLEAR == 0) {
            self.event(Event::Unsent(Failure::Busy));
            return Ok(());
        }
        if let Err(problem) = self.load(now, frame, listen, held) {
            self.phase = Phase::Listening;
            self.trouble(now, problem);
            return Err(Refusal::NotReady);
        }
        Ok(())
    }

    fn load(&mut self, now: Micros, frame: &[u8], listen: bool, held: usize) -> Result<(), Problem> {
        self.unsent.clear();
        self.held = held;
        self.unsent.push_back(u8::try_from(frame.len()).unwrap_or(u8::MAX));
        self.unsent.extend(frame);
        if self.config.max_frame > FITS_FIFO {
            self.fifo_line(IOCFG_TX_THRESHOLD)?;
        }
        // From receive it goes on the air in 31 µs; by way of idle it would calibrate first, and a burst would have holes.
        self.set(Register::Mcsm1, if listen { MCSM1_LISTEN } else { MCSM1_AT_ONCE })?;
        self.fill(FIFO)?;
        self.ended = None;
        self.chip.strobe(Strobe::Stx)?;
        self.look = now + CONFIRM_US;
        let air = self.config.profile.air_us(frame.len());
        self.end_of_air = now + air + CONFIRM_US;
        self.phase = Phase::Sending(self.end_of_air + air);
        Ok(())
    }

    fn fifo_line(&mut self, function: u8) -> Result<(), Problem> {
        self.set(Register::IocFg2, function)
    }

    pub(super) fn set(&mut self, register: Register, value: u8) -> Result<(), Problem> {
        match self.expected.get_mut(register as usize) {
            Some(expected) if *expected != value => *expected = value,
            _ => return Ok(()),
        }
        self.chip.write(register, value)
    }

    /// Ends a transmission, unless it has ended.
    pub(super) fn stop(&mut self, now: Micros) -> Result<(), Problem> {
        let Phase::Sending(deadline) = self.phase else { return Ok(()) };
        match self.chip.state()? {
            state::TX | state::RXTX_SWITCH => self.fail(now, Failure::Aborted),
            _ => self.look_out(now, deadline),
        }
    }

    /// What was kept back. A chip that has run out of bytes meanwhile has stopped in the middle of the frame, and is found so at the next look.
    pub(super) fn give_tail(&mut self) -> Result<(), Problem> {
        if std::mem::take(&mut self.held) == 0 || !matches!(self.phase, Phase::Sending(_)) {
            return Ok(());
        }
        self.fill(FIFO)
    }

    fn fill(&mut self, room: usize) -> Result<(), Problem> {
        let room = room.min(self.unsent.len().saturating_sub(self.held));
        let written = self.chip.write_fifo(self.unsent.make_contiguous(), room)?;
        self.unsent.drain(..written);
        Ok(())
    }

    pub(super) fn look_out(&mut self, now: Micros, deadline: Micros) -> Result<(), Problem> {
        let marc = self.chip.state()?;
        let bytes = self.chip.steady(Status::TxBytes)?;
        let waiting = usize::from(bytes & 0x7F);
        if bytes & 0x80 != 0 || marc == state::TX_UNDERFLOW {
            self.counters.underflows += 1;
            return self.fail(now, Failure::Underflow);
        }
        let gone = waiting == 0 && self.unsent.is_empty();
        match marc {
            state::RX..=0x0F | state::IDLE | state::RX_OVERFLOW if gone => {
                if self.edge_may_come(now) {
                    return Ok(());
                }
                let at = self.ended.take();
                if at.is_none() {
                    self.counters.missed_edges += 1;
                }
                self.counters.sent += 1;
                self.event(Event::Sent { at: at.unwrap_or(now) });
                self.back(now)
            }
            // The chip did not go: somebody is on the air.
            state::RX..=0x0F | state::IDLE | state::RX_OVERFLOW => {
                self.unsent.clear();
                self.event(Event::Unsent(Failure::Busy));
                if marc == state::RX && self.chip.status(Status::PktStatus)? & IN_PACKET == 0 {
                    self.start_over(now)
                } else {
                    // A packet comes in, which is worth more than an empty FIFO.
                    self.stale = true;
                    self.back(now)
                }
            }
            _ if now >= deadline => self.fail(now, Failure::Timeout),
            _ => {
                self.fill(FIFO.saturating_sub(waiting))?;
                let next = if !self.unsent.is_empty() {
                    now + self.config.profile.byte_ns() * 24 / 1_000
                } else if self.ended.is_some() {
                    now + CONFIRM_US
                } else {
                    self.end_of_air.max(now + TUNE_US / 4)
                };
                self.look = next.min(deadline);
                Ok(())
            }
        }
    }

    /// Listening again, and something may have come already.
    fn back(&mut self, now: Micros) -> Result<(), Problem> {
        self.phase = Phase::Listening;
        self.packet_since = None;
        if self.config.max_frame > FITS_FIFO {
            self.fifo_line(IOCFG_RX_THRESHOLD)?;
        }
        if self.chip.status(Status::PktStatus)? & IN_PACKET != 0 {
            self.packet_since = Some(now);
        }
        let idle = self.chip.state()? == state::IDLE;
        if idle && self.chip.steady(Status::RxBytes)? == 0 { self.receive(now) } else { self.look_in(now) }
    }

    pub(super) fn fail(&mut self, now: Micros, failure: Failure) -> Result<(), Problem> {
        self.event(Event::Unsent(failure));
        self.phase = Phase::Listening;
        self.start_over(now)
    }
}
