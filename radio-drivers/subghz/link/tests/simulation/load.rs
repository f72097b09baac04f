use std::collections::BTreeMap;

use cardea_subghz_link::*;

use crate::air::{Air, lock};

const MINUTE: Micros = 60_000_000;
const LIFE: Micros = 10_000_000;

pub(crate) fn payload(index: usize, number: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0x11; len];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes[8] = index as u8;
    bytes
}

#[derive(Default)]
struct Tally {
    sent: BTreeMap<Vec<u8>, Micros>,
    latencies: Vec<Micros>,
    twice: usize,
}

impl Tally {
    fn arrived(&mut self, at: Micros, frame: &[u8]) {
        match self.sent.remove(frame) {
            Some(sent) => self.latencies.push(at - sent),
            None => self.twice += 1,
        }
    }

    fn line(&mut self, what: &str, total: usize) -> String {
        self.latencies.sort_unstable();
        let at = |percent: usize| {
            let rank = (self.latencies.len() * percent).div_ceil(100).max(1) - 1;
            self.latencies.get(rank).map_or(0, |l| l / 1_000)
        };
        let ratio = 100.0 * self.latencies.len() as f64 / total as f64;
        format!("{what} | {ratio:.2} % of {total} | {} / {} / {}", at(50), at(95), at(99))
    }
}

/// The most in any 3,600 s.
fn hour_of_air(sent: &[(Micros, Micros)]) -> Micros {
    let (mut first, mut spent, mut most) = (0, 0, 0);
    for (from, air) in sent {
        spent += air;
        while sent[first].0 + 3_600_000_000 <= *from {
            spent -= sent[first].1;
            first += 1;
        }
        most = most.max(spent);
    }
    most
}

/// Each lock sends once a minute, the gateway answers nothing; then 20 locks at once; then 20 commands at once.
fn figures(profile: Profile, loss: f64) -> (f64, String) {
    let mut air = Air::new(1, profile, loss, 50, profile.interval_ms());
    air.join_all();
    air.run(MINUTE);
    air.gateway_events.clear();
    air.node_events.clear();
    let (start, mut up, mut number) = (air.now, Tally::default(), 0_u64);
    let before: Vec<_> = air.ends.iter().map(|end| (end.sent.len(), end.receiving)).collect();
    let minutes = 5;
    let mut agenda: Vec<(Micros, usize)> = Vec::new();
    for minute in 0..minutes {
        for index in 1..=50 {
            agenda.push((start + minute * MINUTE + air.below(MINUTE), index));
        }
    }
    agenda.sort_unstable();
    let send = |air: &mut Air, up: &mut Tally, number: &mut u64, index: usize| {
        *number += 1;
        let (now, frame) = (air.local(index), payload(index, *number, 32));
        if air.node_mut(index).send(now, 0, &frame, now + LIFE).is_ok() {
            air.deadlines.insert(frame.clone(), now + LIFE);
            up.sent.insert(frame, air.now);
        }
        air.settle(index);
    };
    for (at, index) in agenda {
        let span = at.saturating_sub(air.now);
        air.run(span);
        send(&mut air, &mut up, &mut number, index);
    }
    air.run(LIFE);
    let collect = |air: &mut Air, tally: &mut Tally| {
        for (at, event) in std::mem::take(&mut air.gateway_events) {
            if let GatewayEvent::Up { frame, .. } = event {
                tally.arrived(at, &frame);
            }
        }
    };
    collect(&mut air, &mut up);
    let span = (air.now - start) as f64;
    let duty = |end: usize, air: &Air| {
        air.ends[end].sent[before[end].0..].iter().map(|s| s.1).sum::<Micros>() as f64 * 100.0 / span
    };
    let (gateway_duty, node_duty) = (duty(0, &air), (1..=50).map(|n| duty(n, &air)).fold(0.0, f64::max));
    let listening =
        (1..=50).map(|n| (air.ends[n].receiving - before[n].1) as f64 * 100.0 / span).sum::<f64>() / 50.0;

    let mut burst = Tally::default();
    for index in 1..=20 {
        send(&mut air, &mut burst, &mut number, index);
    }
    air.run(LIFE);
    collect(&mut air, &mut burst);

    let mut down = Tally::default();
    air.node_events.clear();
    let now = air.local(0);
    for index in 21..=40 {
        number += 1;
        let frame = payload(index, number, 44);
        air.deadlines.insert(frame.clone(), now + LIFE);
        air.gateway_mut().send(now, number, &lock(index), &frame, now + LIFE).unwrap();
        down.sent.insert(frame, air.now);
    }
    air.settle(0);
    air.run(LIFE + LIFE);
    for (at, _, event) in std::mem::take(&mut air.node_events) {
        if let NodeEvent::Received { frame, .. } = event {
            down.arrived(at, &frame);
        }
    }
    assert_eq!([up.twice, burst.twice, down.twice], [0; 3], "delivered twice");
    for end in &air.ends {
        assert!(hour_of_air(&end.sent) <= Region::Eu433.budget());
    }
    let ratio = up.latencies.len() as f64 / (50 * minutes) as f64;
    let name = format!("{profile:?}, {:.0} % loss", loss * 100.0);
    let table = [
        up.line(&format!("{name}: 50 locks, 1 a minute, up"), 50 * minutes as usize),
        burst.line(&format!("{name}: 20 locks at once, up"), 20),
        down.line(&format!("{name}: 20 commands at once, down"), 20),
        format!(
            "{name}: gateway on the air {gateway_duty:.2} %, busiest lock {node_duty:.3} %, a lock's receiver on {listening:.2} %"
        ),
    ];
    (ratio, table.map(|line| format!("| {line} |")).join("\n"))
}

#[test]
fn fifty_locks_are_carried_at_every_loss_within_the_duty_cycle() {
    for (profile, loss, least) in [
        (Profile::Standard, 0.0, 0.99),
        (Profile::Standard, 0.1, 0.98),
        (Profile::Standard, 0.2, 0.96),
        (Profile::Standard, 0.3, 0.92),
        (Profile::Slow, 0.0, 0.95),
        (Profile::Fast, 0.0, 0.99),
    ] {
        let (ratio, table) = figures(profile, loss);
        println!("{table}");
        assert!(ratio >= least, "{profile:?} {loss}: {ratio}");
    }
}

/// Eight frames of 48 bytes up, each after the other was heard or given up, as a handshake of 350 bytes takes.
#[test]
fn a_handshake_gets_through_at_every_loss() {
    for loss in [0.0, 0.1, 0.2, 0.3] {
        let mut times = Vec::new();
        let mut air = Air::new(7, Profile::Standard, loss, 1, 500);
        air.join_all();
        for round in 0..200 {
            air.run(2_000_000);
            let start = air.now;
            let mut number = 0;
            while number < 8 {
                let (now, frame) = (air.local(1), payload(1, round * 8 + number, 48));
                air.node_events.clear();
                air.node_mut(1).send(now, 0, &frame, now + LIFE).unwrap();
                air.settle(1);
                let outcome = loop {
                    air.run(500);
                    let mut events = std::mem::take(&mut air.node_events).into_iter();
                    if let Some(outcome) = events.find_map(|(_, _, event)| match event {
                        NodeEvent::Outcome { outcome, .. } => Some(outcome),
                        _ => None,
                    }) {
                        break outcome;
                    }
                };
                number += u64::from(outcome == Outcome::Heard);
                assert!(air.now - start < MINUTE, "a handshake takes more than a minute");
            }
            times.push((air.now - start) / 1_000);
        }
        times.sort_unstable();
        println!(
            "| {:.0} % loss: handshake of 8 frames | 200 of 200 | {} / {} / {} |",
            loss * 100.0,
            times[99],
            times[189],
            times[197]
        );
        assert!(times[189] < 5_000);
    }
}

#[test]
fn a_gateway_that_is_asked_for_too_much_stays_within_its_hour() {
    let mut air = Air::new(3, Profile::Slow, 0.0, 4, 2_000);
    air.join_all();
    for end in [0, 1, 2, 3, 4] {
        air.ends[end].sent.clear();
    }
    let mut refused = 0;
    // Nobody is there to answer: every frame takes two whole bursts.
    air.loss = 1.0;
    for round in 0..900_u64 {
        for index in 1..=4 {
            let (now, frame) = (air.local(0), payload(index, round, 48));
            let _ = air.gateway_mut().send(now, round, &lock(index), &frame, now + MINUTE);
        }
        air.settle(0);
        air.run(4_000_000);
        let events = std::mem::take(&mut air.gateway_events);
        refused += events
            .iter()
            .filter(|(_, e)| matches!(e, GatewayEvent::Outcome { outcome: Outcome::NoAirtime, .. }))
            .count();
    }
    let hour = hour_of_air(&air.ends[0].sent);
    println!("{} s on the air, {refused} refused", hour / 1_000_000);
    assert!(refused > 0 && hour <= Region::Eu433.budget() && hour > Region::Eu433.budget() / 2);
}
