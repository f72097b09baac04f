//! What a broker, or whoever writes to its topics, and any radio may throw at the relay.

use bytes::Bytes;
use cardea_core::{
    Action, Config, Input, LockRecord, PeerInput, RadioId, RadioInfo, Relay, Snapshot, StoreOp, StoreReply,
    UpstreamEvent, Wall,
};
use cardea_envelope::{Encoding, Topics};
use cardea_framing::LockId;
use cardea_radio::{Command, Event, Quality, Up};

const LOCK: LockId = LockId([1; 8]);
const NOON: u64 = 1_800_000_000_000;

/// The topics that a gateway subscribes to, and some that it does not.
const TOPICS: [&str; 8] = [
    "cardea/v1/gw/lock/0101010101010101/down",
    "cardea/v1/gw/lock/0101010101010101/seen",
    "cardea/v1/gw/request/status",
    "cardea/v1/gw/request/locks",
    "cardea/v1/gw/lock/0202020202020202/down",
    "cardea/v1/gw/lock/XYZ/down",
    "cardea/v1/gw/request/remove",
    "",
];

struct Seen {
    acks: usize,
    sends: usize,
    writes: Vec<u64>,
}

fn feed(relay: &mut Relay, now: u64, synced: bool, input: Input) -> Seen {
    let mut seen = Seen { acks: 0, sends: 0, writes: Vec::new() };
    relay.handle(now, Wall { unix_ms: NOON + now, synced }, input);
    while let Some(action) = relay.poll_action() {
        match action {
            Action::Ack(_) => seen.acks += 1,
            Action::Radio { command: Command::Send(_), .. } => seen.sends += 1,
            Action::Store(StoreOp::Write { ticket, .. }) => seen.writes.push(ticket),
            _ => {}
        }
    }
    seen
}

fn relay(encoding: Encoding) -> Option<Relay> {
    let topics = Topics::new("cardea/v1", "gw").ok()?;
    let mut config = Config::new("gw", topics, vec![RadioInfo { name: "lora".into() }]);
    config.encoding = encoding;
    let locks = vec![LockRecord { lock: LOCK, radio: "lora".into() }];
    let mut relay = Relay::new(config, [7; 8], Snapshot { locks, ..Snapshot::default() });
    feed(&mut relay, 1, true, Input::Upstream(UpstreamEvent::Connected));
    let link = Event::Link { lock: LOCK, mtu_down: 51, sleepy: false, retry_ms: 1_000, life_ms: 5_000 };
    feed(&mut relay, 1, true, Input::Radio { radio: RadioId(0), event: link });
    Some(relay)
}

/// One byte of choices (topic, retain, clock, encoding), then the payload; delivered twice, then committed.
/// Nothing goes on the air before it is durable, at most one frame does, none of it retained, and the broker
/// gets both its acknowledgements.
pub fn relay_message(data: &[u8]) {
    let Some((&choice, payload)) = data.split_first() else { return };
    let encoding = if choice & 0x20 == 0 { Encoding::Json } else { Encoding::Cbor };
    let (retain, synced) = (choice & 0x08 != 0, choice & 0x10 == 0);
    let topic = TOPICS.get(usize::from(choice & 7)).copied().unwrap_or_default();
    let Some(mut relay) = relay(encoding) else { return };
    let message = |ack| {
        let payload = Bytes::copy_from_slice(payload);
        Input::Upstream(UpstreamEvent::Message { ack, topic: topic.into(), payload, retain, dup: ack > 1 })
    };
    let mut acks = 0;
    let mut tickets = Vec::new();
    for ack in 1..=2 {
        let seen = feed(&mut relay, 2, synced, message(ack));
        assert_eq!(seen.sends, 0, "on the air before it was durable");
        acks += seen.acks;
        tickets.extend(seen.writes);
    }
    let committed = StoreReply::Committed { tickets, shed: Vec::new(), gaps: Vec::new() };
    let seen = feed(&mut relay, 3, synced, Input::Stored(committed));
    assert_eq!(acks + seen.acks, 2, "the broker keeps what is not acknowledged");
    assert!(seen.sends <= usize::from(!retain), "a second frame, or a retained one");
}

/// Frames of one admitted lock: one length byte, one byte of elapsed tenths, the frame, again. No frame makes
/// the relay write while the hold lasts, and its memory stays bounded.
pub fn relay_frames(mut data: &[u8]) {
    let Some(mut relay) = relay(Encoding::Json) else { return };
    let mut now = 2;
    while let Some((&[len, tenths], rest)) = data.split_first_chunk() {
        let (frame, rest) = rest.split_at(usize::from(len).min(rest.len()));
        data = rest;
        now += 100 * u64::from(tenths);
        let frame = Bytes::copy_from_slice(frame);
        let up = Up { lock: LOCK, frame, quality: Quality::default(), at: now, window: None };
        feed(&mut relay, now, true, Input::Radio { radio: RadioId(0), event: Event::Up(up) });
        feed(&mut relay, now, true, Input::Timer);
        assert!(relay.poll_timeout().is_none_or(|at| at > now), "a timer that stays due");
    }
    assert!(relay.metrics().rows_in_memory <= 1_024);
}

/// Datagrams of a phone that is attached, and frames of its lock: one length byte (its top bit: the lock speaks), the
/// bytes, again. Nothing of it is written or published, and no more waits than may.
pub fn relay_peers(mut data: &[u8]) {
    let Some(mut relay) = relay(Encoding::Json) else { return };
    feed(&mut relay, 2, true, Input::Peer(PeerInput::Attach { peer: 1, lock: LOCK }));
    let mut now = 30; // the lock's address is written by then
    feed(&mut relay, now, true, Input::Timer);
    while let Some((&len, rest)) = data.split_first() {
        let (bytes, rest) = rest.split_at(usize::from(len & 0x7f).min(rest.len()));
        data = rest;
        now += 1;
        let bytes = Bytes::copy_from_slice(bytes);
        let kind = bytes.first().map_or(0, |header| header >> 3 & 7);
        let input = if len & 0x80 == 0 {
            Input::Peer(PeerInput::Datagram { peer: 1, data: bytes })
        } else if kind == 2 || kind == 3 {
            let up = Up { lock: LOCK, frame: bytes, quality: Quality::default(), at: now, window: None };
            Input::Radio { radio: RadioId(0), event: Event::Up(up) }
        } else {
            continue;
        };
        assert!(feed(&mut relay, now, true, input).writes.is_empty(), "a peer's datagram was written");
    }
    assert!(relay.locks().all(|lock| lock.pending <= 9), "eight wait, and one is on the air");
    feed(&mut relay, now, true, Input::Peer(PeerInput::Detach { peer: 1 }));
}
