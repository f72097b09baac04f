//! What goes on air: framing's header byte and elided OSCORE around the payloads of `cardea-resources`, before padding.
//! Sequence numbers are three bytes, connection ids one, so this holds for a context's whole life.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper that fails is a failing test")]

use cardea_oscore::coap::{Builder, Code, Message, option};
use cardea_oscore::{Algorithm, Context, echo};
use cardea_resources::{Bolt, Command, CommandReply, Event, EventKind, EventReply, Op, Outcome, Path, Time};

const NUMBER: u64 = 0xff_ffff;
const HEADER: usize = 1;

fn pair() -> (Context, Context) {
    let derive = |sender: &[u8], recipient: &[u8]| {
        Context::derive(Algorithm::AesCcm16_64_128, &[7; 16], &[1; 8], None, sender, recipient).unwrap()
    };
    (derive(&[0x0c], &[0x05]), derive(&[0x05], &[0x0c]))
}

/// Length on air of a request; also proves that framing restores it and the other side reads it.
fn request(path: Path, echo: &[u8], payload: &[u8]) -> usize {
    let (client, mut server) = pair();
    let (mut plain, mut wire) = ([0; 256], [0; 256]);
    let builder = Builder::request(&mut plain, Code::POST, NUMBER).unwrap();
    let builder = builder.option(option::URI_PATH, path.segment().as_bytes()).unwrap();
    let builder = if echo.is_empty() { builder } else { builder.option(option::ECHO, echo).unwrap() };
    let plain_len = builder.payload(payload).unwrap();
    let (len, _) = client.protect_request(NUMBER, &plain[..plain_len], &mut wire).unwrap();
    let (elided_len, restored) = over_the_air(&wire[..len]);
    let mut out = [0; 256];
    let (out_len, _) = server.unprotect_request(&restored, &mut out).unwrap();
    assert_eq!(out[..out_len], plain[..plain_len]);
    elided_len
}

/// Length on air of the 2.04 to a request.
fn response(payload: &[u8], own: Option<u64>, code: Code, echo: Option<&[u8]>) -> usize {
    let (client, mut server) = pair();
    let (mut plain, mut wire, mut out) = ([0; 256], [0; 256], [0; 256]);
    let len = Builder::request(&mut plain, Code::POST, NUMBER).unwrap().finish();
    let (len, _) = client.protect_request(NUMBER, &plain[..len], &mut wire).unwrap();
    let (len, mut binding) = server.unprotect_request(&wire[..len], &mut out).unwrap();
    let token = Message::parse(&out[..len]).unwrap().token().to_vec();
    let len = match echo {
        Some(value) => echo::challenge(&token, own.unwrap(), value, &mut plain).unwrap(),
        None => Builder::response(&mut plain, code, &token, own).unwrap().payload(payload).unwrap(),
    };
    let len = server.protect_response(&mut binding, own, &plain[..len], &mut wire).unwrap();
    over_the_air(&wire[..len]).0
}

fn over_the_air(message: &[u8]) -> (usize, Vec<u8>) {
    let (mut elided, mut restored) = ([0; 256], [0; 256]);
    let elided_len = cardea_framing::elide(message, &mut elided).unwrap();
    let restored_len = cardea_framing::restore(&elided[..elided_len], &mut restored).unwrap();
    assert_eq!(restored[..restored_len], *message);
    (HEADER + elided_len, restored[..restored_len].to_vec())
}

fn encoded(encode: impl FnOnce(&mut [u8]) -> Result<usize, cardea_resources::Error>) -> Vec<u8> {
    let mut out = [0; 64];
    let len = encode(&mut out).unwrap();
    out[..len].to_vec()
}

#[test]
fn commands() {
    let unlock = Command { id: [0xff; 4], op: Op::Unlock, not_after: None };
    let payload = encoded(|out| unlock.encode(out));
    assert_eq!(request(Path::Bolt, &[9; 4], &payload), 33, "unlock on a challenge the lock sent");
    assert_eq!(request(Path::Bolt, &[9; 8], &payload), 37, "unlock on a 4.01 Echo: at most 40");
    let payload = encoded(|out| Command { not_after: Some(u32::MAX), ..unlock }.encode(out));
    assert_eq!(request(Path::Bolt, &[], &payload), 33, "unlock by time");
    assert_eq!(request(Path::Bolt, &[9; 8], &payload), 43, "everything at once: at most 44");
    assert_eq!(request(Path::Time, &[], &encoded(|out| Time { unix: u32::MAX }.encode(out))), 25);
}

#[test]
fn replies() {
    let reply = CommandReply { id: [0xff; 4], outcome: Outcome::Done, bolt: Bolt::Unlocked };
    let payload = encoded(|out| reply.encode(out));
    assert_eq!(response(&payload, None, Code::CHANGED, None), 24);
    assert_eq!(response(&payload, Some(NUMBER), Code::CHANGED, None), 27);
    assert_eq!(response(&[], Some(NUMBER), Code::UNAUTHORIZED, Some(&[9; 8])), 25, "Echo challenge");
    let payload = encoded(|out| EventReply { cursor: Some(u32::MAX), time: Some(u32::MAX) }.encode(out));
    assert_eq!(response(&payload, None, Code::CHANGED, None), 26);
}

#[test]
fn events() {
    let touch = Event { challenge: [0xff; 4], kind: EventKind::Touch, log: None, value: None, at: None };
    assert_eq!(request(Path::Events, &[], &encoded(|out| touch.encode(out))), 27);
    let bolt =
        Event { kind: EventKind::Bolt, log: Some(u32::MAX), value: Some(1), at: Some(u32::MAX), ..touch };
    assert_eq!(request(Path::Events, &[], &encoded(|out| bolt.encode(out))), 41);
    let largest = Event { kind: EventKind::Other(255), value: Some(u32::MAX), ..bolt };
    assert_eq!(
        request(Path::Events, &[], &encoded(|out| largest.encode(out))),
        46,
        "nothing interactive above 48"
    );
}

#[test]
fn padded_frames_have_two_sizes() {
    let padder = cardea_resources::Padder { mtu: 51 };
    let unlock = Command { id: [1; 4], op: Op::Unlock, not_after: None };
    for (echo, expected) in [(&[9; 4][..], 48), (&[9; 8], 48), (&[], 32)] {
        let mut payload = [0xaa; 64];
        let len = unlock.encode(&mut payload).unwrap();
        let padding = padder.padding(request(Path::Bolt, echo, &payload[..len]));
        let padded = cardea_resources::pad(&mut payload, len, len + padding).unwrap();
        assert_eq!(request(Path::Bolt, echo, &payload[..padded]), expected);
        assert_eq!(Command::decode(&payload[..padded]), Ok(unlock));
    }
}

/// The example of docs/protocol.md, byte for byte.
#[test]
fn the_documented_unlock() {
    let (client, _) = pair();
    let (mut plain, mut wire, mut air) = ([0; 64], [0; 64], [0; 64]);
    let mut payload = [0; 16];
    let len = Command { id: [1, 2, 3, 4], op: Op::Unlock, not_after: None }.encode(&mut payload).unwrap();
    let len = Builder::request(&mut plain, Code::POST, 0x0123)
        .and_then(|b| {
            b.option(option::URI_PATH, b"l")?.option(option::ECHO, &[9, 8, 7, 6])?.payload(&payload[..len])
        })
        .unwrap();
    assert_eq!(hex::encode(&plain[..len]), "5102012323b16cd4e409080706ffa20044010203040101");
    let (len, _) = client.protect_request(0x0123, &plain[..len], &mut wire).unwrap();
    assert_eq!(
        hex::encode(&wire[..len]),
        "5102012323940a01230cff0de72503b83cdc726b9b86f89ffbcef69304044b30cc2c9459d943"
    );
    let len = cardea_framing::elide(&wire[..len], &mut air).unwrap();
    assert_eq!(hex::encode(&air[..len]), "0a01230c0de72503b83cdc726b9b86f89ffbcef69304044b30cc2c9459d943");
}
