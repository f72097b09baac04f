//! Who may join: those whose install code the dongle has been given, one at a time, for at most 254 s.
//!
//! Everybody's code is given at once, so that it does not matter who of them comes first; nobody else's lets anybody in.
//! But NCPs are known to fail when two devices join at once, so the network is closed as soon as one begins, whoever it
//! is, and opened again when it is in or has been refused. What families do differently (how a code is told and
//! forgotten, how one is seen to have joined) stays with their hosts.

use std::collections::{BTreeSet, VecDeque};

use cardea_radio::Millis;

use crate::bucket::Bucket;
use crate::coordinator::{Event, JoinFailure, MAX_PERMIT_SECONDS};
use crate::types::{Eui64, InstallCode};

/// Admissions at once.
const MAX_ADMISSIONS: usize = 64;
/// Codes that the dongle is being told: other requests want room, too.
const MAX_TELLING: usize = 4;
/// How long an admission may wait to be told, milliseconds. With its own time and that of a join, it ends before the driver gives
/// it up.
const WAIT_MS: Millis = 60_000;
/// How long a device may take from its first sign to its own link key.
const JOINING_MS: Millis = 30_000;

struct Admission {
    eui: Eui64,
    code: InstallCode,
    stage: Stage,
}

/// What the dongle has of an admission.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing yet, and not for ever; the time begins with the code.
    New { seconds: u8, until: Millis },
    /// It is to have the code once more.
    Again { until: Millis },
    /// It is being told the code.
    Told { until: Millis },
    /// It has the code.
    Ready { until: Millis },
}

impl Stage {
    /// Until when the code counts; `None`: the dongle was never told it.
    fn until(self) -> Option<Millis> {
        match self {
            Self::New { .. } => None,
            Self::Again { until } | Self::Told { until } | Self::Ready { until } => Some(until),
        }
    }

    fn ends(self) -> Millis {
        match self {
            Self::New { until, .. } => until,
            Self::Again { until } | Self::Told { until } | Self::Ready { until } => until,
        }
    }
}

/// Who is joining just now.
#[derive(Debug, Clone, Copy)]
pub struct Joining {
    /// Who.
    pub who: Eui64,
    /// It was heard in the network: the key of its install code fitted.
    pub inside: bool,
    until: Millis,
}

/// What the dongle is to be told next.
#[derive(Debug)]
pub enum Want {
    /// This code.
    AddCode(Eui64, InstallCode),
    /// To forget this device's code.
    ForgetCode(Eui64),
    /// For how many seconds it is open; 0: closed.
    Permit(u8),
}

/// The admissions of one dongle, whatever its family. Who is told what it [wants](Self::want) and what happened has the
/// network open as long as, and only as long as, somebody who is admitted may come.
pub struct Joins {
    /// Codes that the dongle may be told at once.
    max_telling: usize,
    admissions: Vec<Admission>,
    joining: Option<Joining>,
    /// Who began to join while the dongle did not have its code.
    early: BTreeSet<Eui64>,
    forget: BTreeSet<Eui64>,
    /// Until when the dongle was told to be open.
    open_until: Option<Millis>,
    /// What the dongle is to be told next, seconds; the newest is enough.
    here: Option<u8>,
    /// What routers are to be told next, seconds; the newest is enough.
    routers: Option<u8>,
    /// When there is a token for that.
    token_at: Option<Millis>,
    events: VecDeque<Event>,
}

impl Default for Joins {
    fn default() -> Self {
        Self {
            max_telling: MAX_TELLING,
            admissions: Vec::new(),
            joining: None,
            early: BTreeSet::new(),
            forget: BTreeSet::new(),
            open_until: None,
            here: None,
            routers: None,
            token_at: None,
            events: VecDeque::new(),
        }
    }
}

impl Joins {
    /// For a dongle that does not say which code it answers for: it is told one at a time.
    #[must_use]
    pub fn one_by_one() -> Self {
        Self { max_telling: 1, ..Self::default() }
    }

    /// Takes an admission, in place of another for the same device; if the network is `up`. It ends within the seconds and a
    /// minute and a half.
    pub fn admit(&mut self, now: Millis, up: bool, eui: Eui64, code: InstallCode, seconds: u8) {
        self.take(eui);
        if !up {
            return self.failed(eui, JoinFailure::Interrupted);
        }
        if self.admissions.len() >= MAX_ADMISSIONS {
            return self.failed(eui, JoinFailure::Busy);
        }
        let seconds = seconds.clamp(1, MAX_PERMIT_SECONDS);
        let stage = Stage::New { seconds, until: now.saturating_add(WAIT_MS) };
        self.admissions.push(Admission { eui, code, stage });
    }

    /// Ends an admission; false if there is none.
    pub fn dismiss(&mut self, eui: Eui64) -> bool {
        let found = self.take(eui);
        if found {
            self.failed(eui, JoinFailure::Dismissed);
        }
        found
    }

    /// Forgets an admission, and has the dongle forget its code.
    fn take(&mut self, eui: Eui64) -> bool {
        let Some(place) = self.admissions.iter().position(|admission| admission.eui == eui) else {
            return false;
        };
        if self.admissions.remove(place).stage.until().is_some() {
            self.forget.insert(eui);
        }
        true
    }

    /// The dongle answered to [`Want::AddCode`].
    pub fn code_added(&mut self, eui: Eui64, refused: Option<String>) {
        let place = self
            .admissions
            .iter()
            .position(|admission| admission.eui == eui && matches!(admission.stage, Stage::Told { .. }));
        let Some(place) = place else { return };
        let Some(reason) = refused else {
            if let Some(admission) = self.admissions.get_mut(place)
                && let Stage::Told { until } = admission.stage
            {
                admission.stage = Stage::Ready { until };
            }
            return;
        };
        self.admissions.remove(place);
        // With others' codes it may have been one too many.
        let alone = !self.admissions.iter().any(|admission| admission.stage.until().is_some());
        self.failed(eui, if alone { JoinFailure::Code(reason) } else { JoinFailure::Busy });
    }

    /// The dongle did not answer to [`Want::AddCode`]: it may have the code, and is to forget it.
    pub fn code_unanswered(&mut self, eui: Eui64) {
        let told =
            |admission: &Admission| admission.eui == eui && matches!(admission.stage, Stage::Told { .. });
        if self.admissions.iter().any(told) {
            self.forget.insert(eui);
            self.code_added(eui, Some("no answer".into()));
        }
    }

    /// The dongle forgot all codes: those that count are to be told once more.
    pub fn all_forgotten(&mut self) {
        self.forget.clear();
        for admission in &mut self.admissions {
            if let Stage::Told { until } | Stage::Ready { until } = admission.stage {
                admission.stage = Stage::Again { until };
            }
        }
    }

    /// A device begins to join.
    pub fn began(&mut self, now: Millis, who: Eui64) {
        let has_code = |a: &Admission| a.eui == who && matches!(a.stage, Stage::Ready { .. });
        if self.admissions.iter().any(has_code) {
            self.early.remove(&who);
        } else {
            if self.early.len() >= MAX_ADMISSIONS {
                self.early.pop_first();
            }
            self.early.insert(who);
        }
        if self.joining.is_none() && self.open_until.is_some() {
            self.joining = Some(Joining { who, inside: false, until: now.saturating_add(JOINING_MS) });
        }
    }

    /// It is in the network, so it has the network key.
    pub fn inside(&mut self, eui: Eui64) {
        if let Some(joining) = self.joining.as_mut().filter(|joining| joining.who == eui) {
            joining.inside = true;
        }
    }

    /// It has joined; whether the dongle is to forget its code now.
    pub fn joined(&mut self, eui: Eui64, forget: bool) {
        self.take(eui);
        self.early.remove(&eui);
        if !forget {
            self.forget.remove(&eui);
        }
        self.joining.take_if(|joining| joining.who == eui);
    }

    /// It was refused, or sent away.
    pub fn refused(&mut self, eui: Eui64, reason: JoinFailure) {
        self.joining.take_if(|joining| joining.who == eui);
        if !self.came_too_soon(eui, &reason) {
            self.take(eui);
            self.failed(eui, reason);
        }
    }

    /// It was at the door, opened for another, before the dongle had its code: that fails its try and not its admission.
    fn came_too_soon(&mut self, eui: Eui64, reason: &JoinFailure) -> bool {
        self.early.remove(&eui)
            && matches!(reason, JoinFailure::Keys)
            && self.admissions.iter().any(|admission| admission.eui == eui)
    }

    /// Who has been joining for too long. Nothing is told of one that has no admission.
    pub fn give_up(&mut self, now: Millis) -> Option<Joining> {
        let joining = self.joining.take_if(|joining| joining.until <= now)?;
        let reason = if joining.inside { JoinFailure::NoUniqueKey } else { JoinFailure::Keys };
        if !self.came_too_soon(joining.who, &reason) && self.take(joining.who) {
            self.failed(joining.who, reason);
        }
        Some(joining)
    }

    /// Admissions end; what the network should be is compared with what it was told. To be called after everything else.
    pub fn progress(&mut self, now: Millis) {
        let joining = self.joining.map(|joining| joining.who);
        let over = |a: &&Admission| a.stage.ends() <= now && Some(a.eui) != joining;
        let over: Vec<_> = self.admissions.iter().filter(over).map(|a| (a.eui, a.stage.until())).collect();
        for (eui, told) in over {
            self.take(eui);
            self.failed(eui, if told.is_some() { JoinFailure::Silent } else { JoinFailure::Busy });
        }
        let was_open = self.open_until.is_some();
        // It stays open while codes are told once more.
        let counts = |stage: Stage| matches!(stage, Stage::Ready { .. }) || was_open;
        let until = self.admissions.iter().filter(|a| counts(a.stage)).filter_map(|a| a.stage.until()).max();
        let open = until.filter(|_| joining.is_none());
        match open {
            // One that would be open for longer waits for the end of that: each telling is a broadcast.
            Some(until) if self.open_until.is_none_or(|told| told <= now) => {
                self.open_until = Some(until);
                self.tell(seconds_until(now, until));
                if !was_open {
                    self.events.push_back(Event::Open(true));
                }
            }
            None if was_open => {
                self.open_until = None;
                self.tell(0);
                self.events.push_back(Event::Open(false));
            }
            _ => {}
        }
    }

    /// What the dongle is to be told next. It is told with [`told`](Self::told), where there was room for it.
    #[must_use]
    pub fn want(&self) -> Option<Want> {
        if self.here == Some(0) {
            return Some(Want::Permit(0));
        }
        if let Some(eui) = self.forget.first() {
            return Some(Want::ForgetCode(*eui));
        }
        let telling = self.admissions.iter().filter(|a| matches!(a.stage, Stage::Told { .. })).count();
        let add = self
            .admissions
            .iter()
            .find(|admission| matches!(admission.stage, Stage::New { .. } | Stage::Again { .. }));
        match add.filter(|_| telling < self.max_telling) {
            Some(admission) => Some(Want::AddCode(admission.eui, admission.code.clone())),
            None => self.here.map(Want::Permit),
        }
    }

    /// The dongle is being told this.
    pub fn told(&mut self, now: Millis, want: &Want) {
        match want {
            Want::Permit(seconds) => drop(self.here.take_if(|wanted| wanted == seconds)),
            Want::ForgetCode(eui) => drop(self.forget.remove(eui)),
            Want::AddCode(eui, _) => {
                let Some(admission) = self.admissions.iter_mut().find(|a| a.eui == *eui) else { return };
                let until = match admission.stage {
                    Stage::New { seconds, .. } => {
                        now.saturating_add(u64::from(seconds).saturating_mul(1_000))
                    }
                    Stage::Again { until } | Stage::Told { until } | Stage::Ready { until } => until,
                };
                admission.stage = Stage::Told { until };
            }
        }
    }

    /// What routers are to be told in a broadcast now, for which a token was taken.
    pub fn routers(&mut self, now: Millis, bucket: &mut Bucket) -> Option<u8> {
        let routers = self.routers?;
        let token = bucket.take(now);
        self.token_at = (!token).then(|| bucket.next(now));
        token.then_some(routers)
    }

    /// They are being told.
    pub fn routers_told(&mut self) {
        (self.routers, self.token_at) = (None, None);
    }

    /// The NCP restarted, closed: nobody can join any more, and who was joining may or may not have.
    pub fn interrupted(&mut self) {
        if self.open_until.is_some() {
            self.events.push_back(Event::Open(false));
        }
        for Admission { eui, .. } in std::mem::take(&mut self.admissions) {
            self.failed(eui, JoinFailure::Interrupted);
        }
        let (max_telling, events) = (self.max_telling, std::mem::take(&mut self.events));
        *self = Self { max_telling, events, ..Self::default() };
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`progress`](Self::progress) wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Millis> {
        let joining = self.joining.map(|joining| joining.who);
        let ends = self.admissions.iter().filter(|a| Some(a.eui) != joining).map(|a| a.stage.ends());
        ends.chain(self.joining.map(|joining| joining.until))
            .chain(self.open_until)
            .chain(self.token_at)
            .min()
    }

    fn tell(&mut self, seconds: u8) {
        (self.here, self.routers) = (Some(seconds), Some(seconds));
    }

    fn failed(&mut self, eui: Eui64, reason: JoinFailure) {
        self.events.push_back(Event::JoinFailed { eui, reason });
    }
}

/// Whole seconds, at least one, never for ever.
fn seconds_until(now: Millis, until: Millis) -> u8 {
    let seconds = until.saturating_sub(now).div_ceil(1_000);
    u8::try_from(seconds).unwrap_or(u8::MAX).clamp(1, MAX_PERMIT_SECONDS)
}

#[cfg(test)]
mod tests;
