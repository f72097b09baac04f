//! Phones with a grant of the platform, and nobody else online: who gets in, what they may ask, and what a flood costs.

mod common;

use cardea_agent::{CHALLENGE_LIFE_MS, Slot};
use cardea_credentials::{Scope, Signer};
use cardea_oscore::coap::Code;
use cardea_resources::{EventKind, LogPage, Op, Outcome, PinUse};

use common::board::{agreed, key};
use common::phone::{Phone, another_day};
use common::{World, command, outcome};

fn unlock(phone: &mut Phone, world: &mut World, id: u8) -> Option<Code> {
    Some(phone.ask(world, "l", Code::POST, &command(id, Op::Unlock, None), None)?.code)
}

#[test]
fn a_phone_with_a_grant_opens_the_door_with_nobody_else_online() {
    let mut world = World::activated();
    world.platform.answers_events = false;
    let mut phone = Phone::new(&world, 5);
    assert!(phone.connect(&mut world));
    // The handshake itself proves freshness: one request, one answer.
    let reply = phone.ask(&mut world, "l", Code::POST, &command(1, Op::Unlock, None), None).unwrap();
    assert_eq!(outcome(&reply).outcome, Outcome::Done);
    assert_eq!(phone.ask(&mut world, "s", Code::GET, &[], None).unwrap().code, Code::CONTENT);
    assert_eq!(unlock(&mut phone, &mut world, 1), Some(Code::CHANGED), "a repeat is answered");
    assert_eq!(world.drives(), [Op::Unlock], "and moves nothing");
    let tag = u32::from_be_bytes([5; 4]);
    assert_eq!(world.log().last(), Some(&(EventKind::GrantUnlock, Some(tag))));
}

#[test]
fn a_handshake_has_the_sizes_of_the_document() {
    let mut world = World::activated();
    let mut phone = Phone::new(&world, 5);
    let (mut initiator, message_1) = phone.message_1();
    let message_2 = phone.exchange(&mut world, &message_1).pop().unwrap();
    let message_3 = phone.message_3(&world, &mut initiator, &message_2);
    let message_4 = phone.exchange(&mut world, &message_3).pop().unwrap();
    // Header, address of the peer, and the correlation prefix.
    let lens = [&message_1, &message_2, &message_3, &message_4].map(|datagram| datagram.len() - 4);
    assert_eq!(lens, [37, 53, phone.grant.len() + 21, 9]);
}

#[test]
fn what_the_grant_does_not_name_is_forbidden() {
    let mut world = World::activated();
    let mut phone = Phone::with(&world, 5, |terms| terms.scope = Scope::STATUS | Scope::LOCK);
    assert!(phone.connect(&mut world));
    assert_eq!(unlock(&mut phone, &mut world, 1), Some(Code::FORBIDDEN));
    for (path, code) in [("g", Code::GET), ("g", Code::POST), ("t", Code::POST), ("p", Code::GET)] {
        assert_eq!(phone.ask(&mut world, path, code, &[], None).unwrap().code, Code::FORBIDDEN, "{path}");
    }
    assert_eq!(phone.ask(&mut world, "e", Code::POST, &[], None).unwrap().code, Code::NOT_FOUND);
    let reply = phone.ask(&mut world, "l", Code::POST, &command(2, Op::Lock, None), None).unwrap();
    assert_eq!(outcome(&reply).outcome, Outcome::Done);
    assert_eq!(world.drives(), [Op::Lock]);
}

#[cfg(feature = "pins")]
#[test]
fn a_holder_who_reads_the_log_sees_no_duress_in_it() {
    let mut world = World::activated();
    assert_eq!(world.set_pin(&common::pin_change(4, 1, b"4321", true, None)), Code::CHANGED);
    assert_eq!(world.agent().enter_pin(b"4321"), cardea_agent::PinResult::Unlocked);
    world.platform.answers_events = false; // nothing is erased: the lock still holds the entry
    let mut phone = Phone::with(&world, 5, |terms| terms.scope = Scope::LOG);
    assert!(phone.connect(&mut world));
    let used = |payload: &[u8]| {
        let page = LogPage::decode(payload).unwrap();
        let mut values = page.entries().filter(|entry| entry.kind == EventKind::Pin).map(|entry| entry.value);
        PinUse::from_u32(values.next().unwrap().unwrap()).unwrap()
    };
    let calm = PinUse { slot: 4, duress: false, failed: false };
    assert_eq!(used(&phone.ask(&mut world, "g", Code::GET, &[], None).unwrap().payload), calm);
    assert_eq!(used(&world.ask("g", Code::GET, &[], None).payload), PinUse { duress: true, ..calm });
}

#[test]
fn a_grant_ends_in_the_middle_of_a_session_and_holds_in_its_hours_only() {
    let mut world = World::activated();
    let (now, soon) = (world.unix(), world.unix() + 20);
    let mut ending = Phone::with(&world, 5, |terms| terms.expires = soon);
    assert!(ending.connect(&mut world));
    assert_eq!(unlock(&mut ending, &mut world, 1), Some(Code::CHANGED));
    world.wait(21_000);
    assert_eq!(unlock(&mut ending, &mut world, 2), Some(Code::FORBIDDEN));
    assert_eq!(ending.ask(&mut world, "s", Code::GET, &[], None).unwrap().code, Code::FORBIDDEN);
    let mut early = Phone::with(&world, 6, |terms| terms.not_before = now + 1000);
    let mut elsewhen = Phone::with(&world, 7, |terms| terms.window = Some(another_day(now)));
    for phone in [&mut early, &mut elsewhen] {
        assert!(phone.connect(&mut world));
        assert_eq!(unlock(phone, &mut world, 1), Some(Code::FORBIDDEN));
    }
    assert_eq!(world.drives(), [Op::Unlock]);
}

#[test]
fn a_lock_that_does_not_know_the_time_believes_no_grant() {
    let mut world = World::new();
    world.platform.tells_time = false;
    world.boot();
    world.run();
    let mut phone = Phone::new(&world, 5);
    assert!(phone.connect(&mut world));
    assert_eq!(unlock(&mut phone, &mut world, 1), Some(Code::FORBIDDEN));
    assert_eq!(world.drives(), []);
}

#[test]
fn who_has_another_key_another_signer_or_another_lock_gets_no_session() {
    let mut world = World::activated();
    let mut thief = Phone::new(&world, 5);
    thief.key = key::agreement(99);
    assert!(!thief.connect(&mut world), "the grant, but not its key");
    let mut forger = Phone::signed(&world, 6, &key::signer(31), |_| {});
    assert!(!forger.connect(&mut world), "signed by somebody else");
    let mut root = Phone::signed(&world, 7, &key::signer(9), |_| {});
    assert!(!root.connect(&mut world), "the owner root signs no grants");
    let mut neighbour = Phone::with(&world, 8, |terms| terms.lock = key::signer(2).public().thumbprint());
    assert!(!neighbour.connect(&mut world), "for another lock");
    let mut changed = Phone::new(&world, 9);
    let last = changed.grant.len() - 1;
    changed.grant[last] ^= 1;
    assert!(!changed.connect(&mut world));
    let unowned = &mut World::new();
    unowned.platform.code = None;
    unowned.boot();
    unowned.run();
    let (_, message_1) = Phone::new(&world, 5).message_1();
    assert!(Phone::new(&world, 5).exchange(unowned, &message_1).is_empty(), "a lock without an owner");
    assert_eq!(world.drives(), []);
}

#[test]
fn a_late_command_asks_for_an_echo() {
    let mut world = World::activated();
    let mut phone = Phone::new(&world, 5);
    assert!(phone.connect(&mut world));
    world.wait(CHALLENGE_LIFE_MS - 1);
    assert_eq!(unlock(&mut phone, &mut world, 1), Some(Code::CHANGED));
    let (held_back, binding) = phone.request("l", Code::POST, &command(2, Op::Lock, None), None);
    world.wait(2);
    let answer = phone.exchange(&mut world, &held_back).pop().unwrap();
    let reply = phone.open(&answer, &binding);
    assert_eq!((reply.code, reply.own_number), (Code::UNAUTHORIZED, true));
    let echo = reply.echo.unwrap();
    let reply = phone.ask(&mut world, "l", Code::POST, &command(2, Op::Lock, None), Some(&echo)).unwrap();
    assert_eq!(outcome(&reply).outcome, Outcome::Done);
    assert_eq!(world.drives(), [Op::Unlock, Op::Lock]);
}

#[test]
fn a_replay_and_another_address_are_silence() {
    let mut world = World::activated();
    let mut phone = Phone::new(&world, 5);
    assert!(phone.connect(&mut world));
    let (request, _) = phone.request("l", Code::POST, &command(1, Op::Unlock, None), None);
    let mut moved = request.clone();
    moved[2] ^= 1;
    assert!(phone.exchange(&mut world, &moved).is_empty());
    assert_eq!(phone.exchange(&mut world, &request).len(), 1);
    // Whole it is a repeat to the radio link already; with another token outside the seal it is not.
    for at in 0..request.len() {
        let mut replay = request.clone();
        replay[at] ^= 1;
        world.for_peers.clear();
        world.deliver(&replay);
        assert!(world.for_peers.is_empty(), "byte {at}");
    }
    assert_eq!(world.drives(), [Op::Unlock]);
    // Sessions do not outlive five minutes, nor a reset.
    world.wait(5 * 60 * 1000);
    assert_eq!(unlock(&mut phone, &mut world, 2), None);
    assert!(phone.connect(&mut world));
    world.reset();
    world.run();
    assert_eq!(unlock(&mut phone, &mut world, 3), None);
}

#[test]
fn a_grant_for_one_use_opens_once_whatever_happens_in_between() {
    let mut world = World::activated();
    let mut phone = Phone::with(&world, 5, |terms| terms.single_use = true);
    assert!(phone.connect(&mut world));
    assert_eq!(phone.ask(&mut world, "s", Code::GET, &[], None).unwrap().code, Code::CONTENT);
    assert_eq!(unlock(&mut phone, &mut world, 1), Some(Code::CHANGED), "reading used nothing up");
    assert_eq!(unlock(&mut phone, &mut world, 1), Some(Code::CHANGED), "its answer, again");
    assert_eq!(unlock(&mut phone, &mut world, 2), Some(Code::FORBIDDEN));
    assert!(phone.connect(&mut world));
    assert_eq!(unlock(&mut phone, &mut world, 3), Some(Code::FORBIDDEN), "in another session");
    world.reset();
    world.run();
    assert!(phone.connect(&mut world));
    assert_eq!(unlock(&mut phone, &mut world, 4), Some(Code::FORBIDDEN), "after a reset");
    assert_eq!(world.drives(), [Op::Unlock]);
}

#[test]
fn a_power_cut_at_any_write_gives_a_grant_for_one_use_no_second() {
    for at in 0..24 {
        let mut world = World::activated();
        let mut phone = Phone::with(&world, 5, |terms| terms.single_use = true);
        assert!(phone.connect(&mut world));
        world.nvm.cut_at(at / 2, at % 2 == 1);
        let cut = world.survives_cut(|world| {
            unlock(&mut phone, world, 1);
        });
        world.nvm.no_cut();
        world.reset();
        world.run();
        assert!(phone.connect(&mut world));
        let second = unlock(&mut phone, &mut world, 2);
        let drives = world.drives().iter().filter(|op| **op == Op::Unlock).count();
        assert!(drives <= 1, "cut before write {at}");
        assert!(second == Some(Code::FORBIDDEN) || drives == 1, "cut before write {at}: {second:?}");
        if !cut {
            return;
        }
    }
    panic!("more writes than there should be");
}

#[test]
fn uses_that_are_remembered_are_bounded_and_leave_with_their_grants() {
    let mut world = World::activated();
    let expires = world.unix() + 600;
    let mut opened = 0;
    for address in 100..117_u16 {
        world.wait(20_000); // the admission's pace
        let mut phone = Phone::with(&world, address, |terms| {
            (terms.single_use, terms.expires) = (true, expires);
        });
        assert!(phone.connect(&mut world));
        opened += usize::from(unlock(&mut phone, &mut world, 1) == Some(Code::CHANGED));
    }
    assert_eq!(opened, 16, "what cannot be noted is not granted");
    assert!(world.nvm.get(Slot::Uses).unwrap().len() <= Slot::Uses.max_len());
    world.wait(600_000);
    let mut phone = Phone::with(&world, 120, |terms| terms.single_use = true);
    assert!(phone.connect(&mut world));
    assert_eq!(unlock(&mut phone, &mut world, 1), Some(Code::CHANGED));
    assert_eq!(world.nvm.get(Slot::Uses).unwrap().len(), 13, "one is left");
}

#[test]
fn a_flood_of_handshakes_costs_little_and_the_owner_is_served() {
    let mut world = World::activated();
    let (mut answered, before) = (0, agreed());
    let mut served = Vec::new();
    for n in 0..500_u16 {
        let mut flooder = Phone::new(&world, 200 + n % 40);
        let (_, message_1) = flooder.message_1();
        answered += flooder.exchange(&mut world, &message_1).len();
        world.clock.advance(10);
        if n % 100 == 50 {
            // In the middle of it, the owner: no time passes but the flood's.
            let began = world.clock.now();
            let challenge = world.touch();
            let id = (n / 100) as u8;
            assert_eq!(
                outcome(&world.command(id, Op::Unlock, None, Some(&challenge))).outcome,
                Outcome::Done
            );
            served.push(world.clock.now() - began);
        }
    }
    assert!(answered <= 6, "{answered} of 500 cost a multiplication");
    assert_eq!(agreed() - before, answered, "whoever is not answered has cost none");
    assert!(served.len() == 5 && served.iter().all(|ms| *ms <= 2_000), "{served:?}");
    // A phone waits for the flood to end, not longer.
    world.wait(3 * 60 * 1000);
    let mut phone = Phone::new(&world, 5);
    assert!(phone.connect(&mut world));
    assert_eq!(unlock(&mut phone, &mut world, 1), Some(Code::CHANGED));
}

#[test]
fn holders_with_grants_do_not_push_the_platforms_commands_out() {
    let mut world = World::activated();
    let challenge = world.touch();
    world.command(9, Op::Unlock, None, Some(&challenge));
    let mut phone = Phone::new(&world, 5);
    assert!(phone.connect(&mut world));
    for id in 20..32 {
        assert_eq!(unlock(&mut phone, &mut world, id), Some(Code::CHANGED));
    }
    let before = world.drives().len();
    assert_eq!(outcome(&world.command(9, Op::Unlock, None, None)).outcome, Outcome::Done, "from the cache");
    assert_eq!(world.drives().len(), before);
}

#[test]
fn hostile_bytes_from_peers_end_nowhere() {
    let mut world = World::activated();
    let mut phone = Phone::new(&world, 5);
    let (mut initiator, message_1) = phone.message_1();
    let message_2 = phone.exchange(&mut world, &message_1).pop().unwrap();
    let message_3 = phone.message_3(&world, &mut initiator, &message_2);
    for whole in [&message_1, &message_3] {
        for end in 0..whole.len() {
            world.deliver(&whole[..end]);
        }
    }
    assert!(phone.connect(&mut world));
    let (request, _) = phone.request("l", Code::POST, &command(1, Op::Unlock, None), None);
    for at in 0..request.len() {
        let mut broken = request.clone();
        broken[at] ^= 0x55;
        world.deliver(&broken);
    }
    // The token outside the seal is nobody's: with another one it is still this request, and once.
    assert_eq!(world.drives(), [Op::Unlock]);
    assert!(world.agent().dropped() > 0);
}
