//! What an owner changes beside commands: PINs, whether a lock is ours, the platform's keys.

use std::path::Path;

use cardea_framing::LockId;
use cardea_resources::PinSetting;
use tokio::sync::oneshot;

use super::{Platform, Request, exclusive};
use crate::{
    Error, KeyStore, LogGap, PinReport, SqliteState, StandingStore as _, State,
    session::{Core, Now},
};

/// One change; no `Debug`, it may hold a PIN.
pub(super) enum Change {
    SetPin(LockId, u8, PinSetting),
    ClearPin(LockId, u8),
    Readmit(LockId),
    Release(LockId, [u8; 8], Vec<u8>),
}

impl Change {
    pub(super) fn apply<K: KeyStore, S: State>(self, core: &mut Core<K, S>, now: Now) -> Result<(), Error> {
        match self {
            Self::SetPin(lock, slot, setting) => core.set_pin(now, lock, slot, &setting),
            Self::ClearPin(lock, slot) => core.clear_pin(now, lock, slot),
            Self::Readmit(lock) => core.readmit(now, lock),
            Self::Release(lock, nonce, record) => core.release(now, lock, nonce, &record),
        }
    }
}

impl Platform {
    /// Wants a PIN in a slot of a lock, instead of whatever was wanted of it. Once this returns it is stored, and the
    /// lock is told when it can hear, with no limit of time: [`Self::pins`] shows how far that is, and
    /// [`PlatformEvent::Pin`](crate::PlatformEvent::Pin) tells when it is done.
    ///
    /// # Errors
    /// [`Error::UnknownLock`], [`Error::Released`], [`Error::Pin`], [`Error::State`], [`Error::Stopped`].
    pub async fn set_pin(&self, lock: LockId, slot: u8, setting: PinSetting) -> Result<(), Error> {
        self.change(Change::SetPin(lock, slot, setting)).await
    }

    /// Wants a slot empty. As [`Self::set_pin`].
    ///
    /// # Errors
    /// As [`Self::set_pin`].
    pub async fn clear_pin(&self, lock: LockId, slot: u8) -> Result<(), Error> {
        self.change(Change::ClearPin(lock, slot)).await
    }

    /// The PIN slots of a lock: wanted, reported, and what is pending and why. Never which PIN.
    ///
    /// # Errors
    /// [`Error::UnknownLock`], [`Error::State`], [`Error::Stopped`].
    pub async fn pins(&self, lock: LockId) -> Result<PinReport, Error> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Pins(lock, reply), answer).await?
    }

    /// Entries that a lock has lost, in the order of its log.
    ///
    /// # Errors
    /// As [`Self::pins`].
    pub async fn log_gaps(&self, lock: LockId) -> Result<Vec<LogGap>, Error> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Gaps(lock, reply), answer).await?
    }

    /// Takes a fenced or released lock back, after somebody has looked at the door.
    ///
    /// # Errors
    /// As [`Self::pins`].
    pub async fn readmit(&self, lock: LockId) -> Result<(), Error> {
        self.change(Change::Readmit(lock)).await
    }

    /// Lets a lock go by a [`Release`](cardea_credentials::Release) that the owner root has signed for the `nonce` it
    /// drew: its keys and PINs are forgotten here, and the record is sent to it.
    ///
    /// # Errors
    /// As [`Self::pins`]; [`Error::Release`].
    pub async fn release(&self, lock: LockId, nonce: [u8; 8], record: Vec<u8>) -> Result<(), Error> {
        self.change(Change::Release(lock, nonce, record)).await
    }

    /// Rotates the platform's keys in `dir` while nothing runs: `rotate` makes the new pair in its store, above the
    /// version that it is given, the highest that a lock has pinned. Returns the new version.
    ///
    /// Old sessions go on. A lock learns of the new certificate by the handshake that it makes when it is next heard;
    /// grants that the old key signed have to be issued again.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::State`], [`Error::Io`], and those of `rotate`.
    pub fn rotate<E: From<Error>>(dir: &Path, rotate: impl FnOnce(u32) -> Result<u32, E>) -> Result<u32, E> {
        let guard = exclusive(dir)?;
        let mut state = SqliteState::open(&dir.join(Self::STATE_FILE), false)?;
        let known = state.standings()?.iter().filter_map(|(_, standing)| standing.certificate).max();
        let version = rotate(known.unwrap_or(0))?;
        drop(guard);
        Ok(version)
    }

    async fn change(&self, change: Change) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Change(change, reply), answer).await?
    }
}
