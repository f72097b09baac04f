//! Secure elements that do one thing each: one signs and cannot agree, another agrees and cannot sign.
#![allow(clippy::unwrap_used)] // helpers of tests fail by panicking
// Keys are types here: neither has the other's trait, so that no code path could ask for it.

mod common;

use cardea_agent::{Agent, Config, Parts, Slot, provision};
use cardea_credentials::{
    Agreement, Error, PublicKey, SharedSecret, Signer, SoftAgreement, SoftSigner, verify_lock_identity,
};
use cardea_resources::Firmware;
use std::{cell::Cell, rc::Rc};

use common::CODE;
use common::board::{TestActuator, TestClock, TestNvm, TestRandom, key};

/// Signs, and counts; has no `Agreement`.
struct SigningElement(SoftSigner, Rc<Cell<usize>>);

impl Signer for SigningElement {
    fn public(&self) -> PublicKey {
        self.0.public()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], Error> {
        self.1.set(self.1.get() + 1);
        self.0.sign(message)
    }
}

/// Agrees; has no `Signer`.
struct AgreeingElement(SoftAgreement);

impl Agreement for AgreeingElement {
    fn public(&self) -> PublicKey {
        self.0.public()
    }

    fn agree(&self, peer: &PublicKey) -> Result<SharedSecret, Error> {
        self.0.agree(peer)
    }
}

struct Board;

impl cardea_agent::Board for Board {
    type Storage = TestNvm;
    type Clock = TestClock;
    type Random = TestRandom;
    type Identity = SigningElement;
    type Dh = AgreeingElement;
    type Actuator = TestActuator;
}

fn boot(nvm: &TestNvm, signed: &Rc<Cell<usize>>) -> Agent<Board> {
    let parts = Parts {
        storage: nvm.clone(),
        clock: TestClock::default(),
        random: TestRandom::new(1),
        identity: SigningElement(key::signer(1), signed.clone()),
        dh: AgreeingElement(key::agreement(2)),
        actuator: TestActuator::default(),
    };
    let config = Config::listening(Firmware { major: 1, minor: 2, patch: 3 });
    Agent::boot(parts, config).map_err(|_| ()).unwrap()
}

#[test]
fn the_identity_key_certifies_the_dh_key_with_the_one_signature_of_its_life() {
    let mut nvm = TestNvm::default();
    provision(&mut nvm, &CODE).unwrap();
    let signed = Rc::new(Cell::new(0));
    drop(boot(&nvm, &signed));
    let cwt = nvm.get(Slot::Identity).unwrap();
    let named = verify_lock_identity(&cwt).unwrap();
    assert_eq!(named.identity, key::signer(1).public());
    assert_eq!(named.dh, key::agreement(2).public());
    assert_eq!(signed.get(), 1);
    drop(boot(&nvm, &signed));
    assert_eq!(nvm.get(Slot::Identity), Some(cwt), "what a platform pinned stays the same bytes");
    assert_eq!(signed.get(), 1);
}
