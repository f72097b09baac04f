//! What message_3 proves, and what follows from it: a lock that is ours, and its keys.

use cardea_credentials::{
    Activation, EAD_ACTIVATION_3, EAD_ACTIVATION_4, OwnerCode, activation_mac, verify_activation_mac,
    verify_lock_identity,
};
use cardea_edhoc::{
    Ead, Error as EdhocError, IdCred, MAX_MESSAGE, OscoreKeys, Responder, correlation, correlation::Prefix,
};
use cardea_envelope::MessageId;
use cardea_framing::LockId;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{Handshake, edhoc};
use crate::{
    ContextRecord, Error, KeyStore, Phase, PlatformEvent, Stage, State,
    session::{Core, Now, lock::Session},
};

/// Contexts kept of one lock; beyond, the oldest goes before its time. 48 ids fit one byte.
const MAX_CONTEXTS: usize = 32;

/// Why a handshake ends without keys.
pub(super) enum Refusal {
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

/// By what right a lock is served.
pub(super) enum Right {
    /// The owner code, both ways: an activation.
    Code(OwnerCode),
    /// Its key, which the owner has named in full, while no code of it is left: it has this owner already, and only the
    /// record here, put back from a backup, does not know.
    Key,
    /// The credential that is pinned here.
    Pinned,
}

/// What message_3 proved.
pub(super) struct Proven {
    right: Right,
    /// Of the key that is proved.
    thumbprint: [u8; 32],
    credential: Vec<u8>,
}

impl Proven {
    /// For the pairing page, if there is anything to tell it.
    pub(super) fn activates(&self) -> Option<[u8; 32]> {
        matches!(self.right, Right::Code(_)).then_some(self.thumbprint)
    }
}

impl<K: KeyStore, S: State> Core<K, S> {
    /// Who sent message_3, and by what right. Changes nothing but the responder.
    pub(super) fn prove(
        &self,
        id: LockId,
        responder: &mut Responder,
        message: &[u8],
    ) -> Result<Proven, Refusal> {
        let record = match self.locks.get(&id) {
            Some(lock) => &lock.record,
            None => return Err(Refusal::Failed(EdhocError::UnknownCredential)),
        };
        let mut plaintext = Zeroizing::new([0; MAX_MESSAGE]);
        let peer = responder.parse_message_3(message, plaintext.as_mut())?;
        let th_3 = responder.th_3()?;
        let (by_value, credential) = match peer.id_cred {
            IdCred::Kcwt(cwt) => (true, cwt.to_vec()),
            // One credential is pinned under this lock; whatever the kid, it is the only one that can fit.
            IdCred::Kid(_) => (false, record.credential.clone().ok_or(EdhocError::UnknownCredential)?),
            _ => return Err(Refusal::Failed(EdhocError::UnsupportedCredential)),
        };
        let named = verify_lock_identity(&credential).map_err(|_| match by_value {
            true => unproven(),
            false => Refusal::Failed(EdhocError::UnknownCredential),
        })?;
        responder.verify_message_3(&peer, &credential, named.dh)?;
        let thumbprint = named.identity.thumbprint();
        if !by_value {
            return Ok(Proven { right: Right::Pinned, thumbprint, credential });
        }
        if LockId::from_thumbprint(&thumbprint) != id
            || record.thumbprint.is_some_and(|known| known != thumbprint)
        {
            return Err(Refusal::Because("second_key", EdhocError::UnknownCredential));
        }
        let Some(mac) = peer.eads.value(EAD_ACTIVATION_3) else {
            // A lock that has an owner, and this one: it answers nobody but the root that it has pinned.
            let pinned = record.credential.as_ref().is_some_and(|pinned| pinned.ct_eq(&credential).into());
            let right = match record.stage {
                Stage::Owned if pinned => Right::Pinned,
                Stage::Enrolled | Stage::Activated if record.thumbprint.is_some() => Right::Key,
                _ => return Err(unproven()),
            };
            return Ok(Proven { right, thumbprint, credential });
        };
        let Some(code) = record.code.as_ref().map(|code| OwnerCode::from_bytes(***code)) else {
            return Err(Refusal::Status("owned", Activation::Owned, thumbprint));
        };
        verify_activation_mac(&code, EAD_ACTIVATION_3, &th_3, &credential, mac)
            .map_err(|_| Refusal::Status("wrong_code", Activation::WrongCode, thumbprint))?;
        Ok(Proven { right: Right::Code(code), thumbprint, credential })
    }

    /// Stores context and ownership, then gives message_4.
    pub(super) fn finish(
        &mut self,
        now: Now,
        gateway: &str,
        id: LockId,
        uplink: &MessageId,
        handshake: &mut Handshake,
        proven: &Proven,
    ) -> Result<Vec<u8>, Error> {
        if let Some(thumbprint) = proven.activates() {
            // First, because it can fail without anybody's fault, and nothing has changed yet.
            self.send_status(now, gateway, id, uplink, thumbprint, Activation::Activated)?;
        }
        let th_4 = handshake.responder.th_4().map_err(edhoc)?;
        let mac = match &proven.right {
            Right::Code(code) => Some(activation_mac(code, EAD_ACTIVATION_4, &th_4, self.keys.certificate())),
            Right::Key | Right::Pinned => None,
        };
        let eads: Vec<Ead<'_>> = mac.iter().map(|mac| Ead::new(EAD_ACTIVATION_4, mac)).collect();
        let keys = handshake.responder.oscore().map_err(edhoc)?;
        self.add_context(now, id, &keys)?;
        match &proven.right {
            Right::Code(_) => self.activated(gateway, id, proven)?,
            Right::Key => self.recovered(gateway, id, proven)?,
            Right::Pinned => self.event(PlatformEvent::Rekeyed { lock: id }),
        }
        let mut reply = vec![0; MAX_MESSAGE];
        let head = correlation::prepend(&Prefix::Session(handshake.c_i), &mut reply).map_err(edhoc)?;
        let rest = reply.get_mut(head..).unwrap_or_default();
        let length = handshake.responder.message_4(&eads, rest).map_err(edhoc)?;
        reply.truncate(head.saturating_add(length));
        Ok(reply)
    }

    fn activated(&mut self, gateway: &str, id: LockId, proven: &Proven) -> Result<(), Error> {
        let Some(lock) = self.locks.get_mut(&id) else { return Err(Error::UnknownLock(id)) };
        // The same code and key once more, before the first OSCORE message: still the same activation.
        let again = lock.record.stage == Stage::Activated;
        if !again {
            lock.record.activation = lock.record.activation.saturating_add(1);
        }
        lock.record.stage = Stage::Activated;
        lock.record.thumbprint = Some(proven.thumbprint);
        lock.record.credential = Some(proven.credential.clone());
        self.state.put_lock(&lock.record)?;
        if !again {
            self.pins_unknown(id)?;
            self.event(PlatformEvent::Activated { lock: id, gateway: gateway.into() });
        }
        Ok(())
    }

    /// The code was burnt by a platform that is forgotten here; whoever has it now has nothing.
    fn recovered(&mut self, gateway: &str, id: LockId, proven: &Proven) -> Result<(), Error> {
        let Some(lock) = self.locks.get_mut(&id) else { return Err(Error::UnknownLock(id)) };
        lock.record.activation = lock.record.activation.saturating_add(1);
        lock.record.stage = Stage::Owned;
        lock.record.credential = Some(proven.credential.clone());
        lock.record.code = None;
        lock.record.cursor = None;
        self.state.put_lock(&lock.record)?;
        self.pins_recovered(id)?;
        self.event(PlatformEvent::Recovered { lock: id, gateway: gateway.into() });
        Ok(())
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
}

/// By value, and nothing that says whose it is.
fn unproven() -> Refusal {
    Refusal::Because("unproven", EdhocError::UnknownCredential)
}
