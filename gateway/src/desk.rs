//! What an operator asks that is none of the relay's business: the log, the configuration, a broker to be tried, the machine, a
//! bundle for those who help. Each is answered in a task of its own; the relay waits for none.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cardea_api::{
    BrokerCause, BrokerFault, BrokerSettings, BrokerStep, BrokerTest, BrokerTrial, Host, HostAddress, Reply,
    Request, Secret,
};
use cardea_broker::{Cause, MqttConfig, Probe, Step, TlsFiles};
use cardea_config::{BrokerUrl, ClockSource, Config};
use tokio::sync::{Semaphore, oneshot, watch};
use zeroize::Zeroizing;

use crate::clock::WallClock;
use crate::diagnosis;
use crate::journal::Journal;
use crate::{metrics, reset};

/// A broker is tried by one at a time.
const TRIALS: usize = 1;

/// How long each step of a trial may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Shortest secret of a file that is looked for in what leaves the gateway: a shorter one would hit half of all words.
const SECRET: usize = 4;

/// From the answer to a factory reset until it begins.
const TOLD: Duration = Duration::from_secs(1);

type To = oneshot::Sender<Result<Reply, String>>;

pub(crate) struct Desk {
    pub(crate) config: Config,
    pub(crate) gateway: String,
    pub(crate) journal: Journal,
    pub(crate) wall: WallClock,
    pub(crate) sources: metrics::Sources,
    trials: Semaphore,
    /// Ends this run of the daemon, for a factory reset.
    reset: watch::Sender<bool>,
}

impl Desk {
    pub(crate) fn new(
        config: &Config,
        gateway: &str,
        journal: Journal,
        wall: WallClock,
        sources: metrics::Sources,
        reset: watch::Sender<bool>,
    ) -> Arc<Self> {
        let trials = Semaphore::new(TRIALS);
        Arc::new(Self {
            config: config.clone(),
            gateway: gateway.into(),
            journal,
            wall,
            sources,
            trials,
            reset,
        })
    }

    /// Answers in a task of its own.
    pub(crate) fn ask(self: &Arc<Self>, request: Request, to: To) {
        let desk = Arc::clone(self);
        tokio::spawn(async move {
            // Who asked may have gone.
            let _ = to.send(desk.answer(request).await);
        });
    }

    async fn answer(&self, request: Request) -> Result<Reply, String> {
        match request {
            Request::Logs { after, level, words, most } => {
                let mut logs = self.journal.read(after, level, &words, most);
                let secrets = self.secrets().await;
                for line in &mut logs.lines {
                    line.text = without(&secrets, std::mem::take(&mut line.text));
                }
                Ok(Reply::Logs(logs))
            }
            Request::Configuration {} => {
                let toml = without(&self.secrets().await, cardea_config::redacted(&self.config));
                Ok(Reply::Configuration { toml, broker: self.broker() })
            }
            Request::TestBroker(trial) => self.try_broker(&trial).await.map(Reply::BrokerTest),
            Request::Host {} => {
                let addresses = tokio::task::spawn_blocking(addresses).await.unwrap_or_default();
                Ok(Reply::Host(self.host(addresses)))
            }
            Request::Oldest {} => {
                let path = self.config.gateway.data_dir.join("cardea.db");
                let read = tokio::task::spawn_blocking(move || cardea_store::Store::oldest(&path)).await;
                let at = read.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
                Ok(Reply::Oldest { at })
            }
            Request::Diagnose {} => {
                let file = diagnosis::bundle(self).await?;
                let bytes = u32::try_from(file.len()).map_err(|_| "the bundle is too long")?;
                Ok(Reply::Bundle { bytes, file: Secret::new(file) })
            }
            Request::FactoryReset { gateway, by } => {
                if gateway != self.gateway {
                    return Err(format!("this gateway is {}: nothing was done", self.gateway));
                }
                let directory = self.config.gateway.data_dir.clone();
                let ordered = tokio::task::spawn_blocking(move || reset::order(&directory, by)).await;
                ordered
                    .map_err(|e| e.to_string())?
                    .map_err(|e| format!("the reset cannot be ordered: {e}"))?;
                tracing::warn!(by = by.as_str(), "the gateway is set back to how it left the factory");
                let reset = self.reset.clone();
                tokio::spawn(async move {
                    // Whoever asked is told first.
                    tokio::time::sleep(TOLD).await;
                    reset.send_replace(true);
                });
                Ok(Reply::Done)
            }
            _ => Err("not here".into()),
        }
    }

    fn broker(&self) -> BrokerSettings {
        let mqtt = &self.config.mqtt;
        let path =
            |path: &Option<PathBuf>| path.as_ref().map(|p| p.display().to_string()).unwrap_or_default();
        BrokerSettings {
            url: mqtt.url.to_string(),
            has_username: mqtt.username.is_some(),
            has_password: mqtt.password_file.is_some(),
            ca_file: path(&mqtt.ca_file),
            cert_file: path(&mqtt.cert_file),
            key_file: path(&mqtt.key_file),
        }
    }

    fn host(&self, addresses: Vec<HostAddress>) -> Host {
        // Not from /proc/sys, which the service does not see.
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let now = self.wall.now();
        let source = match self.config.gateway.clock {
            ClockSource::Auto => "auto",
            ClockSource::Trust => "trust",
        };
        Host { name, now: now.unix_ms, clock_synced: now.synced, clock_source: source.into(), addresses }
    }

    /// What the configuration names as secret, as it is now; taken out of everything that leaves by this desk, wherever it came
    /// from.
    pub(crate) async fn secrets(&self) -> Vec<Zeroizing<String>> {
        let mqtt = &self.config.mqtt;
        // Some clouds give out a token as the user name, or as the client id.
        let words = [mqtt.username.clone(), mqtt.client_id.clone().filter(|id| *id != self.gateway)];
        let mut secrets: Vec<_> = words.into_iter().flatten().map(Zeroizing::new).collect();
        if let Some(path) = mqtt.password_file.clone() {
            let read = tokio::task::spawn_blocking(move || password(&path)).await;
            secrets.extend(read.ok().flatten());
        }
        secrets.retain(|secret| secret.len() >= SECRET);
        secrets
    }

    async fn try_broker(&self, trial: &BrokerTrial) -> Result<BrokerTest, String> {
        let _one =
            self.trials.try_acquire().map_err(|_| "another broker is being tried; try again in a moment")?;
        let client_id = format!("{}-test", self.config.mqtt.client_id.as_deref().unwrap_or(&self.gateway));
        let wrong = |detail: String| BrokerTest {
            passed: Vec::new(),
            failed: Some(BrokerFault { step: BrokerStep::Settings, cause: BrokerCause::Settings, detail }),
            client_id: client_id.clone(),
        };
        let url: BrokerUrl = match trial.url.trim().parse() {
            Ok(url) => url,
            Err(why) => return Ok(wrong(why)),
        };
        let config = match self.trial(trial, &url, &client_id) {
            Ok(config) => config,
            Err(why) => return Ok(wrong(why.into())),
        };
        tracing::info!("a broker is being tried for an operator");
        Ok(told(cardea_broker::probe(&config).await, client_id))
    }

    fn trial(
        &self,
        trial: &BrokerTrial,
        url: &BrokerUrl,
        client_id: &str,
    ) -> Result<MqttConfig, &'static str> {
        let file = |name: &str| (!name.trim().is_empty()).then(|| Path::new(name.trim()).to_owned());
        let (cert, key) = (file(&trial.cert_file), file(&trial.key_file));
        if cert.is_some() != key.is_some() {
            return Err("`cert_file` and `key_file` go together");
        }
        if !url.tls && (cert.is_some() || file(&trial.ca_file).is_some()) {
            return Err("certificates are used with mqtts:// only, but the address is mqtt://");
        }
        let mut config = MqttConfig::new(&url.host, url.port, client_id);
        config.tls = url.tls.then(|| TlsFiles { ca: file(&trial.ca_file), client: cert.zip(key) });
        let username = trial.username.trim();
        config.username = (!username.is_empty()).then(|| username.to_owned());
        if !trial.password.is_empty() {
            if username.is_empty() {
                return Err("MQTT 3.1.1 has no password without a user name");
            }
            config.password = Some(Zeroizing::new(trial.password.clone()));
        } else if *url == self.config.mqtt.url
            && [None, self.config.mqtt.username.clone()].contains(&config.username)
        {
            // Never for another broker, or without the TLS of this one: whoever sits there would have it.
            config.username = self.config.mqtt.username.clone();
            config.password_file = self.config.mqtt.password_file.clone();
        }
        let topics =
            crate::run::topics(&self.config, &self.gateway).map_err(|_| "the topics cannot be used")?;
        config.filters = topics.gateway_filters();
        config.live_only = true;
        config.timeout = PATIENCE;
        Ok(config)
    }
}

/// In the words of the control API.
fn told(probe: Probe, client_id: String) -> BrokerTest {
    let step = |step| match step {
        Step::Settings => BrokerStep::Settings,
        Step::Name => BrokerStep::Name,
        Step::Tcp => BrokerStep::Tcp,
        Step::Tls => BrokerStep::Tls,
        Step::Login => BrokerStep::Login,
        Step::Subscribe => BrokerStep::Subscribe,
    };
    let cause = |cause| match cause {
        Cause::Settings => BrokerCause::Settings,
        Cause::NameUnknown => BrokerCause::NameUnknown,
        Cause::PortClosed => BrokerCause::PortClosed,
        Cause::Unreachable => BrokerCause::Unreachable,
        Cause::Silent => BrokerCause::Silent,
        Cause::Issuer => BrokerCause::Issuer,
        Cause::Expired => BrokerCause::Expired,
        Cause::NotYet => BrokerCause::NotYet,
        Cause::OtherName => BrokerCause::OtherName,
        Cause::Certificate => BrokerCause::Certificate,
        Cause::Tls => BrokerCause::Tls,
        Cause::Version => BrokerCause::Version,
        Cause::ClientId => BrokerCause::ClientId,
        Cause::NotReady => BrokerCause::NotReady,
        Cause::Password => BrokerCause::Password,
        Cause::NotAuthorised => BrokerCause::NotAuthorised,
        Cause::MayNotSubscribe => BrokerCause::MayNotSubscribe,
        Cause::NotMqtt => BrokerCause::NotMqtt,
    };
    let failed =
        probe.failed.map(|(at, why, detail)| BrokerFault { step: step(at), cause: cause(why), detail });
    BrokerTest { passed: probe.passed.into_iter().map(step).collect(), failed, client_id }
}

/// Without its trailing newline.
fn password(path: &Path) -> Option<Zeroizing<String>> {
    let text = Zeroizing::new(std::fs::read_to_string(path).ok()?);
    Some(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned()))
}

/// A text with every secret replaced.
pub(crate) fn without(secrets: &[Zeroizing<String>], text: String) -> String {
    secrets.iter().fold(text, |text, secret| {
        if text.contains(secret.as_str()) { text.replace(secret.as_str(), "(removed)") } else { text }
    })
}

/// Those that others may reach this machine by.
fn addresses() -> Vec<HostAddress> {
    let found = if_addrs::get_if_addrs().unwrap_or_default();
    let mut addresses: Vec<_> = found
        .into_iter()
        .filter(|interface| !interface.is_loopback())
        .map(|interface| HostAddress { address: interface.ip(), interface: interface.name })
        .collect();
    // What people type comes first.
    addresses.sort_by_key(|address| (matches!(address.address, IpAddr::V6(_)), address.clone()));
    addresses.dedup();
    addresses
}
