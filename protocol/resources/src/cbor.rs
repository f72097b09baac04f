//! The strict subset of CBOR that all payloads share: a map with small unsigned keys, deterministic encoding.

use cardea_cbor::{Error as CborError, Reader, Writer};

use crate::Error;

/// Keys from here on may be skipped by a decoder that does not know them.
const FIRST_ANCILLARY_KEY: u64 = 24;

/// Reads one map in ascending key order.
pub(crate) struct MapReader<'b> {
    input: &'b [u8],
    reader: Reader<'b>,
    left: usize,
    last_key: Option<u64>,
    /// An ancillary key that the caller knows.
    known: Option<u8>,
}

impl<'b> MapReader<'b> {
    pub(crate) fn new(input: &'b [u8]) -> Result<Self, Error> {
        Self::at(input, Reader::new(input))
    }

    /// As [`Self::new`], for a caller that knows this ancillary key.
    pub(crate) fn knowing(bytes: &'b [u8], key: u8) -> Result<Self, Error> {
        Ok(Self { known: Some(key), ..Self::new(bytes)? })
    }

    fn at(input: &'b [u8], mut reader: Reader<'b>) -> Result<Self, Error> {
        let left = reader.map()?;
        Ok(Self { input, reader, left, last_key: None, known: None })
    }

    /// The next key below [`FIRST_ANCILLARY_KEY`], or the known one above; other ancillary entries are skipped.
    #[inline(never)] // one copy for all payloads
    pub(crate) fn next_key(&mut self) -> Result<Option<u8>, Error> {
        while self.left > 0 {
            self.left -= 1;
            let key = self.reader.uint()?;
            if self.last_key.is_some_and(|last| key <= last) {
                return Err(Error::NotDeterministic);
            }
            self.last_key = Some(key);
            match u8::try_from(key) {
                Ok(small) if key < FIRST_ANCILLARY_KEY || self.known == Some(small) => {
                    return Ok(Some(small));
                }
                _ => {
                    self.reader.item()?;
                }
            }
        }
        Ok(None)
    }

    #[inline(never)]
    pub(crate) fn u32(&mut self, key: u8) -> Result<u32, Error> {
        u32::try_from(self.reader.uint()?).map_err(|_| Error::OutOfRange(key))
    }

    pub(crate) fn u8(&mut self, key: u8) -> Result<u8, Error> {
        u8::try_from(self.u32(key)?).map_err(|_| Error::OutOfRange(key))
    }

    pub(crate) fn array<const N: usize>(&mut self, key: u8) -> Result<[u8; N], Error> {
        self.bytes()?.try_into().map_err(|_| Error::OutOfRange(key))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'b [u8], Error> {
        Ok(self.reader.bytes()?)
    }

    /// The length of a definite array whose items the caller reads with [`Self::nested`].
    pub(crate) fn array_len(&mut self) -> Result<usize, Error> {
        Ok(self.reader.array()?)
    }

    /// Reads a map that is a value of this one.
    pub(crate) fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        let mut inner = Self::at(self.input, self.reader.clone())?;
        let value = read(&mut inner)?;
        self.reader = inner.reader;
        Ok(value)
    }

    pub(crate) fn position(&self) -> usize {
        self.input.len() - self.reader.rest().len()
    }

    /// The bytes between two positions of this reader.
    pub(crate) fn slice(&self, from: usize, to: usize) -> &'b [u8] {
        self.input.get(from..to).unwrap_or_default()
    }

    /// Accepts padding after the map and nothing else. Call when [`Self::next_key`] returned `None`.
    pub(crate) fn finish(self) -> Result<(), Error> {
        if self.reader.rest().iter().all(|&byte| byte == 0) { Ok(()) } else { Err(Error::TrailingBytes) }
    }
}

/// Writes one map; the caller names its number of entries and then every entry in ascending key order.
pub(crate) struct MapWriter<'o> {
    writer: Writer<'o>,
}

impl<'o> MapWriter<'o> {
    pub(crate) fn new(out: &'o mut [u8], entries: usize) -> Result<Self, Error> {
        let mut writer = Writer::new(out);
        writer.map(entries)?;
        Ok(Self { writer })
    }

    #[inline(never)]
    pub(crate) fn uint(&mut self, key: u8, value: u32) -> Result<&mut Self, Error> {
        self.writer.int(key.into())?.int(value.into())?;
        Ok(self)
    }

    pub(crate) fn optional(&mut self, key: u8, value: Option<u32>) -> Result<&mut Self, Error> {
        match value {
            Some(value) => self.uint(key, value),
            None => Ok(self),
        }
    }

    pub(crate) fn bytes(&mut self, key: u8, value: &[u8]) -> Result<&mut Self, Error> {
        self.writer.int(key.into())?.bytes(value)?;
        Ok(self)
    }

    pub(crate) fn len(&self) -> usize {
        self.writer.len()
    }
}

impl From<CborError> for Error {
    fn from(error: CborError) -> Self {
        match error {
            CborError::Truncated => Self::Truncated,
            CborError::Malformed => Self::WrongType,
            CborError::NonDeterministic => Self::NotDeterministic,
            CborError::BufferTooSmall => Self::BufferTooSmall,
        }
    }
}
