//! What a lock is told of its site and of the lists (`POST a`), and what it says of them (`GET a`).
//!
//! Pages of a revocation list are public messages, and a gateway can keep them back. So the lock is told inside OSCORE,
//! before the first page goes out, that there is a list of that epoch: from then on no grant holds at it until it has
//! that list. What a gateway keeps back then opens no door.
//!
//! One setting is out at a time. It is sent whenever the lock can hear, until the lock confirms it; a lock without that
//! resource (4.04, 4.05, 4.00) is not asked again before the next setting or start.

use cardea_credentials::{Authority, Error as Refused, MAX_AUTHORITY_LEN, PublicKey, Site, issue_authority};
use cardea_framing::LockId;
use cardea_oscore::coap::Code;
use cardea_resources::{SiteSetting, SiteState};

use super::{Core, Now, lock::Lock};
use crate::{
    Ask, AuthorityRow, Error, KeyStore, NO_SITE, Outcome, PlatformEvent, SiteReport, SiteRow, Stage, State,
    ToldRow,
};

/// What one attempt may take; the next is made when the lock is heard, or after [`RETRY_MS`].
const ATTEMPT_MS: u64 = 25_000;
/// Pause after an attempt on a lock that should listen, doubled with each up to five hours.
const RETRY_MS: u64 = 300_000;
const MAX_DOUBLINGS: u32 = 6;
/// So long the first page of a list waits for the lock to know of the list.
const AHEAD_MS: u64 = 10_000;

/// What is in memory of a lock and its site.
pub(super) struct Told {
    pub(super) row: SiteRow,
    /// No attempt before then, monotonic.
    next: u64,
    /// Attempts in a row that came to nothing.
    failures: u32,
    /// The last attempt came to nothing, and `next` does not say so yet.
    failed: bool,
    /// The lock does not know the resource, or not this setting.
    refused: bool,
    /// The lock has no such resource, and was not asked since whether it takes lists at all.
    missing: bool,
    /// It takes none: no page is for it.
    pub(super) no_lists: bool,
    /// When the first attempt at what is out began, monotonic.
    since: Option<u64>,
    /// When [`Core::drive_site`] needs to look again, if nothing else does.
    pub(super) timer: Option<u64>,
}

impl Told {
    pub(super) fn new(lock: LockId) -> Self {
        Self {
            row: SiteRow::new(lock),
            next: 0,
            failures: 0,
            failed: false,
            refused: false,
            missing: false,
            no_lists: false,
            since: None,
            timer: None,
        }
    }

    /// The lock is there: whatever was tried before, now it can be told.
    pub(super) fn heard(&mut self) {
        self.next = 0;
        self.failures = 0;
    }

    /// A request of ours ended without success.
    pub(super) fn ended(&mut self, ask: Ask) {
        self.failed |= ask == Ask::SiteChange && !self.refused;
    }

    fn settle_failure(&mut self, now: Now) {
        if std::mem::take(&mut self.failed) {
            self.next = now.mono.saturating_add(RETRY_MS << self.failures.min(MAX_DOUBLINGS));
            self.failures = self.failures.saturating_add(1);
        }
    }

    /// There is something else to say.
    fn renew(&mut self) {
        (self.refused, self.failed, self.since) = (false, false, None);
        (self.missing, self.no_lists) = (false, false);
        self.heard();
    }
}

impl Lock {
    /// What this lock should be told, if it was not.
    pub(super) fn untold(&self, epoch: u32) -> Option<SiteSetting> {
        let SiteRow { site, version, told, .. } = self.told.row;
        let told = told.filter(|told| told.activation == self.record.activation);
        let news = match told {
            Some(told) => (told.site, told.version) != (site, version) || told.epoch < epoch,
            None => epoch > 0 || site != NO_SITE,
        };
        let tell = news && self.record.stage == Stage::Owned && !self.told.refused;
        tell.then_some(SiteSetting { site, version, epoch, counter: None })
    }

    /// Until when the pages of the list are to wait for the lock to know of it (monotonic).
    pub(super) fn pages_wait(&self, now: u64) -> Option<u64> {
        let out = self.commands.iter().any(|command| command.ask() == Ask::SiteChange);
        self.told.since.filter(|_| out).map(|at| at.saturating_add(AHEAD_MS)).filter(|until| *until > now)
    }

    /// Whether it has said anything of this kind in this activation.
    pub(super) fn tells_site(&self) -> bool {
        self.told.row.told.is_some_and(|told| told.activation == self.record.activation)
    }
}

impl<K: KeyStore, S: State> Core<K, S> {
    /// Wants a lock in a site, or in none ([`NO_SITE`]), and no authority of a version below `version` to count there. In
    /// the same site versions only rise. The lock is told when it can hear. Belongs into a batch.
    ///
    /// # Errors
    /// [`Error::UnknownLock`], [`Error::Released`], [`Error::Site`], [`Error::State`].
    pub fn set_site(&mut self, now: Now, id: LockId, site: [u8; 8], version: u32) -> Result<(), Error> {
        let lock = self.locks.get_mut(&id).ok_or(Error::UnknownLock(id))?;
        if lock.standing.released.is_some() {
            return Err(Error::Released(id));
        }
        if (site == NO_SITE) != (version == 0) {
            return Err(Error::Site(
                "an authority's versions begin with 1, and without a site there is none",
            ));
        }
        let before = lock.told.row;
        if before.site == site && before.version > version {
            return Err(Error::Site("in the same site the least version only rises"));
        }
        lock.told.row = SiteRow { site, version, ..before };
        self.state.put_lock_site(&lock.told.row)?;
        self.tell_anew(id)?;
        self.advance(now, id)
    }

    /// Certifies a site authority's key. The same key again keeps its version; another one gets a higher version. Locks
    /// of the site take it as soon as they are shown it, and refuse the one before; [`Self::set_site`] makes that so
    /// for those that are not. Belongs into a batch.
    ///
    /// # Errors
    /// [`Error::Site`], [`Error::KeyRevoked`], [`Error::KeyUnavailable`]: nothing is issued, and the batch goes on;
    /// [`Error::State`].
    pub fn issue_authority(
        &mut self,
        now: Now,
        site: [u8; 8],
        key: &PublicKey,
    ) -> Result<AuthorityRow, Error> {
        if site == NO_SITE {
            return Err(Error::Site("a site's id is not eight zeros"));
        }
        let thumbprint = key.thumbprint();
        if self.list.names(&thumbprint) {
            return Err(Error::KeyRevoked(hex::encode(thumbprint)));
        }
        let before = self.state.authorities()?.into_iter().find(|row| row.site == site);
        let version = match &before {
            Some(row) if row.key == thumbprint => row.version,
            _ => {
                let next = before.map_or(0, |row| row.version).checked_add(1);
                let next = next.ok_or(Error::Site("no version is left for another key"))?;
                // Issued since the backup that was put back, and not known here: as with epochs, time is above it.
                let second = u32::try_from(now.unix / 1000).unwrap_or(u32::MAX);
                if self.list.is_restored() { next.max(second) } else { next }
            }
        };
        let of = Site { root: self.keys.root().thumbprint(), id: site };
        let mut cwt = vec![0; MAX_AUTHORITY_LEN];
        let length = issue_authority(&of, &Authority { key: *key, version }, self.keys.signer(), &mut cwt)
            .map_err(|error| match error {
                Refused::KeyUnavailable => Error::KeyUnavailable,
                _ => Error::Site("the key cannot be certified"),
            })?;
        cwt.truncate(length);
        let row = AuthorityRow { site, key: thumbprint, version, cwt };
        self.state.put_authority(&row)?;
        Ok(row)
    }

    /// The authorities that were issued, the last one of each site.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn authorities(&mut self) -> Result<Vec<AuthorityRow>, Error> {
        self.state.authorities()
    }

    /// Every lock that is ours: its site, and whether grants can hold at it.
    #[must_use]
    pub fn sites(&self) -> Vec<SiteReport> {
        let epoch = self.list.epoch();
        let ours = self.locks.values().filter(|lock| lock.record.stage == Stage::Owned);
        ours.map(|lock| SiteReport {
            lock: lock.record.lock,
            site: lock.told.row.site,
            version: lock.told.row.version,
            told: !lock.told.refused && lock.untold(epoch).is_none(),
            refused: lock.told.refused,
            state: lock.told.row.state.filter(|_| lock.tells_site()).map(|(state, _)| state),
        })
        .collect()
    }

    /// There is something else to say: an answer to what is out would speak of what was before.
    pub(super) fn tell_anew(&mut self, id: LockId) -> Result<(), Error> {
        let open =
            |core: &Self| core.locks.get(&id)?.commands.iter().position(|c| c.ask() == Ask::SiteChange);
        while let Some(place) = open(self) {
            self.end_unanswered(id, place)?;
        }
        if let Some(lock) = self.locks.get_mut(&id) {
            lock.told.renew();
        }
        Ok(())
    }

    /// Tells this lock what it was not told, if it can hear.
    pub(super) fn drive_site(&mut self, now: Now, id: LockId) -> Result<(), Error> {
        let (hears, epoch) = (self.hears(now, id), self.list.epoch());
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(()) };
        lock.told.settle_failure(now);
        lock.told.timer = None;
        let Some(setting) = lock.untold(epoch) else { return Ok(()) };
        let busy = lock.commands.iter().any(|c| c.ask() == Ask::SiteChange);
        if busy || !hears || lock.sending().is_none() || !lock.obeyed() {
            return Ok(());
        }
        if lock.told.next > now.mono {
            lock.told.timer = Some(lock.told.next);
            return Ok(());
        }
        let command = match self.start_command(now, id, Ask::SiteChange, ATTEMPT_MS) {
            // A full queue is the caller's doing; its end brings us here again.
            Err(Error::TooMany(_)) => return Ok(()),
            other => other?,
        };
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(()) };
        lock.told.since.get_or_insert(now.mono);
        if let Some(pending) = lock.commands.iter_mut().find(|c| c.id() == command) {
            pending.setting = Some(setting);
        }
        Ok(())
    }

    /// The lock answered a setting.
    pub(super) fn site_answered(
        &mut self,
        now: Now,
        id: LockId,
        setting: SiteSetting,
        code: Code,
        payload: &[u8],
    ) -> Result<(), Error> {
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(()) };
        match code {
            Code::CHANGED => {
                let SiteSetting { site, version, epoch, .. } = setting;
                let activation = lock.record.activation;
                lock.told.row.told = Some(ToldRow { activation, site, version, epoch });
                lock.told.failures = 0;
                self.state.put_lock_site(&lock.told.row)?;
            }
            Code::NOT_FOUND | Code::METHOD_NOT_ALLOWED | Code::BAD_REQUEST => {
                lock.told.refused = true;
                lock.told.missing = code == Code::NOT_FOUND;
            }
            _ => {} // tried again
        }
        if lock.told.missing {
            lock.push.ask_first(now.mono)
        } else {
            lock.push.told(now.mono)
        }
        // 4.09 has the state, too.
        match SiteState::decode(payload) {
            Ok(state) if matches!(code, Code::CHANGED | Code::CONFLICT) => self.note_site(now, id, state),
            _ => Ok(()),
        }
    }

    /// A status has the epoch of the list in force, or none from a lock that takes no lists.
    pub(super) fn note_epoch(&mut self, now: Now, id: LockId, epoch: Option<u32>) -> Result<(), Error> {
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(()) };
        let asked = std::mem::take(&mut lock.told.missing);
        match epoch {
            None => lock.told.no_lists |= asked,
            Some(_) if asked => lock.push.begin(),
            Some(_) => {}
        }
        epoch.map_or(Ok(()), |epoch| self.note_list(now, id, epoch))
    }

    /// A lock says, inside OSCORE, what it knows of its site and of the lists.
    pub(super) fn note_site(&mut self, now: Now, id: LockId, state: SiteState) -> Result<(), Error> {
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(()) };
        let before = lock.told.row.state.replace((state, now.unix)).map(|(state, _)| state);
        self.state.put_lock_site(&lock.told.row)?;
        if before.map(|before| (before.epoch, before.grants)) != Some((state.epoch, state.grants)) {
            let SiteState { epoch, grants, .. } = state;
            self.event(PlatformEvent::Grants { lock: id, hold: grants, epoch });
        }
        self.note_list(now, id, state.epoch)
    }
}

/// How a request about a site ended, for [`PlatformEvent::Ended`].
pub(super) fn told(state: &SiteState, ms: u64) -> Outcome {
    Outcome::Site {
        site: (state.site != NO_SITE).then(|| hex::encode(state.site)),
        version: state.version,
        revocations: state.epoch,
        additions: state.counter,
        grants: state.grants,
        ms,
    }
}
