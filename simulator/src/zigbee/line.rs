//! The wire between host and NCP, and what goes wrong on it.

use crate::Random;

/// Where bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the host to the NCP.
    ToNcp,
    /// From the NCP to the host.
    ToHost,
}

/// How bad the wire is, both ways. All chance comes from the seed given to [`Line::new`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Faults {
    /// Probability that a byte is lost.
    pub lost: f64,
    /// Probability that one bit of a byte is turned.
    pub bit_errors: f64,
}

/// What is to happen to the next frames.
#[derive(Debug, Clone, Copy, Default)]
struct Planned {
    lost: u32,
    bit_errors: u32,
}

/// The wire. What goes through it is one frame, or what the port gave at once.
pub struct Line {
    random: Random,
    faults: Faults,
    planned: [Planned; 2],
    damage: Damage,
}

/// What went wrong so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Damage {
    /// Bytes that were lost.
    pub lost: u64,
    /// Bits that were turned.
    pub turned: u64,
}

impl Line {
    /// A wire without faults; print the seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let (random, faults) = (Random::new(seed, 0), Faults::default());
        Self { random, faults, planned: Default::default(), damage: Damage::default() }
    }

    /// From now on it is as bad as this.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// The next frames in this direction are lost.
    pub fn lose(&mut self, direction: Direction, frames: u32) {
        self.plan(direction).lost = frames;
    }

    /// One bit of each of the next frames in this direction is turned.
    pub fn turn_bit(&mut self, direction: Direction, frames: u32) {
        self.plan(direction).bit_errors = frames;
    }

    fn plan(&mut self, direction: Direction) -> &mut Planned {
        let [to_ncp, to_host] = &mut self.planned;
        match direction {
            Direction::ToNcp => to_ncp,
            Direction::ToHost => to_host,
        }
    }

    /// What went wrong so far.
    #[must_use]
    pub fn damage(&self) -> Damage {
        self.damage
    }

    /// What of it arrives.
    pub fn carry(&mut self, direction: Direction, bytes: &[u8]) -> Vec<u8> {
        let arrived = self.damaged(direction, bytes);
        self.damage.lost += u64::try_from(bytes.len().saturating_sub(arrived.len())).unwrap_or(0);
        arrived
    }

    fn damaged(&mut self, direction: Direction, bytes: &[u8]) -> Vec<u8> {
        let plan = self.plan(direction);
        if plan.lost > 0 {
            plan.lost -= 1;
            return Vec::new();
        }
        let planned_error = plan.bit_errors > 0;
        plan.bit_errors = plan.bit_errors.saturating_sub(1);
        let mut arrived: Vec<u8> =
            bytes.iter().copied().filter(|_| !self.random.chance(self.faults.lost)).collect();
        for byte in &mut arrived {
            if self.random.chance(self.faults.bit_errors) {
                *byte ^= 1 << self.random.below(8);
                self.damage.turned += 1;
            }
        }
        if planned_error {
            let at = self.random.below(u64::try_from(arrived.len()).unwrap_or(0));
            if let Some(byte) = usize::try_from(at).ok().and_then(|at| arrived.get_mut(at)) {
                *byte ^= 1 << self.random.below(8);
                self.damage.turned += 1;
            }
        }
        arrived
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_has_the_same_faults_and_planned_ones_come_once() {
        let run = |seed| {
            let mut line = Line::new(seed);
            line.set_faults(Faults { lost: 0.05, bit_errors: 0.05 });
            (0..50).map(|_| line.carry(Direction::ToHost, &[0xAA; 20])).collect::<Vec<_>>()
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
        let mut line = Line::new(1);
        line.lose(Direction::ToNcp, 1);
        line.turn_bit(Direction::ToHost, 1);
        assert_eq!(line.carry(Direction::ToNcp, b"frame"), b"");
        assert_eq!(line.carry(Direction::ToNcp, b"frame"), b"frame");
        let turned = line.carry(Direction::ToHost, b"frame");
        let bits: u32 = turned.iter().zip(b"frame").map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!((turned.len(), bits), (5, 1));
        assert_eq!(line.carry(Direction::ToHost, b"frame"), b"frame");
    }
}
