//! The gateway's side against a program that the test is: an honest one, and one that is not.

use bytes::Bytes;

use super::*;
use crate::coordinator::{Answer, Question, Received};
use crate::descriptors::{Clusters, SimpleDescriptor};
use crate::external::wire::MAX_MESSAGE;
use crate::types::{InstallCode, Key, NwkAddr};

const LOCK: Eui64 = Eui64([1; 8]);
const OURS: Network =
    Network { coordinator: Eui64([8; 8]), extended_pan: Eui64([9; 8]), pan: 0x1A62, channel: 15 };
const OTHERS: Network = Network { extended_pan: Eui64([7; 8]), ..OURS };

fn host(expected: Option<Network>) -> Host {
    let endpoint = SimpleDescriptor {
        endpoint: 1,
        profile: 0x0104,
        device: 5,
        version: 0,
        clusters: Clusters::default(),
    };
    Host::new(HostConfig { endpoint, manufacturer: 0xFFF1, max_children: 32 }, b"/dev/x".to_vec(), expected)
}

fn says(host: &mut Host, now: Millis, message: FromHost) {
    host.handle_bytes(now, &message.encode().unwrap());
}

fn event(host: &mut Host, event: Event) {
    says(host, 1_000, FromHost::Event(event));
}

fn events(host: &mut Host) -> Vec<Event> {
    std::iter::from_fn(|| host.poll_event()).collect()
}

fn told(host: &mut Host) -> Vec<ToHost> {
    std::iter::from_fn(|| host.poll_transmit(0)).map(|bytes| ToHost::parse(&bytes[2..]).unwrap().1).collect()
}

fn greeted(expected: Option<Network>) -> Host {
    let mut host = host(expected);
    host.handle_open(1_000);
    says(&mut host, 1_000, FromHost::Hello { version: VERSION, name: "test".into() });
    host
}

/// Up, and nothing left to be taken.
fn up() -> Host {
    let mut host = greeted(Some(OURS));
    event(&mut host, Event::State(State::Up(OURS)));
    assert_eq!(events(&mut host), vec![Event::State(State::Starting), Event::State(State::Up(OURS))]);
    told(&mut host);
    host
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

fn admit(eui: Eui64) -> Order {
    let code = InstallCode::new(&[0x83, 0xFE, 0xD3, 0x40, 0x7A, 0x93, 0x2B, 0x70]).unwrap();
    Order::Admit { eui, code, seconds: 254 }
}

fn plan() -> Plan {
    Plan { channels: 1 << 15, extended_pan: OURS.extended_pan, pan: None, key: Key([1; 16]) }
}

fn outcome(handle: u64, outcome: Outcome) -> Event {
    Event::Outcome { handle, outcome }
}

#[test]
fn a_dying_program_ends_all_that_waits_for_it_once() {
    let mut host = up();
    host.handle_order(1_000, Order::Send(frame(1, 60_000)));
    host.handle_order(1_000, Order::Ask { handle: 2, eui: LOCK, question: Question::Node });
    host.handle_order(1_000, admit(LOCK));
    assert_eq!(told(&mut host).len(), 3);
    host.handle_close("the port is gone: unexpected end of file");
    let ended = vec![
        outcome(1, Outcome::Failed(Failure::Unknown)),
        Event::Answer { handle: 2, answer: Err(Failure::Down) },
        Event::Open(false),
        Event::JoinFailed { eui: LOCK, reason: JoinFailure::Interrupted },
        Event::State(State::Down("the host program ended".into())),
    ];
    assert_eq!(events(&mut host), ended);
    host.handle_timeout(1_000_000);
    assert_eq!(events(&mut host), vec![]);
    host.handle_order(2_000, Order::Send(frame(3, 60_000)));
    host.handle_order(2_000, admit(LOCK));
    let refused = vec![
        outcome(3, Outcome::Failed(Failure::Down)),
        Event::JoinFailed { eui: LOCK, reason: JoinFailure::Interrupted },
    ];
    assert_eq!(events(&mut host), refused);
}

#[test]
fn a_network_is_formed_by_the_next_program_and_by_no_one_after_it() {
    let mut host = greeted(None);
    event(&mut host, Event::State(State::Unformed));
    events(&mut host);
    let ToHost::Hello(hello) = told(&mut host).remove(0) else { panic!() };
    assert!(hello.form.is_none());
    host.handle_order(2_000, Order::Form { plan: plan(), replace: false });
    assert!(host.wants_reopen());
    assert!(told(&mut host).is_empty(), "the one that runs is told nothing");
    host.handle_close("the port is gone");
    host.handle_close("the host program that ran before has not ended yet");
    assert_eq!(events(&mut host), vec![Event::State(State::Starting)], "the operator's order goes on");
    host.handle_open(4_000);
    let ToHost::Hello(hello) = told(&mut host).remove(0) else { panic!() };
    assert!(matches!(&hello.form, Some((plan, false)) if plan.extended_pan == OURS.extended_pan));
    // It dies before it says what became of it: the next one gets no plan.
    host.handle_close("the port is gone");
    let failed = Event::Formed(Err("the host program ended meanwhile".into()));
    assert_eq!(events(&mut host)[0], failed);
    host.handle_open(6_000);
    let ToHost::Hello(hello) = told(&mut host).remove(0) else { panic!() };
    assert!(hello.form.is_none(), "never formed anew");
}

#[test]
fn a_network_that_was_formed_is_the_expected_one_from_then_on() {
    let mut host = greeted(None);
    event(&mut host, Event::State(State::Unformed));
    host.handle_order(2_000, Order::Form { plan: plan(), replace: false });
    host.handle_close("the port is gone");
    host.handle_open(4_000);
    says(&mut host, 4_000, FromHost::Hello { version: VERSION, name: "test".into() });
    event(&mut host, Event::Formed(Ok(OURS)));
    event(&mut host, Event::State(State::Up(OURS)));
    assert!(events(&mut host).ends_with(&[Event::Formed(Ok(OURS)), Event::State(State::Up(OURS))]));
    host.handle_close("the port is gone");
    host.handle_open(6_000);
    let ToHost::Hello(hello) = told(&mut host).pop().unwrap() else { panic!() };
    assert_eq!(hello.expected, Some(OURS));
}

#[test]
fn a_program_that_never_says_what_became_of_a_plan_fails_it() {
    let mut host = greeted(None);
    event(&mut host, Event::State(State::Unformed));
    events(&mut host);
    host.handle_order(2_000, Order::Form { plan: plan(), replace: false });
    host.handle_close("the port is gone");
    assert_eq!(host.poll_timeout(), Some(2_000 + FORMING_MS));
    host.handle_timeout(2_000 + FORMING_MS);
    let failed = Event::Formed(Err("the host program does not say what became of it".into()));
    assert!(events(&mut host).contains(&failed));
    host.handle_open(200_000);
    let ToHost::Hello(hello) = told(&mut host).pop().unwrap() else { panic!() };
    assert!(hello.form.is_none(), "what the operator was told failed is not done later");
}

#[test]
fn a_network_is_replaced_only_where_the_order_says_so() {
    let mut host = up();
    host.handle_order(2_000, Order::Form { plan: plan(), replace: false });
    let refusal = Event::Formed(Err("there is a network; its devices would have to join anew".into()));
    assert_eq!(events(&mut host), vec![refusal]);
    assert!(!host.wants_reopen());
    host.handle_order(2_000, Order::Form { plan: plan(), replace: true });
    assert!(host.wants_reopen());
}

#[test]
fn another_network_than_the_expected_one_is_never_up() {
    let mut host = greeted(Some(OURS));
    event(&mut host, Event::State(State::Up(OTHERS)));
    assert!(host.wants_reopen());
    let seen = events(&mut host);
    assert!(
        matches!(&seen[..], [_, Event::State(State::Down(why))] if why.contains("another network")),
        "{seen:?}"
    );
    // Nor by the way of an order that nobody gave.
    let mut host = greeted(Some(OURS));
    event(&mut host, Event::Formed(Ok(OTHERS)));
    event(&mut host, Event::State(State::Up(OTHERS)));
    assert!(host.wants_reopen() && !events(&mut host).iter().any(|event| matches!(event, Event::Formed(_))));
    // Nor with another one than was found.
    let mut host = greeted(Some(OURS));
    event(&mut host, Event::State(State::Foreign(OTHERS)));
    host.handle_order(1_000, Order::Adopt);
    event(&mut host, Event::Formed(Ok(Network { extended_pan: Eui64([3; 8]), ..OURS })));
    assert!(matches!(events(&mut host).last(), Some(Event::Formed(Err(_)))));
}

#[test]
fn what_nobody_asked_for_is_counted_and_goes_no_further() {
    let mut host = up();
    host.handle_order(1_000, Order::Send(frame(1, 60_000)));
    for again in 0..2 {
        event(&mut host, outcome(1, Outcome::Acknowledged));
        let seen = events(&mut host);
        assert_eq!(seen.len(), 1 - again, "one end for one frame");
    }
    event(&mut host, outcome(9, Outcome::Acknowledged));
    event(&mut host, Event::Answer { handle: 9, answer: Ok(Answer::Done) });
    assert_eq!((events(&mut host), host.senseless()), (vec![], 3));
    // While it is down, devices say nothing.
    event(&mut host, Event::State(State::Starting));
    events(&mut host);
    event(&mut host, Event::Joined { eui: LOCK, nwk: NwkAddr(5) });
    let payload = Bytes::from_static(b"x");
    event(
        &mut host,
        Event::Received(Received {
            eui: LOCK,
            profile: 0x0104,
            cluster: 1,
            src_endpoint: 1,
            dst_endpoint: 1,
            lqi: 1,
            rssi: 1,
            payload,
        }),
    );
    assert_eq!(events(&mut host), vec![]);
}

#[test]
fn nonsense_another_version_and_a_first_word_out_of_turn_end_the_program() {
    let nonsense: [&[u8]; 3] = [&[0, 0, 0], &[1, 0, 0x42], &[0xFF, 0xFF, 0x81]];
    for bytes in nonsense {
        let mut host = up();
        host.handle_bytes(1_000, bytes);
        assert!(host.wants_reopen(), "{bytes:?}");
        // What it says now is not heard any more.
        event(&mut host, Event::State(State::Unformed));
        assert!(!events(&mut host).contains(&Event::State(State::Unformed)));
        host.handle_close("the port is gone: the dongle does not answer");
        let seen = events(&mut host);
        assert!(seen.is_empty(), "the reason stays: {seen:?}");
    }
    let mut other = host(None);
    other.handle_open(0);
    says(&mut other, 0, FromHost::Hello { version: VERSION + 1, name: String::new() });
    let seen = events(&mut other);
    assert!(
        matches!(seen.last(), Some(Event::State(State::Down(why))) if why.contains(&format!("version {}", VERSION + 1))),
        "{seen:?}"
    );
    let mut early = host(None);
    early.handle_open(0);
    event(&mut early, Event::State(State::Unformed));
    assert!(early.wants_reopen());
}

#[test]
fn a_silent_program_is_asked_and_then_ended() {
    let mut running = up();
    let mut now = 1_000;
    for _ in 0..100 {
        now = running.poll_timeout().unwrap();
        running.handle_timeout(now);
        for message in told(&mut running) {
            let ToHost::Ping(number) = message else { panic!("{message:?}") };
            says(&mut running, now + 100, FromHost::Pong(number));
        }
        assert!(!running.wants_reopen(), "it answers");
    }
    let heard = now + 100;
    while !running.wants_reopen() {
        now = running.poll_timeout().unwrap();
        running.handle_timeout(now);
    }
    assert_eq!(now, heard + SILENT_MS);
    let mut mute = host(None);
    mute.handle_open(0);
    assert_eq!(mute.poll_timeout(), Some(GREETING_MS));
    mute.handle_timeout(GREETING_MS);
    assert!(mute.wants_reopen());
}

#[test]
fn a_late_frame_does_not_reach_the_program_and_what_it_forgets_has_an_end() {
    let mut host = up();
    host.handle_order(2_000, Order::Send(frame(1, 2_000)));
    assert_eq!(events(&mut host), vec![outcome(1, Outcome::Expired)]);
    assert!(told(&mut host).is_empty());
    host.handle_order(2_000, Order::Send(frame(2, 5_000)));
    host.handle_order(2_000, Order::Ask { handle: 3, eui: LOCK, question: Question::Node });
    host.handle_timeout(2_000 + QUESTION_MS);
    let seen = events(&mut host);
    assert!(seen.contains(&outcome(2, Outcome::Failed(Failure::Unknown))), "{seen:?}");
    assert!(seen.contains(&Event::Answer { handle: 3, answer: Err(Failure::NoAnswer) }), "{seen:?}");
}

#[test]
fn what_waits_is_bounded() {
    let mut host = up();
    for handle in 0..=64 {
        host.handle_order(1_000, Order::Send(frame(handle, 60_000)));
    }
    assert_eq!(events(&mut host), vec![outcome(64, Outcome::Failed(Failure::Busy))]);
    for n in 0..=64 {
        host.handle_order(1_000, admit(Eui64([n; 8])));
    }
    host.handle_order(1_000, admit(Eui64([0; 8])));
    let busy = Event::JoinFailed { eui: Eui64([64; 8]), reason: JoinFailure::Busy };
    assert_eq!(events(&mut host), vec![busy], "one that replaces another always finds room");
    assert!(told(&mut host).iter().all(|message| message.encode(0).unwrap().len() <= MAX_MESSAGE + 2));
}
