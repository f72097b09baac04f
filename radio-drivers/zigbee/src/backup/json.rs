//! The file: one JSON object. Text of keys is read in place and written in place, so that no copy of it is left behind.

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, Visitor};
use serde::{Deserialize as DeserializeDerive, Serialize, Serializer};
use zeroize::{Zeroize, Zeroizing};

use super::{Backup, BackupError, Device, LinkKey, MAX_FILE, NetworkKey, SECURITY_LEVEL};
use crate::coordinator::Network;
use crate::types::{Eui64, Key, NwkAddr};
use crate::wire::secret_buffer;

const FORMAT: &str = "zigpy/open-coordinator-backup";
const VERSION: u32 = 1;
/// What the file takes without its devices, and with each; generous.
const FILE_BYTES: usize = 2_048;
const DEVICE_BYTES: usize = 320;

#[derive(Serialize, DeserializeDerive)]
struct File<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(default)]
    stack_specific: Option<StackSpecific>,
    coordinator_ieee: Hex<8>,
    pan_id: Hex<2>,
    extended_pan_id: Hex<8>,
    nwk_update_id: u8,
    security_level: u8,
    channel: u8,
    channel_mask: Vec<u8>,
    network_key: FileKey,
    devices: Vec<FileDevice>,
}

#[derive(Serialize, DeserializeDerive)]
struct Metadata<'a> {
    format: &'a str,
    version: u32,
    source: &'a str,
    /// Whatever the program that wrote it wanted to remember; zigpy asks for the object.
    #[serde(default, deserialize_with = "ignored")]
    internal: Internal,
}

#[derive(Serialize, Default)]
struct Internal {}

fn ignored<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Internal, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| Internal {})
}

#[derive(Serialize, DeserializeDerive, Default)]
struct StackSpecific {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ezsp: Option<Ezsp>,
}

#[derive(Serialize, DeserializeDerive)]
struct Ezsp {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hashed_tclk: Option<Hex<16>>,
}

#[derive(Serialize, DeserializeDerive)]
struct FileKey {
    key: Hex<16>,
    sequence_number: u8,
    frame_counter: u32,
}

#[derive(Serialize, DeserializeDerive)]
struct FileDevice {
    #[serde(default)]
    nwk_address: Option<ShortHex>,
    ieee_address: Hex<8>,
    #[serde(default)]
    is_child: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link_key: Option<FileLinkKey>,
}

#[derive(Serialize, DeserializeDerive)]
struct FileLinkKey {
    key: Hex<16>,
    rx_counter: u32,
    tx_counter: u32,
}

/// Bytes as hexadecimal digits, of either case.
struct Hex<const N: usize>([u8; N]);

impl<const N: usize> Drop for Hex<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = Zeroizing::new([0u8; 32]);
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0x0F)]);
        }
        let text = text.get(..2 * N).and_then(|text| std::str::from_utf8(text).ok());
        serializer.serialize_str(text.unwrap_or_default())
    }
}

fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0'.saturating_add(nibble) } else { b'a'.saturating_add(nibble).saturating_sub(10) }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Digits::<N> { least: 2 * N }).map(Self)
    }
}

/// A network address. zigbee-herdsman leaves leading zeros out.
struct ShortHex([u8; 2]);

impl Serialize for ShortHex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Hex(self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ShortHex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Digits::<2> { least: 1 }).map(Self)
    }
}

/// Reads digits where they stand in the file: a string with escapes would be copied to a buffer that nobody erases, and is refused.
struct Digits<const N: usize> {
    least: usize,
}

impl<'de, const N: usize> Visitor<'de> for Digits<N> {
    type Value = [u8; N];

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} hexadecimal digits", 2 * N)
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<[u8; N], E> {
        let mut bytes = [0; N];
        let given = text.len();
        if !(self.least..=2 * N).contains(&given) {
            return Err(E::custom("digits"));
        }
        for (place, digit) in text.chars().rev().enumerate() {
            let nibble = digit.to_digit(16).and_then(|nibble| u8::try_from(nibble).ok());
            let byte = N.checked_sub(1 + place / 2).and_then(|at| bytes.get_mut(at));
            match (nibble, byte) {
                (Some(nibble), Some(byte)) => *byte |= if place % 2 == 0 { nibble } else { nibble << 4 },
                _ => return Err(E::custom("digits")),
            }
        }
        Ok(bytes)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<[u8; N], E> {
        Err(E::custom("escapes"))
    }
}

impl Backup {
    /// Reads a file. What it does not know is skipped; what it knows must be there once and make sense.
    ///
    /// # Errors
    /// See [`BackupError`].
    pub fn parse(file: &[u8]) -> Result<Self, BackupError> {
        if file.len() > MAX_FILE {
            return Err(BackupError::TooLong);
        }
        let file: File<'_> = serde_json::from_slice(file)
            .map_err(|error| BackupError::Form { line: error.line(), column: error.column() })?;
        if file.metadata.format != FORMAT || file.metadata.version != VERSION {
            return Err(BackupError::Version);
        }
        if file.security_level != SECURITY_LEVEL {
            return Err(BackupError::Field("the security level"));
        }
        let backup = Self::from(file);
        backup.check()?;
        Ok(backup)
    }

    /// The file.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        // Room for all of it from the start: a vector that grows leaves copies behind.
        let devices = self.devices.len().saturating_mul(DEVICE_BYTES);
        let mut out = secret_buffer(FILE_BYTES.saturating_add(self.source.len()).saturating_add(devices));
        // Writing to memory fails for no reason that there is here: keys of maps are strings, and the vector grows.
        let _ = serde_json::to_writer(&mut *out, &File::from(self));
        out
    }
}

impl From<File<'_>> for Backup {
    fn from(file: File<'_>) -> Self {
        let channels =
            file.channel_mask.iter().map(|channel| 1u32.checked_shl((*channel).into()).unwrap_or(1));
        let hashed = file.stack_specific.and_then(|specific| specific.ezsp?.hashed_tclk);
        Self {
            source: file.metadata.source.to_owned(),
            network: Network {
                coordinator: Eui64(file.coordinator_ieee.0),
                extended_pan: Eui64(file.extended_pan_id.0),
                pan: u16::from_be_bytes(file.pan_id.0),
                channel: file.channel,
            },
            channels: channels.fold(0, |mask, bit| mask | bit),
            update_id: file.nwk_update_id,
            key: NetworkKey {
                key: Key(file.network_key.key.0),
                number: file.network_key.sequence_number,
                frame_counter: file.network_key.frame_counter,
            },
            hashed_link_keys: hashed.map(|key| Key(key.0)),
            devices: file.devices.into_iter().map(Device::from).collect(),
        }
    }
}

impl From<FileDevice> for Device {
    fn from(device: FileDevice) -> Self {
        Self {
            eui: Eui64(device.ieee_address.0),
            nwk: device.nwk_address.map(|nwk| NwkAddr(u16::from_be_bytes(nwk.0))),
            child: device.is_child,
            link_key: device.link_key.map(|link_key| LinkKey {
                key: Key(link_key.key.0),
                rx_counter: link_key.rx_counter,
                tx_counter: link_key.tx_counter,
            }),
        }
    }
}

impl<'a> From<&'a Backup> for File<'a> {
    fn from(backup: &'a Backup) -> Self {
        let hashed = backup.hashed_link_keys.as_ref();
        let ezsp = hashed.map(|key| Ezsp { hashed_tclk: Some(Hex(key.0)) });
        Self {
            metadata: Metadata {
                format: FORMAT,
                version: VERSION,
                source: &backup.source,
                internal: Internal {},
            },
            stack_specific: Some(StackSpecific { ezsp }),
            coordinator_ieee: Hex(backup.network.coordinator.0),
            pan_id: Hex(backup.network.pan.to_be_bytes()),
            extended_pan_id: Hex(backup.network.extended_pan.0),
            nwk_update_id: backup.update_id,
            security_level: SECURITY_LEVEL,
            channel: backup.network.channel,
            channel_mask: (11..=26).filter(|channel| backup.channels >> channel & 1 == 1).collect(),
            network_key: FileKey {
                key: Hex(backup.key.key.0),
                sequence_number: backup.key.number,
                frame_counter: backup.key.frame_counter,
            },
            devices: backup.devices.iter().map(FileDevice::from).collect(),
        }
    }
}

impl From<&Device> for FileDevice {
    fn from(device: &Device) -> Self {
        Self {
            nwk_address: device.nwk.map(|nwk| ShortHex(nwk.0.to_be_bytes())),
            ieee_address: Hex(device.eui.0),
            is_child: device.child,
            link_key: device.link_key.as_ref().map(|link_key| FileLinkKey {
                key: Hex(link_key.key.0),
                rx_counter: link_key.rx_counter,
                tx_counter: link_key.tx_counter,
            }),
        }
    }
}
