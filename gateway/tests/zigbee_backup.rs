//! `cardea radio backup`, `restore` and `rotate-key` where nothing can come of them: what is said, what is left behind, and what
//! the socket takes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use common::*;

const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

/// A daemon whose dongle is not there.
fn daemon(broker: &Broker) -> Daemon {
    let mut daemon = Daemon::prepared(broker, "");
    let port = daemon.path("by-id-dongle");
    let file = daemon.path("cardea.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let more = format!("[zigbee]\nenabled = true\ndevice = \"{}\"\n", port.display());
    std::fs::write(file, text + &more).unwrap();
    daemon.up();
    daemon
}

fn file(daemon: &Daemon, name: &str, content: &[u8]) -> String {
    let path = daemon.path(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

/// A backup that another program wrote.
fn foreign_backup() -> PathBuf {
    let vectors = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors");
    let mut files: Vec<_> = std::fs::read_dir(vectors).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("backup-"));
    files.sort();
    files.swap_remove(0)
}

#[test]
fn orders_that_cannot_be_carried_out_say_what_to_do_and_leave_no_file() {
    let broker = Broker::start();
    let daemon = daemon(&broker);
    let passphrase = file(&daemon, "passphrase", b"correct horse battery\n");
    let to = daemon.path("backup.age").display().to_string();
    let backup = ["radio", "backup", "zigbee", "--to", &to, "--passphrase-file", &passphrase];
    let said = daemon.complained(&backup);
    assert!(said.contains("the network does not run"), "{said}");
    assert!(!daemon.path("backup.age").exists());
    for arguments in [&["radio", "rotate-key", "zigbee"][..], &["radio", "restore", "zigbee", "--from-store"]]
    {
        let said = daemon.complained(arguments);
        assert!(said.contains("the dongle is not ready"), "{said}");
    }
    let theirs = foreign_backup().display().to_string();
    let said = daemon.complained(&["radio", "restore", "zigbee", "--from", &theirs]);
    assert!(said.contains("not encrypted") && said.contains("the dongle is not ready"), "{said}");
    assert!(daemon.complained(&["radio", "rotate-key", "lora"]).contains("only zigbee has"));
}

#[test]
fn files_and_secrets_that_do_not_fit_are_refused_before_anybody_is_asked() {
    let broker = Broker::start();
    let daemon = daemon(&broker);
    let to = daemon.path("backup.age").display().to_string();
    let short = file(&daemon, "short", b"too short\n");
    let said = daemon.complained(&["radio", "backup", "zigbee", "--to", &to, "--passphrase-file", &short]);
    assert!(said.contains("at least 12 characters"), "{said}");
    // Standard input, which is empty here.
    let said = daemon.complained(&["radio", "backup", "zigbee", "--to", &to, "--passphrase"]);
    assert!(said.contains("at least 12 characters"), "{said}");
    let there = file(&daemon, "there", b"mine");
    let said = daemon.complained(&["radio", "backup", "zigbee", "--to", &there, "--recipient", RECIPIENT]);
    assert!(said.contains("exists already; --overwrite"), "{said}");
    assert_eq!(std::fs::read(&there).unwrap(), b"mine");
    for (content, words) in [
        (&b""[..], "empty"),
        (b"hello", "not an Open Coordinator Backup"),
        (b"age-encryption.org/v1\nhello", "no age file"),
    ] {
        let from = file(&daemon, "from", content);
        let said = daemon.complained(&["radio", "restore", "zigbee", "--from", &from]);
        assert!(said.contains(words), "{said}");
    }
    // Neither, both, somebody's secret: those are wrong arguments.
    let secret = "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQSL2WYPP";
    for arguments in [
        &["radio", "backup", "zigbee", "--to", &to][..],
        &["radio", "backup", "zigbee", "--to", &to, "--recipient", RECIPIENT, "--passphrase"],
        &["radio", "backup", "zigbee", "--to", &to, "--recipient", "age1nobody"],
        &["radio", "restore", "zigbee"],
        &["radio", "restore", "zigbee", "--from", &there, "--from-store"],
    ] {
        assert_eq!(daemon.cli(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let said = daemon.complained(&["radio", "backup", "zigbee", "--to", &to, "--recipient", secret]);
    assert!(said.contains("is not a recipient"), "{said}");
    assert!(!daemon.path("backup.age").exists());
}

#[test]
fn the_socket_takes_one_backup_at_a_time_and_none_that_is_too_long() {
    let broker = Broker::start();
    let daemon = daemon(&broker);
    let connect = || UnixStream::connect(daemon.path("api.sock")).unwrap();
    let line = |bytes: u64| {
        format!("{{\"verb\":\"restore_network\",\"radio\":\"zigbee\",\"replace\":false,\"bytes\":{bytes}}}\n")
    };
    let answer = |stream: &UnixStream| {
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        answer
    };
    let mut long = connect();
    long.write_all(line(524_289).as_bytes()).unwrap();
    assert!(answer(&long).contains("longer than any backup"));
    assert_eq!(long.read(&mut [0; 1]).unwrap(), 0, "and the connection is closed");

    let before = daemon.memory_kib();
    let mut slow = connect();
    slow.write_all(line(524_288).as_bytes()).unwrap();
    // More than a socket holds: it is being read.
    slow.write_all(&[b"{", &vec![b' '; 500_000][..]].concat()).unwrap();
    let mut other = connect();
    other.write_all(line(10).as_bytes()).unwrap();
    let busy = answer(&other);
    assert!(busy.contains("another backup") && busy.contains("try again"), "{busy}");
    assert!(daemon.memory_kib() < before + 4_096);
    assert!(daemon.said(&["locks"]).contains("no lock is admitted"), "everything else goes on");
    slow.write_all(&vec![b' '; 24_287]).unwrap();
    assert!(answer(&slow).contains("not an Open Coordinator Backup"));
    // The connection goes on behind the bytes.
    slow.write_all(b"{\"verb\":\"locks\"}\n").unwrap();
    assert!(answer(&slow).contains("\"ok\""));
}
