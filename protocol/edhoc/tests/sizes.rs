//! Bytes of every message, by suite, method and kind of credential: measured here, and docs/protocol.md has this table.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a panic here is a verdict

mod common;

use std::fmt::Write as _;

use cardea_credentials::cbor::Writer;
use cardea_credentials::okp::{self, OkpKey, SoftEd25519, SoftX25519};
use cardea_credentials::{CoseKey, SoftAgreement, SoftSigner, YForm, issue_lock_identity, issue_platform};
use cardea_edhoc::{
    ConnId, EphemeralKey, IdCred, Initiator, InitiatorConfig, MAX_MESSAGE, Method, PeerKey, Responder,
    ResponderConfig, Suite, X5chain,
};
use common::Key;

const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol.md"));

/// A lock's certificate and its CA's, as `platform/x509` makes them at most.
const CHAIN: [usize; 2] = [361, 400];

/// How a side names its credential.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kid,
    X5t,
    Ccs,
    Cwt,
    X5chain,
}

const KINDS: [Kind; 5] = [Kind::Kid, Kind::X5t, Kind::Ccs, Kind::Cwt, Kind::X5chain];

struct End {
    key: Key,
    cred: Vec<u8>,
    chain: Vec<u8>,
}

impl End {
    fn new(suite: Suite, signs: bool, kind: Kind, initiator: bool) -> Self {
        let byte = if initiator { 1 } else { 2 };
        let p256 = suite != Suite::S4;
        let key = match (p256, signs) {
            (true, true) => Key::Signer(SoftSigner::from_bytes(&[byte; 32]).unwrap()),
            (true, false) => Key::Agreement(SoftAgreement::from_bytes(&[byte; 32]).unwrap()),
            (false, true) => Key::Ed25519(SoftEd25519::from_bytes(&[byte; 32])),
            (false, false) => Key::X25519(SoftX25519::from_bytes(&[byte; 32])),
        };
        let mut chain = Vec::new();
        let cred = match kind {
            Kind::Kid | Kind::Ccs => ccs(&key.public()),
            Kind::Cwt => cwt(initiator),
            Kind::X5t | Kind::X5chain => {
                chain = [&[0x82][..], &certificate(CHAIN[0]), &certificate(CHAIN[1])].concat();
                certificate(CHAIN[0])
            }
        };
        Self { key, cred, chain }
    }

    fn id_cred(&self, kind: Kind) -> IdCred<'_> {
        match kind {
            Kind::Kid => IdCred::Kid(&[5]),
            Kind::X5t => IdCred::X5t(&[7; 8]),
            Kind::Ccs => IdCred::Kccs(&self.cred),
            Kind::Cwt => IdCred::Kcwt(&self.cred),
            Kind::X5chain => IdCred::X5chain(X5chain::new(&self.chain).unwrap()),
        }
    }
}

/// EDHOC looks into none, so anything of that length will do.
fn certificate(len: usize) -> Vec<u8> {
    let mut out = [0; 512];
    let mut writer = Writer::new(&mut out);
    writer.bytes(&vec![0x30; len]).unwrap();
    writer.as_slice().to_vec()
}

/// The shortest: no subject, no kid, y as its sign bit.
fn ccs(key: &PeerKey) -> Vec<u8> {
    let mut out = [0; 128];
    let len = match key {
        PeerKey::P256(key) => {
            let mut writer = Writer::new(&mut out);
            writer.raw(&[0xa1, 8, 0xa1, 1]).unwrap();
            CoseKey::write(key, None, YForm::Sign, &mut writer).unwrap();
            writer.len()
        }
        PeerKey::X25519(key) => okp::encode_ccs(None, &OkpKey::X25519(*key), None, &mut out).unwrap(),
        PeerKey::Ed25519(key) => okp::encode_ccs(None, &OkpKey::Ed25519(*key), None, &mut out).unwrap(),
    };
    out[..len].to_vec()
}

/// A lock's or a platform's; whose key it certifies is no matter of length.
fn cwt(initiator: bool) -> Vec<u8> {
    let (signer, dh) =
        (SoftSigner::from_bytes(&[8; 32]).unwrap(), SoftAgreement::from_bytes(&[9; 32]).unwrap());
    let dh = cardea_credentials::Agreement::public(&dh);
    let mut out = [0; 256];
    let len = if initiator {
        issue_lock_identity(&signer, &dh, &mut out).unwrap()
    } else {
        issue_platform(&signer, &dh, &dh, 1, &mut out).unwrap()
    };
    out[..len].to_vec()
}

/// One handshake, both sides, without EAD: the lengths of its messages.
fn handshake(suite: Suite, method: Method, kind: Kind) -> [usize; 4] {
    let (mut air, mut text) = ([0; MAX_MESSAGE], [0; MAX_MESSAGE]);
    let one = End::new(suite, method.initiator_signs(), kind, true);
    let two = End::new(suite, method.responder_signs(), kind, false);
    let config = InitiatorConfig {
        suite,
        refused_suites: &[],
        method,
        c_i: ConnId::new(&[1]).unwrap(),
        known_eads: &[],
    };
    let mut initiator = Initiator::new(config, EphemeralKey::from_bytes(suite, &[3; 32]).unwrap());
    let c_r = ConnId::new(&[2]).unwrap();
    let mut responder =
        Responder::new(ResponderConfig { suites: Suite::ALL, methods: Method::ALL, c_r, known_eads: &[] });
    let len_1 = initiator.message_1(&[], &mut air).unwrap();
    responder.handle_message_1(&air[..len_1]).unwrap();
    let ephemeral = EphemeralKey::from_bytes(suite, &[4; 32]).unwrap();
    let len_2 = responder
        .message_2(ephemeral, &two.id_cred(kind), &two.cred, &two.key.auth(), &[], &mut air)
        .unwrap();
    let peer = initiator.parse_message_2(&air[..len_2], &mut text).unwrap();
    initiator.verify_message_2(&peer, &two.cred, two.key.public()).unwrap();
    let len_3 = initiator.message_3(&one.id_cred(kind), &one.cred, &one.key.auth(), &[], &mut air).unwrap();
    let peer = responder.parse_message_3(&air[..len_3], &mut text).unwrap();
    responder.verify_message_3(&peer, &one.cred, one.key.public()).unwrap();
    let len_4 = responder.message_4(&[], &mut air).unwrap();
    initiator.handle_message_4(&air[..len_4], &mut text).unwrap();
    [len_1, len_2, len_3, len_4]
}

fn table() -> String {
    let mut table = String::from(
        "| suite | method | `kid` | `x5t` | CCS | CWT | `x5chain` |\n|---|---|---|---|---|---|---|\n",
    );
    for suite in [Suite::S2, Suite::S4, Suite::S5] {
        for method in Method::ALL {
            write!(table, "| {} | {} |", suite.number(), method.number()).unwrap();
            for kind in KINDS {
                if kind == Kind::Cwt && suite == Suite::S4 {
                    table.push_str(" - |"); // our CWTs are over P-256 keys
                    continue;
                }
                let [one, two, three, four] = handshake(suite, *method, kind);
                let sum = one + two + three + four;
                write!(table, " {one} + {two} + {three} + {four} = {sum} |").unwrap();
            }
            table.push('\n');
        }
    }
    table
}

#[test]
fn the_table_in_the_document_is_what_is_sent() {
    let table = table();
    assert!(DOCUMENT.contains(&table), "docs/protocol.md needs:\n{table}");
}
