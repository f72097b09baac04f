//! A token that fails on demand, and counts what it is asked.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use cardea_credentials::{Agreement as _, SoftAgreement};

use super::*;

#[derive(Default)]
struct Script {
    gone: AtomicBool,
    wrong_pin: AtomicBool,
    hangs: AtomicBool,
    connects: AtomicUsize,
    anew: AtomicUsize,
    signs: AtomicUsize,
}

struct Fake(Arc<Script>);

/// A session: worth nothing once the token was away.
struct Session {
    script: Arc<Script>,
    opened: usize,
}

impl Device for Fake {
    type Link = Session;

    fn connect(&mut self, anew: bool) -> Result<Session, Error> {
        let opened = self.0.connects.fetch_add(1, SeqCst) + 1;
        self.0.anew.fetch_add(usize::from(anew), SeqCst);
        if self.0.wrong_pin.load(SeqCst) {
            return Err(Error::PinWrong { marker: "m".into() });
        }
        if self.0.gone.load(SeqCst) {
            return Err(Error::TokenAbsent { wanted: "t".into(), found: "none".into() });
        }
        Ok(Session { script: self.0.clone(), opened })
    }
}

impl Link for Session {
    fn sign(&self, _: &[u8; 32]) -> Result<[u8; 64], Error> {
        self.script.signs.fetch_add(1, SeqCst);
        while self.script.hangs.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.script.gone.load(SeqCst) || self.opened < self.script.connects.load(SeqCst) {
            return Err(Error::Lost("CKR_SESSION_HANDLE_INVALID".into()));
        }
        Ok([7; 64])
    }

    fn agree(&self, _: &PublicKey) -> Result<SharedSecret, Error> {
        Err(Error::Token("CKR_MECHANISM_INVALID".into()))
    }
}

fn keeper() -> (Arc<Script>, Arc<Keeper>) {
    let script = Arc::new(Script::default());
    let mut device = Fake(script.clone());
    let link = device.connect(false).unwrap();
    (script, Arc::new(Keeper::start(device, link).unwrap()))
}

fn wait_for(done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "never");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_lost_session_is_replaced_and_the_caller_does_not_notice() {
    let (script, keeper) = keeper();
    script.connects.fetch_add(1, SeqCst); // the session is older than the token's last start
    assert_eq!(keeper.sign([1; 32]), Ok([7; 64]));
    assert_eq!(script.connects.load(SeqCst), 3);
}

#[test]
fn a_token_that_is_away_is_refused_at_once_and_found_again_when_it_is_back() {
    let (script, keeper) = keeper();
    script.gone.store(true, SeqCst);
    let start = Instant::now();
    for _ in 0..50 {
        assert_eq!(keeper.sign([1; 32]), Err(KeyError::KeyUnavailable));
    }
    assert!(start.elapsed() < PATIENCE, "one of them waited: {:?}", start.elapsed());
    let tries = script.connects.load(SeqCst);
    assert!(tries <= 4, "{tries} connections: backoff, whatever callers do");
    script.gone.store(false, SeqCst);
    wait_for(|| keeper.sign([1; 32]).is_ok());
    assert!(script.anew.load(SeqCst) >= 1, "after a failure it starts from the beginning");
}

#[test]
fn a_pin_that_became_wrong_is_tried_once() {
    let (script, keeper) = keeper();
    script.gone.store(true, SeqCst);
    script.wrong_pin.store(true, SeqCst);
    assert_eq!(keeper.sign([1; 32]), Err(KeyError::KeyUnavailable));
    script.gone.store(false, SeqCst);
    std::thread::sleep(FIRST_PAUSE * 3);
    for _ in 0..10 {
        assert_eq!(keeper.sign([1; 32]), Err(KeyError::KeyUnavailable));
    }
    assert_eq!(script.connects.load(SeqCst), 2, "the first, and the one that was refused");
}

#[test]
fn a_token_that_hangs_stalls_one_caller_for_a_while_and_nobody_else() {
    let (script, keeper) = keeper();
    script.hangs.store(true, SeqCst);
    let start = Instant::now();
    assert_eq!(keeper.sign([1; 32]), Err(KeyError::KeyUnavailable));
    assert!(start.elapsed() >= PATIENCE);
    let start = Instant::now();
    for _ in 0..100 {
        assert_eq!(keeper.sign([1; 32]), Err(KeyError::KeyUnavailable));
    }
    assert!(start.elapsed() < PATIENCE, "one of them waited: {:?}", start.elapsed());
    script.hangs.store(false, SeqCst);
    wait_for(|| keeper.sign([1; 32]).is_ok());
    assert_eq!(script.connects.load(SeqCst), 1, "the session was never lost");
}

#[test]
fn what_the_token_refuses_is_not_asked_again_and_the_session_stays() {
    let (script, keeper) = keeper();
    let peer = SoftAgreement::from_bytes(&[3; 32]).unwrap().public();
    assert!(keeper.agree(&peer).is_err());
    assert_eq!(keeper.sign([1; 32]), Ok([7; 64]));
    assert_eq!(script.connects.load(SeqCst), 1);
}
