//! What the platform says, signed, of a lock's activation: for the page on which the lock is paired, and for nobody else.
//!
//! Whatever arrives by the broker may be forged, kept back or repeated. So a word counts only when it is signed with a pinned key for
//! this gateway, when it answers a handshake message that this gateway has brought up in this run, once for each, and when it is not
//! older than the one before.

use std::collections::VecDeque;

use cardea_credentials::{Activation, ActivationStatus, MAX_ACTIVATION_STATUS_LEN};
use cardea_envelope::MessageId;
use cardea_framing::LockId;

use crate::{Config, down::reason};

/// Handshake messages of one lock that may still be answered. A handshake has two; with a wrong code the lock begins anew.
const OPEN: usize = 8;

/// How an activation ended, by the platform's signed word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activated {
    /// How.
    pub outcome: Activation,
    /// When, Unix seconds by the platform's clock.
    pub at: u32,
    /// When this gateway heard of it, Unix milliseconds.
    pub heard: u64,
}

/// One lock's.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    /// Uplinks that may be answered, oldest first.
    open: VecDeque<MessageId>,
    last: Option<([u8; 16], Activated)>,
}

impl Attempts {
    pub(crate) fn last(&self) -> Option<Activated> {
        self.last.map(|(_, activated)| activated)
    }

    /// A handshake message goes to the platform, perhaps once more.
    pub(crate) fn note(&mut self, uplink: MessageId) {
        let answered = self.last.is_some_and(|(nonce, _)| nonce == uplink.0);
        if answered || self.open.contains(&uplink) {
            return;
        }
        if self.open.len() >= OPEN {
            self.open.pop_front();
        }
        self.open.push_back(uplink);
    }

    /// What a message says, if it is to be believed. `None` for attempts: there are none.
    pub(crate) fn judge(
        attempts: Option<&Self>,
        config: &Config,
        lock: LockId,
        body: &[u8],
    ) -> Result<ActivationStatus, &'static str> {
        if config.platform_keys.is_empty() {
            return Err(reason::NO_PAGE);
        }
        // Cheap first: verifying is what a flood would cost.
        let attempts = attempts.filter(|attempts| !attempts.open.is_empty()).ok_or(reason::NO_ATTEMPT)?;
        if body.len() > MAX_ACTIVATION_STATUS_LEN {
            return Err(reason::MALFORMED);
        }
        let mut keys = config.platform_keys.iter();
        let status = keys
            .find_map(|key| ActivationStatus::verify(body, &config.gateway, key).ok())
            .ok_or(reason::SIGNATURE)?;
        if status.lock_id() != lock.0 {
            return Err(reason::MALFORMED);
        }
        let stale = attempts.last().is_some_and(|last| status.at < last.at);
        if stale || !attempts.open.contains(&MessageId(status.nonce)) {
            return Err(reason::NO_ATTEMPT);
        }
        Ok(status)
    }

    /// Keeps what [`Self::judge`] has passed, at `now` (Unix milliseconds).
    pub(crate) fn keep(&mut self, status: &ActivationStatus, now: u64) {
        self.open.retain(|open| open.0 != status.nonce);
        let activated = Activated { outcome: status.outcome, at: status.at, heard: now };
        self.last = Some((status.nonce, activated));
    }
}
