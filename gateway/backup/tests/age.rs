//! The real `age` reads what we write, and we read what it writes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

use std::path::Path;
use std::process::{Command, Stdio};

use cardea_backup::{
    Identities, Passphrase, Recipient, To, With, is_encrypted, open, read, seal, wants_passphrase, write,
};

const PLAIN: &[u8] = b"{\"metadata\":{\"format\":\"zigpy/open-coordinator-backup\"}}\n";

/// False, and said, where the program is not installed.
fn has_age() -> bool {
    let found = Command::new("age").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        println!("skipped: there is no `age` here (Debian's package of that name)");
    }
    found
}

/// The program's standard output; it must succeed.
fn run(program: &str, arguments: &[&str], directory: &Path) -> Vec<u8> {
    let output = Command::new(program).args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn age_reads_a_file_of_ours_and_we_read_files_of_its_own() {
    if !has_age() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["one", "two"] {
        run("age-keygen", &["-o", name], directory.path());
    }
    let public = |name: &str| -> String {
        let key = run("age-keygen", &["-y", name], directory.path());
        String::from_utf8(key).unwrap().trim().to_owned()
    };
    let recipients: Vec<Recipient> =
        ["one", "two"].iter().map(|name| public(name).parse().unwrap()).collect();
    write(&at("ours.age"), &seal(PLAIN, &To::Recipients(recipients)).unwrap(), false).unwrap();
    for name in ["one", "two"] {
        assert_eq!(run("age", &["-d", "-i", name, "ours.age"], directory.path()), PLAIN);
    }
    std::fs::write(at("plain"), PLAIN).unwrap();
    run("age", &["-r", &public("two"), "-o", "theirs.age", "plain"], directory.path());
    run("age", &["-a", "-r", &public("two"), "-o", "letters.age", "plain"], directory.path());
    let identities = read(&at("two"), 4_096).unwrap();
    for name in ["theirs.age", "letters.age"] {
        let file = read(&at(name), 4_096).unwrap();
        assert!(is_encrypted(&file) && !wants_passphrase(&file).unwrap(), "{name}");
        let with = With::Identities(Identities::parse(&identities).unwrap());
        assert_eq!(&**open(&file, &with, 4_096).unwrap(), PLAIN, "{name}");
    }
}

/// `age` takes passphrases from a terminal alone, so it gets one.
fn at_a_terminal(command: &str, typed: &str, directory: &Path) -> bool {
    let mut child = Command::new("script")
        .args(["-qec", command, "/dev/null"])
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), typed.as_bytes()).unwrap();
    child.wait().unwrap().success()
}

#[test]
fn a_passphrase_opens_files_in_both_directions() {
    if !has_age() || Command::new("script").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("skipped: there is no `age`, or no `script` to give it a terminal");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let passphrase = || Passphrase::new("correct horse battery".to_owned().into());
    write(&at("ours.age"), &seal(PLAIN, &To::Passphrase(passphrase())).unwrap(), false).unwrap();
    assert!(at_a_terminal("age -d -o read ours.age", "correct horse battery\n", directory.path()));
    assert_eq!(&**read(&at("read"), 4_096).unwrap(), PLAIN);
    std::fs::write(at("plain"), PLAIN).unwrap();
    let typed = "correct horse battery\ncorrect horse battery\n";
    assert!(at_a_terminal("age -p -o theirs.age plain", typed, directory.path()));
    let file = read(&at("theirs.age"), 4_096).unwrap();
    assert!(wants_passphrase(&file).unwrap());
    assert_eq!(&**open(&file, &With::Passphrase(passphrase()), 4_096).unwrap(), PLAIN);
}
