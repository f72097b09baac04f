//! One connection, made to see whether it can be: step by step, so that the one which fails is known.

use std::io;
use std::time::Duration;

use rumqttc::ConnectReturnCode;
use rustls::CertificateError;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::connection::{Connection, Ended};
use super::fault::refusal;
use super::flight::Suspicion;
use super::{Fault, MqttConfig, Session, tls};
use crate::{Event, Hearing};

/// What a connection takes, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Our own files.
    Settings,
    /// The name has an address.
    Name,
    /// Something listens there.
    Tcp,
    /// It has a certificate that convinces.
    Tls,
    /// It takes client id, user name and password.
    Login,
    /// It takes the subscriptions.
    Subscribe,
}

/// Why a step failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A file of ours.
    Settings,
    /// Nobody knows the name.
    NameUnknown,
    /// Nothing listens on the port.
    PortClosed,
    /// There is no way to the address.
    Unreachable,
    /// No answer in time.
    Silent,
    /// Nobody that is trusted has issued the certificate.
    Issuer,
    /// The certificate has expired.
    Expired,
    /// The certificate is not valid yet.
    NotYet,
    /// The certificate is for another name.
    OtherName,
    /// The certificate has another fault.
    Certificate,
    /// No TLS there, or a client certificate is wanted.
    Tls,
    /// Another version of MQTT.
    Version,
    /// The client id.
    ClientId,
    /// The broker is not ready.
    NotReady,
    /// User name or password.
    Password,
    /// The user may not connect.
    NotAuthorised,
    /// The user may not subscribe.
    MayNotSubscribe,
    /// Not a broker.
    NotMqtt,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What worked, in order; without [`Step::Tls`] where there is no TLS.
    pub passed: Vec<Step>,
    /// What did not, why, and what was said; `None`: everything worked.
    pub failed: Option<(Step, Cause, String)>,
}

/// Connects, subscribes, says goodbye. At most four times [`MqttConfig::timeout`], usually far less.
///
/// The client id must be nobody's: a broker throws out who had it before. [`MqttConfig::live_only`] leaves nothing behind.
pub async fn probe(config: &MqttConfig) -> Probe {
    let mut passed = Vec::new();
    let failed = steps(config, &mut passed).await.err();
    Probe { passed, failed }
}

type Failed = (Step, Cause, String);

async fn steps(config: &MqttConfig, passed: &mut Vec<Step>) -> Result<(), Failed> {
    let tls = settings(config).await?;
    passed.push(Step::Settings);
    let wait = config.timeout;
    let silent = |step, what: &str| (step, Cause::Silent, format!("{what} within {} s", wait.as_secs()));

    let found = timeout(wait, lookup_host((config.host.as_str(), config.port))).await;
    let found = found.map_err(|_| silent(Step::Name, "the name servers do not answer"))?;
    let addresses: Vec<_> = found.map_err(|e| (Step::Name, Cause::NameUnknown, e.to_string()))?.collect();
    if addresses.is_empty() {
        return Err((Step::Name, Cause::NameUnknown, "the name has no address".into()));
    }
    passed.push(Step::Name);

    let stream = timeout(wait, TcpStream::connect(addresses.as_slice())).await;
    let stream = stream.map_err(|_| silent(Step::Tcp, "no answer"))?.map_err(|error| tcp(&error))?;
    passed.push(Step::Tcp);

    if let Some(tls) = tls {
        let name = ServerName::try_from(config.host.clone())
            .map_err(|e| (Step::Tls, Cause::OtherName, e.to_string()))?;
        let connected = timeout(wait, TlsConnector::from(tls).connect(name, stream)).await;
        connected.map_err(|_| silent(Step::Tls, "no answer to TLS"))?.map_err(|error| handshake(&error))?;
        passed.push(Step::Tls);
    } else {
        // Who serves one after the other is to serve the next.
        drop(stream);
    }

    match mqtt(config).await? {
        Hearing::All => passed.extend([Step::Login, Step::Subscribe]),
        Hearing::Refused(detail) | Hearing::Deaf(detail) => {
            passed.push(Step::Login);
            return Err((Step::Subscribe, Cause::MayNotSubscribe, detail));
        }
    }
    Ok(())
}

async fn settings(config: &MqttConfig) -> Result<Option<std::sync::Arc<rustls::ClientConfig>>, Failed> {
    let (files, password) = (config.tls.clone(), config.password_file.clone());
    let password = password.filter(|_| config.password.is_none());
    let read = tokio::task::spawn_blocking(move || {
        password.as_deref().map(tls::password).transpose()?;
        files.as_ref().map(tls::client_config).transpose()
    });
    let failed = |why: String| (Step::Settings, Cause::Settings, why);
    read.await.map_err(|e| failed(e.to_string()))?.map_err(|fault: Fault| failed(fault.to_string()))
}

fn tcp(error: &io::Error) -> Failed {
    let cause = match error.kind() {
        io::ErrorKind::ConnectionRefused => Cause::PortClosed,
        io::ErrorKind::TimedOut => Cause::Silent,
        _ => Cause::Unreachable,
    };
    (Step::Tcp, cause, error.to_string())
}

fn handshake(error: &io::Error) -> Failed {
    use CertificateError as C;
    let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let cause = match of_tls {
        Some(rustls::Error::InvalidCertificate(wrong)) => match wrong {
            C::Expired | C::ExpiredContext { .. } => Cause::Expired,
            C::NotValidYet | C::NotValidYetContext { .. } => Cause::NotYet,
            // The same name with another key is another authority.
            C::UnknownIssuer | C::BadSignature => Cause::Issuer,
            C::NotValidForName | C::NotValidForNameContext { .. } => Cause::OtherName,
            _ => Cause::Certificate,
        },
        _ => Cause::Tls,
    };
    (Step::Tls, cause, error.to_string())
}

/// A connection as every other, up to its subscriptions.
async fn mqtt(config: &MqttConfig) -> Result<Hearing, Failed> {
    let (mut handle, mut port) = crate::link();
    let mut suspicion = Suspicion::default();
    let hear = async move {
        loop {
            match handle.recv().await {
                Some(Event::Connected(hearing)) => return Some(hearing),
                Some(_) => {}
                None => return None,
            }
        }
    };
    let run = Connection::new(config, 1, Session::Keep, &mut suspicion).run(&mut port);
    tokio::pin!(run, hear);
    let most = config.timeout.saturating_mul(2).max(Duration::from_secs(2));
    let first = timeout(most, async {
        tokio::select! {
            ended = &mut run => Err(ended),
            hearing = &mut hear => Ok(hearing),
        }
    });
    match first.await {
        Err(_) => Err((Step::Login, Cause::Silent, "the broker does not answer".into())),
        Ok(Err(ended)) => Err(login(&ended)),
        Ok(Ok(hearing)) => {
            // The handle went with `hear`: the broker is told goodbye.
            let _ = timeout(config.timeout, run).await;
            hearing.ok_or((Step::Login, Cause::NotMqtt, "the link ended".into()))
        }
    }
}

fn login(ended: &Ended) -> Failed {
    use ConnectReturnCode as Code;
    let Ended::Broken(fault) = ended else {
        return (Step::Login, Cause::NotMqtt, "the link ended".into());
    };
    let is = |words: &str, code| words == refusal(code);
    let cause = match fault {
        Fault::Refused(words) if is(words, Code::RefusedProtocolVersion) => Cause::Version,
        Fault::Refused(words) if is(words, Code::BadClientId) => Cause::ClientId,
        Fault::Refused(words) if is(words, Code::ServiceUnavailable) => Cause::NotReady,
        Fault::Refused(words) if is(words, Code::BadUserNamePassword) => Cause::Password,
        Fault::Refused(_) => Cause::NotAuthorised,
        Fault::Silent(_) => Cause::Silent,
        Fault::Tls(_) | Fault::Certificate(_) => Cause::Tls,
        Fault::File { .. } => Cause::Settings,
        // Something took the connection a moment ago: what breaks it now is no broker.
        Fault::Unreachable { .. }
        | Fault::Closed
        | Fault::Oversized { .. }
        | Fault::Asked(_)
        | Fault::Protocol(_) => Cause::NotMqtt,
    };
    (Step::Login, cause, fault.to_string())
}
