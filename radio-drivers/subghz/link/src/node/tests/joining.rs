//! Being let in, and whose frames are its own.

use super::*;
use crate::Accept;
use crate::codec::UNASSIGNED;

/// A lock that is not in a network, until it asks to be let in.
fn joining() -> (Bench, AirFrame) {
    let mut bench = Bench::of(config(Profile::Standard, Region::Eu433, 500), None);
    bench.node.join(0);
    bench.settle();
    bench.hears(&beacon(&network_key(), NETWORK, 1, 1, true));
    let (packet, transmit) = bench.next(1_000_000).unwrap();
    assert_eq!((packet.header().kind, packet.header().network, transmit.channel), (Kind::Join, NETWORK, 1));
    bench.sent(&transmit);
    let accept = Accept {
        lock: LOCK,
        node_nonce: 1,
        gateway_nonce: 0,
        address: ADDRESS,
        channels: 0b11,
        wrapped: secret().wrap(&LOCK, NONCES, &network_key()).0,
    };
    let frame = accepts(&accept, &secret());
    (bench, frame)
}

fn accepts(accept: &Accept, secret: &Secret) -> AirFrame {
    let header = header(Kind::Accept, false, UNASSIGNED);
    seal(header, accept.node_nonce, &Body::Accept(accept.clone()).encode(), &secret.join_key()).unwrap()
}

#[test]
fn a_join_nonce_is_stored_before_it_is_used_and_never_used_again() {
    let mut bench = Bench::of(config(Profile::Standard, Region::Eu433, 500), None);
    bench.node.join(0);
    let open = beacon(&network_key(), NETWORK, 1, 0, true);
    bench.node.handle_received(0, open.as_bytes(), Quality::default());
    // In the window, and storage has not answered: not a word.
    for now in [100_000, 300_000] {
        bench.node.handle_timeout(now);
        assert_eq!(bench.node.poll_transmit(now), None, "a JOIN under a nonce that is not stored");
        let _ = bench.node.poll_store();
    }
    bench.node.handle_stored(false);
    assert_eq!(bench.node.poll_transmit(400_000), None);
    let stored = bench.node.poll_store().unwrap();
    assert_eq!(stored[..], [1, 0, 0, 0, 1]);
    bench.node.handle_stored(true);
    assert!(bench.node.poll_transmit(500_000).is_some());
    // The power goes: the next is higher.
    let mut again =
        Node::new(config(Profile::Standard, Region::Eu433, 500), secret(), Some(&stored), 0).unwrap();
    again.join(0);
    assert_eq!(again.poll_store().unwrap()[..], [1, 0, 0, 0, 2]);
}

#[test]
fn a_lock_is_in_when_the_gateway_has_acknowledged_its_hello_and_not_before() {
    for data_first in [false, true] {
        let (mut bench, accept) = joining();
        bench.node.handle_received(bench.now, accept.as_bytes(), Quality::default());
        bench.node.handle_timeout(bench.now + 20_000);
        assert_eq!(bench.node.poll_transmit(bench.now + 20_000), None, "a session that is not stored");
        bench.now += 20_000;
        if data_first {
            bench.node.out = None;
            bench.node.hello_at = Some(bench.now + 200_000);
            bench.node.send(bench.now, 1, &[1; 8], bench.now + 5_000_000).unwrap();
        }
        bench.settle();
        assert!(bench.flash.as_ref().is_some_and(|flash| flash.len() == 44));
        let mut kinds = StdVec::new();
        while let Some((packet, transmit)) = bench.next(bench.now + 1_000_000) {
            assert!(!bench.events.contains(&NodeEvent::Joined), "before the gateway has answered to HELLO");
            kinds.push(packet.header().kind);
            bench.sent(&transmit);
            let counter = u32::from(packet.header().counter);
            bench.hears(&down(Kind::Ack, counter, &[0; 2]));
        }
        assert_eq!(
            kinds,
            if data_first { std::vec![Kind::Data, Kind::Hello] } else { std::vec![Kind::Hello] }
        );
        assert_eq!(bench.events.iter().filter(|event| **event == NodeEvent::Joined).count(), 1);
    }
}

#[test]
fn only_the_right_accept_lets_it_in() {
    let right = Accept {
        lock: LOCK,
        node_nonce: 1,
        gateway_nonce: 0,
        address: ADDRESS,
        channels: 0b11,
        wrapped: [0; 16],
    };
    let of = |change: fn(&mut Accept)| {
        let mut accept = right.clone();
        change(&mut accept);
        accepts(&accept, &secret())
    };
    for (what, frame) in [
        ("another secret", accepts(&right, &Secret([6; 16]))),
        ("another lock", of(|accept| accept.lock = [8; 8])),
        ("an older nonce", of(|accept| accept.node_nonce = 0)),
        ("the address of all", of(|accept| accept.address = 0)),
        ("the address of nobody", of(|accept| accept.address = 254)),
        ("the reserved address", of(|accept| accept.address = 255)),
    ] {
        let (mut bench, accept) = joining();
        bench.hears(&frame);
        assert!(!bench.node.is_joined(), "{what}");
        bench.hears(&accept);
        assert!(bench.node.is_joined());
    }
    let mut bench = Bench::of(config(Profile::Standard, Region::Eu433, 500), None);
    bench.node.join_nonce = 1;
    bench.hears(&of(|_| {}));
    assert!(!bench.node.is_joined(), "it never asked");
}

#[test]
fn a_record_with_an_address_that_is_no_lock_s_is_refused() {
    let new = |address| {
        let record = record(address, 0, 0);
        Node::new(config(Profile::Standard, Region::Eu433, 500), secret(), Some(&record), 0).is_ok()
    };
    assert!(new(1) && new(253));
    assert!(!new(0) && !new(254) && !new(255));
}

#[test]
fn frames_to_all_and_to_nobody_are_not_for_it_whatever_key_they_are_under() {
    let mut bench = standard();
    for address in [BROADCAST, ADDRESS + 1, 253, UNASSIGNED, 255] {
        for kind in [Kind::Data, Kind::Wake, Kind::Floor, Kind::Ack] {
            let frame = seal(header(kind, false, address), 0, &[0, 100, 0], &keys().down).unwrap();
            bench.hears(&frame);
            assert!(bench.node.awake.is_none() && bench.events.is_empty(), "{kind:?} to {address}");
        }
    }
    assert_eq!(bench.run(500_000).len(), 0);
}
