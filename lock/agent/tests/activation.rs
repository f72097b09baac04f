//! Who may own the lock, and how often strangers may try.

mod common;

use cardea_agent::{AgentEvent, Alarm, HandshakeFailure, Slot};
use cardea_credentials::{OwnerCode, Signer};
use cardea_framing::Kind;
use cardea_oscore::coap::Code;
use cardea_resources::{EventKind, Op, Outcome};

use common::board::key;
use common::platform::{Fault, Platform, datagram};
use common::{CODE, World, outcome};

fn failures(world: &World) -> Vec<HandshakeFailure> {
    world
        .told
        .iter()
        .filter_map(|event| match event {
            AgentEvent::HandshakeFailed(failure) => Some(*failure),
            _ => None,
        })
        .collect()
}

#[test]
fn a_new_lock_and_its_platform_prove_the_code_to_each_other() {
    let mut world = World::new();
    world.boot();
    assert_eq!(world.agent().owner(), None);
    world.run();
    let root = key::signer(9).public().thumbprint();
    assert_eq!(world.agent().owner(), Some(root));
    assert_eq!(world.told[..2], [AgentEvent::Activated { root }, AgentEvent::Connected]);
    assert_eq!(world.platform.lock, world.nvm.get(Slot::Identity));
    // The first OSCORE exchange: the boot event and its answer.
    assert_eq!(world.platform.events.len(), 1);
    assert_eq!(world.platform.events[0].kind, EventKind::Boot);
    assert_eq!(world.nvm.get(Slot::Code), None, "the code is burnt by the first OSCORE message");
}

#[test]
fn the_handshake_fits_fifty_one_bytes_in_fragments() {
    let mut world = World::new();
    world.mtu = 51;
    world.boot();
    world.run();
    assert!(world.agent().owner().is_some(), "{:?}", world.told);
    assert!(world.air.iter().all(|frame| frame.len() <= 51));
}

#[test]
fn the_code_stays_until_the_first_oscore_message_of_the_platform() {
    let mut world = World::new();
    world.platform.answers_events = false;
    world.boot();
    world.run();
    assert!(world.agent().owner().is_some());
    assert!(world.nvm.get(Slot::Code).is_some());
    world.ask("s", Code::GET, &[], None);
    assert_eq!(world.nvm.get(Slot::Code), None);
}

#[test]
fn a_platform_without_the_code_is_refused() {
    for (fault, code) in [(Fault::None, None), (Fault::NoProof, Some(CODE)), (Fault::WrongProof, Some(CODE))]
    {
        let mut world = World::new();
        world.platform.code = code;
        world.platform.fault = fault;
        world.boot();
        world.run();
        assert_eq!(world.agent().owner(), None, "{fault:?}");
        assert!(!world.agent().is_connected());
        assert_eq!(world.nvm.get(Slot::Owner), None);
        assert_eq!(world.nvm.get(Slot::Context(0)), None);
        assert!(world.nvm.get(Slot::Code).is_some());
        assert_eq!(failures(&world), [HandshakeFailure::WrongCode]);
        assert_eq!(world.platform.errors, [1], "the platform is told");
    }
}

#[test]
fn a_platform_with_another_code_refuses_the_lock() {
    let mut world = World::new();
    world.platform.code = Some(OwnerCode::from_bytes([8; 16]));
    world.boot();
    world.run();
    assert_eq!(failures(&world), [HandshakeFailure::Refused]);
    assert_eq!(world.agent().owner(), None);
    // The right code typed in: the lock tries again by itself.
    world.platform.code = Some(CODE);
    world.live(20_000);
    assert!(world.agent().owner().is_some());
}

#[test]
fn a_lost_message_4_is_made_good_by_doing_it_again() {
    let mut world = World::new();
    world.platform.fault = Fault::LoseMessage4;
    world.boot();
    world.run();
    assert_eq!(world.agent().owner(), None);
    world.platform.fault = Fault::None;
    world.live(60_000);
    assert!(world.agent().owner().is_some());
    assert_eq!(world.platform.handshakes, 2);
}

#[test]
fn a_platform_that_forgot_before_the_code_was_burnt_can_activate_again() {
    let mut world = World::new();
    world.platform.answers_events = false;
    world.boot();
    world.run();
    assert!(world.agent().owner().is_some());
    // Restored from before the activation: same root and key, no lock, no context.
    world.platform = Platform::new(Some(CODE), 1);
    world.platform.answers_events = true;
    world.live(40 * 60_000);
    assert!(world.platform.lock.is_some());
    assert!(!world.platform.events.is_empty());
    assert_eq!(world.nvm.get(Slot::Code), None);
}

#[test]
fn a_platform_from_before_the_activation_is_shown_the_credential_after_the_name_it_does_not_know() {
    let mut world = World::activated();
    assert_eq!(world.nvm.get(Slot::Code), None, "nothing is left to prove");
    let credential = world.platform.lock.clone();
    // Put back: same root and key, no lock, no context, and the code means nothing to it.
    world.platform = Platform::new(None, 1);
    world.platform.knows_key = true;
    world.live(16 * 60_000);
    hint(&mut world);
    assert_eq!(world.platform.names, [("kid", false)]);
    assert_eq!(failures(&world), [HandshakeFailure::Refused]);
    world.live(16 * 60_000);
    assert_eq!(world.platform.names, [("kid", false), ("value", false)], "{:?}", world.told);
    assert_eq!(world.told.last(), Some(&AgentEvent::Connected));
    assert_eq!(world.platform.lock, credential);
    assert!(!world.platform.events.is_empty(), "and it speaks under the new keys");
    // From then on by name.
    hint(&mut world);
    world.live(16 * 60_000);
    assert_eq!(world.platform.names.last(), Some(&("kid", false)));
    assert_eq!(world.told.last(), Some(&AgentEvent::Connected));
}

#[test]
fn name_and_credential_take_turns_and_silence_changes_nothing() {
    let mut world = World::activated();
    world.platform = Platform::new(None, 1);
    world.live(16 * 60_000);
    hint(&mut world);
    world.live(50 * 60_000);
    let turns = [("kid", false), ("value", false), ("kid", false), ("value", false)];
    assert_eq!(world.platform.names, turns);
    // A message_4 that does not come is no error.
    world.platform.lock = Some(world.nvm.get(Slot::Identity).unwrap());
    world.platform.fault = Fault::LoseMessage4;
    world.platform.names.clear();
    world.live(47 * 60_000);
    assert_eq!(world.platform.names, [("kid", false); 3]);
}

#[test]
fn a_forged_error_makes_one_message_longer_and_no_handshake_more() {
    let mut world = World::activated();
    world.live(16 * 60_000);
    world.platform.fault = Fault::ForgedError;
    (world.platform.handshakes, world.platform.names) = (0, Vec::new());
    hint(&mut world);
    world.live(60 * 60_000);
    assert!(world.platform.handshakes <= 5, "{} in an hour", world.platform.handshakes);
    assert!(world.platform.names.starts_with(&[("kid", false), ("value", false), ("kid", false)]));
    // It stops: the lock is back, whichever turn it is, and goes by name.
    world.platform.fault = Fault::None;
    world.live(16 * 60_000);
    assert_eq!(world.told.last(), Some(&AgentEvent::Connected), "{:?}", world.told);
    hint(&mut world);
    world.live(16 * 60_000);
    assert_eq!(world.platform.names.last(), Some(&("kid", false)));
}

#[test]
fn a_stranger_is_never_shown_the_credential() {
    let mut world = World::activated();
    let mut stranger = Platform::under(key::signer(66), None, 1);
    (stranger.knows_key, stranger.by_value) = (true, true);
    world.platform = stranger;
    world.live(16 * 60_000);
    hint(&mut world);
    world.live(60 * 60_000);
    assert!(world.platform.handshakes > 2);
    assert!(world.platform.names.is_empty(), "it gets no message_3 at all");
}

#[test]
fn another_owner_is_refused_once_the_root_is_pinned() {
    for burnt in [true, false] {
        let mut world = World::new();
        world.platform.answers_events = burnt;
        world.boot();
        world.run();
        let owner = world.agent().owner();
        let mut stranger = Platform::under(key::signer(66), Some(CODE), 1);
        stranger.lock = world.platform.lock.clone();
        stranger.by_value = true;
        world.platform = stranger;
        world.told.clear();
        hint(&mut world);
        world.live(16 * 60_000);
        assert!(world.platform.handshakes > 0);
        assert!(failures(&world).iter().all(|failure| *failure == HandshakeFailure::Credential));
        assert!(!failures(&world).is_empty());
        assert_eq!(world.agent().owner(), owner);
    }
}

#[test]
fn an_older_platform_key_is_refused_and_a_newer_one_is_taken() {
    let mut world = World::new();
    world.platform = Platform::new(Some(CODE), 5);
    world.boot();
    world.run();
    assert!(world.agent().owner().is_some());
    world.platform.rotate(4);
    hint(&mut world);
    world.live(16 * 60_000);
    assert_eq!(failures(&world), [HandshakeFailure::Credential]);
    world.told.clear();
    world.platform.rotate(6);
    hint(&mut world);
    world.live(16 * 60_000);
    assert_eq!(world.told, [AgentEvent::Connected]);
    let stored = world.nvm.get(Slot::Owner).unwrap();
    assert!(stored.windows(world.platform.cwt.len()).any(|bytes| bytes == world.platform.cwt));
    // And version 5 is now the older one.
    world.platform.rotate(5);
    world.told.clear();
    hint(&mut world);
    world.live(16 * 60_000);
    assert_eq!(failures(&world), [HandshakeFailure::Credential]);
}

/// "Security context not found" (RFC 8613 §8.2), unprotected.
fn hint(world: &mut World) {
    let mut body = vec![0x40];
    body.extend([0x51, 0x81, 0, 0, 0]);
    let frame = datagram(Kind::PlatformOscore, &body);
    world.agent().handle_frame(&frame);
    world.run();
    world.clock.advance(61_000); // the next hint has the same bytes
}

#[test]
fn hints_start_at_most_one_handshake_in_fifteen_minutes_and_the_old_context_serves_meanwhile() {
    let mut world = World::activated();
    world.platform.handshakes = 0;
    world.live(16 * 60_000);
    for _ in 0..14 {
        hint(&mut world);
    }
    assert_eq!(world.platform.handshakes, 1);
    let challenge = world.touch();
    assert_eq!(outcome(&world.command(1, Op::Unlock, None, Some(&challenge))).outcome, Outcome::Done);
}

#[test]
fn the_old_context_is_kept_until_the_new_one_is_confirmed() {
    let mut world = World::activated();
    world.live(16 * 60_000);
    world.platform.answers_events = false;
    hint(&mut world);
    assert_eq!(world.platform.keys.len(), 2);
    // The lock has both: a request under the old one is served.
    let old = world.platform.request_under(0, "s", Code::GET, &[], None);
    assert_eq!(world.deliver(&old).len(), 1);
    assert!(world.nvm.get(Slot::Context(0)).is_some() && world.nvm.get(Slot::Context(1)).is_some());
    // One under the new one ends the old one, in NVM too.
    assert_eq!(world.ask("s", Code::GET, &[], None).code, Code::CONTENT);
    assert!(world.nvm.get(Slot::Context(0)).is_none());
    let old = world.platform.request_under(0, "s", Code::GET, &[], None);
    assert_eq!(world.deliver(&old).len(), 0);
}

#[test]
fn three_unanswered_events_start_a_new_handshake() {
    let mut world = World::activated();
    world.live(16 * 60_000);
    world.platform.handshakes = 0;
    world.platform.answers_events = false;
    for n in 0..3 {
        assert_eq!(world.platform.handshakes, 0, "after {n}");
        world.touch();
        world.wait(20_000);
    }
    assert_eq!(world.platform.handshakes, 1);
    // Not again before fifteen minutes are over, however long the silence.
    world.live(14 * 60_000);
    assert_eq!(world.platform.handshakes, 1);
    world.live(2 * 60_000);
    assert_eq!(world.platform.handshakes, 2);
}

#[test]
fn silence_on_the_radio_does_not_count_against_the_platform() {
    let mut config = common::config();
    config.answer_ms = 7_000; // the link would still be trying
    let mut world = World::activated_with(config);
    world.live(16 * 60_000);
    world.deaf = true;
    world.air.clear();
    for _ in 0..5 {
        world.agent().touch();
        world.live(120_000);
    }
    let edhoc = |frame: &Vec<u8>| frame[0] >> 3 & 7 == Kind::PlatformEdhoc as u8;
    assert!(!world.air.is_empty());
    assert!(!world.air.iter().any(edhoc));
}

#[test]
fn five_wrong_handshakes_close_the_unauthenticated_path_for_ninety_seconds() {
    let mut world = World::new();
    world.platform.fault = Fault::BrokenMessage2;
    world.boot();
    world.run();
    let alarm = AgentEvent::Alarm(Alarm::TooManyWrong);
    for _ in 0..4 {
        assert!(!world.told.contains(&alarm));
        world.agent().touch(); // somebody is impatient
        world.run();
    }
    assert!(world.told.contains(&alarm), "{:?}", world.told);
    let handshakes = world.platform.handshakes;
    assert_eq!(handshakes, 5);
    world.platform.fault = Fault::None;
    world.clock.advance(89_000);
    world.agent().touch();
    world.run();
    assert_eq!(world.platform.handshakes, handshakes);
    world.live(200_000);
    assert!(world.agent().owner().is_some());
}

#[test]
fn spoiled_handshakes_cost_no_more_than_the_ninety_seconds_of_the_abuse_limit() {
    let mut world = World::new();
    world.platform.fault = Fault::BrokenMessage2;
    world.boot();
    world.live(2 * 3_600_000);
    assert_eq!(world.agent().owner(), None);
    // Whenever the spoiler stops, the lock is back within that time.
    world.platform.fault = Fault::None;
    world.live(91_000);
    assert!(world.agent().owner().is_some(), "{:?}", world.told);
}

#[test]
fn a_flood_of_handshake_frames_does_not_keep_the_owner_out() {
    let mut world = World::activated();
    for n in 0..1000u32 {
        let mut body = vec![(n % 48) as u8 % 24, 0x58, 0x30];
        body.extend([n as u8; 48]);
        body.extend(n.to_be_bytes());
        let frame = datagram(Kind::PlatformEdhoc, &body);
        world.agent().handle_frame(&frame);
    }
    let challenge = world.touch();
    assert_eq!(outcome(&world.command(1, Op::Unlock, None, Some(&challenge))).outcome, Outcome::Done);
}

#[test]
fn the_credential_is_the_same_bytes_for_life() {
    let mut world = World::activated();
    let before = world.nvm.get(Slot::Identity);
    world.reset();
    world.run();
    assert_eq!(world.nvm.get(Slot::Identity), before);
}
