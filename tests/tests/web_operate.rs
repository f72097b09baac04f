//! The pages for operators in a real browser, on the real daemon.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::time::Duration;

use cardea_framing::Class;
use cardea_tests::{
    broker::Broker,
    daemon::Daemon,
    free_port,
    loopback::{LoopRadio, datagram},
    node::node,
};

#[test]
fn an_operator_reads_every_page_tries_a_broker_and_downloads_the_bundle() {
    let Some(mut script) = node("browser_operate.js") else { return };
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open();
    let port = free_port();
    let web = format!("[web]\nenabled = true\nhttps = \"127.0.0.1:{port}\"\nnames = [\"gateway.local\"]\n");
    let daemon = Daemon::start(dir.path(), broker.port, &web);
    let mut radio = LoopRadio::new(daemon.loopback, 5, 500);
    let locks: Vec<_> = radio.locks.keys().copied().collect();
    let facts = serde_json::json!({
        "url": format!("https://gateway.local:{port}/"),
        "code": daemon.told(&["claim-code"]),
        "password": "vier alte Nussbaeume",
        "lock": locks[0].to_string(),
        "shots": std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots"),
    });
    daemon.told(&["claim", "--confirm"]);
    let mut browser =
        script.arg(facts.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // No lock is let in before the claim.
    let mut said = String::new();
    BufReader::new(browser.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "claimed\n");
    for label in radio.labels() {
        daemon.told(&["locks", "admit", &label]);
    }
    for lock in &locks {
        radio.inject(*lock, &[]);
        radio.push(*lock, datagram(Class::Log, b"sealed"));
    }
    radio.run_until("receipts", Duration::from_secs(30), |radio| radio.unreceipted() == 0);
    writeln!(browser.stdin.take().unwrap(), "there are locks").unwrap();
    assert!(browser.wait().unwrap().success(), "what went wrong is above");
}
