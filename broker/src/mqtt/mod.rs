//! MQTT 3.1.1 by `rumqttc`, with everything that it is known to lose or wedge on closed from outside.
//!
//! `rumqttc` keeps what was in flight, and its whole request channel, across connections, forgets both when the
//! broker lost the session, keeps a packet-id collision for ever, and reads credentials once. So every
//! connection here gets a client of its own, made from the configuration files as they are at that moment, and
//! takes everything down with it: there is no queue that an earlier connection could have left something in.
//!
//! One task drives a connection ([`connection`]); it never waits for its own request channel, and the future
//! that polls the client is never dropped half-way, because a packet that is being written would then count as
//! sent without being sent.

mod connection;
mod fault;
mod flight;
mod options;
mod probe;
mod tls;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::{Backoff, Event, Port};
use connection::{Connection, Ended};
pub use fault::Fault;
use flight::Suspicion;
pub use probe::{Cause, Probe, Step, probe};

/// How to reach a broker, and as whom.
#[derive(Clone)]
pub struct MqttConfig {
    /// Host name or IP address. With TLS the certificate must carry it.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS, with these files.
    pub tls: Option<TlsFiles>,
    /// MQTT client id; must be nobody else's, and not empty (the session is persistent).
    pub client_id: String,
    /// User name.
    pub username: Option<String>,
    /// File with the password, read anew at each connect.
    pub password_file: Option<PathBuf>,
    /// The password itself, in place of that file.
    pub password: Option<Zeroizing<String>>,
    /// Between pings, at least a second. Silence is noticed within twice this time.
    pub keepalive: Duration,
    /// Largest packet that is sent or handed over, bytes.
    pub max_packet: usize,
    /// Packets between the bound above and this one are read, discarded and acknowledged; larger ones break the
    /// connection, and the broker's session with all that it had queued. Bytes; never less than four times
    /// `max_packet`.
    pub read_limit: usize,
    /// Publishes that may be unacknowledged at once.
    pub inflight: u16,
    /// What to subscribe to, QoS 1, in one SUBSCRIBE after each CONNACK.
    pub filters: Vec<String>,
    /// Only what is said while the connection lasts: the broker is asked to keep no session and to queue nothing (clean session, and the
    /// subscriptions are QoS 0). For what must not come late.
    pub live_only: bool,
    /// The last will, made anew at each connect.
    pub will: Option<Arc<dyn Fn() -> Will + Send + Sync>>,
    /// Longest wait for TCP, TLS and CONNACK together, for a write, and for the SUBACK. Whole seconds.
    pub timeout: Duration,
    /// Between attempts.
    pub backoff: Backoff,
    /// For logs and the status.
    pub wording: Wording,
}

/// How a link speaks of its user to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wording {
    /// What this is: `gateway`.
    pub me: &'static str,
    /// What does not arrive without a subscription: `commands`.
    pub inbound: &'static str,
}

/// PEM files of a TLS connection, read anew at each connect.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// Authorities that may certify the broker; the system's own when `None`.
    pub ca: Option<PathBuf>,
    /// Client certificate chain and its private key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// A last will, QoS 1.
#[derive(Debug, Clone)]
pub struct Will {
    /// Topic name.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// The retain flag.
    pub retain: bool,
}

impl MqttConfig {
    /// Plain TCP with the usual bounds; everything else is to be set on the result.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16, client_id: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port,
            tls: None,
            client_id: client_id.into(),
            username: None,
            password_file: None,
            password: None,
            keepalive: Duration::from_secs(30),
            max_packet: 256 * 1024,
            read_limit: 1024 * 1024,
            inflight: 100,
            filters: Vec::new(),
            live_only: false,
            will: None,
            timeout: Duration::from_secs(10),
            backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(60)),
            wording: Wording { me: "client", inbound: "messages" },
        }
    }

    /// Reads every file as a connection would, and says what does not fit. Blocks.
    ///
    /// # Errors
    /// [`Fault::File`], [`Fault::Tls`].
    pub fn check(&self) -> Result<(), Fault> {
        options::Files::read(self.tls.as_ref(), self.password_file.as_deref()).map(drop)
    }

    /// `host:port` as it is shown to people.
    fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// A connection that lasted this long was a good one: the next attempt follows at once.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);

/// How long no subscription is made after the broker sent, twice, more than can be read.
const DEAF: Duration = Duration::from_secs(600);

/// A link to an MQTT broker: connects, reconnects, and reports, until its [`Handle`](crate::Handle) is dropped.
pub struct Mqtt {
    config: MqttConfig,
    suspicion: Suspicion,
    session: Session,
    /// Number of the current connection; 0 is none.
    epoch: u64,
}

/// What to do about the session that the broker keeps for us.
///
/// A message larger than can be read cannot be skipped: it breaks the connection, and the broker offers it again
/// on the next. First its queue is thrown away with the session; if that does not help, the message is retained
/// on a topic of ours, and for a while we do without hearing rather than without speaking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Session {
    /// Keep it: the usual case.
    Keep,
    /// Connect once to have it thrown away.
    Purge,
    /// It was thrown away a moment ago.
    Purged { at: Instant },
    /// Do not subscribe until then.
    Deaf { until: Instant },
}

impl Session {
    /// What follows a connection that an oversized message broke.
    fn after_oversized(self, now: Instant) -> Self {
        match self {
            Self::Purged { at } if now < at + Duration::from_secs(60) => Self::Deaf { until: now + DEAF },
            _ => Self::Purge,
        }
    }
}

impl Mqtt {
    /// A link that is not running yet.
    #[must_use]
    pub fn new(config: MqttConfig) -> Self {
        Self { config, suspicion: Suspicion::default(), session: Session::Keep, epoch: 0 }
    }

    /// Runs the link. Returns only after the handle was dropped, having said goodbye to the broker.
    pub async fn run(mut self, mut port: Port) {
        let mut backoff = self.config.backoff.clone();
        loop {
            self.epoch += 1;
            let started = Instant::now();
            let connection = Connection::new(&self.config, self.epoch, self.session, &mut self.suspicion);
            let fault = match connection.run(&mut port).await {
                Ended::Stopped => return,
                Ended::Purged => {
                    let lost = format!(
                        "what the broker had queued for this {} was thrown away because of a message too large to read",
                        self.config.wording.me
                    );
                    tracing::error!(broker = self.config.address(), lost, "oversized message");
                    if port.events.send((self.epoch, Event::Down(lost))).await.is_err() {
                        return;
                    }
                    self.session = Session::Purged { at: Instant::now() };
                    continue;
                }
                Ended::HeardAgain => {
                    self.session = Session::Keep;
                    continue;
                }
                Ended::Broken(fault) => fault,
            };
            if started.elapsed() >= GOOD_CONNECTION {
                backoff.reset();
            }
            if let Fault::Oversized { .. } = fault {
                self.session = self.session.after_oversized(Instant::now());
            }
            let wait = backoff.wait();
            tracing::warn!(broker = self.config.address(), %fault, retry_ms = wait.as_millis() as u64, "broker link down");
            port.status.send_modify(|status| {
                status.connected = false;
                status.failures += 1;
                status.detail = fault.to_string();
            });
            if port.events.send((self.epoch, Event::Down(fault.to_string()))).await.is_err() {
                return;
            }
            if wait_or_stop(&mut port, wait).await {
                return;
            }
        }
    }
}

/// Lets the time pass, dropping what was meant for the broken connection. True when the handle is gone.
async fn wait_or_stop(port: &mut Port, wait: Duration) -> bool {
    let sleep = tokio::time::sleep(wait);
    tokio::pin!(sleep);
    loop {
        tokio::select! {
            () = &mut sleep => return false,
            command = port.commands.recv() => if command.is_none() { return true },
        }
    }
}
