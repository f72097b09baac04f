//! Ordinary ZCL locks: locks of any maker whose commands and states are protected by the Zigbee network alone, so that the
//! gateway reads them and could forge them. They are **not end-to-end** protected, and everything about them is apart from the
//! sealed relay: their own types, tables and channel. An ordinary lock is named by its [`Eui64`], a sealed one by a `LockId`, and
//! what writes a lock or unlock command is reached by an [`Errand`] alone, which has no place for a `LockId`:
//!
//! ```compile_fail,E0308
//! use cardea_zigbee::driver::ordinary::{Request, Verb};
//! let sealed = cardea_framing::LockId([1; 8]);
//! let _ = Request::Move { eui: sealed, verb: Verb::Unlock, deadline: 0 };
//! ```
//!
//! [`Lock`] is one of them as a state machine: interview, reporting, state, commands. [`Fleet`] is all of them, inside the
//! driver. A device is in it by an order, is listened to while the configuration names it, and is commanded while the
//! configuration says so; without `DriverConfig::ordinary` nothing of it is heard and none is admitted.

mod desk;
mod lock;
mod movement;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cardea_radio::Millis;

use super::device::Identity;
use super::store::RecordKey;
use super::{Asked, Driver, ENDPOINT};
use crate::coordinator::{self, Answer, Failure, Frame, Network, Order, Question, Received};
use crate::types::{Eui64, InstallCode};
use crate::wire::{DecodeError, Reader};
use lock::{Action, Lock, PROFILE, Purpose};

pub use desk::{OrdinaryDesk, OrdinaryEnd, ordinary_desk};
pub use state::{Bolt, Happening, Heard, Snapshot, Source};

/// The most ordinary locks that one gateway has.
pub const MAX_ORDINARY: usize = 64;
/// What is told waits here while the gateway is behind; beyond so many, events of locks are shed. What becomes of commands never is.
const MAX_NOTICES: usize = 256;
/// Marks the handles of this module's frames; the gateway counts its own from 1.
const HANDLES: u64 = 1 << 63;
const VERSION: u8 = 1;
const JOINED: u8 = 1;

/// What the operator decides about ordinary locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrdinaryConfig {
    /// The devices that are let in and listened to, and what may be done to them.
    pub devices: BTreeMap<Eui64, Rights>,
    /// Longest time between two reports of a bolt that locks are asked for, seconds. A state that is older by more than a moment
    /// counts as unknown.
    pub report_seconds: u16,
}

/// What may be done to an ordinary lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// It is listened to.
    Watch,
    /// It is locked and unlocked, too.
    Command,
}

/// What can be wanted of a bolt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Out.
    Lock,
    /// In.
    Unlock,
}

/// What the gateway wants, and the number under which it is answered by one [`Notice::Done`].
pub struct Errand {
    /// Chosen by the caller, never twice.
    pub token: u64,
    /// What.
    pub request: Request,
}

/// What can be wanted of an ordinary lock.
pub enum Request {
    /// To let it in. Done when it is stored; then the network opens for it.
    Admit {
        /// Who.
        eui: Eui64,
        /// From its label.
        code: InstallCode,
    },
    /// To forget it and send it away. Done when that is told to the store.
    Remove {
        /// Who.
        eui: Eui64,
    },
    /// To move its bolt.
    Move {
        /// Whose.
        eui: Eui64,
        /// Where to.
        verb: Verb,
        /// Not on the air after this moment.
        deadline: Millis,
    },
}

/// What is told to the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The radio was started: nothing that was asked of an earlier run is answered any more, and no command of it is carried out.
    Started,
    /// The end of an errand, or of an admission or removal that was refused.
    Done {
        /// Of the errand.
        token: u64,
        /// What became of it.
        outcome: Outcome,
    },
    /// A command is on its way; another word follows.
    Progress {
        /// Of the errand.
        token: u64,
        /// How far.
        step: Progress,
    },
    /// How a lock is now.
    State(Box<Snapshot>),
    /// What a lock says that happened.
    Happened {
        /// Which.
        eui: Eui64,
        /// What.
        happening: Happening,
    },
    /// It is not admitted any more.
    Removed(Eui64),
}

/// How far a command has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The dongle has sent it. It may not have arrived.
    Sent,
    /// The lock has accepted it. Its bolt may not have moved.
    Accepted,
}

/// The end of an errand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// An admission or removal is stored; a bolt is where it was wanted, by the lock's own word after it had accepted.
    Done,
    /// Nothing was sent; why, for people.
    Refused(String),
    /// Nothing was sent: it could have been on the air after its deadline.
    Expired,
    /// The lock refused: the ZCL status that it gave.
    Declined(u8),
    /// The lock accepted, and says that its bolt is elsewhere.
    Elsewhere,
    /// It may have arrived and may not, or the lock does not say where its bolt is.
    Unconfirmed,
}

/// Whose turn it is to join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joiner {
    Sealed(cardea_framing::LockId),
    Ordinary(Eui64),
}

impl From<cardea_framing::LockId> for Joiner {
    fn from(lock: cardea_framing::LockId) -> Self {
        Self::Sealed(lock)
    }
}

impl std::fmt::Display for Joiner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sealed(lock) => write!(f, "lock {lock}"),
            Self::Ordinary(eui) => write!(f, "ordinary lock {eui}"),
        }
    }
}

/// One admitted device, heard or not.
struct Member {
    code: InstallCode,
    lock: Lock,
    /// Being stored for the first time, and who waits for that.
    admission: Option<u64>,
}

/// All ordinary locks of one network.
#[derive(Default)]
pub(super) struct Fleet {
    config: Option<OrdinaryConfig>,
    members: BTreeMap<Eui64, Member>,
    /// Frames that the coordinator has.
    flights: BTreeMap<u64, (Eui64, Purpose)>,
    next_handle: u64,
    notices: VecDeque<Notice>,
    changed: BTreeSet<Eui64>,
}

impl Fleet {
    pub(super) fn new(config: Option<OrdinaryConfig>) -> Self {
        Self { config, ..Self::default() }
    }

    /// Whether this device is an ordinary lock that was admitted.
    pub(super) fn is_member(&self, eui: Eui64) -> bool {
        self.members.contains_key(&eui)
    }

    /// What lets it join.
    pub(super) fn identity(&self, eui: Eui64) -> Option<Identity> {
        let member = self.members.get(&eui).filter(|member| member.admission.is_none())?;
        self.rights(eui)?;
        Some(Identity { eui, code: member.code.clone() })
    }

    fn rights(&self, eui: Eui64) -> Option<Rights> {
        self.config.as_ref()?.devices.get(&eui).copied()
    }

    fn fresh(&self, eui: Eui64) -> Lock {
        let seconds = self.config.as_ref().map_or(u16::MAX, |config| config.report_seconds);
        Lock::new(self.rights(eui), seconds)
    }

    pub(super) fn load(&mut self, eui: Eui64, record: &[u8]) -> Result<(), DecodeError> {
        let mut read = Reader::new(record);
        if read.u8()? != VERSION {
            return Err(DecodeError::Field("the record's version"));
        }
        let flags = read.u8()?;
        let code = InstallCode::new(read.rest())?;
        let mut lock = self.fresh(eui);
        lock.joined = flags & JOINED != 0;
        self.members.insert(eui, Member { code, lock, admission: None });
        self.changed.insert(eui);
        Ok(())
    }

    pub(super) fn record(&self, eui: Eui64) -> Option<Vec<u8>> {
        let Member { code, lock, .. } = self.members.get(&eui)?;
        let code = code.as_bytes();
        let mut out = Vec::with_capacity(2 + code.len());
        out.extend_from_slice(&[VERSION, if lock.joined { JOINED } else { 0 }]);
        out.extend_from_slice(code);
        Some(out)
    }

    /// Those that are listened to.
    fn heard(&mut self) -> impl Iterator<Item = (&Eui64, &mut Lock)> {
        let devices = self.config.as_ref().map(|config| &config.devices);
        let members =
            self.members.iter_mut().filter(move |(eui, _)| devices.is_some_and(|d| d.contains_key(eui)));
        members.map(|(eui, member)| (eui, &mut member.lock))
    }

    pub(super) fn poll_timeout(&self) -> Option<Millis> {
        let config = self.config.as_ref()?;
        let heard = self.members.iter().filter(|(eui, _)| config.devices.contains_key(eui));
        heard.filter_map(|(_, member)| member.lock.poll_timeout()).min()
    }

    pub(super) fn backlog(&self) -> usize {
        self.notices.len()
    }

    pub(super) fn has_notices(&self) -> bool {
        !self.notices.is_empty() || !self.changed.is_empty()
    }

    /// The next word for the gateway: what happened in its order, then how locks are, each once.
    pub(super) fn poll_notice(&mut self, now: Millis) -> Option<Notice> {
        if let Some(notice) = self.notices.pop_front() {
            return Some(notice);
        }
        while let Some(eui) = self.changed.pop_first() {
            if let Some(member) = self.members.get(&eui).filter(|member| member.admission.is_none()) {
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
                    self.fleet.members.insert(eui, Member { code, lock, admission: Some(token) });
                    self.writer.mark_urgent(RecordKey::Ordinary(eui));
                }
            },
            Request::Remove { eui } => {
                let outcome = match self.fleet.members.remove(&eui) {
                    None => Outcome::Refused(format!("no ordinary lock {eui} is admitted")),
                    Some(mut member) => {
                        self.forget_ordinary(eui, &mut member);
                        Outcome::Done
                    }
                };
                self.fleet.done(token, outcome);
            }
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
        let coming = self.admitting.iter().chain(self.writer.admissions());
        if self.by_eui.contains_key(&eui) || coming.clone().any(|(_, identity)| identity.eui == eui) {
            return Err(format!(
                "device {eui} is a sealed lock: nothing of it is read, and nothing unsealed is said to it"
            ));
        }
        match self.fleet.members.get(&eui) {
            Some(Member { admission: Some(_), .. }) => Err("it is being admitted".into()),
            Some(member) if member.code == *code => Ok(false),
            Some(_) => Err(format!("device {eui} is admitted with another install code: remove it first")),
            None if self.fleet.members.len() >= MAX_ORDINARY => {
                Err(format!("{MAX_ORDINARY} ordinary locks are admitted, as many as there may be"))
            }
            None => Ok(true),
        }
    }

    fn forget_ordinary(&mut self, eui: Eui64, member: &mut Member) {
        if let Some(token) = member.admission.take() {
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
    pub(super) fn ordinary_stored(&mut self, keys: &BTreeSet<RecordKey>, failure: Option<&str>) {
        for key in keys {
            let RecordKey::Ordinary(eui) = *key else { continue };
            let Some(member) = self.fleet.members.get_mut(&eui) else { continue };
            let Some(token) = member.admission.take() else { continue };
            match failure {
                None => {
                    if self.leaving.remove(&eui).is_some() {
                        self.writer.mark(RecordKey::Leaving(eui));
                    }
                    self.joins.push(Joiner::Ordinary(eui));
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
    pub(super) fn ordinary_event(
        &mut self,
        now: Millis,
        event: coordinator::Event,
    ) -> Option<coordinator::Event> {
        use coordinator::Event as E;
        match event {
            E::Joined { eui, .. } if self.fleet.is_member(eui) => {
                self.joins.ended(eui);
                self.notice = None;
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
                if !member.lock.heard(now, heard, cluster, src_endpoint, &payload) {
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
        if member.admission.is_some() {
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
    pub(super) fn load_ordinary(&mut self, eui: Eui64, record: &[u8]) -> Result<(), DecodeError> {
        self.fleet.load(eui, record)?;
        if self.fleet.members.get(&eui).is_some_and(|member| !member.lock.joined) {
            // Somebody was at the door when the daemon stopped.
            self.joins.push(Joiner::Ordinary(eui));
        }
        Ok(())
    }

    /// After an event of the coordinator: whether the network is up, and which it is, as it was before.
    pub(super) fn ordinary_after(&mut self, now: Millis, (was_up, was): (bool, Option<Network>)) {
        let is = self.network.as_ref();
        let moved = is.is_some_and(|is| was.is_none_or(|was| was.extended_pan != is.network.extended_pan));
        if moved {
            let new = is.is_some_and(|is| is.key.is_some());
            self.ordinary_moved(now, new);
        }
        if self.is_up() && !was_up {
            self.ordinary_up(now);
        }
    }

    pub(super) fn ordinary_answered(&mut self, now: Millis, eui: Eui64, answer: Result<Answer, Failure>) {
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

    pub(super) fn ordinary_timeout(&mut self, now: Millis) {
        for (_, lock) in self.fleet.heard() {
            lock.handle_timeout(now);
        }
    }

    /// Does what the locks want done.
    pub(super) fn ordinary_progress(&mut self) {
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
