//! Fifty locks on one channel, with all that is between the relay and the air: driver, link layer, port, chips. What docs/433-link.md
//! says is printed by `cargo nextest run -p cardea-simulator --run-ignored only many:: --no-capture`.

use std::collections::{BTreeMap, BTreeSet};

use cardea_radio::{Command, Event};
use cardea_simulator::subghz::{Conditions, RadioEvent};
use cardea_subghz::Profile;
use cardea_subghz_link::Outcome;

use crate::net::{Net, SECOND, config, payload};

const LOCKS: usize = 50;
/// Of the quiet part.
const MINUTES: u64 = 2;
/// Of twenty frames each.
const BURSTS: usize = 10;

/// 50th, 95th and 99th of a hundred, ms.
fn percentiles(mut times: Vec<u64>) -> String {
    times.sort_unstable();
    let at = |percent: usize| {
        times.get((times.len() * percent).div_ceil(100).max(1) - 1).map_or(0, |us| us / 1_000)
    };
    format!("{} / {} / {}", at(50), at(95), at(99))
}

fn line(name: &str, what: &str, sent: usize, times: Vec<u64>) -> f64 {
    let ratio = times.len() as f64 / sent as f64;
    println!("| {name} | {what} | {:.2} % of {sent} | {} |", ratio * 100.0, percentiles(times));
    ratio
}

fn town(profile: Profile) -> Net {
    let mut net = Net::new(1, Conditions::default(), config(profile));
    for number in 1..=LOCKS {
        net.lock(number, number as u8);
        net.admit(number, number as u8);
    }
    for round in 0..40 {
        for index in 0..LOCKS {
            if !net.town.locks[index].is_joined() {
                net.join(index);
            }
        }
        net.run(12 * SECOND);
        if net.town.locks.iter().all(|lock| lock.is_joined()) {
            println!("all in after {} s, {} rounds", net.now() / SECOND, round + 1);
            net.run(5 * SECOND);
            return net;
        }
    }
    panic!("locks do not get in");
}

/// Sends up what is due, and gives the times from `send` to the relay.
fn upwards(net: &mut Net, agenda: &[(u64, usize)], number: &mut u64) -> Vec<u64> {
    let mut sent = BTreeMap::new();
    net.events.clear();
    for (at, index) in agenda {
        net.run(at.saturating_sub(net.now()));
        *number += 1;
        let (now, frame) = (net.now(), payload(*number, 32));
        if net.town.locks[*index].send(now, &frame, now + 10 * SECOND).is_ok() {
            sent.insert(frame, now);
        }
    }
    net.run(10 * SECOND);
    let mut times = Vec::new();
    for event in &net.events {
        // With the daemon's milliseconds.
        if let Event::Up(up) = event
            && let Some(at) = sent.remove(&up.frame.to_vec())
        {
            times.push(((up.at - 5_000) * 1_000).saturating_sub(at));
        }
    }
    times
}

/// The first twenty speak in the same microsecond, again and again.
fn bursts(net: &mut Net, how_often: usize, number: &mut u64) -> Vec<u64> {
    let mut times = Vec::new();
    for _ in 0..how_often {
        let now = net.now();
        let burst: Vec<_> = (0..20).map(|index| (now, index)).collect();
        times.extend(upwards(net, &burst, number));
    }
    times
}

/// Sends a command to each of these at once, and gives the times from the relay to the lock.
fn downwards(net: &mut Net, locks: std::ops::Range<usize>, number: &mut u64) -> Vec<u64> {
    net.heard.clear();
    let (begun, mut sent) = (net.now(), BTreeSet::new());
    for index in locks {
        *number += 1;
        let frame = payload(*number, 44);
        net.send(*number, index + 1, &frame, 10_000);
        sent.insert(frame);
    }
    net.run(12 * SECOND);
    let times = net.heard.iter().filter_map(|(at, _, event)| match event {
        RadioEvent::Received(frame) => sent.remove(frame).then(|| at - begun),
        _ => None,
    });
    times.collect()
}

fn figures(profile: Profile, loss: f64) -> f64 {
    let mut net = town(profile);
    net.town.air.set_conditions(Conditions { loss, ..Conditions::default() });
    let name = format!("{profile:?}, {:.0} % loss", loss * 100.0);
    let (mut number, start) = (0, net.now());
    let mut agenda: Vec<_> = (0..MINUTES)
        .flat_map(|minute| {
            (0..LOCKS).map(move |index| {
                (
                    start
                        + (minute * 60 + (index as u64 * 37 + minute * 11) % 60) * SECOND
                        + index as u64 * 17_321,
                    index,
                )
            })
        })
        .collect();
    agenda.sort_unstable();
    let times = upwards(&mut net, &agenda, &mut number);
    let ratio = line(&name, "50 locks, one a minute, up", agenda.len(), times);
    let times = bursts(&mut net, BURSTS, &mut number);
    line(&name, "20 locks at once, up", 20 * BURSTS, times);

    let mut times = Vec::new();
    for _ in 0..BURSTS {
        times.extend(downwards(&mut net, 20..40, &mut number));
    }
    line(&name, "20 commands at once, down", 20 * BURSTS, times);
    ratio
}

/// Eight frames of 48 bytes up, each after the other was heard, as the 350 bytes of a handshake take.
fn handshakes(loss: f64) {
    let mut net = Net::new(7, Conditions::default(), config(Profile::Standard));
    net.member(1);
    net.town.air.set_conditions(Conditions { loss, ..Conditions::default() });
    let (mut times, mut number) = (Vec::new(), 0);
    for _ in 0..200 {
        net.run(2 * SECOND);
        let begun = net.now();
        let mut heard = 0;
        while heard < 8 {
            number += 1;
            net.heard.clear();
            let (now, frame) = (net.now(), payload(number, 48));
            net.town.locks[0].send(now, &frame, now + 10 * SECOND).unwrap();
            let outcome = |net: &Net| {
                net.heard.iter().find_map(|(.., e)| {
                    if let RadioEvent::Outcome(outcome) = e { Some(*outcome) } else { None }
                })
            };
            assert!(net.until(30 * SECOND, |net| outcome(net).is_some()));
            heard += u32::from(outcome(&net) == Some(Outcome::Heard));
            assert!(net.now() - begun < 60 * SECOND, "a handshake takes more than a minute");
        }
        times.push(net.now() - begun);
    }
    println!("| {:.0} % loss | 200 of 200 | {} |", loss * 100.0, percentiles(times));
}

#[test]
#[ignore = "figures for the documents: minutes"]
fn fifty_locks() {
    for (profile, loss, least) in [
        (Profile::Standard, 0.0, 0.99),
        (Profile::Standard, 0.1, 0.98),
        (Profile::Standard, 0.2, 0.95),
        (Profile::Standard, 0.3, 0.90),
        (Profile::Slow, 0.0, 0.90),
        (Profile::Fast, 0.0, 0.99),
    ] {
        let ratio = figures(profile, loss);
        assert!(ratio >= least, "{profile:?} {loss}: {ratio}");
    }
}

#[test]
#[ignore = "figures for the documents: minutes"]
fn a_handshake() {
    for loss in [0.0, 0.1, 0.2, 0.3] {
        handshakes(loss);
    }
}

/// What CI holds of the above.
#[test]
fn fifty_locks_are_carried_and_one_is_removed() {
    let mut net = town(Profile::Standard);
    let (mut number, now) = (0, net.now());
    let agenda: Vec<_> = (0..LOCKS).map(|index| (now + index as u64 * SECOND / 5, index)).collect();
    let times = upwards(&mut net, &agenda, &mut number);
    assert!(line("Standard", "50 locks, five a second, up", LOCKS, times) >= 0.99);
    // All at once: whoever finds the channel busy, or was not heard, comes again at a time of his own.
    let times = bursts(&mut net, 3, &mut number);
    assert!(line("Standard", "20 locks at once, up", 60, times) >= 0.97);
    net.command(Command::Remove(crate::net::id(1)));
    net.run(SECOND);
    assert!(net.saw(|event| matches!(event, Event::Left(_))));
}
