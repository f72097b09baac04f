//! Deterministic CBOR (RFC 8949 §4.2.1) and nothing else: definite lengths, shortest heads, no floats.
//!
//! General decoders accept what this profile forbids, and COSE and EDHOC need the exact bytes of an item as well as
//! its value; both are why this reader exists. Map keys are not required to be sorted on reading (other people's
//! credentials are signed or hashed as they are, RFC 9528 §3.5.2), but a decoder of a map refuses a key twice.
//! Writers write sorted maps. No allocator; no input makes it panic.
#![no_std]

#[cfg(test)]
extern crate std;

/// Why an item could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The input ends inside the item, or announces more than it has.
    #[error("CBOR ends inside an item")]
    Truncated,
    /// Not CBOR, another type than the one asked for, a value that its type does not hold, or bytes behind the end.
    #[error("unexpected CBOR")]
    Malformed,
    /// Valid CBOR, but not deterministic (RFC 8949 §4.2.1).
    #[error("non-deterministic CBOR")]
    NonDeterministic,
    /// The caller's output buffer is too small.
    #[error("output buffer too small")]
    BufferTooSmall,
}

const UINT: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const SIMPLE: u8 = 7;

/// What kind of item comes next; see [`Reader::peek`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An unsigned or negative integer.
    Int,
    /// A byte string.
    Bytes,
    /// A text string.
    Text,
    /// An array.
    Array,
    /// A map.
    Map,
    /// A tag.
    Tag,
    /// `false`, `true`, `null` or another simple value.
    Simple,
}

/// A cursor over a CBOR sequence (RFC 8742). Every method that fails leaves the cursor where it was or at the end of
/// what it could read; a caller that sees an error drops the input.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `input` from its first byte.
    #[must_use]
    pub const fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    /// Whether the sequence is over.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The bytes not read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// # Errors
    /// [`Error::Malformed`] where bytes follow.
    pub const fn finish(self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(Error::Malformed) }
    }

    /// The kind of the next item, without reading it.
    ///
    /// # Errors
    /// [`Error::Truncated`] at the end of the input.
    pub fn peek(&self) -> Result<Kind, Error> {
        Ok(match self.rest.first().ok_or(Error::Truncated)? >> 5 {
            UINT | NEGATIVE => Kind::Int,
            BYTES => Kind::Bytes,
            TEXT => Kind::Text,
            ARRAY => Kind::Array,
            MAP => Kind::Map,
            TAG => Kind::Tag,
            _ => Kind::Simple,
        })
    }

    /// An integer.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another type or a value outside `i64`, [`Error::NonDeterministic`].
    pub fn int(&mut self) -> Result<i64, Error> {
        let (major, value) = self.head()?;
        let value = i64::try_from(value).map_err(|_| Error::Malformed)?;
        match major {
            UINT => Ok(value),
            NEGATIVE => Ok(-1 - value), // cannot overflow: value is at most i64::MAX
            _ => Err(Error::Malformed),
        }
    }

    /// An unsigned integer.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another type, [`Error::NonDeterministic`].
    pub fn uint(&mut self) -> Result<u64, Error> {
        match self.head()? {
            (UINT, value) => Ok(value),
            _ => Err(Error::Malformed),
        }
    }

    /// An unsigned integer of at most 32 bits.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another type or a larger value, [`Error::NonDeterministic`].
    pub fn u32(&mut self) -> Result<u32, Error> {
        u32::try_from(self.uint()?).map_err(|_| Error::Malformed)
    }

    /// A byte string.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another type, [`Error::Truncated`], [`Error::NonDeterministic`].
    pub fn bytes(&mut self) -> Result<&'a [u8], Error> {
        match self.head()? {
            (BYTES, len) => self.take(len),
            _ => Err(Error::Malformed),
        }
    }

    /// A byte string of exactly `N` bytes.
    ///
    /// # Errors
    /// As [`Self::bytes`], and [`Error::Malformed`] for another length.
    pub fn bytes_exact<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.bytes()?.try_into().map_err(|_| Error::Malformed)
    }

    /// A text string.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another type or bad UTF-8, [`Error::Truncated`], [`Error::NonDeterministic`].
    pub fn text(&mut self) -> Result<&'a str, Error> {
        match self.head()? {
            (TEXT, len) => core::str::from_utf8(self.take(len)?).map_err(|_| Error::Malformed),
            _ => Err(Error::Malformed),
        }
    }

    /// The head of an array: the number of items that follow.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another type, [`Error::Truncated`] for more items than bytes are left,
    /// [`Error::NonDeterministic`].
    pub fn array(&mut self) -> Result<usize, Error> {
        match self.head()? {
            (ARRAY, len) => self.count(len),
            _ => Err(Error::Malformed),
        }
    }

    /// The head of a map: the number of pairs that follow.
    ///
    /// # Errors
    /// As [`Self::array`].
    pub fn map(&mut self) -> Result<usize, Error> {
        match self.head()? {
            (MAP, len) => self.count(len),
            _ => Err(Error::Malformed),
        }
    }

    /// A tag number; its content follows.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another type, [`Error::NonDeterministic`].
    pub fn tag(&mut self) -> Result<u64, Error> {
        match self.head()? {
            (TAG, number) => Ok(number),
            _ => Err(Error::Malformed),
        }
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// [`Error::Malformed`] for anything else.
    pub fn bool(&mut self) -> Result<bool, Error> {
        match self.head()? {
            (SIMPLE, 20) => Ok(false),
            (SIMPLE, 21) => Ok(true),
            _ => Err(Error::Malformed),
        }
    }

    /// The bytes of the next item, whole, whatever it is.
    ///
    /// Its inside is checked for well-formedness and shortest heads. It walks without recursion, so nesting costs
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Truncated`], [`Error::NonDeterministic`].
    pub fn item(&mut self) -> Result<&'a [u8], Error> {
        let start = self.rest;
        let mut open: usize = 1;
        while open > 0 {
            open -= 1;
            let (major, value) = self.head()?;
            match major {
                BYTES => {
                    self.take(value)?;
                }
                TEXT => {
                    core::str::from_utf8(self.take(value)?).map_err(|_| Error::Malformed)?;
                }
                ARRAY => open = self.count(value)?.checked_add(open).ok_or(Error::Malformed)?,
                MAP => {
                    let pairs = self.count(value)?;
                    open = pairs.checked_mul(2).and_then(|n| n.checked_add(open)).ok_or(Error::Malformed)?;
                }
                TAG => open += 1,
                _ => {}
            }
        }
        let used = start.len() - self.rest.len();
        start.get(..used).ok_or(Error::Malformed)
    }

    /// Major type and argument of the next head, in its only allowed form.
    fn head(&mut self) -> Result<(u8, u64), Error> {
        let (&first, rest) = self.rest.split_first().ok_or(Error::Truncated)?;
        let major = first >> 5;
        let (size, least) = match first & 0x1f {
            short @ 0..=23 => {
                self.rest = rest;
                return Ok((major, u64::from(short)));
            }
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            31 if (BYTES..=MAP).contains(&major) => return Err(Error::NonDeterministic),
            _ => return Err(Error::Malformed),
        };
        if major == SIMPLE {
            return Err(Error::Malformed); // floats and two-byte simple values occur in nothing we speak
        }
        let (argument, rest) = rest.split_at_checked(size).ok_or(Error::Truncated)?;
        let value = argument.iter().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
        if value < least {
            return Err(Error::NonDeterministic);
        }
        self.rest = rest;
        Ok((major, value))
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], Error> {
        let len = usize::try_from(len).map_err(|_| Error::Truncated)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// An announced number of items is believed only as far as the bytes that are really there.
    fn count(&self, len: u64) -> Result<usize, Error> {
        let len = usize::try_from(len).map_err(|_| Error::Truncated)?;
        if len > self.rest.len() { Err(Error::Truncated) } else { Ok(len) }
    }
}

/// The head of a CBOR item as bytes, for hashing an item in parts without copying it together.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    bytes: [u8; 9],
    len: usize,
}

impl Head {
    /// The head of a byte string of `len` bytes.
    #[must_use]
    pub const fn bytes(len: usize) -> Self {
        Self::new(BYTES, len as u64)
    }

    /// The whole of an integer.
    #[must_use]
    pub const fn int(value: i64) -> Self {
        if value < 0 { Self::new(NEGATIVE, !value as u64) } else { Self::new(UINT, value as u64) }
    }

    #[allow(clippy::indexing_slicing)] // constant indices into a constant array
    const fn new(major: u8, value: u64) -> Self {
        let v = value.to_be_bytes();
        let m = major << 5;
        let (bytes, len) = match value {
            0..=23 => ([m | v[7], 0, 0, 0, 0, 0, 0, 0, 0], 1),
            24..=0xff => ([m | 24, v[7], 0, 0, 0, 0, 0, 0, 0], 2),
            0x100..=0xffff => ([m | 25, v[6], v[7], 0, 0, 0, 0, 0, 0], 3),
            0x1_0000..=0xffff_ffff => ([m | 26, v[4], v[5], v[6], v[7], 0, 0, 0, 0], 5),
            _ => ([m | 27, v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]], 9),
        };
        Self { bytes, len }
    }

    /// The encoded head.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// Appends items to a slice that the caller owns.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    /// Writes from the first byte of `out`.
    #[must_use]
    pub const fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    /// Bytes written so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What was written.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.out.get(..self.len).unwrap_or(&[])
    }

    /// Bytes that are CBOR already.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`], as every other method here.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<&mut Self, Error> {
        let end = self.len.checked_add(bytes.len()).ok_or(Error::BufferTooSmall)?;
        self.out.get_mut(self.len..end).ok_or(Error::BufferTooSmall)?.copy_from_slice(bytes);
        self.len = end;
        Ok(self)
    }

    #[inline(never)] // once in a firmware, not once for each item
    fn head(&mut self, major: u8, value: u64) -> Result<&mut Self, Error> {
        self.raw(Head::new(major, value).as_slice())
    }

    /// An integer.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`].
    pub fn int(&mut self, value: i64) -> Result<&mut Self, Error> {
        if value < 0 { self.head(NEGATIVE, !value as u64) } else { self.head(UINT, value as u64) }
    }

    /// A byte string.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`].
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<&mut Self, Error> {
        self.head(BYTES, bytes.len() as u64)?.raw(bytes)
    }

    /// A text string.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`].
    pub fn text(&mut self, text: &str) -> Result<&mut Self, Error> {
        self.head(TEXT, text.len() as u64)?.raw(text.as_bytes())
    }

    /// The head of an array of `len` items.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`].
    pub fn array(&mut self, len: usize) -> Result<&mut Self, Error> {
        self.head(ARRAY, len as u64)
    }

    /// The head of a map of `len` pairs.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`].
    pub fn map(&mut self, len: usize) -> Result<&mut Self, Error> {
        self.head(MAP, len as u64)
    }

    /// `null`.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`].
    pub fn null(&mut self) -> Result<&mut Self, Error> {
        self.raw(&[0xf6])
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`].
    pub fn bool(&mut self, value: bool) -> Result<&mut Self, Error> {
        self.raw(&[if value { 0xf5 } else { 0xf4 }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shortest_head_is_read() {
        for (bytes, value) in
            [("00", 0), ("17", 23), ("1818", 24), ("190100", 256), ("20", -1), ("3863", -100)]
        {
            let bytes = hex::decode(bytes).unwrap();
            assert_eq!(Reader::new(&bytes).int(), Ok(value));
            assert_eq!(Head::int(value).as_slice(), bytes);
        }
        for bytes in
            ["1800", "1817", "190003", "1a00000003", "1b0000000000000003", "3817", "5800", "9f00ff", "5f40ff"]
        {
            let bytes = hex::decode(bytes).unwrap();
            assert_eq!(Reader::new(&bytes).item(), Err(Error::NonDeterministic), "{bytes:02x?}");
        }
    }

    #[test]
    fn integers_do_not_wrap() {
        assert_eq!(Reader::new(&hex::decode("1bffffffffffffffff").unwrap()).int(), Err(Error::Malformed));
        assert_eq!(Reader::new(&hex::decode("3b7fffffffffffffff").unwrap()).int(), Ok(i64::MIN));
        assert_eq!(Head::int(i64::MIN).as_slice(), hex::decode("3b7fffffffffffffff").unwrap());
        assert_eq!(Reader::new(&hex::decode("1b0000000100000003").unwrap()).u32(), Err(Error::Malformed));
    }

    #[test]
    fn announced_sizes_are_not_believed() {
        for bytes in ["5affffffff00", "9bffffffffffffffff02", "bb7fffffffffffffff00", "63616263"] {
            let mut bytes = hex::decode(bytes).unwrap();
            bytes.pop();
            assert_eq!(Reader::new(&bytes).item(), Err(Error::Truncated), "{bytes:02x?}");
        }
        assert_eq!(Reader::new(&[0x81; 4096]).item(), Err(Error::Truncated));
    }

    #[test]
    fn an_item_is_returned_whole() {
        let bytes = hex::decode("a201820203026161f5").unwrap();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.item().unwrap(), &bytes[..8]);
        assert_eq!(reader.bool(), Ok(true));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_writer_says_when_it_is_full() {
        let mut out = [0; 3];
        assert!(matches!(Writer::new(&mut out).bytes(&[1, 2, 3]), Err(Error::BufferTooSmall)));
        let mut writer = Writer::new(&mut out);
        writer.array(2).unwrap().int(1).unwrap().bool(true).unwrap();
        assert_eq!(writer.as_slice(), [0x82, 0x01, 0xf5]);
    }
}
