//! Grants and revocation through the handle.

use cardea_framing::LockId;
use tokio::sync::oneshot;

use super::{
    Platform,
    request::{Reply, Request, owe, refuse},
};
use crate::{
    Bundle, Error, GrantRow, KeyStore, State,
    session::{Core, Issued, NewGrant, Now, Revocations},
};

/// What is asked about grants.
pub(super) enum Ask {
    Issue(NewGrant, Reply<Issued>),
    List(Option<LockId>, Reply<Vec<GrantRow>>),
    Bundle([u8; 8], Reply<Bundle>),
    RevokeGrant([u8; 8], Reply<(GrantRow, Revocations)>),
    Revoke(Vec<[u8; 32]>, Reply<Revocations>),
    Revocations(Reply<Revocations>),
}

impl Ask {
    /// Its batch was given up before its turn.
    pub(super) fn refuse(self) {
        match self {
            Self::Issue(_, reply) => refuse(reply),
            Self::List(_, reply) => refuse(reply),
            Self::Bundle(_, reply) => refuse(reply),
            Self::RevokeGrant(_, reply) => refuse(reply),
            Self::Revoke(_, reply) => refuse(reply),
            Self::Revocations(reply) => refuse(reply),
        }
    }

    /// Does it; who asked hears of it when the batch is durable. An `Err` gives the batch up.
    pub(super) fn answer<K: KeyStore, S: State>(
        self,
        core: &mut Core<K, S>,
        now: Now,
        owed: &mut Vec<Box<dyn FnOnce(bool)>>,
    ) -> Result<(), Error> {
        match self {
            Self::Issue(new, reply) => owe(owed, reply, core.issue_grant(now, &new)),
            Self::List(lock, reply) => owe(owed, reply, core.grants(lock)),
            Self::Bundle(id, reply) => owe(owed, reply, core.bundle(id)),
            Self::RevokeGrant(id, reply) => owe(owed, reply, core.revoke_grant(now, id)),
            Self::Revoke(keys, reply) => owe(owed, reply, core.revoke(now, &keys)),
            Self::Revocations(reply) => owe(owed, reply, Ok(core.revocations())),
        }
    }
}

impl Platform {
    /// Signs a grant. What comes with it is for the holder, and holds no secret.
    ///
    /// # Errors
    /// [`Error::UnknownLock`], [`Error::NotActivated`], [`Error::Terms`], [`Error::KeyRevoked`],
    /// [`Error::KeyUnavailable`], [`Error::State`], [`Error::Stopped`].
    pub async fn grant(&self, new: NewGrant) -> Result<Issued, Error> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Grants(Ask::Issue(new, reply)), answer).await?
    }

    /// Grants, oldest first; of this lock, or of all.
    ///
    /// # Errors
    /// [`Error::UnknownLock`], [`Error::State`], [`Error::Stopped`].
    pub async fn grants(&self, lock: Option<LockId>) -> Result<Vec<GrantRow>, Error> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Grants(Ask::List(lock, reply)), answer).await?
    }

    /// The bundle of a grant once more.
    ///
    /// # Errors
    /// [`Error::NoGrant`], [`Error::Bundle`] where lock or platform have other keys since, [`Error::State`],
    /// [`Error::Stopped`].
    pub async fn bundle(&self, id: [u8; 8]) -> Result<Bundle, Error> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Grants(Ask::Bundle(id, reply)), answer).await?
    }

    /// Revokes the key of one grant, which must be its only one. Returns the grant, and who has the list; the other
    /// locks get it as soon as they can be reached.
    ///
    /// # Errors
    /// [`Error::NoGrant`], [`Error::OtherGrants`], [`Error::ListFull`], [`Error::State`], [`Error::Stopped`].
    pub async fn revoke_grant(&self, id: [u8; 8]) -> Result<(GrantRow, Revocations), Error> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Grants(Ask::RevokeGrant(id, reply)), answer).await?
    }

    /// Revokes keys, by their thumbprints (RFC 9679), and with them all their grants at every lock.
    ///
    /// # Errors
    /// [`Error::ListFull`], [`Error::State`], [`Error::Stopped`].
    pub async fn revoke(&self, keys: Vec<[u8; 32]>) -> Result<Revocations, Error> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Grants(Ask::Revoke(keys, reply)), answer).await?
    }

    /// The revocation list in force, and which locks have it.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn revocations(&self) -> Result<Revocations, Error> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Grants(Ask::Revocations(reply)), answer).await?
    }
}
