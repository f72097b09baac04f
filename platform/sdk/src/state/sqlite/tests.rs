use std::path::Path;

use cardea_resources::Pin;

use super::{custody::most_ahead, *};
use crate::{PinBook, PinRow, PinStop, PinStore as _, PinTerms, PinWish, Standing, StandingStore as _};

fn context() -> ContextRecord {
    ContextRecord {
        id: 0,
        lock: LockId([1; 8]),
        algorithm: 10,
        secret: Zeroizing::new(vec![2; 16]),
        salt: vec![3; 8],
        own_id: vec![4],
        peer_id: vec![5],
        phase: Phase::Unconfirmed,
        reserved: 0,
        failed_tags: 0,
        created: 6,
        retired: None,
    }
}

#[test]
fn the_replay_set_is_exact_in_any_order() {
    let mut state = SqliteState::in_memory().unwrap();
    let id = state.add_context(&context()).unwrap();
    let other = state.add_context(&context()).unwrap();
    for piv in [5, 0, 2, 1, 1 << 39, 3, 4, 7] {
        assert!(!state.remembers(id, piv).unwrap(), "{piv}");
        assert!(state.remember(id, piv).unwrap(), "{piv}");
        assert!(!state.remember(id, piv).unwrap(), "{piv}");
    }
    assert!(!state.remembers(id, 6).unwrap());
    assert!(!state.remembers(other, 5).unwrap());
    // What lies below the floor costs no row.
    let rows: i64 = state.db.query_row("SELECT count(*) FROM replay", [], |r| r.get(0)).unwrap();
    assert_eq!(rows, 2);
}

#[test]
fn a_reservation_only_rises_and_a_row_number_never_returns() {
    let mut state = SqliteState::in_memory().unwrap();
    let mut record = context();
    record.id = state.add_context(&record).unwrap();
    for (reserved, stored) in [(64, 64), (0, 64), (128, 128)] {
        record.reserved = reserved;
        state.update_context(&record).unwrap();
        assert_eq!(state.contexts().unwrap()[0].reserved, stored);
    }
    let old = record.id;
    state.discard_contexts().unwrap();
    assert!(state.add_context(&record).unwrap() > old);
}

#[test]
fn what_was_not_committed_did_not_happen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let mut state = SqliteState::create(&path).unwrap();
    state.begin().unwrap();
    let id = state.add_context(&context()).unwrap();
    state.commit().unwrap();
    state.begin().unwrap();
    state.remember(id, 1).unwrap();
    drop(state);
    let mut state = SqliteState::open(&path, false).unwrap();
    assert!(!state.remembers(id, 1).unwrap());
    assert_eq!(state.contexts().unwrap().len(), 1);
    drop(state);
    let mut state = SqliteState::open(&path, true).unwrap();
    assert!(state.contexts().unwrap().is_empty(), "restored");
}

#[test]
fn an_older_database_in_the_same_inode_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, backup) = (dir.path().join("state.db"), dir.path().join("backup"));
    let mut state = SqliteState::create(&path).unwrap();
    state.add_context(&context()).unwrap();
    drop(state);
    fs::copy(&path, &backup).unwrap();
    let mut state = SqliteState::open(&path, false).unwrap();
    assert_eq!(state.contexts().unwrap().len(), 1, "an ordinary start keeps them");
    drop(state);
    fs::write(&path, fs::read(&backup).unwrap()).unwrap();
    let mut state = SqliteState::open(&path, false).unwrap();
    assert!(state.contexts().unwrap().is_empty());
    state.add_context(&context()).unwrap();
    drop(state);
    fs::remove_file(path.with_extension("fence")).unwrap();
    assert!(SqliteState::open(&path, false).unwrap().contexts().unwrap().is_empty());
}

#[test]
fn a_damaged_or_newer_file_is_an_error_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    fs::write(&path, [0x55; 8192]).unwrap();
    assert!(matches!(SqliteState::open(&path, false), Err(Error::State(_))));
    assert_eq!(fs::read(&path).unwrap(), [0x55; 8192]);
    let path = dir.path().join("newer.db");
    SqliteState::create(&path).unwrap().db.execute_batch("PRAGMA user_version=99").unwrap();
    assert!(matches!(SqliteState::open(&path, false), Err(Error::State(why)) if why.contains("99")));
}

/// What [`SqliteState::open`] does to the fence, from outside.
fn fence_of(path: &Path) -> Vec<String> {
    fs::read_to_string(path.with_extension("fence")).unwrap().lines().map(Into::into).collect()
}

#[test]
fn a_fence_that_cannot_be_written_costs_the_batch_before_the_commit_and_only_time_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let obstacle = path.with_extension("fence.new");
    let mut state = SqliteState::create(&path).unwrap();
    let before = fence_of(&path);
    assert_eq!(before.len(), 1);

    // Before: the batch is given up, and the database is still the one that is believed.
    fs::create_dir(&obstacle).unwrap();
    state.begin().unwrap();
    state.add_context(&context()).unwrap();
    assert!(matches!(state.commit(), Err(Error::State(why)) if why.contains("state.fence")));
    state.rollback().unwrap();
    assert!(state.contexts().unwrap().is_empty());
    assert_eq!(fence_of(&path), before);
    fs::remove_dir(&obstacle).unwrap();

    // After: the batch is durable, both numbers are admitted, and settling can be tried for ever.
    state.begin().unwrap();
    state.add_context(&context()).unwrap();
    state.commit().unwrap();
    let between = fence_of(&path);
    assert_eq!((between.len(), &between[0]), (2, &before[0]));
    fs::create_dir(&obstacle).unwrap();
    for _ in 0..3 {
        assert!(matches!(state.settle(), Err(Error::State(why)) if why.contains("state.fence")));
    }
    assert_eq!(fence_of(&path), between);
    fs::remove_dir(&obstacle).unwrap();
    for _ in 0..2 {
        state.settle().unwrap();
        assert_eq!(fence_of(&path), between[1..]);
    }

    // The rename fails instead: the same.
    state.begin().unwrap();
    state.add_context(&context()).unwrap();
    state.commit().unwrap();
    let fence = path.with_extension("fence");
    let text = fs::read(&fence).unwrap();
    fs::remove_file(&fence).unwrap();
    fs::create_dir_all(fence.join("in the way")).unwrap();
    assert!(state.settle().is_err());
    fs::remove_dir_all(&fence).unwrap();
    fs::write(&fence, text).unwrap();
    state.settle().unwrap();
    drop(state);
    assert_eq!(SqliteState::open(&path, false).unwrap().contexts().unwrap().len(), 2, "and it is believed");
}

#[test]
fn a_start_after_a_crash_between_commit_and_settling_believes_the_database_and_not_its_past() {
    let dir = tempfile::tempdir().unwrap();
    let (path, past) = (dir.path().join("state.db"), dir.path().join("past"));
    let mut state = SqliteState::create(&path).unwrap();
    state.add_context(&context()).unwrap();
    drop(state);
    fs::copy(&path, &past).unwrap();
    let mut state = SqliteState::open(&path, false).unwrap();
    state.begin().unwrap();
    state.add_context(&context()).unwrap();
    state.commit().unwrap();
    drop(state); // nothing of the batch has left
    let state = SqliteState::open(&path, false);
    assert_eq!(state.unwrap().contexts().unwrap().len(), 2);
    fs::write(&path, fs::read(&past).unwrap()).unwrap();
    assert!(SqliteState::open(&path, false).unwrap().contexts().unwrap().is_empty(), "its past");
}

#[test]
fn a_commit_that_fails_leaves_the_fence_as_it_was_believed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let mut state = SqliteState::create(&path).unwrap();
    let number = fence_of(&path);
    // A constraint that is checked by COMMIT.
    let late = "CREATE TABLE p (id INTEGER PRIMARY KEY);
                CREATE TABLE c (p INTEGER REFERENCES p DEFERRABLE INITIALLY DEFERRED); PRAGMA foreign_keys=ON;";
    state.db.execute_batch(late).unwrap();
    state.begin().unwrap();
    state.add_context(&context()).unwrap();
    state.db.execute("INSERT INTO c VALUES (7)", []).unwrap();
    assert!(state.commit().is_err());
    state.rollback().unwrap();
    state.settle().unwrap();
    assert_eq!(fence_of(&path)[0], number[0], "the number in the database is admitted");
    state.begin().unwrap();
    state.add_context(&context()).unwrap();
    state.commit().unwrap();
    state.settle().unwrap();
    assert_ne!(fence_of(&path), number);
    drop(state);
    assert_eq!(SqliteState::open(&path, false).unwrap().contexts().unwrap().len(), 1);
}

fn entry(index: u32, kind: &str, value: i64) -> LogRow {
    LogRow {
        activation: 1,
        index: Some(index),
        kind: kind.into(),
        value: Some(value),
        at: Some(9),
        received: 1,
        gateway: "g".into(),
    }
}

#[test]
fn another_entry_under_a_taken_index_is_kept_beside_it_and_never_over_it() {
    let mut state = SqliteState::in_memory().unwrap();
    let lock = LockId([1; 8]);
    let kept = entry(5, "bolt", 1);
    assert_eq!(state.add_log(lock, &kept).unwrap(), Stored::New);
    let again = LogRow { received: 2, gateway: "other".into(), ..kept.clone() };
    assert_eq!(state.add_log(lock, &again).unwrap(), Stored::Repeat, "how it came does not matter");
    let differs = Stored::Differs(Box::new(kept.clone()));
    for other in [
        entry(5, "bolt", 0),
        entry(5, "tamper", 1),
        LogRow { at: None, ..kept.clone() },
        LogRow { value: None, ..kept.clone() },
    ] {
        assert_eq!(state.add_log(lock, &other).unwrap(), differs, "{other:?}");
        assert_eq!(state.add_log(lock, &other).unwrap(), Stored::Repeat, "told once");
        assert_eq!(state.forks(lock).unwrap().last(), Some(&other));
    }
    assert_eq!(state.log(lock, 9).unwrap(), std::slice::from_ref(&kept));
    // The same index of another activation, or of another lock, is another entry.
    assert_eq!(state.add_log(lock, &LogRow { activation: 2, ..entry(5, "bolt", 0) }).unwrap(), Stored::New);
    assert_eq!(state.add_log(LockId([2; 8]), &entry(5, "bolt", 0)).unwrap(), Stored::New);
    for value in 0..2 * i64::try_from(crate::MAX_FORKS).unwrap() {
        assert_eq!(state.add_log(lock, &entry(5, "door", value)).unwrap(), differs);
    }
    assert_eq!(state.forks(lock).unwrap().len(), crate::MAX_FORKS);
}

#[test]
fn notes_keep_the_lowest_numbers_and_call_nothing_a_repeat_that_they_do_not_hold() {
    let mut state = SqliteState::in_memory().unwrap();
    let (lock, epoch) = (LockId([1; 8]), [1; 8]);
    let most = crate::MAX_AHEAD as u64;
    state.begin().unwrap();
    for seq in 1_000..1_000 + most {
        assert_eq!(state.note_ahead("g", lock, epoch, seq).unwrap(), Noted::New);
    }
    assert_eq!(state.note_ahead("g", lock, epoch, 1_000).unwrap(), Noted::Known);
    let highest = 1_000 + most - 1;
    for _ in 0..3 {
        assert_eq!(state.note_ahead("g", lock, epoch, highest + 1).unwrap(), Noted::Full);
    }
    assert_eq!(state.note_ahead("g", lock, epoch, 5).unwrap(), Noted::New);
    assert_eq!(state.note_ahead("g", lock, epoch, highest).unwrap(), Noted::Full, "it gave its place to 5");
    assert_eq!(state.note_ahead("g", lock, epoch, u64::MAX).unwrap(), Noted::Full);
    // Another gateway, lock or run has places of its own.
    assert_eq!(state.note_ahead("h", lock, epoch, 5).unwrap(), Noted::New);
    assert_eq!(state.note_ahead("g", LockId([2; 8]), epoch, 5).unwrap(), Noted::New);
    assert_eq!(state.take_ahead("g", lock, epoch, 999).unwrap(), Taken { upto: highest - 1, below: 1 });
    let rows: i64 = state.db.query_row("SELECT count(*) FROM ahead", [], |r| r.get(0)).unwrap();
    assert_eq!(rows, 2);
}

/// The tables of version 1, as that program made them.
const VERSION_1: &str = include_str!("version_1.sql");
/// What version 2 made of them.
const VERSION_2: &str = include_str!("version_2.sql");

#[test]
fn a_file_of_version_1_is_brought_to_today_and_keeps_what_counts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(VERSION_1).unwrap();
    let (ours, theirs) = (LockId([1; 8]), LockId([2; 8]));
    let lock = "INSERT INTO lock VALUES (?1, NULL, NULL, NULL, 2, 1, 7)";
    old.execute(lock, [ours.0]).unwrap();
    old.execute("INSERT INTO meta VALUES ('fence', 77), ('inode', ?1)", [inode(&path).unwrap()]).unwrap();
    fs::write(path.with_extension("fence"), format!("{:016x}\n", 77)).unwrap();
    let (epoch, other) = ([1_u8; 8], [9_u8; 8]);
    for (gateway, lock, seq) in [("g", ours, 5_i64), ("g", theirs, 3), ("h", ours, 2)] {
        old.execute("INSERT INTO seen VALUES (?1, ?2, ?3, ?4)", params![gateway, lock.0, epoch, seq])
            .unwrap();
    }
    let ahead = |gateway: &str, lock: LockId, epoch: [u8; 8], seq: i64| {
        old.execute("INSERT INTO ahead VALUES (?1, ?2, ?3, ?4)", params![gateway, lock.0, epoch, seq])
            .unwrap();
    };
    old.execute_batch("BEGIN").unwrap();
    ahead("g", theirs, epoch, 8); // not ours
    ahead("g", ours, other, 8); // of an earlier run
    ahead("g", ours, epoch, 4); // below what is seen
    for seq in 7..7 + 2 * most_ahead() {
        ahead("g", ours, epoch, seq);
    }
    old.execute_batch("COMMIT").unwrap();
    let event = "INSERT INTO log (lock, activation, number, kind, value, at, received, gateway)
                 VALUES (?1, 1, 6, 'bolt', 1, 9, 1, 'g')";
    old.execute(event, [ours.0]).unwrap();
    let context =
        "INSERT INTO context (lock, algorithm, secret, salt, own_id, peer_id, phase, reserved, failed_tags,
                                        created, replay_floor)
                   VALUES (?1, 10, ?2, ?3, x'01', x'02', 1, 64, 0, 6, 12)";
    old.execute(context, params![ours.0, [2_u8; 16], [3_u8; 8]]).unwrap();
    drop(old);

    let mut state = SqliteState::open(&path, false).unwrap();
    assert_eq!(schema::version(&state.db).unwrap(), schema::SCHEMA);
    assert_eq!(state.contexts().unwrap().len(), 1, "sessions stay");
    assert!(state.remembers(1, 11).unwrap() && !state.remembers(1, 12).unwrap(), "with their replay sets");
    assert_eq!(state.locks().unwrap()[0].cursor, Some(7));
    assert_eq!(state.add_log(ours, &entry(6, "bolt", 1)).unwrap(), Stored::Repeat);
    assert!(matches!(state.add_log(ours, &entry(6, "bolt", 0)).unwrap(), Stored::Differs(_)));
    let row = state.seen("g", ours).unwrap().unwrap();
    assert_eq!((row.epoch, row.seq), (epoch, 5));
    assert!(row.at > 1_700_000_000_000, "it counts from now on");
    assert_eq!(state.seen("g", theirs).unwrap(), None);
    assert_eq!(state.seen("h", ours).unwrap().unwrap().seq, 2);
    let notes: (i64, i64, i64) = state
        .db
        .query_row("SELECT count(*), min(seq), max(seq) FROM ahead", [], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?))
        })
        .unwrap();
    assert_eq!(notes, (most_ahead(), 7, 6 + most_ahead()));
    // Opened again it is an ordinary file; and a new one has the same tables.
    drop(state);
    let tables = |state: &SqliteState| -> Vec<String> {
        let sql = "SELECT name || coalesce((SELECT group_concat(name) FROM pragma_table_info(s.name)), '')
                   FROM sqlite_schema AS s ORDER BY name";
        let mut query = state.db.prepare(sql).unwrap();
        let rows = query.query_map([], |r| r.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    let again = SqliteState::open(&path, false).unwrap();
    assert_eq!(tables(&again), tables(&SqliteState::create(&dir.path().join("new.db")).unwrap()));
}

#[test]
fn a_file_of_version_2_gets_todays_tables_and_what_its_locks_have_pinned() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(VERSION_1).unwrap();
    old.execute_batch(VERSION_2).unwrap();
    let (owned, enrolled) = (LockId([1; 8]), LockId([2; 8]));
    for (lock, stage) in [(owned, 2), (enrolled, 0)] {
        old.execute("INSERT INTO lock VALUES (?1, NULL, NULL, NULL, ?2, 1, 7)", params![lock.0, stage])
            .unwrap();
    }
    old.execute("INSERT INTO meta VALUES ('fence', 77), ('inode', ?1)", [inode(&path).unwrap()]).unwrap();
    fs::write(path.with_extension("fence"), format!("{:016x}\n", 77)).unwrap();
    drop(old);

    let mut state = SqliteState::open(&path, false).unwrap();
    assert_eq!(schema::version(&state.db).unwrap(), schema::SCHEMA);
    assert_eq!(state.locks().unwrap().len(), 2);
    let known = Standing { certificate: Some(1), ..Standing::default() };
    assert_eq!(state.standings().unwrap(), [(owned, known)]);
    assert!(state.pins(owned).unwrap().is_empty() && state.pins_waiting().unwrap().is_empty());
    assert_eq!(state.pin_book(owned).unwrap(), PinBook::default());
    drop(state);
    assert_eq!(SqliteState::open(&path, false).unwrap().standings().unwrap().len(), 1, "and once");
}

#[test]
fn pins_survive_a_restart_and_a_restored_state_stops_those_that_wait() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let lock = LockId([1; 8]);
    let terms = PinTerms { duress: true, not_before: Some(5), not_after: None };
    let row = |slot, confirmed: Option<u64>| PinRow {
        slot,
        wish: PinWish::Set(terms),
        asked: 7,
        revision: Some(3),
        pin: confirmed.is_none().then(|| Pin::new(b"0012").unwrap()),
        confirmed,
        stopped: None,
        reported: Some(3),
        reported_at: Some(9),
    };
    let mut state = SqliteState::create(&path).unwrap();
    state.begin().unwrap();
    state.put_pin(lock, &row(4, None)).unwrap();
    state.put_pin(lock, &row(2, Some(8))).unwrap();
    state.put_pin_book(lock, &PinBook { capacity: Some(16), highest: 3, listed: Some(9) }).unwrap();
    state.commit().unwrap();
    drop(state);
    let mut state = SqliteState::open(&path, false).unwrap();
    let rows = state.pins(lock).unwrap();
    assert_eq!(rows.iter().map(|row| (row.slot, row.waits())).collect::<Vec<_>>(), [(2, false), (4, true)]);
    assert!(rows.iter().all(|row| row.wish == PinWish::Set(terms) && row.revision == Some(3)));
    assert_eq!(rows[1].pin.as_ref().unwrap().digits(), b"0012", "leading zeros");
    assert_eq!(state.pins_waiting().unwrap(), [lock]);
    drop(state);
    let mut state = SqliteState::open(&path, true).unwrap();
    let rows = state.pins(lock).unwrap();
    assert_eq!((rows[0].stopped, rows[1].stopped), (None, Some(PinStop::Restored)));
    assert!(rows[1].pin.is_none());
    assert_eq!(state.pin_book(lock).unwrap(), PinBook { capacity: Some(16), highest: 3, listed: None });
    assert_eq!(state.pins_waiting().unwrap(), [lock], "to be listed");
}

#[test]
fn an_upgrade_that_fails_half_way_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(VERSION_1).unwrap();
    // Its last step will find this in its way.
    old.execute_batch("CREATE TABLE fork (id INTEGER); INSERT INTO seen VALUES ('g', x'01', x'02', 3)")
        .unwrap();
    drop(old);
    assert!(matches!(SqliteState::open(&path, false), Err(Error::State(why)) if why.contains("state.db")));
    let old = Connection::open(&path).unwrap();
    assert_eq!(schema::version(&old).unwrap(), 1);
    let columns: i64 =
        old.query_row("SELECT count(*) FROM pragma_table_info('seen')", [], |r| r.get(0)).unwrap();
    let rows: i64 = old.query_row("SELECT count(*) FROM seen", [], |r| r.get(0)).unwrap();
    assert_eq!((columns, rows), (4, 1));
}
