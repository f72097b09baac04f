//! ZBOSS firmware: its link, its requests, its resets. What it says of the network and the devices is in the files beside.

mod answers;
mod devices;

use std::collections::BTreeMap;

use cardea_radio::Millis;
use cardea_zigbee::descriptors::SimpleDescriptor;
use cardea_zigbee::zboss::Link;
use cardea_zigbee::zboss::call::{Indication, Request, Response, policy, reset};
use cardea_zigbee::zboss::hl::{Kind, Packet, RESET_TSN, Status};
use cardea_zigbee::{DecodeError, Eui64, Key};
use zeroize::Zeroizing;

use super::Front;
use crate::zigbee::air::{Air, Notice, OwnKeys, Rules, Ticket, WELL_KNOWN};
use devices::Asked;

/// How long the answer to a reset may wait for its acknowledgement.
const FAREWELL_MS: Millis = 300;
/// How long the firmware takes to start.
const BOOT_MS: Millis = 150;
/// macTransactionPersistenceTime: 500 × 15.36 ms.
const PERSISTENCE_MS: Millis = 7_680;
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
    pub(super) const NOT_SUPPORTED: Status = Status { category: ZDO, code: 0x84 };
    pub(super) const TIMEOUT: Status = Status { category: ZDO, code: 0x85 };
    pub(super) const DEVICE_NOT_FOUND: Status = Status { category: ZDO, code: 0x81 };
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

impl Settings {
    fn policy(&self, policy: u16) -> bool {
        let default = u8::from(policy == policy::TC_REJOIN);
        self.policies.get(&policy).copied().unwrap_or(default) == 1
    }

    fn rules(&self) -> Rules {
        Rules {
            max_children: self.max_children.into(),
            joins: true,
            rejoins: self.policy(policy::TC_REJOIN),
            codes_required: self.policy(policy::INSTALL_CODE),
            own_keys_required: self.policy(policy::UNIQUE_LINK_KEY),
            default_key: Some(Key(WELL_KNOWN)),
            own_keys: OwnKeys::Random,
            persistence: PERSISTENCE_MS,
        }
    }
}

/// The firmware.
pub(super) struct Zboss {
    link: Link,
    power: Power,
    settings: Settings,
    /// Whose end the host waits for.
    waiting: BTreeMap<Ticket, Asked>,
}

impl Default for Zboss {
    fn default() -> Self {
        Self {
            link: Link::default(),
            power: Power::Booting { source: 0, until: Millis::MAX },
            settings: Settings::default(),
            waiting: BTreeMap::new(),
        }
    }
}

impl Front for Zboss {
    fn restart(&mut self, air: &mut Air, now: Millis, source: u8) {
        air.nvram.load();
        self.link = Link::default();
        self.settings = Settings::default();
        if let Some(stored) = &air.nvram.stored {
            self.settings.role = 0;
            self.settings.pan = stored.network.pan;
            self.settings.extended_pan = stored.network.extended_pan;
        }
        self.waiting.clear();
        air.restart(self.settings.rules());
        self.power = Power::Booting { source, until: now.saturating_add(BOOT_MS) };
    }

    fn handle_close(&mut self) {
        self.link.reopen();
    }

    fn handle_bytes(&mut self, air: &mut Air, now: Millis, bytes: &[u8]) {
        self.link.handle_bytes(now, bytes);
        while let Some(packet) = self.link.poll_packet() {
            self.packet(air, now, &packet);
        }
    }

    fn poll_transmit(&mut self, now: Millis) -> Option<Zeroizing<Vec<u8>>> {
        self.link.poll_transmit(now)
    }

    fn poll_timeout(&self) -> Option<Millis> {
        let power = match self.power {
            Power::Running => None,
            Power::Leaving { until, .. } | Power::Booting { until, .. } => Some(until),
        };
        [power, self.link.poll_timeout()].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, air: &mut Air, now: Millis) {
        self.link.handle_timeout(now);
        if self.link.is_dead() {
            // Whom it told nothing three times is not there; it goes on with what is new.
            self.link.restart();
        }
        match self.power {
            Power::Leaving { option, until } if until <= now || self.link.is_idle() => {
                if option != reset::KEEP {
                    air.nvram.erase();
                }
                self.restart(air, now, 1);
            }
            Power::Booting { source, until } if until <= now => {
                self.power = Power::Running;
                air.traffic.started += 1;
                self.indicate(air, &Indication::Reset { source });
            }
            Power::Running | Power::Leaving { .. } | Power::Booting { .. } => {}
        }
    }

    fn handle_notice(&mut self, air: &mut Air, notice: Notice) {
        self.noticed(air, notice);
    }

    fn is_starting(&self) -> bool {
        matches!(self.power, Power::Booting { .. })
    }
}

impl Zboss {
    /// What holds until the host says otherwise.
    pub(super) fn rules(&self) -> Rules {
        self.settings.rules()
    }

    fn packet(&mut self, air: &mut Air, now: Millis, packet: &[u8]) {
        let Ok(Packet { kind: Kind::Request { tsn }, call, body }) = Packet::parse(packet) else {
            air.traffic.refused += 1;
            return;
        };
        air.watch.heard(call);
        if matches!(self.power, Power::Leaving { .. }) {
            return;
        }
        match Request::parse(call, body) {
            Ok(Request::NcpReset { option }) => {
                self.respond(air, RESET_TSN, &Response::NcpReset {});
                self.power = Power::Leaving { option, until: now.saturating_add(FAREWELL_MS) };
            }
            Ok(request) => match self.answer(air, now, tsn, request) {
                Ok(Some(response)) => self.respond(air, tsn, &response),
                // The answer comes when something has ended.
                Ok(None) => {}
                Err(status) => self.fail(air, call, tsn, status),
            },
            Err(error) => {
                air.traffic.refused += 1;
                let status = match error {
                    DecodeError::UnknownCall(_) => status::NOT_IMPLEMENTED,
                    _ => status::INVALID_PARAMETER,
                };
                self.fail(air, call, tsn, status);
            }
        }
    }

    fn respond(&mut self, air: &mut Air, tsn: u8, response: &Response) {
        self.say(air, response.encode(tsn));
    }

    fn fail(&mut self, air: &mut Air, call: u16, tsn: u8, status: Status) {
        self.say(air, Packet { kind: Kind::Response { tsn, status }, call, body: &[] }.encode());
    }

    fn indicate(&mut self, air: &mut Air, indication: &Indication) {
        self.say(air, indication.encode());
    }

    fn say(&mut self, air: &mut Air, mut packet: Zeroizing<Vec<u8>>) {
        if air.watch.spoil(&mut packet) && self.link.send(packet).is_err() {
            air.traffic.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests;
