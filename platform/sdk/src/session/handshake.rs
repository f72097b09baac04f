//! EDHOC responder to locks: activation with proofs both ways, and new keys for locks that are ours.

use cardea_credentials::{
    Activation, ActivationStatus, EAD_ACTIVATION_3, EAD_ACTIVATION_4, LockIdentity,
    MAX_ACTIVATION_STATUS_LEN, OwnerCode, activation_mac, verify_activation_mac, verify_lock_identity,
};
use cardea_edhoc::{
    AuthKey, ConnId, Ead, EphemeralKey, Error as EdhocError, ErrorMessage, IdCred, MAX_MESSAGE, Method,
    OscoreKeys, Responder, ResponderConfig, Suite, correlation, correlation::Prefix,
};
use cardea_envelope::MessageId;
use cardea_framing::{Class, Kind, LockId};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{Core, Now, limits::Verdict, lock::Session};
use crate::{ContextRecord, Error, KeyStore, Phase, PlatformEvent, Stage, State};

const SUITES: &[Suite] = &[Suite::S2];
const METHODS: &[Method] = &[Method::StaticDh];
const KNOWN_EADS: &[u32] = &[EAD_ACTIVATION_3.unsigned_abs()];

/// Handshakes of one lock by one gateway at once: an outsider who opens some must not push the true one out at once.
const MAX_OPEN: usize = 4;
/// By all gateways: a lock that is heard by one of them loses none to what another invents.
const MAX_OPEN_BY_ALL: usize = 2 * MAX_OPEN;
/// The same message is not answered again within this many milliseconds.
const REPEAT_MS: u64 = 2_000;
/// Contexts kept of one lock; beyond, the oldest goes before its time. 48 ids fit one byte.
const MAX_CONTEXTS: usize = 32;

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

/// Why a handshake ends without keys.
enum Refusal {
    /// Answered by an EDHOC error; these words go to the owner.
    Because(&'static str, EdhocError),
    /// As above, and the pairing page hears it, signed.
    Status(&'static str, Activation, [u8; 32]),
    Failed(EdhocError),
}

impl From<EdhocError> for Refusal {
    fn from(error: EdhocError) -> Self {
        Self::Failed(error)
    }
}

/// What message_3 proved.
struct Proven {
    identity: Option<LockIdentity>,
    /// The owner code, when this is an activation.
    code: Option<OwnerCode>,
    credential: Vec<u8>,
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

    /// Who sent message_3, and by what right. Changes nothing but the responder.
    fn prove(&self, id: LockId, responder: &mut Responder, message: &[u8]) -> Result<Proven, Refusal> {
        let record = match self.locks.get(&id) {
            Some(lock) => &lock.record,
            None => return Err(Refusal::Failed(EdhocError::UnknownCredential)),
        };
        let mut plaintext = Zeroizing::new([0; MAX_MESSAGE]);
        let peer = responder.parse_message_3(message, plaintext.as_mut())?;
        let th_3 = responder.th_3()?;
        let (identity, credential) = match peer.id_cred {
            IdCred::Kcwt(cwt) => {
                let named = verify_lock_identity(cwt)
                    .map_err(|_| Refusal::Because("unproven", EdhocError::UnknownCredential))?;
                (Some(named), cwt.to_vec())
            }
            // One credential is pinned under this lock; whatever the kid, it is the only one that can fit.
            IdCred::Kid(_) => (None, record.credential.clone().ok_or(EdhocError::UnknownCredential)?),
            _ => return Err(Refusal::Failed(EdhocError::UnsupportedCredential)),
        };
        let dh = match &identity {
            Some(named) => named.dh,
            None => verify_lock_identity(&credential).map_err(|_| EdhocError::UnknownCredential)?.dh,
        };
        responder.verify_message_3(&peer, &credential, dh)?;
        let Some(named) = identity else {
            return Ok(Proven { identity: None, code: None, credential });
        };
        let thumbprint = named.identity.thumbprint();
        if LockId::from_thumbprint(&thumbprint) != id
            || record.thumbprint.is_some_and(|known| known != thumbprint)
        {
            return Err(Refusal::Because("second_key", EdhocError::UnknownCredential));
        }
        let Some(mac) = peer.eads.value(EAD_ACTIVATION_3) else {
            // By value and without a proof: fine for a lock that is ours, by the credential that is pinned.
            return match &record.credential {
                Some(pinned)
                    if bool::from(pinned.as_slice().ct_eq(&credential)) && record.stage == Stage::Owned =>
                {
                    Ok(Proven { identity: None, code: None, credential })
                }
                _ => Err(Refusal::Because("unproven", EdhocError::UnknownCredential)),
            };
        };
        let Some(code) = record.code.as_ref().map(|code| OwnerCode::from_bytes(***code)) else {
            return Err(Refusal::Status("owned", Activation::Owned, thumbprint));
        };
        verify_activation_mac(&code, EAD_ACTIVATION_3, &th_3, &credential, mac)
            .map_err(|_| Refusal::Status("wrong_code", Activation::WrongCode, thumbprint))?;
        Ok(Proven { identity: Some(named), code: Some(code), credential })
    }

    /// The key store does not answer: the lock starts again by itself, and everything else goes on.
    fn without_keys(&mut self, id: LockId) {
        tracing::warn!(lock = %id, "a handshake is let go: the platform's keys do not answer");
        self.counters.handshakes_failed += 1;
    }

    /// Stores context and ownership, then gives message_4.
    fn finish(
        &mut self,
        now: Now,
        gateway: &str,
        id: LockId,
        uplink: &MessageId,
        handshake: &mut Handshake,
        proven: &Proven,
    ) -> Result<Vec<u8>, Error> {
        if let Some(named) = &proven.identity {
            // First, because it can fail without anybody's fault, and nothing has changed yet.
            self.send_status(now, gateway, id, uplink, named.identity.thumbprint(), Activation::Activated)?;
        }
        let th_4 = handshake.responder.th_4().map_err(edhoc)?;
        let mac = proven
            .code
            .as_ref()
            .map(|code| activation_mac(code, EAD_ACTIVATION_4, &th_4, self.keys.certificate()));
        let eads: Vec<Ead<'_>> = mac.iter().map(|mac| Ead::new(EAD_ACTIVATION_4, mac)).collect();
        let keys = handshake.responder.oscore().map_err(edhoc)?;
        self.add_context(now, id, &keys)?;
        if let Some(named) = &proven.identity {
            let thumbprint = named.identity.thumbprint();
            let Some(lock) = self.locks.get_mut(&id) else { return Err(Error::UnknownLock(id)) };
            // The same code and key once more, before the first OSCORE message: still the same activation.
            let again = lock.record.stage == Stage::Activated;
            if !again {
                lock.record.activation = lock.record.activation.saturating_add(1);
            }
            lock.record.stage = Stage::Activated;
            lock.record.thumbprint = Some(thumbprint);
            lock.record.credential = Some(proven.credential.clone());
            self.state.put_lock(&lock.record)?;
            if !again {
                self.pins_unknown(id)?;
                self.event(PlatformEvent::Activated { lock: id, gateway: gateway.into() });
            }
        } else {
            self.event(PlatformEvent::Rekeyed { lock: id });
        }
        let mut reply = vec![0; MAX_MESSAGE];
        let head = correlation::prepend(&Prefix::Session(handshake.c_i), &mut reply).map_err(edhoc)?;
        let rest = reply.get_mut(head..).unwrap_or_default();
        let length = handshake.responder.message_4(&eads, rest).map_err(edhoc)?;
        reply.truncate(head.saturating_add(length));
        Ok(reply)
    }

    fn add_context(&mut self, now: Now, id: LockId, keys: &OscoreKeys) -> Result<(), Error> {
        let mut record = ContextRecord {
            id: 0,
            lock: id,
            algorithm: keys.aead().into(),
            secret: Zeroizing::new(keys.secret().to_vec()),
            salt: keys.salt.to_vec(),
            own_id: keys.sender_id.as_bytes().to_vec(),
            peer_id: keys.recipient_id.as_bytes().to_vec(),
            phase: Phase::Unconfirmed,
            reserved: 0,
            failed_tags: 0,
            created: now.unix,
            retired: None,
        };
        record.id = self.state.add_context(&record)?;
        let mut session = Session::restore(record)?;
        session.certificate = Some(self.certificate_version);
        let Some(lock) = self.locks.get_mut(&id) else { return Err(Error::UnknownLock(id)) };
        lock.contexts.push(Box::new(session));
        // A handshake that the lock never used leaves nothing worth keeping but the newest two: it may still be
        // about to use either.
        let mut unconfirmed = 0;
        let mut dropped = Vec::new();
        for session in lock.contexts.iter().rev() {
            if session.record.phase == Phase::Unconfirmed {
                unconfirmed += 1;
                if unconfirmed > 2 {
                    dropped.push(session.record.id);
                }
            }
        }
        if lock.contexts.len().saturating_sub(dropped.len()) > MAX_CONTEXTS {
            dropped.extend(lock.contexts.iter().find(|s| s.record.phase == Phase::Old).map(|s| s.record.id));
        }
        lock.contexts.retain(|s| !dropped.contains(&s.record.id));
        for row in dropped {
            self.state.remove_context(row)?;
        }
        Ok(())
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
