//! `POST e`: the lock tells, the platform answers with its log cursor and its time.

use cardea_framing::Class;
use cardea_oscore::coap::{Builder, Code, Message, Type, option};
use cardea_oscore::{Error as OscoreError, echo};
use cardea_resources::{Event, EventReply, Path};
use heapless::Vec;

use crate::agent::{Agent, AgentEvent, MESSAGE_MAX};
use crate::board::{Board, CONTEXTS};
use crate::events::{Sent, token_of};
use crate::fresh::{CHALLENGE_LEN, TokenKind};
use crate::outbox::{Sealed, To, padding, partial_iv_len, sealed};
use crate::session::SequenceError;

const TAG_LEN: usize = 8;
/// Longest event payload with its padding.
const PAYLOAD_MAX: usize = 64;

impl<B: Board> Agent<B> {
    /// Seals the oldest event that is due, with a fresh challenge and number. Returns its handle and datagram.
    #[inline(never)]
    pub(crate) fn next_event(&mut self, now: u64) -> Option<(u64, Sealed)> {
        let place = self.current()?;
        let handle = self.events.due(now)?.handle;
        let Some(value) = self.random_token() else {
            self.events.undelivered(handle, now);
            return None;
        };
        let session = self.sessions.get_mut(place)?.as_mut()?;
        if session.context.is_retired() {
            self.retire(place);
            return None;
        }
        let number = match session.next_number(&mut self.parts.storage) {
            Ok(number) => number,
            Err(SequenceError::Storage) => {
                self.tell(AgentEvent::StorageFailed);
                self.events.undelivered(handle, now);
                return None;
            }
            Err(SequenceError::Exhausted) => {
                self.retire(place);
                return None;
            }
        };
        let pending = self.events.due(now)?;
        let challenge = *value.first_chunk::<CHALLENGE_LEN>()?;
        let event =
            Event { challenge, kind: pending.kind, log: pending.log, value: pending.value, at: pending.at };
        let mut payload = [0; PAYLOAD_MAX];
        let len = event.encode(&mut payload).ok()?;
        let class = pending.class();
        // Header, option flags, number, kid, tag; code, Uri-Path `e` and Echo inside.
        let overhead = 1 + 1 + partial_iv_len(number) + session.context.sender_id().len() + TAG_LEN;
        let inner = 1 + 2 + pending.echo.as_ref().map_or(0, |echo| 2 + echo.len());
        let zeros = match class {
            Class::Interactive => padding(overhead, inner, len, self.mtu),
            _ => 0,
        };
        let payload = payload.get(..len + zeros)?;

        let mut coap = [0; PAYLOAD_MAX + 32];
        let mut out = [0; PAYLOAD_MAX + 64];
        let message_id = (number & 0xffff) as u16;
        let (len, binding) = (|| {
            let token = [token_of(number)];
            let mut builder = Builder::new(&mut coap, Type::NonConfirmable, Code::POST, message_id, &token)?
                .option(option::URI_PATH, Path::Events.segment().as_bytes())?;
            if let Some(echo) = &pending.echo {
                builder = builder.option(option::ECHO, echo)?;
            }
            let len = builder.payload(payload)?;
            session.context.protect_request(number, coap.get(..len).unwrap_or_default(), &mut out)
        })()
        .ok()?;
        let mut datagram = Sealed::new();
        sealed(To::Platform, class, out.get(..len)?, &mut datagram)?;
        let generation = session.generation;
        if class == Class::Telemetry {
            self.events.remove(handle); // nobody answers it
        } else {
            pending.sent = Some(Sent { at: now, generation, binding, delivered: false });
        }
        self.tokens.issue(now, generation, TokenKind::Challenge, value);
        Some((handle, datagram))
    }

    /// Takes a restored response.
    #[inline(never)]
    pub(crate) fn response(&mut self, now: u64, message: &Message<'_>, coap: &[u8]) {
        let mut plain = [0; MESSAGE_MAX];
        let mut culprit = None;
        for skip in 0.. {
            let Some(pending) = self.events.awaiting(message.token(), skip) else { break };
            let (handle, Some(sent)) = (pending.handle, pending.sent.as_ref()) else { break };
            let place = self.sessions.iter().position(|session| {
                session.as_ref().is_some_and(|session| session.generation == sent.generation)
            });
            let Some((place, Some(Some(session)))) = place.map(|place| (place, self.sessions.get_mut(place)))
            else {
                continue;
            };
            match session.context.unprotect_response(&sent.binding, coap, &mut plain) {
                Ok((len, _)) => {
                    let asked = sent.at;
                    self.link.abandon(handle); // What is answered has arrived.
                    if self.heard(place) {
                        let Ok(inner) = Message::parse(plain.get(..len).unwrap_or_default()) else { return };
                        self.answered(now, handle, asked, &inner);
                    }
                    return;
                }
                Err(OscoreError::Decrypt) => culprit = Some(place),
                Err(OscoreError::Retired) => return self.retire(place),
                Err(_) => {}
            }
        }
        match culprit {
            Some(place) => self.failed_tag(place),
            None if message.code() == Code::UNAUTHORIZED && message.option(option::OSCORE).is_none() => {
                // "Security context not found" (RFC 8613 §8.2), which nobody can prove: the hint to start anew.
                self.hinted();
            }
            None => self.drop_frame(),
        }
    }

    fn answered(&mut self, now: u64, handle: u64, asked: u64, response: &Message<'_>) {
        let wanted =
            echo::value(response).ok().flatten().and_then(|value| Vec::<u8, 8>::from_slice(value).ok());
        if let (Code::UNAUTHORIZED, Some(value), Some(pending)) =
            (response.code(), wanted, self.events.by_handle(handle))
        {
            if pending.echo.is_none() {
                pending.echo = Some(value);
                pending.sent = None;
                pending.not_before = now;
            } else {
                self.events.undelivered(handle, now);
            }
            return;
        }
        self.events.remove(handle);
        let reply = match (response.code().is_success(), response.payload()) {
            (false, _) | (true, []) => return,
            (true, payload) => EventReply::decode(payload),
        };
        let Ok(reply) = reply else { return self.drop_frame() };
        if let Some(unix) = reply.time {
            self.learn_time(now, unix, now.saturating_sub(asked));
        }
        if let Some(cursor) = reply.cursor {
            match self.log.erase_below(&mut self.parts.storage, cursor) {
                Ok(()) => self.events.logged_below(cursor),
                Err(_) => self.tell(AgentEvent::StorageFailed),
            }
        }
    }

    /// The place of the newest context.
    pub(crate) fn current(&self) -> Option<usize> {
        (0..CONTEXTS)
            .filter_map(|place| Some((place, self.sessions.get(place)?.as_ref()?.generation)))
            .max_by_key(|&(_, generation)| generation)
            .map(|(place, _)| place)
    }
}
