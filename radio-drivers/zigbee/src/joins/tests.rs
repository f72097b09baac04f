//! Two at the door of a network that is open for one of them.

use super::*;

const FIRST: Eui64 = Eui64([1; 8]);
const SECOND: Eui64 = Eui64([2; 8]);

fn code() -> InstallCode {
    // Of the Zigbee specification's example: sixteen bytes and their CRC.
    InstallCode::new(&[
        0x83, 0xFE, 0xD3, 0x40, 0x7A, 0x93, 0x97, 0x23, 0xA5, 0xC6, 0x39, 0xB2, 0x69, 0x16, 0xD5, 0x05, 0xC3,
        0xB5,
    ])
    .unwrap()
}

/// Tells the dongle all that it is to be told, and has it agree.
fn settle(joins: &mut Joins, now: Millis) {
    joins.progress(now);
    while let Some(want) = joins.want() {
        joins.told(now, &want);
        if let Want::AddCode(eui, _) = want {
            joins.code_added(eui, None);
        }
        joins.progress(now);
    }
}

fn failures(joins: &mut Joins) -> Vec<(Eui64, JoinFailure)> {
    std::iter::from_fn(|| joins.poll_event())
        .filter_map(|event| match event {
            Event::JoinFailed { eui, reason } => Some((eui, reason)),
            _ => None,
        })
        .collect()
}

/// Open for the first; the second is at the door, and is admitted while its try fails.
fn too_soon() -> Joins {
    let mut joins = Joins::default();
    joins.admit(0, true, FIRST, code(), 254);
    settle(&mut joins, 0);
    joins.began(10, SECOND);
    joins.admit(15, true, SECOND, code(), 254);
    settle(&mut joins, 20);
    joins
}

#[test]
fn one_that_came_before_its_code_keeps_its_admission_when_it_is_refused() {
    let mut joins = too_soon();
    joins.refused(SECOND, JoinFailure::Keys);
    settle(&mut joins, 3_000);
    assert_eq!(failures(&mut joins), vec![]);
    joins.began(4_000, SECOND);
    joins.refused(SECOND, JoinFailure::Keys);
    assert_eq!(failures(&mut joins), vec![(SECOND, JoinFailure::Keys)], "now its code was there");
}

#[test]
fn one_that_came_before_its_code_keeps_its_admission_when_nothing_becomes_of_it() {
    let mut joins = too_soon();
    assert!(joins.give_up(10 + JOINING_MS).is_some());
    settle(&mut joins, 10 + JOINING_MS);
    assert_eq!(failures(&mut joins), vec![]);
    joins.began(50_000, SECOND);
    assert!(joins.give_up(50_000 + JOINING_MS).is_some());
    assert_eq!(failures(&mut joins), vec![(SECOND, JoinFailure::Keys)]);
}

#[test]
fn one_that_came_before_its_code_while_another_was_joining_keeps_its_admission() {
    let mut joins = Joins::default();
    joins.admit(0, true, FIRST, code(), 254);
    settle(&mut joins, 0);
    joins.began(10, FIRST);
    joins.began(11, SECOND);
    joins.admit(15, true, SECOND, code(), 254);
    settle(&mut joins, 20);
    joins.joined(FIRST, false);
    joins.refused(SECOND, JoinFailure::Keys);
    assert_eq!(failures(&mut joins), vec![]);
}

#[test]
fn one_that_nobody_admitted_is_told_of() {
    let mut joins = Joins::default();
    joins.admit(0, true, FIRST, code(), 254);
    settle(&mut joins, 0);
    joins.began(10, SECOND);
    joins.refused(SECOND, JoinFailure::Keys);
    assert_eq!(failures(&mut joins), vec![(SECOND, JoinFailure::Keys)]);
}
