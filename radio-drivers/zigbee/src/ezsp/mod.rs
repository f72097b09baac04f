//! EZSP over ASH version 2, host side, for dongles of Silicon Labs: [frames on the line](ash), the [link](Link),
//! [commands](call).
//!
//! Protocols 13 to 19 (EmberZNet 7.4 to Simplicity SDK 2025.12), as bellows 1.2.1 speaks them. None of it was tried on a real
//! dongle yet.

pub mod ash;
pub mod call;
mod host;
mod link;
mod port;
mod zdo;

pub use host::Host;
pub use link::{ACK_TIMEOUTS_MS, Link, LinkEvent, MAX_RECEIVED, RESET_MS};
pub use port::{EzspNcp, drive};
