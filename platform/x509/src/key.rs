//! Keys between COSE's form and X.509's, private ones in PKCS #8, and the proof in a certification request.

use cardea_credentials::{PublicKey, SoftSigner, verify, verify_lock_identity};
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, LineEnding};
use x509_cert::{
    der::{Decode as _, asn1::ObjectIdentifier},
    request::CertReq,
    spki::SubjectPublicKeyInfoOwned,
};
use zeroize::Zeroizing;

use crate::{Error, MAX_CERTIFICATE, certificate};

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const PRIME256V1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// The P-256 key of a SubjectPublicKeyInfo (RFC 5480); a point in either form.
pub(crate) fn from_spki(spki: &SubjectPublicKeyInfoOwned) -> Result<PublicKey, Error> {
    let curve = spki.algorithm.parameters.as_ref().and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
    if spki.algorithm.oid != EC_PUBLIC_KEY || curve != Some(PRIME256V1) {
        return Err(Error::UnsupportedKey);
    }
    let point = spki.subject_public_key.as_bytes().ok_or(Error::Malformed)?;
    PublicKey::from_sec1(point).map_err(|_| Error::UnsupportedKey)
}

/// The key as the P-256 crate has it, which writes SubjectPublicKeyInfo.
pub(crate) fn to_p256(key: &PublicKey) -> Result<p256::PublicKey, Error> {
    p256::PublicKey::from_sec1_bytes(&key.to_compressed()).map_err(|_| Error::UnsupportedKey)
}

/// The key that a PKCS #10 request (RFC 2986), DER or PEM, asks a certificate for. Its signature shows that the
/// requester holds the key. Names and extensions that it asks for are not looked at: the profile has its own.
///
/// # Errors
/// [`Error::Malformed`], [`Error::TooLong`], [`Error::UnsupportedKey`], [`Error::UnsupportedSignature`],
/// [`Error::BadSignature`].
pub fn request_key(request: &[u8]) -> Result<PublicKey, Error> {
    if request.len() > 2 * MAX_CERTIFICATE {
        return Err(Error::TooLong);
    }
    let pem = std::str::from_utf8(request).ok();
    let der = match pem.map(|text| certificate::blocks(text, "CERTIFICATE REQUEST")).transpose()?.as_deref() {
        Some([one]) => one.clone(),
        Some([_, ..]) => return Err(Error::TooLong),
        _ => request.to_vec(),
    };
    let parsed = CertReq::from_der(&der).map_err(|_| Error::Malformed)?;
    if !certificate::is_ecdsa(&parsed.algorithm) {
        return Err(Error::UnsupportedSignature);
    }
    let key = from_spki(&parsed.info.public_key)?;
    let signature = certificate::signature(parsed.signature.as_bytes().ok_or(Error::Malformed)?)?;
    verify(&key, certificate::signed_part(&der)?, &signature).map_err(|_| Error::BadSignature)?;
    Ok(key)
}

/// The identity key of a lock's own CWT, raw or in hexadecimal: its signature shows that the lock holds the key.
///
/// # Errors
/// [`Error::Malformed`], [`Error::BadSignature`].
pub fn lock_key(cwt: &[u8]) -> Result<PublicKey, Error> {
    let text = std::str::from_utf8(cwt).ok().and_then(|text| hex::decode(text.trim()).ok());
    match verify_lock_identity(text.as_deref().unwrap_or(cwt)) {
        Ok(lock) => Ok(lock.identity),
        Err(cardea_credentials::Error::BadSignature) => Err(Error::BadSignature),
        Err(_) => Err(Error::Malformed),
    }
}

/// A private key as unencrypted PKCS #8 PEM, which openssl reads. For whoever keeps a maker's key in a file.
///
/// # Errors
/// [`Error::UnsupportedKey`].
pub fn private_key_to_pem(key: &SoftSigner) -> Result<Zeroizing<String>, Error> {
    let scalar = key.to_bytes();
    let secret = p256::SecretKey::from_slice(&*scalar).map_err(|_| Error::UnsupportedKey)?;
    secret.to_pkcs8_pem(LineEnding::LF).map_err(|_| Error::UnsupportedKey)
}

/// The private key of an unencrypted PKCS #8 PEM file.
///
/// # Errors
/// [`Error::UnsupportedKey`] for another form, curve or an encrypted key.
pub fn private_key_from_pem(text: &str) -> Result<SoftSigner, Error> {
    let secret = p256::SecretKey::from_pkcs8_pem(text).map_err(|_| Error::UnsupportedKey)?;
    let scalar: Zeroizing<[u8; 32]> = Zeroizing::new(secret.to_bytes().into());
    SoftSigner::from_bytes(&scalar).map_err(|_| Error::UnsupportedKey)
}
