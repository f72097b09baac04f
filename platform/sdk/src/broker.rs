//! How to reach a broker.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use cardea_envelope::{DEFAULT_PREFIX, Encoding};
use rumqttc::{MqttOptions, TlsConfiguration, Transport};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde::Deserialize;

use crate::Error;

/// How payloads are written; must match the gateways'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PayloadEncoding {
    /// RFC 8259.
    #[default]
    Json,
    /// RFC 8949.
    Cbor,
}

impl From<PayloadEncoding> for Encoding {
    fn from(encoding: PayloadEncoding) -> Self {
        match encoding {
            PayloadEncoding::Json => Self::Json,
            PayloadEncoding::Cbor => Self::Cbor,
        }
    }
}

/// The settings of one MQTT 3.1.1 broker. Files are read anew at every connection, so that a rotated credential
/// needs no restart. TLS validation has no off switch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// `mqtt://host[:1883]` or `mqtts://host[:8883]`.
    pub url: String,
    /// MQTT client id; the broker keeps the session under it. At most 64 of `[A-Za-z0-9_-]`.
    #[serde(default = "default_client_id")]
    pub client_id: String,
    /// Topic prefix, as in the gateways' configuration.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// Payload encoding, as in the gateways' configuration.
    #[serde(default)]
    pub encoding: PayloadEncoding,
    /// User name.
    #[serde(default)]
    pub username: Option<String>,
    /// File with the password; one trailing line break is cut off.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// PEM file with the only certificate authorities to believe; without it the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client certificate chain.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// PEM file with the client's private key.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// Seconds, 30 to 900.
    #[serde(default = "default_keepalive")]
    pub keepalive_s: u16,
}

fn default_client_id() -> String {
    "cardea-platform".into()
}

fn default_prefix() -> String {
    DEFAULT_PREFIX.into()
}

fn default_keepalive() -> u16 {
    60
}

/// Larger packets are refused by either side; an envelope is at most about 6 KB.
const MAX_PACKET: usize = 256 * 1024;

impl Broker {
    /// The broker at `url`, everything else by default.
    #[must_use]
    pub fn at(url: &str) -> Self {
        Self {
            url: url.into(),
            client_id: default_client_id(),
            prefix: default_prefix(),
            encoding: PayloadEncoding::Json,
            username: None,
            password_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            keepalive_s: default_keepalive(),
        }
    }

    /// Reads every file and says what does not fit.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Io`].
    pub fn check(&self) -> Result<(), Error> {
        self.options().map(drop)
    }

    /// Options for one connection.
    pub(crate) fn options(&self) -> Result<MqttOptions, Error> {
        let bad = |why: &str| Error::Config(format!("`{}`: {why}", self.url));
        let (tls, rest) = match self.url.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            _ => return Err(bad("expected mqtt://host[:port] or mqtts://host[:port]")),
        };
        let (host, port) = match rest.strip_prefix('[') {
            Some(v6) => {
                let (host, port) = v6.split_once(']').ok_or_else(|| bad("`]` is missing"))?;
                (host, port.strip_prefix(':'))
            }
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            None => {
                if tls {
                    8883
                } else {
                    1883
                }
            }
            Some(text) => text
                .trim_end_matches('/')
                .parse()
                .map_err(|_| bad("the port is not a number from 1 to 65535"))?,
        };
        let host = host.trim_end_matches('/');
        if host.is_empty() || host.contains(['/', '@', ' ']) || port == 0 {
            return Err(bad("no usable host; user and password belong in `username` and `password_file`"));
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if self.client_id.is_empty() || self.client_id.len() > 64 || !self.client_id.bytes().all(plain) {
            return Err(Error::Config("client_id: 1 to 64 of letters, digits, `-` and `_`".into()));
        }
        if !(30..=900).contains(&self.keepalive_s) {
            return Err(Error::Config("keepalive_s: 30 to 900".into()));
        }
        if !tls && (self.ca_file.is_some() || self.cert_file.is_some()) {
            return Err(Error::Config("ca_file and cert_file need an mqtts:// address".into()));
        }
        let mut options = MqttOptions::new(&self.client_id, host, port);
        options
            .set_keep_alive(Duration::from_secs(self.keepalive_s.into()))
            .set_clean_session(false)
            .set_manual_acks(true)
            .set_inflight(100)
            .set_max_packet_size(MAX_PACKET, MAX_PACKET);
        if let Some(user) = &self.username {
            options.set_credentials(user, self.password()?);
        } else if self.password_file.is_some() {
            return Err(Error::Config("password_file needs a username".into()));
        }
        if tls {
            options.set_transport(Transport::Tls(TlsConfiguration::Rustls(Arc::new(self.tls()?))));
        }
        Ok(options)
    }

    fn password(&self) -> Result<String, Error> {
        let Some(path) = &self.password_file else { return Ok(String::new()) };
        let mut text = fs::read_to_string(path).map_err(|source| Error::Io { path: path.clone(), source })?;
        let end = text.trim_end_matches(['\r', '\n']).len();
        text.truncate(end);
        Ok(text)
    }

    fn tls(&self) -> Result<ClientConfig, Error> {
        let mut roots = RootCertStore::empty();
        match &self.ca_file {
            Some(path) => {
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|e| Error::Config(format!("{}: {e}", path.display())))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            return Err(Error::Config("no certificate authority to believe; set ca_file".into()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::Config(e.to_string()))?
            .with_root_certificates(roots);
        match (&self.cert_file, &self.key_file) {
            (None, None) => Ok(builder.with_no_client_auth()),
            (Some(cert), Some(key)) => {
                let key_der = PrivateKeyDer::from_pem_file(key)
                    .map_err(|e| Error::Config(format!("{}: no private key in PEM ({e})", key.display())))?;
                builder
                    .with_client_auth_cert(certificates(cert)?, key_der)
                    .map_err(|e| Error::Config(format!("{} and {}: {e}", cert.display(), key.display())))
            }
            _ => Err(Error::Config("cert_file and key_file belong together".into())),
        }
    }
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = |e: rustls::pki_types::pem::Error| {
        Error::Config(format!("{}: no certificates in PEM ({e})", path.display()))
    };
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(read)?.collect::<Result<_, _>>().map_err(read)?;
    if certificates.is_empty() {
        return Err(Error::Config(format!("{}: no certificates in PEM", path.display())));
    }
    Ok(certificates)
}
