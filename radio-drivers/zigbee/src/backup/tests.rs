//! Files of other programs, files of ours, and files that are none.

use super::*;

/// Written by zigpy 2.4.0 (`NetworkBackup.as_open_coordinator_json`): two devices with a link key, one without, one child.
const ZIGPY: &[u8] = include_bytes!("../../../../tests/vectors/backup-zigpy.json");

fn zigpy() -> Backup {
    Backup::parse(ZIGPY).unwrap()
}

fn with(find: &str, replace: &str) -> Result<Backup, BackupError> {
    let text = String::from_utf8_lossy(ZIGPY);
    assert!(text.contains(find), "{find}");
    Backup::parse(text.replacen(find, replace, 1).as_bytes())
}

#[test]
fn a_file_of_zigpy_is_read_field_by_field() {
    let backup = zigpy();
    let network = Network {
        coordinator: Eui64([0x00, 0x12, 0x4B, 0x00, 0x1C, 0xA1, 0xB8, 0x46]),
        extended_pan: Eui64([0xDD, 0xDD, 0xDD, 0xDD, 0xDD, 0xDD, 0xDD, 0x01]),
        pan: 0x1A62,
        channel: 15,
    };
    assert_eq!(backup.source, "bellows@1.2.1");
    assert_eq!((backup.network, backup.channels, backup.update_id), (network, 1 << 15 | 1 << 20, 3));
    assert_eq!(hex::encode(backup.key.key.0), "01030507090b0d0f00020406080a0c0d");
    assert_eq!((backup.key.number, backup.key.frame_counter), (7, 108_522));
    let hashed = backup.hashed_link_keys.as_ref().map(|key| hex::encode(key.0));
    assert_eq!(hashed.as_deref(), Some("71c31555703788fba43a3fee7b0baef4"));
    let devices: Vec<_> =
        backup.devices.iter().map(|d| (d.eui.to_string(), d.nwk.map(|nwk| nwk.0), d.child)).collect();
    let expected = [
        ("00124b002226ef87", Some(0x6B5D), true),
        ("00158d0002ec571d", Some(0x0ABC), false),
        ("04cf8cdf3c79455f", None, false),
    ];
    assert_eq!(devices, expected.map(|(eui, nwk, child)| (eui.to_owned(), nwk, child)));
    let keys: Vec<_> =
        backup.link_keys().map(|(_, k)| (hex::encode(k.key.0), k.rx_counter, k.tx_counter)).collect();
    let expected = [
        ("4422b6772c140f380dfd6f51f50e1693".to_owned(), 842, 35_830),
        ("9c88e969f3d3d23cd557304f2ac9cb97".to_owned(), 6, 10_098),
    ];
    assert_eq!(keys, expected);
}

/// The file that zigpy 2.4.0 reads as the same network as its own (`NetworkBackup.from_open_coordinator_json`).
#[test]
fn a_file_of_ours_is_these_bytes() {
    let ours = include_str!("../../../../tests/vectors/backup-cardea.json");
    assert_eq!(std::str::from_utf8(&zigpy().encode()), Ok(ours));
}

#[test]
fn what_is_written_is_read_again_as_the_same_and_without_growing() {
    let mut backup = zigpy();
    backup.source = "cardea@0.1.0".to_owned();
    let link_key = backup.devices[0].link_key.clone();
    backup.devices = (0..MAX_DEVICES)
        .map(|n| {
            let [high, low] = u16::try_from(n + 1).unwrap().to_be_bytes();
            Device {
                eui: Eui64([1, 2, 3, 4, 5, 6, high, low]),
                nwk: Some(NwkAddr(u16::from_be_bytes([high, low]))),
                child: n % 2 == 0,
                link_key: link_key.clone(),
            }
        })
        .collect();
    let file = backup.encode();
    assert_eq!(
        file.capacity(),
        2_048 + 12 + MAX_DEVICES * 320,
        "a vector that grew would have left keys behind"
    );
    assert!(file.len() <= MAX_FILE);
    assert_eq!(Backup::parse(&file), Ok(backup));
}

#[test]
fn outgoing_counters_jump_and_others_stay() {
    let (before, after) = (zigpy(), zigpy().jump().unwrap());
    assert_eq!(after.key.frame_counter, 108_522 + FRAME_COUNTER_JUMP);
    assert_eq!(after.link_frame_counter(), 35_830 + FRAME_COUNTER_JUMP);
    let rx = |backup: &Backup| backup.link_keys().map(|(_, key)| key.rx_counter).collect::<Vec<_>>();
    assert_eq!(rx(&before), rx(&after));
    let mut old = zigpy();
    old.key.frame_counter = u32::MAX - FRAME_COUNTER_JUMP + 1;
    assert_eq!(old.jump(), Err(BackupError::UsedUp));
    let mut old = zigpy();
    old.devices[0].link_key.as_mut().unwrap().tx_counter = u32::MAX;
    assert_eq!(old.jump(), Err(BackupError::UsedUp));
}

#[test]
fn other_formats_and_versions_are_refused() {
    assert_eq!(with("\"version\": 1", "\"version\": 2"), Err(BackupError::Version));
    assert_eq!(with("zigpy/open-coordinator-backup", "other"), Err(BackupError::Version));
    assert!(matches!(with("\"version\": 1", "\"version\": \"0.0.1\""), Err(BackupError::Form { .. })));
    assert_eq!(Backup::parse(&vec![b' '; MAX_FILE + 1]), Err(BackupError::TooLong));
}

#[test]
fn what_no_network_can_have_is_refused_by_name() {
    for (find, replace, what) in [
        ("\"channel\": 15", "\"channel\": 27", "the channel"),
        ("\"channel\": 15", "\"channel\": 16", "the channel mask"),
        ("\"pan_id\": \"1a62\"", "\"pan_id\": \"ffff\"", "the PAN id"),
        ("\"security_level\": 5", "\"security_level\": 0", "the security level"),
        ("dddddddddddddd01", "ffffffffffffffff", "the extended PAN id"),
        ("01030507090b0d0f00020406080a0c0d", "ffffffffffffffffffffffffffffffff", "the network key"),
        ("00158d0002ec571d", "00124b002226ef87", "a device's address"),
        ("00158d0002ec571d", "00124b001ca1b846", "a device's address"),
        ("\"0abc\"", "\"6b5d\"", "a device's address in the network"),
        ("\"0abc\"", "\"fffd\"", "a device's address in the network"),
        ("\"0abc\"", "\"0000\"", "a device's address in the network"),
        ("9c88e969f3d3d23cd557304f2ac9cb97", "00000000000000000000000000000000", "a link key"),
    ] {
        assert_eq!(with(find, replace), Err(BackupError::Field(what)), "{find} → {replace}");
    }
}

#[test]
fn fields_of_another_form_are_refused_and_nothing_of_them_is_quoted() {
    for (find, replace) in [
        ("\"frame_counter\": 108522", "\"frame_counter\": -1"),
        ("\"frame_counter\": 108522", "\"frame_counter\": 4294967296"),
        ("\"frame_counter\": 108522", "\"frame_counter\": \"9c88e969\""),
        ("\"frame_counter\": 108522", "\"frame_counter\": 1, \"frame_counter\": 2"),
        ("\"sequence_number\": 7", "\"sequence_number\": 256"),
        ("9c88e969f3d3d23cd557304f2ac9cb97", "9c88e969f3d3d23cd557304f2ac9cb9"),
        ("9c88e969f3d3d23cd557304f2ac9cb97", "9c88e969f3d3d23cd557304f2ac9cb97a"),
        ("9c88e969f3d3d23cd557304f2ac9cb97", "xc88e969f3d3d23cd557304f2ac9cb97"),
        // The digit 9, escaped: right JSON, but read by way of a buffer that nobody erases.
        ("9c88e969f3d3d23cd557304f2ac9cb97", "\\u0039c88e969f3d3d23cd557304f2ac9cb97"),
        ("\"network_key\"", "\"network_keys\""),
    ] {
        let error = with(find, replace).unwrap_err();
        assert!(matches!(error, BackupError::Form { .. }), "{find} → {replace}: {error}");
        assert!(!error.to_string().contains("c88e969") && !format!("{error:?}").contains("c88e969"));
    }
    for cut in 0..ZIGPY.len() - 2 {
        assert!(Backup::parse(&ZIGPY[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn addresses_without_leading_zeros_are_read_as_zigbee_herdsman_writes_them() {
    let backup = with("\"0abc\"", "\"abc\"").unwrap();
    assert_eq!(backup, zigpy());
    assert_eq!(with("\"0ABC\"".to_lowercase().as_str(), "\"0ABC\"").unwrap(), zigpy(), "of either case");
}

#[test]
fn a_backup_shows_its_network_and_no_key() {
    let shown = format!("{:?}", zigpy());
    assert!(shown.ends_with("3 devices)") && !shown.contains("Key"), "{shown}");
}
