//! The types of single values: parsed once, valid afterwards.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Gives a type with `FromStr` and `Display` the serde and JSON Schema faces of a patterned string.
macro_rules! string_value {
    ($name:ident, $pattern:literal, $description:literal) => {
        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": $description })
            }
        }
    };
}

pub(crate) use string_value;

/// The name of a gateway: it is a topic level and, unless configured otherwise, the MQTT client id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GatewayName(String);

impl GatewayName {
    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GatewayName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        // The intersection of what brokers and clouds take as a client id.
        let fits = (1..=64).contains(&text.len());
        if fits && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is not a gateway id: 1 to 64 letters, digits, `-` and `_`"))
        }
    }
}

impl fmt::Display for GatewayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

string_value!(GatewayName, "^[A-Za-z0-9_-]{1,64}$", "1 to 64 letters, digits, - and _");

/// Address of an MQTT broker: `mqtt://host[:port]` (port 1883) or `mqtts://host[:port]` (TLS, port 8883).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BrokerUrl {
    /// True for `mqtts`; the certificate is then always checked against `host`.
    pub tls: bool,
    /// Host name or IP address, without the brackets of an IPv6 literal.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl FromStr for BrokerUrl {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (tls, rest) = if let Some(rest) = text.strip_prefix("mqtt://") {
            (false, rest)
        } else if let Some(rest) = text.strip_prefix("mqtts://") {
            (true, rest)
        } else {
            return Err(format!("{text:?} is not a broker address: mqtt://host:port or mqtts://host:port"));
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            // Also keeps a password out of the configuration, the logs and this message.
            return Err(
                "the user name belongs in `username`, the password in `password_file`, not in the address"
                    .into(),
            );
        }
        let (host, port) = match rest.strip_prefix('[') {
            Some(literal) => {
                let (host, after) = literal.split_once(']').ok_or("an IPv6 address needs its closing `]`")?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| format!("{host:?} is not an IPv6 address"))?;
                (
                    host,
                    if after.is_empty() {
                        None
                    } else {
                        Some(after.strip_prefix(':').ok_or("after `]` comes `:port`")?)
                    },
                )
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':');
        if host.is_empty() || host.len() > 253 || !host.bytes().all(name) {
            return Err(format!("{host:?} is not a host name or address"));
        }
        let port = match port {
            None => {
                if tls {
                    8883
                } else {
                    1883
                }
            }
            Some(port) => match port.parse() {
                Ok(port) if port != 0 => port,
                _ => return Err(format!("{port:?} is not a port: 1 to 65535")),
            },
        };
        Ok(Self { tls, host: host.to_owned(), port })
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

string_value!(BrokerUrl, "^mqtts?://[^@]+$", "mqtt://host[:port] or mqtts://host[:port]");

/// An EUI-64, 16 hexadecimal digits, most significant byte first as printed on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Eui64(pub [u8; 8]);

impl FromStr for Eui64 {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut eui = [0; 8];
        match hex::decode_to_slice(text, &mut eui) {
            Ok(()) => Ok(Self(eui)),
            Err(_) => Err(format!("{text:?} is not an EUI-64: 16 hexadecimal digits")),
        }
    }
}

impl fmt::Display for Eui64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

string_value!(Eui64, "^[0-9a-fA-F]{16}$", "16 hexadecimal digits");

/// A public key of the platform: P-256, compressed (SEC 1), 66 hexadecimal digits. Whether it is on the curve, the daemon checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PlatformKey(pub [u8; 33]);

impl FromStr for PlatformKey {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut key = [0; 33];
        match hex::decode_to_slice(text, &mut key) {
            Ok(()) if matches!(key, [2 | 3, ..]) => Ok(Self(key)),
            _ => Err(format!(
                "{text:?} is not a platform's key: 66 hexadecimal digits that begin with 02 or 03, as \
                 `cardea-platform gateway-key` prints it"
            )),
        }
    }
}

impl fmt::Display for PlatformKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

string_value!(PlatformKey, "^0[23][0-9a-fA-F]{64}$", "66 hexadecimal digits that begin with 02 or 03");

/// A button on a line of a GPIO chip: `gpiochip0:17`, to ground; with `:high` behind it, to the supply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GpioButton {
    /// Name below `/dev`.
    pub chip: String,
    /// Offset of the line.
    pub line: u32,
    /// It is pressed when the line is high.
    pub active_high: bool,
}

impl FromStr for GpioButton {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is not a button: gpiochip0:17 (to ground) or gpiochip0:17:high (to the supply)")
        };
        let mut parts = text.split(':');
        let chip = parts.next().filter(|chip| {
            chip.starts_with("gpiochip")
                && chip.len() <= 32
                && chip.bytes().all(|b| b.is_ascii_alphanumeric())
        });
        let line = parts.next().filter(|line| line.bytes().all(|b| b.is_ascii_digit()));
        let line = line.and_then(|line| line.parse().ok());
        let active_high = match (parts.next(), parts.next()) {
            (None, None) => false,
            (Some("high"), None) => true,
            _ => return Err(wrong()),
        };
        let (chip, line) = chip.zip(line).ok_or_else(wrong)?;
        Ok(Self { chip: chip.to_owned(), line, active_high })
    }
}

impl fmt::Display for GpioButton {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chip, line, active_high } = self;
        write!(f, "{chip}:{line}{}", if *active_high { ":high" } else { "" })
    }
}

string_value!(
    GpioButton,
    "^gpiochip[0-9A-Za-z]+:[0-9]+(:high)?$",
    "gpiochip0:17 (to ground) or gpiochip0:17:high (to the supply)"
);

/// An ordinary Zigbee lock that may be let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnsealedDevice {
    /// For people.
    pub name: String,
    /// It may be locked and unlocked over the broker.
    #[serde(default)]
    pub commands: bool,
}

impl UnsealedDevice {
    pub(crate) fn has_a_name(&self) -> bool {
        (1..=64).contains(&self.name.len()) && !self.name.chars().any(char::is_control)
    }
}

/// When an uplink leaves the gateway's custody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Custody {
    /// With the broker's acknowledgement. What the broker then loses is lost.
    Broker,
    /// With the platform's `seen`, for the classes interactive and log. Needs a platform that publishes it.
    Platform,
}

/// How topic payloads are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// JSON, binary values in base64.
    Json,
    /// CBOR.
    Cbor,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line an event, for people and journald.
    Text,
    /// One JSON object an event.
    Json,
}

/// Whether the system clock is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClockSource {
    /// Once systemd-timesyncd or chrony has synchronised it; until then interactive commands are refused.
    Auto,
    /// Always: the machine has a battery-backed clock, or another time service watches over it.
    Trust,
}

/// LoRaWAN region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Region {
    /// Europe, 863–870 MHz.
    #[serde(rename = "EU868")]
    Eu868,
    /// North America, 902–928 MHz.
    #[serde(rename = "US915")]
    Us915,
}

/// A LoRaWAN NetID, 6 hexadecimal digits, most significant byte first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetId(pub [u8; 3]);

impl FromStr for NetId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut id = [0; 3];
        match hex::decode_to_slice(text, &mut id) {
            Ok(()) => Ok(Self(id)),
            Err(_) => Err(format!("{text:?} is not a NetID: 6 hexadecimal digits")),
        }
    }
}

impl fmt::Display for NetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

string_value!(NetId, "^[0-9a-fA-F]{6}$", "6 hexadecimal digits");

/// How replayed LoRaWAN join attempts are recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DevNonce {
    /// LoRaWAN 1.0.3 and older: random, none twice.
    Unused,
    /// LoRaWAN 1.0.4: strictly rising.
    Rising,
}

/// A 16-bit number that the CSA assigns, 4 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ZigbeeId(pub u16);

impl FromStr for ZigbeeId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut id = [0; 2];
        match hex::decode_to_slice(text, &mut id) {
            Ok(()) => Ok(Self(u16::from_be_bytes(id))),
            Err(_) => Err(format!("{text:?} is not a cluster or manufacturer code: 4 hexadecimal digits")),
        }
    }
}

impl fmt::Display for ZigbeeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X}", self.0)
    }
}

string_value!(ZigbeeId, "^[0-9a-fA-F]{4}$", "4 hexadecimal digits");

/// Whose firmware a Zigbee dongle has, and who speaks with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ZigbeeFamily {
    /// ZBOSS NCP.
    Zboss,
    /// Silicon Labs EmberZNet NCP.
    Ezsp,
    /// ZBOSS NCP, by the vendor's host library in a program of its own.
    ZbossHost,
}

/// What both ends of a serial line do when one of them is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FlowControl {
    /// Nothing.
    None,
    /// RTS and CTS.
    Hardware,
    /// XON and XOFF.
    Software,
}
