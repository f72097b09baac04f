//! Where a CC1101 is: on spidev and lines of a GPIO chip, or behind a socket.

mod remote;
mod spidev;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use embedded_hal::spi::{ErrorKind, ErrorType, Operation, SpiDevice};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{Line, Micros};

/// Where a module is wired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// On this machine's SPI.
    Spidev {
        /// `/dev/spidev0.0`.
        spi: PathBuf,
        /// Clock of the SPI, Hz: at most 6.5 MHz, which the chip takes for bursts.
        speed_hz: u32,
        /// `/dev/gpiochip0`.
        gpio: PathBuf,
        /// Offset of the line at GDO0.
        gdo0: u32,
    },
    /// Behind a Unix socket that speaks [`wire`](crate::wire): a model of the chip.
    Socket(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spidev { spi, .. } => write!(f, "{}", spi.display()),
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why a module cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The SPI device, or the socket.
    #[error("{0}: {1}")]
    Spi(PathBuf, #[source] io::Error),
    /// The GPIO lines.
    #[error("{0}, line {1}: {2}")]
    Gpio(PathBuf, u32, #[source] gpiocdev::Error),
}

/// An edge of a line of the chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// On [`now`]'s clock.
    pub at: Micros,
    /// Which line.
    pub line: Line,
    /// Its level since.
    pub high: bool,
}

/// A module that is open. It stays on the thread that opened it.
pub struct Device {
    /// Its SPI, until the driver takes it.
    pub spi: Option<Spi>,
    lines: Lines,
}

enum Lines {
    Gpio(spidev::Gpio),
    Socket(remote::Remote),
}

impl Device {
    /// Opens it.
    ///
    /// # Errors
    /// A device that is not there or not ours to open. Whether a chip is there is not asked.
    pub fn open(place: &Place) -> Result<Self, OpenError> {
        let (spi, lines) = match place {
            Place::Spidev { spi, speed_hz, gpio, gdo0 } => {
                let device = spidev::open(spi, *speed_hz)?;
                (Spi::Spidev(device), Lines::Gpio(spidev::Gpio::open(gpio, *gdo0)?))
            }
            Place::Socket(path) => {
                let remote =
                    remote::Remote::connect(path).map_err(|error| OpenError::Spi(path.clone(), error))?;
                (Spi::Socket(remote.clone()), Lines::Socket(remote))
            }
        };
        Ok(Self { spi: Some(spi), lines })
    }

    /// Waits for an edge, for `wake` to be readable, or for so long.
    ///
    /// # Errors
    /// The lines or the socket are gone.
    pub fn wait(&self, wake: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
        match &self.lines {
            Lines::Gpio(gpio) => wait([gpio.fd(), wake], timeout),
            // What came beside an answer is there already.
            Lines::Socket(remote) if remote.has_edges() => Ok(()),
            Lines::Socket(remote) => wait([remote.fd().as_fd(), wake], timeout),
        }
    }

    /// The edges that have come.
    ///
    /// # Errors
    /// The lines or the socket are gone.
    pub fn edges(&mut self) -> io::Result<VecDeque<Edge>> {
        match &mut self.lines {
            Lines::Gpio(gpio) => gpio.edges(),
            Lines::Socket(remote) => remote.edges(),
        }
    }
}

/// SPI of any kind.
pub enum Spi {
    /// This machine's.
    Spidev(spidev::SpidevChip),
    /// A model's.
    Socket(remote::Remote),
}

/// What an SPI said; which error it was does not matter to the driver.
#[derive(Debug)]
pub struct SpiError;

impl embedded_hal::spi::Error for SpiError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

impl ErrorType for Spi {
    type Error = SpiError;
}

impl SpiDevice for Spi {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), SpiError> {
        match self {
            Self::Spidev(device) => device.transaction(operations),
            Self::Socket(remote) => remote.transaction(operations),
        }
    }
}

/// `CLOCK_MONOTONIC`, the clock of the kernel's edges, microseconds.
#[must_use]
pub fn now() -> Micros {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000).saturating_add(u64::try_from(time.tv_nsec / 1_000).unwrap_or_default())
}

use std::os::fd::AsFd as _;

/// Waits until one of them is readable, or for so long.
///
/// # Errors
/// The system's; an interruption is none.
pub fn wait<const N: usize>(fds: [BorrowedFd<'_>; N], timeout: Duration) -> io::Result<()> {
    let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
