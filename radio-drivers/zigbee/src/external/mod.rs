//! A coordinator in a process of its own, for vendors' libraries that have global state, one thread, and an unknown number
//! of ways to crash: [`External`] starts a host program, gives it orders and takes its events over a socket pair, and starts
//! it again when it dies, falls silent or makes no sense.
//!
//! [`wire`] is what both ends say; [`Host`] is the gateway's end as a state machine without process, clock or task; the
//! other end for the ZBOSS host library is `cardea-zigbee-zboss-sys`.
//!
//! What it promises is what every coordinator promises, whatever the program does: each order has its one end, a network is
//! formed once for an order and never by a restart, and no other network than the expected one is ever up. What it does not
//! do: backup, restore and change of the network key are refused, in words.

mod host;
mod process;
pub mod wire;

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::coordinator::{Coordinator, CoordinatorEnd, HostConfig};
use crate::port;
use process::Children;

pub use host::Host;
pub use process::Program;

/// A host program as a coordinator.
#[derive(Debug, Clone)]
pub struct External {
    /// Which.
    pub program: Program,
    /// The dongle's port, for the program.
    pub device: PathBuf,
    /// What devices find when they look for us.
    pub host: HostConfig,
}

impl Coordinator for External {
    async fn run(self, end: CoordinatorEnd) {
        let Self { program, device, host } = self;
        let machine = Host::new(host, device.as_os_str().as_bytes().to_vec(), end.expected);
        let mut children = Children::new(program);
        port::drive(|| children.open(), machine, end).await;
        children.end().await;
    }
}

#[cfg(test)]
mod tests;
