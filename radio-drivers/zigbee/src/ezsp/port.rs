//! A dongle with EmberZNet NCP firmware (Silicon Labs) on its port.

use std::path::PathBuf;

use super::host::Host;
use crate::coordinator::{Coordinator, CoordinatorEnd, HostConfig};
use crate::port::{drive, machine};

/// A dongle with EmberZNet NCP firmware (Silicon Labs).
#[derive(Debug, Clone)]
pub struct EzspNcp {
    /// Its port, by a name that stays: `/dev/serial/by-id/…`.
    pub device: PathBuf,
    /// Baud; 115,200 for most.
    pub baud: u32,
    /// What is the same for its whole life.
    pub config: HostConfig,
}

impl Coordinator for EzspNcp {
    async fn run(self, end: CoordinatorEnd) {
        let Self { device, baud, config } = self;
        let host = Host::new(config, end.expected);
        drive(|| serial2_tokio::SerialPort::open(&device, baud), host, end).await;
    }
}

machine!(Host);
