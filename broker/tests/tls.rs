//! TLS: the broker is believed for a reason or not at all, and a refusal says why.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unit_arg,
    reason = "helpers of tests fail the test"
)]

mod common;

use std::path::PathBuf;

use cardea_broker::{MqttConfig, TlsFiles};
use cardea_tests::{authority::Authority, broker::Broker, soon, write};
use common::*;

fn over_tls(port: u16, ca: Option<PathBuf>, client: Option<(PathBuf, PathBuf)>) -> MqttConfig {
    let mut config = config(port);
    config.tls = Some(TlsFiles { ca, client });
    config
}

#[tokio::test]
async fn a_certificate_of_the_configured_authority_for_the_right_address_is_taken() {
    let authority = Authority::new();
    let broker = Broker::with(&authority.server("127.0.0.1", 2090));
    let (handle, _task) = start(over_tls(broker.port, Some(authority.file.clone()), None));
    let mut relay = Relay::new(handle);
    for row in 0..50 {
        relay.add(row);
    }
    relay.until_empty().await;
    assert_eq!(relay.connects, 1);
    // By name as well.
    let broker = Broker::with(&authority.server("localhost", 2090));
    let mut config = over_tls(broker.port, Some(authority.file.clone()), None);
    config.host = "localhost".into();
    let (mut handle, _task) = start(config);
    connected(&mut handle).await;
}

#[tokio::test]
async fn the_wrong_authority_the_wrong_name_and_an_old_certificate_are_refused_by_name() {
    let authority = Authority::new();
    let other = Authority::new();
    let good = Broker::with(&authority.server("127.0.0.1", 2090));
    let (handle, _task) = start(over_tls(good.port, Some(other.file.clone()), None));
    let said = detail(&handle, "certificate is refused").await;
    assert!(said.contains("not issued by an authority in") && said.contains("ca.pem"), "{said}");

    let (handle, _task) = start(over_tls(good.port, None, None));
    let said = detail(&handle, "system's trust store").await;
    assert!(!handle.status().borrow().connected, "{said}");

    let named = Broker::with(&authority.server("broker.example", 2090));
    let (handle, _task) = start(over_tls(named.port, Some(authority.file.clone()), None));
    let said = detail(&handle, "certificate is refused").await;
    assert!(said.contains("127.0.0.1") && said.contains("broker.example"), "{said}");

    let old = Broker::with(&authority.server("127.0.0.1", 2021));
    let (handle, _task) = start(over_tls(old.port, Some(authority.file.clone()), None));
    detail(&handle, "it has expired").await;
    assert_eq!(handle.status().borrow().connects, 0);
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_its_lack_or_a_foreign_one_is_named() {
    let authority = Authority::new();
    let server = format!(
        "{}cafile {}\nrequire_certificate true\nuse_identity_as_username true\n",
        authority.server("127.0.0.1", 2090),
        authority.file.display()
    );
    let broker = Broker::with(&server);
    let (mut handle, _task) =
        start(over_tls(broker.port, Some(authority.file.clone()), Some(authority.client("lobby"))));
    connected(&mut handle).await;

    let (handle, _task) = start(over_tls(broker.port, Some(authority.file.clone()), None));
    detail(&handle, "client certificate").await;
    let foreign = Authority::new().client("lobby");
    // The directory of the foreign authority is gone: the files are read anew and missing.
    let (handle, _task) = start(over_tls(broker.port, Some(authority.file.clone()), Some(foreign)));
    detail(&handle, "No such file").await;
    let stranger = Authority::new();
    let foreign = stranger.client("lobby");
    let (handle, _task) = start(over_tls(broker.port, Some(authority.file.clone()), Some(foreign)));
    detail(&handle, "client certificate").await;
}

#[tokio::test]
async fn a_renewed_client_certificate_is_read_at_the_next_attempt() {
    let authority = Authority::new();
    let server = format!(
        "{}cafile {}\nrequire_certificate true\n",
        authority.server("127.0.0.1", 2090),
        authority.file.display()
    );
    let broker = Broker::with(&server);
    let stranger = Authority::new();
    let files = stranger.client("lobby");
    let (mut handle, _task) = start(over_tls(broker.port, Some(authority.file.clone()), Some(files.clone())));
    detail(&handle, "client certificate").await;
    let (cert, key) = authority.client("lobby");
    std::fs::copy(cert, &files.0).unwrap();
    // Between the two copies certificate and key do not match, which is an error like any other.
    std::fs::copy(key, &files.1).unwrap();
    connected(&mut handle).await;
}

#[tokio::test]
async fn unusable_files_are_named() {
    let authority = Authority::new();
    let broker = Broker::with(&authority.server("127.0.0.1", 2090));
    let directory = tempfile::tempdir().unwrap();
    let empty = write(directory.path(), "empty.pem", "");
    let (handle, _task) = start(over_tls(broker.port, Some(empty), None));
    detail(&handle, "empty.pem: holds no PEM certificate").await;
    let (handle, _task) = start(over_tls(broker.port, Some(directory.path().join("absent.pem")), None));
    detail(&handle, "absent.pem: No such file").await;
    let (cert, _) = authority.client("a");
    let (_, key) = authority.client("b");
    let (handle, _task) =
        start(over_tls(broker.port, Some(authority.file.clone()), Some((cert.clone(), key))));
    detail(&handle, "b.key: does not go with the certificate").await;
    let (handle, _task) =
        start(over_tls(broker.port, Some(authority.file.clone()), Some((cert.clone(), cert))));
    detail(&handle, "no private key").await;
}

#[tokio::test]
async fn tls_to_a_plain_port_and_plain_to_a_tls_port_are_told_apart() {
    let broker = Broker::open();
    let authority = Authority::new();
    let (handle, _task) = start(over_tls(broker.port, Some(authority.file.clone()), None));
    detail(&handle, "TLS").await;
    let broker = Broker::with(&authority.server("127.0.0.1", 2090));
    let (handle, _task) = start(config(broker.port));
    let mut status = handle.status();
    soon("a failure", status.wait_for(|s| s.failures > 0)).await.unwrap();
    assert!(!handle.status().borrow().connected);
}
