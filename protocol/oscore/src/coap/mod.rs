//! A small CoAP (RFC 7252) message codec: parse once, then read without failing; build into a slice.
//!
//! No retransmission, no blocks, no Observe: locks send non-confirmable messages, and a message that OSCORE protects
//! must not be sent twice anyway.

mod builder;
mod options;

pub use builder::Builder;
pub(crate) use builder::write_header;
pub(crate) use options::{Decoder, OptionWriter};
pub use options::{Opt, Options};

use crate::Error;

/// Option numbers (IANA CoAP Option Numbers).
pub mod option {
    /// If-Match, RFC 7252.
    pub const IF_MATCH: u16 = 1;
    /// Uri-Host, RFC 7252.
    pub const URI_HOST: u16 = 3;
    /// ETag, RFC 7252.
    pub const ETAG: u16 = 4;
    /// If-None-Match, RFC 7252.
    pub const IF_NONE_MATCH: u16 = 5;
    /// Observe, RFC 7641.
    pub const OBSERVE: u16 = 6;
    /// Uri-Port, RFC 7252.
    pub const URI_PORT: u16 = 7;
    /// Location-Path, RFC 7252.
    pub const LOCATION_PATH: u16 = 8;
    /// OSCORE, RFC 8613.
    pub const OSCORE: u16 = 9;
    /// Uri-Path, RFC 7252.
    pub const URI_PATH: u16 = 11;
    /// Content-Format, RFC 7252.
    pub const CONTENT_FORMAT: u16 = 12;
    /// Max-Age, RFC 7252.
    pub const MAX_AGE: u16 = 14;
    /// Uri-Query, RFC 7252.
    pub const URI_QUERY: u16 = 15;
    /// Hop-Limit, RFC 8768.
    pub const HOP_LIMIT: u16 = 16;
    /// Accept, RFC 7252.
    pub const ACCEPT: u16 = 17;
    /// Location-Query, RFC 7252.
    pub const LOCATION_QUERY: u16 = 20;
    /// Block2, RFC 7959.
    pub const BLOCK2: u16 = 23;
    /// Block1, RFC 7959.
    pub const BLOCK1: u16 = 27;
    /// Size2, RFC 7959.
    pub const SIZE2: u16 = 28;
    /// Proxy-Uri, RFC 7252.
    pub const PROXY_URI: u16 = 35;
    /// Proxy-Scheme, RFC 7252.
    pub const PROXY_SCHEME: u16 = 39;
    /// Size1, RFC 7252.
    pub const SIZE1: u16 = 60;
    /// Echo, RFC 9175.
    pub const ECHO: u16 = 252;
    /// No-Response, RFC 7967.
    pub const NO_RESPONSE: u16 = 258;
}

/// The message type (RFC 7252 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// CON
    Confirmable = 0,
    /// NON
    NonConfirmable = 1,
    /// ACK
    Acknowledgement = 2,
    /// RST
    Reset = 3,
}

impl Type {
    fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Confirmable,
            1 => Self::NonConfirmable,
            2 => Self::Acknowledgement,
            _ => Self::Reset,
        }
    }
}

/// A method or response code: class in the upper three bits, detail in the lower five (RFC 7252 section 12.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Code(u8);

impl Code {
    /// 0.00 Empty
    pub const EMPTY: Self = Self(0);
    /// 0.01 GET
    pub const GET: Self = Self(1);
    /// 0.02 POST
    pub const POST: Self = Self(2);
    /// 0.03 PUT
    pub const PUT: Self = Self(3);
    /// 0.04 DELETE
    pub const DELETE: Self = Self(4);
    /// 0.05 FETCH (RFC 8132)
    pub const FETCH: Self = Self(5);
    /// 2.04 Changed
    pub const CHANGED: Self = Self(0x44);
    /// 2.05 Content
    pub const CONTENT: Self = Self(0x45);
    /// 4.00 Bad Request
    pub const BAD_REQUEST: Self = Self(0x80);
    /// 4.01 Unauthorized
    pub const UNAUTHORIZED: Self = Self(0x81);
    /// 4.02 Bad Option
    pub const BAD_OPTION: Self = Self(0x82);
    /// 4.03 Forbidden
    pub const FORBIDDEN: Self = Self(0x83);
    /// 4.04 Not Found
    pub const NOT_FOUND: Self = Self(0x84);
    /// 4.05 Method Not Allowed
    pub const METHOD_NOT_ALLOWED: Self = Self(0x85);
    /// 5.00 Internal Server Error
    pub const INTERNAL_SERVER_ERROR: Self = Self(0xa0);
    /// 5.03 Service Unavailable
    pub const SERVICE_UNAVAILABLE: Self = Self(0xa3);

    /// The code with this byte on the wire.
    ///
    /// # Errors
    /// [`Error::CoapCode`] for the classes 1, 3, 6 and 7, which no CoAP message over a datagram transport uses.
    pub fn from_byte(byte: u8) -> Result<Self, Error> {
        if matches!(byte >> 5, 0 | 2 | 4 | 5) { Ok(Self(byte)) } else { Err(Error::CoapCode) }
    }

    /// The byte on the wire.
    pub fn to_byte(self) -> u8 {
        self.0
    }

    /// A method.
    pub fn is_request(self) -> bool {
        self.0 >> 5 == 0 && self.0 != 0
    }

    /// Success, client error or server error.
    pub fn is_response(self) -> bool {
        self.0 >> 5 != 0
    }

    /// 2.xx
    pub fn is_success(self) -> bool {
        self.0 >> 5 == 2
    }
}

impl core::fmt::Display for Code {
    /// As in the RFC: `0.02`, `4.01`.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{:02}", self.0 >> 5, self.0 & 0x1f)
    }
}

impl core::fmt::Debug for Code {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

/// A CoAP message whose every part has been checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    kind: Type,
    code: Code,
    message_id: u16,
    token: &'a [u8],
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Longest token in bytes.
    pub const MAX_TOKEN: usize = 8;

    /// Parses a complete CoAP message over a datagram transport (RFC 7252 section 3).
    ///
    /// # Errors
    /// The `Coap…` variants of [`Error`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (&[first, code, id_high, id_low], rest) =
            bytes.split_first_chunk::<4>().ok_or(Error::CoapTruncated)?;
        if first >> 6 != 1 {
            return Err(Error::CoapVersion);
        }
        let token_len = usize::from(first & 0x0f);
        if token_len > Self::MAX_TOKEN {
            return Err(Error::CoapToken);
        }
        let code = Code::from_byte(code)?;
        if code == Code::EMPTY && bytes.len() != 4 {
            return Err(Error::CoapCode);
        }
        let (token, body) = rest.split_at_checked(token_len).ok_or(Error::CoapTruncated)?;
        let (options, payload) = split_body(body)?;
        Ok(Self {
            kind: Type::from_bits(first >> 4),
            code,
            message_id: u16::from_be_bytes([id_high, id_low]),
            token,
            options,
            payload,
        })
    }

    /// CON, NON, ACK or RST.
    pub fn kind(&self) -> Type {
        self.kind
    }

    /// Method or response code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The Message ID, which matches ACK and RST to their message.
    pub fn message_id(&self) -> u16 {
        self.message_id
    }

    /// Up to 8 bytes that match a response to its request.
    pub fn token(&self) -> &'a [u8] {
        self.token
    }

    /// The options in ascending order of their numbers.
    pub fn options(&self) -> Options<'a> {
        Options::new(self.options)
    }

    /// The value of the first option with this number.
    pub fn option(&self, number: u16) -> Option<&'a [u8]> {
        self.options().find(|option| option.number == number).map(|option| option.value)
    }

    /// The `Uri-Path` segments.
    pub fn path(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.options().filter(|option| option.number == option::URI_PATH).map(|option| option.value)
    }

    /// What follows the payload marker; empty without one.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Splits what follows the token (or the inner code) into checked options and payload.
pub(crate) fn split_body(body: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let mut decoder = Decoder::new(body);
    while decoder.next()?.is_some() {}
    let (options, rest) = body.split_at_checked(decoder.position()).ok_or(Error::CoapTruncated)?;
    match rest.split_first() {
        None => Ok((options, &[])),
        Some((_, [])) => Err(Error::CoapMarker),
        Some((_, payload)) => Ok((options, payload)),
    }
}
