//! An ordinary lock, as many makers sell them: Basic, Power Configuration, Identify and Door Lock of the Zigbee Cluster
//! Library, and nothing sealed.

mod firmware;

use std::collections::BTreeMap;

use cardea_zigbee::descriptors::{Clusters, NodeDescriptor, SimpleDescriptor};
use cardea_zigbee::zcl::id;
use cardea_zigbee::{Eui64, InstallCode};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{DeviceConfig, Mailbox, Uplink};
use firmware::Firmware;

const ENDPOINT: u8 = 1;
const HOME_AUTOMATION: u16 = 0x0104;
const DEVICE_DOOR_LOCK: u16 = 0x000A;
/// What an ordinary lock is made with.
#[derive(Debug, Clone)]
pub struct DoorLockConfig {
    /// Who.
    pub eui: Eui64,
    /// What its label says; without one it joins with the key that everybody knows.
    pub code: Option<InstallCode>,
    /// Takes a link key of its own when it has joined; false for locks from before R21.
    pub unique_key: bool,
    /// Milliseconds between two polls; `None`: it listens always.
    pub poll: Option<u64>,
    /// Commands over the air need this PIN.
    pub pin: Option<String>,
}

impl DoorLockConfig {
    /// The lock as its coordinator meets it.
    #[must_use]
    pub fn device(&self) -> DeviceConfig {
        let clusters = Clusters {
            servers: vec![id::BASIC, id::POWER, id::IDENTIFY, id::DOOR_LOCK],
            clients: vec![id::TIME, id::OTA],
        };
        let endpoint = SimpleDescriptor {
            endpoint: ENDPOINT,
            profile: HOME_AUTOMATION,
            device: DEVICE_DOOR_LOCK,
            version: 1,
            clusters,
        };
        DeviceConfig {
            eui: self.eui,
            code: self.code.clone(),
            unique_key: self.unique_key,
            poll: self.poll,
            node: node(self.poll.is_none()),
            endpoints: vec![endpoint],
        }
    }
}

/// The node descriptor of an end device on batteries.
pub(super) fn node(listens: bool) -> NodeDescriptor {
    NodeDescriptor {
        // End device, 2.4 GHz.
        flags: 0x4002,
        mac_capability: if listens { 0x88 } else { 0x80 },
        // Set aside for tests.
        manufacturer: 0xFFF1,
        max_buffer: 82,
        max_incoming: 128,
        // Revision 22.
        server_mask: 0x2C00,
        max_outgoing: 128,
        descriptor_capability: 0,
    }
}

/// What its coordinator has answered to an [inquiry](DoorLock::inquire).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Served {
    /// Attributes of the Time cluster: numbers as they stand on the air, or the statuses that came instead.
    pub time: BTreeMap<u16, Result<u64, u8>>,
    /// Whether there is firmware: a status of the OTA cluster.
    pub firmware: Option<u8>,
}

/// What somebody at the door does.
enum Hand {
    Turn(bool),
    Jam,
    Keypad(String),
    Silence(bool),
    Inquire,
}

/// A running ordinary lock; it stops when dropped.
pub struct DoorLock {
    locked: watch::Receiver<bool>,
    obeyed: watch::Receiver<u32>,
    served: watch::Receiver<Served>,
    knob: tokio::sync::mpsc::UnboundedSender<Hand>,
    task: JoinHandle<()>,
}

impl DoorLock {
    /// Puts its battery in.
    #[must_use]
    pub fn start(config: DoorLockConfig, mut radio: Mailbox) -> Self {
        let (told, locked) = watch::channel(true);
        let (counted, obeyed) = watch::channel(0);
        let (answered, served) = watch::channel(Served::default());
        let (knob, mut turned) = tokio::sync::mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let mut lock = Firmware::new(config);
            radio.send(Uplink::Power(true));
            loop {
                tokio::select! {
                    downlink = radio.receive() => match downlink {
                        Some(downlink) => lock.handle(downlink),
                        None => return,
                    },
                    hand = turned.recv() => match hand {
                        Some(hand) => lock.hand(hand),
                        None => return,
                    },
                }
                told.send_replace(lock.locked);
                counted.send_replace(lock.obeyed);
                answered.send_if_modified(|before| {
                    let changed = *before != lock.served;
                    before.clone_from(&lock.served);
                    changed
                });
                for asdu in std::mem::take(&mut lock.out) {
                    radio.send(Uplink::Frame(asdu));
                }
            }
        });
        Self { locked, obeyed, served, knob, task }
    }

    /// Where its bolt really is; can be waited on.
    #[must_use]
    pub fn locked(&self) -> watch::Receiver<bool> {
        self.locked.clone()
    }

    /// How many commands over the air it has carried out; can be waited on.
    #[must_use]
    pub fn obeyed(&self) -> watch::Receiver<u32> {
        self.obeyed.clone()
    }

    /// What its coordinator has answered last; can be waited on.
    #[must_use]
    pub fn served(&self) -> watch::Receiver<Served> {
        self.served.clone()
    }

    /// It asks its coordinator what time it is, and whether there is firmware for it, as locks do now and then.
    pub fn inquire(&self) {
        self.by_hand(Hand::Inquire);
    }

    /// Somebody turns the knob.
    pub fn turn(&self, locked: bool) {
        self.by_hand(Hand::Turn(locked));
    }

    /// Somebody turns it half-way, and it stays there.
    pub fn jam(&self) {
        self.by_hand(Hand::Jam);
    }

    /// Somebody unlocks at the keypad, and the lock tells the whole air with which PIN.
    pub fn keypad(&self, pin: &str) {
        self.by_hand(Hand::Keypad(pin.to_owned()));
    }

    /// Its radio hears nothing more and says nothing, or does again.
    pub fn fall_silent(&self, silent: bool) {
        self.by_hand(Hand::Silence(silent));
    }

    fn by_hand(&self, hand: Hand) {
        // Fails only once the task has ended.
        let _ = self.knob.send(hand);
    }
}

impl Drop for DoorLock {
    fn drop(&mut self) {
        self.task.abort();
    }
}
