//! Who is asked when, and what is made of the answers.

use super::*;
use crate::coordinator::{Event as Said, State};
use crate::driver::tests::{Bench, OURS, eui, heard, label, lock};
use crate::driver::{MapDevice, MapRole, NetworkDone, NetworkOrder};
use crate::types::{InstallCode, NwkAddr};
use cardea_radio::Command;

const COORDINATOR: Eui64 = OURS.coordinator;
/// Relations in a table.
const CHILD: u8 = 1;
const SIBLING: u8 = 2;

/// A neighbour: who, its role (1 router, 2 end device), its relation, how well it is heard.
fn neighbour(eui: Eui64, role: u8, relation: u8, lqi: u8) -> Neighbour {
    Neighbour {
        extended_pan: OURS.extended_pan,
        eui,
        nwk: NwkAddr(1),
        kind: role | relation << 4,
        permit: 0,
        depth: 1,
        lqi,
    }
}

fn page(total: u8, list: &[Neighbour]) -> Result<Answer, Failure> {
    Ok(Answer::Neighbours { total, list: list.to_vec() })
}

/// A network with two locks (1, 2) and two routers (7, 8), all of them in it.
fn bench() -> Bench {
    let mut bench = Bench::up();
    for n in [7, 8] {
        let code = InstallCode::new(&hex::decode("83fed3407a939723a5c639b26916d505c3b5").unwrap()).unwrap();
        bench.order(NetworkOrder::AdmitRouter { eui: eui(n), code });
        bench.say(Said::Joined { eui: eui(n), nwk: NwkAddr(0x2000 + u16::from(n)) });
    }
    for n in [1, 2] {
        bench.command(Command::Admit(label(n)));
        bench.join(n, false);
    }
    // The backup that follows joins: nothing is asked while it is taken.
    bench.pass(11_000);
    bench.say(Said::BackedUp(Err("not here".into())));
    bench.forget();
    bench
}

/// Those that are being asked for neighbours, each with the first entry.
fn asked(bench: &Bench) -> Vec<(Eui64, u8)> {
    let asked = bench.orders.iter().filter_map(|order| match order {
        Order::Ask { eui, question: Question::Neighbours { start }, .. } => Some((*eui, *start)),
        _ => None,
    });
    asked.collect()
}

fn answer(bench: &mut Bench, answer: Result<Answer, Failure>) {
    bench.answer(|question| matches!(question, Question::Neighbours { .. }), answer);
}

fn ordered(bench: &mut Bench, survey: bool) -> Result<RadioMap, String> {
    bench.replies.clear();
    bench.order(NetworkOrder::Map { survey });
    match bench.replies.pop() {
        Some(Ok(NetworkDone::Map(map))) => Ok(*map),
        Some(Err(why)) => Err(why),
        other => panic!("{other:?}"),
    }
}

fn device(bench: &mut Bench, eui: Eui64) -> MapDevice {
    let map = ordered(bench, false).unwrap();
    map.devices.into_iter().find(|device| device.eui == eui).unwrap()
}

/// Who it is behind, and how well it is heard there.
fn behind(bench: &mut Bench, eui: Eui64) -> Option<(Eui64, u8)> {
    device(bench, eui).behind.map(|behind| (behind.eui, behind.lqi))
}

/// The first round, to its end: the coordinator has lock 1 and router 7, which has lock 2 and hears router 8.
fn surveyed() -> Bench {
    let mut bench = bench();
    bench.pass(60_000);
    answer(&mut bench, page(2, &[neighbour(eui(1), 2, CHILD, 201), neighbour(eui(7), 1, SIBLING, 180)]));
    bench.pass(3_000);
    answer(&mut bench, page(2, &[neighbour(eui(2), 2, CHILD, 77), neighbour(eui(8), 1, SIBLING, 90)]));
    bench.pass(3_000);
    answer(&mut bench, page(0, &[]));
    bench.forget();
    bench
}

#[test]
fn one_is_asked_after_the_other_with_a_pause_and_then_nobody_for_a_quarter_of_an_hour() {
    let mut bench = bench();
    bench.pass(40_000);
    assert_eq!(asked(&bench), vec![], "locks come back first");
    bench.pass(20_000);
    assert_eq!(asked(&bench), vec![(COORDINATOR, 0)]);
    bench.pass(10_000);
    assert_eq!(asked(&bench).len(), 1, "one at a time");
    answer(&mut bench, page(4, &[neighbour(eui(1), 2, CHILD, 1), neighbour(eui(7), 1, SIBLING, 1)]));
    assert_eq!(asked(&bench), vec![]);
    bench.pass(2_999);
    assert_eq!(asked(&bench), vec![], "a pause after each answer");
    bench.pass(1);
    assert_eq!(asked(&bench), vec![(COORDINATOR, 2)], "the next page");
    answer(&mut bench, page(4, &[neighbour(eui(2), 2, CHILD, 1), neighbour(eui(8), 1, SIBLING, 1)]));
    for router in [7, 8] {
        bench.pass(3_000);
        assert_eq!(asked(&bench), vec![(eui(router), 0)]);
        answer(&mut bench, page(0, &[]));
    }
    bench.pass(899_000);
    assert_eq!(asked(&bench), vec![]);
    assert_eq!(ordered(&mut bench, false).unwrap().age_ms, Some(899_000));
    bench.pass(1_000);
    assert_eq!(asked(&bench), vec![(COORDINATOR, 0)]);
}

#[test]
fn an_operator_may_have_it_sooner_but_not_more_often_than_each_minute() {
    let mut bench = bench();
    assert!(ordered(&mut bench, true).unwrap().surveying);
    assert_eq!(asked(&bench), vec![(COORDINATOR, 0)]);
    assert!(ordered(&mut bench, true).unwrap().surveying, "it is under way: no second one begins");
    answer(&mut bench, page(0, &[]));
    for _ in [7, 8] {
        bench.pass(3_000);
        answer(&mut bench, page(0, &[]));
    }
    assert!(!ordered(&mut bench, false).unwrap().surveying);
    let why = ordered(&mut bench, true).unwrap_err();
    assert!(why.contains("again in 54 s"), "{why}");
    bench.pass(54_000);
    assert!(ordered(&mut bench, true).unwrap().surveying);
    assert_eq!(asked(&bench), vec![(COORDINATOR, 0)]);
    bench.say(Said::State(State::Down("unplugged".into())));
    assert!(ordered(&mut bench, true).unwrap_err().contains("does not run"));
}

#[test]
fn nothing_is_asked_while_anything_else_wants_the_air() {
    // A command on its way to a lock.
    let mut bench = bench();
    bench.send(1, 1, 10_000);
    bench.pass(60_000);
    assert_eq!(asked(&bench), vec![]);
    bench.say(Said::Outcome { handle: 1, outcome: crate::coordinator::Outcome::Acknowledged });
    assert_eq!(asked(&bench), vec![(COORDINATOR, 0)]);
    answer(&mut bench, page(0, &[]));

    // An open door.
    bench.command(Command::Admit(label(3)));
    bench.pass(60_000);
    assert_eq!(asked(&bench), vec![]);
    bench.say(Said::Joined { eui: eui(3), nwk: NwkAddr(0x1003) });
    // Its interview, and the backup that follows.
    bench.pass(5_000);
    assert_eq!(asked(&bench), vec![]);
    bench.interview(false);
    assert_eq!(asked(&bench), vec![(eui(7), 0)]);
    answer(&mut bench, page(0, &[]));
    bench.pass(700_000);
    assert!(bench.orders.iter().any(|order| matches!(order, Order::Backup)));
    bench.say(Said::BackedUp(Err("not here".into())));

    // An operator's order.
    bench.forget();
    answered_all(&mut bench);
    bench.pass(60_000);
    bench.order(NetworkOrder::RotateKey(crate::types::Key([7; 16])));
    assert!(bench.orders.iter().any(|order| matches!(order, Order::RotateKey(_))));
    assert!(ordered(&mut bench, true).unwrap().surveying, "it is noted");
    assert_eq!(asked(&bench), vec![]);
    bench.say(Said::KeyRotated(Ok(1)));
    assert_eq!(asked(&bench), vec![], "the backup that has the key comes first");
    bench.say(Said::BackedUp(Err("not here".into())));
    assert_eq!(asked(&bench), vec![(COORDINATOR, 0)]);
}

/// Ends a round that may be under way.
fn answered_all(bench: &mut Bench) {
    for _ in 0..4 {
        if !asked(bench).is_empty() {
            answer(bench, page(0, &[]));
        }
        bench.pass(3_000);
    }
}

#[test]
fn a_lock_is_behind_the_router_that_has_it_for_a_child_and_that_grows_old() {
    let mut bench = surveyed();
    assert_eq!(behind(&mut bench, eui(1)), Some((COORDINATOR, 201)));
    assert_eq!(behind(&mut bench, eui(2)), Some((eui(7), 77)));
    assert_eq!(behind(&mut bench, eui(7)), Some((COORDINATOR, 180)));
    assert_eq!(behind(&mut bench, eui(8)), Some((eui(7), 90)), "the coordinator does not hear it");
    let map = ordered(&mut bench, false).unwrap();
    assert_eq!(
        map.devices.iter().map(|device| device.role).collect::<Vec<_>>(),
        [
            MapRole::Coordinator,
            MapRole::Sealed(lock(1)),
            MapRole::Sealed(lock(2)),
            MapRole::Router,
            MapRole::Router
        ]
    );
    assert_eq!(map.devices[0].behind, None);
    bench.pass(100_000);
    assert_eq!(device(&mut bench, eui(2)).behind.unwrap().age_ms, 103_000);
}

#[test]
fn a_router_that_does_not_answer_keeps_what_it_said_and_is_named() {
    let mut bench = surveyed();
    assert_eq!(device(&mut bench, eui(7)).answers, Some(true));
    assert!(ordered(&mut bench, true).is_err());
    bench.pass(60_000);
    assert!(ordered(&mut bench, true).is_ok());
    answer(&mut bench, page(1, &[neighbour(eui(7), 1, SIBLING, 170)]));
    bench.pass(3_000);
    answer(&mut bench, Err(Failure::NoAnswer));
    bench.pass(3_000);
    answer(&mut bench, page(0, &[]));
    assert_eq!(
        (device(&mut bench, eui(7)).answers, behind(&mut bench, eui(2))),
        (Some(false), Some((eui(7), 77)))
    );
    assert!(device(&mut bench, eui(2)).behind.unwrap().age_ms > 60_000, "that knowledge is old");
    assert_eq!(behind(&mut bench, eui(1)), None, "the coordinator has it no more");
}

#[test]
fn who_comes_back_leaves_or_joins_has_no_place_until_somebody_says_so() {
    let mut bench = surveyed();
    bench.say(Said::Rejoined { eui: eui(2), nwk: NwkAddr(0x3333) });
    assert_eq!(behind(&mut bench, eui(2)), None);
    bench.say(Said::Rejoined { eui: eui(7), nwk: NwkAddr(0x2007) });
    assert_eq!(behind(&mut bench, eui(8)), Some((eui(7), 90)), "its own neighbours are where they were");
    bench.say(Said::Left { eui: eui(7) });
    assert_eq!((behind(&mut bench, eui(7)), behind(&mut bench, eui(8))), (None, None));
}

#[test]
fn the_newest_word_about_a_child_counts_and_strangers_are_in_no_map() {
    let mut bench = surveyed();
    bench.pass(60_000);
    ordered(&mut bench, true).unwrap();
    let stranger = Eui64([0xEE; 8]);
    // Lock 2 has moved to the coordinator, and router 7 has not noticed; somebody is there whom nobody admitted.
    let now = [
        neighbour(eui(7), 1, SIBLING, 180),
        neighbour(eui(2), 2, CHILD, 66),
        neighbour(stranger, 1, SIBLING, 250),
    ];
    answer(&mut bench, page(3, &now));
    bench.pass(3_000);
    answer(&mut bench, Err(Failure::NoAnswer));
    assert_eq!(behind(&mut bench, eui(2)), Some((COORDINATOR, 66)));
    bench.pass(3_000);
    assert_eq!(asked(&bench), vec![(eui(8), 0)], "the stranger is not asked");
    answer(&mut bench, page(0, &[]));
    let map = ordered(&mut bench, false).unwrap();
    assert!(!map.surveying && map.devices.iter().all(|device| device.eui != stranger));
}

#[test]
fn a_lock_that_routes_is_asked_as_well() {
    let mut bench = bench();
    bench.pass(60_000);
    answer(&mut bench, page(1, &[neighbour(eui(1), 1, SIBLING, 201)]));
    for router in [7, 8] {
        bench.pass(3_000);
        assert_eq!(asked(&bench), vec![(eui(router), 0)]);
        answer(&mut bench, page(0, &[]));
    }
    bench.pass(3_000);
    assert_eq!(asked(&bench), vec![(eui(1), 0)]);
    answer(&mut bench, page(1, &[neighbour(eui(2), 2, CHILD, 99)]));
    assert_eq!(behind(&mut bench, eui(2)), Some((eui(1), 99)));
    assert!(!ordered(&mut bench, false).unwrap().surveying);
}

/// What devices say is bounded, whatever they say.
#[test]
fn tables_without_end_are_read_to_an_end_and_fit() {
    let mut survey = Survey::default();
    survey.up(0, OURS);
    let mut now = 60_000;
    let mut questions = 0;
    // Everybody is ours, everybody routes, and no table has an end.
    while let Some((of, start)) = survey.next(now, COORDINATOR, std::iter::empty()) {
        questions += 1;
        let list: Vec<_> = (0..3_u8)
            .map(|n| {
                neighbour(
                    Eui64([of.0[0].wrapping_add(1), start, n, of.0[1], of.0[2], 0, 0, 1]),
                    1,
                    SIBLING,
                    9,
                )
            })
            .collect();
        survey.answered(now, Some((255, &list)), |_| true);
        now += PAUSE_MS;
    }
    assert!(survey.round.is_none() && survey.ended.is_some(), "it has an end");
    assert_eq!(questions, MAX_TABLES * 85);
    assert_eq!(survey.tables.len(), MAX_TABLES);
    let entries: usize = survey.tables.values().map(|table| table.entries.len()).sum();
    assert!(entries <= MAX_ENTRIES, "{entries}");
    // An answer with nothing in it ends a table, whatever it promises.
    let mut survey = Survey::default();
    survey.up(0, OURS);
    survey.next(60_000, COORDINATOR, std::iter::empty()).unwrap();
    survey.answered(60_000, Some((255, &[])), |_| true);
    assert!(survey.round.is_none());
}

/// Parents that name each other: nobody is drawn in a circle.
#[test]
fn routers_that_hear_only_each_other_have_no_way_to_the_coordinator() {
    let mut survey = Survey::default();
    let entry = Entry { child: false, routes: true, lqi: 9 };
    for (of, other) in [(7, 8), (8, 7)] {
        let entries = [(eui(other), entry)].into();
        survey.tables.insert(eui(of), Table { at: 0, entries });
    }
    let mut bench = bench();
    bench.driver.survey = survey;
    assert_eq!((behind(&mut bench, eui(7)), behind(&mut bench, eui(8))), (None, None));
    // One of them hears the coordinator, which says nothing: then both are reached.
    let coordinator = Entry { lqi: 55, ..entry };
    bench.driver.survey.tables.get_mut(&eui(8)).unwrap().entries.insert(COORDINATOR, coordinator);
    assert_eq!(behind(&mut bench, eui(8)), Some((COORDINATOR, 55)));
    assert_eq!(behind(&mut bench, eui(7)), Some((eui(8), 9)));
}

#[test]
fn a_question_that_the_dongle_lost_is_given_up_and_one_of_another_network_is_nothing() {
    let mut bench = bench();
    bench.pass(60_000);
    assert_eq!(asked(&bench), vec![(COORDINATOR, 0)]);
    bench.forget();
    bench.pass(120_000 + 3_000);
    assert_eq!(asked(&bench), vec![(eui(7), 0)], "the next one");
    bench.say(Said::State(State::Down("unplugged".into())));
    bench.forget();
    bench.say(Said::State(State::Up(OURS)));
    assert!(!ordered(&mut bench, false).unwrap().surveying);
    bench.pass(11_000);
    bench.say(Said::BackedUp(Err("not here".into())));
    bench.pass(60_000);
    assert_eq!(asked(&bench), vec![(COORDINATOR, 0)], "a round begins anew");
    bench.say(heard(1, b"event"));
    assert_eq!(asked(&bench).len(), 1);
}
