//! Grants: what they allow, to whom and when, and that no chain of them allows more than its beginning.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_in_result)] // a panic here is a verdict

use cardea_credentials::cbor::{Reader, Writer};
use cardea_credentials::{
    AAD_GRANT, Agreement, Error, Grant, MAX_DELEGABLE_GRANT_LEN, MAX_GRANT_CHAIN, MAX_GRANT_LEN, Moment,
    Permit, PublicKey, Scope, Sign1, Signer, SoftAgreement, SoftSigner, Terms, Thumbprint, Weekly,
    delegate_grant, issue_grant, narrow, verify_delegated_grant, verify_grant, verify_lock_identity,
    verify_platform,
};
use proptest::prelude::*;

/// Monday, 2 November 2026, 00:00 UTC.
const MONDAY: u32 = 1_793_577_600;

fn signer(byte: u8) -> SoftSigner {
    SoftSigner::from_bytes(&[byte; 32]).unwrap()
}

fn dh(byte: u8) -> PublicKey {
    SoftAgreement::from_bytes(&[byte; 32]).unwrap().public()
}

fn lock() -> Thumbprint {
    signer(1).public().thumbprint()
}

fn terms() -> Terms {
    Terms {
        lock: lock(),
        holder: dh(2),
        scope: Scope::UNLOCK | Scope::LOCK | Scope::STATUS,
        not_before: MONDAY,
        expires: MONDAY + 7 * 86_400,
        single_use: false,
        window: None,
        delegate: None,
    }
}

fn delegable() -> Terms {
    Terms { delegate: Some(signer(6).public()), ..terms() }
}

fn issue(terms: &Terms) -> Vec<u8> {
    let mut out = [0; 256];
    let len = issue_grant(terms, b"grant-01", &signer(5), &mut out).unwrap();
    out[..len].to_vec()
}

fn verified(terms: &Terms) -> Grant {
    verify_grant(&issue(terms), &lock(), &signer(5).public()).unwrap()
}

fn at(second: u32) -> Moment {
    Moment::new(second, second).unwrap()
}

fn nobody(_: &Thumbprint) -> bool {
    false
}

#[test]
fn a_grant_fits_its_ceiling() {
    let largest = Terms {
        scope: Scope::from_bits(u16::MAX),
        not_before: u32::MAX - 1,
        expires: u32::MAX,
        single_use: true,
        window: Some(Weekly::new(0x7f, 95, 96).unwrap()),
        ..terms()
    };
    assert_eq!(issue(&largest).len(), MAX_GRANT_LEN);
    assert_eq!(MAX_GRANT_LEN, 160);
    assert_eq!(issue(&Terms { window: None, ..largest }).len(), 157);
    let delegable = Terms { single_use: false, delegate: Some(signer(6).public()), ..largest };
    assert_eq!(issue(&delegable).len(), MAX_DELEGABLE_GRANT_LEN);
    assert_eq!(MAX_DELEGABLE_GRANT_LEN, 200);
    let mut short = [0; 159];
    assert_eq!(issue_grant(&largest, &[0; 8], &signer(5), &mut short), Err(Error::BufferTooSmall));
}

/// The bytes of docs/protocol.md; the signature after them is deterministic too, but says nothing to a reader.
#[test]
fn the_claims_are_those_of_the_document() {
    let window = Some(Weekly::new(0b001_1111, 36, 12).unwrap());
    let grant = issue(&Terms { single_use: true, window, ..terms() });
    let head = "8443a10126a05856";
    let lock_id = hex::encode(&lock()[..8]);
    let (x, odd) = (hex::encode(dh(2).x()), dh(2).y()[31] & 1 == 1);
    let y = if odd { "f5" } else { "f4" };
    let claims = format!(
        "a60348{lock_id}041a6af10d00051a6ae7d2800748{}08a101a401022001215820{x}22{y}0946000703{}",
        hex::encode("grant-01"),
        "1f240c",
    );
    let text = hex::encode(&grant);
    assert!(text.starts_with(&format!("{head}{claims}5840")), "{text}\n{head}{claims}");
}

#[test]
fn what_was_granted_comes_back() {
    for terms in [
        terms(),
        delegable(),
        Terms { single_use: true, ..terms() },
        Terms { window: Some(Weekly::new(3, 4, 5).unwrap()), ..terms() },
    ] {
        let grant = verified(&terms);
        assert_eq!((*grant.terms(), grant.id(), grant.links()), (terms, *b"grant-01", 1));
    }
}

#[test]
fn a_grant_permits_what_it_says_to_whom_it_says() {
    let grant = verified(&terms());
    let now = at(MONDAY + 10);
    assert_eq!(grant.permits(&dh(2), Scope::UNLOCK, now, nobody), Ok(Permit::Granted));
    assert_eq!(grant.permits(&dh(3), Scope::UNLOCK, now, nobody), Err(Error::WrongHolder));
    assert_eq!(grant.permits(&dh(2), Scope::PINS, now, nobody), Err(Error::OutOfScope));
    assert_eq!(grant.permits(&dh(2), Scope::UNLOCK | Scope::LOG, now, nobody), Err(Error::OutOfScope));
    assert_eq!(grant.permits(&dh(2), Scope::NONE, now, nobody), Err(Error::OutOfScope));
    let holder = dh(2).thumbprint();
    assert_eq!(grant.permits(&dh(2), Scope::UNLOCK, now, |key| *key == holder), Err(Error::Revoked));
}

/// The same x with the other y is another key, although Diffie-Hellman cannot tell them apart.
#[test]
fn the_other_half_of_the_curve_is_another_holder() {
    let mut sec1 = dh(2).to_compressed();
    sec1[0] ^= 1;
    let mirrored = PublicKey::from_sec1(&sec1).unwrap();
    let permit = verified(&terms()).permits(&mirrored, Scope::UNLOCK, at(MONDAY), nobody);
    assert_eq!(permit, Err(Error::WrongHolder));
}

#[test]
fn time_that_is_not_surely_inside_is_outside() {
    let grant = verified(&terms());
    let end = MONDAY + 7 * 86_400;
    let permits = |earliest, latest| {
        grant.permits(&dh(2), Scope::UNLOCK, Moment::new(earliest, latest).unwrap(), nobody)
    };
    assert_eq!(permits(MONDAY, MONDAY + 5), Ok(Permit::Granted));
    assert_eq!(permits(MONDAY - 1, MONDAY + 4), Err(Error::NotYetValid));
    assert_eq!(permits(end - 6, end - 1), Ok(Permit::Granted));
    assert_eq!(permits(end - 5, end), Err(Error::Expired));
    let mornings = Terms { window: Some(Weekly::new(1, 36, 12).unwrap()), ..terms() };
    let grant = verified(&mornings);
    let nine = MONDAY + 9 * 3600;
    assert_eq!(grant.permits(&dh(2), Scope::LOCK, at(nine), nobody), Ok(Permit::Granted));
    assert_eq!(grant.permits(&dh(2), Scope::LOCK, at(nine - 1), nobody), Err(Error::OutsideHours));
}

#[test]
fn a_single_use_is_named_by_its_issuer_and_id() {
    let once = Terms { single_use: true, ..terms() };
    let grant = verified(&once);
    let Ok(Permit::Once { use_id, until }) = grant.permits(&dh(2), Scope::UNLOCK, at(MONDAY), nobody) else {
        panic!("a single use must be noted")
    };
    assert_eq!(until, once.expires);
    // Under the same id, a delegate's grant is another one.
    let parent = verified(&delegable());
    let mut out = [0; 256];
    let len = delegate_grant(&parent, &once, &grant.id(), &signer(6), &mut out).unwrap();
    let other = verify_delegated_grant(&out[..len], &parent).unwrap();
    let Ok(Permit::Once { use_id: other, .. }) = other.permits(&dh(2), Scope::UNLOCK, at(MONDAY), nobody)
    else {
        panic!("a single use must be noted")
    };
    assert_ne!(use_id, other);
}

/// (r, s) and (r, n - s) are both good, and the unprotected header is nobody's: neither makes a second use of one.
#[test]
fn other_bytes_of_one_grant_have_the_same_use_id() {
    let once = Terms { single_use: true, ..terms() };
    let grant = issue(&once);
    let mut padded = grant.clone();
    padded.splice(5..6, hex::decode("a10440").unwrap()); // a0 becomes {4: h''}
    let use_id = |bytes: &[u8]| {
        let grant = verify_grant(bytes, &lock(), &signer(5).public())?;
        grant.permits(&dh(2), Scope::UNLOCK, at(MONDAY), nobody)
    };
    assert_ne!(padded, grant);
    assert!(use_id(&grant).is_ok());
    assert_eq!(use_id(&padded), use_id(&grant));
}

#[test]
fn terms_that_say_nothing_or_too_much_are_not_issued() {
    for bad in [
        Terms { scope: Scope::NONE, ..terms() },
        Terms { expires: MONDAY, ..terms() },
        Terms { delegate: Some(dh(2)), ..terms() },
        Terms { single_use: true, ..delegable() },
    ] {
        assert_eq!(issue_grant(&bad, &[0; 8], &signer(5), &mut [0; 256]), Err(Error::Malformed), "{bad:?}");
    }
}

#[test]
fn a_grant_is_for_one_lock_and_by_one_platform() {
    let grant = issue(&terms());
    let bad = Err(Error::BadSignature);
    assert_eq!(verify_grant(&grant, &lock(), &signer(4).public()), bad);
    // A lock of the same 8-byte name: the whole thumbprint is signed.
    let mut namesake = lock();
    namesake[31] ^= 1;
    assert_eq!(verify_grant(&grant, &namesake, &signer(5).public()), bad);
    // Nor is it a certificate, or any other signed thing with an empty external_aad.
    assert!(verify_lock_identity(&grant).is_err() && verify_platform(&grant, None).is_err());
    let plain = Sign1::decode(&grant).unwrap().verify(&signer(5).public(), &[]).map(drop);
    assert_eq!(plain, Err(Error::BadSignature));
    let tagged = [&[0xd2], &grant[..]].concat();
    assert_eq!(verify_grant(&tagged, &lock(), &signer(5).public()), Err(Error::Malformed));
}

fn sign_claims(claims: &[u8]) -> Vec<u8> {
    let (mut aad, mut out) = ([0; 64], [0; 512]);
    let mut writer = Writer::new(&mut aad);
    writer.array(2).unwrap().text(AAD_GRANT).unwrap().bytes(&lock()).unwrap();
    let len = Sign1::encode(&signer(5), None, writer.as_slice(), claims, &mut out).unwrap();
    out[..len].to_vec()
}

/// The claims of an ordinary grant, each with its label.
fn claims() -> Vec<(i64, Vec<u8>)> {
    let grant = issue(&terms());
    let sign1 = Sign1::decode(&grant).unwrap();
    let mut aad = [0; 64];
    let mut writer = Writer::new(&mut aad);
    writer.array(2).unwrap().text(AAD_GRANT).unwrap().bytes(&lock()).unwrap();
    let mut reader = Reader::new(sign1.verify(&signer(5).public(), writer.as_slice()).unwrap());
    (0..reader.map().unwrap()).map(|_| (reader.int().unwrap(), reader.item().unwrap().to_vec())).collect()
}

fn with_claims(claims: &[(i64, Vec<u8>)]) -> Result<Grant, Error> {
    let mut buffer = [0; 256];
    let mut writer = Writer::new(&mut buffer);
    writer.map(claims.len()).unwrap();
    for (label, value) in claims {
        writer.int(*label).unwrap().raw(value).unwrap();
    }
    verify_grant(&sign_claims(writer.as_slice()), &lock(), &signer(5).public())
}

/// Even signed by the platform, a grant with a claim too many or too few is none: the unknown one may restrict.
#[test]
fn a_grant_has_exactly_its_claims() {
    let ordinary = claims();
    assert_eq!(with_claims(&ordinary).unwrap(), verified(&terms()));
    let mut turned = ordinary.clone();
    turned.reverse();
    assert_eq!(with_claims(&turned).unwrap().terms(), &terms(), "order does not matter");
    for missing in 0..ordinary.len() {
        let mut fewer = ordinary.clone();
        fewer.remove(missing);
        let (label, _) = &ordinary[missing];
        assert_eq!(with_claims(&fewer), Err(Error::WrongCredential), "without {label}");
        let mut twice = ordinary.clone();
        twice.push(ordinary[missing].clone());
        // A second `cnf` does not even fit.
        let error = if *label == 8 { Error::TooLong } else { Error::Malformed };
        assert_eq!(with_claims(&twice), Err(error), "{label} twice");
    }
    for (label, value) in [(1, &b"\x61a"[..]), (2, b"\x61a"), (6, b"\x00"), (10, b"\x00"), (-65540, b"\x00")]
    {
        let more = [&ordinary[..], &[(label, value.to_vec())]].concat();
        assert_eq!(with_claims(&more), Err(Error::WrongCredential), "with {label}");
    }
}

#[test]
fn a_restriction_that_is_not_known_refuses_the_grant() {
    let with_scope = |scope: &[u8]| {
        let mut changed = claims();
        let (_, value) = changed.iter_mut().find(|(label, _)| *label == 9).unwrap();
        *value = scope.to_vec();
        with_claims(&changed).map(|grant| grant.terms().scope)
    };
    assert_eq!(with_scope(&[0x43, 0x00, 0x01, 0x00]), Ok(Scope::UNLOCK));
    // Bits without a name are rights that nobody asks for yet.
    assert_eq!(with_scope(&[0x43, 0x80, 0x01, 0x00]), Ok(Scope::from_bits(0x8001)));
    for (scope, why) in [
        (&[0x40][..], "nothing"),
        (&[0x42, 0x00, 0x01], "no conditions byte"),
        (&[0x43, 0x00, 0x00, 0x00], "no right"),
        (&[0x43, 0x00, 0x01, 0x02], "a window is announced"),
        (&[0x43, 0x00, 0x01, 0x04], "an unknown condition"),
        (&[0x44, 0x00, 0x01, 0x00, 0x00], "a byte too many"),
        (&[0x46, 0x00, 0x01, 0x00, 0x01, 0x00, 0x01], "a window that was not announced"),
        (&[0x46, 0x00, 0x01, 0x02, 0x00, 0x00, 0x01], "a window on no day"),
        (&[0x46, 0x00, 0x01, 0x06, 0x01, 0x00, 0x01], "an unknown condition and a window"),
        (&[0x01], "a number"),
        (&[0x66, b'u', b'n', b'l', b'o', b'c', b'k'], "a word"),
    ] {
        assert_eq!(with_scope(scope), Err(Error::Malformed), "{why}");
    }
}

#[test]
fn narrowing_looks_at_every_dimension() {
    let parent = Terms { window: Some(Weekly::new(0x1f, 32, 40).unwrap()), ..delegable() };
    let child = Terms { delegate: None, holder: dh(3), ..parent };
    assert_eq!(narrow(&parent, &child), Ok(child));
    let narrower = Terms {
        scope: Scope::UNLOCK,
        not_before: child.not_before + 1,
        expires: child.expires - 1,
        single_use: true,
        window: Some(Weekly::new(0x01, 40, 4).unwrap()),
        ..child
    };
    assert_eq!(narrow(&parent, &narrower), Ok(narrower));
    let mut elsewhere = lock();
    elsewhere[31] ^= 1;
    for (wider, why) in [
        (Terms { lock: elsewhere, ..child }, "another lock"),
        (Terms { scope: child.scope | Scope::LOG, ..child }, "another right"),
        (Terms { scope: child.scope | Scope::from_bits(1 << 15), ..child }, "a right without a name"),
        (Terms { not_before: child.not_before - 1, ..child }, "earlier"),
        (Terms { expires: child.expires + 1, ..child }, "later"),
        (Terms { window: None, ..child }, "at all hours"),
        (Terms { window: Some(Weekly::new(0x20, 40, 4).unwrap()), ..child }, "on Saturday"),
    ] {
        assert_eq!(narrow(&parent, &wider), Err(Error::Widens), "{why}");
    }
    assert_eq!(narrow(&Terms { delegate: None, ..parent }, &child), Err(Error::Widens), "may not delegate");
    assert_eq!(narrow(&Terms { single_use: true, ..parent }, &child), Err(Error::Widens), "one use");
}

#[test]
fn a_delegated_grant_rests_on_exactly_one_other() {
    let parent = verified(&delegable());
    let guest = Terms { holder: dh(3), scope: Scope::UNLOCK, ..terms() };
    let mut out = [0; 256];
    let len = delegate_grant(&parent, &guest, b"guest-01", &signer(6), &mut out).unwrap();
    let grant = verify_delegated_grant(&out[..len], &parent).unwrap();
    assert_eq!((*grant.terms(), grant.links()), (guest, 2));
    assert_eq!(grant.permits(&dh(3), Scope::UNLOCK, at(MONDAY), nobody), Ok(Permit::Granted));
    assert_eq!(grant.permits(&dh(2), Scope::UNLOCK, at(MONDAY), nobody), Err(Error::WrongHolder));
    // Whoever of the chain is revoked, the end of it is void.
    for key in [dh(3), dh(2), signer(6).public()] {
        let revoked = |name: &Thumbprint| *name == key.thumbprint();
        assert_eq!(grant.permits(&dh(3), Scope::UNLOCK, at(MONDAY), revoked), Err(Error::Revoked));
    }
    // The same bytes are no grant by the platform, and rest on no other grant of the same holder and delegate.
    let root = verify_grant(&out[..len], &lock(), &signer(5).public());
    assert_eq!(root, Err(Error::BadSignature));
    let other = verified(&Terms { expires: delegable().expires + 1, ..delegable() });
    assert_eq!(verify_delegated_grant(&out[..len], &other), Err(Error::BadSignature));
    assert_eq!(verify_delegated_grant(&out[..len], &verified(&terms())), Err(Error::Widens));
    // Only the named key delegates, and nothing wider.
    let by_other = delegate_grant(&parent, &guest, &[0; 8], &signer(7), &mut out);
    assert_eq!(by_other, Err(Error::WrongHolder));
    let wider = Terms { scope: Scope::PINS, ..guest };
    assert_eq!(delegate_grant(&parent, &wider, &[0; 8], &signer(6), &mut out), Err(Error::Widens));
}

/// A holder who writes his own encoder is refused by the lock, not only by our encoder.
#[test]
fn a_forged_wider_delegation_is_refused_by_the_verifier() {
    let generous = Terms { scope: Scope::from_bits(u16::MAX), expires: u32::MAX, ..delegable() };
    let (narrow_parent, wide_parent) = (verified(&delegable()), verified(&generous));
    let guest = Terms { holder: dh(3), expires: u32::MAX, ..terms() };
    let mut out = [0; 256];
    // Signed with the right key and for the narrow parent, by going around `delegate_grant`'s own check.
    let len = delegate_grant(&wide_parent, &guest, &[0; 8], &signer(6), &mut out).unwrap();
    let wide = Sign1::decode(&out[..len]).unwrap();
    let aad = |parent: &Grant| {
        let (claims_of_parent, mut aad) = (payload_of(&issue(parent.terms())), [0; 128]);
        let digest: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(claims_of_parent).into();
        let mut writer = Writer::new(&mut aad);
        writer.array(3).unwrap().text("cardea/delegated-grant").unwrap();
        writer.bytes(&lock()).unwrap().bytes(&digest).unwrap();
        writer.as_slice().to_vec()
    };
    let claims = wide.verify(&signer(6).public(), &aad(&wide_parent)).unwrap().to_vec();
    let len = Sign1::encode(&signer(6), None, &aad(&narrow_parent), &claims, &mut out).unwrap();
    assert_eq!(verify_delegated_grant(&out[..len], &narrow_parent), Err(Error::Widens));
}

fn payload_of(cwt: &[u8]) -> Vec<u8> {
    let mut reader = Reader::new(cwt);
    reader.array().unwrap();
    reader.bytes().unwrap();
    reader.item().unwrap();
    reader.bytes().unwrap().to_vec()
}

#[test]
fn a_chain_ends_after_three() {
    let terms = |holder: u8, delegate: u8| Terms {
        holder: dh(holder),
        delegate: Some(signer(delegate).public()),
        ..delegable()
    };
    let mut grant = verified(&terms(20, 30));
    let mut out = [0; 256];
    for link in 1..MAX_GRANT_CHAIN {
        let (holder, delegate) = (20 + link as u8, 30 + link as u8);
        let by = signer(delegate - 1);
        let len = delegate_grant(&grant, &terms(holder, delegate), &[0; 8], &by, &mut out).unwrap();
        grant = verify_delegated_grant(&out[..len], &grant).unwrap();
    }
    assert_eq!((grant.links(), grant.keys().count()), (3, 6));
    let last = signer(32);
    let further = delegate_grant(&grant, &terms(23, 33), &[0; 8], &last, &mut out);
    assert_eq!(further, Err(Error::TooLong));
    assert_eq!(verify_delegated_grant(&out, &grant), Err(Error::TooLong));
}

// ------------------------------------------------------------------------------------------------ properties

fn any_window() -> impl Strategy<Value = Option<Weekly>> {
    prop::option::of((1_u8..0x80, 0_u8..96, 1_u8..97))
        .prop_map(|window| window.map(|(days, from, quarters)| Weekly::new(days, from, quarters).unwrap()))
}

prop_compose! {
    fn any_terms()(
        lock in 1_u8..3, holder in 1_u8..5, scope in 1_u16.., start in 0_u32..40, life in 1_u32..40,
        single_use in prop::bool::weighted(0.2), window in any_window(), delegate in prop::option::weighted(0.8, 5_u8..8),
    ) -> Terms {
        Terms {
            lock: signer(lock).public().thumbprint(),
            holder: dh(holder),
            scope: Scope::from_bits(scope),
            not_before: MONDAY + start * 20_000,
            expires: MONDAY + (start + life) * 20_000,
            single_use,
            window,
            delegate: delegate.map(|byte| signer(byte).public()),
        }
    }
}

/// A child that mostly narrows, so that chains get long; now and then one dimension is anything.
fn derive(parent: &Terms, wild: &Terms, pick: u16) -> Terms {
    let mut child = Terms { holder: wild.holder, delegate: wild.delegate, ..*parent };
    child.scope = Scope::from_bits(parent.scope.bits() & wild.scope.bits());
    match pick % 12 {
        0 => child.lock = wild.lock,
        1 => child.scope = wild.scope,
        2 => child.not_before = wild.not_before,
        3 => child.expires = wild.expires,
        4 | 5 => child.window = wild.window,
        6 => child.single_use = wild.single_use,
        _ => {}
    }
    child
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// For every second, lock and right: what the end of a chain allows, each grant above it allows.
    #[test]
    fn no_chain_of_any_length_widens_any_dimension(
        root in any_terms(),
        steps in prop::collection::vec((any_terms(), any::<u16>()), 1..40),
        moments in prop::collection::vec(MONDAY..MONDAY + 2_000_000, 16),
    ) {
        let mut chain = vec![root];
        for (wild, pick) in steps {
            let parent = chain.last().unwrap();
            if let Ok(child) = narrow(parent, &derive(parent, &wild, pick)) {
                chain.push(child);
            }
        }
        let allows = |terms: &Terms, second: u32| {
            (terms.not_before..terms.expires).contains(&second)
                && terms.window.is_none_or(|window| window.contains(second))
        };
        for (index, below) in chain.iter().enumerate() {
            for above in &chain[..index] {
                prop_assert_eq!(below.lock, above.lock);
                prop_assert_eq!(below.scope.bits() & !above.scope.bits(), 0);
                prop_assert!(!above.single_use && above.delegate.is_some());
                for &second in &moments {
                    prop_assert!(!allows(below, second) || allows(above, second));
                }
            }
        }
    }

    /// The same over the wire: a verified chain permits its last holder nothing that the first was not permitted.
    #[test]
    fn what_a_chain_permits_its_beginning_permits(
        root in any_terms(), wild in any_terms(), pick in any::<u16>(), second in MONDAY..MONDAY + 2_000_000,
        right in 0_usize..6,
    ) {
        let root = Terms { lock: lock(), single_use: false, delegate: Some(signer(6).public()), ..root };
        let parent = verified(&root);
        let mut child = derive(&root, &wild, pick);
        if child.single_use {
            child.delegate = None;
        }
        let mut out = [0; 256];
        if let Ok(len) = delegate_grant(&parent, &child, &[0; 8], &signer(6), &mut out) {
            let grant = verify_delegated_grant(&out[..len], &parent).unwrap();
            let (needed, now) = (Scope::NAMED[right].0, at(second));
            let permitted = grant.permits(&child.holder, needed, now, nobody).is_ok();
            prop_assert!(!permitted || parent.permits(&root.holder, needed, now, nobody).is_ok());
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed(position in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut grant = issue(&delegable());
        let at = position.index(grant.len());
        grant[at] ^= 1 << bit;
        prop_assert!(verify_grant(&grant, &lock(), &signer(5).public()).is_err());
    }
}
