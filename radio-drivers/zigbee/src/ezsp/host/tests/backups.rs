//! A network that leaves its dongle, one that comes to another, a new key; and the move from one family to the other and back.

use super::*;
use crate::backup::{Backup, FRAME_COUNTER_JUMP};
use crate::ezsp::call::security;
use crate::zboss::tests::ncp as zboss;

const KEY: [u8; 16] = [0xA5; 16];

/// A dongle with three devices that have a link key; it knows the addresses of two.
fn inhabited(protocol: u8) -> ScriptedNcp {
    let mut ncp = ScriptedNcp::new(protocol, Some(OURS));
    ncp.memory.link_counter = 70;
    for (index, nwk) in [(0, 0x1001), (2, 0x1002), (5, 0x1003)] {
        ncp.memory.link_keys.insert(index, (device(nwk), Key([nwk as u8; 16])));
    }
    ncp.known = [0x1001, 0x1003].map(|nwk| (device(nwk), NwkAddr(nwk))).into();
    ncp
}

fn backed_up(bench: &mut Bench) -> Result<Box<Backup>, String> {
    bench.order(Order::Backup);
    bench.run(5_000);
    let backups = bench.events().into_iter().map(|event| match event {
        Event::BackedUp(backup) => backup,
        other => panic!("the network goes on meanwhile: {other:?}"),
    });
    let backups: Vec<_> = backups.collect();
    assert_eq!(backups.len(), 1);
    backups.into_iter().next().unwrap()
}

fn taken(protocol: u8) -> Backup {
    let mut bench = Bench::opened(inhabited(protocol), Some(OURS));
    bench.events();
    *backed_up(&mut bench).unwrap()
}

fn restored(ncp: ScriptedNcp, backup: &Backup) -> (Bench, Vec<Event>) {
    let mut bench = Bench::opened(ncp, None);
    bench.events();
    bench.order(Order::Restore { backup: Box::new(backup.clone()), replace: true });
    bench.run(10_000);
    let events = bench.events();
    (bench, events)
}

fn formed(events: &[Event]) -> Vec<&Result<Network, String>> {
    let formed = events.iter().filter_map(|event| match event {
        Event::Formed(formed) => Some(formed),
        _ => None,
    });
    formed.collect()
}

#[test]
fn a_backup_has_keys_counters_and_addresses_and_the_network_goes_on() {
    for protocol in PROTOCOLS {
        let backup = taken(protocol);
        assert_eq!((backup.network, backup.channels, backup.hashed_link_keys.clone()), (OURS, 1 << 15, None));
        assert_eq!(
            (backup.key.key.clone(), backup.key.number, backup.key.frame_counter),
            (Key(KEY), 4, 5_000)
        );
        let keys: Vec<_> = backup
            .link_keys()
            .map(|(eui, key)| (eui, key.key.0[0], key.tx_counter, key.rx_counter))
            .collect();
        let expected = [(0x1001, 1, 0), (0x1002, 2, 2), (0x1003, 3, 5)];
        assert_eq!(keys, expected.map(|(nwk, byte, rx)| (device(nwk), byte, 70, rx)).to_vec());
        let addresses: Vec<_> = backup.addresses().collect();
        assert_eq!(addresses, [0x1001, 0x1003].map(|nwk| (device(nwk), NwkAddr(nwk))));
        assert_eq!(Backup::parse(&backup.encode()), Ok(backup), "and it survives the file");
    }
}

#[test]
fn another_dongle_becomes_the_same_coordinator_with_counters_far_ahead() {
    for protocol in PROTOCOLS {
        let backup = taken(protocol);
        let (mut bench, events) = restored(ScriptedNcp::new(protocol, None), &backup);
        assert_eq!(formed(&events), vec![&Ok(OURS)]);
        assert_eq!(events.last(), Some(&Event::State(State::Up(OURS))));
        assert_eq!(bench.ncp.memory.frame_counter, 5_000 + FRAME_COUNTER_JUMP);
        let (bitmask, key) = bench.ncp.memory.security.clone().unwrap();
        assert!(bitmask & security::KEEP_COUNTERS != 0);
        assert_ne!(key, Key(*b"ZigBeeAlliance09"));
        let ahead = backup.jump().unwrap();
        let mut again = *backed_up(&mut bench).unwrap();
        // What a dongle received last cannot be told to another one.
        for (is, was) in again.devices.iter_mut().zip(&ahead.devices) {
            is.link_key.as_mut().unwrap().rx_counter = was.link_key.as_ref().unwrap().rx_counter;
        }
        assert_eq!(again, ahead);
        // Devices are known without being asked for.
        bench.ncp.told.clear();
        bench.order(Order::Send(frames::frame(1, 0x1003, bench.now + 60_000)));
        assert_eq!((bench.ncp.times(0x0060), bench.ncp.air.len()), (0, 1));
    }
}

#[test]
fn a_dongle_takes_the_others_address_or_nothing_of_it_is_erased() {
    let backup = taken(13);
    let other = Network { coordinator: Eui64([0x55; 8]), extended_pan: Eui64([6; 8]), ..OURS };
    let (bench, events) = restored(ScriptedNcp::new(13, Some(other)), &backup);
    assert_eq!(formed(&events), vec![&Ok(OURS)]);
    assert_eq!(bench.ncp.memory.address, Some(OURS.coordinator));
    let mut ncp = ScriptedNcp::new(13, Some(other));
    ncp.stubborn = true;
    let (bench, events) = restored(ncp, &backup);
    assert!(matches!(&events[..], [Event::Formed(Err(why))] if why.contains("address")), "{events:?}");
    assert_eq!(bench.ncp.memory.network, Some(ncp::parameters(other)));
    assert_eq!((bench.ncp.times(0x0020), bench.ncp.times(0x0077), bench.ncp.times(0x00B1)), (0, 0, 0));
}

#[test]
fn more_link_keys_than_the_dongle_has_room_for_are_not_restored_in_part() {
    let mut ncp = ScriptedNcp::new(16, Some(NEIGHBOURS));
    ncp.key_table = 2;
    let (bench, events) = restored(ncp, &taken(16));
    assert!(matches!(&events[..], [Event::Formed(Err(why))] if why.contains("room")), "{events:?}");
    assert_eq!(bench.ncp.times(0x0020), 0);
}

#[test]
fn a_network_is_not_restored_over_another_unless_the_order_says_so() {
    let mut bench = Bench::opened(ScriptedNcp::new(13, Some(NEIGHBOURS)), None);
    bench.events();
    bench.ncp.told.clear();
    bench.order(Order::Restore { backup: Box::new(taken(13)), replace: false });
    assert!(matches!(bench.events()[..], [Event::Formed(Err(_))]));
    assert_eq!(bench.ncp.told, vec![]);
}

#[test]
fn a_dongle_that_does_not_keep_the_counter_does_not_go_on_air_as_the_restored_one() {
    let mut ncp = ScriptedNcp::new(13, None);
    ncp.forgetful = true;
    let (_, events) = restored(ncp, &taken(13));
    assert!(matches!(formed(&events)[..], [Err(why)] if why.contains("frame counter")), "{events:?}");
    assert_eq!(events.last(), Some(&Event::State(State::Foreign(OURS))));
}

#[test]
fn link_keys_that_come_from_a_secret_move_with_it_within_the_family_and_no_further() {
    let mut ncp = inhabited(16);
    ncp.memory.link_keys.clear();
    let bitmask = security::GLOBAL_LINK_KEY | security::HASHED_LINK_KEYS;
    ncp.memory.security = Some((bitmask, Key([0x5E; 16])));
    let mut bench = Bench::opened(ncp, Some(OURS));
    bench.events();
    let backup = backed_up(&mut bench).unwrap();
    assert_eq!(backup.hashed_link_keys, Some(Key([0x5E; 16])));
    let (bench, events) = restored(ScriptedNcp::new(16, None), &backup);
    assert_eq!(formed(&events), vec![&Ok(OURS)]);
    let (bitmask, key) = bench.ncp.memory.security.clone().unwrap();
    assert_eq!((bitmask & security::HASHED_LINK_KEYS != 0, key), (true, Key([0x5E; 16])));
    let mut other = zboss::Bench::opened(zboss::ScriptedNcp::new(None), None);
    other.events();
    other.order(Order::Restore { backup, replace: false });
    assert!(matches!(&other.events()[..], [Event::Formed(Err(why))] if why.contains("Silicon Labs")));
}

/// From a ZBOSS dongle to one of Silicon Labs, of either layout, and back to a third one; by the file each time.
#[test]
fn a_network_moves_from_one_family_to_the_other_and_back() {
    use crate::zboss::call::{AddressMap, ApsSecure, IbCounters, SecureEntry};

    for protocol in PROTOCOLS {
        let mut first = zboss::ScriptedNcp::new(Some(OURS));
        (first.nvram.key, first.nvram.key_number) = (Some(Key(KEY)), 4);
        let flags = SecureEntry::UNIQUE_AND_VERIFIED;
        let keys =
            [0x1001u16, 0x1002].map(|nwk| SecureEntry { eui: device(nwk), key: Key([nwk as u8; 16]), flags });
        let map = [0x1001, 0x1002].map(|nwk| (device(nwk), NwkAddr(nwk)));
        first.nvram.datasets = [
            (7, (1, IbCounters { nib: 5_000, aib: 70 }.encode())),
            (14, (0, ApsSecure(keys.to_vec()).encode().to_vec())),
            (11, (2, AddressMap(map.to_vec()).encode())),
        ]
        .into();
        let there = zboss_backup(&mut zboss::Bench::opened(first, Some(OURS)));
        assert_eq!(
            (there.key.frame_counter, there.link_frame_counter(), there.devices.len()),
            (5_000, 70, 2)
        );

        let file = there.encode();
        let (mut second, events) = restored(ScriptedNcp::new(protocol, None), &Backup::parse(&file).unwrap());
        assert_eq!(formed(&events), vec![&Ok(OURS)]);
        let between = *backed_up(&mut second).unwrap();
        assert_eq!(same(&between), same(&there.jump().unwrap()));

        let file = between.encode();
        let mut third = zboss::Bench::opened(zboss::ScriptedNcp::new(None), Some(OURS));
        third.events();
        let backup = Box::new(Backup::parse(&file).unwrap());
        third.order(Order::Restore { backup, replace: false });
        third.run(3_000);
        assert_eq!(formed(&third.events()), vec![&Ok(OURS)]);
        let back = zboss_backup(&mut third);
        assert_eq!(same(&back), same(&there.jump().unwrap().jump().unwrap()));
        assert_eq!(back.key.frame_counter, 5_000 + 2 * FRAME_COUNTER_JUMP);
        assert_eq!(back.link_frame_counter(), 70 + 2 * FRAME_COUNTER_JUMP);
    }
}

fn zboss_backup(bench: &mut zboss::Bench) -> Backup {
    bench.events();
    bench.order(Order::Backup);
    bench.run(2_000);
    match bench.events().pop() {
        Some(Event::BackedUp(Ok(backup))) => *backup,
        other => panic!("{other:?}"),
    }
}

/// All that must be the same, counters too; not what only one family tells (the update's number, what was received last).
#[allow(clippy::type_complexity)]
fn same(backup: &Backup) -> (Network, u32, [u8; 16], u8, u32, Vec<(Eui64, Option<NwkAddr>, [u8; 16], u32)>) {
    let devices = backup.devices.iter().map(|device| {
        let link_key = device.link_key.as_ref().unwrap();
        (device.eui, device.nwk, link_key.key.0, link_key.tx_counter)
    });
    let key = &backup.key;
    (backup.network, backup.channels, key.key.0, key.number, key.frame_counter, devices.collect())
}

#[test]
fn the_network_gets_a_new_key_and_sleeping_devices_have_time_to_fetch_it() {
    for protocol in PROTOCOLS {
        let mut bench = Bench::opened(inhabited(protocol), Some(OURS));
        bench.events();
        bench.order(Order::RotateKey(Key([0x77; 16])));
        bench.run(29_000);
        assert_eq!((bench.ncp.times(0x0073), bench.ncp.times(0x0074), bench.events()), (1, 0, vec![]));
        bench.run(2_000);
        assert_eq!(bench.events(), vec![Event::KeyRotated(Ok(5))]);
        assert_eq!((bench.ncp.memory.key.clone(), bench.ncp.memory.key_number), (Some(Key([0x77; 16])), 5));
        bench.ncp.refuses.insert(0x0073, Status::INVALID_STATE);
        bench.order(Order::RotateKey(Key([0x78; 16])));
        assert!(matches!(&bench.events()[..], [Event::KeyRotated(Err(why))] if why.contains("0x0073")));
    }
}

#[test]
fn a_chore_has_one_end_whatever_happens_meanwhile() {
    let mut bench = Bench::opened(inhabited(13), Some(OURS));
    bench.events();
    bench.ncp.ignores.insert(0x0116);
    bench.order(Order::Backup);
    bench.order(Order::RotateKey(Key([1; 16])));
    bench.order(Order::Restore { backup: Box::new(taken(13)), replace: true });
    let events = bench.events();
    assert!(matches!(events[..], [Event::KeyRotated(Err(_)), Event::Formed(Err(_))]), "{events:?}");
    bench.run(20_000);
    let ends = bench.events().into_iter().filter(|event| matches!(event, Event::BackedUp(_)));
    assert_eq!(
        ends.collect::<Vec<_>>(),
        vec![Event::BackedUp(Err("the network went down meanwhile".into()))]
    );
    assert!(backed_up(&mut bench).is_ok());
}
