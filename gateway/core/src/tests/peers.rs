//! Locks and phones that speak to each other, and messages of a site: what is carried, what it costs, what goes nowhere.

use cardea_framing::Datagram;

use super::*;

fn bench() -> Bench {
    Bench::over(|_| {}, snapshot())
}

fn snapshot() -> Snapshot {
    let record = |lock| LockRecord { lock, radio: "lora".into() };
    let address = |lock, address| AddressRecord { address, lock: Some(lock), freed: 0 };
    let addresses = vec![address(LOCK, 17), address(OTHER, 18)];
    Snapshot { locks: vec![record(LOCK), record(OTHER)], addresses, ..Snapshot::default() }
}

fn peer(to: u16, number: u8) -> Vec<u8> {
    peer_of(Kind::PeerOscore, to, number, 30)
}

fn peer_of(kind: Kind, to: u16, number: u8, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    let body = vec![number; len - 3];
    Datagram { kind, class: Class::Interactive, peer: Some(to), body: &body }.encode(&mut out).unwrap();
    out
}

impl Bench {
    fn attach(&mut self, peer: u64) -> Result<(u16, u16), &'static str> {
        self.feed(Input::Peer(PeerInput::Attach { peer, lock: LOCK }));
        match self.told.pop() {
            Some(PeerAction::Attached { peer: told, address, lock }) if told == peer => Ok((address, lock)),
            Some(PeerAction::Refused { why, .. }) => Err(why),
            other => panic!("{other:?}"),
        }
    }

    fn say(&mut self, peer: u64, data: &[u8]) -> Result<(), &'static str> {
        self.feed(Input::Peer(PeerInput::Datagram { peer, data: Bytes::copy_from_slice(data) }));
        match self.told.pop() {
            None => Ok(()),
            Some(PeerAction::Refused { why, .. }) => Err(why),
            other => panic!("{other:?}"),
        }
    }

    /// Frames that this lock got, receipts left out; each is answered by its receipt.
    fn got(&mut self, lock: LockId) -> Vec<Vec<u8>> {
        let mut got = Vec::new();
        while let Some(place) = self.sends.iter().position(|send| send.lock == lock) {
            let send = self.sends.remove(place);
            self.outcome(send.handle, Outcome::Sent);
            if Header::decode(send.frame[0]).unwrap().kind != Kind::Receipt {
                got.push(send.frame.to_vec());
                self.hear(lock, &receipt_for(&send.frame), None);
            }
        }
        got
    }

    fn receipts(&self, lock: LockId) -> usize {
        let receipt = |send: &&Send| Header::decode(send.frame[0]).unwrap().kind == Kind::Receipt;
        self.sends.iter().filter(|send| send.lock == lock).filter(receipt).count()
    }
}

#[test]
fn a_datagram_goes_from_lock_to_lock_and_nowhere_else() {
    let mut bench = bench();
    bench.commits = false;
    bench.hear(LOCK, &peer(18, 1), None);
    assert_eq!(bench.receipts(LOCK), 1, "the gateway has it");
    assert_eq!(bench.got(OTHER), [peer(17, 1)], "with its source in the place of its destination");
    assert!(bench.writes.is_empty() && bench.published.is_empty(), "in memory, and not to the broker");
    let metrics = bench.relay.metrics();
    assert_eq!((metrics.peer_frames, metrics.peer_dropped), (1, 0));
    // The receipt was lost: the lock says it again, and it is carried once.
    bench.got(LOCK);
    bench.hear(LOCK, &peer(18, 1), None);
    assert_eq!((bench.receipts(LOCK), bench.got(OTHER).len()), (1, 0));
    // Without a broker it is the same.
    bench.got(LOCK);
    bench.feed(Input::Upstream(UpstreamEvent::Disconnected));
    bench.hear(OTHER, &peer(17, 2), None);
    assert_eq!(bench.got(LOCK), [peer(18, 2)]);
}

#[test]
fn nobody_the_gateway_and_oneself_get_nothing_and_the_lock_need_not_ask_again() {
    let mut bench = bench();
    for (n, to) in [(1, 99), (2, 0), (3, 17), (4, 0xF001)] {
        bench.hear(LOCK, &peer(to, n), None);
        assert_eq!(bench.receipts(LOCK), 1, "{to}");
        bench.got(LOCK);
    }
    bench.feed(Input::Admin { token: 1, verb: Admin::Remove(OTHER) });
    bench.hear(LOCK, &peer(18, 5), None);
    assert_eq!((bench.got(OTHER).len(), bench.relay.metrics().peer_dropped), (0, 5));
}

#[test]
fn a_lock_for_which_too_much_waits_gives_no_receipt_and_takes_it_later() {
    let mut bench = bench();
    bench.link(OTHER, 51, true); // sleeps
    for n in 0..6 {
        bench.hear(LOCK, &peer(18, n), None);
        assert_eq!(bench.receipts(LOCK), usize::from(n < 4), "datagram {n}");
        bench.got(LOCK);
    }
    assert_eq!(bench.relay.metrics().peer_dropped, 2);
    bench.pass(6_000); // what waited is too late
    assert_eq!(bench.relay.metrics().peer_dropped, 6);
    bench.hear(LOCK, &peer(18, 5), None);
    assert_eq!(bench.receipts(LOCK), 1);
    bench.hear(OTHER, &[], Some(bench.now + 1_000));
    assert_eq!(bench.got(OTHER), [peer(17, 5)]);
}

#[test]
fn the_owner_s_command_goes_before_those_of_peers_and_they_spend_half_of_the_battery_s_share() {
    let mut bench = Bench::over(|c| c.downlink_burst = 4, snapshot());
    for n in 0..4 {
        bench.hear(LOCK, &peer(18, n), None);
        bench.got(LOCK);
    }
    bench.down(&Downlink { lock: OTHER, ..command(7, Class::Interactive, 4_000) });
    let got = bench.got(OTHER);
    assert_eq!(got, [peer(17, 0), datagram(Class::Interactive, 7, 40)], "the rest waits for the battery");
    bench.down(&Downlink { lock: OTHER, ..command(8, Class::Interactive, 4_000) });
    assert_eq!(bench.got(OTHER), [datagram(Class::Interactive, 8, 40)], "and the owner does not");
}

#[test]
fn a_phone_is_attached_speaks_to_its_lock_and_is_forgotten() {
    let mut bench = bench();
    let stranger = PeerInput::Attach { peer: 1, lock: LockId([9; 8]) };
    bench.feed(Input::Peer(stranger));
    assert!(matches!(bench.told.pop(), Some(PeerAction::Refused { peer: 1, .. })));
    assert_eq!(bench.say(1, &peer(17, 1)), Err("not attached"));
    let (here, there) = bench.attach(1).unwrap();
    assert_eq!(there, 17);
    bench.say(1, &peer_of(Kind::PeerEdhoc, there, 2, 40)).unwrap();
    assert_eq!(bench.got(LOCK), [peer_of(Kind::PeerEdhoc, here, 2, 40)]);
    bench.hear(LOCK, &peer(here, 3), None);
    let data = Bytes::from(peer(17, 3));
    assert_eq!(bench.told.pop(), Some(PeerAction::Datagram { peer: 1, data }));
    let (other, _) = bench.attach(2).unwrap();
    for wrong in [&peer(other, 4)[..], &datagram(Class::Interactive, 5, 30), &[], &peer(0xFFEF, 6)] {
        assert!(bench.say(1, wrong).is_err(), "{wrong:?}");
    }
    assert_eq!(bench.say(1, &peer_of(Kind::PeerOscore, 17, 7, 1_025)), Err("too big for the lock's radio"));
    bench.feed(Input::Peer(PeerInput::Detach { peer: 1 }));
    bench.got(LOCK);
    bench.hear(LOCK, &peer(here, 8), None);
    assert!(bench.told.is_empty());
    assert_eq!(bench.say(1, &peer(17, 9)), Err("not attached"));
}

#[test]
fn phones_are_few_and_none_can_flood_a_lock() {
    let mut bench = bench();
    for peer in 0..8 {
        bench.attach(peer).unwrap();
    }
    assert_eq!(bench.attach(8), Err("too many phones are attached"));
    let said: Vec<_> = (0..40).map(|n| bench.say(0, &peer(17, n))).collect();
    assert_eq!(said.iter().filter(|said| said.is_ok()).count(), 5, "one on the air, four wait");
    assert_eq!(said[39], Err("too many datagrams; one each half second"));
    let others: usize = (1..8).map(|p| usize::from(bench.say(p, &peer(17, 50)).is_ok())).sum();
    assert_eq!(others, 4, "eight wait, whoever they are from");
    bench.pass(500);
    assert_eq!(bench.say(0, &peer(17, 60)), Err("too many datagrams wait for this lock"));
}

#[test]
fn a_lock_from_before_there_were_addresses_gets_one_when_it_is_needed() {
    let mut bench = Bench::new();
    let (_, there) = bench.attach(1).unwrap();
    assert_eq!(there, 1);
    bench.commits = false;
    bench.pass(20);
    let record = AddressRecord { address: 1, lock: Some(LOCK), freed: 0 };
    assert_eq!(bench.commit(), [Change::PutAddress(record)]);
    assert!(bench.relay.locks().any(|l| l.lock == LOCK && l.address == Some(1)));
}

#[test]
fn a_message_of_the_site_goes_to_the_lock_and_a_question_of_the_lock_goes_up() {
    let mut bench = bench();
    let head = Header { kind: Kind::Site, more: false, class: Class::Log }.encode();
    // Those of today, and those to come.
    for kind in (0..=6).chain([23]) {
        let data = vec![head, kind, 0x40, 0x84, 1];
        let down =
            Downlink { kind: Kind::Site, data: Data(data.clone()), ..command(kind, Class::Log, 9_000) };
        bench.down(&down);
        assert_eq!(bench.got(LOCK), [data]);
    }
    assert_eq!(bench.relay.metrics().downlinks_delivered, 8);
    bench.ack_all();
    let question = [head, 2, 0x48, 7, 7, 7, 7, 7, 7, 7, 7, 0];
    bench.hear(LOCK, &question, None);
    let up = bench.uplinks();
    assert_eq!((up[0].kind, &up[0].data.0[..]), (Kind::Site, &question[..]));
}
