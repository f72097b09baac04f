//! The air of one coordinator, whatever family's: what it remembers, which devices there are, who may join. What happens in it
//! is told to the family's firmware as [`Notice`]s.
//!
//! There is no distance and no cryptography: that both ends have the same key is a comparison, that a frame is no replay
//! another. Who finds no room at the coordinator joins behind a router, and is there as long as that is.

mod device;
mod parents;
mod stack;
mod traffic;
mod trust;

use std::collections::{BTreeMap, VecDeque};

use cardea_radio::Millis;
use cardea_zigbee::{Eui64, Key, NwkAddr};

pub(super) use device::WELL_KNOWN;
pub use device::{Asdu, DeviceConfig, Downlink, Uplink};
use device::{Device, State};
pub(super) use stack::{Does, Own, Reply, zdo};
pub(super) use traffic::{End, Request, Ticket};
pub(super) use trust::{Refusal, Rejoin, Verdict};

use super::nvram::Nvram;
use crate::Random;

/// Of the last hop; nothing is measured.
pub(super) const LQI: u8 = 200;
pub(super) const RSSI: i8 = -55;
/// What it did since it was made, for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Networks formed.
    pub formed: u32,
    /// Networks resumed.
    pub resumed: u32,
    /// Devices let in, each time with a key of their own or without.
    pub joined: u32,
    /// Devices that came back with the keys that they had.
    pub rejoined: u32,
    /// Starts, whatever the reason.
    pub started: u32,
    /// Requests that made no sense; the answer said so.
    pub refused: u32,
    /// What it had to say and had no room for.
    pub dropped: u32,
    /// Frames from hosts to devices that arrived.
    pub delivered: u32,
    /// Frames from devices to hosts.
    pub received: u32,
}

/// What the host has decided for the trust centre and the parent.
#[derive(Clone)]
pub(super) struct Rules {
    pub(super) max_children: usize,
    /// While the network is open, devices may join.
    pub(super) joins: bool,
    /// Who missed a network key may come back with its link key.
    pub(super) rejoins: bool,
    /// Only whose install code is known.
    pub(super) codes_required: bool,
    /// Who takes no link key of its own is sent away.
    pub(super) own_keys_required: bool,
    /// What a device begins with whose install code is not known.
    pub(super) default_key: Option<Key>,
    pub(super) own_keys: OwnKeys,
    /// How long a frame is kept for a child that sleeps.
    pub(super) persistence: Millis,
}

/// Where link keys of devices come from.
#[derive(Clone)]
pub(super) enum OwnKeys {
    /// There are none.
    None,
    /// Made anew for each.
    Random,
    /// Of this secret and the device's address; none is stored.
    Hashed(Key),
}

impl OwnKeys {
    /// The key that follows from the secret. Real ones are hashes.
    fn hashed(secret: &Key, eui: Eui64) -> Key {
        let mut key = secret.clone();
        key.0.iter_mut().zip(eui.0.iter().chain(&eui.0)).for_each(|(byte, with)| *byte ^= with);
        key
    }
}

/// What happens in the air.
pub(super) enum Notice {
    /// A device has an address and waits for keys, which it will get or not.
    Joining { eui: Eui64, nwk: NwkAddr, verdict: Verdict },
    /// A device says where it is.
    Announced { eui: Eui64, nwk: NwkAddr, mac_capability: u8 },
    /// A device has all its keys, maybe one of its own among them.
    Joined { eui: Eui64, nwk: NwkAddr, own_key: bool },
    /// A device is not let in.
    Refused { eui: Eui64, nwk: NwkAddr, why: Refusal },
    /// A device is back; its announcement follows.
    Rejoined { eui: Eui64, nwk: NwkAddr, how: Rejoin },
    /// A device has left, maybe to come back.
    Left { eui: Eui64, nwk: NwkAddr, rejoin: bool },
    /// A device says something; the last hop was from this address.
    Frame { eui: Eui64, nwk: NwkAddr, from: NwkAddr, counter: u8, asdu: Asdu },
    /// What became of a frame or a question.
    Ended { ticket: Ticket, end: End },
}

/// What tests do to an NCP and see of it.
#[derive(Default)]
pub(super) struct Watch {
    /// Does something to what it says.
    pub(super) tamper: Option<Tamper>,
    /// Calls of the host in their order, the latest few thousand.
    pub(super) asked: VecDeque<u16>,
}

/// Does something to the packets that the NCP says.
pub(super) type Tamper = Box<dyn FnMut(&mut Vec<u8>) + Send>;

impl Watch {
    pub(super) fn heard(&mut self, call: u16) {
        self.asked.push_back(call);
        if self.asked.len() > 4_096 {
            self.asked.pop_front();
        }
    }

    /// False: it is not said at all.
    pub(super) fn spoil(&mut self, packet: &mut Vec<u8>) -> bool {
        if let Some(tamper) = &mut self.tamper {
            tamper(packet);
        }
        !packet.is_empty()
    }
}

pub(super) struct Air {
    /// The coordinator's address from the factory.
    factory: Eui64,
    pub(super) random: Random,
    pub(super) nvram: Nvram,
    pub(super) rules: Rules,
    /// The network runs.
    pub(super) running: bool,
    pub(super) open_until: Millis,
    /// The same of the routers in the network.
    pub(super) routers_open_until: Millis,
    devices: BTreeMap<Eui64, Device>,
    radio: VecDeque<(Eui64, Downlink)>,
    pub(super) traffic: Traffic,
    pub(super) watch: Watch,
    notices: VecDeque<Notice>,
}

impl Air {
    pub(super) fn new(factory: Eui64, seed: u64, nvram: Nvram, rules: Rules) -> Self {
        Self {
            factory,
            random: Random::new(seed, 0xDC),
            nvram,
            rules,
            running: false,
            open_until: 0,
            routers_open_until: 0,
            devices: BTreeMap::new(),
            radio: VecDeque::new(),
            traffic: Traffic::default(),
            watch: Watch::default(),
            notices: VecDeque::new(),
        }
    }

    /// The coordinator's own address.
    pub(super) fn eui(&self) -> Eui64 {
        self.nvram.eui.unwrap_or(self.factory)
    }

    /// The firmware starts: the network does not run, and what was kept for devices is gone.
    pub(super) fn restart(&mut self, rules: Rules) {
        (self.rules, self.running, self.open_until) = (rules, false, 0);
        self.notices.clear();
        self.devices.values_mut().for_each(|device| device.waiting.clear());
    }

    /// What a device's application learns next.
    pub(super) fn poll_radio(&mut self) -> Option<(Eui64, Downlink)> {
        self.radio.pop_front()
    }

    pub(super) fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Millis> {
        self.devices.values().filter_map(Device::poll_timeout).min()
    }

    /// Everything that is due.
    pub(super) fn handle_timeout(&mut self, now: Millis) {
        // Routers first: whoever is behind one does not notice that the coordinator was away.
        let mut all: Vec<Eui64> = self.devices.keys().copied().collect();
        all.sort_by_key(|eui| !self.routes(*eui));
        for eui in all {
            self.look_around(now, eui);
            let Some(device) = self.devices.get_mut(&eui) else { continue };
            match device.state {
                State::Apart(at) if device.on && at <= now => self.scan(now, eui),
                State::Joining(_, _, at) if device.on && at <= now => self.join_step(now, eui),
                _ => {}
            }
            self.deliver(now, eui);
        }
    }

    /// The devices are in this air from now on, wherever they think they are.
    pub(super) fn take_devices(&mut self, from: &mut Self) {
        self.devices = std::mem::take(&mut from.devices);
        self.radio = std::mem::take(&mut from.radio);
    }

    /// Puts a device into it; it is off.
    pub(super) fn add(&mut self, config: DeviceConfig) {
        self.devices.insert(config.eui, Device::new(config));
    }

    fn notice(&mut self, notice: Notice) {
        self.notices.push_back(notice);
    }

    /// Who has this address, as far as the coordinator knows.
    pub(super) fn member_at(&self, nwk: NwkAddr) -> Option<Eui64> {
        self.nvram.members.iter().find(|(_, member)| member.nwk == nwk).map(|(eui, _)| *eui)
    }

    /// One more frame is encrypted with the network key.
    fn count(&mut self) -> u32 {
        let counters = self.nvram.counters();
        counters.nib = counters.nib.saturating_add(1);
        counters.nib
    }

    /// An address that nobody has.
    pub(super) fn fresh_address(&self) -> NwkAddr {
        loop {
            let [low, high, ..] = self.random.next_u64().to_le_bytes();
            let nwk = NwkAddr(u16::from_le_bytes([low, high]));
            let taken = self.nvram.members.values().any(|member| member.nwk == nwk);
            if nwk.is_unicast() && nwk != NwkAddr::COORDINATOR && !taken {
                return nwk;
            }
        }
    }
}
