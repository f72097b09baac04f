//! Bytes from anybody who can reach the socket or a transmitter.

use proptest::prelude::*;

use super::*;

/// A network with a joined device, and good datagrams to start mutations from.
fn prepared() -> (Site, Vec<Vec<u8>>) {
    let (mut site, mut lock) = joined(LorawanClass::A);
    let received =
        |data: Vec<u8>| Received { tmst: 1, frequency: 868_100_000, sf: 7, bw: 125, rssi: -1, snr: 1, data };
    let ups = [lock.confirmed(vec![1; 9]), lock.up_mac(vec![MACCommand::LinkCheckReq]), lock.join_request()];
    let push = |data: Vec<u8>| {
        Packet::PushData { token: 1, eui: EUI, received: vec![received(data)], unreadable: 0 }.encode()
    };
    let mut seeds: Vec<_> = ups.into_iter().map(push).collect();
    seeds.push(Packet::PullData { token: 2, eui: EUI }.encode());
    seeds.push(Packet::TxAck { token: 0, eui: EUI, error: Some("COLLISION_PACKET".into()) }.encode());
    site.events.clear();
    (site, seeds)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn datagrams_of_any_kind_do_not_panic(
        noise in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..20),
        flips in proptest::collection::vec((any::<usize>(), any::<usize>(), any::<u8>(), 0_u64..8_000), 0..40),
    ) {
        let (mut site, seeds) = prepared();
        let from = "127.0.0.1:9".parse().unwrap();
        for bytes in noise {
            site.network.handle_datagram(site.now, WALL, from, &bytes);
        }
        for (which, at, value, pause) in flips {
            let mut bytes = seeds[which % seeds.len()].clone();
            let at = at % bytes.len();
            bytes[at] = value;
            site.network.handle_datagram(site.now, WALL, from, &bytes);
            site.now += pause;
            site.network.handle_timeout(site.now);
            while site.network.poll_transmit().is_some() {}
            while let Some((id, _)) = site.network.poll_commit() {
                site.network.handle_stored(site.now, id, Ok(()));
            }
        }
    }

    /// Frames signed by an admitted device that has turned bad: it holds the keys, so everything behind the MIC is its.
    #[test]
    fn a_malicious_device_does_not_panic_the_network(
        frames in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..15), proptest::option::of(any::<u8>()),
             proptest::collection::vec(any::<u8>(), 0..60), any::<bool>(), any::<bool>(), 0_u32..70_000),
            1..20),
    ) {
        let (mut site, mut lock) = joined(LorawanClass::A);
        for (f_opts, port, payload, adr, confirmed, jump) in frames {
            lock.counter = lock.counter.saturating_add(jump);
            let f_opts = if f_opts.is_empty() { vec![] } else { vec![MACCommand::Raw(f_opts)] };
            let payload = if port.is_some() { payload } else { vec![] };
            let f_type = if confirmed { FType::ConfirmedDataUp } else { FType::UnconfirmedDataUp };
            let f_ctrl = FCtrl { adr, adr_ack_req: confirmed, ..FCtrl::default() };
            let up = lock.up_with(f_type, f_ctrl, f_opts, port, payload);
            site.hear(up);
            site.pass(7_000);
        }
        let (count, bytes) = (site.store.snapshot().len(), site.store.snapshot().iter().map(|r| r.1.len()).sum::<usize>());
        prop_assert!(count <= 3 && bytes < 400);
    }
}

#[test]
fn strangers_are_not_remembered() {
    let (mut site, _) = joined(LorawanClass::A);
    let size = |site: &Site| {
        let n = &site.network;
        (
            n.devices.len(),
            n.by_dev_eui.len(),
            n.by_dev_addr.len(),
            n.timers.len(),
            n.shared.flights.len(),
            n.shared.commits.len(),
        )
    };
    let (before, commits) = (size(&site), site.store.commits());
    for i in 0..20_000_u32 {
        let mut stranger = Lock::new(9, LorawanClass::A);
        stranger.dev_eui[4..].copy_from_slice(&i.to_be_bytes());
        stranger.dev_addr = i.to_be_bytes();
        let frame = if i % 2 == 0 { stranger.join_request() } else { stranger.up(vec![1]) };
        site.hear(frame);
        site.now += 1;
    }
    assert_eq!(size(&site), before);
    assert_eq!(site.store.commits(), commits);
    assert_eq!(site.network.counters().unknown, 20_000);
}

#[test]
fn the_event_queue_is_bounded_for_uplinks_and_not_for_outcomes() {
    let (mut site, mut lock) = joined(LorawanClass::A);
    for i in 0..3_000_u64 {
        let received = Received {
            tmst: site.tmst_now(),
            frequency: 868_100_000,
            sf: 7,
            bw: 125,
            rssi: -80,
            snr: 55,
            data: lock.up(vec![1]),
        };
        let push = Packet::PushData { token: 9, eui: EUI, received: vec![received], unreadable: 0 };
        site.network.handle_datagram(site.now, WALL, "127.0.0.1:9".parse().unwrap(), &push.encode());
        let send = Send { handle: i, lock: LockId([8; 8]), frame: Bytes::new(), deadline: 0 };
        if i % 100 == 0 {
            site.network.handle_command(site.now, Command::Send(send));
        }
        site.now += 10;
    }
    let (mut ups, mut outcomes) = (0, 0);
    while let Some(event) = site.network.poll_event() {
        ups += usize::from(matches!(event, Event::Up(_)));
        outcomes += usize::from(matches!(event, Event::Outcome { .. }));
    }
    assert_eq!(outcomes, 30);
    assert!(ups <= super::super::MAX_EVENTS && ups > 900, "{ups}");
    assert_eq!(site.network.counters().shed, 3_000 - ups as u64);
}

/// The fuzz target starts from a joined device: these are the datagrams that join it, kept in step with this crate.
#[test]
fn the_prelude_of_the_fuzz_target_opens_a_session() {
    let mut site = Site::new(LoraConfig::default());
    let mut lock = Lock::new(1, LorawanClass::A);
    site.admit(&lock);
    let request = lock.join_request();
    site.hear(request.clone());
    lock.accept(&site.sent.pop().unwrap().1.data);
    let first = lock.up(b"hello".to_vec());
    let prelude = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/src/lora_prelude.txt"));
    let expected = format!("{}\n{}\n", hex::encode(request), hex::encode(first));
    assert_eq!(prelude, expected, "fuzz/src/lora_prelude.txt must be exactly this");
}
