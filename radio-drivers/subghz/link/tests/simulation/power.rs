use std::collections::BTreeMap;

use cardea_subghz_link::*;

use crate::air::{Air, lock};
use crate::load::payload;

/// What was on the air under one counter is one frame, repeated; or strobes of one burst.
fn no_counter_twice(air: &Air, since: usize) {
    let mut seen: BTreeMap<(bool, u8, u16), (Kind, Vec<u8>)> = BTreeMap::new();
    for (_, _, frame) in &air.recorded[since..] {
        let packet = Packet::parse(frame).unwrap();
        let header = packet.header();
        if !matches!(header.kind, Kind::Data | Kind::Hello | Kind::Wake) {
            continue;
        }
        let body = if header.kind == Kind::Wake { Vec::new() } else { packet.body().to_vec() };
        let first = seen
            .entry((header.up, header.address, header.counter))
            .or_insert_with(|| (header.kind, body.clone()));
        assert_eq!(*first, (header.kind, body), "counter {} was used twice", header.counter);
    }
}

#[test]
fn whenever_the_power_goes_no_counter_is_used_twice_and_the_link_comes_back() {
    for seed in 20..26 {
        let mut air = Air::new(seed, Profile::Standard, 0.1, 3, 500);
        air.join_all();
        air.run(20_000_000);
        let since = air.recorded.len();
        let mut delivered: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        let mut cuts = 0;
        for number in 0..150_u64 {
            let index = 1 + air.below(3) as usize;
            let (now, local) = (air.local(0), air.local(index));
            let _ = air.gateway_mut().send(
                now,
                number,
                &lock(index),
                &payload(index, number, 40),
                now + 8_000_000,
            );
            let _ =
                air.node_mut(index).send(local, 0, &payload(index, 1_000 + number, 40), local + 8_000_000);
            air.settle(0);
            air.settle(index);
            let span = air.below(4_000_000);
            air.run(span);
            if air.below(6) == 0 {
                let who = air.below(4) as usize;
                air.power_cut(who, 500);
                cuts += 1;
            }
        }
        air.run(20_000_000);
        for (_, event) in &air.gateway_events {
            if let GatewayEvent::Up { frame, .. } = event {
                *delivered.entry(frame.to_vec()).or_default() += 1;
            }
        }
        for (_, _, event) in &air.node_events {
            if let NodeEvent::Received { frame, .. } = event {
                *delivered.entry(frame.to_vec()).or_default() += 1;
            }
        }
        // A receiver that lost its memory may be told again what it had, under a new counter: at most once a cut.
        let twice = delivered.values().filter(|&&times| times > 1).count();
        println!("{cuts} cuts, {} delivered, {twice} twice", delivered.len());
        assert!(
            cuts > 0 && twice <= cuts && delivered.len() > 100,
            "{} of 300, {twice} twice",
            delivered.len()
        );
        no_counter_twice(&air, since);
        air.loss = 0.0;
        air.run(120_000_000);
        air.node_events.clear();
        let now = air.local(0);
        for index in 1..=3 {
            air.gateway_mut()
                .send(now, 9, &lock(index), &payload(index, 9_999, 40), now + 8_000_000)
                .unwrap();
        }
        air.settle(0);
        air.run(10_000_000);
        let got = air.node_events.iter().filter(|(_, _, e)| matches!(e, NodeEvent::Received { .. })).count();
        assert_eq!(got, 3, "the link does not come back");
    }
}
