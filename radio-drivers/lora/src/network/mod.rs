//! The network and join server as a state machine: datagrams, commands and store answers go in; datagrams, store
//! commits, events and a time to be called again come out. It reads no clock and does no input or output.

mod device;
mod downlink;
mod join;
mod shared;
mod uplink;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use cardea_framing::LockId;
use cardea_radio::{
    Admission, AdmissionSecret, Change, Command, Event, Failure, Health, Millis, NetworkStoreError, Outcome,
    Record, Refusal,
};

use crate::config::{ConfigError, LoraConfig};
use crate::frame::Key;
use crate::link::{ABSENT_AFTER, Forwarder};
use crate::semtech::Packet;
use crate::session::{Identity, RecordKey, Session};
use device::Device;
use shared::{Purpose, Shared};

pub use crate::airtime::BandUse;
pub use shared::Counters;

/// How many DevNonces of a device are remembered under [`DevNoncePolicy::Unused`](crate::DevNoncePolicy::Unused).
pub const MAX_USED_NONCES: usize = 512;

/// Uplinks wait in the event queue while the gateway is behind; beyond so many they are shed, and the lock's own
/// retransmission brings them back.
const MAX_EVENTS: usize = 1024;

/// How long after a store failure the next attempt is made, if nobody else makes one.
const PROBE_AFTER: Millis = 5_000;

/// A warning of a foreign packet forwarder is given once in so many milliseconds.
const FOREIGN_EVERY: Millis = 60_000;

/// Wall-clock time as the daemon knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wall {
    /// Unix time, milliseconds.
    pub unix_ms: u64,
    /// Whether that can be relied on. Devices that ask for the time get no answer while it is false.
    pub synced: bool,
}

/// Why the network cannot start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A stored record cannot be read. Running on without it would reuse counters or lose a lock silently.
    #[error(
        "radio network store: the record {0} cannot be read; restore a backup, or remove the lock and admit it again"
    )]
    Record(String),
}

/// One LoRaWAN network. Drive it with `handle_*`, then empty `poll_transmit`, `poll_commit` and `poll_event`.
pub struct Network {
    devices: BTreeMap<LockId, Device>,
    by_dev_eui: BTreeMap<[u8; 8], LockId>,
    /// DevAddrs of active and pending sessions; several devices may have the same, their MICs tell them apart.
    by_dev_addr: BTreeSet<(u32, LockId)>,
    /// Queued sends, to find what to cancel.
    by_handle: BTreeMap<u64, LockId>,
    timers: BTreeSet<(Millis, LockId)>,
    forwarder: Option<Forwarder>,
    health: Option<Health>,
    /// When to find out whether the store works again.
    probe_at: Option<Millis>,
    /// Until then, foreign forwarders are only worth a line at debug level.
    foreign_quiet_until: Option<Millis>,
    next_join_nonce: u32,
    shared: Shared,
}

impl Network {
    /// A network with what the store remembers of it.
    ///
    /// # Errors
    /// When a setting cannot work or a record cannot be read.
    pub fn new(config: LoraConfig, records: Vec<Record>) -> Result<Self, NetworkError> {
        config.check()?;
        let mut network = Self {
            devices: BTreeMap::new(),
            by_dev_eui: BTreeMap::new(),
            by_dev_addr: BTreeSet::new(),
            by_handle: BTreeMap::new(),
            timers: BTreeSet::new(),
            forwarder: None,
            health: None,
            probe_at: None,
            foreign_quiet_until: None,
            // Some devices take 0 for a nonce that they have seen.
            next_join_nonce: 1,
            shared: Shared::new(config)?,
        };
        let unreadable =
            |key: &[u8]| NetworkError::Record(String::from_utf8_lossy(key).escape_debug().to_string());
        let mut sessions = Vec::new();
        for (key, value) in records {
            match RecordKey::decode(&key) {
                Some(RecordKey::JoinNonce) => {
                    let limit = value.try_into().map(u32::from_be_bytes).map_err(|_| unreadable(&key))?;
                    network.next_join_nonce = limit;
                    network.shared.durable_join_nonce = limit;
                    network.shared.submitted_join_nonce = limit;
                }
                Some(RecordKey::Identity(lock)) => {
                    let identity = Identity::from_record(&value).ok_or_else(|| unreadable(&key))?;
                    network.by_dev_eui.insert(identity.dev_eui, lock);
                    network.devices.insert(lock, Device::new(identity));
                }
                Some(RecordKey::Active(lock)) => sessions.push((lock, key, value, true)),
                Some(RecordKey::Pending(lock)) => sessions.push((lock, key, value, false)),
                None => {}
            }
        }
        for (lock, key, value, active) in sessions {
            let found = Session::from_records(&value).ok_or_else(|| unreadable(&key))?;
            // A session without a device is what a removal cut short leaves behind: nobody can use it.
            let Some(device) = network.devices.get_mut(&lock) else { continue };
            network.by_dev_addr.extend(found.iter().map(|session| (session.dev_addr, lock)));
            if active {
                device.active = found.into_iter().next_back();
                device.report_link(lock, &mut network.shared);
            } else {
                device.pending = found.into();
            }
        }
        for device in network.devices.values_mut() {
            // Left behind by an activation whose commit failed: the same session with the counters of its join. Its
            // entry in `by_dev_addr` is the active session's too.
            let active = device.active.as_ref();
            device.pending.retain(|pending| active.is_none_or(|active| !active.is_same(pending)));
        }
        network.shared.events.push_front(Event::Admits(network.devices.keys().copied().collect()));
        network.check_health(0);
        Ok(network)
    }

    /// A datagram from `from`, heard at `now`.
    pub fn handle_datagram(&mut self, now: Millis, wall: Wall, from: SocketAddr, datagram: &[u8]) {
        let packet = match Packet::parse(datagram) {
            Ok(packet) => packet,
            Err(error) => {
                self.shared.counters.malformed += 1;
                tracing::debug!(%from, %error, "not a packet forwarder");
                return;
            }
        };
        match packet {
            Packet::PushData { token, eui, received, unreadable } => {
                if !self.accept_forwarder(from, eui, now, true) {
                    return;
                }
                self.shared.datagrams.push_back((from, Packet::PushAck { token }.encode()));
                self.shared.counters.unusable += unreadable as u64;
                for packet in received {
                    self.uplink(now, wall, packet);
                }
            }
            Packet::PullData { token, eui } => {
                if !self.accept_forwarder(from, eui, now, false) {
                    return;
                }
                self.shared.datagrams.push_back((from, Packet::PullAck { token }.encode()));
                if let Some(forwarder) = &mut self.forwarder {
                    forwarder.pull_address = Some(from);
                    forwarder.last_pull = now;
                }
            }
            Packet::TxAck { token, eui, error } => {
                if self.accept_forwarder(from, eui, now, false) {
                    self.tx_ack(now, token, error);
                }
            }
            Packet::PushAck { .. } | Packet::PullAck { .. } | Packet::PullResp { .. } => {
                self.shared.counters.malformed += 1;
            }
        }
        self.check_health(now);
    }

    /// A command of the gateway.
    pub fn handle_command(&mut self, now: Millis, command: Command) {
        match command {
            Command::Admit(admission) => self.admit(admission),
            Command::Remove(lock) => self.remove(lock),
            Command::Send(send) => self.send(now, send),
            Command::Cancel { handle } => {
                if let Some(lock) = self.by_handle.remove(&handle)
                    && let Some(device) = self.devices.get_mut(&lock)
                    && device.queued.take_if(|send| send.handle == handle).is_some()
                {
                    self.shared.outcome(handle, Outcome::Failed(Failure::Cancelled));
                    self.service(lock, now);
                }
            }
            Command::Stop => {
                // One transaction for all of them: the counters that were not due yet.
                let mut batch = Vec::new();
                for (lock, device) in &mut self.devices {
                    batch.extend(device.unsaved_changes(*lock));
                }
                if !batch.is_empty() {
                    self.shared.commit(batch, Purpose::Stop);
                }
            }
        }
    }

    /// The store's answer to a commit of [`poll_commit`](Self::poll_commit).
    pub fn handle_stored(&mut self, now: Millis, commit: u64, result: Result<(), NetworkStoreError>) {
        let Some(purpose) = self.shared.commits.remove(&commit) else { return };
        self.shared.store_failing = result.as_ref().err().map(ToString::to_string);
        self.probe_at = self.shared.store_failing.is_some().then_some(now.saturating_add(PROBE_AFTER));
        if let Err(error) = &result {
            self.shared.counters.store_failures += 1;
            tracing::error!(%error, "a LoRaWAN counter or key could not be stored");
        }
        match purpose {
            Purpose::Admit { lock, device } => self.admitted(lock, *device, result),
            Purpose::Join(joining) => self.joined(now, *joining, result.is_ok()),
            Purpose::Session { lock, dev_addr, down } => {
                if let Some(device) = self.devices.get_mut(&lock) {
                    let handle = device.stored(now, dev_addr, down, result.is_ok(), &mut self.shared);
                    if let Some(handle) = handle {
                        self.by_handle.remove(&handle);
                    }
                    self.service(lock, now);
                }
            }
            Purpose::Remove | Purpose::Probe | Purpose::Stop => {}
        }
        self.check_health(now);
    }

    /// To be called at the time that [`poll_timeout`](Self::poll_timeout) gave; earlier or later does no harm.
    pub fn handle_timeout(&mut self, now: Millis) {
        self.expire_flights(now);
        if self.probe_at.take_if(|at| *at <= now).is_some() {
            // Only whether it can be written is of interest. A join's commit may be under way: never less than that says.
            let value = Some(self.shared.submitted_join_nonce.to_be_bytes().to_vec());
            self.shared.commit(vec![Change { key: RecordKey::JoinNonce.encode(), value }], Purpose::Probe);
        }
        while let Some((at, lock)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            self.service(lock, now);
        }
        self.check_health(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Millis> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let flight = self.shared.flights.values().map(|flight| flight.until).min();
        let absence = match (&self.forwarder, &self.health) {
            (Some(forwarder), Some(Health { up: true, .. })) => {
                Some(forwarder.last_pull.saturating_add(ABSENT_AFTER))
            }
            _ => None,
        };
        [timer, flight, absence, self.probe_at].into_iter().flatten().min()
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.shared.datagrams.pop_front()
    }

    /// The next transaction for the store; answer it with [`handle_stored`](Self::handle_stored).
    pub fn poll_commit(&mut self) -> Option<(u64, Vec<Change>)> {
        self.shared.batches.pop_front()
    }

    /// The next event for the gateway.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.shared.events.pop_front()
    }

    /// Whether a commit still waits for the store's answer.
    #[must_use]
    pub fn has_commits(&self) -> bool {
        !self.shared.commits.is_empty()
    }

    /// What was dropped so far, and why.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.counters
    }

    /// The same, with the air that was used in the hour before `now`.
    #[must_use]
    pub fn counters_at(&self, now: Millis) -> Counters {
        Counters { airtime: self.shared.duty.used(now), ..self.shared.counters }
    }

    /// Counts what is ignored. The log tells it once a minute: senders decide how often it happens.
    fn foreign(&mut self, now: Millis, from: SocketAddr, eui: crate::Eui, what: &'static str) {
        self.shared.counters.foreign_forwarder += 1;
        if self.foreign_quiet_until.is_none_or(|until| now >= until) {
            self.foreign_quiet_until = Some(now.saturating_add(FOREIGN_EVERY));
            tracing::warn!(%from, %eui, "{what}");
        } else {
            tracing::debug!(%from, %eui, "{what}");
        }
    }

    /// True for the forwarder that serves us; another may take its place once it has been silent for a while.
    /// `pushed`: the datagram only brings received packets, which do not depend on where it comes from.
    fn accept_forwarder(&mut self, from: SocketAddr, eui: crate::Eui, now: Millis, pushed: bool) -> bool {
        let listed = &self.shared.config.forwarders;
        if !listed.is_empty() && !listed.contains(&eui) {
            self.foreign(now, from, eui, "a packet forwarder that is not in `forwarders` is ignored");
            return false;
        }
        match &mut self.forwarder {
            // Anybody can write its EUI into a datagram. Where downlinks go is not changed by that while it polls; its
            // port may change.
            Some(forwarder)
                if forwarder.eui == eui
                    && !pushed
                    && forwarder.address(now).is_some_and(|address| address.ip() != from.ip()) =>
            {
                self.foreign(now, from, eui, "another host speaks as the packet forwarder and is ignored");
                return false;
            }
            Some(forwarder) if forwarder.eui == eui => forwarder.last_seen = now,
            Some(forwarder) if now < forwarder.last_seen.saturating_add(ABSENT_AFTER) => {
                self.foreign(now, from, eui, "a second packet forwarder is ignored");
                return false;
            }
            _ => self.forwarder = Some(Forwarder::new(eui, now)),
        }
        true
    }

    /// Tells the gateway when the state of the radio has changed.
    fn check_health(&mut self, now: Millis) {
        self.shared.pull_address = self.forwarder.as_ref().and_then(|forwarder| forwarder.address(now));
        let bind = self.shared.config.bind;
        let health = match (&self.forwarder, self.shared.pull_address, &self.shared.store_failing) {
            // Frames still flow; downlinks until the reserved counters are used up.
            (_, Some(_), Some(error)) => Health {
                up: true,
                detail: format!("{error}; joins fail, and downlinks will, until it can be written again"),
            },
            (_, Some(_), None) => Health { up: true, detail: String::new() },
            (None, None, _) => Health {
                up: false,
                detail: format!(
                    "no packet forwarder yet: set its server address to {bind} (see docs/lorawan.md)"
                ),
            },
            (Some(forwarder), None, _) => Health {
                up: false,
                detail: format!(
                    "packet forwarder {} no longer polls: check its service and its power",
                    forwarder.eui
                ),
            },
        };
        if self.health.as_ref() != Some(&health) {
            self.health = Some(health.clone());
            self.shared.events.push_back(Event::Health(health));
        }
    }

    fn admit(&mut self, Admission { lock, secret }: Admission) {
        let refuse = |shared: &mut Shared, reason: String| {
            shared.events.push_back(Event::Admitted { lock, result: Err(reason) });
        };
        let AdmissionSecret::Lorawan { dev_eui, join_eui, app_key, class } = secret else {
            return refuse(&mut self.shared, "this label is for another radio".to_owned());
        };
        let being_admitted = self.shared.commits.values().any(|purpose| {
            matches!(purpose, Purpose::Admit { lock: other, device } if *other != lock && device.identity.dev_eui == dev_eui)
        });
        if being_admitted || self.by_dev_eui.get(&dev_eui).is_some_and(|owner| *owner != lock) {
            return refuse(
                &mut self.shared,
                format!("DevEUI {} belongs to another lock", hex::encode(dev_eui)),
            );
        }
        if !self.devices.contains_key(&lock) && self.devices.len() >= self.shared.config.max_devices {
            return refuse(
                &mut self.shared,
                format!("{} locks are admitted, which is max_devices", self.devices.len()),
            );
        }
        let app_key: Key = app_key;
        if let Some(device) = self.devices.get_mut(&lock) {
            let known = &device.identity;
            if (known.dev_eui, known.join_eui, known.class) == (dev_eui, join_eui, class)
                && known.app_key == app_key
            {
                self.shared.events.push_back(Event::Admitted { lock, result: Ok(()) });
                return;
            }
            // From here on nothing of the old identity may be written over the new one.
            device.being_replaced = true;
        }
        let identity =
            Identity { class, dev_eui, join_eui, app_key, highest_nonce: None, used_nonces: Vec::new() };
        let batch = vec![
            Change { key: RecordKey::Identity(lock).encode(), value: Some(identity.to_record()) },
            Change { key: RecordKey::Active(lock).encode(), value: None },
            Change { key: RecordKey::Pending(lock).encode(), value: None },
        ];
        self.shared.commit(batch, Purpose::Admit { lock, device: Box::new(Device::new(identity)) });
    }

    fn admitted(&mut self, lock: LockId, device: Device, result: Result<(), NetworkStoreError>) {
        if result.is_ok() {
            self.forget(lock);
            self.by_dev_eui.insert(device.identity.dev_eui, lock);
            self.devices.insert(lock, device);
        } else if let Some(device) = self.devices.get_mut(&lock) {
            device.being_replaced = false;
        }
        let result = result.map_err(|error| error.to_string());
        self.shared.events.push_back(Event::Admitted { lock, result });
    }

    fn remove(&mut self, lock: LockId) {
        if !self.forget(lock) {
            return;
        }
        let keys = [RecordKey::Identity(lock), RecordKey::Active(lock), RecordKey::Pending(lock)];
        let batch = keys.iter().map(|key| Change { key: key.encode(), value: None }).collect();
        self.shared.commit(batch, Purpose::Remove);
        self.shared.events.push_back(Event::Left(lock));
    }

    /// Drops a device from memory, with all that points to it.
    fn forget(&mut self, lock: LockId) -> bool {
        let Some(device) = self.devices.remove(&lock) else { return false };
        self.by_dev_eui.remove(&device.identity.dev_eui);
        for session in device.active.iter().chain(&device.pending) {
            self.by_dev_addr.remove(&(session.dev_addr, lock));
        }
        if let Some(at) = device.timer {
            self.timers.remove(&(at, lock));
        }
        if let Some(send) = device.queued {
            self.by_handle.remove(&send.handle);
            self.shared.outcome(send.handle, Outcome::Failed(Failure::Cancelled));
        }
        true
    }

    fn send(&mut self, now: Millis, send: cardea_radio::Send) {
        let (handle, lock) = (send.handle, send.lock);
        let queued = match self.devices.get_mut(&lock) {
            None => Err(Outcome::Refused(Refusal::NotJoined)),
            Some(device) => device.enqueue(now, send, &self.shared),
        };
        match queued {
            Err(outcome) => self.shared.outcome(handle, outcome),
            Ok(()) => {
                self.by_handle.insert(handle, lock);
                self.service(lock, now);
            }
        }
    }

    /// Lets a device do what is due, and notes when to come back to it.
    fn service(&mut self, lock: LockId, now: Millis) {
        let Some(device) = self.devices.get_mut(&lock) else { return };
        let before = device.timer.take();
        let queued = device.queued.as_ref().map(|send| send.handle);
        device.service(lock, now, &mut self.shared);
        if let Some(handle) = queued.filter(|_| device.queued.is_none()) {
            self.by_handle.remove(&handle);
        }
        if let Some(at) = before {
            self.timers.remove(&(at, lock));
        }
        device.timer = device.next_time(now, &self.shared);
        if let Some(at) = device.timer {
            self.timers.insert((at, lock));
        }
    }
}

/// Adds to an event queue unless it is full of uplinks already.
fn push_uplink(events: &mut VecDeque<Event>, event: Event, shed: &mut u64) {
    if events.len() < MAX_EVENTS {
        events.push_back(event);
    } else {
        *shed += 1;
    }
}
