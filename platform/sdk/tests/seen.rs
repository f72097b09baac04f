//! What a gateway may forget: the cumulative `seen`, holes in its numbering, and what is kept to know it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail by panicking

mod common;

use cardea_envelope::Uplink;
use cardea_framing::{Class, Datagram, Kind, LockId};
use cardea_sdk::{PlatformEvent, State as _};
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
