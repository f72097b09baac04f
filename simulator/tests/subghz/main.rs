//! The CC1101 driver on the model of the chip, on a virtual clock: nothing here waits.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod bench;
mod energy;
mod faults;
mod many;
mod net;
mod network;
mod port;
mod rest;

use bench::{Bench, Ended, frame};
use cardea_simulator::subghz::{ChipConfig, Conditions};
use cardea_subghz::cc1101::{Config, Profile};
use cardea_subghz::{Event, Refusal, Transceiver};

const SECOND: u64 = 1_000_000;

fn config(profile: Profile, max_frame: u8) -> Config {
    Config { profile, max_frame, ..Config::default() }
}

#[test]
fn frames_of_every_length_arrive_in_all_profiles() {
    for profile in Profile::ALL {
        for max_frame in [61, 255] {
            let mut bench = Bench::new(1, Conditions::default(), &[config(profile, max_frame); 2]);
            bench.run(SECOND / 50);
            for len in 1..=usize::from(max_frame) {
                // Both ways, so that each of them turns round after each frame.
                for (from, to) in [(0, 1), (1, 0)] {
                    let sent = frame(len, (len + from) as u8);
                    assert_eq!(bench.send(from, &sent, true), Ok(Ended::Sent), "{profile:?} {len} {from}");
                    bench.run(SECOND / 200);
                    let got = bench.received(to);
                    assert_eq!(got.len(), 1, "{profile:?} {len} from {from}: {:?}", bench.counters(to));
                    assert_eq!(got[0].frame, sent);
                    assert_eq!((got[0].rssi, got[0].timed), (Some(-60), true));
                }
            }
            for node in 0..2 {
                let counters = bench.counters(node);
                let clean = (counters.bad_crc, counters.malformed, counters.overflows, counters.underflows);
                assert_eq!(
                    (clean, counters.missed_edges, counters.resets),
                    ((0, 0, 0, 0), 0, 1),
                    "{profile:?}"
                );
            }
        }
    }
}

#[test]
fn an_answer_that_comes_at_once_is_heard() {
    for profile in Profile::ALL {
        let mut bench = Bench::new(2, Conditions::default(), &[config(profile, 61); 2]);
        bench.run(SECOND / 50);
        bench.answer(1, &frame(9, 7));
        assert_eq!(bench.send(0, &frame(40, 1), true), Ok(Ended::Sent));
        bench.run(SECOND / 10);
        assert_eq!(bench.received(0).len(), 1, "{profile:?}");
    }
}

#[test]
fn a_frame_in_a_packet_is_stamped_with_the_end_of_its_last_bit() {
    let mut bench = Bench::new(3, Conditions::default(), &[config(Profile::Standard, 61); 2]);
    bench.run(SECOND / 50);
    assert_eq!(bench.send(0, &frame(20, 1), true), Ok(Ended::Sent));
    bench.run(SECOND / 100);
    let burst = bench.air.bursts().remove(0);
    let end = (burst.start_ns + burst.bytes.len() as u64 * burst.byte_ns) / 1_000;
    assert!(bench.received(1)[0].at.abs_diff(end) <= 1);
    let air = Profile::Standard.air_us(20);
    assert!(air.abs_diff(burst.bytes.len() as u64 * burst.byte_ns / 1_000) <= 1);
}

#[test]
fn what_is_on_air_is_preamble_sync_twice_length_frame_and_checksum() {
    let mut bench = Bench::new(4, Conditions::default(), &[config(Profile::Standard, 61)]);
    bench.run(SECOND / 50);
    assert_eq!(bench.send(0, b"123456789", true), Ok(Ended::Sent));
    let bytes = bench.air.bursts().remove(0).bytes;
    let expected = [&hex::decode("aaaaaaaac956c95609").unwrap()[..], b"123456789"].concat();
    assert_eq!(bytes[..18], expected);
    // By the crate `crc`; the model has its own.
    let crc = crc::Crc::<u16>::new(&crc::CRC_16_CMS).checksum(&bytes[8..18]);
    assert_eq!(bytes[18..], crc.to_be_bytes());
}

#[test]
fn damaged_frames_are_counted_and_never_delivered() {
    let weather = Conditions { bit_errors: 0.002, ..Conditions::default() };
    let mut bench = Bench::new(5, weather, &[config(Profile::Standard, 255); 2]);
    bench.run(SECOND / 50);
    let mut got = 0;
    for round in 0..200_usize {
        let sent = frame(1 + round, round as u8);
        assert!(bench.send(0, &sent, true).is_ok());
        bench.run(SECOND / 5);
        for received in bench.received(1) {
            assert_eq!(received.frame, sent, "round {round}");
            got += 1;
        }
    }
    let counters = bench.counters(1);
    println!("{got} of 200 arrived, {counters:?}");
    assert!(counters.bad_crc > 20 && got > 20);
    assert_eq!(counters.resets, 1);
}

#[test]
fn two_who_send_at_once_collide_and_the_stronger_is_captured() {
    use cardea_subghz::cc1101::Power;
    for (weak, survives) in [(Power::Plus10, false), (Power::Minus10, true)] {
        let strong = config(Profile::Standard, 61);
        let mut bench =
            Bench::new(6, Conditions::default(), &[strong, Config { power: weak, ..strong }, strong]);
        bench.run(SECOND / 50);
        let at = bench.air.now();
        assert_eq!(bench.radio(0).send(at, &frame(30, 1), false), Ok(()));
        assert_eq!(bench.radio(1).send(at, &frame(30, 2), false), Ok(()));
        bench.run(SECOND / 10);
        assert_eq!(bench.received(2).iter().any(|got| got.frame == frame(30, 1)), survives);
        assert!(!bench.received(2).iter().any(|got| got.frame == frame(30, 2)));
    }
}

#[test]
fn who_listens_first_waits_for_others_to_end() {
    let mut bench = Bench::new(7, Conditions::default(), &[config(Profile::Slow, 61); 3]);
    bench.run(SECOND / 50);
    let at = bench.air.now();
    assert_eq!(bench.radio(0).send(at, &frame(50, 1), true), Ok(()));
    bench.run(3_000);
    // The preamble is a carrier already; the packet is none yet.
    assert_eq!(bench.send(1, &frame(10, 2), true), Ok(Ended::Busy));
    bench.run(40_000);
    let at = bench.air.now();
    assert_eq!(bench.radio(1).send(at, &frame(10, 2), true), Err(Refusal::Occupied));
    bench.run(SECOND / 2);
    assert_eq!(bench.received(2).len(), 1);
    assert_eq!(bench.send(1, &frame(10, 2), true), Ok(Ended::Sent));
    bench.run(SECOND / 10);
    assert_eq!(bench.received(2)[0].frame, frame(10, 2));
}

#[test]
fn a_crystal_that_is_off_is_learned_from_frames_of_ours_and_only_so_far() {
    let crystals = [ChipConfig { ppm: 60.0, ..ChipConfig::default() }, ChipConfig::default()];
    let mut bench =
        Bench::with_chips(8, Conditions::default(), &[config(Profile::Standard, 61); 2], &crystals);
    bench.run(SECOND / 50);
    let mut offsets = Vec::new();
    for round in 0..64 {
        assert_eq!(bench.send(1, &frame(20, round), true), Ok(Ended::Sent));
        bench.run(SECOND / 50);
        let offset = bench.received(0)[0].offset_hz.unwrap();
        offsets.push(offset);
        bench.radio(0).learn(offset);
    }
    println!("offsets {offsets:?}");
    assert!((-28_000..-24_000).contains(&offsets[0]), "433.92 MHz × 60 ppm is 26 kHz");
    assert!(offsets[63].abs() < 6_400, "{offsets:?}");
    for _ in 0..800 {
        bench.radio(0).learn(1_000_000);
    }
    assert_eq!(bench.radio(0).config().offset, 31);
}

#[test]
fn nothing_is_sent_that_is_empty_or_too_long_or_before_the_chip_is_ready() {
    let mut bench = Bench::new(9, Conditions::default(), &[config(Profile::Standard, 61)]);
    let at = bench.air.now();
    assert_eq!(bench.radio(0).send(at, &[1], true), Err(Refusal::NotReady));
    bench.run(SECOND / 50);
    let at = bench.air.now();
    assert_eq!(bench.radio(0).send(at, &[], true), Err(Refusal::Length));
    assert_eq!(bench.radio(0).send(at, &[0; 62], true), Err(Refusal::Length));
    assert!(
        matches!(bench.events(0)[..], [Event::Health(health)] if health.up && health.version == Some(0x14))
    );
    assert!(bench.air.bursts().is_empty());
}
