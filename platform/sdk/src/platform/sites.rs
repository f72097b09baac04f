//! Sites through the handle.

use cardea_credentials::PublicKey;
use cardea_framing::LockId;
use tokio::sync::oneshot;

use super::{
    Platform,
    request::{Reply, Request, owe, refuse},
};
use crate::{
    AuthorityRow, Error, KeyStore, SiteReport, State,
    session::{Core, Now},
};

/// What is asked about sites.
pub(super) enum Ask {
    Put(LockId, [u8; 8], u32, Reply<()>),
    Authorise([u8; 8], PublicKey, Reply<AuthorityRow>),
    Authorities(Reply<Vec<AuthorityRow>>),
    List(Reply<Vec<SiteReport>>),
}

impl Ask {
    /// Its batch was given up before its turn.
    pub(super) fn refuse(self) {
        match self {
            Self::Put(_, _, _, reply) => refuse(reply),
            Self::Authorise(_, _, reply) => refuse(reply),
            Self::Authorities(reply) => refuse(reply),
            Self::List(reply) => refuse(reply),
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
            Self::Put(lock, site, version, reply) => {
                owe(owed, reply, core.set_site(now, lock, site, version))
            }
            Self::Authorise(site, key, reply) => owe(owed, reply, core.issue_authority(now, site, &key)),
            Self::Authorities(reply) => owe(owed, reply, core.authorities()),
            Self::List(reply) => owe(owed, reply, Ok(core.sites())),
        }
    }
}

impl Platform {
    /// Wants a lock in a site, or in none ([`crate::NO_SITE`] and 0), and no authority of a version below `version` to
    /// count there. The lock is told when it can hear, with no limit of time; [`Self::sites`] shows how far that is.
    ///
    /// # Errors
    /// [`Error::UnknownLock`], [`Error::Released`], [`Error::Site`], [`Error::State`], [`Error::Stopped`].
    pub async fn set_site(&self, lock: LockId, site: [u8; 8], version: u32) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Sites(Ask::Put(lock, site, version, reply)), answer).await?
    }

    /// Certifies the key of a site's authority. The same key again keeps its version, another one gets a higher one.
    ///
    /// # Errors
    /// [`Error::Site`], [`Error::KeyRevoked`], [`Error::KeyUnavailable`], [`Error::State`], [`Error::Stopped`].
    pub async fn issue_authority(&self, site: [u8; 8], key: PublicKey) -> Result<AuthorityRow, Error> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Sites(Ask::Authorise(site, key, reply)), answer).await?
    }

    /// The authorities that were issued, the last one of each site.
    ///
    /// # Errors
    /// [`Error::State`], [`Error::Stopped`].
    pub async fn authorities(&self) -> Result<Vec<AuthorityRow>, Error> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Sites(Ask::Authorities(reply)), answer).await?
    }

    /// Every lock that is ours: its site, and whether grants hold at it.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn sites(&self) -> Result<Vec<SiteReport>, Error> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Sites(Ask::List(reply)), answer).await?
    }
}
