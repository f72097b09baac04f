//! Who is admitted, and from when on.

use super::*;

#[test]
fn what_a_lock_s_radio_says_while_its_admission_is_written_is_kept() {
    let mut bench = Bench::new();
    let lock = LockId([5; 8]);
    let admission = cardea_radio::Admission { lock, secret: cardea_radio::AdmissionSecret::Loopback };
    bench.commits = false;
    bench.feed(Input::Admin { token: 1, verb: Admin::Admit { radio: RadioId(0), admission } });
    bench.radio(Event::Admitted { lock, result: Ok(()) });
    bench.radio(Event::Joined(lock));
    bench.link(lock, 51, false);
    bench.commit();
    bench.commits = true;
    assert!(bench.relay.locks().any(|l| l.lock == lock && l.joined));
    bench.down(&Downlink { lock, ..command(7, Class::Interactive, 9_000) });
    assert_eq!(bench.sends.len(), 1, "its link is known, so a command goes out");
}

#[test]
fn admission_is_durable_before_it_counts() {
    let mut bench = Bench::new();
    let lock = LockId([5; 8]);
    let admission = cardea_radio::Admission { lock, secret: cardea_radio::AdmissionSecret::Loopback };
    bench.commits = false;
    bench.feed(Input::Admin { token: 1, verb: Admin::Admit { radio: RadioId(0), admission } });
    bench.radio(Event::Admitted { lock, result: Ok(()) });
    assert!(bench.replies.is_empty());
    let written = bench.commit();
    assert!(matches!(&written[..], [Change::PutLock(record), Change::PutAddress(address)]
        if record.lock == lock && address.lock == Some(lock)));
    assert_eq!(bench.replies, [AdminReply { token: 1, result: Ok(()) }]);
    assert!(bench.relay.locks().any(|l| l.lock == lock));
    bench.ack_all();
    bench.up(lock, Class::Log, 1);
    let token = bench.published[0].token;
    assert_eq!(bench.uplinks().len(), 1);
    // Removed, it is a stranger again, but what it sent is still ours to deliver.
    bench.feed(Input::Admin { token: 2, verb: Admin::Remove(lock) });
    bench.commit();
    bench.up(lock, Class::Log, 2);
    assert_eq!(bench.relay.metrics().unknown_lock, 1);
    assert_eq!(bench.relay.metrics().outbox_rows, 1);
    bench.feed(Input::Upstream(UpstreamEvent::Acked { token }));
    assert!(!bench.relay.locks.contains_key(&lock));
    // Back again in the same epoch: no number is used twice.
    let admission = cardea_radio::Admission { lock, secret: cardea_radio::AdmissionSecret::Loopback };
    bench.feed(Input::Admin { token: 3, verb: Admin::Admit { radio: RadioId(0), admission } });
    bench.radio(Event::Admitted { lock, result: Ok(()) });
    bench.commit();
    bench.up(lock, Class::Log, 3);
    assert_eq!(bench.uplinks()[0].seq, 2);
}

#[test]
fn a_radio_that_starts_is_told_whom_nobody_admits() {
    let mut bench = Bench::new();
    let [on_its_way, removed] = [LockId([5; 8]), LockId([6; 8])];
    let admission =
        cardea_radio::Admission { lock: on_its_way, secret: cardea_radio::AdmissionSecret::Loopback };
    bench.feed(Input::Admin { token: 1, verb: Admin::Admit { radio: RadioId(0), admission } });
    bench.radio(Event::Admits(vec![LOCK, OTHER, on_its_way, removed]));
    assert_eq!(bench.removed, [removed]);
    bench.removed.clear();
    bench.feed(Input::Admin { token: 2, verb: Admin::Remove(LOCK) });
    bench.radio(Event::Admits(vec![LOCK, OTHER]));
    assert_eq!(bench.removed, [LOCK, LOCK], "at once, and again because it was missed");
}
