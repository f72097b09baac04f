//! What stacks answer by themselves (ZDO): those of the devices, and the coordinator's own.

use std::collections::BTreeMap;

use cardea_zigbee::descriptors::{Neighbour, NodeDescriptor, SimpleDescriptor};
use cardea_zigbee::{Eui64, NwkAddr};

use super::Air;
use super::device::Downlink;

/// Mains and battery, both full (Zigbee specification §2.3.2.4).
const MAINS: u16 = 0xC110;
const BATTERY: u16 = 0xC440;
/// Neighbours in one answer: as many as fit a frame.
const NEIGHBOURS: usize = 3;
/// Statuses of ZDO (§2.4.5).
const DEVICE_NOT_FOUND: u8 = 0x81;
pub(super) const INVALID_ENDPOINT: u8 = 0x82;
const NOT_SUPPORTED: u8 = 0x84;

/// What a question to a stack does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::zigbee) enum Does {
    /// Asks for both addresses; true: of another device.
    Address(bool),
    Node,
    Power,
    Endpoints,
    Endpoint(u8),
    /// Binds or unbinds a cluster to an endpoint of the coordinator.
    Bind(u16, u8, bool),
    Neighbours(u8),
    Leave(bool),
    Unsupported,
}

/// What a stack answers.
#[derive(Debug, Clone)]
pub(in crate::zigbee) enum Reply {
    Address,
    Node(NodeDescriptor),
    Power(u16),
    Endpoints(Vec<u8>),
    Endpoint(SimpleDescriptor),
    Neighbours { total: u8, start: u8, list: Vec<Neighbour> },
    Done,
}

/// What a host made of its coordinator.
pub(in crate::zigbee) struct Own<'a> {
    pub(in crate::zigbee) manufacturer: u16,
    pub(in crate::zigbee) endpoints: &'a BTreeMap<u8, SimpleDescriptor>,
}

impl Air {
    /// A device's stack answers; `Err`: with this status.
    pub(super) fn answer(&mut self, eui: Eui64, does: Does) -> Result<Reply, u8> {
        let Some(config) = self.devices.get(&eui).map(|device| &device.config) else {
            return Err(DEVICE_NOT_FOUND);
        };
        Ok(match does {
            Does::Address(false) => Reply::Address,
            Does::Address(true) => return Err(DEVICE_NOT_FOUND),
            Does::Node => Reply::Node(config.node.clone()),
            Does::Power => Reply::Power(BATTERY),
            Does::Endpoints => Reply::Endpoints(config.endpoints.iter().map(|one| one.endpoint).collect()),
            Does::Endpoint(endpoint) => {
                let found = config.endpoints.iter().find(|one| one.endpoint == endpoint);
                Reply::Endpoint(found.ok_or(INVALID_ENDPOINT)?.clone())
            }
            Does::Bind(cluster, to, bound) => {
                self.radio.push_back((eui, Downlink::Bound(cluster, to, bound)));
                Reply::Done
            }
            Does::Leave(_) => Reply::Done,
            Does::Neighbours(start) if config.is_router() => page(&self.neighbours(Some(eui)), start),
            Does::Neighbours(_) | Does::Unsupported => return Err(NOT_SUPPORTED),
        })
    }

    /// The coordinator's own stack answers; `Err`: with this status.
    pub(in crate::zigbee) fn own_answer(&self, own: &Own<'_>, does: Does) -> Result<Reply, u8> {
        Ok(match does {
            Does::Address(false) => Reply::Address,
            Does::Address(true) => return Err(DEVICE_NOT_FOUND),
            Does::Node => Reply::Node(NodeDescriptor {
                // Coordinator, 2.4 GHz.
                flags: 0x4000,
                // Alternate coordinator aside: full function, mains, listens, allocates addresses.
                mac_capability: 0x8E,
                manufacturer: own.manufacturer,
                max_buffer: 82,
                max_incoming: 1_500,
                // Trust centre, network manager, revision 22.
                server_mask: 0x2C41,
                max_outgoing: 1_500,
                descriptor_capability: 0,
            }),
            Does::Power => Reply::Power(MAINS),
            Does::Endpoints => Reply::Endpoints(own.endpoints.keys().copied().collect()),
            Does::Endpoint(endpoint) => {
                Reply::Endpoint(own.endpoints.get(&endpoint).ok_or(INVALID_ENDPOINT)?.clone())
            }
            Does::Bind(..) => Reply::Done,
            Does::Neighbours(start) => page(&self.neighbours(None), start),
            Does::Leave(_) | Does::Unsupported => return Err(NOT_SUPPORTED),
        })
    }
}

/// As many of a table as fit an answer.
fn page(table: &[Neighbour], start: u8) -> Reply {
    let list = table.iter().skip(start.into()).take(NEIGHBOURS).cloned().collect();
    Reply::Neighbours { total: u8::try_from(table.len()).unwrap_or(u8::MAX), start, list }
}

/// ZDO as it is on the air (Zigbee specification §2.4), for coordinators whose host speaks it: profile 0, endpoint 0, a sequence
/// number first.
pub(in crate::zigbee) mod zdo {
    use super::{Does, Eui64, NwkAddr, Reply};
    use crate::zigbee::Asdu;

    /// Set in the cluster of an answer.
    const ANSWER: u16 = 0x8000;
    const DEVICE_ANNOUNCE: u16 = 0x0013;
    const PERMIT_JOINING: u16 = 0x0036;

    /// For how long routers are told to let devices join.
    pub(in crate::zigbee) fn permits(asdu: &Asdu) -> Option<u8> {
        let [_, seconds, ..] = asdu.payload[..] else { return None };
        (asdu.profile == 0 && asdu.cluster == PERMIT_JOINING).then_some(seconds)
    }

    fn eui_in(bytes: &[u8]) -> Option<Eui64> {
        let mut eui = *bytes.first_chunk::<8>()?;
        eui.reverse();
        Some(Eui64(eui))
    }

    fn pair(bytes: &[u8], at: usize) -> Option<u16> {
        Some(u16::from_le_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
    }

    /// Sequence number and meaning of a question to this device; `None`: nothing that it answers.
    pub(in crate::zigbee) fn parse(asdu: &Asdu, eui: Eui64, nwk: NwkAddr) -> Option<(u8, Does)> {
        let (sequence, body) = asdu.payload.split_first()?;
        let of_another = pair(body, 0) != Some(nwk.0);
        let does = match asdu.cluster {
            // Asked of all: who is not meant is silent.
            0x0000 if eui_in(body)? != eui => return None,
            0x0000 => Does::Address(false),
            0x0001..=0x0005 if of_another => Does::Address(true),
            0x0001 => Does::Address(false),
            0x0002 => Does::Node,
            0x0003 => Does::Power,
            0x0004 => Does::Endpoint(*body.get(2)?),
            0x0005 => Does::Endpoints,
            0x0021 | 0x0022 => {
                // Source with endpoint, cluster, mode, destination with endpoint.
                Does::Bind(pair(body, 9)?, body.get(20).copied().unwrap_or(0), asdu.cluster == 0x0021)
            }
            0x0031 => Does::Neighbours(*body.first()?),
            0x0034 => Does::Leave(body.get(8)? & 0x80 != 0),
            DEVICE_ANNOUNCE | PERMIT_JOINING => return None,
            cluster if cluster & ANSWER != 0 => return None,
            _ => Does::Unsupported,
        };
        Some((*sequence, does))
    }

    fn reversed(eui: Eui64) -> impl Iterator<Item = u8> {
        eui.0.into_iter().rev()
    }

    /// The frame with the answer of this device.
    pub(in crate::zigbee) fn answer(
        asked: &Asdu,
        sequence: u8,
        eui: Eui64,
        nwk: NwkAddr,
        reply: &Result<Reply, u8>,
    ) -> Asdu {
        let mut out = vec![sequence];
        match reply {
            Err(status) => {
                out.push(*status);
                if matches!(asked.cluster, 0x0002..=0x0005) {
                    out.extend(nwk.0.to_le_bytes());
                    // No descriptor, or an empty list.
                    out.extend((asked.cluster > 0x0003).then_some(0));
                }
            }
            Ok(reply) => {
                out.push(0);
                write(&mut out, eui, nwk, reply);
            }
        }
        let cluster = asked.cluster | ANSWER;
        Asdu { profile: 0, cluster, src_endpoint: 0, dst_endpoint: 0, payload: out }
    }

    fn write(out: &mut Vec<u8>, eui: Eui64, nwk: NwkAddr, reply: &Reply) {
        if let Reply::Address = reply {
            out.extend(reversed(eui));
        }
        if !matches!(reply, Reply::Neighbours { .. } | Reply::Done) {
            out.extend(nwk.0.to_le_bytes());
        }
        match reply {
            Reply::Address | Reply::Done => {}
            Reply::Node(node) => {
                out.extend(node.flags.to_le_bytes());
                out.push(node.mac_capability);
                out.extend(node.manufacturer.to_le_bytes());
                out.push(node.max_buffer);
                for number in [node.max_incoming, node.server_mask, node.max_outgoing] {
                    out.extend(number.to_le_bytes());
                }
                out.push(node.descriptor_capability);
            }
            Reply::Power(power) => out.extend(power.to_le_bytes()),
            Reply::Endpoints(endpoints) => {
                out.push(u8::try_from(endpoints.len()).unwrap_or(u8::MAX));
                out.extend(endpoints);
            }
            Reply::Endpoint(simple) => {
                let mut body = vec![simple.endpoint];
                body.extend(simple.profile.to_le_bytes());
                body.extend(simple.device.to_le_bytes());
                body.push(simple.version);
                for list in [&simple.clusters.servers, &simple.clusters.clients] {
                    body.push(u8::try_from(list.len()).unwrap_or(u8::MAX));
                    body.extend(list.iter().flat_map(|cluster| cluster.to_le_bytes()));
                }
                out.push(u8::try_from(body.len()).unwrap_or(u8::MAX));
                out.extend(body);
            }
            Reply::Neighbours { total, start, list } => {
                out.extend([*total, *start, u8::try_from(list.len()).unwrap_or(u8::MAX)]);
                for one in list {
                    out.extend(reversed(one.extended_pan));
                    out.extend(reversed(one.eui));
                    out.extend(one.nwk.0.to_le_bytes());
                    out.extend([one.kind, one.permit, one.depth, one.lqi]);
                }
            }
        }
    }

    /// The frame with which a device says where it is.
    pub(in crate::zigbee) fn announcement(
        sequence: u8,
        eui: Eui64,
        nwk: NwkAddr,
        mac_capability: u8,
    ) -> Asdu {
        let mut payload = vec![sequence];
        payload.extend(nwk.0.to_le_bytes());
        payload.extend(reversed(eui));
        payload.push(mac_capability);
        Asdu { profile: 0, cluster: DEVICE_ANNOUNCE, src_endpoint: 0, dst_endpoint: 0, payload }
    }
}
