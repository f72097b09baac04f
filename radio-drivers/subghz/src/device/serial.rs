//! A serial module: a TTY.

use std::fmt;
use std::path::PathBuf;

use super::{OpenError, Opened, Setting};

/// What is there, as its own configuration has it. Nothing of it can be read from the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// `/dev/ttyAMA0`.
    pub tty: PathBuf,
    /// Of the UART.
    pub baud: u32,
    /// On the air, bits per second.
    pub air_bps: u32,
    /// Bytes that it puts into one packet of its own.
    pub packet: u16,
    /// What a packet of its own costs beside its bytes, microseconds on the air.
    pub overhead_us: u32,
    /// From the last byte at the module until it begins, at the most, microseconds.
    pub hold_us: u32,
}

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.tty.display())
    }
}

/// Opens the TTY, and makes it a [`Serial`](crate::serial::Serial) and what is waited on.
pub(super) fn open(module: &Module, _setting: Setting) -> Result<Opened, OpenError> {
    Err(OpenError::NotYet(module.tty.clone()))
}
