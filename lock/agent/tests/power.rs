//! The power goes at every single write, before it took effect or after, and comes back.

mod common;

use cardea_agent::Slot;
use cardea_credentials::Signer;
use cardea_oscore::coap::Code;
use cardea_resources::{Bolt, EventKind, LogPage, Op, Outcome};

use common::board::key;
use common::{World, command, outcome};

/// After any cut during activation the lock has no owner or the right one, and gets there by itself.
#[test]
fn activation_is_consistent_at_every_write() {
    let root = key::signer(9).public().thumbprint();
    let mut cuts = 0;
    for done in [false, true] {
        for at in 0.. {
            let mut world = World::new();
            world.nvm.cut_at(at, done);
            let cut = world.survives_cut(|world| {
                world.boot();
                world.run();
            });
            if !cut {
                break;
            }
            cuts += 1;
            world.reset();
            let owner = world.agent().owner();
            assert!(owner.is_none_or(|owner| owner == root), "cut {at}, done {done}");
            if owner.is_none() {
                assert!(world.nvm.get(Slot::Code).is_some(), "an unowned lock can be activated, cut {at}");
            }
            world.live(40 * 60_000);
            assert_eq!(world.agent().owner(), Some(root), "cut {at}, done {done}: {:?}", world.told);
            assert_eq!(world.nvm.get(Slot::Code), None, "cut {at}, done {done}");
            // It works, which also shows that no sequence number came twice: the platform asserts that.
            let challenge = world.touch();
            let first = world.command(1, Op::Unlock, None, Some(&challenge));
            let reply = match first.echo {
                Some(echo) => world.command(1, Op::Unlock, None, Some(&echo)),
                None => first,
            };
            assert_eq!(outcome(&reply).outcome, Outcome::Done, "cut {at}, done {done}");
        }
    }
    // Identity, owner, context, sequence, time, what follows the code and the code's end, each lost and done.
    assert_eq!(cuts, 14);
}

/// After any cut around a command it was carried out at most once, is never carried out again, and its retry gets an
/// answer that agrees with the bolt.
#[test]
fn no_command_is_carried_out_twice() {
    let mut cuts = 0;
    for done in [false, true] {
        for at in 0.. {
            let mut world = World::activated();
            let soon = world.unix() + 100;
            world.actuator.place(Bolt::Locked);
            let unlock = world.platform.request("l", Code::POST, &command(1, Op::Unlock, Some(soon)), None);
            world.nvm.cut_at(at, done);
            let frame = unlock.clone();
            if !world.survives_cut(move |world| {
                world.deliver(&frame);
            }) {
                break;
            }
            cuts += 1;
            let before = world.drives();
            world.reset();
            world.run();
            // The very same frame, as a gateway would repeat it.
            world.platform.replies.clear();
            world.deliver(&unlock);
            assert_eq!(world.drives(), before, "cut {at}, done {done}: a replay moved the bolt");
            // The platform's retry under the same id.
            let mut reply = world.command(1, Op::Unlock, Some(soon), None);
            if let Some(echo) = reply.echo.clone() {
                reply = world.command(1, Op::Unlock, Some(soon), Some(&echo));
            }
            let answer = outcome(&reply);
            let committed = (at, done) != (0, false);
            match (committed, before.len()) {
                // The commit was lost: nothing moved, and the retry is the first execution.
                (false, moved) => {
                    assert_eq!(moved, 0);
                    assert_eq!((answer.outcome, world.drives().len()), (Outcome::Done, 1));
                }
                // Committed, and the power went before the motor ran: given up, never done late.
                (true, 0) => {
                    assert_eq!((answer.outcome, answer.bolt), (Outcome::Failed, Bolt::Locked));
                    assert_eq!(world.drives().len(), 0);
                }
                (true, moved) => {
                    assert_eq!((answer.outcome, answer.bolt), (Outcome::Done, Bolt::Unlocked));
                    assert_eq!((moved, world.drives().len()), (1, 1));
                }
            }
            // However it ended, the log has it, once.
            let page = world.ask("g", Code::GET, &[], None);
            let page = LogPage::decode(&page.payload).unwrap();
            let lines = page.entries().filter(|entry| entry.command == Some([1; 4])).count();
            assert_eq!(lines, 1, "cut {at}, done {done}");
        }
    }
    assert_eq!(cuts, 6, "three writes, each lost and done");
}

/// Hundreds of resets at all kinds of moments, and no sequence number of the lock ever comes twice under one context:
/// the platform asserts it for each message.
#[test]
fn no_sequence_number_is_used_twice() {
    let mut world = World::activated();
    let mut cut = 0;
    for round in 0..300 {
        world.nvm.cut_at(round % 5, round % 2 == 0);
        cut += u32::from(world.survives_cut(|world| {
            world.reset();
            world.run();
            for _ in 0..round % 70 {
                world.touch();
                world.wait(31_000);
            }
            // A 4.01 under a number of the lock's own.
            world.platform.replies.clear();
            let request = world.platform.request("l", Code::POST, &command(1, Op::Unlock, None), None);
            world.deliver(&request);
        }));
        world.nvm.no_cut();
    }
    assert!(cut > 100, "{cut}");
    assert_eq!(world.platform.keys.len(), 1, "one context all along");
    assert!(world.platform.keys[0].seen.len() > 2000, "{}", world.platform.keys[0].seen.len());
}

#[test]
fn a_new_handshake_is_consistent_at_every_write() {
    let mut cuts = 0;
    for done in [false, true] {
        for at in 0.. {
            let mut world = World::activated();
            world.live(16 * 60_000);
            world.nvm.cut_at(at, done);
            let cut = world.survives_cut(|world| {
                let hint = common::platform::datagram(
                    cardea_framing::Kind::PlatformOscore,
                    &[0x40, 0x51, 0x81, 0, 0, 0],
                );
                world.agent().handle_frame(&hint);
                world.run();
            });
            if !cut {
                break;
            }
            cuts += 1;
            world.reset();
            world.run();
            assert!(world.agent().is_connected(), "cut {at}, done {done}");
            // The lock reports under the newest context it has, and the platform knows that one.
            world.platform.events.clear();
            world.touch();
            assert!(world.platform.events.iter().any(|event| event.kind == EventKind::Touch));
            world.live(40 * 60_000);
            assert!(world.agent().is_connected());
        }
    }
    assert_eq!(cuts, 6, "context, sequence, the old context; each lost and done");
}

#[test]
fn damaged_replay_state_costs_the_context_and_nothing_else() {
    let mut world = World::activated();
    let soon = world.unix() + 100;
    world.command(1, Op::Unlock, Some(soon), None);
    world.nvm.put(Slot::Ledger, vec![1, 2, 3]);
    world.reset();
    assert!(!world.agent().is_connected());
    world.live(60_000);
    assert!(world.agent().is_connected());
    assert_eq!(world.platform.keys.len(), 2);
}

#[test]
fn a_damaged_sequence_record_costs_the_context() {
    let mut world = World::activated();
    world.nvm.put(Slot::Sequence(0), vec![1, 2]);
    world.reset();
    assert!(!world.agent().is_connected());
    world.live(60_000);
    assert!(world.agent().is_connected());
}
