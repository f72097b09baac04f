//! A lock id as 16 hexadecimal digits.

use cardea_framing::LockId;
use serde::{Deserialize as _, Deserializer, Serializer, de};

pub(crate) fn serialize<S: Serializer>(lock: &LockId, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(lock)
}

pub(crate) fn schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-fA-F]{16}$", "description": "Lock id." })
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<LockId, D::Error> {
    String::deserialize(from)?.parse().map_err(|_| de::Error::custom("not 16 hexadecimal digits"))
}
