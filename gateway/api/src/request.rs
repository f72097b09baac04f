//! What is asked of the daemon, and how it is read.

use cardea_framing::LockId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BrokerTrial, LogLevel, MAX_REQUEST, Secret, lock_id};

#[cfg(doc)]
use crate::{PeerEvent, PeerLine, Reply};

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
    /// Erase all that this gateway has learnt, and start it anew as it left the factory. Answered by [`Reply::Done`] once that is
    /// certain to happen; the daemon then ends its connections.
    FactoryReset {
        /// The gateway's id: whoever asks knows which one it is.
        gateway: String,
        /// From where it is asked, for the log and the gateway's last event.
        by: ResetBy,
    },
    /// Forget a lock. Answered by [`Reply::Done`] once that is durable.
    Remove {
        /// Lock id, 16 hexadecimal digits.
        #[serde(with = "lock_id")]
        #[schemars(schema_with = "lock_id::schema")]
        lock: LockId,
    },
}

/// From where a factory reset was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResetBy {
    /// The local page, after the password.
    Page,
    /// The control socket.
    Console,
}

impl ResetBy {
    /// The word in logs and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Console => "console",
        }
    }
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
