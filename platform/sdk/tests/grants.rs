//! Grants from the platform's signature to the door: the real lock agent, a phone, and nobody else online.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use board::{EPOCH_MS, TestRandom, key};
use cardea_credentials::{Agreement as _, Scope, SoftAgreement, Weekly};
use cardea_framing::LockId;
use cardea_resources::{Bolt, Op};
use cardea_sdk::{
    Ask, Bundle, Error, Outcome, PlatformEvent,
    holder::{Holder, HolderError, HolderEvent},
    session::{Issued, NewGrant},
};
use common::{World, board, listening};

const HOUR: u32 = 3600;

/// What makes a grant senseless, given the time.
type Change = fn(&mut NewGrant, u32);

fn everything(world: &World, name: &str, key: u8) -> NewGrant {
    let now = u32::try_from(world.now().unix / 1000).unwrap();
    NewGrant {
        lock: world.lock,
        holder: key::agreement(key).public(),
        name: name.into(),
        scope: Scope::UNLOCK | Scope::LOCK | Scope::STATUS,
        not_before: now - 60,
        expires: now + HOUR,
        single_use: false,
        window: None,
        delegate: None,
    }
}

fn issue(world: &mut World, new: &NewGrant) -> Result<Issued, Error> {
    let mut result = None;
    world.batch(|core, now| result = Some(core.issue_grant(now, new)));
    result.unwrap()
}

/// A phone at the door, and how it talks to the lock.
struct Phone {
    holder: Holder<SoftAgreement>,
}

impl Phone {
    fn with(issued: &Issued, key: u8) -> Self {
        let bundle = Bundle::decode(&issued.bundle.encode()).unwrap();
        let random = Box::new(TestRandom::new(key.into()));
        Self { holder: Holder::new(bundle, key::agreement(key), random, 0x1234) }
    }

    /// Carries datagrams both ways until both are silent; what the phone learnt.
    fn talk(&mut self, world: &mut World) -> Vec<HolderEvent> {
        while let Some(datagram) = self.holder.poll_transmit() {
            world.for_peers.clear();
            world.give(datagram);
            for answer in std::mem::take(&mut world.for_peers) {
                self.holder.handle_datagram(world.clock.now(), &answer);
            }
        }
        std::iter::from_fn(|| self.holder.poll_event()).collect()
    }

    fn connect(&mut self, world: &mut World) -> bool {
        self.holder.connect(world.clock.now()).unwrap();
        self.talk(world).contains(&HolderEvent::Connected)
    }

    fn ask(&mut self, world: &mut World, ask: Ask) -> Option<Outcome> {
        self.holder.ask(world.clock.now(), ask, 20_000).unwrap();
        self.ended(world)
    }

    fn ended(&mut self, world: &mut World) -> Option<Outcome> {
        match self.talk(world).pop()? {
            HolderEvent::Ended { outcome, .. } => Some(outcome),
            other => panic!("{other:?}"),
        }
    }
}

fn is_unlocked(outcome: Option<Outcome>) -> bool {
    matches!(outcome, Some(Outcome::Done { bolt: Bolt::Unlocked, .. }))
}

#[test]
fn a_phone_opens_the_door_by_a_grant_and_the_log_says_who_it_was() {
    let mut world = World::activated(listening());
    let new = everything(&world, "Ada", 40);
    let issued = issue(&mut world, &new).unwrap();
    let mut phone = Phone::with(&issued, 40);
    let published = world.ups.len();
    world.lose_up = usize::MAX; // the platform is away
    assert!(phone.connect(&mut world));
    assert!(is_unlocked(phone.ask(&mut world, Ask::Unlock)));
    let status = phone.ask(&mut world, Ask::Status);
    assert!(matches!(status, Some(Outcome::Status { bolt: Bolt::Unlocked, .. })), "{status:?}");
    assert_eq!(world.actuator.drives(), [Op::Unlock]);
    // Later it hears of it, by name.
    world.lose_up = 0;
    for uplink in world.ups.split_off(published) {
        world.again(&uplink);
    }
    world.run();
    let said = format!("grant {:08x} (Ada)", issued.grant.tag());
    let by_grant = |event: &PlatformEvent| {
        matches!(event, PlatformEvent::Lock { kind, value: Some(value), .. }
                 if kind == "unlocked by grant" && *value == said)
    };
    assert!(world.events.iter().any(by_grant), "{:?}", world.events);
    let lock = world.lock;
    let rows = world.batch(|core, _| core.log(lock, 100).unwrap());
    assert!(rows.iter().any(|row| row.grant_tag() == Some(issued.grant.tag())));
    assert_eq!(world.batch(|core, _| core.grants(Some(lock)).unwrap()), [issued.grant]);
}

#[test]
fn what_the_grant_does_not_name_is_forbidden_and_its_hours_and_single_use_hold() {
    let mut world = World::activated(listening());
    let mut new = everything(&world, "cleaner", 41);
    new.scope = Scope::STATUS;
    let mut looker = Phone::with(&issue(&mut world, &new).unwrap(), 41);
    assert!(looker.connect(&mut world));
    assert_eq!(looker.ask(&mut world, Ask::Unlock), Some(Outcome::Rejected { code: "4.03".into() }));

    let mut new = everything(&world, "courier", 42);
    new.single_use = true;
    let mut courier = Phone::with(&issue(&mut world, &new).unwrap(), 42);
    assert!(courier.connect(&mut world));
    assert!(is_unlocked(courier.ask(&mut world, Ask::Unlock)));
    assert_eq!(courier.ask(&mut world, Ask::Unlock), Some(Outcome::Rejected { code: "4.03".into() }));

    let mut new = everything(&world, "nurse", 43);
    let day = (world.now().unix / 86_400_000 + 3) % 7; // 1 January 1970 was a Thursday
    new.window = Some(Weekly::new(0x7f & !(1 << day) & !(1 << ((day + 6) % 7)), 0, 96).unwrap());
    let mut nurse = Phone::with(&issue(&mut world, &new).unwrap(), 43);
    assert!(nurse.connect(&mut world));
    assert_eq!(nurse.ask(&mut world, Ask::Lock), Some(Outcome::Rejected { code: "4.03".into() }));
    assert_eq!(world.actuator.drives(), [Op::Unlock]);
}

#[test]
fn a_late_command_takes_the_echo_and_a_lost_answer_moves_the_bolt_once() {
    let mut world = World::activated(listening());
    let new = everything(&world, "Ada", 44);
    let mut phone = Phone::with(&issue(&mut world, &new).unwrap(), 44);
    assert!(phone.connect(&mut world));
    world.live(40_000);
    assert!(is_unlocked(phone.ask(&mut world, Ask::Unlock)), "4.01 with Echo, and once more with it");
    world.actuator.forget();
    // The answer is lost; the repeat has the same command id.
    phone.holder.ask(world.clock.now(), Ask::Lock, 20_000).unwrap();
    assert_eq!(phone.holder.ask(world.clock.now(), Ask::Lock, 1), Err(HolderError::Busy));
    let request = phone.holder.poll_transmit().unwrap();
    world.give(request.clone());
    world.for_peers.clear();
    let again = phone.holder.poll_timeout().unwrap();
    world.clock.set(again);
    phone.holder.handle_timeout(again);
    let outcome = phone.ended(&mut world);
    assert!(matches!(outcome, Some(Outcome::Done { .. })), "{outcome:?}");
    assert_eq!(world.actuator.drives(), [Op::Lock]);
    world.for_peers.clear();
    world.give(request);
    assert!(world.for_peers.is_empty(), "a replay is not answered");
}

#[test]
fn another_key_or_another_lock_gets_no_session_and_silence_ends() {
    let mut world = World::activated(listening());
    let new = everything(&world, "Ada", 45);
    let issued = issue(&mut world, &new).unwrap();
    let mut thief = Phone::with(&issued, 46);
    assert!(!thief.connect(&mut world), "the bundle without its key");
    let until = thief.holder.poll_timeout().unwrap();
    thief.holder.handle_timeout(until);
    assert!(matches!(thief.holder.poll_event(), Some(HolderEvent::Failed { .. })));
    assert_eq!(thief.holder.ask(until, Ask::Unlock, 1), Err(HolderError::NotConnected));
    assert_eq!(thief.holder.poll_timeout(), None);
    // A lock that has another identity than the bundle's answers in vain.
    let mut phone = Phone::with(&issued, 45);
    world.identity = 3;
    world.nvm = board::TestNvm::default();
    cardea_agent::provision(&mut world.nvm, &common::CODE).unwrap();
    world.lock = LockId::from_thumbprint(&cardea_credentials::Signer::public(&key::signer(3)).thumbprint());
    world.reset_lock();
    world.activate();
    phone.holder.connect(world.clock.now()).unwrap();
    let told = phone.talk(&mut world);
    assert!(matches!(told[..], [HolderEvent::Failed { why }] if why.contains("not the lock")), "{told:?}");
}

#[test]
fn a_grant_that_makes_no_sense_is_not_signed_and_the_batch_goes_on() {
    let mut world = World::new(listening());
    let lock = world.lock;
    let new = everything(&world, "Ada", 47);
    assert!(matches!(issue(&mut world, &new), Err(Error::UnknownLock(id)) if id == lock));
    world.enroll(&common::CODE);
    assert!(matches!(issue(&mut world, &new), Err(Error::NotActivated(id)) if id == lock));
    world.boot();
    world.run();
    let now = u32::try_from(world.now().unix / 1000).unwrap();
    let wrong: [(&str, Change); 5] = [
        ("right", |new, _| new.scope = Scope::NONE),
        ("begin before", |new, _| new.expires = new.not_before),
        ("ended already", |new, now| (new.not_before, new.expires) = (now - 10, now)),
        ("name", |new, _| new.name = " ".into()),
        ("name", |new, _| new.name = "two\nlines".into()),
    ];
    for (words, change) in wrong {
        let mut bad = new.clone();
        change(&mut bad, now);
        match issue(&mut world, &bad) {
            Err(Error::Terms(why)) => assert!(why.contains(words), "{why}"),
            other => panic!("{words}: {other:?}"),
        }
    }
    assert!(world.batch(|core, _| core.grants(None).unwrap()).is_empty());
    let issued = issue(&mut world, &new).unwrap();
    assert!(issued.grant.cwt.len() <= cardea_credentials::MAX_GRANT_LEN);
    let again = world.batch(|core, _| core.bundle(issued.grant.id).unwrap());
    assert_eq!(again.encode(), issued.bundle.encode());
    assert!(EPOCH_MS < issued.grant.issued);
}
