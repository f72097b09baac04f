//! Waiting before the next attempt.

use std::time::Duration;

/// Exponential backoff with jitter, so that a thousand gateways do not return to a restarted broker at once.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits about `min` first and never longer than `max`.
    #[must_use]
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), next: min }
    }

    /// The next wait: between half and all of a bound that doubles each time.
    pub fn wait(&mut self) -> Duration {
        let bound = self.next;
        self.next = (bound * 2).min(self.max);
        bound / 2 + (bound / 2).mul_f64(random_fraction())
    }

    /// All is well again.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

/// 0.0 to 1.0. Spreads load, protects nothing: without a random source it is the middle.
fn random_fraction() -> f64 {
    getrandom::u32().map_or(0.5, |n| f64::from(n) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_within_their_bounds_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(450));
        for bound in [100, 200, 400, 450, 450] {
            let wait = backoff.wait();
            let bound = Duration::from_millis(bound);
            assert!(wait >= bound / 2 && wait <= bound, "{wait:?} of {bound:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_millis(100));
    }
}
