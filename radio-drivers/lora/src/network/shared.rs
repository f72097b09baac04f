//! What all devices of the network share: the region, the transmitter's airtime, and the queues to the outside.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use cardea_framing::LockId;
use cardea_radio::{Change, Event, Millis, Outcome};

use super::device::Device;
use super::downlink::Flight;
use super::join::Joining;
use crate::airtime::{BandUse, DutyCycle};
use crate::config::{ConfigError, LoraConfig};
use crate::plan::Plan;

/// Received and not used, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Datagrams that are not of the packet-forwarder protocol.
    pub malformed: u64,
    /// Datagrams of a packet forwarder that is not ours.
    pub foreign_forwarder: u64,
    /// Received packets with a bad CRC, of another modulation, or incomprehensible.
    pub unusable: u64,
    /// Packets on frequencies or data rates that the region does not have.
    pub off_plan: u64,
    /// Frames that are not LoRaWAN 1.0.x uplinks.
    pub not_lorawan: u64,
    /// Frames of devices that are not admitted, or whose MIC or counter fits no session of ours.
    pub unknown: u64,
    /// Join-requests of admitted devices with a wrong MIC.
    pub join_mic: u64,
    /// Join-requests whose DevNonce the policy forbids.
    pub join_nonce: u64,
    /// Repeated uplinks that were not delivered again.
    pub repeated: u64,
    /// Uplinks shed because the gateway was behind.
    pub shed: u64,
    /// Downlinks that the forwarder refused.
    pub refused: u64,
    /// Downlinks that the forwarder never answered.
    pub unanswered: u64,
    /// Transactions that the store could not commit.
    pub store_failures: u64,
    /// Beside the counters: what was emitted in the last hour; `None` where the region has no duty cycle.
    pub airtime: Option<[BandUse; 6]>,
}

/// What a commit was for.
pub(super) enum Purpose {
    Admit {
        lock: LockId,
        device: Box<Device>,
    },
    Join(Box<Joining>),
    /// The session record with this reservation of downlink counters.
    Session {
        lock: LockId,
        dev_addr: u32,
        down: u32,
    },
    Remove,
    /// Whether the store works again.
    Probe,
    Stop,
}

pub(super) struct Shared {
    pub(super) config: LoraConfig,
    pub(super) plan: Plan,
    pub(super) duty: DutyCycle,
    /// Where downlinks go; `None` while there is no forwarder.
    pub(super) pull_address: Option<SocketAddr>,
    /// Downlinks that the forwarder has not answered yet, by token.
    pub(super) flights: BTreeMap<u16, Flight>,
    pub(super) next_token: u16,
    /// Below this, JoinNonces are durably reserved.
    pub(super) durable_join_nonce: u32,
    /// What the newest record that was handed to the store says of that, durable or not.
    pub(super) submitted_join_nonce: u32,
    pub(super) store_failing: Option<String>,
    pub(super) commits: BTreeMap<u64, Purpose>,
    pub(super) counters: Counters,
    pub(super) datagrams: VecDeque<(SocketAddr, Vec<u8>)>,
    pub(super) batches: VecDeque<(u64, Vec<Change>)>,
    pub(super) events: VecDeque<Event>,
    next_commit: u64,
}

impl Shared {
    pub(super) fn new(config: LoraConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            plan: Plan::new(&config)?,
            duty: DutyCycle::new(config.region),
            config,
            pull_address: None,
            flights: BTreeMap::new(),
            next_token: 0,
            durable_join_nonce: 0,
            submitted_join_nonce: 0,
            store_failing: None,
            commits: BTreeMap::new(),
            counters: Counters::default(),
            datagrams: VecDeque::new(),
            batches: VecDeque::new(),
            events: VecDeque::new(),
            next_commit: 0,
        })
    }

    pub(super) fn commit(&mut self, batch: Vec<Change>, purpose: Purpose) {
        let id = self.next_commit;
        self.next_commit += 1;
        self.commits.insert(id, purpose);
        self.batches.push_back((id, batch));
    }

    pub(super) fn outcome(&mut self, handle: u64, outcome: Outcome) {
        self.events.push_back(Event::Outcome { handle, outcome });
    }

    /// How long before its time a downlink must leave here.
    pub(super) fn lead(&self) -> Millis {
        Millis::from(self.config.lead_ms)
    }
}
