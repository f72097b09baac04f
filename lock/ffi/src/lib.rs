//! The lock agent for firmware in C: [`cardea_agent`](::cardea_agent::Agent) behind a C ABI, as a static library.
//!
//! The header `include/cardea.h` is made from this crate by cbindgen; a test compares them. Its opening says who owns
//! which memory and who may call when, and `docs/lock-agent.md` how to build, link and port. Every function here is
//! thin: it checks what C cannot promise (null, alignment, lengths, an agent that is there and not busy), calls the
//! function of the same name of the agent, and turns the answer into numbers.
//!
//! What it does not do: it allocates nothing, starts no thread and keeps no global state; two agents in two pieces of
//! memory know nothing of each other. Rust firmware uses `cardea-agent` itself.
#![cfg_attr(not(feature = "std"), no_std)]
// The doc comments become the C header, whose opening has the rules of memory for all functions at once.
#![allow(clippy::missing_safety_doc)]

mod abi;
mod agent;
#[cfg(any(test, feature = "fuzz"))]
mod bench;
mod board;
mod config;
mod door;
mod event;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod guard;
mod memory;
mod owner_code;
mod place;
mod soft_keys;
mod status;
#[cfg(test)]
mod tests;

pub use abi::*;
pub use agent::*;
pub use config::{cardea_config_class_a, cardea_config_listening};
pub use door::*;
pub use owner_code::{cardea_owner_code_generate, cardea_owner_code_text, cardea_provision};
pub use soft_keys::*;
pub use status::cardea_strerror;

/// The version of the ABI that this library was built with, to be compared with `CARDEA_ABI_VERSION` of the header.
// SAFETY: the prefix `cardea_` is ours, nothing else in a firmware has this name.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub extern "C" fn cardea_abi_version() -> u32 {
    CARDEA_ABI_VERSION
}

/// Which parts this library was built with: `CARDEA_FEATURE_PEERS`, `CARDEA_FEATURE_PINS`.
// SAFETY: the prefix `cardea_` is ours.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub extern "C" fn cardea_features() -> u32 {
    let part = |built: bool, bit: u32| if built { bit } else { 0 };
    part(cfg!(feature = "peers"), CARDEA_FEATURE_PEERS) | part(cfg!(feature = "pins"), CARDEA_FEATURE_PINS)
}

#[cfg(feature = "firmware")]
mod panic {
    // SAFETY: the header asks for a function of this name that takes nothing and returns nothing.
    #[allow(unsafe_code)]
    unsafe extern "C" {
        /// Supplied by the firmware. A fault of this library was found: bring the motor to rest and reset the chip.
        /// Must not return.
        safe fn cardea_panic();
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        cardea_panic();
        loop {
            core::hint::spin_loop();
        }
    }
}
