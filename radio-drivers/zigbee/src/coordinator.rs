//! What the gateway wants of a coordinator, whatever vendor's: the orders it takes, the events it gives.
//!
//! Who implements [`Coordinator`] owns the port and its protocol. What differs between families stays inside: on ZBOSS the
//! NCP fragments APS frames, speaks ZDO and turns install codes into keys; on EZSP the host does. So frames are given
//! whole, questions to devices are [`Question`]s and not ZDO frames, an admission carries the code itself, and the end of a
//! transmission is one [`Event::Outcome`], be it the response to a request (ZBOSS) or a callback (EZSP).

use std::future::Future;

use bytes::Bytes;
use cardea_radio::{Clock, Millis};
use tokio::sync::mpsc;

use crate::backup::Backup;
use crate::descriptors::{Neighbour, NodeDescriptor, SimpleDescriptor};
use crate::types::{Eui64, InstallCode, Key, NwkAddr};

/// The longest that a network may be open for joining, seconds: 255 would be for ever.
pub const MAX_PERMIT_SECONDS: u8 = 254;

/// A coordinator of one vendor's family. It resumes by itself what its dongle remembers; it forms, replaces or adopts a
/// network only when an [`Order`] says so.
pub trait Coordinator: Send + 'static {
    /// Runs until the orders end or [`Order::Stop`]; a port that is gone is opened again.
    fn run(self, end: CoordinatorEnd) -> impl Future<Output = ()> + Send;
}

/// The two ends that a coordinator holds, its clock, and what it has to find.
pub struct CoordinatorEnd {
    /// What the driver wants.
    pub orders: mpsc::Receiver<Order>,
    /// What happens.
    pub events: mpsc::Sender<Event>,
    /// The daemon's clock.
    pub clock: Clock,
    /// The network that this gateway formed or adopted before. Any other, and any when there is none, is foreign.
    pub expected: Option<Network>,
}

/// What is the same for a host's whole life, whatever family its dongle is of.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// Our endpoint: what devices find when they look.
    pub endpoint: SimpleDescriptor,
    /// Our manufacturer code, assigned by the CSA.
    pub manufacturer: u16,
    /// End devices that may be children of the dongle itself.
    pub max_children: u8,
}

/// What a network is called. It is the same one as long as [`is`](Self::is) says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The coordinator, which is the trust centre.
    pub coordinator: Eui64,
    /// The 64-bit PAN id.
    pub extended_pan: Eui64,
    /// The 16-bit PAN id; changes after a conflict.
    pub pan: u16,
    /// Channel at 2.4 GHz, 11–26; changes when the network moves.
    pub channel: u8,
}

impl Network {
    /// True for the same network, wherever it moved.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        (self.coordinator, self.extended_pan) == (other.coordinator, other.extended_pan)
    }
}

/// A network to be formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Bit n: channel n, 11–26.
    pub channels: u32,
    /// The 64-bit PAN id.
    pub extended_pan: Eui64,
    /// The 16-bit PAN id; `None`: the dongle chooses one that nobody uses.
    pub pan: Option<u16>,
    /// The network key.
    pub key: Key,
}

/// What the gateway tells a coordinator.
#[derive(Debug)]
pub enum Order {
    /// Erase what the dongle remembers and form this network. Answered by [`Event::Formed`].
    Form {
        /// The network.
        plan: Plan,
        /// Also where there is a network already: the one that runs, or a foreign one. Its devices must join anew.
        replace: bool,
    },
    /// Take the foreign network that was found as ours.
    Adopt,
    /// Take a backup of the network that runs. It goes on meanwhile. Answered by [`Event::BackedUp`].
    Backup,
    /// Erase what the dongle remembers and make it the coordinator of this backup, whatever family it was taken from: its
    /// addresses, its keys, and its counters [far ahead](Backup::jump). Answered by [`Event::Formed`]. The dongle that
    /// was the coordinator must never be plugged in again with what it remembers: two would speak with one address.
    Restore {
        /// The network.
        backup: Box<Backup>,
        /// Also where there is a network already: the one that runs, or a foreign one.
        replace: bool,
    },
    /// Give the network that runs another key. Devices that sleep fetch it when they wake, those that are away too long
    /// ask for it with their link key. Answered by [`Event::KeyRotated`].
    RotateKey(Key),
    /// Let this device join. Up to 64 may be given at once; devices join one after the other. Each ends in [`Event::Joined`] or
    /// [`Event::JoinFailed`], but for one that another for the same device replaces.
    Admit {
        /// Who.
        eui: Eui64,
        /// From its label.
        code: InstallCode,
        /// How long the network is open for it, 1–[`MAX_PERMIT_SECONDS`].
        seconds: u8,
    },
    /// Forget an admission, its install code too. A device that has joined stays; [`Question::Leave`] sends it away.
    Dismiss(Eui64),
    /// One frame for one device. Answered by exactly one [`Event::Outcome`].
    Send(Frame),
    /// Give up a frame that the dongle does not have yet.
    Cancel {
        /// Of the [`Frame`].
        handle: u64,
    },
    /// Ask a device something. Answered by exactly one [`Event::Answer`].
    Ask {
        /// Chosen by the caller.
        handle: u64,
        /// Whom.
        eui: Eui64,
        /// What.
        question: Question,
    },
    /// Release the port.
    Stop,
}

/// One APS frame for one device.
#[derive(Clone)]
pub struct Frame {
    /// Chosen by the caller, returned in the outcome.
    pub handle: u64,
    /// Receiver.
    pub eui: Eui64,
    /// 0x0104 for home automation.
    pub profile: u16,
    /// Which cluster.
    pub cluster: u16,
    /// Theirs.
    pub dst_endpoint: u8,
    /// Ours.
    pub src_endpoint: u8,
    /// The ASDU, at most [`MAX_ASDU`] bytes.
    pub payload: Bytes,
    /// A frame that the coordinator has not begun to give to its dongle by then never is. It may be on air later than that:
    /// by [`HAND_OVER_MS`], and by [`PARENT_HOLD_MS`] more for a device that sleeps, [`REPEATS_MS`] for another that is to
    /// acknowledge it. Who gives the frame reckons with that. Where the coordinator itself cuts a frame into blocks, all of this is
    /// true of the last block, before which the frame is nothing to its receiver.
    pub deadline: Millis,
    /// Ask the device's APS layer to acknowledge: without an answer the dongle repeats the frame three times. `false`: it goes
    /// out once, and is [`Outcome::Acknowledged`] when the next hop has it. Frames beyond [`UNFRAGMENTED_ASDU`] are
    /// always acknowledged.
    pub acknowledge: bool,
    /// Somebody waits for it at a door: it goes before what nobody waits for.
    pub urgent: bool,
}

/// The longest from giving a frame to a dongle to its first copy on air, milliseconds: two repetitions on the serial line a
/// second each, and a busy channel. A coordinator whose line repeats for longer takes the difference off the deadline.
pub const HAND_OVER_MS: Millis = 2_500;
/// How long a parent keeps a frame for a child that sleeps, milliseconds: macTransactionPersistenceTime, 500 × 15.36 ms.
pub const PARENT_HOLD_MS: Millis = 7_680;
/// From the first copy of an acknowledged frame to the end of the last one, for a device that listens, milliseconds: four
/// tries of 1.6 s. One that sleeps is waited for 10 s each time, on ZBOSS.
pub const REPEATS_MS: Millis = 6_400;

/// Longest ASDU with APS fragmentation, bytes: the buffer of the dongles and devices that there are.
pub const MAX_ASDU: usize = 1_500;
/// Longest ASDU that surely fits one frame, bytes: the 82 of an unrouted one, less a few relays of a source route.
pub const UNFRAGMENTED_ASDU: usize = 74;

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { handle, eui, cluster, payload, .. } = self;
        write!(f, "Frame({handle}, {eui}, cluster {cluster:#06x}, {} bytes)", payload.len())
    }
}

/// What a device can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// What it is.
    Node,
    /// Which endpoints it has.
    Endpoints,
    /// What an endpoint speaks.
    Endpoint(u8),
    /// To send reports of a cluster to us.
    Bind {
        /// Theirs.
        endpoint: u8,
        /// Which.
        cluster: u16,
        /// Ours.
        to_endpoint: u8,
    },
    /// To leave, and not come back.
    Leave,
    /// A few of its neighbours, from this entry on. Asked rarely: each answer is air time.
    Neighbours {
        /// First entry.
        start: u8,
    },
}

/// What a device answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Question::Node`].
    Node(NodeDescriptor),
    /// To [`Question::Endpoints`].
    Endpoints(Vec<u8>),
    /// To [`Question::Endpoint`].
    Endpoint(SimpleDescriptor),
    /// To [`Question::Bind`] and [`Question::Leave`].
    Done,
    /// To [`Question::Neighbours`].
    Neighbours {
        /// In its whole table.
        total: u8,
        /// Those from the entry that was asked for.
        list: Vec<Neighbour>,
    },
}

/// What a coordinator tells the gateway.
#[derive(Debug, PartialEq)]
pub enum Event {
    /// Where the coordinator stands, whenever it changes.
    State(State),
    /// What became of [`Order::Form`], [`Order::Adopt`] or [`Order::Restore`]: the network is to be stored before anything else, because after
    /// the next start any other one is foreign.
    Formed(Result<Network, String>),
    /// What became of [`Order::Backup`].
    BackedUp(Result<Box<Backup>, String>),
    /// What became of [`Order::RotateKey`]: the new key's number.
    KeyRotated(Result<u8, String>),
    /// Whether the network is open, for those who are admitted and have not joined.
    Open(bool),
    /// A device was let in, with a link key of its own; also one that comes back and proves who it is.
    Joined {
        /// Who. Not proven to be admitted by this gateway: the driver looks.
        eui: Eui64,
        /// Its address now.
        nwk: NwkAddr,
    },
    /// A device that joined earlier is there again, maybe under another address.
    Rejoined {
        /// Who.
        eui: Eui64,
        /// Its address now.
        nwk: NwkAddr,
    },
    /// A device did not join.
    JoinFailed {
        /// Who.
        eui: Eui64,
        /// Why, for the installer.
        reason: JoinFailure,
    },
    /// A device left.
    Left {
        /// Who.
        eui: Eui64,
    },
    /// A frame from a device.
    Received(Received),
    /// What became of a [`Frame`].
    Outcome {
        /// Of the frame.
        handle: u64,
        /// The end of it.
        outcome: Outcome,
    },
    /// What a device answered.
    Answer {
        /// Of the question.
        handle: u64,
        /// Or why not.
        answer: Result<Answer, Failure>,
    },
}

/// Where a coordinator stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// No port, or a dongle that does not answer; the text is for the operator.
    Down(String),
    /// The dongle is asked what it is and remembers.
    Starting,
    /// It remembers no network: waits for [`Order::Form`].
    Unformed,
    /// It remembers another network than ours: waits for [`Order::Adopt`] or [`Order::Form`].
    Foreign(Network),
    /// Our network runs.
    Up(Network),
}

/// Why a device did not join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinFailure {
    /// Nothing of it was heard while the network was open.
    Silent,
    /// It was heard, and its keys did not fit: most often another device's install code.
    Keys,
    /// It took no link key of its own; it is sent away.
    NoUniqueKey,
    /// The dongle does not take the install code.
    Code(String),
    /// The dongle restarted meanwhile, or its network does not run: to be tried again.
    Interrupted,
    /// Too many admissions wait.
    Busy,
    /// [`Order::Dismiss`].
    Dismissed,
}

/// A frame from a device.
#[derive(Clone, PartialEq, Eq)]
pub struct Received {
    /// Sender, as far as the network knows.
    pub eui: Eui64,
    /// Which profile.
    pub profile: u16,
    /// Which cluster.
    pub cluster: u16,
    /// Theirs.
    pub src_endpoint: u8,
    /// Ours.
    pub dst_endpoint: u8,
    /// 0–255, of the last hop.
    pub lqi: u8,
    /// dBm, of the last hop.
    pub rssi: i8,
    /// The ASDU. An ordinary lock's may hold a PIN: it is decoded, never logged.
    pub payload: Bytes,
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Received({}, cluster {:#06x}, {} bytes)", self.eui, self.cluster, self.payload.len())
    }
}

/// The end of a [`Frame`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The device acknowledged it, or the next hop where [`Frame::acknowledge`] was not set. It promises nothing about
    /// what is done with it.
    Acknowledged,
    /// The deadline passed first; the dongle never had it, or not all of it.
    Expired,
    /// It did not get there, or nobody knows.
    Failed(Failure),
}

/// Why something did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The network does not run.
    Down,
    /// No such device, or nobody knows its address.
    NoAddress,
    /// The device did not answer.
    NoAnswer,
    /// Too much waits already.
    Busy,
    /// Longer than [`MAX_ASDU`].
    TooBig,
    /// [`Order::Cancel`].
    Cancelled,
    /// The dongle never said what became of it; it may have arrived.
    Unknown,
    /// The dongle refused; its words.
    Refused(String),
}
