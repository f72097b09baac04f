//! A network that leaves its dongle, one that comes to another, and a new key.

use super::*;
use crate::backup::{Backup, FRAME_COUNTER_JUMP};
use crate::zboss::call::{AddressMap, ApsSecure, IbCounters, SecureEntry};

const KEY: [u8; 16] = [0xA5; 16];

/// A dongle with three devices: two with a link key, two with an address.
fn inhabited() -> ScriptedNcp {
    let mut ncp = ScriptedNcp::new(Some(OURS));
    (ncp.nvram.key, ncp.nvram.key_number) = (Some(Key(KEY)), 4);
    let entry = |nwk: u16| SecureEntry {
        eui: device(nwk),
        key: Key([nwk as u8; 16]),
        flags: SecureEntry::UNIQUE_AND_VERIFIED,
    };
    let keys = ApsSecure(vec![entry(0x1001), entry(0x1002)]);
    let map = AddressMap(vec![
        (OURS.coordinator, NwkAddr(0)),
        (device(0x1001), NwkAddr(0x1001)),
        (device(0x1003), NwkAddr(0x1003)),
    ]);
    ncp.nvram.datasets = BTreeMap::from([
        (7, (1, IbCounters { nib: 5_000, aib: 70 }.encode())),
        (14, (0, keys.encode().to_vec())),
        (11, (2, map.encode())),
    ]);
    ncp
}

fn backed_up(bench: &mut Bench) -> Result<Box<Backup>, String> {
    bench.order(Order::Backup);
    bench.run(1_000);
    let backups = bench.events().into_iter().map(|event| match event {
        Event::BackedUp(backup) => backup,
        other => panic!("the network goes on meanwhile: {other:?}"),
    });
    let backups: Vec<_> = backups.collect();
    assert_eq!(backups.len(), 1);
    backups.into_iter().next().unwrap()
}

fn taken() -> Backup {
    let mut bench = Bench::opened(inhabited(), Some(OURS));
    bench.events();
    *backed_up(&mut bench).unwrap()
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
    let backup = taken();
    assert_eq!((backup.network, backup.channels, backup.hashed_link_keys.clone()), (OURS, 1 << 15, None));
    assert_eq!((backup.key.key.clone(), backup.key.number, backup.key.frame_counter), (Key(KEY), 4, 5_000));
    assert_eq!(backup.link_frame_counter(), 70);
    let keys: Vec<_> = backup.link_keys().map(|(eui, key)| (eui, key.key.0[0])).collect();
    assert_eq!(keys, vec![(device(0x1001), 0x01), (device(0x1002), 0x02)]);
    let addresses: Vec<_> = backup.addresses().collect();
    assert_eq!(addresses, [0x1001, 0x1003].map(|nwk| (device(nwk), NwkAddr(nwk))));
    assert_eq!(Backup::parse(&backup.encode()), Ok(backup), "and it survives the file");
}

#[test]
fn a_network_that_nobody_joined_has_a_backup_and_one_without_its_counter_has_none() {
    let mut ncp = inhabited();
    ncp.nvram.datasets.retain(|dataset, _| *dataset == 7);
    let mut bench = Bench::opened(ncp, Some(OURS));
    bench.events();
    assert!(backed_up(&mut bench).unwrap().devices.is_empty());
    bench.ncp.nvram.datasets.clear();
    assert!(backed_up(&mut bench).unwrap_err().contains("0x002f"));
    bench.ncp.nvram.datasets = inhabited().nvram.datasets;
    bench.ncp.nvram.datasets.get_mut(&14).unwrap().1.pop();
    assert!(backed_up(&mut bench).unwrap_err().starts_with("dataset 14"));
    bench.ncp.nvram.key = None;
    bench.ncp.nvram.datasets = inhabited().nvram.datasets;
    assert!(backed_up(&mut bench).unwrap_err().contains("network key"));
    assert!(bench.host.is_up());
}

#[test]
fn two_hundred_and_fifty_devices_fit() {
    let mut backup = taken();
    let template = backup.devices[0].clone();
    let device = |n: u16| crate::backup::Device { eui: device(n), nwk: Some(NwkAddr(n)), ..template.clone() };
    backup.devices = (1..=250).map(device).collect();
    let mut bench = Bench::opened(ScriptedNcp::new(None), None);
    bench.order(Order::Restore { backup: Box::new(backup.clone()), replace: false });
    bench.run(3_000);
    assert_eq!(formed(&bench.events()), vec![&Ok(OURS)]);
    let again = backed_up(&mut bench).unwrap();
    assert_eq!(again.devices.len(), 250);
    assert_eq!(again.devices, backup.jump().unwrap().devices);
    backup.devices.extend((251..=256).map(device));
    bench.order(Order::Restore { backup: Box::new(backup), replace: true });
    assert!(matches!(bench.events()[..], [Event::Formed(Err(_))]));
    assert_eq!(bench.ncp.times(0x0002), 2, "nothing was erased for it");
}

#[test]
fn another_dongle_becomes_the_same_coordinator_with_counters_far_ahead() {
    let backup = taken();
    let mut ncp = ScriptedNcp::new(None);
    ncp.eui = Eui64([0x55; 8]);
    let mut bench = Bench::opened(ncp, Some(OURS));
    assert_eq!(bench.states(), vec![State::Starting, State::Unformed]);
    bench.order(Order::Restore { backup: Box::new(backup.clone()), replace: false });
    bench.run(3_000);
    let events = bench.events();
    assert_eq!(formed(&events), vec![&Ok(OURS)]);
    assert_eq!(events.last(), Some(&Event::State(State::Up(OURS))));
    let calls: Vec<u16> = bench.ncp.asked.iter().map(Request::call).collect();
    let at = |call: u16| calls.iter().position(|c| *c == call).unwrap();
    assert!(at(0x0032) < at(0x0401), "nobody could join before the policies were set");
    assert!(at(0x000C) < at(0x0401) && at(0x0401) < at(0x000A) && at(0x000A) < at(0x002E));
    let written = bench.ncp.asked.iter().filter_map(|request| match request {
        Request::NvramWrite { datasets } => Some(datasets.0[0].kind),
        _ => None,
    });
    assert_eq!(written.collect::<Vec<_>>(), vec![7, 14, 11]);
    let resets = bench.ncp.asked.iter().filter_map(|request| match request {
        Request::NcpReset { option } => Some(*option),
        _ => None,
    });
    assert_eq!(resets.collect::<Vec<_>>(), vec![reset::FACTORY, reset::KEEP]);
    let mut again = *backed_up(&mut bench).unwrap();
    assert_eq!(again.key.frame_counter, 5_000 + FRAME_COUNTER_JUMP);
    assert_eq!(again.link_frame_counter(), 70 + FRAME_COUNTER_JUMP);
    again.source.clone_from(&backup.source);
    assert_eq!(again, backup.jump().unwrap());
    // Devices are known without being asked for.
    bench.order(Order::Ask { handle: 1, eui: device(0x1003), question: Question::Endpoints });
    assert_eq!(bench.ncp.times(0x0406), 0);
}

#[test]
fn a_network_is_not_restored_over_another_unless_the_order_says_so() {
    let backup = Box::new(taken());
    for ncp in [ScriptedNcp::new(Some(NEIGHBOURS)), ScriptedNcp::new(Some(OURS))] {
        let mut bench = Bench::opened(ncp, Some(OURS));
        bench.events();
        bench.order(Order::Restore { backup: backup.clone(), replace: false });
        assert!(matches!(bench.events()[..], [Event::Formed(Err(_))]));
        assert_eq!((bench.ncp.times(0x0002), bench.ncp.times(0x0401)), (0, 0));
        bench.order(Order::Restore { backup: backup.clone(), replace: true });
        bench.run(3_000);
        assert_eq!(formed(&bench.events()), vec![&Ok(OURS)]);
    }
}

#[test]
fn a_dongle_that_does_not_keep_the_counter_does_not_go_on_air_as_the_restored_one() {
    let mut ncp = ScriptedNcp::new(None);
    ncp.forgetful = true;
    let mut bench = Bench::opened(ncp, None);
    bench.order(Order::Restore { backup: Box::new(taken()), replace: false });
    bench.run(3_000);
    let events = bench.events();
    assert!(matches!(formed(&events)[..], [Err(why)] if why.contains("frame counter")), "{events:?}");
    assert_eq!(events.last(), Some(&Event::State(State::Foreign(OURS))));
}

#[test]
fn what_cannot_be_restored_erases_nothing() {
    let mut hashed = taken();
    hashed.hashed_link_keys = Some(Key([3; 16]));
    let mut used_up = taken();
    used_up.key.frame_counter = u32::MAX;
    let mut impossible = taken();
    impossible.network.channel = 9;
    let mut bench = Bench::opened(inhabited(), Some(OURS));
    for backup in [hashed, used_up, impossible] {
        bench.events();
        bench.order(Order::Restore { backup: Box::new(backup), replace: true });
        assert!(matches!(bench.events()[..], [Event::Formed(Err(_))]));
    }
    assert_eq!(bench.ncp.times(0x0002), 0);
    assert!(bench.host.is_up());
}

#[test]
fn the_network_gets_a_new_key_under_the_next_number() {
    let mut bench = Bench::opened(inhabited(), Some(OURS));
    bench.events();
    bench.order(Order::RotateKey(Key([0x77; 16])));
    assert_eq!(bench.events(), vec![Event::KeyRotated(Ok(5))]);
    assert_eq!((bench.ncp.nvram.key.clone(), bench.ncp.nvram.key_number), (Some(Key([0x77; 16])), 5));
    bench.ncp.refuses.insert(0x001B, Status { category: 0, code: 1 });
    bench.order(Order::RotateKey(Key([0x78; 16])));
    assert!(matches!(&bench.events()[..], [Event::KeyRotated(Err(why))] if why.contains("0x001b")));
    assert_eq!(bench.ncp.times(0x0517), 1);
}

#[test]
fn a_chore_has_one_end_whatever_happens_meanwhile() {
    let mut bench = Bench::opened(inhabited(), Some(OURS));
    bench.events();
    bench.ncp.ignores = vec![0x002F];
    bench.order(Order::Backup);
    bench.order(Order::RotateKey(Key([1; 16])));
    bench.order(Order::Backup);
    let events = bench.events();
    assert!(matches!(events[..], [Event::KeyRotated(Err(_)), Event::BackedUp(Err(_))]), "{events:?}");
    bench.ncp.restart(0);
    bench.run(2_000);
    let ends = bench.events().into_iter().filter(|event| matches!(event, Event::BackedUp(_)));
    assert_eq!(
        ends.collect::<Vec<_>>(),
        vec![Event::BackedUp(Err("the network went down meanwhile".into()))]
    );
    assert!(backed_up(&mut bench).is_ok());
    bench.ncp.ignores = vec![0x001E];
    bench.order(Order::Backup);
    bench.run(6_000);
    assert_eq!(bench.events(), vec![Event::BackedUp(Err("the dongle does not answer".into()))]);
    bench.host.handle_close("unplugged");
    bench.order(Order::Backup);
    assert!(bench.events().iter().any(|event| matches!(event, Event::BackedUp(Err(_)))));
}
