//! A serial module: a TTY, eight bits, no parity, one stop bit, no flow control.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use serial2::{FlowControl, SerialPort, Settings};

use super::{Edge, Lines, OpenError, Opened, Setting, now, wait};
use crate::Line;
use crate::serial::{Bytes, Config, Gone, Serial};

/// What is there, as its own configuration has it. Nothing of it can be read from the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// `/dev/ttyAMA0`.
    pub tty: PathBuf,
    /// As it is set up.
    pub uart: cardea_subghz_link::Module,
}

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.tty.display())
    }
}

/// Opens the TTY, and makes it a [`Serial`] and what is waited on.
pub(super) fn open(module: &Module, setting: Setting) -> Result<Opened, OpenError> {
    let config =
        Config { module: module.uart, budget_us: setting.region.budget(), silence_us: setting.silence_us };
    let tty = Tty::open(&module.tty, module.uart.baud)
        .map_err(|error| OpenError::Device(module.tty.clone(), error))?;
    let radio = Serial::new(tty.clone(), config, now());
    Ok(Opened { radio: Box::new(radio), lines: Box::new(tty) })
}

/// A TTY that is opened again by its name when it was gone: what is plugged in again may be another device behind the same name.
#[derive(Clone)]
pub struct Tty {
    path: PathBuf,
    baud: u32,
    /// While it is there. The driver and the thread that waits for it have the same.
    port: Rc<RefCell<Option<SerialPort>>>,
}

impl Tty {
    /// Opens it.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path, baud: u32) -> io::Result<Self> {
        let port = Rc::new(RefCell::new(Some(port(path, baud)?)));
        Ok(Self { path: path.into(), baud, port })
    }

    /// Does something with the port, which is gone after any error but that it is not ready.
    fn with(&self, work: impl FnOnce(&SerialPort) -> io::Result<usize>) -> Result<usize, Gone> {
        let mut port = self.port.try_borrow_mut().map_err(|_| Gone)?;
        match work(port.as_ref().ok_or(Gone)?) {
            Ok(count) => Ok(count),
            Err(error) if is_patience(error.kind()) => Ok(0),
            Err(error) => {
                tracing::debug!(%error, "the TTY of a serial module");
                *port = None;
                Err(Gone)
            }
        }
    }
}

fn port(path: &Path, baud: u32) -> io::Result<SerialPort> {
    let mut port = SerialPort::open(path, |mut settings: Settings| {
        settings.set_raw();
        settings.set_baud_rate(baud)?;
        settings.set_flow_control(FlowControl::None);
        Ok(settings)
    })?;
    // It is asked when there is something, and never waited for here.
    port.set_read_timeout(Duration::ZERO)?;
    port.set_write_timeout(Duration::ZERO)?;
    // What came while nobody listened is too old to be answered.
    port.discard_buffers()?;
    Ok(port)
}

fn is_patience(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl Bytes for Tty {
    const TELLS: bool = true;

    fn read(&mut self, into: &mut [u8]) -> Result<usize, Gone> {
        self.with(|port| match port.read(into) {
            // Nobody is at the other end any more.
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            result => result,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, Gone> {
        self.with(|port| port.write(bytes))
    }

    fn open(&mut self) -> Result<(), Gone> {
        let mut open = self.port.try_borrow_mut().map_err(|_| Gone)?;
        if open.is_none() {
            *open = Some(port(&self.path, self.baud).map_err(|_| Gone)?);
        }
        Ok(())
    }
}

impl Lines for Tty {
    fn wait(&self, wake: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
        let port = self.port.try_borrow().map_err(io::Error::other)?;
        match &*port {
            Some(port) => wait([port.as_fd(), wake], timeout),
            None => wait([wake], timeout),
        }
    }

    /// It has no lines: that it can be read is one.
    fn edges(&mut self) -> io::Result<VecDeque<Edge>> {
        let port = self.port.try_borrow().map_err(io::Error::other)?;
        let Some(port) = &*port else { return Ok(VecDeque::new()) };
        let mut fds = [rustix::event::PollFd::new(port, rustix::event::PollFlags::IN)];
        let ready = rustix::event::poll(&mut fds, Some(&rustix::event::Timespec::default()))?;
        let edge = Edge { at: now(), line: Line::Done, high: true };
        Ok((ready > 0).then_some(edge).into_iter().collect())
    }
}
