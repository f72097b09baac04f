//! EDHOC with the platform, the lock as Initiator: activation by owner code, and later handshakes under the pinned
//! root.

use cardea_credentials::{
    EAD_ACTIVATION_3, EAD_ACTIVATION_4, PlatformIdentity, Random, activation_mac, verify_activation_mac,
    verify_platform,
};
use cardea_edhoc::correlation::{Prefix, prepend, split};
use cardea_edhoc::{
    AuthKey, ConnId, Ead, EphemeralKey, Error as EdhocError, ErrorMessage, IdCred, Initiator,
    InitiatorConfig, Method, Peer, Suite,
};
use cardea_framing::{Class, Kind};
use cardea_oscore::Context;
use cardea_resources::EventKind;
use heapless::Vec;
use sha2::{Digest, Sha256};

use crate::agent::{Agent, AgentEvent, Alarm, HANDSHAKE_HANDLE};
use crate::board::{Board, CONTEXTS, Slot, Storage, StorageFault};
use crate::ledger::Replay;
use crate::limits::REFUSAL_MS;
use crate::outbox::{HANDSHAKE_MAX, To, write};
use crate::owner::{Owner, PlatformCwt, owner_code};
use crate::reset::is_heir;
use crate::session::Session;
use crate::site::Site;

/// While a context is in use, a further handshake starts at most this often, in milliseconds.
const EVERY_MS: u64 = 15 * 60 * 1000;
/// Without any context: pause before the next attempt, doubled with each failure up to [`EVERY_MS`].
const AGAIN_MS: u64 = 5_000;
const MAX_DOUBLINGS: u32 = 8;
/// Longest pause after a handshake that failed by what came in; with the spread of a quarter it is the 90 s of the abuse
/// limit.
const WRONG_MS: u64 = REFUSAL_MS / 5 * 4;
/// A handshake lasts at most this many times `handshake_ms`, whatever keeps coming in.
const MAX_EXTENSIONS: u64 = 5;
const KNOWN_EADS: &[u32] = &[EAD_ACTIVATION_4.unsigned_abs()];

/// Why a handshake ended without a context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum HandshakeFailure {
    /// Nothing came within `handshake_ms`, or the radio could not deliver.
    Silence,
    /// The platform sent an EDHOC error: it does not know this lock, or the owner code is wrong.
    Refused,
    /// A message was malformed or did not authenticate.
    Protocol,
    /// The platform's credential is not under the pinned root, older than the pinned one, or of an unknown kind.
    Credential,
    /// The platform did not prove the owner code: it has none, or another one.
    WrongCode,
    /// The lock's own storage, key or random source failed.
    Internal,
}

impl HandshakeFailure {
    /// Whether the other side is to blame, so that the abuse limit counts it.
    fn is_wrong(self) -> bool {
        !matches!(self, Self::Silence | Self::Internal)
    }
}

impl From<EdhocError> for HandshakeFailure {
    fn from(error: EdhocError) -> Self {
        match error {
            EdhocError::PeerError(_) => Self::Refused,
            EdhocError::KeyUnavailable | EdhocError::RandomUnavailable | EdhocError::BufferTooSmall => {
                Self::Internal
            }
            _ => Self::Protocol,
        }
    }
}

impl From<StorageFault> for HandshakeFailure {
    fn from(_: StorageFault) -> Self {
        Self::Internal
    }
}

/// What a handshake has to prove.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// The owner code, both ways; credentials by value.
    Activation,
    /// The platform's key under the pinned root. The lock goes by its `kid`.
    ByName,
    /// The same, and the lock shows its CWT: the platform did not know the name.
    ByValue,
}

struct Running {
    initiator: Initiator,
    mode: Mode,
    deadline: u64,
    /// No sign of life moves the deadline beyond this.
    limit: u64,
    /// C_R, once message_2 said it.
    peer: Option<ConnId>,
    /// The platform's credential, once it authenticated message_2.
    platform: Option<Owner>,
    /// Hash of the last message that was taken, to know a repeat of it.
    taken: Option<[u8; 8]>,
}

impl Running {
    /// Who authenticated message_2.
    #[inline(never)]
    fn note(&mut self, identity: &PlatformIdentity, cwt: &[u8]) -> Result<(), Refusal> {
        let PlatformIdentity { root, signing, version, .. } = *identity;
        let cwt = PlatformCwt::from_slice(cwt).map_err(|_| unwelcome())?;
        self.platform = Some(Owner { root, signing, version, cwt });
        Ok(())
    }
}

/// The handshake in progress and when the next may start.
#[derive(Default)]
pub(crate) struct Handshake {
    running: Option<Running>,
    /// Something asks for a new context although there is one.
    pub(crate) wanted: bool,
    next_at: u64,
    last_started: Option<u64>,
    failures: u32,
    /// Failures since the last one that was the other side's doing.
    unheard: u32,
    /// The last one went by name, and message_3 was answered by an error.
    unknown: bool,
}

impl Handshake {
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// No context is left, or somebody stands at the lock: try at once.
    pub(crate) fn soon(&mut self) {
        self.next_at = 0;
    }

    /// A frame of it went out or came in.
    pub(crate) fn alive(&mut self, now: u64, handshake_ms: u32) {
        if let Some(running) = &mut self.running {
            running.deadline = now.saturating_add(u64::from(handshake_ms)).min(running.limit);
        }
    }

    fn due(&self, has_context: bool) -> Option<u64> {
        match (has_context, self.wanted) {
            (false, _) => Some(self.next_at),
            (true, true) => Some(self.last_started.map_or(0, |at| at.saturating_add(EVERY_MS))),
            (true, false) => None,
        }
    }
}

impl<B: Board> Agent<B> {
    /// When the handshake needs attention.
    pub(crate) fn handshake_timeout(&self, now: u64) -> Option<u64> {
        if let Some(running) = &self.handshake.running {
            return Some(running.deadline);
        }
        if !self.has_code && self.owner.is_none() {
            return None;
        }
        let due = self.handshake.due(self.current().is_some())?;
        Some(due.max(self.limiter.refused_until(now).unwrap_or(0)))
    }

    /// Gives up what ran out of time and starts what is due.
    pub(crate) fn drive_handshake(&mut self, now: u64) {
        if self.handshake.running.as_ref().is_some_and(|running| now >= running.deadline) {
            self.handshake_failed(now, HandshakeFailure::Silence);
        }
        let due = self.handshake_timeout(now).is_some_and(|at| at <= now);
        if self.handshake.running.is_none()
            && due
            && let Err(failure) = self.start_handshake(now)
        {
            self.handshake_failed(now, failure);
        }
    }

    /// The radio gave the message up.
    pub(crate) fn handshake_undelivered(&mut self, now: u64) {
        if self.handshake.is_running() {
            self.handshake_failed(now, HandshakeFailure::Silence);
        }
    }

    /// Somebody, perhaps the platform, says that it has lost our context.
    pub(crate) fn hinted(&mut self) {
        self.handshake.wanted = true;
    }

    #[inline(never)]
    fn start_handshake(&mut self, now: u64) -> Result<(), HandshakeFailure> {
        let mode = match (&self.owner, self.has_code) {
            (None, _) => Mode::Activation,
            // A platform that was restored from before the activation knows no name, and there is no code any more. Who
            // forges such an error makes the next message_3 longer, and no more: the one after it goes by name again.
            (Some(_), false) if self.handshake.unknown => Mode::ByValue,
            // Pinned, and the code not burnt: the platform has the lock as its own, unless it was restored from
            // before the activation. Both ways, in turn.
            (Some(_), true) if !self.handshake.failures.is_multiple_of(2) => Mode::Activation,
            (Some(_), _) => Mode::ByName,
        };
        self.handshake.last_started = Some(now);
        let c_i = self.choose_c_i().ok_or(HandshakeFailure::Internal)?;
        let ephemeral = EphemeralKey::generate(Suite::S2, &mut self.parts.random)?;
        let config = InitiatorConfig {
            suite: Suite::S2,
            refused_suites: &[],
            method: Method::StaticDh,
            c_i,
            known_eads: KNOWN_EADS,
        };
        let mut initiator = Initiator::new(config, ephemeral);
        datagram(&mut self.outbox.handshake, Prefix::New, |out| initiator.message_1(&[], out))?;
        let patience = u64::from(self.config.handshake_ms);
        self.handshake.running = Some(Running {
            initiator,
            mode,
            deadline: now.saturating_add(patience),
            limit: now.saturating_add(patience.saturating_mul(MAX_EXTENSIONS)),
            peer: None,
            platform: None,
            taken: None,
        });
        Ok(())
    }

    /// One byte that CBOR writes in one byte, and that no context in use has.
    pub(crate) fn choose_c_i(&mut self) -> Option<ConnId> {
        for _ in 0..64 {
            let mut byte = [0];
            self.parts.random.fill(&mut byte).ok()?;
            let [byte] = byte;
            let id = match byte % 48 {
                small @ 0..24 => small,
                negative => negative - 24 + 0x20,
            };
            let used = |context: &Context| context.recipient_id() == [id] || context.sender_id() == [id];
            let platform = self.sessions.iter().flatten().any(|session| used(&session.context));
            if !platform && !self.peers.contexts().any(used) {
                return ConnId::new(&[id]).ok();
            }
        }
        None
    }

    /// Takes an EDHOC datagram's body, and decrypts it where it is.
    #[inline(never)]
    pub(crate) fn edhoc_datagram(&mut self, now: u64, body: &mut [u8]) {
        if self.limiter.refused_until(now).is_some() {
            return self.drop_frame();
        }
        let Some(running) = &mut self.handshake.running else { return self.drop_frame() };
        let Ok((Prefix::Session(id), message)) = split(body) else { return self.drop_frame() };
        let digest = hash_of(body);
        if id != running.initiator.c_i() || running.taken == digest {
            return self.drop_frame();
        }
        let start = body.len() - message.len();
        let message = body.get_mut(start..).unwrap_or_default();
        let result = match &running.platform {
            None => self.message_2(message).and_then(|()| self.message_3()),
            Some(_) => self.message_4(now, message),
        };
        match result {
            Ok(()) => {
                if let Some(running) = &mut self.handshake.running {
                    running.taken = digest;
                }
                self.handshake.alive(now, self.config.handshake_ms);
            }
            Err(refusal) => self.refuse(now, &refusal),
        }
    }

    /// Ends the handshake and tells the platform, if it has said who it is, why.
    #[inline(never)]
    fn refuse(&mut self, now: u64, refusal: &Refusal) {
        let failure = refusal.failure();
        let running = self.handshake.running.as_ref();
        let peer = running.and_then(|running| running.peer);
        let named = running.is_some_and(|it| it.platform.is_some() && it.mode == Mode::ByName);
        self.handshake_failed(now, failure);
        self.handshake.unknown = named && failure == HandshakeFailure::Refused;
        if let (Some(peer), Some(answer)) = (peer, refusal.answer()) {
            let out = &mut self.outbox.handshake;
            let _ = datagram(out, Prefix::Session(peer), |out| answer.encode(out)); // else there is none
        }
    }

    #[inline(never)]
    fn message_2(&mut self, message: &mut [u8]) -> Result<(), Refusal> {
        let Some(running) = &mut self.handshake.running else { return Ok(()) };
        // Here and below results are looked at by reference: a copy would lie on the stack below a multiplication.
        let parsed = running.initiator.parse_message_2_in_place(message);
        let peer = parsed.as_ref().map_err(|error| refusal(*error))?;
        running.peer = Some(peer.conn_id);
        self.welcome(peer)
    }

    /// Whether this is a platform that the lock may have to do with.
    #[inline(never)]
    #[allow(clippy::needless_borrows_for_generic_args)] // a key by value is a key more on the stack
    fn welcome(&mut self, peer: &Peer<'_>) -> Result<(), Refusal> {
        let Some(running) = &mut self.handshake.running else { return Ok(()) };
        let owner = self.owner.as_ref();
        let cwt = match (peer.id_cred, owner) {
            (IdCred::Kcwt(cwt), _) => cwt,
            // One platform credential is pinned, whatever name it goes by; MAC_2 says whether it is that one.
            (IdCred::Kid(_), Some(owner)) if running.mode != Mode::Activation => &owner.cwt,
            _ => return Err(unwelcome()),
        };
        let verified = verify_platform(cwt, owner.map(|owner| &owner.root));
        let identity = verified.as_ref().map_err(|_| unwelcome())?;
        let welcome = match owner {
            // Versions never fall, and one version is one certificate.
            Some(owner) => {
                identity.version > owner.version || (identity.version == owner.version && *cwt == *owner.cwt)
            }
            None => !self.reset.handed_over || is_heir(&mut self.parts.storage, &identity.root.thumbprint()),
        };
        if !welcome {
            return Err(unwelcome());
        }
        running.initiator.verify_message_2(peer, cwt, &identity.dh).map_err(refusal)?;
        running.note(identity, cwt)
    }

    /// Answers a message_2 that was verified. By itself: what that one needed is off the stack again.
    #[inline(never)]
    fn message_3(&mut self) -> Result<(), Refusal> {
        let Some(running) = &mut self.handshake.running else { return Ok(()) };
        let Some(peer) = running.peer else { return Ok(()) };
        let prefix = Prefix::Session(peer);
        let key = AuthKey::Agreement(&self.parts.dh);
        let out = &mut self.outbox.handshake;
        match running.mode {
            Mode::ByName | Mode::ByValue => {
                let name = IdCred::Kid(&self.lock_id.0);
                let id_cred = if running.mode == Mode::ByName { name } else { IdCred::Kcwt(&self.cwt) };
                datagram(out, prefix, |out| running.initiator.message_3(&id_cred, &self.cwt, &key, &[], out))
            }
            Mode::Activation => {
                let code = owner_code(&mut self.parts.storage)
                    .map_err(internal)?
                    .ok_or_else(|| internal(StorageFault))?;
                let th_3 = running.initiator.th_3().map_err(refusal)?;
                let mac = activation_mac(&code, EAD_ACTIVATION_3, &th_3, &self.cwt);
                let id_cred = IdCred::Kcwt(&self.cwt);
                let eads = [Ead::new(EAD_ACTIVATION_3, &mac)];
                datagram(out, prefix, |out| {
                    running.initiator.message_3(&id_cred, &self.cwt, &key, &eads, out)
                })
            }
        }
        .map_err(refusal)
    }

    #[inline(never)]
    fn message_4(&mut self, now: u64, message: &mut [u8]) -> Result<(), Refusal> {
        self.open_message_4(message)?;
        self.pin()?;
        self.install().map_err(internal)?;
        self.handshake.running = None;
        self.handshake.wanted = false;
        (self.handshake.failures, self.handshake.unheard, self.handshake.unknown) = (0, 0, false);
        self.tell(AgentEvent::Connected);
        // The first OSCORE message under the new context confirms it on both sides.
        self.events.restart();
        if self.events.is_empty() {
            let firmware = self.config.firmware.to_u32();
            self.events.push(EventKind::Boot, Some(firmware), None, self.time.stamp(now), now);
        }
        Ok(())
    }

    /// Whether the platform has the session's keys and, at an activation, the owner code.
    #[inline(never)]
    fn open_message_4(&mut self, message: &mut [u8]) -> Result<(), Refusal> {
        let Some(running) = &mut self.handshake.running else { return Err(Refusal::Internal) };
        let Some(platform) = &running.platform else { return Err(Refusal::Internal) };
        let eads = running.initiator.handle_message_4_in_place(message).map_err(refusal)?;
        if running.mode != Mode::Activation {
            return Ok(());
        }
        let code =
            owner_code(&mut self.parts.storage).map_err(internal)?.ok_or_else(|| internal(StorageFault))?;
        let th_4 = running.initiator.th_4().map_err(refusal)?;
        let proof = eads.value(EAD_ACTIVATION_4).unwrap_or_default();
        verify_activation_mac(&code, EAD_ACTIVATION_4, &th_4, &platform.cwt, proof)
            .map_err(|_| Refusal::WrongCode)
    }

    /// The owner first: a context without an owner means nothing, an owner without a context starts over.
    #[inline(never)]
    fn pin(&mut self) -> Result<(), Refusal> {
        let running = self.handshake.running.as_ref();
        let Some(platform) = running.and_then(|running| running.platform.as_ref()) else {
            return Err(Refusal::Internal);
        };
        if self.owner.as_ref() == Some(platform) {
            return Ok(());
        }
        platform.save(&mut self.parts.storage).map_err(internal)?;
        let first = self.owner.is_none();
        let root = platform.root.thumbprint();
        self.owner = Some(platform.clone());
        if first {
            self.site = Site::new(root);
            self.tell(AgentEvent::Activated { root });
        }
        Ok(())
    }

    /// Puts a new context beside the one in use, or in place of one that nobody confirmed.
    #[inline(never)]
    fn install(&mut self) -> Result<(), StorageFault> {
        let running = self.handshake.running.as_ref().ok_or(StorageFault)?;
        let keys = running.initiator.oscore().map_err(|_| StorageFault)?;
        let free = self.sessions.iter().position(Option::is_none);
        let Some(place) = free.or_else(|| self.current()).filter(|&place| place < CONTEXTS) else {
            return Err(StorageFault);
        };
        let generation = self.next_generation;
        let session = Session::create(&mut self.parts.storage, place as u8, generation, &keys)?;
        self.next_generation = generation.saturating_add(1);
        if let Some(replay) = self.ledger.replay.get_mut(place) {
            *replay = Replay { generation, ..Replay::default() };
        }
        if let Some(slot) = self.sessions.get_mut(place)
            && let Some(replaced) = slot.replace(session)
        {
            self.tokens.forget(replaced.generation);
        }
        Ok(())
    }

    fn handshake_failed(&mut self, now: u64, failure: HandshakeFailure) {
        self.handshake.running = None;
        self.handshake.unknown = false;
        self.outbox.handshake.clear();
        self.link.abandon(HANDSHAKE_HANDLE);
        // Anybody on the air can spoil a handshake; that must not buy more than the refusal of the abuse limit. Only
        // silence, and what is wrong with the lock itself, make it rarer.
        let pause = if failure.is_wrong() {
            self.handshake.unheard = 0;
            (AGAIN_MS << self.handshake.failures.min(MAX_DOUBLINGS)).min(WRONG_MS)
        } else {
            let doublings = self.handshake.unheard.min(MAX_DOUBLINGS);
            self.handshake.unheard = self.handshake.unheard.saturating_add(1);
            (AGAIN_MS << doublings).min(EVERY_MS)
        };
        // A whole house that lost its platform at once should not come back at once.
        let random = self.random_token().map_or(0, |[.., a, b, c, d]| u32::from_be_bytes([a, b, c, d]));
        let spread = random % (pause / 4) as u32; // a pause is minutes at most
        self.handshake.next_at = now.saturating_add(pause + u64::from(spread));
        self.handshake.failures = self.handshake.failures.saturating_add(1);
        self.tell(AgentEvent::HandshakeFailed(failure));
        if failure.is_wrong() && self.limiter.wrong(now) {
            self.tell(AgentEvent::Alarm(Alarm::TooManyWrong));
        }
    }

    /// An authentic message of the platform came under this context: it is confirmed, so the older one and the owner
    /// code go. False when that could not be made durable; then the message must have no effect.
    pub(crate) fn confirmed(&mut self, place: usize) -> Result<(), StorageFault> {
        if self.has_code {
            self.burn_code()?;
        }
        if self.current() == Some(place) {
            for other in (0..CONTEXTS).filter(|&other| other != place) {
                let Some(slot) = self.sessions.get_mut(other) else { continue };
                if let Some(old) = slot {
                    self.parts.storage.erase(Slot::Context(other as u8))?;
                    self.tokens.forget(old.generation);
                    *slot = None;
                }
            }
        }
        Ok(())
    }
}

#[inline(never)] // its frame is off the stack again
fn hash_of(message: &[u8]) -> Option<[u8; 8]> {
    Sha256::digest(message).first_chunk().copied()
}

/// Why a step failed. What to tell the platform follows from it, and is made when the step is off the stack.
enum Refusal {
    Edhoc(EdhocError),
    Unwelcome,
    WrongCode,
    Internal,
}

impl Refusal {
    fn failure(&self) -> HandshakeFailure {
        match self {
            Self::Edhoc(error) => (*error).into(),
            Self::Unwelcome => HandshakeFailure::Credential,
            Self::WrongCode => HandshakeFailure::WrongCode,
            Self::Internal => HandshakeFailure::Internal,
        }
    }

    fn answer(&self) -> Option<ErrorMessage<'static>> {
        match self {
            Self::Edhoc(error) => ErrorMessage::answering(*error, &[Suite::S2]),
            Self::Unwelcome => Some(ErrorMessage::UnknownCredential),
            Self::WrongCode => Some(ErrorMessage::Unspecified("owner code")),
            Self::Internal => None,
        }
    }
}

fn refusal(error: EdhocError) -> Refusal {
    Refusal::Edhoc(error)
}

fn unwelcome() -> Refusal {
    Refusal::Unwelcome
}

fn internal(StorageFault: StorageFault) -> Refusal {
    Refusal::Internal
}

/// Makes `out` an EDHOC datagram: header byte, address of a peer, correlation prefix, message. Empty, if it fails.
pub(crate) fn edhoc_datagram<const N: usize>(
    out: &mut Vec<u8, N>,
    to: To,
    prefix: Prefix,
    message: impl FnOnce(&mut [u8]) -> Result<usize, EdhocError>,
) -> Result<(), EdhocError> {
    let kind = match to {
        To::Platform => Kind::PlatformEdhoc,
        #[cfg(feature = "peers")]
        To::Peer(_) => Kind::PeerEdhoc,
    };
    let mut failed = EdhocError::BufferTooSmall;
    let written = write(out, to, kind, Class::Interactive, |body| {
        let result =
            prepend(&prefix, body).and_then(|at| Ok(at + message(body.get_mut(at..).unwrap_or_default())?));
        result.map_err(|error| failed = error).ok()
    });
    written.ok_or(failed)
}

fn datagram(
    out: &mut Vec<u8, HANDSHAKE_MAX>,
    prefix: Prefix,
    message: impl FnOnce(&mut [u8]) -> Result<usize, EdhocError>,
) -> Result<(), EdhocError> {
    edhoc_datagram(out, To::Platform, prefix, message)
}
