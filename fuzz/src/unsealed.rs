//! What an ordinary lock may send through the radio, and what anybody may send to one through a broker.

#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a target ends where something is not as it must be"
)]

use std::collections::{BTreeMap, BTreeSet};

use cardea_unsealed::{self as bridge, Config, Device, Hub, MAX_COMMAND, MAX_LIFE_MS};
use cardea_zigbee::coordinator::{Answer, Event, Order, Outcome, Question, Received, State};
use cardea_zigbee::descriptors::{Clusters, NodeDescriptor, SimpleDescriptor};
use cardea_zigbee::driver::ordinary::{
    Bolt, Errand, Notice, OrdinaryConfig, Request, Rights, Snapshot, Verb,
};
use cardea_zigbee::driver::{Driver, DriverConfig, Wall};
use cardea_zigbee::{Eui64, tunnel::Tunnel};

const LOCK: Eui64 = Eui64([3; 8]);
const CLUSTERS: [u16; 8] = [0x0101, 0x0001, 0x0000, 0x0009, 0x0020, 0x000A, 0x0019, 0xFC7C];

fn answer(question: &Question) -> Answer {
    match question {
        Question::Node => Answer::Node(NodeDescriptor {
            flags: 2,
            mac_capability: 0x80,
            manufacturer: 0xFFF1,
            max_buffer: 82,
            max_incoming: 0,
            server_mask: 0,
            max_outgoing: 0,
            descriptor_capability: 0,
        }),
        Question::Endpoints => Answer::Endpoints(vec![1]),
        Question::Endpoint(endpoint) => {
            let clusters = Clusters { servers: vec![0, 1, 9, 0x0101], clients: Vec::new() };
            let (endpoint, profile, device, version) = (*endpoint, 0x0104, 0x000A, 0);
            Answer::Endpoint(SimpleDescriptor { endpoint, profile, device, version, clusters })
        }
        _ => Answer::Done,
    }
}

/// Frames of a device that is admitted as an ordinary lock: what, how many bytes, those bytes. Bits of `what`: 0 to 2 the cluster, 3 a
/// second passes, 4 somebody commands, 5 the dongle loses what it is given, 6 the lock answers what it is asked with success. No command goes
/// out that nobody gave, none twice, and each has at most one end. Bit 7: the gateway knows the time.
pub fn zigbee_ordinary(mut data: &[u8]) {
    let network = [&[1][..], &[1; 8], &[2; 8], &[0x62, 0x1A, 15, 0]].concat();
    let code = hex_code();
    let member = [&[1, 1][..], &code].concat();
    let records = vec![(b"zigbee/n".to_vec(), network), ([&b"zigbee/o"[..], &LOCK.0].concat(), member)];
    let devices = BTreeMap::from([(LOCK, Rights::Command)]);
    let ordinary = Some(OrdinaryConfig { devices, report_seconds: 10 });
    let config = DriverConfig { channels: 1 << 15, tunnel: Tunnel::TEST, max_devices: 4, ordinary };
    let mut driver = Driver::new(config, records).unwrap_or_else(|error| panic!("{error}"));
    let (mut now, mut given, mut sent, mut ended) = (1_000, 0_u64, 0_u64, BTreeSet::new());
    let Some(network) = driver.expected() else { panic!("the network is known") };
    driver.handle_event(now, Event::State(State::Up(network)));
    while let [what, len, rest @ ..] = data {
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(*len)));
        data = rest;
        if what & 0x08 != 0 {
            now += 1_000;
            driver.handle_timeout(now);
        }
        if what & 0x10 != 0 {
            given += 1;
            let (eui, verb) = (LOCK, if *what & 1 == 0 { Verb::Lock } else { Verb::Unlock });
            let request = Request::Move { eui, verb, deadline: now + 20_000 };
            driver.handle_errand(now, Errand { token: given, request });
        }
        let heard = |cluster, bytes: &[u8]| {
            let (src_endpoint, dst_endpoint, lqi, rssi, profile) = (1, 1, 1, -1, 0x0104);
            let payload = bytes.to_vec().into();
            Event::Received(Received {
                eui: LOCK,
                profile,
                cluster,
                src_endpoint,
                dst_endpoint,
                lqi,
                rssi,
                payload,
            })
        };
        let wall = Wall { unix_ms: 1_790_000_000_000, synced: what & 0x80 != 0, zone: Some(3_600) };
        driver.handle_wall(wall);
        driver.handle_event(now, heard(CLUSTERS[usize::from(what & 7)], bytes));
        for _ in 0..64 {
            let Some(order) = driver.poll_order() else { break };
            match order {
                Order::Ask { handle, question, .. } => {
                    driver.handle_event(now, Event::Answer { handle, answer: Ok(answer(&question)) });
                }
                Order::Send(frame) => {
                    assert!(frame.deadline > now && frame.deadline <= now + 20_000);
                    let [control, sequence, command, ..] = frame.payload[..] else { panic!("no frame") };
                    sent += u64::from(frame.cluster == 0x0101 && control & 3 == 1);
                    let outcome = if what & 0x20 == 0 { Outcome::Acknowledged } else { Outcome::Expired };
                    driver.handle_event(now, Event::Outcome { handle: frame.handle, outcome });
                    if what & 0x40 != 0 {
                        let answer = if control & 3 == 1 {
                            vec![0x19, sequence, command, 0]
                        } else {
                            vec![0x18, sequence, 0x0B, command, 0]
                        };
                        driver.handle_event(now, heard(frame.cluster, &answer));
                    }
                }
                _ => {}
            }
        }
        while let Some(notice) = driver.poll_notice() {
            if let Notice::Done { token, .. } = notice {
                assert!(token <= given && ended.insert(token), "two ends");
            }
        }
        assert!(sent <= given, "a command that nobody gave");
        assert!(driver.poll_timeout().is_none_or(|at| at > now) || what & 0x08 == 0);
        while let Some((commit, _)) = driver.poll_commit() {
            driver.handle_stored(now, commit, Ok(()));
        }
        while driver.poll_event().is_some() {}
    }
}

/// The install code of the base device specification's example, with its CRC.
fn hex_code() -> Vec<u8> {
    vec![
        0x83, 0xFE, 0xD3, 0x40, 0x7A, 0x93, 0x97, 0x23, 0xA5, 0xC6, 0x39, 0xB2, 0x69, 0x16, 0xD5, 0x05, 0xC3,
        0xB5,
    ]
}

/// A message for an ordinary lock: its first bit says that it is retained, the rest is the payload. It is carried out at most once, only
/// if it is live, short enough and good for a while, and no longer than that.
pub fn unsealed_message(data: &[u8]) {
    let Some((first, payload)) = data.split_first() else { return };
    let retain = first & 1 != 0;
    let device = Device { name: "Door".into(), commands: true };
    let (prefix, gateway, devices) = ("p".into(), "g".into(), BTreeMap::from([(LOCK, device)]));
    let config = Config { prefix, gateway, devices, home_assistant: Some("h".into()) };
    let topic = config.filters().concat();
    // The seeds are good at this moment.
    let (now, wall) = (60_000, bridge::Wall { unix_ms: 1_790_000_060_000, synced: true });
    let mut hub = Hub::new(config, bridge::Wall { unix_ms: 1_790_000_000_000, synced: true });
    hub.handle_connected(now, wall);
    let snapshot = Snapshot {
        eui: LOCK,
        listened: true,
        rights: Rights::Command,
        joined: true,
        ready: true,
        sleepy: None,
        maker: String::new(),
        model: String::new(),
        bolt: Bolt::Unknown,
        source: None,
        at: None,
        battery: None,
        heard: None,
        reachable: false,
    };
    hub.handle_notice(now, wall, Notice::State(Box::new(snapshot)));
    let mut carried = 0;
    for _ in 0..3 {
        hub.handle_message(now, wall, &topic, payload, retain);
        while let Some(errand) = hub.poll_errand() {
            let Request::Move { eui, deadline, .. } = errand.request else { panic!("another request") };
            assert!(eui == LOCK && deadline > now && deadline <= now + MAX_LIFE_MS);
            carried += 1;
        }
    }
    assert!(carried <= 1 && (carried == 0 || (!retain && payload.len() <= MAX_COMMAND)));
    let said = std::iter::from_fn(|| hub.poll_publish()).count();
    assert!(said < 16);
}
