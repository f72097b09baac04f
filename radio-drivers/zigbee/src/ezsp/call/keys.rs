//! What networks are formed with, keys and what is known of them, and where protocol 14 changed that.

use super::fields::{Protocol, Status, Wire, record};
use crate::types::{Eui64, Key};
use crate::wire::{DecodeError, Field, Reader};

record! {
    /// What a network is formed with.
    SecurityState {
        /// See [`security`].
        bitmask: u16,
        /// The link key of all devices without one of their own, or the secret that theirs are derived from.
        preconfigured: Key,
        /// The network key.
        network: Key,
        /// Its number.
        number: u8,
        /// The trust centre.
        trust_centre: Eui64,
    }
}

/// Bits of a [`SecurityState`] and a [`CurrentSecurity`].
pub mod security {
    /// There is one link key for all devices without their own.
    pub const GLOBAL_LINK_KEY: u16 = 0x0004;
    /// The trust centre's address is given.
    pub const HAVE_TRUST_CENTRE: u16 = 0x0040;
    /// Each device's link key is derived from a secret and its address; together with [`GLOBAL_LINK_KEY`].
    pub const HASHED_LINK_KEYS: u16 = 0x0080;
    /// The first key is given.
    pub const HAVE_PRECONFIGURED: u16 = 0x0100;
    /// The network key is given.
    pub const HAVE_NETWORK_KEY: u16 = 0x0200;
    /// Nobody gets the network key in the clear.
    pub const REQUIRE_ENCRYPTED_KEY: u16 = 0x0800;
    /// Frame counters stay as they were set before.
    pub const KEEP_COUNTERS: u16 = 0x1000;
}

record! {
    /// What the network that runs was formed with.
    CurrentSecurity {
        /// See [`security`].
        bitmask: u16,
        /// The trust centre.
        trust_centre: Eui64,
    }
}

record! {
    /// Which key is meant.
    KeyContext {
        /// See [`key`].
        kind: u8,
        /// In its table.
        index: u8,
        /// 0: the key itself.
        derived: u16,
        /// Whose.
        eui: Eui64,
        /// 0: the only network.
        network: u8,
        /// 0.
        flags: u8,
        /// 0.
        algorithm: u32,
    }
}

/// Kinds of keys in a [`KeyContext`].
pub mod key {
    /// The network key.
    pub const NETWORK: u8 = 1;
    /// The trust centre's link key, or the secret that devices' are derived from.
    pub const TRUST_CENTRE: u8 = 2;
}

impl KeyContext {
    /// The only key of its kind.
    #[must_use]
    pub fn of(kind: u8) -> Self {
        Self { kind, index: 0, derived: 0, eui: Eui64([0; 8]), network: 0, flags: 0, algorithm: 0 }
    }
}

record! {
    /// What is known of a link key.
    KeyMetadata {
        /// What of this is known.
        bitmask: u16,
        /// Of the last frame sent with it.
        tx_counter: u32,
        /// Of the last frame received with it.
        rx_counter: u32,
        /// Seconds that a transient key still counts.
        ttl: u16,
    }
}

record! {
    /// What is known of the network key.
    NetworkKeyInfo {
        /// There is one.
        set: u8,
        /// There is another one to switch to.
        next_set: u8,
        /// Its number.
        number: u8,
        /// The other one's.
        next_number: u8,
        /// Of the last frame sent.
        frame_counter: u32,
    }
}

/// An exported key: key and status before protocol 14, status, key and context since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedKey {
    /// How it went.
    pub status: Status,
    /// The key; means nothing if that was not well.
    pub key: Key,
}

impl Wire for ExportedKey {
    fn read(reader: &mut Reader<'_>, protocol: Protocol) -> Result<Self, DecodeError> {
        if protocol.is_wide() {
            return Ok(Self { status: Status(reader.u32()?), key: Field::read(reader)? });
        }
        Ok(Self { key: Field::read(reader)?, status: Status(reader.u32()?) })
    }

    fn write(&self, protocol: Protocol, out: &mut Vec<u8>) {
        if protocol.is_wide() {
            Field::write(&self.status.0, out);
            Field::write(&self.key, out);
            return Field::write(&KeyContext::of(key::NETWORK), out);
        }
        Field::write(&self.key, out);
        Field::write(&self.status.0, out);
    }
}

/// One link key of the table; laid out differently since protocol 14.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedLinkKey {
    /// How it went; [`Status::NOT_FOUND`] for a free entry.
    pub status: Status,
    /// Whose.
    pub eui: Eui64,
    /// The key.
    pub key: Key,
    /// Its counters.
    pub metadata: KeyMetadata,
}

impl Wire for ExportedLinkKey {
    fn read(reader: &mut Reader<'_>, protocol: Protocol) -> Result<Self, DecodeError> {
        if protocol.is_wide() {
            let status = Status(reader.u32()?);
            let KeyContext { eui, .. } = Field::read(reader)?;
            return Ok(Self { status, eui, key: Field::read(reader)?, metadata: Field::read(reader)? });
        }
        let (eui, key, metadata) = (Field::read(reader)?, Field::read(reader)?, Field::read(reader)?);
        Ok(Self { status: Status(reader.u32()?), eui, key, metadata })
    }

    fn write(&self, protocol: Protocol, out: &mut Vec<u8>) {
        if protocol.is_wide() {
            Field::write(&self.status.0, out);
            Field::write(&KeyContext { eui: self.eui, ..KeyContext::of(4) }, out);
        } else {
            Field::write(&self.eui, out);
        }
        Field::write(&self.key, out);
        Field::write(&self.metadata, out);
        if !protocol.is_wide() {
            Field::write(&self.status.0, out);
        }
    }
}
