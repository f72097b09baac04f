//! Errors of the crates below, as numbers and as text.
#![allow(unsafe_code)] // exported names

use core::ffi::{CStr, c_char};

use cardea_agent::{Error as BootError, ResetRefusal, StorageFault};
use cardea_credentials::Error as CredentialError;

use crate::abi::cardea_status::{self, *};
use crate::guard::{Panicked, catch};

impl From<Panicked> for cardea_status {
    fn from(_: Panicked) -> Self {
        CARDEA_ERR_PANIC
    }
}

impl From<StorageFault> for cardea_status {
    fn from(_: StorageFault) -> Self {
        CARDEA_ERR_STORAGE
    }
}

impl From<BootError> for cardea_status {
    fn from(error: BootError) -> Self {
        match error {
            BootError::Storage => CARDEA_ERR_STORAGE,
            BootError::Damaged(_) => CARDEA_ERR_DAMAGED,
            BootError::Key => CARDEA_ERR_KEY,
        }
    }
}

impl From<ResetRefusal> for cardea_status {
    fn from(refusal: ResetRefusal) -> Self {
        match refusal {
            ResetRefusal::NoOwner => CARDEA_ERR_NO_OWNER,
            ResetRefusal::DoorNotOpen => CARDEA_ERR_DOOR_NOT_OPEN,
            ResetRefusal::RandomFailed => CARDEA_ERR_RANDOM,
            _ => CARDEA_ERR_ARGUMENT,
        }
    }
}

impl From<CredentialError> for cardea_status {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::RandomUnavailable => CARDEA_ERR_RANDOM,
            _ => CARDEA_ERR_KEY,
        }
    }
}

/// What a function that needs no agent answers.
pub(crate) fn answer(call: impl FnOnce() -> Result<cardea_status, cardea_status>) -> cardea_status {
    catch(call).unwrap_or_else(|panicked| Err(panicked.into())).unwrap_or_else(|error| error)
}

/// A status in words, for a log: English, static, never NULL. Any number is allowed.
// SAFETY: the prefix `cardea_` is ours.
#[unsafe(no_mangle)]
pub extern "C" fn cardea_strerror(status: i32) -> *const c_char {
    text(status).as_ptr()
}

fn text(status: i32) -> &'static CStr {
    const WORDS: [(cardea_status, &CStr); 17] = [
        (CARDEA_OK, c"done"),
        (CARDEA_NOTHING, c"done, and there is nothing"),
        (CARDEA_ERR_NULL, c"a pointer is NULL"),
        (CARDEA_ERR_ARGUMENT, c"a length or a value is out of range, or a callback is missing"),
        (CARDEA_ERR_MEMORY, c"the agent's memory is too small or not aligned"),
        (CARDEA_ERR_NOT_BOOTED, c"there is no agent in this memory"),
        (CARDEA_ERR_BOOTED, c"there is an agent in this memory already"),
        (CARDEA_ERR_BUSY, c"the agent is in a call"),
        (CARDEA_ERR_VERSION, c"a struct is of a version that this library does not know"),
        (CARDEA_ERR_STORAGE, c"storage failed or has too few slots"),
        (CARDEA_ERR_DAMAGED, c"a stored record is damaged, or belongs to other keys"),
        (CARDEA_ERR_KEY, c"a key is unavailable or wrong"),
        (CARDEA_ERR_RANDOM, c"the random source failed"),
        (CARDEA_ERR_PANIC, c"the library has a fault; reset the lock"),
        (CARDEA_ERR_UNSUPPORTED, c"this library was built without that part"),
        (CARDEA_ERR_NO_OWNER, c"the lock has no owner"),
        (CARDEA_ERR_DOOR_NOT_OPEN, c"the door is not open, or nobody has said so"),
    ];
    WORDS.iter().find(|(known, _)| *known as i32 == status).map_or(c"unknown status", |(_, words)| words)
}
