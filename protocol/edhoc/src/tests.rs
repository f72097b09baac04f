//! RFC 9529 chapter 3, every value it gives; what is inside the key schedule can only be seen from here. The tests
//! in `tests/` use the public interface.

use std::string::String;
use std::vec::Vec;

use cardea_credentials::{Agreement, PublicKey, SoftAgreement, decode_ccs};
use serde_json::Value;

use crate::auth::Point;
use crate::messages::Proof;
use crate::schedule::{Aead, InfoHeads, MacContext, Transcript, chain, derive, hash, kdf, label};
use crate::suite::{Hash, extract};
use crate::{
    AuthKey, ConnId, EphemeralKey, Error, ErrorMessage, IdCred, Initiator, InitiatorConfig, MAX_MESSAGE,
    Method, Responder, ResponderConfig, Suite, initiator, responder,
};

const VECTORS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/edhoc-rfc9529.json"));
const S2: Suite = Suite::S2;

/// One trace: values by name.
struct Trace(Value);

impl Trace {
    fn load(name: &str) -> Self {
        let all: Value = serde_json::from_str(VECTORS).unwrap();
        Self(all[name].clone())
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        hex::decode(self.0[name].as_str().unwrap_or_else(|| panic!("no {name}"))).unwrap()
    }

    fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.bytes(name).try_into().unwrap_or_else(|_| panic!("{name} is not {N} bytes"))
    }

    fn check(&self, name: &str, ours: &[u8]) {
        assert_eq!(hex::encode(ours), hex::encode(self.bytes(name)), "{name}");
    }
}

fn info(label: u32, context: &[&[u8]], length: usize) -> Vec<u8> {
    InfoHeads::new(label, context, length).info(context).unwrap().concat()
}

fn derived(prk: &Hash, label: u32, context: &[u8], length: usize) -> Vec<u8> {
    let mut out = std::vec![0; length];
    kdf(prk, label, &[context], &mut out).unwrap();
    out
}

fn ends(trace: &Trace) -> (Initiator, Responder) {
    let initiator = Initiator::new(
        InitiatorConfig {
            suite: S2,
            refused_suites: &[6],
            method: Method::StaticDh,
            c_i: ConnId::new(&trace.bytes("c_i")).unwrap(),
            known_eads: &[],
        },
        EphemeralKey::from_bytes(S2, &trace.array("x")).unwrap(),
    );
    let responder = Responder::new(ResponderConfig {
        suites: &[S2],
        methods: &[Method::StaticDh],
        c_r: ConnId::new(&trace.bytes("c_r")).unwrap(),
        known_eads: &[],
    });
    (initiator, responder)
}

#[test]
fn rfc_9529_chapter_3_to_the_byte() {
    let trace = Trace::load("trace_chapter_3");
    let (mut initiator, mut responder) = ends(&trace);
    let mut out = [0; MAX_MESSAGE];

    // message_1
    let len = initiator.message_1(&[], &mut out).unwrap();
    trace.check("message_1", &out[..len]);
    let message_1 = responder.handle_message_1(&out[..len]).unwrap();
    assert_eq!((message_1.suite, message_1.method), (S2, Method::StaticDh));
    assert_eq!(message_1.c_i.as_bytes(), trace.bytes("c_i"));
    let initiator::State::Sent1 { h_message_1 } = &initiator.state else { panic!() };
    trace.check("h_message_1", h_message_1);

    // message_2
    let cred_r = trace.bytes("cred_r");
    let id_cred_r = IdCred::Kid(&[0x32]);
    let key_r = SoftAgreement::from_bytes(&trace.array("sk_r")).unwrap();
    trace.check("pk_r_x", &key_r.public().x());
    trace.check("pk_r_y", &key_r.public().y());
    assert_eq!(decode_ccs(&cred_r).unwrap().cose_key.key, key_r.public());
    let y = EphemeralKey::from_bytes(S2, &trace.array("y")).unwrap();
    let len =
        responder.message_2(y, &id_cred_r, &cred_r, &AuthKey::Agreement(&key_r), &[], &mut out).unwrap();
    trace.check("message_2", &out[..len]);
    trace.check("g_y", &out[2..34]);
    trace.check("ciphertext_2", &out[34..len]);

    let mut plaintext = [0; MAX_MESSAGE];
    let peer = initiator.parse_message_2(&out[..len], &mut plaintext).unwrap();
    assert_eq!(peer.conn_id.as_bytes(), trace.bytes("c_r"));
    assert_eq!(peer.id_cred, id_cred_r);
    assert_eq!(peer.eads.iter().count(), 0);
    let initiator::State::Parsed2 { th_2, prk_2e, .. } = &initiator.state else { panic!() };
    trace.check("th_2", th_2);
    trace.check("th_2", &hash(&trace.bytes("th_2_input")));
    trace.check("prk_2e", &prk_2e[..]);
    let ephemeral_x = EphemeralKey::from_bytes(S2, &trace.array("x")).unwrap();
    let ephemeral_y = EphemeralKey::from_bytes(S2, &trace.array("y")).unwrap();
    let g_x = PublicKey::from_x(&trace.array("g_x")).unwrap();
    let g_y = PublicKey::from_x(&trace.array("g_y")).unwrap();
    trace.check("g_x", &ephemeral_x.public_x());
    trace.check("g_xy", ephemeral_x.agree(&Point::P256(g_y)).unwrap().as_bytes());
    trace.check("g_xy", ephemeral_y.agree(&Point::P256(g_x)).unwrap().as_bytes());
    trace.check("prk_2e", &extract(th_2, &trace.array("g_xy"))[..]);
    trace.check("info_salt_3e2m", &info(label::SALT_3E2M, &[th_2], 32));
    trace.check("salt_3e2m", &derive(prk_2e, label::SALT_3E2M, th_2).unwrap()[..]);
    trace.check("g_rx", key_r.agree(&g_x).unwrap().as_bytes());
    trace.check("g_rx", ephemeral_x.agree(&Point::P256(key_r.public())).unwrap().as_bytes());
    let prk_3e2m = chain(prk_2e, label::SALT_3E2M, th_2, &trace.array("g_rx")).unwrap();
    trace.check("prk_3e2m", &prk_3e2m[..]);
    trace.check("id_cred_r", &[&id_cred_r.head()[..], id_cred_r.body()].concat());
    let context_2 = MacContext {
        c_r: Some(ConnId::new(&trace.bytes("c_r")).unwrap()),
        id_cred: id_cred_r,
        th: th_2,
        cred: &cred_r,
        eads: &[],
    };
    context_2
        .with_parts(|parts| {
            trace.check("context_2", &parts.concat());
            trace.check("info_mac_2", &info(label::MAC_2, parts, 8));
            Ok(())
        })
        .unwrap();
    let mut mac = [0; 8];
    context_2.mac(&prk_3e2m, label::MAC_2, &mut mac).unwrap();
    trace.check("mac_2", &mac);
    trace.check("info_keystream_2", &info(label::KEYSTREAM_2, &[th_2], 11));
    trace.check("keystream_2", &derived(prk_2e, label::KEYSTREAM_2, th_2, 11));
    let th_2 = *th_2;
    initiator.verify_message_2(&peer, &cred_r, key_r.public()).unwrap();
    trace.check("plaintext_2", &plaintext[..11]);
    trace.check("th_3", &initiator.th_3().unwrap());
    trace.check("th_3", &responder.th_3().unwrap());
    trace.check("th_3", &hash(&trace.bytes("th_3_input")));
    trace.check("th_3", &Transcript::new(&th_2, &trace.bytes("plaintext_2")).finish(&cred_r));

    // message_3
    let th_3 = initiator.th_3().unwrap();
    let cred_i = trace.bytes("cred_i");
    let id_cred_i = IdCred::Kid(&[0x2b]);
    let key_i = SoftAgreement::from_bytes(&trace.array("sk_i")).unwrap();
    trace.check("pk_i_x", &key_i.public().x());
    trace.check("pk_i_y", &key_i.public().y());
    let len = initiator.message_3(&id_cred_i, &cred_i, &AuthKey::Agreement(&key_i), &[], &mut out).unwrap();
    trace.check("message_3", &out[..len]);
    trace.check("ciphertext_3", &out[1..len]);
    trace.check("info_salt_4e3m", &info(label::SALT_4E3M, &[&th_3], 32));
    trace.check("salt_4e3m", &derive(&prk_3e2m, label::SALT_4E3M, &th_3).unwrap()[..]);
    trace.check("g_iy", key_i.agree(&g_y).unwrap().as_bytes());
    let prk_4e3m = chain(&prk_3e2m, label::SALT_4E3M, &th_3, &trace.array("g_iy")).unwrap();
    trace.check("prk_4e3m", &prk_4e3m[..]);
    trace.check("id_cred_i", &[&id_cred_i.head()[..], id_cred_i.body()].concat());
    let context_3 = MacContext { c_r: None, id_cred: id_cred_i, th: &th_3, cred: &cred_i, eads: &[] };
    context_3
        .with_parts(|parts| {
            trace.check("context_3", &parts.concat());
            trace.check("info_mac_3", &info(label::MAC_3, parts, 8));
            Ok(())
        })
        .unwrap();
    context_3.mac(&prk_4e3m, label::MAC_3, &mut mac).unwrap();
    trace.check("mac_3", &mac);
    trace.check("info_k_3", &info(label::K_3, &[&th_3], 16));
    trace.check("info_iv_3", &info(label::IV_3, &[&th_3], 13));
    let aead = Aead::new(S2, &prk_3e2m, label::K_3, label::IV_3, &th_3).unwrap();
    trace.check("k_3", aead.key());
    trace.check("iv_3", aead.iv());
    trace.check("a_3", aead.aad());
    let peer = responder.parse_message_3(&out[..len], &mut plaintext).unwrap();
    assert_eq!(peer.id_cred, id_cred_i);
    assert_eq!(decode_ccs(&cred_i).unwrap().cose_key.key, key_i.public());
    responder.verify_message_3(&peer, &cred_i, key_i.public()).unwrap();
    trace.check("plaintext_3", &plaintext[..10]);

    // message_4
    trace.check("th_4", &initiator.th_4().unwrap());
    trace.check("th_4", &responder.th_4().unwrap());
    trace.check("th_4", &hash(&trace.bytes("th_4_input")));
    let th_4 = initiator.th_4().unwrap();
    trace.check("info_k_4", &info(label::K_4, &[&th_4], 16));
    trace.check("info_iv_4", &info(label::IV_4, &[&th_4], 13));
    let responder::State::Verified3 { session, .. } = &responder.state else { panic!() };
    trace.check("prk_4e3m", &session.prk_4e3m[..]);
    let aead = session.aead_4().unwrap();
    trace.check("k_4", aead.key());
    trace.check("iv_4", aead.iv());
    trace.check("a_4", aead.aad());
    let len = responder.message_4(&[], &mut out).unwrap();
    trace.check("message_4", &out[..len]);
    trace.check("ciphertext_4", &out[1..len]);
    assert!(!initiator.is_confirmed());
    initiator.handle_message_4(&out[..len], &mut plaintext).unwrap();
    assert!(initiator.is_confirmed());

    // The keys that stay
    trace.check("info_prk_out", &info(label::PRK_OUT, &[&th_4], 32));
    trace.check("info_prk_exporter", &info(label::PRK_EXPORTER, &[&[]], 32));
    trace.check("info_oscore_master_secret", &info(0, &[&[]], 16));
    trace.check("info_oscore_master_salt", &info(1, &[&[]], 8));
    for (prk_out, prk_exporter) in
        [initiator.session().unwrap().1.prks(), responder.session().unwrap().1.prks()]
    {
        trace.check("prk_out", prk_out);
        trace.check("prk_exporter", prk_exporter);
    }
    for keys in [initiator.oscore().unwrap(), responder.oscore().unwrap()] {
        trace.check("oscore_master_secret", keys.secret());
        trace.check("oscore_master_salt", &keys.salt);
    }
    trace.check("oscore_client_sender_id", initiator.oscore().unwrap().sender_id.as_bytes());
    trace.check("oscore_server_sender_id", responder.oscore().unwrap().sender_id.as_bytes());

    let context = trace.bytes("key_update_context");
    initiator.key_update(&context).unwrap();
    responder.key_update(&context).unwrap();
    for (prk_out, prk_exporter) in
        [initiator.session().unwrap().1.prks(), responder.session().unwrap().1.prks()]
    {
        trace.check("key_update_prk_out", prk_out);
        trace.check("key_update_prk_exporter", prk_exporter);
    }
    let keys = responder.oscore().unwrap();
    trace.check("key_update_oscore_master_secret", keys.secret());
    trace.check("key_update_oscore_master_salt", &keys.salt);
}

#[test]
fn rfc_9529_chapter_3_negotiation() {
    let trace = Trace::load("trace_chapter_3_negotiation");
    let (_, mut responder) = ends(&Trace::load("trace_chapter_3"));
    let error = responder.handle_message_1(&trace.bytes("message_1")).unwrap_err();
    assert_eq!(error, Error::WrongSuite);
    let mut out = [0; 16];
    let answer = ErrorMessage::answering(error, &[S2]).unwrap();
    let len = answer.encode(&mut out).unwrap();
    trace.check("error_message_from_responder", &out[..len]);
    assert_eq!(ErrorMessage::decode(&out[..len]), Ok(answer));
}

#[test]
fn rfc_9529_chapter_4_is_refused() {
    let all: Value = serde_json::from_str(VECTORS).unwrap();
    let trace = Trace::load("trace_chapter_3");
    let mut seen: Vec<String> = Vec::new();
    for case in all["invalid_traces_chapter_4"].as_array().unwrap() {
        let title = case["title"].as_str().unwrap();
        let input = hex::decode(case["hex"].as_str().unwrap()).unwrap();
        let (mut initiator, mut responder) = ends(&trace);
        if input.starts_with(&[0x03, 0x00]) {
            // This one is about a curve that no product of ours speaks.
            responder = Responder::new(ResponderConfig {
                suites: &[Suite::S0],
                methods: &[Method::StaticDh],
                c_r: ConnId::new(&trace.bytes("c_r")).unwrap(),
                known_eads: &[],
            });
        }
        let mut out = [0; MAX_MESSAGE];
        let error = match case["kind"].as_str().unwrap() {
            "message_1" => responder.handle_message_1(&input).map(drop).unwrap_err(),
            "message_2" => {
                initiator.message_1(&[], &mut out).unwrap();
                initiator.parse_message_2(&input, &mut out).map(drop).unwrap_err()
            }
            "plaintext_2" => {
                let mut reader = cardea_credentials::cbor::Reader::new(&input);
                let c_r = ConnId::read(&mut reader).unwrap();
                crate::Peer::read(c_r, reader, Proof { suite: S2, signs: false }, &[]).map(drop).unwrap_err()
            }
            other => panic!("{other}"),
        };
        seen.push(std::format!("{title}: {error:?}"));
    }
    assert_eq!(
        seen,
        [
            "Surplus array encoding of message: Malformed",
            "Surplus bstr encoding of connection identifier: BadIdentifier",
            "Surplus array encoding of ciphersuite: Malformed",
            "Text string encoding of ephemeral key: Malformed",
            "Wrong number of CBOR sequence elements: Malformed",
            "Surplus map encoding of ID_CRED field: BadIdentifier",
            "Surplus bstr encoding of ID_CRED field: BadIdentifier",
            "Error in length of ephemeral key: WrongSuite", // it selects suite 24, which is left out
            "Error in elliptic curve representation: InvalidKey",
            "Error in elliptic curve point: InvalidKey",
            "Curve point of low order: InvalidKey",
            "Error in length of MAC: Authentication",
            "Error in elliptic curve encoding: InvalidKey",
            "Unnecessary long encoding: NonDeterministic",
            "Indefinite-length array encoding: NonDeterministic",
        ]
    );
}
