//! What a Zigbee dongle may send, be it broken or possessed, and what devices in its network may send through it.

use cardea_zigbee::backup::Backup;
use cardea_zigbee::coordinator::{Event, Frame, Network, Order, Question, State};
use cardea_zigbee::descriptors::{Clusters, SimpleDescriptor};
use cardea_zigbee::driver::ordinary::{OrdinaryConfig, Rights};
use cardea_zigbee::driver::{Driver, DriverConfig};
use cardea_zigbee::external::{
    self,
    wire::{Decoder as MessageDecoder, FromHost, ToHost, VERSION},
};
use cardea_zigbee::ezsp::{self, ash, call::Protocol};
use cardea_zigbee::tunnel::Tunnel;
use cardea_zigbee::zboss::call::{AddressMap, ApsSecure, IbCounters, Indication, Request, Response};
use cardea_zigbee::zboss::hl::{Kind, Packet};
use cardea_zigbee::zboss::ll::{Data, Decoder, Frame as LinkFrame};
use cardea_zigbee::zboss::{Host, HostConfig, Link, MAX_PACKET, MAX_RECEIVED};
use cardea_zigbee::{Eui64, InstallCode, NwkAddr, zcl};

/// Takes one step off the input: what, and some bytes.
fn step<'a>(data: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let [what, len, rest @ ..] = *data else { return None };
    let (bytes, rest) = rest.split_at(rest.len().min(usize::from(*len)));
    *data = rest;
    Some((*what, bytes))
}

/// What a host is configured with, and the network that it knows as its own.
fn known() -> (HostConfig, Network) {
    let endpoint = SimpleDescriptor {
        endpoint: 1,
        profile: 0x0104,
        device: 5,
        version: 0,
        clusters: Clusters::default(),
    };
    let ours = Network { coordinator: Eui64([1; 8]), extended_pan: Eui64([2; 8]), pan: 1, channel: 15 };
    (HostConfig { endpoint, manufacturer: 0xFFF1, max_children: 32 }, ours)
}

/// Frames and questions that a host was given, and their ends.
#[derive(Default)]
struct Ends {
    asked: u32,
    ended: u32,
}

impl Ends {
    /// An order that these bytes stand for.
    fn order(&mut self, bytes: &[u8], now: u64) -> Order {
        let (kind, who) = match bytes {
            [kind, who, ..] => (*kind, *who),
            [kind] => (*kind, 0),
            [] => (0, 0),
        };
        let eui = Eui64([who; 8]);
        match kind % 5 {
            0 => Order::Cancel { handle: u64::from(who) },
            1 => Order::Dismiss(eui),
            2 => match InstallCode::new(&[0x83, 0xFE, 0xD3, 0x40, 0x7A, 0x93, 0x2B, 0x70]) {
                Ok(code) => Order::Admit { eui, code, seconds: who },
                Err(_) => Order::Dismiss(eui),
            },
            3 => {
                self.asked += 1;
                Order::Send(Frame {
                    handle: u64::from(self.asked),
                    eui,
                    profile: 0x0104,
                    cluster: 0xFC7C,
                    dst_endpoint: 1,
                    src_endpoint: 1,
                    payload: bytes.to_vec().into(),
                    deadline: now + u64::from(who) * 100,
                    acknowledge: who & 1 == 0,
                    urgent: who & 2 == 0,
                })
            }
            _ => {
                self.asked += 1;
                Order::Ask {
                    handle: u64::from(self.asked),
                    eui,
                    question: Question::Neighbours { start: who },
                }
            }
        }
    }

    fn count(&mut self, events: impl Iterator<Item = Event>) {
        for event in events {
            self.ended += u32::from(matches!(event, Event::Outcome { .. } | Event::Answer { .. }));
        }
    }

    fn finish(self) {
        assert_eq!(self.asked, self.ended, "each frame and question has one end");
    }
}

/// Bytes from a port, in pieces: what, how many, those bytes; the first byte of a piece says how long the line was quiet
/// before. Frames that are found are written to the same bytes, packets are bounded.
pub fn zigbee_ll(mut data: &[u8]) {
    let (mut now, mut packets) = (0, 0);
    let (mut decoder, mut link) = (Decoder::default(), Link::default());
    while let Some((quiet, bytes)) = step(&mut data) {
        now += u64::from(quiet);
        decoder.push(now, bytes, |frame| {
            let again = frame.encode();
            let mut same = Vec::new();
            Decoder::default().push(0, &again, |frame| same.push(frame));
            assert_eq!(same, vec![frame]);
        });
        link.handle_bytes(now, bytes);
        while link.poll_transmit(now).is_some() {}
        if quiet & 1 == 0 {
            while let Some(packet) = link.poll_packet() {
                assert!(!packet.is_empty() && packet.len() <= MAX_PACKET);
                packets += 1;
            }
        }
    }
    let waiting = std::iter::from_fn(|| link.poll_packet()).count();
    assert!(waiting <= MAX_RECEIVED && packets <= now.max(1) * 256);
}

/// A packet. What is read of it is written to the same bytes, or to what comes before bytes that nobody knows.
pub fn zigbee_hl(data: &[u8]) {
    let _ = IbCounters::parse(data)
        .map(|counters| assert_eq!(IbCounters::parse(&counters.encode()), Ok(counters)));
    let _ = ApsSecure::parse(data).map(|keys| assert_eq!(ApsSecure::parse(&keys.encode()), Ok(keys)));
    let _ = AddressMap::parse(2, data).map(|map| assert_eq!(AddressMap::parse(2, &map.encode()), Ok(map)));
    let _ = InstallCode::new(data).map(|code| assert_eq!(code.as_bytes(), data));
    let Ok(packet) = Packet::parse(data) else { return };
    assert_eq!(*packet.encode(), data);
    let again = match packet.kind {
        Kind::Request { tsn } => {
            let Ok(request) = Request::parse(packet.call, packet.body) else { return };
            let again = request.encode(tsn);
            assert_eq!(again.len(), data.len());
            again
        }
        Kind::Response { tsn, .. } => match Response::parse(packet.call, packet.body) {
            Ok(response) => response.encode(tsn),
            Err(_) => return,
        },
        Kind::Indication => match Indication::parse(packet.call, packet.body) {
            Ok(indication) => indication.encode(),
            Err(_) => return,
        },
    };
    let again = Packet::parse(&again).map(|packet| packet.body.to_vec()).unwrap_or_default();
    assert!(packet.body.starts_with(&again), "{packet:?}");
}

/// A host whose network runs, or not. Steps: 0: the dongle says this packet; 1: these bytes; 2: time passes; 3: an order.
/// Each frame and question has one end, and no moment is waited for twice.
pub fn zigbee_host(mut data: &[u8]) {
    let (config, ours) = known();
    let mut host = Host::new(config, Some(ours));
    let (mut now, mut seq, mut ends) = (1_000, 0u8, Ends::default());
    host.handle_open(now);
    while let Some((what, bytes)) = step(&mut data) {
        match what & 3 {
            0 => {
                let frame =
                    Data { seq, retransmit: false, first: true, last: true, body: bytes.to_vec().into() };
                seq = if seq >= 3 { 1 } else { seq + 1 };
                if !bytes.is_empty() {
                    host.handle_bytes(now, &LinkFrame::Data(frame).encode());
                }
            }
            1 => host.handle_bytes(now, bytes),
            2 => {
                now += bytes.iter().map(|byte| u64::from(*byte) * 50).sum::<u64>();
                host.handle_timeout(now);
                assert!(host.poll_timeout().is_none_or(|at| at > now));
            }
            _ => host.handle_order(now, ends.order(bytes, now)),
        }
        // A dongle that acknowledges what it is given.
        while let Some(line) = host.poll_transmit(now) {
            let mut acks = Vec::new();
            Decoder::default().push(0, &line, |frame| {
                if let LinkFrame::Data(Data { seq, .. }) = frame {
                    acks.push(LinkFrame::Ack { seq });
                }
            });
            acks.iter().filter(|_| what & 0x80 == 0).for_each(|ack| host.handle_bytes(now, &ack.encode()));
        }
        ends.count(std::iter::from_fn(|| host.poll_event()));
    }
    host.handle_close("the end");
    host.handle_timeout(now + 1_000_000);
    ends.count(std::iter::from_fn(|| host.poll_event()));
    ends.finish();
}

/// A ZCL frame from a device: its global command is written to what is read as the same one; a lock's message and its
/// question for firmware are read.
pub fn zigbee_zcl(data: &[u8]) {
    let Ok(frame) = zcl::Frame::parse(data) else { return };
    let again = frame.encode();
    assert_eq!(zcl::Frame::parse(&again), Ok(frame));
    if let Ok(global) = zcl::Global::parse(frame.header.command, frame.payload) {
        assert_eq!(zcl::Global::parse(global.command(), &global.encode()), Ok(global));
    }
    let _ = zcl::door_lock::LockMessage::parse(frame.header.command, frame.payload);
    let _ = zcl::poll_control::CheckInResponse::parse(frame.payload);
    if let Ok(query) = zcl::ota::QueryNextImage::parse(frame.payload) {
        assert_eq!(zcl::ota::QueryNextImage::parse(&query.encode()), Ok(query));
    }
}

/// An ASDU of the tunnel's cluster: the frame in it, carried again, is the same.
pub fn zigbee_tunnel(data: &[u8]) {
    let tunnel = Tunnel::TEST;
    assert!(
        tunnel.parse_from_lock(data).is_err() || tunnel.parse_to_lock(data).is_err(),
        "one direction only"
    );
    if let Ok(frame) = tunnel.parse_from_lock(data)
        && let Ok(again) = tunnel.from_lock(7, frame)
    {
        assert_eq!(tunnel.parse_from_lock(&again), Ok(frame));
    }
}

/// What a store may hold: kind, whose, how many bytes, those. A driver that starts with it writes the same records again.
pub fn zigbee_records(mut data: &[u8]) {
    let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    while let [kind, who, len, rest @ ..] = data {
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(*len)));
        data = rest;
        let key = match kind & 7 {
            _ if kind & 0x80 != 0 => [&b"zigbee/t"[..], &[*who; 8]].concat(),
            0 => b"zigbee/n".to_vec(),
            1 => b"zigbee/p".to_vec(),
            2 => [&b"zigbee/d"[..], &[*who; 8]].concat(),
            3 => [&b"zigbee/l"[..], &[*who; 8]].concat(),
            4 => b"zigbee/b".to_vec(),
            5 => b"zigbee/r".to_vec(),
            6 => b"zigbee/k".to_vec(),
            _ => [&b"zigbee/o"[..], &[*who; 8]].concat(),
        };
        // A store has one record of a name.
        records.retain(|(known, _)| *known != key);
        records.push((key, bytes.to_vec()));
    }
    let devices = (0..8).map(|who| (Eui64([who; 8]), Rights::Command)).collect();
    let ordinary = Some(OrdinaryConfig { devices, report_seconds: 10 });
    let config = DriverConfig { channels: 1 << 15, tunnel: Tunnel::TEST, max_devices: 300, ordinary };
    let Ok(mut driver) = Driver::new(config.clone(), records.clone()) else { return };
    assert!(driver.poll_commit().is_none(), "nothing has changed");
    // A network that runs, every lock heard: each is asked what it is, and what was removed is told to leave.
    if let Some(network) = driver.expected() {
        driver.handle_event(1_000, Event::State(State::Up(network)));
    }
    for who in 0..=255 {
        driver.handle_event(2_000, Event::Rejoined { eui: Eui64([who; 8]), nwk: NwkAddr(5) });
    }
    while let Some((commit, batch)) = driver.poll_commit() {
        for change in batch {
            records.retain(|(key, _)| *key != change.key);
            records.extend(change.value.map(|value| (change.key, value)));
        }
        driver.handle_stored(3_000, commit, Ok(()));
    }
    while driver.poll_order().is_some() {}
    while driver.poll_event().is_some() {}
    assert!(Driver::new(config, records).is_ok(), "what is written can be read");
}

/// A backup file: what is read is written to a file that is read as the same, also with its counters far ahead.
pub fn zigbee_backup(data: &[u8]) {
    let Ok(backup) = Backup::parse(data) else { return };
    assert_eq!(Backup::parse(&backup.encode()).as_ref(), Ok(&backup));
    if let Ok(ahead) = backup.jump() {
        assert_eq!(Backup::parse(&ahead.encode()), Ok(ahead));
    }
}

/// Bytes from a port, in pieces: what, how many, those bytes; the first byte of a piece says how long the line was quiet
/// before. Frames that are found are written to the same bytes, what waits is bounded.
pub fn zigbee_ash(mut data: &[u8]) {
    let mut now = 0;
    let (mut decoder, mut link) = (ash::Decoder::default(), ezsp::Link::default());
    link.reset();
    while let Some((quiet, bytes)) = step(&mut data) {
        now += u64::from(quiet);
        decoder.push(now, bytes, |frame| {
            let Some(frame) = frame else { return };
            let mut same = Vec::new();
            ash::Decoder::default().push(0, &frame.encode(), |frame| same.push(frame));
            assert_eq!(same, vec![Some(frame)]);
        });
        link.handle_bytes(now, bytes);
        link.send(bytes.to_vec().into());
        link.handle_timeout(now);
        while link.poll_transmit(now).is_some() {}
    }
    let frames = std::iter::from_fn(|| link.poll_event()).filter(|e| matches!(e, ezsp::LinkEvent::Frame(_)));
    assert!(frames.count() <= ezsp::MAX_RECEIVED);
}

/// A protocol and a frame of EZSP. What is read of it is written to the same bytes, or as many.
pub fn zigbee_ezsp(data: &[u8]) {
    let [protocol, data @ ..] = data else { return };
    let protocol = Protocol(13 + protocol % 7);
    let _ = ezsp::call::parse_hello(data);
    let Ok(frame) = ezsp::call::Frame::parse(data) else { return };
    let again = match frame.kind {
        ezsp::call::Kind::Command => ezsp::call::Command::parse(frame.id, frame.body, protocol)
            .map(|command| command.encode(frame.sequence, protocol)),
        ezsp::call::Kind::Answer => ezsp::call::Answer::parse(frame.id, frame.body, protocol)
            .map(|answer| answer.encode(frame.sequence, protocol)),
        ezsp::call::Kind::Callback => ezsp::call::Callback::parse(frame.id, frame.body, protocol)
            .map(|callback| callback.encode(protocol)),
    };
    if let Ok(again) = again {
        // An exported key is followed by its context, which is written and not read.
        let context = if frame.id == 0x0114 { 18 } else { 0 };
        assert!(again.len() <= data.len() + context, "{frame:?}");
    }
}

/// A host of EZSP. Steps: 0: the dongle says this frame, its sequence number right; 1: these bytes; 2: time passes; 3: an
/// order. Each frame and question has one end, and no moment is waited for twice.
pub fn zigbee_ezsp_host(mut data: &[u8]) {
    let (config, ours) = known();
    let mut host = ezsp::Host::new(config, Some(ours));
    let (mut now, mut ends) = (1_000, Ends::default());
    let (mut number, mut next, mut sequence) = (0u8, 0u8, 0u8);
    host.handle_open(now);
    while let Some((what, bytes)) = step(&mut data) {
        // A dongle that comes back from resets and acknowledges what it is given.
        while let Some(line) = host.poll_transmit(now) {
            let mut answers = Vec::new();
            ash::Decoder::default().push(0, &line, |frame| match frame {
                Some(ash::Frame::Reset) => {
                    (number, next) = (0, 0);
                    answers.push(ash::Frame::ResetAck { code: 0x0B });
                }
                Some(ash::Frame::Data(data)) => {
                    sequence = data.data.first().copied().unwrap_or(0);
                    next = (data.number + 1) & 7;
                    answers.push(ash::Frame::Ack { next });
                }
                _ => {}
            });
            answers
                .iter()
                .filter(|_| what & 0x80 == 0)
                .for_each(|frame| host.handle_bytes(now, &frame.encode()));
        }
        match what & 3 {
            0 => {
                let mut frame = bytes.to_vec();
                if let Some(first) = frame.first_mut() {
                    *first = sequence;
                }
                let data = ash::Data { number, again: false, next, data: frame.into() };
                number = (number + 1) & 7;
                host.handle_bytes(now, &ash::Frame::Data(data).encode());
            }
            1 => host.handle_bytes(now, bytes),
            2 => {
                now += bytes.iter().map(|byte| u64::from(*byte) * 50).sum::<u64>();
                host.handle_timeout(now);
                assert!(host.poll_timeout().is_none_or(|at| at > now));
            }
            _ => host.handle_order(now, ends.order(bytes, now)),
        }
        ends.count(std::iter::from_fn(|| host.poll_event()));
    }
    host.handle_close("the end");
    host.handle_timeout(now + 1_000_000);
    ends.count(std::iter::from_fn(|| host.poll_event()));
    ends.finish();
}

/// The gateway's side of a host program. Steps: 0: the program says this message, its length right; 1: these bytes; 2: time
/// passes; 3: an order, or that the program dies. What parses is written to what is read as the same; each frame and
/// question has one end; no network but the expected one is up; no moment is waited for twice.
pub fn zigbee_external(mut data: &[u8]) {
    let (config, ours) = known();
    let mut host = external::Host::new(config, b"/dev/x".to_vec(), Some(ours));
    let (mut now, mut ends) = (1_000, Ends::default());
    let hello = FromHost::Hello { version: VERSION, name: String::new() };
    let greet = |host: &mut external::Host, now| {
        host.handle_open(now);
        host.handle_bytes(now, &hello.encode().unwrap_or_default());
    };
    greet(&mut host, now);
    while let Some((what, bytes)) = step(&mut data) {
        match what & 3 {
            0 => {
                if let Ok(message) = FromHost::parse(bytes)
                    && let Some(again) = message.encode()
                {
                    assert_eq!(FromHost::parse(again.get(2..).unwrap_or(&[])), Ok(message));
                }
                let length = u16::try_from(bytes.len()).unwrap_or(0).to_le_bytes();
                host.handle_bytes(now, &[&length[..], bytes].concat());
            }
            1 => host.handle_bytes(now, bytes),
            2 => {
                now += bytes.iter().map(|byte| u64::from(*byte) * 50).sum::<u64>();
                host.handle_timeout(now);
                assert!(host.poll_timeout().is_none_or(|at| at > now));
            }
            _ if what & 0x80 != 0 => host.handle_close("it died"),
            _ => host.handle_order(now, ends.order(bytes, now)),
        }
        if host.wants_reopen() || what & 0x40 != 0 {
            host.handle_close("it is ended");
            greet(&mut host, now);
        }
        // What it is told is bounded, and a host program can read it.
        let mut decoder = MessageDecoder::default();
        while let Some(line) = host.poll_transmit(now) {
            let whole = decoder.push(&line, |message| {
                let read = ToHost::parse(message);
                assert!(read.is_ok_and(|(stamp, message)| stamp <= now && message.encode(stamp).is_some()));
            });
            assert_eq!(whole, Ok(()));
        }
        ends.count(std::iter::from_fn(|| host.poll_event()).inspect(|event| {
            if let Event::State(State::Up(network)) = event {
                assert!(network.is(&ours), "nothing was formed or adopted here");
            }
        }));
    }
    host.handle_close("the end");
    host.handle_timeout(now + 1_000_000);
    ends.count(std::iter::from_fn(|| host.poll_event()));
    ends.finish();
}
