use std::collections::{BTreeSet, VecDeque};

use cardea_credentials::{
    Agreement, EAD_ACTIVATION_3, EAD_ACTIVATION_4, OwnerCode, Signer, SoftAgreement, SoftSigner,
    activation_mac, issue_platform, verify_activation_mac, verify_lock_identity,
};
use cardea_edhoc::correlation::{Prefix, prepend, split};
use cardea_edhoc::{
    AuthKey, ConnId, Ead, EphemeralKey, Error as EdhocError, ErrorMessage, IdCred, Method, Responder,
    ResponderConfig, Suite,
};
use cardea_framing::{Class, Datagram, Kind, elide, restore};
use cardea_oscore::coap::{Builder, Code, Message, Type, option};
use cardea_oscore::{Algorithm, Binding, Context, OscoreOption, echo};
use cardea_resources::{Event, EventReply};

use super::board::{TestRandom, key};

/// A reply of the lock, decrypted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    pub code: Code,
    pub payload: Vec<u8>,
    pub echo: Option<Vec<u8>>,
    /// Whether it had a Partial IV of its own.
    pub own_number: bool,
}

pub struct Keys {
    pub context: Context,
    /// Next sequence number of the platform.
    pub next: u64,
    waiting: Vec<Binding>,
    /// Sequence numbers that the lock used, requests and responses.
    pub seen: BTreeSet<u64>,
}

/// What a test may have the platform do wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Fault {
    #[default]
    None,
    /// message_4 without EAD_4.
    NoProof,
    /// EAD_4 under another code.
    WrongProof,
    /// message_4 never arrives.
    LoseMessage4,
    /// message_4 never arrives, and somebody on the air says error 3 in its place.
    ForgedError,
    /// message_2 with a broken MAC.
    BrokenMessage2,
}

pub struct Platform {
    random: TestRandom,
    pub root: SoftSigner,
    dh: SoftAgreement,
    pub cwt: Vec<u8>,
    pub code: Option<OwnerCode>,
    running: Option<Responder>,
    /// C_I of the handshake that runs.
    c_i: Option<ConnId>,
    /// The lock's credential, once it proved the owner code.
    pub lock: Option<Vec<u8>>,
    /// It knows the lock's key, and takes its credential by value and without a proof of the owner code.
    pub knows_key: bool,
    /// How the lock named itself in each message_3, and whether it proved the owner code.
    pub names: Vec<(&'static str, bool)>,
    /// An OSCORE message of the lock came.
    pub confirmed: bool,
    next_id: u8,
    /// Newest last.
    pub keys: Vec<Keys>,
    pub down: VecDeque<Vec<u8>>,
    pub replies: Vec<Reply>,
    pub events: Vec<Event>,
    /// Datagrams as they came.
    pub up: Vec<Vec<u8>>,
    pub answers_events: bool,
    pub tells_time: bool,
    pub cursor: Option<u32>,
    pub by_value: bool,
    /// Answers an event without Echo by a 4.01 with this one, once.
    pub echo_for_events: Option<[u8; 8]>,
    /// Echo values that events brought back.
    pub echoed: Vec<Vec<u8>>,
    pub fault: Fault,
    pub now_ms: u64,
    pub handshakes: usize,
    pub errors: Vec<i32>,
}

impl Platform {
    /// A platform under root number 9, or another one where a test needs a stranger.
    pub fn new(code: Option<OwnerCode>, version: u32) -> Self {
        Self::under(key::signer(9), code, version)
    }

    pub fn under(root: SoftSigner, code: Option<OwnerCode>, version: u32) -> Self {
        let dh = key::agreement(20 + version as u8);
        let mut cwt = [0; 256];
        let len = issue_platform(&root, &dh.public(), &key::signer(30).public(), version, &mut cwt).unwrap();
        Self {
            random: TestRandom::new(u64::from(version)),
            root,
            dh,
            cwt: cwt[..len].to_vec(),
            code,
            running: None,
            c_i: None,
            lock: None,
            knows_key: false,
            names: Vec::new(),
            confirmed: false,
            next_id: 0x40,
            keys: Vec::new(),
            down: VecDeque::new(),
            replies: Vec::new(),
            events: Vec::new(),
            up: Vec::new(),
            answers_events: true,
            tells_time: true,
            cursor: None,
            by_value: false,
            echo_for_events: None,
            echoed: Vec::new(),
            fault: Fault::None,
            now_ms: 0,
            handshakes: 0,
            errors: Vec::new(),
        }
    }

    /// The same platform with its key rotated.
    pub fn rotate(&mut self, version: u32) {
        let fresh = Self::under(key::signer(9), None, version);
        self.dh = fresh.dh;
        self.cwt = fresh.cwt;
        self.by_value = true;
    }

    pub fn uplink(&mut self, datagram: &[u8]) {
        self.up.push(datagram.to_vec());
        let datagram = Datagram::parse(datagram).unwrap();
        match datagram.kind {
            Kind::PlatformEdhoc => self.edhoc(datagram.body),
            Kind::PlatformOscore => self.oscore(datagram.body),
            other => panic!("a lock sent {other:?}"),
        }
    }

    fn edhoc(&mut self, body: &[u8]) {
        let (prefix, message) = split(body).unwrap();
        if let Ok(error) = ErrorMessage::decode(message)
            && prefix != Prefix::New
        {
            self.errors.push(error.code());
            self.running = None;
            return;
        }
        let result = match prefix {
            Prefix::New => self.message_1(message),
            Prefix::Session(id) => self.message_3(id, message),
        };
        if let Err((c_i, error)) = result {
            self.running = None;
            if let Some(answer) = ErrorMessage::answering(error, &[Suite::S2]) {
                self.send_edhoc(c_i, |out| answer.encode(out).unwrap());
            }
        }
    }

    fn message_1(&mut self, message: &[u8]) -> Result<(), (ConnId, EdhocError)> {
        self.handshakes += 1;
        self.next_id += 1;
        let config = ResponderConfig {
            suites: &[Suite::S2],
            methods: &[Method::StaticDh],
            c_r: ConnId::new(&[self.next_id]).unwrap(),
            known_eads: const { &[EAD_ACTIVATION_3.unsigned_abs()] },
        };
        let mut responder = Responder::new(config);
        let c_i = responder.handle_message_1(message).unwrap().c_i;
        self.c_i = Some(c_i);
        // Until the lock's first OSCORE message it may not have the platform's credential.
        let by_value = self.by_value || !self.confirmed;
        let kid = key::agreement(1).public().thumbprint();
        let cwt = self.cwt.clone();
        let id_cred = if by_value { IdCred::Kcwt(&cwt) } else { IdCred::Kid(&kid[..1]) };
        let mut broken = cwt.clone();
        if self.fault == Fault::BrokenMessage2 {
            broken[20] ^= 1;
        }
        let dh = key_of(&self.dh);
        let mut message_2 = [0; 512];
        let ephemeral = EphemeralKey::generate(Suite::S2, &mut self.random).unwrap();
        let key = AuthKey::Agreement(&dh);
        let len = responder.message_2(ephemeral, &id_cred, &broken, &key, &[], &mut message_2).unwrap();
        self.send_edhoc(c_i, |out| {
            out[..len].copy_from_slice(&message_2[..len]);
            len
        });
        self.running = Some(responder);
        Ok(())
    }

    fn message_3(&mut self, id: ConnId, message: &[u8]) -> Result<(), (ConnId, EdhocError)> {
        let Some(responder) = &mut self.running else { return Ok(()) };
        assert_eq!(id, responder.c_r());
        let mut plaintext = [0; 512];
        let c_i = self.c_i.unwrap();
        let fail = |error| (c_i, error);
        let peer = responder.parse_message_3(message, &mut plaintext).map_err(fail)?;
        let by = if matches!(peer.id_cred, IdCred::Kid(_)) { "kid" } else { "value" };
        self.names.push((by, peer.eads.value(EAD_ACTIVATION_3).is_some()));
        let cwt = match peer.id_cred {
            IdCred::Kcwt(cwt) => cwt.to_vec(),
            IdCred::Kid(_) => self.lock.clone().ok_or_else(|| fail(EdhocError::UnknownCredential))?,
            _ => return Err(fail(EdhocError::UnsupportedCredential)),
        };
        let identity = verify_lock_identity(&cwt).unwrap();
        let th_3 = responder.th_3().unwrap();
        responder.verify_message_3(&peer, &cwt, identity.dh).map_err(fail)?;
        let proof = peer.eads.value(EAD_ACTIVATION_3);
        let mut ead_4 = None;
        if let Some(proof) = proof {
            if let Some(code) = &self.code {
                verify_activation_mac(code, EAD_ACTIVATION_3, &th_3, &cwt, proof)
                    .map_err(|_| fail(EdhocError::Authentication))?;
                let th_4 = responder.th_4().unwrap();
                ead_4 = Some(activation_mac(code, EAD_ACTIVATION_4, &th_4, &self.cwt));
            }
            match self.fault {
                Fault::NoProof => ead_4 = None,
                Fault::WrongProof => ead_4 = Some([9; 16]),
                _ => {}
            }
        } else if self.lock.is_none() && !self.knows_key {
            return Err(fail(EdhocError::UnknownCredential));
        }
        self.lock = Some(cwt);
        let keys = responder.oscore().unwrap();
        let context = Context::derive(
            Algorithm::AesCcm16_64_128,
            keys.secret(),
            &keys.salt,
            None,
            keys.sender_id.as_bytes(),
            keys.recipient_id.as_bytes(),
        )
        .unwrap();
        self.keys.push(Keys { context, next: 0, waiting: Vec::new(), seen: BTreeSet::new() });
        let mut message_4 = [0; 128];
        let eads: Vec<_> = ead_4.iter().map(|mac| Ead::new(EAD_ACTIVATION_4, mac)).collect();
        let len = responder.message_4(&eads, &mut message_4).unwrap();
        match self.fault {
            Fault::LoseMessage4 => {}
            Fault::ForgedError => {
                self.send_edhoc(c_i, |out| ErrorMessage::UnknownCredential.encode(out).unwrap());
            }
            _ => self.send_edhoc(c_i, |out| {
                out[..len].copy_from_slice(&message_4[..len]);
                len
            }),
        }
        Ok(())
    }

    fn send_edhoc(&mut self, c_i: ConnId, write: impl FnOnce(&mut [u8]) -> usize) {
        let mut body = [0; 512];
        let at = prepend(&Prefix::Session(c_i), &mut body).unwrap();
        let len = at + write(&mut body[at..]);
        self.send(Kind::PlatformEdhoc, &body[..len]);
    }

    fn send(&mut self, kind: Kind, body: &[u8]) {
        self.down.push_back(datagram(kind, body));
    }

    fn oscore(&mut self, body: &[u8]) {
        let mut coap = [0; 512];
        let len = restore(body, &mut coap).unwrap();
        let coap = coap[..len].to_vec();
        let message = Message::parse(&coap).unwrap();
        let mut plain = [0; 512];
        if message.code().is_request() {
            let header = OscoreOption::of(&message).unwrap();
            let Some(keys) = self.keys.iter_mut().find(|keys| keys.context.matches(&header)) else { return };
            let (len, mut binding) = keys.context.unprotect_request(&coap, &mut plain).unwrap();
            assert!(keys.seen.insert(binding.partial_iv()), "the lock used a sequence number twice");
            self.confirmed = true;
            let inner = Message::parse(&plain[..len]).unwrap();
            assert_eq!(inner.path().next(), Some(&b"e"[..]));
            self.events.push(Event::decode(inner.payload()).unwrap());
            let class = Datagram::parse(self.up.last().unwrap()).unwrap().class;
            if !self.answers_events || class == Class::Telemetry {
                return;
            }
            self.echoed.extend(echo::value(&inner).unwrap().map(<[u8]>::to_vec));
            let asked = self.echo_for_events.take();
            let time = self.tells_time.then_some((self.now_ms / 1000) as u32);
            let mut payload = [0; EventReply::MAX_LEN];
            let len = EventReply { cursor: self.cursor, time }.encode(&mut payload).unwrap();
            let mut out = [0; 128];
            let code = if asked.is_some() { Code::UNAUTHORIZED } else { Code::CHANGED };
            let mut builder = Builder::new(&mut out, Type::NonConfirmable, code, 0, message.token()).unwrap();
            if let Some(value) = asked {
                builder = builder.option(option::ECHO, &value).unwrap();
            }
            let len =
                if asked.is_some() { builder.finish() } else { builder.payload(&payload[..len]).unwrap() };
            let mut sealed = [0; 128];
            let len = keys.context.protect_response(&mut binding, None, &out[..len], &mut sealed).unwrap();
            let body = elided(&sealed[..len]);
            self.send(Kind::PlatformOscore, &body);
        } else {
            for keys in self.keys.iter_mut().rev() {
                for at in 0..keys.waiting.len() {
                    let opened = keys.context.unprotect_response(&keys.waiting[at], &coap, &mut plain);
                    let Ok((len, own)) = opened else { continue };
                    if let Some(number) = own {
                        assert!(keys.seen.insert(number), "the lock used a sequence number twice");
                    }
                    let inner = Message::parse(&plain[..len]).unwrap();
                    self.replies.push(Reply {
                        code: inner.code(),
                        payload: inner.payload().to_vec(),
                        echo: echo::value(&inner).unwrap().map(<[u8]>::to_vec),
                        own_number: own.is_some(),
                    });
                    keys.waiting.remove(at);
                    return;
                }
            }
            panic!("a response to nothing");
        }
    }

    /// A sealed request as a datagram, under the newest keys.
    pub fn request(&mut self, path: &str, code: Code, payload: &[u8], echo: Option<&[u8]>) -> Vec<u8> {
        let newest = self.keys.len() - 1;
        self.request_under(newest, path, code, payload, echo)
    }

    pub fn request_under(
        &mut self,
        which: usize,
        path: &str,
        code: Code,
        payload: &[u8],
        echo: Option<&[u8]>,
    ) -> Vec<u8> {
        let keys = &mut self.keys[which];
        let number = keys.next;
        keys.next += 1;
        let mut coap = [0; 128];
        let token = [number as u8];
        let mut builder = Builder::new(&mut coap, Type::NonConfirmable, code, number as u16, &token).unwrap();
        if !path.is_empty() {
            builder = builder.option(option::URI_PATH, path.as_bytes()).unwrap();
        }
        if let Some(echo) = echo {
            builder = builder.option(option::ECHO, echo).unwrap();
        }
        let len = if payload.is_empty() { builder.finish() } else { builder.payload(payload).unwrap() };
        let mut sealed = [0; 256];
        let (len, binding) = keys.context.protect_request(number, &coap[..len], &mut sealed).unwrap();
        keys.waiting.push(binding);
        datagram(Kind::PlatformOscore, &elided(&sealed[..len]))
    }
}

fn key_of(dh: &SoftAgreement) -> SoftAgreement {
    SoftAgreement::from_bytes(&dh.to_bytes()).unwrap()
}

pub fn elided(message: &[u8]) -> Vec<u8> {
    let mut out = vec![0; message.len() + 1];
    let len = elide(message, &mut out).unwrap();
    out.truncate(len);
    out
}

pub fn datagram(kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0; body.len() + 1];
    Datagram { kind, class: Class::Interactive, peer: None, body }.encode(&mut out).unwrap();
    out
}
