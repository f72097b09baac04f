//! Grants that are revoked: from the next request on, whatever the gateway does, and whenever the power goes.

mod common;

use cardea_agent::{ADDED_PAGES, AgentEvent, LIST_PAGES, Slot};
use cardea_credentials::{Agreement, PAGE_THUMBPRINTS, Signer, SiteKind};
use cardea_oscore::coap::Code;
use cardea_resources::{Op, SiteSetting};

use common::phone::Phone;
use common::site::{ID, addition, authority, list, platform, strangers};
use common::{World, command};

fn unlock(phone: &mut Phone, world: &mut World, id: u8) -> Option<Code> {
    let mut reply = phone.ask(world, "l", Code::POST, &command(id, Op::Unlock, None), None)?;
    if let Some(echo) = reply.echo.take() {
        reply = phone.ask(world, "l", Code::POST, &command(id, Op::Unlock, None), Some(&echo))?;
    }
    Some(reply.code)
}

/// A phone of this address in a session.
fn connected(world: &mut World, address: u16) -> Phone {
    world.wait(20_000); // the admission's pace
    let mut phone = Phone::new(world, address);
    assert!(phone.connect(world));
    phone
}

#[test]
fn a_grant_revoked_while_its_session_is_open_opens_nothing() {
    let mut world = World::activated();
    let mut phone = connected(&mut world, 5);
    assert_eq!(unlock(&mut phone, &mut world, 1), Some(Code::CHANGED));
    world.revoke(1, &[phone.key.public().thumbprint()]);
    assert_eq!(
        world.told,
        [
            AgentEvent::Command { id: [5; 4], op: Op::Unlock, outcome: cardea_resources::Outcome::Done },
            AgentEvent::Revocations { epoch: 1 }
        ]
    );
    assert_eq!(unlock(&mut phone, &mut world, 2), Some(Code::FORBIDDEN));
    assert_eq!(phone.ask(&mut world, "s", Code::GET, &[], None).unwrap().code, Code::FORBIDDEN);
    world.wait(20_000);
    assert!(!phone.connect(&mut world), "nor does it get another session");
    assert_eq!(world.drives(), [Op::Unlock]);
    // A reset forgets nothing; the next list may take it off again, for it is the platform's.
    world.reset();
    world.run();
    assert!(!phone.connect(&mut world));
    world.revoke(2, &[]);
    world.wait(20_000);
    assert!(phone.connect(&mut world));
    assert_eq!(unlock(&mut phone, &mut world, 3), Some(Code::CHANGED));
}

#[test]
fn whom_a_list_does_not_name_it_does_not_touch() {
    let mut world = World::activated();
    world.revoke(1, &strangers(0..60));
    let mut phone = connected(&mut world, 5);
    assert_eq!(unlock(&mut phone, &mut world, 1), Some(Code::CHANGED));
}

#[test]
fn a_key_on_any_page_of_a_list_is_revoked() {
    for place in [0, 23, 24, 47, 48, 55] {
        let mut world = World::activated();
        let phone = Phone::new(&world, 5);
        let mut keys = strangers(0..56);
        // Wherever it sorts to: those before it are made smaller, those behind it greater.
        let name = phone.key.public().thumbprint();
        for (n, key) in keys.iter_mut().enumerate() {
            key[0] = if n < place { 0 } else { 0xff };
        }
        keys[place] = name;
        assert!((1..0xff).contains(&name[0]));
        world.revoke(1, &keys);
        let mut phone = phone;
        assert!(!phone.connect(&mut world), "place {place}");
    }
}

#[test]
fn naming_the_platforms_own_key_ends_every_grant_and_not_its_commands() {
    let mut world = World::activated();
    let mut phone = connected(&mut world, 5);
    world.revoke(1, &[platform().public().thumbprint()]);
    assert_eq!(unlock(&mut phone, &mut world, 1), Some(Code::FORBIDDEN));
    let challenge = world.touch();
    let reply = world.command(1, Op::Unlock, None, Some(&challenge));
    assert_eq!(reply.code, Code::CHANGED, "its sessions rest on another key");
    assert_eq!(world.drives(), [Op::Unlock]);
}

#[test]
fn a_list_counts_when_it_is_whole_and_not_before() {
    let mut world = World::activated();
    let mut phone = connected(&mut world, 5);
    let mut keys = strangers(0..30);
    keys.push(phone.key.public().thumbprint());
    let pages = list(1, &keys);
    assert!(world.hand(SiteKind::Revocations, None, &pages[0]));
    assert_eq!(unlock(&mut phone, &mut world, 1), Some(Code::CHANGED), "the old list is in force");
    assert!(!world.hand(SiteKind::Revocations, None, &list(2, &keys)[1]), "a page of another list");
    assert!(world.hand(SiteKind::Revocations, None, &pages[1]));
    assert_eq!(unlock(&mut phone, &mut world, 2), Some(Code::FORBIDDEN));
    assert!(!world.hand(SiteKind::Revocations, None, &list(1, &[])[0]), "the same epoch");
    assert!(!world.hand(SiteKind::Revocations, None, &list(0, &[])[0]), "an older one");
    assert_eq!(unlock(&mut phone, &mut world, 3), Some(Code::FORBIDDEN));
}

#[test]
fn a_power_cut_at_any_write_leaves_the_old_list_or_the_new_one_in_force() {
    let mut cuts = 0;
    for done in [false, true] {
        for at in 0.. {
            let mut world = World::activated();
            let (old, new) = (Phone::new(&world, 5), Phone::new(&world, 6));
            let with = |phone: &Phone| {
                let mut keys = strangers(0..47);
                keys.push(phone.key.public().thumbprint());
                keys
            };
            world.revoke(1, &with(&old));
            world.wait(60_000);
            world.nvm.cut_at(at, done);
            let keys = with(&new);
            if !world.survives_cut(|world| world.revoke(2, &keys)) {
                break;
            }
            cuts += 1;
            world.reset();
            world.run();
            let state = world.site_state();
            assert!(state.grants, "cut {at}, done {done}");
            let [mut old, mut new] = [old, new];
            let barred = [!old.connect(&mut world), !new.connect(&mut world)];
            // Of each list the one key that the other one has not, and the pages that both have.
            assert_eq!(barred, [state.epoch == 1, state.epoch == 2], "cut {at}, done {done}");
            assert_eq!(state.epoch == 2, (at, done) == (2, true), "cut {at}, done {done}");
            // The list comes again, and all is well.
            if state.epoch == 1 {
                world.revoke(2, &keys);
            }
            assert_eq!(world.site_state().epoch, 2);
        }
    }
    assert_eq!(cuts, 6, "two pages and the record that puts them in force, each lost and done");
}

#[test]
fn a_page_that_cannot_be_read_bars_every_grant_until_the_list_comes_again() {
    let mut world = World::activated();
    world.revoke(1, &[]);
    world.revoke(2, &strangers(0..30));
    let in_force: Vec<_> =
        (0..2 * LIST_PAGES).filter(|n| world.nvm.get(Slot::Revoked(*n)).is_some()).collect();
    assert_eq!(in_force, [0, 1, LIST_PAGES], "the second list went to the other half, and back");
    world.nvm.put(Slot::Revoked(1), vec![1, 2, 3]);
    let mut phone = Phone::new(&world, 5);
    assert!(!phone.connect(&mut world));
    world.reset();
    world.run();
    assert!(!phone.connect(&mut world));
    assert!(!world.site_state().grants);
    assert!(!world.hand(SiteKind::Revocations, None, &list(1, &[])[0]), "an older list does not help");
    world.revoke(2, &strangers(0..30));
    assert!(world.site_state().grants);
    world.wait(60_000);
    assert!(phone.connect(&mut world));
}

#[test]
fn under_a_list_that_is_too_long_for_the_lock_no_grant_holds() {
    let mut world = World::activated();
    let mut phone = connected(&mut world, 5);
    let longest = u16::from(LIST_PAGES) * PAGE_THUMBPRINTS as u16;
    let pages = list(1, &strangers(0..longest + 1));
    assert!(world.hand(SiteKind::Revocations, None, &pages[0]));
    assert_eq!(unlock(&mut phone, &mut world, 1), Some(Code::FORBIDDEN));
    world.reset();
    world.run();
    assert!(!phone.connect(&mut world), "which survives a reset");
    assert!(!world.site_state().grants);
    // One that fits helps.
    world.wait(60_000);
    assert!(!world.hand(SiteKind::Revocations, None, &list(2, &strangers(0..24))[0]), "not the next");
    world.revoke(1, &strangers(0..longest));
    assert_eq!(world.site_state().epoch, 1);
    world.wait(60_000);
    assert!(phone.connect(&mut world));
    assert_eq!(unlock(&mut phone, &mut world, 2), Some(Code::CHANGED));
}

#[test]
fn what_the_site_adds_bars_beside_the_platforms_list() {
    let mut world = World::in_site();
    let mut phone = connected(&mut world, 5);
    let name = phone.key.public().thumbprint();
    assert!(!world.hand(SiteKind::SiteRevocations, None, &addition(1, 2, &[name])), "one is missing");
    assert!(world.hand(SiteKind::SiteRevocations, None, &addition(1, 1, &[name])));
    assert_eq!(unlock(&mut phone, &mut world, 1), Some(Code::FORBIDDEN));
    // It cannot be taken off by the site, nor by the platform's list, nor by a reset.
    world.revoke(1, &[]);
    world.reset();
    world.run();
    assert!(!phone.connect(&mut world));
    // Nor can the site end the platform's grants by naming its key.
    world.wait(60_000);
    assert!(world.hand(
        SiteKind::SiteRevocations,
        None,
        &addition(1, 2, &[platform().public().thumbprint()])
    ));
    let mut other = connected(&mut world, 6);
    assert_eq!(unlock(&mut other, &mut world, 1), Some(Code::CHANGED));
}

#[test]
fn when_there_is_no_room_for_an_addition_no_grant_holds_until_the_platform_takes_them_over() {
    let mut world = World::in_site();
    let room = u32::from(ADDED_PAGES);
    for n in 0..room {
        world.wait(60_000);
        let keys = strangers(n as u16 * 24..(n as u16 + 1) * 24);
        assert!(world.hand(SiteKind::SiteRevocations, None, &addition(1, n + 1, &keys)));
    }
    let mut phone = connected(&mut world, 5);
    assert_eq!(unlock(&mut phone, &mut world, 1), Some(Code::CHANGED));
    // What is there already takes no room.
    world.wait(60_000);
    assert!(world.hand(SiteKind::SiteRevocations, None, &addition(1, room + 1, &strangers(0..24))));
    assert!(world.hand(SiteKind::SiteRevocations, None, &addition(1, room + 2, &strangers(500..501))));
    assert_eq!(unlock(&mut phone, &mut world, 2), Some(Code::FORBIDDEN));
    let state = world.site_state();
    assert_eq!((state.counter, state.grants), (room + 1, false), "what was not stored is not counted");
    // The platform makes a list with all of them, and says so inside OSCORE; before that list is there, nothing goes.
    let taken_over = SiteSetting { site: ID, version: 1, epoch: 1, counter: Some(room + 1) };
    assert_eq!(world.set_site(taken_over).0, Code::CONFLICT);
    world.wait(60_000);
    world.revoke(1, &strangers(0..96));
    assert!(!world.site_state().grants);
    let (code, state) = world.set_site(taken_over);
    assert_eq!((code, state.grants), (Code::CHANGED, true));
    world.wait(60_000);
    assert!(world.hand(SiteKind::SiteRevocations, None, &addition(1, room + 2, &strangers(500..501))));
    assert!(world.site_state().grants);
    assert_eq!(world.nvm.get(Slot::Added(0)).unwrap().len(), 1 + 8 + 4 + 8);
}

#[test]
fn a_power_cut_at_any_write_of_an_addition_loses_no_key() {
    let mut cuts = 0;
    for done in [false, true] {
        for at in 0.. {
            let mut world = World::in_site();
            let phones = [5, 6].map(|address| Phone::new(&world, address));
            let names = [0, 1].map(|n: usize| phones[n].key.public().thumbprint());
            let mut first = strangers(0..22);
            first.push(names[0]);
            assert!(world.hand(SiteKind::SiteRevocations, None, &addition(1, 1, &first)));
            // One more fits on the first page.
            let mut second = strangers(100..110);
            second.push(names[1]);
            let second = addition(1, 2, &second);
            world.nvm.cut_at(at, done);
            if !world.survives_cut(|world| {
                world.hand(SiteKind::SiteRevocations, None, &second);
            }) {
                break;
            }
            cuts += 1;
            world.reset();
            world.run();
            let [mut old, mut new] = phones;
            assert!(!old.connect(&mut world), "cut {at}, done {done}");
            let counted = world.site_state().counter;
            assert_eq!(counted == 2, (at, done) == (2, true));
            if counted == 1 {
                assert!(world.hand(SiteKind::SiteRevocations, None, &second));
            }
            assert!(!new.connect(&mut world), "cut {at}, done {done}");
            let stored: usize = (0..2).map(|n| world.nvm.get(Slot::Added(n)).unwrap().len() - 13).sum();
            assert_eq!(stored, 34 * 8, "none twice");
        }
    }
    assert_eq!(cuts, 6, "two pages and the record, each lost and done");
}

#[test]
fn an_addition_that_is_gone_from_flash_bars_every_grant() {
    let mut world = World::in_site();
    assert!(world.hand(SiteKind::SiteRevocations, None, &addition(1, 1, &strangers(0..3))));
    let mut phone = connected(&mut world, 5);
    assert_eq!(unlock(&mut phone, &mut world, 1), Some(Code::CHANGED));
    world.nvm.put(Slot::Added(0), vec![0; 20]);
    assert_eq!(unlock(&mut phone, &mut world, 2), Some(Code::FORBIDDEN));
}

#[test]
fn the_platform_can_make_every_grant_wait_for_a_list() {
    let mut world = World::in_site();
    let mut phone = connected(&mut world, 5);
    let (code, state) = world.set_site(SiteSetting { site: ID, version: 1, epoch: 3, counter: None });
    assert_eq!((code, state.grants), (Code::CHANGED, false));
    assert_eq!(unlock(&mut phone, &mut world, 1), Some(Code::FORBIDDEN));
    world.set_site(SiteSetting { site: ID, version: 1, epoch: 0, counter: None });
    assert_eq!(unlock(&mut phone, &mut world, 2), Some(Code::FORBIDDEN), "it only rises");
    world.revoke(1, &[]);
    assert_eq!(unlock(&mut phone, &mut world, 3), Some(Code::FORBIDDEN));
    world.revoke(2, &[]);
    world.revoke(3, &[]);
    assert_eq!(unlock(&mut phone, &mut world, 4), Some(Code::CHANGED));
}

#[test]
fn a_damaged_record_bars_every_grant_until_the_platform_speaks() {
    let mut world = World::in_site();
    world.revoke(1, &[]);
    world.nvm.put(Slot::Site, vec![9, 9]);
    world.reset();
    world.run();
    let mut phone = Phone::new(&world, 5);
    assert!(!phone.connect(&mut world));
    assert!(!world.hand(SiteKind::Revocations, None, &list(1, &[])[0]), "it may be an older list");
    let (_, state) = world.set_site(SiteSetting { site: ID, version: 1, epoch: 1, counter: None });
    assert!(!state.grants);
    world.wait(60_000); // until then the radio link takes it for a repeat
    world.revoke(1, &[]);
    world.wait(60_000);
    assert!(phone.connect(&mut world));
    assert_eq!(unlock(&mut phone, &mut world, 1), Some(Code::CHANGED));
}

#[test]
fn an_authority_that_is_revoked_adds_nothing_any_more() {
    let mut world = World::in_site();
    let mut phone = connected(&mut world, 5);
    world.revoke(1, &[authority(1).public().thumbprint()]);
    let name = phone.key.public().thumbprint();
    assert!(!world.hand(SiteKind::SiteRevocations, None, &addition(1, 1, &[name])));
    assert_eq!(unlock(&mut phone, &mut world, 1), Some(Code::CHANGED));
    world.wait(60_000);
    assert!(world.hand(SiteKind::Authority, None, &common::site::authority_cwt(2)));
    assert!(world.hand(SiteKind::SiteRevocations, None, &addition(2, 1, &[name])));
    assert_eq!(unlock(&mut phone, &mut world, 2), Some(Code::FORBIDDEN));
}
