//! Whoever holds a grant: a phone, or anything else with a key and a [`Bundle`]. Nobody else need be online.
//!
//! [`Holder`] is the EDHOC initiator towards one lock (suite 2, method 3, the grant as its credential) and then the
//! OSCORE client of that session, as one state machine without sockets, clock or threads: datagrams of the peer kinds
//! and the time in ([`Holder::handle_datagram`], [`Holder::handle_timeout`]), datagrams and events out
//! ([`Holder::poll_transmit`], [`Holder::poll_event`]). Who carries them is not its business: the gateway at the door,
//! or a radio of its own.
//!
//! A holder whose grant names a key for it passes part of it on: [`delegate`].
//!
//! A session lives for minutes and in memory only. A lock that does not believe the grant is silent, so a refusal looks
//! like a lock that is not there.

mod delegate;
mod log;

use std::collections::VecDeque;

use cardea_credentials::{Agreement, EAD_GRANTS_ABOVE, Random};
use cardea_edhoc::{
    AuthKey, ConnId, Ead, EphemeralKey, Error as EdhocError, IdCred, Initiator, InitiatorConfig, Method,
    Suite,
    correlation::{Prefix, prepend, split},
};
use cardea_framing::{Class, Datagram, Kind, restore};
use cardea_oscore::{
    Algorithm, Binding, Context,
    coap::{Code, Message, option},
    echo,
};
use cardea_resources::{Battery, ClockState, Command, CommandReply, Op, Path, Status};

use crate::{
    Ask, Bundle, Outcome,
    session::{build, elide},
};

pub use delegate::delegate;
pub use log::LogLine;

/// EDHOC messages to and from a lock are shorter: message_3 with the longest chain has 630 bytes.
const MESSAGE: usize = 704;
/// How long a lock may take for each message of the handshake; it waits no longer for ours.
const HANDSHAKE_MS: u64 = 30_000;
/// Silence after which a request is sent again, under the same command id.
const RETRY_MS: u64 = 6_000;
/// Requests of one question at most: a session of the lock remembers four commands, and one is not enough for a repeat
/// to be harmless after.
const MAX_SENT: usize = 4;
/// What OSCORE, elision, header and the other side's address add to an inner message; see `session::secure`.
const OVERHEAD: usize = 9;

/// Why nothing came of a call; the caller is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HolderError {
    /// There is no session with the lock.
    #[error("there is no session with the lock; connect first")]
    NotConnected,
    /// One question at a time.
    #[error("the question before has not ended")]
    Busy,
    /// Phones do not ask for this.
    #[error("this is not for a holder of a grant to ask")]
    Unsupported,
    /// No random numbers are to be had, or the key does not answer.
    #[error("the phone's keys or its random numbers fail")]
    Keys,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HolderEvent {
    /// Lock and holder have proved their keys to each other.
    Connected,
    /// The handshake did not come about: the lock does not answer, or is not the one of the bundle.
    Failed {
        /// For people.
        why: &'static str,
    },
    /// The oldest entries that the lock still holds, as many as one answer takes: before the end of [`Ask::Log`].
    Log {
        /// The index that the lock's next entry will get.
        end: u32,
        /// Ascending by index.
        entries: Vec<LogLine>,
    },
    /// A question ended.
    Ended {
        /// What was asked.
        ask: Ask,
        /// How it ended. `Rejected` with code 4.03: the grant does not allow it, or not now.
        outcome: Outcome,
    },
}

enum Stage {
    Idle,
    /// message_1 is out.
    Greeted(Box<Initiator>, u64),
    /// message_3 is out.
    Proved(Box<Initiator>, u64),
    Ready(Box<Session>),
}

struct Session {
    context: Context,
    next: u64,
}

/// The open question.
struct Question {
    ask: Ask,
    id: [u8; 4],
    asked: u64,
    deadline: u64,
    /// Sent again then.
    again: u64,
    echo: Option<Vec<u8>>,
    /// The Echo of a 4.01 was used; a second 4.01 is the answer.
    echoed: bool,
    sent: Vec<Binding>,
}

/// One holder of one grant. See the [module](self).
pub struct Holder<A> {
    bundle: Bundle,
    key: A,
    random: Box<dyn Random + Send>,
    address: u16,
    stage: Stage,
    question: Option<Question>,
    out: VecDeque<Vec<u8>>,
    events: VecDeque<HolderEvent>,
}

impl<A: Agreement> Holder<A> {
    /// For the lock of `bundle`, which the site knows under `address`. `key` is the one that the grant names.
    pub fn new(bundle: Bundle, key: A, random: Box<dyn Random + Send>, address: u16) -> Self {
        Self {
            bundle,
            key,
            random,
            address,
            stage: Stage::Idle,
            question: None,
            out: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Starts a handshake; a session that there was ends. [`HolderEvent::Connected`] or `Failed` follows.
    ///
    /// # Errors
    /// [`HolderError::Keys`].
    pub fn connect(&mut self, now: u64) -> Result<(), HolderError> {
        self.stage = Stage::Idle;
        let mut number = [0];
        self.random.fill(&mut number).map_err(|_| HolderError::Keys)?;
        let [number] = number;
        // The 48 bytes that travel as one byte (RFC 9528 §3.3.2).
        let number = number % 48;
        let byte = if number < 24 { number } else { number.saturating_add(8) };
        let config = InitiatorConfig {
            suite: Suite::S2,
            refused_suites: &[],
            method: Method::StaticDh,
            c_i: ConnId::new(&[byte]).map_err(|_| HolderError::Keys)?,
            known_eads: &[],
        };
        let ephemeral =
            EphemeralKey::generate(Suite::S2, &mut *self.random).map_err(|_| HolderError::Keys)?;
        let mut initiator = Box::new(Initiator::new(config, ephemeral));
        self.send_edhoc(&Prefix::New, |out| initiator.message_1(&[], out)).map_err(|_| HolderError::Keys)?;
        self.stage = Stage::Greeted(initiator, now.saturating_add(HANDSHAKE_MS));
        Ok(())
    }

    /// Whether there is a session. The lock ends it after five minutes without a word.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self.stage, Stage::Ready(_))
    }

    /// Asks the lock for something, for at most `life` milliseconds. [`HolderEvent::Ended`] follows.
    ///
    /// # Errors
    /// [`HolderError`]: nothing was asked.
    pub fn ask(&mut self, now: u64, ask: Ask, life: u64) -> Result<(), HolderError> {
        if !matches!(ask, Ask::Lock | Ask::Unlock | Ask::Status | Ask::Battery | Ask::Log) {
            return Err(HolderError::Unsupported);
        }
        if !self.is_connected() {
            return Err(HolderError::NotConnected);
        }
        if self.question.is_some() {
            return Err(HolderError::Busy);
        }
        let mut id = [0; 4];
        self.random.fill(&mut id).map_err(|_| HolderError::Keys)?;
        let deadline = now.saturating_add(life);
        let (echo, sent) = (None, Vec::new());
        self.question =
            Some(Question { ask, id, asked: now, deadline, again: now, echo, echoed: false, sent });
        self.handle_timeout(now);
        Ok(())
    }

    /// The next datagram for the lock, header byte and address included.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.out.pop_front()
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<HolderEvent> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let stage = match &self.stage {
            Stage::Greeted(_, until) | Stage::Proved(_, until) => Some(*until),
            Stage::Idle | Stage::Ready(_) => None,
        };
        let question = self.question.as_ref().map(|q| q.again.min(q.deadline));
        [stage, question].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: u64) {
        if let Stage::Greeted(_, until) | Stage::Proved(_, until) = &self.stage
            && *until <= now
        {
            self.fail("the lock does not answer: it is not there, or does not believe the grant");
        }
        if let Some(question) = self.question.take_if(|q| q.deadline <= now) {
            let sent = u32::try_from(question.sent.len()).unwrap_or(u32::MAX);
            self.end(question.ask, Outcome::Unanswered { sent, gateway: None });
        }
        if self.question.as_ref().is_some_and(|q| q.again <= now) {
            self.send_question(now);
        }
    }

    /// Takes a datagram. What is not from this lock, or makes no sense, changes nothing but an open handshake, which a
    /// message that fails ends.
    pub fn handle_datagram(&mut self, now: u64, bytes: &[u8]) {
        let Ok(datagram) = Datagram::parse(bytes) else { return };
        if datagram.peer != Some(self.address) {
            return;
        }
        match datagram.kind {
            Kind::PeerEdhoc => self.handle_edhoc(now, datagram.body),
            Kind::PeerOscore => self.handle_oscore(now, datagram.body),
            _ => {}
        }
    }

    fn handle_edhoc(&mut self, now: u64, body: &[u8]) {
        let Ok((Prefix::Session(id), message)) = split(body) else { return };
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Greeted(mut initiator, _) if initiator.c_i() == id => {
                match self.answer_message_2(&mut initiator, message) {
                    Ok(()) => self.stage = Stage::Proved(initiator, now.saturating_add(HANDSHAKE_MS)),
                    Err(_) => self.fail("whoever answered is not the lock of the bundle"),
                }
            }
            Stage::Proved(mut initiator, _) if initiator.c_i() == id => {
                let mut plain = [0; MESSAGE];
                let ready = initiator.handle_message_4(message, &mut plain).is_ok();
                match session(&initiator).filter(|_| ready) {
                    Some(session) => {
                        self.stage = Stage::Ready(Box::new(session));
                        self.events.push_back(HolderEvent::Connected);
                    }
                    None => self.fail("the lock's last word does not fit the handshake"),
                }
            }
            other => self.stage = other,
        }
    }

    /// The lock has proved that it holds the key of the bundle; now we prove ours.
    fn answer_message_2(&mut self, initiator: &mut Initiator, message: &[u8]) -> Result<(), EdhocError> {
        let mut plain = [0; MESSAGE];
        let peer = initiator.parse_message_2(message, &mut plain)?;
        // Whatever the kid, one credential is expected.
        initiator.verify_message_2(&peer, self.bundle.lock(), self.bundle.identity().dh)?;
        let prefix = Prefix::Session(peer.conn_id);
        let mut body = [0; MESSAGE];
        let at = prepend(&prefix, &mut body)?;
        let id_cred = IdCred::Kcwt(self.bundle.cwt());
        let key = AuthKey::Agreement(&self.key);
        let rest = body.get_mut(at..).unwrap_or_default();
        // A grant that was passed on comes with those above it.
        let above = [Ead::new(EAD_GRANTS_ABOVE, self.bundle.above())];
        let eads = if self.bundle.above().is_empty() { &[][..] } else { &above };
        let length = initiator.message_3(&id_cred, self.bundle.cwt(), &key, eads, rest)?;
        self.push(Kind::PeerEdhoc, body.get(..at.saturating_add(length)).unwrap_or_default());
        Ok(())
    }

    fn send_edhoc(
        &mut self,
        prefix: &Prefix,
        write: impl FnOnce(&mut [u8]) -> Result<usize, EdhocError>,
    ) -> Result<(), EdhocError> {
        let mut body = [0; MESSAGE];
        let at = prepend(prefix, &mut body)?;
        let length = write(body.get_mut(at..).unwrap_or_default())?;
        self.push(Kind::PeerEdhoc, body.get(..at.saturating_add(length)).unwrap_or_default());
        Ok(())
    }

    fn push(&mut self, kind: Kind, body: &[u8]) {
        let mut out = vec![0; body.len().saturating_add(3)];
        let datagram = Datagram { kind, class: Class::Interactive, peer: Some(self.address), body };
        if let Ok(length) = datagram.encode(&mut out) {
            out.truncate(length);
            self.out.push_back(out);
        }
    }

    fn fail(&mut self, why: &'static str) {
        self.stage = Stage::Idle;
        self.events.push_back(HolderEvent::Failed { why });
    }

    fn end(&mut self, ask: Ask, outcome: Outcome) {
        self.question = None;
        self.events.push_back(HolderEvent::Ended { ask, outcome });
    }

    /// Seals the question (again) under the next number.
    fn send_question(&mut self, now: u64) {
        let Stage::Ready(session) = &mut self.stage else { return };
        let Some(question) = &mut self.question else { return };
        if question.sent.len() >= MAX_SENT {
            question.again = u64::MAX; // answered, or over at its deadline
            return;
        }
        let sealed = question.seal(session);
        question.again = now.saturating_add(RETRY_MS);
        if let Some((body, binding)) = sealed {
            question.sent.push(binding);
            self.push(Kind::PeerOscore, &body);
        }
    }

    fn handle_oscore(&mut self, now: u64, body: &[u8]) {
        let Stage::Ready(session) = &mut self.stage else { return };
        let Some(question) = &mut self.question else { return };
        let (mut coap, mut plain) =
            (vec![0; body.len().saturating_add(16)], vec![0; body.len().saturating_add(16)]);
        let Ok(length) = restore(body, &mut coap) else { return };
        coap.truncate(length);
        let context = &mut session.context;
        let opened = question.sent.iter().rposition(|binding| {
            context.unprotect_response(binding, &coap, &mut plain).is_ok_and(|(length, _)| {
                plain.truncate(length);
                true
            })
        });
        let Some(place) = opened else { return };
        question.sent.remove(place); // one answer for each request
        let Ok(answer) = Message::parse(&plain) else { return };
        let fresh = echo::value(&answer).ok().flatten();
        if let (Code::UNAUTHORIZED, Some(value), false) = (answer.code(), fresh, question.echoed) {
            (question.echo, question.echoed, question.again) = (Some(value.to_vec()), true, now);
            return self.handle_timeout(now);
        }
        // A request that went out before the Echo was known says nothing about the one that carries it.
        if answer.code() == Code::UNAUTHORIZED && question.echoed && !question.sent.is_empty() {
            return;
        }
        let (ask, ms) = (question.ask, now.saturating_sub(question.asked));
        let outcome = outcome(ask, question.id, answer.code(), answer.payload(), ms);
        if matches!(outcome, Outcome::Log { .. })
            && let Some((end, entries)) = log::read(answer.payload())
        {
            self.events.push_back(HolderEvent::Log { end, entries });
        }
        self.end(ask, outcome);
    }
}

impl Question {
    fn seal(&self, session: &mut Session) -> Option<(Vec<u8>, Binding)> {
        let number = session.next;
        let mut payload = [0; Command::MAX_LEN];
        let (code, path, length) = match self.ask {
            Ask::Site | Ask::SiteChange => return None, // the platform's alone
            Ask::Lock | Ask::Unlock => {
                let op = if self.ask == Ask::Lock { Op::Lock } else { Op::Unlock };
                let command = Command { id: self.id, op, not_after: None };
                (Code::POST, Path::Bolt, command.encode(&mut payload).ok()?)
            }
            Ask::Battery => (Code::GET, Path::Battery, 0),
            Ask::Status => (Code::GET, Path::Status, 0),
            Ask::Log => (Code::GET, Path::Log, 0),
            Ask::Pins | Ask::PinChange | Ask::Time => return None, // `ask` refuses them
        };
        session.next = number.saturating_add(1);
        let mut options = vec![(option::URI_PATH, path.segment().as_bytes())];
        options.extend(self.echo.as_deref().map(|echo| (option::ECHO, echo)));
        let [.., high, low] = number.to_be_bytes();
        let message_id = u16::from_be_bytes([high, low]);
        let payload = payload.get(..length).unwrap_or_default();
        // Numbers of such a session take one byte.
        let coap = build(code, message_id, &[low], &options, payload, OVERHEAD.saturating_add(1)).ok()?;
        let mut sealed = vec![0; coap.len().saturating_add(48)];
        let (length, binding) = session.context.protect_request(number, &coap, &mut sealed).ok()?;
        sealed.truncate(length);
        Some((elide(&sealed).ok()?, binding))
    }
}

/// The keys of a handshake that message_4 has confirmed.
fn session(initiator: &Initiator) -> Option<Session> {
    let keys = initiator.oscore().ok().filter(|_| initiator.is_confirmed())?;
    let (own, peer) = (keys.sender_id.as_bytes(), keys.recipient_id.as_bytes());
    let context =
        Context::derive(Algorithm::AesCcm16_64_128, keys.secret(), &keys.salt, None, own, peer).ok()?;
    Some(Session { context, next: 0 })
}

fn outcome(ask: Ask, id: [u8; 4], code: Code, payload: &[u8], ms: u64) -> Outcome {
    let rejected = || Outcome::Rejected { code: code.to_string() };
    if !code.is_success() {
        return rejected();
    }
    let answer = match ask {
        Ask::Site | Ask::SiteChange => None,
        Ask::Lock | Ask::Unlock => CommandReply::decode(payload)
            .ok()
            .filter(|reply| reply.id == id)
            .map(|reply| Outcome::of_command(&reply, ms)),
        Ask::Status => Status::decode(payload).ok().map(|status| Outcome::Status {
            bolt: status.bolt,
            battery: status.battery,
            clock_trusted: status.clock == ClockState::Trusted,
            firmware: status.firmware.to_string(),
            revocations: status.revocations,
            ms,
        }),
        Ask::Battery => Battery::decode(payload).ok().map(|battery| Outcome::Battery {
            percent: battery.percent,
            millivolts: battery.millivolts,
            ms,
        }),
        Ask::Log => log::read(payload).map(|(_, lines)| {
            let entries = u32::try_from(lines.len()).unwrap_or(u32::MAX);
            Outcome::Log { entries, ms }
        }),
        Ask::Pins | Ask::PinChange | Ask::Time => None,
    };
    answer.unwrap_or_else(rejected)
}
