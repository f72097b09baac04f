use crate::{Error, MAX_PARTIAL_IV};

/// Hands out sender sequence numbers, each once, across restarts (RFC 8613 section 7.2.1 and appendix B.1.1).
///
/// Numbers are reserved in blocks: only those below a limit that the caller has stored durably are given out, so
/// storage is written once for [`Self::BLOCK`] messages, and a restart skips what was left of the block.
///
/// ```
/// use cardea_oscore::SenderSequence;
/// let mut sequence = SenderSequence::new(0); // a new context; later: the limit stored last
/// if let Some(limit) = sequence.needs_reservation() {
///     // store `limit` durably, then:
///     sequence.reserved(limit)?;
/// }
/// assert_eq!(sequence.take()?, 0);
/// # Ok::<(), cardea_oscore::Error>(())
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct SenderSequence {
    next: u64,
    limit: u64,
}

impl SenderSequence {
    /// Numbers in a block.
    pub const BLOCK: u64 = 64;
    /// From this number on a new context should be made.
    pub const REKEY_AT: u64 = 1 << 20;

    /// Continues from the limit that was stored last; 0 for a new context. Nothing is reserved yet.
    pub fn new(stored_limit: u64) -> Self {
        Self { next: stored_limit, limit: stored_limit }
    }

    /// The limit to store durably before the next number can be taken; `None` while numbers are left or when there are
    /// no more.
    pub fn needs_reservation(&self) -> Option<u64> {
        (self.next >= self.limit && self.next <= MAX_PARTIAL_IV)
            .then(|| (self.next + Self::BLOCK).min(MAX_PARTIAL_IV + 1))
    }

    /// Tells that this limit, from [`Self::needs_reservation`], is durable.
    ///
    /// # Errors
    /// [`Error::InvalidState`] for a limit below the present one or above what a Partial IV can hold.
    pub fn reserved(&mut self, limit: u64) -> Result<(), Error> {
        if limit < self.limit || limit > MAX_PARTIAL_IV + 1 {
            return Err(Error::InvalidState);
        }
        self.limit = limit;
        Ok(())
    }

    /// The next number.
    ///
    /// # Errors
    /// [`Error::SequenceNotReserved`] when the reserved block is used up, [`Error::SequenceExhausted`] when all are.
    pub fn take(&mut self) -> Result<u64, Error> {
        if self.next > MAX_PARTIAL_IV {
            return Err(Error::SequenceExhausted);
        }
        if self.next >= self.limit {
            return Err(Error::SequenceNotReserved);
        }
        let number = self.next;
        self.next += 1;
        Ok(number)
    }

    /// Whether [`Self::REKEY_AT`] is reached.
    pub fn should_rekey(&self) -> bool {
        self.next >= Self::REKEY_AT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_given_out_above_the_durable_limit() {
        let mut sequence = SenderSequence::new(0);
        assert_eq!(sequence.take(), Err(Error::SequenceNotReserved));
        assert_eq!(sequence.needs_reservation(), Some(64));
        sequence.reserved(64).unwrap();
        for expected in 0..64 {
            assert_eq!(sequence.needs_reservation(), None);
            assert_eq!(sequence.take(), Ok(expected));
        }
        assert_eq!(sequence.take(), Err(Error::SequenceNotReserved));
        assert_eq!(sequence.needs_reservation(), Some(128));
        assert_eq!(sequence.reserved(63), Err(Error::InvalidState));
    }

    #[test]
    fn a_restart_skips_the_rest_of_the_block() {
        let mut sequence = SenderSequence::new(0);
        sequence.reserved(64).unwrap();
        assert_eq!(sequence.take(), Ok(0));
        let mut restarted = SenderSequence::new(64);
        assert_eq!(restarted.take(), Err(Error::SequenceNotReserved));
        restarted.reserved(restarted.needs_reservation().unwrap()).unwrap();
        assert_eq!(restarted.take(), Ok(64));
    }

    #[test]
    fn the_last_number_is_the_last() {
        let mut sequence = SenderSequence::new(MAX_PARTIAL_IV);
        assert_eq!(sequence.needs_reservation(), Some(MAX_PARTIAL_IV + 1));
        assert_eq!(sequence.reserved(MAX_PARTIAL_IV + 2), Err(Error::InvalidState));
        sequence.reserved(MAX_PARTIAL_IV + 1).unwrap();
        assert_eq!(sequence.take(), Ok(MAX_PARTIAL_IV));
        assert_eq!(sequence.take(), Err(Error::SequenceExhausted));
        assert_eq!(sequence.needs_reservation(), None);
        assert_eq!(SenderSequence::new(u64::MAX).take(), Err(Error::SequenceExhausted));
        assert!(sequence.should_rekey());
    }
}
