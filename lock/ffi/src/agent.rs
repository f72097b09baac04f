//! The agent's calls, one function each.
#![allow(unsafe_code)] // the agent is a pointer, and so is what it answers to

use core::ffi::c_void;

use ::cardea_agent::{Output, Slot};
use cardea_credentials::Signer;

use crate::abi::cardea_status::{self, *};
use crate::abi::{CARDEA_FRAME_MAX, CARDEA_MTU_MIN, cardea_agent, cardea_board, cardea_config, cardea_event};
use crate::memory::{give, input, output, put, put_bytes};
use crate::place::{self, demolish, enter};
use crate::status::answer;
use crate::{board, config, event};

/// Bytes that an agent of this library really takes; at most `CARDEA_AGENT_SIZE` of the header it was built with.
// SAFETY: the prefix `cardea_` is ours.
#[unsafe(no_mangle)]
pub extern "C" fn cardea_agent_size() -> usize {
    place::SIZE
}

/// Alignment that it needs, a power of two; at most `CARDEA_AGENT_ALIGN`.
// SAFETY: the prefix `cardea_` is ours.
#[unsafe(no_mangle)]
pub extern "C" fn cardea_agent_align() -> usize {
    place::ALIGN
}

/// The most bytes that a record in this slot has, 0 for no slot: for laying out flash.
// SAFETY: the prefix `cardea_` is ours.
#[unsafe(no_mangle)]
pub extern "C" fn cardea_slot_max(slot: u32) -> usize {
    board::slot(slot).map_or(0, Slot::max_len)
}

/// 1 for a slot with keys, codes or what a PIN is compared with, else 0: what it held before must not stay behind when it
/// is written again, and where there is a choice of media, it deserves the one that nobody can read.
// SAFETY: the prefix `cardea_` is ours.
#[unsafe(no_mangle)]
pub extern "C" fn cardea_slot_is_secret(slot: u32) -> u32 {
    board::slot(slot).is_some_and(Slot::is_secret).into()
}

/// Boots an agent in `memory` (`length` bytes, aligned, zero before the first boot) from what storage holds, and
/// writes the pointer to it to `agent`. A new lock makes its credential here. A command that a reset interrupted is
/// judged by the bolt's sensor and logged.
///
/// After an error the memory is zero again and may be used for another attempt, but for `CARDEA_ERR_BOOTED` and
/// `CARDEA_ERR_BUSY`: then the agent that is there lives on.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_agent_boot(
    memory: *mut c_void,
    length: usize,
    board: *const cardea_board,
    config: *const cardea_config,
    agent: *mut *mut cardea_agent,
) -> cardea_status {
    answer(|| {
        if agent.is_null() {
            return Err(CARDEA_ERR_NULL);
        }
        // SAFETY: the header asks for tables whose callbacks live as long as the agent, and for `length` bytes that
        // are ours until the agent is shut down.
        let booted = unsafe {
            place::build(memory, length, || {
                let config = config::read(config)?;
                Ok((board::parts(board)?, config))
            })?
        };
        // SAFETY: passed on.
        unsafe { put(agent, booted)? };
        Ok(CARDEA_OK)
    })
}

/// Ends the agent and overwrites its memory with zeros. Storage has everything that matters: the memory may be
/// booted again. The pointer is void afterwards.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_agent_deinit(agent: *mut cardea_agent) -> cardea_status {
    // SAFETY: passed on.
    unsafe { demolish(agent) }
}

/// The radio has joined its network: the lock activates itself, or reports.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_agent_link_up(agent: *mut cardea_agent) -> cardea_status {
    // SAFETY: passed on.
    unsafe {
        enter(agent, |agent| {
            agent.link_up();
            Ok(CARDEA_OK)
        })
    }
}

/// The radio has lost its network. Nothing is sent until `cardea_agent_link_up`.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_agent_link_down(agent: *mut cardea_agent) -> cardea_status {
    // SAFETY: passed on.
    unsafe {
        enter(agent, |agent| {
            agent.link_down();
            Ok(CARDEA_OK)
        })
    }
}

/// Somebody touched the lock: a challenge goes out, so that a command can come back at once.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_agent_touch(agent: *mut cardea_agent) -> cardea_status {
    // SAFETY: passed on.
    unsafe {
        enter(agent, |agent| {
            agent.touch();
            Ok(CARDEA_OK)
        })
    }
}

/// Takes one frame from the radio. What is not for this lock, or not authentic, is dropped and counted, and is no
/// error. The callbacks may drive the bolt before this returns.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_agent_handle_frame(
    agent: *mut cardea_agent,
    frame: *const u8,
    length: usize,
) -> cardea_status {
    // SAFETY: passed on; the firmware leaves the frame alone until this returns.
    unsafe {
        enter(agent, |agent| {
            agent.handle_frame(input(frame, length, CARDEA_FRAME_MAX)?);
            Ok(CARDEA_OK)
        })
    }
}

/// The next thing to send, with at most `mtu` bytes (at least `CARDEA_MTU_MIN`) and at most `capacity`. Call when the
/// radio is free, until it answers `CARDEA_NOTHING`.
///
/// `CARDEA_OK`: send the `length` bytes in `out`. A length of 0 is a poll: send an empty uplink (LoRaWAN without
/// payload, a Zigbee data poll) to open a receive window. A frame that the radio could not send is not given again at
/// once; the agent notices by itself that nobody answered.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_agent_poll_transmit(
    agent: *mut cardea_agent,
    mtu: usize,
    out: *mut u8,
    capacity: usize,
    length: *mut usize,
) -> cardea_status {
    // SAFETY: passed on; `out` and `length` are the firmware's and apart from each other and from the agent.
    unsafe {
        enter(agent, |agent| {
            let room = mtu.min(capacity).min(CARDEA_FRAME_MAX);
            let out = output(out, capacity, room)?;
            put(length, 0)?;
            if room < CARDEA_MTU_MIN {
                return Err(CARDEA_ERR_ARGUMENT);
            }
            match agent.poll_transmit(room, out) {
                Some(Output::Frame(len)) => put(length, len)?,
                Some(Output::Poll) => {}
                None => return Ok(CARDEA_NOTHING),
            }
            Ok(CARDEA_OK)
        })
    }
}

/// Writes when to call `cardea_agent_handle_timeout`, in the clock's milliseconds; `CARDEA_NOTHING` when no timer runs.
/// What waits only for the radio to be free has no timer: ask `cardea_agent_poll_transmit` then.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_agent_poll_timeout(agent: *mut cardea_agent, at: *mut u64) -> cardea_status {
    // SAFETY: passed on.
    unsafe {
        enter(agent, |agent| {
            let due = agent.poll_timeout();
            put(at, due.unwrap_or(u64::MAX))?;
            Ok(if due.is_some() { CARDEA_OK } else { CARDEA_NOTHING })
        })
    }
}

/// Lets due timers do their work; ask `cardea_agent_poll_transmit` afterwards. Too early is harmless.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_agent_handle_timeout(agent: *mut cardea_agent) -> cardea_status {
    // SAFETY: passed on.
    unsafe {
        enter(agent, |agent| {
            agent.handle_timeout();
            Ok(CARDEA_OK)
        })
    }
}

/// What happened, oldest first, into `event`, whose `size` must be set; `CARDEA_NOTHING` when that was all. The last
/// eight are kept.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_agent_poll_event(
    agent: *mut cardea_agent,
    event: *mut cardea_event,
) -> cardea_status {
    // SAFETY: passed on.
    unsafe {
        enter(agent, |agent| {
            crate::memory::check(event)?;
            let Some(happened) = agent.poll_event() else { return Ok(CARDEA_NOTHING) };
            give(event, &event::to_c(happened))?;
            Ok(CARDEA_OK)
        })
    }
}

/// The lock's routing name, 8 bytes: what the radio label says.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_agent_lock_id(agent: *mut cardea_agent, id: *mut u8) -> cardea_status {
    // SAFETY: passed on; the header asks for 8 bytes.
    unsafe {
        enter(agent, |agent| {
            put_bytes(id, &agent.lock_id().0)?;
            Ok(CARDEA_OK)
        })
    }
}

/// SHA-256 thumbprint of the identity key (RFC 9679), 32 bytes: what the platform enrols the lock by.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_agent_thumbprint(
    agent: *mut cardea_agent,
    thumbprint: *mut u8,
) -> cardea_status {
    // SAFETY: passed on; the header asks for 32 bytes.
    unsafe {
        enter(agent, |agent| {
            put_bytes(thumbprint, &agent.parts_mut().identity.public().thumbprint())?;
            Ok(CARDEA_OK)
        })
    }
}

/// Thumbprint of the owner root that is pinned, 32 bytes; `CARDEA_NOTHING` while the lock has no owner.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_agent_owner(agent: *mut cardea_agent, root: *mut u8) -> cardea_status {
    // SAFETY: passed on; the header asks for 32 bytes.
    unsafe {
        enter(agent, |agent| {
            let owner = agent.owner();
            put_bytes(root, &owner.unwrap_or_default())?;
            Ok(if owner.is_some() { CARDEA_OK } else { CARDEA_NOTHING })
        })
    }
}

/// Whether there is a context with the platform: `CARDEA_OK` or `CARDEA_NOTHING`.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_agent_is_connected(agent: *mut cardea_agent) -> cardea_status {
    // SAFETY: passed on.
    unsafe { enter(agent, |agent| Ok(if agent.is_connected() { CARDEA_OK } else { CARDEA_NOTHING })) }
}

/// The present time as far as it is known: the true time is within `uncertainty_ms` of `unix_ms` on either side.
/// `CARDEA_NOTHING` while the platform has not said it. Above 5,000 ms of uncertainty the lock decides nothing by it.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_agent_time(
    agent: *mut cardea_agent,
    unix_ms: *mut u64,
    uncertainty_ms: *mut u64,
) -> cardea_status {
    // SAFETY: passed on.
    unsafe {
        enter(agent, |agent| {
            let time = agent.time();
            put(unix_ms, time.map_or(0, |time| time.unix_ms))?;
            put(uncertainty_ms, time.map_or(u64::MAX, |time| time.uncertainty_ms))?;
            Ok(if time.is_some() { CARDEA_OK } else { CARDEA_NOTHING })
        })
    }
}

/// Frames and messages that were dropped since boot.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_agent_dropped(agent: *mut cardea_agent, count: *mut u32) -> cardea_status {
    // SAFETY: passed on.
    unsafe {
        enter(agent, |agent| {
            put(count, agent.dropped())?;
            Ok(CARDEA_OK)
        })
    }
}
