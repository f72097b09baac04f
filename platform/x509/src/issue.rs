//! Certificates are made here, with any signer: a key in a file, in a token, in a test.

use std::{str::FromStr as _, time::Duration};

use cardea_credentials::{PublicKey, Random, Signer};
use p256::ecdsa::{Signature, signature::Keypair};
use x509_cert::{
    TbsCertificate,
    builder::{Builder as _, CertificateBuilder, profile::BuilderProfile},
    der::{DateTime, Encode as _, asn1::BitString, asn1::OctetString},
    ext::{
        Extension, ToExtension,
        pkix::{AuthorityKeyIdentifier, BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier},
    },
    name::Name,
    serial_number::SerialNumber,
    spki::{
        AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier, SubjectPublicKeyInfoOwned,
        SubjectPublicKeyInfoRef,
    },
    time::{Time, Validity as Period},
};

use crate::{
    Error,
    certificate::{Certificate, ECDSA_WITH_SHA_256},
    key,
};

/// From when until when, in Unix seconds. No end is 9999-12-31, as RFC 5280 §4.1.2.5 has it for devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// notBefore.
    pub from: u64,
    /// notAfter.
    pub until: Option<u64>,
}

impl Validity {
    fn period(self) -> Result<Period, Error> {
        let time = |seconds| {
            DateTime::from_unix_duration(Duration::from_secs(seconds))
                .map(Time::from)
                .map_err(|_| Error::BadValidity)
        };
        if self.until.is_some_and(|until| until <= self.from) {
            return Err(Error::BadValidity);
        }
        let until = self.until.map_or(Ok(Time::INFINITY), time)?;
        Ok(Period::new(time(self.from)?, until))
    }
}

/// Makes a maker's root: self-signed, CA, at most one CA below it. Returns DER.
///
/// # Errors
/// [`Error::BadName`], [`Error::BadValidity`], [`Error::KeyUnavailable`], [`Error::RandomUnavailable`].
pub fn make_root(
    signer: &dyn Signer,
    name: &str,
    validity: Validity,
    random: &mut dyn Random,
) -> Result<Vec<u8>, Error> {
    let subject = common_name(name)?;
    let profile = Profile {
        issuer: subject.clone(),
        subject,
        path_len: Some(1),
        key_id: key_id(&signer.public()),
        issuer_key_id: None,
    };
    profile.certify(signer, &signer.public(), validity, random)
}

/// Who issues: a CA's certificate and its key.
pub struct Issuer<'a> {
    certificate: Certificate,
    signer: &'a dyn Signer,
}

impl<'a> Issuer<'a> {
    /// From a CA's certificate in DER and the holder of its key.
    ///
    /// # Errors
    /// [`Error::NotAnAuthority`], [`Error::WrongIssuerKey`], and what the profile refuses.
    pub fn new(certificate: &[u8], signer: &'a dyn Signer) -> Result<Self, Error> {
        let certificate = Certificate::parse(certificate)?;
        certificate.check_authority(0)?;
        if *certificate.key() != signer.public() {
            return Err(Error::WrongIssuerKey);
        }
        Ok(Self { certificate, signer })
    }

    /// The key that a CA's certificate in DER names, for whoever has to find its private half.
    ///
    /// # Errors
    /// [`Error::NotAnAuthority`], and what the profile refuses.
    pub fn key_of(certificate: &[u8]) -> Result<PublicKey, Error> {
        let certificate = Certificate::parse(certificate)?;
        certificate.check_authority(0)?;
        Ok(*certificate.key())
    }

    /// A CA of the maker for one factory: issues devices and nothing else (pathLenConstraint 0). Returns DER.
    ///
    /// # Errors
    /// [`Error::PathTooLong`] where this issuer may not have a CA below it; as [`make_root`].
    pub fn authority(
        &self,
        key: &PublicKey,
        name: &str,
        validity: Validity,
        random: &mut dyn Random,
    ) -> Result<Vec<u8>, Error> {
        self.certificate.check_authority(1)?;
        let subject = common_name(name)?;
        let profile = Profile { path_len: Some(0), ..self.profile(subject, key) };
        profile.certify(self.signer, key, validity, random)
    }

    /// The certificate of a lock with this identity key, named by its lock id. Returns DER.
    ///
    /// # Errors
    /// As [`make_root`].
    pub fn device(
        &self,
        key: &PublicKey,
        validity: Validity,
        random: &mut dyn Random,
    ) -> Result<Vec<u8>, Error> {
        let [a, b, c, d, e, f, g, h, ..] = key.thumbprint();
        let id = hex::encode([a, b, c, d, e, f, g, h]);
        let subject = Name::from_str(&format!("serialNumber={id}")).map_err(|_| Error::BadName)?;
        self.profile(subject, key).certify(self.signer, key, validity, random)
    }

    fn profile(&self, subject: Name, key: &PublicKey) -> Profile {
        Profile {
            issuer: self.certificate.subject().clone(),
            subject,
            path_len: None,
            key_id: key_id(key),
            issuer_key_id: self.certificate.key_id().map(<[u8]>::to_vec),
        }
    }
}

/// The subject and issuer key identifiers are only names (RFC 5280 §4.2.1.2); ours begin the thumbprint.
fn key_id(key: &PublicKey) -> Vec<u8> {
    key.thumbprint().into_iter().take(8).collect()
}

fn common_name(name: &str) -> Result<Name, Error> {
    let plain = |c: char| c.is_alphanumeric() || " .-_/()".contains(c);
    let edges = name.starts_with(' ') || name.ends_with(' ');
    if name.is_empty() || name.chars().count() > 64 || edges || !name.chars().all(plain) {
        return Err(Error::BadName);
    }
    Name::from_str(&format!("CN={name}")).map_err(|_| Error::BadName)
}

/// The extensions of the profile.
struct Profile {
    issuer: Name,
    subject: Name,
    /// pathLenConstraint of a CA; a device has none.
    path_len: Option<u8>,
    key_id: Vec<u8>,
    /// Of the issuer; a root has none.
    issuer_key_id: Option<Vec<u8>>,
}

impl Profile {
    fn certify(
        self,
        signer: &dyn Signer,
        key: &PublicKey,
        validity: Validity,
        random: &mut dyn Random,
    ) -> Result<Vec<u8>, Error> {
        let mut serial = [0; 16];
        random.fill(&mut serial).map_err(|_| Error::RandomUnavailable)?;
        serial[0] = serial[0] & 0x7f | 0x40; // positive, and always of one length
        let serial = SerialNumber::new(&serial).map_err(|_| Error::Malformed)?;
        let spki = SubjectPublicKeyInfoOwned::from_key(&key::to_p256(key)?).map_err(|_| Error::Malformed)?;
        let adapter = Adapter(key::to_p256(&signer.public())?);
        let mut builder = CertificateBuilder::new(self, serial, validity.period()?, spki)
            .map_err(|_| Error::BadValidity)?;
        let tbs = builder.finalize(&adapter).map_err(|_| Error::Malformed)?;
        let signature = signer.sign(&tbs).map_err(|_| Error::KeyUnavailable)?;
        let signature = Signature::from_slice(&signature).map_err(|_| Error::KeyUnavailable)?.to_der();
        let signature = BitString::from_bytes(signature.as_bytes()).map_err(|_| Error::Malformed)?;
        let certificate = builder.assemble(signature, &adapter).map_err(|_| Error::Malformed)?;
        certificate.to_der().map_err(|_| Error::Malformed)
    }
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        _key: SubjectPublicKeyInfoRef<'_>,
        _issuer: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        let mut extensions = Vec::new();
        let subject = tbs.subject();
        let id = OctetString::new(self.key_id.clone())?;
        if self.path_len.is_some() {
            let constraints = BasicConstraints { ca: true, path_len_constraint: self.path_len };
            extensions.push((&constraints).to_extension(subject, &extensions)?);
            let usage = KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign);
            extensions.push((&usage).to_extension(subject, &extensions)?);
            extensions.push((&SubjectKeyIdentifier(id)).to_extension(subject, &extensions)?);
        } else {
            let usage = KeyUsage(KeyUsages::DigitalSignature.into());
            extensions.push((&usage).to_extension(subject, &extensions)?);
        }
        if let Some(issuer) = &self.issuer_key_id {
            let issuer = OctetString::new(issuer.clone())?;
            let named = AuthorityKeyIdentifier { key_identifier: Some(issuer), ..Default::default() };
            extensions.push((&named).to_extension(subject, &extensions)?);
        }
        Ok(extensions)
    }
}

/// What the builder wants to know of the signer; it is not asked to sign.
struct Adapter(p256::PublicKey);

impl Keypair for Adapter {
    type VerifyingKey = p256::PublicKey;

    fn verifying_key(&self) -> Self::VerifyingKey {
        self.0
    }
}

impl DynSignatureAlgorithmIdentifier for Adapter {
    fn signature_algorithm_identifier(&self) -> x509_cert::spki::Result<AlgorithmIdentifierOwned> {
        Ok(AlgorithmIdentifierOwned { oid: ECDSA_WITH_SHA_256, parameters: None })
    }
}
