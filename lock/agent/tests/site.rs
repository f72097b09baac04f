//! Public messages of a site: what a lock asks for and how often, what it takes from whom, and what a flood costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::unwrap_in_result)] // helpers of tests fail by panicking

mod common;

use cardea_agent::{AgentEvent, Slot};
use cardea_credentials::{
    Agreement, Authority, Question, Signer, SiteKind, issue_authority, issue_membership, issue_time_token,
};
use cardea_framing::{Header, Kind};
use cardea_oscore::coap::Code;
use cardea_resources::{LogPage, Op, Outcome, SiteSetting};

use common::board::key;
use common::phone::Phone;
use common::site::{ID, addition, authority, authority_cwt, list, message, site, strangers, written};
use common::{World, command, outcome};

const DAY: u64 = 24 * 60 * 60 * 1000;

fn setting(version: u32, epoch: u32) -> SiteSetting {
    SiteSetting { site: ID, version, epoch, counter: None }
}

fn kinds(world: &World) -> Vec<SiteKind> {
    world.questions.iter().map(|question| question.kind).collect()
}

/// The next question, if one comes within a day.
fn next_question(world: &mut World) -> Question {
    world.questions.clear();
    for _ in 0..24 * 60 {
        world.live(60_000);
        if let Some(question) = world.questions.first() {
            return *question;
        }
    }
    panic!("no question");
}

#[test]
fn a_lock_in_no_site_asks_nothing() {
    let mut world = World::activated();
    world.live(3 * DAY);
    world.reset();
    world.live(3 * DAY);
    assert_eq!(world.questions, []);
}

#[test]
fn a_lock_in_a_site_asks_for_what_it_may_have_missed_and_stops_when_it_is_answered() {
    let mut world = World::activated();
    assert_eq!(world.set_site(setting(1, 0)).0, Code::CHANGED);
    assert_eq!(kinds(&world), [SiteKind::Authority]);
    let nonce = world.questions[0].nonce;
    assert_eq!(world.questions[0].number, 1);
    assert!(world.hand(SiteKind::Authority, Some(nonce), &authority_cwt(1)));
    assert_eq!(kinds(&world), [SiteKind::Authority, SiteKind::Revocations], "at once");
    assert!(world.hand(SiteKind::Revocations, Some(world.questions[1].nonce), &list(7, &[])[0]));
    assert_eq!(world.site_state().epoch, 7);
    let Question { kind, nonce, number } = world.questions[2];
    assert_eq!((kind, number), (SiteKind::SiteRevocations, 1));
    assert!(world.hand(kind, Some(nonce), &addition(1, 1, &strangers(0..1))));
    // Perhaps there is another one; nobody answers.
    world.live(70_000);
    let Question { kind, nonce, number } = world.questions[3];
    assert_eq!((kind, number), (SiteKind::SiteRevocations, 2));
    // "Nothing newer" is an answer, and costs no verification.
    world.hand(kind, Some(nonce), &addition(1, 1, &strangers(0..1)));
    assert_eq!(world.questions.len(), 4);
    world.live(DAY - 60_000);
    assert_eq!(world.questions.len(), 4, "for a day");
    world.live(70_000);
    assert_eq!(world.questions.len(), 5);
    // After a reset the same is asked again.
    world.questions.clear();
    world.reset();
    world.live(10 * 60_000);
    assert_eq!(kinds(&world)[..3], [SiteKind::Authority, SiteKind::Revocations, SiteKind::SiteRevocations]);
}

#[test]
fn a_silent_site_costs_eleven_short_frames_on_the_first_day_and_one_a_day_then() {
    let mut world = World::activated();
    world.set_site(setting(1, 0));
    world.air.clear();
    world.live(DAY);
    let site = |frame: &&Vec<u8>| Header::decode(frame[0]).unwrap().kind == Kind::Site;
    let sent: Vec<_> = world.air.iter().filter(site).collect();
    assert_eq!(world.questions.len(), 11);
    assert!(sent.len() <= 11 && sent.iter().all(|frame| frame.len() <= 12), "{}", sent.len());
    world.questions.clear();
    world.live(7 * DAY);
    assert!((6..=7).contains(&world.questions.len()), "{}", world.questions.len());
}

#[test]
fn a_lock_in_no_site_that_missed_a_list_asks_for_the_next_and_nothing_else() {
    let mut world = World::activated();
    assert!(
        !world.hand(SiteKind::Revocations, None, &list(2, &[])[0]),
        "not the next epoch, and nobody asked"
    );
    let question = next_question(&mut world);
    assert_eq!((question.kind, question.number), (SiteKind::Revocations, 0));
    assert!(world.hand(SiteKind::Revocations, Some(question.nonce), &list(2, &[])[0]));
    assert_eq!(world.site_state().epoch, 2);
    world.questions.clear();
    world.live(3 * DAY);
    assert_eq!(world.questions, [], "it has what there is");
}

#[test]
fn what_lies_further_ahead_is_asked_for_and_not_believed() {
    let mut world = World::in_site();
    assert!(!world.hand(SiteKind::Revocations, None, &list(5, &[])[0]), "nobody asked");
    let mut question = next_question(&mut world);
    while question.kind != SiteKind::Revocations {
        question = next_question(&mut world);
    }
    assert!(!world.hand(SiteKind::Revocations, Some([1; 8]), &list(5, &[])[0]), "for another question");
    assert!(world.hand(SiteKind::Revocations, Some(question.nonce), &list(5, &[])[0]));
    assert_eq!(world.site_state().epoch, 5);
    assert!(!world.hand(SiteKind::Revocations, Some(question.nonce), &list(9, &[])[0]), "answered once");
}

#[test]
fn a_list_that_stops_coming_is_asked_for_where_it_stopped() {
    let mut world = World::in_site();
    let pages = list(1, &strangers(0..60));
    assert!(world.hand(SiteKind::Revocations, None, &pages[0]));
    let mut question = next_question(&mut world);
    while question.kind != SiteKind::Revocations {
        question = next_question(&mut world);
    }
    assert_eq!(question.number, 1);
    assert!(world.hand(SiteKind::Revocations, Some(question.nonce), &pages[1]));
    assert!(world.hand(SiteKind::Revocations, None, &pages[2]));
    assert_eq!(world.site_state().epoch, 1);
}

#[test]
fn an_authority_is_the_platforms_choice_and_its_version_never_falls() {
    let mut world = World::activated();
    assert!(!world.hand(SiteKind::Authority, None, &authority_cwt(1)), "in no site");
    world.wait(61_000); // until then the radio link takes it for a repeat
    world.set_site(setting(1, 0));
    let forged = written(|out| {
        let authority = Authority { key: authority(1).public(), version: 1 };
        issue_authority(&site(), &authority, &key::signer(31), out)
    });
    assert!(!world.hand(SiteKind::Authority, None, &forged));
    assert!(world.hand(SiteKind::Authority, None, &authority_cwt(1)));
    assert_eq!(world.site_state().version, 1);
    assert!(world.hand(SiteKind::Authority, None, &authority_cwt(2)), "the next one needs no question");
    world.wait(61_000);
    assert!(!world.hand(SiteKind::Authority, None, &authority_cwt(1)));
    world.reset();
    world.run();
    assert_eq!(world.site_state().version, 2);
    // The platform knows of a newer one: the old one's word is worth nothing, before the new one is here.
    assert_eq!(world.set_site(setting(3, 0)).1.version, 0);
    assert!(!world.hand(SiteKind::SiteRevocations, None, &addition(2, 1, &strangers(0..1))));
    world.wait(60_000);
    assert!(world.hand(SiteKind::Authority, None, &authority_cwt(3)));
    assert!(world.hand(SiteKind::SiteRevocations, None, &addition(3, 1, &strangers(0..1))));
}

#[test]
fn another_site_begins_anew_and_keeps_the_platforms_list() {
    let mut world = World::in_site();
    let mut phone = Phone::new(&world, 5);
    world.revoke(1, &strangers(0..1));
    let name = phone.key.public().thumbprint();
    assert!(world.hand(SiteKind::SiteRevocations, None, &addition(1, 1, &[name])));
    assert!(!phone.connect(&mut world));
    let (code, state) = world.set_site(SiteSetting { site: *b"site-002", ..setting(0, 0) });
    assert_eq!((code, state.version, state.counter, state.epoch), (Code::CHANGED, 0, 0, 1));
    world.wait(61_000);
    assert!(!world.hand(SiteKind::Authority, None, &authority_cwt(1)), "of the site that it has left");
    world.wait(60_000);
    assert!(phone.connect(&mut world), "what was added there says nothing here");
}

#[test]
fn only_the_platform_puts_a_lock_into_a_site() {
    let mut world = World::activated();
    let mut phone = Phone::new(&world, 5);
    assert!(phone.connect(&mut world));
    for code in [Code::GET, Code::POST] {
        assert_eq!(phone.ask(&mut world, "a", code, &[], None).unwrap().code, Code::FORBIDDEN);
    }
    // And not by an old message: it wants freshness.
    let mut payload = [0; SiteSetting::MAX_LEN];
    let len = setting(1, 0).encode(&mut payload).unwrap();
    let reply = world.ask("a", Code::POST, &payload[..len], None);
    assert_eq!(reply.code, Code::UNAUTHORIZED);
    assert_eq!(world.ask("a", Code::POST, &[0xa0], None).code, Code::BAD_REQUEST);
    assert_eq!(world.site_state().site, [0; 8]);
}

#[test]
fn a_membership_is_told_when_it_was_asked_for_and_opens_nothing() {
    let mut world = World::in_site();
    let mut member = Phone::signed(&world, 5, &authority(1), |_| {});
    let holder = member.key.public();
    let cwt = |address| {
        written(|out| issue_membership(&site(), &holder, address, 2_000_000_000, &authority(1), out))
    };
    assert!(!world.hand(SiteKind::Membership, None, &cwt(5)), "nobody asked");
    world.questions.clear();
    world.agent().ask_membership(5);
    let mut question = next_question(&mut world);
    while question.kind != SiteKind::Membership {
        question = next_question(&mut world);
    }
    assert_eq!(question.number, 5);
    assert!(!world.hand(SiteKind::Membership, Some(question.nonce), &cwt(6)), "of somebody else");
    world.told.clear();
    assert!(world.hand(SiteKind::Membership, Some(question.nonce), &cwt(5)));
    let key = holder.thumbprint();
    assert_eq!(world.told, [AgentEvent::Member { address: 5, key, expires: 2_000_000_000 }]);
    // A grant that the authority signed is none, and a membership in its place neither.
    assert!(!member.connect(&mut world));
    member.grant = cwt(5);
    world.wait(60_000);
    assert!(!member.connect(&mut world));
}

/// When the newest log entry says that it was made.
fn newest_entry(world: &mut World) -> Option<u32> {
    world.agent().bolt_moved();
    world.run();
    let page = world.ask("g", Code::GET, &[], None);
    LogPage::decode(&page.payload).unwrap().entries().last().unwrap().at
}

#[test]
fn a_time_token_dates_log_entries_and_decides_nothing() {
    let mut world = World::in_site();
    for question in [SiteKind::Revocations, SiteKind::SiteRevocations] {
        let nonce = world.questions.last().unwrap().nonce;
        assert_eq!(kinds(&world).last(), Some(&question));
        let nothing = addition(1, 1, &strangers(0..1));
        let signed = if question == SiteKind::Revocations { &list(1, &[])[0] } else { &nothing };
        assert!(world.hand(question, Some(nonce), signed));
    }
    world.platform.answers_events = false;
    let time = world.nvm.get(Slot::Time);
    world.clock.advance(120_000_000);
    assert_eq!(newest_entry(&mut world), None, "33 hours of drift");
    let mut question = *world.questions.last().unwrap();
    while question.kind != SiteKind::Time {
        world.live(15 * 60_000);
        question = *world.questions.last().unwrap();
    }
    let lock = key::signer(1).public().thumbprint();
    let token =
        |unix, nonce, by: u32| written(|out| issue_time_token(&lock, &nonce, unix, by, &authority(by), out));
    let now = world.unix();
    assert!(!world.hand(SiteKind::Time, Some(question.nonce), &token(now, [1; 8], 1)));
    assert!(!world.hand(SiteKind::Time, Some(question.nonce), &token(now, question.nonce, 2)));
    assert!(world.hand(SiteKind::Time, Some(question.nonce), &token(now + 2, question.nonce, 1)));
    assert!(newest_entry(&mut world).is_some_and(|at| at.abs_diff(world.unix()) <= 3), "inside the bound");
    assert_eq!(world.nvm.get(Slot::Time), time, "not a byte of it is stored");
    // A command is judged by what the platform said, which is not enough.
    let soon = world.unix() + 60;
    assert_eq!(world.command(1, Op::Unlock, Some(soon), None).code, Code::UNAUTHORIZED);
    let mut expired = Phone::with(&world, 5, |terms| terms.expires = soon - 59);
    assert!(expired.connect(&mut world));
    let reply = expired.ask(&mut world, "l", Code::POST, &command(1, Op::Unlock, None), None).unwrap();
    assert_eq!(reply.code, Code::FORBIDDEN, "perhaps over, by the platform's time");
    assert_eq!(world.drives(), []);
}

/// Receipts that the lock gave: one for each message that it looked at, whatever it thought of it.
fn looked_at(world: &World) -> usize {
    world.air.iter().filter(|frame| Header::decode(frame[0]).unwrap().kind == Kind::Receipt).count()
}

#[test]
fn a_flood_of_forged_messages_costs_four_verifications_a_minute_and_the_owner_is_served() {
    let mut world = World::in_site();
    world.wait(60_000);
    world.air.clear();
    let open = world.questions.last().unwrap().nonce;
    let forged = |n: u32, nonce| {
        let keys = strangers(n as u16..n as u16 + 1);
        let page = written(|out| {
            let root = site().root;
            cardea_credentials::Page::sign((1, n), (0, 1), &keys, &root, &key::signer(31), out)
        });
        message(SiteKind::Revocations, nonce, &page)
    };
    for n in 0..500 {
        world.deliver(&forged(n, None));
        world.clock.advance(100);
    }
    assert_eq!(looked_at(&world), 3, "in fifty seconds, of what nobody asked for");
    for n in 0..50 {
        world.deliver(&forged(1000 + n, Some(open)));
    }
    assert_eq!(looked_at(&world), 4, "and one more for who reads the nonce on the air");
    let challenge = world.touch();
    assert_eq!(outcome(&world.command(1, Op::Unlock, None, Some(&challenge))).outcome, Outcome::Done);
    // What was not looked at was not received: it comes again when there is room.
    world.wait(60_000);
    let genuine = list(1, &strangers(0..1)).remove(0);
    assert!(world.hand(SiteKind::Revocations, None, &genuine));
    assert_eq!(world.site_state().epoch, 1);
    let writes = world.nvm.writes().iter().filter(|slot| matches!(slot, Slot::Revoked(_))).count();
    assert_eq!(writes, 1, "the flood wrote nothing");
}

#[test]
fn what_was_not_looked_at_is_taken_when_it_comes_again() {
    let mut world = World::in_site();
    let pages = list(1, &strangers(0..80));
    assert!(world.hand(SiteKind::Revocations, None, &pages[0]));
    assert!(world.hand(SiteKind::Revocations, None, &pages[1]));
    assert!(!world.hand(SiteKind::Revocations, None, &pages[2]), "the authority was the first of three");
    world.wait(60_000);
    assert!(world.hand(SiteKind::Revocations, None, &pages[2]), "the same bytes again");
    assert!(world.hand(SiteKind::Revocations, None, &pages[3]));
    assert_eq!(world.site_state().epoch, 1);
}

#[test]
fn a_full_page_comes_over_the_slowest_radio() {
    let mut world = World::activated();
    world.mtu = 51;
    world.revoke(1, &strangers(0..24));
    assert_eq!(world.site_state().epoch, 1);
}

#[test]
fn a_fault_of_the_storage_changes_nothing_and_the_message_comes_again() {
    let mut world = World::in_site();
    world.nvm.fail(true);
    let page = list(1, &[]).remove(0);
    assert!(!world.hand(SiteKind::Revocations, None, &page));
    assert!(world.told.contains(&AgentEvent::StorageFailed));
    assert_eq!(world.site_state().epoch, 0);
    world.nvm.fail(false);
    world.wait(60_000);
    assert!(world.hand(SiteKind::Revocations, None, &page));
    assert_eq!(world.site_state().epoch, 1);
}

#[test]
fn hostile_bytes_change_nothing() {
    let mut world = World::in_site();
    world.wait(60_000);
    let before = world.nvm.get(Slot::Site);
    let genuine = message(SiteKind::Revocations, None, &list(1, &strangers(0..2))[0]);
    for end in 1..genuine.len() {
        world.deliver(&genuine[..end]);
    }
    for at in 1..genuine.len() {
        let mut broken = genuine.clone();
        broken[at] ^= 0x41;
        world.deliver(&broken);
        world.wait(20_000);
    }
    for kind in 0..8 {
        world.deliver(&common::platform::datagram(Kind::Site, &[kind, 0x40]));
    }
    assert_eq!(world.nvm.get(Slot::Site), before);
    assert_eq!(world.site_state().epoch, 0);
}
