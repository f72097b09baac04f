//! The whole agent on simulated flash: every scenario with the power cut at every program and erase, in every way.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    dead_code,
    missing_docs
)]

#[path = "../../agent/tests/common/mod.rs"]
mod common;
#[path = "../../agent/tests/common/cuts.rs"]
mod cuts;
#[path = "common/sim.rs"]
mod sim;

use std::rc::Rc;

use cardea_agent::{Slot, Storage};
use cardea_flash::Flash;
use common::board::TestNvm;
use cuts::{Medium, Scenario, cut_everywhere, scenarios};
use sim::{Sim, TEARS};

type Chip = Sim<8, 4096>;

/// A formatted chip, with a bank that is nearly full or not.
fn flash(full: bool) -> Medium {
    let chip = Chip::new(10, 1);
    let mut flash = Flash::format(chip.clone(), chip.region()).unwrap();
    if full {
        for n in 0..30_u8 {
            flash.write(Slot::Uses, &[n; 100]).unwrap();
        }
        flash.erase(Slot::Uses).unwrap();
        for n in 0..55_u8 {
            flash.write(Slot::Time, &[n; 29]).unwrap();
        }
    }
    let mounted = chip.clone();
    let mount = move || -> Box<dyn Storage> {
        Box::new(Flash::mount(mounted.clone(), mounted.region()).unwrap_or_else(|error| panic!("{error}")))
    };
    let (cutting, healing) = (chip.clone(), chip);
    Medium {
        nvm: TestNvm::over(Rc::new(mount)),
        cut: Box::new(move |at, way| cutting.cut_at(at, TEARS[way])),
        ways: TEARS.len(),
        on: Box::new(move |seed| healing.power_on(seed)),
    }
}

fn everywhere(which: impl Fn(&Scenario) -> bool, full: bool, twice: Option<usize>) {
    let (mut first, mut second) = (0, 0);
    for scenario in scenarios().filter(|scenario| which(scenario)) {
        let (once, again) = cut_everywhere(scenario, || flash(full), twice);
        println!("{}: {once} cuts, {again} second cuts", scenario.name);
        assert!(once > 7, "{}", scenario.name);
        (first, second) = (first + once, second + again);
    }
    println!("together: {first} cuts, {second} second cuts");
    assert!(first > 50 && (twice.is_none() || second > 100), "{first} and {second}");
}

#[test]
fn activation_and_keys_survive_every_cut_of_the_flash() {
    everywhere(
        |scenario| matches!(scenario.name, "activation" | "new context" | "new platform key"),
        false,
        None,
    );
}

#[test]
fn commands_grants_and_pins_survive_every_cut_of_the_flash() {
    let names = ["command", "a grant for one use", "PINs, wrong and right", "PIN change", "log cursor"];
    everywhere(|scenario| names.contains(&scenario.name), false, None);
}

#[test]
fn revocation_lists_survive_every_cut_of_the_flash() {
    everywhere(|scenario| scenario.name == "revocation list", false, None);
}

#[test]
fn additions_and_authorities_of_a_site_survive_every_cut_of_the_flash() {
    let names = ["additions of the site", "a site and its authorities", "the platform says what counts"];
    everywhere(|scenario| names.contains(&scenario.name), false, None);
}

#[test]
fn an_owner_reset_survives_every_cut_of_the_flash() {
    everywhere(|scenario| scenario.name == "owner reset", false, None);
}

#[test]
fn a_command_survives_two_cuts_of_the_flash() {
    everywhere(|scenario| scenario.name == "command", false, Some(2));
}
