//! Freshness tokens the lock hands out: 4-byte challenges inside events and 8-byte Echo values in 4.01.

use heapless::Vec;
use subtle::ConstantTimeEq;

/// Life of a challenge or Echo value on the lock's own timer, in milliseconds.
pub const CHALLENGE_LIFE_MS: u64 = 30_000;
/// Length of the challenge that every event carries.
pub const CHALLENGE_LEN: usize = 4;
/// Length of the Echo option in a 4.01 response (RFC 9175 §2.2.1; DESIGN: 8 bytes).
pub const ECHO_LEN: usize = 8;
/// Tokens alive at once; the oldest gives way.
const LIVE: usize = 4;

/// Two different kinds of token, told apart by length on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TokenKind {
    /// Travelled in an event.
    Challenge,
    /// Travelled in a 4.01 response.
    Echo,
}

struct Token {
    value: [u8; ECHO_LEN],
    kind: TokenKind,
    generation: u32,
    issued: u64,
}

impl Token {
    fn bytes(&self) -> &[u8] {
        match self.kind {
            TokenKind::Challenge => self.value.get(..CHALLENGE_LEN).unwrap_or_default(),
            TokenKind::Echo => &self.value,
        }
    }

    fn alive(&self, now: u64) -> bool {
        now.saturating_sub(self.issued) < CHALLENGE_LIFE_MS
    }
}

/// The tokens that are out. Each is bound to one context, dies after 30 s and is taken once.
#[derive(Default)]
pub(crate) struct Tokens {
    out: Vec<Token, LIVE>,
}

impl Tokens {
    /// Remembers `value` (random; a challenge uses its first four bytes) as issued at `now` for the context.
    pub(crate) fn issue(&mut self, now: u64, generation: u32, kind: TokenKind, value: [u8; ECHO_LEN]) {
        self.out.retain(|token| token.alive(now));
        if self.out.is_full() {
            self.out.remove(0);
        }
        let _ = self.out.push(Token { value, kind, generation, issued: now });
    }

    /// Takes the token out if it is alive and belongs to the context. Returns its kind and its age in ms.
    pub(crate) fn redeem(&mut self, now: u64, generation: u32, value: &[u8]) -> Option<(TokenKind, u64)> {
        self.out.retain(|token| token.alive(now));
        let found = self
            .out
            .iter()
            .position(|token| token.generation == generation && bool::from(token.bytes().ct_eq(value)))?;
        let token = self.out.remove(found);
        Some((token.kind, now.saturating_sub(token.issued)))
    }

    /// Until when at least one token is open, if any.
    pub(crate) fn open_until(&self, now: u64) -> Option<u64> {
        self.out.iter().filter(|token| token.alive(now)).map(|token| token.issued + CHALLENGE_LIFE_MS).max()
    }

    /// Forgets what belongs to a retired context.
    pub(crate) fn forget(&mut self, generation: u32) {
        self.out.retain(|token| token.generation != generation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

    #[test]
    fn a_challenge_is_its_first_four_bytes_and_is_taken_once() {
        let mut tokens = Tokens::default();
        tokens.issue(1_000, 1, TokenKind::Challenge, VALUE);
        assert_eq!(tokens.redeem(2_000, 1, &VALUE), None);
        assert_eq!(tokens.redeem(2_000, 1, &VALUE[..4]), Some((TokenKind::Challenge, 1_000)));
        assert_eq!(tokens.redeem(2_000, 1, &VALUE[..4]), None);
    }

    #[test]
    fn it_dies_after_thirty_seconds() {
        let mut tokens = Tokens::default();
        tokens.issue(0, 1, TokenKind::Echo, VALUE);
        assert_eq!(tokens.open_until(29_999), Some(30_000));
        assert_eq!(tokens.open_until(30_000), None);
        assert_eq!(tokens.redeem(30_000, 1, &VALUE), None);
    }

    #[test]
    fn another_context_cannot_use_it() {
        let mut tokens = Tokens::default();
        tokens.issue(0, 1, TokenKind::Echo, VALUE);
        assert_eq!(tokens.redeem(1, 2, &VALUE), None);
        assert_eq!(tokens.redeem(1, 1, &VALUE), Some((TokenKind::Echo, 1)));
    }

    #[test]
    fn the_oldest_gives_way() {
        let mut tokens = Tokens::default();
        for n in 0..5u8 {
            tokens.issue(u64::from(n), 1, TokenKind::Challenge, [n; 8]);
        }
        assert_eq!(tokens.redeem(5, 1, &[0; 4]), None);
        assert!(tokens.redeem(5, 1, &[1; 4]).is_some());
    }
}
