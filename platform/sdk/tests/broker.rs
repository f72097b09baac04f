//! A platform and its broker, over links and with brokers that fail: what is told, and that it mends without a restart.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests fail by panicking

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use cardea_envelope::{Encoding, EventKind, GatewayEvent, VERSION};
use cardea_sdk::{Broker, Platform, PlatformEvent};
use cardea_tests::{
    authority::Authority,
    broker::Broker as Mosquitto,
    observer::Observer,
    proxy::{Mode, Proxy},
    soon, write,
};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

/// A platform with a link, and what it tells.
struct Running {
    events: broadcast::Receiver<PlatformEvent>,
    link: JoinHandle<Result<(), cardea_sdk::Error>>,
    _platform: Platform,
    _dir: tempfile::TempDir,
}

impl Running {
    fn start(mut broker: Broker) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Platform::init(dir.path()).unwrap();
        let platform = Platform::open(dir.path()).unwrap();
        broker.keepalive_s = 5;
        let events = platform.subscribe();
        Self { events, link: tokio::spawn(platform.clone().run(broker)), _platform: platform, _dir: dir }
    }

    async fn next(&mut self, what: &str) -> PlatformEvent {
        soon(what, self.events.recv()).await.unwrap()
    }

    async fn up(&mut self) {
        soon("broker up", async { while self.next("broker up").await != PlatformEvent::BrokerUp {} }).await;
    }

    /// Waits until the broker is down for a reason with these words.
    async fn down(&mut self, words: &str) -> String {
        soon(words, async {
            loop {
                if let PlatformEvent::BrokerDown { reason } = self.next(words).await
                    && reason.contains(words)
                {
                    return reason;
                }
            }
        })
        .await
    }

    /// Waits for this message of a gateway; no connection may break meanwhile.
    async fn told(&mut self, text: &str) {
        soon(text, async {
            loop {
                match self.next(text).await {
                    PlatformEvent::Site { detail, .. } if detail == text => return,
                    PlatformEvent::BrokerDown { reason } => panic!("{text}: {reason}"),
                    _ => {}
                }
            }
        })
        .await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.link.abort();
    }
}

fn plain(port: u16) -> Broker {
    Broker::at(&format!("mqtt://127.0.0.1:{port}"))
}

fn tls(port: u16, ca: &Path, client: Option<(PathBuf, PathBuf)>) -> Broker {
    let mut broker = Broker::at(&format!("mqtts://127.0.0.1:{port}"));
    broker.ca_file = Some(ca.into());
    (broker.cert_file, broker.key_file) = client.unzip();
    broker
}

/// Publishes what a gateway might.
async fn report(observer: &Observer, text: &str) {
    let event = GatewayEvent { v: VERSION, at: 1, what: EventKind::Audit { detail: text.into() } };
    observer.publish("cardea/v1/g1/event", false, Encoding::Json.encode(&event)).await;
}

#[tokio::test]
async fn a_broker_of_another_authority_is_refused_by_name_until_the_file_names_its_own() {
    let (authority, other) = (Authority::new(), Authority::new());
    let broker = Mosquitto::with(&authority.server("127.0.0.1", 2090));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::copy(&other.file, &file).unwrap();
    let mut running = Running::start(tls(broker.port, &file, None));
    let reason = running.down("certificate is refused").await;
    assert!(reason.contains(&format!("not issued by an authority in {}", file.display())), "{reason}");
    std::fs::copy(&authority.file, &file).unwrap();
    running.up().await;
}

#[tokio::test]
async fn a_client_certificate_is_needed_and_shown() {
    let authority = Authority::new();
    let broker = Mosquitto::with(&format!(
        "{}cafile {}\nrequire_certificate true\n",
        authority.server("127.0.0.1", 2090),
        authority.file.display()
    ));
    let mut without = Running::start(tls(broker.port, &authority.file, None));
    without.down("client certificate").await;
    let mut with = Running::start(tls(broker.port, &authority.file, Some(authority.client("platform"))));
    with.up().await;
}

fn passwords(dir: &Path, password: &str) -> PathBuf {
    let file = write(dir, "passwords", "");
    let made =
        Command::new("mosquitto_passwd").arg("-b").arg(&file).args(["platform", password]).status().unwrap();
    assert!(made.success());
    file
}

#[tokio::test]
async fn a_password_that_was_changed_works_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let known = passwords(dir.path(), "old");
    let mut broker = Mosquitto::with(&format!("allow_anonymous false\npassword_file {}", known.display()));
    let mut settings = plain(broker.port);
    settings.username = Some("platform".into());
    settings.password_file = Some(write(dir.path(), "password", "old\n"));
    let mut running = Running::start(settings);
    running.up().await;
    passwords(dir.path(), "new");
    broker.down();
    broker.up();
    running.down("not authorised").await;
    write(dir.path(), "password", "new\n");
    running.up().await;
}

#[tokio::test]
async fn a_connection_that_went_silent_is_noticed_and_mended() {
    let broker = Mosquitto::open();
    let proxy = Proxy::new(broker.port).await;
    let observer = Observer::new(broker.port).await;
    let mut running = Running::start(plain(proxy.port));
    running.up().await;
    proxy.set(Mode::Blackhole);
    let since = Instant::now();
    report(&observer, "said into the void").await;
    running.down("no longer answers pings").await;
    assert!(since.elapsed() < Duration::from_secs(12), "two pings and a bit: {:?}", since.elapsed());
    proxy.set(Mode::Refuse);
    tokio::time::sleep(Duration::from_millis(100)).await;
    proxy.set(Mode::Pass);
    running.up().await;
    running.told("said into the void").await;
}

#[tokio::test]
async fn a_broker_that_forgot_everything_is_subscribed_to_again() {
    let mut broker = Mosquitto::open();
    let mut running = Running::start(plain(broker.port));
    running.up().await;
    for round in ["first", "second"] {
        broker.down();
        running.down("closed by the other side").await;
        broker.up();
        running.up().await;
        let observer = Observer::new(broker.port).await;
        report(&observer, round).await;
        running.told(round).await;
    }
}

#[tokio::test]
async fn a_large_message_is_discarded_and_those_behind_it_arrive() {
    let broker = Mosquitto::open();
    let observer = Observer::new(broker.port).await;
    let mut running = Running::start(plain(broker.port));
    running.up().await;
    // Above what is looked at, far below what can be read.
    for size in [300 << 10, 12 << 20] {
        observer.publish("cardea/v1/g1/event", false, vec![b'x'; size]).await;
        report(&observer, "behind it").await;
        running.told("behind it").await;
    }
}

#[tokio::test]
async fn a_message_too_large_to_read_costs_the_queue_once_is_told_and_later_ones_arrive() {
    let broker = Mosquitto::open();
    let mut observer = Observer::new(broker.port).await;
    let mut running = Running::start(plain(broker.port));
    running.up().await;
    observer.publish("cardea/v1/g1/event", false, vec![b'x'; 17 << 20]).await;
    observer.next("cardea/v1/g1/event").await;
    running.down("16777216 can be read").await;
    running.down("what the broker had queued for this platform was thrown away").await;
    running.up().await;
    report(&observer, "after it").await;
    running.told("after it").await;
    let later = tokio::time::timeout(Duration::from_secs(2), running.down("")).await;
    assert!(later.is_err(), "it comes back: {later:?}");
}
