//! What the tests of the broker link share: a link that is quick to notice, and a user that holds it to its promise.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unit_arg,
    reason = "helpers of tests fail the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cardea_broker::{Backoff, Event, Handle, Mqtt, MqttConfig, Publish};
use cardea_tests::soon;
use tokio::task::JoinHandle;

/// A configuration for tests: quick to notice, quick to try again.
pub(crate) fn config(port: u16) -> MqttConfig {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let id = format!("gateway-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let mut config = MqttConfig::new("127.0.0.1", port, id);
    config.keepalive = Duration::from_secs(1);
    config.timeout = Duration::from_secs(2);
    config.backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));
    config.filters = vec!["down/#".into()];
    config
}

pub(crate) fn start(config: MqttConfig) -> (Handle, JoinHandle<()>) {
    let (handle, port) = cardea_broker::link();
    (handle, tokio::spawn(Mqtt::new(config).run(port)))
}

pub(crate) fn publish(token: u64, topic: &str, payload: &str) -> Publish {
    Publish {
        token,
        topic: topic.into(),
        payload: Bytes::from(payload.to_owned()),
        retain: false,
        not_after: None,
    }
}

/// Waits for an event that `want` takes.
pub(crate) async fn event<T>(what: &str, handle: &mut Handle, mut want: impl FnMut(Event) -> Option<T>) -> T {
    soon(what, async {
        loop {
            if let Some(found) = want(handle.recv().await.expect("the link lives")) {
                return found;
            }
        }
    })
    .await
}

pub(crate) async fn connected(handle: &mut Handle) {
    event("connected", handle, |e| matches!(e, Event::Connected(_)).then_some(())).await;
}

pub(crate) async fn disconnected(handle: &mut Handle) {
    event("disconnected", handle, |e| (e == Event::Disconnected).then_some(())).await;
}

/// Waits until the operator is told something with these words.
pub(crate) async fn detail(handle: &Handle, words: &str) -> String {
    let mut status = handle.status();
    match tokio::time::timeout(Duration::from_secs(20), status.wait_for(|s| s.detail.contains(words))).await {
        Ok(status) => status.unwrap().detail.clone(),
        Err(_) => panic!("wanted {words:?}, the operator is told {:?}", handle.status().borrow().detail),
    }
}

/// A relay reduced to its promise: numbered rows, published in order, again after each `Connected`, until acked.
pub(crate) struct Relay {
    pub(crate) handle: Handle,
    rows: BTreeMap<u64, String>,
    /// Rows of the tokens in flight on this connection.
    flying: BTreeMap<u64, u64>,
    connected: bool,
    next_token: u64,
    /// With more than one, row n belongs to lock n modulo this and goes to that lock's topic.
    pub(crate) locks: u64,
    pub(crate) connects: u32,
    pub(crate) refused: BTreeSet<u64>,
}

impl Relay {
    pub(crate) fn new(handle: Handle) -> Self {
        Self {
            handle,
            rows: BTreeMap::new(),
            flying: BTreeMap::new(),
            connected: false,
            next_token: 0,
            locks: 1,
            connects: 0,
            refused: BTreeSet::new(),
        }
    }

    pub(crate) fn add(&mut self, row: u64) {
        self.rows.insert(row, row.to_string());
        if self.connected {
            self.send(row);
        }
    }

    fn send(&mut self, row: u64) {
        self.next_token += 1;
        self.flying.insert(self.next_token, row);
        let topic = if self.locks == 1 { "up".into() } else { format!("lock/{}/up", row % self.locks) };
        self.handle.publish(publish(self.next_token, &topic, &row.to_string()));
    }

    pub(crate) fn pending(&self) -> usize {
        self.rows.len()
    }

    fn settle(&mut self, token: u64) -> u64 {
        let row = self.flying.remove(&token).expect("answers come on the connection of the publish, once");
        self.rows.remove(&row).expect("a row is settled once");
        row
    }

    pub(crate) async fn step(&mut self) {
        match soon("the link says something", self.handle.recv()).await.expect("the link lives") {
            Event::Connected(_) => {
                assert!(!self.connected);
                self.connected = true;
                self.connects += 1;
                for row in self.rows.keys().copied().collect::<Vec<_>>() {
                    self.send(row);
                }
            }
            Event::Disconnected => {
                assert!(self.connected);
                self.connected = false;
                self.flying.clear();
            }
            Event::Acked { token } => drop(self.settle(token)),
            Event::Refused { token, .. } => {
                let row = self.settle(token);
                self.refused.insert(row);
            }
            Event::Message { ack, .. } => self.handle.ack(ack),
            Event::Rtt { .. } | Event::Down(_) => {}
        }
    }

    pub(crate) async fn until_empty(&mut self) {
        while !self.rows.is_empty() {
            self.step().await;
        }
    }

    /// Runs for a while.
    pub(crate) async fn run_for(&mut self, time: Duration) {
        let end = tokio::time::sleep(time);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return,
                () = self.step() => {}
            }
        }
    }
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
