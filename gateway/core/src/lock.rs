//! One lock as the relay knows it. Small while it is silent: the parts are made when they are first needed.

use cardea_framing::{Class, GATEWAY_DATAGRAM, GatewayLink, LinkConfig, LockId};
use cardea_radio::Quality;

use crate::{
    Custody, Millis, RadioId,
    activation::Attempts,
    ctx::Ctx,
    down::Downs,
    history::History,
    queue::{Flight, Item, Next, Parked, Queue, Stored},
    records::Change,
    up::Recent,
};

/// Published rows of one lock that the platform may leave unseen before more of this lock wait.
const UNSEEN: usize = 256;

/// Resend patience doubles up to this factor.
const MOST_PATIENCE: u32 = 64;

/// What the radio says of the link to a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Air {
    pub(crate) mtu: u16,
    pub(crate) sleepy: bool,
    pub(crate) retry_ms: u32,
    pub(crate) life_ms: u32,
}

/// A place in one of the two lists of [`Ctx`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ready {
    on_disk: bool,
    class: u8,
    row: u64,
}

pub(crate) struct Lock {
    pub(crate) id: LockId,
    pub(crate) radio: RadioId,
    pub(crate) admitted: bool,
    pub(crate) joined: bool,
    pub(crate) air: Option<Air>,
    pub(crate) heard: Option<(u64, Quality)>,
    pub(crate) history: Option<Box<History>>,
    pub(crate) next_seq: u64,
    pub(crate) seen: u64,
    pub(crate) queue: Option<Box<Queue>>,
    pub(crate) link: Option<Box<GatewayLink>>,
    pub(crate) down: Option<Box<Downs>>,
    pub(crate) recent: Option<Box<Recent>>,
    pub(crate) attempts: Option<Box<Attempts>>,
    ready: Option<Ready>,
    timer: Option<Millis>,
    /// What this lock's link adds to [`Ctx::held`].
    held: u32,
    /// When to see whether this lock has fallen silent and its parts can go.
    pub(crate) quiet_at: Option<Millis>,
    pub(crate) reported: Option<Millis>,
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lock").field("id", &self.id).field("radio", &self.radio).finish_non_exhaustive()
    }
}

impl Lock {
    pub(crate) fn new(id: LockId, radio: RadioId) -> Self {
        Self {
            id,
            radio,
            admitted: false,
            joined: false,
            air: None,
            heard: None,
            history: None,
            next_seq: 1,
            seen: 0,
            queue: None,
            link: None,
            down: None,
            recent: None,
            attempts: None,
            ready: None,
            timer: None,
            held: 0,
            quiet_at: None,
            reported: None,
        }
    }

    pub(crate) fn sleepy(&self) -> bool {
        self.air.is_some_and(|air| air.sleepy)
    }

    pub(crate) fn queue(&mut self) -> &mut Queue {
        self.queue.get_or_insert_default()
    }

    pub(crate) fn down(&mut self) -> &mut Downs {
        self.down.get_or_insert_default()
    }

    pub(crate) fn link(&mut self, ctx: &Ctx) -> &mut GatewayLink {
        self.quiet_at = Some(ctx.now.saturating_add(u64::from(ctx.config.reassembly_ms)));
        let air = self.air;
        self.link.get_or_insert_with(|| {
            Box::new(GatewayLink::new(LinkConfig {
                retry_ms: air.map_or(5_000, |a| a.retry_ms),
                max_attempts: ctx.config.link_attempts,
                reassembly_ms: ctx.config.reassembly_ms,
                max_datagram: GATEWAY_DATAGRAM,
            }))
        })
    }

    /// Nothing is left that would be lost with this entry.
    pub(crate) fn is_forgettable(&self) -> bool {
        !self.admitted && self.queue.as_ref().is_none_or(|q| q.is_empty())
    }

    /// Does whatever is due for this lock, and notes when to come again.
    pub(crate) fn service(&mut self, ctx: &mut Ctx) {
        if let Some(queue) = &mut self.queue {
            if queue.hold_at.is_some_and(|at| at <= ctx.now) {
                self.commit(ctx);
            }
            self.resend_unseen(ctx);
        }
        if let Some(queue) = self.queue.as_mut().filter(|q| q.page_again.is_some_and(|at| at <= ctx.now)) {
            queue.page_again = None;
            queue.paging = false;
        }
        self.serve_down(ctx);
        self.settle(ctx);
        self.rest(ctx);
        self.weigh_link(ctx);
        if !ctx.connected || self.is_blocked(ctx) {
            self.make_room(ctx);
        }
        self.reindex(ctx);
        self.rearm(ctx);
    }

    /// Gives back the memory of a lock that has been silent for as long as its link remembers anything. What it
    /// may send again after that is known by its uplink id.
    fn rest(&mut self, ctx: &mut Ctx) {
        if self.quiet_at.take_if(|at| *at <= ctx.now).is_none() {
            return;
        }
        let idle = |link: &GatewayLink| {
            link.can_send() && link.poll_timeout().is_none() && !link.has_pending(ctx.now) && link.held() == 0
        };
        if self.link.as_ref().is_none_or(|link| idle(link)) && self.down.as_ref().is_none_or(|d| d.is_idle())
        {
            self.link = None;
            self.down = None;
        } else {
            self.quiet_at = Some(ctx.now.saturating_add(u64::from(ctx.config.reassembly_ms)));
        }
    }

    /// Counts what the link holds now. Fragments go in many ways, by time and by what is sent as well as by
    /// what is heard, so the sum is made anew after each.
    pub(crate) fn weigh_link(&mut self, ctx: &mut Ctx) {
        let held = u32::try_from(self.link.as_ref().map_or(0, |link| link.held())).unwrap_or(u32::MAX);
        ctx.held = ctx.held.saturating_sub(u64::from(self.held)).saturating_add(u64::from(held));
        self.held = held;
    }

    /// True if this class of frames stays ours until the platform has seen it.
    pub(crate) fn until_seen(ctx: &Ctx, class: Class) -> bool {
        ctx.config.custody == Custody::Platform && class.has_receipt()
    }

    /// Takes finished rows out of memory and off the disk.
    fn settle(&mut self, ctx: &mut Ctx) {
        let Some(queue) = &mut self.queue else { return };
        let platform = ctx.config.custody == Custody::Platform;
        let mut gone: Vec<Item> = Vec::new();
        queue.settle(|class| platform && class.has_receipt(), |item| gone.push(item));
        for item in gone {
            ctx.left_memory(&item);
            if item.flight != Flight::Done {
                continue; // Parked: the disk keeps it.
            }
            if item.stored == Stored::No {
                ctx.metrics.rows_never_written += 1;
            } else {
                let weight = item.row.weight();
                queue.stored_weight = queue.stored_weight.saturating_sub(weight);
                ctx.stored_weight = ctx.stored_weight.saturating_sub(weight);
                ctx.lazily(Change::DeleteRow(item.row.row));
            }
        }
        if queue.parked().is_empty() {
            queue.resend = None;
        } else if queue.resend.is_none() && queue.parked_before_segments() > 0 {
            let patience = ctx.config.resend_ms;
            queue.resend = Some((ctx.now.saturating_add(u64::from(patience)), patience));
        }
        if queue.is_empty() {
            self.queue = None;
        }
    }

    /// The platform has everything of this lock up to `seq`.
    pub(crate) fn seen(&mut self, ctx: &mut Ctx, seq: u64) {
        if seq >= self.next_seq || seq <= self.seen {
            return;
        }
        self.seen = seq;
        let Some(queue) = &mut self.queue else { return };
        queue.resend = None;
        let mut parked: Vec<Parked> = Vec::new();
        let mut receipts = Vec::new();
        queue.seen(
            seq,
            |p| parked.push(p),
            |item| {
                item.safe = true;
                receipts.extend(item.receipt.take());
            },
        );
        for parked in parked {
            queue.stored_weight = queue.stored_weight.saturating_sub(parked.weight);
            ctx.stored_weight = ctx.stored_weight.saturating_sub(parked.weight);
            ctx.lazily(Change::DeleteRow(parked.row));
        }
        for receipt in receipts {
            self.promise(ctx, receipt);
        }
    }

    fn resend_unseen(&mut self, ctx: &mut Ctx) {
        let Some(queue) = &mut self.queue else { return };
        let Some((at, patience)) = queue.resend.filter(|(at, _)| *at <= ctx.now) else { return };
        let most = ctx.config.resend_ms.saturating_mul(MOST_PATIENCE);
        let next = patience.saturating_mul(2).min(most);
        queue.resend = Some((at.max(ctx.now).saturating_add(u64::from(next)), next));
        if ctx.connected {
            ctx.metrics.resent += u64::try_from(queue.parked().len()).unwrap_or(u64::MAX);
            queue.rewind();
        }
    }

    /// True while the platform leaves too much of this lock unseen.
    pub(crate) fn is_blocked(&self, ctx: &Ctx) -> bool {
        ctx.config.custody == Custody::Platform
            && self.queue.as_ref().is_some_and(|q| q.published() >= UNSEEN)
    }

    /// Keeps this lock's place among those that have something to publish, or to read first.
    pub(crate) fn reindex(&mut self, ctx: &mut Ctx) {
        let queue = self.queue.as_ref().filter(|q| !q.paging && !self.is_blocked(ctx));
        let ready = queue.and_then(|q| {
            let class = u8::from(q.best_waiting()?);
            match q.next() {
                Next::Row(row) => Some(Ready { on_disk: false, class, row }),
                Next::Disk { after, .. } => {
                    Some(Ready { on_disk: true, class, row: after.saturating_add(1) })
                }
                Next::Nothing => None,
            }
        });
        if ready != self.ready {
            self.unlist(ctx);
            if let Some(Ready { on_disk, class, row }) = ready {
                let list = if on_disk { &mut ctx.to_read } else { &mut ctx.ready };
                list.insert((class, row, self.id));
            }
            self.ready = ready;
        }
    }

    fn unlist(&mut self, ctx: &mut Ctx) {
        if let Some(Ready { on_disk, class, row }) = self.ready.take() {
            let list = if on_disk { &mut ctx.to_read } else { &mut ctx.ready };
            list.remove(&(class, row, self.id));
        }
    }

    /// Drops from memory what the disk holds and will not be published soon.
    pub(crate) fn make_room(&mut self, ctx: &mut Ctx) {
        if ctx.ram_rows > ctx.config.ram_rows / 2 || ctx.paged >= ctx.most_paged() {
            self.evict(ctx);
        }
    }

    /// Drops from memory what the disk holds, but for what is published.
    pub(crate) fn evict(&mut self, ctx: &mut Ctx) {
        let Some(queue) = &mut self.queue else { return };
        for freed in [queue.sink(), queue.evict()] {
            ctx.ram_rows = ctx.ram_rows.saturating_sub(freed.rows);
            ctx.paged = ctx.paged.saturating_sub(freed.paged);
        }
    }

    /// A page could not be read; it is asked for again with the next try to publish.
    pub(crate) fn page_later(&mut self, ctx: &mut Ctx) {
        let Some(queue) = &mut self.queue else { return };
        // Paging stays on, which keeps this lock out of the way, until the timer takes it off.
        queue.page_again = Some(ctx.now.saturating_add(crate::up::RETRY_MS));
    }

    /// Leaves the tables in which it waits for something.
    pub(crate) fn leave(&mut self, ctx: &mut Ctx) {
        self.unlist(ctx);
        if self.next_seq > 1 {
            ctx.numbers.insert(self.id, (self.next_seq, self.seen));
        }
        if let Some(at) = self.timer.take() {
            ctx.timers.remove(&(at, self.id));
        }
        self.link = None;
        self.weigh_link(ctx);
    }

    fn rearm(&mut self, ctx: &mut Ctx) {
        let queue = self.queue.as_ref().and_then(|q| {
            let resend = q.resend.map(|(at, _)| at);
            [q.hold_at, resend, q.page_again].into_iter().flatten().min()
        });
        let link = self.link.as_ref().and_then(|l| l.poll_timeout());
        let down = self.down_due(ctx);
        // Nothing may be due in the past: what could not be done now waits for its cause, not for the clock.
        let due = [queue, link, down, self.quiet_at]
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.max(ctx.now.saturating_add(1)));
        if due != self.timer {
            if let Some(at) = self.timer {
                ctx.timers.remove(&(at, self.id));
            }
            if let Some(at) = due {
                ctx.timers.insert((at, self.id));
            }
            self.timer = due;
        }
    }
}
