//! What C programs get wrong.
#![allow(unsafe_code)] // it stands for them

mod door;

use core::ffi::{CStr, c_void};
use core::ptr::{null, null_mut};
use std::boxed::Box;
use std::vec::Vec;

use crate::bench::{Bench, Tables};
use crate::cardea_status::*;
use crate::place::enter;
use crate::*;

/// Aligned memory, with room to be misaligned in.
#[repr(C, align(16))]
struct Memory([u8; CARDEA_AGENT_SIZE + 16]);

fn memory() -> Box<Memory> {
    Box::new(Memory([0; CARDEA_AGENT_SIZE + 16]))
}

impl Memory {
    fn at(&mut self, offset: usize) -> *mut c_void {
        (&raw mut *self).cast::<u8>().wrapping_add(offset).cast()
    }
}

#[test]
fn an_agent_boots_in_memory_of_the_size_it_says_and_leaves_zeros() {
    let (bench, mut memory) = (Bench::default(), memory());
    let tables = Tables::new(&bench);
    let (status, agent) = tables.boot(memory.at(0), cardea_agent_size());
    assert_eq!(status, CARDEA_OK);
    assert!(memory.0.iter().any(|byte| *byte != 0));
    let secret = bench.keys.borrow().as_ref().unwrap().scalars;
    assert_ne!(secret, [0; 64]);
    // SAFETY: the agent is there.
    unsafe {
        assert_eq!(cardea_agent_is_connected(agent), CARDEA_NOTHING);
        assert_eq!(cardea_agent_deinit(agent), CARDEA_OK);
        assert!(memory.0.iter().all(|byte| *byte == 0));
        assert_eq!(cardea_agent_touch(agent), CARDEA_ERR_NOT_BOOTED, "use after deinit");
        assert_eq!(cardea_agent_deinit(agent), CARDEA_ERR_NOT_BOOTED);
    }
    assert_eq!(tables.boot(memory.at(0), CARDEA_AGENT_SIZE).0, CARDEA_OK, "and again");
    println!("cardea_agent_size() = {}, align {}", cardea_agent_size(), cardea_agent_align());
}

#[test]
fn null_misaligned_short_and_occupied_memory_is_refused() {
    let (bench, mut memory) = (Bench::default(), memory());
    let tables = Tables::new(&bench);
    assert_eq!(tables.boot(null_mut(), CARDEA_AGENT_SIZE).0, CARDEA_ERR_NULL);
    assert_eq!(tables.boot(memory.at(1), CARDEA_AGENT_SIZE).0, CARDEA_ERR_MEMORY);
    assert_eq!(tables.boot(memory.at(0), cardea_agent_size() - 1).0, CARDEA_ERR_MEMORY);
    assert_eq!(tables.boot(memory.at(0), 0).0, CARDEA_ERR_MEMORY);
    assert!(memory.0.iter().all(|byte| *byte == 0), "and untouched");
    let (status, agent) = tables.boot(memory.at(0), CARDEA_AGENT_SIZE);
    assert_eq!(status, CARDEA_OK);
    assert_eq!(tables.boot(memory.at(0), CARDEA_AGENT_SIZE).0, CARDEA_ERR_BOOTED);
    // SAFETY: null, misaligned, and an agent.
    unsafe {
        assert_eq!(cardea_agent_touch(null_mut()), CARDEA_ERR_NULL);
        assert_eq!(cardea_agent_touch(agent.byte_add(2)), CARDEA_ERR_MEMORY);
        assert_eq!(cardea_agent_touch(agent), CARDEA_OK, "the agent lives on");
    }
}

#[test]
fn a_copy_of_an_agent_is_none() {
    let (bench, mut here) = (Bench::default(), memory());
    let (status, _) = Tables::new(&bench).boot(here.at(0), CARDEA_AGENT_SIZE);
    assert_eq!(status, CARDEA_OK);
    let mut there = memory();
    there.0 = here.0;
    // SAFETY: initialised memory of the right size.
    unsafe { assert_eq!(cardea_agent_touch(there.at(0).cast()), CARDEA_ERR_NOT_BOOTED) };
}

#[test]
fn a_call_from_a_callback_is_refused_and_changes_nothing() {
    let (bench, mut memory) = (Bench::default(), memory());
    let tables = Tables::new(&bench);
    // During the boot, when there is no agent yet.
    bench.reenter.set(memory.at(0));
    let (status, agent) = tables.boot(memory.at(0), CARDEA_AGENT_SIZE);
    assert_eq!(status, CARDEA_OK);
    assert!(!bench.answers.borrow().is_empty());
    // During a call.
    let mut timer = 0;
    // SAFETY: the agent is there.
    unsafe {
        assert_eq!(cardea_agent_link_up(agent), CARDEA_OK);
        assert_eq!(cardea_agent_poll_timeout(agent, &raw mut timer), CARDEA_OK);
    }
    let answers = bench.answers.take();
    assert!(answers.len() > 8 && answers.iter().all(|answer| *answer == CARDEA_ERR_BUSY), "{answers:?}");
    bench.reenter.set(null_mut());
    // SAFETY: the agent is there.
    unsafe { assert_eq!(cardea_agent_deinit(agent), CARDEA_OK) };
}

#[test]
fn every_length_and_every_null_is_answered() {
    let (bench, mut memory) = (Bench::default(), memory());
    let (_, agent) = Tables::new(&bench).boot(memory.at(0), CARDEA_AGENT_SIZE);
    let mut out = [0; CARDEA_FRAME_MAX];
    let (mut length, mut dropped) = (0, 0);
    // SAFETY: what is not null is memory of that length, or a length at which nobody looks.
    unsafe {
        assert_eq!(cardea_agent_handle_frame(agent, null(), 0), CARDEA_OK);
        assert_eq!(cardea_agent_handle_frame(agent, null(), 1), CARDEA_ERR_NULL);
        for huge in [CARDEA_FRAME_MAX + 1, isize::MAX as usize, usize::MAX] {
            assert_eq!(cardea_agent_handle_frame(agent, out.as_ptr(), huge), CARDEA_ERR_ARGUMENT);
        }
        assert_eq!(cardea_agent_handle_frame(agent, out.as_ptr(), CARDEA_FRAME_MAX), CARDEA_OK);
        assert_eq!(cardea_agent_dropped(agent, &raw mut dropped), CARDEA_OK);
        assert_eq!(dropped, 2, "the empty frame and the one of zeros");
        assert_eq!(cardea_agent_dropped(agent, null_mut()), CARDEA_ERR_NULL);

        assert_eq!(cardea_agent_link_up(agent), CARDEA_OK);
        let mut send = |mtu, capacity| {
            cardea_agent_poll_transmit(agent, mtu, out.as_mut_ptr(), capacity, &raw mut length)
        };
        assert_eq!(send(CARDEA_MTU_MIN - 1, 100), CARDEA_ERR_ARGUMENT);
        assert_eq!(send(100, CARDEA_MTU_MIN - 1), CARDEA_ERR_ARGUMENT);
        assert_eq!(send(0, 0), CARDEA_ERR_ARGUMENT);
        assert_eq!(send(usize::MAX, CARDEA_FRAME_MAX), CARDEA_OK);
        assert_eq!(length, 39, "message_1 behind header and prefix");
        assert_eq!(cardea_agent_poll_transmit(agent, 100, null_mut(), 100, &raw mut length), CARDEA_ERR_NULL);
        assert_eq!(
            cardea_agent_poll_transmit(agent, 100, out.as_mut_ptr(), 100, null_mut()),
            CARDEA_ERR_NULL
        );
        for status in [
            cardea_agent_poll_timeout(agent, null_mut()),
            cardea_agent_poll_event(agent, null_mut()),
            cardea_agent_lock_id(agent, null_mut()),
            cardea_agent_thumbprint(agent, null_mut()),
            cardea_agent_owner(agent, null_mut()),
            cardea_agent_time(agent, null_mut(), null_mut()),
            cardea_config_class_a(null_mut()),
            cardea_soft_keys_wipe(null_mut()),
            cardea_owner_code_text(null(), null_mut()),
            cardea_provision(null(), out.as_ptr()),
        ] {
            assert_eq!(status, CARDEA_ERR_NULL);
        }
    }
}

#[test]
fn structs_of_older_and_newer_firmware_are_told_apart_by_their_size() {
    #[repr(C)]
    struct Newer {
        known: cardea_config,
        more: u64,
    }
    let (bench, mut memory) = (Bench::default(), memory());
    let tables = Tables::new(&bench);
    let mut newer = Newer { known: tables.config, more: 0 };
    newer.known.size = size_of::<Newer>();
    let mut boot = |config: *const cardea_config| {
        let mut agent = null_mut();
        // SAFETY: the tables and the configuration are what they say.
        unsafe {
            let status =
                cardea_agent_boot(memory.at(0), CARDEA_AGENT_SIZE, &tables.board(), config, &raw mut agent);
            cardea_agent_deinit(agent);
            status
        }
    };
    assert_eq!(boot((&raw const newer).cast()), CARDEA_OK, "what we do not know is not asked for");
    newer.more = 1;
    assert_eq!(boot((&raw const newer).cast()), CARDEA_ERR_VERSION);
    for size in [0, 8, core::mem::offset_of!(cardea_config, firmware_patch), 4096, usize::MAX] {
        let config = cardea_config { size, ..tables.config };
        assert_eq!(boot(&raw const config), CARDEA_ERR_VERSION, "{size}");
    }
    for wrong in [0, 256, u32::MAX] {
        let config = cardea_config { link_attempts: wrong, ..tables.config };
        assert_eq!(boot(&raw const config), CARDEA_ERR_ARGUMENT, "{wrong}");
    }
    assert_eq!(boot(null()), CARDEA_ERR_NULL);
}

#[test]
fn an_event_is_written_no_further_than_the_callers_struct_goes() {
    let event = cardea_event {
        size: size_of::<cardea_event>() + 8,
        kind: 9,
        code: 0,
        op: 0,
        command: [0; 4],
        root: [7; 32],
        epoch: 0,
        address: 0,
        expires: 0,
        key: [0; 32],
    };
    let mut bytes = [0xAA_u8; 256];
    let to = bytes.as_mut_ptr().wrapping_add(1); // nobody promised alignment
    // SAFETY: 255 bytes are there.
    unsafe {
        to.cast::<usize>().write_unaligned(event.size);
        memory::give(to.cast::<cardea_event>(), &event).unwrap();
    }
    assert!(bytes[1 + size_of::<cardea_event>()..].iter().all(|byte| *byte == 0xAA));
    assert_eq!(bytes[1 + core::mem::offset_of!(cardea_event, root)], 7);
}

#[test]
fn callbacks_that_are_missing_or_answer_nonsense_are_errors() {
    let (bench, mut memory) = (Bench::default(), memory());
    let mut tables = Tables::new(&bench);
    tables.storage.slots = CARDEA_SLOT_COUNT - 1;
    assert_eq!(tables.boot(memory.at(0), CARDEA_AGENT_SIZE).0, CARDEA_ERR_STORAGE);
    tables = Tables::new(&bench);
    tables.actuator.drive = None;
    assert_eq!(tables.boot(memory.at(0), CARDEA_AGENT_SIZE).0, CARDEA_ERR_ARGUMENT);
    tables = Tables::new(&bench);
    for fault in [-1, i32::MIN, i32::MAX] {
        bench.fault.set(Some(fault)); // storage says that it wrote more than there is room for
        assert_eq!(tables.boot(memory.at(0), CARDEA_AGENT_SIZE).0, CARDEA_ERR_STORAGE, "{fault}");
    }
    bench.fault.set(None);
    unsafe extern "C" fn backwards(_: *mut c_void, _: *const u8, signature: *mut u8) -> i32 {
        // SAFETY: the library says that there are 64 bytes.
        unsafe { signature.write_bytes(1, 64) };
        0
    }
    tables.keys.identity_sign = Some(backwards);
    assert_eq!(tables.boot(memory.at(0), CARDEA_AGENT_SIZE).0, CARDEA_ERR_KEY, "signed something else");
    assert_eq!(bench.records.borrow().len(), 1, "and is not kept for life");
    unsafe extern "C" fn no_point(_: *mut c_void, public: *mut u8) -> i32 {
        // SAFETY: the library says that there are 65 bytes.
        unsafe { public.write_bytes(4, 65) };
        0
    }
    tables = Tables::new(&bench);
    tables.keys.dh_public = Some(no_point);
    assert_eq!(tables.boot(memory.at(0), CARDEA_AGENT_SIZE).0, CARDEA_ERR_KEY);
    assert!(memory.0.iter().all(|byte| *byte == 0), "memory can be used for another attempt");
}

#[test]
fn a_panic_becomes_a_status_and_the_agent_answers_nothing_any_more() {
    let (bench, mut memory) = (Bench::default(), memory());
    let (_, agent) = Tables::new(&bench).boot(memory.at(0), CARDEA_AGENT_SIZE);
    // SAFETY: the agent is there.
    unsafe {
        assert_eq!(enter(agent, |_| panic!("on purpose")), CARDEA_ERR_PANIC);
        assert_eq!(cardea_agent_touch(agent), CARDEA_ERR_PANIC);
        assert_eq!(cardea_agent_deinit(agent), CARDEA_OK, "but it can be cleared away");
    }
    assert!(memory.0.iter().all(|byte| *byte == 0));
}

#[test]
fn a_clock_that_goes_back_stands_still() {
    let (bench, mut memory) = (Bench::default(), memory());
    let (_, agent) = Tables::new(&bench).boot(memory.at(0), CARDEA_AGENT_SIZE);
    let (mut first, mut second) = (0, 0);
    // SAFETY: the agent is there.
    unsafe {
        bench.now.set(u64::MAX);
        assert_eq!(cardea_agent_link_up(agent), CARDEA_OK, "no overflow at the end of time");
        assert_eq!(cardea_agent_poll_timeout(agent, &raw mut first), CARDEA_OK);
        bench.now.set(0);
        assert_eq!(cardea_agent_poll_timeout(agent, &raw mut second), CARDEA_OK);
    }
    assert_eq!(first, second);
}

#[test]
fn soft_keys_survive_being_saved_and_are_wiped() {
    let bench = Bench::default();
    let tables = Tables::new(&bench);
    let mut keys = cardea_soft_keys { scalars: [0; 64], public_keys: [0; 130] };
    let mut again = cardea_soft_keys { scalars: [0; 64], public_keys: [0; 130] };
    let mut saved = [0; 64];
    let (mut one, mut two) = ([0; 32], [0; 32]);
    // SAFETY: everything is memory of the right length.
    unsafe {
        assert_eq!(cardea_soft_keys_load(&raw mut keys, saved.as_ptr()), CARDEA_ERR_KEY, "zero is no key");
        assert_eq!(cardea_soft_keys_generate(&raw mut keys, &raw const tables.random), CARDEA_OK);
        assert_eq!(cardea_soft_keys_save(&raw const keys, saved.as_mut_ptr()), CARDEA_OK);
        assert_eq!(cardea_soft_keys_load(&raw mut again, saved.as_ptr()), CARDEA_OK);
        assert_eq!(again.public_keys, keys.public_keys);
        // Each side's view of one secret: identity with DH, DH with identity's public half.
        let swapped: Vec<u8> = [&saved[32..], &saved[..32]].concat();
        assert_eq!(cardea_soft_keys_load(&raw mut again, swapped.as_ptr()), CARDEA_OK);
        let peer = again.public_keys[65..].as_ptr();
        assert_eq!(cardea_soft_dh_agree((&raw mut keys).cast(), peer, one.as_mut_ptr()), 0);
        let peer = keys.public_keys[65..].as_ptr();
        assert_eq!(cardea_soft_dh_agree((&raw mut again).cast(), peer, two.as_mut_ptr()), 0);
        assert_eq!(one, two);
        assert_ne!(one, [0; 32]);
        assert_eq!(cardea_soft_keys_wipe(&raw mut keys), CARDEA_OK);
        assert_eq!((keys.scalars, keys.public_keys), ([0; 64], [0; 130]));
    }
}

#[test]
fn every_slot_number_has_a_length_and_every_status_has_words() {
    assert!((0..CARDEA_SLOT_COUNT).all(|slot| (1..=CARDEA_RECORD_MAX).contains(&cardea_slot_max(slot))));
    assert_eq!(cardea_slot_max(CARDEA_SLOT_COUNT), 0);
    // SAFETY: a static string.
    let words = |status| unsafe { CStr::from_ptr(cardea_strerror(status)) };
    assert!((-15..=1).all(|status| words(status) != c"unknown status"));
    for unknown in [-16, 2, i32::MIN, i32::MAX] {
        assert_eq!(words(unknown), c"unknown status");
    }
}
