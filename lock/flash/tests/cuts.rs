//! The power goes at every single program and erase of the flash, in every way, twice; and every slot reads as before or
//! as after, now and for ever.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout)]

mod common;

use std::collections::BTreeMap;

use cardea_agent::{Slot, Storage};
use cardea_flash::Flash;
use common::sim::{Sim, TEARS, Tear};
use common::until_cut;

type Model = BTreeMap<Slot, Vec<u8>>;

#[derive(Clone, Copy, Debug)]
enum Step {
    Write(Slot, u8, usize),
    Erase(Slot),
    /// All PINs and contexts.
    EraseAll,
}

fn is_key(slot: Slot) -> bool {
    matches!(slot, Slot::Pin(_) | Slot::Context(_))
}

impl Step {
    fn run(self, flash: &mut impl Storage) {
        match self {
            Self::Write(slot, byte, len) => flash.write(slot, &vec![byte; len]).unwrap(),
            Self::Erase(slot) => flash.erase(slot).unwrap(),
            Self::EraseAll => flash.erase_all(is_key).unwrap(),
        }
    }

    fn model(self, model: &mut Model) {
        match self {
            Self::Write(slot, byte, len) => drop(model.insert(slot, vec![byte; len])),
            Self::Erase(slot) => drop(model.remove(&slot)),
            Self::EraseAll => model.retain(|&slot, _| !is_key(slot)),
        }
    }
}

/// What a lock does, in little: it appends, replaces keys, erases, fills the bank and moves.
const SCRIPT: &[Step] = &[
    Step::Write(Slot::Ledger, 1, 105),
    Step::Write(Slot::Log(3), 2, 28),
    Step::Write(Slot::Context(1), 0xc2, 48),
    Step::Write(Slot::Sequence(1), 3, 13),
    Step::Erase(Slot::Context(0)),
    Step::Write(Slot::Pin(4), 0xc4, 30),
    Step::Write(Slot::Pin(4), 0xc5, 30),
    Step::Write(Slot::Ledger, 5, 90),
    Step::EraseAll,
    Step::Erase(Slot::Code),
    Step::Write(Slot::Ledger, 6, 1),
];

/// A chip whose bank is nearly full, or nearly empty, and what it holds.
fn prepared<const W: usize, const P: usize>(pages: usize, full: bool) -> (Sim<W, P>, Model) {
    let sim = Sim::<W, P>::new(pages, 1);
    let mut flash = Flash::format(sim.clone(), sim.region()).unwrap();
    let mut model = Model::new();
    let mut steps = vec![
        Step::Write(Slot::Code, 0xc0, 16),
        Step::Write(Slot::Identity, 7, 157),
        Step::Write(Slot::Owner, 8, 280),
        Step::Write(Slot::Context(0), 0xc1, 48),
    ];
    let bank = sim.region().end as usize / 2;
    // Up to where the third or fourth step of the script finds no room.
    let used = 2_000 + 9 * W;
    let mut left = bank.saturating_sub(used);
    let mut n = 0_u8;
    while full && left > 180 {
        n = n.wrapping_add(1);
        steps.push(Step::Write(Slot::Ledger, n, 105));
        left -= 112 + 8usize.next_multiple_of(W.max(4)) + W.max(4);
    }
    for step in steps {
        step.run(&mut flash);
        step.model(&mut model);
    }
    (sim, model)
}

fn read_all(flash: &mut impl Storage) -> Model {
    let mut out = [0; Slot::MAX_LEN];
    let read = |slot| flash.read(slot, &mut out).unwrap().map(|len| (slot, out[..len].to_vec()));
    Slot::all().filter_map(read).collect()
}

fn mount<const W: usize, const P: usize>(sim: &Sim<W, P>) -> Flash<Sim<W, P>> {
    Flash::mount(sim.clone(), sim.region()).unwrap_or_else(|error| panic!("{error}"))
}

/// Secrets of the script are bytes from 0xc0 on, in runs; those that `model` does not hold must not be anywhere.
fn assert_carved_clean<const W: usize, const P: usize>(sim: &Sim<W, P>, model: &Model, when: &str) {
    let chip = sim.0.borrow();
    for byte in 0xc0..0xc6_u8 {
        let held = model.values().any(|record| record.contains(&byte));
        assert!(held || chip.find(&[byte; 6]).is_none(), "{when}: {byte:#x} can be carved out of the flash");
    }
}

/// After the mount, and after some more, with weak bits as they like.
fn check<const W: usize, const P: usize>(
    sim: &Sim<W, P>,
    before: &Model,
    after: &Model,
    seed: u64,
    when: &str,
) -> Model {
    let found = read_all(&mut mount(sim));
    assert!(found == *before || found == *after, "{when}: neither old nor new");
    assert_carved_clean(sim, &found, when);
    for again in 0..3 {
        sim.power_on(seed * 7 + again);
        assert_eq!(read_all(&mut mount(sim)), found, "{when}: reads differently at mount {again}");
    }
    found
}

/// Runs the script from step `from` on until the power goes; the models around the step in which it went.
fn run_script<const W: usize, const P: usize>(
    sim: &Sim<W, P>,
    model: &Model,
    from: usize,
) -> Option<(usize, Model, Model)> {
    let mut flash = until_cut(|| mount(sim))?;
    let mut before = model.clone();
    for (at, step) in SCRIPT.iter().enumerate().skip(from) {
        let mut after = before.clone();
        step.model(&mut after);
        if until_cut(|| step.run(&mut flash)).is_none() {
            return Some((at, before, after));
        }
        before = after;
    }
    Some((SCRIPT.len(), before.clone(), before))
}

fn every_cut<const W: usize, const P: usize>(pages: usize, twice: bool, seeds: u64) -> (usize, usize) {
    let (clean, model) = prepared::<W, P>(pages, !twice);
    let whole = clean.copy();
    let start = whole.0.borrow().ops;
    run_script(&whole, &model, 0).unwrap();
    let ops = whole.0.borrow().ops - start;
    let (mut once, mut again) = (0, 0);
    for at in 0..ops {
        for tear in TEARS {
            for seed in 0..seeds {
                let sim = clean.copy();
                sim.power_on(seed * 131 + at as u64);
                sim.cut_at(at, tear);
                // `None`: in the mount before the script.
                let stopped = run_script(&sim, &model, 0);
                let (step, before, after) = stopped.unwrap_or((0, model.clone(), model.clone()));
                let when = format!("cut {at} {tear:?} seed {seed}, step {:?}", SCRIPT.get(step));
                once += 1;
                if twice {
                    again += second_cuts(&sim, &before, &after, &when);
                }
                sim.power_on(seed + 1);
                let found = check(&sim, &before, &after, seed, &when);
                // And it goes on to the end.
                let next = if found == after { step + 1 } else { step };
                let (end, found, _) = run_script(&sim, &found, next).unwrap();
                assert!(end >= SCRIPT.len(), "{when}");
                sim.power_on(3);
                assert_eq!(read_all(&mut mount(&sim)), found, "{when}: to the end");
                assert_carved_clean(&sim, &found, &when);
            }
        }
    }
    (once, again)
}

/// The power goes again at every operation of the mount that follows.
fn second_cuts<const W: usize, const P: usize>(
    sim: &Sim<W, P>,
    before: &Model,
    after: &Model,
    when: &str,
) -> usize {
    let mut cases = 0;
    for tear in [Tear::Begun, Tear::Scattered, Tear::Almost] {
        for at in 0.. {
            let sim = sim.copy();
            sim.power_on(at as u64 + 11);
            sim.cut_at(at, tear);
            if until_cut(|| mount(&sim)).is_some() {
                break;
            }
            cases += 1;
            sim.power_on(at as u64 + 12);
            let when = format!("{when}, then {at} {tear:?}");
            let mut held = check(&sim, before, after, at as u64, &when);
            // What is written behind it stays readable, however its weak bits read from now on.
            let step = Step::Write(Slot::Time, 9, 29);
            step.run(&mut mount(&sim));
            step.model(&mut held);
            for seed in 0..4 {
                sim.power_on(at as u64 + 100 * seed);
                assert_eq!(read_all(&mut mount(&sim)), held, "{when}, and a record behind it");
            }
        }
    }
    cases
}

#[test]
fn four_byte_units_every_cut_reads_as_before_or_as_after() {
    let (once, _) = every_cut::<4, 4096>(10, false, 3);
    println!("{once} cuts, units of 4 bytes");
    assert!(once > 2_000, "{once}");
}

#[test]
fn eight_byte_units_every_cut_reads_as_before_or_as_after() {
    let (once, _) = every_cut::<8, 2048>(20, false, 3);
    println!("{once} cuts, units of 8 bytes");
    assert!(once > 2_000, "{once}");
}

#[test]
fn sixteen_byte_units_every_cut_reads_as_before_or_as_after() {
    let (once, _) = every_cut::<16, 8192>(6, false, 2);
    println!("{once} cuts, units of 16 bytes");
    assert!(once > 1_000, "{once}");
}

#[test]
fn a_second_cut_while_the_first_is_being_mended_changes_nothing() {
    let (once, again) = every_cut::<8, 4096>(10, true, 1);
    println!("{once} cuts, {again} second cuts");
    assert!(again > 3_000, "{again}");
}

#[test]
fn a_torn_format_is_no_storage() {
    for tear in TEARS {
        for at in 0.. {
            let sim = Sim::<8, 4096>::new(10, at as u64);
            sim.cut_at(at, tear);
            if until_cut(|| Flash::format(sim.clone(), sim.region()).unwrap()).is_some() {
                break;
            }
            sim.power_on(1);
            if let Ok(mut flash) = Flash::mount(sim.clone(), sim.region()) {
                assert!(matches!(tear, Tear::New | Tear::Almost) && read_all(&mut flash).is_empty());
            }
        }
    }
}
