//! Credentials and site messages from the air, and owner codes from a keyboard.

use cardea_credentials::cbor::{Reader, Writer};
use cardea_credentials::{
    ActivationStatus, OwnerCode, PublicKey, Sign1, Signer, SoftSigner, decode_ccs, encode_ccs,
    verify_lock_identity, verify_platform,
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
