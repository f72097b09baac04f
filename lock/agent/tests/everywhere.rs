//! Every scenario of a lock's life with the power cut at every write, lost or done, and again while it recovers.

mod common;
#[path = "common/cuts.rs"]
mod cuts;

use cuts::{SCENARIOS, abstract_medium, cut_everywhere};

#[test]
fn whatever_write_is_cut_and_whatever_write_of_the_recovery_nothing_is_lost_repeated_or_reused() {
    let (mut first, mut second) = (0, 0);
    for scenario in SCENARIOS {
        let (once, again) = cut_everywhere(scenario, abstract_medium, Some(1));
        println!("{}: {once} cuts, {again} second cuts", scenario.name);
        assert!(once > 1, "{}", scenario.name);
        (first, second) = (first + once, second + again);
    }
    println!("together: {first} cuts, {second} second cuts");
    assert!(first >= 70 && second >= 300, "{first} and {second}");
}
