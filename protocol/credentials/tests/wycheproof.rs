//! Project Wycheproof's cases for what the credentials stand on: signatures at their edges, points that are none, keys
//! of low order. What they expect comes from others; nothing here is derived from our own answers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // tests

use cardea_credentials::{Agreement as _, PublicKey, SoftAgreement, verify};
use wycheproof::TestResult;

/// A scalar as big-endian bytes with any number of leading zeros.
fn scalar(bytes: &[u8]) -> Option<[u8; 32]> {
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let mut out = [0; 32];
    let rest = &bytes[first..];
    out.get_mut(32_usize.checked_sub(rest.len())?..)?.copy_from_slice(rest);
    Some(out)
}

#[test]
fn es256_decides_each_case_as_it_is_known() {
    let set =
        wycheproof::ecdsa::TestSet::load(wycheproof::ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let (mut good, mut bad) = (0, 0);
    for group in set.test_groups {
        let key = PublicKey::from_sec1(&group.key.key).unwrap();
        for test in group.tests {
            let valid = <&[u8; 64]>::try_from(&test.sig[..])
                .is_ok_and(|signature| verify(&key, &test.msg, signature).is_ok());
            assert_eq!(valid, test.result == TestResult::Valid, "case {}: {}", test.tc_id, test.comment);
            *if valid { &mut good } else { &mut bad } += 1;
        }
    }
    println!("{good} signatures taken, {bad} refused");
    assert!(good > 100 && bad > 50);
}

#[test]
fn ecdh_agrees_in_each_case_and_takes_no_point_off_the_curve() {
    let set = wycheproof::ecdh::TestSet::load(wycheproof::ecdh::TestName::EcdhSecp256r1Ecpoint).unwrap();
    let (mut good, mut bad) = (0, 0);
    for group in set.test_groups {
        for test in group.tests {
            let key = SoftAgreement::from_bytes(&scalar(&test.private_key).unwrap()).unwrap();
            match PublicKey::from_sec1(&test.public_key) {
                Ok(peer) => {
                    let shared = key.agree(&peer).unwrap();
                    assert_eq!(shared.as_bytes()[..], test.shared_secret[..], "case {}", test.tc_id);
                    assert_ne!(test.result, TestResult::Invalid, "case {}: {}", test.tc_id, test.comment);
                    good += 1;
                }
                // x = 0 is on the curve and refused here all the same: it means memory that nobody filled.
                Err(_) => {
                    let zero = test.public_key.iter().skip(1).take(32).all(|byte| *byte == 0);
                    assert!(
                        zero || test.result != TestResult::Valid,
                        "case {}: {}",
                        test.tc_id,
                        test.comment
                    );
                    bad += 1;
                }
            }
        }
    }
    println!("{good} secrets agreed, {bad} points refused");
    assert!(good > 100 && bad > 10);
}

#[cfg(feature = "okp")]
mod okp {
    use super::TestResult;
    use cardea_credentials::okp::{Ed25519Key, SoftX25519, X25519Agreement as _, X25519Key};

    /// Acceptable to them are also low order and what is not reduced: the first agrees on zero and is refused here.
    #[test]
    fn x25519_agrees_in_each_case_but_on_zero() {
        let set = wycheproof::xdh::TestSet::load(wycheproof::xdh::TestName::X25519).unwrap();
        let (mut good, mut bad) = (0, 0);
        for test in set.test_groups.into_iter().flat_map(|group| group.tests) {
            let key = SoftX25519::from_bytes(test.private_key[..].try_into().unwrap());
            let peer = <&[u8; 32]>::try_from(&test.public_key[..]).unwrap();
            let zero = test.shared_secret.iter().all(|byte| *byte == 0);
            match X25519Key::from_bytes(peer).and_then(|peer| key.agree(&peer)) {
                Ok(shared) => {
                    assert!(!zero, "case {}: {}", test.tc_id, test.comment);
                    assert_eq!(shared.as_bytes()[..], test.shared_secret[..], "case {}", test.tc_id);
                    good += 1;
                }
                Err(_) => {
                    assert_ne!(test.result, TestResult::Valid, "case {}: {}", test.tc_id, test.comment);
                    bad += 1;
                }
            }
        }
        println!("{good} secrets agreed, {bad} keys refused");
        assert!(good > 100 && bad > 5);
    }

    #[test]
    fn ed25519_decides_each_case_as_it_is_known() {
        let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
        let (mut good, mut bad) = (0, 0);
        for group in set.test_groups {
            let key = Ed25519Key::from_bytes(group.key.pk[..].try_into().unwrap()).unwrap();
            for test in group.tests {
                let valid = <&[u8; 64]>::try_from(&test.sig[..])
                    .is_ok_and(|signature| key.verify_parts(&[&test.msg], signature).is_ok());
                assert_eq!(valid, test.result == TestResult::Valid, "case {}: {}", test.tc_id, test.comment);
                *if valid { &mut good } else { &mut bad } += 1;
            }
        }
        println!("{good} signatures taken, {bad} refused");
        assert!(good > 50 && bad > 30);
    }
}
