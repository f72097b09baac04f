//! Which options travel inside and which outside, and how a message is taken apart and put together again
//! (RFC 8613 sections 4.1, 5.3, 8).

use crate::Error;
use crate::coap::{Code, Decoder, Message, OptionWriter, option, split_body, write_header};

/// Where an option travels (RFC 8613 figure 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Class E: encrypted. Everything unknown is, so that nothing leaks by being new.
    Inner,
    /// Class U: in the clear, for proxies.
    Outer,
    /// On both sides, with rules of its own (section 4.1.3.5).
    Observe,
    /// The OSCORE option itself, and `Proxy-Uri`, which must be split into class U and E options before.
    Unprotectable,
}

fn class(number: u16) -> Class {
    match number {
        option::URI_HOST | option::URI_PORT | option::PROXY_SCHEME | option::HOP_LIMIT => Class::Outer,
        option::OBSERVE => Class::Observe,
        option::OSCORE | option::PROXY_URI => Class::Unprotectable,
        _ => Class::Inner,
    }
}

/// A message in the making: everything in the clear, then the plaintext, then room for the tag.
pub(crate) struct Parts {
    /// Where the plaintext starts.
    pub(crate) plaintext_at: usize,
    /// Length of the whole message with its tag.
    pub(crate) len: usize,
}

/// Writes the protected message of `message` into `out`, but for the encryption.
pub(crate) fn assemble(
    message: &Message<'_>,
    oscore_value: &[u8],
    tag_len: usize,
    out: &mut [u8],
) -> Result<Parts, Error> {
    let mut writer = OptionWriter::new(out);
    write_header(&mut writer, message.kind(), outer_code(message), message.message_id(), message.token())?;
    write_outer_options(&mut writer, message, oscore_value)?;
    writer.raw(&[0xff])?;
    let plaintext_at = writer.len;
    writer.raw(&[message.code().to_byte()])?;
    writer.restart();
    for opt in message.options() {
        match class(opt.number) {
            Class::Inner => writer.option(opt.number, opt.value)?,
            Class::Observe if message.code().is_request() => writer.option(opt.number, opt.value)?,
            Class::Observe => writer.option(opt.number, &[])?,
            Class::Outer | Class::Unprotectable => {}
        }
    }
    if !message.payload().is_empty() {
        writer.raw(&[0xff])?;
        writer.raw(message.payload())?;
    }
    writer.zeros(tag_len)?;
    Ok(Parts { plaintext_at, len: writer.len })
}

/// RFC 8613 section 4.2: the outer code says nothing but the direction, and whether Observe is used.
fn outer_code(message: &Message<'_>) -> Code {
    let observe = message.option(option::OBSERVE).is_some();
    match (message.code().is_request(), observe) {
        (true, false) => Code::POST,
        (true, true) => Code::FETCH,
        (false, false) => Code::CHANGED,
        (false, true) => Code::CONTENT,
    }
}

fn write_outer_options(
    writer: &mut OptionWriter<'_>,
    message: &Message<'_>,
    oscore_value: &[u8],
) -> Result<(), Error> {
    let mut oscore_written = false;
    for opt in message.options() {
        match class(opt.number) {
            Class::Inner => continue,
            Class::Unprotectable => return Err(Error::NotProtectable),
            Class::Outer | Class::Observe => {}
        }
        if opt.number > option::OSCORE && !oscore_written {
            writer.option(option::OSCORE, oscore_value)?;
            oscore_written = true;
        }
        writer.option(opt.number, opt.value)?;
    }
    if !oscore_written {
        writer.option(option::OSCORE, oscore_value)?;
    }
    Ok(())
}

/// Puts the inner message, whose plaintext is `out[plaintext]`, and the outer message together at the start of `out`.
///
/// The result never catches up with what is still to be read of the plaintext, if `out` is at least as long as the
/// protected message and the plaintext followed by its tag ends where `out` ends: the options that are left out free
/// more bytes than any longer delta needs.
pub(crate) fn reassemble(
    outer: &Message<'_>,
    is_request: bool,
    out: &mut [u8],
    plaintext: core::ops::Range<usize>,
) -> Result<usize, Error> {
    let code = check_inner(out.get(plaintext.clone()).unwrap_or_default(), is_request)?;
    let mut writer = OptionWriter::new(out);
    write_header(&mut writer, outer.kind(), code, outer.message_id(), outer.token())?;

    let mut outer_options = outer.options().filter(|opt| class(opt.number) == Class::Outer).peekable();
    let mut at = plaintext.start + 1;
    let mut last_number = 0;
    loop {
        let inner = next_option(writer.out.get(at..plaintext.end).unwrap_or_default(), last_number)?;
        match (outer_options.peek(), inner) {
            (Some(opt), Some(inner)) if opt.number == inner.number => {
                outer_options.next(); // section 8.2: the inner one counts
            }
            (Some(opt), inner) if inner.is_none_or(|inner| opt.number < inner.number) => {
                writer.option(opt.number, opt.value)?;
                outer_options.next();
            }
            (_, Some(inner)) => {
                writer.option_head(inner.number, inner.value_len)?;
                writer.move_within(at + inner.encoded_len - inner.value_len..at + inner.encoded_len)?;
                at += inner.encoded_len;
                last_number = inner.number;
            }
            (_, None) => break,
        }
    }
    writer.move_within(at..plaintext.end)?; // payload marker and payload, or nothing
    Ok(writer.len)
}

/// Checks a plaintext as a whole: a code of the right direction, well-formed options, none that may not be inside.
fn check_inner(plaintext: &[u8], is_request: bool) -> Result<Code, Error> {
    let (&code, body) = plaintext.split_first().ok_or(Error::Inner)?;
    let code = Code::from_byte(code).map_err(|_| Error::Inner)?;
    let right_direction = if is_request { code.is_request() } else { code.is_response() };
    split_body(body).map_err(|_| Error::Inner)?;
    let mut options = Decoder::new(body);
    while let Some(opt) = options.next().map_err(|_| Error::Inner)? {
        if class(opt.number) == Class::Unprotectable {
            return Err(Error::Inner);
        }
    }
    if right_direction { Ok(code) } else { Err(Error::Inner) }
}

/// Where an inner option is; no borrow, so that the bytes can be moved.
#[derive(Clone, Copy)]
struct InnerOption {
    number: u16,
    value_len: usize,
    encoded_len: usize,
}

fn next_option(bytes: &[u8], last_number: u16) -> Result<Option<InnerOption>, Error> {
    let mut decoder = Decoder::after(bytes, last_number);
    let option = decoder.next()?;
    Ok(option.map(|opt| InnerOption {
        number: opt.number,
        value_len: opt.value.len(),
        encoded_len: decoder.position(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    /// What lies behind an authentic tag is still a stranger's text: any plaintext, in any outer message.
    fn any_plaintext() -> impl Strategy<Value = Vec<u8>> {
        // Mostly bytes that mean something in an option list.
        let byte = prop_oneof![
            any::<u8>(),
            prop::sample::select(&[0x00, 0x02, 0x44, 0xb1, 0xd1, 0xe0, 0xff, 0x10, 0x61][..])
        ];
        prop::collection::vec(byte, 0..40)
    }

    #[test]
    fn the_inner_option_counts_where_both_are_there() {
        // Uri-Host "out" and Uri-Port 1 outside, Uri-Host "in" and Uri-Path "l" inside.
        let outer = Message::parse(b"\x51\x02\x00\x01\x07\x33out\x41\x01\xffciphertext").unwrap();
        let plaintext = b"\x02\x32in\x81l\xffgo";
        let mut out = [0; 64];
        out[40..40 + plaintext.len()].copy_from_slice(plaintext);
        let len = reassemble(&outer, true, &mut out, 40..40 + plaintext.len()).unwrap();
        assert_eq!(out[..len], *b"\x51\x02\x00\x01\x07\x32in\x41\x01\x41l\xffgo");
    }

    proptest! {
        #[test]
        fn any_plaintext_becomes_a_message_or_is_refused(
            plaintext in any_plaintext(),
            outer in any_plaintext(),
            is_request: bool,
            spare in 0..4_usize,
        ) {
            // An outer message with whatever options `outer` happens to hold, then OSCORE's place, then a ciphertext.
            let options = split_body(&outer).map_or(&[][..], |(options, _)| options);
            let mut message = vec![0x51, 0x02, 0, 1, 7];
            message.extend_from_slice(options);
            message.push(0xff);
            message.extend(vec![0xcc; plaintext.len() + 8]);
            // The caller has found an OSCORE option before; without one there is a byte less of room.
            let room = message.len() + 1 + spare;
            let parsed = Message::parse(&message).unwrap();
            let mut out = vec![0; room];
            let at = room - plaintext.len() - 8;
            out[at..room - 8].copy_from_slice(&plaintext);
            match reassemble(&parsed, is_request, &mut out, at..room - 8) {
                Ok(len) => {
                    let whole = Message::parse(&out[..len]).unwrap();
                    let (inner, payload) = split_body(&plaintext[1..]).unwrap();
                    prop_assert_eq!(whole.code().to_byte(), plaintext[0]);
                    prop_assert_eq!(whole.code().is_request(), is_request);
                    prop_assert_eq!(whole.payload(), payload);
                    let mut decoder = Decoder::new(inner);
                    while let Some(opt) = decoder.next().unwrap() {
                        prop_assert!(whole.options().any(|o| o == opt));
                    }
                }
                Err(error) => prop_assert_eq!(error, Error::Inner),
            }
        }
    }
}
