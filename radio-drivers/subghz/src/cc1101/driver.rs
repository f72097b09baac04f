//! The driver's states: made ready, listening, sending.

use std::collections::VecDeque;

use embedded_hal::spi::SpiDevice;

use super::chip::Chip;
use super::registers::{
    COUNT, Config, FIFO, FITS_FIFO, IOCFG_RX_THRESHOLD, IOCFG_TX_THRESHOLD, OFFSET_STEP_HZ, Register, Status,
    Strobe, dbm, state,
};
use super::watch::Watch;
use crate::{Abilities, Event, Failure, Health, Line, Micros, Problem, Received, Refusal, Transceiver};

/// After a reset, until the crystal runs and registers can be written.
const RESET_US: Micros = 1_000;
/// From idle to receive with calibration is about 0.8 ms; longer than this is no calibration any more.
const TUNE_US: Micros = 5_000;
/// Until the first look after an order to send: it is certain by then whether the channel was free.
const CONFIRM_US: Micros = 200;
/// Between two attempts to reach a chip that is not there: from, to.
const BACKOFF_US: (Micros, Micros) = (100_000, 5_000_000);
/// Longest correction that is learned, in steps: 49 kHz, the worst crystals met in the field.
const OFFSET_LIMIT: i32 = 31;
/// Frames between two corrections.
const OFFSET_FRAMES: i32 = 8;
/// Events that wait for their reader; older ones are dropped.
const EVENTS: usize = 64;
/// PKTSTATUS: GDO0, which is a packet's middle.
const IN_PACKET: u8 = 0x01;
/// PKTSTATUS: the channel is clear, as MCSM1 has it.
const CLEAR: u8 = 0x10;

/// What went wrong and was mended, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Frames with a right checksum.
    pub received: u64,
    /// Frames sent.
    pub sent: u64,
    /// Frames with a wrong checksum.
    pub bad_crc: u64,
    /// What was in the FIFO was no packet.
    pub malformed: u64,
    /// The receive FIFO overflowed.
    pub overflows: u64,
    /// The transmit FIFO ran empty.
    pub underflows: u64,
    /// Ends of packets that no edge told.
    pub missed_edges: u64,
    /// Resets, the first one too.
    pub resets: u64,
    /// Events that nobody fetched.
    pub dropped: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Reset was ordered.
    Resetting,
    /// No chip, or a bad one; the next reset comes at `look`.
    Down,
    /// Receive was ordered, from idle.
    Tuning,
    Listening,
    /// Transmit was ordered; over at the latest then.
    Sending(Micros),
}

/// One CC1101.
pub struct Cc1101<S> {
    pub(super) chip: Chip<S>,
    pub(super) config: Config,
    /// What the chip holds when all is well.
    pub(super) expected: [u8; COUNT],
    pub(super) phase: Phase,
    /// When to look at the chip next.
    pub(super) look: Micros,
    pub(super) watch: Watch,
    /// It has listened since the last reset.
    proven: bool,
    backoff: Micros,
    /// The packet that comes in: what was read of it.
    partial: Vec<u8>,
    /// Since when a packet comes in.
    pub(super) packet_since: Option<Micros>,
    /// The last end of a packet that an edge told.
    ended: Option<Micros>,
    /// What the transmit FIFO has not got yet.
    unsent: VecDeque<u8>,
    /// The transmit FIFO must be emptied when the chip is idle next.
    stale: bool,
    /// The end of a packet was seen once, without an edge.
    waited: bool,
    /// When a frame that is being sent should be out, whether an edge tells of it or not.
    end_of_air: Micros,
    /// Sum of errors in Hz, and how many.
    learned: (i32, i32),
    pub(super) health: Health,
    pub(super) counters: Counters,
    events: VecDeque<Event>,
}

impl<S: SpiDevice> Cc1101<S> {
    /// A driver that resets the chip at its first timeout. After `silence_us` without any frame it resets the chip to be sure that it
    /// is not deaf.
    pub fn new(spi: S, config: Config, now: Micros, silence_us: Micros) -> Self {
        Self {
            chip: Chip::new(spi),
            config,
            expected: config.registers(),
            phase: Phase::Down,
            look: now,
            watch: Watch::new(now, silence_us),
            proven: false,
            backoff: BACKOFF_US.0,
            partial: Vec::with_capacity(crate::MAX_FRAME + 3),
            packet_since: None,
            ended: None,
            unsent: VecDeque::new(),
            stale: false,
            waited: false,
            end_of_air: now,
            learned: (0, 0),
            health: Health::default(),
            counters: Counters::default(),
            events: VecDeque::new(),
        }
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What the chip is set to, with what was learned of its crystal. Worth keeping over a restart.
    #[must_use]
    pub fn config(&self) -> Config {
        self.config
    }

    /// Another channel, profile or power, by a reset. A frame that is being sent is [`Failure::Reset`].
    pub fn reconfigure(&mut self, now: Micros, config: Config) {
        self.config = config;
        self.expected = config.registers();
        self.reset(now);
    }

    /// How far a sender was off whom the link layer knows to be one of ours. Half of the mean of eight corrects our own frequency: errors
    /// of the locks' crystals cancel out, ours does not. Frames of anybody else must not move it.
    pub fn learn(&mut self, offset_hz: i32) {
        let limit = OFFSET_LIMIT * 4 * OFFSET_STEP_HZ;
        self.learned = (self.learned.0.saturating_add(offset_hz.clamp(-limit, limit)), self.learned.1 + 1);
        if self.learned.1 >= OFFSET_FRAMES {
            let step = self.learned.0 / (OFFSET_FRAMES * OFFSET_STEP_HZ * 2);
            self.learned = (0, 0);
            let offset = (i32::from(self.config.offset) + step).clamp(-OFFSET_LIMIT, OFFSET_LIMIT);
            self.config.offset = i8::try_from(offset).unwrap_or_default();
        }
    }

    // ------------------------------------------------------------------------------------- made ready

    pub(super) fn reset(&mut self, now: Micros) {
        if matches!(self.phase, Phase::Sending(_)) {
            self.event(Event::Unsent(Failure::Reset));
        }
        self.counters.resets += 1;
        self.forget();
        self.expected = self.config.registers();
        self.proven = false;
        (self.phase, self.look) = (Phase::Resetting, now + RESET_US);
        if let Err(problem) = self.chip.strobe(Strobe::Sres) {
            self.down(now, problem);
        }
    }

    /// What a look found; a chip that has listened since its last reset gets another one.
    pub(super) fn trouble(&mut self, now: Micros, problem: Problem) {
        if self.proven {
            self.say(false, Some(problem));
            self.reset(now);
        } else {
            self.down(now, problem);
        }
    }

    fn down(&mut self, now: Micros, problem: Problem) {
        if matches!(self.phase, Phase::Sending(_)) {
            self.event(Event::Unsent(Failure::Reset));
        }
        self.forget();
        self.say(false, Some(problem));
        (self.phase, self.look) = (Phase::Down, now + self.backoff);
        self.backoff = (self.backoff * 2).min(BACKOFF_US.1);
    }

    fn forget(&mut self) {
        self.partial.clear();
        self.unsent.clear();
        (self.packet_since, self.ended, self.stale, self.waited) = (None, None, false, false);
    }

    fn set_up(&mut self, now: Micros) -> Result<(), Problem> {
        let version = self.chip.steady(Status::Version)?;
        if matches!(version, 0x00 | 0xFF) || self.chip.strobe(Strobe::Snop)? & 0x80 != 0 {
            return Err(Problem::NoChip);
        }
        self.health.version = Some(version);
        let power = self.config.power.patable();
        self.chip.configure(&self.expected, power)?;
        if !self.chip.holds(&self.expected, power)? {
            return Err(Problem::Registers);
        }
        self.receive(now)
    }

    /// From idle to receive, which calibrates.
    fn receive(&mut self, now: Micros) -> Result<(), Problem> {
        if std::mem::take(&mut self.stale) {
            self.chip.strobe(Strobe::Sftx)?;
        }
        let should = self.config.registers();
        for register in [Register::FsCtrl0, Register::IocFg2] {
            let at = register as usize;
            if let (Some(is), Some(should)) = (self.expected.get_mut(at), should.get(at))
                && is != should
            {
                *is = *should;
                self.chip.write(register, *should)?;
            }
        }
        self.partial.clear();
        (self.packet_since, self.ended) = (None, None);
        self.chip.strobe(Strobe::Srx)?;
        (self.phase, self.look) = (Phase::Tuning, now + TUNE_US / 4);
        self.watch.tuning(now);
        Ok(())
    }

    /// Idle, both FIFOs empty, receive.
    pub(super) fn start_over(&mut self, now: Micros) -> Result<(), Problem> {
        self.unsent.clear();
        self.chip.idle()?;
        self.chip.strobe(Strobe::Sfrx)?;
        self.stale = true;
        self.receive(now)
    }

    // ------------------------------------------------------------------------------------- listening

    /// Looks what came in. `Ok` whatever that was, `Err` if the chip is not to be believed.
    pub(super) fn look_in(&mut self, now: Micros) -> Result<(), Problem> {
        let marc = self.chip.state()?;
        let bytes = self.chip.steady(Status::RxBytes)?;
        let waiting = usize::from(bytes & 0x7F);
        // Errata: after an overflow the state may still be receive; the bit does not lie.
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

    fn listening(&mut self) {
        self.phase = Phase::Listening;
        (self.proven, self.backoff) = (true, BACKOFF_US.0);
        self.say(true, None);
    }

    fn next_look(&mut self, now: Micros) -> Result<(), Problem> {
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

    // ------------------------------------------------------------------------------------- sending

    fn begin(&mut self, now: Micros, frame: &[u8], listen: bool) -> Result<(), Problem> {
        self.unsent.clear();
        self.unsent.push_back(u8::try_from(frame.len()).unwrap_or(u8::MAX));
        self.unsent.extend(frame);
        if self.config.max_frame > FITS_FIFO {
            self.fifo_line(IOCFG_TX_THRESHOLD)?;
        }
        if !listen {
            self.chip.idle()?;
        }
        self.fill(FIFO)?;
        self.ended = None;
        self.chip.strobe(Strobe::Stx)?;
        // From idle it calibrates first.
        self.look = now + if listen { CONFIRM_US } else { TUNE_US / 4 };
        let air = self.config.profile.air_us(frame.len());
        self.end_of_air = now + air + if listen { CONFIRM_US } else { TUNE_US };
        self.phase = Phase::Sending(self.end_of_air + air);
        Ok(())
    }

    fn fifo_line(&mut self, function: u8) -> Result<(), Problem> {
        if let Some(expected) = self.expected.get_mut(Register::IocFg2 as usize) {
            *expected = function;
        }
        self.chip.write(Register::IocFg2, function)
    }

    fn fill(&mut self, room: usize) -> Result<(), Problem> {
        let written = self.chip.write_fifo(self.unsent.make_contiguous(), room)?;
        self.unsent.drain(..written);
        Ok(())
    }

    fn look_out(&mut self, now: Micros, deadline: Micros) -> Result<(), Problem> {
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

    fn fail(&mut self, now: Micros, failure: Failure) -> Result<(), Problem> {
        self.event(Event::Unsent(failure));
        self.phase = Phase::Listening;
        self.start_over(now)
    }

    // ------------------------------------------------------------------------------------- for all

    /// A packet's end is seen before its edge is told: the edge, which knows the time, gets a moment.
    fn edge_may_come(&mut self, now: Micros) -> bool {
        if self.ended.is_some() || std::mem::replace(&mut self.waited, true) {
            self.waited = false;
            return false;
        }
        self.look = now + CONFIRM_US;
        true
    }

    fn service(&mut self, now: Micros) {
        let result = match self.phase {
            Phase::Down | Phase::Resetting => return,
            Phase::Tuning | Phase::Listening => self.look_in(now),
            Phase::Sending(deadline) => self.look_out(now, deadline),
        };
        if let Err(problem) = result {
            self.trouble(now, problem);
        }
    }

    pub(super) fn say(&mut self, up: bool, problem: Option<Problem>) {
        let problem = problem.or(if up { self.watch.problem() } else { None });
        let health = Health { up, problem, ..self.health };
        if health != self.health {
            self.health = health;
            self.event(Event::Health(health));
        }
    }

    fn event(&mut self, event: Event) {
        if self.events.len() >= EVENTS {
            self.events.pop_front();
            self.counters.dropped += 1;
        }
        self.events.push_back(event);
    }
}

impl<S: SpiDevice> Transceiver for Cc1101<S> {
    fn abilities(&self) -> Abilities {
        Abilities {
            max_frame: self.config.max_frame,
            rssi: true,
            lqi: true,
            offset: true,
            carrier_sense: true,
        }
    }

    fn send(&mut self, now: Micros, frame: &[u8], listen: bool) -> Result<(), Refusal> {
        if frame.is_empty() || frame.len() > usize::from(self.config.max_frame) {
            return Err(Refusal::Length);
        }
        match self.phase {
            Phase::Down | Phase::Resetting | Phase::Tuning => return Err(Refusal::NotReady),
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
        if let Err(problem) = self.begin(now, frame, listen) {
            self.phase = Phase::Listening;
            self.trouble(now, problem);
            return Err(Refusal::NotReady);
        }
        Ok(())
    }

    fn handle_edge(&mut self, at: Micros, line: Line, high: bool) {
        match (line, high) {
            (Line::Packet, true) => {
                self.ended = None;
                if self.phase == Phase::Listening {
                    self.packet_since = Some(at);
                    if let Err(problem) = self.next_look(at) {
                        self.trouble(at, problem);
                    }
                }
            }
            (Line::Packet, false) => {
                self.ended = Some(at);
                self.service(at);
            }
            (Line::Fifo, _) => self.service(at),
        }
    }

    fn handle_timeout(&mut self, now: Micros) {
        if now >= self.look {
            match self.phase {
                Phase::Down => self.reset(now),
                Phase::Resetting => {
                    if let Err(problem) = self.set_up(now) {
                        self.trouble(now, problem);
                    }
                }
                _ => self.service(now),
            }
        }
        self.watch(now);
    }

    fn poll_timeout(&self) -> Micros {
        self.look.min(self.watch.due())
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}
