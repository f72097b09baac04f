//! All ordinary locks inside the driver: who is admitted, what each wants done, what is told of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cardea_radio::Millis;

use super::lock::{Action, Lock, PROFILE, Purpose};
use super::{Errand, Heard, MAX_ORDINARY, Notice, OrdinaryConfig, Outcome, Request, Rights};
use crate::backup::Backup;
use crate::coordinator::{self, Answer, Failure, Frame, Network, Order, Question, Received};
use crate::driver::admission::Joiner;
use crate::driver::device::Identity;
use crate::driver::entrant::{Entrant, Is};
use crate::driver::store::RecordKey;
use crate::driver::{Asked, Driver, ENDPOINT};
use crate::types::{Eui64, InstallCode};
use crate::wire::DecodeError;

/// Marks the handles of this module's frames; the gateway counts its own from 1.
const HANDLES: u64 = 1 << 63;
/// What is told waits while the gateway is behind; beyond so many, events of locks are shed. What becomes of commands never is.
const MAX_NOTICES: usize = 256;

/// One admitted device, heard or not.
struct Member {
    entrant: Entrant,
    lock: Lock,
}

/// All ordinary locks of one network.
#[derive(Default)]
pub(in crate::driver) struct Fleet {
    config: Option<OrdinaryConfig>,
    members: BTreeMap<Eui64, Member>,
    /// Frames that the coordinator has.
    pub(super) flights: BTreeMap<u64, (Eui64, Purpose)>,
    next_handle: u64,
    /// Whose removal is being stored, and who waits for that.
    removals: BTreeMap<Eui64, u64>,
    notices: VecDeque<Notice>,
    changed: BTreeSet<Eui64>,
}

impl Fleet {
    pub(in crate::driver) fn new(config: Option<OrdinaryConfig>) -> Self {
        Self { config, ..Self::default() }
    }

    /// How many are in the network.
    pub(in crate::driver) fn joined(&self) -> usize {
        self.members.values().filter(|member| member.lock.joined).count()
    }

    /// Whether this device is an ordinary lock that was admitted.
    pub(in crate::driver) fn is_member(&self, eui: Eui64) -> bool {
        self.members.contains_key(&eui)
    }

    /// What lets it join.
    pub(in crate::driver) fn identity(&self, eui: Eui64) -> Option<Identity> {
        self.rights(eui)?;
        self.members.get(&eui)?.entrant.identity(eui)
    }

    fn rights(&self, eui: Eui64) -> Option<Rights> {
        self.config.as_ref()?.devices.get(&eui).copied()
    }

    fn fresh(&self, eui: Eui64) -> Lock {
        let seconds = self.config.as_ref().map_or(u16::MAX, |config| config.report_seconds);
        Lock::new(self.rights(eui), seconds)
    }

    pub(in crate::driver) fn load(&mut self, eui: Eui64, record: &[u8]) -> Result<(), DecodeError> {
        let (entrant, joined) = Entrant::from_record(record)?;
        let mut lock = self.fresh(eui);
        lock.joined = joined;
        self.members.insert(eui, Member { entrant, lock });
        self.changed.insert(eui);
        Ok(())
    }

    pub(in crate::driver) fn record(&self, eui: Eui64) -> Option<Vec<u8>> {
        self.members.get(&eui).map(|member| member.entrant.to_record(member.lock.joined))
    }

    /// Each, and whether it is in the network.
    pub(in crate::driver) fn list(&self) -> impl Iterator<Item = (Eui64, bool)> + '_ {
        self.members.iter().map(|(eui, member)| (*eui, member.lock.joined))
    }

    /// None of their frames is under way.
    pub(in crate::driver) fn is_quiet(&self) -> bool {
        self.flights.is_empty()
    }

    /// Those that are listened to.
    fn heard(&mut self) -> impl Iterator<Item = (&Eui64, &mut Lock)> {
        let devices = self.config.as_ref().map(|config| &config.devices);
        let members =
            self.members.iter_mut().filter(move |(eui, _)| devices.is_some_and(|d| d.contains_key(eui)));
        members.map(|(eui, member)| (eui, &mut member.lock))
    }

    pub(in crate::driver) fn poll_timeout(&self) -> Option<Millis> {
        let config = self.config.as_ref()?;
        let heard = self.members.iter().filter(|(eui, _)| config.devices.contains_key(eui));
        heard.filter_map(|(_, member)| member.lock.poll_timeout()).min()
    }

    pub(in crate::driver) fn backlog(&self) -> usize {
        self.notices.len()
    }

    pub(in crate::driver) fn has_notices(&self) -> bool {
        !self.notices.is_empty() || !self.changed.is_empty()
    }

    /// The next word for the gateway: what happened in its order, then how locks are, each once.
    pub(in crate::driver) fn poll_notice(&mut self, now: Millis) -> Option<Notice> {
        if let Some(notice) = self.notices.pop_front() {
            return Some(notice);
        }
        while let Some(eui) = self.changed.pop_first() {
            if let Some(member) = self.members.get(&eui).filter(|member| member.entrant.is_stored()) {
                return Some(Notice::State(Box::new(member.lock.snapshot(
                    now,
                    eui,
                    self.rights(eui).is_some(),
                ))));
            }
        }
        None
    }

    fn done(&mut self, token: u64, outcome: Outcome) {
        self.notices.push_back(Notice::Done { token, outcome });
    }
}

impl Driver {
    /// Something that the gateway wants of an ordinary lock.
    pub fn handle_errand(&mut self, now: Millis, Errand { token, request }: Errand) {
        match request {
            Request::Admit { eui, code } => match self.admissible_ordinary(eui, &code) {
                Err(why) => self.fleet.done(token, Outcome::Refused(why)),
                Ok(false) => {
                    // The installer stands at the door again.
                    self.joins.push(Joiner::Ordinary(eui));
                    self.fleet.done(token, Outcome::Done);
                }
                Ok(true) => {
                    let lock = self.fleet.fresh(eui);
                    let entrant = Entrant::new(code, token);
                    self.fleet.members.insert(eui, Member { entrant, lock });
                    self.writer.mark_urgent(RecordKey::Ordinary(eui));
                }
            },
            Request::Remove { eui } => match self.fleet.members.remove(&eui) {
                None => {
                    self.fleet.done(token, Outcome::Refused(format!("no ordinary lock {eui} is admitted")));
                }
                Some(mut member) => {
                    self.forget_ordinary(eui, &mut member);
                    self.fleet.removals.insert(eui, token);
                }
            },
            Request::Move { eui, verb, deadline } => {
                let up = self.is_up();
                let listened = self.fleet.rights(eui).is_some();
                match self.fleet.members.get_mut(&eui).filter(|_| listened) {
                    Some(member) => member.lock.command(now, up, token, verb, deadline),
                    None => {
                        self.fleet
                            .done(token, Outcome::Refused(format!("no ordinary lock {eui} is admitted")));
                    }
                }
            }
        }
        self.progress(now);
    }

    /// True: to be stored; false: it is known already.
    fn admissible_ordinary(&self, eui: Eui64, code: &InstallCode) -> Result<bool, String> {
        if self.fleet.config.is_none() {
            return Err("ordinary locks are off: set `enabled = true` in [unsealed]".into());
        }
        if self.fleet.rights(eui).is_none() {
            return Err(format!("device {eui} is not named in `devices` of [unsealed]"));
        }
        match (self.what_is(eui), self.fleet.members.get(&eui)) {
            (Some(Is::Sealed), _) => Err(format!(
                "device {eui} is a sealed lock: nothing of it is read, and nothing unsealed is said to it"
            )),
            (Some(Is::Router), _) => Err(format!("device {eui} is admitted as a router")),
            (_, Some(member)) => member.entrant.again("device", eui, code).map(|()| false),
            (_, None) if self.fleet.members.len() >= MAX_ORDINARY => {
                Err(format!("{MAX_ORDINARY} ordinary locks are admitted, as many as there may be"))
            }
            (_, None) => Ok(true),
        }
    }

    fn forget_ordinary(&mut self, eui: Eui64, member: &mut Member) {
        if let Some(token) = member.entrant.stored() {
            self.fleet.done(token, Outcome::Refused("the lock was removed meanwhile".into()));
        }
        member.lock.give_up();
        self.take_actions(eui, member);
        self.asked.retain(|_, asked| !matches!(asked, Asked::Ordinary(whose) if *whose == eui));
        let flying: Vec<u64> = self
            .fleet
            .flights
            .iter()
            .filter(|(_, (whose, _))| *whose == eui)
            .map(|(handle, _)| *handle)
            .collect();
        for handle in flying {
            self.fleet.flights.remove(&handle);
            self.orders.push_back(Order::Cancel { handle });
        }
        self.joins.forget(Joiner::Ordinary(eui));
        self.writer.mark_urgent(RecordKey::Ordinary(eui));
        self.dismiss(eui);
        self.fleet.changed.remove(&eui);
        self.fleet.notices.push_back(Notice::Removed(eui));
    }

    /// What was written of ordinary locks is durable, or is not.
    pub(in crate::driver) fn ordinary_stored(&mut self, keys: &BTreeSet<RecordKey>, failure: Option<&str>) {
        for key in keys {
            let RecordKey::Ordinary(eui) = *key else { continue };
            if let Some(token) = self.fleet.removals.remove(&eui) {
                let refused = failure.map(|error| Outcome::Refused(error.to_owned()));
                self.fleet.done(token, refused.unwrap_or(Outcome::Done));
            }
            let Some(member) = self.fleet.members.get_mut(&eui) else { continue };
            let Some(token) = member.entrant.stored() else { continue };
            match failure {
                None => {
                    self.welcome(eui, Joiner::Ordinary(eui));
                    self.fleet.changed.insert(eui);
                    self.fleet.done(token, Outcome::Done);
                }
                Some(error) => {
                    self.fleet.members.remove(&eui);
                    self.fleet.done(token, Outcome::Refused(error.to_owned()));
                }
            }
        }
    }

    /// Takes what concerns an ordinary lock; gives back what does not.
    pub(in crate::driver) fn ordinary_event(
        &mut self,
        now: Millis,
        event: coordinator::Event,
    ) -> Option<coordinator::Event> {
        use coordinator::Event as E;
        match event {
            E::Joined { eui, .. } if self.fleet.is_member(eui) => {
                self.join_ended(eui);
                self.notice = None;
                self.backup_soon(now);
                self.ordinary_is_there(now, eui, true);
            }
            E::Rejoined { eui, .. } if self.fleet.is_member(eui) => {
                self.ordinary_is_there(now, eui, false);
                let listened = self.fleet.rights(eui).is_some() && self.is_up();
                if let Some(member) = self.fleet.members.get_mut(&eui).filter(|_| listened) {
                    // It was away, and what it reported meanwhile is lost.
                    member.lock.was_deaf(now);
                }
            }
            E::Left { eui } if self.fleet.is_member(eui) => {
                self.gone(eui);
                self.backup_soon(now);
                if let Some(member) = self.fleet.members.get_mut(&eui)
                    && member.lock.left(now)
                {
                    self.fleet.changed.insert(eui);
                    self.writer.mark(RecordKey::Ordinary(eui));
                }
            }
            E::Received(received) if self.fleet.is_member(received.eui) => {
                self.ordinary_received(now, received)
            }
            E::Outcome { handle, outcome } if handle & HANDLES != 0 => {
                if let Some((eui, purpose)) = self.fleet.flights.remove(&handle)
                    && let Some(member) = self.fleet.members.get_mut(&eui)
                {
                    member.lock.outcome(now, purpose, &outcome);
                }
            }
            other => return Some(other),
        }
        None
    }

    fn ordinary_received(&mut self, now: Millis, received: Received) {
        let Received { eui, profile, cluster, src_endpoint, dst_endpoint, lqi, rssi, payload } = received;
        if self.fleet.rights(eui).is_none() || profile != PROFILE || dst_endpoint != ENDPOINT {
            self.counters.foreign = self.counters.foreign.saturating_add(1);
        } else {
            self.ordinary_is_there(now, eui, false);
            if let Some(member) = self.fleet.members.get_mut(&eui) {
                let heard = Heard { at: now, lqi, rssi };
                if !member.lock.heard(now, heard, self.wall, (cluster, src_endpoint), &payload) {
                    self.counters.foreign = self.counters.foreign.saturating_add(1);
                }
            }
        }
        // It may have held a PIN. What is left of it is in the buffers of the port, which are used again.
        if let Ok(mut payload) = payload.try_into_mut() {
            zeroize::Zeroize::zeroize(payload.as_mut());
        }
    }

    /// A device that is in the network; `anew`: it has just joined.
    fn ordinary_is_there(&mut self, now: Millis, eui: Eui64, anew: bool) {
        let listened = self.fleet.rights(eui).is_some();
        let up = self.is_up();
        let Some(member) = self.fleet.members.get_mut(&eui) else { return };
        if !member.entrant.is_stored() {
            return;
        }
        if !std::mem::replace(&mut member.lock.joined, true) {
            self.writer.mark(RecordKey::Ordinary(eui));
            self.fleet.changed.insert(eui);
        }
        self.joins.is_in(Joiner::Ordinary(eui));
        if listened && up {
            let Some(member) = self.fleet.members.get_mut(&eui) else { return };
            member.lock.is_there(now, anew);
        }
    }

    /// A record of the store, at the start.
    pub(in crate::driver) fn load_ordinary(&mut self, eui: Eui64, record: &[u8]) -> Result<(), DecodeError> {
        if self.by_eui.contains_key(&eui) {
            // Never both: whoever wrote that, it is a sealed lock.
            tracing::error!(%eui, "a sealed lock is stored as an ordinary one, too; that is passed over");
            return Ok(());
        }
        self.fleet.load(eui, record)?;
        if self.fleet.members.get(&eui).is_some_and(|member| !member.lock.joined) {
            // Somebody was at the door when the daemon stopped.
            self.joins.push(Joiner::Ordinary(eui));
        }
        Ok(())
    }

    /// After an event of the coordinator: whether the network is up, and which it is, as it was before.
    pub(in crate::driver) fn ordinary_after(&mut self, now: Millis, (was_up, was): (bool, Option<Network>)) {
        let is = self.network.as_ref();
        let moved = is.is_some_and(|is| was.is_none_or(|was| was.extended_pan != is.network.extended_pan));
        if moved {
            let new = is.is_some_and(|is| is.key.is_some());
            self.ordinary_moved(now, new);
            self.routers_moved(new);
        }
        if self.is_up() && !was_up {
            self.ordinary_up(now);
        }
    }

    pub(in crate::driver) fn ordinary_answered(
        &mut self,
        now: Millis,
        eui: Eui64,
        answer: Result<Answer, Failure>,
    ) {
        if let Some(member) = self.fleet.members.get_mut(&eui) {
            member.lock.answered(now, answer);
        }
    }

    /// The network runs (again): its locks are asked how they are.
    fn ordinary_up(&mut self, now: Millis) {
        for (_, lock) in self.fleet.heard() {
            if lock.joined {
                lock.was_deaf(now);
            }
        }
    }

    /// Another network than before: who is not in it must join anew, if it is one of ours from the start.
    fn ordinary_moved(&mut self, now: Millis, new: bool) {
        let all: Vec<Eui64> = self.fleet.members.keys().copied().collect();
        for eui in all {
            if let Some(member) = self.fleet.members.get_mut(&eui)
                && member.lock.left(now)
            {
                self.writer.mark(RecordKey::Ordinary(eui));
                self.fleet.changed.insert(eui);
            }
            if new {
                self.joins.push(Joiner::Ordinary(eui));
            }
        }
    }

    /// A backup was restored: those that it does not have must join anew. How many they are.
    pub(in crate::driver) fn ordinary_restored(&mut self, now: Millis, backup: &Backup) -> usize {
        let missing: Vec<Eui64> =
            self.fleet.members.keys().copied().filter(|eui| !backup.has(*eui)).collect();
        for eui in &missing {
            if let Some(member) = self.fleet.members.get_mut(eui)
                && member.lock.left(now)
            {
                self.writer.mark(RecordKey::Ordinary(*eui));
                self.fleet.changed.insert(*eui);
            }
            self.joins.push(Joiner::Ordinary(*eui));
        }
        missing.len()
    }

    pub(in crate::driver) fn ordinary_timeout(&mut self, now: Millis) {
        for (_, lock) in self.fleet.heard() {
            lock.handle_timeout(now);
        }
    }

    /// Does what the locks want done.
    pub(in crate::driver) fn ordinary_progress(&mut self) {
        let mut members = std::mem::take(&mut self.fleet.members);
        for (eui, member) in &mut members {
            self.take_actions(*eui, member);
        }
        self.fleet.members = members;
    }

    fn take_actions(&mut self, eui: Eui64, member: &mut Member) {
        while let Some(action) = member.lock.poll_action() {
            match action {
                Action::Ask(question) => self.ask_ordinary(eui, &mut member.lock, question),
                Action::Send { purpose, cluster, endpoint, payload, deadline, acknowledge } => {
                    let handle = HANDLES | self.fleet.next_handle;
                    self.fleet.next_handle = self.fleet.next_handle.wrapping_add(1) & !HANDLES;
                    self.fleet.flights.insert(handle, (eui, purpose));
                    self.orders.push_back(Order::Send(Frame {
                        handle,
                        eui,
                        profile: PROFILE,
                        cluster,
                        dst_endpoint: endpoint,
                        src_endpoint: ENDPOINT,
                        payload: payload.into(),
                        deadline,
                        acknowledge,
                        urgent: matches!(purpose, Purpose::Command(_)),
                    }));
                }
                Action::Changed => drop(self.fleet.changed.insert(eui)),
                Action::Done(token, outcome) => self.fleet.done(token, outcome),
                Action::Progress(token, step) => {
                    self.fleet.notices.push_back(Notice::Progress { token, step })
                }
                Action::Happened(happening) => {
                    if self.fleet.notices.len() < MAX_NOTICES {
                        self.fleet.notices.push_back(Notice::Happened { eui, happening });
                    } else {
                        self.counters.shed = self.counters.shed.saturating_add(1);
                    }
                }
            }
        }
    }

    fn ask_ordinary(&mut self, eui: Eui64, lock: &mut Lock, question: Question) {
        match self.ask(Asked::Ordinary(eui)) {
            Some(handle) => self.orders.push_back(Order::Ask { handle, eui, question }),
            None => lock.not_asked(self.now),
        }
    }

    /// The next word about ordinary locks for the gateway.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.fleet.poll_notice(self.now)
    }

    /// Whether there is one.
    #[must_use]
    pub fn has_notices(&self) -> bool {
        self.fleet.has_notices()
    }
}
