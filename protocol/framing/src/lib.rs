//! The only bytes a Cardea gateway parses of a sealed frame: header, fragments, receipts, elision.
//!
//! Everything behind the header byte stays opaque here: this crate holds no key and decrypts nothing.
#![no_std]

/// The routing name of a lock: the first 8 bytes of its identity key's SHA-256 thumbprint (RFC 9679).
///
/// It routes and never authorises.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LockId(pub [u8; 8]);
