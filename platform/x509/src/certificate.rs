//! One certificate, read with everything that the profile says about it alone.

use cardea_credentials::PublicKey;
use p256::ecdsa::Signature;
use x509_cert::{
    Certificate as Parsed, Version,
    der::{
        AnyRef, Decode as _, Document, Reader as _, SliceReader, asn1::ObjectIdentifier,
        asn1::PrintableStringRef, pem::LineEnding,
    },
    ext::pkix::{AuthorityKeyIdentifier, BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier},
    name::Name,
    spki::AlgorithmIdentifierOwned,
};

use crate::{Error, key};

/// The longest certificate that is read, in bytes of DER; ours have about 400.
pub const MAX_CERTIFICATE: usize = 2_048;
/// The longest PEM file that is read.
const MAX_PEM: usize = 16 * 1_024;

pub(crate) const LABEL: &str = "CERTIFICATE";
pub(crate) const ECDSA_WITH_SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
pub(crate) const SERIAL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.5");

/// A certificate of the profile. Whether it is trusted is another question.
#[derive(Clone)]
pub(crate) struct Certificate {
    parsed: Parsed,
    der: Vec<u8>,
    /// What the signature covers, as it stands in `der`.
    tbs: Vec<u8>,
    signature: [u8; 64],
    key: PublicKey,
    constraints: Option<BasicConstraints>,
    usage: KeyUsage,
    key_id: Option<Vec<u8>>,
    issuer_key_id: Option<Vec<u8>>,
}

impl Certificate {
    pub(crate) fn parse(der: &[u8]) -> Result<Self, Error> {
        if der.len() > MAX_CERTIFICATE {
            return Err(Error::TooLong);
        }
        let parsed = Parsed::from_der(der).map_err(|_| Error::Malformed)?;
        let tbs = parsed.tbs_certificate();
        if tbs.version() != Version::V3 {
            return Err(Error::Profile);
        }
        let algorithm = parsed.signature_algorithm();
        if !is_ecdsa(algorithm) || tbs.signature() != algorithm {
            return Err(Error::UnsupportedSignature);
        }
        let key = key::from_spki(tbs.subject_public_key_info())?;
        check_extensions(&parsed)?;
        let signature = signature(parsed.signature().as_bytes().ok_or(Error::Malformed)?)?;
        let usage = extension::<KeyUsage>(&parsed)?.ok_or(Error::Profile)?;
        let constraints = extension(&parsed)?;
        let key_id = extension::<SubjectKeyIdentifier>(&parsed)?.map(|id| id.0.as_bytes().to_vec());
        let issuer_key_id = extension::<AuthorityKeyIdentifier>(&parsed)?
            .and_then(|id| id.key_identifier)
            .map(|id| id.as_bytes().to_vec());
        let tbs = signed_part(der)?.to_vec();
        let der = der.to_vec();
        Ok(Self { parsed, der, tbs, signature, key, constraints, usage, key_id, issuer_key_id })
    }

    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(crate) const fn key(&self) -> &PublicKey {
        &self.key
    }

    pub(crate) fn subject(&self) -> &Name {
        self.parsed.tbs_certificate().subject()
    }

    pub(crate) fn issuer(&self) -> &Name {
        self.parsed.tbs_certificate().issuer()
    }

    pub(crate) fn key_id(&self) -> Option<&[u8]> {
        self.key_id.as_deref()
    }

    /// Its only serialNumber attribute: the lock id of a device.
    pub(crate) fn serial_number(&self) -> Option<String> {
        let subject = self.subject();
        let mut found = subject.iter().filter(|attribute| attribute.oid == SERIAL_NUMBER);
        let attribute = found.next()?;
        if found.next().is_some() {
            return None;
        }
        PrintableStringRef::try_from(&attribute.value).ok().map(|text| text.as_str().to_owned())
    }

    /// Validity at a Unix time; both ends are included (RFC 5280 §4.1.2.5).
    pub(crate) fn check_time(&self, at: u64) -> Result<(), Error> {
        let validity = self.parsed.tbs_certificate().validity();
        if at < validity.not_before.to_unix_duration().as_secs() {
            return Err(Error::NotYetValid);
        }
        if at > self.ends() {
            return Err(Error::Expired);
        }
        Ok(())
    }

    /// notAfter in Unix seconds.
    pub(crate) fn ends(&self) -> u64 {
        self.parsed.tbs_certificate().validity().not_after.to_unix_duration().as_secs()
    }

    /// Whether it may issue: basicConstraints and keyUsage, with `below` CAs between it and the device.
    pub(crate) fn check_authority(&self, below: usize) -> Result<(), Error> {
        let constraints = self.constraints.as_ref().filter(|c| c.ca).ok_or(Error::NotAnAuthority)?;
        if !self.usage.0.contains(KeyUsages::KeyCertSign) {
            return Err(Error::NotAnAuthority);
        }
        match constraints.path_len_constraint {
            Some(most) if below > usize::from(most) => Err(Error::PathTooLong),
            _ => Ok(()),
        }
    }

    /// Whether it is a device's: no CA, and a key that signs.
    pub(crate) fn check_device(&self) -> Result<(), Error> {
        let ca = self.constraints.as_ref().is_some_and(|c| c.ca);
        let signs = self.usage.0.contains(KeyUsages::DigitalSignature);
        let issues = self.usage.0.contains(KeyUsages::KeyCertSign);
        if ca || issues || !signs { Err(Error::NotADevice) } else { Ok(()) }
    }

    /// Name, key identifier and signature: `issuer` issued this one.
    pub(crate) fn check_issued_by(&self, issuer: &Self) -> Result<(), Error> {
        let other_key =
            matches!((&self.issuer_key_id, &issuer.key_id), (Some(named), Some(id)) if named != id);
        if self.issuer() != issuer.subject() || other_key {
            return Err(Error::UnknownIssuer);
        }
        cardea_credentials::verify(&issuer.key, &self.tbs, &self.signature).map_err(|_| Error::BadSignature)
    }
}

pub(crate) fn is_ecdsa(algorithm: &AlgorithmIdentifierOwned) -> bool {
    algorithm.oid == ECDSA_WITH_SHA_256 && algorithm.parameters.is_none()
}

/// An ECDSA signature from DER to r ‖ s.
pub(crate) fn signature(der: &[u8]) -> Result<[u8; 64], Error> {
    Ok(Signature::from_der(der).map_err(|_| Error::BadSignature)?.to_bytes().into())
}

/// The first element of a signed SEQUENCE, head and all. Never encoded anew: what is verified is what came.
pub(crate) fn signed_part(der: &[u8]) -> Result<&[u8], Error> {
    let whole = AnyRef::from_der(der).map_err(|_| Error::Malformed)?;
    let mut reader = SliceReader::new(whole.value()).map_err(|_| Error::Malformed)?;
    reader.tlv_bytes().map_err(|_| Error::Malformed)
}

/// Refuses what occurs twice and what is critical and not looked at here.
fn check_extensions(certificate: &Parsed) -> Result<(), Error> {
    use x509_cert::der::oid::AssociatedOid as _;
    let extensions = certificate.tbs_certificate().extensions().map_or(&[][..], Vec::as_slice);
    for (place, extension) in extensions.iter().enumerate() {
        let again = extensions.iter().skip(place + 1).any(|other| other.extn_id == extension.extn_id);
        let known = [BasicConstraints::OID, KeyUsage::OID].contains(&extension.extn_id);
        if again || (extension.critical && !known) {
            return Err(Error::Profile);
        }
    }
    Ok(())
}

fn extension<'a, T>(certificate: &'a Parsed) -> Result<Option<T>, Error>
where
    T: x509_cert::der::Decode<'a> + x509_cert::der::oid::AssociatedOid,
{
    let found = certificate.tbs_certificate().get_extension::<T>().map_err(|_| Error::Malformed)?;
    Ok(found.map(|(_, extension)| extension))
}

/// The certificates of a PEM file in their order, as DER; text between them is skipped.
///
/// # Errors
/// [`Error::Malformed`] where there is none or one cannot be decoded, [`Error::TooLong`].
pub fn from_pem(text: &str) -> Result<Vec<Vec<u8>>, Error> {
    if text.len() > MAX_PEM {
        return Err(Error::TooLong);
    }
    let found = blocks(text, LABEL)?;
    if found.is_empty() { Err(Error::Malformed) } else { Ok(found) }
}

/// A certificate as PEM.
///
/// # Errors
/// [`Error::Malformed`] for what is no DER.
pub fn to_pem(der: &[u8]) -> Result<String, Error> {
    Document::try_from(der)
        .and_then(|document| document.to_pem(LABEL, LineEnding::LF))
        .map_err(|_| Error::Malformed)
}

/// Every PEM block with this label.
pub(crate) fn blocks(text: &str, label: &str) -> Result<Vec<Vec<u8>>, Error> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, from)) = rest.split_once(begin.as_str()) {
        let (body, after) = from.split_once(end.as_str()).ok_or(Error::Malformed)?;
        let block = format!("{begin}{body}{end}\n");
        let (_, document) = Document::from_pem(&block).map_err(|_| Error::Malformed)?;
        found.push(document.as_bytes().to_vec());
        rest = after;
    }
    Ok(found)
}
