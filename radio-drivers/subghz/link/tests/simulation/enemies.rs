use cardea_subghz_link::mic::Key;
use cardea_subghz_link::*;

use crate::air::{Air, lock};
use crate::load::payload;

fn received(air: &Air) -> usize {
    air.node_events.iter().filter(|(_, _, event)| matches!(event, NodeEvent::Received { .. })).count()
}

fn up(air: &Air) -> usize {
    air.gateway_events.iter().filter(|(_, event)| matches!(event, GatewayEvent::Up { .. })).count()
}

fn exchange(air: &mut Air, number: u64) {
    let (now, frame) = (air.local(0), payload(1, number, 44));
    air.gateway_mut().send(now, number, &lock(1), &frame, now + 10_000_000).unwrap();
    air.settle(0);
    air.run(3_000_000);
    let (now, frame) = (air.local(1), payload(1, number, 32));
    air.node_mut(1).send(now, 1, &frame, now + 5_000_000).unwrap();
    air.settle(1);
    air.run(2_000_000);
}

#[test]
fn everything_played_again_delivers_nothing() {
    let mut air = Air::new(11, Profile::Standard, 0.0, 2, 500);
    air.join_all();
    (0..20).for_each(|number| exchange(&mut air, number));
    assert_eq!((received(&air), up(&air)), (20, 20));
    let recorded = air.recorded.clone();
    for (_, _, frame) in recorded {
        air.carry(None, frame, 0);
        air.run(20_000);
    }
    for interval in [0, 1] {
        air.power_cut(interval, 500); // and again after both have lost their memory
    }
    air.run(20_000_000);
    let recorded = air.recorded.clone();
    for (_, _, frame) in recorded {
        air.carry(None, frame, 0);
        air.run(20_000);
    }
    assert_eq!((received(&air), up(&air)), (20, 20));
}

#[test]
fn a_frame_that_was_jammed_and_kept_is_worth_nothing_once_a_later_one_came() {
    let mut air = Air::new(12, Profile::Standard, 0.0, 1, 500);
    air.join_all();
    air.loss = 1.0; // the enemy alone hears it
    exchange(&mut air, 1);
    air.run(10_000_000);
    let banked: Vec<_> = std::mem::take(&mut air.recorded);
    air.loss = 0.0;
    air.run(90_000_000);
    exchange(&mut air, 2);
    let before = (received(&air), up(&air));
    for (_, _, frame) in banked {
        for _ in 0..3 {
            air.carry(None, frame.clone(), 0);
            air.run(130_000);
        }
    }
    assert_eq!((received(&air), up(&air)), before);
}

/// An acknowledgement under any other key, for every counter and address.
#[test]
fn a_forged_acknowledgement_is_none() {
    let mut air = Air::new(13, Profile::Standard, 0.0, 1, 500);
    air.join_all();
    air.run(5_000_000);
    air.node_events.clear();
    let now = air.local(1);
    air.node_mut(1).send(now, 5, &payload(1, 1, 32), now + 3_000_000).unwrap();
    air.loss = 1.0; // the gateway hears nothing
    air.settle(1);
    let address = air.node_mut(1).address().unwrap();
    for step in 0..400_u32 {
        air.run(10_000);
        let forged = codec::seal(
            Header {
                address,
                network: 0x42,
                kind: Kind::Ack,
                up: false,
                ack: false,
                pending: true,
                counter: 0,
            },
            step % 8,
            &[0xBA, 0xC8],
            &Key([0; 16]),
        )
        .unwrap();
        let local = air.local(1);
        air.node_mut(1).handle_received(local, forged.as_bytes(), Quality::default());
        air.settle(1);
    }
    let outcomes: Vec<_> = air
        .node_events
        .iter()
        .filter_map(|(_, _, e)| match e {
            NodeEvent::Outcome { handle: 5, outcome } => Some(*outcome),
            _ => None,
        })
        .collect();
    assert_eq!(outcomes, [Outcome::Unheard]);
    assert!(air.node_mut(1).stats().forged > 0);
}

#[test]
fn a_flood_of_wakes_costs_a_bounded_time_and_is_reported() {
    let mut air = Air::new(14, Profile::Standard, 0.0, 1, 500);
    air.join_all();
    air.run(60_000_000);
    air.node_events.clear();
    let address = air.node_mut(1).address().unwrap();
    let header = Header {
        address,
        network: 0x42,
        kind: Kind::Wake,
        up: false,
        ack: false,
        pending: false,
        counter: 0,
    };
    let before = air.node_mut(1).stats().wasted;
    let hours = 2;
    let listened = air.ends[1].receiving;
    for counter in 0..hours * 3_600 * 80_u32 {
        // A strobe every 45 ms, the whole time: each of the lock's listenings finds a carrier.
        if counter % 4 == 0 {
            let strobe = codec::seal(header, counter, &[1, 0xF4, 0], &Key([1; 16])).unwrap();
            air.carry(None, strobe.as_bytes().to_vec(), 0);
        }
        air.run(12_500);
    }
    let stats = air.node_mut(1).stats();
    let wasted = stats.wasted - before;
    let on = air.ends[1].receiving - listened;
    println!(
        "awake for nothing {} ms in {hours} h, receiver on {} ms, {} listenings left out",
        wasted / 1_000,
        on / 1_000,
        stats.skipped
    );
    assert!(wasted <= 36_000_000 + u64::from(hours) * 36_000_000 + 1_000_000);
    assert!(air.node_events.iter().all(|(_, _, event)| !matches!(event, NodeEvent::Received { .. })));
}

/// The last frame down is authentic, and a lock that answered its repeats without end would never sleep.
#[test]
fn the_last_frame_played_for_hours_keeps_nobody_awake_and_costs_no_air() {
    let mut air = Air::new(17, Profile::Standard, 0.0, 1, 500);
    air.join_all();
    air.run(30_000_000);
    exchange(&mut air, 1);
    let last = |air: &Air, up: bool| {
        let is = |frame: &&Vec<u8>| {
            let packet = Packet::parse(frame).unwrap();
            packet.header().kind == Kind::Data && packet.header().up == up && !packet.body().is_empty()
        };
        air.recorded.iter().rev().map(|(_, _, frame)| frame).find(is).unwrap().clone()
    };
    let (down, up_frame) = (last(&air, false), last(&air, true));
    let (listened, sent) = (air.ends[1].receiving, [air.ends[0].sent.len(), air.ends[1].sent.len()]);
    for round in 0..120_000 {
        air.carry(None, if round % 20 == 0 { up_frame.clone() } else { down.clone() }, 0);
        air.run(30_000);
    }
    let on = (air.ends[1].receiving - listened) / 1_000;
    let beacons = 360;
    println!("receiver on {on} ms in an hour");
    assert!(on < 120_000, "awake {on} ms");
    assert!(air.ends[0].sent.len() - sent[0] <= beacons + 9 && air.ends[1].sent.len() - sent[1] <= 9);
}

#[test]
fn noise_that_never_ends_is_drain_that_ends() {
    let mut air = Air::new(15, Profile::Standard, 0.0, 1, 100);
    air.join_all();
    air.run(60_000_000);
    let before = air.node_mut(1).stats().wasted;
    for _ in 0..40_000 {
        air.carry(None, vec![0x55; 64], 0); // 15.4 ms each, without a pause
        air.run(15_700);
    }
    let wasted = air.node_mut(1).stats().wasted - before;
    assert!(air.node_events.iter().any(|(_, _, event)| *event == NodeEvent::Drained));
    assert!(wasted > 30_000_000 && wasted <= 36_000_000 + 7_000_000, "{wasted}");
}

#[test]
fn a_jammed_network_says_so_and_moves_and_its_locks_follow() {
    let mut air = Air::new(16, Profile::Standard, 0.0, 3, 500);
    air.join_all();
    air.run(30_000_000);
    for _ in 0..4_000 {
        air.carry(None, vec![0x55; 64], 0);
        air.run(15_500);
    }
    let events: Vec<_> = air.gateway_events.iter().map(|(_, event)| event.clone()).collect();
    assert!(events.contains(&GatewayEvent::Jammed(true)) && events.contains(&GatewayEvent::Channel(1)));
    air.gateway_events.clear();
    // The jammer goes on, on channel 0 alone. Locks that have something to say find the others.
    for index in 1..=3 {
        let mut heard = false;
        for attempt in 0..40 {
            let now = air.local(index);
            let _ = air.node_mut(index).send(now, 1, &payload(index, attempt, 32), now + 4_000_000);
            air.settle(index);
            for _ in 0..320 {
                air.carry(None, vec![0x55; 64], 0);
                air.run(15_500);
            }
            heard |= air
                .gateway_events
                .iter()
                .any(|(_, e)| matches!(e, GatewayEvent::Up { lock: l, .. } if *l == lock(index)));
            if heard {
                break;
            }
        }
        assert!(heard, "lock {index} did not follow");
    }
}
