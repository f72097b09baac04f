//! After activation: events and cursor, commands and freshness, repeats, replays, holes, sleepy locks.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail by panicking

mod common;

use cardea_envelope::ResultState;
use cardea_framing::Kind;
use cardea_resources::Op;
use cardea_sdk::{Ask, Outcome, PlatformEvent, State as _};
use common::{World, listening, sleepy};

fn done(world: &World, id: [u8; 4]) -> bool {
    matches!(world.outcome(id), Some(Outcome::Done { .. }))
}

#[test]
fn an_event_is_stored_before_its_cursor_frees_the_lock() {
    let mut world = World::activated(listening());
    world.agent().bolt_moved();
    world.run();
    assert_eq!(world.count("bolt"), 1);
    let lock = world.lock;
    let log = world.batch(|core, _| core.log(lock, 10)).unwrap();
    let bolt = log.iter().find(|row| row.kind == "bolt").expect("stored");
    assert!(bolt.index.is_some());
    // The lock believed the cursor: nothing is repeated, however long it lives.
    world.live(600_000);
    assert_eq!(world.count("bolt"), 1);
    assert_eq!(world.seen.last().unwrap().seq, world.seq);
}

#[test]
fn a_lost_answer_repeats_the_entry_and_the_owner_hears_of_it_once() {
    let mut world = World::activated(listening());
    world.lose_down = 1;
    world.agent().bolt_moved();
    world.live(120_000);
    let sealed = world.ups.iter().filter(|u| u.kind == Kind::PlatformOscore).count();
    assert!(sealed >= 3, "boot, the entry, the entry again: {sealed}");
    assert_eq!(world.count("bolt"), 1);
}

#[test]
fn a_repeated_or_replayed_uplink_changes_nothing() {
    let mut world = World::activated(listening());
    world.agent().bolt_moved();
    world.agent().touch();
    world.run();
    let (events, downs) = (world.events.len(), world.downs.len());
    for uplink in world.ups.clone() {
        if uplink.kind == Kind::PlatformOscore {
            world.again(&uplink);
        }
    }
    world.restart();
    for uplink in world.ups.clone() {
        if uplink.kind == Kind::PlatformOscore {
            world.again(&uplink);
        }
    }
    world.events.retain(|e| !matches!(e, PlatformEvent::Gateway { .. }));
    assert_eq!((world.events.len(), world.downs.len()), (events, downs), "{:?}", world.events);
    assert!(world.core.as_ref().unwrap().counters().repeats >= 3);
}

#[test]
fn a_tampered_frame_opens_nothing() {
    let mut world = World::activated(listening());
    world.agent().touch();
    world.run();
    let (events, downs) = (world.events.len(), world.downs.len());
    let original = world.ups.last().unwrap().data.0.clone();
    for byte in 1..original.len() {
        let mut forged = original.clone();
        forged[byte] ^= 1;
        let lock = world.lock;
        world.publish_up(lock, &forged);
    }
    assert_eq!((world.events.len(), world.downs.len()), (events, downs));
}

#[test]
fn an_open_challenge_makes_an_unlock_one_frame_each_way() {
    let mut world = World::activated(listening());
    world.agent().touch();
    world.run();
    let (ups, downs) = (world.ups.len(), world.downs.len());
    let id = world.ask(Ask::Unlock, 5_000);
    world.run();
    assert!(done(&world, id), "{:?}", world.events);
    assert_eq!((world.ups.len() - ups, world.downs.len() - downs), (1, 1));
    assert_eq!(world.actuator.drives(), [Op::Unlock]);
    let sizes: Vec<usize> = world.sealed_downs().iter().map(Vec::len).collect();
    assert!(sizes.iter().all(|size| *size <= 48), "{sizes:?}");
}

#[test]
fn without_a_challenge_the_echo_of_a_4_01_carries_the_same_command() {
    let mut world = World::activated(listening());
    world.live(60_000); // every challenge is dead
    world.reset_lock(); // and the first request after a reset must prove itself by Echo
    world.agent().link_down();
    let id = world.ask(Ask::Unlock, 30_000);
    world.agent().link_up();
    world.run();
    assert!(done(&world, id), "{:?}", world.events);
    assert_eq!(world.actuator.drives(), [Op::Unlock], "once");
    let sent = world
        .events
        .iter()
        .filter(|e| matches!(e, PlatformEvent::Progress { state, .. } if state.starts_with("sent")))
        .count();
    assert_eq!(sent, 2);
    let mut nonces = world.nonces();
    nonces.dedup();
    assert_eq!(nonces.len(), 2, "a repeat is a new sequence number");
}

#[test]
fn a_lost_command_goes_again_under_its_id_and_moves_the_bolt_once() {
    let mut world = World::activated(listening());
    world.agent().touch();
    world.run();
    world.lose_down = 1;
    let id = world.ask(Ask::Unlock, 20_000);
    world.run();
    assert_eq!(world.outcome(id), None);
    world.live(11_000);
    assert!(done(&world, id), "{:?}", world.events);
    assert_eq!(world.actuator.drives(), [Op::Unlock]);
    // The other way round: the command arrives, its answer is lost.
    world.agent().touch();
    world.run();
    world.lose_up = 1;
    let id = world.ask(Ask::Lock, 20_000);
    world.live(14_000);
    assert!(done(&world, id), "{:?}", world.events);
    assert_eq!(world.actuator.drives(), [Op::Unlock, Op::Lock], "answered from the lock's cache");
}

#[test]
fn a_command_that_the_lock_may_have_forgotten_is_ended_and_not_repeated() {
    assert_eq!(cardea_agent::COMMAND_CACHE, 8, "what the SDK counts on");
    let mut world = World::activated(listening());
    world.agent().touch();
    world.run();
    // The gateway keeps every request of the first one, and calls each failed; what comes between goes through.
    world.lose_down = 1;
    let first = world.ask(Ask::Unlock, 60_000);
    world.run();
    for others in 1..=7 {
        // Whatever went out: only the newest request of the first one is concerned.
        let out: Vec<_> = world.downs.iter().map(|down| down.message.id).collect();
        out.into_iter().for_each(|id| world.result(id, ResultState::Failed, None));
        let other = world.ask(Ask::Lock, 60_000);
        world.run();
        assert!(done(&world, other), "{:?}", world.events);
        assert_eq!(world.outcome(first).is_some(), others == 7, "{others}");
        world.lose_down = usize::from(others < 7);
        world.live(3_000);
    }
    assert!(matches!(world.outcome(first), Some(Outcome::Unanswered { .. })), "{:?}", world.events);
    world.live(60_000);
    assert_eq!(world.actuator.drives(), [Op::Lock; 7], "a repeat would have gone through");
}

#[test]
fn a_gateway_that_refuses_is_asked_again_and_never_after_the_deadline() {
    let mut world = World::activated(listening());
    world.lose_down = 99;
    let id = world.ask(Ask::Unlock, 5_000);
    let downlink = world.downs.last().unwrap().message.clone();
    assert!(downlink.not_after <= world.clock.rtc_ms() + 5_000);
    world.result(downlink.id, ResultState::Refused, Some("clock"));
    world.live(2_000);
    assert_eq!(
        world.downs.iter().filter(|d| d.message.id != downlink.id && d.at > 0).count() + 1,
        world.downs.len()
    );
    let started = world.clock.rtc_ms();
    world.live(60_000);
    assert!(world.downs.iter().all(|d| d.at <= started + 5_000 || d.message.kind != Kind::PlatformOscore));
    match world.outcome(id) {
        Some(Outcome::Unanswered { sent, gateway }) => {
            assert!(sent >= 2);
            assert_eq!(gateway.as_deref(), Some("refused: clock"));
        }
        other => panic!("{other:?}"),
    }
    assert!(world.actuator.drives().is_empty());
}

#[test]
fn a_sleepy_lock_gets_its_unlock_with_the_next_touch_and_before_the_answer() {
    let mut world = World::activated(sleepy());
    world.live(120_000);
    let downs = world.downs.len();
    let id = world.ask(Ask::Unlock, 60_000);
    world.run();
    assert_eq!(world.downs.len(), downs, "held: it could not hear");
    world.live(10_000);
    assert_eq!(world.downs.len(), downs);
    world.agent().touch();
    world.run();
    assert!(done(&world, id), "{:?}", world.events);
    // In the order of sending: a request (with a Partial IV) first, the answer to the touch after it.
    let sealed = world.sealed_downs();
    let [request, answer] = &sealed[sealed.len() - 2..] else { panic!() };
    let flags = |datagram: &[u8]| datagram[1];
    assert_eq!((flags(request) & 0x80, flags(answer) & 0x80), (0, 0x80));
}

#[test]
fn a_command_to_a_listening_lock_goes_when_its_gateway_is_back_and_not_after_its_time() {
    let mut world = World::activated(listening());
    let presence = |world: &mut World, state| {
        let state = cardea_envelope::GatewayState { state, at: 2 };
        world.message(&cardea_envelope::Topic::State, cardea_envelope::Encoding::Json.encode(&state));
    };
    presence(&mut world, cardea_envelope::Presence::Offline);
    let late = world.ask(Ask::Lock, 5_000);
    let id = world.ask(Ask::Unlock, 60_000);
    world.live(20_000);
    assert!(matches!(world.outcome(late), Some(Outcome::NotSent { .. })), "{:?}", world.outcome(late));
    presence(&mut world, cardea_envelope::Presence::Online);
    world.run();
    assert!(done(&world, id), "{:?}", world.events);
    assert_eq!(world.actuator.drives(), [Op::Unlock]);
}

#[test]
fn a_late_touch_finds_nothing_waiting() {
    let mut world = World::activated(sleepy());
    world.live(120_000);
    let id = world.ask(Ask::Unlock, 10_000);
    world.live(11_000);
    assert!(matches!(world.outcome(id), Some(Outcome::NotSent { .. })), "{:?}", world.outcome(id));
    world.agent().touch();
    world.live(60_000);
    assert!(world.actuator.drives().is_empty(), "a late unlock is worse than none");
}

#[test]
fn a_touch_that_waited_in_an_outbox_releases_nothing() {
    let mut world = World::activated(sleepy());
    world.live(120_000);
    world.lose_up = 1;
    world.agent().touch();
    world.run();
    let late = world.ups.last().unwrap().clone();
    world.live(60_000);
    let id = world.ask(Ask::Unlock, 20_000);
    let downs = world.sealed_downs().iter().filter(|d| d[1] & 0x80 == 0).count();
    world.again(&late);
    assert_eq!(world.sealed_downs().iter().filter(|d| d[1] & 0x80 == 0).count(), downs);
    assert_eq!(world.outcome(id), None);
}

#[test]
fn a_hole_in_the_log_is_fetched_and_what_the_lock_lost_is_skipped() {
    let mut world = World::activated(listening());
    // While the radio is off the lock logs more than its event queue holds.
    world.agent().link_down();
    for _ in 0..10 {
        world.agent().bolt_moved();
    }
    world.agent().link_up();
    world.live(300_000);
    let lock = world.lock;
    let log = world.batch(|core, _| core.log(lock, 100)).unwrap();
    let mut indices: Vec<u32> = log.iter().filter_map(|row| row.index).collect();
    indices.sort_unstable();
    assert!(indices.len() >= 10, "{indices:?}");
    assert_eq!(indices, (indices[0]..indices[0] + indices.len() as u32).collect::<Vec<_>>());
    assert_eq!(world.count("bolt"), 10, "each once");
    assert_eq!(world.core.as_ref().unwrap().counters().forks, 0, "event and page say the same of an entry");
}

#[test]
fn seen_never_covers_what_did_not_come() {
    let mut world = World::activated(listening());
    let before = world.seen.last().unwrap().seq;
    world.lose_up = 1;
    world.agent().touch();
    world.run();
    let lost = world.ups.last().unwrap().clone();
    world.agent().bolt_moved();
    world.run();
    assert_eq!(world.seen.last().unwrap().seq, before, "a hole stays a hole");
    // The gateway sends it again; what came behind it is covered at once.
    world.restart();
    world.again(&lost);
    assert_eq!(world.seen.last().unwrap().seq, world.seq);
    // A new run of the gateway numbers from 1.
    world.epoch = [2; 8];
    world.seq = 0;
    world.agent().bolt_moved();
    world.run();
    assert_eq!((world.seen.last().unwrap().epoch.0, world.seen.last().unwrap().seq), ([2; 8], world.seq));
}

#[test]
fn a_hole_that_the_gateway_no_longer_fills_is_given_up_aloud() {
    let mut world = World::activated(listening());
    world.lose_up = 1;
    world.agent().touch();
    world.run();
    world.agent().bolt_moved();
    world.run();
    let behind = world.ups[world.ups.len() - 1].clone();
    for _ in 0..3 {
        assert!(world.seen.last().unwrap().seq < behind.seq);
        world.again(&behind);
    }
    assert_eq!(world.seen.last().unwrap().seq, world.seq);
    assert!(world.events.iter().any(|e| matches!(e, PlatformEvent::Site { what, .. } if what == "gap")));
}

#[test]
fn new_keys_leave_the_old_context_receiving_only() {
    let mut world = World::activated(listening());
    // An event that waits in an outbox while the lock makes new keys.
    world.lose_up = 1;
    world.agent().bolt_moved();
    world.run();
    let late = world.ups.last().unwrap().clone();
    // The lock loses its contexts (a new board would do the same) and starts again, known by kid.
    world.agent = None;
    for place in 0..2 {
        use cardea_agent::Storage as _;
        world.nvm.erase(cardea_agent::Slot::Context(place)).unwrap();
    }
    world.boot();
    world.run();
    world.live(60_000);
    assert!(world.events.iter().any(|e| matches!(e, PlatformEvent::Rekeyed { .. })), "{:?}", world.told);
    let (bolts, downs) = (world.count("bolt"), world.downs.len());
    let sealed = world.downs.len();
    world.again(&late);
    assert!(world.count("bolt") >= bolts, "received");
    assert_eq!(world.downs.len(), downs.max(sealed), "and not answered");
    assert_eq!(world.core.as_ref().unwrap().counters().unopened, 0);
    let id = world.ask(Ask::Status, 5_000);
    world.run();
    assert!(world.outcome(id).unwrap().is_success());
}

#[test]
fn what_the_lock_answers_reaches_the_caller() {
    let mut world = World::activated(listening());
    let id = world.ask(Ask::Status, 5_000);
    world.run();
    assert!(
        matches!(world.outcome(id), Some(Outcome::Status { battery: 77, ref firmware, .. }) if firmware == "1.2.3"),
        "{:?}",
        world.outcome(id)
    );
    let id = world.ask(Ask::Battery, 5_000);
    world.run();
    assert!(matches!(world.outcome(id), Some(Outcome::Battery { percent: 77, .. })));
    world.actuator.jam();
    world.agent().touch();
    world.run();
    let id = world.ask(Ask::Unlock, 5_000);
    world.run();
    assert!(matches!(world.outcome(id), Some(Outcome::Jammed { .. })), "{:?}", world.outcome(id));
}

#[test]
fn a_command_behind_one_that_is_out_waits_without_being_due() {
    let mut world = World::activated(listening());
    world.lose_down = 99;
    let first = world.ask(Ask::Unlock, 200_000);
    let second = world.ask(Ask::Lock, 200_000);
    // Eight requests, and then the second has its turn.
    world.live(250_000);
    for id in [first, second] {
        assert!(matches!(world.outcome(id), Some(Outcome::Unanswered { .. })), "{:?}", world.outcome(id));
    }
}

#[test]
fn the_queue_of_one_lock_has_an_end_and_events_still_come() {
    let mut world = World::activated(sleepy());
    world.live(120_000);
    let lock = world.lock;
    let mut held = 0;
    while world.batch(|core, now| core.command(now, lock, Ask::Status, 900_000)).is_ok() {
        held += 1;
        assert!(held < 1_000, "the queue of one lock has an end");
    }
    assert!(held > 1);
    // A lost event leaves a hole, and the next one reveals it.
    world.lose_up = 1;
    world.agent().bolt_moved();
    world.run();
    world.agent().bolt_moved();
    world.run();
    assert!(world.count("bolt") >= 1, "the event itself is taken");
}

#[test]
fn while_the_state_cannot_be_read_no_batch_opens_and_no_lock_is_forgotten() {
    let mut world = World::activated(listening());
    let other = rusqlite::Connection::open(world.dir.path().join("state.db")).unwrap();
    other.execute_batch("ALTER TABLE lock RENAME TO away").unwrap();
    let core = world.core.as_mut().unwrap();
    assert!(core.reload().is_err());
    assert!(core.begin().is_err());
    assert_eq!(core.summaries().len(), 1);
    other.execute_batch("ALTER TABLE away RENAME TO lock").unwrap();
    world.agent().bolt_moved();
    world.run();
    assert_eq!(world.count("bolt"), 1);
}

#[test]
fn a_lock_whose_log_begins_anew_is_called_a_fork_and_overwrites_nothing() {
    use cardea_agent::{LOG_SLOTS, Slot, Storage as _};
    let mut world = World::activated(listening());
    world.agent().bolt_moved();
    world.run();
    let lock = world.lock;
    let before = world.batch(|core, _| core.log(lock, 100)).unwrap();
    // Its memory is put back as far as the log goes; its keys are the same.
    for slot in (0..LOG_SLOTS).map(Slot::Log).chain([Slot::LogMeta]) {
        world.nvm.erase(slot).unwrap();
    }
    world.reset_lock();
    world.live(60_000);
    let forks: Vec<_> = world
        .events
        .iter()
        .filter_map(|event| match event {
            PlatformEvent::Forked { lock: id, log, kept, came, .. } if *id == lock => {
                Some((*log, kept, came))
            }
            _ => None,
        })
        .collect();
    let [(Some(0), kept, came)] = forks[..] else { panic!("{:?}", world.events) };
    assert!(kept.starts_with("bolt 0") && came.starts_with("boot "), "{kept} {came}");
    assert_eq!(world.core.as_ref().unwrap().counters().forks, 1);
    let log = world.batch(|core, _| core.log(lock, 100)).unwrap();
    assert_eq!(log[..before.len()], before, "what was stored stays");
    let beside = world.core.as_mut().unwrap().state_mut().forks(lock).unwrap();
    assert_eq!((beside.len(), beside[0].index), (1, Some(0)));
}
