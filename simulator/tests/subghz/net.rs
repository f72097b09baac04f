//! The gateway's driver on a model of its chip, of either kind, in a town of locks, in the air's own time.

use cardea_framing::LockId;
use cardea_radio::{Admission, AdmissionSecret, Command, Event, MemoryStore, Outcome, Send};
use cardea_simulator::subghz::{
    Air, ChipConfig, Conditions, Faults, LockRadio, RadioConfig, RadioEvent, Stranger, Sx126xConfig, Town,
};
use cardea_subghz::cc1101::{Cc1101, Config};
use cardea_subghz::engine::{Named, due, turn};
use cardea_subghz::network::{Epoch, Network, NetworkConfig, Seeds};
use cardea_subghz::port::Port;
use cardea_subghz::sx126x::{self, Sx126x};
use cardea_subghz::{Kind, Line, Profile, Region, Transceiver};
use cardea_subghz_link::{Packet, Secret};

pub(crate) const SECOND: u64 = 1_000_000;
/// Of the daemon's clock at the air's zero.
const MS: u64 = 5_000;

pub(crate) struct Net {
    pub(crate) town: Town,
    pub(crate) network: Network,
    pub(crate) port: Port<Box<dyn Transceiver>>,
    kind: Kind,
    gateway: usize,
    pub(crate) store: MemoryStore,
    pub(crate) events: Vec<Event>,
    pub(crate) heard: Vec<(u64, usize, RadioEvent)>,
    pub(crate) config: NetworkConfig,
}

/// A driver of this kind, on a chip of its own, and which that is.
fn radio(kind: Kind, air: &Air, profile: Profile) -> (Box<dyn Transceiver>, usize) {
    let now = air.now();
    if kind == Kind::Sx126x {
        let (spi, busy, reset) = air.sx126x(Sx126xConfig::default());
        let (config, chip) = (sx126x::Config { profile, ..sx126x::Config::default() }, spi.chip());
        (Box::new(Sx126x::new(spi, busy, reset, config, now, NEVER)), chip)
    } else {
        let spi = air.chip(ChipConfig::default());
        let (config, chip) = (Config { profile: theirs(profile), ..Config::default() }, spi.chip());
        (Box::new(Cc1101::new(spi, config, now, NEVER)), chip)
    }
}

/// A chip that hears nothing is not reset.
const NEVER: u64 = u64::MAX / 2;

fn theirs(profile: Profile) -> cardea_subghz::cc1101::Profile {
    match profile {
        Profile::Slow => cardea_subghz::cc1101::Profile::Slow,
        Profile::Standard | Profile::Serial(_) => cardea_subghz::cc1101::Profile::Standard,
        Profile::Fast => cardea_subghz::cc1101::Profile::Fast,
    }
}

pub(crate) fn id(lock: usize) -> LockId {
    LockId([0xA0, 0, 0, 0, 0, 0, 0, lock as u8])
}

pub(crate) fn config(profile: Profile) -> NetworkConfig {
    NetworkConfig { profile, region: Region::Eu433, id: None, channels: 0b111, max_locks: 300 }
}

/// 8 bytes that are in no other frame, and more.
pub(crate) fn payload(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0x11; len];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

impl Net {
    pub(crate) fn new(seed: u64, weather: Conditions, config: NetworkConfig) -> Self {
        Self::with(Kind::Cc1101, seed, weather, config)
    }

    /// A gateway with this chip; the locks have CC1101s.
    pub(crate) fn with(kind: Kind, seed: u64, weather: Conditions, config: NetworkConfig) -> Self {
        println!("seed {seed}");
        let air = Air::new(seed, weather);
        let (radio, chip) = radio(kind, &air, config.profile);
        let town = Town::new(air, chip);
        let store = MemoryStore::new();
        let port = Port::new(radio, config.profile, 0);
        let network = network(config, &store, 0);
        let mut net = Self {
            town,
            network,
            port,
            kind,
            gateway: chip,
            store,
            events: Vec::new(),
            heard: Vec::new(),
            config,
        };
        net.run(SECOND / 20);
        net
    }

    pub(crate) fn now(&self) -> u64 {
        self.town.air.now()
    }

    /// The daemon's clock.
    pub(crate) fn ms(&self) -> u64 {
        MS + self.now() / 1_000
    }

    /// Another lock, which is off.
    pub(crate) fn lock(&mut self, number: usize, secret: u8) {
        let config = RadioConfig {
            lock: id(number).0,
            secret: Secret([secret; 16]),
            profile: self.config.profile,
            interval_ms: self.config.profile.interval_ms(),
            linger_ms: 100,
            seed: number as u32 * 7919 + 1,
            ppm: (number as f64 * 37.0) % 81.0 - 40.0,
        };
        self.town.locks.push(LockRadio::new(config, &self.town.air).unwrap());
    }

    pub(crate) fn admit(&mut self, number: usize, secret: u8) {
        let secret = AdmissionSecret::Subghz { secret: [secret; 16].into() };
        self.command(Command::Admit(Admission { lock: id(number), secret }));
    }

    pub(crate) fn command(&mut self, command: Command) {
        let now = self.now();
        self.network.handle_command(now, command);
        self.turn();
    }

    pub(crate) fn send(&mut self, handle: u64, number: usize, frame: &[u8], life_ms: u64) {
        let deadline = self.ms() + life_ms;
        let frame = frame.to_vec().into();
        self.command(Command::Send(Send { handle, lock: id(number), frame, deadline }));
    }

    /// Says that a lock's firmware wants to be let in.
    pub(crate) fn join(&mut self, index: usize) {
        let now = self.now();
        self.town.locks[index].join(now);
    }

    /// A lock that is admitted and has joined.
    pub(crate) fn member(&mut self, number: usize) {
        self.lock(number, number as u8);
        self.admit(number, number as u8);
        self.join(self.town.locks.len() - 1);
        let wanted = id(number);
        assert!(
            self.until(60 * SECOND, |net| net.saw(|e| matches!(e, Event::Joined(lock) if *lock == wanted))),
            "lock {number} does not get in"
        );
    }

    /// The daemon starts again, with what it stored.
    pub(crate) fn restart(&mut self) {
        self.events.clear();
        let now = self.now();
        self.network = network(self.config, &self.store, now);
        // What the chip said of itself is not said again.
        self.network.handle_radio(Ok(()));
        self.turn();
    }

    /// The daemon starts again, on another chip; the one before is without power.
    pub(crate) fn refit(&mut self, kind: Kind) {
        let mute = Faults { mute_lines: true, ..Faults::default() };
        self.town.air.set_faults(self.gateway, mute);
        self.town.air.brown_out(self.gateway);
        let (radio, chip) = radio(kind, &self.town.air, self.config.profile);
        self.town.set_gateway(chip);
        (self.port, self.kind, self.gateway) =
            (Port::new(radio, self.config.profile, self.now()), kind, chip);
        self.events.clear();
        self.network = network(self.config, &self.store, self.now());
        self.run(SECOND / 20);
    }

    pub(crate) fn saw(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(wanted)
    }

    pub(crate) fn outcome(&self, wanted: u64) -> Option<Outcome> {
        let mut outcomes = self.events.iter().filter_map(|event| match event {
            Event::Outcome { handle, outcome } if *handle == wanted => Some(*outcome),
            _ => None,
        });
        let outcome = outcomes.next();
        assert!(outcomes.next().is_none(), "two outcomes of {wanted}");
        outcome
    }

    /// Frames that came to the gateway, or to a lock.
    pub(crate) fn up(&self) -> Vec<Vec<u8>> {
        let up = self.events.iter().filter_map(|event| match event {
            Event::Up(up) => Some(up.frame.to_vec()),
            _ => None,
        });
        up.collect()
    }

    pub(crate) fn down(&self, index: usize) -> Vec<Vec<u8>> {
        let down = self.heard.iter().filter_map(|(_, at, event)| match event {
            RadioEvent::Received(frame) if *at == index => Some(frame.clone()),
            _ => None,
        });
        down.collect()
    }

    /// What was on the air with a right checksum: when it ended, whose, and what.
    pub(crate) fn on_air(&self) -> Vec<(u64, usize, Packet)> {
        let bursts = self.town.air.bursts().into_iter();
        let packet = |burst: cardea_simulator::subghz::Burst| {
            let end = (burst.start_ns + burst.bytes.len() as u64 * burst.byte_ns) / 1_000;
            let packet = Packet::parse(burst.bytes.get(burst.preamble + 4..)?).ok()?;
            Some((end, burst.sender, packet))
        };
        bursts.filter_map(packet).collect()
    }

    pub(crate) fn stranger(&mut self) -> &mut Stranger {
        let air = self.town.air.clone();
        let profile = self.config.profile;
        self.town.stranger.get_or_insert_with(|| Stranger::new(profile, &air))
    }

    pub(crate) fn turn(&mut self) {
        let air = self.town.air.clone();
        let named = Named { kind: self.kind, place: "a model".into() };
        loop {
            turn(&mut self.network, &mut self.port, &named, &mut || air.now());
            while let Some(event) = self.network.poll_event() {
                self.events.push(event);
            }
            let mut stored = false;
            while let Some((commit, batch)) = self.network.poll_commit() {
                let result = self.store.commit_now(batch);
                self.network.handle_stored(air.now(), commit, result);
                stored = true;
            }
            if !stored {
                return;
            }
        }
    }

    pub(crate) fn run(&mut self, us: u64) {
        self.until(us, |_| false);
    }

    /// Lets time pass until it holds; false if it did not.
    pub(crate) fn until(&mut self, us: u64, holds: impl Fn(&Self) -> bool) -> bool {
        let end = self.now() + us;
        loop {
            self.turn();
            for (index, lock) in self.town.locks.iter_mut().enumerate() {
                let now = self.town.air.now();
                self.heard.extend(lock.events().into_iter().map(|event| (now, index, event)));
            }
            if holds(self) {
                return true;
            }
            let now = self.now();
            if now >= end {
                return false;
            }
            let next = due(&mut self.network, &self.port, now).clamp(now + 1, end.max(now + 1));
            self.town.advance(next);
            while let Some(edge) = self.town.edge() {
                let line = match (self.kind, edge.gdo) {
                    (Kind::Sx126x, _) => Line::Done,
                    (_, 0) => Line::Packet,
                    _ => Line::Fifo,
                };
                self.port.handle_edge(edge.at_ns / 1_000, line, edge.high);
            }
        }
    }
}

fn network(config: NetworkConfig, store: &MemoryStore, now: u64) -> Network {
    let seeds = Seeds { key: [9; 16], id: 0x42, backoff: 11 };
    let epoch = Epoch { us: 0, ms: MS };
    Network::new(config, &seeds, store.snapshot(), epoch, now).unwrap()
}
