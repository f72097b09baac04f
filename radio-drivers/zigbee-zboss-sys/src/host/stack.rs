//! What the coordinator wants of the library, and what the library tells it.

use bytes::Bytes;
use cardea_zigbee::coordinator::{Answer, Failure, Frame, Network, Plan, Question};
use cardea_zigbee::descriptors::SimpleDescriptor;
use cardea_zigbee::{Eui64, InstallCode, NwkAddr};

/// Longest payload that the library's call for APS data takes, bytes.
pub const MAX_PAYLOAD: usize = 82;
/// Bits 11–26: where a remembered network may be.
pub const ALL_CHANNELS: u32 = 0x07FF_F800;

/// How the library is started.
#[derive(Debug)]
pub struct Begin<'a> {
    /// The dongle's port, a path.
    pub device: &'a [u8],
    /// What devices find when they look for us.
    pub endpoint: &'a SimpleDescriptor,
    /// Our manufacturer code.
    pub manufacturer: u16,
    /// End devices that may be children of the dongle itself.
    pub max_children: u8,
    /// A network to be formed, and whether what is remembered is erased first.
    pub form: Option<(&'a Plan, bool)>,
}

/// The library. Nothing here waits; what comes of it is a [`Signal`].
pub trait Stack {
    /// Starts it without a network layer. Then comes [`Signal::SkipStartup`].
    ///
    /// # Errors
    /// Words for the operator.
    fn begin(&mut self, begin: &Begin<'_>) -> Result<(), String>;
    /// Starts the network layer with what is remembered, or forms a network. Then comes [`Signal::Started`] or
    /// [`Signal::Formation`]. False: it does not.
    fn commission(&mut self, form: bool) -> bool;
    /// The network that runs.
    fn network(&self) -> Option<Network>;
    /// Nobody joins without an install code, and nobody stays without a link key of its own.
    fn set_policies(&mut self);
    /// Opens or closes the coordinator (0x0000) or the routers (0xFFFC) for joining. False: try again.
    fn permit(&mut self, dst: NwkAddr, seconds: u8) -> bool;
    /// Then comes [`Signal::CodeAdded`].
    fn add_code(&mut self, eui: Eui64, code: &InstallCode);
    /// Forgets it.
    fn remove_code(&mut self, eui: Eui64);
    /// Sends a frame. Then comes [`Signal::Sent`] with the number that is returned.
    ///
    /// # Errors
    /// Why it is not sent.
    fn send(&mut self, frame: &Frame) -> Result<u8, Failure>;
    /// Asks the device at an address. Then comes [`Signal::Answer`] with the number that is returned. `None`: try again.
    fn ask(&mut self, nwk: NwkAddr, eui: Eui64, question: &Question) -> Option<u8>;
    /// Where a device is.
    fn nwk(&self, eui: Eui64) -> Option<NwkAddr>;
    /// Who is there.
    fn eui(&self, nwk: NwkAddr) -> Option<Eui64>;
}

/// What the library says.
#[derive(Debug, Clone, PartialEq)]
pub enum Signal {
    /// ZB_ZDO_SIGNAL_SKIP_STARTUP: it turns.
    SkipStartup,
    /// ZB_BDB_SIGNAL_DEVICE_FIRST_START or _REBOOT: the network layer has what is remembered.
    Started {
        /// RET_OK.
        well: bool,
    },
    /// ZB_BDB_SIGNAL_FORMATION.
    Formation {
        /// RET_OK.
        well: bool,
    },
    /// ZB_ZDO_SIGNAL_LEAVE: the coordinator itself is in no network any more.
    SelfLeft,
    /// ZB_ZDO_SIGNAL_DEVICE_UPDATE.
    Update {
        /// Who.
        eui: Eui64,
        /// Where.
        nwk: NwkAddr,
        /// 0 secured rejoin, 1 join, 2 left, 3 trust centre rejoin.
        status: u8,
    },
    /// ZB_ZDO_SIGNAL_DEVICE_AUTHORIZED.
    Authorised {
        /// Who.
        eui: Eui64,
        /// Where.
        nwk: NwkAddr,
        /// 0: without a key exchange.
        kind: u8,
        /// 0: well.
        status: u8,
    },
    /// ZB_ZDO_SIGNAL_LEAVE_INDICATION.
    Left {
        /// Who.
        eui: Eui64,
        /// It comes back at once.
        rejoin: bool,
    },
    /// To [`Stack::add_code`].
    CodeAdded {
        /// RET_OK.
        well: bool,
    },
    /// To [`Stack::send`].
    Sent {
        /// Its number.
        buffer: u8,
        /// 0: well; 0xBE: no APS acknowledgement.
        status: i32,
    },
    /// APSDE-DATA.indication.
    Received(Indication),
    /// To [`Stack::ask`].
    Answer {
        /// Its number.
        tsn: u8,
        /// Or the ZDP status.
        answer: Result<Answer, u8>,
    },
}

/// A frame from a device.
#[derive(Clone, PartialEq, Eq)]
pub struct Indication {
    /// Where it came from.
    pub src: NwkAddr,
    /// Which profile.
    pub profile: u16,
    /// Which cluster.
    pub cluster: u16,
    /// Theirs.
    pub src_endpoint: u8,
    /// Ours.
    pub dst_endpoint: u8,
    /// 0–255.
    pub lqi: u8,
    /// dBm.
    pub rssi: i8,
    /// The ASDU. It may hold an ordinary lock's PIN.
    pub payload: Bytes,
}

impl std::fmt::Debug for Indication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Indication({:?}, cluster {:#06x}, {} bytes)", self.src, self.cluster, self.payload.len())
    }
}
