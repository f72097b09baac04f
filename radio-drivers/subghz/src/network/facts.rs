//! What an operator sees.

use cardea_radio::Millis;
use cardea_subghz_link::GatewayStats;

use super::Network;
use crate::port::PortCounters;
use crate::{Micros, Tally};

/// What was not carried, and why, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// The link layer's.
    pub link: GatewayStats,
    /// The transceiver's.
    pub chip: Tally,
    /// What could not be sent.
    pub port: PortCounters,
    /// Uplinks shed because the gateway was behind.
    pub shed: u64,
    /// How the network is at this moment.
    pub network: NetworkFacts,
}

/// A network as its operator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NetworkFacts {
    /// Network id.
    pub id: u8,
    /// Channel number of the profile; `None`: it is in a serial module's own settings, which nobody can read.
    pub channel: Option<u8>,
    /// Centre of that channel, Hz.
    pub frequency_hz: Option<u32>,
    /// Until when locks that were let in may join; `None`: it is closed.
    pub open_until: Option<Millis>,
    /// Time on the air in the last hour, and what is allowed, µs.
    pub airtime: (Micros, Micros),
}

impl Network {
    /// All but what is the radio's.
    pub fn counters(&mut self, now: Micros) -> Counters {
        let channel = self.link.channel();
        let known = self.config.profile.carrier_sense().then_some(channel);
        let frequency_hz =
            known.and_then(|channel| self.config.profile.channels().get(usize::from(channel)).copied());
        // Whole tenths of a second: a watcher need not be woken by every frame.
        let used = self.link.air_time(now) / 100_000 * 100_000;
        Counters {
            link: self.link.stats(),
            shed: self.shed,
            network: NetworkFacts {
                id: self.settings.id,
                channel: known,
                frequency_hz,
                open_until: self.joins_until.map(|until| self.epoch.millis(until)),
                airtime: (used, self.config.region.budget()),
            },
            ..Counters::default()
        }
    }
}
