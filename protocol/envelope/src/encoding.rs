//! JSON or CBOR, one choice per link to a broker.

use serde::{Serialize, de::DeserializeOwned};

/// How payloads are written on this link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// RFC 8259.
    #[default]
    Json,
    /// RFC 8949.
    Cbor,
}

/// A payload that is not what its topic promises; the sender is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not well-formed, a member missing, or of the wrong type or length.
    #[error("malformed payload: {0}")]
    Malformed(String),
}

impl Encoding {
    /// Serialises a message. Messages of this crate always serialise; the result is empty only if the
    /// allocator or a foreign `Serialize` implementation fails.
    #[must_use]
    pub fn encode<T: Serialize>(self, message: &T) -> Vec<u8> {
        match self {
            Self::Json => serde_json::to_vec(message).unwrap_or_default(),
            Self::Cbor => {
                let mut out = Vec::new();
                match ciborium::into_writer(message, &mut out) {
                    Ok(()) => out,
                    Err(_) => Vec::new(),
                }
            }
        }
    }

    /// Parses one whole payload; trailing bytes are refused.
    ///
    /// # Errors
    /// [`Error::Malformed`] says what is wrong, never repeats the payload.
    pub fn decode<T: DeserializeOwned>(self, payload: &[u8]) -> Result<T, Error> {
        match self {
            Self::Json => serde_json::from_slice(payload).map_err(|e| Error::Malformed(e.to_string())),
            Self::Cbor => {
                let mut rest = payload;
                // The recursion limit bounds the stack against nested arrays.
                let message = ciborium::de::from_reader_with_recursion_limit(&mut rest, 16)
                    .map_err(|e| Error::Malformed(e.to_string()))?;
                if rest.is_empty() { Ok(message) } else { Err(Error::Malformed("trailing bytes".into())) }
            }
        }
    }
}
