//! An authority of the gateway's own, for owners who install one on their phones so that browsers trust the page.
//!
//! Whoever has an authority's key can be everything that the authority may vouch for, to every phone that trusts it. So this one may vouch
//! for the gateway's own names alone (RFC 5280 §4.2.1.10), and its key is forgotten in the moment of its making: it lives in memory until it
//! has signed the gateway's certificates of the coming decades, each for as long as browsers take one, and is never written anywhere. What
//! a thief finds on the gateway is the page's key, which a stolen gateway has anyway.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints, SerialNumber,
    date_time_ymd,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

/// The years in which the page's certificates begin. Each lasts into the third spring after: 820 or 821 days, and Apple's systems take 825
/// from an authority that a user has installed.
const YEARS: [i32; 12] = [2025, 2027, 2029, 2031, 2033, 2035, 2037, 2039, 2041, 2043, 2045, 2047];

/// A certificate is shown this long after it has begun: clocks of phones differ.
const SETTLED_S: i64 = 14 * 86_400;

/// What is kept of it: its certificate, and the page's certificates with their key.
pub(crate) struct Authority {
    certificate: CertificateDer<'static>,
    /// By when they begin, Unix seconds.
    pages: Vec<(i64, Arc<CertifiedKey>)>,
}

impl Authority {
    /// Makes one for these names; the text to keep, which is secret. Its first certificate is the authority's.
    pub(crate) fn make(gateway: &str, names: &[String]) -> Result<Zeroizing<String>, String> {
        let text = |e: rcgen::Error| e.to_string();
        let names = vouched(names);
        if names.is_empty() {
            return Err("the gateway has no name".into());
        }
        let mut number = [0; 16];
        getrandom::fill(&mut number).map_err(|e| e.to_string())?;
        let serial = |n: u8| {
            let mut bytes = number;
            let [first, .., last] = &mut bytes;
            *first = *first & 0x7f | 0x40; // positive, and not shortened
            *last = n;
            SerialNumber::from(bytes.to_vec())
        };
        let issuer = issuer(gateway, &names, &number, serial(0)).map_err(text)?;
        let key = KeyPair::generate().map_err(text)?;
        let mut kept = Zeroizing::new(issuer.as_ref().pem());
        for (year, n) in YEARS.into_iter().zip(1_u8..) {
            let mut page = CertificateParams::new(names.clone()).map_err(text)?;
            page.distinguished_name = DistinguishedName::new();
            page.distinguished_name.push(DnType::CommonName, "Cardea gateway");
            page.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            page.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            page.use_authority_key_identifier_extension = true;
            page.serial_number = Some(serial(n));
            page.not_before = date_time_ymd(year, 1, 1);
            page.not_after = date_time_ymd(year + 2, 4, 1);
            kept.push_str(&page.signed_by(&key, &issuer).map_err(text)?.pem());
        }
        kept.push_str(&Zeroizing::new(key.serialize_pem()));
        Ok(kept)
    }

    /// Reads what [`Self::make`] gave.
    pub(crate) fn read(kept: &str, provider: &CryptoProvider) -> Option<Self> {
        let mut certificates = CertificateDer::pem_slice_iter(kept.as_bytes());
        let certificate = certificates.next()?.ok()?;
        let key = PrivateKeyDer::from_pem_slice(kept.as_bytes()).ok()?;
        let mut pages = Vec::new();
        for (year, page) in YEARS.into_iter().zip(certificates) {
            let certified = CertifiedKey::from_der(vec![page.ok()?], key.clone_key(), provider).ok()?;
            pages.push((first_of(year), Arc::new(certified)));
        }
        (pages.len() == YEARS.len()).then_some(Self { certificate, pages })
    }

    /// What the page is shown with at this time (Unix seconds). A gateway that does not know the time shows the first.
    pub(crate) fn page_at(&self, now: i64) -> Option<Arc<CertifiedKey>> {
        let begun = self.pages.iter().rev().find(|(start, _)| start.saturating_add(SETTLED_S) <= now);
        begun.or(self.pages.first()).map(|(_, page)| Arc::clone(page))
    }

    /// What phones install.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }
}

/// The names that it vouches for. One for `localhost` could be any program on the phone itself.
fn vouched(names: &[String]) -> Vec<String> {
    names.iter().filter(|name| *name != "localhost").cloned().collect()
}

/// The authority, as long as its key lives.
fn issuer(
    gateway: &str,
    names: &[String],
    number: &[u8],
    serial: SerialNumber,
) -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    // Two of one gateway must not be taken for one another where they are listed.
    let mark = number.iter().skip(1).take(2).map(|byte| format!("{byte:02x}")).collect::<String>();
    params.distinguished_name.push(DnType::CommonName, format!("Cardea gateway {gateway} {mark}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: names.iter().cloned().map(GeneralSubtree::DnsName).collect(),
        // Without these every address would be permitted, and every mail address.
        excluded_subtrees: vec![
            GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
            GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
        ],
    });
    params.serial_number = Some(serial);
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

/// Unix seconds of the first of January; until 2100.
fn first_of(year: i32) -> i64 {
    let year = i64::from(year);
    ((year - 1970) * 365 + (year - 1969) / 4) * 86_400
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn names() -> Vec<String> {
        ["cardea-bcdf.local", "localhost", "lobby.example"].map(String::from).to_vec()
    }

    fn provider() -> CryptoProvider {
        rustls::crypto::ring::default_provider()
    }

    /// 2026-11-28.
    const NOW: i64 = 1_795_824_000;

    #[test]
    fn years_begin_when_they_begin() {
        assert_eq!(first_of(1970), 0);
        assert_eq!(first_of(2025), 1_735_689_600);
        assert_eq!(first_of(2029), 1_861_920_000);
    }

    #[test]
    fn a_page_is_shown_while_it_holds_and_its_authority_has_no_key() {
        let kept = Authority::make("gw", &names()).unwrap();
        assert_eq!(kept.matches("PRIVATE KEY-----").count(), 2, "one key, the page's");
        let read = Authority::read(&kept, &provider()).unwrap();
        let shown = |now| read.page_at(now).unwrap().cert.first().unwrap().clone();
        let by_number = |n: usize| read.pages.get(n).unwrap().1.cert.first().unwrap().clone();
        assert_eq!(shown(NOW), by_number(0));
        assert_eq!(shown(0), by_number(0), "a gateway that does not know the time");
        assert_eq!(shown(first_of(2027)), by_number(0), "not on the first day");
        assert_eq!(shown(first_of(2027) + SETTLED_S), by_number(1));
        assert_eq!(shown(i64::MAX), by_number(11));
        // The key is the page's and not the authority's.
        let key = PrivateKeyDer::from_pem_slice(kept.as_bytes()).unwrap();
        assert!(CertifiedKey::from_der(vec![read.certificate.clone()], key, &provider()).is_err());
        assert!(Authority::read(kept.get(..kept.len() / 2).unwrap(), &provider()).is_none());
        assert!(Authority::read("", &provider()).is_none());
        assert!(Authority::make("gw", &["localhost".to_owned()]).is_err());
    }

    fn openssl(arguments: &[&str]) -> (bool, String) {
        let out = Command::new("openssl").args(arguments).output().unwrap();
        let text = [out.stdout, out.stderr].concat();
        (out.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    fn pem(directory: &Path, name: &str, der: &CertificateDer<'_>) -> String {
        let (der_path, path) = (directory.join(format!("{name}.der")), directory.join(format!("{name}.pem")));
        std::fs::write(&der_path, der).unwrap();
        let (done, said) = openssl(&[
            "x509",
            "-inform",
            "DER",
            "-in",
            der_path.to_str().unwrap(),
            "-out",
            path.to_str().unwrap(),
        ]);
        assert!(done, "{said}");
        path.to_str().unwrap().to_owned()
    }

    /// The judge is a program that nobody here wrote.
    #[test]
    fn openssl_verifies_every_page_at_its_time_and_nothing_for_other_names() {
        let directory = tempfile::tempdir().unwrap();
        let kept = Authority::make("gw", &names()).unwrap();
        let read = Authority::read(&kept, &provider()).unwrap();
        let authority = pem(directory.path(), "authority", &read.certificate);
        for (n, (start, page)) in read.pages.iter().enumerate() {
            let page = pem(directory.path(), &format!("page-{n}"), page.cert.first().unwrap());
            let verify = |at: i64, name: &str| {
                let at = at.to_string();
                openssl(&[
                    "verify",
                    "-x509_strict",
                    "-purpose",
                    "sslserver",
                    "-attime",
                    &at,
                    "-verify_hostname",
                    name,
                    "-CAfile",
                    &authority,
                    &page,
                ])
            };
            for name in ["cardea-bcdf.local", "lobby.example"] {
                // From the day on which it is shown to the last before the next one is.
                for at in [start + SETTLED_S, start + 2 * 365 * 86_400 + SETTLED_S] {
                    let (good, said) = verify(at, name);
                    assert!(good, "{n} for {name}: {said}");
                }
            }
            assert!(!verify(start + SETTLED_S, "localhost").0);
            assert!(!verify(start + SETTLED_S, "elsewhere.example").0);
            assert!(!verify(start + 826 * 86_400, "lobby.example").0, "no longer than browsers take one");
        }
    }

    /// What a thief could do who had been quick enough to get the key: nothing for other names, and nothing for addresses.
    #[test]
    fn constraints_keep_even_an_authority_with_a_key_to_the_gateways_names() {
        let directory = tempfile::tempdir().unwrap();
        let issuer = issuer("gw", &vouched(&names()), &[1; 16], SerialNumber::from(vec![1])).unwrap();
        let path = pem(directory.path(), "authority", issuer.as_ref().der());
        let sign = |name: &str, ca: bool| {
            let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.not_after = date_time_ymd(2040, 1, 1);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.use_authority_key_identifier_extension = true;
            if ca {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }
            let key = KeyPair::generate().unwrap();
            let signed = params.signed_by(&key, &issuer).unwrap();
            let signed = pem(directory.path(), "signed", signed.der());
            let at = NOW.to_string();
            openssl(&["verify", "-purpose", "sslserver", "-attime", &at, "-CAfile", &path, &signed])
        };
        assert!(sign("lobby.example", false).0, "its own name");
        for (name, why) in [
            ("bank.example", "permitted subtree violation"),
            ("localhost", "permitted subtree violation"),
            ("192.0.2.1", "excluded subtree violation"),
            ("2001:db8::1", "excluded subtree violation"),
        ] {
            let (good, said) = sign(name, false);
            assert!(!good && said.contains(why), "{name}: {said}");
        }
        let (_, text) = openssl(&["x509", "-in", &path, "-noout", "-text"]);
        for wanted in ["Name Constraints: critical", "CA:TRUE, pathlen:0", "Certificate Sign"] {
            assert!(text.contains(wanted), "no {wanted} in {text}");
        }
    }
}
