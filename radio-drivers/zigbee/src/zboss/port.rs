//! A dongle with ZBOSS NCP firmware on its port.

use std::path::PathBuf;

use super::host::Host;
use crate::coordinator::{Coordinator, CoordinatorEnd, HostConfig};
use crate::port::{drive, machine};

/// A dongle with ZBOSS NCP firmware.
#[derive(Debug, Clone)]
pub struct ZbossNcp {
    /// Its port, by a name that stays: `/dev/serial/by-id/…`.
    pub device: PathBuf,
    /// Baud; means nothing on USB.
    pub baud: u32,
    /// What is the same for its whole life.
    pub config: HostConfig,
}

impl Coordinator for ZbossNcp {
    async fn run(self, end: CoordinatorEnd) {
        let Self { device, baud, config } = self;
        let host = Host::new(config, end.expected);
        drive(|| serial2_tokio::SerialPort::open(&device, baud), host, end).await;
    }
}

machine!(Host);
