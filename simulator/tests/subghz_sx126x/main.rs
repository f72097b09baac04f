//! The SX126x driver on the model of its chip, beside CC1101s on the same air, on a virtual clock: nothing here waits.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod bench;
mod faults;
mod rtl433;

use bench::{Bench, SECOND, config, frame};
use cardea_simulator::subghz::{Conditions, Faults, Sx126xConfig};
use cardea_subghz::sx126x::{Config, Tcxo};
use cardea_subghz::{Event, Failure, Health, Kind, Problem, Profile, Refusal, cc1101};

const PROFILES: [(Profile, cc1101::Profile); 3] = [
    (Profile::Slow, cc1101::Profile::Slow),
    (Profile::Standard, cc1101::Profile::Standard),
    (Profile::Fast, cc1101::Profile::Fast),
];

#[test]
fn frames_of_every_length_go_both_ways_between_both_kinds_in_all_profiles() {
    for (profile, theirs) in PROFILES {
        for max_frame in [61, 255] {
            let mut bench = Bench::new(1, Conditions::default());
            let sx = bench.sx126x(config(profile, max_frame), Sx126xConfig::default());
            let cc = bench.cc1101(theirs, max_frame);
            let other = bench.sx126x(config(profile, max_frame), Sx126xConfig::default());
            bench.run(SECOND / 50);
            let lens = (1..=61).chain([62, 63, 64, 65, 127, 128, 254, 255]);
            for len in lens.filter(|len| *len <= usize::from(max_frame)) {
                for (from, to) in [(sx, cc), (cc, sx)] {
                    let sent = frame(len, (len + from) as u8);
                    assert_eq!(bench.send(from, &sent, true), Ok(None), "{profile:?} {len} from {from}");
                    bench.run(SECOND / 100);
                    for to in [to, other] {
                        let got = bench.received(to);
                        assert_eq!(got.len(), 1, "{profile:?} {len} from {from} to {to}");
                        assert_eq!(got[0].frame, sent);
                        assert_eq!((got[0].rssi, got[0].timed), (Some(-60), true));
                    }
                }
            }
            for node in [sx, other] {
                let counters = bench.counters(node);
                let clean = (counters.bad_crc, counters.malformed, counters.missed_edges, counters.resets);
                assert_eq!(clean, (0, 0, 0, 1), "{profile:?} {counters:?}");
                assert_eq!(bench.air.violations(node), 0, "it was told something while it was busy");
            }
        }
    }
}

#[test]
fn the_same_bytes_are_on_the_air_as_from_the_other_kind() {
    for (profile, theirs) in PROFILES {
        let mut bench = Bench::new(2, Conditions::default());
        let sx = bench.sx126x(config(profile, 61), Sx126xConfig::default());
        let cc = bench.cc1101(theirs, 61);
        bench.run(SECOND / 50);
        for len in [1, 20, 61] {
            for node in [sx, cc] {
                assert_eq!(bench.send(node, &frame(len, 9), false), Ok(None));
                bench.run(SECOND / 100);
            }
            let bursts = bench.air.bursts();
            let [.., ours, others] = &bursts[..] else { panic!("two bursts") };
            assert_eq!(ours.bytes, others.bytes, "{profile:?} {len}");
            assert_eq!((ours.preamble, ours.gaussian), (others.preamble, others.gaussian));
            assert!((ours.byte_ns as f64 / others.byte_ns as f64 - 1.0).abs() < 1e-3);
            assert!((ours.deviation_hz / others.deviation_hz - 1.0).abs() < 1e-3);
            assert!((ours.carrier_hz - others.carrier_hz).abs() < 400.0, "a step of the other one's");
            // Ends are the chips' own times.
            let end = (ours.start_ns + ours.bytes.len() as u64 * ours.byte_ns) / 1_000;
            let at = bench.received(cc).remove(0).at;
            assert!(at.abs_diff(end) <= 1, "{at} {end}");
        }
    }
}

#[test]
fn damaged_frames_are_counted_and_never_delivered() {
    let mut bench = Bench::new(3, Conditions { bit_errors: 0.002, ..Conditions::default() });
    let cc = bench.cc1101(cc1101::Profile::Standard, 255);
    let sx = bench.sx126x(config(Profile::Standard, 255), Sx126xConfig::default());
    bench.run(SECOND / 50);
    let mut got = 0;
    for round in 0..200_usize {
        let sent = frame(1 + round, round as u8);
        assert!(bench.send(cc, &sent, true).is_ok());
        bench.run(SECOND / 5);
        for received in bench.received(sx) {
            assert_eq!(received.frame, sent, "round {round}");
            got += 1;
        }
    }
    let counters = bench.counters(sx);
    println!("{got} of 200 arrived, {counters:?}");
    assert!(counters.bad_crc > 20 && got > 20);
    assert_eq!(counters.resets, 1);
}

#[test]
fn what_is_longer_than_it_takes_costs_itself_alone() {
    let mut bench = Bench::new(4, Conditions::default());
    let cc = bench.cc1101(cc1101::Profile::Standard, 255);
    let sx = bench.sx126x(config(Profile::Standard, 61), Sx126xConfig::default());
    bench.run(SECOND / 50);
    for round in 0..5 {
        assert_eq!(bench.send(cc, &frame(62, round), true), Ok(None));
        bench.run(SECOND / 100);
        assert!(bench.received(sx).is_empty());
        // Shorter than what was sent by itself in between: the longest must be said again.
        assert_eq!(bench.send(sx, &frame(1, round), true), Ok(None));
        bench.run(SECOND / 100);
        assert_eq!(bench.send(cc, &frame(61, round), true), Ok(None));
        bench.run(SECOND / 100);
        assert_eq!(bench.received(sx).len(), 1);
    }
    assert_eq!((bench.counters(sx).bad_crc, bench.counters(sx).resets), (5, 1));
}

#[test]
fn who_listens_first_waits_for_others_to_end() {
    let mut bench = Bench::new(5, Conditions::default());
    let cc = bench.cc1101(cc1101::Profile::Slow, 61);
    let sx = bench.sx126x(config(Profile::Slow, 61), Sx126xConfig::default());
    bench.run(SECOND / 50);
    let at = bench.air.now();
    assert_eq!(bench.radio(cc).carrier(at), Some(false));
    assert_eq!(bench.radio(sx).carrier(at), Some(false));
    assert_eq!(bench.radio(cc).send(at, &frame(50, 1), true), Ok(()));
    bench.run(3_000);
    // The preamble is a carrier already; the packet is none yet.
    let at = bench.air.now();
    assert_eq!(bench.radio(sx).carrier(at), Some(true));
    assert_eq!(bench.send(sx, &frame(10, 2), true), Ok(Some(Failure::Busy)));
    bench.run(40_000);
    let at = bench.air.now();
    // It comes in, and is worth more than what is to go out, even without listening.
    assert_eq!(bench.radio(sx).send(at, &frame(10, 2), false), Err(Refusal::Occupied));
    bench.run(SECOND / 2);
    assert_eq!(bench.received(sx).len(), 1);
    assert_eq!(bench.send(sx, &frame(10, 2), true), Ok(None));
}

#[test]
fn another_channel_is_another_channel_and_what_is_being_sent_is_cut_off() {
    let mut bench = Bench::pair(6, Profile::Standard);
    let at = bench.air.now();
    bench.radio(1).tune(at, 433_320_000);
    bench.run(SECOND / 100);
    assert_eq!(bench.send(0, &frame(20, 1), true), Ok(None));
    bench.run(SECOND / 100);
    assert!(bench.received(1).is_empty());
    let at = bench.air.now();
    assert_eq!(bench.radio(0).send(at, &frame(60, 1), true), Ok(()));
    bench.run(2_000);
    let at = bench.air.now();
    bench.radio(0).tune(at, 433_320_000);
    bench.run(SECOND / 100);
    let ends: Vec<_> =
        bench.events(0).into_iter().filter(|event| matches!(event, Event::Unsent(_))).collect();
    assert_eq!(ends, [Event::Unsent(Failure::Aborted)]);
    bench.works();
}

#[test]
fn what_is_stopped_is_cut_off_on_the_air_and_nobody_takes_it() {
    let mut bench = Bench::pair(7, Profile::Standard);
    let at = bench.air.now();
    assert_eq!(bench.radio(0).send(at, &frame(60, 1), true), Ok(()));
    bench.run(2_000);
    let at = bench.air.now();
    bench.radio(0).abort(at);
    bench.run(SECOND / 10);
    assert!(bench.air.bursts()[0].bytes.len() < 20);
    assert!(bench.events(0).contains(&Event::Unsent(Failure::Aborted)));
    assert!(bench.received(1).is_empty());
    // Stopped while the chip is busy with beginning: as soon as it takes the order, and nothing but preamble is out by then. And after
    // the last bit.
    let at = bench.air.now();
    assert_eq!(bench.radio(0).send(at, &frame(60, 1), true), Ok(()));
    let at = bench.air.now();
    bench.radio(0).abort(at);
    bench.run(SECOND / 10);
    assert!(bench.air.bursts()[1].bytes.len() <= bench.air.bursts()[1].preamble);
    let at = bench.air.now();
    bench.radio(0).abort(at);
    // Who heard its sync word waits for an end that does not come, as far as the model goes, until it is looked at.
    bench.run(2 * SECOND);
    assert_eq!(bench.counters(1).malformed, 1);
    bench.works();
}

#[test]
fn a_receiver_that_is_switched_off_hears_and_sends_nothing_until_it_is_on_again() {
    let mut bench = Bench::pair(10, Profile::Standard);
    let at = bench.air.now();
    bench.radio(1).listen(at, false);
    assert_eq!(bench.radio(1).send(at, &frame(9, 1), false), Err(Refusal::NotReady));
    assert_eq!(bench.send(0, &frame(20, 1), true), Ok(None));
    bench.run(2 * SECOND);
    assert!(bench.events(1).is_empty());
    let at = bench.air.now();
    bench.radio(1).listen(at, true);
    bench.run(SECOND / 100);
    bench.works();
}

#[test]
fn a_tcxo_is_fed_and_a_module_whose_oscillator_is_not_what_is_configured_is_not_used() {
    let fed = Some(Tcxo { voltage: 2, start_us: 5_000 });
    for (tcxo, has, up) in [(fed, true, true), (None, true, false), (fed, false, false), (None, false, true)]
    {
        let mut bench = Bench::new(8, Conditions::default());
        bench.sx126x(
            Config { tcxo, ..Config::default() },
            Sx126xConfig { tcxo: has, ..Sx126xConfig::default() },
        );
        bench.run(SECOND);
        let problem = if up { None } else { Some(Problem::Oscillator) };
        let Some(Event::Health(last)) = bench.events(0).pop() else { panic!("nothing is told") };
        assert_eq!((last.up, last.problem), (up, problem), "{tcxo:?} {has}");
        assert_eq!(bench.air.violations(0), 0);
    }
}

/// A gateway whose `chip` was forgotten, or whose module was swapped. `stuck`: at the wire of BUSY is something that is high.
#[test]
fn a_chip_of_the_other_kind_is_told_as_that_and_sends_nothing() {
    for (sx126x, stuck) in [(true, false), (true, true), (false, false)] {
        let mut bench = Bench::new(10, Conditions::default());
        bench.other(sx126x);
        bench.air.set_faults(0, Faults { busy: stuck.then_some(true), ..Faults::default() });
        bench.run(10 * SECOND);
        let other = if sx126x { Kind::Cc1101 } else { Kind::Sx126x };
        let mut told: Vec<_> = bench
            .events(0)
            .into_iter()
            .map(|event| match event {
                Event::Health(Health { up, problem, .. }) => (up, problem),
                other => panic!("{other:?}"),
            })
            .collect();
        told.dedup();
        assert_eq!(told, [(false, Some(Problem::Other(other)))], "{sx126x} {stuck}");
        assert!(bench.air.bursts().is_empty());
    }
}

#[test]
fn nothing_is_sent_that_is_empty_or_too_long_or_before_the_chip_is_ready() {
    let mut bench = Bench::new(9, Conditions::default());
    bench.sx126x(Config::default(), Sx126xConfig::default());
    let at = bench.air.now();
    assert_eq!(bench.radio(0).send(at, &[1], true), Err(Refusal::NotReady));
    bench.run(SECOND / 50);
    let at = bench.air.now();
    assert_eq!(bench.radio(0).send(at, &[], true), Err(Refusal::Length));
    assert_eq!(bench.radio(0).send(at, &[0; 62], true), Err(Refusal::Length));
    assert!(bench.air.bursts().is_empty());
}
