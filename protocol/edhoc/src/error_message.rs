//! Error messages (RFC 9528 §6). They are not authenticated: they end a session and prove nothing.

use cardea_credentials::cbor::{Kind, Reader, Writer};

use crate::{Error, Suite};

/// The longest text that we send or read with code 1.
const MAX_TEXT: usize = 64;
/// The most suites that we read with code 2.
const MAX_SUITES: usize = 8;

/// An error message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorMessage<'a> {
    /// ERR_CODE 0; never sent on the wire by us, and no error to who logs it.
    Success,
    /// ERR_CODE 1, with a text for people.
    Unspecified(&'a str),
    /// ERR_CODE 2, with SUITES_R: what the Responder supports.
    WrongSuite(heapless::Vec<i32, MAX_SUITES>),
    /// ERR_CODE 3: the credential that `ID_CRED_x` names is unknown.
    UnknownCredential,
    /// Another code; its ERR_INFO is not looked at.
    Other(i32),
}

impl ErrorMessage<'_> {
    /// ERR_CODE.
    #[must_use]
    pub const fn code(&self) -> i32 {
        match self {
            Self::Success => 0,
            Self::Unspecified(_) => 1,
            Self::WrongSuite(_) => 2,
            Self::UnknownCredential => 3,
            Self::Other(code) => *code,
        }
    }

    /// What to answer a peer whose message failed with `error`; nothing where an answer would be wrong, above all to
    /// an error message. `suites` are those that we accept. The text says no more than the class of the failure.
    #[must_use]
    pub fn answering(error: Error, suites: &[Suite]) -> Option<ErrorMessage<'static>> {
        Some(match error {
            Error::PeerError(_) => return None,
            _ if !error.ends_session() => return None,
            Error::WrongSuite => ErrorMessage::WrongSuite(
                suites.iter().map(|suite| i32::from(suite.number())).take(MAX_SUITES).collect(),
            ),
            Error::UnknownCredential => ErrorMessage::UnknownCredential,
            Error::UnsupportedMethod => ErrorMessage::Unspecified("method"),
            Error::CriticalEad => ErrorMessage::Unspecified("critical EAD"),
            Error::Authentication | Error::Decryption => ErrorMessage::Unspecified("authentication"),
            _ => ErrorMessage::Unspecified("message"),
        })
    }

    /// Writes `(ERR_CODE, ERR_INFO)` and returns the length.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`]; [`Error::TooLong`] for a text beyond 64 bytes; [`Error::Malformed`] for
    /// [`Self::Other`], whose ERR_INFO only its definition knows.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Error> {
        let mut writer = Writer::new(out);
        writer.int(i64::from(self.code()))?;
        match self {
            Self::Success | Self::UnknownCredential => writer.bool(true)?,
            Self::Unspecified(text) if text.len() > MAX_TEXT => return Err(Error::TooLong),
            Self::Unspecified(text) => writer.text(text)?,
            Self::WrongSuite(suites) => match suites.as_slice() {
                [one] => writer.int(i64::from(*one))?,
                many => {
                    writer.array(many.len())?;
                    for suite in many {
                        writer.int(i64::from(*suite))?;
                    }
                    &mut writer
                }
            },
            Self::Other(_) => return Err(Error::Malformed),
        };
        Ok(writer.len())
    }
}

impl<'a> ErrorMessage<'a> {
    /// Reads an error message. A message that starts with an integer where message_2, 3 or 4 is due is one.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::NonDeterministic`], [`Error::TooLong`].
    pub fn decode(message: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(message);
        let code = i32::try_from(reader.int()?).map_err(|_| Error::Malformed)?;
        let decoded = match code {
            0 => {
                reader.item()?;
                Self::Success
            }
            1 => {
                let text = reader.text()?;
                if text.len() > MAX_TEXT {
                    return Err(Error::TooLong);
                }
                Self::Unspecified(text)
            }
            2 => Self::WrongSuite(read_suites(&mut reader)?),
            3 => {
                if !reader.bool()? {
                    return Err(Error::Malformed);
                }
                Self::UnknownCredential
            }
            other => {
                reader.item()?;
                Self::Other(other)
            }
        };
        reader.finish()?;
        Ok(decoded)
    }
}

fn read_suites(reader: &mut Reader<'_>) -> Result<heapless::Vec<i32, MAX_SUITES>, Error> {
    let count = match reader.peek()? {
        Kind::Array => match reader.array()? {
            0 | 1 => return Err(Error::Malformed), // a lone suite stands without its array
            many => many,
        },
        _ => 1,
    };
    let mut suites = heapless::Vec::new();
    for _ in 0..count {
        let suite = i32::try_from(reader.int()?).map_err(|_| Error::Malformed)?;
        suites.push(suite).map_err(|_| Error::TooLong)?;
    }
    Ok(suites)
}
