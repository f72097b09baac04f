use std::time::Duration;

use tokio::time::Instant;

use crate::air::Modulation;

/// How long before its time a packet goes to the concentrator.
pub(super) const TX_JIT_DELAY: Duration = Duration::from_millis(40);
/// Start-up of the transmitter and its margin.
const TX_START: Duration = Duration::from_micros(2_500);
/// Room before a packet that no other may use.
const PRE_DELAY: Duration = Duration::from_micros(41_500);
/// An immediate packet is one for this time ahead.
const ASAP: Duration = Duration::from_millis(80);
/// How far ahead a packet may be: four beacon periods of 128 s.
const HORIZON: Duration = Duration::from_secs(512);
const CAPACITY: usize = 32;

/// A downlink that waits for its time.
pub(super) struct Job {
    pub(super) start: Instant,
    pub(super) end: Instant,
    pub(super) modulation: Modulation,
    pub(super) payload: Vec<u8>,
}

/// The just-in-time queue of one transmitter.
#[derive(Default)]
pub(super) struct Queue {
    jobs: Vec<Job>,
}

impl Queue {
    /// Takes a downlink for `start`, or as soon as possible; the error is the one in TX_ACK.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        start: Option<Instant>,
        airtime: Duration,
        modulation: Modulation,
        payload: Vec<u8>,
    ) -> Result<(), &'static str> {
        if self.jobs.len() >= CAPACITY {
            return Err("COLLISION_PACKET"); // FULL is reported like this.
        }
        let start = match start {
            Some(start) if start - now > HORIZON => return Err("TOO_EARLY"), // What is late, too: it wrapped.
            Some(start) if start - now < TX_START + TX_JIT_DELAY => return Err("TOO_LATE"),
            Some(start) if !self.is_free(start, airtime) => return Err("COLLISION_PACKET"),
            Some(start) => start,
            None => self.soonest(now + ASAP, airtime),
        };
        self.jobs.push(Job { start, end: start + airtime, modulation, payload });
        self.jobs.sort_by_key(|job| job.start);
        Ok(())
    }

    pub(super) fn next(&self) -> Option<&Job> {
        self.jobs.first()
    }

    pub(super) fn take_due(&mut self, now: Instant) -> Option<Job> {
        let due = self.next().is_some_and(|job| job.start - TX_JIT_DELAY <= now);
        due.then(|| self.jobs.remove(0))
    }

    fn is_free(&self, start: Instant, airtime: Duration) -> bool {
        self.jobs.iter().all(|job| start + airtime + PRE_DELAY <= job.start || job.end + PRE_DELAY <= start)
    }

    fn soonest(&self, earliest: Instant, airtime: Duration) -> Instant {
        let after = self.jobs.iter().map(|job| job.end + PRE_DELAY);
        let candidates = std::iter::once(earliest).chain(after.filter(|at| *at > earliest));
        candidates.filter(|at| self.is_free(*at, airtime)).min().unwrap_or(earliest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SF7: Modulation =
        Modulation { frequency: 869_525_000, spreading_factor: 7, bandwidth: 125_000, inverted: true };
    const SF12: Modulation = Modulation { spreading_factor: 12, ..SF7 };

    fn admit(
        queue: &mut Queue,
        now: Instant,
        ahead_ms: Option<u64>,
        modulation: Modulation,
    ) -> Result<(), &'static str> {
        let start = ahead_ms.map(|ms| now + Duration::from_millis(ms));
        queue.admit(now, start, modulation.airtime(12), modulation, vec![0; 12])
    }

    /// Measured on the real program.
    #[test]
    fn lead_times() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        assert_eq!(admit(&mut queue, now, Some(30), SF7), Err("TOO_LATE"));
        assert_eq!(admit(&mut queue, now, Some(45), SF7), Ok(()));
        assert_eq!(admit(&mut queue, now, Some(600_000), SF7), Err("TOO_EARLY"));
        assert_eq!(admit(&mut queue, now, Some(500_000), SF7), Ok(()));
    }

    #[test]
    fn collisions() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        assert_eq!(admit(&mut queue, now, Some(1_000), SF12), Ok(()));
        assert_eq!(admit(&mut queue, now, Some(1_500), SF12), Err("COLLISION_PACKET"));
        let mut queue = Queue::default();
        assert_eq!(admit(&mut queue, now, Some(1_000), SF7), Ok(()));
        assert_eq!(admit(&mut queue, now, Some(1_200), SF7), Ok(()));
    }

    #[test]
    fn a_full_queue_calls_itself_a_collision() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let results: Vec<_> = (0..40).map(|i| admit(&mut queue, now, Some(1_000 + i * 200), SF7)).collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 32);
        assert!(results[32..].iter().all(|result| *result == Err("COLLISION_PACKET")));
    }

    #[test]
    fn immediate_packets_queue_up() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        assert_eq!(admit(&mut queue, now, None, SF7), Ok(()));
        assert_eq!(admit(&mut queue, now, None, SF7), Ok(()));
        assert_eq!(queue.jobs[0].start, now + ASAP);
        assert_eq!(queue.jobs[1].start - queue.jobs[0].start, SF7.airtime(12) + PRE_DELAY);
        assert!(queue.take_due(now).is_none());
        assert!(queue.take_due(now + Duration::from_millis(40)).is_some());
    }
}
