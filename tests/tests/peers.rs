//! Locks and phones prove themselves to each other with no third party online: the real daemon, a lock with the real
//! agent, a phone with the SDK's holder on the control socket, and a broker that is down.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use cardea_api::{ClientError, PeerClient, PeerEvent};
use cardea_credentials::{Agreement as _, Scope, SoftAgreement};
use cardea_resources::Bolt;
use cardea_sdk::{
    Ask, Broker as BrokerSettings, Bundle, OsRandom, Outcome, Platform, PlatformEvent,
    holder::{Holder, HolderEvent},
    session::NewGrant,
};
use cardea_simulator::VirtualLock;
use cardea_tests::{broker::Broker, daemon::Daemon, soon};
use tokio::sync::broadcast;

const LIMIT: Duration = Duration::from_secs(30);

/// A phone at the gateway.
struct Phone {
    holder: Holder<SoftAgreement>,
    gateway: PeerClient,
    start: Instant,
}

impl Phone {
    fn new(socket: &Path, bundle: &Bundle, key: SoftAgreement) -> Self {
        let gateway = PeerClient::attach(socket, bundle.lock_id()).unwrap();
        let holder = Holder::new(bundle.clone(), key, Box::new(OsRandom), gateway.lock);
        Self { holder, gateway, start: Instant::now() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap()
    }

    /// Carries datagrams both ways until something happens, or nothing for this long.
    fn wait(&mut self, limit: Duration) -> Option<HolderEvent> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            while let Some(datagram) = self.holder.poll_transmit() {
                self.gateway.send(&datagram).unwrap();
            }
            if let Some(event) = self.holder.poll_event() {
                return Some(event);
            }
            match self.gateway.next(Duration::from_millis(50)).unwrap() {
                Some(PeerEvent::Datagram { data }) => {
                    let now = self.now();
                    self.holder.handle_datagram(now, &data);
                }
                Some(PeerEvent::Refused { error }) => panic!("the gateway refuses: {error}"),
                None => {
                    let now = self.now();
                    self.holder.handle_timeout(now);
                }
            }
        }
        None
    }

    fn connect(&mut self, limit: Duration) -> bool {
        let now = self.now();
        self.holder.connect(now).unwrap();
        self.wait(limit) == Some(HolderEvent::Connected)
    }

    fn ask(&mut self, ask: Ask) -> Outcome {
        let now = self.now();
        self.holder.ask(now, ask, 20_000).unwrap();
        match self.wait(LIMIT) {
            Some(HolderEvent::Ended { outcome, .. }) => outcome,
            other => panic!("{ask}: {other:?}"),
        }
    }
}

async fn wait_for(
    events: &mut broadcast::Receiver<PlatformEvent>,
    what: &str,
    fits: impl Fn(&PlatformEvent) -> bool,
) {
    soon(what, async {
        loop {
            if events.recv().await.is_ok_and(|event| fits(&event)) {
                return;
            }
        }
    })
    .await;
}

struct Site {
    broker: Broker,
    daemon: Daemon,
    lock: VirtualLock,
    platform: Platform,
    events: broadcast::Receiver<PlatformEvent>,
    socket: PathBuf,
    _dir: tempfile::TempDir,
}

impl Site {
    /// A lock that is activated and has heard the time.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "");
        // A broker that is killed forgets what it took, and may be back before the platform is: the gateway keeps it.
        let daemon = Daemon::start(dir.path(), broker.port, "custody = \"platform\"\n#mqtt\n");
        let state = dir.path().join("platform");
        Platform::init(&state).unwrap();
        let platform = Platform::open(&state).unwrap();
        let mut events = platform.subscribe();
        let url = format!("mqtt://127.0.0.1:{}", broker.port);
        tokio::spawn(platform.clone().run(BrokerSettings::at(&url)));
        wait_for(&mut events, "the broker link", |e| *e == PlatformEvent::BrokerUp).await;
        let there = SocketAddr::from((Ipv4Addr::LOCALHOST, daemon.loopback));
        let lock = VirtualLock::on_loopback(7, 1, there).unwrap();
        platform.enroll(lock.id(), lock.owner_code()).await.unwrap();
        daemon.admit(&[cardea_radio::label::reveal(lock.admission()).to_string()]);
        wait_for(&mut events, "activation", |e| matches!(e, PlatformEvent::Activated { .. })).await;
        wait_for(
            &mut events,
            "the first event",
            |e| matches!(e, PlatformEvent::Lock { kind, .. } if kind == "boot"),
        )
        .await;
        // A lock that does not know the time believes no grant.
        soon("the time", async {
            let knows = |o: &Outcome| matches!(o, Outcome::Status { clock_trusted: true, .. });
            while !platform.status(lock.id(), LIMIT).await.is_ok_and(|outcome| knows(&outcome)) {}
        })
        .await;
        let socket = dir.path().join("api.sock");
        Self { broker, daemon, lock, platform, events, socket, _dir: dir }
    }

    async fn grant(&self, holder: &SoftAgreement, name: &str) -> Bundle {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as u32;
        let new = NewGrant {
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
        // As the phone gets it.
        Bundle::decode(&self.platform.grant(new).await.unwrap().bundle.encode()).unwrap()
    }
}

fn key() -> SoftAgreement {
    SoftAgreement::generate(&mut OsRandom).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_with_a_grant_opens_the_door_while_the_broker_is_down_and_the_owner_hears_of_it_later() {
    let mut site = Site::new().await;
    let key = key();
    let bundle = site.grant(&key, "Ada").await;
    site.broker.down();
    wait_for(&mut site.events, "the outage", |e| matches!(e, PlatformEvent::BrokerDown { .. })).await;
    assert_eq!(*site.lock.bolt().borrow(), Bolt::Locked);
    let socket = site.socket.clone();
    let work = tokio::task::spawn_blocking(move || {
        let mut phone = Phone::new(&socket, &bundle, key);
        assert!(phone.connect(LIMIT), "no session");
        let unlocked = phone.ask(Ask::Unlock);
        assert!(matches!(unlocked, Outcome::Done { bolt: Bolt::Unlocked, .. }), "{unlocked:?}");
        // What the grant does not name stays forbidden.
        assert_eq!(phone.ask(Ask::Lock), Outcome::Rejected { code: "4.03".into() });
        assert!(matches!(phone.ask(Ask::Status), Outcome::Status { bolt: Bolt::Unlocked, .. }));
    });
    work.await.unwrap();
    assert_eq!(*site.lock.bolt().borrow(), Bolt::Unlocked);
    let metrics = site.daemon.metrics();
    assert!(!metrics.contains("cardea_peer_datagrams_total 0"), "{metrics}");
    site.broker.up();
    wait_for(&mut site.events, "the lock's own word", |e| {
        matches!(e, PlatformEvent::Lock { kind, value: Some(value), .. }
                 if kind == "unlocked by grant" && value.ends_with("(Ada)"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_grant_or_not_its_key_opens_nothing_through_the_gateway() {
    let site = Site::new().await;
    let bundle = site.grant(&key(), "Ada").await;
    let (socket, stranger) = (site.socket.clone(), cardea_framing::LockId([9; 8]));
    let work = tokio::task::spawn_blocking(move || {
        match PeerClient::attach(&socket, stranger) {
            Err(ClientError::Refused(why)) => assert!(why.contains("no such lock"), "{why}"),
            other => panic!("{:?}", other.map(|peer| peer.address)),
        }
        let mut thief = Phone::new(&socket, &bundle, key());
        assert!(!thief.connect(Duration::from_secs(3)), "the bundle, and another key");
        // The gateway lets an address go with its connection, and gives the next phone another.
        let first = thief.gateway.address;
        drop(thief);
        let next = Phone::new(&socket, &bundle, key());
        assert_ne!(next.gateway.address, first);
    });
    work.await.unwrap();
    assert_eq!(*site.lock.bolt().borrow(), Bolt::Locked);
    let log = site.daemon.log();
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_phones_are_refused_and_shown_out() {
    use std::io::{BufRead, BufReader, Write};
    let site = Site::new().await;
    let (socket, lock) = (site.socket.clone(), site.lock.id());
    let work = tokio::task::spawn_blocking(move || {
        let mut all: Vec<PeerClient> = Vec::new();
        while let Ok(peer) = PeerClient::attach(&socket, lock) {
            all.push(peer);
            assert!(all.len() <= 8, "more phones than there is room for");
        }
        assert_eq!(all.len(), 8);
        let mut peer = all.pop().unwrap();
        for wrong in [&[][..], &[0x08, 1, 2], &[0x10, 0, 0], &[0x10, 0xff, 0xff, 1], &[0xff; 900]] {
            peer.send(wrong).unwrap();
            let event = peer.next(LIMIT).unwrap();
            assert!(matches!(event, Some(PeerEvent::Refused { .. })), "{wrong:?}: {event:?}");
        }
        drop(all);
        drop(peer);
        // Lines that are none, and one that does not end.
        let stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut stream = BufReader::new(stream);
        let mut answer = String::new();
        while !answer.contains("attached") {
            // Those before are on their way out.
            assert!(!answer.contains("error") || answer.contains("too many phones"), "{answer}");
            answer.clear();
            writeln!(stream.get_mut(), r#"{{"verb":"attach","lock":"{lock}"}}"#).unwrap();
            stream.read_line(&mut answer).unwrap();
        }
        answer.clear();
        stream.get_mut().write_all(b"{\"verb\":\"status\"}\n").unwrap();
        stream.read_line(&mut answer).unwrap();
        assert!(answer.contains("refused"), "{answer}");
        answer.clear();
        stream.get_mut().write_all(&[b'x'; 5_000]).unwrap();
        assert_eq!(stream.read_line(&mut answer).unwrap_or(0), 0, "{answer}");
    });
    work.await.unwrap();
    let log = site.daemon.log();
    assert!(!log.contains("panicked"), "{log}");
}
