//! What every signed type here has in common: a label and an audience of its own in the external_aad, and a
//! COSE_Sign1 without tags.

use crate::cbor::{Kind, Reader, Writer};
use crate::sign1::Sign1;
use crate::{Error, MAX_AUDIENCE};

/// The SHA-256 thumbprint of a key (RFC 9679): what grants, lists and records call it by.
pub type Thumbprint = [u8; 32];

/// The longest label is 32 bytes; after it two thumbprints, or a name.
const MAX_AAD: usize = 1 + 2 + 32 + 2 * (2 + 32);
const _: () = assert!(MAX_AAD >= 1 + 2 + 32 + 2 + MAX_AUDIENCE);

/// The external_aad of one type of message for one audience: a CBOR array that begins with the type's label.
pub(crate) struct Bound {
    bytes: [u8; MAX_AAD],
    len: usize,
}

impl Bound {
    /// `[label, audience …]` with byte strings.
    pub(crate) fn to(label: &str, audience: &[&[u8]]) -> Result<Self, Error> {
        Self::write(label, audience.len(), |writer| {
            audience.iter().try_for_each(|part| writer.bytes(part).map(drop))?;
            Ok(())
        })
    }

    /// `[label, name]` with a text string of at most [`MAX_AUDIENCE`] bytes.
    pub(crate) fn to_name(label: &str, name: &str) -> Result<Self, Error> {
        if name.len() > MAX_AUDIENCE {
            return Err(Error::TooLong);
        }
        Self::write(label, 1, |writer| Ok(writer.text(name).map(drop)?))
    }

    fn write(
        label: &str,
        parts: usize,
        audience: impl FnOnce(&mut Writer<'_>) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let mut bytes = [0; MAX_AAD];
        let mut writer = Writer::new(&mut bytes);
        writer.array(1 + parts).and_then(|w| w.text(label)).map_err(|_| Error::TooLong)?;
        audience(&mut writer).map_err(|_| Error::TooLong)?;
        let len = writer.len();
        Ok(Self { bytes, len })
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// Reads an untagged COSE_Sign1 of at most `max` bytes: what EDHOC takes as CRED_x is untagged, and one form is
/// enough for everything else.
pub(crate) fn decode(message: &[u8], max: usize) -> Result<Sign1<'_>, Error> {
    if message.len() > max {
        return Err(Error::TooLong);
    }
    if Reader::new(message).peek()? == Kind::Tag {
        return Err(Error::Malformed);
    }
    Sign1::decode(message)
}

/// The first 8 bytes: a name on the wire, which only routes.
pub(crate) const fn short(thumbprint: &Thumbprint) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = *thumbprint;
    [a, b, c, d, e, f, g, h]
}
