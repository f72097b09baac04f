//! Project Wycheproof's cases for an AEAD, as it is called here. It has none for AES-CCM with a nonce of 13 bytes and
//! a tag of 8: those are judged by the transcripts of RFC 8613 and aiocoap.

use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

use crate::Algorithm;

#[test]
fn chacha20_poly1305_seals_and_opens_each_case() {
    let algorithm = Algorithm::ChaCha20Poly1305;
    let groups = TestSet::load(TestName::ChaCha20Poly1305).unwrap().test_groups;
    let (mut good, mut bad) = (0, 0);
    // A nonce of another length cannot be given to it.
    for test in groups.into_iter().filter(|group| group.nonce_size == 96).flat_map(|group| group.tests) {
        let sealed = [&test.ct[..], &test.tag[..]].concat();
        let mut buffer = sealed.clone();
        let opened = algorithm.open(&test.key, &test.nonce, &test.aad, &mut buffer);
        let (id, valid) = (test.tc_id, test.result == TestResult::Valid);
        assert_eq!(opened.is_ok(), valid, "case {id}: {}", test.comment);
        let text = &buffer[..test.ct.len()];
        if !valid {
            assert!(text.iter().all(|byte| *byte == 0), "case {id}: plaintext was left");
            bad += 1;
            continue;
        }
        assert_eq!(text, &test.pt[..], "case {id}");
        algorithm.seal(&test.key, &test.nonce, &test.aad, &mut buffer).unwrap();
        assert_eq!(buffer, sealed, "case {id}");
        good += 1;
    }
    assert!(good > 100 && bad > 50, "{good} taken, {bad} refused");
}
