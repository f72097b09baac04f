//! A lock's radio: the link layer's other end on a chip of its own, and a stranger's, who says what he likes.

use cardea_subghz::Line;
use cardea_subghz::cc1101::{Cc1101, Config};
use cardea_subghz::port::{Port, PortEvent};
use cardea_subghz_link::{
    AirFrame, Listen, LockId, Micros, Node, NodeConfig, NodeEvent, NodeStats, Outcome, Profile, Refusal,
    Region, Secret, Transmit,
};

use super::{Air, ChipConfig, Spi};
use crate::subghz::air::Edge;

/// A receiver that hears no carrier for so long after it was switched on for a moment is switched off.
const SNIFF: Micros = 2_000;
/// Between two looks at the carrier meanwhile.
const LOOK: Micros = 300;
/// A chip that hears nothing is not reset: most locks hear nothing for hours.
const NEVER: Micros = u64::MAX / 2;
/// What is done at once, at most.
const STEPS: usize = 64;

/// What a lock's radio is made with.
#[derive(Clone)]
pub struct RadioConfig {
    /// The lock's name.
    pub lock: LockId,
    /// As on its label.
    pub secret: Secret,
    /// Modulation.
    pub profile: Profile,
    /// Milliseconds between two listenings; 0: always.
    pub interval_ms: u16,
    /// Milliseconds that it listens after each of its own frames.
    pub linger_ms: u16,
    /// For backoffs.
    pub seed: u32,
    /// How far its crystal is off, parts per million.
    pub ppm: f64,
}

/// What the lock's firmware hears of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RadioEvent {
    /// In the network.
    Joined,
    /// Nobody answered.
    NotJoined,
    /// A frame.
    Received(Vec<u8>),
    /// What became of a frame of its own.
    Outcome(Outcome),
    /// Somebody keeps it awake, and it listens after its own frames only for a while.
    Drained,
}

/// A lock's radio on a chip, which sleeps unless the link layer wants it to listen.
pub struct LockRadio {
    config: RadioConfig,
    node: Node,
    port: Port<Cc1101<Spi>>,
    chip: usize,
    /// What survives a power cut.
    record: Option<Vec<u8>>,
    listen: Listen,
    /// When it looks for a carrier next, and until when it does.
    sniff: Option<(Micros, Option<Micros>)>,
    events: Vec<RadioEvent>,
}

impl LockRadio {
    /// A new radio that is in no network.
    ///
    /// # Errors
    /// None that can happen without a record.
    pub fn new(config: RadioConfig, air: &Air) -> Result<Self, cardea_subghz_link::Error> {
        let chip = ChipConfig { ppm: config.ppm, ..ChipConfig::default() };
        let spi = air.chip(chip).at_once();
        let (chip, now) = (spi.chip(), air.now());
        let radio = Cc1101::new(spi, chip_config(config.profile), now, NEVER);
        Ok(Self {
            node: node(&config, None, now)?,
            port: Port::new(radio, config.profile, now),
            config,
            chip,
            record: None,
            listen: Listen::Off,
            sniff: None,
            events: Vec::new(),
        })
    }

    /// Which chip of the air it has.
    #[must_use]
    pub fn chip(&self) -> usize {
        self.chip
    }

    /// Whose it is.
    #[must_use]
    pub fn lock(&self) -> LockId {
        self.config.lock
    }

    /// Whether it is in a network.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.node.is_joined()
    }

    /// What it has ignored.
    #[must_use]
    pub fn stats(&self) -> NodeStats {
        self.node.stats()
    }

    /// Asks to be let in.
    pub fn join(&mut self, now: Micros) {
        self.node.join(now);
    }

    /// Sends a frame, which is not on the air after `deadline`. Ends in one [`RadioEvent::Outcome`].
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn send(&mut self, now: Micros, frame: &[u8], deadline: Micros) -> Result<(), Refusal> {
        let sent = self.node.send(now, 0, frame, deadline);
        if sent.is_err() {
            self.events.push(RadioEvent::Outcome(Outcome::Cancelled));
        }
        sent
    }

    /// The battery was out: only what was stored is left.
    pub fn reboot(&mut self, now: Micros) {
        if let Ok(again) = node(&self.config, self.record.as_deref(), now) {
            self.node = again;
        }
    }

    /// What happened since the last call.
    pub fn events(&mut self) -> Vec<RadioEvent> {
        std::mem::take(&mut self.events)
    }

    pub(super) fn edge(&mut self, edge: Edge) {
        let line = if edge.gdo == 0 { Line::Packet } else { Line::Fifo };
        self.port.handle_edge(edge.at_ns / 1_000, line, edge.high);
    }

    /// When [`turn`](Self::turn) is due.
    pub(super) fn due(&self) -> Micros {
        let node = if self.port.is_sending() { None } else { self.node.poll_timeout() };
        let sniff = self.sniff.map(|(look, _)| look);
        self.port.poll_timeout().min(node.unwrap_or(NEVER)).min(sniff.unwrap_or(NEVER))
    }

    /// Does all that is due.
    pub(super) fn turn(&mut self, clock: &mut dyn FnMut() -> Micros) {
        for _ in 0..STEPS {
            self.port.handle_timeout(clock);
            let mut moved = false;
            while let Some(event) = self.port.poll_event() {
                self.port_event(event, clock());
                moved = true;
            }
            let now = clock();
            self.node.handle_timeout(now);
            while let Some(record) = self.node.poll_store() {
                self.record = Some(record.to_vec());
                self.node.handle_stored(true);
                moved = true;
            }
            while let Some(event) = self.node.poll_event() {
                self.events.extend(told(event));
                moved = true;
            }
            self.look(now);
            if !self.port.is_sending() {
                if let Some(transmit) = self.node.poll_transmit(now) {
                    self.port.transmit(clock, transmit);
                    moved = true;
                } else {
                    self.tune(now);
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn port_event(&mut self, event: PortEvent, now: Micros) {
        match event {
            PortEvent::Received { frame, quality, at, .. } => {
                self.node.handle_received(at, frame.as_bytes(), quality);
            }
            PortEvent::Sent { at } => {
                self.node.handle_sent(at);
                self.tune(at);
            }
            PortEvent::NotSent => {
                self.node.handle_busy(now);
                self.tune(now);
            }
            PortEvent::Cut { .. } | PortEvent::Carrier(_) | PortEvent::Health(_) => {}
        }
    }

    /// The receiver as the link layer wants it.
    fn tune(&mut self, now: Micros) {
        let listen = self.node.poll_listen(now);
        let sniffs = matches!(listen, Listen::Sniff { .. });
        if sniffs != matches!(self.listen, Listen::Sniff { .. }) {
            self.sniff = sniffs.then_some((now, None));
        }
        self.listen = listen;
        match listen {
            Listen::Off => self.port.rest(now),
            Listen::On { channel } | Listen::Sniff { channel } => self.port.listen(now, channel),
        }
    }

    fn look(&mut self, now: Micros) {
        let Some((_, until)) = self.sniff.filter(|(look, _)| *look <= now) else { return };
        match (self.port.carrier(now), until) {
            // It listens until the link layer says otherwise.
            (Some(true), _) => self.sniff = None,
            (Some(false), Some(until)) if now >= until => {
                self.sniff = None;
                self.node.handle_silence(now);
                self.tune(now);
            }
            // The time counts from when it hears.
            (Some(false), until) => self.sniff = Some((now + LOOK, until.or(Some(now + SNIFF)))),
            (None, until) => self.sniff = Some((now + LOOK, until)),
        }
    }
}

pub(super) fn node(
    config: &RadioConfig,
    record: Option<&[u8]>,
    now: Micros,
) -> Result<Node, cardea_subghz_link::Error> {
    let RadioConfig { lock, secret, profile, interval_ms, linger_ms, seed, .. } = config.clone();
    let config = NodeConfig { lock, profile, region: Region::Eu433, interval_ms, linger_ms, seed };
    Node::new(config, secret, record, now)
}

pub(super) fn told(event: NodeEvent) -> Option<RadioEvent> {
    Some(match event {
        NodeEvent::Joined => RadioEvent::Joined,
        NodeEvent::NotJoined => RadioEvent::NotJoined,
        NodeEvent::Received { frame, .. } => RadioEvent::Received(frame.to_vec()),
        NodeEvent::Outcome { outcome, .. } => RadioEvent::Outcome(outcome),
        NodeEvent::Drained => RadioEvent::Drained,
        NodeEvent::Trouble { .. } => return None,
    })
}

/// What a chip is set to for channel 0 of a profile.
pub(super) fn chip_config(profile: Profile) -> Config {
    let chip = match profile {
        Profile::Slow => cardea_subghz::cc1101::Profile::Slow,
        // A serial module is no chip.
        Profile::Standard | Profile::Serial(_) => cardea_subghz::cc1101::Profile::Standard,
        Profile::Fast => cardea_subghz::cc1101::Profile::Fast,
    };
    let frequency_hz = profile.channels().first().copied().unwrap_or(433_920_000);
    Config { profile: chip, frequency_hz, ..Config::default() }
}

/// Somebody with a chip and no key: it keeps what it hears and says what it is told to.
pub struct Stranger {
    port: Port<Cc1101<Spi>>,
    chip: usize,
    heard: Vec<AirFrame>,
    says: Vec<AirFrame>,
    profile: Profile,
}

impl Stranger {
    /// One who listens.
    #[must_use]
    pub fn new(profile: Profile, air: &Air) -> Self {
        let spi = air.chip(ChipConfig::default()).at_once();
        let (chip, now) = (spi.chip(), air.now());
        let port = Port::new(Cc1101::new(spi, chip_config(profile), now, NEVER), profile, now);
        Self { port, chip, heard: Vec::new(), says: Vec::new(), profile }
    }

    /// Puts this on the air as soon as it can, behind what it says already.
    pub fn say(&mut self, frame: AirFrame) {
        self.says.insert(0, frame);
    }

    /// Whether it has said all.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.says.is_empty() && !self.port.is_sending()
    }

    /// What it has heard since the last call.
    pub fn heard(&mut self) -> Vec<AirFrame> {
        std::mem::take(&mut self.heard)
    }

    pub(super) fn chip(&self) -> usize {
        self.chip
    }

    pub(super) fn edge(&mut self, edge: Edge) {
        let line = if edge.gdo == 0 { Line::Packet } else { Line::Fifo };
        self.port.handle_edge(edge.at_ns / 1_000, line, edge.high);
    }

    pub(super) fn due(&self) -> Micros {
        if !self.says.is_empty() && !self.port.is_sending() { 0 } else { self.port.poll_timeout() }
    }

    pub(super) fn turn(&mut self, clock: &mut dyn FnMut() -> Micros) {
        self.port.handle_timeout(clock);
        while let Some(event) = self.port.poll_event() {
            if let PortEvent::Received { frame, .. } = event {
                self.heard.push(frame);
            }
        }
        if !self.port.is_sending()
            && let Some(frame) = self.says.pop()
        {
            let (preamble, start_by) = (self.profile.preamble(), Micros::MAX);
            // He does not care who else speaks.
            self.port.transmit(clock, Transmit { frame, channel: 0, preamble, cca: false, start_by });
        }
    }
}
