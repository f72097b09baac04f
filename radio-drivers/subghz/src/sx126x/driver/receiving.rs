//! Packets in.

use embedded_hal::digital::{InputPin, OutputPin};
use embedded_hal::spi::SpiDevice;

use super::super::chip::Trouble;
use super::super::command::{dbm, irq};
use super::{BACKOFF_US, CONFIRM_US, Phase, Sx126x, TUNE_US, receives};
use crate::{Event, Micros, Problem, Received};

impl<S: SpiDevice, B: InputPin, R: OutputPin> Sx126x<S, B, R> {
    /// Looks what came in. `Ok` whatever that was, `Err` if the chip is not to be believed, or busy. All but the last line of it can be
    /// done again.
    pub(in crate::sx126x) fn look_in(&mut self, now: Micros) -> Result<(), Trouble> {
        self.give()?;
        // In this order: what ends between the two is seen in the second.
        let mode = self.chip.mode()?;
        let pending = self.chip.irq()?;
        if pending & irq::RX_DONE != 0 {
            if self.phase == Phase::Tuning {
                self.listening();
            }
            if self.edge_may_come(now) {
                self.packet_since = self.packet_since.or(Some(now));
                return Ok(());
            }
            return self.packet(now, pending);
        }
        let there = receives(mode)?;
        match (self.phase, there) {
            (Phase::Tuning, true) => self.listening(),
            (Phase::Tuning, false) if now < self.tuning_since + TUNE_US => {
                self.look = now + CONFIRM_US;
                return Ok(());
            }
            (_, true) => {}
            // It left receive and says nothing of why.
            (_, false) => return Err(Problem::Stuck.into()),
        }
        if pending & irq::SYNC != 0 {
            self.packet_since = self.packet_since.or(Some(now));
        }
        self.next_look(now)
    }

    fn listening(&mut self) {
        self.phase = Phase::Listening;
        (self.proven, self.backoff) = (true, BACKOFF_US.0);
        self.say(true, None);
    }

    fn next_look(&mut self, now: Micros) -> Result<(), Trouble> {
        self.look = Micros::MAX;
        if let Some(since) = self.packet_since {
            let end = since + self.config.profile.air_time(self.config.max_frame.into()) + TUNE_US;
            // No packet is that long: the chip waits for an end that does not come.
            if now > end {
                self.counters.malformed += 1;
                return self.receive(now);
            }
            self.look = end + 1;
        }
        Ok(())
    }

    fn packet(&mut self, now: Micros, pending: u16) -> Result<(), Trouble> {
        let found = self.chip.found()?;
        let timed = self.ended.take();
        if timed.is_none() {
            self.counters.missed_edges += 1;
        }
        if pending & irq::CRC_ERR != 0 {
            self.counters.bad_crc += 1;
        } else if found.frame.is_empty() || found.frame.len() > usize::from(self.config.max_frame) {
            self.counters.malformed += 1;
        } else {
            self.counters.received += 1;
            self.watch.heard(now);
            if self.health.problem == Some(Problem::Silent) {
                self.say(true, None);
            }
            self.event(Event::Received(Received {
                frame: found.frame,
                rssi: Some(dbm(found.rssi)),
                lqi: None,
                offset_hz: None,
                at: timed.unwrap_or(now),
                timed: timed.is_some(),
            }));
        }
        self.receive(now)
    }
}
