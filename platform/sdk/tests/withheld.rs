//! A gateway that keeps the pages of a revocation list back gains nothing while the platform is heard: the real lock agent, a
//! phone with a grant, and a gateway that carries everything but site messages.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use board::{TestRandom, key};
use cardea_credentials::{Agreement as _, Scope, Signer as _, SoftAgreement};
use cardea_framing::Kind;
use cardea_resources::Op;
use cardea_sdk::{
    Ask, Bundle, Error, NO_SITE, Outcome, PlatformEvent, SiteReport,
    holder::{Holder, HolderEvent},
    session::NewGrant,
};
use common::{World, board, listening};

/// A phone with a grant of the key of this number, and how it talks to the lock.
struct Phone(Holder<SoftAgreement>);

impl Phone {
    fn new(world: &mut World, number: u8) -> Self {
        let now = u32::try_from(world.now().unix / 1000).unwrap();
        let new = NewGrant {
            delegate: None,
            lock: world.lock,
            holder: key::agreement(number).public(),
            name: format!("phone {number}"),
            scope: Scope::UNLOCK | Scope::STATUS,
            not_before: now - 60,
            expires: now + 86_400,
            single_use: false,
            window: None,
        };
        let issued = world.batch(|core, now| core.issue_grant(now, &new)).unwrap();
        let bundle = Bundle::decode(&issued.bundle.encode()).unwrap();
        let random = Box::new(TestRandom::new(number.into()));
        Self(Holder::new(bundle, key::agreement(number), random, 0x1200 + u16::from(number)))
    }

    fn talk(&mut self, world: &mut World) -> Vec<HolderEvent> {
        while let Some(datagram) = self.0.poll_transmit() {
            world.for_peers.clear();
            world.give(datagram);
            for answer in std::mem::take(&mut world.for_peers) {
                self.0.handle_datagram(world.clock.now(), &answer);
            }
        }
        std::iter::from_fn(|| self.0.poll_event()).collect()
    }

    /// Whether the door opens, with a session that is there or a new one.
    fn opens(&mut self, world: &mut World) -> bool {
        if !self.0.is_connected() {
            let _ = self.0.connect(world.clock.now());
            if !self.talk(world).contains(&HolderEvent::Connected) {
                return false;
            }
        }
        self.0.ask(world.clock.now(), Ask::Unlock, 20_000).unwrap();
        self.talk(world)
            .iter()
            .any(|event| matches!(event, HolderEvent::Ended { outcome: Outcome::Done { .. }, .. }))
    }
}

fn thumbprint(number: u8) -> [u8; 32] {
    key::agreement(number).public().thumbprint()
}

fn report(world: &World) -> SiteReport {
    world.core.as_ref().unwrap().sites()[0]
}

fn revoke(world: &mut World, number: u8) {
    world.batch(|core, now| core.revoke(now, &[thumbprint(number)])).unwrap();
    world.live(5_000);
}

/// The pages that were published, and never reached the lock.
fn pages(world: &World) -> Vec<Vec<u8>> {
    let pages = world.downs.iter().filter(|down| down.message.kind == Kind::Site);
    pages.filter(|down| down.message.data.0[1] == 2).map(|down| down.message.data.0.clone()).collect()
}

#[test]
fn a_grant_of_a_revoked_key_opens_nothing_although_its_gateway_keeps_the_list_back() {
    let mut world = World::activated(listening());
    let (mut lost, mut other) = (Phone::new(&mut world, 40), Phone::new(&mut world, 41));
    assert!(lost.opens(&mut world) && other.opens(&mut world));
    revoke(&mut world, 40);
    assert!(!pages(&world).is_empty(), "the list went out, and nowhere");
    assert!(!lost.opens(&mut world), "not even with the session that it has");
    assert!(!Phone::new(&mut world, 42).opens(&mut world), "no grant holds until the list is there");
    let state = report(&world).state.unwrap();
    assert_eq!((report(&world).told, report(&world).grants_hold(), state.epoch), (true, false, 0));
    let waits = PlatformEvent::Grants { lock: world.lock, hold: false, epoch: 0 };
    assert!(world.events.contains(&waits), "{:?}", world.events);
    assert_eq!(world.actuator.drives(), [Op::Unlock, Op::Unlock]);
    // The platform itself is obeyed all the while.
    let id = world.ask(Ask::Lock, 20_000);
    world.run();
    assert!(matches!(world.outcome(id), Some(Outcome::Done { .. })));

    // It lets the list through: the others' grants hold again, and the platform knows.
    let page = pages(&world).pop().unwrap();
    world.give(page);
    let id = world.ask(Ask::Site, 20_000);
    world.run();
    assert!(matches!(world.outcome(id), Some(Outcome::Site { grants: true, revocations: 1, .. })));
    assert!(report(&world).grants_hold());
    assert_eq!(world.core.as_ref().unwrap().revocations().confirmed().count(), 1);
    assert!(other.opens(&mut world) && !lost.opens(&mut world));
}

#[test]
fn the_lock_hears_of_a_list_before_its_first_page_goes_out() {
    let mut world = World::activated(listening());
    let before = world.downs.len();
    world.lose_down = 1; // the first word of it is lost
    revoke(&mut world, 40);
    let kinds: Vec<Kind> = world.downs[before..].iter().map(|down| down.message.kind).collect();
    assert_eq!(kinds.first(), Some(&Kind::PlatformOscore), "{kinds:?}");
    assert!(!kinds.contains(&Kind::Site) || report(&world).told, "{kinds:?}");
    world.live(20_000);
    assert!(report(&world).told && !pages(&world).is_empty());
}

#[test]
fn what_a_lock_was_not_told_survives_restarts_and_what_it_was_told_is_not_said_twice() {
    let mut world = World::activated(listening());
    world.lose_down = usize::MAX;
    revoke(&mut world, 40);
    assert!(!report(&world).told);
    world.restart();
    world.lose_down = 0;
    world.live(400_000);
    assert!(report(&world).told, "{:?}", world.events);
    let sealed = world.sealed_downs().len();
    world.restart();
    assert!(report(&world).told && !report(&world).grants_hold(), "stored");
    world.live(1_000);
    let asked = world.sealed_downs().len() - sealed;
    assert_eq!(asked, 0, "nothing is said again");
}

#[test]
fn a_sleeping_lock_hears_of_a_list_with_its_next_touch() {
    let mut world = World::activated(common::sleepy());
    world.live(600_000);
    revoke(&mut world, 40);
    assert!(!report(&world).told);
    world.agent().touch();
    world.live(60_000);
    assert!(report(&world).told && !report(&world).grants_hold(), "{:?}", world.events);
}

#[test]
fn a_lock_is_put_into_a_site_and_out_of_it_and_numbers_only_rise() {
    let mut world = World::activated(listening());
    let (lock, site) = (world.lock, [5; 8]);
    let set =
        |world: &mut World, site, version| world.batch(|core, now| core.set_site(now, lock, site, version));
    assert!(matches!(set(&mut world, site, 0), Err(Error::Site(_))), "a version");
    assert!(matches!(set(&mut world, NO_SITE, 1), Err(Error::Site(_))), "no site, no authority");
    set(&mut world, site, 2).unwrap();
    world.live(5_000);
    let report_now = report(&world);
    assert_eq!((report_now.told, report_now.state.unwrap().site), (true, site));
    assert!(matches!(set(&mut world, site, 1), Err(Error::Site(_))), "it would change nothing at the lock");
    // A list that is made later does not move the lock out of its site.
    revoke(&mut world, 40);
    let state = report(&world).state.unwrap();
    assert_eq!((state.site, state.grants), (site, false));
    set(&mut world, NO_SITE, 0).unwrap();
    world.live(5_000);
    assert_eq!(report(&world).state.unwrap().site, NO_SITE);
    set(&mut world, site, 1).unwrap();
    assert_eq!(report(&world).version, 1, "in another site versions begin anew");
}

#[test]
fn an_authority_has_one_version_for_each_key_and_no_lower_one_after_a_backup_was_put_back() {
    let mut world = World::activated(listening());
    let site = [5; 8];
    let issue = |world: &mut World, number: u8| {
        let public = key::signer(number).public();
        world.batch(|core, now| core.issue_authority(now, site, &public))
    };
    assert_eq!(issue(&mut world, 50).unwrap().version, 1);
    assert_eq!(issue(&mut world, 50).unwrap().version, 1, "the same key");
    let copy = world.backup();
    let second = issue(&mut world, 51).unwrap();
    assert_eq!(second.version, 2);
    let signing =
        cardea_sdk::KeyStore::signer(&cardea_sdk::FileKeys::open(world.dir.path()).unwrap()).public();
    let root = world.agent().owner().unwrap();
    let of = cardea_credentials::Site { root, id: site };
    let mut trust = cardea_credentials::Trust::new(root);
    trust.join(site, 1);
    let mut gate = cardea_credentials::Gate::new();
    gate.ask([1; 8], 0);
    let taken = trust.accept_authority(&second.cwt, Some(&[1; 8]), &signing, &mut gate, 0);
    assert!(taken.is_ok() && trust.authority().unwrap().key == key::signer(51).public(), "{taken:?} {of:?}");
    // Which versions were given out since is not known: the next one is above them all.
    world.put_back(&copy);
    assert!(issue(&mut world, 52).unwrap().version > 1_000_000);
    world.batch(|core, now| core.revoke(now, &[key::signer(53).public().thumbprint()])).unwrap();
    assert!(matches!(issue(&mut world, 53), Err(Error::KeyRevoked(_))));
}
