//! The Echo option (RFC 9175 section 2): a server gives the client a value, and a request that brings it back was made
//! after that. Always as an inner option, so that nobody between can read or change it.

use subtle::ConstantTimeEq;

use crate::Error;
use crate::coap::{Builder, Code, Message, option};

/// Most bytes of an Echo value that this project makes; the RFC allows up to 40.
pub const MAX_VALUE: usize = 8;

/// The Echo value of an unprotected message.
///
/// # Errors
/// [`Error::CoapOption`] for a value that is empty or longer than 40 bytes, or more than one.
pub fn value<'a>(message: &Message<'a>) -> Result<Option<&'a [u8]>, Error> {
    let mut values = message.options().filter(|opt| opt.number == option::ECHO).map(|opt| opt.value);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if value.is_empty() || value.len() > 40 || values.next().is_some() {
        return Err(Error::CoapOption);
    }
    Ok(Some(value))
}

/// Whether a request brings back `expected`, compared in constant time.
pub fn proves_freshness(message: &Message<'_>, expected: &[u8]) -> bool {
    matches!(value(message), Ok(Some(value)) if value.ct_eq(expected).into())
}

/// Writes the 4.01 with a fresh Echo value that answers the request with this token, still unprotected. Protect it with
/// this very Partial IV of its own: the request may be a replay whose nonce was already used for a response
/// (RFC 8613 appendix B.1.2).
///
/// # Errors
/// [`Error::CoapOption`] for a value that is empty or longer than [`MAX_VALUE`], [`Error::BufferTooSmall`].
pub fn challenge(token: &[u8], own_partial_iv: u64, value: &[u8], out: &mut [u8]) -> Result<usize, Error> {
    if value.is_empty() || value.len() > MAX_VALUE {
        return Err(Error::CoapOption);
    }
    let response = Builder::response(out, Code::UNAUTHORIZED, token, Some(own_partial_iv))?;
    Ok(response.option(option::ECHO, value)?.finish())
}
