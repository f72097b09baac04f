//! The time as a site's authority says it, for one lock that asked.
//!
//! It may move the lock's clock only inside the drift bound that the clock has anyway. It never raises the floor in
//! NVM, and decides no unlock, no expiry and no staleness: those need the platform's word, inside OSCORE.

use crate::cbor::{Reader, Writer};
use crate::signed::{self, Bound, Thumbprint};
use crate::{Authority, Error, Sign1, Signer};

/// First item of the external_aad of a time token; the asking lock's thumbprint is the second.
pub const AAD_TIME: &str = "cardea/time";
/// The greatest length of a time token.
pub const MAX_TIME_TOKEN_LEN: usize = 93;

/// Writes `[nonce, time, version]`: the time in Unix seconds, for the lock that drew `nonce`. Returns the length, at
/// most [`MAX_TIME_TOKEN_LEN`].
///
/// # Errors
/// [`Error::BufferTooSmall`] or the signer's.
pub fn issue_time_token(
    lock: &Thumbprint,
    nonce: &[u8; 8],
    unix_s: u32,
    version: u32,
    authority: &dyn Signer,
    out: &mut [u8],
) -> Result<usize, Error> {
    let mut buffer = [0; 24];
    let mut payload = Writer::new(&mut buffer);
    payload.array(3)?.bytes(nonce)?.int(i64::from(unix_s))?.int(i64::from(version))?;
    Sign1::encode(authority, None, Bound::to(AAD_TIME, &[lock])?.as_slice(), payload.as_slice(), out)
}

/// The time in Unix seconds at some moment since `nonce` was drawn, as the site's authority says it.
///
/// # Errors
/// [`Error::NotAsked`] for another nonce, [`Error::RolledBack`] for another version than the authority's,
/// [`Error::BadSignature`], [`Error::TooLong`], and the decoders' errors.
pub fn verify_time_token(
    token: &[u8],
    lock: &Thumbprint,
    nonce: &[u8; 8],
    authority: &Authority,
) -> Result<u32, Error> {
    let sign1 = signed::decode(token, MAX_TIME_TOKEN_LEN)?;
    // Comparing is cheaper than verifying, and what was not asked for needs no verification.
    let (answered, unix_s, version) = read(sign1.unverified_payload())?;
    if answered != *nonce {
        return Err(Error::NotAsked);
    }
    if version != authority.version {
        return Err(Error::RolledBack);
    }
    sign1.verify(&authority.key, Bound::to(AAD_TIME, &[lock])?.as_slice())?;
    Ok(unix_s)
}

fn read(payload: &[u8]) -> Result<([u8; 8], u32, u32), Error> {
    let mut reader = Reader::new(payload);
    if reader.array()? != 3 {
        return Err(Error::Malformed);
    }
    let fields = (reader.bytes_exact()?, reader.u32()?, reader.u32()?);
    reader.finish()?;
    Ok(fields)
}
