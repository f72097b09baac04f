//! The lock's end alone, with a radio that checks nothing: what it keeps to by itself.

mod joining;
mod sleeping;

use std::vec::Vec as StdVec;

use super::*;
use crate::codec::{BROADCAST, Header, seal};
use crate::testing::{
    ADDRESS, HOUR, HourOfAir, LOCK, NETWORK, NONCES, down, down_body, header, keys, network_key, secret,
};
use crate::{AirFrame, Beacon, Body, Kind, Packet, Refusal, Transmit};

struct Bench {
    node: Node,
    now: Micros,
    flash: Option<StdVec<u8>>,
    events: StdVec<NodeEvent>,
}

fn config(profile: Profile, region: Region, interval_ms: u16) -> NodeConfig {
    NodeConfig { lock: LOCK, profile, region, interval_ms, linger_ms: 100, seed: 1 }
}

/// A record of a lock that has joined: limits of sending and receiving as given.
fn record(address: u8, tx: u32, rx: u32) -> StdVec<u8> {
    let mut record = std::vec![1, 0, 0, 0, 1, NETWORK, address, 0b11];
    record.extend_from_slice(&network_key().0);
    for number in [5, NONCES.node, NONCES.gateway, tx, rx] {
        record.extend_from_slice(&number.to_be_bytes());
    }
    record
}

impl Bench {
    fn of(config: NodeConfig, record: Option<&[u8]>) -> Self {
        let mut node = Node::new(config, secret(), record, 0).unwrap();
        node.hello_at = None; // of the gateway, whose floor is right
        let mut bench = Self { node, now: 0, flash: None, events: StdVec::new() };
        bench.settle();
        bench
    }

    fn joined(profile: Profile, region: Region, interval_ms: u16) -> Self {
        Self::of(config(profile, region, interval_ms), Some(&record(ADDRESS, 0, 0)))
    }

    /// Storage that never fails, and firmware that collects.
    fn settle(&mut self) {
        while let Some(record) = self.node.poll_store() {
            self.flash = Some(record.to_vec());
            self.node.handle_stored(true);
        }
        self.events.extend(std::iter::from_fn(|| self.node.poll_event()));
    }

    /// The next frame that it would put on the air until then. The radio begins it at once, and says nothing of it yet.
    fn next(&mut self, until: Micros) -> Option<(Packet, Transmit)> {
        loop {
            self.node.handle_timeout(self.now);
            let transmit = self.node.poll_transmit(self.now);
            self.settle();
            if let Some(transmit) = transmit {
                return Some((Packet::parse(transmit.frame.as_bytes()).unwrap(), transmit));
            }
            let due = self.node.poll_timeout().unwrap_or(Micros::MAX);
            if due > until || self.now >= until {
                self.now = until;
                return None;
            }
            self.now = due.max(self.now + 50);
        }
    }

    fn sent(&mut self, transmit: &Transmit) -> Micros {
        let air = self.node.config.profile.air_time(transmit.frame.len());
        self.now += air;
        self.node.handle_sent(self.now);
        self.settle();
        air
    }

    fn hears(&mut self, frame: &AirFrame) {
        self.node.handle_received(self.now, frame.as_bytes(), Quality::default());
        self.settle();
    }

    fn run(&mut self, span: Micros) -> StdVec<(Micros, Packet)> {
        let (mut all, until) = (StdVec::new(), self.now + span);
        while let Some((packet, transmit)) = self.next(until) {
            all.push((self.now, packet));
            self.sent(&transmit);
        }
        all
    }

    fn outcomes(&self) -> StdVec<Outcome> {
        let outcome = |event: &NodeEvent| match event {
            NodeEvent::Outcome { outcome, .. } => Some(*outcome),
            _ => None,
        };
        self.events.iter().filter_map(outcome).collect()
    }

    fn received(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, NodeEvent::Received { .. })).count()
    }
}

fn standard() -> Bench {
    Bench::joined(Profile::Standard, Region::Eu433, 0)
}

fn of_kind(all: &[(Micros, Packet)], kind: Kind) -> usize {
    all.iter().filter(|(_, packet)| packet.header().kind == kind).count()
}

#[test]
fn by_itself_it_begins_nothing_that_would_end_after_its_deadline() {
    let (mut some, mut none) = (0, 0);
    for life in (0..600_000).step_by(977) {
        let mut bench = standard();
        let deadline = life;
        bench.node.send(0, 1, &[1; 48], deadline).unwrap();
        let (mut sent, mut turn) = (0, 0);
        while let Some((packet, transmit)) = bench.next(5_000_000) {
            turn += 1;
            if packet.header().kind != Kind::Data {
                bench.sent(&transmit);
                continue;
            }
            let air = Profile::Standard.air_time(transmit.frame.len());
            assert!(bench.now + air <= deadline, "a frame is begun that ends after its deadline");
            assert!(transmit.start_by + air <= deadline, "the radio is told too late a last moment");
            if turn % 3 == 0 {
                bench.now += 7_000;
                bench.node.handle_busy(bench.now);
            } else {
                bench.sent(&transmit);
                sent += 1;
            }
        }
        assert_eq!(
            bench.outcomes(),
            [if sent > 0 { Outcome::Unheard } else { Outcome::Expired }],
            "life {life}"
        );
        (some, none) = (some + usize::from(sent > 0), none + usize::from(sent == 0));
    }
    assert!(some > 100 && none > 0, "{some} {none}");
}

/// A HELLO is under way, and the frame behind it is told of at its own deadline.
#[test]
fn a_frame_that_waits_behind_another_expires_too() {
    let mut bench = standard();
    bench.node.hello_at = Some(0);
    bench.node.handle_timeout(0);
    bench.node.send(0, 1, &[1; 8], 20_000).unwrap();
    assert_eq!(bench.node.send(0, 2, &[1; 8], 20_000), Err(Refusal::Busy));
    let all = bench.run(30_000);
    assert_eq!((of_kind(&all, Kind::Hello), of_kind(&all, Kind::Data)), (1, 0));
    assert_eq!(bench.outcomes(), [Outcome::Expired]);
}

#[test]
fn no_hour_of_six_holds_more_than_the_budget_whatever_is_asked_of_a_lock() {
    for region in [Region::Eu433, Region::Cn433] {
        let mut bench = Bench::joined(Profile::Slow, region, 2_000);
        let (mut hour, mut own) = (HourOfAir::new(region), HourOfAir::new(region));
        let (mut counter, mut refused, mut acks_when_refused) = (0, 0, 0);
        while bench.now < 6 * HOUR {
            // Its firmware always has something to say, and nobody ever acknowledges it …
            let _ = bench.node.send(bench.now, 1, &[1; 48], bench.now + 5_000_000);
            let until = bench.now + 400_000;
            while let Some((packet, transmit)) = bench.next(until) {
                let (from, kind) = (bench.now, packet.header().kind);
                let air = bench.sent(&transmit);
                hour.put(from, air);
                if kind == Kind::Ack {
                    acks_when_refused += usize::from(refused > 0);
                } else {
                    own.put(from, air);
                }
            }
            // … and somebody in its network has as much to say to it.
            bench.hears(&down(Kind::Data, counter, &[2; 8]));
            counter += 1;
            refused += bench.outcomes().iter().filter(|outcome| **outcome == Outcome::NoAirtime).count();
            bench.events.clear();
        }
        let budget = region.budget();
        assert!(
            own.most <= budget - budget / 10,
            "the last tenth of the budget is for answers: {}",
            own.most
        );
        assert!(hour.most > budget - budget / 10, "{region:?}: answers do not get the last tenth");
        assert!(refused > 100 && acks_when_refused > 100, "{refused} {acks_when_refused}");
    }
}

#[test]
fn with_an_empty_budget_a_lock_begins_nothing() {
    for (spent, acks, data) in [(0, 1, true), (324_000_000, 1, false), (360_000_000, 0, false)] {
        let mut bench = standard();
        bench.node.duty.spend(0, spent);
        bench.node.send(0, 1, &[1; 48], 60_000_000).unwrap();
        let first = bench.run(1_000_000);
        bench.hears(&down(Kind::Data, 0, &[2; 8]));
        let then = bench.run(1_000_000);
        assert_eq!(of_kind(&then, Kind::Ack), acks, "spent {spent}");
        assert_eq!(of_kind(&first, Kind::Data) > 0, data, "spent {spent}");
        assert_eq!(bench.outcomes().first(), Some(&if data { Outcome::Unheard } else { Outcome::NoAirtime }));
    }
}

#[test]
fn a_frame_is_sent_four_times_under_one_counter_and_a_busy_channel_waited_for_16_times() {
    let mut bench = standard();
    bench.node.send(0, 1, &[1; 48], 60_000_000).unwrap();
    let all = bench.run(5_000_000);
    let data: StdVec<_> = all.iter().filter(|(_, packet)| packet.header().kind == Kind::Data).collect();
    assert_eq!(data.len(), 4);
    assert!(
        data.iter().all(|(_, packet)| packet == &data[0].1),
        "a frame that is repeated is the same bytes"
    );
    assert_eq!(bench.outcomes(), [Outcome::Unheard]);

    let mut bench = standard();
    bench.node.send(0, 1, &[1; 48], 600_000_000).unwrap();
    let mut busy = 0;
    while let Some((packet, transmit)) = bench.next(10_000_000) {
        assert!(transmit.cca, "it waits for a clear channel");
        bench.now += 5_000;
        if packet.header().kind == Kind::Data {
            busy += 1;
        }
        bench.node.handle_busy(bench.now);
        bench.settle();
    }
    assert_eq!((busy, bench.outcomes()), (16, std::vec![Outcome::Busy]));
}

#[test]
fn an_acknowledgement_begins_1_to_30_ms_after_the_frame_or_not_at_all() {
    for (away, acked) in [(999, false), (1_000, true), (30_000, true), (30_001, false), (90_000, false)] {
        let mut bench = standard();
        bench.hears(&down(Kind::Data, 0, &[2; 8]));
        assert_eq!(bench.node.poll_timeout(), Some(1_000));
        let transmit = bench.node.poll_transmit(away);
        assert_eq!(transmit.is_some(), acked, "after {away} µs");
        if let Some(transmit) = transmit {
            assert!(!transmit.cca && transmit.start_by == 30_000);
        }
    }
}

#[test]
fn a_repeat_is_acknowledged_eight_times_and_delivered_once() {
    let mut bench = standard();
    let (frame, mut acks) = (down(Kind::Data, 0, &[2; 8]), 0);
    for _ in 0..30 {
        bench.hears(&frame);
        acks += of_kind(&bench.run(100_000), Kind::Ack);
    }
    assert_eq!((acks, bench.received()), (1 + 8, 1));
}

/// After a restart: below the floor nothing is accepted, and it says so once a minute at most.
#[test]
fn below_its_floor_nothing_is_accepted_and_it_is_said_once_a_minute() {
    let mut bench = Bench::of(config(Profile::Standard, Region::Eu433, 0), Some(&record(ADDRESS, 0, 600)));
    let mut hellos = 0;
    for step in 0..90_u32 {
        bench.hears(&down(Kind::Data, 500 + step % 100, &[2; 8]));
        let mut all = StdVec::new();
        let until = bench.now + 2_000_000;
        while let Some((packet, transmit)) = bench.next(until) {
            all.push((bench.now, packet.clone()));
            bench.sent(&transmit);
            if packet.header().kind == Kind::Hello {
                let Ok(Body::Hello(hello)) = Body::decode(Kind::Hello, packet.body()) else { panic!() };
                assert_eq!(hello.floor, 600);
                let counter = u32::from(packet.header().counter);
                bench.hears(&down(Kind::Ack, counter, &[0; 2]));
            }
        }
        assert_eq!(of_kind(&all, Kind::Ack), 0);
        hellos += of_kind(&all, Kind::Hello);
    }
    assert_eq!((hellos, bench.received()), (3, 0), "in three minutes");
    for _ in 0..2 {
        bench.hears(&down(Kind::Data, 600, &[2; 8])); // a limit is stored first
    }
    assert_eq!(bench.received(), 1);
}

#[test]
fn a_floor_is_believed_up_to_1024_and_only_for_the_frame_that_it_answers() {
    for (floor, counter, next) in [(300, 0, 300), (1_025, 0, 1_025), (1_026, 0, 1), (300, 1, 0)] {
        let mut bench = standard();
        bench.node.send(0, 1, &[1; 8], 5_000_000).unwrap();
        let (packet, transmit) = bench.next(1_000_000).unwrap();
        assert!(packet.verify(&keys().up, 0));
        bench.sent(&transmit);
        bench.hears(&down_body(&Body::Floor(floor), counter));
        let (again, _) = bench.next(bench.now + 1_000_000).unwrap();
        // What is not believed costs the counter of the frame and nothing more.
        assert!(again.verify(&keys().up, next), "{floor}: {:?}", again.header());
    }
}

#[test]
fn nothing_is_said_under_a_counter_that_is_not_stored() {
    let mut bench = standard();
    bench.node.joined.as_mut().unwrap().session = Session::new(&secret(), &LOCK, NONCES);
    let mut said = 0;
    for number in 0..400_u32 {
        let _ = bench.node.send(bench.now, number, &[1; 8], bench.now + 200_000);
        bench.node.handle_timeout(bench.now);
        // Storage is asked, and never answers.
        let _ = bench.node.poll_store();
        if let Some(transmit) = bench.node.poll_transmit(bench.now) {
            let packet = Packet::parse(transmit.frame.as_bytes()).unwrap();
            let counter = u32::from(packet.header().counter);
            assert!(counter < crate::BLOCK, "{counter} may be used again after a power cut");
            bench.now += 10_000;
            bench.node.handle_sent(bench.now);
            let ack = down(Kind::Ack, counter, &[0; 2]);
            bench.node.handle_received(bench.now, ack.as_bytes(), Quality::default());
            said += 1;
        }
        while bench.node.poll_event().is_some() {}
        bench.now += 50_000;
    }
    assert_eq!(said, crate::BLOCK);
}

fn beacon(key: &Key, network: u8, counter: u32, channel: u8, join_open: bool) -> AirFrame {
    let header = Header { network, ..header(Kind::Beacon, false, BROADCAST) };
    let body = Beacon { counter, channel, channels: 0b11, countdown_ms: 20, period_s: 10, join_open };
    seal(header, counter, &Body::Beacon(body).encode(), key).unwrap()
}

#[test]
fn trouble_is_told_after_30_s_and_whether_the_channel_was_busy() {
    for busy in [false, true] {
        let mut bench = standard();
        while bench.now < 29_000_000 {
            let _ = bench.node.send(bench.now, 1, &[1; 8], bench.now + 2_000_000);
            while let Some((_, transmit)) = bench.next(bench.now + 100_000) {
                if busy {
                    bench.now += 5_000;
                    bench.node.handle_busy(bench.now);
                } else {
                    bench.sent(&transmit);
                }
            }
        }
        assert!(!bench.events.iter().any(|event| matches!(event, NodeEvent::Trouble { .. })));
        while bench.now < 40_000_000 {
            let _ = bench.node.send(bench.now, 1, &[1; 8], bench.now + 2_000_000);
            while let Some((_, transmit)) = bench.next(bench.now + 100_000) {
                if busy {
                    bench.now += 5_000;
                    bench.node.handle_busy(bench.now);
                } else {
                    bench.sent(&transmit);
                }
            }
        }
        assert_eq!(bench.events.iter().filter(|event| **event == NodeEvent::Trouble { busy }).count(), 1);
    }
}

/// Whoever has no key says nothing, and the other direction's key is another key.
#[test]
fn what_is_under_another_key_is_counted_and_nothing_else() {
    let mut bench = standard();
    bench.node.send(0, 1, &[1; 8], 5_000_000).unwrap();
    let (_, transmit) = bench.next(1_000_000).unwrap();
    bench.sent(&transmit);
    for kind in [Kind::Ack, Kind::Floor, Kind::Data, Kind::Wake] {
        let body = if kind == Kind::Floor { &[0, 0, 1, 0][..] } else { &[0; 2][..] };
        bench.hears(&seal(header(kind, false, ADDRESS), 0, body, &keys().up).unwrap());
    }
    assert_eq!((bench.node.stats().forged, &bench.events[..]), (4, &[][..]));
    assert!(bench.node.reply.is_none() && bench.node.out.as_ref().is_some_and(|out| out.counter == Some(0)));
}

#[test]
fn a_frame_of_which_nothing_was_ever_said_is_counted() {
    let mut bench = standard();
    bench.node.send(0, 1, &[1; 48], 60_000_000).unwrap();
    let (_, transmit) = bench.next(1_000_000).unwrap();
    bench.node.handle_timeout(2_000_000);
    assert_eq!(bench.node.air_time(2_000_000), Profile::Standard.air_time(transmit.frame.len()));
}
