//! What the owner's platform says of a lock's activation, in a real browser: a real platform and a real lock agent at both ends of
//! the real daemon.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    process::Stdio,
    time::Duration,
};

use cardea_radio::label;
use cardea_sdk::{LockName, OwnerCode};
use cardea_simulator::VirtualLock;
use cardea_tests::{broker::Broker, daemon::Daemon, eventually, free_port, node::node, site::Site};

const SEED: u64 = 41;
const PATIENCE: Duration = Duration::from_secs(120);
const PASSWORD: &str = "vier alte Nussbaeume";

#[test]
fn the_pairing_page_says_what_the_platform_has_signed() {
    let Some(mut script) = node("browser_activation.js") else { return };
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _entered = runtime.enter();
    let broker = Broker::open();
    let mut site = Site::new(dir.path(), broker.port, PATIENCE);
    let key = hex::encode(cardea_sdk::signing_key(&dir.path().join("platform")).unwrap());
    let port = free_port();
    let config = format!(
        "[web]\nenabled = true\nhttps = \"127.0.0.1:{port}\"\nnames = [\"gateway.local\"]\n[platform]\nkeys = [\"{key}\"]\n"
    );
    let daemon = Daemon::start(dir.path(), broker.port, &config);
    let radio = SocketAddr::from(([127, 0, 0, 1], daemon.loopback));
    let mut lock = VirtualLock::on_loopback(SEED, 1, radio).unwrap();
    let name = LockName::Thumbprint(*lock.thumbprint());
    let wrong = OwnerCode::from_bytes([8; 16]);
    runtime.block_on(site.platform.enroll(name, &wrong)).unwrap();

    let facts = serde_json::json!({
        "url": format!("https://gateway.local:{port}/"),
        "code": daemon.told(&["claim-code"]),
        "password": PASSWORD,
        "label": label::reveal(lock.admission()).to_string(),
        "shots": std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots"),
    });
    daemon.told(&["claim", "--confirm"]);
    let mut browser =
        script.arg(facts.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut answers = browser.stdin.take().unwrap();
    let mut done = false;
    for line in BufReader::new(browser.stdout.take().unwrap()).lines() {
        match line.unwrap().as_str() {
            "done" => {
                done = true;
                continue;
            }
            "right code" => {
                assert!(daemon.told(&["locks"]).contains("wrong code"));
                runtime.block_on(site.platform.enroll(name, lock.owner_code())).unwrap();
                lock.touch();
                runtime.block_on(site.activated(lock.id()));
                eventually("the command line says so, too", PATIENCE, || {
                    daemon.told(&["locks"]).contains("activated").then_some(())
                });
            }
            "blank lock" => {
                // The code is burnt with the lock's first word under its new keys.
                runtime.block_on(async {
                    let wait = async {
                        loop {
                            let known = site.platform.locks().await.unwrap();
                            if known.iter().any(|known| known.stage == cardea_sdk::Stage::Owned) {
                                return;
                            }
                            tokio::time::sleep(Duration::from_millis(200)).await;
                        }
                    };
                    tokio::time::timeout(PATIENCE, wait).await.unwrap();
                });
                daemon.told(&["locks", "remove", &lock.id().to_string()]);
                lock = VirtualLock::on_loopback(SEED, 1, radio).unwrap();
            }
            other => panic!("the browser says {other:?}"),
        }
        writeln!(answers, "ok").unwrap();
    }
    let status = browser.wait().unwrap();
    assert!(done && status.success(), "the journey ended early; what went wrong is above");
    drop(lock);
    runtime.shutdown_background();
}
