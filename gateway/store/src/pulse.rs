//! How long a thread has been at the piece of work that it is at.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Written by the thread that works, read by whoever wonders about it.
#[derive(Debug)]
pub(crate) struct Pulse {
    origin: Instant,
    /// Milliseconds from `origin` to the start of the work, plus one; 0 while there is none.
    since: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { origin: Instant::now(), since: AtomicU64::new(0) }
    }
}

impl Pulse {
    /// Does one piece of work.
    pub(crate) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        self.since.store(self.elapsed_ms().saturating_add(1), Ordering::Relaxed);
        let done = work();
        self.since.store(0, Ordering::Relaxed);
        done
    }

    /// Zero between pieces of work.
    pub(crate) fn busy_for(&self) -> Duration {
        let since = self.since.load(Ordering::Relaxed).checked_sub(1);
        since.map_or(Duration::ZERO, |at| Duration::from_millis(self.elapsed_ms().saturating_sub(at)))
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    #[test]
    fn only_work_that_does_not_end_adds_up() {
        let (pulse, moment) = (Pulse::default(), Duration::from_millis(30));
        assert_eq!(pulse.busy_for(), Duration::ZERO);
        for _ in 0..3 {
            pulse.during(|| sleep(moment));
            assert_eq!(pulse.busy_for(), Duration::ZERO);
            sleep(moment);
        }
        pulse.during(|| {
            sleep(moment);
            assert!(pulse.busy_for() >= moment - Duration::from_millis(1));
            sleep(moment);
            assert!(pulse.busy_for() >= 2 * moment - Duration::from_millis(1));
        });
    }
}
