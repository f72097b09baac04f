//! The contract between the gateway's relay and every radio driver.
//!
//! A driver is one task. It takes [`Command`]s, gives [`Event`]s, carries *frames* (one radio payload of at
//! most [`Event::Link`]'s mtu, already cut by `cardea-framing`) and knows nothing of MQTT, SQLite or what is
//! sealed inside. Times are [`Millis`]: monotonic milliseconds of the daemon's own clock.
//!
//! Beside the contract: the [`label`] that an installer scans, a [`loopback`] driver without a radio, and a
//! [`MemoryStore`] for tests.

pub mod label;
pub mod loopback;
mod store;

pub use store::MemoryStore;

use std::sync::Arc;

use bytes::Bytes;
use cardea_framing::LockId;
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

/// Monotonic milliseconds since the daemon's start; never wall-clock time.
pub type Millis = u64;

/// What the gateway tells a driver.
#[derive(Debug)]
pub enum Command {
    /// Let this lock join, with the secret from its radio label. Idempotent. Answered by [`Event::Admitted`].
    Admit(Admission),
    /// Forget this lock and its radio keys.
    Remove(LockId),
    /// Put one frame on the air before `deadline`, or say why not. Answered by exactly one [`Event::Outcome`].
    Send(Send),
    /// Give up a frame that has not gone out yet; its outcome is `Failed(Cancelled)`.
    Cancel {
        /// The `handle` of the [`Send`].
        handle: u64,
    },
    /// Stop in good order: persist counters, release the device.
    Stop,
}

/// One frame for one lock.
#[derive(Debug, Clone)]
pub struct Send {
    /// Chosen by the caller, returned in the outcome.
    pub handle: u64,
    /// Receiver.
    pub lock: LockId,
    /// Header byte and what follows; never longer than the lock's current downlink mtu.
    pub frame: Bytes,
    /// A frame not on the air by then is `Expired`, never late.
    pub deadline: Millis,
}

/// What the radio label says: which lock, and the secret that lets it into the radio network.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Routing id of the lock.
    pub lock: LockId,
    /// Radio type and its admission secret.
    pub secret: AdmissionSecret,
}

/// The radio admission secret; it opens the radio network, never the door.
#[derive(Clone)]
pub enum AdmissionSecret {
    /// LoRaWAN 1.0.x over-the-air activation.
    Lorawan {
        /// DevEUI, most significant byte first (as printed).
        dev_eui: [u8; 8],
        /// JoinEUI (AppEUI), most significant byte first (as printed).
        join_eui: [u8; 8],
        /// AppKey.
        app_key: Zeroizing<[u8; 16]>,
        /// Device class.
        class: LorawanClass,
    },
    /// Zigbee 3.0 with an install code.
    Zigbee {
        /// EUI-64, most significant byte first (as printed).
        eui: [u8; 8],
        /// The install code and its CRC behind it: 8, 10, 14 or 18 bytes.
        install_code: Zeroizing<Vec<u8>>,
    },
    /// 433 MHz.
    Subghz {
        /// From which all keys of the link layer are made.
        secret: Zeroizing<[u8; 16]>,
    },
    /// The loopback driver needs no secret.
    Loopback,
}

impl std::fmt::Debug for AdmissionSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Lorawan { .. } => "Lorawan(..)",
            Self::Zigbee { .. } => "Zigbee(..)",
            Self::Subghz { .. } => "Subghz(..)",
            Self::Loopback => "Loopback",
        })
    }
}

/// When a LoRaWAN device listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LorawanClass {
    /// Two windows after each uplink.
    A,
    /// Always, on RX2.
    C,
}

/// What a driver tells the gateway.
#[derive(Debug)]
pub enum Event {
    /// Whom this driver lets into its radio network: the first event of every driver. The gateway has it [remove]
    /// those that are not admitted any more, which is how a removal that the driver missed is made up for.
    ///
    /// [remove]: Command::Remove
    Admits(Vec<LockId>),
    /// An admission is stored durably, or was refused.
    Admitted {
        /// The lock of the [`Admission`].
        lock: LockId,
        /// `Err` names the reason for the operator.
        result: Result<(), String>,
    },
    /// The lock is in the radio network (again).
    Joined(LockId),
    /// The lock left the network.
    Left(LockId),
    /// What the link to this lock can do now; sent after `Joined` and whenever it changes.
    Link {
        /// The lock.
        lock: LockId,
        /// Largest frame down, bytes.
        mtu_down: u16,
        /// True when frames only go out inside [`Event::Window`]s.
        sleepy: bool,
        /// How long to wait for a receipt before sending again.
        retry_ms: u32,
        /// The longest a frame for this lock may wait for air; the default life of a downlink.
        life_ms: u32,
    },
    /// A frame from a lock.
    Up(Up),
    /// A sleepy lock listens: a frame handed over before `closes` can still go out in this window.
    Window {
        /// The lock.
        lock: LockId,
        /// Last moment at which a `Send` still makes it.
        closes: Millis,
    },
    /// What became of a [`Send`].
    Outcome {
        /// The `handle` of the [`Send`].
        handle: u64,
        /// The end of it.
        outcome: Outcome,
    },
    /// The driver's own state, whenever it changes.
    Health(Health),
    /// Somebody should look; it goes upstream. A driver limits how often it says this, whatever others do on its radio.
    Alarm {
        /// A fixed word.
        cause: &'static str,
        /// One line for the operator.
        detail: String,
    },
}

/// One frame from one lock.
#[derive(Debug, Clone)]
pub struct Up {
    /// Sender, authenticated by the radio network only.
    pub lock: LockId,
    /// Header byte and what follows.
    pub frame: Bytes,
    /// How well it was heard.
    pub quality: Quality,
    /// When its last byte was received.
    pub at: Millis,
    /// For a sleepy lock: the last moment at which an answer still makes the window this frame opens.
    pub window: Option<Millis>,
}

/// Link quality of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Quality {
    /// dBm.
    pub rssi: Option<i16>,
    /// Tenths of a dB (LoRa).
    pub snr: Option<i16>,
    /// 0–255, higher is better (Zigbee, 433 MHz).
    pub lqi: Option<u8>,
}

/// The end of a [`Send`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// On the air (or accepted by the modem for a set time); says nothing of reception.
    Sent,
    /// The deadline passed first; it was not sent.
    Expired,
    /// The driver will not send this.
    Refused(Refusal),
    /// The driver tried and could not.
    Failed(Failure),
}

/// Why a driver will not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No such lock, or it has not joined.
    NotJoined,
    /// Longer than the mtu of the moment.
    TooBig,
    /// Duty cycle or dwell time would be exceeded before the deadline.
    Airtime,
    /// The driver's queue for this lock is taken.
    Busy,
}

/// Why a driver could not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No modem or packet forwarder is there.
    NoRadio,
    /// The modem refused it, or never said what became of it.
    Modem,
    /// [`Command::Cancel`].
    Cancelled,
    /// The network store could not be written, so no counter may be used.
    Store,
}

/// State of a driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// True while frames can be carried.
    pub up: bool,
    /// One line for the operator: what is wrong and what to do; empty when all is well.
    pub detail: String,
}

/// The two ends that a driver holds.
pub struct DriverEnd {
    /// What the gateway says.
    pub commands: mpsc::Receiver<Command>,
    /// What the driver says; full means the gateway is behind, and the driver waits or sheds as its radio allows.
    pub events: mpsc::Sender<Event>,
    /// The daemon's monotonic clock.
    pub clock: Clock,
    /// Where network keys and counters live.
    pub store: Arc<dyn NetworkStore>,
}

/// The two ends that the gateway holds.
pub struct GatewayEnd {
    /// To the driver.
    pub commands: mpsc::Sender<Command>,
    /// From the driver.
    pub events: mpsc::Receiver<Event>,
}

/// Makes both ends of one driver's channel.
pub fn channel(capacity: usize, clock: Clock, store: Arc<dyn NetworkStore>) -> (GatewayEnd, DriverEnd) {
    let (ctx, crx) = mpsc::channel(capacity);
    let (etx, erx) = mpsc::channel(capacity);
    (GatewayEnd { commands: ctx, events: erx }, DriverEnd { commands: crx, events: etx, clock, store })
}

/// The daemon's one monotonic clock; copies agree. Follows tokio's paused time in tests.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: tokio::time::Instant,
}

impl Clock {
    /// Zero is now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: tokio::time::Instant::now() }
    }

    /// Milliseconds since the start.
    #[must_use]
    pub fn now(&self) -> Millis {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The instant to sleep until.
    #[must_use]
    pub fn instant(&self, at: Millis) -> tokio::time::Instant {
        self.start + std::time::Duration::from_millis(at)
    }
}

/// Durable memory of one radio network: its keys and counters, as small named records.
///
/// One writer per network. The gateway's store encrypts it at rest and exports it whole.
pub trait NetworkStore: std::marker::Send + Sync + 'static {
    /// Everything that was ever committed, in key order. Called once, at start; may block.
    ///
    /// # Errors
    /// The store cannot be read: the driver must not run, least of all form a new network.
    fn load(&self) -> Result<Vec<Record>, NetworkStoreError>;

    /// Commits all changes in one transaction; the receiver resolves once they are durable.
    fn commit(&self, batch: Vec<Change>) -> oneshot::Receiver<Result<(), NetworkStoreError>>;
}

/// One record of a [`NetworkStore`]: its name and its content.
pub type Record = (Vec<u8>, Vec<u8>);

/// One change to a [`NetworkStore`]. Records hold keys: what is in them is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Change {
    /// Record name.
    pub key: Vec<u8>,
    /// New content; `None` erases.
    pub value: Option<Vec<u8>>,
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = self.key.escape_ascii();
        match &self.value {
            Some(value) => write!(f, "Change({key}: {} bytes)", value.len()),
            None => write!(f, "Change({key}: erased)"),
        }
    }
}

/// The network store failed; the text is for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("radio network store: {0}")]
pub struct NetworkStoreError(pub String);
