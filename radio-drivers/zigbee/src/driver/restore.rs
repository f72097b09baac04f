//! A dongle takes another one's place: what it is given, what is remembered of it meanwhile, who is in the network then.
//!
//! A dongle that is cut off in the middle of a restore may come up in the right network with a counter that all devices have
//! heard already, and would be deaf to none and heard by none. Nothing tells it from a good one but that its restore was not
//! confirmed. So the whole backup is durable before the order goes out, and until the coordinator has said that all of it was
//! kept, a network of that name carries nothing: an operator takes the restore up again, or takes the dongle as it is.

use cardea_radio::{Event, Millis};

use super::backups::{KeptFrom, Taken};
use super::network::Goal;
use super::store::{RecordKey, StoredNetwork};
use super::{Driver, NetworkDone};
use crate::backup::Backup;
use crate::coordinator::{Network, State};

/// A backup that is being restored.
pub(super) struct Restore {
    pub(super) backup: Box<Backup>,
    /// The dongle may have been erased for it.
    touched: bool,
    /// The coordinator has the order.
    ordered: bool,
    /// The one that was interrupted before.
    previous: Option<Box<Self>>,
}

impl Restore {
    pub(super) fn new(backup: Box<Backup>, before: Option<Self>) -> Self {
        let previous = before.and_then(|mut before| {
            let older = before.previous.take();
            if before.touched { Some(Box::new(before)) } else { older }
        });
        Self { backup, touched: false, ordered: false, previous }
    }

    /// One that was being carried out when the daemon stopped, as far as anybody knows.
    pub(super) fn interrupted(backup: Box<Backup>) -> Self {
        Self { backup, touched: true, ordered: false, previous: None }
    }

    /// For the coordinator.
    pub(super) fn ordered(&mut self) -> Box<Backup> {
        self.ordered = true;
        self.backup.clone()
    }

    /// The last one that a dongle may hold in part.
    fn pending(&self) -> Option<&Self> {
        if self.touched { Some(self) } else { self.previous.as_deref() }
    }
}

impl Driver {
    /// What the dongle would be given: the file of the operator, or what the gateway keeps, with counters that are not lower
    /// than any that is known.
    pub(super) fn to_restore(&self, file: Option<Box<Backup>>, replace: bool) -> Result<Box<Backup>, String> {
        let pending = self.restore.as_ref().and_then(Restore::pending);
        let of_file = file.is_some();
        let kept =
            file.or_else(|| pending.map(|restore| restore.backup.clone())).or_else(|| self.kept.clone());
        let mut backup = kept.ok_or(
            "this gateway has no backup of its own yet: it takes the first a few seconds after its network is up",
        )?;
        backup.check().map_err(|error| error.to_string())?;
        if let Some(StoredNetwork { network, key }) = self.network.as_ref().filter(|_| of_file && !replace) {
            if !network.is(&backup.network) {
                return Err(format!(
                    "this is a backup of another network ({}) than this gateway's ({}); --replace gives this gateway's up, and \
                     locks that are not in the backup must join anew",
                    backup.network.extended_pan, network.extended_pan
                ));
            }
            if key.as_ref().is_some_and(|key| *key != backup.key.key) {
                return Err("the network has had another key since this backup was taken, and locks would not understand the old \
                            one: `--from-store` has the new one; --replace restores this one all the same"
                    .into());
            }
        }
        if let Some(kept) = &self.kept {
            backup.raise_to(kept);
        }
        if let Some(pending) = pending {
            // Its dongle may have run for a moment.
            backup.raise_to(&pending.backup.jump().map_err(|error| error.to_string())?);
        }
        // There must be room for the jump that the dongle is given.
        backup.jump().map_err(|error| error.to_string())?;
        Ok(backup)
    }

    /// The coordinator's state has changed: once a restore is ordered, it may have begun.
    pub(super) fn restore_touched(&mut self) {
        if let Some(restore) = self.restore.as_mut().filter(|restore| restore.ordered) {
            restore.touched = true;
        }
    }

    /// The order never reached the dongle.
    pub(super) fn restore_withdrawn(&mut self) {
        if let Some(restore) = self.restore.take() {
            self.restore = restore.previous.map(|previous| *previous);
            self.writer.mark(RecordKey::Restore);
        }
    }

    /// The order came to nothing; what the operator should know beside why.
    pub(super) fn restore_failed(&mut self) -> &'static str {
        let Some(restore) = self.restore.as_mut().filter(|restore| restore.ordered) else { return "" };
        restore.ordered = false;
        if restore.touched {
            return "; the dongle may have been erased by then: `cardea status` says how to take the restore up again";
        }
        self.restore_withdrawn();
        ""
    }

    /// True while a restore waits to be taken up again.
    pub(super) fn is_restore_pending(&self) -> bool {
        self.restore.as_ref().and_then(Restore::pending).is_some()
    }

    /// The network that the dongle is in, if it is that of a restore whose end is not known.
    pub(super) fn interrupted(&self) -> Option<Network> {
        let (State::Up(network) | State::Foreign(network)) = &self.state else { return None };
        let pending = self.restore.as_ref().and_then(Restore::pending)?;
        pending.backup.network.is(network).then_some(*network)
    }

    /// What the coordinator may take for ours at its start.
    pub(super) fn expected_network(&self) -> Option<Network> {
        let network = self.network.as_ref().map(|stored| stored.network)?;
        let pending = self.restore.as_ref().and_then(Restore::pending);
        Some(network).filter(|network| pending.is_none_or(|pending| !pending.backup.network.is(network)))
    }

    /// Our network runs, and the pending restore was of another: it never took place.
    pub(super) fn restore_is_moot(&mut self, network: &Network) {
        if self.formation.is_none()
            && self.restore.take_if(|restore| !restore.backup.network.is(network)).is_some()
        {
            self.writer.mark(RecordKey::Restore);
        }
    }

    /// An operator says that the dongle is good, whatever became of the restore: its network runs already.
    pub(super) fn take_as_it_is(&mut self, now: Millis, network: Network) {
        self.restore = None;
        self.writer.mark(RecordKey::Restore);
        self.writer.mark_urgent(RecordKey::Network);
        self.state_changed(now, State::Up(network));
    }

    /// The backup whose restore this network ends.
    pub(super) fn restored_by(&mut self, network: &Network) -> Option<Box<Backup>> {
        let restore = self.restore.take()?;
        self.writer.mark(RecordKey::Restore);
        (restore.ordered && restore.backup.network.is(network)).then_some(restore.backup)
    }

    /// The dongle has all of it. Who is not in it must join anew; who was removed is told to leave still.
    pub(super) fn restored(&mut self, now: Millis, network: Network, backup: &Backup) {
        let old = self.network.as_ref();
        let same = old.is_some_and(|old| {
            old.network.is(&network) && old.key.as_ref().is_none_or(|key| *key == backup.key.key)
        });
        let mut anew = 0;
        for (lock, device) in &mut self.devices {
            let has = backup.has(device.identity.eui);
            if (!has || !same) && std::mem::replace(&mut device.joined, false) {
                self.events.push_back(Event::Left(*lock));
                self.writer.mark(RecordKey::Device(*lock));
            }
            if !has {
                // One of another network's backup is there when it is heard.
                self.joins.push(*lock);
                anew += 1;
            }
        }
        anew += self.ordinary_restored(now, backup) + self.routers_restored(backup);
        let strangers = backup.devices.iter().filter(|device| self.what_is(device.eui).is_none()).count();
        if self.plan.take().is_some() {
            self.writer.mark(RecordKey::Plan);
        }
        if self.next_key.take().is_some() {
            self.writer.mark(RecordKey::NextKey);
        }
        // The counters that the dongle has from now on: whatever is restored next begins above them.
        self.kept = backup.jump().ok().map(Box::new);
        self.taken = Some(Taken { from: KeptFrom::Restored, unix_ms: self.wall.known_ms() });
        self.writer.mark(RecordKey::Kept);
        self.network = Some(StoredNetwork { network, key: Some(backup.key.key.clone()) });
        let done = NetworkDone::Restored { network, anew, strangers };
        self.save(now, Goal::Restore { replace: false }, done);
    }
}
