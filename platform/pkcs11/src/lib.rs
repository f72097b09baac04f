//! The platform's keys in a PKCS#11 token: a hardware security module, a smart card, or SoftHSM to try it.
//!
//! [`TokenKeys`] is a [`KeyStore`](cardea_sdk::KeyStore) whose private keys are generated in the token, not
//! extractable, and checked for that at every opening. ES256 is `CKM_ECDSA` over a SHA-256 digest made here; the
//! static Diffie-Hellman key of EDHOC method 3 is `CKM_ECDH1_DERIVE` with `CKD_NULL`. **The shared secret of an
//! agreement does leave the token**: EDHOC mixes it into a key schedule that no token computes. It is derived as an
//! extractable session object, read, and destroyed there; what is kept here is zeroized. One copy escapes that: the
//! PKCS#11 binding frees the buffer it read the value into without wiping it. A shared secret opens one handshake's
//! keys, never the private key.
//!
//! One thread owns the session. A token that goes away is looked for again with backoff, and until it is back callers
//! are told so at once, or after [`PATIENCE`] when it hangs: nothing else of the platform waits for it. A wrong PIN is
//! never tried twice, not even across restarts.
//!
//! [`MakerKey`] is the one other key: a maker's, for factory identities.
//!
//! What it does not do: it makes no tokens and sets no PINs (the maker's tool does), takes no keys that ask for the
//! PIN at each use, and imports and exports nothing.

mod device;
mod error;
mod keeper;
mod maker;
mod pin;
mod point;
mod settings;
mod store;
mod token;

pub use error::Error;
pub use keeper::PATIENCE;
pub use maker::{MAKER_PIN, MakerKey};
pub use settings::{PLATFORM_PIN, ROOT_PIN, TokenSettings};
pub use store::TokenKeys;
