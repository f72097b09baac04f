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

impl<B: Board> Agent<B> {
    /// Starts from what NVM holds. A new lock makes its credential here; a command that a reset interrupted is judged
    /// by the bolt's sensor and logged, an owner reset is finished.
    ///
    /// # Errors
    /// See [`Error`].
    #[inline(never)] // what it needs is off the stack again when the firmware goes on
    pub fn boot(mut parts: Parts<B>, config: Config) -> Result<Self, Error> {
        let now = parts.clock.millis();
        // In this order, and each by itself: a signature needs the most stack, and its frames should lie below little.
        let cwt = load_credential(&mut parts)?;
        let kept = Kept::load(&mut parts, &config, now)?;
        Self::start(parts, config, cwt, kept, now)
    }

    /// The one moment with two agents on the stack: here, and where it is returned.
    #[inline(never)]
    fn start(parts: Parts<B>, config: Config, cwt: Cwt, kept: Kept, now: u64) -> Result<Self, Error> {
        let mut agent = Self::with(parts, config, cwt, kept, now);
        agent.resume(now)?;
        Ok(agent)
    }

    #[inline(never)]
    fn with(parts: Parts<B>, config: Config, cwt: Cwt, kept: Kept, now: u64) -> Self {
        let Kept { handed_over, owner, has_code, log, time, site } = kept;
        Self {
            lock_id: LockId::from_thumbprint(&parts.identity.public().thumbprint()),
            parts,
            config,
            cwt,
            owner,
            has_code,
            sessions: [const { None }; CONTEXTS],
            next_generation: 1,
            ledger: Ledger::default(),
            tokens: Tokens::default(),
            time,
            log,
            handshake: Handshake::default(),
            peers: Peers::default(),
            site,
            limiter: Limiter::default(),
            pad: Limiter::default(),
            battery_low: false,
            sensors: Sensors::default(),
            door: None,
            reset: Reset::after(handed_over),
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
            next_heartbeat: now.saturating_add(u64::from(config.heartbeat_ms)),
            up: false,
            happened: Deque::new(),
            dropped: 0,
        }
    }

    /// What the last reset interrupted.
    fn resume(&mut self, now: u64) -> Result<(), Error> {
        self.load_contexts()?;
        self.pad = Limiter::restored(now, self.ledger.wrong_pins);
        if self.owner.is_some() {
            self.settle_interrupted(now)?;
            self.log_event(now, EventKind::Boot, Some(self.config.firmware.to_u32()));
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

type Cwt = Vec<u8, LOCK_CWT_LEN>;

/// What NVM holds beside the credential and the contexts.
struct Kept {
    handed_over: bool,
    owner: Option<Owner>,
    has_code: bool,
    log: Log,
    time: TrustedTime,
    site: Site,
}

impl Kept {
    #[inline(never)]
    fn load<B: Board>(parts: &mut Parts<B>, config: &Config, now: u64) -> Result<Self, Error> {
        let handed_over = finish(&mut parts.storage)?;
        let owner = Owner::load(&mut parts.storage)?.map_err(|()| Error::Damaged(Slot::Owner))?;
        let has_code = owner_code(&mut parts.storage)?.is_some();
        let log = Log::load(&mut parts.storage)?;
        let mut time = TrustedTime::new(config.drift_ppm);
        let mut record = [0; RECORD_LEN];
        if let Some(len) = parts.storage.read(Slot::Time, &mut record)? {
            time.restore(record.get(..len).unwrap_or_default(), now, parts.clock.rtc());
        }
        let site = match &owner {
            Some(owner) => Site::load(&mut parts.storage, owner.root.thumbprint())?,
            None => Site::new([0; 32]),
        };
        Ok(Self { handed_over, owner, has_code, log, time, site })
    }
}

/// The lock's CWT: from NVM, or made and stored before anybody sees it.
#[inline(never)]
fn load_credential<B: Board>(parts: &mut Parts<B>) -> Result<Cwt, Error> {
    let mut cwt = Vec::new();
    cwt.resize_default(LOCK_CWT_LEN).map_err(|_| Error::Damaged(Slot::Identity))?;
    match parts.storage.read(Slot::Identity, &mut cwt)? {
        Some(len) => {
            cwt.truncate(len);
            let identity = verify_lock_identity(&cwt).map_err(|_| Error::Damaged(Slot::Identity))?;
            if identity.identity != parts.identity.public() || identity.dh != parts.dh.public() {
                return Err(Error::Damaged(Slot::Identity));
            }
        }
        None => {
            let dh = parts.dh.public();
            let len = issue_lock_identity(&parts.identity, &dh, &mut cwt).map_err(|_| Error::Key)?;
            cwt.truncate(len);
            parts.storage.write(Slot::Identity, &cwt)?;
        }
    }
    Ok(cwt)
}
