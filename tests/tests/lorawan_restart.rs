//! SIGKILL of the daemon under LoRaWAN locks: they need not join again, no downlink counter is used twice, and a
//! command works afterwards. Watched on the air itself, between the packet forwarder and the locks.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use cardea_radio::LorawanClass;
use cardea_sdk::{Bolt, LockName};
use cardea_simulator::{Air, Forwarder, ForwarderConfig, LockConfig, Region, VirtualLock, Weather};
use cardea_tests::{
    broker::Broker,
    daemon::Daemon,
    free_udp_port,
    site::{Door, Site},
};
use tokio::{
    sync::broadcast::error::RecvError,
    time::{sleep, timeout},
};

const PATIENCE: Duration = Duration::from_secs(240);
const FORWARDER: [u8; 8] = [0xAA, 0x55, 0x5A, 0, 0, 0, 0, 1];

/// What was on the air.
#[derive(Default)]
struct Seen {
    join_requests: usize,
    /// Downlinks with data, by device address: counters and frames in the order of their transmission.
    downlinks: BTreeMap<[u8; 4], Vec<(u16, Vec<u8>)>>,
}

/// Listens to everything that is transmitted, by anyone.
fn overhear(air: &Arc<Air>) -> Arc<Mutex<Seen>> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (mut heard, into) = (air.listen(), seen.clone());
    tokio::spawn(async move {
        loop {
            let transmission = match heard.recv().await {
                Ok(transmission) => transmission,
                Err(RecvError::Lagged(missed)) => panic!("{missed} transmissions were not seen"),
                Err(RecvError::Closed) => return,
            };
            let mut seen = into.lock().unwrap();
            // LoRaWAN 1.0.4, 4.2: MHDR with the message type in the upper three bits; 4.3.1: DevAddr, FCtrl, FCnt.
            match transmission.payload[..] {
                [mhdr, ..] if mhdr >> 5 == 0 => seen.join_requests += 1,
                [mhdr, a, b, c, d, _, low, high, ..] if matches!(mhdr >> 5, 3 | 5) => {
                    let counter = u16::from_le_bytes([low, high]);
                    let of_device = seen.downlinks.entry([a, b, c, d]).or_default();
                    of_device.push((counter, transmission.payload.clone()));
                }
                _ => {}
            }
        }
    });
    seen
}

struct Field {
    site: Site,
    daemon: Daemon,
    seen: Arc<Mutex<Seen>>,
    locks: Vec<VirtualLock>,
    /// Which of them only hear after they have spoken.
    sleeps: Vec<bool>,
    _forwarder: Forwarder,
    _broker: Broker,
    // Last, so that the logs outlive the processes that a failing test prints.
    _dir: tempfile::TempDir,
}

impl Field {
    async fn new(classes: &[LorawanClass]) -> Self {
        let seed = 11;
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "");
        let port = free_udp_port();
        let more = format!(
            "[lora]\nenabled = true\nbind = \"127.0.0.1:{port}\"\nregion = \"US915\"\nforwarders = [\"{}\"]\n",
            hex::encode(FORWARDER)
        );
        let daemon = Daemon::start(dir.path(), broker.port, &more);
        let air = Air::new(seed, Weather::default());
        let seen = overhear(&air);
        let config = ForwarderConfig::us915(SocketAddr::from(([127, 0, 0, 1], port)), FORWARDER);
        let forwarder = Forwarder::start(config, air.clone()).await.unwrap();
        let site = Site::new(dir.path(), broker.port, PATIENCE);
        let mut field = Self {
            site,
            daemon,
            seen,
            locks: Vec::new(),
            sleeps: classes.iter().map(|class| *class == LorawanClass::A).collect(),
            _forwarder: forwarder,
            _broker: broker,
            _dir: dir,
        };
        for (number, &class) in (1..).zip(classes) {
            let config = LockConfig { number, class, region: Region::Us915 };
            let lock = VirtualLock::new(seed, config, &air).unwrap();
            let id = lock.id();
            field.daemon.admit(&[cardea_radio::label::reveal(lock.admission()).to_string()]);
            let name = LockName::Thumbprint(*lock.thumbprint());
            field.site.platform.enroll(name, lock.owner_code()).await.unwrap();
            lock.switch_on();
            field.locks.push(lock);
            field.site.activated(id).await;
        }
        field
    }

    /// Throws or withdraws the bolt; a class A lock is touched for it.
    async fn moves(&self, number: usize, bolt: Bolt, after: &str) {
        let lock = &self.locks[number];
        let touch = || lock.touch();
        let touch: Option<&(dyn Fn() + Sync)> = if self.sleeps[number] { Some(&touch) } else { None };
        let door = Door { id: lock.id(), bolt: lock.bolt(), touch };
        self.site.moves(&door, bolt, Duration::from_secs(60), after).await;
    }

    fn downlinks(&self) -> usize {
        self.seen.lock().unwrap().downlinks.values().map(Vec::len).sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_no_lock_joins_again_no_counter_comes_twice_and_commands_work() {
    let mut field = Field::new(&[LorawanClass::C, LorawanClass::A]).await;
    let joins = field.seen.lock().unwrap().join_requests;
    assert!(joins >= 2, "the air is being listened to");

    let mut bolt = Bolt::Unlocked;
    for kill in 1..=2 {
        // In the middle of a command: its first frame is on the air, its counter was used a moment ago.
        let (platform, id) = (field.site.platform.clone(), field.locks[0].id());
        let before = field.downlinks();
        let asked = tokio::spawn(async move { platform.status(id, Duration::from_secs(5)).await });
        let sent = async {
            while field.downlinks() == before {
                sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(timeout(PATIENCE, sent).await.is_ok(), "no downlink was sent before kill {kill}");
        field.daemon.kill();
        field.daemon.up();
        // How that command ends is not the matter; its answer may have met a daemon that was not there.
        let _ = timeout(PATIENCE, asked).await.unwrap();
        for number in 0..2 {
            field.moves(number, bolt, &format!("kill {kill}")).await;
        }
        bolt = if bolt == Bolt::Locked { Bolt::Unlocked } else { Bolt::Locked };
    }

    let seen = field.seen.lock().unwrap();
    assert_eq!(seen.join_requests, joins, "a lock had to join again");
    assert_eq!(seen.downlinks.len(), 2, "one address for each lock");
    for (address, downlinks) in &seen.downlinks {
        let counters: Vec<_> = downlinks.iter().map(|(counter, _)| *counter).collect();
        println!("{}: FCntDown {counters:?}", hex::encode(address));
        assert!(counters.windows(2).all(|w| w[0] < w[1]), "{counters:?}");
        // Each start jumps to the end of what the one before had reserved.
        assert!(*counters.last().unwrap() >= 2 * 32, "{counters:?}");
    }
}
