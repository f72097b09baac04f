//! A certificate that the owner brings: what it must be before browsers are shown it.

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};

/// Most certificates of a chain.
const CHAIN: usize = 6;

/// Why a certificate and a key do not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// No PEM, no certificate, or too many.
    Chain,
    /// No key in PEM, or of a kind that TLS does not take.
    Key,
    /// The key is another certificate's.
    Mismatch,
    /// Its time is over.
    Expired,
    /// Its time has not come, or the gateway's clock is wrong.
    Early,
    /// A certificate is not signed by the one below it.
    Order,
    /// It is for other names than this gateway's.
    Names,
}

/// Reads a chain (the gateway's own certificate first) and its key, and looks at all that can be known without the authority:
/// key, dates, the chain's signatures, and that one of `names` is in it.
pub(crate) fn read(
    chain: &str,
    key: &str,
    names: &[String],
    now: UnixTime,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Unfit> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .take(CHAIN + 1)
        .collect::<Result<_, _>>()
        .map_err(|_| Unfit::Chain)?;
    if chain.is_empty() || chain.len() > CHAIN {
        return Err(Unfit::Chain);
    }
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| Unfit::Key)?;
    let certified = match CertifiedKey::from_der(chain.clone(), key, provider) {
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => return Err(Unfit::Mismatch),
        other => other.map_err(|_| Unfit::Key)?,
    };
    judge(&chain, names, now, provider)?;
    Ok(certified)
}

/// Whether a chain does at this time.
pub(crate) fn judge(
    chain: &[CertificateDer<'_>],
    names: &[String],
    now: UnixTime,
    provider: &CryptoProvider,
) -> Result<(), Unfit> {
    let (first, above) = chain.split_first().ok_or(Unfit::Chain)?;
    let own = ParsedCertificate::try_from(first).map_err(|_| Unfit::Chain)?;
    // The highest one stands for the authority, whom nobody here can ask.
    let mut roots = RootCertStore::empty();
    roots.add(above.last().unwrap_or(first).clone().into_owned()).map_err(|_| Unfit::Chain)?;
    let algorithms = provider.signature_verification_algorithms.all;
    match verify_server_cert_signed_by_trust_anchor(&own, &roots, above, now, algorithms) {
        Ok(()) => {}
        Err(Error::InvalidCertificate(error)) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                return Err(Unfit::Expired);
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                return Err(Unfit::Early);
            }
            // Alone it has nobody to be held to; its dates were looked at before.
            _ if above.is_empty() => {}
            _ => return Err(Unfit::Order),
        },
        Err(_) => return Err(Unfit::Order),
    }
    let fits = |name: &String| {
        ServerName::try_from(name.as_str()).is_ok_and(|name| verify_server_name(&own, &name).is_ok())
    };
    if names.iter().any(fits) { Ok(()) } else { Err(Unfit::Names) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{
        BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd,
    };

    use super::*;

    /// In 2030.
    const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_900_000_000));

    fn names() -> Vec<String> {
        vec!["gateway.local".into(), "lobby.example".into()]
    }

    fn leaf(name: &str, years: (i32, i32)) -> (CertificateParams, KeyPair) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        (params, KeyPair::generate().unwrap())
    }

    fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2025, 1, 1);
        params.not_after = date_time_ymd(2050, 1, 1);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn judge(chain: &[&Certificate], key: &KeyPair) -> Option<Unfit> {
        let pem: String = chain.iter().map(|one| one.pem()).collect();
        let provider = rustls::crypto::ring::default_provider();
        read(&pem, &key.serialize_pem(), &names(), NOW, &provider).err()
    }

    #[test]
    fn a_certificate_is_taken_with_its_chain_or_alone_and_for_one_of_our_names_only() {
        let (ours, other) = (authority("ours"), authority("other"));
        let (params, key) = leaf("lobby.example", (2026, 2040));
        let signed = params.signed_by(&key, &ours).unwrap();
        assert_eq!(judge(&[&signed, ours.as_ref()], &key), None);
        assert_eq!(judge(&[&signed], &key), None, "its authority is the browser's business");
        assert_eq!(judge(&[&signed, other.as_ref()], &key), Some(Unfit::Order));
        assert_eq!(judge(&[&signed, ours.as_ref()], &KeyPair::generate().unwrap()), Some(Unfit::Mismatch));
        let (params, key) = leaf("elsewhere.example", (2026, 2040));
        let signed = params.signed_by(&key, &ours).unwrap();
        assert_eq!(judge(&[&signed, ours.as_ref()], &key), Some(Unfit::Names));
    }

    #[test]
    fn dates_are_looked_at_in_a_chain_and_alone() {
        let ours = authority("ours");
        for (years, unfit) in [((2026, 2027), Unfit::Expired), ((2045, 2046), Unfit::Early)] {
            let (params, key) = leaf("gateway.local", years);
            let signed = params.signed_by(&key, &ours).unwrap();
            assert_eq!(judge(&[&signed, ours.as_ref()], &key), Some(unfit));
            assert_eq!(judge(&[&signed], &key), Some(unfit));
        }
    }

    #[test]
    fn what_is_no_pem_is_refused_and_never_panics() {
        let provider = rustls::crypto::ring::default_provider();
        let (params, key) = leaf("gateway.local", (2026, 2040));
        let good = params.self_signed(&key).unwrap().pem();
        let key = key.serialize_pem();
        let read = |chain: &str, key: &str| read(chain, key, &names(), NOW, &provider).err();
        assert_eq!(read("", &key), Some(Unfit::Chain));
        assert_eq!(read("x", &key), Some(Unfit::Chain));
        assert_eq!(read(&key, &key), Some(Unfit::Chain));
        assert_eq!(read(&good.repeat(CHAIN + 1), &key), Some(Unfit::Chain));
        assert_eq!(read(&good, ""), Some(Unfit::Key));
        assert_eq!(read(&good, &good), Some(Unfit::Key));
        for cut in 0..good.len() {
            let _ = read(good.get(..cut).unwrap(), &key);
        }
    }
}
