//! Credentials and site messages from the air, and owner codes from a keyboard.

use cardea_credentials::cbor::{Reader, Writer};
use cardea_credentials::{
    ActivationRecord, ActivationStatus, Addition, Authority, Gate, Intake, Lists, Moment, OwnerCode, Page,
    Progress, PublicKey, Question, Release, Scope, Sign1, Signer, Site, SiteMessage, SoftSigner, Trust, Verb,
    decode_ccs, encode_ccs, verify_authority, verify_delegated_grant, verify_grant, verify_lock_identity,
    verify_membership, verify_platform, verify_time_token,
};

/// CBOR: what is an item, ends where it says; the head of an integer is written as it was read.
pub fn credentials_cbor(data: &[u8]) {
    let mut reader = Reader::new(data);
    if let Ok(item) = reader.item() {
        assert_eq!([item, reader.rest()].concat(), data);
    }
    if let Ok(value) = Reader::new(data).int() {
        let mut out = [0; 9];
        let mut writer = Writer::new(&mut out);
        assert!(writer.int(value).is_ok());
        assert!(data.starts_with(writer.as_slice()));
    }
}

/// Claim sets: one whose encoding we would write ourselves is read as what it is.
pub fn credentials_ccs(data: &[u8]) {
    if let Ok(ccs) = decode_ccs(data) {
        let key = ccs.cose_key.key;
        assert_eq!(PublicKey::from_xy(key.x(), key.y()), Ok(key));
        let mut out = vec![0; data.len() + 64];
        let len = encode_ccs(ccs.subject, &key, ccs.cose_key.kid, &mut out);
        let ours = len.ok().and_then(|len| out.get(..len)).unwrap_or_default();
        if let Ok(again) = decode_ccs(ours) {
            assert_eq!(
                (again.subject, again.cose_key.key, again.cose_key.kid),
                (ccs.subject, key, ccs.cose_key.kid)
            );
        }
    }
}

/// Certificates: a lock's is not a platform's.
pub fn credentials_cwt(data: &[u8]) {
    let _ = Sign1::decode(data);
    let lock = verify_lock_identity(data);
    let platform = verify_platform(data, None);
    assert!(lock.is_err() || platform.is_err());
    if let Ok(platform) = platform {
        assert_eq!(verify_platform(data, Some(&platform.root)), Ok(platform));
    }
}

/// Site messages, under the key of the corpus.
pub fn credentials_site(data: &[u8]) {
    let key = SoftSigner::from_bytes(&[5; 32]).map(|signer| signer.public());
    if let Ok(status) = key.and_then(|key| ActivationStatus::verify(data, "gw-0001", &key)) {
        assert_eq!(status.lock_id(), status.lock.first_chunk().copied().unwrap_or_default());
    }
}

/// Owner codes: what is taken, reads the same after it was printed.
pub fn credentials_owner_code(data: &[u8]) {
    if let Ok(text) = core::str::from_utf8(data)
        && let Ok(code) = OwnerCode::parse(text)
    {
        let shown = code.reveal();
        assert!(OwnerCode::parse(shown.as_str()).is_ok_and(|again| again.to_bytes() == code.to_bytes()));
    }
}

/// One key in every role, so that a seed is genuine wherever it is meant to be.
fn everybody() -> Option<PublicKey> {
    SoftSigner::from_bytes(&[5; 32]).ok().map(|signer| signer.public())
}

/// Grants: what one permits is within its terms, and nothing is permitted to another key.
pub fn credentials_grant(data: &[u8]) {
    let Some(key) = everybody() else { return };
    let Ok(grant) = verify_grant(data, &key.thumbprint(), &key) else { return };
    let _ = verify_delegated_grant(data, &grant);
    let terms = grant.terms();
    for second in [0, terms.not_before, terms.expires - 1, terms.expires] {
        let Ok(now) = Moment::new(second, second) else { continue };
        for (right, _) in Scope::NAMED {
            assert!(grant.permits(&key, right, now, |_| false).is_err() || key == terms.holder);
            assert!(grant.permits(&terms.holder, right, now, |_| true).is_err());
            if grant.permits(&terms.holder, right, now, |_| false).is_ok() {
                assert!(terms.scope.allows(right) && second >= terms.not_before && second < terms.expires);
            }
        }
    }
}

/// Everything else that is signed: no input is of two types.
pub fn credentials_signed(data: &[u8]) {
    let Some(key) = everybody() else { return };
    let name = key.thumbprint();
    let site = Site { root: name, id: *b"site-001" };
    let authority = Authority { key, version: 2 };
    let types = [
        verify_authority(data, &site, &key).is_ok(),
        verify_membership(data, &site, &key).is_ok(),
        Page::verify(data, &name, &key).is_ok(),
        Addition::verify(data, &site, &key).is_ok(),
        verify_time_token(data, &name, &[1; 8], &authority).is_ok(),
        ActivationRecord::verify(data, &name, &key).is_ok(),
        Release::verify(data, &name, &[1; 8], &key, Some(&key)).is_ok(),
        Verb::verify(data, "gw-0001", b"{}", &key).is_ok(),
    ];
    assert!(types.iter().filter(|verified| **verified).count() <= 1);
}

/// Site datagrams at a lock: what is taken moves the lists forward.
pub fn credentials_intake(data: &[u8]) {
    if let Ok(question) = Question::decode(data) {
        let mut out = [0; 16];
        let len = question.encode(&mut out).unwrap_or_default();
        assert_eq!(out.get(..len), Some(data));
    }
    let (Ok(message), Some(key)) = (SiteMessage::decode(data), everybody()) else { return };
    let (mut intake, mut gate) = (Intake::new(Lists::default()), Gate::new());
    let (root, nonce) = (key.thumbprint(), message.nonce.as_ref());
    let mut trust = Trust::new(root);
    trust.join(*b"site-001", 0);
    gate.ask([7; 8], 0);
    let _ = trust.accept_authority(message.signed, nonce, &key, &mut gate, 0);
    assert_eq!(Trust::from_bytes(&trust.to_bytes()), Ok(trust));
    gate.ask([7; 8], 0);
    if let Ok((page, progress)) = intake.page(message.signed, nonce, &root, &key, &mut gate, 1) {
        assert_eq!(matches!(progress, Progress::Complete(_)), page.is_last());
        assert!(
            page.thumbprints().is_sorted()
                && intake.lists().epoch == if page.is_last() { page.epoch } else { 0 }
        );
    }
    let _ = intake.addition(message.signed, nonce, &trust, &mut gate, 2);
    assert_eq!(Lists::from_bytes(&intake.lists().to_bytes()), Ok(*intake.lists()));
}
