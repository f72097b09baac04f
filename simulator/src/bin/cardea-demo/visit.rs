//! The gateway's page, visited as a browser does: claimed once, with a password of this run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest that a page may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A browser that believes one certificate: the one whose fingerprint the console shows.
pub(crate) struct Visitor {
    address: SocketAddr,
    connector: TlsConnector,
}

impl Visitor {
    /// `fingerprint`: SHA-256, pairs of hexadecimal digits with colons between.
    pub(crate) fn new(address: SocketAddr, fingerprint: &str) -> Result<Self> {
        let digest = hex::decode(fingerprint.trim().trim_start_matches("SHA-256 ").replace(':', ""))
            .context("the certificate's fingerprint")?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let pinned = Arc::new(Pinned { digest, provider: provider.clone() });
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(pinned)
            .with_no_client_auth();
        Ok(Self { address, connector: TlsConnector::from(Arc::new(config)) })
    }

    /// Claims the gateway. Somebody has to have confirmed at its console.
    pub(crate) async fn claim(&self, code: &str, password: &str) -> Result<()> {
        let form = format!("code={code}&password={password}&again={password}");
        let answer = self.ask("POST /claim", &form).await?;
        if !answer.starts_with("HTTP/1.1 303") {
            bail!("the claim was answered {}", answer.lines().next().unwrap_or_default());
        }
        Ok(())
    }

    /// The page for who is not signed in.
    pub(crate) async fn sign_in_page(&self) -> Result<String> {
        let answer = self.ask("GET /sign-in", "").await?;
        if !answer.starts_with("HTTP/1.1 200") || !answer.contains("name=\"password\"") {
            bail!("the page answers {}", answer.lines().next().unwrap_or_default());
        }
        Ok(answer)
    }

    async fn ask(&self, what: &str, form: &str) -> Result<String> {
        let exchange = async {
            let stream = TcpStream::connect(self.address).await?;
            let name = ServerName::IpAddress(self.address.ip().into());
            let mut stream = self.connector.connect(name, stream).await?;
            let host = self.address;
            let request = format!(
                "{what} HTTP/1.1\r\nHost: {host}\r\nOrigin: https://{host}\r\nConnection: close\r\n\
                 Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
                form.len()
            );
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            // A server that closes without a goodbye has still answered.
            let _ = stream.read_to_end(&mut answer).await;
            anyhow::Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        tokio::time::timeout(PATIENCE, exchange).await.context("the page does not answer")?
    }
}

#[derive(Debug)]
struct Pinned {
    digest: Vec<u8>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if Sha256::digest(certificate.as_ref()).as_slice() == self.digest {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General("another certificate than the console says".into()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
