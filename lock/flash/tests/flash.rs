//! What the storage promises without power cuts: a map of records, erased secrets, even wear, bounded mounts, and what it
//! does with bad flash.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout)]

mod common;

use std::collections::BTreeMap;

use cardea_agent::{Slot, Storage, StorageFault};
use cardea_flash::{Flash, MountError};
use common::sim::Sim;
use proptest::prelude::*;

type Chip = Sim<8, 4096>;

fn formatted() -> (Chip, Flash<Chip>) {
    let sim = Chip::new(10, 1);
    let flash = Flash::format(sim.clone(), sim.region()).unwrap();
    (sim, flash)
}

fn mount(sim: &Chip) -> Result<Flash<Chip>, MountError> {
    Flash::mount(sim.clone(), sim.region())
}

fn read(flash: &mut impl Storage, slot: Slot) -> Option<Vec<u8>> {
    let mut out = [0; Slot::MAX_LEN];
    flash.read(slot, &mut out).unwrap().map(|len| out[..len].to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever is written and erased, in whatever order and with mounts in between, reads like a map.
    #[test]
    fn it_is_a_map(steps in prop::collection::vec((0..Slot::COUNT, 0..=400_usize, any::<u8>(), 0..8_u8), 1..120)) {
        let (sim, mut flash) = formatted();
        let mut model = BTreeMap::new();
        let slots: Vec<_> = Slot::all().collect();
        for (slot, len, byte, what) in steps {
            let slot = slots[slot];
            match what {
                0 => flash = mount(&sim).unwrap(),
                1 => {
                    flash.erase(slot).unwrap();
                    model.remove(&slot);
                }
                _ if len > slot.max_len() => {
                    prop_assert_eq!(flash.write(slot, &vec![byte; len]), Err(StorageFault));
                }
                _ => {
                    flash.write(slot, &vec![byte; len]).unwrap();
                    model.insert(slot, vec![byte; len]);
                }
            }
        }
        for slot in Slot::all() {
            prop_assert_eq!(read(&mut flash, slot), model.get(&slot).cloned());
        }
    }
}

#[test]
fn all_records_at_their_longest_fit_and_can_still_be_replaced() {
    for _ in 0..3 {
        let (sim, mut flash) = formatted();
        for round in 0..4 {
            for slot in Slot::all() {
                flash.write(slot, &vec![round; slot.max_len()]).unwrap();
            }
        }
        let mut flash = mount(&sim).unwrap();
        assert!(Slot::all().all(|slot| read(&mut flash, slot) == Some(vec![3; slot.max_len()])));
    }
}

#[test]
fn what_was_erased_or_replaced_cannot_be_carved() {
    let (sim, mut flash) = formatted();
    flash.write(Slot::Code, b"an owner code 16").unwrap();
    flash.write(Slot::Pin(3), b"verifier of the first").unwrap();
    flash.write(Slot::Pin(3), b"verifier of the second").unwrap();
    assert_eq!(sim.chip().find(b"of the first"), None);
    assert!(sim.chip().find(b"of the second").is_some());
    flash.write(Slot::Context(0), b"keys of a context").unwrap();
    flash.write(Slot::Log(0), b"an entry").unwrap();
    flash.erase(Slot::Code).unwrap();
    assert_eq!(sim.chip().find(b"owner code"), None);
    flash.erase_all(|slot| matches!(slot, Slot::Pin(_) | Slot::Context(_))).unwrap();
    assert_eq!(sim.chip().find(b"of the second"), None);
    assert_eq!(sim.chip().find(b"keys of a"), None);
    assert_eq!(read(&mut flash, Slot::Log(0)).as_deref(), Some(&b"an entry"[..]));
}

#[test]
fn erasing_many_slots_at_once_costs_one_move() {
    let (sim, mut flash) = formatted();
    (0..16).for_each(|n| flash.write(Slot::Pin(n), &[n; 30]).unwrap());
    let before: u32 = sim.chip().erases.iter().sum();
    flash.erase_all(|slot| matches!(slot, Slot::Pin(_))).unwrap();
    let after: u32 = sim.chip().erases.iter().sum();
    assert_eq!(after - before, 5, "the pages of the bank that was left");
}

#[test]
fn pages_wear_alike_and_a_year_of_commands_wears_little() {
    let (sim, mut flash) = formatted();
    flash.write(Slot::Identity, &[1; 157]).unwrap();
    flash.write(Slot::Owner, &[2; 280]).unwrap();
    flash.write(Slot::Context(0), &[3; 48]).unwrap();
    let commands = 10_000;
    for n in 0..commands {
        flash.write(Slot::Ledger, &[4; 105]).unwrap();
        flash.write(Slot::Log((n % 64) as u8), &[5; 28]).unwrap();
        flash.write(Slot::Ledger, &[6; 105]).unwrap();
    }
    let chip = sim.chip();
    let (least, most) = (chip.erases.iter().min().unwrap(), chip.erases.iter().max().unwrap());
    println!(
        "{commands} commands: {least} to {most} erases of a page, {} bytes programmed",
        chip.bytes_programmed
    );
    assert!(most - least <= 1, "{:?}", chip.erases);
    assert!(u64::from(*most) * 10 < commands, "{most}");
}

#[test]
fn a_mount_reads_the_region_about_twice_and_programs_a_header() {
    let (sim, mut flash) = formatted();
    for n in 0..40 {
        flash.write(Slot::Ledger, &[n; 105]).unwrap();
    }
    let before = sim.chip();
    mount(&sim).unwrap();
    let after = sim.chip();
    let read = after.bytes_read - before.bytes_read;
    println!("a mount reads {read} bytes of {}", after.cells.len());
    assert!(read <= 2 * after.cells.len() + 4_096, "{read}");
    assert_eq!(after.bytes_programmed - before.bytes_programmed, 8);
    assert_eq!(after.erases, before.erases);
}

#[test]
fn a_damaged_record_makes_no_sense_and_is_never_an_older_one() {
    let (sim, mut flash) = formatted();
    flash.write(Slot::Sequence(0), b"limit 64.....").unwrap();
    flash.write(Slot::Sequence(0), b"limit 128....").unwrap();
    flash.write(Slot::Log(1), b"later").unwrap();
    let at = sim.chip().find(b"limit 128").unwrap();
    sim.0.borrow_mut().cells[at] ^= 0x40;
    let mut flash = mount(&sim).unwrap();
    assert_eq!(read(&mut flash, Slot::Sequence(0)), Some(Vec::new()));
    assert_eq!(read(&mut flash, Slot::Log(1)).as_deref(), Some(&b"later"[..]));
    // Also after it moved.
    flash.write(Slot::Code, &[1; 16]).unwrap();
    flash.erase(Slot::Code).unwrap();
    let mut flash = mount(&sim).unwrap();
    assert_eq!(read(&mut flash, Slot::Sequence(0)), Some(Vec::new()));
    flash.write(Slot::Sequence(0), b"limit 192....").unwrap();
    assert_eq!(read(&mut mount(&sim).unwrap(), Slot::Sequence(0)).as_deref(), Some(&b"limit 192...."[..]));
}

#[test]
fn damage_that_hides_records_is_told() {
    let (sim, mut flash) = formatted();
    flash.write(Slot::Ledger, &[1; 105]).unwrap();
    let at = sim.chip().find(&[1; 105]).unwrap();
    flash.write(Slot::LogMeta, &[2; 9]).unwrap();
    sim.0.borrow_mut().cells[at - 6] ^= 0x40; // its length
    assert_eq!(mount(&sim).err(), Some(MountError::Damaged));
}

#[test]
fn a_blank_or_foreign_flash_is_never_taken_for_a_new_lock() {
    let sim = Chip::new(10, 1);
    assert_eq!(mount(&sim).err(), Some(MountError::Blank));
    sim.0.borrow_mut().cells[100] = 0;
    assert_eq!(mount(&sim).err(), Some(MountError::Damaged));
    let (sim, _) = formatted();
    sim.0.borrow_mut().cells[3] ^= 1;
    assert_eq!(mount(&sim).err(), Some(MountError::Damaged));
}

#[test]
fn a_region_that_cannot_do_is_refused() {
    let sim = Chip::new(11, 1);
    let format = |region| Flash::format(sim.clone(), region).err();
    assert_eq!(format(0..11 * 4096), Some(MountError::Region));
    assert_eq!(format(0..12 * 4096), Some(MountError::Region));
    assert_eq!(format(100..10 * 4096), Some(MountError::Region));
    assert_eq!(format(0..2 * 4096), Some(MountError::TooSmall));
    assert_eq!(format(4096..11 * 4096), None);
    println!("a bank takes {} bytes with units of 8", Flash::<Chip>::BANK_MIN);
}

/// From any operation on the flash fails, or says it did what it did not. What was acknowledged is there after the next
/// power-on, and what was not is old or new.
#[test]
fn a_flash_that_fails_loses_nothing_that_was_acknowledged() {
    let mut faults = 0;
    for silent in [false, true] {
        for at in 0..90 {
            let (sim, mut flash) = formatted();
            flash.write(Slot::Context(0), &[1; 48]).unwrap();
            let now = sim.chip().ops;
            sim.0.borrow_mut().broken = Some((now + at, silent));
            let (mut sure, mut tried) = (0, 0);
            for n in 1..20 {
                tried = n;
                if flash.write(Slot::Sequence(0), &[n; 13]).is_err() {
                    faults += 1;
                    // It stays so, and the agent may try again and again.
                    let _ = flash.write(Slot::Sequence(0), &[n; 13]);
                    let _ = flash.erase(Slot::Context(0));
                    break;
                }
                sure = n;
            }
            sim.0.borrow_mut().broken = None;
            let mut flash = mount(&sim).unwrap();
            let found = read(&mut flash, Slot::Sequence(0)).map_or(0, |record| record[0]);
            assert!(found == sure || found == tried, "op {at}: {found}, acknowledged {sure}, tried {tried}");
        }
    }
    assert!(faults > 50, "{faults}");
}
