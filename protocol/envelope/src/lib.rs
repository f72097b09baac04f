//! What travels between a gateway and its owner's platform over any broker: topics, envelopes, results.
//!
//! One definition for both ends. The gateway's relay, the platform SDK, the simulator and the tests use these
//! types; `docs/asyncapi.json` describes them and a test holds the two together. Sealed data inside an
//! envelope is opaque bytes here: this crate parses no frame and holds no key.
//!
//! JSON is the default encoding; CBOR (RFC 8949) carries the same maps with byte strings in place of
//! hexadecimal and base64 text. Unknown members are ignored, so that a later version may add some; a missing
//! member, a wrong type or another `v` is an [`Error`].

mod encoding;
mod ids;
mod messages;
mod topics;

pub use encoding::{Encoding, Error};
pub use ids::{Data, Epoch, MessageId};
pub use messages::*;
pub use topics::{DEFAULT_PREFIX, PlatformTopics, Topic, TopicError, Topics};

/// The envelope version this crate speaks.
pub const VERSION: u8 = 1;

/// Largest sealed datagram an envelope may carry, in bytes (the gateway's reassembly limit).
pub const MAX_DATA: usize = 4096;

#[cfg(test)]
mod tests;
