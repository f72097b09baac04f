//! Zigbee for the gateway: coordinators behind one contract, the cluster that carries sealed frames, and as much of the
//! Zigbee Cluster Library as it takes to watch an ordinary lock.
//!
//! [`coordinator::Coordinator`] is what every vendor's dongle is to the gateway: orders in, events out. One is here:
//! [`zboss::ZbossNcp`], a dongle with ZBOSS NCP firmware on a serial port. Inside is [`zboss::Host`], a state machine
//! without port, clock or task; below it a [link](zboss::Link) that repeats and acknowledges, and codecs whose bytes are
//! those of two other hosts. [`tunnel`] and [`zcl`] know nothing of dongles.
//!
//! What it promises: a network is resumed before anything is set, and formed, erased or adopted by an order alone; nobody
//! joins without an install code, nobody stays without a link key of its own; one device joins at a time; a frame that is
//! late does not reach the dongle; every frame and question has exactly one end; no PIN of an ordinary lock gets past its
//! codec. What it does not promise: secrecy from the gateway, which holds the network's keys. Frames are sealed by others.
//!
//! Not here yet: a driver of `cardea-radio`'s contract on top of a coordinator, EZSP, backup and restore, rotation of the
//! network key. Nothing was tried on a real dongle.

mod addresses;
pub mod backup;
mod bucket;
pub mod coordinator;
pub mod descriptors;
pub mod ezsp;
mod port;
pub mod tunnel;
mod types;
mod wire;
pub mod zboss;
pub mod zcl;

pub use types::{Eui64, InstallCode, Key, NwkAddr};
pub use wire::DecodeError;
