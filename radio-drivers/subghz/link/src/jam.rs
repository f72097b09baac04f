use crate::Micros;

const SLICE: Micros = 10_000_000;
const FEWEST: u32 = 10;

/// Share of time in which the channel was busy, in three slices of 10 s. It counts carrier sense and nothing finer.
#[derive(Clone, Default)]
pub(crate) struct Occupancy {
    slices: [(u32, u32); 3],
    at: u64,
    jammed: bool,
}

impl Occupancy {
    /// One look at the channel. True or false when the alarm begins or ends.
    pub(crate) fn sample(&mut self, now: Micros, busy: bool) -> Option<bool> {
        let slice = now / SLICE;
        let verdict = if slice == self.at { None } else { self.judge(slice) };
        let [current, ..] = &mut self.slices;
        current.0 = current.0.saturating_add(u32::from(busy));
        current.1 = current.1.saturating_add(1);
        verdict
    }

    fn judge(&mut self, slice: u64) -> Option<bool> {
        let adjacent = slice == self.at + 1;
        let loud = |&(busy, all): &(u32, u32)| all >= FEWEST && busy >= all - all / 5;
        let all_loud = self.slices.iter().all(loud);
        let [(busy, all), ..] = self.slices;
        let calm = all >= FEWEST && busy <= all / 2;
        let [a, b, _] = self.slices;
        self.slices = if adjacent { [(0, 0), a, b] } else { [(0, 0); 3] };
        self.at = slice;
        if all_loud && !self.jammed || calm && self.jammed {
            self.jammed = all_loud;
            return Some(self.jammed);
        }
        None
    }

    /// Another channel: what was seen says nothing of it.
    pub(crate) fn reset(&mut self) {
        *self = Self { at: self.at, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_seconds_of_carrier_are_an_alarm_and_ten_calm_ones_end_it() {
        let mut seen = Occupancy::default();
        let mut verdicts = std::vec::Vec::new();
        for tenth in 0..700_u64 {
            let busy = (100..450).contains(&tenth) && tenth % 10 != 0;
            if let Some(verdict) = seen.sample(tenth * 100_000, busy) {
                verdicts.push((tenth, verdict));
            }
        }
        assert_eq!(verdicts, [(400, true), (500, false)]);
    }

    /// Slices of ten seconds with so many busy looks of a hundred; what was told, and in which slice it was seen.
    fn told(slices: &[(u64, u32)]) -> std::vec::Vec<(u64, bool)> {
        let (mut seen, mut told) = (Occupancy::default(), std::vec::Vec::new());
        for &(slice, busy) in slices {
            for look in 0..100 {
                if let Some(verdict) = seen.sample(slice * SLICE + look * 100_000, look < busy.into()) {
                    told.push((slice, verdict));
                }
            }
        }
        told
    }

    #[test]
    fn four_fifths_are_an_alarm_and_between_a_half_and_that_nothing_changes() {
        assert_eq!(told(&[(1, 79), (2, 79), (3, 79), (4, 79)]), []);
        assert_eq!(told(&[(1, 80), (2, 80), (3, 80), (4, 79)]), [(4, true)]);
        assert_eq!(
            told(&[(1, 90), (2, 90), (3, 90), (4, 51), (5, 51), (6, 50), (7, 0)]),
            [(4, true), (7, false)]
        );
    }

    #[test]
    fn slices_with_a_gap_between_are_no_thirty_seconds() {
        assert_eq!(told(&[(1, 90), (2, 90), (4, 90), (5, 90)]), []);
        assert_eq!(told(&[(1, 90), (2, 90), (4, 90), (5, 90), (6, 90), (7, 90)]), [(7, true)]);
    }

    #[test]
    fn few_looks_say_nothing_and_another_channel_begins_anew() {
        let mut seen = Occupancy::default();
        let nine = (0..60).flat_map(|slice| (0..9).map(move |look| slice * SLICE + look * 1_000_000));
        assert!(nine.into_iter().all(|at| seen.sample(at, true).is_none()));
        let mut seen = Occupancy::default();
        let looks = |from: u64, to: u64, seen: &mut Occupancy| {
            (from..to).filter_map(|tenth| seen.sample(tenth * 100_000, true)).count()
        };
        assert_eq!(looks(0, 299, &mut seen), 0);
        seen.reset();
        assert_eq!(looks(300, 599, &mut seen), 0, "what was seen on another channel");
        assert_eq!(looks(599, 700, &mut seen), 1);
    }
}
