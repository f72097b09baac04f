//! What operators ask of the daemon beside its relay: the log, a broker to be tried, a bundle, backups for the page.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use common::*;

const USER: &str = "Token-als-Benutzername";
const PASSWORD: &str = "S3hr geheimes Kennwort";
const KEY: &str = "MC4CAQAwBQYDK2VwBCIEIGeheimerSchluessel";

/// A daemon whose configuration has every kind of secret.
fn secretive(broker: &Broker) -> Daemon {
    let mut daemon =
        Daemon::prepared(broker, "[unsealed]\ndevices = {00124b0001020304 = {name = \"Omas Schuppen\"}}\n");
    let (password, key) = (daemon.path("password"), daemon.path("client.key"));
    std::fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    std::fs::write(&key, format!("-----BEGIN PRIVATE KEY-----\n{KEY}\n-----END PRIVATE KEY-----\n")).unwrap();
    let file = daemon.path("cardea.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let more = format!("username = \"{USER}\"\npassword_file = \"{}\"\nkeepalive = 5\n", password.display());
    std::fs::write(file, text.replace("keepalive = 5\n", &more)).unwrap();
    daemon.up();
    eventually("it runs", || daemon.said(&["logs"]).contains("cardea is running").then_some(()));
    daemon
}

fn unpacked(daemon: &Daemon) -> Vec<(String, String)> {
    let path = daemon.path("bundle.tar.gz");
    daemon.said(&["diagnose", "--to", path.to_str().unwrap(), "--overwrite"]);
    let file = std::fs::File::open(path).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let files = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (entry.path().unwrap().display().to_string(), text)
    });
    files.collect()
}

#[test]
fn the_bundle_has_what_helps_and_no_secret_is_in_it() {
    let broker = Broker::start();
    let daemon = secretive(&broker);
    daemon.admit();
    let files = unpacked(&daemon);
    let of = |name: &str| {
        let found = files.iter().find(|(path, _)| path == &format!("cardea-diagnosis/{name}"));
        found
            .unwrap_or_else(|| panic!("{name} in {:?}", files.iter().map(|f| &f.0).collect::<Vec<_>>()))
            .1
            .as_str()
    };
    assert!(of("version.txt").contains(env!("CARGO_PKG_VERSION")));
    assert!(of("status.json").contains("\"gateway\": \"gw-test\""));
    assert!(of("radios.json").contains("\"radio\": \"loopback\""));
    assert!(of("metrics.txt").contains("cardea_locks 1"));
    assert!(of("log.txt").contains("cardea is running"));
    let config = of("config.toml");
    assert!(config.contains("keepalive = 5") && config.contains("password_file"), "{config}");
    for secret in [USER, PASSWORD, KEY, "Omas Schuppen"] {
        for (name, text) in &files {
            assert!(!text.contains(secret), "{secret} is in {name}");
        }
    }
}

/// A file whose name repeats a token: what should not have got into the log is taken out of what leaves.
#[test]
fn a_secret_that_got_into_the_log_leaves_neither_with_it_nor_with_the_bundle() {
    let broker = Broker::start();
    let mut daemon = Daemon::prepared(&broker, "");
    let file = daemon.path("cardea.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let more = format!("username = \"{USER}\"\npassword_file = \"/no/{USER}\"\nkeepalive = 5\n");
    std::fs::write(file, text.replace("keepalive = 5\n", &more)).unwrap();
    daemon.up();
    eventually("it is in the log", || daemon.log().contains(USER).then_some(()));
    let logs = eventually("the line", || {
        let logs = daemon.said(&["logs", "--lines", "5000"]);
        logs.contains("broker link down").then_some(logs)
    });
    assert!(logs.contains("/no/(removed)") && !logs.contains(USER), "{logs}");
    for (name, text) in unpacked(&daemon) {
        assert!(!text.contains(USER), "it is in {name}");
    }
}

#[test]
fn a_broker_is_tried_step_by_step_and_a_stored_password_goes_nowhere_else() {
    let mut broker = Broker::prepared();
    broker.up();
    let daemon = secretive(&broker);
    let said = daemon.said(&["broker-test"]);
    assert!(said.contains("ok      login") && said.contains("ok      subscribe"), "{said}");

    // Somebody else's broker, that keeps what it is told.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let heard = std::thread::spawn(move || {
        let mut all = Vec::new();
        // One connection to see whether it is there, one to speak MQTT.
        for stream in other.incoming().take(2) {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
            let mut bytes = [0; 1024];
            let read = stream.read(&mut bytes).unwrap_or(0);
            all.extend_from_slice(&bytes[..read]);
        }
        all
    });
    let out = daemon.cli(&["broker-test", "--url", &format!("mqtt://127.0.0.1:{port}"), "--username", USER]);
    assert!(!out.status.success(), "it is no broker");
    let heard = String::from_utf8_lossy(&heard.join().unwrap()).into_owned();
    assert!(heard.contains("MQTT") && heard.contains("gw-test-test"), "{heard:?}");
    assert!(heard.contains(USER), "what was given for it is used");
    assert!(!heard.contains(PASSWORD), "the password of the configured broker was sent to another");

    broker.kill();
    let out = daemon.cli(&["broker-test"]);
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(!out.status.success() && said.contains("failed  tcp"), "{said}");
}

#[test]
fn the_log_of_the_running_gateway_is_read_by_level_and_words() {
    let broker = Broker::start();
    let daemon = Daemon::start(&broker, "");
    let running = || daemon.said(&["logs", "cardea is running"]);
    let logs = eventually("it runs", || Some(running()).filter(|logs| !logs.is_empty()));
    assert_eq!(logs.lines().count(), 1, "{logs}");
    assert!(daemon.said(&["logs", "--level", "error"]).is_empty());
    assert!(daemon.said(&["logs", "--lines", "2"]).lines().count() <= 2);
    assert!(daemon.complained(&["logs", "--level", "loud"]).contains("error, warn, info"));
    let radios = daemon.said(&["radio", "list"]);
    assert_eq!(radios, "loopback\n");
}

/// What the daemon has done by the command: it reads the passphrase from the first line, and the file behind it.
#[test]
fn a_backup_is_encrypted_and_decrypted_by_the_command_in_a_process_of_its_own() {
    let run = |work: &str, passphrase: &str, file: &[u8]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_cardea"))
            .args(["backup-file", work])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(passphrase.as_bytes()).unwrap();
        input.write_all(b"\n").unwrap();
        input.write_all(file).unwrap();
        drop(input);
        let out = child.wait_with_output().unwrap();
        (out.status.code(), out.stdout, String::from_utf8(out.stderr).unwrap())
    };
    let plain = b"{\"network\":\n\"x\"}";
    let (code, sealed, _) = run("seal", "zwoelf Zeichen reichen", plain);
    assert!(code == Some(0) && sealed.starts_with(b"age-encryption.org/"));
    assert_eq!(run("open", "zwoelf Zeichen reichen", &sealed).1, plain);
    let (code, out, _) = run("open", "zwoelf Zeichen reichen nicht", &sealed);
    assert_eq!((code, out), (Some(3), Vec::new()));
    assert_eq!(run("open", "", plain).1, plain, "what is not encrypted comes back as it is");
    let (code, _, said) = run("seal", "short", plain);
    assert!(code == Some(1) && said.contains("12 characters"), "{said}");
    // As `age` itself writes them: more memory than the service has.
    let mut greedy = sealed;
    let line = greedy.windows(4).position(|bytes| bytes == b" 16\n").unwrap();
    greedy[line + 1..line + 3].copy_from_slice(b"18");
    let (code, _, said) = run("open", "zwoelf Zeichen reichen", &greedy);
    assert!(code == Some(1) && said.contains("2^18"), "{said}");
}
