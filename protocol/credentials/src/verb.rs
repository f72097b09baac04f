//! Remote verbs that change a gateway: the platform signs which gateway, what, with which payload, and until when.
//! Verbs that only read go without.

use sha2::{Digest, Sha256};

use crate::cbor::{Reader, Writer};
use crate::key::once;
use crate::signed::{self, Bound};
use crate::{Error, PublicKey, Sign1, Signer};

/// First item of the external_aad of a remote verb; the gateway's name as it stands in topics is the second.
pub const AAD_VERB: &str = "cardea/verb";
/// The longest verb.
pub const MAX_VERB: usize = 32;
/// The greatest length of a signed verb.
pub const MAX_VERB_LEN: usize = 169;
/// How far ahead `not_after` may be, in seconds.
pub const MAX_VERB_AHEAD_S: u32 = 600;
/// How many verbs a gateway takes within that time.
pub const VERB_WINDOW: usize = 64;

const NONCE: i64 = 1;
const NOT_AFTER: i64 = 2;
const VERB: i64 = 3;
const PAYLOAD_HASH: i64 = 4;

/// A remote verb. Verified, it was said by the platform; that it is said for the first time and in time is for
/// [`VerbWindow`] to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verb<'a> {
    /// Drawn by the platform, never twice.
    pub nonce: [u8; 16],
    /// The last second in which it may be carried out, Unix time.
    pub not_after: u32,
    /// The verb, as in the topic `request/{verb}`.
    pub verb: &'a str,
    /// SHA-256 of the request's payload, byte for byte.
    pub payload_hash: [u8; 32],
}

impl<'a> Verb<'a> {
    /// A verb over a payload.
    #[must_use]
    pub fn new(nonce: [u8; 16], not_after: u32, verb: &'a str, payload: &[u8]) -> Self {
        Self { nonce, not_after, verb, payload_hash: Sha256::digest(payload).into() }
    }

    /// Signs for one `gateway`, by its name in topics. Returns the length, at most [`MAX_VERB_LEN`].
    ///
    /// # Errors
    /// [`Error::TooLong`] for a verb beyond [`MAX_VERB`] or a name beyond [`MAX_AUDIENCE`](crate::MAX_AUDIENCE);
    /// [`Error::BufferTooSmall`] or the signer's.
    pub fn sign(&self, gateway: &str, platform: &dyn Signer, out: &mut [u8]) -> Result<usize, Error> {
        if self.verb.len() > MAX_VERB {
            return Err(Error::TooLong);
        }
        let mut buffer = [0; 112];
        let mut payload = Writer::new(&mut buffer);
        payload.map(4)?.int(NONCE)?.bytes(&self.nonce)?.int(NOT_AFTER)?.int(i64::from(self.not_after))?;
        payload.int(VERB)?.text(self.verb)?.int(PAYLOAD_HASH)?.bytes(&self.payload_hash)?;
        let aad = Bound::to_name(AAD_VERB, gateway)?;
        Sign1::encode(platform, None, aad.as_slice(), payload.as_slice(), out)
    }

    /// Verifies that the platform said this verb to `gateway`, with this payload.
    ///
    /// # Errors
    /// [`Error::WrongCredential`] for another payload, [`Error::BadSignature`], also for another gateway;
    /// [`Error::TooLong`], and the decoders' errors.
    pub fn verify(
        message: &'a [u8],
        gateway: &str,
        payload: &[u8],
        platform: &PublicKey,
    ) -> Result<Self, Error> {
        let sign1 = signed::decode(message, MAX_VERB_LEN)?;
        let mut fields = Reader::new(sign1.verify(platform, Bound::to_name(AAD_VERB, gateway)?.as_slice())?);
        let (mut nonce, mut not_after, mut verb, mut hash) = (None, None, None, None);
        for _ in 0..fields.map()? {
            match fields.int()? {
                NONCE => once(&mut nonce, fields.bytes_exact()?)?,
                NOT_AFTER => once(&mut not_after, fields.u32()?)?,
                VERB => once(&mut verb, fields.text()?)?,
                PAYLOAD_HASH => once(&mut hash, fields.bytes_exact()?)?,
                _ => return Err(Error::Malformed),
            }
        }
        fields.finish()?;
        let (Some(nonce), Some(not_after), Some(verb), Some(payload_hash)) = (nonce, not_after, verb, hash)
        else {
            return Err(Error::Malformed);
        };
        if verb.len() > MAX_VERB {
            return Err(Error::TooLong);
        }
        let verb = Self { nonce, not_after, verb, payload_hash };
        if verb == Self::new(nonce, not_after, verb.verb, payload) {
            Ok(verb)
        } else {
            Err(Error::WrongCredential)
        }
    }
}

/// Which verbs a gateway has taken: none twice, none late, none from before a restart.
#[derive(Clone, Debug)]
pub struct VerbWindow {
    taken: [Option<([u8; 16], u32)>; VERB_WINDOW],
    /// Verbs that end here or earlier may have been taken by an earlier run of the program.
    floor: u32,
}

impl VerbWindow {
    /// Begins with the stored [`Self::floor_after`], 0 where there is none.
    #[must_use]
    pub const fn new(floor: u32) -> Self {
        Self { taken: [None; VERB_WINDOW], floor }
    }

    /// What to store, durably, before `verb` is carried out.
    #[must_use]
    pub fn floor_after(&self, verb: &Verb<'_>) -> u32 {
        self.taken.iter().flatten().map(|(_, end)| *end).fold(self.floor.max(verb.not_after), u32::max)
    }

    /// Takes a verified verb at `now` (Unix seconds).
    ///
    /// # Errors
    /// [`Error::Expired`]; [`Error::NotYetValid`] where `not_after` is more than [`MAX_VERB_AHEAD_S`] ahead;
    /// [`Error::RolledBack`] for one that was or may have been taken; [`Error::Busy`] with [`VERB_WINDOW`] taken.
    pub fn take(&mut self, verb: &Verb<'_>, now: u32) -> Result<(), Error> {
        if verb.not_after < now {
            return Err(Error::Expired);
        }
        if verb.not_after - now > MAX_VERB_AHEAD_S {
            return Err(Error::NotYetValid);
        }
        let seen = self.taken.iter().flatten().any(|(nonce, _)| *nonce == verb.nonce);
        if seen || verb.not_after <= self.floor {
            return Err(Error::RolledBack);
        }
        // A clock that is set back must not bring a forgotten verb back to life.
        for slot in &mut self.taken {
            if let Some((_, end)) = *slot
                && end < now
            {
                self.floor = self.floor.max(end);
                *slot = None;
            }
        }
        let free = self.taken.iter_mut().find(|slot| slot.is_none()).ok_or(Error::Busy)?;
        *free = Some((verb.nonce, verb.not_after));
        Ok(())
    }
}
