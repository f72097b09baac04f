//! Who is in the network: admissions and their turn to join, those who join unasked, those who are to leave.

use std::collections::VecDeque;

use cardea_framing::LockId;
use cardea_radio::{Admission, AdmissionSecret, Event, Millis};

use super::device::{Device, Identity, Interview};
use super::entrant::Is;
use super::store::RecordKey;
use super::{Asked, Driver};
use crate::coordinator::{JoinFailure, MAX_PERMIT_SECONDS, Order, Question};
use crate::types::{Eui64, InstallCode};

/// A coordinator that says nothing of an admission for so long after its time has lost it, milliseconds.
const LOST_MS: Millis = 120_000;
/// Before an admission that the coordinator had no room for is given to it again, milliseconds.
const BUSY_MS: Millis = 10_000;
/// Admissions that the coordinator has at once.
const AT_ONCE: usize = 32;
/// Removed devices that are remembered until they have left. Beyond that the one with the lowest address is forgotten: it
/// has no install code any more, and is told to leave like any stranger when it joins.
const MAX_LEAVING: usize = 1_024;

/// Who may join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joiner {
    Sealed(LockId),
    Ordinary(Eui64),
    Router(Eui64),
}

impl From<LockId> for Joiner {
    fn from(lock: LockId) -> Self {
        Self::Sealed(lock)
    }
}

impl std::fmt::Display for Joiner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sealed(lock) => write!(f, "lock {lock}"),
            Self::Ordinary(eui) => write!(f, "ordinary lock {eui}"),
            Self::Router(eui) => write!(f, "router {eui}"),
        }
    }
}

/// Whose turn it is to join. The coordinator knows no other, so nobody else's install code lets anybody in.
pub(super) struct Joins {
    queue: VecDeque<Waiting>,
    open: Vec<Open>,
    /// As many as the dongle was seen to have room for.
    pub(super) at_once: usize,
    not_before: Millis,
}

impl Default for Joins {
    fn default() -> Self {
        Self { queue: VecDeque::new(), open: Vec::new(), at_once: AT_ONCE, not_before: 0 }
    }
}

#[derive(Clone, Copy)]
struct Waiting {
    who: Joiner,
    knocked: bool,
}

struct Open {
    who: Joiner,
    eui: Eui64,
    until: Millis,
    /// It was at the door before its turn, and will be there again.
    knocked: bool,
}

impl Joins {
    pub(super) fn push(&mut self, who: impl Into<Joiner>) {
        let who = who.into();
        let open = self.open.iter().any(|open| open.who == who);
        if !open && !self.waits(who) {
            self.queue.push_back(Waiting { who, knocked: false });
        }
    }

    fn waits(&self, who: Joiner) -> bool {
        self.queue.iter().any(|waiting| waiting.who == who)
    }

    /// It is in the network: nothing need be opened for it.
    pub(super) fn is_in(&mut self, who: impl Into<Joiner>) {
        let who = who.into();
        self.queue.retain(|waiting| waiting.who != who);
    }

    pub(super) fn forget(&mut self, who: impl Into<Joiner>) {
        let who = who.into();
        self.queue.retain(|waiting| waiting.who != who);
        self.open.retain(|open| open.who != who);
    }

    /// Ends the turn of this device; who it is, if it was its turn.
    pub(super) fn ended(&mut self, eui: Eui64) -> Option<Joiner> {
        let place = self.open.iter().position(|open| open.eui == eui)?;
        Some(self.open.remove(place).who)
    }

    /// It is at the door before its turn: it is the next, in the place of the one that has been silent for longest. Who that
    /// was, if there was no room. None gives way that was at the door itself: were it so, more at the door than the dongle has
    /// room for would displace one another before any of them tries again.
    fn knocked(&mut self, who: Joiner) -> Option<Eui64> {
        self.queue.retain(|waiting| waiting.who != who);
        let before = self.queue.iter().take_while(|waiting| waiting.knocked).count();
        self.queue.insert(before, Waiting { who, knocked: true });
        self.not_before = 0;
        if self.open.len() < self.at_once {
            return None;
        }
        let silent = self.open.iter().enumerate().filter(|(_, open)| !open.knocked);
        let oldest = silent.min_by_key(|(_, open)| open.until)?;
        let Open { who, eui, .. } = self.open.remove(oldest.0);
        self.queue.push_back(Waiting { who, knocked: false });
        Some(eui)
    }

    /// Until when somebody may join.
    pub(super) fn open_until(&self) -> Option<Millis> {
        self.open.iter().map(|open| open.until).max()
    }

    /// Nobody may join, and nobody waits for that.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.open.is_empty()
    }

    pub(super) fn due(&self, now: Millis) -> Option<Millis> {
        let waits = (!self.queue.is_empty() && self.open.len() < self.at_once).then_some(self.not_before);
        waits.filter(|at| *at > now).into_iter().chain(self.open.iter().map(|open| open.until)).min()
    }
}

impl Driver {
    pub(super) fn admit(&mut self, Admission { lock, secret }: Admission) {
        let result = self.admissible(lock, secret);
        match result {
            Ok(Some(identity)) => {
                self.admitting.insert(lock, identity);
                self.writer.mark_urgent(RecordKey::Device(lock));
            }
            Ok(None) => {
                // The installer stands at the door again.
                self.joins.push(lock);
                self.events.push_back(Event::Admitted { lock, result: Ok(()) });
            }
            Err(reason) => self.events.push_back(Event::Admitted { lock, result: Err(reason) }),
        }
    }

    /// What is to be stored; `None`: it is known already.
    fn admissible(&self, lock: LockId, secret: AdmissionSecret) -> Result<Option<Identity>, String> {
        let AdmissionSecret::Zigbee { eui, install_code } = secret else {
            return Err("this label is for another radio".into());
        };
        let code = InstallCode::new(&install_code).map_err(|error| error.to_string())?;
        let identity = Identity { eui: Eui64(eui), code };
        let coming = self.admitting.iter().chain(self.writer.admissions());
        match self.what_is(identity.eui) {
            Some(Is::Ordinary) => {
                return Err(format!("device {} is admitted as an ordinary lock", identity.eui));
            }
            Some(Is::Router) => return Err(format!("device {} is admitted as a router", identity.eui)),
            Some(Is::Sealed) | None => {}
        }
        let owned = self.by_eui.get(&identity.eui).is_some_and(|owner| *owner != lock);
        if owned || coming.clone().any(|(other, new)| *other != lock && new.eui == identity.eui) {
            return Err(format!("device {} belongs to another lock", identity.eui));
        }
        let pending = self.admitting.contains_key(&lock) || self.writer.admission(lock).is_some();
        match self.devices.get(&lock) {
            Some(device) if device.identity == identity && !pending => return Ok(None),
            Some(_) => {}
            None if self.devices.len().saturating_add(coming.count()) >= self.config.max_devices => {
                return Err(format!("{} locks are admitted, as many as there may be", self.devices.len()));
            }
            None => {}
        }
        Ok(Some(identity))
    }

    /// An admission is durable.
    pub(super) fn admitted(&mut self, lock: LockId, identity: Identity) {
        let mut device = Device::new(identity);
        let eui = device.identity.eui;
        self.interview_dropped(lock);
        if let Some(old) = self.devices.remove(&lock) {
            self.by_eui.remove(&old.identity.eui);
            if old.identity.eui == eui {
                (device.joined, device.endpoint, device.flight) = (old.joined, old.endpoint, old.flight);
            } else {
                self.orders.extend(old.flight.map(|handle| Order::Cancel { handle }));
                self.dismiss(old.identity.eui);
            }
        }
        self.gone(eui);
        if device.joined {
            // What was written is an admission without a past.
            self.writer.mark(RecordKey::Device(lock));
        }
        self.by_eui.insert(eui, lock);
        self.devices.insert(lock, device);
        self.joins.forget(lock);
        self.joins.push(lock);
        self.events.push_back(Event::Admitted { lock, result: Ok(()) });
    }

    pub(super) fn remove(&mut self, lock: LockId) {
        if self.admitting.remove(&lock).is_some() | self.writer.revoke(lock) {
            let result = Err("the lock was removed meanwhile".into());
            self.events.push_back(Event::Admitted { lock, result });
            self.writer.mark_urgent(RecordKey::Device(lock));
        }
        self.interview_dropped(lock);
        let Some(device) = self.devices.remove(&lock) else { return };
        self.by_eui.remove(&device.identity.eui);
        self.joins.forget(lock);
        self.orders.extend(device.flight.map(|handle| Order::Cancel { handle }));
        self.writer.mark_urgent(RecordKey::Device(lock));
        self.dismiss(device.identity.eui);
        self.events.push_back(Event::Left(lock));
    }

    /// Its install code is forgotten, and it is told to leave until it has.
    pub(super) fn dismiss(&mut self, eui: Eui64) {
        if self.leaving.len() >= MAX_LEAVING
            && let Some((forgotten, _)) = self.leaving.pop_first()
        {
            self.writer.mark(RecordKey::Leaving(forgotten));
        }
        self.leaving.insert(eui, false);
        self.writer.mark_urgent(RecordKey::Leaving(eui));
        self.orders.push_back(Order::Dismiss(eui));
        self.send_away(eui);
    }

    /// Tells a device to leave, unless it is being told.
    pub(super) fn send_away(&mut self, eui: Eui64) {
        if !self.is_up() || self.leaving.get(&eui).is_some_and(|told| *told) {
            return;
        }
        if let Some(handle) = self.ask(Asked::Leave(eui)) {
            if let Some(told) = self.leaving.get_mut(&eui) {
                *told = true;
            }
            self.orders.push_back(Order::Ask { handle, eui, question: Question::Leave });
        }
    }

    /// A device answered that it leaves, or did not: then it is told again when it is heard.
    pub(super) fn left_when_told(&mut self, now: Millis, eui: Eui64, left: bool) {
        if left {
            self.gone(eui);
            self.backup_soon(now);
        } else if let Some(told) = self.leaving.get_mut(&eui) {
            *told = false;
        }
    }

    pub(super) fn gone(&mut self, eui: Eui64) {
        if self.leaving.remove(&eui).is_some() {
            self.writer.mark(RecordKey::Leaving(eui));
        }
    }

    /// The network runs again: who was removed meanwhile has an install code there still.
    pub(super) fn dismiss_again(&mut self) {
        let leaving: Vec<Eui64> = self.leaving.keys().copied().collect();
        for eui in leaving {
            self.leaving.insert(eui, false);
            self.orders.push_back(Order::Dismiss(eui));
            self.send_away(eui);
        }
    }

    /// It was let in: there is room for its successor.
    pub(super) fn join_ended(&mut self, eui: Eui64) {
        if self.joins.ended(eui).is_some() {
            self.joins.at_once = (self.joins.at_once + 1).min(AT_ONCE);
        }
    }

    /// A device was let in, with a link key of its own.
    pub(super) fn joined(&mut self, now: Millis, eui: Eui64) {
        self.join_ended(eui);
        let Some(lock) = self.by_eui.get(&eui).copied() else { return self.stranger(now, eui) };
        self.notice = None;
        self.backup_soon(now);
        if let Some(device) = self.devices.get_mut(&lock) {
            // Said again: it begins anew.
            device.joined = false;
        }
        self.is_there(now, lock);
        // Its firmware may have changed meanwhile.
        self.interview(now, lock);
    }

    /// A device is there again, maybe under another address: its name is the EUI-64, so nothing else changes.
    pub(super) fn rejoined(&mut self, now: Millis, eui: Eui64) {
        match self.by_eui.get(&eui).copied() {
            Some(lock) => self.is_there(now, lock),
            None => self.stranger(now, eui),
        }
    }

    /// In the network and not admitted.
    fn stranger(&mut self, now: Millis, eui: Eui64) {
        self.counters.strangers = self.counters.strangers.saturating_add(1);
        if !self.leaving.contains_key(&eui) {
            self.alarm(
                now,
                eui,
                format!("device {eui}, which is not admitted, was in the network and is told to leave"),
            );
            self.orders.push_back(Order::Dismiss(eui));
        }
        self.send_away(eui);
    }

    pub(super) fn join_failed(&mut self, now: Millis, eui: Eui64, reason: &JoinFailure) {
        let Some(who) = self.joins.ended(eui) else {
            let knocks = matches!(reason, JoinFailure::Keys | JoinFailure::NoUniqueKey);
            let sealed = self.by_eui.get(&eui).map(|lock| Joiner::Sealed(*lock));
            let mut may_be = sealed.into_iter().chain([Joiner::Ordinary(eui), Joiner::Router(eui)]);
            let waits = may_be.find(|who| self.joins.waits(*who));
            if let Some(who) = waits.filter(|_| knocks) {
                let displaced = self.joins.knocked(who);
                self.orders.extend(displaced.map(Order::Dismiss));
                return;
            }
            if !matches!(reason, JoinFailure::Dismissed | JoinFailure::Interrupted | JoinFailure::Silent) {
                self.counters.strangers = self.counters.strangers.saturating_add(1);
                self.alarm(now, eui, format!("device {eui} tried to join, and was refused"));
            }
            return;
        };
        let why = match reason {
            JoinFailure::Interrupted => return self.joins.push(who),
            JoinFailure::Busy => {
                self.joins.at_once = self.joins.open.len().max(1);
                self.joins.not_before = now.saturating_add(BUSY_MS);
                return self.joins.push(who);
            }
            JoinFailure::Dismissed => return,
            JoinFailure::Silent => "it was not heard while the network was open for it".to_owned(),
            JoinFailure::Keys => "its install code is another one than its label's".to_owned(),
            JoinFailure::NoUniqueKey => "it takes no link key of its own, and was told to leave".to_owned(),
            JoinFailure::Code(words) => format!("the dongle does not take its install code ({words})"),
        };
        self.notice(now, format!("{who} did not join: {why}; admit it again to open the network for it"));
    }

    pub(super) fn left(&mut self, now: Millis, eui: Eui64) {
        self.gone(eui);
        self.backup_soon(now);
        let Some(lock) = self.by_eui.get(&eui).copied() else { return };
        self.interview_dropped(lock);
        if let Some(device) = self.devices.get_mut(&lock)
            && std::mem::replace(&mut device.joined, false)
        {
            device.interview = Interview::Idle;
            self.writer.mark(RecordKey::Device(lock));
            self.events.push_back(Event::Left(lock));
        }
    }

    /// Opens the network for the next ones, as many as there is room for.
    pub(super) fn next_join(&mut self, now: Millis) {
        self.joins.open.retain(|open| open.until > now);
        if !self.is_up() || now < self.joins.not_before {
            return;
        }
        while self.joins.open.len() < self.joins.at_once
            && let Some(Waiting { who, knocked }) = self.joins.queue.pop_front()
        {
            let identity = match who {
                Joiner::Sealed(lock) => self.devices.get(&lock).map(|device| device.identity.clone()),
                Joiner::Ordinary(eui) => self.fleet.identity(eui),
                Joiner::Router(eui) => self.routers.identity(eui),
            };
            let Some(Identity { eui, code }) = identity else { continue };
            let until = now.saturating_add(u64::from(MAX_PERMIT_SECONDS) * 1_000).saturating_add(LOST_MS);
            self.joins.open.push(Open { who, eui, until, knocked });
            self.orders.push_back(Order::Admit { eui, code, seconds: MAX_PERMIT_SECONDS });
        }
    }
}
