//! What a Cardea gateway remembers, in SQLite.
//!
//! One writer thread owns the only writing connection and commits whatever has gathered while the disk was
//! busy with the commit before (group commit, at most [`Options::group`] operations), in WAL mode with
//! `synchronous=FULL`: what [`StoreReply::Committed`] names survives a power cut. A second thread reads pages
//! of the outbox on its own connection, one short statement each, and never holds the writer up.
//!
//! The same file holds the radio networks' keys and counters ([`Store::network`]), each value encrypted with
//! XChaCha20-Poly1305 under a key file that only the daemon's user may read.
//!
//! What it does not: decide anything. The relay (`cardea-core`) says what is kept and for how long. A damaged
//! file, a newer schema, a missing or too widely readable key are errors that name the file and what to do;
//! nothing is ever recreated over what cannot be read.

mod error;
mod key;
mod network;
mod outbox;
mod pulse;
mod reader;
mod schema;
mod snapshot;
mod sql;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use cardea_core::{Failure, FailureKind, Snapshot, StoreOp, StoreReply};
use cardea_radio::NetworkStore;
use tokio::sync::mpsc::UnboundedSender;

pub use error::Error;

use network::Network;
use pulse::Pulse;
use writer::Job;

/// Where and how large.
#[derive(Debug, Clone)]
pub struct Options {
    /// The database file. Its key file is beside it, with `.key` appended.
    pub path: PathBuf,
    /// The file never grows beyond this many bytes; what does not fit fails as full. `None`: the disk decides.
    pub max_bytes: Option<u64>,
    /// Most operations in one transaction. Default 256.
    pub group: usize,
    /// Most operations that wait for the writer; beyond, an operation fails as busy. Default 8192.
    pub queue: usize,
}

impl Options {
    /// The defaults for this file.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), max_bytes: None, group: 256, queue: 8192 }
    }
}

/// How hard the store works, since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Transactions committed: each is one flush of the disk.
    pub commits: u64,
    /// Operations in them.
    pub operations: u64,
    /// Operations that failed.
    pub failures: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    commits: AtomicU64,
    operations: AtomicU64,
    failures: AtomicU64,
}

/// One for each thread.
#[derive(Debug, Default)]
struct Pulses {
    writer: Arc<Pulse>,
    reader: Arc<Pulse>,
}

/// The open store. Dropping it finishes what was given to it.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    key: Arc<key::Key>,
    writer: Option<SyncSender<Job>>,
    reader: Option<SyncSender<reader::Page>>,
    threads: Vec<JoinHandle<()>>,
    replies: UnboundedSender<StoreReply>,
    counters: Arc<Counters>,
    pulses: Pulses,
}

impl Store {
    /// Opens the store, or makes one where there is none, and gives what it holds. Blocks; checks the whole
    /// file. Answers to [`Self::submit`] go to `replies`.
    ///
    /// # Errors
    /// Every [`Error`] names the file and what to do.
    pub fn open(options: &Options, replies: UnboundedSender<StoreReply>) -> Result<(Self, Snapshot), Error> {
        let path = options.path.clone();
        let connection = schema::open(options)?;
        let key = Arc::new(key::Key::open(&path, network::has_records(&connection, &path)?)?);
        let snapshot = snapshot::load(&connection).map_err(|e| Error::read(&path, &e))?;
        let reading = schema::open_reader(&path)?;

        let counters = Arc::new(Counters::default());
        let pulses = Pulses::default();
        let (writer, jobs) = sync_channel(options.queue.max(1));
        let (reader, pages) = sync_channel(options.queue.max(1));
        let mut threads = Vec::new();
        let (group, to) = (options.group.max(1), replies.clone());
        let (count, pulse) = (Arc::clone(&counters), Arc::clone(&pulses.writer));
        threads.push(spawn(&path, "store-writer", move || {
            writer::run(connection, &jobs, group, &to, &count, &pulse);
        })?);
        let (to, pulse) = (replies.clone(), Arc::clone(&pulses.reader));
        threads.push(spawn(&path, "store-reader", move || reader::run(&reading, &pages, &to, &pulse))?);
        let (writer, reader) = (Some(writer), Some(reader));
        Ok((Self { path, key, writer, reader, threads, replies, counters, pulses }, snapshot))
    }

    /// Gives an operation to the store; never blocks. The answer comes through the channel of
    /// [`Self::open`], also when the store is behind or closed.
    pub fn submit(&self, op: StoreOp) {
        match op {
            StoreOp::Write { ticket, urgent, changes } => {
                let Some(writer) = &self.writer else { return };
                if let Err(error) = writer.try_send(Job::Write { ticket, urgent, changes }) {
                    self.counters.failures.fetch_add(1, Ordering::Relaxed);
                    let failure = queue_failure(&error);
                    let _ = self.replies.send(StoreReply::Failed { tickets: vec![ticket], failure });
                }
            }
            StoreOp::Page { lock, after, through, limit } => {
                let Some(reader) = &self.reader else { return };
                if let Err(error) = reader.try_send(reader::Page { lock, after, through, limit }) {
                    let rows = Err(queue_failure(&error));
                    let _ = self.replies.send(StoreReply::Page { lock, after, through, limit, rows });
                }
            }
        }
    }

    /// The durable memory of the radio network with this name. One driver per name.
    #[must_use]
    pub fn network(&self, name: &str) -> Arc<dyn NetworkStore> {
        Arc::new(Network::new(name, self.path.clone(), Arc::clone(&self.key), self.writer.clone()))
    }

    /// How hard the store has worked.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            commits: self.counters.commits.load(Ordering::Relaxed),
            operations: self.counters.operations.load(Ordering::Relaxed),
            failures: self.counters.failures.load(Ordering::Relaxed),
        }
    }

    /// True while both threads run. Once one has died nothing may be promised any more.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.threads.iter().any(JoinHandle::is_finished)
    }

    /// How long the store has been at the one transaction or statement that it is at; zero when it waits for work.
    ///
    /// Work that fails or is slow ends, and the next begins anew. What only grows is a disk that never answers, or
    /// a fault of ours, and nothing else tells of it: the threads are alive.
    #[must_use]
    pub fn busy_for(&self) -> Duration {
        self.pulses.writer.busy_for().max(self.pulses.reader.busy_for())
    }

    /// When the oldest frame of an outbox came in, Unix milliseconds; `None`: it is empty. Reads the file; for a moment, and for
    /// people.
    ///
    /// # Errors
    /// [`Error`].
    pub fn oldest(path: &Path) -> Result<Option<u64>, Error> {
        use rusqlite::OptionalExtension as _;
        let connection = schema::open_reader(path)?;
        let at =
            connection.query_row("SELECT at FROM outbox ORDER BY row LIMIT 1", [], |r| r.get::<_, i64>(0));
        let at = at.optional().map_err(|e| Error::read(path, &e))?;
        Ok(at.and_then(|at| u64::try_from(at).ok()))
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Store {
    /// Whatever was submitted is committed before the file closes. Network stores keep the writer alive
    /// until they are dropped; they are only told so by their senders, hence the explicit end.
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            let _ = writer.send(Job::End);
        }
        self.reader = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn spawn(path: &Path, name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .map_err(|source| Error::Io { path: path.into(), source })
}

fn queue_failure<T>(error: &TrySendError<T>) -> Failure {
    match error {
        TrySendError::Full(_) => Failure {
            kind: FailureKind::Busy,
            detail: "the store's queue is full: the disk is behind".into(),
        },
        TrySendError::Disconnected(_) => {
            Failure { kind: FailureKind::Io, detail: "the store's thread has ended".into() }
        }
    }
}

#[cfg(test)]
mod tests;
