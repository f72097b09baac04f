//! The host program as a child process: started with one end of a socket pair, ended by closing the other.
//!
//! Two programs on one dongle would be two coordinators with one address, so none is started before the one before it is
//! gone. It is asked first, by the end of its input, since a library that is killed while it writes its memory may
//! lose a network; what does not end then is killed.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::net::UnixStream;

/// How long a program may take to end by itself.
const END: Duration = Duration::from_secs(2);
/// A program that lived so long was not ended by what is wrong with it at every start.
const LONG_LIFE: Duration = Duration::from_secs(60);
/// Longest wait before a program that dies young is started again.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// A program, and where it may keep its memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// An absolute path.
    pub path: PathBuf,
    /// Its working directory, where the library keeps the network: made if it is not there, for our user alone.
    pub directory: PathBuf,
}

/// The child that runs, if one does, and how the ones before it fared.
pub(super) struct Children {
    program: Program,
    child: Option<(Child, Instant)>,
    /// Since when it has been asked to end.
    ending: Option<Instant>,
    /// Children that died young, in a row.
    failures: u32,
    not_before: Option<Instant>,
}

impl Children {
    pub(super) fn new(program: Program) -> Self {
        Self { program, child: None, ending: None, failures: 0, not_before: None }
    }

    /// A new child, once the one before it is gone. Called again in a second if it fails.
    pub(super) fn open(&mut self) -> io::Result<UnixStream> {
        self.reap()?;
        if self.not_before.is_some_and(|at| Instant::now() < at) {
            return Err(io::Error::other(format!(
                "{} ended {} times soon after its start; it is started again within a minute",
                self.program.path.display(),
                self.failures
            )));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.program.directory)?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let child = Command::new(&self.program.path)
            .current_dir(&self.program.directory)
            // Ours may hold secrets, and a library reads what it likes.
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            // A library may print; that is no place for messages.
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", self.program.path.display()))
            })?;
        self.child = Some((child, Instant::now()));
        UnixStream::from_std(ours)
    }

    fn reap(&mut self) -> io::Result<()> {
        let Some((child, since)) = &mut self.child else { return Ok(()) };
        let asked = *self.ending.get_or_insert_with(Instant::now);
        let Some(status) = child.try_wait()? else {
            if asked.elapsed() >= END {
                child.kill()?;
            }
            return Err(io::Error::other("the host program that ran before has not ended yet"));
        };
        tracing::info!(%status, "the Zigbee host program ended");
        self.failures = if since.elapsed() >= LONG_LIFE { 0 } else { self.failures.saturating_add(1) };
        // 2, 4, 8 … seconds from the third one on: a dongle may be back by then.
        let wait = Duration::from_secs(1 << self.failures.saturating_sub(2).min(6)).min(MAX_BACKOFF);
        self.not_before = (self.failures > 2).then(|| Instant::now() + wait);
        (self.child, self.ending) = (None, None);
        Ok(())
    }

    /// The input of the child has ended: waits for it.
    pub(super) async fn end(mut self) {
        while self.reap().is_err() && self.ending.is_some_and(|asked| asked.elapsed() < END) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
