//! What the host asks the NCP itself: configuration, NVRAM, formation, install codes.

use cardea_radio::Millis;
use cardea_zigbee::coordinator::Network;
use cardea_zigbee::zboss::call::{
    ChannelMask, Counted, Dataset, IbCounters, NumberedKey, Request, Response, Rest, Reversed, Version,
};
use cardea_zigbee::zboss::hl::Status;
use cardea_zigbee::{Eui64, Key, NwkAddr};

use super::{Zboss, status};
use crate::zigbee::air::Air;
use crate::zigbee::nvram::{MAX_DEVICES, Stored};

/// Versions of the sample that the layouts come from: NCP 3.6.0 on ZBOSS 4.2.2.4, protocol 1.5.
const FIRMWARE: Version = Version(0x0306_0000);
const STACK: Version = Version(0x0402_0204);
const PROTOCOL: Version = Version(0x0105_0000);
/// R22.
const COORDINATOR_VERSION: u8 = 22;
/// Channels at 2.4 GHz.
const CHANNELS: u32 = 0x07FF_F800;
const NO_KEY: [u8; 16] = [0xFF; 16];
/// Frame counters are written ahead, in steps.
const COUNTER_STEP: u32 = 1_024;
/// Endpoints of the application: 1 to 240, and 242 for Green Power.
const MAX_ENDPOINTS: usize = 16;

impl Zboss {
    /// `Ok(None)`: the answer follows when something has ended.
    pub(super) fn answer(
        &mut self,
        air: &mut Air,
        now: Millis,
        tsn: u8,
        request: Request,
    ) -> Result<Option<Response>, Status> {
        Ok(Some(match request {
            Request::GetModuleVersion {} => {
                Response::GetModuleVersion { firmware: FIRMWARE, stack: STACK, protocol: PROTOCOL }
            }
            Request::GetCoordinatorVersion {} => {
                Response::GetCoordinatorVersion { version: COORDINATOR_VERSION }
            }
            Request::GetJoined {} => Response::GetJoined { flags: air.running.into() },
            Request::GetAuthenticated {} => Response::GetAuthenticated { authenticated: air.running.into() },
            Request::GetParentAddress {} => Response::GetParentAddress { nwk: NwkAddr(0xFFFF) },
            Request::GetShortAddress {} => {
                Response::GetShortAddress { nwk: NwkAddr(if air.running { 0 } else { 0xFFFF }) }
            }
            Request::GetTrustCenterAddress {} => Response::GetTrustCenterAddress { eui: air.eui() },
            Request::NvramWrite { .. }
            | Request::NvramRead { .. }
            | Request::NvramErase {}
            | Request::NvramClear {} => return nvram_call(air, request).map(Some),
            Request::NwkFormation { channels, extended_pan, .. } => {
                self.form(air, &channels.0, extended_pan)?
            }
            Request::StartWithoutFormation {} => resume(air)?,
            Request::NwkPermitJoining { seconds } => {
                permit(air, now, seconds)?;
                Response::NwkPermitJoining {}
            }
            Request::StartConcentrator { seconds, .. } if seconds > 0 => Response::StartConcentrator {},
            Request::SecurAddIc { .. }
            | Request::SecurDelIc { .. }
            | Request::SecurGetIcList { .. }
            | Request::SecurRemoveAllIc {} => return codes_call(air, request).map(Some),
            Request::GetNwkKeys {} => {
                let none = || NumberedKey { key: Key(NO_KEY), number: 0 };
                let first = match &air.nvram.stored {
                    Some(stored) => NumberedKey { key: stored.key.clone(), number: stored.key_number },
                    None => none(),
                };
                Response::GetNwkKeys { first, second: none(), third: none() }
            }
            Request::GetApsKeyByIeee { eui } => {
                let key = air.nvram.members.get(&eui).and_then(|member| member.key.clone());
                Response::GetApsKeyByIeee { key: key.ok_or(status::NOT_FOUND)? }
            }
            Request::SecurInitiateKeySwitch {} => {
                air.nvram.stored.as_ref().ok_or(status::INVALID_STATE)?;
                let (key, number) = self.settings.key.clone().ok_or(status::INVALID_STATE)?;
                // Devices that were in the network follow: they got the key before the switch.
                air.switch_keys(&key, number);
                Response::SecurInitiateKeySwitch {}
            }
            Request::NwkGetIeeeByShort { nwk } => {
                Response::NwkGetIeeeByShort { eui: air.member_at(nwk).ok_or(status::NOT_FOUND)? }
            }
            Request::NwkGetShortByIeee { eui } => {
                let member = air.nvram.members.get(&eui).ok_or(status::NOT_FOUND)?;
                Response::NwkGetShortByIeee { nwk: member.nwk }
            }
            Request::NlmeJoin { .. } | Request::StartConcentrator { .. } => {
                return Err(status::INVALID_PARAMETER);
            }
            Request::NwkAddrReq { .. }
            | Request::IeeeAddrReq { .. }
            | Request::PowerDescReq { .. }
            | Request::NodeDescReq { .. }
            | Request::SimpleDescReq { .. }
            | Request::ActiveEpReq { .. }
            | Request::BindReq { .. }
            | Request::UnbindReq { .. }
            | Request::MgmtLeaveReq { .. }
            | Request::PermitJoiningReq { .. }
            | Request::MgmtLqiReq { .. }
            | Request::MgmtNwkUpdateReq { .. }
            | Request::ApsdeDataReq { .. } => return self.device_call(air, now, tsn, request),
            other => return self.setting(air, other).map(Some),
        }))
    }

    fn setting(&mut self, air: &mut Air, request: Request) -> Result<Response, Status> {
        let settings = &mut self.settings;
        Ok(match request {
            Request::GetZigbeeRole {} => Response::GetZigbeeRole { role: settings.role },
            Request::SetZigbeeRole { role } if role < 3 => {
                settings.role = role;
                Response::SetZigbeeRole {}
            }
            Request::GetChannelMask {} => {
                let mask = ChannelMask { page: 0, mask: settings.channels };
                Response::GetChannelMask { masks: Counted(vec![mask]) }
            }
            Request::SetChannelMask { mask } if mask.page == 0 && mask.mask & CHANNELS != 0 => {
                settings.channels = mask.mask & CHANNELS;
                Response::SetChannelMask {}
            }
            Request::GetChannel {} => {
                let channel = air.nvram.network().map_or(0, |network| network.channel);
                Response::GetChannel { page: 0, channel }
            }
            Request::GetPanId {} => Response::GetPanId { pan: settings.pan },
            Request::SetPanId { pan } if pan != 0xFFFF => {
                settings.pan = pan;
                if let Some(stored) = &mut air.nvram.stored {
                    stored.network.pan = pan;
                }
                Response::SetPanId {}
            }
            Request::GetLocalIeee { interface } => Response::GetLocalIeee { interface, eui: air.eui() },
            Request::SetLocalIeee { eui, .. } => {
                air.nvram.eui = Some(eui);
                Response::SetLocalIeee {}
            }
            Request::GetTxPower {} => Response::GetTxPower { dbm: settings.tx_power },
            Request::SetTxPower { dbm } => {
                settings.tx_power = dbm.clamp(-20, 8);
                Response::SetTxPower { dbm: settings.tx_power }
            }
            Request::GetRxOnWhenIdle {} => Response::GetRxOnWhenIdle { on: settings.rx_on_when_idle },
            Request::SetRxOnWhenIdle { on } => {
                settings.rx_on_when_idle = on;
                Response::SetRxOnWhenIdle {}
            }
            Request::GetEndDeviceTimeout {} => {
                Response::GetEndDeviceTimeout { index: settings.end_device_timeout }
            }
            Request::SetEndDeviceTimeout { index } if index <= 14 => {
                settings.end_device_timeout = index;
                Response::SetEndDeviceTimeout {}
            }
            Request::SetNwkKey { key: NumberedKey { key, number } } => {
                settings.key = Some((key, number));
                Response::SetNwkKey {}
            }
            Request::GetExtendedPanId {} => {
                Response::GetExtendedPanId { pan: Reversed(settings.extended_pan) }
            }
            Request::SetExtendedPanId { pan } => {
                settings.extended_pan = pan;
                Response::SetExtendedPanId {}
            }
            Request::GetMaxChildren {} => Response::GetMaxChildren { count: settings.max_children },
            Request::SetMaxChildren { count } => {
                settings.max_children = count;
                air.rules = settings.rules();
                Response::SetMaxChildren {}
            }
            Request::SetTcPolicy { policy, value } if policy <= 5 && value <= 1 => {
                settings.policies.insert(policy, value);
                air.rules = settings.rules();
                Response::SetTcPolicy {}
            }
            Request::AfSetSimpleDesc { descriptor } => {
                let known = settings.endpoints.contains_key(&descriptor.endpoint);
                if !known && settings.endpoints.len() >= MAX_ENDPOINTS {
                    return Err(status::TABLE_FULL);
                }
                settings.endpoints.insert(descriptor.endpoint, descriptor);
                Response::AfSetSimpleDesc {}
            }
            Request::AfDelSimpleDesc { endpoint } => {
                settings.endpoints.remove(&endpoint).ok_or(status::NOT_FOUND)?;
                Response::AfDelSimpleDesc {}
            }
            Request::AfSetNodeDesc { manufacturer, .. } => {
                settings.manufacturer = manufacturer;
                Response::AfSetNodeDesc {}
            }
            Request::SetNodeDescManufacturer { manufacturer } => {
                settings.manufacturer = manufacturer;
                Response::SetNodeDescManufacturer {}
            }
            Request::AfSetPowerDesc { .. } => Response::AfSetPowerDesc {},
            _ => return Err(status::INVALID_PARAMETER),
        })
    }

    fn form(
        &mut self,
        air: &mut Air,
        channels: &[ChannelMask],
        extended_pan: Eui64,
    ) -> Result<Response, Status> {
        if air.running || self.settings.role != 0 {
            return Err(status::INVALID_STATE);
        }
        let mask =
            channels.iter().filter(|mask| mask.page == 0).fold(0, |all, one| all | one.mask) & CHANNELS;
        let channel = u8::try_from(mask.trailing_zeros()).unwrap_or(u8::MAX);
        if mask == 0 {
            return Err(status::INVALID_PARAMETER);
        }
        let pan = match self.settings.pan {
            // Nobody else is in this air; 0x0001 to 0xFFFE.
            0xFFFF => u16::try_from(air.random.below(0xFFFE)).unwrap_or(0).saturating_add(1),
            pan => pan,
        };
        let (key, key_number) = match &self.settings.key {
            Some((key, number)) => (key.clone(), *number),
            None => {
                let mut key = Key([0; 16]);
                air.random.fill(&mut key.0);
                (key, 0)
            }
        };
        let network = Network { coordinator: air.eui(), extended_pan, pan, channel };
        air.nvram.stored = Some(Stored { network, key, key_number });
        air.nvram.members.clear();
        air.nvram.children.clear();
        air.nvram.counters = Some(IbCounters { nib: COUNTER_STEP, aib: 0 });
        self.settings.pan = pan;
        self.settings.extended_pan = extended_pan;
        air.running = true;
        air.traffic.formed += 1;
        Ok(Response::NwkFormation { nwk: NwkAddr::COORDINATOR, pan, page: 0, channel })
    }
}

fn nvram_call(air: &mut Air, request: Request) -> Result<Response, Status> {
    Ok(match request {
        Request::NvramWrite { datasets } => {
            for Dataset { kind, data, .. } in &datasets.0 {
                if !air.nvram.write(*kind, data) {
                    return Err(status::INVALID_PARAMETER);
                }
            }
            Response::NvramWrite {}
        }
        Request::NvramRead { dataset } => {
            let (version, data) = air.nvram.read(dataset).ok_or(status::NOT_FOUND)?;
            Response::NvramRead { nvram_version: 1, dataset, version, data }
        }
        Request::NvramErase {} => {
            air.nvram.erase();
            Response::NvramErase {}
        }
        _ => {
            let counters = air.nvram.counters;
            air.nvram.erase();
            air.nvram.counters = counters;
            Response::NvramClear {}
        }
    })
}

fn resume(air: &mut Air) -> Result<Response, Status> {
    if air.nvram.stored.is_none() {
        return Err(status::ERROR);
    }
    if !air.running {
        // What was counted since the last step may have been used.
        if let Some(counters) = &mut air.nvram.counters {
            counters.nib = counters.nib.saturating_add(COUNTER_STEP);
        }
        air.running = true;
        air.traffic.resumed += 1;
    }
    Ok(Response::StartWithoutFormation {})
}

fn codes_call(air: &mut Air, request: Request) -> Result<Response, Status> {
    let codes = &mut air.nvram.codes;
    Ok(match request {
        Request::SecurAddIc { eui, code } => {
            if codes.len() >= MAX_DEVICES && !codes.contains_key(&eui) {
                return Err(status::TABLE_FULL);
            }
            codes.insert(eui, code.link_key());
            Response::SecurAddIc {}
        }
        Request::SecurDelIc { eui } => {
            codes.remove(&eui).ok_or(status::NOT_FOUND)?;
            Response::SecurDelIc {}
        }
        Request::SecurRemoveAllIc {} => {
            codes.clear();
            Response::SecurRemoveAllIc {}
        }
        // How an entry is laid out is not known; an empty list is all that can be said.
        _ if codes.is_empty() => Response::SecurGetIcList { list: Rest(vec![0, 0, 0]) },
        _ => return Err(status::NOT_IMPLEMENTED),
    })
}

pub(super) fn permit(air: &mut Air, now: Millis, seconds: u8) -> Result<(), Status> {
    if !air.running {
        return Err(status::INVALID_STATE);
    }
    air.permit(now, seconds);
    Ok(())
}
