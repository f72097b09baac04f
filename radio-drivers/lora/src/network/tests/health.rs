//! The forwarder: absent, back again, foreign, second.

use cardea_radio::Failure;

use super::*;

fn detail(site: &mut Site) -> (bool, String) {
    let Health { up, detail } = site.take_health().expect("a change of health");
    (up, detail)
}

#[test]
fn the_forwarder_comes_goes_and_comes_back() {
    let mut network = Network::new(LoraConfig::default(), Vec::new()).unwrap();
    assert!(matches!(network.poll_event(), Some(Event::Admits(locks)) if locks.is_empty()));
    let Some(Event::Health(Health { up: false, detail: text })) = network.poll_event() else { panic!() };
    assert!(text.contains("127.0.0.1:1700"), "{text}");

    let (mut site, lock) = joined(LorawanClass::C);
    site.now += 40_000;
    site.network.handle_timeout(site.now);
    site.pump();
    let (up, text) = detail(&mut site);
    assert!(!up && text.contains("aa555a0000000101"), "{text}");
    site.send(&lock, 1, b"frame", 10_000);
    assert_eq!(site.take_outcome(1), Some(Outcome::Failed(Failure::NoRadio)));
    site.poll();
    assert_eq!(detail(&mut site), (true, String::new()));
    site.send(&lock, 2, b"frame", 10_000);
    assert_eq!(site.take_outcome(2), Some(Outcome::Sent));
    assert!(site.take_health().is_none());
}

#[test]
fn only_listed_forwarders_are_believed_and_one_at_a_time() {
    let mut site = Site::new(LoraConfig { forwarders: vec![Eui([9; 8])], ..LoraConfig::default() });
    assert_eq!(site.network.counters().foreign_forwarder, 1);
    assert!(!detail(&mut site).0);
    let lock = Lock::new(1, LorawanClass::A);
    site.admit(&lock);
    let request = Lock::new(1, LorawanClass::A).join_request();
    site.hear(request);
    assert!(site.sent.is_empty());

    let (mut site, mut lock) = joined(LorawanClass::A);
    let second = Eui([7; 8]);
    site.datagram(&Packet::PullData { token: 5, eui: second });
    assert_eq!(site.network.counters().foreign_forwarder, 1);
    // Once the first is silent, the second takes over.
    site.now += 31_000;
    site.datagram(&Packet::PullData { token: 5, eui: second });
    let data = lock.up(b"x".to_vec());
    let received =
        vec![Received { tmst: 5, frequency: 868_100_000, sf: 7, bw: 125, rssi: -80, snr: 50, data }];
    site.datagram(&Packet::PushData { token: 9, eui: second, received, unreadable: 0 });
    assert!(site.take_up().is_some());
}

#[test]
fn an_unreadable_record_keeps_the_network_from_starting() {
    let (site, _) = joined(LorawanClass::A);
    let mut records = site.store.snapshot();
    records[0].1.truncate(3);
    let error = Network::new(LoraConfig::default(), records).err().unwrap();
    assert!(error.to_string().contains("cannot be read"), "{error}");
    let foreign = vec![(b"zigbee/key".to_vec(), vec![1])];
    assert!(Network::new(LoraConfig::default(), foreign).is_ok());
}

#[test]
fn another_host_cannot_take_the_downlinks_of_a_forwarder_that_polls() {
    let (mut site, lock) = joined(LorawanClass::C);
    site.poll();
    let elsewhere: SocketAddr = "192.0.2.9:40002".parse().unwrap();
    let pull = Packet::PullData { token: 5, eui: EUI }.encode();
    site.network.handle_datagram(site.now, WALL, elsewhere, &pull);
    assert!(site.network.poll_transmit().is_none(), "not even an answer");
    assert_eq!(site.network.counters().foreign_forwarder, 1);
    // The site asserts where this goes.
    site.mood = Mood::Silent;
    site.send(&lock, 1, b"frame", 10_000);
    assert_eq!(site.sent.len(), 1);
    // Nor can it say that a downlink was sent.
    for token in 0..=u16::MAX {
        let ack = Packet::TxAck { token, eui: EUI, error: None }.encode();
        site.network.handle_datagram(site.now, WALL, elsewhere, &ack);
    }
    site.pump();
    assert_eq!(site.take_outcome(1), None);
    // Another port of the same host is the forwarder after a restart, and another host is after a silence.
    site.network.handle_datagram(site.now, WALL, "127.0.0.1:50000".parse().unwrap(), &pull);
    assert!(site.network.poll_transmit().is_some());
    site.now += 31_000;
    site.network.handle_datagram(site.now, WALL, elsewhere, &pull);
    assert!(site.network.poll_transmit().is_some());
}

#[test]
fn a_flood_of_foreign_forwarders_is_one_warning_a_minute() {
    let (mut site, _) = joined(LorawanClass::A);
    let mut warned = 0;
    let before = site.network.foreign_quiet_until;
    let mut last = before;
    for _ in 0..600 {
        site.datagram(&Packet::PullData { token: 5, eui: Eui([7; 8]) });
        warned += u32::from(site.network.foreign_quiet_until != last);
        last = site.network.foreign_quiet_until;
        site.pass(100);
    }
    assert_eq!((warned, site.network.counters().foreign_forwarder), (1, 600));
}
