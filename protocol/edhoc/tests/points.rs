//! Points that are none, that are zero, or that have a small order, at everything that takes a point: an error each
//! time, a panic never.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a panic here is a verdict

use cardea_credentials::cbor::{Reader, Writer};
use cardea_credentials::okp::{self, Ed25519Key, SoftX25519, X25519Agreement as _, X25519Key};
use cardea_credentials::{
    Agreement as _, CoseKey, Error as KeyError, PublicKey, Sign1, SoftAgreement, SoftSigner, decode_ccs,
    verify_lock_identity, verify_platform,
};
use cardea_edhoc::{
    AuthKey, ConnId, EphemeralKey, Error, IdCred, Initiator, InitiatorConfig, Method, Responder,
    ResponderConfig, Suite,
};

fn hex32(text: &str) -> [u8; 32] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// x coordinates that no P-256 point of ours has: zero, on the curve but never meant; not on the curve (RFC 9529
/// chapter 4); the field's prime and above, where a reduction would give another point.
fn bad_x() -> [[u8; 32]; 5] {
    [
        [0; 32],
        hex32("a04e73601df544a70ba7ea1e57030f7d4b4eb7f673924e58d54ca77a5e7d4d4a"),
        hex32("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"),
        hex32("ffffffff00000001000000000000000000000001000000000000000000000004"), // p + 5, which is on the curve as 5
        [0xff; 32],
    ]
}

/// X25519 points of small order, with and without the bit that is not looked at, and their forms above the prime
/// (RFC 7748 §6.1).
fn small_order() -> Vec<[u8; 32]> {
    let mut points: Vec<[u8; 32]> = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ]
    .map(hex32)
    .to_vec();
    let high: Vec<_> = points
        .iter()
        .map(|point| {
            let mut high = *point;
            high[31] |= 0x80;
            high
        })
        .collect();
    points.extend(high);
    points
}

fn message_1(suite: Suite, x: &[u8; 32]) -> Vec<u8> {
    [&[3, suite.number() as u8, 0x58, 0x20][..], x, &[1]].concat()
}

fn responder(suite: &'static [Suite]) -> Responder {
    Responder::new(ResponderConfig {
        suites: suite,
        methods: &[Method::StaticDh],
        c_r: ConnId::new(&[2]).unwrap(),
        known_eads: &[],
    })
}

fn initiator(suite: Suite) -> Initiator {
    let config = InitiatorConfig {
        suite,
        refused_suites: &[],
        method: Method::StaticDh,
        c_i: ConnId::new(&[1]).unwrap(),
        known_eads: &[],
    };
    let mut initiator = Initiator::new(config, EphemeralKey::from_bytes(suite, &[5; 32]).unwrap());
    initiator.message_1(&[], &mut [0; 64]).unwrap();
    initiator
}

#[test]
fn no_bad_x_becomes_a_p_256_key() {
    for x in bad_x() {
        let shown = hex::encode(x);
        assert_eq!(PublicKey::from_x(&x), Err(KeyError::InvalidKey), "{shown}");
        assert_eq!(PublicKey::from_x_sign(x, true), Err(KeyError::InvalidKey), "{shown}");
        assert_eq!(PublicKey::from_xy(x, [1; 32]), Err(KeyError::InvalidKey), "{shown}");
        assert_eq!(PublicKey::from_xy(x, [0; 32]), Err(KeyError::InvalidKey), "{shown}");
        assert_eq!(PublicKey::from_sec1(&[&[2][..], &x].concat()), Err(KeyError::InvalidKey), "{shown}");
    }
    let good = SoftAgreement::from_bytes(&[3; 32]).unwrap().public();
    let (x, mut y) = (good.x(), good.y());
    assert_eq!(PublicKey::from_xy(x, y), Ok(good));
    y[31] ^= 1;
    assert_eq!(PublicKey::from_xy(x, y), Err(KeyError::InvalidKey), "another y is off the curve");
    for sec1 in [&[][..], &[0], &[5; 33], &[4; 65], &[4; 64], &[2; 32], &[2; 34]] {
        assert_eq!(PublicKey::from_sec1(sec1), Err(KeyError::InvalidKey), "{}", hex::encode(sec1));
    }
    for scalar in [[0; 32], [0xff; 32]] {
        assert!(matches!(SoftAgreement::from_bytes(&scalar), Err(KeyError::InvalidKey)));
        assert!(matches!(SoftSigner::from_bytes(&scalar), Err(KeyError::InvalidKey)));
        assert!(matches!(EphemeralKey::from_bytes(Suite::S2, &scalar), Err(Error::InvalidKey)));
    }
}

#[test]
fn no_bad_x_passes_in_a_cose_key_a_ccs_or_a_cwt() {
    let signer = SoftSigner::from_bytes(&[7; 32]).unwrap();
    for x in bad_x() {
        for y in [vec![0xf5], [&[0x58, 0x20][..], &[9; 32]].concat()] {
            let key = [&[0xa4, 1, 2, 0x20, 1, 0x21, 0x58, 0x20][..], &x, &[0x22], &y].concat();
            assert_eq!(CoseKey::read(&mut Reader::new(&key)).map(drop), Err(KeyError::InvalidKey));
            let ccs = [&[0xa1, 8, 0xa1, 1][..], &key].concat();
            assert_eq!(decode_ccs(&ccs).map(drop), Err(KeyError::InvalidKey));
            // Well signed all the same.
            let mut cwt = [0; 256];
            let kid = cardea_credentials::Signer::public(&signer).to_compressed();
            let len = Sign1::encode(&signer, Some(&kid), &[], &ccs, &mut cwt).unwrap();
            assert_eq!(verify_lock_identity(&cwt[..len]).map(drop), Err(KeyError::InvalidKey));
            assert_eq!(verify_platform(&cwt[..len], None).map(drop), Err(KeyError::InvalidKey));
        }
        // As the signer's name, which is a key.
        let (mut cwt, kid) = ([0; 256], [&[3][..], &x].concat());
        let len = Sign1::encode(&signer, Some(&kid), &[], &[0xa0], &mut cwt).unwrap();
        assert_eq!(verify_lock_identity(&cwt[..len]).map(drop), Err(KeyError::InvalidKey));
        assert_eq!(verify_platform(&cwt[..len], None).map(drop), Err(KeyError::InvalidKey));
    }
}

#[test]
fn no_point_of_small_order_becomes_a_key() {
    for point in small_order() {
        let shown = hex::encode(point);
        assert_eq!(X25519Key::from_bytes(&point).map(drop), Err(KeyError::InvalidKey), "{shown}");
        let mut ccs = [0; 64];
        let mut writer = Writer::new(&mut ccs);
        writer.raw(&[0xa1, 8, 0xa1, 1, 0xa3, 1, 1, 0x20, 4, 0x21]).unwrap().bytes(&point).unwrap();
        assert_eq!(okp::decode_ccs(writer.as_slice()).map(drop), Err(KeyError::InvalidKey), "{shown}");
    }
    // Ed25519: no point at all, the neutral one, and others of small order.
    for bytes in [
        hex32("0100000000000000000000000000000000000000000000000000000000000000"),
        hex32("0000000000000000000000000000000000000000000000000000000000000000"),
        hex32("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        hex32("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        hex32("0200000000000000000000000000000000000000000000000000000000000000"),
    ] {
        assert_eq!(
            Ed25519Key::from_bytes(&bytes).map(drop),
            Err(KeyError::InvalidKey),
            "{}",
            hex::encode(bytes)
        );
    }
    // And a twist point of full order is fine: X25519 is made for it.
    let key = SoftX25519::from_bytes(&[9; 32]);
    assert!(key.agree(&X25519Key::from_bytes(&[2; 32]).unwrap()).is_ok());
}

#[test]
fn no_bad_point_passes_in_message_1_or_2() {
    let p256 = bad_x().map(|x| (Suite::S2, &[Suite::S2][..], x));
    let curve25519 = small_order().into_iter().map(|x| (Suite::S4, &[Suite::S4][..], x));
    for (suite, suites, x) in p256.into_iter().chain(curve25519) {
        let shown = hex::encode(x);
        let mut responder = responder(suites);
        let refused = responder.handle_message_1(&message_1(suite, &x)).map(drop);
        assert_eq!(refused, Err(Error::InvalidKey), "{shown}");
        // Over before a multiplication: there is nothing left to answer with.
        let key = SoftAgreement::from_bytes(&[3; 32]).unwrap();
        let ephemeral = EphemeralKey::from_bytes(suite, &[4; 32]).unwrap();
        let auth = AuthKey::Agreement(&key);
        let answer = responder.message_2(ephemeral, &IdCred::Kid(&[1]), &[], &auth, &[], &mut [0; 128]);
        assert_eq!(answer, Err(Error::WrongOrder), "{shown}");

        let message_2 = [&[0x58, 43][..], &x, &[0; 11]].concat();
        let refused = initiator(suite).parse_message_2(&message_2, &mut [0; 64]).map(drop);
        assert_eq!(refused, Err(Error::InvalidKey), "{shown}");
    }
}
