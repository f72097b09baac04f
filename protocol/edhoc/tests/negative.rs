//! The malformed and attack inputs of `negative.json` that concern EDHOC: suites 2 and 4, methods 0 and 3.
#![allow(clippy::unwrap_used, clippy::unwrap_in_result, clippy::indexing_slicing, clippy::panic)] // a panic here is a verdict

mod common;

use cardea_edhoc::{Error, MAX_MESSAGE};
use common::{Transcript, bytes};
use serde_json::Value;

const NEGATIVE: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/negative.json"));

/// The class of the vectors that an error belongs to.
fn class(error: Error) -> &'static str {
    match error {
        Error::Malformed | Error::TooLong => "decode_error",
        Error::NonDeterministic => "non_deterministic",
        Error::UnsupportedMethod => "unsupported_method",
        Error::WrongSuite => "wrong_selected_suite",
        Error::InvalidKey => "invalid_key",
        Error::BadIdentifier | Error::SameIdentifier => "bad_identifier",
        Error::CriticalEad => "ead_error",
        Error::UnknownCredential | Error::UnsupportedCredential => "unknown_credential",
        Error::Authentication => "auth_failed",
        Error::Decryption => "decrypt_failed",
        Error::WrongOrder => "bad_state",
        other => panic!("{other:?} is not the peer's fault"),
    }
}

/// Delivers the case's input to the right end in the right state.
fn outcome(case: &Value, input: &[u8]) -> Result<(), Error> {
    let t = Transcript::named(case["base"].as_str().unwrap());
    let mut plaintext = [0; MAX_MESSAGE];
    match (case["id"].as_str().unwrap(), case["target"].as_str().unwrap()) {
        ("m3-before-m1", _) => t.receive_3(&mut t.new_responder(), input),
        ("m3-replay", _) => {
            let mut responder = t.responder_sent_2();
            t.receive_3(&mut responder, input).unwrap();
            let before = responder.oscore().unwrap();
            let result = t.receive_3(&mut responder, input);
            assert_eq!(before.secret(), responder.oscore().unwrap().secret(), "a duplicate changed the keys");
            result
        }
        (_, "message_1") => t.new_responder().handle_message_1(input).map(drop),
        (_, "message_2") => t.receive_2(&mut t.initiator_sent_1(), input),
        (_, "message_3") => t.receive_3(&mut t.responder_sent_2(), input),
        (_, "message_4") => t.initiator_sent_3().handle_message_4(input, &mut plaintext).map(drop),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_input_is_rejected_as_its_class_says() {
    let all: Value = serde_json::from_str(NEGATIVE).unwrap();
    let cases = all["edhoc"].as_array().unwrap();
    let (mut count, mut wrong) = (0, Vec::new());
    for case in cases {
        count += 1;
        let id = case["id"].as_str().unwrap();
        assert!(matches!(case["reject"].as_str(), Some("MUST" | "SHOULD" | "MAY")), "{id}");
        match outcome(case, &bytes(&case["input"])) {
            Ok(()) => wrong.push(format!("{id}: accepted")),
            Err(error) => {
                let class = class(error);
                let allowed = |expected: &Value| {
                    // A duplicate is a message out of order to us.
                    expected == class || (expected == "duplicate" && class == "bad_state")
                };
                let also = case["also_acceptable"].as_array().is_some_and(|also| also.iter().any(allowed));
                if !allowed(&case["expected_class"]) && !also {
                    wrong.push(format!("{id}: {error:?}, expected {}", case["expected_class"]));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(count, 109);
}

/// The harness rejects nothing by itself: the genuine messages pass it.
#[test]
fn the_genuine_messages_pass() {
    for (base, number) in
        ["s2-m3-kid", "s2-m0-kid", "s4-m3-kid"].into_iter().flat_map(|b| [1, 2, 3, 4].map(|n| (b, n)))
    {
        let t = Transcript::named(base);
        let case = serde_json::json!({
            "id": "genuine", "base": base, "target": format!("message_{number}"),
        });
        assert_eq!(outcome(&case, &t.message(number)), Ok(()));
    }
}
