//! Signed site messages: public, readable by the gateway, each type with its own external_aad so that none passes
//! for another.

use crate::cbor::{Reader, Writer};
use crate::key::once;
use crate::sign1::Sign1;
use crate::signed::Bound;
use crate::{Error, PublicKey, Signer};

/// First item of the external_aad of an activation status; the audience is the second.
pub const AAD_ACTIVATION_STATUS: &str = "cardea/activation-status";

/// The greatest length of an encoded activation status.
pub const MAX_ACTIVATION_STATUS_LEN: usize = 136;

/// The longest audience name.
pub const MAX_AUDIENCE: usize = 64;

const THUMBPRINT: i64 = 1;
const NONCE: i64 = 2;
const OUTCOME: i64 = 3;
const AT: i64 = 4;

/// How an activation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Activation {
    /// Lock and platform have proved the same owner code to each other.
    Activated = 0,
    /// The lock's proof does not fit the owner code that the platform was given.
    WrongCode = 1,
    /// The lock belongs to somebody already.
    Owned = 2,
}

/// What the platform tells the pairing page about one activation attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivationStatus {
    /// Thumbprint of the lock's identity key; the lock id is its first 8 bytes.
    pub lock: [u8; 32],
    /// Ties the answer to one attempt: the uplink id of the message_3 that it answers.
    pub nonce: [u8; 16],
    /// How it ended.
    pub outcome: Activation,
    /// When, in Unix seconds by the platform's clock.
    pub at: u32,
}

impl ActivationStatus {
    /// The 8 bytes that route to the lock.
    #[must_use]
    pub fn lock_id(&self) -> [u8; 8] {
        let mut id = [0; 8];
        id.iter_mut().zip(self.lock).for_each(|(to, from)| *to = from);
        id
    }

    /// Signs with the platform's signing key for one `audience`, the gateway's name as it stands in topics. Returns
    /// the length.
    ///
    /// # Errors
    /// [`Error::TooLong`] for an audience beyond [`MAX_AUDIENCE`], [`Error::BufferTooSmall`], or the signer's.
    pub fn sign(&self, audience: &str, platform: &dyn Signer, out: &mut [u8]) -> Result<usize, Error> {
        let mut buffer = [0; 80];
        let mut payload = Writer::new(&mut buffer);
        payload.map(4)?.int(THUMBPRINT)?.bytes(&self.lock)?.int(NONCE)?.bytes(&self.nonce)?;
        payload.int(OUTCOME)?.int(self.outcome as i64)?.int(AT)?.int(i64::from(self.at))?;
        let aad = Bound::to_name(AAD_ACTIVATION_STATUS, audience)?;
        Sign1::encode(platform, None, aad.as_slice(), payload.as_slice(), out)
    }

    /// Verifies with the platform's signing key, which the gateway pinned when it was enrolled.
    ///
    /// # Errors
    /// [`Error::BadSignature`], also for another audience or type of message; the decoders' errors.
    pub fn verify(message: &[u8], audience: &str, platform: &PublicKey) -> Result<Self, Error> {
        let aad = Bound::to_name(AAD_ACTIVATION_STATUS, audience)?;
        let mut payload = Reader::new(Sign1::decode(message)?.verify(platform, aad.as_slice())?);
        let (mut lock, mut nonce, mut outcome, mut at) = (None, None, None, None);
        for _ in 0..payload.map()? {
            match payload.int()? {
                THUMBPRINT => once(&mut lock, payload.bytes_exact()?)?,
                NONCE => once(&mut nonce, payload.bytes_exact()?)?,
                OUTCOME => once(
                    &mut outcome,
                    match payload.int()? {
                        0 => Activation::Activated,
                        1 => Activation::WrongCode,
                        2 => Activation::Owned,
                        _ => return Err(Error::Malformed),
                    },
                )?,
                AT => once(&mut at, payload.u32()?)?,
                _ => return Err(Error::Malformed),
            }
        }
        payload.finish()?;
        match (lock, nonce, outcome, at) {
            (Some(lock), Some(nonce), Some(outcome), Some(at)) => Ok(Self { lock, nonce, outcome, at }),
            _ => Err(Error::Malformed),
        }
    }
}
