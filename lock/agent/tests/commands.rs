//! Late, replayed, forged, duplicate and misplaced commands do nothing at the bolt.

mod common;

use cardea_agent::{AgentEvent, Slot};
use cardea_framing::Kind;
use cardea_oscore::coap::Code;
use cardea_resources::{
    Battery, Bolt, ClockState, EventKind, LogPage, LogRequest, Op, Outcome, Refusal, Status, Time,
};

use common::platform::{Reply, datagram};
use common::{World, command, outcome};

fn refused(reply: &Reply, refusal: Refusal) {
    assert_eq!(outcome(reply).outcome, Outcome::Refused(refusal));
}

/// A 4.01 with 8 bytes of Echo under a number of its own; returns them.
fn asked_echo(reply: &Reply) -> Vec<u8> {
    assert_eq!(reply.code, Code::UNAUTHORIZED, "{reply:?}");
    assert!(reply.own_number);
    let echo = reply.echo.clone().unwrap_or_default();
    assert_eq!(echo.len(), 8, "an Echo option");
    echo
}

/// A lock that knows no time, so that only challenges count.
fn timeless() -> World {
    let mut world = World::new();
    world.platform.tells_time = false;
    world.boot();
    world.run();
    world
}

#[test]
fn status_and_battery() {
    let mut world = World::activated();
    let reply = world.ask("s", Code::GET, &[], None);
    assert_eq!(reply.code, Code::CONTENT);
    let status = Status::decode(&reply.payload).unwrap();
    assert_eq!((status.bolt, status.battery, status.clock), (Bolt::Locked, 77, ClockState::Trusted));
    let reply = world.ask("b", Code::GET, &[], None);
    assert_eq!(Battery::decode(&reply.payload).unwrap().percent, 77);
}

#[test]
fn a_challenge_carries_one_command() {
    let mut world = timeless();
    let challenge = world.touch();
    let done = outcome(&world.command(1, Op::Unlock, None, Some(&challenge)));
    assert_eq!((done.id, done.outcome, done.bolt), ([1; 4], Outcome::Done, Bolt::Unlocked));
    assert_eq!(world.drives(), [Op::Unlock]);
    // Spent: the next command needs another one.
    asked_echo(&world.command(2, Op::Lock, None, Some(&challenge)));
    assert_eq!(world.drives(), [Op::Unlock]);
}

#[test]
fn a_challenge_dies_after_thirty_seconds_of_the_locks_own_timer() {
    let mut world = timeless();
    let challenge = world.touch();
    world.wait(29_999);
    assert_eq!(outcome(&world.command(1, Op::Unlock, None, Some(&challenge))).outcome, Outcome::Done);
    let challenge = world.touch();
    world.wait(30_000);
    asked_echo(&world.command(2, Op::Lock, None, Some(&challenge)));
    assert_eq!(world.drives(), [Op::Unlock]);
}

#[test]
fn without_challenge_or_trusted_time_the_lock_asks_echo_and_the_echo_carries_one_command() {
    let mut world = timeless();
    let soon = world.unix() + 10;
    let echo = asked_echo(&world.command(1, Op::Unlock, Some(soon), None));
    assert_eq!(world.drives(), []);
    // The same id with the Echo: a first execution, not a retry.
    assert_eq!(outcome(&world.command(1, Op::Unlock, Some(soon), Some(&echo))).outcome, Outcome::Done);
    asked_echo(&world.command(2, Op::Lock, None, Some(&echo)));
    let echo = asked_echo(&world.command(2, Op::Lock, None, None));
    world.wait(30_000);
    asked_echo(&world.command(2, Op::Lock, None, Some(&echo)));
    asked_echo(&world.command(2, Op::Lock, None, Some(&[0; 8])));
    assert_eq!(world.drives(), [Op::Unlock]);
}

#[test]
fn trusted_time_decides_over_not_after() {
    let mut world = World::activated();
    let now = world.unix();
    assert_eq!(outcome(&world.command(1, Op::Unlock, Some(now + 10), None)).outcome, Outcome::Done);
    refused(&world.command(2, Op::Lock, Some(now - 10), None), Refusal::Expired);
    asked_echo(&world.command(2, Op::Lock, None, None));
    assert_eq!(world.drives(), [Op::Unlock]);
    // A refusal has no effect, so the id is not spent.
    assert_eq!(outcome(&world.command(2, Op::Lock, Some(now + 10), None)).outcome, Outcome::Done);
}

#[test]
fn a_delayed_command_is_late() {
    let mut world = World::activated();
    let now = world.unix();
    let request = world.platform.request("l", Code::POST, &command(2, Op::Unlock, Some(now + 10)), None);
    world.wait(15_000);
    let replies = world.deliver(&request);
    refused(&replies[0], Refusal::Expired);
    assert_eq!(world.drives(), []);
}

#[test]
fn an_unlock_far_ahead_is_refused_even_with_a_challenge() {
    let mut world = World::activated();
    let now = world.unix();
    refused(&world.command(1, Op::Unlock, Some(now + 130), None), Refusal::TooFarAhead);
    let challenge = world.touch();
    refused(&world.command(1, Op::Unlock, Some(now + 130), Some(&challenge)), Refusal::TooFarAhead);
    assert_eq!(world.drives(), []);
    assert_eq!(outcome(&world.command(2, Op::Lock, Some(now + 1000), None)).outcome, Outcome::Done);
    assert_eq!(outcome(&world.command(3, Op::Unlock, Some(now + 110), None)).outcome, Outcome::Done);
}

#[test]
fn a_challenge_decides_by_the_locks_timer_even_past_not_after() {
    let mut world = World::activated();
    let challenge = world.touch();
    let past = world.unix() - 5;
    assert_eq!(outcome(&world.command(1, Op::Unlock, Some(past), Some(&challenge))).outcome, Outcome::Done);
}

#[test]
fn old_time_is_no_time() {
    let mut world = World::activated();
    world.platform.tells_time = false;
    world.wait(2 * 24 * 3600 * 1000); // 50 ppm of two days is 8.6 s
    let soon = world.unix() + 10;
    asked_echo(&world.command(1, Op::Unlock, Some(soon), None));
    let status = Status::decode(&world.ask("s", Code::GET, &[], None).payload).unwrap();
    assert_eq!(status.clock, ClockState::Untrusted);
    // A new answer makes it trusted again.
    world.platform.tells_time = true;
    world.touch();
    assert_eq!(outcome(&world.command(1, Op::Unlock, Some(soon), None)).outcome, Outcome::Done);
}

#[test]
fn time_is_taken_from_a_request_only_when_it_is_fresh() {
    let mut world = timeless();
    let mut payload = [0; Time::MAX_LEN];
    let len = Time { unix: world.unix() }.encode(&mut payload).unwrap();
    let echo = asked_echo(&world.ask("t", Code::POST, &payload[..len], None));
    assert_eq!(world.agent().time(), None);
    assert_eq!(world.ask("t", Code::POST, &payload[..len], Some(&echo)).code, Code::CHANGED);
    let known = world.agent().time().unwrap();
    assert!(known.trusted());
    assert!(known.unix_ms.abs_diff(world.clock.rtc_ms()) <= known.uncertainty_ms);
}

#[test]
fn a_retry_is_answered_from_the_cache() {
    let mut world = World::activated();
    let now = world.unix();
    let first = outcome(&world.command(1, Op::Unlock, Some(now + 10), None));
    world.wait(60_000);
    // Late by now and without Echo: still the same answer, and no second effect.
    let again = outcome(&world.command(1, Op::Unlock, Some(now + 10), None));
    assert_eq!(first, again);
    assert_eq!(world.drives(), [Op::Unlock]);
    // The same id for something else is nobody's retry.
    assert_eq!(world.command(1, Op::Lock, None, None).code, Code::BAD_REQUEST);
    assert_eq!(world.drives(), [Op::Unlock]);
}

#[test]
fn the_cache_survives_a_reset_and_holds_eight() {
    let mut world = World::activated();
    let soon = world.unix() + 100;
    for id in 1..=8 {
        let op = if id % 2 == 0 { Op::Lock } else { Op::Unlock };
        world.command(id, op, Some(soon), None);
    }
    world.actuator.forget();
    world.reset();
    world.run();
    let echo = asked_echo(&world.command(1, Op::Unlock, Some(soon), None));
    assert_eq!(outcome(&world.command(1, Op::Unlock, Some(soon), Some(&echo))).outcome, Outcome::Done);
    assert_eq!(world.drives(), []);
    // A ninth command pushes the first out.
    world.command(9, Op::Unlock, Some(soon), None);
    world.command(1, Op::Unlock, Some(soon), None);
    assert_eq!(world.drives(), [Op::Unlock, Op::Unlock]);
}

#[test]
fn a_replay_does_nothing() {
    let mut world = World::activated();
    let now = world.unix();
    let request = world.platform.request("l", Code::POST, &command(1, Op::Unlock, Some(now + 100)), None);
    assert_eq!(world.deliver(&request).len(), 1);
    // At once the link knows the frame; later the replay window does.
    assert_eq!(world.deliver(&request).len(), 0);
    world.wait(61_000);
    let dropped = world.agent().dropped();
    assert_eq!(world.deliver(&request).len(), 0);
    assert_eq!(world.agent().dropped(), dropped + 1);
    assert_eq!(world.drives(), [Op::Unlock]);
}

#[test]
fn a_replay_after_a_reset_does_nothing() {
    let mut world = World::activated();
    let soon = world.unix() + 100;
    let unlock = world.platform.request("l", Code::POST, &command(1, Op::Unlock, Some(soon)), None);
    let held_back = world.platform.request("l", Code::POST, &command(2, Op::Unlock, Some(soon)), None);
    let never_seen = world.platform.request("l", Code::POST, &command(3, Op::Unlock, Some(soon)), None);
    world.deliver(&unlock);
    world.actuator.forget();
    world.reset();
    world.run();
    assert_eq!(world.deliver(&unlock).len(), 0, "committed before the effect, so known after the reset");
    // A frame that never reached the lock is not a replay, but no fresh first request either.
    let echo = asked_echo(&world.deliver(&held_back)[0]);
    assert_eq!(world.drives(), []);
    // After the Echo, everything older is void, seen or not.
    assert_eq!(world.ask("s", Code::GET, &[], Some(&echo)).code, Code::CONTENT);
    world.wait(61_000);
    assert_eq!(world.deliver(&held_back).len(), 0);
    assert_eq!(world.deliver(&never_seen).len(), 0);
    assert_eq!(world.drives(), []);
}

#[test]
fn after_a_reset_the_first_request_is_answered_with_echo_whatever_it_carries() {
    let mut world = World::activated();
    world.reset();
    world.run();
    let challenge = world.touch();
    let soon = world.unix() + 10;
    asked_echo(&world.ask("s", Code::GET, &[], None));
    asked_echo(&world.command(1, Op::Unlock, Some(soon), Some(&challenge)));
    asked_echo(&world.ask("s", Code::GET, &[], Some(&[])));
    let echo = asked_echo(&world.command(1, Op::Unlock, Some(soon), Some(&[1; 8])));
    assert_eq!(world.drives(), []);
    assert_eq!(outcome(&world.command(1, Op::Unlock, Some(soon), Some(&echo))).outcome, Outcome::Done);
    // And from then on as before.
    let challenge = world.touch();
    assert_eq!(outcome(&world.command(2, Op::Lock, None, Some(&challenge))).outcome, Outcome::Done);
}

#[test]
fn the_rtc_keeps_the_time_over_a_reset_and_nothing_else_does() {
    let mut world = World::activated();
    world.platform.tells_time = false;
    world.wait(3_600_000);
    world.reset();
    let known = world.agent().time().unwrap();
    assert!(known.trusted());
    assert!(known.unix_ms.abs_diff(world.clock.rtc_ms()) <= known.uncertainty_ms);
    world.clock.no_rtc.set(true);
    world.reset();
    assert_eq!(world.agent().time(), None);
}

#[test]
fn a_changed_byte_anywhere_does_nothing() {
    let mut world = World::activated();
    let soon = world.unix() + 100;
    let request = world.platform.request("l", Code::POST, &command(1, Op::Unlock, Some(soon)), None);
    for at in 0..request.len() {
        // The class in the header byte is a hint to queues, which nobody seals.
        let bits = if at == 0 { [0x08, 0x80] } else { [0x01, 0x80] };
        for bit in bits {
            let mut changed = request.clone();
            changed[at] ^= bit;
            assert_eq!(world.deliver(&changed).len(), 0, "byte {at}");
            assert_eq!(world.drives(), [], "byte {at}");
        }
    }
    assert_eq!(world.deliver(&request).len(), 1);
    assert_eq!(world.drives(), [Op::Unlock]);
}

#[test]
fn a_response_turned_request_and_an_event_sent_back_do_nothing() {
    let mut world = World::activated();
    world.touch();
    let event = world.platform.up.last().unwrap().clone();
    assert_eq!(world.deliver(&event).len(), 0);
    world.ask("s", Code::GET, &[], None);
    let response = world.platform.up.last().unwrap().clone();
    assert_eq!(world.deliver(&response).len(), 0);
}

#[test]
fn a_command_for_another_lock_does_nothing() {
    let mut world = World::activated();
    let mut other = World::activated();
    // Another lock's platform context, even under the same identifiers.
    for _ in 0..3 {
        let soon = other.unix() + 100;
        let request = other.platform.request("l", Code::POST, &command(1, Op::Unlock, Some(soon)), None);
        let mut foreign = request.clone();
        let own = world.platform.request("s", Code::GET, &[], None);
        foreign[1] = own[1];
        foreign[3] = own[3]; // our kid
        assert_eq!(foreign[..4], own[..4], "same flags, number and kid");
        foreign[10] ^= 0x40; // both worlds have the same seeds, so the keys would be equal
        assert_eq!(world.deliver(&foreign).len(), 0);
    }
    assert_eq!(world.drives(), []);
}

#[test]
fn a_command_under_the_old_context_is_unknown_once_the_new_one_is_confirmed() {
    let mut world = World::activated();
    let soon = world.unix() + 2000;
    let old = world.platform.request("l", Code::POST, &command(1, Op::Unlock, Some(soon)), None);
    world.live(16 * 60_000);
    world.agent().handle_frame(&datagram(Kind::PlatformOscore, &[0x40, 0x51, 0x81, 0, 0, 0]));
    world.run();
    assert_eq!(world.platform.keys.len(), 2);
    assert_eq!(world.deliver(&old).len(), 0);
    assert_eq!(world.drives(), []);
}

#[test]
fn peer_and_site_frames_are_dropped() {
    let mut world = World::activated();
    let dropped = world.agent().dropped();
    let site = datagram(Kind::Site, &[1, 2, 3]);
    world.agent().handle_frame(&site);
    for header in [0x10, 0x18] {
        world.agent().handle_frame(&[header, 0, 1, 0xf5, 3, 2]);
    }
    assert_eq!(world.agent().dropped(), dropped + 3);
}

#[test]
fn wrong_requests_get_coap_errors() {
    let mut world = World::activated();
    assert_eq!(world.ask("x", Code::GET, &[], None).code, Code::NOT_FOUND);
    assert_eq!(world.ask("e", Code::POST, &[], None).code, Code::NOT_FOUND);
    assert_eq!(world.ask("", Code::GET, &[], None).code, Code::NOT_FOUND);
    assert_eq!(world.ask("l", Code::GET, &[], None).code, Code::METHOD_NOT_ALLOWED);
    assert_eq!(world.ask("s", Code::POST, &[], None).code, Code::METHOD_NOT_ALLOWED);
    assert_eq!(world.ask("l", Code::POST, &[0xa0], None).code, Code::BAD_REQUEST);
    assert_eq!(world.ask("l", Code::POST, &[], None).code, Code::BAD_REQUEST);
    assert_eq!(world.ask("t", Code::POST, &[1], None).code, Code::BAD_REQUEST);
    assert_eq!(world.ask("g", Code::POST, &[1], None).code, Code::BAD_REQUEST);
    assert_eq!(world.drives(), []);
}

#[test]
fn commit_comes_before_effect_and_a_command_costs_three_writes() {
    let mut world = World::activated();
    let soon = world.unix() + 100;
    world.nvm.reset_count();
    world.command(1, Op::Unlock, Some(soon), None);
    assert_eq!(world.nvm.writes(), [Slot::Ledger, Slot::Log(0), Slot::Ledger]);
    world.nvm.reset_count();
    world.command(1, Op::Unlock, Some(soon), None);
    world.ask("s", Code::GET, &[], None);
    assert_eq!(world.nvm.writes(), [], "a retry and a reading cost none");
}

#[test]
fn without_storage_nothing_moves() {
    let mut world = World::activated();
    let soon = world.unix() + 100;
    world.nvm.fail(true);
    let reply = world.command(1, Op::Unlock, Some(soon), None);
    assert_eq!(reply.code, Code::INTERNAL_SERVER_ERROR);
    assert_eq!(world.drives(), []);
    assert!(world.told.contains(&AgentEvent::StorageFailed));
    world.nvm.fail(false);
    assert_eq!(outcome(&world.command(1, Op::Unlock, Some(soon), None)).outcome, Outcome::Done);
}

#[test]
fn a_jammed_motor_is_told_and_cached() {
    let mut world = World::activated();
    let soon = world.unix() + 100;
    world.actuator.jam();
    let reply = outcome(&world.command(1, Op::Unlock, Some(soon), None));
    assert_eq!((reply.outcome, reply.bolt), (Outcome::Failed, Bolt::Jammed));
    assert_eq!(outcome(&world.command(1, Op::Unlock, Some(soon), None)).outcome, Outcome::Failed);
    assert_eq!(world.drives(), [Op::Unlock]);
}

#[test]
fn the_context_is_retired_at_the_cap_of_failed_tags_and_the_count_survives_resets() {
    let mut world = World::activated();
    let request = world.platform.request("s", Code::GET, &[], None);
    let forge = |world: &mut World, n: u32| {
        let mut forged = request[..request.len() - 8].to_vec();
        forged.extend(u64::from(n).to_be_bytes());
        world.agent().handle_frame(&forged);
    };
    for n in 0..60_000 {
        forge(&mut world, n);
    }
    assert!(world.agent().is_connected());
    world.told.clear();
    world.reset();
    for n in 0..5_536 {
        forge(&mut world, 100_000 + n);
    }
    world.run();
    assert!(world.told.contains(&AgentEvent::Alarm(cardea_agent::Alarm::ContextRetired)), "{:?}", world.told);
    // And a new one is made at once.
    assert!(world.told.contains(&AgentEvent::Connected));
}

#[test]
fn a_reset_just_before_the_cap_does_not_bring_a_deaf_context_back() {
    let mut world = World::activated();
    let request = world.platform.request("s", Code::GET, &[], None);
    // NVM counts ahead in blocks of 64: from here on it says 65,536.
    for n in 0..65_473_u64 {
        let mut forged = request[..request.len() - 8].to_vec();
        forged.extend(n.to_be_bytes());
        world.agent().handle_frame(&forged);
    }
    assert!(world.agent().is_connected());
    assert!(!world.told.contains(&AgentEvent::Alarm(cardea_agent::Alarm::ContextRetired)));
    world.told.clear();
    world.reset();
    assert!(!world.agent().is_connected(), "it would neither hear nor speak");
    world.run();
    assert_eq!(world.told, [AgentEvent::Alarm(cardea_agent::Alarm::ContextRetired), AgentEvent::Connected]);
    let challenge = world.touch();
    assert_eq!(outcome(&world.command(1, Op::Unlock, None, Some(&challenge))).outcome, Outcome::Done);
}

#[test]
fn the_log_goes_only_on_the_platforms_cursor() {
    let mut world = World::activated();
    let soon = world.unix() + 100;
    world.command(1, Op::Unlock, Some(soon), None);
    world.command(2, Op::Lock, Some(soon), None);
    let page = |reply: &Reply| {
        let page = LogPage::decode(&reply.payload).unwrap();
        (page.end, page.entries().map(|entry| (entry.index, entry.kind, entry.command)).collect::<Vec<_>>())
    };
    let all = page(&world.ask("g", Code::GET, &[], None));
    let expected = [(0, EventKind::Command, Some([1; 4])), (1, EventKind::Command, Some([2; 4]))];
    assert_eq!(all, (2, expected.to_vec()));
    let request = |cursor, limit| {
        let mut out = [0; LogRequest::MAX_LEN];
        let len = LogRequest { cursor, limit }.encode(&mut out).unwrap();
        out[..len].to_vec()
    };
    let reply = world.ask("g", Code::POST, &request(None, Some(1)), None);
    assert_eq!((reply.code, page(&reply)), (Code::CHANGED, (2, expected[..1].to_vec())));
    let reply = world.ask("g", Code::POST, &request(Some(1), None), None);
    assert_eq!(page(&reply), (2, expected[1..].to_vec()));
    // The cursor of an event's answer counts as well, and survives a reset.
    world.platform.cursor = Some(2);
    world.touch();
    world.reset();
    world.run();
    let echo = asked_echo(&world.ask("g", Code::GET, &[], None));
    let left = page(&world.ask("g", Code::GET, &[], Some(&echo)));
    assert_eq!(left, (3, vec![(2, EventKind::Boot, None)]));
}

#[test]
fn a_carried_out_command_is_announced_unless_the_log_was_fetched() {
    let mut world = World::activated();
    let soon = world.unix() + 100;
    world.platform.events.clear();
    world.command(1, Op::Unlock, Some(soon), None);
    assert!(world.platform.events.is_empty());
    world.live(10_000);
    let event = world.platform.events[0];
    assert_eq!((event.kind, event.log, event.value), (EventKind::Command, Some(0), Some(1)));
    assert!(event.at.is_some());
    world.platform.events.clear();
    world.command(2, Op::Lock, Some(soon), None);
    let mut out = [0; LogRequest::MAX_LEN];
    let len = LogRequest { cursor: Some(2), limit: None }.encode(&mut out).unwrap();
    world.ask("g", Code::POST, &out[..len], None);
    world.live(10_000);
    assert!(world.platform.events.is_empty());
}

#[test]
fn a_new_context_does_not_inherit_the_window_of_an_old_one() {
    let mut world = World::activated();
    world.platform.keys[0].next = 5_000;
    let soon = world.unix() + 100;
    world.command(1, Op::Unlock, Some(soon), None); // the window goes to NVM with it
    for _ in 0..2 {
        // Twice, so that the third context takes the place of the first.
        world.live(16 * 60_000);
        world.agent().handle_frame(&datagram(Kind::PlatformOscore, &[0x40, 0x51, 0x81, 0, 0, 0]));
        world.run();
    }
    assert_eq!(world.platform.keys.len(), 3);
    world.reset();
    world.run();
    asked_echo(&world.ask("s", Code::GET, &[], None));
}

#[test]
fn an_event_is_sent_again_with_the_echo_that_the_platform_asks_for() {
    let mut world = World::activated();
    world.platform.echo_for_events = Some([5; 8]);
    world.touch();
    assert_eq!(world.platform.events.len(), 2);
    assert_eq!(world.platform.events[0].kind, world.platform.events[1].kind);
    assert_ne!(world.platform.events[0].challenge, world.platform.events[1].challenge);
    assert_eq!(world.platform.echoed, [[5; 8]]);
}

#[test]
fn heartbeats_are_telemetry_and_wait_for_no_answer() {
    let mut config = common::config();
    config.heartbeat_ms = 60_000;
    let mut world = World::activated_with(config);
    world.platform.events.clear();
    world.platform.handshakes = 0;
    world.live(30 * 60_000);
    let kinds: Vec<_> = world.platform.events.iter().map(|event| (event.kind, event.value)).collect();
    assert_eq!(kinds, vec![(EventKind::Heartbeat, Some(77)); 30]);
    assert_eq!(world.platform.handshakes, 0);
    // Their challenge is as good as any.
    let challenge = world.platform.events[29].challenge;
    assert_eq!(outcome(&world.command(1, Op::Unlock, None, Some(&challenge))).outcome, Outcome::Done);
}

#[test]
fn a_bolt_moved_by_hand_is_logged_and_reported_until_answered() {
    let mut world = World::activated();
    world.platform.events.clear();
    world.platform.answers_events = false;
    world.actuator.place(Bolt::Unlocked);
    world.agent().bolt_moved();
    world.live(30_000);
    world.platform.answers_events = true;
    world.live(120_000);
    let told: Vec<_> =
        world.platform.events.iter().map(|event| (event.kind, event.log, event.value)).collect();
    assert_eq!(told, vec![(EventKind::Bolt, Some(0), Some(1)); 2]);
}

#[test]
fn a_failing_medium_makes_no_busy_loop() {
    let mut world = World::activated();
    for _ in 0..64 {
        world.touch();
    }
    world.nvm.fail(true);
    world.agent().touch();
    for _ in 0..64 {
        world.agent().touch();
        world.run();
        let now = world.clock.now();
        assert!(world.agent().poll_timeout().is_none_or(|at| at > now));
    }
}
