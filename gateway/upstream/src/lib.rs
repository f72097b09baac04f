//! Brokers behind the relay.
//!
//! [`Upstream`] is what every kind of broker link implements; [`Mqtt`] is MQTT 3.1.1 over TCP or TLS. The relay
//! holds a [`Handle`], the link runs with the matching [`Port`] in a task of its own:
//!
//! ```no_run
//! # async fn example(config: cardea_upstream::MqttConfig) {
//! use cardea_upstream::{Mqtt, Upstream};
//! let (mut handle, port) = cardea_upstream::link();
//! tokio::spawn(Mqtt::new(config).run(port));
//! while let Some(event) = handle.recv().await { /* … */ }
//! # }
//! ```
//!
//! The promise, whatever the broker and the network do: a [`Publish`] given after `Connected` is answered by
//! `Acked`, by `Refused`, or by the `Disconnected` of the same connection, and then it is forgotten here. The
//! relay's store is the only memory; this crate keeps no message across a connection. What it does not do:
//! know topics or envelopes, retry, or persist.

mod backoff;
mod mqtt;

use cardea_core::{Publish, UpstreamEvent};
use tokio::sync::{mpsc, watch};

pub use backoff::Backoff;
pub use mqtt::{Fault, Mqtt, MqttConfig, TlsFiles, Will};

/// Events that may wait for the relay before the link stops reading from the broker.
const EVENTS: usize = 1024;

/// A link to one broker: connects, reconnects, and reports, until its [`Handle`] is dropped.
pub trait Upstream: Send + 'static {
    /// Runs the link. Returns only after the handle was dropped, having said goodbye to the broker.
    fn run(self, port: Port) -> impl Future<Output = ()> + Send;
}

/// Makes both ends of a link.
#[must_use]
pub fn link() -> (Handle, Port) {
    let (command_tx, commands) = mpsc::unbounded_channel();
    let (events, event_rx) = mpsc::channel(EVENTS);
    let (status, status_rx) = watch::channel(Status::default());
    (
        Handle { commands: command_tx, events: event_rx, status: status_rx, epoch: 0 },
        Port { commands, events, status },
    )
}

/// The relay's end. Dropping it ends the link in good order.
///
/// What is given between a broken connection and the moment the relay learns of it belongs to the broken
/// connection: it carries that connection's number and is dropped with it, never sent on the next one, because
/// the relay publishes it again by itself.
#[derive(Debug)]
pub struct Handle {
    // Unbounded, so that the relay never waits for the broker; the relay's own window bounds what is in it.
    commands: mpsc::UnboundedSender<(u64, Command)>,
    events: mpsc::Receiver<(u64, UpstreamEvent)>,
    status: watch::Receiver<Status>,
    /// The connection of the last event that was received.
    epoch: u64,
}

impl Handle {
    /// The next event; `None` once the link has died. Cancel-safe.
    pub async fn recv(&mut self) -> Option<UpstreamEvent> {
        let (epoch, event) = self.events.recv().await?;
        self.epoch = epoch;
        Some(event)
    }

    /// The next event if one is waiting.
    pub fn try_recv(&mut self) -> Option<UpstreamEvent> {
        let (epoch, event) = self.events.try_recv().ok()?;
        self.epoch = epoch;
        Some(event)
    }

    /// Publishes with QoS 1, in the order of the calls. Never waits.
    pub fn publish(&self, publish: Publish) {
        // A dead link is told by `recv`.
        let _ = self.commands.send((self.epoch, Command::Publish(publish)));
    }

    /// Tells the broker that a message is safe. An ack of an earlier connection is ignored: the broker sends
    /// that message again.
    pub fn ack(&self, ack: u64) {
        let _ = self.commands.send((self.epoch, Command::Ack(ack)));
    }

    /// State of the link for the operator.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }
}

/// The link's end.
#[derive(Debug)]
pub struct Port {
    pub(crate) commands: mpsc::UnboundedReceiver<(u64, Command)>,
    pub(crate) events: mpsc::Sender<(u64, UpstreamEvent)>,
    pub(crate) status: watch::Sender<Status>,
}

/// What the relay asks for, tagged with the connection it was asked on.
#[derive(Debug)]
pub(crate) enum Command {
    Publish(Publish),
    Ack(u64),
}

/// State of a link for the operator; counters since the link was started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// True between `Connected` and `Disconnected`.
    pub connected: bool,
    /// One line: why not connected, or what does not work although connected; empty when all is well.
    pub detail: String,
    /// Connections made.
    pub connects: u64,
    /// Attempts that failed and connections that broke.
    pub failures: u64,
    /// Publishes acknowledged by the broker.
    pub acked: u64,
    /// Publishes that the broker will never take.
    pub refused: u64,
    /// Messages received.
    pub received: u64,
    /// Messages discarded because they were larger than allowed.
    pub oversized: u64,
}
