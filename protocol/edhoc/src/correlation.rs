//! Which session a message belongs to, by a prefix (RFC 9528 A.2): `true` ‖ message_1, C_R ‖ message_3 from the
//! Initiator; C_I ‖ message_2 and C_I ‖ message_4 from the Responder; error messages likewise.

use cardea_credentials::cbor::{Kind, Reader, Writer};

use crate::{ConnId, Error};

/// The prefix of message_1: CBOR `true`.
pub const MESSAGE_1: u8 = 0xf5;

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// A message_1: no session yet.
    New,
    /// A message of the session whose receiver chose this identifier.
    Session(ConnId),
}

/// Takes the prefix off: (whom the message is for, the bare EDHOC message).
///
/// # Errors
/// [`Error::Malformed`], [`Error::NonDeterministic`], [`Error::BadIdentifier`].
pub fn split(bytes: &[u8]) -> Result<(Prefix, &[u8]), Error> {
    let mut reader = Reader::new(bytes);
    let prefix = if reader.peek()? == Kind::Simple {
        if !reader.bool()? {
            return Err(Error::Malformed);
        }
        Prefix::New
    } else {
        Prefix::Session(ConnId::read(&mut reader)?)
    };
    Ok((prefix, reader.rest()))
}

/// Writes the prefix to the start of `out` and returns its length; the message goes after it.
///
/// # Errors
/// [`Error::BufferTooSmall`].
pub fn prepend(prefix: &Prefix, out: &mut [u8]) -> Result<usize, Error> {
    let mut writer = Writer::new(out);
    match prefix {
        Prefix::New => {
            writer.bool(true)?;
        }
        Prefix::Session(id) => id.write(&mut writer)?,
    }
    Ok(writer.len())
}
