//! From the configuration to a running gateway, and to its end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use cardea_config::Config;
use cardea_core::{RadioId, RadioInfo, Relay};
use cardea_credentials::PublicKey;
use cardea_envelope::{Encoding, GatewayState, Presence, Topic, Topics};
use cardea_lora::LoraConfig;
use cardea_radio::Clock;
use cardea_radio::loopback::{self, LoopbackConfig};
use cardea_store::Store;
use cardea_subghz::driver as subghz;
use cardea_upstream::{Backoff, MqttConfig, TlsFiles, Will, Wording};
use cardea_web::Web;
use cardea_zigbee::driver::ordinary::ordinary_desk;
use cardea_zigbee::driver::{self as zigbee, Dongle};
use cardea_zigbee::external::Program;
use cardea_zigbee::tunnel::Tunnel;
use tokio::net::UdpSocket;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::clock::{self, WallClock};
use crate::identity::{self, DataDir};
use crate::journal::Journal;
use crate::relay_loop::{Ask, Facts, Inputs, RelayLoop};
use crate::server::{InProcess, Server};
use crate::supervisor::{Driver, Supervisor};
use crate::{button, logging, mdns, metrics, reset, service, unsealed};

/// Threads for everything but the store, which has its own: one can carry the radios while the other carries
/// the broker.
const THREADS: usize = 2;

/// Threads for what blocks: reading certificates, asking for the clock, and above all name servers that do not
/// answer. They exist only while they are needed.
const BLOCKING: usize = 16;

/// How long parts may take to end once they were told to.
const END: Duration = Duration::from_secs(5);

/// What the file says that only the parts themselves can judge.
///
/// # Errors
/// Names the setting.
pub fn check(config: &Config) -> anyhow::Result<()> {
    topics(config, "gateway")?;
    platform_keys(config)?;
    if config.lora.enabled {
        lora(config).check().context("[lora]")?;
    }
    Ok(())
}

pub(crate) fn topics(config: &Config, gateway: &str) -> anyhow::Result<Topics> {
    let mqtt = &config.mqtt;
    Topics::with_templates(&mqtt.prefix, gateway, &mqtt.topics).context("[mqtt] topics")
}

/// Runs the gateway until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps it from starting (an unusable data directory, store or socket), or the death of the store's
/// threads. An absent broker or radio is none of these.
pub fn run(config: &Config) -> anyhow::Result<()> {
    let journal = logging::start(&config.log)?;
    check(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(BLOCKING)
        .enable_all()
        .build()
        .context("threads cannot be started")?;
    let result = runtime.block_on(gateway(config, journal));
    // A blocked lookup of a broker's name must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match result? {
        End::Stopped => Ok(()),
        End::Reset => Err(reset::begin_anew()).context("the gateway cannot be started anew"),
    }
}

/// Why a run is over.
enum End {
    Stopped,
    /// For a factory reset, which the next run begins with.
    Reset,
}

async fn gateway(config: &Config, journal: Journal) -> anyhow::Result<End> {
    let data = DataDir::open(&config.gateway.data_dir)?;
    if reset::carry_out(&config.gateway.data_dir)? {
        tracing::warn!("the gateway is set back to how it left the factory, and is nobody's");
    }
    let gateway = data.gateway(config.gateway.id.as_ref())?;
    let topics = topics(config, gateway.as_str())?;
    let server = Server::bind(&config.api.socket)?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;

    let (replies_tx, replies) = mpsc::unbounded_channel();
    let mut options = cardea_store::Options::new(data.file("cardea.db"));
    options.max_bytes = Some(file_bound(config.limits.outbox_bytes));
    let opened = tokio::task::spawn_blocking(move || Store::open(&options, replies_tx));
    let (store, snapshot) = opened.await.context("opening the store")??;

    let clock = Clock::start();
    let wall = WallClock::start(config.gateway.clock);
    let lora_counters = watch::Sender::new(cardea_lora::network::Counters::default());
    let subghz_counters = watch::Sender::new(cardea_subghz::network::Counters::default());
    let (zigbee_orders, desk) = zigbee::network_orders();
    let (ordinary, ordinary_end) = ordinary_desk();
    let ordinary_end = config.unsealed.enabled.then_some(ordinary_end);
    let time = wall.clone();
    let zigbee_ends = zigbee::Ends {
        desk,
        counters: watch::Sender::default(),
        kept: watch::Sender::default(),
        ordinary: ordinary_end.clone(),
        wall: Arc::new(move || {
            let now = time.now();
            zigbee::Wall { unix_ms: now.unix_ms, synced: now.synced, zone: clock::zone(now.unix_ms) }
        }),
    };
    let drivers = drivers(config, &wall, &lora_counters, &zigbee_ends, &subghz_counters);
    let names: Vec<&'static str> = drivers.iter().map(|(name, _)| *name).collect();
    // A gateway with locks in it is in somebody's hands, whoever switches a page on later.
    let has_locks = !snapshot.locks.is_empty();
    let relay = Relay::new(
        relay_config(config, gateway.as_str(), &topics, &names, platform_keys(config)?),
        identity::random()?,
        snapshot,
    );

    let (parts_tx, parts) = mpsc::channel(16);
    let (asks_tx, asks) = mpsc::channel(64);
    let (stop, stopping) = watch::channel(false);
    let (reset, mut is_reset) = watch::channel(false);
    let supervisor = Supervisor { clock, parts: parts_tx, stopping: stopping.clone() };
    let page = page(config, gateway.as_str(), &store, &asks_tx).await?;
    let claimed = page.as_ref().map_or_else(|| watch::channel(true).1, |page| page.claimed());
    let owned = if has_locks { watch::channel(true).1 } else { claimed.clone() };
    let link = upstream(config, gateway.as_str(), &topics, &wall);
    let mut tasks = Vec::new();
    let bridge = ordinary_end.map(|_| {
        let time = (clock, wall.clone());
        let states = unsealed::States { owned: owned.clone(), stopping: stopping.clone() };
        let (bridge, task) = unsealed::start(config, gateway.as_str(), link.clone(), time, ordinary, states);
        tasks.push(task);
        bridge
    });
    tasks.push(supervisor.upstream(link, owned.clone()));
    for ((name, driver), id) in drivers.into_iter().zip(0_u16..) {
        tasks.push(supervisor.radio(RadioId(id), name, store.network(name), driver));
    }
    drop(supervisor);
    let sources = metrics::Sources {
        asks: asks_tx.clone(),
        lora: config.lora.enabled.then(|| lora_counters.subscribe()),
        zigbee: config.zigbee.enabled.then(|| zigbee_ends.counters.subscribe()),
        subghz: config.subghz.enabled.then(|| subghz_counters.subscribe()),
    };
    let facts = Facts {
        lora_counters: sources.lora.clone(),
        zigbee_counters: sources.zigbee.clone(),
        subghz_counters: sources.subghz.clone(),
        desk: crate::desk::Desk::new(config, gateway.as_str(), journal, wall.clone(), sources.clone(), reset),
        gateway: gateway.to_string(),
        broker_url: config.mqtt.url.to_string(),
        radios: names,
        max_locks: usize::try_from(config.limits.locks).unwrap_or(usize::MAX),
        platform_keys: u64::try_from(config.platform.keys.len()).unwrap_or(u64::MAX),
        zigbee: config.zigbee.enabled.then_some(zigbee_orders),
        zigbee_kept: zigbee_ends.kept.subscribe(),
        unsealed: bridge,
        claimed,
        owned,
    };
    let relay_loop = RelayLoop::new(relay, facts, clock, wall, store);
    let mut relaying = tokio::spawn(relay_loop.run(Inputs { parts, asks, replies, stop: stopping }));
    tokio::spawn(server.serve(asks_tx.clone(), page.clone()));
    if let Some(page) = page {
        if let Some(button) = config.web.button.clone() {
            presence(button, Arc::clone(&page), stop.subscribe())?;
        }
        if config.web.mdns {
            mdns::start(gateway.as_str(), config.web.https, stop.subscribe());
        }
        tokio::spawn(serve_page(page));
    }
    if config.metrics.enabled {
        tokio::spawn(metrics::serve(config.metrics.bind, sources));
    }

    service::ready();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), gateway = gateway.as_str(), "cardea is running");
    let ended = tokio::select! {
        ended = &mut relaying => ended,
        _ = async { tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {}, _ = is_reset.wait_for(|reset| *reset) => {} } } => {
            stop.send_replace(true);
            relaying.await
        }
    };
    stop.send_replace(true);
    ended.context("the relay crashed")??;
    let end = async {
        for task in tasks {
            let _ = task.await;
        }
    };
    if tokio::time::timeout(END, end).await.is_err() {
        tracing::warn!("some parts of the gateway took too long to end");
    }
    tracing::info!("stopped");
    Ok(if *is_reset.borrow() { End::Reset } else { End::Stopped })
}

/// The names that browsers may use, beside the machine's own.
fn names(config: &Config, gateway: &str) -> Vec<String> {
    let mut names = config.web.names.clone();
    if config.web.mdns {
        names.extend(mdns::names(gateway));
    }
    names
}

/// The local web page, if it is on. It remembers in the same encrypted store as a radio network.
async fn page(
    config: &Config,
    gateway: &str,
    store: &Store,
    asks: &mpsc::Sender<Ask>,
) -> anyhow::Result<Option<Arc<Web>>> {
    let section = &config.web;
    if !section.enabled {
        return Ok(None);
    }
    let settings = cardea_web::Settings {
        https: section.https,
        http: section.http,
        names: names(config, gateway),
        gateway: gateway.to_owned(),
        data_dir: config.gateway.data_dir.clone(),
        button: section.button.is_some(),
        resets: reset::all(&config.gateway.data_dir),
    };
    let (memory, daemon) = (store.network("web"), Arc::new(InProcess(asks.clone())));
    let opened = tokio::task::spawn_blocking(move || Web::open(settings, memory, daemon));
    Ok(Some(opened.await.context("the local page")?.context("the local page")?))
}

/// Whoever presses the button is at the gateway.
fn presence(
    button: cardea_config::GpioButton,
    page: Arc<Web>,
    stopping: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let press = move || match page.confirm_claim() {
        Ok(()) => tracing::info!("the button was pressed"),
        Err(error) => tracing::info!(%error, "the button was pressed, and confirms nothing"),
    };
    // It waits in the kernel, for as long as the daemon runs: no task may.
    let watch = move || button::watch(|| button::Gpio::open(&button), &stopping, press);
    std::thread::Builder::new().name("button".into()).spawn(watch).context("the button's thread")?;
    Ok(())
}

/// Serves for as long as the daemon runs, once the addresses are free. Doors do not wait for a page.
async fn serve_page(page: Arc<Web>) {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    loop {
        match page.listen().await {
            Ok(listening) => return listening.serve().await,
            Err(error) => tracing::error!(%error, "the local page cannot be served"),
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

/// The most that the database file may take. The relay's own bound on the outbox is met first: this leaves room for
/// indices, half-filled pages, the registry and the downlinks, and only stops what grows against all reckoning.
const fn file_bound(outbox_bytes: u64) -> u64 {
    outbox_bytes.saturating_mul(2).saturating_add(16 << 20)
}

fn relay_config(
    config: &Config,
    gateway: &str,
    topics: &Topics,
    radios: &[&str],
    keys: Vec<PublicKey>,
) -> cardea_core::Config {
    let radios = radios.iter().map(|name| RadioInfo { name: (*name).into() }).collect();
    let mut relay = cardea_core::Config::new(gateway, topics.clone(), radios);
    relay.version = env!("CARGO_PKG_VERSION").into();
    relay.encoding = encoding(config);
    relay.custody = match config.mqtt.custody {
        cardea_config::Custody::Broker => cardea_core::Custody::Broker,
        cardea_config::Custody::Platform => cardea_core::Custody::Platform,
    };
    relay.platform_keys = keys;
    relay.publish_window = config.mqtt.inflight.into();
    relay.outbox_bytes = config.limits.outbox_bytes;
    relay.lock_bytes = config.limits.lock_bytes;
    relay
}

/// The platform's keys that this gateway believes.
fn platform_keys(config: &Config) -> anyhow::Result<Vec<PublicKey>> {
    let key = |key: &cardea_config::PlatformKey| {
        PublicKey::from_sec1(&key.0)
            .with_context(|| format!("[platform] keys: {key} is not a point of P-256"))
    };
    config.platform.keys.iter().map(key).collect()
}

fn encoding(config: &Config) -> Encoding {
    match config.mqtt.encoding {
        cardea_config::Encoding::Json => Encoding::Json,
        cardea_config::Encoding::Cbor => Encoding::Cbor,
    }
}

fn upstream(config: &Config, gateway: &str, topics: &Topics, wall: &WallClock) -> MqttConfig {
    let mqtt = &config.mqtt;
    let client_id = mqtt.client_id.as_deref().unwrap_or(gateway);
    let mut upstream = MqttConfig::new(&mqtt.url.host, mqtt.url.port, client_id);
    upstream.tls = mqtt.url.tls.then(|| TlsFiles {
        ca: mqtt.ca_file.clone(),
        client: mqtt.cert_file.clone().zip(mqtt.key_file.clone()),
    });
    upstream.username = mqtt.username.clone();
    upstream.password_file = mqtt.password_file.clone();
    upstream.keepalive = Duration::from_secs(mqtt.keepalive.into());
    upstream.max_packet = usize::try_from(mqtt.max_packet).unwrap_or(usize::MAX);
    upstream.inflight = mqtt.inflight;
    upstream.filters = topics.gateway_filters();
    upstream.wording = Wording { me: "gateway", inbound: "commands" };
    upstream.backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
    let (topic, encoding, wall) = (topics.name(&Topic::State), encoding(config), wall.clone());
    upstream.will = Some(Arc::new(move || {
        // Written when the connection is made: "offline, and was online at `at`".
        let state = GatewayState { state: Presence::Offline, at: wall.now().unix_ms };
        Will { topic: topic.clone(), payload: encoding.encode(&state), retain: true }
    }));
    upstream
}

/// The radios that are switched on, by the names that the registry keeps.
fn drivers(
    config: &Config,
    wall: &WallClock,
    lora_counters: &watch::Sender<cardea_lora::network::Counters>,
    zigbee_ends: &zigbee::Ends,
    subghz_counters: &watch::Sender<cardea_subghz::network::Counters>,
) -> Vec<(&'static str, Driver)> {
    let mut drivers: Vec<(&'static str, Driver)> = Vec::new();
    if config.lora.enabled {
        let (settings, wall, counters) = (lora(config), wall.clone(), lora_counters.clone());
        drivers.push((
            "lora",
            Arc::new(move |end| {
                let (settings, wall, counters) = (settings.clone(), wall.clone(), counters.clone());
                Box::pin(async move {
                    let bind = settings.bind;
                    let socket = UdpSocket::bind(bind).await.map_err(|error| format!("{bind}: {error}"))?;
                    let time = Arc::new(move || {
                        let now = wall.now();
                        cardea_lora::Wall { unix_ms: now.unix_ms, synced: now.synced }
                    });
                    let run = cardea_lora::run_counted(socket, settings, end, time, counters);
                    run.await.map_err(|error| error.to_string())
                })
            }),
        ));
    }
    if let Some(dongle) = dongle(config) {
        let (settings, ends) = (zigbee_settings(config), zigbee_ends.clone());
        drivers.push((
            "zigbee",
            Arc::new(move |end| {
                let run = zigbee::run(dongle.clone(), settings.clone(), end, ends.clone());
                Box::pin(async move { run.await.map_err(|error| error.to_string()) })
            }),
        ));
    }
    if config.subghz.enabled {
        let (settings, counters) = (crate::subghz::settings(config), subghz_counters.clone());
        drivers.push((
            "subghz",
            Arc::new(move |end| {
                let run = subghz::run(settings.clone(), end, counters.clone());
                Box::pin(async move { run.await.map_err(|error| error.to_string()) })
            }),
        ));
    }
    if config.loopback.enabled {
        let bind = config.loopback.bind;
        drivers.push((
            "loopback",
            Arc::new(move |end| {
                Box::pin(async move {
                    let run = loopback::run_udp(LoopbackConfig::default(), bind, end);
                    run.await.map_err(|error| error.to_string())
                })
            }),
        ));
    }
    drivers
}

/// The Zigbee dongle, if that radio is on.
fn dongle(config: &Config) -> Option<Dongle> {
    let section = &config.zigbee;
    let device = section.device.clone().filter(|_| section.enabled)?;
    let family = match section.family {
        cardea_config::ZigbeeFamily::Zboss => zigbee::Family::Zboss,
        cardea_config::ZigbeeFamily::Ezsp => zigbee::Family::Ezsp,
        cardea_config::ZigbeeFamily::ZbossHost => zigbee::Family::ZbossHost(Program {
            path: section.host_program.clone()?,
            directory: config.gateway.data_dir.join("zigbee-host"),
        }),
    };
    let flow = match section.flow_control {
        cardea_config::FlowControl::None => zigbee::FlowControl::None,
        cardea_config::FlowControl::Hardware => zigbee::FlowControl::RtsCts,
        cardea_config::FlowControl::Software => zigbee::FlowControl::XonXoff,
    };
    let serial = zigbee::Serial { device, baud: section.baud, flow };
    Some(Dongle::new(serial, family, zigbee_settings(config).tunnel, config.unsealed.enabled))
}

fn zigbee_settings(config: &Config) -> zigbee::DriverConfig {
    let section = &config.zigbee;
    zigbee::DriverConfig {
        channels: section.channels.iter().fold(0, |mask, channel| mask | 1_u32 << (channel & 31)),
        tunnel: Tunnel { manufacturer: section.manufacturer.0, cluster: section.cluster.0 },
        max_devices: usize::try_from(config.limits.locks).unwrap_or(usize::MAX),
        ordinary: unsealed::driver_config(config),
    }
}

fn lora(config: &Config) -> LoraConfig {
    let section = &config.lora;
    let usual = match section.dev_nonce {
        cardea_config::DevNonce::Unused => cardea_lora::DevNoncePolicy::Unused,
        cardea_config::DevNonce::Rising => cardea_lora::DevNoncePolicy::Rising,
    };
    let other = match section.dev_nonce {
        cardea_config::DevNonce::Unused => cardea_lora::DevNoncePolicy::Rising,
        cardea_config::DevNonce::Rising => cardea_lora::DevNoncePolicy::Unused,
    };
    LoraConfig {
        bind: section.bind,
        region: match section.region {
            cardea_config::Region::Eu868 => cardea_lora::Region::Eu868,
            cardea_config::Region::Us915 => cardea_lora::Region::Us915,
        },
        sub_band: section.sub_band,
        extra_channels: section.extra_channels.clone(),
        forwarders: section.forwarders.iter().map(|eui| cardea_lora::Eui(eui.0)).collect(),
        net_id: section.net_id.0,
        dev_nonce: usual,
        dev_nonce_of: section
            .dev_nonce_exceptions
            .iter()
            .map(|eui| (cardea_lora::Eui(eui.0), other))
            .collect(),
        rx1_delay: section.rx1_delay,
        rx1_dr_offset: section.rx1_dr_offset,
        rx2_dr: section.rx2_dr,
        rx2_frequency: section.rx2_frequency,
        max_eirp: section.max_eirp,
        lead_ms: section.lead_ms,
        adr: section.adr,
        max_devices: usize::try_from(config.limits.locks).unwrap_or(usize::MAX),
    }
}
