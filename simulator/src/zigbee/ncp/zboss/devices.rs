//! What goes through the air: questions to devices (ZDO), frames to them and from them, and who comes and goes.
//!
//! A join takes three indications, as hosts expect them: the device has an address, it announced itself, it was
//! authorised. What a real NCP says to a device without the right key was decided here (docs/zigbee.md).

use cardea_radio::Millis;
use cardea_zigbee::NwkAddr;
use cardea_zigbee::zboss::call::{
    ApsAddress, ApsConfirm, ApsIndication, ApsRequest, Counted, Indication, Request, Response, Rest, tx,
};
use cardea_zigbee::zboss::hl::Status;

use super::answers::permit;
use super::{ZDO, Zboss, status};
use crate::zigbee::air::{self, Air, Asdu, Does, End, LQI, Notice, Own, RSSI, Refusal, Reply, Ticket};

/// Numbers of calls.
const BIND_REQ: u16 = 0x0208;
const UNBIND_REQ: u16 = 0x0209;
const APSDE_DATA_REQ: u16 = 0x0301;
/// A status of ZDO.
const NOT_SUPPORTED: u8 = 0x84;
/// Kinds of authorisation.
const LEGACY: u8 = 0;
const UNIQUE: u8 = 1;
/// What an update says of a device.
const REJOINED: u8 = 0;
const JOINED: u8 = 1;
const LEFT: u8 = 2;
const TRUST_CENTRE_REJOINED: u8 = 3;

/// What the host waits for.
pub(super) enum Asked {
    Frame(ApsConfirm),
    Question(u16),
}

impl Zboss {
    pub(super) fn noticed(&mut self, air: &mut Air, notice: Notice) {
        match notice {
            Notice::Joining { eui, nwk, .. } => {
                self.indicate(air, &Indication::DeviceUpdate { eui, nwk, status: JOINED });
            }
            Notice::Announced { eui, nwk, mac_capability } => {
                self.indicate(air, &Indication::DeviceAnnounce { nwk, eui, mac_capability });
            }
            Notice::Joined { eui, nwk, own_key } => {
                let kind = if own_key { UNIQUE } else { LEGACY };
                self.indicate(air, &Indication::DeviceAuthorised { eui, nwk, kind, status: 0 });
            }
            Notice::Refused { eui, nwk, why } => {
                let status = match why {
                    Refusal::NoCode => 2,
                    Refusal::WrongKey | Refusal::NoOwnKey => 1,
                };
                self.indicate(air, &Indication::DeviceAuthorised { eui, nwk, kind: UNIQUE, status });
                self.indicate(air, &Indication::DeviceUpdate { eui, nwk, status: LEFT });
            }
            Notice::Rejoined { eui, nwk, how } => {
                let status = match how {
                    air::Rejoin::Secured => REJOINED,
                    air::Rejoin::TrustCentre => TRUST_CENTRE_REJOINED,
                };
                self.indicate(air, &Indication::DeviceUpdate { eui, nwk, status });
            }
            Notice::Left { eui, rejoin, .. } => {
                self.indicate(air, &Indication::Leave { eui, rejoin: rejoin.into() });
            }
            Notice::Frame { nwk, from, counter, asdu, .. } => {
                let frame = ApsIndication {
                    frame_control: 0,
                    src: nwk,
                    dst: NwkAddr::COORDINATOR,
                    group: 0,
                    dst_endpoint: asdu.dst_endpoint,
                    src_endpoint: asdu.src_endpoint,
                    cluster: asdu.cluster,
                    profile: asdu.profile,
                    counter,
                    mac: (from.0, 0),
                    lqi: LQI,
                    rssi: RSSI,
                    key: 0,
                    payload: asdu.payload,
                };
                self.indicate(air, &Indication::ApsdeData { frame });
            }
            Notice::Ended { ticket, end } => self.ended(air, ticket, end),
        }
    }

    fn ended(&mut self, air: &mut Air, ticket: Ticket, end: End) {
        let (Some(asked), Ok(tsn)) = (self.waiting.remove(&ticket), u8::try_from(ticket)) else { return };
        match (asked, end) {
            (Asked::Frame(confirm), End::Delivered) => {
                self.respond(air, tsn, &Response::ApsdeDataReq { confirm });
            }
            (Asked::Frame(_), End::Expired) => self.fail(air, APSDE_DATA_REQ, tsn, status::EXPIRED),
            (Asked::Frame(_), _) => self.fail(air, APSDE_DATA_REQ, tsn, status::NO_APS_ACK),
            (Asked::Question(call), End::Answered(nwk, reply)) => {
                match reply.and_then(|reply| response(call, nwk, reply).ok_or(NOT_SUPPORTED)) {
                    Ok(response) => self.respond(air, tsn, &response),
                    Err(code) => self.fail(air, call, tsn, Status { category: ZDO, code }),
                }
            }
            (Asked::Question(call), _) => self.fail(air, call, tsn, status::TIMEOUT),
        }
    }

    pub(super) fn device_call(
        &mut self,
        air: &mut Air,
        now: Millis,
        tsn: u8,
        request: Request,
    ) -> Result<Option<Response>, Status> {
        if !air.running {
            return Err(status::INVALID_STATE);
        }
        let call = request.call();
        let (nwk, does) = match request {
            Request::ApsdeDataReq { frame } => return self.send(air, now, tsn, frame),
            Request::NwkAddrReq { eui, .. } => {
                let nwk = if eui == air.eui() {
                    NwkAddr::COORDINATOR
                } else {
                    air.nvram.members.get(&eui).ok_or(status::DEVICE_NOT_FOUND)?.nwk
                };
                return Ok(Some(Response::NwkAddrReq { eui, nwk, list: Rest::default() }));
            }
            Request::IeeeAddrReq { nwk, .. } => {
                let eui = if nwk == NwkAddr::COORDINATOR { Some(air.eui()) } else { air.member_at(nwk) };
                let eui = eui.ok_or(status::DEVICE_NOT_FOUND)?;
                return Ok(Some(Response::IeeeAddrReq { eui, nwk, list: Rest::default() }));
            }
            Request::PermitJoiningReq { dst, seconds, .. } if dst == NwkAddr::COORDINATOR => {
                permit(air, now, seconds)?;
                return Ok(Some(Response::PermitJoiningReq {}));
            }
            Request::PermitJoiningReq { dst, seconds, .. } if !dst.is_unicast() => {
                air.permit_routers(now, seconds);
                return Ok(Some(Response::PermitJoiningReq {}));
            }
            Request::PermitJoiningReq { dst, .. } => (dst, Does::Unsupported),
            Request::MgmtNwkUpdateReq { mask, duration, dst, .. } if dst == NwkAddr::COORDINATOR => {
                return update(air, mask, duration).map(Some);
            }
            Request::MgmtLqiReq { dst, start } => (dst, Does::Neighbours(start)),
            Request::MgmtNwkUpdateReq { dst, .. } => (dst, Does::Unsupported),
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
            let own = Own { manufacturer: self.settings.manufacturer, endpoints: &self.settings.endpoints };
            let reply = air.own_answer(&own, does).map_err(|code| Status { category: ZDO, code })?;
            return response(call, nwk, reply).map(Some).ok_or(status::NOT_SUPPORTED);
        }
        let eui = air.member_at(nwk).ok_or(status::TIMEOUT)?;
        self.waiting.insert(tsn.into(), Asked::Question(call));
        air.give(now, eui, tsn.into(), air::Request::Question(does)).map_err(|_| status::TABLE_FULL)?;
        Ok(None)
    }

    fn send(
        &mut self,
        air: &mut Air,
        now: Millis,
        tsn: u8,
        frame: ApsRequest,
    ) -> Result<Option<Response>, Status> {
        let ApsRequest { to, profile, cluster, dst_endpoint, src_endpoint, options, payload, .. } = frame;
        let asdu = Asdu { profile, cluster, src_endpoint, dst_endpoint, payload };
        // Milliseconds, in 32 bits.
        let tx_time = u32::try_from(now & u64::from(u32::MAX)).unwrap_or(0);
        let confirm = ApsConfirm { to, dst_endpoint, src_endpoint, tx_time };
        let eui = match to {
            ApsAddress::Ieee(eui) if eui == air.eui() => {
                return Ok(Some(Response::ApsdeDataReq { confirm }));
            }
            ApsAddress::Ieee(eui) => eui,
            ApsAddress::Short([low, high, ..]) => {
                let nwk = NwkAddr(u16::from_le_bytes([low, high]));
                if nwk == NwkAddr::COORDINATOR {
                    return Ok(Some(Response::ApsdeDataReq { confirm }));
                }
                if !nwk.is_unicast() {
                    air.broadcast(now, &asdu, false);
                    return Ok(Some(Response::ApsdeDataReq { confirm }));
                }
                air.member_at(nwk).ok_or(status::NO_SHORT_ADDRESS)?
            }
            ApsAddress::Group(_) => {
                air.broadcast(now, &asdu, false);
                return Ok(Some(Response::ApsdeDataReq { confirm }));
            }
        };
        if !air.nvram.members.contains_key(&eui) {
            return Err(status::NO_SHORT_ADDRESS);
        }
        let acknowledged = options & tx::ACK != 0;
        self.waiting.insert(tsn.into(), Asked::Frame(confirm));
        let request = air::Request::Frame { asdu, acknowledged };
        air.give(now, eui, tsn.into(), request).map_err(|_| status::TABLE_FULL)?;
        Ok(None)
    }
}

/// A device's or the coordinator's answer, as the host has it.
fn response(call: u16, nwk: NwkAddr, reply: Reply) -> Option<Response> {
    Some(match reply {
        Reply::Node(descriptor) => Response::NodeDescReq { descriptor, nwk },
        Reply::Power(descriptor) => Response::PowerDescReq { descriptor, nwk },
        Reply::Endpoints(endpoints) => Response::ActiveEpReq { endpoints: Counted(endpoints), nwk },
        Reply::Endpoint(descriptor) => Response::SimpleDescReq { descriptor, nwk },
        Reply::Neighbours { total, start, list } => {
            Response::MgmtLqiReq { total, start, neighbours: Counted(list) }
        }
        Reply::Done if call == BIND_REQ => Response::BindReq {},
        Reply::Done if call == UNBIND_REQ => Response::UnbindReq {},
        Reply::Done => Response::MgmtLeaveReq {},
        // The NCP answers these itself.
        Reply::Address => return None,
    })
}

/// Measures channels, or moves to one.
fn update(air: &mut Air, mask: u32, duration: u8) -> Result<Response, Status> {
    let mut channels = (11..=26u8).filter(|channel| mask & 1 << channel != 0);
    let energies = match duration {
        0..=5 => channels.map(|channel| 40 + channel * 3 % 17).collect(),
        0xFE => {
            let channel = channels.next_back().ok_or(status::INVALID_PARAMETER)?;
            if let Some(stored) = &mut air.nvram.stored {
                stored.network.channel = channel;
            }
            Vec::new()
        }
        _ => return Err(status::NOT_SUPPORTED),
    };
    Ok(Response::MgmtNwkUpdateReq { mask, transmissions: 0, failures: 0, energies: Counted(energies) })
}
