//! The link layer of 433 MHz networks, as two state machines over one codec: [`Gateway`] and [`Node`] (the lock's side).
//!
//! It carries frames of `cardea-framing` (at most [`MTU`] bytes) over a half-duplex packet radio: addresses, whitening and
//! CRC, wake-up of sleeping locks, acknowledgements and repeats, carrier sense and backoff, a duty-cycle budget, joining. An
//! 8-byte [message authentication code](mic) under keys given at admission keeps strangers from waking, flooding or
//! deceiving either end. It opens no door: frames are sealed end to end, an acknowledgement says that a radio heard a
//! radio, and custody is promised by framing's receipt alone.
//!
//! What it does not do: it cuts nothing into fragments, reads no clock (times are microseconds, given as arguments),
//! touches no radio (a driver takes [`Transmit`] and [`Listen`] from it), stores nothing by itself and allocates nothing.
//! The format is written down in `docs/433-link.md`.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod body;
pub mod codec;
mod counter;
mod duty;
mod gateway;
mod jam;
pub mod mic;
mod node;
pub mod phy;
mod radio;
mod session;
#[cfg(test)]
mod testing;

pub use body::{Accept, Ack, Beacon, Body, Hello, Join, Wake};
pub use codec::{AirFrame, Error, Header, Kind, MTU, Packet};
pub use counter::BLOCK;
pub use duty::DutyBudget;
pub use gateway::{Gateway, GatewayConfig, GatewayEvent, GatewayStats, Record, RecordName};
pub use mic::{Key, Secret};
pub use node::{Node, NodeConfig, NodeEvent, NodeStats};
pub use phy::{Module, Profile, Region};
pub use radio::{Listen, Outcome, Quality, Refusal, Transmit};

/// Microseconds of one end's own monotonic clock. The two ends' clocks are never compared.
pub type Micros = u64;

/// Eight bytes that name a lock (framing's lock id); a name and no proof.
pub type LockId = [u8; 8];
