//! The files of a connection: certificates, keys and the password, read each time they are used.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};

use super::{Fault, TlsFiles};

/// Where the broker's certificate must come from, for people.
pub(super) fn authority(files: Option<&TlsFiles>) -> String {
    match files.and_then(|f| f.ca.as_ref()) {
        Some(path) => path.display().to_string(),
        None => "the system's trust store".into(),
    }
}

/// A TLS configuration from the files as they are now. Blocks.
pub(super) fn client_config(files: &TlsFiles) -> Result<Arc<ClientConfig>, Fault> {
    let roots = match &files.ca {
        Some(path) => from_file(path)?,
        None => native()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Fault::Tls(e.to_string()))?
        .with_root_certificates(roots);
    let config = match &files.client {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let certificates = certificates(chain)?;
            let key_der = PrivateKeyDer::from_pem_slice(&read(key)?)
                .map_err(|e| unusable(key, format!("no private key: {e}")))?;
            builder.with_client_auth_cert(certificates, key_der).map_err(|e| {
                unusable(key, format!("does not go with the certificate in {}: {e}", chain.display()))
            })?
        }
    };
    Ok(Arc::new(config))
}

/// The password in a file, without its trailing newline. Blocks.
pub(super) fn password(path: &Path) -> Result<String, Fault> {
    let mut text = String::from_utf8(read(path)?).map_err(|_| unusable(path, "is not UTF-8".into()))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() || text.len() > usize::from(u16::MAX) {
        return Err(unusable(path, "must hold a password of 1 to 65535 bytes".into()));
    }
    Ok(text)
}

fn from_file(path: &Path) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|e| unusable(path, format!("not an authority's certificate: {e}")))?;
    }
    Ok(roots)
}

fn native() -> Result<RootCertStore, Fault> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A trust store commonly holds some that rustls has no use for.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reason = found.errors.first().map_or_else(|| "is empty".to_owned(), ToString::to_string);
        return Err(Fault::File { file: "the system's trust store".into(), reason });
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(unusable(path, "holds no PEM certificate".into())),
        Err(e) => Err(unusable(path, format!("not PEM certificates: {e}"))),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    std::fs::read(path).map_err(|e| unusable(path, e.to_string()))
}

fn unusable(path: &Path, reason: String) -> Fault {
    Fault::File { file: path.display().to_string(), reason }
}
