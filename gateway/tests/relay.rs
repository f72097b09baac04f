//! Frames through the real daemon: up, down, through outages and kills.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cardea_framing::{Class, uplink_id};
use common::faults::Faults;
use common::*;
use serde_json::json;

fn downlink(id: &str, data: &[u8], not_after: u64) -> Vec<u8> {
    let data = BASE64_STANDARD.encode(data);
    json!({
        "v": 1, "id": id, "lock": LOCK.to_string(), "kind": "platform_oscore", "class": "interactive",
        "data": data, "not_after": not_after
    })
    .to_string()
    .into_bytes()
}

#[test]
fn a_frame_in_is_an_envelope_out_and_a_receipt_back() {
    let broker = Broker::start();
    let observer = Observer::new(&broker);
    let daemon = Daemon::start(&broker, "");
    observer.json("state", |v| v["state"] == "online");
    daemon.admit();
    observer.json("locks", |v| v["locks"][0]["lock"] == LOCK.to_string());
    let radio = Radio::new(&daemon);
    let sealed = datagram(Class::Interactive, b"\x09\x01sealed by a lock");
    radio.deliver(&sealed);
    let up = observer.json(&format!("lock/{LOCK}/up"), |_| true);
    assert_eq!(up["data"], BASE64_STANDARD.encode(&sealed));
    assert_eq!(up["id"], hex::encode(uplink_id(LOCK, &sealed)));
    assert_eq!((&up["v"], &up["seq"], &up["clock"]), (&json!(1), &json!(1), &json!("synced")));
    assert_eq!((&up["radio"], &up["class"]), (&json!("loopback"), &json!("interactive")));
    assert!(daemon.said(&["locks"]).contains(&format!("{LOCK}  loopback  listening")));
    assert_eq!(daemon.metric("cardea_datagrams_received_total"), 1);
    // The lock's own words are nowhere in the log, and its id only because the test runs at debug.
    assert!(!daemon.log().contains("sealed by a lock"));
}

#[test]
fn a_downlink_goes_out_as_a_frame_and_every_step_is_told() {
    let broker = Broker::start();
    let observer = Observer::new(&broker);
    let daemon = Daemon::start(&broker, "");
    daemon.admit();
    let radio = Radio::new(&daemon);
    radio.send(b""); // Here I am.
    observer.json(&format!("lock/{LOCK}/link"), |v| v["joined"] == true);
    let sealed = datagram(Class::Interactive, b"\x09\x02open sesame, sealed");
    let id = "00112233445566778899aabbccddeeff";
    let down = format!("{GATEWAY}/lock/{LOCK}/down");
    observer.publish(&down, false, &downlink(id, &sealed, now_ms() + 10_000));
    let frame = eventually("the frame", || radio.hear());
    assert_eq!(frame, sealed);
    observer.result(id, "queued");
    observer.result(id, "sent");
    radio.send(&receipt(&sealed));
    observer.result(id, "delivered");

    // The same id again, a retained one, and a late one: none goes out.
    observer.publish(&down, false, &downlink(id, &sealed, now_ms() + 10_000));
    observer.result(id, "delivered");
    let retained = "00000000000000000000000000000001";
    observer.publish(&down, true, &downlink(retained, &sealed, now_ms() + 10_000));
    let late = "00000000000000000000000000000002";
    observer.publish(&down, false, &downlink(late, &sealed, now_ms() - 1));
    let expired = observer.json(&format!("lock/{LOCK}/result"), |v| v["id"] == late);
    assert!(["expired", "refused"].contains(&expired["state"].as_str().unwrap()), "{expired}");
    while let Some(frame) = radio.hear() {
        // The live message of a retained publish is an ordinary one; only its stored copy is retained.
        assert_eq!(frame, sealed);
        radio.send(&receipt(&sealed));
    }
    assert_eq!(daemon.metric("cardea_downlinks_repeated_total"), 1);
}

#[test]
fn what_a_lock_said_while_the_broker_was_away_is_receipted_and_arrives_later_even_after_a_kill() {
    let mut broker = Broker::prepared();
    let mut daemon = Daemon::start(&broker, "");
    daemon.admit();
    let radio = Radio::new(&daemon);
    let said: Vec<_> = (0..20_u8).map(|n| datagram(Class::Log, &[9, n, 1, 2, 3])).collect();
    for sealed in &said {
        radio.deliver(sealed);
    }
    assert_eq!(daemon.metric("cardea_broker_up"), 0);
    daemon.kill();
    daemon.up();
    broker.up();
    let observer = Observer::new(&broker);
    for (sealed, seq) in said.iter().zip(1..) {
        let up = observer.json(&format!("lock/{LOCK}/up"), |v| v["seq"] == seq);
        assert_eq!(up["data"], BASE64_STANDARD.encode(sealed));
    }
    assert_eq!(daemon.said(&["locks", "list"]).lines().count(), 2, "the registry is durable");
}

#[test]
fn the_gateway_says_goodbye_when_it_is_told_to_stop_and_the_broker_does_when_it_is_killed() {
    let broker = Broker::start();
    let observer = Observer::new(&broker);
    let mut daemon = Daemon::start(&broker, "");
    observer.json("state", |v| v["state"] == "online");
    daemon.signal("-TERM");
    observer.json("state", |v| v["state"] == "offline");
    assert!(daemon.ended().success());
    assert!(!daemon.path("api.sock").exists());
    daemon.up();
    observer.json("state", |v| v["state"] == "online");
    daemon.kill();
    observer.json("state", |v| v["state"] == "offline");
    // The socket file is left behind; the next start takes its place.
    assert!(daemon.path("api.sock").exists());
    daemon.up();
    observer.json("state", |v| v["state"] == "online");
    daemon.signal("-INT");
    assert!(daemon.ended().success());
}

#[test]
fn a_broker_that_comes_and_goes_stops_nothing() {
    let mut broker = Broker::prepared();
    let daemon = Daemon::start(&broker, "");
    daemon.admit();
    let radio = Radio::new(&daemon);
    for round in 0..3_u8 {
        broker.up();
        eventually("up", || (daemon.metric("cardea_broker_up") == 1).then_some(()));
        // What was said in the last outage goes up before the next one.
        eventually("nothing waits", || (daemon.metric("cardea_outbox_frames") == 0).then_some(()));
        broker.kill();
        eventually("down", || (daemon.metric("cardea_broker_up") == 0).then_some(()));
        radio.deliver(&datagram(Class::Log, &[9, round]));
    }
    let text = eventually("the trouble is told", || {
        let output = daemon.cli(&["status"]);
        assert_eq!(output.status.code(), Some(1), "something needs attention");
        let text = String::from_utf8(output.stdout).unwrap();
        text.contains("Connection refused").then_some(text)
    });
    assert!(text.contains("loopback up"), "{text}");
    assert_eq!(daemon.metric("cardea_outbox_frames"), 1);
}

#[test]
fn the_clock_must_be_believed_before_an_interactive_command_is() {
    let broker = Broker::start();
    let observer = Observer::new(&broker);
    let mut daemon = Daemon::prepared(&broker, "");
    let text = std::fs::read_to_string(daemon.path("cardea.toml")).unwrap();
    std::fs::write(daemon.path("cardea.toml"), text.replace("clock = \"trust\"", "clock = \"auto\""))
        .unwrap();
    // Whatever this machine's time service has done, to this daemon it has not yet.
    Faults::prepare(&mut daemon).begin("unsynced");
    let path = format!("{}:{}", daemon.path("bin").display(), std::env::var("PATH").unwrap());
    daemon.environment.push(("PATH".into(), path));
    daemon.program("timedatectl", "echo no");
    daemon.up();
    daemon.admit();
    let radio = Radio::new(&daemon);
    radio.send(b"");
    observer.json(&format!("lock/{LOCK}/link"), |v| v["joined"] == true);
    assert_eq!(daemon.metric("cardea_clock_synced"), 0);
    let sealed = datagram(Class::Interactive, b"\x09\x02x");
    let down = format!("{GATEWAY}/lock/{LOCK}/down");
    let id = "00112233445566778899aabbccddeeff";
    observer.publish(&down, false, &downlink(id, &sealed, now_ms() + 10_000));
    assert_eq!(observer.result(id, "refused")["reason"], "clock");
    assert_eq!(radio.hear(), None);
    radio.deliver(&datagram(Class::Log, b"\x09\x03x"));
    assert_eq!(observer.json(&format!("lock/{LOCK}/up"), |_| true)["clock"], "unsynced");

    daemon.program("timedatectl", "echo yes");
    eventually("believed", || (daemon.metric("cardea_clock_synced") == 1).then_some(()));
    let id = "00112233445566778899aabbccddee00";
    observer.publish(&down, false, &downlink(id, &sealed, now_ms() + 10_000));
    observer.result(id, "queued");
    assert_eq!(eventually("the frame", || radio.hear()), sealed);
}

#[test]
fn a_clock_that_has_lost_its_time_is_not_believed_even_if_it_is_to_be_trusted() {
    let broker = Broker::start();
    let observer = Observer::new(&broker);
    let mut daemon = Daemon::prepared(&broker, "");
    let faults = Faults::prepare(&mut daemon);
    faults.begin("past");
    daemon.up();
    daemon.admit();
    let radio = Radio::new(&daemon);
    radio.send(b"");
    observer.json(&format!("lock/{LOCK}/link"), |v| v["joined"] == true);
    let status = String::from_utf8(daemon.cli(&["status"]).stdout).unwrap();
    assert!(status.contains("clock    not synchronised"), "{status}");
    let sealed = datagram(Class::Interactive, b"\x09\x02x");
    let down = format!("{GATEWAY}/lock/{LOCK}/down");
    let id = "00112233445566778899aabbccddeeff";
    observer.publish(&down, false, &downlink(id, &sealed, now_ms() + 10_000));
    assert_eq!(observer.result(id, "refused")["reason"], "clock");
    assert_eq!(radio.hear(), None);
    faults.end("past");
    let id = "00112233445566778899aabbccddee00";
    observer.publish(&down, false, &downlink(id, &sealed, now_ms() + 10_000));
    observer.result(id, "queued");
    assert_eq!(eventually("the frame", || radio.hear()), sealed);
}
