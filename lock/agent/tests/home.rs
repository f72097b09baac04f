//! An agent boots where it lies, and one that could not is none.

mod common;

use cardea_agent::{AgentEvent, Error, Home, Slot};
use cardea_credentials::Signer;
use cardea_framing::LockId;
use common::World;
use common::board::{Board, key};

/// Boots a lock that has an owner and a context, with a fault at the `n`th access to storage. `None`: it boots, because
/// that one is the last, the log's, without which a lock goes on.
fn faulty(n: usize) -> Option<(World, Home<Board>)> {
    let mut world = World::activated();
    world.agent = None;
    world.nvm.fault_in(n);
    let mut home = Home::new(world.parts(), world.config);
    let Err(error) = home.boot() else { return None };
    assert_eq!(error, Error::Storage, "access {n}");
    assert!(home.agent().is_none(), "access {n}");
    Some((world, home))
}

#[test]
fn a_boot_that_failed_leaves_no_agent_and_the_next_one_is_as_good_as_the_first() {
    let mut faults = 0;
    while let Some((_, mut home)) = faulty(faults) {
        faults += 1;
        let agent = home.boot().unwrap();
        assert!(agent.owner().is_some() && agent.is_connected());
        assert_eq!(agent.poll_event(), None, "nothing is told twice");
        assert_eq!(agent.lock_id(), LockId::from_thumbprint(&key::signer(1).public().thumbprint()));
    }
    assert!(faults > 70, "{faults}: every log slot is read, and more than that");
}

#[test]
fn nothing_is_left_of_what_a_boot_read_that_failed() {
    let mut n = 0;
    while let Some((world, mut home)) = faulty(n) {
        n += 1;
        world.nvm.keep_only(&[Slot::Identity]);
        let agent = home.boot().unwrap();
        assert!(agent.owner().is_none() && !agent.is_connected(), "access {n}");
        assert_eq!(agent.time(), None, "access {n}");
        let told: Vec<AgentEvent> = std::iter::from_fn(|| agent.poll_event()).collect();
        assert_eq!(told, [], "access {n}");
    }
}

#[test]
fn an_agent_that_has_booted_is_not_booted_again() {
    let mut world = World::activated();
    world.agent = None;
    let mut home = Home::new(world.parts(), world.config);
    home.boot().unwrap().link_up();
    world.nvm.reset_count();
    assert!(home.boot().unwrap().is_connected());
    assert_eq!(world.nvm.writes(), []);
    let parts = home.into_parts();
    let mut again = Home::<Board>::new(parts, world.config);
    assert!(again.agent().is_none());
    assert!(again.boot().unwrap().owner().is_some());
}
