//! Requests of the platform: authentic, new, and out of the state after a reset, before anybody looks at what is asked
//! (`serve`); and the replies to them.

use crate::agent::{Agent, AgentEvent, MESSAGE_MAX};
use crate::board::Board;
use crate::fresh::{ECHO_LEN, TokenKind};
use crate::outbox::{Sealed, To, padding, partial_iv_len, sealed};
use crate::serve::{Asker, Fresh, PAYLOAD_MAX};
use crate::session::SequenceError;
use cardea_framing::Class;
use cardea_oscore::coap::{Builder, Code, Message, Type, option};
use cardea_oscore::{Binding, Context, Error as OscoreError, OscoreOption, ReplayGuard, Window, echo};

const TAG_LEN: usize = 8;

/// A request being answered.
struct Exchange<'m> {
    place: usize,
    generation: u32,
    asker: Asker,
    /// A later request was here before it.
    overtaken: bool,
    binding: Binding,
    token: &'m [u8],
}

impl<B: Board> Agent<B> {
    /// Takes a restored request.
    #[inline(never)]
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
        let overtaken = replay.window.is_overtaken(partial_iv);
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
        let asker = Asker::PLATFORM;
        let exchange = Exchange { place, generation, asker, overtaken, binding, token: message.token() };
        self.answer(now, exchange, &inner);
    }

    #[inline(never)]
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
        let Some(token) = token.ok().filter(|_| !unknown_critical(request)) else {
            return self.send_reply(&mut exchange, false, Code::BAD_OPTION, None, &[]);
        };
        // Reading costs no freshness; a challenge is only spent on what it is for.
        let generation = exchange.generation;
        let mut spend = |agent: &mut Self| {
            fresh
                .take()
                .or_else(|| token.and_then(|token| agent.redeem(now, generation, token)))
                .map(|(kind, age)| Fresh { age, echo: kind == TokenKind::Echo })
        };
        // Looked at by reference: an answer moved is an answer more on the stack.
        match &self.serve(now, exchange.asker, request, exchange.overtaken, &mut spend) {
            Some(answer) => self.send_reply(&mut exchange, false, answer.code, None, answer.payload()),
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

    /// 4.01 with 8 fresh bytes. Always under a number of its own: the request may be a replay from before a reset,
    /// whose nonce a response has used.
    fn ask_echo(&mut self, now: u64, exchange: &mut Exchange<'_>) {
        let Some(value) = self.random_token() else { return };
        self.tokens.issue(now, exchange.generation, TokenKind::Echo, value);
        self.send_reply(exchange, true, Code::UNAUTHORIZED, Some(&value), &[]);
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
        let reply =
            Reply { to: To::Platform, own, token: exchange.token, code, echo, payload, mtu: self.mtu };
        let sealed = |out: &mut Sealed| reply.seal(&session.context, &mut exchange.binding, out);
        if self.outbox.push_reply(sealed).is_none() {
            self.drop_frame();
        }
    }
}

/// A response before it is sealed.
pub(crate) struct Reply<'r> {
    pub(crate) to: To,
    /// A sequence number of the lock's own, or the request's.
    pub(crate) own: Option<u64>,
    pub(crate) token: &'r [u8],
    pub(crate) code: Code,
    pub(crate) echo: Option<&'r [u8; ECHO_LEN]>,
    pub(crate) payload: &'r [u8],
    pub(crate) mtu: usize,
}

impl Reply<'_> {
    /// Pads it and seals it into `datagram`. `None`: it does not fit, or the context has no more to give.
    #[inline(never)]
    pub(crate) fn seal(&self, context: &Context, binding: &mut Binding, datagram: &mut Sealed) -> Option<()> {
        let Self { to, own, token, code, echo, payload, mtu } = *self;
        // Header, option flags, number, token, tag; code and Echo option (2 bytes of head) inside.
        let overhead = to.head_len() + 1 + own.map_or(0, partial_iv_len) + token.len() + TAG_LEN;
        let inner = 1 + echo.map_or(0, |value| 2 + value.len());
        let zeros = padding(overhead, inner, payload.len(), mtu);
        let message_id = own.map_or(0, |own| (own & 0xffff) as u16);
        let zeros = zeros.min(PAYLOAD_MAX.saturating_sub(payload.len()));
        let mut coap = [0; PAYLOAD_MAX + 32];
        let mut builder = Builder::new(&mut coap, Type::NonConfirmable, code, message_id, token).ok()?;
        if let Some(value) = echo {
            builder = builder.option(option::ECHO, value).ok()?;
        }
        let len = builder.padded_payload(payload, zeros).ok()?;
        let mut out = [0; PAYLOAD_MAX + 64];
        let len = context.protect_response(binding, own, coap.get(..len)?, &mut out).ok()?;
        sealed(to, Class::Interactive, out.get(..len)?, datagram)
    }
}

/// Options that change what a request means and that nothing here understands (RFC 7252 §5.4.1).
pub(crate) fn unknown_critical(request: &Message<'_>) -> bool {
    request.options().any(|opt| {
        opt.number & 1 == 1
            && !matches!(opt.number, option::URI_PATH | option::URI_HOST | option::URI_PORT | option::OSCORE)
    })
}
