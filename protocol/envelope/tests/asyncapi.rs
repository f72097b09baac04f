//! `docs/asyncapi.json` and the code say the same: every topic, every member, its type, and what is optional.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // a test's helpers may fail loudly

use std::collections::BTreeMap;

use cardea_envelope::*;
use cardea_framing::{Class, Kind, LockId};
use serde_json::Value;

const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/asyncapi.json"));
const LOCK: LockId = LockId([7; 8]);

fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

/// Checks `value` against the subset of JSON Schema that the document uses; unknown keywords fail the test.
fn validate(schema: &Value, value: &Value, path: &str) {
    if let Some(alternatives) = schema.get("oneOf") {
        let event = &value["event"];
        let fits = |s: &&Value| s["properties"]["event"]["const"] == *event;
        let one =
            alternatives.as_array().unwrap().iter().find(fits).unwrap_or_else(|| panic!("{path}: {event}"));
        return validate(one, value, path);
    }
    for (keyword, rule) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "description" | "contentEncoding" | "required" | "additionalProperties" => {}
            "const" => assert_eq!(rule, value, "{path}"),
            "enum" => assert!(rule.as_array().unwrap().contains(value), "{path}: {value} is not documented"),
            "minimum" => assert!(value.as_f64().unwrap() >= rule.as_f64().unwrap(), "{path}"),
            "maximum" => assert!(value.as_f64().unwrap() <= rule.as_f64().unwrap(), "{path}"),
            "maxLength" => assert!(value.as_str().unwrap().len() as u64 <= rule.as_u64().unwrap(), "{path}"),
            "pattern" => {
                // All patterns are "^[0-9a-f]{N}$".
                let digits: usize = rule
                    .as_str()
                    .unwrap()
                    .trim_start_matches("^[0-9a-f]{")
                    .trim_end_matches("}$")
                    .parse()
                    .unwrap();
                let text = value.as_str().unwrap();
                assert!(
                    text.len() == digits
                        && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
                    "{path}: {text}"
                );
            }
            "type" => {
                let is = |name: &Value| match name.as_str().unwrap() {
                    "string" => value.is_string(),
                    "integer" => value.is_u64() || value.is_i64(),
                    "number" => value.is_number(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    other => panic!("{path}: type {other}"),
                };
                assert!(
                    rule.as_array().map_or_else(|| is(rule), |all| all.iter().any(is)),
                    "{path}: {value} is not {rule}"
                );
            }
            "items" => value.as_array().unwrap().iter().for_each(|v| validate(rule, v, &format!("{path}[]"))),
            "properties" => {
                for (name, member) in value.as_object().unwrap() {
                    let schema = rule.get(name).unwrap_or_else(|| panic!("{path}.{name} is not documented"));
                    validate(schema, member, &format!("{path}.{name}"));
                }
            }
            other => panic!("{path}: this test does not know the keyword {other}"),
        }
    }
    if let Some(schema) = schema.get("additionalProperties") {
        value.as_object().unwrap().values().for_each(|v| validate(schema, v, &format!("{path}.*")));
    }
}

/// `full` has every optional member, `bare` none: together they fix which members are required.
fn agrees<T: serde::Serialize + serde::de::DeserializeOwned>(name: &str, full: &T, bare: &T) {
    let document = document();
    let schema = &document["components"]["schemas"][name];
    let json = |m: &T| -> Value { serde_json::from_slice(&Encoding::Json.encode(m)).unwrap() };
    let (full, bare) = (json(full), json(bare));
    validate(schema, &full, name);
    validate(schema, &bare, name);
    let required: Vec<&str> = match schema.get("oneOf") {
        None => schema["required"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect(),
        Some(all) => {
            let one = all
                .as_array()
                .unwrap()
                .iter()
                .find(|s| s["properties"]["event"]["const"] == full["event"])
                .unwrap();
            one["required"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
        }
    };
    let members = |v: &Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let mut sorted = required.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, members(&bare), "{name}: what is always there is what is required");
    if schema.get("oneOf").is_none() {
        assert_eq!(members(&schema["properties"]), members(&full), "{name}: every documented member exists");
    }
    for member in required {
        let mut less = full.clone();
        less.as_object_mut().unwrap().remove(member);
        let read = Encoding::Json.decode::<T>(less.to_string().as_bytes());
        assert!(read.is_err(), "{name} is read without its required `{member}`");
    }
}

#[test]
fn every_topic_is_documented() {
    let topics = Topics::new("{prefix}", "gateway");
    assert!(topics.is_err(), "a prefix is letters, not a placeholder");
    let topics = Topics::new("p", "g").unwrap();
    let document = document();
    let channels = document["channels"].as_object().unwrap();
    let all: BTreeMap<&str, (Topic, &str)> = BTreeMap::from([
        ("state", (Topic::State, "send")),
        ("info", (Topic::Info, "send")),
        ("health", (Topic::Health, "send")),
        ("locks", (Topic::Locks, "send")),
        ("up", (Topic::Up(LOCK), "send")),
        ("down", (Topic::Down(LOCK), "receive")),
        ("result", (Topic::Result(LOCK), "send")),
        ("seen", (Topic::Seen(LOCK), "receive")),
        ("link", (Topic::Link(LOCK), "send")),
        ("event", (Topic::Event, "send")),
        ("request", (Topic::Request("status".into()), "receive")),
        ("response", (Topic::Response("status".into()), "send")),
    ]);
    assert!(channels.keys().map(String::as_str).eq(all.keys().copied()));
    let filters = topics.gateway_filters();
    for (name, (topic, action)) in all {
        let address = channels[name]["address"].as_str().unwrap();
        let filled = address
            .replace("{prefix}", "p")
            .replace("{gateway}", "g")
            .replace("{lock}", "0707070707070707")
            .replace("{verb}", "status");
        assert_eq!(filled, topics.name(&topic));
        let wildcard = address
            .replace("{prefix}", "p")
            .replace("{gateway}", "g")
            .replace("{lock}", "+")
            .replace("{verb}", "+");
        assert_eq!(action == "receive", filters.contains(&wildcard), "{name}");
        let operation = document["operations"]
            .as_object()
            .unwrap()
            .values()
            .find(|o| o["channel"]["$ref"] == format!("#/channels/{name}"));
        assert_eq!(operation.unwrap()["action"], action, "{name}");
    }
}

#[test]
fn every_payload_is_documented() {
    let up = |full: bool| Uplink {
        v: VERSION,
        id: MessageId([1; 16]),
        lock: LOCK,
        kind: Kind::PlatformOscore,
        class: Class::Log,
        data: Data(vec![0; MAX_DATA]),
        radio: "lora".into(),
        rssi: full.then_some(-70),
        snr: full.then_some(-1.5),
        lqi: full.then_some(200),
        at: 1,
        clock: ClockState::Unsynced,
        epoch: Epoch([2; 8]),
        seq: 1,
    };
    agrees("Uplink", &up(true), &up(false));
    let down = Downlink {
        v: VERSION,
        id: MessageId([1; 16]),
        lock: LOCK,
        kind: Kind::Site,
        class: Class::Bulk,
        data: Data(vec![1]),
        not_after: 9,
    };
    agrees("Downlink", &down, &down);
    for state in [
        ResultState::Queued,
        ResultState::Sent,
        ResultState::Delivered,
        ResultState::Expired,
        ResultState::Refused,
        ResultState::Failed,
    ] {
        let result = |reason: Option<String>| DownlinkResult {
            v: VERSION,
            id: MessageId([1; 16]),
            lock: LOCK,
            state,
            reason,
            at: 1,
        };
        agrees("DownlinkResult", &result(Some("clock".into())), &result(None));
    }
    let seen = Seen { v: VERSION, epoch: Epoch([2; 8]), seq: 0 };
    agrees("Seen", &seen, &seen);
    let state = GatewayState { state: Presence::Online, at: 1 };
    agrees("GatewayState", &state, &state);
    let info = Info {
        v: VERSION,
        gateway: "g".into(),
        version: "0.1.0".into(),
        epoch: Epoch([2; 8]),
        radios: vec!["lora".into()],
        custody: "broker".into(),
    };
    agrees("Info", &info, &info);
    let health = Health {
        v: VERSION,
        at: 1,
        clock: ClockState::Synced,
        radios: BTreeMap::from([("lora".into(), RadioHealth { up: false, detail: "no forwarder".into() })]),
        outbox_frames: 1,
        outbox_bytes: 2,
        dropped: 0,
    };
    agrees("Health", &health, &health);
    let locks = Locks { v: VERSION, locks: vec![LockEntry { lock: LOCK, radio: "lora".into() }] };
    agrees("Locks", &locks, &locks);
    let link = |full: bool| LinkState {
        v: VERSION,
        joined: true,
        radio: "lora".into(),
        sleepy: true,
        life_ms: 30_000,
        seen: full.then_some(1),
        rssi: full.then_some(-70),
        snr: full.then_some(3.0),
        lqi: full.then_some(1),
        pending: 0,
        at: 1,
    };
    agrees("LinkState", &link(true), &link(false));
    let response = |full: bool| Response {
        data: Value::Null,
        status: "error".into(),
        error: full.then(|| "unknown verb".into()),
        transaction: full.then(|| "t".into()),
    };
    // `data` may be null, and serde reads an absent member as null; so it is checked by `validate` alone.
    let schema = &document()["components"]["schemas"]["Response"];
    for full in [true, false] {
        validate(schema, &serde_json::to_value(response(full)).unwrap(), "Response");
    }
    assert!(Encoding::Json.decode::<Request>(b"{}").is_ok(), "a request needs no member");
}

#[test]
fn every_event_is_documented() {
    let event = |what: EventKind| GatewayEvent { v: VERSION, at: 1, what };
    let joined = event(EventKind::Joined { lock: LOCK, radio: "lora".into() });
    agrees("GatewayEvent", &joined, &joined);
    let left = event(EventKind::Left { lock: LOCK, radio: "lora".into() });
    agrees("GatewayEvent", &left, &left);
    let gap = event(EventKind::Gap {
        lock: LOCK,
        id: MessageId([1; 16]),
        frames: 1,
        class: Class::Log,
        first: 1,
        last: 2,
    });
    agrees("GatewayEvent", &gap, &gap);
    let alarm =
        |lock: Option<String>| event(EventKind::Alarm { lock, cause: "store".into(), detail: "full".into() });
    agrees("GatewayEvent", &alarm(Some("0707070707070707".into())), &alarm(None));
    let audit = event(EventKind::Audit { detail: "restarted".into() });
    agrees("GatewayEvent", &audit, &audit);
}
