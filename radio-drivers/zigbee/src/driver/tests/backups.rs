//! Backups, their restore, another key: what is stored when, and what an operator is told.

use super::*;
use crate::backup::{self, Backup, FRAME_COUNTER_JUMP, LinkKey, NetworkKey};

const KEY: Key = Key([0x4B; 16]);

/// What the dongle of [`OURS`] remembers of these devices.
pub(super) fn backup(devices: &[u8]) -> Backup {
    let device = |n: &u8| backup::Device {
        eui: eui(*n),
        nwk: Some(NwkAddr(0x1000 + u16::from(*n))),
        child: false,
        link_key: Some(LinkKey { key: Key([*n; 16]), rx_counter: 0, tx_counter: 50 }),
    };
    Backup {
        source: concat!("cardea@", env!("CARGO_PKG_VERSION")).to_owned(),
        network: OURS,
        channels: 1 << 15,
        update_id: 0,
        key: NetworkKey { key: KEY, number: 3, frame_counter: 7_000 },
        hashed_link_keys: None,
        devices: devices.iter().map(device).collect(),
    }
}

fn of_theirs(devices: &[u8]) -> Backup {
    Backup { network: THEIRS, ..backup(devices) }
}

fn restore(backup: Option<Backup>, replace: bool) -> NetworkOrder {
    NetworkOrder::Restore { backup: backup.map(Box::new), replace }
}

impl Bench {
    /// The backup that the gateway takes by itself.
    fn backed_up(&mut self, taken: Backup) {
        let asked = self.orders.iter().position(|order| matches!(order, Order::Backup));
        self.orders.remove(asked.expect("a backup is asked for"));
        self.say(Said::BackedUp(Ok(Box::new(taken))));
    }

    /// With locks 1 and 2 in it, and a backup of them in the store.
    fn with_backup() -> Self {
        let mut bench = Self::with_lock(true);
        bench.command(Command::Admit(label(2)));
        bench.join(2, false);
        bench.pass(10_000);
        bench.backed_up(backup(&[1, 2]));
        bench.forget();
        bench
    }

    fn has_asked_for_a_backup(&self) -> bool {
        self.orders.iter().any(|order| matches!(order, Order::Backup))
    }

    fn restoring(&self) -> Option<&Backup> {
        self.orders.iter().find_map(|order| match order {
            Order::Restore { backup, .. } => Some(&**backup),
            _ => None,
        })
    }

    fn said(&mut self) -> String {
        let reply = self.replies.pop().expect("there is an answer");
        assert!(self.replies.is_empty());
        reply.expect_err("it is refused")
    }

    pub(super) fn stored(&self, wanted: RecordKey) -> Option<Vec<u8>> {
        let found = self.store.snapshot().into_iter().find(|(key, _)| RecordKey::decode(key) == Some(wanted));
        found.map(|(_, record)| record)
    }

    pub(super) fn kept(&self) -> Option<Backup> {
        self.stored(RecordKey::Kept).map(|record| *kept::from_record(&record).unwrap().0)
    }
}

#[test]
fn a_backup_is_kept_soon_after_a_join_then_once_a_day_and_written_only_if_it_says_more() {
    let mut bench = Bench::with_lock(true);
    bench.pass(9_000);
    assert!(!bench.has_asked_for_a_backup(), "others may follow");
    bench.pass(1_000);
    bench.backed_up(backup(&[1]));
    assert_eq!(bench.kept(), Some(backup(&[1])));
    let written = bench.store.commits();
    for day in 1..=3_u32 {
        bench.pass(86_000_000);
        assert!(!bench.has_asked_for_a_backup());
        bench.pass(500_000);
        let mut later = backup(&[1]);
        later.key.frame_counter += day * 300_000;
        bench.backed_up(later);
    }
    assert_eq!(bench.store.commits(), written, "the counter is not far ahead yet");
    bench.pass(86_400_000);
    let mut later = backup(&[1]);
    later.key.frame_counter += FRAME_COUNTER_JUMP / 16;
    bench.backed_up(later.clone());
    assert_eq!((bench.store.commits(), bench.kept()), (written + 1, Some(later)));
}

#[test]
fn what_is_kept_says_from_where_and_when_and_its_date_is_written_once_a_day() {
    let day = 86_400_000;
    let wall = |unix_ms, synced| Wall { unix_ms, synced, zone: None };
    let kept = |from, at| Some(Kept { from, at, devices: 1 });
    let mut bench = Bench::with_lock(true);
    assert_eq!(bench.driver.kept(), None);
    bench.driver.handle_wall(wall(5 * day, false));
    bench.pass(10_000);
    bench.backed_up(backup(&[1]));
    assert_eq!(bench.driver.kept(), kept(KeptFrom::Dongle, None), "a clock that nobody set dates nothing");

    let mut take = |at, written| {
        let before = bench.store.commits();
        bench.driver.handle_wall(wall(at, true));
        bench.pass(day + 600_000);
        bench.backed_up(backup(&[1]));
        assert_eq!(bench.driver.kept(), kept(KeptFrom::Dongle, Some(at)));
        assert_eq!(bench.store.commits() - before, written, "at {at}");
    };
    take(6 * day, 1);
    take(6 * day + 1_000, 0);
    take(7 * day, 1);
    let again = Driver::new(config(), bench.store.snapshot()).unwrap();
    assert_eq!(again.kept(), kept(KeptFrom::Dongle, Some(7 * day)));
}

/// A device that joins and leaves for ever makes no more than one in ten minutes; nothing is asked while the network is down.
#[test]
fn nobody_wears_the_memory_out_by_joining_and_a_dongle_that_is_away_is_not_asked() {
    let mut bench = Bench::with_lock(true);
    bench.pass(10_000);
    bench.backed_up(backup(&[1]));
    for second in 0..590 {
        bench.say(match second % 2 {
            0 => Said::Left { eui: eui(1) },
            _ => Said::Joined { eui: eui(1), nwk: NwkAddr(0x1001) },
        });
        bench.pass(1_000);
    }
    assert!(!bench.has_asked_for_a_backup());
    bench.say(Said::State(State::Down("unplugged".into())));
    bench.pass(3_600_000);
    assert!(!bench.has_asked_for_a_backup());
    bench.say(Said::State(State::Up(OURS)));
    assert!(bench.has_asked_for_a_backup(), "it was due");
}

#[test]
fn an_operator_gets_the_backup_and_one_that_does_not_come_is_told_of() {
    let mut bench = Bench::up();
    bench.order(NetworkOrder::Backup);
    bench.order(NetworkOrder::Backup);
    assert!(bench.said().contains("under way"));
    bench.backed_up(backup(&[]));
    assert_eq!(bench.replies, vec![Ok(NetworkDone::BackedUp(Box::new(backup(&[]))))]);
    bench.replies.clear();
    bench.order(NetworkOrder::Backup);
    bench.say(Said::BackedUp(Err("call 0x002f: refused".into())));
    assert!(bench.said().contains("0x002f"));
    bench.order(NetworkOrder::Backup);
    bench.pass(120_000);
    assert!(bench.said().contains("does not say"));
    bench.say(Said::State(State::Down("unplugged".into())));
    bench.order(NetworkOrder::Backup);
    assert!(bench.said().contains("cardea status"));
}

#[test]
fn a_counter_that_was_seen_never_falls_and_a_backup_of_another_network_is_not_kept() {
    let mut bench = Bench::with_backup();
    bench.order(NetworkOrder::Backup);
    let mut rewound = backup(&[1, 2]);
    rewound.key.frame_counter = 5;
    rewound.devices[0].link_key.as_mut().unwrap().tx_counter = 5;
    bench.backed_up(rewound);
    let Some(Ok(NetworkDone::BackedUp(told))) = bench.replies.pop() else { panic!() };
    assert_eq!((*told, bench.kept()), (backup(&[1, 2]), Some(backup(&[1, 2]))));
    bench.order(NetworkOrder::Backup);
    bench.backed_up(of_theirs(&[]));
    assert_eq!(bench.kept(), Some(backup(&[1, 2])));
}

/// The dongle died. Another one takes its place from what the gateway kept, and no lock has to join.
#[test]
fn a_fresh_dongle_takes_the_place_of_one_that_died_from_the_store_alone() {
    let mut bench = Bench::with_backup();
    bench.restart();
    bench.say(Said::State(State::Unformed));
    assert!(bench.health().detail.contains("restore zigbee --from-store"), "{:?}", bench.health());
    bench.forget();
    bench.order(restore(None, false));
    assert_eq!(bench.restoring(), Some(&backup(&[1, 2])));
    bench.say(Said::State(State::Starting));
    bench.say(Said::Formed(Ok(OURS)));
    bench.say(Said::State(State::Up(OURS)));
    let restored = NetworkDone::Restored { network: OURS, anew: 0, strangers: 0 };
    assert_eq!(bench.replies, vec![Ok(restored)]);
    assert!(bench.health().up && bench.health().detail.is_empty(), "{:?}", bench.health());
    assert!(bench.opened_for().is_empty() && !bench.events.iter().any(|e| matches!(e, Event::Left(_))));
    bench.forget();
    bench.send(1, 2, 10_000);
    assert_eq!(bench.frames().len(), 1, "its endpoint is known still");
    // Whatever is restored next begins where this one may have come to.
    assert_eq!(bench.kept(), Some(backup(&[1, 2]).jump().unwrap()));
    assert_eq!(bench.driver.kept(), Some(Kept { from: KeptFrom::Restored, at: None, devices: 2 }));
    assert_eq!((bench.stored(RecordKey::Restore), bench.stored(RecordKey::Plan)), (None, None));
    bench.restart();
    assert_eq!(bench.driver.expected(), Some(OURS));
    assert_eq!(bench.driver.network.as_ref().unwrap().key, Some(KEY));
}

/// The same file twice: the second dongle must not begin where the first one did.
#[test]
fn an_old_file_is_restored_with_the_counters_that_are_known() {
    let mut bench = Bench::with_backup();
    let mut counters = Vec::new();
    for _ in 0..2 {
        bench.say(Said::State(State::Unformed));
        bench.forget();
        bench.order(restore(Some(backup(&[1, 2])), false));
        let given = bench.restoring().unwrap().jump().unwrap();
        counters.push((given.key.frame_counter, given.link_frame_counter()));
        bench.say(Said::State(State::Starting));
        bench.say(Said::Formed(Ok(OURS)));
        bench.say(Said::State(State::Up(OURS)));
    }
    let (first, second) = (counters[0], counters[1]);
    assert_eq!((second.0 - first.0, second.1 - first.1), (FRAME_COUNTER_JUMP, FRAME_COUNTER_JUMP));
}

#[test]
fn who_is_not_in_the_backup_must_join_anew_and_who_is_in_it_unadmitted_is_a_stranger() {
    let mut bench = Bench::with_backup();
    bench.say(Said::State(State::Unformed));
    bench.forget();
    bench.order(restore(Some(backup(&[2, 9])), false));
    bench.say(Said::Formed(Ok(OURS)));
    bench.say(Said::State(State::Up(OURS)));
    let restored = NetworkDone::Restored { network: OURS, anew: 1, strangers: 1 };
    assert_eq!(bench.replies, vec![Ok(restored)]);
    let left: Vec<_> = bench.events.iter().filter(|event| matches!(event, Event::Left(_))).collect();
    assert!(matches!(left[..], [Event::Left(who)] if *who == lock(1)), "{left:?}");
    assert_eq!(bench.opened_for(), vec![eui(1)]);
    bench.say(Said::Rejoined { eui: eui(9), nwk: NwkAddr(9) });
    assert_eq!(bench.asked_to_leave(), vec![eui(9)]);
}

#[test]
fn what_would_cost_locks_is_restored_only_when_the_order_says_so() {
    let mut bench = Bench::with_backup();
    for state in [State::Up(OURS), State::Foreign(THEIRS)] {
        bench.say(Said::State(state));
        bench.order(restore(None, false));
        assert!(bench.said().contains("--replace"));
    }
    bench.say(Said::State(State::Unformed));
    bench.order(restore(Some(of_theirs(&[1])), false));
    assert!(bench.said().contains("another network"));
    let old_key = NetworkKey { key: Key([1; 16]), ..backup(&[]).key };
    bench.order(restore(Some(Backup { key: old_key.clone(), ..backup(&[1, 2]) }), false));
    assert!(bench.said().contains("another key"));
    let spent = NetworkKey { frame_counter: u32::MAX - 5, ..backup(&[]).key };
    bench.order(restore(Some(Backup { key: spent, ..backup(&[1, 2]) }), true));
    assert!(bench.said().contains("new key"));
    bench.say(Said::State(State::Starting));
    bench.order(restore(None, true));
    assert!(bench.said().contains("not ready"));
    assert_eq!((bench.restoring(), bench.stored(RecordKey::Restore)), (None, None));

    bench.say(Said::State(State::Unformed));
    bench.order(restore(Some(Backup { key: old_key, ..of_theirs(&[1]) }), true));
    assert!(matches!(&bench.orders.last(), Some(Order::Restore { replace: true, .. })));
    bench.say(Said::Formed(Ok(THEIRS)));
    bench.say(Said::State(State::Up(THEIRS)));
    let restored = NetworkDone::Restored { network: THEIRS, anew: 1, strangers: 0 };
    assert_eq!(bench.replies, vec![Ok(restored)]);
    bench.forget();
    bench.say(heard(1, b"hello"));
    assert!(matches!(bench.events[..], [Event::Joined(_), Event::Link { .. }, Event::Up(_)]));
}

#[test]
fn without_a_backup_there_is_nothing_to_restore_and_the_operator_is_told() {
    let mut bench = Bench::on(MemoryStore::new());
    bench.say(Said::State(State::Unformed));
    bench.order(restore(None, false));
    assert!(bench.said().contains("no backup of its own"));
}

/// A coordinator refuses before it has touched anything: all is as before. Or after: then nothing is carried.
#[test]
fn a_restore_that_is_refused_changes_nothing_and_one_that_fails_keeps_the_network_from_running() {
    let mut bench = Bench::with_backup();
    bench.order(restore(None, true));
    bench.say(Said::Formed(Err("more devices than this dongle can be told".into())));
    assert!(bench.said().contains("more devices"));
    assert!(bench.health().up && bench.stored(RecordKey::Restore).is_none());

    bench.order(restore(None, true));
    bench.say(Said::State(State::Starting));
    bench.say(Said::Formed(Err("the dongle did not keep what was written".into())));
    assert!(bench.said().contains("did not keep"));
    // Its ids are right, its counter is not.
    bench.say(Said::State(State::Up(OURS)));
    assert!(!bench.health().up && bench.health().detail.contains("interrupted"), "{:?}", bench.health());
    bench.restart();
    assert_eq!(bench.driver.expected(), None);
    bench.say(Said::State(State::Foreign(OURS)));
    assert!(!bench.health().up && bench.health().detail.contains("--from-store --replace"));
    // The operator knows better.
    bench.order(NetworkOrder::Adopt);
    bench.say(Said::Formed(Ok(OURS)));
    bench.say(Said::State(State::Up(OURS)));
    assert!(bench.health().up && bench.stored(RecordKey::Restore).is_none());
    assert!(bench.driver.devices.values().all(|device| device.joined));
}

#[test]
fn a_dongle_that_runs_after_an_interrupted_restore_can_be_taken_as_it_is() {
    let mut bench = Bench::with_backup();
    bench.order(restore(None, true));
    bench.say(Said::State(State::Starting));
    bench.say(Said::Formed(Err("the dongle restarted".into())));
    bench.replies.clear();
    bench.say(Said::State(State::Up(OURS)));
    bench.forget();
    bench.order(NetworkOrder::Adopt);
    assert_eq!(bench.replies, vec![Ok(NetworkDone::Network(OURS))]);
    assert!(bench.health().up && bench.orders.is_empty() && bench.stored(RecordKey::Restore).is_none());
}

#[test]
fn a_store_that_fails_keeps_a_network_from_being_restored_and_its_key_from_being_changed() {
    let mut bench = Bench::with_backup();
    bench.store.set_failing(true);
    bench.order(restore(None, true));
    assert!(bench.said().contains("nothing was restored"));
    bench.order(NetworkOrder::RotateKey(Key([9; 16])));
    assert!(bench.said().contains("key was not changed"));
    bench.store.set_failing(false);
    bench.pass(60_000);
    let ordered = |order: &Order| matches!(order, Order::Restore { .. } | Order::RotateKey(_));
    assert!(!bench.orders.iter().any(ordered));
    assert_eq!((bench.stored(RecordKey::Restore), bench.stored(RecordKey::NextKey)), (None, None));
    bench.say(Said::State(State::Up(OURS)));
    assert!(bench.health().up || !bench.health().detail.contains("interrupted"));
}

#[test]
fn a_new_key_is_durable_before_the_dongle_has_it_and_the_networks_once_it_is_used() {
    let mut bench = Bench::with_backup();
    let new = Key([9; 16]);
    bench.driver.handle_order(bench.now, 1, NetworkOrder::RotateKey(new.clone()));
    let (commit, batch) = bench.driver.poll_commit().unwrap();
    assert!(bench.driver.poll_order().is_none());
    bench.store.commit_now(batch).unwrap();
    bench.driver.handle_stored(bench.now, commit, Ok(()));
    bench.settle();
    assert!(matches!(&bench.orders[..], [Order::RotateKey(key)] if *key == new), "{:?}", bench.orders);
    bench.order(NetworkOrder::Backup);
    assert!(bench.said().contains("under way"));
    bench.driver.handle_event(bench.now, Said::KeyRotated(Ok(4)));
    assert!(bench.driver.poll_reply().is_none(), "not durable yet");
    bench.settle();
    assert_eq!(bench.replies, vec![Ok(NetworkDone::KeyRotated(4))]);
    let record = bench.stored(RecordKey::Network).unwrap();
    assert_eq!(StoredNetwork::from_record(&record).unwrap().key, Some(new.clone()));
    let kept = bench.kept().unwrap();
    assert_eq!((kept.key.key, kept.key.number), (new, 4), "what takes its place speaks with the new key");
    assert_eq!(bench.stored(RecordKey::NextKey), None);
    assert!(bench.has_asked_for_a_backup(), "its counter may be another one");
}

#[test]
fn a_rotation_that_fails_is_told_and_which_key_the_dongle_has_is_asked() {
    for (seen, want) in [(KEY, KEY), (Key([9; 16]), Key([9; 16]))] {
        let mut bench = Bench::with_backup();
        bench.order(NetworkOrder::RotateKey(Key([9; 16])));
        bench.say(Said::KeyRotated(Err("the network went down meanwhile".into())));
        assert!(bench.said().contains("not changed"));
        let key = NetworkKey { key: seen, ..backup(&[]).key };
        bench.backed_up(Backup { key, ..backup(&[1, 2]) });
        let stored = StoredNetwork::from_record(&bench.stored(RecordKey::Network).unwrap()).unwrap();
        assert_eq!((stored.key, bench.stored(RecordKey::NextKey)), (Some(want), None));
    }
    let mut bench = Bench::with_backup();
    bench.say(Said::State(State::Down("unplugged".into())));
    bench.order(NetworkOrder::RotateKey(Key([9; 16])));
    assert!(bench.said().contains("not ready"));
}

/// A coordinator does one after the other.
#[test]
fn an_order_waits_for_the_backup_that_is_being_taken() {
    let mut bench = Bench::with_backup();
    bench.pass(86_500_000);
    assert!(bench.has_asked_for_a_backup());
    bench.order(NetworkOrder::RotateKey(Key([9; 16])));
    assert!(!bench.orders.iter().any(|order| matches!(order, Order::RotateKey(_))));
    bench.backed_up(backup(&[1, 2]));
    assert!(bench.orders.iter().any(|order| matches!(order, Order::RotateKey(_))));
}

#[test]
fn the_keys_of_a_network_that_was_given_up_are_forgotten() {
    let mut bench = Bench::with_backup();
    bench.order(NetworkOrder::Form { replace: true, pan: [7; 8], key: Key([8; 16]) });
    let Some(Order::Form { plan, .. }) = bench.orders.last() else { panic!() };
    let network = Network { extended_pan: plan.extended_pan, ..OURS };
    bench.say(Said::Formed(Ok(network)));
    assert_eq!(bench.kept(), None);
}

#[test]
fn nothing_that_an_operator_is_told_or_that_is_logged_shows_a_key() {
    let told = format!("{:?}", NetworkDone::BackedUp(Box::new(backup(&[1]))));
    assert_eq!(told, format!("BackedUp(Backup({OURS:?}, 1 devices))"));
}
