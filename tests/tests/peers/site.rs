//! A door, its gateway and its owner: the real daemon, a lock with the real agent on one of its radios, a broker that can
//! be taken down, the platform.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use cardea_credentials::{Agreement as _, Scope, SoftAgreement};
use cardea_radio::LorawanClass;
use cardea_sdk::{Broker as BrokerSettings, Bundle, OsRandom, Platform, PlatformEvent, session::NewGrant};
use cardea_simulator::{Air, Forwarder, ForwarderConfig, LockConfig, Region, VirtualLock, Weather};
use cardea_tests::{broker::Broker, daemon::Daemon, free_udp_port};
use tokio::{sync::broadcast, time::timeout};

/// For one answer.
pub const LIMIT: Duration = Duration::from_secs(30);
/// For what a slow radio takes.
const PATIENCE: Duration = Duration::from_secs(120);
/// With this one the LoRaWAN lock soon tries to join on a channel that the gateway hears; there are eight times as many.
const SEED: u64 = 11;
const FORWARDER: [u8; 8] = [0xAA, 0x55, 0x5A, 0, 0, 0, 0, 1];

pub struct Site {
    pub broker: Broker,
    pub daemon: Daemon,
    pub lock: VirtualLock,
    pub platform: Platform,
    pub socket: PathBuf,
    events: broadcast::Receiver<PlatformEvent>,
    _forwarder: Option<Forwarder>,
    // Last, so that the logs outlive the processes that a failing test prints.
    pub dir: tempfile::TempDir,
}

impl Site {
    /// A lock that is activated and has heard the time.
    pub async fn new() -> Self {
        let (dir, broker) = Self::begin();
        let daemon = Self::daemon(&dir, &broker, "");
        let there = SocketAddr::from((Ipv4Addr::LOCALHOST, daemon.loopback));
        let lock = VirtualLock::on_loopback(SEED, 1, there).unwrap();
        Self::with(dir, broker, daemon, lock, None).await
    }

    /// The same on LoRaWAN, behind a packet forwarder. In this region the frames of both ways are short on the air.
    pub async fn on_lorawan(class: LorawanClass) -> Self {
        let (dir, broker) = Self::begin();
        let port = free_udp_port();
        let radio = format!(
            "[lora]\nenabled = true\nbind = \"127.0.0.1:{port}\"\nregion = \"US915\"\nforwarders = [\"{}\"]\n",
            hex::encode(FORWARDER)
        );
        let daemon = Self::daemon(&dir, &broker, &radio);
        let air = Air::new(SEED, Weather::default());
        let there = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let forwarder =
            Forwarder::start(ForwarderConfig::us915(there, FORWARDER), air.clone()).await.unwrap();
        let config = LockConfig { number: 1, class, region: Region::Us915 };
        let lock = VirtualLock::new(SEED, config, &air).unwrap();
        Self::with(dir, broker, daemon, lock, Some(forwarder)).await
    }

    fn begin() -> (tempfile::TempDir, Broker) {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "");
        (dir, broker)
    }

    /// A broker that is killed forgets what it took, and may be back before the platform is: the gateway keeps it.
    fn daemon(dir: &tempfile::TempDir, broker: &Broker, radio: &str) -> Daemon {
        Daemon::start(dir.path(), broker.port, &format!("custody = \"platform\"\n#mqtt\n{radio}"))
    }

    async fn with(
        dir: tempfile::TempDir,
        broker: Broker,
        daemon: Daemon,
        lock: VirtualLock,
        forwarder: Option<Forwarder>,
    ) -> Self {
        let state = dir.path().join("platform");
        Platform::init(&state).unwrap();
        let platform = Platform::open(&state).unwrap();
        let events = platform.subscribe();
        let url = format!("mqtt://127.0.0.1:{}", broker.port);
        tokio::spawn(platform.clone().run(BrokerSettings::at(&url)));
        let socket = dir.path().join("api.sock");
        let mut site = Self { broker, daemon, lock, platform, socket, events, _forwarder: forwarder, dir };
        site.event("the broker link", |e| *e == PlatformEvent::BrokerUp).await;
        site.platform.enroll(site.lock.id(), site.lock.owner_code()).await.unwrap();
        site.daemon.admit(&[cardea_radio::label::reveal(site.lock.admission()).to_string()]);
        site.lock.switch_on();
        let begin = Instant::now();
        site.event("activation", |e| matches!(e, PlatformEvent::Activated { .. })).await;
        site.event("the first event", |e| matches!(e, PlatformEvent::Lock { kind, .. } if kind == "boot"))
            .await;
        println!("joined, activated, first event after {:?}", begin.elapsed());
        // A lock that does not know the time believes no grant; it has it with the answer to that event, which a slow
        // radio brings before the next question's answer.
        let answered = async {
            while !site.platform.status(site.lock.id(), LIMIT).await.is_ok_and(|outcome| outcome.is_success())
            {
            }
        };
        assert!(timeout(PATIENCE, answered).await.is_ok(), "the lock never answers");
        site
    }

    pub async fn event(&mut self, what: &str, fits: impl Fn(&PlatformEvent) -> bool) {
        let found = timeout(PATIENCE, async {
            loop {
                if self.events.recv().await.is_ok_and(|event| fits(&event)) {
                    return;
                }
            }
        });
        assert!(found.await.is_ok(), "{what}: not within {PATIENCE:?}");
    }

    /// A grant as its holder gets it: to unlock and to ask for the status, for an hour, and what `change` makes of that.
    pub async fn grant(
        &self,
        holder: &SoftAgreement,
        name: &str,
        change: impl FnOnce(&mut NewGrant),
    ) -> Bundle {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as u32;
        let mut new = NewGrant {
            lock: self.lock.id(),
            holder: holder.public(),
            name: name.into(),
            scope: Scope::UNLOCK | Scope::STATUS,
            not_before: now - 60,
            expires: now + 3600,
            single_use: false,
            window: None,
            delegate: None,
        };
        change(&mut new);
        Bundle::decode(&self.platform.grant(new).await.unwrap().bundle.encode()).unwrap()
    }

    pub async fn outage(&mut self) {
        self.broker.down();
        self.event("the outage", |e| matches!(e, PlatformEvent::BrokerDown { .. })).await;
    }

    /// The owner hears from the lock that somebody used this name's grant.
    pub async fn hears_of(&mut self, name: &str) {
        let ends = format!("({name})");
        self.event("the lock's own word", |e| {
            matches!(e, PlatformEvent::Lock { kind, value: Some(value), .. }
                     if kind == "unlocked by grant" && value.ends_with(&ends))
        })
        .await;
    }
}

pub fn key() -> SoftAgreement {
    SoftAgreement::generate(&mut OsRandom).unwrap()
}
