//! Windows, lead times, refusals, silence, airtime.

use cardea_radio::{Failure, Refusal};
use proptest::prelude::*;

use super::*;

const US915: fn() -> LoraConfig = || LoraConfig { region: Region::Us915, ..LoraConfig::default() };

#[test]
fn class_a_sends_in_the_windows_of_an_uplink_only() {
    let (mut site, mut lock) = joined(LorawanClass::A);
    site.send(&lock, 1, b"waits", 30_000);
    site.pass(5_000);
    assert!(site.sent.is_empty());
    let up = lock.up(Vec::new());
    let heard = site.hear(up);
    assert_eq!(site.take_outcome(1), Some(Outcome::Sent));
    let (_, transmit) = site.sent.pop().unwrap();
    assert_eq!(
        (transmit.tmst, transmit.frequency, transmit.sf),
        (Some(heard.wrapping_add(5_000_000)), 868_100_000, 7)
    );
    let down = lock.open(&transmit.data);
    assert_eq!((down.port, &down.payload[..], down.ack), (Some(10), &b"waits"[..], false));
    // One downlink per uplink: the next frame waits for the next uplink.
    site.send(&lock, 2, b"next", 30_000);
    site.send(&lock, 3, b"too many", 30_000);
    assert_eq!(site.take_outcome(3), Some(Outcome::Refused(Refusal::Busy)));
    site.pass(29_000);
    assert!(site.sent.is_empty());
    site.pass(1_000);
    assert_eq!(site.take_outcome(2), Some(Outcome::Expired));
}

#[test]
fn a_poll_opens_a_window_and_a_frame_until_its_closing_still_makes_it() {
    let (mut site, mut lock) = joined(LorawanClass::A);
    let up = lock.up(Vec::new());
    let heard = site.hear(up);
    let closes = site.take_window().unwrap();
    assert!(site.take_up().is_none(), "a poll is not a frame");
    assert_eq!(closes, site.now + 5_000 - 150 - 60 - 20);
    // Too late for RX1, and the gateway is told that there is RX2, whose parameters are others.
    site.pass(closes - site.now);
    assert!(site.take_window().is_none());
    site.pass(81);
    let closes = site.take_window().unwrap();
    assert_eq!(closes, site.now - 4_851 + 6_000 - 150 - 20);
    site.pass(closes - site.now);
    assert!(site.take_window().is_none());
    site.send(&lock, 1, b"just", 30_000);
    let (at, transmit) = site.sent.pop().unwrap();
    assert_eq!(
        (transmit.tmst, transmit.frequency, transmit.sf),
        (Some(heard.wrapping_add(6_000_000)), 869_525_000, 12)
    );
    let lead = transmit.tmst.unwrap().wrapping_sub(site.tmst.wrapping_add(at as u32 * 1000));
    assert!(lead >= 150_000, "the forwarder had {lead} us");
    let up = lock.up(Vec::new());
    site.pass(1_000);
    site.hear(up);
    site.pass(6_000);
    site.send(&lock, 2, b"too late", 5_000);
    site.pass(6_000);
    assert_eq!(site.take_outcome(2), Some(Outcome::Expired));
}

#[test]
fn an_acknowledgement_waits_for_the_frame_that_answers() {
    let (mut site, mut lock) = joined(LorawanClass::A);
    let up = lock.confirmed(b"touch".to_vec());
    site.hear(up);
    let window = site.take_up().unwrap().window.unwrap();
    site.pass(window - site.now);
    assert!(site.sent.is_empty(), "it waits as long as it can");
    site.send(&lock, 1, b"unlock", 30_000);
    let down = lock.open(&site.sent.pop().unwrap().1.data);
    assert!(down.ack && down.payload == b"unlock", "{down:?}");
    assert_eq!(site.take_outcome(1), Some(Outcome::Sent));
    // Without an answer of the platform it goes alone, in RX1.
    site.pass(3_000);
    let up = lock.confirmed(b"touch".to_vec());
    let heard = site.hear(up);
    site.pass(8_000);
    let (_, transmit) = site.sent.pop().unwrap();
    assert_eq!(transmit.tmst, Some(heard.wrapping_add(5_000_000)));
    let down = lock.open(&transmit.data);
    assert!(down.ack && down.port.is_none());
}

#[test]
fn what_rx1_refuses_goes_out_in_rx2_with_the_same_bytes() {
    for error in ["TOO_LATE", "TOO_EARLY", "COLLISION_PACKET", "TX_FREQ"] {
        let (mut site, mut lock) = joined(LorawanClass::A);
        site.mood = Mood::RefusesOnce(error);
        let up = lock.up(Vec::new());
        site.hear(up);
        site.send(&lock, 1, b"frame", 30_000);
        assert_eq!(site.sent.len(), 2, "{error}");
        assert_eq!(site.sent[0].1.data, site.sent[1].1.data);
        assert_eq!(site.sent[1].1.frequency, 869_525_000);
        assert_eq!(site.take_outcome(1), Some(Outcome::Sent));
        assert!(site.take_outcome(1).is_none(), "one outcome");
    }
    let (mut site, mut lock) = joined(LorawanClass::A);
    site.mood = Mood::Refuses("COLLISION_PACKET");
    let up = lock.up(Vec::new());
    site.hear(up);
    site.send(&lock, 1, b"frame", 30_000);
    assert_eq!(site.take_outcome(1), Some(Outcome::Failed(Failure::Modem)));
    assert_eq!(site.network.counters().refused, 2);
}

#[test]
fn silence_of_the_forwarder_is_a_refusal_after_half_a_second() {
    let (mut site, mut lock) = joined(LorawanClass::A);
    site.mood = Mood::Silent;
    let up = lock.up(Vec::new());
    site.hear(up);
    site.send(&lock, 1, b"frame", 30_000);
    let start = site.now;
    site.pass(499);
    assert_eq!(site.sent.len(), 1);
    site.pass(1);
    assert_eq!((site.sent.len(), site.sent[1].0), (2, start + 500));
    assert_eq!(site.sent[0].1.data, site.sent[1].1.data);
    site.pass(500);
    assert_eq!(site.take_outcome(1), Some(Outcome::Failed(Failure::Modem)));
    // At the very last moment for RX1 there is still time for RX2.
    let up = lock.up(Vec::new());
    site.hear(up);
    site.pass(5_000 - 150);
    site.send(&lock, 2, b"frame", 30_000);
    site.pass(500);
    assert_eq!(site.sent[3].1.frequency, 869_525_000);
}

#[test]
fn class_c_sends_at_once() {
    let (mut site, mut lock) = joined(LorawanClass::C);
    site.pass(10_000);
    site.send(&lock, 1, b"unlock", 10_000);
    let (at, transmit) = site.sent.pop().unwrap();
    assert_eq!((at, transmit.tmst), (site.now, None));
    assert_eq!((transmit.frequency, transmit.sf, transmit.power), (869_525_000, 12, 27));
    assert_eq!(lock.open(&transmit.data).payload, b"unlock");
    assert_eq!(site.take_outcome(1), Some(Outcome::Sent));
    // The next one follows when the air is free again: about 1.2 s at SF12.
    site.send(&lock, 2, b"next", 10_000);
    assert!(site.sent.is_empty());
    site.pass(2_000);
    assert!((1_000..1_700).contains(&(site.sent[0].0 - at)), "{}", site.sent[0].0 - at);
}

#[test]
fn class_c_does_not_wait_for_windows_it_can_use_or_precede() {
    let (mut site, mut lock) = joined_with(US915(), LorawanClass::C);
    let up = lock.confirmed(b"touch".to_vec());
    let heard = site.hear_on(903_900_000, 7, 125, up);
    site.send(&lock, 1, b"at once", 10_000);
    let transmit = site.sent.pop().unwrap().1;
    assert_eq!(transmit.tmst, None, "over before RX1 opens");
    let first = lock.open(&transmit.data);
    assert!(!first.ack, "acknowledgements belong to RX1 and RX2");
    site.pass(4_700);
    site.send(&lock, 2, b"rx1", 10_000);
    let transmit = site.sent.pop().unwrap().1;
    assert_eq!(transmit.tmst, Some(heard.wrapping_add(5_000_000)), "no room before RX1: in RX1");
    let second = lock.open(&transmit.data);
    assert!(second.ack && second.counter > first.counter);
    // While that one waits for its time, nothing with a higher counter may overtake it.
    site.send(&lock, 3, b"after", 10_000);
    assert!(site.sent.is_empty());
    site.pass(1_000);
    assert_eq!(lock.open(&site.sent.pop().unwrap().1.data).payload, b"after");
    for handle in 1..=3 {
        assert_eq!(site.take_outcome(handle), Some(Outcome::Sent));
    }
}

#[test]
fn class_c_tries_a_refused_frame_again_until_its_deadline() {
    let (mut site, lock) = joined(LorawanClass::C);
    site.mood = Mood::RefusesOnce("COLLISION_PACKET");
    site.send(&lock, 1, b"frame", 10_000);
    site.pass(300);
    assert_eq!(site.sent.len(), 2);
    assert_eq!(site.sent[0].1.data, site.sent[1].1.data);
    assert_eq!(site.take_outcome(1), Some(Outcome::Sent));
    site.pass(5_000);
    site.mood = Mood::Silent;
    site.send(&lock, 2, b"frame", 700);
    site.pass(1_000);
    assert_eq!(site.take_outcome(2), Some(Outcome::Failed(Failure::Modem)));
    let latest = site.sent.iter().map(|(at, _)| *at).max().unwrap();
    assert!(latest < site.now - 300, "nothing after the deadline");
}

#[test]
fn no_downlink_overtakes_another_when_a_device_does_not_wait_for_its_windows() {
    let (mut site, mut lock) = joined(LorawanClass::A);
    site.mood = Mood::RefusesOnce("COLLISION_PACKET");
    let up = lock.up(Vec::new());
    site.hear(up);
    site.send(&lock, 1, b"in rx2", 30_000);
    let first = site.sent.pop().unwrap().1;
    site.sent.clear();
    site.pass(500);
    // Its RX1 would be half a second before the RX2 that is taken, its RX2 is behind it.
    let up = lock.confirmed(Vec::new());
    site.hear(up);
    site.pass(8_000);
    // At SF12 the first one is on the air until behind that RX2, too: the acknowledgement is left out.
    assert!(site.sent.is_empty(), "{:?}", site.sent);
    site.pass(3_000);
    let up = lock.confirmed(Vec::new());
    let heard = site.hear(up);
    site.pass(8_000);
    let second = site.sent.pop().unwrap().1;
    assert_eq!(second.tmst, Some(heard.wrapping_add(5_000_000)));
    assert!(lock.open(&first.data).counter < lock.open(&second.data).counter);
}

#[test]
fn nothing_is_sent_after_its_deadline() {
    let (mut site, mut lock) = joined(LorawanClass::A);
    let up = lock.up(Vec::new());
    site.hear(up);
    // RX1 is in 5 s, the frame is good for 4.
    site.send(&lock, 1, b"short-lived", 4_000);
    site.pass(10_000);
    assert!(site.sent.is_empty());
    assert_eq!(site.take_outcome(1), Some(Outcome::Expired));
    let (mut site, lock) = joined(LorawanClass::C);
    site.send(&lock, 1, b"on the air in 100 ms", 99);
    site.pass(1_000);
    assert!(site.sent.is_empty());
    assert_eq!(site.take_outcome(1), Some(Outcome::Expired));
}

#[test]
fn cancelled_refused_and_unjoined() {
    let (mut site, lock) = joined(LorawanClass::A);
    site.send(&lock, 1, b"frame", 30_000);
    site.command(Command::Cancel { handle: 1 });
    assert_eq!(site.take_outcome(1), Some(Outcome::Failed(Failure::Cancelled)));
    site.command(Command::Cancel { handle: 1 });
    assert!(site.take_outcome(1).is_none());
    site.send(&lock, 2, &[0; 243], 30_000);
    assert_eq!(site.take_outcome(2), Some(Outcome::Refused(Refusal::TooBig)));
    site.send(&Lock::new(9, LorawanClass::A), 3, b"who?", 30_000);
    assert_eq!(site.take_outcome(3), Some(Outcome::Refused(Refusal::NotJoined)));
    site.admit(&Lock::new(8, LorawanClass::A));
    site.send(&Lock::new(8, LorawanClass::A), 4, b"not joined", 30_000);
    assert_eq!(site.take_outcome(4), Some(Outcome::Refused(Refusal::NotJoined)));
    site.send(&lock, 5, b"frame", 30_000);
    site.command(Command::Remove(lock.id));
    assert_eq!(site.take_outcome(5), Some(Outcome::Failed(Failure::Cancelled)));
}

#[test]
fn the_duty_cycle_of_rx1_moves_downlinks_to_rx2_and_in_the_end_refuses_them() {
    let (mut site, mut lock) = joined(LorawanClass::A);
    let (mut rx1, mut rx2, mut refused) = (0, 0, 0);
    // 36 s of SF12 in the sub-band of RX1, 360 s in that of RX2, at 2.8 s each.
    for handle in 0..200 {
        let up = lock.up(Vec::new());
        site.hear_on(868_300_000, 12, 125, up);
        site.send(&lock, handle, &[0; 51], 30_000);
        match site.take_outcome(handle).expect("an outcome") {
            Outcome::Sent if site.sent.last().unwrap().1.frequency == 868_300_000 => rx1 += 1,
            Outcome::Sent => rx2 += 1,
            Outcome::Refused(Refusal::Airtime) => refused += 1,
            other => panic!("{other:?}"),
        }
        site.pass(9_000);
    }
    assert_eq!((rx1, rx2, refused), (12, 128, 60));
    // An hour after the first ones there is air again.
    site.pass(3_600_000);
    let up = lock.up(Vec::new());
    site.hear_on(868_300_000, 12, 125, up);
    site.send(&lock, 1000, &[0; 51], 30_000);
    assert_eq!(site.take_outcome(1000), Some(Outcome::Sent));
}

#[test]
fn class_c_waits_for_air_if_it_comes_before_the_deadline() {
    let (mut site, lock) = joined(LorawanClass::C);
    let mut handle = 0;
    loop {
        handle += 1;
        assert!(handle < 200, "the duty cycle never ends");
        site.send(&lock, handle, &[0; 51], 10_000);
        site.pass(4_000);
        match site.take_outcome(handle) {
            Some(Outcome::Sent) => {}
            Some(Outcome::Refused(Refusal::Airtime)) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(handle, 129);
    let sent = site.sent.len();
    site.send(&lock, 1000, &[0; 51], 3_600_000);
    assert_eq!(site.sent.len(), sent);
    site.pass(3_600_000);
    assert_eq!(site.take_outcome(1000), Some(Outcome::Sent));
}

#[test]
fn us915_dr0_is_heard_and_answered() {
    let (mut site, mut lock) = joined_with(US915(), LorawanClass::A);
    let up = lock.up(vec![7; 11]);
    let heard = site.hear_on(904_100_000, 10, 125, up);
    assert_eq!(&site.take_up().unwrap().frame[..], [7; 11]);
    // Down there is no limit of 11 bytes, RX1 is SF10 at 500 kHz: the mtu is what it was at DR3.
    assert!(site.take(|e| matches!(e, Event::Link { .. })).is_none(), "{:?}", site.events);
    site.send(&lock, 1, &[1; 242], 30_000);
    let transmit = site.sent.pop().unwrap().1;
    assert_eq!((transmit.frequency, transmit.sf, transmit.bw), (923_900_000, 10, 500));
    assert_eq!(transmit.tmst, Some(heard.wrapping_add(5_000_000)));
    assert_eq!(transmit.power, 21);
    assert_eq!(lock.open(&transmit.data).payload.len(), 242);
    // Missed, RX2 at SF12 takes 53.
    let up = lock.up(vec![7; 11]);
    site.pass(8_000);
    let heard = site.hear_on(904_100_000, 10, 125, up);
    site.pass(5_000);
    site.send(&lock, 2, &[1; 53], 30_000);
    let transmit = site.sent.pop().unwrap().1;
    assert_eq!((transmit.tmst, transmit.sf), (Some(heard.wrapping_add(6_000_000)), 12));
}

#[test]
fn the_mtu_follows_the_data_rate() {
    let (mut site, mut lock) = joined(LorawanClass::A);
    for (sf, mtu) in [(12, 51), (9, 115), (8, 222), (7, 242)] {
        let up = lock.up(b"x".to_vec());
        site.hear_on(868_500_000, sf, 125, up);
        let link = site.take(|e| matches!(e, Event::Link { .. })).unwrap();
        assert!(matches!(link, Event::Link { mtu_down, .. } if mtu_down == mtu), "{link:?}");
        site.pass(10_000);
    }
    // A frame for RX1 only keeps waiting when RX1 is missed.
    let up = lock.up(Vec::new());
    site.hear(up);
    site.pass(5_000);
    site.send(&lock, 1, &[0; 100], 30_000);
    site.pass(5_000);
    assert!(site.sent.is_empty() && site.take_outcome(1).is_none());
    let up = lock.up(Vec::new());
    site.hear(up);
    assert_eq!(site.take_outcome(1), Some(Outcome::Sent));
    // And is refused when the device has become too slow for it.
    site.pass(10_000);
    site.send(&lock, 2, &[0; 100], 30_000);
    let up = lock.up(Vec::new());
    site.hear_on(868_500_000, 12, 125, up);
    assert_eq!(site.take_outcome(2), Some(Outcome::Refused(Refusal::TooBig)));
}

#[test]
fn the_concentrator_clock_wraps() {
    let (mut site, mut lock) = joined(LorawanClass::A);
    site.tmst = u32::MAX.wrapping_sub(site.now as u32 * 1000).wrapping_sub(2_000_000);
    let up = lock.up(Vec::new());
    let heard = site.hear(up);
    assert!(heard > u32::MAX - 3_000_000);
    site.send(&lock, 1, b"frame", 30_000);
    assert_eq!(site.sent.pop().unwrap().1.tmst, Some(heard.wrapping_add(5_000_000)));
    assert!(heard.wrapping_add(5_000_000) < 3_000_000);
}

#[test]
fn jitter_on_the_way_up_shortens_the_time_that_is_left() {
    let (mut site, mut lock) = joined(LorawanClass::A);
    let up = lock.up(Vec::new());
    site.hear(up);
    let closes = site.take_window().unwrap();
    assert_eq!(closes - site.now, 4_770);
    site.pass(10_000);
    site.events.clear();
    // The next one reaches us 900 ms after it was received.
    let tmst = site.tmst_now();
    site.now += 900;
    let data = lock.up(Vec::new());
    let received = vec![Received { tmst, frequency: 868_100_000, sf: 7, bw: 125, rssi: -80, snr: 50, data }];
    site.datagram(&Packet::PushData { token: 9, eui: EUI, received, unreadable: 0 });
    let closes = site.take_window().unwrap();
    assert_eq!(closes - site.now, 3_870);
}

/// Anybody who reaches the socket can send a datagram; only what one of our devices signed moves the clock.
#[test]
fn a_forged_time_does_not_move_the_windows() {
    let (mut site, mut lock) = joined(LorawanClass::A);
    let up = lock.up(Vec::new());
    site.hear(up.clone());
    assert_eq!(site.take_window().unwrap() - site.now, 4_770);
    site.pass(10_000);
    // 900 ms ahead of the concentrator's clock, from a stranger and from a recording of a minute ago.
    let mut stranger = up.clone();
    stranger[1] ^= 0xff;
    for data in [stranger, up] {
        let tmst = site.tmst_now().wrapping_add(900_000);
        let received =
            vec![Received { tmst, frequency: 868_100_000, sf: 7, bw: 125, rssi: -80, snr: 50, data }];
        site.datagram(&Packet::PushData { token: 9, eui: EUI, received, unreadable: 0 });
    }
    site.pass(10_000);
    site.events.clear();
    let up = lock.up(Vec::new());
    site.hear(up);
    assert_eq!(site.take_window().unwrap() - site.now, 4_770);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the order of uplinks, sends, moods and pauses: one outcome per send, every timed downlink in time, and
    /// counters that only rise in the order of emission.
    #[test]
    fn every_send_has_one_outcome(
        class_c in any::<bool>(),
        steps in proptest::collection::vec((0_u8..8, 0_u64..9_000), 1..60),
    ) {
        let class = if class_c { LorawanClass::C } else { LorawanClass::A };
        let (mut site, mut lock) = joined(class);
        site.on_air.clear(); // The join-accept.
        let mut handle = 0;
        for (step, pause) in steps {
            match step {
                0 | 1 => { let up = lock.up(Vec::new()); site.hear(up); }
                2 => { let up = lock.confirmed(vec![1]); site.hear(up); }
                3 | 4 => { handle += 1; site.send(&lock, handle, b"frame", 1 + pause * 3); }
                5 => site.mood = Mood::Accepts,
                6 => site.mood = if pause % 2 == 0 { Mood::RefusesOnce("COLLISION_PACKET") } else { Mood::Silent },
                _ => site.command(Command::Cancel { handle }),
            }
            site.pass(pause);
        }
        site.mood = Mood::Accepts;
        site.pass(60_000);
        for handle in 1..=handle {
            prop_assert!(site.take_outcome(handle).is_some(), "no outcome of {}", handle);
            prop_assert!(site.take_outcome(handle).is_none(), "two outcomes of {}", handle);
        }
        for (at, transmit) in &site.sent {
            if let Some(tmst) = transmit.tmst {
                prop_assert!(u64::from(tmst.wrapping_sub(site.tmst)) / 1000 >= at + 80, "too late for its window");
            }
        }
        // What the forwarder refused never was on the air, and may lie behind what went out instead.
        site.on_air.sort();
        site.on_air.dedup_by(|a, b| a.1 == b.1);
        let counters: Vec<_> =
            site.on_air.iter().map(|(_, data)| u16::from_le_bytes([data[6], data[7]])).collect();
        let mut seen = std::collections::BTreeSet::new();
        for data in site.sent.iter().map(|(_, t)| t.data.clone()).collect::<std::collections::BTreeSet<_>>() {
            prop_assert!(seen.insert(u16::from_le_bytes([data[6], data[7]])), "one counter, two frames");
        }
        if site.network.counters().unanswered == 0 {
            prop_assert!(counters.windows(2).all(|pair| pair[0] <= pair[1]), "{:?}", counters);
        }
    }
}
