//! EmberZNet firmware (Silicon Labs): its line, its commands, what it says of the air. Policies, sizes and endpoints are
//! forgotten at each start; the network, its keys and children are not.

mod blocks;
mod commands;
mod line;
mod more;
mod network;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cardea_radio::Millis;
use cardea_zigbee::descriptors::SimpleDescriptor;
use cardea_zigbee::ezsp::call::{
    ApsFrame, Bytes8, Callback, Command, Frame, INVALID_COMMAND, Incoming, Kind, Protocol, Sent, Status, aps,
    config, policy, security,
};
use cardea_zigbee::{Eui64, Key, NwkAddr};
use zeroize::Zeroizing;

use super::Front;
use crate::zigbee::air::{
    Air, Asdu, End, LQI, Notice, OwnKeys, RSSI, Refusal, Rejoin, Rules, Ticket, Verdict, zdo,
};
use crate::zigbee::nvram::Nvram;
use blocks::Blocks;
use commands::MAX_PAYLOAD;
use line::{Heard, Line};

/// How long the firmware takes to start.
const BOOT_MS: Millis = 150;
/// EmberZNet 7.4.5 for protocol 13, 8.0.2 for later ones; the host asks for nothing by it.
const STACK_VERSIONS: [u16; 2] = [0x7450, 0x8020];
/// Mesh.
const STACK_TYPE: u8 = 2;
/// Until nobody has answered a search for a route.
const NO_ROUTE_MS: Millis = 3_000;
/// Why a command is none (EzspStatus).
const VERSION_NOT_SET: u8 = 0x30;
const INVALID_FRAME_ID: u8 = 0x31;
const TRUNCATED: u8 = 0x33;
/// What becomes of a device, in a trust centre's callback.
const SECURED_REJOIN: u8 = 0;
const UNSECURED_JOIN: u8 = 1;
const LEFT: u8 = 2;
const UNSECURED_REJOIN: u8 = 3;
/// What the trust centre decides.
const PRECONFIGURED_KEY: u8 = 0;
const DENY: u8 = 2;
const NO_ACTION: u8 = 3;
/// How a device fares with its link key (EmberKeyStatus).
const KEY_TABLE_FULL: u8 = 0x05;
const KEY_SENT: u8 = 0x06;
const KEY_PROVEN: u8 = 0x34;
/// Kinds of messages.
const UNICAST: u8 = 0;
const BROADCAST_HEARD: u8 = 4;
/// Decision on what is said of the end of a message: with its content.
const WITH_CONTENT: u8 = 0x41;

/// Whether the firmware runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Power {
    Running,
    /// Starts; it will say why.
    Booting {
        code: u8,
        until: Millis,
    },
}

/// What is set and lost with every start.
#[derive(Default)]
struct Settings {
    /// The host has named the protocol.
    greeted: bool,
    /// The host was told that the network runs.
    told_up: bool,
    manufacturer: u16,
    endpoints: BTreeMap<u8, SimpleDescriptor>,
    sizes: BTreeMap<u8, u16>,
    policies: BTreeMap<u8, u8>,
    /// The network key that a network will be formed with, and its number.
    key: Option<(Key, u8)>,
    /// The key that the network will be switched to, and whether it was and the host is to be told.
    next_key: Option<Key>,
    switched: bool,
    /// Devices that are waited for longer.
    extended: BTreeSet<Eui64>,
    /// Our APS counter.
    counter: u8,
    /// Frames whose end is not told yet.
    sent: BTreeMap<Ticket, Sent>,
    /// Of these nobody knows where they should go; their end is told at this time.
    lost: VecDeque<(Millis, Ticket)>,
    next_ticket: Ticket,
    /// Messages that are longer than a frame.
    blocks: Blocks,
}

impl Settings {
    /// A size as the host set it, or as it is by default.
    fn size(&self, id: u8) -> Option<u16> {
        let default = match id {
            config::PACKET_BUFFERS => 64,
            APS_MESSAGES => 10,
            ADDRESS_TABLE | MULTICAST_TABLE => 8,
            config::STACK_PROFILE | config::SECURITY_LEVEL => 0,
            config::MAX_CHILDREN => 6,
            config::INDIRECT_TIMEOUT => 3_000,
            config::CHILD_TIMEOUT => 8,
            config::FRAGMENT_WINDOW => 0,
            config::KEY_TABLE => 12,
            config::TRANSIENT_KEY_TIMEOUT => 300,
            // What has no effect here.
            0x02 | 0x04 | 0x07 | 0x08 | 0x10 | 0x17..=0x22 | 0x2A..=0x30 | 0x33..=0x3D => 0,
            _ => return None,
        };
        Some(self.sizes.get(&id).copied().unwrap_or(default))
    }

    fn policy(&self, id: u8) -> u8 {
        let default = match id {
            policy::MESSAGE_SENT => policy::TAG_ONLY,
            policy::LINK_KEY => 0x51,
            policy::APPLICATION_KEY => policy::DENY,
            _ => 0,
        };
        self.policies.get(&id).copied().unwrap_or(default)
    }
}

/// Numbers of sizes that our host leaves alone.
const APS_MESSAGES: u8 = 0x03;
const ADDRESS_TABLE: u8 = 0x05;
const MULTICAST_TABLE: u8 = 0x06;

/// The firmware.
pub(super) struct Ezsp {
    protocol: Protocol,
    line: Line,
    power: Power,
    settings: Settings,
    /// Written to memory; the stack looks at it when it starts: a whole new one, the coordinator's address.
    wiped: bool,
    address: Option<Option<Eui64>>,
}

impl Front for Ezsp {
    fn restart(&mut self, air: &mut Air, now: Millis, source: u8) {
        if std::mem::take(&mut self.wiped) {
            let eui = air.nvram.eui;
            air.nvram.erase();
            air.nvram.eui = eui;
        }
        if let Some(address) = self.address.take() {
            air.nvram.eui = address;
        }
        // Keys of install codes are kept in memory that a reset clears.
        air.nvram.codes.clear();
        self.line = Line::default();
        self.settings = Settings::default();
        air.restart(self.rules(&air.nvram));
        // UG101 §3.9: external, power, software.
        let code = match source {
            1 => 0x0B,
            2 => 0x01,
            _ => 0x02,
        };
        self.power = Power::Booting { code, until: now.saturating_add(BOOT_MS) };
    }

    fn handle_close(&mut self) {
        self.line.reopen();
    }

    fn handle_bytes(&mut self, air: &mut Air, now: Millis, bytes: &[u8]) {
        for heard in self.line.handle_bytes(now, bytes) {
            match heard {
                Heard::Reset => return self.restart(air, now, 1),
                Heard::Frame(frame) => self.frame(air, now, &frame),
            }
        }
    }

    fn handle_timeout(&mut self, air: &mut Air, now: Millis) {
        self.line.handle_timeout(now);
        match self.power {
            Power::Booting { code, until } if until <= now => {
                self.power = Power::Running;
                air.traffic.started += 1;
                self.line.start(code);
            }
            Power::Running | Power::Booting { .. } => {}
        }
        self.blocks_timeout(air, now);
        while let Some((_, ticket)) = self.settings.lost.pop_front_if(|(at, _)| *at <= now) {
            self.ended(air, ticket, Status::DELIVERY_FAILED);
        }
    }

    fn handle_notice(&mut self, air: &mut Air, notice: Notice) {
        match notice {
            Notice::Joining { eui, nwk, verdict } => {
                let decision = if verdict == Verdict::NoCode { DENY } else { PRECONFIGURED_KEY };
                self.device(air, eui, nwk, UNSECURED_JOIN, decision);
            }
            Notice::Announced { eui, nwk, mac_capability } => {
                self.settings.counter = self.settings.counter.wrapping_add(1);
                let counter = self.settings.counter;
                let asdu = zdo::announcement(counter, eui, nwk, mac_capability);
                self.incoming(air, BROADCAST_HEARD, eui, nwk, counter, asdu);
            }
            Notice::Joined { own_key: false, .. } => {}
            Notice::Joined { eui, .. } => {
                let stored = self.place(air, eui);
                let steps = if stored { [KEY_SENT, KEY_PROVEN] } else { [KEY_SENT, KEY_TABLE_FULL] };
                for status in steps {
                    self.call(air, &Callback::KeyEstablishment { eui, status });
                }
            }
            // The trust centre waits for a device that it sent a key; that it is silent nobody tells.
            Notice::Refused { why: Refusal::NoCode | Refusal::WrongKey | Refusal::NoOwnKey, .. } => {}
            Notice::Rejoined { eui, nwk, how } => match how {
                Rejoin::Secured => self.device(air, eui, nwk, SECURED_REJOIN, NO_ACTION),
                Rejoin::TrustCentre => self.device(air, eui, nwk, UNSECURED_REJOIN, PRECONFIGURED_KEY),
            },
            Notice::Left { eui, nwk, .. } => self.device(air, eui, nwk, LEFT, NO_ACTION),
            Notice::Frame { eui, nwk, counter, asdu, .. } => {
                if asdu.payload.len() > MAX_PAYLOAD {
                    self.blocks_up(air, nwk, counter, asdu);
                } else {
                    self.incoming(air, UNICAST, eui, nwk, counter, asdu);
                }
            }
            Notice::Ended { ticket, end } => {
                let status = if matches!(end, End::Delivered) { Status::OK } else { Status::DELIVERY_FAILED };
                self.ended(air, ticket, status);
            }
        }
    }

    fn poll_transmit(&mut self, now: Millis) -> Option<Zeroizing<Vec<u8>>> {
        self.line.poll_transmit(now)
    }

    fn poll_timeout(&self) -> Option<Millis> {
        let boot = match self.power {
            Power::Running => None,
            Power::Booting { until, .. } => Some(until),
        };
        let lost = self.settings.lost.front().map(|(at, _)| *at);
        let blocks = self.settings.blocks.poll_timeout();
        [boot, lost, blocks, self.line.poll_timeout()].into_iter().flatten().min()
    }

    fn is_starting(&self) -> bool {
        matches!(self.power, Power::Booting { .. })
    }
}

impl Ezsp {
    pub(super) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            line: Line::default(),
            power: Power::Booting { code: 0x02, until: Millis::MAX },
            settings: Settings::default(),
            wiped: false,
            address: None,
        }
    }

    /// What holds now.
    pub(super) fn rules(&self, nvram: &Nvram) -> Rules {
        let decides = self.settings.policy(policy::TRUST_CENTRE);
        let security = nvram.ember.security.as_ref();
        let hashed = security.filter(|(bits, _)| bits & security::HASHED_LINK_KEYS != 0);
        Rules {
            max_children: self.settings.size(config::MAX_CHILDREN).unwrap_or(0).into(),
            joins: decides & policy::JOINS != 0,
            rejoins: decides & policy::REJOINS != 0,
            codes_required: decides & policy::INSTALL_CODES != 0,
            own_keys_required: false,
            default_key: security.filter(|_| hashed.is_none()).map(|(_, key)| key.clone()),
            own_keys: match hashed {
                Some((_, secret)) => OwnKeys::Hashed(secret.clone()),
                None if self.settings.policy(policy::LINK_KEY) == policy::NEW_KEY => OwnKeys::Random,
                None => OwnKeys::None,
            },
            persistence: self.settings.size(config::INDIRECT_TIMEOUT).unwrap_or(0).into(),
        }
    }

    /// A frame of EZSP.
    fn frame(&mut self, air: &mut Air, now: Millis, frame: &[u8]) {
        // The old header, in which every host asks for the version first.
        if let [sequence, 0, 0, wanted] = *frame {
            air.watch.heard(0);
            self.settings.greeted = wanted == self.protocol.0;
            let [low, high] = self.stack_version().to_le_bytes();
            let answer = vec![sequence, 0x80, 0, self.protocol.0, STACK_TYPE, low, high];
            return self.say(air, Zeroizing::new(answer));
        }
        let Ok(Frame { sequence, kind: Kind::Command, id, body }) = Frame::parse(frame) else {
            air.traffic.refused += 1;
            return;
        };
        air.watch.heard(id);
        let answer = match Command::parse(id, body, self.protocol) {
            Ok(Command::Version { .. }) => {
                self.settings.greeted = true;
                Ok(self.version().encode(sequence, self.protocol))
            }
            _ if !self.settings.greeted => Err(VERSION_NOT_SET),
            Ok(Command::GetTokenData { .. } | Command::SetValue { .. }) | Err(_) => {
                self.more(air, now, sequence, id, body)
            }
            Ok(command) => Ok(self.answer(air, now, command).encode(sequence, self.protocol)),
        };
        let answer = answer.unwrap_or_else(|reason| {
            air.traffic.refused += 1;
            let mut answer = vec![sequence, 0x80, 1];
            answer.extend(INVALID_COMMAND.to_le_bytes());
            answer.push(reason);
            if self.protocol.is_wide() {
                answer.extend([0; 3]);
            }
            Zeroizing::new(answer)
        });
        self.say(air, answer);
        self.after(air, id);
    }

    fn stack_version(&self) -> u16 {
        let [old, new] = STACK_VERSIONS;
        if self.protocol.is_wide() { new } else { old }
    }

    fn call(&mut self, air: &mut Air, callback: &Callback) {
        self.say(air, callback.encode(self.protocol));
    }

    fn say(&mut self, air: &mut Air, mut frame: Zeroizing<Vec<u8>>) {
        if air.watch.spoil(&mut frame) && !self.line.send(frame) {
            air.traffic.dropped += 1;
        }
    }

    fn device(&mut self, air: &mut Air, eui: Eui64, nwk: NwkAddr, update: u8, decision: u8) {
        let parent = air.parent_address(eui);
        self.call(air, &Callback::TrustCentreJoin { nwk, eui, update, decision, parent });
    }

    fn incoming(&mut self, air: &mut Air, kind: u8, eui: Eui64, sender: NwkAddr, sequence: u8, asdu: Asdu) {
        let Asdu { profile, cluster, src_endpoint, dst_endpoint, payload } = asdu;
        let options = aps::ROUTE;
        let aps = ApsFrame { profile, cluster, src_endpoint, dst_endpoint, options, group: 0, sequence };
        let payload = Bytes8::from(&payload[..]);
        let incoming = Incoming { kind, aps, sender, eui: Some(eui), lqi: LQI, rssi: RSSI, payload };
        self.call(air, &Callback::IncomingMessage { incoming });
    }

    fn ended(&mut self, air: &mut Air, ticket: Ticket, status: Status) {
        if let Some(sent) = self.settings.sent.remove(&ticket) {
            self.call(air, &Callback::MessageSent { sent: Sent { status, ..sent } });
        }
    }
}

#[cfg(test)]
mod tests;
