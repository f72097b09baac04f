//! `docs/asyncapi-unsealed.json` and the code say the same: every topic, every member, what is optional; and that nothing is end-to-end.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers may fail loudly"
)]

use std::collections::{BTreeMap, BTreeSet};

use cardea_unsealed::{Config, Device, Hub, Wall};
use cardea_zigbee::Eui64;
use cardea_zigbee::driver::ordinary::{
    Bolt, Happening, Heard, Notice, Outcome, Progress, Rights, Snapshot, Source,
};
use cardea_zigbee::zcl::door_lock;
use serde_json::{Value, json};

const DOCUMENT: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/asyncapi-unsealed.json"));
const DOOR: Eui64 = Eui64([0, 0x12, 0x4B, 0, 0, 0, 0, 1]);
const STARTED: u64 = 1_790_000_000_000;

fn config() -> Config {
    let device = Device { name: "Shed".into(), commands: true };
    Config {
        prefix: "cardea/v1".into(),
        gateway: "gw".into(),
        devices: BTreeMap::from([(DOOR, device)]),
        home_assistant: None,
    }
}

fn snapshot(full: bool) -> Snapshot {
    Snapshot {
        eui: DOOR,
        listened: true,
        rights: Rights::Command,
        joined: full,
        ready: full,
        sleepy: None,
        maker: "m".repeat(32),
        model: String::new(),
        bolt: Bolt::Unknown,
        source: full.then_some(Source::Alarm),
        at: full.then_some(1),
        battery: full.then_some((100, 1)),
        heard: full.then_some(Heard { at: 1, lqi: 255, rssi: -128 }),
        reachable: full,
    }
}

/// Everything that a bridge may say: channel and message.
fn messages() -> Vec<(String, Value)> {
    let wall = |now: u64| Wall { unix_ms: STARTED + now, synced: true };
    let mut hub = Hub::new(config(), wall(0));
    let mut now = 60_000;
    hub.handle_connected(now, wall(now));
    for full in [false, true] {
        hub.handle_notice(now, wall(now), Notice::State(Box::new(snapshot(full))));
    }
    let source = door_lock::Source::Keypad;
    for happening in [
        Happening::Operation { source, code: 2, user: 7, at: now },
        Happening::Programming { source, code: 2, user: 7, at: now },
        Happening::Alarm { code: 0, at: now },
    ] {
        hub.handle_notice(now, wall(now), Notice::Happened { eui: DOOR, happening });
    }
    let topic = format!("cardea/v1/gw/unsealed/{DOOR}/set");
    hub.handle_message(now, wall(now), &topic, b"UNLOCK", false);
    for outcome in [
        Outcome::Done,
        Outcome::Refused("busy".into()),
        Outcome::Expired,
        Outcome::Declined(1),
        Outcome::Elsewhere,
        Outcome::Unconfirmed,
    ] {
        now += 1_000;
        let command = json!({ "v": 1, "command": "lock", "id": format!("id-{now}"), "not_after": STARTED + now + 20_000 });
        hub.handle_message(now, wall(now), &topic, command.to_string().as_bytes(), false);
        let token = hub.poll_errand().unwrap().token;
        for step in [Progress::Sent, Progress::Accepted] {
            hub.handle_notice(now, wall(now), Notice::Progress { token, step });
        }
        hub.handle_notice(now, wall(now), Notice::Done { token, outcome });
    }
    let all = std::iter::from_fn(|| hub.poll_publish());
    all.map(|said| {
        let rest = said.topic.strip_prefix("cardea/v1/gw/unsealed/").unwrap();
        let channel = match rest.split_once('/') {
            None => "bridge".to_owned(),
            Some((lock, leaf)) => {
                assert_eq!(lock, DOOR.to_string());
                leaf.to_owned()
            }
        };
        (channel, serde_json::from_slice(&said.payload).unwrap())
    })
    .collect()
}

fn fits(schema: &Value, value: &Value, path: &str) {
    for (keyword, rule) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "description" | "required" | "pattern" => {}
            "const" => assert_eq!(rule, value, "{path}"),
            "enum" => assert!(rule.as_array().unwrap().contains(value), "{path}: {value} is not documented"),
            "minimum" => assert!(value.as_i64().unwrap() >= rule.as_i64().unwrap(), "{path}"),
            "maximum" => assert!(value.as_i64().unwrap() <= rule.as_i64().unwrap(), "{path}"),
            "maxLength" => assert!(value.as_str().unwrap().len() as u64 <= rule.as_u64().unwrap(), "{path}"),
            "type" => {
                let is = match rule.as_str().unwrap() {
                    "string" => value.is_string(),
                    "integer" => value.is_u64() || value.is_i64(),
                    "boolean" => value.is_boolean(),
                    "object" => value.is_object(),
                    other => panic!("{path}: type {other}"),
                };
                assert!(is, "{path}: {value} is not {rule}");
            }
            "properties" => {
                for (name, member) in value.as_object().unwrap() {
                    let schema = rule.get(name).unwrap_or_else(|| panic!("{path}.{name} is not documented"));
                    fits(schema, member, &format!("{path}.{name}"));
                }
                for required in schema["required"].as_array().unwrap() {
                    assert!(value.get(required.as_str().unwrap()).is_some(), "{path}: no {required}");
                }
            }
            other => panic!("{path}: this test does not know the keyword {other}"),
        }
    }
}

#[test]
fn every_message_is_as_documented_and_everything_documented_is_said() {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let mut members: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut results = BTreeSet::new();
    for (channel, message) in messages() {
        let name =
            document["channels"][&channel]["messages"].as_object().unwrap().keys().next().unwrap().clone();
        fits(&document["components"]["schemas"][&name], &message, &name);
        if name != "BridgeState" {
            assert_eq!(message["end_to_end"], false, "{name}");
        }
        if let Some(result) = message["result"].as_str() {
            results.insert(result.to_owned());
        }
        members.entry(name).or_default().extend(message.as_object().unwrap().keys().cloned());
    }
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for (name, schema) in schemas.iter().filter(|(name, _)| *name != "LockCommand") {
        let documented: BTreeSet<String> =
            schema["properties"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(members[name], documented, "{name}");
    }
    let documented = &document["components"]["schemas"]["CommandResult"]["properties"]["result"]["enum"];
    assert_eq!(documented.as_array().unwrap().len(), results.len(), "{results:?}");
}

#[test]
fn every_topic_is_documented() {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let address = |channel: &str| {
        let address = document["channels"][channel]["address"].as_str().unwrap();
        address
            .replace("{prefix}", "cardea/v1")
            .replace("{gateway}", "gw")
            .replace("{lock}", &DOOR.to_string())
    };
    assert_eq!(config().state_topic(), address("bridge"));
    assert_eq!(config().filters(), [address("set")]);
    let said: BTreeSet<String> = messages().into_iter().map(|(channel, _)| channel).collect();
    let documented = document["channels"].as_object().unwrap().keys().cloned();
    assert_eq!(said, documented.filter(|channel| channel != "set").collect());
}
