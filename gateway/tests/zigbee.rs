//! The daemon with a Zigbee radio whose dongle is absent, or says nothing: it tells so, and everything else goes on.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use cardea_framing::{Class, LockId};
use cardea_radio::{Admission, AdmissionSecret, label};
use common::*;
use serial2_tokio::SerialPort;

const DOOR: LockId = LockId([0x21; 8]);

fn radio_label() -> String {
    // The code of the base device specification's example.
    let install_code = vec![
        0x83, 0xfe, 0xd3, 0x40, 0x7a, 0x93, 0x97, 0x23, 0xa5, 0xc6, 0x39, 0xb2, 0x69, 0x16, 0xd5, 0x05, 0xc3,
        0xb5,
    ];
    let secret =
        AdmissionSecret::Zigbee { eui: [0, 0x12, 0x4b, 0, 1, 2, 3, 4], install_code: install_code.into() };
    label::reveal(&Admission { lock: DOOR, secret }).to_string()
}

/// A daemon whose dongle would be at the path that comes with it.
fn daemon(broker: &Broker) -> (Daemon, PathBuf) {
    let daemon = Daemon::prepared(broker, "");
    let port = daemon.path("by-id-dongle");
    let file = daemon.path("cardea.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let more = format!("[zigbee]\nenabled = true\ndevice = \"{}\"\n", port.display());
    std::fs::write(file, text + &more).unwrap();
    (daemon, port)
}

fn status(daemon: &Daemon) -> String {
    String::from_utf8(daemon.cli(&["status"]).stdout).unwrap()
}

fn told(daemon: &Daemon, words: &str) -> String {
    eventually(words, || Some(status(daemon)).filter(|text| text.contains(words)))
}

/// A pseudo-terminal: the end that the dongle would have, the other one, and that one's name.
fn terminal() -> (SerialPort, SerialPort, PathBuf) {
    let open = || -> BTreeSet<PathBuf> {
        let files = std::fs::read_dir("/proc/self/fd").unwrap();
        let names = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        names.filter(|name| name.starts_with("/dev/pts/")).collect()
    };
    let before = open();
    let (theirs, ours) = SerialPort::pair().unwrap();
    let name = open().difference(&before).find(|name| !name.ends_with("ptmx")).unwrap().clone();
    (theirs, ours, name)
}

#[test]
fn without_a_dongle_the_gateway_says_so_and_carries_its_other_locks() {
    let broker = Broker::start();
    let (mut daemon, _) = daemon(&broker);
    daemon.up();
    let text = told(&daemon, "zigbee down: the port cannot be opened");
    assert!(text.contains("No such file") && text.contains("is the dongle plugged in"), "{text}");
    daemon.admit();
    Radio::new(&daemon).deliver(&datagram(Class::Log, &[9, 1]));
    // Admitted before the dongle is there; and nothing is formed.
    let said = daemon.said(&["locks", "admit", &radio_label()]);
    assert!(said.starts_with(&format!("{DOOR} is admitted on zigbee\n")), "{said}");
    for arguments in [
        &["radio", "form", "zigbee"][..],
        &["radio", "form", "zigbee", "--replace"],
        &["radio", "adopt", "zigbee"],
    ] {
        let said = daemon.complained(arguments);
        assert!(said.contains("not ready"), "{said}");
    }
    assert!(daemon.complained(&["radio", "form", "lora"]).contains("only zigbee has"));
    daemon.kill();
    daemon.up();
    told(&daemon, "zigbee down: ");
    assert!(daemon.said(&["locks"]).contains("2121212121212121  zigbee    not joined"));
    let database = std::fs::read(daemon.path("data/cardea.db")).unwrap();
    let code = [0x83, 0xfe, 0xd3, 0x40, 0x7a, 0x93, 0x97, 0x23];
    assert!(!database.windows(8).any(|bytes| bytes == code), "the install code is encrypted");
    assert!(!daemon.log().to_lowercase().contains("83fed3407a93"), "and not in the log");
}

#[test]
fn a_dongle_that_says_nothing_and_is_pulled_out_is_told_of_and_nothing_else_happens() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _entered = runtime.enter();
    let broker = Broker::start();
    let (mut daemon, port) = daemon(&broker);
    daemon.up();
    daemon.admit();
    told(&daemon, "zigbee down: the port cannot be opened");
    let (dongle, kept, path) = terminal();
    symlink(&path, &port).unwrap();
    told(&daemon, "zigbee down: the dongle is starting");
    let mut heard = [0; 7];
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(20), dongle.read(&mut heard)).await })
        .unwrap()
        .unwrap();
    assert_eq!(heard[..2], [0xde, 0xad], "it is asked what it is");
    Radio::new(&daemon).deliver(&datagram(Class::Log, &[9, 2]));
    told(&daemon, "does not answer");
    std::fs::remove_file(&port).unwrap();
    drop((dongle, kept));
    let text = told(&daemon, "zigbee down: the port cannot be opened");
    assert!(!text.contains("restarts"), "the driver waits for its dongle: {text}");
    Radio::new(&daemon).deliver(&datagram(Class::Log, &[9, 3]));
    daemon.signal("-TERM");
    assert!(daemon.ended().success());
    assert!(!daemon.log().contains("panicked"));
}

#[test]
fn a_zigbee_label_or_order_without_the_radio_says_what_to_switch_on() {
    let broker = Broker::start();
    let daemon = Daemon::start(&broker, "");
    for arguments in [&["locks", "admit", &radio_label()][..], &["radio", "form", "zigbee"]] {
        let said = daemon.complained(arguments);
        assert!(said.contains("set `enabled = true` in [zigbee]"), "{said}");
    }
}
