//! The state machine: inputs in, actions out.

use std::collections::BTreeMap;

use cardea_envelope::{EventKind, MessageId, ResultState};
use cardea_framing::LockId;
use cardea_radio::{Command, Event, Health, Quality, Up};

use crate::{
    Action, Admin, AdminReply, Config, Input, Metrics, Millis, RadioId, Snapshot, UpstreamEvent, Wall,
    ctx::{Ctx, Purpose},
    down::{self, reason},
    inbox::Known,
    lock::{Air, Lock},
    peers::Peers,
    queue::Queue,
    records::{Change, DownRecord, Failure, LockRecord, StoreReply},
    report::Documents,
    up::RETRY_MS,
};

/// Known downlinks are looked over this often, milliseconds.
const SWEEP_MS: u64 = 10_000;

/// A search for memory that found none is not made again before this, milliseconds.
const SEARCH_MS: u64 = 20;

/// Downlinks of the run before wait so long for a clock that can be believed, milliseconds.
const CLOCK_MS: u64 = 60_000;

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
        })
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
        }
    }

    /// A driver has started and says whom it lets in. It may have been away when a lock was removed, or have failed to
    /// store the removal: a stolen lock must not stay in the radio network for that.
    fn reconcile(&mut self, radio: RadioId, locks: &[LockId]) {
        for lock in locks {
            let arriving = self.admitting.contains_key(lock) || self.arriving.contains_key(lock);
            if !arriving && !self.is_here(*lock, radio) {
                self.ctx.radio(radio, Command::Remove(*lock));
            }
        }
    }

    fn is_here(&self, lock: LockId, radio: RadioId) -> bool {
        self.locks.get(&lock).is_some_and(|l| l.admitted && l.radio == radio)
    }

    fn arrival(&mut self, lock: LockId, radio: RadioId) -> Option<&mut Arrival> {
        self.arriving.get_mut(&lock).filter(|arrival| arrival.radio == radio)
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

    fn stored(&mut self, reply: StoreReply) {
        match reply {
            StoreReply::Committed { tickets, shed, gaps } => {
                self.store_trouble = false;
                for ticket in tickets {
                    if let Some(purpose) = self.ctx.tickets.remove(&ticket) {
                        self.committed(purpose);
                    }
                }
                for gone in shed {
                    self.ctx.metrics.rows_dropped += 1;
                    self.with_lock(gone.lock, |l, ctx| l.shed(ctx, gone.row, gone.class, gone.weight));
                }
                for gap in gaps {
                    self.ctx.open_gap(gap, true);
                }
            }
            StoreReply::Failed { tickets, failure } => {
                self.ctx.metrics.store_failures += 1;
                if !self.store_trouble {
                    self.store_trouble = true;
                    let detail = format!("{:?}: {}", failure.kind, failure.detail);
                    self.ctx.alarm("store", detail);
                }
                for ticket in tickets {
                    if let Some(purpose) = self.ctx.tickets.remove(&ticket) {
                        self.failed(purpose, &failure);
                    }
                }
            }
            StoreReply::Page { lock, after, through, limit, rows } => {
                self.page(lock, (after, through), limit, rows);
            }
        }
        self.finish_shutdown();
    }

    fn committed(&mut self, purpose: Purpose) {
        match purpose {
            Purpose::Rows(lock, rows) => {
                self.with_lock(lock, |l, ctx| l.stored(ctx, &rows));
            }
            Purpose::Shed(lock, bytes) => self.shed_done(lock, bytes),
            Purpose::Gap { gap, receipt, .. } => {
                if let Some(receipt) = receipt {
                    self.with_lock(gap.lock, |l, ctx| l.promise(ctx, receipt));
                }
            }
            Purpose::Down(id, acks) => {
                for ack in acks {
                    self.ctx.actions.push_back(Action::Ack(ack));
                }
                self.down_durable(id);
            }
            Purpose::DownDone(id, acks) => {
                for ack in acks {
                    self.ctx.actions.push_back(Action::Ack(ack));
                }
                if let Some(known) = self.ctx.inbox.get_mut(&id) {
                    known.durable = true;
                    let result = known.result(id);
                    self.ctx.tell(result);
                }
            }
            Purpose::Admit(lock, radio, tokens) => self.admission_durable(lock, radio, &tokens),
            Purpose::Remove(token) => self.answer(token, Ok(())),
            Purpose::Lazy(_) => {}
        }
    }

    fn failed(&mut self, purpose: Purpose, failure: &Failure) {
        match purpose {
            Purpose::Rows(lock, rows) => {
                self.with_lock(lock, |l, ctx| l.not_stored(ctx, &rows, failure));
            }
            Purpose::Shed(lock, bytes) => self.shed_done(lock, bytes),
            Purpose::Gap { gap, receipt, .. } => {
                self.with_lock(gap.lock, |l, ctx| l.gap_not_stored(ctx, gap, receipt));
            }
            Purpose::Down(id, acks) => {
                // Not sent: an id that a restart forgets could be executed twice as far as we know.
                if let Some(lock) = self.ctx.inbox.get(&id).map(|k| k.lock) {
                    self.with_lock(lock, |l, _| l.down().drop_waiting(id));
                }
                if down::end(&mut self.ctx, id, ResultState::Refused, Some(reason::STORE)) {
                    self.ctx.conclude_later(id, acks);
                } else {
                    // It ended before: that is written already, or on its way.
                    acks.into_iter().for_each(|ack| self.await_commit(id, ack));
                }
            }
            Purpose::DownDone(id, acks) => self.ctx.conclude_later(id, acks),
            Purpose::Admit(lock, _, tokens) => {
                self.arriving.remove(&lock);
                for token in tokens {
                    self.answer(token, Err(format!("the registry could not be written: {}", failure.detail)));
                }
            }
            Purpose::Remove(token) => {
                self.answer(token, Err(format!("the registry could not be written: {}", failure.detail)));
            }
            Purpose::Lazy(changes) => {
                let (gaps, rest): (Vec<_>, Vec<_>) =
                    changes.into_iter().partition(|c| matches!(c, Change::InsertGap(_)));
                for gap in gaps {
                    if let Change::InsertGap(gap) = gap {
                        self.ctx.open_gap(gap.clone(), false);
                        self.ctx.lose(gap);
                    }
                }
                self.ctx.lazily_again(rest, RETRY_MS);
            }
        }
    }

    fn shed_done(&mut self, lock: Option<LockId>, bytes: u64) {
        self.ctx.shedding = self.ctx.shedding.saturating_sub(bytes);
        if let Some(queue) = lock.and_then(|l| self.locks.get_mut(&l)).and_then(|l| l.queue.as_mut()) {
            queue.shedding = queue.shedding.saturating_sub(bytes);
        }
    }

    fn admin(&mut self, token: u64, verb: Admin) {
        match verb {
            Admin::Admit { radio, admission } => {
                if usize::from(radio.0) >= self.radios.len() {
                    self.answer(token, Err("no such radio".into()));
                } else if self.locks.get(&admission.lock).is_some_and(|l| l.admitted && l.radio != radio) {
                    self.answer(
                        token,
                        Err("this lock is admitted on another radio: remove it there first".into()),
                    );
                } else {
                    let waiting = self.admitting.entry(admission.lock).or_insert((radio, Vec::new()));
                    waiting.1.push(token);
                    self.ctx.radio(radio, Command::Admit(admission));
                }
            }
            Admin::Remove(lock) => {
                let Some(radio) = self.locks.get(&lock).filter(|l| l.admitted).map(|l| l.radio) else {
                    self.answer(token, Err("no such lock is admitted".into()));
                    return;
                };
                self.ctx.radio(radio, Command::Remove(lock));
                let mut changes = vec![Change::DeleteLock(lock)];
                changes.extend(self.peers.addresses.free(lock, self.ctx.wall));
                self.ctx.write(changes, Purpose::Remove(token));
                self.with_lock(lock, |l, ctx| {
                    l.drop_downlinks(ctx);
                    l.set_joined(ctx, false);
                    l.admitted = false;
                });
                self.documents.locks_changed();
                let radio = self.ctx.radio_name(radio);
                self.ctx.event(EventKind::Left { lock, radio });
            }
            Admin::Alarm { cause, detail } => {
                self.ctx.alarm(&cause, detail);
                self.answer(token, Ok(()));
            }
            Admin::Shutdown => {
                let locks: Vec<LockId> =
                    self.locks.values().filter(|l| l.queue.is_some()).map(|l| l.id).collect();
                for lock in locks {
                    self.with_lock(lock, |l, ctx| l.commit(ctx));
                }
                self.ctx.flush_lazy();
                self.shutdown = Some(token);
                self.say_goodbye();
                self.finish_shutdown();
            }
        }
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

    fn answer(&mut self, token: u64, result: Result<(), String>) {
        self.ctx.actions.push_back(Action::Admin(AdminReply { token, result }));
    }

    /// A driver stored an admission, or refused it.
    fn admitted(&mut self, radio: RadioId, lock: LockId, result: Result<(), String>) {
        let Some((_, tokens)) = self.admitting.remove(&lock) else { return };
        match result {
            Ok(()) => {
                self.arriving.insert(lock, Arrival { radio, air: None, joined: false });
                let record = LockRecord { lock, radio: self.ctx.radio_name(radio) };
                let (_, addresses) = self.peers.addresses.allocate(lock, self.ctx.wall);
                let changes = std::iter::once(Change::PutLock(record)).chain(addresses).collect();
                self.ctx.write(changes, Purpose::Admit(lock, radio, tokens));
            }
            Err(why) => tokens.into_iter().for_each(|token| self.answer(token, Err(why.clone()))),
        }
    }

    fn admission_durable(&mut self, lock: LockId, radio: RadioId, tokens: &[u64]) {
        let numbers = self.ctx.numbers.remove(&lock);
        let entry = self.locks.entry(lock).or_insert_with(|| Lock::new(lock, radio));
        if let Some((next_seq, seen)) = numbers {
            (entry.next_seq, entry.seen) = (next_seq, seen);
        }
        entry.admitted = true;
        entry.radio = radio;
        self.documents.locks_changed();
        if let Some(Arrival { radio, air, joined }) = self.arriving.remove(&lock) {
            // What the driver said meanwhile, in the order in which it says it.
            if joined {
                self.radio(radio, Event::Joined(lock));
            }
            if let Some(Air { mtu: mtu_down, sleepy, retry_ms, life_ms }) = air {
                self.radio(radio, Event::Link { lock, mtu_down, sleepy, retry_ms, life_ms });
            }
        }
        for token in tokens {
            self.answer(*token, Ok(()));
        }
    }

    /// What the run before has left undone downwards.
    fn restore_downlinks(&mut self) {
        let by = match self.restore_by {
            Some(by) => by,
            None => {
                self.remember_downlinks();
                *self.restore_by.insert(self.ctx.now.saturating_add(CLOCK_MS))
            }
        };
        let wall = self.ctx.wall;
        if !wall.synced && self.ctx.now < by {
            return; // Whether they are still alive is not known yet.
        }
        for DownRecord { id, lock, not_after, data, .. } in std::mem::take(&mut self.restored) {
            // It may have been on the air before; sent again it is a replay to the lock, which is harmless.
            let class = cardea_framing::Datagram::parse(&data).map(|d| d.class);
            let alive = wall.synced && not_after > wall.unix_ms;
            let (Ok(class), true, true) = (class, alive, self.locks.get(&lock).is_some_and(|l| l.admitted))
            else {
                let why = if wall.synced { reason::RESTART } else { reason::CLOCK };
                down::finish(&mut self.ctx, id, ResultState::Failed, Some(why));
                continue;
            };
            let deadline = self.ctx.now.saturating_add(not_after - wall.unix_ms);
            self.with_lock(lock, |l, _| {
                l.down().push(down::Waiting { id: Some(id), from: None, class, data, deadline, ready: true })
            });
        }
    }

    /// Every id of the run before is known from the first moment on; what had not ended stays in `restored`.
    fn remember_downlinks(&mut self) {
        for record in std::mem::take(&mut self.restored) {
            let DownRecord { id, lock, not_after, state, at, told, .. } = record;
            let why = record.reason.clone();
            // `Sent` is written only where it is the end.
            let over = state != ResultState::Queued;
            let known = Known { lock, not_after, state, reason: why, at, over, durable: true };
            let result = known.result(id);
            self.ctx.inbox.insert(id, known);
            if !over {
                self.restored.push(record);
            } else if !told {
                self.ctx.tell(result);
            }
        }
    }

    fn down_durable(&mut self, id: MessageId) {
        let Some(known) = self.ctx.inbox.get_mut(&id) else { return };
        let lock = known.lock;
        if known.state == ResultState::Queued {
            known.durable = true;
            let result = known.result(id);
            self.ctx.tell(result);
        }
        self.with_lock(lock, |l, _| l.down().make_ready(id));
    }

    fn page(&mut self, lock: LockId, asked: (u64, u64), limit: u32, rows: Result<Vec<crate::Row>, Failure>) {
        self.ctx.page_rows = self.ctx.page_rows.saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        match rows {
            Ok(rows) => {
                let full = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
                self.with_lock(lock, |l, ctx| {
                    let gained = l.queue().page(asked, rows, full);
                    ctx.ram_rows = ctx.ram_rows.saturating_add(gained);
                    ctx.paged = ctx.paged.saturating_add(gained);
                });
            }
            Err(failure) => {
                // Not tried again until something else happens to this lock or a timer runs: a disk that
                // cannot be read is not helped by haste.
                self.ctx.metrics.store_failures += 1;
                self.with_lock(lock, |l, ctx| l.page_later(ctx));
                if !self.store_trouble {
                    self.store_trouble = true;
                    self.ctx.alarm("store", format!("{:?}: {}", failure.kind, failure.detail));
                }
            }
        }
    }
}
