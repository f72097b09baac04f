//! What the factory does once: an owner code for the second label, and into the lock.
#![allow(unsafe_code)] // reads and writes memory of the caller

use core::ffi::c_char;

use cardea_agent::provision;
use cardea_credentials::OwnerCode;
use zeroize::Zeroizing;

use crate::abi::cardea_status::{self, *};
use crate::abi::{CARDEA_OWNER_CODE_LEN, CARDEA_OWNER_CODE_TEXT, cardea_random, cardea_storage};
use crate::board::{CRandom, CStorage};
use crate::memory::{bytes, put_bytes};
use crate::status::answer;

/// Makes an owner code: `CARDEA_OWNER_CODE_LEN` bytes. Erase your copy once it is printed and provisioned.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_owner_code_generate(
    random: *const cardea_random,
    code: *mut u8,
) -> cardea_status {
    answer(|| {
        // SAFETY: passed on.
        let mut random = unsafe { CRandom::new(random)? };
        let fresh = OwnerCode::generate(&mut random)?;
        // SAFETY: the header asks for that many bytes.
        unsafe { put_bytes(code, fresh.to_bytes().as_ref())? };
        Ok(CARDEA_OK)
    })
}

/// The text that goes on the second label: `CARDEA_OWNER_CODE_TEXT` characters with the terminating zero.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_owner_code_text(code: *const u8, text: *mut c_char) -> cardea_status {
    answer(|| {
        // SAFETY: the header asks for that many bytes.
        let code = OwnerCode::from_bytes(*Zeroizing::new(unsafe { bytes::<CARDEA_OWNER_CODE_LEN>(code)? }));
        let revealed = code.reveal();
        let mut out = Zeroizing::new([0; CARDEA_OWNER_CODE_TEXT]);
        out.iter_mut().zip(revealed.as_str().bytes()).for_each(|(to, from)| *to = from);
        // SAFETY: the header asks for that many characters.
        unsafe { put_bytes(text.cast(), out.as_ref())? };
        Ok(CARDEA_OK)
    })
}

/// Writes the owner code into a new lock, before its first boot. Not while an agent uses this storage.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_provision(storage: *const cardea_storage, code: *const u8) -> cardea_status {
    answer(|| {
        // SAFETY: the header asks for that many bytes.
        let code = OwnerCode::from_bytes(*Zeroizing::new(unsafe { bytes::<CARDEA_OWNER_CODE_LEN>(code)? }));
        // SAFETY: passed on.
        let mut storage = unsafe { CStorage::new(storage)? };
        provision(&mut storage, &code)?;
        Ok(CARDEA_OK)
    })
}
