//! The whole thread: virtual LoRaWAN locks, a virtual packet forwarder on a real UDP socket, the real daemon,
//! a real mosquitto, the owner's platform. And everyone in between turned hostile.

use std::{collections::BTreeSet, fs, net::SocketAddr, sync::Arc, time::Duration};

use cardea_envelope::{
    Data, Downlink, DownlinkResult, Encoding, MessageId, ResultState, Topic, Topics, Uplink,
};
use cardea_framing::{Class, Kind, LockId};
use cardea_radio::LorawanClass;
use cardea_sdk::{Ask, Bolt, Broker as BrokerSettings, LockName, Outcome, Platform, PlatformEvent};
use cardea_simulator::{Air, Forwarder, ForwarderConfig, LockConfig, Random, Region, VirtualLock, Weather};
use cardea_tests::{broker::Broker, daemon::Daemon, free_udp_port, spy::Spy};
use tokio::{sync::broadcast, time::timeout};

const PATIENCE: Duration = Duration::from_secs(240);
const FORWARDER: [u8; 8] = [0xAA, 0x55, 0x5A, 0, 0, 0, 0, 1];

struct Site {
    broker: Broker,
    daemon: Daemon,
    spy: Spy,
    topics: Topics,
    air: Arc<Air>,
    region: Region,
    forwarder: Option<Forwarder>,
    lora: SocketAddr,
    platform: Platform,
    events: broadcast::Receiver<PlatformEvent>,
    locks: Vec<VirtualLock>,
    seed: u64,
    // Last, so that the logs outlive the processes that a failing test prints.
    _dir: tempfile::TempDir,
}

impl Site {
    /// Everything up, with `count` locks on the loopback radio, admitted but not enrolled.
    async fn on_loopback(count: u64) -> Self {
        let mut site = Self::new(Region::Eu868, Weather::default()).await;
        for number in 1..=count {
            let gateway = SocketAddr::from(([127, 0, 0, 1], site.daemon.loopback));
            let lock = VirtualLock::on_loopback(site.seed, number, gateway).unwrap();
            site.admit(lock);
        }
        site
    }

    /// The same with LoRaWAN locks of these classes behind a packet forwarder.
    async fn on_lorawan(classes: &[LorawanClass], region: Region, weather: Weather) -> Self {
        let mut site = Self::new(region, weather).await;
        site.forwarder_up().await;
        for (number, &class) in (1..).zip(classes) {
            let lock = VirtualLock::new(site.seed, LockConfig { number, class, region }, &site.air).unwrap();
            site.admit(lock);
            let id = site.locks.last().unwrap().id();
            site.locks.last().unwrap().switch_on();
            // One after the other: there is one transmitter for all join accepts.
            site.event("join", |e| matches!(e, PlatformEvent::Site { what, lock, .. } if what == "joined" && *lock == Some(id))).await;
        }
        site
    }

    fn admit(&mut self, lock: VirtualLock) {
        self.daemon.admit(&[cardea_radio::label::reveal(lock.admission()).to_string()]);
        self.locks.push(lock);
    }

    async fn new(region: Region, weather: Weather) -> Self {
        let seed = std::env::var("CARDEA_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(7);
        println!("CARDEA_SEED={seed}");
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "");
        let spy = Spy::start(broker.port);
        let port = free_udp_port();
        let name = match region {
            Region::Eu868 => "EU868",
            Region::Us915 => "US915",
        };
        let more = format!(
            "[lora]\nenabled = true\nbind = \"127.0.0.1:{port}\"\nregion = \"{name}\"\nforwarders = [\"{}\"]\n",
            hex::encode(FORWARDER)
        );
        let daemon = Daemon::start(dir.path(), broker.port, &more);
        let air = Air::new(seed, weather);
        let home = dir.path().join("platform");
        fs::create_dir(&home).unwrap();
        Platform::init(&home).unwrap();
        let platform = Platform::open(&home).unwrap();
        let events = platform.subscribe();
        tokio::spawn(platform.clone().run(BrokerSettings::at(&format!("mqtt://127.0.0.1:{}", broker.port))));
        Self {
            broker,
            daemon,
            spy,
            topics: Topics::new("cardea/v1", "gw-test").unwrap(),
            air,
            region,
            forwarder: None,
            lora: SocketAddr::from(([127, 0, 0, 1], port)),
            platform,
            events,
            locks: Vec::new(),
            seed,
            _dir: dir,
        }
    }

    async fn forwarder_up(&mut self) {
        let config = match self.region {
            Region::Eu868 => ForwarderConfig::eu868(self.lora, FORWARDER),
            Region::Us915 => ForwarderConfig::us915(self.lora, FORWARDER),
        };
        self.forwarder = Some(Forwarder::start(config, self.air.clone()).await.unwrap());
    }

    async fn enroll(&self, number: usize) {
        let lock = &self.locks[number];
        self.platform.enroll(LockName::Thumbprint(*lock.thumbprint()), lock.owner_code()).await.unwrap();
    }

    async fn event(&mut self, what: &str, mut wanted: impl FnMut(&PlatformEvent) -> bool) {
        let found = timeout(PATIENCE, async {
            loop {
                match self.events.recv().await {
                    Ok(event) if wanted(&event) => return,
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(closed) => panic!("{closed}"),
                }
            }
        });
        assert!(found.await.is_ok(), "{what}: not within {PATIENCE:?}");
    }

    async fn activated(&mut self, number: usize) {
        let id = self.locks[number].id();
        self.event("activation", |e| matches!(e, PlatformEvent::Activated { lock, .. } if *lock == id)).await;
    }

    async fn unlock(&self, number: usize, life: Duration) -> Outcome {
        timeout(PATIENCE, self.platform.unlock(self.locks[number].id(), life)).await.unwrap().unwrap()
    }

    /// Waits until the gateway reports its LoRaWAN radio as working, or not.
    async fn healthy(&self, up: bool) {
        let wanted = format!("\"lora\":{{\"up\":{up}");
        let told = async {
            loop {
                let last = self.spy.ending("/health").pop();
                if last.is_some_and(|m| String::from_utf8_lossy(&m.payload).contains(&wanted)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        assert!(timeout(PATIENCE, told).await.is_ok(), "the gateway never said {wanted}");
    }

    /// The first lock can be unlocked and locked again, within three tries.
    async fn unlocks(&self, after: &str) {
        let mut last = String::new();
        for _ in 0..3 {
            let outcome = self.unlock(0, Duration::from_secs(60)).await;
            last = outcome.to_string();
            if matches!(outcome, Outcome::Done { bolt: Bolt::Unlocked, .. }) {
                for _ in 0..3 {
                    let id = self.locks[0].id();
                    let outcome = self.platform.lock(id, Duration::from_secs(60)).await.unwrap();
                    if matches!(outcome, Outcome::Done { bolt: Bolt::Locked, .. }) {
                        return;
                    }
                    last = outcome.to_string();
                }
            }
        }
        panic!("after {after}: {last}");
    }

    async fn relock(&self, number: usize) {
        let id = self.locks[number].id();
        let outcome = self.platform.lock(id, Duration::from_secs(40)).await.unwrap();
        assert!(matches!(outcome, Outcome::Done { bolt: Bolt::Locked, .. }), "{outcome}");
    }

    fn bolt(&self, number: usize) -> Bolt {
        *self.locks[number].bolt().borrow()
    }

    /// Every sealed downlink the broker carried for this lock.
    fn downs(&self, number: usize) -> Vec<Downlink> {
        let name = self.topics.name(&Topic::Down(self.locks[number].id()));
        let all = self.spy.ending(&name);
        all.iter().map(|m| Encoding::Json.decode(&m.payload).unwrap()).collect()
    }

    /// How often this lock has answered with a challenge of its own: a response that carries a sequence number,
    /// which an answer to a request it believes does not. The flag byte of the elided message tells.
    fn challenges(&self, number: usize) -> usize {
        let name = self.topics.name(&Topic::Up(self.locks[number].id()));
        let ups = self.spy.ending(&name);
        let sealed = ups.iter().map(|m| Encoding::Json.decode::<Uplink>(&m.payload).unwrap());
        let own = |u: &Uplink| u.data.0[1] & 0x80 != 0 && u.data.0[1] & 0x07 != 0;
        sealed.filter(|u| u.kind == Kind::PlatformOscore && own(u)).count()
    }

    fn results(&self) -> Vec<DownlinkResult> {
        self.spy.ending("/result").iter().map(|m| Encoding::Json.decode(&m.payload).unwrap()).collect()
    }

    /// Publishes as a hostile broker would, and waits until the gateway has said its last word.
    async fn inject(&self, down: &Downlink) -> DownlinkResult {
        self.spy.publish(&self.topics.name(&Topic::Down(down.lock)), &Encoding::Json.encode(down), false);
        for _ in 0..600 {
            if let Some(result) =
                self.results().into_iter().find(|r| r.id == down.id && r.state.is_terminal())
            {
                return result;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("no terminal result for {down:?}");
    }
}

fn unix_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn join_activation_status_and_unlock_on_class_c_and_on_class_a_after_a_touch() {
    let mut site =
        Site::on_lorawan(&[LorawanClass::C, LorawanClass::A], Region::Eu868, Weather::default()).await;
    site.enroll(0).await;
    site.enroll(1).await;
    let mut waiting: BTreeSet<LockId> = site.locks.iter().map(VirtualLock::id).collect();
    site.event("both activated", |e| {
        if let PlatformEvent::Activated { lock, .. } = e {
            waiting.remove(lock);
        }
        waiting.is_empty()
    })
    .await;

    // Class C: whenever it is asked, and no frame of its own keeps it busy.
    let id = site.locks[0].id();
    let mut status = None;
    for _ in 0..3 {
        let outcome = site.platform.status(id, Duration::from_secs(60)).await.unwrap();
        if let Outcome::Status { bolt, battery, .. } = outcome {
            status = Some((bolt, battery));
            break;
        }
    }
    assert_eq!(status, Some((Bolt::Locked, 90)));
    site.unlocks("activation").await;

    // Class A: asked for before anyone is at the door, done when it is touched, in that touch's window.
    let (platform, id) = (site.platform.clone(), site.locks[1].id());
    // Its own frames after the activation open windows too; wait until it sleeps.
    tokio::time::sleep(Duration::from_secs(45)).await;
    let asked = tokio::spawn(async move { platform.unlock(id, Duration::from_secs(60)).await });
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(site.bolt(1), Bolt::Locked, "nobody has touched it yet");
    site.locks[1].touch();
    let outcome = timeout(PATIENCE, asked).await.unwrap().unwrap().unwrap();
    assert!(matches!(outcome, Outcome::Done { bolt: Bolt::Unlocked, .. }), "{outcome}");
    assert_eq!(site.bolt(1), Bolt::Unlocked);

    // The gateway told of each downlink how far it came, and took nothing back.
    for lock in 0..2 {
        for down in site.downs(lock) {
            let states: Vec<_> = site.results().iter().filter(|r| r.id == down.id).map(|r| r.state).collect();
            let terminal: BTreeSet<_> =
                states.iter().filter(|s| s.is_terminal()).map(|s| format!("{s:?}")).collect();
            assert!(terminal.len() <= 1, "{states:?}");
        }
    }
    assert!(site.results().iter().any(|r| r.state == ResultState::Delivered));
}

#[tokio::test(flavor = "multi_thread")]
async fn replayed_forged_tampered_and_crossed_commands_move_no_bolt() {
    let mut site = Site::on_loopback(2).await;
    for number in 0..2 {
        site.enroll(number).await;
    }
    let mut waiting: BTreeSet<LockId> = site.locks.iter().map(VirtualLock::id).collect();
    site.event("both activated", |e| {
        if let PlatformEvent::Activated { lock, .. } = e {
            waiting.remove(lock);
        }
        waiting.is_empty()
    })
    .await;
    let outcome = site.unlock(0, Duration::from_secs(40)).await;
    assert!(matches!(outcome, Outcome::Done { bolt: Bolt::Unlocked, .. }), "{outcome}");
    site.relock(0).await;

    // Everything the platform ever sealed for this lock, again under fresh ids: as it was, with each part changed,
    // and at the other lock's door.
    let random = Random::new(site.seed, 99);
    let fresh = |data: Vec<u8>, lock: LockId| {
        let mut id = [0; 16];
        random.fill(&mut id);
        Downlink {
            v: 1,
            id: MessageId(id),
            lock,
            kind: Kind::PlatformOscore,
            class: Class::Interactive,
            data: Data(data),
            not_after: unix_ms() + 20_000,
        }
    };
    let sealed: Vec<_> = site
        .downs(0)
        .into_iter()
        .filter(|d| d.kind == Kind::PlatformOscore && d.class == Class::Interactive)
        .collect();
    assert!(sealed.len() >= 2, "the unlock and the lock command at least");
    let (lock, other) = (site.locks[0].id(), site.locks[1].id());
    let mut bolts = [site.locks[0].bolt(), site.locks[1].bolt()];
    bolts.iter_mut().for_each(|b| drop(b.borrow_and_update()));
    let mut attacks = Vec::new();
    for down in &sealed {
        attacks.push((down.data.0.clone(), lock));
        attacks.push((down.data.0.clone(), other));
        for at in [2, 3, down.data.0.len() - 1] {
            let mut tampered = down.data.0.clone();
            tampered[at] ^= 0x01;
            attacks.push((tampered, lock));
        }
    }
    let mut forged = vec![sealed[0].data.0[0]];
    forged.resize(40, 0x09);
    attacks.push((forged, lock));
    for (data, target) in attacks {
        let result = site.inject(&fresh(data, target)).await;
        // Each was at the lock, which gave its receipt; the gateway cannot tell it from a good one.
        assert_eq!(result.state, ResultState::Delivered, "{result:?}");
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    for (number, bolt) in bolts.iter().enumerate() {
        assert!(!bolt.has_changed().unwrap(), "lock {number} moved");
    }
    // The attack locked nobody out.
    let outcome = site.unlock(0, Duration::from_secs(40)).await;
    assert!(matches!(outcome, Outcome::Done { bolt: Bolt::Unlocked, .. }), "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_lost_its_memory_of_time_asks_echo_first() {
    let mut site = Site::on_loopback(1).await;
    site.enroll(0).await;
    site.activated(0).await;
    let outcome = site.unlock(0, Duration::from_secs(40)).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome}");
    site.relock(0).await;

    let before = site.challenges(0);
    site.locks[0].reset();
    let outcome = site.unlock(0, Duration::from_secs(40)).await;
    assert!(matches!(outcome, Outcome::Done { bolt: Bolt::Unlocked, .. }), "{outcome}");
    let after = site.challenges(0);
    assert!(
        after > before,
        "the first request after a reset is answered with a challenge: {before} -> {after}"
    );
    // And only the first.
    site.relock(0).await;
    assert_eq!(site.challenges(0), after);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_without_the_owner_code_is_refused() {
    let mut site = Site::on_loopback(1).await;
    let wrong = cardea_sdk::OwnerCode::from_bytes([0x42; 16]);
    let name = LockName::Thumbprint(*site.locks[0].thumbprint());
    site.platform.enroll(name, &wrong).await.unwrap();
    let id = site.locks[0].id();
    site.event(
        "refusal",
        |e| matches!(e, PlatformEvent::ActivationRefused { lock, why: "wrong_code" } if *lock == id),
    )
    .await;
    let outcome = site.platform.command(id, Ask::Unlock, Duration::from_secs(2)).await;
    assert!(!outcome.is_ok_and(|o| o.is_success()));
    assert_eq!(site.bolt(0), Bolt::Locked);
    // With the right code the same lock is ours.
    site.enroll(0).await;
    site.activated(0).await;
    let outcome = site.unlock(0, Duration::from_secs(40)).await;
    assert!(matches!(outcome, Outcome::Done { bolt: Bolt::Unlocked, .. }), "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_forwarder_goes_and_comes_back() {
    let mut site = Site::on_lorawan(&[LorawanClass::A], Region::Eu868, Weather::default()).await;
    site.enroll(0).await;
    // Its first event shows that the lock has message_4, too.
    let id = site.locks[0].id();
    let booted = |e: &PlatformEvent| matches!(e, PlatformEvent::Lock { lock, kind, .. } if *lock == id && *kind == "boot");
    site.event("the boot event", booted).await;
    site.forwarder = None;
    site.healthy(false).await;
    let outcome = site.unlock(0, Duration::from_secs(5)).await;
    assert!(!outcome.is_success(), "{outcome}");
    site.forwarder_up().await;
    site.healthy(true).await;
    site.locks[0].touch();
    let touched = |e: &PlatformEvent| matches!(e, PlatformEvent::Lock { lock, kind, .. } if *lock == id && *kind == "touch");
    site.event("the touch arrives", touched).await;
    assert_eq!(site.bolt(0), Bolt::Locked, "the unlock of before was not kept");
    assert!(!site.daemon.log().contains("panicked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn daemon_and_broker_go_and_come_back() {
    let mut site = Site::on_loopback(1).await;
    site.enroll(0).await;
    site.activated(0).await;
    site.daemon.kill();
    site.daemon.up();
    site.unlocks("SIGKILL of the daemon").await;
    site.broker.down();
    tokio::time::sleep(Duration::from_secs(1)).await;
    site.broker.up();
    site.unlocks("the broker came back").await;
    assert!(!site.daemon.log().contains("panicked"));
}

/// With a tenth of all transmissions lost and UDP datagrams late, doubled and overtaking each other, a lock joins
/// and is activated.
#[tokio::test(flavor = "multi_thread")]
async fn bad_weather() {
    let weather = Weather { loss: 0.1, delay: Duration::from_millis(30), duplicates: 0.1 };
    let mut site = Site::on_lorawan(&[LorawanClass::A], Region::Eu868, weather).await;
    site.enroll(0).await;
    site.activated(0).await;
    assert!(!site.daemon.log().contains("panicked"));
}

/// Run-time proof that the gateway is blind: what lock and platform said to each other, and the keys' owner code,
/// are nowhere in the daemon's memory, database, logs, or at the broker. The sealed bytes are, so the search works.
#[tokio::test(flavor = "multi_thread")]
async fn plaintext_is_nowhere_between_lock_and_platform() {
    let mut site = Site::on_loopback(1).await;
    site.enroll(0).await;
    site.activated(0).await;
    let outcome = site.unlock(0, Duration::from_secs(40)).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome}");
    let status = site.platform.status(site.locks[0].id(), Duration::from_secs(40)).await.unwrap();
    assert!(status.is_success());

    // Markers: the firmware number in CBOR, as it stands in the status and in boot events; and the owner code.
    let [a, b, c, d] = cardea_simulator::FIRMWARE.to_u32().to_be_bytes();
    let firmware = vec![0x1A, a, b, c, d];
    let code = site.locks[0].owner_code().to_bytes().to_vec();
    let marker: [(&str, &[u8]); 2] = [("firmware", &firmware), ("owner code", &code)];
    let lock = site.locks[0].id().0.to_vec();

    // The search works: the lock's id is in the daemon's memory, and the markers are in ours.
    let daemon = memory(site.daemon.process().id());
    assert!(contains(&daemon, &lock), "the lock id is in the daemon's memory");
    let ours = memory(std::process::id());
    for (name, bytes) in marker {
        assert!(contains(&ours, bytes), "{name} is in the platform's memory");
        assert!(!contains(&daemon, bytes), "{name} is in the daemon's memory");
    }
    for file in files(&site.daemon.data) {
        let content = fs::read(&file).unwrap();
        for (name, bytes) in marker {
            assert!(!contains(&content, bytes), "{name} is in {}", file.display());
        }
    }
    let log = site.daemon.log();
    let mut traffic = 0;
    for message in site.spy.all() {
        let mut texts = vec![message.payload.clone()];
        if let Ok(up) = Encoding::Json.decode::<Uplink>(&message.payload) {
            texts.push(up.data.0);
            traffic += 1;
        }
        if let Ok(down) = Encoding::Json.decode::<Downlink>(&message.payload) {
            texts.push(down.data.0);
            traffic += 1;
        }
        for (name, bytes) in marker {
            let hexed = hex::encode(bytes);
            assert!(!log.contains(&hexed), "{name} is in the log");
            for text in &texts {
                assert!(
                    !contains(text, bytes) && !contains(text, hexed.as_bytes()),
                    "{name} at the broker: {}",
                    message.topic
                );
            }
        }
    }
    assert!(traffic > 6, "{traffic} sealed frames were looked at");
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}

fn files(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let found: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file()).collect();
    assert!(!found.is_empty());
    found
}

/// All readable memory of a process (as root, or of our own children where ptrace is allowed).
fn memory(pid: u32) -> Vec<u8> {
    use std::io::{Read, Seek, SeekFrom};
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut mem = fs::File::open(format!("/proc/{pid}/mem"))
        .unwrap_or_else(|e| panic!("/proc/{pid}/mem: {e}; run as root, or with kernel.yama.ptrace_scope=0"));
    let mut all = Vec::new();
    for line in maps.lines().filter(|l| l.split_whitespace().nth(1).is_some_and(|p| p.starts_with("rw"))) {
        let (from, to) = line.split_whitespace().next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|n| u64::from_str_radix(n, 16).unwrap());
        if mem.seek(SeekFrom::Start(from)).is_ok() {
            let _ = (&mut mem).take(to - from).read_to_end(&mut all);
        }
    }
    assert!(!all.is_empty());
    all
}
