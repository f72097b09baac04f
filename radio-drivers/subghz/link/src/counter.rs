//! Frame counters that survive a power cut without a write per frame.

/// Counters are reserved in storage so many at a time.
pub const BLOCK: u32 = 256;

/// A repeat is answered so often; whoever repeats more is not the other end, which has 2 × 3 tries.
const REPEATS: u8 = 8;

/// Ours: never used twice, since storage holds a number that was not used yet.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    next: u32,
    limit: u32,
    /// Somebody wanted a number since the start. Before that none is reserved: restarts alone use none up.
    asked: bool,
}

impl Sender {
    /// After a restart: everything below the stored limit may have been used.
    pub(crate) fn restore(limit: u32) -> Self {
        Self { next: limit, limit, asked: false }
    }

    /// A new session whose first block is stored with it.
    pub(crate) fn fresh(limit: u32) -> Self {
        Self { next: 0, limit, asked: false }
    }

    pub(crate) fn take(&mut self) -> Option<u32> {
        self.asked = true;
        let counter = self.next;
        (counter < self.limit).then(|| {
            self.next += 1;
            counter
        })
    }

    /// What storage should hold now: half a block ahead is asked for before it is needed.
    pub(crate) fn wanted(&self, block: u32) -> u32 {
        if !self.asked || self.limit.saturating_sub(self.next) >= block / 2 {
            self.limit
        } else {
            self.next.saturating_add(block)
        }
    }

    pub(crate) fn stored(&mut self, limit: u32) {
        self.limit = self.limit.max(limit);
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// The other end refuses what is below `floor`. Believed up to a few blocks: more is never lost in a power cut.
    pub(crate) fn jump(&mut self, floor: u32) {
        if floor > self.next && floor - self.next <= 4 * BLOCK {
            self.next = floor;
        }
    }
}

/// What a counter says about a frame whose code was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    New,
    /// The last one again: its acknowledgement was lost.
    Repeat,
    Old,
    /// Since the restart nothing was accepted, and this is below what may have been accepted before it.
    BelowFloor,
    /// New, but storage does not hold a number above it yet.
    NotReserved,
}

/// The other end's.
#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    next: u32,
    limit: u32,
    last: Option<u32>,
    /// Highest that was seen with a right code, accepted or not.
    seen: u32,
    repeats: u8,
}

impl Receiver {
    /// After a restart: what was accepted before is below the stored limit.
    pub(crate) fn restore(limit: u32) -> Self {
        Self { next: limit, limit, last: None, seen: limit.saturating_sub(1), repeats: 0 }
    }

    pub(crate) fn fresh(limit: u32) -> Self {
        Self { next: 0, limit, last: None, seen: 0, repeats: 0 }
    }

    /// The whole counter nearest to what is expected.
    pub(crate) fn whole(&self, low: u16) -> u32 {
        let ahead = low.wrapping_sub(self.next as u16) as i16;
        self.next.checked_add_signed(i32::from(ahead)).unwrap_or(u32::from(low))
    }

    pub(crate) fn judge(&self, counter: u32) -> Verdict {
        if self.last == Some(counter) {
            Verdict::Repeat
        } else if counter < self.next {
            if self.last.is_none() { Verdict::BelowFloor } else { Verdict::Old }
        } else if counter >= self.limit {
            Verdict::NotReserved
        } else {
            Verdict::New
        }
    }

    /// An authentic frame carried this counter: storage will have to follow.
    pub(crate) fn saw(&mut self, counter: u32) {
        self.seen = self.seen.max(counter);
    }

    pub(crate) fn accept(&mut self, counter: u32) {
        self.saw(counter);
        self.next = counter.saturating_add(1);
        self.last = Some(counter);
        self.repeats = 0;
    }

    /// Whether a repeat is to be acknowledged again.
    pub(crate) fn repeat(&mut self) -> bool {
        self.repeats = self.repeats.saturating_add(1);
        self.repeats <= REPEATS
    }

    pub(crate) fn floor(&self) -> u32 {
        self.next
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// What storage should hold now. Two blocks, since the sender jumps by one when it restarts.
    pub(crate) fn wanted(&self) -> u32 {
        if self.last.is_none() && self.seen < self.next {
            return self.limit; // nothing new since the restart: the floor must not run away from who is silent
        }
        let highest = self.next.max(self.seen);
        if self.limit.saturating_sub(highest) >= BLOCK + BLOCK / 2 {
            self.limit
        } else {
            highest.saturating_add(2 * BLOCK)
        }
    }

    pub(crate) fn stored(&mut self, limit: u32) {
        self.limit = self.limit.max(limit);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whole_counters_are_found_around_the_expected_one() {
        let receiver = Receiver { next: 0x0001_FFF0, limit: u32::MAX, last: None, seen: 0, repeats: 0 };
        assert_eq!(receiver.whole(0xFFF0), 0x0001_FFF0);
        assert_eq!(receiver.whole(0x0005), 0x0002_0005);
        assert_eq!(receiver.whole(0xFF00), 0x0001_FF00);
        assert_eq!(Receiver::fresh(9).whole(0xFFFF), 0xFFFF); // nothing lies below zero
    }

    #[test]
    fn restarts_alone_move_neither_counter_nor_floor() {
        let (mut tx, mut rx) = (Sender::restore(300), Receiver::restore(700));
        for _ in 0..1_000 {
            (tx, rx) = (Sender::restore(tx.wanted(BLOCK)), Receiver::restore(rx.wanted()));
        }
        assert_eq!((tx.limit(), rx.floor()), (300, 700));
        assert_eq!(tx.take(), None);
        tx.stored(tx.wanted(BLOCK));
        assert_eq!(tx.take(), Some(300));
        rx.saw(699);
        assert_eq!((rx.judge(699), rx.wanted()), (Verdict::BelowFloor, 700));
        rx.saw(700);
        assert_eq!(rx.judge(700), Verdict::NotReserved);
        rx.stored(rx.wanted());
        assert_eq!(rx.judge(700), Verdict::New);
    }

    /// What a sender may jump when it restarts is a block, and a receiver that restarts just then must still take it.
    #[test]
    fn limits_are_moved_at_half_a_block_and_leave_a_block_above_what_was_accepted() {
        let mut tx = Sender::fresh(BLOCK);
        let mut wanted = std::vec::Vec::new();
        for _ in 0..BLOCK {
            tx.take();
            wanted.push(tx.wanted(BLOCK));
        }
        assert_eq!(wanted[127..129], [BLOCK, 129 + BLOCK], "asked for when half of it is left");
        let mut rx = Receiver::fresh(2 * BLOCK);
        for counter in 0..5_000 {
            rx.accept(counter);
            rx.stored(rx.wanted());
            assert!(rx.limit() - counter > BLOCK, "a restart of the sender at {counter} would be refused");
        }
    }

    proptest! {
        #[test]
        fn no_counter_is_used_or_accepted_twice_whenever_the_power_goes(
            steps in proptest::collection::vec(0_u8..8, 1..4000),
        ) {
            let (mut tx, mut tx_stored) = (Sender::fresh(BLOCK), BLOCK);
            let (mut rx, mut rx_stored) = (Receiver::fresh(2 * BLOCK), 2 * BLOCK);
            let (mut used, mut accepted) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
            let mut air = std::vec::Vec::new();
            for step in steps {
                match step {
                    0 => tx = Sender::restore(tx_stored),
                    1 => rx = Receiver::restore(rx_stored),
                    2 => { tx_stored = tx.wanted(BLOCK); tx.stored(tx_stored); }
                    3 => { rx_stored = rx.wanted(); rx.stored(rx_stored); }
                    4 => tx.jump(rx.floor()),
                    _ => if let Some(counter) = tx.take() {
                        prop_assert!(used.insert(counter));
                        air.push(counter);
                    },
                }
                // An enemy plays everything again, always.
                for &counter in air.iter().rev().take(40) {
                    rx.saw(counter);
                    if rx.judge(counter) == Verdict::New {
                        rx.accept(counter);
                        prop_assert!(accepted.insert(counter));
                    }
                }
            }
        }
    }
}
