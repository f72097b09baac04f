//! Devices as their coordinator meets them: what they are, whether they are there, and what their parent keeps for them.

use std::collections::VecDeque;

use cardea_radio::Millis;
use cardea_zigbee::descriptors::{NodeDescriptor, SimpleDescriptor};
use cardea_zigbee::{Eui64, InstallCode, Key, NwkAddr};

use super::traffic::Waiting;
use super::trust::Refusal;

/// One hop, there or back.
pub(super) const HOP_MS: Millis = 4;
/// Between two looks for an open network.
pub(super) const SCAN_MS: Millis = 500;
/// How long a device that was sent away stays away.
pub(super) const AWAY_MS: Millis = 10_000;
/// "ZigBeeAlliance09", which everybody knows: the link key of devices without an install code.
pub(in crate::zigbee) const WELL_KNOWN: [u8; 16] = *b"ZigBeeAlliance09";

/// What a device is made with.
#[derive(Debug, Clone)]
pub struct DeviceConfig {
    /// Who.
    pub eui: Eui64,
    /// What its label says; without one it joins with the key that everybody knows.
    pub code: Option<InstallCode>,
    /// Takes a link key of its own when it has joined (R21 and later).
    pub unique_key: bool,
    /// Milliseconds between two polls; `None`: it listens always.
    pub poll: Option<Millis>,
    /// What it says it is.
    pub node: NodeDescriptor,
    /// What it speaks.
    pub endpoints: Vec<SimpleDescriptor>,
}

impl DeviceConfig {
    /// Whether it takes children of its own.
    pub(super) fn is_router(&self) -> bool {
        self.node.mac_capability & 0x02 != 0
    }

    /// The link key that it begins with.
    pub(super) fn link_key(&self) -> Key {
        self.code.as_ref().map_or(Key(WELL_KNOWN), InstallCode::link_key)
    }
}

/// One APS payload between a device and the coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asdu {
    /// Which profile.
    pub profile: u16,
    /// Which cluster.
    pub cluster: u16,
    /// The sender's.
    pub src_endpoint: u8,
    /// The receiver's.
    pub dst_endpoint: u8,
    /// ZCL.
    pub payload: Vec<u8>,
}

/// What a device's application learns from its radio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Downlink {
    /// It is in a network now, with keys that fit.
    Joined,
    /// It is in no network any more, and looks for one.
    Left,
    /// A frame for it.
    Frame(Asdu),
    /// A binding was made (true) or ended: reports of a cluster go to this endpoint of the coordinator.
    Bound(u16, u8, bool),
}

/// What a device's application gives its radio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uplink {
    /// Its battery was put in or taken out. Which network it is in survives that.
    Power(bool),
    /// A frame for the coordinator.
    Frame(Asdu),
}

/// How far a device is with joining.
#[derive(Clone)]
pub(in crate::zigbee) enum State {
    /// In no network; looks for an open one at this time.
    Apart(Millis),
    /// Has an address and waits for keys; the next thing happens at this time.
    Joining(NwkAddr, Step, Millis),
    In(Inside),
}

/// What a device remembers of its network.
#[derive(Clone)]
pub(in crate::zigbee) struct Inside {
    pub(in crate::zigbee) coordinator: Eui64,
    pub(in crate::zigbee) extended_pan: Eui64,
    pub(in crate::zigbee) nwk: NwkAddr,
    pub(in crate::zigbee) key: Key,
    /// Its own link key.
    pub(in crate::zigbee) link_key: Option<Key>,
    /// The coordinator's highest frame counter so far: whatever does not exceed it is a replay.
    pub(in crate::zigbee) heard: u32,
}

/// What happens next in a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Announce,
    /// It gets its last key: one of its own, or none.
    Admit {
        own_key: bool,
    },
    Refuse(Refusal),
}

pub(in crate::zigbee) struct Device {
    pub(super) config: DeviceConfig,
    pub(super) on: bool,
    pub(super) state: State,
    /// The router that it is behind; `None`: it is a child of the coordinator, or in no network.
    pub(super) parent: Option<Eui64>,
    pub(super) waiting: VecDeque<Waiting>,
    /// A poll happened at this time, and others do at multiples of the interval from it.
    pub(super) polled: Millis,
    /// APS counter of what it sends.
    pub(super) counter: u8,
}

impl Device {
    pub(super) fn new(config: DeviceConfig) -> Self {
        let state = State::Apart(0);
        Self { config, on: false, state, parent: None, waiting: VecDeque::new(), polled: 0, counter: 0 }
    }

    /// When a frame that its parent gets now can be with it.
    pub(super) fn listens_at(&self, now: Millis) -> Millis {
        let ready = now.saturating_add(HOP_MS);
        match self.config.poll {
            None => ready,
            Some(interval) => {
                let interval = interval.max(1);
                let since = ready.saturating_sub(self.polled);
                self.polled.saturating_add(since.div_ceil(interval).saturating_mul(interval))
            }
        }
    }

    /// When anything happens to it by itself.
    pub(super) fn poll_timeout(&self) -> Option<Millis> {
        let own = match &self.state {
            State::Apart(at) | State::Joining(_, _, at) => self.on.then_some(*at),
            State::In(_) => None,
        };
        self.waiting.iter().map(|waiting| waiting.at).chain(own).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(poll: Option<Millis>) -> Device {
        let node = NodeDescriptor {
            flags: 0,
            mac_capability: 0,
            manufacturer: 0,
            max_buffer: 0,
            max_incoming: 0,
            server_mask: 0,
            max_outgoing: 0,
            descriptor_capability: 0,
        };
        let eui = Eui64([1; 8]);
        Device::new(DeviceConfig { eui, code: None, unique_key: true, poll, node, endpoints: vec![] })
    }

    #[test]
    fn who_sleeps_is_reached_at_its_next_poll_and_who_listens_at_once() {
        let mut sleepy = device(Some(1_000));
        sleepy.polled = 300;
        assert_eq!(
            (sleepy.listens_at(300), sleepy.listens_at(1_296), sleepy.listens_at(1_297)),
            (1_300, 1_300, 2_300)
        );
        assert_eq!(device(None).listens_at(300), 300 + HOP_MS);
    }
}
