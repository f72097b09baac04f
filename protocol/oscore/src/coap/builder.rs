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

    /// Ends the message with a payload and so many zero bytes behind it; where both are empty, without the marker.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`].
    pub fn padded_payload(mut self, payload: &[u8], zeros: usize) -> Result<usize, Error> {
        if payload.is_empty() && zeros == 0 {
            return Ok(self.writer.len);
        }
        self.writer.raw(&[PAYLOAD_MARKER])?;
        self.writer.raw(payload)?;
        for _ in 0..zeros {
            self.writer.raw(&[0])?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_payload_and_nothing_needs_no_marker() {
        for (payload, zeros) in [(&b"ab"[..], 3), (b"ab", 0), (b"", 2), (b"", 0)] {
            let mut whole = payload.to_vec();
            whole.resize(payload.len() + zeros, 0);
            let (mut one, mut other) = ([0xff; 16], [0xff; 16]);
            let built = |out| Builder::response(out, Code::CONTENT, &[1], None);
            let len = built(&mut one).unwrap().payload(&whole).unwrap();
            assert_eq!(built(&mut other).unwrap().padded_payload(payload, zeros), Ok(len));
            assert_eq!(one, other);
        }
        let mut short = [0; 8];
        let builder = Builder::response(&mut short, Code::CONTENT, &[1], None).unwrap();
        assert_eq!(builder.padded_payload(b"ab", 1), Err(Error::BufferTooSmall));
    }
}
