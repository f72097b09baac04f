//! What the store answers, and what the run before has left in it.

use cardea_envelope::{MessageId, ResultState};
use cardea_framing::LockId;

use super::Relay;
use crate::{
    Action,
    ctx::Purpose,
    down::{self, reason},
    inbox::Known,
    records::{Change, DownRecord, Failure, StoreReply},
    up::RETRY_MS,
};

/// Downlinks of the run before wait so long for a clock that can be believed, milliseconds.
const CLOCK_MS: u64 = 60_000;

impl Relay {
    pub(super) fn stored(&mut self, reply: StoreReply) {
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

    /// What the run before has left undone downwards.
    pub(super) fn restore_downlinks(&mut self) {
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
}
