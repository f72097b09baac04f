//! Virtual locks, virtual radios and an embedded broker: what `cardea-demo` and the whole-system tests are built of.
//!
//! [`Air`] carries LoRa transmissions between [`Forwarder`], which speaks the Semtech UDP protocol to a real
//! gateway, and [`VirtualLock`]s, each the real lock agent on the unmodified `lorawan-device` stack. [`Broker`] is
//! an MQTT broker in this process. Time is tokio's; chance comes from one printed seed.
//!
//! [`zigbee`] has the same locks behind a virtual coordinator, a dongle on a pseudo-terminal. [`subghz`] has CC1101 chips on
//! an air at 433 MHz.
//!
//! What it does not do: it is no part of the shipped daemon, its keys are no secrets, and its radio knows neither
//! interference between devices nor distance. Virtual locks draw DevNonces at random, as that stack does, and so
//! follow the rules of LoRaWAN 1.0.3.

mod air;
mod board;
mod broker;
mod forwarder;
mod lock;
mod pty;
mod radio;
mod random;
pub mod subghz;
pub mod zigbee;

pub use air::{Air, Modulation, Transmission, Weather};
pub use board::Nvm;
pub use broker::{Broker, Message};
pub use forwarder::{Counters, Forwarder, ForwarderConfig, ForwarderError};
pub use lock::{FIRMWARE, Happened, Happening, LockConfig, Region, VirtualLock};
pub use random::Random;
