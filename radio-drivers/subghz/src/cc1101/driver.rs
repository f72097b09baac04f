//! The driver's states: made ready, listening, sending.

mod listening;
mod resting;
mod sending;

use std::collections::VecDeque;

use embedded_hal::spi::SpiDevice;

use super::chip::Chip;
use super::registers::{COUNT, Config, FITS_FIFO, OFFSET_STEP_HZ, Register, Status, Strobe};
use crate::watch::Watch;
use crate::{Abilities, Event, Failure, Health, Line, Micros, Problem, Refusal, Tally, Transceiver};

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
/// What may differ from the configuration until receive is ordered the next time.
const CHANGED: [Register; 6] = [
    Register::FsCtrl0,
    Register::IocFg2,
    Register::IocFg0,
    Register::Freq2,
    Register::Freq1,
    Register::Freq0,
];
/// PKTSTATUS: GDO0, which is a packet's middle.
const IN_PACKET: u8 = 0x01;
/// PKTSTATUS: the channel is clear, as MCSM1 has it.
const CLEAR: u8 = 0x10;
/// Bytes of a frame that are kept back until it is completed. What is on the air instead of them is noise, which would have to be them by chance.
const TAIL: usize = 4;

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
    /// Asleep, because it was told to.
    Resting,
    /// Selected for the first time after that: the crystal starts.
    Waking,
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
    /// How many of these are kept back until the frame is completed.
    held: usize,
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
            held: 0,
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
        self.health.version = Some(self.chip.version()?);
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
        for register in CHANGED {
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
            Phase::Down | Phase::Resetting | Phase::Resting | Phase::Waking => return,
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
            start_us: 0,
        }
    }

    fn send(&mut self, now: Micros, frame: &[u8], listen: bool) -> Result<(), Refusal> {
        self.put(now, frame, listen, 0)
    }

    fn begin(&mut self, now: Micros, frame: &[u8], listen: bool) -> Result<(), Refusal> {
        // A longer frame is given in parts anyway, and the host that has no time for one has none for the other.
        let held = if frame.len() <= usize::from(FITS_FIFO) { TAIL.min(frame.len()) } else { 0 };
        self.put(now, frame, listen, held)
    }

    fn complete(&mut self, now: Micros) {
        if let Err(problem) = self.give_tail() {
            self.trouble(now, problem);
        }
    }

    fn listen(&mut self, now: Micros, on: bool) {
        let result = match (on, self.phase) {
            (false, Phase::Tuning | Phase::Listening) => self.rest(),
            (true, Phase::Resting) => self.wake(now),
            _ => return,
        };
        if let Err(problem) = result {
            self.trouble(now, problem);
        }
    }

    fn tune(&mut self, now: Micros, frequency_hz: u32) {
        if self.config.frequency_hz == frequency_hz {
            return;
        }
        self.config.frequency_hz = frequency_hz;
        match self.phase {
            Phase::Down | Phase::Resting | Phase::Waking => return,
            Phase::Resetting => return self.expected = self.config.registers(),
            Phase::Sending(_) => self.event(Event::Unsent(Failure::Aborted)),
            Phase::Tuning | Phase::Listening => {}
        }
        self.phase = Phase::Listening;
        if let Err(problem) = self.start_over(now) {
            self.trouble(now, problem);
        }
    }

    fn carrier(&mut self, now: Micros) -> Option<bool> {
        if self.phase != Phase::Listening {
            return None;
        }
        match self.chip.status(Status::PktStatus) {
            Ok(status) => Some(self.packet_since.is_some() || status & CLEAR == 0),
            Err(problem) => {
                self.trouble(now, problem);
                None
            }
        }
    }

    fn abort(&mut self, now: Micros) {
        if let Err(problem) = self.stop(now) {
            self.trouble(now, problem);
        }
    }

    /// Half of the mean of eight corrects our own frequency: errors of the locks' crystals cancel out, ours does not.
    fn learn(&mut self, offset_hz: i32) {
        let limit = OFFSET_LIMIT * 4 * OFFSET_STEP_HZ;
        self.learned = (self.learned.0.saturating_add(offset_hz.clamp(-limit, limit)), self.learned.1 + 1);
        if self.learned.1 >= OFFSET_FRAMES {
            let step = self.learned.0 / (OFFSET_FRAMES * OFFSET_STEP_HZ * 2);
            self.learned = (0, 0);
            let offset = (i32::from(self.config.offset) + step).clamp(-OFFSET_LIMIT, OFFSET_LIMIT);
            self.config.offset = i8::try_from(offset).unwrap_or_default();
        }
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
            (Line::Fifo | Line::Done, _) => self.service(at),
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
                Phase::Waking => {
                    if let Err(problem) = self.woken(now) {
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

    fn tally(&self) -> Tally {
        let Counters { received, sent, bad_crc, malformed, overflows, missed_edges, resets, .. } =
            self.counters;
        Tally {
            received,
            sent,
            bad_crc,
            malformed: malformed.saturating_add(overflows),
            missed_edges,
            resets,
        }
    }
}
