//! What breaks in the field, and how long it may last.

use cardea_simulator::subghz::{Faults, Jammer};
use cardea_subghz::sx126x::{BUSY_US, WATCH_US};
use cardea_subghz::{Event, Failure, Problem, Profile, Refusal};

use super::bench::{Bench, SECOND, SILENCE, frame};

fn pair(seed: u64) -> Bench {
    Bench::pair(seed, Profile::Standard)
}

#[test]
fn busy_that_never_falls_is_told_in_time_and_ends_with_a_reset() {
    let mut bench = pair(20);
    bench.air.set_faults(1, Faults { busy: Some(true), ..Faults::default() });
    // It shows at the next look.
    let told = bench.until(WATCH_US + BUSY_US + 1_000, |health| health.problem == Some(Problem::Stuck));
    assert!(told);
    bench.run(60 * SECOND);
    assert!(bench.counters(1).resets < 30, "it does not hammer a chip that is not there");
    bench.air.set_faults(1, Faults::default());
    assert!(bench.until(6 * SECOND, |health| health.up && health.problem.is_none()));
    bench.works();
}

#[test]
fn busy_for_a_moment_costs_that_moment_and_a_frame_is_refused_rather_than_late() {
    let mut bench = pair(21);
    bench.air.set_faults(0, Faults { busy: Some(true), ..Faults::default() });
    let at = bench.air.now();
    assert_eq!(bench.radio(0).send(at, &frame(20, 1), false), Err(Refusal::NotReady));
    bench.run(BUSY_US / 2);
    bench.air.set_faults(0, Faults::default());
    bench.run(SECOND / 10);
    assert!(bench.air.bursts().is_empty(), "what was refused is never sent");
    assert_eq!(bench.counters(0).resets, 1);
    bench.works();
}

#[test]
fn busy_under_a_frame_that_is_to_stop_ends_it_by_a_reset() {
    let mut bench = Bench::pair(22, Profile::Slow);
    let at = bench.air.now();
    assert_eq!(bench.radio(0).send(at, &frame(60, 1), true), Ok(()));
    bench.run(5_000);
    bench.air.set_faults(0, Faults { busy: Some(true), ..Faults::default() });
    let at = bench.air.now();
    bench.radio(0).abort(at);
    bench.run(2 * BUSY_US);
    let ends: Vec<_> = bench
        .events(0)
        .into_iter()
        .filter(|event| matches!(event, Event::Unsent(_) | Event::Sent { .. }))
        .collect();
    assert_eq!(ends, [Event::Unsent(Failure::Reset)]);
    assert!(bench.air.bursts()[0].bytes.len() < 30, "the pin stops it");
}

#[test]
fn an_spi_that_is_dead_is_told_within_two_seconds_and_comes_back_within_six() {
    for byte in [0x00, 0xFF] {
        let mut bench = pair(23);
        bench.air.set_faults(1, Faults { dead_spi: Some(byte), ..Faults::default() });
        assert!(
            bench.until(2 * WATCH_US, |health| !health.up && health.problem == Some(Problem::NoChip)),
            "{byte:#x}"
        );
        let at = bench.air.now();
        assert!(bench.radio(1).send(at, &[1], true).is_err());
        bench.run(60 * SECOND);
        assert!(bench.counters(1).resets < 30, "it does not hammer a chip that is not there");
        bench.air.set_faults(1, Faults::default());
        assert!(bench.until(6 * SECOND, |health| health.up && health.problem.is_none()));
        bench.works();
    }
}

#[test]
fn an_spi_that_dies_under_a_frame_ends_the_frame() {
    let mut bench = Bench::pair(24, Profile::Slow);
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
fn edges_that_nobody_tells_cost_time_and_no_frame() {
    let mut bench = pair(25);
    for node in 0..2 {
        bench.air.set_faults(node, Faults { mute_lines: true, ..Faults::default() });
    }
    for round in 0..10 {
        let sent = frame(40, round);
        let from = bench.air.now();
        assert_eq!(bench.send(0, &sent, true), Ok(None));
        assert!(bench.air.now() - from < 2 * Profile::Standard.air_time(40), "round {round}");
        let found = bench.run_until(WATCH_US + 10_000, |event| matches!(event, Event::Received(_)));
        assert!(found, "round {round}");
        let got = bench.received(1);
        assert_eq!((got[0].frame.clone(), got[0].timed), (sent, false));
        bench.run(2 * SECOND);
    }
    assert_eq!((bench.counters(0).missed_edges, bench.counters(1).missed_edges), (10, 10));
    assert_eq!(bench.counters(1).resets, 1);
}

#[test]
fn a_chip_that_does_not_do_what_it_is_told_is_reset() {
    let mut bench = pair(26);
    bench.air.set_faults(1, Faults { stuck: true, ..Faults::default() });
    let at = bench.air.now();
    assert_eq!(bench.radio(1).send(at, &frame(20, 1), false), Ok(()));
    assert!(bench.until(SECOND, |health| !health.up && health.problem == Some(Problem::Stuck)));
    assert!(bench.until(SECOND, |health| health.up));
    let ends: Vec<_> = bench
        .events(1)
        .into_iter()
        .filter(|event| matches!(event, Event::Unsent(_) | Event::Sent { .. }))
        .collect();
    assert_eq!(ends, [Event::Unsent(Failure::Timeout)]);
    bench.works();
}

#[test]
fn a_chip_that_lost_its_registers_is_found_within_two_seconds() {
    let mut bench = pair(27);
    bench.air.brown_out(1);
    assert!(bench.until(2 * WATCH_US, |health| health.problem == Some(Problem::Registers)));
    assert!(bench.until(SECOND, |health| health.up));
    bench.works();
}

#[test]
fn a_chip_that_does_not_hold_what_is_written_is_never_used() {
    let mut bench = pair(28);
    bench.air.set_faults(1, Faults { bad_bit: Some((0xC0, 0x80)), ..Faults::default() });
    bench.air.brown_out(1);
    bench.run(30 * SECOND);
    let events = bench.events(1);
    assert!(
        matches!(events.last(), Some(Event::Health(health)) if !health.up && health.problem == Some(Problem::Registers))
    );
}

#[test]
fn a_receiver_that_is_deaf_is_reset_after_the_longest_silence() {
    let mut bench = pair(29);
    bench.air.set_faults(1, Faults { deaf: true, ..Faults::default() });
    assert_eq!(bench.send(0, &frame(20, 1), true), Ok(None));
    bench.run(SECOND);
    assert!(bench.received(1).is_empty(), "it is deaf");
    assert!(bench.until(SILENCE + 2 * SECOND, |health| health.up && health.problem == Some(Problem::Silent)));
    bench.works();
    assert!(
        matches!(bench.events(1).last(), Some(Event::Health(health)) if health.up && health.problem.is_none())
    );
}

#[test]
fn a_jammed_channel_is_told_within_40_seconds_and_so_is_its_end() {
    let mut bench = pair(30);
    bench.air.jam(Some(Jammer { dbm: -60.0 }));
    assert_eq!(bench.send(0, &frame(20, 1), true), Ok(Some(Failure::Busy)), "nobody speaks into a carrier");
    assert!(bench.until(40 * SECOND, |health| health.up && health.problem == Some(Problem::Jammed)));
    bench.air.jam(None);
    assert!(bench.until(40 * SECOND, |health| health.up && health.problem.is_none()));
    bench.run(SECOND);
    bench.works();
}
