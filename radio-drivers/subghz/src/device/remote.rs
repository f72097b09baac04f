//! A chip behind a Unix socket. Each SPI transaction is a question that is waited for; edges come in between.

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use embedded_hal::spi::Operation;

use super::{Edge, SpiError, now};
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
pub struct Remote {
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
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
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

    pub(super) fn edges(&mut self) -> io::Result<VecDeque<Edge>> {
        let mut inner = self.borrow()?;
        inner.stream.set_nonblocking(true)?;
        let read = inner.read_all();
        inner.stream.set_nonblocking(false)?;
        read?;
        Ok(std::mem::take(&mut inner.edges))
    }

    pub(super) fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), SpiError> {
        let mut inner = self.borrow().map_err(|_| SpiError)?;
        for operation in operations {
            // The driver has no other.
            let Operation::TransferInPlace(bytes) = operation else { return Err(SpiError) };
            if let Err(error) = inner.transfer(bytes) {
                tracing::debug!(%error, "the socket of a virtual transceiver");
                inner.dead = true;
                return Err(SpiError);
            }
        }
        Ok(())
    }

    fn borrow(&self) -> io::Result<RefMut<'_, Inner>> {
        let inner = self.inner.try_borrow_mut().map_err(io::Error::other)?;
        if inner.dead { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(inner) }
    }
}

impl Inner {
    fn transfer(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let question = Message::transfer(bytes).ok_or(io::ErrorKind::InvalidInput)?;
        self.stream.write_all(&question.encode())?;
        loop {
            while let Some(message) = self.decoder.poll().map_err(io::Error::other)? {
                match message {
                    Message::Transfer(answer) if answer.len() == bytes.len() => {
                        bytes.copy_from_slice(&answer);
                        return Ok(());
                    }
                    Message::Transfer(_) => return Err(io::ErrorKind::InvalidData.into()),
                    Message::Edge { packet, high, at } => self.edge(packet, high, at),
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
                    Message::Edge { packet, high, at } => self.edge(packet, high, at),
                    // Nothing was asked.
                    Message::Transfer(_) => return Err(io::ErrorKind::InvalidData.into()),
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

    fn edge(&mut self, packet: bool, high: bool, at: Micros) {
        if self.edges.len() < EDGES {
            let (now, line) = (now(), if packet { Line::Packet } else { Line::Fifo });
            self.edges.push_back(Edge { at: at.clamp(now.saturating_sub(OLDEST), now), line, high });
        }
    }
}
