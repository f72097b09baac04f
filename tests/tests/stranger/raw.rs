//! The platform's side of one context, word by word: what the SDK never says, the lock must still judge.

use cardea_framing::{Class, Datagram, Kind, elide, restore};
use cardea_oscore::coap::{Builder, Code, Message, option};
use cardea_oscore::{Algorithm, Binding, Context, echo};
use cardea_resources::{Event, EventKind};

use crate::world::World;

pub struct Raw {
    context: Context,
    /// The same from the lock's side.
    locks: Context,
    /// What `inner` has seen asked: whether by the lock, token, binding.
    asked: Vec<(bool, Vec<u8>, Binding)>,
    pub number: u64,
}

/// What came back, opened.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: u8,
    pub echo: Option<Vec<u8>>,
    /// Without padding only where the lock sent none.
    pub payload: Vec<u8>,
    pub own_number: bool,
}

impl Raw {
    /// Speaks under the lock's newest context, from a number on that the platform has not come to.
    pub fn of(world: &mut World) -> Self {
        let parts = world.inside("context");
        let parts: Vec<Vec<u8>> = parts.iter().map(|part| hex::decode(part).unwrap()).collect();
        let [secret, salt, lock, platform] = &parts[..] else { panic!("no context") };
        let derive = |sender, recipient| {
            Context::derive(Algorithm::AesCcm16_64_128, secret, salt, None, sender, recipient).unwrap()
        };
        Self {
            context: derive(platform, lock),
            locks: derive(lock, platform),
            asked: Vec::new(),
            number: 1000,
        }
    }

    /// A request under `number`, as a datagram.
    pub fn request(
        &self,
        number: u64,
        code: Code,
        path: &str,
        echo: Option<&[u8]>,
        payload: &[u8],
    ) -> (Vec<u8>, Binding) {
        let (mut plain, mut coap) = ([0; 512], [0; 512]);
        let mut builder = Builder::request(&mut plain, code, number).unwrap();
        builder = builder.option(option::URI_PATH, path.as_bytes()).unwrap();
        if let Some(value) = echo {
            builder = builder.option(option::ECHO, value).unwrap();
        }
        let len = if payload.is_empty() { builder.finish() } else { builder.payload(payload).unwrap() };
        let (len, binding) = self.context.protect_request(number, &plain[..len], &mut coap).unwrap();
        let mut body = [0; 512];
        let len = elide(&coap[..len], &mut body).unwrap();
        (datagram(Kind::PlatformOscore, &body[..len]), binding)
    }

    /// Asks under the next number; `None`: silence.
    pub fn ask(
        &mut self,
        world: &mut World,
        code: Code,
        path: &str,
        echo: Option<&[u8]>,
        payload: &[u8],
    ) -> Option<Reply> {
        self.number += 1;
        self.ask_under(world, self.number, code, path, echo, payload)
    }

    pub fn ask_under(
        &mut self,
        world: &mut World,
        number: u64,
        code: Code,
        path: &str,
        echo: Option<&[u8]>,
        payload: &[u8],
    ) -> Option<Reply> {
        let (datagram, binding) = self.request(number, code, path, echo, payload);
        let before = world.ups.len();
        world.platform_hears = false;
        world.down(datagram);
        world.run_for(200);
        world.platform_hears = true;
        let replies: Vec<Reply> =
            world.ups[before..].iter().filter_map(|up| self.open(up, &binding)).collect();
        assert!(replies.len() < 2, "{replies:?}");
        replies.into_iter().next()
    }

    fn open(&mut self, up: &[u8], binding: &Binding) -> Option<Reply> {
        let (mut coap, mut plain) = ([0; 1200], [0; 1200]);
        let len = restore(Datagram::parse(up).unwrap().body, &mut coap).unwrap();
        let (len, own) = self.context.unprotect_response(binding, &coap[..len], &mut plain).ok()?;
        let message = Message::parse(&plain[..len]).unwrap();
        Some(Reply {
            code: message.code().to_byte(),
            echo: echo::value(&message).unwrap().map(<[u8]>::to_vec),
            payload: message.payload().to_vec(),
            own_number: own.is_some(),
        })
    }

    /// The lock's next challenge: somebody touches it.
    pub fn challenge(&mut self, world: &mut World) -> [u8; 4] {
        let before = world.ups.len();
        world.platform_hears = false;
        world.at_the_lock("touch");
        world.platform_hears = true;
        let answered = self.answer_events(world, before);
        let touch = answered.into_iter().find(|event| event.kind == EventKind::Touch);
        touch.expect("a touch").challenge
    }

    /// Answers every event since this place among the lock's datagrams, so that the lock need not say it again.
    pub fn answer_events(&mut self, world: &mut World, since: usize) -> Vec<Event> {
        let mut events: Vec<_> = world.ups[since..].iter().filter_map(|up| self.read_event(up)).collect();
        for (_, binding, token) in &mut events {
            let (mut plain, mut coap, mut body) = ([0; 64], [0; 64], [0; 64]);
            let len = Builder::response(&mut plain, Code::CHANGED, token, None).unwrap().finish();
            let len = self.context.protect_response(binding, None, &plain[..len], &mut coap).unwrap();
            let len = elide(&coap[..len], &mut body).unwrap();
            world.down(datagram(Kind::PlatformOscore, &body[..len]));
        }
        world.carry();
        events.into_iter().map(|(event, ..)| event).collect()
    }

    /// The CoAP message in a datagram of either side.
    pub fn inner(&mut self, from_lock: bool, datagram: &[u8]) -> Vec<u8> {
        let (mut coap, mut plain) = ([0; 1200], [0; 1200]);
        let len = restore(Datagram::parse(datagram).unwrap().body, &mut coap).unwrap();
        let message = Message::parse(&coap[..len]).unwrap();
        let is_request = message.code().is_request();
        let context = if from_lock { &mut self.context } else { &mut self.locks };
        let opened = if is_request {
            let (len, binding) = context.unprotect_request(&coap[..len], &mut plain).unwrap();
            self.asked.push((from_lock, message.token().to_vec(), binding));
            len
        } else {
            let answers =
                |asked: &&(bool, Vec<u8>, Binding)| asked.0 != from_lock && asked.1 == message.token();
            let mut asked = self.asked.iter().rev().filter(answers);
            let opened = asked
                .find_map(|(.., binding)| context.unprotect_response(binding, &coap[..len], &mut plain).ok());
            opened.expect("a request that it answers").0
        };
        plain[..opened].to_vec()
    }

    fn read_event(&mut self, up: &[u8]) -> Option<(Event, Binding, Vec<u8>)> {
        let (mut coap, mut plain) = ([0; 256], [0; 256]);
        let len = restore(Datagram::parse(up).unwrap().body, &mut coap).ok()?;
        let (len, binding) = self.context.unprotect_request(&coap[..len], &mut plain).ok()?;
        let message = Message::parse(&plain[..len]).unwrap();
        Some((Event::decode(message.payload()).unwrap(), binding, message.token().to_vec()))
    }

    /// The Echo of a 4.01, which a request without freshness gets.
    pub fn echo(&mut self, world: &mut World, code: Code, path: &str, payload: &[u8]) -> Vec<u8> {
        let reply = self.ask(world, code, path, None, payload).expect("an answer");
        assert_eq!((reply.code, reply.own_number), (0x81, true), "{reply:?}");
        reply.echo.expect("an Echo")
    }
}

pub fn datagram(kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0; body.len() + 1];
    let length = Datagram { kind, class: Class::Interactive, peer: None, body }.encode(&mut out).unwrap();
    out.truncate(length);
    out
}
