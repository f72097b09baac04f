//! A receiver that is switched off sleeps, and is what it was when it is switched on again.

use cardea_simulator::subghz::{Conditions, Faults};
use cardea_subghz::cc1101::Profile;
use cardea_subghz::{Problem, Refusal, Transceiver};

use super::bench::{Bench, Ended, frame};
use super::{SECOND, config};

/// TEST2 to TEST0 as the driver sets them.
const TESTS: [(u8, u8); 3] = [(0x2C, 0x81), (0x2D, 0x35), (0x2E, 0x09)];

fn pair(seed: u64) -> Bench {
    let mut bench = Bench::new(seed, Conditions::default(), &[config(Profile::Standard, 61); 2]);
    bench.run(SECOND / 50);
    bench.events(0);
    bench.events(1);
    bench
}

fn listen(bench: &mut Bench, on: bool) {
    let now = bench.air.now();
    bench.radio(1).listen(now, on);
}

fn tests(bench: &Bench) -> [Option<u8>; 3] {
    TESTS.map(|(register, _)| bench.air.register(1, register))
}

#[test]
fn a_receiver_that_is_off_sleeps_and_hears_again_when_it_is_on() {
    let mut bench = pair(50);
    for round in 0..20_u8 {
        listen(&mut bench, false);
        let before = bench.air.spent(1);
        bench.run(10 * SECOND);
        let spent = bench.air.spent(1).since(&before);
        // The state is noted when the chip is next told something: what is not sleep is the last byte of the order.
        assert!(spent.sleep + 10_000 >= spent.total(), "{spent:?}");
        assert_eq!(tests(&bench), [Some(0x88), Some(0x31), Some(0x0B)], "a chip that sleeps loses these");
        assert_eq!(bench.send(0, &frame(20, round), true), Ok(Ended::Sent));
        bench.run(SECOND / 10);
        assert!(bench.received(1).is_empty());
        let now = bench.air.now();
        assert_eq!(bench.radio(1).send(now, &frame(20, 1), false), Err(Refusal::NotReady));

        listen(&mut bench, true);
        // 150 µs for the crystal, 800 for calibration, and what the driver waits for each.
        bench.run(2_000);
        let now = bench.air.now();
        assert_eq!(bench.radio(1).carrier(now), Some(false), "round {round}");
        assert_eq!(tests(&bench), TESTS.map(|(_, value)| Some(value)));
        assert_eq!(bench.send(0, &frame(30, round), true), Ok(Ended::Sent));
        bench.run(SECOND / 50);
        assert_eq!(bench.received(1).len(), 1);
        assert_eq!(bench.send(1, &frame(30, round), true), Ok(Ended::Sent));
        bench.run(SECOND / 50);
        assert_eq!(bench.received(0).len(), 1);
    }
    assert_eq!(bench.counters(1).resets, 1, "nothing was wrong");
}

#[test]
fn it_may_be_told_otherwise_at_any_moment_of_waking_and_to_go_elsewhere_meanwhile() {
    let mut bench = pair(51);
    for after in (0..2_000).step_by(50) {
        listen(&mut bench, false);
        bench.run(SECOND / 10);
        listen(&mut bench, true);
        bench.run(after);
        // While it wakes this does nothing, and its owner says it again.
        listen(&mut bench, false);
        bench.run(5_000);
        listen(&mut bench, false);
        let now = bench.air.now();
        for node in 0..2 {
            bench.radio(node).tune(now, if after % 100 == 0 { 433_320_000 } else { 433_920_000 });
        }
        listen(&mut bench, true);
        bench.run(5_000);
        assert_eq!(bench.send(0, &frame(30, 1), true), Ok(Ended::Sent));
        bench.run(SECOND / 50);
        assert_eq!(bench.received(1).len(), 1, "after {after} µs");
    }
    assert_eq!(bench.counters(1).resets, 1, "nothing was wrong");
}

#[test]
fn a_chip_that_lost_its_registers_asleep_is_seen_when_it_wakes() {
    let mut bench = pair(52);
    listen(&mut bench, false);
    bench.run(SECOND);
    bench.air.brown_out(1);
    bench.run(SECOND);
    listen(&mut bench, true);
    assert!(bench.until(5_000, |health| health.problem == Some(Problem::Registers)).is_some());
    bench.run(5_000);
    assert_eq!(bench.send(0, &frame(30, 1), true), Ok(Ended::Sent));
    bench.run(SECOND / 50);
    assert_eq!(bench.received(1).len(), 1);
}

#[test]
fn a_chip_that_does_not_wake_is_told_and_comes_back_when_it_does() {
    let mut bench = pair(53);
    listen(&mut bench, false);
    bench.run(SECOND);
    bench.air.set_faults(1, Faults { dead_spi: Some(0xFF), ..Faults::default() });
    listen(&mut bench, true);
    assert!(bench.until(SECOND / 10, |health| !health.up).is_some());
    bench.air.set_faults(1, Faults::default());
    assert!(bench.until(6 * SECOND, |health| health.up).is_some());
    assert_eq!(bench.send(0, &frame(30, 1), true), Ok(Ended::Sent));
    bench.run(SECOND / 50);
    assert_eq!(bench.received(1).len(), 1);
}
