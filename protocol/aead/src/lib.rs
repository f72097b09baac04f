//! The AEAD algorithms that EDHOC (RFC 9528) and OSCORE (RFC 8613) share, on slices and in place.
//!
//! Keys, nonces and what a failure means are the caller's. AES is the `aes` crate's, CCM the `ccm` crate's; what is ours is
//! [`Aes128`], which hands them one block at a time. No allocator, no randomness; no input makes it panic.
#![no_std]

#[cfg(test)]
extern crate std;

mod one_block;
#[cfg(test)]
mod tests;

use ccm::aead::array::typenum::Unsigned;
use ccm::aead::{AeadInOut, KeyInit};
use ccm::consts::{U8, U13, U16};
use zeroize::Zeroize;

#[cfg(feature = "chacha")]
pub use chacha20poly1305::ChaCha20Poly1305;
pub use one_block::Aes128;

/// AES-CCM-16-64-128 (RFC 9053 §4.2): 16-byte key, 13-byte nonce, 8-byte tag.
pub type AesCcm16_64_128 = ccm::Ccm<Aes128, U8, U13>;
/// AES-CCM-16-128-128 (RFC 9053 §4.2): 16-byte key, 13-byte nonce, 16-byte tag.
pub type AesCcm16_128_128 = ccm::Ccm<Aes128, U16, U13>;

/// Bytes of stack below `seal` and `open` that may hold a key afterwards. On a Cortex-M4 an operation is 1,048 bytes deep, and
/// `tests/tests/mcu.rs` finds nothing of a key there. On a host the `aes` crate chooses at run time among
/// implementations, and a cipher is as large as the largest.
const WIPED: usize = if cfg!(target_os = "none") { 1056 } else { 4096 };

/// Why nothing was sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A key or nonce of the wrong length, no room for the tag, or more text than the algorithm takes.
    #[error("wrong length")]
    Length,
    /// The tag is wrong.
    #[error("wrong tag")]
    Tag,
}

/// Encrypts all but the last bytes of `buffer`, as many as the tag has, and writes the tag there.
///
/// # Errors
/// [`Error::Length`].
pub fn seal<A: AeadInOut + KeyInit>(
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    buffer: &mut [u8],
) -> Result<(), Error> {
    let result = seal_below::<A>(key, nonce, aad, buffer);
    wipe_stack();
    result
}

#[inline(never)] // its frame lies where `wipe_stack` has its own
fn seal_below<A: AeadInOut + KeyInit>(
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    buffer: &mut [u8],
) -> Result<(), Error> {
    let (text, room) = split_tag::<A>(buffer)?;
    let cipher = A::new_from_slice(key).map_err(|_| Error::Length)?;
    let nonce = nonce.try_into().map_err(|_| Error::Length)?;
    let tag = cipher.encrypt_inout_detached(nonce, aad, text.into()).map_err(|_| Error::Length)?;
    room.copy_from_slice(&tag);
    Ok(())
}

/// Decrypts all but the last bytes of `buffer`, which are the tag. Where it is wrong, no plaintext is left behind.
///
/// # Errors
/// [`Error::Length`], [`Error::Tag`].
pub fn open<A: AeadInOut + KeyInit>(
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    buffer: &mut [u8],
) -> Result<(), Error> {
    let result = open_below::<A>(key, nonce, aad, buffer);
    wipe_stack();
    result
}

#[inline(never)] // as above
fn open_below<A: AeadInOut + KeyInit>(
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    buffer: &mut [u8],
) -> Result<(), Error> {
    let (text, tag) = split_tag::<A>(buffer)?;
    let cipher = A::new_from_slice(key).map_err(|_| Error::Length)?;
    let nonce = nonce.try_into().map_err(|_| Error::Length)?;
    let tag = (&*tag).try_into().map_err(|_| Error::Length)?;
    cipher.decrypt_inout_detached(nonce, aad, (&mut *text).into(), tag).map_err(|_| {
        text.zeroize(); // CCM decrypts before it verifies; do not depend on what the library leaves behind
        Error::Tag
    })
}

/// A cipher is moved while it is made, and what it was moved from is not erased with it: the key would stay on the stack, and
/// from there get into unused bytes of what is moved next.
#[inline(never)]
fn wipe_stack() {
    let mut below = [0_u8; WIPED];
    core::hint::black_box(&mut below);
}

fn split_tag<A: AeadInOut>(buffer: &mut [u8]) -> Result<(&mut [u8], &mut [u8]), Error> {
    let text = buffer.len().checked_sub(<A::TagSize as Unsigned>::USIZE).ok_or(Error::Length)?;
    buffer.split_at_mut_checked(text).ok_or(Error::Length)
}
