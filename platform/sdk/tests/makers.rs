//! A maker's certificate beside the owner code: it names the one key that may be activated, and never replaces the code.

#![allow(clippy::unwrap_used, clippy::unwrap_in_result, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail by panicking

mod common;

use cardea_credentials::{OwnerCode, Signer as _, SoftSigner};
use cardea_sdk::{Error, Makers, OsRandom, PlatformEvent, Stage};
use cardea_x509::{Error as Refused, Issuer, Validity, make_root, to_pem};
use common::{CODE, World, board::key, listening};

/// The test board's clock says 2025 or so; these certificates hold whenever.
const ALWAYS: Validity = Validity { from: 0, until: None };

/// A maker's root, and the chain (lock, CA) for the identity key of the test board with this number.
fn maker(identity: u8) -> (String, String) {
    let [root_key, ca_key] = [(); 2].map(|()| SoftSigner::generate(&mut OsRandom).unwrap());
    let root = make_root(&root_key, "Maker", ALWAYS, &mut OsRandom).unwrap();
    let issuer = Issuer::new(&root, &root_key).unwrap();
    let ca = issuer.authority(&ca_key.public(), "Factory", ALWAYS, &mut OsRandom).unwrap();
    let issuer = Issuer::new(&ca, &ca_key).unwrap();
    let lock = issuer.device(&key::signer(identity).public(), ALWAYS, &mut OsRandom).unwrap();
    (to_pem(&root).unwrap(), format!("{}{}", to_pem(&lock).unwrap(), to_pem(&ca).unwrap()))
}

fn set_makers(world: &mut World, root: &str) {
    world.core.as_mut().unwrap().set_makers(Makers::from_pem(root).unwrap(), true);
}

fn enroll(world: &mut World, chain: &str, code: &OwnerCode) -> Result<(), Error> {
    let mut result = None;
    world.batch(|core, now| result = Some(core.enroll_certified(now, chain, code).map(drop)));
    result.unwrap()
}

#[test]
fn a_certified_lock_is_activated_by_its_certificate_and_its_code() {
    let mut world = World::new(listening());
    let (root, chain) = maker(1);
    set_makers(&mut world, &root);
    enroll(&mut world, &chain, &CODE).unwrap();
    let summary = world.core.as_ref().unwrap().summaries().remove(0);
    assert_eq!((summary.lock, summary.stage), (world.lock, Stage::Enrolled));
    assert_eq!(summary.thumbprint, Some(key::signer(1).public().thumbprint()));
    world.boot();
    world.run();
    assert!(world.agent().owner().is_some(), "{:?}", world.events);
}

#[test]
fn a_certificate_without_the_code_activates_nothing() {
    let mut world = World::new(listening());
    let (root, chain) = maker(1);
    set_makers(&mut world, &root);
    enroll(&mut world, &chain, &OwnerCode::from_bytes([8; 16])).unwrap();
    world.boot();
    world.run();
    assert!(world.agent().owner().is_none());
    let refused = |e: &PlatformEvent| matches!(e, PlatformEvent::ActivationRefused { why: "wrong_code", .. });
    assert!(world.events.iter().any(refused), "{:?}", world.events);
}

#[test]
fn another_key_than_the_certified_one_is_not_activated() {
    // The certificate is of identity 2; the lock on the air, with the right code, is identity 1.
    let mut world = World::new(listening());
    let (root, chain) = maker(2);
    set_makers(&mut world, &root);
    enroll(&mut world, &chain, &CODE).unwrap();
    world.boot();
    world.run();
    assert!(world.agent().owner().is_none());
    assert!(world.core.as_ref().unwrap().summaries().iter().all(|lock| lock.stage == Stage::Enrolled));
}

#[test]
fn where_a_maker_must_vouch_a_name_alone_or_another_makers_lock_is_refused() {
    let mut world = World::new(listening());
    let (root, chain) = maker(1);
    let (_, stranger) = maker(1);
    // No maker is known by default, and none is needed.
    let refused = enroll(&mut world, &chain, &CODE);
    assert!(matches!(refused, Err(Error::Certificate(Refused::UnknownIssuer))), "{refused:?}");
    set_makers(&mut world, &root);
    let lock = world.lock;
    let mut refused = None;
    world.batch(|core, _| refused = Some(core.enroll(lock.into(), &CODE)));
    assert!(matches!(refused, Some(Err(Error::Uncertified(id))) if id == lock), "{refused:?}");
    let refused = enroll(&mut world, &stranger, &CODE);
    assert!(matches!(refused, Err(Error::Certificate(Refused::UnknownIssuer))), "{refused:?}");
    assert!(world.core.as_ref().unwrap().summaries().is_empty());
    enroll(&mut world, &chain, &CODE).unwrap();
}
