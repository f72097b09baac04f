//! Ordinary locks inside the driver, against a coordinator and a lock that tests play by hand.

mod heard;

use cardea_radio::{Change, Command, MemoryStore, NetworkStore as _, Record};

use super::lock::PROFILE;
use super::*;
use crate::coordinator::{Answer, Event as Said, Frame, Order, Outcome as Sent, Question, Received, State};
use crate::driver::store::RecordKey;
use crate::driver::tests::{OURS, endpoint, eui, label, node};
use crate::driver::{Driver, DriverConfig, StoredNetwork};
use crate::tunnel::Tunnel;
use crate::types::NwkAddr;

/// Seconds between two reports.
const REPORT: u16 = 600;
const CODE: &str = "83fed3407a939723a5c639b26916d505c3b5";

fn code() -> InstallCode {
    InstallCode::new(&hex::decode(CODE).unwrap()).unwrap()
}

fn config(rights: Option<Rights>) -> DriverConfig {
    let devices = |rights| BTreeMap::from([(eui(1), rights), (eui(2), Rights::Watch)]);
    let ordinary = rights.map(|rights| OrdinaryConfig { devices: devices(rights), report_seconds: REPORT });
    DriverConfig { channels: 1 << 15, tunnel: Tunnel::TEST, max_devices: 4, ordinary }
}

struct Bench {
    driver: Driver,
    store: MemoryStore,
    now: Millis,
    orders: Vec<Order>,
    notices: Vec<Notice>,
    token: u64,
}

impl Bench {
    fn on(store: MemoryStore, rights: Option<Rights>) -> Self {
        let driver = Driver::new(config(rights), store.snapshot()).unwrap();
        let mut bench = Self { driver, store, now: 1_000, orders: vec![], notices: vec![], token: 0 };
        bench.settle();
        bench
    }

    fn up(rights: Option<Rights>) -> Self {
        let store = MemoryStore::new();
        let stored = StoredNetwork { network: OURS, key: None }.to_record();
        store.commit_now(vec![Change { key: RecordKey::Network.encode(), value: Some(stored) }]).unwrap();
        let mut bench = Self::on(store, rights);
        bench.say(Said::State(State::Up(OURS)));
        bench
    }

    /// With lock 1, asked everything, locked.
    fn with_lock(rights: Rights, sleepy: bool) -> Self {
        let mut bench = Self::up(Some(rights));
        assert_eq!(bench.admit(1), Outcome::Done);
        bench.say(Said::Joined { eui: eui(1), nwk: NwkAddr(0x1001) });
        bench.set_up(sleepy);
        assert_eq!(bench.last().bolt, Bolt::Locked);
        bench
    }

    fn set_up(&mut self, sleepy: bool) {
        self.answer(&Question::Node, node(sleepy));
        self.answer(&Question::Endpoints, Answer::Endpoints(vec![1, 11]));
        self.answer(&Question::Endpoint(1), endpoint(1, &[0]));
        self.answer(&Question::Endpoint(11), endpoint(11, &[0, 1, 9, 0x0101]));
        // Names, and no PINs over the air.
        self.exchange("0000", "00SS0004000500", "18SS01040000420454657374050000420544 6f6f72 21");
        self.exchange("0101", "00SS0232001000", "18SS04883200");
        for cluster in [0x0101, 0x0001, 0x0009] {
            self.answer(&Question::Bind { endpoint: 11, cluster, to_endpoint: 1 }, Answer::Done);
        }
        self.exchange("0101", "00SS060000003000005802", "18SS0700");
        self.exchange("0001", "00SS060021002010 0ec0a802", "18SS0700");
        self.exchange("0101", "00SS000000", "18SS010000003001");
        self.exchange("0001", "00SS002100", "18SS0121000020b4");
    }

    fn settle(&mut self) {
        while let Some((commit, batch)) = self.driver.poll_commit() {
            let result = self.store.commit_now(batch);
            self.driver.handle_stored(self.now, commit, result);
        }
        self.orders.extend(std::iter::from_fn(|| self.driver.poll_order()));
        self.notices.extend(std::iter::from_fn(|| self.driver.poll_notice()));
        while self.driver.poll_event().is_some() {}
    }

    fn say(&mut self, said: Said) {
        self.driver.handle_event(self.now, said);
        self.settle();
    }

    fn pass(&mut self, ms: Millis) {
        let end = self.now + ms;
        while let Some(at) = self.driver.poll_timeout().filter(|at| *at <= end) {
            assert!(at > self.now, "it would be called for ever");
            self.now = at;
            self.driver.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
        self.driver.handle_timeout(self.now);
        self.settle();
    }

    fn errand(&mut self, request: Request) -> u64 {
        self.token += 1;
        self.driver.handle_errand(self.now, Errand { token: self.token, request });
        self.settle();
        self.token
    }

    fn admit(&mut self, n: u8) -> Outcome {
        let token = self.errand(Request::Admit { eui: eui(n), code: code() });
        self.done(token).unwrap()
    }

    fn command(&mut self, verb: Verb, life: Millis) -> u64 {
        self.errand(Request::Move { eui: eui(1), verb, deadline: self.now + life })
    }

    fn done(&self, token: u64) -> Option<Outcome> {
        let mut ends = self.notices.iter().filter_map(|notice| match notice {
            Notice::Done { token: of, outcome } if *of == token => Some(outcome.clone()),
            _ => None,
        });
        let end = ends.next();
        assert_eq!(ends.next(), None, "two ends");
        end
    }

    fn refused(&self, token: u64) -> String {
        match self.done(token) {
            Some(Outcome::Refused(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    fn last(&self) -> Snapshot {
        let states = self.notices.iter().rev();
        let mut states = states.filter_map(|n| if let Notice::State(state) = n { Some(state) } else { None });
        (**states.next().unwrap()).clone()
    }

    fn answer(&mut self, wanted: &Question, answer: Answer) {
        let place =
            self.orders.iter().rposition(|o| matches!(o, Order::Ask { question, .. } if question == wanted));
        let Order::Ask { handle, .. } =
            self.orders.remove(place.unwrap_or_else(|| panic!("{wanted:?} was not asked")))
        else {
            unreachable!()
        };
        self.say(Said::Answer { handle, answer: Ok(answer) });
    }

    /// The next frame to a lock, with its sequence number replaced by SS; it is sent.
    fn frame(&mut self) -> Option<(String, u8, Frame)> {
        let place = self.orders.iter().position(|order| matches!(order, Order::Send(_)))?;
        let Order::Send(frame) = self.orders.remove(place) else { unreachable!() };
        let sequence = frame.payload[1];
        let mut hex = hex::encode(&frame.payload);
        hex.replace_range(2..4, "SS");
        Some((format!("{:04x} {hex}", frame.cluster), sequence, frame))
    }

    fn sent(&mut self, frame: &Frame, outcome: Sent) {
        self.say(Said::Outcome { handle: frame.handle, outcome });
    }

    fn exchange(&mut self, cluster: &str, question: &str, answer: &str) {
        let (asked, sequence, frame) = self.frame().unwrap();
        assert_eq!(asked, format!("{cluster} {}", question.replace(' ', "")));
        assert_eq!(frame.dst_endpoint, 11);
        self.sent(&frame, Sent::Acknowledged);
        self.hear(frame.cluster, &answer.replace("SS", &format!("{sequence:02x}")));
    }

    fn hear(&mut self, cluster: u16, hex: &str) {
        self.hear_from(11, cluster, hex);
    }

    fn hear_from(&mut self, src_endpoint: u8, cluster: u16, hex: &str) {
        let payload = hex::decode(hex.replace(' ', "")).unwrap();
        self.say(Said::Received(Received {
            eui: eui(1),
            profile: PROFILE,
            cluster,
            src_endpoint,
            dst_endpoint: 1,
            lqi: 200,
            rssi: -50,
            payload: payload.into(),
        }));
    }

    fn report(&mut self, state: u8) {
        self.hear(0x0101, &format!("18990a000030{state:02x}"));
    }

    /// Commands of the Door Lock cluster that were given to the dongle.
    fn moves(&self) -> Vec<&Frame> {
        let frames =
            self.orders.iter().filter_map(|o| if let Order::Send(frame) = o { Some(frame) } else { None });
        frames.filter(|frame| frame.cluster == 0x0101 && frame.payload[0] & 3 == 1).collect()
    }
}

/// Whether a device is asked something; the coordinator's own neighbours are nobody's matter.
fn asks(order: &Order) -> bool {
    matches!(order, Order::Ask { eui, .. } if *eui != OURS.coordinator)
}

fn has_ordinary(store: &MemoryStore) -> bool {
    records(store).iter().any(|(key, _)| key.starts_with(b"zigbee/o"))
}

fn records(store: &MemoryStore) -> Vec<Record> {
    store.load().unwrap()
}

#[test]
fn a_lock_is_asked_what_it_is_bound_told_to_report_and_read() {
    let mut bench = Bench::with_lock(Rights::Watch, true);
    let state = bench.last();
    assert_eq!((state.maker.as_str(), state.model.as_str()), ("Test", "Door!"));
    assert_eq!(
        (state.source, state.at, state.battery),
        (Some(Source::Read), Some(bench.now), Some((90, bench.now)))
    );
    assert!(state.ready && state.joined && state.reachable && state.sleepy == Some(true));
    assert!(bench.frame().is_none(), "and then it is left alone");
    bench.hear(0x0101, "18 07 01 0000 00 30 02");
    assert_eq!(bench.last().bolt, Bolt::Locked, "an answer that nobody waits for may be old");
    bench.now += 10;
    bench.report(2);
    assert_eq!((bench.last().bolt, bench.last().source), (Bolt::Unlocked, Some(Source::Report)));
    bench.hear(0x0101, "1907200201 0000 00 ffffffff 00");
    assert_eq!((bench.last().bolt, bench.last().source), (Bolt::Locked, Some(Source::Event)));
    let happened = Happening::Operation {
        source: crate::zcl::door_lock::Source::Manual,
        code: 1,
        user: 0,
        at: bench.now,
    };
    assert!(bench.notices.contains(&Notice::Happened { eui: eui(1), happening: happened }));
}

#[test]
fn nobody_is_let_in_while_it_is_off_or_not_named_or_as_both_kinds() {
    let refused = |bench: &mut Bench, n: u8| match bench.admit(n) {
        Outcome::Refused(why) => why,
        other => panic!("{other:?}"),
    };
    assert!(refused(&mut Bench::up(None), 1).contains("[unsealed]"));
    let mut bench = Bench::up(Some(Rights::Watch));
    assert!(refused(&mut bench, 3).contains("not named"));
    bench.driver.handle_command(bench.now, Command::Admit(label(2)));
    bench.settle();
    assert!(refused(&mut bench, 2).contains("sealed"));
    assert_eq!(bench.admit(1), Outcome::Done);
    bench.driver.handle_command(bench.now, Command::Admit(label(1)));
    let refused = std::iter::from_fn(|| bench.driver.poll_event()).any(|event| {
        matches!(event, cardea_radio::Event::Admitted { result: Err(why), .. } if why.contains("ordinary"))
    });
    assert!(refused, "one device is never both");
}

#[test]
fn a_device_that_was_admitted_before_it_was_switched_off_is_neither_heard_nor_asked() {
    let mut bench = Bench::with_lock(Rights::Command, false);
    let mut off = Bench::on(bench.store.clone(), None);
    off.say(Said::State(State::Up(OURS)));
    off.hear(0x0101, "18990a00003002");
    off.pass(3_600_000);
    assert!(
        off.frame().is_none()
            && off.orders.iter().all(|order| !matches!(order, Order::Admit { .. }) && !asks(order))
    );
    assert_eq!(off.last(), Snapshot { listened: false, ..off.last() });
    assert_eq!((off.last().bolt, off.last().heard), (Bolt::Unknown, None));
    let token = off.command(Verb::Unlock, 60_000);
    assert!(off.refused(token).contains("no ordinary lock"));
    bench.store.set_failing(true);
    let removal = bench.errand(Request::Remove { eui: eui(1) });
    assert!(
        matches!(bench.done(removal), Some(Outcome::Refused(_))),
        "it would be there again after a restart"
    );
    bench.store.set_failing(false);
    bench.pass(10_000);
    assert!(!has_ordinary(&bench.store), "nothing is kept");
    assert!(bench.orders.iter().any(|order| matches!(order, Order::Ask { question: Question::Leave, .. })));
}

#[test]
fn a_removal_is_told_once_it_is_durable() {
    let mut bench = Bench::with_lock(Rights::Watch, false);
    bench.driver.handle_errand(bench.now, Errand { token: 99, request: Request::Remove { eui: eui(1) } });
    let (commit, batch) = bench.driver.poll_commit().unwrap();
    let told = |bench: &mut Bench| {
        let done = |notice| matches!(notice, Notice::Done { token: 99, outcome: Outcome::Done });
        std::iter::from_fn(|| bench.driver.poll_notice()).any(done)
    };
    assert!(!told(&mut bench) && has_ordinary(&bench.store), "it would be there again after a restart");
    bench.store.commit_now(batch).unwrap();
    bench.driver.handle_stored(bench.now, commit, Ok(()));
    assert!(told(&mut bench) && !has_ordinary(&bench.store));
}

#[test]
fn a_lock_without_the_second_switch_is_never_commanded() {
    let mut bench = Bench::with_lock(Rights::Watch, false);
    let token = bench.command(Verb::Unlock, 60_000);
    assert!(bench.refused(token).contains("commands = true"));
    assert!(bench.moves().is_empty());
}

#[test]
fn a_command_is_shown_as_under_way_and_done_only_by_the_locks_own_word() {
    for sleepy in [false, true] {
        let mut bench = Bench::with_lock(Rights::Command, sleepy);
        let token = bench.command(Verb::Unlock, 15_000);
        assert_eq!(bench.last().bolt, Bolt::Locked, "nothing was sent yet");
        let (hex, sequence, frame) = bench.frame().unwrap();
        assert_eq!((hex.as_str(), frame.acknowledge), ("0101 11SS01", !sleepy));
        bench.sent(&frame, Sent::Acknowledged);
        assert_eq!((bench.last().bolt, bench.last().source), (Bolt::Unlocking, Some(Source::Command)));
        bench.hear(0x0101, &format!("19{sequence:02x}0100"));
        assert_eq!(
            (bench.last().bolt, bench.done(token)),
            (Bolt::Unlocking, None),
            "an answer moves no bolt"
        );
        bench.report(0);
        assert_eq!(bench.last().bolt, Bolt::Unlocking, "neither here nor there: on its way");
        bench.report(2);
        assert_eq!((bench.last().bolt, bench.done(token)), (Bolt::Unlocked, Some(Outcome::Done)));
        let steps = bench.notices.iter().filter(|notice| matches!(notice, Notice::Progress { .. })).count();
        assert_eq!(steps, 2, "sent, accepted");
    }
}

#[test]
fn a_command_that_could_be_late_is_not_given_to_the_dongle() {
    for (sleepy, held) in [(false, 2_500), (true, 10_180)] {
        let mut bench = Bench::with_lock(Rights::Command, sleepy);
        let token = bench.command(Verb::Unlock, held);
        assert_eq!((bench.moves().len(), bench.done(token)), (0, Some(Outcome::Expired)));
        let deadline = bench.now + held + 1;
        bench.command(Verb::Unlock, held + 1);
        assert_eq!(bench.moves()[0].deadline + held, deadline);
    }
}

#[test]
fn what_the_coordinator_could_not_send_in_time_changes_nothing() {
    let mut bench = Bench::with_lock(Rights::Command, true);
    let token = bench.command(Verb::Unlock, 15_000);
    let (_, _, frame) = bench.frame().unwrap();
    let busy = bench.command(Verb::Lock, 15_000);
    assert!(bench.refused(busy).contains("under way"));
    bench.sent(&frame, Sent::Expired);
    assert_eq!((bench.last().bolt, bench.done(token)), (Bolt::Locked, Some(Outcome::Expired)));
}

#[test]
fn a_lock_that_does_not_answer_is_somewhere_until_it_is_asked() {
    let mut bench = Bench::with_lock(Rights::Command, true);
    let token = bench.command(Verb::Unlock, 15_000);
    let (_, _, frame) = bench.frame().unwrap();
    bench.sent(&frame, Sent::Acknowledged);
    bench.pass(24_999);
    assert_eq!((bench.last().bolt, bench.done(token)), (Bolt::Unlocking, None));
    bench.pass(1);
    assert_eq!((bench.last().bolt, bench.done(token)), (Bolt::Unknown, Some(Outcome::Unconfirmed)));
    bench.exchange("0101", "00SS000000", "18SS010000003002");
    assert_eq!(bench.last().bolt, Bolt::Unlocked);
}

#[test]
fn a_lock_that_accepts_and_does_not_move_is_jammed_or_where_it_says() {
    for (state, shown) in [(0, Bolt::Jammed), (1, Bolt::Locked)] {
        let mut bench = Bench::with_lock(Rights::Command, false);
        let token = bench.command(Verb::Unlock, 15_000);
        let (_, sequence, frame) = bench.frame().unwrap();
        bench.sent(&frame, Sent::Acknowledged);
        bench.hear(0x0101, &format!("19{sequence:02x}0100"));
        bench.pass(10_000);
        bench.exchange("0101", "00SS000000", &format!("18SS0100000030{state:02x}"));
        assert_eq!((bench.last().bolt, bench.done(token)), (shown, Some(Outcome::Elsewhere)));
    }
    let mut bench = Bench::with_lock(Rights::Command, false);
    let token = bench.command(Verb::Lock, 15_000);
    let (_, sequence, frame) = bench.frame().unwrap();
    bench.sent(&frame, Sent::Acknowledged);
    bench.hear(0x0101, &format!("19{sequence:02x}0001"));
    assert_eq!(bench.done(token), Some(Outcome::Declined(1)));
    bench.hear(0x0009, "19 55 00 00 0101");
    assert_eq!((bench.last().bolt, bench.last().source), (Bolt::Jammed, Some(Source::Alarm)));
}

#[test]
fn an_answer_to_an_older_question_or_command_is_nobodys() {
    let mut bench = Bench::with_lock(Rights::Command, false);
    let token = bench.command(Verb::Unlock, 15_000);
    let (_, sequence, frame) = bench.frame().unwrap();
    bench.sent(&frame, Sent::Acknowledged);
    bench.hear(0x0101, &format!("19{:02x}0100", sequence.wrapping_sub(1)));
    bench.hear(0x0101, &format!("19{sequence:02x}0000"));
    bench.report(2);
    assert_eq!(bench.done(token), None, "neither is its answer, so no report is its effect");
    bench.hear(0x0101, "18 07 01 0000 00 30 01");
    bench.hear(0x0101, &format!("19{sequence:02x}0100"));
    bench.report(2);
    assert_eq!((bench.last().bolt, bench.done(token)), (Bolt::Unlocked, Some(Outcome::Done)));
}

#[test]
fn a_silent_lock_is_read_and_a_lock_that_does_not_answer_is_unknown_since_its_last_word() {
    let mut bench = Bench::with_lock(Rights::Watch, true);
    let heard = bench.now;
    bench.pass(599_999);
    assert!(bench.frame().is_none());
    bench.pass(1);
    bench.exchange("0101", "00SS000000", "18SS010000003001");
    assert_eq!((bench.last().bolt, bench.last().at), (Bolt::Locked, Some(heard + 600_000)));
    bench.exchange("0001", "00SS002100", "18SS0121000020b4");
    bench.pass(629_999);
    assert_eq!(bench.last().bolt, Bolt::Locked);
    bench.pass(1);
    let state = bench.last();
    assert_eq!((state.bolt, state.reachable), (Bolt::Unknown, false));
    assert_eq!(
        (state.source, state.at),
        (Some(Source::Read), Some(heard + 600_000)),
        "with the age of what it last said"
    );
    bench.report(2);
    assert!(bench.last().bolt == Bolt::Unlocked && bench.last().reachable);
}

#[test]
fn a_lock_is_unknown_after_a_restart_and_after_the_network_was_down_until_it_is_read() {
    let mut bench = Bench::with_lock(Rights::Command, false);
    bench.command(Verb::Unlock, 60_000);
    let mut again = Bench::on(bench.store.clone(), Some(Rights::Command));
    again.say(Said::State(State::Up(OURS)));
    assert_eq!((again.last().bolt, again.last().at), (Bolt::Unknown, None));
    again.set_up(false);
    assert_eq!(again.last().bolt, Bolt::Locked);
    again.pass(60_000);
    assert!(again.moves().is_empty(), "what was pending is not done after a restart");

    again.say(Said::State(State::Down("unplugged".into())));
    assert!(again.refused_now(Verb::Unlock).contains("not running"));
    again.say(Said::State(State::Up(OURS)));
    assert_eq!(again.last().bolt, Bolt::Unknown, "nobody knows what it reported meanwhile");
    again.exchange("0101", "00SS000000", "18SS010000003002");
    assert_eq!(again.last().bolt, Bolt::Unlocked);
}

impl Bench {
    fn refused_now(&mut self, verb: Verb) -> String {
        let token = self.command(verb, 60_000);
        self.refused(token)
    }
}
