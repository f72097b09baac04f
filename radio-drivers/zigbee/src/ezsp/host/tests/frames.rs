//! Frames both ways, addresses, questions.

use super::*;
use crate::coordinator::{Answer, Frame, Question, Received};
use bytes::Bytes;

pub(super) fn frame(handle: u64, nwk: u16, deadline: Millis) -> Frame {
    let payload = Bytes::from_static(b"sealed");
    Frame {
        handle,
        eui: device(nwk),
        profile: 0x0104,
        cluster: 0xFC7C,
        dst_endpoint: 1,
        src_endpoint: 1,
        payload,
        deadline,
        acknowledge: true,
        urgent: false,
    }
}

pub(super) fn heard(nwk: u16, eui: Option<Eui64>, payload: &[u8]) -> Callback {
    let aps = ApsFrame {
        profile: 0x0104,
        cluster: 0xFC7C,
        src_endpoint: 2,
        dst_endpoint: 1,
        options: 0,
        group: 0,
        sequence: 1,
    };
    let incoming =
        Incoming { kind: 0, aps, sender: NwkAddr(nwk), eui, lqi: 200, rssi: -55, payload: payload.into() };
    Callback::IncomingMessage { incoming }
}

fn received(nwk: u16, payload: &'static [u8]) -> Event {
    Event::Received(Received {
        eui: device(nwk),
        profile: 0x0104,
        cluster: 0xFC7C,
        src_endpoint: 2,
        dst_endpoint: 1,
        lqi: 200,
        rssi: -55,
        payload: Bytes::from_static(payload),
    })
}

pub(super) fn failed(handle: u64, failure: Failure) -> Event {
    Event::Outcome { handle, outcome: Outcome::Failed(failure) }
}

/// A network with a lock whose address is known.
pub(super) fn with_lock(protocol: u8) -> Bench {
    let mut bench = up_in(protocol);
    bench.say(&announces(0x1001));
    bench
}

#[test]
fn a_frame_asks_for_an_acknowledgement_and_ends_with_it() {
    for protocol in PROTOCOLS {
        let mut bench = with_lock(protocol);
        bench.order(Order::Send(frame(1, 0x1001, 60_000)));
        let (tag, to, aps, payload) = bench.ncp.air.pop_front().unwrap();
        assert_eq!(
            (to, aps.profile, aps.cluster, aps.src_endpoint, aps.dst_endpoint),
            (NwkAddr(0x1001), 0x0104, 0xFC7C, 1, 1)
        );
        assert_eq!((aps.options, &payload[..]), (aps::RETRY | aps::ROUTE, &b"sealed"[..]));
        assert!(bench.ncp.extended.contains(&device(0x1001)), "it sleeps");
        assert_eq!(bench.events(), vec![]);
        bench.ncp.sent(tag, Status::OK);
        bench.run(200);
        assert_eq!(bench.events(), vec![Event::Outcome { handle: 1, outcome: Outcome::Acknowledged }]);
        // Said once more, it is nobody's.
        bench.ncp.sent(tag, Status::OK);
        bench.run(200);
        assert_eq!(bench.events(), vec![]);
        bench.order(Order::Send(frame(2, 0x1001, 60_000)));
        assert_eq!(bench.ncp.times(0x007E), 1, "that it sleeps was told");
    }
}

#[test]
fn a_frame_that_is_not_to_be_acknowledged_goes_out_once() {
    let mut bench = with_lock(16);
    bench.order(Order::Send(Frame { acknowledge: false, ..frame(1, 0x1001, 60_000) }));
    let (.., aps, _) = bench.ncp.air.pop_front().unwrap();
    assert_eq!(aps.options, aps::ROUTE);
}

#[test]
fn a_frame_that_nobody_acknowledges_fails_and_the_next_one_looks_for_the_device_anew() {
    for protocol in PROTOCOLS {
        let mut bench = with_lock(protocol);
        bench.order(Order::Send(frame(1, 0x1001, 60_000)));
        let (tag, ..) = bench.ncp.air.pop_front().unwrap();
        bench.ncp.sent(tag, Status::DELIVERY_FAILED);
        bench.run(200);
        assert_eq!(bench.events(), vec![failed(1, Failure::NoAnswer)]);
        bench.ncp.known.insert(device(0x1001), NwkAddr(0x2222));
        bench.order(Order::Send(frame(2, 0x1001, 60_000)));
        assert_eq!(bench.ncp.air.pop_front().unwrap().1, NwkAddr(0x2222));
    }
}

#[test]
fn the_dongle_may_refuse_a_frame_or_never_say_what_became_of_it() {
    let mut bench = with_lock(16);
    for (status, failure) in [
        (Status::NO_BUFFERS, Failure::Busy),
        (Status::TOO_MANY, Failure::Busy),
        (Status::TOO_LONG, Failure::TooBig),
        (Status(0x999), Failure::Refused("command 0x0034: status 0x0999".into())),
    ] {
        bench.ncp.refuses = [(0x0034, status)].into();
        bench.order(Order::Send(frame(1, 0x1001, bench.now + 60_000)));
        assert_eq!(bench.events(), vec![failed(1, failure)]);
    }
    bench.ncp.refuses.clear();
    bench.order(Order::Send(frame(2, 0x1001, bench.now + 60_000)));
    bench.run(46_000);
    assert_eq!(bench.events(), vec![failed(2, Failure::Unknown)]);
    let long = Frame { payload: vec![0; 1_501].into(), ..frame(3, 0x1001, bench.now + 1_000) };
    bench.order(Order::Send(long));
    assert_eq!(bench.events(), vec![failed(3, Failure::TooBig)]);
}

#[test]
fn one_frame_a_device_is_on_its_way_and_the_others_wait_expire_or_are_cancelled() {
    let mut bench = with_lock(13);
    bench.say(&announces(0x1002));
    for (handle, nwk, life) in [
        (1, 0x1001, 60_000),
        (2, 0x1001, 5_000),
        (3, 0x1001, 60_000),
        (4, 0x1001, 60_000),
        (5, 0x1002, 60_000),
    ] {
        bench.order(Order::Send(frame(handle, nwk, bench.now + life)));
    }
    assert_eq!(bench.ncp.air.iter().map(|(_, to, ..)| to.0).collect::<Vec<_>>(), vec![0x1001, 0x1002]);
    bench.order(Order::Cancel { handle: 3 });
    bench.run(6_000);
    let expired = Event::Outcome { handle: 2, outcome: Outcome::Expired };
    assert_eq!(bench.events(), vec![failed(3, Failure::Cancelled), expired]);
    let (tag, ..) = bench.ncp.air.pop_front().unwrap();
    bench.ncp.sent(tag, Status::OK);
    bench.run(200);
    assert_eq!(bench.ncp.air.len(), 2, "then the fourth");
}

#[test]
fn a_device_that_nobody_knows_is_called_for_and_what_waits_for_it_ends_either_way() {
    for answers in [true, false] {
        let mut bench = up_in(16);
        bench.order(Order::Send(frame(1, 0x1001, bench.now + 60_000)));
        bench.order(Order::Ask { handle: 2, eui: device(0x1001), question: Question::Endpoints });
        assert_eq!((bench.ncp.times(0x0060), bench.ncp.air.len()), (1, 0));
        let calls: Vec<_> = bench.ncp.broadcasts.iter().map(|(dst, cluster, _)| (*dst, *cluster)).collect();
        assert_eq!(calls, vec![(0xFFFF, 0x0000)]);
        if answers {
            let eui: Vec<u8> = device(0x1001).0.iter().rev().copied().collect();
            bench.say(&zdo_from(0x1001, 0x8000, &[&[1, 0][..], &eui, &[0x01, 0x10]].concat()));
            assert_eq!(bench.ncp.air.len(), 2);
        } else {
            bench.run(11_000);
            let answer = Event::Answer { handle: 2, answer: Err(Failure::NoAddress) };
            assert_eq!(bench.events(), vec![failed(1, Failure::NoAddress), answer]);
        }
    }
}

#[test]
fn many_unknown_devices_do_not_flood_the_network() {
    let mut bench = up();
    for n in 0..60 {
        bench.order(Order::Send(frame(n, 0x1001 + n as u16, bench.now + 30_000)));
    }
    bench.run(40_000);
    assert_eq!(bench.events().len(), 60, "each has an end");
    assert!((20..=40).contains(&bench.ncp.broadcasts.len()), "{}", bench.ncp.broadcasts.len());
}

#[test]
fn frames_of_known_devices_are_handed_over_in_order() {
    for protocol in PROTOCOLS {
        let mut bench = with_lock(protocol);
        bench.say(&heard(0x1001, None, b"one"));
        bench.say(&heard(0x1001, None, b"two"));
        assert_eq!(bench.events(), vec![received(0x1001, b"one"), received(0x1001, b"two")]);
    }
}

#[test]
fn a_sender_that_nobody_knows_is_asked_of_the_dongle_and_then_of_itself() {
    // Since protocol 14 the dongle says who it is.
    let mut bench = up_in(16);
    bench.say(&heard(0x1001, Some(device(0x1001)), b"one"));
    assert_eq!((bench.events(), bench.ncp.times(0x0061)), (vec![received(0x1001, b"one")], 0));
    let mut bench = up_in(13);
    bench.ncp.known.insert(device(0x1002), NwkAddr(0x1002));
    bench.say(&heard(0x1002, None, b"two"));
    assert_eq!(bench.events(), vec![received(0x1002, b"two")]);
    bench.say(&heard(0x1003, None, b"three"));
    bench.say(&heard(0x1003, None, b"four"));
    assert_eq!(bench.events(), vec![]);
    let (_, to, aps, _) = bench.ncp.air.pop_front().unwrap();
    assert_eq!((to, aps.cluster), (NwkAddr(0x1003), 0x0001));
    let eui: Vec<u8> = device(0x1003).0.iter().rev().copied().collect();
    bench.say(&zdo_from(0x1003, 0x8001, &[&[1, 0][..], &eui, &[0x03, 0x10]].concat()));
    assert_eq!(bench.events(), vec![received(0x1003, b"three"), received(0x1003, b"four")]);
    // One that does not say is forgotten.
    bench.say(&heard(0x1004, None, b"five"));
    bench.run(12_000);
    assert_eq!((bench.events(), bench.host.counters()[3]), (vec![], 1));
}

#[test]
fn a_question_is_answered_by_the_device_that_was_asked() {
    let mut bench = with_lock(13);
    bench.order(Order::Ask { handle: 1, eui: device(0x1001), question: Question::Endpoints });
    let (_, to, aps, asdu) = bench.ncp.air.pop_front().unwrap();
    assert_eq!((to, aps.profile, aps.cluster), (NwkAddr(0x1001), 0, 0x0005));
    let answer = [asdu[0], 0, 0x01, 0x10, 2, 11, 1];
    bench.say(&zdo_from(0x1002, 0x8005, &answer));
    bench.say(&zdo_from(0x1001, 0x8005, &[&[asdu[0].wrapping_add(1)], &answer[1..]].concat()));
    assert_eq!(bench.events(), vec![], "another device, another question");
    bench.say(&zdo_from(0x1001, 0x8005, &answer));
    let endpoints = Event::Answer { handle: 1, answer: Ok(Answer::Endpoints(vec![11, 1])) };
    assert_eq!(bench.events(), vec![endpoints]);
    bench.order(Order::Ask { handle: 2, eui: device(0x1001), question: Question::Leave });
    let sequence = bench.ncp.air.pop_front().unwrap().3[0];
    bench.say(&zdo_from(0x1001, 0x8034, &[sequence, 0x84]));
    let refused = Failure::Refused("ZDO status 0x84".into());
    assert_eq!(bench.events(), vec![Event::Answer { handle: 2, answer: Err(refused) }]);
    bench.order(Order::Ask { handle: 3, eui: device(0x1001), question: Question::Node });
    bench.run(21_000);
    assert_eq!(bench.events(), vec![Event::Answer { handle: 3, answer: Err(Failure::NoAnswer) }]);
    // The dongle itself is asked as a device is, but never to leave.
    bench.ncp.air.clear();
    bench.order(Order::Ask { handle: 4, eui: NCP, question: Question::Endpoints });
    let (_, to, _, asdu) = bench.ncp.air.pop_front().unwrap();
    assert_eq!((to, &asdu[1..]), (NwkAddr::COORDINATOR, &[0, 0][..]));
    bench.say(&zdo_from(0, 0x8005, &[asdu[0], 0, 0, 0, 1, 1]));
    assert_eq!(bench.events(), vec![Event::Answer { handle: 4, answer: Ok(Answer::Endpoints(vec![1])) }]);
    bench.order(Order::Ask { handle: 5, eui: NCP, question: Question::Leave });
    assert!(matches!(bench.events()[..], [Event::Answer { handle: 5, answer: Err(Failure::Refused(_)) }]));
}

#[test]
fn neighbours_are_asked_for_rarely() {
    let mut bench = with_lock(13);
    for handle in 0..3 {
        bench.order(Order::Ask { handle, eui: device(0x1001), question: Question::Neighbours { start: 0 } });
        if let Some((_, _, _, asdu)) = bench.ncp.air.pop_front() {
            bench.say(&zdo_from(0x1001, 0x8031, &[asdu[0], 0, 0, 0, 0]));
        }
    }
    assert_eq!(bench.events().len(), 1);
    bench.run(2_000);
    assert_eq!(bench.ncp.air.len(), 1);
}

#[test]
fn nothing_is_sent_or_asked_while_the_network_does_not_run() {
    let mut bench = Bench::opened(ScriptedNcp::new(13, None), None);
    bench.events();
    bench.order(Order::Send(frame(1, 0x1001, 60_000)));
    bench.order(Order::Ask { handle: 2, eui: device(0x1001), question: Question::Node });
    let down = Event::Answer { handle: 2, answer: Err(Failure::Down) };
    assert_eq!(bench.events(), vec![failed(1, Failure::Down), down]);
}
