//! What an operator looks at beside the locks: radios, the log, the broker, the machine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One radio, closer than [`Radio`](crate::Radio).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RadioDetail {
    /// Its name.
    pub radio: String,
    /// The network's own name, 16 hexadecimal digits; `None`: it has none, or there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Zigbee: the channel, 11–26.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<u8>,
    /// Seconds for which locks that were let in may still join; `None`: the network is closed, or has no such window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_s: Option<u64>,
    /// Whether its network can be backed up and restored.
    pub moves: bool,
    /// What was emitted in the last hour, by sub-band; empty where no law counts it.
    #[serde(default)]
    pub duty: Vec<DutyBand>,
}

/// What was emitted in one sub-band in the last hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DutyBand {
    /// Lowest frequency, Hz.
    pub low: u32,
    /// First frequency above it, Hz.
    pub high: u32,
    /// Emitted, milliseconds.
    pub used_ms: u64,
    /// Allowed in any hour, milliseconds.
    pub budget_ms: u64,
}

/// How important a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Somebody has to act.
    Error,
    /// Somebody should look.
    Warn,
    /// What happens.
    Info,
    /// Details, with ids of locks.
    Debug,
    /// Each frame.
    Trace,
}

impl LogLevel {
    /// All of them, most important first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// As in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl std::str::FromStr for LogLevel {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|level| level.as_str() == text).ok_or(())
    }
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// Counts from 1 at the daemon's start; what is skipped was not kept, or was not asked for.
    pub number: u64,
    /// When, Unix milliseconds by the system clock.
    pub at: u64,
    /// How important.
    pub level: LogLevel,
    /// Which part of the gateway.
    pub part: String,
    /// What, on one line, without control characters.
    pub text: String,
}

/// To `Logs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Logs {
    /// What fits, oldest first.
    pub lines: Vec<LogLine>,
    /// Number of the newest line there is, whether it fits or not.
    pub newest: u64,
    /// Number of the oldest line that is still kept.
    pub oldest: u64,
}

/// How to reach a broker, to be tried. A key of the configuration's section `[mqtt]` each; empty: not set.
///
/// No `Debug`: it holds a password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BrokerTrial {
    /// `mqtt://host:port` or `mqtts://host:port`.
    pub url: String,
    /// User name. Without one that of the configuration is used, with its password, but only for the broker that is configured.
    #[serde(default)]
    pub username: String,
    /// The password itself.
    #[serde(default)]
    pub password: String,
    /// File on the gateway.
    #[serde(default)]
    pub ca_file: String,
    /// File on the gateway.
    #[serde(default)]
    pub cert_file: String,
    /// File on the gateway.
    #[serde(default)]
    pub key_file: String,
}

/// The broker of the configuration, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BrokerSettings {
    /// `mqtt://host:port` or `mqtts://host:port`.
    pub url: String,
    /// Whether there is a user name. Some clouds give out a token as one, so it is not told.
    pub has_username: bool,
    /// Whether there is a file with a password.
    pub has_password: bool,
    /// Path on the gateway; empty: none.
    pub ca_file: String,
    /// Path on the gateway; empty: none.
    pub cert_file: String,
    /// Path on the gateway; empty: none.
    pub key_file: String,
}

/// What came of a trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BrokerTest {
    /// What worked, in order.
    pub passed: Vec<BrokerStep>,
    /// What did not, and why; `None`: all of it worked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<BrokerFault>,
    /// The client id that the trial used: the gateway's own would throw the gateway off its broker.
    pub client_id: String,
}

/// What a connection to a broker takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BrokerStep {
    /// The address and the files make sense.
    Settings,
    /// The name has an address.
    Name,
    /// Something listens there.
    Tcp,
    /// It has a certificate that convinces.
    Tls,
    /// It takes user name and password.
    Login,
    /// It lets the gateway hear its commands.
    Subscribe,
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BrokerFault {
    /// Which.
    pub step: BrokerStep,
    /// Why, as a word.
    pub cause: BrokerCause,
    /// What the system or the broker said, in English; never a secret.
    pub detail: String,
}

/// Why a broker cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BrokerCause {
    /// A setting or a file of ours.
    Settings,
    /// Nobody knows the name.
    NameUnknown,
    /// Nothing listens on that port.
    PortClosed,
    /// There is no way to the address.
    Unreachable,
    /// No answer.
    Silent,
    /// The certificate is of an authority that is not trusted here.
    Issuer,
    /// The certificate has expired.
    Expired,
    /// The certificate is not valid yet.
    NotYet,
    /// The certificate is for another name.
    OtherName,
    /// The certificate has another fault.
    Certificate,
    /// That port does not speak TLS, or wants a client certificate that it did not get.
    Tls,
    /// The broker speaks another version of MQTT.
    Version,
    /// The client id is not allowed.
    ClientId,
    /// The broker is not ready.
    NotReady,
    /// Wrong user name or password.
    Password,
    /// The user may not connect.
    NotAuthorised,
    /// The user may not subscribe.
    MayNotSubscribe,
    /// That is no MQTT broker.
    NotMqtt,
}

/// What the gateway remembers of a lock's link and commands; gone with a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trace {
    /// How it was heard, oldest first, at most 48.
    pub heard: Vec<HeardSample>,
    /// Its downlinks: those under way, and the last that came to an end; newest first.
    pub commands: Vec<CommandState>,
}

/// How a lock was heard during a span of time: the weakest of its frames.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeardSample {
    /// Last frame of the span, Unix milliseconds.
    pub at: u64,
    /// dBm.
    pub rssi: Option<i16>,
    /// dB.
    pub snr: Option<f32>,
    /// 0–255.
    pub lqi: Option<u8>,
    /// Frames in it.
    pub frames: u32,
}

/// One downlink, which the gateway cannot read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandState {
    /// 32 hexadecimal digits.
    pub id: String,
    /// `queued`, `sent`, `delivered`, `expired`, `refused` or `failed`.
    pub state: String,
    /// Why, as a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when it is in this state, Unix milliseconds.
    pub at: u64,
    /// When it ends in any case, Unix milliseconds.
    pub not_after: u64,
    /// Nothing more will come of it.
    pub over: bool,
}

/// The machine that the gateway runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Unix milliseconds.
    pub now: u64,
    /// Whether the clock can be believed.
    pub clock_synced: bool,
    /// How that is known: `auto` asks the system, `trust` believes it always.
    pub clock_source: String,
    /// Its addresses, with the interface they are on; not those of loopback.
    pub addresses: Vec<HostAddress>,
}

/// An address of the machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct HostAddress {
    /// Of the interface.
    pub interface: String,
    /// The address.
    pub address: std::net::IpAddr,
}
