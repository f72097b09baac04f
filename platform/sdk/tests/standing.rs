//! Logs without silent gaps, forks that fence, alarms, the lock's clock, and locks that are let go.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail by panicking

mod common;

use cardea_agent::{Door, LOG_SLOTS, Slot, Storage as _};
use cardea_credentials::{OwnerCode, Release, Releaser, Signer as _, SoftSigner};
use cardea_framing::{Class, Datagram, Kind};
use cardea_resources::{Bolt, Op};
use cardea_sdk::{
    Ask, Error, FileKeys, LockAlarm, LogGap, Outcome, PinState, PlatformEvent, StandingStore as _,
    State as _, sign_release,
};
use common::{CODE, World, board::key, listening, pin_setting, sleepy};

fn alarms(world: &World) -> Vec<LockAlarm> {
    world
        .events
        .iter()
        .filter_map(|event| match event {
            PlatformEvent::Alarm { alarm, .. } => Some(*alarm),
            _ => None,
        })
        .collect()
}

fn indices(world: &mut World) -> Vec<(u32, u32)> {
    let lock = world.lock;
    let log = world.batch(|core, _| core.log(lock, 1_000)).unwrap();
    log.iter().filter_map(|row| Some((row.activation, row.index?))).collect()
}

fn fenced(world: &World) -> bool {
    world.core.as_ref().unwrap().summaries()[0].fenced
}

#[test]
fn alarms_of_a_lock_are_told_as_what_they_are_and_once() {
    let mut world = World::activated(listening());
    world.agent().tampered();
    world.agent().door_moved(Door::Open);
    world.agent().door_moved(Door::Ajar);
    world.run();
    world.actuator.jam();
    world.agent().touch();
    world.run();
    let id = world.ask(Ask::Unlock, 5_000);
    world.run();
    assert!(matches!(world.outcome(id), Some(Outcome::Jammed { .. })));
    world.agent().bolt_moved();
    world.run();
    for _ in 0..5 {
        world.enter(b"9999");
    }
    world.live(60_000);
    let mut told = alarms(&world);
    assert_eq!(told[..3], [LockAlarm::Tamper, LockAlarm::DoorAjar, LockAlarm::Jam], "{told:?}");
    assert_eq!(told.pop(), Some(LockAlarm::PinPadClosed));
    let words: Vec<_> = world.events.iter().map(ToString::to_string).collect();
    assert!(
        words.iter().any(|words| words.ends_with("ALARM, the housing was opened or forced")),
        "{words:?}"
    );
    // Repeats of the gateway raise nothing.
    let before = alarms(&world).len();
    let ups = world.ups.clone();
    ups.iter().for_each(|up| world.again(up));
    assert_eq!(alarms(&world).len(), before);
}

#[test]
fn entries_that_a_full_log_lost_are_a_gap_that_is_told_and_kept() {
    let mut world = World::activated(listening());
    world.agent().link_down();
    let many = u32::from(LOG_SLOTS) + 5;
    for _ in 0..many {
        world.agent().bolt_moved();
        world.live(30_000); // faster moves are put together
    }
    world.agent().link_up();
    world.live(600_000);
    // Room again: what comes now lies behind the gap.
    world.agent().bolt_moved();
    world.live(600_000);
    let lock = world.lock;
    let stored = indices(&mut world);
    let last = stored.iter().map(|(_, index)| *index).max().unwrap();
    let gaps = world.batch(|core, _| core.log_gaps(lock)).unwrap();
    let lost: u32 = gaps.iter().map(|gap| gap.last - gap.first + 1).sum();
    assert_eq!(lost, 5, "{gaps:?}");
    let missing =
        (0..=last).filter(|index| stored.iter().all(|(_, there)| there != index)).collect::<Vec<_>>();
    let named = gaps.iter().flat_map(|gap: &LogGap| gap.first..=gap.last).collect::<Vec<_>>();
    assert_eq!(missing, named, "every missing index is in a gap, and none that is there");
    let told = world.events.iter().filter(|e| matches!(e, PlatformEvent::LogGap { .. })).count();
    assert_eq!(told, gaps.len());
    world.restart();
    assert_eq!(world.batch(|core, _| core.log_gaps(lock)).unwrap(), gaps);
}

#[test]
fn a_hole_that_is_filled_is_no_gap() {
    let mut world = World::activated(listening());
    world.lose_up = 1;
    world.agent().bolt_moved();
    world.run();
    world.agent().bolt_moved();
    world.live(120_000);
    let lock = world.lock;
    assert!(world.batch(|core, _| core.log_gaps(lock)).unwrap().is_empty());
    assert_eq!(world.count("bolt"), 2);
}

/// Puts the lock's log back to its beginning; its keys stay.
fn forget_log(world: &mut World) {
    for slot in (0..LOG_SLOTS).map(Slot::Log).chain([Slot::LogMeta]) {
        world.nvm.erase(slot).unwrap();
    }
    world.reset_lock();
}

#[test]
fn a_forked_lock_is_asked_and_heard_and_not_obeyed_until_it_is_readmitted() {
    let mut world = World::activated(listening());
    world.agent().bolt_moved();
    world.run();
    world.set_pin(1, b"1111");
    world.live(30_000);
    let before = indices(&mut world);
    forget_log(&mut world);
    world.live(60_000);
    assert!(fenced(&world), "{:?}", world.events);
    assert_eq!(world.events.iter().filter(|e| matches!(e, PlatformEvent::Fenced { .. })).count(), 1);
    let lock = world.lock;
    for ask in [Ask::Unlock, Ask::Lock, Ask::Time] {
        let refused = world.batch(|core, now| core.command(now, lock, ask, 5_000));
        assert!(matches!(refused, Err(Error::Fenced(id)) if id == lock), "{refused:?}");
    }
    let id = world.ask(Ask::Status, 5_000);
    world.run();
    assert!(world.outcome(id).unwrap().is_success());
    world.set_pin(2, b"2222");
    world.agent().bolt_moved();
    world.live(600_000);
    assert_eq!(world.pin(2), Some((PinState::Waiting, Some("the lock is fenced"))));
    // It still holds all that it said since: it was sent no cursor.
    let kept: Vec<u32> =
        (0..LOG_SLOTS).filter_map(|n| world.nvm.get(Slot::Log(n)).map(|_| u32::from(n))).collect();
    assert!(kept.len() >= 2, "{kept:?}");
    world.restart();
    assert!(fenced(&world), "and stays so");

    world.batch(|core, now| core.readmit(now, lock)).unwrap();
    assert!(!fenced(&world));
    world.agent().bolt_moved();
    world.live(600_000);
    assert!(!fenced(&world), "{:?}", world.events);
    let log = indices(&mut world);
    assert_eq!(log[..before.len()], before, "what was stored stays");
    let anew: Vec<u32> =
        log.iter().filter(|(activation, _)| *activation == 2).map(|(_, index)| *index).collect();
    assert!(anew.contains(&0) && anew.len() >= 3, "from its beginning, beside the old one: {log:?}");
    assert_eq!(world.pin(2).unwrap().0, PinState::InForce);
    world.agent().touch();
    world.run();
    let id = world.ask(Ask::Unlock, 5_000);
    world.run();
    assert!(matches!(world.outcome(id), Some(Outcome::Done { .. })), "{:?}", world.events);
}

#[test]
fn what_was_to_change_a_lock_ends_when_it_is_fenced() {
    let mut world = World::activated(sleepy());
    world.agent().bolt_moved();
    world.run();
    world.live(120_000);
    let unlock = world.ask(Ask::Unlock, 3_000_000);
    forget_log(&mut world);
    // What it says first contradicts; the unlock that waited for it must not go out with the answer.
    world.live(120_000);
    assert!(fenced(&world));
    assert!(matches!(world.outcome(unlock), Some(Outcome::NotSent { .. })), "{:?}", world.outcome(unlock));
    assert!(world.actuator.drives().is_empty());
}

#[test]
fn a_log_that_ends_before_what_was_said_is_a_fork() {
    let mut world = World::activated(listening());
    for _ in 0..4 {
        world.agent().bolt_moved();
        world.run();
    }
    for slot in (0..LOG_SLOTS).map(Slot::Log).chain([Slot::LogMeta]) {
        world.nvm.erase(slot).unwrap();
    }
    world.agent().link_down();
    world.reset_lock();
    world.lose_up = usize::MAX;
    world.run();
    world.lose_up = 0;
    let id = world.ask(Ask::Log, 60_000);
    world.live(60_000);
    assert!(world.outcome(id).is_some());
    assert!(fenced(&world), "{:?}", world.events);
}

#[test]
fn a_lock_whose_status_says_that_its_clock_is_not_trusted_is_told_the_time() {
    let mut world = World::activated(listening());
    assert!(world.agent().time().unwrap().trusted());
    // No battery-backed clock, and no event of it is answered after the reset.
    world.clock.no_rtc.set(true);
    world.lose_up = usize::MAX;
    world.reset_lock();
    world.run();
    assert_eq!(world.agent().time(), None);
    world.lose_up = 0;
    let id = world.ask(Ask::Status, 20_000);
    world.run();
    let said = world.outcome(id);
    assert!(matches!(said, Some(Outcome::Status { clock_trusted: false, .. })), "{said:?}");
    world.run();
    let told = world.events.iter().filter(|e| {
        matches!(e, PlatformEvent::Ended { ask: Ask::Time, outcome: Outcome::TimeSet { .. }, .. })
    });
    assert_eq!(told.count(), 1, "{:?}", world.events);
    let (real, time) = (world.clock.rtc_ms(), world.agent().time().unwrap());
    assert!(time.trusted() && real.abs_diff(time.unix_ms) <= time.uncertainty_ms, "{time:?} at {real}");
    let id = world.ask(Ask::Status, 20_000);
    world.run();
    assert!(matches!(world.outcome(id), Some(Outcome::Status { clock_trusted: true, .. })));
    let times =
        world.events.iter().filter(|e| matches!(e, PlatformEvent::Ended { ask: Ask::Time, .. })).count();
    assert_eq!(times, 1, "and no second time");
}

#[test]
fn an_old_challenge_does_not_carry_the_time() {
    let mut world = World::activated(listening());
    let id = world.ask(Ask::Status, 20_000);
    world.run();
    assert!(world.outcome(id).unwrap().is_success(), "and the lock is out of the state after a reset");
    world.live(30 * 86_400_000);
    assert!(!world.agent().time().unwrap().trusted(), "the clock has drifted for a month");
    // The challenge arrives, and the answer with the time does not.
    world.lose_down = 1;
    world.agent().touch();
    world.run();
    world.clock.set(world.clock.now() + 20_000);
    let id = world.ask(Ask::Time, 60_000);
    world.run();
    assert!(world.outcome(id).is_some_and(|outcome| outcome.is_success()), "{:?}", world.outcome(id));
    let time = world.agent().time().unwrap();
    assert!(time.uncertainty_ms < 2_000, "by the Echo of a 4.01, not by a challenge of 20 s: {time:?}");
}

/// What the lock sends when its inside button is pressed, as its gateway passes it on.
fn ask_release(world: &mut World, nonce: [u8; 8]) {
    let mut body = vec![5, 0x48];
    body.extend_from_slice(&nonce);
    body.push(0);
    let mut data = vec![0; 64];
    let length = Datagram { kind: Kind::Site, class: Class::Interactive, peer: None, body: &body }
        .encode(&mut data)
        .unwrap();
    let lock = world.lock;
    world.publish_up(lock, &data[..length]);
}

#[test]
fn a_lock_that_asks_is_released_by_the_owner_root_and_by_nobody_else() {
    let mut world = World::activated(listening());
    let (lock, thumbprint) = (world.lock, key::signer(1).public().thumbprint());
    let nonce = [7; 8];
    world.set_pin(1, b"1111");
    world.live(30_000);
    ask_release(&mut world, nonce);
    ask_release(&mut world, nonce);
    let asked = world
        .events
        .iter()
        .filter(|e| matches!(e, PlatformEvent::ReleaseAsked { nonce, .. } if nonce == "0707070707070707"));
    assert_eq!(asked.count(), 1, "{:?}", world.events);

    let root = FileKeys::owner_root(&world.dir.path().join("owner-root.key")).unwrap();
    let stranger = SoftSigner::from_bytes(&[9; 32]).unwrap();
    let release = |world: &mut World, root: &SoftSigner, lock_key, signed: [u8; 8], to| {
        let record = sign_release(root, lock_key, signed, to, 1_800_000_000).unwrap();
        (world.batch(|core, now| core.release(now, lock, nonce, &record)), record)
    };
    for (root, key, signed) in
        [(&stranger, thumbprint, nonce), (&root, [1; 32], nonce), (&root, thumbprint, [8; 8])]
    {
        let (refused, _) = release(&mut world, root, key, signed, None);
        assert!(matches!(refused, Err(Error::Release(_))), "{refused:?}");
    }
    assert!(world.core.as_ref().unwrap().summaries()[0].session, "nothing has changed");

    let next = Some([3; 32]);
    let (done, record) = release(&mut world, &root, thumbprint, nonce, next);
    done.unwrap();
    let down = world.downs.last().unwrap();
    assert_eq!(down.message.kind, Kind::Site);
    let [_, 5, 0x48, sent @ ..] = down.message.data.0.as_slice() else { panic!("{down:?}") };
    assert_eq!((&sent[..8], &sent[8..]), (&nonce[..], record.as_slice()));
    let verified = Release::verify(&sent[8..], &thumbprint, &nonce, &root.public(), None).unwrap();
    assert_eq!((verified.by, verified.to), (Releaser::OwnerRoot, next));

    let summary = world.core.as_ref().unwrap().summaries().remove(0);
    assert!(summary.released && !summary.session);
    assert!(world.core.as_mut().unwrap().state_mut().contexts().unwrap().is_empty());
    assert_eq!(world.pin(1), None);
    let refused = world.batch(|core, now| core.command(now, lock, Ask::Status, 5_000));
    assert!(matches!(refused, Err(Error::Released(_))), "{refused:?}");
    let refused = world.batch(|core, now| core.set_pin(now, lock, 1, &pin_setting(b"1111")));
    assert!(matches!(refused, Err(Error::Released(_))), "{refused:?}");
    // The lock does not know yet, or the gateway never brought it: it is not answered, across restarts.
    world.restart();
    let downs = world.downs.len();
    for _ in 0..4 {
        world.agent().bolt_moved();
        world.live(1_000_000);
    }
    assert_eq!(world.downs.len(), downs);
    assert!(world.core.as_mut().unwrap().state_mut().standings().unwrap()[0].1.released.is_some());
}

#[test]
fn a_released_lock_comes_back_by_its_new_code_or_by_its_owners_word() {
    for reset in [true, false] {
        let mut world = World::activated(listening());
        let (lock, thumbprint) = (world.lock, key::signer(1).public().thumbprint());
        let root = FileKeys::owner_root(&world.dir.path().join("owner-root.key")).unwrap();
        let record = sign_release(&root, thumbprint, [7; 8], None, 1_800_000_000).unwrap();
        world.batch(|core, now| core.release(now, lock, [7; 8], &record)).unwrap();
        if reset {
            let code = OwnerCode::from_bytes([9; 16]);
            for slot in [Slot::Owner, Slot::Context(0), Slot::Context(1)] {
                world.nvm.erase(slot).unwrap();
            }
            cardea_agent::provision(&mut world.nvm, &code).unwrap();
            world.enroll(&CODE);
            world.reset_lock();
            world.live(60_000);
            assert_eq!(world.agent().owner(), None, "not by the old code");
            world.enroll(&code);
            world.reset_lock();
        } else {
            // The door was closed: the lock did not obey, and its owner keeps it.
            world.batch(|core, now| core.readmit(now, lock)).unwrap();
            world.agent().bolt_moved();
        }
        world.live(1_200_000);
        let id = world.ask(Ask::Status, 20_000);
        world.run();
        assert!(
            matches!(world.outcome(id), Some(Outcome::Status { bolt: Bolt::Locked, .. })),
            "{reset}: {:?} {:?}",
            world.told,
            world.events
        );
    }
}

#[test]
fn a_question_that_is_none_is_dropped() {
    let mut world = World::activated(listening());
    let lock = world.lock;
    let count = |world: &World| {
        world.events.iter().filter(|e| matches!(e, PlatformEvent::ReleaseAsked { .. })).count()
    };
    for body in [
        &[5][..],
        &[5, 0x48],
        &[5, 0x47, 1, 2, 3, 4, 5, 6, 7, 0],
        &[4, 0x48, 1, 2, 3, 4, 5, 6, 7, 8, 0],
        &[5, 0x48, 1, 2, 3, 4, 5, 6, 7, 8, 1],
        &[5, 0x48, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0],
    ] {
        let mut data = vec![0; 64];
        let length = Datagram { kind: Kind::Site, class: Class::Interactive, peer: None, body }
            .encode(&mut data)
            .unwrap();
        world.publish_up(lock, &data[..length]);
    }
    assert_eq!(count(&world), 0);
    assert!(!world.actuator.drives().contains(&Op::Unlock));
}
