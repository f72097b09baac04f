//! Who may come in: the claim, the password, the sessions. What is here survives a restart; what it is made of does not
//! leave: codes and sessions are kept as digests, the password as Argon2id.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cardea_radio::{Change, NetworkStore};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::Error;
use crate::history::{self, Event, History, What};
use crate::password::{Busy, Kept};
use crate::session::{Id, Name, Session};

/// How long after `cardea claim --confirm` the claim may come.
pub const CONFIRMED: Duration = Duration::from_secs(120);

/// How long after `cardea recover` the password may be set anew.
pub const RECOVERY: Duration = Duration::from_secs(600);

/// Wrong codes that one confirmation is good for.
const TRIES: u32 = 5;

/// Browsers signed in at once; a further one ends the session that was unused for longest.
const SESSIONS: usize = 16;

/// A session's last use is written this often, so that reading a page costs no flash.
const WRITE: u64 = 5 * 60 * 1000;

/// Without what is mistaken for something else: Crockford's base 32.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

const CODE: &[u8] = b"code";
const OWNER: &[u8] = b"owner";
const SESSION: &[u8] = b"session/";

/// Why a claim, or what belongs to one, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// It is done already.
    #[error("the gateway is claimed already")]
    Claimed,
    /// There is no owner yet who could have forgotten anything.
    #[error("nobody has claimed the gateway yet: `cardea claim-code` makes the code for that")]
    Unclaimed,
    /// There is no code yet.
    #[error("there is no claim code yet: make one with `cardea claim-code`")]
    NoCode,
    /// Nobody has confirmed at the gateway, or longer ago than [`CONFIRMED`].
    #[error("nobody has confirmed at the gateway")]
    NotConfirmed,
    /// Another code.
    #[error("wrong claim code")]
    WrongCode,
    /// Too many passwords are being checked.
    #[error("busy, try again")]
    Busy,
    /// It could not be remembered.
    #[error("the claim cannot be stored: {0}")]
    Store(String),
}

/// Who owns the gateway's page.
#[derive(Clone, Serialize, Deserialize)]
struct Owner {
    password: Kept,
    /// Unix milliseconds.
    claimed: u64,
}

/// A way back that is open.
struct Recovery {
    until: Instant,
    digest: [u8; 32],
    /// Wrong codes so far.
    tries: u32,
}

#[derive(Default)]
struct State {
    code: Option<[u8; 32]>,
    owner: Option<Owner>,
    sessions: BTreeMap<Name, Session>,
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
    pub(crate) fn open(store: Arc<dyn NetworkStore>) -> Result<Self, Error> {
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
            } else if let Some(name) = key.strip_prefix(SESSION) {
                let name = Name(name.try_into().map_err(|_| fault("a session"))?);
                state.sessions.insert(name, serde_json::from_slice(&value).map_err(|_| fault("a session"))?);
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

    pub(crate) async fn new_code(&self) -> Result<String, ClaimError> {
        let _one = self.claiming.lock().await;
        if self.is_claimed() {
            return Err(ClaimError::Claimed);
        }
        let (code, digest) = random_code()?;
        self.commit(vec![put(CODE, digest.to_vec())]).await.map_err(ClaimError::Store)?;
        let mut state = self.state();
        state.code = Some(digest);
        state.confirmed = None;
        Ok(code)
    }

    pub(crate) fn confirm(&self) -> Result<(), ClaimError> {
        let mut state = self.state();
        if state.owner.is_some() {
            return Err(ClaimError::Claimed);
        }
        if state.code.is_none() {
            return Err(ClaimError::NoCode);
        }
        state.confirmed = Instant::now().checked_add(CONFIRMED).map(|until| (until, 0));
        tracing::info!("a claim is confirmed for two minutes");
        Ok(())
    }

    /// How long the confirmation still holds.
    pub(crate) fn confirmed(&self) -> Option<Duration> {
        let (until, _) = self.state().confirmed?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Makes whoever has code and presence the owner.
    pub(crate) async fn claim(&self, code: &str, password: Zeroizing<String>) -> Result<(), ClaimError> {
        let _one = self.claiming.lock().await;
        if self.is_claimed() {
            return Err(ClaimError::Claimed);
        }
        // Without presence no code is looked at: from afar there is nothing to guess.
        if self.confirmed().is_none() {
            return Err(ClaimError::NotConfirmed);
        }
        {
            let mut state = self.state();
            let kept = state.code.ok_or(ClaimError::NoCode)?;
            if !bool::from(kept.ct_eq(&code_digest(code))) {
                let tries = state.confirmed.as_mut().map_or(TRIES, |(_, tries)| {
                    *tries += 1;
                    *tries
                });
                if tries >= TRIES {
                    tracing::warn!("five wrong claim codes: confirm again at the gateway");
                    state.confirmed = None;
                }
                return Err(ClaimError::WrongCode);
            }
        }
        let password = Kept::new(password).await.map_err(|Busy| ClaimError::Busy)?;
        let owner = Owner { password, claimed: now() };
        let record = serde_json::to_vec(&owner).map_err(|e| ClaimError::Store(e.to_string()))?;
        let forget = Change { key: CODE.to_vec(), value: None };
        let mut changes = vec![put(OWNER, record), forget];
        changes.extend(self.note(What::Claimed));
        self.commit(changes).await.map_err(ClaimError::Store)?;
        let mut state = self.state();
        state.owner = Some(owner);
        (state.code, state.confirmed) = (None, None);
        self.claimed.send_replace(true);
        tracing::info!("the gateway is claimed");
        Ok(())
    }

    /// Opens the way back for an owner who forgot the password, for [`RECOVERY`]: a code that is shown this once. Whoever asks is at
    /// the gateway.
    pub(crate) async fn recover(&self) -> Result<String, ClaimError> {
        let _one = self.claiming.lock().await;
        if !self.is_claimed() {
            return Err(ClaimError::Unclaimed);
        }
        let (code, digest) = random_code()?;
        let until = Instant::now().checked_add(RECOVERY).unwrap_or_else(Instant::now);
        self.state().recovery = Some(Recovery { until, digest, tries: 0 });
        tracing::warn!("the page's password may be set anew for ten minutes");
        Ok(code)
    }

    /// True while the way back is open.
    pub(crate) fn may_recover(&self) -> bool {
        self.state().recovery.as_ref().is_some_and(|recovery| Instant::now() < recovery.until)
    }

    /// Takes the code, once, and the new password. Every session ends; the history says so for good.
    pub(crate) async fn finish_recovery(
        &self,
        code: &str,
        password: Zeroizing<String>,
    ) -> Result<(), ClaimError> {
        let _one = self.claiming.lock().await;
        {
            let mut state = self.state();
            let Some(recovery) = state.recovery.as_mut().filter(|recovery| Instant::now() < recovery.until)
            else {
                state.recovery = None;
                return Err(ClaimError::NotConfirmed);
            };
            if !bool::from(recovery.digest.ct_eq(&code_digest(code))) {
                recovery.tries += 1;
                if recovery.tries >= TRIES {
                    tracing::warn!("five wrong recovery codes: ask for another one at the gateway");
                    state.recovery = None;
                }
                return Err(ClaimError::WrongCode);
            }
        }
        self.set_password(password, What::Recovered, None).await?;
        self.state().recovery = None;
        tracing::warn!("the page's password was set anew at the gateway");
        Ok(())
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
        changes.extend(self.note(what));
        self.commit(changes).await.map_err(ClaimError::Store)?;
        let mut state = self.state();
        state.owner = Some(owner);
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

    /// Begins a session with a new id, and ends the one that the browser came with.
    pub(crate) async fn begin(&self, browser: &str, before: Option<Name>) -> Result<Id, String> {
        let id = Id::random().map_err(|e| e.to_string())?;
        let at = now();
        let browser = browser.chars().filter(|c| !c.is_control()).take(120).collect();
        let session = Session { started: at, used: at, proved: at, browser };
        let mut changes = vec![put_session(id.name(), &session)];
        {
            let mut state = self.state();
            let over = |(name, session): (&Name, &Session)| {
                (!session.is_alive(at) || Some(*name) == before).then_some(*name)
            };
            let mut gone: Vec<Name> = state.sessions.iter().filter_map(over).collect();
            if state.sessions.len().saturating_sub(gone.len()) >= SESSIONS {
                let left = state.sessions.iter().filter(|(name, _)| !gone.contains(name));
                gone.extend(left.min_by_key(|(_, session)| session.used).map(|(name, _)| *name));
            }
            for name in gone {
                state.sessions.remove(&name);
                changes.push(Change { key: session_key(name), value: None });
            }
        }
        self.commit(changes).await?;
        self.state().sessions.insert(id.name(), session);
        Ok(id)
    }

    /// The living session with this name. `active`: this is somebody's doing and keeps it alive.
    pub(crate) fn session(&self, name: Name, active: bool) -> Option<Session> {
        let at = now();
        let mut state = self.state();
        let session = state.sessions.get_mut(&name).filter(|session| session.is_alive(at))?;
        if active {
            let stale = at.saturating_sub(session.used) > WRITE;
            session.used = at;
            if stale {
                // Nobody waits: what a power cut loses is five minutes of idle time.
                drop(self.store.commit(vec![put_session(name, session)]));
            }
        }
        Some(session.clone())
    }

    /// The password was given again.
    pub(crate) async fn prove(&self, name: Name) -> Result<(), String> {
        let change = {
            let mut state = self.state();
            let session = state.sessions.get_mut(&name).ok_or("the session has ended")?;
            session.proved = now();
            put_session(name, session)
        };
        self.commit(vec![change]).await
    }

    /// All that live, newest first.
    pub(crate) fn sessions(&self) -> Vec<(Name, Session)> {
        let at = now();
        let state = self.state();
        let alive = state.sessions.iter().filter(|(_, session)| session.is_alive(at));
        let mut all: Vec<_> = alive.map(|(name, session)| (*name, session.clone())).collect();
        all.sort_by_key(|(_, session)| std::cmp::Reverse(session.started));
        all
    }

    /// Ends those for which `ends` holds.
    pub(crate) async fn end(&self, ends: impl Fn(Name) -> bool) -> Result<(), String> {
        let changes = {
            let mut state = self.state();
            let gone: Vec<Name> = state.sessions.keys().copied().filter(|name| ends(*name)).collect();
            for name in &gone {
                state.sessions.remove(name);
            }
            gone.into_iter().map(|name| Change { key: session_key(name), value: None }).collect()
        };
        self.commit(changes).await
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

fn put_session(name: Name, session: &Session) -> Change {
    put(&session_key(name), serde_json::to_vec(session).unwrap_or_default())
}

fn session_key(name: Name) -> Vec<u8> {
    [SESSION, &name.0].concat()
}

/// A code of 16 letters and digits in groups of four, 80 random bits, and its digest.
fn random_code() -> Result<(String, [u8; 32]), ClaimError> {
    let mut bytes = Zeroizing::new([0_u8; 16]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|e| ClaimError::Store(e.to_string()))?;
    // Five bits of each byte.
    let digit = |byte: &u8| ALPHABET.get(usize::from(byte & 31)).copied().map_or('0', char::from);
    let code: String = bytes.iter().map(digit).collect();
    let groups: Vec<&str> = (0..4).filter_map(|n| code.get(n * 4..n * 4 + 4)).collect();
    Ok((groups.join("-"), code_digest(&code)))
}

/// Of a code as people type it: case and dividers do not matter, and O, I and L are the digits that they look like.
fn code_digest(text: &str) -> [u8; 32] {
    let digits = text.chars().filter(char::is_ascii_alphanumeric).map(|c| match c.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    });
    let digits: Zeroizing<String> = Zeroizing::new(digits.take(64).collect());
    Sha256::digest(digits.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use cardea_radio::MemoryStore;

    use super::*;

    const PASSWORD: &str = "vier alte Nussbäume";

    fn password() -> Zeroizing<String> {
        PASSWORD.to_owned().into()
    }

    fn keeper(store: &MemoryStore) -> Keeper {
        Keeper::open(Arc::new(store.clone())).unwrap()
    }

    #[tokio::test]
    async fn a_claim_needs_the_code_and_presence_and_happens_once() {
        let store = MemoryStore::new();
        let keeper = keeper(&store);
        assert_eq!(keeper.confirm(), Err(ClaimError::NoCode));
        let code = keeper.new_code().await.unwrap();
        assert_eq!(code.len(), 19);
        assert_eq!(keeper.claim(&code, password()).await, Err(ClaimError::NotConfirmed));
        keeper.confirm().unwrap();
        assert_eq!(keeper.claim("0000-0000-0000-0000", password()).await, Err(ClaimError::WrongCode));
        keeper.claim(&code.to_lowercase().replace('-', " "), password()).await.unwrap();
        assert_eq!(keeper.claim(&code, password()).await, Err(ClaimError::Claimed));
        assert_eq!(keeper.new_code().await, Err(ClaimError::Claimed));
        assert_eq!(keeper.confirm(), Err(ClaimError::Claimed));
        assert!(keeper.is_owner(password()).await.unwrap());
    }

    #[tokio::test]
    async fn five_wrong_codes_use_a_confirmation_up_and_a_new_code_voids_the_old_one() {
        let keeper = keeper(&MemoryStore::new());
        let old = keeper.new_code().await.unwrap();
        let code = keeper.new_code().await.unwrap();
        keeper.confirm().unwrap();
        assert_eq!(keeper.claim(&old, password()).await, Err(ClaimError::WrongCode));
        for _ in 1..TRIES {
            assert_eq!(keeper.claim("x", password()).await, Err(ClaimError::WrongCode));
        }
        assert_eq!(keeper.claim(&code, password()).await, Err(ClaimError::NotConfirmed));
        keeper.confirm().unwrap();
        keeper.claim(&code, password()).await.unwrap();
    }

    #[tokio::test]
    async fn nothing_secret_is_stored_and_everything_survives_a_restart() {
        let store = MemoryStore::new();
        let first = keeper(&store);
        let code = first.new_code().await.unwrap();
        let digits = code.replace('-', "");
        let holds = |needle: &[u8]| {
            store.snapshot().iter().any(|(_, v)| v.windows(needle.len()).any(|window| window == needle))
        };
        assert!(!holds(digits.as_bytes()) && !holds(code.as_bytes()));
        drop(first);
        let second = keeper(&store);
        second.confirm().unwrap();
        second.claim(&code, password()).await.unwrap();
        let id = second.begin("Browser", None).await.unwrap();
        assert!(!holds(PASSWORD.as_bytes()));
        let cookie = id.set_cookie();
        let secret = cookie.split(['=', ';']).nth(1).unwrap();
        assert!(!holds(secret.as_bytes()));
        assert!(store.snapshot().iter().all(|(key, _)| !key.ends_with(&hex::decode(secret).unwrap())));

        let third = keeper(&store);
        assert!(third.is_claimed() && third.session(id.name(), false).is_some());
        assert!(store.snapshot().iter().all(|(key, _)| key != CODE), "a used code is gone");
    }

    #[tokio::test]
    async fn an_owner_that_cannot_be_read_is_an_error_and_never_an_unclaimed_gateway() {
        let store = MemoryStore::new();
        store.commit_now(vec![put(OWNER, b"{".to_vec())]).unwrap();
        assert!(Keeper::open(Arc::new(store)).is_err());
    }

    #[tokio::test]
    async fn a_claim_that_cannot_be_stored_is_none() {
        let store = MemoryStore::new();
        let keeper = keeper(&store);
        let code = keeper.new_code().await.unwrap();
        keeper.confirm().unwrap();
        store.set_failing(true);
        assert!(matches!(keeper.claim(&code, password()).await, Err(ClaimError::Store(_))));
        assert!(!keeper.is_claimed());
    }

    #[tokio::test]
    async fn sessions_are_bounded_replaced_at_sign_in_and_revoked() {
        let store = MemoryStore::new();
        let keeper = keeper(&store);
        let first = keeper.begin("first", None).await.unwrap();
        let second = keeper.begin("second", Some(first.name())).await.unwrap();
        assert!(
            keeper.session(first.name(), true).is_none() && keeper.session(second.name(), true).is_some()
        );
        for n in 0..SESSIONS + 5 {
            keeper.begin(&format!("{n}\r\n"), None).await.unwrap();
        }
        assert_eq!(keeper.sessions().len(), SESSIONS);
        assert!(keeper.sessions().iter().all(|(_, session)| !session.browser.contains('\n')));
        let kept = keeper.sessions().first().unwrap().0;
        keeper.end(|name| name != kept).await.unwrap();
        assert_eq!(keeper.sessions().len(), 1);
        assert_eq!(Keeper::open(Arc::new(store)).unwrap().sessions().len(), 1);
    }
}
