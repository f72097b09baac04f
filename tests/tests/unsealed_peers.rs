//! What we say of ordinary locks and to them, as other people's programs read it: Wireshark and zigpy our ZCL frames, Home
//! Assistant our discovery messages and the command that it is to write. Each is seen to notice when it is broken on purpose.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use cardea_tests::{lines::LinePeer, venv};
use cardea_unsealed::{Config, Device, Hub, Wall};
use cardea_zigbee::coordinator::{Answer, Event, Network, Order, Outcome, Question, Received, State};
use cardea_zigbee::descriptors::{Clusters, NodeDescriptor, SimpleDescriptor};
use cardea_zigbee::driver::ordinary::{
    Bolt, Errand, Heard, Notice, OrdinaryConfig, Request, Rights, Snapshot, Source, Verb,
};
use cardea_zigbee::driver::{self, Driver, DriverConfig, NetworkOrder};
use cardea_zigbee::zcl::ota::QueryNextImage;
use cardea_zigbee::{Eui64, InstallCode, Key, NwkAddr, tunnel::Tunnel};
use serde_json::{Value, json};

const DOOR: Eui64 = Eui64([0, 0x12, 0x4B, 0, 0, 0, 0, 1]);
const COORDINATOR: Eui64 = Eui64([0x50; 8]);

/// A driver, and all that it says to its one lock.
struct Said {
    driver: Driver,
    frames: Vec<(u16, Vec<u8>)>,
}

impl Said {
    /// A whole life of a lock: let in, asked everything, locked, unlocked, answered.
    fn all() -> Vec<(u16, Vec<u8>)> {
        let devices = BTreeMap::from([(DOOR, Rights::Command)]);
        let ordinary = Some(OrdinaryConfig { devices, report_seconds: 600 });
        let config = DriverConfig { channels: 1 << 15, tunnel: Tunnel::TEST, max_devices: 4, ordinary };
        let mut said = Self { driver: Driver::new(config, Vec::new()).unwrap(), frames: Vec::new() };
        said.event(Event::State(State::Unformed));
        said.driver.handle_order(
            1_000,
            1,
            NetworkOrder::Form { replace: false, pan: [7; 8], key: Key([1; 16]) },
        );
        said.work();
        let code = InstallCode::new(&hex::decode("83fed3407a939723a5c639b26916d505c3b5").unwrap()).unwrap();
        said.errand(1, Request::Admit { eui: DOOR, code });
        said.event(Event::Joined { eui: DOOR, nwk: NwkAddr(0x1001) });
        for (token, verb) in [(2, Verb::Lock), (3, Verb::Unlock)] {
            said.errand(token, Request::Move { eui: DOOR, verb, deadline: 31_000 });
        }
        said.heard(0x0101, &[0x09, 0x77, 0x20, 2, 1, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0]);
        said.heard(0x0020, &[0x09, 0x78, 0x00]);
        let (unix_ms, zone) = (1_767_225_600_000, Some(-5_400));
        said.driver.handle_wall(driver::Wall { unix_ms, synced: true, zone });
        said.heard(0x000A, &[0x00, 0x79, 0x00, 0, 0, 1, 0, 2, 0, 7, 0, 3, 0]);
        let query = QUERY.encode();
        said.heard(0x0019, &[&[0x01, 0x7A, 0x01][..], &query].concat());
        said.heard(0x0019, &[0x01, 0x7B, 0x03, 0]);
        said.frames
    }

    fn event(&mut self, event: Event) {
        self.driver.handle_event(1_000, event);
        self.work();
    }

    fn errand(&mut self, token: u64, request: Request) {
        self.driver.handle_errand(1_000, Errand { token, request });
        self.work();
    }

    fn heard(&mut self, cluster: u16, payload: &[u8]) {
        let payload = payload.to_vec().into();
        let (profile, src_endpoint, dst_endpoint, lqi, rssi) = (0x0104, 1, 1, 200, -50);
        self.event(Event::Received(Received {
            eui: DOOR,
            profile,
            cluster,
            src_endpoint,
            dst_endpoint,
            lqi,
            rssi,
            payload,
        }));
    }

    /// The store stores, the coordinator forms, the lock answers everything with success.
    fn work(&mut self) {
        while let Some((commit, _)) = self.driver.poll_commit() {
            self.driver.handle_stored(1_000, commit, Ok(()));
        }
        while let Some(order) = self.driver.poll_order() {
            match order {
                Order::Form { plan, .. } => {
                    let network = Network {
                        coordinator: COORDINATOR,
                        extended_pan: plan.extended_pan,
                        pan: 0x1A62,
                        channel: 15,
                    };
                    self.event(Event::Formed(Ok(network)));
                    self.event(Event::State(State::Up(network)));
                }
                Order::Ask { handle, question, .. } => {
                    self.event(Event::Answer { handle, answer: Ok(answer(&question)) });
                }
                Order::Send(frame) => {
                    self.frames.push((frame.cluster, frame.payload.to_vec()));
                    self.event(Event::Outcome { handle: frame.handle, outcome: Outcome::Acknowledged });
                    let [control, sequence, command] = frame.payload[..3] else { panic!("no frame") };
                    match control & 3 {
                        0 if command != 0x0B => {
                            self.heard(frame.cluster, &[0x18, sequence, 0x0B, command, 0])
                        }
                        1 if frame.cluster == 0x0101 => {
                            self.heard(0x0101, &[0x19, sequence, command, 0]);
                            self.heard(0x0101, &[0x18, 0x99, 0x0A, 0, 0, 0x30, command + 1]);
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
    }
}

fn answer(question: &Question) -> Answer {
    match question {
        Question::Node => Answer::Node(NodeDescriptor {
            flags: 2,
            mac_capability: 0x80,
            manufacturer: 0xFFF1,
            max_buffer: 82,
            max_incoming: 128,
            server_mask: 0,
            max_outgoing: 128,
            descriptor_capability: 0,
        }),
        Question::Endpoints => Answer::Endpoints(vec![1]),
        Question::Endpoint(endpoint) => {
            let clusters = Clusters { servers: vec![0, 1, 3, 9, 0x20, 0x0101], clients: vec![0x0A] };
            Answer::Endpoint(SimpleDescriptor {
                endpoint: *endpoint,
                profile: 0x0104,
                device: 0x000A,
                version: 1,
                clusters,
            })
        }
        _ => Answer::Done,
    }
}

/// What a lock asks for.
const QUERY: QueryNextImage =
    QueryNextImage { manufacturer: 0xFFF1, image_type: 2, version: 0x0103_0007, hardware: Some(4) };

/// What is said, in order: the cluster, zigpy's name of the command, Wireshark's.
const WHAT: [(u16, &str, &str); 13] = [
    (0x0000, "Read_Attributes", "ZCL: Read Attributes"),
    (0x0101, "Write_Attributes", "ZCL: Write Attributes"),
    (0x0101, "Configure_Reporting", "ZCL: Configure Reporting"),
    (0x0001, "Configure_Reporting", "ZCL: Configure Reporting"),
    (0x0101, "Read_Attributes", "ZCL: Read Attributes"),
    (0x0001, "Read_Attributes", "ZCL: Read Attributes"),
    (0x0101, "lock_door", "Lock Door"),
    (0x0101, "unlock_door", "Unlock Door"),
    (0x0101, "Default_Response", "ZCL: Default Response"),
    (0x0020, "checkin_response", "Check-in Response"),
    (0x000A, "Read_Attributes_rsp", "ZCL: Read Attributes Response"),
    (0x0019, "query_next_image_response", "Query Next Image Response"),
    (0x0019, "Default_Response", "ZCL: Default Response"),
];

#[test]
fn zigpy_reads_our_frames_as_what_they_are() {
    let Some(mut command) = venv::zigpy("zcl_peer.py") else { return };
    let mut peer = LinePeer::start(&mut command);
    let mut read =
        |cluster: u16, bytes: &[u8]| peer.ask(&json!({ "cluster": cluster, "bytes": hex::encode(bytes) }));
    let said = Said::all();
    let mut all = Vec::new();
    for ((cluster, bytes), (wanted, name, _)) in said.iter().zip(WHAT) {
        let answer = read(*cluster, bytes);
        let frame = &answer["ok"];
        assert_eq!(
            (*cluster, frame["command"].as_str(), &frame["rest"]),
            (wanted, Some(name), &json!("")),
            "{answer}"
        );
        assert_eq!(
            (&frame["sequence"], &frame["server"]),
            (&json!(bytes[1]), &json!(matches!(*cluster, 0x000A | 0x0019))),
            "{answer}"
        );
        all.push(frame["fields"].clone());
    }
    assert_eq!(said.len(), WHAT.len());
    assert_eq!(all[0]["attribute_ids"], json!(["4", "5"]));
    assert_eq!(
        all[1]["attributes"][0],
        "Attribute(attrid=0x0032, value=TypeValue(type=Bool, value=<Bool.false: 0>))"
    );
    let report = |attrid: u16, datatype: u8, min: u16, max: u16| json!({ "attrid": attrid, "datatype": datatype, "min_interval": min, "max_interval": max });
    assert_eq!(all[2]["config_records"], json!([report(0, 0x30, 0, 600)]));
    let mut battery = report(0x21, 0x20, 3_600, 43_200);
    battery["reportable_change"] = json!(2);
    assert_eq!(all[3]["config_records"], json!([battery]));
    assert_eq!((&all[6], &all[7]), (&json!({}), &json!({})), "no PIN is sent");
    println!("{}", all[10]);
    let record =
        |id: &str, value: &str| format!("attrid={id}, status=<Status.SUCCESS: 0>, value=TypeValue({value})");
    for (number, wanted) in [
        record("0", "type=UTCTime, value=820540800"),
        record("1", "type=bitmap8, value=<bitmap8: 1>"),
        record("2", "type=int32s, value=-5400"),
        record("7", "type=uint32_t, value=820535400"),
        "attrid=3, status=<Status.UNSUPPORTED_ATTRIBUTE: 134>".into(),
    ]
    .iter()
    .enumerate()
    {
        let record = all[10]["status_records"][number].as_str().unwrap();
        assert!(record.contains(wanted.as_str()), "{record}: no {wanted}");
    }
    assert_eq!(all[11], json!({ "status": "Status.NO_IMAGE_AVAILABLE" }));
    // And what the virtual lock asks for is what other locks do.
    let asked = read(0x0019, &[&[0x01, 0x7A, 0x01][..], &QUERY.encode()].concat());
    assert_eq!(
        (&asked["ok"]["command"], &asked["ok"]["rest"]),
        (&json!("query_next_image"), &json!("")),
        "{asked}"
    );
    assert_eq!(asked["ok"]["fields"]["current_file_version"], "16973831", "{asked}");
    assert_eq!(asked["ok"]["fields"]["hardware_version"], "4", "{asked}");
    // It notices a report's configuration that lacks a byte.
    let (cluster, bytes) = &said[3];
    let broken = read(*cluster, &bytes[..bytes.len() - 1]);
    assert!(broken.get("error").is_some(), "{broken}");
}

/// IEEE 802.15.4, network and application layer without security around each frame, in a capture of its own.
fn capture(file: &Path, frames: &[(u16, Vec<u8>)]) {
    let mut out = Vec::new();
    // Link type 230: IEEE 802.15.4 without its checksum.
    for word in [0xA1B2_C3D4_u32, 0x0004_0002, 0, 0, 65_535, 230] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    for (number, (cluster, zcl)) in (0_u8..).zip(frames) {
        let mut frame = vec![0x41, 0x88, number, 0x62, 0x1A, 0x01, 0x10, 0x00, 0x00];
        frame.extend_from_slice(&[0x08, 0x00, 0x01, 0x10, 0x00, 0x00, 30, number]);
        frame.extend_from_slice(&[0x00, 1]);
        frame.extend_from_slice(&cluster.to_le_bytes());
        frame.extend_from_slice(&[0x04, 0x01, 1, number]);
        frame.extend_from_slice(zcl);
        let length = u32::try_from(frame.len()).unwrap();
        for word in [u32::from(number), 0, length, length] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&frame);
    }
    fs::write(file, out).unwrap();
}

fn tshark(file: &Path, filter: &str) -> Option<Vec<String>> {
    match Command::new("tshark").args(["-n", "-r"]).arg(file).args(["-Y", filter]).output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
        }
        Err(error) if std::env::var_os("CARDEA_ALLOW_SKIP").is_some_and(|value| value == "1") => {
            println!("skipped: tshark: {error}");
            None
        }
        Err(error) => panic!("tshark: {error}; scripts/test installs it"),
    }
}

#[test]
fn wireshark_reads_our_frames_as_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("zcl.pcap");
    let mut said = Said::all();
    capture(&file, &said);
    let Some(lines) = tshark(&file, "zbee_zcl") else { return };
    assert_eq!(lines.len(), said.len(), "{lines:#?}");
    for (line, (_, _, words)) in lines.iter().zip(WHAT) {
        assert!(line.contains(words), "{line}: no {words:?}");
    }
    let bad = "_ws.malformed || _ws.expert.severity >= \"Warning\"";
    assert_eq!(tshark(&file, bad).unwrap(), Vec::<String>::new());
    said[3].1.pop();
    capture(&file, &said);
    assert_eq!(tshark(&file, bad).unwrap().len(), 1, "it notices one byte that is missing");
}

/// The messages of a hub with a lock that is commanded or watched: topic and payload.
fn told(commands: bool) -> Vec<(String, Value)> {
    let device = Device { name: "Shed".into(), commands };
    let config = Config {
        prefix: "cardea/v1".into(),
        gateway: "gw".into(),
        devices: BTreeMap::from([(DOOR, device)]),
        home_assistant: Some("homeassistant".into()),
    };
    let wall = Wall { unix_ms: 1_790_000_000_000, synced: true };
    let mut hub = Hub::new(config, wall);
    hub.handle_connected(60_000, wall);
    hub.handle_notice(
        60_000,
        wall,
        Notice::State(Box::new(Snapshot {
            eui: DOOR,
            listened: true,
            rights: Rights::Command,
            joined: true,
            ready: true,
            sleepy: Some(true),
            maker: "Maker".into(),
            model: "Model".into(),
            bolt: Bolt::Jammed,
            source: Some(Source::Report),
            at: Some(1_000),
            battery: Some((90, 1_000)),
            heard: Some(Heard { at: 1_000, lqi: 200, rssi: -50 }),
            reachable: true,
        })),
    );
    let all = std::iter::from_fn(|| hub.poll_publish());
    all.filter(|said| !said.payload.is_empty())
        .map(|said| (said.topic, serde_json::from_slice(&said.payload).unwrap()))
        .collect()
}

fn entities(commands: bool) -> Vec<(String, Value)> {
    let all = told(commands).into_iter().filter(|(topic, _)| topic.starts_with("homeassistant/"));
    all.map(|(topic, config)| (topic.split('/').nth(1).unwrap().to_owned(), config)).collect()
}

#[test]
fn home_assistants_own_validators_and_its_documentation_take_what_we_publish() {
    let Some(mut command) = venv::home_assistant("home_assistant_peer.py") else { return };
    let mut peer = LinePeer::start(&mut command);
    for commands in [true, false] {
        let all = entities(commands);
        assert_eq!(all.len(), 3);
        assert_eq!(all.iter().any(|(component, _)| component == "lock"), commands);
        for (component, config) in all {
            let taken = peer.ask(&json!({ "do": "validate", "component": component, "config": config }));
            assert!(taken.get("ok").is_some(), "{component}: {taken}");
            let documented = peer.ask(&json!({ "do": "documented", "config": config }));
            assert_eq!(documented["ok"], true, "{component}: {documented}");
            // Both notice a key that nobody knows of, or one that is missing.
            let mut broken = config.clone();
            broken["availability"][0].as_object_mut().unwrap().remove("topic");
            for question in [
                json!({ "do": "validate", "component": component, "config": broken }),
                json!({ "do": "documented", "config": broken }),
            ] {
                assert!(peer.ask(&question).get("error").is_some(), "{question}");
            }
        }
    }
}

#[test]
fn home_assistant_writes_a_command_that_is_taken_and_reads_every_state() {
    let Some(mut command) = venv::home_assistant("home_assistant_peer.py") else { return };
    let mut peer = LinePeer::start(&mut command);
    let all = entities(true);
    let lock = &all.iter().find(|(component, _)| component == "lock").unwrap().1;
    let render =
        json!({ "do": "render", "template": lock["command_template"], "value": lock["payload_unlock"] });
    let written = peer.ask(&render)["ok"].as_str().unwrap().to_owned();
    println!("{written}");
    // A hub that started before, with the clock of this machine, passes it on.
    let unix_ms = u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let wall = Wall { unix_ms, synced: true };
    let device = Device { name: "Shed".into(), commands: true };
    let config = Config {
        prefix: "cardea/v1".into(),
        gateway: "gw".into(),
        devices: BTreeMap::from([(DOOR, device)]),
        home_assistant: None,
    };
    let mut hub = Hub::new(config, Wall { unix_ms: unix_ms - 60_000, synced: true });
    let state =
        told(true).into_iter().find(|(topic, _)| topic.ends_with("/00124b0000000001/state")).unwrap().1;
    let snapshot = Notice::State(Box::new(Snapshot {
        eui: DOOR,
        listened: true,
        rights: Rights::Command,
        joined: true,
        ready: true,
        sleepy: None,
        maker: String::new(),
        model: String::new(),
        bolt: Bolt::Locked,
        source: None,
        at: None,
        battery: None,
        heard: None,
        reachable: true,
    }));
    hub.handle_notice(60_000, wall, snapshot);
    let topic = lock["command_topic"].as_str().unwrap();
    hub.handle_message(60_000, wall, topic, written.as_bytes(), false);
    let errand = hub.poll_errand().expect("it is taken");
    let Request::Move { eui, verb, deadline } = errand.request else { panic!("another request") };
    assert_eq!((eui, verb), (DOOR, Verb::Unlock));
    assert!((70_000..82_000).contains(&deadline), "twenty seconds: {deadline}");
    hub.handle_message(60_000, wall, topic, written.as_bytes(), false);
    assert!(hub.poll_errand().is_none(), "once");
    // And once more is another command.
    let again = peer.ask(&render)["ok"].as_str().unwrap().to_owned();
    hub.handle_message(60_000, wall, topic, again.as_bytes(), false);
    assert!(hub.poll_errand().is_some());

    let jammed = &all.iter().find(|(component, _)| component == "binary_sensor").unwrap().1;
    for bolt in ["locked", "unlocked", "locking", "unlocking", "jammed", "unknown"] {
        let mut state = state.clone();
        state["bolt"] = json!(bolt);
        let mut read = |template: &Value| {
            peer.ask(&json!({ "do": "state", "template": template, "payload": state.to_string() }))["ok"]
                .clone()
        };
        let value = read(&lock["value_template"]);
        let known = [
            "state_locked",
            "state_unlocked",
            "state_locking",
            "state_unlocking",
            "state_jammed",
            "payload_reset",
        ];
        assert_eq!(known.iter().filter(|key| lock[**key] == value).count(), 1, "{bolt}: {value}");
        let problem = match bolt {
            "jammed" => "ON",
            "unknown" => "None",
            _ => "OFF",
        };
        assert_eq!(read(&jammed["value_template"]), problem, "{bolt}");
        assert_eq!(read(&lock["availability"][1]["value_template"]), "online");
    }
}
