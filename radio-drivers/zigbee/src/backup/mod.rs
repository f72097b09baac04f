//! A network outside any dongle, in the Open Coordinator Backup format, version 1: what another dongle, of any vendor's
//! family, needs to be the same coordinator.
//!
//! The format is zigpy's and zigbee-herdsman's (github.com/zigpy/open-coordinator-backup): one JSON object, byte strings in
//! hexadecimal, most significant byte first. [`Backup::parse`] believes nothing and is bounded; [`Backup::encode`] writes what
//! zigpy was seen to read. Keys are erased when dropped and shown nowhere.
//!
//! A file is older than the network. Every frame that the lost dongle sent after it was written raised a counter that the
//! devices remember, and they refuse what does not exceed it: so a dongle is never given the counters of a file but
//! [those far ahead](Backup::jump).

mod json;

use std::collections::BTreeMap;

use crate::coordinator::Network;
use crate::types::{Eui64, Key, NwkAddr};

/// Longest file, bytes: more than [`MAX_DEVICES`] devices take.
pub const MAX_FILE: usize = 512 * 1_024;
/// Devices in a file: more than any dongle has keys for.
pub const MAX_DEVICES: usize = 1_024;
/// What is added to outgoing frame counters before a restore: 16.8 million frames, the number that a dongle sends in 194 days at
/// one a second. A counter has room for 255 such jumps.
pub const FRAME_COUNTER_JUMP: u32 = 1 << 24;
/// ENC-MIC-32, which every Zigbee network has.
const SECURITY_LEVEL: u8 = 5;

/// Why a file is no backup that can be restored. None of them quotes the file: it is full of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// Longer than [`MAX_FILE`].
    #[error("the file has more than {MAX_FILE} bytes")]
    TooLong,
    /// Not JSON, or a field is missing, twice there, or of another type.
    #[error("not an Open Coordinator Backup: line {line}, column {column}")]
    Form {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// Another format or version; we know version 1.
    #[error("another format than zigpy/open-coordinator-backup, version 1")]
    Version,
    /// A field has an impossible value; the text names it.
    #[error("{0} has an impossible value")]
    Field(&'static str),
    /// A frame counter is so high that there is no room for [`FRAME_COUNTER_JUMP`]: the network key must be changed first.
    #[error("a frame counter is used up; the network needs a new key before it moves")]
    UsedUp,
}

/// A network, with everything that its devices would miss if another dongle took it over.
#[derive(Clone, PartialEq, Eq)]
pub struct Backup {
    /// The program that took it and its version, `name@version`.
    pub source: String,
    /// Which network, where it is.
    pub network: Network,
    /// Bit n: channel n, 11–26; where the network may move.
    pub channels: u32,
    /// Raised with each move of the network; devices follow the highest.
    pub update_id: u8,
    /// What all frames are encrypted with.
    pub key: NetworkKey,
    /// The secret from which a Silicon Labs dongle derives each device's link key, if it does. Such keys are not in the
    /// list of devices, and no other family's dongle can take them over.
    pub hashed_link_keys: Option<Key>,
    /// Devices that have joined; without the coordinator itself.
    pub devices: Vec<Device>,
}

/// The network key as it is used now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkKey {
    /// The key.
    pub key: Key,
    /// 0–255, raised with each change of the key.
    pub number: u8,
    /// Of the last frame sent with it; devices refuse all up to the last that they heard.
    pub frame_counter: u32,
}

/// A device that has joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Who.
    pub eui: Eui64,
    /// Its address in the network, if known.
    pub nwk: Option<NwkAddr>,
    /// Whether the dongle itself is its parent.
    pub child: bool,
    /// The key that it shares with the trust centre alone.
    pub link_key: Option<LinkKey>,
}

/// A link key of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkKey {
    /// The key.
    pub key: Key,
    /// Of the last frame received with it.
    pub rx_counter: u32,
    /// Of the last frame sent with it.
    pub tx_counter: u32,
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Backup({:?}, {} devices)", self.network, self.devices.len())
    }
}

impl Backup {
    /// The same network with outgoing counters that no device can have heard yet, each [`FRAME_COUNTER_JUMP`] higher. What a dongle
    /// is given.
    ///
    /// # Errors
    /// [`BackupError::UsedUp`].
    pub fn jump(&self) -> Result<Self, BackupError> {
        let jumped = |counter: u32| counter.checked_add(FRAME_COUNTER_JUMP).ok_or(BackupError::UsedUp);
        let mut ahead = self.clone();
        ahead.key.frame_counter = jumped(self.key.frame_counter)?;
        for link_key in ahead.devices.iter_mut().filter_map(|device| device.link_key.as_mut()) {
            link_key.tx_counter = jumped(link_key.tx_counter)?;
        }
        Ok(ahead)
    }

    /// Raises outgoing counters to those that are known from elsewhere, where it is the same network with the same keys: whatever
    /// is older, nothing is sent twice with one counter.
    pub fn raise_to(&mut self, floor: &Self) {
        if !self.network.is(&floor.network) {
            return;
        }
        if self.key.key == floor.key.key {
            self.key.frame_counter = self.key.frame_counter.max(floor.key.frame_counter);
        }
        let floors: BTreeMap<Eui64, &LinkKey> = floor.link_keys().collect();
        for Device { eui, link_key, .. } in &mut self.devices {
            if let (Some(own), Some(floor)) = (link_key, floors.get(eui))
                && own.key == floor.key
            {
                own.tx_counter = own.tx_counter.max(floor.tx_counter);
            }
        }
    }

    /// Whether a device can go on in the network of this backup. Where link keys are made of one secret nobody is named for
    /// their sake, and everybody can.
    #[must_use]
    pub fn has(&self, eui: Eui64) -> bool {
        self.hashed_link_keys.is_some() || self.devices.iter().any(|device| device.eui == eui)
    }

    /// The highest outgoing counter of link keys: dongles have one for all of them.
    #[must_use]
    pub fn link_frame_counter(&self) -> u32 {
        self.link_keys().map(|(_, link_key)| link_key.tx_counter).max().unwrap_or(0)
    }

    /// Devices with a link key of their own.
    pub fn link_keys(&self) -> impl Iterator<Item = (Eui64, &LinkKey)> {
        self.devices.iter().filter_map(|device| Some((device.eui, device.link_key.as_ref()?)))
    }

    /// Devices whose address is known.
    pub fn addresses(&self) -> impl Iterator<Item = (Eui64, NwkAddr)> {
        self.devices.iter().filter_map(|device| Some((device.eui, device.nwk?)))
    }

    /// What no network can have; also of one that a dongle told of itself.
    ///
    /// # Errors
    /// [`BackupError::Field`].
    pub fn check(&self) -> Result<(), BackupError> {
        let is = |good: bool, what| if good { Ok(()) } else { Err(BackupError::Field(what)) };
        let blank =
            |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0) || bytes.iter().all(|byte| *byte == 0xFF);
        let Network { coordinator, extended_pan, pan, channel } = self.network;
        is(!blank(&coordinator.0), "the coordinator's address")?;
        is(!blank(&extended_pan.0), "the extended PAN id")?;
        is(pan < 0xFFFE, "the PAN id")?;
        is((11..=26).contains(&channel), "the channel")?;
        is(self.channels & !ALL_CHANNELS == 0 && self.channels >> channel & 1 == 1, "the channel mask")?;
        is(!blank(&self.key.key.0), "the network key")?;
        is(self.devices.len() <= MAX_DEVICES, "the number of devices")?;
        is(self.hashed_link_keys.as_ref().is_none_or(|key| !blank(&key.0)), "the secret of link keys")?;
        let (mut euis, mut nwks) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
        for Device { eui, nwk, link_key, .. } in &self.devices {
            is(!blank(&eui.0) && *eui != coordinator && euis.insert(*eui), "a device's address")?;
            is(
                nwk.is_none_or(|nwk| nwk.is_unicast() && nwk != NwkAddr::COORDINATOR && nwks.insert(nwk)),
                "a device's address in the network",
            )?;
            is(link_key.as_ref().is_none_or(|link_key| !blank(&link_key.key.0)), "a link key")?;
        }
        Ok(())
    }
}

/// Bits 11–26.
const ALL_CHANNELS: u32 = 0x07FF_F800;

#[cfg(test)]
mod tests;
