//! Who may join: one device at a time, for at most 254 s, with its install code. The network is closed as soon as a device
//! begins, and opened again for the one it was meant for if another came first.

use std::collections::VecDeque;

use cardea_radio::Millis;
use cardea_zigbee::coordinator::{Event, JoinFailure, MAX_PERMIT_SECONDS, Question};
use cardea_zigbee::{Eui64, InstallCode, NwkAddr};

use super::{Host, Stack};

/// Admissions that may wait for their turn.
const MAX_ADMISSIONS: usize = 64;
/// How long a device may take from its first sign to its own link key.
const JOINING_MS: Millis = 30_000;
/// How long the library may take to store an install code.
const CODE_MS: Millis = 5_000;
/// Milliseconds between two floods of the network.
const BROADCAST_MS: Millis = 1_500;

struct Admission {
    eui: Eui64,
    code: InstallCode,
    seconds: u8,
}

struct Window {
    eui: Eui64,
    /// When it closes for good.
    until: Millis,
    stage: Stage,
}

enum Stage {
    /// The library is told the install code.
    Code {
        until: Millis,
    },
    Open,
    /// Closed while this device joins.
    Joining {
        who: Eui64,
        until: Millis,
    },
}

#[derive(Default)]
pub(super) struct Joins {
    queue: VecDeque<Admission>,
    window: Option<Window>,
    /// What the coordinator is to be told next, seconds; the newest is enough.
    here: Option<u8>,
    /// What routers are to be told next, seconds; the newest is enough.
    routers: Option<u8>,
    broadcast_at: Millis,
}

impl<S: Stack> Host<S> {
    pub(super) fn admit(&mut self, now: Millis, eui: Eui64, code: InstallCode, seconds: u8) {
        self.give_up(now, eui);
        if self.joins.queue.len() >= MAX_ADMISSIONS {
            return self.failed(eui, JoinFailure::Busy);
        }
        self.joins.queue.push_back(Admission { eui, code, seconds: seconds.clamp(1, MAX_PERMIT_SECONDS) });
    }

    pub(super) fn dismiss(&mut self, now: Millis, eui: Eui64) {
        if self.give_up(now, eui) {
            self.failed(eui, JoinFailure::Dismissed);
        } else if self.is_up() {
            // The code of a device that has joined is still there, and would let it in again.
            self.stack.remove_code(eui);
        }
    }

    /// True if it waited.
    fn give_up(&mut self, now: Millis, eui: Eui64) -> bool {
        let before = self.joins.queue.len();
        self.joins.queue.retain(|admission| admission.eui != eui);
        let open = self.joins.window.as_ref().is_some_and(|window| window.eui == eui);
        if open {
            self.end_window(now, true);
        }
        open || self.joins.queue.len() != before
    }

    pub(super) fn code_added(&mut self, now: Millis, well: bool) {
        let Some(window) = self.joins.window.as_mut().filter(|w| matches!(w.stage, Stage::Code { .. }))
        else {
            return;
        };
        let eui = window.eui;
        if !well {
            self.joins.window = None;
            return self.failed(eui, JoinFailure::Code("the library does not take it".into()));
        }
        window.stage = Stage::Open;
        let seconds = seconds_until(now, window.until);
        self.open_for(now, seconds);
    }

    /// A device begins to join, comes back, or left.
    pub(super) fn updated(&mut self, now: Millis, eui: Eui64, nwk: NwkAddr, status: u8) {
        if !self.is_up() {
            return;
        }
        match status {
            1 => {
                let Some(window) = &mut self.joins.window else { return };
                if matches!(window.stage, Stage::Open) {
                    window.stage = Stage::Joining { who: eui, until: now.saturating_add(JOINING_MS) };
                    self.open_for(now, 0);
                }
            }
            2 => self.left(eui),
            0 | 3 => self.event(Event::Rejoined { eui, nwk }),
            _ => {}
        }
    }

    pub(super) fn left(&mut self, eui: Eui64) {
        if self.is_up() {
            self.event(Event::Left { eui });
        }
    }

    pub(super) fn authorised(&mut self, now: Millis, eui: Eui64, nwk: NwkAddr, kind: u8, status: u8) {
        if !self.is_up() {
            return;
        }
        let failure = match (kind, status) {
            (0, _) => Some(JoinFailure::NoUniqueKey),
            (_, 0) => None,
            _ => Some(JoinFailure::Keys),
        };
        if failure == Some(JoinFailure::NoUniqueKey) {
            // Whether it went is seen by what it says next.
            let _ = self.stack.ask(nwk, eui, &Question::Leave);
        }
        self.join_ended(now, eui, failure.is_none());
        match failure {
            None => self.event(Event::Joined { eui, nwk }),
            Some(reason) => self.failed(eui, reason),
        }
    }

    /// Ends the window if this was the device it was for, or opens it again for what is left of its time.
    fn join_ended(&mut self, now: Millis, eui: Eui64, well: bool) {
        let Some(window) = &mut self.joins.window else { return };
        if window.eui == eui {
            return self.end_window(now, !well);
        }
        if matches!(window.stage, Stage::Joining { who, .. } if who == eui) {
            window.stage = Stage::Open;
            let seconds = seconds_until(now, window.until);
            self.open_for(now, seconds);
        }
    }

    fn end_window(&mut self, now: Millis, forget_code: bool) {
        let Some(window) = self.joins.window.take() else { return };
        if matches!(window.stage, Stage::Open) {
            self.open_for(now, 0);
        }
        if forget_code && self.is_up() {
            self.stack.remove_code(window.eui);
        }
    }

    pub(super) fn joins_timeout(&mut self, now: Millis) {
        let Some(window) = &self.joins.window else { return };
        let eui = window.eui;
        let reason = match window.stage {
            Stage::Joining { who, until } if until <= now => {
                if who != eui && window.until > now {
                    return self.join_ended(now, who, false);
                }
                if who == eui { JoinFailure::Keys } else { JoinFailure::Silent }
            }
            Stage::Code { until } if until <= now => JoinFailure::Code("the library does not say".into()),
            Stage::Open if window.until <= now => JoinFailure::Silent,
            _ => return,
        };
        self.end_window(now, true);
        self.failed(eui, reason);
    }

    pub(super) fn joins_progress(&mut self, now: Millis) {
        if self.joins.window.is_none()
            && let Some(Admission { eui, code, seconds }) = self.joins.queue.pop_front()
        {
            let until = now.saturating_add(u64::from(seconds).saturating_mul(1_000));
            let stage = Stage::Code { until: now.saturating_add(CODE_MS) };
            self.joins.window = Some(Window { eui, until, stage });
            self.stack.add_code(eui, &code);
        }
        self.tell_permits(now);
    }

    pub(super) fn joins_interrupted(&mut self) {
        (self.joins.here, self.joins.routers) = (None, None);
        let open = self.joins.window.take().map(|window| window.eui);
        if open.is_some() {
            self.event(Event::Open(false));
        }
        let waiting = std::mem::take(&mut self.joins.queue);
        for eui in open.into_iter().chain(waiting.into_iter().map(|admission| admission.eui)) {
            self.failed(eui, JoinFailure::Interrupted);
        }
    }

    /// As after each start: nobody may join.
    pub(super) fn close_network(&mut self) {
        self.joins.here = Some(0);
    }

    fn open_for(&mut self, now: Millis, seconds: u8) {
        (self.joins.here, self.joins.routers) = (Some(seconds), Some(seconds));
        self.tell_permits(now);
        self.event(Event::Open(seconds > 0));
    }

    /// Tried until the library takes it: a network that should be closed must not stay open because much was said.
    fn tell_permits(&mut self, now: Millis) {
        if let Some(seconds) = self.joins.here
            && self.stack.permit(NwkAddr::COORDINATOR, seconds)
        {
            self.joins.here = None;
        }
        if let Some(seconds) = self.joins.routers
            && self.joins.broadcast_at <= now
            && self.stack.permit(NwkAddr::ROUTERS, seconds)
        {
            self.joins.routers = None;
            self.joins.broadcast_at = now.saturating_add(BROADCAST_MS);
        }
    }

    fn failed(&mut self, eui: Eui64, reason: JoinFailure) {
        self.event(Event::JoinFailed { eui, reason });
    }
}

/// Whole seconds, at least one, never for ever.
fn seconds_until(now: Millis, until: Millis) -> u8 {
    let seconds = until.saturating_sub(now).div_ceil(1_000);
    u8::try_from(seconds).unwrap_or(u8::MAX).clamp(1, MAX_PERMIT_SECONDS)
}
