//! What a gateway may forget: the cumulative `seen`, holes in its numbering, and what is kept to know it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail by panicking

mod common;

use cardea_envelope::Uplink;
use cardea_framing::{Class, Datagram, Kind, LockId};
use cardea_sdk::{MAX_AHEAD, MAX_SEEN_GATEWAYS, Noted, PlatformEvent, State as _};
use common::{GATEWAY, World, listening};

const PATIENCE: usize = 3;

/// Publishes one sealed frame that no key opens; what counts here is its number.
fn publish(world: &mut World, lock: LockId) -> Uplink {
    let body = world.seq.to_be_bytes();
    let mut bytes = [0; 16];
    let datagram = Datagram { kind: Kind::PlatformOscore, class: Class::Log, peer: None, body: &body };
    let length = datagram.encode(&mut bytes).unwrap();
    world.publish_up(lock, &bytes[..length]);
    world.ups.last().unwrap().clone()
}

/// Publishes `count` frames that never reach the platform.
fn lose(world: &mut World, count: usize) -> Vec<Uplink> {
    let lock = world.lock;
    world.lose_up = count;
    (0..count).map(|_| publish(world, lock)).collect()
}

fn gaps(world: &World) -> Vec<String> {
    let gap = |e: &PlatformEvent| match e {
        PlatformEvent::Site { what, detail, .. } if what == "gap" => Some(detail.clone()),
        _ => None,
    };
    world.events.iter().filter_map(gap).collect()
}

fn seen(world: &mut World) -> u64 {
    let lock = world.lock;
    let state = world.core.as_mut().unwrap().state_mut();
    state.seen(GATEWAY, lock).unwrap().map_or(0, |row| row.seq)
}

#[test]
fn a_hole_with_several_rows_behind_it_is_given_up_once_and_by_the_lowest() {
    let mut world = World::activated(listening());
    let lock = world.lock;
    lose(&mut world, 2);
    let before = world.seq - 2;
    let behind: Vec<Uplink> = (0..3).map(|_| publish(&mut world, lock)).collect();
    // The gateway sends what it still keeps from the oldest on, again and again.
    for round in 1..=PATIENCE {
        assert_eq!((seen(&mut world), gaps(&world).len()), (before, 0), "before rewind {round}");
        for uplink in &behind {
            world.again(uplink);
        }
    }
    assert_eq!(seen(&mut world), world.seq, "everything behind the hole counts at once");
    assert_eq!(world.seen.last().unwrap().seq, world.seq);
    assert_eq!(gaps(&world), [format!("2 frame(s) of {lock} did not arrive and are not kept any more")]);
}

#[test]
fn a_frame_that_comes_late_fills_its_hole_and_is_no_gap() {
    let mut world = World::activated(listening());
    let lock = world.lock;
    let lost = lose(&mut world, 3);
    let behind: Vec<Uplink> = (0..3).map(|_| publish(&mut world, lock)).collect();
    for uplink in behind.iter().chain(&behind) {
        world.again(uplink);
    }
    // The oldest comes last: the lower one counts from the beginning again.
    for uplink in lost.iter().rev() {
        world.again(uplink);
        world.again(uplink);
    }
    assert_eq!((seen(&mut world), gaps(&world).len()), (world.seq, 0));
}

#[test]
fn the_patience_with_one_run_of_a_gateway_does_not_count_for_the_next() {
    let mut world = World::activated(listening());
    let lock = world.lock;
    lose(&mut world, 1);
    let old = publish(&mut world, lock);
    world.again(&old);
    // A new run, numbered from 1: its hole lies behind a higher number than the old one's.
    world.epoch = [2; 8];
    world.seq = old.seq + 10;
    let new = publish(&mut world, lock);
    for _ in 0..PATIENCE {
        world.again(&new);
    }
    assert_eq!(seen(&mut world), new.seq);
    assert_eq!(gaps(&world).len(), 1);
}

#[test]
fn what_a_batch_that_was_given_up_had_counted_gives_no_hole_up() {
    let mut world = World::activated(listening());
    let lock = world.lock;
    lose(&mut world, 1);
    let before = world.seq - 1;
    let behind = publish(&mut world, lock);
    let name = world.topics.name(&cardea_envelope::Topic::Up(lock));
    let payload = cardea_envelope::Encoding::Json.encode(&behind);
    for _ in 0..=PATIENCE {
        let given_up = world.attempt(|core, now| {
            core.handle_message(now, &name, &payload, false)?;
            Err::<(), _>(cardea_sdk::Error::State("the disk is full".into()))
        });
        assert!(given_up.is_err());
    }
    for round in 0..PATIENCE {
        assert_eq!((seen(&mut world), gaps(&world).len()), (before, 0), "after {round} repeats");
        world.again(&behind);
    }
    assert_eq!(seen(&mut world), world.seq);
}

#[test]
fn a_gap_counts_only_what_did_not_come() {
    let mut world = World::activated(listening());
    let lock = world.lock;
    lose(&mut world, 2);
    publish(&mut world, lock); // telemetry: its gateway does not repeat it
    lose(&mut world, 1);
    let log = publish(&mut world, lock);
    for _ in 0..PATIENCE {
        world.again(&log);
    }
    assert_eq!(seen(&mut world), world.seq);
    assert_eq!(gaps(&world), [format!("3 frame(s) of {lock} did not arrive and are not kept any more")]);
}

#[test]
fn frames_of_another_platforms_lock_are_neither_noted_nor_acknowledged() {
    let mut world = World::activated(listening());
    let other = LockId([9; 8]);
    let told = world.seen.len();
    let theirs: Vec<Uplink> = (0..3).map(|_| publish(&mut world, other)).collect();
    for uplink in theirs.iter().chain(&theirs) {
        world.again(uplink);
    }
    assert_eq!(world.seen.len(), told);
    let epoch = world.epoch;
    let state = world.core.as_mut().unwrap().state_mut();
    assert_eq!(state.seen(GATEWAY, other).unwrap(), None);
    assert_eq!(state.note_ahead(GATEWAY, other, epoch, theirs[2].seq).unwrap(), Noted::New, "not there yet");
}

#[test]
fn full_notes_acknowledge_nothing_that_they_do_not_hold_and_lose_no_frame() {
    let mut world = World::activated(listening());
    let lock = world.lock;
    let before = world.seq;
    let lost = lose(&mut world, 1).remove(0);
    let behind: Vec<Uplink> = (0..MAX_AHEAD + 5).map(|_| publish(&mut world, lock)).collect();
    assert_eq!(world.core.as_ref().unwrap().counters().unnoted, 5);
    // However often the unnoted ones are repeated, they are no repeats, and give no hole up.
    for _ in 0..=PATIENCE {
        behind[MAX_AHEAD..].iter().for_each(|uplink| world.again(uplink));
    }
    assert_eq!((seen(&mut world), gaps(&world).len()), (before, 0));
    // The hole fills: exactly what was noted is covered, and the rest when it comes again.
    world.again(&lost);
    assert_eq!(seen(&mut world), behind[MAX_AHEAD - 1].seq);
    behind[MAX_AHEAD..].iter().for_each(|uplink| world.again(uplink));
    assert_eq!((seen(&mut world), gaps(&world).len()), (world.seq, 0));
}

#[test]
fn a_hole_is_given_up_although_the_notes_were_full_of_higher_numbers() {
    let mut world = World::activated(listening());
    let lock = world.lock;
    lose(&mut world, 1);
    let lowest = lose(&mut world, 1).remove(0);
    for _ in 0..MAX_AHEAD {
        publish(&mut world, lock);
    }
    // The first repeat of the lowest is what notes it.
    for _ in 0..=PATIENCE {
        world.again(&lowest);
    }
    assert_eq!(gaps(&world), [format!("1 frame(s) of {lock} did not arrive and are not kept any more")]);
    assert_eq!(seen(&mut world), world.seq - 1, "the highest had given its place to the lowest");
}

#[test]
fn invented_gateway_names_use_no_more_than_their_places_and_silence_nobody_for_good() {
    let mut world = World::activated(listening());
    let lock = world.lock;
    let truth = world.topics.clone();
    for number in 0..3 * MAX_SEEN_GATEWAYS {
        world.clock.set(world.clock.now() + 1_000);
        world.topics = cardea_envelope::Topics::new("cardea/v1", &format!("invented-{number}")).unwrap();
        let uplink = publish(&mut world, lock);
        world.again(&uplink);
    }
    let state = world.core.as_mut().unwrap().state_mut();
    let kept = (0..3 * MAX_SEEN_GATEWAYS)
        .filter(|number| state.seen(&format!("invented-{number}"), lock).unwrap().is_some())
        .count();
    assert_eq!(kept, MAX_SEEN_GATEWAYS);
    assert_eq!(state.seen(GATEWAY, lock).unwrap(), None, "it was silent for longest");
    // The true gateway is heard at once, and its frames count again after a few repeats.
    world.topics = truth;
    world.agent().bolt_moved();
    world.run();
    assert_eq!(world.count("bolt"), 1);
    let last = world.ups.last().unwrap().clone();
    for _ in 0..PATIENCE {
        world.again(&last);
    }
    assert_eq!(seen(&mut world), world.seq);
    assert_eq!(world.count("bolt"), 1);
}

#[test]
fn a_gateway_that_brings_nothing_for_three_months_is_forgotten_and_one_that_repeats_is_not() {
    let mut world = World::activated(listening());
    let day = 86_400_000;
    let uplink = world.ups.last().unwrap().clone();
    for _ in 0..4 {
        world.clock.set(world.clock.now() + 80 * day);
        world.again(&uplink);
        assert_eq!(seen(&mut world), world.seq);
    }
    world.clock.set(world.clock.now() + 91 * day);
    world.batch(|_, _| ());
    assert_eq!(seen(&mut world), 0);
}
