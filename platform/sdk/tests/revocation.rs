//! Revocation: from the key that is lost to the lock that says it knows. The lock here is its rules alone (`Intake`),
//! behind a session that was made by hand.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_in_result,
    missing_docs
)]

#[path = "common/paper.rs"]
mod paper;

use cardea_sdk::{Error, PlatformEvent, SqliteState};
use paper::{Paper, holder};

const MINUTE: u64 = 60_000;

fn confirmed(paper: &Paper) -> Vec<u32> {
    let epoch = |event: &PlatformEvent| match event {
        PlatformEvent::ListConfirmed { epoch, .. } => Some(*epoch),
        _ => None,
    };
    paper.events.iter().filter_map(epoch).collect()
}

#[test]
fn a_revoked_key_reaches_the_lock_and_the_lock_says_so() {
    let mut paper = Paper::new();
    let list = paper.revoke(&[holder(1)]);
    assert_eq!((list.list.epoch, list.confirmed().count(), list.waiting().count()), (1, 0, 1));
    paper.live(10_000);
    assert_eq!(paper.revoked, [holder(1)]);
    assert_eq!(confirmed(&paper), [1]);
    assert_eq!(paper.core().revocations().confirmed().count(), 1);
    let (pages, again) = (paper.pages, paper.revoke(&[holder(1)]));
    assert_eq!(again.list.epoch, 1, "it was on the list");
    paper.live(60 * MINUTE);
    assert_eq!(paper.pages, pages, "who has it gets it no more");
    paper.revoke(&[holder(2)]);
    paper.live(10_000);
    assert_eq!((paper.epoch(), paper.revoked.len(), confirmed(&paper)), (2, 2, vec![1, 2]));
}

#[test]
fn a_lock_that_takes_no_lists_is_sent_no_page_however_often_it_is_heard() {
    let mut paper = Paper::new();
    paper.takes_no_lists = true;
    paper.revoke(&[holder(1)]);
    paper.live(60 * MINUTE);
    assert_eq!((paper.pages, confirmed(&paper)), (0, vec![]));
}

#[test]
fn a_long_list_goes_page_by_page_and_survives_a_restart_of_the_platform() {
    let mut paper = Paper::new();
    let keys: Vec<[u8; 32]> = (0..60).map(holder).collect();
    paper.revoke(&keys);
    paper.live(100);
    paper.restart();
    paper.live(5 * MINUTE);
    let mut sorted = keys;
    sorted.sort_unstable();
    assert_eq!((paper.epoch(), &paper.revoked), (1, &sorted));
    assert_eq!(confirmed(&paper), [1]);
}

#[test]
fn a_lock_that_cannot_be_reached_gets_the_list_later_and_pauses_grow() {
    let mut paper = Paper::new();
    paper.online(false);
    paper.revoke(&[holder(1)]);
    paper.live(10 * MINUTE);
    assert_eq!(paper.pages, 0, "no gateway is there");
    paper.deaf = true;
    paper.online(true);
    paper.live(60 * MINUTE);
    assert!((4..=9).contains(&paper.pages), "{} pages in an hour to a lock that hears none", paper.pages);
    let before = paper.pages;
    paper.live(24 * 60 * MINUTE);
    assert!(paper.pages - before <= 8, "{} in the day after", paper.pages - before);
    // It hears again, and says something: that is the moment.
    paper.deaf = false;
    paper.event();
    paper.live(10_000);
    assert_eq!((paper.epoch(), confirmed(&paper)), (1, vec![1]));
}

#[test]
fn a_receipt_is_not_the_lock_s_word() {
    let mut paper = Paper::new();
    paper.forgets = true; // pages arrive, and nothing comes of them
    paper.revoke(&[holder(1)]);
    paper.live(30 * MINUTE);
    assert!(paper.pages > 1, "it is tried again");
    assert_eq!((confirmed(&paper), paper.core().revocations().waiting().count()), (vec![], 1));
    paper.forgets = false;
    paper.live(30 * MINUTE);
    assert_eq!(confirmed(&paper), [1]);
}

#[test]
fn a_lock_that_missed_a_list_asks_and_is_answered_with_its_nonce() {
    let mut paper = Paper::new();
    paper.deaf = true;
    paper.revoke(&[holder(1)]);
    paper.live(MINUTE);
    paper.revoke(&(2..40).map(holder).collect::<Vec<_>>());
    paper.deaf = false;
    paper.asks = true; // a page of a list beyond the next makes it ask
    paper.live(10 * MINUTE);
    assert_eq!((paper.epoch(), paper.revoked.len()), (2, 39));
    assert_eq!(confirmed(&paper), [2]);
}

#[test]
fn questions_are_answered_sparingly_and_others_are_counted() {
    let mut paper = Paper::new();
    paper.forgets = true;
    paper.question(2, 0);
    assert_eq!((paper.pages, paper.core().counters().unanswered), (0, 1), "there is no list yet");
    paper.revoke(&[holder(1)]);
    paper.live(5_000);
    let before = paper.pages;
    for _ in 0..20 {
        paper.question(2, 0);
    }
    assert_eq!((paper.pages - before, paper.core().counters().unanswered), (6, 15));
    for kind in [0, 1, 3, 4] {
        paper.question(kind, 0);
    }
    paper.question(5, 1); // a release has no number
    paper.question(2, 1); // a page that the list does not have
    assert_eq!((paper.pages - before, paper.core().counters().unanswered), (6, 21));
    paper.site_uplink(&[2, 0x48]);
    assert_eq!(paper.core().counters().malformed, 1);
}

#[test]
fn a_grant_is_revoked_by_its_key_and_says_which_others_would_end() {
    let mut paper = Paper::new();
    let (first, second) = (paper.grant(1, 3600), paper.grant(1, 7200));
    let result = paper.attempt(|core, now| core.revoke_grant(now, first.id));
    match result {
        Err(Error::OtherGrants { holder: key, others }) => {
            assert_eq!(key, hex::encode(holder(1)));
            assert!(others.contains(&hex::encode(second.id)), "{others}");
        }
        other => panic!("{:?}", other.map(|_| ())),
    }
    let third = paper.grant(2, 3600);
    let (grant, list) = paper.attempt(|core, now| core.revoke_grant(now, third.id)).unwrap();
    assert_eq!((grant.id, list.list.epoch, list.keys.len()), (third.id, 1, 1));
    assert!(matches!(paper.try_grant(2, 3600), Err(Error::KeyRevoked(_))), "a grant that would open nothing");
    assert!(matches!(paper.attempt(|core, now| core.revoke_grant(now, [9; 8])), Err(Error::NoGrant(_))));
    // A day after its last grant a key need not be named any more.
    paper.live(26 * 60 * MINUTE);
    let list = paper.revoke(&[holder(1)]);
    assert_eq!(list.keys.iter().map(|row| row.thumbprint).collect::<Vec<_>>(), [holder(1)]);
}

#[test]
fn the_first_four_bytes_of_a_grant_s_id_are_another_one_each_time() {
    let mut paper = Paper::new();
    paper.repeat_random(0x77); // and what they were drawn from says the same thing twice
    let first = paper.grant(1, 3600);
    paper.repeat_random(0x77);
    let second = paper.grant(2, 3600);
    assert_eq!(first.id, [0x77; 8]);
    assert_ne!(first.tag(), second.tag());
}

#[test]
fn no_epoch_is_used_twice_after_a_backup_was_put_back() {
    let mut paper = Paper::new();
    let at = |day: u8| 100 + day;
    paper.revoke(&[holder(1)]);
    paper.live(10_000);
    let backup = paper.backup();
    // Nothing but the list changes after the backup: no session is made, no number reserved.
    paper.revoke(&[holder(at(1))]);
    paper.live(10_000);
    assert_eq!((paper.epoch(), paper.revoked.len()), (2, 2));
    paper.put_back(&backup);
    let list = paper.core().revocations().list;
    assert_eq!((list.epoch, list.unsure), (1, true), "the list as it was, and that it may not be the last");
    paper.session(); // the old one is discarded: the lock made another
    paper.status();
    let lost = PlatformEvent::ListLost { lock: paper.lock(), epoch: 2, ours: 1 };
    assert!(paper.events.contains(&lost), "{:?} {:?}", paper.core().counters(), paper.events);
    paper.asks = true;
    let list = paper.revoke(&[holder(at(2))]);
    assert!(u64::from(list.list.epoch) >= paper::DAWN / 1000, "epoch {}", list.list.epoch);
    assert!(list.keys.iter().all(|row| row.until.is_none()), "no key is forgotten any more");
    paper.live(10 * MINUTE);
    assert_eq!(paper.epoch(), list.list.epoch);
    let next = paper.revoke(&[holder(at(3))]);
    assert_eq!(next.list.epoch, list.list.epoch + 1, "one step at a time again");
}

#[test]
fn a_file_of_the_version_before_gets_the_tables() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    drop(SqliteState::create(&path).unwrap());
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(
        "DROP TABLE granted; DROP TABLE revocation; DROP TABLE revoked; DROP TABLE known_list;\n         DROP TABLE pin_book; DROP TABLE pin; DROP TABLE standing; DROP TABLE log_gap; DROP TABLE authority; DROP TABLE lock_site; PRAGMA user_version=2;",
    )
    .unwrap();
    drop(old);
    let mut state = SqliteState::open(&path, false).unwrap();
    assert_eq!(cardea_sdk::GrantState::list(&mut state).unwrap().epoch, 0);
}
