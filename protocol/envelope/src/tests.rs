use std::collections::BTreeMap;

use cardea_framing::{Class, Kind, LockId};
use serde::{Serialize, de::DeserializeOwned};

use super::*;

const LOCK: LockId = LockId([0xA1, 2, 3, 4, 5, 6, 7, 8]);

fn uplink() -> Uplink {
    Uplink {
        v: 1,
        id: MessageId([0xEE; 16]),
        lock: LOCK,
        kind: Kind::PlatformOscore,
        class: Class::Interactive,
        data: Data(vec![0x08, 0xFF, 0x00]),
        radio: "lora".into(),
        rssi: Some(-60),
        snr: Some(7.5),
        lqi: None,
        at: 1_764_000_000_123,
        clock: ClockState::Synced,
        epoch: Epoch([9; 8]),
        seq: 1,
    }
}

fn gap() -> GatewayEvent {
    GatewayEvent {
        v: 1,
        at: 5,
        what: EventKind::Gap {
            lock: LOCK,
            id: MessageId([1; 16]),
            frames: 3,
            class: Class::Telemetry,
            first: 1,
            last: 4,
        },
    }
}

/// Literal text: what an integrator sees is part of the contract.
#[test]
fn uplink_in_json_reads_as_documented() {
    let text = String::from_utf8(Encoding::Json.encode(&uplink())).unwrap();
    assert_eq!(
        text,
        r#"{"v":1,"id":"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee","lock":"a102030405060708","kind":"platform_oscore","class":"interactive","data":"CP8A","radio":"lora","rssi":-60,"snr":7.5,"at":1764000000123,"clock":"synced","epoch":"0909090909090909","seq":1}"#
    );
}

#[test]
fn gap_event_in_json_reads_as_documented() {
    let text = String::from_utf8(Encoding::Json.encode(&gap())).unwrap();
    assert_eq!(
        text,
        r#"{"v":1,"at":5,"event":"gap","lock":"a102030405060708","id":"01010101010101010101010101010101","frames":3,"class":"telemetry","first":1,"last":4}"#
    );
}

fn survives<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(message: &T) {
    for encoding in [Encoding::Json, Encoding::Cbor] {
        let bytes = encoding.encode(message);
        assert_eq!(&encoding.decode::<T>(&bytes).unwrap(), message, "{encoding:?}");
        let mut more = bytes.clone();
        more.push(b'x');
        assert!(encoding.decode::<T>(&more).is_err(), "trailing bytes, {encoding:?}");
        assert!(encoding.decode::<T>(&bytes[..bytes.len() - 1]).is_err(), "cut short, {encoding:?}");
    }
}

#[test]
fn both_encodings_return_what_they_were_given() {
    survives(&uplink());
    survives(&gap());
    survives(&Downlink {
        v: 1,
        id: MessageId([2; 16]),
        lock: LOCK,
        kind: Kind::PlatformEdhoc,
        class: Class::Log,
        data: Data(vec![]),
        not_after: u64::MAX,
    });
    survives(&Seen { v: 1, epoch: Epoch([3; 8]), seq: 7 });
    survives(&DownlinkResult {
        v: 1,
        id: MessageId([2; 16]),
        lock: LOCK,
        state: ResultState::Refused,
        reason: Some("retained".into()),
        at: 1,
    });
}

/// CBOR carries the sealed bytes as they are, without base64's third.
#[test]
fn cbor_holds_bytes_not_text() {
    let bytes = Encoding::Cbor.encode(&uplink());
    assert!(bytes.windows(4).any(|w| w == [0x43, 0x08, 0xFF, 0x00]), "byte string of length 3");
    assert!(bytes.windows(9).any(|w| w == [0x48, 0xA1, 2, 3, 4, 5, 6, 7, 8]), "lock id as 8 bytes");
}

#[test]
fn wrong_ids_kinds_and_sizes_are_refused() {
    let good = String::from_utf8(Encoding::Json.encode(&uplink())).unwrap();
    for (from, to) in [
        ("a102030405060708", "A102030405060708"),
        ("a102030405060708", "a1020304050607"),
        ("platform_oscore", "plain"),
        ("CP8A", "CP8"),
        ("\"seq\":1", "\"seq\":-1"),
        ("\"v\":1,", ""),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good);
        assert!(Encoding::Json.decode::<Uplink>(bad.as_bytes()).is_err(), "{from} -> {to}");
    }
    let mut big = uplink();
    big.data = Data(vec![0; MAX_DATA + 1]);
    assert!(Encoding::Cbor.decode::<Uplink>(&Encoding::Cbor.encode(&big)).is_err());
}

#[test]
fn deep_nesting_is_an_error_and_not_a_stack_overflow() {
    assert!(Encoding::Cbor.decode::<Seen>(&vec![0x81; 100_000]).is_err());
    assert!(Encoding::Json.decode::<Seen>("[".repeat(100_000).as_bytes()).is_err());
}

#[test]
fn topics_are_named_and_read_back() {
    let topics = Topics::new(DEFAULT_PREFIX, "gw-1").unwrap();
    let all = [
        (Topic::State, "cardea/v1/gw-1/state"),
        (Topic::Up(LOCK), "cardea/v1/gw-1/lock/a102030405060708/up"),
        (Topic::Down(LOCK), "cardea/v1/gw-1/lock/a102030405060708/down"),
        (Topic::Request("status".into()), "cardea/v1/gw-1/request/status"),
    ];
    for (topic, name) in all {
        assert_eq!(topics.name(&topic), name);
        assert_eq!(topics.parse(name), Some(topic));
    }
    for foreign in [
        "cardea/v1/gw-2/lock/a102030405060708/up",
        "cardea/v1/gw-1/lock/A102030405060708/up",
        "cardea/v1/gw-1/lock//up",
        "cardea/v1/gw-1/lock/a102030405060708/x/up",
        "cardea/v1/gw-1/request/a/b",
        "",
    ] {
        assert_eq!(topics.parse(foreign), None, "{foreign}");
    }
    assert_eq!(
        topics.gateway_filters(),
        ["cardea/v1/gw-1/lock/+/down", "cardea/v1/gw-1/lock/+/seen", "cardea/v1/gw-1/request/+"]
    );
}

#[test]
fn a_clouds_own_topics_fit() {
    let replaced = BTreeMap::from([
        ("up".to_owned(), "devices/{gateway}/messages/events/{lock}".to_owned()),
        ("down".to_owned(), "devices/{gateway}/messages/devicebound/{lock}".to_owned()),
    ]);
    let topics = Topics::with_templates("x", "gw", &replaced).unwrap();
    assert_eq!(topics.name(&Topic::Up(LOCK)), "devices/gw/messages/events/a102030405060708");
    assert_eq!(topics.parse("devices/gw/messages/devicebound/a102030405060708"), Some(Topic::Down(LOCK)));
}

#[test]
fn impossible_templates_are_refused_by_name() {
    let with = |name: &str, template: &str| {
        Topics::with_templates("p", "g", &BTreeMap::from([(name.to_owned(), template.to_owned())]))
            .unwrap_err()
    };
    assert!(matches!(with("upp", "x"), TopicError::UnknownName(_)));
    assert!(matches!(with("up", "x/up"), TopicError::Placeholder(..)));
    assert!(matches!(with("up", "x/a{lock}/up"), TopicError::Placeholder(..)));
    assert!(matches!(with("state", "x/{lock}"), TopicError::Placeholder(..)));
    assert!(matches!(with("state", "x/#"), TopicError::NotATopic(..)));
    assert!(matches!(with("state", "{who}/x"), TopicError::NotATopic(..)));
    assert!(matches!(with("result", "{prefix}/{gateway}/lock/{lock}/up"), TopicError::NotATopic(..)));
    assert!(matches!(Topics::new("a+b", "g").unwrap_err(), TopicError::Name(_)));
    assert!(matches!(Topics::new("a", "g/h").unwrap_err(), TopicError::Name(_)));
}

#[test]
fn a_platform_tells_gateways_apart_by_whatever_topics_they_have() {
    let default = PlatformTopics::new(DEFAULT_PREFIX, &BTreeMap::new()).unwrap();
    assert_eq!(default, PlatformTopics::default());
    assert_eq!(default.filters()[4], "cardea/v1/+/lock/+/up");
    assert_eq!(default.gateway("cardea/v1/gw-2/lock/a102030405060708/up"), Some("gw-2"));
    assert_eq!(default.gateway("cardea/v1/gw-2/state"), Some("gw-2"));
    for foreign in
        ["cardea/v2/gw-2/state", "cardea/v1/gw-2", "cardea/v1/gw-2/state/x", "cardea/v1/g/lock/a/b/up"]
    {
        assert_eq!(default.gateway(foreign), None, "{foreign}");
    }

    let mut replaced = BTreeMap::from([("up".to_owned(), "devices/{gateway}/events/{lock}".to_owned())]);
    let clouds = PlatformTopics::new("x", &replaced).unwrap();
    assert!(clouds.filters().contains(&"devices/+/events/+".to_owned()));
    let topic = "devices/gw-1/events/a102030405060708";
    assert_eq!(clouds.gateway(topic), Some("gw-1"));
    assert_eq!(clouds.of("gw-1").unwrap().parse(topic), Some(Topic::Up(LOCK)));
    assert_eq!(clouds.gateway("x/gw-1/state"), Some("gw-1"), "the others stay where they were");
    replaced.insert("down".into(), "devices/all/{lock}".into());
    assert!(matches!(PlatformTopics::new("x", &replaced), Err(TopicError::Placeholder(..))));
    assert!(Topics::with_templates("x", "gw-1", &replaced).is_ok(), "one gateway needs no name in it");
}
