//! Who may join: one device at a time, for at most 254 s, with its install code.
//!
//! NCPs are known to fail when two devices join at once, so the network is closed as soon as one begins, and opened
//! again for the one it was meant for if another came first.

use std::collections::VecDeque;

use cardea_radio::Millis;

use super::start::permit;
use super::{ANSWER_MS, DEVICE_MS, Host, Purpose};
use crate::bucket::Bucket;
use crate::coordinator::{Event, JoinFailure, MAX_PERMIT_SECONDS};
use crate::types::{Eui64, InstallCode, NwkAddr};
use crate::zboss::call::Request;

/// Admissions that may wait for their turn.
const MAX_ADMISSIONS: usize = 64;
/// How long a device may take from its first sign to its own link key.
const JOINING_MS: Millis = 30_000;

#[derive(Debug)]
struct Admission {
    eui: Eui64,
    code: InstallCode,
    seconds: u8,
}

#[derive(Debug)]
struct Window {
    eui: Eui64,
    /// When it closes for good.
    until: Millis,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The NCP is told the install code.
    Code,
    Open,
    /// Closed while this device joins.
    Joining {
        who: Eui64,
        until: Millis,
    },
}

#[derive(Debug, Default)]
pub(super) struct Joins {
    queue: VecDeque<Admission>,
    window: Option<Window>,
    /// What the coordinator is to be told next, seconds; the newest is enough.
    here: Option<u8>,
    /// What routers are to be told next, seconds; the newest is enough.
    routers: Option<u8>,
    bucket: Bucket,
    now: Millis,
}

impl Joins {
    pub(super) fn poll_timeout(&self) -> Option<Millis> {
        let window = self.window.as_ref().map(|window| match window.stage {
            Stage::Joining { until, .. } => until,
            Stage::Code | Stage::Open => window.until,
        });
        let routers = self.routers.map(|_| self.bucket.next(self.now));
        [window, routers.filter(|at| *at > self.now)].into_iter().flatten().min()
    }
}

impl Host {
    pub(super) fn admit(&mut self, now: Millis, eui: Eui64, code: InstallCode, seconds: u8) {
        self.dismiss_quietly(now, eui);
        if self.joins.queue.len() >= MAX_ADMISSIONS {
            return self.event(Event::JoinFailed { eui, reason: JoinFailure::Busy });
        }
        let seconds = seconds.clamp(1, MAX_PERMIT_SECONDS);
        self.joins.queue.push_back(Admission { eui, code, seconds });
    }

    pub(super) fn dismiss(&mut self, now: Millis, eui: Eui64) {
        let waited = self.dismiss_quietly(now, eui);
        if waited {
            self.event(Event::JoinFailed { eui, reason: JoinFailure::Dismissed });
        } else if self.is_up() {
            // The code of a device that has joined is still there, and would let it in again.
            self.request(now, &Request::SecurDelIc { eui }, ANSWER_MS, Purpose::Nothing);
        }
    }

    fn dismiss_quietly(&mut self, now: Millis, eui: Eui64) -> bool {
        let before = self.joins.queue.len();
        self.joins.queue.retain(|admission| admission.eui != eui);
        let mut found = self.joins.queue.len() != before;
        if self.joins.window.as_ref().is_some_and(|window| window.eui == eui) {
            self.end_window(now, true);
            found = true;
        }
        found
    }

    pub(super) fn code_added(&mut self, now: Millis, eui: Eui64, refused: Option<String>) {
        let Some(window) =
            self.joins.window.as_mut().filter(|w| w.eui == eui && matches!(w.stage, Stage::Code))
        else {
            return;
        };
        if let Some(reason) = refused {
            self.joins.window = None;
            return self.event(Event::JoinFailed { eui, reason: JoinFailure::Code(reason) });
        }
        window.stage = Stage::Open;
        let seconds = seconds_until(now, window.until);
        self.permit_joining(now, seconds);
        self.event(Event::Open(Some(eui)));
    }

    /// A device begins to join, comes back, or left.
    pub(super) fn updated(&mut self, now: Millis, eui: Eui64, nwk: NwkAddr, status: u8) {
        match status {
            1 => {
                self.addresses.learn(eui, nwk);
                let Some(window) = &mut self.joins.window else { return };
                if matches!(window.stage, Stage::Open) {
                    window.stage = Stage::Joining { who: eui, until: now.saturating_add(JOINING_MS) };
                    self.permit_joining(now, 0);
                    self.event(Event::Open(None));
                }
            }
            2 => self.left(eui),
            0 | 3 => {
                self.addresses.learn(eui, nwk);
                self.event(Event::Rejoined { eui, nwk });
            }
            _ => {}
        }
    }

    pub(super) fn announced(&mut self, eui: Eui64, nwk: NwkAddr) {
        self.addresses.learn(eui, nwk);
    }

    pub(super) fn left(&mut self, eui: Eui64) {
        self.addresses.forget(eui);
        self.event(Event::Left { eui });
    }

    pub(super) fn authorised(&mut self, now: Millis, eui: Eui64, nwk: NwkAddr, kind: u8, status: u8) {
        let failure = match (kind, status) {
            (0, _) => Some(JoinFailure::NoUniqueKey),
            (_, 0) => None,
            _ => Some(JoinFailure::Keys),
        };
        if failure.is_none() {
            self.addresses.learn(eui, nwk);
        }
        if failure == Some(JoinFailure::NoUniqueKey) {
            let leave = Request::MgmtLeaveReq { dst: nwk, eui, flags: 0 };
            self.request(now, &leave, DEVICE_MS, Purpose::Nothing);
        }
        self.join_ended(now, eui, failure.is_none());
        self.event(match failure {
            None => Event::Joined { eui, nwk },
            Some(reason) => Event::JoinFailed { eui, reason },
        });
    }

    /// Ends the window if this was the device it was for, or opens it again for what is left of its time.
    fn join_ended(&mut self, now: Millis, eui: Eui64, well: bool) {
        let Some(window) = &mut self.joins.window else { return };
        if window.eui == eui {
            return self.end_window(now, !well);
        }
        if matches!(window.stage, Stage::Joining { who, .. } if who == eui) {
            window.stage = Stage::Open;
            let (meant_for, seconds) = (window.eui, seconds_until(now, window.until));
            self.permit_joining(now, seconds);
            self.event(Event::Open(Some(meant_for)));
        }
    }

    fn end_window(&mut self, now: Millis, forget_code: bool) {
        let Some(window) = self.joins.window.take() else { return };
        if matches!(window.stage, Stage::Open) {
            self.permit_joining(now, 0);
            self.event(Event::Open(None));
        }
        if forget_code && self.is_up() {
            let forget = Request::SecurDelIc { eui: window.eui };
            self.request(now, &forget, ANSWER_MS, Purpose::Nothing);
        }
    }

    pub(super) fn joins_timeout(&mut self, now: Millis) {
        self.joins.now = now;
        let Some(window) = &self.joins.window else { return };
        let eui = window.eui;
        let reason = match window.stage {
            Stage::Joining { who, until } if until <= now => {
                if who != eui && window.until > now {
                    return self.join_ended(now, who, false);
                }
                if who == eui { JoinFailure::Keys } else { JoinFailure::Silent }
            }
            Stage::Code | Stage::Open if window.until <= now => JoinFailure::Silent,
            _ => return,
        };
        self.end_window(now, true);
        self.event(Event::JoinFailed { eui, reason });
    }

    pub(super) fn joins_progress(&mut self, now: Millis) {
        self.joins.now = now;
        if !self.is_up() {
            return;
        }
        if self.joins.window.is_none() {
            let Some(Admission { eui, code, seconds }) = self.joins.queue.front().map(|a| Admission {
                eui: a.eui,
                code: a.code.clone(),
                seconds: a.seconds,
            }) else {
                return self.tell_permits(now);
            };
            let add = Request::SecurAddIc { eui, code };
            if self.request(now, &add, ANSWER_MS, Purpose::AddCode(eui)) {
                self.joins.queue.pop_front();
                let until = now.saturating_add(u64::from(seconds).saturating_mul(1_000));
                self.joins.window = Some(Window { eui, until, stage: Stage::Code });
            }
        }
        self.tell_permits(now);
    }

    /// The NCP restarted, closed: nobody can join any more, and who was joining may or may not have.
    pub(super) fn joins_interrupted(&mut self) {
        self.joins.here = None;
        self.joins.routers = None;
        if let Some(window) = self.joins.window.take() {
            if matches!(window.stage, Stage::Open) {
                self.event(Event::Open(None));
            }
            let reason = JoinFailure::Interrupted;
            self.event(Event::JoinFailed { eui: window.eui, reason });
        }
    }

    fn permit_joining(&mut self, now: Millis, seconds: u8) {
        self.joins.here = Some(seconds);
        self.joins.routers = Some(seconds);
        self.tell_permits(now);
    }

    /// Tried until the link takes it: a network that should be closed must not stay open because much was said.
    fn tell_permits(&mut self, now: Millis) {
        if let Some(seconds) = self.joins.here
            && self.request(now, &permit(NwkAddr::COORDINATOR, seconds), ANSWER_MS, Purpose::Nothing)
        {
            self.joins.here = None;
        }
        if let Some(seconds) = self.joins.routers
            && self.joins.bucket.take(now)
            && self.request(now, &permit(NwkAddr::ROUTERS, seconds), ANSWER_MS, Purpose::Nothing)
        {
            self.joins.routers = None;
        }
    }
}

/// Whole seconds, at least one, never for ever.
fn seconds_until(now: Millis, until: Millis) -> u8 {
    let seconds = until.saturating_sub(now).div_ceil(1_000);
    u8::try_from(seconds).unwrap_or(u8::MAX).clamp(1, MAX_PERMIT_SECONDS)
}
