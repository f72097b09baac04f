//! What travels in a datagram of kind *site* between gateway and lock, around the signed message: its type, and the
//! nonce of the question that it answers. Neither is signed. They say what to do first, never what to believe.
//!
//! ```text
//! question   lock → gateway    type, nonce (8 bytes), number      CBOR sequence (RFC 8742)
//! message    gateway → lock    type, nonce (8 or 0 bytes), COSE_Sign1
//! ```

use crate::Error;
use crate::cbor::{Reader, Writer};

/// The longest question.
pub const MAX_QUESTION_LEN: usize = 15;
/// What a message has around its COSE_Sign1, at most.
pub const SITE_MESSAGE_OVERHEAD: usize = 10;

/// The types of site messages that a lock takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SiteKind {
    /// A peer's membership. The number of a question is the peer's address.
    Membership = 0,
    /// The certificate of the site's authority; the number is the version that is known.
    Authority = 1,
    /// A page of the platform's revocation list; the number is the page.
    Revocations = 2,
    /// An addition to the site's revocation list; the number is its counter.
    SiteRevocations = 3,
    /// A time token; the number is 0.
    Time = 4,
    /// A release of the lock by its owner root or vendor; the number is 0.
    Release = 5,
}

impl SiteKind {
    const ALL: [Self; 6] = [
        Self::Membership,
        Self::Authority,
        Self::Revocations,
        Self::SiteRevocations,
        Self::Time,
        Self::Release,
    ];

    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let number = reader.int()?;
        Self::ALL.into_iter().find(|kind| *kind as i64 == number).ok_or(Error::WrongCredential)
    }
}

/// What a lock asks its site for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// What it wants.
    pub kind: SiteKind,
    /// Random; comes back with the answer.
    pub nonce: [u8; 8],
    /// Which one, by [`SiteKind`].
    pub number: u32,
}

impl Question {
    /// Writes it and returns the length, at most [`MAX_QUESTION_LEN`].
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Error> {
        let mut writer = Writer::new(out);
        writer.int(self.kind as i64)?.bytes(&self.nonce)?.int(i64::from(self.number))?;
        Ok(writer.len())
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`Error::WrongCredential`] for a type that we do not know, [`Error::Malformed`], [`Error::NonDeterministic`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let kind = SiteKind::read(&mut reader)?;
        let (nonce, number) = (reader.bytes_exact()?, reader.u32()?);
        reader.finish()?;
        Ok(Self { kind, nonce, number })
    }
}

/// A signed message on its way to a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteMessage<'a> {
    /// What it says it is; verification by another type's function fails.
    pub kind: SiteKind,
    /// The nonce of the question, none where nobody asked.
    pub nonce: Option<[u8; 8]>,
    /// The COSE_Sign1, not looked at.
    pub signed: &'a [u8],
}

impl<'a> SiteMessage<'a> {
    /// Writes it and returns the length, at most [`SITE_MESSAGE_OVERHEAD`] more than the signed message.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Error> {
        let mut writer = Writer::new(out);
        let nonce = self.nonce.as_ref().map_or(&[][..], |nonce| nonce);
        writer.int(self.kind as i64)?.bytes(nonce)?.raw(self.signed)?;
        Ok(writer.len())
    }

    /// Reads what is around the signed message.
    ///
    /// # Errors
    /// [`Error::WrongCredential`] for a type that we do not know, [`Error::Malformed`], [`Error::NonDeterministic`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let kind = SiteKind::read(&mut reader)?;
        let nonce = match reader.bytes()? {
            [] => None,
            nonce => Some(nonce.try_into().map_err(|_| Error::Malformed)?),
        };
        Ok(Self { kind, nonce, signed: reader.rest() })
    }
}
