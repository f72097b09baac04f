//! The packet forwarder as we know it: who it is, where it listens, what its clock says.

use std::net::SocketAddr;

use cardea_radio::Millis;

use crate::config::Eui;

/// A forwarder polls every 5–10 s; three missed polls are an absence.
pub(crate) const ABSENT_AFTER: Millis = 30_000;

/// The one forwarder that serves us now.
pub(crate) struct Forwarder {
    pub(crate) eui: Eui,
    /// Where PULL_RESP goes: the source of the last PULL_DATA, which is not where PUSH_DATA comes from.
    pub(crate) pull_address: Option<SocketAddr>,
    pub(crate) last_seen: Millis,
    pub(crate) last_pull: Millis,
    pub(crate) clock: ConcentratorClock,
}

impl Forwarder {
    pub(crate) fn new(eui: Eui, now: Millis) -> Self {
        Self { eui, pull_address: None, last_seen: now, last_pull: now, clock: ConcentratorClock::default() }
    }

    /// Where to send a downlink, while the forwarder is there.
    pub(crate) fn address(&self, now: Millis) -> Option<SocketAddr> {
        self.pull_address.filter(|_| now < self.last_pull.saturating_add(ABSENT_AFTER))
    }
}

/// Maps the concentrator's 32-bit microsecond counter to our own clock.
///
/// A packet that was delayed on its way to us looks younger than it is. The smallest delay seen in the last minutes is
/// taken as the delay there is always; what a packet needed beyond it was jitter, and is known. Both clocks drift
/// apart by some tens of parts per million, hence minutes and not for ever.
#[derive(Clone, Default)]
pub(crate) struct ConcentratorClock {
    last: Option<(u32, Millis)>,
    /// `last`, extended beyond 32 bits, microseconds.
    extended: i64,
    /// Smallest difference between our clock and the extended one: in this period, and in the one before.
    smallest: Option<i64>,
    smallest_before: Option<i64>,
    period_start: Millis,
}

/// Half the counter's range minus a margin: after a longer silence a difference has no sign any more.
const SILENCE: Millis = 30 * 60_000;
/// A bigger disagreement of both clocks than this is a restart of the forwarder.
const RESTART_US: i64 = 5_000_000;
const PERIOD: Millis = 120_000;

impl ConcentratorClock {
    /// When, on our clock, the packet ended that the concentrator stamped `tmst` and that we heard of `now`.
    ///
    /// Nothing is learned from it: anybody can send a datagram with a time in it.
    pub(crate) fn received_at(&self, now: Millis, tmst: u32) -> Millis {
        self.clone().learn(now, tmst)
    }

    /// [`received_at`](Self::received_at), from a packet that one of our devices signed.
    pub(crate) fn learn(&mut self, now: Millis, tmst: u32) -> Millis {
        let now_us = i64::try_from(now).unwrap_or(i64::MAX / 2000).saturating_mul(1000);
        let continued = self.last.and_then(|(last_tmst, last_now)| {
            let gap = i64::try_from(now.checked_sub(last_now).filter(|gap| *gap < SILENCE)?).ok()? * 1000;
            // Reinterpreting the wrapped difference as signed makes both the wrap and late packets come out right.
            let step = i64::from(tmst.wrapping_sub(last_tmst).cast_signed());
            ((step - gap).abs() < RESTART_US).then_some(step)
        });
        match continued {
            Some(step) => self.extended += step,
            None => *self = Self { extended: i64::from(tmst), period_start: now, ..Self::default() },
        }
        self.last = Some((tmst, now));
        if now >= self.period_start.saturating_add(PERIOD) {
            self.smallest_before = self.smallest.take();
            self.period_start = now;
        }
        let difference = now_us - self.extended;
        self.smallest = Some(self.smallest.map_or(difference, |smallest| smallest.min(difference)));
        let smallest = self.smallest.into_iter().chain(self.smallest_before).min().unwrap_or(difference);
        u64::try_from((self.extended + smallest) / 1000).unwrap_or(0).min(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_recognised_also_across_the_wrap() {
        let mut clock = ConcentratorClock::default();
        let start = u32::MAX - 1_500_000;
        // 10 ms is the delay there always is.
        assert_eq!(clock.learn(1_010, start), 1_010);
        assert_eq!(clock.learn(2_010, start.wrapping_add(1_000_000)), 2_010);
        // 300 ms late, and the counter has wrapped.
        assert_eq!(clock.learn(3_310, start.wrapping_add(2_000_000)), 3_010);
        // Out of order by a second.
        assert_eq!(clock.learn(3_320, start.wrapping_add(1_500_000)), 2_510);
    }

    #[test]
    fn a_faster_path_is_learned_and_a_slower_one_after_a_while() {
        let mut clock = ConcentratorClock::default();
        assert_eq!(clock.learn(1_200, 1_000_000), 1_200);
        assert_eq!(clock.learn(2_005, 2_000_000), 2_005);
        assert_eq!(clock.learn(3_200, 3_000_000), 3_005);
        for minute in 1..=6_u32 {
            clock.learn(u64::from(minute) * 60_000 + 3_200, minute * 60_000_000 + 3_000_000);
        }
        assert_eq!(clock.learn(363_300, 363_100_000), 363_300);
    }

    #[test]
    fn a_restarted_forwarder_starts_anew() {
        let mut clock = ConcentratorClock::default();
        clock.learn(1_000_000, 900_000_000);
        assert_eq!(clock.learn(1_010_000, 3_000_000), 1_010_000);
        assert_eq!(clock.learn(1_011_050, 4_000_000), 1_011_000);
    }
}
