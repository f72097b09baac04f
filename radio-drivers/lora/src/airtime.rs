//! How long a frame occupies the air, and how much air is left: ETSI EN 300 220 duty cycles per sub-band.
//!
//! The ledger lives in memory: a restart forgets the last hour. What it forgets is bounded by what one hour allows.

use std::collections::VecDeque;

use cardea_radio::Millis;

use crate::config::Region;
use crate::plan::Modulation;

/// Time on air of a LoRaWAN downlink in microseconds: 8 symbols of preamble, explicit header, coding rate 4/5, no
/// payload CRC (Semtech AN1200.13; optimised for low data rates where a symbol is longer than 16 ms).
pub(crate) fn time_on_air(modulation: Modulation, len: usize) -> u64 {
    let sf = i64::from(modulation.sf);
    let symbol = (1_000_u64 << modulation.sf) / u64::from(modulation.bw.max(1));
    let optimised = i64::from(symbol > 16_000);
    let bits = 8 * i64::try_from(len).unwrap_or(255) - 4 * sf + 28;
    let per_block = 4 * (sf - 2 * optimised);
    let blocks = if bits > 0 { (bits + per_block - 1) / per_block } else { 0 };
    let symbols = u64::try_from(8 + blocks * 5).unwrap_or(8);
    // 8 symbols of preamble and 4.25 of synchronisation.
    symbol * 49 / 4 + symbols * symbol
}

/// Sub-bands of EN 300 220-2 table B.1 in which a gateway may transmit: lowest and highest frequency (exclusive), Hz,
/// and duty cycle in thousandths.
const EU868: [(u32, u32, u64); 6] = [
    (863_000_000, 865_000_000, 1),
    (865_000_000, 868_000_000, 10),
    (868_000_000, 868_600_000, 10),
    (868_700_000, 869_200_000, 1),
    (869_400_000, 869_650_000, 100),
    (869_700_000, 870_000_000, 10),
];

/// Emissions are summed per minute: an hour of history is 61 numbers, however busy the gateway.
const BUCKET: Millis = 60_000;
const HOUR: Millis = 3_600_000;

struct Band {
    low: u32,
    high: u32,
    /// Microseconds of emission in any hour.
    budget: u64,
    used: u64,
    /// Start of the minute, microseconds emitted in it; oldest first.
    buckets: VecDeque<(Millis, u64)>,
}

/// What was emitted in one sub-band in the last hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BandUse {
    /// Lowest frequency, Hz.
    pub low: u32,
    /// First frequency above it, Hz.
    pub high: u32,
    /// Emitted, microseconds.
    pub used: u64,
    /// Allowed in any hour, microseconds.
    pub budget: u64,
}

/// What has been emitted in the last hour, and what may still be.
pub(crate) struct DutyCycle {
    /// `None` where the region has no duty cycle.
    bands: Option<Vec<Band>>,
}

impl DutyCycle {
    pub(crate) fn new(region: Region) -> Self {
        let band = |(low, high, permille): (u32, u32, u64)| Band {
            low,
            high,
            budget: permille * HOUR,
            used: 0,
            buckets: VecDeque::new(),
        };
        let bands = match region {
            Region::Eu868 => Some(EU868.into_iter().map(band).collect()),
            Region::Us915 => None,
        };
        Self { bands }
    }

    /// The first moment, not before `at`, at which `airtime` microseconds may start; `None` means never.
    pub(crate) fn allowed_at(&mut self, at: Millis, frequency: u32, airtime: u64) -> Option<Millis> {
        let Some(bands) = &mut self.bands else { return Some(at) };
        let band = bands.iter_mut().find(|band| (band.low..band.high).contains(&frequency))?;
        if airtime > band.budget {
            return None;
        }
        let mut used = band.used;
        let mut start = at;
        for (minute, spent) in &band.buckets {
            let expired = minute + BUCKET + HOUR;
            if expired <= at || used + airtime > band.budget {
                used -= spent;
                start = start.max(expired);
            } else {
                break;
            }
        }
        (used + airtime <= band.budget).then_some(start)
    }

    pub(crate) fn charge(&mut self, at: Millis, frequency: u32, airtime: u64) {
        let Some(band) = self.band(frequency) else { return };
        while let Some((minute, spent)) = band.buckets.front().copied() {
            if minute + BUCKET + HOUR > at {
                break;
            }
            band.used -= spent;
            band.buckets.pop_front();
        }
        band.used += airtime;
        let minute = at - at % BUCKET;
        match band.buckets.back_mut() {
            // A downlink is charged when it will be on the air, so the newest bucket may lie ahead.
            Some((newest, spent)) if *newest >= minute => *spent += airtime,
            _ => band.buckets.push_back((minute, airtime)),
        }
    }

    /// Takes back the charge of something that was not emitted after all.
    pub(crate) fn refund(&mut self, frequency: u32, airtime: u64) {
        let Some(band) = self.band(frequency) else { return };
        if let Some((_, spent)) = band.buckets.iter_mut().rev().find(|(_, spent)| *spent >= airtime) {
            *spent -= airtime;
            band.used -= airtime;
        }
    }

    /// What counts at this moment, by sub-band; `None` where the region has no duty cycle.
    pub(crate) fn used(&self, now: Millis) -> Option<[BandUse; EU868.len()]> {
        let mut used = [BandUse::default(); EU868.len()];
        for (place, band) in used.iter_mut().zip(self.bands.as_ref()?) {
            let counts = |minute: &Millis| minute + BUCKET + HOUR > now;
            let spent = band.buckets.iter().filter(|(minute, _)| counts(minute)).map(|(_, spent)| spent);
            *place = BandUse { low: band.low, high: band.high, used: spent.sum(), budget: band.budget };
        }
        Some(used)
    }

    fn band(&mut self, frequency: u32) -> Option<&mut Band> {
        self.bands.as_mut()?.iter_mut().find(|band| (band.low..band.high).contains(&frequency))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The Semtech calculator's values for 12-byte and 64-byte downlinks.
    #[test]
    fn time_on_air_by_the_book() {
        let on_air = |sf, bw, len| time_on_air(Modulation { sf, bw }, len);
        assert_eq!(on_air(7, 125, 12), 41_216);
        assert_eq!(on_air(9, 125, 12), 144_384);
        assert_eq!(on_air(10, 125, 12), 288_768);
        assert_eq!(on_air(12, 125, 12), 991_232);
        assert_eq!(on_air(7, 125, 64), 118_016);
        assert_eq!(on_air(12, 125, 64), 2_793_472);
        assert_eq!(on_air(12, 500, 12), 247_808);
    }

    #[test]
    fn a_sub_band_is_exhausted_and_recovers_after_an_hour() {
        let mut duty = DutyCycle::new(Region::Eu868);
        let second = 1_000_000;
        // 1 % of an hour is 36 s.
        for i in 0..36 {
            assert_eq!(duty.allowed_at(i * 1000, 868_100_000, second), Some(i * 1000), "second {i}");
            duty.charge(i * 1000, 868_100_000, second);
        }
        assert_eq!(duty.allowed_at(40_000, 868_300_000, second), Some(HOUR + BUCKET));
        // Other sub-bands are not concerned.
        assert_eq!(duty.allowed_at(40_000, 869_525_000, second), Some(40_000));
        assert_eq!(duty.allowed_at(40_000, 867_100_000, second), Some(40_000));
        duty.refund(868_100_000, second);
        assert_eq!(duty.allowed_at(40_000, 868_300_000, second), Some(40_000));
        duty.charge(40_000, 868_300_000, second);
        assert_eq!(duty.allowed_at(HOUR + BUCKET, 868_300_000, second), Some(HOUR + BUCKET));
        duty.charge(HOUR + BUCKET, 868_300_000, second);
        assert_eq!(duty.allowed_at(HOUR + BUCKET, 868_300_000, 35 * second), Some(HOUR + BUCKET));
    }

    #[test]
    fn what_no_band_has_is_never_allowed() {
        let mut duty = DutyCycle::new(Region::Eu868);
        assert_eq!(duty.allowed_at(0, 868_650_000, 1), None, "alarm band between the sub-bands");
        assert_eq!(duty.allowed_at(0, 868_900_000, 3_600_001), None, "more than 0.1 % of an hour at once");
        assert_eq!(DutyCycle::new(Region::Us915).allowed_at(5, 923_300_000, u64::MAX), Some(5));
    }

    #[test]
    fn the_ledger_stays_small() {
        let mut duty = DutyCycle::new(Region::Eu868);
        for minute in 0..10_000 {
            duty.charge(minute * BUCKET, 869_525_000, 1);
        }
        let now = (10_000 - 1) * BUCKET;
        let last_hour = duty.used(now).unwrap()[4];
        assert_eq!((last_hour.used, last_hour.budget), (61, 360_000_000), "10 % of an hour");
        assert_eq!(duty.used(now + 2 * HOUR).unwrap()[4].used, 0, "it is over without anything being sent");
        assert!(DutyCycle::new(Region::Us915).used(0).is_none());
        assert!(duty.band(869_525_000).unwrap().buckets.len() <= 62);
        assert!(duty.band(869_525_000).unwrap().used <= 62);
    }
}
