//! Frame counters: replay, repetition, roll-over, reservation, restart.

use super::*;
use crate::session::{BLOCK, RecordKey, Session};

fn stored(site: &Site, lock: &Lock) -> Session {
    let key = RecordKey::Active(lock.id).encode();
    let (_, value) = site.store.snapshot().into_iter().find(|(k, _)| *k == key).unwrap();
    Session::from_records(&value).unwrap().pop().unwrap()
}

#[test]
fn an_uplink_is_delivered_once() {
    let (mut site, mut lock) = joined(LorawanClass::A);
    let (first, second) = (lock.up(b"1".to_vec()), lock.up(b"2".to_vec()));
    site.hear(first.clone());
    assert!(site.take_up().is_some());
    site.pass(10_000);
    site.hear(second.clone());
    assert!(site.take_up().is_some());
    site.pass(10_000);
    site.hear(first);
    assert!(site.take_up().is_none(), "replayed");
    assert_eq!(site.network.counters().unknown, 1);
    site.hear(second.clone());
    assert!(site.take_up().is_none(), "repeated");
    let mut forged = second;
    *forged.last_mut().unwrap() ^= 1;
    site.hear(forged);
    assert!(site.take_up().is_none(), "forged");
}

#[test]
fn a_repetition_is_acknowledged_again_and_not_delivered_again() {
    let (mut site, mut lock) = joined(LorawanClass::A);
    let up = lock.confirmed(b"event".to_vec());
    site.hear(up.clone());
    assert!(site.take_up().is_some());
    // Over a second antenna: not a repetition of the device.
    site.now += 2;
    site.hear(up.clone());
    site.pass(8_000);
    assert_eq!(site.sent.len(), 1);
    let first = lock.open(&site.sent[0].1.data.clone());
    assert!(first.ack);
    site.hear(up.clone());
    site.pass(8_000);
    assert!(site.take_up().is_none());
    let again = lock.open(&site.sent[1].1.data.clone());
    assert!(again.ack && again.counter == first.counter + 1, "a new counter for the new acknowledgement");
    // A recording played later is not a repetition.
    site.pass(150_000);
    site.hear(up);
    site.pass(8_000);
    assert_eq!(site.sent.len(), 2);
}

#[test]
fn counters_roll_over_16_bits() {
    let (mut site, mut lock) = joined(LorawanClass::A);
    for counter in [0xfffe, 0xffff, 0x1_0000, 0x1_0001, 0x2_0000] {
        lock.counter = counter;
        let up = lock.up(vec![1]);
        site.pass(8_000);
        site.hear(up);
        assert!(site.take_up().is_some(), "{counter:#x}");
    }
    lock.counter = 0x1_ffff;
    let up = lock.up(vec![1]);
    site.hear(up);
    assert!(site.take_up().is_none(), "backwards");
}

#[test]
fn uplink_counters_are_stored_every_32_frames_or_60_seconds() {
    let (mut site, mut lock) = joined(LorawanClass::A);
    site.pass(120_000);
    let before = site.store.commits();
    for _ in 0..32 {
        let up = lock.up(vec![1]);
        site.hear(up);
        site.now += 100;
    }
    assert_eq!(site.store.commits(), before + 1);
    assert_eq!(stored(&site, &lock).next_up, u64::from(lock.counter));
    let up = lock.up(vec![1]);
    site.hear(up);
    assert_eq!(site.store.commits(), before + 1);
    site.pass(61_000);
    assert_eq!(site.store.commits(), before + 2);
    assert_eq!(stored(&site, &lock).next_up, u64::from(lock.counter));
    let up = lock.up(vec![1]);
    site.hear(up);
    site.command(Command::Stop);
    assert_eq!(stored(&site, &lock).next_up, u64::from(lock.counter), "and when the daemon stops");
}

#[test]
fn no_downlink_counter_is_used_before_it_is_durable() {
    let (mut site, mut lock) = joined(LorawanClass::C);
    site.hold = true;
    let mut highest = 0;
    for handle in 0..u64::from(BLOCK) + 5 {
        site.send(&lock, handle, b"frame", 10_000);
        site.pass(9_000);
        if let Some((_, transmit)) = site.sent.pop() {
            highest = lock.open(&transmit.data).counter;
            assert_eq!(site.take_outcome(handle), Some(Outcome::Sent));
        }
    }
    assert_eq!(highest, BLOCK - 1, "the block that the join reserved, and nothing of the next");
    site.send(&lock, 100, b"frame", 10_000);
    assert!(site.sent.is_empty());
    site.release();
    assert_eq!(lock.open(&site.sent.pop().unwrap().1.data).counter, BLOCK);
}

#[test]
fn a_store_that_fails_stops_downlinks_and_says_so() {
    let (mut site, mut lock) = joined(LorawanClass::C);
    site.store.set_failing(true);
    let mut outcomes = Vec::new();
    for handle in 0..u64::from(BLOCK) + 3 {
        site.send(&lock, handle, b"frame", 5_000);
        site.pass(9_000);
        outcomes.push(site.take_outcome(handle).expect("one outcome each"));
    }
    assert_eq!(outcomes[..32], [Outcome::Sent; 32]);
    assert!(
        outcomes[32..].iter().all(|o| *o == Outcome::Failed(cardea_radio::Failure::Store)),
        "{outcomes:?}"
    );
    let Health { up, detail } = site.take_health().unwrap();
    assert!(up && detail.contains("radio network store"), "{detail}");
    site.store.set_failing(false);
    site.pass(5_000);
    assert_eq!(site.take_health(), Some(Health { up: true, detail: String::new() }));
    site.send(&lock, 1000, b"frame", 10_000);
    site.pass(2_000);
    assert_eq!(site.take_outcome(1000), Some(Outcome::Sent));
    let counters: Vec<_> = site.sent.iter().map(|(_, t)| t.data.clone()).collect();
    counters.iter().for_each(|data| {
        lock.open(data);
    });
    assert!(lock.down.windows(2).all(|pair| pair[0] < pair[1]), "no counter twice: {:?}", lock.down);
}

#[test]
fn a_restart_jumps_over_what_may_have_been_used() {
    let (mut site, mut lock) = joined(LorawanClass::C);
    for handle in 0..3 {
        site.send(&lock, handle, b"before", 10_000);
        site.pass(5_000);
        lock.open(&site.sent.pop().unwrap().1.data);
    }
    assert_eq!(lock.down, [0, 1, 2]);
    // Killed: nothing more is stored.
    let mut site = Site::restart(LoraConfig::default(), site.store, site.now);
    assert!(
        site.events.iter().any(|e| matches!(e, Event::Link { sleepy: false, .. })),
        "the gateway learns the link"
    );
    site.send(&lock, 9, b"after", 10_000);
    assert_eq!(lock.open(&site.sent.pop().unwrap().1.data).counter, BLOCK);
    let up = lock.up(b"up".to_vec());
    site.hear(up);
    assert!(site.take_up().is_some());
}

#[test]
fn two_devices_with_one_dev_addr_are_told_apart_by_their_keys() {
    let (mut site, mut first) = joined(LorawanClass::A);
    let mut second = Lock::new(2, LorawanClass::A);
    site.admit(&second);
    site.join(&mut second);
    assert_ne!(first.dev_addr, second.dev_addr, "never by ourselves");
    let key = RecordKey::Active(second.id).encode();
    let (_, mut record) = site.store.snapshot().into_iter().find(|(k, _)| *k == key).unwrap();
    record[1..5].copy_from_slice(&first.dev_addr);
    site.store.commit_now(vec![cardea_radio::Change { key, value: Some(record) }]).unwrap();
    second.dev_addr = first.dev_addr;
    let mut site = Site::restart(LoraConfig::default(), site.store, site.now);
    for lock in [&mut first, &mut second] {
        let up = lock.up(b"me".to_vec());
        site.hear(up);
        assert_eq!(site.take_up().unwrap().lock, lock.id);
    }
}

#[test]
fn an_activation_that_could_not_be_stored_leaves_no_old_counters_behind() {
    let pending = |site: &Site, lock: &Lock| {
        let key = RecordKey::Pending(lock.id).encode();
        site.store.snapshot().into_iter().find(|(k, _)| *k == key).map(|(_, value)| value)
    };
    let mut site = Site::new(LoraConfig::default());
    let mut lock = Lock::new(1, LorawanClass::C);
    site.admit(&lock);
    let request = lock.join_request();
    site.hear(request);
    lock.accept(&site.sent.pop().unwrap().1.data);
    site.pass(6_000);
    site.store.set_failing(true);
    let first = lock.up(b"first".to_vec());
    site.hear(first.clone());
    assert!(site.take_up().is_some());
    let left = pending(&site, &lock).expect("the commit failed");
    site.store.set_failing(false);
    for _ in 0..BLOCK {
        let up = lock.up(vec![1]);
        site.pass(8_000);
        site.hear(up);
    }
    site.command(Command::Stop);
    assert_eq!(stored(&site, &lock).next_up, u64::from(lock.counter));
    assert_eq!(pending(&site, &lock), None, "whatever writes the session takes it away");

    // And one that is there all the same is not believed.
    let change = cardea_radio::Change { key: RecordKey::Pending(lock.id).encode(), value: Some(left) };
    site.store.commit_now(vec![change]).unwrap();
    let mut site = Site::restart(LoraConfig::default(), site.store, site.now);
    site.events.clear();
    site.hear(first);
    assert!(site.events.is_empty(), "a recording is not a new session: {:?}", site.events);
    let up = lock.up(b"live".to_vec());
    site.hear(up);
    assert_eq!(&site.take_up().unwrap().frame[..], b"live");
}

#[test]
fn a_save_leaves_the_pending_record_of_a_join_under_way() {
    let (mut site, mut lock) = joined(LorawanClass::C);
    let up = lock.up(vec![1]);
    site.hear(up);
    site.hold = true;
    let request = lock.join_request();
    site.hear(request);
    site.pass(65_000);
    assert!(site.held.len() > 1, "the join, and the counters of the old session");
    site.release();
    let key = RecordKey::Pending(lock.id).encode();
    assert!(site.store.snapshot().iter().any(|(k, _)| *k == key));
}
