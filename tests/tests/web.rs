//! The local page in a real browser, on the real daemon: claim, pair, see it work, remove.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    time::Duration,
};

use cardea_framing::Class;
use cardea_tests::{
    broker::Broker,
    daemon::Daemon,
    free_port,
    loopback::{LoopRadio, datagram},
    node::node,
};

const PASSWORD: &str = "vier alte Nussbaeume";

/// The daemon with its page on a free port.
fn daemon(dir: &std::path::Path, mqtt: u16) -> (Daemon, u16) {
    let port = free_port();
    let web = format!("[web]\nenabled = true\nhttps = \"127.0.0.1:{port}\"\nnames = [\"gateway.local\"]\n");
    (Daemon::start(dir, mqtt, &web), port)
}

fn told(daemon: &Daemon, arguments: &[&str]) -> String {
    let out = daemon.cli(arguments);
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_browser_claims_the_gateway_pairs_a_lock_sees_it_and_removes_it() {
    let Some(mut script) = node("browser.js") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::open();
    let (daemon, port) = daemon(dir.path(), broker.port);
    let mut radio = LoopRadio::new(daemon.loopback, 2, 500);
    let locks: Vec<_> = radio.locks.keys().copied().collect();
    let shots = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    let facts = serde_json::json!({
        "url": format!("https://gateway.local:{port}/"),
        "code": told(&daemon, &["claim-code"]),
        "password": PASSWORD,
        "labels": radio.labels(),
        "shots": shots,
    });
    let mut browser =
        script.arg(facts.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut answers = browser.stdin.take().unwrap();
    let mut done = false;
    for line in BufReader::new(browser.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let (order, number) = line.split_once(' ').unwrap_or((&line, "0"));
        let lock = locks[number.parse::<usize>().unwrap()];
        match order {
            "confirm" => drop(told(&daemon, &["claim", "--confirm"])),
            "join" => radio.inject(lock, &[]),
            "speak" => {
                radio.push(lock, datagram(Class::Log, b"sealed"));
                radio.run_until("a receipt", Duration::from_secs(30), |radio| radio.unreceipted() == 0);
            }
            "broker-down" => broker.down(),
            "done" => done = true,
            other => panic!("the browser says {other:?}"),
        }
        writeln!(answers, "ok").unwrap();
    }
    let status = browser.wait().unwrap();
    assert!(done && status.success(), "the journey ended early; what went wrong is above");
    let log = daemon.log();
    assert!(!log.contains(PASSWORD) && !log.contains(facts["code"].as_str().unwrap()));
}

/// The code, the claim and the certificate survive a restart, and only whoever may use the socket gets them.
#[test]
fn the_command_line_makes_the_code_and_knows_the_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (mut daemon, port) = daemon(dir.path(), free_port());
    let refused = daemon.cli(&["claim", "--confirm"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("cardea claim-code"), "it says what to do");
    let (first, second) = (told(&daemon, &["claim-code"]), told(&daemon, &["claim-code"]));
    assert!(first != second && second.len() == 19, "{second}");
    let fingerprint = told(&daemon, &["fingerprint"]);

    daemon.kill();
    daemon.up();
    assert_eq!(told(&daemon, &["fingerprint"]), fingerprint);
    told(&daemon, &["claim", "--confirm"]);
    // What a browser would show is what the command says.
    let shown = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "openssl s_client -connect 127.0.0.1:{port} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256 -text"
        ))
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let digest = fingerprint.strip_prefix("SHA-256 ").unwrap();
    assert!(shown.contains(digest), "{shown}");
    assert!(shown.contains("prime256v1") && shown.contains("DNS:gateway.local"), "{shown}");
    assert!(!daemon.log().contains(&second));
}

#[test]
fn a_gateway_whose_page_is_off_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), free_port(), "");
    for order in [&["claim-code"][..], &["claim", "--confirm"], &["fingerprint"]] {
        let out = daemon.cli(order);
        assert!(!out.status.success());
        assert!(String::from_utf8_lossy(&out.stderr).contains("[web]"), "{order:?}");
    }
}
