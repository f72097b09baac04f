//! Joining: nonces, durability, and the old session.

use lrwn::CFList;

use super::*;
use crate::config::DevNoncePolicy;
use crate::session::RecordKey;

#[test]
fn both_nonces_are_durable_in_one_transaction_before_the_accept_goes_out() {
    let mut site = Site::new(LoraConfig::default());
    let mut lock = Lock::new(1, LorawanClass::A);
    site.admit(&lock);
    site.hold = true;
    let request = lock.join_request();
    let heard = site.hear(request);
    assert!(site.sent.is_empty(), "nothing before the commit");
    let keys: Vec<_> = site.held.iter().flat_map(|(_, batch)| batch.iter().map(|c| c.key.clone())).collect();
    assert_eq!(site.held.len(), 1, "one transaction");
    for key in [RecordKey::Identity(lock.id), RecordKey::Pending(lock.id), RecordKey::JoinNonce] {
        assert!(keys.contains(&key.encode()));
    }
    site.now += 30;
    site.release();
    let (_, transmit) = site.sent.pop().unwrap();
    assert_eq!(transmit.tmst, Some(heard.wrapping_add(5_000_000)));
    assert_eq!((transmit.frequency, transmit.sf, transmit.bw), (868_100_000, 7, 125));
    let accept = lock.accept(&transmit.data);
    assert_eq!((accept.rx_delay, accept.dl_settings.rx2_dr), (5, 0));
    let Some(CFList::Channels(channels)) = accept.cflist else { panic!("a CFList of channels") };
    assert_eq!(channels.iter().copied().collect::<Vec<_>>(), LoraConfig::default().extra_channels);

    assert!(site.take(|e| matches!(e, Event::Joined(_))).is_none(), "not before it is heard");
    site.pass(6_500);
    let up = lock.up(b"hello".to_vec());
    site.hear(up);
    let kinds: Vec<_> =
        site.events.iter().filter(|e| !matches!(e, Event::Health(_) | Event::Admits(_))).collect();
    assert!(
        matches!(
            kinds[..],
            [
                Event::Joined(_),
                Event::Link { mtu_down: 242, sleepy: true, .. },
                Event::Up(Up { window: Some(_), .. })
            ]
        ),
        "{kinds:?}"
    );
}

#[test]
fn without_the_store_there_is_no_join_and_no_nonce_is_used_twice() {
    let mut site = Site::new(LoraConfig::default());
    let mut lock = Lock::new(1, LorawanClass::A);
    site.admit(&lock);
    site.events.clear();
    site.store.set_failing(true);
    let request = lock.join_request();
    site.hear(request.clone());
    assert!(site.sent.is_empty());
    assert!(matches!(site.network.counters().store_failures, 1));
    assert!(site.take_health().unwrap().detail.contains("radio network store"));
    site.store.set_failing(false);
    site.pass(7_000);
    assert_eq!(site.take_health().unwrap().detail, "", "found out without being asked for anything");
    site.hear(request);
    assert!(site.sent.is_empty(), "that DevNonce is gone");
    let request = lock.join_request();
    site.hear(request);
    lock.accept(&site.sent.pop().unwrap().1.data);
    assert_eq!(lock.join_nonce, 2, "JoinNonce 1 is gone too");
}

#[test]
fn dev_nonces_by_1_0_3_and_by_1_0_4() {
    for (policy, lower_allowed) in [(DevNoncePolicy::Unused, true), (DevNoncePolicy::Rising, false)] {
        let mut site = Site::new(LoraConfig { dev_nonce: policy, ..LoraConfig::default() });
        let mut lock = Lock::new(1, LorawanClass::A);
        site.admit(&lock);
        let mut join = |site: &mut Site, nonce: u16| {
            lock.dev_nonce = nonce - 1;
            let request = lock.join_request();
            site.pass(10_000);
            site.hear(request);
            site.sent.pop().map(|(_, accept)| lock.accept(&accept.data)).is_some()
        };
        assert!(join(&mut site, 100));
        assert!(!join(&mut site, 100), "{policy:?}");
        assert_eq!(join(&mut site, 99), lower_allowed, "{policy:?}");
        assert!(join(&mut site, 101));
        let mut site = Site::restart(site.network.shared.config.clone(), site.store, site.now);
        assert!(!join(&mut site, 101), "{policy:?}, after a restart");
    }
}

#[test]
fn the_memory_of_dev_nonces_is_bounded() {
    let mut site = Site::new(LoraConfig::default());
    let mut lock = Lock::new(1, LorawanClass::A);
    site.admit(&lock);
    for _ in 0..600 {
        let request = lock.join_request();
        site.hear(request);
        site.pass(7_000);
    }
    assert_eq!(site.network.devices[&lock.id].identity.used_nonces.len(), crate::MAX_USED_NONCES);
    let largest = site.store.snapshot().into_iter().map(|(_, value)| value.len()).max().unwrap();
    assert!(largest < 1200, "{largest}");
}

#[test]
fn the_old_session_lives_until_the_new_one_is_heard() {
    let (mut site, mut lock) = joined(LorawanClass::A);
    let old_up = lock.up(b"old".to_vec());
    let (network_key, dev_addr, counter) = (lock.network_key, lock.dev_addr, lock.counter);
    let application_key = lock.application_key;
    let request = lock.join_request();
    site.hear(request);
    let accept = site.sent.pop().unwrap().1.data;
    site.pass(7_000);
    // The accept was lost: the device is still on the old session.
    site.hear(old_up);
    assert_eq!(&site.take_up().unwrap().frame[..], b"old");
    // Also after a restart.
    let mut site = Site::restart(LoraConfig::default(), site.store, site.now + 1);
    let still_old = {
        (lock.network_key, lock.dev_addr, lock.counter, lock.application_key) =
            (network_key, dev_addr, counter, application_key);
        lock.up(b"still old".to_vec())
    };
    site.hear(still_old);
    assert_eq!(&site.take_up().unwrap().frame[..], b"still old");
    let one_more_old = lock.up(b"too late".to_vec());
    // Now it is heard on the new one, and the old one is over.
    lock.accept(&accept);
    let new = lock.up(b"new".to_vec());
    site.pass(7_000);
    site.hear(new);
    assert!(site.take(|e| matches!(e, Event::Joined(_))).is_some());
    assert_eq!(&site.take_up().unwrap().frame[..], b"new");
    site.hear(one_more_old);
    assert!(site.take_up().is_none());
    assert_eq!(
        site.store.snapshot().iter().filter(|(k, _)| *k == RecordKey::Pending(lock.id).encode()).count(),
        0
    );
}

/// Join-requests that a jammer recorded and kept from us, and plays between an accept and the first uplink.
#[test]
fn a_recorded_join_request_takes_no_session_from_the_device() {
    let recordings = |lock: &mut Lock| [lock.join_request(), lock.join_request(), lock.join_request()];
    for restarted in [false, true] {
        let mut site = Site::new(LoraConfig::default());
        let mut lock = Lock::new(1, LorawanClass::A);
        site.admit(&lock);
        let recorded = recordings(&mut lock);
        let request = lock.join_request();
        site.hear(request);
        lock.accept(&site.sent.pop().unwrap().1.data);
        for request in recorded {
            site.pass(7_000);
            site.hear(request);
            assert!(site.sent.pop().is_some(), "nobody can tell it from a live one");
        }
        if restarted {
            site = Site::restart(LoraConfig::default(), site.store, site.now);
        }
        site.pass(7_000);
        let up = lock.up(b"live".to_vec());
        site.hear(up);
        assert_eq!(&site.take_up().unwrap().frame[..], b"live");
        // The recordings came later than its join, so their sessions stay; there are never more than four.
        for _ in 0..6 {
            let request = lock.join_request();
            site.pass(7_000);
            site.hear(request);
        }
        assert_eq!(site.network.devices[&lock.id].pending.len(), 4);
        assert_eq!(site.network.by_dev_addr.len(), 5);
        lock.accept(&site.sent.pop().unwrap().1.data);
        let up = lock.up(b"again".to_vec());
        site.hear(up);
        let device = &site.network.devices[&lock.id];
        assert_eq!((device.pending.len(), site.network.by_dev_addr.len()), (0, 1), "older joins end");
        let pending = RecordKey::Pending(lock.id).encode();
        assert!(site.store.snapshot().iter().all(|(key, _)| *key != pending));
    }
}

#[test]
fn a_driver_says_first_whom_it_admits() {
    let (site, lock) = joined(LorawanClass::A);
    let mut site = Site::restart(LoraConfig::default(), site.store, site.now);
    assert!(matches!(&site.events[0], Event::Admits(locks) if locks[..] == [lock.id]));
    // A removal whose commit failed is back after the restart, and is said again.
    site.store.set_failing(true);
    site.command(Command::Remove(lock.id));
    site.store.set_failing(false);
    let site = Site::restart(LoraConfig::default(), site.store, site.now);
    assert!(matches!(&site.events[0], Event::Admits(locks) if locks[..] == [lock.id]));
}

#[test]
fn a_restart_jumps_over_the_rest_of_the_block_of_join_nonces() {
    let (site, mut lock) = joined(LorawanClass::A);
    assert_eq!(lock.join_nonce, 1, "some devices take 0 for one that they have seen");
    let mut site = Site::restart(LoraConfig::default(), site.store, site.now);
    let request = lock.join_request();
    site.hear(request);
    lock.accept(&site.sent.pop().unwrap().1.data);
    assert_eq!(lock.join_nonce, 32);
}

#[test]
fn strangers_forgers_and_echoes_get_nothing() {
    let mut site = Site::new(LoraConfig::default());
    let (mut lock, mut stranger, mut forger) =
        (Lock::new(1, LorawanClass::A), Lock::new(2, LorawanClass::A), Lock::new(1, LorawanClass::A));
    site.admit(&lock);
    forger.app_key = [0; 16];
    let requests = [stranger.join_request(), forger.join_request()];
    requests.into_iter().for_each(|request| {
        site.hear(request);
    });
    assert_eq!((site.network.counters().unknown, site.network.counters().join_mic), (1, 1));
    lock.join_eui = [9; 8];
    let request = lock.join_request();
    site.hear(request);
    assert_eq!(site.network.counters().unknown, 2, "another JoinEUI");
    assert!(site.sent.is_empty());
    lock.join_eui = stranger.join_eui;
    let request = lock.join_request();
    site.hear(request.clone());
    site.now += 3;
    site.hear(request);
    assert_eq!(site.sent.len(), 1, "the same request over a second antenna");
    assert_eq!(site.network.counters().join_nonce, 0);
}

#[test]
fn a_refused_accept_goes_out_in_rx2() {
    let mut site = Site::new(LoraConfig::default());
    let mut lock = Lock::new(1, LorawanClass::A);
    site.admit(&lock);
    site.mood = Mood::Refuses("COLLISION_PACKET");
    let request = lock.join_request();
    let heard = site.hear(request);
    assert_eq!(site.sent.len(), 2);
    let (first, second) = (&site.sent[0].1, &site.sent[1].1);
    assert_eq!(first.data, second.data);
    assert_eq!(second.tmst, Some(heard.wrapping_add(6_000_000)));
    assert_eq!((second.frequency, second.sf), (869_525_000, 12));
    lock.accept(&second.data.clone());
}

#[test]
fn admissions_are_durable_idempotent_and_exclusive() {
    let mut site = Site::new(LoraConfig { max_devices: 2, ..LoraConfig::default() });
    let lock = Lock::new(1, LorawanClass::A);
    site.store.set_failing(true);
    site.command(Command::Admit(lock.admission()));
    assert!(site.take(|e| matches!(e, Event::Admitted { result: Err(_), .. })).is_some());
    site.store.set_failing(false);
    site.admit(&lock);
    let commits = site.store.commits();
    site.admit(&lock);
    assert_eq!(site.store.commits(), commits, "nothing new, nothing written");
    let mut twin = Lock::new(2, LorawanClass::A);
    twin.dev_eui = lock.dev_eui;
    site.command(Command::Admit(twin.admission()));
    let refused = site.take(|e| matches!(e, Event::Admitted { result: Err(_), .. })).unwrap();
    assert!(format!("{refused:?}").contains("belongs to another lock"));
    site.admit(&Lock::new(3, LorawanClass::C));
    site.command(Command::Admit(Lock::new(4, LorawanClass::C).admission()));
    assert!(site.take(|e| matches!(e, Event::Admitted { result: Err(_), .. })).is_some());
    site.command(Command::Remove(lock.id));
    assert!(site.take(|e| matches!(e, Event::Left(_))).is_some());
    assert_eq!(site.store.snapshot().len(), 1, "only the other lock is left");
}

#[test]
fn an_admission_with_a_new_key_ends_the_old_session() {
    let (mut site, mut lock) = joined(LorawanClass::A);
    let old = lock.up(b"old".to_vec());
    lock.app_key = [0x77; 16];
    site.admit(&lock);
    site.hear(old);
    assert!(site.take_up().is_none());
    site.join(&mut lock);
    assert_ne!(lock.join_nonce, 1, "JoinNonces are the network's and go on");
}

#[test]
fn finding_out_whether_the_store_works_takes_no_join_nonce_back() {
    let mut site = Site::new(LoraConfig::default());
    let mut lock = Lock::new(1, LorawanClass::A);
    site.admit(&lock);
    site.store.set_failing(true);
    let request = lock.join_request();
    site.hear(request);
    site.store.set_failing(false);
    // The next join's commit is still under way when the probe follows it.
    site.hold = true;
    site.pass(3_000);
    let request = lock.join_request();
    site.hear(request);
    site.pass(4_000);
    assert_eq!(site.held.len(), 2, "the join and the probe");
    site.release();
    let mut site = Site::restart(LoraConfig::default(), site.store, site.now);
    site.pass(4_000);
    let request = lock.join_request();
    site.hear(request);
    lock.accept(&site.sent.pop().unwrap().1.data);
    assert_eq!(lock.join_nonce, 32, "0 and 1 were used");
}
