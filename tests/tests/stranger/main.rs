//! A second lock, written in Python from docs/protocol.md and the RFCs alone, with the platform's session core, a
//! gateway's link and the real daemon. What these understand of each other is in the document.

mod gateway;
mod imposter;
mod judged;
mod lock;
mod peers;
mod raw;
mod reference;
mod transcript;
mod world;

use cardea_framing::Kind;
use cardea_sdk::{Ask, Bolt, Outcome, OwnerCode, PlatformEvent};
use cardea_tests::venv;

use raw::datagram;
use world::World;

fn unlocked(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Done { bolt: Bolt::Unlocked, .. })
}

fn rekeyed(world: &World) -> usize {
    world.count(|e| matches!(e, PlatformEvent::Rekeyed { .. }))
}

#[test]
fn the_strangers_pieces_agree_with_the_vectors_of_other_programs_and_with_the_documents_examples() {
    let Some(mut python) = venv::python("stranger_vectors.py") else { return };
    let done = python.env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{said}{complained}");
    println!("{said}");
}

#[test]
fn a_stranger_is_activated_answers_and_obeys_on_its_challenge_and_takes_no_replay() {
    let Some(mut world) = World::new(None) else { return };
    world.activate();
    let status = world.ask(Ask::Status);
    let Outcome::Status { bolt: Bolt::Locked, battery: 87, firmware, .. } = &status else {
        panic!("{status}")
    };
    assert_eq!(firmware, "1.2.3");

    world.at_the_lock("touch");
    world.run_until("a touch", |world| (world.reported("touch") == 1).then_some(()));
    let outcome = world.ask(Ask::Unlock);
    assert!(unlocked(&outcome), "{outcome}");
    assert_eq!(world.inside("echoes"), ["0"], "the challenge was enough");
    assert_eq!(world.lock().motor(), 1);

    // Everything that was ever said to this lock, again, past the link's memory of repeats.
    world.run_for(200_000);
    for datagram in world.downs.clone() {
        world.down(datagram);
    }
    world.run_for(60_000);
    assert_eq!(world.lock().motor(), 1, "a replay moved the bolt");
    assert!(matches!(world.ask(Ask::Lock), Outcome::Done { bolt: Bolt::Locked, .. }));
    assert_eq!(world.lock().motor(), 2);
}

#[test]
fn a_stranger_whose_owner_code_is_another_stays_nobodys() {
    let Some(mut world) = World::new(Some(&OwnerCode::from_bytes([9; 16]))) else { return };
    world.link_up();
    world.run_for(60_000);
    let refused = |e: &PlatformEvent| matches!(e, PlatformEvent::ActivationRefused { why: "wrong_code", .. });
    assert!(world.count(refused) > 0, "{:?}", world.events);
    assert_eq!(world.inside("owner"), ["-", "code", "0"]);
}

#[test]
fn after_a_power_cut_a_stranger_wants_an_echo_first_and_keeps_owner_and_context() {
    let Some(mut world) = World::new(None) else { return };
    world.activate();
    assert!(unlocked(&world.ask(Ask::Unlock)));
    // Until the log entry of that is told: a hole would make the platform ask for it first.
    world.run_for(20_000);
    world.power_cut();
    assert_eq!(world.inside("echoes"), ["0"]);
    let outcome = world.ask(Ask::Unlock);
    assert!(unlocked(&outcome), "{outcome}");
    assert_ne!(world.inside("echoes"), ["0"]);
    assert_eq!(world.lock().motor(), 2);
    assert_eq!(world.count(|e| matches!(e, PlatformEvent::Activated { .. })), 1);
    assert_eq!(rekeyed(&world), 0);
}

#[test]
fn a_stranger_erases_from_its_log_what_the_platform_holds_and_the_platform_fetches_what_it_missed() {
    let Some(mut world) = World::new(None) else { return };
    world.activate();
    for position in [1, 0, 1] {
        world.at_the_lock(&format!("door {position}"));
        world.run_for(1_000);
    }
    assert_eq!(world.stored(), [(0, "door".into()), (1, "door".into()), (2, "door".into())]);
    assert_eq!(world.inside("log"), ["3", "3", "0"], "cursor, end, entries left");

    // Forty entries that the platform does not hear, and one more that it does: two pages of its own accord.
    world.platform_hears = false;
    for n in 0..40 {
        world.at_the_lock(&format!("door {}", n & 1));
    }
    world.platform_hears = true;
    world.at_the_lock("door 2");
    world.run_for(20_000);
    for _ in 0..3 {
        assert!(world.ask(Ask::Log).is_success());
        world.run_for(20_000);
    }
    let mut stored: Vec<u32> = world.stored().into_iter().map(|(index, _)| index).collect();
    stored.sort_unstable();
    assert_eq!(stored, (0..44).collect::<Vec<_>>());
    assert_eq!(world.inside("log"), ["44", "44", "0"]);
}

#[test]
fn a_stranger_that_gets_no_answers_makes_a_new_session_by_its_name_and_obeys_under_it() {
    let Some(mut world) = World::new(None) else { return };
    world.activate();
    world.run_for(900_000);
    let before = world.ups.len();
    world.platform_hears = false;
    for _ in 0..3 {
        world.at_the_lock("touch");
        world.run_for(70_000);
    }
    world.platform_hears = true;
    world.run_until("a new session", |world| (rekeyed(world) == 1).then_some(()));
    let handshake: Vec<usize> = world.ups[before..].iter().filter(|up| up[0] == 0).map(Vec::len).collect();
    assert_eq!(handshake.last(), Some(&(1 + 1 + 28)), "header, C_R, message_3 by kid");
    world.run_for(60_000);
    let owner = world.inside("owner");
    assert_eq!(owner[1..], ["-", "1"], "the old context is gone");
    assert!(unlocked(&world.ask(Ask::Unlock)));
}

#[test]
fn a_platform_that_lost_its_sessions_gets_a_new_one_from_a_stranger_whose_events_it_leaves_unanswered() {
    let Some(mut world) = World::new(None) else { return };
    world.activate();
    world.run_for(900_000);
    world.restore_the_platform();
    for _ in 0..3 {
        world.at_the_lock("touch");
        world.run_for(30_000);
    }
    world.run_until("a new session", |world| (rekeyed(world) == 1).then_some(()));
    assert!(unlocked(&world.ask(Ask::Unlock)));
}

/// The code is burnt, so all that is left to prove is the key, which the platform's owner had named in full.
#[test]
fn a_platform_from_before_the_activation_has_either_lock_again() {
    let Some(stranger) = World::new(None) else { return };
    for mut world in [stranger, World::reference()] {
        let before = world.backup();
        world.activate();
        world.run_for(900_000);
        let now = world.time();
        world.put_back(now, &before);
        let begin = world.ups.len();
        world.at_the_lock("touch");
        let recovered = |e: &PlatformEvent| matches!(e, PlatformEvent::Recovered { .. });
        world.run_until("recovery", |world| (world.count(recovered) == 1).then_some(()));
        let threes: Vec<usize> = world.ups[begin..]
            .iter()
            .filter(|up| up[0] == 0 && up[1] != 0xf5 && up.len() > 20)
            .map(Vec::len)
            .collect();
        assert_eq!(
            threes,
            [1 + 1 + 28, 1 + 1 + 178],
            "by its name, then by its credential without a proof of the code"
        );
        assert!(unlocked(&world.ask(Ask::Unlock)));
        assert_eq!(world.count(|e| matches!(e, PlatformEvent::Activated { .. })), 1, "the one before");
    }
}

#[test]
fn a_forged_hint_makes_a_stranger_do_one_handshake_in_a_quarter_of_an_hour_and_nothing_else() {
    let Some(mut world) = World::new(None) else { return };
    world.activate();
    let handshakes = |world: &World| world.ups.iter().filter(|up| up.starts_with(&[0, 0xf5])).count();
    let begin = world.now;
    for n in 0..20_u8 {
        world.down(datagram(Kind::PlatformOscore, &[0x40, 0x51, 0x81, 0, n, n]));
        world.run_for(20_000);
    }
    assert!(handshakes(&world) <= 2, "{} handshakes in {} ms", handshakes(&world), world.now - begin);
    assert!(unlocked(&world.ask(Ask::Unlock)));
}

#[test]
fn a_stranger_is_activated_in_fragments_of_small_frames_of_which_many_get_lost() {
    for (mtu, loses) in [(51, 0), (51, 7), (24, 10), (51, 4)] {
        let Some(mut world) = World::new(None) else { return };
        (world.mtu, world.loses) = (mtu, loses);
        world.link_up();
        world.run_until("activation", |world| (world.reported("boot") > 0).then_some(()));
        // A command lives a minute, which six tries in a row can lose.
        let outcome = (0..3).map(|_| world.ask(Ask::Unlock)).find(unlocked);
        assert!(outcome.is_some(), "mtu {mtu}, one in {loses} lost: {:?}", world.events);
    }
}
