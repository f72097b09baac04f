//! How often the network may be flooded.

use cardea_radio::Millis;

/// Milliseconds for one broadcast. Every router repeats each for some seconds; ZBOSS keeps 16 of them for 9 s, other
/// stacks 9, and what is beyond that is dropped somewhere on its way.
const PERIOD_MS: Millis = 1_500;
/// Broadcasts that may follow each other after a silence.
const BURST: Millis = 4;

/// A token bucket: 0.67 broadcasts a second.
#[derive(Debug, Default)]
pub struct Bucket {
    /// When it is full again.
    full_at: Millis,
}

impl Bucket {
    /// Takes a token, if there is one.
    pub fn take(&mut self, now: Millis) -> bool {
        if now < self.next(now) {
            return false;
        }
        self.full_at = self.full_at.max(now).saturating_add(PERIOD_MS);
        true
    }

    /// When there is one.
    #[must_use]
    pub fn next(&self, now: Millis) -> Millis {
        self.full_at.saturating_sub((BURST - 1) * PERIOD_MS).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasts_are_four_at_once_and_then_two_in_three_seconds() {
        let mut bucket = Bucket::default();
        let mut sent = Vec::new();
        for now in (0..30_000).step_by(100) {
            while bucket.take(now) {
                sent.push(now);
            }
        }
        assert_eq!(sent[..6], [0, 0, 0, 0, 1_500, 3_000]);
        assert_eq!(sent.len(), 4 + 19, "30 s at 0.67 a second");
        assert_eq!(bucket.next(28_600), 30_000);
    }
}
