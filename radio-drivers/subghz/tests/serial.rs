//! Two transparent modules as a pipe with loss, rubbish and stalls, on a clock that the test turns.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use cardea_subghz::port::{Port, PortEvent};
use cardea_subghz::serial::{Bytes, Config, Gone, MAX_FRAME, SLACK_US, Serial, cobs};
use cardea_subghz::{Event, Failure, Health, Problem, Profile, Refusal, Transceiver};
use cardea_subghz_link::{AirFrame, Module, Transmit};

const CONFIG: Config = Config {
    module: Module { baud: 9_600, air_bps: 5_000, packet: 58, overhead_us: 20_000, hold_us: 10_000 },
    budget_us: 360_000_000,
    silence_us: 600_000_000,
};

#[derive(Default)]
struct Wire {
    /// From each end to the other.
    bytes: [VecDeque<u8>; 2],
    /// What each end was given in all.
    written: [usize; 2],
    /// How many bytes the ports take at once; none: all.
    takes: Option<usize>,
    gone: bool,
    opened: usize,
    /// Does something to a byte on its way.
    weather: Option<Box<dyn FnMut(u8) -> Vec<u8>>>,
}

struct End(Rc<RefCell<Wire>>, usize);

impl Bytes for End {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Gone> {
        let mut wire = self.0.borrow_mut();
        if wire.gone {
            return Err(Gone);
        }
        let from = &mut wire.bytes[1 - self.1];
        let n = from.len().min(into.len());
        into.iter_mut().zip(from.drain(..n)).for_each(|(place, byte)| *place = byte);
        Ok(n)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, Gone> {
        let mut wire = self.0.borrow_mut();
        if wire.gone {
            return Err(Gone);
        }
        let n = wire.takes.map_or(bytes.len(), |takes| takes.min(bytes.len()));
        wire.written[self.1] += n;
        for byte in &bytes[..n] {
            let arrives = wire.weather.as_mut().map_or(vec![*byte], |weather| weather(*byte));
            wire.bytes[self.1].extend(arrives);
        }
        Ok(n)
    }

    fn open(&mut self) -> Result<(), Gone> {
        let mut wire = self.0.borrow_mut();
        wire.opened += 1;
        if wire.gone { Err(Gone) } else { Ok(()) }
    }
}

fn pair(config: Config) -> (Rc<RefCell<Wire>>, [Serial<End>; 2]) {
    let wire = Rc::new(RefCell::new(Wire::default()));
    let mut ends = [0, 1].map(|at| Serial::new(End(wire.clone(), at), config, 0));
    for end in &mut ends {
        end.handle_timeout(0);
        assert_eq!(events(end), [Event::Health(Health { up: true, version: None, problem: None })]);
    }
    (wire, ends)
}

fn events(end: &mut Serial<End>) -> Vec<Event> {
    std::iter::from_fn(|| end.poll_event()).collect()
}

/// Turns both until then; what each said.
fn run(ends: &mut [Serial<End>; 2], now: &mut u64, until: u64) -> [Vec<Event>; 2] {
    let mut said = [Vec::new(), Vec::new()];
    while *now < until {
        let next = ends.iter().map(Transceiver::poll_timeout).min().unwrap();
        *now = next.clamp(*now + 1, until);
        for (end, said) in ends.iter_mut().zip(&mut said) {
            end.handle_timeout(*now);
            said.extend(events(end));
        }
    }
    said
}

fn frame(len: usize, seed: usize) -> Vec<u8> {
    // With zeros, which stuffing is there for.
    (0..len).map(|at| if (at + seed).is_multiple_of(5) { 0 } else { (at * 59 + seed * 31) as u8 }).collect()
}

fn frames(said: &[Event]) -> Vec<Vec<u8>> {
    let frame = |event: &Event| if let Event::Received(got) = event { Some(got.frame.clone()) } else { None };
    said.iter().filter_map(frame).collect()
}

#[test]
fn frames_of_every_length_arrive_and_nothing_is_claimed_of_how() {
    let (_, mut ends) = pair(CONFIG);
    let mut now = 0;
    let abilities = ends[0].abilities();
    assert!(!(abilities.rssi || abilities.lqi || abilities.offset || abilities.carrier_sense));
    assert_eq!(ends[0].carrier(0), None);
    for len in 1..=usize::from(MAX_FRAME) {
        assert_eq!(ends[0].send(now, &frame(len, len), true), Ok(()));
        let until = now + 1_000_000;
        let [ours, theirs] = run(&mut ends, &mut now, until);
        assert!(matches!(ours[..], [Event::Sent { .. }]), "{len}: {ours:?}");
        let [Event::Received(got)] = &theirs[..] else { panic!("{len}: {theirs:?}") };
        assert_eq!(got.frame, frame(len, len));
        assert_eq!((got.rssi, got.lqi, got.offset_hz, got.timed), (None, None, None, false));
    }
    assert_eq!(ends[0].send(now, &[], true), Err(Refusal::Length));
    assert_eq!(ends[0].send(now, &[1; 62], true), Err(Refusal::Length));
}

#[test]
fn what_a_module_has_is_out_before_it_gets_more() {
    let (wire, mut ends) = pair(CONFIG);
    let (mut now, mut last, mut sent) = (0, None, 0);
    while now < 60_000_000 {
        let before = wire.borrow().written[0];
        match ends[0].send(now, &frame(40, 1), true) {
            Ok(()) => {
                let bytes = wire.borrow().written[0] - before;
                // From the first byte at the port: all of them on the UART, the module's hold, its air.
                let out = bytes as u64 * 10_000_000 / 9_600 + 10_000 + CONFIG.module.air_us(bytes);
                if let Some(free) = last {
                    assert!(now >= free, "{now} before {free}");
                }
                (last, sent) = (Some(now + out), sent + 1);
            }
            Err(refusal) => assert_eq!(refusal, Refusal::Occupied),
        }
        let until = now + 1_000;
        run(&mut ends, &mut now, until);
    }
    println!("{sent} frames of 40 bytes in a minute");
    assert!(sent > 200, "{sent}");
}

#[test]
fn no_more_than_the_hours_budget_is_on_the_air() {
    let (wire, mut ends) = pair(Config { budget_us: 2_000_000, ..CONFIG });
    let (mut now, mut sent, mut refused) = (0, 0, 0);
    while now < 600_000_000 {
        match ends[0].send(now, &frame(61, 1), true) {
            Ok(()) => sent += 1,
            Err(Refusal::NotReady) => refused += 1,
            Err(other) => panic!("{other}"),
        }
        let until = now + 1_000_000;
        run(&mut ends, &mut now, until);
    }
    let each = CONFIG.module.air_us(wire.borrow().written[0] / sent);
    println!("{sent} of {each} µs each, {refused} refused");
    assert!(refused > 500);
    assert!((1_700_000..=2_000_000).contains(&(sent as u64 * each)));
}

#[test]
fn loss_rubbish_and_flipped_bits_cost_frames_and_give_none_that_was_not_sent() {
    let (wire, mut ends) = pair(CONFIG);
    // A small generator of its own, seed 433.
    let mut state = 433_u64;
    let mut draw = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    wire.borrow_mut().weather = Some(Box::new(move |byte| match draw() % 300 {
        0 => vec![],
        1 => vec![byte, draw() as u8],
        2 => vec![byte ^ 1 << (draw() % 8)],
        3 => vec![byte, 0],
        4 => (0..100).map(|_| draw() as u8 | 1).collect(),
        _ => vec![byte],
    }));
    let (mut now, mut got) = (0, 0);
    for round in 0..500 {
        let sent = frame(1 + round % 61, round);
        assert_eq!(ends[0].send(now, &sent, true), Ok(()));
        let until = now + 1_000_000;
        let [_, theirs] = run(&mut ends, &mut now, until);
        for frame in frames(&theirs) {
            assert_eq!(frame, sent, "round {round}");
            got += 1;
        }
    }
    let counters = ends[1].counters();
    println!("{got} of 500 arrived, {counters:?}");
    assert!(got > 250 && counters.damaged > 20 && counters.too_long > 5);
}

#[test]
fn a_port_that_does_not_take_bytes_in_their_time_ends_the_frame_and_the_next_one_arrives() {
    let (wire, mut ends) = pair(CONFIG);
    wire.borrow_mut().takes = Some(1);
    let mut now = 0;
    assert_eq!(ends[0].send(now, &frame(61, 1), true), Ok(()));
    // Meanwhile there is no other, and the whole is over within the time of its bytes and the slack.
    let whole = 67 * 10_000_000 / 9_600 + SLACK_US + 5_000;
    let [ours, theirs] = run(&mut ends, &mut now, whole);
    assert_eq!(ours, [Event::Unsent(Failure::Timeout)]);
    assert!(theirs.is_empty());
    // What the module has of it is waited for.
    wire.borrow_mut().takes = None;
    assert_eq!(ends[0].send(now, &frame(9, 2), true), Err(Refusal::Occupied));
    let until = now + 1_000_000;
    run(&mut ends, &mut now, until);
    assert_eq!(ends[0].send(now, &frame(9, 2), true), Ok(()));
    let until = now + 1_000_000;
    assert_eq!(frames(&run(&mut ends, &mut now, until)[1]), [frame(9, 2)]);
}

#[test]
fn what_is_stopped_before_the_port_has_it_is_no_frame_and_what_it_has_is_sent() {
    let (wire, mut ends) = pair(CONFIG);
    wire.borrow_mut().takes = Some(20);
    let mut now = 0;
    assert_eq!(ends[0].send(now, &frame(61, 1), true), Ok(()));
    ends[0].abort(now);
    assert_eq!(events(&mut ends[0]), [Event::Unsent(Failure::Aborted)]);
    wire.borrow_mut().takes = None;
    run(&mut ends, &mut now, 1_000_000);
    assert_eq!(ends[0].send(now, &frame(30, 2), true), Ok(()));
    ends[0].abort(now);
    let [ours, theirs] = run(&mut ends, &mut now, 2_000_000);
    assert!(matches!(ours[..], [Event::Sent { .. }]), "nothing calls it back");
    assert_eq!(frames(&theirs), [frame(30, 2)]);
}

#[test]
fn a_port_that_is_gone_is_told_opened_again_and_not_hammered() {
    let (wire, mut ends) = pair(CONFIG);
    let mut now = 0;
    assert_eq!(ends[0].send(now, &frame(61, 1), true), Ok(()));
    wire.borrow_mut().gone = true;
    let [ours, _] = run(&mut ends, &mut now, 1_000_000);
    let down = Health { up: false, version: None, problem: Some(Problem::NoChip) };
    assert_eq!(ours, [Event::Unsent(Failure::Reset), Event::Health(down)]);
    assert_eq!(ends[0].send(now, &[1], true), Err(Refusal::NotReady));
    run(&mut ends, &mut now, 60_000_000);
    assert!(wire.borrow().opened < 2 * 25, "{}", wire.borrow().opened);
    wire.borrow_mut().gone = false;
    let [ours, _] = run(&mut ends, &mut now, 66_000_000);
    assert_eq!(ours, [Event::Health(Health { up: true, version: None, problem: None })]);
    assert_eq!(ends[0].send(now, &frame(9, 2), true), Ok(()));
    let until = now + 1_000_000;
    assert_eq!(frames(&run(&mut ends, &mut now, until)[1]), [frame(9, 2)]);
}

#[test]
fn silence_is_told_and_a_frame_ends_it() {
    let (_, mut ends) = pair(Config { silence_us: 5_000_000, ..CONFIG });
    let mut now = 0;
    let [_, theirs] = run(&mut ends, &mut now, 6_000_000);
    let silent = Health { up: true, version: None, problem: Some(Problem::Silent) };
    assert_eq!(theirs, [Event::Health(silent)]);
    assert_eq!(ends[0].send(now, &frame(9, 2), true), Ok(()));
    let [_, theirs] = run(&mut ends, &mut now, 7_000_000);
    assert!(matches!(theirs[..], [Event::Health(Health { problem: None, .. }), Event::Received(_)]));
}

/// Over the port, which has the last moment to begin: what would leave after it is not handed over.
#[test]
fn the_last_moment_to_begin_counts_in_how_late_the_first_bit_may_leave() {
    let late = CONFIG.module.start_us();
    println!("the first bit leaves up to {late} µs after it was handed over");
    assert!(late >= cobs::encoded(64) as u64 * 10_000_000 / 9_600 + 10_000);
    for (start_by, goes) in [(late - 1, false), (late, true)] {
        let (wire, [end, _]) = pair(CONFIG);
        let mut port = Port::new(end, Profile::Standard, 0);
        let frame = AirFrame::from_payload(&frame(30, 1)).unwrap();
        // It would listen first, which such a module cannot.
        port.transmit(&mut || 0, Transmit { frame, channel: 0, preamble: 4, cca: true, start_by });
        assert_eq!(wire.borrow().written[0] > 0, goes);
        let said: Vec<_> = std::iter::from_fn(|| port.poll_event()).collect();
        assert_eq!(said.contains(&PortEvent::NotSent), !goes, "{said:?}");
    }
}
