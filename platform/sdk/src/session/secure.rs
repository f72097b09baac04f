//! OSCORE in both directions: events of locks and their answers, answers of locks to our requests.

use cardea_framing::{Class, Kind, LockId, restore};
use cardea_oscore::{
    Binding, Error as OscoreError, OscoreOption,
    coap::{Builder, Code, Message, Type},
    echo,
};
use cardea_resources::{Event, EventKind, EventReply, Padder, Path};
use zeroize::Zeroizing;

use super::{Core, Now, command::Request, lock::Lock};
use crate::{Error, KeyStore, Phase, Stage, State};

/// Restored OSCORE messages are at most this much longer than what the radio carried.
const RESTORED: usize = 16;
/// Interactive frames are padded up to here: every LoRaWAN data rate we allow carries it.
const PADDED_MTU: usize = 51;
/// What OSCORE, elision and header add to an inner message whose 4 fixed bytes stay at home: header, flags,
/// kid or token, tag. The Partial IV comes on top.
const OVERHEAD: usize = 7;

impl<K: KeyStore, S: State> Core<K, S> {
    /// `age`: how long ago the gateway heard it, milliseconds.
    pub(super) fn handle_oscore(
        &mut self,
        now: Now,
        gateway: &str,
        id: LockId,
        age: u64,
        body: &[u8],
    ) -> Result<(), Error> {
        if !self.locks.contains_key(&id) {
            self.counters.strangers += 1;
            return Ok(());
        }
        let mut message = vec![0; body.len().saturating_add(RESTORED)];
        let Ok(length) = restore(body, &mut message) else {
            self.counters.malformed += 1;
            return Ok(());
        };
        message.truncate(length);
        let Ok(outer) = Message::parse(&message) else {
            self.counters.malformed += 1;
            return Ok(());
        };
        if outer.code().is_request() {
            self.handle_request(now, gateway, id, age, &message)
        } else {
            let token = outer.token().to_vec();
            self.handle_response(now, id, &token, &message)
        }
    }

    fn handle_request(
        &mut self,
        now: Now,
        gateway: &str,
        id: LockId,
        age: u64,
        message: &[u8],
    ) -> Result<(), Error> {
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(()) };
        let mut plain = vec![0; message.len()];
        let mut opened = None;
        let Ok(outer) = Message::parse(message) else { return Ok(()) };
        let Ok(option) = OscoreOption::of(&outer) else {
            self.counters.malformed += 1;
            return Ok(());
        };
        for (place, session) in lock.contexts.iter_mut().enumerate().rev() {
            if !session.context.matches(&option) {
                continue;
            }
            let result = session.context.unprotect_request(message, &mut plain);
            if result.is_err() && session.tags_to_store() {
                self.state.update_context(&session.record)?;
            }
            if let Ok((length, binding)) = result {
                opened = Some((place, length, binding));
                break;
            }
        }
        let Some((place, length, mut binding)) = opened else {
            self.counters.unopened += 1;
            if lock.contexts.is_empty() {
                let token = outer.token().to_vec();
                self.hint(now, gateway, id, &token)?;
            }
            return Ok(());
        };
        plain.truncate(length);
        let Some(session) = lock.contexts.get(place) else { return Ok(()) };
        let (row, phase) = (session.record.id, session.record.phase);
        // Durable with everything that follows from this message, or not at all.
        if !self.state.remember(row, binding.partial_iv())? {
            self.counters.repeats += 1;
            return Ok(());
        }
        self.route.prove(gateway, id, now.unix.saturating_sub(age));
        if phase == Phase::Unconfirmed {
            self.confirm(now, id, row)?;
        }
        let old = phase == Phase::Old;
        let Ok(request) = Message::parse(&plain) else { return Ok(()) };
        let mut path = request.path();
        let known = match (path.next().and_then(Path::from_segment), path.next()) {
            (Some(path), None) => Some(path),
            _ => None,
        };
        let answer = match (known, request.code()) {
            (Some(Path::Events), Code::POST) => match Event::decode(request.payload()) {
                Ok(event) => {
                    self.handle_event(now, gateway, id, row, old, age, &event)?;
                    if event.kind == EventKind::Heartbeat {
                        return Ok(()); // telemetry gets no answer
                    }
                    let cursor = self.locks.get(&id).and_then(Lock::told_cursor);
                    let time = u32::try_from(now.unix / 1000).ok();
                    let mut payload = [0; EventReply::MAX_LEN];
                    let length = EventReply { cursor, time }
                        .encode(&mut payload)
                        .map_err(|_| Error::Crypto("an answer does not fit"))?;
                    (Code::CHANGED, payload.get(..length).unwrap_or_default().to_vec())
                }
                Err(error) => {
                    tracing::warn!(lock = %id, %error, "an authentic event makes no sense");
                    (Code::BAD_REQUEST, Vec::new())
                }
            },
            (Some(Path::Events), _) => (Code::METHOD_NOT_ALLOWED, Vec::new()),
            _ => (Code::NOT_FOUND, Vec::new()),
        };
        if old {
            return Ok(()); // receive-only: the lock has newer keys
        }
        let token = outer.token().to_vec();
        self.answer(now, gateway, id, row, &mut binding, &token, answer.0, &answer.1)?;
        if self.locks.get(&id).is_some_and(|l| l.standing.certificate != Some(self.certificate_version)) {
            // After the answer, which takes a hint back.
            self.hint(now, gateway, id, &token)?;
        }
        Ok(())
    }

    /// The lock uses this context: older ones only receive from now on, and the owner code is burnt.
    fn confirm(&mut self, now: Now, id: LockId, row: i64) -> Result<(), Error> {
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(()) };
        let mut proven = None;
        for session in &mut lock.contexts {
            // The lock keeps one place for what is not confirmed; older ones are as good as superseded.
            if session.record.id == row {
                session.record.phase = Phase::Active;
                proven = session.certificate;
            } else if session.record.id < row && session.record.phase != Phase::Old {
                session.record.phase = Phase::Old;
                session.record.retired = Some(now.unix);
            } else {
                continue;
            }
            self.state.update_context(&session.record)?;
        }
        if lock.record.stage != Stage::Owned || lock.record.code.is_some() {
            lock.record.stage = Stage::Owned;
            lock.record.code = None;
            self.state.put_lock(&lock.record)?;
        }
        // Whoever uses these keys has verified and pinned the certificate of their handshake.
        if proven.is_some() && lock.standing.certificate != proven {
            lock.standing.certificate = proven;
            self.state.put_standing(id, &lock.standing)?;
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)] // one call, and a struct for it would only rename the arguments
    fn answer(
        &mut self,
        now: Now,
        gateway: &str,
        id: LockId,
        row: i64,
        binding: &mut Binding,
        token: &[u8],
        code: Code,
        payload: &[u8],
    ) -> Result<(), Error> {
        let life = self.downlink_life(id);
        let Some(session) = self.locks.get_mut(&id).and_then(|lock| lock.by_row(row)) else { return Ok(()) };
        let coap = build(code, 0, token, &[], payload, OVERHEAD)?;
        let mut sealed = vec![0; coap.len().saturating_add(48)];
        let length = match session.context.protect_response(binding, None, &coap, &mut sealed) {
            Ok(length) => length,
            Err(OscoreError::Retired) => return Ok(()),
            Err(_) => return Err(Error::Crypto("an answer could not be protected")),
        };
        sealed.truncate(length);
        let body = elide(&sealed)?;
        let not_after = now.unix.saturating_add(life);
        self.send_down(gateway, id, Kind::PlatformOscore, Class::Interactive, &body, not_after).map(drop)
    }

    /// Seals a request; returns the elided body, the context's row and the sequence number. `None`: there are no
    /// session keys, or no numbers left.
    pub(super) fn seal_request(
        &mut self,
        id: LockId,
        request: &Request,
    ) -> Result<Option<(Vec<u8>, i64, u64)>, Error> {
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(None) };
        let Some(session) = lock.sending().and_then(|place| lock.contexts.get_mut(place)) else {
            return Ok(None);
        };
        if let Some(limit) = session.sequence.needs_reservation() {
            // Part of the batch: the number is used by an output that leaves only after the commit.
            session.record.reserved = limit;
            self.state.update_context(&session.record)?;
            session.sequence.reserved(limit).map_err(|_| Error::Crypto("a reservation went backwards"))?;
        }
        let Ok(piv) = session.sequence.take() else { return Ok(None) };
        // What elision restores: token and message id come from the Partial IV.
        let [.., high, low] = piv.to_be_bytes();
        let mut options = vec![(cardea_oscore::coap::option::URI_PATH, request.path.segment().as_bytes())];
        options.extend(request.echo.as_deref().map(|echo| (cardea_oscore::coap::option::ECHO, echo)));
        let piv_len = (8_usize.saturating_sub(piv.leading_zeros() as usize / 8)).max(1);
        let overhead = OVERHEAD.saturating_add(piv_len);
        let coap = build(
            request.code,
            u16::from_be_bytes([high, low]),
            &[low],
            &options,
            &request.payload,
            overhead,
        )?;
        let mut sealed = vec![0; coap.len().saturating_add(48)]; // overwritten by the ciphertext
        let (length, _) = session
            .context
            .protect_request(piv, &coap, &mut sealed)
            .map_err(|_| Error::Crypto("a request could not be protected"))?;
        sealed.truncate(length);
        Ok(Some((elide(&sealed)?, session.record.id, piv)))
    }

    /// An answer is bound to one of the requests that are out and have its token.
    fn handle_response(&mut self, now: Now, id: LockId, token: &[u8], message: &[u8]) -> Result<(), Error> {
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(()) };
        let candidates: Vec<([u8; 4], i64, u64)> = lock
            .commands
            .iter()
            .flat_map(|command| command.open_requests().map(|(row, piv)| (command.id(), row, piv)))
            .filter(|(_, _, piv)| piv.to_be_bytes().last().is_some_and(|low| token == [*low]))
            .collect();
        let mut plain = vec![0; message.len()];
        for (command, row, piv) in candidates.into_iter().rev() {
            let Some(session) = lock.by_row(row) else { continue };
            let Ok(binding) = Binding::restore(&session.record.own_id, piv) else { continue };
            let result = session.context.unprotect_response(&binding, message, &mut plain);
            if result.is_err() && session.tags_to_store() {
                self.state.update_context(&session.record)?;
            }
            if let Ok((length, _)) = result {
                let phase = session.record.phase;
                if phase == Phase::Unconfirmed {
                    // Only who holds the keys can answer: that confirms them as well as an event does.
                    self.confirm(now, id, row)?;
                }
                plain.truncate(length);
                let Ok(answer) = Message::parse(&plain) else { return Ok(()) };
                let echo = echo::value(&answer).ok().flatten().map(<[u8]>::to_vec);
                return self.handle_answer(
                    now,
                    id,
                    command,
                    (row, piv),
                    answer.code(),
                    echo,
                    answer.payload(),
                );
            }
        }
        self.counters.unopened += 1;
        Ok(())
    }
}

/// The inner message, padded so that the frame has one of the usual sizes.
pub(crate) fn build(
    code: Code,
    message_id: u16,
    token: &[u8],
    options: &[(u16, &[u8])],
    payload: &[u8],
    overhead: usize,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let wrong = |_| Error::Crypto("a message could not be built");
    // It may hold a PIN; room for the padding, so that no copy is left behind by growing.
    let mut out =
        Zeroizing::new(vec![0; 64 + payload.len() + options.iter().map(|(_, v)| v.len() + 5).sum::<usize>()]);
    let mut padded = Zeroizing::new(Vec::with_capacity(payload.len() + PADDED_MTU));
    padded.extend_from_slice(payload);
    // Twice: first to learn the length, then with what is missing to the next size.
    let mut length = 0;
    for _ in 0..2 {
        let mut builder =
            Builder::new(&mut out, Type::NonConfirmable, code, message_id, token).map_err(wrong)?;
        for (number, value) in options {
            builder = builder.option(*number, value).map_err(wrong)?;
        }
        length = builder.payload(&padded).map_err(wrong)?;
        if payload.is_empty() {
            break; // nothing that padding could follow
        }
        let frame = length.saturating_add(overhead);
        let length = padded.len() + Padder { mtu: PADDED_MTU }.padding(frame);
        padded.resize(length, 0);
    }
    out.truncate(length);
    Ok(out)
}

pub(crate) fn elide(sealed: &[u8]) -> Result<Vec<u8>, Error> {
    let mut body = vec![0; sealed.len().saturating_add(1)];
    let length = cardea_framing::elide(sealed, &mut body)
        .map_err(|_| Error::Crypto("a message could not be elided"))?;
    body.truncate(length);
    Ok(body)
}
