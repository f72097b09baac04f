//! What all locks share: queues of outgoing actions, tables of what is outstanding, and counters.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use cardea_envelope::{DownlinkResult, EventKind, GatewayEvent, MessageId, Topic, VERSION};
use cardea_framing::{Class, LockId, ReceiptToken};
use cardea_radio::Command;

use crate::{
    Action, Config, Metrics, Millis, Publish, RadioId, Wall,
    inbox::Inbox,
    peers::FromLock,
    publish::PAGE,
    queue::Item,
    records::{Change, Gap, StoreOp},
    results::Results,
    up::RETRY_MS,
};

/// Deletions wait this long for company: nobody waits for them.
const LAZY_MS: u64 = 20;

/// This many deletions are company enough.
const LAZY_CHANGES: usize = 128;

/// Most events that wait for the broker; gaps are kept apart and are durable.
const EVENTS: usize = 256;

/// Smoothed round-trip times start here: the hold is then at its longest.
const FIRST_RTT_MS: u32 = 100;

/// Most results of downlinks that are not remembered; what is told of those only repeats a refusal.
const STRANGERS: usize = 1024;

/// Below this, scheduling noise would send frames to flash that the broker is about to acknowledge.
const LEAST_HOLD_MS: u64 = 25;

/// Why a write was made, and so what its answer means.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// Rows of a lock.
    Rows(LockId, Vec<u64>),
    /// Room was made, for one lock or for all.
    Shed(Option<LockId>, u64),
    /// A row is dropped that the lock still holds: it hears of it when the gap is durable.
    Gap { row: u64, gap: Gap, receipt: Option<ReceiptToken> },
    /// A downlink; the broker's acks that wait for it.
    Down(MessageId, Vec<u64>),
    /// The last state of a downlink; the broker's acks that wait for it.
    DownDone(MessageId, Vec<u64>),
    /// A lock was admitted; the operator waits.
    Admit(LockId, RadioId, Vec<u64>),
    /// A lock was removed; the operator waits.
    Remove(u64),
    /// Deletions; made again if they fail.
    Lazy(Vec<Change>),
}

/// What a publish was for.
#[derive(Debug)]
pub(crate) enum Flying {
    Row(LockId, u64),
    Result(DownlinkResult),
    Gap(LockId, Class, u64),
    Event(Outgoing),
    /// Retained documents: written anew after a reconnect if they matter.
    Document,
    Goodbye,
}

/// A message that is written already.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
}

/// A gap that the broker has not acknowledged as it now is.
#[derive(Debug)]
pub(crate) struct OpenGap {
    pub(crate) gap: Gap,
    pub(crate) durable: bool,
}

#[derive(Debug)]
pub(crate) struct Ctx {
    pub(crate) config: Config,
    pub(crate) epoch: [u8; 8],
    pub(crate) now: Millis,
    pub(crate) wall: Wall,
    /// Unix milliseconds of the monotonic zero, as the clock had it when it could not be believed.
    guessed_zero: Option<i64>,
    /// Rows from this one on were heard in this run.
    pub(crate) first_row: u64,
    pub(crate) actions: VecDeque<Action>,
    pub(crate) connected: bool,
    srtt_ms: u32,
    pub(crate) next_row: u64,
    last_ticket: u64,
    last_token: u64,
    last_handle: u64,
    pub(crate) tickets: BTreeMap<u64, Purpose>,
    pub(crate) flights: BTreeMap<u64, Flying>,
    pub(crate) sends: BTreeMap<u64, LockId>,
    /// What locks said to other peers in this turn.
    pub(crate) from_locks: Vec<FromLock>,
    /// Locks with a row in memory to publish, by class and age.
    pub(crate) ready: BTreeSet<(u8, u64, LockId)>,
    /// Locks whose next row must be read first.
    pub(crate) to_read: BTreeSet<(u8, u64, LockId)>,
    /// Where the numbering of removed locks stopped: an epoch uses no number twice.
    pub(crate) numbers: BTreeMap<LockId, (u64, u64)>,
    pub(crate) timers: BTreeSet<(Millis, LockId)>,
    pub(crate) results: Results,
    /// The last publish was a result: rows go first now.
    pub(crate) told_last: bool,
    pub(crate) events: VecDeque<Outgoing>,
    pub(crate) gaps: BTreeMap<(LockId, Class), OpenGap>,
    pub(crate) gaps_ready: BTreeSet<(LockId, Class)>,
    pub(crate) links_ready: BTreeSet<LockId>,
    lost: BTreeMap<(LockId, Class), Gap>,
    lazy: Vec<Change>,
    lazy_at: Option<Millis>,
    /// Last states that could not be written, and the acks that wait for them.
    pub(crate) untold: Vec<(MessageId, Vec<u64>)>,
    untold_at: Option<Millis>,
    pub(crate) ram_rows: usize,
    /// Those among them that came from the disk.
    pub(crate) paged: usize,
    /// Rows that were asked for.
    pub(crate) page_rows: usize,
    /// Before this there is no use in looking for rows that could leave memory.
    pub(crate) search_at: Millis,
    pub(crate) stored_weight: u64,
    pub(crate) shedding: u64,
    /// Bytes in the buffers of all links.
    pub(crate) held: u64,
    pub(crate) inbox: Inbox,
    pub(crate) metrics: Metrics,
}

impl Ctx {
    pub(crate) fn new(config: Config, epoch: [u8; 8]) -> Self {
        Self {
            config,
            epoch,
            now: 0,
            wall: Wall { unix_ms: 0, synced: false },
            guessed_zero: None,
            first_row: 1,
            actions: VecDeque::new(),
            connected: false,
            srtt_ms: FIRST_RTT_MS,
            next_row: 1,
            last_ticket: 0,
            last_token: 0,
            last_handle: 0,
            tickets: BTreeMap::new(),
            flights: BTreeMap::new(),
            sends: BTreeMap::new(),
            from_locks: Vec::new(),
            ready: BTreeSet::new(),
            to_read: BTreeSet::new(),
            numbers: BTreeMap::new(),
            timers: BTreeSet::new(),
            results: Results::default(),
            told_last: false,
            events: VecDeque::new(),
            gaps: BTreeMap::new(),
            gaps_ready: BTreeSet::new(),
            links_ready: BTreeSet::new(),
            lost: BTreeMap::new(),
            lazy: Vec::new(),
            lazy_at: None,
            untold: Vec::new(),
            untold_at: None,
            ram_rows: 0,
            paged: 0,
            page_rows: 0,
            search_at: 0,
            stored_weight: 0,
            shedding: 0,
            held: 0,
            inbox: Inbox::default(),
            metrics: Metrics::default(),
        }
    }

    /// Takes the time. Until the clock can be believed it may jump, so what is stamped meanwhile keeps to the first
    /// guess: one difference corrects all of it.
    pub(crate) fn set_time(&mut self, now: Millis, wall: Wall) {
        self.now = now.max(self.now);
        self.wall = wall;
        if !wall.synced && self.guessed_zero.is_none() {
            self.guessed_zero = Some(signed(wall.unix_ms).saturating_sub(signed(self.now)));
        }
    }

    /// Unix milliseconds of a moment that has passed.
    pub(crate) fn unix_ms(&self, at: Millis) -> u64 {
        let zero = if self.wall.synced { None } else { self.guessed_zero };
        let zero = zero.unwrap_or_else(|| self.zero());
        u64::try_from(zero.saturating_add(signed(at))).unwrap_or(0)
    }

    /// A row's time of reception, and whether it can be believed: what this run stamped before it knew the time is
    /// right now that it does. Of an earlier run's guess nobody knows how wrong it was.
    pub(crate) fn received(&self, row: u64, at: u64, synced: bool) -> (u64, bool) {
        match self.guessed_zero {
            Some(guessed) if !synced && self.wall.synced && row >= self.first_row => {
                let late = self.zero().saturating_sub(guessed);
                (u64::try_from(signed(at).saturating_add(late)).unwrap_or(0), true)
            }
            _ => (at, synced),
        }
    }

    fn zero(&self) -> i64 {
        signed(self.wall.unix_ms).saturating_sub(signed(self.now))
    }

    /// Most rows in memory that come from the disk: the rest is for what is heard meanwhile.
    pub(crate) fn most_paged(&self) -> usize {
        (self.config.ram_rows / 2).max(1)
    }

    /// Rows in memory that were heard since they were last on the disk alone.
    pub(crate) fn fresh_rows(&self) -> usize {
        self.ram_rows.saturating_sub(self.paged)
    }

    /// How many rows may be asked for at this moment.
    pub(crate) fn room_for_pages(&self) -> usize {
        let fresh = self.fresh_rows();
        let most = self.most_paged().min(self.config.ram_rows.saturating_sub(fresh));
        most.saturating_sub(self.paged).saturating_sub(self.page_rows)
    }

    /// No new row may be taken. One page's worth is never given to new rows: what is on the disk must be able
    /// to leave it, above all when the disk is full.
    pub(crate) fn is_crowded(&self) -> bool {
        let reserve = PAGE.min(self.config.ram_rows / 4);
        self.fresh_rows().saturating_add(self.paged.saturating_add(self.page_rows).max(reserve))
            >= self.config.ram_rows
    }

    /// A row is gone from memory.
    pub(crate) fn left_memory(&mut self, item: &Item) {
        self.ram_rows = self.ram_rows.saturating_sub(1);
        self.paged = self.paged.saturating_sub(usize::from(item.paged));
    }

    pub(crate) fn rtt(&mut self, ms: u32) {
        // RFC 6298's gain.
        self.srtt_ms = (self.srtt_ms.saturating_mul(7).saturating_add(ms.min(60_000)) / 8).max(1);
    }

    pub(crate) fn srtt_ms(&self) -> u32 {
        self.srtt_ms
    }

    /// How long a frame may wait for the broker before it is committed.
    pub(crate) fn hold_ms(&self) -> u64 {
        if self.connected {
            (u64::from(self.srtt_ms) * 4).max(LEAST_HOLD_MS).min(u64::from(self.config.hold_ms))
        } else {
            0
        }
    }

    pub(crate) fn handle(&mut self) -> u64 {
        self.last_handle += 1;
        self.last_handle
    }

    pub(crate) fn radio_name(&self, radio: RadioId) -> String {
        self.config.radios.get(usize::from(radio.0)).map(|r| r.name.clone()).unwrap_or_default()
    }

    pub(crate) fn radio(&mut self, radio: RadioId, command: Command) {
        self.actions.push_back(Action::Radio { radio, command });
    }

    /// Gives a write to the store.
    pub(crate) fn write(&mut self, changes: Vec<Change>, purpose: Purpose) {
        // Deletions that were decided before must be applied before: a row may be written again.
        self.flush_lazy();
        self.give(changes, true, purpose);
    }

    fn give(&mut self, changes: Vec<Change>, urgent: bool, purpose: Purpose) {
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        self.tickets.insert(ticket, purpose);
        self.actions.push_back(Action::Store(StoreOp::Write { ticket, urgent, changes }));
    }

    /// A change that can wait a little.
    pub(crate) fn lazily(&mut self, change: Change) {
        self.lazy.push(change);
        if self.lazy.len() >= LAZY_CHANGES {
            self.flush_lazy();
        } else if self.lazy_at.is_none() {
            self.lazy_at = Some(self.now.saturating_add(LAZY_MS));
        }
    }

    /// Changes that failed are made again, after a while.
    pub(crate) fn lazily_again(&mut self, changes: Vec<Change>, after_ms: u64) {
        self.lazy.extend(changes);
        self.lazy_at = Some(self.now.saturating_add(after_ms));
    }

    pub(crate) fn flush_lazy(&mut self) {
        self.lazy_at = None;
        let mut changes = std::mem::take(&mut self.lazy);
        changes.extend(std::mem::take(&mut self.lost).into_values().map(Change::InsertGap));
        if !changes.is_empty() {
            self.give(changes.clone(), false, Purpose::Lazy(changes));
        }
    }

    /// A frame is gone that nobody will send again; its gap is kept as soon as the store can.
    pub(crate) fn lose(&mut self, gap: Gap) {
        self.lost.entry((gap.lock, gap.class)).and_modify(|open| open.merge(&gap)).or_insert(gap);
        if self.lazy_at.is_none() {
            self.lazy_at = Some(self.now.saturating_add(LAZY_MS));
        }
    }

    pub(crate) fn lazy_at(&self) -> Option<Millis> {
        self.lazy_at
    }

    /// Writes the last state of a downlink; it is told when it is durable, so that it can never be told
    /// differently.
    pub(crate) fn conclude(&mut self, id: MessageId, acks: Vec<u64>) {
        if let Some(known) = self.inbox.get(&id) {
            let record = known.record(id, Bytes::new());
            self.write(vec![Change::PutDown(record)], Purpose::DownDone(id, acks));
        }
    }

    /// That failed: again, after a while.
    pub(crate) fn conclude_later(&mut self, id: MessageId, acks: Vec<u64>) {
        self.untold.push((id, acks));
        self.untold_at.get_or_insert(self.now.saturating_add(RETRY_MS));
    }

    pub(crate) fn conclude_again(&mut self) {
        if self.untold_at.take_if(|at| *at <= self.now).is_some() {
            for (id, acks) in std::mem::take(&mut self.untold) {
                self.conclude(id, acks);
            }
        }
    }

    pub(crate) fn untold_at(&self) -> Option<Millis> {
        self.untold_at
    }

    /// Gives a message to the broker link.
    pub(crate) fn publish(&mut self, topic: String, payload: Bytes, retain: bool, flying: Flying) {
        self.last_token += 1;
        let token = self.last_token;
        self.flights.insert(token, flying);
        self.metrics.published += 1;
        self.actions.push_back(Action::Publish(Publish { token, topic, payload, retain }));
    }

    pub(crate) fn event(&mut self, what: EventKind) {
        let event = GatewayEvent { v: VERSION, at: self.wall.unix_ms, what };
        let outgoing = Outgoing {
            topic: self.config.topics.name(&Topic::Event),
            payload: self.config.encoding.encode(&event).into(),
        };
        self.say(outgoing);
    }

    pub(crate) fn alarm(&mut self, cause: &str, detail: String) {
        self.event(EventKind::Alarm { lock: None, cause: cause.into(), detail });
    }

    pub(crate) fn say(&mut self, outgoing: Outgoing) {
        if self.events.len() >= EVENTS {
            self.events.pop_front();
            self.metrics.events_dropped += 1;
        }
        self.events.push_back(outgoing);
    }

    /// A result is to be told. Of a downlink that is not remembered there is none if too much waits already.
    pub(crate) fn tell(&mut self, result: DownlinkResult) {
        let full = self.results.len() >= self.config.inbox_ids.saturating_add(STRANGERS);
        if full && self.inbox.get(&result.id).is_none() && !self.results.holds(&result.id) {
            self.metrics.events_dropped += 1;
            return;
        }
        self.results.push(result);
    }

    /// A gap is known; it is published until the broker has it as it now is.
    pub(crate) fn open_gap(&mut self, gap: Gap, durable: bool) {
        let key = (gap.lock, gap.class);
        self.gaps.insert(key, OpenGap { gap, durable });
        self.gaps_ready.insert(key);
    }
}

fn signed(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX)
}
