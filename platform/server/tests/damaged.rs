//! The program on damaged files: exit status 1, words that name the file, nothing replaced, no panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

fn run(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cardea-platform"));
    command.arg("--dir").arg(dir).args(args).env("RUST_LOG", "info").stdin(Stdio::null()).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn initialised() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["init"]);
    assert!(output.status.success(), "{}", text(&output));
    dir
}

#[test]
fn every_command_on_a_damaged_directory_names_the_file_and_leaves_it() {
    let commands: [&[&str]; 3] =
        [&["locks"], &["log", "0123456789abcdef"], &["--broker", "mqtt://127.0.0.1:1", "serve"]];
    for name in ["state.db", "platform-dh.key", "platform-sign.key", "platform.cwt"] {
        for content in [None, Some(vec![]), Some(vec![0xA5; 5000])] {
            let dir = initialised();
            let path = dir.path().join(name);
            match &content {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            for args in commands {
                let output = run(dir.path(), args);
                let said = text(&output);
                assert_eq!(output.status.code(), Some(1), "{name} {args:?}: {said}");
                assert!(said.contains(name) && said.contains("backup"), "{name} {args:?}: {said}");
                assert!(!said.contains("panicked"), "{said}");
                assert_eq!(fs::read(&path).ok(), content, "{name} {args:?}");
            }
            let again = run(dir.path(), &["init"]);
            assert!(text(&again).contains("already holds a platform"), "{name}: {}", text(&again));
            assert_eq!(fs::read(&path).ok(), content, "{name}: init");
        }
    }
}

#[test]
fn a_lost_state_is_begun_anew_only_when_its_owner_says_so() {
    let dir = initialised();
    let keys = fs::read(dir.path().join("platform-dh.key")).unwrap();
    let refused = run(dir.path(), &["init", "--state-only"]);
    assert!(text(&refused).contains("already holds a state"), "{}", text(&refused));
    fs::remove_file(dir.path().join("state.db")).unwrap();
    let refused = run(dir.path(), &["locks"]);
    assert!(text(&refused).contains("init --state-only"), "{}", text(&refused));
    let made = run(dir.path(), &["init", "--state-only"]);
    assert!(made.status.success() && text(&made).contains("activated again"), "{}", text(&made));
    let listed = run(dir.path(), &["locks"]);
    assert!(listed.status.success() && text(&listed).contains("no locks"), "{}", text(&listed));
    assert_eq!(fs::read(dir.path().join("platform-dh.key")).unwrap(), keys);
    // Without keys there is nothing that a state could belong to.
    let empty = tempfile::tempdir().unwrap();
    let refused = run(empty.path(), &["init", "--state-only"]);
    assert!(text(&refused).contains("holds no platform"), "{}", text(&refused));
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
}
