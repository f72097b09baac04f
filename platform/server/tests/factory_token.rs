//! `cardea-platform factory` with a maker's keys in a PKCS#11 token: SoftHSM 2 here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "maker-pin-4711";

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A maker's desk: a token of its own, and everything else in one directory.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        fs::create_dir(desk.path("tokens")).unwrap();
        let conf = format!("directories.tokendir = {}\nlog.level = ERROR\n", desk.path("tokens").display());
        fs::write(desk.path("softhsm2.conf"), conf).unwrap();
        let label = ["--init-token", "--free", "--label", "maker", "--pin", PIN, "--so-pin", "so-pin-0815"];
        desk.good("softhsm2-util", &label);
        desk.pin("pin", PIN);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn pin(&self, name: &str, pin: &str) {
        fs::write(self.path(name), pin).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn run(&self, program: &str, args: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.args(args).env("SOFTHSM2_CONF", self.path("softhsm2.conf")).stdin(Stdio::null());
        command.output().unwrap()
    }

    fn good(&self, program: &str, args: &[&str]) -> String {
        let output = self.run(program, args);
        assert!(output.status.success(), "{program} {args:?}: {}", text(&output));
        text(&output)
    }

    /// The program under test, with the maker's directory and, if a PIN file is named, the token.
    fn factory(&self, verb: &str, args: &[&str], pin: Option<&str>) -> Output {
        let (maker, pin) = (self.file("maker"), pin.map(|name| self.file(name)));
        let mut all = vec!["factory", verb, "--maker-dir", &maker];
        if let Some(pin) = &pin {
            all.extend(["--pkcs11-module", MODULE, "--token-label", "maker", "--pin-file", pin]);
        }
        all.extend(args);
        let output = self.run(env!("CARGO_BIN_EXE_cardea-platform"), &all);
        assert!(!text(&output).contains(PIN), "the PIN is never printed");
        output
    }

    fn made(&self, verb: &str, args: &[&str]) -> String {
        let output = self.factory(verb, args, Some("pin"));
        assert!(output.status.success(), "{verb}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

fn refused(output: &Output, words: &str) {
    assert!(!output.status.success() && text(output).contains(words), "{words}: {}", text(output));
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

#[test]
fn a_maker_whose_keys_are_in_a_token_certifies_a_lock_and_openssl_verifies_the_chain() {
    let desk = Desk::new();
    desk.made("root", &["--name", "Example Locks"]);
    desk.made("ca", &["--name", "Example Locks Factory 1"]);
    assert_eq!(names(&desk.path("maker")), ["maker-ca.pem", "maker-root.pem"], "no key in a file");

    desk.good(
        "openssl",
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
            &desk.file("lock.key"),
        ],
    );
    let (key, csr) = (desk.file("lock.key"), desk.file("lock.csr"));
    desk.good("openssl", &["req", "-new", "-key", &key, "-subj", "/CN=x", "-out", &csr]);
    fs::write(desk.path("lock.pem"), desk.made("issue", &["--csr", &csr])).unwrap();
    let (root, ca, lock) =
        (desk.file("maker/maker-root.pem"), desk.file("maker/maker-ca.pem"), desk.file("lock.pem"));
    let said = desk.good("openssl", &["verify", "-x509_strict", "-CAfile", &root, "-untrusted", &ca, &lock]);
    assert!(said.contains("OK"), "{said}");
    let said =
        desk.run(env!("CARGO_BIN_EXE_cardea-platform"), &["factory", "verify", "--root", &root, &lock]);
    assert!(text(&said).contains("maker        CN=Example Locks"), "{}", text(&said));

    // Both keys are in the token and stay there.
    let login = ["--module", MODULE, "--token-label", "maker", "--login", "--pin", PIN];
    let listed = desk.good("pkcs11-tool", &[&login[..], &["--list-objects", "--type", "privkey"]].concat());
    for label in ["cardea-maker-root", "cardea-maker-ca"] {
        assert!(listed.contains(label), "{listed}");
    }
    assert_eq!(listed.matches("never extractable").count(), 2, "{listed}");
}

#[test]
fn a_makers_token_with_another_key_or_another_pin_certifies_nothing() {
    let desk = Desk::new();
    desk.made("root", &["--name", "Example Locks"]);
    refused(&desk.factory("root", &["--name", "Other"], Some("pin")), "not replaced");
    // The certificate is lost: the key of that name in the token is not taken for a new one.
    fs::rename(desk.path("maker/maker-root.pem"), desk.path("root.pem")).unwrap();
    refused(&desk.factory("root", &["--name", "Other"], Some("pin")), "cardea-maker-root");
    fs::rename(desk.path("root.pem"), desk.path("maker/maker-root.pem")).unwrap();
    refused(&desk.factory("ca", &["--name", "Factory"], None), "maker-root.key");

    // A root certificate of another key.
    let other = Desk::new();
    other.made("root", &["--name", "Example Locks"]);
    fs::copy(desk.path("maker/maker-root.pem"), desk.path("own.pem")).unwrap();
    fs::copy(other.path("maker/maker-root.pem"), desk.path("maker/maker-root.pem")).unwrap();
    refused(&desk.factory("ca", &["--name", "Factory"], Some("pin")), "cardea-maker-root");
    assert!(!desk.path("maker/maker-ca.pem").exists());
    fs::copy(desk.path("own.pem"), desk.path("maker/maker-root.pem")).unwrap();

    desk.pin("wrong", "maker-pin-0000");
    refused(&desk.factory("ca", &["--name", "Factory"], Some("wrong")), "PIN");
    assert!(!desk.path("maker/maker-ca.pem").exists());
}
