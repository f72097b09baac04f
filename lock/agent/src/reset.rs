//! The owner reset: inside button, open door, and a release that the owner root or the vendor signed for this very reset.
//!
//! Nothing here moves the bolt, and nothing is needed to get out.

use cardea_credentials::{Gate, PublicKey, Question, Release, Signer, SiteKind, Successor};
use cardea_framing::{Class, Kind};
use zeroize::Zeroizing;

use crate::agent::{Agent, AgentEvent};
use crate::alarms::Door;
use crate::board::{Board, CONTEXTS, Clock, Slot, Storage, StorageFault};
use crate::bytes::{Reader, Writer};
use crate::error::Error;
#[cfg(feature = "pins")]
use crate::limits::Limiter;
use crate::log::Log;
use crate::outbox::{To, write};
use crate::owner::{owner_code, provision};
use crate::site::Site;
use crate::time::TrustedTime;

const SUCCESSOR_VERSION: u8 = 1;
const RESET_VERSION: u8 = 1;
const UNDER_WAY: u8 = 1;
const DONE: u8 = 2;

/// Why the inside button starts no owner reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ResetRefusal {
    /// There is no owner to be released from.
    NoOwner,
    /// The door is closed, or nobody has said since boot how it stands.
    DoorNotOpen,
    /// The random source failed.
    RandomFailed,
}

/// What the agent keeps of owner resets outside NVM.
#[derive(Default)]
pub(crate) struct Reset {
    /// The nonce that is out, and how many releases were verified for it.
    gate: Gate,
    /// One root alone may activate next; NVM says which.
    pub(crate) handed_over: bool,
    /// The medium failed in the middle: until it is done the lock has no owner and wants none.
    pub(crate) unfinished: bool,
}

impl Reset {
    /// After a reset that left the lock to one root alone, or not.
    pub(crate) fn after(handed_over: bool) -> Self {
        Self { handed_over, ..Self::default() }
    }

    /// Whether a release is waited for.
    pub(crate) fn is_open(&self, now: u64) -> bool {
        self.gate.open(now).is_some()
    }
}

impl<B: Board> Agent<B> {
    /// The inside button was held for as long as the product wants it for an owner reset, with the door open.
    ///
    /// The lock draws a nonce, asks its site for a release, and returns the nonce for whoever wants to show it. A release
    /// for it is good for [`ASK_LIFE_MS`](cardea_credentials::ASK_LIFE_MS) and as long as the door is not closed; holding
    /// the button again draws another one.
    ///
    /// # Errors
    /// See [`ResetRefusal`].
    pub fn inside_button_held(&mut self) -> Result<[u8; 8], ResetRefusal> {
        if self.owner.is_none() {
            return Err(ResetRefusal::NoOwner);
        }
        if !self.is_door_open() {
            return Err(ResetRefusal::DoorNotOpen);
        }
        let now = self.parts.clock.millis();
        let nonce = self.random_token().ok_or(ResetRefusal::RandomFailed)?;
        self.reset.gate.ask(nonce, now);
        let question = Question { kind: SiteKind::Release, nonce, number: 0 };
        let body = |out: &mut [u8]| question.encode(out).ok();
        let _ = self // it fits
            .outbox
            .push_reply(|out| write(out, To::Platform, Kind::Site, Class::Interactive, body));
        self.pump();
        Ok(nonce)
    }

    /// How the door stands, for the time after a boot: nothing is logged or reported. See
    /// [`door_moved`](Self::door_moved).
    pub fn door_is(&mut self, door: Door) {
        self.door = Some(door);
        if door == Door::Closed {
            self.reset.gate.close();
        }
    }

    fn is_door_open(&self) -> bool {
        matches!(self.door, Some(Door::Open | Door::Ajar))
    }

    /// Takes a release, a COSE_Sign1 that came with `nonce`. Whatever does not fit this lock, its owner, the nonce that is
    /// out and an open door is dropped, and all of that is looked at before a signature.
    #[inline(never)]
    pub(crate) fn release(&mut self, now: u64, signed: &[u8], nonce: Option<&[u8; 8]>) {
        let Some(release) = self.verify_release(now, signed, nonce) else { return self.drop_frame() };
        self.reset.gate.close();
        let journal = Journal { end: self.log.end(), nonce: release.nonce, heir: release.to, done: false };
        if journal.save(&mut self.parts.storage).is_err() {
            // Whether it is in NVM or not, the next boot knows. Until then the owner stays.
            return self.tell(AgentEvent::StorageFailed);
        }
        self.resume_reset(now);
        self.tell(AgentEvent::Released { to: release.to });
    }

    fn verify_release(&mut self, now: u64, signed: &[u8], nonce: Option<&[u8; 8]>) -> Option<Release> {
        let owner = self.owner.as_ref()?;
        let asked = self.reset.gate.open(now)?;
        if !self.is_door_open() || !self.reset.gate.answers(nonce, now) {
            return None;
        }
        self.reset.gate.admit(true, now).ok()?;
        let lock = self.parts.identity.public().thumbprint();
        let vendor = self.config.vendor.and_then(|key| PublicKey::from_sec1(&key).ok());
        Release::verify(signed, &lock, &asked, &owner.root, vendor.as_ref()).ok()
    }

    /// Does what is left of a reset, and forgets the owner. False where the medium failed; it is tried again.
    pub(crate) fn resume_reset(&mut self, now: u64) -> bool {
        let finished = finish(&mut self.parts.storage);
        self.forget_owner(now);
        match finished {
            Ok(handed_over) => self.reset = Reset::after(handed_over),
            Err(_) => {
                self.reset.unfinished = true;
                self.tell(AgentEvent::StorageFailed);
            }
        }
        finished.is_ok()
    }

    /// Everything in RAM that came from the owner.
    fn forget_owner(&mut self, now: u64) {
        self.owner = None;
        self.has_code = matches!(owner_code(&mut self.parts.storage), Ok(Some(_)));
        self.sessions = [const { None }; CONTEXTS];
        self.next_generation = 1;
        (self.ledger, self.tokens) = Default::default();
        self.time = TrustedTime::new(self.config.drift_ppm);
        if let Ok(log) = Log::load(&mut self.parts.storage) {
            self.log = log;
        }
        for handle in self.events.handles() {
            self.link.abandon(handle);
        }
        self.site = Site::new([0; 32]);
        (self.handshake, self.peers) = Default::default();
        #[cfg(feature = "pins")]
        {
            self.pad = Limiter::default();
        }
        (self.outbox, self.events) = Default::default();
        (self.battery_low, self.sensors) = Default::default();
        self.next_heartbeat = now.saturating_add(self.config.heartbeat_ms.into());
    }

    /// The owner code is burnt by the platform's first authentic message. What the next one comes from stays.
    pub(crate) fn burn_code(&mut self) -> Result<(), StorageFault> {
        let storage = &mut self.parts.storage;
        if let Some(code) = owner_code(storage)? {
            let mut record = Zeroizing::new([SUCCESSOR_VERSION; Slot::Successor.max_len()]);
            if let Some((_, bytes)) = record.split_first_mut() {
                bytes.copy_from_slice(Successor::of(&code).to_bytes().as_ref());
            }
            storage.write(Slot::Successor, record.as_ref())?;
        }
        if self.reset.handed_over {
            storage.erase(Slot::Reset)?;
            self.reset.handed_over = false;
        }
        storage.erase(Slot::Code)?;
        self.has_code = false;
        Ok(())
    }
}

/// Finishes the reset that NVM says is under way, if one is; every step may be done twice. Says whether
/// one root alone may activate next.
pub(crate) fn finish(storage: &mut impl Storage) -> Result<bool, Error> {
    let Some(journal) = Journal::load(storage)? else { return Ok(false) };
    if journal.done {
        return Ok(true);
    }
    // The code first: what it comes from is erased with the rest.
    let mut record = Zeroizing::new([0; Slot::Successor.max_len()]);
    if storage.read(Slot::Successor, record.as_mut())? == Some(record.len())
        && let [SUCCESSOR_VERSION, bytes @ ..] = &*record
    {
        provision(storage, &Successor::from_bytes(*bytes).code(&journal.nonce))?;
    }
    storage.erase_all(|slot| {
        // Everything else is the owner's, also what may be added to the list of slots one day.
        !matches!(slot, Slot::Identity | Slot::Code | Slot::Reset | Slot::LogMeta)
    })?;
    Log::begin_at(storage, journal.end)?;
    match journal.heir {
        Some(_) => Journal { done: true, ..journal }.save(storage)?,
        None => storage.erase(Slot::Reset)?,
    }
    Ok(journal.heir.is_some())
}

/// Whether this root may activate a lock that was handed over.
#[inline(never)] // its record is off the stack again
pub(crate) fn is_heir(storage: &mut impl Storage, root: &[u8; 32]) -> bool {
    Journal::load(storage).is_ok_and(|journal| journal.is_some_and(|journal| journal.heir == Some(*root)))
}

/// The record in `Slot::Reset`.
#[derive(Clone, Copy)]
struct Journal {
    done: bool,
    /// Where the log goes on.
    end: u32,
    nonce: [u8; 8],
    heir: Option<[u8; 32]>,
}

impl Journal {
    fn load(storage: &mut impl Storage) -> Result<Option<Self>, Error> {
        let mut record = [0; Slot::Reset.max_len()];
        let Some(len) = storage.read(Slot::Reset, &mut record)? else { return Ok(None) };
        Self::decode(record.get(..len).unwrap_or_default()).map(Some).ok_or(Error::Damaged(Slot::Reset))
    }

    fn save(&self, storage: &mut impl Storage) -> Result<(), StorageFault> {
        let mut record = [0; Slot::Reset.max_len()];
        let mut writer = Writer::new(&mut record);
        writer.u8(RESET_VERSION);
        writer.u8(if self.done { DONE } else { UNDER_WAY });
        writer.u32(self.end);
        writer.bytes(&self.nonce);
        writer.bytes(self.heir.as_ref().map_or(&[], |heir| heir));
        let len = writer.finish().ok_or(StorageFault)?;
        storage.write(Slot::Reset, record.get(..len).unwrap_or_default())
    }

    fn decode(record: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(record);
        if reader.u8()? != RESET_VERSION {
            return None;
        }
        let done = match reader.u8()? {
            UNDER_WAY => false,
            DONE => true,
            _ => return None,
        };
        let (end, nonce) = (reader.u32()?, reader.array()?);
        let heir = if reader.end() { None } else { Some(reader.array()?) };
        reader.end().then_some(Self { done, end, nonce, heir })
    }
}
