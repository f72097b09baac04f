//! A second lock, written in Python from docs/protocol.md and the RFCs alone, with the platform's session core, a
//! gateway's link and the real daemon. What these two understand of each other is in the document.

mod lock;
mod raw;
mod world;

use cardea_oscore::coap::Code;
use cardea_sdk::{Ask, Bolt, Outcome, OwnerCode, PlatformEvent};
use cardea_tests::venv;

use raw::Raw;
use world::World;

fn unlocked(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Done { bolt: Bolt::Unlocked, .. })
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
    let Outcome::Status { bolt: Bolt::Locked, battery: 87, firmware, .. } = &status else { panic!("{status}") };
    assert_eq!(firmware, "1.2.3");

    world.at_the_lock("touch");
    world.run_until("a touch", |world| (world.reported("touch") == 1).then_some(()));
    let outcome = world.ask(Ask::Unlock);
    assert!(unlocked(&outcome), "{outcome}");
    assert_eq!(world.lock.inside(world.now, "echoes"), ["0"], "the challenge was enough");
    assert_eq!(world.lock.motor(), 1);

    // Everything that was ever said to this lock, again, past the link's memory of repeats.
    world.run_for(200_000);
    for datagram in world.downs.clone() {
        world.down(datagram);
    }
    world.run_for(60_000);
    assert_eq!(world.lock.motor(), 1, "a replay moved the bolt");
    assert!(matches!(world.ask(Ask::Lock), Outcome::Done { bolt: Bolt::Locked, .. }));
    assert_eq!(world.lock.motor(), 2);
}

#[test]
fn after_a_power_cut_a_stranger_wants_an_echo_first_and_keeps_owner_and_context() {
    let Some(mut world) = World::new(None) else { return };
    world.activate();
    assert!(unlocked(&world.ask(Ask::Unlock)));
    world.power_cut();
    assert_eq!(world.lock.inside(world.now, "echoes"), ["0"]);
    let outcome = world.ask(Ask::Unlock);
    assert!(unlocked(&outcome), "{outcome}");
    assert_ne!(world.lock.inside(world.now, "echoes"), ["0"]);
    assert_eq!(world.lock.motor(), 2);
    assert_eq!(world.count(|e| matches!(e, PlatformEvent::Activated { .. } | PlatformEvent::Rekeyed { .. })), 1);
}
