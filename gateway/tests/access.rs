//! The daemon at a broker that asks who is there: TLS both ways, and the access rules we ship for mosquitto.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test"
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use cardea_framing::Class;
use common::*;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(directory: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let file = directory.join(format!("{name}.pem"));
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), file }
    }

    /// Writes `{name}.pem` and `{name}.key` beside the authority's file.
    fn issue(&self, name: &str, address: &str, usage: ExtendedKeyUsagePurpose) -> [String; 2] {
        let mut params = CertificateParams::new(vec![address.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = [("pem", certificate.pem()), ("key", key.serialize_pem())];
        files.map(|(kind, text)| {
            let path = self.file.with_file_name(format!("{name}.{kind}"));
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        })
    }
}

/// A mosquitto with the rules as they are shipped.
struct Guarded {
    broker: Broker,
    authority: Authority,
    directory: tempfile::TempDir,
}

impl Guarded {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(directory.path(), "ca");
        let [cert, key] = authority.issue("broker", "127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth);
        let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/brokers/mosquitto.acl");
        let mut broker = Broker::prepared();
        broker.more = format!(
            "cafile {}\ncertfile {cert}\nkeyfile {key}\nrequire_certificate true\n\
             use_identity_as_username true\nacl_file {rules}\n",
            authority.file.display()
        );
        broker.up();
        Self { broker, authority, directory }
    }

    fn client(&self, name: &str) -> [String; 2] {
        self.authority.issue(name, name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// TOML for `[mqtt]`.
    fn section(&self, [cert, key]: &[String; 2]) -> String {
        format!(
            "url = \"mqtts://127.0.0.1:{}\"\nca_file = {:?}\ncert_file = {cert:?}\nkey_file = {key:?}",
            self.broker.port, self.authority.file
        )
    }

    fn daemon(&self, name: &str, files: &[String; 2]) -> Daemon {
        let mut daemon = Daemon::prepared(&self.broker, "");
        let path = daemon.path("cardea.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let plain = format!("url = \"mqtt://127.0.0.1:{}\"", self.broker.port);
        let text = text.replace(&plain, &self.section(files)).replace("gw-test", name);
        std::fs::write(path, text).unwrap();
        daemon.up();
        daemon
    }

    /// A command of mosquitto's own, as this user.
    fn tool(&self, name: &str, user: &str, arguments: &[&str]) -> String {
        let at = |file: String| self.directory.path().join(file);
        let output = Command::new(name)
            .args(["-h", "127.0.0.1", "-p", &self.broker.port.to_string(), "-q", "1", "--cafile"])
            .arg(&self.authority.file)
            .arg("--cert")
            .arg(at(format!("{user}.pem")))
            .arg("--key")
            .arg(at(format!("{user}.key")))
            .args(arguments)
            .stderr(Stdio::null())
            .output()
            .expect("mosquitto-clients are installed");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

#[test]
fn gateways_work_behind_the_shipped_rules_and_cannot_reach_each_others_topics() {
    let guarded = Guarded::start();
    let (one, two, platform) =
        (guarded.client("gw-one"), guarded.client("gw-two"), guarded.client("platform"));
    drop((two, platform));
    let daemon = guarded.daemon("gw-one", &one);
    daemon.admit();
    eventually("well", || daemon.cli(&["status"]).status.success().then_some(()));
    let radio = Radio::new(&daemon);
    radio.deliver(&datagram(Class::Interactive, b"\x09\x01x"));

    // The platform sees it and is heard.
    let up =
        guarded.tool("mosquitto_sub", "platform", &["-t", "cardea/v1/gw-one/#", "-C", "4", "-W", "10", "-v"]);
    assert!(up.contains("cardea/v1/gw-one/state") && up.contains("cardea/v1/gw-one/locks"), "{up}");
    guarded.tool("mosquitto_pub", "platform", &["-t", "cardea/v1/gw-one/request/status", "-m", "{}"]);
    eventually("the platform is heard", || {
        (daemon.metric("cardea_broker_messages_total") == 1).then_some(())
    });

    // Another gateway is not, and sees nothing.
    for topic in ["request/status", "lock/1122334455667788/down", "lock/1122334455667788/seen"] {
        guarded.tool("mosquitto_pub", "gw-two", &["-t", &format!("cardea/v1/gw-one/{topic}"), "-m", "{}"]);
    }
    let seen = guarded.tool("mosquitto_sub", "gw-two", &["-t", "cardea/v1/#", "-W", "2", "-v"]);
    assert_eq!(seen, "");
    // Nor may a gateway command itself, should its credential leak.
    guarded.tool("mosquitto_pub", "gw-one", &["-t", "cardea/v1/gw-one/request/status", "-m", "{}"]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(daemon.metric("cardea_broker_messages_total"), 1);
}

#[test]
fn an_impostor_broker_gets_nothing_and_the_operator_is_told_why() {
    let guarded = Guarded::start();
    let client = guarded.client("gw-one");
    let elsewhere = tempfile::tempdir().unwrap();
    let mut stranger = guarded.section(&client);
    let other = Authority::new(elsewhere.path(), "other");
    stranger =
        stranger.replace(&guarded.authority.file.display().to_string(), &other.file.display().to_string());
    let mut daemon = Daemon::prepared(&guarded.broker, "");
    let path = daemon.path("cardea.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let plain = format!("url = \"mqtt://127.0.0.1:{}\"", guarded.broker.port);
    std::fs::write(&path, text.replace(&plain, &stranger)).unwrap();
    daemon.up();
    let text = eventually("told", || {
        let text = String::from_utf8(daemon.cli(&["status"]).stdout).unwrap();
        text.contains("certificate is refused").then_some(text)
    });
    assert!(text.contains("not issued by an authority in") && text.contains("other.pem"), "{text}");
    assert_eq!(daemon.metric("cardea_broker_connects_total"), 0);
}
