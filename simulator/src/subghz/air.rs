//! The clock, the chips on it, and what they hear of each other.

mod meaning;
mod receiving;
mod sending;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cardea_subghz::{Event, Transceiver};

use super::chip::{Chip, ChipConfig, Faults, Heard, State};
use super::model::Model;
use super::spent::{Account, Spent};
use super::spi::{BusyPin, ResetPin, Spi};
use super::sx126x::{Sx126x, Sx126xConfig};
use crate::Random;
use meaning::Pn9;

/// What is weaker is not heard, dBm.
const SENSITIVITY: f64 = -100.0;
/// What is stronger is a carrier, dBm.
const CARRIER: f64 = -90.0;
/// How much stronger than everything else a packet must be to be read, dB.
const CAPTURE: f64 = 6.0;
/// Noise floor as RSSI shows it, dBm.
const FLOOR: f64 = -110.0;

/// What the air does to what is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// Between any two antennas, dB.
    pub path_loss: f64,
    /// That a receiver does not notice a packet at all, 0.0 to 1.0.
    pub loss: f64,
    /// That a bit arrives wrong, 0.0 to 1.0.
    pub bit_errors: f64,
}

impl Default for Conditions {
    fn default() -> Self {
        Self { path_loss: 70.0, loss: 0.0, bit_errors: 0.0 }
    }
}

/// Somebody who sends noise on every channel.
#[derive(Debug, Clone, Copy)]
pub struct Jammer {
    /// As every receiver hears it, dBm.
    pub dbm: f64,
}

/// One transmission, as it was on the air.
#[derive(Debug, Clone)]
pub struct Burst {
    /// Which chip.
    pub sender: usize,
    /// First bit, nanoseconds of the virtual clock.
    pub start_ns: u64,
    /// Length of a byte, nanoseconds.
    pub byte_ns: u64,
    /// Carrier with the crystal's error, Hz.
    pub carrier_hz: f64,
    /// Deviation, Hz: a 1 is above the carrier.
    pub deviation_hz: f64,
    /// MDMCFG2's modulation is GFSK, not 2-FSK.
    pub gaussian: bool,
    /// Power at the antenna, dBm.
    pub dbm: f64,
    /// Preamble, sync words, length, frame, CRC: most significant bits first.
    pub bytes: Vec<u8>,
    /// How many of them are preamble.
    pub preamble: usize,
}

/// An edge of a chip's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// When, nanoseconds.
    pub at_ns: u64,
    /// 0 or 2: GDO0 or GDO2.
    pub gdo: u8,
    /// Its level since.
    pub high: bool,
}

/// How far a sender is.
struct Sending {
    burst: usize,
    /// What comes after the byte that is on the air.
    prefix: VecDeque<u8>,
    left: Option<usize>,
    /// So far, and the polynomial.
    crc: Option<(u16, u16)>,
    whitening: Pn9,
    tail: VecDeque<u8>,
    next: u64,
}

/// How far a receiver is.
struct Receiving {
    burst: usize,
    sync: u32,
    left: Option<usize>,
    /// So far, and the polynomial.
    crc: Option<(u16, u16)>,
    whitening: Pn9,
    tail: Vec<u8>,
    errors: u32,
}

struct Node {
    chip: Model,
    account: Account,
    /// Errata of the CC1101: the last transmission was cut off, and the next one begins with a byte too many.
    cut: bool,
    sending: Option<Sending>,
    receiving: Option<Receiving>,
    lines: [bool; 2],
    edges: VecDeque<Edge>,
}

pub(super) struct World {
    now: u64,
    nodes: Vec<Node>,
    bursts: Vec<Burst>,
    /// Those that are not over.
    on_air: Vec<usize>,
    /// What was on the air is kept.
    records: bool,
    conditions: Conditions,
    jammer: Option<Jammer>,
    chance: Random,
}

/// The virtual air. Clones are the same air.
#[derive(Clone)]
pub struct Air(Arc<Mutex<World>>);

impl Air {
    /// An empty one; prints nothing, so that who makes the seed prints it.
    #[must_use]
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        Self(Arc::new(Mutex::new(World {
            now: 0,
            nodes: Vec::new(),
            bursts: Vec::new(),
            on_air: Vec::new(),
            records: true,
            conditions,
            jammer: None,
            chance: Random::new(seed, 433),
        })))
    }

    /// Another chip; its number counts from 0.
    #[must_use]
    pub fn chip(&self, config: ChipConfig) -> Spi {
        self.add(Model::Cc1101(Box::new(Chip::new(config))))
    }

    /// Another chip, of the other kind: its SPI, BUSY and NRESET. DIO1 is line 0 of its [`Edge`]s.
    #[must_use]
    pub fn sx126x(&self, config: Sx126xConfig) -> (Spi, BusyPin, ResetPin) {
        let spi = self.add(Model::Sx126x(Box::new(Sx126x::new(config))));
        let (busy, reset) = spi.pins();
        (spi, busy, reset)
    }

    /// How often such a chip was told something while it was busy.
    #[must_use]
    pub fn violations(&self, chip: usize) -> u64 {
        match self.world().nodes.get(chip).map(|node| &node.chip) {
            Some(Model::Sx126x(chip)) => chip.violations(),
            _ => 0,
        }
    }

    /// How long a chip was in what.
    #[must_use]
    pub fn spent(&self, chip: usize) -> Spent {
        let world = self.world();
        world.nodes.get(chip).map_or_else(Spent::default, |node| node.account.spent(world.now))
    }

    /// What a register of a CC1101 holds, without its SPI.
    #[must_use]
    pub fn register(&self, chip: usize, register: u8) -> Option<u8> {
        match self.world().nodes.get(chip).map(|node| &node.chip) {
            Some(Model::Cc1101(chip)) => Some(chip.get(register)),
            _ => None,
        }
    }

    fn add(&self, chip: Model) -> Spi {
        let mut world = self.world();
        let at = world.nodes.len();
        let (lines, account) = ([false; 2], Account::new(world.now, chip.state()));
        world.nodes.push(Node {
            chip,
            account,
            cut: false,
            sending: None,
            receiving: None,
            lines,
            edges: VecDeque::new(),
        });
        Spi::new(Arc::clone(&self.0), at)
    }

    /// Microseconds since the start.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.world().now / 1_000
    }

    /// Lets time pass up to then (microseconds), but not beyond the next edge of any line.
    pub fn advance(&self, until: u64) {
        self.world().advance_to(until.saturating_mul(1_000), true);
    }

    /// When something happens next by itself, microseconds rounded up: a state, or a byte.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        self.world().next().map(|(due, _)| due.div_ceil(1_000))
    }

    /// The next edge of a chip's lines that nobody took yet.
    #[must_use]
    pub fn edge(&self, chip: usize) -> Option<Edge> {
        self.world().nodes.get_mut(chip)?.edges.pop_front()
    }

    /// What a driver has the air's first chip send, once it is ready; `None` if that does not come.
    #[must_use]
    pub fn sent_by(&self, mut radio: impl Transceiver, payload: &[u8]) -> Option<Burst> {
        let mut given = false;
        for _ in 0..100_000 {
            radio.handle_timeout(self.now());
            while let Some(event) = radio.poll_event() {
                match event {
                    Event::Health(health) if health.up && !given => {
                        radio.send(self.now(), payload, false).ok()?;
                        given = true;
                    }
                    Event::Sent { .. } => return self.bursts().into_iter().next(),
                    _ => {}
                }
            }
            while self.edge(0).is_some() {}
            self.advance(self.now() + 100);
        }
        None
    }

    /// All that was on the air.
    #[must_use]
    pub fn bursts(&self) -> Vec<Burst> {
        self.world().bursts.clone()
    }

    /// From now on what was on the air is forgotten: for an air that is there for long.
    pub fn forget(&self) {
        self.world().records = false;
    }

    /// Other weather, from now on.
    pub fn set_conditions(&self, conditions: Conditions) {
        self.world().conditions = conditions;
    }

    /// A jammer comes or goes.
    pub fn jam(&self, jammer: Option<Jammer>) {
        self.world().jammer = jammer;
    }

    /// What is wrong with a chip from now on.
    pub fn set_faults(&self, chip: usize, faults: Faults) {
        if let Some(node) = self.world().nodes.get_mut(chip) {
            node.chip.set_faults(faults);
        }
    }

    /// The chip's supply was away for a moment.
    pub fn brown_out(&self, chip: usize) {
        let mut world = self.world();
        let now = world.now;
        if let Some(node) = world.nodes.get_mut(chip) {
            node.chip.reset(now);
        }
        world.tidy();
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    pub(super) fn select(&mut self, chip: usize) {
        let now = self.now;
        if let Some(node) = self.nodes.get_mut(chip) {
            node.chip.select(now);
        }
    }

    /// A look at BUSY takes a microsecond.
    pub(super) fn busy(&mut self, chip: usize) -> bool {
        self.advance_by(1_000);
        self.nodes.get(chip).is_some_and(|node| node.chip.busy(self.now))
    }

    /// NRESET, low or high.
    pub(super) fn hold(&mut self, chip: usize, low: bool) {
        let now = self.now;
        if let Some(Model::Sx126x(chip)) = self.nodes.get_mut(chip).map(|node| &mut node.chip) {
            chip.hold(now, low);
        }
        self.tidy();
    }

    pub(super) fn exchange(&mut self, chip: usize, byte_ns: u64, byte: u8) -> u8 {
        self.advance_by(byte_ns);
        let heard = self.heard(chip);
        let now = self.now;
        let out = match self.nodes.get_mut(chip) {
            Some(node) => node.chip.exchange(now, byte, heard, &self.chance),
            None => 0,
        };
        self.tidy();
        out
    }

    pub(super) fn advance_by(&mut self, ns: u64) {
        self.advance_to(self.now + ns, false);
    }

    fn advance_to(&mut self, until: u64, stop_at_edges: bool) {
        loop {
            if stop_at_edges && self.nodes.iter().any(|node| !node.edges.is_empty()) {
                return;
            }
            match self.next() {
                Some((due, at)) if due <= until => {
                    self.now = self.now.max(due);
                    self.turn(at, due);
                    self.tidy();
                }
                _ => break,
            }
        }
        self.now = self.now.max(until);
    }

    /// What happens next by itself, and to whom.
    fn next(&self) -> Option<(u64, usize)> {
        let next = |(at, node): (usize, &Node)| {
            let sending = node.sending.as_ref().map(|sending| sending.next);
            node.chip.due().into_iter().chain(sending).min().map(|due| (due, at))
        };
        self.nodes.iter().enumerate().filter_map(next).min()
    }

    /// What is due for one chip.
    fn turn(&mut self, at: usize, due: u64) {
        let Some(node) = self.nodes.get_mut(at) else { return };
        if node.chip.due().is_some_and(|settled| settled <= due) {
            if node.chip.settled(due) {
                self.begin(at);
            }
        } else {
            self.byte_out(at);
        }
    }

    /// A transmission ends too soon: who had not met its sync word yet looks for another.
    fn cut_off(&mut self, burst: usize) {
        if self.bursts.get(burst).is_some_and(|cut| cut.bytes.len() <= cut.preamble + 4) {
            for node in &mut self.nodes {
                node.receiving.take_if(|receiving| receiving.burst == burst);
            }
        }
        self.over(burst);
    }

    fn over(&mut self, burst: usize) {
        self.on_air.retain(|on| *on != burst);
        if !self.records
            && let Some(burst) = self.bursts.get_mut(burst)
        {
            burst.bytes = Vec::new();
        }
    }

    /// Ends what a chip's state does not allow any more, and notes its lines.
    fn tidy(&mut self) {
        for at in 0..self.nodes.len() {
            let heard = self.heard(at);
            let Some(node) = self.nodes.get_mut(at) else { continue };
            node.account.note(self.now, node.chip.state());
            if node.chip.state() != State::Tx
                && let Some(sending) = node.sending.take()
            {
                node.cut = node.chip.begins_twice();
                self.cut_off(sending.burst);
            }
            let Some(node) = self.nodes.get_mut(at) else { continue };
            if node.chip.state() != State::Rx {
                node.receiving = None;
            }
            for (line, gdo) in node.lines.iter_mut().zip([0, 2]) {
                let high = node.chip.line(gdo, heard);
                if high != *line {
                    *line = high;
                    if !node.chip.faults().mute_lines {
                        node.edges.push_back(Edge { at_ns: self.now, gdo, high });
                    }
                }
            }
        }
    }
}
