//! Keys and the message authentication code: HMAC-SHA-256 cut to 8 bytes.
//!
//! Lock and gateway link it anyway, and unlike a CCM tag it loses nothing when a counter covers several frames, as that of a
//! burst of strobes does (`docs/decisions/0018-the-433-link-layer.md`).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::LockId;
use crate::codec::MIC_LEN;

/// The admission secret of a radio label: lets a lock into the radio network and opens no door.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret(pub [u8; 16]);

/// A key of one purpose.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key(pub [u8; 16]);

/// What both ends put into the keys of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonces {
    /// The lock's join nonce.
    pub node: u32,
    /// The gateway's.
    pub gateway: u32,
}

/// Keys of a session, one for each direction.
#[derive(Clone)]
pub struct SessionKeys {
    /// Lock to gateway.
    pub up: Key,
    /// Gateway to lock.
    pub down: Key,
}

impl Secret {
    /// The key of JOIN and ACCEPT.
    #[must_use]
    pub fn join_key(&self) -> Key {
        self.derive(b"cardea 433 join", &[])
    }

    /// The session's keys.
    #[must_use]
    pub fn session(&self, lock: &LockId, nonces: Nonces) -> SessionKeys {
        let [node, gateway] = [nonces.node, nonces.gateway].map(u32::to_be_bytes);
        SessionKeys {
            up: self.derive(b"cardea 433 up", &[lock, &node, &gateway]),
            down: self.derive(b"cardea 433 down", &[lock, &node, &gateway]),
        }
    }

    /// The network key is sent XORed with a key that is used once; applied twice it is back.
    #[must_use]
    pub fn wrap(&self, lock: &LockId, nonces: Nonces, key: &Key) -> Key {
        let [node, gateway] = [nonces.node, nonces.gateway].map(u32::to_be_bytes);
        let mut pad = self.derive(b"cardea 433 wrap", &[lock, &node, &gateway]);
        pad.0.iter_mut().zip(key.0).for_each(|(to, from)| *to ^= from);
        pad
    }

    fn derive(&self, label: &[u8], parts: &[&[u8]]) -> Key {
        let mut key = Key([0; 16]);
        let mut whole = digest(&self.0, label, parts);
        key.0.iter_mut().zip(whole).for_each(|(to, from)| *to = from);
        whole.zeroize();
        key
    }
}

impl Key {
    /// The code over a whole counter (big-endian) and a frame's header and body.
    #[must_use]
    pub fn mic(&self, counter: u32, bytes: &[u8]) -> [u8; MIC_LEN] {
        let mut mic = [0; MIC_LEN];
        mic.iter_mut()
            .zip(digest(&self.0, &counter.to_be_bytes(), &[bytes]))
            .for_each(|(to, from)| *to = from);
        mic
    }

    /// Compares in constant time.
    #[must_use]
    pub fn verify(&self, counter: u32, bytes: &[u8], mic: &[u8]) -> bool {
        self.mic(counter, bytes).ct_eq(mic).into()
    }
}

fn digest(key: &[u8; 16], first: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC pads keys shorter than a block with zeros (RFC 2104 section 2).
    let mut block = zeroize::Zeroizing::new([0; 64]);
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    let mut mac = Hmac::<Sha256>::new((&*block).into());
    mac.update(first);
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}
