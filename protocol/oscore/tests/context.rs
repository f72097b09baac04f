//! Rules of a context that no vector shows: limits, bindings, Echo, retirement, and round trips of arbitrary messages.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper that fails is a failing test")]

use cardea_oscore::coap::{Builder, Code, Message, Type, option};
use cardea_oscore::{Algorithm, Binding, Context, Error, OscoreOption, echo};
use proptest::prelude::*;

const ALGORITHMS: [Algorithm; 2] = [Algorithm::AesCcm16_64_128, Algorithm::ChaCha20Poly1305];

fn pair(algorithm: Algorithm) -> (Context, Context) {
    let secret = &[7; 32][..algorithm.key_len()];
    let derive = |sender: &[u8], recipient: &[u8]| {
        Context::derive(algorithm, secret, &[1; 8], None, sender, recipient).unwrap()
    };
    (derive(&[0x0c], &[0x05]), derive(&[0x05], &[0x0c]))
}

fn request(out: &mut [u8]) -> usize {
    Builder::request(out, Code::POST, 9)
        .unwrap()
        .option(option::URI_PATH, b"l")
        .unwrap()
        .payload(b"go")
        .unwrap()
}

#[test]
fn ids_must_fit_and_differ() {
    let derive = |algorithm, sender: &[u8], recipient: &[u8]| {
        Context::derive(algorithm, &[7; 32], &[], None, sender, recipient).map(drop)
    };
    assert_eq!(derive(Algorithm::AesCcm16_64_128, &[1; 7], &[2; 7]), Ok(()));
    assert_eq!(derive(Algorithm::AesCcm16_64_128, &[1; 8], &[2]), Err(Error::IdTooLong));
    assert_eq!(derive(Algorithm::ChaCha20Poly1305, &[1; 6], &[2; 6]), Ok(()));
    assert_eq!(derive(Algorithm::ChaCha20Poly1305, &[2], &[1; 7]), Err(Error::IdTooLong));
    assert_eq!(derive(Algorithm::AesCcm16_64_128, &[], &[]), Err(Error::IdsEqual));
    let long = Context::derive(Algorithm::AesCcm16_64_128, &[7; 16], &[], Some(&[0; 17]), &[1], &[2]);
    assert_eq!(long.map(drop), Err(Error::IdTooLong));
    let empty = Context::derive(Algorithm::AesCcm16_64_128, &[], &[], None, &[1], &[2]);
    assert_eq!(empty.map(drop), Err(Error::InvalidState));
}

#[test]
fn partial_iv_above_40_bits_is_refused() {
    let (client, _) = pair(ALGORITHMS[0]);
    let (mut plain, mut out) = ([0; 64], [0; 128]);
    let len = request(&mut plain);
    assert!(client.protect_request((1 << 40) - 1, &plain[..len], &mut out).is_ok());
    assert_eq!(client.protect_request(1 << 40, &plain[..len], &mut out), Err(Error::SequenceExhausted));
}

#[test]
fn the_nonce_of_a_request_serves_one_response() {
    for algorithm in ALGORITHMS {
        let (mut client, mut server) = pair(algorithm);
        let (mut plain, mut wire, mut out) = ([0; 64], [0; 128], [0; 128]);
        let len = request(&mut plain);
        let (len, sent) = client.protect_request(9, &plain[..len], &mut wire).unwrap();
        let (_, mut received) = server.unprotect_request(&wire[..len], &mut out).unwrap();
        let reply = Builder::response(&mut plain, Code::CHANGED, &[9], None).unwrap().payload(b"ok").unwrap();

        let len = server.protect_response(&mut received, None, &plain[..reply], &mut wire).unwrap();
        assert_eq!(client.unprotect_response(&sent, &wire[..len], &mut out).unwrap(), (reply, None));
        assert_eq!(
            server.protect_response(&mut received, None, &plain[..reply], &mut wire),
            Err(Error::WrongBinding),
            "a second response under the same nonce"
        );
        let len = server.protect_response(&mut received, Some(0), &plain[..reply], &mut wire).unwrap();
        assert_eq!(client.unprotect_response(&sent, &wire[..len], &mut out).unwrap(), (reply, Some(0)));

        let mut restored = Binding::restore(received.kid(), received.partial_iv()).unwrap();
        let refused = server.protect_response(&mut restored, None, &plain[..reply], &mut wire);
        assert_eq!(refused, Err(Error::WrongBinding), "a restored binding may have been answered before");
    }
}

#[test]
fn a_binding_belongs_to_one_direction() {
    let (mut client, server) = pair(ALGORITHMS[0]);
    let (mut plain, mut out) = ([0; 64], [0; 128]);
    let len = Builder::response(&mut plain, Code::CHANGED, &[9], None).unwrap().finish();
    let mut from_client = Binding::restore(&[0x0c], 9).unwrap();
    let len = server.protect_response(&mut from_client, Some(1), &plain[..len], &mut out).unwrap();
    let wire = out;
    let foreign = Binding::restore(&[0x05], 9).unwrap();
    assert_eq!(client.unprotect_response(&foreign, &wire[..len], &mut out), Err(Error::WrongBinding));
    let other_request = Binding::restore(&[0x0c], 8).unwrap();
    assert_eq!(client.unprotect_response(&other_request, &wire[..len], &mut out), Err(Error::Decrypt));
}

#[test]
fn only_requests_are_protected_as_requests() {
    let (client, server) = pair(ALGORITHMS[0]);
    let (mut plain, mut out) = ([0; 64], [0; 128]);
    let len = Builder::response(&mut plain, Code::CHANGED, &[9], None).unwrap().finish();
    assert_eq!(client.protect_request(1, &plain[..len], &mut out), Err(Error::NotProtectable));
    let len = request(&mut plain);
    let mut binding = Binding::restore(&[0x0c], 9).unwrap();
    assert_eq!(
        server.protect_response(&mut binding, Some(1), &plain[..len], &mut out),
        Err(Error::NotProtectable)
    );
    for number in [option::OSCORE, option::PROXY_URI] {
        let len = Builder::request(&mut plain, Code::GET, 1).unwrap().option(number, b"x").unwrap().finish();
        assert_eq!(
            client.protect_request(1, &plain[..len], &mut out),
            Err(Error::NotProtectable),
            "{number}"
        );
    }
}

#[test]
fn wrong_tags_retire_the_context() {
    let (client, mut server) = pair(ALGORITHMS[0]);
    let (mut plain, mut wire, mut out) = ([0; 64], [0; 128], [0; 128]);
    let plain_len = request(&mut plain);
    let (len, _) = client.protect_request(9, &plain[..plain_len], &mut wire).unwrap();
    let mut forged = wire;
    forged[len - 1] ^= 1;

    assert_eq!(Context::MAX_FAILED_TAGS, 65_536);
    server = server.with_failed_tags(Context::MAX_FAILED_TAGS - 2);
    assert_eq!(server.unprotect_request(&forged[..len], &mut out), Err(Error::Decrypt));
    assert!(server.unprotect_request(&wire[..len], &mut out).is_ok(), "still below the cap");
    assert_eq!(server.unprotect_request(&forged[..len], &mut out), Err(Error::Decrypt));
    assert!(server.is_retired());
    assert_eq!(server.unprotect_request(&wire[..len], &mut out), Err(Error::Retired), "even a genuine one");
    assert_eq!(server.protect_request(0, &plain[..plain_len], &mut out).map(drop), Err(Error::Retired));
}

#[test]
fn frames_for_other_contexts_do_not_count_as_forgeries() {
    let (client, _) = pair(ALGORITHMS[0]);
    let mut other = Context::derive(ALGORITHMS[0], &[8; 16], &[], None, &[0x05], &[0x0d]).unwrap();
    let (mut plain, mut wire, mut out) = ([0; 64], [0; 128], [0; 128]);
    let len = request(&mut plain);
    let (len, _) = client.protect_request(9, &plain[..len], &mut wire).unwrap();
    assert_eq!(other.unprotect_request(&wire[..len], &mut out), Err(Error::UnknownContext));
    assert_eq!(other.failed_tags(), 0);
}

#[test]
fn protection_adds_at_most_what_is_promised() {
    let derive = |sender: &[u8], recipient: &[u8]| {
        Context::derive(Algorithm::ChaCha20Poly1305, &[7; 32], &[], Some(&[9; 16]), sender, recipient)
            .unwrap()
    };
    let mut plain = [0; 64];
    let len =
        Builder::request(&mut plain, Code::GET, 1).unwrap().option(option::URI_PATH, b"s").unwrap().finish();
    let mut out = [0; 64 + Context::MAX_OVERHEAD];
    let room = len + Context::MAX_OVERHEAD;
    let (protected, _) =
        derive(&[1; 6], &[2; 6]).protect_request((1 << 40) - 1, &plain[..len], &mut out[..room]).unwrap();
    assert_eq!(
        protected,
        len + Context::MAX_OVERHEAD - 1,
        "AES-CCM has ids one byte longer, and shorter tags"
    );
    let wire = out;
    let (opened, _) = derive(&[2; 6], &[1; 6]).unprotect_request(&wire[..protected], &mut out).unwrap();
    assert_eq!(out[..opened], plain[..len]);
}

/// RFC 8613 section 8.2.
#[test]
fn error_responses() {
    let (client, mut server) = pair(ALGORITHMS[0]);
    let (mut plain, mut wire, mut out) = ([0; 64], [0; 128], [0; 128]);
    let plain_len = request(&mut plain);
    let (len, _) = client.protect_request(9, &plain[..plain_len], &mut wire).unwrap();
    let mut code = |message: &[u8]| server.unprotect_request(message, &mut out).unwrap_err().response_code();
    assert_eq!(code(&plain[..plain_len]), Some(Code::UNAUTHORIZED), "not protected");
    let mut changed = wire;
    changed[len - 1] ^= 1;
    assert_eq!(code(&changed[..len]), Some(Code::BAD_REQUEST), "forged");
    changed = wire;
    changed[6] |= 0x80; // the OSCORE option's flags
    assert_eq!(code(&changed[..len]), Some(Code::BAD_OPTION), "malformed option");
    assert_eq!(code(b""), None, "not even CoAP");
}

#[test]
fn echo_challenge_and_proof() {
    let (mut client, mut server) = pair(ALGORITHMS[0]);
    let (mut plain, mut wire, mut out) = ([0; 64], [0; 128], [0; 128]);
    let len = request(&mut plain);
    let (len, sent) = client.protect_request(9, &plain[..len], &mut wire).unwrap();
    let (len, mut received) = server.unprotect_request(&wire[..len], &mut out).unwrap();
    let unproven = Message::parse(&out[..len]).unwrap();
    assert!(!echo::proves_freshness(&unproven, b"12345678"));

    let len = echo::challenge(unproven.token(), 64, b"12345678", &mut plain).unwrap();
    let len = server.protect_response(&mut received, Some(64), &plain[..len], &mut wire).unwrap();
    let (len, own) = client.unprotect_response(&sent, &wire[..len], &mut out).unwrap();
    let response = Message::parse(&out[..len]).unwrap();
    assert_eq!((response.code(), own), (Code::UNAUTHORIZED, Some(64)));
    let value = echo::value(&response).unwrap().unwrap();

    let len =
        Builder::request(&mut plain, Code::POST, 10).unwrap().option(option::ECHO, value).unwrap().finish();
    let (len, _) = client.protect_request(10, &plain[..len], &mut wire).unwrap();
    // The value travels inside: neither its bytes nor its option number are in the clear.
    assert!(!wire[..len].windows(8).any(|window| window == b"12345678"));
    let (len, _) = server.unprotect_request(&wire[..len], &mut out).unwrap();
    let proven = Message::parse(&out[..len]).unwrap();
    assert!(echo::proves_freshness(&proven, b"12345678"));
    assert!(!echo::proves_freshness(&proven, b"12345679"));
    assert!(!echo::proves_freshness(&proven, b""));
}

#[test]
fn an_outer_echo_proves_nothing() {
    let (client, mut server) = pair(ALGORITHMS[0]);
    let (mut plain, mut wire, mut out) = ([0; 64], [0; 128], [0; 128]);
    let len = request(&mut plain);
    let (len, _) = client.protect_request(9, &plain[..len], &mut wire).unwrap();
    let protected = Message::parse(&wire[..len]).unwrap();
    let oscore = protected.option(option::OSCORE).unwrap();
    let mut forged = [0; 128];
    let len = Builder::request(&mut forged, Code::POST, 9)
        .and_then(|b| {
            b.option(option::OSCORE, oscore)?.option(option::ECHO, b"12345678")?.payload(protected.payload())
        })
        .unwrap();
    let (len, _) = server.unprotect_request(&forged[..len], &mut out).unwrap();
    assert!(!echo::proves_freshness(&Message::parse(&out[..len]).unwrap(), b"12345678"));
}

#[test]
fn malformed_echo_values() {
    let mut out = [0; 128];
    for value in [&[][..], &[0; 41]] {
        let len =
            Builder::request(&mut out, Code::GET, 0).unwrap().option(option::ECHO, value).unwrap().finish();
        assert_eq!(echo::value(&Message::parse(&out[..len]).unwrap()), Err(Error::CoapOption));
    }
    assert_eq!(echo::challenge(&[1], 0, &[], &mut out), Err(Error::CoapOption));
    assert_eq!(echo::challenge(&[1], 0, &[0; 9], &mut out), Err(Error::CoapOption));
}

/// Options of every class, ascending, with deltas that need no, one and two extension bytes.
fn options() -> impl Strategy<Value = Vec<(u16, Vec<u8>)>> {
    let number = prop_oneof![
        Just(option::URI_HOST),
        Just(option::URI_PORT),
        Just(option::PROXY_SCHEME),
        Just(option::HOP_LIMIT),
        Just(option::URI_PATH),
        Just(option::ECHO),
        0..400_u16,
        any::<u16>(),
    ]
    .prop_filter("without rules of their own", |number| ![6, 9, 35].contains(number));
    let value = prop_oneof![4 => prop::collection::vec(any::<u8>(), 0..16), 1 => prop::collection::vec(any::<u8>(), 250..290)];
    prop::collection::vec((number, value), 0..8).prop_map(|mut options| {
        options.sort_by_key(|(number, _)| *number);
        options
    })
}

fn build(kind: Type, code: Code, token: &[u8], options: &[(u16, Vec<u8>)], payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 4096];
    let builder = Builder::new(&mut out, kind, code, 0x1234, token).unwrap();
    let builder =
        options.iter().fold(builder, |builder, (number, value)| builder.option(*number, value).unwrap());
    let len = builder.payload(payload).unwrap();
    out.truncate(len);
    out
}

proptest! {
    #[test]
    fn any_message_survives_both_ways(
        options in options(),
        token in prop::collection::vec(any::<u8>(), 0..=8),
        payload in prop::collection::vec(any::<u8>(), 0..200),
        number in 0..1_u64 << 40,
        own in prop::option::of(0..1_u64 << 40),
        algorithm in prop::sample::select(&ALGORITHMS[..]),
    ) {
        let (mut client, mut server) = pair(algorithm);
        let mut wire = vec![0; 8192];
        let plain = build(Type::Confirmable, Code::POST, &token, &options, &payload);
        let (len, sent) = client.protect_request(number, &plain, &mut wire).unwrap();
        let mut tight = vec![0; len]; // what `unprotect_request` asks for, and no byte more
        let (out_len, mut received) = server.unprotect_request(&wire[..len], &mut tight).unwrap();
        prop_assert_eq!(&tight[..out_len], &plain[..]);

        let plain = build(Type::Acknowledgement, Code::CONTENT, &token, &options, &payload);
        let len = server.protect_response(&mut received, own, &plain, &mut wire).unwrap();
        let mut tight = vec![0; len];
        let (out_len, _) = client.unprotect_response(&sent, &wire[..len], &mut tight).unwrap();
        prop_assert_eq!(&tight[..out_len], &plain[..]);
    }

    /// Whatever options somebody adds outside: those for proxies arrive unless they are also inside, the rest does not.
    #[test]
    fn outer_options_never_reach_inside(inner in options(), added in options()) {
        let (client, mut server) = pair(ALGORITHMS[0]);
        let mut wire = vec![0; 8192];
        let secret: Vec<_> = inner.into_iter().filter(|(number, _)| ![3, 7, 16, 39].contains(number)).collect();
        let plain = build(Type::NonConfirmable, Code::POST, &[1], &secret, b"payload");
        let (len, _) = client.protect_request(5, &plain, &mut wire).unwrap();
        let protected = Message::parse(&wire[..len]).unwrap();
        let mut outer = added.clone();
        outer.push((option::OSCORE, protected.option(option::OSCORE).unwrap().to_vec()));
        outer.sort_by_key(|(number, _)| *number);
        let tampered = build(Type::NonConfirmable, Code::POST, &[1], &outer, protected.payload());

        let mut tight = vec![0; tampered.len()];
        let (out_len, _) = server.unprotect_request(&tampered, &mut tight).unwrap();
        let mut expected = secret;
        expected.extend(added.into_iter().filter(|(number, _)| [3, 7, 16, 39].contains(number)));
        expected.sort_by_key(|(number, _)| *number);
        prop_assert_eq!(&tight[..out_len], &build(Type::NonConfirmable, Code::POST, &[1], &expected, b"payload")[..]);
    }

    #[test]
    fn any_single_bit_flip_is_refused_or_harmless(bit in 0..300_usize) {
        let (client, mut server) = pair(ALGORITHMS[0]);
        let (mut plain, mut wire, mut out) = ([0; 64], [0; 128], [0; 128]);
        let plain_len = request(&mut plain);
        let (len, _) = client.protect_request(0x1409, &plain[..plain_len], &mut wire).unwrap();
        let bit = bit % (len * 8);
        wire[bit / 8] ^= 1 << (bit % 8);
        if let Ok((out_len, _)) = server.unprotect_request(&wire[..len], &mut out) {
            // Type, code, Message ID and token are not protected by OSCORE; everything else is as it was sent.
            prop_assert!(bit / 8 < 5);
            let (got, sent) = (Message::parse(&out[..out_len]).unwrap(), Message::parse(&plain[..plain_len]).unwrap());
            prop_assert_eq!(got.code(), sent.code());
            prop_assert_eq!(got.options().collect::<Vec<_>>(), sent.options().collect::<Vec<_>>());
            prop_assert_eq!(got.payload(), sent.payload());
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), room in 0..256_usize) {
        let (mut client, mut server) = pair(ALGORITHMS[0]);
        let mut out = vec![0; room];
        let _ = server.unprotect_request(&bytes, &mut out);
        let _ = client.unprotect_response(&Binding::restore(&[0x0c], 1).unwrap(), &bytes, &mut out);
        let _ = client.protect_request(1, &bytes, &mut out);
    }
}

/// Ids of one byte collide; whoever holds several contexts under one id tries them in turn (RFC 8613 §3.1 leaves
/// uniqueness to whoever chooses ids, and two peers may choose the same Sender ID towards one server).
#[test]
fn of_two_contexts_under_one_recipient_id_the_right_one_opens() {
    let (client, _) = pair(ALGORITHMS[0]);
    let right = || pair(ALGORITHMS[0]).1;
    let other = || Context::derive(ALGORITHMS[0], &[9; 16], &[9; 8], None, &[0x05], &[0x0c]).unwrap();
    let (mut plain, mut wire, mut out) = ([0; 128], [0; 128], [0; 128]);
    let len = request(&mut plain);
    let (len, _) = client.protect_request(5, &plain[..len], &mut wire).unwrap();
    let message = Message::parse(&wire[..len]).unwrap();
    let option = OscoreOption::of(&message).unwrap();
    for mut held in [[other(), right()], [right(), other()]] {
        assert!(held.iter().all(|context| context.matches(&option)), "both are named");
        let opened: Vec<bool> = held
            .iter_mut()
            .map(|context| context.unprotect_request(&wire[..len], &mut out).is_ok())
            .collect();
        assert_eq!(opened.iter().filter(|opened| **opened).count(), 1);
        // The miss costs the other context one of its 2^16 failed tags, and nothing else.
        let counted: Vec<u32> = held.iter().map(Context::failed_tags).collect();
        assert_eq!(counted, opened.iter().map(|opened| u32::from(!opened)).collect::<Vec<_>>());
    }
}
