//! What browsers are shown: the gateway's own certificate (P-256, self-signed, made on the device when it first starts), or one that
//! the owner has put in.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::Error;
use crate::authority::Authority;
use crate::owner_certificate::{self, Unfit};

/// How long it is believed that an owner's certificate still does, seconds.
const JUDGED_S: u64 = 60;

/// What the page proves itself with.
pub(crate) struct Identity {
    pub(crate) config: Arc<ServerConfig>,
    shown: Arc<Shown>,
    directory: PathBuf,
}

/// What connections are shown: the owner's certificate while it does, else what the gateway's own authority vouches for, else the
/// gateway's own.
#[derive(Debug)]
struct Shown {
    own: Arc<CertifiedKey>,
    names: Vec<String>,
    put: RwLock<Put>,
}

#[derive(Default)]
struct Put {
    owners: Option<Owners>,
    authority: Option<Arc<Authority>>,
}

impl std::fmt::Debug for Put {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Put({}, {})", self.owners.is_some(), self.authority.is_some())
    }
}

struct Owners {
    certified: Arc<CertifiedKey>,
    /// When it was last looked at, Unix seconds, and whether it did.
    judged: Mutex<(u64, bool)>,
}

impl Shown {
    fn put(&self) -> RwLockReadGuard<'_, Put> {
        self.put.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Put)) {
        change(&mut self.put.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn at(&self, now: UnixTime) -> Arc<CertifiedKey> {
        let put = self.put();
        match (&put.owners, &put.authority) {
            (Some(owners), _) if owners.does(&self.names, now) => Arc::clone(&owners.certified),
            (_, Some(authority)) => {
                let page = authority.page_at(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
                page.unwrap_or_else(|| Arc::clone(&self.own))
            }
            _ => Arc::clone(&self.own),
        }
    }

    fn now(&self) -> Arc<CertifiedKey> {
        self.at(UnixTime::now())
    }
}

impl Owners {
    /// Its time may end while the gateway runs: then browsers must not be shown it any more.
    fn does(&self, names: &[String], now: UnixTime) -> bool {
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, did) = *judged;
        if now.as_secs().abs_diff(at) < JUDGED_S {
            return did;
        }
        let provider = rustls::crypto::ring::default_provider();
        let verdict = owner_certificate::judge(&self.certified.cert, names, now, &provider);
        if let Err(unfit) = verdict
            && did
        {
            tracing::warn!(?unfit, "the owner's certificate is not shown any more: the gateway's own is");
        }
        *judged = (now.as_secs(), verdict.is_ok());
        verdict.is_ok()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }
}

/// Whose certificate browsers are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    Gateways,
    Authoritys,
    Owners,
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
        let shown = Shown { own: Arc::new(own), names: names.to_vec(), put: RwLock::default() };
        let shown = Arc::new(shown);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| fault(&certificate, e.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let this = Self { config: Arc::new(config), shown, directory: directory.to_owned() };
        this.resume();
        Ok(this)
    }

    /// SHA-256 of the certificate that is shown: pairs of capital hexadecimal digits with colons between.
    pub(crate) fn fingerprint(&self) -> String {
        self.shown.now().end_entity_cert().map(fingerprint).unwrap_or_default()
    }

    /// Whose certificate is shown at this moment.
    pub(crate) fn whose(&self) -> Whose {
        let (shown, put) = (self.shown.now(), self.shown.put());
        if Arc::ptr_eq(&shown, &self.shown.own) {
            Whose::Gateways
        } else if put.owners.as_ref().is_some_and(|owners| Arc::ptr_eq(&shown, &owners.certified)) {
            Whose::Owners
        } else {
            Whose::Authoritys
        }
    }

    /// Whether the owner has put one in, shown or not.
    pub(crate) fn has_owners(&self) -> bool {
        self.shown.put().owners.is_some()
    }

    /// Makes an authority of the gateway's own in place of the one before, and shows what it vouches for. Blocks.
    pub(crate) fn make_authority(&self, gateway: &str) -> Result<(), String> {
        let kept = Authority::make(gateway, &self.shown.names)?;
        let provider = rustls::crypto::ring::default_provider();
        let authority = Authority::read(&kept, &provider).ok_or("what was made cannot be read")?;
        write(&self.authoritys(), kept.as_bytes(), 0o600).map_err(|e| e.to_string())?;
        self.shown.change(|put| put.authority = Some(Arc::new(authority)));
        Ok(())
    }

    /// Forgets the authority: phones that trust it are not shown anything that they trust any more. Blocks.
    pub(crate) fn forget_authority(&self) -> std::io::Result<()> {
        remove(&self.authoritys())?;
        self.shown.change(|put| put.authority = None);
        Ok(())
    }

    /// The authority's certificate, in DER, for phones to install.
    pub(crate) fn authority(&self) -> Option<Vec<u8>> {
        self.shown.put().authority.as_ref().map(|authority| authority.certificate().to_vec())
    }

    /// Shows the owner's certificate from the next connection on, and after every start. Blocks.
    pub(crate) fn put(&self, chain: &str, key: &str) -> Result<(), NotPut> {
        let provider = rustls::crypto::ring::default_provider();
        let certified = owner_certificate::read(chain, key, &self.shown.names, UnixTime::now(), &provider)
            .map_err(NotPut::Unfit)?;
        // One file, so that a power cut leaves a pair that fits.
        let both = Zeroizing::new(format!("{chain}\n{key}"));
        write(&self.owners(), both.as_bytes(), 0o600).map_err(NotPut::Disk)?;
        self.show_owners(certified);
        Ok(())
    }

    fn show_owners(&self, certified: CertifiedKey) {
        let judged = Mutex::new((UnixTime::now().as_secs(), true));
        self.shown.change(|put| put.owners = Some(Owners { certified: Arc::new(certified), judged }));
    }

    /// Shows the gateway's own again. Blocks.
    pub(crate) fn take_back(&self) -> std::io::Result<()> {
        remove(&self.owners())?;
        self.shown.change(|put| put.owners = None);
        Ok(())
    }

    /// What was made and put in before this start; what does not do any more leaves the gateway's own.
    fn resume(&self) {
        let provider = rustls::crypto::ring::default_provider();
        if let Ok(kept) = fs::read_to_string(self.authoritys()).map(Zeroizing::new) {
            match Authority::read(&kept, &provider) {
                Some(authority) => self.shown.change(|put| put.authority = Some(Arc::new(authority))),
                None => tracing::warn!("the gateway's authority cannot be read; make another one"),
            }
        }
        let Ok(both) = fs::read_to_string(self.owners()).map(Zeroizing::new) else { return };
        match owner_certificate::read(&both, &both, &self.shown.names, UnixTime::now(), &provider) {
            Ok(certified) => self.show_owners(certified),
            Err(unfit) => {
                tracing::warn!(?unfit, "the owner's certificate is not shown: the gateway's own is")
            }
        }
    }

    fn authoritys(&self) -> PathBuf {
        self.directory.join("web-authority.pem")
    }

    fn owners(&self) -> PathBuf {
        self.directory.join("web-owner.pem")
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    sha256(certificate.as_ref())
}

/// As browsers show it: pairs of capital hexadecimal digits with colons between.
pub(crate) fn sha256(der: &[u8]) -> String {
    let digest = Sha256::digest(der);
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
        assert!(first.whose() != Whose::Owners && !first.owners().exists());
        first.put(&chain, &key).unwrap();
        assert!(first.whose() == Whose::Owners && first.fingerprint() == fingerprint(made.der()));
        assert_eq!(fs::metadata(first.owners()).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(open().whose() == Whose::Owners, "after a restart");
        fs::write(first.owners(), "damaged").unwrap();
        assert_eq!(open().fingerprint(), own, "a page with a warning is better than none");
        first.take_back().unwrap();
        assert!(first.whose() != Whose::Owners && first.fingerprint() == own && !first.owners().exists());
        first.take_back().unwrap();
    }

    #[test]
    fn an_owners_certificate_whose_time_ends_while_the_gateway_runs_gives_way() {
        let directory = tempfile::tempdir().unwrap();
        let names = ["gateway.local".to_owned()];
        let identity = Identity::open(directory.path(), &names).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names.to_vec()).unwrap();
        params.not_after = date_time_ymd(2039, 1, 1);
        let made = params.self_signed(&key).unwrap();
        identity.put(&made.pem(), &key.serialize_pem()).unwrap();
        let shown = |s: u64| {
            let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(s));
            fingerprint(identity.shown.at(at).end_entity_cert().unwrap())
        };
        let (before, after) = (2_177_452_800 - 1, 2_177_452_800 + JUDGED_S);
        assert_eq!(shown(before), fingerprint(made.der()));
        assert_eq!(shown(after), fingerprint(identity.shown.own.end_entity_cert().unwrap()));
        assert!(identity.has_owners(), "it is still there, and comes back with a clock that was wrong");
        assert_eq!(shown(before), fingerprint(made.der()));
    }

    #[test]
    fn an_authority_is_made_once_survives_a_restart_and_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let names = ["gateway.local".to_owned()];
        let open = || Identity::open(directory.path(), &names).unwrap();
        let first = open();
        let own = first.fingerprint();
        assert!(first.authority().is_none() && first.whose() == Whose::Gateways);
        first.make_authority("gw").unwrap();
        assert_eq!(first.whose(), Whose::Authoritys);
        assert_eq!(fs::metadata(first.authoritys()).unwrap().permissions().mode() & 0o777, 0o600);
        let again = open();
        assert_eq!((again.authority(), again.fingerprint()), (first.authority(), first.fingerprint()));
        assert_ne!(first.fingerprint(), own);
        first.forget_authority().unwrap();
        assert_eq!((first.fingerprint(), open().fingerprint()), (own.clone(), own));
        first.forget_authority().unwrap();
        fs::write(first.authoritys(), "damaged").unwrap();
        assert_eq!(open().whose(), Whose::Gateways);
    }

    #[test]
    fn two_gateways_have_two_keys() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let open = |d: &tempfile::TempDir| Identity::open(d.path(), &[]).unwrap().fingerprint();
        assert_ne!(open(&a), open(&b));
    }
}
