//! Ownership: both sides prove the code, wrong codes and second keys get nowhere, new keys come when needed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail by panicking

mod common;

use cardea_credentials::{Activation, ActivationStatus, OwnerCode, Signer as _};
use cardea_framing::Kind;
use cardea_sdk::{
    Ask, FileKeys, KeyStore as _, LockName, Outcome, Platform, PlatformEvent, Stage, State as _,
};
use common::{CODE, GATEWAY, World, board::key, listening};

fn refused(world: &World) -> Vec<&'static str> {
    world
        .events
        .iter()
        .filter_map(|e| match e {
            PlatformEvent::ActivationRefused { why, .. } => Some(*why),
            _ => None,
        })
        .collect()
}

/// The signed words for the pairing page, in order.
fn statuses(world: &World) -> Vec<Activation> {
    let keys = FileKeys::open(world.dir.path()).unwrap();
    world
        .downs
        .iter()
        .filter(|d| d.message.kind == Kind::Site)
        .map(|d| {
            let body = &d.message.data.0[1..];
            let status = ActivationStatus::verify(body, GATEWAY, &keys.signer().public()).unwrap();
            assert_eq!(status.lock_id(), world.lock.0);
            assert!(world.ups.iter().any(|u| u.id.0 == status.nonce), "the nonce names a message_3");
            status.outcome
        })
        .collect()
}

#[test]
fn activation_pins_the_root_burns_the_code_and_tells_the_pairing_page() {
    let mut world = World::activated(listening());
    let root = FileKeys::open(world.dir.path()).unwrap().root().thumbprint();
    assert_eq!(world.agent().owner(), Some(root));
    assert_eq!(statuses(&world), [Activation::Activated]);
    let summary = world.core.as_ref().unwrap().summaries().remove(0);
    assert_eq!(summary.stage, Stage::Owned, "the boot event burnt the code");
    assert_eq!(summary.thumbprint, Some(key::signer(1).public().thumbprint()));
    assert_eq!(summary.gateway.as_deref(), Some(GATEWAY));
}

#[test]
fn a_wrong_code_is_refused_signed_and_throttled_without_touching_other_locks() {
    let mut world = World::new(listening());
    world.enroll(&OwnerCode::from_bytes([8; 16]));
    let other = "0102030405060708".parse::<LockName>().unwrap();
    world.batch(|core, _| core.enroll(other, &CODE).unwrap());
    world.boot();
    world.run();
    assert_eq!(refused(&world), ["wrong_code"]);
    assert_eq!(statuses(&world), [Activation::WrongCode]);
    assert_eq!(world.agent().owner(), None);
    // Someone who tries and tries, faster than the agent does.
    for _ in 0..8 {
        world.reset_lock();
        world.run();
    }
    assert_eq!(refused(&world).len(), 5);
    let throttled = world.events.iter().filter(|e| matches!(e, PlatformEvent::Throttled { .. })).count();
    assert_eq!(throttled, 1);
    let silent = world.downs.len();
    world.reset_lock();
    world.run();
    assert_eq!(world.downs.len(), silent, "not even message_2");
    // Another lock is served all the same: its message_1 is answered.
    let message_1 = world.ups.last().unwrap().data.0.clone();
    world.publish_up(other.id(), &message_1);
    assert_eq!(world.downs.len(), silent + 1);
    // The owner mends the code, which opens the door at once.
    world.enroll(&CODE);
    world.reset_lock();
    world.run();
    assert!(world.agent().owner().is_some());
}

#[test]
fn a_lock_that_is_not_enrolled_gets_no_answer_and_its_gateway_keeps_what_it_said() {
    let mut world = World::new(listening());
    world.boot();
    world.run();
    assert_eq!(refused(&world), ["not_enrolled"]);
    assert!(world.downs.is_empty());
    assert!(world.seen.is_empty(), "it may be another platform's: {:?}", world.seen);
    let lock = world.lock;
    assert_eq!(world.core.as_mut().unwrap().state_mut().seen(GATEWAY, lock).unwrap(), None);
    // Enrolled later: the gateway repeats what it has kept. It is too late for a handshake, and costs none.
    let kept = world.ups.clone();
    world.enroll(&CODE);
    world.clock.set(world.clock.now() + 200_000);
    for _ in 0..10 {
        kept.iter().for_each(|uplink| world.again(uplink));
    }
    assert_eq!((world.seen.last().unwrap().seq, world.downs.len()), (world.seq, 0));
    world.reset_lock();
    world.run();
    assert!(world.agent().owner().is_some(), "{:?}", world.told);
}

#[test]
fn an_owner_hears_of_a_foreign_lock_now_and_then_and_not_at_every_repeat() {
    let mut world = World::new(listening());
    world.boot();
    world.run();
    let said = world.ups[0].clone();
    for _ in 0..20 {
        world.clock.set(world.clock.now() + 60_000);
        world.again(&said);
    }
    assert_eq!(refused(&world), ["not_enrolled"; 3]);
    assert_eq!(world.core.as_ref().unwrap().counters().strangers, 21);
}

#[test]
fn a_second_key_under_a_known_id_is_refused() {
    // Enrolled by thumbprint: a key with the same first 8 bytes and another rest would have to be found. Here the
    // registry simply expects another rest.
    let mut world = World::new(listening());
    let mut thumbprint = key::signer(1).public().thumbprint();
    thumbprint[31] ^= 1;
    world.batch(|core, _| core.enroll(LockName::Thumbprint(thumbprint), &CODE).unwrap());
    world.boot();
    world.run();
    assert_eq!(refused(&world), ["second_key"]);
    assert_eq!(world.agent().owner(), None);
    // And enrolling the second key over a known one is refused as well.
    let mut world = World::activated(listening());
    let error = world.batch(|core, _| core.enroll(LockName::Thumbprint(thumbprint), &CODE)).unwrap_err();
    assert!(matches!(error, cardea_sdk::Error::SecondKey(id) if id == world.lock));
}

#[test]
fn another_key_cannot_speak_for_a_lock() {
    // A foreign lock with a sound identity of its own sends under our lock's id.
    let mut world = World::new(listening());
    world.enroll(&CODE);
    world.identity = 5;
    world.boot();
    world.run();
    assert_eq!(refused(&world), ["second_key"]);
    assert!(statuses(&world).is_empty());
}

#[test]
fn a_lost_message_4_does_not_cost_the_activation() {
    let mut world = World::new(listening());
    world.enroll(&CODE);
    world.boot();
    // message_2 passes, message_4 is lost.
    world.run_until_downs(1);
    world.lose_down = 1;
    world.run();
    assert_eq!(world.agent().owner(), None);
    world.live(200_000);
    assert!(world.agent().owner().is_some(), "{:?}", world.told);
    let activated = world.events.iter().filter(|e| matches!(e, PlatformEvent::Activated { .. })).count();
    assert_eq!(activated, 1, "the same code and key: one activation");
    let id = world.ask(Ask::Status, 5_000);
    world.run();
    assert!(world.outcome(id).unwrap().is_success());
}

#[test]
fn the_platform_may_restart_before_every_message() {
    let mut world = World::new(listening());
    world.enroll(&CODE);
    world.restart();
    world.boot();
    world.run_until_downs(1); // message_2
    world.restart(); // forgets the handshake
    world.run();
    assert_eq!(world.agent().owner(), None);
    world.live(120_000); // the lock starts again
    assert!(world.agent().owner().is_some());
    world.restart_often = true;
    for _ in 0..3 {
        world.agent().touch();
        world.run();
        let id = world.ask(Ask::Unlock, 5_000);
        world.run();
        assert!(matches!(world.outcome(id), Some(Outcome::Done { .. })), "{:?}", world.events);
        let id = world.ask(Ask::Status, 5_000);
        world.restart();
        world.run();
        assert!(world.outcome(id).unwrap().is_success(), "the answer finds its question");
    }
    let mut nonces = world.nonces();
    let count = nonces.len();
    nonces.sort();
    nonces.dedup();
    assert_eq!((count, nonces.len()), (6, 6), "no sequence number twice");
}

#[test]
fn a_restored_state_discards_contexts_and_the_lock_makes_new_ones() {
    let mut world = World::activated(listening());
    let backup = world.dir.path().join("backup.db");
    // A backup as people make them: the files are copied while nothing runs.
    world.core = None;
    std::fs::copy(world.dir.path().join("state.db"), &backup).unwrap();
    world.restart();
    for _ in 0..3 {
        let id = world.ask(Ask::Status, 5_000);
        world.run();
        assert!(world.outcome(id).unwrap().is_success());
    }
    let before = world.nonces();
    world.core = None;
    for end in ["state.db", "state.db-wal", "state.db-shm"] {
        let _ = std::fs::remove_file(world.dir.path().join(end));
    }
    std::fs::rename(&backup, world.dir.path().join("state.db")).unwrap();
    world.restart();
    assert!(!world.core.as_ref().unwrap().summaries()[0].session, "noticed by the inode, without being told");
    let id = world.ask(Ask::Status, 1_000);
    world.live(2_000);
    assert!(matches!(world.outcome(id), Some(Outcome::NotSent { .. })), "{:?}", world.outcome(id));
    // Three unanswered events, and the lock starts a new handshake under the pinned root.
    for _ in 0..4 {
        world.agent().bolt_moved();
        world.live(400_000);
    }
    world.live(1_000_000);
    assert!(world.events.iter().any(|e| matches!(e, PlatformEvent::Rekeyed { .. })), "{:?}", world.told);
    let id = world.ask(Ask::Status, 5_000);
    world.run();
    assert!(world.outcome(id).unwrap().is_success());
    assert!(before.len() >= 3);
}

#[test]
fn the_marker_discards_contexts_where_the_inode_cannot_tell() {
    let mut world = World::activated(listening());
    world.core = None;
    Platform::mark_restored(world.dir.path()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let platform = Platform::open(world.dir.path()).unwrap();
        assert!(!platform.locks().await.unwrap()[0].session);
        assert!(matches!(Platform::open(world.dir.path()), Err(cardea_sdk::Error::InUse(_))));
    });
    assert!(!world.dir.path().join("restored").exists());
}

#[test]
fn a_lock_after_an_owner_reset_is_owned_until_its_owner_enrolls_it_again() {
    let mut world = World::activated(listening());
    // What an owner reset does in the lock: owner and sessions go, a code is there again.
    let code = OwnerCode::from_bytes([9; 16]);
    {
        use cardea_agent::{Slot, Storage as _};
        for slot in [Slot::Owner, Slot::Context(0), Slot::Context(1)] {
            world.nvm.erase(slot).unwrap();
        }
        cardea_agent::provision(&mut world.nvm, &code).unwrap();
    }
    world.reset_lock();
    world.run(); // it does not know the platform's kid, and says so
    world.live(60_000); // the certificate comes by value now
    assert_eq!(statuses(&world).last(), Some(&Activation::Owned));
    assert_eq!(world.agent().owner(), None);
    world.enroll(&code);
    world.reset_lock();
    world.run();
    assert!(world.agent().owner().is_some(), "{:?}", world.told);
    assert_eq!(statuses(&world).last(), Some(&Activation::Activated));
}

#[test]
fn a_gateway_name_that_no_status_could_be_addressed_to_is_not_heard() {
    let mut world = World::new(listening());
    world.enroll(&CODE);
    world.topics = cardea_envelope::Topics::new("cardea/v1", &"g".repeat(70)).unwrap();
    world.boot();
    world.run();
    assert!(world.downs.is_empty());
    assert!(world.core.as_ref().unwrap().counters().malformed > 0);
}
