//! RFC 8613 appendix C and exchanges that aiocoap produced, byte for byte in both directions.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper that fails is a failing test")]

use cardea_oscore::{Algorithm, Context, OscoreOption, coap::Message};
use serde_json::Value;

const RFC8613: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/oscore-rfc8613.json"));
const AIOCOAP: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/oscore-aiocoap.json"));

#[test]
fn rfc8613_messages() {
    let all: Value = serde_json::from_str(RFC8613).unwrap();
    let context = |name: &str| rfc_context(&all["key_derivation"][name]);
    // C.4 to C.6: requests; the server is the counterpart of the client in the same section.
    for (name, client, server) in
        [("C.4", "C.1.1", "C.1.2"), ("C.5", "C.2.1", "C.2.2"), ("C.6", "C.3.1", "C.3.2")]
    {
        let vector = &all["messages"][name];
        let (plain, protected) =
            (bytes(vector, "unprotected_coap_request"), bytes(vector, "protected_coap_request"));
        let mut out = [0; 128];
        let (len, _) = context(client).protect_request(20, &plain, &mut out).unwrap();
        assert_eq!(out[..len], protected, "{name}");
        let (len, binding) = context(server).unprotect_request(&protected, &mut out).unwrap();
        assert_eq!(out[..len], plain, "{name}");
        assert_eq!(binding.partial_iv(), 20);
    }
    // C.7 and C.8: responses to C.4, without and with a Partial IV.
    for (name, own) in [("C.7", None), ("C.8", Some(0))] {
        let vector = &all["messages"][name];
        let (plain, protected) =
            (bytes(vector, "unprotected_coap_response"), bytes(vector, "protected_coap_response"));
        let mut out = [0; 128];
        let request = bytes(&all["messages"]["C.4"], "protected_coap_request");
        let mut server = context("C.1.2");
        let (_, mut binding) = server.unprotect_request(&request, &mut out).unwrap();
        let len = server.protect_response(&mut binding, own, &plain, &mut out).unwrap();
        assert_eq!(out[..len], protected, "{name}");
        let (len, partial_iv) =
            context("C.1.1").unprotect_response(&binding_of(&[], 20), &protected, &mut out).unwrap();
        assert_eq!((&out[..len], partial_iv), (&plain[..], own), "{name}");
    }
}

/// C.1 to C.3 state keys; a context is only observable by what it encrypts, so encrypt an empty-bodied request under
/// the derived context and under one whose derivation inputs differ in one bit.
#[test]
fn rfc8613_derivation_depends_on_every_input() {
    let all: Value = serde_json::from_str(RFC8613).unwrap();
    let request = [0x51, 0x01, 0, 0, 1, 0xb1, b's'];
    let sealed = |vector: &Value| {
        let mut out = [0; 64];
        let (len, _) = rfc_context(vector).protect_request(0, &request, &mut out).unwrap();
        out[..len].to_vec()
    };
    for (_, vector) in all["key_derivation"].as_object().unwrap() {
        for key in ["master_secret", "master_salt", "sender_id", "id_context"] {
            let mut changed = vector.clone();
            let old = changed[key].as_str().unwrap_or_default().to_owned();
            changed[key] = Value::from(if old.is_empty() { "7f".into() } else { format!("7f{}", &old[2..]) });
            assert_ne!(sealed(vector), sealed(&changed), "{key}");
        }
    }
}

#[test]
fn aiocoap_exchanges() {
    let all: Value = serde_json::from_str(AIOCOAP).unwrap();
    let exchanges = all["exchanges"].as_array().unwrap();
    assert_eq!(exchanges.len(), 30);
    let mut responses = 0;
    for exchange in exchanges {
        let name = exchange["name"].as_str().unwrap();
        let request = &exchange["request"];
        let number = request["sender_sequence_number"].as_u64().unwrap();
        let sends_context = request["kid_context_sent"].as_bool().unwrap();
        let (client_id, server_id) = (bytes(exchange, "client_id"), bytes(exchange, "server_id"));
        let mut client = exchange_context(exchange, &client_id, &server_id);
        if !sends_context {
            client = client.without_kid_context();
        }
        let mut server = exchange_context(exchange, &server_id, &client_id);
        let (plain, protected) = (bytes(request, "unprotected"), bytes(request, "protected"));

        let mut out = [0; 512];
        let (len, _) = client.protect_request(number, &plain, &mut out).unwrap();
        assert_eq!(hex::encode(&out[..len]), hex::encode(&protected), "{name}");
        // No more room than promised: the output may be exactly as long as the input.
        let mut tight = vec![0; protected.len()];
        let (len, mut binding) = server.unprotect_request(&protected, &mut tight).unwrap();
        assert_eq!(hex::encode(&tight[..len]), hex::encode(&plain), "{name}");
        let clear = Message::parse(&protected).unwrap();
        assert!(server.matches(&OscoreOption::of(&clear).unwrap()));

        for response in exchange["responses"].as_array().unwrap() {
            responses += 1;
            let own = response["own_partial_iv"].as_bool().unwrap();
            let own = own.then(|| response["server_sender_sequence_number"].as_u64().unwrap());
            let (plain, protected) = (bytes(response, "unprotected"), bytes(response, "protected"));
            let len = server.protect_response(&mut binding, own, &plain, &mut out).unwrap();
            assert_eq!(hex::encode(&out[..len]), hex::encode(&protected), "{name}");
            let mut tight = vec![0; protected.len()];
            let (len, partial_iv) =
                client.unprotect_response(&binding_of(&client_id, number), &protected, &mut tight).unwrap();
            assert_eq!(hex::encode(&tight[..len]), hex::encode(&plain), "{name}");
            assert_eq!(partial_iv, own, "{name}");
        }
    }
    assert_eq!(responses, 34);
}

fn binding_of(kid: &[u8], partial_iv: u64) -> cardea_oscore::Binding {
    cardea_oscore::Binding::restore(kid, partial_iv).unwrap()
}

fn rfc_context(vector: &Value) -> Context {
    let id_context = vector["id_context"].as_str().map(|text| hex::decode(text).unwrap());
    Context::derive(
        Algorithm::from_number(vector["aead_algorithm"].as_i64().unwrap().try_into().unwrap()).unwrap(),
        &bytes(vector, "master_secret"),
        &bytes(vector, "master_salt"),
        id_context.as_deref(),
        &bytes(vector, "sender_id"),
        &bytes(vector, "recipient_id"),
    )
    .unwrap()
}

fn exchange_context(exchange: &Value, sender: &[u8], recipient: &[u8]) -> Context {
    let mut vector = exchange.clone();
    vector["sender_id"] = hex::encode(sender).into();
    vector["recipient_id"] = hex::encode(recipient).into();
    rfc_context(&vector)
}

fn bytes(value: &Value, key: &str) -> Vec<u8> {
    hex::decode(value[key].as_str().unwrap()).unwrap()
}
