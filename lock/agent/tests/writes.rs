//! The table of NVM writes in docs/lock-agent.md, row by row, against what the agent writes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // helpers fail by panicking

mod common;

use cardea_agent::{Door, LIST_PAGES, Slot};
use cardea_credentials::{
    Agreement as _, Release, Releaser, Signer, SiteKind, SiteMessage, issue_membership,
};
use cardea_framing::Kind;
use cardea_oscore::coap::Code;
use cardea_resources::{LogRequest, Op, SiteSetting};

use common::board::key;
use common::phone::Phone;
use common::platform::datagram;
use common::site::{addition, authority, authority_cwt, list, strangers};
use common::{World, command, config, pin_change};

const DOCUMENT: &str = include_str!("../../../docs/lock-agent.md");

/// Action and writes of each row.
fn rows() -> Vec<(&'static str, &'static str)> {
    let table = DOCUMENT.split("| action | writes, in order |\n|---|---|\n").nth(1).expect("the table");
    table
        .lines()
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split_once(" | ").expect("two columns"))
        .map(|(action, writes)| (action.trim(), writes.trim()))
        .collect()
}

/// What stands in backquotes.
fn slots(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn written(world: &World) -> Vec<String> {
    let name = |slot: Slot| format!("{slot:?}").split('(').next().unwrap_or_default().to_owned();
    world.nvm.writes().into_iter().map(name).collect()
}

/// What `act` writes.
fn by(world: &mut World, act: impl FnOnce(&mut World)) -> Vec<String> {
    world.nvm.reset_count();
    act(world);
    world.run();
    written(world)
}

fn activated() -> World {
    let mut world = World::activated();
    assert_eq!(world.set_pin(&pin_change(1, 1, b"112233", false, None)), Code::CHANGED);
    // Events say nothing of cursors but where a test wants it.
    world.platform.cursor = None;
    world
}

fn cursor(to: u32) -> Vec<u8> {
    let mut out = [0; LogRequest::MAX_LEN];
    let len = LogRequest { cursor: Some(to), limit: None }.encode(&mut out).unwrap();
    out[..len].to_vec()
}

fn enter(world: &mut World, digits: &[u8]) {
    let _ = world.agent().enter_pin(digits);
}

/// What a page writes.
fn handed(world: &mut World, page: &[u8]) -> Vec<String> {
    world.wait(20_000);
    by(world, |world| assert!(world.hand(SiteKind::Revocations, None, page)))
}

fn unlock(world: &mut World, id: u8) {
    let soon = Some(world.unix() + 100);
    world.command(id, Op::Unlock, soon, None);
}

#[test]
fn every_row_of_the_document_is_what_the_agent_writes() {
    let rows = rows();
    assert_eq!(rows.len(), 18, "a row without a test, or the other way round");
    let none = Vec::<String>::new();
    for (action, text) in rows {
        let mut world = activated();
        let expected = slots(text);
        match action {
            "command carried out" => assert_eq!(by(&mut world, |world| unlock(world, 1)), expected),
            "the same by a grant for one use" => {
                let mut phone = Phone::with(&world, 9, |terms| terms.single_use = true);
                assert!(phone.connect(&mut world));
                let found = by(&mut world, |world| {
                    phone.ask(world, "l", Code::POST, &command(1, Op::Unlock, None), None).unwrap();
                });
                assert_eq!(found, [&expected[..], &["Ledger", "Log", "Ledger"].map(str::to_owned)].concat());
            }
            "right PIN" => {
                assert_eq!(by(&mut world, |world| enter(world, b"112233")), expected);
            }
            "wrong PIN" => {
                for n in 1..=5 {
                    let found = by(&mut world, |world| enter(world, b"99999"));
                    assert_eq!(found, expected[..if n < 5 { 1 } else { 2 }]);
                }
                assert_eq!(by(&mut world, |world| enter(world, b"112233")), none, "closed");
            }
            "PIN set or cleared" => {
                for (revision, digits) in [(2, &b"445566"[..]), (3, b"")] {
                    let payload = pin_change(2, revision, digits, false, None);
                    assert_eq!(
                        by(&mut world, |world| assert_eq!(world.set_pin(&payload), Code::CHANGED)),
                        expected
                    );
                }
            }
            "door, tamper, bolt by hand, battery low" => {
                assert_eq!(by(&mut world, |world| world.agent().door_moved(Door::Open)), expected);
                assert_eq!(by(&mut world, |world| world.agent().tampered()), expected);
                assert_eq!(by(&mut world, |world| world.agent().bolt_moved()), expected);
                world.actuator.set_battery(5);
                assert_eq!(by(&mut world, |world| world.agent().battery_measured()), expected);
                assert_eq!(by(&mut world, |world| world.agent().battery_measured()), none, "once");
            }
            "retry, refusal, status, battery, reading the log" => {
                unlock(&mut world, 1);
                assert_eq!(by(&mut world, |world| unlock(world, 1)), none);
                let late = Some(world.unix() - 100);
                assert_eq!(by(&mut world, |world| drop(world.command(2, Op::Lock, late, None))), none);
                for path in ["s", "b", "g"] {
                    assert_eq!(by(&mut world, |world| drop(world.ask(path, Code::GET, &[], None))), none);
                }
                assert_eq!(expected, none);
            }
            "log cursor by `POST g`" => {
                let found = by(&mut world, |world| drop(world.ask("g", Code::POST, &cursor(0), None)));
                assert_eq!(found, ["Ledger"], "nothing to erase");
                unlock(&mut world, 1);
                let found = by(&mut world, |world| drop(world.ask("g", Code::POST, &cursor(1), None)));
                assert_eq!(found, expected);
            }
            "log cursor in the answer to an event" => {
                unlock(&mut world, 1);
                world.platform.cursor = Some(1);
                assert_eq!(by(&mut world, |world| assert_eq!(world.touch().len(), 4)), expected);
            }
            "event, 4.01" => {
                let mut reserved = 0;
                for _ in 0..128 {
                    let found = by(&mut world, |world| {
                        world.touch();
                        world.wait(31_000);
                    });
                    let found: Vec<_> = found.into_iter().filter(|slot| slot != "Time").collect();
                    assert!(found == none || found == expected, "{found:?}");
                    reserved += usize::from(found == expected);
                }
                assert_eq!(reserved, 2, "{text}");
            }
            "activation" => {
                let mut world = World::with(config());
                world.boot();
                world.nvm.reset_count();
                world.run();
                assert_eq!(written(&world), expected);
            }
            "owner reset" => {
                world.agent().door_moved(Door::Open);
                world.run();
                let nonce = world.agent().inside_button_held().unwrap();
                world.run();
                let release = Release {
                    lock: key::signer(1).public().thumbprint(),
                    root: key::signer(9).public().thumbprint(),
                    at: 0,
                    nonce,
                    by: Releaser::OwnerRoot,
                    to: None,
                };
                let (mut signed, mut body) = ([0; 256], [0; 256]);
                let len = release.sign(&key::signer(9), &mut signed).unwrap();
                let message =
                    SiteMessage { kind: SiteKind::Release, nonce: Some(nonce), signed: &signed[..len] };
                let len = message.encode(&mut body).unwrap();
                let found = by(&mut world, |world| world.give(&datagram(Kind::Site, &body[..len])));
                let all: Vec<_> =
                    found.iter().filter(|slot| !matches!(&slot[..], "Reset" | "Code" | "LogMeta")).collect();
                // A medium without `erase_all` of its own erases one slot after the other.
                assert_eq!(all.len(), Slot::COUNT - 4);
                let named: Vec<_> = found.iter().filter(|slot| !all.contains(slot)).cloned().collect();
                let expected: Vec<_> = expected.into_iter().filter(|slot| slot != "Identity").collect();
                assert_eq!(named, expected);
            }
            "page of a list" => {
                let pages = list(1, &strangers(0..30));
                let found: Vec<_> = pages.iter().map(|page| handed(&mut world, page)).collect();
                assert_eq!(found, [vec!["Revoked".to_owned()], expected]);
            }
            "page 0 of a list that is too long" => {
                let pages = list(1, &strangers(0..24 * u16::from(LIST_PAGES) + 1));
                assert_eq!(handed(&mut world, &pages[0]), expected);
                let shorter = list(1, &strangers(1..24 * u16::from(LIST_PAGES) + 2));
                assert_eq!(handed(&mut world, &shorter[0]), none, "once");
            }
            "addition" => {
                let mut world = World::in_site();
                let mut add = |counter: u32, keys| {
                    let signed = addition(1, counter, &strangers(keys));
                    world.wait(60_000);
                    by(&mut world, |world| assert!(world.hand(SiteKind::SiteRevocations, None, &signed)))
                };
                let [page, record] = ["Added", "Site"].map(str::to_owned);
                assert_eq!(add(1, 0..20), [page.clone(), record.clone()]);
                assert_eq!(add(2, 20..40), [page.clone(), page.clone(), record.clone()]);
                for (counter, keys) in [(3, 40..60), (4, 60..80), (5, 80..96)] {
                    assert_eq!(add(counter, keys).last(), Some(&record));
                }
                assert_eq!(add(6, 96..97), expected[2..], "without room");
                assert_eq!(expected, [page, record.clone(), record]);
            }
            "new authority" => {
                let mut world = World::in_site();
                world.wait(60_000);
                let cwt = authority_cwt(2);
                let found = by(&mut world, |world| assert!(world.hand(SiteKind::Authority, None, &cwt)));
                assert_eq!(found, expected);
            }
            "`POST a`" => {
                let setting = SiteSetting { site: common::site::ID, version: 1, epoch: 0, counter: None };
                let found = by(&mut world, |world| assert_eq!(world.set_site(setting).0, Code::CHANGED));
                assert_eq!(found, expected);
            }
            "question, membership, time token, what is refused" => {
                let mut world = World::in_site();
                world.wait(60_000);
                let found = by(&mut world, |world| {
                    world.questions.clear();
                    world.agent().ask_membership(5);
                    while !world.questions.iter().any(|question| question.kind == SiteKind::Membership) {
                        world.live(60_000);
                    }
                    let nonce = world.questions.last().unwrap().nonce;
                    let key = key::agreement(40).public();
                    let member = common::site::written(|out| {
                        issue_membership(&common::site::site(), &key, 5, 2_000_000_000, &authority(1), out)
                    });
                    assert!(world.hand(SiteKind::Membership, Some(nonce), &member));
                    assert!(!world.hand(SiteKind::Authority, None, &authority_cwt(1)[1..]));
                });
                let found: Vec<_> = found.into_iter().filter(|slot| slot != "Time").collect();
                assert_eq!((found, expected), (none.clone(), none.clone()));
            }
            other => panic!("no test for the row {other:?}"),
        }
    }
}
