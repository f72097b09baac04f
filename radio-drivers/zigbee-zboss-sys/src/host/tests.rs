//! The coordinator over a library that the test is.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use cardea_zigbee::coordinator::{Answer, Frame, JoinFailure, Outcome, Question};
use cardea_zigbee::descriptors::{Clusters, SimpleDescriptor};
use cardea_zigbee::{Eui64, InstallCode, Key, NwkAddr};

use super::*;

const LOCK: Eui64 = Eui64([1; 8]);
const NWK: NwkAddr = NwkAddr(0x1001);
const OURS: Network =
    Network { coordinator: Eui64([8; 8]), extended_pan: Eui64([9; 8]), pan: 0x1A62, channel: 15 };

/// What the library was told, in words, and what it says when it is asked.
#[derive(Default)]
struct Library {
    calls: Vec<String>,
    network: Option<Network>,
    busy: bool,
    next: u8,
}

#[derive(Clone, Default)]
struct Fake(Rc<RefCell<Library>>);

impl Fake {
    fn call(&self, words: String) -> u8 {
        let mut library = self.0.borrow_mut();
        library.calls.push(words);
        library.next += 1;
        library.next
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.0.borrow_mut().calls)
    }
}

impl Stack for Fake {
    fn begin(&mut self, begin: &Begin<'_>) -> Result<(), String> {
        self.call(format!("begin, form and erase {:?}", begin.form.map(|(_, replace)| replace)));
        Ok(())
    }
    fn commission(&mut self, form: bool) -> bool {
        self.call(format!("commission, form {form}"));
        true
    }
    fn network(&self) -> Option<Network> {
        self.0.borrow().network
    }
    fn set_policies(&mut self) {
        self.call("policies".into());
    }
    fn permit(&mut self, dst: NwkAddr, seconds: u8) -> bool {
        self.call(format!("permit {dst:?} {seconds}"));
        true
    }
    fn add_code(&mut self, eui: Eui64, _: &InstallCode) {
        self.call(format!("add code {eui}"));
    }
    fn remove_code(&mut self, eui: Eui64) {
        self.call(format!("remove code {eui}"));
    }
    fn send(&mut self, frame: &Frame) -> Result<u8, Failure> {
        if self.0.borrow().busy {
            Err(Failure::Busy)
        } else {
            Ok(self.call(format!("send {}", frame.handle)))
        }
    }
    fn ask(&mut self, _: NwkAddr, _: Eui64, question: &Question) -> Option<u8> {
        Some(self.call(format!("ask {question:?}")))
    }
    fn nwk(&self, eui: Eui64) -> Option<NwkAddr> {
        (eui == LOCK).then_some(NWK)
    }
    fn eui(&self, nwk: NwkAddr) -> Option<Eui64> {
        (nwk == NWK).then_some(LOCK)
    }
}

fn hello(expected: Option<Network>, form: Option<(Plan, bool)>) -> Hello {
    let clusters = Clusters::default();
    let endpoint = SimpleDescriptor { endpoint: 1, profile: 0x0104, device: 5, version: 0, clusters };
    let host = HostConfig { endpoint, manufacturer: 0xFFF1, max_children: 32 };
    Hello { expected, host, device: b"/dev/x".to_vec(), form }
}

fn plan() -> Plan {
    Plan { channels: 1 << 15, extended_pan: OURS.extended_pan, pan: None, key: Key([1; 16]) }
}

/// The library as it is after its start, remembering this.
fn started(
    expected: Option<Network>,
    form: Option<(Plan, bool)>,
    remembered: Option<Network>,
) -> (Host<Fake>, Fake) {
    let fake = Fake::default();
    fake.0.borrow_mut().network = remembered;
    let mut host = Host::begin(1_000, 1_000, hello(expected, form), fake.clone());
    host.handle_signal(1_000, Signal::SkipStartup);
    host.handle_signal(1_000, Signal::Started { well: true });
    (host, fake)
}

fn up() -> (Host<Fake>, Fake) {
    let (mut host, fake) = started(Some(OURS), None, Some(OURS));
    assert_eq!(events(&mut host), vec![Event::State(State::Starting), Event::State(State::Up(OURS))]);
    fake.calls();
    (host, fake)
}

fn events(host: &mut Host<Fake>) -> Vec<Event> {
    std::iter::from_fn(|| host.poll_reply())
        .filter_map(|reply| match reply {
            FromHost::Event(event) => Some(event),
            FromHost::Hello { .. } | FromHost::Pong(_) => None,
        })
        .collect()
}

fn order(host: &mut Host<Fake>, now: Millis, order: Order) {
    host.handle_message(now, now, ToHost::Order(order));
}

fn frame(handle: u64, deadline: Millis) -> Frame {
    Frame {
        handle,
        eui: LOCK,
        profile: 0x0104,
        cluster: 0xFC7C,
        dst_endpoint: 11,
        src_endpoint: 1,
        payload: Bytes::from_static(b"sealed"),
        deadline,
        acknowledge: true,
        urgent: false,
    }
}

fn admit(host: &mut Host<Fake>, now: Millis, eui: Eui64) {
    let code = InstallCode::new(&[0x83, 0xFE, 0xD3, 0x40, 0x7A, 0x93, 0x2B, 0x70]).unwrap();
    order(host, now, Order::Admit { eui, code, seconds: 100 });
}

#[test]
fn what_is_remembered_is_resumed_and_set_up_before_it_is_told() {
    let (mut host, fake) = started(Some(OURS), None, Some(OURS));
    let calls = ["begin, form and erase None", "commission, form false", "policies", "permit 0x0000 0"];
    assert_eq!(fake.calls(), calls);
    assert_eq!(events(&mut host), vec![Event::State(State::Starting), Event::State(State::Up(OURS))]);
}

#[test]
fn without_an_order_nothing_is_formed_and_nothing_foreign_is_touched() {
    let (mut host, fake) = started(None, None, None);
    assert_eq!(events(&mut host), vec![Event::State(State::Starting), Event::State(State::Unformed)]);
    assert_eq!(fake.calls(), ["begin, form and erase None", "commission, form false"]);
    let (mut host, fake) = started(None, None, Some(OURS));
    assert_eq!(events(&mut host), vec![Event::State(State::Starting), Event::State(State::Foreign(OURS))]);
    assert_eq!(fake.calls(), ["begin, form and erase None", "commission, form false"]);
    order(&mut host, 2_000, Order::Adopt);
    assert_eq!(events(&mut host), vec![Event::Formed(Ok(OURS)), Event::State(State::Up(OURS))]);
    assert_eq!(fake.calls(), ["policies", "permit 0x0000 0"]);
}

#[test]
fn a_network_is_formed_over_nothing_and_never_over_what_is_remembered() {
    let (mut host, fake) = started(None, Some((plan(), false)), None);
    let calls =
        ["begin, form and erase Some(false)", "commission, form false", "policies", "commission, form true"];
    assert_eq!(fake.calls(), calls);
    fake.0.borrow_mut().network = Some(OURS);
    host.handle_signal(2_000, Signal::Formation { well: true });
    let formed = [Event::Formed(Ok(OURS)), Event::State(State::Up(OURS))];
    assert!(events(&mut host).ends_with(&formed));

    let (mut host, fake) = started(None, Some((plan(), false)), Some(OURS));
    let seen = events(&mut host);
    assert!(matches!(&seen[..], [_, Event::Formed(Err(_)), Event::State(State::Foreign(_))]), "{seen:?}");
    assert!(!fake.calls().iter().any(|call| call == "commission, form true"));
}

#[test]
fn a_formation_without_end_or_with_another_network_fails() {
    let (mut host, _) = started(None, Some((plan(), true)), None);
    events(&mut host);
    host.handle_timeout(1_000 + FORMING_MS);
    assert!(matches!(events(&mut host)[..], [Event::Formed(Err(_)), Event::State(State::Down(_))]));
    assert!(host.is_dead(), "only another process helps");
    let (mut host, fake) = started(None, Some((plan(), true)), None);
    fake.0.borrow_mut().network = Some(Network { extended_pan: Eui64([7; 8]), ..OURS });
    events(&mut host);
    host.handle_signal(2_000, Signal::Formation { well: true });
    assert!(matches!(events(&mut host)[..], [Event::Formed(Err(_)), Event::State(State::Foreign(_))]));
}

#[test]
fn the_network_is_open_for_all_who_are_admitted_and_whoever_comes_first_joins_first() {
    let (mut host, fake) = up();
    let second = Eui64([2; 8]);
    admit(&mut host, 2_000, LOCK);
    admit(&mut host, 2_000, second);
    assert_eq!(fake.calls(), ["add code 0101010101010101"], "and it is closed until the code is there");
    host.handle_signal(2_000, Signal::CodeAdded { well: true });
    let opened = ["add code 0202020202020202", "permit 0x0000 100", "permit 0xfffc 100"];
    assert_eq!(fake.calls(), opened);
    host.handle_signal(2_000, Signal::CodeAdded { well: true });
    assert_eq!((fake.calls(), events(&mut host)), (vec![], vec![Event::Open(true)]));
    // The second one stands at its door first.
    let nwk = NwkAddr(0x2222);
    host.handle_signal(3_000, Signal::Update { eui: second, nwk, status: 1 });
    assert_eq!(fake.calls(), ["permit 0x0000 0", "permit 0xfffc 0"]);
    host.handle_signal(4_000, Signal::Authorised { eui: second, nwk, kind: 1, status: 0 });
    assert_eq!(fake.calls(), ["permit 0x0000 98", "permit 0xfffc 98"], "and on for the first");
    let joined = Event::Joined { eui: second, nwk };
    assert_eq!(events(&mut host), vec![Event::Open(false), joined, Event::Open(true)]);
    // Nobody else comes.
    host.handle_timeout(102_000);
    let silent = Event::JoinFailed { eui: LOCK, reason: JoinFailure::Silent };
    assert_eq!(events(&mut host), vec![silent, Event::Open(false)]);
    assert_eq!(fake.calls(), ["permit 0x0000 0", "remove code 0101010101010101", "permit 0xfffc 0"]);
}

/// The driver gives an admission up 374 s after it gave it; as many as it gives at once may be in front of it.
#[test]
fn each_of_many_admissions_ends_before_the_driver_gives_it_up_however_slow_the_library_is() {
    for answers in [true, false] {
        let (mut host, fake) = up();
        let code = InstallCode::new(&[0x83, 0xFE, 0xD3, 0x40, 0x7A, 0x93, 0x2B, 0x70]).unwrap();
        for n in 1..=32 {
            order(&mut host, 2_000, Order::Admit { eui: Eui64([n; 8]), code: code.clone(), seconds: 254 });
        }
        let (mut ended, mut told) = (0, 0);
        for now in (2_000..376_000).step_by(250) {
            host.handle_timeout(now);
            // It takes almost as long as it may.
            if answers && now % 4_750 == 0 {
                host.handle_signal(now, Signal::CodeAdded { well: true });
            }
            let failed = |event: &Event| matches!(event, Event::JoinFailed { .. });
            ended += events(&mut host).iter().filter(|event| failed(event)).count();
            told += fake.calls().iter().filter(|call| call.starts_with("add code")).count();
        }
        assert_eq!(ended, 32, "answers: {answers}");
        assert!((8..20).contains(&told), "the others found it busy: {told}");
    }
}

#[test]
fn a_code_that_the_library_does_not_speak_of_is_taken_back() {
    let (mut host, fake) = up();
    admit(&mut host, 2_000, LOCK);
    host.handle_timeout(6_999);
    assert_eq!((fake.calls().len(), events(&mut host)), (1, vec![]));
    host.handle_timeout(7_000);
    let failed = Event::JoinFailed { eui: LOCK, reason: JoinFailure::Code("no answer".into()) };
    assert_eq!(
        (fake.calls(), events(&mut host)),
        (vec!["remove code 0101010101010101".into()], vec![failed])
    );
    // What it says too late is nobody's.
    host.handle_signal(8_000, Signal::CodeAdded { well: true });
    assert_eq!((fake.calls(), events(&mut host)), (vec![], vec![]));
}

#[test]
fn nobody_is_admitted_while_the_network_does_not_run() {
    let (mut host, fake) = started(None, None, Some(OURS));
    events(&mut host);
    fake.calls();
    admit(&mut host, 2_000, LOCK);
    let failed = Event::JoinFailed { eui: LOCK, reason: JoinFailure::Interrupted };
    assert_eq!((fake.calls(), events(&mut host)), (vec![], vec![failed]));
}

#[test]
fn a_device_without_a_key_of_its_own_is_sent_away() {
    let (mut host, fake) = up();
    host.handle_signal(2_000, Signal::Authorised { eui: LOCK, nwk: NWK, kind: 0, status: 0 });
    assert_eq!(fake.calls(), ["ask Leave"]);
    let failed = Event::JoinFailed { eui: LOCK, reason: JoinFailure::NoUniqueKey };
    assert_eq!(events(&mut host), vec![failed]);
}

/// Two clocks with other zeros, and a message that was long on its way.
#[test]
fn a_message_that_was_held_up_does_not_make_a_deadline_later() {
    let fake = Fake::default();
    fake.0.borrow_mut().network = Some(OURS);
    // The first message waited for the process to start; ours is 500 ahead, as the one that took no time says.
    let mut host = Host::begin(3_000, 1_000, hello(Some(OURS), None), fake.clone());
    host.handle_signal(3_000, Signal::SkipStartup);
    host.handle_signal(3_000, Signal::Started { well: true });
    events(&mut host);
    fake.calls();
    host.handle_message(10_500, 10_000, ToHost::Ping(1));
    fake.0.borrow_mut().busy = true;
    // Sent at 11,000 for 12,000, read at 12,400 of the gateway's clock.
    host.handle_message(12_900, 11_000, ToHost::Order(Order::Send(frame(1, 12_000))));
    assert_eq!(events(&mut host), vec![Event::Outcome { handle: 1, outcome: Outcome::Expired }]);
    host.handle_message(12_900, 12_400, ToHost::Order(Order::Send(frame(2, 13_000))));
    host.handle_timeout(13_499);
    assert_eq!(events(&mut host), vec![]);
    host.handle_timeout(13_500);
    assert_eq!(events(&mut host), vec![Event::Outcome { handle: 2, outcome: Outcome::Expired }]);
    assert_eq!(fake.calls(), Vec::<String>::new());
}

#[test]
fn each_frame_has_one_end_and_a_device_one_frame_at_a_time() {
    let (mut host, fake) = up();
    for handle in 1..=3 {
        order(&mut host, 2_000, Order::Send(frame(handle, 60_000)));
    }
    assert_eq!(fake.calls(), ["send 1"]);
    let buffer = fake.0.borrow().next;
    host.handle_signal(2_100, Signal::Sent { buffer, status: 0 });
    host.handle_signal(2_100, Signal::Sent { buffer, status: 0 });
    assert_eq!(fake.calls(), ["send 2"]);
    order(&mut host, 2_200, Order::Cancel { handle: 3 });
    host.handle_timeout(48_000);
    let ends = [
        (1, Outcome::Acknowledged),
        (3, Outcome::Failed(Failure::Cancelled)),
        (2, Outcome::Failed(Failure::Unknown)),
    ];
    assert_eq!(events(&mut host), ends.map(|(handle, outcome)| Event::Outcome { handle, outcome }));
    let long = Frame { payload: vec![0; MAX_PAYLOAD + 1].into(), ..frame(4, 60_000) };
    order(&mut host, 48_000, Order::Send(long));
    let big = Event::Outcome { handle: 4, outcome: Outcome::Failed(Failure::TooBig) };
    assert_eq!(events(&mut host), vec![big]);
}

#[test]
fn each_question_has_one_answer_and_waits_for_the_one_before() {
    let (mut host, fake) = up();
    for (handle, question) in [(1, Question::Node), (2, Question::Endpoints)] {
        order(&mut host, 2_000, Order::Ask { handle, eui: LOCK, question });
    }
    order(&mut host, 2_000, Order::Ask { handle: 3, eui: Eui64([3; 8]), question: Question::Node });
    assert_eq!(fake.calls(), ["ask Node"]);
    let tsn = fake.0.borrow().next;
    host.handle_signal(2_100, Signal::Answer { tsn: tsn + 1, answer: Ok(Answer::Done) });
    host.handle_signal(2_100, Signal::Answer { tsn, answer: Err(0x80) });
    assert_eq!(fake.calls(), ["ask Endpoints"]);
    host.handle_timeout(22_100);
    let answers =
        [(1, Failure::Refused("ZDP status 0x80".into())), (2, Failure::NoAnswer), (3, Failure::NoAddress)];
    assert_eq!(
        events(&mut host),
        answers.map(|(handle, failure)| Event::Answer { handle, answer: Err(failure) })
    );
}

#[test]
fn a_coordinator_that_left_its_network_ends_all_and_asks_for_another_process() {
    let (mut host, _) = up();
    order(&mut host, 2_000, Order::Send(frame(1, 60_000)));
    order(&mut host, 2_000, Order::Ask { handle: 2, eui: LOCK, question: Question::Node });
    admit(&mut host, 2_000, LOCK);
    host.handle_signal(2_000, Signal::CodeAdded { well: true });
    assert_eq!(events(&mut host), vec![Event::Open(true)]);
    host.handle_signal(3_000, Signal::SelfLeft);
    let seen = events(&mut host);
    assert_eq!(seen.len(), 5, "{seen:?}");
    assert!(host.is_dead() && matches!(seen.last(), Some(Event::State(State::Down(_)))));
}
