//! EDHOC handshakes per suite and method, lakers beside them, and OSCORE protection, in one run. Everything happens in
//! memory on one thread: what is measured is computation, and messages are counted in bytes.
//!
//! The rows take turns, round after round, so that a disturbance of the machine meets all of them; what is printed is the
//! median.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use cardea_credentials::{
    Agreement as _, CoseKey, Error as KeyError, PublicKey, Random, Signer as _, SoftAgreement, SoftSigner,
    YForm,
    cbor::Writer,
    okp::{self, Ed25519Signer as _, OkpKey, SoftEd25519, SoftX25519, X25519Agreement as _},
};
use cardea_edhoc::{
    AuthKey, ConnId, EphemeralKey, IdCred, Initiator, InitiatorConfig, MAX_MESSAGE, Method, PeerKey,
    Responder, ResponderConfig, Suite,
};
use cardea_oscore::{
    Algorithm, Context,
    coap::{Builder, Code, option},
};
use lakers::{
    Credential, CredentialTransfer, EDHOCMethod, EDHOCSuite, EdhocInitiator, EdhocResponder,
    credential_check_or_fetch,
};
use lakers_crypto_rustcrypto::Crypto;
use rand_core_06::OsRng;

const ROUNDS: usize = 200;
const SUITES: [Suite; 3] = [Suite::S2, Suite::S4, Suite::S5];
const PAYLOADS: [usize; 3] = [8, 32, 48];

struct Os;

impl Random for Os {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), KeyError> {
        getrandom::fill(out).map_err(|_| KeyError::RandomUnavailable)
    }
}

/// A private key of any kind.
enum Key {
    Agreement(SoftAgreement),
    Signer(SoftSigner),
    X25519(SoftX25519),
    Ed25519(SoftEd25519),
}

/// One side's key and its CCS.
struct Party {
    key: Key,
    /// As a side that has the credential knows it, without a multiplication.
    public: PeerKey,
    ccs: Vec<u8>,
    kid: [u8; 1],
}

impl Party {
    fn new(suite: Suite, signs: bool, byte: u8) -> Self {
        let secret = [byte; 32];
        let key = match (suite == Suite::S4, signs) {
            (false, false) => Key::Agreement(SoftAgreement::from_bytes(&secret).unwrap()),
            (false, true) => Key::Signer(SoftSigner::from_bytes(&secret).unwrap()),
            (true, false) => Key::X25519(SoftX25519::from_bytes(&secret)),
            (true, true) => Key::Ed25519(SoftEd25519::from_bytes(&secret)),
        };
        let public = match &key {
            Key::Agreement(key) => PeerKey::P256(key.public()),
            Key::Signer(key) => PeerKey::P256(key.public()),
            Key::X25519(key) => PeerKey::X25519(key.public()),
            Key::Ed25519(key) => PeerKey::Ed25519(key.public()),
        };
        let mut party = Self { key, public, ccs: Vec::new(), kid: [byte] };
        party.ccs = party.credential();
        party
    }

    fn credential(&self) -> Vec<u8> {
        let mut out = [0; 128];
        let len = match self.public {
            PeerKey::P256(key) => p256_ccs(&key, &self.kid, &mut out),
            PeerKey::X25519(key) => {
                okp::encode_ccs(None, &OkpKey::X25519(key), Some(&self.kid), &mut out).unwrap()
            }
            PeerKey::Ed25519(key) => {
                okp::encode_ccs(None, &OkpKey::Ed25519(key), Some(&self.kid), &mut out).unwrap()
            }
        };
        out[..len].to_vec()
    }

    fn auth(&self) -> AuthKey<'_> {
        match &self.key {
            Key::Agreement(key) => AuthKey::Agreement(key),
            Key::Signer(key) => AuthKey::Signer(key),
            Key::X25519(key) => AuthKey::X25519(key),
            Key::Ed25519(key) => AuthKey::Ed25519(key),
        }
    }
}

/// With a subject, which lakers wants.
fn p256_ccs(key: &PublicKey, kid: &[u8], out: &mut [u8]) -> usize {
    let mut writer = Writer::new(out);
    writer.map(2).unwrap().int(2).unwrap().text("bench").unwrap().raw(&[8, 0xa1, 1]).unwrap();
    CoseKey::write(key, Some(kid), YForm::Full, &mut writer).unwrap();
    writer.len()
}

/// A whole handshake by `kid`, both sides, with fresh ephemeral keys, to the exported OSCORE secret; its bytes.
fn ours(suite: Suite, method: Method, initiator: &Party, responder: &Party) -> [usize; 4] {
    let (mut air, mut text) = ([0; MAX_MESSAGE], [0; MAX_MESSAGE]);
    let config = InitiatorConfig {
        suite,
        refused_suites: &[],
        method,
        c_i: ConnId::new(&[1]).unwrap(),
        known_eads: &[],
    };
    let mut one = Initiator::new(config, EphemeralKey::generate(suite, &mut Os).unwrap());
    let c_r = ConnId::new(&[2]).unwrap();
    let mut two =
        Responder::new(ResponderConfig { suites: &SUITES, methods: Method::ALL, c_r, known_eads: &[] });
    let len_1 = one.message_1(&[], &mut air).unwrap();
    two.handle_message_1(&air[..len_1]).unwrap();
    let ephemeral = EphemeralKey::generate(suite, &mut Os).unwrap();
    let id_cred = IdCred::Kid(&responder.kid);
    let len_2 = two.message_2(ephemeral, &id_cred, &responder.ccs, &responder.auth(), &[], &mut air).unwrap();
    let peer = one.parse_message_2(&air[..len_2], &mut text).unwrap();
    one.verify_message_2(&peer, &responder.ccs, responder.public).unwrap();
    let id_cred = IdCred::Kid(&initiator.kid);
    let len_3 = one.message_3(&id_cred, &initiator.ccs, &initiator.auth(), &[], &mut air).unwrap();
    let peer = two.parse_message_3(&air[..len_3], &mut text).unwrap();
    two.verify_message_3(&peer, &initiator.ccs, initiator.public).unwrap();
    let len_4 = two.message_4(&[], &mut air).unwrap();
    one.handle_message_4(&air[..len_4], &mut text).unwrap();
    assert_eq!(one.oscore().unwrap().secret(), two.oscore().unwrap().secret());
    [len_1, len_2, len_3, len_4]
}

/// The same by lakers, suite 2, method 3.
fn lakers(initiator: &Party, responder: &Party) -> [usize; 4] {
    let credential = |party: &Party| Credential::parse_ccs(&party.ccs).unwrap();
    let (cred_i, cred_r) = (credential(initiator), credential(responder));
    let one = EdhocInitiator::new(Crypto::new(OsRng), EDHOCMethod::StatStat, EDHOCSuite::CipherSuite2);
    let secret = [responder.kid[0]; 32];
    let two = EdhocResponder::new(Crypto::new(OsRng), EDHOCMethod::StatStat, secret, cred_r);
    let (one, message_1) = one.prepare_message_1(None, &None).unwrap();
    let (two, _, _) = two.process_message_1(&message_1).unwrap();
    let (two, message_2) = two.prepare_message_2(CredentialTransfer::ByReference, None, &None).unwrap();
    let (mut one, _, id_cred_r, _) = one.parse_message_2(&message_2).unwrap();
    let known = credential_check_or_fetch(Some(cred_r), id_cred_r).unwrap();
    one.set_identity([initiator.kid[0]; 32], cred_i).unwrap();
    let one = one.verify_message_2(known).unwrap();
    let (one, message_3, _) = one.prepare_message_3(CredentialTransfer::ByReference, &None).unwrap();
    let (two, id_cred_i, _) = two.parse_message_3(&message_3).unwrap();
    let known = credential_check_or_fetch(Some(cred_i), id_cred_i).unwrap();
    let (two, _) = two.verify_message_3(known).unwrap();
    let (mut two, message_4) = two.prepare_message_4(&None).unwrap();
    let (mut one, _) = one.process_message_4(&message_4).unwrap();
    assert_eq!(one.edhoc_exporter(0, &[], 16), two.edhoc_exporter(0, &[], 16));
    [message_1.len, message_2.len, message_3.len, message_4.len]
}

/// A row of the table: what is run, and how long it took each time.
struct Row<'a> {
    name: String,
    run: Box<dyn Fn() -> [usize; 4] + 'a>,
    took: Vec<Duration>,
}

fn handshakes() {
    let mut rows = Vec::new();
    for suite in SUITES {
        for method in Method::ALL {
            let party = |signs, byte| Party::new(suite, signs, byte);
            let (one, two) = (party(method.initiator_signs(), 0x21), party(method.responder_signs(), 0x32));
            let name = format!("{} | {}", suite.number(), method.number());
            rows.push(Row { name, run: Box::new(move || ours(suite, *method, &one, &two)), took: vec![] });
        }
    }
    let (one, two) = (Party::new(Suite::S2, false, 0x21), Party::new(Suite::S2, false, 0x32));
    let name = "2, lakers 0.8.0 | 3".to_owned();
    rows.push(Row { name, run: Box::new(move || lakers(&one, &two)), took: vec![] });
    for round in 0..=ROUNDS {
        for row in &mut rows {
            let start = Instant::now();
            black_box((row.run)());
            if round > 0 {
                row.took.push(start.elapsed()); // the first warms the caches
            }
        }
    }
    let (now, before) = multiplications();
    println!("## Handshakes by `kid`, both sides together, {ROUNDS} rounds\n");
    println!("| suite | method | bytes | median | fastest |\n|---|---|---|---|---|");
    for row in &mut rows {
        row.took.sort();
        let [a, b, c, d] = (row.run)();
        let (median, fastest) = (row.took[ROUNDS / 2], row.took[0]);
        let ms = |took: Duration| took.as_secs_f64() * 1e3;
        println!(
            "| {} | {a} + {b} + {c} + {d} = {} | {:.2} ms | {:.2} ms |",
            row.name,
            a + b + c + d,
            ms(median),
            ms(fastest)
        );
    }
    println!(
        "\nOne multiplication on P-256, fastest of {ROUNDS}: {:.0} µs by p256 0.14 (ours), {:.0} µs by p256 0.13 (lakers').",
        now.as_secs_f64() * 1e6,
        before.as_secs_f64() * 1e6
    );
}

/// A handshake with static keys is eight of these, in two generations of the same crate: ours and that below lakers.
fn multiplications() -> (Duration, Duration) {
    let now = {
        use p256::{ProjectivePoint, Scalar};
        let (point, scalar) = (ProjectivePoint::GENERATOR, -Scalar::from(0x0123_4567_89ab_cdef_u64));
        move || {
            black_box(black_box(point) * black_box(scalar));
        }
    };
    let before = {
        use p256_013::{ProjectivePoint, Scalar};
        let (point, scalar) = (ProjectivePoint::GENERATOR, -Scalar::from(0x0123_4567_89ab_cdef_u64));
        move || {
            black_box(black_box(point) * black_box(scalar));
        }
    };
    let time = |run: &dyn Fn()| {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    (0..ROUNDS)
        .fold((Duration::MAX, Duration::MAX), |best, _| (best.0.min(time(&now)), best.1.min(time(&before))))
}

/// Requests protected in a second of one thread, for a payload of this length.
fn protects(algorithm: Algorithm, payload: usize) -> f64 {
    let secret = vec![7; algorithm.key_len()];
    let context = Context::derive(algorithm, &secret, &[1; 8], None, &[0x0c], &[0x05]).unwrap();
    let (mut plain, mut wire) = ([0; 128], [0; 128]);
    let builder = Builder::request(&mut plain, Code::POST, 9).unwrap();
    let len = builder.option(option::URI_PATH, b"l").unwrap().payload(&vec![0xa5; payload]).unwrap();
    let (start, mut number) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_millis(300) {
        for _ in 0..1_000 {
            black_box(context.protect_request(number, &plain[..len], &mut wire).unwrap());
            number += 1;
        }
    }
    number as f64 / start.elapsed().as_secs_f64()
}

/// Prints both tables.
pub fn report() {
    handshakes();
    println!("\n## OSCORE requests protected a second, one thread, best of three\n");
    println!("| algorithm | 8 bytes | 32 bytes | 48 bytes |\n|---|---|---|---|");
    for (name, algorithm) in [
        ("10, AES-CCM-16-64-128", Algorithm::AesCcm16_64_128),
        ("24, ChaCha20/Poly1305", Algorithm::ChaCha20Poly1305),
    ] {
        let best = |payload| (0..3).map(|_| protects(algorithm, payload)).fold(0.0, f64::max);
        let [a, b, c] = PAYLOADS.map(best);
        println!("| {name} | {a:.0} | {b:.0} | {c:.0} |");
    }
}
