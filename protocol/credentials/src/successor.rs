//! Where the owner code after an owner reset comes from: the code before it, and what the lock drew for that reset.
//!
//! The lock has burnt its code and cannot show a new one. It keeps a [`Successor`] instead, from which nobody gets the
//! burnt code back, and whoever knew that code, the owner's platform or the vendor, can make the same. The nonce of the
//! reset, which everybody may see, turns it into the next code.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::OwnerCode;

/// What remains of a burnt owner code. Erased when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Successor([u8; 16]);

impl Successor {
    /// The first 16 bytes of HMAC-SHA-256, keyed by the code, over `cardea successor`.
    #[must_use]
    pub fn of(code: &OwnerCode) -> Self {
        Self(*derive(code.to_bytes().as_ref(), &[b"cardea successor"]))
    }

    /// From its 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes, to be stored.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 16]> {
        Zeroizing::new(self.0)
    }

    /// The owner code after the reset for which the lock drew this nonce: the first 16 bytes of HMAC-SHA-256, keyed by
    /// this, over `cardea next owner code` ‖ nonce.
    #[must_use]
    pub fn code(&self, nonce: &[u8; 8]) -> OwnerCode {
        OwnerCode::from_bytes(*derive(&self.0, &[b"cardea next owner code", nonce]))
    }
}

fn derive(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 16]> {
    let mut out = Zeroizing::new([0; 16]);
    // HMAC takes keys of any length.
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) {
        parts.iter().for_each(|part| mac.update(part));
        let mut tag = mac.finalize().into_bytes();
        out.iter_mut().zip(tag.iter()).for_each(|(to, from)| *to = *from);
        tag.zeroize();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By Python's `hmac`.
    #[test]
    fn the_next_code_comes_from_the_burnt_one_and_the_nonce() {
        let successor = Successor::of(&OwnerCode::from_bytes([7; 16]));
        assert_eq!(hex::encode(successor.to_bytes()), "5dcb159d7231a0397567068cffc92d43");
        assert_eq!(hex::encode(successor.code(&[1; 8]).to_bytes()), "dfe984cbcce1fac7b0691434db8fdb81");
        assert_ne!(*successor.code(&[1; 8]).to_bytes(), *successor.code(&[2; 8]).to_bytes());
    }
}
