//! Modules as they are wired: each kind opened by its own file into a [`Transceiver`] and what its thread waits on.
//!
//! Above this nothing knows which kind it is: [`open`] is the only place that asks.

pub mod cc1101;
mod gpio;
mod remote;
pub mod serial;
mod spi;
pub mod sx126x;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::engine::Named;
use crate::{Kind, Line, Micros, Profile, Region, Transceiver};

/// A module: what it is, where it is wired, and what only its kind is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Module {
    /// A CC1101.
    Cc1101(cc1101::Module),
    /// An SX1261, SX1262 or SX1268.
    Sx126x(sx126x::Module),
    /// A module that passes bytes of a UART through.
    Serial(serial::Module),
}

impl Module {
    /// In words.
    #[must_use]
    pub fn named(&self) -> Named {
        let (kind, place) = match self {
            Self::Cc1101(module) => (Kind::Cc1101, module.place.to_string()),
            Self::Sx126x(module) => (Kind::Sx126x, module.place.to_string()),
            Self::Serial(module) => (Kind::Serial, module.to_string()),
        };
        Named { kind, place }
    }
}

/// Where a chip on SPI is. `W` are the lines of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place<W> {
    /// On this machine's SPI.
    Spidev {
        /// `/dev/spidev0.0`.
        spi: PathBuf,
        /// Clock of the SPI, Hz.
        speed_hz: u32,
        /// `/dev/gpiochip0`.
        gpio: PathBuf,
        /// Offsets of its lines there.
        lines: W,
    },
    /// Behind a Unix socket that speaks [`wire`](crate::wire): a model of the chip.
    Socket(PathBuf),
}

impl<W> fmt::Display for Place<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spidev { spi, .. } => write!(f, "{}", spi.display()),
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What the network wants of whatever module there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Modulation.
    pub profile: Profile,
    /// Rules of the band.
    pub region: Region,
    /// After so long without a frame a chip is reset to be sure that it is not deaf.
    pub silence_us: Micros,
}

impl Setting {
    /// Of channel 0.
    fn frequency_hz(self) -> u32 {
        self.profile.channels().first().copied().unwrap_or(433_920_000)
    }
}

/// Why a module cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The SPI device, the TTY, or the socket.
    #[error("{0}: {1}")]
    Device(PathBuf, #[source] io::Error),
    /// A GPIO line.
    #[error("{0}, line {1}: {2}")]
    Gpio(PathBuf, u32, #[source] gpiocdev::Error),
    /// A chip keeps a profile of its own, and a serial module has no other than its own.
    #[error("{0}: the profile of the network is not this module's")]
    Profile(String),
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

/// What tells of a module that there is something to do. One without lines has its port here, and no edges.
pub trait Lines {
    /// Waits for it to say something, for `wake` to be readable, or for so long.
    ///
    /// # Errors
    /// It is gone.
    fn wait(&self, wake: BorrowedFd<'_>, timeout: Duration) -> io::Result<()>;

    /// The edges that have come.
    ///
    /// # Errors
    /// It is gone.
    fn edges(&mut self) -> io::Result<VecDeque<Edge>>;
}

/// A module that is open. It stays on the thread that opened it.
pub struct Opened {
    /// Its driver.
    pub radio: Box<dyn Transceiver>,
    /// What it is waited on by.
    pub lines: Box<dyn Lines>,
}

/// Opens it.
///
/// # Errors
/// A device that is not there or not ours to open. Whether a chip is there is not asked.
pub fn open(module: &Module, setting: Setting) -> Result<Opened, OpenError> {
    if setting.profile.carrier_sense() == matches!(module, Module::Serial(_)) {
        return Err(OpenError::Profile(module.named().place));
    }
    match module {
        Module::Cc1101(module) => cc1101::open(module, setting),
        Module::Sx126x(module) => sx126x::open(module, setting),
        Module::Serial(module) => serial::open(module, setting),
    }
}

/// What an SPI or a pin said; which error it was does not matter to the driver.
#[derive(Debug)]
pub struct BusError;

impl embedded_hal::spi::Error for BusError {
    fn kind(&self) -> embedded_hal::spi::ErrorKind {
        embedded_hal::spi::ErrorKind::Other
    }
}

impl embedded_hal::digital::Error for BusError {
    fn kind(&self) -> embedded_hal::digital::ErrorKind {
        embedded_hal::digital::ErrorKind::Other
    }
}

/// `CLOCK_MONOTONIC`, the clock of the kernel's edges, microseconds.
#[must_use]
pub fn now() -> Micros {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000).saturating_add(u64::try_from(time.tv_nsec / 1_000).unwrap_or_default())
}

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

impl Lines for remote::Remote {
    fn wait(&self, wake: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
        // What came beside an answer is there already.
        if self.has_edges() { Ok(()) } else { wait([self.fd().as_fd(), wake], timeout) }
    }

    fn edges(&mut self) -> io::Result<VecDeque<Edge>> {
        self.take_edges()
    }
}
