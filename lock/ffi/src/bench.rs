//! A board of callbacks on a test bench, for the tests and the fuzz driver: it forgets nothing, fails on demand and
//! calls back in.
#![allow(unsafe_code)] // it stands for the C side

use core::cell::{Cell, RefCell};
use core::ffi::c_void;
use std::boxed::Box;
use std::collections::BTreeMap;
use std::vec::Vec;

use crate::*;

/// What `ctx` points to.
#[derive(Default)]
pub(crate) struct Bench {
    pub(crate) records: RefCell<BTreeMap<u32, Vec<u8>>>,
    pub(crate) now: Cell<u64>,
    pub(crate) seed: Cell<u64>,
    pub(crate) drives: Cell<usize>,
    /// Callbacks answer this instead of working.
    pub(crate) fault: Cell<Option<i32>>,
    /// An agent that the clock touches each time it is asked, and what that was answered.
    pub(crate) reenter: Cell<*mut c_void>,
    pub(crate) answers: RefCell<Vec<cardea_status>>,
    pub(crate) keys: RefCell<Option<Box<cardea_soft_keys>>>,
}

/// The tables, each as a firmware declares them, around one bench.
pub(crate) struct Tables {
    pub(crate) storage: cardea_storage,
    pub(crate) keys: cardea_keys,
    pub(crate) clock: cardea_clock,
    pub(crate) random: cardea_random,
    pub(crate) actuator: cardea_actuator,
    pub(crate) config: cardea_config,
}

impl Tables {
    pub(crate) fn new(bench: &Bench) -> Self {
        let ctx = core::ptr::from_ref(bench).cast_mut().cast();
        // SAFETY: a struct of integers, pointers and optional functions may be zero.
        let (mut keys, mut config): (cardea_keys, cardea_config) = unsafe { core::mem::zeroed() };
        keys.size = size_of::<cardea_keys>();
        config.size = size_of::<cardea_config>();
        let mut soft = Box::new(cardea_soft_keys { scalars: [0; 64], public_keys: [0; 130] });
        let mut scalars = [1; 64];
        scalars[40] = 2;
        // SAFETY: all of these are memory of the right length.
        unsafe {
            assert_eq!(cardea_soft_keys_load(&raw mut *soft, scalars.as_ptr()), cardea_status::CARDEA_OK);
            assert_eq!(cardea_soft_keys_table(&raw mut *soft, &raw mut keys), cardea_status::CARDEA_OK);
            assert_eq!(cardea_config_listening(&raw mut config), cardea_status::CARDEA_OK);
        }
        *bench.keys.borrow_mut() = Some(soft);
        bench.records.borrow_mut().entry(0).or_insert(std::vec![7; CARDEA_OWNER_CODE_LEN]);
        Self {
            storage: cardea_storage {
                size: size_of::<cardea_storage>(),
                ctx,
                read: Some(read),
                write: Some(write),
                erase: Some(erase),
                slots: CARDEA_SLOT_COUNT,
                erase_all: None,
            },
            keys,
            clock: cardea_clock { size: size_of::<cardea_clock>(), ctx, millis: Some(millis), rtc: None },
            random: cardea_random { size: size_of::<cardea_random>(), ctx, fill: Some(fill) },
            actuator: cardea_actuator {
                size: size_of::<cardea_actuator>(),
                ctx,
                drive: Some(drive),
                bolt: Some(bolt),
                battery: Some(bolt),
            },
            config,
        }
    }

    pub(crate) fn board(&self) -> cardea_board {
        cardea_board {
            size: size_of::<cardea_board>(),
            storage: &raw const self.storage,
            keys: &raw const self.keys,
            clock: &raw const self.clock,
            random: &raw const self.random,
            actuator: &raw const self.actuator,
        }
    }

    /// Boots in `memory`.
    pub(crate) fn boot(&self, memory: *mut c_void, length: usize) -> (cardea_status, *mut cardea_agent) {
        let mut agent = core::ptr::null_mut();
        // SAFETY: the tables are well made, and whoever calls this says what `memory` is.
        let status = unsafe {
            cardea_agent_boot(memory, length, &self.board(), &raw const self.config, &raw mut agent)
        };
        (status, agent)
    }
}

fn at<'a>(ctx: *mut c_void) -> &'a Bench {
    // SAFETY: every table here carries a bench, which outlives its agent.
    unsafe { &*ctx.cast::<Bench>() }
}

unsafe extern "C" fn read(ctx: *mut c_void, slot: u32, out: *mut u8, capacity: usize) -> i32 {
    if let Some(fault) = at(ctx).fault.get() {
        return fault;
    }
    let records = at(ctx).records.borrow();
    let Some(record) = records.get(&slot) else { return 0 };
    if record.len() > capacity {
        return -1;
    }
    // SAFETY: the library says that there are `capacity` bytes.
    unsafe { out.copy_from_nonoverlapping(record.as_ptr(), record.len()) };
    record.len() as i32
}

unsafe extern "C" fn write(ctx: *mut c_void, slot: u32, record: *const u8, length: usize) -> i32 {
    if let Some(fault) = at(ctx).fault.get() {
        return fault;
    }
    assert!(slot < CARDEA_SLOT_COUNT && (1..=cardea_slot_max(slot)).contains(&length));
    // SAFETY: the library says that there are `length` bytes.
    let record = unsafe { core::slice::from_raw_parts(record, length) };
    at(ctx).records.borrow_mut().insert(slot, record.to_vec());
    0
}

unsafe extern "C" fn erase(ctx: *mut c_void, slot: u32) -> i32 {
    at(ctx).records.borrow_mut().remove(&slot);
    at(ctx).fault.get().unwrap_or(0)
}

unsafe extern "C" fn millis(ctx: *mut c_void) -> u64 {
    let agent = at(ctx).reenter.get();
    if !agent.is_null() {
        let mut again = core::ptr::null_mut();
        let mut id = [0; 8];
        // SAFETY: the agent is there; that it is busy is what this is about.
        let answers = unsafe {
            [
                cardea_agent_touch(agent.cast()),
                cardea_agent_lock_id(agent.cast(), id.as_mut_ptr()),
                cardea_agent_deinit(agent.cast()),
                cardea_agent_boot(
                    agent,
                    CARDEA_AGENT_SIZE,
                    core::ptr::null(),
                    core::ptr::null(),
                    &raw mut again,
                ),
            ]
        };
        at(ctx).answers.borrow_mut().extend(answers);
    }
    at(ctx).now.get()
}

unsafe extern "C" fn fill(ctx: *mut c_void, out: *mut u8, length: usize) -> i32 {
    for n in 0..length {
        let next = at(ctx).seed.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        at(ctx).seed.set(next);
        // SAFETY: the library says that there are `length` bytes.
        unsafe { out.add(n).write((next >> 56) as u8) };
    }
    at(ctx).fault.get().unwrap_or(0)
}

unsafe extern "C" fn drive(ctx: *mut c_void, op: u8) -> i32 {
    at(ctx).drives.set(at(ctx).drives.get() + 1);
    at(ctx).fault.get().unwrap_or(i32::from(op))
}

unsafe extern "C" fn bolt(ctx: *mut c_void) -> i32 {
    at(ctx).fault.get().unwrap_or(CARDEA_BOLT_LOCKED)
}
