//! The gateway's own authority, passkeys and factory reset in a real browser, on the real daemon.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use cardea_tests::{daemon::Daemon, eventually, free_port, loopback::LoopRadio, node::node};

const PASSWORD: &str = "vier alte Nussbaeume";
const PATIENCE: Duration = Duration::from_secs(60);

fn run(program: &str, arguments: &[&str]) -> String {
    let out = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    assert!(out.status.success(), "{program} {arguments:?}: {said}");
    said
}

/// Runs a stage of the journey in a browser whose profile trusts what is installed in `home`.
fn browse(facts: &serde_json::Value, home: &Path, mut beside: impl FnMut(&str)) {
    let Some(mut script) = node("browser_trust.js") else { return };
    let script = script.arg(facts.to_string()).env("HOME", home);
    let mut browser = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut answers = browser.stdin.take().unwrap();
    let mut done = false;
    for line in BufReader::new(browser.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line == "done" {
            done = true;
            continue;
        }
        beside(&line);
        writeln!(answers, "ok").unwrap();
    }
    assert!(browser.wait().unwrap().success() && done, "the journey ended early; what went wrong is above");
}

#[test]
fn an_owner_installs_the_authority_uses_a_passkey_and_sets_the_gateway_back() {
    if node("browser_trust.js").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let web = format!("[web]\nenabled = true\nhttps = \"127.0.0.1:{port}\"\nnames = [\"gateway.local\"]\n");
    let daemon = Daemon::start(dir.path(), free_port(), &web);
    let authority = dir.path().join("authority.crt");
    let mut facts = serde_json::json!({
        "url": format!("https://gateway.local:{port}/"),
        "code": daemon.told(&["claim-code"]),
        "password": PASSWORD,
        "authority": authority,
        "shots": Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots"),
        "stage": "untrusting",
    });
    daemon.told(&["claim", "--confirm"]);
    // Two people's homes: a browser makes a certificate store of its own where there is none.
    let (other, home) = (dir.path().join("other"), dir.path().join("home"));
    std::fs::create_dir_all(&other).unwrap();
    std::fs::create_dir_all(home.join(".pki/nssdb")).unwrap();
    browse(&facts, &other, |_| ());

    // What the page gives verifies what the page shows, by a program that is not ours.
    let pem = dir.path().join("authority.pem");
    run(
        "openssl",
        &["x509", "-inform", "DER", "-in", authority.to_str().unwrap(), "-out", pem.to_str().unwrap()],
    );
    let handshake = format!(
        "openssl s_client -connect 127.0.0.1:{port} -servername gateway.local -CAfile {} -verify_return_error \
         -verify_hostname gateway.local </dev/null",
        pem.display()
    );
    assert!(run("sh", &["-c", &handshake]).contains("Verify return code: 0 (ok)"));
    // The owner installs it, as Chromium on Linux has it.
    let database = format!("sql:{}", home.join(".pki/nssdb").display());
    run("certutil", &["-d", &database, "-N", "--empty-password"]);
    run("certutil", &["-d", &database, "-A", "-t", "C,,", "-n", "gateway", "-i", pem.to_str().unwrap()]);

    let label = LoopRadio::new(daemon.loopback, 1, 500).labels().remove(0);
    daemon.told(&["locks", "admit", &label]);
    let before = daemon.told(&["fingerprint"]);
    facts["stage"] = "trusting".into();
    browse(&facts, &home, |order| {
        assert_eq!(order, "is reset");
        // The same process, and nobody's: no lock, no claim, another certificate; the old one's key is gone.
        eventually("the gateway starts anew", PATIENCE, || {
            let out = daemon.cli(&["claim-code"]);
            out.status.success().then_some(())
        });
        assert!(daemon.told(&["locks"]).contains("no lock is admitted"));
        assert_ne!(daemon.told(&["fingerprint"]), before);
        let left: Vec<_> = std::fs::read_dir(&daemon.data)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(left.iter().any(|name| name == "resets"), "{left:?}");
        assert!(!left.iter().any(|name| name == "web-authority.pem" || name == "factory-reset"), "{left:?}");
    });
    // By the console, with the gateway's name, and never without.
    let refused = daemon.cli(&["factory-reset", "--confirm", "gw-other"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("gw-test"));
    let fingerprint = daemon.told(&["fingerprint"]);
    daemon.told(&["factory-reset", "--confirm", "gw-test"]);
    eventually("the gateway starts anew", PATIENCE, || {
        let out = daemon.cli(&["fingerprint"]);
        let said = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        (out.status.success() && said != fingerprint).then_some(())
    });
    let resets = std::fs::read_to_string(daemon.data.join("resets")).unwrap();
    assert_eq!(resets.lines().count(), 2, "{resets}");
    assert!(resets.contains(" page\n") && resets.contains(" console\n"), "{resets}");
    assert!(!daemon.log().contains("panicked"));
}
