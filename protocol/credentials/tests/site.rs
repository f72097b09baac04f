//! What is signed for sites, locks and gateways: sizes, audiences, and that no type passes for another.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a panic here is a verdict

use cardea_credentials::{
    Accepted, Activation, ActivationRecord, ActivationStatus, Addition, Agreement, Authority, Error, Gate,
    Intake, Lists, MAX_ACTIVATION_RECORD_LEN, MAX_AUTHORITY_LEN, MAX_MEMBERSHIP_LEN, MAX_PAGE_LEN, MAX_PAGES,
    MAX_QUESTION_LEN, MAX_RELEASE_RECORD_LEN, MAX_TIME_TOKEN_LEN, MAX_VERB_LEN, Moment, PAGE_THUMBPRINTS,
    Page, Progress, PublicKey, Question, Release, Releaser, SITE_MESSAGE_OVERHEAD, Scope, Signer, Site,
    SiteKind, SiteMessage, SoftAgreement, SoftSigner, Terms, Thumbprint, Trust, VERB_WINDOW, Verb,
    VerbWindow, Witness, delegate_grant, issue_authority, issue_grant, issue_lock_identity, issue_membership,
    issue_platform, issue_time_token, verify_authority, verify_delegated_grant, verify_grant,
    verify_lock_identity, verify_membership, verify_platform, verify_time_token,
};

fn signer(byte: u8) -> SoftSigner {
    SoftSigner::from_bytes(&[byte; 32]).unwrap()
}

fn dh(byte: u8) -> PublicKey {
    SoftAgreement::from_bytes(&[byte; 32]).unwrap().public()
}

fn lock() -> Thumbprint {
    signer(1).public().thumbprint()
}

fn root() -> SoftSigner {
    signer(3)
}

fn platform() -> SoftSigner {
    signer(5)
}

fn site() -> Site {
    Site { root: root().public().thumbprint(), id: *b"site-001" }
}

fn written(write: impl FnOnce(&mut [u8]) -> Result<usize, Error>) -> Vec<u8> {
    let mut out = [0; 1024];
    let len = write(&mut out).unwrap();
    out[..len].to_vec()
}

fn authority_cwt(version: u32, key: &SoftSigner) -> Vec<u8> {
    let authority = Authority { key: key.public(), version };
    written(|out| issue_authority(&site(), &authority, &platform(), out))
}

/// A lock in the site, with the authority of key 7 in version 2.
fn trust() -> Trust {
    let mut trust = Trust::new(site().root);
    trust.join(site().id, 2);
    assert_eq!(offer(&mut trust, &authority_cwt(2, &signer(7))), Ok(Accepted::Newer));
    trust
}

/// The certificate that was asked for.
fn offer(trust: &mut Trust, cwt: &[u8]) -> Result<Accepted, Error> {
    let mut gate = Gate::new();
    gate.ask([1; 8], 0);
    trust.accept_authority(cwt, Some(&[1; 8]), &platform().public(), &mut gate, 0)
}

fn keys(range: std::ops::Range<u16>) -> Vec<Thumbprint> {
    range
        .map(|number| {
            let mut key = [0xee; 32];
            key[..2].copy_from_slice(&number.to_be_bytes());
            key
        })
        .collect()
}

fn page(epoch: u32, place: (u8, u8), keys: &[Thumbprint]) -> Vec<u8> {
    written(|out| Page::sign((epoch, 1_800_000_000), place, keys, &site().root, &platform(), out))
}

fn addition(version: u32, counter: u32, keys: &[Thumbprint]) -> Vec<u8> {
    written(|out| Addition::sign((version, counter), keys, &site(), &signer(7), out))
}

fn release(by: Releaser) -> Release {
    let root = site().root;
    Release { lock: lock(), root, at: u32::MAX, nonce: [8; 8], by, to: Some([9; 32]) }
}

fn activation_record() -> ActivationRecord {
    let platform = platform().public().thumbprint();
    ActivationRecord { lock: lock(), root: site().root, platform, at: u32::MAX }
}

// --------------------------------------------------------------------------------------------- sizes and types

#[test]
fn every_type_fits_its_ceiling() {
    assert_eq!(authority_cwt(u32::MAX, &signer(7)).len(), MAX_AUTHORITY_LEN);
    let member = written(|out| issue_membership(&site(), &dh(2), 0xffef, u32::MAX, &signer(7), out));
    assert_eq!(member.len(), MAX_MEMBERSHIP_LEN);
    let time = written(|out| issue_time_token(&lock(), &[1; 8], u32::MAX, u32::MAX, &signer(7), out));
    assert_eq!(time.len(), MAX_TIME_TOKEN_LEN);
    let longest = Page::sign(
        (u32::MAX, u32::MAX),
        (MAX_PAGES - 2, MAX_PAGES),
        &keys(0..24),
        &site().root,
        &platform(),
        &mut [0; 1024],
    );
    assert_eq!(longest, Ok(MAX_PAGE_LEN));
    assert!(addition(u32::MAX, u32::MAX, &keys(0..24)).len() <= MAX_PAGE_LEN);
    let record = written(|out| activation_record().sign(&platform(), out));
    assert_eq!(record.len(), MAX_ACTIVATION_RECORD_LEN);
    let code = written(|out| release(Releaser::Vendor).sign(&signer(8), out));
    assert_eq!(code.len(), MAX_RELEASE_RECORD_LEN);
    let verb = "v".repeat(32);
    let verb = Verb::new([1; 16], u32::MAX, &verb, b"");
    assert_eq!(written(|out| verb.sign("gw-0001", &platform(), out)).len(), MAX_VERB_LEN);
    // What was promised, and that a page fits a lock's reassembly with all that is around it.
    const {
        assert!(MAX_MEMBERSHIP_LEN <= 150 && MAX_TIME_TOKEN_LEN <= 95);
        assert!(MAX_PAGE_LEN + SITE_MESSAGE_OVERHEAD < 1024);
    }
}

/// Every type signed by one and the same key for the same lock, site and gateway; every verifier gets every message.
#[test]
fn no_type_passes_for_another() {
    type Check = (&'static str, Vec<u8>, Box<dyn Fn(&[u8]) -> bool>);
    let key = || signer(5);
    let public = key().public();
    let authority = Authority { key: public, version: 2 };
    let lock = public.thumbprint();
    let site = Site { root: public.thumbprint(), id: *b"gw-00001" };
    let terms = Terms {
        lock,
        holder: dh(2),
        scope: Scope::UNLOCK,
        not_before: 1,
        expires: 1000,
        single_use: false,
        window: None,
        delegate: Some(public),
    };
    let grant = written(|out| issue_grant(&terms, &[0; 8], &key(), out));
    let parent = verify_grant(&grant, &lock, &public).unwrap();
    let status = ActivationStatus { lock, nonce: [7; 16], outcome: Activation::Owned, at: 1 };
    let record = ActivationRecord { lock, root: site.root, platform: lock, at: 1 };
    let release = Release { lock, root: lock, at: 1, nonce: [1; 8], by: Releaser::OwnerRoot, to: None };
    let verb = Verb::new([1; 16], 1, "reboot", b"{}");
    let keys = keys(0..3);
    let all: Vec<Check> = vec![
        (
            "lock identity",
            written(|out| issue_lock_identity(&key(), &dh(2), out)),
            Box::new(|m| verify_lock_identity(m).is_ok()),
        ),
        (
            "platform",
            written(|out| issue_platform(&key(), &dh(2), &public, 1, out)),
            Box::new(move |m| verify_platform(m, Some(&public)).is_ok()),
        ),
        ("grant", grant, Box::new(move |m| verify_grant(m, &lock, &public).is_ok())),
        (
            "delegated grant",
            written(|out| delegate_grant(&parent, &terms, &[0; 8], &key(), out)),
            Box::new(move |m| verify_delegated_grant(m, &parent).is_ok()),
        ),
        (
            "authority",
            written(|out| issue_authority(&site, &authority, &key(), out)),
            Box::new(move |m| verify_authority(m, &site, &public).is_ok()),
        ),
        (
            "membership",
            written(|out| issue_membership(&site, &dh(2), 1, 1, &key(), out)),
            Box::new(move |m| verify_membership(m, &site, &public).is_ok()),
        ),
        (
            "revocations",
            written(|out| Page::sign((1, 1), (0, 1), &keys, &site.root, &key(), out)),
            Box::new(move |m| Page::verify(m, &site.root, &public).is_ok()),
        ),
        (
            "site revocations",
            written(|out| Addition::sign((2, 1), &keys, &site, &key(), out)),
            Box::new(move |m| Addition::verify(m, &site, &public).is_ok()),
        ),
        (
            "time",
            written(|out| issue_time_token(&lock, &[1; 8], 1, 2, &key(), out)),
            Box::new(move |m| verify_time_token(m, &lock, &[1; 8], &authority).is_ok()),
        ),
        (
            "activation record",
            written(|out| record.sign(&key(), out)),
            Box::new(move |m| ActivationRecord::verify(m, &lock, &public).is_ok()),
        ),
        (
            "release",
            written(|out| release.sign(&key(), out)),
            Box::new(move |m| Release::verify(m, &lock, &[1; 8], &public, Some(&public)).is_ok()),
        ),
        (
            "verb",
            written(|out| verb.sign("gw-00001", &key(), out)),
            Box::new(move |m| Verb::verify(m, "gw-00001", b"{}", &public).is_ok()),
        ),
        (
            "activation status",
            written(|out| status.sign("gw-00001", &key(), out)),
            Box::new(move |m| ActivationStatus::verify(m, "gw-00001", &public).is_ok()),
        ),
    ];
    for (name, message, _) in &all {
        for (verifier, _, check) in &all {
            assert_eq!(check(message), name == verifier, "{name} given to the verifier of {verifier}");
        }
    }
    // Even with the same payload: what tells types apart is signed, not parsed.
    let labels = [
        cardea_credentials::AAD_GRANT,
        cardea_credentials::AAD_DELEGATED_GRANT,
        cardea_credentials::AAD_AUTHORITY,
        cardea_credentials::AAD_MEMBERSHIP,
        cardea_credentials::AAD_REVOCATIONS,
        cardea_credentials::AAD_SITE_REVOCATIONS,
        cardea_credentials::AAD_TIME,
        cardea_credentials::AAD_ACTIVATION_RECORD,
        cardea_credentials::AAD_RELEASE_RECORD,
        cardea_credentials::AAD_VERB,
        cardea_credentials::AAD_ACTIVATION_STATUS,
    ];
    assert_eq!(std::collections::BTreeSet::from(labels).len(), labels.len());
}

// ---------------------------------------------------------------------------------------- trust and membership

#[test]
fn versions_never_fall() {
    let mut trust = trust();
    let rolled_back = Err(Error::RolledBack);
    assert_eq!(offer(&mut trust, &authority_cwt(2, &signer(7))), Ok(Accepted::Known));
    assert_eq!(offer(&mut trust, &authority_cwt(2, &signer(8))), rolled_back, "one version, one key");
    assert_eq!(offer(&mut trust, &authority_cwt(1, &signer(8))), rolled_back);
    assert_eq!(offer(&mut trust, &authority_cwt(9, &signer(8))), Ok(Accepted::Newer));
    assert_eq!(offer(&mut trust, &authority_cwt(2, &signer(7))), rolled_back);
    assert_eq!(trust.authority(), Some(&Authority { key: signer(8).public(), version: 9 }));
    // The platform, inside OSCORE, knows of a newer one: the old one counts no more, and cannot come back.
    trust.join(site().id, 10);
    assert_eq!((trust.authority(), trust.version()), (None, 10));
    assert_eq!(offer(&mut trust, &authority_cwt(9, &signer(8))), rolled_back);
    trust.join(site().id, 3);
    assert_eq!(trust.version(), 10, "it only rises");

    assert_eq!(Trust::from_bytes(&trust.to_bytes()), Ok(trust));
    assert_eq!(offer(&mut trust, &authority_cwt(10, &signer(6))), Ok(Accepted::Newer));
    assert_eq!(Trust::from_bytes(&trust.to_bytes()), Ok(trust));
    let mut damaged = trust.to_bytes();
    damaged[0] = 0;
    assert_eq!(Trust::from_bytes(&damaged), Err(Error::Malformed));
}

#[test]
fn only_the_next_authority_comes_unasked_and_a_forged_one_is_counted() {
    let (mut trust, mut gate) = (trust(), Gate::new());
    let mut unasked =
        |trust: &mut Trust, cwt: &[u8]| trust.accept_authority(cwt, None, &platform().public(), &mut gate, 0);
    assert_eq!(unasked(&mut trust, &authority_cwt(4, &signer(8))), Err(Error::NotAsked));
    let forged = written(|out| {
        let authority = Authority { key: signer(8).public(), version: 3 };
        issue_authority(&site(), &authority, &signer(9), out)
    });
    for _ in 0..3 {
        assert_eq!(
            unasked(&mut trust, &forged),
            Err(Error::BadSignature),
            "by another key than the platform's"
        );
    }
    assert_eq!(unasked(&mut trust, &forged), Err(Error::Busy));
    assert_eq!(
        unasked(&mut trust, &authority_cwt(2, &signer(7))),
        Ok(Accepted::Known),
        "costs no verification"
    );
}

#[test]
fn an_authority_is_that_of_one_site_and_owner() {
    let mut trust = trust();
    trust.join(*b"site-002", 0);
    assert_eq!((trust.authority(), trust.version()), (None, 0), "another site, other authorities");
    assert_eq!(offer(&mut trust, &authority_cwt(9, &signer(7))), Err(Error::WrongCredential));
    let foreign = Site { root: [1; 32], ..site() };
    let cwt = authority_cwt(1, &signer(7));
    assert_eq!(verify_authority(&cwt, &foreign, &platform().public()), Err(Error::BadSignature));
}

#[test]
fn a_membership_says_member_and_nothing_more() {
    let cwt = written(|out| issue_membership(&site(), &dh(2), 17, 1_000_000, &signer(7), out));
    let authority = signer(7).public();
    let member = verify_membership(&cwt, &site(), &authority).unwrap();
    assert_eq!((*member.member(), member.address(), member.expires()), (dh(2), 17, 1_000_000));
    let at = |second| Moment::new(second, second).unwrap();
    let nobody = |_: &Thumbprint| false;
    assert_eq!(member.holds(&dh(2), at(999_999), nobody), Ok(()));
    assert_eq!(member.holds(&dh(2), at(1_000_000), nobody), Err(Error::Expired));
    assert_eq!(member.holds(&dh(3), at(1), nobody), Err(Error::WrongHolder));
    for revoked in [dh(2), authority] {
        let revoked = revoked.thumbprint();
        assert_eq!(member.holds(&dh(2), at(1), |key| *key == revoked), Err(Error::Revoked));
    }
    let bad = Err(Error::BadSignature);
    assert_eq!(verify_membership(&cwt, &Site { root: [1; 32], ..site() }, &authority), bad);
    assert_eq!(verify_membership(&cwt, &Site { id: [1; 8], ..site() }, &authority), bad);
    assert_eq!(verify_grant(&cwt, &lock(), &authority), Err(Error::BadSignature), "no right follows from it");
    for address in [0, 0xfff0, 0xffff] {
        let result = issue_membership(&site(), &dh(2), address, 1, &signer(7), &mut [0; 256]);
        assert_eq!(result, Err(Error::Malformed), "{address:#x}");
    }
}

#[test]
fn a_time_token_answers_one_lock_once() {
    let token = written(|out| issue_time_token(&lock(), &[1; 8], 1_800_000_000, 2, &signer(7), out));
    let authority = Authority { key: signer(7).public(), version: 2 };
    assert_eq!(verify_time_token(&token, &lock(), &[1; 8], &authority), Ok(1_800_000_000));
    assert_eq!(verify_time_token(&token, &lock(), &[2; 8], &authority), Err(Error::NotAsked));
    let newer = Authority { version: 3, ..authority };
    assert_eq!(verify_time_token(&token, &lock(), &[1; 8], &newer), Err(Error::RolledBack));
    assert_eq!(verify_time_token(&token, &[1; 32], &[1; 8], &authority), Err(Error::BadSignature));
    let other = Authority { key: signer(8).public(), version: 2 };
    assert_eq!(verify_time_token(&token, &lock(), &[1; 8], &other), Err(Error::BadSignature));
}

// ------------------------------------------------------------------------------------------------- revocation

fn give<'a>(
    intake: &mut Intake,
    message: &'a [u8],
    nonce: Option<&[u8; 8]>,
    gate: &mut Gate,
    now: u64,
) -> Result<(Page<'a>, Progress), Error> {
    intake.page(message, nonce, &site().root, &platform().public(), gate, now)
}

/// What a lock does with a list: stage, then replace.
fn take(intake: &mut Intake, gate: &mut Gate, message: &[u8], now: u64) -> Result<Progress, Error> {
    give(intake, message, None, gate, now).map(|(_, progress)| progress)
}

#[test]
fn a_list_counts_when_its_last_page_is_there() {
    let (mut intake, mut gate) = (Intake::new(Lists::default()), Gate::new());
    let all = keys(0..50);
    let staged = |next| Ok(Progress::Staged { next });
    assert_eq!(take(&mut intake, &mut gate, &page(1, (0, 3), &all[..24]), 0), staged(1));
    assert_eq!(intake.lists().epoch, 0, "not before it is whole");
    let (second, third) = (page(1, (1, 3), &all[24..48]), page(1, (2, 3), &all[48..]));
    assert_eq!(take(&mut intake, &mut gate, &third, 1), Err(Error::NotAsked), "one after the other");
    assert_eq!(take(&mut intake, &mut gate, &second, 2), staged(2));
    let complete = Lists { epoch: 1, at: 1_800_000_000, version: 0, counter: 0 };
    let (last, progress) = give(&mut intake, &third, None, &mut gate, 3).unwrap();
    assert_eq!(progress, Progress::Complete(complete));
    assert_eq!(last.thumbprints().copied().collect::<Vec<_>>(), all[48..]);
    assert_eq!(take(&mut intake, &mut gate, &third, 100_000), Err(Error::RolledBack));
    assert_eq!(Lists::from_bytes(&complete.to_bytes()), Ok(complete));
    assert_eq!(Lists::from_bytes(&[0; 17]), Err(Error::Malformed));
}

#[test]
fn pages_of_two_lists_do_not_mix() {
    let (mut intake, mut gate) = (Intake::new(Lists { epoch: 5, ..Lists::default() }), Gate::new());
    let all = keys(0..48);
    assert!(take(&mut intake, &mut gate, &page(6, (0, 2), &all[..24]), 0).is_ok());
    // Another time, another number of pages, another epoch, keys that belong before: none continues the list.
    let root = site().root;
    let later = written(|out| Page::sign((6, 9), (1, 2), &all[24..], &root, &platform(), out));
    assert_eq!(take(&mut intake, &mut gate, &later, 1), Err(Error::NotAsked));
    assert_eq!(take(&mut intake, &mut gate, &page(6, (1, 3), &all[24..]), 1), Err(Error::NotAsked));
    assert_eq!(take(&mut intake, &mut gate, &page(7, (1, 2), &all[24..]), 1), Err(Error::NotAsked));
    assert_eq!(take(&mut intake, &mut gate, &page(6, (1, 2), &all[..24]), 1), Err(Error::Malformed));
    // Begun again, the first page replaces what was staged.
    let begun = take(&mut intake, &mut gate, &page(6, (0, 2), &all[..24]), 2);
    assert_eq!((begun, intake.wanted()), (Ok(Progress::Staged { next: 1 }), 1));
}

#[test]
fn only_the_next_epoch_comes_unasked() {
    let (mut intake, mut gate) = (Intake::new(Lists { epoch: 5, ..Lists::default() }), Gate::new());
    let list = |epoch| page(epoch, (0, 1), &keys(0..2));
    for epoch in [0, 4, 5] {
        assert_eq!(take(&mut intake, &mut gate, &list(epoch), 0), Err(Error::RolledBack), "{epoch}");
    }
    assert_eq!(take(&mut intake, &mut gate, &list(9), 0), Err(Error::NotAsked));
    gate.ask([1; 8], 0);
    let (ninth, twentieth) = (list(9), list(20));
    let other = give(&mut intake, &ninth, Some(&[2; 8]), &mut gate, 1);
    assert_eq!(other.map(drop), Err(Error::NotAsked), "another question's answer");
    let late = give(&mut intake, &ninth, Some(&[1; 8]), &mut gate, 600_000);
    assert_eq!(late.map(drop), Err(Error::NotAsked), "too late");
    assert!(give(&mut intake, &ninth, Some(&[1; 8]), &mut gate, 1).is_ok());
    assert_eq!(intake.lists().epoch, 9);
    let again = give(&mut intake, &twentieth, Some(&[1; 8]), &mut gate, 2);
    assert_eq!(again.map(drop), Err(Error::NotAsked), "a question is answered once");
    assert!(take(&mut intake, &mut gate, &list(10), 3).is_ok());
}

#[test]
fn four_signatures_a_minute_and_one_of_them_is_for_answers() {
    let (mut intake, mut gate) = (Intake::new(Lists::default()), Gate::new());
    let root = site().root;
    let forged = written(|out| Page::sign((1, 1), (0, 1), &keys(0..1), &root, &signer(9), out));
    for _ in 0..3 {
        assert_eq!(take(&mut intake, &mut gate, &forged, 1000), Err(Error::BadSignature));
    }
    let genuine = page(1, (0, 1), &keys(0..1));
    assert_eq!(take(&mut intake, &mut gate, &genuine, 60_999), Err(Error::Busy));
    gate.ask([1; 8], 2000);
    let mut asked = intake.clone();
    assert!(give(&mut asked, &genuine, Some(&[1; 8]), &mut gate, 3000).is_ok(), "a flood starves no answer");
    gate.ask([2; 8], 3000);
    let busy = give(&mut intake, &genuine, Some(&[2; 8]), &mut gate, 3000);
    assert_eq!(busy.map(drop), Err(Error::Busy), "the fifth");
    assert!(take(&mut intake, &mut gate, &genuine, 61_000).is_ok(), "the next minute");
    assert_eq!(intake.lists().epoch, 1, "what was refused has changed nothing");
}

#[test]
fn a_list_has_one_form() {
    let all = keys(0..60);
    let sign = |place, keys: &[Thumbprint]| {
        Page::sign((1, 1), place, keys, &site().root, &platform(), &mut [0; 2048]).map(drop)
    };
    assert_eq!(sign((0, 1), &[]), Ok(()), "an empty list is one empty page");
    let malformed = Err(Error::Malformed);
    assert_eq!(sign((0, 2), &all[..23]), malformed, "not full, and not the last");
    assert_eq!(sign((1, 2), &[]), malformed, "an empty page more");
    assert_eq!(sign((0, 1), &all[..25]), malformed, "too many");
    assert_eq!(sign((1, 1), &all[..1]), malformed, "beyond the last");
    assert_eq!(sign((0, 0), &[]), malformed);
    assert_eq!(sign((0, MAX_PAGES + 1), &all[..24]), malformed);
    assert_eq!(sign((0, 1), &[all[1], all[0]]), malformed, "not sorted");
    assert_eq!(sign((0, 1), &[all[1], all[1]]), malformed, "twice");
    assert_eq!(PAGE_THUMBPRINTS, 24);
}

#[test]
fn the_sites_list_only_adds_and_counts_by_version() {
    let (mut intake, mut gate, mut trust) = (Intake::new(Lists::default()), Gate::new(), trust());
    let mut now = 0;
    let mut add = |intake: &mut Intake, trust: &Trust, message: &[u8]| {
        now += 60_000;
        let result = intake.addition(message, None, trust, &mut gate, now);
        result.map(|(addition, lists)| (addition.thumbprints().count(), lists.version, lists.counter))
    };
    assert_eq!(
        add(&mut intake, &trust, &addition(2, 2, &keys(0..1))),
        Err(Error::NotAsked),
        "one is missing"
    );
    assert_eq!(add(&mut intake, &trust, &addition(2, 1, &keys(0..3))), Ok((3, 2, 1)));
    assert_eq!(add(&mut intake, &trust, &addition(2, 1, &keys(0..3))), Err(Error::RolledBack));
    assert_eq!(add(&mut intake, &trust, &addition(2, 2, &keys(3..4))), Ok((1, 2, 2)));
    for version in [1, 3] {
        let result = add(&mut intake, &trust, &addition(version, 3, &keys(0..1)));
        assert_eq!(result, Err(Error::RolledBack), "only the platform makes versions");
    }
    // The platform's counter is another one.
    assert_eq!(intake.lists().epoch, 0);
    // A new authority counts from 1; the old one's key adds nothing any more.
    assert_eq!(offer(&mut trust, &authority_cwt(3, &signer(8))), Ok(Accepted::Newer));
    assert_eq!(add(&mut intake, &trust, &addition(2, 3, &keys(0..1))), Err(Error::RolledBack));
    assert_eq!(add(&mut intake, &trust, &addition(3, 1, &keys(0..1))), Err(Error::BadSignature));
    let new = written(|out| Addition::sign((3, 1), &keys(0..1), &site(), &signer(8), out));
    assert_eq!(add(&mut intake, &trust, &new), Ok((1, 3, 1)));
    let lonely = Trust::new(site().root);
    assert_eq!(add(&mut intake, &lonely, &new), Err(Error::Untrusted));
    let none = Addition::sign((3, 2), &[], &site(), &signer(8), &mut [0; 256]);
    assert_eq!(none, Err(Error::Malformed));
}

// ------------------------------------------------------------------------------------------- records and verbs

#[test]
fn an_activation_record_is_signed_by_platform_or_lock() {
    let record = activation_record();
    for (key, witness) in [(platform(), Witness::Platform), (signer(1), Witness::Lock)] {
        let message = written(|out| record.sign(&key, out));
        assert_eq!(ActivationRecord::verify(&message, &lock(), &key.public()), Ok((record, witness)));
        let bad = ActivationRecord::verify(&message, &[0; 32], &key.public());
        assert_eq!(bad, Err(Error::BadSignature));
    }
    assert_eq!(record.sign(&signer(9), &mut [0; 256]), Err(Error::WrongHolder));
}

#[test]
fn a_lock_is_released_by_its_owner_or_vendor_for_one_reset() {
    let (owner, vendor) = (root().public(), signer(8).public());
    let by_owner = written(|out| release(Releaser::OwnerRoot).sign(&root(), out));
    let by_vendor = written(|out| release(Releaser::Vendor).sign(&signer(8), out));
    let verify = |message: &[u8], nonce: u8, vendor: Option<&PublicKey>| {
        Release::verify(message, &lock(), &[nonce; 8], &owner, vendor)
    };
    assert_eq!(verify(&by_owner, 8, None), Ok(release(Releaser::OwnerRoot)));
    assert_eq!(verify(&by_vendor, 8, Some(&vendor)), Ok(release(Releaser::Vendor)));
    assert_eq!(verify(&by_vendor, 8, None), Err(Error::WrongCredential), "a lock that knows no vendor");
    assert_eq!(verify(&by_owner, 9, None), Err(Error::NotAsked), "for another reset");
    let posing = written(|out| release(Releaser::OwnerRoot).sign(&signer(8), out));
    assert_eq!(verify(&posing, 8, Some(&vendor)), Err(Error::BadSignature));
    let other = Release::verify(&by_owner, &[0; 32], &[8; 8], &owner, None);
    assert_eq!(other, Err(Error::WrongCredential));
    let elsewhere = Release { root: [0; 32], ..release(Releaser::OwnerRoot) };
    let elsewhere = written(|out| elsewhere.sign(&root(), out));
    assert_eq!(verify(&elsewhere, 8, None), Err(Error::WrongCredential), "another owner's lock");
}

#[test]
fn a_verb_is_for_one_gateway_and_payload() {
    let verb = Verb::new([1; 16], 1000, "reboot", b"{\"delay\":1}");
    let message = written(|out| verb.sign("gw-0001", &platform(), out));
    let key = platform().public();
    assert_eq!(Verb::verify(&message, "gw-0001", b"{\"delay\":1}", &key), Ok(verb));
    assert_eq!(Verb::verify(&message, "gw-0001", b"{\"delay\":2}", &key), Err(Error::WrongCredential));
    assert_eq!(Verb::verify(&message, "gw-0002", b"{\"delay\":1}", &key), Err(Error::BadSignature));
    let long = "v".repeat(33);
    let long = Verb::new([1; 16], 1000, &long, b"");
    assert_eq!(long.sign("gw-0001", &platform(), &mut [0; 256]), Err(Error::TooLong));
}

#[test]
fn a_verb_is_taken_once_in_time_and_not_again_after_a_restart() {
    let verb = |nonce: u8, not_after| Verb::new([nonce; 16], not_after, "reboot", b"");
    let mut window = VerbWindow::new(0);
    assert_eq!(window.take(&verb(1, 1000), 1001), Err(Error::Expired));
    assert_eq!(window.take(&verb(1, 1000), 399), Err(Error::NotYetValid));
    let floor = window.floor_after(&verb(1, 1000));
    assert_eq!(window.take(&verb(1, 1000), 400), Ok(()));
    assert_eq!(window.take(&verb(1, 1000), 401), Err(Error::RolledBack));
    assert_eq!(window.take(&verb(2, 900), 401), Ok(()), "in any order");
    assert_eq!(window.floor_after(&verb(2, 900)), 1000);
    let mut restarted = VerbWindow::new(floor);
    assert_eq!(restarted.take(&verb(1, 1000), 402), Err(Error::RolledBack));
    assert_eq!(restarted.take(&verb(3, 1001), 402), Ok(()));
    // A clock that is set back: what was forgotten stays refused.
    assert_eq!(window.take(&verb(4, 2000), 1500), Ok(()));
    assert_eq!(window.take(&verb(1, 1000), 900), Err(Error::RolledBack));
    let mut full = VerbWindow::new(0);
    for number in 0..VERB_WINDOW as u8 {
        assert_eq!(full.take(&verb(number, 100), 1), Ok(()));
    }
    assert_eq!(full.take(&verb(0xff, 100), 1), Err(Error::Busy));
    assert_eq!(full.take(&verb(0xff, 200), 101), Ok(()));
}

#[test]
fn questions_and_answers_on_the_wire() {
    let question = Question { kind: SiteKind::Revocations, nonce: [7; 8], number: 3 };
    let bytes = written(|out| question.encode(out));
    assert_eq!(hex::encode(&bytes), "0248070707070707070703");
    assert_eq!(Question::decode(&bytes), Ok(question));
    let longest = Question { number: u32::MAX, ..question };
    assert_eq!(written(|out| longest.encode(out)).len(), MAX_QUESTION_LEN);
    let message = SiteMessage { kind: SiteKind::Time, nonce: Some([7; 8]), signed: &[0x84, 0x40] };
    let bytes = written(|out| message.encode(out));
    assert_eq!(hex::encode(&bytes), "044807070707070707078440");
    assert_eq!(SiteMessage::decode(&bytes), Ok(message));
    let unasked = SiteMessage { nonce: None, ..message };
    assert_eq!(hex::encode(written(|out| unasked.encode(out))), "04408440");
    for bad in ["", "06408440", "0447070707070707078440", "84", "0448070707"] {
        assert!(SiteMessage::decode(&hex::decode(bad).unwrap()).is_err(), "{bad}");
    }
    assert!(Question::decode(&hex::decode("024807070707070707070300").unwrap()).is_err());
}
