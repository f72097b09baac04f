//! What an attacker on the air may send to either end of a handshake. The sessions are those of one transcript of
//! the vectors, so that the corpus reaches the inside of messages 2 to 4.

use cardea_credentials::{Agreement, SoftAgreement, decode_ccs};
use cardea_edhoc::{
    AuthKey, ConnId, EphemeralKey, ErrorMessage, IdCred, Initiator, InitiatorConfig, MAX_MESSAGE, Method,
    Responder, ResponderConfig, Suite, correlation,
};

/// A static or ephemeral scalar; all are fixed and public.
const fn scalar(last: u8) -> [u8; 32] {
    let mut scalar = [0x11; 32];
    scalar[31] = last;
    scalar
}

struct World {
    key_i: SoftAgreement,
    key_r: SoftAgreement,
    cred_i: ([u8; 128], usize),
    cred_r: ([u8; 128], usize),
}

impl World {
    fn new() -> Option<Self> {
        let key_i = SoftAgreement::from_bytes(&scalar(1)).ok()?;
        let key_r = SoftAgreement::from_bytes(&scalar(2)).ok()?;
        let credential = |key: &SoftAgreement, kid: u8| {
            let mut out = [0; 128];
            let len = cardea_credentials::encode_ccs(None, &key.public(), Some(&[kid]), &mut out).ok()?;
            Some((out, len))
        };
        Some(Self { cred_i: credential(&key_i, 1)?, cred_r: credential(&key_r, 2)?, key_i, key_r })
    }

    /// Both ends after message_2, and that message.
    fn after_2(&self) -> Option<(Initiator, Responder, Vec<u8>)> {
        let mut initiator = initiator()?;
        let mut responder = responder()?;
        let mut out = [0; MAX_MESSAGE];
        let len = initiator.message_1(&[], &mut out).ok()?;
        responder.handle_message_1(out.get(..len)?).ok()?;
        let cred = self.cred_r.0.get(..self.cred_r.1)?;
        let len = responder
            .message_2(
                ephemeral_y()?,
                &IdCred::Kid(&[2]),
                cred,
                &AuthKey::Agreement(&self.key_r),
                &[],
                &mut out,
            )
            .ok()?;
        Some((initiator, responder, out.get(..len)?.to_vec()))
    }

    /// The Initiator on message_2; true where it believes it.
    fn believes_2(&self, initiator: &mut Initiator, message: &[u8]) -> bool {
        let mut text = [0; MAX_MESSAGE];
        let Ok(peer) = initiator.parse_message_2(message, &mut text) else { return false };
        if let Some(value) = peer.id_cred.by_value() {
            let _ = decode_ccs(value);
        }
        let cred = self.cred_r.0.get(..self.cred_r.1).unwrap_or_default();
        initiator.verify_message_2(&peer, cred, self.key_r.public()).is_ok()
    }

    fn message_3(&self, initiator: &mut Initiator) -> Option<Vec<u8>> {
        let mut out = [0; MAX_MESSAGE];
        let cred = self.cred_i.0.get(..self.cred_i.1)?;
        let len = initiator
            .message_3(&IdCred::Kid(&[1]), cred, &AuthKey::Agreement(&self.key_i), &[], &mut out)
            .ok()?;
        Some(out.get(..len)?.to_vec())
    }
}

fn initiator() -> Option<Initiator> {
    let config = InitiatorConfig {
        suite: Suite::S2,
        refused_suites: &[],
        method: Method::StaticDh,
        c_i: ConnId::new(&[3]).ok()?,
        known_eads: &[],
    };
    Some(Initiator::new(config, EphemeralKey::from_bytes(Suite::S2, &scalar(3)).ok()?))
}

fn ephemeral_y() -> Option<EphemeralKey> {
    EphemeralKey::from_bytes(Suite::S2, &scalar(4)).ok()
}

fn responder() -> Option<Responder> {
    let config = ResponderConfig {
        suites: &[Suite::S2],
        methods: &[Method::StaticDh],
        c_r: ConnId::new(&[4]).ok()?,
        known_eads: &[],
    };
    Some(Responder::new(config))
}

/// message_1, with and without its prefix. What is taken can be answered.
pub fn edhoc_message_1(data: &[u8]) {
    let bare = correlation::split(data).map_or(data, |(_, message)| message);
    let (Some(world), Some(mut responder)) = (World::new(), responder()) else { unreachable!("fixed keys") };
    if let Ok(message_1) = responder.handle_message_1(bare) {
        let same = message_1.c_i == responder.c_r();
        let mut out = [0; MAX_MESSAGE];
        let cred = world.cred_r.0.get(..world.cred_r.1).unwrap_or_default();
        let Some(y) = ephemeral_y() else { unreachable!("fixed keys") };
        let answer = responder.message_2(
            y,
            &IdCred::Kid(&[2]),
            cred,
            &AuthKey::Agreement(&world.key_r),
            &[],
            &mut out,
        );
        assert_eq!(answer.is_err(), same);
    }
}

/// message_2: only the genuine one is believed. Its encryption is a keystream that is the same in every run, so
/// mutations reach the decoder of plaintexts, which message_3 shares behind its AEAD.
pub fn edhoc_message_2(data: &[u8]) {
    let Some((world, (mut initiator, _, genuine))) = World::new().and_then(|w| w.after_2().map(|a| (w, a)))
    else {
        unreachable!("fixed keys")
    };
    assert_eq!(world.believes_2(&mut initiator, data), data == genuine);
}

/// message_3: only the genuine one is believed.
pub fn edhoc_message_3(data: &[u8]) {
    let Some((world, (mut initiator, mut responder, message_2))) =
        World::new().and_then(|w| w.after_2().map(|a| (w, a)))
    else {
        unreachable!("fixed keys")
    };
    assert!(world.believes_2(&mut initiator, &message_2));
    let genuine = world.message_3(&mut initiator);
    let mut text = [0; MAX_MESSAGE];
    let believed = responder.parse_message_3(data, &mut text).is_ok_and(|peer| {
        let cred = world.cred_i.0.get(..world.cred_i.1).unwrap_or_default();
        responder.verify_message_3(&peer, cred, world.key_i.public()).is_ok()
    });
    assert_eq!(believed, genuine.as_deref() == Some(data));
}

/// message_4: nothing but the Responder's own is believed.
pub fn edhoc_message_4(data: &[u8]) {
    let Some((world, (mut initiator, mut responder, message_2))) =
        World::new().and_then(|w| w.after_2().map(|a| (w, a)))
    else {
        unreachable!("fixed keys")
    };
    assert!(world.believes_2(&mut initiator, &message_2));
    let Some(message_3) = world.message_3(&mut initiator) else { unreachable!("fixed keys") };
    let mut text = [0; MAX_MESSAGE];
    let cred = world.cred_i.0.get(..world.cred_i.1).unwrap_or_default();
    let verified = responder
        .parse_message_3(&message_3, &mut text)
        .and_then(|peer| responder.verify_message_3(&peer, cred, world.key_i.public()));
    assert!(verified.is_ok());
    let mut out = [0; 64];
    let genuine = responder.message_4(&[], &mut out).ok().and_then(|len| out.get(..len));
    let believed = initiator.handle_message_4(data, &mut text).is_ok();
    assert_eq!(believed, genuine == Some(data));
}

/// Error messages and prefixes: what is read, is written the same.
pub fn edhoc_error(data: &[u8]) {
    let mut out = vec![0; data.len() + 8];
    if let Ok(message) = ErrorMessage::decode(data)
        && let Ok(len) = message.encode(&mut out)
        && !matches!(message, ErrorMessage::Success)
    {
        assert_eq!(out.get(..len), Some(data));
    }
    if let Ok((prefix, rest)) = correlation::split(data)
        && let Ok(len) = correlation::prepend(&prefix, &mut out)
    {
        assert_eq!(out.get(..len), data.get(..data.len() - rest.len()));
    }
}
