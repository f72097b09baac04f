//! What the lock knows of the time: only what the platform said inside OSCORE, and how stale that is.

use crate::bytes::{Reader, Writer};

/// Above this uncertainty the clock decides nothing and commands need Echo, in milliseconds.
pub const TRUSTED_MS: u64 = 5_000;
/// A new sample is written to NVM at most this often, in milliseconds.
const PERSIST_EVERY_MS: u64 = 60 * 60 * 1000;
/// A platform states whole seconds, so its clock was anywhere inside that second.
const RESOLUTION_MS: u64 = 1_000;
const RECORD_VERSION: u8 = 2;
/// Bytes of the record in `Slot::Time`.
pub(crate) const RECORD_LEN: usize = 1 + 8 + 8 + 4 + 8;

/// An estimate of the present: the true time is within `uncertainty_ms` of `unix_ms` on either side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Estimate {
    /// Unix time in milliseconds.
    pub unix_ms: u64,
    /// Half the width of the interval that holds the true time, in milliseconds.
    pub uncertainty_ms: u64,
}

impl Estimate {
    /// Whether the estimate may decide about lateness.
    pub fn trusted(&self) -> bool {
        self.uncertainty_ms <= TRUSTED_MS
    }
}

/// A platform time sample and the drift since.
pub(crate) struct TrustedTime {
    sample: Option<Sample>,
    /// What the site's authority said. It decides nothing: see [`TrustedTime::stamp`].
    #[cfg(feature = "peers")]
    site: Option<Sample>,
    drift_ppm: u32,
    /// No platform time below this is believed: the last one written to NVM, in Unix ms.
    floor_ms: u64,
    persisted_at: Option<u64>,
}

#[derive(Clone, Copy)]
struct Sample {
    unix_ms: u64,
    taken: u64,
    spread_ms: u64,
}

impl TrustedTime {
    pub(crate) fn new(drift_ppm: u32) -> Self {
        Self {
            sample: None,
            #[cfg(feature = "peers")]
            site: None,
            drift_ppm,
            floor_ms: 0,
            persisted_at: None,
        }
    }

    /// Takes up the record of an earlier boot. Without an RTC that ran on, only the floor survives.
    pub(crate) fn restore(&mut self, record: &[u8], now: u64, rtc: Option<u64>) {
        let Some((unix_ms, mark, spread_ms, floor_ms)) = decode(record) else { return };
        self.floor_ms = floor_ms;
        let Some(age) = rtc.and_then(|rtc| rtc.checked_sub(mark)) else { return };
        let spread_ms = spread_ms.saturating_add(drift(age, self.drift_ppm));
        self.sample = Some(Sample { unix_ms: unix_ms.saturating_add(age), taken: now, spread_ms });
    }

    /// The present, if any sample is known. Uncertainty grows with the sample's age.
    pub(crate) fn estimate(&self, now: u64) -> Option<Estimate> {
        Some(self.estimate_by(self.sample?, now))
    }

    fn estimate_by(&self, sample: Sample, now: u64) -> Estimate {
        let age = now.saturating_sub(sample.taken);
        Estimate {
            unix_ms: sample.unix_ms.saturating_add(age),
            uncertainty_ms: sample.spread_ms.saturating_add(drift(age, self.drift_ppm)),
        }
    }

    /// The present, if it is known well enough to decide.
    pub(crate) fn trusted(&self, now: u64) -> Option<Estimate> {
        self.estimate(now).filter(Estimate::trusted)
    }

    /// Whole Unix seconds for a log entry: by the platform's word while that is good enough to decide by, then by the
    /// site's. Nothing but log entries and events is told the site's time.
    pub(crate) fn stamp(&self, now: u64) -> Option<u32> {
        let best = self.trusted(now).or_else(|| self.by_site(now));
        best.and_then(|estimate| u32::try_from(thousandth(estimate.unix_ms)).ok())
    }

    #[cfg(not(feature = "peers"))]
    fn by_site(&self, _: u64) -> Option<Estimate> {
        None
    }

    /// The present by the site, as long as it lies where the true time must be by the platform's word.
    #[cfg(feature = "peers")]
    fn by_site(&self, now: u64) -> Option<Estimate> {
        let (bound, site) = (self.estimate(now)?, self.estimate_by(self.site?, now));
        let inside = bound.unix_ms.abs_diff(site.unix_ms) <= bound.uncertainty_ms;
        (inside && site.trusted()).then_some(site)
    }

    /// Whether the site's time would help: the platform's is known, but no longer well enough. Where no time is known
    /// there is no bound inside which the site could be believed.
    #[cfg(feature = "peers")]
    pub(crate) fn wants_site(&self, now: u64) -> bool {
        self.sample.is_some() && self.trusted(now).is_none() && self.by_site(now).is_none()
    }

    /// Takes the word of the site's authority, spoken at some moment of the `round_trip_ms` that end `now`. Nothing is
    /// persisted, and the floor stays.
    #[cfg(feature = "peers")]
    pub(crate) fn site_says(&mut self, unix_s: u32, round_trip_ms: u64, now: u64) {
        let width = round_trip_ms.saturating_add(RESOLUTION_MS);
        let unix_ms = (u64::from(unix_s) * 1000).saturating_add(width / 2);
        let before = self.site.replace(Sample { unix_ms, taken: now, spread_ms: width.div_ceil(2) });
        if self.by_site(now).is_none() {
            self.site = before;
        }
    }

    /// Takes a platform statement `unix_s`, made at some moment of the `round_trip_ms` that end `now`.
    ///
    /// It is taken when it is at least as good as what is known, or contradicts it (the platform is the only
    /// authority); never below the floor. Returns whether the sample should be persisted.
    pub(crate) fn platform_says(&mut self, unix_s: u32, round_trip_ms: u64, now: u64) -> bool {
        let width = round_trip_ms.saturating_add(RESOLUTION_MS);
        let spread_ms = width.div_ceil(2);
        let unix_ms = u64::from(unix_s) * 1000 + width / 2;
        if unix_ms.saturating_add(spread_ms) < self.floor_ms {
            return false;
        }
        if let Some(known) = self.estimate(now) {
            let apart = known.unix_ms.abs_diff(unix_ms);
            let agree = apart <= known.uncertainty_ms.saturating_add(spread_ms);
            if agree && spread_ms > known.uncertainty_ms {
                return false;
            }
        }
        self.sample = Some(Sample { unix_ms, taken: now, spread_ms });
        #[cfg(feature = "peers")]
        {
            self.site = None;
        }
        self.persisted_at.is_none_or(|at| now.saturating_sub(at) >= PERSIST_EVERY_MS)
    }

    /// The record for `Slot::Time`, and the note that it is being written. `None` without a sample.
    pub(crate) fn record(&mut self, now: u64, rtc: Option<u64>, out: &mut [u8; RECORD_LEN]) -> Option<usize> {
        let present = self.estimate(now)?;
        // Beside the sample, not made of it: a later sample may lie below, within its uncertainty.
        let floor_ms = self.floor_ms.max(present.unix_ms.saturating_sub(present.uncertainty_ms));
        let mut writer = Writer::new(out);
        writer.u8(RECORD_VERSION);
        writer.u64(present.unix_ms);
        // Without an RTC only the floor is of use: no later counter can reach this mark.
        writer.u64(rtc.unwrap_or(u64::MAX));
        writer.u32(u32::try_from(present.uncertainty_ms).unwrap_or(u32::MAX));
        writer.u64(floor_ms);
        let len = writer.finish()?;
        self.floor_ms = floor_ms;
        self.persisted_at = Some(now);
        Some(len)
    }
}

/// Unix time, RTC, uncertainty and floor.
fn decode(record: &[u8]) -> Option<(u64, u64, u64, u64)> {
    let mut reader = Reader::new(record);
    if reader.u8()? != RECORD_VERSION {
        return None;
    }
    let fields = (reader.u64()?, reader.u64()?, u64::from(reader.u32()?), reader.u64()?);
    reader.end().then_some(fields)
}

/// Worst-case drift over `age_ms`, rounded up.
fn drift(age_ms: u64, ppm: u32) -> u64 {
    let millionths = age_ms.saturating_mul(u64::from(ppm));
    millionths.checked_sub(1).map_or(0, |less| thousandth(thousandth(less)) + 1)
}

/// `value / 1000`, rounded down. In halfwords: what divides 64 bits by 64 bits in software has 400 bytes of flash.
pub(crate) fn thousandth(value: u64) -> u64 {
    let (mut quotient, mut rest) = (0, 0);
    for half in value.to_be_bytes().as_chunks::<2>().0 {
        let part = (rest << 16) | u32::from(u16::from_be_bytes(*half));
        quotient = (quotient << 16) | u64::from(part / 1000);
        rest = part % 1000;
    }
    quotient
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_round_trip_bounds_the_uncertainty() {
        let mut time = TrustedTime::new(20);
        // Class A: asked at 0, answered in RX1 five seconds later.
        assert!(time.platform_says(1_000_000, 5_000, 5_000));
        let estimate = time.trusted(5_000).unwrap();
        assert_eq!(estimate, Estimate { unix_ms: 1_000_003_000, uncertainty_ms: 3_000 });
        // The platform spoke at once, or at the very end: both are inside.
        assert!(1_000_005_999 <= estimate.unix_ms + estimate.uncertainty_ms);
        assert!(1_000_000_000 >= estimate.unix_ms - estimate.uncertainty_ms);
    }

    #[test]
    fn thousandths_and_drift_are_what_division_gives() {
        let values = (0..64).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, 999_999 << bit, 1_000_000 << bit]);
        for value in values.chain([u64::MAX, u64::MAX - 1, 1_800_000_000_123, 1_799_999_999_999]) {
            assert_eq!(thousandth(value), value / 1000, "{value}");
            for ppm in [0, 1, 20, 1_000_000] {
                let expected = value.saturating_mul(ppm).div_ceil(1_000_000);
                assert_eq!(drift(value, ppm as u32), expected, "{value} ms at {ppm} ppm");
            }
        }
    }

    #[test]
    fn drift_makes_an_old_sample_untrusted() {
        let mut time = TrustedTime::new(50);
        time.platform_says(1_000_000, 1_000, 0);
        assert_eq!(time.trusted(0).unwrap().uncertainty_ms, 1_000);
        // 4 s of slack at 50 ppm is 80,000 s.
        assert!(time.trusted(80_000_000).is_some());
        assert!(time.trusted(80_020_000).is_none());
        assert!(time.estimate(80_020_000).is_some());
    }

    #[test]
    fn a_worse_sample_that_agrees_changes_nothing_and_one_that_contradicts_wins() {
        let mut time = TrustedTime::new(20);
        time.platform_says(1_000_000, 0, 0);
        time.platform_says(1_000_002, 8_000, 8_000);
        assert_eq!(time.estimate(8_000).unwrap().uncertainty_ms, 501);
        time.platform_says(2_000_000, 8_000, 8_000);
        assert_eq!(time.estimate(8_000).unwrap().unix_ms, 2_000_004_500);
    }

    #[cfg(feature = "peers")]
    #[test]
    fn the_site_moves_the_clock_inside_its_bound_and_decides_nothing() {
        let mut time = TrustedTime::new(50);
        time.site_says(1_000_000, 1_000, 0);
        assert!(
            time.stamp(0).is_none() && !time.wants_site(0),
            "without the platform's word there is no bound"
        );
        time.platform_says(1_000_000, 1_000, 0);
        assert!(!time.wants_site(0));
        // After eleven days the clock is good to 50 s: too bad for log entries, and for commands.
        let later = 1_000_000_000;
        assert_eq!((time.stamp(later), time.wants_site(later)), (None, true));
        for said in [2_000_000 - 60, 2_000_000 + 60] {
            time.site_says(said, 1_000, later);
            assert_eq!(time.stamp(later), None, "outside the bound");
        }
        let before = time.estimate(later);
        time.site_says(2_000_030, 1_000, later);
        assert_eq!((time.stamp(later), time.wants_site(later)), (Some(2_000_031), false));
        assert_eq!((time.estimate(later), time.trusted(later)), (before, None));
        let mut record = [0; RECORD_LEN];
        time.record(later, Some(0), &mut record).unwrap();
        assert_eq!(time.floor_ms, before.unwrap().unix_ms - before.unwrap().uncertainty_ms);
        assert_eq!(decode(&record).unwrap().0, before.unwrap().unix_ms, "nothing of it is stored");
        time.platform_says(2_000_000, 1_000, later);
        assert_eq!(time.stamp(later), Some(2_000_001));
    }

    #[test]
    fn the_floor_survives_a_reset_without_rtc_and_the_time_does_not() {
        let mut record = [0; RECORD_LEN];
        let mut time = TrustedTime::new(20);
        time.platform_says(1_000_000, 0, 0);
        time.record(0, None, &mut record).unwrap();
        let mut time = TrustedTime::new(20);
        time.restore(&record, 5, None);
        assert_eq!(time.estimate(5), None);
        assert!(!time.platform_says(999_990, 0, 6));
        assert_eq!(time.estimate(6), None);
        time.platform_says(1_000_010, 0, 7);
        assert!(time.trusted(7).is_some());
    }

    #[test]
    fn the_floor_never_falls_whatever_is_said_and_however_often_the_lock_restarts() {
        let mut record = [0; RECORD_LEN];
        let mut time = TrustedTime::new(20);
        time.platform_says(1_000_000, 0, 0);
        time.record(0, None, &mut record).unwrap();
        for _ in 0..20 {
            time = TrustedTime::new(20);
            time.restore(&record, 5, None);
            assert!(!time.platform_says(999_960, 30_000, 30_005), "30 s of round trip and nothing more");
            // As low as it is believed, with all the uncertainty that an answer may have.
            let said = (999_000..1_000_000).find(|said| time.platform_says(*said, 30_000, 30_005));
            assert!(said.is_some());
            time.record(30_005, None, &mut record).unwrap();
        }
    }

    #[test]
    fn an_rtc_carries_the_time_over_a_reset_and_one_that_ran_backwards_does_not() {
        let mut record = [0; RECORD_LEN];
        let mut time = TrustedTime::new(1_000);
        time.platform_says(1_000_000, 0, 0);
        time.record(0, Some(50_000), &mut record).unwrap();
        let mut time = TrustedTime::new(1_000);
        time.restore(&record, 3, Some(150_000));
        let estimate = time.estimate(3).unwrap();
        assert_eq!(estimate, Estimate { unix_ms: 1_000_100_500, uncertainty_ms: 600 });
        let mut time = TrustedTime::new(1_000);
        time.restore(&record, 3, Some(10));
        assert_eq!(time.estimate(3), None);
    }
}
