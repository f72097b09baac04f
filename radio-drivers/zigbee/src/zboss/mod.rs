//! The ZBOSS NCP serial protocol, host side: [frames](ll), the [link](Link), [packets](hl), [calls](call).
//!
//! Layouts are those that zigpy-zboss 2.0.5, zigbee-herdsman 10.9.5 and Wireshark's `zbncp` dissector agree on (NCP host
//! 3.x, ZBOSS R22 and R23 firmware); where only one of them has a command, the dissector's layout stands. None of it was
//! tried on a real dongle yet.

pub mod call;
pub mod hl;
mod host;
mod link;
pub mod ll;
mod port;

pub use crate::coordinator::HostConfig;
pub use host::Host;
#[cfg(test)]
pub(crate) use host::tests;
pub use link::{ACK_TIMEOUT_MS, Link, LinkError, MAX_PACKET, MAX_QUEUED, MAX_RECEIVED, MAX_SENDS};
pub use port::{ZbossNcp, drive};
