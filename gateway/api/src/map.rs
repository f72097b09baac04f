//! Who is behind whom in a radio network.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the devices of a radio network said of their neighbours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RadioMap {
    /// Name of the radio.
    pub radio: String,
    /// Whether routers are being asked, or will be as soon as nothing else wants the air.
    pub surveying: bool,
    /// Seconds since all were asked; `None`: not since the start.
    pub age_s: Option<u64>,
    /// The radio itself first.
    pub devices: Vec<MapDevice>,
}

/// One device of a radio network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MapDevice {
    /// EUI-64, 16 hexadecimal digits.
    pub device: String,
    /// What it is.
    pub kind: MapKind,
    /// Of a sealed lock: its lock id, 16 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// Whether it is in the network.
    pub joined: bool,
    /// Whether it told its neighbours when it was asked last; `None`: it was not asked, since it carries nobody's frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<bool>,
    /// By way of which device it is reached; `None`: nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<MapBehind>,
}

/// What a device of a radio network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MapKind {
    /// The gateway's own radio.
    Coordinator,
    /// A device that carries the frames of others.
    Router,
    /// A sealed lock.
    Lock,
    /// An ordinary lock, which is not end-to-end protected.
    Unsealed,
}

/// By way of which device another one is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MapBehind {
    /// EUI-64, 16 hexadecimal digits.
    pub device: String,
    /// How well that one hears it, 0–255.
    pub lqi: u8,
    /// Seconds since it said so.
    pub age_s: u64,
}
