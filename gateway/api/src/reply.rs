//! What the daemon answers.

use cardea_framing::LockId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    BrokerSettings, BrokerTest, Host, Lock, Logs, RadioDetail, RadioMap, Router, Secret, Status, Trace,
    UnsealedLock, lock_id,
};

#[cfg(doc)]
use crate::Request;

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
