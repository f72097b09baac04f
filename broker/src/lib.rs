//! An MQTT broker, for the gateway and for the platform alike.
//!
//! [`Mqtt`] is MQTT 3.1.1 over TCP or TLS. Its user holds a [`Handle`], the link runs with the matching [`Port`] in
//! a task of its own:
//!
//! ```no_run
//! # async fn example(config: cardea_broker::MqttConfig) {
//! use cardea_broker::Mqtt;
//! let (mut handle, port) = cardea_broker::link();
//! tokio::spawn(Mqtt::new(config).run(port));
//! while let Some(event) = handle.recv().await { /* … */ }
//! # }
//! ```
//!
//! The promise, whatever the broker and the network do: a [`Publish`] given after [`Event::Connected`] is answered
//! by [`Event::Acked`], by [`Event::Refused`], or by the [`Event::Disconnected`] of the same connection, and then
//! it is forgotten here. The user's own store is the only memory; this crate keeps no message across a connection.
//! What it does not do: know topics or envelopes, retry, or persist.

mod backoff;
mod mqtt;

use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

pub use backoff::Backoff;
pub use mqtt::{Cause, Fault, Mqtt, MqttConfig, Probe, Step, TlsFiles, Will, Wording, probe};

/// Events that may wait for the user before the link stops reading from the broker.
const EVENTS: usize = 1024;

/// One message for the broker, always QoS 1. Publishes go out in the order in which they are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// The user's own number for it; returned in [`Event::Acked`] or [`Event::Refused`].
    pub token: u64,
    /// Topic name.
    pub topic: String,
    /// Payload.
    pub payload: Bytes,
    /// The retain flag.
    pub retain: bool,
    /// Not handed to the network after this moment, but refused; `None`: always worth sending.
    pub not_after: Option<SystemTime>,
}

/// What happens on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Connected, and every filter was asked for.
    Connected(Hearing),
    /// The connection is gone, with everything that was in flight; [`Self::Down`] follows.
    Disconnected,
    /// An attempt failed or a connection broke; why, for people. The next attempt follows by itself.
    Down(String),
    /// The broker took custody of a publish (PUBACK).
    Acked {
        /// [`Publish::token`].
        token: u64,
    },
    /// This publish is never sent, or never again.
    Refused {
        /// [`Publish::token`].
        token: u64,
        /// For people.
        reason: String,
    },
    /// A message of the broker's, which keeps it until [`Handle::ack`].
    Message {
        /// For [`Handle::ack`].
        ack: u64,
        /// Topic name.
        topic: String,
        /// Payload.
        payload: Bytes,
        /// The broker's retain flag.
        retain: bool,
        /// The broker's duplicate flag.
        dup: bool,
    },
    /// The broker's round-trip time as measured from publish to PUBACK.
    Rtt {
        /// Milliseconds.
        ms: u32,
    },
}

/// What a new connection will be told by the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hearing {
    /// All that was asked for.
    All,
    /// The broker refuses a subscription; which, for people. A later connection may fare better.
    Refused(String),
    /// Nothing was subscribed, because the broker holds a message on a topic of ours that is too large to read, twice
    /// in a row; for people. The link tries again by itself after ten minutes.
    Deaf(String),
}

impl Hearing {
    /// What is amiss; empty when nothing is.
    fn detail(&self) -> &str {
        match self {
            Self::All => "",
            Self::Refused(detail) | Self::Deaf(detail) => detail,
        }
    }
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

/// The user's end. Dropping it ends the link in good order.
///
/// What is given between a broken connection and the moment the user learns of it belongs to the broken
/// connection: it carries that connection's number and is dropped with it, never sent on the next one, because
/// the user publishes it again.
#[derive(Debug)]
pub struct Handle {
    // Unbounded, so that nobody waits for the broker; the user's own window bounds what is in it.
    commands: mpsc::UnboundedSender<(u64, Command)>,
    events: mpsc::Receiver<(u64, Event)>,
    status: watch::Receiver<Status>,
    /// The connection of the last event that was received.
    epoch: u64,
}

impl Handle {
    /// The next event; `None` once the link has died. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Event> {
        let (epoch, event) = self.events.recv().await?;
        self.epoch = epoch;
        Some(event)
    }

    /// The next event if one is waiting.
    pub fn try_recv(&mut self) -> Option<Event> {
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

    /// Breaks the connection of the last event and makes another after the usual wait, so that the broker sends again
    /// what was not acknowledged. Ignored if that connection is gone already. `why` becomes [`Status::detail`].
    pub fn reconnect(&self, why: impl Into<String>) {
        let _ = self.commands.send((self.epoch, Command::Reconnect(why.into())));
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
    /// Numbered with the connection they were given on; `None` once the handle was dropped.
    pub commands: mpsc::UnboundedReceiver<(u64, Command)>,
    /// Numbered with the connection they happened on, from 1.
    pub events: mpsc::Sender<(u64, Event)>,
    /// For [`Handle::status`].
    pub status: watch::Sender<Status>,
}

/// What a [`Handle`] asks of its link.
#[derive(Debug)]
pub enum Command {
    /// [`Handle::publish`].
    Publish(Publish),
    /// [`Handle::ack`].
    Ack(u64),
    /// [`Handle::reconnect`].
    Reconnect(String),
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
