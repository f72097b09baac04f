//! A radio module behind a UART that passes bytes through: HC-12, E32 and their like.
//!
//! Such a module has a modem, a preamble, a packet format and a checksum of its own; what is on the air is its maker's, and only
//! another module of its kind hears it. Bytes go in, and the same bytes come out somewhere else, or do not. So each frame goes over
//! it as
//! ```text
//! 00 | COBS( LEN | frame, LEN bytes | CRC-16/CMS over LEN and frame ) | 00
//! ```
//! which is in step again after any loss or rubbish: LEN, frame and CRC are those that a CC1101 has on the air.
//!
//! **What it cannot say it does not say:** no strength, no quality, no frequency error, no carrier, no moment of reception but the
//! one at which the port gave the last byte; it cannot change its channel, and [`Transceiver::tune`] does nothing. Whether a module
//! is there at all is not known: `up` means that the port takes bytes.
//!
//! **How late a byte may leave.** A module begins when it has a packet, or when the stream pauses, so that the first bit may leave
//! as late as the last byte was handed to it and [`Module::hold_us`] later: [`Module::start_us`], which is told as
//! [`Abilities::start_us`] and which the port subtracts from the last moment to begin. Bytes that the port does not take within
//! their own time and [`SLACK_US`] are dropped with the rest of their frame, which no receiver then takes for one. What the module
//! has, nothing calls back: [`Transceiver::abort`] cuts off what it has not got. How long the module holds what it has is what its
//! maker says, and nothing here can see it: with a module that holds a packet for longer (one that waits for a free channel, above
//! all) the promise is broken, and the deadline inside the sealed message is what is left.
//!
//! A frame whose bytes come in over more than [`Config::longest_us`] is dropped, so that none is completed by the zero before the next.
//!
//! **Pacing.** The next frame is refused until the one before must be out by the module's air rate, so that its buffer never holds
//! more than one; and for longer when the hour's time on the air is spent, by the same arithmetic.

pub mod cobs;

use std::collections::VecDeque;

use cardea_subghz_link::phy::PORT;
use cardea_subghz_link::{AirFrame, DutyBudget, Module};

use crate::{
    Abilities, Event, Failure, Health, Line, Micros, Problem, Received, Refusal, Tally, Transceiver,
};

/// Longest frame, bytes: the link layer's.
pub const MAX_FRAME: u8 = 61;
/// What the port may be late with taking bytes.
pub const SLACK_US: Micros = PORT;
/// Between two looks at a port that says nothing, or takes nothing.
const LOOK_US: Micros = 5_000;
/// And at one that tells when there is something to read.
const TOLD_US: Micros = 500_000;
/// Reads at one look, at most; the rest at the next.
const READS: usize = 8;
/// Between two attempts to open a port that is gone: from, to.
const BACKOFF_US: (Micros, Micros) = (100_000, 5_000_000);
/// Longest encoding: LEN, frame, CRC.
const ENCODED: usize = cobs::encoded(1 + MAX_FRAME as usize + 2);
/// Events that wait for their reader; older ones are dropped.
const EVENTS: usize = 64;

/// The port failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the port is gone")]
pub struct Gone;

/// A stream of bytes that never waits, without flow control: what it takes is on the wire at the rate that is configured.
pub trait Bytes {
    /// Whoever owns it calls [`Transceiver::handle_edge`] when there is something to read.
    const TELLS: bool = false;

    /// What has come; 0: nothing now.
    ///
    /// # Errors
    /// It has to be opened again.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Gone>;

    /// How many of them it took.
    ///
    /// # Errors
    /// It has to be opened again.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Gone>;

    /// Opens it, or opens it again.
    ///
    /// # Errors
    /// It is not there.
    fn open(&mut self) -> Result<(), Gone>;
}

/// A module, as its own configuration has it. Nothing of it can be read from the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// As it is set up; both ends of a link have the same.
    pub module: Module,
    /// Microseconds on the air in any 3,600 s.
    pub budget_us: Micros,
    /// Nothing heard for so long is told.
    pub silence_us: Micros,
}

impl Config {
    /// From the first byte of a frame at the receiving port to its last, at the most: as long as it takes to the end of the air.
    #[must_use]
    pub fn longest_us(&self) -> Micros {
        self.module.start_us() + self.module.air_us(ENCODED + 2)
    }
}

/// What happened, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Frames with a right checksum.
    pub received: u64,
    /// Frames sent.
    pub sent: u64,
    /// What stood between two zeros was none: cut, damaged, or rubbish.
    pub damaged: u64,
    /// It was too long to be one.
    pub too_long: u64,
    /// Times that the port was opened.
    pub opened: u64,
    /// Events that nobody fetched.
    pub dropped: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Down,
    Listening,
    /// Bytes go to the port, until then.
    Writing(Micros),
    /// The module has it; out by then.
    Airing(Micros),
}

/// One module.
pub struct Serial<P> {
    port: P,
    config: Config,
    phase: Phase,
    look: Micros,
    decoder: cobs::Decoder<ENCODED>,
    /// When the first byte of what is in the decoder came.
    began: Micros,
    /// What the port has not taken.
    unsent: VecDeque<u8>,
    /// Of the frame that is being sent, with its zeros.
    len: usize,
    duty: DutyBudget,
    /// What the module has of a frame that was cut is out by then.
    quiet_until: Micros,
    heard: Micros,
    backoff: Micros,
    health: Health,
    counters: Counters,
    events: VecDeque<Event>,
}

impl<P: Bytes> Serial<P> {
    /// A driver that opens the port at its first timeout.
    pub fn new(port: P, config: Config, now: Micros) -> Self {
        Self {
            port,
            config,
            phase: Phase::Down,
            look: now,
            decoder: cobs::Decoder::default(),
            began: now,
            unsent: VecDeque::new(),
            len: 0,
            duty: DutyBudget::new(config.budget_us),
            quiet_until: now,
            heard: now,
            backoff: BACKOFF_US.0,
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

    fn open(&mut self, now: Micros) {
        if self.port.open().is_err() {
            self.say(false, Some(Problem::NoChip));
            self.look = now + self.backoff;
            self.backoff = (self.backoff * 2).min(BACKOFF_US.1);
            return;
        }
        self.counters.opened += 1;
        self.decoder = cobs::Decoder::default();
        self.backoff = BACKOFF_US.0;
        (self.phase, self.heard) = (Phase::Listening, now);
        self.say(true, None);
    }

    fn lose(&mut self, now: Micros) {
        // The module may send it or not.
        if matches!(self.phase, Phase::Writing(_) | Phase::Airing(_)) {
            self.event(Event::Unsent(Failure::Reset));
            self.settle(now);
        }
        self.unsent.clear();
        self.phase = Phase::Down;
        self.say(false, Some(Problem::NoChip));
        self.look = now + self.backoff;
    }

    /// As much as the port takes.
    fn write(&mut self, now: Micros, until: Micros) -> Result<(), Gone> {
        let taken = self.port.write(self.unsent.make_contiguous())?;
        self.unsent.drain(..taken.min(self.unsent.len()));
        if self.unsent.is_empty() {
            let hold = Micros::from(self.config.module.hold_us);
            self.phase = Phase::Airing(until + hold + self.config.module.air_us(self.len));
        } else if now >= until {
            // It would be later than was promised, and what is there of it is no frame.
            self.cut(now, Failure::Timeout)?;
        }
        Ok(())
    }

    /// Drops what the port has not got, and ends what it has with a zero, so that the next frame is not taken for its rest.
    fn cut(&mut self, now: Micros, failure: Failure) -> Result<(), Gone> {
        self.unsent.clear();
        self.phase = Phase::Listening;
        self.settle(now);
        self.event(Event::Unsent(failure));
        // Each frame begins with a zero as well: one that is not taken is no loss.
        self.port.write(&[0])?;
        Ok(())
    }

    /// The whole of a frame is counted, and waited for, of which the module may have a part.
    fn settle(&mut self, now: Micros) {
        let air = self.config.module.air_us(self.len);
        self.duty.spend(now, air);
        self.quiet_until = now + self.config.module.start_us() + air;
    }

    fn read(&mut self, now: Micros) -> Result<(), Gone> {
        let mut chunk = [0; 256];
        for _ in 0..READS {
            let read = self.port.read(&mut chunk)?;
            // A frame whose last zero was lost would come with the next one's first, however much later that is.
            if !self.decoder.is_empty() && now.saturating_sub(self.began) > self.config.longest_us() {
                self.decoder = cobs::Decoder::default();
                self.counters.damaged += 1;
            }
            for byte in chunk.iter().take(read) {
                if self.decoder.is_empty() {
                    self.began = now;
                }
                match self.decoder.push(*byte) {
                    None => {}
                    Some(Err(cobs::Error::TooLong)) => self.counters.too_long += 1,
                    Some(Err(cobs::Error::Malformed)) => self.counters.damaged += 1,
                    Some(Ok(packet)) => match frame_of(packet) {
                        Some(frame) => {
                            let frame = frame.to_vec();
                            self.received(now, frame);
                        }
                        None => self.counters.damaged += 1,
                    },
                }
            }
            if read == 0 {
                return Ok(());
            }
        }
        // There is more.
        self.look = now + 1;
        Ok(())
    }

    fn received(&mut self, now: Micros, frame: Vec<u8>) {
        self.counters.received += 1;
        self.heard = now;
        self.say(true, None);
        let (rssi, lqi, offset_hz) = (None, None, None);
        self.event(Event::Received(Received { frame, rssi, lqi, offset_hz, at: now, timed: false }));
    }

    fn turn(&mut self, now: Micros) -> Result<(), Gone> {
        self.look = now + if P::TELLS { TOLD_US } else { LOOK_US };
        self.read(now)?;
        match self.phase {
            Phase::Writing(until) => self.write(now, until)?,
            Phase::Airing(until) if now >= until => {
                self.duty.spend(until, self.config.module.air_us(self.len));
                self.counters.sent += 1;
                self.phase = Phase::Listening;
                self.event(Event::Sent { at: until });
            }
            _ => {}
        }
        if let Phase::Airing(until) | Phase::Writing(until) = self.phase {
            self.look = self.look.min(until.max(now + 1));
        }
        if matches!(self.phase, Phase::Writing(_)) {
            self.look = self.look.min(now + LOOK_US);
        }
        if now.saturating_sub(self.heard) >= self.config.silence_us {
            self.say(true, Some(Problem::Silent));
        }
        Ok(())
    }

    fn conclude(&mut self, now: Micros, result: Result<(), Gone>) {
        if result == Err(Gone) {
            self.lose(now);
        }
    }

    fn say(&mut self, up: bool, problem: Option<Problem>) {
        let health = Health { up, problem, version: None };
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

/// Of LEN, frame and CRC, if they agree.
fn frame_of(packet: &[u8]) -> Option<&[u8]> {
    let frame = packet.get(1..packet.len().checked_sub(2)?)?;
    let right = !frame.is_empty() && AirFrame::from_payload(frame)?.as_bytes() == packet;
    right.then_some(frame)
}

impl<P: Bytes> Transceiver for Serial<P> {
    fn abilities(&self) -> Abilities {
        Abilities {
            max_frame: MAX_FRAME,
            rssi: false,
            lqi: false,
            offset: false,
            carrier_sense: false,
            start_us: u32::try_from(self.config.module.start_us()).unwrap_or(u32::MAX),
        }
    }

    fn send(&mut self, now: Micros, frame: &[u8], _listen: bool) -> Result<(), Refusal> {
        if frame.is_empty() || frame.len() > usize::from(MAX_FRAME) {
            return Err(Refusal::Length);
        }
        match self.phase {
            Phase::Down => return Err(Refusal::NotReady),
            Phase::Writing(_) | Phase::Airing(_) => return Err(Refusal::Occupied),
            Phase::Listening if now < self.quiet_until => return Err(Refusal::Occupied),
            Phase::Listening => {}
        }
        let Some(whole) = AirFrame::from_payload(frame) else { return Err(Refusal::Length) };
        let stuffed = cobs::encode(whole.as_bytes());
        self.len = stuffed.len() + 2;
        if !self.duty.allows(now, self.config.module.air_us(self.len), false) {
            return Err(Refusal::NotReady);
        }
        self.unsent = [0].into_iter().chain(stuffed).chain([0]).collect();
        let until = now + self.config.module.wire_us(self.len) + SLACK_US;
        self.phase = Phase::Writing(until);
        self.look = now + 1;
        if self.write(now, until).is_err() {
            self.phase = Phase::Listening;
            self.lose(now);
            return Err(Refusal::NotReady);
        }
        Ok(())
    }

    /// It cannot be switched off.
    /// All of it: nothing can be kept back here.
    fn begin(&mut self, now: Micros, frame: &[u8], listen: bool) -> Result<(), Refusal> {
        self.send(now, frame, listen)
    }

    fn complete(&mut self, _now: Micros) {}

    fn listen(&mut self, _now: Micros, _on: bool) {}

    /// Its channel is in its own configuration.
    fn tune(&mut self, _now: Micros, _frequency_hz: u32) {}

    fn carrier(&mut self, _now: Micros) -> Option<bool> {
        None
    }

    fn abort(&mut self, now: Micros) {
        if matches!(self.phase, Phase::Writing(_)) {
            let result = self.cut(now, Failure::Aborted);
            self.conclude(now, result);
        }
    }

    fn learn(&mut self, _offset_hz: i32) {}

    /// It has no lines: whichever it is, there is something to read.
    fn handle_edge(&mut self, at: Micros, _line: Line, _high: bool) {
        self.handle_timeout(at);
    }

    fn handle_timeout(&mut self, now: Micros) {
        if self.phase == Phase::Down {
            if now >= self.look {
                self.open(now);
            }
            return;
        }
        let result = self.turn(now);
        self.conclude(now, result);
    }

    fn poll_timeout(&self) -> Micros {
        self.look
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn tally(&self) -> Tally {
        let Counters { received, sent, damaged, too_long, opened, .. } = self.counters;
        let malformed = damaged.saturating_add(too_long);
        Tally { received, sent, malformed, resets: opened, ..Tally::default() }
    }
}
