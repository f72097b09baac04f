//! Certificates for brokers and their clients.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

use crate::write;

/// A certification authority with a directory for what it issues.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: tempfile::TempDir,
    /// Its own certificate, PEM.
    pub file: PathBuf,
}

impl Authority {
    /// Another each time, of the same name.
    #[allow(clippy::new_without_default, reason = "each is another")]
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = write(directory.path(), "ca.pem", &certificate.pem());
        Self { issuer: Issuer::new(params, key), directory, file }
    }

    /// Certificate and key files for a name.
    fn issue(&self, name: &str, valid_until: i32, usage: ExtendedKeyUsagePurpose) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(valid_until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |kind: &str, text: &str| write(self.directory.path(), &format!("{name}.{kind}"), text);
        (file("pem", &certificate.pem()), file("key", &key.serialize_pem()))
    }

    /// Lines of mosquitto.conf for a broker of this name.
    pub fn server(&self, name: &str, valid_until: i32) -> String {
        let (cert, key) = self.issue(name, valid_until, ExtendedKeyUsagePurpose::ServerAuth);
        format!("allow_anonymous true\ncertfile {}\nkeyfile {}\n", cert.display(), key.display())
    }

    /// Certificate and key files of a client.
    pub fn client(&self, name: &str) -> (PathBuf, PathBuf) {
        self.issue(name, 2090, ExtendedKeyUsagePurpose::ClientAuth)
    }
}
