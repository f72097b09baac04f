//! Which network is ours.

use super::*;

fn form(replace: bool) -> NetworkOrder {
    NetworkOrder::Form { replace, pan: [7; 8], key: Key([8; 16]) }
}

fn planned(bench: &Bench) -> Option<Network> {
    bench.orders.iter().find_map(|order| match order {
        Order::Form { plan, .. } => Some(Network { extended_pan: plan.extended_pan, ..OURS }),
        _ => None,
    })
}

fn is_ordered(bench: &Bench) -> bool {
    bench.orders.iter().any(|order| matches!(order, Order::Form { .. } | Order::Adopt))
}

#[test]
fn nothing_is_formed_or_adopted_without_an_order_and_the_operator_is_told_what_to_do() {
    let mut bench = Bench::on(MemoryStore::new());
    for (state, words) in [
        (State::Down("the port cannot be opened".into()), "plugged in"),
        (State::Starting, "starting"),
        (State::Unformed, "cardea radio form zigbee"),
        (State::Foreign(THEIRS), "cardea radio adopt zigbee"),
        (State::Up(THEIRS), "nobody ordered"),
    ] {
        bench.say(Said::State(state));
        bench.pass(1_000_000);
        assert!(!bench.health().up && bench.health().detail.contains(words), "{:?}", bench.health());
    }
    assert_eq!(bench.orders.len(), 0, "{:?}", bench.orders);
}

#[test]
fn the_key_is_durable_before_the_dongle_has_it_and_the_network_before_the_operator_knows() {
    let mut bench = Bench::on(MemoryStore::new());
    bench.say(Said::State(State::Unformed));
    bench.driver.handle_order(bench.now, 1, form(false));
    let (commit, batch) = bench.driver.poll_commit().unwrap();
    assert!(bench.driver.poll_order().is_none());
    bench.store.commit_now(batch).unwrap();
    bench.driver.handle_stored(bench.now, commit, Ok(()));
    bench.settle();
    let network = planned(&bench).unwrap();
    bench.driver.handle_event(bench.now, Said::Formed(Ok(network)));
    assert!(bench.driver.poll_reply().is_none());
    bench.settle();
    assert_eq!(bench.replies, vec![Ok(NetworkDone::Network(network))]);
    bench.say(Said::State(State::Up(network)));
    assert!(bench.health().up);
    let stored = bench.store.snapshot();
    let [(key, record)] = &stored[..] else { panic!("the plan is used up: {stored:?}") };
    assert_eq!(RecordKey::decode(key), Some(RecordKey::Network));
    assert_eq!(StoredNetwork::from_record(record).unwrap().key, Some(Key([8; 16])));
    bench.restart();
    assert_eq!(bench.driver.expected(), Some(network));
}

#[test]
fn a_store_that_fails_keeps_a_network_from_being_formed() {
    let mut bench = Bench::on(MemoryStore::new());
    bench.say(Said::State(State::Unformed));
    bench.store.set_failing(true);
    bench.order(form(false));
    assert!(
        matches!(&bench.replies[..], [Err(why)] if why.contains("nothing was formed")),
        "{:?}",
        bench.replies
    );
    bench.store.set_failing(false);
    bench.pass(60_000);
    assert!(!is_ordered(&bench) && bench.store.snapshot().is_empty());
}

/// The power fails after the dongle has formed and before anybody has stored which network it is.
#[test]
fn a_formation_that_was_cut_short_is_finished_when_its_network_is_found() {
    let mut bench = Bench::on(MemoryStore::new());
    bench.say(Said::State(State::Unformed));
    bench.order(form(false));
    let network = planned(&bench).unwrap();
    bench.restart();
    assert_eq!(bench.driver.expected(), None);
    bench.say(Said::State(State::Foreign(THEIRS)));
    assert!(!is_ordered(&bench), "another network is foreign still");
    bench.say(Said::State(State::Foreign(network)));
    assert!(matches!(bench.orders[..], [Order::Adopt]));
    bench.say(Said::Formed(Ok(network)));
    bench.say(Said::State(State::Up(network)));
    assert!(bench.health().up);
    bench.restart();
    assert_eq!(bench.driver.expected(), Some(network));
    assert_eq!(bench.driver.network.as_ref().unwrap().key, Some(Key([8; 16])));
}

#[test]
fn a_network_with_locks_is_given_up_only_when_the_order_says_so() {
    let mut bench = Bench::with_lock(true);
    for state in [State::Up(OURS), State::Foreign(THEIRS), State::Unformed] {
        bench.say(Said::State(state));
        bench.replies.clear();
        bench.order(form(false));
        assert!(matches!(&bench.replies[..], [Err(why)] if why.contains("--replace")), "{:?}", bench.replies);
        assert!(!is_ordered(&bench));
    }
    bench.forget();
    bench.order(form(true));
    let network = planned(&bench).unwrap();
    bench.say(Said::Formed(Ok(network)));
    bench.say(Said::State(State::Up(network)));
    assert!(bench.events.iter().any(|event| matches!(event, Event::Left(_))), "{:?}", bench.events);
    assert_eq!(bench.opened_for(), vec![eui(1)], "it is admitted still, and must join anew");
    bench.restart();
    assert!(matches!(&bench.events[..], [Event::Admits(locks), ..] if *locks == [lock(1)]));
}

#[test]
fn a_foreign_network_is_adopted_by_an_order_and_its_locks_are_there_when_they_are_heard() {
    let mut bench = Bench::with_lock(true);
    bench.order(NetworkOrder::Adopt);
    assert!(matches!(&bench.replies[..], [Err(_)]), "there is nothing to adopt");
    bench.say(Said::State(State::Foreign(THEIRS)));
    bench.order(NetworkOrder::Adopt);
    bench.order(NetworkOrder::Adopt);
    assert_eq!(bench.orders.iter().filter(|order| matches!(order, Order::Adopt)).count(), 1);
    bench.say(Said::Formed(Ok(THEIRS)));
    bench.say(Said::State(State::Up(THEIRS)));
    assert_eq!(bench.replies.last(), Some(&Ok(NetworkDone::Network(THEIRS))));
    bench.forget();
    bench.say(heard(1, b"hello"));
    assert!(matches!(bench.events[..], [Event::Joined(_), Event::Link { .. }, Event::Up(_)]));
}

#[test]
fn an_unplugged_dongle_is_an_event_and_nothing_else() {
    let mut bench = Bench::with_lock(false);
    let stored = bench.store.snapshot();
    bench.send(1, 1, 60_000);
    bench.say(Said::Outcome { handle: 1, outcome: coordinator::Outcome::Failed(Failure::Unknown) });
    bench.say(Said::State(State::Down("the port is gone".into())));
    bench.pass(30_000);
    bench.say(Said::State(State::Starting));
    bench.say(Said::State(State::Up(OURS)));
    let mut told = bench.events.iter();
    assert!(matches!(told.next(), Some(Event::Outcome { handle: 1, .. })));
    assert!(told.all(|event| matches!(event, Event::Health(_))), "{:?}", bench.events);
    assert!(bench.health().up && bench.store.snapshot() == stored && !is_ordered(&bench));
    bench.forget();
    bench.send(2, 1, 10_000);
    assert_eq!(bench.frames().len(), 1);
}

#[test]
fn a_network_that_moved_is_stored_where_it_is() {
    let mut bench = Bench::up();
    let moved = Network { channel: 25, pan: 0x2222, ..OURS };
    bench.say(Said::State(State::Up(moved)));
    bench.restart();
    assert_eq!(bench.driver.expected(), Some(moved));
}

#[test]
fn a_damaged_record_stops_the_driver_and_is_named() {
    let change = Change { key: RecordKey::Device(lock(1)).encode(), value: Some(vec![1, 2, 3]) };
    let error = Driver::new(config(), vec![(change.key, change.value.unwrap())]).err().unwrap();
    assert!(error.to_string().contains("zigbee/d"), "{error}");
    assert!(Driver::new(config(), vec![(b"lorawan/j".to_vec(), vec![])]).is_ok());
}
