use crate::coap::{Message, option};
use crate::{Error, MAX_PARTIAL_IV};

/// Most bytes of an ID context that this crate works with.
pub(crate) const MAX_ID_CONTEXT: usize = 16;
/// Flags, Partial IV, length and bytes of a kid context, kid.
pub(crate) const MAX_ENCODED: usize = 1 + 5 + 1 + MAX_ID_CONTEXT + 7;
const KID_CONTEXT_FLAG: u8 = 0x10;
const KID_FLAG: u8 = 0x08;
const PARTIAL_IV_LEN: u8 = 0x07;

/// What the OSCORE option says in the clear (RFC 8613 section 6.1). A server uses it to find the context; several
/// contexts may share a `kid`, then each is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OscoreOption<'a> {
    /// The sender's sequence number. Always present in a request.
    pub partial_iv: Option<u64>,
    /// The sender's ID context. Only in requests, and only where it helps to find the context.
    pub kid_context: Option<&'a [u8]>,
    /// The sender's id. Always present in a request.
    pub kid: Option<&'a [u8]>,
}

impl<'a> OscoreOption<'a> {
    /// The option of a message.
    ///
    /// # Errors
    /// [`Error::NotProtected`] without the option, [`Error::OscoreOption`] when it is malformed or there twice.
    pub fn of(message: &Message<'a>) -> Result<Self, Error> {
        let mut values = message.options().filter(|o| o.number == option::OSCORE).map(|o| o.value);
        let value = values.next().ok_or(Error::NotProtected)?;
        if values.next().is_some() {
            return Err(Error::OscoreOption);
        }
        Self::parse(value)
    }

    /// Parses an option value. Stricter than the RFC's minimum: a Partial IV with leading zero bytes, which no sender
    /// may write (section 5), is refused.
    ///
    /// # Errors
    /// [`Error::OscoreOption`].
    pub fn parse(value: &'a [u8]) -> Result<Self, Error> {
        let Some((&flags, rest)) = value.split_first() else {
            return Ok(Self::default());
        };
        if flags == 0 || flags & !(KID_CONTEXT_FLAG | KID_FLAG | PARTIAL_IV_LEN) != 0 || value.len() > 255 {
            return Err(Error::OscoreOption);
        }
        let (partial_iv, rest) = split_partial_iv(usize::from(flags & PARTIAL_IV_LEN), rest)?;
        let (kid_context, rest) = if flags & KID_CONTEXT_FLAG == 0 {
            (None, rest)
        } else {
            let (&len, rest) = rest.split_first().ok_or(Error::OscoreOption)?;
            let (context, rest) = rest.split_at_checked(len.into()).ok_or(Error::OscoreOption)?;
            (Some(context), rest)
        };
        let kid = match (flags & KID_FLAG != 0, rest) {
            (true, kid) => Some(kid),
            (false, []) => None,
            (false, _) => return Err(Error::OscoreOption),
        };
        Ok(Self { partial_iv, kid_context, kid })
    }

    /// The option value. Empty when nothing is present.
    pub(crate) fn encode(&self) -> Result<heapless::Vec<u8, MAX_ENCODED>, Error> {
        let mut value = heapless::Vec::new();
        let partial_iv = self.partial_iv.map(partial_iv_bytes).unwrap_or_default();
        let mut flags = partial_iv.len().to_le_bytes()[0];
        if self.kid_context.is_some() {
            flags |= KID_CONTEXT_FLAG;
        }
        if self.kid.is_some() {
            flags |= KID_FLAG;
        }
        if flags == 0 {
            return Ok(value);
        }
        let mut append = |bytes: &[u8]| value.extend_from_slice(bytes).map_err(|_| Error::IdTooLong);
        append(&[flags])?;
        append(&partial_iv)?;
        if let Some(context) = self.kid_context {
            append(&[u8::try_from(context.len()).map_err(|_| Error::IdTooLong)?])?;
            append(context)?;
        }
        append(self.kid.unwrap_or_default())?;
        Ok(value)
    }
}

fn split_partial_iv(len: usize, rest: &[u8]) -> Result<(Option<u64>, &[u8]), Error> {
    if len == 0 {
        return Ok((None, rest));
    }
    let (bytes, rest) = rest.split_at_checked(len).ok_or(Error::OscoreOption)?;
    let minimal = len == 1 || bytes.first() != Some(&0);
    let number = bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
    if len > 5 || !minimal || number > MAX_PARTIAL_IV {
        return Err(Error::OscoreOption);
    }
    Ok((Some(number), rest))
}

/// Big-endian without leading zero bytes; zero is one byte (RFC 8613 section 5). Numbers above
/// [`MAX_PARTIAL_IV`] must have been refused before.
pub(crate) fn partial_iv_bytes(number: u64) -> heapless::Vec<u8, 8> {
    let skip = (number.leading_zeros() / 8).min(7) as usize;
    number.to_be_bytes().into_iter().skip(skip).collect()
}
