//! Sleep, strobes, beacons, searches.

use super::*;
use crate::Wake;

fn strobe(counter: u32, countdown_ms: u16, channel: u8) -> AirFrame {
    down_body(&Body::Wake(Wake { countdown_ms, channel }), counter)
}

#[test]
fn a_strobe_is_new_once_and_worth_nothing_below_the_next_data() {
    let mut bench = Bench::joined(Profile::Standard, Region::Eu433, 500);
    let mut wakes = |now, counter| {
        bench.node.awake = None;
        bench.now = now;
        bench.hears(&strobe(counter, 100, 0));
        bench.node.awake.is_some()
    };
    assert!(wakes(0, 3));
    assert!(!wakes(1_000_000, 3) && !wakes(2_000_000, 2), "one that was there, and an older one");
    assert!(!wakes(3_000_000, 600), "above what storage holds");
    assert!(wakes(4_000_000, 5));
    bench.hears(&down(Kind::Data, 9, &[2; 8]));
    bench.run(1_000_000);
    let mut wakes = |counter| {
        bench.node.awake = None;
        bench.hears(&strobe(counter, 100, 0));
        bench.node.awake.is_some()
    };
    assert!(!wakes(8) && !wakes(9), "a strobe that was kept is worth something after a later frame");
    assert!(wakes(10));
    let forged = seal(header(Kind::Wake, false, ADDRESS), 11, &[0, 100, 0], &keys().up).unwrap();
    bench.node.awake = None;
    bench.hears(&forged);
    assert!(bench.node.awake.is_none(), "a strobe under another key");
}

/// Data that is repeated after a second burst has a lower counter than that burst.
#[test]
fn data_below_a_strobe_is_new() {
    let mut bench = Bench::joined(Profile::Standard, Region::Eu433, 500);
    bench.hears(&strobe(7, 100, 0));
    bench.hears(&down(Kind::Data, 4, &[2; 8]));
    assert_eq!(bench.received(), 1);
}

#[test]
fn a_countdown_is_believed_up_to_ten_seconds() {
    let mut bench = Bench::joined(Profile::Standard, Region::Eu433, 500);
    bench.hears(&strobe(0, u16::MAX, 0));
    let (from, until) = bench.node.awake.unwrap();
    assert!(from <= 10_000_000 && until == 10_000_000 + Profile::Standard.awake());
    bench.hears(&strobe(1, 100, 1));
    assert_eq!((bench.node.channel, bench.node.awake.is_some()), (1, true), "where the data comes");
    bench.hears(&strobe(2, 100, 6));
    assert_eq!(bench.node.channel, 1, "no such channel");
}

#[test]
fn after_an_acknowledgement_it_lingers_and_stays_longer_for_what_is_pending() {
    for (pending, stays) in [(false, 100_000), (true, Profile::Standard.awake())] {
        let mut bench = Bench::joined(Profile::Standard, Region::Eu433, 500);
        bench.node.send(0, 1, &[1; 8], 5_000_000).unwrap();
        let (_, transmit) = bench.next(1_000_000).unwrap();
        bench.sent(&transmit);
        let header = Header { pending, ..header(Kind::Ack, false, ADDRESS) };
        bench.hears(&seal(header, 0, &[0; 2], &keys().down).unwrap());
        let acked = bench.now;
        assert_eq!(bench.node.awake, Some((acked, acked + stays)));
        assert_eq!(bench.node.poll_listen(acked + stays - 1), Listen::On { channel: 0 });
        assert_eq!(bench.node.poll_listen(acked + stays), Listen::Off);
        assert_eq!(bench.node.next_sniff, acked + 500_000, "counted from the end of the acknowledgement");
    }
    // And when it has acknowledged: two waits, or as long as after a burst.
    for (pending, stays) in [(false, 2 * Profile::Standard.ack_wait()), (true, Profile::Standard.awake())] {
        let mut bench = Bench::joined(Profile::Standard, Region::Eu433, 500);
        let header = Header { pending, ..header(Kind::Data, false, ADDRESS) };
        bench.hears(&seal(header, 0, &[0; 2], &keys().down).unwrap());
        assert_eq!(bench.node.awake, Some((0, stays)));
        let (_, transmit) = bench.next(30_000).unwrap();
        bench.sent(&transmit);
        assert_eq!(bench.node.next_sniff, bench.now + 500_000);
    }
}

#[test]
fn only_a_new_beacon_of_its_network_moves_it() {
    let other = Key([8; 16]);
    for (key, network, counter, channel, moves) in [
        (&network_key(), NETWORK, 5, 1, true),
        (&network_key(), NETWORK, 900, 5, true),
        (&network_key(), NETWORK, 4, 1, false),
        (&network_key(), NETWORK + 1, 5, 1, false),
        (&network_key(), NETWORK, 5, 6, false),
        (&network_key(), NETWORK, 5, 255, false),
        (&other, NETWORK, 5, 1, false),
    ] {
        let mut bench = standard();
        bench.hears(&beacon(key, network, counter, channel, false));
        assert_eq!(bench.node.channel, if moves { channel } else { 0 }, "{network} {counter} {channel}");
        if moves {
            bench.hears(&beacon(key, network, counter, 0, false));
            assert_eq!(bench.node.channel, channel, "a beacon that was there");
        }
    }
}

#[test]
fn two_frames_that_nobody_heard_begin_a_search_of_the_allowed_channels() {
    let mut bench = Bench::joined(Profile::Standard, Region::Eu433, 500);
    for _ in 0..2 {
        assert_eq!(bench.node.search.channel(), None);
        bench.node.send(bench.now, 1, &[1; 8], bench.now + 10_000_000).unwrap();
        bench.run(1_000_000);
    }
    let mut listened = StdVec::new();
    for _ in 0..400 {
        listened.push(bench.node.search.channel());
        bench.run(500_000);
    }
    listened.dedup();
    // Eleven seconds each, a minute of rest, and again; channels that the network may not use are left out.
    assert_eq!(listened, [Some(0), Some(1), None, Some(0), Some(1), None]);
    let (from, channel) = (bench.now, 1);
    bench.node.search.found();
    bench.node.begin_search(from);
    bench.hears(&beacon(&network_key(), NETWORK, 9, channel, false));
    let (packet, transmit) = bench.next(from + 20_000 + 200_000).unwrap();
    assert_eq!((packet.header().kind, transmit.channel), (Kind::Hello, channel));
    assert!(bench.now >= from + 20_000, "in the listen window");
}

#[test]
fn rests_between_searches_are_doubled_up_to_an_hour() {
    let mut bench = Bench::joined(Profile::Standard, Region::Eu433, 0);
    bench.node.begin_search(0);
    let mut rests = StdVec::new();
    while rests.len() < 8 {
        let due = bench.node.search.timeout().unwrap();
        if bench.node.search.channel().is_none() {
            rests.push((due - bench.now) / 1_000_000);
        }
        bench.now = due;
        bench.node.handle_timeout(due);
    }
    assert_eq!(rests, [60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
}

/// One frame that is not for it ends a listening, and what is nothing is paid from the budget: 36 s, and 1 % from then on.
#[test]
fn being_awake_for_nothing_is_paid_from_a_budget_that_refills_by_one_in_a_hundred() {
    let mut bench = Bench::joined(Profile::Standard, Region::Eu433, 500);
    let foreign = seal(header(Kind::Data, false, ADDRESS + 1), 0, &[0; 48], &keys().down).unwrap();
    let (mut drained_at, mut wasted) = (None, 0);
    while bench.now < 4 * HOUR {
        bench.run(500_000 - 14_000);
        bench.now = bench.now.max(bench.node.clock);
        if bench.node.sniff.is_some() {
            bench.now += 14_000;
            bench.hears(&foreign);
            assert!(bench.node.sniff.is_none(), "a frame for another keeps it awake");
        }
        if drained_at.is_none() && bench.events.contains(&NodeEvent::Drained) {
            (drained_at, wasted) = (Some(bench.now), bench.node.stats.wasted);
        }
    }
    let at = drained_at.expect("never drained");
    assert!(wasted > 35_000_000 && wasted <= 36_000_000 + at / 100 + 14_000, "{wasted} µs by {at}");
    let later = bench.node.stats.wasted - wasted;
    let span = bench.now - at;
    assert!(later <= span / 100 + 1_000_000, "{later} µs in {span}");
    assert!(later > span / 200 && bench.node.stats.skipped > 0, "it never listens again: {later}");
}

/// Firmware that comes late has missed the burst: to listen then would be to listen at a moment that the gateway does not know.
#[test]
fn a_listening_begins_at_its_moment_or_a_guard_time_later_and_else_is_left_out() {
    for (late, listens) in
        [(0, true), (2_000, true), (2_001, false), (400_000, false), (500_000, true), (1_502_001, false)]
    {
        let mut bench = Bench::joined(Profile::Standard, Region::Eu433, 500);
        bench.node.anchor(0);
        bench.node.handle_timeout(500_000 + late);
        assert_eq!(bench.node.sniff.is_some(), listens, "{late} µs late");
        assert_eq!(bench.node.next_sniff, 500_000 * (late / 500_000 + 2), "the grid stays");
    }
}
