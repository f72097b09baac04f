//! From what NVM holds to a running agent, whatever the last reset interrupted.

use cardea_credentials::{Agreement, LOCK_CWT_LEN, Signer, issue_lock_identity, verify_lock_identity};
use cardea_framing::{LinkConfig, LockId};
use cardea_resources::{Bolt, EventKind, Op, Outcome};
use heapless::{Deque, Vec};

use crate::agent::{Agent, AgentEvent, Alarm, LINK_MAX, RadioLink};
use crate::alarms::Sensors;
use crate::board::{Actuator, Board, CONTEXTS, Clock, Parts, Slot, Storage};
use crate::config::Config;
use crate::error::Error;
use crate::events::Events;
use crate::fresh::Tokens;
use crate::handshake::Handshake;
use crate::ledger::{Ledger, Replay};
use crate::limits::Limiter;
use crate::log::Log;
use crate::outbox::Outbox;
use crate::owner::{Owner, owner_code};
use crate::peers::Peers;
use crate::polls::Polls;
use crate::reset::{Reset, finish};
use crate::session::{Session, sequence_generation};
use crate::site::Site;
use crate::time::{RECORD_LEN, TrustedTime};

/// Where an agent is made, boots and stays: there is never a second one, not even for a moment. Put it in a static or in
/// the frame that never returns, and do not move it.
///
/// The agent cannot be reached before it has [booted](Self::boot), nor after a boot that failed.
pub struct Home<B: Board> {
    agent: Agent<B>,
    booted: bool,
}

impl<B: Board> Home<B> {
    /// An agent that has read nothing yet.
    #[inline(never)] // its result is made where it stays; inlined, the compiler may take a detour
    pub fn new(parts: Parts<B>, config: Config) -> Self {
        Self { agent: Agent::blank(parts, config), booted: false }
    }

    /// Starts from what NVM holds. A new lock makes its credential here; a command that a reset interrupted is judged
    /// by the bolt's sensor and logged, an owner reset is finished. An agent that has booted is given as it is.
    ///
    /// # Errors
    /// See [`Error`]. Nothing is left of what was read, and it may be tried again.
    #[inline(never)] // what it needs is off the stack again when the firmware goes on
    pub fn boot(&mut self) -> Result<&mut Agent<B>, Error> {
        if !self.booted {
            let started = self.agent.start();
            if started.is_err() {
                self.agent.forget();
            }
            started?;
            self.booted = true;
        }
        Ok(&mut self.agent)
    }

    /// The agent, once it has booted.
    pub fn agent(&mut self) -> Option<&mut Agent<B>> {
        self.booted.then_some(&mut self.agent)
    }

    /// Takes it apart, as before a reset; NVM has everything that matters.
    pub fn into_parts(self) -> Parts<B> {
        self.agent.parts
    }
}

impl<B: Board> Agent<B> {
    /// An agent to be moved about, for where stacks are long: see [`Home::boot`], which makes it where it stays.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn boot(parts: Parts<B>, config: Config) -> Result<Self, Error> {
        let mut home = Home::new(parts, config);
        home.boot()?;
        Ok(home.agent)
    }

    /// As a lock without an owner would be, and without a name.
    #[inline(always)]
    fn blank(parts: Parts<B>, config: Config) -> Self {
        Self {
            lock_id: LockId([0; 8]),
            parts,
            config,
            cwt: Vec::new(),
            owner: None,
            has_code: false,
            sessions: [const { None }; CONTEXTS],
            next_generation: 1,
            ledger: Ledger::default(),
            tokens: Tokens::default(),
            time: TrustedTime::new(config.drift_ppm),
            log: Log::default(),
            handshake: Handshake::default(),
            peers: Peers::default(),
            site: Site::new([0; 32]),
            limiter: Limiter::default(),
            #[cfg(feature = "pins")]
            pad: Limiter::default(),
            battery_low: false,
            sensors: Sensors::default(),
            door: None,
            reset: Reset::default(),
            link: RadioLink::new(LinkConfig {
                retry_ms: config.link_retry_ms,
                max_attempts: config.link_attempts,
                reassembly_ms: config.reassembly_ms,
                max_datagram: LINK_MAX,
            }),
            outbox: Outbox::default(),
            events: Events::default(),
            mtu: 0,
            polls: Polls::default(),
            next_heartbeat: 0,
            up: false,
            happened: Deque::new(),
            dropped: 0,
        }
    }

    /// Everything that NVM holds, part by part into its place. A part that is not read here is as [`Self::blank`] made it.
    fn start(&mut self) -> Result<(), Error> {
        let now = self.parts.clock.millis();
        self.next_heartbeat = now.saturating_add(u64::from(self.config.heartbeat_ms));
        self.lock_id = LockId::from_thumbprint(&self.parts.identity.public().thumbprint());
        self.load_credential()?;
        self.load_kept(now)?;
        self.load_contexts()?;
        #[cfg(feature = "pins")]
        {
            self.pad = Limiter::restored(now, self.ledger.wrong_pins);
        }
        if self.owner.is_some() {
            self.settle_interrupted(now)?;
            self.log_event(now, EventKind::Boot, Some(self.config.firmware.to_u32()));
        }
        Ok(())
    }

    /// What [`Self::start`] has put there until it failed.
    fn forget(&mut self) {
        self.cwt.clear();
        self.owner = None;
        self.has_code = false;
        self.sessions = [const { None }; CONTEXTS]; // drops the keys where they are
        self.ledger = Ledger::default();
        self.time = TrustedTime::new(self.config.drift_ppm);
        self.site = Site::new([0; 32]);
        self.reset = Reset::default();
        self.events = Events::default();
        self.happened.clear();
    }

    /// The lock's CWT: from NVM, or made and stored before anybody sees it.
    fn load_credential(&mut self) -> Result<(), Error> {
        let Self { parts, cwt, .. } = self;
        cwt.clear();
        cwt.resize_default(LOCK_CWT_LEN).map_err(|_| Error::Damaged(Slot::Identity))?;
        match parts.storage.read(Slot::Identity, cwt)? {
            Some(len) => {
                cwt.truncate(len);
                if certifies(cwt, parts) { Ok(()) } else { Err(Error::Damaged(Slot::Identity)) }
            }
            None => {
                let len = certify(parts, cwt).ok_or(Error::Key)?;
                cwt.truncate(len);
                Ok(parts.storage.write(Slot::Identity, cwt)?)
            }
        }
    }

    #[inline(never)]
    fn load_owner(&mut self) -> Result<(), Error> {
        let storage = &mut self.parts.storage;
        self.reset = Reset::after(finish(storage)?);
        self.owner = Owner::load(storage)?.map_err(|()| Error::Damaged(Slot::Owner))?;
        Ok(())
    }

    /// What NVM holds beside owner, credential and contexts.
    #[inline(never)]
    fn load_kept(&mut self, now: u64) -> Result<(), Error> {
        self.load_owner()?;
        let storage = &mut self.parts.storage;
        self.has_code = owner_code(storage)?.is_some();
        self.log = Log::load(storage)?;
        let mut record = [0; RECORD_LEN];
        if let Some(len) = storage.read(Slot::Time, &mut record)? {
            self.time.restore(record.get(..len).unwrap_or_default(), now, self.parts.clock.rtc());
        }
        self.load_site()
    }

    #[inline(never)]
    fn load_site(&mut self) -> Result<(), Error> {
        if let Some(owner) = &self.owner {
            self.site = Site::load(&mut self.parts.storage, owner.root.thumbprint())?;
        }
        Ok(())
    }

    #[inline(never)]
    fn load_contexts(&mut self) -> Result<(), Error> {
        let storage = &mut self.parts.storage;
        let ledger = Ledger::load(storage)?;
        // Without its replay state, or without an owner, a context must not be used again.
        let usable = ledger.is_some() && self.owner.is_some();
        self.ledger = ledger.unwrap_or_default();
        let mut newest = 0;
        let mut retired = false;
        for (place, replay) in self.ledger.replay.iter_mut().enumerate() {
            let number = place as u8;
            newest = newest.max(replay.generation).max(sequence_generation(storage, number)?);
            let Some(mut session) = Session::load(storage, number)? else { continue };
            newest = newest.max(session.generation);
            if !usable {
                storage.erase(Slot::Context(number))?;
                continue;
            }
            if replay.generation != session.generation {
                *replay = Replay { generation: session.generation, ..Replay::default() };
            }
            session.context = session.context.with_failed_tags(replay.failures);
            if session.context.is_retired() {
                // NVM counts failed tags ahead: the reset came between the last block and the cap itself. The
                // context would neither hear nor speak.
                storage.erase(Slot::Context(number))?;
                retired = true;
                continue;
            }
            if let Some(slot) = self.sessions.get_mut(place) {
                *slot = Some(session);
            }
        }
        self.next_generation = newest.saturating_add(1);
        if retired {
            self.tell(AgentEvent::Alarm(Alarm::ContextRetired));
        }
        Ok(())
    }

    /// A command was committed and the reset came before its outcome was: the bolt says what became of it.
    #[inline(never)]
    fn settle_interrupted(&mut self, now: u64) -> Result<(), Error> {
        let Some(entry) = self.ledger.interrupted() else { return Ok(()) };
        let outcome = match (entry.op, self.parts.actuator.bolt()) {
            (Op::Lock, Bolt::Locked) | (Op::Unlock, Bolt::Unlocked) => Outcome::Done,
            _ => Outcome::Failed,
        };
        let last = self.log.end().checked_sub(1);
        let logged = match last {
            Some(last) => self
                .log
                .entry(&mut self.parts.storage, last)?
                .is_some_and(|log| log.command == Some(entry.id)),
            None => false,
        };
        if !logged {
            self.log_command(now, entry.by, entry.id, entry.op, outcome);
        }
        self.ledger.finish(entry.by, entry.id, outcome);
        self.ledger.save(&mut self.parts.storage)?;
        Ok(())
    }
}

/// Whether this is the CWT of the board's two keys. By itself: a signature is verified on top of it.
#[inline(never)]
fn certifies<B: Board>(cwt: &[u8], parts: &Parts<B>) -> bool {
    let verified = verify_lock_identity(cwt);
    let Ok(named) = &verified else { return false };
    named.identity == parts.identity.public() && named.dh == parts.dh.public()
}

#[inline(never)] // as above
fn certify<B: Board>(parts: &Parts<B>, cwt: &mut [u8]) -> Option<usize> {
    issue_lock_identity(&parts.identity, &parts.dh.public(), cwt).ok()
}
