//! A router: a plug that carries others' frames. Here it is room for more devices, once it has joined.

use std::sync::Arc;

use cardea_zigbee::DecodeError;
use cardea_zigbee::descriptors::NodeDescriptor;

use super::door_lock::node;
use super::sealed::Label;
use super::{DeviceConfig, Dongle, Mailbox, Uplink};
use crate::Random;

/// A running router; it is gone when dropped.
pub struct Router {
    label: Label,
    _radio: Mailbox,
}

impl Router {
    /// Makes one and gives it power: it looks for a network that is open.
    ///
    /// # Errors
    /// When no install code can be made.
    pub fn start(seed: u64, number: u64, dongle: &Dongle) -> Result<Self, DecodeError> {
        // Other numbers than those of locks.
        let random = Arc::new(Random::new(seed, (1 << 32) + number));
        let label = Label::new(0xA5, &random, number)?;
        let radio = dongle.add(DeviceConfig {
            eui: label.eui,
            code: Some(label.code.clone()),
            unique_key: true,
            poll: None,
            // Router; on the mains, with room for children.
            node: NodeDescriptor { flags: 0x4001, mac_capability: 0x8E, ..node(true) },
            endpoints: Vec::new(),
        });
        radio.send(Uplink::Power(true));
        Ok(Self { label, _radio: radio })
    }

    /// What its label says.
    #[must_use]
    pub fn label(&self) -> &Label {
        &self.label
    }
}
