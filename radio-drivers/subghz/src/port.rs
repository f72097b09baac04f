//! Between a link layer's end and a transceiver: carrier sense, the last moment to begin, channels, and what a chip strips of a frame.
//!
//! For either end of the link: it takes [`Transmit`]s and gives [`PortEvent`]s. Like the transceiver it never waits. Where the
//! moment matters it asks a clock that is handed in, because a process can be away between two lines.

use std::collections::VecDeque;

use cardea_subghz_link::{AirFrame, Profile, Quality, Transmit};

use crate::{Event, Failure, Health, Line, Micros, Received, Transceiver};

/// The channel must have been clear for so long before it is used.
const CLEAR_US: Micros = 5_000;
/// Between two looks at the carrier.
const LOOK_US: Micros = 1_000;
/// Until the next try with a transceiver that is busy or not ready.
const RETRY_US: Micros = 300;
/// Between two looks at the carrier for the link layer's statistics.
const SAMPLE_US: Micros = 100_000;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortEvent {
    /// A frame with a right checksum.
    Received {
        /// LEN, whitened bytes, CRC, as the link layer has them.
        frame: AirFrame,
        /// How it was heard.
        quality: Quality,
        /// How far its sender is above our own frequency, Hz; for [`Port::learn`] if it was one of ours.
        offset_hz: Option<i32>,
        /// When its last bit was received.
        at: Micros,
    },
    /// The last bit of a [`Transmit`] is out.
    Sent {
        /// When.
        at: Micros,
    },
    /// It was begun and not sent whole; so long it was on the air, at the most. [`NotSent`](Self::NotSent) follows.
    Cut {
        /// Microseconds.
        air: Micros,
    },
    /// The channel was not clear, or it could not begin in time, or not be sent whole: it counts as not sent.
    NotSent,
    /// A look at the carrier while nothing of ours was on the air; true: somebody's is.
    Carrier(bool),
    /// The transceiver's state.
    Health(Health),
}

/// What was not sent, and why. Since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortCounters {
    /// The channel was not clear, or the transceiver not ready until the last moment.
    pub busy: u64,
    /// Begun after the last moment, and cut off.
    pub late: u64,
    /// The transceiver failed.
    pub failed: u64,
}

struct Out {
    transmit: Transmit,
    /// Since when the channel is clear.
    clear_since: Option<Micros>,
    /// When to try next.
    at: Micros,
    /// The transceiver has it.
    begun: bool,
}

/// One transceiver, as the link layer sees it.
pub struct Port<T> {
    radio: T,
    profile: Profile,
    frequencies: &'static [u32],
    channel: u8,
    out: Option<Out>,
    next_sample: Micros,
    counters: PortCounters,
    events: VecDeque<PortEvent>,
}

impl<T: Transceiver> Port<T> {
    /// A port that listens on channel 0 of this profile, as the transceiver must be set to.
    pub fn new(radio: T, profile: Profile, now: Micros) -> Self {
        Self {
            radio,
            profile,
            frequencies: profile.channels(),
            channel: 0,
            out: None,
            next_sample: now + SAMPLE_US,
            counters: PortCounters::default(),
            events: VecDeque::new(),
        }
    }

    /// The transceiver.
    pub fn radio(&self) -> &T {
        &self.radio
    }

    /// What was not sent.
    #[must_use]
    pub fn counters(&self) -> PortCounters {
        self.counters
    }

    /// Whether a frame of ours waits or is on the air.
    #[must_use]
    pub fn is_sending(&self) -> bool {
        self.out.is_some()
    }

    /// Switches the receiver off while nothing is sent, until [`listen`](Self::listen) or [`transmit`](Self::transmit).
    pub fn rest(&mut self, now: Micros) {
        if self.out.is_none() {
            self.radio.listen(now, false);
        }
    }

    /// The channel to listen on while nothing is sent.
    pub fn listen(&mut self, now: Micros, channel: u8) {
        if self.out.is_none() {
            self.tune(now, channel);
            self.radio.listen(now, true);
        }
    }

    /// How far one of ours was off.
    pub fn learn(&mut self, offset_hz: i32) {
        self.radio.learn(offset_hz);
    }

    /// Puts a frame on the air, or says that it could not. One at a time: the link layer hands over the next when it knows of the last.
    pub fn transmit(&mut self, clock: &mut dyn FnMut() -> Micros, transmit: Transmit) {
        let at = clock();
        self.out = Some(Out { transmit, clear_since: None, at, begun: false });
        self.attempt(clock);
    }

    /// As [`Transceiver::handle_edge`].
    pub fn handle_edge(&mut self, at: Micros, line: Line, high: bool) {
        self.radio.handle_edge(at, line, high);
        self.collect();
    }

    /// Time has come to [`poll_timeout`](Self::poll_timeout). Early is harmless.
    pub fn handle_timeout(&mut self, clock: &mut dyn FnMut() -> Micros) {
        let now = clock();
        if self.radio.poll_timeout() <= now {
            self.radio.handle_timeout(now);
        }
        self.collect();
        if self.out.as_ref().is_some_and(|out| !out.begun && out.at <= now) {
            self.attempt(clock);
        }
        if now >= self.next_sample {
            self.next_sample = now + SAMPLE_US;
            if self.out.is_none()
                && let Some(busy) = self.radio.carrier(now)
            {
                self.events.push_back(PortEvent::Carrier(busy));
            }
        }
    }

    /// When it wants [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Micros {
        let out = self.out.as_ref().filter(|out| !out.begun).map(|out| out.at);
        self.radio.poll_timeout().min(self.next_sample).min(out.unwrap_or(Micros::MAX))
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<PortEvent> {
        self.events.pop_front()
    }

    /// Whether somebody is on the channel at this moment; `None` while it cannot be said.
    pub fn carrier(&mut self, now: Micros) -> Option<bool> {
        self.radio.carrier(now)
    }

    fn tune(&mut self, now: Micros, channel: u8) {
        let Some(hz) = self.frequencies.get(usize::from(channel)) else { return };
        if channel != self.channel {
            self.channel = channel;
            self.radio.tune(now, *hz);
        }
    }

    fn attempt(&mut self, clock: &mut dyn FnMut() -> Micros) {
        let now = clock();
        let Some(out) = &mut self.out else { return };
        let Transmit { channel, cca, start_by, .. } = out.transmit;
        // What leaves later than it is handed over must be handed over sooner.
        let abilities = self.radio.abilities();
        let late = |now: Micros| now.saturating_add(abilities.start_us.into()) > start_by;
        let cca = cca && abilities.carrier_sense;
        if late(now) {
            self.counters.busy += 1;
            return self.give_up();
        }
        if channel != self.channel {
            out.at = now + RETRY_US;
            return self.tune(now, channel);
        }
        self.radio.listen(now, true);
        if cca {
            let Some(busy) = self.radio.carrier(now) else {
                (out.clear_since, out.at) = (None, now + RETRY_US);
                return;
            };
            // Not waited for here: all who did would begin in the same moment after. When to try again is drawn by the link layer.
            if busy {
                self.counters.busy += 1;
                return self.give_up();
            }
            let until = *out.clear_since.get_or_insert(now) + CLEAR_US;
            if now < until {
                out.at = until.min(now + LOOK_US);
                return;
            }
        }
        // What has a life of its own is given in two parts, with a look at the clock between. Strobes and answers are worth nothing late, and
        // have no time for that.
        let frame = out.transmit.frame.payload();
        let given = if out.transmit.cca {
            self.radio.begin(now, frame, cca)
        } else {
            self.radio.send(now, frame, cca)
        };
        match given {
            Ok(()) => {
                out.begun = true;
                // Between the look at the clock and the order we may have been away.
                let now = clock();
                if late(now) {
                    self.counters.late += 1;
                    self.radio.abort(now);
                } else {
                    self.radio.complete(now);
                }
            }
            Err(crate::Refusal::Length) => {
                self.counters.failed += 1;
                self.give_up();
            }
            Err(crate::Refusal::Occupied | crate::Refusal::NotReady) => {
                (out.clear_since, out.at) = (None, now + RETRY_US);
            }
        }
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(event) = self.radio.poll_event() {
            match event {
                Event::Received(Received { frame, rssi, lqi, offset_hz, at, .. }) => {
                    let Some(frame) = AirFrame::from_payload(&frame) else { continue };
                    let quality = Quality {
                        rssi: rssi.and_then(|rssi| i8::try_from(rssi.clamp(i8::MIN.into(), 0)).ok()),
                        // The chip's is lower for better, 0 to 127; everybody else's is the other way round.
                        lqi: lqi.map(|lqi| 255 - 2 * lqi.min(127)),
                    };
                    self.events.push_back(PortEvent::Received { frame, quality, offset_hz, at });
                }
                Event::Sent { at } => {
                    if self.out.take_if(|out| out.begun).is_some() {
                        self.events.push_back(PortEvent::Sent { at });
                    }
                }
                Event::Unsent(Failure::Busy) => {
                    if self.out.as_ref().is_some_and(|out| out.begun) {
                        self.counters.busy += 1;
                        self.give_up();
                    }
                }
                Event::Unsent(failure) => {
                    if let Some(out) = self.out.as_ref().filter(|out| out.begun) {
                        let air = self.profile.air_time(out.transmit.frame.len());
                        self.events.push_back(PortEvent::Cut { air });
                        self.counters.failed += u64::from(failure != Failure::Aborted);
                        self.give_up();
                    }
                }
                Event::Health(health) => self.events.push_back(PortEvent::Health(health)),
            }
        }
    }

    fn give_up(&mut self) {
        self.out = None;
        self.events.push_back(PortEvent::NotSent);
    }
}
