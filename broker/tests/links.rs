//! Links that break: nothing that was given is lost without a word, whatever breaks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unit_arg,
    reason = "helpers of tests fail the test"
)]

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use cardea_broker::Event;
use cardea_broker::Will;
use cardea_tests::{
    broker::Broker,
    free_port,
    observer::Observer,
    proxy::{Mode, Proxy},
    soon, write,
};
use common::*;

/// First deliveries at the observer are in order and complete.
async fn all_arrive_in_order(observer: &mut Observer, rows: u64) {
    let mut next = 0;
    while next < rows {
        let (_, payload, _) = observer.next("up").await;
        let row: u64 = std::str::from_utf8(&payload).unwrap().parse().unwrap();
        assert!(row <= next, "row {row} came before {next}");
        if row == next {
            next += 1;
        }
    }
}

#[tokio::test]
async fn messages_go_both_ways() {
    let broker = Broker::open();
    let mut observer = Observer::new(broker.port).await;
    observer.publish("down/old", true, "kept").await;
    let (mut handle, task) = start(config(broker.port));
    connected(&mut handle).await;
    for (text, kept) in [("kept", true), ("fresh", false)] {
        let ack = event(text, &mut handle, |e| match e {
            Event::Message { ack, payload, retain, .. } => {
                assert_eq!((payload, retain), (Bytes::from(text), kept));
                Some(ack)
            }
            _ => None,
        })
        .await;
        handle.ack(ack);
        observer.publish("down/x", false, "fresh").await;
    }
    handle.publish(publish(7, "up", "hello"));
    event("acked", &mut handle, |e| (e == Event::Acked { token: 7 }).then_some(())).await;
    event("round trip", &mut handle, |e| matches!(e, Event::Rtt { ms: 0..5000 }).then_some(())).await;
    assert_eq!(observer.next("up").await.1, "hello");
    let status = handle.status().borrow().clone();
    assert!(status.connected && status.detail.is_empty());
    assert_eq!((status.connects, status.acked), (1, 1));
    drop(handle);
    soon("the link ends with its handle", task).await.unwrap();
}

#[tokio::test]
async fn a_message_that_was_not_acked_comes_again_and_one_that_was_does_not() {
    let broker = Broker::open();
    let proxy = Proxy::new(broker.port).await;
    let observer = Observer::new(broker.port).await;
    let (mut handle, _task) = start(config(proxy.port));
    connected(&mut handle).await;
    let message = |e| match e {
        Event::Message { ack, payload, dup, .. } => Some((ack, payload, dup)),
        _ => None,
    };
    observer.publish("down/a", false, "first").await;
    observer.publish("down/a", false, "second").await;
    let (first, ..) = event("first", &mut handle, message).await;
    let (second, ..) = event("second", &mut handle, message).await;
    handle.ack(first);
    handle.publish(publish(1, "up", "flush")); // Behind the ack on the same connection.
    event("acked", &mut handle, |e| matches!(e, Event::Acked { .. }).then_some(())).await;

    proxy.set(Mode::Refuse);
    disconnected(&mut handle).await;
    handle.ack(second); // Of a connection that is gone: must not count on the next one.
    proxy.set(Mode::Pass);
    for _ in 0..2 {
        connected(&mut handle).await;
        let (_, payload, dup) = event("second again", &mut handle, message).await;
        assert_eq!((payload, dup), (Bytes::from_static(b"second"), true));
        // The first connection's ack, though its packet id is the same, does not count on this one.
        handle.ack(second);
        handle.publish(publish(2, "up", "flush"));
        event("acked", &mut handle, |e| matches!(e, Event::Acked { .. }).then_some(())).await;
        proxy.set(Mode::Refuse);
        disconnected(&mut handle).await;
        proxy.set(Mode::Pass);
    }
}

/// What is said while nobody is there is gone, with the session; a link that keeps one is told of it.
#[tokio::test]
async fn a_link_of_what_is_live_hears_nothing_that_waited() {
    let broker = Broker::open();
    let mut observer = Observer::new(broker.port).await;
    for live_only in [false, true] {
        let settings = || {
            let mut config = config(broker.port);
            config.client_id = format!("gateway-live-{live_only}");
            config.live_only = live_only;
            config
        };
        let message = |e| match e {
            Event::Message { ack, payload, .. } => Some((ack, payload)),
            _ => None,
        };
        let (mut handle, task) = start(settings());
        connected(&mut handle).await;
        observer.publish("down/a", false, "live").await;
        let (ack, payload) = event("live", &mut handle, message).await;
        assert_eq!(payload, "live");
        handle.ack(ack);
        handle.publish(publish(1, "up", "flush"));
        event("acked", &mut handle, |e| matches!(e, Event::Acked { .. }).then_some(())).await;
        drop(handle);
        soon("the link ends with its handle", task).await.unwrap();

        observer.publish("down/a", false, "waited").await;
        // The broker has given it to everybody that there is.
        while observer.next("down/a").await.1 != "waited" {}
        let (mut handle, _task) = start(settings());
        connected(&mut handle).await;
        observer.publish("down/a", false, "new").await;
        let (_, payload) = event("the first", &mut handle, message).await;
        assert_eq!(payload, if live_only { "new" } else { "waited" });
    }
}

#[tokio::test]
async fn a_broker_that_restarts_and_remembers_nothing_costs_nothing() {
    let mut broker = Broker::open();
    let (handle, _task) = start(config(broker.port));
    let mut relay = Relay::new(handle);
    for round in 0..3 {
        for row in 0..500 {
            relay.add(round * 500 + row);
        }
        while relay.pending() > 300 {
            relay.step().await;
        }
        broker.down();
        relay.run_for(Duration::from_millis(100)).await;
        broker.up();
    }
    relay.until_empty().await;
    assert!(relay.connects >= 3);
}

#[tokio::test]
async fn a_session_lost_while_messages_are_in_flight_loses_none() {
    let mut broker = Broker::open();
    let proxy = Proxy::new(broker.port).await;
    let (handle, _task) = start(config(proxy.port));
    let mut relay = Relay::new(handle);
    relay.add(0);
    relay.until_empty().await;
    // The broker's answers no longer arrive: everything stays in flight and in every queue.
    proxy.set(Mode::DeafClient);
    for row in 1..400 {
        relay.add(row);
    }
    relay.run_for(Duration::from_millis(200)).await;
    assert_eq!(relay.pending(), 399);
    broker.down();
    broker.up();
    let mut observer = Observer::new(broker.port).await;
    proxy.set(Mode::Refuse);
    relay.run_for(Duration::from_millis(100)).await;
    proxy.set(Mode::Pass);
    relay.until_empty().await;
    // The new broker never heard of the old one's messages, so these are all from the new connection.
    for row in 1..400 {
        assert_eq!(observer.next("up").await.1, row.to_string(), "in order, each once");
    }
}

#[tokio::test]
async fn a_half_open_link_is_noticed_by_the_pings_and_nothing_is_lost() {
    let broker = Broker::open();
    let proxy = Proxy::new(broker.port).await;
    let mut observer = Observer::new(broker.port).await;
    let (handle, _task) = start(config(proxy.port));
    let mut relay = Relay::new(handle);
    for row in 0..200 {
        relay.add(row);
    }
    while relay.pending() > 100 {
        relay.step().await;
    }
    proxy.set(Mode::Blackhole);
    let since = Instant::now();
    for row in 200..400 {
        relay.add(row);
    }
    let status = relay.handle.status();
    while status.borrow().failures == 0 {
        relay.run_for(Duration::from_millis(50)).await;
    }
    assert!(since.elapsed() < Duration::from_secs(4), "two pings and a bit: {:?}", since.elapsed());
    // New connections are black holes too until the network is back.
    relay.run_for(Duration::from_secs(1)).await;
    proxy.set(Mode::Refuse);
    relay.run_for(Duration::from_millis(300)).await;
    proxy.set(Mode::Pass);
    relay.until_empty().await;
    all_arrive_in_order(&mut observer, 400).await;
}

#[tokio::test]
async fn links_that_break_again_and_again_keep_the_order() {
    let broker = Broker::open();
    let proxy = Proxy::new(broker.port).await;
    let mut observer = Observer::new(broker.port).await;
    let (handle, _task) = start(config(proxy.port));
    let mut relay = Relay::new(handle);
    for round in 0..10_u64 {
        for row in 0..200 {
            relay.add(round * 200 + row);
        }
        relay.run_for(Duration::from_millis(7 * round)).await;
        proxy.set(Mode::Refuse);
        relay.run_for(Duration::from_millis(30)).await;
        proxy.set(Mode::Pass);
    }
    relay.until_empty().await;
    all_arrive_in_order(&mut observer, 2000).await;
}

#[tokio::test]
async fn what_was_given_to_a_broken_connection_is_not_sent_on_the_next() {
    let broker = Broker::open();
    let proxy = Proxy::new(broker.port).await;
    let mut observer = Observer::new(broker.port).await;
    let (mut handle, _task) = start(config(proxy.port));
    connected(&mut handle).await;
    proxy.set(Mode::Refuse);
    disconnected(&mut handle).await;
    handle.publish(publish(1, "up", "stale")); // After Disconnected was received: the relay's own mistake.
    proxy.set(Mode::Pass);
    // Given while a new connection may be up, but before the relay knows of it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    handle.publish(publish(2, "up", "stale too"));
    connected(&mut handle).await;
    handle.publish(publish(3, "up", "fresh"));
    event("acked", &mut handle, |e| match e {
        Event::Acked { token } => Some(assert_eq!(token, 3)),
        _ => None,
    })
    .await;
    assert_eq!(observer.next("up").await.1, "fresh");
}

#[tokio::test]
async fn a_connection_that_is_asked_for_brings_what_was_not_acked_again_and_asking_late_breaks_nothing() {
    let broker = Broker::open();
    let observer = Observer::new(broker.port).await;
    let (mut handle, _task) = start(config(broker.port));
    connected(&mut handle).await;
    observer.publish("down/a", false, "precious").await;
    event("precious", &mut handle, |e| matches!(e, Event::Message { .. }).then_some(())).await;
    handle.reconnect("not stored");
    // The second connection is up, but this is still about the first.
    tokio::time::sleep(Duration::from_millis(500)).await;
    handle.reconnect("not stored");
    let why = event("why", &mut handle, |e| match e {
        Event::Down(why) => Some(why),
        _ => None,
    })
    .await;
    assert_eq!(why, "not stored");
    connected(&mut handle).await;
    let again = event("again", &mut handle, |e| match e {
        Event::Message { ack, payload, dup, .. } => Some((ack, payload, dup)),
        _ => None,
    })
    .await;
    assert_eq!((again.1, again.2), (Bytes::from_static(b"precious"), true));
    handle.ack(again.0);
    handle.publish(publish(1, "up", "still here"));
    event("acked", &mut handle, |e| match e {
        Event::Acked { token: 1 } => Some(()),
        Event::Disconnected => panic!("the connection broke"),
        _ => None,
    })
    .await;
    assert_eq!(handle.status().borrow().connects, 2);
}

#[tokio::test]
async fn nobody_there_is_said_and_the_link_comes_up_when_somebody_is() {
    let mut broker = Broker::open();
    broker.down();
    let (mut handle, _task) = start(config(broker.port));
    detail(&handle, "cannot be reached: Connection refused").await;
    assert!(!handle.status().borrow().connected);
    broker.up();
    connected(&mut handle).await;
    assert_eq!(handle.status().borrow().detail, "");
}

#[tokio::test]
async fn a_refused_password_is_said_and_a_new_one_is_read_at_the_next_attempt() {
    let directory = tempfile::tempdir().unwrap();
    let passwords = write(directory.path(), "passwords", "");
    let made = std::process::Command::new("mosquitto_passwd")
        .arg("-b")
        .arg(&passwords)
        .args(["lobby", "right"])
        .status();
    assert!(made.unwrap().success());
    let broker = Broker::with(&format!("allow_anonymous false\npassword_file {}", passwords.display()));
    let file = write(directory.path(), "password", "wrong\n");
    let mut config = config(broker.port);
    config.username = Some("lobby".into());
    config.password_file = Some(file.clone());
    let (mut handle, _task) = start(config);
    let said = detail(&handle, "not authorised").await;
    assert!(!said.contains("wrong"), "{said}");
    std::fs::remove_file(&file).unwrap();
    detail(&handle, "password: No such file").await;
    write(directory.path(), "password", "right\r\n");
    connected(&mut handle).await;
}

#[tokio::test]
async fn the_last_will_speaks_for_a_dead_gateway_and_not_for_one_that_left() {
    let broker = Broker::open();
    let proxy = Proxy::new(broker.port).await;
    let mut observer = Observer::new(broker.port).await;
    let mut config = config(proxy.port);
    config.will = Some(std::sync::Arc::new(|| Will {
        topic: "state".into(),
        payload: b"offline".to_vec(),
        retain: true,
    }));
    let (mut handle, task) = start(config);
    connected(&mut handle).await;
    proxy.set(Mode::Refuse);
    assert_eq!(observer.next("state").await.1, "offline");
    proxy.set(Mode::Pass);
    disconnected(&mut handle).await;
    connected(&mut handle).await;
    drop(handle);
    soon("end", task).await.unwrap();
    observer.publish("state", false, "observer").await;
    assert_eq!(observer.next("state").await.1, "observer");
}

#[tokio::test]
async fn a_dropped_handle_ends_a_link_in_every_state() {
    // Nobody there: waiting to try again.
    let (handle, task) = start(config(free_port()));
    detail(&handle, "cannot be reached").await;
    drop(handle);
    soon("end while waiting", task).await.unwrap();
    // Somebody there who never answers: in the middle of connecting.
    let silent = tokio::net::TcpListener::bind(loopback(0)).await.unwrap();
    let (handle, task) = start(config(silent.local_addr().unwrap().port()));
    let _accepted = silent.accept().await.unwrap();
    drop(handle);
    soon("end while connecting", task).await.unwrap();
}
