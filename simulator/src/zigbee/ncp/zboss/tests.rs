//! The NCP alone, spoken to by frames that hosts of others wrote, and by requests of our own codec.

use super::*;
use crate::Random;
use crate::zigbee::air::{DeviceConfig, Downlink, Uplink};
use crate::zigbee::ncp::{Ncp, NcpConfig};
use crate::zigbee::nvram::Nvram;
use cardea_zigbee::zboss::ll::{Decoder, Frame};
use cardea_zigbee::{InstallCode, NwkAddr};

fn ncp() -> Ncp {
    let mut ncp = Ncp::new(
        NcpConfig { eui: Eui64([0, 0x50, 0xCA, 0xEF, 0xDE, 0xAD, 0xBE, 0xEF]), seed: 1 },
        Nvram::default(),
    );
    ncp.restart(0, 0);
    ncp.handle_timeout(BOOT_MS);
    ncp
}

/// A host that acknowledges and believes everything.
struct Bench {
    ncp: Ncp,
    host: Link,
    now: Millis,
    tsn: u8,
    heard: Vec<Indication>,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self { ncp: ncp(), host: Link::default(), now: 1_000, tsn: 0, heard: Vec::new() };
        bench.run(10);
        assert_eq!(bench.heard, vec![Indication::Reset { source: 0 }]);
        bench.heard.clear();
        bench
    }

    fn exchange(&mut self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        loop {
            let mut quiet = true;
            while let Some(bytes) = self.host.poll_transmit(self.now) {
                quiet = false;
                self.ncp.handle_bytes(self.now, &bytes);
            }
            while let Some(bytes) = self.ncp.poll_transmit(self.now) {
                quiet = false;
                self.host.handle_bytes(self.now, &bytes);
            }
            while let Some(packet) = self.host.poll_packet() {
                packets.push(packet.to_vec());
            }
            if quiet {
                return packets;
            }
        }
    }

    /// Lets time pass; gives responses, keeps indications.
    fn run(&mut self, ms: Millis) -> Vec<(u8, Result<Response, Status>)> {
        let mut responses = Vec::new();
        let end = self.now + ms;
        while self.now < end {
            for packet in self.exchange() {
                let Packet { kind, call, body } = Packet::parse(&packet).unwrap();
                match kind {
                    Kind::Response { tsn, status } if status.is_ok() => {
                        responses.push((tsn, Ok(Response::parse(call, body).unwrap())));
                    }
                    Kind::Response { tsn, status } => responses.push((tsn, Err(status))),
                    Kind::Indication => self.heard.push(Indication::parse(call, body).unwrap()),
                    Kind::Request { .. } => panic!("an NCP asks nothing"),
                }
            }
            self.now += 20;
            self.ncp.handle_timeout(self.now);
            self.host.handle_timeout(self.now);
        }
        responses
    }

    fn ask(&mut self, request: &Request) -> Result<Response, Status> {
        self.ask_for(request, 200)
    }

    #[allow(clippy::unwrap_in_result, reason = "a helper that fails is a failing test")]
    fn ask_for(&mut self, request: &Request, ms: Millis) -> Result<Response, Status> {
        self.tsn += 1;
        self.host.send(request.encode(self.tsn)).unwrap();
        let responses = self.run(ms);
        let tsn = self.tsn;
        responses.into_iter().find(|(of, _)| *of == tsn || *of == RESET_TSN).expect("an answer").1
    }

    fn formed() -> Self {
        let mut bench = Self::new();
        bench.ask(&Request::SetZigbeeRole { role: 0 }).unwrap();
        let channels = cardea_zigbee::zboss::call::Counted(vec![cardea_zigbee::zboss::call::ChannelMask {
            page: 0,
            mask: 1 << 20,
        }]);
        bench
            .ask(&Request::NwkFormation {
                channels,
                scan_duration: 5,
                distributed: 0,
                distributed_nwk: NwkAddr(0),
                extended_pan: Eui64([7; 8]),
            })
            .unwrap();
        bench
    }

    fn join(
        &mut self,
        code_at_ncp: Option<&InstallCode>,
        device: DeviceConfig,
        policies: &[(u16, u8)],
    ) -> Eui64 {
        for (policy, value) in policies {
            self.ask(&Request::SetTcPolicy { policy: *policy, value: *value }).unwrap();
        }
        let eui = device.eui;
        if let Some(code) = code_at_ncp {
            self.ask(&Request::SecurAddIc { eui, code: code.clone() }).unwrap();
        }
        self.ncp.add(device);
        self.ncp.handle_radio(self.now, eui, Uplink::Power(true));
        let dst = NwkAddr::COORDINATOR;
        self.ask(&Request::PermitJoiningReq { dst, seconds: 60, tc_significance: 1 }).unwrap();
        self.run(8_000);
        eui
    }

    fn authorised(&self) -> Vec<(u8, u8)> {
        let heard = self.heard.iter().filter_map(|indication| match indication {
            Indication::DeviceAuthorised { kind, status, .. } => Some((*kind, *status)),
            _ => None,
        });
        heard.collect()
    }
}

fn code() -> InstallCode {
    InstallCode::new(&hex::decode("83fed3407a939723a5c639b26916d505c3b5").unwrap()).unwrap()
}

fn device(code: Option<InstallCode>, unique_key: bool, poll: Option<Millis>) -> DeviceConfig {
    let config = crate::zigbee::DoorLockConfig { eui: Eui64([2; 8]), code, unique_key, poll, pin: None };
    config.device()
}

const STRICT: [(u16, u8); 2] = [(policy::UNIQUE_LINK_KEY, 1), (policy::INSTALL_CODE, 1)];

/// `GET_JOINED` of both hosts, sent again as zigpy-zboss does, and what its answer has to be but for the sequence number.
#[test]
fn a_repeated_frame_is_acknowledged_again_and_answered_once() {
    let mut ncp = ncp();
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for hex in ["dead0c0006c07c7df70000140001", "dead0c0006c2007df70000140001"] {
        ncp.handle_bytes(1_000, &hex::decode(hex).unwrap());
        while let Some(bytes) = ncp.poll_transmit(1_000) {
            decoder.push(1_000, &bytes, |frame| frames.push(frame));
            // Whatever waits behind the first indication.
            ncp.handle_bytes(1_000, &hex::decode("dead050006018f").unwrap());
        }
    }
    let acks = frames.iter().filter(|frame| matches!(frame, Frame::Ack { seq: 0 })).count();
    let answers = frames
        .iter()
        .filter(|frame| matches!(frame, Frame::Data(data) if hex::encode(&*data.body) == "0001140001000000"));
    assert_eq!((acks, answers.count()), (2, 1), "{frames:?}");
}

#[test]
fn a_network_survives_a_reset_and_is_resumed_only_when_asked_and_policies_are_forgotten() {
    let mut bench = Bench::formed();
    bench.ask(&Request::SetTcPolicy { policy: policy::INSTALL_CODE, value: 1 }).unwrap();
    let before = bench.ncp.nvram().network().unwrap();
    bench.ask(&Request::NcpReset { option: reset::KEEP }).unwrap();
    bench.host.restart();
    bench.run(500);
    assert_eq!(bench.heard.last(), Some(&Indication::Reset { source: 1 }));
    assert_eq!(bench.ask(&Request::GetJoined {}), Ok(Response::GetJoined { flags: 0 }));
    bench.ask(&Request::StartWithoutFormation {}).unwrap();
    assert_eq!(bench.ask(&Request::GetJoined {}), Ok(Response::GetJoined { flags: 1 }));
    assert_eq!((bench.ncp.nvram().network(), bench.ncp.air.rules.codes_required), (Some(before), false));
    bench.ask(&Request::NcpReset { option: reset::FACTORY }).unwrap();
    bench.host.restart();
    bench.run(500);
    assert_eq!(bench.ask(&Request::StartWithoutFormation {}), Err(status::ERROR));
    assert_eq!(bench.ncp.nvram().network(), None);
}

#[test]
fn a_device_joins_with_its_own_install_code_and_with_no_other() {
    let other = InstallCode::new(&hex::decode("83fed3407a932b70").unwrap()).unwrap();
    for (known, own, expected) in [
        (Some(code()), Some(code()), vec![(1, 0)]),
        (Some(other), Some(code()), vec![(1, 1)]),
        (None, Some(code()), vec![(1, 2)]),
        (None, None, vec![(1, 2)]),
    ] {
        let mut bench = Bench::formed();
        let eui = bench.join(known.as_ref(), device(own, true, None), &STRICT);
        let authorised = bench.authorised();
        assert_eq!(authorised[..1], expected[..], "{:?}", bench.heard);
        assert_eq!(bench.ncp.air.nvram.members.contains_key(&eui), expected == [(1, 0)]);
        assert_eq!(bench.ncp.is_reachable(eui), expected == [(1, 0)]);
    }
}

#[test]
fn a_device_without_a_key_of_its_own_stays_only_where_that_is_allowed() {
    let mut bench = Bench::formed();
    bench.join(None, device(None, false, None), &[]);
    assert_eq!(bench.authorised(), [(0, 0)]);
    let mut bench = Bench::formed();
    bench.join(Some(&code()), device(Some(code()), false, None), &STRICT);
    assert_eq!(bench.authorised()[0], (1, 1));
    assert!(bench.ncp.air.nvram.members.is_empty());
}

#[test]
fn nobody_joins_a_closed_network() {
    let mut bench = Bench::formed();
    bench.ncp.add(device(None, true, None));
    bench.ncp.handle_radio(bench.now, Eui64([2; 8]), Uplink::Power(true));
    bench.run(5_000);
    assert_eq!(bench.heard, vec![]);
    bench.ask(&Request::NwkPermitJoining { seconds: 2 }).unwrap();
    assert!(bench.ncp.is_open(bench.now));
    bench.run(3_000);
    assert!(!bench.ncp.is_open(bench.now));
}

fn frame(to: Eui64, options: u8) -> Request {
    Request::ApsdeDataReq {
        frame: cardea_zigbee::zboss::call::ApsRequest {
            to: cardea_zigbee::zboss::call::ApsAddress::Ieee(to),
            profile: 0x0104,
            cluster: 0x0101,
            dst_endpoint: 1,
            src_endpoint: 1,
            radius: 0,
            options,
            alias: (0, 0, 0),
            payload: vec![1, 2, 3],
        },
    }
}

#[test]
fn the_end_of_a_transmission_is_told_when_it_is_there_and_not_before() {
    let ack = cardea_zigbee::zboss::call::tx::ACK;
    let mut bench = Bench::formed();
    let eui = bench.join(Some(&code()), device(Some(code()), true, Some(3_000)), &STRICT);
    let begin = bench.now;
    bench.tsn += 1;
    bench.host.send(frame(eui, ack).encode(bench.tsn)).unwrap();
    let mut ended = vec![];
    while ended.is_empty() {
        ended = bench.run(20);
        assert!(bench.now - begin <= 3_100, "it polls every three seconds");
    }
    assert!(matches!(ended[..], [(_, Ok(Response::ApsdeDataReq { .. }))]), "{ended:?}");
    let heard = std::iter::from_fn(|| bench.ncp.poll_radio()).any(|(_, d)| matches!(d, Downlink::Frame(_)));
    assert!(heard);
    // Without its battery: four tries of ten seconds, or the 7.68 s that its parent keeps a frame.
    bench.ncp.handle_radio(bench.now, eui, Uplink::Power(false));
    bench.tsn += 1;
    bench.host.send(frame(eui, ack).encode(bench.tsn)).unwrap();
    assert_eq!(bench.run(39_000), []);
    assert_eq!(bench.run(1_500), [(bench.tsn, Err(status::NO_APS_ACK))]);
    assert_eq!(bench.ask_for(&frame(eui, 0), 8_000), Err(status::EXPIRED));
    assert_eq!(bench.ask(&frame(Eui64([9; 8]), ack)), Err(status::NO_SHORT_ADDRESS));
}

#[test]
fn who_is_renumbered_is_found_under_the_new_address_and_who_leaves_is_forgotten() {
    let mut bench = Bench::formed();
    let eui = bench.join(Some(&code()), device(Some(code()), true, None), &STRICT);
    let before = bench.ncp.air.nvram.members[&eui].nwk;
    bench.heard.clear();
    bench.ncp.renumber(eui);
    bench.run(100);
    let after = bench.ncp.air.nvram.members[&eui].nwk;
    assert_ne!(before, after);
    assert!(
        bench.heard.contains(&Indication::DeviceUpdate { eui, nwk: after, status: 0 }),
        "{:?}",
        bench.heard
    );
    assert!(bench.ask(&frame(eui, 4)).is_ok());
    assert_eq!(bench.ask_for(&Request::NodeDescReq { nwk: before }, 200), Err(status::TIMEOUT));
    assert_eq!(
        bench.ask(&Request::MgmtLeaveReq { dst: after, eui, flags: 0 }),
        Ok(Response::MgmtLeaveReq {})
    );
    assert!(bench.heard.contains(&Indication::Leave { eui, rejoin: 0 }));
    assert_eq!(bench.ask(&frame(eui, 4)), Err(status::NO_SHORT_ADDRESS));
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let mut bench = Bench::formed();
    let formed = bench.ncp.nvram().network();
    for body in ["00003412010203", "000032000100", "0000ff0001", "00", "0002010001"] {
        bench.host.send(Zeroizing::new(hex::decode(body).unwrap())).unwrap();
        bench.run(100);
    }
    assert_eq!(bench.ncp.traffic().refused, 5);
    assert_eq!(bench.ncp.nvram().network(), formed);
}

/// Every number of a call, with noise for a body: nothing panics, and the NCP answers the next sane question.
#[test]
fn whatever_a_host_says_the_dongle_goes_on() {
    let random = Random::new(3, 0);
    for formed in [false, true] {
        let mut bench = if formed { Bench::formed() } else { Bench::new() };
        for call in 0..0x0600u16 {
            let mut body = vec![0; usize::try_from(random.below(40)).unwrap()];
            random.fill(&mut body);
            // A reset would only make the others wait.
            if call == 0x0002 {
                continue;
            }
            let packet = Packet { kind: Kind::Request { tsn: 9 }, call, body: &body };
            bench.host.send(packet.encode()).unwrap();
            bench.exchange();
            while bench.host.poll_packet().is_some() {}
        }
        bench.run(60_000);
        assert!(bench.ask(&Request::GetModuleVersion {}).is_ok());
    }
}

#[test]
fn devices_follow_a_switched_network_key_and_not_one_that_was_replaced_with_its_network() {
    let key = |number| cardea_zigbee::zboss::call::NumberedKey { key: Key([9; 16]), number };
    let mut bench = Bench::formed();
    let eui = bench.join(Some(&code()), device(Some(code()), true, None), &STRICT);
    bench.ask(&Request::SetNwkKey { key: key(1) }).unwrap();
    assert!(bench.ncp.is_reachable(eui));
    bench.ask(&Request::SecurInitiateKeySwitch {}).unwrap();
    let Ok(Response::GetNwkKeys { first, .. }) = bench.ask(&Request::GetNwkKeys {}) else {
        panic!("no keys")
    };
    assert_eq!(first, key(1));
    assert!(bench.ncp.is_reachable(eui));
    // A link key of its own, which the host can read for its backup.
    assert!(bench.ask(&Request::GetApsKeyByIeee { eui }).is_ok());
    if let Some(stored) = &mut bench.ncp.air.nvram.stored {
        stored.key = Key([8; 16]);
    }
    assert!(!bench.ncp.is_reachable(eui));
    assert_eq!(bench.ask(&Request::NvramClear {}), Ok(Response::NvramClear {}));
    assert_eq!(bench.ncp.nvram().network(), None);
    assert!(bench.ncp.air.nvram.counters.is_some(), "counters never go back");
}
