//! How to reach a broker.

mod address;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use cardea_broker::{Backoff, MqttConfig, TlsFiles, Wording};
use cardea_envelope::{DEFAULT_PREFIX, Encoding, PlatformTopics};
use serde::Deserialize;

pub use address::BrokerAddress;

use crate::Error;

/// Largest packet that is sent or looked at, bytes; an envelope is at most about 6 KB.
const MAX_PACKET: usize = 256 * 1024;

/// Larger packets up to this one are read, acknowledged and discarded. A packet above it cannot be skipped: it costs
/// the session at the broker, with the uplinks that wait in it, so only what no gateway and no accident makes may
/// reach it. Bytes.
const READ_LIMIT: usize = 16 * 1024 * 1024;

/// How long a broker may take to answer a connection attempt or SUBSCRIBE; twice that for an acknowledgement.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How payloads are written; must match the gateways'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PayloadEncoding {
    /// RFC 8259.
    #[default]
    Json,
    /// RFC 8949.
    Cbor,
}

impl From<PayloadEncoding> for Encoding {
    fn from(encoding: PayloadEncoding) -> Self {
        match encoding {
            PayloadEncoding::Json => Self::Json,
            PayloadEncoding::Cbor => Self::Cbor,
        }
    }
}

/// The settings of one MQTT 3.1.1 broker. Files are read anew at every connection, so that a rotated credential
/// needs no restart. TLS validation has no off switch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// [`BrokerAddress`]: `mqtt://host[:1883]` or `mqtts://host[:8883]`.
    pub url: String,
    /// MQTT client id; the broker keeps the session under it. At most 64 of `[A-Za-z0-9_-]`.
    #[serde(default = "default_client_id")]
    pub client_id: String,
    /// Topic prefix, as in the gateways' configuration.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// Topics that a cloud dictates, by name, as in the gateways' configuration (`[mqtt] topics`). Here each needs the
    /// level `{gateway}`.
    #[serde(default)]
    pub topics: BTreeMap<String, String>,
    /// Payload encoding, as in the gateways' configuration.
    #[serde(default)]
    pub encoding: PayloadEncoding,
    /// User name.
    #[serde(default)]
    pub username: Option<String>,
    /// File with the password, 1 to 65,535 bytes; one trailing line break is cut off.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// PEM file with the only certificate authorities to believe; without it the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client certificate chain.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// PEM file with the client's private key.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// Seconds between pings, 5 to 900. A dead connection is noticed within twice this time.
    #[serde(default = "default_keepalive")]
    pub keepalive_s: u16,
}

fn default_client_id() -> String {
    "cardea-platform".into()
}

fn default_prefix() -> String {
    DEFAULT_PREFIX.into()
}

fn default_keepalive() -> u16 {
    60
}

impl Broker {
    /// The broker at `url`, everything else by default.
    #[must_use]
    pub fn at(url: &str) -> Self {
        Self {
            url: url.into(),
            client_id: default_client_id(),
            prefix: default_prefix(),
            topics: BTreeMap::new(),
            encoding: PayloadEncoding::Json,
            username: None,
            password_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            keepalive_s: default_keepalive(),
        }
    }

    /// Publications under way at once.
    pub(crate) const IN_FLIGHT: u16 = 64;

    /// Reads every file and says what does not fit; a file is named. Blocks.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn check(&self) -> Result<(), Error> {
        self.mqtt()?.check().map_err(|fault| Error::Config(fault.to_string()))
    }

    /// The topics of all gateways.
    pub(crate) fn topics(&self) -> Result<PlatformTopics, Error> {
        PlatformTopics::new(&self.prefix, &self.topics).map_err(|e| Error::Config(format!("topics: {e}")))
    }

    /// What the link needs; looks into no file.
    pub(crate) fn mqtt(&self) -> Result<MqttConfig, Error> {
        let bad = |why: &str| Err(Error::Config(why.into()));
        let BrokerAddress { tls, host, port } =
            self.url.parse().map_err(|why| Error::Config(format!("url: {why}")))?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if self.client_id.is_empty() || self.client_id.len() > 64 || !self.client_id.bytes().all(plain) {
            return bad("client_id: 1 to 64 of letters, digits, `-` and `_`");
        }
        if !(5..=900).contains(&self.keepalive_s) {
            return bad("keepalive_s: 5 to 900");
        }
        if !tls && (self.ca_file.is_some() || self.cert_file.is_some() || self.key_file.is_some()) {
            return bad("ca_file, cert_file and key_file need an mqtts:// address");
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            return bad("cert_file and key_file belong together");
        }
        if self.password_file.is_some() && self.username.is_none() {
            return bad("password_file needs a username");
        }
        let mut mqtt = MqttConfig::new(host, port, &self.client_id);
        mqtt.tls = tls.then(|| TlsFiles {
            ca: self.ca_file.clone(),
            client: self.cert_file.clone().zip(self.key_file.clone()),
        });
        mqtt.username = self.username.clone();
        mqtt.password_file = self.password_file.clone();
        mqtt.keepalive = Duration::from_secs(self.keepalive_s.into());
        // Who wants to know sooner that the line is dead waits no longer for an answer either.
        mqtt.timeout = mqtt.keepalive.min(LONGEST_WAIT);
        mqtt.max_packet = MAX_PACKET;
        mqtt.read_limit = READ_LIMIT;
        mqtt.inflight = Self::IN_FLIGHT;
        mqtt.filters = self.topics()?.filters();
        mqtt.backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        mqtt.wording = Wording { me: "platform", inbound: "uplinks" };
        Ok(mqtt)
    }
}
