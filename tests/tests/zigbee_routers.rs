//! More locks than a dongle takes as children of its own: those that find no room there join behind a router.

use std::time::Duration;

use cardea_simulator::zigbee::{Dongle, DongleConfig, Ncp, NcpConfig, Nvram, Router, SealedLock};
use cardea_tests::{broker::Broker, daemon::Daemon, eventually};
use cardea_zigbee::Eui64;

const SEED: u64 = 31;
/// The router is one of the 32 devices that the dongle takes.
const LOCKS: u64 = 34;

#[test]
fn a_router_is_admitted_and_more_locks_join_than_the_dongle_has_room_for() {
    println!("seed {SEED}");
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path(), "");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _context = runtime.enter();
    let ncp = NcpConfig { eui: Eui64(*b"\x02\xca\xde\xa3\0\0\0\x0a"), seed: SEED };
    let config = DongleConfig { port: dir.path().join("dongle"), seed: SEED, usb: false, capture: None };
    let dongle = Dongle::plug_in(Ncp::new(ncp, Nvram::default()), config).unwrap();
    let more = format!("[zigbee]\nenabled = true\ndevice = \"{}\"\n", dongle.port().display());
    let daemon = Daemon::start(dir.path(), broker.port, &more);
    eventually("the dongle forms a network", Duration::from_secs(60), || {
        daemon.cli(&["radio", "form", "zigbee"]).status.success().then_some(())
    });
    let routers = || String::from_utf8(daemon.cli(&["radio", "routers", "zigbee"]).stdout).unwrap();
    assert!(routers().contains("no router"));

    let router = Router::start(SEED, 0, &dongle).unwrap();
    let eui = router.label().eui.to_string();
    let label = format!("{eui}/{}", hex::encode(router.label().code.as_bytes()));
    assert!(!daemon.cli(&["radio", "admit-router", "zigbee", &label[1..]]).status.success());
    assert!(daemon.cli(&["radio", "admit-router", "zigbee", &label]).status.success());
    eventually("the router joins", Duration::from_secs(60), || {
        routers().contains("in the network").then_some(())
    });

    let mut locks = Vec::new();
    for number in 0..LOCKS {
        let lock = SealedLock::start(SEED, number, 500, &dongle).unwrap().into_lock();
        daemon.admit(&[cardea_radio::label::reveal(lock.admission()).to_string()]);
        locks.push(lock);
    }
    eventually("all locks join", Duration::from_secs(120), || {
        (u64::from(dongle.with(|ncp, _| ncp.traffic().joined)) == LOCKS + 1).then_some(())
    });

    assert!(daemon.cli(&["radio", "remove-router", "zigbee", &eui]).status.success());
    assert!(routers().contains("no router"));
}
