//! A chip behind a Unix socket. Each SPI transaction, look at BUSY and change of NRESET is a question that is waited for; edges come
//! in between.

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use embedded_hal::digital::{self, InputPin, OutputPin};
use embedded_hal::spi::{self, Operation, SpiDevice};

use super::{BusError, Edge, OpenError, now};
use crate::wire::{Decoder, Message};
use crate::{Line, Micros};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(500);
/// Edges that wait; more are lost, which the driver can do with.
const EDGES: usize = 256;
/// No edge is older: what a peer says of time is not believed beyond that.
const OLDEST: Micros = 1_000_000;

/// One connection, for whoever holds a clone on this thread.
#[derive(Clone)]
pub(super) struct Remote {
    inner: Rc<RefCell<Inner>>,
    /// To wait on while the connection is borrowed.
    fd: Rc<OwnedFd>,
}

struct Inner {
    stream: UnixStream,
    decoder: Decoder,
    edges: VecDeque<Edge>,
    /// It said something wrong, or nothing, and is not asked again.
    dead: bool,
}

impl Remote {
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        Self::connect(path).map_err(|error| OpenError::Device(path.to_owned(), error))
    }

    fn connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let fd = Rc::new(stream.as_fd().try_clone_to_owned()?);
        let inner = Inner { stream, decoder: Decoder::default(), edges: VecDeque::new(), dead: false };
        Ok(Self { inner: Rc::new(RefCell::new(inner)), fd })
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub(super) fn has_edges(&self) -> bool {
        self.inner.try_borrow().is_ok_and(|inner| !inner.edges.is_empty() || inner.dead)
    }

    pub(super) fn take_edges(&mut self) -> io::Result<VecDeque<Edge>> {
        let mut inner = self.borrow()?;
        inner.stream.set_nonblocking(true)?;
        let read = inner.read_all();
        inner.stream.set_nonblocking(false)?;
        read?;
        Ok(std::mem::take(&mut inner.edges))
    }

    /// What the peer answers to a question.
    fn ask(&self, question: &Message) -> Result<Message, BusError> {
        let mut inner = self.borrow().map_err(|_| BusError)?;
        inner.ask(question).map_err(|error| {
            tracing::debug!(%error, "the socket of a virtual transceiver");
            inner.dead = true;
            BusError
        })
    }

    /// NRESET, answered when it has that level.
    fn hold(&self, low: bool) -> Result<(), BusError> {
        self.ask(&Message::Reset { low }).map(drop)
    }

    fn borrow(&self) -> io::Result<RefMut<'_, Inner>> {
        let inner = self.inner.try_borrow_mut().map_err(io::Error::other)?;
        if inner.dead { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(inner) }
    }
}

impl spi::ErrorType for Remote {
    type Error = BusError;
}

impl SpiDevice for Remote {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), BusError> {
        for operation in operations {
            // The drivers have no other.
            let Operation::TransferInPlace(bytes) = operation else { return Err(BusError) };
            let question = Message::transfer(bytes).ok_or(BusError)?;
            let Message::Transfer(answer) = self.ask(&question)? else { return Err(BusError) };
            bytes.copy_from_slice(&answer);
        }
        Ok(())
    }
}

impl digital::ErrorType for Remote {
    type Error = BusError;
}

/// BUSY.
impl InputPin for Remote {
    fn is_high(&mut self) -> Result<bool, BusError> {
        match self.ask(&Message::AskBusy)? {
            Message::Busy { high } => Ok(high),
            _ => Err(BusError),
        }
    }

    fn is_low(&mut self) -> Result<bool, BusError> {
        self.is_high().map(|high| !high)
    }
}

/// NRESET.
impl OutputPin for Remote {
    fn set_low(&mut self) -> Result<(), BusError> {
        self.hold(true)
    }

    fn set_high(&mut self) -> Result<(), BusError> {
        self.hold(false)
    }
}

impl Inner {
    fn ask(&mut self, question: &Message) -> io::Result<Message> {
        self.stream.write_all(&question.encode())?;
        loop {
            while let Some(message) = self.decoder.poll().map_err(io::Error::other)? {
                match message {
                    Message::Edge { line, high, at } => self.edge(line, high, at),
                    answer if question.is_answered_by(&answer) => return Ok(answer),
                    _ => return Err(io::ErrorKind::InvalidData.into()),
                }
            }
            self.read()?;
        }
    }

    /// Without waiting.
    fn read_all(&mut self) -> io::Result<()> {
        loop {
            while let Some(message) = self.decoder.poll().map_err(io::Error::other)? {
                match message {
                    Message::Edge { line, high, at } => self.edge(line, high, at),
                    // Nothing was asked.
                    _ => return Err(io::ErrorKind::InvalidData.into()),
                }
            }
            match self.read() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => result?,
            }
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let mut chunk = [0; 1_024];
        match self.stream.read(&mut chunk)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.decoder.push(chunk.get(..read).unwrap_or_default());
                Ok(())
            }
        }
    }

    fn edge(&mut self, line: Line, high: bool, at: Micros) {
        if self.edges.len() < EDGES {
            let now = now();
            self.edges.push_back(Edge { at: at.clamp(now.saturating_sub(OLDEST), now), line, high });
        }
    }
}
