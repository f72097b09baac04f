//! How often a device may make the gateway say something.

use crate::Millis;

/// Words in one go, and milliseconds until there is one more.
const BURST: u64 = 8;
const REFILL_MS: Millis = 1_000;

/// A bucket of words that refills with time.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// The moment at which it would be full, had nothing been taken since.
    full_at: Millis,
}

impl Throttle {
    /// Takes one; `Err`: when there is one.
    pub(crate) fn take(&mut self, now: Millis) -> Result<(), Millis> {
        let full_at = self.full_at.max(now).saturating_add(REFILL_MS);
        let earliest = full_at.saturating_sub(BURST.saturating_mul(REFILL_MS));
        if earliest > now {
            return Err(earliest);
        }
        self.full_at = full_at;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_at_once_and_one_a_second() {
        let mut throttle = Throttle::default();
        assert_eq!((0..20).filter(|_| throttle.take(5_000).is_ok()).count(), 8);
        assert_eq!(throttle.take(5_999), Err(6_000));
        assert_eq!(throttle.take(6_000), Ok(()));
        assert!(throttle.take(6_000).is_err());
        assert_eq!((0..20).filter(|_| throttle.take(60_000).is_ok()).count(), 8);
    }
}
