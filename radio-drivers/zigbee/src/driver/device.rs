//! One admitted device, and the interview that finds its tunnel.

use cardea_framing::LockId;
use cardea_radio::{Event, Millis};

use super::{Asked, Driver};
use crate::coordinator::{Answer, Failure, Order, Question};
use crate::driver::store::RecordKey;
use crate::tunnel::MAX_FRAME;
use crate::types::{Eui64, InstallCode};

/// Home automation: the profile of the tunnel.
pub(super) const PROFILE: u16 = 0x0104;
/// Endpoints of a device that are looked at.
const MAX_ENDPOINTS: usize = 16;
/// Between two tries of an interview: the first wait, and the longest, milliseconds.
const RETRY_MS: Millis = 5_000;
const MAX_RETRY_MS: Millis = 600_000;

/// What a label says of a device.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) eui: Eui64,
    pub(super) code: InstallCode,
}

/// Where a device's tunnel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// 1–240.
    pub(super) number: u8,
    /// Frames wait at its parent until it polls.
    pub(super) sleepy: bool,
}

pub(super) struct Device {
    pub(super) identity: Identity,
    /// It is in the network, with a link key of its own.
    pub(super) joined: bool,
    /// `None`: not found yet.
    pub(super) endpoint: Option<Endpoint>,
    pub(super) interview: Interview,
    /// The handle of the frame that the coordinator has.
    pub(super) flight: Option<u64>,
}

/// How far the questions to a device have come.
pub(super) enum Interview {
    /// Nothing is asked.
    Idle,
    /// Tried again at this moment, for the so-manieth time.
    Waiting { at: Millis, tries: u32 },
    /// Asked what it is.
    Node { tries: u32 },
    /// Asked which endpoints it has.
    Endpoints { sleepy: bool, tries: u32 },
    /// Asked what this endpoint speaks; the others come after it.
    Endpoint { sleepy: bool, left: Vec<u8>, tries: u32 },
}

impl Interview {
    fn tries(&self) -> u32 {
        match self {
            Self::Idle => 0,
            Self::Waiting { tries, .. }
            | Self::Node { tries }
            | Self::Endpoints { tries, .. }
            | Self::Endpoint { tries, .. } => *tries,
        }
    }
}

impl Device {
    pub(super) fn new(identity: Identity) -> Self {
        Self { identity, joined: false, endpoint: None, interview: Interview::Idle, flight: None }
    }

    /// What the gateway may do with it; `None` while it cannot be reached.
    ///
    /// It is never `sleepy` in the contract's sense: a parent takes frames for it at any time. Its receipt follows its next
    /// poll; a frame for a sleeping one needs ten seconds of its life for what may hold it up (see `traffic`), so there is room
    /// for two.
    pub(super) fn link(&self, lock: LockId) -> Option<Event> {
        let endpoint = self.endpoint.filter(|_| self.joined)?;
        let (retry_ms, life_ms) = if endpoint.sleepy { (9_000, 24_000) } else { (3_000, 10_000) };
        let mtu_down = u16::try_from(MAX_FRAME).unwrap_or(u16::MAX);
        Some(Event::Link { lock, mtu_down, sleepy: false, retry_ms, life_ms })
    }
}

impl Driver {
    /// Asks a device what it is, unless it is being asked.
    pub(super) fn interview(&mut self, now: Millis, lock: LockId) {
        if !self.is_up() {
            return;
        }
        let Some(device) = self.devices.get_mut(&lock) else { return };
        let tries = device.interview.tries();
        match device.interview {
            Interview::Idle => {}
            Interview::Waiting { at, .. } => drop(self.due.remove(&(at, lock))),
            _ => return,
        }
        device.interview = Interview::Node { tries };
        self.question(now, lock, Question::Node);
    }

    fn question(&mut self, now: Millis, lock: LockId, question: Question) {
        let Some(eui) = self.devices.get(&lock).map(|device| device.identity.eui) else { return };
        match self.ask(Asked::Interview(lock)) {
            Some(handle) => self.orders.push_back(Order::Ask { handle, eui, question }),
            None => self.interview_later(now, lock),
        }
    }

    pub(super) fn interview_answered(&mut self, now: Millis, lock: LockId, answer: Result<Answer, Failure>) {
        let cluster = self.config.tunnel.cluster;
        let Some(device) = self.devices.get_mut(&lock) else { return };
        let next = match (std::mem::replace(&mut device.interview, Interview::Idle), answer) {
            (Interview::Node { tries }, Ok(Answer::Node(node))) => {
                device.interview = Interview::Endpoints { sleepy: node.is_sleepy(), tries };
                Some(Question::Endpoints)
            }
            (Interview::Endpoints { sleepy, tries }, Ok(Answer::Endpoints(mut left))) => {
                left.retain(|endpoint| (1..=240).contains(endpoint));
                left.truncate(MAX_ENDPOINTS);
                // The first is asked first.
                left.reverse();
                let first = left.last().copied();
                device.interview = Interview::Endpoint { sleepy, left, tries };
                first.map(Question::Endpoint)
            }
            (Interview::Endpoint { sleepy, mut left, tries }, Ok(Answer::Endpoint(descriptor))) => {
                let asked = left.pop();
                let tunnel = descriptor.profile == PROFILE && descriptor.clusters.servers.contains(&cluster);
                if let Some(number) = asked.filter(|_| tunnel) {
                    return self.found(lock, Endpoint { number, sleepy });
                }
                let next = left.last().copied();
                device.interview = Interview::Endpoint { sleepy, left, tries };
                next.map(Question::Endpoint)
            }
            (interview, answer) => {
                tracing::debug!(%lock, ?answer, "a Zigbee lock does not say what it is");
                device.interview = interview;
                return self.interview_later(now, lock);
            }
        };
        match next {
            Some(question) => self.question(now, lock, question),
            None => {
                self.notice(
                    now,
                    format!(
                        "lock {lock} has no tunnel (cluster {cluster:#06x}) on any endpoint: its firmware is \
                         for another gateway, or `cluster` of [zigbee] is not its maker's"
                    ),
                );
                self.interview_later(now, lock);
            }
        }
    }

    fn interview_later(&mut self, now: Millis, lock: LockId) {
        let Some(device) = self.devices.get_mut(&lock) else { return };
        let tries = device.interview.tries();
        let wait = RETRY_MS.saturating_mul(1 << tries.min(10)).min(MAX_RETRY_MS);
        let at = now.saturating_add(wait);
        device.interview = Interview::Waiting { at, tries: tries.saturating_add(1) };
        self.due.insert((at, lock));
    }

    /// Forgets what was asked: the device has another identity now, or is gone.
    pub(super) fn interview_dropped(&mut self, lock: LockId) {
        self.asked.retain(|_, asked| !matches!(asked, Asked::Interview(whose) if *whose == lock));
        if let Some(device) = self.devices.get_mut(&lock)
            && let Interview::Waiting { at, .. } = std::mem::replace(&mut device.interview, Interview::Idle)
        {
            self.due.remove(&(at, lock));
        }
    }

    fn found(&mut self, lock: LockId, endpoint: Endpoint) {
        let Some(device) = self.devices.get_mut(&lock) else { return };
        if device.endpoint.replace(endpoint) != Some(endpoint) {
            self.events.extend(device.link(lock));
            self.writer.mark(RecordKey::Device(lock));
        }
    }
}
