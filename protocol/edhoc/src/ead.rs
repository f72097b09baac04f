//! External authorization data (RFC 9528 §3.8): labelled items that ride in the messages.

use cardea_credentials::cbor::{Head, Kind, Reader, Writer};

use crate::Error;

/// The most EAD items in one message.
pub const MAX_EADS: usize = 4;

/// Label of padding (RFC 9528 §3.8.1); skipped on reading.
pub const EAD_PADDING: i32 = 0;

/// One item. A negative label makes it critical: who does not know it must end the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ead<'a> {
    /// The label as it stands on the wire, negative where critical.
    pub label: i32,
    /// Its value, where it has one.
    pub value: Option<&'a [u8]>,
}

impl<'a> Ead<'a> {
    /// An item with a value.
    #[must_use]
    pub const fn new(label: i32, value: &'a [u8]) -> Self {
        Self { label, value: Some(value) }
    }
}

/// The items of one message as they were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Eads<'a> {
    items: [Option<Ead<'a>>; MAX_EADS],
    /// Their encoding, which the MACs cover.
    raw: &'a [u8],
}

impl<'a> Eads<'a> {
    /// The items in their order, without padding.
    pub fn iter(&self) -> impl Iterator<Item = Ead<'a>> + '_ {
        self.items.iter().flatten().copied()
    }

    /// The value of the first item with this label, as it stands on the wire.
    #[must_use]
    pub fn value(&self, label: i32) -> Option<&'a [u8]> {
        self.iter().find(|ead| ead.label == label)?.value
    }

    pub(crate) const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Reads all that is left. `known` holds the labels, without sign, that the application understands.
    pub(crate) fn read(reader: &mut Reader<'a>, known: &[u32]) -> Result<Self, Error> {
        let mut eads = Self { items: [None; MAX_EADS], raw: reader.rest() };
        let mut free = eads.items.iter_mut();
        while !reader.is_empty() {
            let label = i32::try_from(reader.int()?).map_err(|_| Error::Malformed)?;
            let value = match reader.peek() {
                Ok(Kind::Bytes) => Some(reader.bytes()?),
                _ => None,
            };
            if label < 0 && !known.contains(&label.unsigned_abs()) {
                return Err(Error::CriticalEad);
            }
            if label != EAD_PADDING {
                *free.next().ok_or(Error::TooLong)? = Some(Ead { label, value });
            }
        }
        Ok(eads)
    }

    pub(crate) fn write(eads: &[Ead<'_>], writer: &mut Writer<'_>) -> Result<(), Error> {
        for ead in eads {
            writer.int(i64::from(ead.label))?;
            if let Some(value) = ead.value {
                writer.bytes(value)?;
            }
        }
        Ok(())
    }

    pub(crate) fn encoded_len(eads: &[Ead<'_>]) -> usize {
        let head = |head: Head| head.as_slice().len();
        let value = |value: &[u8]| head(Head::bytes(value.len())) + value.len();
        eads.iter().map(|ead| head(Head::int(i64::from(ead.label))) + ead.value.map_or(0, value)).sum()
    }
}
