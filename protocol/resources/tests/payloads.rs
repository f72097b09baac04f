//! Literal bytes of every payload, and what the decoders refuse.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper that fails is a failing test")]

use cardea_resources::*;
use proptest::prelude::*;

/// Encodes, compares with the literal bytes, decodes again, with and without padding.
macro_rules! literal {
    ($type:ident, $value:expr, $hex:literal) => {{
        let value = $value;
        let mut out = [0xaa; 64];
        let len = value.encode(&mut out).unwrap();
        assert_eq!(hex::encode(&out[..len]), $hex);
        assert!(len <= $type::MAX_LEN, "MAX_LEN");
        assert_eq!($type::decode(&out[..len]), Ok(value));
        let padded = pad(&mut out, len, 48).unwrap();
        assert_eq!((padded, $type::decode(&out[..padded])), (48, Ok(value)));
        assert_eq!(value.encode(&mut out[..len - 1]), Err(Error::BufferTooSmall));
    }};
}

#[test]
fn command() {
    let unlock = Command { id: [1, 2, 3, 4], op: Op::Unlock, not_after: None };
    literal!(Command, unlock, "a20044010203040101");
    literal!(Command, Command { op: Op::Lock, ..unlock }, "a20044010203040100");
    literal!(Command, Command { not_after: Some(0xffff_ffff), ..unlock }, "a30044010203040101021affffffff");
}

#[test]
fn command_reply() {
    let done = CommandReply { id: [1, 2, 3, 4], outcome: Outcome::Done, bolt: Bolt::Unlocked };
    literal!(CommandReply, done, "a300440102030401000201");
    let failed = CommandReply { outcome: Outcome::Failed, bolt: Bolt::Jammed, ..done };
    literal!(CommandReply, failed, "a300440102030401010202");
    let late = CommandReply { outcome: Outcome::Refused(Refusal::Expired), bolt: Bolt::Locked, ..done };
    literal!(CommandReply, late, "a300440102030401020200");
    let newer = CommandReply { outcome: Outcome::Refused(Refusal::Other(200)), bolt: Bolt::Unknown, ..done };
    literal!(CommandReply, newer, "a30044010203040118c80203");
    let nonsense = CommandReply { outcome: Outcome::Refused(Refusal::Other(0)), ..done };
    assert_eq!(nonsense.encode(&mut [0; 32]), Err(Error::OutOfRange(1)), "would read as done");
}

#[test]
fn event() {
    let touch = Event { challenge: [9, 8, 7, 6], kind: EventKind::Touch, log: None, value: None, at: None };
    literal!(Event, touch, "a20044090807060101");
    let bolt = Event { kind: EventKind::Bolt, log: Some(7), value: Some(1), at: Some(0x6900_0000), ..touch };
    literal!(Event, bolt, "a5004409080706010202070301041a69000000");
    let largest = Event {
        kind: EventKind::Other(255),
        log: Some(u32::MAX),
        value: Some(u32::MAX),
        at: Some(u32::MAX),
        ..touch
    };
    literal!(Event, largest, "a50044090807060118ff021affffffff031affffffff041affffffff");
}

#[test]
fn event_reply() {
    literal!(EventReply, EventReply::default(), "a0");
    literal!(EventReply, EventReply { cursor: Some(8), time: None }, "a10008");
    literal!(EventReply, EventReply { cursor: Some(8), time: Some(0x6900_0000) }, "a20008011a69000000");
}

#[test]
fn state() {
    let status = Status {
        bolt: Bolt::Locked,
        battery: 87,
        clock: ClockState::Trusted,
        firmware: Firmware { major: 1, minor: 2, patch: 3 },
        revocations: None,
    };
    literal!(Status, status, "a400000118570201031a01020003");
    let listed = Status { revocations: Some(300), ..status };
    literal!(Status, listed, "a500000118570201031a01020003181819012c");
    assert_eq!(status.firmware.to_string(), "1.2.3");
    literal!(Battery, Battery { percent: 100, millivolts: Some(2950) }, "a200186401190b86");
    literal!(Battery, Battery { percent: 5, millivolts: None }, "a10005");
    literal!(Time, Time { unix: 0x6900_0000 }, "a1001a69000000");
    assert_eq!(Battery { percent: 101, millivolts: None }.encode(&mut [0; 8]), Err(Error::OutOfRange(0)));
}

#[test]
fn log() {
    literal!(LogRequest, LogRequest::default(), "a0");
    literal!(LogRequest, LogRequest { cursor: Some(300), limit: Some(5) }, "a20019012c0105");
    let entry = LogEntry {
        index: 300,
        kind: EventKind::Command,
        at: Some(0x6900_0000),
        value: Some(1),
        command: Some([1, 2, 3, 4]),
    };
    literal!(LogEntry, entry, "a50019012c0108021a690000000301044401020304");

    let mut out = [0; 256];
    let mut page = LogPageWriter::new(&mut out, 302).unwrap();
    let second = LogEntry { index: 301, kind: EventKind::Touch, at: None, value: None, command: None };
    assert_eq!(page.push(&entry), Ok(true));
    assert_eq!(page.push(&entry), Err(Error::OutOfRange(1)), "indices ascend");
    assert_eq!(page.push(&LogEntry { index: 302, ..second }), Err(Error::OutOfRange(1)), "below the end");
    assert_eq!(page.push(&second), Ok(true));
    let len = page.finish();
    assert_eq!(
        hex::encode(&out[..len]),
        concat!("a2", "0019012e", "0182", "a50019012c0108021a690000000301044401020304", "a20019012d0101")
    );
    let page = LogPage::decode(&out).unwrap(); // with padding
    assert_eq!((page.end, page.entries().collect::<Vec<_>>()), (302, vec![entry, second]));
}

#[test]
fn a_page_takes_what_fits() {
    let entry = |index| LogEntry { index, kind: EventKind::Touch, at: None, value: None, command: None };
    let mut out = [0; 1024];
    let mut page = LogPageWriter::new(&mut out, 100).unwrap();
    let taken = (0..100).take_while(|index| page.push(&entry(*index)).unwrap()).count();
    let len = page.finish();
    assert_eq!(taken, LogPage::MAX_ENTRIES);
    assert_eq!(LogPage::decode(&out[..len]).unwrap().entries().len(), taken);

    let mut out = [0; 12];
    let mut page = LogPageWriter::new(&mut out, 2).unwrap();
    assert_eq!((page.push(&entry(0)), page.push(&entry(1))), (Ok(true), Ok(false)));
    let len = page.finish();
    assert_eq!(LogPage::decode(&out[..len]).unwrap().entries().collect::<Vec<_>>(), [entry(0)]);
    assert!(matches!(LogPageWriter::new(&mut [0; 4], 2), Err(Error::BufferTooSmall)));
}

#[test]
fn decoders_refuse() {
    for (hex, error) in [
        ("", Error::Truncated),
        ("80", Error::WrongType),                    // an array
        ("bf004401020304", Error::NotDeterministic), // indefinite map
        ("b8020044010203040101", Error::NotDeterministic),
        ("a2004401020304", Error::Truncated),
        ("a20044010203", Error::Truncated),
        ("a200430102030101", Error::OutOfRange(0)), // id of three bytes
        ("a2005f4401020304ff0101", Error::NotDeterministic), // chunked id
        ("a2005804010203040101", Error::NotDeterministic),
        ("a2004401020304011801", Error::NotDeterministic), // 1 in two bytes
        ("a2004401020304180101", Error::NotDeterministic), // key 1 in two bytes
        ("a20101004401020304", Error::NotDeterministic),   // keys out of order
        ("a300440102030401010101", Error::NotDeterministic), // key twice
        ("a20044010203040102", Error::OutOfRange(1)),
        ("a20044010203040120", Error::WrongType), // negative
        ("a200440102030401190101", Error::OutOfRange(1)),
        ("a30044010203040101021b0000000100000000", Error::OutOfRange(2)),
        ("a3004401020304010102f6", Error::WrongType),     // null
        ("a300440102030401010300", Error::UnknownKey(3)), // critical
        ("a1004401020304", Error::MissingKey(1)),
        ("a10101", Error::MissingKey(0)),
        ("a2004401020304010101", Error::TrailingBytes),
        ("a200440102030401010001", Error::TrailingBytes),
    ] {
        assert_eq!(Command::decode(&hex::decode(hex).unwrap()), Err(error), "{hex}");
    }
    // An ancillary key of a later version is skipped, whatever it holds.
    let newer = hex::decode("a30044010203040101181882a0f5").unwrap();
    assert_eq!(Command::decode(&newer), Ok(Command { id: [1, 2, 3, 4], op: Op::Unlock, not_after: None }));
}

#[test]
fn log_pages_refuse() {
    for (hex, error) in [
        ("a10002", Error::MissingKey(1)),
        ("a200020101", Error::WrongType),
        ("a200020181a200020101", Error::OutOfRange(1)), // index at the end
        ("a200090182a200020101a200020101", Error::OutOfRange(1)), // index twice
        ("a200090182a200020101", Error::Truncated),
        ("a20009018100", Error::WrongType),
        ("a20009019818", Error::Truncated), // 24 entries announced, none there
        ("a20009019bffffffffffffffff", Error::Truncated), // an announced size allocates nothing
    ] {
        assert_eq!(LogPage::decode(&hex::decode(hex).unwrap()), Err(error), "{hex}");
    }
    for (count, head) in [(23, "97"), (24, "9818")] {
        let entries: String = (0..count).map(|index| format!("a200{index:02x}0101")).collect();
        let page = hex::decode(format!("a200181801{head}{entries}")).unwrap();
        assert_eq!(LogPage::decode(&page).err(), (count == 24).then_some(Error::OutOfRange(1)));
    }
}

#[test]
fn paths() {
    let segments: Vec<_> = Path::ALL.iter().map(|path| path.segment()).collect();
    assert_eq!(segments, ["s", "l", "b", "g", "t", "p", "a", "e"]);
    for path in Path::ALL {
        assert_eq!(Path::from_segment(path.segment().as_bytes()), Some(path));
        assert!(!path.resource_type().is_empty());
    }
    assert_eq!(Path::from_segment(b"ss"), None);
    assert_eq!(Path::from_segment(b""), None);
}

#[test]
fn site() {
    let setting = SiteSetting { site: *b"site-001", version: 2, epoch: 300, counter: None };
    literal!(SiteSetting, setting, "a30048736974652d30303101020219012c");
    let (version, epoch, counter) = (u32::MAX, u32::MAX, u32::MAX);
    let longest = SiteSetting { version, epoch, counter: Some(counter), ..setting };
    literal!(SiteSetting, longest, "a40048736974652d303031011affffffff021affffffff031affffffff");
    let state = SiteState { site: *b"site-001", version: 2, epoch: 300, counter: 0, grants: true };
    literal!(SiteState, state, "a50048736974652d30303101020219012c03000401");
    literal!(
        SiteState,
        SiteState { version, epoch, counter, grants: false, ..state },
        "a50048736974652d303031011affffffff021affffffff031affffffff0400"
    );
    for (hex, error) in [
        ("a30047736974652d303001020219012c", Error::OutOfRange(0)),
        ("a20048736974652d3030310102", Error::MissingKey(2)),
    ] {
        assert_eq!(SiteSetting::decode(&hex::decode(hex).unwrap()), Err(error), "{hex}");
    }
}

fn setting(digits: &[u8]) -> PinSetting {
    PinSetting { pin: Pin::new(digits).unwrap(), duress: false, not_before: None, not_after: None }
}

fn encoded(change: &PinChange) -> String {
    let mut out = [0; PinChange::MAX_LEN];
    let len = change.encode(&mut out).unwrap();
    hex::encode(&out[..len])
}

#[test]
fn a_pin_is_four_to_ten_digits_and_keeps_its_leading_zeros() {
    for wrong in [&b""[..], b"123", b"12345678901", b"12a4", b"12 4", b"1234\0"] {
        assert!(matches!(Pin::new(wrong), Err(Error::OutOfRange(2))));
    }
    for right in [&b"0000"[..], b"0123456789"] {
        assert_eq!(Pin::new(right).unwrap().digits(), right);
    }
}

#[test]
fn a_pin_change_has_one_length_whatever_the_pin_and_the_duress_flag() {
    let short = PinChange { slot: 3, revision: 1, setting: Some(setting(b"0012")) };
    assert_eq!(encoded(&short), "a400030101024a303031320000000000000300");
    let long = setting(b"0123456789");
    let long = PinChange { slot: 3, revision: 1, setting: Some(PinSetting { duress: true, ..long }) };
    assert_eq!(encoded(&long), "a400030101024a303132333435363738390301");
    let clear = PinChange { slot: 3, revision: 7, setting: None };
    assert_eq!(encoded(&clear), "a200030107");
    let limits = PinSetting { not_before: Some(1), not_after: Some(u32::MAX), ..setting(b"1234") };
    let largest = PinChange { slot: 255, revision: u32::MAX, setting: Some(limits) };
    let bytes = hex::decode(encoded(&largest)).unwrap();
    let read = PinChange::decode(&bytes).unwrap();
    let read_setting = read.setting.as_ref().unwrap();
    assert_eq!((read.slot, read.revision, read_setting.duress), (255, u32::MAX, false));
    assert_eq!((read_setting.not_before, read_setting.not_after), (Some(1), Some(u32::MAX)));
    assert_eq!(read_setting.pin.digits(), b"1234");
}

#[test]
fn pin_changes_refuse() {
    let refused = |text: &str| PinChange::decode(&hex::decode(text).unwrap()).err();
    assert_eq!(refused("a200030100"), Some(Error::MissingKey(1)), "revision 0");
    assert_eq!(refused("a3000301010300"), Some(Error::MissingKey(2)));
    assert_eq!(refused("a300030101024a30303132000000000000"), Some(Error::MissingKey(3)));
    assert_eq!(refused("a400030101024a303031320000000000000302"), Some(Error::OutOfRange(3)));
    // A digit behind the fill, a short string, a letter.
    assert_eq!(refused("a400030101024a303031320000000000310300"), Some(Error::OutOfRange(2)));
    assert_eq!(refused("a40003010102443031323303 00".replace(' ', "").as_str()), Some(Error::OutOfRange(2)));
    assert_eq!(refused("a400030101024a416031320000000000000300"), Some(Error::OutOfRange(2)));
}

#[test]
fn pin_lists() {
    let entries = [PinEntry { slot: 0, revision: 2 }, PinEntry { slot: 9, revision: 0x0102_0304 }];
    let mut out = [0; PinList::MAX_LEN];
    let len = PinList::encode(16, 300, entries.into_iter(), &mut out).unwrap();
    assert_eq!(hex::encode(&out[..len]), "a3001001 19012c 024a 0000000002 0901020304".replace(' ', ""));
    let list = PinList::decode(&out[..len]).unwrap();
    assert_eq!((list.capacity, list.highest), (16, 300));
    assert!(list.entries().eq(entries));
    let refused = |text: &str| PinList::decode(&hex::decode(text).unwrap()).err();
    assert_eq!(refused("a30010010a024403000000"), Some(Error::OutOfRange(2)), "half an entry");
    assert_eq!(refused("a30002010a02450300000001"), Some(Error::OutOfRange(2)), "beyond the capacity");
    assert_eq!(refused("a30010010a024a03000000010300000002"), Some(Error::OutOfRange(2)), "twice");
    let full = (0..32).map(|slot| PinEntry { slot, revision: u32::MAX });
    assert!(PinList::encode(200, u32::MAX, full, &mut out).unwrap() <= PinList::MAX_LEN);
}

#[test]
fn what_a_pin_did_has_one_length_with_duress_and_without() {
    for slot in 0..32 {
        for (duress, failed) in [(false, false), (true, false), (false, true), (true, true)] {
            let used = PinUse { slot, duress, failed };
            let value = used.to_u32();
            assert!((0x80..0x100).contains(&value), "two bytes in CBOR");
            assert_eq!(PinUse::from_u32(value), Some(used));
        }
    }
    assert_eq!(PinUse::from_u32(3), None);
    assert_eq!(PinUse::from_u32(0x180), None);
}

#[test]
fn padding_goes_to_the_next_size_the_radio_carries() {
    let wide = Padder { mtu: 51 };
    assert_eq!([27, 32, 33, 48, 49].map(|len| wide.padding(len)), [5, 0, 15, 0, 0]);
    let narrow = Padder { mtu: 40 };
    assert_eq!([27, 33].map(|len| narrow.padding(len)), [5, 0]);
    assert_eq!(Padder { mtu: 11 }.padding(9), 0);
    assert_eq!(pad(&mut [0; 8], 4, 9), Err(Error::BufferTooSmall));
    assert_eq!(pad(&mut [0; 8], 4, 2), Ok(4));
}

proptest! {
    #[test]
    fn events_survive(
        challenge in any::<[u8; 4]>(), kind in any::<u8>(),
        log in any::<Option<u32>>(), value in any::<Option<u32>>(), at in any::<Option<u32>>(),
    ) {
        let event = Event { challenge, kind: EventKind::from_code(kind), log, value, at };
        let mut out = [0; Event::MAX_LEN];
        let len = event.encode(&mut out).unwrap();
        prop_assert_eq!(Event::decode(&out[..len]), Ok(event));
        prop_assert_eq!(event.kind.code(), kind);
    }

    /// What a decoder accepts is the one encoding of its value, up to padding and ancillary keys.
    #[test]
    fn accepted_bytes_are_the_encoding(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut out = [0; 64];
        if let Ok(command) = Command::decode(&bytes) {
            let len = command.encode(&mut out).unwrap();
            prop_assert!(bytes.starts_with(&out[1..len]) || bytes[1..].starts_with(&out[1..len]));
        }
        let _ = (Event::decode(&bytes), EventReply::decode(&bytes), Status::decode(&bytes), Battery::decode(&bytes));
        let _ = (CommandReply::decode(&bytes), LogRequest::decode(&bytes), LogEntry::decode(&bytes));
        if let Ok(page) = LogPage::decode(&bytes) {
            prop_assert_eq!(page.entries().count(), page.entries().len());
        }
    }
}
