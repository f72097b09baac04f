//! Files that a bad disk, a cut-short copy or a careless hand left behind: the error names the file and says what to
//! do, nothing is made anew over what is lost, and what can go on without loss goes on.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail by panicking

mod common;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use cardea_sdk::{Ask, Error, Platform, SqliteState};
use common::{World, listening};

/// One way to spoil a file.
type Damage = (&'static str, fn(&Path));

const GONE: Damage = ("missing", |path| fs::remove_file(path).unwrap());
const EMPTY: Damage = ("empty", |path| fs::write(path, b"").unwrap());
const GARBAGE: Damage = ("garbage", |path| {
    let length = fs::metadata(path).unwrap().len();
    fs::write(path, vec![0xA5; usize::try_from(length).unwrap()]).unwrap();
});
const CUT: Damage = ("cut in half", |path| {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
});
const LONG: Damage = ("too long", |path| {
    let mut bytes = fs::read(path).unwrap();
    bytes.extend_from_slice(&[0; 100_000]);
    fs::write(path, bytes).unwrap();
});
const FOLDER: Damage = ("a folder", |path| {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
});

fn initialised() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    Platform::init(dir.path()).unwrap();
    dir
}

/// Every file with its content; folders by name.
fn files(dir: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut all: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .map(|p| (p.clone(), fs::read(p).ok()))
        .collect();
    // What an attempt to open may leave: the mark of one process at a time, and SQLite's own.
    all.retain(|(path, _)| {
        !["in-use", "state.db-wal", "state.db-shm"].iter().any(|name| path.ends_with(name))
    });
    all.sort();
    all
}

fn refused(dir: &Path) -> String {
    let before = files(dir);
    let error = match Platform::open(dir) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it opens"),
    };
    assert!(files(dir) == before, "something was changed: {error}");
    error
}

/// And has let go of everything when this returns.
fn opens(dir: &Path) {
    drop(Platform::open(dir).unwrap());
    // Its thread ends a moment after its last handle.
    fs::File::open(dir.join("in-use")).unwrap().lock().unwrap();
}

#[test]
fn a_state_that_is_lost_or_damaged_is_named_and_stays_as_it_is() {
    for (what, damage) in [GONE, EMPTY, GARBAGE, CUT, FOLDER] {
        let dir = initialised();
        damage(&dir.path().join(Platform::STATE_FILE));
        let error = refused(dir.path());
        assert!(error.contains("state.db"), "{what}: {error}");
        let words = match what {
            "missing" | "empty" => "missing or empty",
            "a folder" => "not a file",
            _ => "from a backup",
        };
        assert!(error.contains(words), "{what}: {error}");
    }
}

#[test]
fn a_damaged_page_in_the_middle_of_the_state_is_found_before_anything_is_used() {
    let dir = initialised();
    let path = dir.path().join(Platform::STATE_FILE);
    let mut bytes = fs::read(&path).unwrap();
    assert!(bytes.len() >= 3 * 4096);
    bytes[4096..8192].fill(0xA5);
    fs::write(&path, &bytes).unwrap();
    let error = refused(dir.path());
    assert!(error.contains("state.db") && error.contains("from a backup"), "{error}");
}

#[test]
fn an_empty_state_is_made_again_only_by_who_asks_for_it() {
    let dir = initialised();
    let path = dir.path().join(Platform::STATE_FILE);
    fs::remove_file(&path).unwrap();
    let error = refused(dir.path());
    assert!(error.contains("init --state-only"), "{error}");
    Platform::init_state(dir.path()).unwrap();
    opens(dir.path());
    // What somebody else's program left under that name is not taken for a state either.
    fs::remove_file(&path).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (id INTEGER)").unwrap();
    let error = refused(dir.path());
    assert!(error.contains("state.db") && error.contains("no platform's state"), "{error}");
}

#[test]
fn without_a_sound_fence_sessions_are_discarded_and_locks_are_not() {
    let wrong: Damage = ("of another time", |path| fs::write(path, "0000000000000001\n").unwrap());
    let binary: Damage = ("not text", |path| fs::write(path, [0xFF; 64]).unwrap());
    for (what, damage) in [GONE, EMPTY, GARBAGE, CUT, LONG, wrong, binary] {
        let mut world = World::activated(listening());
        world.core = None;
        damage(&world.dir.path().join("state.fence"));
        world.restart();
        let summary = world.core.as_ref().unwrap().summaries().remove(0);
        // A fence with something behind it is still the fence.
        assert_eq!(summary.session, what == "too long", "{what}");
        assert!(summary.thumbprint.is_some(), "{what}");
        // Whole again afterwards.
        world.core = None;
        world.restart();
        if what == "too long" {
            let id = world.ask(Ask::Status, 5_000);
            world.run();
            assert!(world.outcome(id).unwrap().is_success());
        }
    }
}

#[test]
fn a_fence_that_cannot_be_read_stops_the_start_and_one_that_others_may_write_is_replaced() {
    let dir = initialised();
    let fence = dir.path().join("state.fence");
    fs::set_permissions(&fence, fs::Permissions::from_mode(0o666)).unwrap();
    drop(SqliteState::open(&dir.path().join("state.db"), false).unwrap());
    assert_eq!(fs::metadata(&fence).unwrap().permissions().mode() & 0o777, 0o600);
    FOLDER.1(&fence);
    let error = refused(dir.path());
    assert!(error.contains("state.fence"), "{error}");
}

#[test]
fn a_key_that_is_lost_damaged_or_open_to_others_is_named_and_never_made_anew() {
    let zeros: Damage = ("zeros", |path| fs::write(path, [0; 32]).unwrap());
    let other: Damage = ("another key", |path| fs::write(path, [7; 32]).unwrap());
    let open: Damage = ("open", |path| fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap());
    for name in ["platform-dh.key", "platform-sign.key"] {
        for (what, damage) in [GONE, EMPTY, GARBAGE, CUT, LONG, FOLDER, zeros, other, open] {
            let dir = initialised();
            damage(&dir.path().join(name));
            let error = refused(dir.path());
            assert!(error.contains(name), "{name} {what}: {error}");
            let advice = match what {
                "open" => "chmod 600",
                "a folder" => "directory",
                _ => "from",
            };
            assert!(error.contains(advice), "{name} {what}: {error}");
            let again = Platform::init(dir.path());
            assert!(matches!(again, Err(Error::AlreadyInitialised(_))), "{name} {what}");
        }
    }
    // The owner root is not needed here, and better elsewhere.
    let dir = initialised();
    fs::remove_file(dir.path().join("owner-root.key")).unwrap();
    opens(dir.path());
}

#[test]
fn a_certificate_that_is_lost_or_damaged_is_named_and_no_new_platform_takes_its_place() {
    let flipped: Damage = ("one bit", |path| {
        let mut bytes = fs::read(path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(path, bytes).unwrap();
    });
    for (what, damage) in [GONE, EMPTY, GARBAGE, CUT, LONG, FOLDER, flipped] {
        let dir = initialised();
        damage(&dir.path().join("platform.cwt"));
        let error = refused(dir.path());
        assert!(error.contains("platform.cwt"), "{what}: {error}");
        assert!(what == "a folder" || error.contains("from a backup"), "{what}: {error}");
        assert!(matches!(Platform::init(dir.path()), Err(Error::AlreadyInitialised(_))), "{what}");
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(Platform::open(empty.path()), Err(Error::NotInitialised(_))));
}
