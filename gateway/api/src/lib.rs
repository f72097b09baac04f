//! The local control API of the gateway daemon.
//!
//! One typed API for everything that administers a gateway from beside it: the command line, and the local web
//! page. Over the daemon's Unix socket each [`Request`] is one line of JSON and is answered by one line with an
//! [`Answer`], in order. A line that says how many `bytes` has as many behind it, raw: a [`Secret`], which is never text. Who may connect to the socket may do everything here; the file's permissions are the
//! access control.
//!
//! The same socket speaks HTTP/1.1 to those who begin with it: `POST /v1/<verb>` with the other members as a JSON object.
//! [`openapi`] describes that, from the types here.
//!
//! [`Client`] is the blocking end of the command line. What this crate does not do: serve. That is the daemon's.

mod client;
mod map;
mod openapi;
mod operate;
mod peer;
mod secret;

use std::collections::BTreeMap;

use cardea_framing::LockId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use client::{Client, ClientError, PeerClient};
pub use map::{MapBehind, MapDevice, MapKind, RadioMap};
pub use openapi::{LINES_ONLY, is_verb, openapi};
pub use operate::{
    BrokerCause, BrokerFault, BrokerSettings, BrokerStep, BrokerTest, BrokerTrial, CommandState, DutyBand,
    HeardSample, Host, HostAddress, LogLevel, LogLine, Logs, RadioDetail, Trace,
};
pub use peer::{PeerEvent, PeerLine};
pub use secret::Secret;

/// Longest line either way, bytes. A list of all locks is the longest there is.
pub const MAX_REPLY: usize = 64 * 1024 * 1024;

/// Longest request line, bytes.
pub const MAX_REQUEST: usize = 4096;

/// The most bytes behind a line, either way: the longest backup of a radio network.
pub const MAX_SECRET: usize = 512 * 1024;

/// What is asked of the daemon.
///
/// No `Debug`: a label holds a radio admission secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How the gateway is. Answered by [`Reply::Status`].
    Status {},
    /// Who is admitted. Answered by [`Reply::Locks`].
    Locks {},
    /// Let a lock in by its radio label. Answered by [`Reply::Admitted`] once that is durable.
    Admit {
        /// The text of the label.
        label: String,
    },
    /// Speak to a lock as a peer. Answered by [`Reply::Attached`]; from then on the connection carries [`PeerLine`]s and
    /// [`PeerEvent`]s, and no requests any more.
    Attach {
        /// Lock id, 16 hexadecimal digits.
        #[serde(with = "lock_id")]
        #[schemars(schema_with = "lock_id::schema")]
        lock: LockId,
    },
    /// Form a network on a radio whose networks are formed by an order. Answered by [`Reply::Network`] once that is durable,
    /// which may take two minutes.
    FormNetwork {
        /// Name of the radio.
        radio: String,
        /// Also where there is one: it is erased, and its locks must join anew.
        replace: bool,
    },
    /// Take over the network that a radio's hardware is in. Answered by [`Reply::Network`].
    AdoptNetwork {
        /// Name of the radio.
        radio: String,
    },
    /// Take a backup of a radio network that runs. Answered by [`Reply::Backup`].
    BackUpNetwork {
        /// Name of the radio.
        radio: String,
    },
    /// Make a radio's hardware the coordinator of a backup. Answered by [`Reply::Restored`] once that is durable, which may take
    /// two minutes.
    RestoreNetwork {
        /// Name of the radio.
        radio: String,
        /// Also where the hardware remembers a network, or the backup is of another network than the gateway's.
        replace: bool,
        /// How many bytes the backup has; 0: the one that the gateway keeps.
        bytes: u32,
        /// The backup, behind the line.
        #[serde(skip)]
        file: Secret,
    },
    /// Give a radio network another key. Answered by [`Reply::KeyRotated`] once that is durable, which may take two minutes.
    RotateNetworkKey {
        /// Name of the radio.
        radio: String,
    },
    /// Which routers of a radio network are admitted. Answered by [`Reply::Routers`].
    Routers {
        /// Name of the radio.
        radio: String,
    },
    /// Let a router in, which carries others' frames. Answered by [`Reply::Done`] once that is durable.
    AdmitRouter {
        /// Name of the radio.
        radio: String,
        /// Its EUI-64 and its install code as on its label, divided by a slash; all hexadecimal.
        label: String,
    },
    /// Forget a router, and have it leave. Answered by [`Reply::Done`] once that is durable.
    RemoveRouter {
        /// Name of the radio.
        radio: String,
        /// EUI-64, 16 hexadecimal digits.
        router: String,
    },
    /// Who is behind whom in a radio network, as far as routers have said. Answered by [`Reply::RadioMap`], with what is known by
    /// now.
    RadioMap {
        /// Name of the radio.
        radio: String,
        /// Ask the routers anew, one after the other; refused within a minute of the last time.
        #[serde(default)]
        survey: bool,
    },
    /// Which ordinary locks there are, that are not end-to-end protected. Answered by [`Reply::Unsealed`].
    Unsealed {},
    /// Let an ordinary lock in. Answered by [`Reply::Done`] once that is durable.
    AdmitUnsealed {
        /// Its EUI-64 and its install code as on its label, divided by a slash; all hexadecimal.
        label: String,
    },
    /// Forget an ordinary lock. Answered by [`Reply::Done`].
    RemoveUnsealed {
        /// EUI-64, 16 hexadecimal digits.
        lock: String,
    },
    /// Make the code that claims the local page. Answered by [`Reply::ClaimCode`], this once; a code made before is void.
    ClaimCode {},
    /// Say beside the gateway that the claim which comes within two minutes is yours. Answered by [`Reply::Done`].
    ConfirmClaim {},
    /// Make the code that sets the local page's password anew within ten minutes. Answered by [`Reply::ClaimCode`], this once.
    Recover {},
    /// What the local page's certificate is. Answered by [`Reply::Fingerprint`].
    Fingerprint {},
    /// The radios, closer than the status has them. Answered by [`Reply::Radios`].
    Radios {},
    /// The newest lines of the log, oldest first. Answered by [`Reply::Logs`].
    Logs {
        /// Only lines with a higher number.
        #[serde(default)]
        after: u64,
        /// Only lines that are at least as important; `None`: all.
        #[serde(default)]
        level: Option<LogLevel>,
        /// Only lines that have this in them, in capitals or not.
        #[serde(default)]
        words: String,
        /// At most so many; the newest.
        most: u32,
    },
    /// A lock's link and commands, as far as the gateway remembers. Answered by [`Reply::Trace`].
    Trace {
        /// Lock id, 16 hexadecimal digits.
        #[serde(with = "lock_id")]
        #[schemars(schema_with = "lock_id::schema")]
        lock: LockId,
    },
    /// The configuration that is in force, without what may be secret. Answered by [`Reply::Configuration`].
    Configuration {},
    /// Try to reach a broker. Answered by [`Reply::BrokerTest`] within half a minute; the gateway's own link is left alone.
    TestBroker(BrokerTrial),
    /// The machine that the gateway runs on. Answered by [`Reply::Host`].
    Host {},
    /// How long frames have waited. Answered by [`Reply::Oldest`].
    Oldest {},
    /// What somebody who helps wants to have. Answered by [`Reply::Bundle`].
    Diagnose {},
    /// Forget a lock. Answered by [`Reply::Done`] once that is durable.
    Remove {
        /// Lock id, 16 hexadecimal digits.
        #[serde(with = "lock_id")]
        #[schemars(schema_with = "lock_id::schema")]
        lock: LockId,
    },
}

/// Why a line is not a request; the sender is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Longer than [`MAX_REQUEST`].
    #[error("a request is one line of at most {MAX_REQUEST} bytes")]
    TooLong,
    /// Not a request.
    #[error("not a request: {0}")]
    Malformed(String),
}

impl Request {
    /// Reads one line, with or without its newline.
    ///
    /// # Errors
    /// [`RequestError`]; its text never repeats what a label holds.
    pub fn parse(line: &[u8]) -> Result<Self, RequestError> {
        if line.len() > MAX_REQUEST {
            return Err(RequestError::TooLong);
        }
        request(line)
    }

    /// The request of a verb and of its other members, as HTTP carries them: a JSON object, or nothing.
    ///
    /// # Errors
    /// [`RequestError`]; its text never repeats what a label holds.
    pub fn of(verb: &str, members: &[u8]) -> Result<Self, RequestError> {
        let no_object = || RequestError::Malformed("the body is no JSON object".into());
        let members = if members.trim_ascii().is_empty() { b"{}" } else { members };
        let mut members: serde_json::Map<_, _> = serde_json::from_slice(members).map_err(|_| no_object())?;
        if members.insert("verb".into(), verb.into()).is_some() {
            return Err(RequestError::Malformed("`verb` is in the path".into()));
        }
        Self::parse(&serde_json::to_vec(&members).map_err(|_| no_object())?)
    }

    /// What comes behind the line: how many bytes, and where they are put; `None`: nothing does.
    pub fn secret(&mut self) -> Option<(u32, &mut Secret)> {
        match self {
            Self::RestoreNetwork { bytes, file, .. } if *bytes > 0 => Some((*bytes, file)),
            _ => None,
        }
    }

    /// True for what a radio's hardware may take minutes for.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        matches!(
            self,
            Self::FormNetwork { .. }
                | Self::AdoptNetwork { .. }
                | Self::BackUpNetwork { .. }
                | Self::RestoreNetwork { .. }
                | Self::RotateNetworkKey { .. }
        )
    }
}

pub(crate) fn request<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, RequestError> {
    serde_json::from_slice(line).map_err(|error| {
        // serde_json's own text may quote a value.
        let what = match error.classify() {
            serde_json::error::Category::Data => {
                "a verb this daemon does not know, or a member that does not belong to it"
            }
            _ => "not JSON",
        };
        RequestError::Malformed(format!("{what}, at column {}", error.column()))
    })
}

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Answer {
    /// Done.
    Ok {
        /// What was asked for.
        data: Reply,
    },
    /// Not done.
    Error {
        /// What is wrong and what to do, for the operator.
        error: String,
    },
}

/// What comes with a good answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Locks`].
    Locks(Vec<Lock>),
    /// To [`Request::Admit`].
    Admitted {
        /// Which lock it is.
        #[serde(with = "lock_id")]
        #[schemars(schema_with = "lock_id::schema")]
        lock: LockId,
        /// On which radio.
        radio: String,
    },
    /// To [`Request::Attach`].
    Attached {
        /// The peer's own site address, as long as the connection lives.
        address: u16,
        /// The lock's.
        lock: u16,
    },
    /// To [`Request::FormNetwork`] and [`Request::AdoptNetwork`].
    Network {
        /// Name of the radio.
        radio: String,
        /// The network's own name, 16 hexadecimal digits.
        id: String,
        /// Where it is: Zigbee, 11–26.
        channel: u8,
    },
    /// To [`Request::BackUpNetwork`].
    Backup {
        /// Name of the radio.
        radio: String,
        /// The network's own name, 16 hexadecimal digits.
        id: String,
        /// Devices in it.
        devices: u64,
        /// How many bytes the backup has.
        bytes: u32,
        /// The backup, behind the line.
        #[serde(skip)]
        file: Secret,
    },
    /// To [`Request::RestoreNetwork`].
    Restored {
        /// Name of the radio.
        radio: String,
        /// The network's own name, 16 hexadecimal digits.
        id: String,
        /// Where it is: Zigbee, 11–26.
        channel: u8,
        /// Admitted locks that are not in the backup and must join anew.
        anew: u64,
        /// Devices of the backup that are not admitted.
        strangers: u64,
    },
    /// To [`Request::RotateNetworkKey`].
    KeyRotated {
        /// Name of the radio.
        radio: String,
        /// The new key's number.
        number: u8,
    },
    /// To [`Request::Routers`].
    Routers(Vec<Router>),
    /// To [`Request::RadioMap`].
    RadioMap(RadioMap),
    /// To [`Request::Unsealed`].
    Unsealed(Vec<UnsealedLock>),
    /// To [`Request::ClaimCode`] and [`Request::Recover`].
    ClaimCode {
        /// To be typed into the page; kept by nobody.
        code: ClaimCode,
    },
    /// To [`Request::Fingerprint`].
    Fingerprint {
        /// SHA-256 of the certificate, as browsers show it.
        sha256: String,
    },
    /// To [`Request::Radios`].
    Radios(Vec<RadioDetail>),
    /// To [`Request::Logs`].
    Logs(Logs),
    /// To [`Request::Trace`].
    Trace(Trace),
    /// To [`Request::Configuration`].
    Configuration {
        /// TOML.
        toml: String,
        /// Of it, what a form for the broker starts from.
        broker: BrokerSettings,
    },
    /// To [`Request::Oldest`].
    Oldest {
        /// When the oldest frame on disk came in, Unix milliseconds; `None`: there is none.
        at: Option<u64>,
    },
    /// To [`Request::TestBroker`].
    BrokerTest(BrokerTest),
    /// To [`Request::Host`].
    Host(Host),
    /// To [`Request::Diagnose`].
    Bundle {
        /// How many bytes it has.
        bytes: u32,
        /// A `tar.gz`, behind the line. It holds no secret.
        #[serde(skip)]
        file: Secret,
    },
    /// To everything else.
    Done,
}

impl Reply {
    /// What comes behind the line: how many bytes, and where they are put; `None`: nothing does.
    pub fn secret(&mut self) -> Option<(u32, &mut Secret)> {
        match self {
            Self::Backup { bytes, file, .. } | Self::Bundle { bytes, file } => Some((*bytes, file)),
            _ => None,
        }
    }
}

/// What claims the local page: 80 random bits in 16 letters and digits. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ClaimCode(pub String);

impl std::fmt::Debug for ClaimCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClaimCode(..)")
    }
}

/// How the gateway is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Gateway id.
    pub gateway: String,
    /// Software version.
    pub version: String,
    /// Seconds since the daemon started.
    pub uptime_s: u64,
    /// Whether the system clock can be believed.
    pub clock_synced: bool,
    /// The broker.
    pub broker: Broker,
    /// Radios by name.
    pub radios: BTreeMap<String, Radio>,
    /// Admitted locks.
    pub locks: u64,
    /// Frames that wait for the broker or the platform.
    pub outbox_frames: u64,
    /// Their bytes on disk.
    pub outbox_bytes: u64,
    /// Frames dropped since the start, each announced by a gap.
    pub dropped: u64,
    /// Store operations that failed since the start.
    pub store_failures: u64,
    /// The bridge of ordinary locks, which are not end-to-end protected; `None`: it is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsealed: Option<Unsealed>,
}

impl Status {
    /// True when nothing needs the operator's attention.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.broker.connected
            && self.broker.detail.is_empty()
            && self.clock_synced
            && self.radios.values().all(|r| r.up)
            && self.unsealed.as_ref().is_none_or(|bridge| bridge.connected && bridge.detail.is_empty())
    }
}

/// The bridge of ordinary locks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unsealed {
    /// Always false.
    pub end_to_end: bool,
    /// Admitted ones.
    pub locks: u64,
    /// Those of them whose commands are on.
    pub commands: u64,
    /// True while its own connection to the broker is up.
    pub connected: bool,
    /// What is wrong; empty when all is well.
    pub detail: String,
    /// Messages of the broker and events of locks that came to nothing without a word, since the start.
    pub ignored: u64,
}

/// The link to the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Broker {
    /// Its address.
    pub url: String,
    /// True while messages go both ways.
    pub connected: bool,
    /// What is wrong; empty when all is well.
    pub detail: String,
}

/// One radio.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Radio {
    /// True while it carries frames.
    pub up: bool,
    /// What is wrong; empty when all is well.
    pub detail: String,
    /// Times its driver was started again.
    pub restarts: u64,
    /// The backup of its network that the gateway keeps by itself; `None`: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<KeptBackup>,
}

/// A backup of a radio network that the gateway keeps by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeptBackup {
    /// From where it is: `dongle`, which told it, or `restored`: it was given to a dongle that has not told its own yet.
    pub source: String,
    /// When it was last seen to be what the dongle remembers, Unix milliseconds; `None`: nobody knew the time. After a start of
    /// the daemon this may be a day too early, until the dongle is asked again.
    pub at: Option<u64>,
    /// Devices in it.
    pub devices: u64,
}

impl KeptBackup {
    /// How old it is at this time (Unix milliseconds), seconds; `None`: nobody knows.
    #[must_use]
    pub fn age_s(&self, now: u64) -> Option<u64> {
        self.at.map(|at| now.saturating_sub(at) / 1_000)
    }
}

/// One admitted lock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lock {
    /// Lock id.
    #[serde(with = "lock_id")]
    #[schemars(schema_with = "lock_id::schema")]
    pub lock: LockId,
    /// Name of its radio; empty when that radio is not configured.
    pub radio: String,
    /// Whether it is in the radio network.
    pub joined: bool,
    /// Whether it only hears after it has spoken.
    pub sleepy: bool,
    /// Its site address, once it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<u16>,
    /// Last frame, Unix milliseconds.
    pub heard: Option<u64>,
    /// dBm.
    pub rssi: Option<i16>,
    /// dB.
    pub snr: Option<f32>,
    /// 0–255.
    pub lqi: Option<u8>,
    /// Downlinks without an end.
    pub pending: u64,
}

/// One router of a radio network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Router {
    /// EUI-64, 16 hexadecimal digits.
    pub router: String,
    /// It is in the network.
    pub joined: bool,
}

/// One ordinary lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnsealedLock {
    /// EUI-64, 16 hexadecimal digits.
    pub lock: String,
    /// Always false.
    pub end_to_end: bool,
    /// As in the configuration; `None`: it is not named there, and not listened to.
    pub name: Option<String>,
    /// Whether it may be locked and unlocked.
    pub commands: bool,
    /// Whether it is in the network.
    pub joined: bool,
    /// Whether it was asked everything that it is asked.
    pub ready: bool,
    /// `unknown`, `locked`, `unlocked`, `jammed`, `locking` or `unlocking`.
    pub bolt: String,
    /// By whose word: `report`, `read`, `event`, `alarm` or `command`.
    pub source: Option<String>,
    /// When that was said, Unix milliseconds.
    pub at: Option<u64>,
    /// Last frame, Unix milliseconds.
    pub heard: Option<u64>,
    /// Percent.
    pub battery: Option<u8>,
    /// dBm.
    pub rssi: Option<i8>,
    /// 0–255.
    pub lqi: Option<u8>,
}

/// A lock id as 16 hexadecimal digits.
mod lock_id {
    use cardea_framing::LockId;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(lock: &LockId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(lock)
    }

    pub(super) fn schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-fA-F]{16}$", "description": "Lock id." })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<LockId, D::Error> {
        String::deserialize(from)?.parse().map_err(|_| de::Error::custom("not 16 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_lines_anyone_can_write() {
        let parsed = |text: &str| Request::parse(text.as_bytes());
        assert!(parsed("{\"verb\":\"status\"}\n") == Ok(Request::Status {}));
        assert!(parsed(r#"{"verb":"locks"}"#) == Ok(Request::Locks {}));
        assert!(parsed(r#"{"verb":"admit","label":"x"}"#) == Ok(Request::Admit { label: "x".into() }));
        let remove = r#"{"verb":"remove","lock":"00112233445566ff"}"#;
        let lock = LockId([0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0xff]);
        assert!(parsed(remove) == Ok(Request::Remove { lock }));
        assert_eq!(serde_json::to_string(&Request::Remove { lock }).unwrap(), remove);
        assert!(parsed(&remove.replace("remove", "attach")) == Ok(Request::Attach { lock }));
        assert!(parsed(r#"{"verb":"claim_code"}"#) == Ok(Request::ClaimCode {}));
        assert!(parsed(r#"{"verb":"confirm_claim"}"#) == Ok(Request::ConfirmClaim {}));
        assert!(parsed(r#"{"verb":"recover"}"#) == Ok(Request::Recover {}));
        assert!(parsed(r#"{"verb":"fingerprint"}"#) == Ok(Request::Fingerprint {}));
        let code = Reply::ClaimCode { code: ClaimCode("7".repeat(16)) };
        assert!(!format!("{code:?}").contains('7'), "a log cannot hold it");
        let form = Request::FormNetwork { radio: "zigbee".into(), replace: false };
        assert!(parsed(r#"{"verb":"form_network","radio":"zigbee","replace":false}"#) == Ok(form));
        let adopt = Request::AdoptNetwork { radio: "zigbee".into() };
        assert!(parsed(r#"{"verb":"adopt_network","radio":"zigbee"}"#) == Ok(adopt));
        let line = r#"{"verb":"restore_network","radio":"zigbee","replace":true,"bytes":3}"#;
        let mut restore = parsed(line).ok().unwrap();
        *restore.secret().unwrap().1 = Secret::new(b"key".to_vec());
        assert_eq!(serde_json::to_string(&restore).unwrap(), line, "a secret is in no line");
        assert!(parsed(&line.replace('3', "0")).ok().unwrap().secret().is_none());
        assert!(parsed(&line.replace("3}", "3,\"file\":[1]}")).is_err());
        let router = Request::RemoveRouter { radio: "zigbee".into(), router: "02cadea500000000".into() };
        let line = r#"{"verb":"remove_router","radio":"zigbee","router":"02cadea500000000"}"#;
        assert!(parsed(line) == Ok(router));
        let rotate = Request::RotateNetworkKey { radio: "zigbee".into() };
        assert!(parsed(r#"{"verb":"rotate_network_key","radio":"zigbee"}"#) == Ok(rotate));
    }

    #[test]
    fn what_is_not_a_request_is_named_and_never_repeated() {
        for (line, words) in [
            (&b""[..], "not JSON"),
            (b"hello", "not JSON"),
            (b"{\"verb\":\"status\"", "not JSON"),
            (b"{\"verb\":\"reboot\"}", "does not know"),
            (b"{\"verb\":\"status\",\"more\":1}", "does not belong"),
            (b"{\"verb\":\"remove\",\"lock\":\"12\"}", "does not belong"),
            (b"{\"verb\":\"admit\",\"label\":42424242}", "does not belong"),
            (b"\xff\xfe", "not JSON"),
        ] {
            let error = Request::parse(line).err().unwrap().to_string();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("42424242"), "{error}");
        }
        assert!(Request::parse(&[b' '; MAX_REQUEST + 1]) == Err(RequestError::TooLong));
    }

    #[test]
    fn answers_look_like_those_over_the_broker() {
        let answer = Answer::Ok { data: Reply::Done };
        assert_eq!(serde_json::to_string(&answer).unwrap(), r#"{"status":"ok","data":"done"}"#);
        let file = Secret::new(b"key".to_vec());
        let backup = Reply::Backup { radio: "zigbee".into(), id: "ab".into(), devices: 1, bytes: 3, file };
        let said = serde_json::to_string(&backup).unwrap();
        assert_eq!(said, r#"{"backup":{"radio":"zigbee","id":"ab","devices":1,"bytes":3}}"#);
        assert!(format!("{backup:?}").contains("Secret(3 bytes)"));
        let answer = Answer::Error { error: "why".into() };
        assert_eq!(serde_json::to_string(&answer).unwrap(), r#"{"status":"error","error":"why"}"#);
    }
}
