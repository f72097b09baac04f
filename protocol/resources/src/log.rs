use crate::cbor::{MapReader, MapWriter};
use crate::{CommandId, Error, EventKind};

/// `POST g`, platform to lock. Map: 0 cursor, 1 limit. `GET g` means `LogRequest::default()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogRequest {
    /// Key 0: the platform holds every entry below this index; the lock may erase them and answers from here on.
    /// Absent: erase nothing, answer from the oldest entry.
    pub cursor: Option<u32>,
    /// Key 1: most entries wanted in the answer; absent: as many as fit. The lock may send fewer.
    pub limit: Option<u8>,
}

impl LogRequest {
    /// Longest encoding, in bytes.
    pub const MAX_LEN: usize = 10;

    /// # Errors
    /// [`Error::BufferTooSmall`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Error> {
        let limit = self.limit.map(u32::from);
        let mut map = MapWriter::new(out, [self.cursor, limit].into_iter().flatten().count())?;
        map.optional(0, self.cursor)?.optional(1, limit)?;
        Ok(map.len())
    }

    /// # Errors
    /// See [`Error`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut request = Self::default();
        let mut map = MapReader::new(bytes)?;
        while let Some(key) = map.next_key()? {
            match key {
                0 => request.cursor = Some(map.u32(0)?),
                1 => request.limit = Some(map.u8(1)?),
                other => return Err(Error::UnknownKey(other)),
            }
        }
        map.finish()?;
        Ok(request)
    }
}

/// One line of the lock's log. Map: 0 index, 1 kind, 2 time, 3 value, 4 command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEntry {
    /// Key 0: rises by one with every entry over the lock's life.
    pub index: u32,
    /// Key 1.
    pub kind: EventKind,
    /// Key 2: Unix seconds, absent where the clock was not trusted.
    pub at: Option<u32>,
    /// Key 3: see [`EventKind`].
    pub value: Option<u32>,
    /// Key 4: the command that caused it.
    pub command: Option<CommandId>,
}

impl LogEntry {
    /// Longest encoding, in bytes.
    pub const MAX_LEN: usize = 28;

    /// # Errors
    /// [`Error::BufferTooSmall`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Error> {
        let optional =
            [self.at, self.value].into_iter().flatten().count() + usize::from(self.command.is_some());
        let mut map = MapWriter::new(out, 2 + optional)?;
        map.uint(0, self.index)?
            .uint(1, self.kind.code().into())?
            .optional(2, self.at)?
            .optional(3, self.value)?;
        if let Some(command) = &self.command {
            map.bytes(4, command)?;
        }
        Ok(map.len())
    }

    /// # Errors
    /// See [`Error`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut map = MapReader::new(bytes)?;
        let entry = Self::read(&mut map)?;
        map.finish()?;
        Ok(entry)
    }

    fn read(map: &mut MapReader<'_>) -> Result<Self, Error> {
        let (mut index, mut kind, mut at, mut value, mut command) = (None, None, None, None, None);
        while let Some(key) = map.next_key()? {
            match key {
                0 => index = Some(map.u32(0)?),
                1 => kind = Some(EventKind::from_code(map.u8(1)?)),
                2 => at = Some(map.u32(2)?),
                3 => value = Some(map.u32(3)?),
                4 => command = Some(map.array(4)?),
                other => return Err(Error::UnknownKey(other)),
            }
        }
        Ok(Self {
            index: index.ok_or(Error::MissingKey(0))?,
            kind: kind.ok_or(Error::MissingKey(1))?,
            at,
            value,
            command,
        })
    }
}

/// The 2.05 or 2.04 to a log request. Map: 0 end, 1 array of at most [`LogPage::MAX_ENTRIES`] entries, index ascending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPage<'a> {
    /// Key 0: the index that the next new entry will get. The page is the last one when it reaches `end - 1`.
    pub end: u32,
    entries: &'a [u8],
    count: u8,
}

impl<'a> LogPage<'a> {
    /// So that the array's head is one byte.
    pub const MAX_ENTRIES: usize = 23;

    /// Checks every entry, so that [`Self::entries`] cannot fail.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::OutOfRange`] of key 1 for too many entries, or indices that do not ascend or reach `end`.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        let (mut end, mut page) = (None, None);
        let mut map = MapReader::new(bytes)?;
        while let Some(key) = map.next_key()? {
            match key {
                0 => end = Some(map.u32(0)?),
                1 => page = Some(read_entries(&mut map, end.ok_or(Error::MissingKey(0))?)?),
                other => return Err(Error::UnknownKey(other)),
            }
        }
        map.finish()?;
        let (entries, count) = page.ok_or(Error::MissingKey(1))?;
        Ok(Self { end: end.ok_or(Error::MissingKey(0))?, entries, count })
    }

    /// The entries, index ascending.
    pub fn entries(&self) -> LogEntries<'a> {
        LogEntries { rest: self.entries, left: self.count }
    }
}

fn read_entries<'a>(map: &mut MapReader<'a>, end: u32) -> Result<(&'a [u8], u8), Error> {
    let count = u8::try_from(map.array_len()?).map_err(|_| Error::OutOfRange(1))?;
    if usize::from(count) > LogPage::MAX_ENTRIES {
        return Err(Error::OutOfRange(1));
    }
    let start = map.position();
    let mut last = None;
    for _ in 0..count {
        let entry = map.nested(LogEntry::read)?;
        if last.is_some_and(|last| entry.index <= last) || entry.index >= end {
            return Err(Error::OutOfRange(1));
        }
        last = Some(entry.index);
    }
    Ok((map.slice(start, map.position()), count))
}

/// Iterates over a [`LogPage`].
#[derive(Debug, Clone)]
pub struct LogEntries<'a> {
    rest: &'a [u8],
    left: u8,
}

impl Iterator for LogEntries<'_> {
    type Item = LogEntry;

    fn next(&mut self) -> Option<LogEntry> {
        self.left = self.left.checked_sub(1)?;
        // `LogPage::decode` read the same bytes with the same code, so neither step can fail here.
        let mut map = MapReader::new(self.rest).ok()?;
        let entry = LogEntry::read(&mut map).ok()?;
        self.rest = self.rest.get(map.position()..)?;
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left.into(), Some(self.left.into()))
    }
}

impl ExactSizeIterator for LogEntries<'_> {}

/// Writes a [`LogPage`] entry by entry until the buffer or the page is full.
pub struct LogPageWriter<'o> {
    out: &'o mut [u8],
    len: usize,
    array_head: usize,
    count: u8,
    last: Option<u32>,
    end: u32,
}

impl<'o> LogPageWriter<'o> {
    /// # Errors
    /// [`Error::BufferTooSmall`] when not even an empty page fits (9 bytes always do).
    pub fn new(out: &'o mut [u8], end: u32) -> Result<Self, Error> {
        let mut map = MapWriter::new(out, 2)?;
        map.uint(0, end)?;
        let key = map.len();
        let head = out.get_mut(key..key + 2).ok_or(Error::BufferTooSmall)?;
        head.copy_from_slice(&[1, 0x80]);
        Ok(Self { out, len: key + 2, array_head: key + 1, count: 0, last: None, end })
    }

    /// Adds an entry. `Ok(false)`: it does not fit any more, the page is unchanged.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] of key 1 when the index does not ascend or reaches `end`.
    pub fn push(&mut self, entry: &LogEntry) -> Result<bool, Error> {
        if self.last.is_some_and(|last| entry.index <= last) || entry.index >= self.end {
            return Err(Error::OutOfRange(1));
        }
        if usize::from(self.count) == LogPage::MAX_ENTRIES {
            return Ok(false);
        }
        let Ok(written) = entry.encode(self.out.get_mut(self.len..).unwrap_or_default()) else {
            return Ok(false);
        };
        self.len += written;
        self.count += 1;
        self.last = Some(entry.index);
        if let Some(head) = self.out.get_mut(self.array_head) {
            *head = 0x80 | self.count;
        }
        Ok(true)
    }

    /// The length of the page in bytes.
    pub fn finish(self) -> usize {
        self.len
    }
}
