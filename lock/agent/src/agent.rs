//! The agent: everything the lock is, and the calls its firmware makes.

use cardea_credentials::{LOCK_CWT_LEN, Random, SiteKind, SiteMessage};
use cardea_framing::{CRC_LEN, Datagram, Kind, LOCK_DATAGRAM, Link, LinkEvent, LockId, restore};
use cardea_oscore::coap::Message;
use cardea_resources::{CommandId, EventKind, Op, Outcome};
use heapless::{Deque, Vec};

use crate::alarms::{Door, Sensors};
use crate::board::{Actuator, Board, CONTEXTS, Clock, Parts, Slot, Storage, StorageFault};
use crate::config::Config;
use crate::events::{Events, FIRST_HANDLE};
use crate::fresh::{ECHO_LEN, Tokens};
use crate::handshake::{Handshake, HandshakeFailure};
use crate::ledger::Ledger;
use crate::limits::Limiter;
use crate::log::Log;
use crate::outbox::{HANDSHAKE_MAX, Outbox};
use crate::owner::Owner;
use crate::peers::Peers;
use crate::polls::Polls;
use crate::reset::Reset;
use crate::session::Session;
use crate::site::Site;
use crate::time::{Estimate, RECORD_LEN, TrustedTime};

/// Longest datagram a lock takes from its platform: message_2 with a CWT by value is about 265 bytes.
pub(crate) const DATAGRAM_MAX: usize = 512;
/// Longest datagram that is copied out of the reassembly: a peer's message_3 with two grants above its own has at most
/// 640 bytes. Site messages are longer, and read where they are.
pub(crate) const COPY_MAX: usize = if cfg!(feature = "peers") { 656 } else { MESSAGE_MAX };
/// Longest datagram that the radio link puts together: a page of a revocation list, where those matter.
pub(crate) const LINK_MAX: usize = if cfg!(feature = "peers") { LOCK_DATAGRAM } else { DATAGRAM_MAX };
/// A restored CoAP message.
pub(crate) const MESSAGE_MAX: usize = DATAGRAM_MAX + 16;
/// Link handles; events have theirs from `FIRST_HANDLE` on.
pub(crate) const HANDSHAKE_HANDLE: u64 = 1;
const REPLY_HANDLE: u64 = 2;
const QUESTION_HANDLE: u64 = 3;
/// Unanswered events after which the context is thought lost.
const MAX_UNANSWERED: u8 = 3;
/// Failed tags counted ahead for each write.
const FAILURE_BLOCK: u32 = 64;
const HAPPENED: usize = 8;

/// Sends nothing longer than a handshake.
pub(crate) type RadioLink = Link<Vec<u8, { LINK_MAX + CRC_LEN }>, 1, Vec<u8, HANDSHAKE_MAX>>;

/// What the radio should do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send this many bytes of the buffer.
    Frame(usize),
    /// Send an empty uplink (LoRaWAN: no FRMPayload; Zigbee: a data poll) to open a receive window.
    Poll,
}

/// Why the firmware should make noise or light.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Alarm {
    /// Five wrong PINs in five minutes: the PIN pad is refused for 90 s. Everything else goes on.
    PinPadClosed,
    /// Five wrong handshakes in five minutes: EDHOC is refused for 90 s. Established contexts go on.
    TooManyWrong,
    /// A context was given up: too many failed tags, or its sequence numbers are used up.
    ContextRetired,
}

/// What the firmware may want to show or count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AgentEvent {
    /// The lock has an owner now.
    Activated {
        /// Thumbprint of the owner root that was pinned.
        root: [u8; 32],
    },
    /// An owner reset: the lock has no owner any more, and what the owner put there is erased.
    Released {
        /// Thumbprint of the owner root that alone may activate it next, if the release named one.
        to: Option<[u8; 32]>,
    },
    /// A new context with the platform.
    Connected,
    /// A handshake ended without one; the agent tries again by itself.
    HandshakeFailed(HandshakeFailure),
    /// A command was carried out, or failed at the motor. Not told for answers from the cache, nor for PINs.
    Command {
        /// The command's id.
        id: CommandId,
        /// What was asked.
        op: Op,
        /// What became of it.
        outcome: Outcome,
    },
    /// A revocation list of the platform is in force.
    Revocations {
        /// Its epoch.
        epoch: u32,
    },
    /// The site's authority says that this key belongs to the site, as the firmware had
    /// [asked](Agent::ask_membership). No right follows from it.
    Member {
        /// Where frames for it go.
        address: u16,
        /// Thumbprint of its static Diffie-Hellman key.
        key: [u8; 32],
        /// The first second in which it is a member no more, Unix time.
        expires: u32,
    },
    /// See [`Alarm`].
    Alarm(Alarm),
    /// The medium failed; what needed it was not done.
    StorageFailed,
    /// The random source failed; what needed it was not done.
    RandomFailed,
}

/// The lock's security component. See the [crate] for what it does; times are [`Clock::millis`].
///
/// After each call that may have given it something to say, ask [`poll_transmit`](Self::poll_transmit) until it says
/// `None`, and arm a timer by [`poll_timeout`](Self::poll_timeout).
pub struct Agent<B: Board> {
    pub(crate) parts: Parts<B>,
    pub(crate) config: Config,
    pub(crate) lock_id: LockId,
    /// CRED_I: the same bytes for life.
    pub(crate) cwt: Vec<u8, LOCK_CWT_LEN>,
    pub(crate) owner: Option<Owner>,
    /// Whether the owner code is still in NVM.
    pub(crate) has_code: bool,
    pub(crate) sessions: [Option<Session>; CONTEXTS],
    pub(crate) next_generation: u32,
    pub(crate) ledger: Ledger,
    pub(crate) tokens: Tokens,
    pub(crate) time: TrustedTime,
    pub(crate) log: Log,
    pub(crate) handshake: Handshake,
    pub(crate) peers: Peers,
    pub(crate) site: Site,
    /// Limits handshakes.
    pub(crate) limiter: Limiter,
    /// Limits the PIN pad.
    #[cfg(feature = "pins")]
    pub(crate) pad: Limiter,
    pub(crate) battery_low: bool,
    pub(crate) sensors: Sensors,
    /// `None` until the board has said it since boot.
    pub(crate) door: Option<Door>,
    pub(crate) reset: Reset,
    pub(crate) link: RadioLink,
    pub(crate) outbox: Outbox,
    pub(crate) events: Events,
    pub(crate) mtu: usize,
    pub(crate) polls: Polls,
    pub(crate) next_heartbeat: u64,
    pub(crate) up: bool,
    pub(crate) happened: Deque<AgentEvent, HAPPENED>,
    pub(crate) dropped: u32,
}

impl<B: Board> Agent<B> {
    /// Takes the agent apart, as before a reset; NVM has everything that matters.
    pub fn into_parts(self) -> Parts<B> {
        self.parts
    }

    /// The board's parts, for firmware that shares them with the agent. Records in storage are the agent's alone.
    pub fn parts_mut(&mut self) -> &mut Parts<B> {
        &mut self.parts
    }

    /// The lock's routing name.
    pub fn lock_id(&self) -> LockId {
        self.lock_id
    }

    /// Thumbprint of the pinned owner root.
    pub fn owner(&self) -> Option<[u8; 32]> {
        self.owner.as_ref().map(|owner| owner.root.thumbprint())
    }

    /// Whether there is a context with the platform.
    pub fn is_connected(&self) -> bool {
        self.current().is_some()
    }

    /// The present time as far as it is known.
    pub fn time(&mut self) -> Option<Estimate> {
        let now = self.parts.clock.millis();
        self.time.estimate(now)
    }

    /// Frames and messages that were dropped since boot.
    pub fn dropped(&self) -> u32 {
        self.dropped
    }

    /// The radio has joined its network: the lock activates itself, or reports.
    pub fn link_up(&mut self) {
        self.up = true;
        self.pump();
    }

    /// The radio has lost its network. Nothing is sent until [`link_up`](Self::link_up).
    pub fn link_down(&mut self) {
        self.up = false;
    }

    /// Somebody touched the lock: a challenge goes out, so that a command can come back at once.
    pub fn touch(&mut self) {
        let now = self.parts.clock.millis();
        if !self.is_connected() {
            self.handshake.soon();
        } else if self.up && !self.events.has(EventKind::Touch) {
            let at = self.time.stamp(now);
            self.events.push(EventKind::Touch, None, None, at, now);
        }
        self.pump();
    }

    /// Takes one frame from the radio.
    pub fn handle_frame(&mut self, frame: &[u8]) {
        let now = self.parts.clock.millis();
        self.take_frame(now, frame);
        self.pump();
    }

    #[inline(never)] // its buffer is off the stack again when `pump` runs
    fn take_frame(&mut self, now: u64, frame: &[u8]) {
        let mut message = [0; COPY_MAX];
        if let Some((kind, peer, len)) = self.datagram_of(now, frame, &mut message) {
            self.message(now, kind, peer, message.get_mut(..len).unwrap_or_default());
        }
    }

    /// What the frame is the last of, if it is: as [`unwrap`] has it, in `message`.
    #[inline(never)] // its frame is off the stack again when the message is taken
    fn datagram_of(
        &mut self,
        now: u64,
        frame: &[u8],
        message: &mut [u8; COPY_MAX],
    ) -> Option<(Kind, Option<u16>, usize)> {
        match self.link.handle_frame(now, frame) {
            Ok(Some(incoming)) => {
                let (receipt, bytes) = (incoming.receipt, incoming.datagram());
                #[cfg(feature = "peers")]
                if let Some(body) = crate::site::site_message(bytes) {
                    let Parts { storage, identity, .. } = &mut self.parts;
                    let taken = self.site.take(now, body, storage, self.owner.as_ref(), identity);
                    self.site_took(now, receipt, taken);
                    return None;
                }
                // A receipt says received, never executed; what follows is judged for itself.
                let taken = unwrap(bytes, message);
                if let Some(receipt) = receipt {
                    self.link.custody(now, receipt);
                }
                if taken.is_none() {
                    self.drop_frame();
                }
                taken
            }
            Ok(None) => {
                if self.link.is_receiving() {
                    self.polls.got_fragment(now, &self.config);
                    self.handshake.alive(now, self.config.handshake_ms);
                }
                None
            }
            Err(_) => {
                self.drop_frame();
                None
            }
        }
    }

    /// The next thing to send, with at most `mtu` bytes in a frame. Call when the radio is free, until `None`.
    pub fn poll_transmit(&mut self, mtu: usize, out: &mut [u8]) -> Option<Output> {
        if !self.up {
            return None;
        }
        self.mtu = mtu;
        self.pump();
        let now = self.parts.clock.millis();
        if let Some(len) = self.link.poll_transmit(now, mtu, out) {
            self.polls.sent_frame(now, &self.config);
            return Some(Output::Frame(len));
        }
        if self.wants_poll(now) && self.polls.next().is_none_or(|at| at <= now) {
            self.polls.sent_poll(now, &self.config);
            return Some(Output::Poll);
        }
        None
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), in [`Clock::millis`]. What waits only for the radio to be
    /// free has no timer: ask [`poll_transmit`](Self::poll_transmit) then.
    #[inline(never)]
    pub fn poll_timeout(&mut self) -> Option<u64> {
        if !self.up {
            return None;
        }
        let now = self.parts.clock.millis();
        let connected = self.is_connected();
        let events = (connected && self.link.can_send())
            .then(|| self.events.timeout(u64::from(self.config.answer_ms)))
            .flatten()
            .or_else(|| self.events.answer_timeout(u64::from(self.config.answer_ms)));
        let heartbeat = (connected && self.config.heartbeat_ms > 0).then_some(self.next_heartbeat);
        let poll = self.wants_poll(now).then(|| self.polls.next().unwrap_or(now));
        let question = (self.owner.is_some() && self.link.can_send()).then(|| self.site.timeout()).flatten();
        let sensors = self.sensors.timeout();
        [self.link.poll_timeout(), self.handshake_timeout(now), events, heartbeat, poll, question, sensors]
            .into_iter()
            .flatten()
            .min()
    }

    /// Lets due timers do their work; ask [`poll_transmit`](Self::poll_transmit) afterwards.
    pub fn handle_timeout(&mut self) {
        self.pump();
    }

    /// What happened, oldest first. The last eight are kept.
    pub fn poll_event(&mut self) -> Option<AgentEvent> {
        self.happened.pop_front()
    }

    fn wants_poll(&self, now: u64) -> bool {
        let waiting = || {
            self.tokens.open_until(now).is_some()
                || self.handshake.is_running()
                || self.link.is_receiving()
                || self.reset.is_open(now)
        };
        self.config.sleepy && waiting()
    }

    /// Everything that time or a change of state makes due.
    pub(crate) fn pump(&mut self) {
        let now = self.parts.clock.millis();
        if self.reset.unfinished && !self.resume_reset(now) || !self.up {
            return;
        }
        self.report_held_back(now);
        self.link.handle_timeout(now);
        self.drain_link(now);
        while let Some(unanswered) = self.events.expire(now, u64::from(self.config.answer_ms)) {
            let mut sessions = self.sessions.iter_mut().flatten();
            let session = sessions.find(|session| session.generation == unanswered.generation);
            if !unanswered.delivered {
                self.link.abandon(unanswered.handle);
            } else if let Some(session) = session {
                session.unanswered = session.unanswered.saturating_add(1);
                self.handshake.wanted |= session.unanswered >= MAX_UNANSWERED;
            }
        }
        let spent = |session: &Session| session.should_rekey();
        self.handshake.wanted |= self.sessions.iter().flatten().any(spent);
        self.drive_handshake(now);
        if self.config.heartbeat_ms > 0 && now >= self.next_heartbeat {
            self.next_heartbeat = now.saturating_add(u64::from(self.config.heartbeat_ms));
            if self.is_connected() && self.events.is_empty() {
                let battery = u32::from(self.parts.actuator.battery().min(100));
                let at = self.time.stamp(now);
                self.events.push(EventKind::Heartbeat, Some(battery), None, at, now);
            }
        }
        self.site_wishes(now);
        self.feed_link(now);
    }

    fn drain_link(&mut self, now: u64) {
        while let Some(event) = self.link.poll_event() {
            match event {
                LinkEvent::Delivered { handle: HANDSHAKE_HANDLE } => {
                    self.handshake.alive(now, self.config.handshake_ms);
                }
                LinkEvent::Failed { handle: HANDSHAKE_HANDLE, .. } => self.handshake_undelivered(now),
                LinkEvent::Delivered { handle } if handle >= FIRST_HANDLE => {
                    if let Some(sent) = self.events.by_handle(handle).and_then(|event| event.sent.as_mut()) {
                        sent.delivered = true;
                    }
                }
                LinkEvent::Failed { handle, .. } if handle >= FIRST_HANDLE => {
                    self.events.undelivered(handle, now)
                }
                _ => {}
            }
        }
    }

    /// Gives the link its next datagram: answers to the owner first, then the handshake, then events, then questions.
    #[inline(never)]
    fn feed_link(&mut self, now: u64) {
        if !self.link.can_send() {
            return;
        }
        let sent = if let Some(reply) = self.outbox.next_reply() {
            self.link.send(now, &reply, REPLY_HANDLE)
        } else if !self.outbox.handshake.is_empty() {
            let sent = self.link.send(now, &self.outbox.handshake, HANDSHAKE_HANDLE);
            self.outbox.handshake.clear();
            sent
        } else if let Some((handle, event)) = self.next_event(now) {
            self.next_heartbeat = now.saturating_add(u64::from(self.config.heartbeat_ms));
            self.link.send(now, &event, handle)
        } else if let Some(question) = self.next_question(now) {
            self.link.send(now, &question, QUESTION_HANDLE)
        } else {
            Ok(())
        };
        if sent.is_err() {
            self.drop_frame();
        }
    }

    /// Takes the body of a datagram; OSCORE messages restored.
    #[inline(never)]
    fn message(&mut self, now: u64, kind: Kind, peer: Option<u16>, body: &mut [u8]) {
        match (kind, peer) {
            (Kind::PlatformEdhoc, _) => self.edhoc_datagram(now, body),
            (Kind::PlatformOscore, _) => match Message::parse(body) {
                Ok(message) if message.code().is_request() => self.request(now, &message, body),
                Ok(message) => self.response(now, &message, body),
                Err(_) => self.drop_frame(),
            },
            (Kind::PeerEdhoc, Some(from)) => self.peer_edhoc(now, from, body),
            (Kind::PeerOscore, Some(from)) => self.peer_oscore(now, from, body),
            // The others were read where they were, where there are peers.
            (Kind::Site, _) => match SiteMessage::decode(body) {
                Ok(SiteMessage { kind: SiteKind::Release, nonce, signed }) => {
                    self.release(now, signed, nonce.as_ref());
                }
                _ => self.drop_frame(),
            },
            (Kind::PeerEdhoc | Kind::PeerOscore, None) | (Kind::Receipt, _) => self.drop_frame(),
        }
    }

    /// An authentic message of the platform under this context. False when what follows from it could not be made
    /// durable; then the message must have no effect.
    pub(crate) fn heard(&mut self, place: usize) -> bool {
        if self.confirmed(place).is_err() {
            self.tell(AgentEvent::StorageFailed);
            return false;
        }
        if let Some(Some(session)) = self.sessions.get_mut(place) {
            session.unanswered = 0;
            self.handshake.wanted = session.should_rekey();
        }
        true
    }

    /// A message with a wrong tag. The context counts; NVM holds the count in blocks.
    pub(crate) fn failed_tag(&mut self, place: usize) {
        self.drop_frame();
        let (Some(Some(session)), Some(replay)) =
            (self.sessions.get(place), self.ledger.replay.get_mut(place))
        else {
            return;
        };
        if session.context.is_retired() {
            return self.retire(place);
        }
        if session.context.failed_tags() > replay.failures {
            replay.failures = session.context.failed_tags().saturating_add(FAILURE_BLOCK - 1);
            if self.ledger.save(&mut self.parts.storage).is_err() {
                self.tell(AgentEvent::StorageFailed);
            }
        }
    }

    /// Gives a context up for good.
    pub(crate) fn retire(&mut self, place: usize) {
        let Some(slot) = self.sessions.get_mut(place) else { return };
        if let Some(session) = slot {
            self.tokens.forget(session.generation);
        }
        *slot = None; // drops the keys where they are
        if self.parts.storage.erase(Slot::Context(place as u8)).is_err() {
            self.tell(AgentEvent::StorageFailed);
        }
        self.events.restart();
        self.handshake.soon();
        self.tell(AgentEvent::Alarm(Alarm::ContextRetired));
    }

    /// The platform said the time, somewhere in the `round_trip_ms` that end now.
    #[inline(never)]
    pub(crate) fn learn_time(&mut self, now: u64, unix_s: u32, round_trip_ms: u64) {
        if !self.time.platform_says(unix_s, round_trip_ms, now) {
            return;
        }
        let mut record = [0; RECORD_LEN];
        if let Some(len) = self.time.record(now, self.parts.clock.rtc(), &mut record)
            && self.parts.storage.write(Slot::Time, record.get(..len).unwrap_or_default()).is_err()
        {
            self.tell(AgentEvent::StorageFailed);
        }
    }

    /// Eight random bytes.
    pub(crate) fn random_token(&mut self) -> Option<[u8; ECHO_LEN]> {
        let mut value = [0; ECHO_LEN];
        if self.parts.random.fill(&mut value).is_err() {
            self.tell(AgentEvent::RandomFailed);
            return None;
        }
        Some(value)
    }

    pub(crate) fn tell(&mut self, event: AgentEvent) {
        if self.happened.is_full() {
            self.happened.pop_front();
        }
        let _ = self.happened.push_back(event); // room was made
    }

    pub(crate) fn drop_frame(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
    }

    pub(crate) fn log_event(&mut self, now: u64, kind: EventKind, value: Option<u32>) {
        let at = self.time.stamp(now);
        match self.log.append(&mut self.parts.storage, kind, at, value, None) {
            Ok(log) => self.events.push(kind, value, log, at, now),
            Err(StorageFault) => self.tell(AgentEvent::StorageFailed),
        }
    }
}

/// A datagram's kind, the peer that it names, and the length of its body, which is in `out` then: a copy, for the link
/// keeps its own; an OSCORE message as CoAP, so that there is one buffer and not two.
#[inline(never)]
fn unwrap(datagram: &[u8], out: &mut [u8]) -> Option<(Kind, Option<u16>, usize)> {
    let Datagram { kind, peer, body, .. } = Datagram::parse(datagram).ok()?;
    // The buffers further in are for what such a message can be.
    if datagram.len() > DATAGRAM_MAX && kind != Kind::PeerEdhoc {
        return None;
    }
    let len = match kind {
        Kind::PlatformOscore | Kind::PeerOscore => restore(body, out).ok()?,
        _ => {
            out.get_mut(..body.len())?.copy_from_slice(body);
            body.len()
        }
    };
    Some((kind, peer, len))
}
