//! The bridge between a radio and a broker that tests play by hand.

use cardea_zigbee::driver::ordinary::{
    Bolt, Happening, Heard, Notice, Outcome, Progress, Request, Rights, Snapshot, Source, Verb,
};
use cardea_zigbee::zcl::door_lock;
use serde_json::Value;

use super::*;

const STARTED: u64 = 1_790_000_000_000;
const DOOR: Eui64 = Eui64([0, 0x12, 0x4B, 0, 0, 0, 0, 1]);
const WATCHED: Eui64 = Eui64([0, 0x12, 0x4B, 0, 0, 0, 0, 2]);

fn config() -> Config {
    let device = |name: &str, commands| Device { name: name.into(), commands };
    Config {
        prefix: "cardea/v1".into(),
        gateway: "gw".into(),
        devices: BTreeMap::from([(DOOR, device("Shed", true)), (WATCHED, device("Cellar", false))]),
        home_assistant: Some("homeassistant".into()),
    }
}

fn snapshot(eui: Eui64) -> Snapshot {
    Snapshot {
        eui,
        listened: true,
        rights: Rights::Command,
        joined: true,
        ready: true,
        sleepy: Some(true),
        maker: "Maker".into(),
        model: "Model".into(),
        bolt: Bolt::Locked,
        source: Some(Source::Report),
        at: Some(1_000),
        battery: Some((90, 1_000)),
        heard: Some(Heard { at: 1_000, lqi: 200, rssi: -50 }),
        reachable: true,
    }
}

struct Bench {
    hub: Hub,
    now: Millis,
    synced: bool,
}

impl Bench {
    /// A minute after the start, on line, with both locks.
    fn new() -> Self {
        let mut bench = Self {
            hub: Hub::new(config(), Wall { unix_ms: STARTED, synced: true }),
            now: 60_000,
            synced: true,
        };
        bench.hub.handle_connected(bench.now, bench.wall());
        for eui in [DOOR, WATCHED] {
            bench.tell(Notice::State(Box::new(snapshot(eui))));
        }
        bench
    }

    fn wall(&self) -> Wall {
        Wall { unix_ms: STARTED + self.now, synced: self.synced }
    }

    fn tell(&mut self, notice: Notice) {
        let wall = self.wall();
        self.hub.handle_notice(self.now, wall, notice);
    }

    fn said(&mut self) -> Vec<(String, Value, bool)> {
        let all = std::iter::from_fn(|| self.hub.poll_publish());
        all.map(|Publish { topic, payload, retain }| {
            (topic, serde_json::from_slice(&payload).unwrap_or(Value::Null), retain)
        })
        .collect()
    }

    fn command(&self, id: &str, life: u64) -> String {
        format!(r#"{{"v":1,"command":"unlock","id":"{id}","not_after":{}}}"#, self.wall().unix_ms + life)
    }

    fn receive(&mut self, eui: Eui64, payload: &str, retain: bool) -> Result<(Verb, Millis), String> {
        self.said();
        let wall = self.wall();
        let topic = format!("cardea/v1/gw/unsealed/{eui}/set");
        self.hub.handle_message(self.now, wall, &topic, payload.as_bytes(), retain);
        match self.hub.poll_errand().map(|errand| errand.request) {
            Some(Request::Move { eui: whom, verb, deadline }) => {
                assert_eq!(whom, eui);
                Ok((verb, deadline))
            }
            Some(_) => panic!("another errand"),
            None => {
                let said = self.said();
                assert!(said.iter().all(|(topic, said, retain)| {
                    topic.ends_with("/result") && said["end_to_end"] == false && !retain
                }));
                Err(said
                    .first()
                    .map_or_else(String::new, |(_, said, _)| said["reason"].as_str().unwrap().into()))
            }
        }
    }

    fn refused(&mut self, payload: &str) -> String {
        self.receive(DOOR, payload, false).unwrap_err()
    }
}

#[test]
fn a_command_that_is_live_and_says_until_when_goes_to_the_radio_with_that_deadline() {
    let mut bench = Bench::new();
    let command = bench.command("a-1", 20_000);
    assert_eq!(bench.receive(DOOR, &command, false), Ok((Verb::Unlock, bench.now + 20_000)));
    bench.tell(Notice::Progress { token: 1, step: Progress::Sent });
    bench.tell(Notice::Done { token: 1, outcome: Outcome::Declined(3) });
    bench.tell(Notice::Done { token: 1, outcome: Outcome::Done });
    let results: Vec<(String, Value)> =
        bench.said().into_iter().map(|(topic, said, _)| (topic, said)).collect();
    assert_eq!(results.len(), 2, "one end: {results:?}");
    assert_eq!(results[0].0, format!("cardea/v1/gw/unsealed/{DOOR}/result"));
    assert_eq!((&results[0].1["result"], &results[0].1["id"]), (&"sent".into(), &"a-1".into()));
    assert_eq!((&results[1].1["result"], &results[1].1["status"]), (&"declined".into(), &3.into()));
}

#[test]
fn what_may_be_of_another_time_is_refused() {
    let mut bench = Bench::new();
    let good = bench.command("a", 20_000);
    assert_eq!(bench.receive(DOOR, &good, true).unwrap_err(), "retained");
    assert_eq!(bench.refused("UNLOCK"), "no_expiry");
    assert_eq!(bench.refused(r#"{"command":"unlock","id":"a"}"#), "no_expiry");
    let nameless = format!(r#"{{"command":"unlock","not_after":{}}}"#, bench.wall().unix_ms + 9_000);
    assert_eq!(bench.refused(&nameless), "no_expiry");
    let late = bench.command("b", 0);
    assert_eq!(bench.refused(&late), "expired");
    let long = bench.command("c", MAX_LIFE_MS + 1);
    assert_eq!(bench.refused(&long), "too_far");
    assert!(bench.receive(DOOR, &good, false).is_ok(), "nothing of that counted as seen");
    bench.now += 5_000;
    assert_eq!(bench.refused(&good), "duplicate");
}

#[test]
fn what_is_retained_is_refused_with_a_word_also_before_the_radio_has_said_who_is_there() {
    let mut bench = Bench::new();
    bench.tell(Notice::Removed(DOOR));
    let command = bench.command("a", 20_000);
    assert_eq!(bench.receive(DOOR, &command, true).unwrap_err(), "retained");
    assert!(bench.receive(DOOR, &command, false).is_ok(), "who is there is the radio's to know");
}

#[test]
fn a_command_that_an_earlier_run_may_have_carried_out_is_refused() {
    let mut bench = Bench::new();
    bench.now = 1_000;
    let known = bench.command("a", MAX_LIFE_MS - 1_000);
    assert_eq!(bench.refused(&known), "restarted");
    let new = bench.command("b", MAX_LIFE_MS - 999);
    assert!(bench.receive(DOOR, &new, false).is_ok());
}

#[test]
fn a_lock_that_is_watched_and_a_gateway_without_the_time_take_no_command() {
    let mut bench = Bench::new();
    let command = bench.command("a", 20_000);
    assert_eq!(bench.receive(WATCHED, &command, false).unwrap_err(), "read_only");
    assert_eq!(config().filters(), [format!("cardea/v1/gw/unsealed/{DOOR}/set")], "and listens to none");
    bench.synced = false;
    assert_eq!(bench.refused(&command), "clock");
}

#[test]
fn what_is_not_a_command_is_refused_and_a_code_in_one_is_told_to_nobody() {
    let mut bench = Bench::new();
    for bad in [
        "",
        "{}",
        "open",
        r#"{"command":"open","id":"a","not_after":1}"#,
        r#"{"command":"unlock","id":"a b","not_after":1}"#,
    ] {
        assert_eq!(bench.refused(bad), "malformed", "{bad}");
    }
    bench.now += 60_000;
    let long = format!("{}{}", bench.command("a", 9_000), " ".repeat(MAX_COMMAND));
    assert_eq!(bench.refused(&long), "malformed");
    let coded = bench.command("a", 9_000).replace("\"v\":1", "\"v\":1,\"code\":\"4711\"");
    assert!(bench.receive(DOOR, &coded, false).is_ok());
    assert!(!format!("{:?}", bench.said()).contains("4711"));
    let newer = bench.command("b", 9_000).replace("\"v\":1", "\"v\":2");
    assert_eq!(bench.refused(&newer), "malformed");
}

#[test]
fn a_flood_makes_the_gateway_say_little_and_remember_little() {
    let mut bench = Bench::new();
    let (mut refused, mut taken) = (0, 0);
    for number in 0..10_000 {
        let command = bench.command(&format!("f{number}"), 20_000);
        match bench.receive(DOOR, &command, false) {
            Ok(_) => taken += 1,
            Err(reason) if reason.is_empty() => {}
            Err(_) => refused += 1,
        }
    }
    assert_eq!((taken, refused), (64, 8));
    let happening = Happening::Alarm { code: 4, at: bench.now };
    for _ in 0..1_000 {
        bench.tell(Notice::Happened { eui: DOOR, happening });
    }
    assert!(bench.said().len() <= 8);
    let mut other = Bench::new();
    for at in 0..1_000 {
        other.tell(Notice::State(Box::new(Snapshot { at: Some(at), ..snapshot(DOOR) })));
    }
    assert!(other.said().len() < 24);
    other.now = other.hub.poll_timeout().unwrap();
    let wall = other.wall();
    other.hub.handle_timeout(other.now, wall);
    let said = other.said();
    assert_eq!(said[0].1["at"], STARTED + 999, "the last state is said in the end");
    assert_eq!(other.hub.poll_timeout(), None);
}

#[test]
fn states_and_events_say_by_whose_word_and_since_when_and_that_they_are_not_end_to_end() {
    let mut bench = Bench::new();
    let said = bench.said();
    let (_, state, retain) =
        said.iter().find(|(topic, ..)| topic.ends_with(&format!("{DOOR}/state"))).unwrap();
    assert!(*retain);
    let expected = serde_json::json!({
        "v": 1, "lock": "00124b0000000001", "end_to_end": false, "name": "Shed", "bolt": "locked", "source": "report",
        "at": STARTED + 1_000, "joined": true, "ready": true, "reachable": true, "commands": true, "battery": 90,
        "battery_at": STARTED + 1_000, "heard": STARTED + 1_000, "lqi": 200, "rssi": -50, "manufacturer": "Maker",
        "model": "Model", "clock": "synced",
    });
    assert_eq!(*state, expected);
    for (bolt, word) in [
        (Bolt::Unknown, "unknown"),
        (Bolt::Unlocked, "unlocked"),
        (Bolt::Jammed, "jammed"),
        (Bolt::Locking, "locking"),
        (Bolt::Unlocking, "unlocking"),
    ] {
        bench.now += 1_000;
        bench.tell(Notice::State(Box::new(Snapshot { bolt, ..snapshot(DOOR) })));
        assert_eq!(bench.said()[0].1["bolt"], word);
    }
    let source = door_lock::Source::Keypad;
    let happening = Happening::Operation { source, code: 2, user: 7, at: bench.now };
    bench.tell(Notice::Happened { eui: DOOR, happening });
    let (topic, event, retain) = bench.said().remove(0);
    assert!(topic.ends_with("/event") && !retain && event["end_to_end"] == false);
    assert_eq!(
        (&event["event"], &event["by"], &event["user"]),
        (&"operation".into(), &"keypad".into(), &7.into())
    );
}

#[test]
fn home_assistant_is_told_of_a_lock_only_where_there_is_something_to_press() {
    let mut bench = Bench::new();
    let topics: Vec<(String, bool)> =
        bench.said().into_iter().map(|(topic, said, _)| (topic, said.is_null())).collect();
    let has = |component: &str, eui: Eui64, object: &str| {
        let topic = format!("homeassistant/{component}/cardea_{eui}/{object}/config");
        topics.iter().find(|(known, _)| *known == topic).map(|(_, empty)| !empty)
    };
    assert_eq!((has("lock", DOOR, "lock"), has("sensor", DOOR, "bolt")), (Some(true), Some(false)));
    assert_eq!((has("lock", WATCHED, "lock"), has("sensor", WATCHED, "bolt")), (Some(false), Some(true)));
    bench.tell(Notice::Removed(DOOR));
    let gone = bench.said();
    assert_eq!(gone.len(), 5);
    assert!(gone.iter().all(|(_, said, retain)| said.is_null() && *retain), "{gone:?}");
}

#[test]
fn nothing_is_said_twice_and_everything_again_on_a_new_connection() {
    let mut bench = Bench::new();
    let first = bench.said().len();
    bench.tell(Notice::State(Box::new(snapshot(DOOR))));
    assert!(bench.said().is_empty());
    bench.hub.handle_disconnected();
    bench.tell(Notice::Done { token: 1, outcome: Outcome::Done });
    assert!(bench.said().is_empty());
    let wall = bench.wall();
    bench.hub.handle_connected(bench.now, wall);
    assert_eq!(bench.said().len(), first);
}

#[test]
fn what_was_given_to_a_radio_that_ended_is_unconfirmed() {
    let mut bench = Bench::new();
    let command = bench.command("a", 20_000);
    bench.receive(DOOR, &command, false).unwrap();
    let token = bench.hub.remove(WATCHED);
    bench.tell(Notice::Started);
    assert_eq!(bench.said()[0].1["result"], "unconfirmed");
    assert!(matches!(bench.hub.poll_reply(), Some((of, Err(_))) if of == token));
}

#[test]
fn a_device_that_is_not_named_any_more_is_taken_back() {
    let mut bench = Bench::new();
    bench.said();
    bench.tell(Notice::State(Box::new(Snapshot { listened: false, ..snapshot(DOOR) })));
    assert!(bench.said().iter().all(|(_, said, retain)| said.is_null() && *retain));
}
