//! More locks than a dongle takes as children of its own: those that find no room there join behind a router, and the map says so;
//! on dongles of both families, and when the network moves from one to the other.

use std::{fs, time::Duration};

use cardea_simulator::VirtualLock;
use cardea_simulator::zigbee::{Dongle, DongleConfig, Ncp, NcpConfig, Nvram, Router, SealedLock};
use cardea_tests::{broker::Broker, daemon::Daemon, eventually};
use cardea_zigbee::Eui64;

const SEED: u64 = 31;
/// The router is one of the 32 devices that the dongle takes.
const LOCKS: u64 = 34;
/// Those that find no room at the dongle.
const BEHIND: usize = 3;
const PATIENCE: Duration = Duration::from_secs(120);

/// A dongle with blank memory: what it is called in the configuration, and its firmware.
fn dongle(family: &str, eui: u8) -> Ncp {
    let config = NcpConfig { eui: Eui64([2, 0xCA, 0xDE, 0xA3, 0, 0, 0, eui]), seed: SEED };
    match family {
        "zboss" => Ncp::new(config, Nvram::default()),
        _ => Ncp::ezsp(config, Nvram::default(), 14),
    }
}

fn zigbee(family: &str, dongle: &Dongle) -> String {
    format!("[zigbee]\nenabled = true\nfamily = \"{family}\"\ndevice = \"{}\"\n", dongle.port().display())
}

/// What a command says, if it has an end that is good.
fn said(daemon: &Daemon, arguments: &[&str]) -> Option<String> {
    let output = daemon.cli(arguments);
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// The lines of locks that are behind this device.
fn behind(map: &str, device: &str) -> usize {
    map.lines().filter(|line| line.contains("  lock ") && line.contains(&format!("behind {device},"))).count()
}

/// A router and more locks than the dongle has room for; the map of them.
fn join_all(daemon: &Daemon, dongle: &Dongle, locks: &mut Vec<VirtualLock>) -> Router {
    let routers = || said(daemon, &["radio", "routers", "zigbee"]).unwrap();
    assert!(routers().contains("no router"));
    let router = Router::start(SEED, 0, dongle).unwrap();
    let eui = router.label().eui.to_string();
    let label = format!("{eui}/{}", hex::encode(router.label().code.as_bytes()));
    assert!(!daemon.cli(&["radio", "admit-router", "zigbee", &label[1..]]).status.success());
    assert!(daemon.cli(&["radio", "admit-router", "zigbee", &label]).status.success());
    eventually("the router joins", PATIENCE, || routers().contains("in the network").then_some(()));
    for number in 0..LOCKS {
        let lock = SealedLock::start(SEED, number, 500, dongle).unwrap().into_lock();
        daemon.admit(&[cardea_radio::label::reveal(lock.admission()).to_string()]);
        locks.push(lock);
    }
    eventually("all locks join", PATIENCE, || {
        (u64::from(dongle.with(|ncp, _| ncp.traffic().joined)) == LOCKS + 1).then_some(())
    });
    router
}

/// What the map says when the routers have been asked.
fn surveyed(daemon: &Daemon) -> String {
    let map = eventually("routers are asked", PATIENCE, || {
        said(daemon, &["radio", "map", "zigbee", "--survey"]).filter(|map| map.contains("all were asked"))
    });
    println!("{map}");
    map
}

fn routers_on(family: &str) {
    println!("seed {SEED}");
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path(), "");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _context = runtime.enter();
    let config = DongleConfig { port: dir.path().join("dongle"), seed: SEED, usb: false, capture: None };
    let coordinator = Eui64([2, 0xCA, 0xDE, 0xA3, 0, 0, 0, 0x0A]).to_string();
    let dongle = Dongle::plug_in(dongle(family, 0x0A), config).unwrap();
    let daemon = Daemon::start(dir.path(), broker.port, &zigbee(family, &dongle));
    eventually("the dongle forms a network", PATIENCE, || said(&daemon, &["radio", "form", "zigbee"]));
    let mut locks = Vec::new();
    let router = join_all(&daemon, &dongle, &mut locks);
    let eui = router.label().eui.to_string();

    // Nobody asked yet: the network was open until now.
    let map = said(&daemon, &["radio", "map", "zigbee"]).unwrap();
    assert_eq!(behind(&map, &eui), 0, "{map}");
    let map = surveyed(&daemon);
    assert_eq!(behind(&map, &eui), BEHIND, "{map}");
    assert_eq!(behind(&map, &coordinator), usize::try_from(LOCKS).unwrap() - BEHIND, "{map}");
    assert!(map.contains(&format!("{eui}  router  behind {coordinator}, LQI 200, said ")), "{map}");
    let again = daemon.cli(&["radio", "map", "zigbee", "--survey"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("within the last minute"), "{again:?}");

    assert!(daemon.cli(&["radio", "remove-router", "zigbee", &eui]).status.success());
    assert!(said(&daemon, &["radio", "routers", "zigbee"]).unwrap().contains("no router"));
}

#[test]
fn more_locks_than_a_zboss_dongle_has_room_for_join_behind_a_router_and_the_map_says_which() {
    routers_on("zboss");
}

#[test]
fn more_locks_than_a_silicon_labs_dongle_has_room_for_join_behind_a_router_and_the_map_says_which() {
    routers_on("ezsp");
}

/// The dongle dies, and one of the other family takes its place, from a file and back from the store: the router and the locks
/// behind it go on, and none of them joins again.
#[test]
fn a_network_with_a_router_moves_to_the_other_family_and_back_and_nobody_joins_again() {
    println!("seed {SEED}");
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path(), "");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _context = runtime.enter();
    let config = DongleConfig { port: dir.path().join("dongle"), seed: SEED, usb: false, capture: None };
    let coordinator = Eui64([2, 0xCA, 0xDE, 0xA3, 0, 0, 0, 0x0A]).to_string();
    let port = Dongle::plug_in(dongle("zboss", 0x0A), config).unwrap();
    let mut daemon = Daemon::start(dir.path(), broker.port, &zigbee("zboss", &port));
    eventually("the dongle forms a network", PATIENCE, || said(&daemon, &["radio", "form", "zigbee"]));
    let mut locks = Vec::new();
    let router = join_all(&daemon, &port, &mut locks);
    let eui = router.label().eui.to_string();
    assert_eq!(behind(&surveyed(&daemon), &eui), BEHIND);
    let (file, passphrase) = (dir.path().join("network.age"), dir.path().join("passphrase"));
    fs::write(&passphrase, "correct horse battery\n").unwrap();
    let (file, passphrase) = (file.to_str().unwrap(), passphrase.to_str().unwrap());
    let secret = ["--passphrase-file", passphrase];
    let told = said(&daemon, &[&["radio", "backup", "zigbee", "--to", file], &secret[..]].concat()).unwrap();
    assert!(told.contains(&format!("with {} devices", LOCKS + 1)), "{told}");

    for (old, new, n) in [("zboss", "ezsp", 0x0B), ("ezsp", "zboss", 0x0C)] {
        println!("{old} → {new}");
        daemon.kill();
        let config = fs::read_to_string(&daemon.config).unwrap();
        let setting = |family| format!("family = \"{family}\"");
        fs::write(&daemon.config, config.replace(&setting(old), &setting(new))).unwrap();
        port.replace(dongle(new, n));
        daemon.up();
        let restore: Vec<&str> = match new {
            "ezsp" => [&["radio", "restore", "zigbee", "--from", file], &secret[..]].concat(),
            _ => vec!["radio", "restore", "zigbee", "--from-store"],
        };
        let told = eventually("the network is restored", PATIENCE, || said(&daemon, &restore));
        assert!(told.contains("no lock has to join anew"), "{told}");
        let routers = said(&daemon, &["radio", "routers", "zigbee"]).unwrap();
        assert!(routers.contains(&eui) && routers.contains("in the network"), "{routers}");
        // All have their places again: the router came back by itself, and who is behind it never noticed.
        let all = usize::try_from(LOCKS).unwrap();
        eventually("everybody is where somebody says", PATIENCE, || {
            let map = said(&daemon, &["radio", "map", "zigbee"])?;
            let here = behind(&map, &coordinator) + behind(&map, &eui);
            if here < all && !map.contains("asked now") {
                // Refused while the last one is younger than a minute.
                daemon.cli(&["radio", "map", "zigbee", "--survey"]);
            }
            (here == all && behind(&map, &eui) == BEHIND).then(|| println!("{map}"))
        });
        assert_eq!(port.with(|ncp, _| ncp.traffic()).joined, 0, "nobody joined this one");
        assert_eq!(port.with(|ncp, _| ncp.nvram().network()).unwrap().coordinator.to_string(), coordinator);
    }
    assert!(!daemon.log().contains("panicked"));
}
