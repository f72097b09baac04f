use crate::{Error, MAX_PARTIAL_IV};

/// Remembers which sequence numbers of a peer were used (RFC 8613 section 7.4). Two steps, so that a caller can make
/// the number durable before the effect: `check`, `commit` (and store), act.
pub trait ReplayGuard {
    /// # Errors
    /// [`Error::Replay`] when the number was committed before, or may have been.
    fn check(&self, partial_iv: u64) -> Result<(), Error>;

    /// Marks the number as used. Only for numbers of authentic requests that passed [`Self::check`].
    ///
    /// # Errors
    /// [`Error::Replay`] as `check`, and then nothing changes.
    fn commit(&mut self, partial_iv: u64) -> Result<(), Error>;
}

/// The sliding window of RFC 8613 section 7.4, 32 numbers wide.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Window {
    /// The lowest number that is above all committed ones.
    next: u64,
    /// Bit i is set when `next - 1 - i` is used.
    used: u32,
}

impl Window {
    /// Width, in sequence numbers.
    pub const SIZE: u64 = 32;
    /// Length of [`Self::to_bytes`].
    pub const ENCODED_LEN: usize = 12;

    /// An empty window for a new context.
    pub fn new() -> Self {
        Self::default()
    }

    /// A window that refuses everything up to `partial_iv` and has it committed: how a server goes on once a request
    /// proved itself fresh by Echo after the window was lost (RFC 8613 appendix B.1.2).
    ///
    /// # Errors
    /// [`Error::SequenceExhausted`].
    pub fn after_echo(partial_iv: u64) -> Result<Self, Error> {
        if partial_iv > MAX_PARTIAL_IV {
            return Err(Error::SequenceExhausted);
        }
        Ok(Self { next: partial_iv + 1, used: u32::MAX })
    }

    /// Whether a higher number than this was committed: its message was overtaken on the way, or held back.
    pub fn is_overtaken(&self, partial_iv: u64) -> bool {
        partial_iv.saturating_add(1) < self.next
    }

    /// For durable storage.
    pub fn to_bytes(&self) -> [u8; Self::ENCODED_LEN] {
        let mut bytes = [0; Self::ENCODED_LEN];
        let (next, used) = bytes.split_at_mut(8);
        next.copy_from_slice(&self.next.to_be_bytes());
        used.copy_from_slice(&self.used.to_be_bytes());
        bytes
    }

    /// # Errors
    /// [`Error::InvalidState`] for bytes that [`Self::to_bytes`] cannot have written.
    pub fn from_bytes(bytes: &[u8; Self::ENCODED_LEN]) -> Result<Self, Error> {
        let (next, used) = bytes.split_at(8);
        let next = next.try_into().map(u64::from_be_bytes).map_err(|_| Error::InvalidState)?;
        let used = used.try_into().map(u32::from_be_bytes).map_err(|_| Error::InvalidState)?;
        // The highest number is used by definition, and nothing is used before the first.
        let possible = match next {
            0 => used == 0,
            1.. => used & 1 == 1 && next <= MAX_PARTIAL_IV + 1,
        };
        if possible { Ok(Self { next, used }) } else { Err(Error::InvalidState) }
    }
}

impl ReplayGuard for Window {
    fn check(&self, partial_iv: u64) -> Result<(), Error> {
        if partial_iv >= self.next {
            return if partial_iv <= MAX_PARTIAL_IV { Ok(()) } else { Err(Error::Replay) };
        }
        let age = self.next - 1 - partial_iv;
        let fresh = age < Self::SIZE && self.used >> age & 1 == 0;
        if fresh { Ok(()) } else { Err(Error::Replay) }
    }

    fn commit(&mut self, partial_iv: u64) -> Result<(), Error> {
        self.check(partial_iv)?;
        if partial_iv >= self.next {
            let shift = partial_iv + 1 - self.next;
            self.used =
                u32::try_from(shift).ok().and_then(|shift| self.used.checked_shl(shift)).unwrap_or(0) | 1;
            self.next = partial_iv + 1;
        } else {
            self.used |= 1 << (self.next - 1 - partial_iv);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    #[test]
    fn edges_of_the_window() {
        let mut window = Window::new();
        window.commit(52).unwrap();
        assert_eq!(window.check(52), Err(Error::Replay));
        assert_eq!(window.check(21), Ok(()), "31 below the highest: still inside");
        assert_eq!(window.check(20), Err(Error::Replay), "32 below: outside");
        window.commit(21).unwrap();
        assert_eq!(window.commit(21), Err(Error::Replay));
        assert_eq!(window.check(MAX_PARTIAL_IV), Ok(()));
        assert_eq!(window.check(MAX_PARTIAL_IV + 1), Err(Error::Replay));
        window.commit(MAX_PARTIAL_IV).unwrap();
        assert_eq!(window.check(MAX_PARTIAL_IV), Err(Error::Replay));
        assert_eq!(Window::from_bytes(&window.to_bytes()), Ok(window));
    }

    #[test]
    fn after_echo_only_newer_numbers_pass() {
        let mut window = Window::after_echo(100).unwrap();
        for old in [0, 69, 99, 100] {
            assert_eq!(window.check(old), Err(Error::Replay));
        }
        window.commit(101).unwrap();
        assert_eq!(Window::after_echo(MAX_PARTIAL_IV + 1), Err(Error::SequenceExhausted));
    }

    #[test]
    fn stored_bytes_are_checked() {
        assert_eq!(Window::from_bytes(&[0; 12]), Ok(Window::new()));
        assert_eq!(Window::from_bytes(&[0xff; 12]), Err(Error::InvalidState));
        let erased_flags = [0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0];
        assert_eq!(Window::from_bytes(&erased_flags), Err(Error::InvalidState));
    }

    proptest! {
        /// Against the definition: a number passes once, and only if it is less than 32 below the highest.
        #[test]
        fn equals_an_exact_set(numbers in prop::collection::vec(0..200_u64, 0..300)) {
            let mut window = Window::new();
            let mut seen = BTreeSet::new();
            for number in numbers {
                let too_old = seen.last().is_some_and(|highest| number + Window::SIZE <= *highest);
                let expected = !too_old && !seen.contains(&number);
                prop_assert_eq!(window.check(number).is_ok(), expected);
                prop_assert_eq!(window.commit(number).is_ok(), expected);
                if expected {
                    seen.insert(number);
                }
                window = Window::from_bytes(&window.to_bytes()).unwrap();
            }
        }

        #[test]
        fn large_jumps(jumps in prop::collection::vec(1..1_u64 << 34, 0..8)) {
            let mut window = Window::new();
            let mut highest = 0;
            let mut committed = Vec::new();
            for jump in jumps {
                highest += jump;
                window.commit(highest).unwrap();
                committed.push(highest);
                for number in &committed {
                    prop_assert_eq!(window.check(*number), Err(Error::Replay));
                }
            }
        }
    }
}
