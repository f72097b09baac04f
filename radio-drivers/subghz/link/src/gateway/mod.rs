//! The gateway's side: admits locks, wakes them, sends and acknowledges, announces channels, keeps within the duty cycle.

mod exchange;
mod join;
mod peer;
mod receive;
mod send;
mod store;
#[cfg(test)]
mod tests;

use heapless::{Deque, Vec};

use crate::body::Body;
use crate::codec::{Header, MTU};
use crate::counter::Sender;
use crate::duty::DutyBudget;
use crate::jam::Occupancy;
use crate::mic::{Key, Secret};
use crate::phy::{Profile, Region};
use crate::radio::Chance;
use crate::{Error, Listen, LockId, Micros, Outcome, Quality, Refusal};
use exchange::Exchange;
use peer::{Down, Peer};
pub use store::{Record, RecordName};

/// What the operator decides.
#[derive(Clone, Copy, Debug)]
pub struct GatewayConfig {
    /// Modulation of the network.
    pub profile: Profile,
    /// Rules of the band.
    pub region: Region,
    /// Network id: one that no neighbour uses. It tells networks apart and authenticates nothing.
    pub network: u8,
    /// Bit per channel of the profile that may be used; bit 0, home, always is.
    pub channels: u8,
    /// For backoffs.
    pub seed: u32,
}

/// What the driver hears of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayEvent {
    /// An admission or removal is stored.
    Stored(LockId),
    /// The lock proved its new keys.
    Joined(LockId),
    /// What the lock said of its times when it started.
    Times {
        /// Who.
        lock: LockId,
        /// Milliseconds between two listenings; 0 listens always.
        interval_ms: u16,
    },
    /// A frame for framing.
    Up {
        /// From whom.
        lock: LockId,
        /// Its bytes.
        frame: Vec<u8, MTU>,
        /// How it was heard.
        quality: Quality,
        /// The lock listens until then.
        window: Micros,
    },
    /// What became of a [`Gateway::send`].
    Outcome {
        /// As given.
        handle: u64,
        /// Never success.
        outcome: Outcome,
    },
    /// The channel has been busy for 30 s (true), or is not any more.
    Jammed(bool),
    /// The network listens on this channel from now on.
    Channel(u8),
}

/// Counters for the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GatewayStats {
    /// Bytes after a sync word that were no frame.
    pub noise: u64,
    /// Frames whose code was wrong.
    pub forged: u64,
    /// Authentic frames that had been there before.
    pub replayed: u64,
    /// Requests to join by locks that are not admitted, or while joining is closed.
    pub strangers: u64,
    /// Answers that the duty cycle did not allow.
    pub silenced: u64,
}

/// What is on the air.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flight {
    /// An acknowledgement that the grid of this address hangs on, or nobody's.
    Reply(Option<u8>),
    Beacon,
    Strobe,
    Data,
}

/// What is answered to a frame. It is sealed when it goes out, so that `pending` is true then.
struct Answer {
    header: Header,
    counter: u32,
    body: Body,
    key: Key,
}

struct Reply {
    answer: Answer,
    at: Micros,
    channel: u8,
    anchors: Option<u8>,
}

/// The gateway's end of the link, with room for `PEERS` locks (at most 253).
pub struct Gateway<const PEERS: usize> {
    config: GatewayConfig,
    key: Key,
    counter: Sender,
    peers: Vec<Peer, PEERS>,
    removed: Deque<LockId, 8>,
    writing: Option<store::Writing>,
    network_dirty: bool,
    channel: u8,
    join_until: Micros,
    last_accept: Micros,
    next_beacon: Micros,
    /// The listen window: nothing is begun in it.
    window: (Micros, Micros),
    /// Whoever has acknowledged has something to say first.
    yields_until: Micros,
    exchange: Option<Exchange>,
    replies: Deque<Reply, 8>,
    flight: Option<(Flight, Micros, Micros)>,
    duty: DutyBudget,
    occupancy: Occupancy,
    chance: Chance,
    stats: GatewayStats,
    events: Deque<GatewayEvent, 32>,
}

impl<const PEERS: usize> Gateway<PEERS> {
    /// A gateway that starts at `now` with all records that were ever stored. Without a network record `new_key`, 16 random
    /// bytes, becomes the network key.
    ///
    /// # Errors
    /// [`Error`] if a record is not one of ours: no counter may be guessed.
    pub fn new<'a>(
        config: GatewayConfig,
        new_key: Key,
        records: impl IntoIterator<Item = &'a [u8]>,
        now: Micros,
    ) -> Result<Self, Error> {
        let mut gateway = Self {
            config,
            key: new_key,
            counter: Sender::restore(0),
            peers: Vec::new(),
            removed: Deque::new(),
            writing: None,
            network_dirty: true,
            channel: 0,
            join_until: 0,
            last_accept: 0,
            next_beacon: now,
            window: (0, 0),
            yields_until: 0,
            exchange: None,
            replies: Deque::new(),
            flight: None,
            duty: DutyBudget::new(config.region.budget()),
            occupancy: Occupancy::default(),
            chance: Chance::new(config.seed),
            stats: GatewayStats::default(),
            events: Deque::new(),
        };
        let exist = (1_u16 << config.profile.channels().len().min(8)) - 1;
        gateway.config.channels = (config.channels | 1) & exist as u8;
        for record in records {
            gateway.load(record)?;
        }
        Ok(gateway)
    }

    /// Lets a lock join, with the secret of its label, while [`open_join`](Self::open_join) lasts. Idempotent; stored when
    /// [`GatewayEvent::Stored`] says so.
    ///
    /// # Errors
    /// [`Refusal::Full`].
    pub fn admit(&mut self, lock: LockId, secret: Secret) -> Result<(), Refusal> {
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.lock == lock) {
            peer.admit(secret);
            return Ok(());
        }
        if self.removed.iter().any(|&removed| removed == lock) {
            return Err(Refusal::Busy); // its erasure is under way: ask again
        }
        let free = (1..UNASSIGNABLE).find(|&address| self.peers.iter().all(|peer| peer.address != address));
        let peer = Peer::new(lock, secret, free.ok_or(Refusal::Full)?);
        self.peers.push(peer).map_err(|_| Refusal::Full)
    }

    /// Forgets a lock and its keys; what waited for it is cancelled. False if too many removals wait to be stored: ask again.
    pub fn remove(&mut self, lock: &LockId) -> bool {
        let Some(index) = self.peers.iter().position(|peer| peer.lock == *lock) else { return true };
        if self.removed.push_back(*lock).is_err() {
            return false;
        }
        let peer = self.peers.swap_remove(index);
        if self.exchange.as_ref().is_some_and(|exchange| exchange.address == peer.address) {
            self.exchange = None;
        }
        if let Some(down) = peer.down {
            self.tell(GatewayEvent::Outcome { handle: down.handle, outcome: Outcome::Cancelled });
        }
        true
    }

    /// Admitted locks may join until then.
    pub fn open_join(&mut self, now: Micros, until: Micros) {
        self.join_until = until;
        self.next_beacon = self.next_beacon.min(now);
    }

    /// Sends one frame of framing to a lock. It is not on the air after `deadline`. One for each lock at a time.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn send(
        &mut self,
        now: Micros,
        handle: u64,
        lock: &LockId,
        frame: &[u8],
        deadline: Micros,
    ) -> Result<(), Refusal> {
        let body = Vec::from_slice(frame).map_err(|_| Refusal::Size)?;
        if body.is_empty() {
            return Err(Refusal::Size);
        }
        let peer = self.peers.iter_mut().find(|peer| peer.lock == *lock).ok_or(Refusal::NotJoined)?;
        if peer.current.is_none() {
            return Err(Refusal::NotJoined);
        }
        if peer.down.is_some() {
            return Err(Refusal::Busy);
        }
        peer.down = Some(Down::new(handle, body, now, deadline));
        Ok(())
    }

    /// Takes a frame back unless it was on the air already. Its outcome follows.
    pub fn cancel(&mut self, handle: u64) {
        let waits = |peer: &&mut Peer| {
            peer.down.as_ref().is_some_and(|down| down.handle == handle && down.tries == 0)
        };
        let Some(peer) = self.peers.iter_mut().find(waits) else { return };
        let flying = self.flight.is_some_and(|(flight, ..)| flight == Flight::Data);
        let busy = self.exchange.as_ref().is_some_and(|exchange| exchange.address == peer.address);
        if busy && flying {
            return;
        }
        peer.down = None;
        if busy {
            self.exchange = None;
        }
        self.tell(GatewayEvent::Outcome { handle, outcome: Outcome::Cancelled });
    }

    /// Moves the network. Locks that sleep are found where they were last heard; others find the beacon.
    pub fn move_to(&mut self, now: Micros, channel: u8) {
        if usize::from(channel) < self.config.profile.channels().len() && channel != self.channel {
            self.channel = channel;
            self.next_beacon = now;
            self.occupancy.reset();
            self.tell(GatewayEvent::Channel(channel));
        }
    }

    /// One look at the carrier, ten times a second or so, while nothing of ours is on the air. After 30 s of a busy channel the alarm is raised,
    /// and the network moves on if it may.
    pub fn handle_sample(&mut self, now: Micros, busy: bool) {
        let Some(jammed) = self.occupancy.sample(now, busy) else { return };
        self.tell(GatewayEvent::Jammed(jammed));
        let usable = self.config.profile.channels().len().min(8) as u8;
        let next = (1..usable)
            .map(|step| (self.channel + step) % usable)
            .find(|&n| self.config.channels >> n & 1 == 1);
        if let (true, Some(next)) = (jammed, next) {
            self.move_to(now, next);
        }
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<GatewayEvent> {
        self.events.pop_front()
    }

    /// The radio is gone, and all that it had. Every frame that waited or was under way is forgotten without an event: who gave them
    /// knows what they were.
    pub fn radio_lost(&mut self) {
        (self.flight, self.exchange) = (None, None);
        self.replies.clear();
        for peer in &mut self.peers {
            (peer.down, peer.accept_wanted) = (None, false);
        }
    }

    /// Time on the air that belongs to this hour and is older than this gateway, or of a frame that did not go out whole.
    pub fn spent_before(&mut self, now: Micros, air: Micros) {
        self.duty.spend(now, air);
    }

    /// All that are admitted: whether they have joined, and their interval in milliseconds.
    pub fn locks(&self) -> impl Iterator<Item = (LockId, bool, u16)> {
        self.peers.iter().map(|peer| (peer.lock, peer.current.is_some(), peer.interval_ms))
    }

    /// The receiver is always on.
    #[must_use]
    pub fn poll_listen(&self) -> Listen {
        let channel =
            self.exchange.as_ref().map_or(self.channel, |exchange| exchange.listens_on(self.channel));
        Listen::On { channel }
    }

    /// The channel of the network.
    #[must_use]
    pub fn channel(&self) -> u8 {
        self.channel
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> GatewayStats {
        self.stats
    }

    /// Microseconds on the air in the last hour.
    pub fn air_time(&mut self, now: Micros) -> Micros {
        self.duty.spent(now)
    }

    fn peer(&mut self, address: u8) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.address == address)
    }

    /// Frames have room reserved; of the rest the newest is lost if nobody collects them.
    fn tell(&mut self, event: GatewayEvent) {
        let _ = self.events.push_back(event);
    }
}

/// First address that is no lock's.
const UNASSIGNABLE: u8 = 0xFE;
