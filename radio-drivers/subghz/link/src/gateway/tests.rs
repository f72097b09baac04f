//! The gateway alone, with a radio that checks nothing: what it keeps to by itself.

mod budget;
mod joining;

use std::vec::Vec as StdVec;

use super::peer::Peer;
use super::*;
use crate::session::Session;
use crate::testing::{ADDRESS, LOCK, NETWORK, NONCES, header, keys, network_key, secret, up};
use crate::{AirFrame, Body, Hello, Kind, Packet, Transmit};

/// A gateway, one lock that has joined, and whatever radio the test is.
struct Bench {
    gateway: Gateway<4>,
    now: Micros,
    outcomes: StdVec<Outcome>,
    ups: usize,
}

fn config(profile: Profile, region: Region) -> GatewayConfig {
    GatewayConfig { profile, region, network: NETWORK, channels: 0b11, seed: 1 }
}

impl Bench {
    fn new(profile: Profile, region: Region, interval_ms: u16) -> Self {
        let mut gateway = Gateway::new(config(profile, region), network_key(), [], 0).unwrap();
        gateway.admit(LOCK, secret()).unwrap();
        let peer = gateway.peers.first_mut().unwrap();
        peer.current = Some(Session::new(&secret(), &LOCK, NONCES));
        (peer.interval_ms, peer.linger_ms, peer.last_nonce) = (interval_ms, 100, Some(NONCES.node));
        let mut bench = Self { gateway, now: 0, outcomes: StdVec::new(), ups: 0 };
        bench.settle();
        bench
    }

    fn peer(&mut self) -> &mut Peer {
        self.gateway.peers.first_mut().unwrap()
    }

    /// Storage that never fails, and a driver that collects.
    fn settle(&mut self) {
        while self.gateway.poll_store().is_some() {
            self.gateway.handle_stored(self.now, true);
        }
        while let Some(event) = self.gateway.poll_event() {
            match event {
                GatewayEvent::Outcome { outcome, .. } => self.outcomes.push(outcome),
                GatewayEvent::Up { .. } => self.ups += 1,
                _ => {}
            }
        }
    }

    /// The next frame that it would put on the air until then. The radio begins it at once, and says nothing of it yet.
    fn next(&mut self, until: Micros) -> Option<(Packet, Transmit)> {
        loop {
            self.gateway.handle_timeout(self.now);
            let transmit = self.gateway.poll_transmit(self.now);
            self.settle();
            if let Some(transmit) = transmit {
                return Some((Packet::parse(transmit.frame.as_bytes()).unwrap(), transmit));
            }
            let due = self.gateway.poll_timeout(self.now).unwrap_or(Micros::MAX);
            if due > until || self.now >= until {
                self.now = until;
                return None;
            }
            self.now = due.max(self.now + 50);
        }
    }

    /// The frame has left, whole.
    fn sent(&mut self, transmit: &Transmit) -> Micros {
        let air = self.gateway.config.profile.air_time(transmit.frame.len());
        self.now += air;
        self.gateway.handle_sent(self.now);
        self.settle();
        air
    }

    fn hears(&mut self, frame: &AirFrame) -> bool {
        let ours = self.gateway.handle_received(self.now, frame.as_bytes(), Quality::default());
        self.settle();
        ours
    }

    /// All that it puts on the air in this span, nobody answering.
    fn run(&mut self, span: Micros) -> StdVec<(Micros, Packet)> {
        let (mut all, until) = (StdVec::new(), self.now + span);
        while let Some((packet, transmit)) = self.next(until) {
            all.push((self.now, packet));
            self.sent(&transmit);
        }
        all
    }
}

fn standard() -> Bench {
    Bench::new(Profile::Standard, Region::Eu433, 0)
}

fn of_kind(all: &[(Micros, Packet)], kind: Kind) -> StdVec<Micros> {
    all.iter().filter(|(_, packet)| packet.header().kind == kind).map(|(at, _)| *at).collect()
}

/// The port asks the clock again; here nobody does.
#[test]
fn by_itself_it_begins_nothing_that_would_end_after_its_deadline() {
    for interval_ms in [0, 500] {
        let (mut some, mut none) = (0, 0);
        for life in (0..2_500_000).step_by(3_331) {
            let mut bench = Bench::new(Profile::Standard, Region::Eu433, interval_ms);
            bench.run(300_000); // the beacon and its window
            let deadline = bench.now + life;
            bench.gateway.send(bench.now, 1, &LOCK, &[1; 48], deadline).unwrap();
            let (mut sent, mut turn, until) = (0, 0, bench.now + 5_000_000);
            while let Some((packet, transmit)) = bench.next(until) {
                let air = Profile::Standard.air_time(transmit.frame.len());
                turn += 1;
                if packet.header().kind != Kind::Data {
                    bench.sent(&transmit);
                    continue;
                }
                assert!(bench.now + air <= deadline, "a frame is begun that ends after its deadline");
                assert!(transmit.start_by + air <= deadline, "the radio is told too late a last moment");
                // Every third time the channel is busy until the last moment, which the radio does not look at.
                if turn % 3 == 0 {
                    bench.now += 7_000;
                    bench.gateway.handle_busy(bench.now);
                } else {
                    bench.sent(&transmit);
                    sent += 1;
                }
            }
            let expected = if sent > 0 { Outcome::Unheard } else { Outcome::Expired };
            assert_eq!(bench.outcomes, [expected], "life {life}");
            (some, none) = (some + usize::from(sent > 0), none + usize::from(sent == 0));
        }
        assert!(some > 100 && none > 0, "{some} {none}");
    }
}

#[test]
fn a_burst_that_would_end_too_late_is_not_begun() {
    let mut bench = Bench::new(Profile::Standard, Region::Eu433, 500);
    bench.run(300_000);
    bench.gateway.send(bench.now, 1, &LOCK, &[1; 48], bench.now + 400_000).unwrap();
    assert_eq!(bench.run(1_000_000).len(), 0, "strobes for a frame that cannot be in time");
    assert_eq!(bench.outcomes, [Outcome::Expired]);
}

#[test]
fn an_acknowledgement_begins_1_to_30_ms_after_the_frame_or_not_at_all() {
    for (away, acked) in
        [(0, true), (999, false), (1_000, true), (30_000, true), (30_001, false), (90_000, false)]
    {
        let mut bench = standard();
        bench.run(300_000);
        let end = bench.now;
        bench.hears(&up(Kind::Data, 0, &[2; 8]));
        bench.now += away;
        let transmit = bench.gateway.poll_transmit(bench.now);
        if away < 1_000 {
            assert_eq!(transmit, None);
            assert_eq!(bench.gateway.poll_timeout(bench.now), Some(end + 1_000));
            continue;
        }
        assert_eq!(transmit.is_some(), acked, "after {away} µs");
        if let Some(transmit) = transmit {
            assert!(!transmit.cca && transmit.start_by == end + 30_000);
        }
    }
}

#[test]
fn a_frame_is_sent_three_times_after_each_of_two_bursts_of_which_the_second_is_whole() {
    let mut bench = Bench::new(Profile::Standard, Region::Eu433, 500);
    bench.run(300_000);
    bench.hears(&up(Kind::Data, 0, &[2; 8])); // the grid is known
    bench.run(3_000_000);
    bench.gateway.send(bench.now, 1, &LOCK, &[1; 48], bench.now + 5_000_000).unwrap();
    let all = bench.run(5_000_000);
    let data = of_kind(&all, Kind::Data);
    let strobes = of_kind(&all, Kind::Wake);
    assert_eq!(data.len(), 6);
    let bursts = [
        strobes.iter().filter(|at| **at < data[0]).count(),
        strobes.iter().filter(|at| (data[2]..data[3]).contains(at)).count(),
    ];
    assert_eq!(bursts.iter().sum::<usize>(), strobes.len(), "three sendings follow each burst");
    assert!(bursts[0] < 10 && bursts[1] > 80, "{bursts:?}");
    let counters: std::collections::BTreeSet<_> =
        all.iter().filter(|(_, p)| p.header().kind == Kind::Data).map(|(_, p)| p.header().counter).collect();
    assert_eq!(counters.len(), 1, "a frame that is repeated is the same bytes");
    assert_eq!(bench.outcomes, [Outcome::Unheard]);
}

#[test]
fn sixteen_busy_channels_are_the_end_of_a_frame() {
    let mut bench = standard();
    bench.run(300_000);
    bench.gateway.send(bench.now, 1, &LOCK, &[1; 48], bench.now + 60_000_000).unwrap();
    let (mut busy, until) = (0, bench.now + 9_000_000);
    while let Some((packet, transmit)) = bench.next(until) {
        assert!(packet.header().kind != Kind::Data || transmit.cca, "data waits for a clear channel");
        busy += 1;
        bench.now += 5_000;
        bench.gateway.handle_busy(bench.now);
        bench.settle();
    }
    assert_eq!((busy, &bench.outcomes[..]), (16, &[Outcome::Busy][..]));
}

#[test]
fn the_first_strobe_waits_for_a_clear_channel_and_the_others_follow_within_their_pause() {
    let mut bench = Bench::new(Profile::Standard, Region::Eu433, 500);
    bench.run(300_000);
    bench.gateway.send(bench.now, 1, &LOCK, &[1; 48], bench.now + 5_000_000).unwrap();
    let mut strobes = 0;
    while let Some((packet, transmit)) = bench.next(9_000_000).filter(|(p, _)| p.header().kind == Kind::Wake)
    {
        assert_eq!(transmit.cca, strobes == 0, "strobe {strobes}");
        assert!(strobes == 0 || transmit.start_by == bench.now + 1_500, "a pause of more than 1.5 ms");
        assert_eq!(packet.header().counter, 0, "one counter for the whole burst");
        strobes += 1;
        bench.sent(&transmit);
    }
    assert!(strobes > 80);
}

#[test]
fn a_repeat_is_acknowledged_eight_times_and_delivered_once() {
    let mut bench = standard();
    bench.run(300_000);
    let (frame, mut acks) = (up(Kind::Data, 0, &[2; 8]), 0);
    for _ in 0..30 {
        bench.hears(&frame);
        acks += of_kind(&bench.run(100_000), Kind::Ack).len();
    }
    assert_eq!((acks, bench.ups), (1 + 8, 1));
}

/// Its lock went on while the gateway forgot; only the first in a second is told.
#[test]
fn a_floor_is_said_once_a_second_whatever_is_played() {
    let mut bench = standard();
    if let Some(session) = &mut bench.peer().current {
        session.rx = crate::counter::Receiver::restore(600);
    }
    bench.run(300_000);
    let start = bench.now;
    let mut floors = StdVec::new();
    while bench.now < start + 5_000_000 {
        bench.hears(&up(Kind::Data, 7, &[2; 8]));
        let all = bench.run(20_000);
        for (_, packet) in all.iter().filter(|(_, packet)| packet.header().kind == Kind::Floor) {
            assert_eq!(Body::decode(Kind::Floor, packet.body()), Ok(Body::Floor(600)));
            assert!(packet.verify(&keys().down, 7), "it answers that frame and no other");
        }
        floors.extend(of_kind(&all, Kind::Floor));
    }
    assert_eq!(floors.len(), 5, "{floors:?}");
    assert!(floors.windows(2).all(|two| two[1] - two[0] >= 999_000), "{floors:?}");
    assert_eq!(bench.ups, 0);
}

#[test]
fn a_floor_that_a_lock_says_is_believed_up_to_1024() {
    for (floor, next) in [(256, 256), (1_024, 1_024), (1_025, 0), (u32::MAX, 0)] {
        let mut bench = standard();
        bench.run(300_000);
        let hello = Body::Hello(Hello { floor, interval_ms: 0, linger_ms: 100 });
        bench.hears(&up(Kind::Hello, 0, &hello.encode()));
        bench.gateway.send(bench.now, 1, &LOCK, &[1; 8], bench.now + 5_000_000).unwrap();
        let all = bench.run(5_000_000);
        let (_, data) = all.iter().find(|(_, packet)| packet.header().kind == Kind::Data).unwrap();
        assert!(data.verify(&keys().down, next), "floor {floor}");
    }
}

/// The frame that was under way when the lock restarted would be below its floor.
#[test]
fn a_frame_under_way_takes_a_new_counter_when_its_lock_says_a_floor_above_it() {
    for (floor, counter) in [(0, 0), (1, 0), (2, 2), (300, 300)] {
        let mut bench = standard();
        bench.run(300_000);
        bench.gateway.send(bench.now, 1, &LOCK, &[1; 8], bench.now + 5_000_000).unwrap();
        let (packet, transmit) = bench.next(bench.now + 1_000_000).unwrap();
        assert!(packet.verify(&keys().down, 0));
        bench.sent(&transmit);
        let hello = Body::Hello(Hello { floor, interval_ms: 0, linger_ms: 100 });
        bench.hears(&up(Kind::Hello, 0, &hello.encode()));
        let all = bench.run(5_000_000);
        let (_, data) = all.iter().find(|(_, packet)| packet.header().kind == Kind::Data).unwrap();
        assert!(data.verify(&keys().down, counter), "floor {floor}: {:?}", data.header());
    }
}

#[test]
fn nothing_is_said_under_a_counter_that_is_not_stored() {
    let mut bench = standard();
    bench.run(300_000);
    bench.gateway.writing = Some(store::Writing::Network { limit: 0 }); // storage takes for ever
    let mut said = 0;
    for number in 0..400 {
        let _ = bench.gateway.send(bench.now, number, &LOCK, &[1; 8], bench.now + 10_000_000);
        if let Some((packet, transmit)) =
            bench.next(bench.now + 500_000).filter(|(p, _)| p.header().kind == Kind::Data)
        {
            let counter = u32::from(packet.header().counter);
            assert!(counter < crate::BLOCK, "{counter} may be used again after a power cut");
            bench.sent(&transmit);
            bench.hears(&up(Kind::Ack, counter, &[0; 2]));
            said += 1;
        }
        bench.now += 1_000;
    }
    assert_eq!(said, crate::BLOCK);
}

#[test]
fn what_is_said_to_a_lock_with_something_pending_says_so_and_counts_on_it() {
    for waits in [false, true] {
        let mut bench = Bench::new(Profile::Standard, Region::Eu433, 500);
        bench.run(300_000);
        if waits {
            bench.gateway.send(bench.now, 1, &LOCK, &[1; 8], bench.now + 5_000_000).unwrap();
        }
        bench.hears(&up(Kind::Data, 0, &[2; 8]));
        bench.now += 1_000;
        let (ack, transmit) = bench.next(bench.now).unwrap();
        bench.sent(&transmit);
        assert_eq!((ack.header().kind, ack.header().pending), (Kind::Ack, waits));
        let awake = Profile::Standard.awake();
        let stays = bench.peer().awake_until;
        let acked = bench.peer().anchor.unwrap();
        assert_eq!(stays - acked, if waits { awake } else { 100_000 }, "linger, or as long as after a burst");
    }
}

#[test]
fn a_frame_that_was_on_the_air_cannot_be_taken_back() {
    let mut bench = standard();
    bench.run(300_000);
    bench.gateway.send(bench.now, 1, &LOCK, &[1; 8], bench.now + 5_000_000).unwrap();
    let (_, transmit) = bench.next(bench.now + 1_000_000).unwrap();
    bench.gateway.cancel(1); // the radio has it
    bench.sent(&transmit);
    bench.gateway.cancel(1); // it may have arrived
    bench.run(5_000_000);
    assert_eq!(bench.outcomes, [Outcome::Unheard]);
}

#[test]
fn no_burst_begins_in_the_listen_window() {
    let mut bench = Bench::new(Profile::Standard, Region::Eu433, 500);
    let (packet, transmit) = bench.next(1_000_000).unwrap();
    assert_eq!(packet.header().kind, Kind::Beacon);
    bench.sent(&transmit);
    let beacon = bench.now;
    bench.gateway.send(bench.now, 1, &LOCK, &[1; 8], bench.now + 5_000_000).unwrap();
    let all = bench.run(5_000_000);
    let first = all.first().map(|(at, _)| *at).unwrap();
    assert_eq!(first, beacon + 20_000 + 200_000);
}

/// Which channels it may move to is the operator's decision.
#[test]
fn a_jammed_network_moves_only_where_it_may() {
    for (channels, moved) in [(0b1, 0), (0b1000, 3), (0b10_0011, 1)] {
        let mut config = config(Profile::Standard, Region::Eu433);
        config.channels = channels;
        let mut gateway = Gateway::<4>::new(config, network_key(), [], 0).unwrap();
        (0..310).for_each(|tenth| gateway.handle_sample(tenth * 100_000, true));
        assert_eq!(gateway.channel(), moved, "{channels:b}");
        assert_eq!(gateway.poll_transmit(31_000_000), None); // no counter yet
        assert!(gateway.poll_store().is_some());
        gateway.handle_stored(31_000_000, true);
        let transmit = gateway.poll_transmit(32_000_000).unwrap();
        let packet = Packet::parse(transmit.frame.as_bytes()).unwrap();
        let Ok(Body::Beacon(beacon)) = Body::decode(Kind::Beacon, packet.body()) else { panic!() };
        assert_eq!((beacon.channel, transmit.channel), (moved, moved));
    }
}

/// Its listenings are counted from there, whoever has sent the acknowledgement.
#[test]
fn the_grid_hangs_on_the_acknowledgement_that_a_lock_sent() {
    let mut bench = Bench::new(Profile::Standard, Region::Eu433, 500);
    bench.run(300_000);
    bench.gateway.send(bench.now, 1, &LOCK, &[1; 8], bench.now + 5_000_000).unwrap();
    while let Some((packet, transmit)) = bench.next(9_000_000) {
        bench.sent(&transmit);
        if packet.header().kind == Kind::Data {
            break;
        }
    }
    bench.now += 6_000;
    let acked = bench.now;
    assert!(bench.hears(&up(Kind::Ack, 1, &[0; 2])));
    assert_eq!((bench.peer().anchor, &bench.outcomes[..]), (Some(acked), &[Outcome::Heard][..]));
}

#[test]
fn strobes_go_where_the_lock_was_last_heard_and_say_where_the_data_comes() {
    let mut bench = Bench::new(Profile::Standard, Region::Eu433, 500);
    bench.run(300_000);
    bench.hears(&up(Kind::Data, 0, &[2; 8]));
    bench.run(1_000_000);
    bench.gateway.move_to(bench.now, 1);
    bench.run(300_000); // the beacon on the new channel
    bench.gateway.send(bench.now, 1, &LOCK, &[1; 8], bench.now + 5_000_000).unwrap();
    let mut kinds = StdVec::new();
    while let Some((packet, transmit)) = bench.next(3_000_000) {
        let kind = packet.header().kind;
        kinds.push(kind);
        if kind == Kind::Wake {
            assert_eq!(transmit.channel, 0, "it listens where it was");
            let Ok(Body::Wake(wake)) = Body::decode(kind, packet.body()) else { panic!() };
            assert_eq!(wake.channel, 1);
        } else {
            assert_eq!(transmit.channel, 1);
        }
        bench.sent(&transmit);
    }
    assert!(kinds.contains(&Kind::Wake) && kinds.contains(&Kind::Data));
}

/// Whoever has no key says nothing: neither an acknowledgement nor data.
#[test]
fn what_is_under_another_key_is_counted_and_nothing_else() {
    let mut bench = standard();
    bench.run(300_000);
    bench.gateway.send(bench.now, 1, &LOCK, &[1; 8], bench.now + 5_000_000).unwrap();
    let (_, transmit) = bench.next(bench.now + 1_000_000).unwrap();
    bench.sent(&transmit);
    for kind in [Kind::Ack, Kind::Data, Kind::Hello] {
        // The other direction's key is another key, too.
        let forged = crate::codec::seal(header(kind, true, ADDRESS), 0, &[0; 2], &keys().down).unwrap();
        assert!(!bench.hears(&forged), "{kind:?}");
    }
    assert_eq!((bench.gateway.stats().forged, bench.ups, bench.outcomes.len()), (3, 0, 0));
}

#[test]
fn a_network_that_is_followed_moves_again_after_another_thirty_seconds() {
    let mut config = config(Profile::Standard, Region::Eu433);
    config.channels = 0b111;
    let mut gateway = Gateway::<4>::new(config, network_key(), [], 0).unwrap();
    let mut channels = StdVec::new();
    for tenth in 0..1_000 {
        gateway.handle_sample(tenth * 100_000, true);
        channels.push((tenth / 100, gateway.channel()));
    }
    channels.dedup();
    let moves: StdVec<_> = channels.windows(2).filter(|two| two[0].1 != two[1].1).map(|two| two[1]).collect();
    assert_eq!(moves, [(3, 1), (6, 2), (9, 0)], "in which ten seconds, and where to");
}
