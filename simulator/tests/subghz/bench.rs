//! Drivers on chips on one air, turned by hand.

use cardea_simulator::subghz::{Air, ChipConfig, Conditions, Spi};
use cardea_subghz::cc1101::{Cc1101, Config, Counters};
use cardea_subghz::{Event, Failure, Health, Line, Received, Refusal, Transceiver};

/// Long enough that no test meets it by accident.
pub(crate) const SILENCE: u64 = 600_000_000;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Sent,
    Busy,
    Failed(Failure),
}

struct Node {
    radio: Cc1101<Spi>,
    events: Vec<Event>,
    answer: Option<Vec<u8>>,
}

pub(crate) struct Bench {
    pub(crate) air: Air,
    nodes: Vec<Node>,
}

/// Bytes with as many changes as whitened ones have.
pub(crate) fn frame(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(0x3B).wrapping_add(seed.wrapping_mul(0x57)) ^ 0xA5).collect()
}

impl Bench {
    pub(crate) fn new(seed: u64, weather: Conditions, configs: &[Config]) -> Self {
        Self::with_chips(seed, weather, configs, &vec![ChipConfig::default(); configs.len()])
    }

    pub(crate) fn with_chips(
        seed: u64,
        weather: Conditions,
        configs: &[Config],
        chips: &[ChipConfig],
    ) -> Self {
        println!("seed {seed}");
        let air = Air::new(seed, weather);
        let nodes = configs
            .iter()
            .zip(chips)
            .map(|(config, chip)| Node {
                radio: Cc1101::new(air.chip(*chip), *config, 0, SILENCE),
                events: Vec::new(),
                answer: None,
            })
            .collect();
        Self { air, nodes }
    }

    pub(crate) fn radio(&mut self, node: usize) -> &mut Cc1101<Spi> {
        &mut self.nodes[node].radio
    }

    pub(crate) fn counters(&self, node: usize) -> Counters {
        self.nodes[node].radio.counters()
    }

    /// This one answers the next frame with that, as soon as it has it.
    pub(crate) fn answer(&mut self, node: usize, frame: &[u8]) {
        self.nodes[node].answer = Some(frame.to_vec());
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
            let mut moved = false;
            for (at, node) in self.nodes.iter_mut().enumerate() {
                while let Some(edge) = self.air.edge(at) {
                    let line = if edge.gdo == 0 { Line::Packet } else { Line::Fifo };
                    node.radio.handle_edge(edge.at_ns / 1_000, line, edge.high);
                    moved = true;
                }
                let now = self.air.now();
                if node.radio.poll_timeout() <= now {
                    node.radio.handle_timeout(now);
                    moved = true;
                }
                let mut found = false;
                while let Some(event) = node.radio.poll_event() {
                    found |= done(&event);
                    if let (Event::Received(_), Some(answer)) = (&event, &node.answer) {
                        // The chip calibrates first, and the listener is there by then.
                        if node.radio.send(self.air.now(), answer, true) == Ok(()) {
                            node.answer = None;
                        } else {
                            done(&event);
                        }
                    }
                    node.events.push(event);
                }
                // Ready to answer only when it listens again.
                if let (Some(answer), Some(Event::Received(_))) = (&node.answer, node.events.last())
                    && node.radio.send(self.air.now(), answer, true) == Ok(())
                {
                    node.answer = None;
                }
                if found {
                    return true;
                }
            }
            let now = self.air.now();
            if now >= end {
                return false;
            }
            if !moved {
                let next = self.nodes.iter().map(|node| node.radio.poll_timeout()).min().unwrap_or(end);
                let step = if self.nodes.iter().any(|node| node.answer.is_some()) { now + 500 } else { end };
                self.air.advance(next.clamp(now + 1, end.max(now + 1)).min(step));
            }
        }
    }

    /// Sends, and waits for the end of it.
    pub(crate) fn send(&mut self, node: usize, frame: &[u8], listen: bool) -> Result<Ended, Refusal> {
        let now = self.air.now();
        self.nodes[node].radio.send(now, frame, listen)?;
        let mut ended = None;
        self.run_until(3_000_000, |event| {
            match event {
                Event::Sent { .. } => ended = Some(Ended::Sent),
                Event::Unsent(Failure::Busy) => ended = Some(Ended::Busy),
                Event::Unsent(failure) => ended = Some(Ended::Failed(*failure)),
                _ => {}
            }
            ended.is_some()
        });
        Ok(ended.expect("a frame that was taken ends"))
    }

    /// Frames since the last call.
    pub(crate) fn received(&mut self, node: usize) -> Vec<Received> {
        let (frames, others) = self.nodes[node]
            .events
            .drain(..)
            .partition::<Vec<_>, _>(|event| matches!(event, Event::Received(_)));
        self.nodes[node].events = others;
        frames
            .into_iter()
            .filter_map(|event| if let Event::Received(received) = event { Some(received) } else { None })
            .collect()
    }

    /// Everything since the last call.
    pub(crate) fn events(&mut self, node: usize) -> Vec<Event> {
        std::mem::take(&mut self.nodes[node].events)
    }

    /// How long until its health is like this, microseconds.
    pub(crate) fn until(&mut self, us: u64, wanted: impl Fn(&Health) -> bool) -> Option<u64> {
        let from = self.air.now();
        self.run_until(us, |event| matches!(event, Event::Health(health) if wanted(health)))
            .then(|| self.air.now() - from)
    }
}
