//! The platform's signed word on activations: from whom it is believed, for what, and how often.

use cardea_credentials::{Activation, ActivationStatus, Signer as _, SoftSigner};

use super::*;

const THUMBPRINT: [u8; 32] = [1; 32];

fn platform(seed: u8) -> SoftSigner {
    SoftSigner::from_bytes(&[seed; 32]).unwrap()
}

/// A gateway that has pinned keys 5 and 6.
fn bench() -> Bench {
    Bench::with(|config| config.platform_keys = [5, 6].map(|seed| platform(seed).public()).to_vec())
}

/// A handshake message of the lock, brought up; its uplink id.
fn handshake(bench: &mut Bench, number: u8) -> [u8; 16] {
    let mut frame =
        vec![Header { kind: Kind::PlatformEdhoc, more: false, class: Class::Interactive }.encode(), number];
    frame.resize(30, 0xaa);
    bench.hear(LOCK, &frame, None);
    let uplink = bench.uplinks().pop().unwrap();
    assert_eq!(uplink.kind, Kind::PlatformEdhoc);
    uplink.id.0
}

fn status(nonce: [u8; 16], outcome: Activation, at: u32) -> ActivationStatus {
    ActivationStatus { lock: THUMBPRINT, nonce, outcome, at }
}

/// As the platform sends it, in a downlink with this number.
fn word(number: u8, status: &ActivationStatus, gateway: &str, seed: u8) -> Downlink {
    let mut body = [0; 136];
    let len = status.sign(gateway, &platform(seed), &mut body).unwrap();
    let mut data = vec![Header { kind: Kind::Site, more: false, class: Class::Interactive }.encode()];
    data.extend_from_slice(&body[..len]);
    Downlink { kind: Kind::Site, data: Data(data), ..command(number, Class::Interactive, 10_000) }
}

fn shown(bench: &Bench) -> Option<(Activation, u32)> {
    let mut of_lock = bench.relay.locks().filter(|lock| lock.lock == LOCK).map(|lock| lock.activated);
    of_lock.next().flatten().map(|activated| (activated.outcome, activated.at))
}

const DELIVERED: (ResultState, Option<String>) = (ResultState::Delivered, None);

#[test]
fn every_outcome_is_shown_by_either_pinned_key_and_takes_no_air() {
    for (outcome, seed) in [(Activation::Activated, 5), (Activation::WrongCode, 6), (Activation::Owned, 5)] {
        let mut bench = bench();
        let nonce = handshake(&mut bench, 1);
        bench.results();
        bench.sends.clear();
        bench.down(&word(1, &status(nonce, outcome, 9), "gw", seed));
        assert_eq!(bench.results(), [DELIVERED]);
        assert_eq!(shown(&bench), Some((outcome, 9)));
        assert!(bench.sends.is_empty(), "it is for the page");
        // The broker brings it once more: answered as before, shown as before.
        bench.down(&word(1, &status(nonce, outcome, 9), "gw", seed));
        assert_eq!(bench.results(), [DELIVERED]);
    }
}

#[test]
fn a_word_of_somebody_else_for_somebody_else_or_of_another_lock_is_none() {
    let mut bench = bench();
    let nonce = handshake(&mut bench, 1);
    bench.results();
    let good = status(nonce, Activation::Activated, 9);
    bench.down(&word(1, &good, "gw", 7));
    assert_eq!(bench.results(), [refused("signature")], "a key that is not pinned");
    bench.down(&word(2, &good, "another", 5));
    assert_eq!(bench.results(), [refused("signature")], "signed for another gateway");
    let mut bent = word(3, &good, "gw", 5);
    *bent.data.0.last_mut().unwrap() ^= 1;
    bench.down(&bent);
    assert_eq!(bench.results(), [refused("signature")]);
    bench.down(&word(4, &ActivationStatus { lock: [9; 32], ..good }, "gw", 5));
    assert_eq!(bench.results(), [refused("malformed")], "another lock's");
    let mut long = word(5, &good, "gw", 5);
    long.data.0.resize(200, 0);
    bench.down(&long);
    assert_eq!(bench.results(), [refused("malformed")]);
    bench.message(&Topic::Down(LOCK), Encoding::Json.encode(&word(6, &good, "gw", 5)), true);
    assert_eq!(bench.results(), [refused("retained")]);
    let late = Downlink { not_after: DAWN - 1, ..word(7, &good, "gw", 5) };
    bench.down(&late);
    assert_eq!(bench.results(), [(ResultState::Expired, None)]);
    assert_eq!(shown(&bench), None);
    // None of that has used the attempt up.
    bench.down(&word(8, &good, "gw", 5));
    assert_eq!(bench.results(), [DELIVERED]);
}

#[test]
fn a_word_is_good_once_for_an_attempt_that_was_made_and_never_an_older_one() {
    let mut bench = bench();
    let say = |bench: &mut Bench, number, nonce, outcome, at| {
        bench.down(&word(number, &status(nonce, outcome, at), "gw", 5));
        bench.results()
    };
    assert_eq!(
        say(&mut bench, 1, [3; 16], Activation::Activated, 9),
        [refused("no_attempt")],
        "nobody tried"
    );
    let first = handshake(&mut bench, 1);
    let second = handshake(&mut bench, 2);
    let third = handshake(&mut bench, 3);
    bench.results();
    assert_eq!(say(&mut bench, 2, [3; 16], Activation::Activated, 9), [refused("no_attempt")]);
    assert_eq!(say(&mut bench, 3, second, Activation::WrongCode, 20), [DELIVERED]);
    assert_eq!(say(&mut bench, 4, second, Activation::WrongCode, 20), [refused("no_attempt")], "replayed");
    assert_eq!(
        say(&mut bench, 5, second, Activation::Activated, 21),
        [refused("no_attempt")],
        "twice for one"
    );
    assert_eq!(say(&mut bench, 6, first, Activation::Activated, 19), [refused("no_attempt")], "kept back");
    assert_eq!(shown(&bench), Some((Activation::WrongCode, 20)));
    assert_eq!(say(&mut bench, 7, third, Activation::Activated, 30), [DELIVERED]);
    assert_eq!(shown(&bench), Some((Activation::Activated, 30)));
    // The oldest of more attempts than a handshake has give way.
    for number in 4..20 {
        handshake(&mut bench, number);
    }
    bench.results();
    assert_eq!(say(&mut bench, 8, first, Activation::Owned, 40), [refused("no_attempt")]);
}

#[test]
fn without_a_pinned_key_nothing_is_believed_and_without_a_clock_it_still_is() {
    let mut bench = Bench::new();
    let nonce = handshake(&mut bench, 1);
    bench.results();
    bench.down(&word(1, &status(nonce, Activation::Activated, 9), "gw", 5));
    assert_eq!(bench.results(), [refused("no_page")]);
    let mut bench = self::bench();
    let nonce = handshake(&mut bench, 1);
    bench.results();
    bench.synced = false;
    bench.down(&word(1, &status(nonce, Activation::Activated, 9), "gw", 5));
    assert_eq!(bench.results(), [DELIVERED]);
}
