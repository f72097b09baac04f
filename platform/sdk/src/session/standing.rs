//! Locks that are not simply ours: fenced, let go, taken back, or in need of new keys.
//!
//! A **fenced** lock is one of two with one identity, or one whose memory was put back; nobody here can tell which
//! door stands behind a frame. Its events and answers are taken, it is asked what changes nothing (status, battery, log,
//! PIN list), and it is sent neither bolt commands nor PINs nor a cursor, until its owner has looked at it.
//!
//! A **released** lock is let go by the owner root. Its keys, contexts and PINs are forgotten, and nothing is sent to
//! it any more.

use cardea_credentials::Release;
use cardea_framing::{Class, Kind, LockId};
use cardea_oscore::coap::{Builder, Code, Type};
use zeroize::Zeroize as _;

use super::{Core, Now};
use crate::{Error, KeyStore, PlatformEvent, Stage, Standing, State};

/// A lock starts a handshake on a hint at most this often; more of them would only cost air.
const HINT_MS: u64 = 15 * 60_000;
/// The type of a release among the site messages.
const RELEASE: u8 = 5;
/// The length of the longest answer: type, nonce, record.
const ANSWER: usize = 1 + 9 + cardea_credentials::MAX_RELEASE_RECORD_LEN;

impl<K: KeyStore, S: State> Core<K, S> {
    /// The lock contradicts itself. What was to change it ends here; what was sent may still arrive.
    pub(super) fn fence(&mut self, now: Now, id: LockId) -> Result<(), Error> {
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(()) };
        if lock.standing.fenced.is_some() {
            return Ok(());
        }
        lock.standing.fenced = Some(now.unix);
        lock.challenge = None;
        self.state.put_standing(id, &lock.standing)?;
        self.event(PlatformEvent::Fenced { lock: id });
        self.end_changes(id)
    }

    fn end_changes(&mut self, id: LockId) -> Result<(), Error> {
        let changes = |core: &Self| core.locks.get(&id)?.commands.iter().position(|c| c.ask().changes());
        while let Some(place) = changes(self) {
            self.end_unanswered(id, place)?;
        }
        Ok(())
    }

    /// Takes a fenced or released lock back: its owner has looked at it. Its log is counted anew from here, beside the
    /// one that is stored. Belongs into a batch.
    ///
    /// # Errors
    /// [`Error::UnknownLock`], [`Error::State`].
    pub fn readmit(&mut self, now: Now, id: LockId) -> Result<(), Error> {
        let Some(lock) = self.locks.get_mut(&id) else { return Err(Error::UnknownLock(id)) };
        let Standing { fenced, released, certificate } = lock.standing;
        if fenced.is_none() && released.is_none() {
            return Ok(());
        }
        lock.standing = Standing { certificate, ..Standing::default() };
        if fenced.is_some() {
            lock.record.activation = lock.record.activation.saturating_add(1);
            lock.record.cursor = None;
        }
        lock.next_fetch = 0;
        lock.next_hint = 0;
        self.state.put_standing(id, &lock.standing)?;
        self.state.put_lock(&lock.record)?;
        self.pins_unknown(id)?;
        self.event(PlatformEvent::Readmitted { lock: id });
        self.advance(now, id)
    }

    /// Lets a lock go by a [`Release`] that the owner root signed: forgets its keys and PINs, and sends the record to
    /// it if a gateway reaches it. The lock obeys only with its inside button pressed and its door open. Belongs into a
    /// batch.
    ///
    /// # Errors
    /// [`Error::UnknownLock`]; [`Error::Release`] for a record that is not for this lock, nonce and root;
    /// [`Error::State`].
    pub fn release(&mut self, now: Now, id: LockId, nonce: [u8; 8], record: &[u8]) -> Result<(), Error> {
        let Some(lock) = self.locks.get_mut(&id) else { return Err(Error::UnknownLock(id)) };
        let Some(thumbprint) = lock.record.thumbprint else {
            return Err(Error::Release("the lock has not proved its key here yet"));
        };
        Release::verify(record, &thumbprint, &nonce, &self.keys.root(), None).map_err(|_| {
            Error::Release("the record is not by this owner root, for this lock and this nonce")
        })?;
        lock.standing = Standing { released: Some(now.unix), ..Standing::default() };
        lock.contexts.clear();
        lock.handshakes.clear();
        lock.challenge = None;
        if let Some(mut code) = lock.record.code.take() {
            code.zeroize();
        }
        lock.record.stage = Stage::Owned; // whoever proves a code now is not let in by the old one
        self.state.put_standing(id, &lock.standing)?;
        self.state.put_lock(&lock.record)?;
        self.state.discard_contexts_of(id)?;
        self.forget_pins(id)?;
        while self.locks.get(&id).is_some_and(|lock| !lock.commands.is_empty()) {
            self.end_unanswered(id, 0)?;
        }
        self.event(PlatformEvent::Released { lock: id });
        if let Some(gateway) = self.route.best(id).map(|(gateway, _)| gateway.to_owned()) {
            let mut body = Vec::with_capacity(ANSWER);
            body.extend_from_slice(&[RELEASE, 0x48]); // type, then a byte string of 8
            body.extend_from_slice(&nonce);
            body.extend_from_slice(record);
            let not_after = now.unix.saturating_add(self.downlink_life(id).max(self.config.handshake_ms / 3));
            self.send_down(&gateway, id, Kind::Site, Class::Interactive, &body, not_after)?;
        }
        self.rearm(id);
        Ok(())
    }

    /// A public question of a lock. Most are for the gateway; that for a release goes to the owner.
    pub(super) fn release_asked(&mut self, gateway: &str, id: LockId, nonce: [u8; 8]) {
        // Repeats of the gateway bring it again; one is enough.
        if self.locks.get_mut(&id).is_some_and(|lock| lock.asked_release.replace(nonce) != Some(nonce)) {
            self.event(PlatformEvent::ReleaseAsked {
                lock: id,
                gateway: gateway.into(),
                nonce: hex::encode(nonce),
            });
        }
    }

    /// Tells the lock to make new keys (RFC 8613 section 8.2: 4.01 without protection). Nobody can prove it, and all
    /// that it does is a handshake, at most every 15 minutes.
    pub(super) fn hint(&mut self, now: Now, gateway: &str, id: LockId, token: &[u8]) -> Result<(), Error> {
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(()) };
        // Named in full and with keys that are not known here, it may have been ours before a backup was put back.
        let known = lock.record.credential.is_some() || lock.record.thumbprint.is_some();
        if !known || lock.standing.released.is_some() || now.mono < lock.next_hint {
            return Ok(());
        }
        lock.next_hint = now.mono.saturating_add(HINT_MS);
        let built = |_| Error::Crypto("a hint could not be built");
        let mut coap = [0; 16];
        let hint =
            Builder::new(&mut coap, Type::NonConfirmable, Code::UNAUTHORIZED, 0, token).map_err(built)?;
        let length = hint.finish();
        let mut body = [0; 24];
        let length = cardea_framing::elide(coap.get(..length).unwrap_or_default(), &mut body)
            .map_err(|_| Error::Crypto("a hint could not be elided"))?;
        let body = body.get(..length).unwrap_or_default().to_vec();
        let not_after = now.unix.saturating_add(self.downlink_life(id));
        self.send_down(gateway, id, Kind::PlatformOscore, Class::Interactive, &body, not_after).map(drop)
    }
}
