//! Malformed and attack inputs, each refused for its own reason.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper that fails is a failing test")]

use cardea_oscore::coap::{Code, Message};
use cardea_oscore::{Algorithm, Binding, Context, Error, ReplayGuard, Window};
use serde_json::Value;

const AIOCOAP: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/oscore-aiocoap.json"));
const NEGATIVE: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/negative.json"));

#[test]
fn every_negative_input() {
    let exchanges: Value = serde_json::from_str(AIOCOAP).unwrap();
    let negative: Value = serde_json::from_str(NEGATIVE).unwrap();
    let cases = negative["oscore"].as_array().unwrap();
    assert_eq!(cases.len(), 48);
    for case in cases {
        let base =
            exchanges["exchanges"].as_array().unwrap().iter().find(|e| e["name"] == case["base"]).unwrap();
        check(case, base);
    }
}

fn check(case: &Value, base: &Value) {
    let id = case["id"].as_str().unwrap();
    let input = bytes(case, "input");
    let mut out = [0; 512];
    let mut window = Window::new();
    let (result, failed_tags) = match case["target"].as_str().unwrap() {
        "request" => {
            let mut server = context(base, "server_id", "client_id");
            for earlier in case["precondition_messages_accepted_before"].as_array().into_iter().flatten() {
                let message = hex::decode(earlier.as_str().unwrap()).unwrap();
                let (_, binding) = server.unprotect_request(&message, &mut out).unwrap();
                window.commit(binding.partial_iv()).unwrap();
            }
            let before = window.clone();
            out.fill(0); // the accepted messages' plaintext
            let result = server.unprotect_request(&input, &mut out).and_then(|(len, binding)| {
                window.check(binding.partial_iv())?;
                Ok(len)
            });
            assert_eq!(window, before, "{id}");
            (result, server.failed_tags())
        }
        _ => {
            let mut client = context(base, "client_id", "server_id");
            let number = base["request"]["sender_sequence_number"].as_u64().unwrap();
            let binding = Binding::restore(&bytes(base, "client_id"), number).unwrap();
            let result = client.unprotect_response(&binding, &input, &mut out).map(|(len, _)| len);
            (result, client.failed_tags())
        }
    };

    let plain = bytes(&base["request"], "unprotected");
    match (case["expected_class"].as_str().unwrap(), result) {
        // The outer code says nothing: the request is what is inside.
        ("outer_code", Ok(len)) => {
            assert_eq!(Message::parse(&out[..len]).unwrap().code(), Code::POST, "{id}")
        }
        ("ignore_outer", Ok(len)) => assert_eq!(out[..len], plain, "{id}"),
        (class, Err(error)) => assert!(allowed(class, id).contains(&error), "{id}: {class}, got {error:?}"),
        (class, Ok(_)) => assert_eq!(class, "accepted", "{id}"),
    }
    assert_eq!(failed_tags, u32::from(result == Err(Error::Decrypt)), "{id}");
    match result {
        Err(Error::Inner) => assert_eq!(out, [0; 512], "{id}: decrypted, so wiped"),
        Err(error) if error != Error::Replay => assert_no_plaintext(&out, &plain, id),
        _ => {}
    }
}

fn allowed(class: &str, id: &str) -> &'static [Error] {
    match (class, id) {
        // RFC 8613 section 5: no sender writes leading zeros, so this is refused before any key is used.
        ("replay", "o-req-piv-leading-zero-replay") => &[Error::OscoreOption],
        ("replay", _) => &[Error::Replay],
        ("decrypt_failed", _) => &[Error::Decrypt],
        ("unknown_context", _) => &[Error::UnknownContext],
        ("not_protected", _) => &[Error::NotProtected],
        // A ciphertext as long as its tag: refused by its length, before decryption.
        ("decode_error", "o-req-inner-empty") => &[Error::Ciphertext],
        ("decode_error", _) if id.contains("inner") => &[Error::Inner],
        ("decode_error", _) if id.contains("ct-") || id.contains("no-payload") => &[Error::Ciphertext],
        ("decode_error", _) => &[Error::OscoreOption],
        _ => &[],
    }
}

/// A refused message leaves nothing decrypted behind: no run of the genuine plaintext's bytes.
fn assert_no_plaintext(out: &[u8], plain: &[u8], id: &str) {
    let tail = &plain[plain.len() - 8..];
    assert!(!out.windows(8).any(|window| window == tail), "{id}");
}

fn context(exchange: &Value, sender: &str, recipient: &str) -> Context {
    let id_context = exchange["id_context"].as_str().map(|text| hex::decode(text).unwrap());
    Context::derive(
        Algorithm::from_number(exchange["aead_algorithm"].as_i64().unwrap().try_into().unwrap()).unwrap(),
        &bytes(exchange, "master_secret"),
        &bytes(exchange, "master_salt"),
        id_context.as_deref(),
        &bytes(exchange, sender),
        &bytes(exchange, recipient),
    )
    .unwrap()
}

fn bytes(value: &Value, key: &str) -> Vec<u8> {
    hex::decode(value[key].as_str().unwrap()).unwrap()
}
