//! PINs: what is wanted reaches the lock however late, once, and whatever differs is shown.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail by panicking

mod common;

use std::path::Path;

use cardea_agent::{PinResult, Slot};
use cardea_resources::Op;
use cardea_sdk::{Ask, Error, Outcome, PinSetting, PinState, PlatformEvent};
use common::{World, listening, pin_setting, sleepy};

const TAKEN: &str = "another slot of the lock has this PIN; choose another one";

/// Whether these bytes lie in any file of the platform's directory.
fn on_disk(dir: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().any(|file| {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}

fn state(world: &mut World, slot: u8) -> PinState {
    world.pin(slot).unwrap().0
}

fn told(world: &World) -> Vec<(u8, PinState)> {
    world
        .events
        .iter()
        .filter_map(|event| match event {
            PlatformEvent::Pin { slot, state, .. } => Some((*slot, *state)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_pin_is_set_used_and_cleared_and_leading_zeros_count() {
    let mut world = World::activated(listening());
    world.set_pin(3, b"0012");
    world.run();
    assert_eq!(world.pin(3), Some((PinState::InForce, None)), "{:?}", world.events);
    assert_eq!(told(&world), [(3, PinState::InForce)]);
    assert_eq!(world.enter(b"12"), PinResult::Wrong);
    assert_eq!(world.enter(b"0012"), PinResult::Unlocked);
    let used =
        world.events.iter().filter(|e| matches!(e, PlatformEvent::PinUsed { slot: 3, failed: false, .. }));
    assert_eq!(used.count(), 1, "{:?}", world.events);
    world.clear_pin(3);
    world.run();
    assert_eq!(world.pin(3), Some((PinState::Empty, None)));
    assert_eq!(world.enter(b"0012"), PinResult::Wrong);
    assert_eq!(world.actuator.drives(), [Op::Unlock]);
}

#[test]
fn a_pin_lies_on_the_platforms_disk_until_the_lock_has_it_and_no_longer() {
    let mut world = World::activated(sleepy());
    world.live(120_000);
    world.set_pin(0, b"4071183926");
    assert!(
        on_disk(world.dir.path(), b"4071183926"),
        "it must survive a restart, or this test finds nothing"
    );
    world.restart();
    assert!(on_disk(world.dir.path(), b"4071183926"));
    world.agent().touch();
    world.live(60_000);
    assert_eq!(state(&mut world, 0), PinState::InForce);
    assert!(!on_disk(world.dir.path(), b"4071183926"));
    assert_eq!(world.enter(b"4071183926"), PinResult::Unlocked);
    // Nor that of a wish that another one replaced.
    world.live(120_000);
    world.set_pin(0, b"8800550011");
    world.clear_pin(0);
    assert!(!on_disk(world.dir.path(), b"8800550011"));
    for event in &world.events {
        let words = format!("{event} {event:?} {}", serde_json::to_string(event).unwrap());
        assert!(!words.contains("4071183926"), "{words}");
    }
}

#[test]
fn a_pin_for_a_lock_that_is_away_for_weeks_is_told_to_it_when_it_is_heard() {
    const WEEKS: u64 = 5 * 7 * 86_400_000;
    for config in [listening(), sleepy()] {
        let mut world = World::activated(config);
        world.live(120_000);
        world.agent().link_down();
        world.lose_down = usize::MAX;
        world.set_pin(1, b"2580");
        let downs = world.downs.len();
        world.live(WEEKS);
        assert_eq!(state(&mut world, 1), PinState::Waiting);
        let sent = world.downs.len() - downs;
        assert!(sent < 500, "{sent} downlinks for a lock that is away");
        world.restart();
        world.lose_down = 0;
        world.agent().link_up();
        world.agent().bolt_moved();
        world.live(60_000);
        assert_eq!(world.pin(1), Some((PinState::InForce, None)), "{:?}", world.events);
        assert_eq!(world.enter(b"2580"), PinResult::Unlocked);
    }
}

#[test]
fn a_lost_answer_costs_a_repeat_under_the_same_revision() {
    let mut world = World::activated(listening());
    world.set_pin(1, b"1111");
    world.run();
    // The change arrives, its answer is lost, and the platform starts again meanwhile.
    world.agent().touch();
    world.run();
    world.nvm.reset_count();
    world.lose_up = 1;
    world.set_pin(2, b"2222");
    world.run();
    assert!(world.nvm.writes().contains(&Slot::Pin(2)));
    assert_eq!(state(&mut world, 2), PinState::Waiting);
    world.nvm.reset_count();
    world.restart();
    world.live(400_000);
    assert_eq!(state(&mut world, 2), PinState::InForce);
    assert!(!world.nvm.writes().contains(&Slot::Pin(2)), "the lock knows the repeat by its revision");
    // Replaced while it is out: the newer one is what counts.
    world.lose_up = 1;
    world.set_pin(2, b"3333");
    world.run();
    world.set_pin(2, b"4444");
    world.live(400_000);
    assert_eq!(state(&mut world, 2), PinState::InForce);
    assert_eq!(world.enter(b"3333"), PinResult::Wrong);
    assert_eq!(world.enter(b"4444"), PinResult::Unlocked);
}

#[test]
fn a_pin_that_another_slot_has_is_a_conflict_and_stays_one_until_its_owner_chooses() {
    let mut world = World::activated(listening());
    world.set_pin(1, b"1111");
    world.set_pin(2, b"1111");
    world.set_pin(3, b"3333");
    world.live(60_000);
    assert_eq!(state(&mut world, 1), PinState::InForce);
    assert_eq!(world.pin(2), Some((PinState::Conflict, Some(TAKEN))), "{:?}", world.events);
    assert_eq!(state(&mut world, 3), PinState::InForce, "and what comes after it is not held up");
    let downs = world.downs.len();
    world.live(3_600_000);
    assert_eq!(world.downs.len(), downs, "nothing is tried again");
    world.set_pin(2, b"2222");
    world.live(60_000);
    assert_eq!(state(&mut world, 2), PinState::InForce);
}

#[test]
fn a_slot_that_the_lock_does_not_have_is_refused_once_it_has_listed_its_own() {
    let mut world = World::activated(sleepy());
    world.live(120_000);
    world.set_pin(20, b"1111");
    let lock = world.lock;
    let over = world.batch(|core, now| core.set_pin(now, lock, 32, &pin_setting(b"1111")));
    assert!(matches!(over, Err(Error::Pin(_))), "{over:?}");
    world.agent().touch();
    world.live(60_000);
    assert_eq!(world.pin(20), Some((PinState::Conflict, Some("the lock has no such slot"))));
    let known = world.batch(|core, now| core.set_pin(now, lock, 16, &pin_setting(b"1111")));
    assert!(matches!(known, Err(Error::Pin(_))), "{known:?}");
    let stranger = "0102030405060708".parse().unwrap();
    let unknown = world.batch(|core, now| core.set_pin(now, stranger, 0, &pin_setting(b"1111")));
    assert!(matches!(unknown, Err(Error::UnknownLock(_))), "{unknown:?}");
}

#[test]
fn a_pin_has_the_hours_that_were_asked_for_and_none_that_make_no_sense() {
    let mut world = World::activated(listening());
    let now = u32::try_from(world.now().unix / 1000).unwrap();
    let lock = world.lock;
    let set = |world: &mut World, from, until| {
        let setting = PinSetting { not_before: from, not_after: until, ..pin_setting(b"1111") };
        world.batch(|core, now| core.set_pin(now, lock, 1, &setting))
    };
    assert!(matches!(set(&mut world, Some(now + 9), Some(now + 9)), Err(Error::Pin(_))));
    assert!(matches!(set(&mut world, None, Some(now)), Err(Error::Pin(_))));
    set(&mut world, Some(now + 600), Some(now + 1_200)).unwrap();
    world.run();
    assert_eq!(state(&mut world, 1), PinState::InForce);
    assert_eq!(world.enter(b"1111"), PinResult::Wrong);
    world.live(700_000);
    assert_eq!(world.enter(b"1111"), PinResult::Unlocked);
    world.live(700_000);
    assert_eq!(world.enter(b"1111"), PinResult::Wrong);
}

#[test]
fn duress_is_an_event_of_its_own_at_the_platform_and_on_the_air_like_any_pin() {
    let mut world = World::activated(listening());
    let lock = world.lock;
    let duress = PinSetting { duress: true, ..pin_setting(b"9999") };
    world.batch(|core, now| core.set_pin(now, lock, 2, &duress)).unwrap();
    world.set_pin(1, b"1111");
    world.live(30_000);
    let shape = |world: &mut World, digits: &[u8]| {
        let (ups, downs) = (world.ups.len(), world.downs.len());
        assert_eq!(world.enter(digits), PinResult::Unlocked);
        world.live(30_000);
        let ups: Vec<_> = world.ups[ups..].iter().map(|up| (up.class, up.data.0.len())).collect();
        let downs: Vec<_> = world.downs[downs..].iter().map(|down| down.message.data.0.len()).collect();
        (ups, downs)
    };
    let usual = shape(&mut world, b"1111");
    assert_eq!(shape(&mut world, b"9999"), usual);
    let duress = |e: &&PlatformEvent| matches!(e, PlatformEvent::Duress { slot: 2, failed: false, .. });
    let event = world.events.iter().find(duress).unwrap();
    assert!(event.to_string().contains("DURESS"));
    assert!(serde_json::to_string(event).unwrap().contains("\"event\":\"duress\""));
    let used = world.events.iter().filter(|e| matches!(e, PlatformEvent::PinUsed { .. })).count();
    assert_eq!(used, 1, "duress is not told as an ordinary use beside it");
}

#[test]
fn a_platform_from_a_backup_learns_the_locks_revisions_before_it_changes_anything() {
    let mut world = World::activated(listening());
    world.set_pin(1, b"1111");
    world.set_pin(2, b"2222");
    world.live(30_000);
    let copy = world.backup();
    world.set_pin(3, b"3333");
    world.live(30_000);
    world.clear_pin(2);
    world.live(30_000);
    world.put_back(&copy);
    // Under the next revision of the backup this would be a repeat of what slot 3 got: the lock would say yes and do
    // nothing.
    world.set_pin(3, b"4444");
    world.agent().bolt_moved();
    world.live(1_200_000);
    assert_eq!(world.pin(1), Some((PinState::InForce, None)));
    let lost = "the lock does not have it any more; set it again";
    assert_eq!(world.pin(2), Some((PinState::Conflict, Some(lost))), "shown, and left to the owner");
    assert_eq!(state(&mut world, 3), PinState::InForce);
    assert_eq!(world.enter(b"3333"), PinResult::Wrong);
    assert_eq!(world.enter(b"2222"), PinResult::Wrong);
    assert_eq!(world.enter(b"4444"), PinResult::Unlocked);
}

#[test]
fn what_waited_in_a_backup_is_not_done_when_the_backup_is_put_back() {
    let mut world = World::activated(sleepy());
    world.live(120_000);
    world.set_pin(1, b"1111");
    let copy = world.backup();
    world.agent().touch();
    world.live(60_000);
    world.clear_pin(1); // whoever had it has left
    world.agent().touch();
    world.live(60_000);
    assert_eq!(state(&mut world, 1), PinState::Empty);
    world.put_back(&copy);
    assert!(!on_disk(world.dir.path(), b"1111\0"), "nor kept");
    for _ in 0..4 {
        world.agent().bolt_moved();
        world.live(1_000_000);
    }
    assert_eq!(state(&mut world, 1), PinState::Conflict);
    assert_eq!(world.enter(b"1111"), PinResult::Wrong);
}

#[test]
fn a_pin_of_which_a_backup_knows_nothing_is_shown() {
    let mut world = World::activated(listening());
    let copy = world.backup();
    world.set_pin(5, b"5555");
    world.live(30_000);
    world.put_back(&copy);
    world.agent().bolt_moved();
    world.live(1_200_000);
    let (state, why) = world.pin(5).unwrap();
    assert_eq!(state, PinState::Conflict);
    assert!(why.unwrap().contains("not set from here"), "{why:?}");
    world.clear_pin(5);
    world.live(60_000);
    assert_eq!(world.enter(b"5555"), PinResult::Wrong);
}

#[test]
fn changes_are_wanted_of_slots_and_lists_can_be_asked_for() {
    let mut world = World::activated(listening());
    let lock = world.lock;
    let direct = world.batch(|core, now| core.command(now, lock, Ask::PinChange, 5_000));
    assert!(matches!(direct, Err(Error::Pin(_))), "{direct:?}");
    let id = world.ask(Ask::Pins, 5_000);
    world.run();
    assert!(
        matches!(world.outcome(id), Some(Outcome::Pins { capacity: 16, used: 0, .. })),
        "{:?}",
        world.outcome(id)
    );
}

/// A wish and a use, with one step of the state failing on the way.
fn an_afternoon(fails_after: i64) -> bool {
    let mut world = World::activated(listening());
    let lock = world.lock;
    world.faults.step(fails_after);
    let set =
        |world: &mut World| world.attempt(|core, now| core.set_pin(now, lock, 1, &pin_setting(b"1111")));
    if set(&mut world).is_err() {
        set(&mut world).unwrap(); // one step fails, and whoever hears it asks again
    }
    world.run();
    world.redeliver();
    world.live(400_000);
    let met = world.faults.met();
    world.faults.step(i64::MAX);
    assert_eq!(world.pin(1), Some((PinState::InForce, None)), "{fails_after}: {:?}", world.events);
    assert_eq!(world.enter(b"1111"), PinResult::Unlocked, "{fails_after}");
    met
}

#[test]
fn whatever_step_of_the_state_fails_a_pin_is_set_in_the_end() {
    let mut steps = 0;
    while an_afternoon(steps) {
        steps += 1;
        assert!(steps < 1_000, "the afternoon never ends");
    }
    assert!(steps > 30, "only {steps} steps were tried");
}
