//! Adaptive data rate: Semtech's recommended algorithm, for devices that set the ADR bit.

use crate::plan::Plan;

/// Uplinks that are looked at before anything is asked of a device.
const ENOUGH: usize = 6;
const HISTORY: usize = 20;
/// Installation margin, tenths of a dB: doors open and close, people stand in between.
const MARGIN: i16 = 100;
/// One data rate or one power step, tenths of a dB.
const STEP: i16 = 30;

/// SNR of the last uplinks, tenths of a dB.
#[derive(Default)]
pub(crate) struct Adr {
    snr: [i16; HISTORY],
    heard: usize,
}

impl Adr {
    pub(crate) fn heard(&mut self, snr: i16) {
        if let Some(slot) = self.snr.get_mut(self.heard % HISTORY) {
            *slot = snr;
        }
        self.heard += 1;
    }

    /// What was heard under other settings says nothing about the new ones.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Data rate and TXPower index that would suit the device better than those it has.
    pub(crate) fn wanted(&self, plan: &Plan, dr: u8, power: u8) -> Option<(u8, u8)> {
        let best = self.snr.iter().take(self.heard).max().filter(|_| self.heard >= ENOUGH)?;
        let (max_dr, max_power) = plan.adr_limits();
        let mut steps = best
            .saturating_sub(required_snr(plan.modulation(dr)?.sf))
            .saturating_sub(MARGIN)
            .div_euclid(STEP);
        let (mut new_dr, mut new_power) = (dr, power);
        while steps > 0 && new_dr < max_dr {
            (new_dr, steps) = (new_dr + 1, steps - 1);
        }
        while steps > 0 && new_power < max_power {
            (new_power, steps) = (new_power + 1, steps - 1);
        }
        while steps < 0 && new_power > 0 {
            (new_power, steps) = (new_power - 1, steps + 1);
        }
        ((new_dr, new_power) != (dr, power)).then_some((new_dr, new_power))
    }
}

/// The SNR at which a spreading factor can just be demodulated, tenths of a dB (SX1301 data sheet).
pub(crate) fn required_snr(sf: u8) -> i16 {
    -75 - 25 * (i16::from(sf) - 7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LoraConfig;

    #[test]
    fn a_strong_signal_gets_faster_then_quieter_and_a_weak_one_louder() {
        let plan = Plan::new(&LoraConfig::default()).unwrap();
        let wanted = |snr: i16, dr, power| {
            let mut adr = Adr::default();
            for _ in 0..ENOUGH {
                adr.heard(snr);
            }
            adr.wanted(&plan, dr, power)
        };
        // SF12 needs -20 dB: at +7.5 dB, 17.5 dB above the margin are 5 steps: DR5.
        assert_eq!(wanted(75, 0, 0), Some((5, 0)));
        assert_eq!(wanted(120, 0, 0), Some((5, 2)));
        assert_eq!(wanted(-100, 0, 0), None);
        // SF7 needs -7.5 dB: at -3 dB the margin is not kept, so power goes up again.
        assert_eq!(wanted(-30, 5, 3), Some((5, 1)));
        assert_eq!(Adr::default().wanted(&plan, 0, 0), None);
    }
}
