//! New platform keys under the same owner root: every lock learns of them, however late, and never of older ones.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail by panicking

mod common;

use std::{fs, path::Path};

use cardea_agent::{AgentEvent, HandshakeFailure};
use cardea_credentials::{SoftSigner, verify_platform};
use cardea_framing::Kind;
use cardea_sdk::{
    Ask, Error, FileKeys, KeyStore as _, Outcome, Platform, PlatformEvent, Standing, StandingStore as _,
};
use common::{World, listening, sleepy};

fn rotate(dir: &Path) -> Result<u32, Error> {
    let root = FileKeys::owner_root(&dir.join("owner-root.key"))?;
    Platform::rotate(dir, |known| FileKeys::rotate(dir, &root, known))
}

/// The version that the lock has proved to hold.
fn held(world: &World) -> Option<u32> {
    world.core.as_ref()?.summaries()[0].certificate
}

fn answers(world: &mut World) -> bool {
    let id = world.ask(Ask::Status, 5_000);
    world.run();
    world.outcome(id).is_some_and(|outcome| outcome.is_success())
}

fn rekeyed(world: &World) -> usize {
    world.events.iter().filter(|e| matches!(e, PlatformEvent::Rekeyed { .. })).count()
}

#[test]
fn a_lock_that_was_away_when_the_keys_were_rotated_takes_the_new_ones_when_it_comes() {
    for config in [listening(), sleepy()] {
        let mut world = World::activated(config);
        assert_eq!(held(&world), Some(1));
        world.live(1_000_000);
        world.agent().link_down();
        world.core = None;
        assert_eq!(rotate(world.dir.path()).unwrap(), 2);
        world.restart();
        world.live(30 * 86_400_000);
        world.events.clear();
        world.agent().link_up();
        world.agent().bolt_moved();
        world.live(120_000);
        assert_eq!(world.count("bolt"), 1, "under the old keys, which go on");
        assert_eq!((rekeyed(&world), held(&world)), (1, Some(2)), "{:?} {:?}", world.told, world.events);
        world.agent().touch();
        world.run();
        let id = world.ask(Ask::Unlock, 20_000);
        world.run();
        assert!(matches!(world.outcome(id), Some(Outcome::Done { .. })), "{:?}", world.events);
        // From now on it is named again, not shown, and nobody asks for more handshakes.
        world.agent().bolt_moved();
        world.live(3_600_000);
        assert_eq!(rekeyed(&world), 1);
        world.reset_lock();
        world.live(1_000_000);
        assert!(world.agent().is_connected());
    }
}

#[test]
fn a_lock_without_a_session_gets_the_certificate_by_value_at_once() {
    let mut world = World::activated(listening());
    world.core = None;
    rotate(world.dir.path()).unwrap();
    Platform::mark_restored(world.dir.path()).unwrap();
    world.restart();
    world.core = None;
    // Its sessions are gone on both sides.
    fs::remove_file(world.dir.path().join("state.fence")).unwrap();
    world.restart();
    world.agent = None;
    for place in 0..2 {
        use cardea_agent::Storage as _;
        world.nvm.erase(cardea_agent::Slot::Context(place)).unwrap();
    }
    world.boot();
    world.live(60_000);
    let failed = world.told.iter().filter(|e| matches!(e, AgentEvent::HandshakeFailed(_))).count();
    assert_eq!((failed, held(&world)), (0, Some(2)), "{:?}", world.told);
    assert!(answers(&mut world));
}

#[test]
fn a_lost_message_4_leaves_the_lock_with_the_old_certificate_and_nobody_believes_otherwise() {
    let mut world = World::activated(listening());
    world.live(1_000_000);
    world.core = None;
    rotate(world.dir.path()).unwrap();
    world.restart();
    let edhoc = |world: &World| world.downs.iter().filter(|d| d.message.kind == Kind::PlatformEdhoc).count();
    let before = edhoc(&world);
    world.agent().bolt_moved();
    // The answer, the hint and message_2 arrive; message_4 does not.
    let mut downs = world.downs.len();
    while edhoc(&world) == before {
        downs += 1;
        world.run_until_downs(downs);
    }
    world.lose_down = 1;
    world.run();
    assert_eq!(held(&world), Some(1));
    // The platform restarts and no longer knows by which certificate those keys were made.
    world.restart();
    world.live(3_000_000);
    for _ in 0..3 {
        world.agent().bolt_moved();
        world.live(1_000_000);
    }
    assert_eq!(held(&world), Some(2), "{:?}", world.told);
    assert!(answers(&mut world));
}

#[test]
fn an_older_certificate_and_another_one_of_the_same_version_are_refused_by_the_lock() {
    let mut world = World::activated(listening());
    let saved: Vec<_> = ["platform-dh.key", "platform-sign.key", "platform.cwt"]
        .map(|name| (name, fs::read(world.dir.path().join(name)).unwrap()))
        .into();
    let put_back = |world: &World| {
        for (name, bytes) in &saved {
            fs::write(world.dir.path().join(name), bytes).unwrap();
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(world.dir.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
    };
    world.live(1_000_000);
    world.core = None;
    rotate(world.dir.path()).unwrap();
    world.restart();
    world.agent().bolt_moved();
    world.live(60_000);
    assert_eq!(held(&world), Some(2));
    let refuses = |world: &mut World| {
        Platform::mark_restored(world.dir.path()).unwrap();
        world.core = None;
        fs::remove_file(world.dir.path().join("state.fence")).unwrap();
        world.restart();
        world.told.clear();
        for _ in 0..4 {
            world.agent().bolt_moved();
            world.live(1_000_000);
        }
        let wrong = AgentEvent::HandshakeFailed(HandshakeFailure::Credential);
        assert!(world.told.contains(&wrong), "{:?}", world.told);
        assert!(!world.told.contains(&AgentEvent::Connected), "{:?}", world.told);
    };
    // The keys of version 1, put back.
    put_back(&world);
    refuses(&mut world);
    // Rotated once more by somebody who has forgotten that version 2 was given out.
    world.core = None;
    let root = FileKeys::owner_root(&world.dir.path().join("owner-root.key")).unwrap();
    assert_eq!(FileKeys::rotate(world.dir.path(), &root, 0).unwrap(), 2);
    // Shown by value, as it would be by a platform that believes the lock to know nothing.
    world.restart();
    let lock = world.lock;
    world.attempt(|core, _| core.state_mut().put_standing(lock, &Standing::default())).unwrap();
    refuses(&mut world);
    let pinned = Standing { certificate: Some(2), ..Standing::default() };
    world.attempt(|core, _| core.state_mut().put_standing(lock, &pinned)).unwrap();
    // The platform's own rotation knows what its locks hold.
    put_back(&world);
    world.core = None;
    assert_eq!(rotate(world.dir.path()).unwrap(), 3);
    world.restart();
    world.live(3_000_000);
    assert_eq!(held(&world), Some(3), "{:?}", world.told);
    assert!(answers(&mut world));
}

#[test]
fn a_rotation_needs_the_same_root_and_an_idle_platform_and_is_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    Platform::init(dir.path()).unwrap();
    let before = FileKeys::open(dir.path()).unwrap().certificate().to_vec();
    let stranger = SoftSigner::from_bytes(&[9; 32]).unwrap();
    let refused = FileKeys::rotate(dir.path(), &stranger, 0);
    assert!(matches!(&refused, Err(Error::Key { why, .. }) if why.contains("owner root")), "{refused:?}");
    let running = Platform::open(dir.path()).unwrap();
    assert!(matches!(rotate(dir.path()), Err(Error::InUse(_))));
    drop(running);
    fs::File::open(dir.path().join("in-use")).unwrap().lock().unwrap();
    assert_eq!(FileKeys::open(dir.path()).unwrap().certificate(), before);
    // Cut short after its keys were written: no certificate names them, and the next one goes through.
    fs::write(dir.path().join("platform-dh-2.key"), [1; 7]).unwrap();
    fs::write(dir.path().join("platform.cwt.new"), b"half").unwrap();
    assert_eq!(FileKeys::open(dir.path()).unwrap().certificate(), before);
    assert_eq!(rotate(dir.path()).unwrap(), 2);
    let keys = FileKeys::open(dir.path()).unwrap();
    assert_eq!(verify_platform(keys.certificate(), Some(&keys.root())).unwrap().version, 2);
    for gone in ["platform-dh.key", "platform-sign.key", "platform.cwt.new"] {
        assert!(!dir.path().join(gone).exists(), "{gone}");
    }
    assert_eq!(rotate(dir.path()).unwrap(), 3);
    assert!(!dir.path().join("platform-dh-2.key").exists());
    assert!(matches!(Platform::init(dir.path()), Err(Error::AlreadyInitialised(_))));
}
