//! The host against the scripted double: start-up, faults, joins; [frames] have a file of their own.

mod backups;
mod driver;
mod frames;
pub(crate) mod ncp;
mod port;

use super::*;
use crate::coordinator::{Answer, Frame, JoinFailure, Plan, Question, Received};
use crate::types::{InstallCode, Key};
use crate::zboss::call::{ApsAddress, ApsIndication, policy, tx};
use bytes::Bytes;
use ncp::{Bench, NCP, ScriptedNcp, device};

const OURS: Network = Network {
    coordinator: NCP,
    extended_pan: Eui64([0, 0x12, 0x4B, 0, 0xAA, 0xBB, 0xCC, 0xDD]),
    pan: 0x1A62,
    channel: 15,
};
const NEIGHBOURS: Network = Network { extended_pan: Eui64([9; 8]), ..OURS };

fn plan() -> Plan {
    Plan { channels: 1 << 20, extended_pan: OURS.extended_pan, pan: Some(0x4321), key: Key([7; 16]) }
}

fn up() -> Bench {
    let mut bench = Bench::opened(ScriptedNcp::new(Some(OURS)), Some(OURS));
    assert_eq!(bench.states(), vec![State::Starting, State::Up(OURS)]);
    bench.ncp.asked.clear();
    bench
}

fn code() -> InstallCode {
    InstallCode::new(&hex::decode("83fed3407a939723a5c639b26916d505c3b5").unwrap()).unwrap()
}

fn frame(handle: u64, nwk: u16, deadline: Millis) -> Frame {
    let payload = Bytes::from_static(b"sealed");
    Frame {
        handle,
        eui: device(nwk),
        profile: 0x0104,
        cluster: 0xFC7C,
        dst_endpoint: 1,
        src_endpoint: 1,
        payload,
        deadline,
        acknowledge: true,
        urgent: false,
    }
}

fn heard(nwk: u16, payload: &[u8]) -> Indication {
    let frame = ApsIndication {
        frame_control: 0,
        src: NwkAddr(nwk),
        dst: NwkAddr(0),
        group: 0,
        dst_endpoint: 1,
        src_endpoint: 1,
        cluster: 0xFC7C,
        profile: 0x0104,
        counter: 1,
        mac: (nwk, 0),
        lqi: 200,
        rssi: -55,
        key: 0,
        payload: payload.to_vec(),
    };
    Indication::ApsdeData { frame }
}

fn outcomes(events: Vec<Event>) -> Vec<(u64, Outcome)> {
    let outcomes = events.into_iter().filter_map(|event| match event {
        Event::Outcome { handle, outcome } => Some((handle, outcome)),
        _ => None,
    });
    outcomes.collect()
}

// Start-up.

#[test]
fn what_the_dongle_remembers_is_resumed_before_anything_is_set() {
    let mut bench = Bench::opened(ScriptedNcp::new(Some(OURS)), Some(OURS));
    assert_eq!(bench.states(), vec![State::Starting, State::Up(OURS)]);
    let calls: Vec<u16> = bench.ncp.asked.iter().map(Request::call).collect();
    let resumed = calls.iter().position(|call| *call == 0x041D).unwrap();
    let reads = [0x0001, 0x0004, 0x0014];
    assert!(calls[..resumed].iter().all(|call| reads.contains(call)), "{calls:04x?}");
    assert_eq!((bench.ncp.times(0x0401), bench.ncp.times(0x0002), bench.ncp.times(0x0030)), (0, 0, 0));
    let policies = [(policy::UNIQUE_LINK_KEY, 1), (policy::INSTALL_CODE, 1), (policy::INSECURE_JOIN, 0)];
    assert!(policies.iter().all(|(policy, value)| bench.ncp.policies.get(policy) == Some(value)));
}

#[test]
fn another_network_than_ours_is_left_as_it_is_until_somebody_decides() {
    for expected in [Some(OURS), None] {
        let mut bench = Bench::opened(ScriptedNcp::new(Some(NEIGHBOURS)), expected);
        assert_eq!(bench.states(), vec![State::Starting, State::Foreign(NEIGHBOURS)]);
        bench.order(Order::Form { plan: plan(), replace: false });
        bench.order(Order::Admit { eui: device(1), code: code(), seconds: 60 });
        bench.run(300_000);
        let changes = bench.ncp.asked.iter().filter(|request| {
            !matches!(request.call(), 0x0001 | 0x0004 | 0x0008 | 0x0009 | 0x000B | 0x0014 | 0x0023 | 0x041D)
        });
        assert_eq!(changes.collect::<Vec<_>>(), Vec::<&Request>::new());
        assert_eq!(bench.ncp.nvram.network, Some(NEIGHBOURS));
        let interrupted = JoinFailure::Interrupted;
        assert!(matches!(
            &bench.events()[..],
            [Event::Formed(Err(_)), Event::JoinFailed { reason, .. }] if *reason == interrupted
        ));
        bench.order(Order::Adopt);
        bench.run(1_000);
        assert!(bench.events().contains(&Event::State(State::Up(NEIGHBOURS))));
    }
}

#[test]
fn a_blank_dongle_waits_for_the_order_to_form_even_when_a_network_is_expected() {
    for expected in [Some(OURS), None] {
        let mut bench = Bench::opened(ScriptedNcp::new(None), expected);
        bench.run(300_000);
        assert_eq!(bench.states(), vec![State::Starting, State::Unformed]);
        assert_eq!(bench.ncp.times(0x0401), 0);
        bench.order(Order::Form { plan: plan(), replace: false });
        bench.run(2_000);
        let formed = Network { pan: 0x4321, channel: 20, ..OURS };
        let events = bench.events();
        let position = |event: Event| events.iter().position(|e| *e == event).unwrap();
        assert!(position(Event::Formed(Ok(formed))) < position(Event::State(State::Up(formed))));
        assert_eq!(bench.ncp.nvram.key, Some(Key([7; 16])));
        let calls: Vec<u16> = bench.ncp.asked.iter().map(Request::call).collect();
        let at = |call: u16| calls.iter().rposition(|c| *c == call).unwrap();
        assert!(at(0x0401) < at(0x000A), "the PAN id is set after the formation");
        assert!(
            calls.iter().position(|c| *c == 0x0032).unwrap() < at(0x0401),
            "policies before the formation"
        );
        // The order is used up: after a restart there is nothing to form.
        bench.ncp.restart(0);
        bench.run(2_000);
        assert_eq!(bench.events(), vec![Event::State(State::Starting), Event::State(State::Up(formed))]);
        assert_eq!(bench.ncp.times(0x0401), 1);
    }
}

#[test]
fn a_network_that_runs_is_replaced_only_by_an_order_that_says_so() {
    let mut bench = up();
    bench.order(Order::Form { plan: plan(), replace: false });
    assert!(matches!(bench.events()[..], [Event::Formed(Err(_))]));
    assert_eq!(bench.ncp.asked, vec![]);
    bench.order(Order::Form { plan: plan(), replace: true });
    bench.run(2_000);
    assert_eq!(bench.ncp.nvram.network.unwrap().pan, 0x4321);
}

/// The dongle goes away from USB while it resets, and another one is plugged in.
#[test]
fn a_formation_goes_on_after_the_port_came_back_but_never_over_another_network() {
    for (instead, forms) in [(None, true), (Some(NEIGHBOURS), false)] {
        let mut bench = Bench::opened(ScriptedNcp::new(None), None);
        bench.ncp.wakes = false;
        bench.order(Order::Form { plan: plan(), replace: false });
        bench.host.handle_close("unplugged");
        bench.run(3_000);
        bench.ncp = ScriptedNcp::new(instead);
        bench.host.handle_open(bench.now);
        bench.run(3_000);
        let events = bench.events();
        assert_eq!(events.iter().any(|event| matches!(event, Event::Formed(Ok(_)))), forms);
        assert_eq!(bench.ncp.times(0x0401) > 0, forms);
        assert_eq!(events.contains(&Event::State(State::Foreign(NEIGHBOURS))), !forms);
    }
}

#[test]
fn a_formation_that_waited_too_long_for_its_port_is_given_up() {
    let mut bench = Bench::opened(ScriptedNcp::new(None), None);
    bench.ncp.wakes = false;
    bench.order(Order::Form { plan: plan(), replace: false });
    bench.host.handle_close("unplugged");
    bench.run(120_000);
    bench.ncp = ScriptedNcp::new(None);
    bench.host.handle_open(bench.now);
    bench.run(3_000);
    assert_eq!(bench.ncp.times(0x0401), 0);
    assert!(bench.events().iter().any(|event| matches!(event, Event::Formed(Err(_)))));
}

#[test]
fn a_dongle_that_will_not_require_install_codes_carries_nothing() {
    let mut ncp = ScriptedNcp::new(Some(OURS));
    ncp.refuses.insert(0x0032, Status { category: 0, code: 1 });
    let mut bench = Bench::opened(ncp, Some(OURS));
    let states = bench.states();
    assert!(
        matches!(&states[..], [State::Starting, State::Down(why)] if why.contains("0x0032")),
        "{states:?}"
    );
    bench.ncp.refuses.clear();
    bench.run(62_000);
    assert_eq!(bench.states().last(), Some(&State::Up(OURS)));
}

// Faults.

#[test]
fn a_dongle_that_restarts_is_resumed_and_what_it_had_is_accounted_for() {
    let mut bench = up();
    bench.order(Order::Send(frame(1, 0x1001, 60_000)));
    assert_eq!(bench.ncp.air.len(), 1);
    bench.ncp.restart(0);
    bench.run(1_000);
    let events = bench.events();
    assert!(events.contains(&Event::Outcome { handle: 1, outcome: Outcome::Failed(Failure::Unknown) }));
    assert_eq!(events.last(), Some(&Event::State(State::Up(OURS))));
    assert_eq!(bench.ncp.policies.get(&policy::INSTALL_CODE), Some(&1), "policies are set again");
    assert_eq!(bench.ncp.times(0x0401), 0);
}

#[test]
fn a_silent_dongle_is_asked_then_reset_then_resumed() {
    let mut bench = up();
    bench.run(31_000);
    assert_eq!(bench.ncp.times(0x0014), 1, "a sign of life after 30 s");
    assert_eq!(bench.states(), vec![]);
    bench.ncp.ignores = vec![0x0014];
    bench.run(38_000);
    assert_eq!(
        bench.ncp.asked.iter().filter(|r| **r == Request::NcpReset { option: reset::KEEP }).count(),
        1
    );
    assert_eq!(bench.states().last(), Some(&State::Up(OURS)));
}

#[test]
fn a_dongle_that_lost_its_network_unheard_is_resumed() {
    let mut bench = up();
    bench.ncp.joined = false;
    bench.run(32_000);
    assert!(bench.ncp.joined);
    assert_eq!(bench.states(), vec![State::Starting, State::Up(OURS)]);
}

#[test]
fn a_dead_dongle_makes_the_port_be_opened_again_ever_more_rarely() {
    let mut bench = up();
    bench.ncp.stalled = true;
    let mut opened = Vec::new();
    for _ in 0..1_200 {
        bench.run(500);
        if bench.host.wants_reopen() {
            opened.push(bench.now);
            bench.host.handle_close("reopening");
            bench.host.handle_open(bench.now);
        }
    }
    assert!(bench.states().iter().any(|state| matches!(state, State::Down(_))));
    let gaps: Vec<_> = opened.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.is_sorted() && *gaps.last().unwrap() <= 50_000 && gaps.len() > 8, "{gaps:?}");
    bench.ncp = ScriptedNcp::new(Some(OURS));
    bench.run(60_000);
    if bench.host.wants_reopen() {
        bench.host.handle_close("reopening");
        bench.host.handle_open(bench.now);
        bench.run(2_000);
    }
    assert_eq!(bench.states().last(), Some(&State::Up(OURS)));
    assert_eq!(bench.ncp.times(0x0401), 0, "nothing was formed anew");
}

#[test]
fn with_one_frame_in_seven_lost_everything_still_works() {
    let mut bench = Bench::new(ScriptedNcp::new(Some(OURS)), Some(OURS));
    bench.loses = Some(7);
    bench.host.handle_open(bench.now);
    bench.run(40_000);
    assert_eq!(bench.states(), vec![State::Starting, State::Up(OURS)]);
    for handle in 0..20 {
        bench.order(Order::Send(frame(handle, 0x1001, bench.now + 10_000)));
        bench.run(2_000);
        let (tsn, _) = bench.ncp.air.pop_front().unwrap();
        assert!(bench.ncp.air.is_empty(), "each once");
        bench.ncp.ended(tsn, Status::OK);
        bench.run(2_000);
    }
    let expected: Vec<_> = (0..20).map(|handle| (handle, Outcome::Acknowledged)).collect();
    assert_eq!(outcomes(bench.events()), expected);
}

// Joins.

/// Permits in the order in which they were asked: where, seconds.
fn permits(bench: &mut Bench) -> Vec<(u16, u8)> {
    let asked = std::mem::take(&mut bench.ncp.asked);
    let permits = asked.into_iter().filter_map(|request| match request {
        Request::PermitJoiningReq { dst, seconds, .. } => Some((dst.0, seconds)),
        _ => None,
    });
    permits.collect()
}

#[test]
fn a_device_joins_with_its_install_code_and_the_network_closes_behind_it() {
    let mut bench = up();
    let lock = device(0x1001);
    bench.order(Order::Admit { eui: lock, code: code(), seconds: 255 });
    assert_eq!(bench.ncp.codes, vec![lock]);
    assert_eq!(bench.events(), vec![Event::Open(true)]);
    assert_eq!(permits(&mut bench), vec![(0, 254), (0xFFFC, 254)], "never for ever");
    bench.say(&Indication::DeviceUpdate { eui: lock, nwk: NwkAddr(0x1001), status: 1 });
    assert_eq!(bench.events(), vec![Event::Open(false)]);
    assert_eq!(permits(&mut bench), vec![(0, 0), (0xFFFC, 0)]);
    bench.say(&Indication::DeviceAuthorised { eui: lock, nwk: NwkAddr(0x1001), kind: 1, status: 0 });
    assert_eq!(bench.events(), vec![Event::Joined { eui: lock, nwk: NwkAddr(0x1001) }]);
    bench.run(300_000);
    assert_eq!((bench.events(), permits(&mut bench)), (vec![], vec![]));
}

#[test]
fn whoever_of_the_admitted_comes_first_is_let_in_and_they_join_one_after_the_other() {
    let mut bench = up();
    let (first, second) = (device(0x1001), device(0x1002));
    bench.order(Order::Admit { eui: first, code: code(), seconds: 60 });
    bench.order(Order::Admit { eui: second, code: code(), seconds: 60 });
    assert_eq!((bench.ncp.codes.clone(), bench.events()), (vec![first, second], vec![Event::Open(true)]));
    // Of a third, the dongle has the code from before.
    for eui in [device(0x1003), second] {
        let nwk = NwkAddr(0x2000);
        bench.say(&Indication::DeviceUpdate { eui, nwk, status: 1 });
        bench.say(&Indication::DeviceUpdate { eui: first, nwk, status: 1 });
        assert_eq!(bench.events(), vec![Event::Open(false)]);
        bench.say(&Indication::DeviceAuthorised { eui, nwk, kind: 1, status: 0 });
        assert_eq!(bench.events(), vec![Event::Joined { eui, nwk }, Event::Open(true)]);
    }
    bench.run(61_000);
    let silent = Event::JoinFailed { eui: first, reason: JoinFailure::Silent };
    assert_eq!(bench.events(), vec![silent, Event::Open(false)]);
    assert_eq!(bench.ncp.codes, vec![second], "the first one's code is forgotten");
}

#[test]
fn without_a_link_key_of_its_own_a_device_is_sent_away() {
    let mut bench = up();
    let lock = device(0x1001);
    bench.order(Order::Admit { eui: lock, code: code(), seconds: 60 });
    bench.say(&Indication::DeviceUpdate { eui: lock, nwk: NwkAddr(0x1001), status: 1 });
    bench.events();
    bench.say(&Indication::DeviceAuthorised { eui: lock, nwk: NwkAddr(0x1001), kind: 0, status: 0 });
    assert_eq!(bench.events(), vec![Event::JoinFailed { eui: lock, reason: JoinFailure::NoUniqueKey }]);
    assert_eq!(bench.ncp.times(0x020A), 1);
    bench.order(Order::Admit { eui: lock, code: code(), seconds: 60 });
    bench.say(&Indication::DeviceUpdate { eui: lock, nwk: NwkAddr(0x1001), status: 1 });
    bench.events();
    bench.say(&Indication::DeviceAuthorised { eui: lock, nwk: NwkAddr(0x1001), kind: 1, status: 2 });
    assert_eq!(bench.events(), vec![Event::JoinFailed { eui: lock, reason: JoinFailure::Keys }]);
}

#[test]
fn a_restart_in_the_middle_of_a_join_is_told_and_the_next_admission_still_has_its_turn() {
    let mut bench = up();
    bench.order(Order::Admit { eui: device(1), code: code(), seconds: 60 });
    bench.order(Order::Admit { eui: device(2), code: code(), seconds: 60 });
    bench.events();
    bench.ncp.restart(0);
    bench.run(2_000);
    let events = bench.events();
    for n in [1, 2] {
        assert!(events.contains(&Event::JoinFailed { eui: device(n), reason: JoinFailure::Interrupted }));
    }
    bench.order(Order::Admit { eui: device(2), code: code(), seconds: 60 });
    assert_eq!(bench.events(), vec![Event::Open(true)]);
}

#[test]
fn many_joins_do_not_flood_the_network() {
    let mut bench = up();
    let start = bench.now;
    for n in 0..40 {
        bench.order(Order::Admit { eui: device(n), code: code(), seconds: 254 });
    }
    assert_eq!(bench.events(), vec![Event::Open(true)]);
    for n in 0..40 {
        bench.say(&Indication::DeviceUpdate { eui: device(n), nwk: NwkAddr(n), status: 1 });
        bench.say(&Indication::DeviceAuthorised { eui: device(n), nwk: NwkAddr(n), kind: 1, status: 0 });
        bench.run(100);
    }
    assert_eq!(bench.events().iter().filter(|event| matches!(event, Event::Joined { .. })).count(), 40);
    bench.run(10_000);
    let permits = permits(&mut bench);
    let here = permits.iter().filter(|(dst, _)| *dst == 0).count();
    let floods: Vec<u8> =
        permits.iter().filter(|(dst, _)| *dst == 0xFFFC).map(|(_, seconds)| *seconds).collect();
    let took = bench.now - start;
    let most = 4 + took / 1_500;
    assert!(here == 80 && floods.len() as u64 <= most, "{here} here, {floods:?} broadcast in {took} ms");
    assert_eq!(floods.last(), Some(&0), "and routers are closed in the end");
}

#[test]
fn what_does_not_fit_into_the_dongle_waits_and_a_code_that_it_never_takes_is_told() {
    let mut bench = up();
    bench.order(Order::Admit { eui: device(1), code: code(), seconds: 60 });
    bench.order(Order::Admit { eui: device(2), code: code(), seconds: 60 });
    bench.ncp.refuses.insert(0x0502, Status { category: 0, code: 14 });
    bench.order(Order::Admit { eui: device(3), code: code(), seconds: 60 });
    let busy = Event::JoinFailed { eui: device(3), reason: JoinFailure::Busy };
    assert_eq!(bench.events(), vec![Event::Open(true), busy]);
    bench.run(61_000);
    bench.events();
    bench.order(Order::Admit { eui: device(3), code: code(), seconds: 60 });
    assert!(matches!(&bench.events()[..], [Event::JoinFailed { reason: JoinFailure::Code(_), .. }]));
}

#[test]
fn what_devices_do_later_is_told() {
    let mut bench = up();
    let (eui, nwk) = (device(0x1001), NwkAddr(0x2002));
    bench.say(&Indication::DeviceUpdate { eui, nwk, status: 0 });
    bench.say(&Indication::Leave { eui, rejoin: 1 });
    bench.say(&Indication::Leave { eui, rejoin: 0 });
    assert_eq!(bench.events(), vec![Event::Rejoined { eui, nwk }, Event::Left { eui }]);
}
