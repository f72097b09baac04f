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
}
