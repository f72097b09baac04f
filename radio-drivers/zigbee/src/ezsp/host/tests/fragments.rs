//! Messages that are longer than a frame, both ways.

use super::frames::{failed, frame, heard, with_lock};
use super::*;
use crate::coordinator::{Frame, Received};
use bytes::Bytes;

/// 200 bytes: three blocks.
fn long() -> Bytes {
    (0..200).collect::<Vec<u8>>().into()
}

fn send_long(bench: &mut Bench, handle: u64, life: Millis) {
    let deadline = bench.now + life;
    bench.order(Order::Send(Frame {
        payload: long(),
        acknowledge: false,
        ..frame(handle, 0x1001, deadline)
    }));
}

/// The end of the only message on the air.
fn sent(bench: &mut Bench, status: Status) {
    let (tag, ..) = bench.ncp.air.pop_front().unwrap();
    assert!(bench.ncp.air.is_empty(), "one at a time");
    bench.ncp.sent(tag, status);
    bench.run(200);
}

fn acknowledged(handle: u64) -> Event {
    Event::Outcome { handle, outcome: Outcome::Acknowledged }
}

/// A block from a device.
fn block(nwk: u16, sequence: u8, group: u16, payload: &[u8]) -> Callback {
    let Callback::IncomingMessage { mut incoming } = heard(nwk, None, payload) else { panic!() };
    incoming.aps.options = aps::FRAGMENT | aps::RETRY | aps::ROUTE;
    (incoming.aps.group, incoming.aps.sequence) = (group, sequence);
    Callback::IncomingMessage { incoming }
}

/// Which blocks were acknowledged: to whom, `group` and `sequence`.
fn replies(bench: &mut Bench) -> Vec<(u16, u16, u8)> {
    std::mem::take(&mut bench.ncp.replies)
        .into_iter()
        .map(|(to, aps)| (to.0, aps.group, aps.sequence))
        .collect()
}

#[test]
fn a_long_frame_goes_out_in_blocks_each_after_the_acknowledgement_of_the_one_before() {
    for protocol in PROTOCOLS {
        let mut bench = with_lock(protocol);
        assert_eq!(bench.ncp.sizes.get(&0x1C), Some(&1), "a window of one block");
        send_long(&mut bench, 1, 60_000);
        let mut whole = Vec::new();
        // The first has the stack's number in its answer, the others have it with them.
        for (group, sequence) in [(0x0300, 0), (0x0301, 7), (0x0302, 7)] {
            assert_eq!(bench.events(), vec![]);
            let (_, to, aps, bytes) = bench.ncp.air.front().cloned().unwrap();
            assert_eq!((to, aps.group, aps.sequence), (NwkAddr(0x1001), group, sequence));
            assert_eq!(aps.options, aps::FRAGMENT | aps::RETRY | aps::ROUTE);
            whole.extend(bytes);
            sent(&mut bench, Status::OK);
        }
        assert_eq!((&whole[..], bench.events()), (&long()[..], vec![acknowledged(1)]));
        // What fits a frame is none.
        bench.order(Order::Send(Frame { payload: long().slice(..82), ..frame(2, 0x1001, 60_000) }));
        let (.., aps, bytes) = bench.ncp.air.front().cloned().unwrap();
        assert_eq!((aps.options, aps.group, bytes.len()), (aps::RETRY | aps::ROUTE, 0, 82));
    }
}

/// A source route takes its place in the frame.
#[test]
fn a_frame_that_does_not_fit_on_its_way_is_sent_in_blocks() {
    let mut bench = with_lock(13);
    bench.ncp.refuses = [(0x0034, Status::TOO_LONG)].into();
    bench.order(Order::Send(Frame { payload: long().slice(..80), ..frame(1, 0x1001, 60_000) }));
    // The blocks do not fit either.
    assert_eq!(bench.events(), vec![failed(1, Failure::TooBig)]);
    bench.ncp.refuses_once = true;
    bench.order(Order::Send(Frame { payload: long().slice(..80), ..frame(2, 0x1001, 60_000) }));
    for group in [0x0200, 0x0201] {
        assert_eq!(bench.ncp.air.front().unwrap().2.group, group);
        sent(&mut bench, Status::OK);
    }
    assert_eq!(bench.events(), vec![acknowledged(2)]);
}

#[test]
fn a_block_that_is_not_acknowledged_ends_the_frame() {
    let mut bench = with_lock(16);
    send_long(&mut bench, 1, 60_000);
    sent(&mut bench, Status::OK);
    sent(&mut bench, Status::DELIVERY_FAILED);
    assert_eq!((bench.events(), bench.ncp.air.len()), (vec![failed(1, Failure::NoAnswer)], 0));
    // Nor is anything said of one whose end is never told, or that was under way in a restart.
    bench.say(&announces(0x1001));
    send_long(&mut bench, 2, 90_000);
    sent(&mut bench, Status::OK);
    bench.run(46_000);
    assert_eq!(bench.events(), vec![failed(2, Failure::Unknown)]);
    bench.ncp.air.clear();
    send_long(&mut bench, 3, 90_000);
    bench.ncp.restart(2);
    bench.run(3_000);
    assert!(bench.events().contains(&failed(3, Failure::Unknown)));
}

/// The receiver acts when it has all of it, so the last block must not be late either.
#[test]
fn after_its_deadline_no_block_of_a_frame_is_given_to_the_dongle() {
    let mut bench = with_lock(13);
    send_long(&mut bench, 1, 10_000);
    sent(&mut bench, Status::OK);
    bench.run(10_000);
    sent(&mut bench, Status::OK);
    let expired = Event::Outcome { handle: 1, outcome: Outcome::Expired };
    assert_eq!((bench.events(), bench.ncp.air.len()), (vec![expired], 0));
}

#[test]
fn a_device_that_moves_between_two_blocks_is_sent_the_next_one_there() {
    let mut bench = with_lock(13);
    send_long(&mut bench, 1, 60_000);
    let eui: Vec<u8> = device(0x1001).0.iter().rev().copied().collect();
    bench.say(&zdo_from(0x2222, 0x0013, &[&[1][..], &[0x22, 0x22], &eui, &[0x80]].concat()));
    sent(&mut bench, Status::OK);
    assert_eq!(bench.ncp.air.front().unwrap().1, NwkAddr(0x2222));
    bench.host.addresses.forget(device(0x1001));
    sent(&mut bench, Status::OK);
    assert_eq!(bench.events(), vec![failed(1, Failure::NoAddress)]);
}

#[test]
fn other_devices_have_their_frames_between_the_blocks_of_one() {
    let mut bench = with_lock(13);
    bench.say(&announces(0x1002));
    send_long(&mut bench, 1, 60_000);
    bench.order(Order::Send(frame(2, 0x1002, 60_000)));
    let (first, second) = (bench.ncp.air.pop_front().unwrap(), bench.ncp.air.pop_front().unwrap());
    assert_eq!((first.1, second.1), (NwkAddr(0x1001), NwkAddr(0x1002)));
    bench.ncp.sent(second.0, Status::OK);
    bench.run(200);
    assert_eq!((bench.events(), bench.ncp.air.len()), (vec![acknowledged(2)], 0));
    // The end of what has another name changes nothing.
    bench.ncp.sent(Tag(99), Status::OK);
    bench.ncp.sent(first.0, Status::OK);
    bench.run(200);
    assert_eq!(bench.ncp.air.iter().map(|(.., aps, _)| aps.group).collect::<Vec<_>>(), vec![0x0301]);
}

#[test]
fn blocks_of_a_device_are_acknowledged_and_handed_over_as_one_frame() {
    for protocol in PROTOCOLS {
        let mut bench = with_lock(protocol);
        bench.say(&block(0x1001, 9, 0x0300, b"one "));
        bench.say(&block(0x1001, 9, 0x0001, b"two "));
        bench.say(&block(0x1001, 9, 0x0001, b"two "));
        assert_eq!(bench.events(), vec![]);
        bench.say(&block(0x1001, 9, 0x0002, b"three"));
        bench.say(&block(0x1001, 9, 0x0002, b"three"));
        let groups: Vec<u16> = replies(&mut bench).into_iter().map(|(_, group, _)| group).collect();
        assert_eq!(groups, vec![0xFF00, 0xFF01, 0xFF01, 0xFF02, 0xFF02]);
        let whole = Event::Received(Received {
            eui: device(0x1001),
            profile: 0x0104,
            cluster: 0xFC7C,
            src_endpoint: 2,
            dst_endpoint: 1,
            lqi: 200,
            rssi: -55,
            payload: Bytes::from_static(b"one two three"),
        });
        assert_eq!((bench.events(), bench.host.counters()[3]), (vec![whole], 0));
    }
}

/// The NCP finds what is acknowledged by all that it said of the block.
#[test]
fn the_acknowledgement_has_the_fields_of_the_block() {
    let mut bench = with_lock(13);
    bench.say(&block(0x1001, 9, 0x0200, b"one"));
    let (to, aps) = bench.ncp.replies.pop().unwrap();
    assert_eq!((to, aps.profile, aps.cluster), (NwkAddr(0x1001), 0x0104, 0xFC7C));
    assert_eq!((aps.src_endpoint, aps.dst_endpoint, aps.sequence), (2, 1, 9));
    assert_eq!((aps.options, aps.group), (aps::FRAGMENT | aps::RETRY | aps::ROUTE, 0xFF00));
}

#[test]
fn blocks_that_nobody_waits_for_are_not_acknowledged_and_counted() {
    let mut bench = with_lock(13);
    // None before it, one too far, and one for all.
    bench.say(&block(0x1001, 9, 0x0001, b"two"));
    bench.say(&block(0x1001, 9, 0x0400, b"one"));
    bench.say(&block(0x1001, 9, 0x0003, b"four"));
    let Callback::IncomingMessage { mut incoming } = block(0x1001, 9, 0x0001, b"two") else { panic!() };
    incoming.kind = 4;
    bench.say(&Callback::IncomingMessage { incoming });
    assert_eq!((replies(&mut bench), bench.host.counters()[3]), (vec![(0x1001, 0xFF00, 9)], 3));
    // Half a minute later nobody waits for the rest.
    bench.run(29_000);
    bench.say(&block(0x1001, 9, 0x0001, b"two"));
    assert_eq!((replies(&mut bench), bench.host.counters()[3], bench.events()), (vec![], 5, vec![]));
    // Nor after a restart, and of a network that does not run none is taken.
    bench.say(&block(0x1001, 10, 0x0200, b"one"));
    bench.ncp.restart(2);
    bench.run(3_000);
    assert_eq!(bench.host.counters()[3], 6);
    let mut foreign = Bench::opened(ScriptedNcp::new(13, Some(NEIGHBOURS)), Some(OURS));
    foreign.say(&block(0x1001, 9, 0x0200, b"one"));
    assert_eq!((replies(&mut foreign), foreign.host.counters()[3]), (vec![], 1));
}

#[test]
fn blocks_of_a_sender_that_nobody_knows_wait_as_one_frame_for_its_name() {
    let mut bench = up_in(13);
    bench.say(&block(0x1003, 9, 0x0200, b"one "));
    bench.say(&block(0x1003, 9, 0x0001, b"two"));
    assert_eq!((replies(&mut bench).len(), bench.events()), (2, vec![]));
    let eui: Vec<u8> = device(0x1003).0.iter().rev().copied().collect();
    bench.say(&zdo_from(0x1003, 0x8001, &[&[1, 0][..], &eui, &[0x03, 0x10]].concat()));
    let events = bench.events();
    assert!(matches!(&events[..], [Event::Received(whole)] if whole.payload == b"one two"[..]), "{events:?}");
}

/// 300 devices begin at once, and none goes on.
#[test]
fn what_a_flood_of_blocks_leaves_behind_is_bounded() {
    let mut bench = up_in(13);
    for nwk in 1..=300 {
        bench.ncp.say(&block(nwk, 1, 0xFF00, &[0; 82]));
    }
    bench.run(10_000);
    assert_eq!((replies(&mut bench).len(), bench.host.counters()[3]), (8, 292));
    bench.run(30_000);
    assert_eq!(bench.host.counters()[3], 300);
    bench.say(&announces(0x1001));
    send_long(&mut bench, 1, 60_000);
    assert_eq!(bench.ncp.air.len(), 1, "others are served");
}
