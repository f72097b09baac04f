//! An embedded MQTT broker on loopback, by `rumqttd`. For the simulator only.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rumqttd::{Config, ConnectionSettings, Notification, RouterConfig, ServerSettings};

/// A running broker. It lives until the process ends: `rumqttd` has no way to stop it.
pub struct Broker {
    port: u16,
    seen: Arc<Mutex<Vec<Message>>>,
}

/// A message that went through the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Topic name.
    pub topic: String,
    /// As published.
    pub payload: Vec<u8>,
}

impl Broker {
    /// Starts a broker on 127.0.0.1; `port` 0 takes a free one.
    ///
    /// # Errors
    /// The port is taken, or the broker does not answer within ten seconds.
    pub fn start(port: u16) -> io::Result<Self> {
        // Found here and opened by rumqttd a moment later: it cannot be given a socket.
        let listen = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.local_addr()?;
        let mut broker = rumqttd::Broker::new(config(listen));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let other = |error: rumqttd::local::LinkError| io::Error::other(error.to_string());
        let (mut requests, mut notifications) = broker.link("spy").map_err(other)?;
        requests.subscribe("#").map_err(other)?;
        let remembered = seen.clone();
        thread::Builder::new().name("broker-spy".into()).spawn(move || {
            // Keeps the request side alive; without it the router drops the link.
            let _requests = requests;
            loop {
                match notifications.recv() {
                    Ok(Some(Notification::Forward(forward))) => {
                        let topic = String::from_utf8_lossy(&forward.publish.topic).into_owned();
                        let message = Message { topic, payload: forward.publish.payload.to_vec() };
                        remembered.lock().unwrap_or_else(PoisonError::into_inner).push(message);
                    }
                    Ok(Some(Notification::Unschedule)) => {
                        if notifications.ready().is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        })?;
        thread::Builder::new().name("broker".into()).spawn(move || {
            if let Err(error) = broker.start() {
                tracing::error!(%error, "embedded broker");
            }
        })?;
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(listen).is_err() {
            if Instant::now() > end {
                return Err(io::Error::other("the embedded broker does not answer"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { port: listen.port(), seen })
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Everything that went through it so far, in order.
    #[must_use]
    pub fn seen(&self) -> Vec<Message> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The messages whose topic ends like this.
    #[must_use]
    pub fn seen_on(&self, suffix: &str) -> Vec<Message> {
        let mut seen = self.seen();
        seen.retain(|message| message.topic.ends_with(suffix));
        seen
    }
}

fn config(listen: SocketAddr) -> Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: 10_000,
        max_payload_size: 1 << 20,
        max_inflight_count: 200,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings {
        name: "cardea-demo".into(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    let router = RouterConfig {
        max_connections: 1_000,
        max_outgoing_packet_count: 200,
        max_segment_size: 1 << 20,
        max_segment_count: 10,
        ..RouterConfig::default()
    };
    Config { id: 0, router, v4: Some(HashMap::from([("1".into(), server)])), ..Config::default() }
}
