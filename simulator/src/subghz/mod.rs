//! A virtual 433 MHz air with CC1101 and SX126x chips on it, on a virtual clock.
//!
//! ```text
//! gateway ── socket ── Ether ── Spi ── Chip ┐
//! lock agent ── LockRadio ── Spi ── Chip ───┤
//! driver ── Spi (embedded-hal) ── Chip ──┐
//! driver ── Spi, pins ── Sx126x ─────────┼── Air: strength, loss, bit errors, collisions, a jammer, crystals that are off
//! PyPI cc1101 ── its transfers ── Chip ──┘      └ Burst: what was on the air, for an IQ file
//! ```
//!
//! [`Air`] owns the clock. An SPI transfer takes its time, [`Air::advance`] lets more pass, and chips change state, fill FIFOs and move
//! their lines on the way. All chance comes from one seed.
//!
//! The chips follow TI's data sheet (SWRS061) and its errata (SWRZ020) as far as copies of them could be had (docs/433-radio.md), but were not compared
//! with a real chip. Bytes are the smallest thing on the air; sensitivity, capture at 6 dB and the carrier threshold are round figures. Not there: wake
//! on radio, Manchester, FEC, OOK, address filter, synchronous and fixed-length modes, and reception with any but the doubled sync word.

mod air;
mod chip;
mod ether;
mod iq;
mod lock;
mod mailbox;
mod model;
mod orders;
mod radio;
mod serial;
mod spent;
mod spi;
mod sx126x;
mod town;

pub use air::{Air, Burst, Conditions, Edge, Jammer};
pub use chip::{ChipConfig, Faults};
pub use ether::{Ether, EtherConfig, GatewayChip};
pub use iq::{Iq, cu8};
pub use lock::SubghzLock;
pub use radio::{LockRadio, RadioConfig, RadioEvent, Stranger};
pub use serial::{Modules, SerialConditions, SerialEther, SerialEtherConfig, SerialRadio, SerialTown, Uart};
pub use spent::Spent;
pub use spi::{BusyPin, ResetPin, Spi};
pub use sx126x::Sx126xConfig;
pub use town::Town;
