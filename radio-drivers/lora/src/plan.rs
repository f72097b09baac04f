//! The regional parameters that the network needs, answered by `lrwn`'s region module.

use lrwn::region::{self, CommonName, DataRateModulation, LoraDataRate, MacVersion, Revision};
use lrwn::{CFList, CFListChannelMasks, ChMask};

use crate::config::{ConfigError, LoraConfig, Region};

/// A LoRa modulation; coding rate 4/5 everywhere in LoRaWAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Modulation {
    /// Spreading factor, 7–12.
    pub(crate) sf: u8,
    /// Bandwidth, kHz.
    pub(crate) bw: u16,
}

/// One region as this network uses it.
pub(crate) struct Plan {
    pub(crate) region: Region,
    inner: Box<dyn region::Region + Sync + Send>,
    sub_band: u8,
    max_eirp: i8,
    /// Uplink channels in use: frequency and LinkADRReq channel index.
    channels: Vec<(u32, usize)>,
    /// RX2 as a device has it before we tell it anything.
    pub(crate) default_rx2: (u32, u8),
    /// RX2 as we want it.
    pub(crate) rx2: (u32, u8),
}

impl Plan {
    pub(crate) fn new(config: &LoraConfig) -> Result<Self, ConfigError> {
        let name = match config.region {
            Region::Eu868 => CommonName::EU868,
            Region::Us915 => CommonName::US915,
        };
        let mut inner = region::get(name, false, false);
        match config.region {
            Region::Eu868 => {
                for frequency in &config.extra_channels {
                    let usable =
                        (863_000_000..870_000_000).contains(frequency) && frequency.is_multiple_of(100);
                    if !usable || inner.add_channel(*frequency, 0, 5).is_err() {
                        return Err(ConfigError::Channel(*frequency));
                    }
                }
            }
            Region::Us915 => {
                let band = usize::from(config.sub_band.saturating_sub(1));
                for channel in inner.get_uplink_channel_indices() {
                    if channel / 8 != band && channel != 64 + band {
                        // Every index came from the region itself.
                        let _ = inner.disable_uplink_channel_index(channel);
                    }
                }
            }
        }
        let channels = inner
            .get_enabled_uplink_channel_indices()
            .into_iter()
            .filter_map(|index| Some((inner.get_uplink_channel(index).ok()?.frequency, index)))
            .collect();
        let defaults = inner.get_defaults();
        let default_rx2 = (defaults.rx2_frequency, defaults.rx2_dr);
        let rx2 = (config.rx2_frequency.unwrap_or(default_rx2.0), config.rx2_dr.unwrap_or(default_rx2.1));
        let plan = Self {
            region: config.region,
            inner,
            sub_band: config.sub_band,
            max_eirp: config.max_eirp,
            channels,
            default_rx2,
            rx2,
        };
        let band = match config.region {
            Region::Eu868 => 863_000_000..870_000_000,
            Region::Us915 => 923_000_000..928_000_000,
        };
        if !band.contains(&rx2.0) || !rx2.0.is_multiple_of(100) {
            return Err(ConfigError::Channel(rx2.0));
        }
        let down = match config.region {
            Region::Eu868 => 0..=6,
            Region::Us915 => 8..=13,
        };
        if !down.contains(&rx2.1) || plan.modulation(rx2.1).is_none() {
            return Err(ConfigError::DataRate(rx2.1));
        }
        Ok(plan)
    }

    /// The data rate of an uplink modulation.
    pub(crate) fn uplink_dr(&self, modulation: Modulation) -> Option<u8> {
        let lora = DataRateModulation::Lora(LoraDataRate {
            spreading_factor: modulation.sf,
            bandwidth: u32::from(modulation.bw) * 1000,
            coding_rate: "4/5".into(),
        });
        self.inner.get_data_rate_index(true, &lora).ok()
    }

    /// The modulation of a data rate; only LoRa is ours.
    pub(crate) fn modulation(&self, dr: u8) -> Option<Modulation> {
        match self.inner.get_data_rate(dr).ok()? {
            DataRateModulation::Lora(lora) => {
                Some(Modulation { sf: lora.spreading_factor, bw: u16::try_from(lora.bandwidth / 1000).ok()? })
            }
            _ => None,
        }
    }

    /// The channel on this frequency, exact to a kilohertz: its nominal frequency, and whether it is one of those
    /// that devices are told to use. `None` for a frequency that is no channel of the region.
    pub(crate) fn channel(&self, frequency: u32) -> Option<(u32, bool)> {
        let close = |f: u32| f.abs_diff(frequency) <= 1000;
        if let Some((f, _)) = self.channels.iter().find(|(f, _)| close(*f)) {
            return Some((*f, true));
        }
        let all = self.inner.get_uplink_channel_indices();
        all.into_iter()
            .filter_map(|i| self.inner.get_uplink_channel(i).ok())
            .map(|c| c.frequency)
            .find(|f| close(*f))
            .map(|f| (f, false))
    }

    /// Frequency and data rate of RX1 for an uplink.
    pub(crate) fn rx1(&self, frequency: u32, dr: u8, offset: u8) -> Option<(u32, u8)> {
        Some((self.inner.get_rx1_frequency_for_uplink_frequency(frequency).ok()?, self.rx1_dr(dr, offset)?))
    }

    /// Data rate of RX1 for an uplink data rate.
    pub(crate) fn rx1_dr(&self, dr: u8, offset: u8) -> Option<u8> {
        self.inner.get_rx1_data_rate_index(dr, usize::from(offset)).ok()
    }

    /// Longest FRMPayload and FOpts together at this data rate, bytes (N of RP002).
    pub(crate) fn max_payload(&self, dr: u8) -> usize {
        self.inner
            .get_max_payload_size(MacVersion::LORAWAN_1_0_4, Revision::Latest, dr)
            .map_or(0, |size| size.n)
    }

    /// Transmit power on this frequency, dBm EIRP.
    pub(crate) fn eirp(&self, frequency: u32) -> i8 {
        i8::try_from(self.inner.get_downlink_tx_power_eirp(frequency)).unwrap_or(14).min(self.max_eirp)
    }

    /// Channels or channel mask for the join-accept.
    pub(crate) fn cf_list(&self) -> Option<CFList> {
        match self.region {
            Region::Eu868 => self.inner.get_cf_list(MacVersion::LORAWAN_1_0_4),
            // Five masks of 16 channels; lrwn's own would be the same, but from its public parts it is plain to see.
            Region::Us915 => {
                let mut masks = vec![ChMask::new([false; 16]); 5];
                for (_, index) in &self.channels {
                    if let Some(mask) = masks.get_mut(index / 16) {
                        mask.set(index % 16, true);
                    }
                }
                Some(CFList::ChannelMask(CFListChannelMasks::new(masks)))
            }
        }
    }

    /// The channel masks of a LinkADRReq block, as (ChMaskCntl, ChMask), in the order they must be sent.
    pub(crate) fn channel_masks(&self) -> Vec<(u8, u16)> {
        let mask = |from: usize| {
            self.channels
                .iter()
                .filter(|(_, index)| (from..from + 16).contains(index))
                .fold(0u16, |mask, (_, index)| mask | 1 << (index % 16))
        };
        match self.region {
            Region::Eu868 => vec![(0, mask(0))],
            Region::Us915 => {
                // 7: all 125 kHz channels off, the mask is that of the eight 500 kHz ones; then ours on again.
                let block = self.sub_band.saturating_sub(1) / 2;
                vec![(7, mask(64)), (block, mask(usize::from(block) * 16))]
            }
        }
    }

    /// Fastest uplink data rate that ADR may choose, and the highest TXPower index.
    pub(crate) fn adr_limits(&self) -> (u8, u8) {
        match self.region {
            Region::Eu868 => (5, 7),
            Region::Us915 => (3, 10),
        }
    }

    /// Longest emission allowed on this modulation, microseconds (FCC 15.247(a)(1): 400 ms of dwell for anything
    /// narrower than 500 kHz).
    pub(crate) fn dwell_limit(&self, modulation: Modulation) -> Option<u64> {
        (self.region == Region::Us915 && modulation.bw < 500).then_some(400_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(region: Region) -> Plan {
        Plan::new(&LoraConfig { region, ..LoraConfig::default() }).unwrap()
    }

    #[test]
    fn eu868_by_rp002() {
        let plan = plan(Region::Eu868);
        assert_eq!(plan.uplink_dr(Modulation { sf: 12, bw: 125 }), Some(0));
        assert_eq!(plan.uplink_dr(Modulation { sf: 7, bw: 250 }), Some(6));
        assert_eq!(plan.rx1(868_100_000, 5, 0), Some((868_100_000, 5)));
        assert_eq!(plan.rx1(868_100_000, 5, 2), Some((868_100_000, 3)));
        assert_eq!(plan.rx2, (869_525_000, 0));
        assert_eq!([0, 1, 2, 3, 4, 5].map(|dr| plan.max_payload(dr)), [51, 51, 51, 115, 222, 242]);
        assert_eq!((plan.eirp(868_100_000), plan.eirp(869_525_000)), (16, 27));
        assert_eq!(plan.channel(868_100_400), Some((868_100_000, true)));
        assert_eq!(plan.channel(868_200_000), None);
        assert_eq!(plan.channel_masks(), vec![(0, 0x00ff)]);
        assert_eq!(plan.dwell_limit(Modulation { sf: 12, bw: 125 }), None);
    }

    #[test]
    fn us915_by_rp002() {
        let plan = plan(Region::Us915);
        assert_eq!(plan.uplink_dr(Modulation { sf: 10, bw: 125 }), Some(0));
        assert_eq!(plan.uplink_dr(Modulation { sf: 8, bw: 500 }), Some(4));
        // Channel 8 answers on downlink channel 0, channel 9 on 1.
        assert_eq!(plan.rx1(903_900_000, 0, 0), Some((923_300_000, 10)));
        assert_eq!(plan.rx1(904_100_000, 3, 0), Some((923_900_000, 13)));
        assert_eq!(plan.rx2, (923_300_000, 8));
        assert_eq!([0, 1, 2, 3, 8].map(|dr| plan.max_payload(dr)), [11, 53, 125, 242, 53]);
        assert_eq!(plan.channel(903_900_000), Some((903_900_000, true)));
        assert_eq!(plan.channel(902_300_000), Some((902_300_000, false)));
        assert_eq!(plan.channel_masks(), vec![(7, 0x0002), (0, 0xff00)]);
        assert_eq!(plan.dwell_limit(Modulation { sf: 10, bw: 125 }), Some(400_000));
        assert_eq!(plan.dwell_limit(Modulation { sf: 12, bw: 500 }), None);
        let bytes = plan.cf_list().unwrap().to_bytes().unwrap();
        assert_eq!(hex::encode(bytes), "00ff0000000000000200000000000001");
    }
}
