//! `cardea label`, as the maker of a lock uses it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Check digits as the program computes them; that they are CRC-16/IBM-3740 is tested with the label.
const LOOPBACK: &str = "cardea:1/loopback/0000000000000000";
const ZIGBEE: &str = "Z:00124B0001020304$I:83FED3407A939723A5C639B26916D505C3B5";
/// The example of TR005.
const TR005: &str =
    "LW:D0:1122334455667788:AABBCCDDEEFF0011:AABB1122:OAABBCCDDEEFF:SYYWWNNNNNN:PFOOBAR:CAF2C";

fn label(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cardea"))
        .arg("label")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have ended without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn said(arguments: &[&str], input: &str) -> String {
    let output = label(arguments, input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn complained(arguments: &[&str]) -> String {
    let output = label(arguments, "");
    assert!(!output.status.success() && output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn check_digits_are_added_and_a_finished_label_stays_as_it_is() {
    let text = said(&["--text", LOOPBACK], "");
    assert!(text.starts_with(LOOPBACK) && text.trim_end().len() == LOOPBACK.len() + 5, "{text}");
    assert_eq!(said(&["--text", text.trim_end()], ""), text);
    let picture = said(&[text.trim_end()], "");
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"), "{picture}");
}

#[test]
fn a_zigbee_label_needs_the_lock_and_a_lorawan_label_its_key_too() {
    let text = said(&["--text", "--lock", "21436587a9cbed0f", ZIGBEE], "");
    assert!(
        text.starts_with(
            "cardea:1/zigbee/21436587a9cbed0f/00124b0001020304/83fed3407a939723a5c639b26916d505c3b5/"
        ),
        "{text}"
    );
    assert!(complained(&["--text", ZIGBEE]).contains("--lock"));
    assert!(complained(&["--text", "--lock", "21436587a9cbed0f", TR005]).contains("--app-key"));
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    std::fs::write(&key, "2B7E151628AED2A6ABF7158809CF4F3C\n").unwrap();
    let key = key.to_str().unwrap();
    let text = said(&["--text", "--lock", "21436587a9cbed0f", "--app-key", key, "--class", "c", TR005], "");
    assert!(
        text.starts_with("cardea:1/lorawan/21436587a9cbed0f/aabbccddeeff0011/1122334455667788/2b7e151628aed2a6abf7158809cf4f3c/C/"),
        "{text}"
    );
}

#[test]
fn many_labels_become_files_that_only_their_owner_reads_and_none_is_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().to_str().unwrap();
    let input = (0..3).map(|n| format!("cardea:1/loopback/000000000000000{n}\n")).collect::<String>();
    assert_eq!(said(&["--to", to, "-"], &input).lines().count(), 3);
    let file = directory.path().join("0000000000000002.svg");
    assert_eq!(mode(&file), 0o600);
    let again = label(&["--to", to, "-"], &input);
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("0000000000000000.svg"));
    assert!(complained(&[LOOPBACK, LOOPBACK]).contains("--to DIR"));
}

#[test]
fn a_wrong_label_is_named_by_its_number_and_nothing_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().to_str().unwrap();
    let wrong = "cardea:1/loopback/000000000000000/0000";
    let error = complained(&["--to", to, LOOPBACK, wrong]);
    assert!(error.contains("label 2") && error.contains("misread"), "{error}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    assert!(!complained(&["--text", "--lock", "0f", ZIGBEE]).contains("83FED340"));
}

fn mode(file: &Path) -> u32 {
    std::fs::metadata(file).unwrap().permissions().mode() & 0o777
}
