//! The lock's side: sleeps, listens at its times, joins, sends and acknowledges.

mod receive;
mod search;
mod send;
mod store;
#[cfg(test)]
mod tests;

use heapless::{Deque, Vec};

use crate::codec::{Header, MTU};
use crate::duty::DutyBudget;
use crate::mic::{Key, Secret};
use crate::phy::{Profile, Region};
use crate::radio::Chance;
use crate::session::Session;
use crate::{Error, Listen, LockId, Micros, Outcome, Quality};
use search::Search;
use send::Out;

/// What a lock's maker and its network decide.
#[derive(Clone, Copy, Debug)]
pub struct NodeConfig {
    /// Its name.
    pub lock: LockId,
    /// Modulation of the network.
    pub profile: Profile,
    /// Rules of the band.
    pub region: Region,
    /// Milliseconds between two listenings; 0 listens always, as with [`Profile::Serial`] it does whatever this says.
    pub interval_ms: u16,
    /// Milliseconds that it listens after each acknowledged frame of its own.
    pub linger_ms: u16,
    /// For backoffs; different in each lock.
    pub seed: u32,
}

/// What the lock's firmware hears of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeEvent {
    /// In the network, stored, and heard by the gateway.
    Joined,
    /// Nobody answered the request to join; another try needs another [`Node::join`].
    NotJoined,
    /// A frame for framing.
    Received {
        /// Its bytes.
        frame: Vec<u8, MTU>,
        /// How it was heard.
        quality: Quality,
    },
    /// What became of a [`Node::send`].
    Outcome {
        /// As given.
        handle: u32,
        /// Never success.
        outcome: Outcome,
    },
    /// For 30 s no frame got through. True if the channel was busy, false if nobody answered.
    Trouble {
        /// Carrier sense says so.
        busy: bool,
    },
    /// Carriers that were nothing for this lock have kept it awake for longer than its budget: until it has refilled, the lock
    /// listens after its own frames only.
    Drained,
}

/// Counters for the status of the lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeStats {
    /// Frames to its address whose code was wrong.
    pub forged: u32,
    /// Authentic frames that had been there before.
    pub replayed: u32,
    /// Time awake for what was nothing, µs.
    pub wasted: u64,
    /// Listenings left out for want of budget.
    pub skipped: u32,
}

/// Time that a lock may be awake for nothing: all at once.
const DRAIN_BUDGET: Micros = 36_000_000;
/// And in the long run: one part in so many.
const DRAIN_SHARE: u64 = 100;

pub(crate) struct Joined {
    session: Session,
    address: u8,
    network: u8,
    channels: u8,
    key: Key,
    next_beacon: u32,
}

/// An acknowledgement. It is sealed when it goes out, so that it says what is waiting then.
struct Reply {
    header: Header,
    counter: u32,
    quality: Quality,
    at: Micros,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flight {
    Out,
    /// What was [`Out`](Self::Out), and was answered before the radio said that it is out: a serial module's latest moment is not its usual one.
    Answered,
    Reply,
}

/// The lock's end of the link.
pub struct Node {
    config: NodeConfig,
    secret: Secret,
    joined: Option<Joined>,
    join_nonce: u32,
    join_wanted: bool,
    /// Of the beacon that opened the door to us.
    join_network: u8,
    /// Joined anew, and the gateway has not answered under the new keys yet.
    unconfirmed: bool,
    store: store::Store,
    channel: u8,
    out: Option<Out>,
    waiting: Option<Out>,
    hello_at: Option<Micros>,
    /// Of a HELLO that a frame below the floor has caused.
    last_floor: Option<Micros>,
    reply: Option<Reply>,
    /// On the air, and until when the driver must have said so.
    flight: Option<(Flight, Micros, Micros)>,
    /// Whoever has acknowledged has something to say first.
    yields_until: Micros,
    awake: Option<(Micros, Micros)>,
    next_sniff: Micros,
    sniff: Option<(Micros, Micros)>,
    search: Search,
    unheard: u8,
    trouble: Option<(Micros, bool)>,
    drain: Micros,
    drain_at: Micros,
    drained: bool,
    /// The last moment that it was told of.
    clock: Micros,
    duty: DutyBudget,
    chance: Chance,
    stats: NodeStats,
    events: Deque<NodeEvent, 8>,
}

impl Node {
    /// A lock that starts at `now`, with what it stored last (`None`: never anything).
    ///
    /// # Errors
    /// [`Error::Body`] if the record is not one of ours: the lock must not join under a nonce that it may have used.
    pub fn new(
        config: NodeConfig,
        secret: Secret,
        record: Option<&[u8]>,
        now: Micros,
    ) -> Result<Self, Error> {
        let interval_ms = if config.profile.sleeps() { config.interval_ms } else { 0 };
        let mut node = Self {
            config: NodeConfig { interval_ms, ..config },
            secret,
            joined: None,
            join_nonce: 0,
            join_wanted: false,
            join_network: 0,
            unconfirmed: false,
            store: store::Store::default(),
            channel: 0,
            out: None,
            waiting: None,
            hello_at: None,
            last_floor: None,
            reply: None,
            flight: None,
            yields_until: 0,
            awake: None,
            next_sniff: now,
            sniff: None,
            search: Search::default(),
            unheard: 0,
            trouble: None,
            drain: DRAIN_BUDGET,
            drain_at: now,
            drained: false,
            clock: now,
            duty: DutyBudget::new(config.region.budget()),
            chance: Chance::new(config.seed),
            stats: NodeStats::default(),
            events: Deque::new(),
        };
        if let Some(record) = record {
            node.restore(record)?;
        }
        if node.joined.is_some() {
            node.hello_at = Some(now + node.chance.below(1_000_000)); // a whole house may have lost its power
        }
        Ok(node)
    }

    /// Whether it is in a network.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.joined.is_some()
    }

    /// Its address, for the radio's filter.
    #[must_use]
    pub fn address(&self) -> Option<u8> {
        self.joined.as_ref().map(|joined| joined.address)
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> NodeStats {
        self.stats
    }

    /// Microseconds on the air in the last hour.
    pub fn air_time(&mut self, now: Micros) -> Micros {
        self.duty.spent(now)
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<NodeEvent> {
        self.events.pop_front()
    }

    /// What the receiver is to do while nothing is transmitted.
    #[must_use]
    pub fn poll_listen(&self, now: Micros) -> Listen {
        let channel = self.channel;
        if self.out.as_ref().is_some_and(|out| out.awaiting.is_some()) || self.reply.is_some() {
            return Listen::On { channel };
        }
        if self.awake.is_some_and(|(from, until)| (from..until).contains(&now)) {
            return Listen::On { channel };
        }
        if let Some(channel) = self.search.channel() {
            return Listen::On { channel };
        }
        if self.joined.is_some() && self.config.interval_ms == 0 {
            return Listen::On { channel };
        }
        if self.sniff.is_some() { Listen::Sniff { channel } } else { Listen::Off }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Micros> {
        let out = self.out.as_ref().map(|out| out.awaiting.unwrap_or(out.not_before.max(self.yields_until)));
        let sleeper = self.joined.is_some() && self.config.interval_ms != 0;
        let awake = self.awake.map(|(from, until)| if self.clock < from { from } else { until });
        [
            out.filter(|_| self.flight.is_none() && !self.store.blocks()),
            self.waiting.as_ref().map(|out| out.deadline),
            self.reply
                .as_ref()
                .map(|reply| reply.at)
                .filter(|_| self.flight.is_none() && !self.store.blocks()),
            self.flight.map(|(_, _, until)| until),
            self.hello_at.filter(|_| self.out.is_none()),
            awake,
            self.search.timeout(),
            self.sniff.map(|(_, until)| until),
            (sleeper && self.sniff.is_none()).then_some(self.next_sniff),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Micros) {
        self.clock = now;
        self.refill(now);
        if let Some((flight, air, until)) = self.flight
            && now >= until
        {
            self.duty.spend(now, air); // the driver never said what became of it: it may have been on the air
            self.not_sent(now, flight);
        }
        self.check_out(now);
        self.check_hello(now);
        if self.awake.is_some_and(|(_, until)| now >= until) {
            self.awake = None;
        }
        self.check_search(now);
        if let Some((since, until)) = self.sniff
            && now >= until
        {
            self.sniff = None;
            self.waste(now, until - since);
        }
        self.check_sniff(now);
    }

    /// A [`Listen::Sniff`] ended by itself: no carrier.
    pub fn handle_silence(&mut self, _now: Micros) {
        self.sniff = None;
    }

    fn check_sniff(&mut self, now: Micros) {
        let interval = Micros::from(self.config.interval_ms) * 1_000;
        if self.joined.is_none() || interval == 0 || now < self.next_sniff {
            return;
        }
        let missed = (now - self.next_sniff) / interval;
        let late = now - self.next_sniff - missed * interval;
        self.next_sniff += (missed + 1) * interval;
        let busy = self.flight.is_some()
            || self.search.channel().is_some()
            || self.awake.is_some_and(|(from, _)| from <= now)
            || self.out.as_ref().is_some_and(|out| out.awaiting.is_some());
        if busy || self.sniff.is_some() || late > crate::phy::GUARD {
            return;
        }
        if self.drained {
            self.stats.skipped = self.stats.skipped.saturating_add(1);
        } else {
            self.sniff = Some((now, now + self.config.profile.sniff()));
        }
    }

    /// The grid of listenings begins anew at the end of an acknowledgement: both ends know that moment.
    fn anchor(&mut self, now: Micros) {
        self.next_sniff = now + Micros::from(self.config.interval_ms) * 1_000;
    }

    fn stay(&mut self, now: Micros, for_how_long: Micros) {
        self.sniff = None;
        self.awake = Some((now, now + for_how_long));
    }

    fn refill(&mut self, now: Micros) {
        let passed = now.saturating_sub(self.drain_at);
        self.drain = (self.drain + passed / DRAIN_SHARE).min(DRAIN_BUDGET);
        // What is less than one part is counted the next time.
        self.drain_at = self.drain_at.max(now - passed % DRAIN_SHARE);
        if self.drained && self.drain >= DRAIN_BUDGET / 4 {
            self.drained = false;
        }
    }

    fn waste(&mut self, now: Micros, time: Micros) {
        self.refill(now);
        self.stats.wasted = self.stats.wasted.saturating_add(time);
        self.drain = self.drain.saturating_sub(time);
        if self.drain < self.config.profile.sniff() && !self.drained {
            self.drained = true;
            self.tell(NodeEvent::Drained);
        }
    }

    /// Frames and outcomes have room reserved; of the rest the newest is lost if nobody collects them.
    fn tell(&mut self, event: NodeEvent) {
        let _ = self.events.push_back(event);
    }
}
