//! The state machine: inputs in, actions out.

mod admission;
mod stored;

use std::collections::BTreeMap;

use cardea_envelope::{EventKind, MessageId, ResultState};
use cardea_framing::LockId;
use cardea_radio::{Event, Health, Quality, Up};

use crate::{
    Action, Activated, Config, Input, Metrics, Millis, RadioId, Snapshot, UpstreamEvent, Wall,
    ctx::Ctx,
    history::Sample,
    inbox::Known,
    lock::{Air, Lock},
    peers::Peers,
    queue::Queue,
    records::{Change, DownRecord, LockRecord},
    report::Documents,
};

/// Known downlinks are looked over this often, milliseconds.
const SWEEP_MS: u64 = 10_000;

/// A search for memory that found none is not made again before this, milliseconds.
const SEARCH_MS: u64 = 20;

/// One admitted lock, for the operator.
#[derive(Debug, Clone, PartialEq)]
pub struct LockStatus {
    /// Routing id.
    pub lock: LockId,
    /// Its radio.
    pub radio: RadioId,
    /// Whether it is in the radio network.
    pub joined: bool,
    /// Whether it only hears after it has spoken.
    pub sleepy: bool,
    /// Its site address, once it has one.
    pub address: Option<u16>,
    /// Last frame heard (Unix milliseconds) and how well.
    pub heard: Option<(u64, Quality)>,
    /// Downlinks without an end.
    pub pending: usize,
    /// The platform's signed word on its activation, since the start.
    pub activated: Option<Activated>,
}

/// One downlink as it is known here, for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downlink {
    /// Chosen by who sent it.
    pub id: MessageId,
    /// How far it has come.
    pub state: ResultState,
    /// Why, as a word.
    pub reason: Option<String>,
    /// Since when, Unix milliseconds.
    pub at: u64,
    /// When it ends in any case, Unix milliseconds.
    pub not_after: u64,
    /// Nothing more will come of it.
    pub over: bool,
}

impl Downlink {
    fn new(id: MessageId, known: &Known) -> Self {
        let Known { state, at, not_after, over, .. } = *known;
        Self { id, state, reason: known.reason.clone(), at, not_after, over }
    }
}

/// The relay. See the crate's first page for what it does.
#[derive(Debug)]
pub struct Relay {
    pub(crate) ctx: Ctx,
    pub(crate) locks: BTreeMap<LockId, Lock>,
    pub(crate) radios: Vec<Health>,
    pub(crate) documents: Documents,
    pub(crate) peers: Peers,
    /// Admissions that a driver is working on: the operators who wait.
    admitting: BTreeMap<LockId, (RadioId, Vec<u64>)>,
    /// Admitted by their driver, not yet durable here.
    arriving: BTreeMap<LockId, Arrival>,
    /// Downlinks of the run before, until the clock can be believed or that takes too long.
    restored: Vec<DownRecord>,
    restore_by: Option<Millis>,
    sweep_at: Millis,
    shutdown: Option<u64>,
    /// One alarm for each trouble with the store, not one for each failure.
    store_trouble: bool,
}

/// What a driver says, once, of a lock that it has admitted, while the registry is still being written.
#[derive(Debug)]
struct Arrival {
    radio: RadioId,
    air: Option<Air>,
    joined: bool,
}

impl Relay {
    /// A relay over what the store held. `epoch` are 8 fresh random bytes.
    #[must_use]
    pub fn new(config: Config, epoch: [u8; 8], snapshot: Snapshot) -> Self {
        let down = Health { up: false, detail: "not started".into() };
        let radios = vec![down; config.radios.len()];
        let names: BTreeMap<String, RadioId> = config
            .radios
            .iter()
            .zip(0_u16..)
            .map(|(radio, place)| (radio.name.clone(), RadioId(place)))
            .collect();
        let mut relay = Self {
            ctx: Ctx::new(config, epoch),
            locks: BTreeMap::new(),
            radios,
            documents: Documents::default(),
            peers: Peers::new(snapshot.addresses, epoch),
            admitting: BTreeMap::new(),
            arriving: BTreeMap::new(),
            restored: snapshot.downs,
            restore_by: None,
            sweep_at: 0,
            shutdown: None,
            store_trouble: false,
        };
        for LockRecord { lock, radio } in snapshot.locks {
            // A radio that is not configured any more keeps its locks: they are there when it comes back.
            let radio = names.get(&radio).copied().unwrap_or(RadioId(u16::MAX));
            let mut entry = Lock::new(lock, radio);
            entry.admitted = true;
            relay.locks.insert(lock, entry);
        }
        for backlog in snapshot.backlog {
            let radio = RadioId(u16::MAX);
            let entry = relay.locks.entry(backlog.lock).or_insert_with(|| Lock::new(backlog.lock, radio));
            relay.ctx.next_row = relay.ctx.next_row.max(backlog.last.saturating_add(1));
            relay.ctx.stored_weight = relay.ctx.stored_weight.saturating_add(backlog.weight);
            for id in backlog.recent {
                entry.recent.get_or_insert_default().remember(id, 0);
            }
            entry.queue = Some(Box::new(Queue::on_disk(backlog.rows, backlog.weight, backlog.last)));
            entry.reindex(&mut relay.ctx);
        }
        for gap in snapshot.gaps {
            relay.ctx.open_gap(gap, true);
        }
        relay.ctx.first_row = relay.ctx.next_row;
        relay
    }

    /// Takes one input. `now` never goes back.
    pub fn handle(&mut self, now: Millis, wall: Wall, input: Input) {
        self.ctx.set_time(now, wall);
        if !self.restored.is_empty() {
            self.restore_downlinks();
        }
        match input {
            Input::Radio { radio, event } => self.radio(radio, event),
            Input::Upstream(event) => self.upstream(event),
            Input::Stored(reply) => self.stored(reply),
            Input::Admin { token, verb } => self.admin(token, verb),
            Input::Peer(input) => self.peer(input),
            Input::Timer => {}
        }
        self.timers();
        self.publish();
    }

    /// What is to be done next; call until `None` after every [`Self::handle`].
    pub fn poll_action(&mut self) -> Option<Action> {
        self.ctx.actions.pop_front()
    }

    /// When [`Input::Timer`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Millis> {
        let lock = self.ctx.timers.first().map(|(at, _)| *at);
        let sweep = (self.ctx.inbox.len() > 0).then_some(self.sweep_at);
        let (lazy, untold) = (self.ctx.lazy_at(), self.ctx.untold_at());
        let restore = self.restore_by.filter(|_| !self.restored.is_empty());
        [lock, lazy, untold, sweep, restore, self.documents.due(&self.ctx)].into_iter().flatten().min()
    }

    /// Counters and levels.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let level = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let ctx = &self.ctx;
        Metrics {
            connected: u64::from(ctx.connected),
            locks: level(self.locks.values().filter(|l| l.admitted).count()),
            rows_in_memory: level(ctx.ram_rows),
            outbox_bytes: ctx.stored_weight,
            outbox_rows: self.locks.values().filter_map(|l| l.queue.as_ref()).map(|q| q.rows()).sum(),
            in_flight: level(ctx.flights.len()),
            inbox_ids: level(ctx.inbox.len()),
            broker_rtt_ms: u64::from(ctx.srtt_ms()),
            ..ctx.metrics.clone()
        }
    }

    /// The registry, in id order.
    pub fn locks(&self) -> impl Iterator<Item = LockStatus> + '_ {
        self.locks.values().filter(|lock| lock.admitted).map(|lock| LockStatus {
            lock: lock.id,
            radio: lock.radio,
            joined: lock.joined,
            sleepy: lock.sleepy(),
            address: self.peers.addresses.of(lock.id),
            heard: lock.heard,
            pending: lock.down.as_ref().map_or(0, |d| d.len()),
            activated: lock.attempts.as_ref().and_then(|attempts| attempts.last()),
        })
    }

    /// How a lock was heard since the start, oldest first; `None`: it is not admitted.
    #[must_use]
    pub fn heard(&self, lock: LockId) -> Option<&[Sample]> {
        let lock = self.locks.get(&lock).filter(|lock| lock.admitted)?;
        Some(lock.history.as_ref().map_or(&[], |history| history.samples()))
    }

    /// The downlinks of a lock that are remembered, newest first: those under way, and those that ended within the hour.
    #[must_use]
    pub fn downlinks(&self, lock: LockId) -> Vec<Downlink> {
        let known = self.ctx.inbox.of(lock).into_iter();
        known.map(|(id, known)| Downlink::new(id, known)).collect()
    }

    /// The state of each radio, in the order of [`Config::radios`].
    #[must_use]
    pub fn radios(&self) -> &[Health] {
        &self.radios
    }

    /// Runs `work` on a lock and then whatever became due for it.
    pub(crate) fn with_lock<R>(
        &mut self,
        lock: LockId,
        work: impl FnOnce(&mut Lock, &mut Ctx) -> R,
    ) -> Option<R> {
        let entry = self.locks.get_mut(&lock)?;
        let result = work(entry, &mut self.ctx);
        entry.service(&mut self.ctx);
        if entry.is_forgettable() {
            entry.forget(&mut self.ctx);
            self.locks.remove(&lock);
        }
        Some(result)
    }

    fn timers(&mut self) {
        while let Some((_, lock)) = self.ctx.timers.first().copied().filter(|(at, _)| *at <= self.ctx.now) {
            if self.with_lock(lock, |_, _| ()).is_none() {
                self.ctx.timers.pop_first();
            }
        }
        if self.ctx.lazy_at().is_some_and(|at| at <= self.ctx.now) {
            self.ctx.flush_lazy();
        }
        self.ctx.conclude_again();
        if self.sweep_at <= self.ctx.now {
            self.sweep_at = self.ctx.now.saturating_add(SWEEP_MS);
            if self.ctx.wall.synced {
                for id in self.ctx.inbox.sweep(self.ctx.wall.unix_ms) {
                    self.ctx.lazily(Change::DeleteDown(id));
                }
            }
        }
    }

    fn radio(&mut self, radio: RadioId, event: Event) {
        match event {
            Event::Up(up) => self.hear(radio, &up),
            Event::Admits(locks) => self.reconcile(radio, &locks),
            Event::Window { lock, closes } => {
                self.with_lock(lock, |l, _| l.down().open(closes));
            }
            Event::Outcome { handle, outcome } => {
                if let Some(lock) = self.ctx.sends.remove(&handle) {
                    self.with_lock(lock, |l, ctx| l.outcome(ctx, handle, outcome));
                }
            }
            Event::Link { lock, mtu_down, sleepy, retry_ms, life_ms } => {
                let air = Air { mtu: mtu_down, sleepy, retry_ms, life_ms };
                if self.is_here(lock, radio) {
                    self.with_lock(lock, |l, ctx| l.set_air(ctx, air));
                } else if let Some(arrival) = self.arrival(lock, radio) {
                    arrival.air = Some(air);
                }
            }
            Event::Joined(lock) => {
                if self.is_here(lock, radio) {
                    self.with_lock(lock, |l, ctx| l.set_joined(ctx, true));
                    let radio = self.ctx.radio_name(radio);
                    self.ctx.event(EventKind::Joined { lock, radio });
                } else if let Some(arrival) = self.arrival(lock, radio) {
                    arrival.joined = true;
                }
            }
            Event::Left(lock) => {
                if self.is_here(lock, radio) {
                    self.with_lock(lock, |l, ctx| l.set_joined(ctx, false));
                    let radio = self.ctx.radio_name(radio);
                    self.ctx.event(EventKind::Left { lock, radio });
                } else if let Some(arrival) = self.arrival(lock, radio) {
                    arrival.joined = false;
                }
            }
            Event::Admitted { lock, result } => self.admitted(radio, lock, result),
            Event::Health(health) => self.radio_health(radio, health),
            Event::Alarm { cause, detail } => self.ctx.alarm(cause, detail),
        }
    }

    fn hear(&mut self, radio: RadioId, up: &Up) {
        self.ctx.metrics.frames_up += 1;
        if !self.is_here(up.lock, radio) {
            self.ctx.metrics.unknown_lock += 1;
            return;
        }
        if self.ctx.is_crowded() {
            self.find_room(false);
        }
        self.with_lock(up.lock, |lock, ctx| {
            lock.hear(ctx, up);
            lock.note_heard(ctx);
        });
        self.carry_peers();
    }

    /// Looks over all locks for rows that the disk holds as well, until new ones may come; with `blocked`, over
    /// those that will not publish soon.
    pub(crate) fn find_room(&mut self, blocked: bool) {
        if self.ctx.now < self.ctx.search_at {
            return;
        }
        let before = self.ctx.ram_rows;
        for lock in self.locks.values_mut() {
            if !blocked && self.ctx.fresh_rows() <= self.ctx.config.ram_rows / 4 {
                break;
            }
            if lock.queue.is_some() && (!blocked || lock.is_blocked(&self.ctx)) {
                lock.evict(&mut self.ctx);
                lock.reindex(&mut self.ctx);
            }
        }
        if self.ctx.ram_rows == before {
            self.ctx.search_at = self.ctx.now.saturating_add(SEARCH_MS);
        }
    }

    fn radio_health(&mut self, radio: RadioId, health: Health) {
        let Some(slot) = self.radios.get_mut(usize::from(radio.0)) else { return };
        if *slot == health {
            return;
        }
        let lost = slot.up && !health.up;
        *slot = health;
        self.documents.health_changed();
        if lost {
            let waiting: Vec<LockId> =
                self.ctx.sends.values().copied().filter(|l| self.is_here(*l, radio)).collect();
            for lock in waiting {
                self.with_lock(lock, |l, ctx| l.radio_lost(ctx));
            }
        }
    }

    fn upstream(&mut self, event: UpstreamEvent) {
        match event {
            UpstreamEvent::Connected => self.connected(),
            UpstreamEvent::Disconnected => self.disconnected(),
            UpstreamEvent::Acked { token } => self.acked(token),
            UpstreamEvent::Refused { token, reason: _ } => self.refused(token),
            UpstreamEvent::Message { ack, topic, payload, retain, dup: _ } => {
                self.message(ack, &topic, &payload, retain);
            }
            UpstreamEvent::Rtt { ms } => self.ctx.rtt(ms),
        }
        self.finish_shutdown();
    }

    /// The operator is answered when nothing that matters is outstanding.
    fn finish_shutdown(&mut self) {
        if self.shutdown.is_some()
            && self.ctx.tickets.is_empty()
            && !self.is_saying_goodbye()
            && let Some(token) = self.shutdown.take()
        {
            self.answer(token, Ok(()));
        }
    }
}
