//! The words between the relay and the broker link.

use bytes::Bytes;

/// What the broker link tells the relay. Tokens and acks belong to one connection: whatever was in flight at
/// [`UpstreamEvent::Disconnected`] is forgotten by both sides and published again after the next
/// [`UpstreamEvent::Connected`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamEvent {
    /// Connected, and every filter of [`crate::Config::topics`] is subscribed.
    Connected,
    /// The connection is gone, with everything that was in flight.
    Disconnected,
    /// The broker took custody of a publish (PUBACK).
    Acked {
        /// [`Publish::token`].
        token: u64,
    },
    /// The broker will never take this publish (v5 reason code ≥ 0x80, larger than its limit, or the same
    /// head of line broke the connection repeatedly).
    Refused {
        /// [`Publish::token`].
        token: u64,
        /// For the log.
        reason: String,
    },
    /// A message for this gateway. The broker keeps it until [`crate::Action::Ack`].
    Message {
        /// To be returned in [`crate::Action::Ack`].
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

/// One message for the broker, always QoS 1. Publishes go out in the order in which they are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Unique over the relay's life; returned in [`UpstreamEvent::Acked`] or [`UpstreamEvent::Refused`].
    pub token: u64,
    /// Topic name.
    pub topic: String,
    /// Payload.
    pub payload: Bytes,
    /// The retain flag.
    pub retain: bool,
}
