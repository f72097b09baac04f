//! Grants and revocation as people meet them: the program, without a broker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::path::Path;

use cardea_sdk::Bundle;
use common::{good, owner, run, text};
use serde_json::Value;

#[test]
fn a_grant_is_issued_into_a_file_listed_exported_and_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let lock = owner(dir).to_string();
    let file = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (key, out) = (file("phone.key"), file("phone.cardea"));
    let made = good(dir, &["key", "new", "-o", &key]);
    assert_eq!(good(dir, &["key", "show", &key]), made);
    let terms =
        ["--rights", "unlock,status", "--until", "+2d", "--days", "mon-fri", "--hours", "08:00-18:00"];
    let issue = [&["grant", "issue", &lock, "--key", &key, "--name", "Ada", "-o", &out][..], &terms].concat();
    let issued = good(dir, &issue);
    assert_eq!((&issued["name"], &issued["holder"]), (&Value::from("Ada"), &made["thumbprint"]));
    assert!(issued.get("bundle").is_none(), "it is in the file");
    let bytes = std::fs::read(&out).unwrap();
    let bundle = Bundle::decode(&bytes).unwrap();
    assert_eq!(bundle.lock_id().to_string(), lock);
    assert_eq!(hex(&bundle.grant().id()), issued["id"]);
    assert!(bundle.grant().terms().window.is_some());

    let output = run(dir, &issue);
    assert!(!output.status.success() && text(&output).contains("is not replaced"), "{}", text(&output));
    let listed = text(&run(dir, &["grant", "list", &lock]));
    assert!(
        listed.contains("unlock,status") && listed.contains("mon,tue,wed,thu,fri 08:00-18:00 UTC"),
        "{listed}"
    );
    let id = issued["id"].as_str().unwrap();
    let again = file("again.cardea");
    good(dir, &["grant", "export", id, "-o", &again]);
    assert_eq!(std::fs::read(&again).unwrap(), bytes);

    let revoked = good(dir, &["grant", "revoke", id]);
    assert_eq!((&revoked["epoch"], &revoked["waiting"][0]), (&Value::from(1), &Value::from(lock.as_str())));
    assert!(text(&run(dir, &["grant", "list"])).contains("REVOKED"));
    let shown = text(&run(dir, &["revocation", "show"]));
    assert!(shown.contains("NOT YET at") && shown.contains("Ada"), "{shown}");
    let late = file("late.cardea");
    let output =
        run(dir, &["grant", "issue", &lock, "--key", &key, "--name", "Ada", "--until", "+1h", "-o", &late]);
    assert!(text(&output).contains("is revoked") && !Path::new(&late).exists(), "{}", text(&output));
}

#[test]
fn a_lost_phone_loses_every_grant_and_one_of_several_is_not_taken_for_all() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let lock = owner(dir).to_string();
    let file = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let key = file("k");
    good(dir, &["key", "new", "-o", &key]);
    let public = good(dir, &["key", "show", &key])["key"].as_str().unwrap().to_owned();
    let issue = |name: &str, out: &str| {
        good(
            dir,
            &["grant", "issue", &lock, "--key", &public, "--name", name, "--until", "+1d", "-o", &file(out)],
        )
    };
    let (first, second) = (issue("Bob", "1"), issue("Bob", "2"));
    let output = run(dir, &["grant", "revoke", first["id"].as_str().unwrap()]);
    let said = text(&output);
    assert!(!output.status.success() && said.contains(second["id"].as_str().unwrap()), "{said}");
    assert!(said.contains("holder revoke"), "{said}");
    let output = run(dir, &["holder", "revoke", "Eve"]);
    assert!(text(&output).contains("no grant names the holder"), "{}", text(&output));
    assert_eq!(good(dir, &["holder", "revoke", "Bob"])["epoch"], 1);
    assert_eq!(good(dir, &["revocation", "show"])["keys"][0]["thumbprint"], first["holder"]);
}

#[test]
fn what_is_mistyped_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let lock = owner(dir).to_string();
    let key = dir.join("k").to_str().unwrap().to_owned();
    good(dir, &["key", "new", "-o", &key]);
    let out = dir.join("out").to_str().unwrap().to_owned();
    let base = ["grant", "issue", &lock, "--name", "A", "-o", &out];
    let cases: &[(&[&str], &str)] = &[
        (&["--key", "abc", "--until", "+1d"], "neither a public key"),
        (&["--key", &key, "--until", "soon"], "is no time"),
        (&["--key", &key, "--until", "2020-01-01"], "must begin before it ends"),
        (&["--key", &key, "--until", "2020-01-01", "--from", "2019-01-01"], "has ended already"),
        (&["--key", &key, "--until", "+1d", "--rights", "open"], "is no right"),
        (&["--key", &key, "--until", "+1d", "--days", "monday"], "is no day"),
        (&["--key", &key, "--until", "+1d", "--hours", "9-5"], "are no hours"),
    ];
    for (more, words) in cases {
        let output = run(dir, &[&base[..], more].concat());
        assert!(!output.status.success() && text(&output).contains(words), "{more:?}: {}", text(&output));
        assert!(!Path::new(&out).exists());
    }
    let stranger = "0123456789abcdef";
    let output =
        run(dir, &["grant", "issue", stranger, "--key", &key, "--name", "A", "--until", "+1d", "-o", &out]);
    assert!(text(&output).contains("not enrolled here"), "{}", text(&output));
    let output = run(dir, &["grant", "revoke", "xyz"]);
    assert!(text(&output).contains("16 hexadecimal digits"), "{}", text(&output));
}

#[test]
fn a_grant_that_names_a_second_key_is_passed_on_by_its_holder_alone_and_no_wider() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let lock = owner(dir).to_string();
    let file = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (key, signing, other) = (file("ada.key"), file("ada-sign.key"), file("bob.key"));
    for key in [&key, &signing, &other] {
        good(dir, &["key", "new", "-o", key]);
    }
    let (own, passed) = (file("ada.cardea"), file("bob.cardea"));
    let issue = ["grant", "issue", &lock, "--key", &key, "--name", "Ada", "--until", "+2d", "-o", &own];
    for (more, words) in [
        (&["--delegate-key", &key][..], "must be another one than the holder's"),
        (&["--delegate-key", &signing, "--single-use"], "cannot be used with"),
        (&["--delegate-key", "abc"], "neither a public key"),
    ] {
        let output = run(dir, &[&issue[..], more].concat());
        assert!(!output.status.success() && text(&output).contains(words), "{more:?}: {}", text(&output));
        assert!(!Path::new(&own).exists());
    }
    let issued = good(dir, &[&issue[..], &["--delegate-key", &signing, "--hours", "08:00-18:00"]].concat());

    // From here on nobody's state is there.
    let elsewhere = tempfile::tempdir().unwrap();
    let elsewhere = elsewhere.path();
    let pass = ["holder", "delegate", &own, "--signing-key", &signing, "--key", &other, "-o", &passed];
    for (more, words) in [
        (&["--rights", "log"][..], "a right that the grant does not have"),
        (&["--until", "+3d"], "a time after the grant ends"),
        (&["--from", "2020-01-01"], "a time before the grant begins"),
        (&["--hours", "08:00-18:15"], "hours that the grant does not have"),
        (&["--single-use", "--delegate-key", &key], "for a single use is not passed on"),
    ] {
        let output = run(elsewhere, &[&pass[..], more].concat());
        assert!(!output.status.success() && text(&output).contains(words), "{more:?}: {}", text(&output));
        assert!(!Path::new(&passed).exists());
    }
    let wrong = ["holder", "delegate", &own, "--signing-key", &key, "--key", &other, "-o", &passed];
    assert!(text(&run(elsewhere, &wrong)).contains("not the key which the grant names"));
    let made = good(elsewhere, &[&pass[..], &["--rights", "unlock", "--until", "+1d"]].concat());
    assert_eq!((&made["origin"], &made["links"]), (&issued["id"], &Value::from(2)));
    let bundle = Bundle::decode(&std::fs::read(&passed).unwrap()).unwrap();
    let (grant, above) = (bundle.grant().terms(), Bundle::decode(&std::fs::read(&own).unwrap()).unwrap());
    assert_eq!((grant.scope, grant.window), (cardea_sdk::Scope::UNLOCK, above.grant().terms().window));
    // What was passed on so ends there: it names no key.
    let again = ["holder", "delegate", &passed, "--signing-key", &signing, "--key", &key, "-o", &file("x")];
    assert!(text(&run(elsewhere, &again)).contains("cannot be passed on"));

    // A key that passes on is revoked as any, and gets no grant any more.
    let public = good(dir, &["key", "show", &signing])["key"].as_str().unwrap().to_owned();
    good(dir, &["holder", "revoke", &public]);
    let late =
        ["grant", "issue", &lock, "--key", &other, "--name", "Bob", "--until", "+1h", "-o", &file("y")];
    let output = run(dir, &[&late[..], &["--delegate-key", &signing]].concat());
    assert!(text(&output).contains("is revoked"), "{}", text(&output));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
