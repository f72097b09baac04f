//! The relay's rules one by one; the simulation in `tests/` throws them all together.

use bytes::Bytes;
use cardea_envelope::{
    Data, Downlink, DownlinkResult, Encoding, EventKind, GatewayEvent, MessageId, Response, ResultState,
    Topic, Topics, Uplink, VERSION,
};
use cardea_framing::{Class, Header, Kind, LinkConfig, LockId, LockLink};
use cardea_radio::{Command, Event, Health, Outcome, Quality, Refusal, Send, Up};

use crate::*;

mod activation;
mod admission;
mod bench;
mod bounds;
mod clock;
mod late;
mod peers;

use bench::*;

#[test]
fn a_receipt_follows_the_brokers_word_and_no_write_is_made() {
    let mut bench = Bench::new();
    let datagram = bench.up(LOCK, Class::Log, 1);
    assert!(bench.sends.is_empty());
    bench.ack_all();
    assert_eq!(bench.sends[0].frame, receipt_for(&datagram));
    bench.pass(5_000);
    assert_eq!(bench.relay.metrics().rows_committed, 0);
    assert_eq!(bench.relay.metrics().rows_never_written, 1);
}

#[test]
fn a_silent_broker_costs_a_commit_and_the_receipt_waits_for_it() {
    let mut bench = Bench::new();
    bench.commits = false;
    bench.up(LOCK, Class::Interactive, 1);
    bench.pass(399);
    assert!(bench.writes.is_empty(), "inside the hold");
    bench.pass(1);
    assert!(matches!(bench.writes[0].1[..], [Change::InsertRow(_)]));
    assert!(bench.sends.is_empty(), "no receipt before the commit");
    bench.commit();
    assert_eq!(bench.sends.len(), 1);
}

#[test]
fn a_failed_commit_gives_no_receipt_and_is_tried_again() {
    let mut bench = Bench::new();
    bench.commits = false;
    bench.feed(Input::Upstream(UpstreamEvent::Disconnected));
    bench.up(LOCK, Class::Log, 1);
    bench.fail();
    assert!(bench.sends.is_empty());
    bench.pass(1_000);
    assert_eq!(bench.writes.len(), 1);
    bench.commit();
    assert_eq!(bench.sends.len(), 1);
    // Whoever looks after it learns that the store had trouble.
    bench.commits = true;
    bench.feed(Input::Upstream(UpstreamEvent::Connected));
    let events = bench.told();
    assert!(events.iter().any(|e| matches!(&e.what, EventKind::Alarm { cause, .. } if cause == "store")));
}

#[test]
fn a_repeat_gets_its_receipt_again_and_no_second_row() {
    let mut bench = Bench::new();
    let datagram = bench.up(LOCK, Class::Log, 1);
    bench.ack_all();
    let handle = bench.sends[0].handle;
    bench.outcome(handle, Outcome::Sent);
    bench.hear(LOCK, &datagram, None);
    assert_eq!(bench.sends.len(), 2);
    assert_eq!(bench.sends[1].frame, bench.sends[0].frame);
    assert!(bench.uplinks().is_empty());
    // After a restart the link has forgotten it; the row's id has not been.
    let id = MessageId(cardea_framing::uplink_id(LOCK, &datagram));
    let backlog = Backlog { lock: LOCK, rows: [0, 1, 0, 0], weight: 94, last: 5, recent: vec![id] };
    let record = LockRecord { lock: LOCK, radio: "lora".into() };
    let snapshot = Snapshot { locks: vec![record], backlog: vec![backlog], ..Snapshot::default() };
    let mut bench = Bench::over(|_| {}, snapshot);
    bench.hear(LOCK, &datagram, None);
    assert_eq!((bench.sends.len(), bench.relay.metrics().duplicates), (1, 1));
}

#[test]
fn a_high_class_lifts_the_queue_of_its_lock_and_keeps_its_order() {
    let mut bench = Bench::with(|c| c.publish_window = 1);
    let blocker = bench.up(OTHER, Class::Bulk, 0); // Takes the window.
    bench.up(OTHER, Class::Telemetry, 1);
    bench.up(LOCK, Class::Telemetry, 2);
    bench.up(LOCK, Class::Bulk, 3);
    bench.up(LOCK, Class::Interactive, 4);
    let mut order = Vec::new();
    for publish in bench.ack_all() {
        if let Some(Topic::Up(lock)) = bench.topics.parse(&publish.topic) {
            let up: Uplink = Encoding::Json.decode(&publish.payload).unwrap();
            order.push((lock, up.data.0[1], up.seq));
        }
    }
    assert_eq!(blocker[1], 0);
    assert_eq!(order, [(OTHER, 0, 1), (LOCK, 2, 1), (LOCK, 3, 2), (LOCK, 4, 3), (OTHER, 1, 2)]);
}

#[test]
fn a_lost_connection_repeats_with_the_same_id_and_number() {
    let mut bench = Bench::new();
    bench.up(LOCK, Class::Log, 1);
    bench.up(LOCK, Class::Log, 2);
    let first = bench.uplinks();
    bench.feed(Input::Upstream(UpstreamEvent::Disconnected));
    bench.feed(Input::Upstream(UpstreamEvent::Connected));
    let again = bench.uplinks();
    assert_eq!(first.len(), 2);
    assert_eq!(first, again);
}

#[test]
fn platform_custody_ends_with_seen() {
    let mut bench = Bench::with(|c| c.custody = Custody::Platform);
    bench.up(LOCK, Class::Log, 1);
    let epoch = bench.uplinks()[0].epoch;
    let seen = |seq| Encoding::Json.encode(&cardea_envelope::Seen { v: VERSION, epoch, seq });
    bench.ack_all();
    assert!(bench.sends.is_empty(), "the broker's word is not enough");
    bench.message(&Topic::Seen(LOCK), seen(2), false);
    assert!(bench.sends.is_empty(), "a number that was never given");
    let stale = cardea_envelope::Seen { v: VERSION, epoch: cardea_envelope::Epoch([8; 8]), seq: 1 };
    bench.message(&Topic::Seen(LOCK), Encoding::Json.encode(&stale), false);
    assert!(bench.sends.is_empty(), "numbers of another run");
    bench.message(&Topic::Seen(LOCK), seen(1), false);
    assert_eq!(bench.sends.len(), 1);
    bench.pass(2_000);
    assert_eq!(bench.relay.metrics().rows_committed, 0);
}

#[test]
fn an_unseen_row_is_sent_again() {
    let mut bench = Bench::with(|c| c.custody = Custody::Platform);
    bench.up(LOCK, Class::Log, 1);
    bench.pass(400); // Committed.
    bench.ack_all();
    bench.pass(19_000);
    assert!(bench.pages.is_empty());
    bench.pass(2_000);
    assert_eq!(bench.pages, [(LOCK, 0, 1, 64)]);
}

#[test]
fn a_poisonous_row_goes_and_leaves_a_gap() {
    let mut bench = Bench::new();
    bench.up(LOCK, Class::Log, 1);
    let token = bench.published[0].token;
    bench.commits = false;
    bench.feed(Input::Upstream(UpstreamEvent::Refused { token, reason: "too large".into() }));
    let Some((_, changes)) = bench.writes.last() else { panic!("no gap was written") };
    let [Change::DeleteRow(1), Change::InsertGap(gap)] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((gap.lock, gap.class, gap.frames), (LOCK, Class::Log, 1));
    assert!(bench.sends.is_empty(), "no receipt before the gap is durable");
    bench.commit();
    assert_eq!(bench.sends.len(), 1);
}

#[test]
fn the_outbox_is_bounded_and_says_what_it_drops() {
    let mut bench = Bench::with(|c| c.outbox_bytes = 10 * 94);
    bench.feed(Input::Upstream(UpstreamEvent::Disconnected));
    bench.commits = false;
    for number in 0..11 {
        bench.up(LOCK, Class::Telemetry, number);
    }
    let changes: Vec<Change> = bench.writes.iter().flat_map(|(_, c)| c.clone()).collect();
    assert_eq!(changes.last(), Some(&Change::Shed { lock: None, bytes: 94, spare: 14 }));
    assert_eq!(changes.iter().filter(|c| matches!(c, Change::Shed { .. })).count(), 1);
    // The store answers; the gap reaches the broker and is forgotten only then.
    let gap =
        Gap { id: MessageId([3; 16]), lock: LOCK, class: Class::Telemetry, frames: 1, first: 5, last: 5 };
    let shed = vec![Shed { row: 1, lock: LOCK, class: Class::Telemetry, weight: 94 }];
    let tickets = std::mem::take(&mut bench.writes).into_iter().map(|(t, _)| t).collect();
    bench.feed(Input::Stored(StoreReply::Committed { tickets, shed, gaps: vec![gap.clone()] }));
    let metrics = bench.relay.metrics();
    assert_eq!((metrics.rows_dropped, metrics.outbox_rows, metrics.outbox_bytes), (1, 10, 940));
    bench.feed(Input::Upstream(UpstreamEvent::Connected));
    let told = bench.ack_all().into_iter().filter(|p| p.topic.ends_with("/event")).any(|p| {
        let event: GatewayEvent = Encoding::Json.decode(&p.payload).unwrap();
        matches!(event.what, EventKind::Gap { lock: LOCK, frames: 1, .. })
    });
    assert!(told);
    bench.pass(20);
    assert!(bench.commit().contains(&Change::DeleteGap(gap)));
}

#[test]
fn unknown_locks_and_hostile_frames_are_counted() {
    let mut bench = Bench::new();
    bench.up(LockId([9; 8]), Class::Log, 1);
    bench.hear(LOCK, &[], None);
    bench.hear(LOCK, &[0xff, 1, 2], None);
    bench.hear(
        LOCK,
        &[Header { kind: Kind::PeerOscore, more: false, class: Class::Log }.encode(), 0, 5, 1, 2],
        None,
    );
    let metrics = bench.relay.metrics();
    assert_eq!((metrics.unknown_lock, metrics.malformed_frames, metrics.peer_dropped), (1, 2, 1));
    assert!(bench.uplinks().is_empty());
}

#[test]
fn a_command_is_durable_then_acknowledged_then_sent() {
    let mut bench = Bench::new();
    bench.commits = false;
    let down = command(1, Class::Interactive, 10_000);
    let ack = bench.down(&down);
    assert!(bench.acks.is_empty() && bench.sends.is_empty());
    bench.commit();
    assert_eq!(bench.acks, [ack]);
    assert_eq!(bench.sends[0].frame, down.data.0);
    bench.commits = true;
    assert_eq!(bench.results(), [(ResultState::Queued, None)]);
    let handle = bench.sends[0].handle;
    bench.outcome(handle, Outcome::Sent);
    assert_eq!(bench.results(), [(ResultState::Sent, None)]);
    bench.hear(LOCK, &receipt_for(&down.data.0), None);
    assert_eq!(bench.results(), [(ResultState::Delivered, None)]);
    // The same id again: its state is repeated, nothing is sent.
    bench.down(&down);
    assert_eq!(bench.results(), [(ResultState::Delivered, None)]);
    assert_eq!(bench.sends.len(), 1);
}

#[test]
fn an_end_is_told_only_when_it_is_durable() {
    let mut bench = Bench::new();
    let down = command(1, Class::Interactive, 10_000);
    bench.down(&down);
    bench.results();
    bench.commits = false;
    bench.hear(LOCK, &receipt_for(&down.data.0), None);
    assert_eq!(bench.results(), []);
    bench.fail();
    assert_eq!(bench.results(), []);
    bench.pass(1_000);
    bench.commit();
    assert_eq!(bench.results(), [(ResultState::Delivered, None)]);
}

#[test]
fn what_must_not_go_down_is_refused_with_its_reason() {
    let mut bench = Bench::with(|c| c.lock_downlinks = 1);
    let mut check = |down: &Downlink, retain, expected: (ResultState, Option<String>)| {
        bench.message(&Topic::Down(LOCK), Encoding::Json.encode(down), retain);
        assert_eq!(bench.results(), std::slice::from_ref(&expected));
        assert!(bench.sends.is_empty());
        // And stays so, whatever the second message looks like.
        bench.message(&Topic::Down(LOCK), Encoding::Json.encode(down), false);
        assert_eq!(bench.results(), [expected]);
    };
    let good = |n| command(n, Class::Interactive, 10_000);
    check(&good(1), true, refused("retained"));
    check(&Downlink { lock: OTHER, ..good(2) }, false, refused("malformed"));
    check(&Downlink { class: Class::Log, ..good(3) }, false, refused("malformed"));
    check(&Downlink { data: Data(vec![0xff; 9]), ..good(4) }, false, refused("malformed"));
    check(
        &Downlink { data: Data(datagram(Class::Interactive, 5, 1_025)), ..good(5) },
        false,
        refused("too_big"),
    );
    check(&Downlink { v: 2, ..good(6) }, false, refused("malformed"));
    check(&Downlink { not_after: u64::MAX, ..good(7) }, false, refused("not_after"));
    check(&Downlink { not_after: DAWN - 1, ..good(8) }, false, (ResultState::Expired, None));
    let peer = Header { kind: Kind::PeerOscore, more: false, class: Class::Interactive }.encode();
    let data = Data(vec![peer, 0, 5, 1, 2]);
    check(&Downlink { kind: Kind::PeerOscore, data, ..good(9) }, false, refused("peer"));

    let site = Header { kind: Kind::Site, more: false, class: Class::Interactive }.encode();
    let data = Data(vec![site, 0x84, 2]);
    check(&Downlink { kind: Kind::Site, data, ..good(14) }, false, refused("no_page"));
    for (n, first) in [(15, 0x19), (16, 0x18), (17, 0x20), (18, 0x7f), (19, 0xd2), (20, 0xff)] {
        let data = Data(vec![site, first, 2]);
        check(&Downlink { kind: Kind::Site, data, ..good(n) }, false, refused("malformed"));
    }

    let unknown = LockId([9; 8]);
    bench.message(
        &Topic::Down(unknown),
        Encoding::Json.encode(&Downlink { lock: unknown, ..good(10) }),
        false,
    );
    assert_eq!(bench.results(), [refused("unknown_lock")]);
    bench.synced = false;
    bench.down(&good(11));
    assert_eq!(bench.results(), [refused("clock")]);
    bench.synced = true;
    bench.down(&good(12));
    bench.down(&good(13));
    assert_eq!(bench.results(), [(ResultState::Queued, None), refused("busy")]);
    assert_eq!(bench.relay.metrics().downlinks, 1);
}

#[test]
fn a_command_is_never_sent_late() {
    let mut bench = Bench::new();
    bench.link(LOCK, 51, true);
    bench.down(&command(1, Class::Interactive, 3_000));
    assert_eq!(bench.results(), [(ResultState::Queued, None)]);
    bench.pass(3_001);
    assert_eq!(bench.results(), [(ResultState::Expired, None)]);
    let closes = bench.now + 5_000;
    bench.radio(Event::Window { lock: LOCK, closes });
    bench.pass(6_000);
    assert!(bench.sends.is_empty());
}

#[test]
fn without_a_receipt_a_command_has_failed() {
    let mut bench = Bench::new();
    bench.down(&command(1, Class::Interactive, 8_000));
    while bench.now < 9_000 {
        if let Some(send) = bench.sends.pop() {
            assert!(send.deadline <= 8_001);
            bench.outcome(send.handle, Outcome::Sent);
        }
        bench.pass(100);
    }
    let failed = (ResultState::Failed, Some("no_receipt".into()));
    assert_eq!(bench.results(), [(ResultState::Queued, None), (ResultState::Sent, None), failed]);
}

#[test]
fn an_alarm_of_a_radio_goes_upstream() {
    let mut bench = Bench::new();
    bench.radio(Event::Alarm { cause: "stranger", detail: "Zigbee: device 00124b0000000009".into() });
    let events = bench.told();
    let told = events.iter().any(|event| {
        matches!(&event.what, EventKind::Alarm { lock: None, cause, detail }
            if cause == "stranger" && detail.contains("00124b0000000009"))
    });
    assert!(told, "{events:?}");
}

#[test]
fn a_radio_that_will_not_is_named() {
    let mut bench = Bench::new();
    bench.down(&command(1, Class::Telemetry, 8_000));
    let handle = bench.sends[0].handle;
    bench.outcome(handle, Outcome::Refused(Refusal::Airtime));
    assert_eq!(bench.results(), [(ResultState::Queued, None), refused("airtime")]);
    // One that dies with the frame in its hands.
    bench.radio(Event::Health(Health { up: true, detail: String::new() }));
    bench.down(&command(2, Class::Telemetry, 8_000));
    bench.radio(Event::Health(Health { up: false, detail: "unplugged".into() }));
    let failed = (ResultState::Failed, Some("no_radio".into()));
    assert_eq!(bench.results(), [(ResultState::Queued, None), failed]);
}

#[test]
fn a_sleepy_locks_window_belongs_to_the_command_first() {
    let mut bench = Bench::new();
    bench.link(LOCK, 51, true);
    // A touch: the receipt is due, and waits for the edge of the window.
    let touch = datagram(Class::Interactive, 1, 30);
    let closes = bench.now + 5_000;
    bench.hear(LOCK, &touch, Some(closes));
    bench.ack_all();
    bench.pass(2_000);
    assert!(bench.sends.is_empty());
    let down = command(2, Class::Interactive, 20_000);
    bench.down(&down);
    assert_eq!(bench.sends.len(), 1);
    assert_eq!(bench.sends[0].frame, down.data.0);
    let handle = bench.sends[0].handle;
    bench.outcome(handle, Outcome::Sent);
    // The lock has it, and says so; the receipt for the touch takes this window, at its edge.
    let closes = bench.now + 4_000;
    bench.hear(LOCK, &receipt_for(&down.data.0), Some(closes));
    bench.pass(3_900);
    assert_eq!(bench.sends.len(), 1);
    bench.pass(100);
    assert_eq!(bench.sends[1].frame, receipt_for(&touch));
}

#[test]
fn classes_go_down_in_their_order_and_a_battery_has_a_budget() {
    let mut bench = Bench::with(|c| (c.downlink_burst, c.downlink_refill_ms) = (2, 10_000));
    for (number, class) in [(1, Class::Bulk), (2, Class::Telemetry), (3, Class::Log), (4, Class::Interactive)]
    {
        bench.down(&command(number, class, 60_000));
    }
    let mut order = Vec::new();
    for _ in 0..40 {
        while let Some(send) = bench.sends.pop() {
            order.push((send.frame[1], bench.now));
            bench.outcome(send.handle, Outcome::Sent);
            if send.frame[0] & 3 < 2 {
                bench.hear(LOCK, &receipt_for(&send.frame), None);
            }
        }
        bench.pass(1_000);
    }
    let numbers: Vec<u8> = order.iter().map(|(n, _)| *n).collect();
    assert_eq!(numbers, [1, 4, 3, 2], "the first was alone when it came");
    assert!(order[1].1 < 3_000 && order[2].1 >= 10_000 && order[3].1 >= 20_000, "{order:?}");
}

#[test]
fn a_restart_resumes_what_is_alive_and_ends_what_is_not() {
    let data = Bytes::from(datagram(Class::Interactive, 1, 40));
    let record = |number, not_after, state, data: &Bytes, told| DownRecord {
        id: MessageId([number; 16]),
        lock: LOCK,
        not_after: DAWN + not_after,
        state,
        reason: None,
        at: DAWN,
        data: data.clone(),
        told,
    };
    let downs = vec![
        record(1, 9_000, ResultState::Queued, &data, false),
        record(2, 0, ResultState::Queued, &data, false),
        record(3, 9_000, ResultState::Delivered, &Bytes::new(), false),
        record(4, 9_000, ResultState::Delivered, &Bytes::new(), true),
    ];
    let locks = vec![LockRecord { lock: LOCK, radio: "lora".into() }];
    let mut bench = Bench::over(|_| {}, Snapshot { locks, downs, ..Snapshot::default() });
    assert_eq!(bench.sends.len(), 1);
    // Known ids stay known.
    bench.down(&command(4, Class::Interactive, 9_000));
    assert_eq!(bench.results(), [(ResultState::Delivered, None)]);
    assert_eq!(bench.sends.len(), 1);
}

#[test]
fn questions_are_answered_and_orders_are_not_taken() {
    let mut bench = Bench::new();
    let ask = |bench: &mut Bench, verb: &str| -> Response {
        bench.message(&Topic::Request(verb.into()), br#"{"transaction":"t"}"#.to_vec(), false);
        let topic = bench.topics.name(&Topic::Response(verb.into()));
        let answer = bench.ack_all().into_iter().find(|p| p.topic == topic).unwrap();
        Encoding::Json.decode(&answer.payload).unwrap()
    };
    let locks = ask(&mut bench, "locks");
    assert_eq!((locks.status.as_str(), locks.transaction.as_deref()), ("ok", Some("t")));
    assert_eq!(locks.data["locks"].as_array().unwrap().len(), 2);
    assert_eq!(ask(&mut bench, "status").status, "ok");
    assert_eq!(ask(&mut bench, "remove").status, "error");
    let before = bench.last_ack;
    bench.message(&Topic::Request("status".into()), Vec::new(), true);
    assert!(bench.acks.contains(&(before + 1)));
}

#[test]
fn goodbye_commits_what_is_held() {
    let mut bench = Bench::new();
    bench.up(LOCK, Class::Log, 1);
    bench.commits = false;
    bench.feed(Input::Admin { token: 9, verb: Admin::Shutdown });
    assert!(matches!(bench.commit()[..], [Change::InsertRow(_)]));
    assert!(bench.replies.is_empty());
    let goodbye =
        bench.ack_all().into_iter().any(|p| p.retain && p.payload.windows(9).any(|w| w == b"\"offline\""));
    bench.commit();
    assert!(goodbye);
    assert_eq!(bench.replies, [AdminReply { token: 9, result: Ok(()) }]);
}

#[test]
fn a_silent_lock_is_small_and_still_known() {
    assert!(size_of::<lock::Lock>() <= 200, "{} bytes", size_of::<lock::Lock>());
    let mut bench = Bench::new();
    let datagram = bench.up(LOCK, Class::Log, 1);
    bench.ack_all();
    let handle = bench.sends[0].handle;
    bench.outcome(handle, Outcome::Sent);
    assert!(bench.relay.locks[&LOCK].link.is_some());
    bench.pass(130_000);
    let lock = &bench.relay.locks[&LOCK];
    assert!(lock.link.is_none() && lock.down.is_none() && lock.queue.is_none());
    // Its receipt was lost after all.
    bench.hear(LOCK, &datagram, None);
    assert_eq!(bench.sends[1].frame, receipt_for(&datagram));
}
