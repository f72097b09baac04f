//! Where an agent lives: in memory of the firmware, behind a seal and a busy mark.
//!
//! The mark stands beside the agent, not in it, and is only reached by raw pointers: a callback that calls back in
//! finds it while the agent is borrowed, and gets an answer instead of a second reference.
#![allow(unsafe_code)] // the agent is built in, and reached through, memory of the caller

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::slice;

use ::cardea_agent::{Agent, Config, Home, Parts};
use zeroize::Zeroize;

use crate::abi::cardea_status::{self, *};
use crate::abi::{CARDEA_AGENT_ALIGN, CARDEA_AGENT_SIZE, cardea_agent};
use crate::board::CBoard;
use crate::guard::{Panicked, catch};

pub(crate) type LockAgent = Agent<CBoard>;

/// "cardea" and the version of this layout; with the address it makes the seal.
const SEAL: u64 = 0x6361_7264_6561_0001;

const IDLE: u32 = 1;
const BUSY: u32 = 2;
const BROKEN: u32 = 3;

#[repr(C)]
struct Place {
    /// [`SEAL`] xor the address: a copy of an agent is none. Two agents of one lock would use sequence numbers twice.
    seal: u64,
    state: u32,
    home: MaybeUninit<Home<CBoard>>,
}

/// What `cardea_agent_size()` says.
pub(crate) const SIZE: usize = size_of::<Place>();
pub(crate) const ALIGN: usize = align_of::<Place>();

const _: () = assert!(SIZE <= CARDEA_AGENT_SIZE, "raise CARDEA_AGENT_SIZE, and say so in the changelog");
const _: () = assert!(ALIGN <= CARDEA_AGENT_ALIGN);

/// The place that this pointer names, if it can be one.
fn place_at(memory: *mut c_void) -> Result<*mut Place, cardea_status> {
    let place = memory.cast::<Place>();
    if place.is_null() {
        return Err(CARDEA_ERR_NULL);
    }
    if place.is_aligned() { Ok(place) } else { Err(CARDEA_ERR_MEMORY) }
}

fn seal_of(place: *mut Place) -> u64 {
    SEAL ^ place.addr() as u64
}

/// Boots an agent in `memory` from what `make` gives; both may call the firmware back.
///
/// # Safety
/// `memory` is null, or points to `len` bytes that are initialised and nobody else's until the agent is shut down.
pub(crate) unsafe fn build(
    memory: *mut c_void,
    len: usize,
    make: impl FnOnce() -> Result<(Parts<CBoard>, Config), cardea_status>,
) -> Result<*mut cardea_agent, cardea_status> {
    let place = place_at(memory)?;
    if len < SIZE {
        return Err(CARDEA_ERR_MEMORY);
    }
    // SAFETY: `place` is aligned and as long as a `Place`. No reference to the whole of it is made: each member is reached
    // by raw pointer, because a callback may look at seal and state meanwhile.
    let home = unsafe {
        if (*place).seal == seal_of(place) {
            return Err(if (*place).state == BUSY { CARDEA_ERR_BUSY } else { CARDEA_ERR_BOOTED });
        }
        (*place).seal = seal_of(place);
        (*place).state = BUSY;
        &raw mut (*place).home
    };
    let made = flat(catch(|| {
        let (parts, config) = make()?;
        // SAFETY: within the caller's memory; the busy mark says that nobody else refers to it.
        move_in(unsafe { &mut *home }, parts, config);
        Ok(())
    }));
    let booted = made.and_then(|()| {
        // SAFETY: as above, and somebody has moved in.
        let booted =
            flat(catch(|| unsafe { (*home).assume_init_mut() }.boot().map(|_| ()).map_err(Into::into)));
        if booted.is_err() {
            // SAFETY: as above; it is not referred to again. After a panic its members may contradict each other, not dangle.
            let _ = catch(|| unsafe { (*home).assume_init_drop() });
        }
        booted
    });
    // SAFETY: as above; no reference is left.
    unsafe {
        match booted {
            Ok(()) => (*place).state = IDLE,
            Err(_) => wipe(place),
        }
    }
    booted.map(|()| place.cast())
}

/// By itself, and with nothing that could unwind between: so the agent is made where it stays, and not moved there.
#[inline(never)]
fn move_in(home: &mut MaybeUninit<Home<CBoard>>, parts: Parts<CBoard>, config: Config) {
    home.write(Home::new(parts, config));
}

fn flat<T>(result: Result<Result<T, cardea_status>, Panicked>) -> Result<T, cardea_status> {
    result.unwrap_or_else(|panicked| Err(panicked.into()))
}

/// Calls the agent, unless it is in a call or gone.
///
/// # Safety
/// `agent` is null, or what [`build`] gave out, or memory as long as a `Place` that is initialised.
pub(crate) unsafe fn enter(
    agent: *mut cardea_agent,
    call: impl FnOnce(&mut LockAgent) -> Result<cardea_status, cardea_status>,
) -> cardea_status {
    // SAFETY: passed on.
    match unsafe { claim(agent) } {
        Err(error) => error,
        Ok(place) => {
            // SAFETY: the seal says that there is an agent, and the busy mark that nobody else refers to it. This
            // reference covers the agent alone; seal and state stay reachable for a call that comes back in.
            let home = unsafe { (*place).home.assume_init_mut() };
            let result = catch(|| home.agent().ok_or(CARDEA_ERR_NOT_BOOTED).and_then(call));
            // SAFETY: as above; the reference has ended.
            unsafe { (*place).state = if result.is_ok() { IDLE } else { BROKEN } };
            flat(result).unwrap_or_else(|error| error)
        }
    }
}

/// Drops the agent and erases its memory, keys and all.
///
/// # Safety
/// As [`enter`].
pub(crate) unsafe fn demolish(agent: *mut cardea_agent) -> cardea_status {
    let broken = |place: *mut Place| {
        // SAFETY: `claim` looks at the state only behind a seal, so this is a place.
        unsafe { (*place).state == BROKEN }
    };
    // SAFETY: passed on.
    let place = match unsafe { claim(agent) } {
        Ok(place) => place,
        Err(CARDEA_ERR_PANIC) => match place_at(agent.cast()) {
            Ok(place) if broken(place) => place,
            _ => return CARDEA_ERR_PANIC,
        },
        Err(error) => return error,
    };
    // SAFETY: sealed, not busy, and nobody refers to the agent; after this it is not referred to again, because the
    // seal goes with it. A broken agent is still one in Rust's eyes: its members may contradict each other, not dangle.
    let dropped = catch(|| unsafe { (*place).home.assume_init_drop() });
    // SAFETY: the memory is the caller's, and holds nothing that needs dropping any more.
    unsafe { wipe(place) };
    dropped.map_or(CARDEA_ERR_PANIC, |()| CARDEA_OK)
}

/// Marks the agent busy.
///
/// # Safety
/// As [`enter`].
unsafe fn claim(agent: *mut cardea_agent) -> Result<*mut Place, cardea_status> {
    let place = place_at(agent.cast())?;
    // SAFETY: aligned, and the caller's memory is as long as a `Place`. Members are reached by raw pointer.
    unsafe {
        if (*place).seal != seal_of(place) {
            return Err(CARDEA_ERR_NOT_BOOTED);
        }
        match (*place).state {
            IDLE => {
                (*place).state = BUSY;
                Ok(place)
            }
            BUSY => Err(CARDEA_ERR_BUSY),
            _ => Err(CARDEA_ERR_PANIC),
        }
    }
}

/// Overwrites the whole place with zeros, in a way that no compiler leaves out.
///
/// # Safety
/// `place` is memory of that size, and nobody refers into it.
unsafe fn wipe(place: *mut Place) {
    // SAFETY: as the caller promised; any bytes are fine as `MaybeUninit`.
    unsafe { slice::from_raw_parts_mut(place.cast::<MaybeUninit<u8>>(), SIZE) }.zeroize();
}
