//! Sites as people meet them: the program, without a broker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::fs;

use cardea_credentials::{Accepted, Gate, Signer as _, SoftSigner, Trust};
use cardea_sdk::{FileKeys, KeyStore as _};
use common::{good, owner, run, text};
use serde_json::Value;

const SITE: &str = "0102030405060708";

fn public(number: u8) -> String {
    hex::encode(SoftSigner::from_bytes(&[number; 32]).unwrap().public().to_compressed())
}

#[test]
fn an_authority_is_certified_into_a_file_and_another_key_gets_the_next_version() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    owner(dir);
    let file = dir.join("authority.cwt");
    let out = file.to_str().unwrap();
    let issue =
        |key: &str, out: &str| run(dir, &["site", "authority", "--site", SITE, "--key", key, "-o", out]);
    assert!(issue(&public(7), out).status.success());
    // A lock in that site takes it.
    let signing = FileKeys::open(dir).unwrap().signer().public();
    let mut trust = Trust::new(FileKeys::open(dir).unwrap().root().thumbprint());
    trust.join([1, 2, 3, 4, 5, 6, 7, 8], 1);
    let mut gate = Gate::new();
    let taken = trust.accept_authority(&fs::read(&file).unwrap(), None, &signing, &mut gate, 0);
    assert_eq!(taken.unwrap(), Accepted::Newer);
    assert_eq!(hex::encode(trust.authority().unwrap().key.to_compressed()), public(7));

    let again = issue(&public(8), out);
    assert!(!again.status.success() && text(&again).contains("not replaced"), "{}", text(&again));
    let listed = good(dir, &["site", "list"]);
    assert_eq!(listed["authorities"][0]["version"], 1, "what was not written was not issued: {listed}");
    assert!(issue(&public(8), dir.join("second.cwt").to_str().unwrap()).status.success());
    assert_eq!(good(dir, &["site", "list"])["authorities"][0]["version"], 2);
    for (site, key) in [("00", public(7)), ("0000000000000000", public(7)), (SITE, "02".into())] {
        let wrong = run(dir, &["site", "authority", "--site", site, "--key", &key, "-o", "/nowhere"]);
        assert_eq!(wrong.status.code(), Some(1), "{}", text(&wrong));
    }
}

#[test]
fn a_lock_joins_a_site_with_the_version_in_force_and_is_shown_as_not_told_yet() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let lock = owner(dir).to_string();
    let plain = text(&run(dir, &["site", "list"]));
    assert!(plain.contains(&lock) && plain.contains("no site") && !plain.contains("NOT TOLD"), "{plain}");
    let out = dir.join("authority.cwt");
    run(dir, &["site", "authority", "--site", SITE, "--key", &public(7), "-o", out.to_str().unwrap()]);
    let joined = good(dir, &["site", "join", &lock, "--site", SITE]);
    assert_eq!((&joined["site"], &joined["version"]), (&SITE.into(), &1.into()));
    let plain = text(&run(dir, &["site", "list"]));
    assert!(plain.contains(&format!("site {SITE}, authority 1 or later  NOT TOLD YET")), "{plain}");
    good(dir, &["site", "join", &lock, "--site", SITE, "--least-version", "3"]);
    let lower = run(dir, &["site", "join", &lock, "--site", SITE, "--least-version", "2"]);
    assert!(!lower.status.success() && text(&lower).contains("only rises"), "{}", text(&lower));
    assert_eq!(good(dir, &["site", "leave", &lock])["site"], Value::Null);
    let unknown = run(dir, &["site", "join", "ffffffffffffffff", "--site", SITE]);
    assert!(!unknown.status.success() && text(&unknown).contains("enroll"), "{}", text(&unknown));
    assert_eq!(good(dir, &["locks"])[0]["grants"], Value::Null, "it has not said");
}
