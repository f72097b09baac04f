//! Grants: what the platform signs for phones and other holders of a key.

use cardea_credentials::{Error as Refused, PublicKey, Scope, Terms, Weekly, issue_grant};
use cardea_framing::LockId;
use cardea_resources::EventKind;

use super::{Core, Now};
use crate::{Bundle, Error, GrantRow, KeyStore, State, event::value_words};

/// Longest name of a holder, characters.
const MAX_NAME: usize = 64;
/// Ids that are drawn before giving up: at a lock with a million grants two in a row are taken once in 10^7.
const DRAWS: usize = 16;

/// What is to be granted, to whom, at which lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGrant {
    /// At which lock; it must have been activated.
    pub lock: LockId,
    /// The holder's static Diffie-Hellman key.
    pub holder: PublicKey,
    /// Whose key that is, for people: 1 to 64 characters.
    pub name: String,
    /// The rights.
    pub scope: Scope,
    /// The first second in which they hold, Unix time.
    pub not_before: u32,
    /// The first second in which they do not hold any more.
    pub expires: u32,
    /// Whether they can be used once only.
    pub single_use: bool,
    /// The hours of the week in which they hold, in UTC; all of them without.
    pub window: Option<Weekly>,
    /// The holder's key for signing, with which he may pass on part of this; none without. Another one than `holder`.
    pub delegate: Option<PublicKey>,
}

/// A grant that was issued.
#[derive(Debug, Clone)]
pub struct Issued {
    /// As it is remembered here.
    pub grant: GrantRow,
    /// For its holder.
    pub bundle: Bundle,
}

impl<K: KeyStore, S: State> Core<K, S> {
    /// Signs a grant and remembers it. Belongs into a batch.
    ///
    /// # Errors
    /// [`Error::UnknownLock`], [`Error::NotActivated`], [`Error::Terms`], [`Error::KeyRevoked`],
    /// [`Error::KeyUnavailable`]: nothing is granted, and the batch goes on; [`Error::State`], [`Error::Random`].
    pub fn issue_grant(&mut self, now: Now, new: &NewGrant) -> Result<Issued, Error> {
        let record = &self.locks.get(&new.lock).ok_or(Error::UnknownLock(new.lock))?.record;
        let (Some(thumbprint), Some(credential)) = (record.thumbprint, record.credential.clone()) else {
            return Err(Error::NotActivated(new.lock));
        };
        check(now, new)?;
        let holder = new.holder.thumbprint();
        for key in [Some(holder), new.delegate.map(|key| key.thumbprint())].into_iter().flatten() {
            if self.list.names(&key) {
                return Err(Error::KeyRevoked(hex::encode(key)));
            }
        }
        let NewGrant { lock, scope, not_before, expires, single_use, window, delegate, .. } = *new;
        let terms = Terms {
            lock: thumbprint,
            holder: new.holder,
            scope,
            not_before,
            expires,
            single_use,
            window,
            delegate,
        };
        let id = self.free_grant_id(lock)?;
        let mut cwt = vec![0; cardea_credentials::MAX_DELEGABLE_GRANT_LEN];
        let length = issue_grant(&terms, &id, self.keys.signer(), &mut cwt).map_err(|error| match error {
            Refused::KeyUnavailable => Error::KeyUnavailable,
            _ => Error::Terms("a grant needs a right and a time".into()),
        })?;
        cwt.truncate(length);
        let bundle = Bundle::new(&credential, &self.keys.signer().public(), &cwt)?;
        let name = new.name.trim().to_owned();
        let issued = now.unix;
        let grant =
            GrantRow { id, lock, holder, name, scope, not_before, expires, single_use, window, issued, cwt };
        if !self.state.add_grant(&grant)? {
            return Err(Error::State("an id that was free is taken".into()));
        }
        Ok(Issued { grant, bundle })
    }

    /// Grants, oldest first; of this lock, or of all.
    ///
    /// # Errors
    /// [`Error::UnknownLock`], [`Error::State`].
    pub fn grants(&mut self, lock: Option<LockId>) -> Result<Vec<GrantRow>, Error> {
        if let Some(id) = lock.filter(|id| !self.locks.contains_key(id)) {
            return Err(Error::UnknownLock(id));
        }
        self.state.grants(lock)
    }

    /// The bundle of a grant once more: for a holder who lost the file.
    ///
    /// # Errors
    /// [`Error::NoGrant`]; [`Error::Bundle`] where the lock or the platform has other keys since; [`Error::State`].
    pub fn bundle(&mut self, id: [u8; 8]) -> Result<Bundle, Error> {
        let grant = self.state.grant(id)?.ok_or_else(|| Error::NoGrant(hex::encode(id)))?;
        let lock = self.locks.get(&grant.lock).ok_or(Error::UnknownLock(grant.lock))?;
        let credential = lock.record.credential.as_ref().ok_or(Error::NotActivated(grant.lock))?;
        Bundle::new(credential, &self.keys.signer().public(), &grant.cwt)
    }

    fn free_grant_id(&mut self, lock: LockId) -> Result<[u8; 8], Error> {
        for _ in 0..DRAWS {
            let mut id = [0; 8];
            self.random.fill(&mut id).map_err(|_| Error::Random)?;
            let [a, b, c, d, ..] = id;
            let taken = self.state.grant_name(lock, u32::from_be_bytes([a, b, c, d]))?.is_some()
                || self.state.grant(id)?.is_some();
            if !taken {
                return Ok(id);
            }
        }
        Err(Error::Random) // a generator that repeats itself
    }

    /// The value of a log entry in words; a grant with the name of its holder.
    pub(super) fn said(
        &mut self,
        lock: LockId,
        kind: EventKind,
        value: Option<u32>,
    ) -> Result<Option<String>, Error> {
        let words = value_words(kind, value);
        let by_grant = matches!(kind, EventKind::GrantUnlock | EventKind::GrantLock | EventKind::GrantFailed);
        let name = match value.filter(|_| by_grant) {
            Some(tag) => self.state.grant_name(lock, tag)?,
            None => None,
        };
        Ok(match (words, name) {
            (Some(words), Some(name)) => Some(format!("{words} ({name})")),
            (words, _) => words,
        })
    }
}

fn check(now: Now, new: &NewGrant) -> Result<(), Error> {
    let wrong = |why: &str| Err(Error::Terms(why.into()));
    let name = new.name.trim();
    if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        return wrong("the name of a holder has 1 to 64 characters, none of them a control character");
    }
    if new.scope.is_empty() {
        return wrong("a grant needs at least one right");
    }
    if new.not_before >= new.expires {
        return wrong("a grant must begin before it ends");
    }
    if new.delegate == Some(new.holder) {
        return wrong("the key that passes grants on must be another one than the holder's");
    }
    if new.single_use && new.delegate.is_some() {
        return wrong("a grant for one use cannot be passed on");
    }
    if u64::from(new.expires) <= now.unix / 1000 {
        return wrong("a grant that has ended already opens nothing");
    }
    Ok(())
}
