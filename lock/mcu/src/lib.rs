//! What the firmwares of this crate share: a board made of memory, the serial line, and two instruments.
//!
//! `bin/lock.rs` runs the real agent under `qemu-system-arm -M mps2-an386`; its other end is `tests/tests/mcu.rs`.
//! `bin/agent.rs` and `bin/empty.rs` are only linked: the difference of their sizes is what the agent costs.
//! Nothing here belongs into a product: the random numbers repeat and the keys are known.
#![no_std]

pub mod board;
pub mod instruments;
pub mod serial;
