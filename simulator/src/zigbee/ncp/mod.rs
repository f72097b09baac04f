//! The NCP: its link, its requests, its resets. What it says of the network and the devices is in the files beside.

mod answers;
mod devices;
mod trust;

use std::collections::{BTreeMap, VecDeque};

use cardea_radio::Millis;
use cardea_zigbee::descriptors::SimpleDescriptor;
use cardea_zigbee::zboss::Link;
use cardea_zigbee::zboss::call::{Indication, Request, Response, policy, reset};
use cardea_zigbee::zboss::hl::{Kind, Packet, RESET_TSN, Status};
use cardea_zigbee::{DecodeError, Eui64, Key, NwkAddr};
use zeroize::Zeroizing;

use super::air::{Device, DeviceConfig, Downlink};
use super::nvram::Nvram;
use crate::Random;

/// How long the answer to a reset may wait for its acknowledgement.
const FAREWELL_MS: Millis = 300;
/// How long the firmware takes to start.
const BOOT_MS: Millis = 150;
/// Layers in the status of a response.
const GENERIC: u8 = 0;
const MAC: u8 = 2;
const APS: u8 = 4;
const ZDO: u8 = 5;

/// Statuses as the hosts name them.
mod status {
    use super::{APS, GENERIC, MAC, Status, ZDO};

    pub(super) const ERROR: Status = Status { category: GENERIC, code: 1 };
    pub(super) const INVALID_PARAMETER: Status = Status { category: GENERIC, code: 23 };
    pub(super) const NOT_FOUND: Status = Status { category: GENERIC, code: 28 };
    pub(super) const NOT_IMPLEMENTED: Status = Status { category: GENERIC, code: 31 };
    pub(super) const INVALID_STATE: Status = Status { category: GENERIC, code: 35 };
    pub(super) const TABLE_FULL: Status = Status { category: GENERIC, code: 65 };
    /// The device did not poll in time.
    pub(super) const EXPIRED: Status = Status { category: MAC, code: 0xF0 };
    pub(super) const NO_APS_ACK: Status = Status { category: APS, code: 0xA7 };
    pub(super) const NO_SHORT_ADDRESS: Status = Status { category: APS, code: 0xA9 };
    pub(super) const INVALID_ENDPOINT: Status = Status { category: ZDO, code: 0x82 };
    pub(super) const NOT_SUPPORTED: Status = Status { category: ZDO, code: 0x84 };
    pub(super) const TIMEOUT: Status = Status { category: ZDO, code: 0x85 };
    pub(super) const DEVICE_NOT_FOUND: Status = Status { category: ZDO, code: 0x81 };
}

/// What an NCP is made with.
#[derive(Debug, Clone, Copy)]
pub struct NcpConfig {
    /// Its own address, from the factory.
    pub eui: Eui64,
    /// Makes addresses and PAN ids.
    pub seed: u64,
}

/// What it did since it was made, for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Networks formed.
    pub formed: u32,
    /// Networks resumed.
    pub resumed: u32,
    /// Devices let in, each time with a key of their own or without.
    pub joined: u32,
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

/// Whether the firmware runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    Running,
    /// Was asked to reset, and lets its answer out first.
    Leaving {
        option: u8,
        until: Millis,
    },
    /// Starts; it will say why.
    Booting {
        source: u8,
        until: Millis,
    },
}

/// What is set and lost with every start.
struct Settings {
    role: u8,
    channels: u32,
    pan: u16,
    extended_pan: Eui64,
    key: Option<(Key, u8)>,
    tx_power: i8,
    rx_on_when_idle: u8,
    end_device_timeout: u8,
    max_children: u8,
    manufacturer: u16,
    policies: BTreeMap<u16, u8>,
    endpoints: BTreeMap<u8, SimpleDescriptor>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            role: 3,
            channels: 0x07FF_F800,
            pan: 0xFFFF,
            extended_pan: Eui64([0; 8]),
            key: None,
            tx_power: 8,
            rx_on_when_idle: 0,
            end_device_timeout: 8,
            max_children: 32,
            manufacturer: 0,
            policies: BTreeMap::new(),
            endpoints: BTreeMap::new(),
        }
    }
}

/// Does something to the packets that the NCP says.
type Tamper = Box<dyn FnMut(&mut Vec<u8>) + Send>;

/// A virtual NCP and its air, without port, clock or task.
pub struct Ncp {
    config: NcpConfig,
    random: Random,
    link: Link,
    power: Power,
    nvram: Nvram,
    settings: Settings,
    /// The network runs.
    running: bool,
    open_until: Millis,
    devices: BTreeMap<Eui64, Device>,
    radio: VecDeque<(Eui64, Downlink)>,
    traffic: Traffic,
    tamper: Option<Tamper>,
    /// Calls in their order, the latest few thousand.
    asked: VecDeque<u16>,
}

impl Ncp {
    /// A dongle without power that remembers this.
    #[must_use]
    pub fn new(config: NcpConfig, nvram: Nvram) -> Self {
        Self {
            config,
            random: Random::new(config.seed, 0xDC),
            link: Link::default(),
            power: Power::Booting { source: 0, until: Millis::MAX },
            nvram,
            settings: Settings::default(),
            running: false,
            open_until: 0,
            devices: BTreeMap::new(),
            radio: VecDeque::new(),
            traffic: Traffic::default(),
            tamper: None,
            asked: VecDeque::new(),
        }
    }

    /// Puts a device into its air; it is off.
    pub fn add(&mut self, config: DeviceConfig) {
        self.devices.insert(config.eui, Device::new(config));
    }

    /// A blank one with this address takes its place in the same air.
    pub fn swap(&mut self, now: Millis, eui: Eui64) {
        self.config.eui = eui;
        self.nvram = Nvram::default();
        self.restart(now, 0);
    }

    /// What it remembers.
    #[must_use]
    pub fn nvram(&self) -> &Nvram {
        &self.nvram
    }

    /// What it did.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// The calls of the host so far, oldest first.
    pub fn asked(&self) -> impl Iterator<Item = u16> + '_ {
        self.asked.iter().copied()
    }

    /// Breaks it on purpose: this is done to every packet it says, before the checksums. What is empty then is not said.
    pub fn tamper(&mut self, tamper: impl FnMut(&mut Vec<u8>) + Send + 'static) {
        self.tamper = Some(Box::new(tamper));
    }

    /// It gets power, or its reset pin is pulled: it starts with NVRAM alone. `source`: 0 power, 2 pin, 3 brown-out.
    pub fn restart(&mut self, now: Millis, source: u8) {
        self.nvram.load();
        self.link = Link::default();
        self.settings = Settings::default();
        if let Some(stored) = &self.nvram.stored {
            self.settings.role = 0;
            self.settings.pan = stored.network.pan;
            self.settings.extended_pan = stored.network.extended_pan;
        }
        self.running = false;
        self.open_until = 0;
        self.devices.values_mut().for_each(|device| device.waiting.clear());
        self.power = Power::Booting { source, until: now.saturating_add(BOOT_MS) };
    }

    /// Nobody has the port open any more: what was said is lost.
    pub fn handle_close(&mut self) {
        self.link.reopen();
    }

    /// The port gave these bytes.
    pub fn handle_bytes(&mut self, now: Millis, bytes: &[u8]) {
        if matches!(self.power, Power::Booting { .. }) {
            return;
        }
        self.link.handle_bytes(now, bytes);
        while let Some(packet) = self.link.poll_packet() {
            self.packet(now, &packet);
        }
        self.handle_timeout(now);
    }

    /// Bytes for the port: always one frame.
    pub fn poll_transmit(&mut self, now: Millis) -> Option<Zeroizing<Vec<u8>>> {
        self.link.poll_transmit(now)
    }

    /// What a device's application learns next.
    pub fn poll_radio(&mut self) -> Option<(Eui64, Downlink)> {
        self.radio.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Millis> {
        let power = match self.power {
            Power::Running => None,
            Power::Leaving { until, .. } | Power::Booting { until, .. } => Some(until),
        };
        let devices = self.devices.values().filter_map(Device::poll_timeout).min();
        [power, self.link.poll_timeout(), devices.filter(|_| power.is_none())].into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Millis) {
        self.link.handle_timeout(now);
        if self.link.is_dead() {
            // Whom it told nothing three times is not there; it goes on with what is new.
            self.link.restart();
        }
        match self.power {
            Power::Running => self.devices_timeout(now),
            Power::Leaving { option, until } if until <= now || self.link.is_idle() => {
                if option != reset::KEEP {
                    self.nvram.erase();
                }
                self.restart(now, 1);
            }
            Power::Booting { source, until } if until <= now => {
                self.power = Power::Running;
                self.traffic.started += 1;
                self.indicate(&Indication::Reset { source });
            }
            Power::Leaving { .. } | Power::Booting { .. } => {}
        }
    }

    /// True from the answer to a reset until it has started: a dongle on USB is gone for that time.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        matches!(self.power, Power::Booting { .. })
    }

    fn eui(&self) -> Eui64 {
        self.nvram.eui.unwrap_or(self.config.eui)
    }

    fn policy(&self, policy: u16) -> u8 {
        let default = u8::from(policy == policy::TC_REJOIN);
        self.settings.policies.get(&policy).copied().unwrap_or(default)
    }

    fn packet(&mut self, now: Millis, packet: &[u8]) {
        let Ok(Packet { kind: Kind::Request { tsn }, call, body }) = Packet::parse(packet) else {
            self.traffic.refused += 1;
            return;
        };
        self.asked.push_back(call);
        if self.asked.len() > 4_096 {
            self.asked.pop_front();
        }
        if matches!(self.power, Power::Leaving { .. }) {
            return;
        }
        match Request::parse(call, body) {
            Ok(Request::NcpReset { option }) => {
                self.respond(RESET_TSN, &Response::NcpReset {});
                self.power = Power::Leaving { option, until: now.saturating_add(FAREWELL_MS) };
            }
            Ok(request) => match self.answer(now, tsn, request) {
                Ok(Some(response)) => self.respond(tsn, &response),
                // The answer comes when something has ended.
                Ok(None) => {}
                Err(status) => self.fail(call, tsn, status),
            },
            Err(error) => {
                self.traffic.refused += 1;
                let status = match error {
                    DecodeError::UnknownCall(_) => status::NOT_IMPLEMENTED,
                    _ => status::INVALID_PARAMETER,
                };
                self.fail(call, tsn, status);
            }
        }
    }

    fn respond(&mut self, tsn: u8, response: &Response) {
        self.say(response.encode(tsn));
    }

    fn fail(&mut self, call: u16, tsn: u8, status: Status) {
        self.say(Packet { kind: Kind::Response { tsn, status }, call, body: &[] }.encode());
    }

    fn indicate(&mut self, indication: &Indication) {
        self.say(indication.encode());
    }

    fn say(&mut self, mut packet: Zeroizing<Vec<u8>>) {
        if let Some(tamper) = &mut self.tamper {
            tamper(&mut packet);
            if packet.is_empty() {
                return;
            }
        }
        if self.link.send(packet).is_err() {
            self.traffic.dropped += 1;
        }
    }

    /// An address that nobody has.
    fn fresh_address(&self) -> NwkAddr {
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

#[cfg(test)]
mod tests;
