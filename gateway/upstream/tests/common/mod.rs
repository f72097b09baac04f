//! What the tests of the broker link share: a real mosquitto, a proxy that misbehaves, a broker that can be told
//! what to answer, and a relay that holds the link to its promise.

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
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cardea_core::{Publish, UpstreamEvent};
use cardea_upstream::{Backoff, Handle, Mqtt, MqttConfig, Upstream};
use rumqttc::mqttbytes::v4::{ConnAck, ConnectReturnCode, Packet, PubAck, SubAck, SubscribeReasonCode};
use rumqttc::{AsyncClient, Event, MqttOptions, QoS};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Fails the test if this takes longer than anything here should.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(30), future).await {
        Ok(value) => value,
        Err(_) => panic!("timed out: {what}"),
    }
}

/// A mosquitto of our own on a loopback port, without persistence.
pub(crate) struct Broker {
    pub(crate) port: u16,
    directory: tempfile::TempDir,
    extra: String,
    child: Option<Child>,
}

impl Broker {
    /// `extra` are lines of mosquitto.conf for the one listener.
    pub(crate) async fn start(extra: &str) -> Self {
        let mut broker = Self {
            port: free_port(),
            directory: tempfile::tempdir().unwrap(),
            extra: extra.into(),
            child: None,
        };
        broker.up().await;
        broker
    }

    pub(crate) async fn open() -> Self {
        Self::start("allow_anonymous true").await
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Starts it again on the same port; it remembers nothing.
    pub(crate) async fn up(&mut self) {
        let config = self.path().join("mosquitto.conf");
        let mut text =
            format!("listener {} 127.0.0.1\npersistence false\nlog_dest none\nuser root\n", self.port);
        let _ = writeln!(text, "{}", self.extra);
        std::fs::write(&config, text).unwrap();
        let mosquitto = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"];
        let mosquitto = mosquitto.iter().find(|p| Path::new(p).exists()).copied().unwrap_or("mosquitto");
        let child = Command::new(mosquitto)
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto is installed");
        self.child = Some(child);
        soon("mosquitto listens", async {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What an observer saw: topic, payload, retain flag.
pub(crate) type Seen = (String, Bytes, bool);

/// A plain client that sees everything a broker carries.
pub(crate) struct Observer {
    pub(crate) client: AsyncClient,
    pub(crate) seen: mpsc::UnboundedReceiver<Seen>,
    task: JoinHandle<()>,
}

impl Observer {
    pub(crate) async fn new(port: u16) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("observer-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut options = MqttOptions::new(id, "127.0.0.1", port);
        options.set_max_packet_size(8 << 20, 8 << 20);
        let (client, mut eventloop) = AsyncClient::new(options, 100);
        let (tx, seen) = mpsc::unbounded_channel();
        let (ready_tx, mut ready) = watch::channel(false);
        let subscriber = client.clone();
        let task = tokio::spawn(async move {
            loop {
                match eventloop.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        subscriber.try_subscribe("#", QoS::AtLeastOnce).unwrap();
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => drop(ready_tx.send(true)),
                    Ok(Event::Incoming(Packet::Publish(p))) => drop(tx.send((p.topic, p.payload, p.retain))),
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        });
        soon("the observer is subscribed", ready.wait_for(|r| *r)).await.unwrap();
        Self { client, seen, task }
    }

    pub(crate) async fn publish(&self, topic: &str, retain: bool, payload: impl Into<Vec<u8>>) {
        self.client.publish(topic, QoS::AtLeastOnce, retain, payload).await.unwrap();
    }

    /// The next message on this topic.
    pub(crate) async fn next(&mut self, topic: &str) -> Seen {
        soon(topic, async {
            loop {
                let seen = self.seen.recv().await.unwrap();
                if seen.0 == topic {
                    return seen;
                }
            }
        })
        .await
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a [`Proxy`] does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Passes both ways.
    Pass,
    /// Keeps the connection and passes nothing: a half-open link.
    Blackhole,
    /// Passes what the client says and nothing the broker says.
    DeafClient,
    /// Closes what there is and refuses what comes.
    Refuse,
}

/// A TCP proxy in front of a broker.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    mode: watch::Sender<Mode>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn new(upstream: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mode, modes) = watch::channel(Mode::Pass);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if *modes.borrow() == Mode::Refuse {
                    continue;
                }
                let modes = modes.clone();
                tokio::spawn(async move {
                    let Ok(broker) = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)).await else {
                        return;
                    };
                    let (client_rx, client_tx) = client.into_split();
                    let (broker_rx, broker_tx) = broker.into_split();
                    tokio::select! {
                        () = pipe(client_rx, broker_tx, modes.clone(), true) => {}
                        () = pipe(broker_rx, client_tx, modes, false) => {}
                    }
                });
            }
        });
        Self { port, mode, task }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pipe(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    modes: watch::Receiver<Mode>,
    from_client: bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut refused = modes.clone();
    let mut dropped = false;
    loop {
        let read = tokio::select! {
            () = until_refused(&mut refused) => return,
            read = from.read(&mut buffer) => read,
        };
        let mode = *modes.borrow();
        let Ok(len @ 1..) = read else {
            // A half-open link does not tell that the other side is gone either.
            if mode == Mode::Blackhole {
                until_refused(&mut refused).await;
            }
            return;
        };
        let pass = match mode {
            Mode::Pass => true,
            Mode::DeafClient => from_client,
            Mode::Blackhole => false,
            Mode::Refuse => return,
        };
        // A stream with a hole in it must not go on: no network does that.
        dropped |= !pass;
        if !dropped && to.write_all(&buffer[..len]).await.is_err() {
            return;
        }
    }
}

async fn until_refused(modes: &mut watch::Receiver<Mode>) {
    let _ = modes.wait_for(|m| *m == Mode::Refuse).await;
}

/// What a [`FakeBroker`] answers.
pub(crate) enum Answer {
    Send(Vec<Packet>),
    Close,
}

/// A broker whose answers are a function of what it hears; `connection` counts from 0.
pub(crate) struct FakeBroker {
    pub(crate) port: u16,
    pub(crate) connections: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl FakeBroker {
    pub(crate) async fn new(answer: impl FnMut(u64, &Packet) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicU64::new(0));
        let count = connections.clone();
        let task = tokio::spawn(async move {
            let mut answer = answer;
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let connection = count.fetch_add(1, Ordering::Relaxed);
                let mut buffer = BytesMut::new();
                'connection: loop {
                    while let Ok(packet) = Packet::read(&mut buffer, 1 << 20) {
                        let Answer::Send(packets) = answer(connection, &packet) else { break 'connection };
                        let mut out = BytesMut::new();
                        for packet in packets {
                            packet.write(&mut out, 1 << 20).unwrap();
                        }
                        if socket.write_all(&out).await.is_err() {
                            break 'connection;
                        }
                    }
                    if !matches!(socket.read_buf(&mut buffer).await, Ok(1..)) {
                        break;
                    }
                }
            }
        });
        Self { port, connections, task }
    }
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a well-behaved broker answers.
pub(crate) fn usual(packet: &Packet) -> Answer {
    Answer::Send(match packet {
        Packet::Connect(_) => {
            vec![Packet::ConnAck(ConnAck { session_present: true, code: ConnectReturnCode::Success })]
        }
        Packet::Subscribe(s) => {
            let codes = s.filters.iter().map(|_| SubscribeReasonCode::Success(QoS::AtLeastOnce)).collect();
            vec![Packet::SubAck(SubAck::new(s.pkid, codes))]
        }
        Packet::Publish(p) => vec![Packet::PubAck(PubAck::new(p.pkid))],
        Packet::PingReq => vec![Packet::PingResp],
        Packet::Disconnect => return Answer::Close,
        _ => Vec::new(),
    })
}

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
    let (handle, port) = cardea_upstream::link();
    (handle, tokio::spawn(Mqtt::new(config).run(port)))
}

pub(crate) fn publish(token: u64, topic: &str, payload: &str) -> Publish {
    Publish { token, topic: topic.into(), payload: Bytes::from(payload.to_owned()), retain: false }
}

/// Waits for an event that `want` takes.
pub(crate) async fn event<T>(
    what: &str,
    handle: &mut Handle,
    mut want: impl FnMut(UpstreamEvent) -> Option<T>,
) -> T {
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
    event("connected", handle, |e| (e == UpstreamEvent::Connected).then_some(())).await;
}

pub(crate) async fn disconnected(handle: &mut Handle) {
    event("disconnected", handle, |e| (e == UpstreamEvent::Disconnected).then_some(())).await;
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
            UpstreamEvent::Connected => {
                assert!(!self.connected);
                self.connected = true;
                self.connects += 1;
                for row in self.rows.keys().copied().collect::<Vec<_>>() {
                    self.send(row);
                }
            }
            UpstreamEvent::Disconnected => {
                assert!(self.connected);
                self.connected = false;
                self.flying.clear();
            }
            UpstreamEvent::Acked { token } => drop(self.settle(token)),
            UpstreamEvent::Refused { token, .. } => {
                let row = self.settle(token);
                self.refused.insert(row);
            }
            UpstreamEvent::Message { ack, .. } => self.handle.ack(ack),
            UpstreamEvent::Rtt { .. } => {}
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

pub(crate) fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path
}
