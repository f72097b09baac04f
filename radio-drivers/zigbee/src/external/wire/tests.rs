//! The literal bytes, both ways; and what is refused.

use super::*;
use crate::coordinator::{Answer, Failure, JoinFailure, Outcome, Question, Received, State};
use crate::descriptors::{Clusters, Neighbour, NodeDescriptor};
use crate::types::NwkAddr;

const LOCK: Eui64 = Eui64([0x02, 0xCA, 0xDE, 0xA2, 0, 0, 0, 1]);
const NETWORK: Network = Network { coordinator: LOCK, extended_pan: Eui64([9; 8]), pan: 0x1A62, channel: 15 };

fn code() -> InstallCode {
    InstallCode::new(&[0x83, 0xFE, 0xD3, 0x40, 0x7A, 0x93, 0x2B, 0x70]).unwrap()
}

fn host() -> HostConfig {
    let clusters = Clusters { servers: vec![1], clients: vec![0xFC7C] };
    let endpoint = SimpleDescriptor { endpoint: 1, profile: 0x0104, device: 5, version: 0, clusters };
    HostConfig { endpoint, manufacturer: 0xFFF1, max_children: 32 }
}

#[test]
fn a_frame_and_an_admission_are_these_bytes() {
    let frame = Frame {
        handle: 7,
        eui: LOCK,
        profile: 0x0104,
        cluster: 0xFC7C,
        dst_endpoint: 11,
        src_endpoint: 1,
        payload: Bytes::from_static(b"sealed"),
        deadline: 0x1234,
        acknowledge: true,
        urgent: true,
    };
    let bytes = ToHost::Order(Order::Send(frame)).encode(0x0102).unwrap();
    assert_eq!(
        hex::encode(&bytes[..]),
        concat!(
            "2f00060201000000000000",
            "070000000000000001000000a2deca0204017cfc0b010101",
            "34120000000000007365616c6564"
        )
    );
    let (stamp, again) = ToHost::parse(&bytes[2..]).unwrap();
    assert_eq!(stamp, 0x0102);
    let ToHost::Order(Order::Send(frame)) = again else { panic!() };
    assert_eq!((frame.handle, frame.eui, frame.deadline), (7, LOCK, 0x1234));
    assert!(frame.acknowledge && frame.urgent);
    let admit = ToHost::Order(Order::Admit { eui: LOCK, code: code(), seconds: 254 });
    let bytes = admit.encode(1).unwrap();
    assert_eq!(hex::encode(&bytes[..]), "1a0004010000000000000001000000a2deca02fe83fed3407a932b70");
}

/// Orders have no equality, and need none: what is parsed is written to the same bytes.
#[test]
fn what_is_said_to_a_host_program_is_read_as_the_same() {
    let plan = Plan { channels: 1 << 15, extended_pan: Eui64([9; 8]), pan: Some(5), key: Key([7; 16]) };
    let hello = |expected, form| {
        ToHost::Hello(Box::new(Hello { expected, host: host(), device: b"/dev/x".to_vec(), form }))
    };
    let ask = |question| ToHost::Order(Order::Ask { handle: u64::MAX, eui: LOCK, question });
    for message in [
        hello(None, None),
        hello(Some(NETWORK), Some((plan.clone(), false))),
        hello(None, Some((Plan { pan: None, ..plan }, true))),
        ToHost::Ping(77),
        ToHost::Order(Order::Adopt),
        ToHost::Order(Order::Admit { eui: LOCK, code: code(), seconds: 1 }),
        ToHost::Order(Order::Dismiss(LOCK)),
        ToHost::Order(Order::Cancel { handle: 3 }),
        ask(Question::Node),
        ask(Question::Endpoints),
        ask(Question::Endpoint(11)),
        ask(Question::Bind { endpoint: 11, cluster: 0xFC7C, to_endpoint: 1 }),
        ask(Question::Leave),
        ask(Question::Neighbours { start: 2 }),
    ] {
        let bytes = message.encode(5).unwrap();
        let (stamp, again) =
            ToHost::parse(&bytes[2..]).unwrap_or_else(|error| panic!("{message:?}: {error}"));
        assert_eq!((stamp, again.encode(5).unwrap()), (5, bytes.clone()), "{message:?}");
        for len in 0..bytes.len() - 2 {
            // An install code is as long as it is: some of its beginnings are codes of their own, but for the CRC.
            assert!(ToHost::parse(&bytes[2..2 + len]).is_err(), "{message:?} cut to {len}");
        }
    }
}

#[test]
fn what_a_host_program_says_is_read_as_the_same() {
    let received = Received {
        eui: LOCK,
        profile: 0x0104,
        cluster: 0xFC7C,
        src_endpoint: 11,
        dst_endpoint: 1,
        lqi: 180,
        rssi: -61,
        payload: vec![7; MAX_ASDU].into(),
    };
    let node = NodeDescriptor {
        flags: 2,
        mac_capability: 0x80,
        manufacturer: 0xFFF1,
        max_buffer: 82,
        max_incoming: 128,
        server_mask: 0x2C00,
        max_outgoing: 128,
        descriptor_capability: 0,
    };
    let neighbour = Neighbour {
        extended_pan: Eui64([9; 8]),
        eui: LOCK,
        nwk: NwkAddr(5),
        kind: 4,
        permit: 0,
        depth: 1,
        lqi: 200,
    };
    let answer = |answer| Event::Answer { handle: 1, answer };
    let failed = |reason| Event::JoinFailed { eui: LOCK, reason };
    let outcome = |outcome| Event::Outcome { handle: 1, outcome };
    let mut events = vec![
        Event::State(State::Down("no dongle".into())),
        Event::State(State::Starting),
        Event::State(State::Unformed),
        Event::State(State::Foreign(NETWORK)),
        Event::State(State::Up(NETWORK)),
        Event::Formed(Ok(NETWORK)),
        Event::Formed(Err("why".into())),
        Event::Open(false),
        Event::Open(true),
        Event::Joined { eui: LOCK, nwk: NwkAddr(5) },
        Event::Rejoined { eui: LOCK, nwk: NwkAddr(5) },
        Event::Left { eui: LOCK },
        Event::Received(received),
        outcome(Outcome::Acknowledged),
        outcome(Outcome::Expired),
        answer(Ok(Answer::Node(node))),
        answer(Ok(Answer::Endpoints(vec![11; 255]))),
        answer(Ok(Answer::Endpoint(host().endpoint))),
        answer(Ok(Answer::Done)),
        answer(Ok(Answer::Neighbours { total: 255, list: vec![neighbour; 128] })),
    ];
    events.extend(
        [
            JoinFailure::Silent,
            JoinFailure::Keys,
            JoinFailure::NoUniqueKey,
            JoinFailure::Code("why".into()),
            JoinFailure::Interrupted,
            JoinFailure::Busy,
            JoinFailure::Dismissed,
        ]
        .map(failed),
    );
    let failures = [
        Failure::Down,
        Failure::NoAddress,
        Failure::NoAnswer,
        Failure::Busy,
        Failure::TooBig,
        Failure::Cancelled,
        Failure::Unknown,
        Failure::Refused("why".into()),
    ];
    events.extend(failures.clone().map(|failure| outcome(Outcome::Failed(failure))));
    events.extend(failures.map(|failure| answer(Err(failure))));
    let hello = FromHost::Hello { version: VERSION, name: "ZBOSS".into() };
    for message in events.into_iter().map(FromHost::Event).chain([FromHost::Pong(77), hello]) {
        let bytes = message.encode().unwrap();
        assert_eq!(FromHost::parse(&bytes[2..]), Ok(message));
    }
}

#[test]
fn what_cannot_be_is_refused() {
    assert_eq!(FromHost::parse(&[]), Err(DecodeError::Short));
    assert_eq!(FromHost::parse(&[0x01]), Err(DecodeError::UnknownCall(1)), "our own message come back");
    let mut channel = FromHost::Event(Event::State(State::Up(NETWORK))).encode().unwrap();
    *channel.last_mut().unwrap() = 27;
    assert_eq!(FromHost::parse(&channel[2..]), Err(DecodeError::Field("a network's channel")));
    let long = [&[0x8A][..], &[0; 16], &[0; MAX_ASDU + 1]].concat();
    assert_eq!(FromHost::parse(&long), Err(DecodeError::Field("the length of a payload")));
    let text = [&[0x83, 0, 0x01, 0x02][..], &[b'x'; 513]].concat();
    assert_eq!(FromHost::parse(&text), Err(DecodeError::Field("the length of a text")));
    assert_eq!(FromHost::parse(&[0x83, 0, 1, 0, 0xFF]), Err(DecodeError::Field("a text")));
    let trailing = [&FromHost::Pong(1).encode().unwrap()[2..], &[0]].concat();
    assert_eq!(FromHost::parse(&trailing), Err(DecodeError::Trailing(1)));
    // Orders with keys, and those that the shell keeps.
    for order in [Order::Backup, Order::RotateKey(Key([1; 16])), Order::Stop] {
        assert_eq!(ToHost::Order(order).encode(0), None);
    }
}

#[test]
fn a_text_moves_no_cursor_and_a_long_one_is_cut_between_characters() {
    let said = |text: &str| {
        let bytes = FromHost::Event(Event::State(State::Down(text.into()))).encode().unwrap();
        match FromHost::parse(&bytes[2..]) {
            Ok(FromHost::Event(Event::State(State::Down(text)))) => text,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(said("a\u{1b}[2Jb\nc"), "a [2Jb c");
    assert_eq!(said(&"ü".repeat(300)), "ü".repeat(256));
    assert_eq!(said(&format!("x{}", "ü".repeat(300))).len(), 511);
}

#[test]
fn another_version_is_recognised_whatever_follows() {
    let hello = FromHost::parse(&[0x81, VERSION + 1, 1, 2, 3]);
    assert_eq!(hello, Ok(FromHost::Hello { version: VERSION + 1, name: String::new() }));
    let message = ToHost::Hello(Box::new(Hello { expected: None, host: host(), device: vec![], form: None }));
    let mut bytes = message.encode(0).unwrap();
    bytes[11] = VERSION + 1;
    let version = DecodeError::Field("the version of the gateway's messages");
    assert!(matches!(ToHost::parse(&bytes[2..]), Err(error) if error == version));
}

#[test]
fn a_stream_is_cut_into_the_same_messages_wherever_it_is_torn() {
    let all = [FromHost::Pong(1), FromHost::Event(Event::Left { eui: LOCK }), FromHost::Pong(2)];
    let stream: Vec<u8> = all.iter().flat_map(|message| message.encode().unwrap().to_vec()).collect();
    for step in 1..=stream.len() {
        let (mut decoder, mut seen) = (Decoder::default(), Vec::new());
        for piece in stream.chunks(step) {
            decoder.push(piece, |message| seen.push(FromHost::parse(message).unwrap())).unwrap();
        }
        assert_eq!(seen, all, "in pieces of {step}");
    }
    for length in [0_u16, 4_097, u16::MAX] {
        let stream = [&length.to_le_bytes()[..], &[0]].concat();
        let error = Decoder::default().push(&stream, |_| panic!("no message"));
        assert_eq!(error, Err(DecodeError::Field("a message's length")), "{length}");
    }
}
