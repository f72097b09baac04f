//! What a disk that fails may cost: time, and nothing else.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail by panicking

mod common;

use cardea_resources::Op;
use cardea_sdk::{Ask, Error, Outcome};
use common::{World, listening};

#[test]
fn while_the_fence_cannot_be_written_outputs_wait_and_nothing_more_is_taken() {
    let mut world = World::activated(listening());
    world.agent().touch();
    world.run();
    let (downs, events, told) = (world.downs.len(), world.events.len(), world.seen.len());
    world.faults.settle(true);
    let lock = world.lock;
    let id = world.attempt(|core, now| core.command(now, lock, Ask::Unlock, 60_000)).expect("it is stored");
    assert_eq!((world.downs.len(), world.events.len()), (downs, events), "and waits");
    // What comes now is neither taken nor acknowledged, and tried as often as anybody likes.
    world.agent().bolt_moved();
    world.run();
    for _ in 0..3 {
        assert!(matches!(world.settle(), Err(Error::State(_))));
        let core = world.core.as_mut().unwrap();
        assert!(matches!(core.begin(), Err(Error::State(_))));
        core.reload().unwrap(); // forgets only what is not stored
        world.redeliver();
    }
    assert_eq!((world.downs.len(), world.events.len(), world.seen.len()), (downs, events, told));
    assert_eq!(world.unacknowledged.len(), 1);
    assert!(world.actuator.drives().is_empty());

    world.faults.settle(false);
    world.settle().unwrap();
    assert_eq!(world.downs.len(), downs + 1, "once");
    world.redeliver();
    world.run();
    assert!(matches!(world.outcome(id), Some(Outcome::Done { .. })), "{:?}", world.events);
    assert_eq!(world.actuator.drives(), [Op::Unlock]);
    assert_eq!(world.count("bolt"), 1);
    assert_eq!(world.seen.last().unwrap().seq, world.seq);
}

#[test]
fn what_waited_for_the_fence_when_the_process_ended_was_never_sent_and_its_numbers_are_not_used_again() {
    let mut world = World::activated(listening());
    world.agent().touch();
    world.run();
    world.faults.settle(true);
    let lock = world.lock;
    let id = world.attempt(|core, now| core.command(now, lock, Ask::Unlock, 60_000)).unwrap();
    world.faults.settle(false);
    world.restart();
    assert!(world.core.as_ref().unwrap().summaries()[0].session, "the sessions are believed");
    world.live(30_000);
    assert!(matches!(world.outcome(id), Some(Outcome::Done { .. })), "{:?}", world.events);
    assert_eq!(world.actuator.drives(), [Op::Unlock]);
    let mut nonces = world.nonces();
    let count = nonces.len();
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), count, "no sequence number twice");
}

/// A touch, an unlock and an entry of the log, with one step of the state failing on the way.
fn a_morning(fails_after: i64) -> bool {
    let mut world = World::activated(listening());
    world.faults.step(fails_after);
    world.agent().touch();
    world.run();
    world.redeliver();
    let lock = world.lock;
    let unlock = |world: &mut World| world.attempt(|core, now| core.command(now, lock, Ask::Unlock, 90_000));
    // Whoever hears an error has not been obeyed, and asks again.
    let id = match unlock(&mut world) {
        Ok(id) => id,
        Err(_) => unlock(&mut world).unwrap(), // one step fails
    };
    world.run();
    world.agent().bolt_moved();
    world.run();
    world.redeliver();
    world.live(80_000);
    let met = world.faults.met();
    assert!(matches!(world.outcome(id), Some(Outcome::Done { .. })), "{fails_after}: {:?}", world.events);
    assert_eq!(world.actuator.drives(), [Op::Unlock], "{fails_after}");
    assert_eq!(world.count("bolt"), 1, "{fails_after}");
    assert_eq!(world.seen.last().unwrap().seq, world.seq, "{fails_after}");
    assert!(world.unacknowledged.is_empty(), "{fails_after}");
    let mut nonces = world.nonces();
    let count = nonces.len();
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), count, "{fails_after}: no sequence number twice");
    assert_eq!(world.core.as_ref().unwrap().counters().forks, 0, "{fails_after}");
    met
}

#[test]
fn whatever_step_of_the_state_fails_nothing_is_lost_doubled_or_sent_early() {
    let mut steps = 0;
    while a_morning(steps) {
        steps += 1;
        assert!(steps < 1_000, "the morning never ends");
    }
    println!("{steps} steps");
    assert!(steps > 20, "only {steps} steps were tried");
}
