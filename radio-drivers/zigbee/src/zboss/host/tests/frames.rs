//! Frames to devices and from them, and questions.

use super::*;

#[test]
fn a_frame_goes_to_the_device_with_acknowledgement_and_ends_with_its_transmission() {
    let mut bench = up();
    bench.order(Order::Send(frame(1, 0x1001, 60_000)));
    let (tsn, on_air) = bench.ncp.air.pop_front().unwrap();
    assert_eq!((on_air.to, on_air.options, on_air.radius), (ApsAddress::Ieee(device(0x1001)), tx::ACK, 0));
    assert_eq!(bench.events(), vec![]);
    bench.ncp.ended(tsn, Status { category: 4, code: 0xA7 });
    bench.run(100);
    assert_eq!(outcomes(bench.events()), vec![(1, Outcome::Failed(Failure::NoAnswer))]);
    let big = Frame { payload: vec![0; 300].into(), ..frame(2, 0x1001, 60_000) };
    bench.order(Order::Send(big));
    let (tsn, on_air) = bench.ncp.air.pop_front().unwrap();
    assert_eq!((on_air.options, on_air.payload.len()), (tx::ACK | tx::FRAGMENT, 300));
    bench.ncp.ended(tsn, Status::OK);
    bench.run(100);
    assert_eq!(outcomes(bench.events()), vec![(2, Outcome::Acknowledged)]);
}

#[test]
fn a_late_frame_never_reaches_the_dongle() {
    let mut bench = up();
    // Its device has one frame already, whose transmission takes long.
    bench.order(Order::Send(frame(1, 0x1001, bench.now + 10_000)));
    bench.order(Order::Send(frame(2, 0x1001, bench.now + 10_000)));
    bench.order(Order::Send(frame(3, 0x1002, bench.now)));
    bench.order(Order::Send(frame(4, 0x1003, bench.now + 10_000)));
    bench.host.handle_order(bench.now, Order::Cancel { handle: 4 });
    bench.run(20_000);
    let (tsn, _) = bench.ncp.air.pop_front().unwrap();
    bench.ncp.ended(tsn, Status::OK);
    bench.run(1_000);
    let outcomes = outcomes(bench.events());
    assert_eq!(outcomes[..2], [(3, Outcome::Expired), (2, Outcome::Expired)]);
    assert_eq!(outcomes.last(), Some(&(1, Outcome::Acknowledged)));
    assert!(bench.ncp.times(0x0301) == 2, "1 and 4, which was with the dongle before it was cancelled");
}

#[test]
fn every_frame_has_one_outcome_whatever_happens() {
    let mut bench = up();
    for handle in 0..200 {
        let frame = frame(handle, handle as u16 % 20, bench.now + 8_000);
        bench.host.handle_order(bench.now, Order::Send(Frame { urgent: handle % 20 > 11, ..frame }));
    }
    bench.run(100);
    assert_eq!(bench.ncp.air.len(), 8, "no more than its buffers");
    bench.ncp.stalled = true;
    bench.run(60_000);
    bench.host.handle_close("unplugged");
    bench.run(1_000);
    bench.order(Order::Send(frame(200, 1, bench.now + 8_000)));
    let mut handles: Vec<_> = outcomes(bench.events()).into_iter().map(|(handle, _)| handle).collect();
    handles.sort_unstable();
    assert_eq!(handles, (0..=200).collect::<Vec<_>>());
}

#[test]
fn frames_of_an_unknown_sender_wait_for_its_name_and_keep_their_order() {
    let mut bench = up();
    bench.ncp.say(&heard(0x1001, b"one"));
    bench.ncp.say(&heard(0x1001, b"two"));
    bench.run(200);
    bench.say(&heard(0x1001, b"three"));
    let got = bench.events().into_iter().map(|event| match event {
        Event::Received(Received { eui, payload, lqi, rssi, .. }) => (eui, payload, lqi, rssi),
        other => panic!("{other:?}"),
    });
    let got = got.collect::<Vec<_>>();
    let expected =
        [&b"one"[..], b"two", b"three"].map(|p| (device(0x1001), Bytes::copy_from_slice(p), 200, -55));
    assert_eq!(got, expected);
    assert_eq!(bench.ncp.times(0x0405), 1);
}

#[test]
fn a_sender_that_tells_its_name_meanwhile_still_has_its_frames_in_order() {
    let mut bench = up();
    bench.ncp.ignores = vec![0x0405];
    bench.say(&heard(0x1001, b"one"));
    bench.say(&Indication::DeviceAnnounce { nwk: NwkAddr(0x1001), eui: device(0x1001), mac_capability: 0 });
    bench.say(&heard(0x1001, b"two"));
    bench.run(6_000);
    let payloads = bench.events().into_iter().map(|event| match event {
        Event::Received(received) => received.payload,
        other => panic!("{other:?}"),
    });
    assert_eq!(payloads.collect::<Vec<_>>(), [&b"one"[..], b"two"]);
}

#[test]
fn strangers_cannot_fill_the_memory() {
    let mut bench = up();
    bench.ncp.ignores = vec![0x0405];
    for nwk in 0..200 {
        bench.ncp.say(&heard(0x2000 + nwk, b"?"));
        bench.run(20);
    }
    assert!(bench.host.traffic.dropped() >= 150);
    assert_eq!(bench.host.pending.len(), 1, "one stranger is asked for at a time");
    bench.run(180_000);
    assert_eq!((bench.host.pending.len(), bench.host.traffic.dropped()), (0, 200));
}

#[test]
fn questions_go_one_at_a_time_and_those_for_neighbours_rarely() {
    let mut bench = up();
    for handle in 0..3 {
        let question = Question::Neighbours { start: 0 };
        bench.host.handle_order(bench.now, Order::Ask { handle, eui: device(0x1001), question });
    }
    bench.order(Order::Ask { handle: 3, eui: device(0x1001), question: Question::Endpoints });
    assert_eq!(bench.ncp.times(0x0210), 1);
    bench.run(2_000);
    assert_eq!(bench.ncp.times(0x0210), 2);
    bench.run(2_500);
    let answers = bench.events().into_iter().map(|event| match event {
        Event::Answer { handle, answer } => (handle, answer),
        other => panic!("{other:?}"),
    });
    let answers = answers.collect::<Vec<_>>();
    let none = || Ok(Answer::Neighbours { total: 0, list: vec![] });
    assert_eq!(answers, vec![(0, none()), (1, none()), (2, none()), (3, Ok(Answer::Endpoints(vec![1])))]);
    assert_eq!(bench.ncp.times(0x0406), 1, "its address was asked for once");
}

#[test]
fn transaction_numbers_never_are_the_one_of_the_reset() {
    let mut bench = up();
    for handle in 0..600 {
        bench.host.handle_order(
            bench.now,
            Order::Ask { handle, eui: device(0x1001), question: Question::Endpoints },
        );
        bench.run(20);
    }
    let answered = bench.events().iter().filter(|e| matches!(e, Event::Answer { answer: Ok(_), .. })).count();
    assert_eq!(answered, 600);
    assert!(!bench.host.pending.contains_key(&RESET_TSN));
}
