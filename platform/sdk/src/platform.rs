//! The tokio face of the session core: one thread owns core and state, everyone else holds a handle.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use cardea_credentials::{OwnerCode, PublicKey};
use cardea_framing::LockId;
use cardea_x509::Makers;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::{
    Ask, Broker, Error, FileKeys, KeyStore, LogGap, LogRow, OsRandom, Outcome, PinReport, PlatformEvent,
    SqliteState, Stage, State,
    mqtt::{self, FromBroker, ToBroker},
    session::{Config, Core, Now},
};

mod changes;

use changes::Change;

const LOCK_FILE: &str = "in-use";
/// An operator who puts a backup back creates this file; opening discards every context and removes it.
const RESTORED: &str = "restored";
/// Messages that share one durable commit.
const BATCH: usize = 256;
/// After a batch that failed, before timers alone open another.
const AFTER_FAILURE_MS: u64 = 1_000;

/// A lock as people name it: by its id, or by the full thumbprint of its identity key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockName {
    /// 8 bytes; the first key that proves itself under it is the lock.
    Id(LockId),
    /// 32 bytes; only this key is the lock.
    Thumbprint([u8; 32]),
}

impl LockName {
    /// The routing id.
    #[must_use]
    pub fn id(&self) -> LockId {
        match self {
            Self::Id(id) => *id,
            Self::Thumbprint(thumbprint) => LockId::from_thumbprint(thumbprint),
        }
    }
}

impl From<LockId> for LockName {
    fn from(id: LockId) -> Self {
        Self::Id(id)
    }
}

impl FromStr for LockName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::LockName(text.into());
        let lower = text.trim().to_ascii_lowercase();
        let mut thumbprint = [0; 32];
        if lower.len() == 64 {
            hex::decode_to_slice(&lower, &mut thumbprint).map_err(|_| wrong())?;
            return Ok(Self::Thumbprint(thumbprint));
        }
        lower.parse().map(Self::Id).map_err(|_| wrong())
    }
}

/// One lock of the registry, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockSummary {
    /// Routing id.
    pub lock: LockId,
    /// Full thumbprint, once known.
    pub thumbprint: Option<[u8; 32]>,
    /// How far its ownership has come.
    pub stage: Stage,
    /// Whether there are session keys to command it with.
    pub session: bool,
    /// Its log contradicted itself: nothing that changes it is sent.
    pub fenced: bool,
    /// It was let go.
    pub released: bool,
    /// The version of the platform's certificate that it has pinned, as far as it has proved that.
    pub certificate: Option<u32>,
    /// The gateway a command would take now.
    pub gateway: Option<String>,
}

enum Request {
    Change(Change, oneshot::Sender<Result<(), Error>>),
    Pins(LockId, oneshot::Sender<Result<PinReport, Error>>),
    Gaps(LockId, oneshot::Sender<Result<Vec<LogGap>, Error>>),
    Enroll(LockName, OwnerCode, oneshot::Sender<Result<(), Error>>),
    EnrollCertified(String, OwnerCode, oneshot::Sender<Result<LockId, Error>>),
    Makers(Makers, bool, oneshot::Sender<()>),
    Command(LockId, Ask, Duration, oneshot::Sender<Result<Outcome, Error>>),
    Log(LockId, u32, oneshot::Sender<Result<Vec<LogRow>, Error>>),
    Locks(oneshot::Sender<Vec<LockSummary>>),
    Grants(grants::Ask),
    Broker(FromBroker),
    Attach(mpsc::UnboundedSender<ToBroker>, Broker, oneshot::Sender<Result<(), Error>>),
}

impl Request {
    /// Whether a new connection to the broker brings it again.
    fn comes_again(&self) -> bool {
        matches!(self, Self::Broker(FromBroker::Message { .. } | FromBroker::Up))
    }

    /// Its batch was given up before its turn. Messages of the broker come again.
    fn refuse(self) {
        match self {
            Self::Enroll(_, _, reply) | Self::Attach(_, _, reply) => drop(reply.send(Err(not_stored()))),
            Self::EnrollCertified(_, _, reply) => drop(reply.send(Err(not_stored()))),
            Self::Command(_, _, _, reply) => drop(reply.send(Err(not_stored()))),
            Self::Log(_, _, reply) => drop(reply.send(Err(not_stored()))),
            Self::Grants(ask) => ask.refuse(),
            Self::Change(_, reply) => drop(reply.send(Err(not_stored()))),
            Self::Pins(_, reply) => drop(reply.send(Err(not_stored()))),
            Self::Gaps(_, reply) => drop(reply.send(Err(not_stored()))),
            Self::Locks(_) | Self::Makers(..) | Self::Broker(_) => {}
        }
    }
}

/// A running platform. Clones share it; it ends with the last of them.
#[derive(Clone)]
pub struct Platform {
    requests: mpsc::Sender<Request>,
    events: broadcast::Sender<PlatformEvent>,
    facts: Arc<Facts>,
}

struct Facts {
    root: PublicKey,
    signing: PublicKey,
}

impl Platform {
    /// The file in the state directory that holds everything but the keys.
    pub const STATE_FILE: &str = "state.db";

    /// Makes a platform in `dir`: owner root, platform keys, certificate, empty state. Returns the thumbprint of
    /// the owner root, which is what every lock pins.
    ///
    /// # Errors
    /// [`Error::AlreadyInitialised`], [`Error::Io`], [`Error::Random`], [`Error::State`].
    pub fn init(dir: &Path) -> Result<[u8; 32], Error> {
        let keys = FileKeys::init(dir)?;
        Self::init_state(dir)?;
        Ok(keys.root().thumbprint())
    }

    /// Makes the empty state only: beside keys that another store made, or where the old state is lost for good. State
    /// that is there stays.
    ///
    /// # Errors
    /// [`Error::State`], [`Error::Io`].
    pub fn init_state(dir: &Path) -> Result<(), Error> {
        SqliteState::create(&dir.join(Self::STATE_FILE)).map(drop)
    }

    /// Opens the platform in `dir` for this process alone.
    ///
    /// # Errors
    /// [`Error::NotInitialised`], [`Error::InUse`], [`Error::Key`], [`Error::State`], [`Error::Io`].
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Self::open_with(dir, Config::default())
    }

    /// As [`Self::open`], with other limits and lives.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(dir: &Path, config: Config) -> Result<Self, Error> {
        Self::open_with_keys(dir, Box::new(FileKeys::open(dir)?), config)
    }

    /// As [`Self::open_with`], with keys from another store than files.
    ///
    /// # Errors
    /// As [`Self::open`], but for the keys.
    pub fn open_with_keys(dir: &Path, keys: Box<dyn KeyStore>, config: Config) -> Result<Self, Error> {
        let guard = exclusive(dir)?;
        let marker = dir.join(RESTORED);
        let restored = marker.exists();
        let state = SqliteState::open(&dir.join(Self::STATE_FILE), restored)?;
        if restored {
            fs::remove_file(&marker).map_err(|source| Error::Io { path: marker, source })?;
        }
        let facts = Arc::new(Facts { root: keys.root(), signing: keys.signer().public() });
        let core = Core::open(keys, state, Box::new(OsRandom), config)?;
        let (requests, inbox) = mpsc::channel(1024);
        let (events, _) = broadcast::channel(4096);
        let worker = Worker {
            core,
            events: events.clone(),
            waiting: BTreeMap::new(),
            broker: None,
            started: Instant::now(),
            failed: false,
            owed: Vec::new(),
            _guard: guard,
        };
        std::thread::Builder::new()
            .name("cardea-platform".into())
            .spawn(move || worker.run(inbox))
            .map_err(|source| Error::Io { path: dir.into(), source })?;
        Ok(Self { requests, events, facts })
    }

    /// Marks the state of `dir` as restored from a backup: the next [`Self::open`] discards every OSCORE context
    /// instead of reusing sequence numbers. A copied database is noticed without this; a rolled-back disk is not.
    ///
    /// # Errors
    /// [`Error::NotInitialised`], [`Error::Io`].
    pub fn mark_restored(dir: &Path) -> Result<(), Error> {
        if !dir.join(Self::STATE_FILE).exists() {
            return Err(Error::NotInitialised(dir.into()));
        }
        let path = dir.join(RESTORED);
        fs::write(&path, b"").map_err(|source| Error::Io { path, source })
    }

    /// The owner root.
    #[must_use]
    pub fn root(&self) -> PublicKey {
        self.facts.root
    }

    /// The key that signs site messages; gateways pin it when they are enrolled.
    #[must_use]
    pub fn signing_key(&self) -> PublicKey {
        self.facts.signing
    }

    /// Events from now on. A receiver that falls 4,096 behind loses the oldest.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<PlatformEvent> {
        self.events.subscribe()
    }

    /// Allows `lock` to activate itself with this owner code. Again for the same lock: replaces the code (after a
    /// mistyped one, or an owner reset of the lock).
    ///
    /// # Errors
    /// [`Error::SecondKey`] when the thumbprint contradicts what is known, [`Error::State`], [`Error::Stopped`].
    pub async fn enroll(&self, lock: impl Into<LockName>, code: &OwnerCode) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Enroll(lock.into(), code.clone(), reply), answer).await?
    }

    /// As [`Self::enroll`], for the lock that a maker's certificate names: a PEM file with the lock's certificate and,
    /// where there is one, the CA's that issued it. [`Self::set_makers`] says whose certificates count. Returns the
    /// lock's id.
    ///
    /// # Errors
    /// [`Error::Certificate`]; as [`Self::enroll`].
    pub async fn enroll_certified(&self, chain: &str, code: &OwnerCode) -> Result<LockId, Error> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::EnrollCertified(chain.to_owned(), code.clone(), reply), answer).await?
    }

    /// Whose factory certificates are accepted, and whether locks are enrolled by them only. Until the first call none
    /// are, and none are needed.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn set_makers(&self, makers: Makers, required: bool) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Makers(makers, required, reply), answer).await
    }

    /// Withdraws the bolt. See [`Outcome`]; nothing is sent after `timeout`.
    ///
    /// # Errors
    /// [`Error::UnknownLock`], [`Error::State`], [`Error::Random`], [`Error::Stopped`]. What the lock or the way
    /// to it did is an [`Outcome`].
    pub async fn unlock(&self, lock: LockId, timeout: Duration) -> Result<Outcome, Error> {
        self.command(lock, Ask::Unlock, timeout).await
    }

    /// Throws the bolt.
    ///
    /// # Errors
    /// As [`Self::unlock`].
    pub async fn lock(&self, lock: LockId, timeout: Duration) -> Result<Outcome, Error> {
        self.command(lock, Ask::Lock, timeout).await
    }

    /// Asks for bolt, battery, clock and firmware.
    ///
    /// # Errors
    /// As [`Self::unlock`].
    pub async fn status(&self, lock: LockId, timeout: Duration) -> Result<Outcome, Error> {
        self.command(lock, Ask::Status, timeout).await
    }

    /// Any command.
    ///
    /// # Errors
    /// As [`Self::unlock`].
    pub async fn command(&self, lock: LockId, ask: Ask, timeout: Duration) -> Result<Outcome, Error> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Command(lock, ask, timeout, reply), answer).await?
    }

    /// The newest `limit` events of a lock that are stored here, oldest first.
    ///
    /// # Errors
    /// [`Error::UnknownLock`], [`Error::State`], [`Error::Stopped`].
    pub async fn log(&self, lock: LockId, limit: u32) -> Result<Vec<LogRow>, Error> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Log(lock, limit, reply), answer).await?
    }

    /// The registry.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn locks(&self) -> Result<Vec<LockSummary>, Error> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Locks(reply), answer).await
    }

    /// Keeps the link to a broker: connects, reconnects, never gives up. Ends when dropped or aborted.
    ///
    /// # Errors
    /// [`Error::Config`] when the settings cannot work from the start; [`Error::Stopped`].
    pub async fn run(self, broker: Broker) -> Result<(), Error> {
        broker.check()?;
        let (to_broker, outbox) = mpsc::unbounded_channel();
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Attach(to_broker, broker.clone(), reply), answer).await??;
        // The handle is let go: a broker link alone does not keep a platform alive.
        let requests = self.requests.downgrade();
        drop(self);
        mqtt::run(broker, outbox, move |message| {
            let requests = requests.upgrade();
            async move {
                match requests {
                    Some(requests) => requests.send(Request::Broker(message)).await.is_ok(),
                    None => false,
                }
            }
        })
        .await
    }

    async fn ask<T>(&self, request: Request, answer: oneshot::Receiver<T>) -> Result<T, Error> {
        self.requests.send(request).await.map_err(|_| Error::Stopped)?;
        answer.await.map_err(|_| Error::Stopped)
    }
}

/// One process at a time: two would hand out the same sequence numbers.
fn exclusive(dir: &Path) -> Result<fs::File, Error> {
    let path: PathBuf = dir.join(LOCK_FILE);
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|source| Error::Io { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Error::InUse(dir.into())),
        Err(fs::TryLockError::Error(source)) => Err(Error::Io { path, source }),
    }
}

/// Who waits for the end of a command.
type Caller = oneshot::Sender<Result<Outcome, Error>>;

/// What a batch owes to others, once it is known whether it became durable.
#[derive(Default)]
struct Owed {
    acks: Vec<mqtt::Delivery>,
    replies: Vec<Box<dyn FnOnce(bool)>>,
    asked: Vec<((LockId, [u8; 4]), Caller)>,
}

/// The thread that owns the core. SQLite blocks it for a commit, and nobody else.
struct Worker<S> {
    core: Core<Box<dyn KeyStore>, S>,
    events: broadcast::Sender<PlatformEvent>,
    /// Callers by lock and command: command ids are drawn for each lock alone.
    waiting: BTreeMap<(LockId, [u8; 4]), Caller>,
    broker: Option<mpsc::UnboundedSender<ToBroker>>,
    started: Instant,
    /// The last batch was given up, or cannot be settled yet: timers wait a little before they try again.
    failed: bool,
    /// Acknowledgements of a batch that is durable and not settled.
    owed: Vec<mqtt::Delivery>,
    _guard: fs::File,
}

impl<S: State> Worker<S> {
    fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "the platform's thread cannot start");
                return;
            }
        };
        runtime.block_on(async move {
            let mut batch = Vec::new();
            loop {
                let now = self.now();
                let pause = self.core.poll_timeout().map_or(3_600_000, |at| at.saturating_sub(now.mono));
                let pause = if self.failed { pause.max(AFTER_FAILURE_MS) } else { pause };
                match tokio::time::timeout(Duration::from_millis(pause), inbox.recv_many(&mut batch, BATCH))
                    .await
                {
                    Ok(0) => return,
                    Ok(_) | Err(_) => self.turn(std::mem::take(&mut batch)),
                }
            }
        });
    }

    fn now(&self) -> Now {
        Now {
            mono: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            unix: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// One batch: everything in it becomes durable together, then its outputs and acknowledgements leave.
    fn turn(&mut self, batch: Vec<Request>) {
        if let Err(error) = self.core.settle() {
            // What is stored must be able to leave before more is stored. The broker keeps its messages, and people
            // hear that nothing was done, rather than being obeyed when nobody expects it any more.
            tracing::error!(%error, "nothing is taken until the batch before can leave");
            self.failed = true;
            if batch.iter().any(Request::comes_again) {
                self.send(ToBroker::Reconnect);
            }
            for request in batch {
                match request {
                    Request::Locks(reply) => drop(reply.send(self.core.summaries())),
                    other => other.refuse(),
                }
            }
            return;
        }
        self.release();
        let now = self.now();
        let mut owed = Owed::default();
        let mut batch = batch.into_iter();
        let outcome = self.core.begin().and_then(|()| {
            for request in batch.by_ref() {
                self.handle(now, request, &mut owed)?;
            }
            self.core.handle_timeout(now)?;
            self.core.commit()
        });
        let committed = outcome.is_ok();
        batch.for_each(Request::refuse);
        if let Err(error) = outcome {
            tracing::error!(%error, "the batch was given up; the broker will deliver it again");
            if let Err(error) = self.core.reload() {
                tracing::error!(%error, "the state cannot be read");
            }
            self.send(ToBroker::Reconnect);
        }
        for reply in owed.replies {
            reply(committed);
        }
        for (key, caller) in owed.asked {
            if committed {
                self.waiting.insert(key, caller);
            } else {
                let _ = caller.send(Err(not_stored()));
            }
        }
        if committed {
            self.owed = owed.acks;
        }
        self.failed = !committed || !self.core.is_settled();
        self.release();
    }

    /// Lets go what rests on durable and settled state; nothing otherwise.
    fn release(&mut self) {
        if !self.core.is_settled() {
            return;
        }
        while let Some(output) = self.core.poll_output() {
            self.send(ToBroker::Publish(output));
        }
        for ack in std::mem::take(&mut self.owed) {
            self.send(ToBroker::Ack(ack));
        }
        while let Some(event) = self.core.poll_event() {
            if let PlatformEvent::Ended { lock, command, outcome, .. } = &event {
                let mut id = [0; 4];
                if hex::decode_to_slice(command, &mut id).is_ok()
                    && let Some(waiting) = self.waiting.remove(&(*lock, id))
                {
                    let _ = waiting.send(Ok(outcome.clone()));
                }
            }
            let _ = self.events.send(event); // nobody listens: fine
        }
    }

    fn send(&self, message: ToBroker) {
        if let Some(broker) = &self.broker {
            let _ = broker.send(message); // a link that ended is replaced by the next `run`
        }
    }

    /// An `Err` gives the whole batch up; what only the caller did wrong goes to the caller.
    fn handle(&mut self, now: Now, request: Request, owed: &mut Owed) -> Result<(), Error> {
        match request {
            Request::Enroll(name, code, reply) => {
                let (result, fatal) = split(self.core.enroll(name, &code));
                owed.replies.push(Box::new(move |ok| {
                    let _ = reply.send(if ok { result } else { Err(not_stored()) });
                }));
                fatal?;
            }
            Request::Change(change, reply) => {
                let (result, fatal) = split(change.apply(&mut self.core, now));
                owed.replies.push(Box::new(move |ok| {
                    let _ = reply.send(if ok { result } else { Err(not_stored()) });
                }));
                fatal?;
            }
            Request::EnrollCertified(chain, code, reply) => {
                let (result, fatal) = split(self.core.enroll_certified(now, &chain, &code));
                owed.replies.push(Box::new(move |ok| {
                    let _ = reply.send(if ok { result } else { Err(not_stored()) });
                }));
                fatal?;
            }
            Request::Pins(lock, reply) => drop(reply.send(self.core.pins(lock))),
            Request::Gaps(lock, reply) => drop(reply.send(self.core.log_gaps(lock))),
            Request::Makers(makers, required, reply) => {
                self.core.set_makers(makers, required);
                let _ = reply.send(());
            }
            Request::Command(lock, ask, timeout, reply) => {
                let life = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                let (result, fatal) = split(self.core.command(now, lock, ask, life));
                match result {
                    Ok(id) => owed.asked.push(((lock, id), reply)),
                    Err(error) => drop(reply.send(Err(error))),
                }
                fatal?;
            }
            Request::Log(lock, limit, reply) => drop(reply.send(self.core.log(lock, limit))),
            Request::Locks(reply) => drop(reply.send(self.core.summaries())),
            Request::Grants(ask) => ask.answer(&mut self.core, now, &mut owed.replies)?,
            Request::Attach(sender, broker, reply) => {
                let result =
                    broker.topics().map(|topics| self.core.set_topics(topics, broker.encoding.into()));
                if result.is_ok() {
                    self.broker = Some(sender);
                }
                let _ = reply.send(result);
            }
            Request::Broker(FromBroker::Up) => self.core.handle_connected(now)?,
            Request::Broker(FromBroker::Down(reason)) => self.core.handle_disconnected(now, reason),
            Request::Broker(FromBroker::Message { topic, payload, retain, delivery }) => {
                self.core.handle_message(now, &topic, &payload, retain)?;
                owed.acks.extend(delivery);
            }
        }
        Ok(())
    }
}

fn not_stored() -> Error {
    Error::State("not stored; try again".into())
}

/// What the caller hears, and whether the batch goes on: it ends by what only the store or the system can do.
fn split<T>(result: Result<T, Error>) -> (Result<T, Error>, Result<(), Error>) {
    match result {
        Err(error @ (Error::State(_) | Error::Random)) => (Err(not_stored()), Err(error)),
        other => (other, Ok(())),
    }
}

mod grants;
#[cfg(test)]
mod tests;
