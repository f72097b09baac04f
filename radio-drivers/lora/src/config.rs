//! What the operator decides about a LoRaWAN network, and the checks that keep impossible settings out.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

/// Settings of one LoRaWAN network: one region, one packet forwarder at a time.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// Where the packet forwarder finds us, UDP. The protocol has no protection at all, so anything but the
    /// loopback interface needs a tunnel and a list of [`forwarders`](Self::forwarders).
    pub bind: SocketAddr,
    /// Regional parameters.
    pub region: Region,
    /// US915: which eight of the 64 channels the concentrator listens to, 1–8 (RP002 calls them by their first
    /// channel; sub-band 2 is channels 8–15 and 65). Other regions ignore it.
    pub sub_band: u8,
    /// EU868: channels beside the three mandatory ones, Hz, at most five; devices learn them when they join. The
    /// concentrator must listen to them. Other regions ignore it.
    pub extra_channels: Vec<u32>,
    /// EUIs of the packet forwarders that may serve us; empty means any, which only a loopback `bind` allows.
    pub forwarders: Vec<Eui>,
    /// NetID, most significant byte first; `000000` and `000001` are free for private networks.
    pub net_id: [u8; 3],
    /// How DevNonces are judged.
    pub dev_nonce: DevNoncePolicy,
    /// Devices (by DevEUI) whose DevNonces are judged otherwise.
    pub dev_nonce_of: BTreeMap<Eui, DevNoncePolicy>,
    /// Seconds from the end of an uplink to RX1, 1–15. Five leaves the owner's platform time to answer.
    pub rx1_delay: u8,
    /// RX1 data rate offset (EU868 0–5, US915 0–3).
    pub rx1_dr_offset: u8,
    /// RX2 data rate; the region's default when absent. EU868 class C locks answer seven times faster with 3.
    pub rx2_dr: Option<u8>,
    /// RX2 frequency, Hz; the region's default when absent.
    pub rx2_frequency: Option<u32>,
    /// Transmit power is the region's limit for the frequency, but never more than this, dBm EIRP.
    pub max_eirp: i8,
    /// The packet forwarder gets a timed downlink at least this long before its time, milliseconds: 42.5 ms is
    /// what its scheduler needs, the rest covers the way there. 60–500.
    pub lead_ms: u32,
    /// Steer data rate and power of devices that ask for it (ADR).
    pub adr: bool,
    /// More admissions than this are refused.
    pub max_devices: usize,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 1700)),
            region: Region::Eu868,
            sub_band: 2,
            extra_channels: vec![867_100_000, 867_300_000, 867_500_000, 867_700_000, 867_900_000],
            forwarders: Vec::new(),
            net_id: [0; 3],
            dev_nonce: DevNoncePolicy::Unused,
            dev_nonce_of: BTreeMap::new(),
            rx1_delay: 5,
            rx1_dr_offset: 0,
            rx2_dr: None,
            rx2_frequency: None,
            max_eirp: 27,
            lead_ms: 150,
            adr: true,
            max_devices: 20_000,
        }
    }
}

/// Regional parameters (RP002) that are implemented and tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Region {
    /// Europe, 863–870 MHz.
    #[serde(rename = "EU868")]
    Eu868,
    /// Americas, 902–928 MHz.
    #[serde(rename = "US915")]
    Us915,
}

/// Which DevNonces a join-request may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DevNoncePolicy {
    /// LoRaWAN 1.0.3 and older: random, none twice. The last [`MAX_USED_NONCES`](crate::MAX_USED_NONCES) are
    /// remembered; an older one heard again can at worst open a session that nobody ever uses.
    Unused,
    /// LoRaWAN 1.0.4: strictly rising.
    Rising,
}

/// An EUI-64, most significant byte first, as printed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Eui(pub [u8; 8]);

impl fmt::Display for Eui {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Eui {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Eui {
    type Err = ConfigError;

    /// Sixteen hexadecimal digits, also with `:` or `-` between the bytes.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-')).collect();
        let mut out = [0; 8];
        hex::decode_to_slice(&digits, &mut out).map_err(|_| ConfigError::Eui(text.to_owned()))?;
        Ok(Self(out))
    }
}

impl<'de> Deserialize<'de> for Eui {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A setting that cannot work; the text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not an EUI-64.
    #[error("{0:?} is not an EUI: 16 hexadecimal digits are expected")]
    Eui(String),
    /// Reachable by everyone, and everyone is believed.
    #[error(
        "{0} is not a loopback address: the packet-forwarder protocol has no protection, so list `forwarders`"
    )]
    OpenBind(SocketAddr),
    /// A number outside its range.
    #[error("{name} is {value}, it must be {range}")]
    Range {
        /// The setting.
        name: &'static str,
        /// What it is.
        value: u64,
        /// What it may be.
        range: &'static str,
    },
    /// A channel that the region does not have.
    #[error("{0} Hz is not a channel of this region")]
    Channel(u32),
    /// A data rate that the region does not have for downlinks.
    #[error("data rate {0} is not a downlink data rate of this region")]
    DataRate(u8),
}

impl LoraConfig {
    /// Finds the first setting that cannot work.
    ///
    /// # Errors
    /// Names that setting.
    pub fn check(&self) -> Result<(), ConfigError> {
        let range = |name, value: u64, low, high, range| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(ConfigError::Range { name, value, range })
            }
        };
        if !self.bind.ip().is_loopback() && self.forwarders.is_empty() {
            return Err(ConfigError::OpenBind(self.bind));
        }
        range("rx1_delay", u64::from(self.rx1_delay), 1, 15, "1 to 15 seconds")?;
        range("lead_ms", u64::from(self.lead_ms), 60, 500, "60 to 500 milliseconds")?;
        range("sub_band", u64::from(self.sub_band), 1, 8, "1 to 8")?;
        range("max_devices", self.max_devices as u64, 1, 1_000_000, "1 to 1000000")?;
        range("extra_channels", self.extra_channels.len() as u64, 0, 5, "a list of at most 5 channels")?;
        let offsets = match self.region {
            Region::Eu868 => 5,
            Region::Us915 => 3,
        };
        range(
            "rx1_dr_offset",
            u64::from(self.rx1_dr_offset),
            0,
            offsets,
            "0 to 5 (EU868) or 0 to 3 (US915)",
        )?;
        // The regional plan finds impossible channels and data rates.
        crate::plan::Plan::new(self).map(|_| ())
    }

    /// The rule for this device's DevNonces.
    #[must_use]
    pub fn dev_nonce_policy(&self, dev_eui: &Eui) -> DevNoncePolicy {
        self.dev_nonce_of.get(dev_eui).copied().unwrap_or(self.dev_nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_work_and_impossible_settings_are_named() {
        LoraConfig::default().check().unwrap();
        LoraConfig { region: Region::Us915, ..LoraConfig::default() }.check().unwrap();
        let open = "0.0.0.0:1700".parse().unwrap();
        let mut config = LoraConfig { bind: open, ..LoraConfig::default() };
        assert_eq!(config.check(), Err(ConfigError::OpenBind(open)));
        config.forwarders.push("AA:55:5A:00:00:00:01:01".parse().unwrap());
        config.check().unwrap();
        let refused = |config: LoraConfig| config.check().unwrap_err().to_string();
        assert!(refused(LoraConfig { rx1_delay: 0, ..LoraConfig::default() }).starts_with("rx1_delay is 0"));
        assert!(refused(LoraConfig { rx2_dr: Some(9), ..LoraConfig::default() }).contains("data rate 9"));
        assert!(refused(LoraConfig { extra_channels: vec![1], ..LoraConfig::default() }).contains("1 Hz"));
        assert!(
            refused(LoraConfig { rx2_frequency: Some(433_000_000), ..LoraConfig::default() }).contains("433")
        );
    }

    #[test]
    fn it_reads_what_an_operator_writes() {
        let text = r#"{"region": "US915", "forwarders": ["aa555a0000000101"],
            "dev_nonce_of": {"0004a30b001c0530": "rising"}}"#;
        let config: LoraConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.region, Region::Us915);
        let eui = Eui([0x00, 0x04, 0xa3, 0x0b, 0x00, 0x1c, 0x05, 0x30]);
        assert_eq!(config.dev_nonce_policy(&eui), DevNoncePolicy::Rising);
        assert_eq!(config.dev_nonce_policy(&Eui([0; 8])), DevNoncePolicy::Unused);
        assert!(serde_json::from_str::<LoraConfig>(r#"{"regoin": "US915"}"#).is_err());
    }
}
