//! The SX1261, SX1262 and SX1268 of Semtech in GFSK, on SPI with BUSY, NRESET and DIO1.
//!
//! [`Sx126x`] is a [`Transceiver`](crate::Transceiver) over any `embedded-hal` SPI device and two pins. It keeps to the rules of
//! [`cc1101`](crate::cc1101): no clock, thread or interrupt, no waiting, every look a bounded number of accesses, lines are hints.
//!
//! **The same bytes as a CC1101's are on the air.** Whitening is off in the chip (its own differs from a CC1101's) and is the link
//! layer's. Length and checksum are the chip's: packets of variable length, two bytes of CRC, not inverted, from 0xFFFF with the
//! polynomial 0x8005, which is CRC-16/CMS over LEN and frame. They cannot be software's: with its CRC off the chip ends reception
//! after LEN bytes and never hands over the two behind them, and with a fixed length every frame would last as long as the longest.
//!
//! **BUSY.** While it is high the chip takes nothing. Each access looks at it up to [`BUSY_LOOKS`] times; if it stays high the access
//! does not happen, and the step that wanted it is repeated at the next timeout. After [`BUSY_US`] the chip is
//! [`Problem::Stuck`](crate::Problem::Stuck) and reset by its pin. `send` gives the order itself before it returns or refuses, so
//! that a busy chip never sends later than it was asked to.

mod chip;
pub mod command;
mod driver;
mod watch;

pub use crate::watch::WATCH_US;
pub use chip::BUSY_LOOKS;
pub use command::{Amplifier, Config, Tcxo};
pub use driver::{BUSY_US, Counters, Sx126x};
