//! Requests of the platform: authentic, new, fresh, and only then carried out.

use cardea_framing::Class;
use cardea_oscore::coap::{Builder, Code, Message, Type, option};
use cardea_oscore::{Binding, Error as OscoreError, OscoreOption, ReplayGuard, Window, echo};
use cardea_resources::{
    Battery, Bolt, ClockState, Command, CommandReply, EventKind, LogEntry, LogPageWriter, LogRequest, Op,
    Outcome, Path, Refusal, Status, Time,
};

use crate::agent::{Agent, AgentEvent, MESSAGE_MAX};
use crate::board::{Actuator, Board, Clock, LOG_SLOTS, StorageFault};
use crate::fresh::{ECHO_LEN, TokenKind};
use crate::outbox::{padding, partial_iv_len, sealed};
use crate::session::SequenceError;

/// An unlock whose `not_after` lies further ahead than this many seconds is refused.
pub const UNLOCK_HORIZON_S: u32 = 120;
/// Most bytes of a reply's payload.
const PAYLOAD_MAX: usize = 224;
/// Most bytes of a log page: what one frame of a fast radio carries, and a few fragments of a slow one.
const PAGE_MAX: usize = 180;
/// Frame bytes around the payload of a reply, for sizing a log page.
const PAGE_OVERHEAD: usize = 16;
const TAG_LEN: usize = 8;

/// A request being answered.
struct Exchange<'m> {
    place: usize,
    generation: u32,
    binding: Binding,
    token: &'m [u8],
}

/// What a handler decided.
struct Answer {
    code: Code,
    payload: [u8; PAYLOAD_MAX],
    len: usize,
}

impl Answer {
    fn empty(code: Code) -> Self {
        Self { code, payload: [0; PAYLOAD_MAX], len: 0 }
    }

    fn with<E>(code: Code, encode: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Self {
        let mut answer = Self::empty(code);
        match encode(&mut answer.payload) {
            Ok(len) => answer.len = len,
            Err(_) => answer.code = Code::INTERNAL_SERVER_ERROR,
        }
        answer
    }
}

/// Whether a command may be carried out now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    CarryOut,
    Refuse(Refusal),
    AskEcho,
}

impl<B: Board> Agent<B> {
    /// Takes a restored request.
    pub(crate) fn request(&mut self, now: u64, message: &Message<'_>, coap: &[u8]) {
        let Ok(header) = OscoreOption::of(message) else { return self.drop_frame() };
        let named = |session: &Option<crate::session::Session>| {
            session.as_ref().is_some_and(|session| session.context.matches(&header))
        };
        let (Some(place), Some(partial_iv)) = (self.sessions.iter().position(named), header.partial_iv)
        else {
            return self.drop_frame();
        };
        let (Some(Some(session)), Some(replay)) =
            (self.sessions.get_mut(place), self.ledger.replay.get_mut(place))
        else {
            return self.drop_frame();
        };
        if replay.window.check(partial_iv).is_err() {
            return self.drop_frame();
        }
        let mut plain = [0; MESSAGE_MAX];
        let (len, binding) = match session.context.unprotect_request(coap, &mut plain) {
            Ok(opened) => opened,
            Err(OscoreError::Decrypt) => return self.failed_tag(place),
            Err(OscoreError::Retired) => return self.retire(place),
            Err(_) => return self.drop_frame(),
        };
        if replay.window.commit(partial_iv).is_err() {
            return self.drop_frame();
        }
        let generation = session.generation;
        if !self.heard(place) {
            return;
        }
        // A new context may have moved the other one out; this one stays where it is.
        let Ok(inner) = Message::parse(plain.get(..len).unwrap_or_default()) else {
            return self.drop_frame();
        };
        let exchange = Exchange { place, generation, binding, token: message.token() };
        self.answer(now, exchange, &inner);
    }

    fn answer(&mut self, now: u64, mut exchange: Exchange<'_>, request: &Message<'_>) {
        let token = echo::value(request);
        let mut fresh = None;
        if self.must_echo(exchange.place) {
            // One rule without exception: whatever the first request after a boot is, and whatever challenge it
            // carries, only the Echo of a 4.01 ends the state in which it may be a replay. Until then no answer may
            // borrow its nonce.
            fresh = token.ok().flatten().and_then(|token| self.redeem(now, exchange.generation, token));
            if !fresh.is_some_and(|(kind, _)| kind == TokenKind::Echo) {
                return self.ask_echo(now, &mut exchange);
            }
            if !self.end_reset(&exchange) {
                return;
            }
        }
        let Ok(token) = token else {
            return self.reply(&mut exchange, Answer::empty(Code::BAD_OPTION));
        };
        let mut path = request.path();
        let resource = match (path.next(), path.next()) {
            (Some(segment), None) => Path::from_segment(segment),
            _ => None,
        };
        if unknown_critical(request) {
            return self.reply(&mut exchange, Answer::empty(Code::BAD_OPTION));
        }
        // Reading costs no freshness; a challenge is only spent on what it is for.
        let mut spend = |agent: &mut Self| {
            fresh
                .take()
                .or_else(|| token.and_then(|token| agent.redeem(now, exchange.generation, token)))
                .map(|(_, age)| age)
        };
        let answer = match (resource, request.code()) {
            (Some(Path::Status), Code::GET) => Some(self.status(now)),
            (Some(Path::Battery), Code::GET) => Some(self.battery()),
            (Some(Path::Log), Code::GET) => Some(self.log_page(&LogRequest::default())),
            (Some(Path::Log), Code::POST) => Some(self.log_request(request.payload())),
            (Some(Path::Bolt), Code::POST) => match Command::decode(request.payload()) {
                Ok(command) => {
                    let age = spend(self);
                    self.command(now, &command, age)
                }
                Err(_) => Some(Answer::empty(Code::BAD_REQUEST)),
            },
            (Some(Path::Time), Code::POST) => match Time::decode(request.payload()) {
                Ok(time) => spend(self).map(|age| self.set_time(now, time, age)),
                Err(_) => Some(Answer::empty(Code::BAD_REQUEST)),
            },
            (Some(Path::Events) | None, _) => Some(Answer::empty(Code::NOT_FOUND)),
            (Some(_), _) => Some(Answer::empty(Code::METHOD_NOT_ALLOWED)),
        };
        match answer {
            Some(answer) => self.reply(&mut exchange, answer),
            None => self.ask_echo(now, &mut exchange),
        }
    }

    /// Redeems a token. Whoever returns an event's challenge has the event: its datagram need not wait for a receipt
    /// any more, and the answer does not have to wait for that datagram.
    fn redeem(&mut self, now: u64, generation: u32, token: &[u8]) -> Option<(TokenKind, u64)> {
        let (kind, age) = self.tokens.redeem(now, generation, token)?;
        if kind == TokenKind::Challenge
            && let Some(handle) = self.events.arrived(now.saturating_sub(age))
        {
            self.link.abandon(handle);
        }
        Some((kind, age))
    }

    fn must_echo(&self, place: usize) -> bool {
        self.sessions.get(place).and_then(Option::as_ref).is_none_or(|session| session.must_echo)
    }

    /// The request proved itself fresh after a reset: nothing up to it is accepted any more (RFC 8613 B.1.2).
    fn end_reset(&mut self, exchange: &Exchange<'_>) -> bool {
        let (Some(Some(session)), Some(replay)) =
            (self.sessions.get_mut(exchange.place), self.ledger.replay.get_mut(exchange.place))
        else {
            return false;
        };
        let Ok(window) = Window::after_echo(exchange.binding.partial_iv()) else { return false };
        replay.window = window;
        session.must_echo = false;
        true
    }

    fn status(&mut self, now: u64) -> Answer {
        let clock =
            if self.time.trusted(now).is_some() { ClockState::Trusted } else { ClockState::Untrusted };
        let actuator = &mut self.parts.actuator;
        let status = Status {
            bolt: actuator.bolt(),
            battery: actuator.battery().min(100),
            clock,
            firmware: self.config.firmware,
        };
        Answer::with(Code::CONTENT, |out| status.encode(out))
    }

    fn battery(&mut self) -> Answer {
        let battery = Battery { percent: self.parts.actuator.battery().min(100), millivolts: None };
        Answer::with(Code::CONTENT, |out| battery.encode(out))
    }

    fn log_request(&mut self, payload: &[u8]) -> Answer {
        let request = match payload {
            [] => LogRequest::default(),
            payload => match LogRequest::decode(payload) {
                Ok(request) => request,
                Err(_) => return Answer::empty(Code::BAD_REQUEST),
            },
        };
        if let Some(cursor) = request.cursor {
            let erased = self
                .ledger
                .save(&mut self.parts.storage)
                .and_then(|()| self.log.erase_below(&mut self.parts.storage, cursor));
            if erased.is_err() {
                return self.storage_failed();
            }
            self.events.logged_below(cursor);
        }
        let mut answer = self.log_page(&request);
        if answer.code == Code::CONTENT {
            answer.code = Code::CHANGED;
        }
        answer
    }

    /// The oldest entries, as many as fit one frame where frames are long enough for one.
    fn log_page(&mut self, request: &LogRequest) -> Answer {
        let room = self.mtu.saturating_sub(PAGE_OVERHEAD).clamp(2 * LogEntry::MAX_LEN, PAGE_MAX);
        let limit = request.limit.map_or(usize::MAX, usize::from);
        let (start, end) = (self.log.start(), self.log.end());
        let last = end.min(start.saturating_add(u32::from(LOG_SLOTS)));
        let mut answer = Answer::empty(Code::CONTENT);
        let (storage, log) = (&mut self.parts.storage, &self.log);
        let written = (|| {
            let out = answer.payload.get_mut(..room).ok_or(StorageFault)?;
            let mut page = LogPageWriter::new(out, end).map_err(|_| StorageFault)?;
            let mut count = 0;
            for index in start..last {
                if count == limit {
                    break;
                }
                let Some(entry) = log.entry(storage, index)? else { continue };
                if !page.push(&entry).map_err(|_| StorageFault)? {
                    break;
                }
                count += 1;
            }
            Ok::<_, StorageFault>(page.finish())
        })();
        match written {
            Ok(len) => {
                answer.len = len;
                answer
            }
            Err(StorageFault) => self.storage_failed(),
        }
    }

    /// Only a request that brought a challenge back says when its time was spoken.
    fn set_time(&mut self, now: u64, time: Time, age: u64) -> Answer {
        if self.ledger.save(&mut self.parts.storage).is_err() {
            return self.storage_failed();
        }
        self.learn_time(now, time.unix, age);
        Answer::empty(Code::CHANGED)
    }

    /// `None` asks for an Echo.
    fn command(&mut self, now: u64, command: &Command, age: Option<u64>) -> Option<Answer> {
        if let Some(known) = self.ledger.command(command.id) {
            // A retry: answered as it was, without a second effect, and needing no freshness for that.
            return Some(match known.outcome {
                _ if known.op != command.op => Answer::empty(Code::BAD_REQUEST),
                Some(outcome) => self.command_reply(command, outcome),
                None => self.command_reply(command, Outcome::Failed),
            });
        }
        match self.judge(now, command, age.is_some()) {
            Verdict::AskEcho => None,
            Verdict::Refuse(refusal) => Some(self.command_reply(command, Outcome::Refused(refusal))),
            Verdict::CarryOut => Some(self.carry_out(command)),
        }
    }

    fn judge(&mut self, now: u64, command: &Command, challenged: bool) -> Verdict {
        let present = self.time.trusted(now);
        let limits = command.not_after.zip(present).map(|(not_after, present)| {
            let not_after = u64::from(not_after) * 1000;
            let earliest = present.unix_ms.saturating_sub(present.uncertainty_ms);
            let latest = present.unix_ms.saturating_add(present.uncertainty_ms);
            let horizon = earliest.saturating_add(u64::from(UNLOCK_HORIZON_S) * 1000);
            (not_after, earliest, latest, horizon)
        });
        match limits {
            Some((not_after, .., horizon)) if command.op == Op::Unlock && not_after > horizon => {
                Verdict::Refuse(Refusal::TooFarAhead)
            }
            _ if challenged => Verdict::CarryOut,
            Some((not_after, _, latest, _)) if latest <= not_after => Verdict::CarryOut,
            Some((not_after, earliest, ..)) if earliest > not_after => Verdict::Refuse(Refusal::Expired),
            // No `not_after`, no trusted time, or too close to tell.
            _ => Verdict::AskEcho,
        }
    }

    /// Commit, effect, log, outcome: three writes, the first before the bolt moves.
    fn carry_out(&mut self, command: &Command) -> Answer {
        self.ledger.begin(command.id, command.op);
        if self.ledger.save(&mut self.parts.storage).is_err() {
            self.ledger.take_back(command.id);
            return self.storage_failed();
        }
        let arrived = matches!(
            (command.op, self.parts.actuator.drive(command.op)),
            (Op::Lock, Ok(Bolt::Locked)) | (Op::Unlock, Ok(Bolt::Unlocked))
        );
        let outcome = if arrived { Outcome::Done } else { Outcome::Failed };
        let now = self.parts.clock.millis(); // the motor took its time
        self.log_command(now, command.id, command.op, outcome);
        self.ledger.finish(command.id, outcome);
        if self.ledger.save(&mut self.parts.storage).is_err() {
            self.tell(AgentEvent::StorageFailed);
        }
        self.tell(AgentEvent::Command { id: command.id, op: command.op, outcome });
        self.command_reply(command, outcome)
    }

    /// Records what became of a command and announces the entry, unless the platform fetches it first.
    pub(crate) fn log_command(&mut self, now: u64, id: [u8; 4], op: Op, outcome: Outcome) {
        let (kind, value) = match outcome {
            Outcome::Done => (EventKind::Command, op as u32),
            _ => (EventKind::Bolt, u32::from(self.parts.actuator.bolt().code())),
        };
        let at = self.time.stamp(now);
        match self.log.append(&mut self.parts.storage, kind, at, Some(value), Some(id)) {
            Ok(log) => {
                let not_before = now + u64::from(self.config.log_delay_ms);
                self.events.push(kind, Some(value), log, at, not_before);
            }
            Err(StorageFault) => self.tell(AgentEvent::StorageFailed),
        }
    }

    fn command_reply(&mut self, command: &Command, outcome: Outcome) -> Answer {
        let reply = CommandReply { id: command.id, outcome, bolt: self.parts.actuator.bolt() };
        Answer::with(Code::CHANGED, |out| reply.encode(out))
    }

    fn storage_failed(&mut self) -> Answer {
        self.tell(AgentEvent::StorageFailed);
        Answer::empty(Code::INTERNAL_SERVER_ERROR)
    }

    /// 4.01 with 8 fresh bytes. Always under a number of its own: the request may be a replay from before a reset,
    /// whose nonce a response has used.
    fn ask_echo(&mut self, now: u64, exchange: &mut Exchange<'_>) {
        let Some(value) = self.random_token() else { return };
        self.tokens.issue(now, exchange.generation, TokenKind::Echo, value);
        self.send_reply(exchange, true, Code::UNAUTHORIZED, Some(&value), &[]);
    }

    fn reply(&mut self, exchange: &mut Exchange<'_>, answer: Answer) {
        let payload = answer.payload.get(..answer.len).unwrap_or_default();
        self.send_reply(exchange, false, answer.code, None, payload);
    }

    fn send_reply(
        &mut self,
        exchange: &mut Exchange<'_>,
        own_number: bool,
        code: Code,
        echo: Option<&[u8; ECHO_LEN]>,
        payload: &[u8],
    ) {
        let Some(Some(session)) = self.sessions.get_mut(exchange.place) else { return };
        if session.context.is_retired() {
            return self.retire(exchange.place);
        }
        let own = match own_number.then(|| session.next_number(&mut self.parts.storage)).transpose() {
            Ok(own) => own,
            Err(SequenceError::Storage) => return self.tell(AgentEvent::StorageFailed),
            Err(SequenceError::Exhausted) => return self.retire(exchange.place),
        };
        // Header, option flags, number, token, tag; code and Echo option (2 bytes of head) inside.
        let overhead = 1 + 1 + own.map_or(0, partial_iv_len) + exchange.token.len() + TAG_LEN;
        let inner = 1 + echo.map_or(0, |value| 2 + value.len());
        let zeros = padding(overhead, inner, payload.len(), self.mtu);
        let mut padded = [0; PAYLOAD_MAX];
        let Some(text) = padded.get_mut(..payload.len()) else { return };
        text.copy_from_slice(payload);
        let padded = padded.get(..payload.len() + zeros).unwrap_or(payload);

        let session = &*session;
        let message_id = own.map_or(0, |own| (own & 0xffff) as u16);
        let sealed = (|| {
            let mut coap = [0; PAYLOAD_MAX + 32];
            let mut builder =
                Builder::new(&mut coap, Type::NonConfirmable, code, message_id, exchange.token)?;
            if let Some(value) = echo {
                builder = builder.option(option::ECHO, value)?;
            }
            let len = if padded.is_empty() { builder.finish() } else { builder.payload(padded)? };
            let mut out = [0; PAYLOAD_MAX + 64];
            let coap = coap.get(..len).unwrap_or_default();
            let len = session.context.protect_response(&mut exchange.binding, own, coap, &mut out)?;
            Ok::<_, OscoreError>(sealed(Class::Interactive, out.get(..len).unwrap_or_default()))
        })();
        match sealed {
            Ok(Some(sealed)) => self.outbox.push_reply(sealed),
            _ => self.drop_frame(),
        }
    }
}

/// Options that change what a request means and that nothing here understands (RFC 7252 §5.4.1).
fn unknown_critical(request: &Message<'_>) -> bool {
    request.options().any(|opt| {
        opt.number & 1 == 1
            && !matches!(opt.number, option::URI_PATH | option::URI_HOST | option::URI_PORT | option::OSCORE)
    })
}
