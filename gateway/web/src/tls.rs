//! What browsers are shown: the gateway's own certificate (P-256, self-signed, made on the device when it first starts), or one that
//! the owner has put in.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::Error;
use crate::owner_certificate::{self, Unfit};

/// What the page proves itself with.
pub(crate) struct Identity {
    pub(crate) config: Arc<ServerConfig>,
    /// The gateway's own.
    own: Arc<CertifiedKey>,
    shown: Arc<Shown>,
    directory: PathBuf,
    names: Vec<String>,
}

/// What the next connection is shown.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl Shown {
    fn now(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, to: Arc<CertifiedKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = to;
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }
}

/// Why an owner's certificate is not put in.
#[derive(Debug)]
pub(crate) enum NotPut {
    Unfit(Unfit),
    /// The disk's fault.
    Disk(std::io::Error),
}

impl Identity {
    /// Reads `web.pem` and `web.key`, or makes both for these names where there is neither.
    pub(crate) fn open(directory: &Path, names: &[String]) -> Result<Self, Error> {
        let (certificate, key) = (directory.join("web.pem"), directory.join("web.key"));
        let fault = |path: &Path, why: String| Error::Certificate { path: path.to_owned(), why };
        match fs::metadata(&key) {
            // The key is written first: without it there is nothing that a certificate could belong to.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make(names, &certificate, &key).map_err(|why| fault(&key, why))?;
            }
            Err(error) => return Err(fault(&key, error.to_string())),
            Ok(meta) if meta.permissions().mode() & 0o077 != 0 => {
                return Err(fault(
                    &key,
                    "others may read this key: chmod 600, or remove it to have a new one".into(),
                ));
            }
            Ok(_) => {}
        }
        let unreadable = "remove both web.key and web.pem to have new ones";
        let chain = CertificateDer::from_pem_file(&certificate)
            .map_err(|e| fault(&certificate, format!("{e}; {unreadable}")))?;
        let private =
            PrivateKeyDer::from_pem_file(&key).map_err(|e| fault(&key, format!("{e}; {unreadable}")))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let own = CertifiedKey::from_der(vec![chain], private, &provider)
            .map_err(|e| fault(&certificate, format!("{e}; {unreadable}")))?;
        let own = Arc::new(own);
        let shown = Arc::new(Shown(RwLock::new(Arc::clone(&own))));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| fault(&certificate, e.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let this = Self {
            config: Arc::new(config),
            own,
            shown,
            directory: directory.to_owned(),
            names: names.to_vec(),
        };
        this.resume();
        Ok(this)
    }

    /// SHA-256 of the certificate that is shown: pairs of capital hexadecimal digits with colons between.
    pub(crate) fn fingerprint(&self) -> String {
        self.shown.now().end_entity_cert().map(fingerprint).unwrap_or_default()
    }

    /// Whether the owner's certificate is shown.
    pub(crate) fn is_owners(&self) -> bool {
        !Arc::ptr_eq(&self.shown.now(), &self.own)
    }

    /// Shows the owner's certificate from the next connection on, and after every start. Blocks.
    pub(crate) fn put(&self, chain: &str, key: &str) -> Result<(), NotPut> {
        let provider = rustls::crypto::ring::default_provider();
        let certified = owner_certificate::read(chain, key, &self.names, UnixTime::now(), &provider)
            .map_err(NotPut::Unfit)?;
        // One file, so that a power cut leaves a pair that fits.
        let both = Zeroizing::new(format!("{chain}\n{key}"));
        write(&self.owners(), both.as_bytes(), 0o600).map_err(NotPut::Disk)?;
        self.shown.change(Arc::new(certified));
        Ok(())
    }

    /// Shows the gateway's own again. Blocks.
    pub(crate) fn take_back(&self) -> std::io::Result<()> {
        match fs::remove_file(self.owners()) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.shown.change(Arc::clone(&self.own));
        Ok(())
    }

    /// What the owner has put in before this start; one that does not do any more leaves the gateway's own.
    fn resume(&self) {
        let Ok(both) = fs::read_to_string(self.owners()).map(Zeroizing::new) else { return };
        let provider = rustls::crypto::ring::default_provider();
        match owner_certificate::read(&both, &both, &self.names, UnixTime::now(), &provider) {
            Ok(certified) => self.shown.change(Arc::new(certified)),
            Err(unfit) => {
                tracing::warn!(?unfit, "the owner's certificate is not shown: the gateway's own is")
            }
        }
    }

    fn owners(&self) -> PathBuf {
        self.directory.join("web-owner.pem")
    }
}

fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let digest = Sha256::digest(certificate.as_ref());
    digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

fn make(names: &[String], certificate: &Path, key: &Path) -> Result<(), String> {
    let text = |e: rcgen::Error| e.to_string();
    let pair = KeyPair::generate().map_err(text)?; // P-256
    let mut names = names.to_vec();
    names.extend(["127.0.0.1".to_owned(), "::1".to_owned()]);
    let mut params = CertificateParams::new(names).map_err(text)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Cardea gateway");
    // Fixed: many gateways have no idea of the time when they first start.
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
    let signed = params.self_signed(&pair).map_err(text)?;
    let io = |e: std::io::Error| e.to_string();
    let private = Zeroizing::new(pair.serialize_pem());
    // The certificate is in place before the key, whose presence says that both are whole.
    write(certificate, signed.pem().as_bytes(), 0o644).map_err(io)?;
    write(key, private.as_bytes(), 0o600).map_err(io)
}

/// Aside and renamed, so that a power cut leaves the whole file or none.
fn write(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let aside = path.with_added_extension("new");
    let _ = fs::remove_file(&aside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_only_and_a_readable_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let names = ["gateway.local".to_owned()];
        let first = Identity::open(directory.path(), &names).unwrap();
        let key = directory.path().join("web.key");
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Identity::open(directory.path(), &names).unwrap().fingerprint(), first.fingerprint());
        assert_eq!(first.fingerprint().len(), 32 * 3 - 1);

        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Identity::open(directory.path(), &names).err().unwrap().to_string();
        assert!(error.contains("web.key") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn an_owners_certificate_is_shown_survives_a_restart_and_gives_way_when_it_does_not_do() {
        let directory = tempfile::tempdir().unwrap();
        let names = ["gateway.local".to_owned()];
        let open = || Identity::open(directory.path(), &names).unwrap();
        let first = open();
        let own = first.fingerprint();
        let key = KeyPair::generate().unwrap();
        let made = CertificateParams::new(names.to_vec()).unwrap().self_signed(&key).unwrap();
        let (chain, key) = (made.pem(), key.serialize_pem());
        assert!(matches!(first.put(&chain, ""), Err(NotPut::Unfit(Unfit::Key))));
        assert!(!first.is_owners() && !first.owners().exists());
        first.put(&chain, &key).unwrap();
        assert!(first.is_owners() && first.fingerprint() == fingerprint(made.der()));
        assert_eq!(fs::metadata(first.owners()).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(open().is_owners(), "after a restart");
        fs::write(first.owners(), "damaged").unwrap();
        assert_eq!(open().fingerprint(), own, "a page with a warning is better than none");
        first.take_back().unwrap();
        assert!(!first.is_owners() && first.fingerprint() == own && !first.owners().exists());
        first.take_back().unwrap();
    }

    #[test]
    fn two_gateways_have_two_keys() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let open = |d: &tempfile::TempDir| Identity::open(d.path(), &[]).unwrap().fingerprint();
        assert_ne!(open(&a), open(&b));
    }
}
