//! bellows 1.2.1 on zigpy 2.4.0, at an EZSP dongle. It speaks ZDO itself, resets the dongle again and again, and moves a network
//! from one to another.

use std::path::Path;

use cardea_simulator::zigbee::{Dongle, DongleConfig, DoorLock, DoorLockConfig, Ncp, NcpConfig, Nvram};
use cardea_tests::{lines::LinePeer, venv};
use cardea_zigbee::{Eui64, InstallCode};
use serde_json::{Value, json};

use crate::{
    CHANNEL, DONGLE, EXTENDED_PAN, KEY, LOCK, PAN, POLL, SEED, ask, is_member, ordinary, until_left, what,
};

/// A device of the network that is restored; it is not in this air.
const BEFORE: &str = "00124b0001020304";
const BEFORE_KEY: &str = "101112131415161718191a1b1c1d1e1f";
const COUNTER: u32 = 4_660;
/// With its CRC.
const CODE: &str = "83fed3407a939723a5c639b26916d505c3b5";
const OTHER_CODE: &str = "83fed3407a932b70";

fn peer() -> Option<LinePeer> {
    Some(LinePeer::start(&mut venv::bellows()?))
}

fn plug_in(dir: &Path, protocol: u8) -> Dongle {
    println!("seed {SEED}");
    let ncp = Ncp::ezsp(NcpConfig { eui: DONGLE, seed: SEED }, Nvram::default(), protocol);
    let config = DongleConfig { port: dir.join("dongle"), seed: SEED, usb: false, capture: None };
    Dongle::plug_in(ncp, config).unwrap()
}

fn form(dir: &Path) -> Value {
    json!({
        "do": "form", "path": dir.join("dongle"), "extended_pan": hex::encode(EXTENDED_PAN), "pan": PAN,
        "channel": CHANNEL, "key": hex::encode(KEY), "counter": COUNTER,
        "known": { "eui": BEFORE, "nwk": 0x4A3C, "key": BEFORE_KEY },
    })
}

fn of_lock(question: &str, more: &Value) -> Value {
    let mut question = json!({ "do": question, "eui": LOCK.to_string() });
    question.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    question
}

/// What bellows reads of the network that it formed. Link keys it reads in protocol 13 alone: in later ones it takes the last
/// field of the answer for the status, which is the first there.
fn assert_network(found: &Value, protocol: u8) {
    assert_eq!(
        (&found["extended_pan"], &found["key"]),
        (&json!(hex::encode(EXTENDED_PAN)), &json!(hex::encode(KEY)))
    );
    assert_eq!((&found["pan"], &found["channel"]), (&json!(PAN), &json!(CHANNEL)));
    let keys = if protocol == 13 { json!({ BEFORE: BEFORE_KEY }) } else { json!({}) };
    assert_eq!((&found["addresses"][BEFORE], &found["keys"]), (&json!(0x4A3C), &keys));
    assert_eq!(
        (&found["coordinator"], &found["endpoints"]),
        (&json!(DONGLE.to_string()), &json!([1, 2, 242]))
    );
}

async fn whole_life(protocol: u8) {
    let Some(mut peer) = peer() else { return };
    let dir = tempfile::tempdir().unwrap();
    let dongle = plug_in(dir.path(), protocol);
    let formed = ask(&mut peer, &form(dir.path()));
    assert_network(&formed, protocol);
    assert!(formed["counter"].as_u64().unwrap() >= u64::from(COUNTER), "it never goes back: {formed}");
    assert_eq!(dongle.with(|ncp, _| ncp.nvram().network()).unwrap().extended_pan.0, EXTENDED_PAN);

    let lock = ordinary(&dongle);
    ask(&mut peer, &json!({ "do": "permit", "seconds": 60 }));
    let expected = json!({
        "manufacturer": "Cardea", "model": "Ordinary virtual lock", "manufacturer_code": 0xFFF1, "end_device": true,
        "endpoints": { "1": [0x000A, [0, 1, 3, 0x0101], [0x000A, 0x0019]] },
    });
    assert_eq!(ask(&mut peer, &of_lock("interviewed", &json!({ "seconds": 30 }))), expected);

    let attributes = json!({ "attributes": ["lock_state", "actuator_enabled", "door_state"] });
    let values = json!({ "values": { "lock_state": 1, "actuator_enabled": 1 }, "failed": ["door_state"] });
    assert_eq!(ask(&mut peer, &of_lock("read", &attributes)), values);
    assert_eq!(ask(&mut peer, &of_lock("report", &json!({}))), json!({ "bound": 0, "configured": [0] }));
    for (name, state) in [("unlock_door", 2), ("lock_door", 1)] {
        let moved = ask(&mut peer, &of_lock("command", &json!({ "command": name })));
        assert_eq!((&moved["status"], &moved["states"][0]), (&json!(0), &json!(state)), "{name}: {moved}");
        assert_eq!(*lock.locked().borrow(), state == 1);
    }
    assert_eq!(ask(&mut peer, &what("neighbours")), json!({ "status": 0, "entries": 2 }));

    assert!(is_member(&dongle));
    assert_eq!(ask(&mut peer, &of_lock("remove", &json!({ "seconds": 10 }))), true);
    until_left(&dongle);
    ask(&mut peer, &what("stop"));
    let traffic = dongle.with(|ncp, _| ncp.traffic());
    assert_eq!((traffic.formed, traffic.dropped), (1, 0), "{traffic:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bellows_forms_interviews_a_lock_moves_it_hears_of_it_and_removes_it() {
    whole_life(13).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bellows_does_so_in_the_newest_protocol_too() {
    whole_life(19).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bellows_moves_a_network_to_another_dongle_and_its_lock_goes_on_and_after_a_reset_too() {
    let Some(mut peer) = peer() else { return };
    let dir = tempfile::tempdir().unwrap();
    let dongle = plug_in(dir.path(), 13);
    ask(&mut peer, &form(dir.path()));
    let lock = ordinary(&dongle);
    ask(&mut peer, &json!({ "do": "permit", "seconds": 60 }));
    ask(&mut peer, &of_lock("interviewed", &json!({ "seconds": 30 })));
    ask(&mut peer, &of_lock("report", &json!({})));
    let backup = ask(&mut peer, &what("backup"));
    let counter = |backup: &Value| backup["network_key"]["frame_counter"].as_u64().unwrap();
    assert_eq!(backup["network_key"]["key"], hex::encode(KEY));
    assert!(counter(&backup) > u64::from(COUNTER));
    ask(&mut peer, &what("stop"));

    // Another dongle, of another address: from now on it has the first one's.
    let other = NcpConfig { eui: Eui64(*b"\x02\xca\xde\xa3\0\0\0\x02"), seed: SEED + 1 };
    dongle.replace(Ncp::ezsp(other, Nvram::default(), 13));
    // It is there again under the same name.
    std::thread::sleep(std::time::Duration::from_secs(1));
    ask(&mut peer, &json!({ "do": "connect_only", "path": dir.path().join("dongle") }));
    let restored = ask(&mut peer, &json!({ "do": "restore", "backup": backup }));
    assert_network(&restored, 13);
    assert!(restored["counter"].as_u64().unwrap() > counter(&backup), "{restored}");
    for (name, state) in [("unlock_door", 2), ("lock_door", 1)] {
        let moved = ask(&mut peer, &of_lock("command", &json!({ "command": name })));
        assert_eq!((&moved["status"], *lock.locked().borrow()), (&json!(0), state == 1), "{name}: {moved}");
    }
    assert!(dongle.with(|ncp, _| ncp.shares_key(LOCK)), "its own link key moved, too");
    assert_eq!(dongle.with(|ncp, _| ncp.traffic()).joined, 0, "it did not join anew");
    ask(&mut peer, &what("stop"));

    dongle.reset();
    assert_network(&ask(&mut peer, &json!({ "do": "resume", "path": dir.path().join("dongle") })), 13);
    assert_eq!(dongle.with(|ncp, _| ncp.traffic()).formed, 1, "not formed anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_joins_by_the_install_code_that_bellows_was_told_and_by_no_other() {
    for (told, joins) in [(CODE, true), (OTHER_CODE, false)] {
        let Some(mut peer) = peer() else { return };
        let dir = tempfile::tempdir().unwrap();
        let dongle = plug_in(dir.path(), 13);
        ask(&mut peer, &form(dir.path()));
        let code = Some(InstallCode::new(&hex::decode(CODE).unwrap()).unwrap());
        let config = DoorLockConfig { eui: LOCK, code, unique_key: true, poll: Some(POLL), pin: None };
        let _lock = DoorLock::start(config.clone(), dongle.add(config.device()));
        ask(&mut peer, &of_lock("permit_code", &json!({ "code": told, "seconds": 60 })));
        let interview = peer.ask(&of_lock("interviewed", &json!({ "seconds": 6 })));
        assert_eq!(interview.get("ok").is_some(), joins, "{interview}");
        assert_eq!(dongle.with(|ncp, _| ncp.traffic()).joined, u32::from(joins));
    }
}

/// Breaks what the dongle says by itself under this number, or answers.
fn break_body(dongle: &Dongle, id: u16, mut breaks: impl FnMut(&mut [u8]) + Send + 'static) {
    let [low, high] = id.to_le_bytes();
    dongle.with(|ncp, _| {
        ncp.tamper(move |frame| {
            // Sequence number, control, format, number.
            if let [_, _, 1, is_low, is_high, body @ ..] = &mut frame[..]
                && (*is_low, *is_high) == (low, high)
            {
                breaks(body);
            }
        });
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn bellows_notices_an_extended_pan_id_the_other_way_round_and_an_end_with_anothers_tag() {
    let Some(mut peer) = peer() else { return };
    let dir = tempfile::tempdir().unwrap();
    let dongle = plug_in(dir.path(), 13);
    // getNetworkParameters: status, role, parameters.
    break_body(&dongle, 0x0028, |body| body[2..10].reverse());
    let formed = ask(&mut peer, &form(dir.path()));
    assert_ne!(formed["extended_pan"], hex::encode(EXTENDED_PAN));
    assert_eq!(formed["key"], hex::encode(KEY), "all else is well");
    let _lock = ordinary(&dongle);
    // messageSentHandler: kind, destination, eleven bytes of APS, tag.
    break_body(&dongle, 0x003F, |body| body[14] ^= 0x40);
    ask(&mut peer, &json!({ "do": "permit", "seconds": 60 }));
    let interview = peer.ask(&of_lock("interviewed", &json!({ "seconds": 6 })));
    assert!(interview.get("error").is_some(), "{interview}");
    assert!(is_member(&dongle), "it has joined all the same");
}
