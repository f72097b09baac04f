//! The last moment to begin, and carrier sense.

use cardea_simulator::subghz::{Air, ChipConfig, Conditions, Spi};
use cardea_subghz::cc1101::{Cc1101, Config};
use cardea_subghz::port::{Port, PortEvent};
use cardea_subghz::{Line, Profile};
use cardea_subghz_link::{AirFrame, Transmit};

struct Bench {
    air: Air,
    ports: Vec<Port<Cc1101<Spi>>>,
    events: Vec<Vec<PortEvent>>,
}

impl Bench {
    fn new() -> Self {
        let air = Air::new(1, Conditions::default());
        let port = |_| {
            Port::new(
                Cc1101::new(air.chip(ChipConfig::default()), Config::default(), 0, u64::MAX / 2),
                Profile::Standard,
                0,
            )
        };
        let ports: Vec<_> = (0..2).map(port).collect();
        let mut bench = Self { air, ports, events: vec![Vec::new(); 2] };
        bench.run(50_000);
        bench.events = vec![Vec::new(); 2];
        bench
    }

    fn run(&mut self, us: u64) {
        let (air, end) = (self.air.clone(), self.air.now() + us);
        loop {
            for (at, port) in self.ports.iter_mut().enumerate() {
                while let Some(edge) = air.edge(at) {
                    let line = if edge.gdo == 0 { Line::Packet } else { Line::Fifo };
                    port.handle_edge(edge.at_ns / 1_000, line, edge.high);
                }
                if port.poll_timeout() <= air.now() {
                    port.handle_timeout(&mut || air.now());
                }
                self.events[at].extend(std::iter::from_fn(|| port.poll_event()));
            }
            let now = air.now();
            if now >= end {
                return;
            }
            let next = self.ports.iter().map(Port::poll_timeout).min().unwrap_or(end);
            air.advance(next.clamp(now + 1, end));
        }
    }

    fn ends(&self, at: usize) -> Vec<&PortEvent> {
        self.events[at].iter().filter(|e| matches!(e, PortEvent::Sent { .. } | PortEvent::NotSent)).collect()
    }

    fn heard(&self, at: usize) -> usize {
        self.events[at].iter().filter(|e| matches!(e, PortEvent::Received { .. })).count()
    }
}

fn transmit(len: usize, cca: bool, start_by: u64) -> Transmit {
    let payload: Vec<u8> = (0..len as u8).map(|n| n.wrapping_mul(59) ^ 0xA5).collect();
    Transmit { frame: AirFrame::from_payload(&payload).unwrap(), channel: 0, preamble: 4, cca, start_by }
}

#[test]
fn who_was_away_between_the_look_at_the_clock_and_the_order_is_cut_off() {
    for away in [0, 30_000] {
        let mut bench = Bench::new();
        let (air, start_by) = (bench.air.clone(), bench.air.now() + 2_000);
        // The clock is asked when the frame comes, before it is begun, and after.
        let mut asked = 0;
        let mut clock = || {
            asked += 1;
            air.now() + if asked > 2 { away } else { 0 }
        };
        bench.ports[0].transmit(&mut clock, transmit(40, false, start_by));
        bench.run(50_000);
        assert_eq!(bench.heard(1), usize::from(away == 0), "away {away}");
        assert!(matches!(
            (away, &bench.ends(0)[..]),
            (0, [PortEvent::Sent { .. }]) | (30_000, [PortEvent::NotSent])
        ));
        assert_eq!(bench.ports[0].counters().late, u64::from(away > 0));
        // And it goes on as before.
        let now = bench.air.now();
        bench.ports[0].transmit(&mut || air.now(), transmit(30, true, now + 50_000));
        bench.run(100_000);
        assert_eq!(bench.heard(1), 1 + usize::from(away == 0));
    }
}

/// Whoever waited for the end of the same frame would begin in the same moment: when to try again is for the link layer to draw.
#[test]
fn a_busy_channel_is_told_at_once_and_a_clear_one_is_used_after_five_milliseconds() {
    // The other frame, of 17 ms, begins so long before; 3 ms after, within the five.
    for (before, busy) in [(1_000_i64, true), (-3_000, true), (25_000, false)] {
        let mut bench = Bench::new();
        let air = bench.air.clone();
        let other = |bench: &mut Bench| {
            let now = air.now();
            bench.ports[1].transmit(&mut || air.now(), transmit(60, false, now + 1_000));
        };
        if before > 0 {
            other(&mut bench);
            bench.run(before as u64);
        }
        let asked = air.now();
        bench.ports[0].transmit(&mut || air.now(), transmit(20, true, asked + 60_000));
        if before < 0 {
            bench.run(before.unsigned_abs());
            other(&mut bench);
        }
        bench.run(5_500);
        let told = bench.ends(0);
        assert_eq!(told.iter().any(|e| matches!(e, PortEvent::NotSent)), busy, "{before}: {told:?}");
        assert_eq!(bench.ports[0].counters().busy, u64::from(busy));
        bench.run(200_000);
        assert_eq!(bench.ends(0).iter().any(|e| matches!(e, PortEvent::Sent { .. })), !busy);
        let bursts = air.bursts();
        assert_eq!(bursts.len(), 1 + usize::from(!busy));
        if !busy {
            let begun = bursts[1].start_ns / 1_000;
            assert!((asked + 5_000..asked + 7_000).contains(&begun), "{begun} after {asked}");
        }
    }
}

#[test]
fn a_transceiver_that_is_not_ready_is_waited_for_until_the_last_moment_and_not_a_microsecond_longer() {
    for (patience, sent) in [(300, false), (10_000, true)] {
        let mut bench = Bench::new();
        let air = bench.air.clone();
        // Switched off, it has to calibrate first.
        let now = air.now();
        bench.ports[0].rest(now);
        bench.run(1_000);
        let start_by = air.now() + patience;
        bench.ports[0].transmit(&mut || air.now(), transmit(20, false, start_by));
        bench.run(100_000);
        assert_eq!(bench.ends(0).iter().any(|e| matches!(e, PortEvent::Sent { .. })), sent);
        let bursts = air.bursts();
        assert_eq!(bursts.len(), usize::from(sent));
        assert!(bursts.iter().all(|burst| burst.start_ns / 1_000 <= start_by + 100));
    }
}
