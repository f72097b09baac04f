//! What breaks in the field, and how long it may last.

use cardea_simulator::subghz::{ChipConfig, Conditions, Faults, Jammer};
use cardea_subghz::cc1101::{Config, Profile, WATCH_US};
use cardea_subghz::{Event, Failure, Problem, Transceiver};

use super::bench::{Bench, Ended, SILENCE, frame};
use super::{SECOND, config};

fn pair(seed: u64, config: Config) -> Bench {
    let mut bench = Bench::new(seed, Conditions::default(), &[config; 2]);
    bench.run(SECOND / 50);
    bench.events(0);
    bench.events(1);
    bench
}

/// Time passes on the air while the driver's thread gets none of it.
fn sleep(bench: &Bench, us: u64) {
    let end = bench.air.now() + us;
    while bench.air.now() < end {
        for node in 0..2 {
            while bench.air.edge(node).is_some() {}
        }
        bench.air.advance(end);
    }
}

fn works(bench: &mut Bench) {
    bench.received(1);
    assert_eq!(bench.send(0, &frame(33, 1), true), Ok(Ended::Sent));
    bench.run(SECOND / 20);
    assert_eq!(bench.received(1).len(), 1);
}

#[test]
fn a_receive_fifo_that_overflows_costs_the_packet_and_at_most_a_second() {
    for seed in 0..20 {
        let mut bench = pair(seed, config(Profile::Fast, 255));
        let at = bench.air.now();
        // Neither is served while the sender's FIFO lasts, so the receiver gets no more than 64 bytes: make it get 80.
        assert_eq!(bench.radio(0).send(at, &frame(79, 1), true), Ok(()));
        sleep(&bench, 3_000);
        let at = bench.air.now();
        bench.radio(0).handle_timeout(at);
        sleep(&bench, 20_000);
        bench.run(WATCH_US);
        assert_eq!(bench.counters(1).overflows, 1, "seed {seed}: {:?}", bench.counters(1));
        assert!(bench.received(1).is_empty());
        works(&mut bench);
    }
}

#[test]
fn after_a_transmission_that_was_cut_off_the_next_one_is_heard_though_it_begins_twice() {
    let mut bench = pair(22, config(Profile::Standard, 61));
    for (round, after) in (0..30_u8).zip((333..).step_by(333)) {
        bench.run(SECOND / 20);
        let at = bench.air.now();
        assert_eq!(bench.radio(0).send(at, &frame(40, round), false), Ok(()));
        bench.run(after);
        let at = bench.air.now();
        bench.radio(0).abort(at);
        bench.run(SECOND / 20);
        bench.received(1);
        works(&mut bench);
        assert_eq!(bench.air.bursts().pop().unwrap().preamble, 5, "after {after} µs");
        works(&mut bench);
        assert_eq!(bench.air.bursts().pop().unwrap().preamble, 4, "once");
    }
}

#[test]
fn a_packet_that_does_not_fit_is_lost_however_little_it_is_too_long() {
    for len in 58..75 {
        let mut bench = pair(200 + len as u64, config(Profile::Fast, 255));
        let at = bench.air.now();
        assert_eq!(bench.radio(0).send(at, &frame(len, 1), true), Ok(()));
        // The sender is served, the receiver is not.
        for _ in 0..10 {
            sleep(&bench, 1_000);
            let at = bench.air.now();
            bench.radio(0).handle_timeout(at);
        }
        bench.run(WATCH_US + SECOND / 10);
        let (got, counters) = (bench.received(1).len(), bench.counters(1));
        let lost = (counters.malformed, counters.overflows);
        // With length and status: 65 bytes have room, of the next two the chip knows nothing, and what is longer it tells.
        match len {
            ..=62 => assert_eq!((got, lost), (1, (0, 0)), "{len}"),
            63 | 64 => assert_eq!((got, lost), (0, (1, 0)), "{len}"),
            _ => assert_eq!((got, lost), (0, (0, 1)), "{len}"),
        }
        assert_eq!(counters.resets, 1, "{len}");
        works(&mut bench);
    }
}

#[test]
fn a_transmit_fifo_that_runs_empty_is_told_and_the_next_frame_goes() {
    let mut bench = pair(21, config(Profile::Fast, 255));
    let at = bench.air.now();
    assert_eq!(bench.radio(0).send(at, &frame(200, 1), true), Ok(()));
    sleep(&bench, 30_000);
    bench.run(SECOND / 20);
    assert_eq!(bench.events(0), [Event::Unsent(Failure::Underflow)]);
    bench.run(WATCH_US);
    works(&mut bench);
}

#[test]
fn edges_that_nobody_tells_cost_time_and_no_frame() {
    let mut bench = pair(22, config(Profile::Standard, 61));
    for node in 0..2 {
        bench.air.set_faults(node, Faults { mute_lines: true, ..Faults::default() });
    }
    for round in 0..10 {
        let sent = frame(40, round);
        let from = bench.air.now();
        assert_eq!(bench.send(0, &sent, true), Ok(Ended::Sent));
        let air = Profile::Standard.air_us(40);
        assert!(bench.air.now() - from < 2 * air, "round {round}");
        assert!(
            bench.run_until(WATCH_US + 10_000, |event| matches!(event, Event::Received(_))),
            "round {round}"
        );
        let got = bench.received(1);
        assert_eq!((got[0].frame.clone(), got[0].timed), (sent, false));
        bench.run(2 * SECOND);
    }
    assert_eq!((bench.counters(0).missed_edges, bench.counters(1).missed_edges), (10, 10));
    assert_eq!(bench.counters(1).resets, 1);
}

#[test]
fn an_spi_that_is_dead_is_told_within_two_seconds_and_comes_back_within_six() {
    for byte in [0x00, 0xFF] {
        let mut bench = pair(23, config(Profile::Standard, 61));
        bench.air.set_faults(1, Faults { dead_spi: Some(byte), ..Faults::default() });
        let told = bench.until(2 * WATCH_US, |health| !health.up && health.problem == Some(Problem::NoChip));
        assert!(told.is_some(), "{byte:#x}");
        let at = bench.air.now();
        assert!(bench.radio(1).send(at, &[1], true).is_err());
        bench.run(60 * SECOND);
        assert!(bench.counters(1).resets < 30, "it does not hammer a chip that is not there");
        bench.air.set_faults(1, Faults::default());
        assert!(bench.until(6 * SECOND, |health| health.up && health.problem.is_none()).is_some());
        works(&mut bench);
    }
}

#[test]
fn an_spi_that_dies_under_a_frame_ends_the_frame() {
    let mut bench = pair(24, config(Profile::Slow, 61));
    let at = bench.air.now();
    assert_eq!(bench.radio(0).send(at, &frame(60, 1), true), Ok(()));
    bench.air.set_faults(0, Faults { dead_spi: Some(0xFF), ..Faults::default() });
    bench.run(SECOND);
    let ends: Vec<_> = bench
        .events(0)
        .into_iter()
        .filter(|event| matches!(event, Event::Unsent(_) | Event::Sent { .. }))
        .collect();
    assert_eq!(ends, [Event::Unsent(Failure::Reset)]);
}

#[test]
fn a_chip_that_is_stuck_is_reset() {
    let mut bench = pair(25, config(Profile::Standard, 61));
    bench.air.set_faults(1, Faults { stuck: true, ..Faults::default() });
    // It shows when the chip is to do something.
    let at = bench.air.now();
    assert_eq!(bench.radio(1).send(at, &frame(20, 1), false), Ok(()));
    assert!(bench.until(SECOND, |health| !health.up && health.problem == Some(Problem::Stuck)).is_some());
    assert!(bench.until(SECOND, |health| health.up).is_some());
    works(&mut bench);
}

#[test]
fn a_chip_that_lost_its_registers_is_found_within_two_seconds() {
    let mut bench = pair(26, config(Profile::Standard, 61));
    bench.air.brown_out(1);
    assert!(bench.until(2 * WATCH_US, |health| health.problem == Some(Problem::Registers)).is_some());
    assert!(bench.until(SECOND, |health| health.up).is_some());
    works(&mut bench);
}

#[test]
fn a_chip_that_does_not_hold_what_is_written_is_never_used() {
    let mut bench = pair(27, config(Profile::Standard, 61));
    bench.air.set_faults(1, Faults { bad_bit: Some((0x10, 0x80)), ..Faults::default() });
    bench.air.brown_out(1);
    bench.run(30 * SECOND);
    let events = bench.events(1);
    assert!(
        matches!(events.last(), Some(Event::Health(health)) if !health.up && health.problem == Some(Problem::Registers))
    );
}

#[test]
fn a_receiver_that_is_deaf_is_reset_after_the_longest_silence() {
    let mut bench = pair(28, config(Profile::Standard, 61));
    bench.air.set_faults(1, Faults { deaf: true, ..Faults::default() });
    assert_eq!(bench.send(0, &frame(20, 1), true), Ok(Ended::Sent));
    bench.run(SECOND);
    assert!(bench.received(1).is_empty(), "it is deaf");
    assert!(
        bench
            .until(SILENCE + 2 * SECOND, |health| health.up && health.problem == Some(Problem::Silent))
            .is_some()
    );
    works(&mut bench);
    assert!(
        matches!(bench.events(1).last(), Some(Event::Health(health)) if health.up && health.problem.is_none())
    );
}

#[test]
fn a_jammed_channel_is_told_within_40_seconds_and_so_is_its_end() {
    let mut bench = pair(29, config(Profile::Standard, 61));
    bench.air.jam(Some(Jammer { dbm: -60.0 }));
    assert_eq!(bench.send(0, &frame(20, 1), true), Ok(Ended::Busy), "nobody speaks into a carrier");
    let told =
        bench.until(40 * SECOND, |health| health.up && health.problem == Some(Problem::Jammed)).unwrap();
    assert!(told > 25 * SECOND, "a long frame is no jammer");
    bench.air.jam(None);
    assert!(bench.until(40 * SECOND, |health| health.up && health.problem.is_none()).is_some());
    bench.run(SECOND);
    works(&mut bench);
}

#[test]
fn clones_are_told_by_their_version_and_work() {
    for version in [0x03, 0x04, 0x07, 0x14, 0x17] {
        let chips = [ChipConfig { version, part: 0x80, ..ChipConfig::default() }, ChipConfig::default()];
        let mut bench =
            Bench::with_chips(30, Conditions::default(), &[config(Profile::Standard, 61); 2], &chips);
        bench.run(SECOND / 50);
        let told = bench.events(0);
        assert!(matches!(told[..], [Event::Health(health)] if health.up && health.version == Some(version)));
        works(&mut bench);
    }
}

#[test]
fn a_chip_that_hears_nothing_calibrates_once_a_minute() {
    let mut bench = pair(31, config(Profile::Standard, 61));
    bench.run(300 * SECOND);
    assert_eq!(bench.counters(1).resets, 1);
    works(&mut bench);
}
