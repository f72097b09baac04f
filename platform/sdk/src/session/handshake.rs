//! EDHOC responder to locks: activation with proofs both ways, and new keys for locks that are ours.

use cardea_credentials::{Activation, ActivationStatus, EAD_ACTIVATION_3, MAX_ACTIVATION_STATUS_LEN};
use cardea_edhoc::{
    AuthKey, ConnId, EphemeralKey, Error as EdhocError, ErrorMessage, IdCred, MAX_MESSAGE, Method, Responder,
    ResponderConfig, Suite, correlation, correlation::Prefix,
};
use cardea_envelope::MessageId;
use cardea_framing::{Class, Kind, LockId};

use super::{Core, Now, limits::Verdict};
use crate::{Error, KeyStore, PlatformEvent, Stage, State};

mod proof;

use proof::Refusal;

const SUITES: &[Suite] = &[Suite::S2];
const METHODS: &[Method] = &[Method::StaticDh];
const KNOWN_EADS: &[u32] = &[EAD_ACTIVATION_3.unsigned_abs()];

/// Handshakes of one lock by one gateway at once: an outsider who opens some must not push the true one out at once.
const MAX_OPEN: usize = 4;
/// By all gateways: a lock that is heard by one of them loses none to what another invents.
const MAX_OPEN_BY_ALL: usize = 2 * MAX_OPEN;
/// The same message is not answered again within this many milliseconds.
const REPEAT_MS: u64 = 2_000;

/// One handshake in progress, or just finished.
pub(super) struct Handshake {
    responder: Responder,
    c_i: ConnId,
    c_r: ConnId,
    /// Who brought message_1, and alone may bring message_3: a lie of another ends nothing.
    gateway: String,
    /// The message that `reply` answers.
    answered: Vec<u8>,
    /// Sent once more when the same message comes again: the answer may have been lost.
    reply: Vec<u8>,
    replied: u64,
    started: u64,
}

impl<K: KeyStore, S: State> Core<K, S> {
    /// `age`: how long ago the gateway heard it, milliseconds.
    pub(super) fn handle_edhoc(
        &mut self,
        now: Now,
        gateway: &str,
        lock: LockId,
        age: u64,
        uplink: &MessageId,
        body: &[u8],
    ) -> Result<(), Error> {
        if !self.locks.contains_key(&lock) {
            self.counters.strangers += 1;
            // Its gateway repeats the frame as long as nobody owns the lock.
            if self.route.is_news(lock, now.mono) {
                self.event(PlatformEvent::ActivationRefused { lock, why: "not_enrolled" });
            }
            return Ok(());
        }
        if age > self.config.handshake_ms {
            // From before the lock was enrolled, or from an outage: the lock has given it up, and it must not
            // use up the attempts of a handshake that lives.
            tracing::warn!(
                %lock, gateway, seconds = age / 1000,
                "a handshake is let go: it waited in an outbox, or the clocks of gateway and platform differ"
            );
            self.counters.handshakes_late += 1;
            return Ok(());
        }
        match correlation::split(body) {
            Ok((Prefix::New, message)) => self.handle_message_1(now, gateway, lock, message),
            Ok((Prefix::Session(c_r), message)) => {
                self.handle_message_3(now, gateway, lock, uplink, c_r, message)
            }
            Err(_) => {
                self.counters.malformed += 1;
                Ok(())
            }
        }
    }

    fn handle_message_1(&mut self, now: Now, gateway: &str, id: LockId, message: &[u8]) -> Result<(), Error> {
        let life = self.config.handshake_ms;
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(()) };
        if lock.standing.released.is_some() {
            return Ok(()); // not ours any more
        }
        lock.handshakes.retain(|h| h.started.saturating_add(life) > now.mono);
        let ours = |h: &&mut Handshake| h.gateway == gateway && h.answered == message;
        if let Some(known) = lock.handshakes.iter_mut().find(ours) {
            let Some(reply) = known.repeat(now) else { return Ok(()) };
            return self.send_edhoc(now, gateway, id, &reply);
        }
        match lock.limits.attempt(now.mono, gateway, &self.config) {
            Verdict::Go => {}
            Verdict::Refused => return Ok(()),
            Verdict::Closes => {
                let ms = self.config.refusal_ms;
                self.event(PlatformEvent::Throttled { lock: id, ms });
                return Ok(());
            }
        }
        // C_R is decided once C_I is known; any value will do until then.
        let config =
            ResponderConfig { suites: SUITES, methods: METHODS, c_r: conn_id(0)?, known_eads: KNOWN_EADS };
        let mut responder = Responder::new(config);
        let (c_i, suite) = match responder.handle_message_1(message) {
            Ok(first) => (first.c_i, first.suite),
            Err(error) => {
                // C_I is not known, so there is nobody to whom an error could be addressed.
                tracing::debug!(lock = %id, %error, "message_1 refused");
                self.counters.handshakes_failed += 1;
                return Ok(());
            }
        };
        let c_r = self.free_id(id, &c_i)?;
        responder.set_c_r(c_r).map_err(edhoc)?;
        // The last thing before the multiplications.
        if !self.shares.take(now.mono, gateway, &self.config) {
            self.counters.handshakes_throttled += 1;
            if let Some(lock) = self.locks.get_mut(&id) {
                lock.limits.withdraw(gateway);
            }
            return Ok(());
        }
        // A `kid` names the certificate that the lock has pinned, and only it knows which that is.
        let current = Some(self.certificate_version);
        let by_value = self.locks.get(&id).is_some_and(|l| {
            l.by_value || l.record.stage != Stage::Owned || l.standing.certificate != current
        });
        let certificate = self.keys.certificate();
        let kid = platform_kid(certificate);
        let id_cred = if by_value { IdCred::Kcwt(certificate) } else { IdCred::Kid(&kid) };
        let mut reply = vec![0; MAX_MESSAGE];
        let head = correlation::prepend(&Prefix::Session(c_i), &mut reply).map_err(edhoc)?;
        let rest = reply.get_mut(head..).unwrap_or_default();
        let ephemeral = EphemeralKey::generate(suite, &mut *self.random).map_err(|_| Error::Random)?;
        let key = AuthKey::Agreement(self.keys.agreement());
        let length = match responder.message_2(ephemeral, &id_cred, certificate, &key, &[], rest) {
            Err(EdhocError::KeyUnavailable) => {
                self.without_keys(id);
                return Ok(());
            }
            other => other.map_err(edhoc)?,
        };
        reply.truncate(head.saturating_add(length));
        self.send_edhoc(now, gateway, id, &reply)?;
        if let Some(lock) = self.locks.get_mut(&id) {
            make_room(&mut lock.handshakes, gateway);
            lock.handshakes.push(Handshake {
                responder,
                c_i,
                c_r,
                gateway: gateway.to_owned(),
                answered: message.to_vec(),
                reply,
                replied: now.mono,
                started: now.mono,
            });
        }
        Ok(())
    }

    fn handle_message_3(
        &mut self,
        now: Now,
        gateway: &str,
        id: LockId,
        uplink: &MessageId,
        c_r: ConnId,
        message: &[u8],
    ) -> Result<(), Error> {
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(()) };
        let named = |h: &Handshake| h.c_r == c_r && h.gateway == gateway;
        let Some(place) = lock.handshakes.iter().position(named) else {
            // After a restart of ours, or too late: the lock gives up by itself and starts again.
            self.counters.handshakes_failed += 1;
            return Ok(());
        };
        let mut handshake = lock.handshakes.remove(place);
        if handshake.answered == message {
            let reply = handshake.repeat(now);
            lock.handshakes.push(handshake);
            return reply.map_or(Ok(()), |reply| self.send_edhoc(now, gateway, id, &reply));
        }
        match self.prove(id, &mut handshake.responder, message) {
            Ok(proven) => {
                let reply = match self.finish(now, gateway, id, uplink, &mut handshake, &proven) {
                    Err(Error::KeyUnavailable) => {
                        self.without_keys(id);
                        return Ok(());
                    }
                    other => other?,
                };
                self.send_edhoc(now, gateway, id, &reply)?;
                handshake.answered = message.to_vec();
                handshake.reply = reply;
                handshake.replied = now.mono;
                if let Some(lock) = self.locks.get_mut(&id) {
                    lock.handshakes.clear(); // what else was open is older than these keys
                    lock.handshakes.push(handshake);
                    lock.limits.success(gateway);
                    lock.by_value = false;
                }
                self.shares.proved(gateway, &self.config);
                self.route.prove(gateway, id, now.unix);
                self.advance(now, id)
            }
            Err(refusal) => self.refuse(now, gateway, id, uplink, &handshake.c_i, refusal),
        }
    }

    /// The key store does not answer: the lock starts again by itself, and everything else goes on.
    fn without_keys(&mut self, id: LockId) {
        tracing::warn!(lock = %id, "a handshake is let go: the platform's keys do not answer");
        self.counters.handshakes_failed += 1;
    }

    fn refuse(
        &mut self,
        now: Now,
        gateway: &str,
        id: LockId,
        uplink: &MessageId,
        c_i: &ConnId,
        refusal: Refusal,
    ) -> Result<(), Error> {
        self.counters.handshakes_failed += 1;
        let error = match refusal {
            Refusal::Because(why, error) => {
                self.event(PlatformEvent::ActivationRefused { lock: id, why });
                error
            }
            Refusal::Status(why, outcome, thumbprint) => {
                self.event(PlatformEvent::ActivationRefused { lock: id, why });
                match self.send_status(now, gateway, id, uplink, thumbprint, outcome) {
                    Err(Error::KeyUnavailable) => self.without_keys(id), // the lock hears of it all the same
                    other => other?,
                }
                EdhocError::Authentication
            }
            Refusal::Failed(error) => {
                if error == EdhocError::PeerError(ErrorMessage::UnknownCredential.code())
                    && let Some(lock) = self.locks.get_mut(&id)
                {
                    // A lock after an owner reset, or one that pinned an older certificate.
                    lock.by_value = true;
                }
                error
            }
        };
        let Some(answer) = ErrorMessage::answering(error, SUITES) else { return Ok(()) };
        let mut reply = vec![0; 96];
        let head = correlation::prepend(&Prefix::Session(*c_i), &mut reply).map_err(edhoc)?;
        let length = answer.encode(reply.get_mut(head..).unwrap_or_default()).map_err(edhoc)?;
        reply.truncate(head.saturating_add(length));
        self.send_edhoc(now, gateway, id, &reply)
    }

    /// Tells the pairing page, signed, how an activation went.
    fn send_status(
        &mut self,
        now: Now,
        gateway: &str,
        id: LockId,
        uplink: &MessageId,
        thumbprint: [u8; 32],
        outcome: Activation,
    ) -> Result<(), Error> {
        let status = ActivationStatus {
            lock: thumbprint,
            nonce: uplink.0,
            outcome,
            at: u32::try_from(now.unix / 1000).unwrap_or(u32::MAX),
        };
        let mut body = [0; MAX_ACTIVATION_STATUS_LEN];
        let length =
            status.sign(gateway, self.keys.signer(), &mut body).map_err(|_| Error::KeyUnavailable)?;
        let not_after = now.unix.saturating_add(self.config.sleepy_downlink_ms);
        let body = body.get(..length).unwrap_or_default().to_vec();
        self.send_down(gateway, id, Kind::Site, Class::Interactive, &body, not_after).map(drop)
    }

    fn send_edhoc(&mut self, now: Now, gateway: &str, id: LockId, body: &[u8]) -> Result<(), Error> {
        // Late harms nobody here, and six fragments at LoRa's slowest take 18 s: longer than a command may wait.
        let life = self.downlink_life(id).max(self.config.handshake_ms / 3);
        let not_after = now.unix.saturating_add(life);
        self.send_down(gateway, id, Kind::PlatformEdhoc, Class::Interactive, body, not_after).map(drop)
    }

    /// A one-byte id that no context and no handshake of this lock has, and that differs from C_I.
    fn free_id(&mut self, id: LockId, c_i: &ConnId) -> Result<ConnId, Error> {
        let mut start = [0];
        self.random.fill(&mut start).map_err(|_| Error::Random)?;
        let [start] = start;
        let Some(lock) = self.locks.get(&id) else { return Err(Error::UnknownLock(id)) };
        for step in 0..48_u8 {
            let candidate = conn_id(start.wrapping_add(step) % 48)?;
            let used = candidate == *c_i
                || lock.handshakes.iter().any(|h| h.c_r == candidate)
                || lock.contexts.iter().any(|s| s.record.peer_id == candidate.as_bytes());
            if !used {
                return Ok(candidate);
            }
        }
        // 32 contexts, 8 handshakes and C_I leave at least 7 of 48.
        Err(Error::Crypto("no connection identifier is free"))
    }
}

impl Handshake {
    /// The last answer, unless it has only just been sent.
    fn repeat(&mut self, now: Now) -> Option<Vec<u8>> {
        if now.mono < self.replied.saturating_add(REPEAT_MS) {
            return None;
        }
        self.replied = now.mono;
        Some(self.reply.clone())
    }
}

/// The oldest of the same gateway goes, if it has its share; else, if all is full, the oldest of the gateway that has most.
fn make_room(open: &mut Vec<Handshake>, gateway: &str) {
    let of = |name: &str| open.iter().filter(|h| h.gateway == name).count();
    let most = open.iter().map(|h| of(&h.gateway)).max().unwrap_or(0);
    let goes = if of(gateway) >= MAX_OPEN {
        open.iter().position(|h| h.gateway == gateway)
    } else if open.len() >= MAX_OPEN_BY_ALL {
        open.iter().position(|h| of(&h.gateway) == most)
    } else {
        None
    };
    if let Some(place) = goes {
        open.remove(place);
    }
}

/// The 48 bytes that travel as one byte both in EDHOC (RFC 9528 §3.3.2) and in elided OSCORE.
fn conn_id(number: u8) -> Result<ConnId, Error> {
    let byte = if number < 24 { number } else { number.saturating_add(8) };
    ConnId::new(&[byte]).map_err(edhoc)
}

/// The `kid` of the platform's credential: one byte, which the lock resolves to the one platform it has pinned.
fn platform_kid(_certificate: &[u8]) -> [u8; 1] {
    [0]
}

/// An EDHOC failure that only we can have caused.
fn edhoc(_: EdhocError) -> Error {
    Error::Crypto("the EDHOC responder is out of step")
}
