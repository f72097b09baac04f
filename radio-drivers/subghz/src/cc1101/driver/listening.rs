//! Packets in.

use embedded_hal::spi::SpiDevice;

use super::super::registers::{FITS_FIFO, OFFSET_STEP_HZ, Status, dbm, state};
use super::{BACKOFF_US, CONFIRM_US, Cc1101, Phase, TUNE_US};
use crate::{Event, Micros, Problem, Received};

impl<S: SpiDevice> Cc1101<S> {
    /// Looks what came in. `Ok` whatever that was, `Err` if the chip is not to be believed.
    pub(in crate::cc1101) fn look_in(&mut self, now: Micros) -> Result<(), Problem> {
        let marc = self.chip.state()?;
        let bytes = self.chip.steady(Status::RxBytes)?;
        let waiting = usize::from(bytes & 0x7F);
        // Errata: one or two bytes too many are neither state nor bit; then the packet's end does not come, and its time runs out.
        if bytes & 0x80 != 0 || marc == state::RX_OVERFLOW {
            self.counters.overflows += 1;
            return self.start_over(now);
        }
        match marc {
            state::RX..=0x0F => {
                if self.phase == Phase::Tuning {
                    self.listening();
                }
                // Errata: a FIFO that is emptied while a packet comes in gives its last byte twice.
                self.chip.read_fifo(waiting.saturating_sub(1), &mut self.partial)?;
                // No packet is longer: the chip is not to be believed.
                if self.partial.len() > crate::MAX_FRAME + 3 {
                    self.counters.malformed += 1;
                    return self.start_over(now);
                }
                match (waiting, self.ended) {
                    // Longer than we take: the chip dropped it and listens on.
                    (0, Some(_)) => {
                        (self.packet_since, self.ended) = (None, None);
                        if self.stale {
                            return self.start_over(now);
                        }
                    }
                    (0, None) => {}
                    _ => self.packet_since = self.packet_since.or(Some(now)),
                }
                self.next_look(now)
            }
            state::IDLE if waiting > 0 || !self.partial.is_empty() => {
                if self.edge_may_come(now) {
                    self.packet_since = self.packet_since.or(Some(now));
                    return Ok(());
                }
                self.chip.read_fifo(waiting, &mut self.partial)?;
                self.packet(now)?;
                self.receive(now)
            }
            // Still calibrating or switching.
            0x02..=0x0C | state::TXRX_SWITCH | state::RXTX_SWITCH if now < self.watch.tuned_by(TUNE_US) => {
                self.look = now + TUNE_US / 4;
                Ok(())
            }
            _ => Err(Problem::Stuck),
        }
    }

    pub(super) fn listening(&mut self) {
        self.phase = Phase::Listening;
        (self.proven, self.backoff) = (true, BACKOFF_US.0);
        self.say(true, None);
    }

    pub(super) fn next_look(&mut self, now: Micros) -> Result<(), Problem> {
        let profile = self.config.profile;
        self.look = match self.packet_since {
            None => Micros::MAX,
            Some(since) => {
                let longest = profile.air_us(usize::from(self.config.max_frame)) + TUNE_US;
                // No packet is that long: the chip waits for an end that does not come.
                if now > since + longest {
                    self.counters.malformed += 1;
                    return self.start_over(now);
                }
                let half_fifo = profile.byte_ns() * 24 / 1_000;
                if self.ended.is_some() {
                    now + CONFIRM_US
                } else if self.config.max_frame > FITS_FIFO {
                    now + half_fifo
                } else {
                    since + longest + 1
                }
            }
        };
        Ok(())
    }

    /// The packet is over and read.
    fn packet(&mut self, now: Micros) -> Result<(), Problem> {
        let timed = self.ended.take();
        if timed.is_none() {
            self.counters.missed_edges += 1;
        }
        let packet = std::mem::take(&mut self.partial);
        let longest = usize::from(self.config.max_frame) + 3;
        let (Some((len, rest)), true) = (packet.split_first(), (4..=longest).contains(&packet.len())) else {
            self.counters.malformed += 1;
            return Ok(());
        };
        match rest.split_last_chunk() {
            Some((frame, [_, quality])) if frame.len() == usize::from(*len) && quality & 0x80 == 0 => {
                self.counters.bad_crc += 1;
            }
            Some((frame, [rssi, quality])) if frame.len() == usize::from(*len) => {
                let off = i8::from_le_bytes([self.chip.steady(Status::FreqEst)?]);
                self.counters.received += 1;
                self.watch.heard(now);
                if self.health.problem == Some(Problem::Silent) {
                    self.say(true, None);
                }
                self.event(Event::Received(Received {
                    frame: frame.to_vec(),
                    rssi: Some(dbm(*rssi)),
                    lqi: Some(quality & 0x7F),
                    offset_hz: Some(i32::from(off) * OFFSET_STEP_HZ),
                    at: timed.unwrap_or(now),
                    timed: timed.is_some(),
                }));
            }
            _ => self.counters.malformed += 1,
        }
        Ok(())
    }
}
