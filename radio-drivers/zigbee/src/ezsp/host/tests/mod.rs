//! The host against the scripted double: start-up, faults, joins; frames and backups have files of their own.

mod backups;
mod bench;
mod fragments;
mod frames;
pub(crate) mod ncp;
mod port;

use super::*;
use crate::coordinator::{JoinFailure, Outcome, Plan};
use crate::ezsp::call::{Answer, Callback, INVALID_COMMAND, Incoming, Kind, Status, policy};
use crate::types::{InstallCode, Key};
use bench::Bench;
use ncp::{NCP, ScriptedNcp, device};

const OURS: Network = Network {
    coordinator: NCP,
    extended_pan: Eui64([0, 0x12, 0x4B, 0, 0xAA, 0xBB, 0xCC, 0xDD]),
    pan: 0x1A62,
    channel: 15,
};
const NEIGHBOURS: Network = Network { extended_pan: Eui64([9; 8]), ..OURS };
/// One of each layout.
const PROTOCOLS: [u8; 2] = [13, 16];

fn plan() -> Plan {
    Plan { channels: 1 << 20, extended_pan: OURS.extended_pan, pan: Some(0x4321), key: Key([7; 16]) }
}

fn up_in(protocol: u8) -> Bench {
    let mut bench = Bench::opened(ScriptedNcp::new(protocol, Some(OURS)), Some(OURS));
    assert_eq!(bench.states(), vec![State::Starting, State::Up(OURS)]);
    bench.ncp.told.clear();
    bench
}

fn up() -> Bench {
    up_in(13)
}

fn code() -> InstallCode {
    InstallCode::new(&hex::decode("83fed3407a939723a5c639b26916d505c3b5").unwrap()).unwrap()
}

fn joins(nwk: u16, update: u8, decision: u8) -> Callback {
    Callback::TrustCentreJoin { nwk: NwkAddr(nwk), eui: device(nwk), update, decision, parent: NwkAddr(0) }
}

fn proves(nwk: u16, status: u8) -> Callback {
    Callback::KeyEstablishment { eui: device(nwk), status }
}

/// A ZDO frame from a device.
fn zdo_from(nwk: u16, cluster: u16, asdu: &[u8]) -> Callback {
    let aps =
        ApsFrame { profile: 0, cluster, src_endpoint: 0, dst_endpoint: 0, options: 0, group: 0, sequence: 1 };
    let incoming =
        Incoming { kind: 0, aps, sender: NwkAddr(nwk), eui: None, lqi: 200, rssi: -55, payload: asdu.into() };
    Callback::IncomingMessage { incoming }
}

fn announces(nwk: u16) -> Callback {
    let eui: Vec<u8> = device(nwk).0.iter().rev().copied().collect();
    zdo_from(nwk, 0x0013, &[&[1][..], &nwk.to_le_bytes(), &eui, &[0x80]].concat())
}

// Start-up.

#[test]
fn what_the_dongle_remembers_is_resumed_and_nobody_may_join_before() {
    for protocol in [13, 14, 16, 17, 18, 19] {
        let mut bench = Bench::opened(ScriptedNcp::new(protocol, Some(OURS)), Some(OURS));
        assert_eq!(bench.states(), vec![State::Starting, State::Up(OURS)], "protocol {protocol}");
        let ids: Vec<u16> = bench.ncp.told.iter().map(Command::id).collect();
        let resumed = ids.iter().position(|id| *id == 0x0017).unwrap();
        // What it forgets at each reset, and nothing else.
        assert!(
            ids[..resumed].iter().all(|id| [0x0000, 0x0053, 0x0055, 0x0015, 0x0002].contains(id)),
            "{ids:04x?}"
        );
        let policies = [(0x00, policy::REJOINS), (0x05, policy::NEW_KEY), (0x06, policy::DENY)];
        assert!(policies.iter().all(|(policy, decision)| bench.ncp.policies.get(policy) == Some(decision)));
        for erases in [0x001E, 0x0020, 0x0077, 0x00B1, 0x0068, 0x0103] {
            assert_eq!(bench.ncp.times(erases), 0);
        }
    }
}

#[test]
fn another_network_than_ours_is_left_as_it_is_until_somebody_decides() {
    for expected in [Some(OURS), None] {
        let mut bench = Bench::opened(ScriptedNcp::new(13, Some(NEIGHBOURS)), expected);
        assert_eq!(bench.states(), vec![State::Starting, State::Foreign(NEIGHBOURS)]);
        bench.ncp.told.clear();
        bench.order(Order::Form { plan: plan(), replace: false });
        bench.order(Order::Admit { eui: device(1), code: code(), seconds: 60 });
        bench.order(Order::Backup);
        bench.run(300_000);
        assert_eq!(bench.ncp.told, vec![]);
        let events = bench.events();
        let [Event::Formed(Err(_)), Event::JoinFailed { reason, .. }, Event::BackedUp(Err(_))] = &events[..]
        else {
            panic!("{events:?}")
        };
        assert_eq!(*reason, JoinFailure::Interrupted);
        bench.order(Order::Adopt);
        bench.run(1_000);
        assert!(bench.events().contains(&Event::State(State::Up(NEIGHBOURS))));
    }
}

#[test]
fn a_blank_dongle_waits_for_the_order_to_form_even_when_a_network_is_expected() {
    for (protocol, expected) in PROTOCOLS.into_iter().zip([Some(OURS), None]) {
        let mut bench = Bench::opened(ScriptedNcp::new(protocol, None), expected);
        bench.run(300_000);
        assert_eq!(bench.states(), vec![State::Starting, State::Unformed]);
        assert_eq!(bench.ncp.times(0x001E), 0);
        bench.order(Order::Form { plan: plan(), replace: false });
        bench.run(3_000);
        let formed = Network { pan: 0x4321, channel: 20, ..OURS };
        let events = bench.events();
        let position = |event: Event| events.iter().position(|e| *e == event).unwrap();
        assert!(position(Event::Formed(Ok(formed))) < position(Event::State(State::Up(formed))));
        assert_eq!(bench.ncp.memory.key, Some(Key([7; 16])));
        // AES-128 of the label under the network key, calculated by pyca/cryptography.
        let (_, nobodys) = bench.ncp.memory.security.clone().unwrap();
        assert_eq!(hex::encode(nobodys.0), "2eb49bcd763fcf083bef75c1bde9e651");
        // The order is used up: after a restart there is nothing to form.
        bench.ncp.restart(2);
        bench.run(3_000);
        assert_eq!(bench.events(), vec![Event::State(State::Starting), Event::State(State::Up(formed))]);
        assert_eq!(bench.ncp.times(0x001E), 1);
    }
}

#[test]
fn a_network_that_runs_is_replaced_only_by_an_order_that_says_so() {
    let mut bench = up();
    bench.order(Order::Form { plan: plan(), replace: false });
    assert!(matches!(bench.events()[..], [Event::Formed(Err(_))]));
    assert_eq!(bench.ncp.told, vec![]);
    bench.order(Order::Form { plan: Plan { pan: None, ..plan() }, replace: true });
    bench.run(3_000);
    assert_eq!(bench.ncp.memory.network.as_ref().unwrap().channel, 20);
    assert!((1..0x4000).contains(&bench.ncp.memory.network.as_ref().unwrap().pan));
    assert!(matches!(bench.events().last(), Some(Event::State(State::Up(_)))));
}

/// The dongle goes away from USB while it resets, and another one is plugged in.
#[test]
fn a_formation_goes_on_after_the_port_came_back_but_never_over_another_network() {
    for (instead, forms) in [(None, true), (Some(NEIGHBOURS), false)] {
        let mut bench = Bench::opened(ScriptedNcp::new(13, None), None);
        bench.ncp.wakes = false;
        bench.order(Order::Form { plan: plan(), replace: false });
        bench.host.handle_close("unplugged");
        bench.run(3_000);
        bench.ncp = ScriptedNcp::new(13, instead);
        bench.host.handle_open(bench.now);
        bench.run(3_000);
        let events = bench.events();
        assert_eq!(events.iter().any(|event| matches!(event, Event::Formed(Ok(_)))), forms);
        assert_eq!(bench.ncp.times(0x001E) > 0, forms);
        assert_eq!(events.contains(&Event::State(State::Foreign(NEIGHBOURS))), !forms);
    }
}

#[test]
fn a_dongle_that_will_not_require_install_codes_carries_nothing() {
    let mut ncp = ScriptedNcp::new(16, Some(OURS));
    ncp.refuses.insert(0x0055, Status::INVALID_STATE);
    let mut bench = Bench::opened(ncp, Some(OURS));
    let states = bench.states();
    assert!(
        matches!(&states[..], [State::Starting, State::Down(why)] if why.contains("0x0055")),
        "{states:?}"
    );
    assert_eq!(bench.ncp.times(0x0017), 0, "nor does its network run");
    bench.ncp.refuses.clear();
    bench.run(62_000);
    assert_eq!(bench.states().last(), Some(&State::Up(OURS)));
}

#[test]
fn firmware_of_other_protocols_is_named_and_left_alone() {
    for protocol in [12, 20] {
        let mut bench = Bench::opened(ScriptedNcp::new(protocol, Some(OURS)), Some(OURS));
        let states = bench.states();
        let named = format!("EZSP {protocol}");
        assert!(
            matches!(&states[..], [State::Starting, State::Down(why)] if why.contains(&named)),
            "{states:?}"
        );
        assert_eq!(bench.ncp.told, vec![]);
    }
}

// Faults.

#[test]
fn a_dongle_that_restarts_is_resumed_and_what_it_had_is_accounted_for() {
    let mut bench = up();
    bench.ncp.known.insert(device(0x1001), NwkAddr(0x1001));
    bench.order(Order::Send(frames::frame(1, 0x1001, 60_000)));
    assert_eq!(bench.ncp.air.len(), 1);
    bench.ncp.restart(3);
    bench.run(2_000);
    let events = bench.events();
    assert!(events.contains(&Event::Outcome { handle: 1, outcome: Outcome::Failed(Failure::Unknown) }));
    assert_eq!(events.last(), Some(&Event::State(State::Up(OURS))));
    assert_eq!(bench.ncp.policies.get(&0), Some(&policy::REJOINS), "policies are set again");
    assert_eq!(bench.ncp.times(0x001E), 0);
}

/// Power fails in the middle of a frame: what follows has no flag before it and is no frame. Whatever number the link is at.
#[test]
fn a_dongle_whose_word_of_its_restart_is_lost_is_resumed_within_seconds() {
    for number in 0..8 {
        let mut bench = up();
        for _ in 0..number {
            bench.host.tell(Command::Nop {}, Purpose::Nothing);
            bench.run(100);
        }
        assert_eq!(bench.states(), []);
        bench.ncp.restart_unheard();
        bench.run(15_000);
        assert_eq!(bench.states().last(), Some(&State::Up(OURS)), "{number}");
        assert!(bench.ncp.joined);
    }
}

#[test]
fn a_dongle_that_says_it_is_out_of_order_is_reset_and_resumed() {
    let mut bench = up();
    bench.ncp.fail(0x51);
    bench.run(3_000);
    let states = bench.states();
    assert!(
        matches!(&states[..], [State::Down(why), State::Starting, State::Up(OURS)] if why.contains("0x51")),
        "{states:?}"
    );
}

#[test]
fn a_silent_dongle_is_asked_then_reset_then_resumed() {
    let mut bench = up();
    let resets = bench.ncp.resets;
    bench.run(31_000);
    assert_eq!(bench.ncp.times(0x0005), 1, "a sign of life after 30 s");
    assert_eq!(bench.states(), vec![]);
    bench.ncp.ignores.insert(0x0005);
    bench.run(45_000);
    assert_eq!(bench.ncp.resets, resets + 1);
    assert_eq!(bench.states().last(), Some(&State::Up(OURS)));
}

#[test]
fn a_stalled_dongle_is_reset_as_soon_as_it_acknowledges_nothing() {
    let mut bench = up();
    bench.ncp.stalled = true;
    bench.ncp.known.insert(device(0x1001), NwkAddr(0x1001));
    bench.order(Order::Send(frames::frame(1, 0x1001, bench.now + 60_000)));
    bench.run(8_500);
    assert!(matches!(&bench.states()[..], [State::Down(_), State::Starting]));
    bench.ncp.stalled = false;
    bench.run(6_000);
    assert_eq!(bench.states(), vec![State::Up(OURS)]);
    assert_eq!(bench.ncp.air.len(), 1, "the frame had time");
}

#[test]
fn a_dongle_that_lost_its_network_is_resumed() {
    let mut bench = up();
    bench.say(&Callback::StackStatus { status: Status::NETWORK_DOWN });
    bench.run(3_000);
    assert_eq!(bench.states().last(), Some(&State::Up(OURS)));
    assert_eq!(bench.ncp.times(0x001E), 0);
}

#[test]
fn a_dead_dongle_makes_the_port_be_opened_again_ever_more_rarely() {
    let mut bench = up();
    bench.ncp.stalled = true;
    let mut opened = Vec::new();
    for _ in 0..1_600 {
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
    bench.ncp = ScriptedNcp::new(13, Some(OURS));
    bench.run(60_000);
    if bench.host.wants_reopen() {
        bench.host.handle_close("reopening");
        bench.host.handle_open(bench.now);
        bench.run(2_000);
    }
    assert_eq!(bench.states().last(), Some(&State::Up(OURS)));
    assert_eq!(bench.ncp.times(0x001E), 0, "nothing was formed anew");
}

#[test]
fn with_one_frame_in_seven_lost_or_spoilt_everything_still_works() {
    for (loses, spoils) in [(Some(7), None), (None, Some(7))] {
        let mut bench = Bench::new(ScriptedNcp::new(16, Some(OURS)), Some(OURS));
        (bench.loses, bench.spoils) = (loses, spoils);
        bench.ncp.known.insert(device(0x1001), NwkAddr(0x1001));
        bench.host.handle_open(bench.now);
        bench.run(120_000);
        assert_eq!(bench.states(), vec![State::Starting, State::Up(OURS)]);
        for handle in 0..20 {
            bench.order(Order::Send(frames::frame(handle, 0x1001, bench.now + 30_000)));
            bench.run(12_000);
            let (tag, ..) = bench.ncp.air.pop_front().unwrap();
            assert!(bench.ncp.air.is_empty(), "each once");
            bench.ncp.sent(tag, Status::OK);
            bench.run(12_000);
        }
        let expected: Vec<_> =
            (0..20).map(|handle| Event::Outcome { handle, outcome: Outcome::Acknowledged }).collect();
        assert_eq!(bench.events(), expected);
    }
}

// Joins.

/// How the door moved: the policy and the seconds, in order.
fn doors(bench: &mut Bench) -> Vec<(u16, u8)> {
    let told = std::mem::take(&mut bench.ncp.told);
    let doors = told.into_iter().filter_map(|command| match command {
        Command::SetPolicy { policy: 0, decision } => Some((0x55, decision)),
        Command::PermitJoining { seconds } => Some((0x22, seconds)),
        _ => None,
    });
    doors.collect()
}

fn permits(bench: &mut Bench) -> Vec<u8> {
    let broadcasts = std::mem::take(&mut bench.ncp.broadcasts);
    let permits = broadcasts.into_iter().filter(|(dst, cluster, _)| (*dst, *cluster) == (0xFFFC, 0x0036));
    permits.map(|(_, _, asdu)| asdu[1]).collect()
}

#[test]
fn a_device_joins_with_its_install_code_and_the_network_closes_behind_it() {
    for protocol in PROTOCOLS {
        let mut bench = up_in(protocol);
        let lock = device(0x1001);
        bench.order(Order::Admit { eui: lock, code: code(), seconds: 255 });
        assert_eq!(bench.ncp.codes, [(lock, code().link_key())].into());
        assert_eq!(bench.events(), vec![Event::Open(true)]);
        assert_eq!(doors(&mut bench), vec![(0x55, 0x13), (0x22, 254)], "by install code, and never for ever");
        assert_eq!(permits(&mut bench), vec![254]);
        bench.say(&joins(0x1001, 1, 0));
        assert_eq!(bench.events(), vec![Event::Open(false)]);
        assert_eq!(doors(&mut bench), vec![(0x22, 0), (0x55, 0x02)]);
        assert_eq!(permits(&mut bench), vec![0]);
        bench.say(&announces(0x1001));
        bench.say(&proves(0x1001, 0x34));
        assert_eq!(bench.events(), vec![Event::Joined { eui: lock, nwk: NwkAddr(0x1001) }]);
        assert!(bench.ncp.codes.is_empty());
        bench.ncp.told.clear();
        bench.run(300_000);
        assert_eq!((bench.events(), doors(&mut bench), permits(&mut bench)), (vec![], vec![], vec![]));
    }
}

#[test]
fn whoever_of_the_admitted_comes_first_is_let_in_and_they_join_one_after_the_other() {
    let mut bench = up();
    let (first, second) = (device(0x1001), device(0x1002));
    bench.order(Order::Admit { eui: first, code: code(), seconds: 60 });
    bench.order(Order::Admit { eui: second, code: code(), seconds: 60 });
    assert_eq!((bench.ncp.codes.len(), bench.events()), (2, vec![Event::Open(true)]));
    // One without a code is denied; it changes nothing.
    bench.say(&joins(0x1009, 1, 2));
    assert_eq!(bench.events(), vec![]);
    for n in [0x1003, 0x1002] {
        bench.say(&joins(n, 1, 0));
        bench.say(&joins(0x1001, 1, 0));
        assert_eq!(bench.events(), vec![Event::Open(false)]);
        bench.say(&proves(n, 0x34));
        let joined = Event::Joined { eui: device(n), nwk: NwkAddr(n) };
        assert_eq!(bench.events(), vec![joined, Event::Open(true)]);
    }
    assert_eq!(
        bench.ncp.codes.keys().collect::<Vec<_>>(),
        vec![&first],
        "and the code of who is in is forgotten"
    );
    bench.run(61_000);
    let silent = Event::JoinFailed { eui: first, reason: JoinFailure::Silent };
    assert_eq!(bench.events(), vec![silent, Event::Open(false)]);
    assert!(bench.ncp.codes.is_empty());
}

#[test]
fn without_a_link_key_of_its_own_a_device_is_sent_away() {
    for told in [true, false] {
        let mut bench = up();
        let lock = device(0x1001);
        bench.order(Order::Admit { eui: lock, code: code(), seconds: 60 });
        bench.say(&joins(0x1001, 1, 0));
        bench.say(&announces(0x1001));
        bench.events();
        if told {
            bench.say(&proves(0x1001, 0x32));
        } else {
            bench.run(31_000);
        }
        assert_eq!(bench.events(), vec![Event::JoinFailed { eui: lock, reason: JoinFailure::NoUniqueKey }]);
        let (_, to, aps, asdu) = bench.ncp.air.pop_front().unwrap();
        assert_eq!((to, aps.cluster, asdu.len()), (NwkAddr(0x1001), 0x0034, 10));
    }
    // One whose code was another's never got the network key: there is nobody to be sent away.
    let mut bench = up();
    bench.order(Order::Admit { eui: device(0x1001), code: code(), seconds: 60 });
    bench.say(&joins(0x1001, 1, 0));
    bench.events();
    bench.run(31_000);
    let keys = Event::JoinFailed { eui: device(0x1001), reason: JoinFailure::Keys };
    assert_eq!((bench.events(), bench.ncp.air.len()), (vec![keys], 0));
}

#[test]
fn a_code_that_the_dongle_refuses_opens_nothing() {
    let mut bench = up();
    bench.ncp.refuses.insert(0x0111, Status::INVALID_STATE);
    bench.order(Order::Admit { eui: device(1), code: code(), seconds: 60 });
    assert!(
        matches!(&bench.events()[..], [Event::JoinFailed { reason: JoinFailure::Code(why), .. }] if why.contains("0x0111"))
    );
    assert_eq!((bench.ncp.open, doors(&mut bench)), (0, vec![]));
}

#[test]
fn a_restart_in_the_middle_of_a_join_is_told_and_the_next_admission_still_has_its_turn() {
    let mut bench = up();
    bench.order(Order::Admit { eui: device(1), code: code(), seconds: 60 });
    bench.order(Order::Admit { eui: device(2), code: code(), seconds: 60 });
    bench.events();
    bench.ncp.restart(2);
    bench.run(3_000);
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
    bench.events();
    for n in 0..40 {
        bench.say(&joins(n, 1, 0));
        bench.say(&proves(n, 0x34));
        bench.run(100);
    }
    assert_eq!(bench.events().iter().filter(|event| matches!(event, Event::Joined { .. })).count(), 40);
    bench.run(10_000);
    let floods = permits(&mut bench);
    let took = bench.now - start;
    let most = 4 + took / 1_500;
    assert!(floods.len() as u64 <= most, "{floods:?} broadcast in {took} ms");
    assert_eq!(floods.last(), Some(&0), "and routers are closed in the end");
}

#[test]
fn what_devices_do_later_is_told() {
    let mut bench = up();
    let (eui, nwk) = (device(0x1001), NwkAddr(0x1001));
    bench.say(&joins(0x1001, 0, 3));
    bench.say(&joins(0x1001, 3, 2));
    bench.say(&joins(0x1001, 2, 3));
    assert_eq!(bench.events(), vec![Event::Rejoined { eui, nwk }, Event::Left { eui }]);
}
