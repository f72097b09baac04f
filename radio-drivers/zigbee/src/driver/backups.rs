//! Backups of the running network: those that an operator orders, and those that the gateway keeps for itself, so that
//! another dongle can take the place of one that died.
//!
//! One is taken soon after somebody has joined or left and else once a day, while the network runs; the coordinator reads it
//! between frames. It is written only if it says something that the last one does not: a counter may lag by less than a
//! sixteenth of the [jump](crate::backup::FRAME_COUNTER_JUMP) that a restore makes.

use cardea_radio::Millis;

use super::store::RecordKey;
use super::{Driver, NetworkDone};
use crate::backup::{Backup, FRAME_COUNTER_JUMP};
use crate::coordinator::Order;

/// After a join or a departure, and after the network has come up: others may follow, milliseconds.
const SETTLE_MS: Millis = 10_000;
/// Between two backups that nobody ordered.
const PAUSE_MS: Millis = 600_000;
/// The longest without one.
const DAY_MS: Millis = 86_400_000;
/// How long a coordinator may take for one.
const PATIENCE_MS: Millis = 120_000;
/// How far a counter may be ahead of the one that is stored.
const COUNTER_STEP: u32 = FRAME_COUNTER_JUMP / 16;

/// A backup that is kept is written again to say when it was last seen to be what the dongle remembers, milliseconds.
const DATED_MS: u64 = 20 * 3_600_000;

/// The backup of the network that the gateway keeps for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// From where it is.
    pub from: KeptFrom,
    /// When, Unix milliseconds: the last time that the dongle was seen to remember what is in it, which after a start may be up to a
    /// day later than this. `None`: the clock was not to be relied on.
    pub at: Option<u64>,
    /// Devices in it.
    pub devices: usize,
}

/// Where a backup that is kept is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptFrom {
    /// The dongle that runs, or ran last, told it.
    Dongle,
    /// It was restored, and the dongle has not told its own yet.
    Restored,
}

/// From where a backup is, and when; see [`Kept`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) from: KeptFrom,
    pub(super) unix_ms: Option<u64>,
}

#[derive(Default)]
pub(super) struct Backups {
    /// When the next is taken.
    due: Option<Millis>,
    /// And not before that.
    not_before: Millis,
    /// One is being taken; until when it may last.
    until: Option<Millis>,
    /// The operator who waits for it.
    operator: Option<u64>,
}

impl Backups {
    pub(super) fn is_under_way(&self) -> bool {
        self.until.is_some()
    }

    fn take_at(&mut self, at: Millis) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

impl Driver {
    /// An operator wants one.
    pub(super) fn back_up_for(&mut self, now: Millis, token: u64) {
        let refusal = if !self.is_up() {
            "the network does not run, see `cardea status`"
        } else if self.formation.is_some() || self.backups.operator.is_some() {
            "another order is under way at this radio, see `cardea status`"
        } else {
            self.backups.operator = Some(token);
            return if !self.backups.is_under_way() {
                self.take_backup(now)
            };
        };
        self.replies.push_back((token, Err(refusal.into())));
    }

    fn take_backup(&mut self, now: Millis) {
        self.backups.due = None;
        self.backups.until = Some(now.saturating_add(PATIENCE_MS));
        self.orders.push_back(Order::Backup);
    }

    /// Something has changed that a backup should have.
    pub(super) fn backup_soon(&mut self, now: Millis) {
        self.backups.take_at(now.saturating_add(SETTLE_MS).max(self.backups.not_before));
    }

    /// What the dongle remembers is not known.
    pub(super) fn backup_now(&mut self, now: Millis) {
        self.backups.take_at(now);
    }

    /// The network runs (again).
    pub(super) fn backup_when_up(&mut self, now: Millis) {
        if self.next_key.is_some() { self.backup_now(now) } else { self.backup_soon(now) }
    }

    pub(super) fn next_backup(&mut self, now: Millis) {
        if self.may_back_up() && self.backups.due.is_some_and(|at| at <= now) {
            self.take_backup(now);
        }
    }

    fn may_back_up(&self) -> bool {
        self.is_up() && self.formation.is_none() && !self.backups.is_under_way()
    }

    pub(super) fn backup_due(&self) -> Option<Millis> {
        self.backups.until.or(self.backups.due.filter(|_| self.may_back_up()))
    }

    pub(super) fn backup_timeout(&mut self, now: Millis) {
        if self.backups.until.is_some_and(|until| until <= now) {
            self.backed_up(now, Err("the dongle does not say what it remembers".into()));
        }
    }

    pub(super) fn backed_up(&mut self, now: Millis, result: Result<Box<Backup>, String>) {
        self.backups.until = None;
        self.backups.not_before = now.saturating_add(PAUSE_MS);
        let wait = if result.is_ok() { DAY_MS } else { PAUSE_MS };
        self.backups.take_at(now.saturating_add(wait));
        let result = result.map(|backup| NetworkDone::BackedUp(self.keep(backup)));
        if let Err(why) = &result {
            tracing::warn!(why, "no backup of the Zigbee network could be taken");
        }
        if let Some(token) = self.backups.operator.take() {
            self.replies.push_back((token, result));
        }
    }

    /// Keeps what a dongle told of our network, and corrects it: a counter that was seen once never falls.
    fn keep(&mut self, mut backup: Box<Backup>) -> Box<Backup> {
        if self.network.as_ref().is_none_or(|stored| !stored.network.is(&backup.network)) {
            return backup;
        }
        self.seen_key(&backup.key.key);
        if let Some(kept) = &self.kept {
            backup.raise_to(kept);
        }
        let taken = Taken { from: KeptFrom::Dongle, unix_ms: self.wall.known_ms() };
        let before = self.taken.replace(taken);
        let says_more = self.kept.as_ref().is_none_or(|kept| says_more(&backup, kept));
        if says_more {
            self.kept = Some(backup.clone());
        }
        if says_more || is_old(before, taken) {
            self.writer.mark(RecordKey::Kept);
        }
        backup
    }

    /// The backup that is kept, if there is one.
    #[must_use]
    pub fn kept(&self) -> Option<Kept> {
        let devices = self.kept.as_ref()?.devices.len();
        // A record of a version that did not say was written of what the dongle told.
        let Taken { from, unix_ms } = self.taken.unwrap_or(Taken { from: KeptFrom::Dongle, unix_ms: None });
        Some(Kept { from, at: unix_ms, devices })
    }
}

/// Whether a backup that says no more is written for its date alone.
fn is_old(before: Option<Taken>, now: Taken) -> bool {
    let Some(at) = now.unix_ms else { return false };
    before.is_none_or(|before| {
        before.from != now.from || before.unix_ms.is_none_or(|before| before.abs_diff(at) >= DATED_MS)
    })
}

/// Whether a backup has to be written over the one before it.
fn says_more(new: &Backup, old: &Backup) -> bool {
    let far = |new: u32, old: u32| new.abs_diff(old) >= COUNTER_STEP;
    let keys = |backup: &Backup| (backup.key.key.clone(), backup.key.number, backup.hashed_link_keys.clone());
    if new.network != old.network
        || (new.channels, new.update_id) != (old.channels, old.update_id)
        || keys(new) != keys(old)
        || far(new.key.frame_counter, old.key.frame_counter)
        || new.devices.len() != old.devices.len()
    {
        return true;
    }
    new.devices.iter().zip(&old.devices).any(|(new, old)| {
        (new.eui, new.nwk, new.child) != (old.eui, old.nwk, old.child)
            || match (&new.link_key, &old.link_key) {
                (None, None) => false,
                (Some(new), Some(old)) => new.key != old.key || far(new.tx_counter, old.tx_counter),
                _ => true,
            }
    })
}
