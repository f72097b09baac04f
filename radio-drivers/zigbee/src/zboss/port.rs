//! A dongle with ZBOSS NCP firmware on its port.

use std::io;
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncWrite};

use super::host::Host;
use crate::coordinator::{Coordinator, CoordinatorEnd, HostConfig};
use crate::port::machine;

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
        drive(|| serial2_tokio::SerialPort::open(&device, baud), config, end).await;
    }
}

/// What [`ZbossNcp`] does, on any port: runs until the orders end. `open` is called again a second after each failure.
pub async fn drive<P>(open: impl FnMut() -> io::Result<P>, config: HostConfig, end: CoordinatorEnd)
where
    P: AsyncRead + AsyncWrite + Unpin,
{
    let host = Host::new(config, end.expected);
    crate::port::drive(open, host, end).await;
}

machine!(Host);
