//! A scripted double of an NCP: it keeps the link layer, remembers a network, and answers by the command table. It has no
//! radio, and nothing about it was learnt from a real dongle.

use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::descriptors::{Clusters, NodeDescriptor, SimpleDescriptor};
use crate::zboss::call::{
    ApsConfirm, ChannelMask, Counted, DatasetBytes, IbCounters, NumberedKey, Reversed, Version,
};
use crate::zboss::ll::RESYNC_QUIET_MS;

/// What the double remembers through a reset.
#[derive(Debug, Clone, Default)]
pub(crate) struct Nvram {
    pub(crate) network: Option<Network>,
    pub(crate) key: Option<Key>,
    pub(crate) key_number: u8,
    /// Version and content by number.
    pub(crate) datasets: BTreeMap<u16, (u16, Vec<u8>)>,
}

pub(crate) struct ScriptedNcp {
    link: Link,
    pub(crate) nvram: Nvram,
    /// Is the network running?
    pub(crate) joined: bool,
    pub(crate) role: u8,
    pub(crate) policies: BTreeMap<u16, u8>,
    pub(crate) codes: Vec<Eui64>,
    /// Every request, in order.
    pub(crate) asked: Vec<Request>,
    /// Calls that are refused.
    pub(crate) refuses: BTreeMap<u16, Status>,
    /// Does not answer these calls until it is restarted.
    pub(crate) ignores: Vec<u16>,
    /// Transmissions that have not ended: transaction number and frame.
    pub(crate) air: VecDeque<(u8, crate::zboss::call::ApsRequest)>,
    /// Hears nothing, says nothing.
    pub(crate) stalled: bool,
    /// Comes back from resets.
    pub(crate) wakes: bool,
    /// Its own address; another one's once it was told so.
    pub(crate) eui: Eui64,
    /// The key beside the active one.
    next_key: Option<NumberedKey>,
    /// What it was written counts once it was reset.
    written: BTreeMap<u16, (u16, Vec<u8>)>,
    /// Goes on with old counters, whatever it was written.
    pub(crate) forgetful: bool,
}

pub(crate) const NCP: Eui64 = Eui64([0, 0x50, 0xCA, 0xEF, 0xDE, 0xAD, 0xBE, 0xEF]);

impl ScriptedNcp {
    pub(crate) fn new(network: Option<Network>) -> Self {
        Self {
            link: Link::default(),
            nvram: Nvram { network, ..Nvram::default() },
            joined: false,
            role: 3,
            policies: BTreeMap::new(),
            codes: Vec::new(),
            asked: Vec::new(),
            refuses: BTreeMap::new(),
            ignores: Vec::new(),
            air: VecDeque::new(),
            stalled: false,
            wakes: true,
            eui: NCP,
            next_key: None,
            written: BTreeMap::new(),
            forgetful: false,
        }
    }

    /// As after a power cut.
    pub(crate) fn restart(&mut self, source: u8) {
        self.link = Link::default();
        self.joined = false;
        self.policies.clear();
        self.ignores.clear();
        self.air.clear();
        self.nvram.datasets.extend(std::mem::take(&mut self.written));
        if self.forgetful {
            let old = IbCounters { nib: 5_000, aib: 70 };
            self.nvram.datasets.insert(IbCounters::DATASET, (1, old.encode()));
        }
        self.say(&Indication::Reset { source });
    }

    pub(crate) fn say(&mut self, indication: &Indication) {
        self.link.send(indication.encode()).unwrap();
    }

    pub(crate) fn ended(&mut self, tsn: u8, status: Status) {
        let packet = Packet { kind: Kind::Response { tsn, status }, call: 0x0301, body: &[] };
        if status.is_ok() {
            let to = ApsAddress::Ieee(self.eui);
            let confirm = ApsConfirm { to, dst_endpoint: 1, src_endpoint: 1, tx_time: 1 };
            self.link.send(Response::ApsdeDataReq { confirm }.encode(tsn)).unwrap();
        } else {
            self.link.send(packet.encode()).unwrap();
        }
    }

    pub(crate) fn times(&self, call: u16) -> usize {
        self.asked.iter().filter(|request| request.call() == call).count()
    }

    pub(crate) fn poll_transmit(&mut self, now: Millis) -> Option<Zeroizing<Vec<u8>>> {
        self.link.poll_transmit(now)
    }

    pub(crate) fn handle(&mut self, now: Millis, bytes: &[u8]) {
        if self.stalled {
            return;
        }
        self.link.handle_bytes(now, bytes);
        while let Some(packet) = self.link.poll_packet() {
            let packet = Packet::parse(&packet).unwrap();
            let Kind::Request { tsn } = packet.kind else { panic!("a host only asks") };
            let request = Request::parse(packet.call, packet.body).unwrap();
            self.asked.push(request.clone());
            if let Request::NcpReset { option } = request {
                if option != reset::KEEP {
                    self.nvram = Nvram::default();
                }
                if self.wakes {
                    self.restart(1);
                }
            } else if let Some(status) = self.refuses.get(&packet.call) {
                let kind = Kind::Response { tsn, status: *status };
                self.link.send(Packet { kind, call: packet.call, body: &[] }.encode()).unwrap();
            } else if !self.ignores.contains(&packet.call)
                && let Some(response) = self.answer(tsn, request)
            {
                self.link.send(response.encode(tsn)).unwrap();
            }
        }
    }

    fn answer(&mut self, tsn: u8, request: Request) -> Option<Response> {
        let network = self.nvram.network.unwrap_or(Network {
            coordinator: self.eui,
            extended_pan: Eui64([0; 8]),
            pan: 0xFFFF,
            channel: 0,
        });
        Some(match request {
            Request::GetModuleVersion {} => {
                let version = Version(0x0102_0300);
                Response::GetModuleVersion { firmware: version, stack: version, protocol: version }
            }
            Request::GetZigbeeRole {} => Response::GetZigbeeRole { role: self.role },
            Request::SetZigbeeRole { role } => {
                self.role = role;
                Response::SetZigbeeRole {}
            }
            Request::GetJoined {} => Response::GetJoined { flags: self.joined.into() },
            Request::StartWithoutFormation {} => {
                self.joined = self.nvram.network.is_some();
                Response::StartWithoutFormation {}
            }
            Request::GetLocalIeee { interface } => {
                Response::GetLocalIeee { interface, eui: network.coordinator }
            }
            Request::GetExtendedPanId {} => {
                Response::GetExtendedPanId { pan: Reversed(network.extended_pan) }
            }
            Request::GetPanId {} => Response::GetPanId { pan: network.pan },
            Request::GetChannel {} => Response::GetChannel { page: 0, channel: network.channel },
            Request::SetExtendedPanId { .. } => Response::SetExtendedPanId {},
            Request::SetChannelMask { .. } => Response::SetChannelMask {},
            Request::SetNwkKey { key } if self.joined => {
                self.next_key = Some(key);
                Response::SetNwkKey {}
            }
            Request::SetNwkKey { key: NumberedKey { key, number } } => {
                (self.nvram.key, self.nvram.key_number) = (Some(key), number);
                Response::SetNwkKey {}
            }
            Request::SecurInitiateKeySwitch {} => {
                let Some(NumberedKey { key, number }) = self.next_key.take() else {
                    panic!("there is no key to switch to")
                };
                (self.nvram.key, self.nvram.key_number) = (Some(key), number);
                Response::SecurInitiateKeySwitch {}
            }
            Request::GetNwkKeys {} => {
                let none = NumberedKey { key: Key([0xFF; 16]), number: 0 };
                let key = self.nvram.key.clone().unwrap_or(Key([0xFF; 16]));
                let first = NumberedKey { key, number: self.nvram.key_number };
                Response::GetNwkKeys { first, second: none.clone(), third: none }
            }
            Request::GetChannelMask {} => {
                let masks = Counted(vec![ChannelMask { page: 0, mask: 1 << network.channel }]);
                Response::GetChannelMask { masks }
            }
            Request::SetLocalIeee { eui, .. } => {
                self.eui = eui;
                Response::SetLocalIeee {}
            }
            Request::NvramWrite { datasets } => {
                let datasets = datasets.0.into_iter().map(|d| (d.kind, (d.version, d.data.0.to_vec())));
                self.written.extend(datasets);
                Response::NvramWrite {}
            }
            Request::NvramRead { dataset } => {
                let Some((version, data)) = self.nvram.datasets.get(&dataset).cloned() else {
                    let kind = Kind::Response { tsn, status: Status { category: 0, code: 1 } };
                    self.link.send(Packet { kind, call: 0x002F, body: &[] }.encode()).unwrap();
                    return None;
                };
                Response::NvramRead { nvram_version: 1, dataset, version, data: DatasetBytes(data.into()) }
            }
            Request::NwkFormation { channels, extended_pan, .. } => {
                let channel = channels.0[0].mask.trailing_zeros() as u8;
                let pan = 0x1A62;
                self.nvram.network = Some(Network { coordinator: self.eui, extended_pan, pan, channel });
                self.joined = true;
                Response::NwkFormation { nwk: NwkAddr(0), pan, page: 0, channel }
            }
            Request::SetPanId { pan } => {
                self.nvram.network.iter_mut().for_each(|network| network.pan = pan);
                Response::SetPanId {}
            }
            Request::SetTcPolicy { policy, value } => {
                self.policies.insert(policy, value);
                Response::SetTcPolicy {}
            }
            Request::SetRxOnWhenIdle { .. } => Response::SetRxOnWhenIdle {},
            Request::SetEndDeviceTimeout { .. } => Response::SetEndDeviceTimeout {},
            Request::SetMaxChildren { .. } => Response::SetMaxChildren {},
            Request::SetNodeDescManufacturer { .. } => Response::SetNodeDescManufacturer {},
            Request::AfSetSimpleDesc { .. } => Response::AfSetSimpleDesc {},
            Request::PermitJoiningReq { .. } => Response::PermitJoiningReq {},
            Request::SecurAddIc { eui, .. } => {
                self.codes.push(eui);
                Response::SecurAddIc {}
            }
            Request::SecurDelIc { eui } => {
                self.codes.retain(|known| *known != eui);
                Response::SecurDelIc {}
            }
            Request::NwkGetIeeeByShort { nwk } => Response::NwkGetIeeeByShort { eui: device(nwk.0) },
            Request::NwkGetShortByIeee { eui } => {
                let [.., high, low] = eui.0;
                Response::NwkGetShortByIeee { nwk: NwkAddr(u16::from_be_bytes([high, low])) }
            }
            Request::ActiveEpReq { nwk } => Response::ActiveEpReq { endpoints: Counted(vec![1]), nwk },
            Request::NodeDescReq { nwk } => {
                let descriptor = NodeDescriptor {
                    flags: 2,
                    mac_capability: 0x80,
                    manufacturer: 0xFFF1,
                    max_buffer: 82,
                    max_incoming: 0,
                    server_mask: 0,
                    max_outgoing: 0,
                    descriptor_capability: 0,
                };
                Response::NodeDescReq { descriptor, nwk }
            }
            Request::SimpleDescReq { nwk, endpoint } => {
                let clusters = Clusters { servers: vec![0, 0xFC7C], clients: vec![] };
                let descriptor =
                    SimpleDescriptor { endpoint, profile: 0x0104, device: 0x000A, version: 0, clusters };
                Response::SimpleDescReq { descriptor, nwk }
            }
            Request::MgmtLqiReq { start, .. } => {
                Response::MgmtLqiReq { total: 0, start, neighbours: Counted(vec![]) }
            }
            Request::MgmtLeaveReq { .. } => Response::MgmtLeaveReq {},
            Request::ApsdeDataReq { frame } => {
                self.air.push_back((tsn, frame));
                return None;
            }
            other => panic!("the script has no answer to {other:?}"),
        })
    }
}

/// The device that the double knows under this address.
pub(crate) fn device(nwk: u16) -> Eui64 {
    let [high, low] = nwk.to_be_bytes();
    Eui64([0x00, 0x12, 0x4B, 0, 0, 0, high, low])
}

pub(crate) fn config() -> HostConfig {
    let endpoint = SimpleDescriptor {
        endpoint: 1,
        profile: 0x0104,
        device: 0x0005,
        version: 0,
        clusters: Clusters::default(),
    };
    HostConfig { endpoint, manufacturer: 0xFFF1, max_children: 32 }
}

/// A host, its NCP, and the time.
pub(crate) struct Bench {
    pub(crate) host: Host,
    pub(crate) ncp: ScriptedNcp,
    pub(crate) now: Millis,
    pub(crate) events: Vec<Event>,
    /// Loses one frame in this many, from host to NCP and back.
    pub(crate) loses: Option<u64>,
    carried: u64,
}

impl Bench {
    pub(crate) fn new(ncp: ScriptedNcp, expected: Option<Network>) -> Self {
        let host = Host::new(config(), expected);
        Self { host, ncp, now: 1_000, events: Vec::new(), loses: None, carried: 0 }
    }

    /// Opened, and what follows within a second.
    pub(crate) fn opened(ncp: ScriptedNcp, expected: Option<Network>) -> Self {
        let mut bench = Self::new(ncp, expected);
        bench.host.handle_open(bench.now);
        bench.run(1_000);
        bench
    }

    fn lost(&mut self) -> bool {
        self.carried += 1;
        self.loses.is_some_and(|every| self.carried.is_multiple_of(every))
    }

    /// Lets time pass in steps.
    pub(crate) fn run(&mut self, ms: Millis) {
        let end = self.now + ms;
        loop {
            self.exchange();
            if self.now >= end {
                return;
            }
            self.now = (self.now + RESYNC_QUIET_MS).min(end);
            if self.host.poll_timeout().is_some_and(|at| at <= self.now) {
                self.host.handle_timeout(self.now);
                let next = self.host.poll_timeout();
                assert!(
                    next.is_none_or(|at| at > self.now),
                    "it would be called for ever: {next:?} at {}",
                    self.now
                );
            }
            self.ncp.link.handle_timeout(self.now);
        }
    }

    /// Everything that can be said at this moment.
    fn exchange(&mut self) {
        loop {
            let mut quiet = true;
            while let Some(bytes) = self.host.poll_transmit(self.now) {
                quiet = false;
                if !self.lost() {
                    self.ncp.handle(self.now, &bytes);
                }
            }
            while let Some(bytes) = self.ncp.link.poll_transmit(self.now).filter(|_| !self.ncp.stalled) {
                quiet = false;
                if !self.lost() {
                    self.host.handle_bytes(self.now, &bytes);
                }
            }
            self.events.extend(std::iter::from_fn(|| self.host.poll_event()));
            if quiet {
                return;
            }
        }
    }

    pub(crate) fn order(&mut self, order: Order) {
        self.host.handle_order(self.now, order);
        self.run(200);
    }

    pub(crate) fn say(&mut self, indication: &Indication) {
        self.ncp.say(indication);
        self.run(200);
    }

    /// Events since the last call.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    pub(crate) fn states(&mut self) -> Vec<State> {
        let states = self.events().into_iter().filter_map(|event| match event {
            Event::State(state) => Some(state),
            _ => None,
        });
        states.collect()
    }
}
