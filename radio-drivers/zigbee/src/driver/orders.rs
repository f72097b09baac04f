//! What an operator orders of a network and is told of it.

use cardea_radio::Millis;

use super::survey::RadioMap;
use crate::backup::Backup;
use crate::coordinator::Network;
use crate::types::{Eui64, InstallCode, Key};

/// What only an operator may order.
pub enum NetworkOrder {
    /// Form a network.
    Form {
        /// Also where there is one: its devices must join anew.
        replace: bool,
        /// Random: what the 64-bit PAN id is made of.
        pan: [u8; 8],
        /// Random: the network key.
        key: Key,
    },
    /// Take over the foreign network that the dongle is in; or, where a restore was interrupted, take the dongle as it is.
    Adopt,
    /// Take a backup of the network that runs. It goes on meanwhile.
    Backup,
    /// Make the dongle the coordinator of a backup, with counters that no device has heard.
    Restore {
        /// `None`: the one that the gateway keeps, or the one whose restore was interrupted.
        backup: Option<Box<Backup>>,
        /// Also where the dongle remembers a network; also where the backup is of another network than the gateway's, or has
        /// an older key of it.
        replace: bool,
    },
    /// Give the network another key; this one is random.
    RotateKey(Key),
    /// Which routers are admitted.
    Routers,
    /// Let a router in.
    AdmitRouter {
        /// Who.
        eui: Eui64,
        /// As on its label, with its CRC.
        code: InstallCode,
    },
    /// Forget a router, and have it leave.
    RemoveRouter {
        /// Who.
        eui: Eui64,
    },
    /// Who is behind whom.
    Map {
        /// Ask for it anew, one after the other; what is known by now is the answer.
        survey: bool,
    },
}

/// What came of a [`NetworkOrder`].
#[derive(Debug, Clone, PartialEq)]
pub enum NetworkDone {
    /// Of [`NetworkOrder::Form`] and [`NetworkOrder::Adopt`]: this network runs, and is stored.
    Network(Network),
    /// Of [`NetworkOrder::Backup`].
    BackedUp(Box<Backup>),
    /// Of [`NetworkOrder::Restore`]: this network runs, and is stored.
    Restored {
        /// Which.
        network: Network,
        /// Admitted locks that are not in the backup and must join anew.
        anew: usize,
        /// Devices of the backup that are not admitted; they are told to leave when they are heard.
        strangers: usize,
    },
    /// Of [`NetworkOrder::RotateKey`]: the new key's number. It is stored.
    KeyRotated(u8),
    /// Of [`NetworkOrder::Routers`]: each, and whether it is in the network.
    Routers(Vec<(Eui64, bool)>),
    /// Of [`NetworkOrder::Map`]: as it is known now.
    Map(Box<RadioMap>),
    /// Of [`NetworkOrder::AdmitRouter`] and [`NetworkOrder::RemoveRouter`]: that is stored.
    Done,
}

/// What was not carried, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Joins, returns and frames of devices that are not admitted.
    pub strangers: u64,
    /// Frames of admitted devices that are not the tunnel's.
    pub foreign: u64,
    /// Uplinks shed because the gateway was behind.
    pub shed: u64,
    /// How the network is at this moment.
    pub network: NetworkFacts,
}

/// A network as its operator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NetworkFacts {
    /// Which one, and on which channel; `None`: there is none.
    pub network: Option<Network>,
    /// Until when locks that were let in may join; `None`: it is closed.
    pub open_until: Option<Millis>,
}
