//! Admissions, joins, strangers, removals.

use super::*;

#[test]
fn the_network_opens_for_a_lock_once_its_admission_is_durable() {
    let mut bench = Bench::up();
    bench.driver.handle_command(bench.now, Command::Admit(label(1)));
    let (commit, batch) = bench.driver.poll_commit().unwrap();
    assert!(bench.driver.poll_order().is_none() && bench.driver.poll_event().is_none(), "it is not durable");
    bench.store.commit_now(batch).unwrap();
    bench.driver.handle_stored(bench.now, commit, Ok(()));
    bench.settle();
    assert!(matches!(bench.events[..], [Event::Admitted { result: Ok(()), .. }]));
    assert_eq!(bench.opened_for(), vec![eui(1)]);
}

#[test]
fn an_admission_that_cannot_be_stored_is_refused_and_opens_nothing() {
    let mut bench = Bench::up();
    bench.store.set_failing(true);
    bench.command(Command::Admit(label(1)));
    assert!(matches!(&bench.events[..], [Event::Admitted { result: Err(_), .. }, Event::Health(_)]));
    assert_eq!(bench.opened_for(), vec![]);
    bench.store.set_failing(false);
    bench.pass(10_000);
    assert_eq!(bench.store.snapshot().len(), 1, "nor is it stored later");
}

#[test]
fn a_label_that_is_wrong_or_anothers_is_refused_by_name() {
    let mut bench = Bench::up();
    bench.command(Command::Admit(label(1)));
    let mut other = label(2);
    if let AdmissionSecret::Zigbee { eui: theirs, .. } = &mut other.secret {
        *theirs = eui(1).0;
    }
    bench.command(Command::Admit(other));
    let mut misread = label(3);
    if let AdmissionSecret::Zigbee { install_code, .. } = &mut misread.secret {
        install_code[3] ^= 1;
    }
    bench.command(Command::Admit(misread));
    bench.command(Command::Admit(Admission { lock: lock(4), secret: AdmissionSecret::Loopback }));
    (2..=5).for_each(|n| bench.command(Command::Admit(label(n))));
    let refused: Vec<String> = std::mem::take(&mut bench.events)
        .into_iter()
        .filter_map(|event| match event {
            Event::Admitted { result: Err(reason), .. } => Some(reason),
            _ => None,
        })
        .collect();
    assert!(
        matches!(&refused[..], [a, b, c, d] if a.contains("belongs to another lock") && b.contains("CRC")
            && c.contains("another radio") && d.contains("4 locks are admitted")),
        "{refused:?}"
    );
}

#[test]
fn all_who_are_admitted_may_join_and_each_is_interviewed() {
    let mut bench = Bench::up();
    bench.command(Command::Admit(label(1)));
    bench.command(Command::Admit(label(2)));
    assert_eq!(bench.opened_for(), vec![eui(1), eui(2)]);
    bench.forget();
    bench.join(1, true);
    assert_eq!(bench.opened_for(), vec![]);
    let [Event::Joined(joined), Event::Link { lock: linked, mtu_down: 60, sleepy: false, life_ms, .. }] =
        bench.events[..]
    else {
        panic!("{:?}", bench.events)
    };
    assert_eq!((joined, linked, life_ms), (lock(1), lock(1), 24_000));
    bench.say(Said::JoinFailed { eui: eui(2), reason: JoinFailure::Silent });
    assert!(bench.health().up && bench.health().detail.contains("was not heard"), "{:?}", bench.health());
    bench.forget();
    bench.command(Command::Admit(label(2)));
    assert_eq!(bench.opened_for(), vec![eui(2)], "the installer is there again");
    bench.say(Said::JoinFailed { eui: eui(2), reason: JoinFailure::Interrupted });
    assert_eq!(bench.opened_for(), vec![eui(2), eui(2)], "the dongle restarted meanwhile");
}

/// A corridor of locks that all look for a network, and a dongle that keeps few install codes.
#[test]
fn who_knocks_before_its_turn_is_the_next_in_the_place_of_who_has_been_silent_for_longest() {
    let mut bench = Bench::up();
    bench.driver.joins.at_once = 2;
    for n in 1..=4 {
        bench.command(Command::Admit(label(n)));
        bench.pass(1_000);
    }
    assert_eq!(bench.opened_for(), vec![eui(1), eui(2)]);
    bench.forget();
    bench.say(Said::JoinFailed { eui: eui(4), reason: JoinFailure::Keys });
    assert!(matches!(bench.orders[..], [Order::Dismiss(silent), Order::Admit { .. }] if silent == eui(1)));
    assert_eq!((bench.opened_for(), bench.driver.counters().strangers), (vec![eui(4)], 0));
    bench.say(Said::JoinFailed { eui: eui(1), reason: JoinFailure::Dismissed });
    bench.say(Said::JoinFailed { eui: eui(1), reason: JoinFailure::Silent });
    assert_eq!(bench.opened_for(), vec![eui(4)], "that was the end of its turn");
    bench.forget();
    bench.join(4, true);
    assert_eq!(bench.opened_for(), vec![eui(3), eui(1)], "one more than before: there was room again");
}

/// More at the door than a dongle has codes for: were one displaced by the next, none would have its code when it tries again.
#[test]
fn who_has_knocked_gives_way_to_nobody_else_who_knocks() {
    let mut bench = Bench::up();
    bench.driver.joins.at_once = 2;
    (1..=4).for_each(|n| bench.command(Command::Admit(label(n))));
    let knock = |bench: &mut Bench, n| bench.say(Said::JoinFailed { eui: eui(n), reason: JoinFailure::Keys });
    knock(&mut bench, 3);
    knock(&mut bench, 4);
    bench.forget();
    bench.say(Said::JoinFailed { eui: eui(1), reason: JoinFailure::Dismissed });
    knock(&mut bench, 1);
    knock(&mut bench, 2);
    assert!(bench.orders.is_empty(), "{:?}", bench.orders);
    bench.join(3, true);
    assert_eq!(
        bench.opened_for(),
        vec![eui(1), eui(2)],
        "in the order in which they knocked, with room for one more"
    );
}

#[test]
fn a_dongle_without_room_is_given_fewer_at_once() {
    let mut bench = Bench::up();
    (1..=3).for_each(|n| bench.command(Command::Admit(label(n))));
    bench.say(Said::JoinFailed { eui: eui(3), reason: JoinFailure::Busy });
    assert_eq!(bench.driver.joins.at_once, 2);
    bench.forget();
    bench.pass(20_000);
    assert_eq!(bench.opened_for(), vec![], "two are as many as it has room for");
    bench.say(Said::JoinFailed { eui: eui(1), reason: JoinFailure::Silent });
    assert_eq!(bench.opened_for(), vec![eui(3)]);
}

#[test]
fn who_joins_unasked_or_without_a_key_of_its_own_is_sent_away_and_told_of() {
    let mut bench = Bench::with_lock(false);
    for said in [
        Said::Joined { eui: eui(9), nwk: NwkAddr(0x2000) },
        Said::Rejoined { eui: eui(9), nwk: NwkAddr(0x2000) },
    ] {
        bench.forget();
        bench.say(said);
        assert_eq!(bench.asked_to_leave(), vec![eui(9)]);
        assert!(bench.health().detail.contains("which is not admitted"), "{:?}", bench.health());
    }
    bench.forget();
    bench.say(heard(9, b"let me in"));
    assert!(bench.events.is_empty() && bench.orders.is_empty());
    assert_eq!(bench.driver.counters().strangers, 3);
    bench.command(Command::Admit(label(2)));
    bench.say(Said::JoinFailed { eui: eui(2), reason: JoinFailure::NoUniqueKey });
    assert!(bench.health().detail.contains("no link key of its own"), "{:?}", bench.health());
    assert!(!bench.events.iter().any(|event| matches!(event, Event::Joined(_))));
    bench.pass(600_001);
    assert_eq!(bench.health().detail, "");
}

#[test]
fn a_removed_lock_is_told_to_leave_until_it_has_also_after_a_restart() {
    let mut bench = Bench::with_lock(true);
    bench.command(Command::Remove(lock(1)));
    assert!(matches!(bench.events[..], [Event::Left(_)]));
    assert!(bench.orders.iter().any(|order| matches!(order, Order::Dismiss(who) if *who == eui(1))));
    bench.answer(|question| *question == Question::Leave, Err(Failure::NoAnswer));
    bench.restart();
    assert!(matches!(&bench.events[..], [Event::Admits(locks), ..] if locks.is_empty()));
    bench.say(Said::State(State::Up(OURS)));
    bench.answer(|question| *question == Question::Leave, Err(Failure::NoAnswer));
    bench.forget();
    bench.say(heard(1, b"still here"));
    assert_eq!(bench.asked_to_leave(), vec![eui(1)]);
    bench.say(heard(1, b"still here"));
    assert_eq!(bench.asked_to_leave(), vec![eui(1)], "it is being told");
    bench.answer(|question| *question == Question::Leave, Ok(Answer::Done));
    assert_eq!(bench.store.snapshot().len(), 1, "only the network is left");
    assert!(!bench.events.iter().any(|event| matches!(event, Event::Up(_) | Event::Joined(_))));
}

#[test]
fn a_removal_that_cannot_be_stored_is_stored_when_it_can() {
    let mut bench = Bench::with_lock(true);
    bench.store.set_failing(true);
    bench.command(Command::Remove(lock(1)));
    bench.pass(20_000);
    assert!(bench.health().up && bench.health().detail.contains("not remembered"), "{:?}", bench.health());
    bench.store.set_failing(false);
    bench.pass(5_000);
    assert_eq!(bench.health().detail, "");
    bench.restart();
    assert!(matches!(&bench.events[..], [Event::Admits(locks), ..] if locks.is_empty()));
}

#[test]
fn a_lock_that_left_is_told_of_and_one_that_comes_back_too() {
    let mut bench = Bench::with_lock(true);
    bench.say(Said::Left { eui: eui(1) });
    bench.send(1, 1, 10_000);
    assert!(matches!(
        bench.events[..],
        [Event::Left(_), Event::Outcome { outcome: Outcome::Refused(Refusal::NotJoined), .. }]
    ));
    bench.restart();
    assert!(!bench.events.iter().any(|event| matches!(event, Event::Link { .. })));
    bench.say(Said::State(State::Up(OURS)));
    bench.forget();
    bench.say(heard(1, b"hello"));
    assert!(
        matches!(bench.events[..], [Event::Joined(_), Event::Link { .. }, Event::Up(_)]),
        "{:?}",
        bench.events
    );
}

/// A lock whose radio was exchanged: another EUI-64, another code.
#[test]
fn a_lock_that_is_admitted_with_another_radio_is_that_radio() {
    let mut bench = Bench::with_lock(true);
    let mut other = label(1);
    if let AdmissionSecret::Zigbee { eui: theirs, .. } = &mut other.secret {
        *theirs = eui(7).0;
    }
    bench.command(Command::Admit(other));
    assert_eq!((bench.asked_to_leave(), bench.opened_for()), (vec![eui(1)], vec![eui(7)]));
    bench.forget();
    bench.say(heard(1, b"the old radio"));
    assert_eq!(bench.events.len(), 0);
    bench.join(7, true);
    assert!(matches!(bench.events[..], [Event::Joined(_), Event::Link { .. }]), "{:?}", bench.events);
}

#[test]
fn an_interview_without_an_answer_is_tried_again_and_at_once_when_the_lock_is_heard() {
    let mut bench = Bench::up();
    bench.command(Command::Admit(label(1)));
    bench.say(Said::Joined { eui: eui(1), nwk: NwkAddr(1) });
    bench.answer(|question| *question == Question::Node, Err(Failure::NoAnswer));
    let asked =
        |bench: &Bench| bench.orders.iter().filter(|order| matches!(order, Order::Ask { .. })).count();
    bench.forget();
    bench.pass(4_999);
    assert_eq!(asked(&bench), 0);
    bench.pass(1);
    assert_eq!(asked(&bench), 1);
    bench.answer(|question| *question == Question::Node, Ok(node(true)));
    bench.answer(|question| *question == Question::Endpoints, Ok(Answer::Endpoints(vec![1])));
    bench.answer(|question| *question == Question::Endpoint(1), Ok(endpoint(1, &[0x0101])));
    assert!(bench.health().detail.contains("no tunnel"), "{:?}", bench.health());
    bench.forget();
    bench.say(heard(1, b"hello"));
    assert!(matches!(bench.events[..], [Event::Up(_)]), "what it says is carried: {:?}", bench.events);
    assert_eq!(asked(&bench), 1, "and it is awake");
    bench.interview(true);
    assert!(matches!(bench.events[..], [Event::Up(_), Event::Link { .. }]));
    bench.restart();
    assert!(bench.events.iter().any(|event| matches!(event, Event::Link { .. })), "found once and for all");
}

/// Addresses cost an attacker nothing: each is told of once an hour, and not more than 64 of them.
#[test]
fn strangers_are_told_of_upstream_once_an_hour_each_and_however_many_there_are_not_without_end() {
    let alarms = |bench: &Bench| bench.events.iter().filter(|e| matches!(e, Event::Alarm { .. })).count();
    let mut bench = Bench::up();
    for _ in 0..5 {
        bench.say(Said::Rejoined { eui: eui(9), nwk: NwkAddr(9) });
        bench.pass(60_000);
    }
    let [Event::Alarm { cause: "stranger", detail }] =
        &bench.events.iter().filter(|e| matches!(e, Event::Alarm { .. })).collect::<Vec<_>>()[..]
    else {
        panic!("{:?}", bench.events)
    };
    assert!(detail.contains(&eui(9).to_string()) && detail.contains("told to leave"), "{detail}");
    bench.pass(3_600_000);
    bench.forget();
    bench.say(Said::Joined { eui: eui(9), nwk: NwkAddr(9) });
    assert_eq!(alarms(&bench), 1);
    for n in 10..=255 {
        bench.say(Said::JoinFailed { eui: eui(n), reason: JoinFailure::Keys });
    }
    assert_eq!(alarms(&bench), 64);
}
