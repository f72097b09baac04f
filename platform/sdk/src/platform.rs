//! The tokio face of the session core: one thread owns core and state, everyone else holds a handle.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use cardea_credentials::{OwnerCode, PublicKey};
use cardea_framing::LockId;
use cardea_x509::Makers;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::{
    Ask, Broker, Error, FileKeys, KeyStore, LogRow, OsRandom, Outcome, PlatformEvent, SqliteState, Stage,
    mqtt,
    session::{Config, Core},
};

mod changes;
mod grants;
mod request;
mod sites;
mod worker;

use request::Request;
use worker::Worker;

const LOCK_FILE: &str = "in-use";
/// An operator who puts a backup back creates this file; opening discards every context and removes it.
const RESTORED: &str = "restored";

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
        let worker = Worker::new(core, events.clone(), guard);
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
