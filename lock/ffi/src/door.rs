//! What happens at the door: sensors, battery, inside button, PIN pad. And who else is in the site.
#![allow(unsafe_code)] // the agent is a pointer, and so is what it answers to

use ::cardea_agent::Door;
#[cfg(feature = "pins")]
use ::cardea_agent::PinResult;
use cardea_resources::Pin;

use crate::abi::cardea_status::{self, *};
use crate::abi::{
    CARDEA_DOOR_AJAR, CARDEA_DOOR_CLOSED, CARDEA_DOOR_OPEN, CARDEA_PIN_MAX, CARDEA_PIN_MIN,
    CARDEA_RESET_NONCE_LEN, CARDEA_SITE_ADDRESS_MAX, cardea_agent, cardea_pin_result,
};
use crate::memory::{input, put, put_bytes};
use crate::place::enter;

const _: () = assert!(CARDEA_PIN_MAX == Pin::MAX_DIGITS && CARDEA_PIN_MIN == Pin::MIN_DIGITS);

/// The bolt was moved by hand or key, or got stuck: `cardea_actuator.bolt` is asked, the answer logged and reported,
/// stuck as an alarm.
///
/// A sensor that rattles fills no log: tamper is logged four times in a row, then every quarter of an hour with the
/// number of times in between; door and bolt sixteen times, then every 30 s as they stand then.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_agent_bolt_moved(agent: *mut cardea_agent) -> cardea_status {
    // SAFETY: passed on.
    unsafe {
        enter(agent, |agent| {
            agent.bolt_moved();
            Ok(CARDEA_OK)
        })
    }
}

/// The door moved, or was left open (`CARDEA_DOOR_CLOSED` …): logged and reported, ajar as an alarm.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_agent_door_moved(agent: *mut cardea_agent, door: u32) -> cardea_status {
    // SAFETY: passed on.
    unsafe {
        enter(agent, |agent| {
            agent.door_moved(position(door)?);
            Ok(CARDEA_OK)
        })
    }
}

/// How the door stands, for the time after a boot: nothing is logged or reported. Without a word the lock takes it for
/// closed.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_agent_door_is(agent: *mut cardea_agent, door: u32) -> cardea_status {
    // SAFETY: passed on.
    unsafe {
        enter(agent, |agent| {
            agent.door_is(position(door)?);
            Ok(CARDEA_OK)
        })
    }
}

/// Somebody opened or forced the housing: logged and reported as an alarm.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_agent_tampered(agent: *mut cardea_agent) -> cardea_status {
    // SAFETY: passed on.
    unsafe {
        enter(agent, |agent| {
            agent.tampered();
            Ok(CARDEA_OK)
        })
    }
}

/// The battery was measured: `cardea_actuator.battery` is asked. Below `cardea_config.battery_low` percent it is logged
/// and reported as an alarm, once until it has recovered to `battery_good` or the lock was reset. The agent measures by
/// itself after each run of the motor.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_agent_battery_measured(agent: *mut cardea_agent) -> cardea_status {
    // SAFETY: passed on.
    unsafe {
        enter(agent, |agent| {
            agent.battery_measured();
            Ok(CARDEA_OK)
        })
    }
}

/// The inside button was held for as long as the product wants it for an owner reset, with the door open. The lock
/// draws a nonce, asks its site for a release, and writes the nonce (`CARDEA_RESET_NONCE_LEN` bytes) for whoever wants to
/// show it; 0 after an error. A release is taken for ten minutes, while the door is not closed; then comes
/// `CARDEA_EVENT_RELEASED`. The bolt does not move.
///
/// `CARDEA_ERR_NO_OWNER`, `CARDEA_ERR_DOOR_NOT_OPEN` or `CARDEA_ERR_RANDOM`: no reset has begun.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_agent_inside_button_held(
    agent: *mut cardea_agent,
    nonce: *mut u8,
) -> cardea_status {
    // SAFETY: passed on; the header asks for that many bytes.
    unsafe {
        enter(agent, |agent| {
            put_bytes(nonce, &[0; CARDEA_RESET_NONCE_LEN])?;
            put_bytes(nonce, &agent.inside_button_held()?)?;
            Ok(CARDEA_OK)
        })
    }
}

/// A PIN was entered and closed with the pad's enter key: `length` ASCII digits. Right, and inside its time, it unlocks
/// before this returns.
///
/// `CARDEA_OK`: `result` is a `cardea_pin_result`, and `closed_ms` how long the pad stays closed where that is
/// `CARDEA_PIN_REFUSED`, else 0. Anything that cannot be a PIN is a wrong one, whatever its length: of what is longer than
/// `CARDEA_PIN_MAX` nothing more is read. The attempt is counted in storage before the PIN is looked at. Erase your copy of
/// the digits.
///
/// `CARDEA_ERR_UNSUPPORTED`: the library was built without PINs. `CARDEA_ERR_STORAGE`: the medium failed, and the bolt
/// did not move.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_agent_enter_pin(
    agent: *mut cardea_agent,
    digits: *const u8,
    length: usize,
    result: *mut u32,
    closed_ms: *mut u64,
) -> cardea_status {
    // SAFETY: passed on; the firmware leaves the digits alone until this returns.
    unsafe {
        enter(agent, |agent| {
            let read = length.min(CARDEA_PIN_MAX + 1); // one too many says as much as all of them
            let digits = input(digits, read, read)?;
            put(result, cardea_pin_result::CARDEA_PIN_WRONG as u32)?;
            put(closed_ms, 0)?;
            let (what, closed) = pin(agent, digits)?;
            put(result, what as u32)?;
            put(closed_ms, closed)?;
            Ok(CARDEA_OK)
        })
    }
}

/// Asks the site who has this address, 1 to `CARDEA_SITE_ADDRESS_MAX`. The answer, if it comes, is
/// `CARDEA_EVENT_MEMBER`; nothing in the lock rests on it. A later question takes the place of one that is still open.
/// `CARDEA_ERR_UNSUPPORTED`: the library was built without sessions of peers.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_agent_ask_membership(
    agent: *mut cardea_agent,
    address: u32,
) -> cardea_status {
    // SAFETY: passed on.
    unsafe {
        enter(agent, |agent| {
            if !(1..=CARDEA_SITE_ADDRESS_MAX).contains(&address) {
                return Err(CARDEA_ERR_ARGUMENT);
            }
            ask(agent, address as u16)
        })
    }
}

#[cfg(feature = "peers")]
fn ask(agent: &mut crate::place::LockAgent, address: u16) -> Result<cardea_status, cardea_status> {
    agent.ask_membership(address);
    Ok(CARDEA_OK)
}

#[cfg(not(feature = "peers"))]
fn ask(_: &mut crate::place::LockAgent, _: u16) -> Result<cardea_status, cardea_status> {
    Err(CARDEA_ERR_UNSUPPORTED)
}

fn position(door: u32) -> Result<Door, cardea_status> {
    match door {
        CARDEA_DOOR_CLOSED => Ok(Door::Closed),
        CARDEA_DOOR_OPEN => Ok(Door::Open),
        CARDEA_DOOR_AJAR => Ok(Door::Ajar),
        _ => Err(CARDEA_ERR_ARGUMENT),
    }
}

#[cfg(feature = "pins")]
fn pin(
    agent: &mut crate::place::LockAgent,
    digits: &[u8],
) -> Result<(cardea_pin_result, u64), cardea_status> {
    use cardea_pin_result::*;
    match agent.enter_pin(digits) {
        PinResult::Unlocked => Ok((CARDEA_PIN_UNLOCKED, 0)),
        PinResult::Jammed => Ok((CARDEA_PIN_JAMMED, 0)),
        PinResult::Wrong => Ok((CARDEA_PIN_WRONG, 0)),
        PinResult::Refused(closed_ms) => Ok((CARDEA_PIN_REFUSED, closed_ms)),
        PinResult::StorageFailed => Err(CARDEA_ERR_STORAGE),
    }
}

#[cfg(not(feature = "pins"))]
fn pin(_: &mut crate::place::LockAgent, _: &[u8]) -> Result<(cardea_pin_result, u64), cardea_status> {
    Err(CARDEA_ERR_UNSUPPORTED)
}
