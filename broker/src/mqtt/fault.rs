//! Why there is no connection, in words that name what failed.

use std::io;

use rumqttc::{ConnectReturnCode, ConnectionError, StateError, mqttbytes};
use rustls::CertificateError;

/// Why a connection was not made or did not last.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A file of ours cannot be used; nothing was sent.
    #[error("{file}: {reason}")]
    File {
        /// Which file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Name resolution or TCP failed.
    #[error("{address} cannot be reached: {reason}")]
    Unreachable {
        /// `host:port`.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// The broker's certificate does not convince.
    #[error("the broker's certificate is refused: {0}")]
    Certificate(String),
    /// TLS failed for another reason, such as a client certificate the broker does not accept.
    #[error("TLS: {0}")]
    Tls(String),
    /// The broker answered CONNECT with a refusal.
    #[error("the broker refuses the connection: {0}")]
    Refused(&'static str),
    /// No answer in time.
    #[error("{0}")]
    Silent(&'static str),
    /// The broker, or something between, ended the connection.
    #[error("the connection was closed by the other side")]
    Closed,
    /// The broker sent a packet larger than can be read.
    #[error("the broker sent a packet of {size} bytes, {limit} can be read")]
    Oversized {
        /// Its size without the fixed header.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// Our own side asked for another connection, and why.
    #[error("{0}")]
    Asked(String),
    /// The other side does not speak MQTT 3.1.1 as it should.
    #[error("protocol: {0}")]
    Protocol(String),
}

/// What the classification needs to know of the connection.
pub(super) struct Scene<'a> {
    pub(super) address: &'a str,
    pub(super) host: &'a str,
    pub(super) ca: &'a str,
    /// [`super::Wording::me`].
    pub(super) me: &'a str,
    pub(super) read_limit: usize,
    pub(super) tls: bool,
    /// False until the CONNACK.
    pub(super) connected: bool,
}

impl Fault {
    pub(super) fn classify(error: &ConnectionError, scene: &Scene<'_>) -> Self {
        match error {
            ConnectionError::NetworkTimeout => Self::Silent("no answer to the connection attempt in time"),
            ConnectionError::FlushTimeout => Self::Silent("the broker takes no more data"),
            ConnectionError::ConnectionRefused(code) => Self::Refused(refusal(*code)),
            ConnectionError::Tls(rumqttc::TlsError::Io(error)) => Self::tls_io(error, scene),
            ConnectionError::Tls(rumqttc::TlsError::TLS(error)) => Self::tls(error, scene),
            ConnectionError::Tls(error) => {
                Self::Tls(format!("{:?} is not a name TLS can check ({error})", scene.host))
            }
            ConnectionError::Io(error) => {
                Self::Unreachable { address: scene.address.into(), reason: error.to_string() }
            }
            ConnectionError::NotConnAck(_) => Self::Protocol("the first packet is not a CONNACK".into()),
            ConnectionError::MqttState(error) => Self::state(error, scene),
            ConnectionError::RequestsDone => Self::Protocol(error.to_string()),
        }
    }

    fn state(error: &StateError, scene: &Scene<'_>) -> Self {
        match error {
            StateError::AwaitPingResp => Self::Silent("the broker no longer answers pings"),
            StateError::CollisionTimeout => Self::Silent("the broker no longer acknowledges"),
            StateError::ConnectionAborted => Self::closed(scene),
            StateError::Io(error) => Self::tls_io(error, scene),
            StateError::Deserialization(mqttbytes::Error::Io(error)) => Self::tls_io(error, scene),
            StateError::Deserialization(mqttbytes::Error::PayloadSizeLimitExceeded(size)) => {
                Self::Oversized { size: *size, limit: scene.read_limit }
            }
            other => Self::Protocol(other.to_string()),
        }
    }

    fn closed(scene: &Scene<'_>) -> Self {
        if scene.tls && !scene.connected {
            let hint = "is this a TLS port, and does the broker accept our client certificate?";
            Self::Tls(format!("the other side closed the connection during the handshake; {hint}"))
        } else {
            Self::Closed
        }
    }

    /// An I/O error on a connected socket; TLS errors travel inside those.
    fn tls_io(error: &io::Error, scene: &Scene<'_>) -> Self {
        let mut inner = error.get_ref().map(|e| e as &(dyn std::error::Error + 'static));
        while let Some(error) = inner {
            if let Some(error) = error.downcast_ref::<rustls::Error>() {
                return Self::tls(error, scene);
            }
            inner = error.source();
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::closed(scene),
            _ => Self::Unreachable { address: scene.address.into(), reason: error.to_string() },
        }
    }

    fn tls(error: &rustls::Error, scene: &Scene<'_>) -> Self {
        use CertificateError as C;
        let rustls::Error::InvalidCertificate(error) = error else {
            return match error {
                rustls::Error::AlertReceived(alert) => Self::Tls(format!(
                    "the broker ended the handshake with the alert {alert:?}; does it accept our client certificate?"
                )),
                other => Self::Tls(other.to_string()),
            };
        };
        Self::Certificate(match error {
            C::Expired | C::ExpiredContext { .. } => {
                format!("it has expired (or the clock of this {} is ahead)", scene.me)
            }
            C::NotValidYet | C::NotValidYetContext { .. } => {
                format!("it is not valid yet (or the clock of this {} is behind)", scene.me)
            }
            // The same name with another key is another authority.
            C::UnknownIssuer | C::BadSignature => {
                format!("it is not issued by an authority in {}", scene.ca)
            }
            C::NotValidForName => format!("it is not for the name {:?}", scene.host),
            C::NotValidForNameContext { presented, .. } => {
                format!("it is not for the name {:?} but for {}", scene.host, presented.join(", "))
            }
            other => other.to_string(),
        })
    }
}

pub(super) fn refusal(code: ConnectReturnCode) -> &'static str {
    match code {
        ConnectReturnCode::Success => "success",
        ConnectReturnCode::RefusedProtocolVersion => "it does not speak MQTT 3.1.1",
        ConnectReturnCode::BadClientId => "client id not allowed",
        ConnectReturnCode::ServiceUnavailable => "service unavailable",
        ConnectReturnCode::BadUserNamePassword => "bad user name or password",
        ConnectReturnCode::NotAuthorized => "not authorised",
    }
}
