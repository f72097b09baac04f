//! The owner's passkeys: beside the password, never instead of it.

use cardea_radio::Change;
use sha2::{Digest as _, Sha256};

use super::{Keeper, PASSKEY, put};
use crate::history::What;
use crate::passkey::{Passkey, Unfit};

/// As many as somebody has devices.
pub(super) const PASSKEYS: usize = 8;

/// SHA-256 of a passkey's id: what it goes by here.
pub(crate) type Mark = [u8; 32];

pub(crate) fn mark(id: &[u8]) -> Mark {
    Sha256::digest(id).into()
}

impl Keeper {
    /// All, oldest first.
    pub(crate) fn passkeys(&self) -> Vec<(Mark, Passkey)> {
        let state = self.state();
        let mut all: Vec<_> = state.passkeys.iter().map(|(mark, passkey)| (*mark, passkey.clone())).collect();
        all.sort_by_key(|(_, passkey)| passkey.added);
        all
    }

    /// Whether there is one for this host name.
    pub(crate) fn has_passkeys(&self, site: &str) -> bool {
        self.state().passkeys.values().any(|passkey| passkey.site == site)
    }

    pub(crate) fn has_room_for_passkeys(&self) -> bool {
        self.state().passkeys.len() < PASSKEYS
    }

    pub(crate) fn passkey(&self, id: &[u8]) -> Option<Passkey> {
        self.state().passkeys.get(&mark(id)).cloned()
    }

    /// Keeps a new one.
    pub(crate) async fn add_passkey(&self, passkey: Passkey) -> Result<(), String> {
        let mark = mark(&passkey.id);
        {
            let state = self.state();
            if state.passkeys.len() >= PASSKEYS || state.passkeys.contains_key(&mark) {
                return Err("there are as many passkeys as can be, or this one already".into());
            }
        }
        let mut changes = vec![stored(mark, &passkey)];
        changes.extend(self.note(What::Passkey));
        self.commit(changes).await?;
        self.state().passkeys.insert(mark, passkey);
        Ok(())
    }

    /// Forgets one, or all of them.
    pub(crate) async fn remove_passkeys(&self, goes: impl Fn(&Mark) -> bool) -> Result<(), String> {
        let gone: Vec<Mark> = self.state().passkeys.keys().copied().filter(|mark| goes(mark)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let mut changes: Vec<Change> =
            gone.iter().map(|mark| Change { key: key(*mark), value: None }).collect();
        changes.extend(self.note(What::NoPasskey));
        self.commit(changes).await?;
        let mut state = self.state();
        gone.iter().for_each(|mark| drop(state.passkeys.remove(mark)));
        Ok(())
    }

    /// One was used, and its counter stands here now. That is durable before it counts: a copy must not come in by a power cut.
    pub(crate) async fn advance_passkey(&self, id: &[u8], counter: u32, now: u64) -> Result<(), Unfit> {
        let mark = mark(id);
        let change = {
            let mut state = self.state();
            let passkey = state.passkeys.get_mut(&mark).ok_or(Unfit::Unknown)?;
            // Another use may have come in between.
            if (counter, passkey.counter) != (0, 0) && counter <= passkey.counter {
                return Err(Unfit::Counter);
            }
            (passkey.counter, passkey.used) = (counter, Some(now));
            stored(mark, passkey)
        };
        self.commit(vec![change]).await.map_err(|error| {
            tracing::error!(error, "a passkey's counter cannot be stored");
            Unfit::Counter
        })
    }
}

fn key(mark: Mark) -> Vec<u8> {
    [PASSKEY, &mark].concat()
}

fn stored(mark: Mark, passkey: &Passkey) -> Change {
    put(&key(mark), serde_json::to_vec(passkey).unwrap_or_default())
}
