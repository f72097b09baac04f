//! Door, housing, bolt and battery: what is logged, told, in which class and size; and what a rattling sensor costs.
#![allow(clippy::unwrap_used)] // helpers fail by panicking

mod common;

use cardea_agent::{Door, LOG_SLOTS, Slot};
use cardea_framing::{Class, Datagram};
use cardea_oscore::coap::Code;
use cardea_resources::{Bolt, EventKind, LogEntry, LogPage};
use common::World;

/// Does `act`; kind, value and class of the events that the platform got, and the sizes of their frames.
fn told(world: &mut World, act: impl FnOnce(&mut World)) -> Vec<(EventKind, Option<u32>, Class, usize)> {
    world.platform.events.clear();
    world.platform.up.clear();
    act(world);
    world.run();
    let events = world.platform.events.iter().map(|event| (event.kind, event.value));
    let frames = world.platform.up.iter().map(|up| (Datagram::parse(up).unwrap().class, up.len()));
    events.zip(frames).map(|((kind, value), (class, len))| (kind, value, class, len)).collect()
}

/// Entries in NVM by index.
fn log(world: &World) -> Vec<LogEntry> {
    let records = (0..LOG_SLOTS).filter_map(|n| world.nvm.get(Slot::Log(n)));
    let mut entries: Vec<_> = records.map(|record| LogEntry::decode(&record).unwrap()).collect();
    entries.sort_by_key(|entry| entry.index);
    entries
}

fn count(world: &World, kind: EventKind) -> usize {
    log(world).iter().filter(|entry| entry.kind == kind).count()
}

#[test]
fn alarms_are_interactive_and_padded_and_the_rest_is_log() {
    let mut world = World::activated();
    let open = told(&mut world, |world| world.agent().door_moved(Door::Open));
    assert!(matches!(open[..], [(EventKind::Door, Some(1), Class::Log, _)]), "{open:?}");
    let by_hand = told(&mut world, |world| {
        world.actuator.place(Bolt::Unlocked);
        world.agent().bolt_moved();
    });
    assert!(matches!(by_hand[..], [(EventKind::Bolt, Some(1), Class::Log, _)]), "{by_hand:?}");
    let mut alarms = told(&mut world, |world| world.agent().door_moved(Door::Ajar));
    alarms.extend(told(&mut world, |world| world.agent().tampered()));
    alarms.extend(told(&mut world, |world| {
        world.actuator.place(Bolt::Jammed);
        world.agent().bolt_moved();
    }));
    alarms.extend(told(&mut world, |world| {
        world.actuator.set_battery(9);
        world.agent().battery_measured();
    }));
    let (kinds, sizes): (Vec<_>, Vec<_>) =
        alarms.iter().map(|&(kind, value, class, len)| ((kind, value, class), len)).unzip();
    assert_eq!(
        kinds,
        [
            (EventKind::Door, Some(2), Class::Interactive),
            (EventKind::Tamper, None, Class::Interactive),
            (EventKind::Bolt, Some(2), Class::Interactive),
            (EventKind::Battery, Some(9), Class::Interactive),
        ]
    );
    assert!(sizes.iter().all(|&len| len == 48), "one size for all: {sizes:?}");
    let logged: Vec<_> = log(&world).iter().map(|entry| entry.kind).collect();
    use EventKind as Kind;
    assert_eq!(logged, [Kind::Door, Kind::Bolt, Kind::Door, Kind::Tamper, Kind::Bolt, Kind::Battery]);
}

#[test]
fn a_lock_without_owner_logs_and_tells_nothing() {
    let mut world = World::new();
    world.boot();
    world.agent().tampered();
    world.agent().door_moved(Door::Ajar);
    assert_eq!(log(&world), []);
}

#[test]
fn a_low_battery_is_told_once_until_it_recovers_and_again_after_a_reset() {
    let mut world = World::activated();
    for (percent, entries) in [(19, 1), (5, 1), (25, 1), (10, 1), (30, 1), (19, 2), (0, 2)] {
        world.actuator.set_battery(percent);
        world.agent().battery_measured();
        world.run();
        assert_eq!(count(&world, EventKind::Battery), entries, "{percent} %");
    }
    world.reset();
    world.agent().battery_measured();
    assert_eq!(count(&world, EventKind::Battery), 3);
}

#[test]
fn a_rattling_tamper_switch_neither_fills_the_log_nor_keeps_the_radio_busy() {
    let mut world = World::activated();
    world.air.clear();
    world.nvm.reset_count();
    // Four times a second for an hour.
    for _ in 0..4 * 3600 {
        world.clock.advance(250);
        world.agent().tampered();
        world.run();
    }
    let entries: Vec<_> = log(&world).into_iter().filter(|entry| entry.kind == EventKind::Tamper).collect();
    println!("an hour of rattling: {} entries, {} frames", entries.len(), world.air.len());
    assert_eq!(entries.len(), 4 + 3);
    assert!(world.air.len() <= 2 * entries.len(), "{}", world.air.len());
    assert!(world.nvm.writes().len() <= entries.len() + 8, "{:?}", world.nvm.writes());
    // Nothing is lost of how often it was.
    let times: u32 = entries.iter().map(|entry| entry.value.unwrap_or(1)).sum();
    assert!(times >= 14_396 - 3600, "{times}");
    // When it is quiet again, the rest is told by itself, and then a single one at once.
    world.live(60 * 60_000);
    let times: u32 =
        log(&world).iter().filter(|e| e.kind == EventKind::Tamper).map(|e| e.value.unwrap_or(1)).sum();
    assert_eq!(times, 4 * 3600);
    world.live(60 * 60_000);
    let before = count(&world, EventKind::Tamper);
    world.agent().tampered();
    assert_eq!(count(&world, EventKind::Tamper), before + 1);
}

#[test]
fn a_door_that_swings_ends_in_the_log_as_it_stands() {
    let mut world = World::activated();
    for n in 0..200 {
        world.clock.advance(100);
        world.agent().door_moved(if n % 2 == 0 { Door::Open } else { Door::Closed });
        world.run();
    }
    world.agent().door_moved(Door::Ajar);
    assert_eq!(count(&world, EventKind::Door), 16);
    world.live(60_000);
    let last = log(&world).into_iter().rfind(|entry| entry.kind == EventKind::Door).unwrap();
    assert_eq!(last.value, Some(Door::Ajar as u32));
    assert_eq!(count(&world, EventKind::Door), 17);
}

#[test]
fn people_who_come_and_go_are_all_logged() {
    let mut world = World::activated();
    for _ in 0..20 {
        for door in [Door::Open, Door::Closed] {
            world.wait(30_000);
            world.agent().door_moved(door);
        }
    }
    assert_eq!(count(&world, EventKind::Door), 40);
}

/// Full, cut, reset: whatever is missing shows as a hole in the indices, and no index comes twice.
#[test]
fn what_the_log_could_not_take_is_a_gap_that_the_platform_sees() {
    let mut world = World::activated();
    let mut asked = 0;
    while asked < u32::from(LOG_SLOTS) + 10 {
        world.wait(30_000);
        world.agent().door_moved(Door::Open);
        asked += 1;
    }
    // In the middle of writing that one was lost, lost or done.
    for done in [false, true] {
        world.nvm.cut_at(0, done);
        assert!(world.survives_cut(|world| world.agent().door_moved(Door::Open)));
        world.reset();
        world.run();
    }
    let page = |world: &mut World| {
        let mut reply = world.ask("g", Code::GET, &[], None);
        if let Some(echo) = reply.echo.take() {
            reply = world.ask("g", Code::GET, &[], Some(&echo));
        }
        let page = LogPage::decode(&reply.payload).unwrap();
        (page.end, page.entries().map(|entry| entry.index).collect::<Vec<_>>())
    };
    let (end, _) = page(&mut world);
    let kept: Vec<_> = log(&world).iter().map(|entry| entry.index).collect();
    assert_eq!(kept, (0..u32::from(LOG_SLOTS)).collect::<Vec<_>>(), "the oldest are kept");
    // Ten doors, one of two that were cut, two boots: every one has a number.
    assert_eq!(end, u32::from(LOG_SLOTS) + 10 + 1 + 2);
    // Once there is room, the next entry stands behind the gap.
    world.platform.cursor = Some(u32::from(LOG_SLOTS));
    world.touch();
    world.wait(60_000);
    world.agent().door_moved(Door::Closed);
    world.reset();
    world.run();
    let (_, entries) = page(&mut world);
    assert_eq!(entries.first(), Some(&end), "a hole from {LOG_SLOTS} to {end}");
}
