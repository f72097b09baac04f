//! A phone beside the gateway: a connection to the control socket that has become one of a peer.
//!
//! After [`Request::Attach`](crate::Request::Attach) and its answer each line either way is about datagrams of the peer
//! kinds: the phone's are [`PeerLine`]s, the daemon's [`PeerEvent`]s, in no fixed order. The address lives as long as the
//! connection. The gateway reads the first three bytes of a datagram, and none of the rest.

use serde::{Deserialize, Serialize};

use crate::{MAX_REQUEST, RequestError, request};

/// What an attached phone writes: one datagram, its first bytes the header and the address of the lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerLine {
    /// Lower-case hexadecimal.
    #[serde(with = "hexadecimal")]
    pub data: Vec<u8>,
}

impl PeerLine {
    /// Reads one line, with or without its newline.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn parse(line: &[u8]) -> Result<Self, RequestError> {
        if line.len() > MAX_REQUEST { Err(RequestError::TooLong) } else { request(line) }
    }
}

/// What an attached phone reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum PeerEvent {
    /// A datagram for it, with the address of its source.
    Datagram {
        /// Lower-case hexadecimal.
        #[serde(with = "hexadecimal")]
        data: Vec<u8>,
    },
    /// What it said last goes nowhere.
    Refused {
        /// Why.
        error: String,
    },
}

mod hexadecimal {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        hex::decode(String::deserialize(from)?).map_err(|_| de::Error::custom("not hexadecimal"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_hexadecimal_and_nothing_else() {
        let line = PeerLine { data: vec![0x18, 0, 5, 0xff] };
        assert_eq!(serde_json::to_string(&line).unwrap(), r#"{"data":"180005ff"}"#);
        assert_eq!(PeerLine::parse(b"{\"data\":\"180005FF\"}\n"), Ok(line));
        for wrong in
            [&b"{}"[..], b"{\"data\":\"1\"}", b"{\"data\":[1]}", b"{\"data\":\"\",\"more\":1}", b"\xff"]
        {
            assert!(PeerLine::parse(wrong).is_err());
        }
        assert_eq!(PeerLine::parse(&[b' '; MAX_REQUEST + 1]), Err(RequestError::TooLong));
        let event = PeerEvent::Datagram { data: vec![1] };
        assert_eq!(serde_json::to_string(&event).unwrap(), r#"{"event":"datagram","data":"01"}"#);
    }
}
