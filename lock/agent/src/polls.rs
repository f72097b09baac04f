//! When a sleepy lock should ask its radio for a receive window.

use crate::config::Config;

/// Times the polls of a radio that only listens after an uplink.
#[derive(Default)]
pub(crate) struct Polls {
    next: Option<u64>,
}

impl Polls {
    /// An uplink with something in it was given out: its windows open first.
    pub(crate) fn sent_frame(&mut self, now: u64, config: &Config) {
        self.next = Some(now + u64::from(config.rx2_close_ms) + u64::from(config.first_poll_ms));
    }

    /// A poll was given out.
    pub(crate) fn sent_poll(&mut self, now: u64, config: &Config) {
        self.next = Some(now + u64::from(config.rx2_close_ms) + u64::from(config.next_poll_ms));
    }

    /// A fragment came and more are on their way.
    pub(crate) fn got_fragment(&mut self, now: u64, config: &Config) {
        self.next = Some(now + u64::from(config.fragment_poll_ms));
    }

    /// When the next poll is due, if one is wanted at all.
    pub(crate) fn next(&self) -> Option<u64> {
        self.next
    }
}
