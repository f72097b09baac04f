//! How long a chip was in what takes how much of a battery.

use super::chip::State;

/// Nanoseconds of the virtual clock in each kind of state, since the chip was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Asleep.
    pub sleep: u64,
    /// The crystal runs, and nothing else.
    pub idle: u64,
    /// The oscillator is calibrated, settles, or turns round.
    pub tuning: u64,
    /// Receiving, or looking for a sync word.
    pub rx: u64,
    /// Transmitting.
    pub tx: u64,
}

impl Spent {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.sleep + self.idle + self.tuning + self.rx + self.tx
    }

    /// What came since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            sleep: self.sleep - before.sleep,
            idle: self.idle - before.idle,
            tuning: self.tuning - before.tuning,
            rx: self.rx - before.rx,
            tx: self.tx - before.tx,
        }
    }

    fn add(&mut self, state: State, ns: u64) {
        *match state {
            State::Sleep => &mut self.sleep,
            State::Idle | State::Overflow | State::Underflow => &mut self.idle,
            State::Calibrating(_) | State::Settling(_) | State::ToRx | State::ToTx => &mut self.tuning,
            State::Rx => &mut self.rx,
            State::Tx => &mut self.tx,
        } += ns;
    }
}

/// One chip's account.
pub(super) struct Account {
    spent: Spent,
    state: State,
    since: u64,
}

impl Account {
    pub(super) fn new(now: u64, state: State) -> Self {
        Self { spent: Spent::default(), state, since: now }
    }

    /// The chip is in this state now; it was in the one before until now.
    pub(super) fn note(&mut self, now: u64, state: State) {
        if state != self.state {
            self.spent.add(self.state, now.saturating_sub(self.since));
            (self.state, self.since) = (state, now);
        }
    }

    pub(super) fn spent(&self, now: u64) -> Spent {
        let mut spent = self.spent;
        spent.add(self.state, now.saturating_sub(self.since));
        spent
    }
}
