//! Browsers that are signed in.

use cardea_radio::Change;

use super::{Keeper, now, put, session_key};
use crate::session::{Id, Name, Session};

/// Browsers signed in at once; a further one ends the session that was unused for longest.
pub(super) const SESSIONS: usize = 16;

/// A session's last use is written this often, so that reading a page costs no flash.
const WRITE: u64 = 5 * 60 * 1000;

impl Keeper {
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

    /// As if the password had been given so much earlier, milliseconds.
    #[cfg(test)]
    pub(crate) fn age_proof(&self, name: Name, by: u64) {
        if let Some(session) = self.state().sessions.get_mut(&name) {
            session.proved = session.proved.saturating_sub(by);
        }
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
}

fn put_session(name: Name, session: &Session) -> Change {
    put(&session_key(name), serde_json::to_vec(session).unwrap_or_default())
}
