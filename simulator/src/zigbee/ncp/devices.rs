//! What goes through the air: questions to devices (ZDO), frames to them and from them.

use cardea_radio::Millis;
use cardea_zigbee::descriptors::{Neighbour, NodeDescriptor};
use cardea_zigbee::zboss::call::{
    ApsAddress, ApsConfirm, ApsIndication, ApsRequest, Counted, Indication, Request, Response, Rest, tx,
};
use cardea_zigbee::zboss::hl::Status;
use cardea_zigbee::{Eui64, NwkAddr};

use super::{Ncp, status};
use crate::zigbee::air::{
    Asdu, Does, Downlink, HOP_MS, Kept, PERSISTENCE_MS, SCAN_MS, State, Step, Uplink, Waiting,
};

/// Frames and questions that the parent keeps for one device.
const MAX_WAITING: usize = 8;
/// How long a device that sleeps may take to acknowledge, and how long one that listens.
const SLEEPY_ACK_MS: Millis = 10_000;
const ACK_MS: Millis = 1_600;
/// How often a frame is sent that is to be acknowledged.
const APS_TRIES: u8 = 4;
/// Between two tries to ask a device something, and how many there are: 12 s, as long as a question may take.
const QUESTION_MS: Millis = 500;
const QUESTION_TRIES: u8 = 24;
/// Neighbours in one answer: as many as fit a frame.
const NEIGHBOURS: usize = 3;
/// Mains and battery, both full (Zigbee specification §2.3.2.4).
const MAINS: u16 = 0xC110;
const BATTERY: u16 = 0xC440;
/// Of the last hop; nothing is measured.
const LQI: u8 = 200;
const RSSI: i8 = -55;

impl Ncp {
    /// A device's application does this.
    pub fn handle_radio(&mut self, now: Millis, eui: Eui64, uplink: Uplink) {
        let reachable = self.is_reachable(eui);
        let Some(device) = self.devices.get_mut(&eui) else { return };
        match uplink {
            Uplink::Power(on) => {
                device.on = on;
                device.polled = now;
                if let State::Apart(at) = &mut device.state {
                    *at = now;
                }
            }
            Uplink::Frame(asdu) if reachable => {
                device.counter = device.counter.wrapping_add(1);
                let counter = device.counter;
                let Some(member) = self.nvram.members.get(&eui) else { return };
                let frame = ApsIndication {
                    frame_control: 0,
                    src: member.nwk,
                    dst: NwkAddr::COORDINATOR,
                    group: 0,
                    dst_endpoint: asdu.dst_endpoint,
                    src_endpoint: asdu.src_endpoint,
                    cluster: asdu.cluster,
                    profile: asdu.profile,
                    counter,
                    mac: (member.nwk.0, 0),
                    lqi: LQI,
                    rssi: RSSI,
                    key: 0,
                    payload: asdu.payload,
                };
                self.traffic.received += 1;
                self.indicate(&Indication::ApsdeData { frame });
            }
            Uplink::Frame(_) => self.traffic.dropped += 1,
        }
    }

    pub(super) fn member_at(&self, nwk: NwkAddr) -> Option<Eui64> {
        self.nvram.members.iter().find(|(_, member)| member.nwk == nwk).map(|(eui, _)| *eui)
    }

    /// Whether the device is there, and in this network.
    pub(super) fn is_reachable(&self, eui: Eui64) -> bool {
        let Some(device) = self.devices.get(&eui).filter(|device| device.on && self.running) else {
            return false;
        };
        match (&device.state, &self.nvram.stored) {
            // It has the network key already.
            (State::Joining(_, Step::Authorise(_, 0), _), _) => true,
            (State::In(pan, key), Some(stored)) => {
                (pan, key) == (&stored.network.extended_pan, &stored.key)
                    && self.nvram.members.contains_key(&eui)
            }
            _ => false,
        }
    }

    pub(super) fn device_call(
        &mut self,
        now: Millis,
        tsn: u8,
        request: Request,
    ) -> Result<Option<Response>, Status> {
        if !self.running {
            return Err(status::INVALID_STATE);
        }
        let call = request.call();
        let (nwk, does) = match request {
            Request::ApsdeDataReq { frame } => return self.send(now, tsn, frame),
            Request::NwkAddrReq { eui, .. } => {
                let nwk = if eui == self.eui() {
                    NwkAddr::COORDINATOR
                } else {
                    self.nvram.members.get(&eui).ok_or(status::DEVICE_NOT_FOUND)?.nwk
                };
                return Ok(Some(Response::NwkAddrReq { eui, nwk, list: Rest::default() }));
            }
            Request::IeeeAddrReq { nwk, .. } => {
                let eui = if nwk == NwkAddr::COORDINATOR { Some(self.eui()) } else { self.member_at(nwk) };
                let eui = eui.ok_or(status::DEVICE_NOT_FOUND)?;
                return Ok(Some(Response::IeeeAddrReq { eui, nwk, list: Rest::default() }));
            }
            Request::PermitJoiningReq { dst, seconds, .. } if dst == NwkAddr::COORDINATOR => {
                self.permit(now, seconds)?;
                return Ok(Some(Response::PermitJoiningReq {}));
            }
            // There are no routers.
            Request::PermitJoiningReq { dst, .. } if !dst.is_unicast() => {
                return Ok(Some(Response::PermitJoiningReq {}));
            }
            Request::PermitJoiningReq { dst, .. } => (dst, Does::Unsupported),
            Request::MgmtLqiReq { dst, start } if dst == NwkAddr::COORDINATOR => {
                return Ok(Some(self.neighbours(start)));
            }
            Request::MgmtNwkUpdateReq { mask, duration, dst, .. } if dst == NwkAddr::COORDINATOR => {
                return self.update(mask, duration).map(Some);
            }
            Request::MgmtLqiReq { dst, .. } | Request::MgmtNwkUpdateReq { dst, .. } => {
                (dst, Does::Unsupported)
            }
            Request::NodeDescReq { nwk } => (nwk, Does::Node),
            Request::PowerDescReq { nwk } => (nwk, Does::Power),
            Request::ActiveEpReq { nwk } => (nwk, Does::Endpoints),
            Request::SimpleDescReq { nwk, endpoint } => (nwk, Does::Endpoint(endpoint)),
            Request::BindReq { target, cluster, dst_endpoint, .. } => {
                (target, Does::Bind(cluster, dst_endpoint, true))
            }
            Request::UnbindReq { target, cluster, dst_endpoint, .. } => {
                (target, Does::Bind(cluster, dst_endpoint, false))
            }
            Request::MgmtLeaveReq { dst, flags, .. } => (dst, Does::Leave(flags & 0x80 != 0)),
            _ => return Err(status::NOT_IMPLEMENTED),
        };
        if nwk == NwkAddr::COORDINATOR {
            return self.own(does).map(Some);
        }
        let eui = self.member_at(nwk).ok_or(status::TIMEOUT)?;
        self.keep(now, eui, Kept::Question { call, tsn, does }, QUESTION_TRIES)?;
        Ok(None)
    }

    /// What the NCP's own stack answers.
    fn own(&self, does: Does) -> Result<Response, Status> {
        let nwk = NwkAddr::COORDINATOR;
        let endpoints = &self.settings.endpoints;
        Ok(match does {
            Does::Node => {
                let descriptor = NodeDescriptor {
                    // Coordinator, 2.4 GHz.
                    flags: 0x4000,
                    // Alternate coordinator aside: full function, mains, listens, allocates addresses.
                    mac_capability: 0x8E,
                    manufacturer: self.settings.manufacturer,
                    max_buffer: 82,
                    max_incoming: 1_500,
                    // Trust centre, network manager, revision 22.
                    server_mask: 0x2C41,
                    max_outgoing: 1_500,
                    descriptor_capability: 0,
                };
                Response::NodeDescReq { descriptor, nwk }
            }
            Does::Power => Response::PowerDescReq { descriptor: MAINS, nwk },
            Does::Endpoints => {
                Response::ActiveEpReq { endpoints: Counted(endpoints.keys().copied().collect()), nwk }
            }
            Does::Endpoint(endpoint) => {
                let descriptor = endpoints.get(&endpoint).ok_or(status::INVALID_ENDPOINT)?.clone();
                Response::SimpleDescReq { descriptor, nwk }
            }
            Does::Bind(_, _, true) => Response::BindReq {},
            Does::Bind(_, _, false) => Response::UnbindReq {},
            Does::Leave(_) | Does::Unsupported => return Err(status::NOT_SUPPORTED),
        })
    }

    fn neighbours(&self, start: u8) -> Response {
        let extended_pan = self.nvram.network().map_or(Eui64([0; 8]), |network| network.extended_pan);
        let list = self.nvram.members.iter().skip(start.into()).take(NEIGHBOURS).map(|(eui, member)| {
            let listens = self.devices.get(eui).is_some_and(|device| device.config.poll.is_none());
            // An end device, our child.
            let kind = 0x02 | u8::from(listens) << 2 | 1 << 4;
            Neighbour { extended_pan, eui: *eui, nwk: member.nwk, kind, permit: 0, depth: 1, lqi: LQI }
        });
        let total = u8::try_from(self.nvram.members.len()).unwrap_or(u8::MAX);
        Response::MgmtLqiReq { total, start, neighbours: Counted(list.collect()) }
    }

    /// Measures channels, or moves to one.
    fn update(&mut self, mask: u32, duration: u8) -> Result<Response, Status> {
        let mut channels = (11..=26u8).filter(|channel| mask & 1 << channel != 0);
        let energies = match duration {
            0..=5 => channels.map(|channel| 40 + channel * 3 % 17).collect(),
            0xFE => {
                let channel = channels.next_back().ok_or(status::INVALID_PARAMETER)?;
                if let Some(stored) = &mut self.nvram.stored {
                    stored.network.channel = channel;
                }
                Vec::new()
            }
            _ => return Err(status::NOT_SUPPORTED),
        };
        Ok(Response::MgmtNwkUpdateReq { mask, transmissions: 0, failures: 0, energies: Counted(energies) })
    }

    fn send(&mut self, now: Millis, tsn: u8, frame: ApsRequest) -> Result<Option<Response>, Status> {
        let ApsRequest { to, profile, cluster, dst_endpoint, src_endpoint, options, payload, .. } = frame;
        let asdu = Asdu { profile, cluster, src_endpoint, dst_endpoint, payload };
        let eui = match to {
            ApsAddress::Ieee(eui) if eui == self.eui() => return Ok(Some(confirm(now, to, &asdu))),
            ApsAddress::Ieee(eui) => eui,
            ApsAddress::Short([low, high, ..]) => {
                let nwk = NwkAddr(u16::from_le_bytes([low, high]));
                if nwk == NwkAddr::COORDINATOR {
                    return Ok(Some(confirm(now, to, &asdu)));
                }
                if !nwk.is_unicast() {
                    self.broadcast(&asdu);
                    return Ok(Some(confirm(now, to, &asdu)));
                }
                self.member_at(nwk).ok_or(status::NO_SHORT_ADDRESS)?
            }
            ApsAddress::Group(_) => {
                self.broadcast(&asdu);
                return Ok(Some(confirm(now, to, &asdu)));
            }
        };
        if !self.nvram.members.contains_key(&eui) {
            return Err(status::NO_SHORT_ADDRESS);
        }
        let acknowledged = options & tx::ACK != 0;
        let tries = if acknowledged { APS_TRIES } else { 1 };
        self.keep(now, eui, Kept::Frame { tsn, to, asdu, acknowledged }, tries)?;
        Ok(None)
    }

    /// To all that listen always; no device here is in a group.
    fn broadcast(&mut self, asdu: &Asdu) {
        let awake: Vec<Eui64> = self
            .devices
            .iter()
            .filter(|(eui, device)| device.config.poll.is_none() && self.is_reachable(**eui))
            .map(|(eui, _)| *eui)
            .collect();
        self.radio.extend(awake.into_iter().map(|eui| (eui, Downlink::Frame(asdu.clone()))));
    }

    fn keep(&mut self, now: Millis, eui: Eui64, kept: Kept, tries: u8) -> Result<(), Status> {
        let (at, reached) = self.next_try(now, eui, &kept);
        // A device that was restored from a backup and is not in this air: nobody will ever answer.
        let Some(device) = self.devices.get_mut(&eui) else {
            return Err(match kept {
                Kept::Frame { .. } => status::NO_APS_ACK,
                Kept::Question { .. } => status::TIMEOUT,
            });
        };
        if device.waiting.len() >= MAX_WAITING {
            return Err(status::TABLE_FULL);
        }
        device.waiting.push_back(Waiting { kept, at, reached, tries });
        Ok(())
    }

    /// When this try ends, and whether well.
    fn next_try(&self, now: Millis, eui: Eui64, kept: &Kept) -> (Millis, bool) {
        let Some(device) = self.devices.get(&eui) else { return (now, false) };
        let listens = device.listens_at(now);
        if self.is_reachable(eui) && listens.saturating_sub(now) <= PERSISTENCE_MS {
            return (listens, true);
        }
        let wait = match (kept, device.config.poll) {
            (Kept::Question { .. }, _) => QUESTION_MS,
            (Kept::Frame { acknowledged: true, .. }, Some(_)) => SLEEPY_ACK_MS,
            (Kept::Frame { acknowledged: true, .. }, None) => ACK_MS,
            (Kept::Frame { .. }, Some(_)) => PERSISTENCE_MS,
            (Kept::Frame { .. }, None) => HOP_MS,
        };
        (now.saturating_add(wait), false)
    }

    /// Everything that is due in the air.
    pub(super) fn devices_timeout(&mut self, now: Millis) {
        let all: Vec<Eui64> = self.devices.keys().copied().collect();
        for eui in all {
            self.lost(now, eui);
            let Some(device) = self.devices.get_mut(&eui) else { continue };
            match device.state {
                State::Apart(at) if device.on && at <= now => self.scan(now, eui),
                State::Joining(_, _, at) if device.on && at <= now => self.join_step(now, eui),
                _ => {}
            }
            while let Some(device) = self.devices.get_mut(&eui)
                && let Some(at) = device.waiting.iter().position(|waiting| waiting.at <= now)
                && let Some(waiting) = device.waiting.remove(at)
            {
                self.due(now, eui, waiting);
            }
        }
    }

    /// A device whose network is not there any more, but another one of its coordinator, looks for one again.
    fn lost(&mut self, now: Millis, eui: Eui64) {
        // One that its coordinator has forgotten, in the same network with the same key, does not notice: so it is while
        // another dongle takes the place of the one that had it.
        let Some(network) = &self.nvram.stored else { return };
        let elsewhere = self.devices.get(&eui).is_some_and(|device| match &device.state {
            State::In(pan, key) => device.on && (pan, key) != (&network.network.extended_pan, &network.key),
            State::Apart(_) | State::Joining(..) => false,
        });
        if elsewhere && self.running {
            if let Some(device) = self.devices.get_mut(&eui) {
                device.state = State::Apart(now.saturating_add(SCAN_MS));
            }
            self.radio.push_back((eui, Downlink::Left));
        }
    }

    fn due(&mut self, now: Millis, eui: Eui64, waiting: Waiting) {
        let Waiting { kept, reached, tries, .. } = waiting;
        if reached && self.is_reachable(eui) {
            return match kept {
                Kept::Frame { tsn, to, asdu, .. } => {
                    self.traffic.delivered += 1;
                    self.respond(tsn, &confirm(now, to, &asdu));
                    self.radio.push_back((eui, Downlink::Frame(asdu)));
                }
                Kept::Question { call, tsn, does } => self.question(now, eui, call, tsn, does),
            };
        }
        if tries > 1 {
            let (at, reached) = self.next_try(now, eui, &kept);
            if let Some(device) = self.devices.get_mut(&eui) {
                device.waiting.push_back(Waiting { kept, at, reached, tries: tries - 1 });
            }
            return;
        }
        match kept {
            Kept::Frame { tsn, acknowledged: true, .. } => self.fail(0x0301, tsn, status::NO_APS_ACK),
            Kept::Frame { tsn, .. } => self.fail(0x0301, tsn, status::EXPIRED),
            Kept::Question { call, tsn, .. } => self.fail(call, tsn, status::TIMEOUT),
        }
    }

    /// A device's stack answers.
    fn question(&mut self, now: Millis, eui: Eui64, call: u16, tsn: u8, does: Does) {
        let (Some(device), Some(member)) = (self.devices.get(&eui), self.nvram.members.get(&eui)) else {
            return;
        };
        let (nwk, config) = (member.nwk, &device.config);
        let answer = match does {
            Does::Node => Ok(Response::NodeDescReq { descriptor: config.node.clone(), nwk }),
            Does::Power => Ok(Response::PowerDescReq { descriptor: BATTERY, nwk }),
            Does::Endpoints => {
                let endpoints = Counted(config.endpoints.iter().map(|one| one.endpoint).collect());
                Ok(Response::ActiveEpReq { endpoints, nwk })
            }
            Does::Endpoint(endpoint) => {
                let descriptor = config.endpoints.iter().find(|one| one.endpoint == endpoint).cloned();
                descriptor
                    .map(|descriptor| Response::SimpleDescReq { descriptor, nwk })
                    .ok_or(status::INVALID_ENDPOINT)
            }
            Does::Bind(cluster, to, bound) => {
                self.radio.push_back((eui, Downlink::Bound(cluster, to, bound)));
                Ok(if bound { Response::BindReq {} } else { Response::UnbindReq {} })
            }
            Does::Leave(_) => Ok(Response::MgmtLeaveReq {}),
            Does::Unsupported => Err(status::NOT_SUPPORTED),
        };
        match answer {
            Ok(response) => self.respond(tsn, &response),
            Err(status) => self.fail(call, tsn, status),
        }
        if let Does::Leave(rejoin) = does {
            self.indicate(&Indication::Leave { eui, rejoin: rejoin.into() });
            if rejoin {
                self.renumber(eui);
            } else {
                self.forget(now, eui);
            }
        }
    }
}

fn confirm(now: Millis, to: ApsAddress, asdu: &Asdu) -> Response {
    let (dst_endpoint, src_endpoint) = (asdu.dst_endpoint, asdu.src_endpoint);
    // Milliseconds, in 32 bits.
    let tx_time = u32::try_from(now & u64::from(u32::MAX)).unwrap_or(0);
    Response::ApsdeDataReq { confirm: ApsConfirm { to, dst_endpoint, src_endpoint, tx_time } }
}
