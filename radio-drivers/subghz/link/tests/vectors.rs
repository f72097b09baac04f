//! Frames that a Python script wrote from the specification alone (`tests/peers/subghz_vectors.py`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use cardea_subghz_link::codec::{AirFrame, Header, Kind, Packet, seal};
use cardea_subghz_link::mic::{Key, Nonces, Secret};
use serde_json::Value;

const KINDS: [Kind; 8] =
    [Kind::Data, Kind::Ack, Kind::Wake, Kind::Beacon, Kind::Join, Kind::Accept, Kind::Hello, Kind::Floor];

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../../tests/vectors/subghz-link.json")).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn key(value: &Value) -> Key {
    Key(bytes(value).try_into().unwrap())
}

fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

#[test]
fn frames_are_those_of_the_specification_in_both_directions() {
    let vectors = vectors();
    let frames = vectors["frames"].as_array().unwrap();
    assert_eq!(frames.len(), 51);
    for frame in frames {
        let flag = |name: &str| frame[name].as_bool().unwrap();
        let (counter, body, air) = (number(&frame["counter"]), bytes(&frame["body"]), bytes(&frame["air"]));
        let header = Header {
            address: number(&frame["address"]) as u8,
            network: number(&frame["network"]) as u8,
            kind: KINDS[number(&frame["kind"]) as usize],
            up: flag("up"),
            ack: flag("ack"),
            pending: flag("pending"),
            counter: counter as u16,
        };
        let sealed = seal(header, counter, &body, &key(&frame["key"]));
        assert_eq!(sealed.as_ref().map(AirFrame::as_bytes), Some(&air[..]), "{}", frame["name"]);
        let packet = Packet::parse(&air).unwrap();
        assert_eq!((*packet.header(), packet.body()), (header, &body[..]));
        assert!(packet.verify(&key(&frame["key"]), counter));
    }
}

#[test]
fn keys_are_those_of_the_specification() {
    let vectors = vectors();
    let secret = Secret(bytes(&vectors["secret"]).try_into().unwrap());
    let lock = bytes(&vectors["lock"]).try_into().unwrap();
    let nonces = Nonces { node: number(&vectors["node_nonce"]), gateway: number(&vectors["gateway_nonce"]) };
    let session = secret.session(&lock, nonces);
    assert_eq!(secret.join_key().0, key(&vectors["keys"]["join"]).0);
    assert_eq!(session.up.0, key(&vectors["keys"]["up"]).0);
    assert_eq!(session.down.0, key(&vectors["keys"]["down"]).0);
    let wrapped = secret.wrap(&lock, nonces, &key(&vectors["network_key"]));
    assert_eq!(wrapped.0, key(&vectors["wrapped"]).0);
}
