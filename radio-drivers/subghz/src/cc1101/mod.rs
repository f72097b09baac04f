//! The CC1101 of Texas Instruments (SWRS061, errata SWRZ020) and its clones, on SPI.
//!
//! [`Cc1101`] is a [`Transceiver`](crate::Transceiver) over any `embedded_hal::spi::SpiDevice`. It has no clock, thread or
//! interrupt and never waits: each order that takes the chip time ends with a time to look again, and each look has a
//! bounded number of SPI accesses. `device` gives it spidev and GPIO lines, `driver` a thread.
//!
//! The chip's lines are hints. What happened is read from its registers, so a lost edge costs until the next look, at most
//! [`WATCH_US`], and no edge is needed for anything to end.

mod chip;
mod driver;
pub mod registers;
mod watch;

pub use crate::watch::WATCH_US;
pub use driver::{Cc1101, Counters};
pub use registers::{Config, Power, Profile};
pub use watch::RECALIBRATE_US;
