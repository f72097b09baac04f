//! Passkeys (WebAuthn level 2): what a browser says when it makes one or uses one, and what of it is believed.
//!
//! One kind alone: ES256, without attestation (it would say which maker's device it is, and nobody here asks), with user verification. A
//! browser makes none behind a certificate that it does not trust. The password stays the way in that always works.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::{SignatureVerificationAlgorithm, alg_id};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::session::Name;

/// A challenge is good for so long, milliseconds: as long as somebody may look for a finger.
const LIFE_MS: u64 = 5 * 60 * 1000;

/// Challenges that were used and have not ended: each was signed by a passkey of the owner's.
const SPENT: usize = 1024;

/// The longest id that the specification allows.
const LONGEST_ID: usize = 1023;

/// The longest of each thing that a browser sends.
const LONGEST: usize = 4096;

/// What stands before the coordinates in a COSE key of ES256, in the one encoding that authenticators may use (CTAP2 canonical CBOR):
/// {1: 2 (EC2), 3: -7 (ES256), -1: 1 (P-256), -2: x, -3: y}.
const BEFORE_X: [u8; 10] = [0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 0x20];
const BEFORE_Y: [u8; 3] = [0x22, 0x58, 0x20];

const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const WITH_CREDENTIAL: u8 = 0x40;

/// Why what a browser says is not believed. For the log; people are told to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("what came is not of a passkey")]
    Malformed,
    #[error("another challenge than the gateway's, or one that was used or is too old")]
    Challenge,
    #[error("it was made for another site")]
    Site,
    #[error("the device did not verify the user")]
    Unverified,
    #[error("a wrong signature")]
    Signature,
    #[error("its counter did not rise: it may have been copied")]
    Counter,
    #[error("no such passkey")]
    Unknown,
}

/// One passkey.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Passkey {
    pub(crate) id: Vec<u8>,
    /// The host name that it is for.
    pub(crate) site: String,
    /// The public key: a point, uncompressed.
    pub(crate) key: Vec<u8>,
    pub(crate) counter: u32,
    /// What its owner calls it.
    pub(crate) name: String,
    /// Unix milliseconds.
    pub(crate) added: u64,
    /// Unix milliseconds.
    pub(crate) used: Option<u64>,
}

/// What a challenge is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Purpose {
    Add = 1,
    SignIn = 2,
    Prove = 3,
}

/// Challenges that nobody has to remember: their end and whose they are is in them, under a key of this run. So no stranger can make the
/// gateway forget the owner's. Each is good for one passkey's use.
pub(crate) struct Challenges {
    key: Zeroizing<[u8; 32]>,
    spent: Mutex<BTreeMap<[u8; 16], u64>>,
}

impl Challenges {
    pub(crate) fn new() -> Result<Self, getrandom::Error> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut_slice())?;
        Ok(Self { key, spent: Mutex::default() })
    }

    /// One for this purpose and, where somebody is signed in, this session. Base64url.
    pub(crate) fn make(
        &self,
        purpose: Purpose,
        session: Option<Name>,
        now: u64,
    ) -> Result<String, getrandom::Error> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce)?;
        let end = now.saturating_add(LIFE_MS);
        let tag = self.tag(purpose, session, nonce, end);
        Ok(URL_SAFE_NO_PAD.encode([&nonce[..], &end.to_be_bytes(), &tag].concat()))
    }

    /// Takes one that was answered, once.
    fn take(&self, challenge: &[u8], purpose: Purpose, session: Option<Name>, now: u64) -> Result<(), Unfit> {
        let (nonce, rest) = challenge.split_first_chunk::<16>().ok_or(Unfit::Challenge)?;
        let (end, tag) = rest.split_first_chunk::<8>().ok_or(Unfit::Challenge)?;
        let end = u64::from_be_bytes(*end);
        let ours: bool = self.tag(purpose, session, *nonce, end).ct_eq(tag).into();
        if !ours || end < now || end > now.saturating_add(LIFE_MS) {
            return Err(Unfit::Challenge);
        }
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.retain(|_, end| *end >= now);
        if spent.len() >= SPENT || spent.contains_key(nonce) {
            return Err(Unfit::Challenge);
        }
        spent.insert(*nonce, end);
        Ok(())
    }

    /// All parts have one length each, so that a prefix key is enough.
    fn tag(&self, purpose: Purpose, session: Option<Name>, nonce: [u8; 16], end: u64) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.key.as_slice());
        digest.update([purpose as u8, u8::from(session.is_some())]);
        digest.update(session.map_or([0; 32], |name| name.0));
        digest.update(nonce);
        digest.update(end.to_be_bytes());
        digest.finalize().into()
    }
}

/// What the gateway expects of an answer.
pub(crate) struct Expected<'a> {
    pub(crate) challenges: &'a Challenges,
    pub(crate) purpose: Purpose,
    pub(crate) session: Option<Name>,
    /// The name in the browser's address, with its port: it has passed the guard.
    pub(crate) host: &'a str,
    /// Unix milliseconds.
    pub(crate) now: u64,
}

/// The host name alone; `None` for an address, which has no passkeys.
pub(crate) fn site(host: &str) -> Option<String> {
    if host.starts_with('[') {
        return None;
    }
    let name = host.split(':').next().unwrap_or_default();
    let named = name.parse::<std::net::Ipv4Addr>().is_err() && name.chars().any(char::is_alphabetic);
    named.then(|| name.to_ascii_lowercase())
}

/// What the browser puts around a challenge (WebAuthn §5.8.1).
#[derive(Deserialize)]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    #[serde(rename = "crossOrigin", default)]
    cross_origin: bool,
}

impl Expected<'_> {
    /// What the device says, and the challenge's bytes, once all but the signature fits.
    fn read<'d>(&self, client: &[u8], device: &'d [u8], kind: &str) -> Result<(Device<'d>, Vec<u8>), Unfit> {
        if client.len() > LONGEST || device.len() > LONGEST {
            return Err(Unfit::Malformed);
        }
        let said: ClientData = serde_json::from_slice(client).map_err(|_| Unfit::Malformed)?;
        if said.kind != kind {
            return Err(Unfit::Malformed);
        }
        let challenge = URL_SAFE_NO_PAD.decode(said.challenge).map_err(|_| Unfit::Challenge)?;
        let site = site(self.host).ok_or(Unfit::Site)?;
        let origin = said.origin.strip_prefix("https://").ok_or(Unfit::Site)?;
        if said.cross_origin || !origin.eq_ignore_ascii_case(self.host) {
            return Err(Unfit::Site);
        }
        let device = Device::read(device)?;
        if *device.site != *Sha256::digest(site.as_bytes()) {
            return Err(Unfit::Site);
        }
        if device.flags & (USER_PRESENT | USER_VERIFIED) != USER_PRESENT | USER_VERIFIED {
            return Err(Unfit::Unverified);
        }
        Ok((device, challenge))
    }

    fn spend(&self, challenge: &[u8]) -> Result<(), Unfit> {
        self.challenges.take(challenge, self.purpose, self.session, self.now)
    }

    /// A new passkey.
    pub(crate) fn made(&self, client: &[u8], device: &[u8], name: &str) -> Result<Passkey, Unfit> {
        let (device, challenge) = self.read(client, device, "webauthn.create")?;
        let (id, key) = device.credential().ok_or(Unfit::Malformed)?;
        self.spend(&challenge)?;
        let name: String = name.trim().chars().filter(|c| !c.is_control()).take(40).collect();
        Ok(Passkey {
            id: id.to_vec(),
            site: site(self.host).ok_or(Unfit::Site)?,
            key,
            counter: device.counter,
            name,
            added: self.now,
            used: None,
        })
    }

    /// That this passkey was used: its new counter.
    pub(crate) fn used(
        &self,
        passkey: &Passkey,
        client: &[u8],
        device: &[u8],
        signature: &[u8],
    ) -> Result<u32, Unfit> {
        let (said, challenge) = self.read(client, device, "webauthn.get")?;
        if site(self.host).as_deref() != Some(passkey.site.as_str()) {
            return Err(Unfit::Site);
        }
        let message = [device, &Sha256::digest(client)[..]].concat();
        let es256 = es256().ok_or(Unfit::Signature)?;
        es256.verify_signature(&passkey.key, &message, signature).map_err(|_| Unfit::Signature)?;
        // Authenticators without a counter always say 0.
        if (said.counter, passkey.counter) != (0, 0) && said.counter <= passkey.counter {
            return Err(Unfit::Counter);
        }
        self.spend(&challenge)?;
        Ok(said.counter)
    }
}

/// Authenticator data (WebAuthn §6.1).
struct Device<'a> {
    site: &'a [u8; 32],
    flags: u8,
    counter: u32,
    rest: &'a [u8],
}

impl<'a> Device<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Unfit> {
        let (site, rest) = bytes.split_first_chunk::<32>().ok_or(Unfit::Malformed)?;
        let (&flags, rest) = rest.split_first().ok_or(Unfit::Malformed)?;
        let (counter, rest) = rest.split_first_chunk::<4>().ok_or(Unfit::Malformed)?;
        Ok(Self { site, flags, counter: u32::from_be_bytes(*counter), rest })
    }

    /// Id and public key of a new credential; extensions behind it were not asked for and are not looked at.
    fn credential(&self) -> Option<(&'a [u8], Vec<u8>)> {
        if self.flags & WITH_CREDENTIAL == 0 {
            return None;
        }
        let (_model, rest) = self.rest.split_first_chunk::<16>()?;
        let (len, rest) = rest.split_first_chunk::<2>()?;
        let len = usize::from(u16::from_be_bytes(*len));
        let (id, rest) = rest.split_at_checked(len).filter(|_| (1..=LONGEST_ID).contains(&len))?;
        let (x, rest) = rest.strip_prefix(&BEFORE_X)?.split_first_chunk::<32>()?;
        let (y, _) = rest.strip_prefix(&BEFORE_Y)?.split_first_chunk::<32>()?;
        Some((id, [&[4][..], x, y].concat()))
    }
}

/// ECDSA on P-256 over SHA-256, of the TLS library.
fn es256() -> Option<&'static dyn SignatureVerificationAlgorithm> {
    let known = rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
    known.iter().copied().find(|one| {
        one.public_key_alg_id() == alg_id::ECDSA_P256 && one.signature_alg_id() == alg_id::ECDSA_SHA256
    })
}

/// A form's base64url.
pub(crate) fn bytes(text: &str) -> Result<Vec<u8>, Unfit> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| Unfit::Malformed)
}

/// For pages.
pub(crate) fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_in_result, reason = "helpers of tests fail the test")]
mod tests;
