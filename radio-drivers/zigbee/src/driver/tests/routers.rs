//! Routers: admitted like locks, carried by nobody.

use super::*;
use crate::types::InstallCode;

fn code() -> InstallCode {
    InstallCode::new(&hex::decode("83fed3407a939723a5c639b26916d505c3b5").unwrap()).unwrap()
}

fn admit(n: u8) -> NetworkOrder {
    NetworkOrder::AdmitRouter { eui: eui(n), code: code() }
}

fn joined(n: u8) -> Said {
    Said::Joined { eui: eui(n), nwk: NwkAddr(0x2000 + u16::from(n)) }
}

/// What an operator sees.
fn listed(bench: &mut Bench) -> Vec<(Eui64, bool)> {
    bench.replies.clear();
    bench.order(NetworkOrder::Routers);
    match bench.replies.pop() {
        Some(Ok(NetworkDone::Routers(routers))) => routers,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_network_opens_for_a_router_once_it_is_durable_and_it_is_no_stranger() {
    let mut bench = Bench::up();
    bench.driver.handle_order(bench.now, 1, admit(7));
    let (commit, batch) = bench.driver.poll_commit().unwrap();
    assert!(bench.driver.poll_order().is_none() && bench.driver.poll_reply().is_none(), "it is not durable");
    bench.store.commit_now(batch).unwrap();
    bench.driver.handle_stored(bench.now, commit, Ok(()));
    bench.settle();
    assert!(matches!(bench.replies[..], [Ok(NetworkDone::Done)]));
    assert_eq!(bench.opened_for(), vec![eui(7)]);
    bench.forget();
    bench.say(joined(7));
    bench.say(heard(7, b"a report of its own"));
    assert_eq!((bench.asked_to_leave(), bench.driver.counters().strangers), (vec![], 0));
    assert!(bench.events.iter().all(|event| matches!(event, Event::Health(_))), "{:?}", bench.events);
    bench.restart();
    bench.say(Said::State(State::Up(OURS)));
    assert_eq!((listed(&mut bench), bench.opened_for()), (vec![(eui(7), true)], vec![]));
    bench.say(Said::Left { eui: eui(7) });
    assert_eq!(listed(&mut bench), vec![(eui(7), false)]);
    bench.restart();
    bench.say(Said::State(State::Up(OURS)));
    assert_eq!(bench.opened_for(), vec![eui(7)], "it is opened for once, as for a lock");
}

#[test]
fn a_router_that_cannot_be_stored_is_refused_and_opens_nothing() {
    let mut bench = Bench::up();
    bench.store.set_failing(true);
    bench.order(admit(7));
    assert!(matches!(bench.replies[..], [Err(_)]));
    bench.store.set_failing(false);
    bench.pass(10_000);
    assert_eq!((bench.opened_for(), listed(&mut bench)), (vec![], vec![]));
}

#[test]
fn a_device_is_one_thing_only() {
    let mut bench = Bench::up();
    bench.order(admit(7));
    bench.command(Command::Admit(label(7)));
    let refused = bench.events.iter().any(
        |event| matches!(event, Event::Admitted { result: Err(why), .. } if why.contains("admitted as a router")),
    );
    assert!(refused, "{:?}", bench.events);
    bench.command(Command::Admit(label(2)));
    bench.replies.clear();
    bench.order(admit(2));
    assert!(matches!(&bench.replies[..], [Err(why)] if why.contains("is a lock")), "{:?}", bench.replies);
}

#[test]
fn a_removed_router_is_told_to_leave_and_forgotten_before_that_is_said() {
    let mut bench = Bench::up();
    bench.order(admit(7));
    bench.say(joined(7));
    bench.replies.clear();
    bench.driver.handle_order(bench.now, 1, NetworkOrder::RemoveRouter { eui: eui(7) });
    assert!(bench.driver.poll_reply().is_none(), "it is not durable");
    bench.settle();
    assert!(matches!(bench.replies[..], [Ok(NetworkDone::Done)]), "{:?}", bench.replies);
    assert_eq!(bench.asked_to_leave(), vec![eui(7)]);
    bench.restart();
    assert_eq!(listed(&mut bench), vec![]);
    bench.order(NetworkOrder::RemoveRouter { eui: eui(7) });
    assert!(matches!(&bench.replies[..], [Err(why)] if why.contains("no router")));
}

#[test]
fn in_a_new_network_routers_join_anew() {
    let mut bench = Bench::up();
    bench.order(admit(7));
    bench.say(joined(7));
    bench.forget();
    bench.order(NetworkOrder::Form { replace: true, pan: [7; 8], key: Key([8; 16]) });
    let plan = bench.orders.iter().find_map(|order| match order {
        Order::Form { plan, .. } => Some(plan.extended_pan),
        _ => None,
    });
    let network = Network { extended_pan: plan.unwrap(), ..OURS };
    bench.say(Said::Formed(Ok(network)));
    bench.say(Said::State(State::Up(network)));
    assert_eq!((listed(&mut bench), bench.opened_for()), (vec![(eui(7), false)], vec![eui(7)]));
}
