//! A pseudo-terminal whose other end is opened and closed by whoever likes.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

/// How often it is looked whether somebody has the other end open.
const LOOK: Duration = Duration::from_millis(10);

/// The dongle's end.
pub(super) struct Pty {
    master: Arc<OwnedFd>,
    /// While somebody has the other end open. Made anew each time: that the other end was closed once is remembered by
    /// the reactor for good, and what is closed is always readable.
    watched: Option<AsyncFd<Arc<OwnedFd>>>,
    path: PathBuf,
}

/// What the other end did.
pub(super) enum Heard {
    Bytes(usize),
    /// Nobody has it open.
    Closed,
    /// Somebody opened it, or has it open and says nothing.
    Open,
}

impl Pty {
    /// A new pseudo-terminal, behind `link`.
    pub(super) fn open(link: &Path) -> io::Result<Self> {
        let (master, path) = crate::pty::open(link)?;
        Ok(Self { master: Arc::new(master), watched: None, path })
    }

    /// The name that a dongle has only until it is plugged in again.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for something to happen. Can be dropped: no byte is lost.
    pub(super) async fn hear(&mut self, buffer: &mut [u8]) -> io::Result<Heard> {
        loop {
            let mut guard = match &self.watched {
                Some(watched) => Some(watched.readable().await?),
                None => None,
            };
            match rustix::io::read(&self.master, &mut *buffer) {
                Ok(0) | Err(Errno::IO) if guard.is_some() => {
                    self.watched = None;
                    return Ok(Heard::Closed);
                }
                Ok(0) | Err(Errno::IO) => sleep(LOOK).await,
                Ok(count) => {
                    self.watch()?;
                    return Ok(Heard::Bytes(count));
                }
                Err(Errno::AGAIN | Errno::INTR) => match &mut guard {
                    Some(guard) => guard.clear_ready(),
                    None => {
                        self.watch()?;
                        return Ok(Heard::Open);
                    }
                },
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn watch(&mut self) -> io::Result<()> {
        if self.watched.is_none() {
            #[expect(
                deprecated,
                reason = "its successor is unsafe; this descriptor is ours alone and stays open as long as it is watched"
            )]
            let watched = AsyncFd::new(self.master.clone())?;
            self.watched = Some(watched);
        }
        Ok(())
    }

    /// Gives the other end these bytes; nobody there: they are gone.
    pub(super) async fn say(&self, mut bytes: &[u8]) -> io::Result<()> {
        let Some(watched) = &self.watched else { return Ok(()) };
        while !bytes.is_empty() {
            let mut guard = watched.writable().await?;
            match rustix::io::write(&self.master, bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or(&[]),
                Err(Errno::AGAIN | Errno::INTR) => guard.clear_ready(),
                Err(Errno::IO) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
