//! A small air: half-duplex radios with crystals of their own, carriers, collisions, loss; all from one printed seed.

use std::collections::{BTreeMap, BTreeSet};

mod modules;

use cardea_subghz_link::mic::{Key, Secret};
use cardea_subghz_link::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

pub(crate) const ROOM: usize = 64;
const CCA: Micros = 5_000;
const TURN: Micros = 300;
const CARRIER: Micros = 2_000;
const STORE: Micros = 5_000;

pub(crate) enum Machine {
    Gateway(Box<Gateway<ROOM>>),
    Node(Box<Node>),
}

/// One radio: 0 is the gateway, the others are locks.
pub(crate) struct End {
    pub(crate) machine: Machine,
    ppm: i64,
    offset: Micros,
    listen: Listen,
    since: Micros,
    sending: bool,
    /// What survives a power cut.
    pub(crate) flash: BTreeMap<Option<RecordName>, Vec<u8>>,
    generation: u32,
    pub(crate) sent: Vec<(Micros, Micros)>,
    pub(crate) on_since: Option<Micros>,
    pub(crate) receiving: Micros,
}

struct Carrier {
    channel: u8,
    from: Micros,
    until: Micros,
    sender: Option<usize>,
    frame: Vec<u8>,
    spoilt: bool,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Clone)]
enum What {
    Timeout(usize),
    Start(usize, u32, Vec<u8>, u8, bool, Micros),
    End(usize),
    /// A serial module begins; it must be out; it has given the last byte of what it heard.
    Begin(usize, u32, Vec<u8>),
    Out(usize, u32),
    Given(usize, u32, Vec<u8>),
    Silence(usize, Micros),
    Stored(usize, u32),
    Sample,
}

pub(crate) struct Air {
    pub(crate) now: Micros,
    pub(crate) ends: Vec<End>,
    queue: BTreeSet<(Micros, u64, What)>,
    serial: u64,
    carriers: Vec<Carrier>,
    pub(crate) loss: f64,
    rng: ChaCha20Rng,
    pub(crate) profile: Profile,
    pub(crate) gateway_events: Vec<(Micros, GatewayEvent)>,
    pub(crate) node_events: Vec<(Micros, usize, NodeEvent)>,
    /// Everything that was ever on the air.
    pub(crate) recorded: Vec<(Micros, usize, Vec<u8>)>,
    /// When the bytes of a payload may still be on the air, in the sender's clock.
    pub(crate) deadlines: BTreeMap<Vec<u8>, Micros>,
    pending: BTreeMap<usize, (Option<RecordName>, Option<Vec<u8>>)>,
}

pub(crate) fn lock(index: usize) -> LockId {
    (0xA000 + index as u64).to_be_bytes()
}

pub(crate) fn secret(index: usize) -> Secret {
    Secret([index as u8; 16])
}

impl Air {
    pub(crate) fn new(seed: u64, profile: Profile, loss: f64, locks: usize, interval_ms: u16) -> Self {
        println!("seed {seed}");
        let mut air = Self {
            now: 0,
            ends: Vec::new(),
            queue: BTreeSet::new(),
            serial: 0,
            carriers: Vec::new(),
            loss,
            rng: ChaCha20Rng::seed_from_u64(seed),
            profile,
            gateway_events: Vec::new(),
            node_events: Vec::new(),
            recorded: Vec::new(),
            deadlines: BTreeMap::new(),
            pending: BTreeMap::new(),
        };
        for index in 0..=locks {
            let ppm = air.below(81) as i64 - 40;
            let offset = air.below(1 << 40);
            let mut end = End {
                machine: Machine::Gateway(Box::new(air.gateway(&[], 0))),
                ppm,
                offset,
                listen: Listen::Off,
                since: 0,
                sending: false,
                flash: BTreeMap::new(),
                generation: 0,
                sent: Vec::new(),
                on_since: None,
                receiving: 0,
            };
            let start = end.local(0);
            end.machine = if index == 0 {
                Machine::Gateway(Box::new(air.gateway(&[], start)))
            } else {
                Machine::Node(Box::new(air.node(index, None, start, interval_ms)))
            };
            air.ends.push(end);
        }
        for index in 0..=locks {
            air.settle(index);
        }
        air.at(100_000, What::Sample);
        air
    }

    fn gateway(&mut self, records: &[Vec<u8>], now: Micros) -> Gateway<ROOM> {
        let config = GatewayConfig {
            profile: self.profile,
            region: Region::Eu433,
            network: 0x42,
            channels: 0b111,
            seed: self.below(1 << 32) as u32,
        };
        Gateway::new(config, Key([9; 16]), records.iter().map(Vec::as_slice), now).unwrap()
    }

    fn node(&mut self, index: usize, record: Option<&[u8]>, now: Micros, interval_ms: u16) -> Node {
        let config = NodeConfig {
            lock: lock(index),
            profile: self.profile,
            region: Region::Eu433,
            interval_ms,
            linger_ms: 100,
            seed: self.below(1 << 32) as u32,
        };
        Node::new(config, secret(index), record, now).unwrap()
    }

    pub(crate) fn below(&mut self, below: u64) -> u64 {
        self.rng.next_u64() % below
    }

    fn chance(&mut self, probability: f64) -> bool {
        (self.rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64 <= probability && probability > 0.0
    }

    fn at(&mut self, at: Micros, what: What) {
        self.serial += 1;
        self.queue.insert((at.max(self.now), self.serial, what));
    }

    pub(crate) fn gateway_mut(&mut self) -> &mut Gateway<ROOM> {
        let Machine::Gateway(gateway) = &mut self.ends[0].machine else { panic!() };
        gateway
    }

    pub(crate) fn node_mut(&mut self, index: usize) -> &mut Node {
        let Machine::Node(node) = &mut self.ends[index].machine else { panic!() };
        node
    }

    pub(crate) fn local(&self, index: usize) -> Micros {
        self.ends[index].local(self.now)
    }

    /// All locks join, without loss.
    pub(crate) fn join_all(&mut self) {
        let loss = std::mem::take(&mut self.loss);
        let now = self.local(0);
        for index in 1..self.ends.len() {
            self.gateway_mut().admit(lock(index), secret(index)).unwrap();
        }
        self.gateway_mut().open_join(now, now + 600_000_000);
        self.settle(0);
        let mut round = 0;
        while (1..self.ends.len()).any(|index| !self.joined(index)) {
            round += 1;
            assert!(round < 100, "locks do not get in");
            for index in 1..self.ends.len() {
                if !self.joined(index) {
                    let now = self.local(index);
                    self.node_mut(index).join(now);
                    self.settle(index);
                }
            }
            self.run(20_000_000);
        }
        self.loss = loss;
    }

    fn joined(&mut self, index: usize) -> bool {
        self.node_mut(index).is_joined()
    }

    pub(crate) fn run(&mut self, span: Micros) {
        let until = self.now + span;
        while let Some((at, _, what)) = self.queue.first().cloned().filter(|(at, ..)| *at <= until) {
            self.queue.pop_first();
            self.now = at;
            self.step(what);
        }
        self.now = until;
    }

    fn step(&mut self, what: What) {
        match what {
            What::Timeout(index) => {
                let now = self.local(index);
                match &mut self.ends[index].machine {
                    Machine::Gateway(gateway) => gateway.handle_timeout(now),
                    Machine::Node(node) => node.handle_timeout(now),
                }
                self.settle(index);
            }
            What::Start(index, generation, frame, channel, cca, start_by) => {
                if generation == self.ends[index].generation {
                    self.start(index, frame, channel, cca, start_by);
                }
            }
            What::End(sender) => self.end(sender),
            What::Begin(..) | What::Out(..) | What::Given(..) => self.module_step(what),
            What::Silence(index, since) => {
                let end = &self.ends[index];
                let Listen::Sniff { channel } = end.listen else { return };
                let heard = |c: &Carrier| c.channel == channel && c.until > since && c.from < self.now;
                if end.since == since && !self.carriers.iter().any(heard) {
                    let now = self.local(index);
                    self.node_mut(index).handle_silence(now);
                    self.settle(index);
                }
            }
            What::Stored(index, generation) => {
                if generation != self.ends[index].generation {
                    return;
                }
                let Some((name, content)) = self.pending.remove(&index) else { return };
                match content {
                    Some(content) => drop(self.ends[index].flash.insert(name, content)),
                    None => drop(self.ends[index].flash.remove(&name)),
                }
                let now = self.local(index);
                match &mut self.ends[index].machine {
                    Machine::Gateway(gateway) => gateway.handle_stored(now, true),
                    Machine::Node(node) => node.handle_stored(true),
                }
                self.settle(index);
            }
            What::Sample => {
                if !self.ends[0].sending {
                    let Listen::On { channel } = self.ends[0].listen else { panic!("the gateway is deaf") };
                    let busy = self.busy(channel);
                    let now = self.local(0);
                    self.gateway_mut().handle_sample(now, busy);
                    self.settle(0);
                }
                self.at(self.now + 100_000, What::Sample);
            }
        }
    }

    fn busy(&self, channel: u8) -> bool {
        self.carriers.iter().any(|c| c.channel == channel && c.from <= self.now && self.now < c.until)
    }

    fn start(&mut self, index: usize, frame: Vec<u8>, channel: u8, cca: bool, start_by: Micros) {
        let hears = self.profile.carrier_sense();
        let late = self.local(index) + self.profile.start() > start_by;
        if cca && hears && self.busy(channel) || late {
            self.ends[index].sending = false;
            let now = self.local(index);
            match &mut self.ends[index].machine {
                Machine::Gateway(gateway) => gateway.handle_busy(now),
                Machine::Node(node) => node.handle_busy(now),
            }
            return self.settle(index);
        }
        if self.profile.carrier_sense() {
            self.carry(Some(index), frame, channel);
        } else {
            self.give(index, frame);
        }
    }

    /// A carrier, of an end or (without a sender) of a stranger; any two at once on a channel spoil each other.
    pub(crate) fn carry(&mut self, sender: Option<usize>, frame: Vec<u8>, channel: u8) {
        let air = self.profile.air_time(frame.len().max(3) - 3);
        let now = self.now;
        let mut spoilt = false;
        for other in self.carriers.iter_mut().filter(|c| c.channel == channel && c.until > now) {
            other.spoilt = true;
            spoilt = true;
        }
        if let Some(index) = sender {
            let end = self.ends[index].local(now + air);
            self.recorded.push((now, index, frame.clone()));
            self.ends[index].sent.push((now, air));
            if let Ok(packet) = Packet::parse(&frame)
                && packet.header().kind == Kind::Data
                && let Some(&deadline) = self.deadlines.get(packet.body())
            {
                assert!(end <= deadline + 1, "on the air {} µs after its deadline", end - deadline);
            }
        }
        self.carriers.push(Carrier { channel, from: now, until: now + air, sender, frame, spoilt });
        let serial = sender.unwrap_or(usize::MAX);
        self.at(now + air, What::End(serial));
    }

    fn end(&mut self, sender: usize) {
        let now = self.now;
        let Some(at) =
            self.carriers.iter().position(|c| c.until == now && c.sender.unwrap_or(usize::MAX) == sender)
        else {
            return;
        };
        let carrier = &self.carriers[at];
        let (channel, from, frame, spoilt) =
            (carrier.channel, carrier.from, carrier.frame.clone(), carrier.spoilt);
        let module = if let Profile::Serial(module) = self.profile { Some(module) } else { None };
        if sender != usize::MAX && module.is_none() {
            self.sent(sender);
        }
        for index in 0..self.ends.len() {
            let end = &self.ends[index];
            let on = match end.listen {
                Listen::On { channel: on } | Listen::Sniff { channel: on } => on == channel,
                Listen::Off => false,
            };
            // A module that is given bytes hears until it begins, and cannot be switched off; two at once have spoilt each other.
            let deaf = module.is_none() && (end.sending || !on || end.since > from);
            if index == sender || deaf || spoilt || self.chance(self.loss) {
                continue;
            }
            if module.is_some() {
                self.hear(index, &frame);
            } else {
                self.received(index, &frame);
            }
        }
        if sender != usize::MAX {
            self.settle(sender);
        }
        self.carriers.retain(|c| c.until + 100_000 > now);
        if let Some(done) =
            self.carriers.iter_mut().find(|c| c.until == now && c.sender.unwrap_or(usize::MAX) == sender)
        {
            done.sender = Some(usize::MAX - 1);
        }
    }

    /// Power off and on: memory is gone, the flash is not; a write under way may or may not have happened.
    pub(crate) fn power_cut(&mut self, index: usize, interval_ms: u16) {
        if let Some((name, content)) = self.pending.remove(&index)
            && self.below(2) == 0
            && let Some(content) = content
        {
            self.ends[index].flash.insert(name, content);
        }
        let now = self.local(index);
        let records: Vec<_> = self.ends[index].flash.values().cloned().collect();
        let machine = if index == 0 {
            Machine::Gateway(Box::new(self.gateway(&records, now)))
        } else {
            Machine::Node(Box::new(self.node(index, records.first().map(Vec::as_slice), now, interval_ms)))
        };
        let end = &mut self.ends[index];
        (end.machine, end.generation, end.sending) = (machine, end.generation + 1, false);
        for carrier in self.carriers.iter_mut().filter(|c| c.sender == Some(index)) {
            (carrier.spoilt, carrier.sender) = (true, Some(usize::MAX - 1));
        }
        self.settle(index);
    }

    /// Takes from an end what it has to say, until it has nothing.
    pub(crate) fn settle(&mut self, index: usize) {
        let now = self.local(index);
        self.settle_store(index);
        loop {
            let end = &mut self.ends[index];
            let transmit = match &mut end.machine {
                _ if end.sending => None,
                Machine::Gateway(gateway) => gateway.poll_transmit(now),
                Machine::Node(node) => node.poll_transmit(now),
            };
            if let Some(Transmit { frame, channel, cca, start_by, .. }) = transmit {
                end.sending = true;
                let generation = end.generation;
                let start = self.now + if cca { CCA } else { TURN };
                self.at(
                    start,
                    What::Start(index, generation, frame.as_bytes().to_vec(), channel, cca, start_by),
                );
            }
            let event = match &mut self.ends[index].machine {
                Machine::Gateway(gateway) => {
                    gateway.poll_event().map(|e| self.gateway_events.push((self.now, e)))
                }
                Machine::Node(node) => node.poll_event().map(|e| self.node_events.push((self.now, index, e))),
            };
            if event.is_none() {
                break;
            }
        }
        self.settle_store(index);
        self.settle_listen(index, now);
        let timeout = match &mut self.ends[index].machine {
            Machine::Gateway(gateway) => gateway.poll_timeout(now),
            Machine::Node(node) => node.poll_timeout(),
        };
        self.queue.retain(|(_, _, what)| *what != What::Timeout(index));
        if let Some(at) = timeout {
            let at = self.ends[index].real(at).max(self.now + 50);
            self.at(at, What::Timeout(index));
        }
    }

    fn settle_store(&mut self, index: usize) {
        let write = match &mut self.ends[index].machine {
            Machine::Gateway(gateway) => {
                gateway.poll_store().map(|record| (Some(record.name), record.content.map(|c| c.to_vec())))
            }
            Machine::Node(node) => node.poll_store().map(|record| (None, Some(record.to_vec()))),
        };
        if let Some(write) = write {
            self.pending.insert(index, write);
            let generation = self.ends[index].generation;
            self.at(self.now + STORE, What::Stored(index, generation));
        }
    }

    fn settle_listen(&mut self, index: usize, now: Micros) {
        let end = &mut self.ends[index];
        let listen = match &end.machine {
            _ if end.sending => Listen::Off,
            Machine::Gateway(gateway) => gateway.poll_listen(),
            Machine::Node(node) => node.poll_listen(now),
        };
        if let Some(since) = end.on_since.take() {
            end.receiving += self.now - since;
        }
        if listen != Listen::Off {
            end.on_since = Some(self.now);
        }
        let channel = |listen| match listen {
            Listen::On { channel } | Listen::Sniff { channel } => Some(channel),
            Listen::Off => None,
        };
        if channel(listen) != channel(end.listen) {
            end.since = self.now;
            if matches!(listen, Listen::Sniff { .. }) {
                let since = self.now;
                end.listen = listen;
                self.at(since + CARRIER, What::Silence(index, since));
            }
        }
        self.ends[index].listen = listen;
    }
}

impl End {
    pub(crate) fn local(&self, real: Micros) -> Micros {
        self.offset + (i128::from(real) * i128::from(1_000_000 + self.ppm) / 1_000_000) as Micros
    }

    fn real(&self, local: Micros) -> Micros {
        let since = i128::from(local.saturating_sub(self.offset));
        ((since * 1_000_000 + 999_999) / i128::from(1_000_000 + self.ppm)) as Micros + 1
    }
}
