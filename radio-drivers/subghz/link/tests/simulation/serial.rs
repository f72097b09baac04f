//! Transparent serial modules: nobody hears whether the channel is free, and everything is late.

use std::collections::BTreeMap;

use cardea_subghz_link::*;

use crate::air::{Air, lock};
use crate::load::payload;

const LIFE: Micros = 10_000_000;
/// What firmware and platform take to answer.
const THINK: Micros = 12_000;
/// Quick on the UART and on the air, and slow of understanding: an answer may come before the module must be out.
const QUICK: Module =
    Module { baud: 115_200, air_bps: 236_000, packet: 80, overhead_us: 2_000, hold_us: 80_000 };

#[derive(Default)]
struct Talk {
    /// Commands whose answer came, µs after they were handed over.
    answered: Vec<Micros>,
    twice: usize,
}

impl Talk {
    fn line(&mut self, what: &str, of: usize) -> String {
        self.answered.sort_unstable();
        let at = |percent: usize| {
            let rank = (self.answered.len() * percent).div_ceil(100).max(1) - 1;
            self.answered.get(rank).map_or(0, |time| time / 1_000)
        };
        let share = 100.0 * self.answered.len() as f64 / of as f64;
        format!("| {what} | {share:.1} % of {of} | {} / {} / {} |", at(50), at(95), at(99))
    }
}

/// One command after the other to `locks` locks in turn, and the answer of each, as the agent and the platform above say them; what is lost is said
/// again when its outcome says so.
fn talk(seed: u64, module: Module, loss: f64, locks: usize, commands: u64) -> (Talk, Air) {
    let mut air = Air::new(seed, Profile::Serial(module), loss, locks, 500);
    air.join_all();
    air.run(20_000_000);
    air.gateway_events.clear();
    air.node_events.clear();
    let mut talk = Talk::default();
    let mut delivered: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for number in 0..commands {
        let index = 1 + (number as usize) % locks;
        let (start, now) = (air.now, air.local(0));
        let command = payload(index, number, 44);
        let said = payload(index, 1_000_000 + number, 32);
        air.deadlines.insert(command.clone(), now + LIFE);
        air.gateway_mut().send(now, number, &lock(index), &command, now + LIFE).unwrap();
        air.settle(0);
        let (mut answers, mut answer): (Option<Micros>, Option<Micros>) = (None, None);
        while air.now < start + LIFE + 2_000_000 && answer.is_none() {
            air.run(1_000);
            for (at, to, event) in std::mem::take(&mut air.node_events) {
                match event {
                    NodeEvent::Received { frame, quality } => {
                        assert_eq!(quality, Quality::default(), "a module tells no strength");
                        *delivered.entry(frame.to_vec()).or_default() += 1;
                        if frame[..] == command[..] {
                            answers = Some(at + THINK);
                        }
                    }
                    NodeEvent::Outcome { outcome: Outcome::Unheard, .. } if to == index => {
                        answers = delivered.contains_key(&command).then_some(at + THINK);
                    }
                    _ => {}
                }
            }
            if answers.take_if(|at| air.now >= *at).is_some() {
                let now = air.local(index);
                air.deadlines.insert(said.clone(), now + LIFE);
                let _ = air.node_mut(index).send(now, 0, &said, now + LIFE);
                air.settle(index);
            }
            for (at, event) in std::mem::take(&mut air.gateway_events) {
                if let GatewayEvent::Up { frame, .. } = event {
                    *delivered.entry(frame.to_vec()).or_default() += 1;
                    answer = (frame[..] == said[..]).then_some(at).or(answer);
                }
            }
        }
        talk.answered.extend(answer.map(|at| at - start));
        // An acknowledgement that was lost may have it said again, until it dies.
        let rest = if loss > 0.0 { (start + LIFE).saturating_sub(air.now) } else { 0 };
        air.run(3_000_000 + rest);
    }
    talk.twice = delivered.values().filter(|times| **times > 1).count();
    (talk, air)
}

#[test]
fn commands_and_their_answers_get_through_at_every_loss_without_carrier_sense() {
    for (name, module, patience) in [
        ("HC-12", Module::HC12, 2_000_000),
        ("E32", Module::E32, 4_000_000),
        ("HC-12 at 115 200 baud", QUICK, 1_500_000),
    ] {
        for (loss, least) in [(0.0, 1.0), (0.1, 0.98), (0.2, 0.96), (0.3, 0.90)] {
            let commands = 200;
            let (mut talk, air) = talk(21, module, loss, 2, commands);
            println!("{}", talk.line(&format!("{name}, {:.0} % loss", loss * 100.0), commands as usize));
            let share = talk.answered.len() as f64 / commands as f64;
            assert!(share >= least, "{name} {loss}: {share}");
            assert_eq!(talk.twice, 0, "delivered twice");
            if loss == 0.0 {
                // Nobody stands in the other's way: each frame once, and its acknowledgement.
                assert!(talk.answered.iter().all(|time| *time < patience), "{:?}", talk.answered.last());
                let data = air.recorded.iter().filter(|(_, _, frame)| {
                    Packet::parse(frame).is_ok_and(|packet| packet.header().kind == Kind::Data)
                });
                let said = data.count();
                println!("{name}: {said} frames for {commands} commands and answers");
                assert_eq!(said, 2 * commands as usize);
            }
        }
    }
}

/// A frame that waits behind another for its turn, or is refused by a slow module, is not on the air after its deadline (the air asserts it).
#[test]
fn what_a_slow_module_cannot_begin_in_time_is_not_begun() {
    for life in (100_000..1_500_000).step_by(50_000) {
        let module = Module::E32;
        let mut air = Air::new(22, Profile::Serial(module), 0.0, 1, 0);
        air.join_all();
        air.run(5_000_000);
        air.gateway_events.clear();
        air.recorded.clear();
        let (now, frame) = (air.local(0), payload(1, life, 48));
        air.deadlines.insert(frame.clone(), now + life);
        air.gateway_mut().send(now, 1, &lock(1), &frame, now + life).unwrap();
        air.settle(0);
        air.run(10_000_000);
        let outcome = air.gateway_events.iter().find_map(|(_, event)| match event {
            GatewayEvent::Outcome { outcome, .. } => Some(*outcome),
            _ => None,
        });
        let was_said = air.recorded.iter().any(|(_, index, frame)| {
            let packet = Packet::parse(frame).unwrap();
            *index == 0 && packet.header().kind == Kind::Data
        });
        let profile = Profile::Serial(module);
        let takes = profile.start() + profile.air_time_of_body(48);
        if life < takes {
            assert_eq!((outcome, was_said), (Some(Outcome::Expired), false), "life {life}");
        }
        if life > takes + profile.quiet() {
            assert_eq!((outcome, was_said), (Some(Outcome::Heard), true), "life {life}");
        }
    }
}

/// Six locks of one house that all speak at once, again and again: collisions cost time, and nothing is lost for ever.
#[test]
fn locks_that_do_not_hear_each_other_get_through() {
    let mut air = Air::new(23, Profile::Serial(Module::HC12), 0.1, 6, 0);
    air.join_all();
    air.run(20_000_000);
    let (rounds, mut sent, mut got) = (20, 0, 0);
    for round in 0..rounds {
        air.gateway_events.clear();
        for index in 1..=6 {
            let (now, frame) = (air.local(index), payload(index, round, 32));
            sent += usize::from(air.node_mut(index).send(now, 0, &frame, now + LIFE).is_ok());
            air.settle(index);
        }
        air.run(LIFE + 5_000_000);
        got +=
            air.gateway_events.iter().filter(|(_, event)| matches!(event, GatewayEvent::Up { .. })).count();
    }
    println!("{got} of {sent}");
    assert_eq!(sent, 6 * rounds as usize);
    assert!(got * 10 >= sent * 7, "{got} of {sent}");
}

#[test]
fn the_hours_budget_holds_with_a_slow_module_whose_beacons_are_few() {
    let mut air = Air::new(24, Profile::Serial(Module::E32), 0.0, 1, 0);
    air.join_all();
    air.ends[0].sent.clear();
    air.run(3_600_000_000);
    let spent: Micros = air.ends[0].sent.iter().map(|sent| sent.1).sum();
    println!("{} ms of beacons in an hour", spent / 1_000);
    assert!(spent > 0 && spent <= 3_600_000_000 / 200, "{spent}");
    // With nobody there who answers, until there is no more.
    air.loss = 1.0;
    let mut refused = 0;
    for round in 0..700 {
        let (now, frame) = (air.local(0), payload(1, round, 48));
        let _ = air.gateway_mut().send(now, round, &lock(1), &frame, now + 60_000_000);
        air.settle(0);
        air.run(8_000_000);
        let events = std::mem::take(&mut air.gateway_events);
        let no_airtime =
            |(_, event): &&(_, _)| matches!(event, GatewayEvent::Outcome { outcome: Outcome::NoAirtime, .. });
        refused += events.iter().filter(no_airtime).count();
    }
    let spent: Micros =
        air.ends[0].sent.iter().filter(|sent| sent.0 + 3_600_000_000 > air.now).map(|s| s.1).sum();
    println!("{} s on the air in the last hour, {refused} refused", spent / 1_000_000);
    assert!(refused > 0 && spent <= Region::Eu433.budget() && spent > Region::Eu433.budget() / 2);
}

fn data(air: &Air) -> usize {
    let is_data = |frame: &[u8]| Packet::parse(frame).is_ok_and(|packet| packet.header().kind == Kind::Data);
    air.recorded.iter().filter(|(_, _, frame)| is_data(frame)).count()
}

/// Both ends have the next frame ready when the last is heard: the one that acknowledged speaks, and the other waits for it.
#[test]
fn both_ends_talk_at_once_and_stay_out_of_each_others_way() {
    for module in [Module::HC12, QUICK, Module::E32] {
        let mut air = Air::new(25, Profile::Serial(module), 0.0, 1, 0);
        air.join_all();
        air.run(5_000_000);
        (air.gateway_events, air.node_events, air.recorded) = Default::default();
        let (each, mut over) = (60, [0, 0]);
        let (mut down, mut up) = (0, 0);
        let start = air.now;
        while over[0] < each || over[1] < each {
            assert!(air.now < start + 600_000_000, "{over:?} of {each}");
            let (now, frame) = (air.local(0), payload(1, down, 44));
            if down < each && air.gateway_mut().send(now, down, &lock(1), &frame, now + 60_000_000).is_ok() {
                down += 1;
                air.settle(0);
            }
            let (now, frame) = (air.local(1), payload(1, 1_000 + up, 44));
            if up < each && air.node_mut(1).send(now, 1, &frame, now + 60_000_000).is_ok() {
                up += 1;
                air.settle(1);
            }
            air.run(1_000);
            for (_, event) in std::mem::take(&mut air.gateway_events) {
                over[0] += u64::from(matches!(event, GatewayEvent::Outcome { .. }));
            }
            for (_, _, event) in std::mem::take(&mut air.node_events) {
                over[1] += u64::from(matches!(event, NodeEvent::Outcome { .. }));
            }
        }
        let said = data(&air);
        println!("{said} frames for {each} each way, {} ms a frame", (air.now - start) / 2_000 / each);
        // The first two meet, and whatever meets a beacon. If all met, each would be said twice at the least.
        assert!(said <= 2 * each as usize + 40, "{said}");
    }
}

#[test]
fn a_serial_lock_always_listens_whatever_it_says_of_its_interval() {
    let (_, mut air) = talk(26, Module::HC12, 0.0, 1, 1);
    for _ in 0..50 {
        air.run(37_000);
        let now = air.local(1);
        assert_eq!(air.node_mut(1).poll_listen(now), Listen::On { channel: 0 });
    }
    let locks: Vec<_> = air.gateway_mut().locks().collect();
    assert_eq!(locks, [(lock(1), true, 0)]);
}
