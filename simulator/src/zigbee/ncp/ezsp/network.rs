//! The network and its keys: formed, resumed, left, told.

use cardea_zigbee::coordinator::Network;
use cardea_zigbee::ezsp::call::{
    Answer, Callback, Command, CurrentSecurity, ExportedKey, ExportedLinkKey, KeyMetadata, LongStatus,
    NetworkKeyInfo, NetworkParameters, SecurityState, Status, config, key, security,
};
use cardea_zigbee::zboss::call::IbCounters;
use cardea_zigbee::{Eui64, Key};

use super::Ezsp;
use super::commands::{INVALID_PARAMETER, running};
use crate::zigbee::air::Air;
use crate::zigbee::nvram::{Member, Stored, UNKNOWN};

/// What a coordinator calls itself.
const COORDINATOR: u8 = 1;
/// Frame counters are written ahead, in steps.
const COUNTER_STEP: u32 = 1_024;
const NO_KEY: Key = Key([0; 16]);
/// Outgoing and incoming counter are known.
const COUNTERS_KNOWN: u16 = 0x0006;
/// Commands after which the network runs, or does not.
const NETWORK_INIT: u16 = 0x0017;
const FORM_NETWORK: u16 = 0x001E;
const LEAVE_NETWORK: u16 = 0x0020;
const KEY_SWITCH: u16 = 0x0074;

impl Ezsp {
    pub(super) fn network_answer(&mut self, air: &mut Air, command: Command) -> Answer {
        match command {
            Command::NetworkInit { .. } => Answer::NetworkInit { status: self.resume(air) },
            Command::FormNetwork { parameters } => Answer::FormNetwork { status: self.form(air, parameters) },
            Command::LeaveNetwork { .. } => Answer::LeaveNetwork { status: leave(air) },
            Command::GetNetworkParameters {} => {
                let parameters = air.nvram.ember.parameters.clone().filter(|_| air.running);
                match parameters {
                    Some(parameters) => {
                        Answer::GetNetworkParameters { status: Status::OK, role: COORDINATOR, parameters }
                    }
                    None => Answer::GetNetworkParameters {
                        status: Status::NOT_JOINED,
                        role: 0,
                        parameters: nowhere(),
                    },
                }
            }
            Command::SetInitialSecurityState { state } => {
                Answer::SetInitialSecurityState { status: self.secure(air, state) }
            }
            Command::GetCurrentSecurityState {} => {
                let bitmask = air.nvram.ember.security.as_ref().map_or(0, |(bits, _)| bits & 0xFF);
                let state = CurrentSecurity { bitmask, trust_centre: air.eui() };
                Answer::GetCurrentSecurityState { status: running(air), state }
            }
            Command::BroadcastNextNetworkKey { key } => {
                let status = running(air);
                self.settings.next_key = Some(key).filter(|_| status.is_ok());
                Answer::BroadcastNextNetworkKey { status }
            }
            Command::BroadcastNetworkKeySwitch {} => {
                let status = match (self.settings.next_key.take(), &air.nvram.stored) {
                    (Some(key), Some(stored)) => {
                        let number = stored.key_number.wrapping_add(1);
                        air.switch_keys(&key, number);
                        self.settings.switched = true;
                        Status::OK
                    }
                    _ => Status::INVALID_STATE,
                };
                Answer::BroadcastNetworkKeySwitch { status }
            }
            Command::TokenFactoryReset { .. } => {
                self.wiped = true;
                Answer::TokenFactoryReset {}
            }
            Command::ClearKeyTable {} => {
                air.nvram.ember.key_table.clear();
                air.nvram.members.values_mut().for_each(|member| member.key = None);
                Answer::ClearKeyTable { status: Status::OK }
            }
            Command::ImportLinkKey { index, eui, key } => {
                let fits = u16::from(index) < self.key_table();
                if fits {
                    let nvram = &mut air.nvram;
                    nvram.ember.key_table.retain(|_, of| *of != eui);
                    nvram.ember.key_table.insert(index, eui);
                    nvram.members.entry(eui).or_insert(Member { nwk: UNKNOWN, key: None }).key = Some(key);
                }
                let status = if fits { Status::OK } else { Status::INVALID_INDEX };
                Answer::ImportLinkKey { status: LongStatus(status) }
            }
            Command::ExportLinkKeyByIndex { index } => {
                Answer::ExportLinkKeyByIndex { entry: self.link_key(air, index) }
            }
            Command::ExportKey { context } => {
                let found = match context.kind {
                    key::NETWORK => air.nvram.stored.as_ref().map(|stored| stored.key.clone()),
                    key::TRUST_CENTRE => air.nvram.ember.security.as_ref().map(|(_, key)| key.clone()),
                    _ => None,
                };
                let status = if found.is_some() { Status::OK } else { Status::NOT_FOUND };
                Answer::ExportKey { exported: ExportedKey { status, key: found.unwrap_or(NO_KEY) } }
            }
            // All others have their place beside.
            _ => {
                let stored = air.nvram.stored.as_ref();
                let info = NetworkKeyInfo {
                    set: stored.is_some().into(),
                    next_set: self.settings.next_key.is_some().into(),
                    number: stored.map_or(0, |stored| stored.key_number),
                    next_number: 0,
                    frame_counter: air.nvram.counters.map_or(0, |counters| counters.nib),
                };
                Answer::GetNetworkKeyInfo { status: LongStatus(Status::OK), info }
            }
        }
    }

    /// What the stack says once a command has had its effect.
    pub(super) fn after(&mut self, air: &mut Air, id: u16) {
        match id {
            NETWORK_INIT | FORM_NETWORK if air.running && !self.settings.told_up => {
                self.settings.told_up = true;
                self.call(air, &Callback::StackStatus { status: Status::NETWORK_UP });
            }
            LEAVE_NETWORK if self.settings.told_up && !air.running => {
                self.settings.told_up = false;
                self.call(air, &Callback::StackStatus { status: Status::NETWORK_DOWN });
            }
            KEY_SWITCH if std::mem::take(&mut self.settings.switched) => {
                let number = air.nvram.stored.as_ref().map_or(0, |stored| stored.key_number);
                self.call(air, &Callback::SwitchNetworkKey { number });
            }
            _ => {}
        }
    }

    fn resume(&mut self, air: &mut Air) -> Status {
        if air.running {
            return Status::INVALID_STATE;
        }
        if air.nvram.stored.is_none() {
            return Status::NOT_JOINED;
        }
        // What was counted since the last step may have been used.
        let counters = air.nvram.counters();
        counters.nib = counters.nib.saturating_add(COUNTER_STEP);
        air.running = true;
        air.traffic.resumed += 1;
        Status::OK
    }

    fn secure(&mut self, air: &mut Air, state: SecurityState) -> Status {
        if air.running {
            return Status::INVALID_STATE;
        }
        let SecurityState { bitmask, preconfigured, network, number, .. } = state;
        if bitmask & security::KEEP_COUNTERS == 0 {
            air.nvram.counters = Some(IbCounters { nib: 0, aib: 0 });
        }
        air.nvram.ember.security = Some((bitmask, preconfigured));
        self.settings.key = Some((network, number)).filter(|_| bitmask & security::HAVE_NETWORK_KEY != 0);
        air.rules = self.rules(&air.nvram);
        Status::OK
    }

    fn form(&mut self, air: &mut Air, parameters: NetworkParameters) -> Status {
        let NetworkParameters { extended_pan, pan, channel, .. } = parameters;
        if air.running || air.nvram.ember.security.is_none() {
            return Status::INVALID_STATE;
        }
        if !(11..=26).contains(&channel) || pan == 0xFFFF {
            return INVALID_PARAMETER;
        }
        let (key, key_number) = self.settings.key.take().unwrap_or_else(|| {
            let mut key = Key([0; 16]);
            air.random.fill(&mut key.0);
            (key, 0)
        });
        let network = Network { coordinator: air.eui(), extended_pan, pan, channel };
        air.nvram.stored = Some(Stored { network, key, key_number });
        // Link keys may be there before the network is; where their devices are is not known.
        air.nvram.members.retain(|_, member| member.key.is_some());
        air.nvram.members.values_mut().for_each(|member| member.nwk = UNKNOWN);
        air.nvram.children.clear();
        // As real ones do: the number of the network's moves begins anew.
        air.nvram.ember.parameters = Some(NetworkParameters { update_id: 0, ..parameters });
        air.running = true;
        air.traffic.formed += 1;
        Status::OK
    }

    fn key_table(&self) -> u16 {
        self.settings.size(config::KEY_TABLE).unwrap_or(0)
    }

    fn link_key(&self, air: &Air, index: u8) -> ExportedLinkKey {
        let eui = air.nvram.ember.key_table.get(&index).copied();
        let key = eui.and_then(|eui| air.nvram.members.get(&eui)?.key.clone());
        let status = if u16::from(index) >= self.key_table() {
            Status::INVALID_INDEX
        } else if key.is_none() {
            Status::NOT_FOUND
        } else {
            Status::OK
        };
        let tx_counter = air.nvram.counters.map_or(0, |counters| counters.aib);
        let metadata = KeyMetadata { bitmask: COUNTERS_KNOWN, tx_counter, rx_counter: 0, ttl: 0 };
        ExportedLinkKey { status, eui: eui.unwrap_or(Eui64([0; 8])), key: key.unwrap_or(NO_KEY), metadata }
    }

    /// Finds a place for the link key that a device was given. False: the table is full, and the key is gone.
    pub(super) fn place(&self, air: &mut Air, eui: Eui64) -> bool {
        let nvram = &mut air.nvram;
        let Some(member) = nvram.members.get_mut(&eui) else { return false };
        let table = &mut nvram.ember.key_table;
        if member.key.is_none() || table.values().any(|of| *of == eui) {
            return true;
        }
        let size = self.key_table();
        let free =
            (0..=u8::MAX).find(|index| !table.contains_key(index)).filter(|index| u16::from(*index) < size);
        match free {
            Some(index) => {
                table.insert(index, eui);
            }
            None => member.key = None,
        }
        free.is_some()
    }
}

fn leave(air: &mut Air) -> Status {
    if !air.running {
        return Status::INVALID_STATE;
    }
    air.running = false;
    air.nvram.stored = None;
    air.nvram.ember.parameters = None;
    air.nvram.children.clear();
    air.nvram.members.retain(|_, member| member.key.is_some());
    Status::OK
}

fn nowhere() -> NetworkParameters {
    NetworkParameters {
        extended_pan: Eui64([0; 8]),
        pan: 0xFFFF,
        power: 0,
        channel: 0,
        join_method: 0,
        manager: cardea_zigbee::NwkAddr::COORDINATOR,
        update_id: 0,
        channels: 0,
    }
}
