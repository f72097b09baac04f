//! The driver behind the fuzz target `ffi_calls`.
#![allow(unsafe_code)] // it stands for a C program gone wrong

use core::ffi::c_void;
use core::ptr::null_mut;
use std::boxed::Box;

use crate::bench::{Bench, Tables};
use crate::cardea_status::*;
use crate::*;

/// Room around the agent, so that misaligned and short memory is still ours.
#[repr(C, align(16))]
struct Memory([u8; CARDEA_AGENT_SIZE + 64]);

/// Something that looks like a vendor's key, and is no point of the curve.
static NO_KEY: [u8; CARDEA_PUBLIC_KEY_LEN] = [4; CARDEA_PUBLIC_KEY_LEN];

/// A script of calls (number, argument): any order, NULL where a bit says so, lengths from nothing to `SIZE_MAX`,
/// callbacks that fail. Every answer must be one that fits the state the caller knows: nobody is told `OK` without
/// an agent, and nothing panics.
pub fn ffi_calls(data: &[u8]) {
    let bench = Bench::default();
    let mut tables = Tables::new(&bench);
    let mut memory = Box::new(Memory([0; CARDEA_AGENT_SIZE + 64]));
    let base = (&raw mut *memory).cast::<c_void>();
    let mut live = false;
    let mut buffer = [0u8; 2048];
    let mut rest = data;
    for _ in 0..96 {
        let Some((&[call, arg], tail)) = rest.split_first_chunk() else { break };
        rest = tail;
        let null = arg & 0x80 != 0;
        let length = match arg & 7 {
            0 => 0,
            1 => usize::MAX,
            2 => isize::MAX as usize,
            3 => CARDEA_FRAME_MAX + 1,
            n => usize::from(n) * 12,
        };
        let agent = if null { null_mut() } else { base.cast::<cardea_agent>() };
        let out = buffer.as_mut_ptr();
        let out = if arg & 0x40 != 0 { null_mut() } else { out };
        // SAFETY: `base` is initialised memory of an agent's size, `buffer` is larger than any frame or out parameter,
        // and lengths beyond it are beyond the limits at which the library refuses to look.
        let status = unsafe {
            match call % 26 {
                0 => {
                    // Over an agent that lives there it would be the firmware's fault, also where the boot fails.
                    let offset = if live { 0 } else { usize::from(arg & 3) * 4 };
                    let size = if arg & 0x20 != 0 { usize::from(arg) } else { CARDEA_AGENT_SIZE };
                    let status = tables.boot(if null { null_mut() } else { base.byte_add(offset) }, size).0;
                    assert!(!(live && offset == 0 && status == CARDEA_OK), "two agents in one place");
                    if status == CARDEA_OK && offset != 0 {
                        assert_eq!(cardea_agent_deinit(base.byte_add(offset).cast()), CARDEA_OK);
                        base.cast::<u8>().write_bytes(0, CARDEA_AGENT_SIZE);
                    }
                    live |= status == CARDEA_OK && offset == 0;
                    continue;
                }
                1 => {
                    let status = cardea_agent_deinit(agent);
                    live &= status != CARDEA_OK;
                    continue;
                }
                2 => cardea_agent_link_up(agent),
                3 => cardea_agent_link_down(agent),
                4 => cardea_agent_touch(agent),
                5 => cardea_agent_bolt_moved(agent),
                6 => {
                    let (frame, tail) = rest.split_at(usize::from(arg).min(rest.len()));
                    rest = tail;
                    cardea_agent_handle_frame(agent, frame.as_ptr(), frame.len())
                }
                7 => cardea_agent_handle_frame(
                    agent,
                    out,
                    if length < 2048 { length.min(1025) } else { length },
                ),
                8 => {
                    let mut sent = 0;
                    let status = cardea_agent_poll_transmit(agent, length, out, 1024, &raw mut sent);
                    assert!(sent <= length.min(1024));
                    status
                }
                9 => cardea_agent_poll_transmit(agent, 64, out, length.min(2048), null_mut()),
                10 => cardea_agent_poll_timeout(agent, out.cast()),
                11 => cardea_agent_handle_timeout(agent),
                12 => {
                    out.cast::<usize>().as_mut().into_iter().for_each(|size| *size = length);
                    cardea_agent_poll_event(agent, out.cast())
                }
                13 => cardea_agent_owner(agent, out),
                14 => cardea_agent_time(agent, out.cast(), out.cast::<u64>().wrapping_add(1)),
                15 => {
                    bench.now.set(bench.now.get().wrapping_add(1 << (arg & 63)));
                    continue;
                }
                16 => {
                    bench.fault.set((!null).then_some(i32::from(arg) - 32));
                    continue;
                }
                18 => cardea_agent_door_moved(agent, u32::from(arg & 3)),
                19 => cardea_agent_door_is(agent, u32::from(arg & 3)),
                20 => cardea_agent_tampered(agent),
                21 => cardea_agent_battery_measured(agent),
                22 => cardea_agent_inside_button_held(agent, out),
                23 => {
                    let typed = rest.len().min(CARDEA_PIN_MAX + 1);
                    let digits = if arg & 0x20 != 0 { core::ptr::null() } else { rest.as_ptr() };
                    let length = if arg & 0x10 != 0 && typed > CARDEA_PIN_MAX { usize::MAX } else { typed };
                    cardea_agent_enter_pin(
                        agent,
                        digits,
                        length,
                        out.cast(),
                        out.cast::<u64>().wrapping_add(1),
                    )
                }
                24 => {
                    cardea_agent_ask_membership(agent, u32::from(arg & 0x7f).wrapping_sub(1) << (arg & 0x0f))
                }
                25 => {
                    // Events of every size that a header had, and of those that none had.
                    let size = size_of::<cardea_event>().wrapping_sub(usize::from(arg & 0x3f));
                    out.cast::<usize>().as_mut().into_iter().for_each(|place| *place = size);
                    cardea_agent_poll_event(agent, out.cast())
                }
                _ => {
                    spoil(&mut tables, &bench, arg);
                    continue;
                }
            }
        };
        assert_ne!(status, CARDEA_ERR_PANIC, "call {}", call % 26);
        assert!(live || (status as i32) < 0, "call {} without an agent: {status:?}", call % 26);
    }
    // SAFETY: as above.
    let status = unsafe { cardea_agent_deinit(base.cast()) };
    assert_eq!(status == CARDEA_OK, live);
    if live {
        let place = memory.0.iter().take(cardea_agent_size());
        assert!(place.copied().all(|byte| byte == 0), "the agent left something behind");
    }
}

/// Tables as a confused firmware fills them, or good ones again.
fn spoil(tables: &mut Tables, bench: &Bench, arg: u8) {
    match arg % 16 {
        0 => tables.storage.size = usize::from(arg),
        1 => tables.storage.read = None,
        2 => tables.storage.slots = u32::from(arg),
        3 => tables.keys.dh_agree = None,
        4 => tables.clock.millis = None,
        5 => tables.random.size = usize::MAX,
        6 => tables.config.size = 8,
        7 => tables.config.link_attempts = u32::from(arg) << 4,
        8 => tables.config.sleepy = u32::from(arg & 0x10 != 0),
        9 => tables.config.heartbeat_ms = u32::MAX,
        10 => tables.config.rx2_close_ms = u32::MAX,
        12 => tables.config.battery_low = u32::from(arg),
        13 => tables.config.battery_good = u32::from(arg) << 4,
        14 => tables.config.vendor = NO_KEY.as_ptr(),
        15 => tables.config.size = size_of::<cardea_config>() - usize::from(arg >> 4),
        _ => *tables = Tables::new(bench),
    }
}
