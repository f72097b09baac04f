//! The commands that our own host gives, in its own codec's words. What else other hosts ask for is in `more`.

use cardea_radio::Millis;
use cardea_zigbee::ezsp::call::{
    Answer, ApsFrame, Bytes8, Command, LongStatus, Sent, Since14, Status, Tag, aps, config, policy, token,
};
use cardea_zigbee::{Eui64, NwkAddr};

use super::blocks::Given;
use super::{APS_MESSAGES, Ezsp, NO_ROUTE_MS, STACK_TYPE, UNICAST, WITH_CONTENT};
use crate::zigbee::air::{self, Air, Asdu, Own, zdo};
use crate::zigbee::nvram::UNKNOWN;

/// Longest payload in one frame, bytes.
pub(super) const MAX_PAYLOAD: usize = 82;
/// Endpoints of the application.
const MAX_ENDPOINTS: usize = 16;
/// Link keys that fit the largest table.
const MAX_KEYS: u16 = 127;
/// A kind of message: to all.
const BROADCAST: u8 = 6;
/// An argument is out of range.
pub(super) const INVALID_PARAMETER: Status = Status(0x21);

impl Ezsp {
    pub(super) fn version(&self) -> Answer {
        let (protocol, stack_version) = (self.protocol.0, self.stack_version());
        Answer::Version { protocol, stack_type: STACK_TYPE, stack_version }
    }

    pub(super) fn answer(&mut self, air: &mut Air, now: Millis, command: Command) -> Answer {
        match command {
            Command::Version { .. } => self.version(),
            Command::Nop {} => Answer::Nop {},
            Command::AddEndpoint { descriptor } => {
                let endpoints = &mut self.settings.endpoints;
                let status = if air.running {
                    Status::INVALID_STATE
                } else if endpoints.len() >= MAX_ENDPOINTS || endpoints.contains_key(&descriptor.endpoint) {
                    INVALID_PARAMETER
                } else {
                    endpoints.insert(descriptor.endpoint, descriptor);
                    Status::OK
                };
                Answer::AddEndpoint { status }
            }
            Command::SetManufacturerCode { code } => {
                self.settings.manufacturer = code;
                Answer::SetManufacturerCode { status: Since14(Some(Status::OK)) }
            }
            Command::PermitJoining { seconds } => {
                let status = running(air);
                if status.is_ok() {
                    air.permit(now, seconds);
                }
                Answer::PermitJoining { status }
            }
            Command::GetEui64 {} => Answer::GetEui64 { eui: air.eui() },
            Command::SendUnicast { destination, aps, tag, payload, .. } => {
                let status = self.unicast(air, now, destination, aps, tag, payload);
                let (status, sequence) = match status {
                    Ok(sequence) => (Status::OK, sequence),
                    Err(status) => (status, self.settings.counter),
                };
                Answer::SendUnicast { status, sequence }
            }
            Command::SendReply { sender, aps, .. } => {
                // What it answers to other frames is not the host's matter, by the default policy.
                let block = aps.options & aps::FRAGMENT != 0;
                if block {
                    self.block_acknowledged(sender, &aps);
                }
                Answer::SendReply { status: if block { Status::OK } else { Status::INVALID_STATE } }
            }
            Command::SendBroadcast { destination, aps, tag, payload, .. } => {
                let status = self.broadcast(air, now, destination, aps, tag, payload);
                Answer::SendBroadcast { status, sequence: self.settings.counter }
            }
            Command::GetConfigurationValue { id } => match self.settings.size(id) {
                Some(value) => Answer::GetConfigurationValue { status: Status::OK, value },
                None => Answer::GetConfigurationValue { status: INVALID_PARAMETER, value: 0 },
            },
            Command::SetConfigurationValue { id, value } => {
                Answer::SetConfigurationValue { status: self.set_size(air, id, value) }
            }
            Command::SetPolicy { policy, decision } => {
                let known = policy <= 0x0B;
                if known {
                    self.settings.policies.insert(policy, decision);
                    air.rules = self.rules(&air.nvram);
                }
                Answer::SetPolicy { status: if known { Status::OK } else { INVALID_PARAMETER } }
            }
            Command::LookupNodeIdByEui64 { eui } => {
                let nwk = air.nvram.members.get(&eui).map_or(UNKNOWN, |member| member.nwk);
                let status = if nwk == UNKNOWN { Status::NOT_FOUND } else { Status::OK };
                Answer::LookupNodeIdByEui64 { status: Since14(Some(status)), nwk }
            }
            Command::LookupEui64ByNodeId { nwk } => match air.member_at(nwk).filter(|_| nwk != UNKNOWN) {
                Some(eui) => Answer::LookupEui64ByNodeId { status: Status::OK, eui },
                None => Answer::LookupEui64ByNodeId { status: Status::NOT_FOUND, eui: Eui64([0xFF; 8]) },
            },
            Command::ClearTransientLinkKeys {} => {
                air.nvram.codes.clear();
                Answer::ClearTransientLinkKeys {}
            }
            Command::ImportTransientKey { eui, key, .. } => {
                air.nvram.codes.insert(eui, key);
                Answer::ImportTransientKey { status: LongStatus(Status::OK) }
            }
            Command::SetExtendedTimeout { eui, extended } => {
                if extended != 0 {
                    self.settings.extended.insert(eui);
                } else {
                    self.settings.extended.remove(&eui);
                }
                Answer::SetExtendedTimeout { status: Since14(Some(Status::OK)) }
            }
            Command::SetTokenData { token: token::RESTORED_EUI64, bytes, .. } => {
                let status = match <[u8; 8]>::try_from(&bytes.0[..]) {
                    Ok(mut eui) => {
                        eui.reverse();
                        self.address = Some(Some(Eui64(eui)).filter(|eui| *eui != Eui64([0xFF; 8])));
                        Status::OK
                    }
                    Err(_) => INVALID_PARAMETER,
                };
                Answer::SetTokenData { status }
            }
            Command::SetTokenData { .. } => Answer::SetTokenData { status: Status::NOT_FOUND },
            other => self.network_answer(air, other),
        }
    }

    fn set_size(&mut self, air: &mut Air, id: u8, value: u16) -> Status {
        if air.running {
            return Status::INVALID_STATE;
        }
        if self.settings.size(id).is_none() || id == config::KEY_TABLE && value > MAX_KEYS {
            return INVALID_PARAMETER;
        }
        self.settings.sizes.insert(id, value);
        air.rules = self.rules(&air.nvram);
        Status::OK
    }

    fn unicast(
        &mut self,
        air: &mut Air,
        now: Millis,
        destination: NwkAddr,
        aps: ApsFrame,
        tag: Tag,
        payload: Bytes8,
    ) -> Result<u8, Status> {
        let refusal = self.no_message(air, &payload);
        if !refusal.is_ok() {
            return Err(refusal);
        }
        let mut asdu = asdu(&aps, &payload);
        let acknowledged = aps.options & aps::RETRY != 0;
        let (sequence, whole) = if aps.options & aps::FRAGMENT == 0 {
            self.settings.counter = self.settings.counter.wrapping_add(1);
            (self.settings.counter, true)
        } else {
            match self.block_down(destination, &aps, &payload)? {
                Given::Part(sequence) => (sequence, false),
                Given::Last(sequence, payload) => {
                    asdu.payload = payload;
                    (sequence, true)
                }
            }
        };
        let aps = ApsFrame { sequence, ..aps };
        let ticket = self.ticket(UNICAST, destination, aps, tag, payload);
        if destination == NwkAddr::COORDINATOR {
            self.ended(air, ticket, Status::OK);
            if whole {
                self.own_question(air, &asdu);
            }
            return Ok(sequence);
        }
        let Some(eui) = air.member_at(destination).filter(|_| destination.is_unicast()) else {
            self.settings.lost.push_back((now.saturating_add(NO_ROUTE_MS), ticket));
            return Ok(sequence);
        };
        let request = if whole { air::Request::Frame { asdu, acknowledged } } else { air::Request::Block };
        if air.give(now, eui, ticket, request).is_err() {
            self.settings.sent.remove(&ticket);
            return Err(Status::NO_BUFFERS);
        }
        Ok(sequence)
    }

    fn broadcast(
        &mut self,
        air: &mut Air,
        now: Millis,
        destination: NwkAddr,
        aps: ApsFrame,
        tag: Tag,
        payload: Bytes8,
    ) -> Status {
        let refusal = self.no_message(air, &payload);
        if !refusal.is_ok() {
            return refusal;
        }
        air.broadcast(now, &asdu(&aps, &payload), destination == NwkAddr(0xFFFF));
        self.settings.counter = self.settings.counter.wrapping_add(1);
        let aps = ApsFrame { sequence: self.settings.counter, ..aps };
        let ticket = self.ticket(BROADCAST, destination, aps, tag, payload);
        self.ended(air, ticket, Status::OK);
        Status::OK
    }

    fn no_message(&self, air: &Air, payload: &Bytes8) -> Status {
        let limit = self.settings.size(APS_MESSAGES).unwrap_or(0);
        if payload.0.len() > MAX_PAYLOAD {
            Status::TOO_LONG
        } else if self.settings.sent.len() >= usize::from(limit) {
            Status::TOO_MANY
        } else {
            running(air)
        }
    }

    fn ticket(&mut self, kind: u8, destination: NwkAddr, aps: ApsFrame, tag: Tag, payload: Bytes8) -> u32 {
        self.settings.next_ticket = self.settings.next_ticket.wrapping_add(1);
        let told = self.settings.policy(policy::MESSAGE_SENT) == WITH_CONTENT;
        let payload = if told { payload } else { Bytes8::from(&[][..]) };
        let sent = Sent { status: Status::OK, kind, destination, aps, tag, payload };
        self.settings.sent.insert(self.settings.next_ticket, sent);
        self.settings.next_ticket
    }

    /// The host asks its own coordinator: the stack answers as a device's would.
    fn own_question(&mut self, air: &mut Air, asdu: &Asdu) {
        let (eui, nwk) = (air.eui(), NwkAddr::COORDINATOR);
        if asdu.profile != 0 {
            return;
        }
        let Some((sequence, does)) = zdo::parse(asdu, eui, nwk) else { return };
        let own = Own { manufacturer: self.settings.manufacturer, endpoints: &self.settings.endpoints };
        let reply = air.own_answer(&own, does);
        let answer = zdo::answer(asdu, sequence, eui, nwk, &reply);
        self.incoming(air, UNICAST, eui, nwk, sequence, answer);
    }
}

fn asdu(aps: &ApsFrame, payload: &Bytes8) -> Asdu {
    let ApsFrame { profile, cluster, src_endpoint, dst_endpoint, .. } = *aps;
    Asdu { profile, cluster, src_endpoint, dst_endpoint, payload: payload.0.to_vec() }
}

/// Whether the network runs.
pub(super) fn running(air: &Air) -> Status {
    if air.running { Status::OK } else { Status::INVALID_STATE }
}
