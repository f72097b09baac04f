//! Frames down and up.

use super::*;
use crate::coordinator::{self, PARENT_HOLD_MS};

#[test]
fn an_uplink_of_the_tunnel_is_handed_on_with_its_link_quality() {
    let mut bench = Bench::with_lock(true);
    bench.say(heard(1, b"sealed"));
    let [Event::Up(up)] = &bench.events[..] else { panic!("{:?}", bench.events) };
    assert_eq!((up.lock, &up.frame[..], up.at, up.window), (lock(1), &b"sealed"[..], bench.now, None));
    assert_eq!((up.quality.rssi, up.quality.snr, up.quality.lqi), (Some(-57), None, Some(201)));
}

#[test]
fn what_is_not_the_tunnels_is_counted_and_no_more() {
    let mut bench = Bench::with_lock(true);
    let Said::Received(good) = heard(1, b"sealed") else { unreachable!() };
    for bad in [
        Received { profile: 0x0260, ..good.clone() },
        Received { cluster: 0x0101, ..good.clone() },
        Received { src_endpoint: 12, ..good.clone() },
        Received { dst_endpoint: 2, ..good.clone() },
        Received { payload: Bytes::from_static(b"\x1d"), ..good.clone() },
        Received { payload: Tunnel::TEST.to_lock(1, b"ours").unwrap().into(), ..good.clone() },
    ] {
        bench.say(Said::Received(bad));
    }
    assert_eq!((bench.events.len(), bench.driver.counters().foreign), (0, 6));
}

#[test]
fn a_frame_goes_to_the_locks_endpoint_and_is_sent_only_when_the_coordinator_says_so() {
    let mut bench = Bench::with_lock(false);
    bench.send(5, 1, 10_000);
    let [frame] = bench.frames()[..] else { panic!("{:?}", bench.orders) };
    assert_eq!((frame.eui, frame.dst_endpoint, frame.src_endpoint), (eui(1), 11, 1));
    assert_eq!(Tunnel::TEST.parse_to_lock(&frame.payload), Ok(&b"sealed"[..]));
    assert!(frame.acknowledge);
    assert_eq!(bench.outcomes(), vec![]);
    bench.send(6, 1, 10_000);
    assert_eq!(bench.outcomes(), vec![(6, Outcome::Refused(Refusal::Busy))], "one at a time");
    let acknowledged = Said::Outcome { handle: 5, outcome: coordinator::Outcome::Acknowledged };
    bench.say(acknowledged);
    bench.say(Said::Outcome { handle: 5, outcome: coordinator::Outcome::Expired });
    assert_eq!(bench.outcomes(), vec![(5, Outcome::Sent)], "one outcome, whatever is said later");
}

/// The parent may keep it for 7.68 s more, and the dongle would repeat for 40: so it goes once, and early enough.
#[test]
fn a_frame_for_a_lock_that_sleeps_leaves_its_parent_time_before_the_deadline() {
    let mut bench = Bench::with_lock(true);
    bench.send(1, 1, 20_000);
    let [frame] = bench.frames()[..] else { panic!("{:?}", bench.orders) };
    assert!(!frame.acknowledge && frame.deadline + PARENT_HOLD_MS < bench.now + 20_000);
    bench.say(Said::Outcome { handle: 1, outcome: coordinator::Outcome::Acknowledged });
    bench.forget();
    bench.send(2, 1, 10_100);
    assert_eq!((bench.frames().len(), bench.outcomes()), (0, vec![(2, Outcome::Expired)]));
}

#[test]
fn what_cannot_be_sent_says_why() {
    let mut bench = Bench::with_lock(false);
    bench.send(1, 2, 10_000);
    let too_big = Bytes::from_static(&[0; 61]);
    bench.command(Command::Send(Send { handle: 2, lock: lock(1), frame: too_big, deadline: u64::MAX }));
    bench.send(3, 1, 2_500);
    bench.say(Said::State(State::Down("unplugged".into())));
    bench.send(4, 1, 10_000);
    assert_eq!(
        bench.outcomes(),
        vec![
            (1, Outcome::Refused(Refusal::NotJoined)),
            (2, Outcome::Refused(Refusal::TooBig)),
            (3, Outcome::Expired),
            (4, Outcome::Failed(cardea_radio::Failure::NoRadio)),
        ]
    );
    assert_eq!(bench.frames().len(), 0);
}

#[test]
fn a_frame_that_the_coordinator_forgot_ends_all_the_same_and_frees_its_lock() {
    let mut bench = Bench::with_lock(false);
    bench.send(1, 1, 10_000);
    bench.pass(70_000);
    assert_eq!(bench.outcomes(), vec![(1, Outcome::Failed(cardea_radio::Failure::Modem))]);
    bench.send(2, 1, 10_000);
    bench.command(Command::Cancel { handle: 2 });
    assert!(matches!(bench.orders.last(), Some(Order::Cancel { handle: 2 })));
    bench.say(Said::Outcome { handle: 2, outcome: coordinator::Outcome::Failed(Failure::Cancelled) });
    assert_eq!(bench.outcomes(), vec![(2, Outcome::Failed(cardea_radio::Failure::Cancelled))]);
}

#[test]
fn a_lock_under_another_address_is_the_same_lock() {
    let mut bench = Bench::with_lock(true);
    bench.say(Said::Rejoined { eui: eui(1), nwk: NwkAddr(0x7777) });
    assert_eq!((bench.events.len(), bench.orders.len()), (0, 0), "nothing to tell, nothing to ask");
    bench.send(1, 1, 20_000);
    assert_eq!(bench.frames()[0].eui, eui(1));
}

#[test]
fn a_gateway_that_is_behind_loses_uplinks_and_nothing_else() {
    let mut bench = Bench::with_lock(true);
    for _ in 0..2_000 {
        bench.driver.handle_event(bench.now, heard(1, b"sealed"));
    }
    bench.send(1, 1, 1);
    bench.settle();
    assert_eq!(bench.events.len(), MAX_EVENTS + 1);
    assert_eq!(bench.driver.counters().shed, 2_000 - 1_024);
    assert_eq!(bench.outcomes(), vec![(1, Outcome::Expired)]);
}
