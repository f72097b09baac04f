//! Which message is a command that may be carried out.
//!
//! A broker keeps what is retained, queues for who is away, and repeats; a command must survive none of that. So it says itself
//! until when it is good and which one it is, and what does not is refused: a bare `UNLOCK` could be of last week.

use std::collections::BTreeMap;

use cardea_zigbee::driver::ordinary::Verb;
use serde::Deserialize;

use crate::{Millis, Wall};

/// The longest that a command may be good for, milliseconds ahead.
pub const MAX_LIFE_MS: u64 = 30_000;
/// The longest command, bytes. More is not looked at.
pub const MAX_COMMAND: usize = 512;
/// The longest id, characters.
pub const MAX_ID: usize = 64;
/// Ids of one lock that are remembered until they are not good any more. Beyond that its commands are refused for a while.
const MAX_SEEN: usize = 64;

/// Why a message is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It was retained: it may be of any time.
    Retained,
    /// Not JSON, too long, or with a member that is not what it should be.
    Malformed,
    /// It does not say until when it is good, or not which one it is.
    NoExpiry,
    /// Its time is over.
    Expired,
    /// It is good for longer than a command may be.
    TooFar,
    /// This gateway does not know what time it is.
    Clock,
    /// Its id was seen.
    Duplicate,
    /// It may have been carried out before the daemon started.
    Restarted,
    /// The second switch is off for this lock.
    ReadOnly,
    /// Too many commands for this lock.
    Busy,
}

impl Refusal {
    /// As it stands in results.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retained => "retained",
            Self::Malformed => "malformed",
            Self::NoExpiry => "no_expiry",
            Self::Expired => "expired",
            Self::TooFar => "too_far",
            Self::Clock => "clock",
            Self::Duplicate => "duplicate",
            Self::Restarted => "restarted",
            Self::ReadOnly => "read_only",
            Self::Busy => "busy",
        }
    }
}

/// A command as it is written. A `code` or anything else beside these is not read, kept or told.
#[derive(Deserialize)]
struct Wire {
    v: Option<u64>,
    command: Word,
    id: Option<String>,
    not_after: Option<u64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Lock,
    Unlock,
}

/// A command that may be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) id: String,
    pub(crate) verb: Verb,
    /// By the monotonic clock.
    pub(crate) deadline: Millis,
}

/// What one lock's commands are judged with.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// Ids, and until when they are good (Unix milliseconds).
    seen: BTreeMap<String, u64>,
}

/// A message, and what the gateway knows when it comes.
pub(crate) struct Case<'a> {
    pub(crate) now: Millis,
    pub(crate) wall: Wall,
    /// The wall clock when the daemon started.
    pub(crate) started: u64,
    pub(crate) allowed: bool,
    pub(crate) retain: bool,
    pub(crate) payload: &'a [u8],
}

impl Judge {
    /// A command that may be carried out now, or why not and which one it was if it says so. Its id counts as seen from here on, whatever
    /// becomes of it.
    pub(crate) fn judge(&mut self, case: &Case<'_>) -> Result<Command, (Refusal, Option<String>)> {
        if case.payload.len() > MAX_COMMAND {
            return Err((Refusal::Malformed, None));
        }
        let wire = serde_json::from_slice::<Wire>(case.payload).ok();
        let id = wire.as_ref().and_then(|wire| wire.id.clone()).filter(|id| is_id(id));
        let refuse = |refusal| Err((refusal, id.clone()));
        if case.retain {
            return refuse(Refusal::Retained);
        }
        if !case.allowed {
            return refuse(Refusal::ReadOnly);
        }
        let Some(wire) = wire else {
            // What other bridges take.
            let bare =
                case.payload.eq_ignore_ascii_case(b"lock") || case.payload.eq_ignore_ascii_case(b"unlock");
            return refuse(if bare { Refusal::NoExpiry } else { Refusal::Malformed });
        };
        if wire.v.is_some_and(|version| version != 1) || (wire.id.is_some() && id.is_none()) {
            return refuse(Refusal::Malformed);
        }
        let (Some(not_after), Some(id)) = (wire.not_after, id.clone()) else {
            return refuse(Refusal::NoExpiry);
        };
        if !case.wall.synced {
            return refuse(Refusal::Clock);
        }
        let now = case.wall.unix_ms;
        self.seen.retain(|_, until| *until > now);
        let refusal = if not_after <= now {
            Some(Refusal::Expired)
        } else if not_after > now.saturating_add(MAX_LIFE_MS) {
            Some(Refusal::TooFar)
        } else if not_after <= case.started.saturating_add(MAX_LIFE_MS) {
            // A daemon before this one could have taken it; which ids it saw nobody knows.
            Some(Refusal::Restarted)
        } else if self.seen.contains_key(&id) {
            Some(Refusal::Duplicate)
        } else if self.seen.len() >= MAX_SEEN {
            Some(Refusal::Busy)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return refuse(refusal);
        }
        self.seen.insert(id.clone(), not_after);
        let verb = match wire.command {
            Word::Lock => Verb::Lock,
            Word::Unlock => Verb::Unlock,
        };
        Ok(Command { id, verb, deadline: case.now.saturating_add(not_after.saturating_sub(now)) })
    }
}

fn is_id(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}
