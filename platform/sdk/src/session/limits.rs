//! How often an unproven handshake may be begun and may fail.
//!
//! Whoever brings a message_1 is a gateway, known by its topic, and gateways may lie. So both bounds are kept for each
//! gateway apart: one that invents handshakes, in the name of one lock or of all, uses up its own share, and a lock whose
//! frames come by another is served as if nothing had happened. Frames under OSCORE never pass here, so nobody can
//! lock the owner out.

use std::collections::{BTreeMap, VecDeque};

use super::Config;

/// Gateways whose attempts are kept at once. One that is forgotten begins anew; the broker says who may be which.
const MAX_GATEWAYS: usize = 64;

/// Attempts at one lock that have not succeeded, by gateway. A success clears its gateway's, so only strangers are
/// throttled.
#[derive(Default)]
pub(super) struct Limits {
    by_gateway: BTreeMap<String, Attempts>,
}

#[derive(Default)]
struct Attempts {
    at: VecDeque<u64>,
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
    pub(super) fn attempt(&mut self, now: u64, gateway: &str, config: &Config) -> Verdict {
        make_room(&mut self.by_gateway, gateway, |attempts| {
            attempts.until.max(attempts.at.back().copied()).unwrap_or(0)
        });
        self.by_gateway.entry(gateway.to_owned()).or_default().attempt(now, config)
    }

    /// The attempt that was allowed last did not take place after all, by no fault of the lock.
    pub(super) fn withdraw(&mut self, gateway: &str) {
        if let Some(attempts) = self.by_gateway.get_mut(gateway) {
            attempts.at.pop_back();
        }
    }

    pub(super) fn success(&mut self, gateway: &str) {
        self.by_gateway.remove(gateway);
    }

    pub(super) fn clear(&mut self) {
        self.by_gateway.clear();
    }
}

impl Attempts {
    fn attempt(&mut self, now: u64, config: &Config) -> Verdict {
        match self.until {
            Some(until) if now < until => return Verdict::Refused,
            Some(_) => *self = Self::default(),
            None => {}
        }
        while self.at.front().is_some_and(|at| at.saturating_add(config.wrong_window_ms) <= now) {
            self.at.pop_front();
        }
        if self.at.len() >= config.max_wrong {
            self.until = Some(now.saturating_add(config.refusal_ms));
            return Verdict::Closes;
        }
        self.at.push_back(now);
        Verdict::Go
    }
}

/// Handshakes that one gateway may have us begin, for all locks together: a bucket that a proven handshake gives its
/// token back to. Each begun handshake is three scalar multiplications.
#[derive(Default)]
pub(super) struct Shares {
    /// When a gateway's bucket is full again: each token taken moves that moment on by `gateway_every_ms`.
    full_at: BTreeMap<String, u64>,
}

impl Shares {
    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: u64, gateway: &str, config: &Config) -> bool {
        make_room(&mut self.full_at, gateway, |full_at| *full_at);
        let full_at = self.full_at.entry(gateway.to_owned()).or_default();
        let room = config.gateway_every_ms.saturating_mul(u64::from(config.gateway_burst.saturating_sub(1)));
        if *full_at > now.saturating_add(room) {
            return false;
        }
        *full_at = (*full_at).max(now).saturating_add(config.gateway_every_ms);
        true
    }

    /// A handshake that this gateway brought has authenticated its lock.
    pub(super) fn proved(&mut self, gateway: &str, config: &Config) {
        if let Some(full_at) = self.full_at.get_mut(gateway) {
            *full_at = full_at.saturating_sub(config.gateway_every_ms);
        }
    }
}

/// The gateway whose entry is the oldest makes room for one that has none.
fn make_room<T>(map: &mut BTreeMap<String, T>, gateway: &str, age: impl Fn(&T) -> u64) {
    if map.len() >= MAX_GATEWAYS
        && !map.contains_key(gateway)
        && let Some(oldest) = map.iter().min_by_key(|(_, entry)| age(entry)).map(|(name, _)| name.clone())
    {
        map.remove(&oldest);
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
            assert_eq!(limits.attempt(at, "g", &config), Verdict::Go);
        }
        assert_eq!(limits.attempt(10, "g", &config), Verdict::Closes);
        assert_eq!(limits.attempt(90_009, "g", &config), Verdict::Refused);
        assert_eq!(limits.attempt(90_010, "g", &config), Verdict::Go);
    }

    #[test]
    fn old_attempts_and_successes_do_not_count() {
        let config = Config::default();
        let mut limits = Limits::default();
        for at in 0..50 {
            assert_eq!(limits.attempt(at * 60_001, "g", &config), Verdict::Go);
        }
        for at in 0..50 {
            assert_eq!(limits.attempt(10_000_000 + at, "g", &config), Verdict::Go);
            limits.success("g");
        }
        for at in 0..50 {
            assert_eq!(limits.attempt(20_000_000 + at, "g", &config), Verdict::Go);
            limits.withdraw("g");
        }
    }

    #[test]
    fn what_one_gateway_uses_up_is_its_own() {
        let config = Config::default();
        let (mut limits, mut shares) = (Limits::default(), Shares::default());
        for at in 0..1_000 {
            limits.attempt(at, "liar", &config);
            shares.take(at, "liar", &config);
        }
        assert_eq!(limits.attempt(999, "liar", &config), Verdict::Refused);
        assert!(!shares.take(999, "liar", &config));
        assert_eq!(limits.attempt(999, "honest", &config), Verdict::Go);
        assert!(shares.take(999, "honest", &config));
    }

    #[test]
    fn a_flood_takes_a_burst_and_then_its_pace_and_a_proof_gives_back() {
        let config = Config::default();
        let mut shares = Shares::default();
        // Ten a second, for a minute.
        let begun = (0..600_u64).filter(|n| shares.take(n * 100, "g", &config)).count();
        let pace = usize::try_from(59_900 / config.gateway_every_ms).unwrap();
        assert_eq!(begun, usize::from(config.gateway_burst) + pace);
        let mut shares = Shares::default();
        for _ in 0..10_000 {
            assert!(shares.take(7, "g", &config));
            shares.proved("g", &config);
        }
    }

    #[test]
    fn names_without_end_take_bounded_memory() {
        let config = Config::default();
        let (mut limits, mut shares) = (Limits::default(), Shares::default());
        for n in 0..1_000 {
            limits.attempt(n, &n.to_string(), &config);
            shares.take(n, &n.to_string(), &config);
        }
        assert_eq!((limits.by_gateway.len(), shares.full_at.len()), (MAX_GATEWAYS, MAX_GATEWAYS));
        shares.take(u64::MAX, "late", &config);
        assert!(!shares.take(0, "late", &Config { gateway_burst: 0, gateway_every_ms: u64::MAX, ..config }));
    }
}
