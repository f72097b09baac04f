//! A broker that is tried: each step that can fail, and why it did.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::net::TcpListener;

use cardea_broker::{Cause, MqttConfig, Step, TlsFiles, probe};
use cardea_tests::{authority::Authority, broker::Broker};
use common::*;
use zeroize::Zeroizing;

/// As the gateway tries one.
fn trial(port: u16) -> MqttConfig {
    let mut trial = config(port);
    trial.client_id = "gw-test".into();
    trial.live_only = true;
    trial.timeout = std::time::Duration::from_secs(2);
    trial
}

fn with_tls(port: u16, ca: &Authority) -> MqttConfig {
    let mut trial = trial(port);
    trial.host = "localhost".into();
    trial.tls = Some(TlsFiles { ca: Some(ca.file.clone()), client: None });
    trial
}

async fn failed(config: &MqttConfig) -> (Step, Cause) {
    let probe = probe(config).await;
    let Some((step, cause, detail)) = probe.failed else { panic!("it works: {:?}", probe.passed) };
    assert!(!detail.is_empty() && probe.passed.iter().all(|passed| *passed < step), "{detail}");
    (step, cause)
}

#[tokio::test]
async fn an_open_broker_passes_every_step_and_a_link_under_another_id_notices_nothing() {
    let broker = Broker::open();
    let (mut handle, _task) = start(config(broker.port));
    connected(&mut handle).await;
    let found = probe(&trial(broker.port)).await;
    assert_eq!(found.failed, None);
    assert_eq!(found.passed, [Step::Settings, Step::Name, Step::Tcp, Step::Login, Step::Subscribe]);
    handle.publish(publish(1, "up", "x"));
    event("the answer", &mut handle, |e| match e {
        cardea_broker::Event::Acked { token } => Some(token),
        cardea_broker::Event::Disconnected => panic!("the link was thrown out"),
        _ => None,
    })
    .await;
}

#[tokio::test]
async fn nobody_there_another_thing_there_and_an_unknown_name_are_told_apart() {
    let port = cardea_tests::free_port();
    assert_eq!(failed(&trial(port)).await, (Step::Tcp, Cause::PortClosed));
    let mut unknown = trial(port);
    unknown.host = "no-such-host.invalid".into();
    assert_eq!(failed(&unknown).await, (Step::Name, Cause::NameUnknown));

    // It takes the connection and never says anything.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    assert_eq!(failed(&trial(port)).await, (Step::Login, Cause::Silent));
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = web.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for stream in web.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 100]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    assert_eq!(failed(&trial(port)).await, (Step::Login, Cause::NotMqtt));
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_told() {
    let (ca, other) = (Authority::new(), Authority::new());
    let broker = Broker::with(&ca.server("localhost", 2090));
    let found = probe(&with_tls(broker.port, &ca)).await;
    assert_eq!((found.failed, found.passed.contains(&Step::Tls)), (None, true));
    assert_eq!(failed(&with_tls(broker.port, &other)).await, (Step::Tls, Cause::Issuer));

    let broker = Broker::with(&ca.server("elsewhere.example", 2090));
    assert_eq!(failed(&with_tls(broker.port, &ca)).await, (Step::Tls, Cause::OtherName));
    let broker = Broker::with(&ca.server("localhost", 2001));
    assert_eq!(failed(&with_tls(broker.port, &ca)).await, (Step::Tls, Cause::Expired));
    let plain = Broker::open();
    let (step, cause) = failed(&with_tls(plain.port, &ca)).await;
    assert!(step == Step::Tls && matches!(cause, Cause::Tls | Cause::Silent), "{cause:?}");
    let mut no_file = with_tls(plain.port, &ca);
    no_file.tls = Some(TlsFiles { ca: Some("/no/such/file".into()), client: None });
    assert_eq!(failed(&no_file).await, (Step::Settings, Cause::Settings));

    let ours =
        format!("{}require_certificate true\ncafile {}\n", ca.server("localhost", 2090), ca.file.display());
    let broker = Broker::with(&ours);
    let (step, cause) = failed(&with_tls(broker.port, &ca)).await;
    assert!(step >= Step::Tls && matches!(cause, Cause::Tls | Cause::NotMqtt), "{step:?} {cause:?}");
}

#[tokio::test]
async fn a_wrong_password_and_a_user_without_rights_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let made = std::process::Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(file("users"))
        .args(["lobby", "richtig und lang"])
        .status()
        .unwrap();
    assert!(made.success());
    std::fs::write(file("rights"), "user nobody\ntopic readwrite #\n").unwrap();
    let broker = Broker::with(&format!(
        "allow_anonymous false\npassword_file {}\nacl_file {}\n",
        file("users").display(),
        file("rights").display()
    ));
    let mut trial = trial(broker.port);
    trial.filters = vec!["down".into()];
    let (step, cause) = failed(&trial).await;
    assert!(step == Step::Login && matches!(cause, Cause::NotAuthorised | Cause::Password), "{cause:?}");
    trial.username = Some("lobby".into());
    trial.password = Some(Zeroizing::new("falsch".into()));
    assert_eq!(failed(&trial).await.0, Step::Login);
    trial.password = Some(Zeroizing::new("richtig und lang".into()));
    let found = probe(&trial).await;
    // mosquitto 2 grants the subscription and delivers nothing; others refuse it.
    assert!(found.passed.contains(&Step::Login), "{found:?}");
}
