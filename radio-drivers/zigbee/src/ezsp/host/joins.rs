//! Who may join: one device at a time, for at most 254 s, with its install code.
//!
//! The trust centre is told to let in those whose install code it has, and only while the network is open; it gives each a link
//! key of its own. That a device has one is seen here: who has not proven it within half a minute is sent away.

use std::collections::VecDeque;

use cardea_radio::Millis;

use super::{Host, Purpose};
use crate::coordinator::{Event, JoinFailure, MAX_PERMIT_SECONDS};
use crate::ezsp::call::{Command, Status, policy};
use crate::ezsp::zdo;
use crate::types::{Eui64, InstallCode, NwkAddr};

/// Admissions that may wait for their turn.
const MAX_ADMISSIONS: usize = 64;
/// How long a device may take from its first sign to its own link key.
const JOINING_MS: Millis = 30_000;
/// The trust centre did not let it in.
const DENIED: u8 = 2;
/// It proved that it has the key that it was given.
const PROVEN: u8 = 0x34;
/// It did not in time, or could not.
const UNPROVEN: [u8; 2] = [0x32, 0x33];

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
    /// The NCP is told the key of the install code.
    Code,
    Open,
    /// Closed while this device joins.
    Joining {
        who: Eui64,
        until: Millis,
        /// It was heard in the network: the key of the install code fitted.
        inside: bool,
    },
}

#[derive(Debug, Default)]
pub(super) struct Joins {
    queue: VecDeque<Admission>,
    window: Option<Window>,
    /// What the NCP is to be told next, seconds; the newest is enough.
    here: Option<u8>,
    /// What routers are to be told next, seconds; the newest is enough.
    routers: Option<u8>,
    /// When there is a token for that.
    token_at: Option<Millis>,
}

impl Joins {
    pub(super) fn poll_timeout(&self) -> Option<Millis> {
        let window = self.window.as_ref().map(|window| match window.stage {
            Stage::Joining { until, .. } => until,
            Stage::Code | Stage::Open => window.until,
        });
        [window, self.token_at].into_iter().flatten().min()
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
        if self.dismiss_quietly(now, eui) {
            self.event(Event::JoinFailed { eui, reason: JoinFailure::Dismissed });
        }
    }

    fn dismiss_quietly(&mut self, now: Millis, eui: Eui64) -> bool {
        let before = self.joins.queue.len();
        self.joins.queue.retain(|admission| admission.eui != eui);
        let mut found = self.joins.queue.len() != before;
        if self.joins.window.as_ref().is_some_and(|window| window.eui == eui) {
            self.end_window(now);
            found = true;
        }
        found
    }

    pub(super) fn code_added(&mut self, now: Millis, eui: Eui64, refused: Option<(Option<Status>, String)>) {
        let Some(window) =
            self.joins.window.as_mut().filter(|w| w.eui == eui && matches!(w.stage, Stage::Code))
        else {
            return;
        };
        if let Some((_, reason)) = refused {
            self.joins.window = None;
            return self.event(Event::JoinFailed { eui, reason: JoinFailure::Code(reason) });
        }
        window.stage = Stage::Open;
        let seconds = seconds_until(now, window.until);
        self.permit_joining(now, seconds);
        self.event(Event::Open(Some(eui)));
    }

    /// A device begins to join, comes back, or left.
    pub(super) fn updated(&mut self, now: Millis, eui: Eui64, nwk: NwkAddr, update: u8, decision: u8) {
        match update {
            // Whose install code nobody knows; the network stays open for the one it is meant for.
            1 if decision == DENIED => {}
            1 => {
                self.learn(eui, nwk);
                let Some(window) = &mut self.joins.window else { return };
                if matches!(window.stage, Stage::Open) {
                    let until = now.saturating_add(JOINING_MS);
                    window.stage = Stage::Joining { who: eui, until, inside: false };
                    self.permit_joining(now, 0);
                    self.event(Event::Open(None));
                }
            }
            2 => {
                self.addresses.forget(eui);
                self.event(Event::Left { eui });
            }
            0 | 3 if decision != DENIED => {
                self.learn(eui, nwk);
                self.event(Event::Rejoined { eui, nwk });
            }
            _ => {}
        }
    }

    /// It is in the network, so it has the network key.
    pub(super) fn announced(&mut self, eui: Eui64) {
        if let Some(Window { stage: Stage::Joining { who, inside, .. }, .. }) = &mut self.joins.window
            && *who == eui
        {
            *inside = true;
        }
    }

    pub(super) fn key_established(&mut self, now: Millis, eui: Eui64, status: u8) {
        if status == PROVEN {
            let nwk = self.addresses.nwk(eui).unwrap_or(NwkAddr(0xFFFE));
            self.join_ended(now, eui);
            self.event(Event::Joined { eui, nwk });
        } else if UNPROVEN.contains(&status) {
            self.send_away(eui);
            self.join_ended(now, eui);
            self.event(Event::JoinFailed { eui, reason: JoinFailure::NoUniqueKey });
        }
    }

    fn send_away(&mut self, eui: Eui64) {
        if let Some(nwk) = self.addresses.nwk(eui) {
            let (cluster, asdu) = zdo::leave(self.zdo_sequence(), eui);
            self.zdo_unicast(nwk, cluster, &asdu, Purpose::Nothing);
        }
    }

    /// Ends the window if this was the device it was for, or opens it again for what is left of its time.
    fn join_ended(&mut self, now: Millis, eui: Eui64) {
        let Some(window) = &mut self.joins.window else { return };
        if window.eui == eui {
            return self.end_window(now);
        }
        if matches!(window.stage, Stage::Joining { who, .. } if who == eui) {
            window.stage = Stage::Open;
            let (meant_for, seconds) = (window.eui, seconds_until(now, window.until));
            self.permit_joining(now, seconds);
            self.event(Event::Open(Some(meant_for)));
        }
    }

    /// The key of the install code is forgotten in any case: nobody else's is there, and the device has its own or none.
    fn end_window(&mut self, now: Millis) {
        let Some(window) = self.joins.window.take() else { return };
        if matches!(window.stage, Stage::Open) {
            self.permit_joining(now, 0);
            self.event(Event::Open(None));
        }
        if self.is_up() {
            self.tell(Command::ClearTransientLinkKeys {}, Purpose::Nothing);
        }
    }

    pub(super) fn joins_timeout(&mut self, now: Millis) {
        let Some(window) = &self.joins.window else { return };
        let (eui, over) = (window.eui, window.until <= now);
        match window.stage {
            Stage::Joining { who, until, inside } if until <= now => {
                if inside {
                    self.send_away(who);
                }
                if who != eui && !over {
                    return self.join_ended(now, who);
                }
                let reason = match (who == eui, inside) {
                    (true, true) => JoinFailure::NoUniqueKey,
                    (true, false) => JoinFailure::Keys,
                    (false, _) => JoinFailure::Silent,
                };
                self.end_window(now);
                self.event(Event::JoinFailed { eui, reason });
            }
            Stage::Code | Stage::Open if over => {
                self.end_window(now);
                self.event(Event::JoinFailed { eui, reason: JoinFailure::Silent });
            }
            _ => {}
        }
    }

    pub(super) fn joins_progress(&mut self, now: Millis) {
        if !self.is_up() {
            return;
        }
        if self.joins.window.is_none()
            && let Some(Admission { eui, code, seconds }) = self.joins.queue.pop_front()
        {
            let import = Command::ImportTransientKey { eui, key: code.link_key(), flags: 0 };
            if self.tell(import, Purpose::AddCode(eui)) {
                let until = now.saturating_add(u64::from(seconds).saturating_mul(1_000));
                self.joins.window = Some(Window { eui, until, stage: Stage::Code });
            } else {
                self.joins.queue.push_front(Admission { eui, code, seconds });
            }
        }
        self.tell_permits(now);
    }

    /// The NCP restarted, closed: nobody can join any more, and who was joining may or may not have.
    pub(super) fn joins_interrupted(&mut self) {
        (self.joins.here, self.joins.routers, self.joins.token_at) = (None, None, None);
        if let Some(window) = self.joins.window.take() {
            if matches!(window.stage, Stage::Open) {
                self.event(Event::Open(None));
            }
            let reason = JoinFailure::Interrupted;
            self.event(Event::JoinFailed { eui: window.eui, reason });
        }
    }

    fn permit_joining(&mut self, now: Millis, seconds: u8) {
        (self.joins.here, self.joins.routers) = (Some(seconds), Some(seconds));
        self.tell_permits(now);
    }

    /// Tried until there is room: a network that should be closed must not stay open because much was said.
    fn tell_permits(&mut self, now: Millis) {
        if let Some(seconds) = self.joins.here
            && self.queue.len().saturating_add(2) <= super::MAX_QUEUED
        {
            self.joins.here = None;
            let joins = if seconds > 0 { policy::JOINS | policy::INSTALL_CODES } else { 0 };
            let policy =
                Command::SetPolicy { policy: policy::TRUST_CENTRE, decision: joins | policy::REJOINS };
            let permit = Command::PermitJoining { seconds };
            // The policy before the door opens, the door before the policy changes.
            let both = if seconds > 0 { [policy, permit] } else { [permit, policy] };
            for command in both {
                self.tell(command, Purpose::Nothing);
            }
        }
        self.joins.token_at = None;
        if let Some(seconds) = self.joins.routers {
            if self.bucket.take(now) {
                let asdu = zdo::permit_joining(self.zdo_sequence(), seconds);
                if self.zdo_broadcast(NwkAddr::ROUTERS, zdo::PERMIT_JOINING, &asdu) {
                    self.joins.routers = None;
                }
            } else {
                self.joins.token_at = Some(self.bucket.next(now));
            }
        }
    }
}

/// Whole seconds, at least one, never for ever.
fn seconds_until(now: Millis, until: Millis) -> u8 {
    let seconds = until.saturating_sub(now).div_ceil(1_000);
    u8::try_from(seconds).unwrap_or(u8::MAX).clamp(1, MAX_PERMIT_SECONDS)
}
