//! The option list: deltas, lengths and their extension bytes (RFC 7252 section 3.1).

use crate::Error;

/// Separates the options from the payload.
pub(crate) const PAYLOAD_MARKER: u8 = 0xff;

/// One option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opt<'a> {
    /// IANA number, see [`super::option`].
    pub number: u16,
    /// Its bytes.
    pub value: &'a [u8],
}

/// Reads options up to the payload marker or the end, checking each.
pub(crate) struct Decoder<'a> {
    bytes: &'a [u8],
    position: usize,
    number: u16,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0, number: 0 }
    }

    /// Goes on behind an option with this number.
    pub(crate) fn after(bytes: &'a [u8], number: u16) -> Self {
        Self { bytes, position: 0, number }
    }

    /// Where the next option, the payload marker or the end is.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    pub(crate) fn next(&mut self) -> Result<Option<Opt<'a>>, Error> {
        let mut rest = self.bytes.get(self.position..).unwrap_or_default();
        let head = match rest.split_first() {
            None => return Ok(None),
            Some((&PAYLOAD_MARKER, _)) => return Ok(None),
            Some((&head, tail)) => {
                rest = tail;
                head
            }
        };
        let delta = extended(head >> 4, &mut rest)?;
        let length = extended(head & 0x0f, &mut rest)?;
        let number = u32::from(self.number)
            .checked_add(delta)
            .and_then(|n| u16::try_from(n).ok())
            .ok_or(Error::CoapOption)?;
        let length = usize::try_from(length).map_err(|_| Error::CoapTruncated)?;
        let (value, rest) = rest.split_at_checked(length).ok_or(Error::CoapTruncated)?;
        self.number = number;
        self.position = self.bytes.len() - rest.len();
        Ok(Some(Opt { number, value }))
    }
}

/// A nibble and its extension bytes.
fn extended(nibble: u8, rest: &mut &[u8]) -> Result<u32, Error> {
    match nibble {
        13 => {
            let (&[byte], tail) = rest.split_first_chunk().ok_or(Error::CoapTruncated)?;
            *rest = tail;
            Ok(13 + u32::from(byte))
        }
        14 => {
            let (&bytes, tail) = rest.split_first_chunk().ok_or(Error::CoapTruncated)?;
            *rest = tail;
            Ok(269 + u32::from(u16::from_be_bytes(bytes)))
        }
        15 => Err(Error::CoapOption),
        small => Ok(u32::from(small)),
    }
}

/// Iterates over options that were checked before.
#[derive(Clone)]
pub struct Options<'a> {
    bytes: &'a [u8],
    number: u16,
}

impl<'a> Options<'a> {
    /// `bytes` must have passed [`super::split_body`].
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, number: 0 }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Opt<'a>;

    fn next(&mut self) -> Option<Opt<'a>> {
        let mut decoder = Decoder::after(self.bytes, self.number);
        let option = decoder.next().ok()??;
        self.bytes = self.bytes.get(decoder.position..)?;
        self.number = option.number;
        Some(option)
    }
}

/// Appends to a slice and knows the last option number.
pub(crate) struct OptionWriter<'o> {
    pub(crate) out: &'o mut [u8],
    pub(crate) len: usize,
    number: u16,
}

impl<'o> OptionWriter<'o> {
    pub(crate) fn new(out: &'o mut [u8]) -> Self {
        Self { out, len: 0, number: 0 }
    }

    /// Starts a new option list behind what was written.
    pub(crate) fn restart(&mut self) {
        self.number = 0;
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.claim(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn zeros(&mut self, len: usize) -> Result<(), Error> {
        self.claim(len)?.fill(0);
        Ok(())
    }

    pub(crate) fn option(&mut self, number: u16, value: &[u8]) -> Result<(), Error> {
        self.option_head(number, value.len())?;
        self.raw(value)
    }

    /// Everything of an option but its value.
    pub(crate) fn option_head(&mut self, number: u16, value_len: usize) -> Result<(), Error> {
        let delta = number.checked_sub(self.number).ok_or(Error::OptionOrder)?;
        let value_len = u16::try_from(value_len).map_err(|_| Error::NotProtectable)?;
        let (delta_nibble, delta_ext) = extension(delta);
        let (len_nibble, len_ext) = extension(value_len);
        self.raw(&[delta_nibble << 4 | len_nibble])?;
        self.raw(delta_ext.as_slice())?;
        self.raw(len_ext.as_slice())?;
        self.number = number;
        Ok(())
    }

    /// Appends bytes that already are somewhere behind in the same slice.
    pub(crate) fn move_within(&mut self, from: core::ops::Range<usize>) -> Result<(), Error> {
        if from.start < self.len || from.end > self.out.len() || from.start > from.end {
            return Err(Error::BufferTooSmall);
        }
        let moved = from.len();
        self.out.copy_within(from, self.len);
        self.len += moved;
        Ok(())
    }

    fn claim(&mut self, len: usize) -> Result<&mut [u8], Error> {
        let end = self.len.checked_add(len).ok_or(Error::BufferTooSmall)?;
        let claimed = self.out.get_mut(self.len..end).ok_or(Error::BufferTooSmall)?;
        self.len = end;
        Ok(claimed)
    }
}

/// The nibble for a delta or length and its extension bytes.
fn extension(value: u16) -> (u8, heapless::Vec<u8, 2, u8>) {
    let mut bytes = heapless::Vec::new();
    let nibble = match value {
        0..=12 => value.to_le_bytes()[0],
        13..=268 => {
            let _fits = bytes.push((value - 13).to_le_bytes()[0]);
            13
        }
        _ => {
            let _fits = bytes.extend_from_slice(&(value - 269).to_be_bytes());
            14
        }
    };
    (nibble, bytes)
}
