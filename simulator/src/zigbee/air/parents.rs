//! Whose child each device is, and who has room for more.

use cardea_radio::Millis;
use cardea_zigbee::descriptors::Neighbour;
use cardea_zigbee::{Eui64, NwkAddr};

use super::device::{Device, State};
use super::{Air, LQI};
use crate::zigbee::nvram::MAX_DEVICES;

/// Devices that a router takes, besides those of the coordinator.
pub(super) const ROUTER_CHILDREN: usize = 32;
/// How well routers hear others; nothing is measured.
pub(super) const ROUTER_LQI: u8 = 140;
/// Routers between a device and its coordinator, at most.
const MAX_DEPTH: u8 = 15;
/// Roles and relations of neighbours (Zigbee specification §2.4.4.3.2).
const COORDINATOR: u8 = 0;
const ROUTER: u8 = 1;
const END_DEVICE: u8 = 2;
const PARENT: u8 = 0;
const CHILD: u8 = 1;
const SIBLING: u8 = 2;

impl Device {
    fn is_in(&self) -> bool {
        !matches!(self.state, State::Apart(_))
    }
}

impl Air {
    /// Whether the coordinator itself keeps it for a child, or a router does that is here.
    pub(super) fn has_parent(&self, eui: Eui64) -> bool {
        self.depth(eui).is_some()
    }

    /// Hops from the coordinator; `None`: nobody is between them who is here.
    fn depth(&self, eui: Eui64) -> Option<u8> {
        let mut at = eui;
        for depth in 1..=MAX_DEPTH {
            match self.devices.get(&at)?.parent {
                None => return self.nvram.children.contains(&at).then_some(depth),
                Some(parent) if self.is_alive(parent) => at = parent,
                Some(_) => return None,
            }
        }
        None
    }

    /// Who takes a device that looks for a network, or for its network again: the coordinator (`Some(None)`), a router, or nobody.
    /// Those that join need an open one.
    pub(super) fn parent_for(&self, now: Millis, eui: Eui64, joins: bool) -> Option<Option<Eui64>> {
        if self.nvram.members.len() >= MAX_DEVICES && !self.nvram.members.contains_key(&eui) {
            return None;
        }
        let children = &self.nvram.children;
        if children.contains(&eui) || children.len() < self.rules.max_children {
            return Some(None);
        }
        let open = !joins || now < self.routers_open_until;
        let mut routers = self.devices.iter().filter(|(router, device)| {
            device.config.is_router() && **router != eui && self.is_here(**router)
        });
        let room = |router: Eui64| {
            let of = self.devices.values().filter(|device| device.parent == Some(router) && device.is_in());
            of.count() < ROUTER_CHILDREN
        };
        routers.find(|(router, _)| open && room(**router)).map(|(router, _)| Some(*router))
    }

    /// It is a child of the coordinator now, or of a router.
    pub(super) fn adopt(&mut self, eui: Eui64, parent: Option<Eui64>) {
        match parent {
            None => drop(self.nvram.children.insert(eui)),
            Some(_) => drop(self.nvram.children.remove(&eui)),
        }
        if let Some(device) = self.devices.get_mut(&eui) {
            device.parent = parent;
        }
    }

    /// The address of a device's parent: the last hop of what it says.
    pub(in crate::zigbee) fn parent_address(&self, eui: Eui64) -> NwkAddr {
        let parent = self.devices.get(&eui).and_then(|device| device.parent);
        parent
            .and_then(|parent| self.nvram.members.get(&parent))
            .map_or(NwkAddr::COORDINATOR, |member| member.nwk)
    }

    /// Whether a device takes children of its own.
    pub(in crate::zigbee) fn routes(&self, eui: Eui64) -> bool {
        self.devices.get(&eui).is_some_and(|device| device.config.is_router())
    }

    /// The neighbour table of the coordinator (`None`) or of a router: its parent, its children, the routers around it.
    pub(super) fn neighbours(&self, of: Option<Eui64>) -> Vec<Neighbour> {
        let extended_pan = self.nvram.network().map_or(Eui64([0; 8]), |network| network.extended_pan);
        let lqi = if of.is_none() { LQI } else { ROUTER_LQI };
        let neighbour = |eui, nwk, role: u8, listens: bool, relation: u8, depth| {
            let kind = role | u8::from(listens) << 2 | relation << 4;
            Neighbour { extended_pan, eui, nwk, kind, permit: 0, depth, lqi }
        };
        let mut all = Vec::new();
        let own_parent = of.and_then(|of| self.devices.get(&of)).map(|device| device.parent);
        if own_parent == Some(None) {
            all.push(neighbour(self.eui(), NwkAddr::COORDINATOR, COORDINATOR, true, PARENT, 0));
        }
        for (eui, member) in &self.nvram.members {
            let device = self.devices.get(eui);
            let routes = device.is_some_and(|device| device.config.is_router());
            let listens = device.is_some_and(|device| device.config.poll.is_none());
            // A device of which only the coordinator's memory tells is its child, or away.
            let child = match (of, device) {
                (None, device) => {
                    device.is_none_or(|device| device.parent.is_none()) && self.nvram.children.contains(eui)
                }
                (Some(_), device) => device.is_some_and(|device| device.parent == of && device.is_in()),
            };
            let parent = own_parent == Some(Some(*eui));
            if !child && !parent {
                continue;
            }
            let (role, relation) = match (routes, parent) {
                (_, true) => (ROUTER, PARENT),
                (true, false) => (ROUTER, SIBLING),
                (false, false) => (END_DEVICE, CHILD),
            };
            let nwk = self.own_address(*eui).unwrap_or(member.nwk);
            all.push(neighbour(*eui, nwk, role, listens, relation, self.depth(*eui).unwrap_or(1)));
        }
        all
    }
}
