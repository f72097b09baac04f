//! Byte strings on the wire: lower-case hexadecimal or base64 in JSON, byte strings in CBOR.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cardea_framing::LockId;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::MAX_DATA;

/// Identifies one uplink (a digest of lock and sealed datagram) or one downlink (16 random bytes).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub [u8; 16]);

/// 8 random bytes that name one run of the gateway daemon.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub [u8; 8]);

/// A sealed datagram: base64 (standard alphabet, padded) in JSON, a byte string in CBOR; at most [`MAX_DATA`].
#[derive(Clone, PartialEq, Eq)]
pub struct Data(pub Vec<u8>);

impl fmt::Debug for Data {
    /// Sealed bytes never reach a log; their length may.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Data({} bytes)", self.0.len())
    }
}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            s.serialize_str(&STANDARD.encode(&self.0))
        } else {
            s.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let bytes = d.deserialize_any(Either(|s: &str| {
            STANDARD.decode(s).map_err(|_| "base64 with the standard alphabet and padding")
        }))?;
        if bytes.len() > MAX_DATA {
            return Err(de::Error::invalid_length(bytes.len(), &"at most 4096 bytes of data"));
        }
        Ok(Self(bytes))
    }
}

/// Visits a byte string, or text that stands for one. Both encodings describe themselves, and serde's
/// buffered (flattened, tagged) values no longer know which one they came from, so either form is read.
struct Either<F>(F);

impl<F: FnOnce(&str) -> Result<Vec<u8>, &'static str>> de::Visitor<'_> for Either<F> {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a byte string or its text form")
    }

    fn visit_str<E: de::Error>(self, s: &str) -> Result<Vec<u8>, E> {
        (self.0)(s).map_err(|wanted| E::custom(format_args!("expected {wanted}")))
    }

    fn visit_bytes<E: de::Error>(self, b: &[u8]) -> Result<Vec<u8>, E> {
        Ok(b.to_vec())
    }
}

/// Visits a string and converts it.
struct Text<F>(F);

impl<T, F: FnOnce(&str) -> Result<T, &'static str>> de::Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, s: &str) -> Result<T, E> {
        (self.0)(s).map_err(|wanted| E::custom(format_args!("expected {wanted}")))
    }
}

/// Strict: lower-case digits only, so that one id has one spelling.
fn parse_hex(s: &str) -> Result<Vec<u8>, &'static str> {
    let lower = !s.bytes().any(|b| b.is_ascii_uppercase());
    hex::decode(s).ok().filter(|_| lower).ok_or("lower-case hexadecimal")
}

fn serialize_fixed<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
    if s.is_human_readable() { s.serialize_str(&hex::encode(bytes)) } else { s.serialize_bytes(bytes) }
}

fn deserialize_fixed<'de, D: Deserializer<'de>, const N: usize>(d: D) -> Result<[u8; N], D::Error> {
    let bytes = d.deserialize_any(Either(parse_hex))?;
    let length = bytes.len();
    bytes.try_into().map_err(|_| de::Error::invalid_length(length, &"the id's exact length"))
}

macro_rules! fixed_bytes {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                serialize_fixed(&self.0, s)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                deserialize_fixed(d).map(Self)
            }
        }
    };
}

fixed_bytes!(MessageId);
fixed_bytes!(Epoch);

/// `#[serde(with = "lock_id")]` for the framing crate's [`LockId`], which knows no serde.
pub(crate) mod lock_id {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(id: &LockId, s: S) -> Result<S::Ok, S::Error> {
        serialize_fixed(&id.0, s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<LockId, D::Error> {
        deserialize_fixed(d).map(LockId)
    }
}

/// `#[serde(with = "word")]` for framing's kinds and classes: their names in snake case.
pub(crate) mod word {
    use std::str::FromStr;

    use super::*;

    /// An enumeration with one fixed name per value.
    pub(crate) trait Word: Copy + FromStr {
        fn word(self) -> &'static str;
    }

    impl Word for cardea_framing::Kind {
        fn word(self) -> &'static str {
            self.as_str()
        }
    }

    impl Word for cardea_framing::Class {
        fn word(self) -> &'static str {
            self.as_str()
        }
    }

    pub(crate) fn serialize<T: Word, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(value.word())
    }

    pub(crate) fn deserialize<'de, T: Word, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
        d.deserialize_str(Text(|s: &str| s.parse().map_err(|_| "a known frame kind or class")))
    }
}
