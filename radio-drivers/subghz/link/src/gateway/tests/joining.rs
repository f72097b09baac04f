//! Being let in, and whose frames are a lock's.

use super::*;

#[test]
fn accepts_are_at_least_100_ms_apart_and_follow_storage() {
    let mut bench = standard();
    bench.run(300_000);
    bench.gateway.open_join(bench.now, bench.now + 60_000_000);
    bench.run(300_000);
    let nonce = 2;
    let join = Body::Join(crate::Join { lock: LOCK, nonce });
    let asks = crate::codec::seal(header(Kind::Join, true, 254), nonce, &join.encode(), &secret().join_key());
    let asks = asks.unwrap();
    // Storage is slow: before it has answered nothing is said.
    bench.gateway.handle_received(bench.now, asks.as_bytes(), Quality::default());
    let record = bench.gateway.poll_store();
    assert!(record.is_some_and(|record| record.name == RecordName::Lock(LOCK)));
    bench.gateway.handle_received(bench.now, asks.as_bytes(), Quality::default());
    bench.now += 10_000;
    assert_eq!(bench.gateway.poll_transmit(bench.now), None, "it answers under a session that is not stored");
    bench.gateway.handle_stored(bench.now, true);
    let mut accepts = StdVec::new();
    for _ in 0..100 {
        accepts.extend(of_kind(&bench.run(20_000), Kind::Accept));
        bench.hears(&asks);
    }
    assert!(accepts.len() > 10 && accepts.windows(2).all(|two| two[1] - two[0] >= 99_000), "{accepts:?}");
    // The old session holds until the new one is proved.
    assert!(bench.hears(&up(Kind::Data, 0, &[2; 8])));
    assert_eq!(bench.ups, 1);
}

#[test]
fn a_join_counts_once_and_only_under_its_secret() {
    let mut bench = standard();
    bench.run(300_000);
    bench.gateway.open_join(bench.now, bench.now + 60_000_000);
    bench.run(300_000);
    let asks = |nonce, secret: Secret| {
        let join = Body::Join(crate::Join { lock: LOCK, nonce });
        crate::codec::seal(header(Kind::Join, true, 254), nonce, &join.encode(), &secret.join_key()).unwrap()
    };
    assert!(!bench.hears(&asks(7, Secret([6; 16]))), "another secret");
    assert_eq!(bench.peer().last_nonce, Some(NONCES.node), "what is forged moves no nonce");
    assert!(bench.hears(&asks(7, secret())));
    // An older one, though the keys were never proved: somebody plays it again.
    for nonce in [NONCES.node, 5, 6] {
        assert!(!bench.hears(&asks(nonce, secret())), "nonce {nonce}");
    }
    assert!(bench.hears(&asks(7, secret())) && bench.hears(&asks(8, secret())));
}

#[test]
fn nobody_has_an_address_that_is_no_lock_s() {
    for address in [0, 254, 255] {
        let mut bench = standard();
        bench.peer().address = address;
        bench.peer().dirty = true;
        let record = bench.gateway.poll_store().and_then(|record| record.content).unwrap();
        let again =
            Gateway::<4>::new(config(Profile::Standard, Region::Eu433), network_key(), [&record[..]], 0);
        assert!(again.is_err(), "a record with the address {address} is believed");
    }
    // And frames to or from these are nobody's, whatever key they are under.
    let mut bench = standard();
    bench.run(300_000);
    for address in [0, ADDRESS + 1, 253, 254, 255] {
        for kind in [Kind::Data, Kind::Hello, Kind::Ack, Kind::Wake, Kind::Beacon, Kind::Accept, Kind::Floor]
        {
            let body = [0; 8];
            let frame = crate::codec::seal(header(kind, true, address), 0, &body, &keys().up).unwrap();
            assert!(!bench.hears(&frame), "{kind:?} from {address}");
        }
    }
    assert_eq!(bench.run(500_000).len(), 0);
    let mut full =
        Gateway::<300>::new(config(Profile::Standard, Region::Eu433), network_key(), [], 0).unwrap();
    let admitted = (0..300_u64).filter(|n| full.admit(n.to_be_bytes(), secret()).is_ok()).count();
    assert_eq!(admitted, 253);
    assert!(full.peers.iter().all(|peer| (1..=253).contains(&peer.address)));
}

#[test]
fn of_two_records_with_one_address_the_second_is_refused() {
    let mut bench = standard();
    bench.peer().dirty = true;
    let first = bench.gateway.poll_store().and_then(|record| record.content).unwrap();
    let mut second = first.clone();
    second[1] ^= 1; // another lock's name
    let both = [&first[..], &second[..]];
    let config = config(Profile::Standard, Region::Eu433);
    assert!(Gateway::<4>::new(config, network_key(), both, 0).is_err());
    second[25] ^= 2; // and another address
    assert!(Gateway::<4>::new(config, network_key(), [&first[..], &second[..]], 0).is_ok());
}
