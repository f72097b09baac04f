use std::sync::{Mutex, MutexGuard, PoisonError};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// The one source of chance in a simulation, from its printed seed.
pub struct Random(Mutex<ChaCha20Rng>);

impl Random {
    /// A source of its own for each `stream`, all from one seed.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut source = ChaCha20Rng::seed_from_u64(seed);
        source.set_stream(stream);
        Self(Mutex::new(source))
    }

    /// True with this probability, 0.0 to 1.0.
    #[must_use]
    pub fn chance(&self, probability: f64) -> bool {
        // 53 bits: every f64 in [0, 1) that has them.
        let unit = (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        unit < probability
    }

    /// A number below `n`; 0 if `n` is 0.
    #[must_use]
    pub fn below(&self, n: u64) -> u64 {
        self.next_u64().checked_rem(n).unwrap_or(0)
    }

    /// Any number.
    #[must_use]
    pub fn next_u64(&self) -> u64 {
        self.source().next_u64()
    }

    /// Any bytes.
    pub fn fill(&self, out: &mut [u8]) {
        self.source().fill_bytes(out);
    }

    fn source(&self) -> MutexGuard<'_, ChaCha20Rng> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
