//! PIN slots and the pad: set, cleared, listed, entered, limited; duress that shows nowhere but in the sealed event.

// Helpers fail by panicking, as tests do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use cardea_agent::{Agent, AgentEvent, Alarm, PinResult, REFUSAL_MS, Slot, WINDOW_MS};
use cardea_framing::{Class, Datagram};
use cardea_oscore::coap::Code;
use cardea_resources::{Bolt, EventKind, LogPage, Op, Outcome, PinEntry, PinList, PinUse};

use common::board::Board;
use common::{World, outcome, pin_change};

fn enter(world: &mut World, digits: &[u8]) -> PinResult {
    let result = Agent::<Board>::enter_pin(world.agent(), digits);
    world.run();
    result
}

fn list(world: &mut World) -> (u32, Vec<PinEntry>) {
    let reply = world.ask("p", Code::GET, &[], None);
    let list = PinList::decode(&reply.payload).unwrap();
    assert_eq!(list.capacity, 16);
    (list.highest, list.entries().collect())
}

#[test]
fn a_pin_unlocks_and_leading_zeros_count() {
    let mut world = World::activated();
    assert_eq!(world.set_pin(&pin_change(3, 1, b"0012", false, None)), Code::CHANGED);
    assert_eq!(enter(&mut world, b"12"), PinResult::Wrong);
    assert_eq!(enter(&mut world, b"00120"), PinResult::Wrong);
    assert_eq!(world.drives(), []);
    assert_eq!(enter(&mut world, b"0012"), PinResult::Unlocked);
    assert_eq!(world.drives(), [Op::Unlock]);
    let event = world.platform.events.last().unwrap();
    assert_eq!(event.kind, EventKind::Pin);
    let used = PinUse { slot: 3, duress: false, failed: false };
    assert_eq!(event.value, Some(used.to_u32()));
    assert!(event.log.is_some());
    // It survives a reset.
    world.reset();
    world.run();
    assert_eq!(enter(&mut world, b"0012"), PinResult::Unlocked);
}

#[test]
fn a_lock_without_owner_knows_no_pin() {
    let mut world = World::new();
    world.boot();
    assert_eq!(world.agent().enter_pin(b"0000"), PinResult::Wrong);
    assert_eq!(world.drives(), []);
}

#[test]
fn slots_are_set_listed_changed_and_cleared() {
    let mut world = World::activated();
    assert_eq!(list(&mut world), (0, vec![]));
    assert_eq!(world.set_pin(&pin_change(9, 1, b"1111", false, None)), Code::CHANGED);
    assert_eq!(world.set_pin(&pin_change(0, 2, b"2222", false, None)), Code::CHANGED);
    assert_eq!(world.set_pin(&pin_change(9, 3, b"3333", false, None)), Code::CHANGED);
    let entries = vec![PinEntry { slot: 0, revision: 2 }, PinEntry { slot: 9, revision: 3 }];
    assert_eq!(list(&mut world), (3, entries));
    assert_eq!(enter(&mut world, b"1111"), PinResult::Wrong);
    assert_eq!(enter(&mut world, b"3333"), PinResult::Unlocked);
    assert_eq!(world.set_pin(&pin_change(9, 4, b"", false, None)), Code::CHANGED);
    assert_eq!(enter(&mut world, b"3333"), PinResult::Wrong);
    assert_eq!(list(&mut world), (4, vec![PinEntry { slot: 0, revision: 2 }]));
    assert_eq!(world.set_pin(&pin_change(16, 5, b"4444", false, None)), Code::BAD_REQUEST, "no such slot");
}

#[test]
fn a_change_that_comes_late_is_void_and_a_retry_is_not() {
    let mut world = World::activated();
    let first = pin_change(1, 1, b"1111", false, None);
    assert_eq!(world.set_pin(&first), Code::CHANGED);
    world.nvm.reset_count();
    assert_eq!(world.set_pin(&first), Code::CHANGED, "a retry");
    assert!(!world.nvm.writes().contains(&Slot::Pin(1)), "and it writes nothing");
    assert_eq!(world.set_pin(&pin_change(1, 3, b"3333", false, None)), Code::CHANGED);
    assert_eq!(world.set_pin(&first), Code::CONFLICT);
    assert_eq!(world.set_pin(&pin_change(2, 2, b"2222", false, None)), Code::CONFLICT, "of any slot");
    assert_eq!(enter(&mut world, b"1111"), PinResult::Wrong);
    assert_eq!(enter(&mut world, b"3333"), PinResult::Unlocked);
}

#[test]
fn one_pin_opens_one_slot() {
    let mut world = World::activated();
    assert_eq!(world.set_pin(&pin_change(1, 1, b"1111", false, None)), Code::CHANGED);
    assert_eq!(world.set_pin(&pin_change(2, 2, b"1111", true, None)), Code::CONFLICT);
    assert_eq!(
        world.set_pin(&pin_change(1, 2, b"1111", true, None)),
        Code::CHANGED,
        "its own slot may keep it"
    );
}

#[test]
fn a_change_needs_freshness() {
    let mut world = World::activated();
    let payload = pin_change(1, 1, b"1111", false, None);
    assert_eq!(world.ask("p", Code::POST, &payload, None).code, Code::UNAUTHORIZED);
    assert_eq!(list(&mut world).1, []);
    let challenge = world.touch();
    assert_eq!(world.ask("p", Code::POST, &payload, Some(&challenge)).code, Code::CHANGED);
}

#[test]
fn a_pin_with_limits_is_good_inside_them_and_never_without_trusted_time() {
    let mut world = World::activated();
    let until = world.unix() + 600;
    assert_eq!(world.set_pin(&pin_change(1, 1, b"1111", false, Some(until))), Code::CHANGED);
    assert_eq!(world.set_pin(&pin_change(2, 2, b"2222", false, None)), Code::CHANGED);
    assert_eq!(enter(&mut world, b"1111"), PinResult::Unlocked);
    world.platform.tells_time = false;
    world.clock.no_rtc.set(true);
    world.reset();
    world.run();
    assert_eq!(enter(&mut world, b"1111"), PinResult::Wrong, "no time");
    assert_eq!(enter(&mut world, b"2222"), PinResult::Unlocked);
    world.platform.tells_time = true;
    world.touch();
    assert_eq!(enter(&mut world, b"1111"), PinResult::Unlocked);
    world.wait(601_000);
    assert_eq!(enter(&mut world, b"1111"), PinResult::Wrong, "too late");
}

/// The alarm of the fifth wrong PIN, and a platform that is served all the same.
#[test]
fn five_wrong_pins_close_the_pad_for_ninety_seconds_and_nothing_else() {
    let mut world = World::activated();
    world.set_pin(&pin_change(1, 1, b"1111", false, None));
    world.platform.events.clear();
    for _ in 0..5 {
        assert_eq!(enter(&mut world, b"9999"), PinResult::Wrong);
    }
    assert!(world.told.contains(&AgentEvent::Alarm(Alarm::PinPadClosed)));
    let alarm = world.platform.events.iter().find(|event| event.kind == EventKind::PinLimit).unwrap();
    assert!(alarm.log.is_some());
    world.nvm.reset_count();
    assert_eq!(enter(&mut world, b"1111"), PinResult::Refused(REFUSAL_MS));
    assert_eq!(world.nvm.writes(), [], "a closed pad costs nothing");
    let soon = world.unix() + 50;
    assert_eq!(outcome(&world.command(1, Op::Unlock, Some(soon), None)).outcome, Outcome::Done);
    world.wait(REFUSAL_MS);
    assert_eq!(enter(&mut world, b"1111"), PinResult::Unlocked);
    // Slow mistakes never close it.
    for _ in 0..20 {
        assert_eq!(enter(&mut world, b"9999"), PinResult::Wrong);
        world.wait(WINDOW_MS / 4);
    }
}

#[test]
fn pulling_the_battery_buys_no_attempt() {
    let mut world = World::activated();
    world.set_pin(&pin_change(1, 1, b"1111", false, None));
    for attempt in 0..5 {
        // The power goes as soon as the lock begins to look, before or after the count is in NVM.
        world.nvm.cut_at(1, false);
        world.survives_cut(|world| {
            assert_eq!(world.agent().enter_pin(b"9999"), PinResult::Wrong, "attempt {attempt}");
        });
        world.nvm.no_cut();
        world.reset();
    }
    assert!(matches!(world.agent().enter_pin(b"1111"), PinResult::Refused(_)));
    world.reset();
    assert!(matches!(world.agent().enter_pin(b"1111"), PinResult::Refused(_)), "nor does a reset open it");
    world.wait(REFUSAL_MS);
    assert_eq!(enter(&mut world, b"1111"), PinResult::Unlocked);
}

/// Or the power could be taken between the look and the count, again and again.
#[test]
fn an_attempt_is_counted_before_any_slot_is_looked_at() {
    let mut world = World::activated();
    world.set_pin(&pin_change(1, 1, b"1111", false, None));
    for digits in [b"9999", b"1111"] {
        world.nvm.reset_count();
        world.agent().enter_pin(digits);
        let looked = world.nvm.reads().into_iter().filter(|(slot, _)| matches!(slot, Slot::Pin(_)));
        let writes_before: Vec<_> = looked.map(|(_, writes)| writes).collect();
        assert_eq!(writes_before, [1; 16], "all sixteen slots, after one write");
        assert_eq!(world.nvm.writes()[0], Slot::Ledger);
    }
    // What cannot be counted is not looked at.
    world.nvm.reset_count();
    world.nvm.fail(true);
    assert_eq!(world.agent().enter_pin(b"1111"), PinResult::StorageFailed);
    assert!(!world.nvm.reads().iter().any(|(slot, _)| matches!(slot, Slot::Pin(_))));
}

#[test]
fn a_pin_costs_four_writes_and_a_wrong_one_costs_one() {
    let mut world = World::activated();
    world.nvm.reset_count();
    world.set_pin(&pin_change(1, 1, b"1111", false, None));
    assert_eq!(world.nvm.writes(), [Slot::Ledger, Slot::Pin(1)]);
    world.platform.answers_events = false;
    world.nvm.reset_count();
    enter(&mut world, b"9999");
    assert_eq!(world.nvm.writes(), [Slot::Ledger]);
    world.nvm.reset_count();
    enter(&mut world, b"1111");
    assert_eq!(world.nvm.writes(), [Slot::Ledger, Slot::Ledger, Slot::Log(0), Slot::Ledger]);
}

/// What flash shows of a PIN: nothing but a hash of its own.
#[test]
fn no_pin_stands_in_nvm() {
    let mut world = World::activated();
    world.set_pin(&pin_change(1, 1, b"4711470", false, None));
    enter(&mut world, b"4711470");
    for slot in (0..16).map(Slot::Pin).chain([Slot::Ledger, Slot::Log(0)]) {
        let Some(record) = world.nvm.get(slot) else { continue };
        assert!(!record.windows(7).any(|part| part == b"4711470"), "{slot:?}");
    }
}

/// The power goes at every write of a PIN's way to the bolt: at most one unlock, one line in the log, and the slot stays.
#[test]
fn a_pin_is_carried_out_at_most_once_whatever_the_power_does() {
    let mut cuts = 0;
    for done in [false, true] {
        for at in 0.. {
            let mut world = World::activated();
            world.set_pin(&pin_change(1, 1, b"1111", false, None));
            world.actuator.place(Bolt::Locked);
            world.nvm.cut_at(at, done);
            if !world.survives_cut(|world| {
                enter(world, b"1111");
            }) {
                break;
            }
            cuts += 1;
            let moved = world.drives().len();
            world.reset();
            world.run();
            assert_eq!(world.drives().len(), moved, "cut {at}, done {done}: a reset moved the bolt");
            // Committed is: the second write took effect.
            let committed = at > 1 || (at == 1 && done);
            let page = world.ask("g", Code::GET, &[], None);
            let echo = page.echo.unwrap();
            let page = world.ask("g", Code::GET, &[], Some(&echo));
            let page = LogPage::decode(&page.payload).unwrap();
            let lines: Vec<_> = page.entries().filter(|entry| entry.kind == EventKind::Pin).collect();
            assert_eq!(lines.len(), usize::from(committed), "cut {at}, done {done}");
            if let Some(line) = lines.first() {
                let used = PinUse::from_u32(line.value.unwrap()).unwrap();
                assert_eq!((used.slot, used.failed), (1, moved == 0), "cut {at}, done {done}");
            }
            assert_eq!(enter(&mut world, b"1111"), PinResult::Unlocked, "the slot is not lost");
        }
    }
    assert_eq!(cuts, 8, "four writes, each lost and done");
}

#[test]
fn a_slot_that_was_acknowledged_is_there_and_one_that_was_not_is_old_or_new() {
    for done in [false, true] {
        for at in 0..2 {
            let mut world = World::activated();
            world.set_pin(&pin_change(1, 1, b"1111", false, None));
            let challenge = world.touch();
            let change = pin_change(1, 2, b"2222", false, None);
            let request = world.platform.request("p", Code::POST, &change, Some(&challenge));
            world.nvm.cut_at(at, done);
            assert!(world.survives_cut(|world| {
                world.deliver(&request);
            }));
            world.reset();
            world.run();
            let new = (at, done) == (1, true);
            let (right, wrong) = if new { (b"2222", b"1111") } else { (b"1111", b"2222") };
            assert_eq!(enter(&mut world, wrong), PinResult::Wrong, "cut {at}, done {done}");
            assert_eq!(enter(&mut world, right), PinResult::Unlocked, "cut {at}, done {done}");
            // The platform's retry ends it the same way.
            assert_eq!(world.set_pin(&change), Code::CHANGED);
            assert_eq!(enter(&mut world, b"2222"), PinResult::Unlocked);
        }
    }
}

/// Everything an observer could see: each frame's time, length, header and elided head, each operation on NVM with its
/// length, what the firmware is told, and when the lock next wakes.
fn trace(duress: bool, jammed: bool) -> (Vec<String>, PinUse) {
    let mut world = World::activated();
    // The setting shows nothing either.
    world.air.clear();
    world.nvm.reset_count();
    let mut seen = Vec::new();
    world.set_pin(&pin_change(4, 1, b"4321", duress, None));
    if jammed {
        world.actuator.jam();
    }
    world.platform.events.clear();
    let result = world.agent().enter_pin(b"4321");
    seen.push(format!("{result:?} next {:?}", world.agent().poll_timeout()));
    for _ in 0..40 {
        world.run();
        let next = world.agent().poll_timeout();
        seen.push(format!("at {} next {next:?} dropped {}", world.clock.now(), world.agent().dropped()));
        world.wait(10_000);
    }
    for frame in &world.air {
        // A receipt is a hash; of a sealed frame the elided head is in the clear: flags, number or token.
        let clear = if Datagram::parse(frame).is_ok() { 3 } else { 1 };
        seen.push(format!("frame {} {:02x?}", frame.len(), &frame[..clear]));
    }
    for slot in world.nvm.writes() {
        seen.push(format!("nvm {slot:?} {:?}", world.nvm.get(slot).map(|record| record.len())));
    }
    seen.push(format!("told {:?}", world.told));
    let used = world.platform.events.iter().find(|event| event.kind == EventKind::Pin).unwrap();
    (seen, PinUse::from_u32(used.value.unwrap()).unwrap())
}

#[test]
fn duress_shows_in_nothing_but_the_sealed_event() {
    for jammed in [false, true] {
        let (normal, calm) = trace(false, jammed);
        let (forced, duress) = trace(true, jammed);
        assert_eq!(normal, forced);
        assert!(normal.iter().any(|line| line.starts_with("frame")));
        assert!(normal.iter().any(|line| line.starts_with("nvm")));
        assert_eq!(calm, PinUse { slot: 4, duress: false, failed: jammed });
        assert_eq!(duress, PinUse { slot: 4, duress: true, failed: jammed });
    }
}

#[test]
fn a_pin_is_told_at_once_and_padded() {
    let mut world = World::activated();
    world.set_pin(&pin_change(1, 1, b"1111", false, None));
    world.air.clear();
    enter(&mut world, b"1111");
    let event =
        world.air.iter().find_map(|frame| Datagram::parse(frame).ok().map(|d| (d.class, frame.len())));
    assert_eq!(event, Some((Class::Interactive, 48)));
}
