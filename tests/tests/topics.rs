//! Topics that a cloud dictates, at the gateway and at the platform: the same thread runs over them.

use std::{collections::BTreeMap, fs, net::SocketAddr, time::Duration};

use cardea_sdk::{Bolt, Broker as BrokerSettings, LockName, Outcome, Platform, PlatformEvent};
use cardea_simulator::VirtualLock;
use cardea_tests::{broker::Broker, daemon::Daemon, spy::Spy};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(120);
const TOPICS: [(&str, &str); 3] = [
    ("up", "devices/{gateway}/messages/events/{lock}"),
    ("down", "devices/{gateway}/messages/devicebound/{lock}"),
    ("state", "clients/{gateway}"),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_topics_of_a_cloud_carry_activation_and_unlock() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path(), "");
    let spy = Spy::start(broker.port);
    let table: Vec<_> = TOPICS.iter().map(|(name, topic)| format!("{name} = \"{topic}\"")).collect();
    let mqtt = format!("topics = {{ {} }}\n#mqtt\n", table.join(", "));
    let daemon = Daemon::start(dir.path(), broker.port, &mqtt);
    let gateway = SocketAddr::from(([127, 0, 0, 1], daemon.loopback));
    let lock = VirtualLock::on_loopback(3, 1, gateway).unwrap();
    daemon.admit(&[cardea_radio::label::reveal(lock.admission()).to_string()]);

    let home = dir.path().join("platform");
    fs::create_dir(&home).unwrap();
    Platform::init(&home).unwrap();
    let platform = Platform::open(&home).unwrap();
    let mut events = platform.subscribe();
    let mut settings = BrokerSettings::at(&format!("mqtt://127.0.0.1:{}", broker.port));
    settings.topics = BTreeMap::from(TOPICS.map(|(name, topic)| (name.into(), topic.into())));
    tokio::spawn(platform.clone().run(settings));
    platform.enroll(LockName::Thumbprint(*lock.thumbprint()), lock.owner_code()).await.unwrap();
    let activated = async {
        while !matches!(events.recv().await.unwrap(), PlatformEvent::Activated { lock: id, .. } if id == lock.id())
        {
        }
    };
    timeout(PATIENCE, activated).await.expect("activated");
    let outcome =
        timeout(PATIENCE, platform.unlock(lock.id(), Duration::from_secs(60))).await.unwrap().unwrap();
    assert!(matches!(outcome, Outcome::Done { bolt: Bolt::Unlocked, .. }), "{outcome}");

    let id = lock.id();
    assert!(spy.count(&format!("devices/gw-test/messages/events/{id}")) > 0);
    assert!(spy.count(&format!("devices/gw-test/messages/devicebound/{id}")) > 0);
    assert_eq!(spy.count(&format!("/lock/{id}/up")) + spy.count(&format!("/lock/{id}/down")), 0);
    assert!(spy.count("cardea/v1/gw-test/info") > 0, "what the cloud does not dictate stays where it was");
}
