//! What an attacker can have the page show, and a lock that never comes, in a real browser.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::Stdio,
};

use cardea_radio::{LorawanClass, label};
use cardea_simulator::{Air, LockConfig, Region, VirtualLock, Weather};
use cardea_tests::{daemon::Daemon, free_port, free_udp_port, node::node};

const SEED: u64 = 43;

/// The name of a file, so without a slash; and of a browser, which is shown to its 60th letter.
const HOSTILE: &str = "<img src=x onerror=window.owned=1><svg onload=owned=1>";

#[test]
fn what_is_said_is_text_and_the_time_of_a_lock_that_never_comes_ends() {
    let Some(mut script) = node("browser_hostile.js") else { return };
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _entered = runtime.enter();
    // Never switched on.
    let air = Air::new(SEED, Weather::default());
    let lora = LockConfig { number: 1, class: LorawanClass::A, region: Region::Eu868 };
    let lock = VirtualLock::new(SEED, lora, &air).unwrap();

    let port = free_port();
    let config = format!(
        "[web]\nenabled = true\nhttps = \"127.0.0.1:{port}\"\nnames = [\"gateway.local\"]\n\
         [lora]\nenabled = true\nbind = \"127.0.0.1:{}\"\nregion = \"EU868\"\n",
        free_udp_port()
    );
    let mut daemon = Daemon::prepare(dir.path(), free_port(), &config);
    // The link says which of its files it cannot read, at every try: on the overview, on the broker's page and in the log.
    let text = std::fs::read_to_string(&daemon.config).unwrap();
    let ca = dir.path().join(HOSTILE);
    let text = text.replace("url = \"mqtt://", &format!("ca_file = '{}'\nurl = \"mqtts://", ca.display()));
    std::fs::write(&daemon.config, text).unwrap();
    daemon.up();
    let facts = serde_json::json!({
        "url": format!("https://gateway.local:{port}/"),
        "code": daemon.told(&["claim-code"]),
        "password": "vier alte Nussbaeume",
        "label": label::reveal(lock.admission()).to_string(),
        "hostile": HOSTILE,
        "shots": Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots"),
    });
    daemon.told(&["claim", "--confirm"]);
    let mut browser =
        script.arg(facts.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut answers = browser.stdin.take().unwrap();
    let mut done = false;
    for line in BufReader::new(browser.stdout.take().unwrap()).lines() {
        match line.unwrap().as_str() {
            "done" => done = true,
            "is it gone" => {
                let gone = daemon.told(&["locks"]).contains("no lock is admitted");
                writeln!(answers, "{}", if gone { "gone" } else { "there" }).unwrap();
            }
            other => panic!("the browser says {other:?}"),
        }
    }
    assert!(browser.wait().unwrap().success() && done, "the journey ended early; what went wrong is above");
    drop(lock);
    runtime.shutdown_background();
}
