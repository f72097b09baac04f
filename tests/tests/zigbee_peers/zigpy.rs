//! zigpy-zboss 2.0.5 on zigpy 1.6.0. It asks for acknowledgements, repeats on the port, and restores a network into NVRAM.

use std::path::Path;

use cardea_tests::{lines::LinePeer, venv};
use serde_json::{Value, json};

use crate::wireshark::assert_clean;
use crate::{
    CHANNEL, DONGLE, EXTENDED_PAN, KEY, LOCK, PAN, ask, break_body, is_member, ordinary, plug_in, until_left,
    what,
};

/// A device of the network that is restored; it is not in this air.
const BEFORE: &str = "00124b0001020304";
const BEFORE_KEY: &str = "101112131415161718191a1b1c1d1e1f";
const COUNTER: u32 = 4_660;

fn peer() -> Option<LinePeer> {
    Some(LinePeer::start(&mut venv::zigpy_zboss()?))
}

fn form(dir: &Path) -> Value {
    json!({
        "do": "form", "path": dir.join("dongle"), "extended_pan": hex::encode(EXTENDED_PAN), "pan": PAN,
        "channel": CHANNEL, "key": hex::encode(KEY), "counter": COUNTER,
        "known": { "eui": BEFORE, "nwk": 0x4A3C, "key": BEFORE_KEY },
    })
}

fn of_lock(question: &str) -> Value {
    json!({ "do": question, "eui": LOCK.to_string() })
}

/// On USB, as the dongles that it is made for are: the port goes away with each reset.
#[tokio::test(flavor = "multi_thread")]
async fn zigpy_zboss_restores_a_network_interviews_a_lock_moves_it_hears_of_it_and_removes_it() {
    let Some(mut peer) = peer() else { return };
    let dir = tempfile::tempdir().unwrap();
    let capture = dir.path().join("session.pcap");
    let dongle = plug_in(dir.path(), true, Some(&capture));
    let formed = ask(&mut peer, &form(dir.path()));
    let counter = formed["counter"].as_u64().unwrap();
    assert!(counter >= u64::from(COUNTER), "it never goes back: {formed}");
    assert_eq!(
        (&formed["extended_pan"], &formed["key"]),
        (&json!(hex::encode(EXTENDED_PAN)), &json!(hex::encode(KEY)))
    );
    assert_eq!((&formed["pan"], &formed["channel"]), (&json!(PAN), &json!(CHANNEL)));
    assert_eq!(
        (&formed["addresses"], &formed["keys"]),
        (&json!({ BEFORE: 0x4A3C }), &json!({ BEFORE: BEFORE_KEY }))
    );
    assert_eq!(formed["coordinator"], DONGLE.to_string());
    assert_eq!(dongle.with(|ncp, _| ncp.nvram().network()).unwrap().extended_pan.0, EXTENDED_PAN);

    let lock = ordinary(&dongle);
    ask(&mut peer, &json!({ "do": "permit", "seconds": 60 }));
    let mut interview = of_lock("interviewed");
    interview["seconds"] = json!(30);
    let expected = json!({
        "manufacturer": "Cardea", "model": "Ordinary virtual lock", "manufacturer_code": 0xFFF1, "end_device": true,
        "endpoints": { "1": [0x000A, [0, 1, 3, 0x0101], [0x000A, 0x0019]] },
    });
    assert_eq!(ask(&mut peer, &interview), expected);

    let mut read = of_lock("read");
    read["attributes"] = json!(["lock_state", "actuator_enabled", "door_state"]);
    let values = json!({ "values": { "lock_state": 1, "actuator_enabled": 1 }, "failed": ["door_state"] });
    assert_eq!(ask(&mut peer, &read), values);
    assert_eq!(ask(&mut peer, &of_lock("report")), json!({ "bound": 0, "configured": [0] }));
    for (name, state) in [("unlock_door", 2), ("lock_door", 1)] {
        let mut command = of_lock("command");
        command["command"] = json!(name);
        let moved = ask(&mut peer, &command);
        assert_eq!((&moved["status"], &moved["states"][0]), (&json!(0), &json!(state)), "{name}: {moved}");
        assert_eq!(*lock.locked().borrow(), state == 1);
    }
    let mut long = of_lock("long");
    long["length"] = json!(300);
    assert_eq!(ask(&mut peer, &long), true, "in two frames on the port");
    // The lock; the device that was restored is nobody's child until it comes back, which it never does.
    assert_eq!(ask(&mut peer, &what("neighbours")), json!({ "status": 0, "entries": 1 }));

    assert!(is_member(&dongle));
    let mut remove = of_lock("remove");
    remove["seconds"] = json!(10);
    assert_eq!(ask(&mut peer, &remove), true);
    until_left(&dongle);
    ask(&mut peer, &what("stop"));
    let traffic = dongle.with(|ncp, _| ncp.traffic());
    assert_eq!((traffic.refused, traffic.formed), (0, 1), "{traffic:?}");
    assert_clean(&capture, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn zigpy_zboss_notices_a_dataset_without_its_header() {
    let Some(mut peer) = peer() else { return };
    let dir = tempfile::tempdir().unwrap();
    let dongle = plug_in(dir.path(), true, None);
    // NVRAM_READ of APS_SECURE: version of the memory, dataset, its version, length; then four bytes before the keys.
    break_body(&dongle, 1, 0x002F, |body| {
        if body.get(2) == Some(&14) {
            body.drain(8..12);
            body[6] -= 4;
        }
    });
    let formed = ask(&mut peer, &form(dir.path()));
    assert_eq!(formed["addresses"], json!({ BEFORE: 0x4A3C }), "all else is well");
    assert_ne!(formed["keys"], json!({ BEFORE: BEFORE_KEY }));
}
