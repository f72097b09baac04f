//! The session core: one state machine for every lock of this platform, without sockets, clock or threads.
//!
//! [`Core`] takes what gateways published ([`Core::handle_message`]), commands ([`Core::command`]) and the time,
//! and gives publications ([`Core::poll_output`]) and events ([`Core::poll_event`]). It works in batches:
//! between [`Core::begin`] and [`Core::commit`] nothing leaves it, and what leaves afterwards rests on durable
//! state. After an error call [`Core::reload`]; whoever delivers messages must then deliver the batch again.
//! A batch that is durable may still have to wait for [`Core::settle`] before anything of it leaves.
//!
//! - `registry`: which locks there are.
//! - `handshake`: EDHOC responder, activation.
//! - `secure`: OSCORE both ways, replay, events and their answers.
//! - `journal`: logs of locks, their gaps and forks.
//! - `command`, `answer`: commands, challenges, Echo, retries, outcomes.
//! - `pins`: PINs, wanted and reported.
//! - `standing`: locks that are fenced, let go, or in need of new keys.
//! - `route`: topics, gateways, links.
//! - `custody`: `seen`, what gateways may forget.
//! - `grants`, `revocation`: what is signed for holders of keys, and which keys are void.
//! - `site`: which lists and which site locks were told of.
//! - `makers`: factory identities.

mod answer;
mod command;
mod config;
mod custody;
mod grants;
mod handshake;
mod journal;
mod limits;
mod lock;
mod makers;
mod pins;
mod registry;
mod revocation;
mod route;
mod secure;
mod site;
mod standing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cardea_credentials::{Random, verify_platform};
use cardea_envelope::{Encoding, MessageId, PlatformTopics};
use cardea_framing::LockId;

use crate::{Ask, Before, Error, KeyStore, PlatformEvent, State};

use limits::Shares;
use lock::Lock;
use makers::MakerPolicy;
use revocation::List;
use route::Route;

pub use config::{Config, Counters, Now, Output};
pub use grants::{Issued, NewGrant};
pub use revocation::Revocations;
pub(crate) use secure::{build, elide};

/// The session core. See the [module](self).
pub struct Core<K, S> {
    keys: K,
    /// Of the certificate of `keys`.
    certificate_version: u32,
    state: S,
    random: Box<dyn Random + Send>,
    config: Config,
    route: Route,
    policy: MakerPolicy,
    shares: Shares,
    locks: BTreeMap<LockId, Lock>,
    /// Keys that are revoked.
    list: List,
    /// When something of a lock is due.
    timers: BTreeSet<(u64, LockId)>,
    next_prune: u64,
    /// The last reload failed: what is in memory may be ahead of what is stored.
    stale: bool,
    /// What is ready waits until [`State::settle`] has succeeded.
    unsettled: bool,
    staged: Vec<Output>,
    ready: VecDeque<Output>,
    staged_events: Vec<PlatformEvent>,
    ready_events: VecDeque<PlatformEvent>,
    counters: Counters,
}

impl<K: KeyStore, S: State> Core<K, S> {
    /// Opens a core on its durable state. Topics default to the contract's, JSON.
    ///
    /// # Errors
    /// [`Error::State`], or what makes a stored context unusable ([`Error::Crypto`]).
    pub fn open(keys: K, state: S, random: Box<dyn Random + Send>, config: Config) -> Result<Self, Error> {
        let certificate_version = verify_platform(keys.certificate(), Some(&keys.root()))
            .map_err(|_| Error::Crypto("the platform's certificate is not by its owner root"))?
            .version;
        let mut core = Self {
            keys,
            certificate_version,
            state,
            random,
            config,
            route: Route::new(PlatformTopics::default(), Encoding::Json),
            policy: MakerPolicy::default(),
            shares: Shares::default(),
            locks: BTreeMap::new(),
            list: List::default(),
            timers: BTreeSet::new(),
            next_prune: 0,
            stale: false,
            unsettled: false,
            staged: Vec::new(),
            ready: VecDeque::new(),
            staged_events: Vec::new(),
            ready_events: VecDeque::new(),
            counters: Counters::default(),
        };
        core.load()?;
        Ok(core)
    }

    /// Gives the open batch up and forgets everything that is not durable. Sequence numbers that were taken are
    /// lost, never reused. What was committed before and has not left stays.
    ///
    /// # Errors
    /// As [`Self::open`]. Until it succeeds, by this call or by [`Self::begin`], no batch is opened.
    pub fn reload(&mut self) -> Result<(), Error> {
        self.stale = true;
        self.staged.clear();
        self.staged_events.clear();
        self.route.forget_batch();
        self.state.rollback()?;
        self.load()?;
        self.stale = false;
        Ok(())
    }

    /// All or nothing: with half a registry, our own locks would be strangers, and their frames acknowledged.
    fn load(&mut self) -> Result<(), Error> {
        let (mut locks, mut timers) = (BTreeMap::new(), BTreeSet::new());
        for record in self.state.locks()? {
            locks.insert(record.lock, Lock::new(record));
        }
        for (id, standing) in self.state.standings()? {
            if let Some(lock) = locks.get_mut(&id) {
                lock.standing = standing;
            }
        }
        for id in self.state.pins_waiting()? {
            if let Some(lock) = locks.get_mut(&id) {
                lock.pins.waiting = true;
                lock.timer = Some(0);
                timers.insert((0, id));
            }
        }
        for row in self.state.lock_sites()? {
            if let Some(lock) = locks.get_mut(&row.lock) {
                lock.told.row = row;
            }
        }
        for record in self.state.contexts()? {
            if let Some(lock) = locks.get_mut(&record.lock) {
                lock.contexts.push(Box::new(lock::Session::restore(record)?));
            }
        }
        for row in self.state.open_commands()? {
            let id = row.lock;
            if let Some(lock) = locks.get_mut(&id)
                && let Some(pending) = command::Pending::restore(row)
            {
                lock.commands.push(pending);
                // Looked at with the first timeout.
                lock.timer = Some(0);
                timers.insert((0, id));
            }
        }
        self.list = Self::load_list(&mut self.state, &mut locks, &mut timers)?;
        for (id, lock) in locks.iter_mut().filter(|(_, lock)| lock.untold(self.list.epoch()).is_some()) {
            lock.timer = Some(0);
            timers.insert((0, *id));
        }
        (self.locks, self.timers, self.next_prune) = (locks, timers, 0);
        Ok(())
    }

    /// Opens a batch; first reads the state again where the last [`Self::reload`] could not, and settles the batch
    /// before. So at most one batch ever waits to be settled.
    ///
    /// # Errors
    /// As [`Self::reload`] and [`Self::settle`].
    pub fn begin(&mut self) -> Result<(), Error> {
        if self.stale {
            self.reload()?;
        }
        self.settle()?;
        self.state.begin()
    }

    /// Makes the batch durable, and releases its outputs and events unless [`Self::is_settled`] says that they wait.
    ///
    /// # Errors
    /// [`Error::State`]; then nothing of the batch happened: [`Self::reload`].
    pub fn commit(&mut self) -> Result<(), Error> {
        self.publish_seen()?;
        self.state.commit()?;
        self.ready.extend(self.staged.drain(..));
        self.ready_events.extend(self.staged_events.drain(..));
        self.unsettled = true;
        if let Err(error) = self.settle() {
            // Not an error of the batch, which is durable.
            tracing::error!(%error, "stored, but nothing is sent until this can be written");
        }
        Ok(())
    }

    /// Tries again what the last [`Self::commit`] could not finish; its outputs and events are released when this
    /// succeeds. Their sequence numbers are taken, and a database that does not know of them must first be
    /// told from this one.
    ///
    /// # Errors
    /// [`Error::State`]: not yet. Nothing is lost; call it again after a while.
    pub fn settle(&mut self) -> Result<(), Error> {
        if self.unsettled {
            self.state.settle()?;
            self.unsettled = false;
        }
        Ok(())
    }

    /// Whether everything that was committed may leave. Until then messages of the last batch are not to be
    /// acknowledged to those who delivered them.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.unsettled
    }

    /// The next publication of a batch that is committed and settled.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.unsettled { None } else { self.ready.pop_front() }
    }

    /// The next event of a batch that is committed and settled.
    pub fn poll_event(&mut self) -> Option<PlatformEvent> {
        if self.unsettled { None } else { self.ready_events.pop_front() }
    }

    /// When [`Self::handle_timeout`] has something to do, on the monotonic clock; at once while a batch waits for
    /// [`Self::settle`], and the caller decides how often that is tried.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        if self.unsettled {
            return Some(0);
        }
        let timer = self.timers.first().map(|(due, _)| *due);
        Some(timer.map_or(self.next_prune, |due| due.min(self.next_prune)))
    }

    /// Does what is due. Belongs into a batch.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn handle_timeout(&mut self, now: Now) -> Result<(), Error> {
        // Each lock once, whatever it asks for afterwards: this call must end.
        let mut due = Vec::new();
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now.mono) {
            self.timers.remove(&(at, id));
            if let Some(lock) = self.locks.get_mut(&id) {
                lock.timer = None;
            }
            due.push(id);
        }
        for id in due {
            self.advance(now, id)?;
        }
        if now.mono >= self.next_prune {
            self.next_prune = now.mono.saturating_add(3_600_000);
            self.prune(now)?;
        }
        Ok(())
    }

    fn prune(&mut self, now: Now) -> Result<(), Error> {
        let keep = self.config.old_context_ms;
        for lock in self.locks.values_mut() {
            let mut kept = Vec::with_capacity(lock.contexts.len());
            for session in std::mem::take(&mut lock.contexts) {
                if session.record.retired.is_some_and(|at| at.saturating_add(keep) < now.unix) {
                    self.state.remove_context(session.record.id)?;
                } else {
                    kept.push(session);
                }
            }
            lock.contexts = kept;
        }
        // A grant is remembered as long as the entries of locks that name it.
        let expired = now.unix.saturating_sub(self.config.keep_log_ms) / 1000;
        self.state.prune_grants(u32::try_from(expired).unwrap_or(u32::MAX))?;
        self.state.prune(Before {
            commands: now.unix.saturating_sub(self.config.keep_commands_ms),
            log: now.unix.saturating_sub(self.config.keep_log_ms),
            seen: now.unix.saturating_sub(self.config.keep_seen_ms),
        })
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Other topics and another encoding than the default. What is known of gateways is forgotten.
    pub fn set_topics(&mut self, topics: PlatformTopics, encoding: Encoding) {
        self.route = Route::new(topics, encoding);
    }

    /// The state, for callers that keep more in the same store.
    pub fn state_mut(&mut self) -> &mut S {
        &mut self.state
    }

    /// Asks a lock for something. `life` milliseconds bound everything: nothing is sent afterwards, and then the
    /// command ends. Returns the command id that [`PlatformEvent::Ended`] names. Belongs into a batch.
    ///
    /// # Errors
    /// [`Error::UnknownLock`], [`Error::Random`], [`Error::State`]; [`Error::Fenced`] and [`Error::Released`] for locks
    /// that are not asked for this, [`Error::Pin`] for [`Ask::PinChange`].
    pub fn command(&mut self, now: Now, lock: LockId, ask: Ask, life: u64) -> Result<[u8; 4], Error> {
        let standing = self.locks.get(&lock).map(|lock| lock.standing).unwrap_or_default();
        if standing.released.is_some() {
            return Err(Error::Released(lock));
        }
        if standing.fenced.is_some() && ask.changes() {
            return Err(Error::Fenced(lock));
        }
        if ask == Ask::PinChange {
            return Err(Error::Pin("a change is wanted of a slot, and sent by itself"));
        }
        let id = self.start_command(now, lock, ask, life)?;
        self.advance(now, lock)?;
        Ok(id)
    }

    fn event(&mut self, event: PlatformEvent) {
        self.staged_events.push(event);
    }

    fn random_id(&mut self) -> Result<MessageId, Error> {
        let mut id = [0; 16];
        self.random.fill(&mut id).map_err(|_| Error::Random)?;
        Ok(MessageId(id))
    }

    /// Keeps the lock's place in the timers.
    fn rearm(&mut self, id: LockId) {
        let Some(lock) = self.locks.get_mut(&id) else { return };
        let due = lock.due();
        if due != lock.timer {
            if let Some(old) = lock.timer {
                self.timers.remove(&(old, id));
            }
            if let Some(new) = due {
                self.timers.insert((new, id));
            }
            lock.timer = due;
        }
    }
}
