//! What devices say of themselves, whatever coordinator asked. How it is laid out differs: that is the protocols' matter.

use crate::types::{Eui64, NwkAddr};

/// A simple descriptor: what an endpoint is and speaks (Zigbee specification §2.3.2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimpleDescriptor {
    /// 1–254.
    pub endpoint: u8,
    /// 0x0104: home automation.
    pub profile: u16,
    /// 0x000A: door lock.
    pub device: u16,
    /// Of the application.
    pub version: u8,
    /// What it speaks.
    pub clusters: Clusters,
}

/// Server and client clusters of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Clusters {
    /// Input: the endpoint is the server.
    pub servers: Vec<u16>,
    /// Output: the endpoint is the client.
    pub clients: Vec<u16>,
}

/// A node descriptor (Zigbee specification §2.3.2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeDescriptor {
    /// Bits 0–2 role, 3 complex and 4 user descriptor; 8–10 APS flags, 11–15 band.
    pub flags: u16,
    /// Bit 1 router, 2 mains, 3 listens when idle.
    pub mac_capability: u8,
    /// Assigned by the CSA.
    pub manufacturer: u16,
    /// Longest NPDU it takes unfragmented.
    pub max_buffer: u8,
    /// Longest APS payload it takes in fragments; 0 or small: none.
    pub max_incoming: u16,
    /// Services it offers the network; R21 and later: revision in bits 9–15.
    pub server_mask: u16,
    /// Longest APS payload it sends in fragments.
    pub max_outgoing: u16,
    /// Extended lists.
    pub descriptor_capability: u8,
}

impl NodeDescriptor {
    /// True when frames for it wait at its parent until it polls.
    #[must_use]
    pub fn is_sleepy(&self) -> bool {
        self.mac_capability & 0x08 == 0
    }
}

/// One neighbour in a Mgmt_Lqi_rsp (Zigbee specification §2.4.4.3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Of its network.
    pub extended_pan: Eui64,
    /// Its address.
    pub eui: Eui64,
    /// Its address in the network.
    pub nwk: NwkAddr,
    /// Bits 0–1 role, 2–3 listens when idle, 4–6 relationship (0 parent, 1 child, 2 sibling, 3 none).
    pub kind: u8,
    /// Bits 0–1: lets others join.
    pub permit: u8,
    /// Hops from the coordinator.
    pub depth: u8,
    /// 0–255.
    pub lqi: u8,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Field, Reader};

    #[test]
    fn who_does_not_listen_when_idle_is_sleepy() {
        for (hex, sleepy) in [("0240803412528000002c800000", true), ("01408e3412528000002c520000", false)] {
            let bytes = hex::decode(hex).unwrap();
            let node = NodeDescriptor::read(&mut Reader::new(&bytes)).unwrap();
            assert_eq!(node.is_sleepy(), sleepy, "{node:?}");
        }
    }
}
