//! Cipher suite negotiation (RFC 9528 §6.3) for those who ask, and the absence of it where a suite is pinned.
#![allow(clippy::unwrap_used, clippy::unwrap_in_result, clippy::indexing_slicing, clippy::panic)] // a panic here is a verdict

use cardea_edhoc::{
    ConnId, EphemeralKey, Error, ErrorMessage, Initiator, InitiatorConfig, Method, Responder,
    ResponderConfig, Suite,
};

fn initiator(suite: Suite, refused: &'static [i8]) -> Initiator {
    let config = InitiatorConfig {
        suite,
        refused_suites: refused,
        method: Method::StaticDh,
        c_i: ConnId::new(&[1]).unwrap(),
        known_eads: &[],
    };
    Initiator::new(config, EphemeralKey::from_bytes(suite, &[5; 32]).unwrap())
}

fn responder(suites: &'static [Suite]) -> Responder {
    let c_r = ConnId::new(&[2]).unwrap();
    Responder::new(ResponderConfig { suites, methods: &[Method::StaticDh], c_r, known_eads: &[] })
}

/// message_1, and what a Responder with these suites says to it: the suite, or SUITES_R.
fn offer(initiator: &mut Initiator, suites: &'static [Suite]) -> Result<Suite, Vec<i32>> {
    let (mut air, mut answer) = ([0; 64], [0; 32]);
    let len = initiator.message_1(&[], &mut air).unwrap();
    let mut responder = responder(suites);
    match responder.handle_message_1(&air[..len]) {
        Ok(read) => Ok(read.suite),
        Err(error) => {
            assert_eq!(error, Error::WrongSuite);
            assert_eq!(responder.handle_message_1(&air[..len]).unwrap_err(), Error::WrongOrder, "it is over");
            let len = ErrorMessage::answering(error, suites).unwrap().encode(&mut answer).unwrap();
            assert_eq!(
                initiator.parse_message_2(&answer[..len], &mut [0; 64]).unwrap_err(),
                Error::PeerError(2),
                "the Initiator starts a new session, with a new key"
            );
            let ErrorMessage::WrongSuite(suites) = ErrorMessage::decode(&answer[..len]).unwrap() else {
                panic!()
            };
            Err(suites.to_vec())
        }
    }
}

#[test]
fn who_prefers_another_suite_learns_ours_and_asks_again() {
    assert_eq!(offer(&mut initiator(Suite::S5, &[]), &[Suite::S2]), Err(vec![2]));
    assert_eq!(offer(&mut initiator(Suite::S2, &[5]), &[Suite::S2]), Ok(Suite::S2));
    // Several on both sides: SUITES_R names all, the retry selects one of them.
    assert_eq!(offer(&mut initiator(Suite::S4, &[]), &[Suite::S2, Suite::S5]), Err(vec![2, 5]));
    assert_eq!(offer(&mut initiator(Suite::S5, &[4]), &[Suite::S2, Suite::S5]), Ok(Suite::S5));
}

/// An attacker who strips a suite from SUITES_I, or an Initiator that skips one, is not gone along with (§6.3.1: the
/// selected suite is the first of the list that the Responder supports).
#[test]
fn a_suite_before_the_selected_one_that_we_support_is_a_downgrade() {
    let both: &[Suite] = &[Suite::S2, Suite::S5];
    assert_eq!(offer(&mut initiator(Suite::S5, &[2]), both), Err(vec![2, 5]));
    assert_eq!(offer(&mut initiator(Suite::S2, &[5]), both), Err(vec![2, 5]));
    // Suites that nobody here knows, private ones among them, are passed over.
    assert_eq!(offer(&mut initiator(Suite::S2, &[-21, 24, 25]), both), Ok(Suite::S2));
}

#[test]
fn a_pinned_suite_is_the_whole_list_on_the_wire_and_the_only_one_taken() {
    let mut air = [0; 64];
    let len = initiator(Suite::S2, &[]).message_1(&[], &mut air).unwrap();
    assert_eq!((len, &air[..4]), (37, &[3, 2, 0x58, 0x20][..]));
    let pinned: &[Suite] = &[Suite::S2];
    for suite in [Suite::S4, Suite::S5] {
        assert_eq!(offer(&mut initiator(suite, &[]), pinned), Err(vec![2]));
    }
    // No answer of a peer changes it: an error message ends the session, and the caller decides what it asks for next.
    let mut lock = initiator(Suite::S2, &[]);
    lock.message_1(&[], &mut air).unwrap();
    assert_eq!(lock.parse_message_2(&[2, 5], &mut [0; 64]).unwrap_err(), Error::PeerError(2));
    assert_eq!(lock.message_1(&[], &mut air).unwrap_err(), Error::WrongOrder);
}

#[test]
fn lists_that_are_none_are_refused() {
    let key = EphemeralKey::from_bytes(Suite::S2, &[5; 32]).unwrap();
    let mut air = [0; 64];
    let mut genuine = initiator(Suite::S2, &[5]);
    let len = genuine.message_1(&[], &mut air).unwrap();
    drop(key);
    assert_eq!(&air[..4], &[3, 0x82, 5, 2]);
    let rest = &air[4..len];
    for (suites, expected) in [
        (&[0x80][..], Error::Malformed), // empty
        (&[0x81, 2], Error::Malformed),  // one suite stands without an array
        (&[0x82, 0x18, 5, 2], Error::NonDeterministic),
        (&[0x9f, 5, 2, 0xff], Error::NonDeterministic),
        (&[0x82, 0x61, 0x35, 2], Error::Malformed), // a text
        (&[0xf6], Error::Malformed),
    ] {
        let message = [&[3], suites, rest].concat();
        assert_eq!(responder(&[Suite::S2]).handle_message_1(&message).unwrap_err(), expected, "{suites:?}");
    }
}
