//! The constant bytes of an outer OSCORE message, left out on the air and put back exactly.
//!
//! Every message of this product has the same outer shape: version 1, NON, one token byte, POST or 2.04, the
//! OSCORE option (number 9, RFC 8613 section 6.1) alone, payload marker, ciphertext. Elided:
//!
//! ```text
//! flags | PIV | [s | kid context] | [kid] | [token, responses only] | ciphertext
//! ```
//!
//! `flags` are the option's own (h, k, n), with bit 7 for a response. A message of any other shape follows
//! whole behind the flag byte 0x40, so that nothing is ever lost in translation.

use crate::Error;

const RESPONSE: u8 = 0x80;
const VERBATIM: u8 = 0x40;
const RESERVED: u8 = 0x20;
const KID_CONTEXT: u8 = 0x10;
const KID: u8 = 0x08;
const PIV_LEN: u8 = 0x07;
/// RFC 8613 section 6.1: lengths 6 and 7 are reserved.
const MAX_PIV: usize = 5;

/// Version 1, non-confirmable, token length 1 (RFC 7252 section 3).
const NON_ONE_TOKEN_BYTE: u8 = 0x51;
const POST: u8 = 0x02;
const CHANGED: u8 = 0x44;
const OSCORE: u8 = 9;
const PAYLOAD_MARKER: u8 = 0xff;

/// Shortens an OSCORE-protected CoAP message and says how many bytes it is now.
///
/// [`restore`] of the result is `message` again, whatever `message` is.
///
/// # Errors
/// [`Error::Buffer`] if `out` is too small; `message.len() + 1` bytes are always enough.
pub fn elide(message: &[u8], out: &mut [u8]) -> Result<usize, Error> {
    let mut writer = Writer { out, len: 0 };
    match Outer::from_coap(message) {
        Some(outer) => outer.write_elided(&mut writer)?,
        None => {
            writer.put(&[VERBATIM])?;
            writer.put(message)?;
        }
    }
    Ok(writer.len)
}

/// The CoAP message that was elided, and how many bytes it is.
///
/// # Errors
/// [`Error::Elided`] if `elided` is no output of [`elide`], [`Error::Buffer`] if `out` is too small;
/// `elided.len() + 9` bytes are always enough.
pub fn restore(elided: &[u8], out: &mut [u8]) -> Result<usize, Error> {
    let mut writer = Writer { out, len: 0 };
    match elided.split_first() {
        Some((&VERBATIM, message)) => writer.put(message)?,
        _ => Outer::from_elided(elided).ok_or(Error::Elided)?.write_coap(&mut writer)?,
    }
    Ok(writer.len)
}

/// What varies in the outer message.
struct Outer<'a> {
    /// h, k and n of the OSCORE option.
    flags: u8,
    piv: &'a [u8],
    /// With its length byte in front; empty without h.
    kid_context: &'a [u8],
    /// One byte with k, else empty.
    kid: &'a [u8],
    /// Of a response; a request's is the last byte of its PIV.
    response_token: Option<u8>,
    ciphertext: &'a [u8],
}

impl<'a> Outer<'a> {
    fn from_coap(message: &'a [u8]) -> Option<Self> {
        let (&[first, code, mid_high, mid_low, token], rest) = message.split_first_chunk()?;
        let (value, rest) = oscore_option(rest)?;
        let (&PAYLOAD_MARKER, ciphertext) = rest.split_first()? else { return None };
        let (flags, value) = value.split_first().map_or((0, value), |(flags, value)| (*flags, value));
        if first != NON_ONE_TOKEN_BYTE || flags & (RESPONSE | VERBATIM | RESERVED) != 0 {
            return None;
        }
        let (piv, kid_context, value) = split_option(flags, value)?;
        let response_token = match code {
            POST => None,
            CHANGED => Some(token),
            _ => return None,
        };
        let outer = Self { flags, piv, kid_context, kid: value, response_token, ciphertext };
        let restored = outer.token() == Some(token) && outer.message_id() == [mid_high, mid_low];
        // With no flags the option is empty (RFC 8613 section 2); one zero byte would not be restored.
        let canonical = flags != 0 || message.get(5) == Some(&(OSCORE << 4));
        (restored && canonical && outer.is_whole()).then_some(outer)
    }

    fn from_elided(elided: &'a [u8]) -> Option<Self> {
        let (&first, rest) = elided.split_first()?;
        if first & (VERBATIM | RESERVED) != 0 {
            return None;
        }
        let flags = first & !RESPONSE;
        let (piv, kid_context, rest) = split_option(flags, rest)?;
        let (kid, rest) = rest.split_at_checked(usize::from(flags & KID != 0))?;
        let (response_token, ciphertext) = if first & RESPONSE != 0 {
            let (&token, ciphertext) = rest.split_first()?;
            (Some(token), ciphertext)
        } else {
            (None, rest)
        };
        let outer = Self { flags, piv, kid_context, kid, response_token, ciphertext };
        (outer.token().is_some() && outer.is_whole()).then_some(outer)
    }

    /// A kid of one byte exactly where k says so, and something behind the payload marker.
    fn is_whole(&self) -> bool {
        self.kid.len() == usize::from(self.flags & KID != 0) && !self.ciphertext.is_empty()
    }

    fn token(&self) -> Option<u8> {
        self.response_token.or_else(|| self.piv.last().copied())
    }

    /// PIV mod 2^16, 0 without a PIV.
    fn message_id(&self) -> [u8; 2] {
        match self.piv {
            [.., high, low] => [*high, *low],
            [low] => [0, *low],
            [] => [0, 0],
        }
    }

    fn write_elided(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        let response = if self.response_token.is_some() { RESPONSE } else { 0 };
        out.put(&[self.flags | response])?;
        out.put(self.piv)?;
        out.put(self.kid_context)?;
        out.put(self.kid)?;
        if let Some(token) = self.response_token {
            out.put(&[token])?;
        }
        out.put(self.ciphertext)
    }

    fn write_coap(&self, out: &mut Writer<'_>) -> Result<(), Error> {
        let code = if self.response_token.is_some() { CHANGED } else { POST };
        let [mid_high, mid_low] = self.message_id();
        out.put(&[NON_ONE_TOKEN_BYTE, code, mid_high, mid_low, self.token().ok_or(Error::Elided)?])?;
        let value = [self.piv.len(), self.kid_context.len(), self.kid.len()];
        let len = value.into_iter().fold(usize::from(self.flags != 0), usize::saturating_add);
        match u8::try_from(len).map_err(|_| Error::Elided)? {
            short @ 0..=12 => out.put(&[OSCORE << 4 | short])?,
            long => out.put(&[OSCORE << 4 | 13, long.wrapping_sub(13)])?,
        }
        if self.flags != 0 {
            out.put(&[self.flags])?;
        }
        out.put(self.piv)?;
        out.put(self.kid_context)?;
        out.put(self.kid)?;
        out.put(&[PAYLOAD_MARKER])?;
        out.put(self.ciphertext)
    }
}

/// The value of an OSCORE option that comes first, at most 255 bytes long, and what follows it.
fn oscore_option(options: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = options.split_first()?;
    if first >> 4 != OSCORE {
        return None;
    }
    let (len, rest) = match first & 0x0f {
        len @ 0..=12 => (len, rest),
        13 => {
            let (&more, rest) = rest.split_first()?;
            (more.checked_add(13)?, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(usize::from(len))
}

/// PIV, kid context with its length byte, and the rest.
fn split_option(flags: u8, bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let piv_len = usize::from(flags & PIV_LEN);
    if piv_len > MAX_PIV {
        return None;
    }
    let (piv, rest) = bytes.split_at_checked(piv_len)?;
    let context_len = match rest.first() {
        _ if flags & KID_CONTEXT == 0 => 0,
        Some(len) => usize::from(*len).saturating_add(1),
        None => return None,
    };
    let (kid_context, rest) = rest.split_at_checked(context_len)?;
    Some((piv, kid_context, rest))
}

struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let end = self.len.saturating_add(bytes.len());
        self.out.get_mut(self.len..end).ok_or(Error::Buffer)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    use super::*;

    fn elided(message: &[u8]) -> Vec<u8> {
        let mut out = vec![0; message.len() + 1];
        let len = elide(message, &mut out).unwrap();
        out.truncate(len);
        out
    }

    fn restored(elided: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = vec![0; elided.len() + 9];
        let len = restore(elided, &mut out)?;
        out.truncate(len);
        Ok(out)
    }

    #[test]
    fn a_request_is_flags_piv_kid_ciphertext() {
        let message = hex::decode("5102012323940a01234aff0102030405060708").unwrap();
        // flags 0x0a: k, 2-byte PIV 0x0123; kid 0x4a; MID 0x0123; token 0x23.
        assert_eq!(hex::encode(elided(&message)), "0a01234a0102030405060708");
        assert_eq!(restored(&elided(&message)).unwrap(), message);
    }

    #[test]
    fn a_response_names_its_token() {
        let without_piv = hex::decode("514400002390ff0102030405060708").unwrap();
        assert_eq!(hex::encode(elided(&without_piv)), "80230102030405060708");
        assert_eq!(restored(&elided(&without_piv)).unwrap(), without_piv);

        let with_piv = hex::decode("51440007239201 07ff0102030405060708".replace(' ', "")).unwrap();
        assert_eq!(hex::encode(elided(&with_piv)), "8107230102030405060708");
        assert_eq!(restored(&elided(&with_piv)).unwrap(), with_piv);
    }

    #[test]
    fn a_kid_context_keeps_its_length_byte() {
        // flags 0x19: h, k, n = 1; PIV 05; s = 8; kid 01: 12 bytes of option, then 13 with s = 9.
        let message = hex::decode("51020005059c1905088877665544332211 01ffaa".replace(' ', "")).unwrap();
        assert_eq!(hex::encode(elided(&message)), "190508887766554433221101aa");
        assert_eq!(restored(&elided(&message)).unwrap(), message);
        let longer = hex::decode("51020005059d001905099988776655443322 1101ffaa".replace(' ', "")).unwrap();
        assert_eq!(hex::encode(elided(&longer)), "19050999887766554433221101aa");
        assert_eq!(restored(&elided(&longer)).unwrap(), longer);
    }

    #[test]
    fn anything_else_goes_whole() {
        for other in [
            "",
            "51",
            "41020123239 40a01234aff01",    // confirmable
            "5105012323940a01234aff01",     // FETCH
            "5102012423940a01234aff01",     // another message id
            "5102012324940a01234aff01",     // another token
            "5102012323950a01234a4bff01",   // kid of two bytes
            "510201232393 02 0123 5b ff01", // a third option byte that k does not announce
            "5102012323940a01234a10ff01",   // an option behind OSCORE
            "5102012323940a01234a",         // no ciphertext
            "5102012323940a01234aff",
            "5144000023 9100 ff01",                 // flags present though zero
            "5102000023 90 ff01",                   // a request without PIV
            "51020000ff96 0e ffffffffffff 01 ff01", // reserved PIV length
        ] {
            let message = hex::decode(other.replace(' ', "")).unwrap();
            let short = elided(&message);
            assert_eq!((short[0], &short[1..]), (0x40, &message[..]), "{other}");
            assert_eq!(restored(&short).unwrap(), message, "{other}");
        }
    }

    #[test]
    fn refusals() {
        for wrong in [
            "",
            "0a",
            "0a0123",
            "0a01234a",              // cut short
            "08 4a 01",              // a request without PIV has no token
            "2a01234a01",            // reserved bit
            "c0 01",                 // verbatim response
            "41 00",                 // verbatim with flags
            "0e 010203040506 4a 01", // reserved PIV length
            "19 05 09 01",           // kid context cut short
            "80 23",                 // nothing behind the token
        ] {
            assert_eq!(
                restored(&hex::decode(wrong.replace(' ', "")).unwrap()),
                Err(Error::Elided),
                "{wrong}"
            );
        }
        assert_eq!(restore(&hex::decode("0a01234a01").unwrap(), &mut [0; 11]), Err(Error::Buffer));
        assert_eq!(elide(&[1, 2, 3], &mut [0; 3]), Err(Error::Buffer));
    }

    /// Every `protected` in the file, wherever it stands.
    fn protected<'a>(value: &'a serde_json::Value, found: &mut Vec<&'a str>) {
        if let Some(message) = value.get("protected").and_then(|message| message.as_str()) {
            found.push(message);
        }
        let (list, map) = (value.as_array(), value.as_object());
        let inside = list.into_iter().flatten().chain(map.into_iter().flat_map(|map| map.values()));
        inside.for_each(|value| protected(value, found));
    }

    /// What another implementation protects round-trips too, elided or whole.
    #[test]
    fn aiocoap_messages_round_trip() {
        let text =
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/oscore-aiocoap.json"));
        let vectors: serde_json::Value = serde_json::from_str(text).unwrap();
        let mut messages = Vec::new();
        protected(&vectors, &mut messages);
        assert_eq!(messages.len(), 64);
        for message in messages {
            let mut message = hex::decode(message).unwrap();
            assert_eq!(restored(&elided(&message)).unwrap(), message);
            // With the message id and token that our own messages have, a request of one kid byte is elided.
            let Some((value, _)) = oscore_option(&message[5..]) else { continue };
            let (flags, value) = value.split_first().map_or((0, value), |(flags, value)| (*flags, value));
            let Some((piv, _, kid)) = split_option(flags, value) else { continue };
            if message[1] != POST || kid.len() != 1 || piv.is_empty() {
                continue;
            }
            let id = piv.iter().fold(0_u64, |id, byte| id << 8 | u64::from(*byte)) as u16;
            let token = *piv.last().unwrap();
            message[2..4].copy_from_slice(&id.to_be_bytes());
            message[4] = token;
            let has_only_oscore = elided(&message).len() < message.len();
            let marker = 5 + message[5..].iter().position(|byte| *byte == 0xff).unwrap();
            assert_eq!(has_only_oscore, oscore_option(&message[5..]).unwrap().1[0] == 0xff, "{marker}");
            assert_eq!(restored(&elided(&message)).unwrap(), message);
        }
    }

    fn shaped() -> impl Strategy<Value = Vec<u8>> {
        let parts = (any::<bool>(), 0_u8..6, any::<Option<Vec<u8>>>(), any::<Option<u8>>(), any::<u8>());
        (parts, proptest::collection::vec(any::<u8>(), 1..64), any::<[u8; 5]>()).prop_map(
            |((response, n, context, kid, token), ciphertext, piv)| {
                let mut bytes = vec![if response { 0x80 } else { 0 } | n];
                bytes.extend(&piv[..usize::from(n)]);
                if let Some(context) = &context {
                    bytes[0] |= 0x10;
                    bytes.push(context.len() as u8);
                    bytes.extend(context);
                }
                if let Some(kid) = kid {
                    bytes[0] |= 0x08;
                    bytes.push(kid);
                }
                if response {
                    bytes.push(token);
                }
                bytes.extend(ciphertext);
                bytes
            },
        )
    }

    proptest! {
        #[test]
        fn any_bytes_round_trip(message in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(restored(&elided(&message)), Ok(message));
        }

        #[test]
        fn any_restored_message_elides_to_the_same_bytes(short in shaped()) {
            if let Ok(message) = restored(&short) {
                prop_assert_eq!(elided(&message), short);
            }
        }

        #[test]
        fn a_changed_byte_still_round_trips(short in shaped(), at in any::<proptest::sample::Index>(), to in any::<u8>()) {
            if let Ok(mut message) = restored(&short) {
                let at = at.index(message.len());
                message[at] = to;
                prop_assert_eq!(restored(&elided(&message)), Ok(message));
            }
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = restored(&bytes);
        }
    }
}
