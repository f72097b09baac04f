//! Vectors of other implementations, read and replayed through the public interface.
#![allow(dead_code, missing_docs, unreachable_pub)] // each test binary uses its part

pub mod transcripts;

use cardea_credentials::okp::{self, Ed25519Signer, OkpKey, SoftEd25519, SoftX25519, X25519Agreement};
use cardea_credentials::{Agreement, Signer, SoftAgreement, SoftSigner, decode_ccs};
use cardea_edhoc::{
    AuthKey, ConnId, Ead, Eads, EphemeralKey, Error, IdCred, Initiator, InitiatorConfig, MAX_MESSAGE, Method,
    Peer, PeerKey, Responder, ResponderConfig, Suite, X5chain,
};
use serde_json::Value;

pub const TRANSCRIPTS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/edhoc-libedhoc.json"));

/// The critical labels that the transcripts use.
const KNOWN_EADS: &[u32] = &[6, 11];

pub fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

/// A private key of any kind.
pub enum Key {
    Agreement(SoftAgreement),
    Signer(SoftSigner),
    X25519(SoftX25519),
    Ed25519(SoftEd25519),
}

impl Key {
    pub fn auth(&self) -> AuthKey<'_> {
        match self {
            Self::Agreement(key) => AuthKey::Agreement(key),
            Self::Signer(key) => AuthKey::Signer(key),
            Self::X25519(key) => AuthKey::X25519(key),
            Self::Ed25519(key) => AuthKey::Ed25519(key),
        }
    }

    pub fn public(&self) -> PeerKey {
        match self {
            Self::Agreement(key) => PeerKey::P256(key.public()),
            Self::Signer(key) => PeerKey::P256(key.public()),
            Self::X25519(key) => PeerKey::X25519(key.public()),
            Self::Ed25519(key) => PeerKey::Ed25519(key.public()),
        }
    }
}

pub struct Party {
    pub key: Key,
    pub cred: Vec<u8>,
    /// ID_CRED_x, the whole map.
    id: Vec<u8>,
}

impl Party {
    fn load(value: &Value) -> Self {
        let sk = bytes(&value["sk"]).try_into().unwrap();
        let signs = value["auth"] == "signature";
        let cred = bytes(&value["cred"]);
        let by_key = value["credential_type"] == "kid_ccs";
        let key = match (value["type"].as_str().unwrap(), signs) {
            ("P-256", false) => Key::Agreement(SoftAgreement::from_bytes(&sk).unwrap()),
            ("P-256", true) => Key::Signer(SoftSigner::from_bytes(&sk).unwrap()),
            ("X25519", false) => Key::X25519(SoftX25519::from_bytes(&sk)),
            ("Ed25519", true) => Key::Ed25519(SoftEd25519::from_bytes(&sk)),
            other => panic!("{other:?}"),
        };
        // The credential is read as the product reads it, and holds this key.
        match key.public() {
            PeerKey::P256(public) => {
                assert_eq!(public.x().to_vec(), bytes(&value["public_key_x"]));
                if by_key {
                    let read = decode_ccs(&cred).unwrap();
                    assert_eq!(read.cose_key.key.x(), public.x());
                    assert!(read.cose_key.x_only || read.cose_key.key == public);
                }
            }
            PeerKey::X25519(public) if by_key => {
                assert_eq!(okp::decode_ccs(&cred).unwrap().key, OkpKey::X25519(public));
            }
            PeerKey::Ed25519(public) if by_key => {
                assert_eq!(okp::decode_ccs(&cred).unwrap().key, OkpKey::Ed25519(public));
            }
            _ => {}
        }
        Self { key, cred, id: bytes(&value["id_cred"]) }
    }

    /// ID_CRED_x as a sender states it.
    pub fn id_cred(&self) -> IdCred<'_> {
        let mut reader = cardea_credentials::cbor::Reader::new(&self.id);
        assert_eq!(reader.map(), Ok(1));
        match reader.int().unwrap() {
            4 => IdCred::Kid(reader.bytes().unwrap()),
            34 => {
                assert_eq!((reader.array(), reader.int()), (Ok(2), Ok(-15)));
                IdCred::X5t(reader.bytes().unwrap())
            }
            33 => IdCred::X5chain(X5chain::new(reader.rest()).unwrap()),
            other => panic!("{other}"),
        }
    }

    pub fn public(&self) -> PeerKey {
        self.key.public()
    }
}

pub struct Transcript {
    pub value: Value,
    pub initiator: Party,
    pub responder: Party,
}

impl Transcript {
    /// Every transcript there is.
    pub fn all() -> Vec<Self> {
        let all: Value = serde_json::from_str(TRANSCRIPTS).unwrap();
        ["transcripts_libedhoc", "transcripts_pyca"]
            .iter()
            .flat_map(|list| all[list].as_array().unwrap())
            .map(|value| Self {
                value: value.clone(),
                initiator: Party::load(&value["initiator"]),
                responder: Party::load(&value["responder"]),
            })
            .collect()
    }

    pub fn named(name: &str) -> Self {
        Self::all().into_iter().find(|transcript| transcript.name() == name).unwrap()
    }

    pub fn name(&self) -> &str {
        self.value["name"].as_str().unwrap()
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        bytes(&self.value[name])
    }

    pub fn message(&self, number: u8) -> Vec<u8> {
        bytes(&self.value["messages"][format!("message_{number}")])
    }

    pub fn eads(&self, number: u8) -> Vec<(i32, Option<Vec<u8>>)> {
        let read = |ead: &Value| {
            let label = i32::try_from(ead["label"].as_i64().unwrap()).unwrap();
            let label = if ead["critical"] == true { -label } else { label };
            (label, ead["value"].as_str().map(|value| hex::decode(value).unwrap()))
        };
        self.value[format!("ead_{number}")].as_array().unwrap().iter().map(read).collect()
    }

    pub fn suite(&self) -> Suite {
        Suite::from_number(self.value["suite"].as_i64().unwrap()).unwrap()
    }

    pub fn method(&self) -> Method {
        Method::from_number(self.value["method"].as_i64().unwrap()).unwrap()
    }

    pub fn ephemeral(&self, name: &str) -> EphemeralKey {
        EphemeralKey::from_bytes(self.suite(), &self.bytes(name).try_into().unwrap()).unwrap()
    }

    pub fn new_initiator(&self) -> Initiator {
        let suites = self.bytes("suites_i_cbor");
        let refused: Vec<i8> = match suites.as_slice() {
            [_] => Vec::new(),
            [_, refused @ .., _] => refused.iter().map(|suite| *suite as i8).collect(),
            [] => panic!(),
        };
        Initiator::new(
            InitiatorConfig {
                suite: self.suite(),
                refused_suites: refused.leak(),
                method: self.method(),
                c_i: ConnId::new(&self.bytes("c_i")).unwrap(),
                known_eads: KNOWN_EADS,
            },
            self.ephemeral("x"),
        )
    }

    pub fn new_responder(&self) -> Responder {
        Responder::new(ResponderConfig {
            suites: vec![self.suite()].leak(),
            methods: vec![self.method()].leak(),
            c_r: ConnId::new(&self.bytes("c_r")).unwrap(),
            known_eads: KNOWN_EADS,
        })
    }

    /// An Initiator that has sent message_1.
    pub fn initiator_sent_1(&self) -> Initiator {
        let mut initiator = self.new_initiator();
        let mut out = [0; MAX_MESSAGE];
        let len = with_eads(&self.eads(1), |eads| initiator.message_1(eads, &mut out)).unwrap();
        assert_eq!(hex::encode(&out[..len]), hex::encode(self.message(1)), "{}", self.name());
        initiator
    }

    /// A Responder that has sent message_2.
    pub fn responder_sent_2(&self) -> Responder {
        let mut responder = self.new_responder();
        let mut out = [0; MAX_MESSAGE];
        let message_1 = self.message(1);
        let read = responder.handle_message_1(&message_1).unwrap();
        same_eads(&read.eads, &self.eads(1));
        let Party { key, cred, .. } = &self.responder;
        let len = with_eads(&self.eads(2), |eads| {
            responder.message_2(
                self.ephemeral("y"),
                &self.responder.id_cred(),
                cred,
                &key.auth(),
                eads,
                &mut out,
            )
        })
        .unwrap();
        assert_eq!(hex::encode(&out[..len]), hex::encode(self.message(2)), "{}", self.name());
        responder
    }

    /// What an Initiator does on message_2: parse, look up, verify.
    pub fn receive_2(&self, initiator: &mut Initiator, message: &[u8]) -> Result<(), Error> {
        let mut plaintext = [0; MAX_MESSAGE];
        let peer = initiator.parse_message_2(message, &mut plaintext)?;
        let known = known(&peer, &self.responder)?;
        initiator.verify_message_2(&peer, &known.cred, known.public())
    }

    /// An Initiator that has sent message_3.
    pub fn initiator_sent_3(&self) -> Initiator {
        let mut initiator = self.initiator_sent_1();
        self.receive_2(&mut initiator, &self.message(2)).unwrap();
        let mut out = [0; MAX_MESSAGE];
        let Party { key, cred, .. } = &self.initiator;
        let len = with_eads(&self.eads(3), |eads| {
            initiator.message_3(&self.initiator.id_cred(), cred, &key.auth(), eads, &mut out)
        })
        .unwrap();
        assert_eq!(hex::encode(&out[..len]), hex::encode(self.message(3)), "{}", self.name());
        initiator
    }

    /// What a Responder does on message_3: parse, look up, verify.
    pub fn receive_3(&self, responder: &mut Responder, message: &[u8]) -> Result<(), Error> {
        let mut plaintext = [0; MAX_MESSAGE];
        let peer = responder.parse_message_3(message, &mut plaintext)?;
        let known = known(&peer, &self.initiator)?;
        responder.verify_message_3(&peer, &known.cred, known.public())
    }
}

/// Each side of a vector knows the other's credential and none else.
fn known<'p>(peer: &Peer<'_>, party: &'p Party) -> Result<&'p Party, Error> {
    if peer.id_cred == party.id_cred() { Ok(party) } else { Err(Error::UnknownCredential) }
}

pub fn with_eads<T>(eads: &[(i32, Option<Vec<u8>>)], then: impl FnOnce(&[Ead<'_>]) -> T) -> T {
    let eads: Vec<_> =
        eads.iter().map(|(label, value)| Ead { label: *label, value: value.as_deref() }).collect();
    then(&eads)
}

pub fn same_eads(read: &Eads<'_>, expected: &[(i32, Option<Vec<u8>>)]) {
    let read: Vec<_> = read.iter().map(|ead| (ead.label, ead.value.map(<[u8]>::to_vec))).collect();
    assert_eq!(read, expected);
}
