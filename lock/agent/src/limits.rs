//! The abuse limit on everything that reaches the lock without a key: EDHOC and activation.

use heapless::Deque;

/// Wrong attempts inside [`WINDOW_MS`] that close the unauthenticated path.
pub const MAX_WRONG: usize = 5;
/// How far back wrong attempts count, in milliseconds.
pub const WINDOW_MS: u64 = 5 * 60 * 1000;
/// How long the unauthenticated path stays closed, in milliseconds.
pub const REFUSAL_MS: u64 = 90 * 1000;

/// Counts wrong attempts; at the fifth within five minutes it refuses for ninety seconds.
///
/// Only what cannot name itself is throttled: EDHOC, and the PIN pad. OSCORE with an established context never is, so
/// nobody can lock the owner out by flooding. EDHOC's count lives in RAM: what it protects is battery, not a guessable
/// secret (the owner code has 128 bits). The pad's is in the ledger, because a PIN can be guessed and a battery pulled.
#[derive(Default)]
pub(crate) struct Limiter {
    wrong: Deque<u64, MAX_WRONG>,
    refuse_until: u64,
}

impl Limiter {
    /// Counts one wrong attempt. True when it was the one that closes the path.
    pub(crate) fn wrong(&mut self, now: u64) -> bool {
        while self.wrong.front().is_some_and(|&at| now.saturating_sub(at) >= WINDOW_MS) {
            self.wrong.pop_front();
        }
        let _ = self.wrong.push_back(now); // cleared whenever it fills, so there is room
        if self.wrong.is_full() {
            self.wrong.clear();
            self.refuse_until = now.saturating_add(REFUSAL_MS);
            return true;
        }
        false
    }

    #[cfg(any(test, feature = "pins"))]
    /// What a reset left of a count: so many wrong attempts, as if made just now, since nobody knows how long ago.
    pub(crate) fn restored(now: u64, count: u8) -> Self {
        let mut limiter = Self::default();
        for _ in 0..usize::from(count).min(MAX_WRONG) {
            limiter.wrong(now);
        }
        limiter
    }

    #[cfg(any(test, feature = "pins"))]
    /// Wrong attempts that count now; [`MAX_WRONG`] while the path is closed.
    pub(crate) fn count(&self, now: u64) -> u8 {
        let closed = self.refused_until(now).map(|_| MAX_WRONG);
        closed.unwrap_or_else(|| self.wrong.len()) as u8
    }

    #[cfg(feature = "pins")]
    /// The last attempt was right after all.
    pub(crate) fn forgive(&mut self) {
        *self = Self::default();
    }

    /// When the path opens again, if it is closed.
    pub(crate) fn refused_until(&self, now: u64) -> Option<u64> {
        (now < self.refuse_until).then_some(self.refuse_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fifth_wrong_attempt_in_five_minutes_closes_for_ninety_seconds() {
        let mut limiter = Limiter::default();
        for at in 0..4 {
            assert!(!limiter.wrong(at * 1000));
            assert_eq!(limiter.refused_until(at * 1000), None);
        }
        assert!(limiter.wrong(5_000));
        assert_eq!(limiter.refused_until(5_000), Some(95_000));
        assert_eq!(limiter.refused_until(94_999), Some(95_000));
        assert_eq!(limiter.refused_until(95_000), None);
    }

    #[test]
    fn a_reset_neither_forgets_nor_opens() {
        let mut limiter = Limiter::restored(10, 4);
        assert_eq!((limiter.count(10), limiter.refused_until(10)), (4, None));
        assert!(limiter.wrong(11));
        let limiter = Limiter::restored(5, limiter.count(11));
        assert_eq!((limiter.count(5), limiter.refused_until(5)), (5, Some(5 + REFUSAL_MS)));
        assert_eq!(limiter.count(5 + REFUSAL_MS), 0);
    }

    #[test]
    fn slow_mistakes_never_close_it() {
        let mut limiter = Limiter::default();
        for n in 0..100 {
            assert!(!limiter.wrong(n * WINDOW_MS / 4));
        }
    }
}
