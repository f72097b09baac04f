//! Drivers on chips of both kinds on one air, turned by hand.

use cardea_simulator::subghz::{Air, BusyPin, ChipConfig, Conditions, ResetPin, Spi, Sx126xConfig};
use cardea_subghz::cc1101::{self, Cc1101};
use cardea_subghz::sx126x::{self, Sx126x};
use cardea_subghz::{Event, Failure, Health, Line, Profile, Received, Refusal, Transceiver};

/// Long enough that no test meets it by accident.
pub(crate) const SILENCE: u64 = 600_000_000;
pub(crate) const SECOND: u64 = 1_000_000;

pub(crate) enum Radio {
    Cc1101(Box<Cc1101<Spi>>),
    Sx126x(Box<Sx126x<Spi, BusyPin, ResetPin>>),
}

pub(crate) struct Bench {
    pub(crate) air: Air,
    radios: Vec<Radio>,
    events: Vec<Vec<Event>>,
}

/// Bytes with as many changes as whitened ones have.
pub(crate) fn frame(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(0x3B).wrapping_add(seed.wrapping_mul(0x57)) ^ 0xA5).collect()
}

pub(crate) fn config(profile: Profile, max_frame: u8) -> sx126x::Config {
    sx126x::Config { profile, max_frame, ..sx126x::Config::default() }
}

impl Bench {
    pub(crate) fn new(seed: u64, weather: Conditions) -> Self {
        println!("seed {seed}");
        Self { air: Air::new(seed, weather), radios: Vec::new(), events: Vec::new() }
    }

    /// Two of the kind that is tried, listening.
    pub(crate) fn pair(seed: u64, profile: Profile) -> Self {
        let mut bench = Self::new(seed, Conditions::default());
        for _ in 0..2 {
            bench.sx126x(config(profile, 61), Sx126xConfig::default());
        }
        bench.run(SECOND / 50);
        for node in 0..2 {
            assert!(matches!(
                bench.events(node)[..],
                [Event::Health(Health { up: true, problem: None, .. })]
            ));
        }
        bench
    }

    pub(crate) fn sx126x(&mut self, config: sx126x::Config, chip: Sx126xConfig) -> usize {
        let (spi, busy, reset) = self.air.sx126x(chip);
        self.add(Radio::Sx126x(Box::new(Sx126x::new(spi, busy, reset, config, self.air.now(), SILENCE))))
    }

    pub(crate) fn cc1101(&mut self, profile: cc1101::Profile, max_frame: u8) -> usize {
        let config = cc1101::Config { profile, max_frame, ..cc1101::Config::default() };
        let spi = self.air.chip(ChipConfig::default());
        self.add(Radio::Cc1101(Box::new(Cc1101::new(spi, config, self.air.now(), SILENCE))))
    }

    /// The driver of one kind at a chip of the other kind: of an SX126x at a CC1101, or the other way round.
    pub(crate) fn other(&mut self, sx126x: bool) -> usize {
        let now = self.air.now();
        self.add(if sx126x {
            let spi = self.air.chip(ChipConfig::default());
            let (busy, reset) = spi.pins();
            Radio::Sx126x(Box::new(Sx126x::new(
                spi,
                busy,
                reset,
                config(Profile::Standard, 61),
                now,
                SILENCE,
            )))
        } else {
            let (spi, ..) = self.air.sx126x(Sx126xConfig::default());
            Radio::Cc1101(Box::new(Cc1101::new(spi, cc1101::Config::default(), now, SILENCE)))
        })
    }

    fn add(&mut self, radio: Radio) -> usize {
        self.radios.push(radio);
        self.events.push(Vec::new());
        self.radios.len() - 1
    }

    pub(crate) fn radio(&mut self, node: usize) -> &mut dyn Transceiver {
        match &mut self.radios[node] {
            Radio::Cc1101(radio) => &mut **radio,
            Radio::Sx126x(radio) => &mut **radio,
        }
    }

    pub(crate) fn counters(&self, node: usize) -> sx126x::Counters {
        match &self.radios[node] {
            Radio::Sx126x(radio) => radio.counters(),
            Radio::Cc1101(_) => panic!("a CC1101"),
        }
    }

    /// Lets so many microseconds pass.
    pub(crate) fn run(&mut self, us: u64) {
        self.run_until(us, |_| false);
    }

    pub(crate) fn run_until(&mut self, us: u64, mut done: impl FnMut(&Event) -> bool) -> bool {
        let end = self.air.now() + us;
        let mut turns = 0_u64;
        loop {
            turns += 1;
            assert!(turns < 10_000 + us, "it looks at the chip without end");
            let (mut moved, mut next) = (false, end);
            for at in 0..self.radios.len() {
                while let Some(edge) = self.air.edge(at) {
                    let line = match (&self.radios[at], edge.gdo) {
                        (Radio::Sx126x(_), _) => Line::Done,
                        (_, 0) => Line::Packet,
                        _ => Line::Fifo,
                    };
                    self.radio(at).handle_edge(edge.at_ns / 1_000, line, edge.high);
                    moved = true;
                }
                let now = self.air.now();
                if self.radio(at).poll_timeout() <= now {
                    self.radio(at).handle_timeout(now);
                    moved = true;
                }
                let mut found = false;
                while let Some(event) = self.radio(at).poll_event() {
                    found |= done(&event);
                    self.events[at].push(event);
                }
                if found {
                    return true;
                }
                next = next.min(self.radio(at).poll_timeout());
            }
            let now = self.air.now();
            if now >= end {
                return false;
            }
            if !moved {
                self.air.advance(next.clamp(now + 1, end.max(now + 1)));
            }
        }
    }

    /// Sends, and waits for the end of it.
    pub(crate) fn send(
        &mut self,
        node: usize,
        frame: &[u8],
        listen: bool,
    ) -> Result<Option<Failure>, Refusal> {
        let now = self.air.now();
        self.radio(node).send(now, frame, listen)?;
        let mut ended = None;
        self.run_until(3 * SECOND, |event| {
            match event {
                Event::Sent { .. } => ended = Some(None),
                Event::Unsent(failure) => ended = Some(Some(*failure)),
                _ => {}
            }
            ended.is_some()
        });
        Ok(ended.expect("a frame that was taken ends"))
    }

    /// Frames since the last call.
    pub(crate) fn received(&mut self, node: usize) -> Vec<Received> {
        let take = |event| if let Event::Received(received) = event { Ok(received) } else { Err(event) };
        let (mut frames, mut others) = (Vec::new(), Vec::new());
        for event in std::mem::take(&mut self.events[node]) {
            match take(event) {
                Ok(received) => frames.push(received),
                Err(event) => others.push(event),
            }
        }
        self.events[node] = others;
        frames
    }

    /// Everything since the last call.
    pub(crate) fn events(&mut self, node: usize) -> Vec<Event> {
        std::mem::take(&mut self.events[node])
    }

    /// Whether its health is like this within so many microseconds.
    pub(crate) fn until(&mut self, us: u64, wanted: impl Fn(&Health) -> bool) -> bool {
        self.run_until(us, |event| matches!(event, Event::Health(health) if wanted(health)))
    }

    /// 0 is heard by 1.
    pub(crate) fn works(&mut self) {
        self.received(1);
        assert_eq!(self.send(0, &frame(33, 1), true), Ok(None));
        self.run(SECOND / 10);
        assert_eq!(self.received(1).len(), 1);
    }
}
