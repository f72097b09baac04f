use super::options::{OptionWriter, PAYLOAD_MARKER};
use super::{Code, Message, Type};
use crate::Error;

/// Builds a message in a slice: header, then options in ascending order, then [`Self::payload`] or [`Self::finish`].
///
/// ```
/// use cardea_oscore::coap::{Builder, Code, Type, option};
/// let mut out = [0; 32];
/// let len = Builder::new(&mut out, Type::NonConfirmable, Code::GET, 7, &[1])?.option(option::URI_PATH, b"s")?.finish();
/// assert_eq!(out[..len], [0x51, 0x01, 0x00, 0x07, 0x01, 0xb1, b's']);
/// # Ok::<(), cardea_oscore::Error>(())
/// ```
pub struct Builder<'o> {
    writer: OptionWriter<'o>,
}

impl<'o> Builder<'o> {
    /// # Errors
    /// [`Error::CoapToken`] for a token above 8 bytes, [`Error::BufferTooSmall`].
    pub fn new(
        out: &'o mut [u8],
        kind: Type,
        code: Code,
        message_id: u16,
        token: &[u8],
    ) -> Result<Self, Error> {
        let mut writer = OptionWriter::new(out);
        write_header(&mut writer, kind, code, message_id, token)?;
        Ok(Self { writer })
    }

    /// A request in the outer shape that framing leaves out on the air (`protocol/framing`, elision): NON, Message ID
    /// and token made from the sequence number that will protect it.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`].
    pub fn request(out: &'o mut [u8], code: Code, partial_iv: u64) -> Result<Self, Error> {
        let [.., high, low] = partial_iv.to_be_bytes();
        Self::new(out, Type::NonConfirmable, code, u16::from_be_bytes([high, low]), &[low])
    }

    /// A response in the outer shape that framing leaves out on the air: NON, Message ID made from the response's own
    /// Partial IV, 0 without one.
    ///
    /// # Errors
    /// [`Error::CoapToken`], [`Error::BufferTooSmall`].
    pub fn response(
        out: &'o mut [u8],
        code: Code,
        token: &[u8],
        own_partial_iv: Option<u64>,
    ) -> Result<Self, Error> {
        let [.., high, low] = own_partial_iv.unwrap_or(0).to_be_bytes();
        Self::new(out, Type::NonConfirmable, code, u16::from_be_bytes([high, low]), token)
    }

    /// Adds an option. Repeatable options are added once for each value.
    ///
    /// # Errors
    /// [`Error::OptionOrder`], [`Error::BufferTooSmall`].
    pub fn option(mut self, number: u16, value: &[u8]) -> Result<Self, Error> {
        self.writer.option(number, value)?;
        Ok(self)
    }

    /// Adds an option of format uint: big-endian without leading zero bytes, zero is empty (RFC 7252 section 3.2).
    ///
    /// # Errors
    /// As [`Self::option`].
    pub fn uint_option(self, number: u16, value: u32) -> Result<Self, Error> {
        let bytes = value.to_be_bytes();
        let skip = (value.leading_zeros() / 8) as usize;
        self.option(number, bytes.get(skip..).unwrap_or_default())
    }

    /// Ends the message with a payload; an empty one leaves the marker out.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`].
    pub fn payload(mut self, payload: &[u8]) -> Result<usize, Error> {
        if !payload.is_empty() {
            self.writer.raw(&[PAYLOAD_MARKER])?;
            self.writer.raw(payload)?;
        }
        Ok(self.writer.len)
    }

    /// Ends the message without payload and returns its length in bytes.
    pub fn finish(self) -> usize {
        self.writer.len
    }
}

pub(crate) fn write_header(
    writer: &mut OptionWriter<'_>,
    kind: Type,
    code: Code,
    message_id: u16,
    token: &[u8],
) -> Result<(), Error> {
    let token_len = u8::try_from(token.len()).map_err(|_| Error::CoapToken)?;
    if token.len() > Message::MAX_TOKEN {
        return Err(Error::CoapToken);
    }
    let [id_high, id_low] = message_id.to_be_bytes();
    writer.raw(&[0x40 | (kind as u8) << 4 | token_len, code.to_byte(), id_high, id_low])?;
    writer.raw(token)
}
