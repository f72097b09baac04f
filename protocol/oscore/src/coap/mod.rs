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
    /// 4.09 (RFC 8132)
    pub const CONFLICT: Self = Self(0x89);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn reads_every_part() {
        // CON POST, two path segments, a query with an extended delta, payload.
        let bytes = b"\x42\x02\x12\x34\xaa\xbb\xb1l\x03abc\x41q\xd0\xe0\xffhi";
        let message = Message::parse(bytes).unwrap();
        assert_eq!(
            (message.kind(), message.code(), message.message_id()),
            (Type::Confirmable, Code::POST, 0x1234)
        );
        assert_eq!((message.token(), message.payload()), (&b"\xaa\xbb"[..], &b"hi"[..]));
        assert_eq!(message.path().collect::<Vec<_>>(), [&b"l"[..], b"abc"]);
        assert_eq!(message.option(option::URI_QUERY), Some(&b"q"[..]));
        assert_eq!(message.options().last(), Some(Opt { number: option::URI_QUERY + 13 + 0xe0, value: &[] }));
    }

    #[test]
    fn refuses_what_is_malformed() {
        for (bytes, error) in [
            (&b""[..], Error::CoapTruncated),
            (b"\x40\x01\x00", Error::CoapTruncated),
            (b"\x80\x01\x00\x00", Error::CoapVersion),
            (b"\x49\x01\x00\x00123456789", Error::CoapToken),
            (b"\x42\x01\x00\x00\x01", Error::CoapTruncated),
            (b"\x40\x21\x00\x00", Error::CoapCode), // class 1 is reserved
            (b"\x40\xe1\x00\x00", Error::CoapCode), // class 7 belongs to TCP
            (b"\x40\x00\x00\x00\xff", Error::CoapCode), // Empty is four bytes
            (b"\x40\x01\x00\x00\xb1", Error::CoapTruncated), // value missing
            (b"\x40\x01\x00\x00\xd0", Error::CoapTruncated), // extended delta missing
            (b"\x40\x01\x00\x00\xe0\x00", Error::CoapTruncated),
            (b"\x40\x01\x00\x00\xf0", Error::CoapOption), // nibble 15
            (b"\x40\x01\x00\x00\x0f", Error::CoapOption),
            (b"\x40\x01\x00\x00\xe0\xff\xff", Error::CoapOption), // 269 + 65535
            (b"\x40\x01\x00\x00\xff", Error::CoapMarker),
        ] {
            assert_eq!(Message::parse(bytes).map(drop), Err(error), "{bytes:x?}");
        }
    }

    #[test]
    fn builds_extended_deltas_and_lengths() {
        let mut out = [0; 1024];
        let long = [7; 300];
        let len = Builder::new(&mut out, Type::NonConfirmable, Code::GET, 1, &[])
            .and_then(|b| {
                b.option(12, &[1; 12])?
                    .option(25, &[2; 13])?
                    .option(300, &long)?
                    .uint_option(65_535, 0x1_0000)?
                    .payload(b"p")
            })
            .unwrap();
        let message = Message::parse(&out[..len]).unwrap();
        let options: Vec<_> = message.options().map(|o| (o.number, o.value.len())).collect();
        assert_eq!(options, [(12, 12), (25, 13), (300, 300), (65_535, 3)]);
        assert_eq!(message.payload(), b"p");
    }

    #[test]
    fn builder_refuses_what_a_parser_would() {
        let mut out = [0; 16];
        fn start(out: &mut [u8]) -> Result<Builder<'_>, Error> {
            Builder::new(out, Type::NonConfirmable, Code::GET, 1, &[])
        }
        assert_eq!(
            start(&mut out).and_then(|b| b.option(11, b"a")?.option(10, b"")).map(drop),
            Err(Error::OptionOrder)
        );
        assert_eq!(
            start(&mut out).and_then(|b| b.option(11, &[0; 13])).map(drop),
            Err(Error::BufferTooSmall)
        );
        assert_eq!(
            Builder::new(&mut out, Type::Reset, Code::EMPTY, 0, &[0; 9]).map(drop),
            Err(Error::CoapToken)
        );
        assert_eq!(
            Builder::new(&mut out[..3], Type::Reset, Code::EMPTY, 0, &[]).map(drop),
            Err(Error::BufferTooSmall)
        );
        let len = start(&mut out).and_then(|b| b.uint_option(12, 0)?.payload(b"")).unwrap();
        assert_eq!(out[..len], [0x50, 1, 0, 1, 0xc0], "zero and an empty payload take no bytes");
    }

    #[test]
    fn codes_read_as_in_the_rfc() {
        assert_eq!(std::format!("{} {:?}", Code::POST, Code::UNAUTHORIZED), "0.02 4.01");
        assert!(Code::GET.is_request() && !Code::EMPTY.is_request() && !Code::EMPTY.is_response());
        assert!(
            Code::CHANGED.is_success() && !Code::BAD_REQUEST.is_success() && Code::BAD_REQUEST.is_response()
        );
    }
}
