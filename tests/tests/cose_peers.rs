//! Every signed type that `protocol/credentials` makes, verified by pycose and by pyca/cryptography with the external_aad
//! that docs/protocol.md states; and the same type made by pycose, taken by our verifier. cbor2 writes what is expected
//! from a description that stands here, so neither the layout nor the determinism is our encoder's word alone.

use cardea_credentials::{
    Activation, ActivationRecord, ActivationStatus, Addition, Agreement as _, Authority, Error, Page,
    PublicKey, Release, Releaser, Scope, Signer as _, Site, SoftAgreement, SoftSigner, Terms, Thumbprint,
    Verb, Weekly, delegate_grant, issue_authority, issue_grant, issue_lock_identity, issue_membership,
    issue_platform, issue_time_token, verify_authority, verify_delegated_grant, verify_grant,
    verify_lock_identity, verify_membership, verify_platform, verify_time_token,
};
use cardea_tests::{lines::LinePeer, venv};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const FROM: u32 = 1_800_000_000;
const UNTIL: u32 = 1_800_086_400;

fn secret(byte: u8) -> [u8; 32] {
    [byte; 32]
}

fn signer(byte: u8) -> SoftSigner {
    SoftSigner::from_bytes(&secret(byte)).unwrap()
}

fn agreement(byte: u8) -> SoftAgreement {
    SoftAgreement::from_bytes(&secret(byte)).unwrap()
}

/// Keys by number.
const LOCK: u8 = 1;
const LOCK_DH: u8 = 2;
const ROOT: u8 = 3;
const PLATFORM_DH: u8 = 4;
const PLATFORM: u8 = 5;
const HOLDER_DH: u8 = 6;
const DELEGATE: u8 = 7;
const AUTHORITY: u8 = 8;
const GUEST_DH: u8 = 9;

fn thumbprint(byte: u8) -> Thumbprint {
    signer(byte).public().thumbprint()
}

fn site() -> Site {
    Site { root: thumbprint(ROOT), id: [0x51; 8] }
}

fn authority() -> Authority {
    Authority { key: signer(AUTHORITY).public(), version: 3 }
}

fn revoked() -> Vec<Thumbprint> {
    (0..24).map(|n| [n; 32]).collect()
}

// ------------------------------------------------------------------------------------------ what CBOR says, in JSON

fn b(bytes: &[u8]) -> Value {
    json!({ "b": hex::encode(bytes) })
}

fn m(pairs: &[(Value, Value)]) -> Value {
    json!({ "m": pairs.iter().map(|(key, value)| json!([key, value])).collect::<Vec<_>>() })
}

/// `{1: COSE_Key}` with y as its sign bit.
fn cnf(key: &PublicKey) -> Value {
    let odd = key.to_compressed()[0] == 3;
    m(&[(
        json!(1),
        m(&[(json!(1), json!(2)), (json!(-1), json!(1)), (json!(-2), b(&key.x())), (json!(-3), json!(odd))]),
    )])
}

// ------------------------------------------------------------------------------------------ the cases

type Verifier = Box<dyn Fn(&[u8]) -> Result<(), Error>>;

/// One type: how we make it, what stands in it and around it, and our verifier.
struct Case {
    name: &'static str,
    by: u8,
    kid: Option<Vec<u8>>,
    aad: Option<Value>,
    payload: Value,
    ours: Vec<u8>,
    accept: Verifier,
}

fn made(make: impl FnOnce(&mut [u8]) -> Result<usize, Error>) -> Vec<u8> {
    let mut out = [0; 1_024];
    let len = make(&mut out).unwrap();
    out[..len].to_vec()
}

fn certificates() -> Vec<Case> {
    let named = |byte| Some(signer(byte).public().to_compressed().to_vec());
    vec![
        Case {
            name: "lock CWT",
            by: LOCK,
            kid: named(LOCK),
            aad: None,
            payload: m(&[(json!(8), cnf(&agreement(LOCK_DH).public()))]),
            ours: made(|out| issue_lock_identity(&signer(LOCK), &agreement(LOCK_DH).public(), out)),
            accept: Box::new(|cwt| {
                let read = verify_lock_identity(cwt)?;
                assert_eq!((read.identity, read.dh), (signer(LOCK).public(), agreement(LOCK_DH).public()));
                Ok(())
            }),
        },
        Case {
            name: "platform CWT",
            by: ROOT,
            kid: named(ROOT),
            aad: None,
            payload: m(&[
                (json!(8), cnf(&agreement(PLATFORM_DH).public())),
                (json!(-65537), b(&signer(PLATFORM).public().to_compressed())),
                (json!(-65538), json!(7)),
            ]),
            ours: made(|out| {
                let (dh, signing) = (agreement(PLATFORM_DH).public(), signer(PLATFORM).public());
                issue_platform(&signer(ROOT), &dh, &signing, 7, out)
            }),
            accept: Box::new(|cwt| {
                assert_eq!(verify_platform(cwt, Some(&signer(ROOT).public()))?.version, 7);
                Ok(())
            }),
        },
    ]
}

fn terms(holder: u8, delegate: Option<u8>) -> Terms {
    Terms {
        lock: thumbprint(LOCK),
        holder: agreement(holder).public(),
        scope: Scope::from_bits(0b101),
        not_before: FROM,
        expires: UNTIL,
        single_use: false,
        window: Some(Weekly::new(0b001_1111, 32, 40).unwrap()),
        delegate: delegate.map(|byte| signer(byte).public()),
    }
}

fn grant_claims(terms: &Terms, id: [u8; 8]) -> Value {
    let mut claims = vec![
        (json!(3), b(&terms.lock[..8])),
        (json!(4), json!(terms.expires)),
        (json!(5), json!(terms.not_before)),
        (json!(7), b(&id)),
        (json!(8), cnf(&terms.holder)),
        // rights 0b101, a window follows: Monday to Friday, from 08:00, ten hours
        (json!(9), b(&[0, 5, 2, 0x1f, 32, 40])),
    ];
    claims.extend(terms.delegate.map(|key| (json!(-65539), b(&key.to_compressed()))));
    m(&claims)
}

fn grants() -> Vec<Case> {
    let (first, second) = (terms(HOLDER_DH, Some(DELEGATE)), terms(GUEST_DH, None));
    let platform = signer(PLATFORM).public();
    let ours = made(|out| issue_grant(&first, &[1; 8], &signer(PLATFORM), out));
    let parent = verify_grant(&ours, &thumbprint(LOCK), &platform).unwrap();
    let delegated = made(|out| delegate_grant(&parent, &second, &[2; 8], &signer(DELEGATE), out));
    vec![
        Case {
            name: "grant",
            by: PLATFORM,
            kid: None,
            aad: Some(json!(["cardea/grant", b(&thumbprint(LOCK))])),
            payload: grant_claims(&first, [1; 8]),
            accept: Box::new(move |cwt| {
                assert_eq!(verify_grant(cwt, &thumbprint(LOCK), &platform)?.terms(), &first);
                Ok(())
            }),
            ours: ours.clone(),
        },
        Case {
            name: "delegated grant",
            by: DELEGATE,
            kid: None,
            aad: Some(
                json!(["cardea/delegated-grant", b(&thumbprint(LOCK)), { "sha256": grant_claims(&first, [1; 8]) }]),
            ),
            payload: grant_claims(&second, [2; 8]),
            ours: delegated,
            accept: Box::new(move |cwt| {
                assert_eq!(verify_delegated_grant(cwt, &parent)?.terms(), &second);
                Ok(())
            }),
        },
    ]
}

fn site_messages() -> Vec<Case> {
    let (root, id) = (thumbprint(ROOT), b(&site().id));
    vec![
        Case {
            name: "authority",
            by: PLATFORM,
            kid: None,
            aad: Some(json!(["cardea/authority", b(&root)])),
            payload: m(&[
                (json!(3), id.clone()),
                (json!(8), cnf(&authority().key)),
                (json!(-65538), json!(3)),
            ]),
            ours: made(|out| issue_authority(&site(), &authority(), &signer(PLATFORM), out)),
            accept: Box::new(|cwt| {
                assert_eq!(verify_authority(cwt, &site(), &signer(PLATFORM).public())?, authority());
                Ok(())
            }),
        },
        Case {
            name: "membership",
            by: AUTHORITY,
            kid: None,
            aad: Some(json!(["cardea/membership", b(&root), id.clone()])),
            payload: m(&[
                (json!(3), id.clone()),
                (json!(4), json!(UNTIL)),
                (json!(8), cnf(&agreement(LOCK_DH).public())),
                (json!(-65540), json!(0x1234)),
            ]),
            ours: made(|out| {
                let member = agreement(LOCK_DH).public();
                issue_membership(&site(), &member, 0x1234, UNTIL, &signer(AUTHORITY), out)
            }),
            accept: Box::new(|cwt| {
                assert_eq!(verify_membership(cwt, &site(), &authority().key)?.address(), 0x1234);
                Ok(())
            }),
        },
        Case {
            name: "page of the platform's list",
            by: PLATFORM,
            kid: None,
            aad: Some(json!(["cardea/revocations", b(&root)])),
            payload: m(&[
                (json!(1), json!(9)),
                (json!(2), json!(FROM)),
                (json!(3), json!(0)),
                (json!(4), json!(2)),
                (json!(5), b(revoked().as_flattened())),
            ]),
            ours: made(|out| {
                Page::sign((9, FROM), (0, 2), &revoked(), &thumbprint(ROOT), &signer(PLATFORM), out)
            }),
            accept: Box::new(|message| {
                let page = Page::verify(message, &thumbprint(ROOT), &signer(PLATFORM).public())?;
                assert!(page.epoch == 9 && page.thumbprints().eq(&revoked()));
                Ok(())
            }),
        },
        Case {
            name: "addition by the site",
            by: AUTHORITY,
            kid: None,
            aad: Some(json!(["cardea/site-revocations", b(&root), id])),
            payload: m(&[
                (json!(5), b(revoked()[..2].as_flattened())),
                (json!(6), json!(3)),
                (json!(7), json!(70_000)),
            ]),
            ours: made(|out| Addition::sign((3, 70_000), &revoked()[..2], &site(), &signer(AUTHORITY), out)),
            accept: Box::new(|message| {
                let addition = Addition::verify(message, &site(), &authority().key)?;
                assert_eq!((addition.version, addition.counter), (3, 70_000));
                Ok(())
            }),
        },
        Case {
            name: "time token",
            by: AUTHORITY,
            kid: None,
            aad: Some(json!(["cardea/time", b(&thumbprint(LOCK))])),
            payload: json!([b(&[0x0a; 8]), FROM, 3]),
            ours: made(|out| {
                issue_time_token(&thumbprint(LOCK), &[0x0a; 8], FROM, 3, &signer(AUTHORITY), out)
            }),
            accept: Box::new(|token| {
                let time = verify_time_token(token, &thumbprint(LOCK), &[0x0a; 8], &authority())?;
                assert_eq!(time, FROM);
                Ok(())
            }),
        },
    ]
}

fn records() -> Vec<Case> {
    let (lock, root) = (thumbprint(LOCK), thumbprint(ROOT));
    let record = ActivationRecord { lock, root, platform: thumbprint(PLATFORM), at: FROM };
    let release =
        Release { lock, root, at: FROM, nonce: [0x0b; 8], by: Releaser::OwnerRoot, to: Some(thumbprint(9)) };
    let verb = Verb::new([0x0c; 16], UNTIL, "reboot", b"{\"in\":5}");
    let status = ActivationStatus { lock, nonce: [0x0d; 16], outcome: Activation::Owned, at: FROM };
    vec![
        Case {
            name: "activation record",
            by: LOCK,
            kid: None,
            aad: Some(json!(["cardea/activation-record", b(&lock)])),
            payload: m(&[
                (json!(1), b(&lock)),
                (json!(2), b(&root)),
                (json!(3), b(&thumbprint(PLATFORM))),
                (json!(4), json!(FROM)),
            ]),
            ours: made(|out| record.sign(&signer(LOCK), out)),
            accept: Box::new(move |message| {
                assert_eq!(ActivationRecord::verify(message, &lock, &signer(LOCK).public())?.0, record);
                Ok(())
            }),
        },
        Case {
            name: "release",
            by: ROOT,
            kid: None,
            aad: Some(json!(["cardea/release-record", b(&lock)])),
            payload: m(&[
                (json!(1), b(&lock)),
                (json!(2), b(&root)),
                (json!(4), json!(FROM)),
                (json!(5), b(&[0x0b; 8])),
                (json!(6), json!(0)),
                (json!(7), b(&thumbprint(9))),
            ]),
            ours: made(|out| release.sign(&signer(ROOT), out)),
            accept: Box::new(move |message| {
                let root = signer(ROOT).public();
                assert_eq!(Release::verify(message, &lock, &[0x0b; 8], &root, None)?, release);
                Ok(())
            }),
        },
        Case {
            name: "remote verb",
            by: PLATFORM,
            kid: None,
            aad: Some(json!(["cardea/verb", "gateway-1"])),
            payload: m(&[
                (json!(1), b(&[0x0c; 16])),
                (json!(2), json!(UNTIL)),
                (json!(3), json!("reboot")),
                (json!(4), b(&Sha256::digest(b"{\"in\":5}"))),
            ]),
            ours: made(|out| verb.sign("gateway-1", &signer(PLATFORM), out)),
            accept: Box::new(|message| {
                let key = signer(PLATFORM).public();
                assert_eq!(Verb::verify(message, "gateway-1", b"{\"in\":5}", &key)?.verb, "reboot");
                Ok(())
            }),
        },
        Case {
            name: "activation status",
            by: PLATFORM,
            kid: None,
            aad: Some(json!(["cardea/activation-status", "gateway-1"])),
            payload: m(&[
                (json!(1), b(&lock)),
                (json!(2), b(&[0x0d; 16])),
                (json!(3), json!(2)),
                (json!(4), json!(FROM)),
            ]),
            ours: made(|out| status.sign("gateway-1", &signer(PLATFORM), out)),
            accept: Box::new(move |message| {
                let read = ActivationStatus::verify(message, "gateway-1", &signer(PLATFORM).public())?;
                assert_eq!(read, status);
                Ok(())
            }),
        },
    ]
}

fn cases() -> Vec<Case> {
    [certificates(), grants(), site_messages(), records()].into_iter().flatten().collect()
}

// ------------------------------------------------------------------------------------------ both directions

/// What each library says of a message of ours.
fn verified(peer: &mut LinePeer, cose: &[u8], aad: Option<&Value>, by: u8) -> (Value, [bool; 2]) {
    let key = signer(by).public();
    let sec1 = [&[4][..], &key.x(), &key.y()].concat();
    let answer = peer.ask(&json!({
        "do": "verify", "cose": hex::encode(cose), "aad": aad, "key": hex::encode(sec1),
    }));
    let says = ["pycose", "cryptography"].map(|library| answer[library].as_bool().unwrap());
    (answer, says)
}

fn signed(peer: &mut LinePeer, case: &Case, aad: Option<&Value>, by: u8) -> Vec<u8> {
    let answer = peer.ask(&json!({
        "do": "sign", "payload": case.payload, "aad": aad, "secret": hex::encode(secret(by)),
        "kid": case.kid.as_ref().map(hex::encode),
    }));
    hex::decode(answer["cose"].as_str().unwrap()).unwrap()
}

fn peer() -> Option<LinePeer> {
    Some(LinePeer::start(&mut venv::python("cose_peer.py")?))
}

#[test]
fn other_libraries_verify_everything_that_we_sign() {
    let Some(mut peer) = peer() else { return };
    for case in cases() {
        let (answer, says) = verified(&mut peer, &case.ours, case.aad.as_ref(), case.by);
        assert_eq!(says, [true, true], "{}", case.name);
        assert_eq!(answer["payload"], case.payload, "{}", case.name);
        assert_eq!(answer["deterministic"], true, "{}", case.name);
        let mut protected = vec![(json!(1), json!(-7))];
        protected.extend(case.kid.as_ref().map(|kid| (json!(4), b(kid))));
        assert_eq!(answer["protected"], m(&protected), "{}", case.name);
    }
}

#[test]
fn we_take_everything_that_another_library_signs() {
    let Some(mut peer) = peer() else { return };
    for case in cases() {
        let theirs = signed(&mut peer, &case, case.aad.as_ref(), case.by);
        assert_eq!((case.accept)(&theirs), Ok(()), "{}", case.name);
        // But for the signature they are ours, byte for byte.
        let head = case.ours.len() - 64;
        assert_eq!(hex::encode(&theirs[..head]), hex::encode(&case.ours[..head]), "{}", case.name);
        assert_eq!(theirs.len(), case.ours.len(), "{}", case.name);
    }
}

#[test]
fn another_label_audience_or_key_is_refused_on_both_sides() {
    let Some(mut peer) = peer() else { return };
    let all = cases();
    for case in &all {
        let others = all.iter().filter(|other| other.name != case.name).map(|other| other.aad.clone());
        // The same label for another audience: the first byte of the last item is another.
        let mut elsewhere = case.aad.clone();
        if let Some(Value::Array(items)) = &mut elsewhere {
            let last = items.last_mut().unwrap();
            *last = if last.is_string() { json!("gateway-2") } else { b(&[0xee; 32]) };
        }
        let elsewhere = elsewhere.or_else(|| Some(json!(["cardea/nothing"])));
        for aad in others.chain([elsewhere]).filter(|aad| *aad != case.aad) {
            let (_, says) = verified(&mut peer, &case.ours, aad.as_ref(), case.by);
            assert_eq!(says, [false, false], "{} under {aad:?}", case.name);
            let theirs = signed(&mut peer, case, aad.as_ref(), case.by);
            assert_eq!((case.accept)(&theirs), Err(Error::BadSignature), "{} under {aad:?}", case.name);
        }
        let (_, says) = verified(&mut peer, &case.ours, case.aad.as_ref(), case.by + 100);
        assert_eq!(says, [false, false], "{} by another key", case.name);
        let theirs = signed(&mut peer, case, case.aad.as_ref(), case.by + 100);
        assert_eq!((case.accept)(&theirs), Err(Error::BadSignature), "{} by another key", case.name);
    }
}

/// A token that says the right thing in a form that is not deterministic, or with more in it, is not ours.
#[test]
fn what_the_profile_does_not_allow_is_refused_though_its_signature_is_good() {
    let Some(mut peer) = peer() else { return };
    for case in cases() {
        let Some(map) = case.payload["m"].as_array() else { continue };
        let mut more = map.clone();
        more.push(json!([23, 1]));
        let more = Case { payload: json!({ "m": more }), ..case };
        let theirs = signed(&mut peer, &more, more.aad.as_ref(), more.by);
        let refused = (more.accept)(&theirs);
        assert!(
            matches!(refused, Err(Error::WrongCredential | Error::Malformed | Error::TooLong)),
            "{}: {refused:?}",
            more.name
        );
    }
}
