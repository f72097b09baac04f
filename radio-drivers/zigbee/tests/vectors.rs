//! Frames that other hosts wrote (zigpy-zboss 2.0.5, zigbee-herdsman 10.9.5), byte for byte in both directions.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a helper that fails is a failing test"
)]

use std::collections::BTreeSet;

use cardea_zigbee::zboss::call::{IbCounters, Indication, Request, Response};
use cardea_zigbee::zboss::hl::{Kind, Packet};
use cardea_zigbee::zboss::ll::{Decoder, Frame};
use cardea_zigbee::zboss::{ACK_TIMEOUT_MS, Link};
use cardea_zigbee::zcl::door_lock::LockMessage;
use cardea_zigbee::{DecodeError, InstallCode, zcl};
use serde_json::Value;

const VECTORS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/zboss-ncp.json"));

/// Requests that must be refused, and why.
const MALFORMED: [(&str, &str, &str); 4] = [
    (
        "zigbee-herdsman 10.9.5",
        "NVRAM_READ",
        "the dataset is one byte, not two; Wireshark calls it malformed too",
    ),
    ("zigbee-herdsman 10.9.5", "NVRAM_WRITE", "no list of datasets; Wireshark calls it malformed too"),
    ("zigbee-herdsman 10.9.5", "NWK_NLME_JOIN", "ends after the channels; Wireshark calls it malformed too"),
    ("zigpy-zboss 2.0.5", "NcpConfig.WriteNVRAM", "a sample value: 17 datasets are announced, one is there"),
];

/// Calls that a coordinator's host has no use for here: read as packets only.
const NOT_OURS: [(u16, &str); 36] = [
    (0x0207, "match descriptors: we ask each device for what it has"),
    (0x020D, "rejoin: we are the coordinator"),
    (0x020E, "system server discovery"),
    (0x0213, "statistics"),
    (0x0302, "the coordinator's own bindings"),
    (0x0303, "the coordinator's own bindings"),
    (0x0304, "groups"),
    (0x0305, "groups"),
    (0x0307, "groups"),
    (0x0308, "the coordinator's own bindings"),
    (0x0309, "groups"),
    (0x030A, "the coordinator's own bindings"),
    (0x0402, "discovery of other networks"),
    (0x0407, "one neighbour; we read the whole table"),
    (0x040E, "polling: we never sleep"),
    (0x040F, "polling: we never sleep"),
    (0x0410, "polling: we never sleep"),
    (0x0411, "polling: we never sleep"),
    (0x0412, "polling: we never sleep"),
    (0x0414, "polling: we never sleep"),
    (0x0415, "polling: we never sleep"),
    (0x0416, "polling: we never sleep"),
    (0x0417, "polling: we never sleep"),
    (0x0409, "indication of an end device or router, as a request"),
    (0x040A, "indication of an end device or router, as a request"),
    (0x041C, "indication, as a request"),
    (0x041E, "start as a router"),
    (0x0420, "indication of an end device, as a request"),
    (0x042C, "keep-alive of an end device"),
    (0x042E, "end of concentrator mode"),
    (0x042F, "PAN id conflicts"),
    (0x0430, "PAN id conflicts"),
    (0x0501, "our own install code: we are the trust centre"),
    (0x050D, "our own install code: we are the trust centre"),
    (0x0519, "one install code by its place in the list"),
    (0x0A02, "Wireshark does not know it either"),
];
/// Indications that herdsman's encoder writes as requests, which nobody sends.
const INDICATIONS_AS_REQUESTS: [u16; 7] = [0x002B, 0x0214, 0x0215, 0x0306, 0x040B, 0x050E, 0x050F];

fn vectors() -> Value {
    serde_json::from_str(VECTORS).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

/// The one frame in these bytes; it is written again to the same ones.
fn frame(bytes: &[u8]) -> Frame {
    let mut frames = Vec::new();
    Decoder::default().push(0, bytes, |frame| frames.push(frame));
    assert_eq!(frames.len(), 1, "{}", hex::encode(bytes));
    frames.remove(0)
}

/// The packet of an unfragmented frame.
fn whole(bytes: &[u8]) -> Vec<u8> {
    let Frame::Data(data) = frame(bytes) else { panic!("an acknowledgement") };
    assert!(data.first && data.last);
    assert_eq!(Frame::Data(data.clone()).encode().to_vec(), bytes);
    data.body.to_vec()
}

/// What our types make of a packet, written again.
fn typed(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let packet = Packet::parse(bytes)?;
    assert_eq!(packet.encode().to_vec(), bytes);
    Ok(match packet.kind {
        Kind::Request { tsn } => Request::parse(packet.call, packet.body)?.encode(tsn),
        Kind::Response { tsn, .. } => Response::parse(packet.call, packet.body)?.encode(tsn),
        Kind::Indication => Indication::parse(packet.call, packet.body)?.encode(),
    }
    .to_vec())
}

#[test]
fn every_frame_of_both_hosts_is_read_and_written_again_or_refused_for_a_known_reason() {
    let (mut same, mut refused, mut others) = (0, BTreeSet::new(), BTreeSet::new());
    for vector in vectors()["commands"].as_array().unwrap() {
        let (src, command) = (vector["src"].as_str().unwrap(), vector["command"].as_str().unwrap());
        let name = format!("{src} {command} {}", vector["kind"].as_str().unwrap());
        let packet = whole(&bytes(&vector["hex"]));
        let Packet { kind, call, .. } = Packet::parse(&packet).unwrap();
        assert_eq!(format!("{call:#06x}"), vector["id"].as_str().unwrap(), "{name}");
        let request = matches!(kind, Kind::Request { .. });
        let malformed = MALFORMED.iter().find(|(by, what, _)| request && (*by, *what) == (src, command));
        let not_ours = NOT_OURS.iter().any(|(number, _)| *number == call);
        match typed(&packet) {
            Ok(again) => {
                assert!(malformed.is_none() && !not_ours, "{name} is refused, says the list");
                assert_eq!(hex::encode(again), hex::encode(&packet), "{name}");
                same += 1;
            }
            Err(DecodeError::UnknownCall(number)) => {
                let as_request = request && INDICATIONS_AS_REQUESTS.contains(&number);
                assert!(not_ours || as_request, "{name} is unknown to us and to the list");
                others.insert((number, as_request));
            }
            Err(error) => {
                let (by, what, _) = malformed.unwrap_or_else(|| panic!("{name}: {error}"));
                refused.insert((*by, *what));
            }
        }
    }
    assert_eq!(refused.len(), MALFORMED.len(), "each that must be refused was there, and was refused");
    assert_eq!(
        others.len(),
        NOT_OURS.len() + INDICATIONS_AS_REQUESTS.len(),
        "each call of the lists was there"
    );
    println!("{same} of 241 are written again to the same bytes");
    assert_eq!(vectors()["commands"].as_array().unwrap().len(), 241);
    assert_eq!(same, 175);
}

#[test]
fn the_link_layer_writes_what_both_hosts_write() {
    let all = vectors();
    for vector in all["ll_zigpy"].as_array().unwrap().iter().chain(all["ll_herdsman"].as_array().unwrap()) {
        let what = vector["what"].as_str().unwrap();
        match what {
            "ack" => {
                let ack = frame(&bytes(&vector["hex"]));
                let seq = vector["ackseq"].as_u64().unwrap() as u8;
                assert_eq!(ack, Frame::Ack { seq });
                assert_eq!(ack.encode().to_vec(), bytes(&vector["hex"]));
            }
            // The flag means nothing on an acknowledgement, and we never set it there.
            "ack+retransmit" => assert_eq!(frame(&bytes(&vector["hex"])), Frame::Ack { seq: 2 }),
            "fragmented APSDE_DATA_REQ 300 B payload, pack_seq 0,1" => fragments(&vector["frames"]),
            "retransmission of GET_ZIGBEE_ROLE tsn 9 pack_seq 2" => {
                retransmission(&bytes(&vector["first"]), &bytes(&vector["retx"]));
            }
            unknown => panic!("no test for {unknown}"),
        }
    }
}

/// The other host's fragments are joined, and the packet is cut into the same ones.
fn fragments(frames: &Value) {
    let frames: Vec<_> = frames.as_array().unwrap().iter().map(bytes).collect();
    let mut link = Link::default();
    frames.iter().for_each(|frame| link.handle_bytes(0, frame));
    let packet = link.poll_packet().unwrap();
    assert_eq!(typed(&packet), Ok(packet.to_vec()));
    let Ok(Request::ApsdeDataReq { frame }) = Request::parse(0x0301, Packet::parse(&packet).unwrap().body)
    else {
        panic!("another call");
    };
    assert_eq!((frame.payload.len(), frame.options), (300, 0x0C));
    let mut link = Link::default();
    link.send(packet).unwrap();
    for (seq, frame) in frames.iter().enumerate() {
        assert_eq!(link.poll_transmit(0).unwrap().to_vec(), *frame);
        link.handle_bytes(0, &Frame::Ack { seq: seq as u8 }.encode());
    }
}

fn retransmission(first: &[u8], again: &[u8]) {
    let mut link = Link::default();
    let packet = whole(first);
    for seq in 0..2 {
        link.send(packet.clone().into()).unwrap();
        link.poll_transmit(0).unwrap();
        link.handle_bytes(0, &Frame::Ack { seq }.encode());
    }
    link.send(packet.into()).unwrap();
    assert_eq!(link.poll_transmit(0).unwrap().to_vec(), first);
    link.handle_timeout(ACK_TIMEOUT_MS);
    assert_eq!(link.poll_transmit(ACK_TIMEOUT_MS).unwrap().to_vec(), again);
}

/// Sessions of both hosts with an emulated NCP: every frame on the line, and every packet once it is joined.
#[test]
fn whole_sessions_are_read_and_written_again() {
    for (host, session) in vectors()["sessions"].as_object().unwrap() {
        let mut links = [Link::default(), Link::default()];
        let (mut packets, mut unknown) = (0, BTreeSet::new());
        for entry in session.as_array().unwrap() {
            let link = match entry[1].as_str().unwrap() {
                "host>ncp" => &mut links[0],
                "ncp>host" => &mut links[1],
                other => panic!("{host}: from {other}?"),
            };
            let line = bytes(&entry[2]);
            let now = (entry[0].as_f64().unwrap() * 1000.0) as u64;
            assert_eq!(frame(&line).encode().to_vec(), line, "{host}");
            link.handle_bytes(now, &line);
            while let Some(packet) = link.poll_packet() {
                packets += 1;
                match typed(&packet) {
                    Ok(again) => assert_eq!(hex::encode(again), hex::encode(&packet), "{host}"),
                    Err(DecodeError::UnknownCall(call)) => drop(unknown.insert(call)),
                    Err(error) => panic!("{host}: {}: {error}", hex::encode(&packet)),
                }
            }
        }
        println!("{host}: {packets} packets");
        assert!(packets > 100, "{host}");
        assert_eq!(unknown, BTreeSet::new(), "{host}");
    }
}

#[test]
fn install_codes_give_the_keys_that_zigpy_computes() {
    for vector in vectors()["install_codes"].as_array().unwrap() {
        let code = [bytes(&vector["code"]), bytes(&vector["crc_le"])].concat();
        let key = InstallCode::new(&code).unwrap().link_key();
        assert_eq!(key.0.to_vec(), bytes(&vector["tclk_aes_mmo"]));
    }
}

/// A part of the file that no test reads would prove nothing.
/// zigpy-zboss restores a frame counter of 0x1234: the dataset's length stands before it once, and not again inside.
#[test]
fn the_counters_that_another_host_restores_are_read_and_written_again() {
    let sessions = vectors()["sessions"]["zigpy_zboss_2_0_5"].clone();
    let mut found = 0;
    for entry in sessions.as_array().unwrap() {
        let mut link = Link::default();
        link.handle_bytes(1, &bytes(&entry[2]));
        let Some(packet) = link.poll_packet() else { continue };
        let packet = Packet::parse(&packet).unwrap();
        let Ok(Request::NvramWrite { datasets }) = Request::parse(packet.call, packet.body) else { continue };
        for dataset in datasets.0.iter().filter(|dataset| dataset.kind == IbCounters::DATASET) {
            let counters = IbCounters { nib: 0x1234, aib: 0 };
            assert_eq!(IbCounters::parse(&dataset.data.0), Ok(counters));
            assert_eq!(counters.encode(), **dataset.data.0);
            found += 1;
        }
    }
    assert_eq!(found, 1);
}

#[test]
fn every_part_of_the_file_has_its_test() {
    let all = vectors();
    let parts: BTreeSet<_> = all.as_object().unwrap().keys().map(String::as_str).collect();
    let read = ["commands", "ll_zigpy", "ll_herdsman", "sessions", "install_codes"];
    // `note` and `crc` are prose; `ash` is the link layer of the EZSP family, which has no driver yet.
    let not_read = ["note", "crc", "ash"];
    assert_eq!(parts, read.into_iter().chain(not_read).collect());
}

/// The ZCL frames inside both sessions: what other hosts and the emulated lock say to each other.
#[test]
fn zcl_frames_of_both_hosts_are_read_and_written_again() {
    for (host, session) in vectors()["sessions"].as_object().unwrap() {
        let mut links = [Link::default(), Link::default()];
        let (mut globals, mut locks) = (0, 0);
        for entry in session.as_array().unwrap() {
            let link = &mut links[usize::from(entry[1] == "ncp>host")];
            link.handle_bytes((entry[0].as_f64().unwrap() * 1000.0) as u64, &bytes(&entry[2]));
            while let Some(packet) = link.poll_packet() {
                let Packet { kind, call, body } = Packet::parse(&packet).unwrap();
                let (cluster, asdu) = match (kind, call) {
                    (Kind::Request { .. }, 0x0301) => match Request::parse(call, body).unwrap() {
                        Request::ApsdeDataReq { frame } => (frame.cluster, frame.payload),
                        other => panic!("{other:?}"),
                    },
                    (Kind::Indication, 0x0306) => match Indication::parse(call, body).unwrap() {
                        Indication::ApsdeData { frame } => (frame.cluster, frame.payload),
                        other => panic!("{other:?}"),
                    },
                    _ => continue,
                };
                // 300 bytes of nothing, to be cut into fragments.
                if cluster == 0xFC10 {
                    continue;
                }
                let frame = zcl::Frame::parse(&asdu).unwrap();
                assert_eq!(frame.encode(), asdu, "{host}");
                match (frame.header.scope, frame.header.from_server) {
                    (zcl::Scope::Global, _) => {
                        let global = zcl::Global::parse(frame.header.command, frame.payload).unwrap();
                        assert_eq!(global.encode(), frame.payload, "{host}");
                        globals += 1;
                    }
                    (zcl::Scope::Cluster, true) if cluster == zcl::id::DOOR_LOCK => {
                        let message = LockMessage::parse(frame.header.command, frame.payload).unwrap();
                        assert!(
                            matches!(message, LockMessage::Answer { status: 0, .. }),
                            "{host}: {message:?}"
                        );
                        locks += 1;
                    }
                    (zcl::Scope::Cluster, _) => {}
                }
            }
        }
        println!("{host}: {globals} global commands, {locks} answers of the lock");
        assert!(globals > 5 && locks == 2, "{host}");
    }
}
