//! The relay between a lossy radio, a store that loses what it had not committed, a broker that loses
//! connections and acknowledgements, and a platform that checks every promise. Everything follows from one
//! seed, which a failure prints.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail by panic, and says with which seed"
)]

mod world;

use cardea_core::Custody;
use world::{Faults, World};

fn chaos(seed: u64, custody: Custody) {
    println!("seed {seed} custody {custody:?}");
    let mut world = World::new(seed, custody, Faults::all());
    world.run(120_000);
    world.faults = Faults::none();
    world.settle();
    world.check();
}

#[test]
fn nothing_receipted_is_lost_in_broker_custody() {
    for seed in 1..=15 {
        chaos(seed, Custody::Broker);
    }
}

#[test]
fn nothing_receipted_is_lost_in_platform_custody_though_brokers_forget() {
    for seed in 1_001..=1_015 {
        chaos(seed, Custody::Platform);
    }
}

#[test]
fn frames_acknowledged_within_the_hold_never_touch_the_store() {
    for custody in [Custody::Broker, Custody::Platform] {
        let mut world = World::new(7, custody, Faults::none());
        world.warm_up();
        world.run(60_000);
        world.settle();
        world.check();
        assert!(world.platform.uplinks() > 200, "{} uplinks", world.platform.uplinks());
        assert_eq!(world.store.rows_written, 0, "custody {custody:?}");
        assert_eq!(world.metrics().rows_committed, 0);
    }
}

#[test]
fn a_long_outage_drains_from_the_disk_with_little_in_memory() {
    let mut world = World::new(11, Custody::Broker, Faults::none());
    world.broker_stays_away = true;
    world.run(200_000);
    let metrics = world.metrics();
    assert!(metrics.outbox_rows > 700, "{metrics:?}");
    assert!(metrics.rows_in_memory <= 64, "{metrics:?}");
    world.broker_stays_away = false;
    world.settle();
    world.check();
    assert_eq!(world.metrics().outbox_rows, 0);
    assert!(world.store.is_empty_of_rows());
}
