//! The strict subset of CBOR that all payloads share: a map with small unsigned keys, deterministic encoding.

use crate::Error;
use minicbor::data::Type;
use minicbor::encode::write::Cursor;
use minicbor::{Decoder, Encoder};

/// Keys from here on may be skipped by a decoder that does not know them.
const FIRST_ANCILLARY_KEY: u64 = 24;

/// Reads one map in ascending key order.
pub(crate) struct MapReader<'b> {
    decoder: Decoder<'b>,
    left: u64,
    last_key: Option<u64>,
    /// An ancillary key that the caller knows.
    known: Option<u8>,
}

impl<'b> MapReader<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Result<Self, Error> {
        let mut decoder = Decoder::new(bytes);
        let left = definite(&mut decoder, Decoder::map)?;
        Ok(Self { decoder, left, last_key: None, known: None })
    }

    /// As [`Self::new`], for a caller that knows this ancillary key.
    pub(crate) fn knowing(bytes: &'b [u8], key: u8) -> Result<Self, Error> {
        Ok(Self { known: Some(key), ..Self::new(bytes)? })
    }

    /// The next key below [`FIRST_ANCILLARY_KEY`], or the known one above; other ancillary entries are skipped.
    pub(crate) fn next_key(&mut self) -> Result<Option<u8>, Error> {
        while self.left > 0 {
            self.left -= 1;
            let key = uint(&mut self.decoder)?;
            if self.last_key.is_some_and(|last| key <= last) {
                return Err(Error::NotDeterministic);
            }
            self.last_key = Some(key);
            match u8::try_from(key) {
                Ok(small) if key < FIRST_ANCILLARY_KEY || self.known == Some(small) => {
                    return Ok(Some(small));
                }
                _ => self.decoder.skip().map_err(fault)?,
            }
        }
        Ok(None)
    }

    pub(crate) fn u32(&mut self, key: u8) -> Result<u32, Error> {
        u32::try_from(uint(&mut self.decoder)?).map_err(|_| Error::OutOfRange(key))
    }

    pub(crate) fn u8(&mut self, key: u8) -> Result<u8, Error> {
        u8::try_from(uint(&mut self.decoder)?).map_err(|_| Error::OutOfRange(key))
    }

    pub(crate) fn array<const N: usize>(&mut self, key: u8) -> Result<[u8; N], Error> {
        bytes(&mut self.decoder)?.try_into().map_err(|_| Error::OutOfRange(key))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'b [u8], Error> {
        bytes(&mut self.decoder)
    }

    /// The length of a definite array whose items the caller reads with [`Self::nested`].
    pub(crate) fn array_len(&mut self) -> Result<u64, Error> {
        definite(&mut self.decoder, Decoder::array)
    }

    /// Reads a map that is a value of this one.
    pub(crate) fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        let mut decoder = self.decoder.clone();
        let left = definite(&mut decoder, Decoder::map)?;
        let mut inner = Self { decoder, left, last_key: None, known: None };
        let value = read(&mut inner)?;
        self.decoder.set_position(inner.position());
        Ok(value)
    }

    pub(crate) fn position(&self) -> usize {
        self.decoder.position()
    }

    /// The bytes between two positions of this reader.
    pub(crate) fn slice(&self, from: usize, to: usize) -> &'b [u8] {
        self.decoder.input().get(from..to).unwrap_or_default()
    }

    /// Accepts padding after the map and nothing else. Call when [`Self::next_key`] returned `None`.
    pub(crate) fn finish(self) -> Result<(), Error> {
        let rest = self.decoder.input().get(self.decoder.position()..).unwrap_or_default();
        if rest.iter().all(|&byte| byte == 0) { Ok(()) } else { Err(Error::TrailingBytes) }
    }
}

/// Writes one map; the caller names its number of entries and then every entry in ascending key order.
pub(crate) struct MapWriter<'o> {
    encoder: Encoder<Cursor<&'o mut [u8]>>,
}

impl<'o> MapWriter<'o> {
    pub(crate) fn new(out: &'o mut [u8], entries: usize) -> Result<Self, Error> {
        let mut encoder = Encoder::new(Cursor::new(out));
        encoder.map(entries as u64).map_err(full)?;
        Ok(Self { encoder })
    }

    pub(crate) fn uint(&mut self, key: u8, value: u32) -> Result<&mut Self, Error> {
        self.encoder.u8(key).and_then(|e| e.u32(value)).map_err(full)?;
        Ok(self)
    }

    pub(crate) fn optional(&mut self, key: u8, value: Option<u32>) -> Result<&mut Self, Error> {
        match value {
            Some(value) => self.uint(key, value),
            None => Ok(self),
        }
    }

    pub(crate) fn bytes(&mut self, key: u8, value: &[u8]) -> Result<&mut Self, Error> {
        self.encoder.u8(key).and_then(|e| e.bytes(value)).map_err(full)?;
        Ok(self)
    }

    pub(crate) fn len(&self) -> usize {
        self.encoder.writer().position()
    }
}

/// An unsigned integer in its shortest form.
fn uint(decoder: &mut Decoder<'_>) -> Result<u64, Error> {
    let start = decoder.position();
    let value = decoder.u64().map_err(fault)?;
    shortest(decoder.position() - start, value)?;
    Ok(value)
}

/// A definite byte string whose length is in its shortest form.
fn bytes<'b>(decoder: &mut Decoder<'b>) -> Result<&'b [u8], Error> {
    if decoder.datatype().map_err(fault)? != Type::Bytes {
        return Err(Error::WrongType);
    }
    let start = decoder.position();
    let value = decoder.bytes().map_err(fault)?;
    shortest(decoder.position() - start - value.len(), value.len() as u64)?;
    Ok(value)
}

/// The head of a definite array or map, in its shortest form.
fn definite<'b>(
    decoder: &mut Decoder<'b>,
    head: impl FnOnce(&mut Decoder<'b>) -> Result<Option<u64>, minicbor::decode::Error>,
) -> Result<u64, Error> {
    let start = decoder.position();
    let entries = head(decoder).map_err(fault)?.ok_or(Error::NotDeterministic)?;
    shortest(decoder.position() - start, entries)?;
    Ok(entries)
}

/// RFC 8949 section 4.2.1: the argument of a head is as short as possible.
fn shortest(head_len: usize, argument: u64) -> Result<(), Error> {
    let needed = match argument {
        0..=23 => 1,
        24..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    };
    if head_len == needed { Ok(()) } else { Err(Error::NotDeterministic) }
}

fn fault(error: minicbor::decode::Error) -> Error {
    if error.is_end_of_input() { Error::Truncated } else { Error::WrongType }
}

fn full(_: minicbor::encode::Error<minicbor::encode::write::EndOfSlice>) -> Error {
    Error::BufferTooSmall
}
