//! Brokers that do what brokers should not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unit_arg,
    reason = "helpers of tests fail the test"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use cardea_broker::Event;
use cardea_tests::{
    broker::Broker,
    fake_broker::{Answer, FakeBroker, QoS, packets, usual},
    observer::Observer,
    proxy::Proxy,
    soon,
};
use common::*;
use packets::{Packet, PubAck, Publish, SubAck, SubscribeReasonCode};

#[tokio::test]
async fn a_message_of_ours_that_is_too_large_is_refused_and_the_rest_goes() {
    let broker = Broker::open();
    let mut config = config(broker.port);
    config.max_packet = 10_000;
    let (mut handle, _task) = start(config);
    connected(&mut handle).await;
    handle.publish(publish(1, "up", &"x".repeat(10_000)));
    handle.publish(publish(2, "up/+", "x"));
    handle.publish(publish(3, "", "x"));
    handle.publish(publish(4, "up", &"x".repeat(9_989)));
    let mut refused = Vec::new();
    event("answers to all four", &mut handle, |e| match e {
        Event::Refused { token, reason } => {
            refused.push((token, reason));
            None
        }
        Event::Acked { token } => Some(assert_eq!(token, 4)),
        Event::Disconnected => panic!("the connection broke"),
        _ => None,
    })
    .await;
    assert_eq!(refused.iter().map(|r| r.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(refused[0].1.contains("10000 allowed"), "{}", refused[0].1);
    assert!(refused[1].1.contains("not a topic name"), "{}", refused[1].1);
}

#[tokio::test]
async fn a_large_message_for_us_is_discarded_once() {
    let broker = Broker::open();
    let observer = Observer::new(broker.port).await;
    let mut config = config(broker.port);
    config.max_packet = 10_000;
    let (mut handle, _task) = start(config);
    connected(&mut handle).await;
    observer.publish("down/x", false, vec![b'x'; 200_000]).await;
    observer.publish("down/x", false, "small").await;
    event("the small one", &mut handle, |e| match e {
        Event::Message { payload, .. } => Some(assert_eq!(payload, "small")),
        Event::Disconnected => panic!("the connection broke"),
        _ => None,
    })
    .await;
    assert_eq!(handle.status().borrow().oversized, 1);
}

#[tokio::test]
async fn a_queued_message_too_large_to_read_does_not_loop() {
    let broker = Broker::with("allow_anonymous true\nmax_packet_size 8000000");
    let proxy = Proxy::new(broker.port).await;
    let observer = Observer::new(broker.port).await;
    let (handle, _task) = start(config(proxy.port));
    let mut relay = Relay::new(handle);
    relay.add(1);
    relay.until_empty().await;
    observer.publish("down/x", false, vec![b'x'; 4_000_000]).await;
    detail(&relay.handle, "can be read").await;
    // Thrown away with the session; the next connection works.
    relay.add(2);
    relay.until_empty().await;
    relay.run_for(Duration::from_millis(500)).await;
    assert_eq!(relay.connects, 2);
    let status = relay.handle.status().borrow().clone();
    assert!(status.connected && status.detail.is_empty(), "{status:?}");
}

#[tokio::test]
async fn a_retained_message_too_large_to_read_costs_commands_and_not_uplinks() {
    let broker = Broker::with("allow_anonymous true\nmax_packet_size 8000000");
    let observer = Observer::new(broker.port).await;
    observer.publish("down/x", true, vec![b'x'; 4_000_000]).await;
    let (handle, _task) = start(config(broker.port));
    let mut relay = Relay::new(handle);
    for row in 0..50 {
        relay.add(row);
    }
    relay.run_for(Duration::from_secs(2)).await;
    assert_eq!(relay.pending(), 0);
    detail(&relay.handle, "messages do not arrive").await;
    let status = relay.handle.status().borrow().clone();
    assert!(status.connected && status.failures == 2, "{status:?}");
}

#[tokio::test]
async fn a_subscription_that_is_refused_is_said_and_uplinks_go() {
    let broker = FakeBroker::new(|_, packet| match packet {
        Packet::Subscribe(s) => {
            Answer::Send(vec![Packet::SubAck(SubAck::new(s.pkid, vec![SubscribeReasonCode::Failure]))])
        }
        other => usual(other),
    })
    .await;
    let (handle, _task) = start(config(broker.port));
    let mut relay = Relay::new(handle);
    relay.add(1);
    relay.until_empty().await;
    detail(&relay.handle, "refuses the subscription to down/#").await;
}

#[tokio::test]
async fn a_broker_that_never_answers_the_subscription_is_left() {
    let broker = FakeBroker::new(|connection, packet| match packet {
        Packet::Subscribe(_) if connection == 0 => Answer::Send(Vec::new()),
        other => usual(other),
    })
    .await;
    let (mut handle, _task) = start(config(broker.port));
    detail(&handle, "does not answer the subscription").await;
    connected(&mut handle).await;
}

#[tokio::test]
async fn a_broker_that_pings_but_no_longer_acknowledges_is_left() {
    let broker = FakeBroker::new(|connection, packet| match packet {
        Packet::Publish(_) if connection == 0 => Answer::Send(Vec::new()),
        other => usual(other),
    })
    .await;
    let (handle, _task) = start(config(broker.port));
    let mut relay = Relay::new(handle);
    relay.add(1);
    relay.until_empty().await;
    assert_eq!(relay.connects, 2);
}

#[tokio::test]
async fn acknowledgements_out_of_order_and_a_packet_id_still_taken_wedge_nothing() {
    // The first publish of each connection is acknowledged only after the packet ids have wrapped round to it.
    let mut held = None;
    let mut publishes = 0;
    let broker = FakeBroker::new(move |_, packet| match packet {
        Packet::Publish(p) => {
            publishes += 1;
            let mut acks = Vec::new();
            if publishes == 1 {
                held = Some(p.pkid);
            } else {
                acks.push(Packet::PubAck(PubAck::new(p.pkid)));
            }
            if publishes == 390 {
                acks.extend(held.take().map(|pkid| Packet::PubAck(PubAck::new(pkid))));
            }
            Answer::Send(acks)
        }
        // A ping in the middle of a collision: the held one is let go.
        Packet::PingReq => {
            let mut packets = vec![Packet::PingResp];
            packets.extend(held.take().map(|pkid| Packet::PubAck(PubAck::new(pkid))));
            Answer::Send(packets)
        }
        other => usual(other),
    })
    .await;
    let (handle, _task) = start(config(broker.port));
    let mut relay = Relay::new(handle);
    for row in 0..1000 {
        relay.add(row);
    }
    relay.until_empty().await;
    assert_eq!(relay.connects, 1);
}

#[tokio::test]
async fn what_became_too_late_behind_a_slow_broker_is_refused_and_never_sent() {
    let (taken, mut took) = tokio::sync::mpsc::unbounded_channel();
    let mut held = None;
    let broker = FakeBroker::new(move |_, packet| match packet {
        Packet::Publish(p) => {
            taken.send(String::from_utf8(p.payload.to_vec()).unwrap()).unwrap();
            if p.payload == "first" {
                held = Some(p.pkid);
                return Answer::Send(Vec::new());
            }
            usual(packet)
        }
        // A second later the first is acknowledged.
        Packet::PingReq => {
            let mut packets = vec![Packet::PingResp];
            packets.extend(held.take().map(|pkid| Packet::PubAck(PubAck::new(pkid))));
            Answer::Send(packets)
        }
        other => usual(other),
    })
    .await;
    let mut config = config(broker.port);
    config.inflight = 1;
    let (mut handle, _task) = start(config);
    connected(&mut handle).await;
    let now = SystemTime::now();
    let until = |token, text, ms| cardea_broker::Publish {
        not_after: Some(now + Duration::from_millis(ms)),
        ..publish(token, "up", text)
    };
    handle.publish(until(1, "first", 60_000));
    handle.publish(until(2, "short-lived", 100));
    handle.publish(until(3, "long-lived", 60_000));
    let mut refused = Vec::new();
    event("the last is acked", &mut handle, |e| match e {
        Event::Refused { token, reason } => {
            refused.push((token, reason));
            None
        }
        Event::Acked { token } => (token == 3).then_some(()),
        Event::Disconnected => panic!("the connection broke"),
        _ => None,
    })
    .await;
    assert_eq!(refused, [(2, "it is too late for it".to_owned())]);
    let mut seen = Vec::new();
    while let Ok(text) = took.try_recv() {
        seen.push(text);
    }
    assert_eq!(seen, ["first", "long-lived"]);
}

#[tokio::test]
async fn a_message_that_makes_the_broker_close_is_found_and_refused() {
    let broker = FakeBroker::new(|_, packet| match packet {
        Packet::Publish(p) if p.payload == "13" => Answer::Close,
        other => usual(other),
    })
    .await;
    let (handle, _task) = start(config(broker.port));
    let mut relay = Relay::new(handle);
    relay.locks = 3;
    for row in 0..40 {
        relay.add(row);
    }
    relay.until_empty().await;
    assert_eq!(relay.refused.into_iter().collect::<Vec<_>>(), [13]);
    assert!(broker.connections.load(Ordering::Relaxed) <= 12);
}

#[tokio::test]
async fn a_broker_that_lets_this_gateway_publish_nothing_costs_no_message() {
    let mended = Arc::new(AtomicBool::new(false));
    let rules = mended.clone();
    let broker = FakeBroker::new(move |_, packet| match packet {
        Packet::Publish(p) if p.topic.ends_with("/up") && !rules.load(Ordering::Relaxed) => Answer::Close,
        other => usual(other),
    })
    .await;
    let (handle, _task) = start(config(broker.port));
    let mut relay = Relay::new(handle);
    relay.locks = 3;
    for row in 0..6 {
        relay.add(row);
    }
    // What it does take proves nothing about uplinks.
    relay.handle.publish(publish(1_000_000, "state", "online"));
    while broker.connections.load(Ordering::Relaxed) < 40 {
        relay.step().await;
    }
    assert_eq!((relay.pending(), relay.refused.len()), (6, 0));
    mended.store(true, Ordering::Relaxed);
    relay.until_empty().await;
    assert!(relay.refused.is_empty());
}

#[tokio::test]
async fn a_flood_of_messages_for_us_costs_no_publish_its_own_acknowledgement() {
    // More than the client's channel holds, at once: acknowledgements for them and publishes share it.
    let (taken, mut took) = tokio::sync::mpsc::unbounded_channel();
    let broker = FakeBroker::new(move |_, packet| match packet {
        Packet::Subscribe(_) => {
            let Answer::Send(mut packets) = usual(packet) else { unreachable!() };
            packets.extend((1..=2_000).map(|pkid| {
                let mut message = Publish::new("down/x", QoS::AtLeastOnce, "x");
                message.pkid = pkid;
                Packet::Publish(message)
            }));
            Answer::Send(packets)
        }
        Packet::Publish(p) => {
            taken.send(String::from_utf8(p.payload.to_vec()).unwrap()).unwrap();
            usual(packet)
        }
        other => usual(other),
    })
    .await;
    let (handle, _task) = start(config(broker.port));
    let mut relay = Relay::new(handle);
    for row in 0..500 {
        relay.add(row);
    }
    relay.until_empty().await;
    assert_eq!(relay.connects, 1);
    let mut rows = Vec::new();
    while let Ok(row) = took.try_recv() {
        rows.push(row);
    }
    assert_eq!(rows, (0..500).map(|row| row.to_string()).collect::<Vec<_>>(), "what was acked was taken");
}

#[tokio::test]
async fn bytes_that_are_not_mqtt_and_messages_nobody_asked_for_end_the_connection_not_the_link() {
    let broker = FakeBroker::new(|connection, packet| match (connection, packet) {
        (0, Packet::Connect(_)) => Answer::Send(vec![Packet::PingResp]),
        (1, Packet::Subscribe(_)) => {
            let mut message = Publish::new("down/x", QoS::ExactlyOnce, "x");
            message.pkid = 1;
            Answer::Send(vec![Packet::Publish(message)])
        }
        (2, Packet::Subscribe(_)) => Answer::Send(vec![Packet::PubAck(PubAck::new(999))]),
        (_, other) => usual(other),
    })
    .await;
    let (mut handle, _task) = start(config(broker.port));
    connected(&mut handle).await;
    assert_eq!(broker.connections.load(Ordering::Relaxed), 4);

    let garbage = tokio::net::TcpListener::bind(loopback(0)).await.unwrap();
    let (handle, _task) = start(config(garbage.local_addr().unwrap().port()));
    for bytes in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &[0x20, 0x80, 0x80, 0x80, 0x80], &[0x20, 0x00]] {
        let (mut socket, _) = soon("another attempt", garbage.accept()).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut socket, bytes).await.unwrap();
        drop(socket);
    }
    soon("another attempt", garbage.accept()).await.unwrap();
    assert!(!handle.status().borrow().connected);
}
