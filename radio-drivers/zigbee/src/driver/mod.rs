//! The driver: `cardea-radio`'s contract over any [`Coordinator`](crate::coordinator::Coordinator).
//!
//! [`Driver`] is a state machine without task, clock or store: commands of the gateway, events of a coordinator, orders of
//! an operator and answers of the store go in; orders for the coordinator, events for the gateway, transactions for the
//! store and a time to be called again come out. [`run`] is the shell around it, [`Dongle`] the coordinator on a serial port.
//!
//! What it promises: a device is what its EUI-64 says, whatever its address; it is admitted durably before the network
//! opens for it, and carried only when it joined with a link key of its own; each frame has one outcome and is not given to
//! a dongle that could still be sending it when its deadline has passed; a network is formed, replaced, restored or adopted by an
//! operator alone, and its key is durable before the dongle has it.

mod admission;
mod backups;
mod device;
mod entrant;
mod kept;
mod load;
mod network;
mod orders;
pub mod ordinary;
mod restore;
mod rotation;
mod routers;
mod shell;
mod store;
mod strangers;
mod survey;
mod traffic;
mod wall;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cardea_framing::LockId;
use cardea_radio::{Change, Command, Event, Health, Millis, NetworkStoreError};

use crate::backup::Backup;
use crate::coordinator::{self, Answer, Failure, Network, Order, State};
use crate::tunnel::Tunnel;
use crate::types::{Eui64, Key};
use admission::Joins;
use backups::{Backups, Taken};
use device::{Device, Identity};
use network::Formation;
use ordinary::{Fleet, OrdinaryConfig};
use restore::Restore;
use routers::Routers;
use store::{RecordKey, StoredNetwork, StoredPlan, Writer};
use strangers::Strangers;
use survey::Survey;
use traffic::Flight;

pub use backups::{Kept, KeptFrom};
pub use orders::{Counters, NetworkDone, NetworkFacts, NetworkOrder};
pub use shell::{
    Desk, Dongle, DriverError, Ends, Family, FlowControl, NetworkOrders, Serial, network_orders, run,
};
pub use survey::{Behind, MapDevice, MapRole, RadioMap};
pub use wall::{Wall, WallSource};

/// Our endpoint.
pub(crate) const ENDPOINT: u8 = 1;
/// Uplinks wait in the event queue while the gateway is behind; beyond so many they are shed.
const MAX_EVENTS: usize = 1_024;
/// Questions of ours that may be unanswered.
const MAX_ASKED: usize = 256;

/// What the operator decides about a Zigbee network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverConfig {
    /// Channels that a network may be formed on; bit n: channel n, 11–26.
    pub channels: u32,
    /// The cluster of the sealed tunnel.
    pub tunnel: Tunnel,
    /// More admissions than this are refused.
    pub max_devices: usize,
    /// Ordinary locks, which are not end-to-end protected; `None`: none is let in or listened to.
    pub ordinary: Option<OrdinaryConfig>,
}

/// A stored record cannot be read. Running on without it would lose a lock silently, or the network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "radio network store: the record {0} cannot be read; restore a backup, or remove the lock and admit it again"
)]
pub struct RecordError(String);

/// Whom a question was for.
enum Asked {
    Interview(LockId),
    Leave(Eui64),
    Ordinary(Eui64),
    /// Of the survey, one at a time.
    Neighbours,
}

/// One Zigbee network. Drive it with `handle_*`, then empty `poll_order`, `poll_commit`, `poll_reply` and `poll_event`.
pub struct Driver {
    config: DriverConfig,
    state: State,
    network: Option<StoredNetwork>,
    plan: Option<StoredPlan>,
    formation: Option<Formation>,
    /// What is being restored, or was when the power failed.
    restore: Option<Restore>,
    /// The key that follows, or may have followed when the power failed.
    next_key: Option<Key>,
    /// The last backup of the network.
    kept: Option<Box<Backup>>,
    /// From where and when, as far as that is known.
    taken: Option<Taken>,
    backups: Backups,
    strangers: Strangers,
    devices: BTreeMap<LockId, Device>,
    by_eui: BTreeMap<Eui64, LockId>,
    /// To be stored, admitted then.
    admitting: BTreeMap<LockId, Identity>,
    joins: Joins,
    fleet: Fleet,
    routers: Routers,
    survey: Survey,
    /// Removed and not seen to leave; true: it is being told.
    leaving: BTreeMap<Eui64, bool>,
    flights: BTreeMap<u64, Flight>,
    asked: BTreeMap<u64, Asked>,
    next_question: u64,
    /// When interviews are tried again.
    due: BTreeSet<(Millis, LockId)>,
    /// Of ZCL frames.
    sequence: u8,
    writer: Writer,
    /// What the operator should know, and until when.
    notice: Option<(String, Millis)>,
    health: Option<Health>,
    counters: Counters,
    now: Millis,
    wall: Wall,
    orders: VecDeque<Order>,
    events: VecDeque<Event>,
    replies: VecDeque<(u64, Result<NetworkDone, String>)>,
}

impl Driver {
    /// The network that the coordinator is to find; any other is foreign, and so is one whose restore was interrupted.
    #[must_use]
    pub fn expected(&self) -> Option<Network> {
        self.expected_network()
    }

    /// A command of the gateway.
    pub fn handle_command(&mut self, now: Millis, command: Command) {
        match command {
            Command::Admit(admission) => self.admit(admission),
            Command::Remove(lock) => self.remove(lock),
            Command::Send(send) => self.send(now, send),
            Command::Cancel { handle } => self.cancel(handle),
            // The shell's: there is nothing that is not being stored.
            Command::Stop => {}
        }
        self.progress(now);
    }

    /// What time of day it is. To be told before each event; without it no lock is told and nothing is dated.
    pub fn handle_wall(&mut self, wall: Wall) {
        self.wall = wall;
    }

    /// An event of the coordinator.
    pub fn handle_event(&mut self, now: Millis, event: coordinator::Event) {
        use coordinator::Event as E;
        let before = (self.is_up(), self.network.as_ref().map(|stored| stored.network));
        match &event {
            E::Joined { eui, .. } | E::Left { eui } => self.survey.forget(*eui),
            E::Rejoined { eui, .. } => self.survey.moved(*eui),
            _ => {}
        }
        let Some(event) = self.ordinary_event(now, event) else { return self.progress(now) };
        let Some(event) = self.router_event(now, event) else { return self.progress(now) };
        match event {
            E::State(state) => self.state_changed(now, state),
            E::Formed(result) => self.formed(now, result),
            E::Open(open) => tracing::debug!(open, "the Zigbee network was opened or closed"),
            E::Joined { eui, .. } => self.joined(now, eui),
            E::Rejoined { eui, .. } => self.rejoined(now, eui),
            E::JoinFailed { eui, reason } => self.join_failed(now, eui, &reason),
            E::Left { eui } => self.left(now, eui),
            E::Received(received) => self.received(now, received),
            E::Outcome { handle, outcome } => self.outcome(handle, outcome),
            E::Answer { handle, answer } => self.answered(now, handle, answer),
            E::BackedUp(result) => self.backed_up(now, result),
            E::KeyRotated(result) => self.key_rotated(now, result),
        }
        self.ordinary_after(now, before);
        self.progress(now);
    }

    /// The store's answer to a commit of [`poll_commit`](Self::poll_commit).
    pub fn handle_stored(&mut self, now: Millis, commit: u64, result: Result<(), NetworkStoreError>) {
        let failure = result.err().map(|error| error.to_string());
        let Some(batch) = self.writer.finish(now, commit, failure.clone()) else { return };
        match failure {
            None => {
                for (lock, identity) in batch.admissions {
                    self.admitted(lock, identity);
                }
                self.order_stored();
                self.network_stored();
                self.ordinary_stored(&batch.keys, None);
                self.routers_stored(&batch.keys, None);
            }
            Some(error) => {
                tracing::error!(%error, "the Zigbee network's records could not be stored");
                self.ordinary_stored(&batch.keys, Some(&error));
                self.routers_stored(&batch.keys, Some(&error));
                for lock in batch.admissions.into_keys() {
                    self.events.push_back(Event::Admitted { lock, result: Err(error.clone()) });
                }
                self.formation_not_stored(&error);
            }
        }
        self.progress(now);
    }

    /// To be called at the time that [`poll_timeout`](Self::poll_timeout) gave; earlier or later does no harm.
    pub fn handle_timeout(&mut self, now: Millis) {
        self.writer.handle_timeout(now);
        self.flights_timeout(now);
        self.formation_timeout(now);
        self.backup_timeout(now);
        self.ordinary_timeout(now);
        self.survey_timeout(now);
        self.notice.take_if(|(_, until)| *until <= now);
        while self.is_up()
            && let Some((_, lock)) = self.due.first().copied().filter(|(at, _)| *at <= now)
        {
            self.due.pop_first();
            self.interview(now, lock);
        }
        self.progress(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Millis> {
        [
            self.writer.poll_timeout(),
            self.flights_due(),
            self.formation.as_ref().map(|formation| formation.until),
            self.notice.as_ref().map(|(_, until)| *until),
            self.due.first().filter(|_| self.is_up()).map(|(at, _)| *at),
            self.joins.due(self.now).filter(|_| self.is_up()),
            self.backup_due(),
            self.fleet.poll_timeout(),
            self.survey_due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next order for the coordinator.
    pub fn poll_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// The next transaction for the store; answer it with [`handle_stored`](Self::handle_stored).
    pub fn poll_commit(&mut self) -> Option<(u64, Vec<Change>)> {
        let keys = self.writer.due()?.clone();
        let mut admissions = BTreeMap::new();
        let batch = keys.iter().map(|key| {
            let value = match key {
                RecordKey::Network => self.network.as_ref().map(StoredNetwork::to_record),
                RecordKey::Plan => self.plan.as_ref().map(StoredPlan::to_record),
                RecordKey::Leaving(eui) => self.leaving.contains_key(eui).then(Vec::new),
                // The store erases what it is given.
                RecordKey::Kept => {
                    self.kept.as_ref().map(|backup| std::mem::take(&mut *kept::to_record(backup, self.taken)))
                }
                RecordKey::Restore => self
                    .restore
                    .as_ref()
                    .map(|restore| std::mem::take(&mut *kept::to_record(&restore.backup, None))),
                RecordKey::NextKey => self.next_key.as_ref().map(store::next_key_to_record),
                RecordKey::Ordinary(eui) => self.fleet.record(*eui),
                RecordKey::Router(eui) => self.routers.record(*eui),
                RecordKey::Device(lock) => match self.admitting.remove(lock) {
                    Some(identity) => {
                        let record = Device::new(identity.clone()).to_record();
                        admissions.insert(*lock, identity);
                        Some(record)
                    }
                    None => self.devices.get(lock).map(Device::to_record),
                },
            };
            Change { key: key.encode(), value }
        });
        let batch = batch.collect();
        Some((self.writer.start(admissions), batch))
    }

    /// The next event for the gateway.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next answer to an operator's order, with its token.
    pub fn poll_reply(&mut self) -> Option<(u64, Result<NetworkDone, String>)> {
        self.replies.pop_front()
    }

    /// Orders that wait to be taken.
    #[must_use]
    pub fn has_orders(&self) -> bool {
        !self.orders.is_empty()
    }

    /// What waits to be taken. Each input adds a few: who does not take it must not give more.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.events.len().max(self.orders.len()).max(self.fleet.backlog())
    }

    /// Whether something is not durable yet.
    #[must_use]
    pub fn has_commits(&self) -> bool {
        self.writer.is_busy()
    }

    /// What was not carried so far, and why.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let network = NetworkFacts {
            network: self.network.as_ref().map(|stored| stored.network),
            open_until: self.joins.open_until(),
        };
        Counters { network, ..self.counters }
    }

    fn progress(&mut self, now: Millis) {
        self.now = now;
        self.ordinary_progress();
        self.next_join(now);
        self.give_order();
        self.next_backup(now);
        // The last of all, since everything else comes before it.
        self.survey_progress(now);
        self.check_health();
    }

    /// Room for a question, and its handle.
    fn ask(&mut self, asked: Asked) -> Option<u64> {
        if self.asked.len() >= MAX_ASKED {
            return None;
        }
        let handle = self.next_question;
        self.next_question = handle.wrapping_add(1);
        self.asked.insert(handle, asked);
        Some(handle)
    }

    fn answered(&mut self, now: Millis, handle: u64, answer: Result<Answer, Failure>) {
        match self.asked.remove(&handle) {
            Some(Asked::Interview(lock)) => self.interview_answered(now, lock, answer),
            Some(Asked::Ordinary(eui)) => self.ordinary_answered(now, eui, answer),
            Some(Asked::Leave(eui)) => self.left_when_told(now, eui, answer == Ok(Answer::Done)),
            Some(Asked::Neighbours) => self.survey_answered(now, answer),
            None => {}
        }
    }
}
