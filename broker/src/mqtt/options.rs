//! What a connection starts from: the configuration, and the files as they are now.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{LastWill, MqttOptions, QoS, TlsConfiguration, Transport};
use rustls::ClientConfig;

use super::{Fault, MqttConfig, Session, TlsFiles, tls};

/// What the files of a configuration hold.
pub(super) struct Files {
    tls: Option<Arc<ClientConfig>>,
    password: Option<String>,
}

impl Files {
    /// Blocks.
    pub(super) fn read(tls: Option<&TlsFiles>, password: Option<&Path>) -> Result<Self, Fault> {
        Ok(Self {
            tls: tls.map(tls::client_config).transpose()?,
            password: password.map(tls::password).transpose()?,
        })
    }
}

/// The client's options for one connection.
pub(super) async fn of(config: &MqttConfig, session: Session) -> Result<MqttOptions, Fault> {
    let (tls, password) = (config.tls.clone(), config.password_file.clone());
    let password = password.filter(|_| config.password.is_none());
    let read = tokio::task::spawn_blocking(move || Files::read(tls.as_ref(), password.as_deref()));
    let Files { tls, password } = read.await.map_err(|e| Fault::Protocol(e.to_string()))??;

    // An IPv6 literal is bracketed for the resolver and bare for the certificate's name.
    let host = if config.host.contains(':') && tls.is_none() {
        format!("[{}]", config.host)
    } else {
        config.host.clone()
    };
    let mut options = MqttOptions::new(&config.client_id, host, config.port);
    options
        .set_clean_session(config.live_only || matches!(session, Session::Purge | Session::Deaf { .. }))
        .set_keep_alive(config.keepalive.max(Duration::from_secs(1)))
        .set_max_packet_size(config.read_limit(), config.max_packet)
        // Packet ids wrap at this number: with room to spare, a broker that acknowledges out of order
        // does not run into an id that is still taken.
        .set_inflight(config.inflight.saturating_mul(4).max(256))
        .set_manual_acks(true);
    if let Some(tls) = tls {
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(tls)));
    }
    if let Some(username) = &config.username {
        let given = config.password.as_ref().map(|password| password.to_string());
        options.set_credentials(username, given.or(password).unwrap_or_default());
    }
    if let Some(will) = &config.will {
        let will = will();
        options.set_last_will(LastWill::new(will.topic, will.payload, QoS::AtLeastOnce, will.retain));
    }
    Ok(options)
}

impl MqttConfig {
    /// The bound on what is read.
    pub(super) fn read_limit(&self) -> usize {
        self.read_limit.max(self.max_packet.saturating_mul(4))
    }
}
