//! Keys and the message authentication code: HMAC-SHA-256 cut to 8 bytes.
//!
//! Lock and gateway link it anyway, and unlike a CCM tag it loses nothing when a counter covers several frames, as that of a
//! burst of strobes does (`docs/decisions/0018-the-433-link-layer.md`).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

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
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
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
        pad.0.iter_mut().zip(&key.0).for_each(|(to, from)| *to ^= from);
        pad
    }

    fn derive(&self, label: &[u8], parts: &[&[u8]]) -> Key {
        let mut key = Key([0; 16]);
        let whole = Zeroizing::new(digest(&self.0, label, parts));
        key.0.iter_mut().zip(&*whole).for_each(|(to, from)| *to = *from);
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
    let mut block = Zeroizing::new([0; 64]);
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    let mut mac = Hmac::<Sha256>::new((&*block).into());
    mac.update(first);
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Gateway, Node, Record};

    /// Does not compile for a type with `Debug`: which of the two is meant is then not known.
    macro_rules! say_nothing {
        ($($secret:ty),+) => {$({
            trait Silent<Which> {
                fn is_silent() {}
            }
            impl<T> Silent<()> for T {}
            struct Talks;
            impl<T: core::fmt::Debug> Silent<Talks> for T {}
            <$secret as Silent<_>>::is_silent();
        })+};
    }

    #[test]
    fn what_holds_secrets_has_no_debug_and_is_wiped() {
        say_nothing!(Secret, Key, SessionKeys, crate::session::Session, Record, Gateway<1>, Node);
        fn wiped<T: ZeroizeOnDrop>() {}
        wiped::<Secret>();
        wiped::<Key>();
        wiped::<SessionKeys>();
        fn content(record: Record) -> Option<impl ZeroizeOnDrop> {
            record.content
        }
        fn of_node(node: &mut Node) -> Option<impl ZeroizeOnDrop> {
            node.poll_store()
        }
        let _ = (content, of_node);
    }

    #[test]
    fn wiped_is_all_zeros() {
        let (mut secret, mut key) = (Secret([1; 16]), Key([2; 16]));
        let mut keys = secret.session(&[1; 8], Nonces { node: 1, gateway: 2 });
        secret.zeroize();
        key.zeroize();
        keys.zeroize();
        assert_eq!([secret.0, key.0, keys.up.0, keys.down.0], [[0; 16]; 4]);
    }
}
