//! Ordinary Zigbee locks on a broker: their states, events and commands, and how Home Assistant finds them.
//!
//! These locks are **not end-to-end** protected: the gateway reads them and could forge them, and so could whoever has its
//! broker. Every message says so (`"end_to_end": false`). They are apart from the sealed relay: this crate has no dependency that
//! knows a sealed lock's id, its own topics (below `…/unsealed/`), and its own connection to the broker.
//!
//! [`Hub`] is a state machine: words of the radio, messages and states of the broker link, an operator's orders and the time go
//! in; publishes, errands for the radio and answers come out. It promises: a command goes to the radio only if it came live (not
//! retained), says until when it is good, at most [`MAX_LIFE_MS`] ahead, has an id that was not seen, is for a lock whose
//! commands are switched on, and could not have been seen before the daemon started. What it does not do: keep a command, repeat
//! one, or read a PIN.

mod discovery;
mod hub;
mod judge;
mod payload;
#[cfg(test)]
mod tests;
mod throttle;

use std::collections::BTreeMap;

use bytes::Bytes;
use cardea_zigbee::Eui64;

pub use hub::{Hub, Row};
pub use judge::{MAX_COMMAND, MAX_ID, MAX_LIFE_MS, Refusal};

/// A moment by the gateway's monotonic clock, milliseconds.
pub type Millis = u64;

/// The wall clock at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wall {
    /// Unix time, milliseconds.
    pub unix_ms: u64,
    /// It can be believed.
    pub synced: bool,
}

/// What the operator decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// First levels of every topic.
    pub prefix: String,
    /// Gateway id.
    pub gateway: String,
    /// The devices that are bridged.
    pub devices: BTreeMap<Eui64, Device>,
    /// First level of Home Assistant's discovery topics; `None`: it is told nothing.
    pub home_assistant: Option<String>,
}

/// What the operator decides of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// For people.
    pub name: String,
    /// It may be locked and unlocked.
    pub commands: bool,
}

impl Config {
    fn base(&self) -> String {
        format!("{}/{}/unsealed", self.prefix, self.gateway)
    }

    /// The topic of the bridge itself: retained, and the last will.
    #[must_use]
    pub fn state_topic(&self) -> String {
        format!("{}/state", self.base())
    }

    /// What is published there.
    #[must_use]
    pub fn presence(&self, online: bool, wall: Wall) -> Vec<u8> {
        payload::presence(online, wall)
    }

    /// What is subscribed to: nothing while no device takes commands.
    #[must_use]
    pub fn filters(&self) -> Vec<String> {
        let commanded = self.devices.iter().filter(|(_, device)| device.commands);
        commanded.map(|(eui, _)| self.topic(*eui, "set")).collect()
    }

    fn topic(&self, eui: Eui64, leaf: &str) -> String {
        format!("{}/{eui}/{leaf}", self.base())
    }
}

/// A message for the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Topic name.
    pub topic: String,
    /// Payload; an empty retained one takes back an earlier one.
    pub payload: Bytes,
    /// The retain flag.
    pub retain: bool,
}
