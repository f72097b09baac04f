//! The page on a real socket, a gateway behind it that says what a test wants, and a browser that sends any bytes.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test; each test binary uses its part"
)]

pub(crate) mod operate;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cardea_api::{Broker, Lock, Radio, Reply, Request, Secret, Status};
use cardea_radio::{MemoryStore, label};
use cardea_web::{Daemon, Sealing, Settings, Web};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

pub(crate) const PASSWORD: &str = "vier alte Nussbaeume";
pub(crate) const LABEL: &str = "cardea:1/loopback/00112233445566ff";

/// The gateway behind the page.
pub(crate) struct Gateway {
    pub(crate) status: Mutex<Status>,
    pub(crate) locks: Mutex<Vec<Lock>>,
    pub(crate) operate: operate::State,
}

impl Gateway {
    fn new() -> Self {
        let radio = Radio { up: true, detail: String::new(), restarts: 0, backup: None };
        let status = Status {
            gateway: "gw-test".into(),
            version: "0".into(),
            uptime_s: 60,
            clock_synced: true,
            broker: Broker { url: "mqtt://b:1883".into(), connected: true, detail: String::new() },
            radios: BTreeMap::from([("loopback".to_owned(), radio)]),
            locks: 0,
            outbox_frames: 0,
            outbox_bytes: 0,
            dropped: 0,
            store_failures: 0,
            platform_keys: 0,
            unsealed: None,
        };
        Self { status: Mutex::new(status), locks: Mutex::default(), operate: operate::State::default() }
    }
}

impl Daemon for Gateway {
    fn ask(&self, request: Request) -> Pin<Box<dyn Future<Output = Result<Reply, String>> + Send + '_>> {
        let mut locks = self.locks.lock().unwrap();
        let answer = match request {
            Request::Status {} => {
                let mut status = self.status.lock().unwrap().clone();
                status.locks = u64::try_from(locks.len()).unwrap();
                Ok(Reply::Status(Box::new(status)))
            }
            Request::Locks {} => Ok(Reply::Locks(locks.clone())),
            Request::Admit { label } => label::parse(&label).map_err(|e| e.to_string()).map(|admission| {
                let known = locks.iter().any(|lock| lock.lock == admission.lock);
                if !known {
                    locks.push(a_lock(admission.lock));
                }
                Reply::Admitted { lock: admission.lock, radio: "loopback".into() }
            }),
            Request::Remove { lock } => {
                locks.retain(|other| other.lock != lock);
                Ok(Reply::Done)
            }
            other => self.operate.answer(other),
        };
        Box::pin(std::future::ready(answer))
    }

    fn seal(&self, plain: Secret, passphrase: Zeroizing<String>) -> Sealing<'_> {
        Box::pin(std::future::ready(operate::seal(&plain, &passphrase)))
    }

    fn open(&self, file: Secret, passphrase: Zeroizing<String>) -> Sealing<'_> {
        Box::pin(std::future::ready(operate::open(&file, &passphrase)))
    }
}

pub(crate) fn a_lock(lock: cardea_framing::LockId) -> Lock {
    Lock {
        lock,
        radio: "loopback".into(),
        joined: false,
        sleepy: false,
        address: None,
        heard: None,
        rssi: None,
        snr: None,
        lqi: None,
        pending: 0,
        activation: None,
    }
}

/// A page that listens on loopback.
pub(crate) struct Site {
    pub(crate) web: Arc<Web>,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) store: MemoryStore,
    pub(crate) https: SocketAddr,
    pub(crate) http: SocketAddr,
    directory: tempfile::TempDir,
}

impl Site {
    pub(crate) async fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, gateway) = (MemoryStore::new(), Arc::new(Gateway::new()));
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let settings = Settings {
            https: local,
            http: Some(local),
            names: vec!["gateway.local".into()],
            gateway: "gw-test".into(),
            data_dir: directory.path().to_owned(),
            button: false,
            resets: Vec::new(),
        };
        let web =
            Web::open(settings, Arc::new(store.clone()), Arc::clone(&gateway) as Arc<dyn Daemon>).unwrap();
        let listening = web.listen().await.unwrap();
        let (https, http) = (listening.https().unwrap(), listening.http().unwrap());
        tokio::spawn(listening.serve());
        Self { web, gateway, store, https, http, directory }
    }

    /// Claimed already, and a browser that has done it.
    pub(crate) async fn claimed() -> (Self, Browser) {
        let site = Self::open().await;
        let code = site.web.claim_code().await.unwrap();
        site.web.confirm_claim().unwrap();
        let mut browser = site.browser();
        let password = PASSWORD.replace(' ', "+");
        let answer =
            browser.post("/claim", &format!("code={code}&password={password}&again={password}")).await;
        assert_eq!((answer.status, answer.header("location")), (303, Some("/")), "{}", answer.body);
        (site, browser)
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser {
            site: self.https,
            host: format!("gateway.local:{}", self.https.port()),
            cookie: String::new(),
        }
    }
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The token in its forms.
    pub(crate) fn token(&self) -> String {
        let after = self.body.split("name=\"token\" value=\"").nth(1).unwrap_or_default();
        after.split('"').next().unwrap().to_owned()
    }

    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }
}

/// Keeps the session's cookie and what it is told about its host, and nothing else.
#[derive(Clone)]
pub(crate) struct Browser {
    pub(crate) site: SocketAddr,
    pub(crate) host: String,
    pub(crate) cookie: String,
}

impl Browser {
    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\nConnection: close\r\n\r\n",
            self.host, self.cookie
        );
        self.keep(self.raw(request.as_bytes()).await)
    }

    /// As a browser posts a form of this page.
    pub(crate) async fn post(&mut self, path: &str, form: &str) -> Answer {
        let headers = format!("Origin: https://{}\r\nSec-Fetch-Site: same-origin\r\n", self.host);
        self.post_with(path, form, &headers).await
    }

    /// With these headers instead of those about where the form comes from.
    pub(crate) async fn post_with(&mut self, path: &str, form: &str, headers: &str) -> Answer {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\nConnection: close\r\n{headers}\r\n{form}",
            self.host,
            self.cookie,
            form.len()
        );
        self.keep(self.raw(request.as_bytes()).await)
    }

    /// Posts with the form token of the page that the form is on.
    pub(crate) async fn submit(&mut self, page: &str, path: &str, form: &str) -> Answer {
        let token = self.get(page).await.token();
        self.post(path, &format!("token={token}&{form}")).await
    }

    fn keep(&mut self, answer: Answer) -> Answer {
        for line in answer.head.lines() {
            if let Some(cookie) = line.to_lowercase().strip_prefix("set-cookie: __host-cardea=") {
                let value = cookie.split(';').next().unwrap();
                self.cookie = format!("__Host-cardea={value}");
            }
        }
        answer
    }

    /// These bytes, and all that comes back within half a minute.
    pub(crate) async fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = connect(self.site).await;
        stream.write_all(request).await.unwrap();
        Answer::parse(&read(&mut stream).await)
    }
}

pub(crate) async fn read(stream: &mut TlsStream<TcpStream>) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A peer that closes without TLS's goodbye has closed all the same.
    let _ = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut bytes)).await;
    bytes
}

pub(crate) async fn connect(site: SocketAddr) -> TlsStream<TcpStream> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    let stream = TcpStream::connect(site).await.unwrap();
    let name = ServerName::try_from("gateway.local").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

/// Clicks the warning away.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// The fingerprint of the certificate that a new connection is shown.
pub(crate) async fn shown(site: SocketAddr) -> String {
    use sha2::Digest as _;
    let stream = connect(site).await;
    let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let digest = sha2::Sha256::digest(certificate.as_ref());
    digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}
