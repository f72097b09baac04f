//! What systemd is told, and that it is true: also when the disk no longer answers or the store dies.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use cardea_framing::Class;
use common::faults::Faults;
use common::*;

/// systemd's end of the notification socket.
struct Systemd(UnixDatagram);

impl Systemd {
    /// Watches over a daemon that is not running yet, with this much patience.
    fn watch(daemon: &mut Daemon, patience: Duration) -> Self {
        let path = daemon.path("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        daemon.environment.push(("NOTIFY_SOCKET".into(), path.display().to_string()));
        daemon.environment.push(("WATCHDOG_USEC".into(), patience.as_micros().to_string()));
        Self(socket)
    }

    /// The lines of the next message, if one comes soon.
    fn next(&self) -> Option<Vec<String>> {
        let mut buffer = [0; 4096];
        let len = self.0.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..len]).lines().map(str::to_owned).collect())
    }

    fn hear(&self, wanted: &str) {
        eventually(wanted, || self.next()?.iter().any(|line| line.starts_with(wanted)).then_some(()));
    }

    /// Everything that is said in this time.
    fn listen(&self, time: Duration) -> Vec<String> {
        let end = Instant::now() + time;
        let mut said = Vec::new();
        while Instant::now() < end {
            said.extend(self.next().unwrap_or_default());
        }
        said
    }
}

const SHORT: Duration = Duration::from_millis(600);

#[test]
fn systemd_is_told_how_it_is_from_the_start_to_the_end() {
    let mut broker = Broker::prepared();
    let mut daemon = Daemon::prepared(&broker, "");
    let systemd = Systemd::watch(&mut daemon, SHORT);
    daemon.up();
    systemd.hear("READY=1");
    let said = systemd.listen(Duration::from_secs(3));
    let pings = said.iter().filter(|line| *line == "WATCHDOG=1").count();
    assert!(pings >= 8, "one every 200 ms, this machine's hiccups aside: {pings}");
    assert!(said.contains(&"STATUS=broker DOWN, loopback up".to_owned()), "{said:?}");
    broker.up();
    systemd.hear("STATUS=broker up, loopback up");
    broker.kill();
    systemd.hear("STATUS=broker DOWN, loopback up");
    daemon.signal("-TERM");
    systemd.hear("STOPPING=1");
    assert!(daemon.ended().success());
}

#[test]
fn ready_is_not_said_before_the_store_is_open_and_requests_are_answered() {
    let broker = Broker::prepared();
    let mut daemon = Daemon::prepared(&broker, "");
    let systemd = Systemd::watch(&mut daemon, SHORT);
    let faults = Faults::prepare(&mut daemon);
    faults.begin("stall");
    daemon.up();
    let said = systemd.listen(Duration::from_secs(2));
    assert!(said.is_empty(), "the store cannot have been made: {said:?}");
    faults.end("stall");
    systemd.hear("READY=1");
    assert!(daemon.raw(b"{\"verb\":\"status\"}\n").contains("\"ok\""));
}

#[test]
fn a_daemon_that_cannot_start_is_never_ready() {
    let broker = Broker::prepared();
    let mut daemon = Daemon::prepared(&broker, "");
    let systemd = Systemd::watch(&mut daemon, SHORT);
    std::fs::create_dir(daemon.path("data")).unwrap();
    std::fs::write(daemon.path("data/cardea.db"), "this is no database, it is a diary ".repeat(200)).unwrap();
    assert!(daemon.complained(&["run"]).contains("is damaged"));
    assert_eq!(systemd.listen(Duration::from_millis(300)), Vec::<String>::new());
}

#[test]
fn the_watchdog_is_not_fed_while_a_flush_to_disk_does_not_come_back() {
    let broker = Broker::prepared();
    let mut daemon = Daemon::prepared(&broker, "");
    let systemd = Systemd::watch(&mut daemon, Duration::from_secs(1));
    let faults = Faults::prepare(&mut daemon);
    daemon.up();
    daemon.admit();
    let radio = Radio::new(&daemon);
    radio.deliver(&datagram(Class::Log, &[9, 1]));
    systemd.hear("WATCHDOG=1");

    faults.begin("stall");
    let held = datagram(Class::Log, &[9, 2]);
    radio.send(&held);
    systemd.hear("STATUS=store HANGS for 1 s, broker DOWN, loopback up");
    let said = systemd.listen(Duration::from_secs(3));
    assert!(!said.iter().any(|line| line == "WATCHDOG=1"), "{said:?}");
    assert!(said.iter().any(|line| line.starts_with("STATUS=store HANGS for 3 s")), "{said:?}");
    // The loop itself turns and is asked; no lock is promised anything.
    assert!(daemon.raw(b"{\"verb\":\"status\"}\n").contains("\"ok\""));
    assert_eq!(radio.hear(), None);
    assert!(daemon.log().contains("the store hangs in one transaction"));

    faults.end("stall");
    systemd.hear("WATCHDOG=1");
    radio.deliver(&held);
    assert!(!systemd.listen(Duration::from_secs(1)).iter().any(|line| line.contains("HANGS")));
}

/// Its operations fail one after the other, which is told; starting again would not help and is not asked for.
#[test]
fn another_process_that_holds_the_database_is_a_failure_and_no_reason_to_be_restarted() {
    let broker = Broker::prepared();
    let mut daemon = Daemon::prepared(&broker, "");
    let systemd = Systemd::watch(&mut daemon, Duration::from_secs(9));
    daemon.up();
    daemon.admit();
    let radio = Radio::new(&daemon);
    radio.deliver(&datagram(Class::Log, &[9, 1]));
    let other = rusqlite::Connection::open(daemon.path("data/cardea.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let held = datagram(Class::Log, &[9, 2]);
    radio.send(&held);
    let (mut said, mut failures) = (Vec::new(), 0);
    for _ in 0..8 {
        said.extend(systemd.listen(Duration::from_secs(2)));
        failures = daemon.metric("cardea_store_failures_total");
    }
    assert!(failures > 0, "waiting for the other process has an end");
    assert!(said.iter().filter(|line| *line == "WATCHDOG=1").count() >= 4, "{said:?}");
    assert!(!said.iter().any(|line| line.contains("HANGS")), "{said:?}");
    other.execute_batch("ROLLBACK").unwrap();
    radio.deliver(&held);
}

#[test]
fn a_store_whose_writer_dies_ends_the_daemon_which_starts_again_with_what_it_had_promised() {
    let mut broker = Broker::prepared();
    let mut daemon = Daemon::prepared(&broker, "");
    let systemd = Systemd::watch(&mut daemon, SHORT);
    let faults = Faults::prepare(&mut daemon);
    daemon.up();
    daemon.admit();
    let radio = Radio::new(&daemon);
    let promised = datagram(Class::Log, &[9, 1]);
    radio.deliver(&promised);
    systemd.hear("WATCHDOG=1");

    faults.begin("panic");
    radio.send(&datagram(Class::Log, &[9, 2]));
    // 1: systemd starts it again. Only 78 would keep it down.
    assert_eq!(daemon.ended().code(), Some(1));
    let log = daemon.log();
    assert!(log.ends_with("cardea: the store's writer has died\n"), "{log}");
    let _ = systemd.listen(Duration::from_millis(200));

    faults.end("panic");
    daemon.up();
    systemd.hear("READY=1");
    broker.up();
    let observer = Observer::new(&broker);
    let up = observer.json(&format!("lock/{LOCK}/up"), |v| v["seq"] == 1);
    assert_eq!(up["id"], hex::encode(cardea_framing::uplink_id(LOCK, &promised)));
}
