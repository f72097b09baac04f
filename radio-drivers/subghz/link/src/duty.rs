use crate::Micros;

/// Minutes kept: an hour and the one that has begun, so that no 3,600 s, wherever they begin, hold more than the budget.
const MINUTES: usize = 61;
const MINUTE: Micros = 60_000_000;

/// Time on the air in a sliding hour. It lives in memory: an end that restarts begins a new hour.
#[derive(Clone)]
pub struct DutyBudget {
    spent: [u32; MINUTES],
    minute: u64,
    budget: Micros,
}

impl DutyBudget {
    /// Nothing spent of `budget` microseconds an hour.
    #[must_use]
    pub fn new(budget: Micros) -> Self {
        Self { spent: [0; MINUTES], minute: 0, budget }
    }

    /// Microseconds spent in the last hour, up to a minute more.
    pub fn spent(&mut self, now: Micros) -> Micros {
        self.advance(now);
        self.spent.iter().map(|&minute| Micros::from(minute)).sum()
    }

    /// Whether `air` more is allowed. With `reserve`, a tenth of the budget stays free for acknowledgements.
    pub fn allows(&mut self, now: Micros, air: Micros, reserve: bool) -> bool {
        let limit = if reserve { self.budget - self.budget / 10 } else { self.budget };
        self.spent(now).saturating_add(air) <= limit
    }

    /// `air` was spent, ending at `now`.
    pub fn spend(&mut self, now: Micros, air: Micros) {
        self.advance(now);
        if let Some(minute) = self.spent.get_mut((self.minute % MINUTES as u64) as usize) {
            *minute = minute.saturating_add(u32::try_from(air).unwrap_or(u32::MAX));
        }
    }

    fn advance(&mut self, now: Micros) {
        let minute = now / MINUTE;
        while self.minute < minute {
            if minute - self.minute > MINUTES as u64 {
                self.spent = [0; MINUTES];
                self.minute = minute;
                break;
            }
            self.minute += 1;
            if let Some(old) = self.spent.get_mut((self.minute % MINUTES as u64) as usize) {
                *old = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_hour_holds_more_than_the_budget(steps in proptest::collection::vec((0_u64..40_000_000, 1_u64..2_000_000), 1..600)) {
            let (mut duty, mut now) = (DutyBudget::new(20_000_000), 0);
            let mut sent = std::vec::Vec::new();
            for (pause, air) in steps {
                now += pause;
                if duty.allows(now, air, false) {
                    duty.spend(now, air);
                    sent.push((now, air));
                }
            }
            for &(from, _) in &sent {
                let hour: u64 = sent.iter().filter(|(at, _)| (from..from + 3_600_000_000).contains(at)).map(|(_, air)| air).sum();
                prop_assert!(hour <= 20_000_000);
            }
        }
    }

    #[test]
    fn what_was_spent_comes_back_after_an_hour() {
        let mut duty = DutyBudget::new(1_000);
        duty.spend(0, 1_000);
        assert!(!duty.allows(3_600_000_000, 1, false));
        assert!(duty.allows(3_660_000_000, 1_000, false));
    }
}
