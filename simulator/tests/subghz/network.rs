//! What the gateway's driver promises, whatever radios, stores, clocks and enemies do.

use std::collections::BTreeMap;

use cardea_radio::{Admission, AdmissionSecret, Command, Event, Failure, Outcome, Quality, Refusal};
use cardea_simulator::subghz::{Conditions, Faults, Jammer, RadioEvent};
use cardea_subghz::network::JOIN_WINDOW;
use cardea_subghz::{Kind as Chip, Profile, Region};
use cardea_subghz_link::{AirFrame, Body, Kind};

use crate::net::{Net, SECOND, config, id, payload};

fn quiet(seed: u64) -> Net {
    Net::new(seed, Conditions::default(), config(Profile::Standard))
}

#[test]
fn a_lock_that_is_admitted_joins_and_frames_go_both_ways_in_all_profiles() {
    for profile in [Profile::Slow, Profile::Standard, Profile::Fast] {
        let quality = both_ways(Chip::Cc1101, profile);
        assert_eq!((quality.rssi, quality.snr), (Some(-60), None));
        assert!(quality.lqi.is_some_and(|lqi| lqi > 200), "{quality:?}");
    }
}

/// Locks with the other chip, which do not notice.
#[test]
fn so_they_do_at_a_gateway_with_an_sx126x() {
    for profile in [Profile::Slow, Profile::Standard, Profile::Fast] {
        let quality = both_ways(Chip::Sx126x, profile);
        assert_eq!((quality.rssi, quality.snr), (Some(-60), None));
    }
}

/// Whoever changes the module takes no lock out, whichever way.
#[test]
fn a_gateway_gets_the_other_chip_and_back_and_nobody_joins_anew() {
    let mut net = quiet(5);
    net.member(1);
    for (number, chip) in [(1, Chip::Sx126x), (2, Chip::Cc1101)] {
        net.refit(chip);
        let joins = |net: &Net| net.on_air().iter().filter(|(.., p)| p.header().kind == Kind::Join).count();
        let before = joins(&net);
        let frame = payload(number, 40);
        net.send(number, 1, &frame, 20_000);
        assert!(net.until(20 * SECOND, |net| net.down(0).contains(&frame)), "{chip:?}");
        let (now, frame) = (net.now(), payload(10 + number, 40));
        net.town.locks[0].send(now, &frame, now + 10 * SECOND).unwrap();
        assert!(net.until(10 * SECOND, |net| net.up().contains(&frame)), "{chip:?}");
        assert_eq!(joins(&net), before);
    }
}

/// Joins, five frames up, and five down to a lock that sleeps. How the gateway heard.
fn both_ways(chip: Chip, profile: Profile) -> Quality {
    let mut net = Net::with(chip, 1, Conditions::default(), config(profile));
    net.member(1);
    assert!(net.saw(|e| matches!(e, Event::Admitted { result: Ok(()), .. })));
    assert!(net.saw(|e| matches!(e, Event::Link { mtu_down: 48, sleepy: false, .. })));
    net.run(5 * SECOND);
    for number in 0..5 {
        let (now, frame) = (net.now(), payload(number, 48));
        net.town.locks[0].send(now, &frame, now + 10 * SECOND).unwrap();
        assert!(net.until(10 * SECOND, |net| net.up().contains(&frame)), "{profile:?} up {number}");
        net.run(7 * SECOND); // asleep again
        let frame = payload(100 + number, 44);
        net.send(number, 1, &frame, 20_000);
        assert!(net.until(20 * SECOND, |net| net.down(0).contains(&frame)), "{profile:?} down {number}");
        assert!(net.until(SECOND, |net| net.outcome(number) == Some(Outcome::Sent)));
    }
    let quality = net.events.iter().find_map(|e| if let Event::Up(up) = e { Some(up.quality) } else { None });
    quality.unwrap()
}

#[test]
fn a_wrong_secret_an_unknown_lock_and_another_radio_s_label_get_nobody_in() {
    let mut net = quiet(2);
    net.lock(1, 1);
    net.lock(2, 2);
    net.admit(1, 9); // another secret than the lock has
    net.join(0);
    net.join(1); // never admitted
    net.run(40 * SECOND);
    assert!(!net.saw(|e| matches!(e, Event::Joined(_))));
    assert!(net.town.locks.iter().all(|lock| !lock.is_joined()));
    let now = net.now();
    let counters = net.network.counters(now).link;
    assert!(counters.forged > 0 && counters.strangers > 0, "{counters:?}");
    let lock = id(3);
    net.command(Command::Admit(Admission { lock, secret: AdmissionSecret::Loopback }));
    assert!(net.saw(|e| matches!(e, Event::Admitted { lock, result: Err(_) } if *lock == id(3))));
    // The right label, and it is in.
    net.admit(1, 1);
    net.join(0);
    assert!(net.until(60 * SECOND, |net| net.saw(|e| matches!(e, Event::Joined(lock) if *lock == id(1)))));
}

#[test]
fn the_window_closes_by_itself_and_opens_again_when_somebody_is_admitted_again() {
    let mut net = quiet(3);
    net.lock(1, 1);
    net.admit(1, 1);
    let now = net.now();
    assert!(net.network.counters(now).network.open_until.is_some());
    net.run(JOIN_WINDOW + SECOND);
    let now = net.now();
    assert_eq!(net.network.counters(now).network.open_until, None);
    net.join(0);
    net.run(90 * SECOND);
    assert!(!net.town.locks[0].is_joined());
    assert!(net.heard.iter().any(|(.., event)| *event == RadioEvent::NotJoined));
    net.admit(1, 1);
    net.join(0);
    assert!(net.until(60 * SECOND, |net| net.saw(|e| matches!(e, Event::Joined(_)))));
    // Nobody is waited for: it is closed at once.
    let now = net.now();
    assert_eq!(net.network.counters(now).network.open_until, None);
}

#[test]
fn a_restart_takes_nobody_out_and_no_counter_comes_twice() {
    let mut net = quiet(4);
    net.member(1);
    let joins = |net: &Net| net.on_air().iter().filter(|(.., p)| p.header().kind == Kind::Join).count();
    let before = joins(&net);
    for restart in 0..4 {
        net.restart();
        assert!(net.saw(|e| matches!(e, Event::Admits(locks) if *locks == [id(1)])));
        assert!(net.saw(|e| matches!(e, Event::Link { .. })));
        let frame = payload(restart, 40);
        net.send(restart, 1, &frame, 20_000);
        assert!(net.until(20 * SECOND, |net| net.down(0).contains(&frame)), "restart {restart}");
        let (now, frame) = (net.now(), payload(50 + restart, 40));
        net.town.locks[0].send(now, &frame, now + 10 * SECOND).unwrap();
        assert!(net.until(20 * SECOND, |net| net.up().contains(&frame)), "restart {restart}");
        net.run(2 * SECOND);
    }
    assert_eq!(joins(&net), before, "it had to join again");
    let mut used = BTreeMap::new();
    for (_, sender, packet) in net.on_air() {
        if packet.header().kind == Kind::Data {
            let body =
                used.entry((sender, packet.header().counter)).or_insert_with(|| packet.body().to_vec());
            assert_eq!(body, packet.body(), "one counter, two frames");
        }
    }
    assert!(used.len() >= 8);
    // Nor does it matter how often, while the lock has nothing to say.
    for _ in 0..200 {
        net.restart();
        net.run(SECOND / 20);
    }
    let frame = payload(98, 40);
    net.send(98, 1, &frame, 20_000);
    assert!(net.until(20 * SECOND, |net| net.down(0).contains(&frame)), "after many restarts");
    let (now, frame) = (net.now(), payload(97, 40));
    net.town.locks[0].send(now, &frame, now + 10 * SECOND).unwrap();
    assert!(net.until(20 * SECOND, |net| net.up().contains(&frame)), "after many restarts");
    // Twice the same, too: a lock that restarts.
    let now = net.now();
    net.town.locks[0].reboot(now);
    net.run(5 * SECOND);
    let frame = payload(99, 40);
    net.send(99, 1, &frame, 20_000);
    assert!(net.until(20 * SECOND, |net| net.down(0).contains(&frame)));
}

#[test]
fn what_would_be_late_is_not_on_the_air() {
    let mut net = quiet(5);
    net.member(1);
    net.run(10 * SECOND);
    let mut sent = 0;
    for (handle, life_ms) in (0..2_000_u64).step_by(50).enumerate() {
        let (frame, deadline) = (payload(handle as u64, 44), net.now() + life_ms * 1_000);
        net.send(handle as u64, 1, &frame, life_ms);
        assert!(net.until(10 * SECOND, |net| net.outcome(handle as u64).is_some()), "no outcome");
        for (end, _, packet) in net.on_air() {
            if packet.body() == frame {
                assert!(end <= deadline, "{life_ms} ms: ended {} µs late", end - deadline);
                sent += 1;
            }
        }
        if net.outcome(handle as u64) == Some(Outcome::Expired) {
            assert!(!net.on_air().iter().any(|(.., packet)| packet.body() == frame));
            assert!(!net.down(0).contains(&frame));
        }
        net.run(3 * SECOND);
    }
    assert_eq!(net.outcome(0), Some(Outcome::Expired));
    assert!(sent > 10, "{sent}");
}

#[test]
fn an_hour_holds_no_more_than_its_budget_and_a_restart_begins_no_new_one() {
    let region = Region::Cn433;
    let mut net = Net::new(
        6,
        Conditions::default(),
        cardea_subghz::network::NetworkConfig { region, ..config(Profile::Standard) },
    );
    net.member(1);
    // It is far away, and every frame takes two bursts.
    net.town.air.set_faults(net.town.locks[0].chip(), Faults { deaf: true, ..Faults::default() });
    let start = net.now();
    let (mut handle, mut refused) = (0, 0);
    while net.now() < start + 2_400 * SECOND {
        handle += 1;
        net.send(handle, 1, &payload(handle, 44), 5_000);
        assert!(net.until(10 * SECOND, |net| net.outcome(handle).is_some()));
        refused += usize::from(net.outcome(handle) == Some(Outcome::Refused(Refusal::Airtime)));
        net.run(2 * SECOND);
        if handle % 200 == 0 {
            net.restart();
        }
    }
    let spent: u64 = net
        .town
        .air
        .bursts()
        .iter()
        .filter(|burst| burst.sender == 0 && burst.start_ns / 1_000 >= start)
        .map(|burst| burst.bytes.len() as u64 * burst.byte_ns / 1_000)
        .sum();
    println!(
        "{} s on the air of {}, {refused} of {handle} refused",
        spent / SECOND,
        region.budget() / SECOND
    );
    assert!(refused > 10 && spent <= region.budget() && spent > region.budget() / 3);
}

#[test]
fn while_the_store_fails_nobody_is_admitted_and_no_counter_is_used_that_is_not_stored() {
    let mut net = quiet(7);
    net.member(1);
    net.store.set_failing(true);
    net.admit(2, 2);
    assert!(net.until(5 * SECOND, |net| {
        net.saw(|e| matches!(e, Event::Admitted { lock, result: Err(_) } if *lock == id(2)))
    }));
    assert!(net.saw(|e| matches!(e, Event::Health(health) if health.up && health.detail.contains("store"))));
    // It serves whom it has, as long as what is reserved lasts.
    let frame = payload(1, 40);
    net.send(1, 1, &frame, 20_000);
    assert!(net.until(20 * SECOND, |net| net.down(0).contains(&frame)));
    let mut given = 0;
    for handle in 2..700 {
        net.send(handle, 1, &payload(handle, 40), 2_000);
        net.until(3 * SECOND, |net| net.outcome(handle).is_some());
        given += usize::from(net.outcome(handle) == Some(Outcome::Sent));
    }
    println!("{given} frames");
    let highest = net
        .on_air()
        .iter()
        .filter(|(_, sender, p)| *sender == 0 && p.header().kind == Kind::Data)
        .map(|(.., p)| p.header().counter)
        .max();
    assert!(highest.is_some_and(|counter| counter < 256), "{highest:?}");
    net.store.set_failing(false);
    net.run(3 * SECOND);
    let frame = payload(1_000, 40);
    net.send(1_000, 1, &frame, 20_000);
    assert!(net.until(20 * SECOND, |net| net.down(0).contains(&frame)));
    assert!(
        net.events
            .iter()
            .rev()
            .find_map(|e| if let Event::Health(health) = e { Some(health) } else { None })
            .is_some_and(|health| health.detail.is_empty())
    );
    // The one that was refused is not there after a restart either.
    net.restart();
    assert!(net.saw(|e| matches!(e, Event::Admits(locks) if *locks == [id(1)])));
}

#[test]
fn a_radio_that_dies_ends_every_frame_once_and_comes_back() {
    let mut net = quiet(8);
    net.member(1);
    net.run(5 * SECOND);
    net.send(1, 1, &payload(1, 40), 60_000);
    net.events.clear();
    net.town.air.set_faults(0, Faults { dead_spi: Some(0), ..Faults::default() });
    assert!(net.until(5 * SECOND, |net| net.saw(|e| matches!(e, Event::Health(health) if !health.up))));
    assert_eq!(net.outcome(1), Some(Outcome::Failed(Failure::NoRadio)));
    net.send(2, 1, &payload(2, 40), 60_000);
    assert_eq!(net.outcome(2), Some(Outcome::Failed(Failure::NoRadio)));
    net.events.clear();
    net.run(30 * SECOND);
    let told = net.events.iter().filter(|e| matches!(e, Event::Health(_) | Event::Alarm { .. })).count();
    assert_eq!(told, 0, "it is told once: {:?}", net.events);
    net.town.air.set_faults(0, Faults::default());
    assert!(net.until(10 * SECOND, |net| net.saw(|e| matches!(e, Event::Health(health) if health.up))));
    let frame = payload(3, 40);
    net.send(3, 1, &frame, 20_000);
    assert!(net.until(20 * SECOND, |net| net.down(0).contains(&frame)));
    assert!(!net.down(0).contains(&payload(1, 40)), "what was given up is not sent");
}

#[test]
fn garbage_forgeries_and_replays_are_counted_and_change_nothing() {
    let mut net = quiet(9);
    net.member(1);
    net.member(2);
    for number in 0..4 {
        let (now, frame) = (net.now(), payload(900 + number, 40));
        net.town.locks[0].send(now, &frame, now + 10 * SECOND).unwrap();
        net.run(2 * SECOND);
    }
    let before = net.store.snapshot();
    let overheard: Vec<AirFrame> = net
        .on_air()
        .into_iter()
        .filter_map(|(_, sender, packet)| (sender != 0).then_some(packet))
        .filter_map(|packet| reframe(&packet))
        .collect();
    assert!(overheard.len() > 2);
    net.events.clear();
    net.heard.clear();
    for round in 0..60_u8 {
        let garbage: Vec<u8> =
            (0..13 + round % 48).map(|n| n.wrapping_mul(73) ^ round.wrapping_mul(151)).collect();
        net.stranger().say(AirFrame::from_payload(&garbage).unwrap());
        // After each frame the chip is deaf for a millisecond.
        net.run(SECOND / 10);
        let again = overheard[usize::from(round) % overheard.len()].clone();
        net.stranger().say(again.clone());
        net.run(SECOND / 10);
        // One bit of it is another.
        let mut forged = again.payload().to_vec();
        let at = usize::from(round) * 7 % (forged.len() * 8);
        forged[at / 8] ^= 1 << (at % 8);
        net.stranger().say(AirFrame::from_payload(&forged).unwrap());
        net.run(SECOND / 2);
    }
    assert!(net.town.stranger.as_ref().unwrap().is_silent());
    let now = net.now();
    let counters = net.network.counters(now).link;
    println!("{counters:?}");
    assert!(counters.forged > 20 && counters.replayed > 10, "{counters:?}");
    let nothing =
        |e: &Event| matches!(e, Event::Up(_) | Event::Joined(_) | Event::Left(_) | Event::Alarm { .. });
    assert!(!net.saw(nothing), "{:?}", net.events);
    assert!(net.down(0).is_empty() && net.down(1).is_empty());
    let settings = |records: Vec<(Vec<u8>, Vec<u8>)>| {
        records.into_iter().filter(|(key, _)| key.starts_with(b"433/lock")).collect::<Vec<_>>()
    };
    assert_eq!(settings(net.store.snapshot()), settings(before));
    let frame = payload(3, 40);
    net.send(3, 1, &frame, 20_000);
    assert!(net.until(20 * SECOND, |net| net.down(0).contains(&frame)));
    assert!(net.down(1).is_empty(), "another's frame");
    assert_eq!(net.town.locks[1].stats().forged, 0, "a lock looked at frames that are not its own");
}

#[test]
fn a_forged_acknowledgement_ends_nothing() {
    let mut net = quiet(10);
    net.member(1);
    net.run(5 * SECOND);
    // The lock hears nothing any more; somebody answers for it.
    net.town.air.set_faults(net.town.locks[0].chip(), Faults { deaf: true, ..Faults::default() });
    let frame = payload(1, 40);
    net.send(1, 1, &frame, 30_000);
    let (mut answered, mut seen) = (0, 0);
    while net.outcome(1).is_none() {
        net.run(1_000);
        let data: Vec<_> = net.on_air().into_iter().filter(|(.., packet)| packet.body() == frame).collect();
        if data.len() > seen {
            seen = data.len();
            let header = data[seen - 1].2.header();
            let ack = cardea_subghz_link::codec::Header {
                kind: Kind::Ack,
                up: true,
                ack: false,
                pending: false,
                ..*header
            };
            let body = Body::Ack(cardea_subghz_link::Ack { quality: cardea_subghz_link::Quality::default() })
                .encode();
            let key = cardea_subghz_link::Key([3; 16]);
            let forged = cardea_subghz_link::codec::seal(ack, header.counter.into(), &body, &key).unwrap();
            net.stranger().say(forged);
            answered += 1;
        }
    }
    let now = net.now();
    let forged = net.network.counters(now).link.forged;
    println!("{seen} sendings, {answered} answers, {forged} known for what they are");
    // Believed once, it would have been sent once.
    assert!(seen >= 4 && forged >= 3, "{seen} {forged}");
    // What is told is that it was on the air; whether it arrived is for framing's receipt to say, and none came.
    assert_eq!(net.outcome(1), Some(Outcome::Sent));
    assert!(net.up().is_empty());
}

#[test]
fn whoever_keeps_locks_awake_does_not_empty_their_batteries() {
    let mut net = quiet(11);
    net.member(1);
    net.run(5 * SECOND);
    let (start, wasted) = (net.now(), net.town.locks[0].stats().wasted);
    // A carrier at each of its listenings, and never a frame.
    net.town.air.jam(Some(Jammer { dbm: -50.0 }));
    net.run(2_400 * SECOND);
    let stats = net.town.locks[0].stats();
    let (awake, span) = (stats.wasted - wasted, net.now() - start);
    println!(
        "awake for nothing {} s of {} s; {} listenings left out",
        awake / SECOND,
        span / SECOND,
        stats.skipped
    );
    assert!(net.heard.iter().any(|(.., event)| *event == RadioEvent::Drained));
    assert!(awake <= 36 * SECOND + span / 100 + SECOND, "{awake}");
}

#[test]
fn a_jammed_channel_is_an_alarm_once_and_the_network_moves() {
    let mut net = quiet(12);
    net.member(1);
    net.town.air.jam(Some(Jammer { dbm: -50.0 }));
    assert!(net.until(60 * SECOND, |net| net.saw(|e| matches!(e, Event::Alarm { cause: "jam", .. }))));
    assert!(net.saw(|e| matches!(e, Event::Health(health) if health.up && health.detail.contains("busy"))));
    let now = net.now();
    assert_ne!(net.network.counters(now).network.channel, Some(0));
    net.run(300 * SECOND);
    assert_eq!(net.events.iter().filter(|e| matches!(e, Event::Alarm { .. })).count(), 1);
    net.town.air.jam(None);
    net.run(60 * SECOND);
    let last =
        net.events.iter().rev().find_map(|e| if let Event::Health(health) = e { Some(health) } else { None });
    assert!(last.is_some_and(|health| health.up && health.detail.is_empty()), "{last:?}");
}

#[test]
fn a_removed_lock_is_out_and_its_frame_ends() {
    let mut net = quiet(13);
    net.member(1);
    net.run(5 * SECOND);
    net.send(1, 1, &payload(1, 40), 20_000);
    net.command(Command::Remove(id(1)));
    assert_eq!(net.outcome(1), Some(Outcome::Failed(Failure::Cancelled)));
    assert!(net.saw(|e| matches!(e, Event::Left(lock) if *lock == id(1))));
    net.send(2, 1, &payload(2, 40), 20_000);
    assert_eq!(net.outcome(2), Some(Outcome::Refused(Refusal::NotJoined)));
    let (now, frame) = (net.now(), payload(3, 40));
    net.town.locks[0].send(now, &frame, now + 10 * SECOND).unwrap();
    net.run(20 * SECOND);
    assert!(net.up().is_empty());
    net.restart();
    assert!(net.saw(|e| matches!(e, Event::Admits(locks) if locks.is_empty())));
}

/// The bytes as they were on the air, to be said again.
fn reframe(packet: &cardea_subghz_link::Packet) -> Option<AirFrame> {
    AirFrame::from_payload(&packet.whitened())
}
