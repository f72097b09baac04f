//! The owner reset: button, door and release, what it erases, who may come next; and never a way in, nor needed to get out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // helpers fail by panicking

mod common;

use cardea_agent::{AgentEvent, Door, LOG_SLOTS, PIN_SLOTS, PinResult, ResetRefusal, Slot};
use cardea_credentials::{Question, Release, Releaser, Signer, SiteKind, SiteMessage, SoftSigner, Successor};
use cardea_framing::{Datagram, Kind};
use cardea_oscore::coap::Code;
use cardea_resources::{Bolt, EventKind, Op, Outcome};

use common::board::key;
use common::phone::Phone;
use common::platform::{Platform, datagram};
use common::{CODE, World, config, outcome, pin_change};

/// A lock in use: PINs, a log that nobody has confirmed, a grant used up, an open door.
fn in_use() -> World {
    let mut world = World::activated_with(cardea_agent::Config {
        vendor: Some(key::signer(77).public().to_compressed()),
        ..config()
    });
    assert_eq!(world.set_pin(&pin_change(2, 1, b"271828", false, None)), Code::CHANGED);
    let mut phone = Phone::with(&world, 9, |terms| terms.single_use = true);
    assert!(phone.connect(&mut world));
    let unlock = common::command(1, Op::Unlock, None);
    assert!(phone.ask(&mut world, "l", Code::POST, &unlock, None).is_some());
    world.agent().door_moved(Door::Open);
    world.run();
    world.told.clear();
    world
}

/// Holds the button; the nonce of the question that goes out.
fn hold(world: &mut World) -> [u8; 8] {
    let nonce = world.agent().inside_button_held().unwrap();
    world.run();
    nonce
}

fn release(nonce: [u8; 8]) -> Release {
    Release {
        lock: key::signer(1).public().thumbprint(),
        root: key::signer(9).public().thumbprint(),
        at: 1_800_000_000,
        nonce,
        by: Releaser::OwnerRoot,
        to: None,
    }
}

/// The site's message with it.
fn message(release: &Release, signer: &SoftSigner, nonce: [u8; 8]) -> Vec<u8> {
    let (mut signed, mut body) = ([0; 256], [0; 256]);
    let len = release.sign(signer, &mut signed).unwrap();
    let message = SiteMessage { kind: SiteKind::Release, nonce: Some(nonce), signed: &signed[..len] };
    let len = message.encode(&mut body).unwrap();
    datagram(Kind::Site, &body[..len])
}

fn give(world: &mut World, release: &Release, signer: &SoftSigner) {
    let message = message(release, signer, release.nonce);
    world.give(&message);
}

/// Whoever knew the burnt code, and saw the nonce.
fn next_code(nonce: [u8; 8]) -> cardea_credentials::OwnerCode {
    Successor::of(&CODE).code(&nonce)
}

#[test]
fn a_release_by_the_owner_root_ends_the_ownership_and_erases_what_was_the_owners() {
    let mut world = in_use();
    let drives = world.drives();
    let nonce = hold(&mut world);
    let asked = world.for_site.pop().unwrap();
    let question = Question::decode(Datagram::parse(&asked).unwrap().body).unwrap();
    assert_eq!(question, Question { kind: SiteKind::Release, nonce, number: 0 });
    let end = world.nvm.get(Slot::Log(1)).map(|_| 2).unwrap();
    give(&mut world, &release(nonce), &key::signer(9));
    assert_eq!(world.agent().owner(), None);
    assert!(world.told.contains(&AgentEvent::Released { to: None }));
    for slot in Slot::all() {
        let stays = matches!(slot, Slot::Identity | Slot::Code | Slot::LogMeta);
        assert_eq!(world.nvm.get(slot).is_some(), stays, "{slot:?}");
    }
    assert_eq!(world.nvm.get(Slot::Code).unwrap(), next_code(nonce).to_bytes().to_vec());
    assert!(
        world.nvm.get(Slot::LogMeta).unwrap()[5..9] >= u32::to_be_bytes(end)[..],
        "indices are not used again"
    );
    assert_eq!(world.agent().enter_pin(b"271828"), PinResult::Wrong);
    assert_eq!(world.drives(), drives, "nothing moved the bolt");
    assert_eq!(LOG_SLOTS + PIN_SLOTS, 80);
}

#[test]
fn the_next_owner_activates_with_the_code_that_follows_and_nobody_with_the_old_one() {
    let mut world = in_use();
    let nonce = hold(&mut world);
    world.platform = Platform::under(key::signer(11), Some(CODE), 1);
    give(&mut world, &release(nonce), &key::signer(9));
    world.live(60_000);
    assert_eq!(world.agent().owner(), None, "the burnt code is worth nothing");
    world.platform = Platform::under(key::signer(11), Some(next_code(nonce)), 1);
    world.live(20 * 60_000);
    assert_eq!(world.agent().owner(), Some(key::signer(11).public().thumbprint()), "{:?}", world.told);
    // The log went on where it was: a gap for the old owner, no index twice for anybody.
    let entries = world.platform.events.iter().filter_map(|event| event.log);
    assert!(entries.min().is_none_or(|first| first >= 2));
    // And again, from that code.
    world.agent().door_is(Door::Open);
    let second = hold(&mut world);
    let again = Release { root: key::signer(11).public().thumbprint(), ..release(second) };
    give(&mut world, &again, &key::signer(11));
    assert_eq!(world.agent().owner(), None);
    let code = Successor::of(&next_code(nonce)).code(&second);
    assert_eq!(world.nvm.get(Slot::Code).unwrap(), code.to_bytes().to_vec());
}

#[test]
fn a_handed_over_lock_takes_the_named_root_and_no_other_also_after_a_reset() {
    let mut world = in_use();
    let nonce = hold(&mut world);
    let heir = key::signer(11).public().thumbprint();
    // Whoever has the code, also the owner that was.
    world.platform = Platform::under(key::signer(9), Some(next_code(nonce)), 1);
    give(&mut world, &Release { to: Some(heir), ..release(nonce) }, &key::signer(9));
    world.live(10 * 60_000);
    assert_eq!(world.agent().owner(), None);
    world.reset();
    world.live(10 * 60_000);
    assert_eq!(world.agent().owner(), None);
    world.platform = Platform::under(key::signer(11), Some(next_code(nonce)), 1);
    world.live(30 * 60_000);
    assert_eq!(world.agent().owner(), Some(heir), "{:?}", world.told);
    assert_eq!(world.nvm.get(Slot::Reset), None, "it was for one activation");
}

#[test]
fn the_vendor_may_release_where_the_firmware_names_its_key_and_only_there() {
    let vendor = key::signer(77);
    let mut world = in_use();
    let nonce = hold(&mut world);
    let by = Release { by: Releaser::Vendor, ..release(nonce) };
    give(&mut world, &by, &key::signer(78));
    assert!(world.agent().owner().is_some(), "somebody else's key");
    give(&mut world, &by, &vendor);
    assert_eq!(world.agent().owner(), None);

    let mut world = World::activated();
    world.agent().door_moved(Door::Open);
    let nonce = hold(&mut world);
    give(&mut world, &Release { by: Releaser::Vendor, ..release(nonce) }, &vendor);
    assert!(world.agent().owner().is_some());
}

#[test]
fn a_closed_door_or_an_unknown_one_refuses() {
    let mut world = World::activated();
    assert_eq!(
        world.agent().inside_button_held(),
        Err(ResetRefusal::DoorNotOpen),
        "nobody said how it stands"
    );
    world.agent().door_moved(Door::Closed);
    assert_eq!(world.agent().inside_button_held(), Err(ResetRefusal::DoorNotOpen));
    // Closed while the release was on its way, and open again: the question is void.
    world.agent().door_moved(Door::Open);
    let nonce = hold(&mut world);
    world.agent().door_moved(Door::Closed);
    give(&mut world, &release(nonce), &key::signer(9));
    assert!(world.agent().owner().is_some());
    world.agent().door_moved(Door::Ajar);
    give(&mut world, &release(nonce), &key::signer(9));
    assert!(world.agent().owner().is_some());
    let nonce = hold(&mut world);
    give(&mut world, &release(nonce), &key::signer(9));
    assert_eq!(world.agent().owner(), None);
}

#[test]
fn a_release_that_is_not_for_this_lock_owner_nonce_and_time_does_nothing() {
    let mut world = in_use();
    let root = key::signer(9);
    // Nobody held the button.
    give(&mut world, &release([1; 8]), &root);
    let nonce = hold(&mut world);
    let other = key::signer(10).public().thumbprint();
    give(&mut world, &release([1; 8]), &root);
    give(&mut world, &Release { lock: other, ..release(nonce) }, &root);
    give(&mut world, &Release { root: other, ..release(nonce) }, &key::signer(10));
    give(&mut world, &release(nonce), &key::signer(10));
    // Its own nonce inside, another around it.
    let wrapped = message(&release([1; 8]), &root, nonce);
    world.give(&wrapped);
    assert!(world.agent().owner().is_some());
    // A second hold makes the first nonce void; ten minutes make any.
    let second = hold(&mut world);
    give(&mut world, &release(nonce), &root);
    assert!(world.agent().owner().is_some());
    world.wait(600_000);
    give(&mut world, &release(second), &root);
    assert!(world.agent().owner().is_some());
    // A reset forgets it.
    let third = hold(&mut world);
    world.reset();
    world.agent().door_is(Door::Open);
    give(&mut world, &release(third), &root);
    assert!(world.agent().owner().is_some());
    let fourth = hold(&mut world);
    give(&mut world, &release(fourth), &root);
    assert_eq!(world.agent().owner(), None);
    // And once only.
    assert_eq!(world.agent().inside_button_held(), Err(ResetRefusal::NoOwner));
}

#[test]
fn forged_releases_cost_four_signatures_a_minute_and_the_owner_is_served() {
    let mut world = in_use();
    let nonce = hold(&mut world);
    // Each another one: a repeat of the same bytes does not get as far as the agent.
    for at in 0..10 {
        give(&mut world, &Release { at, ..release(nonce) }, &key::signer(10));
    }
    give(&mut world, &release(nonce), &key::signer(9));
    assert!(world.agent().owner().is_some(), "the limit is reached");
    let challenge = world.touch();
    assert_eq!(outcome(&world.command(5, Op::Lock, None, Some(&challenge))).outcome, Outcome::Done);
    world.wait(60_000);
    give(&mut world, &Release { at: 11, ..release(nonce) }, &key::signer(9));
    assert_eq!(world.agent().owner(), None);
}

#[test]
fn a_reset_that_is_cut_at_any_write_is_finished_at_boot_or_never_began() {
    let mut cuts = 0;
    // Erasing one slot is like erasing another: of those every ninth.
    let alike = 4..Slot::COUNT - 5;
    for to in [None, Some(key::signer(11).public().thumbprint())] {
        let writes = (0..).filter(|at| !alike.contains(at) || at % 9 == 0);
        for (at, done) in writes.flat_map(|at| [(at, false), (at, true)]) {
            let mut world = in_use();
            let nonce = hold(&mut world);
            let message = message(&Release { to, ..release(nonce) }, &key::signer(9), nonce);
            world.nvm.cut_at(at, done);
            if !world.survives_cut(|world| world.give(&message)) {
                break;
            }
            cuts += 1;
            // Cut once more while it is being finished.
            world.nvm.cut_at(at / 2, !done);
            world.survives_cut(World::reset);
            world.nvm.no_cut();
            world.reset();
            if (at, done) == (0, false) {
                assert!(world.agent().owner().is_some(), "it had not begun");
                continue;
            }
            assert_eq!(world.agent().owner(), None, "cut {at} {done}");
            for slot in Slot::all() {
                let stays = matches!(slot, Slot::Identity | Slot::Code | Slot::LogMeta)
                    || slot == Slot::Reset && to.is_some();
                assert_eq!(world.nvm.get(slot).is_some(), stays, "{slot:?}, cut {at} {done}");
            }
            if !alike.contains(&at) {
                world.platform = Platform::under(key::signer(11), Some(next_code(nonce)), 1);
                world.live(10 * 60_000);
                let owner = world.agent().owner();
                assert_eq!(owner, Some(key::signer(11).public().thumbprint()), "cut {at} {done}");
            }
        }
    }
    // Of journal, code, all slots but four, the log's beginning and journal; each lost and done, without and with an heir.
    assert_eq!(cuts, 4 * (Slot::COUNT - alike.len() + alike.filter(|at| at % 9 == 0).count()));
}

#[test]
fn a_medium_that_fails_in_the_middle_leaves_no_owner_and_the_reset_goes_on() {
    let mut world = in_use();
    let nonce = hold(&mut world);
    let message = message(&release(nonce), &key::signer(9), nonce);
    world.nvm.fail_from(3);
    world.give(&message);
    assert_eq!(world.agent().owner(), None);
    assert!(world.told.contains(&AgentEvent::StorageFailed));
    world.nvm.fail(false);
    world.platform = Platform::under(key::signer(11), Some(next_code(nonce)), 1);
    world.live(10 * 60_000);
    assert_eq!(world.agent().owner(), Some(key::signer(11).public().thumbprint()));
}

#[test]
fn whatever_the_reset_does_the_inside_and_the_bolt_are_free() {
    let mut world = in_use();
    world.actuator.place(Bolt::Locked);
    let before = world.drives();
    let nonce = hold(&mut world);
    // From inside the bolt moves by hand at any time; the agent is told, and never asked.
    world.actuator.place(Bolt::Unlocked);
    world.agent().bolt_moved();
    give(&mut world, &release(nonce), &key::signer(9));
    world.actuator.place(Bolt::Locked);
    world.agent().bolt_moved();
    world.agent().door_moved(Door::Open);
    assert_eq!(world.drives(), before);
    assert!(!world.platform.events.iter().any(|event| event.kind == EventKind::Refused));
}
