//! The handshakes of the product: activation with CWTs by value and a proof of the owner code in both directions,
//! and what happens to calls in the wrong order, small buffers and hostile bytes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a panic here is a verdict

use cardea_credentials::{
    Agreement, EAD_ACTIVATION_3, EAD_ACTIVATION_4, Error as CredentialError, LOCK_CWT_LEN, OwnerCode, Random,
    Signer, SoftAgreement, SoftSigner, activation_mac, encode_ccs, issue_lock_identity, issue_platform,
    verify_activation_mac, verify_lock_identity, verify_platform,
};
use cardea_edhoc::{
    AuthKey, ConnId, Ead, EphemeralKey, Error, ErrorMessage, IdCred, Initiator, InitiatorConfig, MAX_MESSAGE,
    Method, Responder, ResponderConfig, Suite,
    correlation::{self, Prefix},
};
use proptest::prelude::*;

/// The labels above without their sign.
const ACTIVATION: &[u32] = &[EAD_ACTIVATION_3.unsigned_abs(), EAD_ACTIVATION_4.unsigned_abs()];

/// Counts up: good enough to be different each time, and the same in every run.
struct Counter(u8);

impl Random for Counter {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), CredentialError> {
        self.0 += 1;
        out.fill(self.0);
        Ok(())
    }
}

fn ephemeral(random: &mut Counter) -> EphemeralKey {
    EphemeralKey::generate(Suite::S2, random).unwrap()
}

struct World {
    lock_identity: SoftSigner,
    lock_dh: SoftAgreement,
    root: SoftSigner,
    platform_dh: SoftAgreement,
    platform_signing: SoftSigner,
    random: Counter,
}

impl World {
    fn new() -> Self {
        let mut random = Counter(0);
        Self {
            lock_identity: SoftSigner::generate(&mut random).unwrap(),
            lock_dh: SoftAgreement::generate(&mut random).unwrap(),
            root: SoftSigner::generate(&mut random).unwrap(),
            platform_dh: SoftAgreement::generate(&mut random).unwrap(),
            platform_signing: SoftSigner::generate(&mut random).unwrap(),
            random,
        }
    }

    fn lock_cwt(&self) -> Vec<u8> {
        let mut out = [0; 256];
        let len = issue_lock_identity(&self.lock_identity, &self.lock_dh.public(), &mut out).unwrap();
        out[..len].to_vec()
    }

    fn platform_cwt(&self) -> Vec<u8> {
        let mut out = [0; 256];
        let signing = self.platform_signing.public();
        let len = issue_platform(&self.root, &self.platform_dh.public(), &signing, 1, &mut out).unwrap();
        out[..len].to_vec()
    }

    fn initiator(&mut self) -> Initiator {
        let config = InitiatorConfig {
            suite: Suite::S2,
            refused_suites: &[],
            method: Method::StaticDh,
            c_i: ConnId::new(&[1]).unwrap(),
            known_eads: ACTIVATION,
        };
        Initiator::new(config, ephemeral(&mut self.random))
    }

    fn responder(&mut self) -> Responder {
        let config = ResponderConfig {
            suites: &[Suite::S2],
            methods: &[Method::StaticDh],
            c_r: ConnId::new(&[2]).unwrap(),
            known_eads: ACTIVATION,
        };
        Responder::new(config)
    }
}

#[test]
fn activation_by_value_proves_the_owner_code_both_ways() {
    let mut world = World::new();
    let code = OwnerCode::generate(&mut world.random).unwrap();
    let (lock_cwt, platform_cwt) = (world.lock_cwt(), world.platform_cwt());
    let (mut lock, mut platform) = (world.initiator(), world.responder());
    let (mut air, mut text) = ([0; MAX_MESSAGE], [0; MAX_MESSAGE]);

    let len_1 = lock.message_1(&[], &mut air).unwrap();
    platform.handle_message_1(&air[..len_1]).unwrap();
    let id_cred = IdCred::Kcwt(&platform_cwt);
    let len_2 = platform
        .message_2(
            ephemeral(&mut world.random),
            &id_cred,
            &platform_cwt,
            &AuthKey::Agreement(&world.platform_dh),
            &[],
            &mut air,
        )
        .unwrap();

    // The lock learns the root, but trusts it only after message_4.
    let peer = lock.parse_message_2(&air[..len_2], &mut text).unwrap();
    let cred_r = peer.id_cred.by_value().unwrap().to_vec();
    let certified = verify_platform(&cred_r, None).unwrap();
    assert_eq!(certified.root, world.root.public());
    lock.verify_message_2(&peer, &cred_r, certified.dh).unwrap();

    let proof = activation_mac(&code, EAD_ACTIVATION_3, &lock.th_3().unwrap(), &lock_cwt);
    let eads = [Ead::new(EAD_ACTIVATION_3, &proof)];
    let id_cred = IdCred::Kcwt(&lock_cwt);
    let len_3 =
        lock.message_3(&id_cred, &lock_cwt, &AuthKey::Agreement(&world.lock_dh), &eads, &mut air).unwrap();

    let th_3 = platform.th_3().unwrap();
    let peer = platform.parse_message_3(&air[..len_3], &mut text).unwrap();
    let cred_i = peer.id_cred.by_value().unwrap();
    let identity = verify_lock_identity(cred_i).unwrap();
    assert_eq!(identity.identity, world.lock_identity.public());
    platform.verify_message_3(&peer, cred_i, identity.dh).unwrap();
    let proof = peer.eads.value(EAD_ACTIVATION_3).unwrap();
    assert_eq!(verify_activation_mac(&code, EAD_ACTIVATION_3, &th_3, cred_i, proof), Ok(()));

    let proof = activation_mac(&code, EAD_ACTIVATION_4, &platform.th_4().unwrap(), &platform_cwt);
    let len_4 = platform.message_4(&[Ead::new(EAD_ACTIVATION_4, &proof)], &mut air).unwrap();
    let th_4 = lock.th_4().unwrap();
    let eads = lock.handle_message_4(&air[..len_4], &mut text).unwrap();
    let proof = eads.value(EAD_ACTIVATION_4).unwrap();
    assert_eq!(verify_activation_mac(&code, EAD_ACTIVATION_4, &th_4, &cred_r, proof), Ok(()));

    let (ours, theirs) = (lock.oscore().unwrap(), platform.oscore().unwrap());
    assert_eq!((ours.secret(), ours.salt), (theirs.secret(), theirs.salt));
    assert_eq!((ours.sender_id, ours.recipient_id), (theirs.recipient_id, theirs.sender_id));

    // What activation costs on air, before framing: the fixed costs are stated so that growth is noticed.
    assert_eq!(lock_cwt.len(), LOCK_CWT_LEN);
    assert_eq!([len_1, len_2, len_3, len_4], [37, 249, 200, 32]);
}

#[test]
fn calls_out_of_order_change_nothing() {
    let mut world = World::new();
    let mut ccs = [0; 128];
    let len = encode_ccs(None, &world.platform_dh.public(), Some(&[9]), &mut ccs).unwrap();
    let ccs = &ccs[..len];
    let kid = IdCred::Kid(&[9]);
    let (mut air, mut text) = ([0; MAX_MESSAGE], [0; MAX_MESSAGE]);
    let (mut lock, mut platform) = (world.initiator(), world.responder());
    let wrong = Error::WrongOrder;

    assert_eq!(lock.parse_message_2(&[0x40], &mut text).unwrap_err(), wrong);
    assert_eq!(
        lock.message_3(&kid, ccs, &AuthKey::Agreement(&world.lock_dh), &[], &mut air).unwrap_err(),
        wrong
    );
    assert_eq!(lock.handle_message_4(&[0x40], &mut text).unwrap_err(), wrong);
    assert_eq!(lock.oscore().map(drop).unwrap_err(), wrong);
    assert_eq!(
        platform
            .message_2(
                ephemeral(&mut world.random),
                &kid,
                ccs,
                &AuthKey::Agreement(&world.platform_dh),
                &[],
                &mut air
            )
            .unwrap_err(),
        wrong
    );
    assert_eq!(platform.parse_message_3(&[0x40], &mut text).unwrap_err(), wrong);
    assert_eq!(platform.message_4(&[], &mut air).unwrap_err(), wrong);

    assert_eq!(lock.message_1(&[], &mut air[..36]).unwrap_err(), Error::BufferTooSmall);
    let len = lock.message_1(&[], &mut air).unwrap();
    assert_eq!(lock.message_1(&[], &mut text).unwrap_err(), wrong);
    platform.handle_message_1(&air[..len]).unwrap();
    assert_eq!(platform.handle_message_1(&air[..len]).map(drop).unwrap_err(), wrong);
    let short = platform.message_2(
        ephemeral(&mut world.random),
        &kid,
        ccs,
        &AuthKey::Agreement(&world.platform_dh),
        &[],
        &mut air[..44],
    );
    assert_eq!(short.unwrap_err(), Error::BufferTooSmall);
    let len = platform
        .message_2(
            ephemeral(&mut world.random),
            &kid,
            ccs,
            &AuthKey::Agreement(&world.platform_dh),
            &[],
            &mut air,
        )
        .unwrap();
    assert_eq!(len, 45);

    let peer = lock.parse_message_2(&air[..len], &mut text).unwrap();
    assert_eq!(lock.oscore().map(drop).unwrap_err(), wrong);
    // One candidate for the kid is the wrong one; the next still has its chance.
    let mut other = [0; 128];
    let other_len = encode_ccs(Some("other"), &world.lock_dh.public(), Some(&[9]), &mut other).unwrap();
    let miss = lock.try_message_2(&peer, &other[..other_len], world.lock_dh.public());
    assert_eq!(miss.unwrap_err(), Error::Authentication);
    lock.verify_message_2(&peer, ccs, world.platform_dh.public()).unwrap();
    assert_eq!(lock.verify_message_2(&peer, ccs, world.platform_dh.public()).unwrap_err(), wrong);
    let len = lock.message_3(&kid, ccs, &AuthKey::Agreement(&world.lock_dh), &[], &mut air).unwrap();
    assert_eq!(
        lock.message_3(&kid, ccs, &AuthKey::Agreement(&world.lock_dh), &[], &mut text).unwrap_err(),
        wrong
    );

    let peer = platform.parse_message_3(&air[..len], &mut text).unwrap();
    platform.verify_message_3(&peer, ccs, world.lock_dh.public()).unwrap();
    let len = platform.message_4(&[], &mut air).unwrap();
    assert_eq!(platform.message_4(&[], &mut text).unwrap_err(), wrong, "a nonce is used once");
    lock.handle_message_4(&air[..len], &mut text).unwrap();
    assert_eq!(lock.handle_message_4(&air[..len], &mut text).unwrap_err(), wrong);
}

#[test]
fn a_bad_message_ends_the_session() {
    let mut world = World::new();
    let (mut air, mut text) = ([0; MAX_MESSAGE], [0; MAX_MESSAGE]);
    let mut lock = world.initiator();
    lock.message_1(&[], &mut air).unwrap();
    assert_eq!(lock.parse_message_2(&[0x40], &mut text).unwrap_err(), Error::Malformed);
    assert_eq!(lock.parse_message_2(&[0x40], &mut text).unwrap_err(), Error::WrongOrder);

    let mut lock = world.initiator();
    lock.message_1(&[], &mut air).unwrap();
    let len = ErrorMessage::UnknownCredential.encode(&mut air).unwrap();
    assert_eq!(lock.parse_message_2(&air[..len], &mut text).unwrap_err(), Error::PeerError(3));
}

/// The keys of a session that ends at message_3 or message_4 are gone, whatever was derived before.
#[test]
fn a_bad_ending_leaves_no_keys() {
    let mut world = World::new();
    let (lock_cwt, platform_cwt) = (world.lock_cwt(), world.platform_cwt());
    let (lock_id, platform_id) = (IdCred::Kcwt(&lock_cwt), IdCred::Kcwt(&platform_cwt));
    let (mut air, mut text) = ([0; MAX_MESSAGE], [0; MAX_MESSAGE]);
    let (mut lock, mut platform) = (world.initiator(), world.responder());
    let len = lock.message_1(&[], &mut air).unwrap();
    platform.handle_message_1(&air[..len]).unwrap();
    let len = platform
        .message_2(
            ephemeral(&mut world.random),
            &platform_id,
            &platform_cwt,
            &AuthKey::Agreement(&world.platform_dh),
            &[],
            &mut air,
        )
        .unwrap();
    let peer = lock.parse_message_2(&air[..len], &mut text).unwrap();
    lock.verify_message_2(&peer, &platform_cwt, world.platform_dh.public()).unwrap();
    let len =
        lock.message_3(&lock_id, &lock_cwt, &AuthKey::Agreement(&world.lock_dh), &[], &mut air).unwrap();
    lock.oscore().unwrap();
    let mut text_4 = [0; MAX_MESSAGE];
    assert_eq!(lock.handle_message_4(&[0x48; 9], &mut text_4).unwrap_err(), Error::Decryption);
    assert_eq!(lock.oscore().map(drop).unwrap_err(), Error::WrongOrder);

    let peer = platform.parse_message_3(&air[..len], &mut text).unwrap();
    let stranger = world.platform_dh.public();
    assert_eq!(platform.verify_message_3(&peer, &lock_cwt, stranger).unwrap_err(), Error::Authentication);
    let again = platform.verify_message_3(&peer, &lock_cwt, world.lock_dh.public());
    assert_eq!(again.unwrap_err(), Error::WrongOrder);
}

#[test]
fn both_sides_may_not_choose_the_same_identifier() {
    let mut world = World::new();
    let cred = world.platform_cwt();
    let mut air = [0; MAX_MESSAGE];
    let mut platform = world.responder();
    let len = world.initiator().message_1(&[], &mut air).unwrap();
    platform.set_c_r(ConnId::new(&[1]).unwrap()).unwrap();
    platform.handle_message_1(&air[..len]).unwrap();
    let id_cred = IdCred::Kcwt(&cred);
    let same = platform.message_2(
        ephemeral(&mut world.random),
        &id_cred,
        &cred,
        &AuthKey::Agreement(&world.platform_dh),
        &[],
        &mut air,
    );
    assert_eq!(same.unwrap_err(), Error::SameIdentifier);
    platform.set_c_r(ConnId::new(&[3]).unwrap()).unwrap();
    platform
        .message_2(
            ephemeral(&mut world.random),
            &id_cred,
            &cred,
            &AuthKey::Agreement(&world.platform_dh),
            &[],
            &mut air,
        )
        .unwrap();
}

#[test]
fn error_messages_to_the_byte() {
    let mut out = [0; 64];
    for (message, bytes) in [
        (ErrorMessage::Unspecified("no"), "01626e6f"),
        (ErrorMessage::WrongSuite([2].into_iter().collect()), "0202"),
        (ErrorMessage::WrongSuite([2, 24].into_iter().collect()), "0282021818"),
        (ErrorMessage::UnknownCredential, "03f5"),
    ] {
        let len = message.encode(&mut out).unwrap();
        assert_eq!(hex::encode(&out[..len]), bytes);
        assert_eq!(ErrorMessage::decode(&out[..len]), Ok(message));
    }
    for bytes in ["", "01", "0102", "028102", "0280", "03f4", "03f500", "1b000000010000000203"] {
        assert!(ErrorMessage::decode(&hex::decode(bytes).unwrap()).is_err(), "{bytes}");
    }
    assert_eq!(ErrorMessage::answering(Error::PeerError(1), &[]), None, "no error is answered by an error");
    assert_eq!(ErrorMessage::answering(Error::WrongOrder, &[]), None);
}

#[test]
fn the_prefix_says_whom_a_message_is_for() {
    let mut out = [0; 16];
    for (prefix, bytes) in [
        (Prefix::New, "f5"),
        (Prefix::Session(ConnId::new(&[0x37]).unwrap()), "37"),
        (Prefix::Session(ConnId::new(&[0x18]).unwrap()), "4118"),
        (Prefix::Session(ConnId::new(&[]).unwrap()), "40"),
        (Prefix::Session(ConnId::new(&[1, 2, 3, 4, 5, 6, 7]).unwrap()), "4701020304050607"),
    ] {
        let len = correlation::prepend(&prefix, &mut out).unwrap();
        assert_eq!(hex::encode(&out[..len]), bytes);
        out[len] = 0xaa;
        assert_eq!(correlation::split(&out[..=len]), Ok((prefix, &[0xaa][..])));
    }
    for bytes in ["", "f4", "f6", "4137", "1818", "48010203040506070809", "6137", "80"] {
        assert!(correlation::split(&hex::decode(bytes).unwrap()).is_err(), "{bytes}");
    }
}

proptest! {
    /// Bytes that nobody meant as EDHOC never panic, in any state.
    #[test]
    fn hostile_bytes_are_only_refused(message in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut world = World::new();
        let (mut air, mut text) = ([0; MAX_MESSAGE], [0; MAX_MESSAGE]);
        let _ = correlation::split(&message);
        let _ = ErrorMessage::decode(&message);
        let _ = world.responder().handle_message_1(&message).map(drop);
        let mut lock = world.initiator();
        lock.message_1(&[], &mut air).unwrap();
        let _ = lock.parse_message_2(&message, &mut text).map(drop);
    }

    /// One flipped bit anywhere in messages 2 to 4 never ends in agreement.
    #[test]
    fn a_flipped_bit_never_passes(which in 2_u8..=4, position in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut world = World::new();
        let (lock_cwt, platform_cwt) = (world.lock_cwt(), world.platform_cwt());
        let (mut lock, mut platform) = (world.initiator(), world.responder());
        let (mut air, mut text) = ([0; MAX_MESSAGE], [0; MAX_MESSAGE]);
        let flip = |number: u8, message: &mut [u8]| {
            if number == which {
                message[position.index(message.len())] ^= 1 << bit;
            }
        };
        let result = (|| {
            let len = lock.message_1(&[], &mut air)?;
            platform.handle_message_1(&air[..len])?;
            let len = platform.message_2(ephemeral(&mut world.random), &IdCred::Kcwt(&platform_cwt), &platform_cwt, &AuthKey::Agreement(&world.platform_dh), &[], &mut air)?;
            flip(2, &mut air[..len]);
            let peer = lock.parse_message_2(&air[..len], &mut text)?;
            lock.verify_message_2(&peer, &platform_cwt, world.platform_dh.public())?;
            let len = lock.message_3(&IdCred::Kcwt(&lock_cwt), &lock_cwt, &AuthKey::Agreement(&world.lock_dh), &[], &mut air)?;
            flip(3, &mut air[..len]);
            let peer = platform.parse_message_3(&air[..len], &mut text)?;
            platform.verify_message_3(&peer, &lock_cwt, world.lock_dh.public())?;
            let len = platform.message_4(&[], &mut air)?;
            flip(4, &mut air[..len]);
            lock.handle_message_4(&air[..len], &mut text).map(drop)
        })();
        prop_assert!(result.is_err_and(|error| error.ends_session()), "{result:?}");
    }
}
