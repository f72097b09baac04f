//! Brokers behind the relay.
//!
//! [`Upstream`] is what every kind of broker link implements; [`Mqtt`] is the one there is, from `cardea-broker`,
//! which the platform uses as well. [`Handle`] is the relay's end: a link in the words of [`cardea_core`].
//!
//! ```no_run
//! # async fn example(config: cardea_upstream::MqttConfig) {
//! use cardea_upstream::{Mqtt, Upstream};
//! let (mut handle, port) = cardea_upstream::link();
//! tokio::spawn(Upstream::run(Mqtt::new(config), port));
//! while let Some(event) = handle.recv().await { /* … */ }
//! # }
//! ```
//!
//! What it does not do: know topics or envelopes, retry, or persist. The relay's store is the only memory.

use cardea_broker::Event;
use cardea_core::{Publish, UpstreamEvent};
use tokio::sync::watch;

pub use cardea_broker::{Backoff, Command, Fault, Mqtt, MqttConfig, Port, Status, TlsFiles, Will, Wording};

/// A link to one broker: connects, reconnects, and reports, until its [`Handle`] is dropped.
pub trait Upstream: Send + 'static {
    /// Runs the link. Returns only after the handle was dropped, having said goodbye to the broker.
    fn run(self, port: Port) -> impl Future<Output = ()> + Send;
}

impl Upstream for Mqtt {
    fn run(self, port: Port) -> impl Future<Output = ()> + Send {
        Self::run(self, port)
    }
}

/// Makes both ends of a link.
#[must_use]
pub fn link() -> (Handle, Port) {
    let (handle, port) = cardea_broker::link();
    (Handle(handle), port)
}

/// The relay's end: a [`cardea_broker::Handle`], with whose promises it comes. Topics and payloads are moved through
/// it, never copied.
#[derive(Debug)]
pub struct Handle(cardea_broker::Handle);

impl Handle {
    /// The next event; `None` once the link has died. Cancel-safe.
    pub async fn recv(&mut self) -> Option<UpstreamEvent> {
        loop {
            if let Some(event) = for_the_relay(self.0.recv().await?) {
                return Some(event);
            }
        }
    }

    /// The next event if one is waiting.
    pub fn try_recv(&mut self) -> Option<UpstreamEvent> {
        loop {
            if let Some(event) = for_the_relay(self.0.try_recv()?) {
                return Some(event);
            }
        }
    }

    /// Publishes with QoS 1, in the order of the calls. Never waits.
    pub fn publish(&self, publish: Publish) {
        let Publish { token, topic, payload, retain } = publish;
        // The relay's outbox decides what is still worth sending.
        self.0.publish(cardea_broker::Publish { token, topic, payload, retain, not_after: None });
    }

    /// Tells the broker that a message is safe. An ack of an earlier connection is ignored: the broker sends
    /// that message again.
    pub fn ack(&self, ack: u64) {
        self.0.ack(ack);
    }

    /// State of the link for the operator.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.0.status()
    }
}

/// `None`: the relay does not need to know, the status has told the operator.
fn for_the_relay(event: Event) -> Option<UpstreamEvent> {
    Some(match event {
        // Without commands uplinks still go: half a gateway with a loud complaint, in the status, is better than none.
        Event::Connected(_) => UpstreamEvent::Connected,
        Event::Disconnected => UpstreamEvent::Disconnected,
        Event::Down(_) => return None,
        Event::Acked { token } => UpstreamEvent::Acked { token },
        Event::Refused { token, reason } => UpstreamEvent::Refused { token, reason },
        Event::Message { ack, topic, payload, retain, dup } => {
            UpstreamEvent::Message { ack, topic, payload, retain, dup }
        }
        Event::Rtt { ms } => UpstreamEvent::Rtt { ms },
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// What the relay gives and gets is moved, on the way up and on the way down.
    #[tokio::test]
    async fn payloads_pass_both_ways_without_a_copy_and_a_failed_attempt_is_no_event() {
        let (mut handle, mut port) = link();
        let up = Bytes::from(vec![1; 100]);
        let at = up.as_ptr();
        handle.publish(Publish { token: 1, topic: "up".into(), payload: up, retain: true });
        let Some((0, Command::Publish(given))) = port.commands.recv().await else { panic!("a publish") };
        assert_eq!((given.payload.as_ptr(), given.token, given.retain, given.not_after), (at, 1, true, None));

        port.events.send((1, Event::Down("nobody there".into()))).await.unwrap();
        let message =
            Event::Message { ack: 7, topic: "down".into(), payload: given.payload, retain: false, dup: true };
        port.events.send((1, message)).await.unwrap();
        let Some(UpstreamEvent::Message { ack, topic, payload, retain, dup }) = handle.try_recv() else {
            panic!("a message")
        };
        assert_eq!((ack, topic.as_str(), payload.as_ptr(), retain, dup), (7, "down", at, false, true));
        handle.ack(ack);
        assert!(matches!(port.commands.recv().await, Some((1, Command::Ack(7)))));
    }
}
