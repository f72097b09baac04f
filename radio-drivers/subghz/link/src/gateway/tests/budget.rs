//! The hour's budget of air.

use super::*;
use crate::testing::{HOUR, HourOfAir};

/// The most that can be asked of it: frames down that nobody acknowledges, a lock that speaks without a pause and whose every frame
/// is to be acknowledged, for six hours.
fn exhausted(profile: Profile, region: Region, interval_ms: u16) {
    let mut bench = Bench::new(profile, region, interval_ms);
    let (mut hour, mut own) = (HourOfAir::new(region), HourOfAir::new(region));
    let (mut counter, mut refused, mut acks_when_refused) = (0, 0, 0);
    while bench.now < 6 * HOUR {
        let _ = bench.gateway.send(bench.now, 1, &LOCK, &[1; 48], bench.now + 60_000_000);
        let until = bench.now + 1_000_000;
        while let Some((packet, transmit)) = bench.next(until) {
            let (from, kind) = (bench.now, packet.header().kind);
            let air = bench.sent(&transmit);
            hour.put(from, air);
            if kind == Kind::Ack {
                acks_when_refused += usize::from(refused > 0);
            } else {
                own.put(from, air);
            }
        }
        bench.hears(&up(Kind::Data, counter, &[2; 8]));
        counter += 1;
        refused += bench.outcomes.drain(..).filter(|outcome| *outcome == Outcome::NoAirtime).count();
    }
    let budget = region.budget();
    assert!(own.most <= budget - budget / 10, "the last tenth of the budget is for answers: {}", own.most);
    assert!(hour.most > budget - budget / 10, "{profile:?} {region:?}: answers do not get the last tenth");
    assert!(refused > 100 && acks_when_refused > 100, "{refused} {acks_when_refused}");
    assert!(bench.gateway.stats().silenced > 0, "the load was not enough");
}

#[test]
fn no_hour_of_six_holds_more_than_the_budget_whatever_is_asked_of_the_gateway() {
    exhausted(Profile::Slow, Region::Eu433, 0);
    exhausted(Profile::Slow, Region::Cn433, 2_000);
    exhausted(Profile::Standard, Region::Cn433, 500);
}

#[test]
fn with_an_empty_budget_nothing_is_begun_and_no_beacon_sent() {
    for (spent, acks, beacons) in [(0, 1, 2), (324_000_000, 1, 0), (360_000_000, 0, 0)] {
        for interval_ms in [0, 500] {
            let mut bench = Bench::new(Profile::Standard, Region::Eu433, interval_ms);
            bench.gateway.spent_before(0, spent);
            bench.gateway.send(0, 1, &LOCK, &[1; 48], 60_000_000).unwrap();
            let first = bench.run(9_000_000);
            bench.hears(&up(Kind::Data, 0, &[2; 8]));
            let then = bench.run(9_000_000);
            let all = [first, then].concat();
            assert_eq!(of_kind(&all, Kind::Ack).len(), acks, "spent {spent}");
            assert_eq!(of_kind(&all, Kind::Beacon).len(), beacons, "spent {spent}");
            let own = of_kind(&all, Kind::Data).len() + of_kind(&all, Kind::Wake).len();
            assert_eq!(own > 0, spent == 0, "{own} frames, spent {spent}");
            let outcome = if spent == 0 { Outcome::Unheard } else { Outcome::NoAirtime };
            assert_eq!(bench.outcomes, [outcome], "spent {spent}");
        }
    }
}

/// Whatever else was spent meanwhile: a burst and its repeats go no further than the budget does.
#[test]
fn when_the_budget_ends_in_the_middle_nothing_more_is_begun() {
    for (interval_ms, ends_after) in [(0, Kind::Data), (500, Kind::Wake), (500, Kind::Data)] {
        let mut bench = Bench::new(Profile::Standard, Region::Eu433, interval_ms);
        bench.run(300_000);
        bench.gateway.send(bench.now, 1, &LOCK, &[1; 48], bench.now + 60_000_000).unwrap();
        let mut more = 0;
        while let Some((packet, transmit)) = bench.next(9_000_000) {
            bench.sent(&transmit);
            more += usize::from(bench.gateway.duty.spent(bench.now) >= 324_000_000);
            if packet.header().kind == ends_after {
                bench.gateway.spent_before(bench.now, 324_000_000);
            }
        }
        assert_eq!(
            (more, &bench.outcomes[..]),
            (0, &[Outcome::NoAirtime][..]),
            "{interval_ms} {ends_after:?}"
        );
    }
}

/// A lock that is woken for a frame that may not follow was woken for nothing.
#[test]
fn a_burst_is_not_begun_if_the_frame_behind_it_would_be_too_much() {
    let mut bench = Bench::new(Profile::Standard, Region::Eu433, 500);
    bench.run(300_000);
    bench.gateway.spent_before(bench.now, 324_000_000 - 400_000);
    bench.gateway.send(bench.now, 1, &LOCK, &[1; 48], bench.now + 60_000_000).unwrap();
    assert_eq!(of_kind(&bench.run(5_000_000), Kind::Wake), StdVec::<u64>::new());
    assert_eq!(bench.outcomes, [Outcome::NoAirtime]);
}

#[test]
fn a_frame_of_which_nothing_was_ever_said_is_counted() {
    let mut bench = standard();
    bench.run(300_000);
    let before = bench.gateway.duty.spent(bench.now);
    bench.gateway.send(bench.now, 1, &LOCK, &[1; 48], bench.now + 60_000_000).unwrap();
    let (_, transmit) = bench.next(bench.now + 1_000_000).unwrap();
    let later = bench.now + 1_000_000;
    bench.gateway.handle_timeout(later);
    let air = Profile::Standard.air_time(transmit.frame.len());
    assert_eq!(bench.gateway.duty.spent(later), before + air);
}
