//! What the gateway refuses to put on the air, whatever a broker says: retained, expired, duplicate, malformed
//! or foreign commands. Each is answered with a result, and nothing of it reaches the radio.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cardea_envelope::{Data, Downlink, DownlinkResult, Encoding, MessageId, ResultState, Topic, Topics};
use cardea_framing::{Class, Kind, LockId};
use cardea_tests::{
    broker::Broker,
    daemon::Daemon,
    loopback::{LoopRadio, datagram, lock_id},
    spy::Spy,
};

const LIMIT: Duration = Duration::from_secs(60);

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn command(id: u8, lock: LockId, not_after: u64) -> Downlink {
    let data = datagram(Class::Interactive, &[0x09, id, 0xC0, 0xFF, 0xEE, 1, 2, 3, 4, 5, 6, 7]);
    Downlink {
        v: 1,
        id: MessageId([id; 16]),
        lock,
        kind: Kind::PlatformOscore,
        class: Class::Interactive,
        data: Data(data),
        not_after,
    }
}

struct Site {
    broker: Broker,
    daemon: Daemon,
    radio: LoopRadio,
    spy: Spy,
    topics: Topics,
    // Last, so that the logs outlive the processes that a failing test prints.
    _dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "");
        let spy = Spy::start(broker.port);
        let daemon = Daemon::start(dir.path(), broker.port, "");
        let mut radio = LoopRadio::new(daemon.loopback, 2, 500);
        daemon.admit(&radio.labels());
        radio.announce();
        let topics = Topics::new("cardea/v1", "gw-test").unwrap();
        // The gateway is reachable once it says so.
        spy.wait("/state", |m| String::from_utf8_lossy(&m.payload).contains("online").then_some(()));
        for n in 0..2 {
            spy.wait("/link", |m| {
                (topics.parse(&m.topic) == Some(Topic::Link(lock_id(n)))
                    && String::from_utf8_lossy(&m.payload).contains("\"joined\":true"))
                .then_some(())
            });
        }
        radio.run_until("quiet", LIMIT, |r| r.unreceipted() == 0);
        Self { _dir: dir, broker, daemon, radio, spy, topics }
    }

    /// Makes the broker forget the gateway's session: a clean one takes its place and leaves.
    fn forget_session(&self) {
        let options = rumqttc::MqttOptions::new("gw-test", "127.0.0.1", self.broker.port);
        let (client, mut connection) = rumqttc::Client::new(options, 10);
        client.disconnect().unwrap();
        let left = |e: &Result<_, _>| {
            e.is_err() || matches!(e, Ok(rumqttc::Event::Outgoing(rumqttc::Outgoing::Disconnect)))
        };
        assert!(connection.iter().any(|event| left(&event)));
    }

    fn send(&self, down: &Downlink, retain: bool) {
        self.spy.publish(&self.topics.name(&Topic::Down(down.lock)), &Encoding::Json.encode(down), retain);
    }

    fn results(&self, id: u8) -> Vec<DownlinkResult> {
        self.spy
            .ending("/result")
            .iter()
            .map(|m| Encoding::Json.decode::<DownlinkResult>(&m.payload).unwrap())
            .filter(|r| r.id.0 == [id; 16])
            .collect()
    }

    /// Runs the radio until a terminal result of `id` is there.
    fn terminal(&mut self, id: u8) -> DownlinkResult {
        let mut found = None;
        let Self { radio, spy, .. } = self;
        radio.run_until("a terminal result", LIMIT, |_| {
            found = spy
                .ending("/result")
                .iter()
                .filter_map(|m| Encoding::Json.decode::<DownlinkResult>(&m.payload).ok())
                .find(|r| r.id.0 == [id; 16] && r.state.is_terminal());
            found.is_some()
        });
        found.unwrap()
    }

    fn heard(&self, n: u16) -> usize {
        self.radio.locks[&lock_id(n)].received.len()
    }
}

#[test]
fn a_good_command_arrives_once_and_only_once() {
    let mut site = Site::new();
    let good = command(1, lock_id(0), now() + 10_000);
    site.send(&good, false);
    assert_eq!(site.terminal(1).state, ResultState::Delivered);
    assert_eq!(site.radio.locks[&lock_id(0)].received, std::slice::from_ref(&good.data.0));
    // The same id again, even with other bytes, is answered and not sent.
    site.send(&good, false);
    let mut other = command(1, lock_id(0), now() + 10_000);
    other.data = Data(datagram(Class::Interactive, &[0x09, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]));
    site.send(&other, false);
    // A marker behind it proves that both were handled.
    site.send(&command(2, lock_id(0), now() + 10_000), false);
    assert_eq!(site.terminal(2).state, ResultState::Delivered);
    assert_eq!(site.heard(0), 2);
    let states: Vec<_> = site.results(1).iter().map(|r| r.state).filter(|s| s.is_terminal()).collect();
    assert!(
        states.iter().all(|s| *s == ResultState::Delivered),
        "a terminal state never changes: {states:?}"
    );

    // Nor after the daemon was killed.
    site.daemon.kill();
    site.daemon.up();
    site.radio.announce();
    site.send(&good, false);
    site.send(&command(3, lock_id(0), now() + 20_000), false);
    assert_eq!(site.terminal(3).state, ResultState::Delivered);
    assert_eq!(site.heard(0), 3, "the repeated id stayed refused after SIGKILL");
}

#[test]
fn retained_expired_unknown_and_oversized_commands_do_nothing() {
    let mut site = Site::new();
    site.send(&command(10, lock_id(0), now() - 1), false);
    let expired = site.terminal(10);
    assert_eq!(expired.state, ResultState::Expired);
    site.send(&command(12, LockId([0xDD; 8]), now() + 10_000), false);
    let unknown = site.terminal(12);
    assert_eq!((unknown.state, unknown.reason.as_deref()), (ResultState::Refused, Some("unknown_lock")));
    assert_eq!(site.heard(0) + site.heard(1), 0);
    // A marker shows that the path is open.
    site.send(&command(13, lock_id(0), now() + 10_000), false);
    assert_eq!(site.terminal(13).state, ResultState::Delivered);
    assert_eq!(site.heard(0), 1);

    // Retained at the broker before the gateway subscribes: delivered to it with the retain flag at each start.
    // (In a session that the broker kept, the publish itself would wait too, without the flag, as every live one
    // comes: that one is an ordinary command, executed once and before its time is over.)
    site.daemon.kill();
    site.forget_session();
    site.send(&command(11, lock_id(1), now() + 60_000), true);
    let there = site.topics.name(&Topic::Down(lock_id(1)));
    site.spy.wait("/down", |m| (m.topic == there).then_some(()));
    site.daemon.up();
    site.radio.announce();
    let retained = site.terminal(11);
    assert_eq!((retained.state, retained.reason.as_deref()), (ResultState::Refused, Some("retained")));
    assert_eq!(site.heard(1), 0, "a retained unlock is never executed");
}

#[test]
fn a_lock_that_is_away_gets_nothing_late() {
    let mut site = Site::new();
    site.radio.listening = false;
    site.send(&command(20, lock_id(0), now() + 1_500), false);
    let result = site.terminal(20);
    assert!(matches!(result.state, ResultState::Expired | ResultState::Failed), "{result:?}");
    assert!(result.at + 1_000 >= 1_500);
    site.radio.listening = true;
    site.send(&command(21, lock_id(0), now() + 10_000), false);
    assert_eq!(site.terminal(21).state, ResultState::Delivered);
    assert_eq!(site.heard(0), 1, "only the second one");
}

#[test]
fn hostile_payloads_and_frames_are_counted_and_survived() {
    let mut site = Site::new();
    let topic = site.topics.name(&Topic::Down(lock_id(0)));
    let good = String::from_utf8(Encoding::Json.encode(&command(30, lock_id(0), now() + 10_000))).unwrap();
    let mut bad: Vec<Vec<u8>> = vec![
        vec![],
        b"null".to_vec(),
        b"{}".to_vec(),
        vec![0xFF; 300],
        "[".repeat(50_000).into_bytes(),
        good.replace("\"v\":1", "\"v\":2").into_bytes(),
        good.replace("interactive", "bulk").into_bytes(),
        good.replace("platform_oscore", "receipt").into_bytes(),
        good.replace(&hex::encode(lock_id(0).0), &hex::encode(lock_id(1).0)).into_bytes(),
        vec![b' '; 200_000],
    ];
    bad.extend((0..good.len()).step_by(7).map(|i| good.as_bytes()[..i].to_vec()));
    for payload in &bad {
        site.spy.publish(&topic, payload, false);
    }
    site.spy.publish("cardea/v1/gw-test/request/reboot", b"{\"transaction\":\"t1\"}", false);
    site.spy.publish("cardea/v1/gw-test/request/%00", b"\xff\xfe", false);
    for length in 0..64 {
        site.radio.inject(lock_id(0), &vec![0xFF; length]);
        site.radio.inject(lock_id(0), &vec![length as u8; length]);
        site.radio.inject(LockId([length as u8; 8]), &[0; 20]);
    }
    site.send(&command(31, lock_id(0), now() + 20_000), false);
    assert_eq!(site.terminal(31).state, ResultState::Delivered);
    let commands: Vec<_> = site.radio.locks[&lock_id(0)].received.clone();
    assert_eq!(commands, [command(31, lock_id(0), 0).data.0], "nothing of the rest went on the air");
    assert!(!site.daemon.process().ended());
    let log = site.daemon.log();
    assert!(!log.contains("panicked"), "{log}");
}
