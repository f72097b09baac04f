//! Our own host against the virtual dongles over a real pseudo-terminal: what a daemon's radio driver stands on. That the
//! dongles are right is shown by others, in `tests/tests/zigbee_peers`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test")]

mod bench;
mod long;
mod moves;

use std::time::Duration;

use bench::{Bench, DONGLE, LONG, SOON, Stick, heard};
use cardea_simulator::zigbee::{Direction, Dongle, Faults};
use cardea_zigbee::coordinator::{Answer, Event, Failure, JoinFailure, Outcome, Question, State};
use cardea_zigbee::tunnel::Tunnel;
use long::messages_as_long_as_they_may_be_go_both_ways;
use tokio::time::Instant;

/// Each of these is shown on every kind of dongle.
macro_rules! on_each_dongle {
    ($($name:ident)*) => {
        on_each_dongle!(zboss: Zboss; $($name)*);
        on_each_dongle!(zboss_on_usb: ZbossUsb; $($name)*);
        on_each_dongle!(ezsp_13: Ezsp(13); $($name)*);
        on_each_dongle!(ezsp_19: Ezsp(19); $($name)*);
    };
    ($family:ident: $stick:expr; $($name:ident)*) => {
        mod $family {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                #[allow(unused_imports, reason = "one of the kinds")]
                use super::Stick::*;
                super::$name($stick).await;
            })*
        }
    };
}

on_each_dongle! {
    a_network_is_formed_on_the_order_and_resumed_after_an_unplugging
    after_thirty_seconds_without_a_dongle_its_lock_is_reached_as_before
    a_lock_joins_with_its_install_code_and_tunnel_frames_go_both_ways
    a_lock_does_not_join_with_the_install_code_of_another
    a_renumbered_lock_is_reached_as_before
    after_every_fault_traffic_goes_on_and_nothing_is_formed_anew
    on_a_bad_wire_every_frame_has_one_end_and_what_is_acknowledged_was_heard
    the_coordinator_is_asked_like_its_devices_and_is_not_sent_away
    messages_as_long_as_they_may_be_go_both_ways
}

async fn a_network_is_formed_on_the_order_and_resumed_after_an_unplugging(stick: Stick) {
    let (mut bench, network) = Bench::formed(stick).await;
    assert_eq!((network.coordinator, network.pan, network.channel), (DONGLE, 0x4321, 20));
    let before = std::fs::read_link(bench.dongle.port()).unwrap();
    bench.dongle.unplug(Duration::from_millis(2_500));
    let down = |event: &Event| matches!(event, Event::State(State::Down(_))).then_some(());
    bench.until("the port is gone", SOON, down).await;
    assert_eq!(bench.up(LONG).await, network);
    let traffic = bench.traffic();
    assert!((traffic.formed, traffic.resumed) == (1, 1), "{traffic:?}");
    assert!(before.starts_with("/dev/pts"), "{before:?}");
}

async fn after_thirty_seconds_without_a_dongle_its_lock_is_reached_as_before(stick: Stick) {
    let (mut bench, network, mut lock) = Bench::joined(stick).await;
    bench.dongle.unplug(Duration::from_secs(30));
    let down = |event: &Event| matches!(event, Event::State(State::Down(_))).then_some(());
    bench.until("the port is gone", SOON, down).await;
    assert_eq!(bench.send(&lock, 30).await, Outcome::Failed(Failure::Down));
    assert_eq!(bench.up(LONG).await, network);
    bench.deliver(&mut lock, 31).await;
    let traffic = bench.traffic();
    assert!((traffic.formed, traffic.resumed) == (1, 1), "{traffic:?}");
}

async fn a_lock_joins_with_its_install_code_and_tunnel_frames_go_both_ways(stick: Stick) {
    let (mut bench, _, mut lock) = Bench::joined(stick).await;
    let hello = |event: &Event| match event {
        Event::Received(received) if received.cluster == Tunnel::TEST.cluster => {
            Some(Tunnel::TEST.parse_from_lock(&received.payload).unwrap().len())
        }
        _ => None,
    };
    let length = bench.until("the agent says hello", SOON, hello).await;
    assert!((1..=60).contains(&length));
    assert_eq!(bench.send(&lock, 60).await, Outcome::Acknowledged);
    heard(&mut lock, 60).await;
}

async fn a_lock_does_not_join_with_the_install_code_of_another(stick: Stick) {
    let (mut bench, _) = Bench::formed(stick).await;
    let (lock, other) = (bench.lock(0), bench.lock(1));
    let eui = lock.label().eui;
    bench.admit(&lock, other.label().code.clone()).await;
    let failed = |event: &Event| match event {
        Event::JoinFailed { eui: who, reason } if *who == eui => Some(reason.clone()),
        Event::Joined { .. } => panic!("{event:?}"),
        _ => None,
    };
    assert_eq!(bench.until("the join fails", LONG, failed).await, JoinFailure::Keys);
    assert!(!bench.dongle.with(|ncp, now| ncp.is_open(now)), "the network is closed again");
}

async fn a_renumbered_lock_is_reached_as_before(stick: Stick) {
    let (mut bench, _, mut lock) = Bench::joined(stick).await;
    bench.deliver(&mut lock, 40).await;
    let eui = lock.label().eui;
    bench.dongle.with(|ncp, _| ncp.renumber(eui));
    let rejoined =
        |event: &Event| matches!(event, Event::Rejoined { eui: who, .. } if *who == eui).then_some(());
    bench.until("the lock is back", SOON, rejoined).await;
    assert_eq!(bench.send(&lock, 41).await, Outcome::Acknowledged);
    heard(&mut lock, 41).await;
    // And what it says is known to be its: its radio says a frame that the agent sends when it is touched.
    lock.lock().touch();
    let from_it = |event: &Event| matches!(event, Event::Received(frame) if frame.eui == eui).then_some(());
    bench.until("the lock is heard", SOON, from_it).await;
}

/// What is done to a dongle, and whether the network is down for a while then.
type Fault = (&'static str, fn(&Dongle), bool);

/// After the worst of them: the link counts as dead after eight seconds, a command without an answer after twelve.
const BACK: Duration = Duration::from_secs(20);

async fn after_every_fault_traffic_goes_on_and_nothing_is_formed_anew(stick: Stick) {
    let faults: [Fault; 9] = [
        ("a lost frame to the dongle", |dongle| dongle.lose(Direction::ToNcp, 1), false),
        ("a lost frame to the host", |dongle| dongle.lose(Direction::ToHost, 1), false),
        ("a bit error to the dongle", |dongle| dongle.turn_bit(Direction::ToNcp, 1), false),
        ("a bit error to the host", |dongle| dongle.turn_bit(Direction::ToHost, 1), false),
        ("a short stall", |dongle| dongle.stall(Duration::from_millis(1_500)), false),
        ("a stall", |dongle| dongle.stall(Duration::from_secs(5)), true),
        ("a reset", Dongle::reset, true),
        ("power gone in a packet", Dongle::black_out, true),
        ("an unplugging", |dongle| dongle.unplug(Duration::from_millis(1_500)), true),
    ];
    let (mut bench, network, mut lock) = Bench::joined(stick).await;
    bench.deliver(&mut lock, 20).await;
    for (number, (name, fault, resumes)) in faults.iter().enumerate() {
        let before = bench.traffic();
        let begin = Instant::now();
        fault(&bench.dongle);
        bench.deliver(&mut lock, 21 + number).await;
        assert!(begin.elapsed() < BACK, "{name}: {:?}", begin.elapsed());
        println!("{stick:?}, {name}: delivered after {:?}", begin.elapsed());
        let after = bench.traffic();
        assert_eq!(after.formed, 1, "{name}");
        assert_eq!(after.resumed > before.resumed, *resumes, "{name}: {before:?} {after:?}");
        assert_eq!(bench.dongle.with(|ncp, _| ncp.nvram().network()), Some(network), "{name}");
    }
}

async fn on_a_bad_wire_every_frame_has_one_end_and_what_is_acknowledged_was_heard(stick: Stick) {
    let (mut bench, _, mut lock) = Bench::joined(stick).await;
    bench.dongle.set_faults(Faults { lost: 0.001, bit_errors: 0.001 });
    let mut frames = 0;
    // As many as it takes: how the port cuts its bytes decides on what the seed's faults fall.
    while frames < 25 || bench.dongle.damage().lost < 3 || bench.dongle.damage().turned < 3 {
        bench.deliver(&mut lock, 10 + frames % 50).await;
        frames += 1;
        assert!(frames < 500, "the wire is not bad: {:?}", bench.dongle.damage());
    }
    bench.dongle.set_faults(Faults::default());
    let (traffic, damage) = (bench.traffic(), bench.dongle.damage());
    println!("{frames} frames, {traffic:?} {damage:?}");
    assert_eq!(traffic.formed, 1);
}

async fn the_coordinator_is_asked_like_its_devices_and_is_not_sent_away(stick: Stick) {
    let (mut bench, network, lock) = Bench::joined(stick).await;
    for (eui, sleepy, neighbours) in [(network.coordinator, false, Some(1)), (lock.label().eui, true, None)] {
        let Ok(Answer::Node(node)) = bench.ask(eui, Question::Node).await else {
            panic!("no node descriptor")
        };
        assert_eq!(node.is_sleepy(), sleepy);
        assert_eq!(bench.ask(eui, Question::Endpoints).await, Ok(Answer::Endpoints(vec![1])));
        let endpoint = bench.ask(eui, Question::Endpoint(1)).await;
        assert!(matches!(endpoint, Ok(Answer::Endpoint(endpoint)) if endpoint.profile == 0x0104));
        let found = match bench.ask(eui, Question::Neighbours { start: 0 }).await {
            Ok(Answer::Neighbours { total, list }) => Some((total, list.first().map(|one| one.eui))),
            _ => None,
        };
        assert_eq!(found, neighbours.map(|total| (total, Some(lock.label().eui))));
    }
    let refused = bench.ask(network.coordinator, Question::Leave).await;
    assert!(matches!(refused, Err(Failure::Refused(_))), "{refused:?}");
    assert_eq!(bench.dongle.with(|ncp, _| ncp.nvram().network()), Some(network));
}
