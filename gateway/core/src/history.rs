//! How a lock was heard over time: few samples, whatever it sends.
//!
//! The first frames are kept one by one. Whenever the samples are full, neighbours become one and spans twice as long, up to
//! half an hour; from then on the oldest goes. So a lock that was paired a minute ago has a history to look at, and one that
//! has been here for long has a day of it at the least. It lives in memory: nothing depends on it.

use cardea_radio::Quality;

/// Samples of a lock at most.
pub const SAMPLES: usize = 48;

/// Shortest and longest span, seconds.
const SHORTEST: u32 = 10;
const LONGEST: u32 = 1_800;

/// A span of time in which a lock was heard: the weakest of its frames.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Its first frame, Unix seconds.
    from: u32,
    /// Its last frame, Unix seconds.
    pub at: u32,
    /// Of the weakest frame.
    pub quality: Quality,
    /// Frames in it.
    pub frames: u32,
}

impl Sample {
    fn takes(&mut self, later: Self) {
        self.at = later.at;
        self.frames = self.frames.saturating_add(later.frames);
        if strength(later.quality) < strength(self.quality) {
            self.quality = later.quality;
        }
    }
}

/// What "weaker" goes by: one radio says the same things of all its frames.
fn strength(quality: Quality) -> (i16, i16, u8) {
    (quality.rssi.unwrap_or(i16::MIN), quality.snr.unwrap_or(i16::MIN), quality.lqi.unwrap_or(0))
}

#[derive(Debug)]
pub(crate) struct History {
    samples: Vec<Sample>,
    span: u32,
}

impl Default for History {
    fn default() -> Self {
        Self { samples: Vec::new(), span: SHORTEST }
    }
}

impl History {
    pub(crate) fn heard(&mut self, unix_ms: u64, quality: Quality) {
        let at = u32::try_from(unix_ms / 1_000).unwrap_or(u32::MAX);
        let new = Sample { from: at, at, quality, frames: 1 };
        if let Some(last) = self.samples.last_mut() {
            // A clock that was set back begins anew: samples of the future would stay for good.
            if at < last.at {
                self.samples.clear();
            } else if at.saturating_sub(last.from) < self.span {
                return last.takes(new);
            }
        }
        if self.samples.len() >= SAMPLES {
            self.make_room();
        }
        self.samples.push(new);
    }

    fn make_room(&mut self) {
        if self.span >= LONGEST {
            self.samples.remove(0);
            return;
        }
        self.span = self.span.saturating_mul(2).min(LONGEST);
        let mut merged: Vec<Sample> = Vec::with_capacity(SAMPLES);
        for sample in self.samples.drain(..) {
            match merged.last_mut() {
                Some(last) if sample.at.saturating_sub(last.from) < self.span => last.takes(sample),
                _ => merged.push(sample),
            }
        }
        // Nothing was near enough to anything: the oldest goes.
        if merged.len() >= SAMPLES {
            merged.remove(0);
        }
        self.samples = merged;
    }

    pub(crate) fn samples(&self) -> &[Sample] {
        &self.samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000_000;

    fn quality(rssi: i16) -> Quality {
        Quality { rssi: Some(rssi), snr: None, lqi: None }
    }

    #[test]
    fn whatever_a_lock_sends_its_history_is_bounded_in_order_and_counts_every_frame_it_still_covers() {
        for every_ms in [100, 9_000, 60_000, 3_600_000] {
            let mut history = History::default();
            let mut rise = 0;
            for n in 0..5_000_u64 {
                history.heard(START + n * every_ms, quality(-60));
                assert!(history.samples().len() <= SAMPLES, "every {every_ms} ms");
                rise = rise.max(history.samples().len());
            }
            assert!(rise > SAMPLES / 2, "every {every_ms} ms: {rise}");
            let samples = history.samples();
            assert!(samples.windows(2).all(|pair| pair[0].at < pair[1].from));
            let covered = u64::from(samples.iter().map(|sample| sample.frames).sum::<u32>());
            let from = START / 1_000 + 4_999 * every_ms / 1_000;
            let span = from - u64::from(samples[0].from);
            assert!(covered >= span * 1_000 / every_ms, "every {every_ms} ms: {covered} in {span} s");
            assert!(span >= 80_000.min(4_900 * every_ms / 1_000), "a day: {span} s at {every_ms} ms");
        }
    }

    #[test]
    fn the_weakest_frame_of_a_span_is_what_is_kept() {
        let mut history = History::default();
        for (second, rssi) in [(0, -60), (3, -91), (6, -70)] {
            history.heard(START + second * 1_000, quality(rssi));
        }
        let [sample] = history.samples() else { panic!("one span") };
        assert_eq!((sample.quality.rssi, sample.frames), (Some(-91), 3));
    }

    #[test]
    fn a_clock_that_was_set_back_begins_a_new_history() {
        let mut history = History::default();
        history.heard(START, quality(-60));
        history.heard(START - 3_600_000, quality(-61));
        assert_eq!(history.samples().len(), 1);
        assert_eq!(history.samples()[0].quality.rssi, Some(-61));
    }
}
