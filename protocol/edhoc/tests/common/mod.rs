//! Vectors of other implementations, read and replayed through the public interface.
#![allow(dead_code, missing_docs, unreachable_pub)] // each test binary uses its part

use cardea_credentials::{Agreement, PublicKey, SoftAgreement, decode_ccs};
use cardea_edhoc::{
    ConnId, Ead, Eads, EphemeralKey, Error, IdCred, Initiator, InitiatorConfig, MAX_MESSAGE, Method, Peer,
    Responder, ResponderConfig, Suite,
};
use serde_json::Value;

pub const TRANSCRIPTS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/edhoc-libedhoc.json"));

/// The critical labels that the transcripts use.
const KNOWN_EADS: &[u32] = &[6, 11];

pub fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

pub struct Party {
    pub key: SoftAgreement,
    pub cred: Vec<u8>,
    pub kid: Vec<u8>,
}

impl Party {
    fn load(value: &Value) -> Self {
        let key = SoftAgreement::from_bytes(&bytes(&value["sk"]).try_into().unwrap()).unwrap();
        assert_eq!(key.public().x().to_vec(), bytes(&value["public_key_x"]));
        let id_cred = bytes(&value["id_cred"]);
        let mut reader = cardea_credentials::cbor::Reader::new(&id_cred);
        assert_eq!((reader.map(), reader.int()), (Ok(1), Ok(4)));
        let cred = bytes(&value["cred"]);
        let read = decode_ccs(&cred).unwrap();
        assert_eq!(read.cose_key.key.x(), key.public().x());
        assert!(read.cose_key.x_only || read.cose_key.key == key.public());
        Self { key, kid: reader.bytes().unwrap().to_vec(), cred }
    }

    pub fn id_cred(&self) -> IdCred<'_> {
        IdCred::Kid(&self.kid)
    }

    pub fn public(&self) -> PublicKey {
        self.key.public()
    }
}

pub struct Transcript {
    pub value: Value,
    pub initiator: Party,
    pub responder: Party,
}

impl Transcript {
    /// The transcripts of suite 2, method 3 with credentials by `kid`.
    pub fn all() -> Vec<Self> {
        let all: Value = serde_json::from_str(TRANSCRIPTS).unwrap();
        ["transcripts_libedhoc", "transcripts_pyca"]
            .iter()
            .flat_map(|list| all[list].as_array().unwrap())
            .filter(|t| t["suite"] == 2 && t["method"] == 3 && t["initiator"]["credential_type"] == "kid_ccs")
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

    pub fn new_initiator(&self) -> Initiator {
        let suites = self.bytes("suites_i_cbor");
        let refused: Vec<i8> = match suites.as_slice() {
            [_] => Vec::new(),
            [_, refused @ .., _] => refused.iter().map(|suite| *suite as i8).collect(),
            [] => panic!(),
        };
        Initiator::new(
            InitiatorConfig {
                suite: Suite::S2,
                refused_suites: refused.leak(),
                method: Method::StaticDh,
                c_i: ConnId::new(&self.bytes("c_i")).unwrap(),
                known_eads: KNOWN_EADS,
            },
            EphemeralKey::from_bytes(&self.bytes("x").try_into().unwrap()).unwrap(),
        )
    }

    pub fn new_responder(&self) -> Responder {
        Responder::new(
            ResponderConfig {
                suites: &[Suite::S2],
                methods: &[Method::StaticDh],
                c_r: ConnId::new(&self.bytes("c_r")).unwrap(),
                known_eads: KNOWN_EADS,
            },
            EphemeralKey::from_bytes(&self.bytes("y").try_into().unwrap()).unwrap(),
        )
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
            responder.message_2(&self.responder.id_cred(), cred, key, eads, &mut out)
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
        initiator.verify_message_2(&peer, &known.cred, &known.public())
    }

    /// An Initiator that has sent message_3.
    pub fn initiator_sent_3(&self) -> Initiator {
        let mut initiator = self.initiator_sent_1();
        self.receive_2(&mut initiator, &self.message(2)).unwrap();
        let mut out = [0; MAX_MESSAGE];
        let Party { key, cred, .. } = &self.initiator;
        let len = with_eads(&self.eads(3), |eads| {
            initiator.message_3(&self.initiator.id_cred(), cred, key, eads, &mut out)
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
        responder.verify_message_3(&peer, &known.cred, &known.public())
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
