//! The credentials and messages of this product: sizes, bindings, and what a thief or a tamperer gets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a panic here is a verdict

use cardea_credentials::{
    Activation, ActivationStatus, Agreement, Error, LOCK_CWT_LEN, MAX_ACTIVATION_STATUS_LEN,
    MAX_PLATFORM_CWT_LEN, OwnerCode, PublicKey, Random, Sign1, Signer, SoftAgreement, SoftSigner, encode_ccs,
    issue_lock_identity, issue_platform, verify_lock_identity, verify_platform,
};
use proptest::prelude::*;

fn signer(byte: u8) -> SoftSigner {
    SoftSigner::from_bytes(&[byte; 32]).unwrap()
}

fn agreement(byte: u8) -> SoftAgreement {
    SoftAgreement::from_bytes(&[byte; 32]).unwrap()
}

fn lock_cwt() -> Vec<u8> {
    let mut out = [0; 256];
    let len = issue_lock_identity(&signer(1), &agreement(2).public(), &mut out).unwrap();
    out[..len].to_vec()
}

fn platform_cwt(version: u32) -> Vec<u8> {
    let mut out = [0; 256];
    let len =
        issue_platform(&signer(3), &agreement(4).public(), &signer(5).public(), version, &mut out).unwrap();
    out[..len].to_vec()
}

fn status() -> ActivationStatus {
    ActivationStatus {
        lock: signer(1).public().thumbprint(),
        nonce: [7; 16],
        outcome: Activation::WrongCode,
        at: 1_800_000_000,
    }
}

/// Activation pays for these by the byte, once; afterwards a `kid` of one byte stands for them.
#[test]
fn sizes() {
    assert_eq!(lock_cwt().len(), LOCK_CWT_LEN);
    assert_eq!(LOCK_CWT_LEN, 157);
    assert_eq!(platform_cwt(1).len(), 203);
    assert_eq!(platform_cwt(u32::MAX).len(), MAX_PLATFORM_CWT_LEN);
    let mut out = [0; 256];
    let len = encode_ccs(None, &signer(1).public(), Some(&[0x2b]), &mut out).unwrap();
    assert_eq!(len, 82);
    let len = status().sign("gw-0001", &signer(5), &mut out).unwrap();
    assert_eq!(len, MAX_ACTIVATION_STATUS_LEN);
    assert_eq!(MAX_ACTIVATION_STATUS_LEN, 136);
}

#[test]
fn a_lock_cwt_says_who_certified_what() {
    let identity = verify_lock_identity(&lock_cwt()).unwrap();
    assert_eq!(identity.identity, signer(1).public());
    assert_eq!(identity.dh, agreement(2).public());
}

#[test]
fn a_platform_cwt_carries_root_keys_and_version() {
    let platform = verify_platform(&platform_cwt(7), None).unwrap();
    assert_eq!(platform.root, signer(3).public());
    assert_eq!(platform.dh, agreement(4).public());
    assert_eq!(platform.signing, signer(5).public());
    assert_eq!(platform.version, 7);
    assert_eq!(verify_platform(&platform_cwt(7), Some(&signer(3).public())), Ok(platform));
    assert_eq!(verify_platform(&platform_cwt(7), Some(&signer(1).public())), Err(Error::UntrustedRoot));
}

#[test]
fn one_kind_is_not_the_other() {
    assert_eq!(verify_lock_identity(&platform_cwt(1)), Err(Error::WrongCredential));
    assert_eq!(verify_platform(&lock_cwt(), None), Err(Error::WrongCredential));
    let mut out = [0; 256];
    let len = status().sign("gw-0001", &signer(5), &mut out).unwrap();
    assert_eq!(verify_lock_identity(&out[..len]), Err(Error::WrongCredential));
}

/// Naming another signer changes signed bytes: nobody adopts a lock's Diffie-Hellman key under his own identity.
#[test]
fn the_signer_cannot_be_renamed() {
    let mut cwt = lock_cwt();
    let other = signer(9).public().to_compressed();
    let at = cwt.windows(33).position(|window| window == signer(1).public().to_compressed()).unwrap();
    cwt[at..at + 33].copy_from_slice(&other);
    assert_eq!(verify_lock_identity(&cwt), Err(Error::BadSignature));
}

#[test]
fn an_activation_status_is_for_one_gateway_and_one_attempt() {
    let mut out = [0; 256];
    let len = status().sign("gw-0001", &signer(5), &mut out).unwrap();
    let message = &out[..len];
    let key = signer(5).public();
    assert_eq!(ActivationStatus::verify(message, "gw-0001", &key), Ok(status()));
    assert_eq!(status().lock_id(), signer(1).public().thumbprint()[..8]);
    let bad = Err(Error::BadSignature);
    assert_eq!(ActivationStatus::verify(message, "gw-0002", &key), bad);
    assert_eq!(ActivationStatus::verify(message, "gw-0001", &signer(6).public()), bad);
    // Without the label of its type in external_aad the same payload is nothing.
    let payload = Sign1::decode(message).unwrap();
    assert_eq!(payload.verify(&key, &[]).map(drop), Err(Error::BadSignature));
    let long = "g".repeat(65);
    assert_eq!(status().sign(&long, &signer(5), &mut [0; 256]), Err(Error::TooLong));
}

#[test]
fn keys_are_checked_when_they_are_made() {
    assert!(SoftSigner::from_bytes(&[0; 32]).is_err() && SoftSigner::from_bytes(&[0xff; 32]).is_err());
    assert!(SoftAgreement::from_bytes(&[0; 32]).is_err() && SoftAgreement::from_bytes(&[0xff; 32]).is_err());
    let key = signer(1).public();
    assert_eq!(PublicKey::from_sec1(&key.to_compressed()), Ok(key));
    assert_eq!(PublicKey::from_xy(key.x(), key.y()), Ok(key));
    assert_eq!(PublicKey::from_x(&key.x()).map(|even| even.x()), Ok(key.x()));
    let mut y = key.y();
    y[31] ^= 1;
    let invalid = Err(Error::InvalidKey);
    assert_eq!(PublicKey::from_xy(key.x(), y), invalid);
    assert_eq!(PublicKey::from_x(&[0; 32]), invalid, "never filled");
    assert_eq!(PublicKey::from_x(&[0xff; 32]), invalid, "not below p");
    for bad in [&[][..], &[0], &[0; 33], &[2; 32], &[5; 33], &[4; 33], &[2; 65]] {
        assert_eq!(PublicKey::from_sec1(bad), invalid, "{bad:?}");
    }
}

#[test]
fn both_sides_agree() {
    let (a, b) = (agreement(1), agreement(2));
    assert_eq!(a.agree(&b.public()).unwrap().as_bytes(), b.agree(&a.public()).unwrap().as_bytes());
}

#[test]
fn a_dead_generator_makes_no_key() {
    struct Zeros;
    impl Random for Zeros {
        fn fill(&mut self, out: &mut [u8]) -> Result<(), Error> {
            out.fill(0);
            Ok(())
        }
    }
    struct Broken;
    impl Random for Broken {
        fn fill(&mut self, _: &mut [u8]) -> Result<(), Error> {
            Err(Error::RandomUnavailable)
        }
    }
    assert_eq!(SoftSigner::generate(&mut Zeros).map(drop), Err(Error::RandomUnavailable));
    assert_eq!(SoftAgreement::generate(&mut Broken).map(drop), Err(Error::RandomUnavailable));
    assert_eq!(OwnerCode::generate(&mut Broken).map(drop), Err(Error::RandomUnavailable));
}

proptest! {
    #[test]
    fn a_flipped_bit_is_noticed(position in any::<prop::sample::Index>(), bit in 0_u8..8) {
        for mut cwt in [lock_cwt(), platform_cwt(1)] {
            let at = position.index(cwt.len());
            cwt[at] ^= 1 << bit;
            prop_assert!(verify_lock_identity(&cwt).is_err());
            prop_assert!(verify_platform(&cwt, None).is_err());
        }
    }

    #[test]
    fn a_cut_or_longer_cwt_is_refused(len in 0_usize..157, extra in 1_usize..8) {
        let cwt = lock_cwt();
        prop_assert!(verify_lock_identity(&cwt[..len]).is_err());
        prop_assert!(verify_lock_identity(&[&cwt[..], &vec![0; extra][..]].concat()).is_err());
    }

    #[test]
    fn owner_codes_come_back(bytes in any::<[u8; 16]>()) {
        let code = OwnerCode::from_bytes(bytes);
        prop_assert_eq!(*OwnerCode::parse(code.reveal().as_str()).unwrap().to_bytes(), bytes);
    }
}
