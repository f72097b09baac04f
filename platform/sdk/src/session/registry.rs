//! The registry: locks that are let in, and what is known of each.

use cardea_credentials::OwnerCode;
use cardea_framing::LockId;

use super::{Core, lock::Lock};
use crate::{Error, KeyStore, LockName, LockRecord, LockSummary, LogGap, LogRow, Stage, Standing, State};

impl<K: KeyStore, S: State> Core<K, S> {
    /// Lets a lock activate itself with this owner code; again replaces the code. Belongs into a batch.
    ///
    /// # Errors
    /// [`Error::SecondKey`], [`Error::State`]; [`Error::Uncertified`] where a maker must vouch for each lock.
    pub fn enroll(&mut self, name: LockName, code: &OwnerCode) -> Result<(), Error> {
        self.check_uncertified(name)?;
        self.enroll_named(name, code)
    }

    pub(super) fn enroll_named(&mut self, name: LockName, code: &OwnerCode) -> Result<(), Error> {
        let id = name.id();
        let wanted = match name {
            LockName::Id(_) => None,
            LockName::Thumbprint(thumbprint) => Some(thumbprint),
        };
        let mut record = match self.locks.get(&id) {
            Some(lock) => lock.record.clone(),
            None => LockRecord {
                lock: id,
                thumbprint: None,
                credential: None,
                code: None,
                stage: Stage::Enrolled,
                activation: 0,
                cursor: None,
            },
        };
        match (record.thumbprint, wanted) {
            (Some(known), Some(wanted)) if known != wanted => return Err(Error::SecondKey(id)),
            (known, wanted) => record.thumbprint = known.or(wanted),
        }
        record.code = Some(Box::new(code.to_bytes()));
        record.stage = Stage::Enrolled;
        self.state.put_lock(&record)?;
        if let Some(lock) = self.locks.get_mut(&id)
            && lock.standing != Standing::default()
        {
            // By its code it begins anew.
            lock.standing = Standing::default();
            self.state.put_standing(id, &lock.standing)?;
        }
        let lock = self.locks.entry(id).or_insert_with(|| Lock::new(record.clone()));
        lock.record = record;
        lock.limits.clear();
        Ok(())
    }

    /// The newest stored events of a lock, oldest first.
    ///
    /// # Errors
    /// [`Error::UnknownLock`], [`Error::State`].
    pub fn log(&mut self, lock: LockId, limit: u32) -> Result<Vec<LogRow>, Error> {
        if !self.locks.contains_key(&lock) {
            return Err(Error::UnknownLock(lock));
        }
        self.state.log(lock, limit)
    }

    /// Entries that a lock has lost, in the order of its log.
    ///
    /// # Errors
    /// As [`Self::log`].
    pub fn log_gaps(&mut self, lock: LockId) -> Result<Vec<LogGap>, Error> {
        if !self.locks.contains_key(&lock) {
            return Err(Error::UnknownLock(lock));
        }
        self.state.log_gaps(lock)
    }

    /// The registry.
    #[must_use]
    pub fn summaries(&self) -> Vec<LockSummary> {
        self.locks
            .values()
            .map(|lock| LockSummary {
                lock: lock.record.lock,
                thumbprint: lock.record.thumbprint,
                stage: lock.record.stage,
                session: lock.sending().is_some(),
                fenced: lock.standing.fenced.is_some(),
                released: lock.standing.released.is_some(),
                certificate: lock.standing.certificate,
                gateway: self.route.best(lock.record.lock).map(|(gateway, _)| gateway.to_owned()),
            })
            .collect()
    }
}
