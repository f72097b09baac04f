//! Names on the wire: connection identifiers and credential identifiers (RFC 9528 §3.3.2, §3.5.3).

use core::fmt;

use cardea_credentials::cbor::{Head, Kind, Reader, Writer};

use crate::Error;

/// The longest connection identifier: what an OSCORE nonce of 13 bytes has room for (RFC 8613 §5.2).
pub const MAX_CONN_ID: usize = 7;

/// COSE header labels of credentials by value and by reference.
const LABEL_KID: i64 = 4;
const LABEL_KCWT: i64 = 13;
const LABEL_KCCS: i64 = 14;
const LABEL_X5CHAIN: i64 = 33;
const LABEL_X5T: i64 = 34;
/// Hash algorithms of `x5t` (RFC 9054): SHA-256 cut to 8 bytes, and whole.
const SHA_256_64: i64 = -15;
const SHA_256: i64 = -16;

/// A connection identifier, 0 to 7 bytes; the OSCORE Recipient ID of the party that chose it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnId {
    bytes: [u8; MAX_CONN_ID],
    len: u8,
}

impl ConnId {
    /// From its bytes.
    ///
    /// # Errors
    /// [`Error::BadIdentifier`] beyond [`MAX_CONN_ID`] bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, Error> {
        let mut id = Self { bytes: [0; MAX_CONN_ID], len: 0 };
        id.bytes.get_mut(..bytes.len()).ok_or(Error::BadIdentifier)?.copy_from_slice(bytes);
        id.len = u8::try_from(bytes.len()).map_err(|_| Error::BadIdentifier)?;
        Ok(id)
    }

    /// Its bytes, as OSCORE uses them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }

    /// Reads a `bstr_identifier`.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        Self::new(read_identifier(reader)?)
    }

    pub(crate) fn write(&self, writer: &mut Writer<'_>) -> Result<(), Error> {
        write_identifier(self.as_bytes(), writer)
    }

    pub(crate) fn encoded_len(&self) -> usize {
        identifier_len(self.as_bytes())
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnId(")?;
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// Which credential a party authenticates with (`ID_CRED_x`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdCred<'a> {
    /// A key identifier: look the credential up; there may be more than one.
    Kid(&'a [u8]),
    /// The credential itself, a CCS: these bytes are `CRED_x`.
    Kccs(&'a [u8]),
    /// The credential itself, an untagged CWT: these bytes are `CRED_x`.
    Kcwt(&'a [u8]),
    /// The hash of an X.509 certificate (RFC 9360): the first 8 bytes of its SHA-256, or all 32.
    X5t(&'a [u8]),
    /// One certificate or a chain of them.
    X5chain(X5chain<'a>),
}

/// An `x5chain` (COSE_X509, RFC 9360 §2): the end-entity certificate first. No certificate is looked into here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct X5chain<'a> {
    encoded: &'a [u8],
    end_entity: &'a [u8],
}

impl<'a> X5chain<'a> {
    /// From its encoding: one certificate as a CBOR byte string, or an array of two or more.
    ///
    /// # Errors
    /// [`Error::Malformed`] for anything else, an array of one among it; [`Error::NonDeterministic`].
    pub fn new(encoded: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(encoded);
        let chain = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(chain)
    }

    /// CRED_x: the end-entity certificate as a CBOR byte string.
    #[must_use]
    pub const fn end_entity(&self) -> &'a [u8] {
        self.end_entity
    }

    /// The certificates in DER, end entity first.
    pub fn certificates(&self) -> impl Iterator<Item = &'a [u8]> {
        let mut reader = Reader::new(self.encoded);
        if reader.peek() == Ok(Kind::Array) {
            let _ = reader.array(); // checked when it was made, as are the items
        }
        core::iter::from_fn(move || reader.bytes().ok())
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let start = reader.rest();
        let count = match reader.peek()? {
            Kind::Array => match reader.array()? {
                0 | 1 => return Err(Error::Malformed),
                many => many,
            },
            _ => 1,
        };
        let mut end_entity = None;
        for _ in 0..count {
            if reader.peek()? != Kind::Bytes {
                return Err(Error::Malformed);
            }
            let certificate = reader.item()?;
            end_entity = end_entity.or(Some(certificate));
        }
        let encoded = start.get(..start.len() - reader.rest().len()).ok_or(Error::Malformed)?;
        Ok(Self { encoded, end_entity: end_entity.ok_or(Error::Malformed)? })
    }
}

impl<'a> IdCred<'a> {
    /// The credential, CRED_x, where it came by value.
    #[must_use]
    pub const fn by_value(&self) -> Option<&'a [u8]> {
        match self {
            Self::Kid(_) | Self::X5t(_) => None,
            Self::Kccs(cred) | Self::Kcwt(cred) => Some(cred),
            Self::X5chain(chain) => Some(chain.end_entity),
        }
    }

    /// Reads the form of PLAINTEXT_2 and PLAINTEXT_3, in which a lone `kid` stands without its map (§3.5.3.2).
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        if reader.peek()? != Kind::Map {
            return Ok(Self::Kid(read_identifier(reader)?));
        }
        if reader.map()? != 1 {
            return Err(Error::UnsupportedCredential);
        }
        match (reader.int()?, reader.peek()?) {
            (LABEL_KID, _) => Err(Error::BadIdentifier), // RFC 9529 §4.1.6
            (LABEL_KCWT, Kind::Array) => Ok(Self::Kcwt(reader.item()?)),
            (LABEL_KCCS, Kind::Map) => Ok(Self::Kccs(reader.item()?)),
            (LABEL_X5T, Kind::Array) => read_hash(reader),
            (LABEL_X5CHAIN, Kind::Bytes | Kind::Array) => Ok(Self::X5chain(X5chain::read(reader)?)),
            (LABEL_KCWT | LABEL_KCCS | LABEL_X5T | LABEL_X5CHAIN, _) => Err(Error::Malformed),
            _ => Err(Error::UnsupportedCredential),
        }
    }

    /// Writes the form of PLAINTEXT_2 and PLAINTEXT_3.
    pub(crate) fn write(&self, writer: &mut Writer<'_>) -> Result<(), Error> {
        match self {
            Self::Kid(kid) => write_identifier(kid, writer),
            _ => {
                writer.raw(&self.head())?.raw(self.body())?;
                Ok(())
            }
        }
    }

    /// Length of what [`Self::write`] writes.
    pub(crate) fn encoded_len(&self) -> usize {
        match self {
            Self::Kid(kid) => identifier_len(kid),
            _ => self.head().len() + self.body().len(),
        }
    }

    /// The whole map, as `context_2` and `context_3` have it: these bytes, then [`Self::body`].
    pub(crate) fn head(&self) -> heapless::Vec<u8, 12> {
        let mut head = heapless::Vec::new();
        let label = match self {
            Self::Kid(_) => LABEL_KID,
            Self::Kccs(_) => LABEL_KCCS,
            Self::Kcwt(_) => LABEL_KCWT,
            Self::X5t(_) => LABEL_X5T,
            Self::X5chain(_) => LABEL_X5CHAIN,
        };
        // At most 1 + 1 + 9 bytes (1 + 2 + 1 + 1 + 2 for a hash), so nothing is cut off.
        let _ = head.push(0xa1);
        let _ = head.extend_from_slice(Head::int(label).as_slice());
        match self {
            Self::Kid(kid) => {
                let _ = head.extend_from_slice(Head::bytes(kid.len()).as_slice());
            }
            Self::X5t(hash) => {
                let algorithm = if hash.len() == 8 { SHA_256_64 } else { SHA_256 };
                let _ = head.push(0x82);
                let _ = head.extend_from_slice(Head::int(algorithm).as_slice());
                let _ = head.extend_from_slice(Head::bytes(hash.len()).as_slice());
            }
            _ => {}
        }
        head
    }

    pub(crate) const fn body(&self) -> &'a [u8] {
        match self {
            Self::Kid(bytes) | Self::Kccs(bytes) | Self::Kcwt(bytes) | Self::X5t(bytes) => bytes,
            Self::X5chain(chain) => chain.encoded,
        }
    }
}

/// COSE_CertHash: `[algorithm, hash]`.
fn read_hash<'a>(reader: &mut Reader<'a>) -> Result<IdCred<'a>, Error> {
    if reader.array()? != 2 {
        return Err(Error::Malformed);
    }
    if reader.peek()? != Kind::Int {
        return Err(Error::UnsupportedCredential); // a private algorithm, by name
    }
    match (reader.int()?, reader.bytes()?) {
        (SHA_256_64, hash) if hash.len() == 8 => Ok(IdCred::X5t(hash)),
        (SHA_256, hash) if hash.len() == 32 => Ok(IdCred::X5t(hash)),
        (SHA_256_64 | SHA_256, _) => Err(Error::Malformed),
        _ => Err(Error::UnsupportedCredential),
    }
}

/// Whether this one byte is sent as the integer whose encoding it is (§3.3.2).
const fn is_int(byte: u8) -> bool {
    matches!(byte, 0x00..=0x17 | 0x20..=0x37)
}

fn read_identifier<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Error> {
    let start = reader.rest();
    match reader.peek()? {
        Kind::Int => {
            reader.int()?;
            match start.split_first() {
                Some((&byte, _)) if is_int(byte) => Ok(start.get(..1).unwrap_or(&[])),
                _ => Err(Error::BadIdentifier),
            }
        }
        Kind::Bytes => match reader.bytes()? {
            [byte] if is_int(*byte) => Err(Error::BadIdentifier), // RFC 9529 §4.1.2, §4.1.7
            bytes => Ok(bytes),
        },
        _ => Err(Error::BadIdentifier),
    }
}

fn write_identifier(bytes: &[u8], writer: &mut Writer<'_>) -> Result<(), Error> {
    match bytes {
        [byte] if is_int(*byte) => writer.raw(bytes)?,
        _ => writer.bytes(bytes)?,
    };
    Ok(())
}

fn identifier_len(bytes: &[u8]) -> usize {
    match bytes {
        [byte] if is_int(*byte) => 1,
        _ => Head::bytes(bytes.len()).as_slice().len() + bytes.len(),
    }
}
