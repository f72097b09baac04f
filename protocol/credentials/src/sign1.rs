//! COSE_Sign1 with ES256 (RFC 9052 §4.2), as much of it as our credentials and site messages use.
//!
//! Protected header: `alg` and, where the signer is named inside what it signs, `kid`. Unprotected header: nothing
//! or `kid`. Every other parameter is refused, `crit` among them.

use crate::cbor::{Head, Kind, Reader, Writer};
use crate::key::once;
use crate::{Error, PublicKey, Signer, signer};

/// The COSE algorithm number of ECDSA with SHA-256.
pub(crate) const ES256: i64 = -7;

const ALG: i64 = 1;
const KID: i64 = 4;
const TAG_COSE_SIGN1: u64 = 18;
const TAG_CWT: u64 = 61;

/// How a `Sig_structure` begins: an array of four, the first of them its context.
const SIG_STRUCTURE: &[u8] = b"\x84\x6aSignature1";

/// The longest `Sig_structure` we sign or verify; bounds every signed object to roughly this size.
pub const MAX_SIG_STRUCTURE: usize = 512;

/// A COSE_Sign1 that was read but not verified. The payload is of no worth before [`Sign1::verify`].
#[derive(Clone, Debug)]
pub struct Sign1<'a> {
    protected: &'a [u8],
    protected_kid: Option<&'a [u8]>,
    unprotected_kid: Option<&'a [u8]>,
    payload: &'a [u8],
    signature: &'a [u8; 64],
}

impl<'a> Sign1<'a> {
    /// Reads an untagged COSE_Sign1, or one under tag 18, or a CWT under tags 61 and 18.
    ///
    /// # Errors
    /// [`Error::UnsupportedAlgorithm`] for anything but ES256, protected; [`Error::UnsupportedHeader`] for another
    /// header parameter; [`Error::BadSignature`] where it is not 64 bytes long; [`Error::Malformed`],
    /// [`Error::NonDeterministic`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        if reader.peek()? == Kind::Tag {
            let mut tag = reader.tag()?;
            if tag == TAG_CWT {
                tag = reader.tag()?;
            }
            if tag != TAG_COSE_SIGN1 {
                return Err(Error::Malformed);
            }
        }
        if reader.array()? != 4 {
            return Err(Error::Malformed);
        }
        let protected = reader.bytes()?;
        let protected_kid = protected_header(protected)?;
        let unprotected_kid = unprotected_header(&mut reader)?;
        let payload = reader.bytes()?;
        let signature = reader.bytes()?.try_into().map_err(|_| Error::BadSignature)?;
        reader.finish()?;
        Ok(Self { protected, protected_kid, unprotected_kid, payload, signature })
    }

    /// The signer's name from the protected header: the signature covers it.
    #[must_use]
    pub const fn protected_kid(&self) -> Option<&'a [u8]> {
        self.protected_kid
    }

    /// The signer's name from the unprotected header: a hint.
    #[must_use]
    pub const fn unprotected_kid(&self) -> Option<&'a [u8]> {
        self.unprotected_kid
    }

    /// The payload, if `key` signed it together with `external_aad`.
    ///
    /// # Errors
    /// [`Error::BadSignature`]; [`Error::TooLong`] beyond [`MAX_SIG_STRUCTURE`].
    pub fn verify(&self, key: &PublicKey, external_aad: &[u8]) -> Result<&'a [u8], Error> {
        self.verify_within(MAX_SIG_STRUCTURE, key, external_aad)
    }

    /// As [`Self::verify`], for a `Sig_structure` of at most `max` bytes.
    pub(crate) fn verify_within(
        &self,
        max: usize,
        key: &PublicKey,
        external_aad: &[u8],
    ) -> Result<&'a [u8], Error> {
        // Hashed in parts: the payload need not be copied.
        let signed = [self.protected, external_aad, self.payload];
        let [protected, aad, payload] = signed.map(|part| Head::bytes(part.len()));
        let parts = [
            SIG_STRUCTURE,
            protected.as_slice(),
            self.protected,
            aad.as_slice(),
            external_aad,
            payload.as_slice(),
            self.payload,
        ];
        if parts.iter().map(|part| part.len()).sum::<usize>() > max {
            return Err(Error::TooLong);
        }
        signer::verify_parts(key, &parts, self.signature)?;
        Ok(self.payload)
    }

    /// The payload before any verification: for cheap checks that can only refuse.
    pub(crate) const fn unverified_payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Signs `payload` and writes an untagged COSE_Sign1. With `kid`, the signer's name stands in the protected
    /// header.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`], [`Error::TooLong`] beyond [`MAX_SIG_STRUCTURE`], or the signer's.
    pub fn encode(
        signer: &dyn Signer,
        kid: Option<&[u8]>,
        external_aad: &[u8],
        payload: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        Self::encode_in(&mut [0; MAX_SIG_STRUCTURE], signer, kid, external_aad, payload, out)
    }

    /// As [`Self::encode`], with room for a `Sig_structure` of the caller's size.
    pub(crate) fn encode_in(
        scratch: &mut [u8],
        signer: &dyn Signer,
        kid: Option<&[u8]>,
        external_aad: &[u8],
        payload: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let mut header = [0; 80];
        let mut protected = Writer::new(&mut header);
        protected.map(1 + usize::from(kid.is_some()))?.int(ALG)?.int(ES256)?;
        if let Some(kid) = kid {
            protected.int(KID)?.bytes(kid)?;
        }
        let message = sig_structure(protected.as_slice(), external_aad, payload, scratch)?;
        let signature = signer.sign(message)?;
        let mut writer = Writer::new(out);
        writer.array(4)?.bytes(protected.as_slice())?.map(0)?.bytes(payload)?.bytes(&signature)?;
        Ok(writer.len())
    }
}

fn sig_structure<'b>(
    protected: &[u8],
    external_aad: &[u8],
    payload: &[u8],
    buffer: &'b mut [u8],
) -> Result<&'b [u8], Error> {
    let mut writer = Writer::new(buffer);
    writer
        .raw(SIG_STRUCTURE)
        .and_then(|w| w.bytes(protected))
        .and_then(|w| w.bytes(external_aad))
        .and_then(|w| w.bytes(payload))
        .map_err(|_| Error::TooLong)?;
    let len = writer.len();
    buffer.get(..len).ok_or(Error::TooLong)
}

fn protected_header(bytes: &[u8]) -> Result<Option<&[u8]>, Error> {
    if bytes.is_empty() {
        return Err(Error::UnsupportedAlgorithm);
    }
    let mut reader = Reader::new(bytes);
    let (mut alg, mut kid) = (None, None);
    for _ in 0..reader.map()? {
        match reader.int()? {
            ALG => once(&mut alg, reader.int()?)?,
            KID => once(&mut kid, reader.bytes()?)?,
            _ => return Err(Error::UnsupportedHeader),
        }
    }
    reader.finish()?;
    if alg == Some(ES256) { Ok(kid) } else { Err(Error::UnsupportedAlgorithm) }
}

fn unprotected_header<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Error> {
    let mut kid = None;
    for _ in 0..reader.map()? {
        match reader.int()? {
            KID => once(&mut kid, reader.bytes()?)?,
            _ => return Err(Error::UnsupportedHeader),
        }
    }
    Ok(kid)
}
