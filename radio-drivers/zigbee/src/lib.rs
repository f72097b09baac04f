//! Zigbee for the gateway: coordinators behind one contract, the cluster that carries sealed frames, and as much of the
//! Zigbee Cluster Library as it takes to watch an ordinary lock.
//!
//! [`coordinator::Coordinator`] is what every vendor's dongle is to the gateway: orders in, events out. Two families are here:
//! [`zboss::ZbossNcp`], a dongle with ZBOSS NCP firmware, and [`ezsp::EzspNcp`], one of Silicon Labs. Inside each is a state
//! machine without port, clock or task ([`zboss::Host`], [`ezsp::Host`]); below it a link that repeats and acknowledges, and
//! codecs whose bytes are those of other hosts. What hosts of all families share is in [`joins`], [`queue`] and [`bucket`].
//! [`external::External`] is a coordinator in a process of its own, for a vendor's library. [`backup`] is a network outside any
//! dongle, to be moved to another one of either family. [`tunnel`] and [`zcl`] know nothing of dongles.
//!
//! What it promises: a network is resumed before anything is set, and formed, erased or adopted by an order alone; nobody
//! joins without an install code, nobody stays without a link key of its own; one device joins at a time; a frame that is
//! late does not reach the dongle; every frame and question has exactly one end; no PIN of an ordinary lock gets past its
//! codec. What it does not promise: secrecy from the gateway, which holds the network's keys. Frames are sealed by others.
//!
//! [`driver`] is `cardea-radio`'s contract over any of them. Nothing was tried on a real dongle.

mod addresses;
pub mod backup;
pub mod bucket;
pub mod coordinator;
pub mod descriptors;
pub mod driver;
pub mod external;
pub mod ezsp;
pub mod joins;
mod port;
pub mod queue;
pub mod tunnel;
mod types;
mod wire;
pub mod zboss;
pub mod zcl;

pub use types::{Eui64, InstallCode, Key, NwkAddr};
pub use wire::DecodeError;
