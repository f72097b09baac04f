//! The firmware alone, spoken to through our host's link.

use cardea_zigbee::ezsp::call::{Answer, NetworkParameters, SecurityState, hello, parse_hello};
use cardea_zigbee::ezsp::{Link, LinkEvent};
use cardea_zigbee::{InstallCode, NwkAddr};

use super::commands;
use super::*;
use crate::Random;
use crate::zigbee::air::{DeviceConfig, Downlink, Uplink};
use crate::zigbee::ncp::{Ncp, NcpConfig};

const EUI: Eui64 = Eui64([0, 0x50, 0xCA, 0xEF, 0xDE, 0xAD, 0xBE, 0xEF]);
const LOCK: Eui64 = Eui64([2; 8]);

/// A host that acknowledges and believes everything.
struct Bench {
    ncp: Ncp,
    host: Link,
    protocol: Protocol,
    now: Millis,
    sequence: u8,
    heard: Vec<Callback>,
}

impl Bench {
    fn new(protocol: u8) -> Self {
        let mut ncp = Ncp::ezsp(NcpConfig { eui: EUI, seed: 1 }, Nvram::default(), protocol);
        ncp.restart(0, 0);
        let protocol = Protocol(protocol);
        let mut bench = Self { ncp, host: Link::default(), protocol, now: 0, sequence: 0, heard: Vec::new() };
        bench.run(500);
        bench.reset();
        bench
    }

    /// As a host begins.
    fn reset(&mut self) {
        self.host.reset();
        self.run(500);
        assert!(self.host.send(hello(0)));
        let answers = self.run(100);
        assert_eq!(parse_hello(&answers[0]), Ok(self.protocol));
        self.ask(Command::Version { wanted: self.protocol.0 });
    }

    /// Lets time pass; gives answers, keeps what is said unasked.
    fn run(&mut self, ms: Millis) -> Vec<Vec<u8>> {
        let (mut answers, end) = (Vec::new(), self.now + ms);
        while self.now < end {
            while let Some(bytes) = self.host.poll_transmit(self.now) {
                self.ncp.handle_bytes(self.now, &bytes);
            }
            while let Some(bytes) = self.ncp.poll_transmit(self.now) {
                self.host.handle_bytes(self.now, &bytes);
            }
            while let Some(event) = self.host.poll_event() {
                let LinkEvent::Frame(frame) = event else { continue };
                match Frame::parse(&frame) {
                    Ok(Frame { kind: Kind::Callback, id, body, .. }) => {
                        self.heard.push(Callback::parse(id, body, self.protocol).unwrap());
                    }
                    _ => answers.push(frame.to_vec()),
                }
            }
            self.now += 20;
            self.ncp.handle_timeout(self.now);
            self.host.handle_timeout(self.now);
        }
        answers
    }

    fn ask(&mut self, command: Command) -> Answer {
        self.sequence = self.sequence.wrapping_add(1);
        assert!(self.host.send(command.encode(self.sequence, self.protocol)));
        let answers = self.run(200);
        let frame = Frame::parse(&answers[0]).unwrap();
        assert_eq!((frame.sequence, frame.id), (self.sequence, command.id()), "{command:?}");
        Answer::parse(frame.id, frame.body, self.protocol).unwrap()
    }

    /// With the policies of our host: install codes, and a new key for each.
    fn formed(protocol: u8) -> Self {
        let mut bench = Self::new(protocol);
        bench.policies();
        let state = SecurityState {
            bitmask: security::GLOBAL_LINK_KEY | security::HAVE_NETWORK_KEY,
            preconfigured: Key([6; 16]),
            network: Key([7; 16]),
            number: 0,
            trust_centre: Eui64([0; 8]),
        };
        bench.ask(Command::SetInitialSecurityState { state });
        let parameters = NetworkParameters {
            extended_pan: Eui64([9; 8]),
            pan: 0x1234,
            power: 8,
            channel: 20,
            join_method: 0,
            manager: NwkAddr::COORDINATOR,
            update_id: 3,
            channels: 1 << 20,
        };
        let formed = bench.ask(Command::FormNetwork { parameters });
        assert_eq!(formed, Answer::FormNetwork { status: Status::OK });
        assert_eq!(bench.heard, [Callback::StackStatus { status: Status::NETWORK_UP }]);
        bench
    }

    fn policies(&mut self) {
        let window = Command::SetConfigurationValue { id: config::FRAGMENT_WINDOW, value: 1 };
        assert_eq!(self.ask(window), Answer::SetConfigurationValue { status: Status::OK });
        let joins = policy::JOINS | policy::REJOINS | policy::INSTALL_CODES;
        for (policy, decision) in [(policy::TRUST_CENTRE, joins), (policy::LINK_KEY, policy::NEW_KEY)] {
            let set = self.ask(Command::SetPolicy { policy, decision });
            assert_eq!(set, Answer::SetPolicy { status: Status::OK });
        }
    }

    fn switch_on(&mut self, device: DeviceConfig) {
        let eui = device.eui;
        self.ncp.add(device);
        self.ncp.handle_radio(self.now, eui, Uplink::Power(true));
        self.ask(Command::PermitJoining { seconds: 60 });
        self.run(8_000);
    }

    /// With a lock that has joined.
    fn joined(protocol: u8) -> Self {
        let mut bench = Self::formed(protocol);
        bench.ask(Command::ImportTransientKey { eui: LOCK, key: code().link_key(), flags: 0 });
        bench.switch_on(lock());
        assert!(bench.ncp.is_reachable(LOCK) && bench.ncp.shares_key(LOCK));
        bench.heard.clear();
        bench
    }

    /// Gives the dongle a block for the lock: what it answers, and what became of it.
    fn block(&mut self, sequence: u8, group: u16, payload: &[u8]) -> (Status, u8, Option<Status>) {
        let destination = self.ncp.address(LOCK).unwrap();
        let options = aps::FRAGMENT | aps::RETRY;
        let (profile, cluster) = (0x0104, 0x0101);
        let aps = ApsFrame { profile, cluster, src_endpoint: 1, dst_endpoint: 1, options, group, sequence };
        let tag = cardea_zigbee::ezsp::call::Tag(9);
        self.heard.clear();
        let answer =
            self.ask(Command::SendUnicast { kind: 0, destination, aps, tag, payload: payload.into() });
        let Answer::SendUnicast { status, sequence } = answer else { panic!("{answer:?}") };
        self.run(7_000);
        let end = self.heard.iter().find_map(|callback| match callback {
            Callback::MessageSent { sent } => Some((sent.status, sent.aps.sequence)),
            _ => None,
        });
        assert!(end.is_none_or(|(_, of)| of == sequence));
        (status, sequence, end.map(|(status, _)| status))
    }

    /// What the lock has got.
    fn arrived(&mut self) -> Vec<Vec<u8>> {
        let said = std::iter::from_fn(|| self.ncp.poll_radio());
        let frames = said.filter_map(|(_, said)| match said {
            Downlink::Frame(asdu) => Some(asdu.payload),
            _ => None,
        });
        frames.collect()
    }

    /// Number and content of the blocks that were said since the last call.
    fn blocks(&mut self) -> Vec<(ApsFrame, usize)> {
        let heard = std::mem::take(&mut self.heard).into_iter();
        let blocks = heard.filter_map(|callback| match callback {
            Callback::IncomingMessage { incoming } if incoming.aps.options & aps::FRAGMENT != 0 => {
                Some((incoming.aps, incoming.payload.0.len()))
            }
            _ => None,
        });
        blocks.collect()
    }

    fn send(&mut self) -> Status {
        let destination = self.ncp.address(LOCK).unwrap();
        let aps = ApsFrame {
            profile: 0x0104,
            cluster: 0x0101,
            src_endpoint: 1,
            dst_endpoint: 1,
            options: aps::RETRY,
            group: 0,
            sequence: 0,
        };
        let tag = cardea_zigbee::ezsp::call::Tag(9);
        self.heard.clear();
        self.ask(Command::SendUnicast { kind: 0, destination, aps, tag, payload: (&[1, 2, 3][..]).into() });
        self.run(7_000);
        let sent = self.heard.iter().find_map(|callback| match callback {
            Callback::MessageSent { sent } if sent.tag == tag => Some(sent.status),
            _ => None,
        });
        sent.unwrap()
    }
}

fn code() -> InstallCode {
    InstallCode::new(&hex::decode("83fed3407a939723a5c639b26916d505c3b5").unwrap()).unwrap()
}

/// One that listens always.
fn lock() -> DeviceConfig {
    let (code, unique_key) = (Some(code()), true);
    crate::zigbee::DoorLockConfig { eui: LOCK, code, unique_key, poll: None, pin: None }.device()
}

#[test]
fn a_network_survives_a_reset_and_policies_sizes_endpoints_and_codes_do_not() {
    let mut bench = Bench::joined(13);
    let network = bench.ncp.nvram().network();
    bench.ask(Command::ImportTransientKey { eui: Eui64([3; 8]), key: Key([1; 16]), flags: 0 });
    bench.reset();
    assert_eq!(bench.ncp.nvram().network(), network);
    assert!(!bench.ncp.air.rules.joins && bench.ncp.air.nvram.codes.is_empty());
    assert!(!bench.ncp.is_reachable(LOCK), "the network does not run by itself");
    bench.heard.clear();
    assert_eq!(bench.ask(Command::NetworkInit { options: 0 }), Answer::NetworkInit { status: Status::OK });
    assert_eq!(bench.heard, [Callback::StackStatus { status: Status::NETWORK_UP }]);
    assert!(bench.ncp.is_reachable(LOCK));
}

#[test]
fn a_device_joins_with_its_own_install_code_and_with_no_other() {
    for (known, decision, joins) in [
        (Some(code().link_key()), PRECONFIGURED_KEY, true),
        (Some(Key([1; 16])), PRECONFIGURED_KEY, false),
        (None, DENY, false),
    ] {
        let mut bench = Bench::formed(14);
        if let Some(key) = known {
            bench.ask(Command::ImportTransientKey { eui: LOCK, key, flags: 0 });
        }
        bench.switch_on(lock());
        let told = bench.heard.iter().find_map(|callback| match callback {
            Callback::TrustCentreJoin { eui: LOCK, update: UNSECURED_JOIN, decision, .. } => Some(*decision),
            _ => None,
        });
        let proven = bench.heard.contains(&Callback::KeyEstablishment { eui: LOCK, status: KEY_PROVEN });
        assert_eq!((told, proven, bench.ncp.is_reachable(LOCK)), (Some(decision), joins, joins));
    }
}

#[test]
fn a_key_table_that_is_full_takes_no_more_keys() {
    let mut bench = Bench::formed(13);
    for index in 0..12 {
        let import = Command::ImportLinkKey { index, eui: Eui64([0x40 + index; 8]), key: Key([1; 16]) };
        bench.ask(import);
    }
    bench.ask(Command::ImportTransientKey { eui: LOCK, key: code().link_key(), flags: 0 });
    bench.switch_on(lock());
    assert!(bench.heard.contains(&Callback::KeyEstablishment { eui: LOCK, status: KEY_TABLE_FULL }));
    assert!(!bench.ncp.shares_key(LOCK));
}

#[test]
fn a_coordinator_whose_frame_counter_went_back_is_not_believed() {
    let mut bench = Bench::joined(13);
    assert_eq!(bench.send(), Status::OK);
    bench.ncp.air.nvram.counters().nib = 0;
    assert_eq!(bench.send(), Status::DELIVERY_FAILED);
    assert!(!std::iter::from_fn(|| bench.ncp.poll_radio()).any(|(_, said)| matches!(said, Downlink::Left)));
    bench.ncp.air.nvram.counters().nib = 1 << 24;
    assert_eq!(bench.send(), Status::OK);
}

#[test]
fn devices_follow_a_switched_network_key_and_who_missed_it_comes_back_with_its_link_key() {
    for away in [false, true] {
        let mut bench = Bench::joined(19);
        bench.ncp.handle_radio(bench.now, LOCK, Uplink::Power(!away));
        bench.ask(Command::BroadcastNextNetworkKey { key: Key([8; 16]) });
        bench.ask(Command::BroadcastNetworkKeySwitch {});
        assert!(bench.heard.contains(&Callback::SwitchNetworkKey { number: 1 }), "{:?}", bench.heard);
        bench.ncp.handle_radio(bench.now, LOCK, Uplink::Power(true));
        bench.run(100);
        let back = bench.heard.iter().any(|callback| {
            matches!(callback, Callback::TrustCentreJoin { eui: LOCK, update: UNSECURED_REJOIN, .. })
        });
        assert_eq!((back, bench.send()), (away, Status::OK));
        assert_eq!(bench.ncp.traffic().joined, 1);
    }
}

#[test]
fn blocks_of_the_host_are_one_frame_to_the_device_and_only_in_their_order() {
    let mut bench = Bench::joined(14);
    bench.arrived();
    let (status, number, end) = bench.block(0, 0x0200, b"one ");
    assert_eq!((status, end, bench.arrived()), (Status::OK, Some(Status::OK), vec![]));
    // Under another number, or out of its turn, it is a block of nothing.
    assert_eq!(bench.block(number.wrapping_add(1), 0x0201, b"two").0, commands::INVALID_PARAMETER);
    assert_eq!(bench.block(number, 0x0202, b"three").0, commands::INVALID_PARAMETER);
    assert_eq!(bench.block(number, 0x0201, b"two"), (Status::OK, number, Some(Status::OK)));
    assert_eq!(bench.arrived(), vec![b"one two".to_vec()]);
    assert_eq!(bench.block(number, 0x0201, b"two").0, commands::INVALID_PARAMETER, "it was the last one");
    assert_eq!(bench.block(0, 0x0200, &[0; 81]).0, Status::TOO_LONG);
    // A device that is away acknowledges none.
    bench.ncp.handle_radio(bench.now, LOCK, Uplink::Power(false));
    assert_eq!(bench.block(0, 0x0200, b"one ").2, Some(Status::DELIVERY_FAILED));
}

#[test]
fn a_block_of_a_device_is_said_four_times_and_the_next_one_when_it_was_acknowledged() {
    let mut bench = Bench::joined(19);
    let asdu = |length| Asdu {
        profile: 0x0104,
        cluster: 0x0101,
        src_endpoint: 1,
        dst_endpoint: 1,
        payload: vec![7; length],
    };
    bench.ncp.handle_radio(bench.now, LOCK, Uplink::Frame(asdu(100)));
    bench.run(500);
    let sender = bench.ncp.address(LOCK).unwrap();
    let first = bench.blocks();
    assert_eq!((first.len(), first[0].0.group, first[0].1), (1, 0x0200, 64));
    bench.run(1_500);
    assert_eq!(bench.blocks(), first, "again");
    let reply = |aps: ApsFrame, group| Command::SendReply {
        sender,
        aps: ApsFrame { group, ..aps },
        payload: (&[][..]).into(),
    };
    // Not of this block, then of it.
    for group in [0xFF01, 0xFE00, 0xFF00] {
        assert_eq!(bench.blocks(), vec![]);
        let answer = bench.ask(reply(first[0].0.clone(), group));
        assert_eq!(answer, Answer::SendReply { status: Status::OK });
    }
    let last = bench.blocks();
    assert_eq!(
        (last.len(), last[0].0.group, last[0].0.sequence, last[0].1),
        (1, 0x0001, first[0].0.sequence, 36)
    );
    bench.ask(reply(last[0].0.clone(), 0xFF01));
    bench.run(10_000);
    assert_eq!((bench.blocks(), bench.ncp.traffic().dropped), (vec![], 0));
    // A host that does not care loses it.
    bench.ncp.handle_radio(bench.now, LOCK, Uplink::Frame(asdu(100)));
    bench.run(10_000);
    assert_eq!((bench.blocks().len(), bench.ncp.traffic().dropped), (4, 1));
    // Other frames are acknowledged by the dongle.
    let whole = ApsFrame { options: aps::ROUTE, ..first[0].0.clone() };
    let refused = Answer::SendReply { status: Status::INVALID_STATE };
    assert_eq!(bench.ask(reply(whole, 0xFF00)), refused);
}

/// Every number of a command, with noise for a body: nothing panics, and the next sane question is answered.
#[test]
fn whatever_a_host_says_the_dongle_goes_on() {
    let random = Random::new(3, 0);
    for protocol in [13, 19] {
        let mut bench = Bench::joined(protocol);
        for id in 0..0x0130u16 {
            let mut frame = vec![0, 0, 1];
            frame.extend(id.to_le_bytes());
            let mut body = vec![0; usize::try_from(random.below(60)).unwrap()];
            random.fill(&mut body);
            frame.extend(body);
            assert!(bench.host.send(Zeroizing::new(frame)));
            for _ in 0..10 {
                if bench.host.is_idle() {
                    break;
                }
                bench.sometimes();
            }
        }
        bench.run(60_000);
        assert!(matches!(bench.ask(Command::GetEui64 {}), Answer::GetEui64 { .. }));
    }
}

impl Bench {
    /// One exchange whose frames nobody reads.
    fn sometimes(&mut self) {
        while let Some(bytes) = self.host.poll_transmit(self.now) {
            self.ncp.handle_bytes(self.now, &bytes);
        }
        while let Some(bytes) = self.ncp.poll_transmit(self.now) {
            self.host.handle_bytes(self.now, &bytes);
        }
        while self.host.poll_event().is_some() {}
        self.now += 20;
        self.ncp.handle_timeout(self.now);
        self.host.handle_timeout(self.now);
    }
}
