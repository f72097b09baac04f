//! RFC 9529 chapter 2 (method 0, suite 0, X.509 by hash), from both ends, to the byte. Chapters 3 and 4 are in
//! `src/tests.rs`, which sees the key schedule.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a panic here is a verdict

mod common;

use cardea_credentials::cbor::Writer;
use cardea_credentials::okp::{Ed25519Key, Ed25519Signer as _, SoftEd25519};
use cardea_edhoc::{
    AuthKey, ConnId, EphemeralKey, IdCred, Initiator, InitiatorConfig, MAX_MESSAGE, Method, PeerKey,
    Responder, ResponderConfig, Suite,
};
use common::bytes;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

const VECTORS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/edhoc-rfc9529.json"));

struct Trace(Value);

impl Trace {
    fn bytes(&self, name: &str) -> Vec<u8> {
        bytes(&self.0[name])
    }

    fn key(&self, name: &str) -> [u8; 32] {
        self.bytes(name).try_into().unwrap()
    }

    fn check(&self, name: &str, ours: &[u8]) {
        assert_eq!(hex::encode(ours), self.0[name].as_str().unwrap(), "{name}");
    }

    /// The credential as EDHOC takes it, a byte string, and the x5t that names it.
    fn credential(&self, name: &str) -> (Vec<u8>, [u8; 8]) {
        let der = self.bytes(name);
        let mut out = [0; 512];
        let mut writer = Writer::new(&mut out);
        writer.bytes(&der).unwrap();
        self.check(&format!("{name}_cbor"), writer.as_slice());
        (writer.as_slice().to_vec(), Sha256::digest(&der)[..8].try_into().unwrap())
    }
}

#[test]
fn chapter_2_to_the_byte() {
    let all: Value = serde_json::from_str(VECTORS).unwrap();
    let trace = Trace(all["trace_chapter_2"].clone());
    let (mut air, mut text) = ([0; MAX_MESSAGE], [0; MAX_MESSAGE]);
    let (suite, method) = (Suite::S0, Method::Signatures);
    let ephemeral = |name| EphemeralKey::from_bytes(suite, &trace.key(name)).unwrap();
    let config = InitiatorConfig {
        suite,
        refused_suites: &[],
        method,
        c_i: ConnId::new(&trace.bytes("c_i")).unwrap(),
        known_eads: &[],
    };
    let mut initiator = Initiator::new(config, ephemeral("x"));
    let config = ResponderConfig {
        suites: &[Suite::S0],
        methods: &[Method::Signatures],
        c_r: ConnId::new(&trace.bytes("c_r")).unwrap(),
        known_eads: &[],
    };
    let mut responder = Responder::new(config);
    let (key_i, key_r) =
        (SoftEd25519::from_bytes(&trace.key("sk_i")), SoftEd25519::from_bytes(&trace.key("sk_r")));
    trace.check("pk_i", key_i.public().as_bytes());
    trace.check("pk_r", key_r.public().as_bytes());
    let ((cred_i, x5t_i), (cred_r, x5t_r)) = (trace.credential("cred_i"), trace.credential("cred_r"));

    let len = initiator.message_1(&[], &mut air).unwrap();
    trace.check("message_1", &air[..len]);
    responder.handle_message_1(&air[..len]).unwrap();
    let id_cred = IdCred::X5t(&x5t_r);
    let key = AuthKey::Ed25519(&key_r);
    let len = responder.message_2(ephemeral("y"), &id_cred, &cred_r, &key, &[], &mut air).unwrap();
    trace.check("message_2", &air[..len]);

    let peer = initiator.parse_message_2(&air[..len], &mut text).unwrap();
    assert_eq!(peer.id_cred, id_cred);
    let public = Ed25519Key::from_bytes(&trace.key("pk_r")).unwrap();
    initiator.verify_message_2(&peer, &cred_r, PeerKey::Ed25519(public)).unwrap();
    trace.check("th_3", &initiator.th_3().unwrap());
    let id_cred = IdCred::X5t(&x5t_i);
    let len = initiator.message_3(&id_cred, &cred_i, &AuthKey::Ed25519(&key_i), &[], &mut air).unwrap();
    trace.check("message_3", &air[..len]);

    trace.check("th_3", &responder.th_3().unwrap());
    let peer = responder.parse_message_3(&air[..len], &mut text).unwrap();
    assert_eq!(peer.id_cred, id_cred);
    let public = Ed25519Key::from_bytes(&trace.key("pk_i")).unwrap();
    responder.verify_message_3(&peer, &cred_i, PeerKey::Ed25519(public)).unwrap();
    trace.check("th_4", &initiator.th_4().unwrap());
    trace.check("th_4", &responder.th_4().unwrap());
    let len = responder.message_4(&[], &mut air).unwrap();
    trace.check("message_4", &air[..len]);
    initiator.handle_message_4(&air[..len], &mut text).unwrap();

    for prefix in ["", "key_update_"] {
        if !prefix.is_empty() {
            initiator.key_update(&trace.bytes("key_update_context")).unwrap();
            responder.key_update(&trace.bytes("key_update_context")).unwrap();
        }
        for keys in [initiator.oscore().unwrap(), responder.oscore().unwrap()] {
            trace.check(&format!("{prefix}oscore_master_secret"), keys.secret());
            trace.check(&format!("{prefix}oscore_master_salt"), &keys.salt);
        }
    }
    trace.check("oscore_client_sender_id", initiator.oscore().unwrap().sender_id.as_bytes());
    trace.check("oscore_server_sender_id", responder.oscore().unwrap().sender_id.as_bytes());
}
