//! The relay of a Cardea gateway, sans-IO.
//!
//! Between radio drivers, a broker and a durable store; it owns no socket, no file, no clock and no randomness.

mod upstream;

pub use upstream::{Publish, UpstreamEvent};
