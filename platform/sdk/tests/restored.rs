//! A platform that was put back from an older backup: everything comes back by itself, and nothing comes twice.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail by panicking

mod common;

use cardea_agent::{AgentEvent, HandshakeFailure, Slot};
use cardea_credentials::Signer as _;
use cardea_resources::Op;
use cardea_sdk::{Ask, LockName, Outcome, PinState, Platform, PlatformEvent, Stage, State as _};
use common::{CODE, World, board::key, listening, sleepy};

fn rekeyed(world: &World) -> usize {
    world.events.iter().filter(|e| matches!(e, PlatformEvent::Rekeyed { .. })).count()
}

#[test]
fn the_first_event_after_a_backup_was_put_back_brings_new_keys() {
    for config in [listening(), sleepy()] {
        let mut world = World::activated(config);
        let copy = world.backup();
        world.live(1_000_000);
        world.agent().bolt_moved();
        world.run();
        world.put_back(&copy);
        assert!(!world.core.as_ref().unwrap().summaries()[0].session);
        let hints = world.downs.len();
        world.agent().bolt_moved();
        world.live(60_000);
        // The hint, message_2 and message_4, and the answers under the new keys: no three unanswered events.
        assert_eq!(rekeyed(&world), 1, "{:?} {:?}", world.told, world.events);
        assert!(world.downs.len() > hints);
        let id = world.ask(Ask::Status, 5_000);
        world.agent().touch();
        world.run();
        assert!(world.outcome(id).unwrap().is_success(), "{:?}", world.outcome(id));
    }
}

#[test]
fn a_lock_that_is_hinted_at_all_the_time_makes_new_keys_now_and_then() {
    let mut world = World::activated(listening());
    let copy = world.backup();
    world.live(1_000_000);
    world.put_back(&copy);
    // Its handshakes get no answer, and it goes on to speak under keys that the platform does not have.
    for _ in 0..30 {
        world.lose_down = usize::MAX;
        world.agent().touch();
        world.live(60_000);
    }
    let hints = world.downs.iter().filter(|down| down.message.data.0.get(1) == Some(&0x40)).count();
    assert!((1..=3).contains(&hints), "{hints} in half an hour");
}

#[test]
fn after_a_backup_was_put_back_log_pins_and_commands_go_on_and_nothing_replays() {
    let mut world = World::activated(listening());
    world.set_pin(1, b"1111");
    world.agent().bolt_moved();
    world.live(1_000_000);
    let waits = world.ask(Ask::Lock, 5_000_000); // is carried out before the backup
    world.run();
    assert!(world.outcome(waits).unwrap().is_success());
    world.lose_down = usize::MAX;
    let open = world.ask(Ask::Unlock, 5_000_000);
    world.run();
    let copy = world.backup();
    world.lose_down = 0;
    world.live(30_000);
    assert!(world.outcome(open).unwrap().is_success(), "after the backup was made");
    world.set_pin(2, b"2222");
    for _ in 0..3 {
        world.agent().bolt_moved();
        world.run();
    }
    world.live(1_000_000);
    let (ups, drives) = (world.ups.clone(), world.actuator.drives());
    let used = world.nonces();
    let lock = world.lock;
    let full = world.batch(|core, _| core.log(lock, 1_000)).unwrap();

    world.put_back(&copy);
    let (downs, events) = (world.downs.len(), world.events.len());
    // The broker and a gateway with everything it ever kept deliver it all again.
    ups.iter().for_each(|up| world.again(up));
    let new: Vec<_> =
        world.events[events..].iter().filter(|e| matches!(e, PlatformEvent::Lock { .. })).collect();
    assert!(new.is_empty(), "nothing of before can be opened any more: {new:?}");
    world.live(60_000);
    world.agent().bolt_moved();
    world.live(1_200_000);
    assert_eq!(world.actuator.drives(), drives, "the command of the backup is not sent again");
    assert_eq!(rekeyed(&world), 1, "{:?}", world.told);
    assert!(world.downs.len() > downs);

    // The log goes on behind what the lock has erased by the cursor of the platform that is lost; that is told.
    let stored = world.batch(|core, _| core.log(lock, 1_000)).unwrap();
    let index = |rows: &[cardea_sdk::LogRow]| rows.iter().filter_map(|row| row.index).max().unwrap();
    assert!(index(&stored) > index(&full), "{stored:?}");
    let gaps = world.batch(|core, _| core.log_gaps(lock)).unwrap();
    let holes: Vec<u32> =
        (0..index(&stored)).filter(|i| stored.iter().all(|row| row.index != Some(*i))).collect();
    let named: Vec<u32> = gaps.iter().flat_map(|gap| gap.first..=gap.last).collect();
    assert_eq!(holes, named, "{gaps:?}");
    assert!(!holes.is_empty(), "the test lost nothing, so it shows nothing");
    assert_eq!(world.core.as_ref().unwrap().counters().forks, 0);
    assert!(!world.core.as_ref().unwrap().summaries()[0].fenced);

    assert_eq!(world.pin(1).unwrap().0, PinState::InForce);
    assert_eq!(world.pin(2).unwrap().0, PinState::Conflict, "set by a platform that is forgotten");
    world.set_pin(2, b"4444");
    world.agent().touch();
    world.run();
    let id = world.ask(Ask::Unlock, 20_000);
    world.live(60_000);
    assert!(matches!(world.outcome(id), Some(Outcome::Done { .. })), "{:?}", world.outcome(id));
    assert_eq!(world.pin(2).unwrap().0, PinState::InForce);
    assert_eq!(world.actuator.drives().len(), drives.len() + 1);
    assert_eq!(world.actuator.drives().last(), Some(&Op::Unlock));
    // New keys: no nonce of before is used under the old ones.
    let after = world.nonces();
    assert_eq!(after[..used.len()], used);
}

/// A lock that was activated after the backup that is now in use was made, named as `name` says when it was enrolled.
fn activated_after_the_backup(name: impl Fn(&World) -> LockName) -> World {
    let mut world = World::new(listening());
    let name = name(&world);
    world.batch(|core, _| core.enroll(name, &CODE).unwrap());
    let copy = world.backup();
    world.boot();
    world.run();
    assert!(world.agent().owner().is_some(), "{:?}", world.told);
    world.set_pin(1, b"1111");
    world.agent().bolt_moved();
    world.live(1_000_000);
    assert!(world.nvm.get(Slot::Code).is_none(), "the lock has burnt its code");
    world.put_back(&copy);
    world.events.clear();
    assert_eq!(world.core.as_ref().unwrap().summaries()[0].stage, Stage::Enrolled);
    world
}

fn in_full(_: &World) -> LockName {
    LockName::Thumbprint(key::signer(1).public().thumbprint())
}

fn recovered(world: &World) -> usize {
    world.events.iter().filter(|e| matches!(e, PlatformEvent::Recovered { .. })).count()
}

#[test]
fn a_lock_that_was_activated_after_the_backup_comes_back_by_its_key_without_anybody_at_the_door() {
    let mut world = activated_after_the_backup(in_full);
    world.agent().bolt_moved();
    world.live(20 * 60_000);
    assert_eq!((recovered(&world), rekeyed(&world)), (1, 0), "{:?} {:?}", world.told, world.events);
    assert!(!world.events.iter().any(|e| matches!(e, PlatformEvent::Activated { .. })));
    let record = world.core.as_mut().unwrap().state_mut().inner.locks().unwrap().remove(0);
    assert_eq!((record.stage, record.code.is_some(), record.activation), (Stage::Owned, false, 1));
    let id = world.ask(Ask::Unlock, 20_000);
    world.run();
    assert!(matches!(world.outcome(id), Some(Outcome::Done { .. })), "{:?}", world.outcome(id));
    // What it holds is asked for, its log goes on, and a second handshake is no second recovery.
    assert_eq!(world.pin(1).unwrap().0, PinState::Conflict, "set by a platform that is forgotten");
    let lock = world.lock;
    assert!(world.batch(|core, _| core.log(lock, 100)).unwrap().iter().any(|row| row.index.is_some()));
    let copy = world.backup();
    world.put_back(&copy);
    world.agent().bolt_moved();
    world.live(20 * 60_000);
    assert_eq!((recovered(&world), rekeyed(&world)), (1, 1), "{:?}", world.told);
}

#[test]
fn a_lock_that_only_its_id_names_is_refused_and_the_owner_hears_what_to_do() {
    let mut world = activated_after_the_backup(|world| world.lock.into());
    for _ in 0..3 {
        world.agent().bolt_moved();
        world.live(20 * 60_000);
    }
    assert_eq!(recovered(&world), 0);
    let said =
        world.events.iter().find(|e| matches!(e, PlatformEvent::ActivationRefused { why: "unproven", .. }));
    let said = said.expect("the lock has shown its credential").to_string();
    assert!(said.contains("enroll it again by its full thumbprint"), "{said}");
    // The owner does.
    let name = in_full(&world);
    world.batch(|core, _| core.enroll(name, &CODE).unwrap());
    world.live(40 * 60_000);
    assert_eq!(recovered(&world), 1, "{:?}", world.told);
}

#[test]
fn a_lock_of_another_owner_is_not_recovered_by_naming_it() {
    let mut world = World::activated(listening());
    let owner = world.agent().owner();
    world.live(1_000_000);
    let other = tempfile::tempdir().unwrap();
    Platform::init(other.path()).unwrap();
    world.core = None;
    world.dir = other;
    world.restart();
    let name = in_full(&world);
    world.batch(|core, _| core.enroll(name, &CODE).unwrap());
    for _ in 0..4 {
        world.agent().bolt_moved();
        world.live(16 * 60_000);
    }
    assert!(
        world.told.contains(&AgentEvent::HandshakeFailed(HandshakeFailure::Credential)),
        "{:?}",
        world.told
    );
    assert_eq!((recovered(&world), world.agent().owner()), (0, owner));
    assert_eq!(world.core.as_ref().unwrap().summaries()[0].stage, Stage::Enrolled);
}
