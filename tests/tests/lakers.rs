//! Live handshakes with lakers, another implementation of EDHOC, in a process of its own and in both roles: cipher suite
//! 2, method 3, the one that locks and platforms speak.

use cardea_credentials::{Agreement as _, PublicKey, SoftAgreement, decode_ccs, encode_ccs};
use cardea_edhoc::{
    AuthKey, ConnId, Ead, Eads, EphemeralKey, Error, IdCred, Initiator, InitiatorConfig, MAX_MESSAGE, Method,
    Peer, Responder, ResponderConfig, Suite,
};
use cardea_sdk::OsRandom;
use cardea_tests::{lines::LinePeer, venv};
use serde_json::{Value, json};

/// Below the registered labels, critical and not: lakers lets the application say what it knows, and so do we.
const EADS: [i32; 4] = [7, 8, 9, 10];
const KEY_UPDATE: &[u8] = b"and on";

/// What one handshake is made of.
#[derive(Clone, Copy, Debug)]
struct Shape {
    by_value: bool,
    c_ours: &'static [u8],
    c_theirs: &'static [u8],
    eads: bool,
}

const SHAPES: [Shape; 5] = [
    Shape { by_value: false, c_ours: &[0x0c], c_theirs: &[0x05], eads: false },
    Shape { by_value: true, c_ours: &[0x0c], c_theirs: &[0x05], eads: false },
    // Identifiers that are no one-byte integers, of several bytes, and at both ends of the integers.
    Shape { by_value: false, c_ours: &[0x18], c_theirs: &[0xab, 0xcd, 0xef], eads: false },
    Shape { by_value: true, c_ours: &[0x37], c_theirs: &[0x20], eads: true },
    Shape { by_value: false, c_ours: &[0x17], c_theirs: &[0x00], eads: true },
];

struct Party {
    key: SoftAgreement,
    secret: String,
    kid: [u8; 1],
    ccs: Vec<u8>,
}

impl Party {
    fn new(byte: u8, subject: &str) -> Self {
        let key = SoftAgreement::from_bytes(&[byte; 32]).unwrap();
        let (mut out, kid) = ([0; 128], [byte]);
        let len = encode_ccs(Some(subject), &key.public(), Some(&kid), &mut out).unwrap();
        Self { secret: hex::encode([byte; 32]), ccs: out[..len].to_vec(), key, kid }
    }

    fn id_cred(&self, by_value: bool) -> IdCred<'_> {
        if by_value { IdCred::Kccs(&self.ccs) } else { IdCred::Kid(&self.kid) }
    }

    fn auth(&self) -> AuthKey<'_> {
        AuthKey::Agreement(&self.key)
    }
}

fn ours() -> Party {
    Party::new(0x21, "lock")
}

fn theirs() -> Party {
    Party::new(0x32, "platform")
}

fn lakers() -> Option<LinePeer> {
    Some(LinePeer::start(&mut venv::python("lakers_peer.py")?))
}

/// The EAD of message `number`, as we write it and as lakers is told to write it.
fn value(number: usize) -> [u8; 3] {
    [0xe0, 0, number as u8]
}

fn our_eads(shape: Shape, number: usize, then: impl FnOnce(&[Ead<'_>]) -> Result<usize, Error>) -> usize {
    let value = value(number);
    let eads = [Ead::new(EADS[number - 1], &value)];
    then(if shape.eads { &eads } else { &[] }).unwrap()
}

fn their_eads(shape: Shape, number: usize) -> Value {
    if shape.eads { json!([[EADS[number - 1], false, hex::encode(value(number))]]) } else { json!([]) }
}

fn we_read(shape: Shape, eads: &Eads<'_>, number: usize) {
    let read: Vec<_> = eads.iter().map(|ead| (ead.label, ead.value.map(<[u8]>::to_vec))).collect();
    let expected = vec![(EADS[number - 1], Some(value(number).to_vec()))];
    assert_eq!(read, if shape.eads { expected } else { vec![] }, "{shape:?}");
}

fn bytes(answer: &Value, name: &str) -> Vec<u8> {
    hex::decode(answer[name].as_str().unwrap_or_else(|| panic!("no {name}: {answer}"))).unwrap()
}

fn initiator(shape: Shape) -> Initiator {
    let config = InitiatorConfig {
        suite: Suite::S2,
        refused_suites: &[],
        method: Method::StaticDh,
        c_i: ConnId::new(shape.c_ours).unwrap(),
        known_eads: &[],
    };
    Initiator::new(config, ephemeral())
}

fn responder(shape: Shape) -> Responder {
    Responder::new(ResponderConfig {
        suites: &[Suite::S2],
        methods: &[Method::StaticDh],
        c_r: ConnId::new(shape.c_ours).unwrap(),
        known_eads: &[],
    })
}

fn ephemeral() -> EphemeralKey {
    EphemeralKey::generate(Suite::S2, &mut OsRandom).unwrap()
}

/// The credential that the peer names, by value or from what we know.
fn known(peer: &Peer<'_>, party: &Party) -> (Vec<u8>, PublicKey) {
    let cred = match peer.id_cred {
        IdCred::Kid(kid) => {
            assert_eq!(kid, party.kid);
            party.ccs.clone()
        }
        IdCred::Kccs(ccs) => ccs.to_vec(),
        other => panic!("{other:?}"),
    };
    assert_eq!(cred, party.ccs);
    let key = decode_ccs(&cred).unwrap().cose_key.key;
    (cred, key)
}

/// Lengths of the four messages without EAD and with identifiers of one byte.
fn check_sizes(shape: Shape, sizes: [usize; 4], cred_2: usize, cred_3: usize) {
    if shape.eads || shape.c_theirs.len() != 1 || shape.c_ours == [0x18] {
        return;
    }
    // {14: CCS} takes the place of the one byte of a kid; message_3's byte string needs a longer head then.
    let expected = if shape.by_value { [37, 46 + cred_2, 21 + cred_3, 9] } else { [37, 45, 19, 9] };
    assert_eq!(sizes, expected, "{shape:?}");
}

/// Exporter outputs and what KeyUpdate makes of them are equal.
fn check_keys(lakers: &mut LinePeer, mut export: impl FnMut(bool, u32, &mut [u8])) {
    for updated in [false, true] {
        if updated {
            assert_eq!(
                lakers.ask(&json!({ "do": "key_update", "context": hex::encode(KEY_UPDATE) })),
                json!({})
            );
        }
        // lakers writes a label as one byte, so labels that CBOR writes as one: longer ones are compared with libedhoc.
        for (label, length) in [(0, 16), (1, 8), (5, 48), (23, 200)] {
            let answer = lakers.ask(&json!({ "do": "export", "label": label, "length": length }));
            let mut key = vec![0; length];
            export(updated, label, &mut key);
            assert_eq!(bytes(&answer, "key"), key, "label {label}, updated {updated}");
        }
    }
}

fn we_initiate(lakers: &mut LinePeer, shape: Shape) {
    let (own, other) = (ours(), theirs());
    let (mut air, mut text) = ([0; MAX_MESSAGE], [0; MAX_MESSAGE]);
    let mut initiator = initiator(shape);
    let len_1 = our_eads(shape, 1, |eads| initiator.message_1(eads, &mut air));
    let answer = lakers.ask(&json!({
        "do": "responder", "message": hex::encode(&air[..len_1]), "secret": other.secret,
        "own": hex::encode(&other.ccs), "c": hex::encode(shape.c_theirs), "by_value": shape.by_value,
        "ead": their_eads(shape, 2),
    }));
    assert_eq!((bytes(&answer, "c"), &answer["ead"]), (shape.c_ours.to_vec(), &their_eads(shape, 1)));
    let message_2 = bytes(&answer, "message");
    let peer = initiator.parse_message_2(&message_2, &mut text).unwrap();
    assert_eq!(peer.conn_id.as_bytes(), shape.c_theirs);
    we_read(shape, &peer.eads, 2);
    let (cred, key) = known(&peer, &other);
    initiator.verify_message_2(&peer, &cred, key).unwrap();
    let len_3 = our_eads(shape, 3, |eads| {
        initiator.message_3(&own.id_cred(shape.by_value), &own.ccs, &own.auth(), eads, &mut air)
    });
    let answer = lakers.ask(&json!({
        "do": "message_3", "message": hex::encode(&air[..len_3]), "other": hex::encode(&own.ccs),
        "ead": their_eads(shape, 4),
    }));
    assert_eq!(answer["ead"], their_eads(shape, 3));
    let message_4 = bytes(&answer, "message");
    we_read(shape, &initiator.handle_message_4(&message_4, &mut text).unwrap(), 4);
    let sizes = [len_1, message_2.len(), len_3, message_4.len()];
    check_sizes(shape, sizes, other.ccs.len(), own.ccs.len());
    let mut updated = false;
    check_keys(lakers, |update, label, key| {
        if update && !updated {
            initiator.key_update(KEY_UPDATE).unwrap();
            updated = true;
        }
        initiator.export(label, &[], key).unwrap();
    });
}

fn lakers_initiates(lakers: &mut LinePeer, shape: Shape) {
    let (own, other) = (ours(), theirs());
    let (mut air, mut text) = ([0; MAX_MESSAGE], [0; MAX_MESSAGE]);
    let answer = lakers.ask(&json!({
        "do": "initiator", "c": hex::encode(shape.c_theirs), "ead": their_eads(shape, 1),
    }));
    let message_1 = bytes(&answer, "message");
    let mut responder = responder(shape);
    let first = responder.handle_message_1(&message_1).unwrap();
    assert_eq!(first.c_i.as_bytes(), shape.c_theirs);
    we_read(shape, &first.eads, 1);
    let len_2 = our_eads(shape, 2, |eads| {
        let id_cred = own.id_cred(shape.by_value);
        responder.message_2(ephemeral(), &id_cred, &own.ccs, &own.auth(), eads, &mut air)
    });
    let answer = lakers.ask(&json!({
        "do": "message_2", "message": hex::encode(&air[..len_2]), "secret": other.secret,
        "own": hex::encode(&other.ccs), "other": hex::encode(&own.ccs), "by_value": shape.by_value,
        "ead": their_eads(shape, 3),
    }));
    assert_eq!((bytes(&answer, "c"), &answer["ead"]), (shape.c_ours.to_vec(), &their_eads(shape, 2)));
    let message_3 = bytes(&answer, "message");
    let peer = responder.parse_message_3(&message_3, &mut text).unwrap();
    we_read(shape, &peer.eads, 3);
    let (cred, key) = known(&peer, &other);
    responder.verify_message_3(&peer, &cred, key).unwrap();
    let len_4 = our_eads(shape, 4, |eads| responder.message_4(eads, &mut air));
    let answer = lakers.ask(&json!({ "do": "message_4", "message": hex::encode(&air[..len_4]) }));
    assert_eq!(answer["ead"], their_eads(shape, 4));
    let sizes = [message_1.len(), len_2, message_3.len(), len_4];
    check_sizes(shape, sizes, own.ccs.len(), other.ccs.len());
    let mut updated = false;
    check_keys(lakers, |update, label, key| {
        if update && !updated {
            responder.key_update(KEY_UPDATE).unwrap();
            updated = true;
        }
        responder.export(label, &[], key).unwrap();
    });
}

#[test]
fn our_initiator_and_a_lakers_responder() {
    let Some(mut lakers) = lakers() else { return };
    SHAPES.into_iter().for_each(|shape| we_initiate(&mut lakers, shape));
}

#[test]
fn a_lakers_initiator_and_our_responder() {
    let Some(mut lakers) = lakers() else { return };
    SHAPES.into_iter().for_each(|shape| lakers_initiates(&mut lakers, shape));
}

/// Both sides look at the same MAC: with another credential than the named one neither goes on.
#[test]
fn another_credential_than_the_named_one_is_refused_on_both_sides() {
    let Some(mut lakers) = lakers() else { return };
    let (own, other) = (ours(), theirs());
    let shape = SHAPES[0];
    let (mut air, mut text) = ([0; MAX_MESSAGE], [0; MAX_MESSAGE]);
    // The same kid and another key.
    let mut impostor = Party::new(0x33, "platform");
    let mut out = [0; 128];
    let len = encode_ccs(Some("platform"), &impostor.key.public(), Some(&other.kid), &mut out).unwrap();
    impostor.ccs = out[..len].to_vec();

    let mut initiator = initiator(shape);
    let len_1 = initiator.message_1(&[], &mut air).unwrap();
    let answer = lakers.ask(&json!({
        "do": "responder", "message": hex::encode(&air[..len_1]), "secret": impostor.secret,
        "own": hex::encode(&impostor.ccs), "c": "05", "by_value": false, "ead": [],
    }));
    let peer = initiator.parse_message_2(&bytes(&answer, "message"), &mut text).unwrap();
    let (cred, key) = known(&peer, &other);
    assert_eq!(initiator.verify_message_2(&peer, &cred, key), Err(Error::Authentication));

    let answer = lakers.ask(&json!({ "do": "initiator", "c": "05", "ead": [] }));
    let mut responder = responder(shape);
    responder.handle_message_1(&bytes(&answer, "message")).unwrap();
    let len_2 =
        responder.message_2(ephemeral(), &own.id_cred(false), &own.ccs, &own.auth(), &[], &mut air).unwrap();
    let mut wrong = Party::new(0x22, "lock");
    let len = encode_ccs(Some("lock"), &wrong.key.public(), Some(&own.kid), &mut out).unwrap();
    wrong.ccs = out[..len].to_vec();
    let answer = lakers.ask(&json!({
        "do": "message_2", "message": hex::encode(&air[..len_2]), "secret": other.secret,
        "own": hex::encode(&other.ccs), "other": hex::encode(&wrong.ccs), "by_value": false, "ead": [],
    }));
    assert!(answer["error"].is_string(), "{answer}");
}

/// Every byte of every message of ours, changed: lakers refuses in words and goes on with the next session, and the
/// keys of the handshake before are not what they would have been.
#[test]
fn lakers_refuses_what_was_changed_and_does_not_hang() {
    let Some(mut lakers) = lakers() else { return };
    let (own, other) = (ours(), theirs());
    let shape = SHAPES[0];
    let mut air = [0; MAX_MESSAGE];
    let message_2 = |lakers: &mut LinePeer, air: &mut [u8]| {
        let answer = lakers.ask(&json!({ "do": "initiator", "c": "05", "ead": [] }));
        let mut responder = responder(shape);
        responder.handle_message_1(&bytes(&answer, "message")).unwrap();
        responder.message_2(ephemeral(), &own.id_cred(false), &own.ccs, &own.auth(), &[], air).unwrap()
    };
    let deliver = |lakers: &mut LinePeer, message: &[u8]| {
        lakers.ask(&json!({
            "do": "message_2", "message": hex::encode(message), "secret": other.secret,
            "own": hex::encode(&other.ccs), "other": hex::encode(&own.ccs), "by_value": false, "ead": [],
        }))
    };
    let len = message_2(&mut lakers, &mut air);
    let answer = deliver(&mut lakers, &air[..len]);
    assert!(answer["message"].is_string(), "the genuine one passes: {answer}");
    for place in 0..len {
        let len = message_2(&mut lakers, &mut air);
        air[place] ^= 0x04;
        let answer = deliver(&mut lakers, &air[..len]);
        assert!(answer["error"].is_string(), "byte {place} of message_2: {answer}");
        message_2(&mut lakers, &mut air);
        let answer = deliver(&mut lakers, &air[..place]);
        assert!(answer["error"].is_string(), "message_2 cut at {place}: {answer}");
    }
    // A message_1 that is none, or whose point is not on the curve.
    let responder = |lakers: &mut LinePeer, message: &[u8]| {
        lakers.ask(&json!({
            "do": "responder", "message": hex::encode(message), "secret": other.secret,
            "own": hex::encode(&other.ccs), "c": "05", "by_value": false, "ead": [],
        }))
    };
    let len = initiator(shape).message_1(&[], &mut air).unwrap();
    assert!(responder(&mut lakers, &air[..len])["message"].is_string(), "the genuine one passes");
    let off_curve = [&[3, 2, 0x58, 0x20][..], &[0xff; 32], &[0x0c]].concat();
    for message in [&[][..], &air[..len - 1], &air[1..len], &off_curve] {
        let answer = responder(&mut lakers, message);
        assert!(answer["error"].is_string(), "{}: {answer}", hex::encode(message));
    }
    // It still works.
    we_initiate(&mut lakers, shape);
}
