//! Secrets are gone from memory when their holder is dropped: each is looked for in the bytes of the object before, where
//! it must be found, and after, where it must not.
#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod agent;
#[path = "../../../agent/tests/common/mod.rs"]
mod common;

use core::mem::MaybeUninit;
use core::ptr;

use cardea_credentials::{Agreement, OwnerCode, SharedSecret, SoftAgreement, SoftSigner, Successor};
use cardea_edhoc::{
    AuthKey, ConnId, EphemeralKey, IdCred, Initiator, InitiatorConfig, Method, OscoreKeys, Responder,
    ResponderConfig, Suite,
};
use cardea_oscore::{Algorithm, Context};
use cardea_resources::Pin;

/// Where the bytes of `secret` lie in `bytes`, in this order or the other (big numbers are kept least significant first).
fn holds(bytes: &[u8], secret: &[u8]) -> bool {
    let mut turned = secret.to_vec();
    turned.reverse();
    bytes.windows(secret.len()).any(|window| window == secret || window == turned)
}

/// The bytes of the object at `at`, padding included.
fn bytes_of<T>(at: *const T) -> Vec<u8> {
    // SAFETY: `at` points to `size_of::<T>()` bytes of a live allocation, zeroed before the object was written there, so
    // that its padding has values too. Volatile: after the drop nobody else would read them.
    (0..size_of::<T>()).map(|n| unsafe { ptr::read_volatile(at.cast::<u8>().add(n)) }).collect()
}

/// Drops `value` where it lies and looks for what it held.
fn forgets<T>(what: &str, value: T, secrets: &[&[u8]]) {
    let mut place = Box::new(MaybeUninit::<T>::zeroed());
    place.write(value);
    let before = bytes_of(place.as_ptr());
    for secret in secrets {
        assert!(holds(&before, secret), "{what}: {} is not where it is looked for", hex(secret));
    }
    // SAFETY: it was written above and is dropped once.
    unsafe { place.assume_init_drop() };
    let after = bytes_of(place.as_ptr());
    for secret in secrets {
        // Half of it would be bad enough.
        let half = &secret[..secret.len() / 2];
        assert!(!holds(&after, half), "{what}: {} is still there", hex(secret));
    }
}

/// Compiles only if nobody can compare these with `==`, which is done early, or print them: what must compare them uses
/// `subtle`.
macro_rules! neither_compared_nor_printed {
    ($($secret:ty),*) => {$(
        const _: fn() = || {
            trait Neither<Which> {
                fn holds() {}
            }
            struct Compared;
            struct Printed;
            impl<T: ?Sized> Neither<()> for T {}
            impl<T: ?Sized + PartialEq> Neither<Compared> for T {}
            impl<T: ?Sized + core::fmt::Debug> Neither<Printed> for T {}
            let _ = <$secret as Neither<_>>::holds; // ambiguous if one of the two applies
        };
    )*};
}
neither_compared_nor_printed!(
    OwnerCode,
    Successor,
    SharedSecret,
    SoftSigner,
    SoftAgreement,
    EphemeralKey,
    OscoreKeys,
    Context,
    Pin
);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn secret<const N: usize>(first: u8) -> [u8; N] {
    core::array::from_fn(|n| first.wrapping_add(n as u8))
}

#[test]
fn keys_codes_and_pins_are_overwritten() {
    forgets("owner code", OwnerCode::from_bytes(secret(0x20)), &[&secret::<16>(0x20)]);
    forgets("what an owner code leaves", Successor::from_bytes(secret(0x30)), &[&secret::<16>(0x30)]);
    forgets("a shared secret", SharedSecret::new(secret(0x40)), &[&secret::<32>(0x40)]);
    forgets("a signing key", SoftSigner::from_bytes(&secret(0x50)).unwrap(), &[&secret::<32>(0x50)]);
    forgets("an agreement key", SoftAgreement::from_bytes(&secret(0x60)).unwrap(), &[&secret::<32>(0x60)]);
    forgets("a PIN", Pin::new(b"8316502947").unwrap(), &[b"8316502947"]);
}

/// RFC 8613 appendix C.1.1: the keys that this secret gives.
#[test]
fn the_keys_of_a_session_are_overwritten() {
    let master: [u8; 16] = secret(1);
    let salt = [0x9e, 0x7c, 0xa9, 0x22, 0x23, 0x78, 0x63, 0x40];
    let context = Context::derive(Algorithm::AesCcm16_64_128, &master, &salt, None, &[], &[1]).unwrap();
    let sender = 0xf091_0ed7_295e_6ad4_b54f_c793_1543_02ff_u128.to_be_bytes();
    let recipient = 0xffb1_4e09_3c94_c9ca_c947_1648_b4f9_8710_u128.to_be_bytes();
    forgets("an OSCORE context", context, &[&sender, &recipient]);
}

fn initiator() -> Initiator {
    let ephemeral = EphemeralKey::from_bytes(Suite::S2, &secret(0x70)).unwrap();
    Initiator::new(
        InitiatorConfig {
            suite: Suite::S2,
            refused_suites: &[],
            method: Method::StaticDh,
            c_i: ConnId::new(&[1]).unwrap(),
            known_eads: &[],
        },
        ephemeral,
    )
}

fn responder() -> Responder {
    Responder::new(ResponderConfig {
        suites: &[Suite::S2],
        methods: &[Method::StaticDh],
        c_r: ConnId::new(&[2]).unwrap(),
        known_eads: &[],
    })
}

/// Both sides of a handshake that is given up in the middle, and what a finished one gives to OSCORE.
#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "unoptimised moves leave copies in unused bytes; scripts/test runs it optimised"
)]
fn a_handshake_leaves_nothing_behind() {
    let (i, r) = (SoftAgreement::from_bytes(&[3; 32]).unwrap(), SoftAgreement::from_bytes(&[4; 32]).unwrap());
    let (key_i, key_r) = (AuthKey::Agreement(&i), AuthKey::Agreement(&r));
    let (cred_i, cred_r) = (b"one".as_slice(), b"other".as_slice());
    let (mut out, mut plain) = ([0; 256], [0; 256]);

    let (mut one, mut two) = (initiator(), responder());
    let len = one.message_1(&[], &mut out).unwrap();
    two.handle_message_1(&out[..len]).unwrap();
    let ephemeral = EphemeralKey::from_bytes(Suite::S2, &secret(0x11)).unwrap();
    let len = two.message_2(ephemeral, &IdCred::Kid(&[5]), cred_r, &key_r, &[], &mut out).unwrap();
    forgets("a responder that waits for message_3", two, &[&secret::<32>(0x11)]);
    let peer = one.parse_message_2(&out[..len], &mut plain).unwrap();
    assert!(matches!(peer.id_cred, IdCred::Kid(&[5])));
    forgets("an initiator that has read message_2", one, &[&secret::<32>(0x70)]);

    let (mut one, mut two) = (initiator(), responder());
    let len = one.message_1(&[], &mut out).unwrap();
    two.handle_message_1(&out[..len]).unwrap();
    let ephemeral = EphemeralKey::from_bytes(Suite::S2, &secret(0x11)).unwrap();
    let len = two.message_2(ephemeral, &IdCred::Kid(&[5]), cred_r, &key_r, &[], &mut out).unwrap();
    let mut plain = [0; 256];
    let peer = one.parse_message_2(&out[..len], &mut plain).unwrap();
    one.verify_message_2(&peer, cred_r, r.public()).unwrap();
    let len = one.message_3(&IdCred::Kid(&[6]), cred_i, &key_i, &[], &mut out).unwrap();
    let mut plain = [0; 256];
    let peer = two.parse_message_3(&out[..len], &mut plain).unwrap();
    two.verify_message_3(&peer, cred_i, i.public()).unwrap();
    let keys = two.oscore().unwrap();
    let master = keys.secret().to_vec();
    forgets("what OSCORE is made from", keys, &[&master]);
}
