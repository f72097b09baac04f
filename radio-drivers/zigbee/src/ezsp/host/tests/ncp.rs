//! A scripted double of an NCP: ASH from the other side, a memory, and answers by the command table, in any protocol. It has no
//! radio, and nothing about it was learnt from a real dongle.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::ezsp::ash::{self, Data, Decoder};
use crate::ezsp::call::{
    CurrentSecurity, ExportedKey, ExportedLinkKey, Frame, KeyContext, KeyMetadata, LongStatus,
    NetworkKeyInfo, NetworkParameters, SecurityState, key, security, token, value,
};
use crate::types::Key;
use crate::wire::{Field, Reader};

/// How long the double waits for an acknowledgement.
const ACK_MS: Millis = 1_600;

/// ASH as the NCP has it.
#[derive(Default)]
struct Line {
    decoder: Decoder,
    up: bool,
    next_in: u8,
    next_out: u8,
    queue: VecDeque<Vec<u8>>,
    outstanding: Option<(Vec<u8>, Millis)>,
    again: bool,
    out: VecDeque<ash::Frame>,
}

/// What it remembers through a reset.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    pub(crate) network: Option<NetworkParameters>,
    pub(crate) key: Option<Key>,
    pub(crate) key_number: u8,
    pub(crate) frame_counter: u32,
    pub(crate) link_counter: u32,
    pub(crate) link_keys: BTreeMap<u8, (Eui64, Key)>,
    /// Its bitmask and first key.
    pub(crate) security: Option<(u16, Key)>,
    pub(crate) address: Option<Eui64>,
}

pub(crate) struct ScriptedNcp {
    line: Line,
    pub(crate) protocol: Protocol,
    pub(crate) memory: Memory,
    own: Eui64,
    pub(crate) joined: bool,
    /// Every command since the first, in order.
    pub(crate) told: Vec<Command>,
    pub(crate) policies: BTreeMap<u8, u8>,
    pub(crate) sizes: BTreeMap<u8, u16>,
    pub(crate) codes: BTreeMap<Eui64, Key>,
    pub(crate) open: u8,
    /// Commands that are refused, and whether the first time only.
    pub(crate) refuses: BTreeMap<u16, Status>,
    pub(crate) refuses_once: bool,
    /// Does not answer these until it is restarted.
    pub(crate) ignores: BTreeSet<u16>,
    /// Acknowledgements of blocks: to whom, around it.
    pub(crate) replies: Vec<(NwkAddr, ApsFrame)>,
    /// Messages on the air: tag, destination, cluster, payload.
    pub(crate) air: VecDeque<(Tag, NwkAddr, ApsFrame, Vec<u8>)>,
    /// Broadcasts: destination, cluster, payload.
    pub(crate) broadcasts: Vec<(u16, u16, Vec<u8>)>,
    pub(crate) extended: BTreeSet<Eui64>,
    /// Whose address it knows.
    pub(crate) known: BTreeMap<Eui64, NwkAddr>,
    pub(crate) key_table: u16,
    pub(crate) stalled: bool,
    pub(crate) wakes: bool,
    /// Loses counters that it is told.
    pub(crate) forgetful: bool,
    /// Cannot take another one's address.
    pub(crate) stubborn: bool,
    next_key: Option<Key>,
    pub(crate) resets: usize,
    /// The host has said which protocol is spoken.
    greeted: bool,
    /// Half a frame is on the line.
    spoilt: bool,
}

pub(crate) const NCP: Eui64 = Eui64([0x00, 0x0D, 0x6F, 0, 0xDE, 0xAD, 0xBE, 0xEF]);

pub(crate) fn parameters(network: Network) -> NetworkParameters {
    NetworkParameters {
        extended_pan: network.extended_pan,
        pan: network.pan,
        power: 8,
        channel: network.channel,
        join_method: 0,
        manager: NwkAddr(0),
        update_id: 0,
        channels: 1 << network.channel,
    }
}

/// The device that the double knows under this address.
pub(crate) fn device(nwk: u16) -> Eui64 {
    crate::zboss::tests::ncp::device(nwk)
}

impl ScriptedNcp {
    pub(crate) fn new(protocol: u8, network: Option<Network>) -> Self {
        let memory = Memory {
            network: network.map(parameters),
            key: network.map(|_| Key([0xA5; 16])),
            key_number: 4,
            frame_counter: 5_000,
            security: network.map(|_| (security::GLOBAL_LINK_KEY, Key(*b"ZigBeeAlliance09"))),
            ..Memory::default()
        };
        Self {
            line: Line::default(),
            protocol: Protocol(protocol),
            memory,
            own: network.map_or(NCP, |network| network.coordinator),
            joined: false,
            told: Vec::new(),
            policies: BTreeMap::new(),
            sizes: BTreeMap::new(),
            codes: BTreeMap::new(),
            open: 0,
            refuses: BTreeMap::new(),
            refuses_once: false,
            ignores: BTreeSet::new(),
            air: VecDeque::new(),
            replies: Vec::new(),
            broadcasts: Vec::new(),
            extended: BTreeSet::new(),
            known: BTreeMap::new(),
            key_table: 127,
            stalled: false,
            wakes: true,
            forgetful: false,
            stubborn: false,
            next_key: None,
            resets: 0,
            greeted: false,
            spoilt: false,
        }
    }

    pub(crate) fn times(&self, id: u16) -> usize {
        self.told.iter().filter(|command| command.id() == id).count()
    }

    fn eui(&self) -> Eui64 {
        self.memory.address.unwrap_or(self.own)
    }

    /// As after a power cut.
    pub(crate) fn restart(&mut self, code: u8) {
        self.line = Line { up: true, ..Line::default() };
        (self.joined, self.greeted) = (false, false);
        self.policies.clear();
        self.sizes.clear();
        self.codes.clear();
        self.ignores.clear();
        self.extended.clear();
        self.air.clear();
        self.open = 0;
        self.line.out.push_back(ash::Frame::ResetAck { code });
    }

    /// The same, but its word of it is lost, and something that is no frame came instead.
    pub(crate) fn restart_unheard(&mut self) {
        self.restart(0x02);
        self.line.out.clear();
        self.spoilt = true;
    }

    /// It is out of order, as it says.
    pub(crate) fn fail(&mut self, code: u8) {
        self.line.up = false;
        self.line.out.push_back(ash::Frame::Error { code });
    }

    pub(crate) fn say(&mut self, callback: &Callback) {
        let frame = callback.encode(self.protocol).to_vec();
        self.line.queue.push_back(frame);
    }

    pub(crate) fn sent(&mut self, tag: Tag, status: Status) {
        let aps = zdo_frame(0, 0);
        let sent = crate::ezsp::call::Sent {
            status,
            kind: 0,
            destination: NwkAddr(0),
            aps,
            tag,
            payload: (&[][..]).into(),
        };
        self.say(&Callback::MessageSent { sent });
    }

    pub(crate) fn poll_transmit(&mut self, now: Millis) -> Option<Zeroizing<Vec<u8>>> {
        if std::mem::take(&mut self.spoilt) {
            return Some(Zeroizing::new(vec![0x25, 0x55, 0xC1, 0x02, 0x02, 0x9B, 0x7B, 0x7E]));
        }
        if let Some(frame) = self.line.out.pop_front() {
            return Some(frame.encode());
        }
        let line = &mut self.line;
        if !line.up {
            return None;
        }
        let (again, data) = match &mut line.outstanding {
            Some((data, until)) if *until <= now || std::mem::take(&mut line.again) => {
                *until = now + ACK_MS;
                (true, data.clone())
            }
            Some(_) => return None,
            None => {
                let data = line.queue.pop_front()?;
                line.outstanding = Some((data.clone(), now + ACK_MS));
                (false, data)
            }
        };
        Some(
            ash::Frame::Data(Data { number: line.next_out, again, next: line.next_in, data: data.into() })
                .encode(),
        )
    }

    pub(crate) fn handle(&mut self, now: Millis, bytes: &[u8]) {
        if self.stalled {
            return;
        }
        let mut frames = Vec::new();
        self.line.decoder.push(now, bytes, |frame| frames.push(frame));
        for frame in frames {
            match frame {
                Some(ash::Frame::Reset) => {
                    self.resets += 1;
                    if self.wakes {
                        self.restart(0x0B);
                    }
                }
                _ if !self.line.up => {}
                Some(ash::Frame::Ack { next }) => self.acknowledged(next),
                Some(ash::Frame::Nak { next }) => {
                    self.acknowledged(next);
                    self.line.again = true;
                }
                Some(ash::Frame::Data(data)) => {
                    self.acknowledged(data.next);
                    let new = data.number == self.line.next_in;
                    if new {
                        self.line.next_in = (self.line.next_in + 1) % 8;
                    }
                    if new || data.again {
                        self.line.out.push_back(ash::Frame::Ack { next: self.line.next_in });
                    } else {
                        self.line.out.push_back(ash::Frame::Nak { next: self.line.next_in });
                    }
                    if new {
                        self.command(&data.data);
                    }
                }
                None => self.line.out.push_back(ash::Frame::Nak { next: self.line.next_in }),
                Some(other) => panic!("a host does not say {other:?}"),
            }
        }
    }

    fn acknowledged(&mut self, next: u8) {
        if self.line.outstanding.is_some() && next == (self.line.next_out + 1) % 8 {
            self.line.outstanding = None;
            self.line.next_out = next;
        }
    }

    fn command(&mut self, frame: &[u8]) {
        if let [sequence, 0, 0, _] = *frame {
            // The old header, both ways.
            self.greeted = true;
            if !self.ignores.contains(&0) {
                self.line.queue.push_back(vec![sequence, 0x80, 0, self.protocol.0, 2, 0x30, 0x74]);
            }
            return;
        }
        let frame = Frame::parse(frame).unwrap();
        assert_eq!(frame.kind, Kind::Command);
        if !self.greeted {
            let invalid = [&[frame.sequence, 0x80, 1][..], &INVALID_COMMAND.to_le_bytes(), &[0x30]].concat();
            return self.line.queue.push_back(invalid);
        }
        let command = Command::parse(frame.id, frame.body, self.protocol).unwrap();
        self.told.push(command.clone());
        if self.ignores.contains(&frame.id) {
            return;
        }
        let refused = match self.refuses_once {
            true => self.refuses.remove(&frame.id),
            false => self.refuses.get(&frame.id).copied(),
        };
        let (answer, callbacks) = match refused {
            Some(status) => (refusal(&command, status), vec![]),
            None => self.answer(command),
        };
        let answer = match answer {
            Some(answer) => answer.encode(frame.sequence, self.protocol).to_vec(),
            None => [&[frame.sequence, 0x80, 1][..], &INVALID_COMMAND.to_le_bytes(), &[0x36]].concat(),
        };
        self.line.queue.push_back(answer);
        for callback in callbacks {
            self.say(&callback);
        }
    }

    fn answer(&mut self, command: Command) -> (Option<Answer>, Vec<Callback>) {
        let mut callbacks = Vec::new();
        let ok = Status::OK;
        let up = Callback::StackStatus { status: Status::NETWORK_UP };
        let answer = match command {
            Command::Version { .. } => {
                Answer::Version { protocol: self.protocol.0, stack_type: 2, stack_version: 0x7430 }
            }
            Command::AddEndpoint { .. } => Answer::AddEndpoint { status: ok },
            Command::Nop {} => Answer::Nop {},
            Command::SetManufacturerCode { .. } => {
                Answer::SetManufacturerCode { status: Since14(Some(Status::OK)) }
            }
            Command::NetworkInit { .. } => {
                self.joined = self.memory.network.is_some();
                let status = if self.joined { ok } else { Status::NOT_JOINED };
                callbacks.extend(self.joined.then_some(up));
                Answer::NetworkInit { status }
            }
            Command::FormNetwork { parameters } => {
                assert!(self.memory.security.is_some() && self.memory.network.is_none());
                self.memory.network = Some(parameters);
                self.joined = true;
                callbacks.push(up);
                Answer::FormNetwork { status: ok }
            }
            Command::LeaveNetwork { .. } => {
                self.memory.network = None;
                self.joined = false;
                callbacks.push(Callback::StackStatus { status: Status::NETWORK_DOWN });
                Answer::LeaveNetwork { status: ok }
            }
            Command::PermitJoining { seconds } => {
                self.open = seconds;
                Answer::PermitJoining { status: ok }
            }
            Command::GetEui64 {} => Answer::GetEui64 { eui: self.eui() },
            Command::GetNetworkParameters {} => {
                let parameters = self.memory.network.clone().unwrap();
                Answer::GetNetworkParameters { status: ok, role: 1, parameters }
            }
            Command::SendUnicast { destination, aps, tag, payload, .. } => {
                self.air.push_back((tag, destination, aps, payload.0.to_vec()));
                Answer::SendUnicast { status: ok, sequence: 7 }
            }
            Command::SendReply { sender, aps, payload } => {
                assert!(payload.0.is_empty());
                self.replies.push((sender, aps));
                Answer::SendReply { status: ok }
            }
            Command::SendBroadcast { destination, aps, payload, .. } => {
                self.broadcasts.push((destination.0, aps.cluster, payload.0.to_vec()));
                Answer::SendBroadcast { status: ok, sequence: 7 }
            }
            Command::GetConfigurationValue { .. } => {
                Answer::GetConfigurationValue { status: ok, value: self.key_table }
            }
            Command::SetConfigurationValue { id, value } => {
                assert!(!self.joined, "the network runs already");
                self.sizes.insert(id, value);
                Answer::SetConfigurationValue { status: ok }
            }
            Command::SetPolicy { policy, decision } => {
                self.policies.insert(policy, decision);
                Answer::SetPolicy { status: ok }
            }
            Command::LookupNodeIdByEui64 { eui } => {
                let nwk = self.known.get(&eui).copied();
                let status = Since14(Some(if nwk.is_some() { ok } else { Status::NOT_FOUND }));
                Answer::LookupNodeIdByEui64 { status, nwk: nwk.unwrap_or(NwkAddr(0xFFFF)) }
            }
            Command::LookupEui64ByNodeId { nwk } => {
                let known = self.known.iter().find(|(_, known)| **known == nwk).map(|(eui, _)| *eui);
                let status = if known.is_some() { ok } else { Status::NOT_FOUND };
                Answer::LookupEui64ByNodeId { status, eui: known.unwrap_or(Eui64([0xFF; 8])) }
            }
            Command::SetInitialSecurityState { state } => {
                let SecurityState { bitmask, preconfigured, network, number, .. } = state;
                if bitmask & security::KEEP_COUNTERS == 0 {
                    (self.memory.frame_counter, self.memory.link_counter) = (0, 0);
                }
                self.memory.security = Some((bitmask, preconfigured));
                (self.memory.key, self.memory.key_number) = (Some(network), number);
                Answer::SetInitialSecurityState { status: ok }
            }
            Command::GetCurrentSecurityState {} => {
                let bitmask =
                    self.memory.security.as_ref().map_or(security::GLOBAL_LINK_KEY, |(bitmask, _)| *bitmask);
                let state = CurrentSecurity { bitmask: bitmask & 0xFF, trust_centre: self.eui() };
                Answer::GetCurrentSecurityState { status: ok, state }
            }
            Command::ClearTransientLinkKeys {} => {
                self.codes.clear();
                Answer::ClearTransientLinkKeys {}
            }
            Command::BroadcastNextNetworkKey { key } => {
                self.next_key = Some(key);
                Answer::BroadcastNextNetworkKey { status: ok }
            }
            Command::BroadcastNetworkKeySwitch {} => {
                self.memory.key = self.next_key.take();
                self.memory.key_number += 1;
                callbacks.push(Callback::SwitchNetworkKey { number: self.memory.key_number });
                Answer::BroadcastNetworkKeySwitch { status: ok }
            }
            Command::TokenFactoryReset { .. } => {
                self.memory = Memory { address: self.memory.address, ..Memory::default() };
                Answer::TokenFactoryReset {}
            }
            Command::SetExtendedTimeout { eui, .. } => {
                self.extended.insert(eui);
                Answer::SetExtendedTimeout { status: Since14(Some(Status::OK)) }
            }
            Command::SetValue { id, bytes } => {
                assert!(!self.joined, "counters are set before the network runs");
                let counter = u32::from_le_bytes(bytes.0[..].try_into().unwrap());
                match id {
                    _ if self.forgetful => {}
                    value::NWK_FRAME_COUNTER => self.memory.frame_counter = counter,
                    value::APS_FRAME_COUNTER => self.memory.link_counter = counter,
                    other => panic!("no value {other:#04x}"),
                }
                Answer::SetValue { status: ok }
            }
            Command::ClearKeyTable {} => {
                self.memory.link_keys.clear();
                Answer::ClearKeyTable { status: ok }
            }
            Command::GetTokenData { token: token::RESTORED_EUI64, .. } => {
                Answer::GetTokenData { status: if self.stubborn { Status::NOT_FOUND } else { ok } }
            }
            Command::SetTokenData { token: token::RESTORED_EUI64, bytes, .. } => {
                self.memory.address = Some(Eui64::read(&mut Reader::new(&bytes.0)).unwrap());
                Answer::SetTokenData { status: ok }
            }
            Command::ImportLinkKey { index, eui, key } => {
                self.memory.link_keys.insert(index, (eui, key));
                Answer::ImportLinkKey { status: LongStatus(ok) }
            }
            Command::ExportLinkKeyByIndex { index } => {
                let found = self.memory.link_keys.get(&index).cloned();
                let status = if found.is_some() { ok } else { Status::NOT_FOUND };
                let (eui, key) = found.unwrap_or((Eui64([0; 8]), Key([0; 16])));
                let tx_counter = self.memory.link_counter;
                let metadata = KeyMetadata { bitmask: 6, tx_counter, rx_counter: u32::from(index), ttl: 0 };
                Answer::ExportLinkKeyByIndex { entry: ExportedLinkKey { status, eui, key, metadata } }
            }
            Command::ImportTransientKey { eui, key, .. } => {
                self.codes.insert(eui, key);
                Answer::ImportTransientKey { status: LongStatus(ok) }
            }
            Command::ExportKey { context: KeyContext { kind: key::NETWORK, .. } } => {
                let key = self.memory.key.clone().unwrap();
                Answer::ExportKey { exported: ExportedKey { status: ok, key } }
            }
            Command::ExportKey { .. } => {
                let (_, key) = self.memory.security.clone().unwrap();
                Answer::ExportKey { exported: ExportedKey { status: ok, key } }
            }
            Command::GetNetworkKeyInfo {} => {
                let Memory { key_number, frame_counter, .. } = self.memory;
                let info =
                    NetworkKeyInfo { set: 1, next_set: 0, number: key_number, next_number: 0, frame_counter };
                Answer::GetNetworkKeyInfo { status: LongStatus(ok), info }
            }
            Command::GetTokenData { .. } | Command::SetTokenData { .. } => return (None, callbacks),
        };
        (Some(answer), callbacks)
    }
}

/// `None`: an invalid command.
fn refusal(command: &Command, status: Status) -> Option<Answer> {
    Some(match command {
        Command::SetPolicy { .. } => Answer::SetPolicy { status },
        Command::SetConfigurationValue { .. } => Answer::SetConfigurationValue { status },
        Command::SendUnicast { .. } => Answer::SendUnicast { status, sequence: 0 },
        Command::ImportTransientKey { .. } => Answer::ImportTransientKey { status: LongStatus(status) },
        Command::BroadcastNextNetworkKey { .. } => Answer::BroadcastNextNetworkKey { status },
        _ => return None,
    })
}
