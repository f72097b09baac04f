//! The driver's states: made ready, listening, sending.

mod receiving;
mod sending;

use std::collections::VecDeque;

use embedded_hal::digital::{InputPin, OutputPin};
use embedded_hal::spi::SpiDevice;

use super::chip::{Chip, Trouble};
use super::command::{Amplifier, Command, Config, dbm, error, irq, mode, register};
use crate::watch::Watch;
use crate::{Abilities, Event, Failure, Health, Line, Micros, Problem, Refusal, Tally, Transceiver};

/// NRESET is low for so long; 100 µs are asked for.
const RESET_US: Micros = 300;
/// BUSY longer than this is stuck. Calibration takes 3.5 ms after a TCXO's start of at most 10 ms.
pub const BUSY_US: Micros = 25_000;
/// Until the next look at a chip that was busy.
const BUSY_LOOK_US: Micros = 200;
/// From standby to receive, at the longest.
const TUNE_US: Micros = 5_000;
/// How long an edge may come after what it tells of was seen; and from an order to the first bit, at the longest.
const CONFIRM_US: Micros = 300;
/// The latter, as it is told.
const START_US: u32 = 300;
/// Between two attempts to reach a chip that is not there: from, to.
const BACKOFF_US: (Micros, Micros) = (100_000, 5_000_000);
/// Stronger is a carrier, dBm.
const CARRIER_DBM: i16 = -90;
/// Events that wait for their reader; older ones are dropped.
const EVENTS: usize = 64;

/// What went wrong and was mended, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Frames with a right checksum.
    pub received: u64,
    /// Frames sent.
    pub sent: u64,
    /// Frames with a wrong checksum, or that said that they were too long, which the chip does not tell apart.
    pub bad_crc: u64,
    /// Packets without an end, or of no length.
    pub malformed: u64,
    /// Ends of packets that no edge told.
    pub missed_edges: u64,
    /// Resets, the first one too.
    pub resets: u64,
    /// Steps that were put off because BUSY stayed high.
    pub busy: u64,
    /// Events that nobody fetched.
    pub dropped: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No chip, or a bad one; the next reset comes at `look`.
    Down,
    /// NRESET is low.
    Held,
    /// The script is being given.
    SettingUp,
    /// Receive was ordered, or waits in the script.
    Tuning,
    Listening,
    /// In standby, because it was told to.
    Resting,
    /// Transmit was ordered; over at the latest then.
    Sending(Micros),
}

/// One SX126x: SPI, BUSY, NRESET. DIO1 comes as [`Line::Done`].
pub struct Sx126x<S, B, R> {
    pub(super) chip: Chip<S, B, R>,
    pub(super) config: Config,
    pub(super) phase: Phase,
    /// When to look at the chip next.
    pub(super) look: Micros,
    pub(super) watch: Watch,
    /// Orders that the chip has not got yet.
    script: VecDeque<Vec<u8>>,
    /// Since when every look met BUSY.
    busy_since: Option<Micros>,
    /// Since when receive is ordered.
    tuning_since: Micros,
    /// It has listened since the last reset.
    proven: bool,
    backoff: Micros,
    /// Since when a packet comes in.
    pub(super) packet_since: Option<Micros>,
    /// The last end of a packet that an edge told.
    ended: Option<Micros>,
    /// The end of a packet was seen once, without an edge.
    waited: bool,
    /// When a frame that is being sent should be out.
    end_of_air: Micros,
    /// What is being sent is to stop as soon as the chip takes the order.
    stopping: bool,
    pub(super) health: Health,
    pub(super) counters: Counters,
    events: VecDeque<Event>,
}

impl<S: SpiDevice, B: InputPin, R: OutputPin> Sx126x<S, B, R> {
    /// A driver that resets the chip at its first timeout. After `silence_us` without any frame it resets the chip to be sure that it
    /// is not deaf.
    pub fn new(spi: S, busy: B, reset: R, config: Config, now: Micros, silence_us: Micros) -> Self {
        Self {
            chip: Chip::new(spi, busy, reset),
            config,
            phase: Phase::Down,
            look: now,
            watch: Watch::new(now, silence_us),
            script: VecDeque::new(),
            busy_since: None,
            tuning_since: now,
            proven: false,
            backoff: BACKOFF_US.0,
            packet_since: None,
            ended: None,
            waited: false,
            end_of_air: now,
            stopping: false,
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

    /// What the chip is set to.
    #[must_use]
    pub fn config(&self) -> Config {
        self.config
    }

    // ------------------------------------------------------------------------------------- made ready

    /// By the pin, which a chip obeys whatever state it is in.
    pub(super) fn reset(&mut self, now: Micros) {
        self.lose();
        self.counters.resets += 1;
        self.proven = false;
        (self.phase, self.look) = (Phase::Held, now + RESET_US);
        if self.chip.hold(true).is_err() {
            self.down(now, Problem::NoChip);
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
        self.lose();
        let problem = self.chip.stranger().unwrap_or(problem);
        self.say(false, Some(problem));
        (self.phase, self.look) = (Phase::Down, now + self.backoff);
        self.backoff = (self.backoff * 2).min(BACKOFF_US.1);
    }

    fn lose(&mut self) {
        if matches!(self.phase, Phase::Sending(_)) {
            self.event(Event::Unsent(Failure::Reset));
        }
        self.script.clear();
        (self.packet_since, self.ended, self.busy_since) = (None, None, None);
        (self.waited, self.stopping) = (false, false);
    }

    fn release(&mut self, now: Micros) -> Result<(), Trouble> {
        self.chip.hold(false)?;
        self.script = self.config.script().into();
        (self.phase, self.look) = (Phase::SettingUp, now + BUSY_LOOK_US);
        Ok(())
    }

    fn set_up(&mut self, now: Micros) -> Result<(), Trouble> {
        // Whether anybody is there, and who, before it is told anything.
        self.chip.recognise()?;
        self.give()?;
        if self.config.amplifier == Amplifier::High {
            let [clamp] = self.chip.registers(register::TX_CLAMP)?;
            self.chip.order(Command::WriteRegister(register::TX_CLAMP, &[clamp | 0x1E]))?;
        }
        if !self.chip.holds(&self.config)? {
            return Err(Problem::Registers.into());
        }
        match self.chip.errors()? {
            0 => {}
            errors if errors & error::OSCILLATOR != 0 => return Err(Problem::Oscillator.into()),
            // A calibration that failed.
            _ => return Err(Problem::Stuck.into()),
        }
        self.receive(now)
    }

    /// As much of the script as the chip takes.
    fn give(&mut self) -> Result<(), Trouble> {
        while let Some(command) = self.script.front() {
            self.chip.write(command)?;
            self.script.pop_front();
        }
        Ok(())
    }

    /// Standby and receive, on the frequency that is set. The longest packet must be said again after each that was sent.
    pub(super) fn receive(&mut self, now: Micros) -> Result<(), Trouble> {
        let orders = [
            Command::Standby { crystal: true },
            Command::ClearInterrupts(irq::ALL),
            Command::Frequency(self.config.frequency_hz),
            Command::Packet { profile: self.config.profile, len: self.config.max_frame },
            Command::Receive,
        ];
        self.script = orders.iter().map(Command::encode).collect();
        (self.packet_since, self.ended, self.stopping, self.waited) = (None, None, false, false);
        (self.phase, self.tuning_since) = (Phase::Tuning, now);
        self.look = now + CONFIRM_US;
        self.give()
    }

    // ------------------------------------------------------------------------------------- for all

    /// An end is seen before its edge is told: the edge, which knows the time, gets a moment.
    fn edge_may_come(&mut self, now: Micros) -> bool {
        if self.ended.is_some() || std::mem::replace(&mut self.waited, true) {
            return false;
        }
        self.look = now + CONFIRM_US;
        true
    }

    fn service(&mut self, now: Micros) {
        let result = match self.phase {
            Phase::Down => {
                self.reset(now);
                Ok(())
            }
            Phase::Held => self.release(now),
            Phase::SettingUp => self.set_up(now),
            Phase::Tuning | Phase::Listening => self.look_in(now),
            Phase::Resting => {
                self.look = Micros::MAX;
                self.give()
            }
            Phase::Sending(deadline) => self.look_out(now, deadline),
        };
        self.conclude(now, result);
    }

    /// The end of a step. Nothing that BUSY puts off is put off for ever.
    pub(super) fn conclude(&mut self, now: Micros, result: Result<(), Trouble>) {
        match result {
            Ok(()) => self.busy_since = None,
            Err(Trouble::Is(problem)) => self.trouble(now, problem),
            Err(Trouble::Busy) => {
                self.counters.busy += 1;
                let since = *self.busy_since.get_or_insert(now);
                if now.saturating_sub(since) >= BUSY_US {
                    return self.trouble(now, Problem::Stuck);
                }
                self.look = now + BUSY_LOOK_US;
            }
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

impl<S: SpiDevice, B: InputPin, R: OutputPin> Transceiver for Sx126x<S, B, R> {
    fn abilities(&self) -> Abilities {
        Abilities {
            max_frame: self.config.max_frame,
            rssi: true,
            lqi: false,
            offset: false,
            carrier_sense: true,
            start_us: START_US,
        }
    }

    fn send(&mut self, now: Micros, frame: &[u8], listen: bool) -> Result<(), Refusal> {
        let len = u8::try_from(frame.len()).unwrap_or(0);
        if len == 0 || len > self.config.max_frame {
            return Err(Refusal::Length);
        }
        match self.phase {
            Phase::Down | Phase::Held | Phase::SettingUp | Phase::Tuning | Phase::Resting => {
                return Err(Refusal::NotReady);
            }
            Phase::Sending(_) => return Err(Refusal::Occupied),
            Phase::Listening => {}
        }
        match self.begin(now, len, frame, listen) {
            Ok(answer) => answer,
            Err(trouble) => {
                // Nothing was ordered but standby.
                let result = match trouble {
                    Trouble::Busy => self.receive(now),
                    problem @ Trouble::Is(_) => Err(problem),
                };
                self.conclude(now, result);
                Err(Refusal::NotReady)
            }
        }
    }

    /// All of it: nothing can be kept back here.
    fn begin(&mut self, now: Micros, frame: &[u8], listen: bool) -> Result<(), Refusal> {
        self.send(now, frame, listen)
    }

    fn complete(&mut self, _now: Micros) {}

    fn listen(&mut self, now: Micros, on: bool) {
        match (on, self.phase) {
            (false, Phase::Tuning | Phase::Listening) => {
                self.script = [Command::Standby { crystal: true }.encode()].into();
                (self.packet_since, self.ended) = (None, None);
                self.phase = Phase::Resting;
                self.service(now);
            }
            (true, Phase::Resting) => {
                let result = self.receive(now);
                self.conclude(now, result);
            }
            _ => {}
        }
    }

    fn tune(&mut self, now: Micros, frequency_hz: u32) {
        if self.config.frequency_hz == frequency_hz {
            return;
        }
        self.config.frequency_hz = frequency_hz;
        match self.phase {
            // The script that follows has it, and so has the order to receive.
            Phase::Down | Phase::Held | Phase::SettingUp | Phase::Resting => return,
            Phase::Sending(_) => self.event(Event::Unsent(Failure::Aborted)),
            Phase::Tuning | Phase::Listening => {}
        }
        let result = self.receive(now);
        self.conclude(now, result);
    }

    fn carrier(&mut self, now: Micros) -> Option<bool> {
        if self.phase != Phase::Listening {
            return None;
        }
        match self.chip.rssi() {
            Ok(rssi) => Some(self.packet_since.is_some() || dbm(rssi) > CARRIER_DBM),
            Err(trouble) => {
                self.conclude(now, Err(trouble));
                None
            }
        }
    }

    fn abort(&mut self, now: Micros) {
        if matches!(self.phase, Phase::Sending(_)) {
            self.stopping = true;
            self.service(now);
        }
    }

    /// The chip has no measure of it in GFSK packets.
    fn learn(&mut self, _offset_hz: i32) {}

    fn handle_edge(&mut self, at: Micros, line: Line, high: bool) {
        if (line, high) == (Line::Done, true)
            && matches!(self.phase, Phase::Listening | Phase::Tuning | Phase::Sending(_))
        {
            self.ended = Some(at);
            self.service(at);
        }
    }

    fn handle_timeout(&mut self, now: Micros) {
        if now >= self.look {
            self.service(now);
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
        let Counters { received, sent, bad_crc, malformed, missed_edges, resets, .. } = self.counters;
        Tally { received, sent, bad_crc, malformed, missed_edges, resets }
    }
}

/// What is no mode to be in while receive is ordered.
fn receives(mode: u8) -> Result<bool, Trouble> {
    match mode {
        mode::RX => Ok(true),
        mode::STANDBY_RC | mode::TX => Err(Problem::Stuck.into()),
        _ => Ok(false),
    }
}
