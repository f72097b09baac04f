//! Who may join, and until when.

use cardea_framing::LockId;
use cardea_radio::{Admission, AdmissionSecret, Event};
use cardea_subghz_link::Secret;

use super::{JOIN_WINDOW, MAX_LOCKS, Network};
use crate::Micros;

impl Network {
    pub(super) fn admit(&mut self, Admission { lock, secret }: Admission) {
        let AdmissionSecret::Subghz { secret } = secret else {
            return self.refuse(lock, "this label is for another radio".into());
        };
        let known = self.link.locks().any(|(other, ..)| other == lock.0);
        let count = self.link.locks().count();
        let most = self.config.max_locks.min(MAX_LOCKS);
        if !known && count >= most {
            return self
                .refuse(lock, format!("{count} locks are admitted, and a 433 MHz network has {most}"));
        }
        match self.link.admit(lock.0, Secret(*secret)) {
            Ok(()) => {
                let new = self.admitting.get(&lock).copied().unwrap_or(!known);
                self.admitting.insert(lock, new);
            }
            Err(_) => self.refuse(lock, "it is being removed: admit it again in a moment".into()),
        }
    }

    fn refuse(&mut self, lock: LockId, reason: String) {
        self.events.push_back(Event::Admitted { lock, result: Err(reason) });
    }

    pub(super) fn remove(&mut self, lock: LockId) {
        if !self.link.locks().any(|(known, ..)| known == lock.0) {
            return;
        }
        self.admitting.remove(&lock);
        if self.link.remove(&lock.0) {
            self.events.push_back(Event::Left(lock));
        } else {
            self.removing.insert(lock);
        }
        self.cancel_all(lock);
    }

    pub(super) fn retry_removals(&mut self) {
        for lock in std::mem::take(&mut self.removing) {
            self.remove(lock);
        }
    }

    /// The link layer has stored an admission, or a removal.
    pub(super) fn stored(&mut self, now: Micros, lock: LockId) {
        if self.admitting.remove(&lock).is_none() {
            return;
        }
        self.events.push_back(Event::Admitted { lock, result: Ok(()) });
        self.open(now);
    }

    /// An admission could not be stored. A lock that was known goes on as before; a new one is forgotten, for the operator is told so.
    pub(super) fn not_stored(&mut self, lock: LockId, error: String) {
        let Some(new) = self.admitting.remove(&lock) else { return };
        if new {
            self.link.remove(&lock.0);
        }
        self.refuse(lock, error);
    }

    pub(super) fn open(&mut self, now: Micros) {
        let until = now.saturating_add(JOIN_WINDOW);
        self.joins_until = Some(until);
        self.link.open_join(now, until);
    }

    pub(super) fn joined(&mut self, now: Micros, lock: LockId) {
        self.settings.joined_under = Some(self.settings.now());
        self.commits.settings_changed();
        self.events.push_back(Event::Joined(lock));
        let all = self.link.locks().all(|(_, joined, _)| joined);
        if all && self.joins_until.take().is_some() {
            // Nobody is waited for.
            self.link.open_join(now, now);
        }
        let interval = self.link.locks().find(|(known, ..)| *known == lock.0).map(|(.., interval)| interval);
        self.events.push_back(self.link_event(lock, interval.unwrap_or(0)));
        self.check_health();
    }
}
