//! The C lock of `lock/ffi/examples`, compiled by gcc, on a pipe to a gateway's link and the real platform core: once
//! as it is, once under the address and undefined-behaviour sanitizers, once under valgrind. And all that C can do wrong,
//! and the header.
//!
//! The sanitizers watch the C code and every byte it exchanges with the library; the library's own Rust is linked as
//! it is shipped, without instrumentation. Valgrind watches both.

mod door;
mod header;
mod world;

use std::{
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use cardea_sdk::{Ask, Bolt, Outcome, PlatformEvent};
use cardea_tests::program;
use world::{Lock, World};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

const SANITIZERS: &[&str] =
    &["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"];
const VALGRIND: &[&str] = &[
    "valgrind",
    "--quiet",
    "--error-exitcode=99",
    "--leak-check=full",
    "--show-leak-kinds=all",
    "--errors-for-leak-kinds=all",
];

/// Compiles the C lock with these further options.
fn compile(dir: &Path, options: &[&str]) -> PathBuf {
    compile_file("lock/ffi/examples/lock.c", dir, options)
}

fn compile_file(source: &str, dir: &Path, options: &[&str]) -> PathBuf {
    let lock = dir.join("lock");
    let done = Command::new("gcc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1", "-g"])
        .args(options)
        .arg("-I")
        .arg(workspace().join("lock/ffi/include"))
        .arg(workspace().join(source))
        .arg(program("libcardea_ffi.a"))
        .arg("-o")
        .arg(&lock)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    lock
}

fn unlocked(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Done { bolt: Bolt::Unlocked, .. })
}

/// Activation, status, one unlock, all of it replayed, a power cut, and again.
fn whole_story(command: &[&str], dir: &Path) {
    let mut world = World::new(Lock::start(command, dir));
    world.activate();

    let status = world.ask(Ask::Status);
    let Outcome::Status { bolt: Bolt::Locked, battery: 83, firmware, .. } = &status else {
        panic!("{status}")
    };
    assert_eq!(firmware, "1.0.0");
    let outcome = world.ask(Ask::Unlock);
    assert!(unlocked(&outcome), "{outcome}");
    assert_eq!(world.lock.count("the motor runs"), 1);

    // Everything that was ever said to this lock, again, past the link's memory of repeats.
    let replays = world.other.downs.clone();
    assert!(replays.len() >= 4, "{}", replays.len());
    replays.into_iter().for_each(|datagram| world.other.down(datagram));
    world.run_until("the replays are out", |world| world.other.nothing_waits().then_some(()));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.lock.count("the motor runs"), 1, "a replay moved the bolt");

    // A hand on the lock: its challenge opens the next command's way.
    world.lock.send(&[]);
    let touched = |e: &PlatformEvent| matches!(e, PlatformEvent::Lock { kind, .. } if kind == "touch");
    world.run_until("a touch", |world| world.other.events.iter().any(touched).then_some(()));

    // Power cuts: SIGKILL while it says hello, and at moments of the boot after.
    let owner = world.lock.label("activated by root");
    for moment in [0, 3, 10, 30, 100] {
        world.lock.kill();
        world.lock = Lock::start(command, dir);
        thread::sleep(Duration::from_millis(moment));
    }
    world.lock.kill();
    world.power(Lock::start(command, dir));
    assert_eq!(world.lock.label("owner"), owner, "it remembers its owner");
    let activations = |world: &World| {
        world.other.events.iter().filter(|e| matches!(e, PlatformEvent::Activated { .. })).count()
    };
    let before = activations(&world);
    let outcome = world.ask(Ask::Unlock);
    assert!(unlocked(&outcome), "{outcome}");
    assert_eq!(world.lock.count("the motor runs"), 2);
    assert_eq!(activations(&world), before, "nobody activated it anew");
    world.lock.switch_off();
}

#[test]
fn the_c_lock_is_activated_and_obeys_its_platform_and_keeps_its_owner_through_a_power_cut() {
    let dir = tempfile::tempdir().unwrap();
    let lock = compile(dir.path(), &[]);
    whole_story(&[lock.to_str().unwrap()], dir.path());
}

#[test]
fn the_c_lock_lives_the_same_story_under_the_sanitizers() {
    let dir = tempfile::tempdir().unwrap();
    let lock = compile(dir.path(), SANITIZERS);
    whole_story(&[lock.to_str().unwrap()], dir.path());
}

#[test]
fn activation_and_an_unlock_of_the_c_lock_are_clean_under_valgrind() {
    let dir = tempfile::tempdir().unwrap();
    let lock = compile(dir.path(), &[]);
    let valgrind = [VALGRIND, &[lock.to_str().unwrap()]].concat();
    let mut world = World::new(Lock::start(&valgrind, dir.path()));
    world.activate();
    let outcome = world.ask(Ask::Unlock);
    assert!(unlocked(&outcome), "{outcome}");
    world.lock.switch_off();
}

/// `lock/ffi/tests/calls.c`: what C can get wrong about each call, as it is, under the sanitizers and under valgrind.
#[test]
fn wrong_arguments_of_every_call_are_answered_in_c() {
    for (options, under) in [(&[][..], &[][..]), (SANITIZERS, &[]), (&[], VALGRIND)] {
        let dir = tempfile::tempdir().unwrap();
        let calls = compile_file("lock/ffi/tests/calls.c", dir.path(), options);
        let command = [under, &[calls.to_str().unwrap()]].concat();
        let done = Command::new(command[0]).args(&command[1..]).output().unwrap();
        let told =
            String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && told.ends_with("checks hold\n"), "{command:?}: {told}");
    }
}
