//! The virtual Zigbee dongles as other people's programs judge them: zigbee-herdsman and zigpy-zboss drive the one with ZBOSS
//! as their coordinator, bellows the one with EmberZNet, Wireshark's dissector (of the maker of ZBOSS) reads what our own host and it say. Each of them is seen to
//! notice when it is broken on purpose.

mod bellows;
mod herdsman;
mod session;
mod wireshark;
mod zigpy;

use std::path::Path;
use std::time::Duration;

use cardea_simulator::zigbee::{Dongle, DongleConfig, DoorLock, DoorLockConfig, Ncp, NcpConfig, Nvram};
use cardea_tests::{eventually, lines::LinePeer};
use cardea_zigbee::Eui64;
use serde_json::{Value, json};

const SEED: u64 = 7;
const DONGLE: Eui64 = Eui64(*b"\x02\xca\xde\xa3\0\0\0\x01");
const LOCK: Eui64 = Eui64(*b"\x02\xca\xde\xa4\0\0\0\x01");
/// Milliseconds between two polls of the lock.
const POLL: u64 = 100;
/// Not the same backwards, as no extended PAN id should be in a test.
const EXTENDED_PAN: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
const PAN: u16 = 0x1A62;
const CHANNEL: u8 = 15;
const KEY: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0];

/// A dongle that is new, behind `dongle` in this folder.
fn plug_in(dir: &Path, usb: bool, capture: Option<&Path>) -> Dongle {
    let ncp = Ncp::new(NcpConfig { eui: DONGLE, seed: SEED }, Nvram::default());
    let config =
        DongleConfig { port: dir.join("dongle"), seed: SEED, usb, capture: capture.map(Path::to_owned) };
    println!("seed {SEED}");
    Dongle::plug_in(ncp, config).unwrap()
}

/// An ordinary lock without an install code: the open hosts have no use for one with this dongle.
fn ordinary(dongle: &Dongle) -> DoorLock {
    let config = DoorLockConfig { eui: LOCK, code: None, unique_key: true, poll: Some(POLL), pin: None };
    DoorLock::start(config.clone(), dongle.add(config.device()))
}

/// Asks, and wants a good answer.
fn ask(peer: &mut LinePeer, question: &Value) -> Value {
    let answer = peer.ask(question);
    assert!(answer.get("error").is_none(), "{question}: {answer}");
    answer["ok"].clone()
}

/// Breaks what the dongle says in answer to this call, or by itself (`kind` 2).
fn break_body(dongle: &Dongle, kind: u8, call: u16, mut breaks: impl FnMut(&mut Vec<u8>) + Send + 'static) {
    let [low, high] = call.to_le_bytes();
    // Version, kind, call; then in responses transaction number and status.
    let header = if kind == 1 { 7 } else { 4 };
    dongle.with(|ncp, _| {
        ncp.tamper(move |packet| {
            if packet.starts_with(&[0, kind, low, high]) && packet.len() > header {
                let mut body = packet.split_off(header);
                breaks(&mut body);
                packet.append(&mut body);
            }
        });
    });
}

/// Whether the lock is in the network.
fn is_member(dongle: &Dongle) -> bool {
    dongle.with(|ncp, _| ncp.nvram().devices().any(|eui| eui == LOCK))
}

fn until_left(dongle: &Dongle) {
    eventually("the lock has left", Duration::from_secs(10), || (!is_member(dongle)).then_some(()));
}

fn what(question: &str) -> Value {
    json!({ "do": question })
}
