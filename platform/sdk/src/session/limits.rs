//! How often an unproven handshake may fail.

use std::collections::VecDeque;

use super::Config;

/// Attempts of one lock that have not succeeded. A success clears them, so only strangers are throttled; frames
/// under OSCORE never pass here, so nobody can lock the owner out.
#[derive(Default)]
pub(super) struct Limits {
    attempts: VecDeque<u64>,
    until: Option<u64>,
}

/// What an attempt may do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Go,
    /// Refused, and this attempt was the one that closed the door.
    Closes,
    Refused,
}

impl Limits {
    pub(super) fn attempt(&mut self, now: u64, config: &Config) -> Verdict {
        match self.until {
            Some(until) if now < until => return Verdict::Refused,
            Some(_) => self.success(),
            None => {}
        }
        while self.attempts.front().is_some_and(|at| at.saturating_add(config.wrong_window_ms) <= now) {
            self.attempts.pop_front();
        }
        if self.attempts.len() >= config.max_wrong {
            self.until = Some(now.saturating_add(config.refusal_ms));
            return Verdict::Closes;
        }
        self.attempts.push_back(now);
        Verdict::Go
    }

    pub(super) fn success(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_then_ninety_seconds() {
        let config = Config::default();
        let mut limits = Limits::default();
        for at in 0..5 {
            assert_eq!(limits.attempt(at, &config), Verdict::Go);
        }
        assert_eq!(limits.attempt(10, &config), Verdict::Closes);
        assert_eq!(limits.attempt(90_009, &config), Verdict::Refused);
        assert_eq!(limits.attempt(90_010, &config), Verdict::Go);
    }

    #[test]
    fn old_attempts_and_successes_do_not_count() {
        let config = Config::default();
        let mut limits = Limits::default();
        for at in 0..50 {
            assert_eq!(limits.attempt(at * 60_001, &config), Verdict::Go);
        }
        for at in 0..50 {
            assert_eq!(limits.attempt(10_000_000 + at, &config), Verdict::Go);
            limits.success();
        }
    }
}
