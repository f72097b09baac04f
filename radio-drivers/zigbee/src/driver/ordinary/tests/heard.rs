//! What locks say of themselves that is no state: PINs, questions, noise.

use super::*;

/// The PIN 4711 in everything that a lock may say of one: no trace of it in what the gateway is told.
#[test]
fn no_pin_of_a_lock_reaches_the_gateway() {
    let mut bench = Bench::with_lock(Rights::Watch, false);
    for hex in [
        "19 10 20 00 02 0700 04 34373131 ffffffff 00",
        "19 11 21 00 02 0700 04 34373131 00 01 ffffffff 00",
        "19 12 06 0700 01 00 04 34373131",
        "19 13 04 0100 01000000 00 00 02 0700 04 34373131",
    ] {
        bench.hear(0x0101, hex);
    }
    let told = format!("{:?}", bench.notices);
    assert!(told.contains("Operation") && told.contains("Programming"));
    assert!(
        !told.contains("4711") && !told.contains("34373131") && !told.contains("52, 55, 49, 49"),
        "{told}"
    );
}

#[test]
fn who_asks_for_the_time_or_for_firmware_is_answered_whenever_and_from_wherever_it_asks() {
    let mut bench = Bench::up(Some(Rights::Watch));
    assert_eq!(bench.admit(1), Outcome::Done);
    bench.say(Said::Joined { eui: eui(1), nwk: NwkAddr(0x1001) });
    let foreign = bench.driver.counters().foreign;
    // Before it was asked anything, and from an endpoint that is no lock.
    bench.hear(0x000A, "00 07 00 0000 0100");
    assert_eq!(bench.frame().unwrap().0, "000a 18SS010000010100001800");
    let (unix_ms, zone) = (1_767_225_600_000, Some(3_600));
    bench.driver.handle_wall(crate::driver::Wall { unix_ms, synced: true, zone });
    bench.hear(0x000A, "00 08 00 0000 0700");
    assert_eq!(bench.frame().unwrap().0, "000a 18SS01000000e28075e830070000239083e830");
    bench.set_up(true);
    bench.hear_from(3, 0x0019, "01 09 01 00 3412 0100 02000000");
    let (said, _, frame) = bench.frame().unwrap();
    assert_eq!((said.as_str(), frame.dst_endpoint), ("0019 19SS0298", 3));
    bench.hear_from(3, 0x0019, "10 09 0b 02 00");
    assert!(bench.frame().is_none(), "no answer to an answer");
    assert_eq!(bench.driver.counters().foreign, foreign);
    // However fast it asks, few answers are under way: three are, since the dongle says nothing of them.
    for _ in 0..100 {
        bench.hear(0x000A, "00 07 00 0000");
    }
    assert_eq!(std::iter::from_fn(|| bench.frame()).count(), 1);
    bench.sent(&frame, Sent::Acknowledged);
    bench.hear(0x000A, "00 07 00 0000");
    assert!(bench.frame().is_some());
}

#[test]
fn events_that_want_an_answer_get_one_and_other_questions_to_us_are_refused() {
    let mut bench = Bench::with_lock(Rights::Watch, false);
    bench.hear(0x0101, "09 21 20 02 01 0000 00 ffffffff 00");
    assert_eq!(bench.frame().unwrap().0, "0101 10SS0b2000");
    bench.hear(0x0101, "19 22 20 02 01 0000 00 ffffffff 00");
    assert!(bench.frame().is_none(), "it wants none");
    bench.hear(0x0101, "00 23 00 0000");
    assert_eq!(bench.frame().unwrap().0, "0101 18SS0b0081", "nobody's lock are we");
    bench.hear(0x0020, "09 24 00");
    assert_eq!(bench.frame().unwrap().0, "0020 11SS00000000");
    bench.hear(0x0101, "18 25 0b 01 00");
    assert!(bench.frame().is_none(), "no answer to an answer");
}

/// Whatever a device says: no panic, bounded queues, and no command that nobody gave.
#[test]
fn a_device_that_says_anything_at_all_is_survived() {
    let mut bench = Bench::with_lock(Rights::Command, false);
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for _ in 0..20_000 {
        let length = usize::try_from(random() % 24).unwrap();
        let mut payload: Vec<u8> = (0..length).map(|_| u8::try_from(random() & 0xFF).unwrap()).collect();
        if let Some(first) = payload.first_mut() {
            *first = [0x08, 0x18, 0x09, 0x19, 0x00, 0x01][usize::from(*first % 6)];
        }
        let cluster =
            [0x0101, 0x0001, 0x0000, 0x0009, 0x0020, 0x000A, 0x0019][usize::try_from(random() % 7).unwrap()];
        bench.hear(cluster, &hex::encode(payload));
        if random() % 16 == 0 {
            bench.pass(random() % 40_000);
        }
        assert!(bench.driver.fleet.flights.len() < 64, "{}", bench.driver.fleet.flights.len());
        for frame in std::iter::from_fn(|| bench.frame()).collect::<Vec<_>>() {
            assert!(frame.2.cluster != 0x0101 || frame.2.payload[0] & 3 == 0, "a command: {}", frame.0);
            bench.sent(&frame.2, Sent::Acknowledged);
        }
        bench.notices.clear();
        bench.orders.clear();
    }
}
