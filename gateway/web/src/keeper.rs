//! Who may come in: the claim, the password, the sessions. What is here survives a restart; what it is made of does not
//! leave: codes and sessions are kept as digests, the password as Argon2id.

mod claim;
pub(crate) mod passkeys;
mod sessions;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use cardea_radio::{Change, NetworkStore};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::Error;
use crate::history::{self, Event, History, What};
use crate::passkey::Passkey;
use crate::password::{Busy, Kept};
use crate::session::{Name, Session};

use claim::Recovery;
pub use claim::{CONFIRMED, ClaimError, RECOVERY};

const CODE: &[u8] = b"code";
const OWNER: &[u8] = b"owner";
const SESSION: &[u8] = b"session/";
const PASSKEY: &[u8] = b"passkey/";

/// Who owns the gateway's page.
#[derive(Clone, Serialize, Deserialize)]
struct Owner {
    password: Kept,
    /// Unix milliseconds.
    claimed: u64,
}

#[derive(Default)]
struct State {
    code: Option<[u8; 32]>,
    owner: Option<Owner>,
    sessions: BTreeMap<Name, Session>,
    passkeys: BTreeMap<passkeys::Mark, Passkey>,
    /// Until when a claim is confirmed, and how many wrong codes came since.
    confirmed: Option<(Instant, u32)>,
    recovery: Option<Recovery>,
    history: History,
}

/// See the module.
pub(crate) struct Keeper {
    store: Arc<dyn NetworkStore>,
    state: Mutex<State>,
    /// One claim or recovery at a time.
    claiming: tokio::sync::Mutex<()>,
    /// For those who do nothing before it.
    claimed: watch::Sender<bool>,
}

/// Unix milliseconds.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Keeper {
    /// Reads what is remembered. Factory resets at these times (Unix milliseconds) are kept in the history for good.
    pub(crate) fn open(store: Arc<dyn NetworkStore>, resets: &[u64]) -> Result<Self, Error> {
        let mut state = State::default();
        let fault = |what: &str| Error::Store(format!("{what} cannot be read"));
        for (key, value) in store.load().map_err(|e| Error::Store(e.0))? {
            if key == CODE {
                state.code = Some(value.try_into().map_err(|_| fault("the claim code"))?);
            } else if key == OWNER {
                // Never taken for "not claimed": whoever comes first would own the gateway.
                state.owner = Some(serde_json::from_slice(&value).map_err(|_| fault("the owner"))?);
            } else if key.starts_with(history::PREFIX) {
                state.history.read(&key, &value).ok_or_else(|| fault("the history"))?;
            } else if let Some(mark) = key.strip_prefix(PASSKEY) {
                let mark = mark.try_into().map_err(|_| fault("a passkey"))?;
                state.passkeys.insert(mark, serde_json::from_slice(&value).map_err(|_| fault("a passkey"))?);
            } else if let Some(name) = key.strip_prefix(SESSION) {
                let name = Name(name.try_into().map_err(|_| fault("a session"))?);
                state.sessions.insert(name, serde_json::from_slice(&value).map_err(|_| fault("a session"))?);
            }
        }
        for at in resets {
            if !state.history.knows(What::Reset, *at) {
                // Made again at each start until it is written; nobody waits for it.
                drop(store.commit(state.history.note(What::Reset, *at)));
            }
        }
        let claimed = watch::Sender::new(state.owner.is_some());
        Ok(Self { store, state: Mutex::new(state), claiming: tokio::sync::Mutex::default(), claimed })
    }

    pub(crate) fn is_claimed(&self) -> bool {
        self.state().owner.is_some()
    }

    /// True from the claim on.
    pub(crate) fn claimed(&self) -> watch::Receiver<bool> {
        self.claimed.subscribe()
    }

    /// Another password; all sessions but `kept` end.
    pub(crate) async fn set_password(
        &self,
        password: Zeroizing<String>,
        what: What,
        kept: Option<Name>,
    ) -> Result<(), ClaimError> {
        let password = Kept::new(password).await.map_err(|Busy| ClaimError::Busy)?;
        let claimed = self.state().owner.as_ref().map(|owner| owner.claimed).ok_or(ClaimError::Unclaimed)?;
        let owner = Owner { password, claimed };
        let record = serde_json::to_vec(&owner).map_err(|e| ClaimError::Store(e.to_string()))?;
        let gone: Vec<Name> =
            self.state().sessions.keys().copied().filter(|name| Some(*name) != kept).collect();
        let mut changes = vec![put(OWNER, record)];
        changes.extend(gone.iter().map(|name| Change { key: session_key(*name), value: None }));
        // Whoever had to come to the gateway for a new password cannot know who has a passkey.
        let passkeys = if what == What::Recovered { self.state().passkeys.clone() } else { BTreeMap::new() };
        changes.extend(passkeys.keys().map(|mark| Change { key: [PASSKEY, mark].concat(), value: None }));
        changes.extend(self.note(what));
        self.commit(changes).await.map_err(ClaimError::Store)?;
        let mut state = self.state();
        state.owner = Some(owner);
        state.passkeys.retain(|mark, _| !passkeys.contains_key(mark));
        for name in gone {
            state.sessions.remove(&name);
        }
        Ok(())
    }

    /// What was done to the page itself, newest first.
    pub(crate) fn history(&self) -> Vec<Event> {
        self.state().history.newest_first()
    }

    /// Notes what was done elsewhere; that it was done does not depend on it.
    pub(crate) async fn remember(&self, what: What) {
        let changes = self.note(what);
        if let Err(error) = self.commit(changes).await {
            tracing::error!(error, "the history cannot be stored");
        }
    }

    /// Notes that something was done, and what that changes in the store.
    fn note(&self, what: What) -> Vec<Change> {
        self.state().history.note(what, now())
    }

    /// Whether this is the owner's password.
    pub(crate) async fn is_owner(&self, password: Zeroizing<String>) -> Result<bool, Busy> {
        let kept = self.state().owner.as_ref().map(|owner| owner.password.clone());
        match kept {
            Some(kept) => kept.is(password).await,
            None => Ok(false),
        }
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<(), String> {
        if changes.is_empty() {
            return Ok(());
        }
        match self.store.commit(changes).await {
            Ok(done) => done.map_err(|e| e.0),
            Err(_) => Err("the store has ended".into()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put(key: &[u8], value: Vec<u8>) -> Change {
    Change { key: key.to_vec(), value: Some(value) }
}

fn session_key(name: Name) -> Vec<u8> {
    [SESSION, &name.0].concat()
}

#[cfg(test)]
mod tests;
