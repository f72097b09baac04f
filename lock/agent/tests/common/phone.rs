//! Whoever has a grant: an EDHOC Initiator with the grant as its credential, and an OSCORE client.

use cardea_credentials::{
    Agreement, EAD_GRANTS_ABOVE, PublicKey, Scope, Signer, SoftAgreement, Terms, Weekly, delegate_grant,
    issue_grant, verify_grant_chain, verify_lock_identity,
};
use cardea_edhoc::correlation::{Prefix, prepend, split};
use cardea_edhoc::{
    AuthKey, ConnId, Ead, EphemeralKey, IdCred, Initiator, InitiatorConfig, Method, OscoreKeys, Suite,
};
use cardea_framing::{Class, Datagram, Kind, elide, restore};
use cardea_oscore::coap::{Builder, Code, Message, Type, option};
use cardea_oscore::{Algorithm, Context, echo};

use super::World;
use super::board::{TestRandom, key};
use super::platform::Reply;

pub struct Phone {
    /// Its address at the site.
    pub address: u16,
    pub grant: Vec<u8>,
    /// The grants above it, the platform's first.
    pub above: Vec<u8>,
    pub key: SoftAgreement,
    pub c_i: u8,
    /// What the last session's keys come from.
    pub keys: Option<OscoreKeys>,
    random: TestRandom,
    context: Option<Context>,
    next: u64,
}

/// Everything, for an hour from now on.
pub fn terms(world: &World, holder: PublicKey) -> Terms {
    let lock = key::signer(1).public().thumbprint();
    let (not_before, expires) = (world.unix() - 60, world.unix() + 3600);
    let scope = Scope::UNLOCK | Scope::LOCK | Scope::STATUS;
    Terms { lock, holder, scope, not_before, expires, single_use: false, window: None, delegate: None }
}

/// A window of the week that holds no hour of the day on which `unix` lies.
pub fn another_day(unix: u32) -> Weekly {
    let day = (unix / 86_400 + 3) % 7; // 1970-01-01 was a Thursday
    Weekly::new(0x7f & !(1 << day), 0, 96).unwrap()
}

impl Phone {
    /// A phone whose grant says what `change` makes of [`terms`].
    pub fn with(world: &World, address: u16, change: impl FnOnce(&mut Terms)) -> Self {
        Self::signed(world, address, &key::signer(30), change)
    }

    /// The same under another signature than the platform's.
    pub fn signed(world: &World, address: u16, by: &dyn Signer, change: impl FnOnce(&mut Terms)) -> Self {
        let key = key::agreement(50 + (address % 100) as u8);
        let mut terms = terms(world, key.public());
        change(&mut terms);
        let mut grant = [0; 256];
        let len = issue_grant(&terms, &[address as u8; 8], by, &mut grant).unwrap();
        Self {
            address,
            grant: grant[..len].to_vec(),
            above: Vec::new(),
            key,
            c_i: 0x31,
            keys: None,
            random: TestRandom::new(address.into()),
            context: None,
            next: 0,
        }
    }

    /// A phone with a grant below these, each delegated to the next: the first by the platform, the last its own.
    pub fn chain(world: &World, address: u16, links: &[Terms], delegates: &[u8]) -> Self {
        let lock = key::signer(1).public().thumbprint();
        let platform = key::signer(30);
        let mut phone = Self::new(world, address);
        let mut grants = Vec::<Vec<u8>>::new();
        for (n, terms) in links.iter().enumerate() {
            let mut out = [0; 256];
            let id = [address as u8, n as u8, 0, 0, 0, 0, 0, 0];
            let len = match grants.split_last() {
                None => issue_grant(terms, &id, &platform, &mut out),
                Some((parent, above)) => {
                    let above = above.concat();
                    let parent =
                        verify_grant_chain(parent, &above, &lock, &platform.public(), || Ok(())).unwrap();
                    delegate_grant(&parent, terms, &id, &key::signer(delegates[n - 1]), &mut out)
                }
            };
            grants.push(out[..len.unwrap()].to_vec());
        }
        phone.grant = grants.pop().unwrap();
        phone.above = grants.concat();
        phone
    }

    pub fn new(world: &World, address: u16) -> Self {
        Self::with(world, address, |_| {})
    }

    fn datagram(&self, kind: Kind, body: &[u8]) -> Vec<u8> {
        let mut out = [0; 1024];
        let peer = Some(self.address);
        let len = Datagram { kind, class: Class::Interactive, peer, body }.encode(&mut out).unwrap();
        out[..len].to_vec()
    }

    /// Gives the lock a datagram; what it says to this peer.
    pub fn exchange(&self, world: &mut World, datagram: &[u8]) -> Vec<Vec<u8>> {
        world.for_peers.clear();
        world.give(datagram);
        let ours = |bytes: &Vec<u8>| Datagram::parse(bytes).unwrap().peer == Some(self.address);
        std::mem::take(&mut world.for_peers).into_iter().filter(ours).collect()
    }

    pub fn message_1(&mut self) -> (Initiator, Vec<u8>) {
        let config = InitiatorConfig {
            suite: Suite::S2,
            refused_suites: &[],
            method: Method::StaticDh,
            c_i: ConnId::new(&[self.c_i]).unwrap(),
            known_eads: &[],
        };
        let mut initiator =
            Initiator::new(config, EphemeralKey::generate(Suite::S2, &mut self.random).unwrap());
        let mut body = [0; 512];
        let at = prepend(&Prefix::New, &mut body).unwrap();
        let len = at + initiator.message_1(&[], &mut body[at..]).unwrap();
        let datagram = self.datagram(Kind::PeerEdhoc, &body[..len]);
        (initiator, datagram)
    }

    /// Answers message_2; the datagram with message_3.
    pub fn message_3(&self, world: &World, initiator: &mut Initiator, message_2: &[u8]) -> Vec<u8> {
        let datagram = Datagram::parse(message_2).unwrap();
        let (prefix, message) = split(datagram.body).unwrap();
        assert_eq!(prefix, Prefix::Session(initiator.c_i()));
        let mut plain = [0; 512];
        let peer = initiator.parse_message_2(message, &mut plain).unwrap();
        let lock = world.platform.lock.clone().unwrap();
        assert!(matches!(peer.id_cred, IdCred::Kid(_)), "the lock is named, not shown");
        let dh = verify_lock_identity(&lock).unwrap().dh;
        initiator.verify_message_2(&peer, &lock, dh).unwrap();
        let mut body = [0; 1024];
        let at = prepend(&Prefix::Session(peer.conn_id), &mut body).unwrap();
        let key = AuthKey::Agreement(&self.key);
        let id_cred = IdCred::Kcwt(&self.grant);
        let above = [Ead::new(EAD_GRANTS_ABOVE, &self.above)];
        let eads = if self.above.is_empty() { &[][..] } else { &above };
        let len = at + initiator.message_3(&id_cred, &self.grant, &key, eads, &mut body[at..]).unwrap();
        self.datagram(Kind::PeerEdhoc, &body[..len])
    }

    /// The whole handshake; false if the lock leaves it unanswered.
    pub fn connect(&mut self, world: &mut World) -> bool {
        let (mut initiator, message_1) = self.message_1();
        let Some(message_2) = self.exchange(world, &message_1).pop() else { return false };
        let message_3 = self.message_3(world, &mut initiator, &message_2);
        let Some(message_4) = self.exchange(world, &message_3).pop() else { return false };
        let datagram = Datagram::parse(&message_4).unwrap();
        let (_, message) = split(datagram.body).unwrap();
        let mut plain = [0; 512];
        initiator.handle_message_4(message, &mut plain).unwrap();
        let keys = initiator.oscore().unwrap();
        let (sender, recipient) = (keys.sender_id.as_bytes(), keys.recipient_id.as_bytes());
        let algorithm = Algorithm::AesCcm16_64_128;
        let context = Context::derive(algorithm, keys.secret(), &keys.salt, None, sender, recipient);
        (self.context, self.next) = (Some(context.unwrap()), 0);
        self.keys = Some(keys);
        true
    }

    /// A sealed request, and what opens its answer.
    pub fn request(
        &mut self,
        path: &str,
        code: Code,
        payload: &[u8],
        echoed: Option<&[u8]>,
    ) -> (Vec<u8>, cardea_oscore::Binding) {
        let (mut coap, mut sealed, mut body) = ([0; 512], [0; 512], [0; 512]);
        let number = self.next;
        self.next += 1;
        let mut builder = Builder::new(&mut coap, Type::NonConfirmable, code, number as u16, &[7])
            .unwrap()
            .option(option::URI_PATH, path.as_bytes())
            .unwrap();
        if let Some(echoed) = echoed {
            builder = builder.option(option::ECHO, echoed).unwrap();
        }
        let len = if payload.is_empty() { builder.finish() } else { builder.payload(payload).unwrap() };
        let context = self.context.as_ref().unwrap();
        let (len, binding) = context.protect_request(number, &coap[..len], &mut sealed).unwrap();
        let len = elide(&sealed[..len], &mut body).unwrap();
        (self.datagram(Kind::PeerOscore, &body[..len]), binding)
    }

    /// Opens an answer.
    pub fn open(&mut self, datagram: &[u8], binding: &cardea_oscore::Binding) -> Reply {
        let datagram = Datagram::parse(datagram).unwrap();
        assert_eq!((datagram.kind, datagram.peer), (Kind::PeerOscore, Some(self.address)));
        let (mut coap, mut plain) = ([0; 512], [0; 512]);
        let len = restore(datagram.body, &mut coap).unwrap();
        let context = self.context.as_mut().unwrap();
        let (len, own) = context.unprotect_response(binding, &coap[..len], &mut plain).unwrap();
        let inner = Message::parse(&plain[..len]).unwrap();
        Reply {
            code: inner.code(),
            payload: inner.payload().to_vec(),
            echo: echo::value(&inner).unwrap().map(<[u8]>::to_vec),
            own_number: own.is_some(),
        }
    }

    /// Asks, and gives the one answer; `None` if the lock is silent.
    pub fn ask(
        &mut self,
        world: &mut World,
        path: &str,
        code: Code,
        payload: &[u8],
        echoed: Option<&[u8]>,
    ) -> Option<Reply> {
        let (request, binding) = self.request(path, code, payload, echoed);
        let answer = self.exchange(world, &request).pop()?;
        Some(self.open(&answer, &binding))
    }
}
