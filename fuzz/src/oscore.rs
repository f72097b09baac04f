//! What a radio, a broker or a stranger may hand to the end of an OSCORE context.

use cardea_oscore::coap::{Builder, Message};
use cardea_oscore::{Algorithm, Binding, Context, Error, OscoreOption};

/// Keys and ids of exchange a10-post-piv1 in `tests/vectors/oscore-aiocoap.json`, so that seeds made from the vectors
/// decrypt and reach what lies behind the tag.
const SECRET: &[u8] =
    &[0xa5, 0x8d, 0x6d, 0xd1, 0xed, 0xe5, 0x39, 0x60, 0x08, 0x2d, 0xb7, 0x62, 0x77, 0xec, 0xb1, 0xa3];
const SALT: &[u8] = &[0x2c, 0x2e, 0x9b, 0x62, 0x75, 0xa2, 0x45, 0xc3];
const CLIENT: &[u8] = &[1];
const SERVER: &[u8] = &[2];
const REQUEST_NUMBER: u64 = 0x14;

fn context(sender: &[u8], recipient: &[u8]) -> Result<Context, Error> {
    Context::derive(Algorithm::AesCcm16_64_128, SECRET, SALT, None, sender, recipient)
}

/// What parses is what the builder makes of its parts, byte for byte.
pub fn coap_parse(data: &[u8]) {
    let Ok(message) = Message::parse(data) else { return };
    if let Ok(option) = OscoreOption::of(&message) {
        assert!(option.partial_iv.is_none_or(|number| number <= cardea_oscore::MAX_PARTIAL_IV));
    }
    let mut out = vec![0; data.len()];
    let builder =
        Builder::new(&mut out, message.kind(), message.code(), message.message_id(), message.token());
    let builder = message.options().fold(builder, |builder, opt| builder?.option(opt.number, opt.value));
    assert_eq!(builder.and_then(|builder| builder.payload(message.payload())), Ok(data.len()));
    assert_eq!(out, data);
}

/// A request from anybody, and any message protected by ourselves: what comes out is CoAP, and what went in.
pub fn oscore_request(data: &[u8]) {
    let Ok(mut server) = context(SERVER, CLIENT) else { return };
    let mut out = vec![0; data.len()];
    match server.unprotect_request(data, &mut out) {
        Ok((len, binding)) => {
            assert!(Message::parse(out.get(..len).unwrap_or_default()).is_ok_and(|m| m.code().is_request()));
            assert_eq!(binding.kid(), CLIENT);
        }
        Err(error) => assert_eq!(server.failed_tags(), u32::from(error == Error::Decrypt)),
    }

    let Ok(client) = context(CLIENT, SERVER) else { return };
    let mut wire = vec![0; data.len() * 2 + Context::MAX_OVERHEAD];
    if let Ok((len, _)) = client.protect_request(REQUEST_NUMBER, data, &mut wire) {
        wire.truncate(len);
        let mut out = vec![0; len];
        let received = server.unprotect_request(&wire, &mut out).map(|(len, _)| len);
        assert_eq!(received, Ok(data.len()));
        assert_eq!(out.get(..data.len()), Some(data));
    }
}

/// A response from anybody to our one outstanding request.
pub fn oscore_response(data: &[u8]) {
    let (Ok(mut client), Ok(binding)) = (context(CLIENT, SERVER), Binding::restore(CLIENT, REQUEST_NUMBER))
    else {
        return;
    };
    let mut out = vec![0; data.len()];
    match client.unprotect_response(&binding, data, &mut out) {
        Ok((len, _)) => {
            assert!(Message::parse(out.get(..len).unwrap_or_default()).is_ok_and(|m| m.code().is_response()));
        }
        Err(error) => assert_eq!(client.failed_tags(), u32::from(error == Error::Decrypt)),
    }
}
