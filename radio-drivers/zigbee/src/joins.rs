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
    /// Nothing yet; the time begins with the code.
    New { seconds: u8 },
    /// It is to have the code once more.
    Again { until: Millis },
    /// It is being told the code.
    Told { until: Millis },
    /// It has the code.
    Ready { until: Millis },
}

impl Stage {
    fn until(self) -> Option<Millis> {
        match self {
            Self::New { .. } => None,
            Self::Again { until } | Self::Told { until } | Self::Ready { until } => Some(until),
        }
    }
}

/// Who is joining just now.
#[derive(Clone, Copy)]
pub(crate) struct Joining {
    pub(crate) who: Eui64,
    /// It was heard in the network: the key of its install code fitted.
    pub(crate) inside: bool,
    /// The dongle had its code when it began.
    had_code: bool,
    until: Millis,
}

/// What the dongle is to be told next.
pub(crate) enum Want {
    /// This code.
    AddCode(Eui64, InstallCode),
    /// To forget this device's code.
    ForgetCode(Eui64),
    /// For how many seconds it is open; 0: closed.
    Permit(u8),
}

#[derive(Default)]
pub(crate) struct Joins {
    admissions: Vec<Admission>,
    joining: Option<Joining>,
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

impl Joins {
    /// Takes an admission, in place of another for the same device.
    pub(crate) fn admit(&mut self, eui: Eui64, code: InstallCode, seconds: u8) {
        self.take(eui);
        if self.admissions.len() >= MAX_ADMISSIONS {
            return self.failed(eui, JoinFailure::Busy);
        }
        let stage = Stage::New { seconds: seconds.clamp(1, MAX_PERMIT_SECONDS) };
        self.admissions.push(Admission { eui, code, stage });
    }

    /// Ends an admission; false if there is none.
    pub(crate) fn dismiss(&mut self, eui: Eui64) -> bool {
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
    pub(crate) fn code_added(&mut self, eui: Eui64, refused: Option<String>) {
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

    /// The dongle forgot all codes: those that count are to be told once more.
    pub(crate) fn all_forgotten(&mut self) {
        self.forget.clear();
        for admission in &mut self.admissions {
            if let Stage::Told { until } | Stage::Ready { until } = admission.stage {
                admission.stage = Stage::Again { until };
            }
        }
    }

    /// A device begins to join.
    pub(crate) fn began(&mut self, now: Millis, who: Eui64) {
        if self.joining.is_none() && self.open_until.is_some() {
            let had_code = self
                .admissions
                .iter()
                .any(|admission| admission.eui == who && matches!(admission.stage, Stage::Ready { .. }));
            let until = now.saturating_add(JOINING_MS);
            self.joining = Some(Joining { who, inside: false, had_code, until });
        }
    }

    /// It is in the network, so it has the network key.
    pub(crate) fn inside(&mut self, eui: Eui64) {
        if let Some(joining) = self.joining.as_mut().filter(|joining| joining.who == eui) {
            joining.inside = true;
        }
    }

    /// It has joined; whether the dongle is to forget its code now.
    pub(crate) fn joined(&mut self, eui: Eui64, forget: bool) {
        self.take(eui);
        if !forget {
            self.forget.remove(&eui);
        }
        self.joining.take_if(|joining| joining.who == eui);
    }

    /// It was refused, or sent away.
    pub(crate) fn refused(&mut self, eui: Eui64, reason: JoinFailure) {
        let joining = self.joining.take_if(|joining| joining.who == eui);
        if self.came_too_soon(eui, joining, &reason) {
            return;
        }
        self.take(eui);
        self.failed(eui, reason);
    }

    /// It was at the door, opened for another, before the dongle had its code: that fails its try and not its admission.
    fn came_too_soon(&self, eui: Eui64, joining: Option<Joining>, reason: &JoinFailure) -> bool {
        matches!(reason, JoinFailure::Keys)
            && joining.is_some_and(|joining| !joining.had_code)
            && self.admissions.iter().any(|admission| admission.eui == eui)
    }

    /// Who has been joining for too long. Nothing is told of one that has no admission.
    pub(crate) fn give_up(&mut self, now: Millis) -> Option<Joining> {
        let joining = self.joining.take_if(|joining| joining.until <= now)?;
        let reason = if joining.inside { JoinFailure::NoUniqueKey } else { JoinFailure::Keys };
        if !self.came_too_soon(joining.who, Some(joining), &reason) && self.take(joining.who) {
            self.failed(joining.who, reason);
        }
        Some(joining)
    }

    /// Admissions end; what the network should be is compared with what it was told. To be called after everything else.
    pub(crate) fn progress(&mut self, now: Millis) {
        let over = |admission: &&Admission| admission.stage.until().is_some_and(|until| until <= now);
        let joining = self.joining.map(|joining| joining.who);
        let silent: Vec<Eui64> = self.admissions.iter().filter(over).map(|admission| admission.eui).collect();
        for eui in silent.into_iter().filter(|eui| Some(*eui) != joining) {
            self.take(eui);
            self.failed(eui, JoinFailure::Silent);
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
    pub(crate) fn want(&self) -> Option<Want> {
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
        match add.filter(|_| telling < MAX_TELLING) {
            Some(admission) => Some(Want::AddCode(admission.eui, admission.code.clone())),
            None => self.here.map(Want::Permit),
        }
    }

    /// The dongle is being told this.
    pub(crate) fn told(&mut self, now: Millis, want: &Want) {
        match want {
            Want::Permit(seconds) => drop(self.here.take_if(|wanted| wanted == seconds)),
            Want::ForgetCode(eui) => drop(self.forget.remove(eui)),
            Want::AddCode(eui, _) => {
                let Some(admission) = self.admissions.iter_mut().find(|a| a.eui == *eui) else { return };
                let until = match admission.stage {
                    Stage::New { seconds } => now.saturating_add(u64::from(seconds).saturating_mul(1_000)),
                    Stage::Again { until } | Stage::Told { until } | Stage::Ready { until } => until,
                };
                admission.stage = Stage::Told { until };
            }
        }
    }

    /// What routers are to be told in a broadcast now, for which a token was taken.
    pub(crate) fn routers(&mut self, now: Millis, bucket: &mut Bucket) -> Option<u8> {
        let routers = self.routers?;
        let token = bucket.take(now);
        self.token_at = (!token).then(|| bucket.next(now));
        token.then_some(routers)
    }

    /// They are being told.
    pub(crate) fn routers_told(&mut self) {
        (self.routers, self.token_at) = (None, None);
    }

    /// The NCP restarted, closed: nobody can join any more, and who was joining may or may not have.
    pub(crate) fn interrupted(&mut self) {
        let (mut events, waiting) = (std::mem::take(&mut self.events), std::mem::take(&mut self.admissions));
        if self.open_until.is_some() {
            events.push_back(Event::Open(false));
        }
        let mut left = Vec::new();
        for admission in waiting {
            if admission.stage.until().is_some() {
                let reason = JoinFailure::Interrupted;
                events.push_back(Event::JoinFailed { eui: admission.eui, reason });
            } else {
                left.push(admission);
            }
        }
        *self = Self { admissions: left, events, ..Self::default() };
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Millis> {
        let joining = self.joining.map(|joining| joining.who);
        let ends = self.admissions.iter().filter(|a| Some(a.eui) != joining).filter_map(|a| a.stage.until());
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
