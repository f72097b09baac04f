//! The last moment to begin, and carrier sense.

use std::{cell::RefCell, rc::Rc};

use cardea_simulator::subghz::{Air, ChipConfig, Conditions, Spi};
use cardea_subghz::cc1101::{Cc1101, Config};
use cardea_subghz::port::{Port, PortEvent};
use cardea_subghz::{Line, Profile};
use cardea_subghz_link::{AirFrame, Transmit};
use embedded_hal::spi::{ErrorType, Operation, SpiDevice};

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

/// From the order to the first bit, with the accesses between: the SPI of the model takes 2 µs a byte.
const TURN_US: i64 = 50;

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
        // What was on the air of it counts for the hour.
        let cut = Profile::Standard.air_time(40);
        assert_eq!(bench.events[0].contains(&PortEvent::Cut { air: cut }), away > 0);
        // And it goes on as before.
        let now = bench.air.now();
        bench.ports[0].transmit(&mut || air.now(), transmit(30, true, now + 50_000));
        bench.run(100_000);
        assert_eq!(bench.heard(1), 1 + usize::from(away == 0));
    }
}

/// CC1101: transmit.
const STX: u8 = 0x35;

/// The chip's SPI under a process that is sent away before some of its accesses; the air goes on meanwhile.
struct Preempted {
    spi: Spi,
    plan: Rc<RefCell<Plan>>,
}

#[derive(Default)]
struct Plan {
    /// Looks at the clock and accesses to the chip so far.
    steps: usize,
    /// Before which, and for how long.
    away: Vec<(usize, u64)>,
    /// Which of the steps were looks at the clock.
    looks: Vec<bool>,
    /// Behind the order to send.
    order: usize,
    /// A chip that nobody uses: a pause at its SPI is time that passes for all, edges or not.
    pause: Option<Spi>,
}

impl Plan {
    fn step(plan: &Rc<RefCell<Self>>, is_look: bool) {
        let mut plan = plan.borrow_mut();
        plan.looks.push(is_look);
        let this = plan.steps;
        plan.steps += 1;
        let us: u64 = plan.away.iter().filter(|(at, _)| *at == this).map(|(_, us)| us).sum();
        if let (1.., Some(spi)) = (us, &mut plan.pause) {
            spi.transaction(&mut [Operation::DelayNs(us as u32 * 1_000)]).unwrap();
        }
    }
}

impl ErrorType for Preempted {
    type Error = <Spi as ErrorType>::Error;
}

impl SpiDevice for Preempted {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), Self::Error> {
        Plan::step(&self.plan, false);
        if matches!(operations, [Operation::TransferInPlace([STX])]) {
            let mut plan = self.plan.borrow_mut();
            plan.order = plan.steps;
        }
        self.spi.transaction(operations)
    }
}

/// One frame by a process that is away so; which step the order was, whether a receiver got it, and when it began after the last moment.
fn sent_by(away: &[(usize, u64)], len: usize, margin: u64) -> (usize, bool, i64) {
    let air = Air::new(1, Conditions::default());
    let plan = Rc::new(RefCell::new(Plan::default()));
    let spi = Preempted { spi: air.chip(ChipConfig::default()), plan: plan.clone() };
    let mut sender = Port::new(Cc1101::new(spi, Config::default(), 0, u64::MAX / 2), Profile::Standard, 0);
    let receiver = Cc1101::new(air.chip(ChipConfig::default()), Config::default(), 0, u64::MAX / 2);
    let mut receiver = Port::new(receiver, Profile::Standard, 0);
    let mut heard = false;
    let mut run = |sender: &mut Port<Cc1101<Preempted>>, us: u64| {
        let end = air.now() + us;
        while air.now() < end {
            // The receiver's process is never away.
            while let Some(edge) = air.edge(1) {
                receiver.handle_edge(edge.at_ns / 1_000, Line::Packet, edge.high);
            }
            receiver.handle_timeout(&mut || air.now());
            while let Some(edge) = air.edge(0) {
                sender.handle_edge(edge.at_ns / 1_000, Line::Packet, edge.high);
            }
            let mut clock = || {
                Plan::step(&plan, true);
                air.now()
            };
            sender.handle_timeout(&mut clock);
            heard |=
                std::iter::from_fn(|| receiver.poll_event()).any(|e| matches!(e, PortEvent::Received { .. }));
            let next = sender.poll_timeout().min(receiver.poll_timeout());
            let now = air.now();
            air.advance(next.clamp(now + 1, end.max(now + 1)));
        }
    };
    run(&mut sender, 50_000);
    let pause = Some(air.chip(ChipConfig::default()));
    *plan.borrow_mut() = Plan { away: away.to_vec(), pause, ..Plan::default() };
    let start_by = air.now() + 5_000 + margin;
    let mut clock = || {
        Plan::step(&plan, true);
        air.now()
    };
    sender.transmit(&mut clock, transmit(len, true, start_by));
    run(&mut sender, 500_000);
    let (order, looks) = (plan.borrow().order, plan.borrow().looks.clone());
    if away.is_empty() {
        let accesses =
            |steps: &mut dyn Iterator<Item = &bool>| steps.take_while(|is_look| !**is_look).count();
        let before = accesses(&mut looks[..order].iter().rev());
        let after = accesses(&mut looks[order..].iter());
        let behind = accesses(&mut looks[order + after + 1..].iter());
        println!(
            "accesses to the chip: {before} from the last look at the clock to the order, {after} from there to the next look, {behind} behind it"
        );
        assert_eq!((before, after, behind), (6, 0, 1), "docs/decisions/0022 names them");
    }
    let late =
        air.bursts().last().map_or(i64::MIN, |burst| (burst.start_ns / 1_000) as i64 - start_by as i64);
    (order, heard, late)
}

/// Before each of its looks at the clock and accesses to the chip, for less and for more than a frame, once and twice. What a receiver takes
/// has begun in time, or as late as the chip takes to turn around.
#[test]
fn wherever_a_process_is_away_no_whole_frame_begins_late() {
    let len = 30;
    let (order, heard, _) = sent_by(&[], len, 2_000);
    assert!(heard && order > 10, "nobody was away, and it did not arrive");
    let (mut cut, mut whole, mut worst) = (0, 0, i64::MIN);
    let mut check = |away: &[(usize, u64)], margin| {
        let (_, heard, late) = sent_by(away, len, margin);
        if heard {
            assert!(late <= TURN_US, "away {away:?}: a whole frame began {late} µs late");
            worst = worst.max(late);
        }
        (cut, whole) = (cut + usize::from(!heard), whole + usize::from(heard));
    };
    for first in order.saturating_sub(30)..order + 20 {
        for us in [300, 2_500, 30_000] {
            check(&[(first, us)], 2_000);
            for second in first + 1..first + 12 {
                check(&[(first, us), (second, 40_000)], 2_000);
            }
        }
    }
    println!("{whole} whole, the latest {worst} µs after its last moment; {cut} not");
    assert!(whole > 20 && cut > 100, "{whole} {cut}");
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
