//! Every scenario of a lock's life with the power cut at every write, lost or done, and again while it recovers.

#![allow(clippy::print_stdout)] // how many cases were played

mod common;
#[path = "common/cuts.rs"]
mod cuts;

use cuts::{LIFE, SITE, Scenario, abstract_medium, cut_everywhere};

/// How many cuts were played, and how many second ones.
fn everywhere(scenarios: &[Scenario]) -> (usize, usize) {
    let (mut first, mut second) = (0, 0);
    for scenario in scenarios {
        let (once, again) = cut_everywhere(scenario, abstract_medium, Some(1));
        println!("{}: {once} cuts, {again} second cuts", scenario.name);
        assert!(once > 1, "{}", scenario.name);
        (first, second) = (first + once, second + again);
    }
    println!("together: {first} cuts, {second} second cuts");
    (first, second)
}

#[test]
fn whatever_write_is_cut_and_whatever_write_of_the_recovery_nothing_is_lost_repeated_or_reused() {
    let (first, second) = everywhere(LIFE);
    assert!(first >= 70 && second >= 300, "{first} and {second}");
}

#[test]
fn whatever_write_of_a_list_is_cut_it_is_in_force_or_not_and_nobody_barred_gets_in() {
    let (first, second) = everywhere(SITE);
    assert!(first >= 36 && second >= 140, "{first} and {second}");
}
