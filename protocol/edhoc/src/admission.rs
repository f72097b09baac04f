//! How many handshakes a Responder begins. A message_1 costs its sender nothing and the Responder two or three
//! scalar multiplications, which on a lock are time and battery; this says no before the first of them.
//!
//! There is no challenge to answer first (an Echo or a cookie in EAD): on these radios it would prove that the sender
//! can hear us, which a flooder can as well, and cost everybody a round trip. Where addresses are worth something
//! (the gateway writes a peer's), the share of one source keeps the rest of the bucket for the others.

/// Sources whose share is kept at once; the one that is idle longest makes room.
const SOURCES: usize = 8;

/// How many handshakes are begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionConfig {
    /// Handshakes that may begin at once, from everybody together.
    pub burst: u8,
    /// Of these, how many from one source.
    pub share: u8,
    /// Every this many milliseconds one more may begin; the same for each source. At least 1.
    pub every_ms: u32,
}

/// No, for so many milliseconds. Answer nothing: an error message would be airtime for the asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// After this many milliseconds the same source may be admitted, others willing.
    pub wait_ms: u64,
}

/// Token buckets for new handshakes: one for all, one for each recent source.
///
/// The order for a Responder is [`Responder::handle_message_1`](crate::Responder::handle_message_1), which refuses
/// malformed messages and bad points without a multiplication, then [`Self::admit`], then
/// [`Responder::message_2`](crate::Responder::message_2). Established contexts never ask here, so a flood does not
/// lock the owner out; a handshake that proved itself gives its token back by [`Self::proved`]. In any time of
/// `burst × every_ms`, at most `2 × burst` handshakes begin that prove nothing.
#[derive(Clone, Debug)]
pub struct Admission {
    config: AdmissionConfig,
    all: Bucket,
    sources: [Option<(u64, Bucket)>; SOURCES],
}

/// When the bucket is full again, on the caller's clock: each token taken moves that moment on by `every_ms`.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    full_at: u64,
}

impl Bucket {
    /// How long until a token is there.
    fn wait(&self, now: u64, size: u8, every: u64) -> u64 {
        let room = u64::from(size.saturating_sub(1)).saturating_mul(every);
        self.full_at.saturating_sub(now.saturating_add(room))
    }

    fn take(&mut self, now: u64, every: u64) {
        self.full_at = self.full_at.max(now).saturating_add(every);
    }

    fn put(&mut self, every: u64) {
        self.full_at = self.full_at.saturating_sub(every);
    }
}

impl Admission {
    /// Full buckets.
    #[must_use]
    pub const fn new(config: AdmissionConfig) -> Self {
        Self { config, all: Bucket { full_at: 0 }, sources: [None; SOURCES] }
    }

    /// Asks to begin a handshake with `source` at `now`, in milliseconds of a monotonic clock. `source` is whatever
    /// tells senders apart: a peer's site address, a link's handle; always the same where nothing does.
    ///
    /// # Errors
    /// [`Refused`]; then nothing was taken.
    pub fn admit(&mut self, now: u64, source: u64) -> Result<(), Refused> {
        let AdmissionConfig { burst, share, every_ms } = self.config;
        let every = u64::from(every_ms.max(1));
        let mut bucket = self.find(source).map_or_else(Bucket::default, |(_, bucket)| *bucket);
        let wait_ms = self.all.wait(now, burst, every).max(bucket.wait(now, share, every));
        if wait_ms > 0 {
            return Err(Refused { wait_ms });
        }
        self.all.take(now, every);
        bucket.take(now, every);
        match self.find(source) {
            Some((_, known)) => *known = bucket,
            None => {
                // An empty place, else that of the source which is full soonest and so loses least.
                let idlest =
                    self.sources.iter_mut().min_by_key(|slot| slot.map_or(0, |(_, bucket)| bucket.full_at));
                if let Some(slot) = idlest {
                    *slot = Some((source, bucket));
                }
            }
        }
        Ok(())
    }

    /// The handshake that was admitted for `source` has authenticated its peer: it costs nothing.
    pub fn proved(&mut self, source: u64) {
        let every = u64::from(self.config.every_ms.max(1));
        self.all.put(every);
        if let Some((_, bucket)) = self.find(source) {
            bucket.put(every);
        }
    }

    fn find(&mut self, source: u64) -> Option<&mut (u64, Bucket)> {
        self.sources.iter_mut().flatten().find(|(known, _)| *known == source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: AdmissionConfig = AdmissionConfig { burst: 5, share: 2, every_ms: 1_000 };

    #[test]
    fn a_flood_begins_a_bounded_number_of_handshakes() {
        let mut admission = Admission::new(CONFIG);
        // A thousand sources, 100 message_1 a second for a minute.
        let begun = (0..6_000_u64).filter(|n| admission.admit(10_000 + n * 10, n % 1_000).is_ok()).count();
        assert_eq!(begun, 5 + 59);
    }

    #[test]
    fn one_source_leaves_the_rest_to_others() {
        let mut admission = Admission::new(CONFIG);
        let flood = (0..100).filter(|_| admission.admit(0, 1).is_ok()).count();
        assert_eq!(flood, 2);
        assert_eq!(admission.admit(0, 1), Err(Refused { wait_ms: 1_000 }));
        assert_eq!(admission.admit(0, 2), Ok(()));
        assert_eq!(admission.admit(1_000, 1), Ok(()));
    }

    #[test]
    fn who_proves_itself_is_not_throttled() {
        let mut admission = Admission::new(CONFIG);
        for _ in 0..100 {
            assert_eq!(admission.admit(7, 1), Ok(()));
            admission.proved(1);
        }
    }

    #[test]
    fn clocks_at_their_ends_overflow_nothing() {
        let mut admission = Admission::new(AdmissionConfig { burst: 255, share: 255, every_ms: u32::MAX });
        for _ in 0..300 {
            let _ = admission.admit(u64::MAX - 1, 1);
        }
        let mut nothing = Admission::new(AdmissionConfig { burst: 0, share: 0, every_ms: 0 });
        assert_eq!(nothing.admit(0, 1), Ok(()), "a burst of none counts as one");
        nothing.proved(9);
    }
}
