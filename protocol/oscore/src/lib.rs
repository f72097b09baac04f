//! OSCORE (RFC 8613): protects CoAP messages end to end, so that whoever carries them can neither read nor change them.
//!
//! [`Context`] is the main type: derived once from the secret and salt that EDHOC exports (RFC 9528 appendix A.1), it
//! turns plain CoAP messages into protected ones and back, for both directions. [`coap`] is the codec for the plain
//! messages, [`echo`] has the Echo option (RFC 9175) by which a server proves that a request is fresh.
//!
//! What it leaves to the caller, because it needs storage, time or randomness:
//! - **Sequence numbers.** [`SenderSequence`] hands out numbers only below a limit that the caller has made durable.
//!   A number used twice under one key gives both messages away.
//! - **Replay.** [`Context::unprotect_request`] says that a message is authentic, not that it is new. Ask a
//!   [`ReplayGuard`] (the lock's [`Window`], the platform's exact set) with [`ReplayGuard::check`], make the number
//!   durable with [`ReplayGuard::commit`] and only then act.
//! - **Wrong tags** are counted in the context and retire it at [`Context::MAX_FAILED_TAGS`]; short tags are only
//!   acceptable with such a cap. The caller stores the count with the context.
//!
//! Not here: Observe (options are split and joined as the RFC says, but no state is kept), outer block-wise transfer,
//! Group OSCORE, key update. No allocator, no clock, no randomness, no IO; no input makes it panic.
#![no_std]

#[cfg(test)]
extern crate std;

mod aead;
#[cfg(test)]
mod aead_tests;
pub mod coap;
mod context;
pub mod echo;
mod error;
mod option;
mod replay;
mod sequence;
mod transform;

pub use aead::Algorithm;
pub use context::{Binding, Context, Id};
pub use error::Error;
pub use option::OscoreOption;
pub use replay::{ReplayGuard, Window};
pub use sequence::SenderSequence;

/// Largest sequence number: a Partial IV has at most 5 bytes (RFC 8613 section 7.2.1).
pub const MAX_PARTIAL_IV: u64 = (1 << 40) - 1;
