//! How much work a lock does for site messages: it verifies what it asked for, and little else.

use crate::Error;

/// Signatures verified within [`GATE_PERIOD_MS`], at most.
pub const GATE_VERIFICATIONS: usize = 4;
/// Of these, how many for messages that nobody asked for. What is left is for answers, so that a flood does not starve
/// them.
pub const GATE_UNASKED: usize = 3;
/// The period of the limit, in milliseconds.
pub const GATE_PERIOD_MS: u64 = 60_000;
/// How long an answer is waited for, in milliseconds: some windows of a class A device.
pub const ASK_LIFE_MS: u64 = 600_000;

/// The nonce of the one question that is open, and when signatures were verified. Times are the lock's own timer,
/// milliseconds since it was started, so a restart begins anew.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    asked: Option<([u8; 8], u64)>,
    spent: [Option<(u64, bool)>; GATE_VERIFICATIONS],
}

impl Gate {
    /// Nothing asked, nothing verified.
    #[must_use]
    pub const fn new() -> Self {
        Self { asked: None, spent: [None; GATE_VERIFICATIONS] }
    }

    /// Notes the fresh random `nonce` of a question that goes out now. An earlier question is closed.
    pub const fn ask(&mut self, nonce: [u8; 8], now: u64) {
        self.asked = Some((nonce, now));
    }

    /// The nonce of the open question.
    #[must_use]
    pub fn open(&self, now: u64) -> Option<[u8; 8]> {
        let (nonce, at) = self.asked?;
        (now.saturating_sub(at) < ASK_LIFE_MS).then_some(nonce)
    }

    /// Whether `nonce`, as it came with a message, is that of the open question. It is no proof of origin (the gateway
    /// reads it), only a reason to work.
    #[must_use]
    pub fn answers(&self, nonce: Option<&[u8; 8]>, now: u64) -> bool {
        nonce.is_some() && self.open(now).as_ref() == nonce
    }

    /// The question was answered by a message whose signature is good.
    pub const fn close(&mut self) {
        self.asked = None;
    }

    /// Takes one verification from the limit. Everything that can be refused without it was refused before.
    ///
    /// # Errors
    /// [`Error::Busy`] where the limit is reached.
    pub fn admit(&mut self, asked: bool, now: u64) -> Result<(), Error> {
        for slot in &mut self.spent {
            if slot.is_some_and(|(at, _)| now.saturating_sub(at) >= GATE_PERIOD_MS) {
                *slot = None;
            }
        }
        let unasked = self.spent.iter().flatten().filter(|(_, asked)| !asked).count();
        if !asked && unasked >= GATE_UNASKED {
            return Err(Error::Busy);
        }
        let free = self.spent.iter_mut().find(|slot| slot.is_none()).ok_or(Error::Busy)?;
        *free = Some((now, asked));
        Ok(())
    }
}
